"""Channels: is a state that gates let into every layer a control axis, what does it cost, and who wins where the text disagrees?

What was asked of the finished models is told in probes/channels.py. A reply is right if all its tokens are the likeliest ones.
"""

import numpy as np
import pandas as pd

from experiments.channels_figure import ARMS, CHANNELS, FIGURES, SELF, WINNERS
from experiments.channels_tables import CAPABILITIES, HELDOUT, NONE, RIVALS, SELF_SUITE, STATE_ALONE, TABLES
from experiments.kit import pages
from experiments.kit.experiment import Experiment
from experiments.kit.levels import ALPHA
from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.tables import Tables
from experiments.kit.words import (
    AGAIN,
    MISSING,
    OPEN,
    WORKS,
    Finding,
    difference,
    interval,
    near,
    reach,
    side,
    signed,
    table,
    worst,
)

MOVED = ("valence", "arousal", "hour", "day", "risk")
OVERRIDDEN, DECIDED = 264 / 265, 0.888  # the numbers of the document on state channels
AS_MUCH = 0.9  # of its number, by the whole interval, is what comes back
APART = 0.05  # of the replies: what one channel may cost the others
FAR = 32  # fillers between what is told and the question: the prompt has left the window


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page says, and the figures' titles."""
    at = tables.by_condition("channels_summary", ARMS)
    relief = tables.by_condition("channels_relief", ARMS, split=HELDOUT)
    lives = tables.of(SELF_SUITE).by_condition("floors_captured", SELF, life="own")
    follows = tables.rows("channels_following", condition="native", rival="other")
    moved = tables.rows("channels_directions", condition="native")
    course = tables.rows("channels_course", condition="native", replies="state alone", level=FAR)
    far = {test: per_seed(course[course["test"] == test], "right") for test in ("gap", "text gap")}

    def of(name: str, column: str, value: str) -> "pd.Series[float]":
        rows = follows if name == "follows" else moved
        return per_seed(rows[rows[column] == value], "gain" if name == "follows" else "change")

    return {
        "follows": difference(
            "Each of six replies follows its channel on held-out rows, and not another row's state.",
            {name: estimate(of("follows", "capability", name)) for name in CAPABILITIES}, +1, "of replies", 2,
            otherwise="Not each of the six replies clearly follows its channel on held-out rows.",
        ),
        "reads": difference(
            "A state is followed more often in its channel than in the text.", {"channel − text": estimate(at.of("native", "own") - at.of("native", "text"))}, +1,
            "of replies", 2, otherwise="A state is not clearly followed more often in its channel than in the text.",
        ),
        "taught": difference(
            "A model taught with a learned constant, or with other rows' states, in the channels' place follows them less.",
            at.against("native", ("constant", "shuffled"), "own"), +1, "of replies", 2,
            otherwise="A learned constant, or other rows' states, in the channels' place do as well.",
        ),
        "conflict": difference(
            "Where channel and text disagree, the one that erred less in training wins.",
            at.against("text_errs", ("channel_errs",), "weight"), +1, "of the channel's share", 2,
            otherwise="Which of channel and text erred less in training does not clearly decide who wins.",
        ),
        "overrides": difference(
            "Where neither erred in training, the reply follows the channel more often than the text.",
            {"channel − text": estimate(at.of("native", "clash_channel") - at.of("native", "clash_text"))}, +1, "of replies", 2,
            otherwise="Where neither erred in training, the channel does not clearly win over the text.",
        ),
        "relief": difference(
            "Told no state, a model with channels predicts better than models without, smaller and larger.",
            relief.against("native", ("small", "large"), "nll"), -1, "nats a reply",
            otherwise="Told no state, a model with channels predicts no clearly better than models without that bracket its size.",
        ),
        "layers": difference(
            "A channel before every layer is followed more often than one before the first alone, or a token in front.",
            at.against("native", ("first", "prefix"), "own"), +1, "of replies", 2,
            otherwise="A channel before the first layer alone, or a token in front, is followed about as often as one before every layer.",
        ),
        "asked": difference(
            "Letting each position ask for what it needs is followed more often than adding all to every position.",
            at.against("attention", ("native",), "own"), +1, "of replies", 2,
            otherwise="Letting each position ask for what it needs does not clearly help.",
        ),
        "apart": difference(
            "Taking a channel away costs its own reply more than the others.",
            {"others − own": estimate(-at.of("native", "knocked_others") - at.of("native", "knocked_own"))}, +1, "of replies", 2,
            otherwise="Taking a channel away costs the other replies about as much as its own.",
        ),
        "moves": difference(
            "A state moved one way moves its reply the same way.", {name: estimate(of("moved", "moved", name)) for name in MOVED}, +1,
            "(a level up, or probability)", 2, pairs=False, otherwise="Not each part of a state that is moved clearly moves its reply the same way.",
        ),
        "lasts": difference(
            "When the text that told it has left the window, the channel still decides mood and time, which text told before does not.",
            {"channel − text": estimate((far["gap"] - far["text gap"]).dropna())}, +1, "of replies", 2,
            otherwise="When the text that told it has left the window, the channel does not clearly decide more than the text did.",
        ),
        "pays": difference(
            "A self-state captures more of the known gain through gates before every layer than added to the embeddings.",
            lives.against("gates", ("state",), "captured"), +1, "of the known gain",
            otherwise="A self-state captures no clearly larger part of the known gain through gates before every layer than added to the embeddings.",
        ),
        "pays_first": difference(
            "Gates before every layer let a self-state capture more than a gate before the first alone.",
            lives.against("gates", ("gates_first",), "captured"), +1, "of the known gain",
            otherwise="A gate before the first layer alone lets a self-state capture about as much.",
        ),
        "pays_yoked": difference(
            "Fed another run's signals, a state captures less through the same gates.",
            lives.against("gates", ("gates_yoked",), "captured"), +1, "of the known gain",
            otherwise="Fed another run's signals, a state captures about as much through the same gates.",
        ),
    }  # fmt: skip


def of_document(tables: Tables) -> str:
    """A line for each statement of the document on state channels: it, here, a control, and whether it comes back."""
    if tables.rows("channels_summary").empty:
        return MISSING

    def mean(condition: str, column: str) -> "pd.Series[float]":
        return per_seed(tables.rows("channels_summary", condition=condition), column)

    def right(test: str, capability: str) -> "pd.Series[float]":
        rows = tables.rows("channels_replies", condition="native", split=HELDOUT, test=test)
        return per_seed(rows[rows["capability"] == capability], "right")

    def nll(condition: str, split: str) -> "pd.Series[float]":
        return per_seed(tables.rows("channels_relief", condition=condition, split=split), "nll")

    def norm(condition: str) -> "pd.Series[float]":
        rows = tables.rows("channels_gates", condition=condition)
        return per_seed(rows[rows["step"] == rows["step"].max()], "norm")

    def moved(part: str) -> "pd.Series[float]":
        return per_seed(tables.rows("channels_directions", condition="native", moved=part), "share")

    def far(test: str) -> "pd.Series[float]":
        rows = tables.rows("channels_course", condition="native", test=test, replies="state alone")
        return per_seed(rows[rows["level"] == rows["level"].max()], "right")

    def told(values: "pd.Series[float] | Estimate", digits: int = 2, sign: bool = False) -> str:
        return interval(values if isinstance(values, Estimate) else estimate(values), digits, sign=sign)

    def lowest(test: str) -> str:
        shares = {name: right(test, name) for name in CAPABILITIES}
        name = min(shares, key=lambda one: shares[one].mean() if len(shares[one]) else 2.0)
        return f"{told(shares[name])} ({name})"

    six = [side(paired(right("own", name), right("other", name)), +1) for name in CAPABILITIES]
    least = min(MOVED, key=lambda part: moved(part).mean() if len(moved(part)) else 2.0)
    smaller, larger = (paired(nll("native", HELDOUT), nll(other, HELDOUT)) for other in ("small", "large"))
    seen = paired(nll("native", "dev"), nll("small", "dev"))
    lines = [
        [
            "Six of six capabilities follow the channel on held-out data",
            f"right in {told(mean('native', 'own'))} of the replies, least in {lowest('own')}",
            f"another row's state {told(mean('native', 'other'))}, no state {told(mean('native', 'zeroed'))}",
            AGAIN.get(worst(six), OPEN),
        ],
        [
            "Affect, time and ethics move the way that the channel moves",
            f"a level up, an hour on, another risk: so in {told(moved(least))} of the rows at least ({least})",
            "half would move so by chance",
            AGAIN.get(worst([reach(estimate(moved(part)), 0.5) for part in MOVED]), OPEN),
        ],
        [
            "In conflict the channel overrides the text, in 264 of 265",
            f"{told(mean('native', 'clash_channel'))}, the text {told(mean('native', 'clash_text'))}",
            f"where the channel erred in training {told(mean('channel_errs', 'clash_channel'))}, where the text did "
            f"{told(mean('text_errs', 'clash_channel'))}, where it never told a state {told(mean('silent', 'clash_channel'))}",
            AGAIN.get(reach(estimate(mean("native", "clash_channel")), AS_MUCH * OVERRIDDEN), OPEN),
        ],
        [
            "A model trained with channels decides 88.8 % of counterfactual pairs, by chance 25 %",
            told(mean("native", "pairs")),
            f"trained with other rows' states {told(mean('shuffled', 'pairs'))}",
            AGAIN.get(reach(estimate(mean("native", "pairs")), AS_MUCH * DECIDED), OPEN),
        ],
        [
            "With channels at zero it predicts better than baselines that bracket its size",
            f"{told(smaller, 3, sign=True)} nats a reply beside the smaller, {told(larger, 3, sign=True)} beside the larger",
            f"{told(seen, 3, sign=True)} beside the smaller on combinations that training had",
            AGAIN.get(worst([side(smaller, -1), side(larger, -1)]), OPEN),
        ],
        [
            "Gates that begin at zero open in training",
            f"a state adds {told(norm('native'))} to a block",
            f"other rows' states {told(norm('shuffled'))}, a learned constant {told(norm('constant'))}",
            AGAIN.get(side(paired(norm("native"), norm("shuffled")), +1), OPEN),
        ],
        [
            "The state has to reach every layer",
            f"right in {told(mean('native', 'own'))}",
            f"before the first layer alone {told(mean('first', 'own'))}, at a token in front {told(mean('prefix', 'own'))}",
            AGAIN.get(worst([side(paired(mean("native", "own"), mean(one, "own")), +1) for one in ("first", "prefix")]), OPEN),
        ],
        [
            "Later: gated cross-attention",
            f"right in {told(mean('attention', 'own'))}",
            f"another row's state {told(mean('attention', 'other'))}; added to every position {told(mean('native', 'own'))}",
            WORKS.get(side(paired(mean("attention", "own"), mean("attention", "other")), +1), OPEN),
        ],
        [
            "Six channels do not disturb one another",
            f"one at zero changes each other's replies by {told(mean('native', 'knocked_others'), 3)}",
            f"its own by {told(mean('native', 'knocked_own'), sign=True)}",
            AGAIN.get(near(estimate(mean("native", "knocked_others")), APART), OPEN),
        ],
        [
            "A state persists when its cue has scrolled away",
            f"{' and '.join(STATE_ALONE)} right in {told(far('gap'))}",
            f"told in the text {told(far('text gap'))}",
            AGAIN.get(side(paired(far("gap"), far("text gap")), +1), OPEN),
        ],
    ]  # fmt: skip
    return table(["the document", "here", "control", "verdict"], lines, words=True)


def _clear(rows: pd.DataFrame, tables: Tables) -> str:
    """In how many seeds McNemar's test is clear."""
    return f"{int((rows['p'] < ALPHA).sum())} of {rows['seed'].nunique()}"


def _crosstalk(tables: Tables) -> str:
    """A row a channel with another state, a column a reply: change of its right replies, mean over seeds."""
    rows = tables.rows("channels_dials", condition="seven", test="flipped")
    means = rows.groupby(["channel", "capability"])["change"].mean().to_dict() if len(rows) else {}
    lines = [
        [look.label, *(signed(means.get((name, one), np.nan), 2) for one in CAPABILITIES)]
        for name, look in CHANNELS.items() if means
    ]  # fmt: skip
    return table(["channel with another state", *CAPABILITIES], lines) if lines else MISSING


def _relief(other: str) -> pages.Cell:
    """What a condition's replies cost, told no state, minus another's."""

    def cell(rows: pd.DataFrame, tables: Tables) -> str:
        split = rows["split"].iloc[0]
        return pages.beyond(other, "channels_relief", "nll", "±3", split=split)(rows, tables)

    return cell


GRIDS = {
    "document": of_document,
    "arms": pages.grid(
        "channels_summary", ARMS, only=True, own=("in its channel", "2"), text=("in the text", "2"), both=("in both", "2"),
        zeroed=("no state", "2"), other=("another row's", "2"), pairs=("pairs decided", "2"),
    ),
    "following": pages.grid(
        "channels_following", CAPABILITIES, head="instead, reply", by="capability", across="rival", order=RIVALS, where={"condition": "native"},
        own=("right: its channel", "2"), rival_right=("right: instead", "2"), gain=("gain", "±2"),
        only_own=("rows right with it alone", "~0"), only_rival=("without it alone", "~0"), p=("McNemar p < 0.05, seeds", _clear),
    ),
    "clash": pages.grid(
        "channels_summary", WINNERS, only=True, clash_channel=("follows the channel", "2"), clash_text=("follows the text", "2"),
        weight=("channel's share", "2"), own=("right: channel alone", "2"), text=("text alone", "2"),
    ),
    "clash_replies": pages.grid(
        "channels_choices", {name: WINNERS[name] for name in ("native", "silent")}, head="reply, condition", only=True, across="capability", order=CAPABILITIES,
        where={"split": HELDOUT}, channel=("follows the channel", "2"), text=("follows the text", "2"), weight=("channel's share", "2"),
    ),
    "directions": pages.grid(
        "channels_directions", MOVED, head="moved", by="moved", where={"condition": "native"}, share=("replies that move so", "2"), change=("by", "±2"),
    ),
    "crosstalk": _crosstalk,
    "relief": pages.grid(
        "channels_relief", ("small", "large", "native", "silent", "constant", "shuffled"), head="rows, condition", only=True, across="split",
        order=(HELDOUT, "dev"), nll=("nats a reply", "3"), small=("that − `small`'s", _relief("small")), large=("that − `large`'s", _relief("large")),
    ),
    "cost": pages.grid(
        "channels_cost", ARMS, only=True, parameters=("parameters", "~0"), channel_parameters=("of them for channels", "~0"), tokens=("tokens for six states", "~0"),
    ),
    "course": pages.grid(
        "channels_course", head="what is turned, how far", by="level", across="test", order=("noise", "dose", "gap", "text gap"),
        where={"condition": "native", "replies": "all six"}, right=("right, all six", "2"),
    ),
    "doubt": pages.grid(
        "channels_doubt", (NONE, *CAPABILITIES), head="channel at zero", by="knocked", only=True, calm=("doubt, calm state", "4"), acting=("state of the regime", "4"), rise=("rise", "±4"),
    ),
    "self": lambda tables: pages.grid("floors_captured", SELF, only=True, where={"life": "own"}, captured=("captured", "3"), loss=("loss, nats", "4"))(tables.of(SELF_SUITE)),
}  # fmt: skip
EXPERIMENT = Experiment(
    "channels", "Channels: a state that reaches every layer", TABLES, findings, FIGURES, GRIDS, guests=(SELF_SUITE,),
)  # fmt: skip
