"""Deployed: trained in a world of recurring corruption, then put to use with the weights frozen, is it the better model?
And cooled down: where the last of its training goes on without the state, does the gain outlive it?"""

from dataclasses import replace

import pandas as pd

from experiments.kit import pages, style
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment
from experiments.kit.pairs import STATE, losses, paired_logs
from experiments.kit.runs import Context
from experiments.kit.stats import Estimate, estimate
from experiments.kit.style import Look
from experiments.kit.tables import Tables
from experiments.kit.words import Finding, difference

VANILLA, FIXED = "vanilla_recurring", "fixed_bias"
COOLED, COOLED_BIAS = "cooled", "cooled_bias"
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
REST = {  # what is asked of the last of a training
    "calm steps": "clean_loss",
    "corrupted steps": "perturbed_loss",
    "held-out text after the last step": "heldout_loss",
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


def cooled_losses(context: Context) -> pd.DataFrame:
    """One row a run of the conditions whose injection ends, and of those that they are without the end.

    from_step: where it ends. clean_loss, perturbed_loss: mean training-batch loss of the calm steps from there on, and of the
    corrupted ones, nats a token. heldout_loss: of clean held-out text after the last step. *_difference: minus no state's on
    the same steps; below zero is better.
    """
    ends = [run.inject_until for run in context.suite.conditions.values() if run.inject_until is not None]
    wanted = (COOLED, STATE, COOLED_BIAS, FIXED)
    asked = (
        [pair for pair in paired_logs(context, ending=True) if pair.run.condition in wanted] if ends else []
    )
    if not asked:
        return pd.DataFrame()
    losses_of = [f"{kind}_loss{end}" for end in ("", "_difference") for kind in ("clean", "perturbed")]
    place = ["suite", "condition", "seed"]
    since = losses([replace(pair, first=min(ends)) for pair in asked])[[*place, "from_step", *losses_of]]
    last = losses([replace(pair, first=pair.run.config.last - 1) for pair in asked])
    return since.merge(last[[*place, "heldout_loss", "heldout_loss_difference"]], on=place)


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

    cooled = tables.by_condition("cooled_losses")
    gone = {said: f"{column}_difference" for said, column in REST.items()}
    return {
        "outlives": difference(
            "Once the state is taken away, the model still has a lower loss than one trained without.",
            {said: cooled.value(COOLED, column) for said, column in gone.items()}, -1, "nats, its loss minus no state's", 4,
            otherwise="Once the state is taken away, the model does not have a clearly lower loss than one trained without in all three.",
        ),
        "outlives_bias": difference(
            "A model whose fixed random bias is taken away alike has kept less.",
            {said: cooled.minus(COOLED, COOLED_BIAS, column) for said, column in gone.items()}, -1, "nats, the loss after the state minus that after the bias", 4,
            otherwise="A model whose fixed random bias is taken away alike has not kept clearly less in all three.",
        ),
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
            "a fresh life", "loss minus the live state's (nats)",
        ),
        draw.strip(
            ("deployed_losses",), {"|".join(place): look for place, look in USED.items()},
            lambda tables, place: cell(tables, _place(place), "clean") - cell(tables, (VANILLA, "live"), "tempered"),
            "clean text", "loss minus no state's\nat its best temperature (nats)",
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
    "cooled": pages.grid(
        "cooled_losses", {COOLED: Look("state until then", style.BLUE), STATE: Look("state to the end", style.BLUE),
                          COOLED_BIAS: Look("fixed random bias until then", style.ORANGE), FIXED: Look("that bias to the end", style.ORANGE)},
        clean_loss_difference=("calm steps: loss − no state's", "±4"), perturbed_loss_difference=("corrupted steps: loss − no state's", "±4"),
        heldout_loss_difference=("held-out text after the last step: loss − no state's", "±4"),
    ),
}  # fmt: skip
EXPERIMENT = Experiment(
    "deployed", "Put to use: the state with the weights frozen, live and set to calm", (deployed_losses, cooled_losses), findings, (FIGURE,),
    GRIDS, suites=("recurring",),
)  # fmt: skip
