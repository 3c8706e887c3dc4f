"""What could be known of the regime: how statistics come about under each regime, and the forward filter over them.

The belief that nothing can beat on the same evidence: p(regime of this step | all statistics seen until now), for a
Markov chain of regimes whose true enter and leave probabilities are known (Rabiner, Proceedings of the IEEE 77, 1989).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from configs.world import Recurring
from experiments.kit.tables import CALM

# Of the piecewise linear trends over log step: calm, and each regime's distance
CALM_KNOTS, SHIFT_KNOTS = 12, 3
FEWEST = 20  # steps of a regime for a covariance of its own
LEVEL_RATE = 0.01  # of the running correction of a run's own level, see `belief`


@dataclass(frozen=True)
class Chain:
    """The regimes of a recurring schedule, calm first, and transition[a, b] = p(b now | a a step ago), (K, K)."""

    names: tuple[str, ...]
    transition: np.ndarray

    def after(self, steps: int) -> np.ndarray:
        """The distribution (K,) over regimes so many steps after a calm one."""
        return np.linalg.matrix_power(self.transition, steps)[0]


def chain(schedule: Recurring) -> Chain:
    """The chain that perturb.py draws a recurring schedule from."""
    names = (CALM, *dict.fromkeys(schedule.regimes))
    transition = np.diag(np.full(len(names), 1 - schedule.leave))
    transition[0, 0] = 1 - schedule.enter
    transition[1:, 0] = schedule.leave
    for name in schedule.regimes:
        transition[0, names.index(name)] += schedule.enter / len(schedule.regimes)
    return Chain(names, transition)


@dataclass(frozen=True)
class Log:
    """steps (n,) int, values (n, D) float64 of what was measured at them, regimes (n,) str that acted."""

    steps: np.ndarray
    values: np.ndarray
    regimes: np.ndarray


def hats(steps: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Piecewise linear basis (n, len(knots)) over log(1 + step); constant beyond the outer knots."""
    x = np.log1p(steps)
    return np.column_stack([np.interp(x, knots, row) for row in np.eye(len(knots))])


@dataclass(frozen=True)
class Emission:
    """Statistics given the regime: Gaussian about a mean that drifts with training, one covariance a regime.

    calm (CALM_KNOTS, D): the trend of calm steps at `calm_knots`. shifts (K, SHIFT_KNOTS, D): how far each regime lies
    from it at `shift_knots`, zero for calm. covariances (K, D, D).
    """

    names: tuple[str, ...]
    calm_knots: np.ndarray
    shift_knots: np.ndarray
    calm: np.ndarray
    shifts: np.ndarray
    covariances: np.ndarray

    def means(self, steps: np.ndarray) -> np.ndarray:
        """(n, K, D): the expected statistics at each step under each regime."""
        trend = hats(steps, self.calm_knots) @ self.calm
        shifts = np.einsum("nj,kjd->nkd", hats(steps, self.shift_knots), self.shifts)
        return trend[:, None] + shifts

    def log_likelihood(self, steps: np.ndarray, values: np.ndarray) -> np.ndarray:
        """(n, K): log density of values (n, D) measured at `steps`, under each regime."""
        away = values[:, None] - self.means(steps)
        found = np.empty(away.shape[:2])
        for k, covariance in enumerate(self.covariances):
            root = np.linalg.cholesky(covariance)
            scaled = np.linalg.solve(root, away[:, k].T)
            constant = np.log(np.diag(root)).sum() + 0.5 * len(root) * np.log(2 * np.pi)
            found[:, k] = -0.5 * (scaled**2).sum(0) - constant
        return found


def fit(logs: Sequence[Log], names: Sequence[str]) -> Emission:
    """The emission of some runs, by least squares on trends that they share, regimes known.

    The trend comes from other runs at the same step, not from the run's own running moments: those would take a
    regime's last steps for its level, and so hide the very regime. A regime that never acted gets calm's emission.
    """
    steps = np.concatenate([log.steps for log in logs])
    values = np.concatenate([log.values for log in logs])
    regimes = np.concatenate([log.regimes for log in logs])
    first, last = np.log1p(steps.min()), np.log1p(max(steps.max(), steps.min() + 1))
    knots = [np.linspace(first, last, count) for count in (CALM_KNOTS, SHIFT_KNOTS)]
    shift = hats(steps, knots[1])
    acted = [(regimes == name)[:, None] for name in names]
    design = np.column_stack([hats(steps, knots[0]), *(shift * one for one in acted[1:])])
    # least squares of the smallest norm: what no step tells of stays zero
    weights = np.linalg.lstsq(design, values, rcond=1e-8)[0]
    away = values - design @ weights
    pooled = _covariance(away)
    covariances = [_covariance(away[one[:, 0]]) if one.sum() >= FEWEST else pooled for one in acted]
    shifts = weights[CALM_KNOTS:].reshape(len(names) - 1, SHIFT_KNOTS, -1)
    return Emission(
        names=tuple(names),
        calm_knots=knots[0],
        shift_knots=knots[1],
        calm=weights[:CALM_KNOTS],
        shifts=np.concatenate([np.zeros_like(shifts[:1]), shifts])
        if len(shifts)
        else np.zeros((1, SHIFT_KNOTS, values.shape[1])),
        covariances=np.stack(covariances),
    )


def _covariance(away: np.ndarray) -> np.ndarray:
    """Shrunken covariance (D, D) about zero, in units in which no statistic outweighs another."""
    from sklearn.covariance import ledoit_wolf  # slow to load

    sizes = np.maximum(away.std(0), 1e-9)
    return ledoit_wolf(away / sizes, assume_centered=True)[0] * np.outer(sizes, sizes)


def forward(log_likelihood: np.ndarray, transition: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The forward filter: p(regime at i | observations 0..i), (n, K).

    Args:
        log_likelihood: (n, K, K), of observation i given the regime before, a, and now, b, at [i, a, b]: an
            observation is of the step before, seen now.
        transition: (K, K), transition[a, b] = p(b now | a before).
        before: (K,), the distribution one step before the first observation.
    """
    found = np.empty((len(log_likelihood), len(before)))
    past = before
    for i, one in enumerate(log_likelihood):
        joint = past[:, None] * transition * np.exp(one - one.max())
        past = joint.sum(0)
        total = past.sum()
        if not total > 0:  # the likely ones are impossible from here: in logs, so that nothing vanishes
            with np.errstate(divide="ignore"):
                logs = scipy.special.logsumexp(
                    np.log(found[i - 1] if i else before)[:, None] + np.log(transition) + one, axis=0
                )
            past, total = np.exp(logs - scipy.special.logsumexp(logs)), 1.0
        past = past / total
        found[i] = past
    return found


def belief(
    emission: Emission, chain: Chain, steps: np.ndarray, shown: np.ndarray, added: np.ndarray | None = None
) -> np.ndarray:
    """p(regime at each step | what was shown until then), (n, K).

    The second of two passes: the first one's beliefs say how far the run lies from the level expected of it, and a
    running mean of that (of the past only, and without knowing a regime) is taken off. For seeds differ a little in
    their level, and a faint regime is a little shift.

    Args:
        steps: (n,) consecutive steps, from 1 on.
        shown: (n, D) statistics of the step before each, as shown at it.
        added: (n, K, D) what a regime that acts now adds to what is shown; None: nothing.
    """
    before = chain.after(int(steps[0]) - 1)

    def filtered(level: np.ndarray) -> np.ndarray:
        seen = shown - level
        if added is None:
            pairs = emission.log_likelihood(steps - 1, seen)[:, :, None].repeat(len(chain.names), axis=2)
        else:
            pairs = np.stack(
                [emission.log_likelihood(steps - 1, seen - added[:, k]) for k in range(len(chain.names))],
                axis=2,
            )
        return forward(pairs, chain.transition, before)

    first = filtered(np.zeros_like(shown))
    expected = np.einsum("nk,nkd->nd", first, emission.means(steps - 1))
    if added is not None:
        expected = expected + np.einsum("nk,nkd->nd", first, added)
    return filtered(_past_mean(shown - expected))


def _past_mean(values: np.ndarray) -> np.ndarray:
    """Running mean (n, D) of the rows before each, from zero on at LEVEL_RATE."""
    found = np.zeros_like(values)
    for i in range(1, len(values)):
        found[i] = found[i - 1] + LEVEL_RATE * (values[i - 1] - found[i - 1])
    return found
