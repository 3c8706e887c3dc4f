"""What a self-state gains in each world: names and looks of conditions, gains by seed, shares of the oracle's gain.

A gain is vanilla's loss minus the condition's, same seed, batches and regimes: above zero is better than no state.
"""

import pandas as pd
from matplotlib.axes import Axes

from experiments.kit import stats, style, tables
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.panels import by_seed
from experiments.kit.stats import tabled
from experiments.kit.style import Look
from experiments.kit.tables import RUN

SUITE = "recurring"
LOSSES, SWITCHES, RECOVERY, SUMMARY = (
    f"recurring_{name}" for name in ("losses", "switches", "recovery", "summary")
)
STATE, ORACLE = "calibrated_recurring", "oracle"
WORLDS = {
    "windows": "each of five regimes once, at set times",
    "random": "each once, at random times",
    "recurring": "targets corrupted, on and off",
    "mix": "five regimes, on and off",
    "faint": "weak corruption, on and off",
}
MECHANISMS = {
    "calibrated": Look("calibrated mechanism", style.BLUE),
    "raw": Look("raw mechanism", style.ORANGE, marker="s", filled=False),
}
LOOKS: dict[str, Look] = {  # of the recurring world, in the order of the figure
    ORACLE: Look("oracle: the true regime", style.BLACK, (0, (1, 1.2)), "D"),
    "direct": Look("direct: nothing carried on", style.GREEN, (0, (6, 1.5, 1, 1.5)), "^"),
    STATE: Look("calibrated: the self-state", style.BLUE, "-", "o"),
    "state_1d": Look("state_1d: one dimension", style.SKY, (0, (3, 1, 1, 1)), "P", filled=False),
    "raw_recurring": Look("raw mechanism", style.ORANGE, (0, (2, 1)), "s", filled=False),
    "learned_bias": Look("learned_bias: a constant", style.GREEN, ":", "<", filled=False),
    "fixed_bias": Look("fixed_bias: a random one", style.ORANGE, ":", ">", filled=False),
    "shuffled": Look("shuffled: own past, mixed up", style.VERMILLION, (0, (1, 2)), "v", filled=False),
    "yoked": Look("yoked: another run's senses", style.PURPLE, (0, (4, 1.6)), "X"),
    "clock": Look("clock: time alone", style.GREY, (0, (5, 3)), "d", filled=False),
}
KINDS = {"clean_loss": "calm steps", "perturbed_loss": "perturbed steps"}
AGES = (STATE, "delayed_4", "delayed_16", "delayed_64")
COLUMNS: dict[str, tuple[str, ...]] = {
    LOSSES: (*RUN, "world", "mechanism", "role", "age", "fresh", "from_step", *(f"{kind}_difference" for kind in KINDS)),
    SWITCHES: (*RUN, "switch", "lag", "events", "difference"),
    RECOVERY: (*RUN, "switch", "events", "loss_after_difference"),
    SUMMARY: ("suite", "quantity", "condition", "reference", "world", "measure", "n", "mean", "low", "high"),
}  # fmt: skip


def gains(losses: pd.DataFrame, condition: str, measure: str) -> "pd.Series[float]":
    """Vanilla's loss minus the condition's, by seed (nats a token); empty where it was not measured."""
    rows = tables.of_condition(losses, condition).set_index("seed")
    return -rows[f"{measure}_difference"].astype(float).dropna()


def of_world(losses: pd.DataFrame, mechanism: str, world: str) -> str:
    """The condition of a mechanism in a world that is shown its own statistics; "" where there is none."""
    rows = losses[
        (losses["world"] == world) & (losses["mechanism"] == mechanism) & (losses["role"] == "state")
    ]
    return str(rows["condition"].iloc[0]) if len(rows) else ""


def paying(losses: pd.DataFrame, mechanism: str, measure: str) -> tuple[list[str], list[str]]:
    """Worlds in which a mechanism clearly gains (95 % interval above zero), and all in which three seeds measured it."""
    clear, known = [], []
    for world in WORLDS:
        found = stats.estimate(gains(losses, of_world(losses, mechanism, world), measure))
        if found.n >= FEWEST_SEEDS:
            known.append(world)
            if found.low > 0:
                clear.append(world)
    return clear, known


def share_of(summary: pd.DataFrame, condition: str, measure: str) -> stats.Estimate:
    """The share of the oracle's gain and its Fieller interval; n = 0 where there is none."""
    rows = summary[
        (summary["quantity"] == "share")
        & (summary["condition"] == condition)
        & (summary["measure"] == measure)
    ]
    return tabled(rows)


def after_switch(
    recovery: pd.DataFrame, condition: str, kind: str, column: str = "loss_after_difference"
) -> "pd.Series[float]":
    """A measure of recovery of a condition after one kind of switch, by seed."""
    rows = tables.of_condition(recovery, condition)
    return rows[rows["switch"] == kind].set_index("seed")[column].astype(float).dropna()


def spread(counts: "pd.Series[int]") -> str:
    """`n = 8`, or `n = 4 to 8`."""
    if counts.empty:
        return "n = 0"
    low, high = int(counts.min()), int(counts.max())
    return f"n = {low}" if low == high else f"n = {low} to {high}"


def upright(axes: Axes, x: float, values: "pd.Series[float]", own: Look) -> None:
    by_seed(axes, x, values, own, upright=True, apart=0.08, bar=0.112, ms=3, mew=0.6)
