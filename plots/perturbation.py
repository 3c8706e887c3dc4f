"""What each regime does: channels through the run, changes by regime, and one detail figure a regime."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from experiments.kit import stats, style
from experiments.kit import tables as kit_tables
from experiments.kit.levels import ALPHA, FEWEST_SEEDS
from experiments.kit.style import CHANNELS, COMMON, OF_STATE, OF_STATE_ALONE
from experiments.kit.tables import NothingToDraw
from experiments.kit.words import listed, plural
from plots.figure import Tables
from plots.training import curve, shade

DRAWN = ("self_calm", "self", "vanilla")  # from back to front: dashes show what lies under them
TOLD = ("self", "vanilla", "self_calm")  # in legends, and from top to bottom
LAYOUT = [name for pair in zip(COMMON, OF_STATE, strict=True) for name in pair]  # two columns, row by row
MARGIN = 100  # steps drawn on each side of a window, at most
EARLIER = (  # the runs without regimes had none before, either
    "Traces of earlier regimes are in that, too. What vanilla shows as well under false_feedback or self_clamp, which leave it alone, is theirs: "
    "there a channel that vanilla has counts only where self and vanilla differ by the same test."
)


def _grid(made: Figure) -> dict[str, Axes]:
    """Channels that any model has on the left, those of the self-state on the right; one axis of steps."""
    panels = made.subplots(len(COMMON), 2, sharex=True)
    axes_of = dict(zip(LAYOUT, panels.ravel(), strict=True))
    for channel, axes in axes_of.items():
        axes.set_ylabel(CHANNELS[channel].label.replace(" (", "\n("))
    return axes_of


def _legend(conditions: list[str], marks: str = "line") -> tuple[list[Line2D], list[str]]:
    return style.condition_legend([name for name in TOLD if name in conditions], marks)


def _empty(axes: Axes) -> None:
    axes.text(0.5, 0.5, "not measured in these runs", transform=axes.transAxes, ha="center", color=style.GREY)


def regime_reactions(tables: Tables, note: str) -> Figure:
    """Every channel through the run, with the windows of the regimes shaded and named."""
    metrics = tables["metrics"]
    conditions = kit_tables.present(metrics, DRAWN)
    if not conditions:
        raise NothingToDraw("metrics.csv has none of the conditions self, self_calm and vanilla")
    windows = next(
        (found for name in TOLD if (found := kit_tables.shared_windows(tables["windows"], name))), []
    )
    width = stats.bin_width(metrics)
    made = style.figure(style.WIDE, 7.6)
    axes_of = _grid(made)
    for channel, axes in axes_of.items():
        for name in conditions:
            rows = kit_tables.of_condition(metrics, name)
            if rows[channel].notna().any():
                curve(
                    axes, stats.binned(rows, channel, width), style.condition(name), CHANNELS[channel].log,
                    faint=0.18 if name == "self" else 0,
                )  # fmt: skip
        if not axes.lines:
            _empty(axes)
        shade(axes, windows, named=channel in LAYOUT[:2])
        axes.set_xlim(0, int(metrics["step"].max()) + 1)
    for channel in LAYOUT[-2:]:
        axes_of[channel].set_xlabel("training step")
    caption = (
        f"Lightly smoothed: means of {width} steps. Line: mean over seeds (geometric on the logarithmic axis); band: 95 % t "
        "interval, from three seeds on; faint: single seeds of self. Grey: windows in which a regime acts on self and vanilla. Title: "
        f"self minus self_calm in each window, paired by seed, t test with p < 0.05 / 8. {EARLIER}"
    )
    return style.finish(made, _marks_title(tables["regime_deltas"]), caption, note, _legend(conditions))


def beyond(deltas: pd.DataFrame, regime: str, metric: str, other: str = "self_calm") -> "pd.Series[float]":
    """Change of a metric in a regime's window, self minus another condition at the same steps, by seed."""
    rows = deltas[(deltas["regime"] == regime) & (deltas["metric"] == metric)]
    mine, theirs = (
        kit_tables.of_condition(rows, name).groupby("seed")["delta"].mean() for name in ("self", other)
    )
    return (mine - theirs).dropna()


def beyond_calm(deltas: pd.DataFrame, regime: str, metric: str) -> stats.Estimate:
    """`estimate` of the change beyond self_calm's."""
    return stats.estimate(beyond(deltas, regime, metric))


def marked(deltas: pd.DataFrame, regime: str) -> dict[str, stats.Estimate]:
    """Channels that a regime moves beyond self_calm: paired t test over seeds, p < 0.05 / number of channels.

    A regime that acts on the state alone does nothing to vanilla: a channel that any model has changes with it only if it
    changes beyond vanilla, too, by the same test. What both share is what earlier regimes left behind.
    """
    found = {channel: beyond_calm(deltas, regime, channel) for channel in CHANNELS}
    level = ALPHA / len(CHANNELS)

    def own(channel: str) -> bool:
        if regime not in OF_STATE_ALONE or channel not in COMMON:
            return True
        apart = stats.estimate(beyond(deltas, regime, channel, "vanilla"))
        return apart.n < FEWEST_SEEDS or apart.p < level

    return {
        channel: value
        for channel, value in found.items()
        if value.n >= FEWEST_SEEDS and value.p < level and own(channel)
    }


def _regimes(deltas: pd.DataFrame) -> list[str]:
    have = set(deltas["regime"])
    return [name for name in style.REGIMES if name in have] + sorted(have - set(style.REGIMES))


def _marks_title(deltas: pd.DataFrame) -> str:
    """How many regimes leave a mark on what any model has, and how many on the self-state."""
    regimes = _regimes(deltas)
    both = {"self", "self_calm"} <= set(deltas["condition"])
    if not both or deltas["seed"].nunique() < FEWEST_SEEDS:
        return f"What {plural(len(regimes), 'regime')} do to each channel ({_untested(deltas)})"
    marks = {regime: marked(deltas, regime) for regime in regimes}
    common = [regime for regime in regimes if any(channel in marks[regime] for channel in COMMON)]
    state = [regime for regime in regimes if any(channel in marks[regime] for channel in OF_STATE)]
    hidden = [regime for regime in state if regime not in common]
    title = (
        f"Loss, entropy, confidence or gradient change clearly beyond self_calm's in {len(common)} of "
        f"{plural(len(regimes), 'regime')}, the self-state in {len(state)}"
    )
    return title + (f" ({', '.join(hidden)}: the self-state alone)" if hidden else "")


def regime_deltas(tables: Tables, note: str) -> Figure:
    """Change of every channel during each regime: points, means and intervals, small multiples by channel."""
    deltas, summary = tables["regime_deltas"], tables["regime_deltas_summary"]
    conditions = kit_tables.present(deltas, DRAWN)
    if not conditions:
        raise NothingToDraw("regime_deltas.csv has none of the conditions self, self_calm and vanilla")
    regimes = _regimes(deltas)
    made = style.figure(style.WIDE, 8.0)
    axes_of = dict(zip(LAYOUT, made.subplots(4, 2, sharey=True).ravel(), strict=True))
    offsets = dict(
        zip(
            [name for name in TOLD if name in conditions],
            np.linspace(-0.27, 0.27, len(conditions)),
            strict=True,
        )
    )
    for channel, axes in axes_of.items():
        rows = deltas[(deltas["metric"] == channel) & deltas["condition"].isin(conditions)].dropna(
            subset=["delta"]
        )
        for name in conditions:
            for y, regime in enumerate(regimes):
                here = (rows["condition"] == name) & (rows["regime"] == regime)
                of_all = summary[
                    (summary["condition"] == name)
                    & (summary["regime"] == regime)
                    & (summary["metric"] == channel)
                ]
                _dots(axes, y + offsets[name], rows.loc[here, "delta"], of_all, style.condition(name))
        _delta_axis(axes, rows["delta"], channel)
        for y in range(1, len(regimes), 2):
            axes.axhspan(y - 0.5, y + 0.5, color="#f3f3f3", lw=0, zorder=-1)
    first = axes_of[LAYOUT[0]]
    first.set_yticks(range(len(regimes)), regimes)
    first.set_ylim(len(regimes) - 0.5, -0.5)
    caption = (
        "Mean in the window minus mean of the calm steps before it (as many as the window, at most 100). Points: seeds; bars: mean, and 95 % t "
        "interval from three seeds on. self_calm, at the same steps without any regime, shows what time alone does. Axes are linear within the "
        "dotted lines where there are any and logarithmic outside. Title: self against self_calm, paired by seed, t test with p < 0.05 / 8. "
        f"{EARLIER}"
    )
    return style.finish(made, _marks_title(deltas), caption, note, _legend(conditions, "points"))


def _dots(axes: Axes, y: float, values: pd.Series, summary: pd.DataFrame, look: style.Look) -> None:
    if values.empty:
        return
    axes.plot(
        values,
        [y] * len(values),
        look.marker,
        c=look.colour,
        mfc=look.face,
        ms=2.8,
        mew=0.6,
        alpha=0.75,
        zorder=2,
    )
    if summary.empty:
        return
    mean, low, high = (float(summary[column].iloc[0]) for column in ("delta", "low", "high"))
    axes.plot([mean, mean], [y - 0.13, y + 0.13], c="k", lw=1.3, zorder=4)
    if np.isfinite(low) and len(values) >= FEWEST_SEEDS:
        axes.plot([low, high], [y, y], c="k", lw=0.8, zorder=3)


def _delta_axis(axes: Axes, values: pd.Series, channel: str) -> None:
    """Zero line and label; logarithmic far from zero where the largest change dwarfs the usual one."""
    axes.axvline(0, c="k", lw=0.7, zorder=1)
    axes.set_xlabel("Δ " + CHANNELS[channel].label.replace("|Δ logit|", "|Δ logit|"))
    size = values.abs()
    if size.empty or size.max() == 0:
        _empty(axes)
        return
    change_axis(axes, values)


def change_axis(axes: Axes, values: "pd.Series[float]") -> None:
    """An x axis for changes: logarithmic beyond two dotted lines about zero where the largest dwarfs the usual."""
    size = values.abs()
    if not size.max() > 0:
        return
    usual = float(size[size > 0].quantile(0.5))
    linear = 10 ** np.ceil(np.log10(usual))
    if size.max() > max(12 * usual, 3 * linear):
        axes.set_xscale("symlog", linthresh=linear, linscale=1.0)
        most = 10 ** np.ceil(np.log10(size.max()))
        powers = [10.0**e for e in range(round(np.log10(linear)), round(np.log10(most)) + 1)]
        if len(powers) <= 2:  # a single decade: room for one more label in it
            powers = sorted(powers + [3 * power for power in powers])
        axes.set_xticks([-p for p in powers[::-1]] + [0] + powers, minor=False)
        axes.set_xticklabels([f"−{p:g}" for p in powers[::-1]] + ["0"] + [f"{p:g}" for p in powers])
        axes.minorticks_off()
        for edge in (-linear, linear):
            axes.axvline(edge, c=style.LIGHT, lw=0.8, ls=":", zorder=0)
        low, high = float(values.min()), float(values.max())
        axes.set_xlim(min(low * 1.6, -linear * 1.1), max(high * 1.6, linear * 1.1))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.margins(x=0.08)


def _events(
    metrics: pd.DataFrame, windows: pd.DataFrame, condition: str, regime: str, margin: int
) -> pd.DataFrame:
    """Rows around each onset of a regime, with a column `onset`; calm conditions take self's windows of their seed."""
    here = windows[windows["regime"] == regime]
    own = kit_tables.of_condition(here, condition)
    own = own if not own.empty else kit_tables.of_condition(here, "self")
    rows = kit_tables.of_condition(metrics, condition)
    found = []
    for seed, start, end in zip(own["seed"], own["start"], own["end"], strict=True):
        near = (rows["seed"] == seed) & (rows["step"] >= start - margin) & (rows["step"] < end + margin)
        found.append(rows[near].assign(onset=start))
    return pd.concat(found) if found else rows.iloc[:0].assign(onset=0)


def detail(regime: str) -> Callable[[Tables, str], Figure]:
    """The function that draws one regime's figure: every channel around its onset."""

    def draw(tables: Tables, note: str) -> Figure:
        return _regime_detail(tables, note, regime)

    draw.__doc__ = f"Every channel around the onset of {regime}."
    return draw


def _regime_detail(tables: Tables, note: str, regime: str) -> Figure:
    metrics, windows = tables["metrics"], tables["windows"]
    metrics = metrics[metrics["condition"].isin(DRAWN)]
    conditions = kit_tables.present(metrics, DRAWN)
    here = windows[(windows["regime"] == regime) & windows["condition"].isin(DRAWN)]
    if here.empty:
        raise NothingToDraw(f"windows.csv has no {regime} in the conditions self and vanilla")
    length = int((here["end"] - here["start"]).median())
    margin = min(MARGIN, 2 * length)
    width = 5 if length + 2 * margin > 60 else 2
    made = style.figure(style.WIDE, 7.2)
    axes_of = _grid(made)
    for name in conditions:
        events = _events(metrics, windows, name, regime, margin)
        for channel, axes in axes_of.items():
            if events[channel].notna().any():
                table = stats.binned(events, channel, width, origin="onset")
                curve(
                    axes,
                    table,
                    style.condition(name),
                    CHANNELS[channel].log,
                    faint=0.18 if name == "self" else 0,
                )
    neighbours = [
        (other, start - onset, end - onset)
        for other, start, end in kit_tables.shared_windows(windows, "self")
        for onset in {int(here["start"].iloc[0])}
        if other != regime and start - onset < length + margin and end - onset > -margin
    ]
    _mark_windows(axes_of, regime, length, margin, neighbours)
    for channel in LAYOUT[-2:]:
        axes_of[channel].set_xlabel(f"steps since the onset of {regime}")
    beside = "".join(f"Hatched: {other}. " for other, _, _ in neighbours)
    gloss = style.REGIMES[regime].gloss if regime in style.REGIMES else ""
    caption = (
        f"Means of {width} steps. Line: mean over seeds (geometric on the logarithmic axis); band: 95 % t interval, from three seeds on; faint: single "
        f"seeds of self. Grey: the window of {regime} ({gloss}). {beside}Title: change in the window, self minus "
        f"self_calm at the same steps, paired by seed, t test with p < 0.05 / 8. {EARLIER}"
    )
    return style.finish(
        made, _detail_title(tables["regime_deltas"], regime, gloss), caption, note, _legend(conditions)
    )


def _mark_windows(
    axes_of: Mapping[str, Axes],
    regime: str,
    length: int,
    margin: int,
    neighbours: Sequence[tuple[str, int, int]],
) -> None:
    """Shade a regime's window [0, length) and hatch its neighbours', with their names above the upper panels; cut the axes there."""
    for channel, axes in axes_of.items():
        axes.axvspan(0, length, color="#dedede", lw=0, zorder=0)
        for other, start, end in neighbours:
            left, right = max(start, -margin), min(end, length + margin)
            axes.axvspan(left, right, fc="none", ec="#c4c4c4", hatch="////", lw=0, zorder=0)
            middle = ((left + right) / 2 + margin) / (length + 2 * margin)  # as a share of the axis
            if channel in LAYOUT[:2] and right - left > 0.3 * (length + 2 * margin):
                axes.set_title(other, fontsize=7, color="#555555", x=middle, ha="center", pad=2, loc="left")
        if channel in LAYOUT[:2]:
            axes.annotate(
                regime,
                (length / 2, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                fontweight="bold",
            )
        axes.set_xlim(-margin, length + margin)
        if not axes.lines:
            _empty(axes)


def _untested(deltas: pd.DataFrame) -> str:
    seeds = deltas["seed"].nunique()
    if seeds < FEWEST_SEEDS:
        return f"{plural(seeds, 'seed')}: too few to test"
    return "not tested: that takes the conditions self and self_calm"


def _detail_title(deltas: pd.DataFrame, regime: str, gloss: str) -> str:
    name = f"{regime} ({gloss})" if gloss else regime
    if not {"self", "self_calm"} <= set(deltas["condition"]) or deltas["seed"].nunique() < FEWEST_SEEDS:
        return f"{name}: every channel around its onset ({_untested(deltas)})"
    marks = marked(deltas, regime)
    up = [CHANNELS[channel].name for channel, value in marks.items() if value.mean > 0]
    down = [CHANNELS[channel].name for channel, value in marks.items() if value.mean < 0]
    if not marks:
        return f"{name} moves no channel clearly beyond self_calm"
    parts = [f"{listed(names)} {way}" for names, way in ((up, "up"), (down, "down")) if names]
    return f"{name}: against self_calm's change, {'; '.join(parts)}"
