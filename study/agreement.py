"""Whether two makings of the same tables agree: to the digit, or within what another arithmetic may change.

Nothing here knows a table by name. A row is told by its leading columns (suite, condition, seed, step, feature set, ...),
all columns after them are values. Where equality can't be asked for, a value may be as far from the committed one as two
seeds of one condition are from one another: training is chaotic, so that another rounding ends, after enough steps, in
another run of the same kind, and never in one that is stranger than another seed's (docs/REPRODUCIBILITY.md has the
measurement). The committed tables themselves say how far seeds lie apart, row by row and column by column.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from base.errors import UserError, one_line

SEED, CONDITION = "seed", "condition"
UNLIKE = ("seconds",)  # differ from run to run, on the same machine too
ORIGIN = ("key", "dtype")  # say what a run was made with: equal, or a reason why numbers may differ
USUAL, WIDEST = 0.05, 1e-4
"""Were another arithmetic as good as another seed, this share of the values would lie beyond the limit of that name. It
is in fact less: at most USUAL of a suite's values may lie beyond the first limit, and none beyond the second."""
EQUAL, ROUNDING, SEEDS = 0.0, 0.2, 1.0
"""How close values are asked to be: equal; a fifth of the usual limit, where nothing but rounding differs; all of it."""
P_VALUE = 0.1  # least usual limit of a p-value, which counts ranks among a few draws; it has no widest one
DIGITS = 1e-6  # relative: what is left of nine digits written after a few operations

NEEDS_OTHERS: dict[str, tuple[str, ...]] = {
    "classification_seeds": (),
    "update_probe": (),
    "update_probe_regimes": (),
    "swap_summary": ("floor", "steps_until"),
    "steering_trained": ("shuffled_mean", "p_value", "draws"),
    "beliefs": (),
    "belief_example": (),
    "belief_components": (),
}
"""By table, values in a seed's rows that are made with other seeds' runs too, which fewer seeds can't give; (): all."""


@dataclass(frozen=True)
class Cell:
    """One value that differs. limit: how far it might have been; excess: how far it is, in limits."""

    table: str
    row: str
    column: str
    committed: str
    fresh: str
    limit: float | None = None
    excess: float = math.inf

    def __str__(self) -> str:
        may = "" if self.limit is None else f", {self.limit:.3g} allowed" if self.limit else ", must be equal"
        values = f"{self.committed or 'empty'} committed, {self.fresh or 'empty'} fresh"
        return one_line(f"{self.table}, {self.row}: {self.column} {values}{may}")


@dataclass
class Agreement:
    """How one table compares. left_out: rows of other seeds, or of a table that pools over seeds."""

    table: str
    rows: int = 0
    cells: int = 0
    equal: int = 0
    within: int = 0
    measured: int = 0  # of those with numbers, equal or not
    unusual: int = 0  # of those within, beyond the usual limit
    left_out: int = 0
    pooled: bool = False
    not_committed: int = 0  # rows that the fresh run has besides
    outside: list[Cell] = field(default_factory=list)

    @property
    def worst(self) -> Cell:
        return max(self.outside, key=lambda cell: cell.excess)


def read(path: Path) -> pd.DataFrame:
    """A table as it is written, every value a text; an empty one where there is none. UserError for another file."""
    if not path.is_file():
        return pd.DataFrame()
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except (ValueError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} is not a table ({error})") from None


def numbers(texts: "pd.Series[str]") -> "pd.Series[float]":
    """The numbers that some texts say, NaN where one is empty; yes and no count as 1 and 0. ValueError for words."""
    plain = texts.replace({"True": "1", "False": "0", "": "nan"})
    return pd.to_numeric(plain).astype(float)


def is_number(texts: "pd.Series[str]") -> bool:
    try:
        numbers(texts)
    except ValueError:
        return False
    return True


def telling(*tables: pd.DataFrame) -> list[str]:
    """The columns that tell the rows of some makings of a table apart: condition and seed, and of those in front of the
    first with fractions as many as it takes."""
    front: list[str] = []
    for column in tables[0].columns:
        if any(column not in table or has_fractions(table[column]) for table in tables):
            break
        front.append(column)
    always = [name for name in (CONDITION, SEED) if name in tables[0]]
    for count in range(1, len(front) + 1):
        chosen = list(dict.fromkeys([*front[:count], *always]))
        if not any(table.duplicated(chosen).any() for table in tables):
            return chosen
    return list(dict.fromkeys([*front, *always]))


def has_fractions(texts: "pd.Series[str]") -> bool:
    return is_number(texts) and bool((numbers(texts).dropna() % 1 != 0).any())


def placed(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The table with what tells its rows as index: those columns and, where they leave rows alike, their order."""
    index = table[list(columns)].copy()
    index["row"] = index.groupby(list(columns)).cumcount() if len(index) else pd.Series(dtype=int)
    return table.set_index(pd.MultiIndex.from_frame(index))


def spread(committed: pd.DataFrame, column: str) -> pd.DataFrame:
    """How far seeds of one condition lie apart in a column of a placed table.

    Returns:
        `sd`, the standard deviation over seeds, and `freedom`, its degrees of freedom, for each row. The variances of
        conditions are averaged: rows that differ in nothing but the condition have one spread.
    """
    values = numbers(committed[column])
    values.index = committed.index
    names = [name for name in committed.index.names if name != SEED]
    alone = values.groupby(level=names).agg(["var", "count"])
    alone["weight"] = (alone["count"] - 1).clip(lower=0)
    alone["sum"] = (alone["var"] * alone["weight"]).fillna(0.0)
    alike = [name for name in names if name != CONDITION]
    pooled = alone[["sum", "weight"]].groupby(level=alike).transform("sum")
    found = pd.DataFrame({"sd": np.sqrt(pooled["sum"] / pooled["weight"]), "freedom": pooled["weight"]})
    places = committed[[]].reset_index(SEED, drop=True).index
    return found.reindex(places).set_axis(committed.index)


def narrow(old: pd.DataFrame, right: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """`sd` and `freedom` (see `spread`) for the fresh rows `right` of a committed table `old`, both placed.

    The lesser of two spreads: that of the committed values, and what it would be with the fresh ones in their places. So
    a value that is far off, on whichever side, can't widen its own limit.
    """
    put = old[[column]].copy()
    put.loc[right.index, column] = right[column]
    one, other = (spread(table, column).loc[right.index] for table in (old, put))
    sd = np.fmin(one["sd"].to_numpy(float), other["sd"].to_numpy(float))
    return sd, np.fmin(one["freedom"].to_numpy(float), other["freedom"].to_numpy(float))


def limits(sd: np.ndarray, freedom: np.ndarray, share: float) -> np.ndarray:
    """How far apart two seeds of one condition are in all but `share` of the cases; NaN where no spread is known.

    Two draws of a normal distribution differ by sqrt(2) standard deviations; the sd is an estimate, hence Student's t.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(stats.t.isf(share / 2, np.where(freedom > 0, freedom, np.nan)) * math.sqrt(2) * sd)


def compare(
    name: str,
    committed: pd.DataFrame,
    fresh: pd.DataFrame,
    seeds: Collection[str] | None,
    closeness: float,
) -> Agreement:
    """Compare a committed table with a fresh one, both as `read` gives them.

    Args:
        name: of the table, `<suite>/<table>`.
        seeds: those the fresh study has, as texts; None where they are all that the committed one has, so that what
            is pooled over seeds can be compared too.
        closeness: EQUAL asks for equality of what is written; else the usual limit is this much of what lies between
            seeds, and what is pooled over seeds is left out in any case.
    """
    exact = closeness == EQUAL
    found = Agreement(name)
    if committed.empty:
        found.not_committed = len(fresh)
        return found
    others = NEEDS_OTHERS.get(name.rpartition("/")[2]) if seeds is not None else None
    if (SEED not in committed and (seeds is not None or not exact)) or others == ():
        found.left_out, found.pooled = len(committed), True
        return found
    if SEED in committed and SEED not in fresh:
        fresh = pd.DataFrame(columns=committed.columns)
    lacking = [column for column in committed.columns if column not in fresh]
    keys = telling(committed, fresh) if len(fresh) else telling(committed)
    old, new = placed(committed, keys), placed(fresh, keys)
    wanted = old if seeds is None else old[committed[SEED].isin(seeds).to_numpy()]
    found.left_out = len(old) - len(wanted)
    both = wanted.index.intersection(new.index, sort=False)
    found.rows, found.not_committed = len(both), len(new) - len(both)
    for place in wanted.index.difference(new.index, sort=False):
        found.outside.append(Cell(name, _told(keys, place), "the row", "there", "missing"))
    skipped = {*keys, *UNLIKE, *(() if exact else ORIGIN), *(others or ())}
    for column in committed.columns:
        if column in skipped:
            continue
        if column in lacking:
            found.outside.append(Cell(name, "all rows", column, "there", "missing"))
            continue
        number = is_number(old[column])
        for cell, state in _cells(name, column, keys, old, wanted.loc[both], new.loc[both], closeness):
            found.cells += 1
            found.measured += number
            found.equal += state == "equal"
            found.within += state in ("within", "unusual")
            found.unusual += state == "unusual"
            if state == "outside":
                found.outside.append(cell())
    return found


def _cells(
    name: str,
    column: str,
    keys: Sequence[str],
    old: pd.DataFrame,
    left: pd.DataFrame,
    right: pd.DataFrame,
    closeness: float,
) -> Iterator:
    """Each value of a column: how to tell of it, and whether it is equal, within, unusual or outside the limits."""
    same = left[column].to_numpy() == right[column].to_numpy()
    measured = closeness > EQUAL and not same.all() and is_number(old[column]) and is_number(right[column])
    usual = widest = distance = np.zeros(len(left))
    sometimes = False
    if measured:
        usual, widest = allowed(old, right, column, closeness)
        distance = np.abs(numbers(left[column]).to_numpy() - numbers(right[column]).to_numpy())
        sometimes = 0 < (old[column] == "").mean() < 1  # then whether there is a value is chance as well
    for place, equal, far, near, limit, one, other in zip(
        left.index, same, distance, usual, widest, left[column], right[column], strict=True
    ):
        may = float(limit) if measured else None
        excess = far / limit if measured and limit > 0 and not math.isnan(far) else math.inf

        def cell(
            place: tuple = place,
            one: str = one,
            other: str = other,
            may: float | None = may,
            excess: float = excess,
        ) -> Cell:
            return Cell(name, _told(keys, place), column, one, other, may, excess)

        if equal:
            yield cell, "equal"
        elif not measured:
            yield cell, "outside"
        elif math.isnan(far):
            yield cell, "within" if sometimes else "outside"
        else:
            yield cell, "within" if far <= near else "unusual" if far <= limit else "outside"


def allowed(
    old: pd.DataFrame, right: pd.DataFrame, column: str, closeness: float
) -> tuple[np.ndarray, np.ndarray]:
    """The usual and the widest limit of a column for the fresh rows `right` of a committed table `old`, both placed."""
    least = P_VALUE if is_p_value(column) else 0.0
    sd, freedom = narrow(old, right, column)
    if has_fractions(old[column]):
        least = max(least, DIGITS * float(numbers(old[column]).abs().max()))
    elif (
        every := spread(old, column)["sd"].dropna()
    ).any():  # whole numbers that are measured: alike by chance
        sd = np.fmax(sd, math.sqrt(float((every**2).mean())))
    usual, widest = (np.nan_to_num(limits(sd, freedom, share)) for share in (USUAL, WIDEST))
    farthest = np.ones(len(right)) if is_p_value(column) else np.maximum(widest, least)
    return np.maximum(closeness * usual, least), farthest


def is_p_value(column: str) -> bool:
    """Whether a column holds p-values: without an effect, any of them is as likely as any other."""
    return "p_value" in column


def _told(keys: Sequence[str], place: tuple) -> str:
    """A row in words: what tells it, without the suite, which the table's name says."""
    parts = [
        f"{key} {value}" for key, value in zip(keys, place, strict=False) if key != "suite" and value != ""
    ]
    return ", ".join([*parts, *([f"row {place[-1] + 1} of these"] if place[-1] else [])])
