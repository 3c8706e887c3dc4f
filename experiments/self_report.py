"""Can a model name what its state is set to, and what does its answer look at?

What was done to the finished runs is told in probes/self_report.py. Log-odds are in nats, among five options; every number is a mean over
the regimes, or features, that a lesson asked for by letter, unless another group is named.
"""

from typing import Any

import pandas as pd

from experiments.kit import pages, style
from experiments.kit.experiment import Experiment
from experiments.kit.runs import Context
from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.style import Look
from experiments.kit.tables import Tables
from experiments.kit.words import (
    CLEAR,
    MISSING,
    NOT_CLEAR,
    OPEN,
    WORKS,
    Finding,
    all_of,
    difference,
    interval,
    number,
    percent,
    side,
    table,
    within,
)
from experiments.self_report_figure import FIGURES, WAYS, bits_of, gained

PROBE = "self_report"
SURVIVES = {CLEAR: "survives its control", NOT_CLEAR: "does not survive it"}
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


def of_document(tables: Tables) -> str:
    """A line for each statement of the document on self-report: it, here, a control, and what is left of it."""
    if tables.rows("self_reports").empty:
        return MISSING

    def told(values: "pd.Series[float]", digits: int = 2) -> str:
        return interval(estimate(values), digits, sign=False)

    def beyond(one: "pd.Series[float]", *others: "pd.Series[float]") -> str:
        return all_of(side(paired(one, other), +1) for other in others)

    own, random, foreign = (gained(tables, "taught", kind) for kind in ("own", "random", "foreign"))
    shuffled, form, untaught = (
        gained(tables, "shuffled", "own"),
        gained(tables, "taught", "own", "form"),
        gained(tables, "untaught", "own"),
    )
    features, fixed, untrained = (
        gained(tables, lesson, "own") for lesson in ("features", "fixed", "untrained")
    )
    rows = tables.rows("self_reports", lesson="taught", kind="own", group="taught", strength=1.0)
    right, false, delta, matched = (
        per_seed(rows, column) for column in ("right", "false", "delta", "matched")
    )
    doubt = tables.rows("self_report_behaviour", lesson="taught", asked="entropy", strength=3.0)
    followed, stayed = per_seed(doubt, "followed"), per_seed(doubt, "stayed")
    line, letter = bits_of(tables, "linear"), bits_of(tables, "state, fresh")
    lines = [
        [
            "Steered by a feature, a model gives the right option more log-odds than under a sham",
            f"regimes: {told(own)} nats",
            f"random directions {told(random)}, another seed's {told(foreign)}, shuffled lessons {told(shuffled)}",
            SURVIVES.get(beyond(own, random, foreign, shuffled), OPEN),
        ],
        [
            "The same of features of a sparse autoencoder",
            f"{told(features)} nats",
            f"random directions in their place {told(fixed)}, a model that was never trained {told(untrained)}",
            SURVIVES.get(beyond(features, fixed, untrained), OPEN),
        ],
        [
            "The gain is no change of the options' entropy",
            f"{told(delta)} nats",
            f"brought to the sham's entropy {told(matched)}",
            SURVIVES.get(side(estimate(matched), +1), OPEN),
        ],
        [
            "It tells more than a habit of naming one option",
            f"named in {percent(right.mean())} when set",
            f"in {percent(false.mean())} when none in particular is set",
            SURVIVES.get(side(paired(right, false), +1), OPEN),
        ],
        [
            "It is knowledge that any question can use",
            f"a regime taught by name alone, asked by letter: {told(form)} nats",
            f"random directions {told(gained(tables, 'taught', 'random', 'form'))}",
            WORKS.get(beyond(form, gained(tables, "taught", "random", "form")), OPEN),
        ],
        [
            "It is more than a readout of what was set",
            f"answers tell {told(letter)} bits of fresh states",
            f"a line through the state {told(line)}",
            WORKS.get(side(paired(letter, line), +1), OPEN),
        ],
        [
            "A model that was taught nothing about it can say it",
            f"{told(untaught)} nats",
            f"taught {told(own)}",
            WORKS.get(side(estimate(untaught), +1), OPEN),
        ],
        [
            "Of one's behaviour: it says what it will do",
            f"right in {percent(followed.mean())} of prompts in which steering changes its doubt",
            f"answers given under the sham: {percent(stayed.mean())}",
            WORKS.get(side(paired(followed, stayed), +1), OPEN),
        ],
    ]  # fmt: skip
    return table(["the document", "here", "control", "verdict"], lines, words=True)


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page says: each sentence with the numbers that decide it."""
    own, random, foreign = (gained(tables, "taught", kind) for kind in ("own", "random", "foreign"))
    form, unseen = (gained(tables, "taught", "own", group) for group in ("form", "unseen"))
    rows = tables.rows("self_reports", lesson="taught", kind="own", group="taught", strength=1.0)
    right, false = per_seed(rows, "right"), per_seed(rows, "false")
    doubt = tables.rows("self_report_behaviour", lesson="taught", asked="entropy", strength=3.0)
    followed, stayed = per_seed(doubt, "followed"), per_seed(doubt, "stayed")
    place = {
        part: per_seed(
            tables.rows("self_report_places", lesson="taught", asked="state", group="taught", place=part),
            "shift",
        )
        for part in ("text", "options", "question")
    }
    untaught = gained(tables, "untaught", "own")
    features = {lesson: gained(tables, lesson, "own") for lesson in ("features", "fixed", "untrained")}

    def said(
        claim: str, otherwise: str, parts: dict[str, Estimate], unit: str = "nats", digits: int = 2
    ) -> Finding:
        return difference(claim, parts, +1, unit, digits, otherwise=otherwise)

    nothing = within(
        "Without lessons on its state the model does not name it: the right option gains less than half a nat either way.",
        estimate(untaught), BOUND, f"{number(untaught.mean(), 2)} nats, bound ± {BOUND}",
        "Without lessons on its state the right option's gain is not clearly within half a nat of nothing.",
    )  # fmt: skip
    return {
        "own": said(
            "A model that was taught to can say which regime's mean its state is set to: the right option gains more than with other directions as long.",
            "The right option does not clearly gain more from the regime's own direction than from others as long.",
            {"own direction": estimate(own), "minus random": paired(own, random), "minus another seed's": paired(own, foreign)},
        ),
        "readout": said(
            "A line through the state tells more of fresh states than the model's answers do.",
            "The model's answers do not clearly tell less of fresh states than a line through the state.",
            {"by letter": paired(bits_of(tables, "linear"), bits_of(tables, "state, fresh")), "by name": paired(bits_of(tables, "linear"), bits_of(tables, "direct, fresh"))},
            "bits",
        ),
        "form": said(
            "A regime that lessons asked for by name alone is picked by letter, too.",
            "A regime that lessons asked for by name alone is not clearly picked by letter: the answer does not carry over to a form of question that was not trained.",
            {"index": estimate(form), "minus random": paired(form, gained(tables, "taught", "random", "form"))},
        ),
        "unseen": said(
            "A regime whose states no lesson set is picked as well.",
            "A regime whose states no lesson set is not clearly picked.",
            {"index": estimate(unseen), "minus random": paired(unseen, gained(tables, "taught", "random", "unseen"))},
        ),
        "untaught": nothing,
        "false": said(
            "The right regime is named more often when its state is set than when none in particular is.",
            "The right regime is not clearly named more often when its state is set than when none in particular is.",
            {"share named, set minus sham": paired(right, false)}, "",
        ),
        "behaviour": said(
            "Where steering changes whether the model's next prediction is doubtful, its answer about that changes with it more often than not.",
            "Where steering changes whether the model's next prediction is doubtful, its answer about that does not clearly follow.",
            {"share right, steered minus sham's answers": paired(followed, stayed)}, "",
        ),
        "question": said(
            "Only the state at the question's own token moves the answer on the state; the same at the text or at the options moves it less.",
            "The state at the question's token does not clearly move the answer more than at the text and at the options.",
            {f"question minus {part}": paired(place["question"], place[part]) for part in ("text", "options")},
        ),
        "features": said(
            "A model names features of its own stream better than random directions and than a model that was never trained names its own.",
            "What a model names need not be a feature that it uses: random directions, or features of a model that was never trained, are named about as well.",
            {f"minus {name}": paired(features["features"], features[lesson]) for lesson, name in (("fixed", "random directions"), ("untrained", "the untrained model's"))},
        ),
    }  # fmt: skip


SHORT: dict[str, Any] = {
    "index": ("index, nats", "±2"), "delta": ("Δ log-odds", "±2"), "cue": ("after a cue", "±2"), "same": ("after a cue with the same answer", "±2"),
    "matched": ("Δ log-odds at the sham's entropy", "±2"), "right": ("right", "%"), "false": ("said on the sham", "%"),
    "entropy": ("change of the options' entropy, nats", "±2"),
}  # fmt: skip
GRIDS = {
    "document": of_document,
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
    findings, FIGURES, GRIDS, values=lambda tables: {"features": contexts(tables)},
)  # fmt: skip
