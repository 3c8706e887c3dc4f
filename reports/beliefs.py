"""The page on what the state knows: its belief beside what the evidence gives, and beliefs put in by hand."""

from collections.abc import Sequence

import pandas as pd

from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.tables import RUN
from experiments.kit.words import (
    ABSENT,
    CLEAR,
    MISSING,
    NOT_CLEAR,
    OPEN,
    Finding,
    difference,
    interval,
    number,
    table,
)
from reports.parts import Section, Tables

TITLE = "What the state knows: a belief about the regime?"
FILE = "beliefs.md"
SUITE = "recurring"
ANY, REGIME = "any", "bewilderment"
TWIN = "twin posterior"  # the filter's from the statistics that the untrained network was shown
COLUMNS: dict[str, tuple[str, ...]] = {
    "beliefs": (*RUN, "source", "target", "regime", "r2", "auc"),
    "batch_auc": (*RUN, "regime", "auc", "pairs"),
    "belief_shifts": (
        *(
            *RUN,
            "run_step",
            "state",
            "regime",
            "draw",
            "distance",
            "kl",
            "kl_calm",
            "nll_clean",
            "nll_corrupted",
        ),
    ),
}
WORLDS = {"calibrated_recurring": "recurring", "faint": "faint", "calibrated_mix": "mix"}
IN_WORLD = {
    "recurring": "In the recurring world",
    "faint": "In the faint world",
    "mix": "In the mix of five regimes",
}
SOURCES = {
    "state": "the state",
    "statistics": "statistics of one batch",
    "averages": "their averages, at the state's decay",
    "untrained": "state of an untrained network",
    "shuffle": "the state, turned in time",
    "filter": "the forward filter itself",
}
RIVALS = ("statistics", "averages", "untrained")
STATES = {
    "calm": "calm mean (before)",
    "regime": "bewilderment mean (after)",
    "mirrored": "mirrored",
    "random": "random, as far",
    "foreign": "partner seed's mean",
    "zero": "zero",
    "optimum": "the optimum itself",
}
DOUBT = (
    0.65,
    0.85,
)  # AUC of one batch's loss that counts as about 0.75, what the faint world was meant to have


def sections(tables: Tables, figures: str) -> list[Section]:
    """The page's sections. `figures` is the folder of figures as seen from the page."""
    return [
        knows(tables, figures),
        doubt(tables),
        others(tables),
        regimes(tables, figures),
        put_in(tables, figures),
    ]


def read(tables: Tables, condition: str, source: str, target: str, column: str) -> "pd.Series[float]":
    """A reading's R2 or AUC by seed; where there are several regimes, of any."""
    rows = tables.rows("beliefs", condition=condition, source=source, target=target)
    several = rows["regime"] == ANY
    return per_seed(rows[several] if several.any() else rows, column)


def _readings(tables: Tables) -> list[list[str]]:
    """A row a world and source: R2 and AUC of the posterior, AUC of the true regime."""
    rows = []
    for condition, world in WORLDS.items():
        for source, name in SOURCES.items():
            found = [
                read(tables, condition, source, *what)
                for what in (("posterior", "r2"), ("posterior", "auc"), ("regime", "auc"))
            ]
            if any(len(one) for one in found):
                rows.append([f"{world}: {name}", *_cells(found), str(max(len(one) for one in found))])
        twin = [read(tables, condition, "state", TWIN, column) for column in ("r2", "auc")]
        if len(twin[0]):
            rows.append(
                [
                    f"{world}: the state, on the untrained network's target",
                    *_cells(twin),
                    "–",
                    str(len(twin[0])),
                ]
            )
    return rows


def _cells(found: Sequence["pd.Series[float]"]) -> list[str]:
    """R2 and areas over seeds as cells; after the R2, which comes first and has no lower end, its median."""
    cells = [interval(estimate(one), sign=False) for one in found]
    return [cells[0], number(float(found[0].median())), *cells[1:]]


def _minus(tables: Tables, condition: str, rival: str) -> tuple[str, Estimate]:
    """The R2 of the posterior in the state minus that in a rival, in words and paired by seed.

    Against an untrained network on one target: the filter's posterior from what that network was shown.
    """
    if rival == "untrained":
        pair = (read(tables, condition, source, TWIN, "r2") for source in ("state", rival))
        return f"minus {SOURCES[rival]}, both on its target", paired(*pair)
    pair = (read(tables, condition, source, "posterior", "r2") for source in ("state", rival))
    return f"minus {SOURCES[rival]}", paired(*pair)


def knows(tables: Tables, figures: str) -> Section:
    """R2 and AUC of each source in each world, and whether the state knows more than its rivals."""
    rows = _readings(tables)
    head = [
        "world, read from",
        "R² of the posterior",
        "its median",
        "AUC, posterior > ½",
        "AUC, true regime",
        "n",
    ]
    body = [table(head, rows) if rows else MISSING]
    if rows:
        body += [
            "Posterior: what the forward filter makes of all statistics shown so far, with the true switching probabilities and "
            "an emission that was fitted on the other seeds. Every source is read alike: ridge regression within the run, fitted "
            "on earlier steps, tested on later ones. R² below zero is worse than naming the mean always; it has no lower end, so that one seed "
            "can make the mean, and the median stands beside it. *Turned in time*: the "
            "run's own states, moved against the steps in a circle, which keeps their course and takes away what they know. In the "
            "recurring and the faint world one regime, corrupted targets, comes and goes; in the mix, where there are five, what is read is whether any acts.",
            f"Every seed: [what the state knows]({figures}/beliefs/what-the-state-knows.png); step by step: "
            f"[belief over time]({figures}/beliefs/belief-over-time.png).",
        ]
    findings = []
    for condition, world in WORLDS.items():
        own = estimate(read(tables, condition, "state", "posterior", "r2"))
        findings += [
            difference(
                f"{IN_WORLD[world]} the state tells something of the posterior, in R².",
                [("its own R²", own), _minus(tables, condition, "shuffle")],
                *(+1, "", 3, False),
            ),
            difference(
                f"{IN_WORLD[world]} the state tells more of the posterior than each of its rivals, in R².",
                [_minus(tables, condition, rival) for rival in RIVALS],
                *(+1, "", 3),
            ),
        ]
    return Section(
        "Does the state hold what could be known?",
        "How much of the forward filter's belief can be read from the state, beside what the same reading finds in one batch's "
        "statistics, in their averages, in the state of a network that was never trained, and in the states turned in time?",
        body,
        "A state that tells no more than an untrained one holds what a random network that leaks makes of the statistics: a trace, "
        "not a belief that was learned. Plain averages of them can hold more than either. The rivals are strong on purpose: statistics and averages get the trend of the other seeds "
        "taken off, which the state never had; the untrained network saw the statistics of a model without a state, and its target is "
        "the filter's posterior from those: so the difference to it is taken with the state read for that target, too. The state's "
        "axes differ between seeds and move as it learns, which costs a reading that is fitted on earlier steps; it costs "
        "the untrained network nothing. In a run that uses its state, entropy and confidence bear the state's own belief, and "
        "the filter takes that echo for evidence.",
        findings,
    )


def doubt(tables: Tables) -> Section:
    """AUC of one batch's loss, and whether the faint world is as faint as it was meant to be."""
    found = tables.rows("batch_auc")
    rows = []
    for condition in dict.fromkeys(found["condition"]):
        for regime in dict.fromkeys(found[found["condition"] == condition]["regime"]):
            areas = per_seed(found[(found["condition"] == condition) & (found["regime"] == regime)], "auc")
            rows.append([f"`{condition}`, {regime}", interval(estimate(areas), sign=False), str(len(areas))])
    claim = f"In the faint world one batch leaves real doubt: AUC between {DOUBT[0]} and {DOUBT[1]}."
    one = estimate(per_seed(tables.rows("batch_auc", condition="faint_vanilla", regime=REGIME), "auc"))
    inside = one.low > DOUBT[0] and one.high < DOUBT[1]
    verdict = ABSENT if not one.n else OPEN if one.n < FEWEST_SEEDS else CLEAR if inside else NOT_CLEAR
    said = f"`faint_vanilla`: {interval(one, sign=False)}, n = {one.n}." if one.n else "It was not measured."
    return Section(
        "Is there anything to be in doubt about?",
        "How well does the loss of a single batch tell the regime from calm?",
        [table(["condition, regime", "AUC of one batch's loss", "n"], rows) if rows else MISSING],
        "Share of pairs, of a step in calm and one under the regime at most 25 steps apart, in which the regime's loss is the "
        "higher. Near 1, whoever saw the last batch knows, and a belief over time has nothing to add: there, that a state tells "
        "the regime shows that it listens, not that it infers. Near ½, the loss alone tells nothing.",
        [Finding(claim, verdict, said)],
    )


def others(tables: Tables) -> Section:
    """The true regime and the posterior read from the states of all other conditions."""
    rows = []
    for condition in dict.fromkeys(tables.rows("beliefs")["condition"]):
        found = [
            read(tables, condition, "state", target, column)
            for target, column in (("posterior", "r2"), ("regime", "auc"))
        ]
        if any(len(one) for one in found):
            cells = [interval(estimate(one), sign=False) for one in found]
            rows.append([f"`{condition}`", *cells, str(max(len(one) for one in found))])
    pairs = [
        ("calibrated_recurring", "raw_recurring", "recurring"),
        ("calibrated_mix", "raw_mix", "mix"),
    ]
    parts = [
        (
            world,
            paired(
                read(tables, one, "state", "posterior", "r2"), read(tables, other, "state", "posterior", "r2")
            ),
        )
        for one, other, world in pairs
    ]
    return Section(
        "Which states know?",
        "The same reading of the states of every condition in a recurring world.",
        [table(["condition", "R² of the posterior", "AUC, true regime", "n"], rows) if rows else MISSING],
        "A `yoked` or `shuffled` state gets statistics of the same kind that say nothing of its own regime, `clock` none: what "
        "is read from them is the error of the method. The posterior is that of the run's own newest statistics, also where "
        "the state is shown older ones. `oracle` is told the regime of the very step.",
        [difference("A calibrated state tells more of the posterior than one of the raw mechanism, in R².", parts, +1, "", 3)],
    )  # fmt: skip


def regimes(tables: Tables, figures: str) -> Section:
    """The mix, regime by regime."""
    found = tables.rows("beliefs", condition="calibrated_mix", target="regime")
    rows = []
    for regime in dict.fromkeys(found["regime"]):
        cells = []
        for source in SOURCES:
            areas = per_seed(found[(found["regime"] == regime) & (found["source"] == source)], "auc")
            cells.append(number(float(areas.mean()), 2) if len(areas) else "–")
        count = found[found["regime"] == regime]["seed"].nunique()
        rows.append([str(regime), *cells, str(count)])
    body = [table(["AUC of the true regime", *SOURCES.values(), "n"], rows) if rows else MISSING]
    if rows:
        body.append(f"States of one run in two components: [mix]({figures}/beliefs/mix-components.png).")
    return Section(
        "Which of five regimes can be told?",
        "In the mix of five regimes, `calibrated_mix`: each regime against all else, mean over seeds.",
        body,
        "A tested stretch holds few stays in each regime, so single numbers are uncertain; a seed in which a regime never acted "
        "counts in neither. `self_clamp` changes no statistic: only a state that stands still could betray it, and not linearly. "
        "The linear reading of one regime against all others asks more than that two states differ.",
    )


def shift(tables: Tables, condition: str, state: str, column: str = "kl") -> "pd.Series[float]":
    """A measure under one kind of state by seed, means over draws; of regimes, bewilderment's."""
    rows = tables.rows("belief_shifts", condition=condition, state=state)
    return per_seed(rows[rows["regime"] == REGIME] if state == "regime" else rows, column)


def put_in(tables: Tables, figures: str) -> Section:
    """KL to the optimum of bewilderment and losses under states that are put in, weights frozen."""
    pushed, losses = [], []
    known = [
        name
        for name in dict.fromkeys(tables.rows("belief_shifts")["condition"])
        if len(shift(tables, name, "regime"))
    ]
    for condition in known:
        kl = {state: shift(tables, condition, state) for state in STATES}
        share = (1 - kl["regime"] / kl["calm"].where(kl["calm"] > 0)).dropna()
        cells = [interval(estimate(one), sign=False) for one in (kl["calm"], kl["regime"], share)]
        cells += [number(estimate(kl[state]).mean) for state in ("random", "mirrored", "foreign", "zero")]
        pushed.append([f"`{condition}`", *cells, str(len(kl["regime"]))])
        measured = [
            estimate(shift(tables, condition, state, column)).mean
            for column in ("nll_clean", "nll_corrupted")
            for state in ("calm", "regime", "optimum")
        ]
        losses.append([f"`{condition}`", *(number(value) for value in measured), str(len(kl["regime"]))])
    body = [MISSING]
    if pushed:
        head = ["KL(optimum ‖ prediction), nats", *(STATES[state] for state in ("calm", "regime")), "share of the way",
                *(STATES[state] for state in ("random", "mirrored", "foreign", "zero")), "n"]  # fmt: skip
        of_losses = [
            f"{kind}, {STATES[state]}"
            for kind in ("clean", "corrupted")
            for state in ("calm", "regime", "optimum")
        ]
        body = [
            table(head, pushed),
            "Means over seeds, on held-out batches. Share of the way: 1 − KL after / KL before. Random: mean of its draws.",
            table(["NLL, nats", *of_losses, "n"], losses),
            "The loss on corrupted targets is its exact mean over the corruption. "
            f"Every seed: [intervention]({figures}/beliefs/intervention.png).",
        ]
    findings = []
    for condition, world in WORLDS.items():
        after = shift(tables, condition, "regime")
        parts = [
            (f"minus {STATES[state]}", paired(after, shift(tables, condition, state)))
            for state in ("calm", "random", "mirrored", "foreign")
        ]
        claim = f"{IN_WORLD[world]} the mean state of bewilderment, put in, moves predictions towards its optimum, and further than random, mirrored and foreign states."
        findings.append(difference(claim, parts, -1, " nats", 4))
    return Section(
        "Does a belief, put in by hand, move predictions to that regime's optimum?",
        "With weights frozen, the state is set to the mean of the run's own states in a regime. The best prediction where targets "
        "are uniform draws with probability p is (1 − p) times the calm prediction plus p over the vocabulary.",
        body,
        "The calm prediction is the one under the mean state of calm, so the KL in its column is all there is to gain. A mean over "
        "a regime takes in the first steps after its onset, when nothing was known yet: the state at its surest may go further. "
        "Moving towards uniform is the easiest way to be moved: random states as far, the mirrored and the foreign one say "
        "whether any push would do. In the faint world p is small, and so is all that can be gained.",
        findings,
    )
