"""Kills, and a file system that refuses, tried on the small study of torture_study.py: every trial counts what it tried
and lists what went otherwise than promised."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from base import storage
from tests.stress import torture_results as outcome
from tests.stress import torture_study as study
from tests.stress.torture_record import Part, Record
from tests.stress.torture_study import STAGES, TRAINED, Ended

LONGER = (
    *("--only", "data", "shakespeare", "frozen_test", "report"),
    *("--set", "train.steps=300", "--set", "log.checkpoint_interval=25", "--set", "frozen_test.steps=[300]"),
)
ERRORS = ("ENOSPC", "EROFS", "EACCES", "EIO")


class Trials:
    """The undisturbed study in parts, and what can be done to copies of them.

    Args:
        place: an empty folder.
        seed: of every random choice.
        record: of the trials done before, which are not tried again.
    """

    def __init__(self, place: Path, seed: int = 5, record: Record | None = None) -> None:
        self.place = study.make(place)
        self.seed = seed
        self.record = record or Record(None)
        self.out = place / "out"
        self.before: list[Path] = []  # the output folder before each of STAGES
        self.after: list[dict[str, str]] = []  # the results after each of them
        self.met: list[list[str]] = []  # the operations in each of them
        for number, stage in enumerate(STAGES):
            self.before.append(place / f"before-{number}")
            if self.out.exists():
                self.copy(self.out, self.before[-1])
            else:
                self.before[-1].mkdir()
            log = place / f"operations-{number}"
            first = study.here(place, self.out, *stage, log=log)
            assert first.status == 0, first.said
            self.met.append(outcome.operations(log))
            self.after.append(outcome.results(self.out))
        self.whole = place / "whole"
        self.copy(self.out, self.whole)
        self.results = self.after[-1]

    def part(self, name: str) -> Part:
        """A new part, with what the record has of it."""
        return Part(name, self.record)

    def copy(self, source: Path, destination: Path) -> None:
        shutil.rmtree(destination, ignore_errors=True)
        shutil.copytree(source, destination, symlinks=True)

    def mended(self, *more: str, wanted: dict[str, str] | None = None) -> list[str]:
        """What is wrong after the study was started again."""
        again = study.forked(self.place, self.out, *more)
        wrong = outcome.differences(self.out, self.results if wanted is None else wanted)
        failed = again.status != 0
        return [f"the next start ended with {again.status}: {again.said}"] * failed + wrong

    def operation(self, stage: int, index: int) -> str:
        """The name of an operation of a part of the study, the same at each start."""
        line = self.met[stage][index - 1].replace(f"{self.place}/", "")
        line = re.sub(r"\.[a-z0-9_]{8}\.(partial|old)", r".*.\1", line)
        return f"{STAGES[stage][-1]} {index}, {line}"

    # Kill

    def killed_at_operations(self, most: int | None = None, stages: Sequence[int] = (0,)) -> Part:
        """Kill it at each write, fsync, rename and removal in turn; start it again.

        Args:
            most: so many of them, a sample.
            stages: which of STAGES.
        """
        of = "" if 0 in stages else ", tables, pages and figures"
        part = self.part(f"killed at a write, fsync, rename or removal{of}")
        shelf = self.place / "shelf"
        for number in stages:
            stage = STAGES[number]
            chosen = [n for n in self._numbers(number, most) if self.operation(number, n) not in part.over]
            if not chosen:
                continue
            self.copy(self.before[number], self.out)
            shutil.rmtree(shelf, ignore_errors=True)
            shelf.mkdir()
            patch = study.dying_at(frozenset(chosen), self.out, shelf)
            end = study.forked(self.place, self.out, *stage, before=patch)
            part.wrong += [f"it ended with {end.status}: {end.said}"] * (end.status != 0)
            part.wrong += outcome.differences(self.out, self.after[number])  # of the one that went on
            for index in chosen:
                shutil.rmtree(self.out)
                killed = shelf / str(index)
                if not killed.exists():
                    part.count(self.operation(number, index), ["nothing was killed there"])
                    continue
                killed.rename(self.out)
                wrong = outcome.broken(self.out, self.after[number])
                unfinished, finished = outcome.checkpoints(self.out), outcome.finished(self.out)
                wrong += self.mended(*stage, wanted=self.after[number])
                wrong += outcome.not_kept(self.out, finished)
                wrong += outcome.not_resumed(self.out, unfinished) if not wrong else []
                part.count(self.operation(number, index), wrong, resumed=len(unfinished))
        if 0 in stages:
            part.notes.append(f"{part.seen['resumed']} runs went on from their last checkpoint")
        return part

    def _numbers(self, stage: int, most: int | None) -> list[int]:
        """Which operations of a part of the study to try, from 1; most: of all parts together, None for each."""
        numbers = range(1, 1 + len(self.met[stage]))
        share = most and round(most * len(self.met[stage]) / sum(map(len, self.met)))
        return study.sample(numbers, share, self.seed)

    def killed_at_random(self, kills: int) -> Part:
        """Kill process group after process group of the command line at random moments, until a study is done; again.

        Its runs are longer ones than in the other trials, so that most kills come in the midst of training.
        """
        part = self.part("killed at a random moment, through the command line")
        to_come = [number for number in range(kills) if f"kill {number + 1}" not in part.over]
        shutil.rmtree(self.out, ignore_errors=True)
        if to_come:
            first = study.run(self.place, self.out, *LONGER)
            wanted = outcome.results(self.out)
            part.wrong += [first.said] * (first.status != 0)
            shutil.rmtree(self.out)
            whole_s = first.seconds
        draw = random.Random(f"{self.seed} {to_come}")
        kept: dict[str, int] = {}
        while to_come or self.out.exists():
            begun, moment = time.monotonic(), draw.uniform(0.2, 0.6 * whole_s)
            process = study.started(self.place, self.out, *LONGER, jobs=1 + len(to_come) % 2)
            try:
                process.communicate(timeout=moment if to_come else None)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                wrong = outcome.broken(self.out, wanted) + outcome.not_kept(self.out, kept)
                kept = outcome.finished(self.out)
                unfinished = outcome.checkpoints(self.out) if self.out.exists() else {}
                part.count(f"kill {to_come.pop(0) + 1}", wrong, resumed=bool(unfinished))
                continue
            wrong = [f"it ended with {process.returncode}"] * (process.returncode != 0)
            wrong += outcome.differences(self.out, wanted) + outcome.not_kept(self.out, kept)
            part.wrong += [f"a study's end: {one}" for one in wrong]
            part.notes.append("a study came to its end")
            whole_s = min(whole_s, 2 * (time.monotonic() - begun))  # other work on the machine comes and goes
            kept = {}
            shutil.rmtree(self.out)
        ends = f"; in this start {len(part.notes)} studies came to their end" if part.notes else ""
        part.notes = [f"{part.seen['resumed']} kills left a run with checkpoints{ends}"]
        return part

    # Errors of the file system

    def refused(self, most: int | None = None) -> Part:
        """A full disk, a read-only one and others, at writes, fsyncs and renames in turn, for once and for good.

        At each write and rename of training and tests, and every third fsync; of tables, pages and figures, which all
        have the same four operations, at every third.
        """
        part = self.part("refused by the file system at a write, fsync or rename")
        for number, stage in enumerate(STAGES):
            for index in self._numbers(number, most):
                operation = self.met[number][index - 1].split()[0]
                each = number == 0 and operation != "fsync"
                if operation == "remove" or (most is None and not each and index % 3):
                    continue
                error = ERRORS[0 if operation == "write" else index // 3 % len(ERRORS)]
                lasting = "+" * (index % 2)
                what = f"{error}{lasting} at {self.operation(number, index)}"
                if what in part.over:
                    continue
                self.copy(self.before[number], self.out)
                end = study.forked(self.place, self.out, *stage, fault=f"any:{index}{lasting}:{error}")
                wrong = [] if end.status == 1 else [f"it ended with {end.status}: {end.said}"]
                wrong += quiet(end)
                wrong += outcome.broken(self.out, self.after[number])
                finished = outcome.finished(self.out)
                wrong += self.mended(*stage, wanted=self.after[number])
                wrong += outcome.not_kept(self.out, finished)
                part.count(what, wrong, **{error: 1})
        part.notes.append(", ".join(f"{part.seen[error]} {error}" for error in ERRORS))
        return part

    def small_disk(
        self, sizes: Sequence[int] = (16, 80, 160, 240, 320, 480, 720), stage: Sequence[str] = ()
    ) -> Part:
        """A real file system of so many KiB. Enlarged, it has to take the rest of the study. And a read-only one."""
        part = self.part("small or read-only disk")
        disk = self.place / "disk"
        disk.mkdir(exist_ok=True)
        wanted = self.after[0] if stage == TRAINED else self.results
        for size in sizes:
            if f"{size} KiB" in part.over:
                continue
            mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "torture", str(disk)]
            if subprocess.run(mount, capture_output=True).returncode:
                part.notes.append("this process may not mount; tried by injected errors alone")
                return part
            try:
                end = study.forked(self.place, disk / "out", *stage)
                wrong = [] if end.status in (1, 2) else [f"it ended with {end.status}: {end.said}"]
                trained = (disk / "out" / "runs").exists() and any((disk / "out" / "runs").iterdir())
                found = "refused before training" if end.status == 2 else "full on the way"
                wrong += ["refused, but something was trained"] * (end.status == 2 and trained)
                wrong += quiet(end) + outcome.broken(disk / "out", wanted)
                wrong += self._on(disk, "remount,ro", stage, 2, "can't write to")
                wrong += self._on(disk, "remount,rw,size=64m", stage, 0, "")
                wrong += outcome.differences(disk / "out", wanted)
                part.count(f"{size} KiB", wrong, **{found: 1})
            finally:
                subprocess.run(["umount", str(disk)], check=True)
        part.notes.append(", ".join(f"{number} {found}" for found, number in part.seen.items()))
        return part

    def _on(self, disk: Path, options: str, stage: Sequence[str], status: int, said: str) -> list[str]:
        """What is wrong with a start on the disk mounted otherwise."""
        subprocess.run(["mount", "-o", options, str(disk)], check=True)
        end = study.forked(self.place, disk / "out", *stage)
        as_wanted = end.status == status and said in end.said
        return [] if as_wanted else [f"{options}: it ended with {end.status}: {end.said}"]

    def not_permitted(self, most: int | None = None) -> Part:
        """Folders that this process may not write to, one after the other: said before anything is trained."""
        part = self.part("no permission")
        folders = [
            ".",
            "data",
            "runs",
            "made",
            "tables",
            "tables/tiny",
            "figures",
            "report",
            "logs",
            "tiny/self",
        ]
        for name in study.sample(folders, most, self.seed):
            if name in part.over:
                continue
            self.copy(self.whole, self.out)
            storage.remove(next((self.out / "runs").glob("[0-9a-f]*")))  # something is to be done
            folder = self.out / name
            root = os.geteuid() == 0
            for path in [self.place, self.out, *self.out.rglob("*"), *(self.place / "texts").rglob("*")]:
                if not path.is_symlink():
                    path.chmod(0o777 if path.is_dir() else 0o666)
            (self.place / "screen.txt").touch()
            folder.chmod(0o555)
            end = study.forked(self.place, self.out, before=_be_nobody if root else lambda: None)
            folder.chmod(0o755)
            wrong = [] if end.status == 2 else [f"it ended with {end.status}: {end.said}"]
            wrong += [] if f"can't write to {folder}" in end.said else [f"not named: {end.said}"]
            part.count(name, [*wrong, *quiet(end), *self.mended()])
        return part

    # Order and workers

    def ordered(self, jobs: Sequence[int] = (1, 2, 4), shuffles: int = 3) -> Part:
        """Two seeds with so many workers, and in shuffled order, with a kill on the way."""
        part = self.part("number of workers and order of tasks")
        two = ("--seeds", "2", "--only", "data", "shakespeare", "frozen_test", "report")
        cases: dict[str, Callable[[], Ended]] = {
            f"--jobs {number}": lambda number=number: study.run(self.place, self.out, *two, jobs=number)  # type: ignore[misc]
            for number in jobs
        }
        for number in range(shuffles):
            at = random.Random(number).randrange(60, 500)
            cases[f"order {number}, killed at operation {at}"] = lambda number=number, at=at: self._shuffled(
                number, at, *two
            )  # type: ignore[misc]
        first: dict[str, str] = {}
        if not part.over.issuperset(cases):
            for what, start in cases.items():
                if what in part.over and first:
                    continue
                shutil.rmtree(self.out, ignore_errors=True)
                end = start()
                wrong = [end.said] * (end.status != 0)
                first = first or outcome.results(self.out)
                if what not in part.over:
                    part.count(what, wrong + outcome.differences(self.out, first))
        return part

    def _shuffled(self, number: int, at: int, *more: str) -> Ended:
        order = study.shuffled(number)
        study.forked(self.place, self.out, *more, fault=f"any:{at}:kill", before=order)
        return study.forked(self.place, self.out, *more, before=order)


def quiet(end: Ended) -> list[str]:
    """A traceback on the screen, which is wrong."""
    return [f"a traceback on the screen: {end.said}"] if "Traceback" in end.said else []


def _be_nobody() -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
