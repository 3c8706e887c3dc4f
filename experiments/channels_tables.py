"""Tables of channels: what models made of states that were told in a channel or in the text. See channels.py."""

import pandas as pd

from configs.row_kinds import DIMENSIONS, TEXT, TOKENS
from configs.rows import Rows
from experiments.kit.runs import Context
from experiments.kit.stats import sign_test
from experiments.kit.tables import RUN

CAPABILITIES = tuple(DIMENSIONS)
HELDOUT, NONE, SELF_SUITE = "heldout", "none", "channels_self"
STATE_ALONE = ("affect", "time")  # whose replies need nothing of the prompt
PROBE = "channels"
TURNED = ("knocked", "flipped", "noise", "dose", "gap", "text gap")  # what is asked of held-out rows alone
RIVALS = {"other": "another row's state", "zeroed": "no state", "text": "the state in the text"}
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


TABLES = (
    channels_replies, channels_dials, channels_following, channels_choices, channels_directions, channels_gates, channels_doubt,
    channels_course, channels_relief, channels_summary, channels_cost,
)  # fmt: skip
