"""What a self-state pays as one dial is turned: decay, dimensions, switching rate, strength of the corruption.

Every condition is compared with the vanilla run of its own world and seed, step by step (experiments/kit/pairs.py). A dial is
found by config: a condition is a point of the one dial by which it differs from the condition `base`, and `base` is a point
of every dial.
"""

from collections.abc import Callable, Sequence

import pandas as pd

from configs.run import RunConfig
from configs.world import Recurring
from experiments.kit.pairs import Pair, losses, paired_logs
from experiments.kit.runs import Context

BASE = "base"
POINTS = (
    *("suite", "dial", "value", "condition", "seed", "vanilla", "base"),
    *("clean_gain", "perturbed_gain", "heldout_gain"),
)


def _rate(run: RunConfig) -> float:
    return run.schedule.enter if isinstance(run.schedule, Recurring) else float("nan")


DIALS: dict[str, Callable[[RunConfig], float]] = {
    "decay": lambda run: run.self_state.decay,
    "dim": lambda run: float(run.self_state.dim),
    "rate": _rate,
    "strength": lambda run: run.regimes.bewilderment.probability,
}
"""decay: share of the new proposal in each update. dim: dimensions of the state. rate: probability of a switch at each step,
on and off alike. strength: probability of a target being replaced."""


def tables(context: Context) -> dict[str, pd.DataFrame]:
    """The table sweep_points."""
    return {"sweep_points": points(context, paired_logs(context))}


def points(context: Context, pairs: Sequence[Pair]) -> pd.DataFrame:
    """One row a dial, value and seed. Gains are vanilla's loss minus the condition's, nats a token: above zero is better.

    clean_gain, perturbed_gain: training batches without and with a regime; heldout_gain: held-out text at moments when no
    regime acts. All over the last three quarters of the run. base: whether it is the point that all dials share.
    """
    if not pairs:
        return pd.DataFrame(columns=list(POINTS))
    found = losses(pairs).set_index(["condition", "seed"])
    rows = []
    for name, run in context.suite.conditions.items():
        if not run.self_state.enabled or name not in found.index.get_level_values("condition"):
            continue
        for dial in dials_of(name, context.suite.conditions):
            for seed, row in found.loc[name].iterrows():
                gains = [
                    -row[f"{column}_difference"]
                    for column in ("clean_loss", "perturbed_loss", "heldout_loss_calm")
                ]
                place = (context.suite.name, dial, DIALS[dial](run), name, seed, row["vanilla"], name == BASE)
                rows.append((*place, *gains))
    made = pd.DataFrame(rows, columns=list(POINTS))
    made["dial"] = pd.Categorical(made["dial"], list(DIALS))
    made = made.sort_values(["dial", "value", "seed"], ignore_index=True)
    made["dial"] = made["dial"].astype(str)
    return made


def dials_of(name: str, conditions: dict[str, RunConfig]) -> list[str]:
    """The dials that a condition is a point of: all for `base`, the only one it turns for others, none for more than one."""
    if name == BASE:
        return list(DIALS)
    if BASE not in conditions:
        return []
    turned = [dial for dial, value in DIALS.items() if value(conditions[name]) != value(conditions[BASE])]
    return turned if len(turned) == 1 else []
