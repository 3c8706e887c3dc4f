"""A study's tables as files, `<folder>/<suite>/<name>.csv`: the one reader, and the columns that say where a row belongs.

Claims, figures and pages all read by it, so that no cell is one thing in a figure and another on a page.
"""

import io
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from base.storage import UserError

RUN = ("suite", "condition", "seed")  # the columns that say which run a row is of
WEIGHTS = (*RUN, "run_step")  # and after which of its steps


def read(folder: Path, suite: str, name: str, columns: Iterable[str] = ()) -> pd.DataFrame:
    """A table of a suite; empty, with `columns`, where the file is missing or blank.

    Nothing but an empty cell and nan is a missing value: a condition may be called null.

    Args:
        folder: holds a folder of tables for each suite.
        columns: what the table has to have.

    Raises:
        UserError: the file is no table, or lacks one of the columns (its path, and what to do).
    """
    path = folder / suite / f"{name}.csv"
    content = path.read_bytes() if path.is_file() else b""
    if not content.strip():
        return pd.DataFrame(columns=list(columns))
    try:
        table = pd.read_csv(io.BytesIO(content), keep_default_na=False, na_values=["", "nan", "NaN"])
    except ValueError as error:
        raise UserError(f"{path} is not a table ({error}); delete it and run the study again") from None
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise UserError(f"{path} lacks the column {lacking[0]}; delete it and run the study again")
    return table


def suites(folder: Path) -> list[str]:
    """The suites that have tables. UserError where there is no folder of tables."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; run the study first: ./run.sh all")
    return sorted(path.name for path in folder.iterdir() if path.is_dir())
