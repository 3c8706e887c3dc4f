"""Training as a whole: what a self-state does to the loss, and the path that the state takes. Its findings stand on the page of
perturbation.py."""

import textwrap
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Drawing

from experiments.kit import marks, pages, published, style, words
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment
from experiments.kit.pages import shown
from experiments.kit.runs import Context
from experiments.kit.stats import binned, correlation
from experiments.kit.style import REGIMES, TWINS, Look
from experiments.kit.tables import (
    ByCondition,
    Tables,
    of_condition,
    present,
    same_regimes,
    stack,
    stretches,
)
from experiments.kit.words import Finding, number, percent, plural

LOOKS = {name: style.CONDITIONS[name] for name in ("self", "vanilla", "self_calm", "vanilla_calm")}
LOSS = "heldout_loss"
PAIRS = {"analysis": "analysis_vanilla", **TWINS}  # the first is the published one


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
    gains = tables.by_condition("runs").twins(PAIRS, LOSS)
    clear = sum(words.side(gain, -1) == words.CLEAR for gain in gains.values())
    sizes = sorted(-gain.mean for gain in gains.values())
    lowers = "A self-state lowers held-out loss"
    if sizes and sizes[0] > 0:
        lowers += f" by {' to '.join(dict.fromkeys(map(number, (sizes[0], sizes[-1]))))} nats"
    found = words.difference(
        f"{lowers} in every kind of run.", gains, -1, "nats",
        otherwise=f"{lowers}, clearly in {clear or 'none'} of {plural(len(gains), 'kind')} of run.",
        reverse="A self-state raises held-out loss in every kind of run.",
    )  # fmt: skip
    published_gain = published.LOSSES["analysis"] - published.LOSSES["analysis_vanilla"]
    return {"gains": replace(found, evidence=f"{found.evidence} Published: {number(published_gain)}.")}


def twins_table(tables: Tables) -> str:
    """A row a pair of conditions that differ by the self-state alone."""
    gains = tables.by_condition("runs").twins(PAIRS, LOSS)
    return pages.of_seeds("paired difference", [("held-out loss, nats a token", "±3")], gains.items())


def course_table(tables: Tables) -> str:
    """Mean held-out loss over seeds, after each step that it was measured at."""
    measured = tables.rows("metrics").dropna(subset=[LOSS])
    steps = sorted(set(measured["step"]))
    rows = []
    for name in present(measured, tables.rows("runs")["condition"].unique()):
        mean = of_condition(measured, name).groupby("step")[LOSS].mean().reindex(steps)
        rows.append([f"`{name}`", *map(number, mean)])
    head = ["held-out loss after step", *(str(int(step) + 1) for step in steps)]
    return words.table(head, rows)


def clock_table(tables: Tables) -> str:
    """How much of the path lies on two components, and how closely the first follows the step."""
    lines = []
    for name, path in tables.rows("state_path").groupby("condition", sort=False):
        by_seed = path.groupby("seed")
        clock = by_seed[["pc1", "step"]].apply(lambda run: abs(correlation(run["pc1"], run["step"])))
        lines.append([f"`{name}`", by_seed["share1"].first(), by_seed["share2"].first(), clock])
    heads = ("variance on PC 1", "variance on PC 2", "|correlation of PC 1 with the step|")
    return pages.of_seeds("condition", [(head, "2") for head in heads], lines)


def _heldout(axes: Axes, tables: Tables, looks: Mapping[str, Look]) -> list[str]:
    """Held-out loss through the run, without and with regimes in fixed windows."""
    metrics = tables.rows("metrics")
    drawn = present(metrics, LOOKS) or list(metrics["condition"].unique())[: len(LOOKS)]
    for condition, look in style.conditions(drawn).items():
        rows = of_condition(metrics, condition).dropna(subset=[LOSS])
        marks.curve(axes, binned(rows, LOSS, 1), look, summary=same_regimes(rows))
    _shade(axes, of_condition(metrics, "self"))
    axes.set(title="through training", xlabel="step", ylabel="held-out loss (nats)")
    return drawn


def _shade(axes: Axes, rows: pd.DataFrame) -> None:
    """The windows of a condition, where all its seeds share them."""
    if len(rows) and same_regimes(rows):
        marks.shade(axes, stretches(rows[rows["seed"] == rows["seed"].min()]))


def _final(axes: Axes, tables: Tables, looks: Mapping[str, Look]) -> list[str]:
    """Held-out loss at the last step, and between twins their mean difference."""
    runs = tables.rows("runs")
    at = ByCondition(runs[runs["condition"].isin(list(style.CONDITIONS))], style.CONDITIONS)
    at = at if at.conditions else ByCondition(runs)
    own = style.conditions(at.conditions)
    marks.categories(
        axes, [textwrap.fill(look.label, 22) for look in own.values()], upright=False, striped=False
    )
    for place, (name, look) in enumerate(own.items()):
        marks.by_seed(axes, place, at.of(name, LOSS), look, upright=False, apart=0.15)
        twin = PAIRS.get(name, "")
        if twin in at.conditions:
            middle = (place + at.conditions.index(twin)) / 2
            said = shown(at.minus(name, twin, LOSS), "±3").replace(" [", "\n[")
            axes.annotate(said, (1.02, middle), xycoords=("axes fraction", "data"), va="center", fontsize=7)
    axes.set(title="at the last step", xlabel="held-out loss (nats)")
    return []


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
    follows = by_seed.apply(lambda run: abs(correlation(run["pc1"], run["step"]))).fillna(0).mean()
    title = (
        f"The first component of the state's path holds {percent(path.groupby('seed')['share1'].first().mean())} of its variance; its "
        f"correlation with the step is {number(follows, 2)}."
    )
    caption = (
        "With regimes in fixed windows. Markers: every 10th step inside a regime; circle with a cross: first step. Each seed has components "
        "of its own, so axes and signs of different seeds do not compare. The second axis is drawn stretched."
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
    draw.sheet(
        "learning-curves.png", [draw.Panel(("metrics", "runs"), _heldout), draw.Panel(("runs",), _final)], grid=(1, 2), height=3.4,
        looks=LOOKS, title=("gains",), marks="line", columns=2,
        shows="Held-out loss with and without a self-state, through training and at the last step, seed by seed.",
        caption="One line or point a seed, mean and 95 % t interval. Grey: a regime acts. Held-out text is never disturbed, but the model is "
        "tested as regimes have left it. Right: with a self-state minus without, paired by seed.",
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
