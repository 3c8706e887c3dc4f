"""Figures of beliefs in residual streams. See geometry.py."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments import beliefs
from experiments.belief_shifts import ASKED
from experiments.geometry_tables import (
    END,
    HARD,
    KEPT,
    MIDDLE,
    MOVES,
    PROCESSES,
    SHOWN_SEED,
    SOURCES,
    moved,
    of,
)
from experiments.kit import panels as draw
from experiments.kit import style
from experiments.kit.marks import curve, level
from experiments.kit.stats import per_seed
from experiments.kit.style import Look
from experiments.kit.tables import Tables
from experiments.kit.words import number, percent
from experiments.readings import POSTERIOR
from experiments.simplex import COLOURS, FOUND, STAGES, TRUE, both, simplex

MAPS = {
    "layer": Look("trained model", style.BLUE),
    "untrained layer": Look("untrained model", style.GREY, "--", "^"),
    **{name: SOURCES[name] for name in ("token", "3-gram", "5-gram", "next-token")},
}
ELSEWHERE = "recurring"  # the suite whose self-states are asked the same


def held(*processes: str) -> Callable[[Tables], str]:
    """The title of a figure that shows beliefs of some processes."""
    return lambda tables: (
        "R² of the belief found in the stream, on histories held out: "
        + "; ".join(
            f"{process} {number(of(tables, process, 'joined').mean())}, untrained {number(of(tables, process, 'untrained joined').mean())}"
            for process in processes
            if len(of(tables, process, "joined"))
        )
    )


def formed(tables: Tables) -> str:
    """The title of the figure on training."""
    rows = tables.rows("geometry_course", source="joined")
    last = rows[rows["step"] == rows.groupby("condition")["step"].transform("max")]
    ends = last.groupby("condition")["r2"].mean()
    return "R² of the belief over histories of all lengths, after the last step: " + "; ".join(
        f"{process} {number(ends[process])}" for process in PROCESSES if process in ends
    )


def layers(process: str) -> draw.Panel:
    """R2 by layer, over its floors."""

    def make(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        rows = tables.rows("geometry_maps", condition=process, at="last")
        drawn = []
        for kind, look in looks.items():
            part = rows[rows["kind"] == kind]
            if part.empty:
                continue
            drawn.append(kind)
            if not kind.endswith("layer"):
                level(axes, part["r2"].mean(), c=look.colour, lw=1.1, ls=look.line, zorder=1)
                continue
            whole = rows[rows["kind"] == kind.replace("layer", "joined")]
            curve(axes, part.pivot_table(index="layer", columns="seed", values="r2"), look, faint=0.4)
            last = part["layer"].max() + 1
            values = per_seed(whole, "r2")
            axes.plot(
                [last] * len(values), values, look.marker, c=look.colour, mfc=look.face, ms=3.4, zorder=3
            )
            axes.set_xticks([*range(last + 1)], [*map(str, range(last)), "all"])
        axes.set_title(process)
        axes.set_xlabel("blocks done")
        axes.set_ylabel("R² of the belief")
        axes.set_ylim(min(-0.03, axes.get_ylim()[0]), 1.03)
        return drawn

    return draw.Panel(["geometry_maps"], make)


def course(column: str, label: str, log: bool) -> draw.Panel:
    """A column of all layers joined over the course of training; before the first step at 1."""

    def make(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        drawn = []
        for process, look in looks.items():
            rows = tables.rows("geometry_course", condition=process, source="joined")
            if rows.empty:
                continue
            wide = rows.assign(at=rows["step"].clip(lower=1)).pivot_table(
                index="at", columns="seed", values=column
            )
            curve(axes, wide.clip(lower=1e-5) if log else wide, look, log=log, faint=0.4)
            drawn.append(process)
        if drawn:
            style.log_axis(axes, across=True)
        axes.set_ylabel(label)
        axes.set_xlabel("step of training")
        return drawn

    return draw.Panel(["geometry_course"], make)


def doses(process: str, pairs: str, reach: str, ahead: int, place: str, title: str) -> draw.Panel:
    """The causal curve: distance of predictions from what the belief that is moved to says, along the dose."""

    where = {"condition": process, "pairs": pairs, "reach": reach, "place": place}
    curves = draw.lines(
        "geometry_moves", f"kl_target{ahead}", title, "KL to the belief moved to (nats)", along="dose", by="move", where=where, bands=True,
        zero=False,
    )  # fmt: skip
    return draw.then(curves, lambda axes, _: axes.set_ylim(bottom=0))


def used(tables: Tables) -> str:
    """The title of the causal curves."""
    shares = {name: percent(moved(tables, HARD, name).mean()) for name in MOVES}
    return (
        f"Moved to another belief, {HARD}'s prediction of the token after the next goes {shares['belief']} of the way; to a third "
        f"belief {shares['foreign']}, at random {shares['random']}"
    )


def left(process: str, place: str) -> draw.Panel:
    """The loss over the optimum with part of one layer's stream kept."""
    layer = {MIDDLE: "middle layer", END: "last layer"}[place]
    return draw.strip(
        ["geometry_kept"], KEPT, lambda tables, kept: of(tables, process, kept, "excess", "geometry_kept", "kept", place=place),
        f"{process}, {layer}", "loss over the best (nats)",
    )  # fmt: skip


def enough(tables: Tables) -> str:
    """The title of the figure on what is left of the loss."""
    loss = {
        kept: number(of(tables, HARD, kept, "excess", "geometry_kept", "kept", place=MIDDLE).mean(), 3)
        for kept in ("all", "belief", "without", "random")
    }
    return (
        f"Middle layer of {HARD}: loss over the best {loss['all']} nats as it is, {loss['belief']} with the belief alone, "
        f"{loss['without']} with all but the belief, {loss['random']} with as many random directions"
    )


def of_state(world: str) -> draw.Panel:
    """What is found in a self-state of the chance that a regime acts, against what an ideal observer makes of it."""

    def make(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        rows = tables.of(ELSEWHERE).rows("belief_example", condition=ASKED[world])
        if rows.empty:
            return []
        true = rows["posterior"].to_numpy(float)
        colours = np.outer(1 - true, COLOURS[0]) + np.outer(true, COLOURS[1])
        axes.axline((0, 0), slope=1, c=style.LIGHT, lw=0.8, zorder=0)
        axes.scatter(true, rows["decoded"], s=7, c=np.clip(colours, 0, 1), lw=0, alpha=0.75, zorder=2)
        axes.set_title(f"{world}: one run's last steps")
        axes.set_xlabel("belief of an ideal observer")
        axes.set_ylabel("found in the self-state")
        return [world]

    return draw.Panel([], make)


def floors_of_state(world: str) -> draw.Panel:
    """The panel of `beliefs` on what tells the belief, from that suite's tables."""
    panel = beliefs.reading(world, POSTERIOR, "r2")
    return draw.Panel([], lambda axes, tables, looks: panel.draw(axes, tables.of(ELSEWHERE), looks))


def of_states(tables: Tables) -> str:
    """The title of the figure on self-states."""
    read: Mapping[str, pd.Series] = {
        world: beliefs.read(tables.of(ELSEWHERE), condition, beliefs.STATE, POSTERIOR)
        for world, condition in ASKED.items()
    }
    return "R² of an ideal observer's belief in the self-state: " + ", ".join(
        f"{world} {number(float(values.mean()), 2)}" for world, values in read.items()
    )


CAPTION = (
    f"Points: seed {SHOWN_SEED} alone, all layers joined; every history is read by a map that was fitted without it. A point is a history, its colour the true "
    "belief, its marker the likeliest state, its size its probability. Panels side by side have one scale; what is found beyond is cut off. "
    "Title: means over seeds."
)
FIGURES = (
    draw.sheet(
        "geometry.png", both("mess3", size=0.8), grid=(1, 2), height=4.1, title=held("mess3"),
        shows="The belief of an ideal observer of mess3 after each history, and what is found of it in the residual stream.",
        caption=CAPTION + " A corner is to be certain of one of three hidden states.",
    ),
    draw.sheet(
        "geometry/other-processes.png",
        [*both("rrxor", said=" (axes 1, 2)"), *both("rrxor", 1, said=" (axes 3, 4)"), *both("z1r")],
        grid=(3, 2), height=9.8, title=held("rrxor", "z1r"),
        shows="The same of rrxor, whose belief over five states is shown by two projections, and of z1r.",
        caption=CAPTION + " rrxor: axes are principal components of the true beliefs.",
    ),
    draw.sheet(
        "geometry/training.png",
        [
            panel for process in ("mess3", "rrxor", "z1r")
            for panel in (simplex(process, TRUE, process, size=0.22), *(simplex(process, FOUND, "", size=0.22, stage=stage) for stage in range(STAGES)))
        ],
        grid=(3, STAGES + 1), height=4.8, title=held(*PROCESSES),
        shows="What is found of the belief before the first step of training, on the way and at the end; the belief itself on the left.",
        caption=CAPTION + " Left: the belief itself. rrxor: axes 1 and 2.",
    ),
    draw.sheet(
        "geometry/layers.png", [layers(process) for process in PROCESSES], grid=(1, 3), height=3.2, looks=MAPS, columns=3, marks="line", share_y=True,
        title=("beyond",), shows="R² of the belief by layer, over what the last tokens, the next token's probabilities and an untrained model give.",
        caption="{seeds}; a line for each faint, the mean in full, its 95 % t interval as a band. Histories as long as the context. All: all layers joined. What counts tokens, and the next "
        "token's probabilities, get the best map there is; the streams' maps are fitted on other histories. In mess3 the trained model, the last three or five tokens and the next token's "
        "probabilities lie on one another near 1.",
    ),
    draw.sheet(
        "geometry/course.png", [course("r2", "R² of the belief", False), course("excess", "loss over the best prediction's", True)], grid=(1, 2), height=3.0,
        looks=PROCESSES, marks="line", title=formed, shows="The belief in the stream, and the loss over the best possible, over the course of training.",
        caption="{seeds}; a line for each faint, mean and 95 % t interval. All layers joined, histories of all lengths. The model before its first step stands at 1. Loss: exact, its share over "
        "that of the best prediction.",
    ),
    draw.sheet(
        "geometry/moves.png",
        [
            doses("rrxor", "equal", "past", 2, MIDDLE, "rrxor, the token after the next"),
            doses("rrxor", "equal", "one", 2, MIDDLE, "the same, last position alone"),
            doses("rrxor", "equal", "past", 1, MIDDLE, "rrxor, the next token (equal)"),
            doses("mess3", "any", "past", 1, MIDDLE, "mess3, middle layer, next token"),
            doses("mess3", "any", "past", 1, END, "mess3, last layer, next token"),
            doses("mess3", "any", "past", 2, MIDDLE, "mess3, the token after the next"),
        ],
        grid=(2, 3), height=5.2, looks=MOVES, marks="line", title=used, x="dose of the move",
        shows="Predictions while the stream is moved from one belief to another, held against what that belief says.",
        caption="{seeds}; a line for each faint, mean and 95 % t interval. rrxor: middle layer, pairs of histories with equal probabilities of the next token and "
        "different ones of what comes later; mess3: any pairs, since there equal probabilities mean equal beliefs. Moved at all positions so far but where it "
        "says the last alone. Zero: predictions of an ideal observer who holds that belief.",
    ),
    draw.sheet(
        "geometry/kept.png", [left(process, place) for process in ("rrxor", "mess3") for place in (MIDDLE, END)], grid=(2, 2), height=4.6, title=enough,
        shows="What is left of the loss when all but the belief is taken out of a layer's stream.",
        caption="{seeds}; bars: mean and, from three seeds on, 95 % t interval. Exact losses over all positions. The belief alone: what the fitted map reads of it, "
        "written back as the mean stream of that belief, at all positions.",
    ),
    replace(draw.sheet(
        "geometry/self-state.png", [*(of_state(world) for world in ASKED), *(floors_of_state(world) for world in ASKED)], grid=(2, 3), height=5.4, share_y="row", title=of_states,
        shows="The same of self-states in recurring worlds: the belief that a regime acts, and what is found of it in the state.",
        caption="Above: the last steps of the run in the middle of its seeds by R², a point a step, coloured by the belief; grey: a reading that is exact. Below: one point a seed, "
        "mean and 95 % t interval; R² below −0.6 at the edge. Readings by ridge regression on earlier steps of the run.",
    ), suite=ELSEWHERE),
)  # fmt: skip
