"""Steering a model by its state: readers and their placebos, finding directions, and their effects.

A reader is the matrix W (n_embd, dim) that maps a state to an embedding bias. All here is NumPy float64 up to
the bias, which enters the model as float32. The protocols and finders are explained in frozen_test.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from configs.probes.frozen import FrozenTest
from probes.instrument import ALL, LAST, Batch, Instrument


def rotated(reader: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Placebo (a): the reader W (C, D) times a random orthogonal matrix (D, D). Its Frobenius norm is W's.

    The matrix is uniform over all rotations and reflections (Mezzadri, Notices of the AMS 54, 2007: QR of a
    Gaussian matrix, signs fixed by R).
    """
    q, r = np.linalg.qr(random.normal(size=(reader.shape[1], reader.shape[1])))
    return reader @ (q * np.sign(np.diag(r)))


def untrained(reader: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Placebo (b): a Gaussian reader (C, D), each column with the L2 norm of the same column of `reader`."""
    gaussian = random.normal(size=reader.shape)
    return gaussian * (np.linalg.norm(reader, axis=0) / np.linalg.norm(gaussian, axis=0))


def unit(rows: np.ndarray) -> np.ndarray:
    """Each row scaled to L2 norm 1; a zero row stays zero."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


def dense_directions(count: int, dim: int, random: np.random.Generator) -> np.ndarray:
    """Random unit directions (count, dim), Gaussian."""
    return unit(random.normal(size=(count, dim)))


def sparse_directions(count: int, dim: int, top: int, random: np.random.Generator) -> np.ndarray:
    """Random unit directions (count, dim) of the dimension finder's form: `top` equal positive components."""
    chosen = np.zeros((count, dim))
    for row in chosen:
        row[random.choice(dim, top, replace=False)] = 1
    return unit(chosen)


def dimension_pair(entropies: np.ndarray, top: int) -> np.ndarray:
    """The dimension finder's directions (2, D), confident and uncertain.

    entropies (D,): under each dimension alone. Ones at its `top` lowest, at its `top` highest.
    """
    order = np.argsort(entropies, kind="stable")
    pair = np.zeros((2, len(entropies)))
    pair[0, order[:top]] = 1
    pair[1, order[-top:]] = 1
    return pair


@dataclass(frozen=True)
class Trial:
    """What one run is tested on. gradient (n_embd,): see Instrument.entropy_gradient. norms (doses,): to choose from, rising.

    replication: train batches; on the first directions are found, on the others they are measured.
    """

    replication: list[Batch]
    finder: list[Batch]
    dev: list[Batch]
    heldout: list[Batch]
    gradient: np.ndarray
    norms: np.ndarray
    settings: FrozenTest


@dataclass(frozen=True)
class Effect:
    """A pair of states (2, D), confident and uncertain, and the entropy between them in nats.

    magnitude: L2 norm of each state.
    """

    protocol: str
    finder: str
    states: np.ndarray
    magnitude: float
    size: float


def effects(
    instrument: Instrument,
    reader: np.ndarray,
    trial: Trial,
    finders: Sequence[str] = ("dimension", "gradient"),
) -> list[Effect]:
    """Find, choose and measure with one reader (C, D): every selection that a placebo must share is in here.

    effect size = |entropy(confident) - entropy(uncertain)|, means over sequences.
    """
    settings = trial.settings
    found = []
    if "dimension" in finders:
        states = published_pair(instrument, reader, trial.replication[0], settings)
        size = _spread(instrument, reader, states, trial.replication[1:], LAST)
        magnitude = settings.magnitude * math.sqrt(settings.top)
        found.append(Effect("replication", "dimension", states, magnitude, float(size[0])))
        swept = instrument.measure(settings.magnitude * reader.T, trial.finder).entropy[ALL].mean(-1)
        pair = unit(dimension_pair(swept, settings.top))
        found.append(heldout_effect(instrument, reader, trial, "dimension", pair))
    if "gradient" in finders:
        direction = unit(reader.T @ trial.gradient)
        pair = np.stack([-direction, direction])
        found.append(heldout_effect(instrument, reader, trial, "gradient", pair))
    return found


def published_pair(
    instrument: Instrument, reader: np.ndarray, batch: Batch, settings: FrozenTest
) -> np.ndarray:
    """The states (2, D), confident and uncertain, that the published search finds on one batch with a reader (C, D)."""
    alone = settings.magnitude * reader.T  # one dimension a row
    swept = instrument.measure(alone, [batch]).entropy[LAST].mean(-1)  # (D,)
    return settings.magnitude * dimension_pair(swept, settings.top)


def heldout_effect(
    instrument: Instrument, reader: np.ndarray, trial: Trial, finder: str, pair: np.ndarray
) -> Effect:
    """Of unit directions (2, D): the norm with the largest effect on dev, its effect on held-out batches."""
    doses = trial.norms[:, None, None] * pair  # (doses, 2, D)
    sizes = _spread(instrument, reader, doses.reshape(-1, pair.shape[1]), trial.dev, ALL)
    best = int(np.argmax(sizes))
    size = _spread(instrument, reader, doses[best], trial.heldout, ALL)
    return Effect("heldout", finder, doses[best], float(trial.norms[best]), float(size[0]))


def _spread(
    instrument: Instrument, reader: np.ndarray, states: np.ndarray, batches: Sequence[Batch], where: int
) -> np.ndarray:
    """|entropy(confident) - entropy(uncertain)| of states (2 n, D) that come in such pairs: (n,)."""
    entropy = instrument.measure(states @ reader.T, batches).entropy[where].mean(-1).reshape(-1, 2)
    return np.abs(entropy[:, 0] - entropy[:, 1])
