"""Channels: is a state that gates let into every layer a control axis, what does it cost, and who wins where the text disagrees?

What was asked of the finished models is told in probes/channels.py. A reply is right if all its tokens are the likeliest ones.
"""

import numpy as np
import pandas as pd

from configs.row_kinds import TEXT, TOKENS
from configs.rows import Rows
from experiments.channels_document import of_document
from experiments.channels_figure import (
    ARMS,
    CAPABILITIES,
    CHANNELS,
    FIGURES,
    HELDOUT,
    NONE,
    SELF,
    SELF_SUITE,
    STATE_ALONE,
    WINNERS,
)
from experiments.kit import pages
from experiments.kit.experiment import Experiment
from experiments.kit.levels import ALPHA
from experiments.kit.runs import Context
from experiments.kit.stats import estimate, per_seed, sign_test
from experiments.kit.tables import RUN, Tables
from experiments.kit.words import MISSING, Finding, difference, signed, table

PROBE = "channels"
TURNED = ("knocked", "flipped", "noise", "dose", "gap", "text gap")  # what is asked of held-out rows alone
RIVALS = {"other": "another row's state", "zeroed": "no state", "text": "the state in the text"}
MOVED = ("valence", "arousal", "hour", "day", "risk")
FAR = 32  # fillers between what is told and the question: the prompt has left the window
RUNS = [*RUN]


def _asked(context: Context, name: str) -> pd.DataFrame:
    return context.probed(PROBE, name).drop(columns="run_step", errors="ignore")


def channels_replies(context: Context) -> pd.DataFrame:
    """One row a run, split, test and capability: right, share of right replies; nll, nats a reply; only_own, only_this: share
    of the rows that the first test of the run gets right and this one not, and the other way round; rows."""
    rows = _asked(context, "replies")
    if rows.empty:
        return rows
    return rows[~rows["test"].isin(TURNED)].drop(columns=["level", "channel"]).reset_index(drop=True)


def channels_dials(context: Context) -> pd.DataFrame:
    """One row a run, test, level, channel and capability, held-out rows: right; change, minus the share with all channels as they are."""
    rows = _asked(context, "replies")
    if rows.empty:
        return rows
    rows = rows[rows["test"].isin(TURNED)].reset_index(drop=True)
    change = rows["only_this"] - rows["only_own"]
    return (
        rows.fillna({"channel": NONE})
        .drop(columns=["split", "nll", "only_own", "only_this", "rows"])
        .assign(change=change)
    )


def channels_following(context: Context, channels_replies: pd.DataFrame) -> pd.DataFrame:
    """One row a run with channels, rival and capability, held-out rows: own, rival_right: shares of right replies; gain, own minus
    the rival's; only_own, only_rival: numbers of rows that are right in one alone; p of McNemar's exact test, one-sided."""
    held = channels_replies[channels_replies["split"] == HELDOUT]
    own = held[held["test"] == "own"].set_index([*RUNS, "capability"])["right"].rename("own")
    rows = held[held["test"].isin(RIVALS)].join(own, on=[*RUNS, "capability"], how="inner")
    if rows.empty:
        return pd.DataFrame()
    counts = {name: (rows[name] * rows["rows"]).round().astype(int) for name in ("only_own", "only_this")}
    p = [sign_test(*pair) for pair in zip(counts["only_own"], counts["only_this"], strict=True)]
    made = rows[[*RUNS, "capability", "own"]].assign(
        rival=rows["test"], rival_right=rows["right"], gain=rows["own"] - rows["right"],
        only_own=counts["only_own"], only_rival=counts["only_this"], p=p,
    )  # fmt: skip
    return made.reset_index(drop=True)


def channels_choices(context: Context) -> pd.DataFrame:
    """One row a run with channels, split and capability: channel and text disagree: channel, text: share of replies that follow
    each; weight, mean share of the channel's reply in the probability of both. pairs: share of rows both of whose states get the
    likelier of their two replies. channel_right, text_right: how often each was right in training; told: share of rows with texts."""
    rows = _asked(context, "choices")
    if rows.empty:
        return rows
    taught = [
        {"condition": run.condition, "seed": run.seed, "channel_right": of.channel_right, "text_right": of.text_right, "told": of.text + of.both}
        for run in context.runs if isinstance(of := run.config.process, Rows)
    ]  # fmt: skip
    return rows.drop(columns="rows").merge(pd.DataFrame(taught), on=["condition", "seed"])


def channels_directions(context: Context) -> pd.DataFrame:
    """One row a run and part of a state that is moved one way: share of rows whose reply moves so; change, its mean: of the expected
    level (valence, arousal: by one of four levels), else of the probability of the reply that goes with it."""
    return _asked(context, "directions").drop(columns="rows", errors="ignore")


def channels_gates(context: Context) -> pd.DataFrame:
    """One row a run, kept step, block and channel: gate; norm, mean length of what the channel enters there (L2)."""
    rows = _asked(context, "gates")
    if rows.empty:
        return rows
    return rows.assign(block="block " + rows["layer"].astype(str)).drop(columns="layer")


def channels_doubt(context: Context) -> pd.DataFrame:
    """One row a run with the self-state as a channel, and channel at zero (none: all as they are): calm, acting: probability of
    tokens that no reply has, under its mean states of calm and of the regime; rise, acting minus calm; change, of the rise by that."""
    rows = _asked(context, "doubt").fillna({"knocked": NONE})
    if rows.empty:
        return rows
    calm = rows["state"] == "calm"
    place = [*RUNS, "knocked"]
    made = pd.DataFrame({
        "calm": rows[calm].groupby(place)["doubt"].mean(), "acting": rows[~calm].groupby(place)["doubt"].mean()
    }).reset_index()  # fmt: skip
    made["rise"] = made["acting"] - made["calm"]
    whole = made[made["knocked"] == NONE].set_index(RUNS)["rise"].rename("whole")
    return made.assign(change=made["rise"] - made.join(whole, on=RUNS)["whole"])


def channels_course(
    context: Context, channels_dials: pd.DataFrame, channels_replies: pd.DataFrame
) -> pd.DataFrame:
    """One row a run, test (noise, dose, gap, text gap), level and group of replies, held-out rows: right, mean over all six, or over
    affect and time, which need nothing of the prompt. Noise 0 and dose 1 are the channels as they are, dose 0 is none."""
    dials = channels_dials[channels_dials["test"].isin(("noise", "dose", "gap", "text gap"))]
    whole = channels_replies[channels_replies["split"] == HELDOUT]
    whole = whole.merge(dials[RUNS].drop_duplicates(), on=RUNS)
    parts = [dials]
    for test, level, as_in in (("noise", 0.0, "own"), ("dose", 1.0, "own"), ("dose", 0.0, "zeroed")):
        parts.append(whole[whole["test"] == as_in].assign(test=test, level=level))
    rows = pd.concat(parts)
    groups = {"all six": CAPABILITIES, "state alone": STATE_ALONE}
    made = [
        rows[rows["capability"].isin(members)].assign(replies=name).groupby([*RUNS, "test", "level", "replies"])["right"].mean()
        for name, members in groups.items()
    ]  # fmt: skip
    return pd.concat(made).reset_index().sort_values([*RUNS, "test", "level"], ignore_index=True)


def channels_relief(context: Context, channels_replies: pd.DataFrame) -> pd.DataFrame:
    """One row a run and split: nll, nats a reply where no state is told, mean over the six."""
    rows = channels_replies[channels_replies["test"] == "zeroed"]
    return rows.groupby([*RUNS, "split"])[["nll"]].mean().reset_index()


def channels_summary(
    context: Context,
    channels_replies: pd.DataFrame,
    channels_dials: pd.DataFrame,
    channels_choices: pd.DataFrame,
) -> pd.DataFrame:
    """One row a run, held-out rows, means over the six: own, both, text, zeroed, other: shares of right replies; beyond_other,
    beyond_zeroed: the least of the six gains of own over these; clash_channel, clash_text, weight, pairs: of channels_choices;
    knocked_own, knocked_others: change of a channel's own reply, and mean size of the others' changes, when it is at zero."""
    held = channels_replies[channels_replies["split"] == HELDOUT]
    right = held.pivot_table(index=[*RUNS, "capability"], columns="test", values="right")
    right = right.reindex(columns=["own", "both", "text", "zeroed", "other"])
    made = right.groupby(RUNS).mean()
    for rival in ("other", "zeroed"):
        made[f"beyond_{rival}"] = (right["own"] - right[rival]).groupby(RUNS).min()
    if len(channels_choices):
        picked = channels_choices[channels_choices["split"] == HELDOUT]
        means = picked.groupby(RUNS)[["channel", "text", "weight", "pairs"]].mean()
        made = made.join(means.rename(columns={"channel": "clash_channel", "text": "clash_text"}))
    if len(channels_dials):
        rows = channels_dials[
            (channels_dials["test"] == "knocked") & channels_dials["channel"].isin(CAPABILITIES)
        ]
        same = rows["channel"] == rows["capability"]
        made["knocked_own"] = rows[same].groupby(RUNS)["change"].mean()
        made["knocked_others"] = rows[~same].assign(size=rows["change"].abs()).groupby(RUNS)["size"].mean()
    return made.reset_index()


def channels_cost(context: Context) -> pd.DataFrame:
    """One row a run: parameters of all, and of its channels alone; tokens that telling all six states takes in each row."""
    rows = []
    for run in context.runs:
        count, how = run.record()["parameters"], run.config.channels
        tokens = sum(TEXT.values()) if how is None else TOKENS["slot"] if how.how == "prefix" else 0
        row = {
            "parameters": sum(count.values()),
            "channel_parameters": count.get("channels", 0),
            "tokens": tokens,
        }
        rows.append(run.label(pd.DataFrame([row])))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


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
    "channels", "Channels: a state that reaches every layer",
    (
        channels_replies, channels_dials, channels_following, channels_choices, channels_directions, channels_gates, channels_doubt,
        channels_course, channels_relief, channels_summary, channels_cost,
    ),
    findings, FIGURES, GRIDS, guests=(SELF_SUITE,),
)  # fmt: skip
