"""The statistics that decide claims: exact tests over seeds, Holm's correction, and the rule from numbers to a verdict."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from analysis.levels import ALPHA, FEWEST_SEEDS, LEVEL
from base.rng import Stream, generator

EXACT = 20  # seeds up to which all 2^n sign flips are taken
DRAWS = 200_000  # of the flips beyond
COUNTER = 2_900_000  # of the analysis stream
CLOSE = 1e-9  # sums that differ by less, relative to the largest, are one: they differ by rounding alone

SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE, ABSENT = "supported", "not supported", "inconclusive", "not measured"
VERDICTS = (
    NOT_SUPPORTED,
    INCONCLUSIVE,
    SUPPORTED,
    ABSENT,
)  # in the order in which they are shown: what fails comes first
RULE = (
    f"*Supported*: p (Holm) is below {ALPHA}, the 95 % interval lies wholly on the claimed side, and the effect is no smaller "
    "than the smallest one of interest. *Not supported*: the whole interval lies below the smallest effect of interest, "
    "however small p is; that is where the effect lies the other way, too. *Inconclusive*: all else, among it an interval "
    f"that holds both zero and the smallest effect of interest, and fewer than {FEWEST_SEEDS} seeds. For a claim of no "
    "difference: supported where p (Holm) is small and the whole interval lies within the smallest effect of interest, not "
    "supported where none of it does."
)


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
    if len(values) <= EXACT:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums + value, sums - value])  # the first stays the observed one
    else:
        drawn = generator(0, Stream.ANALYSIS, COUNTER).random((DRAWS, len(values))) < 0.5
        sums = np.concatenate([[values.sum()], np.where(drawn, -values, values).sum(1)])
    found = {"greater": sums, "less": -sums, "different": np.abs(sums)}[direction]
    return float((found >= found[0] - CLOSE * size).mean())


def equal_within(values: np.ndarray, margin: float) -> float:
    """p of "the mean lies within ± margin": the larger of two one-sided sign-flip tests against its two ends.

    Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987, with the sign-flip test for the t test.
    """
    values = np.asarray(values, float)
    return max(sign_flip(values + margin, "greater"), sign_flip(values - margin, "less"))


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


def share(wins: int, n: int) -> tuple[float, float, float, float]:
    """Share of wins out of n, its 95 % interval (Clopper and Pearson, 1934), and p of more than half (one-sided)."""
    if not n:
        return (math.nan, math.nan, math.nan, 1.0)
    from scipy.stats import (
        binomtest,  # takes a second to load, and a study with nothing to do reads the claims
    )

    interval = binomtest(wins, n).proportion_ci(LEVEL, method="exact")
    p = binomtest(wins, n, alternative="greater").pvalue
    return wins / n, float(interval.low), float(interval.high), float(p)


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


def smallest_p(test: str, direction: str, seeds: int) -> float:
    """The smallest p that so many seeds can give; 0 for ranks, whose floor depends on the draws and is far lower."""
    if test == "placebo_ranks":
        return 0.0
    return (2 if direction == "different" else 1) / 2**seeds


def verdict(
    direction: str, n: int, effect: float, low: float, high: float, p_holm: float, smallest: float
) -> str:
    """The verdict by RULE. effect, low and high count from the null; `smallest` is above zero."""
    if n == 0:
        return ABSENT
    if n < FEWEST_SEEDS or math.isnan(p_holm):
        return INCONCLUSIVE
    if direction == "equal within":
        if low >= smallest or high <= -smallest:
            return NOT_SUPPORTED
        inside = -smallest < low and high < smallest
        return SUPPORTED if p_holm < ALPHA and inside else INCONCLUSIVE
    if direction == "less":
        effect, low, high = -effect, -high, -low
    if direction == "different":
        if -smallest < low and high < smallest:
            return NOT_SUPPORTED
        if effect < 0:
            effect, low, high = -effect, -high, -low
    elif high < smallest:
        return NOT_SUPPORTED
    return SUPPORTED if p_holm < ALPHA and low > 0 and effect >= smallest else INCONCLUSIVE
