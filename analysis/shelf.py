"""The cells that claims ask for: the tables of a study, read once each, and what a query finds in them."""

from functools import cache, partial
from pathlib import Path

import pandas as pd

from analysis.claim_file import Query
from base.storage import UserError
from experiments.kit import tables


class Shelf:
    """The tables of a study, read once each."""

    def __init__(self, folder: Path) -> None:
        self.read = cache(partial(tables.read, folder))

    def rows(self, claim: str, query: Query, *more: str) -> pd.DataFrame:
        """Columns seed, value (float) and `more` of the rows that a query finds. UserError names a column that lacks."""
        table = self.read(query.suite, query.table)
        if table.empty:
            return pd.DataFrame(columns=["seed", "value", *more], dtype=float)
        for column in ("seed", query.column, *query.where, *more):
            if column not in table:
                raise UserError(
                    f"claims.{claim}: table {query.table} of suite {query.suite} has no column {column}; mend the claim, "
                    "or delete the table and run the study again"
                )
        for column, wanted in query.where.items():
            table = table[table[column].isin(wanted if isinstance(wanted, list) else [wanted])]
        found = table[["seed", *more]].assign(value=table[query.column].astype(float))
        if query.missing is not None:
            found["value"] = found["value"].fillna(query.missing)
        return found.dropna(subset=["value"])

    def values(self, claim: str, query: Query) -> "pd.Series[float]":
        """One value a seed. UserError where a seed has several rows and the query does not say what to take of them."""
        rows = self.rows(claim, query)
        if rows.empty:
            return pd.Series(dtype=float)
        groups = (rows.assign(value=rows["value"].abs()) if query.take == "mean_abs" else rows).groupby(
            "seed"
        )
        if query.take == "one" and (counts := groups.size()).max() > 1:
            raise UserError(
                f"claims.{claim}: {query.table} of suite {query.suite} has {counts.max()} rows for seed {counts.idxmax()}; "
                "narrow `where`, or say what to `take` of them"
            )
        found: pd.Series[float] = groups["value"].max() if query.take == "max" else groups["value"].mean()
        return found

    def draws(self, claim: str, query: Query, by: str | None) -> pd.DataFrame:
        """Columns seed, kind and value of placebos: all rows that a query finds."""
        rows = self.rows(claim, query, *([by] if by else []))
        return rows.assign(kind=rows[by] if by else named_draws(query))


def named_draws(query: Query) -> str:
    """A name for placebos of one kind: the value of the last column that they are found by."""
    return str(next(reversed(query.where.values()), "placebo"))
