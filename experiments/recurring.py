"""What a self-state pays: losses on calm and on perturbed steps against no state, in each world and beside each control."""

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from experiments.kit import pages, style, words
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment
from experiments.kit.marks import level
from experiments.kit.pairs import BY_KIND, KINDS, LOOKS, NATS, ORACLE, STATE, WORLDS, losses, paired_logs
from experiments.kit.runs import Context
from experiments.kit.stats import Estimate
from experiments.kit.style import Look
from experiments.kit.tables import ByCondition, Tables
from experiments.shares import contrast, of_summary, recurring_summary

MECHANISMS = {
    "calibrated": Look("calibrated mechanism", style.BLUE),
    "raw": Look("raw mechanism", style.ORANGE, marker="s", filled=False),
    "published": Look("published mechanism", style.GREEN, marker="^", filled=False),
}
STATES = (
    *(f"calibrated_{world}" for world in WORLDS), "as_published", "faint", *(f"raw_{world}" for world in WORLDS), "published_recurring",
)  # fmt: skip
RIVALS = {  # what the self-state is compared with, as a sentence says it
    "vanilla_recurring": "no state",
    "learned_bias": "a learned constant bias",
    "fixed_bias": "a fixed random bias",
    "shuffled": "its own signals in random order",
    "yoked": "another run's signals",
    "clock": "the clock alone",
    "state_1d": "a state of one number",
    "direct": "a model that senses the last batch alone and keeps nothing",
}
BLIND = tuple(RIVALS)[1:6]  # sense nothing of their own run's present


def recurring_losses(context: Context) -> pd.DataFrame:
    """One row a run: what `kit.pairs.losses` says."""
    return losses(paired_logs(context))


def findings(tables: Tables) -> dict[str, words.Finding]:
    """What each mechanism gains, what gains as much without sensing or without a state, and where else it pays."""
    at = tables.by_condition("recurring_losses")

    def plain(name: str) -> dict[str, Estimate]:
        return {kind: at.value(name, column) for column, kind in KINDS.items()}

    def apart(one: str, other: str) -> dict[str, Estimate]:
        return {kind: at.minus(one, other, column) for column, kind in KINDS.items()}

    def beyond(one: str, others: Mapping[str, str]) -> dict[str, Estimate]:
        """On each kind of steps, the difference from the strongest of some others."""
        told: dict[str, Estimate] = {}
        for column, kind in KINDS.items():
            parts = {f"{kind}, {said}": at.minus(one, name, column) for name, said in others.items()}
            told |= words.least(parts, -1)
        return told

    def lower(
        claim: str, parts: dict[str, Estimate], otherwise: str, minus: str = "no state's", reverse: str = ""
    ) -> words.Finding:
        return words.difference(
            claim, parts, -1, f"nats, its loss minus {minus}", otherwise=otherwise, reverse=reverse
        )

    where = {"quantity": "interaction", "condition": "calibrated - raw", "world": "recurring"}
    heldout, large = (
        at.value(STATE, "heldout_loss_difference"),
        ("large_bias", "large_fixed_bias", "large_yoked"),
    )
    return {
        "pays": lower(
            "In the recurring world the self-state lowers the training loss.", plain(STATE),
            "In the recurring world the self-state does not clearly lower the training loss on both kinds of steps.",
            reverse="In the recurring world the self-state raises the training loss.",
        ),
        "raw": lower(
            "With the raw mechanism, too, a state lowers the loss in the recurring world.", plain("raw_recurring"),
            "With the raw mechanism a state does not clearly lower the loss in the recurring world on both kinds of steps.",
        ),
        "published": lower(
            "With the published mechanism, too, a state lowers the loss in the recurring world.", plain("published_recurring"),
            "With the published mechanism a state does not clearly lower the loss in the recurring world on both kinds of steps.",
        ),
        "depends": lower(
            "Calibrating the senses pays more in the recurring world than where each regime comes once.",
            {kind: contrast(tables, column, **where) for column, kind in KINDS.items()},
            "Calibrating the senses does not pay clearly more in the recurring world than where each regime comes once.",
            "the raw mechanism's, there minus where each comes once",
        ),
        **{f"beside_{kind.split()[0]}": beside(at, column) for column, kind in KINDS.items()},
        "blind": lower(
            f"The self-state gains more than any of {len(BLIND)} controls that cannot sense their own run.",
            beyond(STATE, {name: RIVALS[name] for name in BLIND}),
            f"The self-state does not gain clearly more than each of {len(BLIND)} controls that cannot sense their own run.",
            "that of the closest of them",
        ),
        "half": half(tables),
        "heldout": placed(
            "On held-out text, over a whole run, the self-state is",
            {"no state": heldout, "a fixed random bias": at.minus(STATE, "fixed_bias", "heldout_loss_difference")},
        ),
        "heldout_calm": lower(
            "At calm moments the self-state predicts held-out text better than no state.",
            {"held-out text": at.value(STATE, "heldout_loss_calm_difference")},
            "At calm moments the self-state does not predict held-out text clearly better than no state.",
        ),
        "heldout_acting": lower(
            "While training targets are corrupted, too, the self-state predicts clean held-out text better than no state.",
            {"held-out text": at.value(STATE, "heldout_loss_acting_difference")},
            "While training targets are corrupted the self-state does not predict clean held-out text clearly better.",
            reverse="While training targets are corrupted the self-state predicts clean held-out text worse than no state.",
        ),
        "faint": lower(
            "In the faint world the self-state lowers the loss.", plain("faint"),
            "In the faint world the self-state does not clearly lower the loss on both kinds of steps.",
        ),
        "faint_oracle": lower(
            "Shown the true regime, a model has a lower loss there.", plain("faint_oracle"),
            "Even shown the true regime, a model does not have a clearly lower loss there on both kinds of steps.",
        ),
        "faint_carried": lower(
            "Carrying a state on gains more there than reading the last batch only.", apart("faint", "faint_direct"),
            "Carrying a state on does not gain clearly more there than reading the last batch only.", "the last batch's",
        ),
        "large": lower(
            "At the published size the self-state lowers the loss, too.", plain("large"),
            "At the published size the self-state does not clearly lower the loss on both kinds of steps.",
        ),
        "large_beyond": lower(
            "At that size it gains more than two constant biases and than another run's signals.",
            beyond("large", dict(zip(large, ("a learned constant bias", "a fixed random bias", "another run's signals"), strict=True))),
            "At that size it does not gain clearly more than two constant biases and another run's signals.", "that",
        ),
        "large_carried": lower(
            "Carrying a state on gains more at that size than reading the last batch only.", apart("large", "large_direct"),
            "Carrying a state on does not gain clearly more at that size than reading the last batch only.", "the last batch's",
        ),
        "large_heldout": lower(
            "Over a whole run it predicts held-out text better at that size than no state and than a fixed random bias.",
            {"no state": at.value("large", "heldout_loss_difference"), "a fixed random bias": at.minus("large", "large_fixed_bias", "heldout_loss_difference")},
            "Over a whole run it does not predict held-out text clearly better at that size than both no state and a fixed random bias.", "that",
        ),
    }  # fmt: skip


def beside(at: ByCondition, column: str) -> words.Finding:
    """Whether the self-state has the lowest loss; where not, the rivals that do about as well are named."""
    parts = {name: at.value(STATE, column) if name.startswith("vanilla") else at.minus(STATE, name, column) for name in RIVALS}  # fmt: skip
    alike = {name: value for name, value in parts.items() if words.side(value, -1) == words.NOT_CLEAR}
    told = {
        LOOKS[name].label if name in LOOKS else RIVALS[name]: value
        for name, value in (alike or words.least(parts, -1)).items()
    }
    gain = "gain" if len(alike) > 1 else "gains"
    better = " or more" * any(words.side(value, +1) == words.CLEAR for value in alike.values())
    rivals = words.listed([RIVALS[name] for name in alike])
    return words.difference(
        f"On {KINDS[column]} the self-state has a lower loss than every rival.",
        told, -1, "nats, the self-state's loss minus that",
        otherwise=f"{rivals[:1].upper()}{rivals[1:]} {gain} about as much{better} on {KINDS[column]}.",
    )  # fmt: skip


def placed(said: str, parts: Mapping[str, Estimate]) -> words.Finding:
    """Whether the self-state's loss is lower than each of some rivals'; where not, what it is beside each."""
    places: dict[str, list[str]] = {}
    for name, value in parts.items():
        place = (
            "better"
            if words.side(value, -1) == words.CLEAR
            else "worse"
            if words.side(value, +1) == words.CLEAR
            else "not clearly better"
        )
        places.setdefault(place, []).append(name)
    found = words.listed([f"{place} than {words.listed(names)}" for place, names in places.items()])
    told = words.difference(
        f"{said} better than {words.listed([*parts])}.",
        parts,
        -1,
        "nats, its loss minus that",
        otherwise=f"{said} {found}.",
    )
    return replace(told, evidence=told.evidence.removesuffix(words.other_way(parts, -1)))


def half(tables: Tables) -> words.Finding:
    """Whether the share of the gain of a model that is shown the true regime lies above one half."""
    claim = "The self-state gets more than half of what a model gains that is shown the true regime."
    otherwise = "It does not clearly get more than half of what a model gains that is shown the true regime."
    shares = {kind: contrast(tables, column, quantity="share", condition=STATE) for column, kind in KINDS.items()}  # fmt: skip
    shares = {kind: share for kind, share in shares.items() if share.n}
    if not shares:
        return words.Finding(
            claim, words.ABSENT, "It needs two seeds of both, and a clear gain with the true regime."
        )
    verdict = words.worst(words.settled(share.n, share.low > 0.5) for share in shares.values())
    said = "; ".join(f"{kind} {words.interval(share, 2, sign=False)}" for kind, share in shares.items())
    return words.Finding(
        claim, verdict, f"Share: {said}, n = {min(one.n for one in shares.values())}.", otherwise
    )


def controls(column: str, labelled: bool) -> draw.Panel:
    """A row a control in the recurring world, with its share of what the true regime gains beside it; dotted: that gain."""
    points = draw.points(
        "recurring_losses", column, f"{KINDS[column]}: controls", NATS, upright=False, labelled=labelled
    )

    def panel(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        names = points.draw(axes, tables, LOOKS)
        at = tables.by_condition("recurring_losses")
        level(axes, at.value(ORACLE, column).mean, upright=False, ls=(0, (1, 1.2)), lw=1)
        if not labelled:
            axes.set_yticks(range(len(names)), [])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.text(
            1.02, -0.6, "share of true\nregime's gain", transform=axes.get_yaxis_transform(), fontsize=7
        )
        for place, name in enumerate(names):
            said = pages.shown(contrast(tables, column, quantity="share", condition=name), "2")
            axes.text(1.02, place, said, transform=axes.get_yaxis_transform(), va="center", fontsize=7)
        return names

    return draw.Panel(("recurring_losses", "recurring_summary"), panel)


WORLD_BY_WORLD = draw.sheet(
    "recurring/what-it-pays.png",
    [
        draw.points(
            "recurring_losses", column, kind, NATS, by="mechanism", across="world", order=WORLDS, where={"role": "state"}
        )
        for column, kind in KINDS.items()
    ],
    grid=(1, 2), looks=MECHANISMS, marks="points", title=("pays", "depends"), share_y=True,
    shows="What each mechanism gains against no state in each world, on calm and on perturbed steps.",
    caption="One point a seed ({seeds}), mean and 95 % interval; same batches and regimes with and without a state. Worlds: each of "
    "five regimes once, at set (windows; as_published: to the letter) or random times; targets corrupted, on and off (recurring; "
    "faint: few of them; large: the published size); five regimes, on and off (mix).",
)  # fmt: skip
BESIDE_CONTROLS = draw.sheet(
    "recurring/controls.png", [controls(column, labelled=not place) for place, column in enumerate(KINDS)],
    grid=(1, 2), title=("blind", "beside_calm"), share_x="all",
    shows="Every control of the recurring world beside the self-state, with its share of what the true regime gains.",
    caption="The recurring world; one point a seed ({seeds}), mean and 95 % interval. Dotted line: mean with the true regime; right: "
    "share of that gain, with its interval.",
)  # fmt: skip


GRIDS = {
    "worlds": pages.grid(
        "recurring_losses", STATES, only=True, world=("world", lambda rows, tables: rows["world"].iloc[0]),
        mechanism=("mechanism", lambda rows, tables: rows["mechanism"].iloc[0]), **BY_KIND,
    ),
    "controls": pages.grid(
        "recurring_losses", LOOKS, only=True,
        **{
            name: measure
            for column in KINDS
            for name, measure in {
                column: BY_KIND[column],
                f"{column}_control": ("self-state's loss − this", of_summary("control", column)),
                f"{column}_share": ("share of the true regime's gain", of_summary("share", column)),
                f"{column}_beyond": ("share beyond blind", of_summary("share_beyond", column)),
            }.items()
        },
    ),
    "heldout": pages.grid(
        "recurring_losses", tuple(dict.fromkeys((*LOOKS, *STATES, "faint_oracle"))), only=True,
        heldout_loss_difference=("held-out loss, all moments", "±4"),
        heldout_loss_calm_difference=("at calm moments", "±4"),
        heldout_loss_acting_difference=("while a regime acts", "±4"),
        heldout_ece_calm_difference=("calibration error at calm moments", "±4"),
        heldout_ece_acting_difference=("while a regime acts", "±4"),
    ),
    "faint": pages.grid("recurring_losses", ("faint", "faint_direct", "faint_oracle"), only=True, **BY_KIND),
    "large": pages.grid(
        "recurring_losses",
        ("large_oracle", ORACLE, "large_direct", "direct", "large", STATE, "large_yoked", "yoked", "large_bias", "learned_bias",
         "large_fixed_bias", "fixed_bias"),
        only=True, **BY_KIND, heldout_loss_difference=("held-out loss − no state's", "±4"),
    ),
}  # fmt: skip
EXPERIMENT = Experiment(
    "recurring", "What a self-state pays: worlds, mechanisms and controls", (recurring_losses, recurring_summary), findings,
    (WORLD_BY_WORLD, BESIDE_CONTROLS), GRIDS, values=lambda tables: {"looks": LOOKS},
)  # fmt: skip
