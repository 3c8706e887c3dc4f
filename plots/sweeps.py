"""What a self-state gains as one dial is turned at a time."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D

from experiments.kit import stats, style
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.panels import by_seed
from experiments.kit.stats import UNKNOWN, rank_correlation
from experiments.kit.style import Look
from experiments.kit.tables import NothingToDraw
from experiments.kit.words import signed
from plots.figure import Figure, Tables

SUITE, POINTS = "sweeps", "sweep_points"
DIALS = {
    "decay": "decay: share of the new in each update",
    "dim": "dimensions of the state",
    "rate": "probability of a switch at each step",
    "strength": "probability of a corrupted target",
}
KINDS = {
    "clean_gain": Look("calm steps", style.BLUE),
    "perturbed_gain": Look("perturbed steps", style.VERMILLION, (0, (4, 1.6)), "s", filled=False),
}
COLUMNS: dict[str, tuple[str, ...]] = {
    POINTS: (
        "suite",
        "dial",
        "value",
        "condition",
        "seed",
        "base",
        "clean_gain",
        "perturbed_gain",
        "heldout_gain",
    ),
}


def by_value(points: pd.DataFrame, dial: str, column: str) -> pd.DataFrame:
    """Gains of a dial: a row a value, in order, a column a seed."""
    rows = points[points["dial"] == dial].dropna(subset=[column])
    return rows.pivot_table(index="value", columns="seed", values=column).sort_index()


def trend(points: pd.DataFrame, dial: str, column: str) -> stats.Estimate:
    """Spearman's correlation of the dial's value with the gain, over the values of each seed: mean and t interval over seeds.

    A seed counts that has every value, of at least three.
    """
    wide = by_value(points, dial, column).dropna(axis=1)
    if len(wide) < 3 or wide.empty:
        return UNKNOWN
    return stats.estimate(wide.apply(lambda gains: rank_correlation(wide.index.to_series(), gains)))


def sweeps(tables: Tables, note: str) -> Drawing:
    """Gain against the value of each dial, a panel a dial."""
    points = tables[POINTS]
    dials = [dial for dial in DIALS if len(by_value(points, dial, "clean_gain")) > 1]
    if not dials:
        raise NothingToDraw(f"{POINTS}.csv has no dial with two values")
    made = style.figure(style.WIDE, 2.35 * -(-len(dials) // 2) + 1.3)
    panels = made.subplots(-(-len(dials) // 2), 2, squeeze=False, sharey=True).ravel()
    for axes, dial in zip(panels, dials, strict=False):
        _dial(axes, points, dial)
    for axes in panels[len(dials) :]:
        axes.set_axis_off()
    counts = points.groupby(["dial", "value"])["seed"].nunique()
    n = f"n = {counts.min()}" if counts.min() == counts.max() else f"n = {counts.min()} to {counts.max()}"
    caption = (
        f"Every point a seed ({n} a value); lines: means; bars, from three seeds on: 95 % t interval. Gain: loss of the model without a state "
        "in the same world minus loss of this one, same batches. Grey line: the value of all other panels. "
        "Title: Spearman's correlation of value and gain on calm steps within each seed, its mean over seeds."
    )
    handles = [
        Line2D([], [], color=own.colour, ls=own.line, marker=own.marker, mfc=own.face, ms=4)
        for own in KINDS.values()
    ]
    return style.finish(
        made, _title(points, dials), caption, note, (handles, [own.label for own in KINDS.values()])
    )


def _dial(axes: Axes, points: pd.DataFrame, dial: str) -> None:
    values = sorted(set(points.loc[points["dial"] == dial, "value"]))
    places = {value: place for place, value in enumerate(values)}
    base = points[(points["dial"] == dial) & points["base"]]
    if len(base):
        axes.axvline(places[base["value"].iloc[0]], c=style.LIGHT, lw=4, zorder=-1)
    axes.axhline(0, c="k", lw=0.6, zorder=1)
    for shift, (column, own) in zip((-0.13, 0.13), KINDS.items(), strict=True):
        wide = by_value(points, dial, column)
        x = np.array([places[value] for value in wide.index]) + shift
        axes.plot(x, wide.mean(axis=1), color=own.colour, ls=own.line, lw=1, zorder=2)
        for place, (_, gains) in zip(x, wide.iterrows(), strict=True):
            by_seed(
                axes,
                place,
                gains,
                own,
                upright=True,
                apart=0.06,
                bar=0.11,
                thick=1.2,
                above=3,
                ms=2.8,
                mew=0.6,
            )
    axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.set_xlabel(DIALS[dial])
    axes.set_ylabel("gain (nats a token)")


def _title(points: pd.DataFrame, dials: list[str]) -> str:
    """Which dials the gain on calm steps rises or falls with, in every seed alike."""
    found = {dial: trend(points, dial, "clean_gain") for dial in dials}
    known = {dial: value for dial, value in found.items() if value.n >= FEWEST_SEEDS}
    if not known:
        return "Gain of the self-state as one dial is turned (too few seeds to test)"
    parts = []
    for word, sign in (("rises with", 1), ("falls with", -1)):
        named = [
            f"{dial} (ρ {signed(value.mean, 2)})"
            for dial, value in known.items()
            if value.clear and value.mean * sign > 0
        ]
        if named:
            parts.append(f"{word} {', '.join(named)}")
    flat = [dial for dial, value in known.items() if not value.clear]
    if flat:
        parts.append(f"has no clear direction with {', '.join(flat)}")
    return f"The gain on calm steps {'; '.join(parts)}"


FIGURES: tuple[Figure, ...] = (
    Figure(
        "sweeps.png",
        sweeps,
        (POINTS,),
        "What the self-state gains in the recurring world as decay, dimensions, switching rate and strength of the "
        "corruption are turned, one at a time.",
        SUITE,
    ),
)
