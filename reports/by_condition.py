"""A table's measures by condition and seed, with estimates over seeds and differences paired by seed."""

from collections.abc import Iterable

import pandas as pd

from plots.series import Estimate, estimate, paired
from reports.parts import per_seed


class ByCondition:
    """The rows of a table that has one number a condition and seed in each column.

    conditions: those of the rows, first the ones of `order`, then the others as they come.
    """

    def __init__(self, rows: pd.DataFrame, order: Iterable[str] = ()) -> None:
        self.rows = rows
        have = dict.fromkeys(rows["condition"])
        self.conditions = list(dict.fromkeys([*(name for name in order if name in have), *have]))

    def of(self, condition: str, column: str) -> "pd.Series[float]":
        return per_seed(self.rows[self.rows["condition"] == condition], column)

    def value(self, condition: str, column: str) -> Estimate:
        return estimate(self.of(condition, column))

    def minus(self, one: str, other: str, column: str) -> Estimate:
        """Of one condition minus the other, paired by seed."""
        return paired(self.of(one, column), self.of(other, column))
