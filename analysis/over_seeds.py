"""What is told of values of which each seed gives one: mean, 95 % t interval, t test, rank correlation."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.levels import LEVEL


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` seeds with its 95 % t interval and the two-sided p of a t test against zero.

    `low`, `high` and `p` are NaN when n < 2.
    """

    n: int
    mean: float
    low: float
    high: float
    p: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out. False for one seed."""
        return bool(self.low > 0 or self.high < 0)


UNKNOWN = Estimate(0, np.nan, np.nan, np.nan, np.nan)


def estimate(values: pd.Series) -> Estimate:
    """Mean and interval of one value a seed; NaN values are left out."""
    kept = values.dropna().to_numpy(float)
    n = len(kept)
    if n == 0:
        return UNKNOWN
    mean = float(kept.mean())
    if n == 1:
        return Estimate(1, mean, np.nan, np.nan, np.nan)
    error = float(kept.std(ddof=1)) / np.sqrt(n)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * error
    if error == 0:
        p = 1.0 if mean == 0 else 0.0
    else:
        p = float(2 * stats.t.sf(abs(mean) / error, n - 1))
    return Estimate(n, mean, mean - half, mean + half, p)


def tabled(rows: pd.DataFrame) -> Estimate:
    """The estimate in the first of a table's rows, from its columns n, mean, low and high; n = 0 where there is none."""
    if rows.empty:
        return UNKNOWN
    n, mean, low, high = rows[["n", "mean", "low", "high"]].iloc[0]
    return Estimate(int(n), float(mean), float(low), float(high), np.nan)


def paired(one: pd.Series, other: pd.Series) -> Estimate:
    """`estimate` of one minus other, both indexed by seed, over the seeds that both have."""
    return estimate((one - other).dropna())


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and interval of `estimate`, of values (seeds,)."""
    found = estimate(pd.Series(values, dtype=float))
    return found.mean, found.low, found.high


def mean_of_known(values: np.ndarray) -> float:
    """Mean of what is known; NaN if nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def correlation(one: "pd.Series[float]", other: "pd.Series[float]") -> float:
    """Pearson's correlation; NaN, without a warning, where a side does not vary."""
    if one.nunique() < 2 or other.nunique() < 2:
        return float("nan")
    return float(one.corr(other))


def rank_correlation(one: "pd.Series[float]", other: "pd.Series[float]") -> float:
    """Spearman's correlation; NaN where a side does not vary."""
    return correlation(one.rank(), other.rank())
