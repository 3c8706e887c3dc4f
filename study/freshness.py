"""What of a study is up to date, and if not, why: records of what was made, and views on run folders."""

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from base import storage
from base.storage import UserError
from runs import folder as run_folder
from study.plan import Step, key_of, slug

NOT_WHOLE = "not whole"


@dataclass(frozen=True)
class Decision:
    """Whether a step runs, and why (not)."""

    run: bool
    reason: str

    @property
    def damaged(self) -> bool:
        """Whether it runs because a result that was there is not whole."""
        return self.run and self.reason.startswith(NOT_WHOLE)


def record_path(out: Path, step: Step) -> Path:
    """Where what was made is recorded: tests under their key, since several may stand, the others by name."""
    return out / "made" / f"{(step.key or '')[:16] if step.tests else step.slug}.json"


def keep_record(
    out: Path, step: Step, files: Iterable[Path], seconds: float, read: Sequence[str] = ()
) -> None:
    """Record a finished step: its key, what it was made of, the tables it read, the SHA-256 of each of its files."""
    hashes = {path.relative_to(step.destination).as_posix(): storage.sha256_file(path) for path in files}
    record: dict[str, Any] = {
        "key": step.key,
        "parts": step.parts,
        "seconds": round(seconds, 3),
        "files": hashes,
    }
    if step.reads is not None:
        record["reads"] = sorted(set(read))
    storage.write_sealed(record_path(out, step), record)
    keep_name(out, step)


def keep_name(out: Path, step: Step) -> None:
    """Record under the name of a run or test what its result is of, where that record is of another one or not whole."""
    path = out / "made" / f"{step.slug}.json"
    if step.studied and record_of(path).get("key") != step.key:
        storage.write_sealed(path, {"key": step.key, "parts": step.parts})


def record_of(path: Path) -> dict[str, Any]:
    """A record, or {} where there is none that can be read."""
    with contextlib.suppress(UserError, OSError):
        found = storage.read_json(path)
        if isinstance(found, dict):
            return found
    return {}


def damage(out: Path, step: Step) -> str | None:
    """What is wrong with the result of a step: None if it is whole and of the step's key, "" if it is not there."""
    if step.key is None and step.reads is None:
        return ""
    if step.kind == "train":
        if not os.path.lexists(step.destination):
            return ""
        try:
            run_folder.check(step.destination, step.key)
        except (UserError, OSError) as error:
            return str(error).split(";")[0]
        return None
    path = record_path(out, step)
    record = record_of(path)
    if not record and path.exists():
        return f"{path} was changed"
    if not record and step.tests and step.destination.exists():
        return f"{path} is missing"
    if record.get("key") != step.key or not isinstance(record.get("files"), dict):
        return ""
    for name, digest in record["files"].items():
        path = step.destination / name
        try:
            if storage.sha256_file(path) != digest:
                return f"{path} was changed"
        except OSError:
            return f"{path} is missing"
    return None


def examine(out: Path, steps: Sequence[Step], forced: frozenset[str] = frozenset()) -> dict[str, Decision]:
    """Decide for each step whether it runs. Every file is read and compared with its recorded SHA-256.

    Args:
        forced: phases whose steps run in any case.
    """
    with ThreadPoolExecutor(
        max_workers=min(8, os.cpu_count() or 1)
    ) as threads:  # hashing frees the interpreter
        damages = list(threads.map(lambda step: damage(out, step), steps))
    return {step.name: _decide(out, step, wrong, forced) for step, wrong in zip(steps, damages, strict=True)}


def _decide(out: Path, step: Step, wrong: str | None, forced: frozenset[str]) -> Decision:
    if step.key is None and step.reads is None:
        return Decision(True, "waits for data")
    if step.of(forced):
        return Decision(True, "forced")
    if wrong is None:
        return Decision(False, "up to date")
    if wrong:
        return Decision(True, f"{NOT_WHOLE}: {wrong}")
    return Decision(True, why(previous_parts(out, step), step.parts))


def previous_parts(out: Path, step: Step) -> dict[str, Any]:
    """What the last result of a step was made of; {} where there is none."""
    found = record_of(out / "made" / f"{step.slug}.json").get("parts")
    return found if isinstance(found, dict) else {}


def resolved(out: Path, step: Step) -> Step:
    """A step that reads tables as it likes, with the key that it has if it reads those that it read the last time.

    What it reads hangs on nothing but its code and what it reads, so where these are the same it would read no others.
    Without a last time its key is unknown.
    """
    if step.reads is None:
        return step
    read = record_of(record_path(out, step)).get("reads")
    if not isinstance(read, list):
        return replace(step, key=None)
    keys = {place: key for place, (_, key) in step.reads.items()}
    parts = {**step.parts, "inputs": {f"table {place}": keys.get(place) for place in map(str, read)}}
    return replace(step, parts=parts, key=key_of(parts))


def read_by(out: Path, step: Step, read: Iterable[str]) -> Step:
    """A step that has just read some tables, with its key: by the records of what made them."""
    assert step.reads is not None
    keys = {}
    for place in sorted(set(read)):
        name, _ = step.reads.get(place, ("", None))
        keys[f"table {place}"] = record_of(out / "made" / f"{slug(name)}.json").get("key") if name else None
    parts = {**step.parts, "inputs": keys}
    return replace(step, parts=parts, key=key_of(parts))


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
    code, known = new.get("code") or {}, old.get("code") or {}
    if code != known:
        names = [name for name in sorted({*code, *known}) if code.get(name) != known.get(name)]
        reasons.append(f"code changed: {', '.join(names[:3])}{_more(names)}")
    if old.get("data") != new.get("data"):
        reasons.append("data changed")
    now, then = new.get("inputs") or {}, old.get("inputs") or {}
    inputs = [name for name in now if now[name] != then.get(name)]
    inputs += [f"{name} (gone)" for name in then if name not in now]
    if inputs:
        reasons.append(f"input changed: {', '.join(inputs[:2])}{_more(inputs, 2)}")
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


def point(view: Path, folder: Path) -> None:
    """Make `view` a relative link to a run folder, in one step; a text file where links can't be made."""
    view.parent.mkdir(parents=True, exist_ok=True)
    target = os.path.relpath(folder.resolve(), view.parent.resolve())  # which may itself lie behind a link
    if view.is_symlink() and os.readlink(view) == target:
        return
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
