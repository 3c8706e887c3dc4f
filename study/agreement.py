"""Whether two makings of the same tables agree: to the digit, or within what another arithmetic may change.

Nothing here knows a table by name. A row is told by its leading columns (suite, condition, seed, step, feature set, ...),
all columns after them are values. Where equality can't be asked for, a value may be as far from the committed one as two
seeds of one condition are from one another: training is chaotic, so that another rounding ends, after enough steps, in
another run of the same kind, and never in one that is stranger than another seed's (docs/REPRODUCIBILITY.md has the
measurement). The committed tables themselves say how far seeds lie apart, row by row and column by column. Tables come as
they are written, every value a text.
"""

import contextlib
import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import scipy

from base.errors import one_line

SEED, CONDITION, ROW = "seed", "condition", "row"
UNLIKE = ("seconds",)  # differ from run to run, on the same machine too
ORIGIN = ("key", "dtype")  # say what a run was made with: equal, or a reason why numbers may differ
USUAL, WIDEST = 0.05, 1e-4
"""Were another arithmetic as good as another seed, this share of the values would lie beyond the limit of that name. It
is in fact less: at most USUAL of a suite's values may lie beyond the first limit, and none beyond the second."""
EQUAL, ROUNDING, SEEDS = 0.0, 0.2, 1.0
"""How close values are asked to be: equal; a fifth of the usual limit, where nothing but rounding differs; all of it."""
P_VALUE = 0.1  # least usual limit of a p-value, which counts ranks among a few draws; it has no widest one
DIGITS = 1e-6  # relative: what is left of nine digits written after a few operations


@dataclass
class Agreement:
    """How one table compares.

    cells: a row for each value that both have: `row` (the place of its row in words), `column`, `committed` and `fresh`
    as they are written, `number` (whether the committed column holds numbers), `state`: equal, within (the usual limit),
    unusual (within the widest) or outside; and, of numbers, what `limits` gives. missing: what the fresh table lacks.
    left_out: rows of other seeds, or of a table that pools over seeds. not_committed: rows that the fresh one has besides.
    """

    table: str
    cells: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["number", "state"]))
    missing: list[str] = field(default_factory=list)
    rows: int = 0
    left_out: int = 0
    pooled: bool = False
    not_committed: int = 0

    def count(self, *states: str) -> int:
        return int(self.cells["state"].isin(states).sum())

    @property
    def outside(self) -> dict[str, float]:
        """What does not agree in words, and how far it is, in widest limits; the worst first."""
        found = dict.fromkeys(self.missing, math.inf)
        for cell in self.cells[self.cells["state"] == "outside"].to_dict("records"):
            may = cell.get("widest", math.nan)
            said = "" if math.isnan(may) else f", {may:.3g} allowed" if may else ", must be equal"
            values = f"{cell['committed'] or 'empty'} committed, {cell['fresh'] or 'empty'} fresh"
            far = cell.get("distance", math.nan) / may if may else math.nan
            found[f"{cell['row']}: {cell['column']} {values}{said}"] = math.inf if math.isnan(far) else far
        worst_first = sorted(found.items(), key=lambda item: -item[1])
        return {one_line(f"{self.table}, {text}"): far for text, far in worst_first}


def compare(
    name: str,
    committed: pd.DataFrame,
    fresh: pd.DataFrame,
    seeds: Collection[str] | None,
    closeness: float,
    others: Collection[str] | None = None,
) -> Agreement:
    """Compare a committed table with a fresh one.

    Args:
        name: of the table, `<suite>/<table>`.
        seeds: those the fresh study has; None where they are all that the committed one has, so that what is pooled
            over seeds can be compared too.
        closeness: EQUAL asks for equality of what is written; else the usual limit is this much of what lies between
            seeds, and what is pooled over seeds is left out in any case.
        others: columns whose values hang on other seeds' runs too, and are left out where some seeds lack; (): all do.
    """
    others = others if seeds is not None else None
    if committed.empty:
        return Agreement(name, not_committed=len(fresh))
    if others == () or (SEED not in committed and (seeds is not None or closeness)):
        return Agreement(name, left_out=len(committed), pooled=True)
    if SEED in committed and SEED not in fresh:
        fresh = committed.iloc[:0]
    keys = telling(committed, *([fresh] if len(fresh) else []))
    old, new = placed(committed, keys), placed(fresh.reindex(columns=committed.columns), keys)
    wanted = old if seeds is None else old[old[SEED].isin(seeds)]
    both = wanted.index.intersection(new.index, sort=False)
    skipped = {*keys, *UNLIKE, *(ORIGIN if closeness else ()), *(others or ())}
    asked = [str(column) for column in committed if column not in skipped]
    columns = [column for column in asked if column in fresh]
    left, right, values = wanted.loc[both, columns], new.loc[both, columns], numbers(old[columns])
    found = {"committed": left, "fresh": right} | (
        limits(values, numbers(right), closeness) if closeness else {}
    )
    cells = pd.DataFrame(
        {what: table.reindex(columns=columns).to_numpy().ravel() for what, table in found.items()}
    )
    cells["row"] = np.repeat(np.array([told(keys, place) for place in both], dtype=object), len(columns))
    cells["column"] = columns * len(both)
    cells["number"] = cells["column"].isin(values.columns)
    states = {"equal": cells["committed"] == cells["fresh"]}
    if closeness:
        at_times = values.columns[values.isna().mean().between(0, 1, inclusive="neither")]
        by_chance = cells["distance"].isna() & cells["usual"].notna() & cells["column"].isin(at_times)
        states["within"] = (
            cells["distance"] <= cells["usual"]
        ) | by_chance  # whether there is a value is chance, too
        states["unusual"] = cells["distance"] <= cells["widest"]
    cells["state"] = np.select(list(states.values()), list(states), "outside")
    gone = wanted.index.difference(new.index, sort=False)
    missing = [f"{told(keys, place)}: the row there committed, missing fresh" for place in gone]
    missing += [
        f"all rows: {column} there committed, missing fresh" for column in asked if column not in fresh
    ]
    left_out, besides = len(old) - len(wanted), len(new) - len(both)
    return Agreement(name, cells, missing, len(both), left_out, not_committed=besides)


def numbers(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that hold numbers and nothing else: NaN where a value is empty, 1 for yes, 0 for no."""
    found = {}
    for column in table:
        with contextlib.suppress(ValueError):  # of words
            plain = table[column].replace({"True": "1", "False": "0", "": "nan"})
            found[column] = pd.to_numeric(plain).astype(float)
    return pd.DataFrame(found, index=table.index)


def whole(values: pd.DataFrame) -> "pd.Series[bool]":
    """By column of some numbers, whether there are no fractions among them."""
    return ((values % 1 == 0) | values.isna()).all()


def telling(*tables: pd.DataFrame) -> list[str]:
    """The columns that tell the rows of some makings of a table apart: condition and seed, and of those in front of the
    first with fractions as many as it takes."""
    fractions = {column for table in tables for column, none in whole(numbers(table)).items() if not none}
    usable = (all(name in table for table in tables) and name not in fractions for name in tables[0])
    front = list(itertools.compress(map(str, tables[0]), itertools.accumulate(usable, min)))
    chosen = always = [name for name in (CONDITION, SEED) if name in tables[0]]
    for count in range(1, len(front) + 1):
        chosen = list(dict.fromkeys([*front[:count], *always]))
        if not any(table.duplicated(chosen).any() for table in tables):
            break
    return chosen


def placed(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The table with what tells its rows as index: those columns and, where they leave rows alike, their order (ROW)."""
    index = table[list(columns)].copy()
    index[ROW] = index.groupby(list(columns)).cumcount()
    return table.set_index(pd.MultiIndex.from_frame(index))


def told(keys: Sequence[str], place: Any) -> str:
    """A row in words: what tells it, without the suite, which the table's name says."""
    known = zip(keys, place, strict=False)
    parts = [f"{key} {value}" for key, value in known if key != "suite" and value != ""]
    return ", ".join([*parts, *([f"row {place[-1] + 1} of these"] if place[-1] else [])])


def spread(values: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How far seeds of one condition lie apart, for each number of a placed table.

    Returns:
        The standard deviation over seeds, NaN where no two of them have a value, and its degrees of freedom. The variances
        of conditions are averaged: rows that differ in nothing but the condition have one spread.
    """
    names = [name for name in values.index.names if name != SEED]
    alike = [name for name in names if name != CONDITION]
    of_condition = values.groupby(level=names)
    squares = (values - of_condition.transform("mean")) ** 2
    share = (1 - 1 / of_condition.transform("count")).where(values.notna(), 0.0)  # they add up to count - 1
    total, freedom = (part.groupby(level=alike).transform("sum") for part in (squares, share))
    freedom = freedom.round()
    return (total / freedom.where(freedom > 0)) ** 0.5, freedom


def between_seeds(sd: pd.DataFrame, freedom: pd.DataFrame, share: float) -> pd.DataFrame:
    """How far apart two seeds of one condition are in all but `share` of the cases; NaN where no spread is known.

    Two draws of a normal distribution differ by sqrt(2) standard deviations; the sd is an estimate, hence Student's t.
    """
    return sd * math.sqrt(2) * scipy.stats.t.isf(share / 2, freedom.where(freedom > 0))


def limits(old: pd.DataFrame, fresh: pd.DataFrame, closeness: float) -> dict[str, pd.DataFrame]:
    """How far the fresh numbers are from a committed table's, and may be, in the columns that both have; both placed.

    Returns:
        `distance`; the spread, `sd` and `freedom`; the limits `usual` and `widest`. The spread is the lesser of two: that
        of the committed values, and what it would be with the fresh ones in their places. So a value that is far off, on
        whichever side, can't widen its own limit.
    """
    columns = old.columns.intersection(fresh.columns, sort=False)
    old, fresh, put = old[columns], fresh[columns], old[columns].copy()
    put.loc[fresh.index] = fresh
    committed, changed = spread(old), spread(put)
    sd, freedom = (
        one.combine(other, np.fmin).loc[fresh.index] for one, other in zip(committed, changed, strict=True)
    )
    counts = whole(
        old
    )  # those that are measured may be alike by chance: they lie apart as in the table's other rows
    wide = sd.clip(lower=((committed[0] ** 2).mean() ** 0.5).where(counts), axis=1)
    least = (DIGITS * old.abs().max()).where(~counts, 0.0)
    usual, widest = (between_seeds(wide, freedom, share).fillna(0.0) for share in (USUAL, WIDEST))
    usual, widest = (limit.clip(lower=least, axis=1) for limit in (closeness * usual, widest))
    ranks = [
        name for name in map(str, old) if "p_value" in name
    ]  # without an effect, any is as likely as any other
    usual[ranks], widest[ranks] = usual[ranks].clip(lower=P_VALUE), 1.0
    distance = (old.loc[fresh.index] - fresh).abs()
    return {"distance": distance, "sd": sd, "freedom": freedom, "usual": usual, "widest": widest}
