"""What a worker does, one step at a time, its output in a log, its progress in a small file.

torch, pandas and matplotlib are imported by the steps that need them alone.
"""

import contextlib
import datetime
import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from base import storage
from configs import probe
from runs import folder as run_folder
from study import book, freshness, making
from study.plan import MADE, Step

if TYPE_CHECKING:
    from runs.passes import Passes

PROGRESS_S = 1.0  # least time between two progress files of a step
Progress = Callable[[int, int], None]
Made = tuple[list[Path], Collection[tuple[str, str]] | None]
"""The files that a step made, and suites and names of the tables it read, where it reads as it likes."""


@dataclass(frozen=True)
class Outcome:
    """How a step ended. error: one line; None where it did what it should. notes: lines for the user besides."""

    seconds: float
    error: str | None = None
    notes: tuple[str, ...] = ()


def told(problem: Exception) -> str:
    """An error in one line; its traceback goes to the log."""
    traceback.print_exception(problem)
    line = " ".join(str(problem).split()) or type(problem).__name__
    return line if isinstance(problem, storage.UserError) else f"{type(problem).__name__}: {line}"


def perform(step: Step, out: Path, afresh: bool = False, attempt: int = 1) -> Outcome:
    """Carry out a step and record it. Never raises: what goes wrong stands in the outcome, and its traceback in the log.

    Args:
        afresh: make it again though it may be there already.
    """
    started = time.perf_counter()
    error = None
    notes: list[str] = []
    with logged(out / "logs" / f"{step.slug}.log", attempt):
        try:
            _flush_denormals(step.studied)
            if attempt > 1:
                _sweep(step, out)
            if step.kind == "train":
                notes += train(step, out, afresh)
            else:
                began = time.perf_counter()
                _record(step, out, began, *_MAKERS.get(step.kind, test)(step, out))
                print(f"done in {time.perf_counter() - started:.1f} s")
        except Exception as problem:
            error = told(problem)
    with contextlib.suppress(OSError):
        progress_path(out, step).unlink(missing_ok=True)
    return Outcome(time.perf_counter() - started, error, tuple(notes))


def perform_stacked(steps: Sequence[Step], out: Path, afresh: bool = False) -> list[Outcome]:
    """Train several runs of one shape at once; the outcome of each. One that fails ends no other. The first has the log."""
    started, found = time.perf_counter(), dict[int, Outcome]()
    for step in steps[1:]:
        line = f"trained in one stack with {steps[0].name}, whose log tells of it: {steps[0].slug}.log\n"
        storage.write_text(out / "logs" / f"{step.slug}.log", line)
    with logged(out / "logs" / f"{steps[0].slug}.log", 1):
        from runs import passes

        _flush_denormals(True)
        begun = {}
        for at, step in enumerate(steps):
            try:
                begun[at] = begin(step, out, afresh, len(steps) - 1)
            except Exception as problem:
                found[at] = Outcome(0.0, told(problem))
        ended = passes.together([loop for loop, _ in begun.values()])
        seconds = (time.perf_counter() - started) / len(steps)
        for (at, (_, notes)), end in zip(begun.items(), ended, strict=True):
            error = told(end) if isinstance(end, Exception) else None
            found[at] = Outcome(seconds, error, tuple(notes))
    for step in steps:
        with contextlib.suppress(OSError):
            progress_path(out, step).unlink(missing_ok=True)
    return [found[at] for at in range(len(steps))]


def _sweep(step: Step, out: Path) -> None:
    """Clear away what a worker that was killed left of this step; of a run, its next training does."""
    if step.kind in MADE:
        storage.sweep(step.destination)
    elif step.tests:
        storage.sweep_of(step.destination)
    for record in (freshness.record_path(out, step), out / "made" / f"{step.slug}.json"):
        storage.sweep_of(record)


def _flush_denormals(flush: bool) -> None:
    """Training and tests count numbers below 1e-38 as zero, all else does not, whatever this worker did before."""
    if flush or "torch" in sys.modules:
        import torch

        torch.set_flush_denormal(flush)


@contextlib.contextmanager
def logged(path: Path, attempt: int) -> Iterator[None]:
    """Send all that this process writes, C libraries included, to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if attempt == 1 else os.O_APPEND), 0o644)
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        print(f"{now}  process {os.getpid()}, attempt {attempt}", flush=True)
        yield
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        for descriptor, number in zip(kept, (1, 2), strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(log)


def progress_path(out: Path, step: Step) -> Path:
    return out / "progress" / f"{step.slug}.json"


def progress_to(path: Path) -> Progress:
    """A function to call with (done, total); it leaves a small file, at most once a second."""
    last = 0.0

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < PROGRESS_S:
            return
        last = now
        temporary = path.with_suffix(".partial")
        with contextlib.suppress(OSError):  # progress is never worth a run
            temporary.write_text(
                f'{{"step": {done}, "total": {total}, "time": {time.time():.1f}}}', encoding="utf-8"
            )
            os.replace(temporary, path)

    return show


def train(step: Step, out: Path, afresh: bool) -> list[str]:
    """Train a run, or finish one that was interrupted."""
    from runs import passes

    loop, notes = begin(step, out, afresh)
    passes.alone(loop)
    return notes


def begin(step: Step, out: Path, afresh: bool, beside: int = 0) -> "tuple[Passes, list[str]]":
    """The loop of a run that is to be trained, or finished, and lines to tell the user.

    A damaged folder in its place goes first, and so do damaged checkpoints, which the lines name. beside: as of `train.training`.
    """
    import torch

    import train as training
    from data.tokens import described, load

    torch.set_num_threads(1)
    run = step.arguments["run"]
    wrong = freshness.damage(out, step)
    if afresh or wrong:
        print(f"making {step.destination} again: {wrong or 'forced'}")
        storage.remove(step.destination)
    checkpoints = run_folder.work_of(step.destination)
    if afresh:
        storage.remove(checkpoints)
    inputs = step.arguments["inputs"]
    tokens = load(run, out / "data")
    keys = {part: str(run_folder.check(folder)["key"]) for part, folder in inputs.items()}
    if run_folder.run_key(run, tokens.tokens_sha256, keys) != step.key:
        raise storage.UserError(
            "its code or its corpus was changed since the study was started; start it again"
        )
    damaged = run_folder.drop_damaged(checkpoints, step.key)
    run_folder.keep_vocabulary(step.destination, described(tokens))
    progress = progress_to(progress_path(out, step))
    loop = training.training(run, tokens, out / "runs", progress, inputs=inputs, beside=beside)
    return loop, [f"goes on from an earlier checkpoint: {wrong}" for wrong in damaged]


def test(step: Step, out: Path) -> Made:
    """Do a probe to a finished run."""
    import torch

    from data.tokens import load

    torch.set_num_threads(1)
    given = step.arguments
    tokens = load(given["run"], out / "data")
    progress = progress_to(progress_path(out, step))
    place = probe.place_of(step.kind)
    run = getattr(importlib.import_module(place.module), place.name)
    run(given["folder"], given["step"], given["settings"], tokens, step.destination, progress, given["other"])
    return list(step.destination.iterdir()), None


def note(step: Step, out: Path) -> Made:
    """Leave beside a suite's tables what figures and pages say of it, for those that are made again from tables alone."""
    files = [step.destination / f"{name}.txt" for name in step.arguments]
    for path in files:
        storage.write_text(path, step.arguments[path.stem] + "\n")
    return files, None


def table(step: Step, out: Path) -> Made:
    """Make a table of a suite's finished runs, or of the tables of all suites."""
    from experiments.kit.tables import Tables, content

    given, read = step.arguments, None
    if "suite" in given:
        made = making.Makers.of(given["suite"], given["runs"]).make(given["table"])
    else:
        tables = Tables(out / "tables", book.CLAIMS)
        known = book.experiments()[given["module"]].of(book.CLAIMS)
        made = next(one for one in known if one.names[0] == given["table"]).of(tables, {})
        read = tables.reads
    files = [step.destination / f"{name}.csv" for name in made]
    for path in files:
        storage.write_bytes(path, content(made[path.stem]))
    return files, read


def figure(step: Step, out: Path) -> Made:
    """Draw a figure, where its tables allow it."""
    from experiments.kit.tables import Tables

    given = step.arguments
    tables = Tables(out / "tables", given["suite"])
    one = next(one for one in book.experiments()[given["module"]].figures if one.name == given["figure"])
    drawn = making.draw(one, tables, given["note"], step.destination / given["below"])
    return [drawn] if drawn else [], tables.reads


def page(step: Step, out: Path) -> Made:
    """Write a page: to be read beside out/figures, and in `published/` to be read beside the committed ones."""
    from experiments.kit.tables import Tables

    given = step.arguments
    tables = Tables(out / "tables", given["suite"])
    return making.write_page(given["module"], tables, out, given["below"], given["note"]), tables.reads


def demo(step: Step, out: Path) -> Made:
    """Write a page of a finished run that steers it by hand in a browser."""
    import torch

    from data.tokens import load
    from experiments.kit.tables import Tables
    from study.steer_page import choice, make

    torch.set_num_threads(1)
    given = step.arguments
    run, tables = given["run"], Tables(out / "tables", given["suite"])
    text = make.page(
        given["folder"], run.last, load(run, out / "data"), given["others"], tables, given["warning"]
    )
    path = step.destination / given["below"] / choice.FILE
    storage.write_text(path, text)
    return [path], tables.reads


_MAKERS: dict[str, Callable[[Step, Path], Made]] = {
    "note": note, "table": table, "figure": figure, "page": page, "demo": demo,
}  # fmt: skip


def _record(
    step: Step, out: Path, began: float, files: list[Path], read: Collection[tuple[str, str]] | None
) -> None:
    """Record what a step made, and remove what it made an earlier time and no longer does."""
    places = [f"{suite}/{name}" for suite, name in read or ()]
    if step.reads is not None:
        step = freshness.read_by(out, step, places)
    earlier = freshness.record_of(freshness.record_path(out, step)).get("files", {})
    for name in set(earlier) - {path.relative_to(step.destination).as_posix() for path in files}:
        with contextlib.suppress(OSError):
            (step.destination / name).unlink()
    freshness.keep_record(out, step, files, time.perf_counter() - began, places)
