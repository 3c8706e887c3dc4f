"""How many steps until something is back, seed by seed: infinity where it never was."""

from dataclasses import dataclass
from math import inf

import numpy as np
import pandas as pd

from analysis import claim_tests
from analysis.levels import ALPHA
from plots.wording import number, plural
from reports.parts import CLEAR, NOT_CLEAR, OPEN, OTHER_WAY

FEWEST_SIGNS = 5  # seeds: fewer than five equal signs cannot give p < 0.05, one-sided


def sign_test(more: int, less: int) -> float:
    """Probability of so many or more out of both, were each as likely; ties are left out."""
    return claim_tests.share(more, more + less)[3]


def median(steps: "pd.Series[float]", never: str) -> str:
    """The median, `never` where that is infinite, and in brackets how many seeds got there."""
    if steps.empty:
        return "–"
    there = int(np.isfinite(steps).sum())
    middle = float(np.median(steps)) if there * 2 > len(steps) else inf
    return f"{number(middle, 0) if np.isfinite(middle) else never} ({there} of {len(steps)})"


@dataclass(frozen=True)
class Compared:
    """In how many of `n` seeds one thing took longer than another, and in how many shorter."""

    n: int
    longer: int
    shorter: int

    @property
    def p(self) -> float:
        return sign_test(self.longer, self.shorter)

    @property
    def verdict(self) -> str:
        """On "it takes longer"."""
        return OPEN if self.n < FEWEST_SIGNS else CLEAR if self.p < ALPHA else NOT_CLEAR

    @property
    def turned(self) -> str:
        """A sentence, after a space, where it clearly takes shorter; "" elsewhere."""
        return OTHER_WAY.format("") if sign_test(self.shorter, self.longer) < ALPHA else ""

    def counts(self) -> str:
        return f"longer in {self.longer}, shorter in {self.shorter} of {plural(self.n, 'seed')}"

    def test(self) -> str:
        return f"one-sided sign test, p = {number(self.p)}"


def compare(one: "pd.Series[float]", other: "pd.Series[float]") -> Compared:
    """Steps by seed against steps by seed, over the seeds that have both."""
    both = one.index.intersection(other.index)
    return Compared(len(both), int((one[both] > other[both]).sum()), int((one[both] < other[both]).sum()))
