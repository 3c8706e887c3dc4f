"""What each field of base.toml means, a comment on its line, from where the field is declared."""

import re
import tomllib
from pathlib import Path

from pydantic import BaseModel

from base import storage
from configs import probe, toml_file
from configs.run import RunConfig
from configs.suite import Suite
from configs.toml_file import Keys

BASE = "configs/base.toml"
COLUMN = 32  # where comments stand, if the value leaves room
_LIBRARIES = {"mechanisms": "self_state", "schedules": "schedule"}


def _declared(keys: Keys) -> tuple[type[BaseModel], Keys]:
    """The model that declares a field of a TOML file, and the field's place in it."""
    if keys[0] in _LIBRARIES:
        return RunConfig, (_LIBRARIES[keys[0]], *keys[2:])
    if keys[0] == "probe":
        return probe.fields_of(keys[1]), keys[2:]
    return (Suite if keys[0] in Suite.model_fields else RunConfig), keys


def meaning(keys: Keys, kind: str | None) -> str:
    """What a field means; "" where none is declared there. kind: the one of its table, where it has one."""
    model, place = _declared(keys)
    members = toml_file.members(model, place[:-1])
    if place[-1] == "kind":
        return ", ".join(members)
    fields = members.get(kind or "none") or members.get("")
    field = fields.model_fields.get(place[-1]) if fields else None
    return (field.description or "").replace("\n", " ") if field else ""


def commented(text: str) -> str:
    """A TOML text with the meaning of each field that stands at the beginning of a line; others keep their comment."""
    document = tomllib.loads(text)
    lines: list[str] = []
    table: Keys = ()
    for line in text.splitlines():
        header = re.match(r"\[([a-z0-9_.]+)\]", line)
        field = re.match(r"""(?P<key>[a-z0-9_]+)(?P<value> = (?:[^#"]|"[^"]*")*)""", line)
        table = tuple(header[1].split(".")) if header else table
        if field and table[:1] != ("quick",):
            values = document
            for key in table:
                values = values[key]
            said = meaning((*table, field["key"]), values.get("kind"))
            line = f"{field[0].rstrip():<{COLUMN - 2}}  # {said}" if said else line
        lines.append(line)
    return "\n".join(lines) + "\n"


def write(root: Path) -> Path:
    """Rewrite the comments of base.toml."""
    path = root / BASE
    storage.write_text(path, commented(path.read_text(encoding="utf-8")))
    return path
