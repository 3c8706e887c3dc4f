"""TOML files behind a config: reading, `extends`, merging, `--set`, and where in a file a value stands.

Knows nothing of the fields; suite.py does. Kept apart because TOML readers give no line numbers, and an error
message without a line sends its reader searching.
"""

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from base.errors import UserError

Keys = tuple[str, ...]
_MAX_BYTES = 200_000  # of a file; those of this study have 6,000 or less
_MAX_DOTS = 200  # in a line: reading a key takes time by the square of its parts
_MAX_DEPTH = 32  # tables in tables; those of this study stop at 6
_MAX_FILES = 16  # that extend one another
_MAX_INTEGER = 2**63  # what TOML promises


class ConfigError(UserError):
    """A config that can't be used: one line with what is wrong, where, and what would be right."""


def unknown(kind: str, name: str, known: Iterable[str], where: str) -> str:
    """The message for a name that is not among `known`, with the nearest one."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {_shown_names(names)}"
    return f"unknown {kind} {shown(name)} {where}; {hint}"


def _shown_names(names: Sequence[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none"


def shown(value: Any) -> str:
    """A value as it can safely stand in one line of a message: escaped, and cut when long."""
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 80 else text[:77] + "..."


def merge(below: dict[str, Any], above: dict[str, Any], kinds: bool = True) -> dict[str, Any]:
    """`above` laid over `below`, table by table. A table of another `kind` replaces the one below it, but for probes: there it
    is a setting among others."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if (
            isinstance(old, dict)
            and isinstance(value, dict)
            and (not kinds or old.get("kind") == value.get("kind", old.get("kind")))
        ):
            merged[key] = merge(old, value, kinds and key != "probe")
        else:
            merged[key] = value
    return merged


def _lines(text: str) -> dict[Keys, int]:
    """The line of each table header and key of a TOML text (1-based). Keys inside inline tables are not listed."""
    found: dict[Keys, int] = {}
    table: Keys = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[+([A-Za-z0-9_.\- ]+)\]+", line)
        key = re.match(r"\s*([A-Za-z0-9_.\-]+)\s*=", line)
        if header:
            table = tuple(part.strip() for part in header[1].split("."))
            found.setdefault(table, number)
        elif key:
            path = table + tuple(key[1].split("."))
            for end in range(len(table) + 1, len(path) + 1):
                found.setdefault(path[:end], number)
    return found


@dataclass
class Source:
    """A merged TOML document and where its parts came from."""

    path: Path
    document: dict[str, Any]
    files: list[tuple[Path, dict[Keys, int]]]  # the file itself first, then what it extends
    overrides: dict[Keys, str] = field(default_factory=dict)  # key -> the --set text
    values: list[tuple[Keys, Any]] = field(default_factory=list)
    guilty: Sequence[str] = ()  # --set texts that all errors are to name
    declared: dict[str, Any] = field(default_factory=dict)  # the document before any --set

    def apply_overrides(self, texts: Sequence[str]) -> None:
        """Lay `key=value` texts over the document; those of run fields act on every condition later."""
        self.declared = self.document
        for text in texts:
            name, equals, literal = text.partition("=")
            keys = tuple(part.strip() for part in name.split("."))
            if not equals or not all(re.fullmatch(r"[A-Za-z0-9_\-]+", key) for key in keys):
                raise ConfigError(
                    f"--set {shown(text)}: write it as key=value, for example --set train.steps=500"
                )
            if len(keys) > _MAX_DEPTH:
                raise ConfigError(f"--set {shown(text)}: no key has so many parts")
            value = _toml_value(literal.strip(), text)
            _check(value, f"--set {shown(text)}")
            nested: dict[str, Any] = {keys[-1]: value}
            for key in reversed(keys[:-1]):
                nested = {key: nested}
            if keys != ("corpus",):  # that of each condition decides whether another text can stand for it
                self.document = merge(self.document, nested)
            self.overrides[keys] = text
            self.values.append((keys, value))

    def where(self, *keys: Keys) -> str:
        """`in FILE, line N` of the most precise of some key paths, or the --set that gave it."""
        if self.guilty:
            return "in " + " and ".join(f"--set {shown(text)}" for text in self.guilty)
        for given in filter(None, keys):
            for key, text in self.overrides.items():
                shorter = min(len(key), len(given))
                if key[:shorter] == given[:shorter]:
                    return f"in --set {shown(text)}"
        best: tuple[int, str] = (max(map(len, keys), default=0), f"in {self.path}")
        for given in keys:
            for path, lines in self.files:
                for end in range(len(given), 0, -1):
                    if given[:end] in lines and len(given) - end < best[0]:
                        best = (len(given) - end, f"in {path}, line {lines[given[:end]]}")
        return best[1]

    def resolve_condition(self, name: str, allowed: set[str]) -> tuple[dict[str, Any], Sequence[Keys]]:
        """The document with one condition laid over it, named schedules, processes and mechanisms replaced by their values.

        Returns:
            The merged tables, and the key prefixes at which its values may stand, for messages.
        """
        place: Keys = ("conditions", name)
        condition = self.document["conditions"][name]
        if not isinstance(condition, dict):
            raise ConfigError(f"conditions.{name} must be a table {self.where(place)}")
        for key in condition:
            if key not in allowed - {"seed"}:
                raise ConfigError(unknown("key", key, allowed - {"seed"}, self.where((*place, key))))
        merged = merge(self.document, condition)
        processes = self.document.get("processes", {})
        drawn = isinstance(processes, dict) and merged.get("corpus") in processes
        for keys, value in self.values:
            if drawn and keys == ("corpus",) and value not in processes:
                continue  # another text for all that are trained on one
            if keys[0] in allowed:
                nested: dict[str, Any] = {keys[-1]: value}
                for key in reversed(keys[:-1]):
                    nested = {key: nested}
                merged = merge(merged, nested)
        trail: list[Keys] = [place, ()]
        schedule = merged.get("schedule")
        if isinstance(schedule, str):
            merged["schedule"] = self._named("schedules", schedule, (*place, "schedule"))
            trail.append(("schedules", schedule))
        corpus = merged.get("corpus")
        if isinstance(corpus, str) and isinstance(processes, dict) and corpus in processes:
            merged["process"] = self._named("processes", corpus, (*place, "corpus"))
            trail.append(("processes", corpus))
        mechanism = merged.get("mechanism")
        if mechanism is not None:
            values = self._named("mechanisms", mechanism, (*place, "mechanism"), ("mechanism",))
            own = merged.get("self_state", {})
            merged["self_state"] = merge(values, own) if isinstance(own, dict) else own
            trail.append(("mechanisms", str(mechanism)))
        return merged, trail

    def _named(self, library: str, name: Any, *places: Keys) -> dict[str, Any]:
        tables = self.document.get(library, {})
        if (
            not isinstance(name, str)
            or not isinstance(tables, dict)
            or not isinstance(tables.get(name), dict)
        ):
            known = tables if isinstance(tables, dict) else ()
            raise ConfigError(unknown(library.rstrip("s"), str(name), known, self.where(*places)))
        return dict(tables[name])


def own(path: Path) -> Source:
    """A TOML file as it is, without what it extends. ConfigError when missing or malformed."""
    text = _text(path)
    try:
        document = _parsed(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    _check(document, str(path))
    return Source(path, document, [(path, _lines(text))])


def read(path: Path) -> Source:
    """A TOML file merged over the files it extends. ConfigError when missing, malformed, or extending itself."""
    chain: list[Source] = []
    current: Path | None = path
    while current is not None:
        if any(current.resolve() == seen.path.resolve() for seen in chain):
            raise ConfigError(f"{path} extends itself through {current}")
        if len(chain) == _MAX_FILES:
            raise ConfigError(f"{path} extends more than {_MAX_FILES} files, one through the other")
        found = own(current)
        chain.append(found)
        parent = found.document.get("extends")
        if parent is not None and (not isinstance(parent, str) or "\0" in parent):
            raise ConfigError(f"extends must be the name of a file in {current}")
        beside = current.parent / parent if parent else None
        if beside is not None and not os.path.lexists(beside):
            raise ConfigError(
                f"{current} extends {shown(parent)}, and {beside} does not exist; name the file by its path from {current.parent}"
            )
        current = beside
    merged: dict[str, Any] = {}
    for source in reversed(chain):
        merged = merge(merged, source.document)
    return Source(path, merged, [file for source in chain for file in source.files])


def _text(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for, a device read without end
            raise ConfigError(f"config file {shown(str(path))} can't be read: it is no regular file")
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ConfigError(f"{path} is larger than {_MAX_BYTES:,} bytes; that is no config file")
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        raise ConfigError(f"config file {path} does not exist") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"config file {shown(str(path))} can't be read: {error}") from None


def _parsed(text: str) -> dict[str, Any]:
    """A TOML document. ValueError where it is none, RecursionError where it is nested too deep."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.count(".") > _MAX_DOTS and not line.lstrip().startswith("#"):
            raise ValueError(f"more than {_MAX_DOTS} dots (at line {number})")
    return tomllib.loads(text)


def _check(value: Any, where: str) -> None:
    """ConfigError where a value is nested too deep, or holds an integer that TOML does not promise."""
    waiting = [(value, 0)]
    while waiting:
        inner, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            raise ConfigError(f"{where} nests tables and arrays more than {_MAX_DEPTH} deep")
        if isinstance(inner, dict):
            waiting += [(one, depth + 1) for one in inner.values()]
        elif isinstance(inner, list):
            waiting += [(one, depth + 1) for one in inner]
        elif isinstance(inner, int) and not -_MAX_INTEGER <= inner < _MAX_INTEGER:
            raise ConfigError(f"{where} has an integer of more than 64 bits")


def _toml_value(literal: str, text: str) -> Any:
    """A TOML value; a bare word is a string, since quotes are awkward in a shell."""
    try:
        return _parsed(f"value = {literal}")["value"]
    except (ValueError, KeyError, RecursionError):
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9_:\-]*", literal):
            return literal
        raise ConfigError(f"--set {shown(text)}: {shown(literal)} is not a TOML value") from None


def explain(error: ValidationError, model: type[BaseModel], source: Source, trail: Sequence[Keys]) -> str:
    """One line for the first thing wrong in a pydantic error: the field, the value, the place, what would be right.

    A misspelt key comes before what it was meant for, which is then called missing.
    """
    first = min(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    keys, kinds = _without_kinds(model, [str(part) for part in first["loc"]])
    names = tuple(key for key in keys if not key.isdigit())
    place = source.where(
        *((*prefix, *names) for prefix in trail), *((*prefix, *names[1:]) for prefix in trail)
    )
    label = ".".join(keys) or "this suite"
    if first["type"] == "extra_forbidden":
        kind = kinds.get(keys[:-1])
        having = [tag for tag, member in members(model, keys[:-1]).items() if keys[-1] in member.model_fields]
        if kind is not None and having:
            parent = ".".join(keys[:-1])
            return f'{label} means nothing with {parent}.kind = "{kind}" {place}; it belongs to kind {" or ".join(having)}'
        return unknown("key", label, _siblings(model, keys), place)
    if first["type"] == "missing":
        return f"{label} is missing {place}; give it a value"
    if first["type"] == "union_tag_not_found":
        return f"{label} has no kind {place}; give it one of {', '.join(sorted(members(model, keys)))}"
    if first["type"] == "value_error":
        return f"{first['msg'].removeprefix('Value error, ')} ({place})"
    return f"{label} = {shown(first['input'])} {place}: {first['msg'][:1].lower()}{first['msg'][1:]}"


def _without_kinds(model: type[BaseModel], parts: Sequence[str]) -> tuple[Keys, dict[Keys, str]]:
    """An error's place without the kinds that pydantic puts into it, and which kind was chosen at which place."""
    keys: Keys = ()
    kinds: dict[Keys, str] = {}
    for part in parts:
        if keys not in kinds and part in members(model, keys):
            kinds[keys] = part
        else:
            keys = (*keys, part)
    return keys, kinds


def members(model: type[BaseModel], keys: Keys) -> dict[str, type[BaseModel]]:
    """The models that may stand at a place by their kind; without a kind, the one model under ""; {} for a plain value."""
    found: dict[str, type[BaseModel]] = {"": model}
    inside = False  # a dict or a list, whose keys are no field's name
    for key in keys:
        if inside:
            inside = False
            continue
        fields = [member.model_fields[key] for member in found.values() if key in member.model_fields]
        if not fields:
            return {}
        annotation = fields[0].annotation
        inside = get_origin(annotation) in (dict, tuple)
        if inside:
            annotation = get_args(annotation)[1 if get_origin(annotation) is dict else 0]
        options = get_args(annotation) if not isinstance(annotation, type) else (annotation,)
        models = [one for one in options if isinstance(one, type) and issubclass(one, BaseModel)]
        found = {
            get_args(one.model_fields["kind"].annotation)[0] if len(models) > 1 else "": one for one in models
        }
    return found


def _siblings(model: type[BaseModel], keys: Keys) -> list[str]:
    """Full names of the fields that could stand where an unknown key does."""
    names = [name for member in members(model, keys[:-1]).values() for name in member.model_fields]
    return [".".join((*keys[:-1], name)) for name in dict.fromkeys(names)]
