"""Measures of memories by condition and seed, and findings on their differences: what the page on memory is made of."""

import pandas as pd
from scipy.stats import binomtest

from plots.series import Estimate, estimate, paired
from reports.markdown import interval
from reports.parts import ABSENT, Finding, Tables, per_seed, side, worst

REGIME = "bewilderment"
MEMORIES = (
    "none",
    "ema",
    "buffer_32",
    "buffer_64",
    "buffer_128",
    "buffer_64_stride_5",
    "buffer_64_stride_20",
)
BUFFERS = ("buffer_64", "buffer_128")  # of the published study


class Measured:
    """The measures of one regime by condition and seed."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.rows = rows
        have = list(dict.fromkeys(rows["condition"]))
        self.conditions = [*(m for m in MEMORIES if m in have), *(c for c in have if c not in MEMORIES)]

    def of(self, condition: str, column: str) -> "pd.Series[float]":
        return per_seed(self.rows[self.rows["condition"] == condition], column)

    def value(self, condition: str, column: str) -> Estimate:
        return estimate(self.of(condition, column))

    def minus(self, one: str, other: str, column: str) -> Estimate:
        """Of one condition minus the other, paired by seed."""
        return paired(self.of(one, column), self.of(other, column))


def during(tables: Tables, regime: str = REGIME) -> Measured:
    """The measures taken while the state feels a regime."""
    return Measured(tables.rows("memory_measures", regime=regime))


def difference(
    claim: str, parts: list[tuple[str, Estimate]], sign: int, unit: str, digits: int, pairs: bool = True
) -> Finding:
    """The finding on values that should all lie on one side of zero; `pairs`: each is a difference paired by seed."""
    known = [(name, value) for name, value in parts if value.n]
    if not known:
        return Finding(claim, ABSENT, "It needs seeds that both sides of a comparison have.")
    text = "; ".join(f"{name} {interval(value, digits)}" for name, value in known)
    n = min(value.n for _, value in known)
    verdict = worst([side(value, sign) for _, value in known])
    return Finding(claim, verdict, f"{text}{unit}{', paired by seed' if pairs else ''}, n = {n}.")


def sign_test(more: int, less: int) -> float:
    """Probability of so many or more out of both, were each as likely; ties are left out."""
    return float(binomtest(more, more + less, alternative="greater").pvalue) if more + less else 1.0
