"""Floors: in a world where all that can be known of the regime is known exactly, what does a run capture of its worth?

Weights are frozen and each run lives on, its loop closed (probes/closed_loop.py). captured: of the gain that an ideal observer
has over the best prediction that ignores the regime, the share that the run's own loss shows (probes/floors.py).
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.kit import pages, style
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment
from experiments.kit.marks import curve, level
from experiments.kit.runs import Context
from experiments.kit.stats import Estimate, estimate
from experiments.kit.style import Look
from experiments.kit.tables import NothingToDraw, Tables
from experiments.kit.words import Finding, difference

ARMS = {
    "oracle": Look("true regime", style.BLACK, "dotted", "*"),
    "told": Look("ideal observer's belief", style.GREY, "dashdot", "D"),
    "steady": Look("self-state, slow moments", style.PURPLE, "solid", "P"),
    "steady_direct": Look("last batch only, slow moments", style.PURPLE, "dashed", "X", filled=False),
    "state": Look("self-state", style.BLUE, "solid", "o"),
    "memory": Look("self-state with a memory", style.SKY, "solid", "s"),
    "gru": Look("recurrent network (GRU)", style.GREEN, "dashed", "^"),
    "one": Look("self-state of one number", style.BLUE, "dotted", "v", filled=False),
    "direct": Look("last batch only", style.ORANGE, "dashed", "s"),
    "hand-coded": Look("hand-coded: last losses to a temperature", style.YELLOW, "dashdot", "p"),
    "learned_bias": Look("learned constant bias", style.VERMILLION, "dotted", "<", filled=False),
    "fixed_bias": Look("fixed random bias", style.VERMILLION, "dashed", ">", filled=False),
    "clock": Look("clock", style.GREY, "dotted", "h", filled=False),
    "shuffled": Look("its signals in random order", style.GREY, "dashed", "d", filled=False),
    "yoked": Look("another run's signals", style.VERMILLION, "solid", "x"),
    "vanilla": Look("no state", style.LIGHT, "solid", "o"),
}
BLIND = ("yoked", "shuffled", "clock", "learned_bias", "fixed_bias", "vanilla")
TOKENS = {"all": 384, "64": 64, "16": 16, "4": 4, "1": 1}
SEEN = {
    "carried on": Look("self-state", style.BLUE, "solid", "o"),
    "last batch": Look("last batch only", style.ORANGE, "dashed", "s"),
}
MOVES = {
    "belief": Look("state set to the belief", style.BLUE, "solid", "o"),
    "random": Look("a random direction, as far", style.GREY, "dashed", "D", filled=False),
    "scrambled": Look("through a scrambled reader", style.VERMILLION, "dotted", "^"),
}
WORLDS = {
    "own": "its own",
    "stronger": "corruption 0.8",
    "faster": "switching at 0.1",
    "masked": "masking instead",
}
SHOWN, SHOWN_SEED = "state", 1  # the run whose first steps are drawn
SAME = 0.003  # nats: what the model ends above the source's entropy where nothing is ever corrupted


def floors_captured(context: Context) -> pd.DataFrame:
    """One row a run and life, and one for the hand-coded rival of the runs without a state, as condition `hand-coded`.

    life: own, or the world it was tested in. loss, blind, filter, oracle: nats a token, exact. captured: (blind - loss) /
    (blind - filter); NaN where there is nothing to capture. beyond_blind: loss - blind, loss - oracle as beyond_oracle.
    """
    rows = context.probed("floors", "floors")
    if rows.empty:
        return rows
    rows = rows[rows["part"] == "all"].drop(columns=["part", "run_step"]).reset_index(drop=True)
    hand = rows["life"] == "hand-coded"
    rows = rows[~hand | (rows["condition"] == "vanilla")].copy()
    rows.loc[rows["life"] == "hand-coded", ["condition", "life"]] = ["hand-coded", "own"]
    return rows.assign(beyond_blind=rows["loss"] - rows["blind"], beyond_oracle=rows["loss"] - rows["oracle"])


def floors_held(context: Context) -> pd.DataFrame:
    """One row a run and regime: r2, of the ideal observer's belief told from the state, linearly, on another life than it
    was fitted on; lag, of the belief five steps earlier; cosine, between the two regimes' directions in the state."""
    return context.probed("floors", "held").drop(columns="run_step", errors="ignore")


def floors_cause(context: Context) -> pd.DataFrame:
    """One row a run, move and belief b that the state is set to, means over random draws: implied, the belief whose mixture
    the predictions are closest to; kl, of the mixture under b from the predictions, in nats; distance, of the state moved."""
    rows = context.probed("floors", "cause")
    if rows.empty:
        return rows
    return rows.groupby(["suite", "condition", "seed", "move", "belief"], sort=False, as_index=False)[
        ["implied", "kl", "distance"]
    ].mean()


def floors_slope(context: Context, floors_cause: pd.DataFrame) -> pd.DataFrame:
    """One row a run and move: slope, of the implied belief over the one that was set (1: predictions follow exactly);
    kl, mean over the beliefs that were set."""
    parts = []
    for place, rows in floors_cause.groupby(["suite", "condition", "seed", "move"], sort=False):
        slope = float(np.polyfit(rows["belief"], rows["implied"], 1)[0])
        parts.append([*place, slope, rows["kl"].mean()])
    return pd.DataFrame(parts, columns=["suite", "condition", "seed", "move", "slope", "kl"])


def floors_path(context: Context) -> pd.DataFrame:
    """One row a step of the first steps of one run's life: acts, filter_belief, decoded belief, loss and the three floors."""
    rows = context.probed("floors", "path")
    if rows.empty:
        return rows
    return rows[(rows["condition"] == SHOWN) & (rows["seed"] == SHOWN_SEED)].drop(columns="run_step")


def own(tables: Tables) -> pd.DataFrame:
    """The rows of the runs' own lives."""
    return tables.rows("floors_captured", life="own")


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page says, and the figures' titles."""
    at = tables.by_condition("floors_captured", ARMS, life="own")
    slopes = tables.by_condition("floors_slope", move="belief")
    random = tables.by_condition("floors_slope", move="random")
    scrambled = tables.by_condition("floors_slope", move="scrambled")

    def more(claim: str, one: str, *others: str) -> Finding:
        return difference(claim, at.against(one, others, "captured"), +1, "of the known gain")

    def slope(name: str, of: object) -> dict[str, Estimate]:
        return {name: of.value("state", "slope")}  # type: ignore[attr-defined]

    return {
        "captures": difference(
            "A self-state captures most of what an ideal observer gains.", at.values(["state"], "captured"), +1, "of the known gain", pairs=False
        ),
        "blind": more("States and biases that sense nothing of their own run capture less.", "state", *BLIND),
        "carried": more("Carrying a state on captures more than reading the last batch.", "state", "direct"),
        "few": difference(
            "With senses of 4 tokens carrying a state on captures more than reading the last batch.",
            at.against("sees_4", ("direct_4",), "captured"), +1, "of the known gain",
        ),
        "steady": more("What held it back were the moments that standardise its senses: slow ones capture more.", "steady", "state"),
        "hand": more("The self-state captures more than a hand-coded rule on the last losses.", "state", "hand-coded"),
        "masking": difference(
            "Where tokens are masked, which the input shows, a state does not predict better than none.",
            at.against("masked", ("masked_vanilla",), "beyond_oracle"), +1, "nats", 4,
        ),
        "follows": difference(
            "Set the state to a belief, and predictions follow: slope of the implied belief.", slope("state set to the belief", slopes), +1, "", pairs=False
        ),
        "alone": difference(
            "Random directions and a scrambled reader do not move predictions so.",
            {"random": minus(slopes, random), "scrambled": minus(slopes, scrambled)}, +1,
        ),
    }  # fmt: skip


def minus(one: object, other: object) -> Estimate:
    """The slope of one move minus that of another, by seed, in the condition `state`."""
    mine, theirs = (of.of("state", "slope") for of in (one, other))  # type: ignore[attr-defined]
    return estimate((mine - theirs).dropna())


def seen(tables: Tables) -> pd.DataFrame:
    """captured by how many tokens the senses see, of states that are carried on and of the last batch."""
    rows, parts = own(tables), []
    for condition, group in rows.groupby("condition"):
        kind, _, tokens = str(condition).partition("_")
        kind = {"state": "carried on", "sees": "carried on", "direct": "last batch"}.get(kind, "")
        if kind and (tokens or "all") in TOKENS and condition not in ("steady_direct",):
            parts.append(group.assign(kind=kind, tokens=TOKENS[tokens or "all"]))
    return pd.concat(parts) if parts else pd.DataFrame()


def _arms(axes: Axes, tables: Tables) -> None:
    draw.points(
        "floors_captured", "captured", "Share of the known gain that is captured", "share (0: blind, 1: ideal observer)",
        where={"life": "own"}, upright=False,
    ).draw(axes, tables, ARMS)  # fmt: skip
    level(axes, 1.0, upright=False, ls=":")


def _senses(axes: Axes, tables: Tables) -> None:
    rows = seen(tables)
    if rows.empty:
        raise NothingToDraw("floors_captured: no senses of few tokens")
    for kind, look in SEEN.items():
        wide = rows[rows["kind"] == kind].pivot_table(index="tokens", columns="seed", values="captured")
        curve(axes, wide, look, faint=0.4, bands=True)
    axes.set_xscale("log", base=4)
    axes.set_xticks(sorted(TOKENS.values()), [str(value) for value in sorted(TOKENS.values())])
    axes.minorticks_off()
    level(axes)
    axes.set(
        title="The fewer tokens it senses, the more a memory is worth",
        xlabel="tokens sensed a batch",
        ylabel="captured",
    )


def _path(axes: Axes, tables: Tables) -> None:
    rows = tables.rows("floors_path")
    if not len(rows):
        raise NothingToDraw("floors_path: no life of the first seed")
    steps = rows["step"]
    axes.fill_between(
        steps, 0, 1, where=rows["acts"] == 1, color=style.LIGHT, lw=0, step="mid", label="targets corrupted"
    )
    axes.plot(steps, rows["filter_belief"], c=style.BLACK, lw=0.9, label="ideal observer's belief")
    axes.plot(steps, rows["decoded"], c=style.BLUE, lw=1.2, label="belief read from the state")
    axes.set(title="One life with the weights frozen: what acts, what could be known, what the state holds",
             xlabel="steps", ylabel="probability", ylim=(-0.15, 1.15))  # fmt: skip
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, -0.62))


CAPTURED = draw.sheet(
    "floors.png", [_arms, _senses], grid=(1, 2), height=4.2, looks=ARMS, title=("captures", "carried"),
    tables=("floors_captured",), marks="none",
    shows="What each arm captures of the exactly known gain of sensing, and how that hangs on how much it senses.",
    caption="Weights frozen; each run lives on for 1000 steps under a fresh schedule. 0: the best prediction that ignores the "
    "regime. 1: an ideal observer who sees every past batch. One point a seed, mean and 95 % t interval.",
)  # fmt: skip
CAUSE = draw.sheet(
    "floors-cause.png",
    [
        draw.lines("floors_cause", "implied", "Belief that the predictions imply", "implied belief", along="belief",
                   by="move", where={"condition": "state"}, dots="belief"),
        draw.lines("floors_cause", "kl", "Distance from the mixture under that belief", "KL (nats)", along="belief",
                   by="move", where={"condition": "state"}),
    ],
    grid=(1, 2), height=3.2, looks=MOVES, title=("follows", "alone"), x="belief that the state is set to",
    shows="The state is set to a belief by hand: predictions against the mixture that is best under it.",
    caption="Weights frozen, clean batches ({seeds}). Black dots: predictions that follow exactly. The map from belief to state is "
    "fitted on another life. Random directions and the scrambled reader move the state as far.",
)  # fmt: skip
PATH = draw.sheet(
    "floors-life.png", [_path], height=2.6, title=("captures",), tables=("floors_path",),
    shows="A stretch of one life: true regime, ideal observer's belief, belief read from the state.",
    caption="Seed 1, the first 300 steps of a fresh life. The reading is linear and fitted on another life.",
)  # fmt: skip
GRIDS = {
    "arms": pages.grid(
        "floors_captured", ARMS, only=True, where={"life": "own"},
        captured=("captured", "3"), loss=("loss, nats", "4"), blind=("blind", "4"), filter=("ideal observer", "4"),
        oracle=("truth", "4"),
    ),
    "held": pages.grid("floors_held", ARMS, where={"regime": "bewilderment"}, r2=("R² of the belief", "3"), lag=("of 5 steps ago", "3")),
    "cause": pages.grid("floors_slope", ARMS, where={"move": "belief"}, slope=("slope", "3"), kl=("KL, nats", "4")),
    "few": pages.grid(
        "floors_captured", {name: Look(name, style.BLUE) for name in (*(f"sees_{n}" for n in (64, 16, 4, 1)), *(f"direct_{n}" for n in (64, 16, 4, 1)))},
        only=True, where={"life": "own"}, captured=("captured", "3"),
    ),
    "sources": pages.grid(
        "floors_captured", {name: Look(name, style.BLUE) for name in ("state", "second", "hidden", "both")}, only=True, where={"life": "own"},
        captured=("captured", "3"), beyond_oracle=("loss − truth's, nats", "4"),
    ),
    "masking": pages.grid(
        "floors_captured", {name: Look(name, style.BLUE) for name in ("masked", "masked_vanilla")}, only=True, where={"life": "own"},
        beyond_oracle=("loss − truth's, nats", "4"),
    ),
    **{
        f"world_{name}": pages.grid(
            "floors_captured", {arm: ARMS[arm] for arm in ("state", "steady", "direct")}, only=True, where={"life": name},
            captured=("captured", "3"), beyond_blind=("loss − blind, nats", "±4"),
        )
        for name in WORLDS
    },
}  # fmt: skip
EXPERIMENT = Experiment(
    "floors", "What sensing can earn, known exactly",
    (floors_captured, floors_held, floors_cause, floors_slope, floors_path), findings, (CAPTURED, CAUSE, PATH), GRIDS,
)  # fmt: skip
