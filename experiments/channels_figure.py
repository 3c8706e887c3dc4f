"""Figures of channels. See channels.py."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.channels_tables import CAPABILITIES, HELDOUT, NONE, SELF_SUITE
from experiments.kit import panels as draw
from experiments.kit import style
from experiments.kit.marks import level, not_measured
from experiments.kit.style import Look
from experiments.kit.tables import NothingToDraw, Tables
from experiments.kit.words import number

ARMS = {
    "native": Look("before every layer", style.BLUE),
    "attention": Look("before every layer, by attention", style.SKY, (0, (6, 1.5, 1, 1.5)), "D"),
    "first": Look("before the first layer alone", style.GREEN, (0, (4, 1.6)), "s"),
    "prefix": Look("at a token in front", style.PURPLE, (0, (1, 1.2)), "^"),
    "silent": Look("the text never tells a state", style.BLACK, "-", "v", filled=False),
    "constant": Look("a learned constant instead", style.YELLOW, "-", "p"),
    "shuffled": Look("other rows' states instead", style.VERMILLION, "-", "x"),
    "small": Look("no channels, smaller", style.GREY, "-", "<", filled=False),
    "large": Look("no channels, larger", style.GREY, "-", ">", filled=False),
    "channel_errs": Look("the channel errs in 3 of 10 rows", style.ORANGE, "-", "X"),
    "text_errs": Look("the text errs in 3 of 10 rows", style.ORANGE, "-", "P", filled=False),
    "both_err": Look("both err", style.ORANGE, "-", "h", filled=False),
    "seven": Look("a seventh channel, the self-state", style.BLUE, "-", "*", filled=False),
}
WINNERS = {
    "text_errs": replace(ARMS["text_errs"], label="text erred"),
    "native": replace(ARMS["native"], label="neither erred"),
    "both_err": replace(ARMS["both_err"], label="both erred"),
    "channel_errs": replace(ARMS["channel_errs"], label="channel erred"),
    "silent": replace(ARMS["silent"], label="text never told"),
}
SELF = {
    "gates": Look("gates before every layer", style.BLUE),
    "gates_first": Look("a gate before the first layer", style.GREEN, marker="s"),
    "state": Look("added to the embeddings", style.SKY, marker="D"),
    "gates_yoked": Look("gates, another run's signals", style.VERMILLION, marker="x"),
    "vanilla": Look("no state", style.GREY, marker="o", filled=False),
}
TESTS = {
    "own": Look("state in its channel", style.BLUE),
    "text": Look("state in the text", style.ORANGE, marker="s"),
    "other": Look("another row's state in the channel", style.VERMILLION, marker="x"),
    "zeroed": Look("no state", style.GREY, marker="o", filled=False),
}
CHANNELS = {
    "memory": Look("memory", style.BLUE),
    "continuity": Look("continuity", style.SKY, (0, (6, 1.5, 1, 1.5)), "D"),
    "identity": Look("identity", style.GREEN, (0, (4, 1.6)), "s"),
    "affect": Look("affect", style.VERMILLION, "-", "^"),
    "time": Look("time", style.ORANGE, (0, (2, 1)), "v"),
    "ethics": Look("ethics", style.PURPLE, (0, (1, 1.2)), "P"),
    "self": Look("self-state", style.BLACK, "-", "*"),
}
KEPT = {
    "gap": Look("state in its channel", style.BLACK),
    "text gap": Look("state in the text", style.ORANGE, (0, (4, 1.6))),
}
BLOCKS = {
    "block 0": Look("first block", style.BLUE),
    "block 1": Look("second block", style.ORANGE, (0, (4, 1.6))),
    "block 2": Look("third block", style.GREEN, (0, (1, 1.2))),
}
DOUBTS = {
    "calm": Look("state of calm", style.BLUE),
    "acting": Look("of the regime", style.VERMILLION, marker="X"),
}


def _of_one(panel: draw.Panel) -> draw.Panel:
    """A panel of shares: its height runs from 0 to 1."""
    return draw.then(panel, lambda axes, _: axes.set_ylim(-0.03, 1.03))


def _grid(axes: Axes, wide: pd.DataFrame, low: float, high: float) -> None:
    """A square of colour a cell, with its number. Orange: low, violet: high."""
    values = wide.to_numpy(float)
    axes.imshow(values, cmap="PuOr", vmin=low, vmax=high, aspect="auto")
    axes.set_xticks(range(wide.shape[1]), [str(name) for name in wide.columns])
    axes.set_yticks(range(wide.shape[0]), [str(name) for name in wide.index])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    middle, reach = (low + high) / 2, (high - low) / 2
    for (down, along), value in np.ndenumerate(values):
        if np.isfinite(value):
            far = abs(value - middle) > 0.7 * reach
            text = number(value, 2).replace("0.", ".")
            axes.text(along, down, text, ha="center", va="center", c="w" if far else "k", fontsize=7)


def _surface(capability: str, first: bool) -> Callable[[Axes, Tables], None]:
    """Channel's share by how often channel and text were right in training."""

    def panel(axes: Axes, tables: Tables) -> None:
        rows = tables.rows("channels_choices", capability=capability, split=HELDOUT)
        rows = rows[rows["told"] > 0]
        if rows.empty:
            raise NothingToDraw("channels_choices: no channel beside a text")
        rows = rows[rows["condition"].isin(list(WINNERS))]
        wide = rows.pivot_table(index="text_right", columns="channel_right", values="weight")
        wide = wide.sort_index(ascending=False).sort_index(axis=1)
        _grid(axes, wide, 0.0, 1.0)
        axes.set(title=capability, xlabel="channel right")
        if first:
            axes.set_ylabel("text right, share of rows")

    return panel


def _crosstalk(condition: str, title: str, channels: Sequence[str]) -> Callable[[Axes, Tables], None]:
    """Change of each reply when a channel is at zero; of the self-state's, of the rise in doubt."""

    def panel(axes: Axes, tables: Tables) -> None:
        rows = tables.rows("channels_dials", condition=condition, test="knocked")
        if rows.empty:
            not_measured(axes)
            return
        wide = rows.pivot_table(index="channel", columns="capability", values="change")
        wide = wide.reindex(index=list(channels), columns=list(CAPABILITIES))
        if "self" in channels:
            doubt = (
                tables.rows("channels_doubt", condition=condition)
                .groupby("knocked")[["change", "rise"]]
                .mean()
            )
            wide["doubt"] = doubt["change"].reindex(list(channels))
            wide.loc["self", "doubt"] = -doubt["rise"].get(
                NONE, np.nan
            )  # at zero it is the same under either state
        _grid(axes, wide, -1.0, 1.0)
        axes.set_xticks(
            range(wide.shape[1]), list(wide.columns), rotation=40, ha="right", rotation_mode="anchor"
        )
        axes.set(title=title, ylabel="channel at zero")

    return panel


def _winner(tables: Tables, condition: str) -> "pd.Series[float]":
    return tables.seeds("channels_summary", "weight", condition=condition)


def _doubt(tables: Tables, state: str) -> "pd.Series[float]":
    return tables.seeds("channels_doubt", state, condition="seven", knocked=NONE)


def _whole(axes: Axes) -> None:
    axes.set_xlim(-0.03, 1.03)


def _half(axes: Axes) -> None:
    _whole(axes)
    level(axes, 0.5, upright=False, ls="dotted")


def _captured(tables: Tables, condition: str) -> "pd.Series[float]":
    return tables.of(SELF_SUITE).seeds("floors_captured", "captured", condition=condition, life="own")


def _none_to_all(axes: Axes) -> None:
    low, high = axes.dataLim.intervalx
    axes.set_xlim(min(-0.05, low - 0.05), max(1.05, high + 0.05))
    level(axes, upright=False)
    level(axes, 1.0, upright=False, ls="dotted")


def opened(tables: Tables) -> str:
    """The title of the gates: what enters at the last step."""
    rows = tables.rows("channels_gates", condition="native")
    last = rows[rows["step"] == rows["step"].max()].groupby("channel")["norm"].mean()
    return f"Gates begin at zero. In the end a state adds {number(last.min(), 2)} to {number(last.max(), 2)} to a block, by its kind"


def _turned(test: str, title: str, y: str = "") -> draw.Panel:
    return _of_one(
        draw.lines(
            "channels_course",
            "right",
            title,
            y,
            along="level",
            where={"test": test, "replies": "all six"},
            bands=True,
            zero=False,
        )
    )


FIGURES = (
    draw.sheet(
        "channels.png",
        [
            _of_one(draw.points("channels_replies", "right", "Replies of one model", "share that is right", by="test", across="capability",
                                order=CAPABILITIES, where={"condition": "native", "split": HELDOUT}, zero=False)),
            draw.strip(("channels_summary",), WINNERS, _winner, "Channel against text", "channel's share", _half),
        ],
        grid="aaab", height=3.9, looks=TESTS, marks="points", title=("follows", "conflict"),
        shows="How often each reply follows its channel, beside the text, another row's state and none; and who wins where channel and text disagree.",
        caption="{seeds}; held-out rows; bars: mean and, from three seeds on, 95 % t interval. Right: 1, the channel wins; 0, the text. "
        "Erred: told another state than the one that decides in 3 of 10 rows of training.",
    ),
    draw.sheet(
        "channels/gates.png",
        [draw.lines("channels_gates", "norm", name, "length" if at in (0, 3) else "", by="block", where={"condition": "native", "channel": name}, bands=True, zero=True)
         for at, name in enumerate(CAPABILITIES)],
        grid=(2, 3), height=4.2, looks=BLOCKS, marks="line", x="step of training", share_x=True, share_y=True, title=opened,
        shows="What each channel enters into each block, over the course of training.",
        caption="{seeds}; mean length of what a channel adds before a block (L2); faint: single seeds; band: 95 % t interval. All begin at zero.",
    ),
    draw.sheet(
        "channels/conflict.png", [_surface(name, not at) for at, name in enumerate(CAPABILITIES)],
        grid=(1, 6), height=2.6, title=("conflict",), share_y=True, tables=("channels_choices",),
        shows="Who wins where channel and text disagree, by how often each was right in training, reply by reply.",
        caption="{seeds}; held-out rows. 1: all probability of the two goes to the channel's reply; 0: to the text's.",
    ),
    draw.sheet(
        "channels/crosstalk.png",
        [_crosstalk("native", "Six channels", CAPABILITIES), _crosstalk("seven", "Seven, one the self-state", tuple(CHANNELS))],
        grid=(1, 2), height=3.5, title=("apart",), tables=("channels_dials", "channels_doubt"),
        shows="What becomes of each reply when one channel is at zero, with six channels and with seven.",
        caption="{seeds}; change in the share of right replies on held-out rows. Doubt: of how much more a model doubts (probability of tokens "
        "that no reply has) under its state of the corrupting regime than under its calm one.",
    ),
    draw.sheet(
        "channels/dials.png",
        [
            _turned("noise", "Noise (standard deviations)", "right, all six"), _turned("dose", "Gates times"),
            _of_one(draw.lines("channels_course", "right", "Fillers after it was told", "right, affect and time", along="level", by="test",
                               where={"condition": "native", "replies": "state alone"}, bands=True, zero=False)),
        ],
        grid=(1, 3), height=3.3, looks={**{name: ARMS[name] for name in ("native", "attention", "first", "prefix")}, **KEPT}, marks="line",
        columns=3, title=("lasts",),
        shows="Right replies under noise on the channels, at other doses of the gates, and when the text that told a state has scrolled away.",
        caption="{seeds}; held-out rows; faint: single seeds; band: 95 % t interval. Right: replies on affect and time, which need nothing of the prompt.",
    ),
    draw.sheet(
        "channels/self-state.png",
        [
            draw.strip(("channels_summary",), SELF, _captured, "The self-state where floors are known", "share of the known gain captured", _none_to_all),
            draw.strip(("channels_doubt",), DOUBTS, _doubt, "As a seventh channel", "doubt", _whole),
        ],
        grid="aab", height=3.1, title=("pays",), marks="points",
        shows="What a self-state captures through gates, beside the embedding bias and another run's signals; and what it does as a seventh channel.",
        caption="{seeds}; bars: mean and, from three seeds on, 95 % t interval. Left: weights frozen, 0: blind, 1: an ideal observer. "
        "Right: doubt is the probability of tokens that no reply has.",
    ),
)  # fmt: skip
