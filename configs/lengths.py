"""A run of another length: what is told in steps moves with the number of steps, so that --set train.steps=N suffices.

Rates of a recurring schedule, decays and momenta are of single steps and stay; so do intervals of logging and checkpoints.
"""

from collections.abc import Collection
from typing import Any

from configs import toml_file

Keys = tuple[str, ...]
LEAST = 120  # steps of a run that is made shorter
TOLD_IN_STEPS: tuple[Keys, ...] = (
    ("train", "steps"), ("train", "stop"), ("train", "warmup_steps"), ("train", "decay_steps"), ("log", "eval_interval"), ("log", "keep_steps"),
    ("log", "keep_checkpoints"), ("inject_until",), ("start", "step"), ("schedule", "first"), ("schedule", "washout"),
    ("schedule", "durations"), ("schedule", "windows"),
)  # fmt: skip


def factor(source: toml_file.Source, condition: str, resolved: dict[str, Any], shorter: float = 1.0) -> float:
    """The steps of a condition over those that its file gives it; 1 where nothing changes them.

    shorter: what steps that no --set gives are divided by, to no fewer than LEAST.
    """
    own = source.declared.get("conditions", {}).get(condition, {})
    steps = [
        tables["train"].get("steps")
        for tables in (toml_file.merge(source.declared, own), resolved)
        if isinstance(tables.get("train"), dict)
    ]
    if len(steps) < 2 or any(type(count) is not int or count <= 0 for count in steps):
        return 1.0  # what is wrong with them is told when the fields are checked
    if ("train", "steps") not in given(source, condition):
        steps[1] = max(round(steps[1] / shorter), min(steps[1], LEAST))
    return steps[1] / steps[0]


def given(source: toml_file.Source, condition: str) -> list[Keys]:
    """The keys of a condition that a --set gave, those of its schedule among them."""
    own = source.document["conditions"][condition]
    places = [("conditions", condition), ("schedules", own.get("schedule", source.document.get("schedule")))]
    found = list(source.overrides)
    for prefix, inside in zip(places, ((), ("schedule",)), strict=True):
        found = [(*inside, *keys[2:]) if keys[:2] == prefix else keys for keys in found]
    return found


def scaled(fields: dict[str, Any], factor: float, given: Collection[Keys]) -> dict[str, Any]:
    """A condition's tables with what is told in steps times a factor, but for what the user gave.

    Args:
        fields: not yet checked; what is no number of steps stays as it is, and is told of when it is.
        given: the keys that the user set.
    """
    made = dict(fields)
    for keys in TOLD_IN_STEPS:
        table = made.get(keys[0])
        if (
            is_among(keys, given)
            or table is None
            or (len(keys) == 2 and not (isinstance(table, dict) and keys[1] in table))
        ):
            continue
        if len(keys) == 1:
            made[keys[0]] = times(table, factor)
        else:
            made[keys[0]] = {**table, keys[1]: times(table[keys[1]], factor)}
    return made


def is_among(keys: Keys, given: Collection[Keys]) -> bool:
    """Whether one of some keys is these keys, a part of what they hold, or what holds them."""
    return any(key[: len(keys)] == keys or keys[: len(key)] == key for key in given)


def times(value: Any, factor: float) -> Any:
    """A number of steps times a factor, 1 at least unless it is 0; likewise within lists and tables."""
    if isinstance(value, dict):
        made = {key: times(inner, factor) for key, inner in value.items()}
        if {"start", "end"} <= made.keys() and made["start"] == made["end"] and value["start"] < value["end"]:
            made["end"] += 1  # a window keeps a step
        return made
    if isinstance(value, list):
        return [times(inner, factor) for inner in value]
    if type(value) is not int or value <= 0:
        return value
    return max(1, round(value * factor))
