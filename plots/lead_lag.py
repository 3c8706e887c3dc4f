"""Figures on time: which moves first, loss or state, and the state's path through each regime."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments.kit import stats, style
from experiments.kit import tables as kit_tables
from experiments.kit.levels import ALPHA, FEWEST_SEEDS
from experiments.kit.marks import curve
from experiments.kit.tables import RUN, NothingToDraw
from experiments.kit.words import listed, plural, signed
from plots.figure import Figure, Tables

CONDITIONS = ("self_calm", "self", "self_random")
MEASURES = ("state_drift", "state_norm", "state_effect")
ONSET = {  # measure -> its look in the panel of onsets
    "loss": style.Look("loss", style.VERMILLION, marker="s"),
    "state_drift": style.Look("state drift", style.BLUE),
    "state_norm": style.Look("state norm", style.GREEN, marker="^", filled=False),
    "state_effect": style.Look("state effect (measured more seldom)", style.BLACK, marker="D", filled=False),
}
PARTS = {
    "distance": "distance from\nbaseline (L2)",
    "direction": "direction (cosine with\nthe regime's end)",
    "speed": "speed\n(L2 a step)",
}
COLUMNS: dict[str, tuple[str, ...]] = {
    "lead_lag": (*RUN, "measure", "method", "lag", "correlation"),
    "lead_lag_summary": (
        *("suite", "condition", "measure", "method", "n", "peak_lag", "peak", "null_95", "p_value"),
        *("lead_lag", "lead", "lead_p_value"),
    ),
    "onset": (*RUN, "timed_by", "regime", "measure", "sd", "latency", "length"),
    "state_decomposition": (
        *(*RUN, "regime", "start", "end", "since_onset", *PARTS),
        *(f"calm_{part}" for part in PARTS),
    ),
}


def lead_lag(tables: Tables, note: str) -> Drawing:
    """Correlation of loss and state by lag, a panel a condition and measure; below, latencies at regimes' onsets."""
    table, summary, onset = tables["lead_lag"], tables["lead_lag_summary"], tables["onset"]
    conditions = kit_tables.present(table, CONDITIONS)
    if not conditions:
        raise NothingToDraw("lead_lag.csv has none of the conditions self_calm, self and self_random")
    made = style.figure(style.WIDE, 8.8)
    halves: Any = made.subfigures(2, 1, height_ratios=(1.4, 1))
    upper, lower = halves
    panels = upper.subplots(len(MEASURES), len(conditions), sharex=True, sharey="row", squeeze=False)
    for row, measure in enumerate(MEASURES):
        for column, condition in enumerate(conditions):
            axes = panels[row, column]
            _by_lag(axes, table, summary, condition, measure)
            if not column:
                axes.set_ylabel(f"loss × {style.CHANNELS[measure].name}\n(Spearman)")
            if not row:
                axes.set_title(condition, pad=11)
    for axes in panels[-1]:
        axes.set_xlabel("lag behind the loss (steps)")
    _onsets(lower.subplots(), onset)
    handles = [
        Line2D([], [], c="k", lw=1.2),
        Line2D([], [], c=style.ORANGE, lw=1.2, ls=(0, (3, 1.2))),
        Patch(color="#e4e4e4"),
        *(Line2D([], [], c=look.colour, ls="", marker=look.marker, mfc=look.face, ms=3.8) for look in ONSET.values()),
    ]  # fmt: skip
    labels = [
        "first differences (faint: seeds)",
        "running median taken off",
        "95 % of the largest, by chance",
    ]
    labels += [look.label for look in ONSET.values()]
    caption = (
        "Top: rank correlation of loss and state by lag, mean over seeds. Right of zero the state follows: at lag +1 by construction, since it "
        "reads the statistics of the step before (state effect: +10). Grey: 95 % of the largest absolute correlations, of all lags, when "
        "each seed's series are turned against each other. Bottom: first step beyond three standard deviations of the calm steps before, "
        "the median of it and the next two too; a point a seed; right edge: seeds that stay within it."
    )
    return style.finish(made, _lead_title(summary), caption, note, (handles, labels), columns=3)


def _by_lag(axes: Axes, table: pd.DataFrame, summary: pd.DataFrame, condition: str, measure: str) -> None:
    here = (table["condition"] == condition) & (table["measure"] == measure)
    told = summary[(summary["condition"] == condition) & (summary["measure"] == measure)]
    rows = table[here & (table["method"] == "differences")]
    axes.axvline(0, c="k", lw=0.6, zorder=1)
    axes.axhline(0, c="k", lw=0.6, zorder=1)
    if rows.empty:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=style.GREY)
        return
    own = told[told["method"] == "differences"]
    limit = float(own["null_95"].iloc[0])
    if np.isfinite(limit):
        axes.axhspan(-limit, limit, color="#e4e4e4", lw=0, zorder=0)
    by_lag = rows.pivot_table(index="lag", columns="seed", values="correlation")
    other = table[here & (table["method"] == "detrended")]
    if by_lag.shape[1] > 1:
        axes.plot(by_lag.index, by_lag.to_numpy(float), c=style.GREY, lw=0.3, alpha=0.5, zorder=1)
    if len(other):
        mean = other.groupby("lag")["correlation"].mean()
        axes.plot(mean.index, mean, c=style.ORANGE, lw=1.0, ls=(0, (3, 1.2)), zorder=2)
    axes.plot(by_lag.index, by_lag.mean(axis=1), c="k", lw=1.0, zorder=3)
    p_value = float(own["p_value"].iloc[0])
    p_text = f", p = {p_value:.3f}" if np.isfinite(p_value) else ""
    if condition in leads(summary, measure):
        p_text += f"; a lead, p = {float(own['lead_p_value'].iloc[0]):.3f}"
    axes.annotate(
        f"peak at {signed(float(own['peak_lag'].iloc[0]), 0)}{p_text}", (1, 1), xycoords="axes fraction", xytext=(0, 1),
        textcoords="offset points", ha="right", va="bottom", fontsize=7,
    )  # fmt: skip
    axes.set_xlim(by_lag.index.min(), by_lag.index.max())


def _onsets(axes: Axes, onset: pd.DataFrame) -> None:
    rows = onset[(onset["condition"] == "self_random") & onset["sd"].notna()]
    axes.set_title("self_random: steps from a regime's onset until each leaves the usual")
    regimes = [name for name in style.REGIMES if (rows["regime"] == name).any()]
    if not regimes:
        axes.text(0.5, 0.5, "not measured in these runs", transform=axes.transAxes, ha="center", color=style.GREY)  # fmt: skip
        return
    longest = float(rows["length"].max())
    never = longest * 2.2
    for y, regime in enumerate(regimes):
        for offset, (measure, look) in zip(np.linspace(-0.3, 0.3, len(ONSET)), ONSET.items(), strict=True):
            values = rows.loc[(rows["regime"] == regime) & (rows["measure"] == measure), "latency"]
            found = values.dropna().sort_values().to_numpy()
            place = y + offset
            apart = place + np.linspace(-0.05, 0.05, len(found))  # so that equal latencies can be counted
            axes.plot(found, apart, look.marker, c=look.colour, mfc=look.face, ms=3, mew=0.7, zorder=2)
            if len(found) < len(values):
                axes.text(
                    never,
                    place,
                    f"{len(values) - len(found)} of {len(values)}",
                    color=look.colour,
                    fontsize=7,
                    ha="center",
                    va="center",
                )
    axes.set_xscale("symlog", linthresh=2, linscale=0.6)
    ticks = [tick for tick in (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if tick <= longest]
    axes.set_xticks([*ticks, never], [*map(str, ticks), "stay\nwithin"])
    axes.set_xlim(-0.3, never * 1.6)
    axes.axvline(longest * 1.4, c=style.LIGHT, lw=0.8)
    axes.minorticks_off()
    axes.set_yticks(
        range(len(regimes)), [f"{name}\n({style.REGIMES[name].gloss})" for name in regimes], fontsize=7
    )
    axes.set_ylim(len(regimes) - 0.5, -0.5)
    for y in range(1, len(regimes), 2):
        axes.axhspan(y - 0.5, y + 0.5, color="#f3f3f3", lw=0, zorder=-1)
    axes.set_xlabel("steps since the onset")


def leads(summary: pd.DataFrame, measure: str) -> list[str]:
    """The conditions in which a measure leads the loss: a negative lag beyond chance in both kinds of series, and
    stronger than any other lag."""
    found = []
    for condition, rows in summary[summary["measure"] == measure].groupby("condition", sort=False):
        strongest = (rows["peak_lag"] < 0).all()
        if len(rows) and strongest and (rows["lead_p_value"] < ALPHA).all():
            found.append(str(condition))
    return found


def _lead_title(summary: pd.DataFrame) -> str:
    """Which measures lead the loss somewhere, which nowhere, and whether the norm follows it."""
    if int(summary["n"].max()) < FEWEST_SEEDS:
        return f"Loss and state by lag ({plural(int(summary['n'].max()), 'seed')}: too few to test)"
    known = [name for name in MEASURES if (summary["measure"] == name).any()]
    where = {name: leads(summary, name) for name in known}
    short = {name: style.CHANNELS[name].name.removeprefix("state ") for name in known}
    in_all = [
        name
        for name in known
        if set(where[name]) == set(summary.loc[summary["measure"] == name, "condition"])
    ]
    some = [name for name in known if where[name] and name not in in_all]
    leading = listed([short[name] for name in in_all]) if in_all else "no measure of the state"
    parts = [f"{leading} leads the loss in every condition"]
    if some:
        told = [f"{short[name]} in {listed(where[name])}" for name in some]
        parts[0] += f" ({listed(told)} alone, by uncorrected tests)"
    norm = summary[(summary["measure"] == "state_norm") & (summary["method"] == "differences")]
    if len(norm) and ((norm["peak_lag"] > 0) & (norm["p_value"] < ALPHA)).all():
        parts.append("the norm follows the loss")
    title = "; ".join(parts)
    return title[0].upper() + title[1:]


def state_decomposition(tables: Tables, note: str) -> Drawing:
    """Distance, direction and speed of the state through each regime, beside the same steps of the calm run."""
    table = tables["state_decomposition"]
    shown = next((name for name in ("self_random", "self") if (table["condition"] == name).any()), None)
    if shown is None:
        raise NothingToDraw("state_decomposition.csv has neither self_random nor self")
    table = kit_tables.of_condition(table, shown)
    regimes = [name for name in style.REGIMES if (table["regime"] == name).any()]
    made = style.figure(style.WIDE, 5.6)
    panels = made.subplots(len(PARTS), len(regimes), sharex="col", sharey="row", squeeze=False)
    for column, regime in enumerate(regimes):
        rows = table[table["regime"] == regime]
        length = float((rows["end"] - rows["start"]).median())
        width = float(np.diff(np.sort(rows["since_onset"].unique())).min(initial=10))
        for row, (part, text) in enumerate(PARTS.items()):
            axes = panels[row, column]
            axes.axvspan(0, length, color="#dedede", lw=0, zorder=0)
            for name, look in (
                (f"calm_{part}", style.condition("self_calm")),
                (part, style.condition(shown)),
            ):
                by_bin = rows.pivot_table(index="since_onset", columns="seed", values=name)
                if len(by_bin):
                    by_bin.index += width / 2
                    curve(axes, by_bin, look, faint=0.4)
            if not column:
                axes.set_ylabel(text)
            if not row:
                gloss = style.REGIMES[regime].gloss
                axes.set_title(f"{regime}\n({gloss.replace(' to the state', '')})", fontsize=7)
            if part == "direction":
                axes.axhline(0, c="k", lw=0.6, zorder=1)
    for axes, part in zip(panels[:, 0], PARTS, strict=True):
        axes.set_ylim(*((-1.05, 1.05) if part == "direction" else (0, None)))
    for axes in panels[-1]:
        axes.set_xlabel("steps since onset")
    caption = (
        "Means of ten steps. Line: mean over seeds; band: 95 % t interval, from three seeds on; faint: seeds. Grey: the regime acts. Baseline: mean "
        "state of the 50 steps before the onset. Direction: cosine of the displacement from it with that at the regime's last step. "
        "self_calm: the same seed and steps without any regime. Curves end where another regime begins, so later bins may hold fewer seeds. Title: "
        "at the regime's end, paired by seed, t test with p < 0.05 / number of regimes."
    )
    return style.finish(made, _path_title(table, regimes), caption, note, style.condition_legend([shown, "self_calm"]))  # fmt: skip


def at_the_end(table: pd.DataFrame, regime: str) -> pd.DataFrame:
    """Distance from the baseline in the last bin of a regime's windows: index seed, columns own, calm."""
    rows = table[(table["regime"] == regime) & (table["since_onset"] < table["end"] - table["start"])]
    last = rows[rows["since_onset"] == rows.groupby(["seed", "start"])["since_onset"].transform("max")]
    means = last.groupby("seed")[["distance", "calm_distance"]].mean()
    return means.set_axis(["own", "calm"], axis=1)


def _path_title(table: pd.DataFrame, regimes: list[str]) -> str:
    moved = []
    for regime in regimes:
        found = at_the_end(table, regime)
        further = stats.paired(found["own"], found["calm"])
        if further.n < FEWEST_SEEDS:
            return f"The state's path through each regime ({plural(further.n, 'seed')}: too few to test)"
        if further.low > 0 and further.p < ALPHA / len(regimes):
            moved.append(regime)
    names = ", ".join(moved) if moved else "no regime"
    return f"Further from its baseline than the calm run goes in the same steps: {names}"


FIGURES: tuple[Figure, ...] = (
    Figure(
        "lead-lag.png",
        lead_lag,
        ("lead_lag", "lead_lag_summary", "onset"),
        "Whether the state moves before the loss does: correlation by lag beside a circular-shift null, and the steps from "
        "a regime's onset until loss and state leave the usual.",
    ),
    Figure(
        "state-decomposition.png",
        state_decomposition,
        ("state_decomposition",),
        "The state's path through each regime, split into distance from baseline, direction and speed, beside the same "
        "steps of the calm run.",
    ),
)
