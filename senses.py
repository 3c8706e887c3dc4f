"""What the self-state is shown at a step: its own run's statistics, or what a control puts in their place."""

import csv
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

import config
import perturb
import run_folder
from rng import Stream, generator
from self_state import STATS
from storage import UserError

REGIMES = get_args(config.Regime)
assert len(REGIMES) == len(STATS)  # the true regime takes the same five places as the statistics


def remembered(run: config.RunConfig, past: Tensor | None, newest: Tensor) -> Tensor:
    """The statistics that later steps may still ask for, (k, 5), the newest (5,) last."""
    senses = run.self_state.senses
    age = senses.age if isinstance(senses, config.OwnStats) else 1
    rows = newest[None] if past is None else torch.cat([past, newest[None]])
    return rows[-age:]


def shown(
    run: config.RunConfig, step: int, regime: str, stats: Tensor | None, recorded: np.ndarray | None
) -> Tensor | None:
    """The five numbers (5,) float32 that the self-state gets at a step, or None where there is nothing to show yet.

    Args:
        regime: the one that acts on this step. false_feedback acts on statistics that the run itself measured.
        stats: what `remembered` returned last; None before the first step is done.
        recorded: what `recorded` returned, for a self-state that is shown another run's statistics.
    """
    senses = run.self_state.senses
    if isinstance(senses, config.TrueRegime):
        return torch.tensor([float(regime == name) for name in REGIMES])
    if isinstance(senses, config.Clock):
        return torch.tensor([step / run.train.steps if name == "progress" else 0.0 for name in STATS])
    if isinstance(senses, config.RecordedStats):
        assert recorded is not None
        row = recorded[step]
        return None if np.isnan(row).any() else torch.from_numpy(row)
    if stats is None or len(stats) < senses.age:
        return None
    return perturb.perturb_stats(regime, stats[-senses.age], run.regimes)


def recorded(run: config.RunConfig, folder: Path) -> np.ndarray:
    """What the self-state of a finished run was shown at each of this run's steps, (steps, 5) float32.

    NaN where it was shown nothing yet. Of a run without self-state, what one would have been shown. Shuffled, the rows
    that are there change places. UserError where the run ended before this one does, or was not shown its own.
    """
    source = run_folder.load_config(folder)
    own = source.self_state.senses if source.self_state.enabled else config.OwnStats()
    with (folder / "metrics.csv").open() as file:
        log = list(csv.DictReader(file))
    if not isinstance(own, config.OwnStats) or source.first or len(log) < run.last:
        raise UserError(f"{folder} has no statistics of its own for each of {run.last} steps; train it again")
    found = np.full((run.last, len(STATS)), np.nan, dtype=np.float32)
    for step in range(own.age, run.last):
        row = log[step - own.age]
        values = [float(row[name]) for name in STATS[:-1]] + [(step - own.age) / source.train.steps]
        regime = log[step]["regime"] if source.self_state.enabled else perturb.CALM
        found[step] = perturb.perturb_stats(regime, torch.tensor(values), source.regimes).numpy()
    senses = run.self_state.senses
    if isinstance(senses, config.RecordedStats) and senses.shuffled:
        seen = found[own.age :]
        found[own.age :] = seen[generator(run.seed, Stream.SHUFFLE).permutation(len(seen))]
    return found
