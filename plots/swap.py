"""Training that goes on with a foreign state: how far apart states, losses and effects are, step by step."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.levels import FEWEST_SEEDS
from analysis.table_files import RUN
from plots import series, style
from plots.figure import Figure, Tables
from plots.seeds import by_seed
from plots.series import NothingToDraw
from plots.style import Look
from plots.wording import plural, signed

LOOKS: dict[str, Look] = {
    "other": Look("other seed's state", style.VERMILLION, "-", "s"),
    "random": Look("random state, own norm", style.BLUE, (0, (4, 1.6)), "D", filled=False),
    "zero": Look("zero state", style.GREEN, (0, (6, 1.5, 1, 1.5)), "^"),
    "jitter": Look("jitter: own state ± 0.1 %", style.GREY, (0, (1, 1.2)), "o", filled=False),
}
PATHS, SUMMARY = "swap_paths", "swap_summary"
COLUMNS: dict[str, tuple[str, ...]] = {
    PATHS: (
        *(*RUN, "since", "distance", "predicted", "loss_difference", "loss_distance"),
        *("heldout_difference", "effect_difference"),
    ),
    SUMMARY: (*RUN, "first_loss", "early_loss", "floor", "small", "steps_small"),
}
WIDTH = 10  # steps of the smoothing, as of the running mean that the rounding floor is of


def swap(tables: Tables, note: str) -> Drawing:
    """Distance of the states, of the losses, of held-out loss and effect from the own-state continuation's."""
    paths, summary = tables[PATHS], tables[SUMMARY]
    names = series.present(paths, tuple(LOOKS))
    if not names:
        raise NothingToDraw("swap_paths.csv has none of the conditions other, random, zero and jitter")
    made = style.figure(style.WIDE, 5.6)
    panels = made.subplots(2, 3)
    _state_panel(panels[0, 0], paths, names)
    _distance_panel(panels[0, 1], paths, names, float(summary["floor"].max()), float(summary["small"].mean()))
    _first_panel(panels[0, 2], summary, names)
    _line_panel(panels[1, 0], paths, names, "heldout_difference", 1)
    panels[1, 0].set_title("held-out loss minus own's")
    panels[1, 0].set_ylabel("difference (nats)")
    _line_panel(panels[1, 1], paths, names, "effect_difference", 1)
    panels[1, 1].set_title("state effect minus own's")
    panels[1, 1].set_ylabel("difference (mean |Δ logit|)")
    _steps_panel(panels[1, 2], summary, names, int(paths["since"].max()) + 1)
    for axes in (panels[0, 0], panels[0, 1], panels[1, 0], panels[1, 1]):
        axes.set_xlabel("steps since the swap")
    looks = [LOOKS[name] for name in names]
    handles = [
        Line2D([], [], c=one.colour, ls=one.line, marker=one.marker, mfc=one.face, ms=3.8) for one in looks
    ]
    seeds = plural(int(paths["seed"].nunique()), "seed")
    caption = (
        f"All against the continuation with the own state, same seed and batches ({seeds}). Lines: mean over seeds; faint: single seeds; "
        "bars: mean and, from three seeds on, 95 % t interval. Black dots: what the update leaves of the first distance, (1 − decay)ⁿ, "
        f"mean over seeds. |Δ loss|: mean of {WIDTH} steps ahead; black line: rounding floor, 95 % of jitter's means lie below (no measure of chance). First step: the weights "
        "are equal there, only the state differs. Small (broken line): a tenth of what one batch's loss differs by from the next's; crosses: never."
    )
    return style.finish(made, _title(summary), caption, note, (handles, [one.label for one in looks]), 4)


def _line_panel(axes: Axes, paths: pd.DataFrame, names: list[str], column: str, width: int) -> None:
    """A line a condition and a faint one a seed; means of `width` steps ahead."""
    for name in names:  # the solid line first, so that broken ones show where they fall together
        look = LOOKS[name]
        rows = series.of_condition(paths, name).dropna(subset=[column])
        table = rows.pivot_table(index="since", columns="seed", values=column).sort_index()
        if table.empty:
            continue
        if width > 1:
            table = table.iloc[::-1].rolling(min(width, len(table))).mean().iloc[::-1].dropna(how="all")
        if table.shape[1] > 1:
            axes.plot(table.index, table, c=look.colour, lw=0.35, alpha=0.4, zorder=1)
        axes.plot(table.index, table.mean(axis=1), c=look.colour, ls=look.line, lw=1.4, zorder=3)
    if column.endswith("difference"):
        axes.axhline(0, c="k", lw=0.6, zorder=0)


def _state_panel(axes: Axes, paths: pd.DataFrame, names: list[str]) -> None:
    _line_panel(axes, paths, names, "distance", 1)
    for name in names:
        rows = series.of_condition(paths, name)
        predicted = rows.groupby("since")["predicted"].mean()
        low = rows["distance"].min() / 3
        predicted = predicted[predicted > max(low, 1e-6)].iloc[::3]
        axes.plot(predicted.index, predicted, ".", c="k", ms=2, zorder=4)
    if (paths["distance"] > 0).any():
        style.log_axis(axes)
    axes.set_title("distance of the states")
    axes.set_ylabel("L2 / norm of the own state")


def _distance_panel(axes: Axes, paths: pd.DataFrame, names: list[str], floor: float, small: float) -> None:
    _line_panel(axes, paths, names, "loss_distance", WIDTH)
    if np.isfinite(floor):
        axes.axhline(floor, c="k", lw=0.9, zorder=4)
    if np.isfinite(small):
        axes.axhline(small, c="k", lw=0.9, ls=(0, (4, 1.6)), zorder=4)
    if (paths["loss_distance"] > 0).any():
        style.log_axis(axes)
    axes.set_title("distance of the losses")
    axes.set_ylabel("|Δ loss| (nats)")


def _bars(axes: Axes, summary: pd.DataFrame, names: list[str], column: str) -> None:
    for x, name in enumerate(names):
        look = LOOKS[name]
        values = series.of_condition(summary, name)[column].dropna()
        by_seed(axes, x, values, look, upright=True, apart=0.16, bar=0.28, ms=3.4, mew=0.7)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)


def _first_panel(axes: Axes, summary: pd.DataFrame, names: list[str]) -> None:
    _bars(axes, summary, names, "first_loss")
    axes.axhline(0, c="k", lw=0.6, zorder=0)
    axes.set_title("first step: loss minus own's")
    axes.set_ylabel("difference (nats)")


def _steps_panel(axes: Axes, summary: pd.DataFrame, names: list[str], most: int) -> None:
    _bars(axes, summary, names, "steps_small")
    for x, name in enumerate(names):
        never = int(series.of_condition(summary, name)["steps_small"].isna().sum())
        if never:
            beside = np.linspace(-0.16, 0.16, never) if never > 1 else np.zeros(1)
            axes.plot(x + beside, [most * 1.06] * never, "x", c=LOOKS[name].colour, ms=3.6, zorder=2)
    low, high = axes.dataLim.intervaly  # with the longest count only where a seed never gets there
    room = 0.06 * max(high - low, 1)
    axes.set_ylim(min(low, 0) - room, max(high, 1) + room)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_title("steps until |Δ loss| is small")
    axes.set_ylabel("steps")


def _title(summary: pd.DataFrame) -> str:
    """What another's state costs at the first step, and whether that is more than a random one costs."""
    loss = {name: rows.set_index("seed")["first_loss"] for name, rows in summary.groupby("condition")}
    if "other" not in loss:
        return "Training goes on with a foreign state"
    cost = series.estimate(loss["other"])
    text = f"Another seed's state changes the loss of the first step by {signed(cost.mean, 3)} nats"
    if "random" not in loss:
        return text
    text += f", a random one by {signed(loss['random'].mean(), 3)}"
    more = series.paired(loss["other"], loss["random"])
    if more.n < FEWEST_SEEDS:
        return f"{text} ({plural(more.n, 'seed')}: too few to test)"
    if not more.clear:
        return f"{text}: no clear difference"
    return f"{text}: the other's hurts {'more' if more.mean > 0 else 'less'}"


FIGURES: tuple[Figure, ...] = (
    Figure(
        "swap.png",
        swap,
        (PATHS, SUMMARY),
        "Training goes on from one checkpoint with another seed's state, a random one, none, or the own one changed by a "
        "thousandth: distance of states and losses from the own-state continuation, step by step.",
        "swap",
    ),
)
