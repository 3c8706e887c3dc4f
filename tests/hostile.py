"""What the tests of hostile input share: a finished run to spoil, a trap, a file of no weight, and how a command ends."""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import train
from base import command_line
from base.storage import ROOT
from configs.suite import Suite, load_suite
from data.prepare import prepare_text
from tests.stress.fuzzing import TEXT, TINY

CONFIGS = ROOT / "configs"


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


def ends(main: Callable[[Sequence[str]], object], *arguments: str) -> tuple[object, str]:
    """The exit status and the error output of a command line."""
    error, before = io.StringIO(), sys.argv
    try:
        sys.argv = ["program", *arguments]
        with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
            command_line.run(main)
    except SystemExit as end:
        return end.code, error.getvalue()
    finally:
        sys.argv = before
    raise AssertionError


def assert_refused(ended: tuple[object, str], said: str = "") -> None:
    status, error = ended
    assert status == 2, error
    assert (
        error.startswith("error: ") and error.count("\n") == 1 and error[:-1].isprintable() and said in error
    )
    assert len(error) < 1100
