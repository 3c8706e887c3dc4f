"""The numbers that figures draw: bins over steps, intervals over seeds, paired differences. No matplotlib here."""

import numpy as np
import pandas as pd
from scipy import stats

from analysis.levels import LEVEL
from analysis.over_seeds import Estimate, estimate, paired

__all__ = [
    "Estimate",
    "NothingToDraw",
    "band",
    "bin_width",
    "binned",
    "estimate",
    "of_condition",
    "paired",
    "present",
    "same_regimes",
    "shared_windows",
    "stretches",
]


class NothingToDraw(Exception):
    """The tables are there but hold nothing for this figure; the text says what is missing."""


def binned(metrics: pd.DataFrame, column: str, width: int, origin: str | None = None) -> pd.DataFrame:
    """Means of a metric over bins of `width` steps: a row a bin (index: its middle step), a column a seed.

    Args:
        metrics: columns seed, step and `column`; rows where it was not measured are left out.
        origin: a column that holds the step to count from, for curves aligned to an event; None counts from 0.
    """
    rows = metrics.dropna(subset=[column])
    step = rows["step"] - rows[origin] if origin else rows["step"]
    bins = ((step // width) * width + (width - 1) / 2).rename("middle")
    return rows.groupby([bins, rows["seed"]])[column].mean().unstack("seed").sort_index()


def band(table: pd.DataFrame, log: bool = False) -> pd.DataFrame:
    """Mean and 95 % t interval over the seeds of each row of `binned`: columns mean, low, high.

    With `log` the geometric mean and its interval: values are positive and spread over orders of magnitude.
    Low and high are NaN where fewer than two seeds have a value.
    """
    values = table.where(table > 0).map(np.log10) if log else table
    mean = values.mean(axis=1)
    n = values.count(axis=1).to_numpy(float)
    quantile = np.where(n > 1, stats.t.ppf((1 + LEVEL) / 2, np.maximum(n - 1, 1)), np.nan)
    half: pd.Series = values.std(axis=1, ddof=1) * quantile / np.sqrt(n)
    made = pd.DataFrame({"mean": mean, "low": mean - half, "high": mean + half})
    return 10**made if log else made


def bin_width(metrics: pd.DataFrame, bins: int = 200) -> int:
    """10 steps, or as many more as keep a curve to about `bins` points."""
    steps = int(metrics["step"].max()) + 1
    return max(10, 10 * round(steps / bins / 10))


def of_condition(table: pd.DataFrame, condition: str) -> pd.DataFrame:
    """The rows of a condition."""
    return table[table["condition"] == condition]


def present(table: pd.DataFrame, wanted: tuple[str, ...]) -> list[str]:
    """Those of the wanted conditions that the table has, in the wanted order."""
    have = set(table["condition"])
    return [name for name in wanted if name in have]


def shared_windows(windows: pd.DataFrame, condition: str) -> list[tuple[str, int, int]]:
    """(regime, start, end) of a condition's windows where all its seeds have the same ones, else an empty list."""
    rows = of_condition(windows, condition)
    found = {
        tuple(sorted((int(start), int(end), str(regime)) for regime, start, end in zip(
            group["regime"], group["start"], group["end"], strict=True
        )))
        for _, group in rows.groupby("seed")
    }  # fmt: skip
    if len(found) != 1:
        return []
    return [(regime, start, end) for start, end, regime in found.pop()]


def same_regimes(rows: pd.DataFrame) -> bool:
    """Whether all seeds of a condition's metrics are under the same regime at each step."""
    return bool((rows.groupby("step")["regime"].nunique() == 1).all())


def stretches(rows: pd.DataFrame) -> list[tuple[str, int, int]]:
    """(regime, start, end) of one run's metrics, half-open, calm left out."""
    rows = rows.sort_values("step")
    number = (rows["regime"] != rows["regime"].shift()).cumsum()
    found = rows.groupby(number).agg(regime=("regime", "first"), start=("step", "min"), last=("step", "max"))
    return [
        (str(regime), int(start), int(last) + 1)
        for regime, start, last in found.itertuples(index=False)
        if regime != "calm"
    ]
