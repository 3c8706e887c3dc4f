"""Channels: is a state that gates let into every layer a control axis, what does it cost, and who wins where the text disagrees?

What was asked of the finished models is told in probes/channels.py. A reply is right if all its tokens are the likeliest ones.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from experiments.channels_figure import ARMS, CHANNELS, FIGURES, SELF, WINNERS
from experiments.channels_tables import CAPABILITIES, HELDOUT, NONE, RIVALS, SELF_SUITE, STATE_ALONE, TABLES
from experiments.kit import pages, words
from experiments.kit.experiment import Experiment
from experiments.kit.levels import ALPHA
from experiments.kit.stats import estimate, paired, per_seed
from experiments.kit.tables import Tables

MOVED = ("valence", "arousal", "hour", "day", "risk")
OVERRIDDEN, DECIDED = 264 / 265, 0.888  # the numbers of the document on state channels
AS_MUCH = 0.9  # of its number, by the whole interval, is what comes back
APART = 0.05  # of the replies: what one channel may cost the others
FURTHER = 0.05  # of the replies: by how much every layer must beat the first alone, as was registered
FAR = 32  # fillers between what is told and the question: the prompt has left the window


def findings(tables: Tables) -> dict[str, words.Finding]:
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
        "follows": words.difference(
            "Each of six answers on new rows follows its channel, and not another row's state.",
            {name: estimate(of("follows", "capability", name)) for name in CAPABILITIES}, +1, "of replies", 2,
            otherwise="Not each of the six replies clearly follows its channel on held-out rows.",
        ),
        "reads": words.difference(
            "A state is followed more often in its channel than in the text.", {"channel − text": estimate(at.of("native", "own") - at.of("native", "text"))}, +1,
            "of replies", 2, otherwise="A state is not clearly followed more often in its channel than in the text.",
        ),
        "taught": words.difference(
            "A model taught with a learned constant, or with other rows' states, in the channels' place follows them less.",
            at.against("native", ("constant", "shuffled"), "own"), +1, "of replies", 2,
            otherwise="A learned constant, or other rows' states, in the channels' place do as well.",
        ),
        "conflict": words.difference(
            "Where channel and text disagree, the one that erred less in training wins.",
            at.against("text_errs", ("channel_errs",), "weight"), +1, "of the channel's share", 2,
            otherwise="Which of channel and text erred less in training does not clearly decide who wins.",
        ),
        "overrides": words.difference(
            "Where neither erred in training, the reply follows the channel more often than the text.",
            {"channel − text": estimate(at.of("native", "clash_channel") - at.of("native", "clash_text"))}, +1, "of replies", 2,
            otherwise="Where neither erred in training, the channel does not clearly win over the text.",
        ),
        "relief": words.difference(
            "Told no state, a model with channels predicts better than models without, smaller and larger.",
            relief.against("native", ("small", "large"), "nll"), -1, "nats a reply",
            otherwise="Told no state, a model with channels predicts no clearly better than models without that bracket its size.",
            reverse="Told no state, a model with channels predicts worse than models without, smaller and larger.",
        ),
        "first": words.within(
            "A channel before the first layer alone is followed nearly as often as one before every layer.", at.minus("native", "first", "own"), FURTHER,
            f"Before every layer minus that, of replies, bound ± {FURTHER}",
            "A channel before the first layer alone may be followed less often than one before every layer by a twentieth of replies or more.",
        ),
        "layers": words.difference(
            "A channel before every layer is followed more often than a state at a token in front.", at.against("native", ("prefix",), "own"), +1, "of replies", 2,
            otherwise="A state at a token in front is followed about as often as a channel before every layer.",
        ),
        "asked": words.difference(
            "Letting each position ask for what it needs is followed more often than adding all to every position.",
            at.against("attention", ("native",), "own"), +1, "of replies", 2,
            otherwise="Letting each position ask for what it needs does not clearly help.",
        ),
        "apart": words.difference(
            "Taking a channel away costs its own reply more than the others.",
            {"others − own": estimate(-at.of("native", "knocked_others") - at.of("native", "knocked_own"))}, +1, "of replies", 2,
            otherwise="Taking a channel away costs the other replies about as much as its own.",
        ),
        "moves": words.difference(
            "A state moved one way moves its reply the same way.", {name: estimate(of("moved", "moved", name)) for name in MOVED}, +1,
            "(a level up, or probability)", 2, pairs=False, otherwise="Not each part of a state that is moved clearly moves its reply the same way.",
        ),
        "lasts": words.difference(
            "When the text that told it has left the window, the channel still decides mood and time, which text told before does not.",
            {"channel − text": estimate((far["gap"] - far["text gap"]).dropna())}, +1, "of replies", 2,
            otherwise="When the text that told it has left the window, the channel does not clearly decide more than the text did.",
        ),
        "pays": words.difference(
            "A self-state captures more of the known gain through gates before every layer than added to the embeddings.",
            lives.against("gates", ("state",), "captured"), +1, "of the known gain",
            otherwise="A self-state captures no clearly larger part of the known gain through gates before every layer than added to the embeddings.",
            reverse="A self-state captures less of the known gain through gates before every layer than added to the embeddings.",
        ),
        "pays_first": words.difference(
            "Gates before every layer let a self-state capture more than a gate before the first alone.",
            lives.against("gates", ("gates_first",), "captured"), +1, "of the known gain",
            otherwise="A gate before the first layer alone lets a self-state capture about as much.",
        ),
        "pays_yoked": words.difference(
            "Fed another run's signals, a state captures less through the same gates.",
            lives.against("gates", ("gates_yoked",), "captured"), +1, "of the known gain",
            otherwise="Fed another run's signals, a state captures about as much through the same gates.",
        ),
        "shut": words.within(
            "Fed another run's signals, the gates stay all but shut: that model loses as much as one without a state.",
            lives.minus("gates_yoked", "vanilla", "loss"), 0.001, "Its loss minus that one's, nats",
            "Fed another run's signals, a model does not lose clearly as much as one without a state.",
        ),
    }  # fmt: skip


def document(tables: Tables) -> dict[str, Any]:
    """What the page's table on the document's statements is written with: values by seed, and whether each statement comes back."""
    if tables.rows("channels_summary").empty:
        return {}

    def of(condition: str, column: str) -> "pd.Series[float]":
        return tables.seeds("channels_summary", column, condition=condition)

    def right(test: str, capability: str) -> "pd.Series[float]":
        where = {"condition": "native", "split": HELDOUT, "test": test, "capability": capability}
        return tables.seeds("channels_replies", "right", **where)

    def nll(condition: str, split: str) -> "pd.Series[float]":
        return tables.seeds("channels_relief", "nll", condition=condition, split=split)

    def norm(condition: str) -> "pd.Series[float]":
        rows = tables.rows("channels_gates", condition=condition)
        return per_seed(rows[rows["step"] == rows["step"].max()], "norm")

    def far(test: str) -> "pd.Series[float]":
        rows = tables.rows("channels_course", condition="native", test=test, replies="state alone")
        return per_seed(rows[rows["level"] == rows["level"].max()], "right")

    def lowest(parts: Mapping[str, "pd.Series[float]"]) -> str:
        return min(parts, key=lambda name: parts[name].mean() if len(parts[name]) else 2.0)

    own = {name: right("own", name) for name in CAPABILITIES}
    moved = {
        part: tables.seeds("channels_directions", "share", condition="native", moved=part) for part in MOVED
    }
    relief = {other: paired(nll("native", HELDOUT), nll(other, HELDOUT)) for other in ("small", "large")}
    verdicts = {
        "six": words.worst(words.side(paired(own[name], right("other", name)), +1) for name in CAPABILITIES),
        "moves": words.worst(words.reach(estimate(values), 0.5) for values in moved.values()),
        "overrides": words.reach(estimate(of("native", "clash_channel")), AS_MUCH * OVERRIDDEN),
        "pairs": words.reach(estimate(of("native", "pairs")), AS_MUCH * DECIDED),
        "relief": words.worst(words.side(value, -1) for value in relief.values()),
        "opens": words.side(paired(norm("native"), norm("shuffled")), +1),
        "layers": words.worst(
            words.reach(paired(of("native", "own"), of(one, "own")), FURTHER) for one in ("first", "prefix")
        ),
        "apart": words.near(estimate(of("native", "knocked_others")), APART),
        "lasts": words.side(paired(far("gap"), far("text gap")), +1),
    }
    asked = words.side(paired(of("attention", "own"), of("attention", "other")), +1)
    return {
        "of": of, "norm": norm, "far": far, "own": own, "lowest": lowest(own), "moved": moved, "least": lowest(moved), "relief": relief,
        "seen": paired(nll("native", "dev"), nll("small", "dev")), "silent": paired(nll("silent", HELDOUT), nll("small", HELDOUT)), "alone": " and ".join(STATE_ALONE),
        "verdict": {name: words.AGAIN.get(one, words.OPEN) for name, one in verdicts.items()} | {"asked": words.WORKS.get(asked, words.OPEN)},
    }  # fmt: skip


def _clear(rows: pd.DataFrame, tables: Tables) -> str:
    """In how many seeds McNemar's test is clear."""
    return f"{int((rows['p'] < ALPHA).sum())} of {rows['seed'].nunique()}"


def _crosstalk(tables: Tables) -> str:
    """A row a channel with another state, a column a reply: change of its right replies, mean over seeds."""
    rows = tables.rows("channels_dials", condition="seven", test="flipped")
    means = rows.groupby(["channel", "capability"])["change"].mean().to_dict() if len(rows) else {}
    lines = [
        [look.label, *(words.signed(means.get((name, one), np.nan), 2) for one in CAPABILITIES)]
        for name, look in CHANNELS.items() if means
    ]  # fmt: skip
    return words.table(["channel with another state", *CAPABILITIES], lines)


def _relief(other: str) -> pages.Cell:
    """What a condition's replies cost, told no state, minus another's."""

    def cell(rows: pd.DataFrame, tables: Tables) -> str:
        split = rows["split"].iloc[0]
        return pages.beyond(other, "channels_relief", "nll", "±3", split=split)(rows, tables)

    return cell


GRIDS = {
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
    values=lambda tables: {"document": document(tables)},
)  # fmt: skip
