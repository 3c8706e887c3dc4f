"""What a worker process does: one task at a time, its output in a log, its progress in a small file.

Only here are torch, pandas and matplotlib imported, by the task that needs them.
"""

import contextlib
import dataclasses
import datetime
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path

from base import storage
from base.storage import ROOT
from runs import folder as run_folder
from study import freshness
from study.phases import STUDIED
from study.plan import Task
from study.refresh import REGISTER

PROGRESS_S = 1.0  # least time between two progress files of a task
THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Outcome:
    """How a task ended. error: one line; None where it did what it should. notes: lines for the user besides."""

    seconds: float
    error: str | None = None
    notes: tuple[str, ...] = ()


def initialise() -> None:
    """Make a new worker: one thread, deaf to Ctrl-C (the parent ends it), gone when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(THREADS)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent.join,), daemon=True).start()


def _leave_with(wait: Callable[[], None]) -> None:
    wait()
    os._exit(1)  # a worker without its parent would hold the lock of its run for hours


def perform(task: Task, out: Path, afresh: bool = False, attempt: int = 1) -> Outcome:
    """Carry out a task and record it. Never raises: what goes wrong stands in the outcome, and its traceback in the log.

    Args:
        afresh: make it again though it may be there already.
    """
    started = time.perf_counter()
    error = None
    notes: list[str] = []
    with logged(out / "logs" / f"{task.slug}.log", attempt):
        try:
            _flush_denormals(task.kind in STUDIED)
            if attempt > 1:
                _sweep(task, out)
            notes += _KINDS[task.kind](task, out, afresh) or ()
            if task.kind != "train":
                print(f"done in {time.perf_counter() - started:.1f} s")
        except Exception as problem:
            traceback.print_exc()
            error = " ".join(str(problem).split()) or type(problem).__name__
            if not isinstance(problem, storage.UserError):
                error = f"{type(problem).__name__}: {error}"
    with contextlib.suppress(OSError):
        progress_path(out, task).unlink(missing_ok=True)
    return Outcome(time.perf_counter() - started, error, tuple(notes))


def _sweep(task: Task, out: Path) -> None:
    """Clear away what a worker that was killed left of this task; of a run, its next training does."""
    if task.kind not in STUDIED:  # those have their folder for themselves
        storage.sweep(task.destination)
    elif task.kind != "train":
        storage.sweep_of(task.destination)
    for record in (freshness.record_path(out, task), out / "made" / f"{task.slug}.json"):
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


def progress_path(out: Path, task: Task) -> Path:
    return out / "progress" / f"{task.slug}.json"


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
            temporary.write_text(f'{{"step": {done}, "total": {total}, "time": {time.time():.1f}}}')
            os.replace(temporary, path)

    return show


def train(task: Task, out: Path, afresh: bool) -> list[str]:
    """Train a run, or finish one that was interrupted. A damaged folder in its place goes first, and so do damaged
    checkpoints, which it names."""
    import torch

    import train as training
    from data import corpus

    torch.set_num_threads(1)
    run = task.arguments["run"]
    wrong = freshness.damage(out, task)
    if afresh or wrong:
        print(f"making {task.destination} again: {wrong or 'forced'}")
        storage.remove(task.destination)
    checkpoints = run_folder.work_of(task.destination)
    if afresh:
        storage.remove(checkpoints)
    inputs = task.arguments["inputs"]
    tokens = corpus.load(run.corpus, out / "data", run.tokenizer)
    keys = {part: str(run_folder.check(folder)["key"]) for part, folder in inputs.items()}
    if run_folder.run_key(run, tokens.tokens_sha256, keys) != task.key:
        raise storage.UserError(
            "its code or its corpus was changed since the study was started; start it again"
        )
    damaged = run_folder.drop_damaged(checkpoints, task.key)
    training.train(run, tokens, out / "runs", progress_to(progress_path(out, task)), inputs=inputs)
    return [f"goes on from an earlier checkpoint: {wrong}" for wrong in damaged]


def test(task: Task, out: Path, afresh: bool) -> None:
    """Test a finished run with its weights frozen: steer it, or set its beliefs."""
    import torch

    import frozen_test
    from data import corpus
    from probes import belief

    torch.set_num_threads(1)
    started = time.perf_counter()
    given = task.arguments
    tokens = corpus.load(given["run"].corpus, out / "data", given["run"].tokenizer)
    progress = progress_to(progress_path(out, task))
    where = task.destination
    module = belief if task.kind == "belief" else frozen_test
    module.run(given["folder"], given["step"], given["settings"], tokens, where, progress, given["other"])
    _finish(task, out, list(task.destination.iterdir()), started)


def tables(task: Task, out: Path, afresh: bool) -> None:
    """Put a suite's finished runs into tables, or judge the claims by the tables of all suites."""
    from analysis import claims
    from analysis.tables import write_all

    started = time.perf_counter()
    if "suite" in task.arguments:
        files = write_all(task.destination, task.arguments["suite"], task.arguments["runs"])
    else:
        files = claims.write(out / "tables", ROOT / REGISTER)
    for name in ("note", "warning"):  # for figures and pages that are made again from the tables alone
        files.append(task.destination / f"{name}.txt")
        storage.write_text(files[-1], task.arguments[name] + "\n")
    _finish(task, out, files, started)


def figures(task: Task, out: Path, afresh: bool) -> None:
    """Draw every figure that the tables allow."""
    from plots.registry import draw_all

    started = time.perf_counter()
    files = []
    for name, note in task.arguments["notes"].items():
        files += draw_all(out / "tables", task.destination, name, note, say=print)
    _finish(task, out, files, started)


def report(task: Task, out: Path, afresh: bool) -> None:
    """Write the pages twice: to be read beside out/figures, and in `published/` to be read beside the committed ones."""
    from reports.pages import write_all

    started = time.perf_counter()
    notes = task.arguments["notes"]
    files = write_all(out, notes)
    files += write_all(out, notes, figures="../../figures", destination=task.destination / "published")
    _finish(task, out, files, started)


def _finish(task: Task, out: Path, files: list[Path], started: float) -> None:
    """Record what a task made, and remove what it made an earlier time and no longer does."""
    earlier = freshness.record_of(freshness.record_path(out, task)).get("files", {})
    now = {path.relative_to(task.destination).as_posix() for path in files}
    if task.kind in ("figures", "report"):  # the tasks of all suites share a folder: what another made stays
        own = freshness.record_path(out, task)
        records = (path for path in (out / "made").glob(f"{task.kind}-*.json") if path != own)
        now.update(name for path in records for name in freshness.record_of(path).get("files", {}))
    for name in set(earlier) - now:
        with contextlib.suppress(OSError):
            (task.destination / name).unlink()
    freshness.keep_record(out, task, files, time.perf_counter() - started)


_KINDS: dict[str, Callable[[Task, Path, bool], list[str] | None]] = {
    "train": train,
    "frozen": test,
    "belief": test,
    "tables": tables,
    "figures": figures,
    "report": report,
}


def without_results(task: Task) -> Task:
    """The task as it travels to a worker: without views, which are the parent's."""
    return dataclasses.replace(task, views=())
