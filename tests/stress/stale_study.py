"""A small study in a clone of the code, and what would run in it after each of many edits of its files.

The clone is edited and asked by one process of its own (`python stale_study.py CLONE < cases`), which forgets what it
hashed between two cases, so that many edits take seconds.
"""

import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {
    "tiny_text": "To see a world in a grain of sand, and a heaven in a wild flower. " * 60,
    "tiny_other": "Hold infinity in the palm of your hand, and eternity in an hour. " * 60,
}
HASHING = ("base.code", "runs.folder", "study.plan", "study.phases")
"""Modules that keep what they read."""


@dataclass(frozen=True)
class Case:
    """One edit of a file of clone or study: `old` becomes `new`; without `old`, `new` is added at its end; without
    either, it loses its last byte."""

    file: str
    old: str = ""
    new: str = ""

    def edited(self, content: bytes) -> bytes:
        old, new = self.old.encode(), self.new.encode()
        assert content.count(old) == 1 or not old, f"{self.file} does not hold {self.old!r} once"
        return content.replace(old, new) if old else content + new if new else content[:-1]


@dataclass
class Place:
    """The folder of a clone, its suite file, its texts and its study in out/."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def _python(self, *line: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [sys.executable, *line],
            input=given, cwd=self.folder, env=self.environment, capture_output=True, text=True,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended

    def study(self) -> set[str]:
        """Start the study: the names of what ran, as file names."""
        logs = self.folder / "out" / "logs"
        before = {path: path.stat().st_mtime_ns for path in logs.glob("*")}
        self._python("scripts/run_all.py", "--config", "tiny.toml", "--out", "out", "--jobs", "2")
        return {path.stem for path in logs.iterdir() if path.stat().st_mtime_ns != before.get(path)}

    def would_run(self, cases: Sequence[Case]) -> list[set[str]]:
        """The names of what would run after each edit, each made alone and taken back."""
        given = json.dumps([asdict(case) for case in cases])
        found = self._python(__file__, str(self.folder), given=given).stdout
        return [set(names) for names in json.loads(found.splitlines()[-1])]


def make(folder: Path, suite: str) -> Place:
    """A clone of the code with a finished study."""
    left_out = shutil.ignore_patterns(".*", "out", "tests", "docs", "figures", "__pycache__", "build")
    shutil.copytree(ROOT, folder, ignore=left_out)
    (folder / "tiny.toml").write_text(suite)
    for name, text in TEXTS.items():
        (folder / "texts" / name).mkdir(parents=True)
        (folder / "texts" / name / "input.txt").write_text(text)
    place = Place(folder, {**os.environ, "INTEROCEPTION_DATA": str(folder / "texts")})
    place.study()
    return place


def names_to_run(lines: str) -> list[str]:
    """The names of what a dry run says would run; all tables, all figures, all pages under one name each; no notes."""
    known = {line[6:].split(":")[0]: line.startswith("run ") for line in lines.splitlines()}
    found = {name for name, runs in known.items() if runs and not name.startswith("note ")}
    for kind in ("table", "figure", "page"):
        mine = {name for name in known if name.startswith(f"{kind} ")}
        if mine and mine <= found:
            found = found - mine | {f"{kind}s tiny"}
    return sorted(found)


def answer(folder: Path) -> None:
    """The clone's part of `would_run`: cases on standard input, names on standard output."""
    sys.path.insert(0, str(folder))
    from base.storage import UserError
    from study import preview
    from study.request import Request

    caches = [value for name in HASHING for value in vars(importlib.import_module(name)).values()]
    answers = []
    for case in (Case(**given) for given in json.load(sys.stdin)):
        for cached in caches:
            getattr(cached, "cache_clear", lambda: None)()
        path = folder / case.file
        content = path.read_bytes()
        path.write_bytes(case.edited(content))
        try:
            with contextlib.redirect_stdout(sys.stderr):
                lines = preview.dry_run(
                    Request(Path("out"), Path("tiny.toml"), (), (), False, None, 1, False, False)
                )
            answers.append(names_to_run(lines))
        except UserError as error:
            answers.append([f"error: {case}: {error}"])
        finally:
            path.write_bytes(content)
    print(json.dumps(answers))


if __name__ == "__main__":
    answer(Path(sys.argv[1]))
