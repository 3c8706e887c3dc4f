"""Finished interventions (belief.py) -> the table belief_shifts."""

from collections.abc import Iterable

import pandas as pd

from analysis.frozen import FinishedTest
from storage import UserError

COLUMNS = (
    *(
        "suite",
        "condition",
        "seed",
        "run_step",
        "state",
        "regime",
        "draw",
        "distance",
        "norm",
        "kl",
        "kl_calm",
    ),
    *("entropy", "nll_clean", "nll_corrupted"),
)


def tables(tests: Iterable[FinishedTest]) -> dict[str, pd.DataFrame]:
    """belief_shifts: the rows of all belief.csv, with suite and condition in front, in the order of `tests`.

    Raises:
        UserError: a file of a folder is missing or no table (its path, and what to do).
    """
    parts = []
    for test in tests:
        path = test.folder / "belief.csv"
        try:
            part = pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} is missing or no table ({error}); delete its folder and run again"
            ) from None
        part.insert(0, "suite", test.suite)
        part.insert(1, "condition", test.condition)
        parts.append(part)
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
    return {"belief_shifts": found}
