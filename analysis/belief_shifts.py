"""Finished interventions (belief.py) -> the table belief_shifts."""

from collections.abc import Iterable

import pandas as pd

from analysis.frozen import FinishedTest

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
    parts = [test.read("belief") for test in tests]
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
    return {"belief_shifts": found}
