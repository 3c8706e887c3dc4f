"""The figures on memory: the parts of an update through bewilderment, and stability against leverage."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from experiments.kit import stats, style
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.panels import Figure
from experiments.kit.style import Look
from experiments.kit.tables import NothingToDraw, Tables, of_condition, present
from experiments.kit.words import plural, signed

REGIME = "bewilderment"  # by which memories are compared
BIN = 5  # steps in a bin around its onset
LOOKS: dict[str, Look] = {
    "none": Look("no memory", style.GREY, "-", "v", filled=False),
    "ema": Look("EMA, decay 0.1", style.ORANGE, (0, (1, 1.2)), "D"),
    "buffer_32": Look("buffer of 32, stride 10", style.SKY, (0, (6, 1.5, 1, 1.5)), "^"),
    "buffer_64": Look("buffer of 64, stride 10", style.BLUE, "-", "o"),
    "buffer_128": Look("buffer of 128, stride 10", style.BLACK, (0, (4, 1.6)), "s"),
    "buffer_64_stride_5": Look("buffer of 64, stride 5", style.GREEN, (0, (3, 1, 1, 1)), "P", filled=False),
    "buffer_64_stride_20": Look("buffer of 64, stride 20", style.PURPLE, (0, (2, 1)), "X"),
}
PANELS = (  # column of memory_dynamics, its axis, whether it is drawn from zero
    ("mlp_norm", "network's part of the\nproposal (L2)", True),
    ("memory_norm", "memory's part of the\nproposal (L2)", True),
    ("distance", "distance from where the\nstate was before (L2)", True),
    ("gate", "gate", True),
    ("memory_share", "memory share", True),
    ("force", "pull back to there\n(L2 a step)", False),
)


def looks_of(names: Iterable[str]) -> dict[str, Look]:
    """The looks of memories, and of conditions unknown here, in one figure."""
    return style.conditions(names, {**style.CONDITIONS, **LOOKS})


def dynamics(tables: Tables, note: str, condition: str) -> Drawing:
    """The parts of one configuration's update through bewilderment."""
    table = tables.rows("memory_dynamics")
    rows = of_condition(table, condition)
    if rows.empty:
        raise NothingToDraw(f"memory_dynamics has no rows of the condition {condition}")
    length = float(rows["length"].median())
    made = style.figure(style.WIDE, 4.3)
    panels = made.subplots(2, 3, sharex=True)
    for (column, label, from_zero), axes in zip(PANELS, panels.ravel(), strict=True):
        axes.axvspan(0, length, color="#e4e4e4", lw=0, zorder=0)
        axes.set_ylabel(label)
        wide = rows.pivot_table(index="middle", columns="seed", values=column)
        if wide.empty or rows[column].isna().all():
            reason = "no memory" if column in ("memory_norm", "gate", "memory_share") else "not measured"
            axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", color="#555555")
        else:
            _lines(axes, wide, looks_of((condition,))[condition])
        if column == "force":
            _memory_pull(axes, rows)
        _limits(axes, table, column, from_zero)
        axes.set_xlim(rows["middle"].min(), rows["middle"].max())
    for axes in panels[1]:
        axes.set_xlabel("steps since the onset")
    n = rows["seed"].nunique()
    caption = (
        f"Condition {condition}, n = {plural(n, 'seed')}, means of 5 steps. Thin: seeds; bold: their mean. Grey: {REGIME}, in which "
        "half of the targets are random. Steps of other regimes are left out. Scales are the same in the figures of all memories. "
        "Memory share: memory's part over the sum of both. Pull: minus the update's component away from the mean state of the 50 steps "
        "before, above zero is back; broken line: the memory's part of it. Thin lines end where a seed's next regime begins; there the mean can jump."
    )
    return style.finish(made, _dynamics_title(rows, condition), caption, note)


def _lines(axes: Axes, wide: pd.DataFrame, own: Look) -> None:
    """Every seed thin, the mean bold, broken where another regime acted."""
    middles = wide.index.to_numpy(float)
    wide = wide.reindex(np.arange(middles.min(), middles.max() + BIN / 2, BIN))
    axes.plot(wide.index, wide.to_numpy(float), color=own.colour, lw=0.4, alpha=0.55, zorder=2)
    axes.plot(wide.index, wide.mean(axis=1), color=own.colour, lw=1.8, zorder=3)


def _memory_pull(axes: Axes, rows: pd.DataFrame) -> None:
    axes.axhline(0, c="k", lw=0.6, zorder=1)
    pull = rows.groupby("middle")["force_memory"].mean()
    if pull.notna().any() and (pull != 0).any():
        axes.plot(pull.index, pull, color="k", lw=1.0, ls=(0, (3, 1.2)), zorder=4)


def _limits(axes: Axes, table: pd.DataFrame, column: str, from_zero: bool) -> None:
    """One scale for all memories, with room for every value of any."""
    columns = [column, "force_memory"] if column == "force" else [column]
    values = table[columns].to_numpy(float)
    values = values[np.isfinite(values)]
    if not len(values):
        return
    low, high = values.min(), values.max()
    margin = 0.06 * (high - low) or 0.1
    axes.set_ylim(0 if from_zero else low - margin, high + margin)


def _dynamics_title(rows: pd.DataFrame, condition: str) -> str:
    """What bewilderment does to the memory share: during it minus before, paired by seed."""
    name = looks_of((condition,))[condition].label
    name = name[0].upper() + name[1:]
    if rows["memory_share"].isna().all():
        return f"{name}: the updates through {REGIME}"
    before, during = (
        rows[mask].groupby("seed")["memory_share"].mean()
        for mask in (rows["middle"] < 0, (rows["middle"] > 0) & (rows["middle"] < rows["length"]))
    )
    change = stats.paired(during, before)
    sizes = f"{before.mean():.2f} before, {during.mean():.2f} in it"
    if change.n < FEWEST_SEEDS:
        return f"{name}: memory share {sizes} (too few seeds to test)"
    verb = "does not clearly change" if not change.clear else "rises" if change.mean > 0 else "falls"
    return f"{name}: in {REGIME} the memory share {verb} ({sizes})"


AXES = (
    ("drift", "leverage", "leverage: effect of the\nlearned directions (nats)"),
    ("drift", "leverage_over_placebo", "leverage beyond the\nstronger placebo (nats)"),
    ("displacement", "leverage", "leverage: effect of the\nlearned directions (nats)"),
    ("displacement", "leverage_over_placebo", "leverage beyond the\nstronger placebo (nats)"),
)
X_LABELS = {
    "drift": "drift (L2 a step); left: stabler",
    "displacement": "displacement (of the norm); left: stabler",
}


def tradeoff(tables: Tables, note: str) -> Drawing:
    """Stability against leverage: a point a seed and memory, and the mean of each memory, larger."""
    table = tables.rows("memory_tradeoff")
    names = [*present(table, tuple(LOOKS)), *sorted(set(table["condition"]) - set(LOOKS))]
    looks = looks_of(names)
    if table["leverage"].isna().all():
        raise NothingToDraw("memory_tradeoff has no frozen-weight test")
    made = style.figure(style.WIDE, 6.2)
    for (x, y, label), axes in zip(AXES, made.subplots(2, 2).ravel(), strict=True):
        drawn: list[pd.DataFrame] = []
        for name, own in looks.items():
            rows = of_condition(table, name).dropna(subset=[x, y])
            if rows.empty:
                continue
            drawn.append(rows)
            axes.plot(
                rows[x], rows[y], own.marker, c=own.colour, mfc=own.face, ms=3.2, mew=0.6, alpha=0.6, zorder=2
            )
            axes.plot(
                rows[x].mean(), rows[y].mean(), own.marker, c=own.colour, mfc=own.face, ms=7.5, mew=1.4, zorder=3
            )  # fmt: skip
        for _, of_seed in pd.concat(drawn).sort_values(x).groupby("seed") if drawn else ():
            axes.plot(of_seed[x], of_seed[y], c=style.LIGHT, lw=0.6, zorder=0)
        if y != "leverage":
            axes.axhline(0, c="k", lw=0.6, zorder=1)
        axes.set_xlabel(X_LABELS[x])
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_ylabel(label)
    handles = [
        Line2D([], [], ls="", marker=own.marker, color=own.colour, mfc=own.face, ms=4.5)
        for own in looks.values()
    ]
    caption = (
        f"In {REGIME}. Small: single seeds (n = {table['seed'].nunique()} at most), a grey line through those of one seed; large: their mean. Leverage: held-out effect of the frozen-weight "
        "test, dimension finder, weights of the last step; beyond placebo: minus the larger of the mean effects of the placebos selected "
        "in the same way. Displacement: mean distance from the mean state of the 50 steps before, over the norm then. Drift and leverage "
        "follow the scale of a state; displacement does not. Title: Spearman's correlation of little movement with leverage beyond placebo over the "
        "memories of each seed, mean and 95 % t interval; below zero, stiller steers less."
    )
    legend = (handles, [own.label for own in looks.values()])
    return style.finish(made, _tradeoff_title(tables.rows("memory_ranks")), caption, note, legend)


def _tradeoff_title(ranks: pd.DataFrame) -> str:
    """Whether stabler states steer less, by drift and by displacement, beyond placebo."""
    rows = ranks[ranks["outcome"] == "leverage_over_placebo"].groupby("stability")["rho"]
    found = {str(name): stats.estimate(values) for name, values in rows}
    found = {name: value for name, value in found.items() if value.n}
    if not found or max(value.n for value in found.values()) < FEWEST_SEEDS:
        return "Stability against leverage (too few seeds or memories to test)"
    sizes = ", ".join(
        f"little {name} {signed(value.mean, 2)} [{signed(value.low, 2)}, {signed(value.high, 2)}]"
        for name, value in found.items()
    )
    lower, higher = (all(test(value) for value in found.values()) for test in (_below, _above))
    verdict = (
        "Memories that hold the state stiller steer less" if lower
        else "Memories that hold the state stiller steer more" if higher
        else "Two measures of stability point to opposite trade-offs with leverage" if len({value.mean > 0 for value in found.values()}) > 1
        else "No clear trade-off of stability against leverage"
    )  # fmt: skip
    return f"{verdict} (ρ beyond placebo: {sizes})"


def _below(value: stats.Estimate) -> bool:
    return value.clear and value.mean < 0


def _above(value: stats.Estimate) -> bool:
    return value.clear and value.mean > 0


def _of(name: str) -> Figure:
    return Figure(
        f"memory/{name}_{REGIME}.png",
        f"The updates through {REGIME}, seed by seed ({LOOKS[name].label}): the network's and the memory's part, gate, memory share, "
        "and the pull back to where the state was.",
        lambda tables, note, _: dynamics(tables, note, name),
        ("memory_dynamics",),
    )


FIGURES = (
    *map(_of, LOOKS),
    Figure(
        "memory/tradeoff.png",
        "Stability in bewilderment against the leverage of the learned directions, every seed and memory a point, with and "
        "without what placebos reach.",
        lambda tables, note, _: tradeoff(tables, note),
        ("memory_tradeoff", "memory_ranks"),
    ),
)
