"""The figure on steering: how far states steer, and whether the confident direction sharpens predictions without harm."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from experiments.kit import panels as draw
from experiments.kit import style
from experiments.kit.marks import by_seed, categories, cloud, level
from experiments.kit.pairs import LOOKS, ORACLE, STATE
from experiments.kit.placebos import READERS
from experiments.kit.stats import per_seed
from experiments.kit.style import Look
from experiments.kit.tables import NothingToDraw, Tables, present

FINDER, SMALL = "gradient", "0.05"  # the finder, and the KL in nats, that figure and findings are told at
ROWS = (STATE, "direct", "state_1d", ORACLE, "yoked", "raw_recurring")
DRAWN = {
    "learned": READERS["learned"],
    "untrained": READERS["untrained"],
    "foreign": Look("partner seed's direction", style.ORANGE, marker="D", filled=False),
}


def learned_effects(summary: pd.DataFrame) -> pd.DataFrame:
    """Held-out effects of the gradient finder and the means of its placebos: a row a condition, seed and placebo."""
    rows = summary[(summary["protocol"] == "heldout") & (summary["finder"] == FINDER)]
    return rows[rows["run_step"] == rows["run_step"].max()] if len(rows) else rows


def _effects(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
    """A row a condition: effects of the learned reader, and the means of each placebo's draws."""
    rows = learned_effects(tables.rows("frozen_effects_summary"))
    names = present(rows, ROWS)
    if not names:
        raise NothingToDraw("frozen_effects_summary has no held-out test of the gradient finder")
    for place, name in enumerate(names):
        here = rows[rows["condition"] == name]
        values = {"learned": per_seed(here, "effect")} | {
            kind: per_seed(part, "placebo_mean") for kind, part in here.groupby("placebo")
        }
        for shift, (kind, look) in zip((0, 0.27, -0.27), looks.items(), strict=True):
            if kind in values:
                by_seed(axes, place + shift, values[kind], look, upright=False, apart=0.05, bar=0.12, ms=3)
    categories(axes, [LOOKS[name].label for name in names], upright=False)
    axes.set_xlim(0, None)
    axes.set_xlabel("effect on entropy (nats)")
    axes.set_title("how far the state steers")
    return [*looks]


def _matched(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
    """Changes of entropy and NLL at one KL: two points a seed, joined, and the means."""
    rows = tables.rows("steering_matched", condition=STATE, finder=FINDER, at=SMALL)
    axes.set_title(f"the self-state's confident direction,\nat the same change (KL {SMALL} nats)")
    axes.set_xlabel("Δ entropy (nats)")
    axes.set_ylabel("Δ NLL of the true token (nats)")
    if rows.empty:
        return []
    level(axes)
    level(axes, upright=False)
    changes = ["delta_entropy", "delta_nll"]
    points = {reader: rows[rows["reader"] == reader].groupby("seed")[changes].mean() for reader in ("learned", "untrained")}  # fmt: skip
    learned, untrained = points.values()
    for seed in learned.index.intersection(untrained.index):
        ends = np.stack([learned.loc[seed], untrained.loc[seed]])  # (2, 2): reader, change
        axes.plot(ends[:, 0], ends[:, 1], "-", c=style.LIGHT, lw=0.8, zorder=1)
    for reader, here in points.items():
        cloud(axes, here["delta_entropy"], here["delta_nll"], looks[reader], crossed=True)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    return [*points]


FIGURE = draw.sheet(
    "recurring/steering.png",
    [draw.Panel(("frozen_effects_summary",), _effects), draw.Panel(("steering_matched",), _matched)],
    grid="aaabb", height=4.2, looks=DRAWN, marks="points", title=("steers",),
    shows="How far states steer the model through learned and untrained readers, and the confident direction at the same KL: "
    "entropy beside NLL.",
    caption="Weights frozen, held-out text, gradient finder; one point a seed ({seeds}), mean and 95 % interval. Left: "
    "|entropy(confident) − entropy(uncertain)| at the largest norms; untrained readers: mean of their draws. Right: lines join a seed's "
    "two; left and down is sharper and more often right.",
)  # fmt: skip
