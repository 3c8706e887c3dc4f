"""The quick form of a suite: a real study, only too small to conclude from. One rule makes it of every suite:

- Runs have a share of their steps, and what is told in steps moves along (lengths.py). What recurs
  by chance comes and goes sooner still, so that each of several regimes acts.
- No number is larger than the one that stands for it in the table `[quick]`, which base.toml has.
- A probe's field has the quick value that is declared beside its own (`setting` in probe.py).

What a --set gives stays as it was given.
"""

from collections.abc import Collection
from typing import Any

from configs import lengths, toml_file
from configs.lengths import Keys
from configs.probe import Probe
from configs.toml_file import ConfigError

SHORTER = "shorter"  # in `[quick]`: what the number of steps is divided by
OFTENER = 2.0  # times as much as the run is shorter: how often what recurs comes and goes
MOST_OFTEN = 0.5  # probability of that at a step


def table(source: toml_file.Source) -> dict[str, Any]:
    """The table `[quick]` of a suite and all that it extends. ConfigError where there is none, or no number of times shorter."""
    found = source.document.get("quick")
    if not isinstance(found, dict):
        raise ConfigError(
            f"{source.path} has no [quick] table, so it can't be run with --quick; extend base.toml, which has one"
        )
    shorter = found.get(SHORTER)
    if not isinstance(shorter, int | float) or not 1 <= shorter <= 1000:
        raise ConfigError(
            f"quick.{SHORTER} = {toml_file.shown(shorter)} {source.where(('quick', SHORTER), ('quick',))}: give a number "
            "from 1 to 1000, which the steps are divided by"
        )
    return found


def small(values: dict[str, Any], quick: dict[str, Any], given: Collection[Keys]) -> dict[str, Any]:
    """Tables of a suite or of one of its conditions in which no number is larger than in `[quick]`, but for what a --set gave."""
    return _capped(values, {key: most for key, most in quick.items() if key not in (SHORTER, "probe")}, given)


def often(resolved: dict[str, Any], factor: float, given: Collection[Keys]) -> dict[str, Any]:
    """A condition's tables whose recurring regimes come and go sooner. factor: its steps over those of its whole form."""
    schedule = resolved.get("schedule")
    if not isinstance(schedule, dict):
        return resolved
    own = {name for name in ("enter", "leave") if not lengths.is_among(("schedule", name), given)}
    rates = {name: rate for name in own if isinstance(rate := schedule.get(name), float)}
    sooner = {name: max(rate, min(MOST_OFTEN, OFTENER * rate / factor)) for name, rate in rates.items()}
    return {**resolved, "schedule": {**schedule, **sooner}}


def asked(
    fields: dict[str, Any], probe: type[Probe], quick: dict[str, Any], given: Collection[Keys]
) -> dict[str, Any]:
    """The fields of a probe with the quick values that it declares, under those that `[quick]` has for it."""
    extra = {name: field.json_schema_extra for name, field in probe.model_fields.items()}
    most = {name: of["quick"] for name, of in extra.items() if isinstance(of, dict) and "quick" in of}
    return _capped(fields, {**most, **quick}, given)


def _capped(
    values: dict[str, Any], most: dict[str, Any], given: Collection[Keys], place: Keys = ()
) -> dict[str, Any]:
    made = dict(values)
    for key, cap in most.items():
        old, here = made.get(key), (*place, key)
        if isinstance(cap, dict) and isinstance(old, dict | None):
            made[key] = _capped(old or {}, cap, given, here)
        elif lengths.is_among(here, given):
            continue
        elif type(old) in (int, float) and type(cap) in (int, float):
            made[key] = min(old, cap)
        else:
            made[key] = cap
    return made
