"""Does the state hold a belief about the regime? What can be read from it, beside what the evidence alone gives."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments import belief_shifts
from experiments.belief_shifts import ASKED, BEWILDERED, WORLDS
from experiments.kit import pages, style, words
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment, Table
from experiments.kit.marks import level, shade
from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.style import Look
from experiments.kit.tables import Tables, stretches
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
# AUC of one batch's loss that counts as about 0.75, as the faint world was meant to have
DOUBT = (0.65, 0.85)
SOURCES = {
    STATE: Look("the state", style.BLUE),
    OF_RAW: Look("state, raw mechanism", style.ORANGE, marker="s", filled=False),
    BATCH: Look("signals of one batch", style.GREEN, marker="^"),
    AVERAGES: Look("averages over batches", style.VERMILLION, marker="D"),
    UNTRAINED: Look("untrained state", style.GREY, marker="^", filled=False),
    SHUFFLE: Look("the state, shifted in time", style.GREY, marker="P", filled=False),
    FILTER: Look("the filter itself", style.BLACK, marker="*"),
}
CURVES = {
    "posterior": Look("the filter's belief", style.BLACK, (0, (4, 1.4))),
    "decoded": Look("read from the state", style.BLUE, width=1.0),
    "averages": Look("read from averages over batches", style.ORANGE, (0, (1, 1)), width=0.9),
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
    targets = {rival: TWIN if rival == UNTRAINED else POSTERIOR for rival in rivals}
    return {
        f"beyond {SOURCES[rival].label}": paired(*(read(tables, condition, source, target) for source in (STATE, rival)))
        for rival, target in targets.items()
    }  # fmt: skip


def findings(tables: Tables) -> dict[str, words.Finding]:
    """What the page says, world by world."""
    found, kinds = {}, {}
    for world, condition in ASKED.items():
        own = {"R²": estimate(read(tables, condition, STATE, POSTERIOR))}
        found[f"{world}_tells"] = words.difference(
            f"{WORLDS[world]} the filter's belief can be read from the state.", own | beyond(tables, condition, SHUFFLE), +1, pairs=False,
            otherwise=f"{WORLDS[world]} the filter's belief can't clearly be read from the state.",
        )  # fmt: skip
        found[f"{world}_more"] = words.difference(
            f"{WORLDS[world]} the state tells more of the filter's belief than one batch, averages over batches or an untrained state.",
            beyond(tables, condition, BATCH, AVERAGES, UNTRAINED), +1, "of R²", nearest=True,
            otherwise=f"{WORLDS[world]} the state does not tell clearly more of the filter's belief than one batch, averages over batches and an "
            "untrained state.",
            reverse=f"{WORLDS[world]} the state tells less of the filter's belief than one batch, averages over batches and an untrained state.",
        )  # fmt: skip
        kinds[world] = paired(*(read(tables, condition, source, POSTERIOR) for source in (STATE, OF_RAW)))
    one = estimate(tables.seeds("batch_auc", "auc", condition="faint_vanilla", regime=BEWILDERED))
    found["doubt"] = words.Finding(
        "In the faint world one batch leaves real doubt about the regime.",
        words.settled(one.n, DOUBT[0] < one.low and one.high < DOUBT[1]),
        f"AUC of its loss {words.interval(one, sign=False)}, n = {one.n}; meant: {DOUBT[0]} to {DOUBT[1]}." if one.n else "It was not measured.",
        "In the faint world one batch does not leave the doubt that it was meant to leave.",
    )  # fmt: skip
    found["kinds"] = words.difference(
        "With the calibrated mechanism a state tells more of the filter's belief than with the raw one.", kinds, +1, "of R²",
        otherwise="With the calibrated mechanism a state does not tell clearly more of the filter's belief in every world.",
    )  # fmt: skip
    return {**found, **belief_shifts.findings(tables)}


def of_worlds(tables: Tables) -> str:
    """A line a world and source: R2 and AUC of the posterior, AUC of the true regime."""
    lines = []
    asked = [(look.label, source, POSTERIOR) for source, look in SOURCES.items() if source != OF_RAW]
    for world, condition in ASKED.items():
        for label, source, target in [*asked, ("the state, on the untrained state's target", STATE, TWIN)]:
            r2, area = (read(tables, condition, source, target, column) for column in ("r2", "auc"))
            true = read(tables, condition, source, REGIME, "auc") if target == POSTERIOR else area[:0]
            lines.append([f"{world}: {label}", r2, words.number(float(r2.median())), area, true])
    heads = ("R² of the filter's belief", "its median", "AUC, belief > ½", "AUC, true regime")
    return pages.of_seeds("world, read from", [(head, "3") for head in heads], lines)


def of_states(tables: Tables) -> str:
    """A line a condition, read from its state."""
    lines = [
        [f"`{name}`", read(tables, name, STATE, POSTERIOR), read(tables, name, STATE, REGIME, "auc")]
        for name in dict.fromkeys(tables.rows("beliefs")["condition"])
    ]
    columns = [("R² of the filter's belief", "3"), ("AUC, true regime", "3")]
    return pages.of_seeds("condition", columns, lines)


def of_regimes(tables: Tables) -> str:
    """A line a regime of the mix, a column a source."""
    asked, lines = {source: look.label for source, look in SOURCES.items() if source != OF_RAW}, []
    found = tables.rows("beliefs", condition=ASKED["mix"], target=REGIME)
    for regime, rows in found.groupby("regime", sort=False):
        means = rows.groupby("source")["auc"].mean()
        cells = (words.number(float(means.get(source, np.nan)), 2) for source in asked)
        lines.append([str(regime), *cells, str(rows["seed"].nunique())])
    return words.table(["AUC of the true regime", *asked.values(), "n"], lines)


def reading(world: str, target: str, column: str) -> draw.Panel:
    """What is read of a target from each source."""
    low, high, chance, label = {
        "r2": (LOWEST, 1.04, 0.0, "R² of the filter's belief"), "auc": (0.0, 1.02, 0.5, "AUC of the true regime"),
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
            return []
        rows, seed = rows.sort_values("step").tail(SHOWN), int(rows["seed"].iloc[0])
        shade(axes, stretches(rows))
        for column, look in looks.items():
            axes.plot(
                rows["step"], rows[column].clip(0, 1), c=look.colour, ls=look.line, lw=look.width, zorder=3
            )
        axes.set_xlim(rows["step"].min(), rows["step"].max())
        axes.set_ylim(-0.03, 1.03)
        axes.set_yticks([0, 0.5, 1])
        r2 = read(tables, ASKED[world], STATE, POSTERIOR)
        axes.set_title(f"{world}, seed {seed}: R² {words.number(r2.get(seed, np.nan), 2)}")
        axes.set_ylabel("p(a regime acts)")
        return [*looks]

    return draw.Panel(["belief_example", "beliefs"], make, along=True)


FIGURES = (
    draw.sheet(
        "beliefs/belief-over-time.png", [over_time(world) for world in ASKED], grid=(3, 1), height=5.3, looks=CURVES,
        marks="line", x="step", title=("recurring_tells", "faint_tells"),
        shows="The filter's belief that a regime acts, and what is read of it from the state, over the last steps of one run a world; "
        "regimes shaded.",
        caption=f"The last {SHOWN} steps of the run in the middle of its seeds by R². Filter: all signals so far, true switching "
        "probabilities, an emission fitted on other seeds. Readings: fitted on earlier steps of the run, cut to 0 to 1. Grey: a regime acts.",
    ),
    draw.sheet(
        "beliefs/what-the-state-knows.png",
        [*(reading(world, POSTERIOR, "r2") for world in ASKED), *(reading(world, REGIME, "auc") for world in ASKED)],
        grid=(2, 3), height=5.6, share_y="row", title=("recurring_more",),
        shows="How much of the filter's belief and of the true regime can be read from the state, beside one batch's signals, their "
        "averages, an untrained state and a state shifted in time.",
        caption="{seeds}, mean and 95 % interval. All read by ridge regression within each run, fitted on earlier steps, tested on later "
        "ones. Untrained: shown the signals of the run without a state. Mix: whether any of five regimes acts. Dotted: nothing known. "
        f"Arrowhead: R² below {words.number(LOWEST, 1)}.",
    ),
)  # fmt: skip
EXPERIMENT = Experiment(
    "beliefs", "What the state knows: a belief about the regime?",
    (Table(readings, names=("beliefs", "belief_example")), batch_auc), findings, FIGURES,
    {
        "worlds": of_worlds, "states": of_states, "regimes": of_regimes, "pushed": belief_shifts.pushed, "losses": belief_shifts.losses,
        "batch": pages.grid("batch_auc", head="regime, condition", across="regime", auc=("AUC of one batch's loss", "3")),
    },
    suites=("recurring",),
)  # fmt: skip
