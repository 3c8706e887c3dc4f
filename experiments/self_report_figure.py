"""Figures of reports of the state. See self_report.py."""

import textwrap
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.kit import panels as draw
from experiments.kit import style
from experiments.kit.stats import per_seed
from experiments.kit.style import Look
from experiments.kit.tables import Tables
from experiments.kit.words import number

WAYS = {
    "own": Look("the way to the regime's mean", style.BLUE),
    "fresh": Look("the way to its mean later on", style.SKY),
    "equal": Look("all ways brought to one length", style.BLUE, marker="v", filled=False),
    "foreign": Look("another seed's way, as long", style.ORANGE, (0, (4, 1.6)), "s"),
    "random": Look("random directions, as long", style.GREY, (0, (1, 1.2)), "D", filled=False),
    "other": Look("another of the options", style.VERMILLION, marker="X"),
}
COURSES = {
    "own": WAYS["own"],
    "foreign": WAYS["foreign"],
    "random": WAYS["random"],
    "cue": Look("own way, after a cue", style.GREEN, (0, (6, 1.5, 1, 1.5)), "^"),
}
BARS = {  # of the summary: label, then lesson, kind and group
    "own": (Look("its own way", style.BLUE), ("taught", "own", "taught")),
    "random": (Look("random directions, as long", style.GREY, marker="D", filled=False), ("taught", "random", "taught")),
    "foreign": (Look("another seed's way, as long", style.ORANGE, marker="s"), ("taught", "foreign", "taught")),
    "form": (Look("a regime taught by name alone", style.GREEN, marker="^"), ("taught", "own", "form")),
    "unseen": (Look("a regime no lesson set", style.PURPLE, marker="v"), ("taught", "own", "unseen")),
    "shuffled": (Look("lessons with shuffled answers", style.GREY, marker="s"), ("shuffled", "own", "taught")),
    "untaught": (Look("no lesson on the state", style.BLACK, marker="x"), ("untaught", "own", "taught")),
}  # fmt: skip
READ = {
    "linear": Look("a line through the state", style.GREY),
    "state, fresh": Look("the model, by letter", style.BLUE),
    "direct, fresh": Look("the model, by name", style.SKY, marker="s"),
}
ASKED = {
    "state": Look("which regime is set?", style.BLUE),
    "entropy": Look("will it be in doubt?", style.GREEN, marker="s"),
    "next": Look("will it be a common character?", style.ORANGE, marker="^"),
}
OWN = {
    "features": Look("features of its own stream", style.GREEN),
    "fixed": Look("random directions in their place", style.ORANGE, marker="s"),
    "untrained": Look("features of an untrained model", style.VERMILLION, marker="^"),
}


def gained(tables: Tables, lesson: str, kind: str, group: str = "taught") -> "pd.Series[float]":
    """The index at strength 1 by seed, mean over the regimes of a group."""
    return tables.seeds("self_reports", "index", lesson=lesson, kind=kind, group=group, strength=1.0)


def _rows(looks: dict[str, Look]) -> dict[str, Look]:
    return {name: replace(look, label=textwrap.fill(look.label, 24)) for name, look in looks.items()}


def index_of(tables: Tables, name: str) -> "pd.Series[float]":
    return gained(tables, *BARS[name][1])


def bits_of(tables: Tables, name: str) -> "pd.Series[float]":
    return tables.seeds("self_report_readings", "bits", lesson="taught", reading=name)


def named(tables: Tables, name: str) -> "pd.Series[float]":
    return gained(tables, name, "own")


def summary(tables: Tables) -> str:
    """The title of the summary."""
    own, form = (number(gained(tables, "taught", "own", group).mean(), 1) for group in ("taught", "form"))
    line, letter = (number(bits_of(tables, name).mean(), 2) for name in ("linear", "state, fresh"))
    return (
        f"The right option gains {own} nats when the state is set, {form} where its name alone was taught; of fresh states the answer "
        f"tells {letter} bits, a line through the state {line}"
    )


def confusion(groups: Sequence[str], title: str) -> draw.Panel:
    """How often each name is said, by letter, for each mean that is set, means over the seeds in which it is of these groups."""

    def make(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        rows = tables.rows("self_report_answers", lesson="taught", set="mean", asked="state")
        names = list(dict.fromkeys(rows["said"]))
        rows = rows[rows["group"].isin(groups)]
        if rows.empty:
            return []
        there = [name for name in names if name in set(rows["regime"])]
        wide = rows.pivot_table(index="regime", columns="said", values="share").reindex(
            index=there, columns=names
        )
        axes.imshow(wide.to_numpy(float), cmap="Greys", vmin=0, vmax=1, aspect="auto")
        for (row, column), share in np.ndenumerate(wide.to_numpy(float)):
            if np.isfinite(share):
                axes.text(
                    column,
                    row,
                    f"{share:.2f}".removeprefix("0"),
                    ha="center",
                    va="center",
                    fontsize=7,
                    c="w" if share > 0.5 else "k",
                )
        short = [name.replace("_", "\n") for name in names]
        axes.set_xticks(range(len(names)), short, rotation=90)
        axes.set_yticks(range(len(there)), [name.replace("_", "\n") for name in there])
        axes.set_xlabel("said")
        axes.set_ylabel("set")
        axes.set_title(title)
        return ["table"]

    return draw.Panel(("self_report_answers",), make)


def places(tables: Tables) -> str:
    """The title of the figure on places."""

    def at(place: str) -> str:
        rows = tables.rows("self_report_places", lesson="taught", asked="state", group="taught", place=place)
        return number(per_seed(rows, "shift").mean(), 1)

    return f"Set at the question's token alone the state moves the answer by {at('question')} nats, at the text by {at('text')}, at the options by {at('options')}"


def confused(tables: Tables) -> str:
    """The title of the confusion of reports."""
    rows = tables.rows("self_report_answers", lesson="taught", asked="state", set="mean")
    hits = rows[rows["regime"] == rows["said"]]
    taught, form = (
        number(per_seed(hits[hits["group"] == group], "share").mean(), 2) for group in ("taught", "form")
    )
    return f"Of the regimes that lessons asked for by letter {taught} are named, of those taught by name alone {form}"


def course(lesson: str, title: str) -> draw.Panel:
    return draw.lines(
        "self_report_course", "value", title, "Δ log-odds of the right option (nats)", along="strength", by="shown",
        where={"lesson": lesson}, bands=True, zero=True,
    )  # fmt: skip


def _all(names: Sequence[str]) -> dict[str, Look]:
    return _rows({name: BARS[name][0] for name in names})


FIGURES = (
    draw.sheet(
        "self_report.png",
        [
            draw.strip(["self_reports"], _all(list(BARS)), index_of, "What does the right option gain?", "nats, less the same after a cue"),
            draw.strip(["self_report_readings"], _rows(READ), bits_of, "What is told of fresh states?", "bits"),
        ],
        grid=(1, 2), height=4.2, title=summary,
        shows="What setting the state to a regime's mean does to a model's answer, beside its controls, and how much answers tell of fresh states.",
        caption="{seeds}; bars: mean and, from three seeds on, 95 % t interval. Five options in random order; means over regimes. Gain: log-odds "
        "with the state set, minus with the mean of all regimes, minus the same after a question on another name.",
    ),
    draw.sheet(
        "self_report/strength.png", [course("taught", "regimes, set in the state"), course("features", "features, set in the stream")],
        grid=(1, 2), height=3.6, looks=COURSES, marks="line", x="strength (1: the mean itself)", columns=4, share_y=True, title=("own",),
        shows="Δ log-odds of the right option against the strength at which it is set: own, foreign, random, after a cue; zero is the sham.",
        caption="{seeds}; mean over what lessons asked for by letter; faint: single seeds; band: 95 % t interval from three seeds on. Strength 0 "
        "is the sham. Lessons set natural states (about 1) and features at 0.5 to 1.5; the other strengths are new.",
    ),
    draw.sheet(
        "self_report/confusion.png", [confusion(("taught",), "asked for by letter in the lesson"), confusion(("form", "unseen"), "by name alone, or never set")],
        grid=(1, 2), height=4.2, title=confused,
        shows="Which regime a model names, by letter, for each whose mean its state is set to.",
        caption="Share of prompts, mean over seeds; each row sums to 1. In each seed one regime is taught by name alone and one is never set.",
    ),
    draw.sheet(
        "self_report/places.png",
        [
            draw.points(
                "self_report_places", "shift", "", "nats", by="asked", across="place", order=("text", "options", "question", "all"),
                where={"lesson": "taught", "group": "taught"},
            )
        ],
        height=3.5, looks=ASKED, marks="points", title=places, columns=3,
        shows="How far the answers to three questions move when the state is set at some tokens of a row alone.",
        caption="{seeds}; means over regimes; bars: mean and, from three seeds on, 95 % t interval. Which regime: as in the summary. The other two: "
        "log-odds of the answer towards where what the model does moves.",
    ),
    draw.sheet(
        "self_report/features.png", [draw.strip(["self_reports"], _rows(OWN), named, "", "gain of the right option (nats)")],
        height=2.6, title=("features",),
        shows="What setting a feature does to a model's answer, beside random directions and an untrained model.",
        caption="{seeds}; as in the summary, six features each; every lesson is of the same length.",
    ),
)  # fmt: skip
