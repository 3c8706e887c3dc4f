"""Can a model report the activation of one of its own neurons, and does the report look at the neuron or only at the text?

What was done to the finished runs is told in probes/introspection.py. Everything is in standard deviations of a neuron before its
lesson; a lesson is a fine-tuning.
"""

from typing import Any

import numpy as np
import pandas as pd

from experiments.introspection_figure import FIGURES, LOOKS, MOVING, SHORT, of
from experiments.kit import pages, style, words
from experiments.kit.experiment import Experiment
from experiments.kit.runs import Context
from experiments.kit.stats import estimate, paired, per_seed
from experiments.kit.style import Look
from experiments.kit.tables import Tables

PROBE = "introspection"
SOURCES = {
    "frozen": Look("the frozen model's head, as it was taught", style.GREY),
    "token": Look("the mean after the same character", style.GREY),
    "pair": Look("the mean after the same two characters", style.GREY),
    "own before": Look("a line through the stream before the neuron's MLP", style.GREY),
    "own final": Look("a line through the model's last layer", style.GREY),
    "other final": Look("a line through the last layer of another seed's model", style.GREY),
}
HALF, SMALL = 0.5, 0.1  # that much of what would be whole, and what counts as nothing
AS_GOOD = 0.03  # R2 by which two reports count as equally good


def _named(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a probe's table with `lesson` in place of way and changed."""
    if rows.empty:
        return rows
    ending = rows["changed"].map({0: "", 1: "_changed"})
    return rows.drop(columns=["way", "changed"]).assign(lesson=rows["way"] + ending)


def neuron_reports(context: Context) -> pd.DataFrame:
    """One row a run, neuron and lesson, on held-out text.

    block, kind, unit, rank, neuron: which one. mse = bias2 + variance; bias_share: bias2 / mse. r, r2 of the reports of activations; blind_r2:
    of the reports that are made while the neuron is held at its mean, of what it would have been. These three are empty where the
    lesson moves the neuron itself: of a constant they say nothing. sd: of the activation after the lesson, over before. lm_loss,
    lm_rise: of the next character, and minus before. slope: change of the report over change of the neuron at one position, by itself;
    slope_in: the stream pushed as far along its inputs; follows_in: over what
    the neuron does then; slope_foreign, slope_random: root mean square where other neurons, or random directions, push the stream as
    far; overlap: cosine of what these neurons and this one write, root mean square.
    """
    rows = _named(context.probed(PROBE, "reports"))
    if rows.empty:
        return rows
    rows.loc[rows["lesson"].isin(MOVING), ["r", "r2", "blind_r2"]] = np.nan
    neuron = "block " + rows["block"].astype(str) + ", rank " + rows["rank"].astype(str)
    return rows.assign(bias_share=rows["bias2"] / rows["mse"], neuron=neuron)


def neuron_floors(context: Context) -> pd.DataFrame:
    """One row a run, neuron and source: r2 on held-out text of what needs no introspection, and of the frozen model's head."""
    head = _named(context.probed(PROBE, "reports"))
    if head.empty:
        return head
    head = head[head["lesson"] == "frozen"].assign(source="frozen")
    found = context.probed(PROBE, "floors")
    return pd.concat([found, head[found.columns]], ignore_index=True)


def neuron_course(context: Context) -> pd.DataFrame:
    """One row a run, neuron, lesson and ten steps: sd of the activation in the batches, over before. Of lessons that move it."""
    return _named(context.probed(PROBE, "course"))


def neuron_points(context: Context) -> pd.DataFrame:
    """One row a text: activation and report of the first neuron at one position, as it is and moved by a random number (moved 1)."""
    return _named(context.probed(PROBE, "points"))


def neuron_several(context: Context) -> pd.DataFrame:
    """One row a run and count of neurons that are reported at once: r2; slope of a report when its neuron is changed, slope_other
    when another of them is; lm_rise. A count of one is the mean over the chosen neurons of the first block."""
    found = context.probed(PROBE, "several")
    if found.empty:
        return found
    reports = _named(context.probed(PROBE, "reports"))
    alone = reports[(reports["lesson"] == "above_changed") & (reports["block"] == reports["block"].min())]
    one = alone.groupby(["suite", "condition", "seed", "run_step"], as_index=False)[
        ["r2", "slope", "lm_rise"]
    ].mean()
    return pd.concat([one.assign(count=1), found], ignore_index=True).astype({"count": int})


def neuron_twins(context: Context) -> pd.DataFrame:
    """One row a run, lesson, reader and twin whose neuron it reports (of): whose, own or other; r2; alike: r2 of naming the reader's
    own activation; slope of that report when the reader's own neuron is changed."""
    found = _named(context.probed(PROBE, "twins"))
    if found.empty:
        return found
    return found.assign(whose=np.where(found["reader"] == found["of"], "own", "other"))


def neuron_words(context: Context) -> pd.DataFrame:
    """One row a run and lesson in words, on the first neuron: on_off, exact: share of right answers on held-out text; *_floor: of
    always giving the commonest; slope, slope_foreign, slope_random of the mean digit, in standard deviations."""
    return _named(context.probed(PROBE, "words"))


def document(tables: Tables) -> dict[str, Any]:
    """What the page's table on the document's statements is written with: values by seed, and whether each statement comes back."""
    if tables.rows("neuron_reports").empty:
        return {}

    def report(lesson: str, column: str) -> "pd.Series[float]":
        return of(tables, lesson, column)

    def word(column: str, lesson: str = "above_changed") -> "pd.Series[float]":
        return of(tables, lesson, column, "neuron_words")

    several = tables.rows("neuron_several")
    most = several[several["count"] == several["count"].max()]
    slope, crossed = (per_seed(most, column) for column in ("slope", "slope_other"))
    own, other = (
        tables.seeds("neuron_twins", "r2", whose=whose, lesson="above") for whose in ("own", "other")
    )
    again = {
        "frozen": words.reach(estimate(report("frozen", "r2")), HALF),
        "struggles": words.side(paired(report("above", "mse"), report("frozen", "mse")), +1),
        "constant": words.below(estimate(report("all", "sd")), HALF),
        "blind": words.near(estimate(report("above", "slope")), SMALL),
        "inputs": words.near(paired(report("above", "r2"), report("outsider", "r2")), AS_GOOD),
        "writes": words.reach(estimate(report("above", "slope")), HALF),
        "reads": words.reach(estimate(report("above", "follows_in")), HALF),
        "eased": words.below(estimate(report("all_language", "sd")), HALF),
        "bias": words.reach(estimate(report("above", "bias_share")), HALF),
    }
    works = {
        "words": words.side(paired(word("slope"), word("slope_foreign")), +1),
        "several": words.side(paired(slope, crossed), +1),
    }
    verdicts = {name: words.AGAIN.get(one, words.OPEN) for name, one in again.items()}
    verdicts |= {name: words.WORKS.get(one, words.OPEN) for name, one in works.items()}
    nearer = paired(own, other)
    verdicts["twins"] = {words.CLEAR: f"own better, by {words.number(nearer.mean, 3)}", words.NOT_CLEAR: "own not clearly better"}.get(
        words.side(nearer, +1), words.OPEN
    )  # fmt: skip
    return {
        "report": report, "word": word, "floor": lambda source: of(tables, source, "r2", "neuron_floors", "source"),
        "most": words.number(float(most["count"].max()), 0), "slope": slope, "crossed": crossed, "own": own, "other": other, "verdict": verdicts,
    }  # fmt: skip


def findings(tables: Tables) -> dict[str, words.Finding]:
    """The five sentences that open the page, each with its numbers."""
    slope = {lesson: of(tables, lesson, "slope") for lesson in ("above", "above_changed")}
    pushed = {
        f"beyond {said}": paired(slope["above_changed"], of(tables, "above_changed", column))
        for said, column in (("other neurons", "slope_foreign"), ("random directions", "slope_random"))
    }
    return {
        "accurate": words.within(
            "On natural text another seed's model, which cannot see the neuron, reports it nearly as well as the model itself.",
            paired(of(tables, "above", "r2"), of(tables, "outsider", "r2")), AS_GOOD, "R² of the own report minus the other's",
            "On natural text it is not shown that another seed's model reports the neuron nearly as well as the model itself.",
        ),
        "blind": words.within(
            "A report taught on natural text does not follow the neuron when it alone is changed.", estimate(slope["above"]), 0.1,
            "Slope, where 1 would be to follow it", "A report taught on natural text may follow the neuron when it alone is changed.",
        ),
        "reader": words.difference(
            "Taught with changes of the neuron, the report follows it further than equal pushes elsewhere.",
            {"slope": estimate(slope["above_changed"]), **pushed}, +1, pairs=False,
            otherwise="Taught with changes of the neuron, the report does not clearly follow it further than equal pushes elsewhere.",
        ),
        "constant": words.difference(
            "Where all weights learn, the neuron comes to vary less, even when the model has to keep its language.",
            {
                said: paired(of(tables, lesson, "sd"), of(tables, "language", "sd"))
                for said, lesson in (("the report alone", "all"), ("language loss kept", "all_language"))
            }, -1, "of σ before, minus that after a lesson on language alone",
            otherwise="Where all weights learn, the neuron does not clearly come to vary less.",
        ),
        "struggle": words.difference(
            "With a head fixed at random the error is larger than with a head that learns.",
            {"MSE": paired(of(tables, "random_head", "mse"), of(tables, "above", "mse"))}, +1, "σ², fixed minus learned",
            otherwise="With a head fixed at random the error is not clearly larger than with a head that learns.",
        ),
    }  # fmt: skip


GRIDS = {
    "natural": pages.grid(
        "neuron_reports", LOOKS, head="lesson", by="lesson",
        mse=("MSE, σ²", "3"), bias_share=("of it bias²", "%"), r=("r", "3"), r2=("R²", "3"), blind_r2=("R², neuron held still", "3"),
        sd=("σ after over before", "3"), lm_rise=("rise of the language loss, nats", "±3"),
    ),
    "pushes": pages.grid(
        "neuron_reports", LOOKS, head="lesson", by="lesson",
        slope=("slope: the neuron itself", "3"), slope_in=("its inputs, as far", "3"), slope_foreign=("other neurons, as far", "3"),
        slope_random=("random directions, as far", "3"), follows_in=("its inputs, over what the neuron does then", "3"),
    ),
    "floors": pages.grid("neuron_floors", SOURCES, head="source", by="source", r2=("R²", "3")),
    "neurons": pages.grid(
        "neuron_reports", tuple(SHORT), head="block and rank, lesson", by="lesson", across="neuron", only=True,
        r2=("R²", "3"), blind_r2=("R², held still", "3"), slope=("slope", "3"), slope_foreign=("other neurons", "3"),
    ),
    "several": pages.grid(
        "neuron_several", head="neurons at once", by="count", r2=("R²", "3"), slope=("slope: its neuron", "3"),
        slope_other=("another of them", "3"), lm_rise=("rise of the language loss, nats", "±3"),
    ),
    "twins": pages.grid(
        "neuron_twins", ("own", "other"), head="lesson, whose neuron", by="whose", across="lesson", r2=("R² of the report", "3"),
        alike=("R² of the reader's own activation", "3"), slope=("slope when the reader's own is changed", "3"),
    ),
    "words": pages.grid(
        "neuron_words", ("above_changed", "above", "outsider"), head="lesson", by="lesson", on_off=("on or off right", "%"), on_off_floor=("commonest", "%"),
        exact=("digit right", "%"), exact_floor=("commonest", "%"), slope=("slope: the neuron itself", "3"), slope_foreign=("other neurons", "3"),
        slope_random=("random directions", "3"),
    ),
}  # fmt: skip
EXPERIMENT = Experiment(
    "introspection", "Introspection: can a model report one of its own neurons?",
    (neuron_reports, neuron_floors, neuron_course, neuron_points, neuron_several, neuron_twins, neuron_words),
    findings, FIGURES, GRIDS, values=lambda tables: {"document": document(tables)},
)  # fmt: skip
