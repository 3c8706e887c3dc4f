"""Steering a model by its state: measuring, readers and their placebos, finding directions and their effects.

A reader is the matrix W (n_embd, dim) that maps a state to an embedding bias. All here is NumPy float64 up to
the bias, which enters the model as float32. The protocols and finders are explained in frozen_test.py.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from configs.suite import FrozenTest
from model import GPT
from runs.evaluate import ECE_BINS, overconfidence

Progress = Callable[[int, int], None]
Batch = tuple[Tensor, Tensor]
LAST, ALL = 0, 1  # positions: the last of each sequence, or the mean over all


@dataclass(frozen=True)
class Outputs:
    """What a model says on S sequences under n biases; float64.

    entropy, nll, kl: (2, n, S) in nats, at the last position and averaged over all (index LAST or ALL). kl
    is KL(p_bias || p_first bias), zeros unless asked for.
    ece: (n,) expected calibration error over all positions, in [0, 1]; see evaluate.overconfidence.
    """

    entropy: np.ndarray
    nll: np.ndarray
    kl: np.ndarray
    ece: np.ndarray


class Instrument:
    """Measures a model under given biases, and counts its forward passes, nearly all of the cost."""

    def __init__(self, gpt: GPT, total: int = 0, progress: Progress | None = None, done: int = 0) -> None:
        self.gpt = gpt
        self.done = done
        self.total = total
        self.progress = progress

    def _count(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)

    @torch.inference_mode()
    def measure(self, biases: np.ndarray, batches: Sequence[Batch], kl: bool = False) -> Outputs:
        """Under each of n biases (n, n_embd), on all sequences of some batches: n forwards a batch."""
        size = len(biases)
        parts: list[np.ndarray] = []  # (3, 2, n, B) a batch
        gaps = torch.zeros(size, ECE_BINS, dtype=torch.float64)
        rows = torch.from_numpy(biases.astype(np.float32))
        for x, y in batches:
            part = np.zeros((3, 2, size, len(x)))
            reference = torch.empty(0)
            for index, bias in enumerate(rows):
                log_p = F.log_softmax(self.gpt(x, bias)[0], dim=-1)  # (B, T, V)
                self._count()
                p = log_p.exp()
                part[0, :, index] = _positions(-(p * log_p).sum(-1))
                part[1, :, index] = _positions(-log_p.gather(-1, y[..., None])[..., 0])
                if kl:
                    reference = log_p if index == 0 else reference
                    part[2, :, index] = _positions((p * (log_p - reference)).sum(-1))
                gaps[index] += overconfidence(p, y)
            parts.append(part)
        entropy, nll, divergence = np.concatenate(parts, axis=-1)
        positions = sum(y.numel() for _, y in batches)
        return Outputs(entropy, nll, divergence, gaps.abs().sum(-1).numpy() / positions)

    def entropy_gradient(self, batches: Sequence[Batch]) -> np.ndarray:
        """Gradient (n_embd,) of the mean entropy over all positions with respect to the bias, at zero bias.

        That with respect to a state at zero is W^T times it, for every reader W: one pass serves all of them.
        """
        bias = torch.zeros(self.gpt.positions.weight.shape[1], requires_grad=True)
        gradient = np.zeros(len(bias))
        with torch.enable_grad():
            for x, _ in batches:
                log_p = F.log_softmax(self.gpt(x, bias)[0], dim=-1)
                entropy = -(log_p.exp() * log_p).sum(-1).mean()
                gradient += torch.autograd.grad(entropy, bias)[0].double().numpy() / len(batches)
                self._count()
        return gradient


def _positions(values: Tensor) -> np.ndarray:
    """(B, T) -> (2, B) float64: the last position, the mean over all."""
    values = values.double()
    return torch.stack([values[:, -1], values.mean(1)]).numpy()


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


def dimension_pair(changes: np.ndarray, top: int) -> np.ndarray:
    """The dimension finder's directions (2, D), confident and uncertain.

    changes (D,): entropy change of each dimension alone. Ones at its `top` lowest, at its `top` highest.
    """
    order = np.argsort(changes, kind="stable")
    pair = np.zeros((2, len(changes)))
    pair[0, order[:top]] = 1
    pair[1, order[-top:]] = 1
    return pair


@dataclass(frozen=True)
class Trial:
    """What one run is tested on. zero (2,): mean entropy of the finder batches at zero state, LAST and ALL.

    gradient (n_embd,): see Instrument.entropy_gradient. norms (doses,): state norms to choose from, rising.
    """

    finder: list[Batch]
    dev: list[Batch]
    heldout: list[Batch]
    zero: np.ndarray
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
        swept = instrument.measure(settings.magnitude * reader.T, trial.finder)  # one dimension a row
        changes = swept.entropy.mean(-1) - trial.zero[:, None]  # (2, D)
        states = settings.magnitude * dimension_pair(changes[LAST], settings.top)
        size = _spread(instrument, reader, states, trial.finder, LAST)
        magnitude = settings.magnitude * math.sqrt(settings.top)
        found.append(Effect("replication", "dimension", states, magnitude, float(size[0])))
        pair = unit(dimension_pair(changes[ALL], settings.top))
        found.append(heldout_effect(instrument, reader, trial, "dimension", pair))
    if "gradient" in finders:
        direction = unit(reader.T @ trial.gradient)
        pair = np.stack([-direction, direction])
        found.append(heldout_effect(instrument, reader, trial, "gradient", pair))
    return found


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


def weights_sha256(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the names and bytes of all weights."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + b"\0" + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
