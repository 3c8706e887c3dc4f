"""States to set by hand in a finished run: which dimensions steer it, states made of them, what a state does.

What scripts/steer.py prints and writes. Directions are found on one train batch and nothing is held against them: for
what an effect is worth beside placebos that were selected in the same way, see frozen_test.py. All in float32, by the
weights of one step, at the last position of each sequence, as published.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

import perturb
from base.storage import UserError
from configs.run import RunConfig
from model import GPT
from probes.instrument import LAST, Batch, Instrument
from self_state import position_stats

NAMES = ("confident", "uncertain")
COMPARED = ("logit_change", "kl", "entropy_zero", "entropy", "top1_zero", "top1")


@dataclass(frozen=True)
class Shift:
    """A dimension moved up (sign 1) or down (sign -1) alone: change of the mean entropy against zero state, in nats."""

    dimension: int
    sign: int
    effect: float


def find(
    instrument: Instrument, reader: np.ndarray, batch: Batch, magnitude: float = 0.5, threshold: float = 0.01
) -> dict[str, list[Shift]]:
    """The shifts that lower (confident) and raise (uncertain) the entropy by more than `threshold` nats, strongest first.

    Each dimension is tried at +magnitude and at -magnitude, all others zero: 1 + 2 dim forwards.

    Args:
        reader: (n_embd, dim).
        batch: the one that it is measured on, at the last position of each sequence.
    """
    dim = reader.shape[1]
    states = magnitude * np.concatenate([np.zeros((1, dim)), np.eye(dim), -np.eye(dim)])
    entropy = instrument.measure(states @ reader.T, [batch]).entropy[LAST].mean(-1)
    effects = entropy[1:] - entropy[0]  # (2 dim,)
    shifts = [
        Shift(index % dim, 1 if index < dim else -1, float(effects[index]))
        for index in np.argsort(-np.abs(effects), kind="stable").tolist()
    ]
    return {
        "confident": [shift for shift in shifts if shift.effect < -threshold],
        "uncertain": [shift for shift in shifts if shift.effect > threshold],
    }


def preset(states: np.ndarray, shifts: Sequence[Shift]) -> np.ndarray:
    """The last of a run's states (steps, dim), its shifted dimensions at the largest or smallest value they had in it.

    shifts: strongest first, which decides where a dimension is in both ways. Every component lies in its range.
    """
    made = states[-1].copy()
    for shift in reversed(shifts):
        column = states[:, shift.dimension]
        made[shift.dimension] = column.max() if shift.sign > 0 else column.min()
    return made


def regime_mean(run: RunConfig, states: np.ndarray, regime: str) -> np.ndarray:
    """The mean (dim,) of a run's states (steps, dim), from its first step on, at all steps on which a regime acted.

    float64. `calm` is a regime here. UserError where it never acted; it says which did.
    """
    acting = np.array(perturb.regimes_by_step(run)[run.first : run.first + len(states)])
    if regime not in acting:
        raise UserError(
            f"no state {regime!r} of this run; there are own, {', '.join(NAMES)}, and those of {', '.join(sorted({*acting}))}"
        )
    return states[acting == regime].astype(np.float64).mean(0)


@torch.inference_mode()
def compare(
    gpt: GPT, reader: np.ndarray, states: np.ndarray, batches: Sequence[Batch]
) -> list[dict[str, float]]:
    """What each of some states (n, dim) does to the predictions, against zero state: a row of COMPARED each.

    logit_change is the mean |logit change| over all logits; kl is KL(p_zero || p_state); entropies are in nats; top1 is
    the mean largest probability. All at the last position, means over the sequences of equally large batches.
    """
    biases = torch.from_numpy((states @ reader.T).astype(np.float32))
    found = np.zeros((len(states), len(COMPARED)))
    for x, y in batches:
        zero, last = gpt(x)[0][:, -1:], y[:, -1:]  # (B, 1, V)
        log_p_zero = F.log_softmax(zero, -1)
        entropy_zero, top1_zero = position_stats(log_p_zero, last)[1:].mean((1, 2)).tolist()
        for row, bias in zip(found, biases, strict=True):
            logits = gpt(x, bias)[0][:, -1:]
            change = (logits - zero).abs().mean().item()
            log_p = F.log_softmax(logits, -1)
            kl = F.kl_div(log_p, log_p_zero, reduction="none", log_target=True)
            entropy, top1 = position_stats(log_p, last)[1:].mean((1, 2)).tolist()
            row += (change, kl.sum(-1).mean().item(), entropy_zero, entropy, top1_zero, top1)
    return [dict(zip(COMPARED, row.tolist(), strict=True)) for row in found / len(batches)]
