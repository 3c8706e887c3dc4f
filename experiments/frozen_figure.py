"""The figure of the frozen-weight test: effects beside those of placebo readers, change of entropy by direction, and by dose."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.frozen_tables import TEST
from experiments.kit import panels as draw
from experiments.kit import published, style
from experiments.kit.marks import by_seed, categories, curve, handles, level
from experiments.kit.placebos import READERS
from experiments.kit.stats import per_seed
from experiments.kit.style import Look
from experiments.kit.tables import NothingToDraw, Tables
from experiments.kit.words import listed

DIRECTIONS = {
    "confident": Look("confident", style.GREEN),
    "uncertain": Look("uncertain", style.PURPLE, (0, (4, 1.6)), "s"),
    "gradient": Look("gradient", style.ORANGE, (0, (6, 1.5, 1, 1.5)), "^"),
    "own": Look("the run's own state", style.BLUE),
    "random": Look("random", style.GREY, (0, (1, 1.2)), "D", filled=False),
}
NEEDED = ("frozen_effects", "frozen_conditions", "frozen_doses")
AS_PUBLISHED = {"protocol": "replication", "finder": "dimension"}


def first(tables: Tables) -> str:
    """The condition that is drawn. NothingToDraw where a table lacks."""
    lacking = [name for name in NEEDED if tables.rows(name).empty]
    if lacking:
        raise NothingToDraw(f"{listed(lacking)} missing or empty")
    return str(tables.rows("frozen_effects")["condition"].iloc[0])


def effects(protocol: str, finder: str, title: str) -> draw.Panel:
    """Effect sizes by reader, after each number of steps that was tested."""

    def panel(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        where = {"condition": first(tables), "protocol": protocol, "finder": finder}
        of_table = draw.points(
            "frozen_effects", "effect_size", title, by="reader", across="run_step", where=where
        )
        drawn = of_table.draw(axes, tables, looks)
        steps = tables.rows("frozen_effects", **where)["run_step"].unique()
        if len(steps) == 1:
            axes.set_xticks([])
        axes.set_xlabel(f"after {steps[0]} steps of training" if len(steps) == 1 else "steps of training")
        means = (
            tables.rows("frozen_effects", condition=where["condition"])
            .groupby([*TEST, "reader"])["effect_size"]
            .mean()
        )
        axes.set_ylim(0, 1.08 * max(means.max(), published.EFFECT_SIZE))
        if protocol == "replication":
            axes.set_ylabel("effect size (nats)")
            level(axes, published.EFFECT_SIZE, c=style.VERMILLION, ls="dashed", lw=1)
        return drawn

    return draw.Panel(("frozen_effects",), panel)


def _changes(axes: Axes, tables: Tables) -> None:
    """Change of entropy along each direction by the published protocol, beside the published changes."""
    rows = tables.rows("frozen_conditions", condition=first(tables), **AS_PUBLISHED)
    rows = rows[rows["run_step"] == rows["run_step"].min()]
    states = [state for state in published.FROZEN_DELTA_ENTROPY if (rows["state"] == state).any()]
    for place, state in enumerate(states):
        of_state = rows[rows["state"] == state]
        by_seed(axes, place, per_seed(of_state, "delta_entropy"), DIRECTIONS[state], apart=0.14)
        said = published.FROZEN_DELTA_ENTROPY[state]
        axes.plot((place - 0.36, place + 0.36), (said, said), "--", c=style.VERMILLION, lw=1)
    categories(axes, states, striped=False)
    level(axes)
    axes.set(title="As published, by direction (dashed: its numbers)", ylabel="change of entropy (nats)")


def _doses(axes: Axes, tables: Tables) -> None:
    """Change of entropy against the signed length of the state; seeds have doses of their own, compared by interpolation."""
    doses = tables.rows("frozen_doses", condition=first(tables))
    doses = doses[doses["run_step"] == doses["run_step"].max()]
    shown = {name: rows for name, rows in doses.groupby("direction") if name in DIRECTIONS}
    for name, rows in shown.items():
        seeds = {seed: of.groupby("magnitude")["delta_entropy"].mean() for seed, of in rows.groupby("seed")}
        low, high = max(of.index.min() for of in seeds.values()), min(of.index.max() for of in seeds.values())
        grid = np.linspace(low, high, 41)
        wide = pd.DataFrame({seed: np.interp(grid, of.index, of) for seed, of in seeds.items()}, index=grid)
        curve(axes, wide, DIRECTIONS[str(name)])
    level(axes)
    level(axes, upright=False)
    axes.set(
        title="Entropy by dose", xlabel="signed length of the state (L2)", ylabel="change of entropy (nats)"
    )
    axes.legend(
        *handles([look for name, look in DIRECTIONS.items() if name in shown], "line"), loc="upper left"
    )


FIGURES = (
    draw.sheet(
        "frozen-weight-test.png",
        [
            effects("replication", "dimension", f"As published (dashed: its {published.EFFECT_SIZE})"),
            effects("heldout", "dimension", "On held-out text"),
            effects("heldout", "gradient", "Found along gradients"),
            _changes,
            _doses,
        ],
        grid="aabbcc;dddeee", height=5.6, looks=READERS, marks="points",
        title=("beats_heldout_dimension",), tables=NEEDED,
        shows="Weights frozen, state set by hand: how far learned directions move entropy, beside those of scrambled and untrained "
        "readers, and the change of entropy along each direction and by dose.",
        caption="Effect size: entropy along the uncertain direction minus that along the confident one. One point a seed (of scrambled and "
        "untrained readers the mean of their draws), mean and 95 % interval. Scrambled and untrained readers go through the same search for directions.",
    ),
)  # fmt: skip
