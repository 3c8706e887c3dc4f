"""Does a belief, put in by hand, move predictions to what is best in its regime? Weights frozen, see probes/belief.py.

The tables of every suite that has such tests; figure and findings of the recurring worlds, told on the page of `beliefs`.
"""

from collections.abc import Iterator
from functools import partial

import pandas as pd

from experiments.kit import pages, style
from experiments.kit import panels as draw
from experiments.kit.experiment import EVERY, Experiment
from experiments.kit.runs import Context
from experiments.kit.stats import paired, per_seed
from experiments.kit.style import Look
from experiments.kit.tables import Tables
from experiments.kit.words import Finding, difference

BEWILDERED = "bewilderment"
STATES = {
    "calm": Look("mean state in calm", style.GREY, filled=False),
    "regime": Look("mean state under corruption", style.BLUE),
    "mirrored": Look("mirrored", style.PURPLE, marker="v"),
    "random": Look("random, as far", style.GREY, marker="P", filled=False),
    "foreign": Look("partner seed's mean", style.ORANGE, marker="D", filled=False),
    "zero": Look("zero", style.BLACK, marker="x"),
}
BEFORE, AFTER = "calm", "regime"
PANELS = {
    "calibrated_recurring": "recurring, calibrated",
    "faint": "faint, calibrated",
    "calibrated_mix": "mix, calibrated",
    "raw_recurring": "recurring, raw mechanism",
    "yoked": "recurring, another run's signals",
    "oracle": "recurring, true regime",
}
WORLDS = {
    "recurring": "In the recurring world",
    "faint": "In the faint world",
    "mix": "In the mix of five regimes",
}
ASKED = dict(zip(WORLDS, PANELS, strict=False))  # by world the condition whose state is asked


def belief_shifts(context: Context) -> pd.DataFrame:
    """A row a finished test and state that was set.

    state, regime, draw: what is set; distance: L2 from the calm mean; norm. kl: from the optimum of bewilderment to the
    prediction, kl_calm: from the prediction under the calm mean, nats a token. entropy; nll_clean, nll_corrupted: of targets
    as they are, and as the regime has them.
    """
    return context.probed("belief", "belief")


def shift(tables: Tables, condition: str, state: str, column: str = "kl") -> "pd.Series[float]":
    """A measure under one kind of state by seed, means over draws; of regimes, bewilderment's."""
    rows = tables.rows("belief_shifts", condition=condition, state=state)
    return per_seed(rows[(rows["regime"] == BEWILDERED) | (state != AFTER)], column)


def findings(tables: Tables) -> dict[str, Finding]:
    """World by world, whether a belief that is put in moves predictions as it should."""
    found = {}
    for world, condition in ASKED.items():
        after, rivals = shift(tables, condition, AFTER), (BEFORE, "random", "mirrored", "foreign")
        parts = {STATES[name].label: paired(after, shift(tables, condition, name)) for name in rivals}
        found[f"{world}_moves"] = difference(
            f"{WORLDS[world]} predictions follow a belief that is put in by hand.", parts, -1,
            "nats from the best prediction, mean state under corruption minus that", 4, nearest=True,
            otherwise=f"{WORLDS[world]} predictions do not clearly follow a belief that is put in by hand.",
        )  # fmt: skip
    return found


def moved(tables: Tables) -> Iterator[str]:
    """The conditions in which bewilderment acted, in the order of the table."""
    conditions = dict.fromkeys(tables.rows("belief_shifts")["condition"])
    return (name for name in conditions if len(shift(tables, name, AFTER)))


def pushed(tables: Tables) -> str:
    """A line a condition: KL to the optimum under states that are put in."""
    lines, others = [], ("random", "mirrored", "foreign", "zero")
    for name in moved(tables):
        kl = {state: shift(tables, name, state) for state in STATES}
        share = (1 - kl[AFTER] / kl[BEFORE].where(kl[BEFORE] > 0)).dropna()
        lines.append([f"`{name}`", kl[BEFORE], kl[AFTER], share, *(kl[state] for state in others)])
    columns = [*((STATES[state].label, "3") for state in (BEFORE, AFTER)), ("share of the way", "3")]
    columns += [(STATES[state].label, "~3") for state in others]
    return pages.of_seeds("KL(optimum ‖ prediction), nats", columns, lines)


def losses(tables: Tables) -> str:
    """A line a condition: losses on clean and corrupted targets."""
    asked = {BEFORE: STATES[BEFORE].label, AFTER: STATES[AFTER].label, "optimum": "the optimum itself"}
    places = [(kind, state) for kind in ("clean", "corrupted") for state in asked]
    lines = (
        [f"`{name}`", *(shift(tables, name, state, f"nll_{kind}") for kind, state in places)]
        for name in moved(tables)
    )
    return pages.of_seeds("NLL, nats", [(f"{kind}, {asked[state]}", "~3") for kind, state in places], lines)


def panel(condition: str, title: str) -> draw.Panel:
    """KL to the optimum under states that are put in, those before and after joined by seed."""
    return draw.strip(
        ["belief_shifts"], STATES, lambda tables, state: shift(tables, condition, state), title,
        "KL(optimum ‖ prediction), nats", partial(style.log_axis, across=True), joined=(BEFORE, AFTER),
    )  # fmt: skip


FIGURE = draw.sheet(
    "beliefs/intervention.png", [panel(*one) for one in PANELS.items()], grid=(2, 3), height=5.6, share_x="all", share_y="all",
    title=("recurring_moves", "mix_moves"),
    shows="Weights frozen, the mean state under corruption put in: how far predictions are from the best ones before and after, beside "
    "random, mirrored and foreign states.",
    caption="{seeds}, mean and 95 % interval. Weights frozen, held-out batches. Best prediction where targets are uniform draws with "
    "probability p: (1 − p) times the one in calm plus p over the vocabulary; p differs between panels. Mirrored: as far from the calm mean, "
    "the other way.",
)  # fmt: skip
EXPERIMENT = Experiment(
    "belief_shifts",
    "Beliefs put in by hand",
    (belief_shifts,),
    findings,
    (FIGURE,),
    suites=("recurring", EVERY),
)
