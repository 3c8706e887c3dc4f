"""What the document on reporting a neuron says, row by row, beside what happens here, beside a control."""

import pandas as pd

from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.tables import Tables
from experiments.kit.words import (
    AGAIN,
    CLEAR,
    MISSING,
    NOT_CLEAR,
    OPEN,
    WORKS,
    below,
    interval,
    near,
    number,
    percent,
    reach,
    side,
    table,
)

HALF, SMALL, AS_GOOD = 0.5, 0.1, 0.03


def of_document(tables: Tables) -> str:
    """A line a statement: the document, here, a control, and whether it comes back."""
    if tables.rows("neuron_reports").empty:
        return MISSING

    def seeds(column: str, name: str = "neuron_reports", **where: object) -> "pd.Series[float]":
        return per_seed(tables.rows(name, **where), column)

    def report(lesson: str, column: str) -> "pd.Series[float]":
        return seeds(column, lesson=lesson)

    def told(values: "pd.Series[float]", digits: int = 2) -> str:
        return interval(estimate(values), digits, sign=False)

    def minus(one: "pd.Series[float]", other: "pd.Series[float]") -> Estimate:
        return paired(one, other)

    mse = {lesson: report(lesson, "mse") for lesson in ("frozen", "above", "random_head")}
    r2 = {lesson: report(lesson, "r2") for lesson in ("frozen", "above", "outsider")}
    slope = {lesson: report(lesson, "slope") for lesson in ("frozen", "above", "above_changed")}
    sd = {lesson: report(lesson, "sd") for lesson in ("all", "all_language", "language")}
    pair = seeds("r2", "neuron_floors", source="pair")
    other = seeds("r2", "neuron_floors", source="other final")
    word = {
        column: seeds(column, "neuron_words", lesson="above_changed")
        for column in ("slope", "slope_foreign", "on_off")
    }
    outside = seeds("on_off", "neuron_words", lesson="outsider")
    several = tables.rows("neuron_several")
    most = several[several["count"] == several["count"].max()]
    twins = {whose: seeds("r2", "neuron_twins", whose=whose, lesson="above") for whose in ("own", "other")}
    lines = [
        [
            "A frozen model with a linear head reports well: MSE 538 → 3.9",
            f"MSE 1 → {told(mse['frozen'])} σ², R² {told(r2['frozen'])}",
            f"R² {told(pair)} from the last two characters alone, {told(other)} from another seed's frozen model",
            AGAIN.get(reach(estimate(r2["frozen"]), HALF), OPEN),
        ],
        [
            "Unfrozen above the neuron it struggles: MSE 290 → 98",
            f"MSE {told(mse['above'])}, frozen {told(mse['frozen'])}",
            f"with a head fixed at random {told(mse['random_head'])}",
            AGAIN.get(side(minus(mse["above"], mse["frozen"]), +1), OPEN),
        ],
        [
            "Fully unfrozen it makes the neuron constant: σ 3.7 → 0.4, a tenth",
            f"σ after over before {told(sd['all'], 3)}",
            f"language loss kept {told(sd['all_language'], 3)}; language loss alone {told(sd['language'])}",
            AGAIN.get(below(estimate(sd["all"]), HALF), OPEN),
        ],
        [
            "Neither seems to use the neuron's direction",
            f"slope {told(slope['above'], 3)}, frozen {told(slope['frozen'], 3)}",
            f"lessons in which the neuron is changed: {told(slope['above_changed'])}",
            AGAIN.get(near(estimate(slope["above"]), SMALL), OPEN),
        ],
        [
            "First hypothesis: it models its own inputs",
            f"R² {told(r2['above'])}",
            f"another seed's model, without access: {told(r2['outsider'])}",
            AGAIN.get(near(minus(r2["above"], r2["outsider"]), AS_GOOD), OPEN),
        ],
        [
            "Second hypothesis: it learns the direction that the neuron writes",
            f"slope {told(slope['above'], 3)}",
            f"random directions, as far {told(report('above', 'slope_random'), 3)}",
            AGAIN.get(reach(estimate(slope["above"]), HALF), OPEN),
        ],
        [
            "The same of the direction that the neuron reads",
            f"moved along it, the report does {told(report('above', 'follows_in'))} of what the neuron does",
            f"{told(report('outsider', 'follows_in'))} in another seed's model, which the move does not reach",
            AGAIN.get(reach(estimate(report("above", "follows_in")), HALF), OPEN),
        ],
        [
            "Third hypothesis: it regularises the neuron until it is easy to report",
            f"language loss kept: σ after over before {told(sd['all_language'], 3)}",
            f"language loss alone {told(sd['language'])}",
            AGAIN.get(below(estimate(sd["all_language"]), HALF), OPEN),
        ],
        [
            "In its public figures nearly all of the test error is bias²: 179.5 of 180.1",
            f"{percent(report('above', 'bias_share').mean())} of the MSE",
            f"head fixed at random {percent(report('random_head', 'bias_share').mean())}",
            AGAIN.get(reach(estimate(report("above", "bias_share")), HALF), OPEN),
        ],
        [
            "Next, it says: reports in tokens",
            f"slope {told(word['slope'])}, on or off right in {percent(word['on_off'].mean())}",
            f"other neurons {told(word['slope_foreign'])}; another seed's model, on or off {percent(outside.mean())}",
            WORKS.get(side(minus(word["slope"], word["slope_foreign"]), +1), OPEN),
        ],
        [
            "Next: several neurons at once",
            f"{number(float(most['count'].max()), 0)} at once: slope {told(per_seed(most, 'slope'))}",
            f"when another of them is changed {told(per_seed(most, 'slope_other'))}",
            WORKS.get(side(minus(per_seed(most, "slope"), per_seed(most, "slope_other")), +1), OPEN),
        ],
        [
            "Next: twins that report each other, own against foreign",
            f"R² {told(twins['own'])} of its own neuron",
            f"{told(twins['other'])} of its twins'",
            {CLEAR: "own better", NOT_CLEAR: "own no better"}.get(side(minus(twins["own"], twins["other"]), +1), OPEN),
        ],
    ]  # fmt: skip
    return table(["the document", "here", "control", "verdict"], lines, words=True)
