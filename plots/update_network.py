"""The figure on the update network: how the finished network reads each statistic, and what comes of it."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D

from experiments.kit import stats, style
from experiments.kit import tables as kit_tables
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.tables import RUN, NothingToDraw
from experiments.kit.words import percent
from plots.figure import Figure, Tables

CONDITIONS = ("self_calm", "self", "self_random")
INPUTS: dict[str, style.Look] = {
    "loss": style.Look("loss", style.VERMILLION),
    "entropy": style.Look("entropy", style.BLUE, (0, (4, 1.6)), "s"),
    "top1": style.Look("confidence", style.GREEN, (0, (1, 1.2)), "^"),
    "grad_norm": style.Look("gradient norm", style.BLACK, (0, (6, 1.5, 1, 1.5)), "D"),
    "progress": style.Look("progress", style.PURPLE, "-", "v", 0.9),
}
FROZEN = {**{name: look.label for name, look in INPUTS.items()}, "all but progress": "all but progress"}
FEATURES = {
    "statistics": "statistics\nthemselves",
    "hidden units before training": "hidden units\nbefore training",
    "hidden units": "hidden units",
}
OFFSETS = {"self_calm": -0.24, "self": 0.0, "self_random": 0.24}
COLUMNS: dict[str, tuple[str, ...]] = {
    "update_replay": (*RUN, "movement_share"),
    "update_sensitivity": (*RUN, "input", "point", "bias_norm_change"),
    "update_ablation": (*RUN, "frozen", "relative_change"),
    "update_gradients": (*RUN, "input", "share"),
    "update_correlations": (*RUN, "input", "of", "series", "rho", "null_95"),
    "update_probe": (
        *RUN,
        "features",
        "balanced_accuracy",
        "null_mean",
        "null_95",
        "p_value_all",
        "classes",
    ),
}


def update_network(tables: Tables, note: str) -> Drawing:
    """Six panels: how far the replay goes, sensitivity, gradients, inputs frozen, drift against inputs, the probe."""
    conditions = kit_tables.present(tables["update_replay"], CONDITIONS)
    if not conditions:
        raise NothingToDraw("update_replay.csv has none of the conditions self_calm, self and self_random")
    made = style.figure(style.WIDE, 6.6)
    panels = made.subplots(2, 3)
    _replay(panels[0, 0], tables["update_replay"], conditions)
    shown = conditions[-1]
    _sensitivity(panels[0, 1], kit_tables.of_condition(tables["update_sensitivity"], shown))
    _columns(panels[0, 2], tables["update_gradients"], "input", "share", list(INPUTS), conditions)
    panels[0, 2].set_title("gradient × input's spread")
    panels[0, 2].set_xlabel("share of the sum over inputs")
    panels[0, 2].set_xlim(left=0)
    _columns(panels[1, 0], tables["update_ablation"], "frozen", "relative_change", list(FROZEN), conditions)
    panels[1, 0].set_title("one input held at its median")
    panels[1, 0].set_xlabel("change of the replayed path\n(share of its movement)")
    panels[1, 0].set_xlim(left=0)
    panels[1, 0].axvline(1, c="k", lw=0.7, ls=":", zorder=0)
    _correlations(panels[1, 1], tables["update_correlations"], conditions)
    _probe(panels[1, 2], tables["update_probe"])
    handles, labels = style.condition_legend(conditions, "points")
    handles.append(Line2D([], [], c="k", ls="", marker="|", ms=7, mew=1.3))
    labels.append("mean over seeds")
    caption = (
        "The network as it was after the last step, fed the statistics of the whole run. Points: seeds. Top left: movement, root mean square "
        "distance of a path from its own mean, after warm-up. Top middle: one input through the range it had (5th to 95th percentile), the others "
        f"at their median, mean over seeds of {shown}, band: 95 % t interval from three seeds on. Bottom middle: Spearman correlation of the "
        "drift with the size of an input's change, slow trends taken off; grey: 95 % of absolute correlations under circular "
        "shifts. Bottom right: linear discriminant tried on a run left out; grey: regimes permuted between stretches (95 % of draws below). "
        "Dotted: as far as the log (left), one class in as many by chance (right). Title: mean over seeds and conditions."
    )
    return style.finish(made, _title(tables), caption, note, (handles, labels), columns=2)


def _ticks(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    for y in range(1, len(labels), 2):
        axes.axhspan(y - 0.5, y + 0.5, color="#f3f3f3", lw=0, zorder=-1)


def _points(axes: Axes, y: float, values: pd.Series, look: style.Look) -> None:
    values = values.dropna()
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
        alpha=0.8,
        zorder=2,
    )
    axes.plot([values.mean()] * 2, [y - 0.12, y + 0.12], c="k", lw=1.3, zorder=3)


def _columns(
    axes: Axes, table: pd.DataFrame, key: str, column: str, order: Sequence[str], conditions: Sequence[str]
) -> None:
    """A row of the panel a value of `key`, a point a seed of each condition."""
    names = [name for name in order if (table[key] == name).any()]
    for y, name in enumerate(names):
        for condition in conditions:
            rows = table[(table[key] == name) & (table["condition"] == condition)]
            _points(axes, y + OFFSETS[condition], rows[column], style.condition(condition))
    _ticks(axes, [FROZEN.get(name, name) for name in names])


def _replay(axes: Axes, table: pd.DataFrame, conditions: Sequence[str]) -> None:
    for y, condition in enumerate(conditions):
        rows = table[table["condition"] == condition]
        _points(axes, y, rows["movement_share"], style.condition(condition))
    _ticks(axes, conditions)
    axes.axvline(1, c="k", lw=0.7, ls=":", zorder=0)
    axes.set_xlim(0, max(1.1, 1.1 * float(table["movement_share"].max())))
    axes.set_title("replay with the finished network")
    axes.set_xlabel("movement of the state\n(share of the logged movement)")


def _sensitivity(axes: Axes, table: pd.DataFrame) -> None:
    for name, look in INPUTS.items():
        rows = table[table["input"] == name]
        if rows.empty:
            continue
        band = stats.band(rows.pivot_table(index="point", columns="seed", values="bias_norm_change"))
        x = 5 + 90 * band.index.to_numpy() / max(int(band.index.max()), 1)
        if rows["seed"].nunique() >= FEWEST_SEEDS:
            axes.fill_between(x, band["low"], band["high"], color=look.colour, alpha=0.12, lw=0)
        axes.plot(x, band["mean"], c=look.colour, ls=look.line, lw=look.width, label=look.label)
    axes.axhline(0, c="k", lw=0.6, zorder=0)
    axes.set_title("one input varied")
    axes.set_xlabel("place in the input's range (%)")
    axes.set_ylabel("change of the bias's norm (L2)")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.45 * (high - low))  # room for the names, which else lie on the bands
    axes.legend(loc="upper left", fontsize=7, labelspacing=0.15, handlelength=2)


def _correlations(axes: Axes, table: pd.DataFrame, conditions: Sequence[str]) -> None:
    table = table[(table["of"] == "change") & (table["series"] == "detrended")].dropna(subset=["rho"])
    names = [name for name in INPUTS if (table["input"] == name).any()]
    for y, name in enumerate(names):
        for condition in conditions:
            rows = table[(table["input"] == name) & (table["condition"] == condition)]
            if rows.empty:
                continue
            place = y + OFFSETS[condition]
            limit = rows["null_95"].mean()
            axes.fill_betweenx([place - 0.11, place + 0.11], -limit, limit, color=style.LIGHT, lw=0, zorder=0)
            _points(axes, place, rows["rho"], style.condition(condition))
    _ticks(axes, [INPUTS[name].label for name in names])
    axes.axvline(0, c="k", lw=0.6, zorder=1)
    axes.set_title("drift × input's change")
    axes.set_xlabel("Spearman correlation")


def _probe(axes: Axes, table: pd.DataFrame) -> None:
    axes.set_title("regime told in runs left out")
    table = table.dropna(subset=["balanced_accuracy"])
    names = [name for name in FEATURES if (table["features"] == name).any()]
    if not names:
        axes.text(0.5, 0.5, "not measured:\nthat takes two runs", transform=axes.transAxes, ha="center", color=style.GREY)  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        return
    for y, name in enumerate(names):
        rows = table[table["features"] == name]
        axes.fill_betweenx([y - 0.3, y + 0.3], 0, rows["null_95"].mean(), color="#e6e6e6", lw=0, zorder=0)
        axes.plot([rows["null_mean"].mean()] * 2, [y - 0.3, y + 0.3], c=style.GREY, lw=1.2, zorder=1)
        _points(axes, y, rows["balanced_accuracy"], style.condition("self_random"))
    _ticks(axes, [FEATURES[name] for name in names])
    axes.axvline(1 / table["classes"].iloc[0], c="k", lw=0.7, ls=":", zorder=1)
    axes.set_xlim(0, 1)
    axes.set_xlabel("balanced accuracy")


def probe_gain(table: pd.DataFrame, one: str, other: str) -> stats.Estimate:
    """Balanced accuracy of one feature set minus another's, paired by the run left out."""
    first, second = (
        table[table["features"] == name].groupby("seed")["balanced_accuracy"].mean() for name in (one, other)
    )
    return stats.paired(first, second)


def _title(tables: Tables) -> str:
    share = stats.estimate(tables["update_replay"].groupby("seed")["movement_share"].mean())
    parts = [
        f"The finished update network, fed the whole run's statistics, makes {percent(share.mean)} of the state's logged movement"
    ]
    probe = tables["update_probe"]
    if probe["balanced_accuracy"].notna().any():
        gain = probe_gain(probe, "hidden units", "hidden units before training")
        if gain.n >= FEWEST_SEEDS:
            how = "better" if gain.low > 0 else "worse" if gain.high < 0 else "not clearly better"
            parts.append(f"its hidden units tell regimes {how} than before training")
    return "; ".join(parts)


FIGURES: tuple[Figure, ...] = (
    Figure(
        "update-network.png",
        update_network,
        tuple(COLUMNS),
        "How the finished update network reads each statistic: what a replay with it makes of the state's path, "
        "sensitivity, gradients, inputs held at their median, drift against inputs, and a probe of its hidden units.",
    ),
)
