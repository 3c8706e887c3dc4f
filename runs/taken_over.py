"""What a run takes over from finished ones: the norm of a bias, that of a first state, the statistics that it is shown."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import perturb
from base import storage
from base.rng import Stream, generator
from base.storage import UserError
from configs.run import RunConfig
from configs.state import STATS, OwnStats, RandomStart, RecordedStats, logged_as
from runs import folder as run_folder

NORM_MOMENTUM = 0.99  # of the running mean of a bias's norm, where it is matched to another run's


def first_state(run: RunConfig, folder: Path) -> Tensor:
    """The first state (dim,) float32 that is not zero: the seed's direction, at a share of the norm of a run's last state."""
    first = run.self_state.first
    assert isinstance(first, RandomStart)
    last = storage.load_tensors(folder / "states.safetensors")["state"][-1]
    direction = generator(run.seed, Stream.CONSTANT_BIAS).normal(size=run.self_state.dim)
    direction *= first.factor * np.linalg.norm(last) / np.linalg.norm(direction)
    return torch.from_numpy(direction.astype(np.float32))


def follow(mean: float, step: int, value: float) -> float:
    """A running mean after one more value, that of `step`: equal weights until there are enough for the exponential ones."""
    return mean + max(1 / (step + 1), 1 - NORM_MOMENTUM) * (value - mean)


def running_mean(values: np.ndarray) -> np.ndarray:
    """The running mean that `follow` keeps, at each of the steps, (steps,)."""
    found = np.empty_like(values)
    mean = 0.0
    for step, value in enumerate(values):
        found[step] = mean = follow(mean, step, value)
    return found


def bias_norms(folder: Path) -> np.ndarray:
    """The norm of the injected bias at each step of a finished run, (steps,). UserError for a run without bias."""
    cells = [row["bias_norm"] for row in run_folder.load_log(folder)]
    if not cells or not all(cells):
        raise UserError(f"{folder} is a run without bias; it has no norm to take over")
    return np.array([float(cell) for cell in cells])


def recorded_stats(run: RunConfig, folder: Path) -> np.ndarray:
    """What the self-state of a finished run was shown at each of this run's steps, (steps, 5) float32.

    NaN where it was shown nothing yet. Of a run without self-state, what one would have been shown. Shuffled, the rows
    that are there change places. UserError where the run ended before this one does, or was not shown its own.
    """
    source = run_folder.load_config(folder)
    own = source.self_state.senses if source.self_state.enabled else OwnStats()
    log = run_folder.load_log(folder)
    if not isinstance(own, OwnStats) or source.first or len(log) < run.last:
        raise UserError(f"{folder} has no statistics of its own for each of {run.last} steps; train it again")
    found = np.full((run.last, len(STATS)), np.nan, dtype=np.float32)
    for step in range(own.age, run.last):
        row = log[step - own.age]
        values = [float(row[name]) if name else 0.0 for name in logged_as(own)[:-1]]
        values.append((step - own.age) / source.train.steps)
        regime = log[step]["regime"] if source.self_state.enabled else perturb.CALM
        found[step] = perturb.perturb_stats(regime, torch.tensor(values), source.regimes).numpy()
    senses = run.self_state.senses
    if isinstance(senses, RecordedStats) and senses.shuffled:
        seen = found[own.age :]
        found[own.age :] = seen[generator(run.seed, Stream.SHUFFLE).permutation(len(seen))]
    return found
