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
from experiments.kit.marks import curve, handles, level
from experiments.kit.runs import Context
from experiments.kit.stats import Estimate, estimate, paired
from experiments.kit.style import Look
from experiments.kit.tables import ByCondition, NothingToDraw, Tables
from experiments.kit.words import Finding, difference, plural, within

HAND = "hand-coded"
ARMS = {
    "oracle": Look("true regime", style.BLACK, "dotted", "*"),
    "told": Look("ideal observer's belief", style.GREY, "dashdot", "D"),
    "steady_all": Look("steadied self-state", style.PURPLE, "dotted", "o"),
    "steady": Look("self-state, slow moments", style.PURPLE, "solid", "P"),
    "steady_direct": Look("last batch only, slow moments", style.PURPLE, "dashed", "X", filled=False),
    "state": Look("self-state", style.BLUE, "solid", "o"),
    "memory": Look("self-state with a memory", style.SKY, "solid", "s"),
    "gru": Look("recurrent network (GRU)", style.GREEN, "dashed", "^"),
    "one": Look("self-state of one number", style.BLUE, "dotted", "v", filled=False),
    "direct": Look("last batch only", style.ORANGE, "dashed", "s"),
    HAND: Look("rule by hand", style.YELLOW, "dashdot", "p"),
    "learned_bias": Look("learned constant bias", style.VERMILLION, "dotted", "<", filled=False),
    "fixed_bias": Look("fixed random bias", style.VERMILLION, "dashed", ">", filled=False),
    "clock": Look("clock", style.GREY, "dotted", "h", filled=False),
    "shuffled": Look("its signals in random order", style.GREY, "dashed", "d", filled=False),
    "yoked": Look("another run's signals", style.VERMILLION, "solid", "x"),
    "vanilla": Look("no state", style.LIGHT, "solid", "o"),
}
BLIND = ("yoked", "shuffled", "clock", "learned_bias", "fixed_bias", "vanilla")
SENSING = {name: look for name, look in ARMS.items() if name not in (*BLIND, HAND)}
TOKENS = {"all": 384, "64": 64, "16": 16, "4": 4, "1": 1}
SEEN = {
    "sees": Look("self-state", style.BLUE, "solid", "o"),
    "direct": Look("last batch only", style.ORANGE, "dashed", "s"),
}
SENSES = {
    f"{kind}_{name}": Look(f"{look.label}, {plural(tokens, 'token')}", style.BLUE)
    for kind, look in SEEN.items()
    for name, tokens in TOKENS.items()
}
HELD_BACK = {
    "state": ARMS["state"],
    "sees_all": Look("self-state, gradient unfelt", style.BLUE, marker="D"),
    **{name: ARMS[name] for name in ("steady", "steady_all", "steady_direct", "told")},
}
OTHERS = {
    "state": Look("a chain in which one token decides the next", style.BLUE),
    "second": Look("two tokens decide the next", style.BLUE),
    "hidden": Look("hidden states", style.BLUE),
    "both": Look("corruption and masking", style.BLUE),
}
MASKED = {
    "masked": Look("self-state", style.BLUE),
    "masked_vanilla": Look("no state", style.LIGHT),
}
MOVES = {
    "belief": Look("state set to the belief", style.BLUE, "solid", "o"),
    "random": Look("a random direction, as far", style.GREY, "dashed", "D", filled=False),
    "scrambled": Look("through a scrambled reader", style.VERMILLION, "dotted", "^"),
}
FLOORS = {
    "blind": Look("blind", style.GREY, "dotted"),
    "filter": Look("ideal observer", style.BLACK),
    "oracle": Look("true regime", style.GREEN, "dashed"),
    "loss": Look("the model", style.BLUE),
}
LONG = 10  # steps: after a switch the loss lies above the observer's for one or two
APART = 0.3  # cosine: directions that are closer to a right angle than this are called apart
HALF = 0.5  # the belief between the ends
STEADIED = "Where its senses are standardised slowly and leave out the gradient's norm, a *steadied* state"
CLOSE = 0.05  # of the known gain: a twentieth
SHOWN, SHOWN_SEED = "state", 1  # the run whose first steps are drawn


def floors_captured(context: Context) -> pd.DataFrame:
    """One row a run and life.

    life: own, the world it was tested in, or `hand-coded`: the own life of a run without a state, its last losses turned into a
    temperature by hand. loss, blind, filter, oracle: nats a token, exact. captured: (blind - loss) /
    (blind - filter); NaN where there is nothing to capture. beyond_blind: loss - blind, loss - oracle as beyond_oracle.
    lost: steps, the longest stretch on which the loss lies more than 0.1 nats above the ideal observer's.
    """
    rows = context.probed("floors", "floors")
    if rows.empty:
        return rows
    rows = rows[rows["part"] == "all"].drop(columns=["part", "run_step"]).reset_index(drop=True)
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
    at = tables.by_condition("floors_captured", {**ARMS, **HELD_BACK}, life="own")
    slopes = tables.by_condition("floors_slope", move="belief")
    half = tables.by_condition("floors_cause", move="belief", belief=HALF)
    random = tables.by_condition("floors_slope", move="random")
    scrambled = tables.by_condition("floors_slope", move="scrambled")

    def more(claim: str, otherwise: str, one: str, *others: str) -> Finding:
        parts = at.against(one, others, "captured")
        return difference(claim, parts, +1, "of the known gain", otherwise=otherwise, nearest=True)

    def than_by_hand(claim: str, otherwise: str, arm: str) -> Finding:
        parts = {f"{at.named(arm)} minus the rule": paired(at.of(arm, "captured"), captured(tables, HAND))}
        return difference(claim, parts, +1, "of the known gain", otherwise=otherwise)

    return {
        "captures": difference(
            "A self-state captures a part of what an ideal observer gains by knowing the regime.", at.values(["state"], "captured"), +1,
            "of the known gain", pairs=False, otherwise="A self-state captures nothing clear of what an ideal observer gains.",
        ),
        "blind": more(
            "States and biases that sense nothing of their own run capture less.",
            "Not all that senses nothing of its own run captures clearly less.", "state", *BLIND,
        ),
        "carried": more(
            "Carrying a state on captures more than reading the last batch only.",
            "Reading the last batch only captures about as much as carrying a state on.", "state", "direct",
        ),
        "few": difference(
            "Where only 4 tokens of a batch are sensed, carrying a state on captures more than reading the last batch only.",
            at.against("sees_4", ("direct_4",), "captured"), +1, "of the known gain",
            otherwise="Even where only 4 tokens of a batch are sensed, carrying a state on captures no clearly larger part.",
        ),
        "steady": more(
            "Where the moments that standardise its senses move ten times slower, it captures more.",
            "Moments that move ten times slower do not clearly help.", "steady", "state",
        ),
        "unfelt": more(
            "Where the gradient's norm is left out of its senses as well, slow moments do help.",
            "Slow moments do not clearly help where the gradient's norm is left out of its senses, either.", "steady_all", "sees_all",
        ),
        "ceiling": within(
            f"{STEADIED} captures as much as one that is told the ideal observer's belief.",
            at.minus("steady_all", "told", "captured"), CLOSE, "of the known gain, minus the told one",
            f"{STEADIED} is not shown to capture just as much as one that is told the ideal observer's belief.",
        ),
        "built": than_by_hand(
            "So built, it captures more than the rule by hand.",
            "So built, it captures about as much as the rule by hand, or less.", "steady_all",
        ),
        "hand": than_by_hand(
            "A self-state captures more than a rule by hand that turns the last losses into a temperature.",
            "A rule by hand that turns the last losses into a temperature captures about as much, or more.", "state",
        ),
        "masking": difference(
            "Where tokens are masked, which the input shows, a state makes predictions worse.",
            at.against("masked", ("masked_vanilla",), "beyond_oracle"), +1, "nats", 4,
            otherwise="Where tokens are masked, which the input shows, a state does not clearly change the loss.",
        ),
        "apart": within(
            "Two regimes are held along directions of the state that stand nearly at right angles.",
            estimate(tables.by_condition("floors_held", regime="bewilderment").of("both", "cosine").dropna()), APART,
            "cosine between the directions in which the state moves with the belief in each",
            "Two regimes are not clearly held along directions of the state at right angles.",
        ),
        "follows": difference(
            "Set the state to a belief by hand, and predictions follow it.", {"slope": slopes.value("state", "slope")}, +1,
            "(1: to the letter)", pairs=False, otherwise="Predictions do not clearly follow a belief that the state is set to.",
        ),
        "alone": difference(
            "Moves as long in random directions, or through a scrambled reader, do not do that.",
            {"random": minus(slopes, random), "scrambled": minus(slopes, scrambled)}, +1, "less slope",
            otherwise="Moves as long in random directions, or through a scrambled reader, do about the same.",
        ),
        "between": difference(
            "At the ends, that is; set to one half, predictions still imply less.",
            {"implied − set": estimate(half.of("state", "implied").dropna() - HALF)}, -1, "of belief", pairs=False,
            otherwise="Set to one half, they do not clearly imply less.",
        ),
    }  # fmt: skip


def minus(one: ByCondition, other: ByCondition) -> Estimate:
    """The slope of one move minus that of another, by seed, in the condition `state`."""
    return paired(*(of.of("state", "slope") for of in (one, other)))


def seen(tables: Tables) -> pd.DataFrame:
    """captured by how many tokens the senses see, of states that are carried on and of the last batch."""
    rows = own(tables)
    rows = rows[rows["condition"].isin(list(SENSES))]
    of = rows["condition"].str.split("_", expand=True)
    return rows.assign(kind=of[0], tokens=of[1].map(TOKENS)) if len(rows) else rows


def captured(tables: Tables, arm: str) -> "pd.Series[float]":
    """What an arm captures, by seed."""
    life, condition = (HAND, "vanilla") if arm == HAND else ("own", arm)
    return tables.by_condition("floors_captured", life=life).of(condition, "captured")


def longest(rows: pd.DataFrame, tables: Tables) -> str:
    """The longest that any of some runs was lost, and how many of them were for ten steps or more."""
    lost = rows["lost"]
    return f"{lost.max():.0f}; ten or more in {(lost >= LONG).sum()} of {len(lost)}"


def ends(axes: Axes) -> None:
    level(axes, upright=False)
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
        title="By how much is sensed",
        xlabel="tokens sensed a batch",
        ylabel="captured",
    )
    axes.legend(*handles(SEEN.values(), "line"))


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
    axes.set(ylabel="probability", ylim=(-0.15, 1.15))
    axes.legend(ncols=3, loc="lower right", bbox_to_anchor=(1.0, 1.0))


def _costs(axes: Axes, tables: Tables) -> None:
    rows = tables.rows("floors_path")
    for name, look in FLOORS.items():
        axes.plot(rows["step"], rows[name], c=look.colour, ls=look.line, lw=0.9, label=look.label)
    axes.set(xlabel="steps, weights frozen", ylabel="loss (nats a token)")
    axes.legend(ncols=4, loc="lower right", bbox_to_anchor=(1.0, 1.0))


CAPTURED = draw.sheet(
    "floors.png",
    [
        draw.strip(
            ("floors_captured",), ARMS, captured, "Share of the known gain that is captured",
            "0: blind, 1: ideal observer", ends,
        ),
        _senses,
    ],
    grid="aab", height=4.4, title=("captures", "carried"),
    tables=("floors_captured",), marks="none",
    shows="What each arm captures of the exactly known gain of sensing, and how that hangs on how much it senses.",
    caption="Weights frozen; each run lives on for 1000 steps under a fresh schedule. 0: the best prediction that ignores the "
    "regime. 1: an ideal observer who sees every past batch. One point a seed, mean and 95 % t interval.",
)  # fmt: skip
CAUSE = draw.sheet(
    "floors-cause.png",
    [
        draw.lines("floors_cause", "implied", "Belief that the predictions imply", "implied belief", along="belief",
                   by="move", where={"condition": "state"}, predicted="belief"),
        draw.lines("floors_cause", "kl", "Distance from the mixture under that belief", "KL (nats)", along="belief",
                   by="move", where={"condition": "state"}),
    ],
    grid=(1, 2), height=3.2, looks=MOVES, marks="line", title=("follows", "between"), x="belief that the state is set to",
    shows="The state is set to a belief by hand: predictions against the mixture that is best under it.",
    caption="Weights frozen, clean batches ({seeds}). Thin black line: predictions that follow exactly. The map from belief to state is "
    "fitted on another life. Random directions and the scrambled reader move the state as far.",
)  # fmt: skip
PATH = draw.sheet(
    "floors-life.png", [_path, _costs], grid=(2, 1), height=4.4, title=("captures",), tables=("floors_path",), share_x=True,
    shows="A stretch of one life: true regime, ideal observer's belief, belief read from the state, and the loss beside its floors.",
    caption="Seed 1, the first 300 steps of a fresh life. The reading is linear and fitted on another life. Losses are exact.",
)  # fmt: skip
GRIDS = {
    "floors": pages.grid(
        "floors_captured", ["state"], head="self-state's world", only=True, where={"life": "own"},
        blind=("blind, nats", "4"), filter=("ideal observer", "4"), oracle=("truth", "4"),
    ),
    "arms": pages.grid(
        "floors_captured", ARMS, only=True, where={"life": "own"},
        captured=("captured", "3"), beyond_blind=("loss − blind, nats", "±4"),
    ),
    "hand": pages.grid("floors_captured", ["vanilla"], where={"life": HAND}, captured=("captured", "3"), beyond_blind=("loss − blind, nats", "±4")),
    "holds": pages.grid(
        "floors_captured", HELD_BACK, only=True, where={"life": "own"}, captured=("captured", "3"), lost=("lost, steps", longest),
    ),
    "held": pages.grid("floors_held", SENSING, only=True, where={"regime": "bewilderment"}, r2=("R² of the belief", "3"), lag=("of 5 steps ago", "3")),
    "cause": pages.grid("floors_slope", SENSING, only=True, where={"move": "belief"}, slope=("slope", "3"), kl=("KL, nats", "4")),
    "few": pages.grid("floors_captured", SENSES, only=True, where={"life": "own"}, captured=("captured", "3")),
    "sources": pages.grid(
        "floors_captured", OTHERS, only=True, where={"life": "own"}, captured=("captured", "3"), beyond_oracle=("loss − truth's, nats", "4"),
    ),
    "masking": pages.grid("floors_captured", MASKED, only=True, where={"life": "own"}, beyond_oracle=("loss − truth's, nats", "4")),
    **{
        f"world_{name}": pages.grid(
            "floors_captured", {arm: ARMS[arm] for arm in ("state", "steady", "direct")}, only=True, where={"life": name},
            captured=("captured", "3"), beyond_blind=("loss − blind, nats", "±4"),
        )
        for name in ("stronger", "faster", "masked")
    },
}  # fmt: skip
EXPERIMENT = Experiment(
    "floors", "What sensing can earn, known exactly",
    (floors_captured, floors_held, floors_cause, floors_slope, floors_path), findings, (CAPTURED, CAUSE, PATH), GRIDS,
    suites=("floors", "channels_self"),
)  # fmt: skip
