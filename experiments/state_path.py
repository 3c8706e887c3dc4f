"""What path does the state take through a regime: how far, which way, how fast? Its findings stand on the page of lead_lag.py."""

from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.kit import marks, style
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment
from experiments.kit.pages import of_seeds
from experiments.kit.runs import Context
from experiments.kit.stats import paired, per_seed
from experiments.kit.style import REGIMES
from experiments.kit.tables import CALM, Tables, stack, stretches
from experiments.kit.words import Finding, in_each

WIDTH = 10  # steps of a bin
BEFORE, AFTER = 50, 100  # steps looked at before an onset and after an end
PARTS = {
    "distance": "distance from\nbaseline (L2)",
    "direction": "direction (cosine with\nthe regime's end)",
    "speed": "speed\n(L2 a step)",
}


def state_decomposition(context: Context) -> pd.DataFrame:
    """One row a run, regime window and bin of ten steps; `since_onset` is the bin's first step, from the onset.

    From 50 steps before the onset to 100 after the end, as far as no other regime acts before or after (phase:
    before, during, after). distance, direction, speed: means over the bin of `split`. calm_*: the same of condition
    `self_calm`, same seed, same steps, no regime; NaN without such a run. Directions of different seeds have nothing to
    do with each other.
    """
    calm = {run.seed: run.states() for run in context.of("self_calm")}
    parts = []
    for run in sorted(context.runs, key=lambda run: (run.condition, run.seed)):
        states, beside, log = run.states(), calm.get(run.seed), run.metrics()
        if states is None:
            continue
        paths = [states, np.full_like(states, np.nan) if beside is None else beside]
        busy, rows = np.flatnonzero(log["regime"] != CALM), []
        for regime, start, end in stretches(log):
            if start < 2:
                continue  # nothing before it to be displaced from
            both = [split(path, start, end) for path in paths]
            first = max(start - BEFORE, *busy[busy < start][-1:] + 1, 0)
            last = min(end + AFTER, *busy[busy >= end][:1], len(log))
            for left in range(-BEFORE, end - start + AFTER, WIDTH):
                phase = "before" if left < 0 else "during" if start + left < end else "after"
                until = min(start + left + WIDTH, end if phase == "during" else last)
                steps = slice(max(start + left, first), until)
                if steps.start < steps.stop:
                    means = np.concatenate([path[:, steps].mean(1) for path in both])
                    rows.append((regime, start, end, left, phase, *means))
        names = ["regime", "start", "end", "since_onset", "phase", *PARTS, *map("calm_{}".format, PARTS)]
        parts.append(run.label(pd.DataFrame(rows, columns=names)))
    return stack(parts)


def split(states: np.ndarray, start: int, end: int) -> np.ndarray:
    """Distance, direction and speed (3, steps) of a path (steps, dim) around a window.

    distance: L2 of the displacement from the mean state of the 50 steps before the onset, whatever acted then. direction:
    cosine of that displacement with the one at the window's last step; NaN where one is zero. speed: L2 of the move of
    each step, zero at the first.
    """
    states = states.astype(np.float64)
    moved = states - states[max(0, start - BEFORE) : start].mean(0)
    distance = np.linalg.norm(moved, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        direction = (moved @ moved[end - 1]) / (distance * distance[end - 1])
    speed = np.linalg.norm(np.diff(states, axis=0, prepend=states[:1]), axis=1)
    return np.stack([distance, direction, speed])


def last_bin(rows: pd.DataFrame, column: str) -> "pd.Series[float]":
    """A column in the last bin of each window, by seed."""
    latest = rows.groupby(["seed", "start"])["since_onset"].transform("max")
    return per_seed(rows[rows["since_onset"] == latest], column)


def findings(tables: Tables) -> dict[str, Finding]:
    parts = {}
    for regime in REGIMES:
        rows = tables.rows("state_decomposition", condition="self_random", regime=regime, phase="during")
        parts[f"`{regime}`"] = paired(last_bin(rows, "distance"), last_bin(rows, "calm_distance"))
    return {
        "path": in_each(
            "at random times (`self_random`) the state ends further from where it was than after the same steps without a regime", parts,
            +1, "L2 at the regime's end",
        )
    }  # fmt: skip


def through(part: str, regime: str) -> draw.Panel:
    """One part of the path around a regime, beside the calm run's."""
    of = {"self_random": part, "self_calm": f"calm_{part}"}

    def panel(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        rows = tables.rows("state_decomposition", condition="self_random", regime=regime)
        if rows.empty:
            return []
        marks.shade(axes, [(regime, 0, int((rows["end"] - rows["start"]).median()))])
        for name, look in looks.items():
            wide = rows.pivot_table(index="since_onset", columns="seed", values=of[name])
            if len(wide):
                marks.curve(axes, wide.set_index(wide.index + WIDTH / 2), look, faint=0.4)
        if part == "direction":
            marks.level(axes, zorder=1)
            axes.set_ylim(-1.05, 1.05)
        if part == "distance":
            axes.set_title(f"{regime}\n({REGIMES[regime].gloss.removesuffix(' to the state')})", fontsize=7)
        if regime == next(iter(REGIMES)):
            axes.set_ylabel(PARTS[part])
        return list(looks)

    return draw.Panel(("state_decomposition",), panel, along=part == "speed")


FIGURE = draw.sheet(
    "state-decomposition.png", [through(*where) for where in product(PARTS, REGIMES)], grid=(3, 5), height=5.6, title=("path",),
    looks={name: style.condition(name) for name in ("self_calm", "self_random")}, x="steps since onset", marks="line",
    share_x="col", share_y="row",
    shows="The state's path through each regime, split into distance from baseline, direction and speed, beside the same "
    "steps of the calm run.",
    caption="Means of ten steps; line: mean over seeds, 95 % t band; faint: seeds. Grey: the regime acts. Distance from the mean state of the 50 "
    "steps before; direction: cosine with where it is at the regime's end. Curves end where another regime begins. Without regimes: same "
    "seed and steps.",
)  # fmt: skip


def path_table(tables: Tables) -> str:
    """A row a condition and regime: where the state is at its end and after it."""
    lines = []
    for condition, regime in product(dict.fromkeys(tables.rows("state_decomposition")["condition"]), REGIMES):
        during, after = (
            tables.rows("state_decomposition", condition=condition, regime=regime, phase=phase)
            for phase in ("during", "after")
        )
        if during.empty:
            continue
        own, calm = last_bin(during, "distance"), last_bin(during, "calm_distance")
        faster = paired(per_seed(during, "speed"), per_seed(during, "calm_speed"))
        ends = (last_bin(after, column) for column in ("direction", "distance"))
        lines.append([f"`{condition}`, `{regime}`", own, paired(own, calm), faster, *ends])
    columns = [
        ("distance at its end, L2", "3"), ("− `self_calm`", "±3"), ("speed in it − `self_calm`, L2 a step", "±4"),
        ("direction at the last bin after", "±2"), ("distance there", "±3"),
    ]  # fmt: skip
    return of_seeds("condition, regime", columns, lines)


EXPERIMENT = Experiment(
    "state_path", "What path does the state take through a regime?", [state_decomposition], findings, [FIGURE],
    suites=("shakespeare",),
)  # fmt: skip
