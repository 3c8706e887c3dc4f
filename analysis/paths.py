"""The state's path through each regime, split into distance, direction and speed."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from experiments.kit.runs import Run
from experiments.kit.tables import RUN, stack, windows_of

WIDTH = 10  # steps of a bin
BEFORE, AFTER = 50, 100  # steps looked at before an onset and after an end
PARTS = ("distance", "direction", "speed")
COLUMNS = (
    *(*RUN, "regime", "start", "end", "since_onset", "phase"),
    *PARTS,
    *(f"calm_{part}" for part in PARTS),
)


def state_decomposition(runs: Sequence[Run], logs: Mapping[tuple[str, int], pd.DataFrame]) -> pd.DataFrame:
    """One row a run, regime window and bin of ten steps; `since_onset` is the bin's first step, from the onset.

    From 50 steps before the onset to 100 after the end, as far as no other regime acts before or after (phase:
    before, during, after). Means over the bin of distance: L2 of the displacement from the mean state of the 50 steps
    before the onset, whatever acted then; direction: cosine of that displacement with the displacement at the
    regime's last step; speed: L2 of the state's move a step. calm_*: the same of condition `self_calm`, same seed,
    same steps, no regime; NaN without such a run. Directions of different seeds have nothing to do with each other.
    """
    calm = {run.seed: run.states() for run in runs if run.condition == "self_calm"}
    parts = []
    for run in runs:
        log, states = logs[run.condition, run.seed], run.states()
        if states is None:
            continue
        regimes = log["regime"].to_numpy(dtype=str)
        rows = []
        for regime, start, end in windows_of(log).itertuples(index=False):
            if start < 2:
                continue  # nothing before it to be displaced from
            first, last = _calm_around(regimes, start, end)
            own = split(states, start, end)
            beside = calm.get(run.seed)
            other = split(beside, start, end) if beside is not None else np.full_like(own, np.nan)
            for left in range(-BEFORE, end - start + AFTER, WIDTH):
                steps = np.arange(max(start + left, first), min(start + left + WIDTH, last))
                phase = "before" if left < 0 else "during" if start + left < end else "after"
                steps = steps[steps < end] if phase == "during" else steps
                if len(steps):
                    means = (*own[:, steps].mean(1), *other[:, steps].mean(1))
                    rows.append((regime, start, end, left, phase, *means))
        parts.append(run.label(pd.DataFrame(rows, columns=list(COLUMNS[3:]))))
    return stack(parts, COLUMNS)


def _calm_around(regimes: np.ndarray, start: int, end: int) -> tuple[int, int]:
    """The stretch [first, last) around a window in which nothing but that window and calm acts."""
    busy = regimes != "calm"
    earlier, later = np.flatnonzero(busy[:start]), np.flatnonzero(busy[end:])
    first = max(start - BEFORE, 0, int(earlier[-1]) + 1 if len(earlier) else 0)
    last = min(end + AFTER, len(regimes), end + int(later[0]) if len(later) else len(regimes))
    return first, last


def split(states: np.ndarray, start: int, end: int) -> np.ndarray:
    """Distance, direction and speed (3, steps) of a path (steps, dim) around a window; see state_decomposition.

    The direction is NaN where a displacement is zero, the speed of the first step is zero.
    """
    states = states.astype(np.float64)
    moved = states - states[max(0, start - BEFORE) : start].mean(0)
    distance = np.linalg.norm(moved, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        direction = (moved @ moved[end - 1]) / (distance * distance[end - 1])
    speed = np.linalg.norm(np.diff(states, axis=0, prepend=states[:1]), axis=1)
    return np.stack([distance, direction, speed])
