"""A run's states followed update by update: what the memory recalled, where an update pulls, and what lies around a regime."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from configs.state import OwnStats, SelfState
from experiments.kit.runs import Run
from experiments.kit.tables import CALM

BEFORE = 50  # steps before a regime whose mean state is its baseline
LATE = ("bewilderment", "sensory_fog", "lr_heatwave")  # felt by the state through the next step's statistics
MOMENTUM = 0.99  # of the average behind state_ema_drift
LOGGED = ("mlp_norm", "memory_norm", "memory_share", "gate")


@dataclass(frozen=True)
class Followed:
    """One run's log and states, row by row; row i holds the update that made state i.

    log: columns step, regime, state_drift and LOGGED (NaN where a run has none). states: (n, dim) float64.
    pull: (n, dim) the memory's part of each update, gate and decay included; zeros without memory, NaN where it is not known.
    bound: (n,) the largest share that the memory's limit allows at the gate of each step.
    """

    log: pd.DataFrame
    states: np.ndarray
    pull: np.ndarray
    bound: np.ndarray


def follow(run: Run, before: Run | None = None) -> Followed:
    """A run as its log and states tell it; `before` is the run that it goes on from, whose steps are put in front."""
    log, states = run.metrics(), run.states()
    assert states is not None
    if before is not None:
        earlier = before.metrics()
        kept = (earlier["step"] < log["step"].iloc[0]).to_numpy()
        past = before.states()
        assert past is not None
        log = pd.concat([earlier[kept], log], ignore_index=True)
        states = np.concatenate([past[kept], states])
    log = log.reindex(columns=list(dict.fromkeys([*log.columns, *LOGGED])))
    states = states.astype(np.float64)
    settings = run.config.self_state
    pull = np.zeros_like(states)
    bound = np.full(len(log), np.nan)
    if settings.memory.kind != "none":
        way = recalled(states, settings) - _last(states)
        size = np.linalg.norm(way, axis=1, keepdims=True)
        unit = np.divide(way, size, out=np.zeros_like(way), where=size > 0)
        gate, limit = log["gate"].to_numpy(float), settings.memory.limit
        pull = settings.decay * (gate * log["memory_norm"].to_numpy(float))[:, None] * unit
        bound = np.ones(len(log)) if limit is None else limit * gate / (limit * gate + 1 - gate)
    return Followed(log, states, pull, bound)


def recalled(states: np.ndarray, settings: SelfState) -> np.ndarray:
    """What the memory recalled in the update that made each state, from the states alone.

    The update that makes row i finds in it the states 0 ... i - 1 that updates made (see memory.py); where nothing is shown
    before the first batch was measured, row 0 is no update's. Recall has no weights of its own, so it follows from the
    states.

    Args:
        states: (n, dim), all states of a run from its first step on.

    Returns:
        (n, dim) float64, NaN where nothing was remembered.
    """
    found = np.full(states.shape, np.nan)
    first = 0 if isinstance(settings.senses, OwnStats) and settings.senses.from_zero else 1
    memory = settings.memory
    if memory.kind == "ema":
        average = np.zeros(states.shape[1])  # the state before the first update
        for row in range(first, len(states)):
            found[row] = average
            average = (1 - memory.decay) * average + memory.decay * states[row]
    elif memory.kind == "buffer":
        for row in range(first + 1, len(states)):
            held = states[first : row : memory.stride][-memory.length :]
            weights = held @ states[row - 1] / np.sqrt(states.shape[1])
            weights = np.exp(weights - weights.max())
            found[row] = weights @ held / weights.sum()
    return found


def off_average(states: np.ndarray, first: np.ndarray) -> np.ndarray:
    """state_ema_drift (n,) of states (n, dim): 1 - cosine to their average, which begins as `first` (dim,); 1 where either is zero."""
    average, found = first.astype(float), np.ones(len(states))
    for step, state in enumerate(states.astype(float)):
        average = MOMENTUM * average + (1 - MOMENTUM) * state
        size = np.linalg.norm(state) * np.linalg.norm(average)
        if size:
            found[step] = 1 - state @ average / size
    return found


def _last(states: np.ndarray) -> np.ndarray:
    """The state before each row's update; the first row's is itself."""
    return np.concatenate([states[:1], states[:-1]])


def restoring(
    states: np.ndarray, baseline: np.ndarray, updates: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """How hard each update pulls back to a baseline, and how far from it the state was.

    Args:
        states: (n, dim). baseline: (dim,).
        updates: (n, dim), the part of each update to look at; all of it, state minus the state before, if None.

    Returns:
        Force (n,) = -<update, d> / |d|, L2 a step, NaN where d = 0, and distance (n,) = |d|; d is the state before the
        update minus the baseline.
    """
    past = _last(states)
    away = past - baseline
    distance = np.linalg.norm(away, axis=1)
    inner = ((states - past if updates is None else updates) * away).sum(1)
    force = np.divide(-inner, distance, out=np.full(len(states), np.nan), where=distance > 0)
    return force + 0.0, distance  # no negative zeros


def around(log: pd.DataFrame, regime: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers before a regime (calm, at most BEFORE), while the state feels it, and after it until the next one."""
    step, names = log["step"].to_numpy(), log["regime"].to_numpy()
    start, end = start + (regime in LATE), end + (regime in LATE)
    before = np.flatnonzero((step >= start - BEFORE) & (step < start) & np.isin(names, [CALM, regime]))
    later = step[(step >= end) & (names != CALM)]
    until = later[0] if len(later) else step[-1] + 1
    during = np.flatnonzero((step >= start) & (step < end))
    return before, during, np.flatnonzero((step >= end) & (step < until))


def follow_all(runs: Sequence[Run]) -> dict[tuple[str, int], Followed]:
    """Every run with self-state by condition and seed, each with the steps of the run that it goes on from in front.

    A run whose origin is not among them is left out.
    """
    by_place = {(run.condition, run.seed): run for run in runs}
    found = {}
    for place, run in by_place.items():
        start = run.config.start
        before = by_place.get((start.condition, run.seed)) if start is not None else None
        if run.config.self_state.enabled and (start is None or before is not None):
            found[place] = follow(run, before)
    return found
