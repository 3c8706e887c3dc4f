"""What each regime does to each metric: during its window minus before, with the same steps of a calm run beside.

Loss falls and drift shrinks through any training, so a shift counts for a regime only beyond what the run of the
same seed without any regime (same weights at the start, same batches) does in those very steps.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from configs.suite import Signatures
from experiments.kit.runs import METRICS, Run
from experiments.kit.stats import mean_interval, mean_of_known
from experiments.kit.tables import CALM, RUN, stack, windows_of

COLUMNS = (*RUN, "regime", "metric", "before", "during", "after", "delta", "delta_after")
SUMMARY = (
    *("suite", "condition", "regime", "metric", "n", "delta", "low", "high"),
    *("delta_after", "after_low", "after_high"),
)


def regime_deltas(runs: Sequence[Run], settings: Signatures) -> pd.DataFrame:
    """One row a run, regime window and metric.

    before: mean over the calm steps among the last N before the window, N its length, at most `pre_steps`; where
    none of those is calm (a window that follows another at once), the last N calm steps there are. after: the calm
    steps among as many steps as the window has, after it; NaN if there are none. Condition `NAME_calm` is measured
    at the windows of condition `NAME` of the same seed. Units are the metric's.
    """
    logs = {(run.condition, run.seed): run.metrics() for run in runs}
    parts = []
    for run in runs:
        log = logs[run.condition, run.seed]
        timed = log
        if run.condition.endswith("_calm"):
            timed = logs.get((run.condition.removesuffix("_calm"), run.seed), log)
        rows = []
        for regime, start, end in windows_of(timed).to_records(index=False).tolist():
            before, after = _around(timed["regime"].to_numpy(), start, end, settings.pre_steps)
            for metric in METRICS:
                values = log[metric].to_numpy(dtype=float)
                if np.isnan(values).all():
                    continue
                three = [mean_of_known(values[steps]) for steps in (before, slice(start, end), after)]
                rows.append(
                    [regime, metric, *three, three[1] - three[0], three[2] - three[0]],
                )
        parts.append(run.label(pd.DataFrame(rows, columns=list(COLUMNS[3:]))))
    return stack(parts, COLUMNS)


def _around(regimes: np.ndarray, start: int, end: int, pre_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The steps that count as before and as after a window."""
    calm = np.flatnonzero(regimes == CALM)
    length = min(end - start, pre_steps)
    before = calm[(calm >= start - length) & (calm < start)]
    if not len(before):
        before = calm[calm < start][-length:]
    return before, calm[(calm >= end) & (calm < end + (end - start))]


def regime_deltas_summary(deltas: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds with 95 % t intervals, for each condition and for `NAME - NAME_calm`, paired by seed."""
    keys = ["suite", "regime", "metric", "seed"]
    both = [deltas]
    for name in deltas["condition"].unique():
        calm = deltas[deltas["condition"] == f"{name}_calm"]
        if len(calm):
            pairs = deltas[deltas["condition"] == name].merge(calm, on=keys, suffixes=("", "_calm"))
            for column in ("delta", "delta_after"):
                pairs[column] -= pairs[f"{column}_calm"]
            pairs["condition"] = f"{name} - {name}_calm"
            both.append(pairs[list(deltas.columns)])
    rows = []
    for place, group in pd.concat(both).groupby(["suite", "condition", "regime", "metric"], sort=False):
        delta, low, high = mean_interval(group["delta"].to_numpy(dtype=float))
        after, after_low, after_high = mean_interval(group["delta_after"].to_numpy(dtype=float))
        rows.append([*place, len(group), delta, low, high, after, after_low, after_high])
    return pd.DataFrame(rows, columns=list(SUMMARY))
