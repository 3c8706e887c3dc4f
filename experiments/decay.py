"""How fast should a state forget? The published sweep of the decay: what regimes do to state and loss at each, on average."""

import pandas as pd

from experiments.kit import pages, style
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment
from experiments.kit.runs import Context
from experiments.kit.style import Look
from experiments.kit.tables import RUN, Tables
from experiments.kit.words import Finding, difference, within

LOOKS = {
    "decay_0_05": Look("5 % new a step", style.SKY, marker="o"),
    "decay_0_2": Look("20 % new (published)", style.BLUE, marker="s"),
    "decay_0_5": Look("50 % new", style.GREEN, marker="^"),
    "decay_0_8": Look("80 % new", style.VERMILLION, marker="D"),
}
SHARES = {look.label.split(" new")[0]: look for look in LOOKS.values()}
SIZES = {"state_ema_drift": "drift", "prompt_effect": "effect"}
SAME = 0.02  # nats, the smallest difference of interest of most registered claims
MEANS = {"loss": "loss", "entropy_last": "entropy", "top1_last": "top1"}


def decay_summary(context: Context, regime_deltas: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """One row a run, averaged over the regimes, of their changes (during minus before).

    drift, effect: means of the absolute changes of state_ema_drift and prompt_effect, as the published summary takes them.
    loss, entropy, top1: means of the changes with their sign, of the loss and of the last positions. heldout_loss: at the
    last step, nats a token. new: share of the new proposal in each update, as a text.
    """
    rows = regime_deltas[regime_deltas["metric"].isin([*SIZES, *MEANS])].copy()
    rows["size"] = rows["delta"].abs().where(rows["metric"].isin([*SIZES]), rows["delta"])
    wide = rows.pivot_table(index=[*RUN], columns="metric", values="size", sort=False)
    wide = wide.rename(columns=SIZES | MEANS).rename_axis(columns=None).reset_index()
    shares = {name: f"{100 * run.self_state.decay:g} %" for name, run in context.suite.conditions.items()}
    made = wide.merge(runs[[*RUN, "heldout_loss"]], on=[*RUN], how="left")
    return made.assign(new=made["condition"].map(shares))


def findings(tables: Tables) -> dict[str, Finding]:
    """Whether regimes move a state that forgets fast otherwise than one that forgets slowly, and whether either pays."""
    at = tables.by_condition("decay_summary", LOOKS)

    def moved(regime: str, words: str, sign: int) -> Finding:
        rows = tables.by_condition("regime_deltas", regime=regime, metric="state_ema_drift")
        less, further = "less far", "further"
        named, turned = (further, less) if sign > 0 else (less, further)
        said = f"{words} a state that takes 80 % of each proposal moves {{}} from its average than one that takes 5 %."
        return difference(
            said.format(named), {"80 % minus 5 % new": rows.minus("decay_0_8", "decay_0_05", "delta")}, sign, "1 − cosine",
            otherwise=said.replace("moves {}", "does not move clearly {}").format(named), reverse=said.format(turned),
        )  # fmt: skip

    return {
        "corrupted": moved("bewilderment", "While half of the targets are replaced,", -1),
        "clamped": moved("self_clamp", "Under the clamp", +1),
        "pays": within(
            f"Whether a state takes 5 % or 80 % of what its update network proposes, the model ends with the same held-out loss, within {SAME} nats.",
            at.minus("decay_0_8", "decay_0_05", "heldout_loss"), SAME, "80 % minus 5 % new, nats, paired by seed",
            "How much of each proposal a state takes may matter for the held-out loss.",
        ),
    }  # fmt: skip


FIGURE = draw.sheet(
    "decay.png",
    [
        draw.points("decay_summary", "drift", "change of distance from the average", "mean |Δ| (1 − cosine)", by="new"),
        draw.points("decay_summary", "effect", "change of the state's effect", "mean |Δ| (mean |Δ logit|)", by="new"),
        draw.points("decay_summary", "loss", "change of training loss", "mean Δ (nats)", by="new", zero=False),
        draw.points("decay_summary", "heldout_loss", "held-out loss after the last step", "nats", by="new", zero=False),
    ],
    grid=(2, 2), height=4.6, looks=SHARES, title=("pays",), marks="points",
    shows="How far regimes move state and loss, on average, at four rates of forgetting.",
    caption="Across: share of the new proposal in each update; one point a seed ({seeds}), mean and 95 % interval. Changes: during minus "
    "before, means over the five regimes.",
)  # fmt: skip
EXPERIMENT = Experiment(
    "decay", "How fast should a state forget?", (decay_summary,), findings, (FIGURE,),
    {
        "summary": pages.grid(
            "decay_summary", LOOKS, head="share of the new proposal", drift=("mean |Δ distance from the average|", "4"),
            effect=("mean |Δ effect|", "3"), loss=("mean Δ loss", "±3"), entropy=("mean Δ entropy", "±3"), top1=("mean Δ top-1", "±3"),
            heldout_loss=("held-out loss", "4"),
        )
    },
)  # fmt: skip
