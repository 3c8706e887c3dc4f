"""What a regime changes: each metric's mean in its window minus the mean before, and that beyond the run without regimes.

Loss falls and drift shrinks through any training, so a shift counts for a regime only beyond what the run of the same
seed without any regime (same weights at the start, same batches) does in those very steps.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from experiments.kit import published
from experiments.kit.levels import ALPHA
from experiments.kit.runs import METRICS, Run
from experiments.kit.stats import Estimate, estimate, mean_of_known
from experiments.kit.style import CHANNELS, COMMON, OF_STATE, OF_STATE_ALONE
from experiments.kit.tables import CALM, Tables, stack, stretches
from experiments.kit.words import ABSENT, CLEAR, NOT_CLEAR, Finding, listed

SHOWN = dict(zip(published.MEASURES, (3, 3, 4, 3), strict=True))
"""The metrics whose published changes stand beside ours, and the digits that they are shown with."""

TESTED = (*COMMON, *OF_STATE)


def changes(
    runs: Sequence[Run], pre_steps: int, log_of: Callable[[Run], pd.DataFrame] = published.logged
) -> pd.DataFrame:
    """One row a run, regime window and metric; the columns are told in experiments/perturbation.py.

    log_of: what is taken for a run's log.
    """
    logs = {(run.condition, run.seed): log_of(run) for run in runs}
    parts = []
    for run in runs:
        log = logs[run.condition, run.seed]
        timed = logs.get((run.condition.removesuffix("_calm"), run.seed), log)
        calm = np.flatnonzero(timed["regime"] == CALM)
        measured = [name for name in METRICS if log[name].notna().any()]
        rows = []
        for regime, start, end in stretches(timed):
            before = calm[calm < start][-pre_steps:]
            after = calm[(calm >= end) & (calm < end + end - start)]
            for name in measured:
                values = log[name].to_numpy(float)
                old, here, new = (mean_of_known(values[at]) for at in (before, slice(start, end), after))
                row = {"regime": regime, "metric": name, "before": old, "during": here, "after": new}
                rows.append({**row, "delta": here - old, "delta_after": new - old})
        parts.append(run.label(pd.DataFrame(rows)))
    return stack(parts)


def change(tables: Tables, condition: str, regime: str, metric: str) -> "pd.Series[float]":
    """Mean in the window minus mean before, by seed."""
    return tables.seeds("regime_deltas", "delta", condition=condition, regime=regime, metric=metric)


def beyond(tables: Tables, regime: str, metric: str, other: str = "self_calm") -> "pd.Series[float]":
    """The change of self minus another condition's at the same steps, by seed."""
    mine, theirs = (change(tables, name, regime, metric) for name in ("self", other))
    return (mine - theirs).dropna()


def marks(tables: Tables, regime: str, channels: Iterable[str] = TESTED) -> dict[str, Estimate] | None:
    """Channels that a regime moves beyond self_calm: paired t test over seeds, p < ALPHA / number of channels.

    None where no channel has two seeds. A regime that acts on the state alone does nothing to vanilla: a channel that any
    model has changes with it only if it changes beyond vanilla's, too, by the same test. What both share is what earlier
    regimes left behind.
    """

    def clear(channel: str, other: str) -> tuple[Estimate, bool]:
        found = estimate(beyond(tables, regime, channel, other))
        return found, found.p < ALPHA / len(TESTED)

    found = {channel: clear(channel, "self_calm") for channel in channels}
    if not any(value.n > 1 for value, _ in found.values()):
        return None
    moved = {channel: value for channel, (value, yes) in found.items() if yes}
    for channel in [one for one in moved if one in COMMON and regime in OF_STATE_ALONE]:
        apart, yes = clear(channel, "vanilla")
        if apart.n > 1 and not yes:
            del moved[channel]
    return moved


def _moves(tables: Tables, regime: str, moved: Mapping[str, Estimate]) -> str:
    """Channels that a regime moves, by how: each rises or falls, by more or by less than without the regime."""
    how: dict[tuple[str, str], list[str]] = {}
    for channel, gain in moved.items():
        own = estimate(change(tables, "self", regime, channel)).mean
        way = "rise" if own > 0 else "fall", "more" if own * gain.mean > 0 else "less"
        how.setdefault(way, []).append(CHANNELS[channel].name)
    return ", ".join(
        f"{listed(names)} {verb}{'s' * (len(names) == 1)} {much}" for (verb, much), names in how.items()
    )


def marks_the_state(tables: Tables) -> Finding:
    """The finding on whether each regime marks the state beyond what a calm run does."""
    claim = "Every regime leaves a mark on the state that a run without regimes does not show."
    found = {regime: marks(tables, regime, OF_STATE) for regime in published.REGIME_DELTAS}
    known = {regime: moved for regime, moved in found.items() if moved is not None}
    if not known:
        return Finding(
            claim, ABSENT, "It needs two seeds of `self` and `self_calm` at least, and the table has fewer."
        )
    yes = [f"`{regime}`" for regime, moved in known.items() if moved]
    told = [f"under {name} {_moves(tables, name.strip('`'), known[name.strip('`')])}" for name in yes]
    return Finding(
        claim,
        CLEAR if len(yes) == len(known) else NOT_CLEAR,
        f"Beside the same steps of `self_calm`: {'; '.join(told) or 'none moves a channel'}. t test over seeds, p < {ALPHA} / {len(TESTED)} a channel.",
        f"{f'Only {listed(yes)}' if yes else 'No regime'} {'leave' if len(yes) > 1 else 'leaves'} a clear mark on the state.",
    )


def agrees(expected: float, value: Estimate) -> int:
    """1 where an interval leaves zero out on the side that was expected, −1 on the other side, 0 where it holds zero."""
    return int(value.clear) * (1 if value.mean * expected > 0 else -1)
