"""The figure of the frozen-weight test: effects beside placebos, Δ entropy by direction, dose and response."""

import numpy as np
import pandas as pd
import scipy
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.gridspec import GridSpec

from experiments.kit import published, style
from experiments.kit import stats as kit_stats
from experiments.kit.levels import ALPHA, FEWEST_SEEDS
from experiments.kit.panels import Figure
from experiments.kit.tables import NothingToDraw, Tables, of_condition
from experiments.kit.words import listed, plural

NEEDED = ("frozen_effects", "frozen_effects_summary", "frozen_conditions", "frozen_doses")
PANELS = (
    ("replication", "dimension", "as published\n(found on one train batch)"),
    ("heldout", "dimension", "held-out protocol,\ndimension finder"),
    ("heldout", "gradient", "held-out protocol,\ngradient finder"),
)


def _match(table: pd.DataFrame, protocol: str, finder: str) -> pd.DataFrame:
    return table[(table["protocol"] == protocol) & (table["finder"] == finder)]


def _draw(tables: Tables, note: str) -> Drawing:
    """Of the weights of the last step tested."""
    lacking = [name for name in NEEDED if tables.rows(name).empty]
    if lacking:
        raise NothingToDraw(f"{listed(lacking)} missing or empty")
    step = int(tables.rows("frozen_effects")["run_step"].max())
    condition = str(tables.rows("frozen_effects")["condition"].iloc[0])
    effects, summary, conditions, doses = (
        of_condition(tables.rows(name, run_step=step), condition) for name in NEEDED
    )
    made = style.figure(style.WIDE, 6.2)
    grid = GridSpec(2, 1, figure=made, height_ratios=[1.12, 1])
    panels = [panel for panel in PANELS if not _match(effects, panel[0], panel[1]).empty]
    if not panels:
        raise NothingToDraw("frozen_effects.csv has no known protocol and finder")
    readers = [
        [reader for reader in style.READERS if (_match(effects, protocol, finder)["reader"] == reader).any()]
        for protocol, finder, _ in panels
    ]
    top = grid[0].subgridspec(1, len(panels), width_ratios=[len(some) for some in readers])
    drawn: list[Axes] = []
    for index, ((protocol, finder, title), some) in enumerate(zip(panels, readers, strict=True)):
        axes = made.add_subplot(top[index])
        _effect_panel(axes, _match(effects, protocol, finder), _match(summary, protocol, finder), some)
        axes.set_title(title)
        if protocol == "replication":
            axes.set_ylim(
                0, max(axes.get_ylim()[1], 1.3 * published.EFFECT_SIZE)
            )  # room for the p-values above it
            axes.axhline(published.EFFECT_SIZE, c=style.VERMILLION, ls=(0, (4, 1.6)), lw=1, zorder=1)
            axes.annotate(
                f"published {published.EFFECT_SIZE}", (0.99, published.EFFECT_SIZE), xycoords=("axes fraction", "data"),
                xytext=(0, 2), textcoords="offset points", ha="right", fontsize=7, color="#9c4400",
                bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 0.5}, zorder=6,
            )  # fmt: skip
        drawn.append(axes)
    drawn[0].set_ylabel("effect size (nats):\n|entropy(confident) − entropy(uncertain)|")
    _align(drawn, [finder for _, finder, _ in panels])
    bottom = grid[1].subgridspec(1, 2, width_ratios=[1.25, 1], wspace=0.06)
    _delta_panel(made.add_subplot(bottom[0]), conditions)
    _dose_panel(made.add_subplot(bottom[1]), doses)
    draws = (
        effects.loc[effects["reader"] != "learned"]
        .groupby(["protocol", "finder", "reader", "seed"])
        .size()
        .max()
    )
    caption = (
        f"Condition {condition}, weights after {step} steps. Points: seeds, joined within a seed; a placebo's point is the "
        f"mean of its draws ({draws} a seed), all draws pooled in the grey shape; bars: means over seeds. Placebos select "
        f"their directions in the same way from a rotated or an untrained reader; p: rank p of learned among the draws. "
        "Dose-response: mean and 95 % t band (from three seeds on), faint lines single seeds. Published: one run."
    )
    return style.finish(made, finding(summary, step), caption, note)


def finding(summary: pd.DataFrame, step: int) -> str:
    """What the held-out test (else the replication) says of one step's weights, from the rank p-values by seed."""
    protocol = "heldout" if (summary["protocol"] == "heldout").any() else "replication"
    rows = _match(summary, protocol, "dimension")
    if rows.empty:
        return f"Frozen-weight test, weights after {step} steps"
    where = f"{'Held-out test' if protocol == 'heldout' else 'Replication protocol'}, step {step}"
    worst = rows.groupby("seed")["p_value"].max()  # against every placebo
    n, k = len(worst), int((worst < ALPHA).sum())
    placebo = rows.groupby("placebo")["placebo_mean"].mean().max()  # the stronger of them
    effect = rows.groupby("seed")["effect"].first().mean()
    sizes = f"effect {effect:.2f}, strongest placebo {placebo:.2f}"
    count = f"rank p < {ALPHA} in {k} of {plural(n, 'seed')}"
    if k == 0 and _few_draws(rows):
        return f"{where}: too few placebo draws for a verdict; {sizes}"
    if 2 * k > n:
        verdict = "learned directions steer more than every placebo selected alike"
    elif scipy.stats.binom.sf(k - 1, n, ALPHA) < ALPHA:
        verdict = "learned directions steer more than every placebo selected alike in a few seeds only"
    else:
        verdict = "learned directions do not clearly steer more than every placebo selected alike"
    return f"{where}: {verdict} ({sizes}; {count})"


def _few_draws(rows: pd.DataFrame) -> bool:
    """Whether no rank p could be below ALPHA. The smallest p is 1 / (1 + draws), and every p is a multiple of it."""
    p = rows["p_value"].to_numpy(float)
    for draws in range(1, round(1 / ALPHA)):
        if np.allclose(p * (1 + draws), np.round(p * (1 + draws)), atol=1e-6):
            return True
    return False


def _strip(axes: Axes, x: float, values: np.ndarray, width: float = 0.34) -> None:
    """Pooled draws: a light violin, or faint points where they are few."""
    if len(values) >= 20 and float(np.ptp(values)) > 0:
        parts = axes.violinplot([values], [x], widths=2 * width, showextrema=False)
        for body in parts["bodies"]:  # type: ignore[attr-defined]
            body.set(facecolor="#e0e0e0", edgecolor="none", alpha=1, zorder=0)
    jitter = (
        np.arange(len(values)) * 0.6180339887
    ) % 1 - 0.5  # low-discrepancy, so equal tables draw equally
    axes.plot(x + jitter * width, values, ".", c="#b0b0b0", ms=1.6, mew=0, zorder=1)


def _beside(n: int) -> np.ndarray:
    """Small horizontal shifts, so that the points of `n` seeds do not hide one another."""
    return np.linspace(-0.2, 0.2, n) if n > 1 else np.zeros(1)


def _mean_bar(axes: Axes, x: float, values: pd.Series, half: float = 0.3) -> None:
    axes.plot([x - half, x + half], [values.mean()] * 2, c="k", lw=1.4, zorder=5)


def _effect_panel(axes: Axes, effects: pd.DataFrame, summary: pd.DataFrame, readers: list[str]) -> None:
    means = effects.groupby(["seed", "reader"])["effect_size"].mean().unstack("reader")
    beside = _beside(len(means))
    joined = np.arange(len(readers))[:, None] + beside[None, :]  # (readers, seeds)
    axes.plot(joined, means[readers].to_numpy(float).T, c="#b8b8b8", lw=0.5, zorder=2)
    for x, reader in enumerate(readers):
        look = style.READERS[reader]
        draws = effects.loc[effects["reader"] == reader, "effect_size"].to_numpy(float)
        if reader != "learned":
            _strip(axes, x, draws)
            p = summary[summary["placebo"] == reader].groupby("seed")["p_value"].first()
            if len(p):
                text = f"p < {ALPHA}:\n{int((p < ALPHA).sum())} of {len(p)}"
                axes.annotate(
                    text, (x, 1.0), xycoords=("data", "axes fraction"), ha="center", va="top", fontsize=7
                )
        values = means[reader]
        axes.plot(x + beside, values, look.marker, c=look.colour, mfc=look.face, ms=3.8, mew=0.8, zorder=4)
        _mean_bar(axes, x, values)
    axes.set_xticks(range(len(readers)), [style.READERS[reader].label for reader in readers])
    axes.set_xlim(-0.5, len(readers) - 0.5)
    axes.set_ylim(0, 1.25 * float(effects["effect_size"].max()))


def _align(panels: list[Axes], finders: list[str]) -> None:
    """One scale for the panels of the dimension finder, and for the gradient finder's too unless that squashes them."""
    tops = [axes.get_ylim()[1] for axes in panels]
    shared = [top for top, finder in zip(tops, finders, strict=True) if finder == "dimension"] or tops
    together = max(tops) <= 1.6 * max(shared)
    for axes, finder in zip(panels, finders, strict=True):
        if finder == "dimension" or together:
            axes.set_ylim(0, max(tops) if together else max(shared))
        else:
            axes.set_title(axes.get_title(loc="left") + " (own scale)")


def _delta_panel(axes: Axes, conditions: pd.DataFrame) -> None:
    """Δ entropy against the zero state by direction and protocol, seed by seed."""
    states = ("confident", "uncertain", "random")
    ticks: list[tuple[float, str]] = []
    x = 0.0
    for protocol, finder, _ in PANELS:
        rows = _match(conditions, protocol, finder)
        some = [state for state in states if (rows["state"] == state).any()]
        if not some:
            continue
        centre = x + (len(some) - 1) / 2
        axes.annotate(
            "replication" if protocol == "replication" else f"held-out,\n{finder} finder",
            (centre, -0.3), xycoords=("data", "axes fraction"), ha="center", va="top", fontsize=7, annotation_clip=False,
        )  # fmt: skip
        for state in some:
            look = style.DIRECTIONS[state]
            values = rows.loc[rows["state"] == state]
            means = values.groupby("seed")["delta_entropy"].mean()
            if state == "random":
                _strip(axes, x, values["delta_entropy"].to_numpy(float))
            beside = _beside(len(means))
            axes.plot(x + beside, means, look.marker, c=look.colour, mfc=look.face, ms=3.6, mew=0.8, zorder=4)
            _mean_bar(axes, x, means)
            if protocol == "replication":
                error = published.FROZEN_RANDOM_SD if state == "random" else None
                axes.errorbar(
                    x + 0.4, published.FROZEN_DELTA_ENTROPY[state], yerr=error, fmt="*", c=style.VERMILLION, mfc="white", ms=6, lw=0.8,
                    zorder=5, label="published" if state == "confident" else None,
                )  # fmt: skip
            ticks.append((x, look.label))
            x += 1
        x += 0.7
    axes.axhline(0, c="k", lw=0.6, zorder=0)
    axes.set_xticks(
        [place for place, _ in ticks],
        [label for _, label in ticks],
        rotation=30,
        ha="right",
        rotation_mode="anchor",
    )
    axes.set_ylabel("Δ entropy (nats)")
    style.panel_legend(axes, "state set along each direction, against zero state")


def _dose_panel(axes: Axes, doses: pd.DataFrame) -> None:
    """Δ entropy against the signed norm of the state, along each direction."""
    for direction, look in style.DIRECTIONS.items():
        rows = doses[doses["direction"] == direction]
        if rows.empty:
            continue
        by_seed = {
            seed: group.groupby("magnitude")["delta_entropy"].mean().sort_index()
            for seed, group in rows.groupby("seed")
        }
        low = max(values.index.min() for values in by_seed.values())
        high = min(values.index.max() for values in by_seed.values())
        # Each seed has doses inside its own range of norms: compare them where all have some, by interpolation.
        grid = np.linspace(low, high, 41)
        table = pd.DataFrame(
            {
                seed: np.interp(grid, values.index.to_numpy(float), values.to_numpy(float))
                for seed, values in by_seed.items()
            },
            index=grid,
        )
        for values in by_seed.values():
            if len(by_seed) > 1:
                axes.plot(values.index, values, c=look.colour, lw=0.35, alpha=0.45, zorder=1)
        summary = kit_stats.band(table)
        if len(by_seed) >= FEWEST_SEEDS:
            axes.fill_between(
                grid, summary["low"], summary["high"], color=look.colour, alpha=0.22, lw=0, zorder=2
            )
        axes.plot(grid, summary["mean"], c=look.colour, ls=look.line, lw=1.5, zorder=3)
        ends = [0, 20, 40]
        axes.plot(
            grid[ends],
            summary["mean"].iloc[ends],
            look.marker,
            c=look.colour,
            mfc=look.face,
            ms=3.8,
            zorder=4,
        )
        axes.plot(
            [], [], ls=look.line, c=look.colour, marker=look.marker, mfc=look.face, ms=3.8, label=look.label
        )
    axes.axhline(0, c="k", lw=0.6, zorder=0)
    axes.axvline(0, c="k", lw=0.6, zorder=0)
    axes.set_xlabel("signed norm of the state (L2)")
    axes.set_ylabel("Δ entropy (nats)")
    style.panel_legend(axes, "dose-response", columns=2)


FIGURES = (
    Figure(
        "frozen-weight-test.png",
        "Weights frozen, state set by hand: how far learned directions move entropy, beside placebos selected in the "
        "same way, random directions, and the dose-response.",
        lambda tables, note, _: _draw(tables, note),
        NEEDED,
    ),
)
