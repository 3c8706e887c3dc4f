"""Can a model name what its state is set to, and what does its answer look at?

What was done to the finished runs is told in probes/self_report.py. Log-odds are in nats, among five options; every number is a mean over
the regimes, or features, that a lesson asked for by letter, unless another group is named.
"""

from typing import Any

import pandas as pd

from experiments.kit import pages, style, words
from experiments.kit.experiment import Experiment
from experiments.kit.runs import Context
from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.style import Look
from experiments.kit.tables import Tables
from experiments.self_report_figure import FIGURES, WAYS, bits_of, gained

PROBE = "self_report"
BOUND = 0.5  # nats of log-odds that count as nothing
LESSONS = {
    "taught": Look("taught the right answers on its state", style.BLUE),
    "shuffled": Look("states dealt out anew among the right answers", style.GREY),
    "untaught": Look("nothing about the state, only where a name stands", style.BLACK),
    "features": Look("features of its own stream", style.GREEN),
    "fixed": Look("random directions in their place", style.ORANGE),
    "untrained": Look("features of a model that was never trained", style.VERMILLION),
}
READINGS = {
    "linear": Look("a linear reading", style.GREY),
    "whitened": Look("the nearest mean, by the spread within regimes", style.GREY, "--", "s"),
    "centroid": Look("the nearest mean", style.GREY, ":", "^"),
    "state, fresh": Look("the model, by letter", style.BLUE),
    "direct, fresh": Look("the model, by name", style.BLUE, "--", "s"),
    "state, mean": Look("the model, by letter, the state set to regimes' means", style.SKY),
    "direct, mean": Look("the model, by name, the same", style.SKY, "--", "s"),
}


def self_reports(context: Context) -> pd.DataFrame:
    """One row a run, lesson, kind of direction, regime (or feature) and strength.

    group: taught, asked for by name alone (form), or never set in the lesson (unseen). delta, cue, same: Δ log-odds of the right option
    after the question on the state, after a question on another name, after one whose answer is the same; index = delta − cue. matched:
    delta at the sham's entropy. right, false: share of prompts whose answer is the right option, set and with the sham. entropy: change of
    the options' entropy.
    """
    return context.probed(PROBE, "reports")


def self_report_course(context: Context, self_reports: pd.DataFrame) -> pd.DataFrame:
    """One row a run, lesson, regime that it asked for, strength and what is shown: value, Δ log-odds. Strength 0 is the sham."""
    rows = self_reports[
        (self_reports["group"] == "taught") & self_reports["lesson"].isin(["taught", "features"])
    ]
    place = ["suite", "condition", "seed", "lesson", "regime", "strength"]
    own = rows[rows["kind"] == "own"]
    none = own[own["strength"] == 0]
    parts = [
        rows[rows["kind"] == kind].assign(shown=kind, value=lambda of: of["delta"])
        for kind in ("own", "foreign", "random")
    ]
    parts += [none.assign(shown=kind, value=0.0) for kind in ("foreign", "random")]
    parts.append(own.assign(shown="cue", value=own["cue"]))
    return pd.concat(parts, ignore_index=True)[[*place, "shown", "value"]]


def self_report_answers(context: Context) -> pd.DataFrame:
    """One row a run, lesson, question, what is set and name: share of prompts in which it is said. See probes/answers.py."""
    return context.probed(PROBE, "answers")


def self_report_readings(context: Context) -> pd.DataFrame:
    """One row a run, lesson and reading of fresh states: accuracy, taught_accuracy (of what the lesson asked for by letter), bits of
    mutual information with what was set."""
    return context.probed(PROBE, "readings")


def self_report_behaviour(context: Context) -> pd.DataFrame:
    """One row a run, lesson, question on what the model will do, regime and strength. See probes/behaviour.py."""
    return context.probed(PROBE, "behaviour")


def self_report_places(context: Context) -> pd.DataFrame:
    """One row a run, lesson, question, regime and part of the row at which alone the state is set: shift of the answer, nats."""
    return context.probed(PROBE, "places")


def self_report_dictionaries(context: Context) -> pd.DataFrame:
    """One row a run and dictionary: how well it rebuilds the stream. See `probes.dictionary.judged`."""
    return context.probed(PROBE, "dictionaries")


def self_report_features(context: Context) -> pd.DataFrame:
    """One row a run, dictionary and feature that was asked about: where it is active, and how strongly."""
    return context.probed(PROBE, "features")


def measured(tables: Tables) -> dict[str, "pd.Series[float]"]:
    """By seed: what the right option gains, by what is set; how often it is named; bits that are told of fresh states."""
    gains: dict[str, tuple[str, ...]] = {
        **{kind: ("taught", kind) for kind in ("own", "random", "foreign")},
        **{group: ("taught", "own", group) for group in ("form", "unseen")},
        **{f"{group}_random": ("taught", "random", group) for group in ("form", "unseen")},
        **{lesson: (lesson, "own") for lesson in ("shuffled", "untaught", "features", "fixed", "untrained")},
    }
    own = tables.rows("self_reports", lesson="taught", kind="own", group="taught", strength=1.0)
    doubt = tables.rows("self_report_behaviour", lesson="taught", asked="entropy", strength=3.0)
    readings = {"line": "linear", "letter": "state, fresh", "name": "direct, fresh"}
    return {
        **{name: gained(tables, *of) for name, of in gains.items()},
        **{column: per_seed(own, column) for column in ("right", "false", "delta", "matched")},
        **{column: per_seed(doubt, column) for column in ("followed", "stayed")},
        **{name: bits_of(tables, reading) for name, reading in readings.items()},
    }


def document(tables: Tables) -> dict[str, Any]:
    """What the page's table on the document's statements is written with: values by seed, and what is left of each statement."""
    if tables.rows("self_reports").empty:
        return {}
    found = measured(tables)

    def beyond(one: str, *others: str) -> str:
        return words.all_of(words.side(paired(found[one], found[other]), +1) for other in others)

    survives = {
        "steered": beyond("own", "random", "foreign", "shuffled"), "features": beyond("features", "fixed", "untrained"),
        "entropy": words.side(estimate(found["matched"]), +1), "habit": beyond("right", "false"),
    }  # fmt: skip
    works = {
        "any_question": beyond("form", "form_random"), "more": beyond("letter", "line"), "untaught": words.side(estimate(found["untaught"]), +1),
        "behaviour": beyond("followed", "stayed"),
    }  # fmt: skip
    verdicts = {name: words.SURVIVES.get(one, words.OPEN) for name, one in survives.items()}
    return {
        **found,
        "verdict": verdicts | {name: words.WORKS.get(one, words.OPEN) for name, one in works.items()},
    }


def findings(tables: Tables) -> dict[str, words.Finding]:
    """What the page says: each sentence with the numbers that decide it."""
    found = measured(tables)
    place = {
        part: tables.seeds(
            "self_report_places", "shift", lesson="taught", asked="state", group="taught", place=part
        )
        for part in ("text", "options", "question")
    }

    def minus(one: str, other: str) -> Estimate:
        return paired(found[one], found[other])

    def said(
        claim: str, otherwise: str, parts: dict[str, Estimate], unit: str = "nats", digits: int = 2
    ) -> words.Finding:
        return words.difference(claim, parts, +1, unit, digits, otherwise=otherwise)

    nothing = words.within(
        "Without lessons on its state the model does not name it: the right option gains less than half a nat either way.",
        estimate(found["untaught"]), BOUND, f"{words.number(found['untaught'].mean(), 2)} nats, bound ± {BOUND}",
        "Without lessons on its state the right option's gain is not clearly within half a nat of nothing.",
    )  # fmt: skip
    return {
        "own": said(
            "A model that was taught to can say which regime's mean its state is set to: the right answer gains more than when other directions of equal length are set.",
            "The right option does not clearly gain more from the regime's own direction than from others as long.",
            {"own direction": estimate(found["own"]), "minus random": minus("own", "random"), "minus another seed's": minus("own", "foreign")},
        ),
        "readout": said(
            "A line through the state tells more of fresh states than the model's answers do.",
            "The model's answers do not clearly tell less of fresh states than a line through the state.",
            {"by letter": minus("line", "letter"), "by name": minus("line", "name")},
            "bits",
        ),
        "form": said(
            "A regime that lessons asked for by name alone is picked by letter, too.",
            "A regime that lessons asked for by name alone is not clearly picked by letter: the answer does not carry over to a form of question that was not trained.",
            {"index": estimate(found["form"]), "minus random": minus("form", "form_random")},
        ),
        "unseen": said(
            "A regime whose states no lesson set is picked as well.",
            "A regime whose states no lesson set is not clearly picked.",
            {"index": estimate(found["unseen"]), "minus random": minus("unseen", "unseen_random")},
        ),
        "untaught": nothing,
        "false": said(
            "The right regime is named more often when its state is set than when none in particular is.",
            "The right regime is not clearly named more often when its state is set than when none in particular is.",
            {"share named, set minus sham": minus("right", "false")}, "",
        ),
        "behaviour": said(
            "Where steering changes whether the model's next prediction is doubtful, its answer about that changes with it more often than not.",
            "Where steering changes whether the model's next prediction is doubtful, its answer about that does not clearly follow.",
            {"share right, steered minus sham's answers": minus("followed", "stayed")}, "",
        ),
        "question": said(
            "Only the state at the question's own token moves the answer on the state; the same at the text or at the options moves it less.",
            "The state at the question's token does not clearly move the answer more than at the text and at the options.",
            {f"question minus {part}": paired(place["question"], place[part]) for part in ("text", "options")},
        ),
        "features": said(
            "A model names features of its own stream better than random directions in their place.",
            "What a model names need not be a feature that it uses: random directions in their place are named about as well.",
            {"minus random directions": minus("features", "fixed")},
        ),
        "features_untrained": said(
            "A model that was never trained names its features less well.",
            "A model that was never trained names its features about as well.", {"minus the untrained model's": minus("features", "untrained")},
        ),
    }  # fmt: skip


SHORT: dict[str, Any] = {
    "index": ("index, nats", "±2"), "delta": ("Δ log-odds", "±2"), "cue": ("after a cue", "±2"), "same": ("after a cue with the same answer", "±2"),
    "matched": ("Δ log-odds at the sham's entropy", "±2"), "right": ("right", "%"), "false": ("said on the sham", "%"),
    "entropy": ("change of the options' entropy, nats", "±2"),
}  # fmt: skip
GRIDS = {
    "kinds": pages.grid(
        "self_reports", WAYS, head="what is set", by="kind", where={"lesson": "taught", "group": "taught", "strength": 1.0}, only=True, **SHORT,
    ),
    "groups": pages.grid(
        "self_reports", ("taught", "form", "unseen"), head="in the lesson", by="group", where={"lesson": "taught", "kind": "own", "strength": 1.0}, **SHORT,
    ),
    "regimes": pages.grid(
        "self_reports", head="regime", by="regime", where={"lesson": "taught", "kind": "own", "group": "taught", "strength": 1.0},
        index=SHORT["index"], right=SHORT["right"], false=SHORT["false"],
    ),
    "lessons": pages.grid(
        "self_reports", LESSONS, head="lesson", by="lesson", where={"kind": "own", "group": "taught", "strength": 1.0}, only=True,
        index=SHORT["index"], delta=SHORT["delta"], right=SHORT["right"], false=SHORT["false"],
    ),
    "readings": pages.grid(
        "self_report_readings", READINGS, head="reading of fresh states", by="reading", where={"lesson": "taught"}, only=True,
        bits=("bits", "2"), accuracy=("right", "%"), taught_accuracy=("right, of those asked for by letter", "%"),
    ),
    "shuffled": pages.grid(
        "self_report_readings", ("shuffled", "untaught"), head="lesson", by="lesson", where={"reading": "state, fresh"}, only=True,
        bits=("bits", "2"), accuracy=("right", "%"),
    ),
    "behaviour": pages.grid(
        "self_report_behaviour", ("entropy", "next"), head="strength, question", by="asked", across="strength", where={"lesson": "taught"},
        right=("right", "%"), floor=("commonest answer", "%"), stale=("the sham's answers", "%"), changed=("what it does changes", "%"),
        followed=("of those right, steered", "%"), stayed=("of those right, the sham's answers", "%"), shift=("Δ log-odds towards the change, nats", "±2"),
    ),
    "places": pages.grid(
        "self_report_places", ("state", "entropy", "next"), head="set at, question", by="asked", across="place", order=("text", "options", "question", "all"),
        where={"lesson": "taught", "group": "taught"}, shift=("moves the answer by, nats", "±2"),
    ),
    "dictionaries": pages.grid(
        "self_report_dictionaries", LESSONS, head="autoencoder", by="dictionary", unexplained=("variance unexplained", "3"),
        recovered=("loss recovered", "%"), alive=("features ever active", "%"), active=("active at a token", "1"),
    ),
}  # fmt: skip


def contexts(tables: Tables) -> list[dict[str, str]]:
    """The features of the first run that were asked about, each with its strongest places."""
    rows = tables.rows("self_report_features", dictionary="features")
    first = rows[rows["seed"] == rows["seed"].min()]
    return [
        {"name": str(row["name"]), "density": f"{row['density']:.1%}", "sign": str(row["sign"]), "share": f"{row['share']:.0%}",
         "contexts": str(row["contexts"])}
        for _, row in first.iterrows()
    ]  # fmt: skip


EXPERIMENT = Experiment(
    "self_report", "Self-report: can a model name what its state is set to?",
    (self_reports, self_report_course, self_report_answers, self_report_readings, self_report_behaviour, self_report_places, self_report_dictionaries, self_report_features),
    findings, FIGURES, GRIDS, values=lambda tables: {"features": contexts(tables), "document": document(tables)},
)  # fmt: skip
