"""The ideal observer of a run's regimes: what can be believed of them from every batch before, for tokens of a known process.

It sees of each batch what a self-state's senses can: pairs of a context and the target after it, all or the drawn ones, and
whether the newest token of each context was masked. Its belief is the forward filter over the schedule's Markov chain.
"""

import functools
from collections.abc import Sequence

import numpy as np

import perturb
from base.rng import Stream, generator
from configs.run import RunConfig
from configs.world import CALM, Recurring
from data.process import Generated


def regimes_of(run: RunConfig) -> tuple[str, ...]:
    """What may act on a step of a recurring schedule, calm first."""
    assert isinstance(run.schedule, Recurring)
    return (CALM, *run.schedule.regimes)


def switching(run: RunConfig) -> np.ndarray:
    """(R, R) float64: the probability of each regime (columns) after each (rows), in the order of `regimes_of`."""
    schedule = run.schedule
    assert isinstance(schedule, Recurring)
    count = len(schedule.regimes)
    found = np.zeros((count + 1, count + 1))
    found[0] = [1 - schedule.enter, *[schedule.enter / count] * count]
    found[1:, 0] = schedule.leave
    found[1:, 1:] = (1 - schedule.leave) * np.eye(count)
    return found


def mixed(run: RunConfig, odds: np.ndarray, corrupted: np.ndarray | float) -> np.ndarray:
    """The probabilities of a target whose true ones are `odds` (..., V), where targets are corrupted with a probability.

    (1 - bp) P + bp U for the belief b that bewilderment acts and its probability p (Bayes).
    """
    share = np.asarray(corrupted) * run.regimes.bewilderment.probability
    return (1 - share) * odds + share / odds.shape[-1]


def evidence(run: RunConfig, odds: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The log-likelihood of what was seen under each of `regimes_of`, (R,) float64; -inf where a regime rules it out.

    Args:
        odds: (n, V) true probabilities of the targets at the positions seen. x, y: (n,) the tokens there and their targets.
    """
    vocabulary = odds.shape[-1]
    masked, fog = int((x == vocabulary).sum()), run.regimes.sensory_fog.probability
    plain = float(np.log(odds[np.arange(len(y)), y].clip(1e-300)).sum())
    found = []
    for name in regimes_of(run):
        if name == "bewilderment":
            chances = mixed(run, odds, 1.0)[np.arange(len(y)), y]
            found.append(float(np.log(chances.clip(1e-300)).sum()) if not masked else -np.inf)
        elif name == "sensory_fog":
            rest = len(x) - masked
            with np.errstate(divide="ignore"):
                found.append(plain + (masked and masked * np.log(fog)) + (rest and rest * np.log1p(-fog)))
        else:
            found.append(plain if not masked else -np.inf)
    return np.array(found)


def revised(belief: np.ndarray, seen: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The belief (R,) in the regimes of the next step, after the log-likelihoods `seen` (R,) of this one."""
    with np.errstate(divide="ignore"):
        weight = np.log(belief) + seen
    posterior = np.exp(weight - weight.max())
    return (posterior / posterior.sum()) @ steps


def beliefs(run: RunConfig, tokens: Generated) -> np.ndarray:
    """The belief in each regime of every step of a run before its batch is seen, (steps, R) float64.

    The batches are those that the run trains on, of which it sees all positions.
    """
    steps, found = switching(run), np.zeros((run.train.steps, len(regimes_of(run))))
    belief = np.eye(len(steps))[0]
    schedule, regimes = run.schedule, perturb.regimes_by_step(run)
    assert isinstance(schedule, Recurring)
    sequences = run.train.batch_size * run.train.grad_accum
    for step in range(run.train.steps):
        found[step] = belief
        x, y = tokens.draw("train", sequences, run.model.block_size, generator(run.seed, Stream.BATCH, step))
        random = functools.partial(generator, run.seed, Stream.PERTURB, step)
        x, y = perturb.perturb_batch(regimes[step], x, y, run.regimes, tokens.vocab_size, random)
        odds = tokens.odds(x).reshape(-1, tokens.vocab_size)
        moves = steps if step + 1 >= max(schedule.first, 1) else np.eye(len(steps))
        belief = revised(belief, evidence(run, odds, x.ravel(), y.ravel()), moves)
    return found


def as_stats(run: RunConfig, believed: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Beliefs (steps, R) in the places that a true regime takes among the statistics, (steps, 5) float32. Calm has none."""
    found = np.zeros((len(believed), len(names)), dtype=np.float32)
    for column, name in enumerate(regimes_of(run)[1:], 1):
        found[:, names.index(name)] = believed[:, column]
    return found
