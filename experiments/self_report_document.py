"""What the document on self-report says, row by row, beside what happens here, beside a control."""

import pandas as pd

from experiments.kit.stats import estimate, paired, per_seed
from experiments.kit.tables import Tables
from experiments.kit.words import (
    CLEAR,
    MISSING,
    NOT_CLEAR,
    OPEN,
    WORKS,
    all_of,
    interval,
    percent,
    side,
    table,
)
from experiments.self_report_figure import bits_of, gained

SURVIVES = {CLEAR: "survives its control", NOT_CLEAR: "does not survive it"}


def of_document(tables: Tables) -> str:
    """A line a statement: the document, here, a control, and what is left of it."""
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
