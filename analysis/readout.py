"""Reading a target linearly from what a run held at each step: fitted on earlier steps, tested on later ones.

The strength of the ridge is chosen on contiguous folds of the steps that a reading is fitted on, so a source with many
dimensions and one with few both get what suits them, and no tested step has a say.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

EDGES = (0.4, 0.6, 0.8, 1.0)  # of the blocks that readings are tested on, in shares of the run
FITTED, GAP = (
    0.4,
    0.025,
)  # shares of the run: the steps before a block that its reading is fitted on, the gap between
STRENGTHS = 10.0 ** np.arange(-4, 4)  # of the ridge, in units of steps
FOLDS = 4  # of the fitted steps, to choose the strength on: contiguous


@dataclass(frozen=True)
class Block:
    """Which of a subject's rows a reading is fitted on, and which, later and apart from them, it is tested on."""

    fitted: slice
    tested: slice


def blocks(steps: np.ndarray, whole: int) -> list[Block]:
    """The blocks of a run of `whole` steps, as slices of `steps` (n,), consecutive and rising."""
    found = []
    for low, high in itertools.pairwise(EDGES):
        start, end, gap = round(low * whole), round(high * whole), max(1, round(GAP * whole))
        bounds = (start - gap - round(FITTED * whole), start - gap, start, end)
        a, b, c, d = (int(np.searchsorted(steps, bound)) for bound in bounds)
        if b - a >= 2 * FOLDS and d > c:
            found.append(Block(slice(a, b), slice(c, d)))
    return found


def ridge(x: np.ndarray, y: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """Predictions (m, k) for `ahead` (m, d) by ridge regression fitted on x (n, d), y (n, k).

    For each column of y the strength that predicts best over contiguous folds of the n rows.
    """
    errors = np.zeros((len(STRENGTHS), y.shape[1]))
    for fold in np.array_split(np.arange(len(x)), FOLDS):
        kept = np.ones(len(x), dtype=bool)
        kept[fold] = False
        errors += ((_ridges(x[kept], y[kept], x[fold]) - y[fold]) ** 2).sum(1)
    best = errors.argmin(0)
    return _ridges(x, y, ahead)[best, :, np.arange(y.shape[1])].T


def _ridges(x: np.ndarray, y: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """Predictions (strengths, m, k), inputs standardised on the rows that are fitted."""
    mean, size, level = x.mean(0), x.std(0), y.mean(0)
    # what stood still while it was fitted says nothing, however far it moves later
    scale = np.where(size > 1e-9, 1 / np.maximum(size, 1e-9), 0.0)
    u, s, vt = np.linalg.svd((x - mean) * scale, full_matrices=False)
    shrink = s / (s**2 + len(x) * STRENGTHS[:, None])  # (strengths, r)
    return np.einsum("mr,ar,rk->amk", ((ahead - mean) * scale) @ vt.T, shrink, u.T @ (y - level)) + level


def decoded(x: np.ndarray, y: np.ndarray, parts: Sequence[Block]) -> np.ndarray:
    """What is read of y (n, k) from x (n, d), (n, k): NaN where no block tests it."""
    found = np.full(y.shape, np.nan)
    for block in parts:
        found[block.tested] = ridge(x[block.fitted], y[block.fitted], x[block.tested])
    return found


def r_squared(truth: np.ndarray, read: np.ndarray) -> float:
    """1 - squared error / variance. Below zero: worse than the mean, which a reading fitted elsewhere can be."""
    spread = ((truth - truth.mean()) ** 2).sum() if len(truth) else 0.0
    return float(1 - ((truth - read) ** 2).sum() / spread) if spread > 1e-12 else float("nan")


def auc(truth: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve of a score for a boolean truth, by ranks; NaN where there is but one class."""
    true, false = int(truth.sum()), int((~truth).sum())
    if not true or not false:
        return float("nan")
    return float((rankdata(score)[truth].sum() - true * (true + 1) / 2) / (true * false))
