"""The small study undisturbed, copies of it to be tormented, and the count of what was tried and what came of it."""

import functools
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from base.storage import ROOT
from tests.stress import results as outcome
from tests.stress import small_study as study
from tests.stress.small_study import STAGES, Ended

T = TypeVar("T")


@functools.cache
def code() -> str:
    """A hash of all code and configs of the project, tests left out."""
    digest = hashlib.sha256()
    for path in sorted(path for kind in ("py", "toml") for path in ROOT.rglob(f"*.{kind}")):
        parts = path.relative_to(ROOT).parts
        if parts[0] not in ("out", "tests") and not any(part.startswith(".") for part in parts):
            digest.update("/".join(parts).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


class Part:
    """One kind of trial: how many were tried, what differed from what was promised, and counts of other things seen.

    Args:
        name: what is tried, in words.
        record: a file that keeps a line of JSON a trial. Those in it that went well with the code as it is now are not
            tried again. Several processes may add to one.
    """

    def __init__(self, name: str, record: Path | None = None) -> None:
        self.name = name
        self.record = record
        self.over: set[str] = set()
        self.wrong: list[str] = []
        self.notes: list[str] = []
        self.seen: Counter[str] = Counter()
        for text in record.read_text().splitlines() if record and record.exists() else ():
            try:
                line = json.loads(text)
            except ValueError:  # the last one, of a start that was stopped
                continue
            if (line["part"], line["code"], line["wrong"]) == (name, code(), []):
                self._add(line["what"], line["seen"])

    @property
    def tried(self) -> int:
        return len(self.over)

    def _add(self, what: str, seen: dict[str, int]) -> None:
        if what not in self.over:
            self.over.add(what)
            self.seen.update(seen)

    def untried(self, cases: Iterable[T], what: Callable[[T], str]) -> list[T]:
        """Those of some cases that the record lacks, by the name of each trial."""
        return [case for case in cases if what(case) not in self.over]

    def count(self, what: str, found: Iterable[str], **seen: int) -> None:
        """One trial more, and what was wrong with it."""
        wrong = list(found)
        self._add(what, seen)
        self.wrong += [f"{what}: {one}" for one in wrong]
        if self.record is not None:
            line = {"part": self.name, "what": what, "wrong": wrong, "seen": seen, "code": code()}
            handle = os.open(self.record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.write(handle, ("\n" + json.dumps(line) + "\n").encode())
            os.close(handle)


class Trials:
    """The undisturbed study in parts, and what can be done to copies of them.

    Args:
        place: an empty folder.
        seed: of every random choice.
        record: see Part.
    """

    def __init__(self, place: Path, seed: int = 5, record: Path | None = None) -> None:
        self.place = study.make(place)
        self.seed = seed
        self.record = record
        self.out = place / "out"
        self.before: list[Path] = []  # the output folder before each of STAGES
        self.after: list[dict[str, str]] = []  # the results after each of them
        self.met: list[list[str]] = []  # the operations in each of them
        self.out.mkdir()
        for number, stage in enumerate(STAGES):
            self.before.append(place / f"before-{number}")
            self.copy(self.out, self.before[-1])
            log = place / f"operations-{number}"
            first = study.here(place, self.out, *stage, log=log)
            assert first.status == 0, first.said
            self.met.append(outcome.operations(log))
            self.after.append(outcome.results(self.out))
        self.whole = place / "whole"
        self.copy(self.out, self.whole)
        self.results = self.after[-1]

    def part(self, name: str) -> Part:
        return Part(name, self.record)

    def copy(self, source: Path, destination: Path) -> None:
        shutil.rmtree(destination, ignore_errors=True)
        shutil.copytree(source, destination, symlinks=True)

    def mended(self, *more: str, wanted: dict[str, str] | None = None) -> list[str]:
        """What is wrong after the study was started again."""
        again = study.forked(self.place, self.out, *more)
        wrong = outcome.differences(self.out, self.results if wanted is None else wanted)
        return [f"the next start: {one}" for one in ended_with(again, 0)] + wrong

    def operation(self, stage: int, index: int) -> str:
        """The name of an operation of a part of the study, the same at each start."""
        line = self.met[stage][index - 1].replace(f"{self.place}/", "")
        line = re.sub(r"\.[a-z0-9_]{8}\.(partial|old)", r".*.\1", line)
        return f"{STAGES[stage][-1]} {index}, {line}"

    def numbers(self, stage: int, most: int | None) -> Sequence[int]:
        """Which operations of a part of the study to try, from 1; most: of all parts together, None for each."""
        share = most and round(most * len(self.met[stage]) / sum(map(len, self.met)))
        return study.sample(range(1, 1 + len(self.met[stage])), share, self.seed)


def ended_with(end: Ended, *statuses: int) -> list[str]:
    """What is wrong with how a start ended: another status, or a traceback on the screen."""
    wrong = [] if end.status in statuses else [f"it ended with {end.status}: {end.said}"]
    return wrong + [f"a traceback on the screen: {end.said}"] * ("Traceback" in end.said)
