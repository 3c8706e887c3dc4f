"""What is told of values of which each seed gives one: estimates, paired differences, exact tests. Numbers only.

A seed is the unit everywhere: intervals are 95 % t intervals over seeds, tests are exact over them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import scipy

from base.rng import Stream, generator
from experiments.kit.levels import LEVEL

MOST_FLIPS = 200_000  # sign flips: all 2^n up to 17 seeds, so many drawn ones beyond
COUNTER = 2_900_000  # of the analysis stream
DIGITS = 9  # of a sum, relative to the largest, so that those which differ by rounding alone are one


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


def quantile(freedom: Any) -> Any:
    """How many standard errors an interval reaches to either side: Student's t with so many degrees of freedom (any shape)."""
    return scipy.special.stdtrit(
        freedom, (1 + LEVEL) / 2
    )  # what scipy.stats.t.ppf calls, after a hundred times the work


def estimate(values: pd.Series) -> Estimate:
    """Mean and interval of one value a seed; NaN values are left out."""
    given = values.to_numpy(float)
    kept = given[~np.isnan(given)]
    n = len(kept)
    if n == 0:
        return UNKNOWN
    mean = float(kept.mean())
    if n == 1:
        return Estimate(1, mean, np.nan, np.nan, np.nan)
    error = float(kept.std(ddof=1)) / np.sqrt(n)
    half = float(quantile(n - 1)) * error
    if error == 0:
        p = 1.0 if mean == 0 else 0.0
    else:
        p = float(2 * scipy.special.stdtr(n - 1, -abs(mean) / error))
    return Estimate(n, mean, mean - half, mean + half, p)


def tabled(rows: pd.DataFrame) -> Estimate:
    """The estimate in the first of a table's rows, from its columns n, mean, low and high; n = 0 where there is none."""
    if rows.empty:
        return UNKNOWN
    n, mean, low, high = rows[["n", "mean", "low", "high"]].iloc[0]
    return Estimate(int(n), float(mean), float(low), float(high), np.nan)


def paired(one: pd.Series, other: pd.Series) -> Estimate:
    """`estimate` of one minus other, both indexed by seed, over the seeds that both have."""
    return estimate(one - other)


def unpaired(one: "pd.Series[float]", other: "pd.Series[float]") -> Estimate:
    """The mean of one minus the other's, of seeds that have nothing in common (Welch, Biometrika 34, 1947); n is the smaller number."""
    few = min(len(one), len(other))
    gap = float(one.mean() - other.mean()) if few else np.nan
    if few < 2:
        return Estimate(few, gap, np.nan, np.nan, np.nan)
    found = scipy.stats.ttest_ind(one, other, equal_var=False)
    low, high = found.confidence_interval(LEVEL)
    return Estimate(few, gap, float(low), float(high), float(found.pvalue))


def mean_interval(values: "np.ndarray | pd.Series[float]") -> tuple[float, float, float]:
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


def per_seed(rows: pd.DataFrame, column: str) -> "pd.Series[float]":
    """The mean of a column for each seed that has a value."""
    if rows.empty:
        return pd.Series(dtype=float)
    if not rows["seed"].is_unique:
        return rows.groupby("seed")[column].mean().dropna()
    values, seeds = rows[column].to_numpy(float), rows["seed"].to_numpy()  # one value is its own mean
    known = np.flatnonzero(~np.isnan(values))
    known = known[np.argsort(seeds[known])]
    return pd.Series(values[known], pd.Index(seeds[known], name="seed"), name=column)


def over_seeds(rows: pd.DataFrame, column: str) -> Estimate:
    """`estimate` of the seeds' means of a column."""
    return estimate(per_seed(rows, column))


def sign_flip(values: np.ndarray, direction: str = "greater") -> float:
    """p of a mean of paired differences, by turning round the sign of every difference in all 2^n ways.

    Exact where, without an effect, each difference is as likely to be its negative (Fisher, The Design of Experiments,
    1935, section 21). The observed signs are one of the ways, so the smallest p is 1 / 2^n, twice that for "different".

    Args:
        values: (n,) one difference a seed, n >= 1.
        direction: what the mean is claimed to be: "greater" or "less" than zero, or "different" from it.
    """
    values = np.asarray(values, float)
    size = float(np.abs(values).sum())
    if size == 0:
        return 1.0
    if len(values) == 1:
        values = np.append(values, 0.0)  # scipy wants two, and a zero changes no sum

    def total(flipped: np.ndarray, axis: int) -> np.ndarray:
        return (flipped.sum(axis) / size).round(DIGITS)

    found = scipy.stats.permutation_test(
        (values,), total, permutation_type="samples", vectorized=True, n_resamples=MOST_FLIPS, batch=MOST_FLIPS // 10,
        alternative="two-sided" if direction == "different" else direction, random_state=generator(0, Stream.ANALYSIS, COUNTER),
    )  # fmt: skip
    return float(found.pvalue)


def t_test(values: np.ndarray, direction: str = "greater") -> float:
    """p of a mean of differences by Student's t, where so few seeds are asked for that a sign flip can't decide; NaN for one."""
    if len(values) < 2:
        return float("nan")
    alternative = "two-sided" if direction == "different" else direction
    return float(scipy.stats.ttest_1samp(np.asarray(values, float), 0.0, alternative=alternative).pvalue)


def equal_within(
    values: np.ndarray, margin: float, test: Callable[[np.ndarray, str], float] = sign_flip
) -> float:
    """p of "the mean lies within ± margin": the larger of two one-sided tests against its two ends.

    Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987; by default with sign-flip tests for his t tests.
    """
    values = np.asarray(values, float)
    return max(test(values + margin, "greater"), test(values - margin, "less"))


def combined_rank(above: Sequence[int], draws: Sequence[int]) -> float:
    """p of the ranks of one learned value a seed among its own placebos, combined over seeds.

    Were the learned value one more draw, the number of placebos at least as large would be 0, 1 ... draws, each as likely
    (ties make it larger, which is on the safe side). Within a seed (above + 1) / (draws + 1) is then the rank p-value;
    the test takes the sum of these over seeds, and p is the probability of a sum this small or smaller, counted exactly
    over all combinations of ranks (Edgington, Journal of Psychology 80, 1972, for discrete ranks). A sum asks for good
    ranks in most seeds: one seed that stands out cannot carry it.

    Args:
        above: for each seed, how many placebos are at least as large. draws: how many there are, each >= 1.
    """
    if not above:
        return 1.0
    common = math.lcm(*(count + 1 for count in draws))
    ways = {0: 1}
    for count in draws:
        step = common // (count + 1)
        more: dict[int, int] = {}
        for total, number in ways.items():
            for rank in range(count + 1):
                place = total + rank * step
                more[place] = more.get(place, 0) + number
        ways = more
    found = sum(rank * (common // (count + 1)) for rank, count in zip(above, draws, strict=True))
    small = sum(number for total, number in ways.items() if total <= found)
    return float(Fraction(small, sum(ways.values())))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values of a family, in the order given (Scandinavian Journal of Statistics 6, 1979).

    A claim that was not measured (NaN) takes part as p = 1, since it was registered, and stays NaN itself.
    """
    known = [1.0 if math.isnan(p) else p for p in p_values]
    adjusted, largest = list(p_values), 0.0
    for place, index in enumerate(sorted(range(len(known)), key=known.__getitem__)):
        largest = max(largest, min(1.0, (len(known) - place) * known[index]))
        if not math.isnan(p_values[index]):
            adjusted[index] = largest
    return adjusted


def sign_test(more: int, less: int) -> float:
    """Probability of so many or more out of both, were each as likely; ties are left out."""
    return float(scipy.stats.binom.sf(more - 1, more + less, 0.5))


def ahead(values: Any, width: int) -> np.ndarray:
    """Mean of each of `values` (n,) and the width - 1 after it, (n - width + 1,); of all of them where there are fewer."""
    values = np.asarray(values, dtype=float)
    width = min(width, len(values))
    return np.convolve(values, np.full(width, 1 / width), "valid") if width else values


def first_true(found: np.ndarray) -> float:
    """The first place of a boolean array (n,) that is true; NaN if there is none."""
    return float(found.argmax()) if found.any() else math.nan


def first_on_end(found: np.ndarray, count: int) -> float:
    """The first place of a boolean array (n,) from which on `count` are true on end; NaN if there is none."""
    if len(found) < count:
        return math.nan
    return first_true(np.convolve(found.astype(int), np.ones(count, int), "valid") == count)


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
    half: pd.Series = (
        values.std(axis=1, ddof=1) * np.where(n > 1, quantile(np.maximum(n - 1, 1)), np.nan) / np.sqrt(n)
    )
    made = pd.DataFrame({"mean": mean, "low": mean - half, "high": mean + half})
    return 10**made if log else made


def bin_width(metrics: pd.DataFrame) -> int:
    """10 steps, or as many more as keep a curve to about 200 points."""
    steps = int(metrics["step"].max()) + 1
    return max(10, 10 * round(steps / 200 / 10))
