"""Figures of reports of a neuron. See introspection.py."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.kit import panels as draw
from experiments.kit import style
from experiments.kit.marks import by_seed, categories, level, not_measured
from experiments.kit.stats import per_seed
from experiments.kit.style import Look
from experiments.kit.tables import Tables
from experiments.kit.words import number

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
SHORT = {  # the lessons of the summary, by short names
    "frozen": "frozen", "above": "layers above", "outsider": "another seed's", "above_changed": "layers above, neuron changed",
}  # fmt: skip
MOVING = (
    "all",
    "all_changed",
    "all_language",
    "all_language_changed",
    "language",
)  # whose neuron itself learns
PUSHES = {
    "slope": Look("the neuron itself", style.GREEN, marker="D"),
    "slope_in": Look("the neuron's inputs, as far", style.BLUE),
    "slope_foreign": Look("other neurons, as far", style.ORANGE, marker="s", filled=False),
    "slope_random": Look("random directions, as far", style.GREY, marker="P", filled=False),
}
ANOTHER = Look("another of the reported neurons", style.PURPLE, marker="^", filled=False)


def of(
    tables: Tables, lesson: str, column: str, name: str = "neuron_reports", by: str = "lesson"
) -> "pd.Series[float]":
    """A column by seed, mean over neurons."""
    return per_seed(tables.rows(name, **{by: lesson}), column)


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


def summary(tables: Tables) -> str:
    """The title of the summary."""
    r2 = {lesson: number(of(tables, lesson, "r2").mean(), 2) for lesson in ("above", "outsider")}
    slope = {lesson: number(of(tables, lesson, "slope").mean(), 2) for lesson in ("above", "above_changed")}
    return (
        f"Taught on natural text, a report of the model's own neuron explains {r2['above']} of it, another seed's {r2['outsider']}, and "
        f"{slope['above']} of a change of the neuron alone comes through. Taught with such changes: {slope['above_changed']}"
    )


def cloud(lesson: str) -> draw.Panel:
    """Reports against activations of the first neuron, before and after it is moved."""

    def make(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        rows = tables.rows("neuron_points", lesson=lesson)
        if rows.empty:
            not_measured(axes)
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


Places = Mapping[str, Sequence[tuple[Look, "pd.Series[float]"]]]


def beside(
    table: str, places: Callable[[Tables], Places], title: str, label: str, bounds: tuple[float, float],
    dotted: Callable[[Tables], float], x: str = "",
) -> draw.Panel:  # fmt: skip
    """Values a seed side by side at each place. dotted: where a line goes."""

    def make(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        rows, drawn = places(tables), set[Look]()
        for place, values in enumerate(rows.values()):
            for (look, seeds), shift in zip(
                values, np.linspace(-0.22, 0.22, 2 * len(values) + 1)[1::2], strict=True
            ):
                by_seed(axes, place + shift, seeds, look, apart=0.05, bar=0.1)
                drawn |= {look} if len(seeds) else set()
        categories(axes, list(rows))
        level(axes, dotted(tables), ls="dotted")
        if not drawn:
            not_measured(axes)
        axes.set_title(title)
        axes.set_xlabel(x)
        axes.set_ylabel(label)
        low, high = axes.dataLim.intervaly if drawn else bounds
        axes.set_ylim(min(bounds[0], low - 0.05), max(bounds[1], high + 0.05))
        return [name for name, look in looks.items() if look in drawn]

    return draw.Panel([table], make)


def several(tables: Tables) -> Places:
    rows = tables.rows("neuron_several")
    columns = {"slope": PUSHES["slope"], "slope_other": ANOTHER}
    return {
        f"{count:g}": [
            (look, per_seed(rows[rows["count"] == count], column)) for column, look in columns.items()
        ]
        for count in sorted(set(rows["count"]))
    }


def twins(tables: Tables) -> Places:
    rows = tables.rows("neuron_twins", lesson="above")
    names = {"own": "its own neuron", "other": "a twin's"}
    return {
        name: [(LOOKS["above"], per_seed(rows[rows["whose"] == whose], "r2"))]
        for whose, name in names.items()
    }


def alike(tables: Tables) -> float:
    return (
        float(of(tables, "above", "alike", "neuron_twins").mean())
        if len(tables.rows("neuron_twins"))
        else np.nan
    )


def right(tables: Tables) -> Places:
    names = {"above": "natural\ntext", "outsider": "another\nseed's", "above_changed": "neuron\nchanged"}
    return {
        name: [(LOOKS[lesson], of(tables, lesson, "on_off", "neuron_words"))]
        for lesson, name in names.items()
    }


def said(tables: Tables) -> Places:
    names = {"above": "natural text", "above_changed": "neuron changed"}
    kinds = {kind: look for kind, look in PUSHES.items() if kind != "slope_in"}
    return {
        name: [(look, of(tables, lesson, kind, "neuron_words")) for kind, look in kinds.items()]
        for lesson, name in names.items()
    }


def further(tables: Tables) -> str:
    """The title of the figure on further lessons."""
    rows = tables.rows("neuron_several")
    most = float(rows["count"].max())
    slopes = [number(per_seed(rows[rows["count"] == count], "slope").mean(), 2) for count in (1, most)]
    own = tables.rows("neuron_twins", lesson="above")
    pair = [number(per_seed(own[own["whose"] == whose], "r2").mean(), 2) for whose in ("own", "other")]
    words = number(of(tables, "above_changed", "slope", "neuron_words").mean(), 2)
    return (
        f"Slope {slopes[0]} for one neuron, {slopes[1]} for each of {number(most, 0)} at once, {words} in words; on natural text a twin "
        f"reports its own neuron with R² {pair[0]}, another's with {pair[1]}"
    )


def followed(tables: Tables) -> str:
    """The title of the figure of reports against activations."""
    natural, changed = (
        number(of(tables, lesson, "slope").mean(), 2) for lesson in ("above", "above_changed")
    )
    return (
        f"Where the neuron alone is moved, reports follow it with a slope of {natural} after lessons on natural text, of {changed} after "
        "lessons in which it was changed (means of all neurons)"
    )


BEFORE_AFTER = {
    "before": Look("as it is", style.BLUE),
    "after": Look("the neuron alone moved", style.VERMILLION, marker="x"),
}
FIGURES = (
    draw.sheet(
        "introspection.png",
        [
            one_row_each("r2", "How right is the report on natural text?", "R² (1: right, 0: no better than the mean)", -0.05),
            one_row_each("slope", "Does it follow when the neuron alone is changed?", "slope (1: it follows, 0: it does not)", -0.05),
        ],
        grid=(1, 2), height=3.4, title=summary, share_y=True,
        shows="How right reports of a neuron are on natural text, and how far they follow when the neuron alone is changed.",
        caption="{seeds}, mean over neurons; bars: mean and, from three seeds on, 95 % t interval. Held-out text. Changed: a lesson in "
        "which the neuron is changed at half of the positions and the changed value is asked for.",
    ),
    draw.sheet(
        "introspection/reports.png", [cloud(lesson) for lesson in ("above", "above_changed", "outsider")], grid=(1, 3), height=3.5,
        looks=BEFORE_AFTER, marks="points", share_x=True, share_y=True, title=followed,
        shows="Reports of one neuron against its activation, on natural text and with the neuron alone moved, after three lessons.",
        caption="{seeds}; the first neuron of each, at one position of held-out texts, in standard deviations. Dotted: a report that "
        "is true. Moved: by a number drawn evenly from −3 to 3.",
    ),
    draw.sheet(
        "introspection/sigma.png", [draw.lines("neuron_course", "sd", "", "σ of the neuron, over before", by="lesson", log=True, bands=True, zero=False)],
        height=3.6, looks={name: LOOKS[name] for name in MOVING}, marks="line", columns=2, x="step of the lesson", title=("constant",),
        shows="The standard deviation of the reported neuron over the course of a lesson in which all weights learn.",
        caption="{seeds}; mean over neurons (of the language loss alone: the first), in the batches of the lesson, ten steps a point; faint: single seeds; "
        "band: 95 % t interval from three seeds on.",
    ),
    draw.sheet(
        "introspection/pushes.png",
        [
            draw.points(
                "neuron_pushes", "value", "", "change of the report\nover change of the neuron", by="push", across="lesson",
                order=SHORT.values(), levels=(1.0,),
            )
        ],
        height=3.6, looks=PUSHES, marks="points", columns=2, title=("reader",),
        shows="How far a report follows the neuron itself, the neuron moved through its inputs, other neurons and random directions.",
        caption="{seeds}, mean over neurons; bars: mean and, from three seeds on, 95 % t interval. As far: the stream is moved by the same "
        "length. Other neurons and random directions: root mean square over four, so that chance alone lies above zero. Dotted: a report "
        "that follows.",
    ),
    draw.sheet(
        "introspection/further.png",
        [
            beside("neuron_several", several, "several neurons at once", "slope", (-0.05, 1.1), lambda _: 1.0, "neurons reported at once"),
            beside("neuron_twins", twins, "twins, natural text", "R² of the report", (0.0, 1.05), alike),
            beside("neuron_words", right, "in words, natural text", "“on” or “off” right", (0.4, 1.02), lambda tables: tables.rows("neuron_words")["on_off_floor"].mean()),
            beside("neuron_words", said, "in words, the neuron moved", "slope of the mean digit", (-0.05, 1.1), lambda _: 1.0),
        ],
        grid=(2, 2), height=5.4, looks={**PUSHES, "another": ANOTHER}, marks="points", columns=4, title=further,
        shows="Several neurons reported at once, twins that report each other's neuron, and reports in words.",
        caption="{seeds}; bars: mean and, from three seeds on, 95 % t interval. Several: all changed in the lesson, each at its own half "
        "of the positions. Slopes, dotted: a report that follows. Twins, dotted: what naming the own activation for the other's comes to. In words, dotted: "
        "always the commonest answer.",
    ),
)  # fmt: skip
