"""The figures on the ambiguous window: long told from short by step, and seed by seed."""

from collections.abc import Sequence
from typing import TypeVar

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D

from experiments.kit import stats, style
from experiments.kit.levels import ALPHA, FEWEST_SEEDS
from experiments.kit.panels import Figure
from experiments.kit.stats import mean_of_known
from experiments.kit.style import Look
from experiments.kit.tables import NothingToDraw, Tables
from experiments.kit.words import plural, signed
from experiments.memory_figure import LOOKS

R = TypeVar("R")
BIN = 10  # steps in a bin of the window
LATE = "late"  # its second half, when nothing is left of the disturbance in a state without memory
STATISTICS, STATE, GATE = "window statistics", "state", "gate and share"  # what a window is read from
WHO: dict[str, Look] = {  # read-outs
    "window statistics": Look("the window's own statistics", style.GREY, (0, (4, 1.6)), "s", filled=False),
    "state": Look("state", style.BLUE, "-", "o"),
    "gate and share": Look("gate and memory share", style.ORANGE, (0, (1, 1.2)), "D"),
}
SIZES = {
    "window statistics": 3.6,
    "state": 4.8,
    "gate and share": 2.4,
}  # so that none hides another at the top
ASIDE = {
    "loss": "Δ loss (nats)",
    "along": "Δ state along the\ndisplacement (share of it)",
    "gate": "Δ gate",
}


def _places(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Memories and regimes of a table, in a fixed order."""
    have = set(table["memory"])
    memories = [*(name for name in LOOKS if name in have), *sorted(have - set(LOOKS))]
    return memories, sorted(set(table["regime"]))


def _grid(made: Drawing, memories: list[str], rows: Sequence[R]) -> dict[tuple[R, str], Axes]:
    panels = made.subplots(len(rows), len(memories), sharex=True, sharey="row", squeeze=False)
    for column, memory in enumerate(memories):
        panels[0, column].set_title(LOOKS[memory].label if memory in LOOKS else memory)
    return {(row, memory): panels[i, j] for i, row in enumerate(rows) for j, memory in enumerate(memories)}


def window(tables: Tables, note: str) -> Drawing:
    """AUC of the read-outs by step of the window, a panel a memory, disturbance and way of comparing."""
    table = tables.rows("ambiguous_auc")
    table = table[(table["kind"] == "read-out") & table["auc"].notna() & table["features"].isin(WHO)]
    if table.empty:
        raise NothingToDraw("ambiguous_auc has no read-out; it takes three seeds")
    memories, regimes = _places(table)
    kinds = [(regime, compared) for regime in regimes for compared in ("runs", "twins")]
    made = style.figure(style.WIDE, 1.0 + 1.5 * len(kinds))
    bins = table[table["span"].astype(str).str.isdigit()].assign(
        middle=lambda rows: rows["span"].astype(int) + BIN / 2
    )
    for ((regime, compared), memory), axes in _grid(made, memories, kinds).items():
        here = bins[(bins["regime"] == regime) & (bins["memory"] == memory) & (bins["compared"] == compared)]
        axes.axhline(0.5, c="k", lw=0.6, zorder=1)
        for features, look in WHO.items():
            rows = here[here["features"] == features].sort_values("middle")
            axes.plot(
                rows["middle"], rows["auc"], color=look.colour, ls=look.line, marker=look.marker,
                ms=SIZES[features], mfc=look.face, mew=0.7, zorder=3,
            )  # fmt: skip
        null = here.groupby("middle")["null_95"].max()
        axes.plot(null.index, null, color="#9a9a9a", lw=0.8, ls=":", zorder=2)
        axes.set_ylim(-0.04, 1.04)
        if memory == memories[0]:
            axes.set_ylabel(f"{regime}\n{compared}: {'AUC' if compared == 'runs' else 'share'}")
        if (regime, compared) == kinds[-1]:
            axes.set_xlabel("steps into the window")
    handles = [
        Line2D([], [], color=look.colour, ls=look.line, marker=look.marker, ms=SIZES[name], mfc=look.face)
        for name, look in WHO.items()
    ]
    handles.append(Line2D([], [], color="#9a9a9a", lw=0.8, ls=":"))
    n = int(table["n"].max())
    caption = (
        f"n = {plural(n, 'pair')} of runs, one a seed, with the same batches in the window. AUC of a linear read-out made from the other "
        f"seeds, in bins of {BIN} steps: over all pairs of a long and a short run, or the share of seeds whose twins are told apart; 0.5 is chance, and below it "
        "the read-out does not carry over. Dotted: the highest 95 % point of the nulls, long and short turned round within seeds. Rows: the "
        "disturbance before the window. Title: single runs, second half of the window, p < 0.05, bootstrap interval of the gain above zero."
    )
    return style.finish(
        made,
        _title(table, tables.rows("ambiguous_advantage")),
        caption,
        note,
        (handles, [*(look.label for look in WHO.values()), "95 % of the nulls below"]),
        4,
    )


def _title(table: pd.DataFrame, gains: pd.DataFrame) -> str:
    """Which memories' states tell long from short late in the window, beyond what its statistics tell."""
    late = table[(table["span"] == "late") & (table["compared"] == "runs") & (table["features"] == "state")]
    if late.empty or int(table["n"].max()) < FEWEST_SEEDS:
        return "Inside the window: long against short disturbance"
    gains = gains[(gains["span"] == "late") & (gains["compared"] == "runs") & (gains["features"] == "state")]
    gains = gains[gains["rival"] == "window statistics"]
    beyond = {(row.memory, row.regime) for row in gains[gains["low"] > 0].itertuples()}
    told = [
        " after ".join(map(str, place))
        for place, rows in late.groupby(["memory", "regime"], sort=False)
        if place in beyond and bool((rows["p_value"] < ALPHA).all())
    ]
    head = f"The state tells long from short late in the window, clearly beyond its statistics, in {len(told)} of {len(late)} cases"
    return head + (f" ({'; '.join(told)})" if told else "")


def seeds(tables: Tables, note: str) -> Drawing:
    """Late in the window: loss, place of the state, and gate of the twins of each seed."""
    table = tables.rows("ambiguous_values")
    table = table[table["span"] == "late"]
    if table.empty:
        raise NothingToDraw("ambiguous_values is empty")
    memories, regimes = _places(table)
    made = style.figure(style.WIDE, 5.6)
    axes_of = _grid(made, memories, list(ASIDE))
    for (column, memory), axes in axes_of.items():
        x = 0.0
        ticks: list[tuple[float, str]] = []
        for regime in regimes:
            rows = table[(table["memory"] == memory) & (table["regime"] == regime)]
            wide = rows.pivot_table(index="seed", columns="length", values=column).reindex(
                columns=["short", "long"]
            )
            ticks += [(x, "short"), (x + 0.5, f"\n{regime}"), (x + 1, "long")]
            if not wide.isna().all(axis=None):
                _pairs(axes, x, wide)
            x += 2.8
        if table.loc[table["memory"] == memory, column].isna().all():
            axes.text(0.5, 0.5, "no memory", transform=axes.transAxes, ha="center", color="#555555")
        axes.set_xticks([at for at, _ in ticks], [text for _, text in ticks])
        axes.set_xlim(-0.6, x - 1.2)
        axes.axhline(0, c=style.LIGHT, lw=0.8, zorder=0)
        if memory == memories[0]:
            axes.set_ylabel(ASIDE[column])
    caption = (
        f"Means of the second half of the window, minus the same run's before the disturbance; n = {plural(table['seed'].nunique(), 'seed')}. A "
        "line joins the two runs of a seed; bars: means. The displacement is the state's way to the end of the disturbance, mean of both runs. Title: "
        "long minus short along it, paired by seed, intervals that leave zero out."
    )
    return style.finish(made, _seeds_title(table), caption, note)


def _pairs(axes: Axes, x: float, wide: pd.DataFrame) -> None:
    axes.plot([x, x + 1], wide.to_numpy(float).T, c="#b0b0b0", lw=0.6, zorder=1)
    for at, (column, face) in enumerate((("short", "white"), ("long", style.BLUE))):
        values = wide[column].to_numpy(float)
        axes.plot([x + at] * len(values), values, "o", c=style.BLUE, mfc=face, ms=3.2, mew=0.7, zorder=2)
        mean = mean_of_known(values)
        axes.plot([x + at - 0.28, x + at + 0.28], [mean, mean], c="k", lw=1.3, zorder=3)


def _seeds_title(late: pd.DataFrame) -> str:
    clear, total = [], 0
    for (memory, regime), rows in late.groupby(["memory", "regime"], sort=False):
        wide = rows.pivot_table(index="seed", columns="length", values="along")
        if not {"long", "short"} <= set(wide):
            continue
        total += 1
        value = stats.paired(wide["long"], wide["short"])
        if value.n >= FEWEST_SEEDS and value.clear:
            clear.append(f"{memory} after {regime} {signed(value.mean, 3)}")
    if late["seed"].nunique() < FEWEST_SEEDS:
        return "Twins late in the window (too few seeds to test)"
    text = f"Late in the window the longer disturbance has clearly left the state elsewhere in {len(clear)} of {total} cases"
    return text + (f" ({'; '.join(clear)})" if clear else "")


FIGURES = (
    Figure(
        "memory/ambiguous-window.png",
        "How well a read-out of the state, of gate and share, and of the window's own statistics tells a long earlier disturbance from "
        "a short one, through the window in which both are over.",
        lambda tables, note, _: window(tables, note),
        ("ambiguous_auc", "ambiguous_advantage"),
    ),
    Figure(
        "memory/ambiguous-seeds.png",
        "Loss, place of the state and gate late in that window, the two runs of each seed joined.",
        lambda tables, note, _: seeds(tables, note),
        ("ambiguous_values",),
    ),
)
