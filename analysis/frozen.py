"""Finished frozen-weight tests -> the tables frozen_conditions, frozen_effects(_summary), frozen_doses and
frozen_dose_placebos.

The question: do the learned directions steer further than directions that were selected in the same way from
a placebo reader? Each run answers by the rank of its learned effect among its placebos' effects.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from base.storage import UserError
from experiments.kit.tables import WEIGHTS

FILES = ("conditions", "effects", "doses")
TEST = (*WEIGHTS, "protocol", "finder")
SUMMARY = (*TEST, "effect", "placebo", "placebo_mean", "placebo_sd", "placebo_max", "p_value", "surplus")


@dataclass(frozen=True)
class FinishedTest:
    """A folder that a test of a finished run filled (frozen_test.py, belief.py), and whose run it tested."""

    suite: str
    condition: str
    folder: Path

    def read(self, name: str) -> pd.DataFrame:
        """The table in `<name>.csv` of the folder, with suite and condition in front.

        Raises:
            UserError: the file is missing or no table (its path, and what to do).
        """
        path = self.folder / f"{name}.csv"
        try:
            rows = pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} is missing or no table ({error}); delete its folder and run again"
            ) from None
        rows.insert(0, "suite", self.suite)
        rows.insert(1, "condition", self.condition)
        return rows


def tables(tests: Iterable[FinishedTest]) -> dict[str, pd.DataFrame]:
    """The five tables by name, rows in the order of `tests`; empty without one.

    frozen_doses has the curves of learned readers, frozen_dose_placebos those of placebo readers.

    Raises:
        UserError: a file of a folder is missing or no table (its path, and what to do).
    """
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in FILES}
    for test in tests:
        for name in FILES:
            parts[name].append(test.read(name))
    found = {
        f"frozen_{name}": pd.concat(some, ignore_index=True) if some else pd.DataFrame()
        for name, some in parts.items()
    }
    doses = found["frozen_doses"]
    found["frozen_dose_placebos"] = doses
    if not doses.empty:
        learned = doses["reader"] == "learned"
        found["frozen_doses"] = doses[learned].reset_index(drop=True)
        found["frozen_dose_placebos"] = doses[~learned].reset_index(drop=True)
    found["frozen_effects_summary"] = summarise(found["frozen_effects"])
    return found


def summarise(effects: pd.DataFrame) -> pd.DataFrame:
    """The learned effect beside each kind of placebo, one row a test and kind; SUMMARY names the columns.

    Args:
        effects: the table frozen_effects: one "learned" row a test, many "rotated" and "untrained" ones.

    Returns:
        effect and placebo_* in nats; placebo_sd with n - 1 below, NaN for a single draw; p_value by
        `rank_p_value`; surplus: effect minus placebo_mean. A test without draws of a kind has no row of that kind.
    """
    rows = []
    if not effects.empty:
        for test, group in effects.groupby(list(TEST), sort=False):
            (learned,) = group.loc[group["reader"] == "learned", "effect_size"]
            for placebo, draws in group[group["reader"] != "learned"].groupby("reader", sort=False):
                sizes = draws["effect_size"]
                spread = (sizes.mean(), sizes.std(), sizes.max(), rank_p_value(learned, sizes.to_numpy()))
                rows.append((*test, learned, placebo, *spread, learned - spread[0]))
    return pd.DataFrame(rows, columns=list(SUMMARY))


def rank_p_value(learned: float, placebo: np.ndarray) -> float:
    """One-sided rank p-value, (1 + number of placebo values >= learned) / (1 + n).

    The probability of a rank this high if the learned value were one more draw (Phipson and Smyth,
    Statistical Applications in Genetics and Molecular Biology 9, 2010). With 20 draws the smallest is 1/21.
    """
    return (1 + int((placebo >= learned).sum())) / (1 + len(placebo))
