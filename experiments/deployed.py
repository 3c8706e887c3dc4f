"""Deployed: trained in a world of recurring corruption, then put to use with the weights frozen, is it the better model?"""

import pandas as pd

from experiments.kit import pages, style
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment
from experiments.kit.pairs import STATE
from experiments.kit.runs import Context
from experiments.kit.stats import Estimate, estimate
from experiments.kit.style import Look
from experiments.kit.tables import Tables
from experiments.kit.words import Finding, difference

VANILLA, FIXED = "vanilla_recurring", "fixed_bias"
WAYS = {
    "live": Look("live", style.BLUE, "solid", "o"),
    "elsewhere": Look("the course of another life", style.VERMILLION, "solid", "x"),
    "constant": Look("best constant", style.PURPLE, "dashed", "P"),
    "mean": Look("mean", style.GREY, "dashed", "D", filled=False),
    "calm": Look("mean of calm", style.GREEN, "dashdot", "^"),
    "corrupted": Look("mean of corrupted steps", style.ORANGE, "dotted", "s", filled=False),
}
USED = {
    (STATE, "calm"): Look("state set to calm", style.GREEN, "dashdot", "^"),
    (STATE, "constant"): Look("state set to its best constant", style.PURPLE, "dashed", "P"),
    ("direct", "calm"): Look("last batch only, set to calm", style.ORANGE, "dashed", "s"),
    (FIXED, "live"): Look("fixed random bias", style.VERMILLION, "dashed", ">", filled=False),
    ("learned_bias", "live"): Look("learned constant bias", style.VERMILLION, "dotted", "<", filled=False),
    (VANILLA, "live"): Look("no state", style.BLACK, "solid", "o"),
}
PARTS = {
    "all": "all",
    "calm": "calm_steps",
    "perturbed": "perturbed_steps",
    "clean": "clean",
    "clean, best temperature": "tempered",
}


def deployed_losses(context: Context) -> pd.DataFrame:
    """One row a run and way of setting the state; nats a token.

    all, calm_steps, perturbed_steps: means over a fresh life, on the targets as the regime left them. clean: on clean
    held-out text; tempered: the same at the best temperature.
    """
    rows = context.probed("deployed", "deployed")
    if rows.empty:
        return rows
    wide = rows.pivot_table(
        index=["suite", "condition", "seed", "way"], columns="part", values="loss", sort=False
    )
    return wide.rename(columns=PARTS).reset_index().rename_axis(columns=None)


def cell(tables: Tables, place: tuple[str, str], column: str) -> "pd.Series[float]":
    """The values of a condition under a way of setting its state, by seed."""
    condition, way = place
    return tables.by_condition("deployed_losses", way=way).of(condition, column)


def minus(
    tables: Tables, one: tuple[str, str], other: tuple[str, str], column: str, rival: str = ""
) -> Estimate:
    """The difference of two of these, paired by seed; rival: the other's column, where it is another."""
    return estimate((cell(tables, one, column) - cell(tables, other, rival or column)).dropna())


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page says, and the figure's title."""
    live, calm, plain = (STATE, "live"), (STATE, "calm"), (VANILLA, "live")

    def lower(claim: str, parts: dict[str, Estimate], otherwise: str) -> Finding:
        return difference(claim, parts, -1, "nats, its loss minus that", 4, otherwise=otherwise)

    return {
        "live": lower(
            "With the weights frozen, a live state predicts better than one that is set by hand.",
            {said: minus(tables, live, (STATE, way), "all") for way, said in (("constant", "best constant"), ("elsewhere", "the course of another life"))},
            "With the weights frozen, a live state does not predict clearly better than one that is set by hand.",
        ),
        "used": lower(
            "Put to use in calm, the model with a state predicts clean text better than one trained without.",
            {"no state": minus(tables, calm, plain, "clean")},
            "Put to use in calm, the model with a state does not predict clean text clearly better than one trained without.",
        ),
        "bias": lower(
            "It predicts clean text better than a model with a fixed random bias.",
            {"fixed random bias": minus(tables, calm, (FIXED, "live"), "clean")},
            "It does not predict clean text clearly better than a model with a fixed random bias.",
        ),
        "tempered": lower(
            "It predicts clean text better than no state at its best temperature.",
            {"no state, tempered": minus(tables, calm, plain, "clean", "tempered")},
            "It does not predict clean text clearly better than no state at its best temperature.",
        ),
    }  # fmt: skip


FIGURE = draw.sheet(
    "deployed.png",
    [
        draw.strip(
            ("deployed_losses",), WAYS, lambda tables, way: cell(tables, (STATE, way), "all") - cell(tables, (STATE, "live"), "all"),
            "a fresh life", "loss minus the live state's (nats)", lambda axes: axes.axvline(0, c="k", lw=0.6),
        ),
        draw.strip(
            ("deployed_losses",), {"|".join(place): look for place, look in USED.items()},
            lambda tables, place: cell(tables, _place(place), "clean") - cell(tables, (VANILLA, "live"), "tempered"),
            "clean text", "loss minus no state's\nat its best temperature (nats)", lambda axes: axes.axvline(0, c="k", lw=0.6),
        ),
    ],
    grid=(1, 2), height=3.0, title=("live", "used"), tables=("deployed_losses",),
    shows="Weights frozen: what the state is worth live, and what the model trained with it is worth in calm.",
    caption="Recurring world; one point a seed, mean and 95 % interval. Left: the same model and batches, its state live or set. "
    "Right: clean held-out text.",
)  # fmt: skip


def _place(text: str) -> tuple[str, str]:
    condition, _, way = text.partition("|")
    return condition, way


GRIDS = {
    "life": pages.grid(
        "deployed_losses", [STATE], only=True, across="way", order=list(WAYS),
        all=("all steps, nats", "4"), calm_steps=("calm steps", "4"), perturbed_steps=("corrupted steps", "4"),
    ),
    "clean": pages.grid(
        "deployed_losses", [STATE, "direct", FIXED, "learned_bias", VANILLA], across="way", order=list(WAYS),
        clean=("clean text, nats", "4"), tempered=("at the best temperature", "4"),
    ),
}  # fmt: skip
EXPERIMENT = Experiment(
    "deployed", "Put to use: the state with the weights frozen, live and set to calm", (deployed_losses,), findings, (FIGURE,),
    GRIDS, suites=("recurring",),
)  # fmt: skip
