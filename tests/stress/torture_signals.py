"""What happens to the small study from outside while it runs through its command line: Ctrl-C, a killed worker, a killed
parent, a second start in the same folder; and a run that diverges."""

import contextlib
import math
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from base import storage
from tests.stress import torture_results as outcome
from tests.stress import torture_study as study
from tests.stress.torture_record import Part
from tests.stress.torture_trials import Trials, quiet

ENDLESS = ("--set", "train.steps=1000000", "--set", "frozen_test.steps=[]")
TRAINED_ENDLESSLY = (*ENDLESS, "--set", "schedules.one.windows=[]")
DIVERGES = """
[conditions.wild]
train = { learning_rate = 1e9, min_learning_rate = 1e9, weight_decay = 1e9, grad_clip = 0.0 }
"""
UNDRAWN = ("--only", "data", "shakespeare", "frozen_test", "report")
PYTHON_S = 0.1  # of processor time, that Python takes to start and the program to heed Ctrl-C
INTERRUPT_S = 5.0
SECOND_S = 1.0


def interrupted(trials: Trials, times: int) -> Part:
    """Ctrl-C, to the process group as a terminal sends it, at random moments, the first ones soon after the start.

    Not before Python itself has started, whose affair that is; one that comes after all is done changes nothing. Every
    second time an impatient one: twice, at a random distance.
    """
    part = trials.part("Ctrl-C at a random moment")
    out, wanted = trials.out, trials.after[1]
    shutil.rmtree(out, ignore_errors=True)
    to_come = [number for number in range(times) if f"Ctrl-C {number + 1}" not in part.over]
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
            before = _processor_s()
            os.killpg(process.pid, signal.SIGINT)
            asked = time.monotonic()
            if to_come[0] % 2:
                time.sleep(draw.uniform(0.0, 0.4))
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGINT)
            end = study.ended(process, begun)
            waited = min(time.monotonic() - asked, max(0.1, _processor_s() - before))
            late = end.status == 0 and not outcome.differences(out, wanted)  # nothing was left to interrupt
            wrong = [] if late or end.status == 130 else [f"it ended with {end.status}: {end.said}"]
            wrong += [f"it took {waited:.1f} s"] * (waited > INTERRUPT_S)
            wrong += quiet(end) + outcome.broken(out, wanted) + outcome.not_kept(out, kept)
            wrong += [f"process {left} is left" for left in _left(process.pid)]
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
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1].split()
    except (OSError, IndexError):
        return math.inf
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _left(leader: int, seconds: float = 3.0) -> list[int]:
    """Processes of a session that outlive its start by more than a moment."""
    deadline = time.monotonic() + seconds
    while (left := study.sessions_left(leader)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def workers_killed(trials: Trials, times: int) -> Part:
    """A worker that dies at a random operation of its task: that is done by another one, and the study goes on.

    The last time all workers die: each task is tried twice, and the next start does what is left.
    """
    part = trials.part("worker killed")
    log = trials.place / "deaths"
    for number in range(times):
        what = f"death {number + 1}"
        if what in part.over:
            continue
        stage = number % 2  # training and tests; tables and pages
        trials.copy(trials.before[stage], trials.out)
        log.unlink(missing_ok=True)
        first = sum("/data/" in line for line in trials.met[stage]) + 1  # of a worker, not of the parent
        at = random.Random(f"{trials.seed} {number}").randrange(first, len(trials.met[stage]) - 20)
        every = "+" * (number == times - 1)
        end = study.run(
            trials.place, trials.out, *study.STAGES[stage], jobs=2, fault=f"any:{at}{every}:die", log=log
        )
        wrong = [] if end.status == bool(every) else [f"it ended with {end.status}: {end.said}"]
        wrong += [f"no second try: {end.said}"] * ("its worker was killed; trying once more" not in end.said)
        if every:
            wrong += [f"no end: {end.said}"] * ("its worker was killed 2 times" not in end.said)
            wrong += outcome.broken(trials.out, trials.after[stage])
            wrong += trials.mended(*study.STAGES[stage], wanted=trials.after[stage])
        else:
            wrong += outcome.differences(trials.out, trials.after[stage])
        part.count(what, [f"{one} (at operation {at}, {outcome.operations(log)[at - 1]})" for one in wrong])
    return part


def parent_killed(trials: Trials, times: int) -> Part:
    """kill -9 of the process that was started, and of it alone; the same command at once afterwards."""
    part = trials.part("parent killed alone, started again at once")
    for number in range(times):
        if f"kill {number + 1}" in part.over:
            continue
        shutil.rmtree(trials.out, ignore_errors=True)
        process = study.started(trials.place, trials.out, *study.TRAINED, jobs=2)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(random.Random(f"{trials.seed} {number}").uniform(1.0, 8.0))
        process.kill()
        end = study.run(trials.place, trials.out, *study.TRAINED, jobs=2)
        process.communicate()
        wrong = [] if end.status == 0 else [f"the next start ended with {end.status}: {end.said}"]
        wrong += outcome.differences(trials.out, trials.after[0])
        wrong += [f"process {left} is left" for left in _left(process.pid)]
        part.count(f"kill {number + 1}", wrong)
    return part


def two_at_once(trials: Trials, times: int = 3) -> Part:
    """A second start while one works: it ends at once and names the first; after kill -9 of the first nothing bars it."""
    part = trials.part("two at once")
    if part.tried >= times:
        return part
    shutil.rmtree(trials.out, ignore_errors=True)
    with _working(trials) as process:
        for number in range(times):
            before = _processor_s()
            end = study.run(trials.place, trials.out)
            used = min(end.seconds, _processor_s() - before)  # the machine may be busy with other things
            wrong = [] if end.status == 2 else [f"it ended with {end.status}: {end.said}"]
            wrong += [f"not named: {end.said}"] * (f"in use by process {process.pid};" not in end.said)
            wrong += [f"it took {used:.2f} s"] * (used > SECOND_S)
            part.count(f"second start {number + 1}", wrong, ms=round(1000 * used))
    part.wrong += trials.mended()
    part.notes.append(f"{part.seen['ms'] / part.tried:.0f} ms of processor time each")
    return part


@contextlib.contextmanager
def _working(trials: Trials) -> Iterator[subprocess.Popen[str]]:
    """A study that would train for hours, once it has begun to; killed at the end."""
    process = study.started(trials.place, trials.out, *TRAINED_ENDLESSLY)
    try:
        deadline = time.monotonic() + 90
        while not list((trials.out / "progress").glob("*.json")):
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.05)
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        for work in (trials.out / "runs").glob(
            ".*.work"
        ):  # of the endless runs, which no start comes back to
            storage.remove(work)


def diverged(trials: Trials) -> Part:
    """A run whose loss becomes NaN: told, tried once, its log kept; the other runs are done."""
    part = trials.part("diverged run")
    if part.tried:
        return part
    shutil.rmtree(trials.out, ignore_errors=True)
    place = trials.place
    storage.write_text(place / "tiny.toml", study.SUITE + DIVERGES)
    try:
        end = study.forked(place, trials.out, *study.TRAINED)
        found = list((trials.out / "runs").glob("*.diverged"))
        log = (trials.out / "logs" / "train-tiny-wild-seed-1.log").read_text()
        wrong = [] if end.status == 1 else [f"it ended with {end.status}: {end.said}"]
        wrong += (
            []
            if re.search(r"FAILED train tiny/wild/seed-1: .*not finite at step \d", end.said)
            else [end.said]
        )
        wrong += ["tried more than once"] * (log.count("attempt") != 1 or "once more" in end.said)
        wrong += ["its log is not kept"] * (len(found) != 1 or not (found[0] / "metrics.csv").is_file())
        others = {name: digest for name, digest in trials.after[0].items() if not name.startswith("made/")}
        there = outcome.results(trials.out)
        wrong += [f"{name} is missing or differs" for name in others if there.get(name) != others[name]]
        part.count("a run with a learning rate of 1e9", wrong)
    finally:
        study.make(place)
    return part


def parts(trials: Trials) -> dict[str, Callable[[], Part]]:
    """The trials of this file by name, as often as the long form does them."""
    return {
        "interrupts": lambda: interrupted(trials, 20),
        "workers": lambda: workers_killed(trials, 6),
        "parents": lambda: parent_killed(trials, 5),
        "two": lambda: two_at_once(trials),
        "diverged": lambda: diverged(trials),
    }
