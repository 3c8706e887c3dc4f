"""Does the state hold a belief about the regime? What can be read from it, beside what the evidence alone gives."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments import belief_shifts
from experiments.belief_shifts import ASKED, BEWILDERED, WORLDS
from experiments.kit import pages, style, words
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment, Table
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.marks import level, not_measured, shade
from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.style import Look
from experiments.kit.tables import CALM, Tables, stretches
from experiments.kit.words import (
    ABSENT,
    CLEAR,
    NOT_CLEAR,
    OPEN,
    Finding,
    difference,
    interval,
    number,
    percent,
)
from experiments.readings import (
    ANY,
    AVERAGES,
    BATCH,
    FILTER,
    POSTERIOR,
    REGIME,
    SHUFFLE,
    STATE,
    TWIN,
    UNTRAINED,
    batch_auc,
    readings,
)

OF_RAW = "raw"  # as a source, the state of the raw mechanism
OTHER = {"calibrated_recurring": "raw_recurring", "calibrated_mix": "raw_mix"}  # the same with it
SHOWN = 300  # steps of an example
LOWEST = -0.6  # R2; what lies below is drawn at the edge
DOUBT = (
    0.65,
    0.85,
)  # AUC of one batch's loss that counts as about 0.75, as the faint world was meant to have
SOURCES = {
    STATE: Look("the state", style.BLUE),
    OF_RAW: Look("state, raw mechanism", style.ORANGE, marker="s", filled=False),
    BATCH: Look("statistics of one batch", style.GREEN, marker="^"),
    AVERAGES: Look("their averages, at the state's decay", style.VERMILLION, marker="D"),
    UNTRAINED: Look("state of an untrained network", style.GREY, marker="^", filled=False),
    SHUFFLE: Look("the state, turned in time", style.GREY, marker="P", filled=False),
    FILTER: Look("the forward filter itself", style.BLACK, marker="*"),
}
CURVES = {
    "posterior": Look("posterior", style.BLACK, (0, (4, 1.4))),
    "decoded": Look("read from the state", style.BLUE, width=1.0),
    "averages": Look("read from the statistics' averages", style.ORANGE, (0, (1, 1)), width=0.9),
}
COLOURS = (style.VERMILLION, style.BLUE, style.GREEN, style.PURPLE, style.ORANGE)
REGIMES = {
    CALM: Look(CALM, "#bdbdbd", marker="."),
    **{
        name: Look(name, colour, marker=look.marker, filled=False)
        for (name, look), colour in zip(style.REGIMES.items(), COLOURS, strict=True)
    },
}


def read(tables: Tables, condition: str, source: str, target: str, column: str = "r2") -> "pd.Series[float]":
    """A reading's R2 or AUC by seed; where there are several regimes, of any."""
    if source == OF_RAW:
        condition, source = OTHER.get(condition, ""), STATE
    rows = tables.rows("beliefs", condition=condition, source=source, target=target)
    several = rows["regime"] == ANY
    return per_seed(rows[several] if several.any() else rows, column)


def beyond(tables: Tables, condition: str, *rivals: str) -> dict[str, Estimate]:
    """R2 of the posterior in the state minus that in each rival; against an untrained network, both on its target."""
    found = {}
    for rival in rivals:
        target, told = (TWIN, ", both on its target") if rival == UNTRAINED else (POSTERIOR, "")
        pair = (read(tables, condition, source, target) for source in (STATE, rival))
        found[f"minus {SOURCES[rival].label}{told}"] = paired(*pair)
    return found


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page says, world by world."""
    found, kinds = {}, {}
    for world, condition in ASKED.items():
        own = {"its own R²": estimate(read(tables, condition, STATE, POSTERIOR))}
        claim = f"{WORLDS[world]} the state tells something of the posterior, in R²."
        found[f"{world}_tells"] = difference(claim, own | beyond(tables, condition, SHUFFLE), +1, pairs=False)
        claim = f"{WORLDS[world]} the state tells more of the posterior than each of its rivals, in R²."
        found[f"{world}_more"] = difference(claim, beyond(tables, condition, BATCH, AVERAGES, UNTRAINED), +1)
        kinds[world] = paired(*(read(tables, condition, source, POSTERIOR) for source in (STATE, OF_RAW)))
    one = estimate(per_seed(tables.rows("batch_auc", condition="faint_vanilla", regime=BEWILDERED), "auc"))
    inside = CLEAR if one.low > DOUBT[0] and one.high < DOUBT[1] else NOT_CLEAR
    found["doubt"] = Finding(
        f"In the faint world one batch leaves real doubt: AUC between {DOUBT[0]} and {DOUBT[1]}.",
        ABSENT if not one.n else OPEN if one.n < FEWEST_SEEDS else inside,
        f"`faint_vanilla`: {interval(one, sign=False)}, n = {one.n}." if one.n else "It was not measured.",
    )
    claim = "A calibrated state tells more of the posterior than one of the raw mechanism, in R²."
    return {**found, "kinds": difference(claim, kinds, +1), **belief_shifts.findings(tables)}


def of_worlds(tables: Tables) -> str:
    """A line a world and source: R2 and AUC of the posterior, AUC of the true regime."""
    lines = []
    asked = [(look.label, source, POSTERIOR) for source, look in SOURCES.items() if source != OF_RAW]
    for world, condition in ASKED.items():
        for label, source, target in [*asked, ("the state, on the untrained network's target", STATE, TWIN)]:
            r2, area = (read(tables, condition, source, target, column) for column in ("r2", "auc"))
            true = read(tables, condition, source, REGIME, "auc") if target == POSTERIOR else area[:0]
            lines.append([f"{world}: {label}", r2, number(float(r2.median())), area, true])
    head = ["world, read from", "R² of the posterior", "its median", "AUC, posterior > ½", "AUC, true regime"]
    return pages.of_seeds(head, lines)


def of_states(tables: Tables) -> str:
    """A line a condition, read from its state."""
    lines = [
        [f"`{name}`", read(tables, name, STATE, POSTERIOR), read(tables, name, STATE, REGIME, "auc")]
        for name in dict.fromkeys(tables.rows("beliefs")["condition"])
    ]
    return pages.of_seeds(["condition", "R² of the posterior", "AUC, true regime"], lines)


def of_regimes(tables: Tables) -> str:
    """A line a regime of the mix, a column a source."""
    asked, lines = {source: look.label for source, look in SOURCES.items() if source != OF_RAW}, []
    found = tables.rows("beliefs", condition=ASKED["mix"], target=REGIME)
    for regime, rows in found.groupby("regime", sort=False):
        means = rows.groupby("source")["auc"].mean()
        cells = (number(float(means.get(source, np.nan)), 2) for source in asked)
        lines.append([str(regime), *cells, str(rows["seed"].nunique())])
    return words.table(["AUC of the true regime", *asked.values(), "n"], lines) if lines else words.MISSING


def of_components(tables: Tables) -> str:
    """The title of the figure on components."""
    rows = tables.rows("belief_components", condition=ASKED["mix"])
    agree = (rows["believed"] == rows["regime"]).mean()
    commonest = rows["regime"].value_counts(normalize=True)
    return (
        f"States of one run among five regimes: the filter names the acting one in {percent(agree)} of the steps, where always "
        f"saying {commonest.index[0]} is right in {percent(commonest.iloc[0])}; two components hold "
        f"{percent(rows['share1'].mean() + rows['share2'].mean())} of the state's variance"
    )


def reading(world: str, target: str, column: str) -> draw.Panel:
    """What is read of a target from each source."""
    low, high, chance, label = {
        "r2": (LOWEST, 1.04, 0.0, "R² of the posterior"), "auc": (0.3, 1.02, 0.5, "AUC of the true regime"),
    }[column]  # fmt: skip

    def bounds(axes: Axes) -> None:
        for line in list(axes.lines):  # what lies below has an arrowhead at the edge
            places, heights = (np.asarray(of, float) for of in line.get_data())
            below = places < low
            axes.plot(np.full(below.sum(), low), heights[below], "<", c=line.get_color(), ms=3, zorder=3)
            line.set_xdata(np.maximum(places, low))
        axes.set_xlim(low - 0.04, high)
        level(axes, chance, upright=False, ls="dotted")

    looks = {name: look for name, look in SOURCES.items() if name != FILTER or column == "auc"}

    def values(tables: Tables, source: str) -> "pd.Series[float]":
        return read(tables, ASKED[world], source, target, column)

    return draw.strip(["beliefs"], looks, values, world, label, bounds)


def over_time(world: str) -> draw.Panel:
    """The posterior and what is read of it, over the last steps of one run; regimes shaded."""

    def make(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        rows = tables.rows("belief_example", condition=ASKED[world])
        if rows.empty:
            not_measured(axes)
            return []
        rows, seed = rows.sort_values("step").tail(SHOWN), int(rows["seed"].iloc[0])
        shade(axes, stretches(rows))
        for column, look in looks.items():
            axes.plot(rows["step"], rows[column], c=look.colour, ls=look.line, lw=look.width, zorder=3)
        axes.set_xlim(rows["step"].min(), rows["step"].max())
        axes.set_ylim(*axes.dataLim.intervaly.clip([-1.5, 1.2], [-0.2, 2.5]))
        axes.set_yticks([0, 0.5, 1])
        r2 = read(tables, ASKED[world], STATE, POSTERIOR)
        here = f"{number(r2.get(seed, np.nan), 2)} here, in seed {seed}"
        axes.set_title(f"{world}: R² {number(r2.mean(), 2)} over seeds, {here}")
        axes.set_ylabel("p(a regime acts)")
        return [*looks]

    return draw.Panel(["belief_example", "beliefs"], make, along=True)


def components(column: str, title: str) -> draw.Panel:
    """States of one run in two components, by the regime that a column names; surer beliefs larger."""

    def make(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        rows = tables.rows("belief_components", condition=ASKED["mix"])
        for name, look in looks.items():
            mine = rows[rows[column] == name]
            axes.scatter(
                mine["component1"], mine["component2"], 1 + 7 * mine["probability"] ** 2 if column == "believed" else 7.0,
                marker=look.marker, lw=0.5, alpha=0.6, ec=look.colour, fc=look.colour if look.filled else "none", zorder=1 + (name != CALM),
            )  # fmt: skip
        axes.set_xlabel(f"component 1 ({percent(rows['share1'].mean())} of the variance)")
        axes.set_ylabel(f"component 2 ({percent(rows['share2'].mean())} of the variance)")
        axes.set_title(title)
        return [name for name in looks if (rows[["believed", "regime"]] == name).any(axis=None)]

    return draw.Panel(["belief_components"], make)


FIGURES = (
    draw.sheet(
        "beliefs/belief-over-time.png", [over_time(world) for world in ASKED], grid=(3, 1), height=5.3, looks=CURVES,
        marks="line", x="step", title=[f"{world}_tells" for world in ASKED],
        shows="The forward filter's posterior that a regime acts, and what is read of it from the state, over the last steps of one "
        "run a world; regimes shaded.",
        caption=f"The last {SHOWN} steps of the run that is the middle one of its seeds by R². Posterior: forward filter with the true "
        "switching probabilities; its emission is fitted on the other seeds. Readings: fitted on earlier steps of the run; a linear "
        "reading can leave 0 to 1, and what leaves the axes is cut off. Grey: a regime acts.",
    ),
    draw.sheet(
        "beliefs/what-the-state-knows.png",
        [*(reading(world, POSTERIOR, "r2") for world in ASKED), *(reading(world, REGIME, "auc") for world in ASKED)],
        grid=(2, 3), height=5.6, share_y="row", title=[f"{world}_more" for world in ASKED],
        shows="How much of the posterior and of the true regime can be read from the state, beside one batch's statistics, their "
        "averages, an untrained network's state and a state turned in time.",
        caption="{seeds}; bars: mean and, from three seeds on, 95 % t interval. All read by ridge regression within each run, fitted on "
        "earlier steps and tested on later ones. Posterior: forward filter over all statistics shown so far, its emission fitted on "
        "other seeds. Untrained: the same shape, never trained, shown the statistics of the run without a state and read for the "
        "posterior from those. Turned in time: the run's own states, moved against the "
        f"steps. Mix: of five regimes, whether any acts. R² below {number(LOWEST, 2)}: an arrowhead at the edge. Dotted: nothing known.",
    ),
    draw.sheet(
        "beliefs/mix-components.png",
        [components("believed", "likeliest by the posterior"), components("regime", "the regime that acts")],
        grid=(1, 2), height=4.1, looks=REGIMES, marks="points", columns=6, share_x=True, share_y=True, title=of_components,
        shows="States of one run among five regimes in two principal components, by the regime that the posterior holds likeliest and "
        "by the true one.",
        caption="calibrated_mix, the run that is the middle one of its seeds by R², the steps of the last half, a point each. Left: "
        "larger points are surer beliefs. self_clamp holds the state, so it leaves it wherever it was. Two components chosen for "
        "variance, not to part the regimes.",
    ),
)  # fmt: skip
EXPERIMENT = Experiment(
    "beliefs", "What the state knows: a belief about the regime?",
    (Table(readings, names=("beliefs", "belief_example", "belief_components")), batch_auc), findings, FIGURES,
    {
        "worlds": of_worlds, "states": of_states, "regimes": of_regimes, "pushed": belief_shifts.pushed, "losses": belief_shifts.losses,
        "batch": pages.grid("batch_auc", head="regime, condition", across="regime", auc=("AUC of one batch's loss", "3")),
    },
    suites=("recurring",),
)  # fmt: skip
