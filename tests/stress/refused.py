"""What the small study is refused, and refuses: by a file system that is full, read-only or not ours, by a second start in
its folder, and a run that diverges."""

import math
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from base import storage
from tests.stress import results as outcome
from tests.stress import small_study as study
from tests.stress.killed import processor_s
from tests.stress.small_study import STAGES, TRAINED
from tests.stress.trials import Part, Trials, ended_with

ERRORS = ("ENOSPC", "EROFS", "EACCES", "EIO")
FOLDERS = (".", "data", "runs", "made", "tables", "tables/tiny", "figures", "report", "logs", "tiny/self")
ENDLESS = (
    *("--set", "train.steps=1000000", "--set", "probe.frozen.conditions=[]"),
    *("--set", "schedules.one.windows=[]"),
)
DIVERGES = """
[conditions.wild]
train = { learning_rate = 1e9, min_learning_rate = 1e9, weight_decay = 1e9, grad_clip = 0.0 }
"""
SECOND_S = 1.0
PAGE = 4096  # bytes that a tmpfs gives at a time


def errors(trials: Trials, most: int | None = None) -> Part:
    """A full disk, a read-only one and others, at writes, fsyncs and renames in turn, for once and for good.

    At each write and rename of training and tests, and every third fsync; of tables, pages and figures, which all
    have the same four operations, at every third.
    """
    part = trials.part("refused by the file system at a write, fsync or rename")
    for number, stage in enumerate(STAGES):
        wanted = trials.after[number]
        for index in trials.numbers(number, most):
            operation = trials.met[number][index - 1].split()[0]
            each = number == 0 and operation != "fsync"
            if operation == "remove" or (most is None and not each and index % 3):
                continue
            error = ERRORS[0 if operation == "write" else index // 3 % len(ERRORS)]
            lasting = "+" * (index % 2)
            what = f"{error}{lasting} at {trials.operation(number, index)}"
            if what in part.over:
                continue
            trials.copy(trials.before[number], trials.out)
            end = study.forked(trials.place, trials.out, *stage, fault=f"any:{index}{lasting}:{error}")
            wrong = ended_with(end, 1) + outcome.broken(trials.out, wanted)
            finished = outcome.finished(trials.out)
            wrong += trials.mended(*stage, wanted=wanted)
            wrong += outcome.not_kept(trials.out, finished)
            part.count(what, wrong, **{error: 1})
    part.notes.append(", ".join(f"{part.seen[error]} {error}" for error in ERRORS))
    return part


def small_disk(
    trials: Trials,
    shares: Sequence[float] = (0.02, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9),
    stage: Sequence[str] = (),
) -> Part:
    """A real file system that holds such a share of the study. Enlarged, it has to take the rest. And a read-only one."""
    part = trials.part("small or read-only disk")
    disk = trials.place / "disk"
    disk.mkdir(exist_ok=True)
    wanted = trials.after[0] if stage == TRAINED else trials.results
    files = [path for path in trials.whole.rglob("*") if path.is_file()]
    if stage == TRAINED:  # without tables, figures and pages
        files = [
            path for path in files if path.relative_to(trials.whole).parts[0] in ("data", "runs", "probes")
        ]
    whole = sum(math.ceil(path.stat().st_size / PAGE) * PAGE for path in files)

    def again(options: str, status: int, said: str) -> list[str]:
        """What is wrong with a start on the disk mounted otherwise."""
        subprocess.run(["mount", "-o", options, str(disk)], check=True)
        end = study.forked(trials.place, disk / "out", *stage)
        wrong = ended_with(end, status) + [end.said] * (said not in end.said)
        return [f"{options}: {one}" for one in wrong]

    for share in part.untried(shares, "{:.0%}".format):
        size = f"size={math.ceil(share * whole)}"
        mount = ["mount", "-t", "tmpfs", "-o", size, "torture", str(disk)]
        if subprocess.run(mount, capture_output=True).returncode:
            part.notes.append("this process may not mount; tried by injected errors alone")
            return part
        try:
            end = study.forked(trials.place, disk / "out", *stage)
            trained = (disk / "out" / "runs").exists() and any((disk / "out" / "runs").iterdir())
            wrong = ended_with(end, 1, 2) + outcome.broken(disk / "out", wanted)
            wrong += ["refused, but something was trained"] * (end.status == 2 and trained)
            wrong += again("remount,ro", 2, "can't write to")
            wrong += again("remount,rw,size=64m", 0, "")
            wrong += outcome.differences(disk / "out", wanted)
            found = "refused before training" if end.status == 2 else "full on the way"
            part.count(f"{share:.0%}", wrong, **{found: 1})
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    part.notes.append(", ".join(f"{number} {found}" for found, number in part.seen.items()))
    return part


def permission(trials: Trials, most: int | None = None) -> Part:
    """Folders that this process may not write to, one after the other: said before anything is trained."""
    part = trials.part("no permission")
    for name in part.untried(study.sample(FOLDERS, most, trials.seed), str):
        trials.copy(trials.whole, trials.out)
        storage.remove(next((trials.out / "runs").glob("[0-9a-f]*")))  # something is to be done
        folder, texts = trials.out / name, trials.place / "texts"
        for path in [trials.place, trials.out, *trials.out.rglob("*"), *texts.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o777 if path.is_dir() else 0o666)
        (trials.place / "screen.txt").touch()
        folder.chmod(0o555)
        root = os.geteuid() == 0
        end = study.forked(trials.place, trials.out, before=_be_nobody if root else lambda: None)
        folder.chmod(0o755)
        wrong = ended_with(end, 2)
        wrong += [] if f"can't write to {folder}" in end.said else [f"not named: {end.said}"]
        part.count(name, [*wrong, *trials.mended()])
    return part


def _be_nobody() -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def two_at_once(trials: Trials, times: int = 3) -> Part:
    """A second start while one works: it ends at once and names the first; after kill -9 of the first nothing bars it."""
    part = trials.part("two at once")
    if part.tried >= times:
        return part
    shutil.rmtree(trials.out, ignore_errors=True)
    process = study.started(trials.place, trials.out, *ENDLESS)
    try:
        deadline = time.monotonic() + 90
        while not list((trials.out / "progress").glob("*.json")):  # it has begun to train
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.05)
        for number in range(times):
            before = processor_s()
            end = study.run(trials.place, trials.out)
            used = min(end.seconds, processor_s() - before)  # the machine may be busy with other things
            wrong = ended_with(end, 2)
            wrong += [f"not named: {end.said}"] * (f"in use by process {process.pid};" not in end.said)
            wrong += [f"it took {used:.2f} s"] * (used > SECOND_S)
            part.count(f"second start {number + 1}", wrong, ms=round(1000 * used))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    for work in (trials.out / "runs").glob(".*.work"):  # of the endless runs, which no start comes back to
        storage.remove(work)
    part.wrong += trials.mended()
    part.notes.append(f"{part.seen['ms'] / part.tried:.0f} ms of processor time each")
    return part


def diverged(trials: Trials) -> Part:
    """A run whose loss becomes NaN: told, tried once, its log kept; the other runs are done."""
    part = trials.part("diverged run")
    if part.tried:
        return part
    out = trials.out
    shutil.rmtree(out, ignore_errors=True)
    study.make(trials.place, study.SUITE + DIVERGES)
    try:
        end = study.forked(trials.place, out, *TRAINED)
    finally:
        study.make(trials.place)
    (found,) = list((out / "runs").glob("*.diverged")) or [Path()]
    log = (out / "logs" / "train-tiny-wild-seed-1.log").read_text()
    told = re.search(r"FAILED train tiny/wild/seed-1: .*not finite at step \d", end.said)
    wrong = ended_with(end, 1) + [end.said] * (not told)
    wrong += ["tried more than once"] * (log.count("attempt") != 1 or "once more" in end.said)
    wrong += ["its log is not kept"] * (not (found / "metrics.csv").is_file())
    there = outcome.results(out)
    others = {name: digest for name, digest in trials.after[0].items() if not name.startswith("made/")}
    wrong += [f"{name} is missing or differs" for name in others if there.get(name) != others[name]]
    part.count("a run with a learning rate of 1e9", wrong)
    return part
