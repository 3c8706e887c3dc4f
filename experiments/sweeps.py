"""What does a self-state pay as one dial is turned: decay, dimensions, switching rate, strength of the corruption?

Every condition is compared with the vanilla run of its own world and seed, step by step (experiments/kit/pairs.py). A dial
is found by config: a condition is a point of the one dial by which it differs from the condition `base`, and `base` is a
point of every dial.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from configs.run import RunConfig
from configs.world import Recurring
from experiments.kit import panels as draw
from experiments.kit import style, words
from experiments.kit.experiment import Experiment
from experiments.kit.pairs import losses, paired_logs
from experiments.kit.runs import Context
from experiments.kit.stats import UNKNOWN, Estimate, estimate, over_seeds, paired, per_seed, rank_correlation
from experiments.kit.style import Look
from experiments.kit.tables import Tables, stack
from experiments.kit.words import Finding, difference, interval

BASE = "base"
GAINS = {"clean_gain": "clean_loss", "perturbed_gain": "perturbed_loss", "heldout_gain": "heldout_loss_calm"}
KINDS = {"clean_gain": "calm steps", "perturbed_gain": "perturbed steps"}


@dataclass(frozen=True)
class Dial:
    """What is turned. value: of a run. claim, otherwise: that the gain has a trend of this sign, and that it has none."""

    value: Callable[[RunConfig], float]
    look: Look
    claim: str
    otherwise: str
    sign: int = +1


def _rate(run: RunConfig) -> float:
    return run.schedule.enter if isinstance(run.schedule, Recurring) else float("nan")


DIALS = {
    "decay": Dial(lambda run: run.self_state.decay, Look("decay: share of the new in each update", style.BLUE),
                  "The slower a state forgets, the more it gains",
                  "A state that forgets more slowly does not clearly gain more", -1),
    "dim": Dial(lambda run: float(run.self_state.dim), Look("numbers that the state holds", style.VERMILLION, marker="s"),
                "The more numbers a state holds, the more it gains",
                "A state that holds more numbers does not clearly gain more"),
    "rate": Dial(_rate, Look("probability of a switch at each step", style.GREEN, marker="^"),
                 "The more often the world switches, the more a state gains",
                 "Where the world switches more often a state does not clearly gain more"),
    "strength": Dial(lambda run: run.regimes.bewilderment.probability,
                     Look("probability of a corrupted target", style.PURPLE, marker="D"),
                     "The stronger the corruption, the more a state gains",
                     "Where the corruption is stronger a state does not clearly gain more"),
}  # fmt: skip

PLAIN = {"decay": "forgetting", "dim": "size", "rate": "switching", "strength": "corruption"}  # in the figure


def dials_of(name: str, conditions: Mapping[str, RunConfig]) -> list[str]:
    """The dials that a condition is a point of: all for `base`, the only one it turns for others, none for more than one."""
    if name == BASE or BASE not in conditions:
        return list(DIALS) if name == BASE else []
    mine, base = conditions[name], conditions[BASE]
    turned = [dial for dial, one in DIALS.items() if one.value(mine) != one.value(base)]
    return turned if len(turned) == 1 else []


def sweep_points(context: Context) -> pd.DataFrame:
    """One row a dial, its value, condition and seed. Gains are vanilla's loss minus the condition's, nats a token.

    clean_gain, perturbed_gain: training batches without and with a regime; heldout_gain: held-out text at moments when no
    regime acts. All over the last three quarters of the run; above zero is better, and NaN until its `vanilla` is finished.
    base: whether it is the point that all dials share. strength: of the corruption, probability of a target being replaced.
    """
    conditions, found, parts = context.suite.conditions, losses(paired_logs(context)), []
    for dial, one in DIALS.items() if len(found) else ():
        turned = [name for name in conditions if dial in dials_of(name, conditions)]
        here = {name: one.value(conditions[name]) for name in turned}
        rows = found[found["condition"].isin(turned) & (found["mechanism"] != "none")]
        gains = {gain: -rows[f"{loss}_difference"] for gain, loss in GAINS.items()}
        base, value = rows["condition"] == BASE, rows["condition"].map(here)
        rows = rows.assign(dial=dial, value=value, base=base, **gains)
        columns = ["suite", "dial", "value", "condition", "seed", "vanilla", "base", *GAINS]
        parts.append(rows.sort_values(["value", "seed"])[columns])
    return stack(parts)


def by_value(tables: Tables, dial: str, column: str) -> pd.DataFrame:
    """Gains of a dial: a row a value, in order, a column a seed."""
    rows = tables.rows("sweep_points", dial=dial)
    return rows[rows[column].notna()].pivot_table(index="value", columns="seed", values=column).sort_index()


def trend(wide: pd.DataFrame) -> Estimate:
    """Spearman's correlation of the values with the gains `by_value`, within each seed that has all of at least three."""
    wide = wide.dropna(axis=1)
    if len(wide) < 3 or wide.empty:
        return UNKNOWN
    return estimate(wide.apply(lambda gains: rank_correlation(wide.index.to_series(), gains)))


def findings(tables: Tables) -> dict[str, Finding]:
    """Of each dial, whether the gain has the trend that its claim says, on calm and on perturbed steps."""
    made = {}
    for dial, one in DIALS.items():
        rows, said = tables.rows("sweep_points", dial=dial), (f"{one.claim}.", f"{one.otherwise}.")
        found = (
            {}
            if rows.empty
            else {kind: trend(by_value(tables, dial, column)) for column, kind in KINDS.items()}
        )
        unit = "rank correlation of dial and gain within each seed"
        made[dial] = (
            difference(said[0], found, one.sign, unit, 2, pairs=False, otherwise=said[1])
            if any(value.n for value in found.values())
            else Finding(
                said[0], words.ABSENT, "It needs seeds that were run at three values or more.", said[1]
            )
        )
    return made


def values_table(dial: str) -> Callable[[Tables], str]:
    """A row a value of a dial, and which of them gains most."""

    def make(tables: Tables) -> str:
        points, rows = tables.rows("sweep_points", dial=dial), []
        for value, here in points.groupby("value"):
            mark = " (base)" if here["base"].any() else ""
            gains = [interval(over_seeds(here, column), 4) for column in GAINS]
            rows.append([f"{value:g}{mark}", *gains, str(over_seeds(here, "clean_gain").n)])
        head = [dial, *(f"gain on {of}" for of in (*KINDS.values(), "held-out text at calm moments")), "n"]
        return f"{words.table(head, rows)}\n\n{best(tables, dial)}" if rows else words.MISSING

    return make


def best(tables: Tables, dial: str) -> str:
    """The value with the largest mean gain on calm steps, and whether it is clearly better than the base."""
    points, means = tables.rows("sweep_points", dial=dial), by_value(tables, dial, "clean_gain").mean(axis=1)
    if means.empty:
        return "No value has been measured against no state yet."
    base, top = points[points["base"]], means.idxmax()
    said = f"The largest mean gain on calm steps is that of {top:g}"
    if base.empty or top == base["value"].iloc[0]:
        return f"{said}{'' if base.empty else ', the base itself'}."
    beyond = paired(per_seed(points[points["value"] == top], "clean_gain"), per_seed(base, "clean_gain"))
    if not beyond.n:
        return f"{said}; no seed has both it and the base."
    return (
        f"{said}: {interval(beyond, 4)} nats more than at the base value {base['value'].iloc[0]:g}, paired by seed; it was picked "
        f"as the best of {len(means)}, so its surplus is overstated."
    )


FIGURE = draw.sheet(
    "sweeps.png",
    [
        draw.points("sweep_points", column, f"{PLAIN[dial]}, {kind}", "gain (nats a token)" if dial == "decay" else "", by="dial",
                    where={"dial": dial}, across="value")
        for column, kind in KINDS.items() for dial in DIALS
    ],
    grid=(2, 4), height=5.2, looks={name: dial.look for name, dial in DIALS.items()}, marks="points", columns=2,
    title=("strength", "dim"), share_x="col", share_y=True,
    shows="What the self-state gains in the recurring world as decay, dimensions, switching rate and strength of the "
    "corruption are turned, one at a time.",
    caption="One point a seed ({seeds}), mean and 95 % interval. Gain: loss of the model without a state in the same world minus loss of "
    "this one, same batches.",
)  # fmt: skip
EXPERIMENT = Experiment(
    "sweeps", "Sweeps: how what a self-state pays depends on one dial", [sweep_points], findings, [FIGURE],
    {dial: values_table(dial) for dial in DIALS},
)  # fmt: skip
