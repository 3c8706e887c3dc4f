"""The figure on steering: how far each condition's state steers, and whether its confident direction sharpens without harm."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from experiments.kit import stats, style
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.panels import Figure
from experiments.kit.style import Look
from experiments.kit.tables import NothingToDraw, Tables
from experiments.kit.words import signed

SHOWN = "calibrated_recurring"  # the condition whose confident direction is compared at matched KL
FINDER, LARGEST = "gradient", "largest"  # of KLs, the largest that all curves reach; the others are numbers
LEARNED = Look("learned direction", style.BLACK)
PLACEBOS = {
    "untrained": Look("untrained reader", style.GREY, marker="^", filled=False),
    "foreign": Look("partner seed's direction", style.ORANGE, marker="D", filled=False),
}
PAIR = {"learned": LEARNED, "untrained": PLACEBOS["untrained"]}  # readers compared at matched KL


def learned_effects(summary: pd.DataFrame) -> pd.DataFrame:
    """Held-out effects of the gradient finder and the means of its placebos: a row a condition, seed and placebo."""
    rows = summary[(summary["protocol"] == "heldout") & (summary["finder"] == FINDER)]
    return rows[rows["run_step"] == rows["run_step"].max()] if len(rows) else rows


def steering(tables: Tables, note: str) -> Drawing:
    """Effects of all conditions beside their placebos; the confident direction at matched KL."""
    rows = learned_effects(tables.rows("frozen_effects_summary"))
    names = list(dict.fromkeys(rows["condition"]))
    if not names:
        raise NothingToDraw("frozen_effects_summary has no held-out test of the gradient finder")
    tall, square = 0.5 + 0.24 * len(names), 2.1  # inches
    made = style.figure(style.WIDE, tall + square + 1.5)
    grid = made.add_gridspec(2, 1, height_ratios=[tall, square], hspace=0.04)
    _effects(made.add_subplot(grid[0]), rows, tables.rows("steering_trained"), names)
    _matched(made, grid[1], tables.rows("steering_matched"))
    looks = [LEARNED, *PLACEBOS.values()]
    handles = [
        Line2D([], [], ls="", marker=look.marker, c=look.colour, mfc=look.face, ms=4) for look in looks
    ]
    handles.append(Line2D([], [], c=style.VERMILLION, lw=1, ls=(0, (4, 1.6))))
    labels = [*(look.label for look in looks), "trained on shuffled statistics, mean"]
    caption = (
        "Weights frozen, held-out text, gradient finder. Above: |entropy(confident) − entropy(uncertain)|; every point a seed, "
        "placebos the mean of their draws; bars: means; states trained on shuffled statistics stand only where world, model and "
        "mechanism are theirs; of one dimension, the partner's direction is the own one. Names: raw_ is the raw mechanism, "
        "calibrated_ the other one; the page on steering explains each. Title: paired by seed, 95 % t intervals that leave zero out, not corrected for "
        "their number. Below: the confident direction where learned and "
        "placebo directions change the predictions by the same KL; lines join a seed's two, crosses: means; left and down is sharper "
        "and more often right. The largest KL that all reach differs between seeds (title: mean) and has axes of its own."
    )
    return style.finish(made, title(rows), caption, note, (handles, labels), 4)


def _effects(axes: Axes, rows: pd.DataFrame, trained: pd.DataFrame, names: list[str]) -> None:
    for y, name in enumerate(names):
        here = rows[rows["condition"] == name]
        if y % 2:
            axes.axhspan(y - 0.5, y + 0.5, color="#f3f3f3", lw=0, zorder=-1)
        effect = here.groupby("seed")["effect"].mean()
        shown = [(LEARNED, effect, 0.0)]
        for place, (kind, look) in zip((0.22, -0.22), PLACEBOS.items(), strict=True):
            shown.append((look, here[here["placebo"] == kind].groupby("seed")["placebo_mean"].mean(), place))
        for look, values, shift in shown:
            size = 3.4 if look is LEARNED else 2.6
            axes.plot(
                values, [y + shift] * len(values), look.marker, c=look.colour, mfc=look.face, ms=size, mew=0.7
            )
            if len(values):
                axes.plot([values.mean()] * 2, [y + shift - 0.13, y + shift + 0.13], c=look.colour, lw=1.4)
    of_finder = trained[trained["finder"] == FINDER]
    for y, name in enumerate(
        names
    ):  # only beside conditions of the shuffled runs' world, model and mechanism
        mean = of_finder.loc[of_finder["condition"] == name, "shuffled_mean"].mean()
        axes.plot([mean, mean], [y - 0.42, y + 0.42], c=style.VERMILLION, ls=(0, (2, 1)), lw=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, None)
    axes.set_xlabel("effect size (nats)")
    axes.set_title("how far the state steers")


def _matched(made: Drawing, place: SubplotSpec, matched: pd.DataFrame) -> None:
    """A square panel a KL, from the smallest to the largest; all but the last, whose KL the curves set, on the same axes."""
    rows = matched[(matched["condition"] == SHOWN) & (matched["finder"] == FINDER)]
    kls = rows.groupby("at")["kl"].mean().sort_values()
    kls = kls.loc[sorted(kls.index, key=lambda at: at == LARGEST)]
    squares = place.subgridspec(1, max(len(kls), 1))
    first: Axes | None = None
    for column, (at, kl) in enumerate(kls.items() if len(kls) else [(LARGEST, np.nan)]):
        shared = first if at != LARGEST else None
        axes = made.add_subplot(squares[column], sharex=shared, sharey=shared)
        first = first or axes
        axes.set_box_aspect(1)
        named = f"{'largest ' if at == LARGEST else ''}KL: {kl:.2g} nats" if len(kls) else ""
        axes.set_title(f"\n{named}")
        if column == 0:  # it reaches over the next panels; a title as long would push them off
            axes.annotate(
                f"{SHOWN}: the confident direction at matched KL", (0, 1), (0, 16), xycoords="axes fraction",
                textcoords="offset points", fontsize=axes.title.get_fontsize(), annotation_clip=False
            ).set_in_layout(False)  # fmt: skip
        axes.set_xlabel("Δ entropy (nats)")
        axes.axhline(0, c="k", lw=0.6, zorder=0)
        axes.axvline(0, c="k", lw=0.6, zorder=0)
        if shared is None:
            axes.set_ylabel("Δ NLL (nats)")
        else:
            axes.tick_params(labelleft=False)
        if rows.empty:
            axes.text(0.5, 0.6, "not measured yet", transform=axes.transAxes, ha="center", color=style.GREY)
            return
        _pairs(axes, rows[rows["at"] == at])


def _pairs(axes: Axes, rows: pd.DataFrame) -> None:
    """Changes of entropy and NLL at one KL: two points a seed, joined, and the means."""
    changes = ["delta_entropy", "delta_nll"]
    points = {reader: rows[rows["reader"] == reader].groupby("seed")[changes].mean() for reader in PAIR}
    learned, untrained = points.values()
    for seed in learned.index.intersection(untrained.index):
        ends = np.stack([learned.loc[seed], untrained.loc[seed]])  # (2, 2): reader, change
        axes.plot(ends[:, 0], ends[:, 1], "-", c=style.LIGHT, lw=0.8, zorder=1)
    for reader, look in PAIR.items():
        here = points[reader]
        places = (here[change] for change in changes)
        axes.plot(*places, look.marker, c=look.colour, mfc=look.face, ms=3.6, mew=0.7, zorder=2)
        axes.plot(*([value] for value in here.mean()), "+", c=look.colour, ms=9, mew=1.2, zorder=3)
    axes.margins(0.12)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_locator(MaxNLocator(4))


def title(rows: pd.DataFrame) -> str:
    """How many conditions steer clearly further than untrained readers do, paired by seed, and how many less far."""
    found = []
    tested = less = 0
    for name, here in rows[rows["placebo"] == "untrained"].groupby("condition", sort=False):
        more = stats.paired(here.set_index("seed")["effect"], here.set_index("seed")["placebo_mean"])
        if more.n >= FEWEST_SEEDS:
            tested += 1
            if more.clear and more.mean > 0:
                found.append((str(name), more.mean))
            less += more.clear and more.mean < 0
    if not tested:
        return "How far each state steers the model (too few seeds to test)"
    counts = f"{less} clearly less far, {tested - less - len(found)} neither"
    if not found:
        return f"None of {tested} conditions steers clearly further than untrained readers ({counts})"
    best, size = max(found, key=lambda pair: pair[1])
    verb = "condition steers" if len(found) == 1 else "conditions steer"
    told = f"{best} by {'most, ' if len(found) > 1 else ''}{signed(float(np.round(size, 2)), 2)} nats"
    return f"{len(found)} of {tested} {verb} clearly further than untrained readers ({told}), {counts}"


FIGURE = Figure(
    "recurring/steering.png",
    "How far the state of each condition steers the model beside untrained, foreign and shuffled-trained ones, and the "
    "confident direction at matched KL: entropy beside NLL.",
    lambda tables, note, _: steering(tables, note),
    ("frozen_effects_summary", "steering_trained", "steering_matched"),
)
