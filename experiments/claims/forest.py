"""Every claim in one forest plot: the published value, ours with its interval, the placebo, the smallest effect of interest."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from experiments.claims import judge
from experiments.claims.row import MARKS, Row, in_order, marked, plain
from experiments.kit import style
from experiments.kit.panels import Figure
from experiments.kit.tables import NothingToDraw, Tables
from experiments.kit.words import Finding, signed

FACES = {judge.SUPPORTED: style.BLACK, judge.INCONCLUSIVE: "#a8a8a8", judge.NOT_SUPPORTED: "white"}
ROW = 0.148  # inches
NUMBERS = 84  # points from the axes to where the numbers end
FURTHEST = 300.0  # smallest effects of interest: what lies beyond is drawn at the edge
TITLE = "Black: the claim is supported; grey: inconclusive; white: not supported"
CAPTION = (
    "Each effect counts from its null, the claimed side to the right; where readers are ranked, from the mean of the placebo readers, which is "
    "then the square at 0. Grey band: too small to matter; with ≈ the claim is that the effect lies within it. 95 % intervals, n = {n}; axis linear "
    "to ±1. At the right what is left of each effect, whether the published number comes back, and the verdict: bold where a claim is supported "
    "that was registered before its results and before its size was known. Italics: claims of this study. {marks}"
)
RETURNS = {
    judge.YES: "comes back", judge.SMALLER: "comes back smaller", judge.LARGER: "comes back larger", judge.UNDECIDED: "may come back", judge.NO: "does not come back",
    judge.TURNED: "comes back reversed",
}  # fmt: skip


def forest(tables: Tables, note: str, findings: Mapping[str, Finding]) -> Drawing:
    """A row a claim that was measured, by family, what fails first; everything in units of the claim's smallest effect of interest."""
    known = tables.rows("claims")
    known = known[known["family"].notna()]
    known, left = known[known["n"] > 0], int((known["n"] == 0).sum())
    n = known["n"]
    if n.empty:
        raise NothingToDraw("claims.csv has no claim that was measured")
    rows = pd.concat([in_order(of) for _, of in known.groupby("family", sort=False)], ignore_index=True)
    # each family below an empty row and its title
    rows["y"] = -(rows.index + 2 * rows["family"].factorize()[0] + 1.0)
    rows["turned"] = np.where(rows["direction"] == "less", -1, 1)
    # what is ranked among placebos counts from their mean
    rows["beyond"] = rows["placebo"].where(rows["test"] == "placebo_ranks", 0.0)
    made = style.figure(style.WIDE, ROW * (1 - rows["y"].min()) + 1.75)
    axes = made.subplots()
    shown = _values(axes, rows, tables.rows("claim_seeds"))
    axes.set(ylim=(rows["y"].min() - 0.6, 0.7), yticks=[], xlabel="effect / smallest effect of interest")
    axes.spines["left"].set_visible(False)
    for _, of in rows.groupby("family", sort=False):
        _left(axes, of["y"].max() + 1, of["family_title"].iloc[0], weight="bold")
    for _, row in rows.iterrows():
        _words(axes, row)
    caption = CAPTION.format(n=" to ".join(map(str, sorted({n.min(), n.max()}))), marks=marked(known))
    caption += f" Not measured yet: {left} more." if left else ""
    return style.finish(made, TITLE, caption, note, ([*shown.values()], [*shown]), 5)


def _scaled(rows: pd.DataFrame, column: str, beyond: Any = 0.0) -> "pd.Series[float]":
    """A column as it is drawn: from the null, the claimed side to the right, in smallest effects of interest."""
    return (rows["turned"] * (rows[column] - beyond - rows["null"]) / rows["smallest"]).clip(
        -FURTHEST, FURTHEST
    )


def _values(axes: Axes, rows: pd.DataFrame, seeds: pd.DataFrame) -> dict[str, Artist]:
    """Draw all numbers, and the axis. Returns what the legend shows, by its words."""
    single = seeds.merge(rows.drop(columns=["suite", "effect"]), on="id")
    low, effect, high = (_scaled(rows, column) for column in ("low", "effect", "high"))
    published, placebo = (_scaled(rows, column, rows["beyond"]) for column in ("published", "placebo"))
    every = pd.concat([low, effect, high, published, placebo, points := _scaled(single, "effect")])
    limit = max(3.0, 1.35 * every.abs().max())
    axes.hlines(rows["y"], low, high, colors=style.BLACK, lw=1.0, zorder=3)
    for word, face in FACES.items():
        of = rows["verdict"] == word
        axes.plot(effect[of], rows["y"][of], "o", c=style.BLACK, mfc=face, ms=3.8, mew=0.9, zorder=6)
    axes.axvline(0, c=style.BLACK, lw=0.6, zorder=1)
    axes.set_xscale("symlog", linthresh=1.0, linscale=0.8)
    ticks = [tick for tick in (1, 10, 100) if tick < limit]
    axes.set_xticks([*(-tick for tick in reversed(ticks)), 0, *ticks])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    axes.minorticks_off()
    axes.set_xlim(-limit, limit)
    open_mark: dict[str, Any] = {"mfc": "white", "mew": 1.0}
    return {
        "published": axes.plot(published, rows["y"], "D", c=style.VERMILLION, ms=5.6, zorder=5, **open_mark)[0],
        "ours, 95 % interval": Line2D([], [], c=style.BLACK, marker="o", ms=4.4, lw=1.0),
        "one seed": axes.plot(points, single["y"] - 0.22, ".", c=style.GREY, ms=1.8, zorder=2)[0],
        "placebo or control": axes.plot(placebo, rows["y"], "s", c=style.BLUE, ms=4.6, zorder=4, **open_mark)[0],
        "too small to matter": axes.axvspan(-1, 1, color="#e9e9e9", lw=0, zorder=0),
    }  # fmt: skip


def _left(axes: Axes, y: float, text: str, **how: Any) -> None:
    place = axes.get_yaxis_transform()
    axes.text(-0.015, y, text, transform=place, ha="right", va="center", fontsize=7, **how)


def _words(axes: Axes, row: Row) -> None:
    """A claim's name at the left, its effect in its own unit and its verdict at the right."""
    name = f"{row['short']}{' ≈' * (row['direction'] == 'equal within')}{MARKS.get(row['changed'], '')}"
    _left(axes, row["y"], name, style="italic" if row["origin"] == "ours" else "normal")
    shown = signed(row["effect"], max(2, 1 - int(np.floor(np.log10(row["smallest"])))))
    number = f"{shown.removeprefix('+') if row['null'] else shown} {row['unit']}"
    how: dict[str, Any] = {
        "xycoords": axes.get_yaxis_transform(),
        "textcoords": "offset points",
        "va": "center",
        "fontsize": 7,
    }
    axes.annotate(number, (1, row["y"]), (NUMBERS, 0), ha="right", **how)
    weight = "bold" if plain(row) else "normal"
    both = filter(None, [RETURNS.get(row["returns"]), row["verdict"]])
    axes.annotate("; ".join(both), (1, row["y"]), (NUMBERS + 7, 0), weight=weight, **how)
    axes.axhline(row["y"], c=style.LIGHT, lw=0.3, zorder=0.5)


FIGURE = Figure(
    "claims.png", "Every claim, published and of this study: published value, ours with its interval and seeds, placebo, in units of the "
    "smallest effect of interest, and the verdict.", forest, ("claims", "claim_seeds"),
)  # fmt: skip
