"""What the tests of hostile input share: a finished run to spoil, a trap, a file of no weight, and how a command ends."""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import train
from base import command_line, storage
from base.storage import ROOT
from configs.suite import Suite, load_suite
from data.prepare import prepare_text
from experiments.kit.tables import content
from runs import folder as run_folder
from study import book, making
from tests.least import LEAST_SIGNATURES, LEAST_TEST, TEXT

CONFIGS = ROOT / "configs"
TINY = (
    """
extends = "base.toml"
name = "tiny"
seeds = 1
corpus = "tiny_text"
model = { n_layer = 1, n_head = 2, n_embd = 16, block_size = 8 }
train = { steps = 30, batch_size = 2, warmup_steps = 1 }
log = { effect_interval = 5, probe_sequences = 2, eval_interval = 10, eval_batches = 1, keep_steps = [10], keep_checkpoints = [10] }
self_state = { dim = 4, hidden = 4 }
[schedules.one]
kind = "windows"
windows = [{ regime = "bewilderment", start = 10, end = 20 }]
[conditions.self]
schedule = "one"
[conditions.other]
start = { condition = "self", step = 10, state = "other" }
schedule = "one"
[conditions.fixed]
self_state.enabled = false
constant_bias = { kind = "fixed", norm_of = "self", factor = 0.5 }
[conditions.heard]
self_state.senses = { kind = "recorded", condition = "self", seed = "partner" }
self_state.memory = { kind = "buffer", length = 4, stride = 2 }
[probe.frozen]
conditions = ["self"]
steps = [30]
"""
    + LEAST_TEST
    + """\
random_directions = 2
placebo_draws = 2
[signatures]
"""
    + LEAST_SIGNATURES
)


class Trap:
    """Unpickling one of these leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.mkdir, (str(self.path),)


def sparse(path: Path, size: int) -> Path:
    """A file of so many bytes (NUL characters) that takes no disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    return path


def small_suite(folder: Path) -> Suite:
    """A suite of runs that take a second, its file in a folder."""
    (folder / "base.toml").write_bytes((CONFIGS / "base.toml").read_bytes())
    (folder / "tiny.toml").write_text(TINY)
    return load_suite(folder / "tiny.toml")


def finished_run(folder: Path) -> Path:
    """A finished run, in out/runs of a folder that has its suite file too."""
    run = small_suite(folder).run("self", 1)
    corpus = prepare_text("tiny_text", TEXT.encode(), folder / "out" / "data")
    return train.train(run, corpus, folder / "out" / "runs")


def write_tables(folder: Path, suite: Suite, runs: Sequence[Path]) -> list[Path]:
    """The tables of finished runs of the condition `self`, seeds from 1 on, as a study writes them into a folder."""
    done = [
        book.Finished(suite.name, "self", seed, run_folder.check(run)["key"], run)
        for seed, run in enumerate(runs, 1)
    ]
    makers = making.Makers(suite, done)
    made = {name: table for one in book.tables_of(suite) for name, table in makers.make(one.names[0]).items()}
    for name, table in made.items():
        storage.write_bytes(folder / f"{name}.csv", content(table))
    return [folder / f"{name}.csv" for name in made]


def drawing(*names: str) -> Callable[..., Path | None]:
    """`making.draw` of these figures; the others are left out, as where their tables hold nothing for them."""
    draw = making.draw
    return lambda figure, *given: draw(figure, *given) if figure.name in names else None


def ends(main: Callable[[Sequence[str]], object], *arguments: str) -> tuple[object, str]:
    """The exit status and the error output of a command line, which gives orders to no terminal."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(sys, "argv", ["program", *arguments])
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(error))
        try:
            command_line.run(main)
        except SystemExit as end:
            code: object = end.code
    assert "\x1b" not in out.getvalue(), out.getvalue()
    return code, error.getvalue()


def assert_refused(ended: tuple[object, str], said: str = "") -> None:
    status, error = ended
    assert status == 2, error
    assert (
        error.startswith("error: ") and error.count("\n") == 1 and error[:-1].isprintable() and said in error
    )
    assert len(error) < 1100
