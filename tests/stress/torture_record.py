"""What was tried in each part of the torture and what came of it, kept in a file so that a long form that was stopped
goes on."""

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from base.storage import ROOT


def code() -> str:
    """A hash of all files of code and config of the project, tests and tables left out."""
    digest = hashlib.sha256()
    for path in sorted([*ROOT.glob("*.py"), *ROOT.glob("data/*.py")]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


class Record:
    """The trials done, a line of JSON each in a file; None: nothing is kept. Several processes may add to one."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.code = code()
        self.lines: list[dict[str, Any]] = []
        if path is None or not path.exists():
            return
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):  # the last one, of a start that was stopped
                self.lines.append(json.loads(line))

    def add(self, line: dict[str, Any]) -> None:
        if self.path is not None:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.write(handle, ("\n" + json.dumps({**line, "code": self.code}) + "\n").encode())
            os.close(handle)


@dataclass
class Part:
    """One kind of trial. tried: how many; wrong: what differed, empty where all is well; seen: counts of other things."""

    name: str
    record: Record = field(default_factory=lambda: Record(None), repr=False)
    tried: int = 0
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.over: set[str] = set()
        for line in self.record.lines:
            if line["part"] == self.name and not line["wrong"] and line["what"] not in self.over:
                self._add(line["what"], [], line["seen"])

    def _add(self, what: str, wrong: Iterable[str], seen: dict[str, int]) -> None:
        self.tried += 1
        self.over.add(what)
        self.wrong += [f"{what}: {one}" for one in wrong]
        self.seen.update(seen)

    def count(self, what: str, found: Iterable[str], **seen: int) -> None:
        """One trial more, and what was wrong with it. Those of a record that went well are not tried again."""
        wrong = list(found)
        self._add(what, wrong, seen)
        self.record.add({"part": self.name, "what": what, "wrong": wrong, "seen": seen})
