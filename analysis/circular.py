"""Correlation of two series at every lag, with a null that keeps each series' own autocorrelation.

Neighbouring steps of a training log are alike, so a usual test of a correlation finds too much. Here one series is
turned around in a circle against the other: each keeps its own rhythm, only their timing is lost. All turns are taken,
by one Fourier transform (the correlation theorem), so nothing is drawn at random.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

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
    made[used] = rankdata(values[used])
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
