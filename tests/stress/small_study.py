"""A small study to be killed and spoilt: its config, and ways to start it. results.py says what comes of it.

Started either through the command line, with worker processes, or in a fork of this process that does all its tasks
itself: the same code, but nothing to load, so that hundreds of starts take minutes.
"""

import contextlib
import functools
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base import command_line, storage
from base.storage import ROOT
from runs import number_type
from scripts import run_all as script
from study import making, progress, session
from study import plan as plans
from study.runner import Runner
from tests.hostile import drawing
from tests.least import LEAST_MODEL, LEAST_SIGNATURES, LEAST_TEST, TEXT
from tests.stress.inject import faults

SUITE = (
    LEAST_MODEL
    + """\
steps = 18
batch_size = 2
warmup_steps = 1
[log]
effect_interval = 6
probe_sequences = 2
eval_interval = 9
eval_batches = 1
checkpoint_interval = 4
keep_steps = [6]
[self_state]
dim = 4
hidden = 4
[regimes.bewilderment]
probability = 0.5
[schedules.one]
kind = "windows"
windows = [{ regime = "bewilderment", start = 6, end = 12 }]
[conditions.self]
schedule = "one"
self_state.memory = { kind = "buffer", length = 4, stride = 2 }
[conditions.self_calm]
log.keep_checkpoints = [8]
[conditions.other]
start = { condition = "self_calm", step = 8, state = "zero" }
[probe.frozen]
conditions = ["self_calm"]
steps = [18]
"""
    + LEAST_TEST
    + """\
random_directions = 1
placebo_draws = 1
[signatures]
"""
    + LEAST_SIGNATURES
)
RUN_ALL = ROOT / "scripts" / "run_all.py"
INJECT = Path(faults.__file__).parent
TRAINED = ("--only", "train")
WRITTEN = ("--only", "report")
DRAWN = ("--only", "figures")
STAGES = (TRAINED, WRITTEN, DRAWN)
"""The study in three parts, so that a fault in one is tried without doing all of the others again."""
DRAWN_HERE = ("learning-curves.png", "state-trajectory.png", "perturbation/regime-deltas.png")
"""The figures that this process and its forks draw: each takes a second, and is written like all others."""


@dataclass(frozen=True)
class Ended:
    """How a start of the study ended. status: as of subprocess, negative for a signal."""

    status: int
    said: str
    seconds: float


def make(folder: Path, suite: str = SUITE) -> Path:
    """A folder with the study's config and text, to start it in."""
    storage.write_text(folder / "tiny.toml", suite)
    storage.write_text(folder / "texts" / "tiny_text" / "input.txt", TEXT)
    return folder


def arguments(out: Path, *more: str, jobs: int = 1) -> list[str]:
    """A command line of the study with everything but the program."""
    return ["--config", "tiny.toml", "--out", str(out), "--jobs", str(jobs), *more]


def environment(place: Path, fault: str = "", log: Path | None = None) -> dict[str, str]:
    """The environment of a start, with a fault if one is wanted. A measured number type could differ from start to start."""
    wanted = {"INTEROCEPTION_DATA": place / "texts", "OMP_NUM_THREADS": 1, "PYTHONPATH": INJECT}
    wanted |= {number_type.VARIABLE: "float32", faults.VARIABLE: fault, faults.LOG: log or ""}
    return {**os.environ, **{name: str(value) for name, value in wanted.items()}}


def started(
    place: Path, out: Path, *more: str, jobs: int = 1, fault: str = "", log: Path | None = None
) -> subprocess.Popen[str]:
    """Start the study through its command line, in a session and process group of its own."""
    return subprocess.Popen(
        [sys.executable, str(RUN_ALL), *arguments(out, *more, jobs=jobs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=place,
        env=environment(place, fault, log),
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def ended(process: subprocess.Popen[str], begun: float) -> Ended:
    """Wait for a start to end."""
    said, _ = process.communicate()
    return Ended(process.returncode, said, time.monotonic() - begun)


def run(place: Path, out: Path, *more: str, jobs: int = 1, fault: str = "", log: Path | None = None) -> Ended:
    """The study through its command line, to its end."""
    begun = time.monotonic()
    return ended(started(place, out, *more, jobs=jobs, fault=fault, log=log), begun)


class Inline(Executor):
    """Does each task at once, in this process."""

    def __init__(self, count: int) -> None: ...

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as problem:
            future.set_exception(problem)
        return future


def here(place: Path, out: Path, *more: str, log: Path | None = None) -> Ended:
    """The study in this very process, which so loads all that later forks need. Undisturbed, it ends well."""
    faults.install()
    os.environ.update(environment(place, log=log))
    for module, name, instead in (
        (session, "Runner", functools.partial(Runner, executor=Inline)),
        (progress, "gflops", lambda: 10.0),  # what is measured for a first guess at the time
        (making, "draw", drawing(*DRAWN_HERE)),
    ):
        setattr(module, name, instead)
    begun = time.monotonic()
    screen = io.StringIO()
    with contextlib.chdir(place), contextlib.redirect_stdout(screen):
        status = script.main(arguments(out, *more))
    os.environ[faults.LOG] = ""
    return Ended(status, screen.getvalue(), time.monotonic() - begun)


def forked(
    place: Path,
    out: Path,
    *more: str,
    fault: str = "",
    log: Path | None = None,
    before: Callable[[], None] = lambda: None,
) -> Ended:
    """The study in a fork of this process, once `here` was called, all its tasks done there, to its end.

    fault, log: see faults.py; numbers count this start alone. before: called in the fork first.
    """
    begun = time.monotonic()
    screen = place / "screen.txt"
    child = os.fork()
    if child == 0:
        status = 70
        with contextlib.suppress(BaseException):
            os.setsid()
            with screen.open("wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            os.chdir(place)
            os.environ.update(environment(place, fault, log))
            sys.argv = [str(RUN_ALL), *arguments(out, *more)]
            streams = (open(number, "w", encoding="utf-8", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
            sys.stdout, sys.stderr = streams
            before()
            try:
                command_line.run(script.main)
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
            sys.stdout.flush()
        os._exit(status)
    _, code = os.waitpid(child, 0)
    said = screen.read_text(errors="replace")
    return Ended(os.waitstatus_to_exitcode(code), said, time.monotonic() - begun)


def dying_at(numbers: Collection[int], out: Path, shelf: Path) -> Callable[[], None]:
    """To be called in a fork: at each of some operations of the storage layer, by number from 1, a process dies.

    There the fork forks once more: the child is killed with SIGKILL in the midst of the operation, and what it left of
    the output folder is copied to `<shelf>/<number>`; the parent goes on, and writes over the half-written. So one
    start gives what a start for each number would, each killed there.
    """
    met = 0

    def meet(operation: str, place: str, half: Callable[[], object] = lambda: None) -> None:
        nonlocal met
        met += 1
        if met not in numbers:
            return
        child = os.fork()
        if child == 0:
            half()
            os.kill(os.getpid(), signal.SIGKILL)
        _, code = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(code) == -signal.SIGKILL:
            shutil.copytree(out, shelf / str(met), symlinks=True)

    return lambda: setattr(faults, "meet", meet)


def shuffled(seed: int) -> Callable[[], None]:
    """To be called in a fork: the plan's steps come in another order."""

    def shuffle() -> None:
        plan = plans.plan

        def other(study: plans.Study) -> list[plans.Step]:
            steps = plan(study)
            random.Random(seed).shuffle(steps)
            return steps

        plans.plan = other

    return shuffle


def sessions_left(leader: int) -> list[int]:
    """Processes that are still there of a session that a start began."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = status.read_text().rsplit(") ", 1)[1].split()
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(status.parent.name))
    return found


def sample(items: Sequence[Any], count: int | None, seed: int) -> list[Any]:
    """Some of the items, seeded, in order; all where count is None or large."""
    if count is None or count >= len(items):
        return list(items)
    return [items[i] for i in sorted(random.Random(seed).sample(range(len(items)), count))]
