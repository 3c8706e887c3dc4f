"""The controls beside the self-state: what regimes do to each, what each gains, and a scatter a condition."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D

from experiments.kit import stats, style
from experiments.kit import tables as kit_tables
from experiments.kit.levels import ALPHA, FEWEST_SEEDS
from experiments.kit.panels import by_seed
from experiments.kit.style import Look
from experiments.kit.tables import RUN, NothingToDraw
from plots.figure import Figure, Tables

LOOKS: dict[str, Look] = {
    "self": Look("self (32-D state)", style.BLUE),
    "state_1d": Look("state_1d", style.SKY, marker="P", filled=False),
    "state_1d_matched": Look("state_1d_matched (norm of self)", style.SKY, marker="H"),
    "fixed_half": Look("fixed_half (½ norm of self)", style.ORANGE, marker="v", filled=False),
    "fixed_one": Look("fixed_one (norm of self)", style.ORANGE, marker="D"),
    "fixed_two": Look("fixed_two (2 × norm of self)", style.ORANGE, marker="^", filled=False),
    "learned_bias": Look("learned_bias (constant)", style.GREEN, marker="<"),
    "vanilla": Look("vanilla (no bias)", style.VERMILLION, marker="s", filled=False),
}
REGIME_COLOURS = {
    "bewilderment": style.VERMILLION,
    "sensory_fog": style.BLUE,
    "false_feedback": style.GREEN,
    "self_clamp": style.PURPLE,
    "lr_heatwave": style.ORANGE,
}
OF_BIAS = "the bias's effect"
GROUPED: dict[str, Any] = {"upright": True, "thick": 1.2, "ms": 2.8, "mew": 0.6, "alpha": 0.8}  # of by_seed
STATIC = ("fixed_half", "fixed_one", "fixed_two", "learned_bias")
COMMON = ("loss", "entropy", "top1", "grad_norm", "state_effect")  # channels that a constant bias has too
COMPARISON, LOSSES, FROZEN = "controls_comparison", "control_losses", "frozen_effects_summary"
COLUMNS: dict[str, tuple[str, ...]] = {
    COMPARISON: (*RUN, "regime", "metric", "delta", "detrended", "difference"),
    LOSSES: (*RUN, "heldout_loss", "difference"),
}


def look(name: str) -> Look:
    return LOOKS.get(name) or style.condition(name)


def ordered(table: pd.DataFrame) -> list[str]:
    """The table's conditions: known ones in the order of LOOKS, then the others."""
    have = set(table["condition"])
    return [name for name in LOOKS if name in have] + sorted(have - set(LOOKS))


def regimes_in(table: pd.DataFrame) -> list[str]:
    """The table's regimes: known ones in the order of every figure, then the others."""
    have = set(table["regime"])
    return [name for name in style.REGIMES if name in have] + sorted(have - set(style.REGIMES))


def unlike(table: pd.DataFrame, one: str, other: str) -> dict[tuple[str, str], stats.Estimate]:
    """Regimes and channels in which two conditions react differently: detrended change of one minus the other's.

    Channels are COMMON. Paired t test over seeds, from three on, p < 0.05 / number of regimes and channels tested.
    """
    rows = table[table["condition"].isin([one, other]) & table["metric"].isin(COMMON)]
    if not {one, other} <= set(rows["condition"]):
        return {}
    wide = rows.pivot_table(index="seed", columns=["condition", "regime", "metric"], values="detrended")
    apart = wide[one] - wide[other]
    found = {(str(regime), str(metric)): stats.estimate(apart[regime, metric]) for regime, metric in apart}
    found = {place: value for place, value in found.items() if value.n >= FEWEST_SEEDS}
    return {place: value for place, value in found.items() if value.p < ALPHA / len(found)}


def response(table: pd.DataFrame, condition: str, metric: str = "state_effect") -> pd.Series:
    """How strongly a channel answers to regimes, by seed: mean over regimes of the absolute detrended change."""
    rows = kit_tables.of_condition(table[table["metric"] == metric], condition)
    return rows.assign(size=rows["detrended"].abs()).groupby("seed")["size"].mean()


def comparison(tables: Tables, note: str) -> Drawing:
    """Reactions to each regime by condition, the final loss against vanilla, and the frozen-weight effect."""
    table, losses = tables[COMPARISON], tables[LOSSES]
    names = [name for name in ordered(table) if name != "vanilla"]
    if not names:
        raise NothingToDraw("controls_comparison.csv has no condition with a bias")
    frozen = tables[FROZEN]
    made = style.figure(style.WIDE, 7.6)
    grid = GridSpec(3, 1, figure=made, height_ratios=[1, 1, 1])
    top = made.add_subplot(grid[0])
    _by_regime(top, table[table["metric"] == "loss"], names, "difference")
    top.set_title("training loss: Δ in the regime minus vanilla's Δ, same seed and steps")
    top.set_ylabel("Δ loss − vanilla's\n(nats)")
    middle = made.add_subplot(grid[1])
    _by_regime(middle, table[table["metric"] == "state_effect"], names, "detrended")
    middle.set_title("effect of the injected bias: Δ in the regime beyond the run's calm course")
    middle.set_ylabel("Δ effect\n(mean |Δ logit|)")
    bottom = grid[2].subgridspec(1, 2, width_ratios=[1.25, 1])
    _final(made.add_subplot(bottom[0]), losses, names)
    _frozen(made.add_subplot(bottom[1]), frozen)
    caption = (
        "Every point a seed; bars: mean and, from three seeds on, 95 % t interval. Calm course: a parabola through the run's own calm "
        "steps, since a self-state's bias grows through training and a fixed one does not. Title: paired t test over seeds, "
        "p < 0.05 / number of regimes and channels (loss, entropy, confidence, gradient norm, effect), three of them not drawn; how strongly an "
        "effect reacts: mean over regimes of |Δ|, over that of self. Frozen-weight test: "
        "held-out protocol, gradient finder, the one that a state of one dimension has; bars: untrained placebos, mean over seeds."
    )
    handles = [
        Line2D([], [], ls="", marker=look(n).marker, c=look(n).colour, mfc=look(n).face, ms=4) for n in names
    ]
    return style.finish(made, _title(table, names), caption, note, (handles, [look(n).label for n in names]))


def _by_regime(axes: Axes, rows: pd.DataFrame, names: list[str], column: str) -> None:
    regimes = regimes_in(rows)
    shifts = np.linspace(-0.38, 0.38, len(names)) if len(names) > 1 else [0.0]
    for x, regime in enumerate(regimes):
        if x % 2:
            axes.axvspan(x - 0.5, x + 0.5, color="#f3f3f3", lw=0, zorder=-1)
        for shift, name in zip(shifts, names, strict=True):
            here = rows[(rows["condition"] == name) & (rows["regime"] == regime)]
            by_seed(axes, x + shift, here[column], look(name), apart=0.035, bar=0.0455, **GROUPED)
    axes.axhline(0, c="k", lw=0.6, zorder=1)
    axes.set_xticks(range(len(regimes)), regimes)
    axes.set_xlim(-0.5, max(len(regimes), 1) - 0.5)


def _final(axes: Axes, losses: pd.DataFrame, names: list[str]) -> None:
    for y, name in enumerate(names[::-1]):
        values = kit_tables.of_condition(losses, name)["difference"].dropna()
        of = look(name)
        by_seed(axes, y, values, of, upright=False, bar=0.25, thick=1.2, ms=3.2, mew=0.7)
    axes.axvline(0, c="k", lw=0.6, zorder=1)
    axes.set_yticks(range(len(names)), names[::-1])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_title("final held-out loss minus vanilla's")
    axes.set_xlabel("difference (nats a token; left: better)")


def _frozen(axes: Axes, frozen: pd.DataFrame) -> None:
    axes.set_title("frozen-weight test")
    axes.set_ylabel("effect size (nats)")
    if not frozen.empty:
        frozen = frozen[
            (frozen["protocol"] == "heldout")
            & (frozen["finder"] == "gradient")
            & (frozen["placebo"] == "untrained")
        ]
    if frozen.empty:
        axes.text(0.5, 0.5, "not measured yet", transform=axes.transAxes, ha="center", color=style.GREY)
        axes.set_xticks([])
        return
    names = ordered(frozen)
    last = frozen[frozen["run_step"] == frozen["run_step"].max()]
    for x, name in enumerate(names):
        rows = kit_tables.of_condition(last, name).groupby("seed")[["effect", "placebo_mean"]].mean()
        axes.bar(x, rows["placebo_mean"].mean(), 0.7, color="#dedede", zorder=0)
        by_seed(axes, x, rows["effect"], look(name), apart=0.12, bar=0.156, **GROUPED)
    axes.set_xticks(range(len(names)), [name.replace("state_1d_", "state_1d_\n") for name in names])
    axes.set_ylim(0, None)
    axes.set_xlim(-0.6, len(names) - 0.4)


def _title(table: pd.DataFrame, names: list[str]) -> str:
    """In how many reactions the self-state differs from constant biases, and how strong one dimension's are."""
    static = [name for name in STATIC if name in names]
    if "self" not in names or table["seed"].nunique() < FEWEST_SEEDS:
        return (
            "How self-states and constant biases react to each regime (too few seeds or conditions to test)"
        )
    parts = []
    if static:
        counts = [f"{name} in {len(unlike(table, 'self', name))}" for name in static]
        tested = table[table["metric"].isin(COMMON)].groupby(["regime", "metric"]).ngroups
        parts.append(f"Of {tested} reactions the self-state's differ from {', '.join(counts)}")
    for name in ("state_1d", "state_1d_matched"):
        if name in names:
            ratio = response(table, name).mean() / response(table, "self").mean()
            parts.append(f"the effect of {name} reacts {ratio:.2f} × as strongly")
    return "; ".join(parts) or "How the self-state reacts to each regime"


def scatter(condition: str) -> Callable[[Tables, str], Drawing]:
    """The function that draws one condition's scatter: each regime and seed, change of loss against change of effect."""

    def draw(tables: Tables, note: str) -> Drawing:
        return _scatter(tables, note, condition)

    draw.__doc__ = f"Change of loss against change of the bias's effect, by regime and seed, in {condition}."
    return draw


def _plane(table: pd.DataFrame, condition: str, metric: str, column: str) -> pd.DataFrame:
    """Columns regime, seed, x (change of loss) and y (change of the other metric) of a condition."""
    rows = kit_tables.of_condition(table, condition)
    wide = rows[rows["metric"].isin(["loss", metric])].pivot_table(
        index=["regime", "seed"], columns="metric", values=column
    )
    if not {"loss", metric} <= set(wide):
        return pd.DataFrame(columns=["regime", "seed", "x", "y"])
    return wide.rename(columns={"loss": "x", metric: "y"}).dropna(subset=["x", "y"]).reset_index()


def _scatter(tables: Tables, note: str, condition: str) -> Drawing:
    table = tables[COMPARISON]
    metric = "state_effect"
    rows = _plane(table, condition, metric, "detrended")
    if rows.empty:
        metric = "entropy"
        rows = _plane(table, condition, metric, "detrended")
    if rows.empty:
        raise NothingToDraw(f"controls_comparison.csv has nothing of {condition}")
    made = style.figure(style.COLUMN, 3.7)
    axes = made.add_subplot()
    axes.axhline(0, c=style.LIGHT, lw=0.7, zorder=0)
    axes.axvline(0, c=style.LIGHT, lw=0.7, zorder=0)
    beside = _plane(table, "self", metric, "detrended") if condition != "self" else rows.iloc[:0]
    handles: list[Line2D] = []
    for regime in regimes_in(rows):
        colour = REGIME_COLOURS.get(regime, style.BLACK)
        marker = style.REGIMES[regime].marker if regime in style.REGIMES else "o"
        here = rows[rows["regime"] == regime]
        axes.plot(here["x"], here["y"], marker, c=colour, ms=3.6, mew=0.5, mec="white", alpha=0.9, zorder=2)
        x, y = stats.estimate(here["x"]), stats.estimate(here["y"])
        if x.n >= FEWEST_SEEDS:
            axes.plot([x.low, x.high], [y.mean] * 2, c=colour, lw=1.1, zorder=3)
            axes.plot([x.mean] * 2, [y.low, y.high], c=colour, lw=1.1, zorder=3)
        axes.plot(x.mean, y.mean, marker, c=colour, ms=6.5, mew=0.9, mec="k", zorder=4)
        handles.append(Line2D([], [], ls="", marker=marker, c=colour, mec="k", mew=0.7, ms=5))
        other = beside[beside["regime"] == regime]
        if len(other):
            axes.plot(
                other["x"].mean(), other["y"].mean(), marker, mfc="none", mec=style.GREY, ms=6.5, zorder=1
            )
    axes.set_xlabel("Δ " + style.CHANNELS["loss"].label)
    label = style.CHANNELS[metric].label
    axes.set_ylabel(
        "Δ " + (label.replace("state effect", "effect of the bias") if condition in STATIC else label)
    )
    axes.margins(0.08)
    clear = [regime for regime, found in _own(rows) if found.n >= FEWEST_SEEDS and found.p < ALPHA / 5]
    name = (
        "effect of the bias"
        if condition in STATIC and metric == "state_effect"
        else style.CHANNELS[metric].name
    )
    if rows["seed"].nunique() < FEWEST_SEEDS:
        title = f"{condition}: loss and {name} by regime"
    else:
        title = f"{condition}: {name} reacts clearly to {', '.join(clear) or 'no regime'}"
    caption = (
        f"Small: seeds (n = {rows['seed'].nunique()}). Large: means, with 95 % t intervals from three seeds on. Change in the regime "
        f"beyond the run's calm course.{' Grey outlines: means of self.' if len(beside) else ''} Title: t test, p < 0.05 / 5."
    )
    return style.finish(made, title, caption, note, (handles, regimes_in(rows)), columns=2)


def _own(rows: pd.DataFrame) -> list[tuple[str, stats.Estimate]]:
    return [(regime, stats.estimate(rows.loc[rows["regime"] == regime, "y"])) for regime in regimes_in(rows)]


FIGURES: tuple[Figure, ...] = (
    Figure(
        "controls/controls-comparison.png",
        comparison,
        (COMPARISON, LOSSES, FROZEN),
        "How self-states and biases that sense nothing react to each regime, what each gains in held-out loss, and how far "
        "the state steers with frozen weights.",
        "controls",
    ),
    *(
        Figure(
            f"controls/{name}.png",
            scatter(name),
            (COMPARISON,),
            f"Change of loss against change of {'entropy' if name == 'vanilla' else OF_BIAS} in `{name}`, by regime and seed.",
            "controls",
        )
        for name in LOOKS
    ),
)
