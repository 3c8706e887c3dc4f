"""Figures of reports of a neuron. See introspection.py."""

import textwrap
from collections.abc import Sequence

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
SHOWN = ("frozen", "above", "outsider", "above_changed")  # in the summary
MOVING = (
    "all",
    "all_changed",
    "all_language",
    "all_language_changed",
    "language",
)  # whose neuron itself learns
PUSHES = {
    "slope": Look("the neuron itself", style.GREEN, marker="D"),
    "slope_in": Look("the neuron, through its inputs", style.BLUE),
    "slope_foreign": Look("other neurons, as far", style.ORANGE, marker="s", filled=False),
    "slope_random": Look("random directions, as far", style.GREY, marker="P", filled=False),
}


def of(
    tables: Tables, lesson: str, column: str, name: str = "neuron_reports", by: str = "lesson"
) -> "pd.Series[float]":
    """A column by seed, mean over neurons."""
    return per_seed(tables.rows(name, **{by: lesson}), column)


def one_row_each(
    column: str, lessons: Sequence[str], title: str, label: str, bounds: tuple[float, float], *levels: float
) -> draw.Panel:
    """A row a lesson: a value a seed of a column of neuron_reports."""

    def values(tables: Tables, lesson: str) -> "pd.Series[float]":
        return of(tables, lesson, column)

    def finish(axes: Axes) -> None:
        low, high = axes.dataLim.intervalx
        axes.set_xlim(min(bounds[0], low - 0.03), max(bounds[1], high + 0.03))
        for value in levels:
            level(axes, value, upright=False, ls="dotted")

    return draw.strip(
        ["neuron_reports"], {lesson: LOOKS[lesson] for lesson in lessons}, values, title, label, finish
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


def seeds_at(axes: Axes, place: float, values: "pd.Series[float]", look: Look) -> None:
    by_seed(axes, place, values, look, apart=0.1, bar=0.14)


def several_panel() -> draw.Panel:
    """Slopes of reports of so many neurons at once."""

    def make(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        rows = tables.rows("neuron_several")
        counts = sorted(set(rows["count"]))
        kinds = {"slope": -0.15, "slope_other": 0.15}
        for place, count in enumerate(counts):
            for (column, shift), name in zip(kinds.items(), ("slope", "slope_foreign"), strict=True):
                seeds_at(axes, place + shift, per_seed(rows[rows["count"] == count], column), looks[name])
        categories(axes, [f"{count:g}" for count in counts])
        level(axes, 1.0, ls="dotted")
        axes.set_xlabel("neurons reported at once")
        axes.set_ylabel("slope")
        axes.set_ylim(-0.05, 1.1)
        return ["slope", "slope_foreign"]

    return draw.Panel(["neuron_several"], make)


def twins_panel() -> draw.Panel:
    """R2 of reports of the own and of the others' neuron."""

    def make(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        rows = tables.rows("neuron_twins")
        for place, whose in enumerate(("own", "other")):
            seeds_at(axes, place, per_seed(rows[rows["whose"] == whose], "r2"), LOOKS["above_changed"])
        level(axes, per_seed(rows[rows["whose"] == "other"], "alike").mean(), ls="dotted")
        categories(axes, ["its own neuron", "a twin's"])
        axes.set_ylabel("R² of the report, natural text")
        axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.02)
        return []

    return draw.Panel(["neuron_twins"], make)


def words_panel() -> draw.Panel:
    """Share of right answers, on or off."""

    def make(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        lessons = ("above_changed", "above", "outsider")
        for place, lesson in enumerate(lessons):
            seeds_at(axes, place, of(tables, lesson, "on_off", "neuron_words"), LOOKS[lesson])
        level(axes, tables.rows("neuron_words")["on_off_floor"].mean(), ls="dotted")
        categories(axes, ["neuron\nchanged", "natural\ntext", "another\nseed's"])
        axes.set_ylabel("“on” or “off” right, natural text")
        axes.set_ylim(0.4, 1.02)
        return []

    return draw.Panel(["neuron_words"], make)


def further(tables: Tables) -> str:
    """The title of the figure on further lessons."""
    rows = tables.rows("neuron_several")
    most = rows["count"].max()
    slopes = [number(per_seed(rows[rows["count"] == count], "slope").mean(), 2) for count in (1, most)]
    twins = [number(of(tables, whose, "r2", "neuron_twins", "whose").mean(), 2) for whose in ("own", "other")]
    return (
        f"Slope {slopes[0]} for one neuron, {slopes[1]} for each of {most:g} at once; a twin reports its own neuron with R² {twins[0]}, "
        f"another's with {twins[1]}"
    )


BEFORE_AFTER = {
    "before": Look("as it is", style.BLUE),
    "after": Look("the neuron alone moved", style.VERMILLION, marker="x"),
}
FIGURES = (
    draw.sheet(
        "introspection.png",
        [
            one_row_each("r2", SHOWN, "natural text: how right is the report?", "R² of the report", (0.0, 1.02), 0, 1),
            one_row_each("slope", SHOWN, "neuron changed alone: does the report follow?", "slope (1: it follows, 0: not at all)", (-0.05, 1.05), 0, 1),
        ],
        grid=(2, 1), height=4.4, title=("accurate", "blind", "reader"),
        shows="How right reports of a neuron are on natural text, and how far they follow when the neuron alone is changed.",
        caption="{seeds}, mean over neurons; bars: mean and, from three seeds on, 95 % t interval. Held-out text. Changed: a lesson in "
        "which the neuron is changed at half of the positions and the changed value is asked for.",
    ),
    draw.sheet(
        "introspection/reports.png", [cloud(lesson) for lesson in ("above", "above_changed", "outsider")], grid=(1, 3), height=3.5,
        looks=BEFORE_AFTER, marks="points", share_x=True, share_y=True, title=("blind", "reader"),
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
                "neuron_pushes", "value", "", "change of the report\nover change of the neuron", by="push", across="lesson", order=SHOWN,
                where={"shown": 1}, levels=(1.0,),
            )
        ],
        height=3.6, looks=PUSHES, marks="points", columns=2, title=("reader",),
        shows="How far a report follows the neuron itself, the neuron moved through its inputs, other neurons and random directions.",
        caption="{seeds}, mean over neurons; bars: mean and, from three seeds on, 95 % t interval. As far: the stream is moved by the same "
        "length. Other neurons and random directions: root mean square over four, so that chance alone lies above zero. Dotted: a report "
        "that follows.",
    ),
    draw.sheet(
        "introspection/further.png", [several_panel(), twins_panel(), words_panel()], grid=(1, 3), height=3.6,
        looks=PUSHES, marks="points", columns=2, title=further,
        shows="Several neurons reported at once, twins that report each other's neuron, and reports in words.",
        caption="{seeds}; bars: mean and, from three seeds on, 95 % t interval. Left: all changed in the lesson, each at its own half "
        "of the positions; dotted: a report that follows. Middle: on natural text; dotted: what naming the own activation for the other's comes to. Right: dotted: "
        "always the commonest answer.",
    ),
)  # fmt: skip
