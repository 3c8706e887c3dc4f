"""Around the switches of a recurring world: losses lined up at each switch, and how long a run needs to settle after one.

A switch is the first step of a stretch: `on` from calm into a regime, `off` back to calm. Steps of other stretches are
never counted: of the 20 steps before a switch and the 60 from it on, those that belong to the stretch before and to the
one that begins.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.polynomial import Polynomial

from analysis.spans import AFTER_SWITCH
from configs.world import Recurring
from experiments.kit.tables import CALM, RUN

if TYPE_CHECKING:
    from analysis.recurring import Pair

LAGS = range(-20, 61)
SMOOTH = 5  # steps of the mean that has to be back at the settled level
SETTLED = 30  # steps into a stretch from which a run counts as settled in it
FEWEST_STEPS = 30  # settled steps for a level
DEGREE = 2  # of the polynomial through the settled steps of a regime: the loss falls through training
HORIZON = 60  # steps: time to recover is counted up to here
SLACK = 1e-6  # nats: what rounding may leave of no excess at all

PLACE = (*RUN, "world", "switch")
SWITCHES = (*PLACE, "lag", "events", "loss", "difference")
DIFFERENCES = ("steps_difference", "excess_difference", "loss_after_difference")
RECOVERY = (*PLACE, "events", "censored", "steps", "median", "excess", *DIFFERENCES)


@dataclass(frozen=True)
class Switch:
    """on or off; step: the first of its stretch (index into the log); before, after: lengths of the stretches on both sides."""

    kind: str
    step: int
    before: int
    after: int


def switches_of(regimes: np.ndarray, first: int) -> list[Switch]:
    """The switches at or after index `first`. From one regime straight into another is neither on nor off."""
    starts = np.flatnonzero(regimes[1:] != regimes[:-1]) + 1
    edges = [0, *starts.tolist(), len(regimes)]
    found = []
    for before, step, end in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
        kind = "on" if regimes[step - 1] == CALM else "off" if regimes[step] == CALM else ""
        if kind and step >= first:
            found.append(Switch(kind, step, step - before, end - step))
    return found


def line_up(values: np.ndarray, found: Sequence[Switch]) -> np.ndarray:
    """(switches, LAGS) float: values around each switch, NaN outside of its two stretches."""
    lags = np.array(LAGS)
    made = np.full((len(found), len(lags)), np.nan)
    for row, switch in zip(made, found, strict=True):
        inside = (lags >= -switch.before) & (lags < switch.after)
        row[inside] = values[switch.step + lags[inside]]
    return made


def aligned(pairs: Sequence["Pair"]) -> pd.DataFrame:
    """One row a run of a recurring world, kind of switch and lag: mean over its switches of loss and of loss - vanilla's.

    lag: steps from the switch, 0 the first step of the new stretch. events: how many switches reach that lag.
    """
    parts = []
    for pair in _recurring(pairs):
        loss = pair.log["loss"].to_numpy(float)
        apart = loss - pair.log["loss_vanilla"].to_numpy(float)
        for kind, found in _by_kind(pair).items():
            table = pd.DataFrame({"lag": list(LAGS), "events": (~np.isnan(line_up(loss, found))).sum(axis=0)})
            table["loss"], table["difference"] = _means(line_up(loss, found)), _means(line_up(apart, found))
            parts.append(_place(pair, kind, table[table["events"] > 0]))
    return (
        pd.concat(parts, ignore_index=True)[list(SWITCHES)] if parts else pd.DataFrame(columns=list(SWITCHES))
    )


def recovery(pairs: Sequence["Pair"]) -> pd.DataFrame:
    """One row a run of a recurring world and kind of switch.

    The level is the run's own: a parabola over steps through its losses in that regime from the 30th step of a stretch
    on. A run has recovered at the first step k after a switch from which the mean loss of five steps lies no further
    above that level than such means scatter about it (one standard deviation). A switch is censored where the next one
    comes before that; such switches count as longer than seen, not as missing (Kaplan and Meier, 1958).

    events, censored: switches, and those that had not recovered. steps: mean time to recover, up to 60 steps. median: of
    the same; NaN where fewer than half recover. excess: loss above the settled level, summed over the first 20 steps
    (nats a token x steps). Noise alone costs some steps; conditions of a seed bear the same, so only differences count.
    steps_difference, excess_difference: minus vanilla's. loss_after_difference: loss minus vanilla's, summed over the same
    20 steps, which no settled level enters. Below zero is better, in all three.
    """
    rows = []
    for pair in _recurring(pairs):
        loss = pair.log["loss"].to_numpy(float)
        level, spread, smooth = _settled(pair, loss)
        apart = loss - pair.log["loss_vanilla"].to_numpy(float)
        for kind, switches in _by_kind(pair).items():
            found = [one for one in switches if np.isfinite(level[one.step])]
            if not found:
                continue
            times, seen = _times(found, smooth, spread)
            late = slice(LAGS.index(0), LAGS.index(AFTER_SWITCH))
            rows.append(
                {
                    **_names(pair, kind),
                    **{"events": len(found), "censored": int((~seen).sum())},
                    **dict(zip(("steps", "median"), kaplan_meier(times, seen), strict=True)),
                    "excess": float(_means(line_up(loss - level, found))[late].sum()),
                    "loss_after_difference": float(_means(line_up(apart, found))[late].sum()),
                    "vanilla": pair.vanilla,
                }
            )
    table = pd.DataFrame(rows, columns=[*RECOVERY, "vanilla"])
    keys = ["suite", "seed", "switch"]
    base = table[[*keys, "condition", "steps", "excess"]].rename(columns={"condition": "vanilla"})
    both = table[[*keys, "vanilla"]].merge(base, on=[*keys, "vanilla"], how="left")
    for name in ("steps", "excess"):
        table[f"{name}_difference"] = table[name].astype(float) - both[name].to_numpy(float)
    return table[list(RECOVERY)]


def kaplan_meier(times: np.ndarray, seen: np.ndarray, horizon: int = HORIZON) -> tuple[float, float]:
    """Mean time up to `horizon` and median time, in steps, from times of which some are only known to be longer.

    Args:
        times: (events,) int; how long it took, or, where `seen` is False, how long it was watched in vain.

    Returns:
        (mean, median). Where the last watched ones did not recover, their share is carried on to the horizon. The
        median is NaN where the share not recovered never falls to one half.
    """
    left, total, median = 1.0, 0.0, float("nan")
    for time in range(horizon):
        watched = int((times >= time).sum() - ((times == time) & ~seen).sum())
        if watched:
            left *= 1 - int(((times == time) & seen).sum()) / watched
        if left <= 0.5 and np.isnan(median):
            median = float(time)
        total += left
    return total, median


def _settled(pair: "Pair", loss: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(steps,) each: the settled level of that step's regime, how far means of SMOOTH steps scatter about it, and those
    means of loss - level over the step and those after it, NaN where they would reach into the next stretch."""
    regime, step = pair.log["regime"].to_numpy(), pair.log["step"].to_numpy(float)
    edges = np.array([0, *(np.flatnonzero(regime[1:] != regime[:-1]) + 1), len(regime)])
    since = np.arange(len(regime)) - np.repeat(edges[:-1], np.diff(edges))
    usable = (since >= SETTLED) & (step >= pair.first) & np.isfinite(loss)
    level, spread = np.full(len(loss), np.nan), np.full(len(loss), np.nan)
    for name in set(regime):
        here = usable & (regime == name)
        if here.sum() >= FEWEST_STEPS:
            level[regime == name] = Polynomial.fit(step[here], loss[here], DEGREE)(step[regime == name])
    smooth = np.full(len(loss), np.nan)
    for start, end in itertools.pairwise(edges):
        if end - start >= SMOOTH:
            excess = (loss - level)[start:end]
            smooth[start : end - SMOOTH + 1] = np.convolve(excess, np.full(SMOOTH, 1 / SMOOTH), "valid")
    for name in set(regime):
        here = usable & (regime == name) & np.isfinite(smooth)
        if here.any():
            spread[regime == name] = smooth[here].std()
    return level, spread, smooth


def _times(found: Sequence[Switch], smooth: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps to recover after each switch, or watched in vain, and which of the two."""
    times, seen = [], []
    for switch in found:
        watched = max(switch.after - SMOOTH + 1, 0)
        here = slice(switch.step, switch.step + watched)
        back = np.flatnonzero(smooth[here] <= spread[here] + SLACK)
        times.append(int(back[0]) if len(back) else watched)
        seen.append(bool(len(back)))
    return np.array(times), np.array(seen)


def _recurring(pairs: Sequence["Pair"]) -> list["Pair"]:
    return [pair for pair in pairs if isinstance(pair.run.config.schedule, Recurring)]


def _by_kind(pair: "Pair") -> dict[str, list[Switch]]:
    regimes = pair.log["regime"].to_numpy()
    found = switches_of(regimes, int(np.searchsorted(pair.log["step"], pair.first)))
    return {kind: [one for one in found if one.kind == kind] for kind in ("on", "off")}


def _means(rows: np.ndarray) -> np.ndarray:
    """Mean over the rows of each column, NaN where none has a value."""
    count = (~np.isnan(rows)).sum(axis=0)
    return np.where(count > 0, np.nansum(rows, axis=0), np.nan) / np.maximum(count, 1)


def _names(pair: "Pair", kind: str) -> dict[str, Any]:
    run = pair.run
    return dict(zip(PLACE, (run.suite, run.condition, run.seed, pair.world, kind), strict=True))


def _place(pair: "Pair", kind: str, table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**_names(pair, kind))
