"""What is drawn on an axis: seeds as points, curves with their bands, regimes as shade, names, levels, legends."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from experiments.kit import style
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.stats import band, estimate
from experiments.kit.style import Look

STRIPE, SHADE, DARKER = "#f3f3f3", "#ececec", "#dedede"


def by_seed(
    axes: Axes,
    at: float,
    values: "pd.Series[float]",
    look: Look,
    *,
    upright: bool = True,
    apart: float = 0.0,
    bar: float = 0.28,
    ms: float = 3.4,
    **marks: float,
) -> None:
    """Draw one value a seed about the place `at`: points, the mean as a bar, and from three on its 95 % t interval.

    Args:
        upright: whether values are heights and `at` lies on the x axis; else the other way round.
        apart, bar: how far from `at` the outermost points lie, and how far the bar reaches.
        ms, marks: of the points, for example alpha.
    """
    kept = values.dropna()
    if kept.empty:
        return

    def plot(places: Any, heights: Any, *marker: str, **how: Any) -> None:
        axes.plot(*((places, heights) if upright else (heights, places)), *marker, **how)

    beside = np.linspace(-apart, apart, len(kept)) if len(kept) > 1 else np.zeros(1)
    plot(at + beside, kept, look.marker, c=look.colour, mfc=look.face, zorder=2, ms=ms, mew=0.7, **marks)
    found = estimate(kept)
    plot([at - bar, at + bar], [found.mean] * 2, c="k", lw=1.3, zorder=4)
    if found.n >= FEWEST_SEEDS:
        plot([at] * 2, [found.low, found.high], c="k", lw=0.8, zorder=3)


def cloud(
    axes: Axes, x: "pd.Series[float]", y: "pd.Series[float]", look: Look, crossed: bool = False
) -> None:
    """Draw one point a seed and their mean, larger; crossed: with 95 % t intervals of both its coordinates."""
    how: dict[str, Any] = {"c": look.colour, "mfc": look.face}
    axes.plot(x, y, look.marker, ms=3.2, mew=0.6, alpha=0.6, zorder=2, **how)
    across, up = estimate(x), estimate(y)
    axes.plot(across.mean, up.mean, look.marker, ms=7.5, mew=1.4, zorder=3, **how)
    if crossed and across.n >= FEWEST_SEEDS:
        axes.plot([across.low, across.high], [up.mean] * 2, c=look.colour, lw=1.1, zorder=3)
        axes.plot([across.mean] * 2, [up.low, up.high], c=look.colour, lw=1.1, zorder=3)


def curve(
    axes: Axes, table: pd.DataFrame, look: Look, log: bool = False, faint: float = 0.25, summary: bool = True,
    bands: bool = True,
) -> None:  # fmt: skip
    """Mean over seeds with its 95 % band, and each seed as a faint line.

    Args:
        table: index: x; a column a seed, as `stats.binned` returns.
        log: a logarithmic y axis, and geometric means.
        faint: opacity of the seeds' lines.
        summary: False: each seed in full, since a mean over runs that were disturbed at different times says little.
        bands: False: the mean alone.
    """
    if not summary and table.shape[1] > 1:
        axes.plot(table.index, table.to_numpy(float), color=look.colour, lw=0.5, alpha=0.6, zorder=1)
        return
    steps = table.index.to_numpy(float)
    few = table.shape[1] < FEWEST_SEEDS  # no band then, so the seeds' own lines are made plainer
    if faint and table.shape[1] > 1:
        axes.plot(
            steps, table.to_numpy(float), color=look.colour, lw=0.3, alpha=0.6 if few else faint, zorder=1
        )
    over_seeds = band(table, log)
    if bands and over_seeds["low"].notna().any() and not few:
        low, high = over_seeds["low"].to_numpy(float), over_seeds["high"].to_numpy(float)
        axes.fill_between(steps, low, high, color=look.colour, alpha=0.2, lw=0, zorder=2)
    mean = over_seeds["mean"].dropna()
    axes.plot(mean.index, mean, color=look.colour, ls=look.line, lw=look.width, zorder=3)
    if log:
        style.log_axis(axes)


def shade(axes: Axes, windows: Iterable[tuple[str, int, int]], named: bool = False) -> None:
    """Grey stretches (regime, start, end) where a regime acts, every other one darker, so that neighbours stay apart."""
    for index, (regime, start, end) in enumerate(sorted(windows, key=lambda window: window[1])):
        axes.axvspan(start, end, color=SHADE if index % 2 else DARKER, lw=0, zorder=0)
        if named:
            axes.annotate(
                regime, ((start + end) / 2, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 2),
                textcoords="offset points", rotation=45, ha="left", va="bottom", rotation_mode="anchor", fontsize=7,
            )  # fmt: skip


def categories(axes: Axes, labels: Sequence[str], upright: bool = True, striped: bool = True) -> None:
    """Names at 0, 1, 2 ...: along x, or upright=False from top to bottom; every other one on a grey stripe."""
    places, last = range(len(labels)), max(len(labels), 1) - 0.5
    if upright:
        axes.set_xticks(places, labels)
        axes.set_xlim(-0.5, last)
    else:
        axes.set_yticks(places, labels)
        axes.set_ylim(last, -0.5)
    for place in places[1::2] if striped else ():
        (axes.axvspan if upright else axes.axhspan)(place - 0.5, place + 0.5, color=STRIPE, lw=0, zorder=-1)


def level(axes: Axes, value: float = 0.0, upright: bool = True, **how: Any) -> None:
    """A thin line through all of the panel at a value, zero if none is given; nothing where it is not finite."""
    if np.isfinite(value):
        look: dict[str, Any] = {"c": "k", "lw": 0.6, "zorder": 0}
        (axes.axhline if upright else axes.axvline)(value, **(look | how))


def not_measured(axes: Axes, why: str = "not measured in these runs") -> None:
    """What stands in an empty panel."""
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", color=style.GREY)


def change_axis(axes: Axes, values: "pd.Series[float]") -> None:
    """An x axis for changes: logarithmic beyond two dotted lines about zero where the largest dwarfs the usual."""
    size = values.abs()
    if not size.max() > 0:
        return
    usual = float(size[size > 0].quantile(0.5))
    linear = 10 ** np.ceil(np.log10(usual))
    if size.max() > max(12 * usual, 3 * linear):
        axes.set_xscale("symlog", linthresh=linear, linscale=1.0)
        most = 10 ** np.ceil(np.log10(size.max()))
        powers = [10.0**e for e in range(round(np.log10(linear)), round(np.log10(most)) + 1)]
        if len(powers) <= 2:  # a single decade: room for one more label in it
            powers = sorted(powers + [3 * power for power in powers])
        axes.set_xticks([-p for p in powers[::-1]] + [0] + powers, minor=False)
        axes.set_xticklabels([f"−{p:g}" for p in powers[::-1]] + ["0"] + [f"{p:g}" for p in powers])
        axes.minorticks_off()
        for edge in (-linear, linear):
            axes.axvline(edge, c=style.LIGHT, lw=0.8, ls=":", zorder=0)
        low, high = float(values.min()), float(values.max())
        axes.set_xlim(min(low * 1.6, -linear * 1.1), max(high * 1.6, linear * 1.1))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.margins(x=0.08)


def handles(looks: Iterable[Look], marks: str = "both") -> tuple[list[Line2D], list[str]]:
    """What a legend shows of some looks, and their labels. marks: "line", "points" or "both"."""
    kept = list(looks)
    made = [
        Line2D(
            [],
            [],
            color=look.colour,
            ls="" if marks == "points" else look.line,
            lw=look.width + 0.2,
            marker="" if marks == "line" else look.marker,
            ms=3.8,
            mfc=look.face,
        )
        for look in kept
    ]
    return made, [look.label for look in kept]
