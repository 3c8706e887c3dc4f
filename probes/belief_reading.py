"""A belief read from a state by a line, and the state that a belief stands for."""

from dataclasses import dataclass

import numpy as np


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
