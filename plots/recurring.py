"""What a self-state pays: gains by mechanism and world, beside every control."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from experiments.kit import stats, style
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.panels import by_seed
from experiments.kit.tables import NothingToDraw
from experiments.kit.words import number, percent, plural
from plots.figure import Figure, Tables
from plots.gains import (
    COLUMNS,
    KINDS,
    LOOKS,
    LOSSES,
    MECHANISMS,
    ORACLE,
    STATE,
    SUITE,
    SUMMARY,
    WORLDS,
    gains,
    of_world,
    paying,
    share_of,
    spread,
    upright,
)
from plots.switches import FIGURES as AROUND

__all__ = ["COLUMNS", "FIGURES", "what_it_pays"]


def what_it_pays(tables: Tables, note: str) -> Drawing:
    """Above: gain by world and mechanism. Below: gain of each control, of zero and of the oracle, in the recurring world."""
    losses, summary = tables[LOSSES], tables[SUMMARY]
    worlds = [
        world for world in WORLDS if any(of_world(losses, mechanism, world) for mechanism in MECHANISMS)
    ]
    controls = [name for name in LOOKS if len(gains(losses, name, "clean_loss"))]
    if not worlds and not controls:
        raise NothingToDraw(f"{LOSSES}.csv has no condition beside a vanilla of its world")
    made = style.figure(style.WIDE, 6.9)
    grid = GridSpec(2, 1, figure=made, height_ratios=[1, 1.2])
    upper, lower = grid[0].subgridspec(1, 2), grid[1].subgridspec(1, 2, wspace=0.08)
    for column, (measure, name) in enumerate(KINDS.items()):
        _factorial(made.add_subplot(upper[column]), losses, worlds, measure, name)
        _controls(
            made.add_subplot(lower[column]), losses, summary, controls, measure, name, labelled=column == 0
        )
    counts = losses[losses["role"] != "vanilla"].groupby("condition")["seed"].nunique()
    glosses = "; ".join(f"{world}: {WORLDS[world]}" for world in worlds)
    caption = (
        f"Every point a seed ({spread(counts)} a condition); bars: mean and, from three seeds on, 95 % t interval. Gain: loss of the "
        "model without a state minus loss of this one, on the same training batches under the same regimes, "
        f"from step {int(losses['from_step'].min())} on. Below: all in the recurring world; dotted line: mean gain of the oracle, which is "
        "shown the true regime; right: share of that gain, ratio of means with Fieller's 95 % interval. "
        f"Worlds: {glosses}."
    )
    handles = [
        Line2D([], [], ls="", marker=own.marker, c=own.colour, mfc=own.face, ms=4.5)
        for own in MECHANISMS.values()
    ]
    return style.finish(
        made,
        _pay_title(losses, summary),
        caption,
        note,
        (handles, [own.label for own in MECHANISMS.values()]),
    )


def _factorial(axes: Axes, losses: pd.DataFrame, worlds: list[str], measure: str, name: str) -> None:
    for x, world in enumerate(worlds):
        if x % 2:
            axes.axvspan(x - 0.5, x + 0.5, color="#f3f3f3", lw=0, zorder=-1)
        for shift, (mechanism, own) in zip((-0.18, 0.18), MECHANISMS.items(), strict=True):
            upright(axes, x + shift, gains(losses, of_world(losses, mechanism, world), measure), own)
    axes.axhline(0, c="k", lw=0.6, zorder=1)
    axes.set_xticks(range(len(worlds)), worlds)
    axes.set_xlim(-0.5, max(len(worlds), 1) - 0.5)
    axes.set_title(f"{name}: gain by world")
    axes.set_ylabel("gain (nats a token)")


def _controls(
    axes: Axes,
    losses: pd.DataFrame,
    summary: pd.DataFrame,
    names: list[str],
    measure: str,
    kind: str,
    labelled: bool,
) -> None:
    ceiling = stats.estimate(gains(losses, ORACLE, measure))
    if ceiling.n:
        axes.axvline(ceiling.mean, c="k", lw=1, ls=(0, (1, 1.2)), zorder=1)
    axes.axvline(0, c="k", lw=0.6, zorder=1)
    aside = axes.get_yaxis_transform()  # x in shares of the panel, y in data
    axes.text(
        1.02, 1.0, "share of the\noracle's gain", transform=axes.transAxes, va="bottom", ha="left", fontsize=7
    )
    for y, name in enumerate(names[::-1]):
        own, values = LOOKS[name], gains(losses, name, measure)
        by_seed(axes, y, values, own, upright=False, apart=0.14, bar=0.3, ms=3, mew=0.6)
        axes.text(
            1.02, y, _share_text(summary, name, measure), transform=aside, va="center", ha="left", fontsize=7
        )
    axes.set_yticks(range(len(names)), [LOOKS[name].label for name in names[::-1]] if labelled else [])
    axes.set_ylim(-0.6, max(len(names), 1) - 0.4)
    axes.set_title(f"{kind}: controls")
    axes.set_xlabel("gain (nats a token)")
    axes.xaxis.set_major_locator(MaxNLocator(4))


def _share_text(summary: pd.DataFrame, name: str, measure: str) -> str:
    found = share_of(summary, name, measure)
    if name == ORACLE or not found.n:
        return "–"
    text, low, high = (number(value, 2) for value in (found.mean, found.low, found.high))
    return f"{text} [{low}, {high}]" if found.n >= FEWEST_SEEDS else text


def _pay_title(losses: pd.DataFrame, summary: pd.DataFrame) -> str:
    """In which worlds each mechanism gains on calm steps, and which share of the oracle's gain the state gets."""
    parts = []
    for mechanism in MECHANISMS:
        clear, known = paying(losses, mechanism, "clean_loss")
        if known:
            where = "" if len(clear) in (0, len(known)) else f" ({', '.join(clear)})"
            name = MECHANISMS[mechanism].label
            parts.append(f"the {name} in {len(clear)} of {plural(len(known), 'world')}{where}")
    if not parts:
        return "What a self-state pays, by mechanism, world and control (too few seeds to test)"
    text = f"On calm steps a clear gain for {', for '.join(parts)}"
    shares = [(name, share_of(summary, name, "clean_loss")) for name in (STATE, "direct", "yoked")]
    told = [f"{name} {percent(found.mean)}" for name, found in shares if found.n >= FEWEST_SEEDS]
    return f"{text}. Of the oracle's gain: {', '.join(told)}" if told else text


FIGURES: tuple[Figure, ...] = (
    Figure(
        "recurring/what-it-pays.png",
        what_it_pays,
        (LOSSES, SUMMARY),
        "What each mechanism gains against no state in each world, on calm and on perturbed steps; beside it every control of "
        "the recurring world, with its share of the oracle's gain.",
        SUITE,
    ),
    *AROUND,
)
