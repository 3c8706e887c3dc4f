"""What a self-state pays: losses on calm and on perturbed steps against no state, in each world and beside each control."""

from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from experiments.kit import pages, style
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.marks import level
from experiments.kit.pairs import BY_KIND, KINDS, LOOKS, NATS, ORACLE, STATE, WORLDS, losses, paired_logs
from experiments.kit.runs import Context
from experiments.kit.stats import Estimate
from experiments.kit.style import Look
from experiments.kit.tables import ByCondition, Tables
from experiments.kit.words import ABSENT, CLEAR, NOT_CLEAR, OPEN, Finding, difference, interval, listed, side
from experiments.shares import contrast, recurring_summary

MECHANISMS = {
    "calibrated": Look("calibrated mechanism", style.BLUE),
    "raw": Look("raw mechanism", style.ORANGE, marker="s", filled=False),
}
STATES = (*(f"calibrated_{world}" for world in WORLDS), "faint", *(f"raw_{world}" for world in WORLDS))
ENOUGH = {  # what it means where a control gains as much
    "learned_bias": "a learned constant is enough",
    "fixed_bias": "a random constant of that norm is enough",
    "shuffled": "statistics in random order are enough: their values do it, not their time",
    "yoked": "another run's statistics are enough: nothing of its own is sensed",
    "clock": "knowing the time is enough",
    "state_1d": "one dimension is enough",
    "direct": "reading the last batch's statistics is enough: nothing has to be carried on from step to step",
}
IN_WORLD = {
    "recurring": "In the recurring world",
    "mix": "In the mix of five regimes",
    "windows": "Where each regime comes once, at set times,",
    "random": "Where each regime comes once, at random times,",
}
BLIND = tuple(ENOUGH)[:5]  # sense nothing of their own run's present


def recurring_losses(context: Context) -> pd.DataFrame:
    """One row a run: what `kit.pairs.losses` says."""
    return losses(paired_logs(context))


def findings(tables: Tables) -> dict[str, Finding]:
    """What each mechanism gains in each world, what explains it, and where else it pays."""
    at = tables.by_condition("recurring_losses")

    def plain(name: str, vanilla: str = "vanilla") -> dict[str, Estimate]:
        return {f"{kind}, `{name}` − {vanilla}": at.value(name, column) for column, kind in KINDS.items()}

    def apart(one: str, *others: str) -> dict[str, Estimate]:
        kinds = [(name, *kind) for name in others for kind in KINDS.items()]
        return {f"{kind}, `{one}` − `{name}`": at.minus(one, name, column) for name, column, kind in kinds}

    def depends() -> dict[str, Estimate]:
        where = {"quantity": "interaction", "condition": "calibrated - raw", "world": "recurring"}
        name = "(`calibrated` − `raw`) in recurring − in windows"
        return {f"{kind}, {name}": contrast(tables, column, **where) for column, kind in KINDS.items()}

    def heldout(measure: str, *others: str) -> dict[str, Estimate]:
        column = f"heldout_{measure}_difference"
        return {f"`{STATE}` − vanilla": at.value(STATE, column), **at.against(STATE, others, column)}

    def lower(claim: str, parts: dict[str, Estimate], unit: str = "nats") -> Finding:
        return difference(claim, parts, -1, unit, 4)

    return {
        **{f"unexplained_{kind}": unexplained(at, column) for column, kind in KINDS.items()},
        **{f"half_{kind}": half(tables, column) for column, kind in KINDS.items()},
        **{
            f"pays_{kind}": lower(
                f"In the recurring world the calibrated state lowers the loss on {kind}.",
                {f"{kind}, `{STATE}` − vanilla": at.value(STATE, column)},
            )
            for column, kind in KINDS.items()
        },
        **{
            name: lower(f"{where} {who} lowers the loss, on calm and on perturbed steps.", plain(name))
            for mechanism, who in (("calibrated", "the calibrated state"), ("raw", "the raw mechanism"))
            for world, where in IN_WORLD.items()
            if (name := f"{mechanism}_{world}") != STATE
        },
        "depends": lower(
            "What the calibrated mechanism gains over the raw one depends on the world: more in the recurring world than in "
            "windows.", depends(),
        ),
        **{
            f"senses_{kind}": lower(
                f"On {kind} the self-state has a lower loss than every bias and every state that senses nothing of its own run's "
                "present.", at.against(STATE, BLIND, column),
            )
            for column, kind in KINDS.items()
        },
        "carried": lower(
            "A state that is carried on gains more than a direct reading of the last statistics, on calm and on perturbed steps.",
            apart(STATE, "direct"),
        ),
        "wide": lower(
            "A state of 32 dimensions gains more than one of a single dimension, on calm and on perturbed steps.",
            apart(STATE, "state_1d"),
        ),
        "heldout": lower(
            "Over all moments, disturbed or not, the self-state predicts held-out text better than none and than a fixed random bias.",
            heldout("loss", "fixed_bias"),
        ),
        "heldout_calm": lower("At calm moments the self-state predicts held-out text better.", heldout("loss_calm")),
        "heldout_acting": lower(
            "While targets are corrupted, too, the self-state predicts clean held-out text better.", heldout("loss_acting")
        ),
        "ece_calm": lower("At calm moments the self-state is better calibrated on held-out text.", heldout("ece_calm"), ""),
        "ece_acting": lower(
            "While targets are corrupted, too, the self-state is better calibrated on clean held-out text.", heldout("ece_acting"), ""
        ),
        "faint": lower(
            "In the faint world the self-state lowers the loss, on calm and on perturbed steps.", plain("faint", "`faint_vanilla`")
        ),
        "faint_oracle": lower(
            "In the faint world the model that is shown the true regime has the lower loss, on calm and on perturbed steps.",
            plain("faint_oracle", "`faint_vanilla`"),
        ),
        "faint_carried": lower(
            "In the faint world carrying the state on gains more than reading the last batch.", apart("faint", "faint_direct")
        ),
        "large": lower(
            "At the published size the self-state lowers the loss, on calm and on perturbed steps.", plain("large", "`large_vanilla`")
        ),
        "large_beyond": lower(
            "At the published size it gains more than a learned constant, a fixed random one and a yoked state.",
            apart("large", "large_bias", "large_fixed_bias", "large_yoked"),
        ),
    }  # fmt: skip


def unexplained(at: ByCondition, column: str) -> Finding:
    """Whether no control gains as much as the self-state, or not clearly less; those that do are named with what it means."""
    claim = f"No control explains the self-state's gain on {KINDS[column]}."
    mine = at.value(STATE, column)
    tested = {name: value for name in ENOUGH if (value := at.minus(STATE, name, column)).n}
    if not mine.n or not tested:
        return Finding(claim, ABSENT, "It needs the self-state and controls in the recurring world.")
    n = min(mine.n, *(value.n for value in tested.values()))
    if n < FEWEST_SEEDS:
        return Finding(claim, OPEN, f"n = {n}: too few seeds to test.")
    if side(mine, -1) != CLEAR:
        none = f"There is no clear gain to explain: `{STATE}` − vanilla {interval(mine, 4)} nats, n = {n}."
        return Finding(claim, NOT_CLEAR, none)
    alike = {name: value for name, value in tested.items() if side(value, -1) != CLEAR}
    if not alike:
        named = listed([f"`{name}`" for name in tested])
        return Finding(claim, CLEAR, f"{named} all gain clearly less, n = {n}.")
    beyond = {name: f"self-state − it {interval(value, 4)}" for name, value in alike.items()}
    named = listed([f"`{name}` ({ENOUGH[name]}; {beyond[name]})" for name in alike])
    gain = "gain" if len(alike) > 1 else "gains"
    return Finding(claim, NOT_CLEAR, f"{named} {gain} as much, or not clearly less, in nats, n = {n}.")


def half(tables: Tables, column: str) -> Finding:
    """Whether the share of the oracle's gain lies above one half."""
    claim = f"The self-state gets more than half of the oracle's gain on {KINDS[column]}."
    share = contrast(tables, column, quantity="share", condition=STATE)
    if not share.n:
        needs = "It needs two seeds in which both were measured, and a clear gain of the oracle."
        return Finding(claim, ABSENT, needs)
    verdict = OPEN if share.n < FEWEST_SEEDS else CLEAR if share.low > 0.5 else NOT_CLEAR
    said = f"Share {interval(share, 2, sign=False)}, ratio of means with Fieller's interval, n = {share.n}."
    return Finding(claim, verdict, said)


def controls(column: str, labelled: bool) -> draw.Panel:
    """A row a control in the recurring world, with its share of the oracle's gain beside it; dotted: the oracle's."""
    points = draw.points("recurring_losses", column, f"{KINDS[column]}: controls", NATS, upright=False)

    def panel(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        names = points.draw(axes, tables, LOOKS)
        at = tables.by_condition("recurring_losses")
        level(axes, at.value(ORACLE, column).mean, upright=False, ls=(0, (1, 1.2)), lw=1)
        axes.set_yticks(range(len(names)), [LOOKS[name].label for name in names] if labelled else [])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.text(1.02, -0.6, "share of the\noracle's gain", transform=axes.get_yaxis_transform(), fontsize=7)
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
    grid=(1, 2), looks=MECHANISMS, marks="points", title=("pays_calm steps", "depends"),
    shows="What each mechanism gains against no state in each world, on calm and on perturbed steps.",
    caption="Every point a seed ({seeds}); bars: mean and, from three seeds on, 95 % t interval. Loss minus that of the model without "
    "a state, on the same training batches under the same regimes, over the last three quarters of the run. Worlds: windows: each of "
    "five regimes once, at set times; random: each once, at random times; recurring: targets corrupted, on and off; mix: five "
    "regimes, on and off; faint: weak corruption, on and off; large: recurring, with the model of the published size.",
)  # fmt: skip
BESIDE_CONTROLS = draw.sheet(
    "recurring/controls.png", [controls(column, labelled=not place) for place, column in enumerate(KINDS)],
    grid=(1, 2), title=("unexplained_calm steps", "unexplained_perturbed steps"),
    shows="Every control of the recurring world beside the self-state, with its share of the oracle's gain.",
    caption="All in the recurring world. Every point a seed ({seeds}); bars: mean and, from three seeds on, 95 % t interval. Loss minus "
    "that of the model without a state, same batches. Dotted line: the mean of the oracle, which is shown the true regime; right: share "
    "of its gain, ratio of means with Fieller's 95 % interval.",
)  # fmt: skip


def of_summary(quantity: str, column: str) -> Callable[[pd.DataFrame, Tables], str]:
    """The cell with a condition's share of a gain on one of KINDS, or with the self-state minus that condition."""

    def cell(rows: pd.DataFrame, tables: Tables) -> str:
        name = str(rows["condition"].iloc[0])
        if quantity == "control":
            return pages.shown(contrast(tables, column, quantity=quantity, reference=name), "±4")
        return pages.shown(contrast(tables, column, quantity=quantity, condition=name), "2")

    return cell


GRIDS = {
    "worlds": pages.grid(
        "recurring_losses", STATES, only=True, world=("world", lambda rows, tables: rows["world"].iloc[0]),
        mechanism=("mechanism", lambda rows, tables: rows["mechanism"].iloc[0]), **BY_KIND,
    ),
    "controls": pages.grid(
        "recurring_losses", tuple(LOOKS), only=True,
        **{
            name: measure
            for column in KINDS
            for name, measure in {
                column: BY_KIND[column],
                f"{column}_control": ("self-state − this", of_summary("control", column)),
                f"{column}_share": ("share of the oracle's gain", of_summary("share", column)),
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
        ("large", STATE, "large_yoked", "yoked", "large_bias", "learned_bias", "large_fixed_bias", "fixed_bias"),
        only=True, **BY_KIND,
    ),
}  # fmt: skip
EXPERIMENT = Experiment(
    "recurring", "What a self-state pays: worlds, mechanisms and controls", (recurring_losses, recurring_summary), findings,
    (WORLD_BY_WORLD, BESIDE_CONTROLS), GRIDS,
)  # fmt: skip
