"""What came of a start of the small study: hashes of its results, what is left to go on from, what was met on the way."""

import contextlib
import csv
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from base import storage
from runs import folder as run_folder
from study import run_card

PASSING = ("logs", "progress")
"""Folders that hold no results: what was said, with times and process ids, and how far a task is."""
TIMES = ("seconds", "timings", "started", "resumed_from", storage.SEAL)
"""Fields of records that tell of the making of a result, not of the result; the seal is a hash over them too."""
CARD_TIMES = ("written", "code", storage.SEAL)
RUNS_TIMES = ("first_started", "last_started", "resumed", "core_seconds")
"""The same of the run card, and of its part on runs; files of code may be edited while a study is tormented."""
TIMED = ("task.json", "runs.csv", "tests.csv")
"""Results with seconds in them, which a record's hash of them therefore depends on: compared by what else they say."""


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
    with contextlib.suppress(ValueError, AttributeError, LookupError, TypeError, storage.UserError):
        content = _timeless(path, content)
    return hashlib.sha256(content).hexdigest()


def _timeless(path: Path, content: bytes) -> bytes:
    """What a file says besides times. ValueError and others where it is not what its name promises."""
    if path.name == run_card.PAGE:
        card = next(place for place in path.parents if (place / run_card.FILE).is_file()) / run_card.FILE
        return (
            b"the page of the card"
            if content.decode() == run_card.page(json.loads(card.read_bytes()))
            else content
        )
    if path.name == run_card.FILE:
        found: dict[str, Any] = json.loads(content)
        runs = {name: value for name, value in found["runs"].items() if name not in RUNS_TIMES}
        kept = {name: value for name, value in found.items() if name not in CARD_TIMES}
        return json.dumps(
            {**kept, "runs": runs, "tests": found["tests"]["finished"]}, sort_keys=True
        ).encode()
    if path.name in ("run.json", "task.json") or path.parent.name == "made":
        record = {name: value for name, value in json.loads(content).items() if name not in TIMES}
        files = record.get("files", {})
        record["files"] = {name: digest for name, digest in files.items() if name not in TIMED}
        return json.dumps(record, sort_keys=True).encode()
    if path.name in ("runs.csv", "tests.csv"):
        rows = list(csv.reader(content.decode().splitlines()))
        column = rows[0].index("seconds")
        return "\n".join(",".join(row[:column] + row[column + 1 :]) for row in rows).encode()
    return content


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
    return name.split("/")[0] in ("made", "tables", "figures", "report", run_card.FILE)


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


def finished(out: Path) -> dict[str, int]:
    """The finished runs of an output folder, by name, each with what tells it from one made again in its place."""
    return {path.parent.name: path.stat().st_ino for path in (out / "runs").glob("[0-9a-f]*/run.json")}


def not_kept(out: Path, before: Mapping[str, int]) -> list[str]:
    """Finished runs that are no longer there, or were made again."""
    now = finished(out)
    return [f"runs/{name} was not kept" for name in before if now.get(name) != before[name]]
