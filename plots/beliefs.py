"""What the state knows of the regime: belief over time, readings of the posterior, the mix, beliefs put in by hand."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from experiments.kit import stats, style
from experiments.kit import tables as kit_tables
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.style import Look
from experiments.kit.tables import RUN, NothingToDraw
from experiments.kit.words import number, percent, plural
from plots.figure import Figure, Tables

SUITE = "recurring"
ANY = "any"
TWIN = "twin posterior"  # the filter's from the statistics that the untrained network was shown
COLUMNS: dict[str, tuple[str, ...]] = {
    "beliefs": (*RUN, "source", "target", "regime", "r2", "auc"),
    "belief_example": (*RUN, "step", "regime", "posterior", "decoded", "averages"),
    "belief_components": (
        *(*RUN, "step", "component1", "component2", "share1", "share2", "believed", "probability", "regime"),
    ),
    "batch_auc": (*RUN, "regime", "auc"),
    "belief_shifts": (*RUN, "run_step", "state", "regime", "draw", "distance", "kl"),
}
WORLDS = (  # its name, the condition whose state is asked, the same with the other mechanism
    ("recurring", "calibrated_recurring", "raw_recurring"),
    ("faint", "faint", None),
    ("mix", "calibrated_mix", "raw_mix"),
)
ROWS: dict[str, Look] = {
    "state": Look("state", style.BLUE),
    "state, raw": Look("state, raw", style.ORANGE, marker="s", filled=False),
    "statistics": Look("statistics of one batch", style.GREEN, marker="^"),
    "averages": Look("their averages", style.VERMILLION, marker="D"),
    "untrained": Look("state, untrained network", style.GREY, marker="^", filled=False),
    "shuffle": Look("state, turned in time", style.GREY, marker="P", filled=False),
    "filter": Look("forward filter", style.BLACK, marker="*"),
}
REGIMES: dict[str, Look] = {
    "calm": Look("calm", "#bdbdbd", marker="."),
    "bewilderment": Look("bewilderment", style.VERMILLION, marker="X"),
    "sensory_fog": Look("sensory_fog", style.BLUE, marker="o", filled=False),
    "false_feedback": Look("false_feedback", style.GREEN, marker="s", filled=False),
    "self_clamp": Look("self_clamp", style.PURPLE, marker="D", filled=False),
    "lr_heatwave": Look("lr_heatwave", style.ORANGE, marker="^", filled=False),
}
LOWEST = -0.6  # R2; what lies below is drawn at the edge
SHOWN = 300  # steps of the example
FURTHEST = ([-1.5, 1.2], [-0.2, 2.5])  # of the example's axes: least and most of either end


def regime_of(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a world's one regime, or where it has several, those of any."""
    several = rows["regime"] == ANY
    return rows[several] if several.any() else rows


def values(table: pd.DataFrame, condition: str, source: str, target: str, column: str) -> "pd.Series[float]":
    """A reading's R2 or AUC by seed."""
    rows = table[
        (table["condition"] == condition) & (table["source"] == source) & (table["target"] == target)
    ]
    return regime_of(rows).groupby("seed")[column].mean().dropna()


def what_the_state_knows(tables: Tables, note: str) -> Drawing:
    """R2 of the posterior and AUC of the true regime by source: a column a world, every seed a point."""
    table = tables["beliefs"]
    worlds = [world for world in WORLDS if world[1] in set(table["condition"])]
    if not worlds:
        raise NothingToDraw("beliefs.csv has none of the recurring, faint and mix conditions")
    made = style.figure(style.WIDE, 4.7)
    panels = made.subplots(2, len(worlds), sharey="row", squeeze=False)
    batches = tables["batch_auc"]
    for (name, condition, other), column in zip(worlds, panels.T, strict=True):
        for axes, target, measure in zip(column, ("posterior", "regime"), ("r2", "auc"), strict=True):
            names = [one for one in ROWS if one != "filter" or measure == "auc"]
            for y, source in enumerate(names):
                of, read = (other, "state") if source == "state, raw" else (condition, source)
                found = values(table, of, read, target, measure) if of else pd.Series(dtype=float)
                _points(axes, y, found, ROWS[source], LOWEST if measure == "r2" else 0.0)
                if not of:
                    axes.text(
                        0.5, y, "not run", va="center", ha="center", fontsize=7, color=style.GREY, zorder=4
                    )
            axes.set_yticks(range(len(names)), [ROWS[one].label for one in names])
            axes.set_ylim(len(names) - 0.5, -0.5)
            low, high, chance = (LOWEST, 1.04, 0.0) if measure == "r2" else (0.3, 1.02, 0.5)
            axes.set_xlim(low - 0.04, high)
            axes.axvline(chance, c="k", lw=0.6, ls=(0, (2, 2)), zorder=0)
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.set_xlabel("R² of the posterior" if measure == "r2" else "AUC of the true regime")
        one = regime_of(kit_tables.of_condition(batches, condition)) if not batches.empty else batches
        area = one[one["regime"] == "bewilderment"]["auc"].mean() if len(one) else float("nan")
        told = f"\none batch's loss: AUC {area:.2f}" if np.isfinite(area) else ""
        column[0].set_title(f"{name}{told}")
    n = int(table["seed"].nunique())
    caption = (
        f"n = {plural(n, 'seed')}; bars: mean and, from three seeds on, 95 % t interval. All read by ridge regression within each run, fitted on "
        "earlier steps and tested on later ones. Posterior: forward filter over all statistics shown so far, its emission fitted on other seeds. Averages: at "
        "the state's own decay. Untrained: the same shape, never trained, shown the statistics of the run without a state and read for the posterior from those; where it is the best rival, the title reads the state for the same. Raw: of the raw mechanism, which reads statistics as they are. Turned in time: the run's own states, moved against the steps. Mix: of five regimes, whether any acts. "
        f"R² below {number(LOWEST, 2)}, of a seed or of an interval's end: an arrowhead at the edge. Dotted: nothing known. One batch's loss: against calm; in the mix, bewilderment's."
    )
    return style.finish(made, _knows_title(table, worlds), caption, note)


def _points(axes: Axes, y: float, found: "pd.Series[float]", look: Look, lowest: float) -> None:
    """A point a seed about y, the mean as a bar, and its interval."""
    known = found.to_numpy(float)
    beside = np.linspace(-0.2, 0.2, len(known)) if len(known) > 1 else np.zeros(len(known))
    for some, marker in ((known >= lowest, look.marker), (known < lowest, "<")):
        places = np.maximum(known[some], lowest)
        axes.plot(places, y + beside[some], marker, c=look.colour, mfc=look.face, ms=3.6, mew=0.7, zorder=2)
    value = stats.estimate(found)
    if value.n:
        axes.plot([max(value.mean, lowest)] * 2, [y - 0.32, y + 0.32], c="k", lw=1.4, zorder=4)
    if value.n >= FEWEST_SEEDS:
        axes.plot([max(value.low, lowest), max(value.high, lowest)], [y, y], c="k", lw=0.8, zorder=3)
        if value.low < lowest:
            axes.plot(lowest, y, "<", c="k", ms=3, zorder=3)


def _knows_title(table: pd.DataFrame, worlds: Sequence[tuple[str, str, str | None]]) -> str:
    """Whether the state tells more of the posterior than the best of its rivals does, world by world."""
    parts = []
    for name, condition, _ in worlds:
        own = values(table, condition, "state", "posterior", "r2")
        if len(own) < FEWEST_SEEDS:
            continue
        rivals = {
            rival: values(table, condition, rival, "posterior", "r2")
            for rival in ("statistics", "averages", "untrained")
        }
        rivals = {rival: found for rival, found in rivals.items() if len(found)}
        if not rivals:
            continue
        best = max(rivals, key=lambda rival: float(rivals[rival].mean()))
        same = own if best != "untrained" else values(table, condition, "state", TWIN, "r2")  # on one target
        change = stats.paired(same, rivals[best])
        verb = (
            "not clearly other than" if not change.clear else "more than" if change.mean > 0 else "less than"
        )
        rival = f"{ROWS[best].label}, {number(rivals[best].mean(), 2)}"
        parts.append(f"{name} {number(own.mean(), 2)} ({verb} {rival})")
    if not parts:
        return "What can be read of the posterior from the state (too few seeds to test)"
    return "R² of the filter's belief, read from the state, beside its best rival: " + "; ".join(parts)


def belief_over_time(tables: Tables, note: str) -> Drawing:
    """The posterior and what is read of it from the state, over the last steps of one run a world; regimes shaded."""
    table = tables["belief_example"]
    worlds = [world for world in WORLDS if world[1] in set(table["condition"])]
    if not worlds:
        raise NothingToDraw("belief_example.csv has none of the recurring, faint and mix conditions")
    made = style.figure(style.WIDE, 1.25 + 1.35 * len(worlds))
    panels = made.subplots(len(worlds), 1, squeeze=False)[:, 0]
    seeds = []
    for (name, condition, _), axes in zip(worlds, panels, strict=True):
        rows = kit_tables.of_condition(table, condition).sort_values("step").tail(SHOWN)
        seed = int(rows["seed"].iloc[0])
        seeds.append(f"{condition}, seed {seed}")
        for _, start, end in kit_tables.stretches(rows):
            axes.axvspan(start - 0.5, end - 0.5, color="#dedede", lw=0, zorder=0)
        axes.plot(rows["step"], rows["averages"], c=style.ORANGE, lw=0.9, ls=(0, (1, 1)), zorder=2)
        axes.plot(rows["step"], rows["decoded"], c=style.BLUE, lw=1.0, zorder=3)
        axes.plot(rows["step"], rows["posterior"], c="k", lw=1.2, ls=(0, (4, 1.4)), zorder=4)
        axes.set_xlim(rows["step"].min(), rows["step"].max())
        read = rows[["decoded", "averages"]].to_numpy(float)
        axes.set_ylim(*np.clip([np.nanmin(read) - 0.05, np.nanmax(read) + 0.05], *FURTHEST))
        axes.set_yticks([0, 0.5, 1])
        found = values(tables["beliefs"], condition, "state", "posterior", "r2")
        own = f" ({number(found[seed], 2)} here)" if seed in found.index else ""
        axes.set_title(f"{name}: R² {number(found.mean(), 2)} over seeds{own}")
        axes.set_ylabel("p(a regime acts)")
    panels[-1].set_xlabel("step")
    handles = [
        Line2D([], [], c="k", lw=1.2, ls=(0, (4, 1.4))),
        Line2D([], [], c=style.BLUE, lw=1.2),
        Line2D([], [], c=style.ORANGE, lw=1.2, ls=(0, (1, 1))),
        Patch(color="#dedede"),
    ]
    labels = ["posterior", "read from the state", "read from the statistics' averages", "a regime acts"]
    caption = (
        f"The last {SHOWN} steps of the run that is the middle one of its seeds by R²: {'; '.join(seeds)}. Posterior: forward filter with the true switching "
        "probabilities; its emission is fitted on the other seeds. Readings: fitted on earlier steps of the run; a linear reading can leave 0 to 1, and what leaves the axes is cut off."
    )
    return style.finish(made, _time_title(tables["beliefs"], worlds), caption, note, (handles, labels), 4)


def _time_title(table: pd.DataFrame, worlds: Sequence[tuple[str, str, str | None]]) -> str:
    found = {name: values(table, condition, "state", "posterior", "r2") for name, condition, _ in worlds}
    sizes = ", ".join(f"{name} {number(one.mean(), 2)}" for name, one in found.items() if len(one))
    n = max((len(one) for one in found.values()), default=0)
    return f"The filter's belief, and how far a linear reading of the state follows it: mean R² {sizes} (n = {n})"


def mix_components(tables: Tables, note: str) -> Drawing:
    """States in two components, coloured by the regime that the posterior holds likeliest, and by the true one."""
    table = tables["belief_components"]
    rows = kit_tables.of_condition(table, "calibrated_mix")
    if rows.empty:
        raise NothingToDraw("belief_components.csv has no rows of calibrated_mix")
    made = style.figure(style.WIDE, 4.1)
    panels = made.subplots(1, 2, sharex=True, sharey=True)
    names = [name for name in REGIMES if name in set(rows["believed"]) | set(rows["regime"])]
    for axes, column, title in zip(
        panels, ("believed", "regime"), ("likeliest by the posterior", "the regime that acts"), strict=True
    ):
        for name in names:
            mine, look = rows[rows[column] == name], REGIMES[name]
            sizes = 1 + 7 * mine["probability"] ** 2 if column == "believed" else 7.0
            axes.scatter(
                mine["component1"], mine["component2"], s=sizes, marker=look.marker, linewidths=0.5, alpha=0.6,
                edgecolors=look.colour, facecolors=look.colour if look.filled else "none", zorder=1 + (name != "calm"),
            )  # fmt: skip
        axes.set_title(title)
        axes.set_xlabel(f"component 1 ({percent(rows['share1'].iloc[0])} of the variance)")
    panels[0].set_ylabel(f"component 2 ({percent(rows['share2'].iloc[0])})")
    looks = [REGIMES[name] for name in names]
    handles = [Line2D([], [], ls="", marker=one.marker, c=one.colour, mfc=one.face, ms=4.5) for one in looks]
    agree = (rows["believed"] == rows["regime"]).mean()
    commonest = rows["regime"].value_counts(normalize=True)
    absent = {name: (rows["believed"] == name).mean() for name in names if name not in commonest.index}
    never = "".join(
        f" {name} never acts in these steps, and is named in {percent(share)} of them."
        for name, share in absent.items()
    )
    caption = (
        f"calibrated_mix, seed {int(rows['seed'].iloc[0])} (the middle one by R²), the {len(rows)} steps of the last half, a point each. Left: larger "
        f"points are surer beliefs.{never} self_clamp holds the state, so it leaves it wherever it was. Two components chosen for variance, not to part the regimes."
    )
    title = (
        f"States of one run among five regimes: the filter names the acting one in {percent(agree)} of the steps, where always saying "
        f"{commonest.index[0]} is right in {percent(commonest.iloc[0])}; two components hold "
        f"{percent(rows['share1'].iloc[0] + rows['share2'].iloc[0])} of the state's variance"
    )
    return style.finish(made, title, caption, note, (handles, [one.label for one in looks]), 6)


PANELS = (
    ("calibrated_recurring", "recurring, calibrated"),
    ("faint", "faint, calibrated"),
    ("calibrated_mix", "mix, calibrated"),
    ("raw_recurring", "recurring, raw"),
    ("yoked", "recurring, yoked"),
    ("oracle", "recurring, oracle"),
)
STATES: dict[str, Look] = {
    "calm": Look("calm mean (before)", style.GREY, marker="o", filled=False),
    "regime": Look("bewilderment mean (after)", style.BLUE, marker="o"),
    "mirrored": Look("mirrored", style.PURPLE, marker="v"),
    "random": Look("random, as far", style.GREY, marker="P", filled=False),
    "foreign": Look("partner seed's mean", style.ORANGE, marker="D", filled=False),
    "zero": Look("zero", style.BLACK, marker="x"),
}


def shifts(table: pd.DataFrame, condition: str, state: str, column: str = "kl") -> "pd.Series[float]":
    """A measure under one kind of state by seed, means over draws; of regimes, bewilderment's."""
    rows = table[(table["condition"] == condition) & (table["state"] == state)]
    if state == "regime":
        rows = rows[rows["regime"] == "bewilderment"]
    return rows.groupby("seed")[column].mean().dropna()


def intervention(tables: Tables, note: str) -> Drawing:
    """KL from the optimum of bewilderment to the prediction under states that are put in: a panel a condition."""
    table = tables["belief_shifts"]
    panels = [(condition, name) for condition, name in PANELS if len(shifts(table, condition, "regime"))]
    if not panels:
        raise NothingToDraw("belief_shifts.csv has no condition in which bewilderment acted")
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    made = style.figure(style.WIDE, 1.5 + 1.75 * lines)
    grid = made.subplots(lines, columns, sharey=True, squeeze=False)
    for axes in grid.ravel()[len(panels) :]:
        axes.set_visible(False)
    for (condition, name), axes in zip(panels, grid.ravel(), strict=False):
        before, after = shifts(table, condition, "calm"), shifts(table, condition, "regime")
        for seed in before.index.intersection(after.index):
            axes.plot([before[seed], after[seed]], [0, 1], c="#b0b0b0", lw=0.6, zorder=1)
        for y, (state, look) in enumerate(STATES.items()):
            _points(axes, y, shifts(table, condition, state), look, -np.inf)
        axes.set_yticks(range(len(STATES)), [look.label for look in STATES.values()])
        axes.set_ylim(len(STATES) - 0.5, -0.5)
        style.log_axis(axes, across=True)
        axes.set_title(name)
        axes.set_xlabel("KL(optimum ‖ prediction), nats")
    n = int(table["seed"].nunique())
    caption = (
        f"n = {plural(n, 'seed')}; bars: mean and, from three seeds on, 95 % t interval; random: mean of its draws. Weights frozen, held-out batches. Optimum of "
        "bewilderment at probability p: (1 − p) times the prediction under the calm mean, p over the vocabulary; so the calm mean's own KL is what there is "
        "to gain, and p differs between panels. Mirrored: as far from the calm mean, the other way. Means of the last half of training. Raw: of the raw mechanism, which reads statistics as they are. Yoked: fed another run's statistics; oracle: shown the true regime."
    )
    return style.finish(made, _intervention_title(table, panels), caption, note)


def _intervention_title(table: pd.DataFrame, panels: Sequence[tuple[str, str]]) -> str:
    condition, name = panels[0]
    before, after, random = (shifts(table, condition, state) for state in ("calm", "regime", "random"))
    change = stats.paired(after, before)
    sizes = f"KL {before.mean():.2f} before, {after.mean():.2f} after, {random.mean():.2f} at random states"
    if change.n < FEWEST_SEEDS:
        return f"A belief in bewilderment, put in by hand ({name}): {sizes} (too few seeds to test)"
    moves = {one: stats.paired(shifts(table, one, "regime"), shifts(table, one, "calm")) for one, _ in panels}
    towards = [label for one, label in panels if moves[one].clear and moves[one].mean < 0]
    told = f" ({'; '.join(towards)})" if towards else ""
    return (
        f"A belief in bewilderment, put in by hand, clearly moves predictions towards its optimum in {len(towards)} of "
        f"{len(panels)} conditions{told}. {name[0].upper()}{name[1:]}: {sizes}"
    )


FIGURES: tuple[Figure, ...] = (
    Figure(
        "beliefs/belief-over-time.png",
        belief_over_time,
        ("belief_example", "beliefs"),
        "The forward filter's posterior that a regime acts, and what is read of it from the state, over the last steps of one run a world; "
        "regimes shaded.",
        SUITE,
    ),
    Figure(
        "beliefs/what-the-state-knows.png",
        what_the_state_knows,
        ("beliefs", "batch_auc"),
        "How much of the posterior and of the true regime can be read from the state, beside one batch's statistics, their averages, an "
        "untrained network's state and a state turned in time.",
        SUITE,
    ),
    Figure(
        "beliefs/mix-components.png",
        mix_components,
        ("belief_components",),
        "States of one run among five regimes in two principal components, by the regime that the posterior holds likeliest and by the true one.",
        SUITE,
    ),
    Figure(
        "beliefs/intervention.png",
        intervention,
        ("belief_shifts",),
        "Weights frozen, the mean state of bewilderment put in: how far predictions are from its optimum before and after, beside random, "
        "mirrored and foreign states.",
        SUITE,
    ),
)
