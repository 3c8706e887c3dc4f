"""A run of another length: what is told in steps moves with the number of steps, so that --set train.steps=N suffices.

Rates of a recurring schedule, decays and momenta are of single steps and stay; so do intervals of logging and checkpoints.
"""

from collections.abc import Collection
from typing import Any

from configs import toml_file

Keys = tuple[str, ...]
TOLD_IN_STEPS: tuple[Keys, ...] = (
    ("train", "stop"), ("train", "warmup_steps"), ("train", "decay_steps"), ("log", "eval_interval"), ("log", "keep_steps"),
    ("log", "keep_checkpoints"), ("inject_until",), ("start", "step"), ("schedule", "first"), ("schedule", "washout"),
    ("schedule", "durations"), ("schedule", "windows"),
)  # fmt: skip


def factor(source: toml_file.Source, condition: str, resolved: dict[str, Any]) -> float:
    """The steps of a condition over those that its file gives it; 1 where no --set changes them."""
    own = source.declared.get("conditions", {}).get(condition, {})
    steps = [
        tables["train"].get("steps")
        for tables in (toml_file.merge(source.declared, own), resolved)
        if source.values and isinstance(tables.get("train"), dict)
    ]
    if len(steps) < 2 or any(type(count) is not int or count <= 0 for count in steps):
        return 1.0  # what is wrong with them is told when the fields are checked
    return steps[1] / steps[0]


def as_long(
    source: toml_file.Source, condition: str, resolved: dict[str, Any], times_own: float
) -> dict[str, Any]:
    """A condition's tables with what is told in steps times a factor, but for what a --set gave."""
    given = [keys[2:] if keys[:2] == ("conditions", condition) else keys for keys in source.overrides]
    given += [("schedule",)] * any(keys[0] == "schedules" for keys in given if keys)
    return scaled(resolved, times_own, given) if times_own != 1 else resolved


def scaled(fields: dict[str, Any], factor: float, given: Collection[Keys]) -> dict[str, Any]:
    """A condition's tables with what is told in steps times a factor, but for what the user gave.

    Args:
        fields: not yet checked; what is no number of steps stays as it is, and is told of when it is.
        given: the keys that the user set.
    """
    made = dict(fields)
    for keys in TOLD_IN_STEPS:
        own = [key for key in given if key[: len(keys)] == keys or keys[: len(key)] == key]
        table = made.get(keys[0])
        if own or table is None or (len(keys) == 2 and not (isinstance(table, dict) and keys[1] in table)):
            continue
        if len(keys) == 1:
            made[keys[0]] = times(table, factor)
        else:
            made[keys[0]] = {**table, keys[1]: times(table[keys[1]], factor)}
    return made


def times(value: Any, factor: float) -> Any:
    """A number of steps times a factor, 1 at least unless it is 0; likewise within lists and tables."""
    if isinstance(value, dict):
        return {key: times(inner, factor) for key, inner in value.items()}
    if isinstance(value, list):
        return [times(inner, factor) for inner in value]
    if type(value) is not int or value <= 0:
        return value
    return max(1, round(value * factor))
