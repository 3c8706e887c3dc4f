"""A study's tables as files, `<folder>/<suite>/<name>.csv` or `.csv.gz`: written here, read here, and by nobody else.

Claims, figures and pages all read by it, so that no cell is one thing in a figure and another on a page.
"""

import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from base.storage import UserError
from experiments.kit.levels import OF_STEPS
from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.words import listed

if TYPE_CHECKING:
    from experiments.kit.style import Look

    Order = Iterable[str] | Mapping[str, Look]

CALM = "calm"  # the regime in which nothing acts
RUN = ("suite", "condition", "seed")  # the columns that say which run a row is of
WEIGHTS = (*RUN, "run_step")  # and after which of its steps

# by which protocols, and from which features of the log, regimes are told apart
PUBLISHED = "published"  # one run with fixed windows, random folds
CLEAN = "clean"  # regimes at random times, whole runs left out
NO_CLAMP = "clean, self_clamp left out"  # the same without the regime that acts on the state itself
BASIC = "loss, entropy, confidence"
STATE = "with state channels"
TIME = "progress alone"
RAW = "raw statistics with history"
BIAS = "with bias channels"


class NothingToDraw(Exception):
    """The tables hold nothing for this figure, or for this part of a page; the text says what is missing."""


class Absent(pd.DataFrame):
    """A table without rows, since nothing was measured: every column of it is empty, and so is any choice of its rows."""

    @property
    def _constructor(self) -> type["Absent"]:
        return Absent

    def __contains__(self, key: object) -> bool:  # type: ignore[misc]
        return True

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return pd.Series(dtype=float, name=key)
        return self.reindex(columns=key) if isinstance(key, list) else self

    def groupby(self, by: Any = None, **how: Any) -> Any:  # type: ignore[override]
        """Groups of nothing, by columns that it need not have."""
        names = [by] if isinstance(by, str) else list(by)
        return pd.DataFrame.groupby(self.reindex(columns=[*self.columns.union(names)]), by, **how)


def content(table: pd.DataFrame) -> bytes:
    """A table as the bytes of its CSV file: nine digits, so that machines agree."""
    return table.to_csv(index=False, float_format="%.9g", lineterminator="\n").encode()


def read(
    folder: Path, suite: str, name: str, columns: Iterable[str] = (), texts: bool = False
) -> pd.DataFrame:
    """A table of a suite; empty, with `columns`, where the file is missing or blank.

    Nothing but an empty cell and nan is a missing value: a condition may be called null.

    Args:
        folder: holds a folder of tables for each suite.
        columns: what the table has to have.
        texts: leave every cell as it is written, with all its digits; an empty one is an empty text.

    Raises:
        UserError: the file is no table, or lacks one of the columns (its path, and what to do).
    """
    plain = folder / suite / f"{name}.csv"
    packed = plain.with_suffix(".csv.gz")
    path = plain if plain.is_file() or not packed.is_file() else packed
    found = path.read_bytes() if path.is_file() else b""
    if not found.strip():
        return pd.DataFrame(columns=list(columns))
    how: dict[str, Any] = {"dtype": str} if texts else {"na_values": ["", "nan", "NaN"]}
    try:
        table = pd.read_csv(
            io.BytesIO(found),
            keep_default_na=False,
            compression="gzip" if path is packed else None,
            **how,
        )
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a table ({error}); delete it and run the study again") from None
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise UserError(f"{path} lacks the column {lacking[0]}; delete it and run the study again")
    if not texts:
        _check_rows(path, table)
    return table


def _check_rows(path: Path, table: pd.DataFrame) -> None:
    """UserError names the line of a row that is blank, or is of no suite, condition or seed: a spreadsheet leaves such ones."""
    checks = {column: table[column] for column in RUN if column in table}
    if "seed" in checks:
        checks["seed"] = pd.to_numeric(checks["seed"], errors="coerce")
    for column, cells in checks.items():
        if cells.isna().any():
            raise UserError(
                f"{path}, line {_line(cells.isna())}, has no {column}; mend that row, or delete it"
            )
    if len(blank := table.isna().all(axis=1)) and blank.any():
        raise UserError(f"{path}, line {_line(blank)}, is blank; delete it")


def _line(rows: "pd.Series[bool]") -> int:
    """The line in its file of the first of some rows of a table."""
    return int(np.argmax(rows.to_numpy())) + 2


def _has_words(column: "pd.Series[Any]") -> bool:
    return not pd.api.types.is_numeric_dtype(column)


def names(folder: Path, suite: str) -> list[str]:
    """The tables that a suite has."""
    files = (path.name for path in (folder / suite).glob("*.csv*"))
    return sorted({name.partition(".")[0] for name in files if name.endswith((".csv", ".csv.gz"))})


def suites(folder: Path) -> list[str]:
    """The suites that have tables. UserError where there are none."""
    found = sorted({path.parent.name for path in (*folder.glob("*/*.csv"), *folder.glob("*/*.csv.gz"))})
    if not found:
        raise UserError(f"{folder} holds no tables; run the study first: ./run.sh all")
    return found


class Tables:
    """The tables of one suite in a folder of tables. `reads`: each (suite, table) that was asked for, there or not."""

    def __init__(self, folder: Path, suite: str) -> None:
        self.folder = folder
        self.suite = suite
        self.reads: set[tuple[str, str]] = set()
        self._kept: dict[tuple[object, ...], pd.DataFrame] = {}

    def of(self, suite: str) -> "Tables":
        """The tables of another suite of the same study; what is asked of it counts here, too."""
        other = Tables(self.folder, suite)
        other.reads, other._kept = self.reads, self._kept
        return other

    def apart(self) -> "Tables":
        """The same tables, with a count of their own of what is asked for."""
        other = self.of(self.suite)
        other.reads = set()
        return other

    def found(self) -> list[str]:
        """SUITE/TABLE of each that was asked for and holds something, in order; without those of single steps."""
        return [
            f"{suite}/{name}"
            for suite, name in sorted(self.reads)
            if name not in OF_STEPS and len(self._kept[suite, name])
        ]

    def rows(self, name: str, **where: object) -> pd.DataFrame:
        """The rows of a table whose columns equal the given values; `Absent` where there is nothing.

        The same rows may be given out again: take a copy before you write to them.
        """
        place: tuple[object, ...] = (self.suite, name)
        self.reads.add((self.suite, name))
        if place not in self._kept:
            self._kept[place] = read(self.folder, self.suite, name)
        table = self._kept[place]
        for column, value in where.items() if len(table) else ():
            place = (*place, column, value)
            if type(value) in (int, float) and _has_words(table[column]):
                raise ValueError(f"{column} is asked for {value} and has words")  # no row would be found
            if place not in self._kept:
                self._kept[place] = table[table[column] == value]
            table = self._kept[place]
        return table if len(table) else Absent(columns=table.columns)

    def seeds(self, name: str, column: str, **where: object) -> "pd.Series[float]":
        """The mean of a column of `rows` for each seed that has a value."""
        return per_seed(self.rows(name, **where), column)

    def by_condition(self, name: str, order: "Order" = (), **where: object) -> "ByCondition":
        return ByCondition(self.rows(name, **where), order)

    @contextmanager
    def needed(self, by: str) -> Iterator[None]:
        """A column that is asked for in vain means that there is nothing, where a table is empty, and an old table else.

        Raises:
            NothingToDraw: a table that was read has no rows.
            UserError: all have, and one of them lacks a column, or has words where numbers belong.
        """
        try:
            with self.legible():
                yield
        except KeyError as error:
            column = str(error.args[0]).removeprefix("Column not found: ")
            lacking = [
                f"{suite}/{name}" for suite, name in self.reads if column not in self._kept[suite, name]
            ]
            empty = [f"{suite}/{name}" for suite, name in self.reads if not len(self._kept[suite, name])]
            if empty:
                raise NothingToDraw(f"{listed(sorted(empty))} missing or empty") from None
            if not lacking:
                raise
            raise UserError(
                f"{by}: the column {column} is not in {listed(sorted(lacking))}: these runs did not measure it (too few steps for log.effect_interval, or for the windows), or the table is of an older code: delete it and run the study again"
            ) from error

    @contextmanager
    def legible(self) -> Iterator[None]:
        """What fails over a cell with words in a column of numbers, which a person or a spreadsheet wrote, is told by that cell.

        Raises:
            UserError: a table that was read has such a cell. Else the error as it came.
        """
        try:
            yield
        except (ValueError, TypeError, AttributeError) as error:
            for suite, name in sorted(self.reads):
                table = self._kept[suite, name]
                for column in [column for column in table if _has_words(table[column])]:
                    cells = table[column].dropna().astype(str)
                    words = pd.to_numeric(cells, errors="coerce").isna()
                    if words.any() and (not words.all() or f"'{cells.iloc[0]}'" in str(error)):
                        line, cell = _line(words.reindex(table.index, fill_value=False)), cells[words].iloc[0]
                        raise UserError(
                            f"{self.folder / suite / name}.csv, line {line}: {cell!r} is no number for the "
                            f"column {column}; empty that cell, or delete the file and run the study again"
                        ) from error
            raise


class ByCondition:
    """The rows of a table that has one number a condition and seed in each column.

    conditions: those of the rows, first the ones of `order`, then the others as they come. labels: their plain words, where
    `order` gives their looks.
    """

    def __init__(self, rows: pd.DataFrame, order: "Order" = ()) -> None:
        self.rows = rows
        self.labels = {name: look.label for name, look in order.items()} if isinstance(order, Mapping) else {}
        self._parts: dict[str, pd.DataFrame] = {}
        have = dict.fromkeys(rows["condition"])
        self.conditions = list(dict.fromkeys([*(name for name in order if name in have), *have]))

    def named(self, condition: str) -> str:
        return self.labels.get(condition, f"`{condition}`")

    def part(self, condition: str) -> pd.DataFrame:
        """The rows of a condition."""
        if condition not in self._parts:
            self._parts[condition] = of_condition(self.rows, condition)
        return self._parts[condition]

    def of(self, condition: str, column: str) -> "pd.Series[float]":
        """The values of a condition by seed, without those that were not measured."""
        return per_seed(self.part(condition), column)

    def value(self, condition: str, column: str) -> Estimate:
        return estimate(self.of(condition, column))

    def minus(self, one: str, other: str, column: str) -> Estimate:
        """Of one condition minus the other, paired by seed."""
        return paired(self.of(one, column), self.of(other, column))

    def values(self, conditions: Iterable[str], column: str) -> dict[str, Estimate]:
        """By condition, by its label or named as code: the parts of a `words.difference`."""
        return {self.named(name): self.value(name, column) for name in conditions}

    def against(self, one: str, others: Iterable[str], column: str) -> dict[str, Estimate]:
        """One condition minus each of some others, paired by seed: the parts of a `words.difference`, which says of what."""
        return {f"minus {self.named(name)}": self.minus(one, name, column) for name in others}

    def twins(self, pairs: Mapping[str, str], column: str) -> dict[str, Estimate]:
        """The first of each pair of conditions minus the second, paired by seed, named by both; pairs without a common seed left out."""
        sign = "minus" if self.labels else "−"
        found = {
            f"{self.named(one)} {sign} {self.named(other)}": self.minus(one, other, column)
            for one, other in pairs.items()
        }
        return {name: value for name, value in found.items() if value.n}

    def steps(self, condition: str, column: str, needs: str | None = None) -> "pd.Series[float]":
        """Steps by seed, infinity where it never came to be.

        needs: the column without which a missing number of steps means not measured, not never.
        """
        rows = self.part(condition)
        rows = rows[rows[needs].notna()] if needs else rows
        return pd.Series(rows[column].astype(float).fillna(np.inf).to_numpy(), rows["seed"], dtype=float)


def of_condition(table: pd.DataFrame, condition: str) -> pd.DataFrame:
    """The rows of a condition."""
    return table[table["condition"] == condition]


def present(table: pd.DataFrame, wanted: Iterable[str]) -> list[str]:
    """Those of the wanted conditions that the table has, in the wanted order."""
    have = set(table["condition"])
    return [name for name in wanted if name in have]


def stack(parts: Sequence[pd.DataFrame], columns: Iterable[str] = ()) -> pd.DataFrame:
    """Tables under one another; an empty one, with `columns`, when there are none."""
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(columns))


def windows_of(metrics: pd.DataFrame) -> pd.DataFrame:
    """The stretches of one run, its steps in order, in which a regime acted: regime, start, end (half-open)."""
    regime, step = metrics["regime"].to_numpy(), metrics["step"].to_numpy()
    starts = np.flatnonzero(np.append(True, regime[1:] != regime[:-1])[: len(regime)])
    last = np.append(starts[1:], len(regime))[: len(starts)] - 1
    found = pd.DataFrame({"regime": regime[starts], "start": step[starts], "end": step[last] + 1})
    return found[found["regime"] != CALM].reset_index(drop=True)


def stretches(rows: pd.DataFrame) -> list[tuple[str, int, int]]:
    """`windows_of` one run's rows of `metrics`, in any order, as (regime, start, end)."""
    found = windows_of(rows.sort_values("step"))
    return [(str(regime), int(start), int(end)) for regime, start, end in found.itertuples(index=False)]


def shared_windows(windows: pd.DataFrame, condition: str) -> list[tuple[str, int, int]]:
    """(regime, start, end) of a condition's windows where all its seeds have the same ones, else an empty list."""
    rows = of_condition(windows, condition)
    by_seed = (group[["start", "end", "regime"]] for _, group in rows.groupby("seed"))
    found = {tuple(sorted(group.itertuples(index=False, name=None))) for group in by_seed}
    return (
        [(str(regime), int(start), int(end)) for start, end, regime in found.pop()] if len(found) == 1 else []
    )


def same_regimes(rows: pd.DataFrame) -> bool:
    """Whether all seeds of a condition's metrics are under the same regime at each step."""
    return bool((rows.groupby("step")["regime"].nunique() == 1).all())


Grid = Callable[[Tables], str]
"""What makes a table of a page, as Markdown; MISSING where there is nothing."""
