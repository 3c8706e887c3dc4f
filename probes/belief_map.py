"""The map from a residual stream to a belief: weighted linear regression, every history predicted by a map that was fitted
without it; and how near what is found comes to what is true.

Weights are probabilities: what is rare counts little, and each history counts once.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from base.rng import Stream, generator

FOLDS = 5
STRENGTHS = 10.0 ** np.arange(-8, 4)  # of the ridge, in units of the features' mean variance


@dataclass(frozen=True, eq=False)
class Cut:
    """How histories are weighted and set apart: weight (n,), summing to one; fold (n,), which of FOLDS each is held out with."""

    weight: np.ndarray
    fold: np.ndarray

    def of(self, some: np.ndarray) -> "Cut":
        """The same of some histories, by their places or a mask."""
        weight = self.weight[some]
        return Cut(weight / weight.sum(), self.fold[some])


def cut(weight: np.ndarray, strata: np.ndarray, seed: int) -> Cut:
    """Histories set apart at random, evenly within each of the `strata` (n,)."""
    order = generator(seed, Stream.ANALYSIS, 0).permutation(len(weight))
    order = order[np.argsort(strata[order], kind="stable")]
    fold = np.empty(len(weight), dtype=np.int64)
    fold[order] = np.arange(len(weight)) % FOLDS
    return Cut(weight / weight.sum(), fold)


@dataclass(frozen=True, eq=False)
class Maps:
    """A linear map for each fold, fitted on all others: y = (x - centre) @ slope[fold] + level[fold].

    centre: (d,). slope: (FOLDS, d, k). level: (FOLDS, k). All float64.
    """

    centre: np.ndarray
    slope: np.ndarray
    level: np.ndarray

    def __call__(self, x: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """What they make of x (..., d), each row by the map of its fold (...,): (..., k)."""
        found = np.empty((*x.shape[:-1], self.level.shape[1]))
        for index in range(FOLDS):
            mine = fold == index
            found[mine] = (x[mine] - self.centre) @ self.slope[index] + self.level[index]
        return found


@dataclass(frozen=True, eq=False)
class Moments:
    """Weighted sums over some rows of [x, 1] with itself (d + 1, d + 1), with y (d + 1, k), and of the square of y (k,)."""

    inner: np.ndarray
    outer: np.ndarray
    square: np.ndarray

    def solved(self) -> np.ndarray:
        """Ridge regressions, (STRENGTHS, d + 1, k): least squares with a penalty on all but the intercept, the last row."""
        d = len(self.inner) - 1
        n, sums = self.inner[d, d], self.inner[d, :d]
        sizes, axes = np.linalg.eigh(self.inner[:d, :d] - np.outer(sums, sums) / n)
        turned = axes.T @ (self.outer[:d] - np.outer(sums, self.outer[d]) / n)
        penalty = STRENGTHS * max(float(sizes.mean()), 1e-12)
        slopes = axes @ (turned / (sizes.clip(0) + penalty[:, None])[..., None])
        levels = (self.outer[d] - sums @ slopes) / n
        return np.concatenate([slopes, levels[:, None]], axis=1)

    def error(self, solved: np.ndarray) -> np.ndarray:
        """The weighted squared error (STRENGTHS, k) of such regressions on these rows."""
        return np.asarray(self.square + (solved * (self.inner @ solved - 2 * self.outer)).sum(1))


def summed(x: np.ndarray, y: np.ndarray, cut: Cut, centre: np.ndarray) -> list[Moments]:
    """The moments of each fold's rows, x taken from its centre (d,)."""
    parts = []
    for index in range(FOLDS):
        mine = cut.fold == index
        part = np.concatenate([x[mine] - centre, np.ones((mine.sum(), 1))], axis=1)
        weighted = part * cut.weight[mine, None]
        parts.append(Moments(weighted.T @ part, weighted.T @ y[mine], cut.weight[mine] @ y[mine] ** 2))
    return parts


def together(parts: Iterable[Moments]) -> Moments:
    """The moments of all rows of some parts."""
    kept = list(parts)
    return Moments(
        *(np.sum([getattr(one, name) for one in kept], 0) for name in ("inner", "outer", "square"))
    )


def fitted(x: np.ndarray, y: np.ndarray, cut: Cut) -> Maps:
    """Weighted ridge regression of y (n, k) on x (n, d), with an intercept. For each column of y the strength of a fold's map
    is the one that predicts best across the other four, so that the held-out fold has no say.

    The moments of each fold are summed once; all maps are made of those.
    """
    centre = (cut.weight @ x).astype(np.float64)
    parts = summed(x, y, cut, centre)

    def without(*left_out: int) -> np.ndarray:
        return together(part for index, part in enumerate(parts) if index not in left_out).solved()

    errors = np.zeros((FOLDS, len(STRENGTHS), y.shape[1]))
    for one, other in itertools.combinations(range(FOLDS), 2):
        solved = without(one, other)
        errors[one] += parts[other].error(solved)
        errors[other] += parts[one].error(solved)
    columns = np.arange(y.shape[1])
    solved = np.stack([without(index)[errors[index].argmin(0), :, columns].T for index in range(FOLDS)])
    return Maps(centre, solved[:, :-1], solved[:, -1])


def in_sample(x: np.ndarray, y: np.ndarray, cut: Cut) -> np.ndarray:
    """y (n, k) as read from x (n, d) by a map that was fitted on these very rows, with the least ridge: what not to believe."""
    centre = (cut.weight @ x).astype(np.float64)
    solved = together(summed(x, y, cut, centre)).solved()[0]
    return np.asarray((x - centre) @ solved[:-1] + solved[-1])


def crossed(x: np.ndarray, y: np.ndarray, cut: Cut) -> np.ndarray:
    """y (n, k) as read linearly from x (n, d), each row by the map that was fitted without its fold."""
    return fitted(x, y, cut)(x, cut.fold)


def cells(of: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The weighted mean of y (n, k) over all rows of the same number in `of` (n,), (n, k): the best that can be told of y by it."""
    place = np.unique(of, return_inverse=True)[1].reshape(-1)
    sums = np.zeros((int(place.max()) + 1, y.shape[1]))
    np.add.at(sums, place, y * weight[:, None])
    return np.asarray((sums / np.bincount(place, weight)[:, None])[place])


def linear(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The best that can be told of y (n, k) linearly by x (n, d), (n, k)."""
    root = np.sqrt(weight)[:, None]
    features = np.column_stack([x, np.ones(len(x))])
    return np.asarray(features @ np.linalg.lstsq(features * root, y * root, rcond=None)[0])


def scores(found: np.ndarray, true: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    """mse: the mean squared distance of found (n, k) and true, over all components together. r2: 1 - mse over the spread of
    the truth about its mean."""
    mse = float(weight @ ((found - true) ** 2).sum(1))
    spread = float(weight @ ((true - weight @ true) ** 2).sum(1))
    return {"r2": 1 - mse / spread if spread > 1e-12 else np.nan, "mse": mse}


def apart(values: np.ndarray) -> np.ndarray:
    """Distances of all pairs of rows of `values` (n, k), each pair once: (n (n - 1) / 2,)."""
    square = (values**2).sum(1)
    inner = square[:, None] + square - 2 * values @ values.T
    return np.asarray(np.sqrt(np.maximum(inner[np.triu_indices(len(values), 1)], 0.0)))


def pair_weights(weight: np.ndarray) -> np.ndarray:
    """The product of both weights of each pair of `apart`, summing to one."""
    found = np.outer(weight, weight)[np.triu_indices(len(weight), 1)]
    return np.asarray(found / found.sum())


def correlation2(one: np.ndarray, other: np.ndarray, weight: np.ndarray) -> float:
    """The squared weighted correlation of two series (n,); NaN where one does not vary."""
    x, y = one - weight @ one, other - weight @ other
    size = float(weight @ x**2) * float(weight @ y**2)
    return float(weight @ (x * y)) ** 2 / size if size > 1e-18 else np.nan


def auc(positive: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    """Weighted area under the ROC curve of a score (n,) for a boolean truth, ties counting half; NaN where there is but one class."""
    score = np.round(score, 7)  # distances of equal points differ by rounding
    levels, place = np.unique(score, return_inverse=True)
    yes, no = (np.bincount(place.reshape(-1), weight * of, len(levels)) for of in (positive, ~positive))
    if yes.sum() <= 0 or no.sum() <= 0:
        return np.nan
    below = np.cumsum(no) - no
    return float((yes * (below + no / 2)).sum() / (yes.sum() * no.sum()))
