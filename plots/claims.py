"""Every claim in one forest plot: the published value, ours with its interval, the placebo, the smallest effect of interest."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from analysis.claim_tests import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED, VERDICTS
from experiments.kit import style
from experiments.kit.tables import NothingToDraw
from experiments.kit.words import signed
from plots.figure import Figure, Tables

CLAIMS, SEEDS = "claims", "claim_seeds"
COLUMNS: dict[str, tuple[str, ...]] = {
    CLAIMS: (
        *(
            "suite",
            "id",
            "family",
            "family_title",
            "short",
            "origin",
            "published",
            "unit",
            "test",
            "direction",
        ),
        *("null", "smallest", "effect", "low", "high", "n", "placebo", "verdict", "changed"),
    ),
    SEEDS: ("suite", "id", "seed", "effect"),
}
FACES = {SUPPORTED: style.BLACK, INCONCLUSIVE: "#a8a8a8", NOT_SUPPORTED: "white"}
ROW = 0.148  # inches
NUMBERS = 84  # points from the axes to where the numbers end
FURTHEST = 300.0  # smallest effects of interest: what lies beyond is drawn at the edge
SEEN = "written after"  # how the mark of a claim begins that was written knowing first results


def claims(tables: Tables, note: str) -> Drawing:
    """A row a claim, by family, what fails first; everything in units of the claim's smallest effect of interest."""
    rows = tables[CLAIMS]
    rows = rows[rows["family"].notna()]
    if rows.empty or not (rows["n"] > 0).any():
        raise NothingToDraw("claims.csv has no claim that was measured")
    lines = list(_lines(rows))
    made = style.figure(style.WIDE, ROW * len(lines) + 1.75)
    axes = made.subplots()
    drawn = [_row(axes, -place, row, tables[SEEDS]) for place, row in enumerate(lines) if row is not None]
    _frame(axes, lines, max(drawn))
    measured = rows[rows["n"] > 0]
    caption = (
        "Each effect counts from its null, in units of its own smallest effect of interest (linear to ±1, logarithmic beyond; the "
        "claimed side is to the right). Grey band: too small to matter; for claims of no difference (≈) the band is what is claimed. "
        "Black: supported, that is p (Holm) below 0.05, the whole bar on the claimed side, and the effect itself beyond the band; white: not "
        "supported, the whole bar short of the band's right edge; grey: inconclusive. Bars: 95 % intervals over seeds; dots: single seeds, n = "
        f"{_range(measured['n'])}. Diamond: the published value, taken as published, without a control. Square: what a placebo or a "
        "control reaches. Where directions are ranked among placebos, everything counts from the placebos' mean. Italics: claims of this study. p-values exact, Holm within each family. "
        f"{_marks(rows)}"
    )
    return style.finish(made, title(rows), caption, note, _legend(), 5)


def title(rows: pd.DataFrame) -> str:
    """How the published claims and the primary family came out."""
    measured = rows[rows["n"] > 0]
    published = measured[measured["origin"] == "published"]
    parts = []
    for some, name in (
        (published, "published claims"),
        (measured[measured["family"] == "primary"], "primary claims"),
    ):
        if len(some):
            counts = Counter(some["verdict"])
            held = ", ".join(f"{counts[one]} {one}" for one in VERDICTS if counts[one])
            parts.append(f"{len(some)} {name if len(some) > 1 else name[:-1]} measured: {held}")
    return ". ".join(parts)


def _lines(rows: pd.DataFrame) -> Any:
    """The rows of the plot from above: a family's title (as a claim without id), its claims, then nothing."""
    for index, (_, members) in enumerate(rows.groupby("family", sort=False)):
        if index:
            yield None
        yield pd.Series({"id": "", "short": members["family_title"].iloc[0]})
        order = members["verdict"].map(VERDICTS.index)
        for _, row in members.loc[order.sort_values(kind="stable").index].iterrows():
            yield row


def _row(axes: Axes, y: float, row: "pd.Series[Any]", seeds: pd.DataFrame) -> float:
    """Draw one claim. Returns the furthest thing that it drew, in units of its smallest effect of interest."""
    if not row["id"] or not row["n"]:
        return 1.0

    def scaled(value: Any) -> Any:
        turned = -1.0 if row["direction"] == "less" and row["test"] != "binomial" else 1.0
        return np.clip(
            turned * (np.asarray(value, float) - row["null"]) / row["smallest"], -FURTHEST, FURTHEST
        )

    beyond = (
        float(row["placebo"]) if row["test"] == "placebo_ranks" else 0.0
    )  # the effect counts from the placebos' mean
    shown = {name: row[name] for name in ("effect", "low", "high")}
    shown |= {name: row[name] - beyond for name in ("published", "placebo")}
    drawn = [scaled(value) for value in shown.values()]
    effect, low, high, published, placebo = (float(value) for value in drawn)
    if row["test"] != "binomial":
        points = scaled(seeds.loc[seeds["id"] == row["id"], "effect"])
        axes.plot(points, np.full(len(points), y - 0.22), ".", c=style.GREY, ms=1.8, zorder=2)
        drawn += list(points)
    if np.isfinite(low):
        axes.plot([low, high], [y, y], c=style.BLACK, lw=1.0, zorder=3)
    axes.plot(placebo, y, "s", c=style.BLUE, mfc="white", ms=4.6, mew=1.0, zorder=4)
    axes.plot(published, y, "D", c=style.VERMILLION, mfc="white", ms=5.6, mew=1.0, zorder=5)
    axes.plot(effect, y, "o", c=style.BLACK, mfc=FACES[row["verdict"]], ms=3.8, mew=0.9, zorder=6)
    sizes = np.abs(np.asarray([float(value) for value in drawn]))
    return float(np.nanmax(sizes)) if np.isfinite(sizes).any() else 1.0


def _frame(axes: Axes, lines: list["pd.Series[Any] | None"], furthest: float) -> None:
    """Axis, band, names at the left, numbers and verdicts at the right."""
    limit = max(3.0, furthest * 1.35)
    axes.set_xscale("symlog", linthresh=1.0, linscale=0.8)
    axes.set_xlim(-limit, limit)
    axes.set_ylim(-len(lines) + 0.4, 0.7)
    ticks = [tick for tick in (1, 3, 10, 30, 100, 300) if tick < limit]
    if len(ticks) > 4:
        ticks = [tick for tick in ticks if tick in (1, 10, 100)]
    axes.set_xticks([*(-tick for tick in reversed(ticks)), 0, *ticks])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    axes.minorticks_off()
    axes.set_xlabel("effect / smallest effect of interest")
    axes.axvspan(-1, 1, color="#e9e9e9", lw=0, zorder=0)
    axes.axvline(0, c=style.BLACK, lw=0.6, zorder=1)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_yticks([])
    beside = axes.get_yaxis_transform()
    for place, row in enumerate(lines):
        if row is None:
            continue
        heading = not row["id"]
        text = str(row["short"])
        if not heading:
            sign = " ≈" if row["direction"] == "equal within" else ""
            text = f"{text}{sign}{_mark(row['changed'])}"
        weight = "bold" if heading else "normal"
        style_of = "italic" if not heading and row["origin"] == "ours" else "normal"
        axes.text(
            -0.015,
            -place,
            text,
            transform=beside,
            ha="right",
            va="center",
            fontsize=7,
            weight=weight,
            style=style_of,
        )
        if heading:
            continue
        axes.plot([-limit, limit], [-place, -place], c=style.LIGHT, lw=0.3, zorder=0.5)
        for away, said, align in (
            (NUMBERS, _number(row), "right"),
            (NUMBERS + 7, str(row["verdict"]), "left"),
        ):
            axes.annotate(
                said,
                (1, -place),
                (away, 0),
                xycoords=beside,
                textcoords="offset points",
                ha=align,
                va="center",
                fontsize=7,
                weight="bold" if row["verdict"] == SUPPORTED and align == "left" else "normal",
            )


def _number(row: "pd.Series[Any]") -> str:
    """The effect in its own unit."""
    if not row["n"]:
        return ""
    if not np.isfinite(row["effect"]):
        return "no seed decides"
    digits = max(2, 1 - int(np.floor(np.log10(row["smallest"]))))
    shown = signed(row["effect"], digits)
    if row["null"]:
        shown = shown.removeprefix("+")
    return f"{shown} {row['unit']}"


def _mark(changed: Any) -> str:
    if not isinstance(changed, str) or not changed:
        return ""
    return "*" if changed.startswith(SEEN) else "†"


def _marks(rows: pd.DataFrame) -> str:
    """What the marks behind names mean, of those that occur."""
    found: dict[str, list[str]] = {}
    for text in dict.fromkeys(text for text in rows["changed"] if _mark(text)):
        found.setdefault(_mark(text), []).append(str(text))
    return " ".join(f"{mark} {' or '.join(texts)}." for mark, texts in found.items())


def _range(counts: "pd.Series[int]") -> str:
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def _legend() -> tuple[list[Any], list[str]]:
    def marker(shape: str, colour: str, face: str) -> Line2D:
        return Line2D([], [], ls="", marker=shape, c=colour, mfc=face, ms=4.4, mew=1.0)

    handles = [
        marker("D", style.VERMILLION, "white"),
        Line2D([], [], c=style.BLACK, marker="o", ms=4.2, mfc=style.BLACK, lw=1.0),
        marker(".", style.GREY, style.GREY),
        marker("s", style.BLUE, "white"),
        Patch(color="#e9e9e9", lw=0),
    ]
    return handles, [
        "published",
        "ours, 95 % interval",
        "one seed",
        "placebo or control",
        "too small to matter",
    ]


FIGURES: tuple[Figure, ...] = (
    Figure(
        "claims.png",
        claims,
        (CLAIMS, SEEDS),
        "Every claim, published and of this study: published value, ours with its interval and seeds, placebo, in units of the "
        "smallest effect of interest, and the verdict.",
        "claims",
    ),
)
