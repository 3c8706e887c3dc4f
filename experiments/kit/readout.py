"""Reading a target linearly from what a run held at each step: fitted on earlier steps, tested on later ones.

The strength of the ridge is chosen on contiguous folds of the steps that a reading is fitted on, so a source with many
dimensions and one with few both get what suits them, and no tested step has a say.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

EDGES = (0.4, 0.6, 0.8, 1.0)  # of the blocks that readings are tested on, in shares of the run
# Shares of the run: the steps before a block that its reading is fitted on, the gap between
FITTED, GAP = 0.4, 0.025
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
    """Area under the ROC curve of a score for a boolean truth; NaN where there is but one class."""
    from sklearn.metrics import roc_auc_score  # slow to load

    return float(roc_auc_score(truth, score)) if 0 < truth.sum() < len(truth) else float("nan")


# Correlation of two series at every lag, with a null that keeps each series' own autocorrelation: neighbouring steps of a
# log are alike, so a usual test finds too much. Here one series is turned around in a circle against the other: each keeps
# its own rhythm, only their timing is lost. All turns are taken, by one Fourier transform (the correlation theorem).
WIDTH = 101  # steps of the running median that is taken off as trend


def detrended(values: np.ndarray, width: int = WIDTH) -> np.ndarray:
    """A series (n,) without its slow part: minus its centred running median of `width` steps, shorter at the ends."""
    series = pd.Series(values)
    return (series - series.rolling(width, center=True, min_periods=1).median()).to_numpy(copy=True)


def unit_ranks(values: np.ndarray, ignored: np.ndarray | None = None) -> np.ndarray:
    """Ranks of a series (n,), centred, of unit length, so that products of two are Spearman's correlations.

    `ignored` (n,) bool: steps that take no part; they count as the middle rank. All zero where nothing varies.
    """
    used = np.ones(len(values), bool) if ignored is None else ~ignored
    made = np.zeros(len(values))
    if used.sum() < 2 or np.ptp(values[used]) <= 1e-12 * np.abs(values[used]).max():
        return made
    made[used] = scipy.stats.rankdata(values[used])
    made[used] -= made[used].mean()
    return made / np.linalg.norm(made)


def all_lags(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """c[k] = sum over t of x[t] y[t + k], in a circle, for k = 0 .. n - 1 (so c[-k] is lag -k); both (n,)."""
    return np.fft.irfft(np.conj(np.fft.rfft(x)) * np.fft.rfft(y), n=len(x))


@dataclass(frozen=True)
class Peak:
    """The strongest correlation among some lags, and how it stands against the null of the same number of lags.

    lag: in samples. null_95: of the largest absolute correlation, over turns that take every lag away from all of them.
    p_value: two-sided, with the choice of the lag in it: the share of all turns, these lags' own place included, at
    which some lag is as strong. Turns that overlap share their strongest lag, so leaving the near ones out would find
    too much (in 14 % of white noise, 41 lags of 300 steps, instead of 5 %). So it is at least the number of lags over
    that of steps. Both are NaN where the series is too short for turns that don't reach the lags themselves.
    """

    lag: int
    value: float
    null_95: float
    p_value: float


def peak(correlations: np.ndarray, low: int, high: int) -> Peak:
    """The strongest of lags low .. high (both included) of `all_lags`, beside turns."""
    lags = np.arange(low, high + 1)
    window = correlations[lags]  # a negative lag counts from the end, as it should in a circle
    best = int(np.abs(window).argmax())
    null = turned_maxima(correlations, low, high)
    if not len(null) or not np.any(correlations):
        return Peak(int(lags[best]), float(window[best]), float("nan"), float("nan"))
    everywhere = _maxima(correlations, np.arange(len(correlations)), low, high)
    p_value = float((everywhere >= abs(window[best]) * (1 - 1e-12)).mean())
    return Peak(int(lags[best]), float(window[best]), float(np.quantile(null, 0.95)), p_value)


def turns(count: int, low: int, high: int, least: int = 0) -> np.ndarray:
    """The turns of a circle of `count` steps that take every lag in low .. high away from all of them."""
    away = max(2 * max(abs(low), abs(high)) + 1, least)
    return np.arange(away, count - away + 1)


def turned_maxima(correlations: np.ndarray, low: int, high: int, least: int = 0) -> np.ndarray:
    """The largest absolute correlation among lags low .. high after each turn of `turns`."""
    starts = turns(len(correlations), low, high, least)
    return _maxima(correlations, starts, low, high) if len(starts) else np.zeros(0)


def _maxima(correlations: np.ndarray, starts: np.ndarray, low: int, high: int) -> np.ndarray:
    size = np.abs(correlations)
    return np.max([np.take(size, starts + lag, mode="wrap") for lag in range(low, high + 1)], axis=0)
