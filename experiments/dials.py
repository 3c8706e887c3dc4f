"""What sets the share of the known gain that a self-state captures? One dial at a time, in the world of floors.py.

A dial is found by config: a condition is a point of the one dial by which it differs from the condition `base`, and `base` is
a point of every dial.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from configs.run import RunConfig
from configs.world import Recurring
from experiments.floors import floors_captured
from experiments.kit import pages, style, words
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment
from experiments.kit.runs import Context
from experiments.kit.stats import UNKNOWN, Estimate, estimate, paired, per_seed, rank_correlation
from experiments.kit.style import Look
from experiments.kit.tables import Tables, stack
from experiments.kit.words import Finding, difference, interval

BASE = "base"


@dataclass(frozen=True)
class Dial:
    """What is turned. value: of a run. claim, otherwise: that the share has a trend of this sign, and that it has none."""

    value: Callable[[RunConfig], float]
    look: Look
    claim: str
    otherwise: str
    sign: int = +1


def _switching(run: RunConfig) -> float:
    return run.schedule.enter if isinstance(run.schedule, Recurring) else float("nan")


DIALS = {
    "momentum": Dial(lambda run: float(round(1 / (1 - run.self_state.stat_momentum))),
                     Look("steps that the moments of its senses reach back", style.PURPLE, marker="P"),
                     "The further back the moments reach that standardise its senses, the more a state captures",
                     "A state whose senses are standardised by longer moments does not clearly capture more"),
    "decay": Dial(lambda run: run.self_state.decay, Look("share of the new in each update of the state", style.BLUE),
                  "The slower a state forgets, the more it captures",
                  "A state that forgets more slowly does not clearly capture more", -1),
    "dim": Dial(lambda run: float(run.self_state.dim), Look("numbers that the state holds", style.VERMILLION, marker="s"),
                "The more numbers a state holds, the more it captures",
                "A state that holds more numbers does not clearly capture more"),
    "width": Dial(lambda run: float(run.model.n_embd), Look("width of the model", style.SKY, marker="v"),
                  "The wider the model, the more its state captures",
                  "The state of a wider model does not clearly capture more"),
    "steps": Dial(lambda run: float(run.train.steps), Look("steps of training", style.GREEN, marker="^"),
                  "The longer it is trained, the more a state captures",
                  "A state that is trained longer does not clearly capture more"),
    "rate": Dial(lambda run: run.train.learning_rate, Look("learning rate", style.ORANGE, marker="<"),
                 "The higher the learning rate, the more a state captures",
                 "At a higher learning rate a state does not clearly capture more"),
    "switching": Dial(_switching, Look("probability of a switch at each step", style.GREY, marker="h"),
                      "The more seldom the world switches, the more a state captures",
                      "Where the world switches more seldom a state does not clearly capture more", -1),
    "strength": Dial(lambda run: run.regimes.bewilderment.probability,
                     Look("probability of a corrupted target", style.BLACK, marker="D"),
                     "The stronger the corruption, the more of its gain a state captures",
                     "Where the corruption is stronger a state does not clearly capture more of its gain"),
}  # fmt: skip
PLAIN = {"momentum": "moments of the senses", "decay": "forgetting", "dim": "size of the state", "width": "width of the model",
         "steps": "length of training", "rate": "learning rate", "switching": "switching", "strength": "corruption"}  # fmt: skip


def dials_of(name: str, conditions: Mapping[str, RunConfig]) -> list[str]:
    """The dials that a condition is a point of: all for `base`, the only one it turns for others, none for more than one."""
    if name == BASE or BASE not in conditions:
        return list(DIALS) if name == BASE else []
    mine, base = conditions[name], conditions[BASE]
    turned = [dial for dial, one in DIALS.items() if one.value(mine) != one.value(base)]
    return turned if len(turned) == 1 else []


def dial_points(context: Context) -> pd.DataFrame:
    """One row a dial, its value, condition and seed: captured, loss and the floors as of `floors_captured`, of the own life.

    value: of the dial. base: whether it is the point that all dials share.
    """
    conditions, found, parts = context.suite.conditions, floors_captured(context), []
    for dial, one in DIALS.items() if len(found) else ():
        turned = [name for name in conditions if dial in dials_of(name, conditions)]
        here = {name: one.value(conditions[name]) for name in turned}
        rows = found[found["condition"].isin(turned) & (found["life"] == "own")]
        rows = rows.assign(dial=dial, value=rows["condition"].map(here), base=rows["condition"] == BASE)
        columns = ["suite", "dial", "value", "condition", "seed", "base", "captured", "loss", "blind", "filter", "oracle"]  # fmt: skip
        parts.append(rows.sort_values(["value", "seed"])[columns])
    return stack(parts)


def by_value(tables: Tables, dial: str) -> pd.DataFrame:
    """What is captured along a dial: a row a value, in order, a column a seed."""
    rows = tables.rows("dial_points", dial=dial)
    return (
        rows[rows["captured"].notna()]
        .pivot_table(index="value", columns="seed", values="captured")
        .sort_index()
    )


def trend(wide: pd.DataFrame) -> Estimate:
    """Spearman's correlation of the values with what is captured, within each seed that has all of at least three."""
    wide = wide.dropna(axis=1)
    if len(wide) < 3 or wide.empty:
        return UNKNOWN
    return estimate(wide.apply(lambda shares: rank_correlation(wide.index.to_series(), shares)))


def findings(tables: Tables) -> dict[str, Finding]:
    """Of each dial, whether the share has the trend that its claim says."""
    made = {}
    for dial, one in DIALS.items():
        rows, said = tables.rows("dial_points", dial=dial), (f"{one.claim}.", f"{one.otherwise}.")
        found = UNKNOWN if rows.empty else trend(by_value(tables, dial))
        unit = "rank correlation of dial and captured share within each seed"
        made[dial] = (
            difference(said[0], {"trend": found}, one.sign, unit, 2, pairs=False, otherwise=said[1])
            if found.n
            else Finding(
                said[0], words.ABSENT, "It needs seeds that were run at three values or more.", said[1]
            )
        )
    return made


def values_table(dial: str) -> Callable[[Tables], str]:
    """A row a value of a dial, and which of them captures most."""

    def make(tables: Tables) -> str:
        points, rows = tables.rows("dial_points", dial=dial), []
        for value, here in points.groupby("value"):
            mark = " (base)" if here["base"].any() else ""
            values = (per_seed(here, column) for column in ("captured", "loss", "filter"))
            rows.append([f"{value:g}{mark}", *values])
        columns = [("captured", "±3"), ("loss, nats", "±4"), ("ideal observer", "±4")]
        found = pages.of_seeds(DIALS[dial].look.label, columns, rows)
        return f"{found}\n\n{best(tables, dial)}" if rows else found

    return make


def best(tables: Tables, dial: str) -> str:
    """The value that captures most in the mean, and whether that is clearly more than at the base."""
    points, means = tables.rows("dial_points", dial=dial), by_value(tables, dial).mean(axis=1)
    if means.empty:
        return "No value has been measured yet."
    base, top = points[points["base"]], means.idxmax()
    said = f"The largest mean share is that of {top:g}"
    if base.empty or top == base["value"].iloc[0]:
        return f"{said}{'' if base.empty else ', the base itself'}."
    beyond = paired(per_seed(points[points["value"] == top], "captured"), per_seed(base, "captured"))
    if not beyond.n:
        return f"{said}; no seed has both it and the base."
    return (
        f"{said}: {interval(beyond, 3)} more than at the base value {base['value'].iloc[0]:g}, paired by seed; it was picked "
        f"as the best of {len(means)}, so its surplus is overstated."
    )


FIGURE = draw.sheet(
    "dials.png",
    [
        draw.points("dial_points", "captured", PLAIN[dial], "captured share" if at % 4 == 0 else "", by="dial",
                    where={"dial": dial}, across="value")
        for at, dial in enumerate(DIALS)
    ],
    grid=(2, 4), height=5.2, looks={name: dial.look for name, dial in DIALS.items()}, marks="none",
    title=("momentum", "steps"), share_y=True,
    shows="The share of the known gain that a self-state captures, as eight dials are turned one at a time.",
    caption="One point a seed ({seeds}), mean and 95 % interval. 0: the best prediction that ignores the regime. 1: an ideal observer "
    "who sees every past batch. Weights frozen.",
)  # fmt: skip
EXPERIMENT = Experiment(
    "dials", "Dials: what sets the share that a self-state captures", [dial_points], findings, [FIGURE],
    {dial: values_table(dial) for dial in DIALS},
)  # fmt: skip
