"""How far learned and placebo directions steer at a norm that the state usually has. From finished frozen-weight tests.

A test chooses its magnitude among norms up to the largest that its run saw, and that one may belong to the first steps:
there readers may saturate, so that learned and placebo directions end up alike. Here all of them are read at one norm,
the mean of the last half of the steps before the weights that are tested, along the dose curves of the same tests. That
norm was set after results were seen, it is the same for learned and placebo, and nothing is selected at it.
"""

import numpy as np
import pandas as pd

from experiments.kit.runs import Context
from experiments.kit.tables import WEIGHTS

COLUMNS = (*WEIGHTS, "finder", "reader", "draw", "norm", "largest", "effect")
ENDS = {  # of each finder: the directions, with their signs, that the effect is taken between
    "dimension": (("uncertain", +1), ("confident", +1)),
    "gradient": (("gradient", +1), ("gradient", -1)),
}


def tables(context: Context) -> dict[str, pd.DataFrame]:
    """The table usual_norm."""
    made = context.made
    return {"usual_norm": at_usual_norm(made["frozen_doses"], made["frozen_dose_placebos"], made["metrics"])}


def at_usual_norm(learned: pd.DataFrame, placebos: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """Effect sizes at the usual norm: a row a test, finder, reader and draw.

    norm: mean state norm of the last half of the steps before run_step; largest: the largest dose of the test. effect:
    |entropy(uncertain) - entropy(confident)| at that norm, nats, interpolated between doses. No row where the norm lies
    outside the doses, or is not known.
    """
    if learned.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    doses = pd.concat([learned, placebos], ignore_index=True) if len(placebos) else learned
    rows = []
    for place, test in doses.groupby(list(WEIGHTS), sort=False):
        _, condition, seed, step = place
        norm = _usual(metrics, str(condition), int(str(seed)), int(str(step)))
        largest = float(test["magnitude"].max())
        if not 0 < norm <= largest:
            continue
        for (reader, draw), curves in test.groupby(["reader", "draw"], sort=False):
            along = {
                direction: curve.sort_values("magnitude") for direction, curve in curves.groupby("direction")
            }
            for finder, ends in ENDS.items():
                if not {direction for direction, _ in ends} <= set(along):
                    continue
                high, low = (
                    np.interp(
                        sign * norm,
                        along[direction]["magnitude"],
                        along[direction]["delta_entropy"].astype(float),
                    )
                    for direction, sign in ends
                )
                rows.append((*place, finder, reader, draw, norm, largest, abs(float(high - low))))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _usual(metrics: pd.DataFrame, condition: str, seed: int, step: int) -> float:
    """Mean state norm of a run's steps from step / 2 up to `step`; NaN where it has none."""
    run = metrics[(metrics["condition"] == condition) & (metrics["seed"] == seed)]
    return float(run.loc[(run["step"] >= step // 2) & (run["step"] < step), "state_norm"].mean())
