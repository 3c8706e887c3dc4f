"""Kills of the small study and of its parts: at each write, fsync, rename and removal, at random moments, by Ctrl-C, of a
worker, of the parent alone, and in shuffled order."""

import contextlib
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.stress import results as outcome
from tests.stress import small_study as study
from tests.stress.small_study import STAGES, TRAINED, Ended
from tests.stress.trials import Part, Trials, ended_with

UNDRAWN = ("--only", "train", "report")
LONGER = (
    *(*UNDRAWN, "--set", "train.steps=2000", "--set", "log.checkpoint_interval=50"),
    *("--set", "probe.frozen.steps=[2000]"),
)
PYTHON_S = 0.1  # of processor time, that Python takes to start and the program to heed Ctrl-C
INTERRUPT_S = 5.0


def at_operations(trials: Trials, most: int | None = None, stages: Sequence[int] = (0,)) -> Part:
    """Kill it at each write, fsync, rename and removal in turn; start it again.

    Args:
        most: so many of them, a sample.
        stages: which of STAGES.
    """
    of = "" if 0 in stages else ", tables, pages and figures"
    part = trials.part(f"killed at a write, fsync, rename or removal{of}")
    shelf, out = trials.place / "shelf", trials.out
    for number in stages:
        stage, wanted = STAGES[number], trials.after[number]
        chosen = part.untried(trials.numbers(number, most), lambda n: trials.operation(number, n))  # noqa: B023
        if not chosen:
            continue
        trials.copy(trials.before[number], out)
        shutil.rmtree(shelf, ignore_errors=True)
        shelf.mkdir()
        patch = study.dying_at(frozenset(chosen), out, shelf)
        part.wrong += ended_with(study.forked(trials.place, out, *stage, before=patch), 0)
        part.wrong += outcome.differences(out, wanted)  # of the one that went on
        for index in chosen:
            shutil.rmtree(out)
            killed = shelf / str(index)
            if not killed.exists():
                part.count(trials.operation(number, index), ["nothing was killed there"])
                continue
            killed.rename(out)
            wrong = outcome.broken(out, wanted)
            unfinished, finished = outcome.checkpoints(out), outcome.finished(out)
            wrong += trials.mended(*stage, wanted=wanted)
            wrong += outcome.not_kept(out, finished)
            wrong += outcome.not_resumed(out, unfinished) if not wrong else []
            part.count(trials.operation(number, index), wrong, resumed=len(unfinished))
    if 0 in stages:
        part.notes.append(f"{part.seen['resumed']} runs went on from their last checkpoint")
    return part


def at_random(trials: Trials, kills: int) -> Part:
    """Kill process group after process group of the command line at random moments, until a study is done; again.

    Its runs are longer ones than in the other trials, so that most kills come in the midst of training.
    """
    part = trials.part("killed at a random moment, through the command line")
    to_come = part.untried([f"kill {number + 1}" for number in range(kills)], str)
    out = trials.out
    shutil.rmtree(out, ignore_errors=True)
    if to_come:
        first = study.run(trials.place, out, *LONGER)
        part.wrong += ended_with(first, 0)
        wanted, whole_s = outcome.results(out), first.seconds
        shutil.rmtree(out)
    draw = random.Random(f"{trials.seed} {to_come}")
    kept: dict[str, int] = {}
    ended = 0
    while to_come or out.exists():
        begun, moment = time.monotonic(), draw.uniform(0.2, 0.6 * whole_s)
        process = study.started(trials.place, out, *LONGER, jobs=1 + len(to_come) % 2)
        try:
            said, _ = process.communicate(timeout=moment if to_come else None)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            wrong = outcome.broken(out, wanted) + outcome.not_kept(out, kept)
            kept = outcome.finished(out)
            unfinished = outcome.checkpoints(out) if out.exists() else {}
            part.count(to_come.pop(0), wrong, resumed=bool(unfinished))
            continue
        wrong = ended_with(Ended(process.returncode, said, 0.0), 0)
        wrong += outcome.differences(out, wanted) + outcome.not_kept(out, kept)
        part.wrong += [f"a study's end: {one}" for one in wrong]
        whole_s = min(whole_s, 2 * (time.monotonic() - begun))  # other work on the machine comes and goes
        ended, kept = ended + 1, {}
        shutil.rmtree(out)
    part.notes.append(
        f"{part.seen['resumed']} kills left a run with checkpoints; {ended} studies came to their end"
    )
    return part


def interrupted(trials: Trials, times: int) -> Part:
    """Ctrl-C, to the process group as a terminal sends it, at random moments, the first ones soon after the start.

    Not before Python itself has started, whose affair that is; one that comes after all is done changes nothing. Every
    second time an impatient one: twice, at a random distance.
    """
    part = trials.part("Ctrl-C at a random moment")
    out, wanted = trials.out, trials.after[1]
    shutil.rmtree(out, ignore_errors=True)
    to_come = part.untried(range(times), lambda number: f"Ctrl-C {number + 1}")
    draw = random.Random(f"{trials.seed} {to_come}")
    whole_s = math.inf  # how long the last study took that came to its end
    while to_come:
        begun = time.monotonic()
        process = study.started(trials.place, out, *UNDRAWN)
        try:
            process.communicate(timeout=draw.uniform(0.1, min(1.3 ** to_come[0], whole_s)))
        except subprocess.TimeoutExpired:
            while _used_s(process.pid) < PYTHON_S:
                time.sleep(0.02)
            kept = outcome.finished(out)
            before = processor_s()
            os.killpg(process.pid, signal.SIGINT)
            asked = time.monotonic()
            if to_come[0] % 2:
                time.sleep(draw.uniform(0.0, 0.4))
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGINT)
            end = study.ended(process, begun)
            waited = min(time.monotonic() - asked, max(0.1, processor_s() - before))
            late = end.status == 0 and not outcome.differences(out, wanted)  # nothing was left to interrupt
            wrong = ended_with(end, 0 if late else 130)
            wrong += [f"it took {waited:.1f} s"] * (waited > INTERRUPT_S)
            wrong += outcome.broken(out, wanted) + outcome.not_kept(out, kept) + _left(process.pid)
            took = {f"within {math.ceil(waited)} s": 1}
            part.count(f"Ctrl-C {to_come.pop(0) + 1}", wrong, kept=len(kept), **took)
        else:
            part.wrong += outcome.differences(out, wanted)
            whole_s = time.monotonic() - begun
            shutil.rmtree(out)
    part.wrong += trials.mended(*UNDRAWN, wanted=wanted)
    part.notes.append(f"{part.seen.pop('kept')} finished runs met, all kept")
    part.notes.append(", ".join(f"{number} ended {took}" for took, number in sorted(part.seen.items())))
    return part


def _used_s(process: int) -> float:
    """Processor time that a process has used."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(") ", 1)[1].split()
    except (OSError, IndexError):
        return math.inf
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def processor_s() -> float:
    """Processor time of the processes started here that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _left(leader: int, seconds: float = 3.0) -> list[str]:
    """Processes of a session that outlive its start by more than a moment, which is wrong."""
    deadline = time.monotonic() + seconds
    while (left := study.sessions_left(leader)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [f"process {one} is left" for one in left]


def workers(trials: Trials, times: int) -> Part:
    """A worker that dies at a random operation of its task: that is done by another one, and the study goes on.

    The last time all workers die: each task is tried twice, and the next start does what is left.
    """
    part = trials.part("worker killed")
    log = trials.place / "deaths"
    for number in part.untried(range(times), lambda number: f"death {number + 1}"):
        stage = number % 2  # training and tests; tables and pages
        trials.copy(trials.before[stage], trials.out)
        log.unlink(missing_ok=True)
        first = sum("/data/" in line for line in trials.met[stage]) + 1  # of a worker, not of the parent
        at = random.Random(f"{trials.seed} {number}").randrange(first, len(trials.met[stage]) - 20)
        every = "+" * (number == times - 1)
        fault = f"any:{at}{every}:die"
        end = study.run(trials.place, trials.out, *STAGES[stage], jobs=2, fault=fault, log=log)
        wrong = ended_with(end, int(bool(every)))
        wrong += [f"no second try: {end.said}"] * ("its worker was killed; trying once more" not in end.said)
        if every:
            wrong += [f"no end: {end.said}"] * ("its worker was killed 2 times" not in end.said)
            wrong += outcome.broken(trials.out, trials.after[stage])
            wrong += trials.mended(*STAGES[stage], wanted=trials.after[stage])
        else:
            wrong += outcome.differences(trials.out, trials.after[stage])
        place = f"(at operation {at}, {outcome.operations(log)[at - 1]})"
        part.count(f"death {number + 1}", [f"{one} {place}" for one in wrong])
    return part


def parents(trials: Trials, times: int) -> Part:
    """kill -9 of the process that was started, and of it alone; the same command at once afterwards."""
    part = trials.part("parent killed alone, started again at once")
    for number in part.untried(range(times), lambda number: f"kill {number + 1}"):
        shutil.rmtree(trials.out, ignore_errors=True)
        process = study.started(trials.place, trials.out, *TRAINED, jobs=2)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(random.Random(f"{trials.seed} {number}").uniform(1.0, 8.0))
        process.kill()
        end = study.run(trials.place, trials.out, *TRAINED, jobs=2)
        process.communicate()
        wrong = ended_with(end, 0) + outcome.differences(trials.out, trials.after[0]) + _left(process.pid)
        part.count(f"kill {number + 1}", wrong)
    return part


def in_any_order(trials: Trials, jobs: Sequence[int] = (1, 2, 4), shuffles: int = 3) -> Part:
    """Two seeds with so many workers, and in shuffled order, with a kill on the way: the same results."""
    part = trials.part("number of workers and order of tasks")
    two = ("--seeds", "2", *UNDRAWN)

    def crowded(number: int) -> Ended:
        return study.run(trials.place, trials.out, *two, jobs=number)

    def shuffled(number: int, at: int) -> Ended:
        order = study.shuffled(number)
        study.forked(trials.place, trials.out, *two, fault=f"any:{at}:kill", before=order)
        return study.forked(trials.place, trials.out, *two, before=order)

    cases: dict[str, tuple[Callable[..., Ended], Sequence[int]]] = {
        f"--jobs {number}": (crowded, (number,)) for number in jobs
    }
    for number in range(shuffles):
        at = random.Random(number).randrange(60, 500)
        cases[f"order {number}, killed at operation {at}"] = (shuffled, (number, at))
    first: dict[str, str] = {}
    to_come = part.untried(cases, str)
    for what in dict.fromkeys([*cases][:1] + to_come) if to_come else ():
        shutil.rmtree(trials.out, ignore_errors=True)
        start, given = cases[what]
        wrong = ended_with(start(*given), 0)
        first = first or outcome.results(trials.out)
        if what in to_come:
            part.count(what, wrong + outcome.differences(trials.out, first))
    return part
