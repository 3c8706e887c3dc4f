"""What of a study is up to date, and if not, why: records of what was made, and views on run folders."""

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base import storage
from base.storage import UserError
from runs import folder as run_folder
from study.phases import TESTS
from study.plan import Task

NOT_WHOLE = "not whole"


@dataclass(frozen=True)
class Decision:
    """Whether a task runs, and why (not)."""

    run: bool
    reason: str

    @property
    def damaged(self) -> bool:
        """Whether it runs because a result that was there is not whole."""
        return self.run and self.reason.startswith(NOT_WHOLE)


def record_path(out: Path, task: Task) -> Path:
    """Where what was made is recorded: tests under their key, since several may stand, the others by name."""
    return out / "made" / f"{(task.key or '')[:16] if task.kind in TESTS else task.slug}.json"


def keep_record(out: Path, task: Task, files: Iterable[Path], seconds: float) -> None:
    """Record a finished task: its key, what it was made of, and the SHA-256 of each of its files."""
    hashes = {path.relative_to(task.destination).as_posix(): storage.sha256_file(path) for path in files}
    record = {"key": task.key, "parts": task.parts, "seconds": round(seconds, 3), "files": hashes}
    storage.write_sealed(record_path(out, task), record)
    keep_name(out, task)


def keep_name(out: Path, task: Task) -> None:
    """Record under a test's name what its result is of, where that record is of another one or not whole."""
    path = out / "made" / f"{task.slug}.json"
    if task.kind in TESTS and record_of(path).get("key") != task.key:
        storage.write_sealed(path, {"key": task.key, "parts": task.parts})


def record_of(path: Path) -> dict[str, Any]:
    """A record, or {} where there is none that can be read."""
    with contextlib.suppress(UserError, OSError):
        found = storage.read_json(path)
        if isinstance(found, dict):
            return found
    return {}


def damage(out: Path, task: Task) -> str | None:
    """What is wrong with the result of a task: None if it is whole and of the task's key, "" if it is not there."""
    if task.key is None:
        return ""
    if task.kind == "train":
        if not os.path.lexists(task.destination):
            return ""
        try:
            run_folder.check(task.destination, task.key)
        except (UserError, OSError) as error:
            return str(error).split(";")[0]
        return None
    path = record_path(out, task)
    record = record_of(path)
    if not record and path.exists():
        return f"{path} was changed"
    if not record and task.kind in TESTS and task.destination.exists():
        return f"{path} is missing"
    if record.get("key") != task.key or not isinstance(record.get("files"), dict):
        return ""
    for name, digest in record["files"].items():
        path = task.destination / name
        try:
            if storage.sha256_file(path) != digest:
                return f"{path} was changed"
        except OSError:
            return f"{path} is missing"
    return None


def examine(out: Path, tasks: Sequence[Task], forced: frozenset[str] = frozenset()) -> dict[str, Decision]:
    """Decide for each task whether it runs. Every file is read and compared with its recorded SHA-256.

    Args:
        forced: phases whose tasks run in any case.
    """
    with ThreadPoolExecutor(
        max_workers=min(8, os.cpu_count() or 1)
    ) as threads:  # hashing frees the interpreter
        damages = list(threads.map(lambda task: damage(out, task), tasks))
    return {task.name: _decide(out, task, wrong, forced) for task, wrong in zip(tasks, damages, strict=True)}


def _decide(out: Path, task: Task, wrong: str | None, forced: frozenset[str]) -> Decision:
    if task.key is None:
        return Decision(True, "waits for data")
    if task.of(forced) or (task.kind == "tables" and "report" in forced):
        return Decision(True, "forced")
    if wrong is None:
        return Decision(False, "up to date")
    if wrong:
        return Decision(True, f"{NOT_WHOLE}: {wrong}")
    return Decision(True, why(previous_parts(out, task), task.parts))


def previous_parts(out: Path, task: Task) -> dict[str, Any]:
    """What the last result of a task was made of, by its view or its record; {} where there is none."""
    if task.kind != "train":
        found = record_of(out / "made" / f"{task.slug}.json").get("parts")
        return found if isinstance(found, dict) else {}
    for view in task.views:
        folder = view_target(view)
        if folder is not None:
            record = record_of(folder / "run.json")
            settings = record_of(folder / "config.json")
            if record and settings:
                return {"config": settings, **{name: record.get(name) for name in ("code", "data", "inputs")}}
    return {}


def why(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """In words, what differs between the parts of two keys."""
    if not old:
        return "new"
    reasons = []
    before, after = _flat(old.get("config")), _flat(new.get("config"))
    fields = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    if fields:
        shown = [f"{name} {_short(before.get(name))} -> {_short(after.get(name))}" for name in fields[:3]]
        reasons.append(f"config changed: {', '.join(shown)}{_more(fields)}")
    code, known = new.get("code"), old.get("code")
    if code != known:
        files = []
        if isinstance(code, dict) and isinstance(known, dict):
            files = [name for name in sorted({*code, *known}) if code.get(name) != known.get(name)]
        reasons.append(f"code changed{': ' if files else ''}{', '.join(files[:3])}{_more(files)}")
    if old.get("data") != new.get("data"):
        reasons.append("data changed")
    now, then = new.get("inputs") or {}, old.get("inputs") or {}
    inputs = [name for name in now if now[name] != then.get(name)]
    inputs += [f"{name} (gone)" for name in then if name not in now]
    if inputs:
        reasons.append(f"input changed: {', '.join(inputs[:2])}{_more(inputs, 2)}")
    if old.get("note") != new.get("note"):
        reasons.append("note changed")
    return "; ".join(reasons) or "its record was of another version"


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value} if prefix else {}
    return {
        name: leaf
        for key, inner in value.items()
        for name, leaf in _flat(inner, f"{prefix}.{key}" if prefix else key).items()
    }


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _more(items: Sequence[str], shown: int = 3) -> str:
    return f" and {len(items) - shown} more" if len(items) > shown else ""


def view_target(view: Path) -> Path | None:
    """The run folder that a view points to, whether there or not; None where there is no view."""
    if view.is_symlink():
        return view.parent / os.readlink(view)
    if view.is_file():  # where links can't be made, a text file holds the path
        return view.parent / view.read_text().strip()
    return None


def point(view: Path, folder: Path) -> None:
    """Make `view` a relative link to a run folder, in one step."""
    target = os.path.relpath(folder, view.parent)
    if view.is_symlink() and os.readlink(view) == target:
        return
    view.parent.mkdir(parents=True, exist_ok=True)
    if view.is_dir() and not view.is_symlink():
        raise UserError(f"{view} is a folder of its own where a link to a run should be; move it away")
    temporary = view.with_name(f".{view.name}.partial")
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(target)
    except (OSError, NotImplementedError):
        storage.write_text(view, f"{target}\n")
    else:
        storage.rename(temporary, view)
