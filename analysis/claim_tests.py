"""The rule from numbers to a claim's verdict."""

import math

from experiments.kit.levels import ALPHA, FEWEST_SEEDS

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
