"""What a state tells of the ideal observer's belief: a linear reading, fitted on one life and scored on another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from configs.run import RunConfig
from probes.closed_loop import Subject
from runs import observer

HELD = ("seed", "run_step", "regime", "r2", "lag", "cosine")


@dataclass(frozen=True)
class Reading:
    """A linear map from the state to the belief in a regime, and back: belief = states @ weight + offset; the mean state
    of a belief b = centre + (b - mean) slope."""

    weight: np.ndarray
    offset: float
    centre: np.ndarray
    slope: np.ndarray
    mean: float


def read_belief(states: np.ndarray, belief: np.ndarray) -> Reading:
    """Least squares both ways, with a small ridge: states (n, D), belief (n,)."""
    states = states.astype(np.float64)
    centre, mean = states.mean(0), float(belief.mean())
    spread, apart = states - centre, belief - mean
    ridge = 1e-4 * np.eye(states.shape[1]) * max(float((spread**2).mean()), 1e-12) * len(states)
    weight = np.linalg.solve(spread.T @ spread + ridge, spread.T @ apart)
    slope = spread.T @ apart / max(float(apart @ apart), 1e-12)
    return Reading(weight, mean - float(centre @ weight), centre, slope, mean)


def r2(found: np.ndarray, true: np.ndarray) -> float:
    """Share of the variance of `true` that `found` tells."""
    return 1 - float(((found - true) ** 2).mean() / max(float(true.var()), 1e-12))


def held(subject: Subject, life: RunConfig, fit: Account, scored: Account) -> list[dict[str, Any]]:
    """Rows of held.csv: what the state tells of the ideal observer's belief in each regime, fitted on another life.

    r2: of the belief that the observer holds of this step. lag: of the one that it held five steps earlier.
    cosine: between this regime's direction in the state and the other regime's; NaN where there is one regime.
    """
    assert fit.states is not None and scored.states is not None
    regimes = observer.regimes_of(life)
    readings = [read_belief(fit.states, fit.belief[:, column]) for column in range(1, len(regimes))]
    rows = []
    for column, reading in enumerate(readings, 1):
        decoded = scored.states @ reading.weight + reading.offset
        true = scored.belief[:, column]
        cosine = np.nan
        if len(readings) > 1:
            other = readings[-column]  # of two regimes, the other one
            lengths = np.linalg.norm(reading.slope) * np.linalg.norm(other.slope)
            cosine = float(reading.slope @ other.slope / max(lengths, 1e-12))
        late = r2(decoded[5:], true[:-5]) if len(true) > 5 else np.nan
        rows.append({"regime": regimes[column], "r2": r2(decoded, true), "lag": late, "cosine": cosine})
    return rows
