"""A small study to be killed and spoilt: its config, ways to start it, and what its results come to.

Started either through the command line, with worker processes, or in a fork of this process that does all its tasks
itself: the same code, but nothing to load, so that hundreds of starts take minutes.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import command_line
import config
import faults
import pipeline
import progress
import run_folder
import runner
import storage
from scripts import run_all as script

SUITE = """
name = "tiny"
seeds = 1
corpus = "tiny_text"
[model]
n_layer = 1
n_head = 2
n_embd = 16
block_size = 8
[train]
steps = 30
batch_size = 2
warmup_steps = 1
[log]
effect_interval = 5
probe_sequences = 2
eval_interval = 10
eval_batches = 1
checkpoint_interval = 6
keep_steps = [8, 14]
[self_state]
dim = 4
hidden = 4
[regimes.bewilderment]
probability = 0.5
[schedules.one]
kind = "windows"
windows = [{ regime = "bewilderment", start = 10, end = 20 }]
[conditions.self]
schedule = "one"
self_state.memory = { kind = "buffer", length = 4, stride = 2 }
[conditions.self_calm]
log.keep_checkpoints = [12]
[conditions.other]
start = { condition = "self_calm", step = 12, state = "zero" }
[conditions.fixed]
self_state.enabled = false
constant_bias = { kind = "fixed", norm_of = "self" }
[frozen_test]
conditions = ["self_calm"]
steps = [30]
finder_batches = 1
dev_batches = 1
heldout_batches = 1
top = 1
doses = 2
random_directions = 2
placebo_draws = 2
[signatures]
permutations = 3
classify_steps = 4
"""
TEXT = "To see a world in a grain of sand, and a heaven in a wild flower. " * 60
RUN_ALL = config.ROOT / "scripts" / "run_all.py"
TRAINED = ("--only", "data", "shakespeare", "frozen_test")
WRITTEN = ("--only", "report")
DRAWN = ("--only", "figures")
STAGES = (TRAINED, WRITTEN, DRAWN)
"""The study in three parts, so that a fault in one is tried without doing all of the others again."""

PASSING = ("logs", "progress")
"""Folders that hold no results: what was said, with times and process ids, and how far a task is."""
TIMES = ("seconds", "timings", "started", "resumed_from", storage.SEAL)
"""Fields of records that tell of the making of a result, not of the result; the seal is a hash over them too."""

TIMED = ("task.json", "runs.csv", "tests.csv")
"""Results with seconds in them, which a record's hash of them therefore depends on: compared by what else they say."""


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
    """The environment of a start, with a fault if one is wanted."""
    kept = {name: value for name, value in os.environ.items() if name not in (faults.VARIABLE, faults.LOG)}
    wanted = {"INTEROCEPTION_DATA": str(place / "texts"), "OMP_NUM_THREADS": "1"}
    wanted |= {faults.VARIABLE: fault} if fault else {}
    return {**kept, **wanted, **({faults.LOG: str(log)} if log else {})}


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
    for name, value in environment(place, log=log).items():
        os.environ[name] = value
    runner.Runner.__init__.__defaults__ = (frozenset(), Inline)
    setattr(progress, "gflops", lambda: 10.0)  # noqa: B010 - what is measured for a first guess at the time
    begun = time.monotonic()
    screen = io.StringIO()
    with contextlib.chdir(place), contextlib.redirect_stdout(screen):
        status = script.main(arguments(out, *more))
    os.environ.pop(faults.LOG, None)
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
            os.environ.clear()
            os.environ.update(environment(place, fault, log))
            sys.argv = [str(RUN_ALL), *arguments(out, *more)]
            sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
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


def shuffled(seed: int) -> Callable[[], None]:
    """To be called in a fork: the plan's tasks come in another order."""

    def shuffle() -> None:
        plan = pipeline.plan

        def other(study: pipeline.Study) -> list[pipeline.Task]:
            tasks = plan(study)
            random.Random(seed).shuffle(tasks)
            return tasks

        pipeline.plan = other

    return shuffle


# What came of it


def artifacts(out: Path) -> list[str]:
    """The files of an output folder that are results or records of results, as relative paths."""
    found = []
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out)
        if path.is_file() and name.parts[0] not in (*PASSING, ".lock") and not _through_link(path, out):
            found.append(name.as_posix())
    return found


def _through_link(path: Path, out: Path) -> bool:
    return any(parent.is_symlink() for parent in path.parents if parent != out and out in parent.parents)


def results(out: Path) -> dict[str, str]:
    """SHA-256 of every result by relative path, and where each view points to.

    Records (run.json and made/) are hashed without their times and the step they were resumed from.
    """
    found = {name: _digest(out / name) for name in artifacts(out)}
    links = (path for path in sorted(out.rglob("*")) if path.is_symlink())
    return found | {path.relative_to(out).as_posix(): f"-> {os.readlink(path)}" for path in links}


def _digest(path: Path) -> str:
    content = path.read_bytes()
    if path.name in ("run.json", "task.json") or path.parent.name == "made":
        with contextlib.suppress(ValueError, AttributeError):
            record = {name: value for name, value in json.loads(content).items() if name not in TIMES}
            files = record.get("files", {})
            record["files"] = {name: digest for name, digest in files.items() if name not in TIMED}
            content = json.dumps(record, sort_keys=True).encode()
    elif path.name in ("runs.csv", "tests.csv"):
        with contextlib.suppress(ValueError, IndexError):
            rows = list(csv.reader(content.decode().splitlines()))
            column = rows[0].index("seconds")
            content = "\n".join(",".join(row[:column] + row[column + 1 :]) for row in rows).encode()
    return hashlib.sha256(content).hexdigest()


def differences(out: Path, wanted: Mapping[str, str]) -> list[str]:
    """What of the results is not as it should be, and what is left lying about."""
    found = results(out)
    wrong = [f"{name} is missing" for name in wanted if name not in found]
    wrong += [f"{name} is left over" for name in found if name not in wanted]
    return wrong + [f"{name} differs" for name in wanted if name in found and found[name] != wanted[name]]


def broken(out: Path, wanted: Mapping[str, str]) -> list[str]:
    """Files that stand under a final name though they are not what they should be: partial or wrong ones."""
    found = results(out) if out.exists() else {}
    return [
        f"{name} is not whole"
        for name, digest in found.items()
        if name in wanted and digest != wanted[name] and not _old_record(name)
    ]


def _old_record(name: str) -> bool:
    """Whether a file may hold an earlier state: what was made of fewer runs."""
    return name.split("/")[0] in ("made", "tables", "figures", "report")


def checkpoints(out: Path) -> dict[str, int]:
    """By run folder, the step of the newest whole checkpoint of each run that is not finished."""
    found = {}
    for work in (out / "runs").glob(".*.work"):
        key = work.name[1:17]
        steps = [
            int(folder.name.removeprefix("step-"))
            for folder in work.glob("step-*")
            if run_folder.checkpoint_damage(folder, _key_of(folder)) is None
        ]
        if steps and not (out / "runs" / key).exists():
            found[key] = max(steps)
    return found


def _key_of(checkpoint: Path) -> str:
    with contextlib.suppress(storage.UserError, KeyError, TypeError):
        return str(storage.read_json(checkpoint / "checkpoint.json")["key"])
    return ""


def not_resumed(out: Path, expected: Mapping[str, int]) -> list[str]:
    """Runs that did not go on from the step they should have."""
    wrong = []
    for key, step in expected.items():
        found = storage.read_json(out / "runs" / key / "run.json")["resumed_from"]
        if found != step:
            wrong.append(f"runs/{key} went on from step {found}, not {step}")
    return wrong


def operations(log: Path) -> list[str]:
    """The operations of the storage layer that a start logged, in order."""
    return [line.decode().rstrip() for line in log.read_bytes().split(b"\n")[:-1]] if log.exists() else []


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
