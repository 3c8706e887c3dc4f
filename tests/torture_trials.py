"""What is done to the small study of torture_study.py, and what has to come of it: every trial counts what it tried and
lists what went otherwise than promised."""

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import storage
from tests import torture_study as study
from tests.torture_study import STAGES, TRAINED, Ended

LONGER = (
    *("--only", "data", "shakespeare", "frozen_test", "report"),
    *("--set", "train.steps=300", "--set", "log.checkpoint_interval=25", "--set", "frozen_test.steps=[300]"),
)
ERRORS = ("ENOSPC", "EROFS", "EACCES", "EIO")


@dataclass
class Part:
    """One kind of trial. tried: how many; wrong: what differed, empty where all is well."""

    name: str
    tried: int = 0
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, what: str, found: Iterable[str]) -> None:
        """One trial more, and what was wrong with it."""
        self.tried += 1
        self.wrong += [f"{what}: {one}" for one in found]


class Trials:
    """The undisturbed study in parts, and what can be done to copies of them.

    Args:
        place: an empty folder.
        seed: of every random choice.
    """

    def __init__(self, place: Path, seed: int = 5) -> None:
        self.place = study.make(place)
        self.seed = seed
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
            self.met.append(study.operations(log))
            self.after.append(study.results(self.out))
        self.whole = place / "whole"
        self.copy(self.out, self.whole)
        self.results = self.after[-1]

    def copy(self, source: Path, destination: Path) -> None:
        shutil.rmtree(destination, ignore_errors=True)
        shutil.copytree(source, destination, symlinks=True)

    def mended(self, *more: str, wanted: dict[str, str] | None = None) -> list[str]:
        """What is wrong after the study was started again."""
        again = study.forked(self.place, self.out, *more)
        wrong = study.differences(self.out, self.results if wanted is None else wanted)
        return (
            wrong
            if again.status == 0
            else [f"the next start ended with {again.status}: {again.said}", *wrong]
        )

    # Kill

    def killed_at_operations(self, most: int | None = None) -> Part:
        """Kill it at each write, fsync, rename and removal in turn; start it again."""
        part = Part("killed at a write, fsync, rename or removal")
        resumed = 0
        for number, stage in enumerate(STAGES):
            for index in self._numbers(number, most):
                self.copy(self.before[number], self.out)
                end = study.forked(self.place, self.out, *stage, fault=f"any:{index}:kill")
                wrong = [] if end.status == -signal.SIGKILL else [f"it ended with {end.status}: {end.said}"]
                wrong += study.broken(self.out, self.after[number])
                unfinished = study.checkpoints(self.out)
                resumed += len(unfinished)
                wrong += self.mended(*stage, wanted=self.after[number])
                wrong += study.not_resumed(self.out, unfinished) if not wrong else []
                part.count(f"{' '.join(stage)}, {self.met[number][index - 1]} (operation {index})", wrong)
        part.notes.append(f"{resumed} runs went on from their last checkpoint")
        return part

    def _numbers(self, stage: int, most: int | None, operations: Sequence[str] = ()) -> list[int]:
        """Which operations of a part of the study to try, from 1; most: of all parts together."""
        all_of = [
            n for n, line in enumerate(self.met[stage], 1) if not operations or line.split()[0] in operations
        ]
        share = most and round(most * len(self.met[stage]) / sum(map(len, self.met)))
        return study.sample(all_of, share, self.seed)

    def killed_at_random(self, kills: int) -> Part:
        """Kill process group after process group of the command line at random moments, until a study is done; again.

        Its runs are longer ones than in the other trials, so that most kills come in the midst of training.
        """
        part = Part("killed at a random moment, through the command line")
        draw = random.Random(self.seed)
        shutil.rmtree(self.out, ignore_errors=True)
        first = study.run(self.place, self.out, *LONGER)
        wanted = study.results(self.out)
        part.wrong += [first.said] * (first.status != 0)
        shutil.rmtree(self.out)
        finished = resumed = 0
        while part.tried < kills or self.out.exists():
            process = study.started(self.place, self.out, *LONGER, jobs=1 + part.tried % 2)
            try:
                process.communicate(
                    timeout=draw.uniform(0.2, 0.6 * first.seconds) if part.tried < kills else None
                )
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                unfinished = study.checkpoints(self.out) if self.out.exists() else {}
                resumed += bool(unfinished)
                part.count(f"kill {part.tried + 1}", study.broken(self.out, wanted))
                continue
            finished += 1
            part.wrong += [f"study {finished} ended with {process.returncode}"] * (process.returncode != 0)
            part.wrong += [f"study {finished}: {one}" for one in study.differences(self.out, wanted)]
            shutil.rmtree(self.out)
        part.notes.append(
            f"{finished} studies finished; {resumed} kills left a run with checkpoints to go on from"
        )
        return part

    # Errors of the file system

    def refused(self, most: int | None = None) -> Part:
        """A full disk, a read-only one and others, at each write, fsync and rename in turn, for once and for good."""
        part = Part("refused by the file system")
        for number, stage in enumerate(STAGES):
            for index in self._numbers(number, most, ("write", "fsync", "rename")):
                error = (
                    ERRORS[0]
                    if self.met[number][index - 1].startswith("write")
                    else ERRORS[index % len(ERRORS)]
                )
                lasting = "+" * (index % 3 == 0)
                self.copy(self.before[number], self.out)
                end = study.forked(self.place, self.out, *stage, fault=f"any:{index}{lasting}:{error}")
                wrong = [] if end.status == 1 else [f"it ended with {end.status}: {end.said}"]
                wrong += self._quiet(end)
                wrong += study.broken(self.out, self.after[number])
                wrong += self.mended(*stage, wanted=self.after[number])
                part.count(f"{error}{lasting} at {self.met[number][index - 1]} (operation {index})", wrong)
        return part

    def _quiet(self, end: Ended) -> list[str]:
        return [f"a traceback on the screen: {end.said}"] if "Traceback" in end.said else []

    def small_disk(
        self, sizes: Sequence[int] = (16, 150, 300, 500, 800, 1500), stage: Sequence[str] = ()
    ) -> Part:
        """A real file system of so many KiB. Enlarged, it has to take the rest of the study."""
        part = Part("small disk")
        disk = self.place / "disk"
        disk.mkdir(exist_ok=True)
        wanted = self.after[0] if stage == TRAINED else self.results
        for size in sizes:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "torture", str(disk)]
            if subprocess.run(mount, capture_output=True).returncode:
                part.notes.append("this process may not mount; tried by injected errors alone")
                return part
            try:
                end = study.forked(self.place, disk / "out", *stage)
                wrong = [] if end.status in (1, 2) else [f"it ended with {end.status}: {end.said}"]
                trained = (disk / "out" / "runs").exists() and any((disk / "out" / "runs").iterdir())
                found = "refused before training" if end.status == 2 else "full on the way"
                part.notes.append(f"{size} KiB: {found}")
                wrong += ["refused, but something was trained"] * (end.status == 2 and trained)
                wrong += self._quiet(end) + study.broken(disk / "out", wanted)
                subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
                again = study.forked(self.place, disk / "out", *stage)
                wrong += [again.said] * (again.status != 0) + study.differences(disk / "out", wanted)
                part.count(f"{size} KiB", wrong)
            finally:
                subprocess.run(["umount", str(disk)], check=True)
        return part

    def not_permitted(self) -> Part:
        """Folders that this process may not write to, one after the other: said before anything is trained."""
        part = Part("no permission")
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
        for name in folders:
            self.copy(self.whole, self.out)
            storage.remove(next((self.out / "runs").glob("[0-9a-f]*")))  # something is to be done
            folder = self.out / name
            root = os.geteuid() == 0
            for path in [self.place, self.out, *self.out.rglob("*")]:
                if path.is_dir() and not path.is_symlink():
                    path.chmod(0o777)
            for path in self.place.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    path.chmod(0o666)
            folder.chmod(0o555)
            end = study.forked(self.place, self.out, before=_be_nobody if root else lambda: None)
            folder.chmod(0o755)
            wrong = [] if end.status == 2 else [f"it ended with {end.status}: {end.said}"]
            wrong += [] if f"can't write to {folder}" in end.said else [f"not named: {end.said}"]
            part.count(name, [*wrong, *self._quiet(end), *self.mended()])
        return part

    # Corruption

    def spoilt(self, most: int | None = None) -> Part:
        """Every file of a finished study truncated, one bit flipped, emptied, deleted."""
        part = Part("spoilt artifacts of a finished study")
        cases = [(name, way) for name in study.artifacts(self.whole) for way in WAYS]
        for name, way in study.sample(cases, most, self.seed):
            self.copy(self.whole, self.out)
            WAYS[way](self.out / name, random.Random(f"{self.seed} {name} {way}"))
            part.count(f"{name} {way}", self._noticed(name, way))
        return part

    def spoilt_unfinished(self, most: int | None = None) -> Part:
        """Every file of a run that was killed near its end, spoilt in the same ways: checkpoints, weights put aside."""
        part = Part("spoilt files of an unfinished run")
        last = max(
            n for n, line in enumerate(self.met[0], 1) if "/states.safetensors" in line and ".work/" in line
        )
        shutil.rmtree(self.out)
        self.before[0].mkdir(exist_ok=True)
        study.forked(self.place, self.out, *TRAINED, fault=f"any:{last}:kill")
        killed = self.place / "killed"
        self.copy(self.out, killed)
        (work,) = (folder for folder in (killed / "runs").glob(".*.work") if list(folder.glob("step-*")))
        files = [path for path in sorted(work.rglob("*")) if path.is_file() and path.name != "lock"]
        cases = [(path.relative_to(killed).as_posix(), way) for path in files for way in WAYS]
        for name, way in study.sample(cases, most, self.seed):
            self.copy(killed, self.out)
            WAYS[way](self.out / name, random.Random(f"{self.seed} {name} {way}"))
            wrong = self._noticed(name, way, TRAINED, self.after[0], must_name="step-" in name)
            part.count(f"{name} {way}", wrong)
        return part

    def _noticed(
        self,
        name: str,
        way: str,
        stage: Sequence[str] = (),
        wanted: dict[str, str] | None = None,
        must_name: bool = True,
    ) -> list[str]:
        """What is wrong after a start with a spoilt file: it must be made again, and be named where it still stood."""
        end = study.forked(self.place, self.out, *stage)
        wrong = [] if end.status == 0 else [f"it ended with {end.status}: {end.said}"]
        parts = name.split("/")
        hints = {name, parts[-1], parts[-1].removesuffix(".json").replace("-", " "), *parts[1:2]}
        if must_name and not any(hint in end.said for hint in hints) and not _of_a_name(name):
            wrong.append(f"it was not named: {end.said}")
        return wrong + study.differences(self.out, self.results if wanted is None else wanted)

    # Order and workers

    def ordered(self, jobs: Sequence[int] = (1, 2, 4), shuffles: int = 3) -> Part:
        """Two seeds with so many workers, and in shuffled order, with a kill on the way."""
        part = Part("number of workers and order of tasks")
        first: dict[str, str] = {}
        two = ("--seeds", "2")
        for number in jobs:
            shutil.rmtree(self.out, ignore_errors=True)
            end = study.run(self.place, self.out, *two, jobs=number)
            first = first or study.results(self.out)
            wrong = [end.said] * (end.status != 0) + study.differences(self.out, first)
            part.count(f"--jobs {number}", wrong)
        for number in range(shuffles):
            shutil.rmtree(self.out, ignore_errors=True)
            order = study.shuffled(number)
            at = random.Random(number).randrange(100, 900)
            study.forked(self.place, self.out, *two, fault=f"any:{at}:kill", before=order)
            end = study.forked(self.place, self.out, *two, before=order)
            wrong = [end.said] * (end.status != 0) + study.differences(self.out, first)
            part.count(f"order {number}, killed at operation {at}", wrong)
        return part


def _be_nobody() -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def _of_a_name(name: str) -> bool:
    """Whether a file only says what a test's last result was made of, which decides nothing but the words of a reason."""
    return name.startswith("made/frozen-")


def truncate(path: Path, draw: random.Random) -> None:
    """Cut a file off somewhere."""
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(1, len(content))])


def flip(path: Path, draw: random.Random) -> None:
    """Flip one bit of one byte."""
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def empty(path: Path, draw: random.Random) -> None:
    path.write_bytes(b"")


def delete(path: Path, draw: random.Random) -> None:
    path.unlink()


WAYS: dict[str, Callable[[Path, random.Random], None]] = {
    "truncated": truncate,
    "flipped": flip,
    "emptied": empty,
    "deleted": delete,
}
