"""How the values of seeds are drawn: every one a point, their mean, and its interval where there are enough."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.levels import FEWEST_SEEDS
from plots import series
from plots.style import Look


def by_seed(
    axes: Axes,
    at: float,
    values: "pd.Series[float]",
    look: Look,
    *,
    upright: bool,
    apart: float = 0.0,
    bar: float,
    thick: float = 1.3,
    above: int = 2,
    **marks: float,
) -> None:
    """Draw one value a seed about the place `at`: points, the mean as a bar, and from three on its 95 % t interval.

    Args:
        upright: whether values are heights and `at` lies on the x axis; else the other way round.
        apart, bar: how far from `at` the outermost points lie, and how far the bar reaches.
        thick: width of the bar.
        above: zorder of the points; interval and bar lie on them.
        marks: of the points, for example ms, mew and alpha.
    """
    kept = values.dropna()
    if kept.empty:
        return

    def plot(places: Any, heights: Any, *marker: str, **how: Any) -> None:
        axes.plot(*((places, heights) if upright else (heights, places)), *marker, **how)

    beside = np.linspace(-apart, apart, len(kept)) if len(kept) > 1 else np.zeros(1)
    plot(at + beside, kept, look.marker, c=look.colour, mfc=look.face, zorder=above, **marks)
    found = series.estimate(kept)
    plot([at - bar, at + bar], [found.mean] * 2, c="k", lw=thick, zorder=above + 2)
    if found.n >= FEWEST_SEEDS:
        plot([at] * 2, [found.low, found.high], c="k", lw=0.8, zorder=above + 1)
