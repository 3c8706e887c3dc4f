"""Tables of the frozen-weight test: what the finished tests wrote, and learned directions beside those of placebo readers.

Each run answers by the rank of its learned effect among its placebos' effects.
"""

import numpy as np
import pandas as pd

from experiments.kit.placebos import rank_p_value
from experiments.kit.runs import Context
from experiments.kit.tables import WEIGHTS

TEST = (*WEIGHTS, "protocol", "finder")
ENDS = {  # of each finder: the directions, with their signs, that the effect is taken between
    "dimension": (("uncertain", +1), ("confident", +1)),
    "gradient": (("gradient", +1), ("gradient", -1)),
}


def frozen_tables(context: Context) -> dict[str, pd.DataFrame]:
    """What the finished tests wrote, with suite and condition in front: frozen_conditions, frozen_effects, frozen_batches,
    frozen_doses (the curves of learned readers) and frozen_dose_placebos (of placebo readers). UserError where a file is
    none of these."""
    doses = context.probed("frozen", "doses")
    learned = doses["reader"] == "learned" if len(doses) else pd.Series(dtype=bool)
    return {
        "frozen_conditions": context.probed("frozen", "conditions"),
        "frozen_effects": context.probed("frozen", "effects"),
        "frozen_batches": context.probed("frozen", "batches"),
        "frozen_doses": doses[learned].reset_index(drop=True) if len(doses) else doses,
        "frozen_dose_placebos": doses[~learned].reset_index(drop=True) if len(doses) else doses,
    }


def frozen_effects_summary(context: Context, frozen_effects: pd.DataFrame) -> pd.DataFrame:
    """The learned effect beside each kind of placebo, one row a test and kind.

    effect and placebo_* in nats; placebo_sd with n - 1 below, NaN for a single draw; p_value by `rank_p_value`; surplus:
    effect minus placebo_mean. A test without draws of a kind has no row of that kind.
    """
    rows = []
    for test, group in frozen_effects.groupby(list(TEST), sort=False):
        (learned,) = group.loc[group["reader"] == "learned", "effect_size"]
        for placebo, draws in group[group["reader"] != "learned"].groupby("reader", sort=False):
            sizes = draws["effect_size"]
            rows.append(dict(zip(TEST, test, strict=True)) | {
                "effect": learned, "placebo": placebo, "placebo_mean": sizes.mean(), "placebo_sd": sizes.std(),
                "placebo_max": sizes.max(), "p_value": rank_p_value(learned, sizes.to_numpy()), "surplus": learned - sizes.mean(),
            })  # fmt: skip
    return pd.DataFrame(rows)


def usual_norm(
    context: Context, frozen_doses: pd.DataFrame, frozen_dose_placebos: pd.DataFrame, metrics: pd.DataFrame
) -> pd.DataFrame:
    """Effect sizes at the norm that the state usually has: a row a test, finder, reader and draw.

    A test chooses its magnitude among norms up to the largest that its run saw, and that one may belong to the first steps:
    there readers may saturate, so that learned and placebo directions end up alike. Here all are read at one norm along the
    dose curves of the same tests; it was set after results were seen, is the same for all, and nothing is selected at it.

    norm: mean state norm of the last half of the steps before run_step; largest: the largest dose of the test. effect:
    |entropy(uncertain) - entropy(confident)| at that norm, nats, interpolated between doses. No row where the norm lies
    outside the doses, or is not known.
    """
    rows = []
    doses = pd.concat([frozen_doses, frozen_dose_placebos], ignore_index=True)
    for place, test in doses.groupby(list(WEIGHTS), sort=False):
        _, condition, seed, step = place
        step = int(str(step))
        of_run = metrics[(metrics["condition"] == condition) & (metrics["seed"] == seed)]
        half = (of_run["step"] >= step // 2) & (of_run["step"] < step)
        norm, largest = float(of_run.loc[half, "state_norm"].mean()), float(test["magnitude"].max())
        if not 0 < norm <= largest:
            continue
        for (reader, draw), curves in test.groupby(["reader", "draw"], sort=False):
            along = {
                direction: curve.sort_values("magnitude") for direction, curve in curves.groupby("direction")
            }
            for finder, ends in ENDS.items():
                if {direction for direction, _ in ends} <= set(along):
                    high, low = (_at(along[direction], sign * norm) for direction, sign in ends)
                    rows.append(dict(zip(WEIGHTS, place, strict=True)) | {
                        "finder": finder, "reader": reader, "draw": draw, "norm": norm, "largest": largest, "effect": abs(high - low),
                    })  # fmt: skip
    return pd.DataFrame(rows)


def _at(curve: pd.DataFrame, magnitude: float) -> float:
    """Delta entropy of a dose curve at a signed norm, interpolated between doses."""
    return float(np.interp(magnitude, curve["magnitude"], curve["delta_entropy"].astype(float)))
