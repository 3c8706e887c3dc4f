"""Figures of reports of a neuron. See introspection.py."""

import textwrap
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes

from experiments.kit import panels as draw
from experiments.kit import style
from experiments.kit.marks import level
from experiments.kit.style import Look
from experiments.kit.tables import Tables

LOOKS = {
    "frozen": Look("model frozen, only the head learns", style.GREY, marker="s"),
    "above": Look("the layers above the neuron learn", style.BLUE),
    "outsider": Look("another seed's model learns, without access", style.BLACK, marker="x"),
    "above_changed": Look("the layers above learn while the neuron is changed", style.GREEN, marker="D"),
    "above_language": Look("layers above, language loss kept", style.SKY, marker="v", filled=False),
    "above_language_changed": Look("the same, neuron changed", style.SKY, marker="v"),
    "frozen_changed": Look("model frozen, neuron changed", style.GREY, marker="s", filled=False),
    "random_head": Look("layers above, head fixed at random", style.PURPLE, marker="^"),
    "random_head_changed": Look("the same, neuron changed", style.PURPLE, marker="^", filled=False),
    "all": Look("all weights learn", style.VERMILLION, "-", "P"),
    "all_changed": Look("all weights learn, neuron changed", style.VERMILLION, (0, (1, 1)), "P", filled=False),
    "all_language": Look("all weights, language loss kept", style.ORANGE, (0, (4, 1.4)), "X"),
    "all_language_changed": Look(
        "all weights, language loss kept, neuron changed", style.ORANGE, (0, (6, 1.5, 1, 1.5)), "X", filled=False
    ),
    "language": Look("language loss alone, nothing reported", style.BLACK, (0, (2, 1)), "."),
}  # fmt: skip
SHORT = ("frozen", "above", "outsider", "above_changed")  # the lessons of the summary
# Whose neuron itself learns
MOVING = ("all", "all_changed", "all_language", "all_language_changed", "language")


def of(
    tables: Tables, lesson: str, column: str, name: str = "neuron_reports", by: str = "lesson"
) -> "pd.Series[float]":
    """A column by seed, mean over neurons."""
    return tables.seeds(name, column, **{by: lesson})


def one_row_each(column: str, title: str, label: str, low: float) -> draw.Panel:
    """A row a lesson of the summary: a value a seed of a column of neuron_reports, between 0 and 1 as a rule."""

    def values(tables: Tables, lesson: str) -> "pd.Series[float]":
        return of(tables, lesson, column)

    def finish(axes: Axes) -> None:
        drawn = axes.dataLim.intervalx
        axes.set_xlim(min(low, drawn[0] - 0.03), max(1.05, drawn[1] + 0.03))
        for value in (0.0, 1.0):
            level(axes, value, upright=False, ls="dotted")

    looks = {lesson: replace(LOOKS[lesson], label=textwrap.fill(LOOKS[lesson].label, 26)) for lesson in SHORT}
    return draw.strip(["neuron_reports"], looks, values, title, label, finish)


def cloud(lesson: str) -> draw.Panel:
    """Reports against activations of the first neuron, before and after it is moved."""

    def make(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        rows = tables.rows("neuron_points", lesson=lesson)
        if rows.empty:
            return []
        axes.axline((0, 0), slope=1, c="k", lw=0.6, ls="dotted", zorder=0)
        for moved, name in enumerate(looks):
            some, look = rows[rows["moved"] == moved], looks[name]
            axes.plot(
                some["activation"],
                some["report"],
                look.marker,
                c=look.colour,
                mfc=look.face,
                ms=2.6,
                mew=0.6,
                alpha=0.7,
                zorder=2 - moved,
            )
        axes.set_title(textwrap.fill(LOOKS[lesson].label, 30))
        axes.set_xlabel("activation of the neuron (σ)")
        axes.set_ylabel("report (σ)")
        return [*looks]

    return draw.Panel(["neuron_points"], make)


BEFORE_AFTER = {
    "before": Look("as it is", style.BLUE),
    "after": Look("the neuron alone moved", style.VERMILLION, marker="x"),
}
FIGURES = (
    draw.sheet(
        "introspection.png",
        [
            one_row_each("r2", "Is the report right on natural text?", "R² (1: right, 0: no better than the mean)", -0.05),
            one_row_each("slope", "Does it follow the neuron, changed alone?", "slope (1: follows, 0: does not)", -0.05),
        ],
        grid=(1, 2), height=3.2, title=("blind", "reader"), share_y=True, share_x="all",
        shows="How right reports of a neuron are on natural text, and how far they follow when the neuron alone is changed.",
        caption="One point a seed ({seeds}), mean over neurons; mean and 95 % interval. Held-out text. While the neuron is changed: at half "
        "of the positions of the lesson, and the changed value is asked for.",
    ),
    draw.sheet(
        "introspection/reports.png", [cloud(lesson) for lesson in ("above", "above_changed", "outsider")], grid=(1, 3), height=3.5,
        looks=BEFORE_AFTER, marks="points", share_x=True, share_y=True, title=("accurate",),
        shows="Reports of one neuron against its activation, on natural text and with the neuron alone moved, after three lessons.",
        caption="{seeds}; the first neuron of each, at one position of held-out texts, in standard deviations. Dotted: a report that "
        "is true. Moved: by a number drawn evenly from −3 to 3.",
    ),
    draw.sheet(
        "introspection/sigma.png", [draw.lines("neuron_course", "sd", "", "σ of the neuron, over before", by="lesson", log=True, bands=True, zero=False)],
        height=3.6, looks={name: LOOKS[name] for name in MOVING}, marks="line", columns=2, x="step of the lesson", title=("constant",),
        shows="The standard deviation of the reported neuron over the course of a lesson in which all weights learn.",
        caption="Mean over neurons and {seeds}, in the batches of the lesson, ten steps a point; faint: single seeds; band: 95 % interval.",
    ),
)  # fmt: skip
