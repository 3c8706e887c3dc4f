"""Training as a whole: what a self-state does to the loss, and the path that the state takes. Its findings stand on the page of
perturbation.py."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Drawing

from experiments.kit import marks, pages, style, words
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment
from experiments.kit.pages import shown
from experiments.kit.runs import Context
from experiments.kit.stats import bin_width, binned, correlation, estimate, rank_correlation
from experiments.kit.style import REGIMES, TWINS, Look
from experiments.kit.tables import (
    NothingToDraw,
    Tables,
    of_condition,
    present,
    same_regimes,
    stack,
    stretches,
)
from experiments.kit.words import Finding, interval, listed, number, percent

SCHEDULES = ("regimes in fixed windows", "no regime", "regimes at random times")  # of the pairs of TWINS
LOSS = "heldout_loss"


def state_path(context: Context) -> pd.DataFrame:
    """One row a step of each run of condition self: step, regime, the state's first two principal components pc1 and pc2, and
    share1 and share2, the share of the run's variance on each. Components are fitted to each run by itself."""
    parts = []
    for run in context.of("self"):
        states = run.states()
        if states is None:
            continue
        rows = run.metrics()[["step", "regime"]]
        scores, shares = principal_components(states)
        parts.append(
            run.label(rows.assign(pc1=scores[:, 0], pc2=scores[:, 1], share1=shares[0], share2=shares[1]))
        )
    return stack(parts)


def principal_components(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (steps, 2) of centred states (steps, dim) and their shares of variance (2,).

    The sign of each component makes its largest loading positive, so that equal states give equal pictures.
    """
    left, sizes, axes = np.linalg.svd(states.astype(float) - states.mean(0, dtype=float), full_matrices=False)
    scores = left * sizes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])
    lacking = max(2 - len(sizes), 0)  # a state of one dimension has one component
    shares = np.pad(sizes**2 / max((sizes**2).sum(), np.finfo(float).tiny), (0, lacking))
    return np.pad(scores, ((0, 0), (0, lacking)))[:, :2], shares[:2]


def findings(tables: Tables) -> dict[str, Finding]:
    """Whether a self-state helps, over the pairs of conditions that differ by it alone."""
    gains = tables.by_condition("runs").twins(TWINS, LOSS)
    said = listed([f"{interval(gain)} nats for {name}" for name, gain in gains.items()])
    return {
        "gains": Finding(
            "With a self-state the model predicts held-out text better than without.",
            words.all_of(words.side(gain, -1) for gain in gains.values()),
            f"Held-out loss: {said}." if gains else "No pair of conditions is finished.",
        )
    }


def twins_table(tables: Tables) -> str:
    """A row a pair of conditions that differ by the self-state alone."""
    rows = [
        [name, interval(gain), str(gain.n)]
        for name, gain in tables.by_condition("runs").twins(TWINS, LOSS).items()
    ]
    return (
        words.table(["paired difference", "held-out loss, nats a token", "n"], rows)
        if rows
        else words.MISSING
    )


def course_table(tables: Tables) -> str:
    """Mean held-out loss over seeds, after each step that it was measured at."""
    measured = tables.rows("metrics").dropna(subset=[LOSS])
    steps = sorted(set(measured["step"]))
    rows = []
    for name in present(measured, tables.rows("runs")["condition"].unique()):
        mean = of_condition(measured, name).groupby("step")[LOSS].mean().reindex(steps)
        rows.append([f"`{name}`", *map(number, mean)])
    head = ["held-out loss after step", *(str(int(step) + 1) for step in steps)]
    return words.table(head, rows) if rows else words.MISSING


def clock_table(tables: Tables) -> str:
    """How much of the path lies on two components, and how closely the first follows the step."""
    rows = []
    for name, path in tables.rows("state_path").groupby("condition", sort=False):
        by_seed = path.groupby("seed")
        clock = by_seed[["pc1", "step"]].apply(lambda run: abs(correlation(run["pc1"], run["step"])))
        values = (by_seed["share1"].first(), by_seed["share2"].first(), clock)
        rows.append([f"`{name}`", *(shown(estimate(one), "2") for one in values), str(len(clock))])
    head = ["condition", "variance on PC 1", "variance on PC 2", "|correlation of PC 1 with the step|", "n"]
    return words.table(head, rows) if rows else words.MISSING


def learning_curves(tables: Tables, note: str, findings: Mapping[str, Finding]) -> Drawing:
    """Training loss by schedule, held-out loss, and the final held-out losses seed by seed."""
    metrics = tables.rows("metrics")
    if metrics.empty:
        raise NothingToDraw("metrics missing or empty")
    groups = {name: present(metrics, pair) for pair, name in zip(TWINS.items(), SCHEDULES, strict=True)}
    groups["other conditions"] = [
        name for name in metrics["condition"].unique() if name not in {*TWINS, *TWINS.values()}
    ]
    groups = {name: group for name, group in groups.items() if group}
    looks = style.conditions([name for group in groups.values() for name in group])
    made = style.figure(style.WIDE, 5.6)
    grid = made.add_gridspec(2, 1, height_ratios=[1, 1.15])
    top = grid[0].subgridspec(1, len(groups)).subplots(sharey=True, squeeze=False)[0]
    heldout, last = grid[1].subgridspec(1, 2, width_ratios=[1.15, 1]).subplots(squeeze=False)[0]
    for (name, group), axes in zip(groups.items(), top, strict=True):
        for condition in group:
            _by_step(axes, of_condition(metrics, condition), "loss", bin_width(metrics), looks[condition])
        _shade(axes, of_condition(metrics, group[0]))
        axes.set(title=name, xlabel="step")
    top[0].set_ylabel("training loss (nats)")
    for condition, look in looks.items():
        _by_step(heldout, of_condition(metrics, condition), LOSS, 1, look)
    _shade(heldout, of_condition(metrics, "self"))
    heldout.set(title="held-out loss (grey: windows of self)", xlabel="step", ylabel="held-out loss (nats)")
    _final(last, tables, looks)
    caption = (
        f"Training loss is the mean of {bin_width(metrics)} steps. Lines: mean over seeds; band: its 95 % t interval, from three seeds on; "
        "faint lines and points: single seeds. Regimes at random times differ from seed to seed, so only single seeds are drawn there. "
        "Grey: a regime acts. Held-out text is never disturbed, but the model is tested there as the regimes have left it. Numbers at "
        "the right: self minus vanilla, paired by seed. Where the pair's curves coincide, the second hides the first."
    )
    return style.finish(
        made, findings["gains"].title(), caption, note, marks.handles(looks.values()), columns=2
    )


def _by_step(axes: Axes, rows: pd.DataFrame, column: str, width: int, look: Look) -> None:
    if rows[column].notna().any():
        marks.curve(axes, binned(rows, column, width), look, summary=same_regimes(rows))


def _shade(axes: Axes, rows: pd.DataFrame) -> None:
    """The windows of a condition, where all its seeds share them."""
    if len(rows) and same_regimes(rows):
        marks.shade(axes, stretches(rows[rows["seed"] == rows["seed"].min()]))


def _final(axes: Axes, tables: Tables, looks: Mapping[str, Look]) -> None:
    """Held-out loss at the last step, and between twins their mean difference."""
    at = tables.by_condition("runs", looks)
    marks.categories(axes, at.conditions, upright=False, striped=False)
    for place, name in enumerate(at.conditions):
        marks.by_seed(axes, place, at.of(name, LOSS), looks[name], upright=False, apart=0.15)
        twin = TWINS.get(name, "")
        if twin in at.conditions:
            middle = (place + at.conditions.index(twin)) / 2
            said = shown(at.minus(name, twin, LOSS), "±3").replace(" [", "\n[")
            axes.annotate(said, (1.02, middle), xycoords=("axes fraction", "data"), va="center", fontsize=7)
    axes.set(title="final held-out loss", xlabel="held-out loss at the last step (nats)")


def trajectory(tables: Tables, note: str, findings: Mapping[str, Finding]) -> Drawing:
    """The state's path in its first two principal components: the first seed large, up to seven more beside it."""
    path = tables.rows("state_path").sort_values("step")
    seeds = [str(seed) for seed in sorted(path["seed"].unique())[:8]]
    small = 2 if len(seeds) > 4 else 1
    rows = max(-(-(len(seeds) - 1) // small), 2)
    beside = np.array([*seeds[1:], *["."] * (rows * small + 1 - len(seeds))]).reshape(rows, small)
    made = style.figure(style.WIDE, 4.8)
    places: list[Any] = [[seeds[0]] * 3 + row for row in beside.tolist()] if seeds[1:] else [seeds]
    axes_of = made.subplot_mosaic(places)
    last = int(path["step"].max())
    for seed in seeds:
        axes, run = axes_of[seed], path[path["seed"] == int(seed)]
        lines = _path(axes, run, last, main=seed == seeds[0])
        shares = [percent(run[name].iloc[0]) for name in ("share1", "share2")]
        if seed == seeds[0]:
            bar = made.colorbar(
                lines, ax=axes, location="bottom", shrink=0.75, aspect=35, pad=0.02, label="step"
            )
            bar.outline.set_linewidth(0.5)
            axes.set(title=f"seed {seed}", xlabel=f"first principal component ({shares[0]} of variance)",
                     ylabel=f"second principal component ({shares[1]} of variance)")  # fmt: skip
        else:
            axes.set_title(f"seed {seed}: {', '.join(shares)}", fontsize=7, pad=2)
            axes.set(xticks=[], yticks=[])
    by_seed = path.groupby("seed")[["pc1", "step"]]
    follows = by_seed.apply(lambda run: abs(rank_correlation(run["pc1"], run["step"]))).fillna(0).mean()
    title = (
        f"The first component of the state's path holds {percent(path.groupby('seed')['share1'].first().mean())} of the variance "
        f"and follows the step with |rank correlation| {number(follows, 2)}, on average over seeds"
    )
    caption = (
        "Condition self. Markers: every 10th step inside a regime; circle with a cross: first step. Components are fitted to each seed "
        "by itself, so axes and signs of different seeds are not comparable. The second axis is drawn stretched; small panels give the "
        "variance shares of both components."
    )
    return style.finish(made, title, caption, note, axes_of[seeds[0]].get_legend_handles_labels())


def _path(axes: Axes, run: pd.DataFrame, last: int, main: bool) -> LineCollection:
    """One seed's path, coloured by step, with markers inside regimes."""
    colours: dict[str, Any] = {"cmap": "viridis", "norm": Normalize(0, last + 1)}
    points = run[["pc1", "pc2"]].to_numpy(float)
    lines = LineCollection(
        list(np.stack([points[:-1], points[1:]], axis=1)), lw=1.2 if main else 0.8, zorder=1, **colours
    )
    lines.set_array(run["step"].to_numpy(float)[:-1])
    axes.add_collection(lines)
    for regime, look in REGIMES.items():
        inside = run[(run["step"] % 10 == 0) & (run["regime"] == regime)]
        if len(inside):
            axes.scatter(
                inside["pc1"], inside["pc2"], s=24 if main else 9, c=inside["step"], marker=look.marker, edgecolors="k",
                linewidths=0.6 if main else 0.4, zorder=2, label=f"{regime} ({look.gloss})", **colours,
            )  # fmt: skip
    axes.plot(*points[0], "o", c="k", mfc="white", ms=6 if main else 4, mew=0.8, zorder=4)
    axes.plot(*points[0], "x", c="k", ms=4 if main else 2.5, mew=0.8, zorder=5)
    axes.margins(0.06)
    return lines


FIGURES = (
    draw.Figure(
        "state-trajectory.png",
        "The self-state's path through training in its first two principal components, coloured by step, regimes marked.",
        trajectory, ("state_path",),
    ),
    draw.Figure(
        "learning-curves.png", "Training and held-out loss of every condition, and the final held-out losses seed by seed.",
        learning_curves, ("metrics", "runs"),
    ),
)  # fmt: skip
GRIDS = {
    "losses": pages.grid("runs", heldout_loss=("held-out loss at the last step, nats a token", "3")),
    "twins": twins_table, "course": course_table, "clock": clock_table,
}  # fmt: skip
EXPERIMENT = Experiment(
    "training",
    "Training with a self-state",
    (state_path,),
    findings,
    FIGURES,
    suites=("shakespeare", "generalization"),
)
