"""Figures about training as a whole: learning curves and the path of the state."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from experiments.kit import stats, style
from experiments.kit import tables as kit_tables
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.stats import rank_correlation
from experiments.kit.style import Look
from experiments.kit.words import percent, plural, signed
from plots.figure import Tables

PAIRS = (  # each condition with a self-state beside its twin without one: same seeds, same batches
    ("self", "vanilla", "regimes in fixed windows"),
    ("self_calm", "vanilla_calm", "no regime"),
    ("self_random", "vanilla_random", "regimes at random times"),
)


def curve(
    axes: Axes, table: pd.DataFrame, look: Look, log: bool = False, faint: float = 0.25, summary: bool = True
) -> None:
    """Mean over seeds with its 95 % band, and each seed as a faint line. `table` is as `series.binned` returns.

    Without `summary` each seed is drawn in full: a mean over runs that were disturbed at different times says little.
    """
    if not summary and table.shape[1] > 1:
        axes.plot(table.index, table.to_numpy(float), color=look.colour, lw=0.5, alpha=0.6, zorder=1)
        return
    steps = table.index.to_numpy(float)
    few = table.shape[1] < FEWEST_SEEDS  # no band then, so the seeds' own lines are made plainer
    if faint and table.shape[1] > 1:
        axes.plot(
            steps, table.to_numpy(float), color=look.colour, lw=0.3, alpha=0.6 if few else faint, zorder=1
        )
    over_seeds = stats.band(table, log)
    if over_seeds["low"].notna().any() and not few:
        low, high = over_seeds["low"].to_numpy(float), over_seeds["high"].to_numpy(float)
        axes.fill_between(steps, low, high, color=look.colour, alpha=0.2, lw=0, zorder=2)
    mean = over_seeds["mean"].dropna()
    axes.plot(mean.index, mean, color=look.colour, ls=look.line, lw=look.width, zorder=3)
    if log:
        style.log_axis(axes)


def shade(axes: Axes, windows: list[tuple[str, int, int]], named: bool = False) -> None:
    """Grey stretches where a regime acts, every other one darker, so that neighbours stay apart."""
    for index, (regime, start, end) in enumerate(sorted(windows, key=lambda window: window[1])):
        axes.axvspan(start, end, color="#ececec" if index % 2 else "#dedede", lw=0, zorder=0)
        if named:
            axes.annotate(
                regime, ((start + end) / 2, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 2),
                textcoords="offset points", rotation=45, ha="left", va="bottom", rotation_mode="anchor", fontsize=7,
            )  # fmt: skip


def _groups(metrics: pd.DataFrame) -> list[tuple[list[str], str]]:
    """Conditions that share a panel, with its name: the pairs, then any that belong to none."""
    known = [(kit_tables.present(metrics, pair), name) for *pair, name in PAIRS]
    rest = sorted(set(metrics["condition"]) - {one for *pair, _ in PAIRS for one in pair})
    return [(found, name) for found, name in known if found] + ([(rest, "other conditions")] if rest else [])


def _fixed_windows(rows: pd.DataFrame) -> list[tuple[str, int, int]]:
    """The windows of a condition's metrics where all its seeds share them, else none."""
    if rows.empty or not kit_tables.same_regimes(rows):
        return []
    return kit_tables.stretches(rows[rows["seed"] == rows["seed"].min()])


def _final_losses(heldout: pd.DataFrame) -> pd.DataFrame:
    """Held-out loss at the last step it was measured at: a row a seed, a column a condition."""
    last = heldout[heldout["step"] == heldout.groupby(["condition", "seed"])["step"].transform("max")]
    return last.pivot_table(index="seed", columns="condition", values="heldout_loss")


def _learning_title(finals: pd.DataFrame) -> str:
    """What a self-state does to the final held-out loss, over the pairs of conditions that differ by it alone."""
    found = [
        stats.paired(finals[one], finals[other])
        for one, other, _ in PAIRS
        if one in finals and other in finals
    ]
    if not found or not all(pair.n for pair in found):
        return "Training and held-out loss through the run"
    names = [name for one, other, name in PAIRS if one in finals and other in finals]
    sizes = [f"{name} {signed(pair.mean, 3)}" for pair, name in zip(found, names, strict=True)]
    differences = f"(self minus vanilla in nats: {', '.join(sizes)})"
    if all(pair.n < 2 for pair in found):
        return f"Final held-out loss with and without a self-state, one seed {differences}"
    lower, higher = sum(pair.high < 0 for pair in found), sum(pair.low > 0 for pair in found)
    if not lower and not higher:
        return f"A self-state makes no clear difference to the final held-out loss {differences}"
    parts = [f"{verb} it in {count}" for verb, count in (("lowers", lower), ("raises", higher)) if count]
    schedules = plural(len(found), "schedule")
    return f"Final held-out loss: a self-state clearly {' and '.join(parts)} of {schedules} {differences}"


def learning_curves(tables: Tables, note: str) -> Figure:
    """Training and held-out loss of every condition, and the final held-out losses seed by seed."""
    metrics = tables["metrics"]
    width = stats.bin_width(metrics)
    groups = _groups(metrics)
    heldout = metrics.dropna(subset=["heldout_loss"])
    finals = _final_losses(heldout)
    order = [name for group, _ in groups for name in group]
    made = style.figure(style.WIDE, 5.6)
    grid = GridSpec(2, 1, figure=made, height_ratios=[1, 1.15])
    top = grid[0].subgridspec(1, len(groups))
    bottom = grid[1].subgridspec(1, 2, width_ratios=[1.15, 1])
    first: Axes | None = None
    for column, (group, name) in enumerate(groups):
        axes = made.add_subplot(top[column], sharey=first)
        for condition in group:
            rows = kit_tables.of_condition(metrics, condition)
            together = kit_tables.same_regimes(rows)
            curve(axes, stats.binned(rows, "loss", width), style.condition(condition), summary=together)
        shade(axes, _fixed_windows(kit_tables.of_condition(metrics, group[0])))
        axes.set_title(name)
        axes.set_xlabel("step")
        axes.set_ylabel("training loss (nats)" if first is None else "")
        axes.tick_params(labelleft=first is None)
        first = first or axes
    axes = made.add_subplot(bottom[0])
    windows = _fixed_windows(kit_tables.of_condition(metrics, "self"))
    for condition in order:
        table = heldout[heldout["condition"] == condition].pivot_table(
            index="step", columns="seed", values="heldout_loss"
        )
        if not table.empty:
            together = kit_tables.same_regimes(kit_tables.of_condition(metrics, condition))
            curve(axes, table, style.condition(condition), summary=together)
    axes.set_title("held-out loss (grey: fixed windows)" if windows else "held-out loss")
    shade(axes, windows)
    axes.set_ylabel("held-out loss (nats)")
    axes.set_xlabel("step")
    _final_panel(made.add_subplot(bottom[1]), finals, [name for name in order if name in finals])
    order = [
        name
        for start in ("self", "vanilla", "")
        for name in order
        if name.split("_")[0] == start or not start
    ]
    legend = style.condition_legend(list(dict.fromkeys(order)), "both")
    caption = (
        f"Training loss is the mean of {width} steps. Lines: mean over seeds; band: its 95 % t interval, from three seeds on; faint lines and "
        "points: single seeds, joined where they saw the same batches. Regimes at random times differ from seed to seed, so "
        "only single seeds are drawn there. Grey: a regime acts. Held-out text is never disturbed, but the model is tested there as "
        "the regimes have left it. Brackets: 95 % t interval of the difference paired by seed; clear where it leaves zero out, not corrected for "
        "the number of schedules. Where the pair's curves coincide, the second hides the first."
    )
    return style.finish(made, _learning_title(finals), caption, note, legend, columns=2)


def _final_panel(axes: Axes, finals: pd.DataFrame, order: list[str]) -> None:
    """A point a seed and condition, twins joined, their mean difference written between them."""
    rows = {name: len(order) - 1 - index for index, name in enumerate(order)}
    for one, other, _ in PAIRS:
        if one in rows and other in rows:
            both = finals[[one, other]].dropna()
            axes.plot(
                both.to_numpy().T,
                [[rows[one]], [rows[other]]] * np.ones(len(both)),
                c=style.LIGHT,
                lw=0.6,
                zorder=1,
            )
            found = stats.paired(both[one], both[other])
            text = f"difference: {signed(found.mean, 3)}"
            if found.n > 1:
                text += f"\n[{signed(found.low, 3)}, {signed(found.high, 3)}]"
            axes.annotate(
                text, (1.02, (rows[one] + rows[other]) / 2), xycoords=("axes fraction", "data"), va="center", fontsize=7
            )  # fmt: skip
    for name in order:
        look = style.condition(name)
        values = finals[name].dropna()
        axes.plot(
            values,
            [rows[name]] * len(values),
            look.marker,
            c=look.colour,
            mfc=look.face,
            ms=3.8,
            mew=0.8,
            zorder=3,
        )
        axes.plot([values.mean()] * 2, [rows[name] - 0.27, rows[name] + 0.27], c="k", lw=1.2, zorder=4)
    axes.set_yticks(list(rows.values()), list(rows))
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.set_title("final held-out loss (bar: mean)")
    axes.set_xlabel("held-out loss at the last step (nats)")


def state_trajectory(tables: Tables, note: str) -> Figure:
    """The state's path in its first two principal components, one panel a seed."""
    path = tables["state_path"]
    names = kit_tables.present(path, ("self", "self_random", "self_calm")) or sorted(set(path["condition"]))
    path = kit_tables.of_condition(path, names[0])
    seeds = sorted(set(path["seed"]))[:8]
    made = style.figure(style.WIDE, 4.6 if len(seeds) > 1 else 5.0)
    further = len(seeds) - 1
    small = 2 if further > 3 else 1
    if further:
        grid = GridSpec(1, 2, figure=made, width_ratios=[1.5, 1 if small == 2 else 0.6])
        axes_of = [made.add_subplot(grid[0])]
        rows = -(-further // small)
        inner = grid[1].subgridspec(max(rows, 2), small)
        axes_of += [made.add_subplot(inner[index // small, index % small]) for index in range(further)]
    else:
        axes_of = [made.add_subplot()]
    last = int(path["step"].max())
    lines = None
    for index, (seed, axes) in enumerate(zip(seeds, axes_of, strict=True)):
        rows_of_seed = path[path["seed"] == seed].sort_values("step")
        drawn = _path(axes, rows_of_seed, last, main=index == 0)
        lines = lines or drawn
        share1, share2 = rows_of_seed["share1"].iloc[0], rows_of_seed["share2"].iloc[0]
        if index == 0:
            axes.set_title(f"seed {seed}")
            axes.set_xlabel(f"first principal component ({percent(share1)} of variance)")
            axes.set_ylabel(f"second principal component ({percent(share2)} of variance)")
        else:
            axes.set_title(f"seed {seed}: {percent(share1)}, {percent(share2)}", fontsize=7, pad=2)
            axes.set_xticks([])
            axes.set_yticks([])
    assert lines is not None
    bar = made.colorbar(lines, ax=axes_of[0], location="bottom", shrink=0.75, aspect=35, pad=0.02)
    bar.set_label("step")
    bar.outline.set_linewidth(0.5)
    legend = axes_of[0].get_legend_handles_labels()
    caption = (
        f"Condition {names[0]}. Markers: every 10th step inside a regime; circle with a cross: first step. Components are "
        "fitted to each seed by itself, so axes and signs of different seeds are not comparable. The second axis is drawn stretched; small panels give the "
        "variance shares of both components."
    )
    return style.finish(made, _path_title(path), caption, note, legend)


def _path(axes: Axes, rows: pd.DataFrame, last: int, main: bool) -> LineCollection:
    points = rows[["pc1", "pc2"]].to_numpy(float)
    steps = rows["step"].to_numpy(float)
    segments = np.stack([points[:-1], points[1:]], axis=1)  # (steps - 1, 2, 2)
    lines = LineCollection(list(segments), cmap="viridis", lw=1.2 if main else 0.8, zorder=1)
    lines.set_array(steps[:-1])
    lines.set_clim(0, last + 1)
    axes.add_collection(lines)
    marked = rows[rows["step"] % 10 == 0]
    for regime, look in style.REGIMES.items():
        inside = marked[marked["regime"] == regime]
        if inside.empty:
            continue
        axes.scatter(
            inside["pc1"], inside["pc2"], c=inside["step"], cmap="viridis", vmin=0, vmax=last + 1, marker=look.marker,
            s=24 if main else 9, edgecolors="k", linewidths=0.6 if main else 0.4, zorder=2,
            label=f"{regime} ({look.gloss})",
        )  # fmt: skip
    axes.plot(*points[0], "o", c="k", mfc="white", ms=6 if main else 4, mew=0.8, zorder=4)
    axes.plot(*points[0], "x", c="k", ms=4 if main else 2.5, mew=0.8, zorder=5)
    axes.margins(0.06)
    axes.autoscale_view()
    return lines


def _path_title(path: pd.DataFrame) -> str:
    """How one-dimensional the path is and how much of it is mere progress, averaged over seeds."""
    ranks = [
        abs(rank_correlation(rows["pc1"], rows["step"])) if rows["pc1"].nunique() > 1 else 0.0
        for _, rows in path.groupby("seed")
    ]
    share = path.groupby("seed")["share1"].first().mean()
    strength = float(np.mean(ranks))
    start = (
        "The state's path is nearly one line" if share >= 0.8 else "The state's path takes several dimensions"
    )
    mean = "" if len(ranks) == 1 else " on average"
    return (
        f"{start}: its first component holds {percent(share)} of the variance{mean} and follows the step with "
        f"|rank correlation| {strength:.2f}"
    )
