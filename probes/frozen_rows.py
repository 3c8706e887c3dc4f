"""What a frozen-weight test measures beside its effects, as rows: chosen and random states, and dose-response curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from base.rng import Stream, generator
from configs.probes.frozen import DOSE_BATCHES, FrozenTest
from model import GPT
from probes.instrument import ALL, LAST, Batch, Instrument
from probes.steering import Effect, Trial, dense_directions, published_pair, sparse_directions, unit

DIRECTION_COUNTERS = {
    ("replication", "dimension"): 0,
    ("heldout", "dimension"): 1,
    ("heldout", "gradient"): 2,
}
DOSE_COUNTER = 3  # both in the DIRECTIONS stream

CONDITIONS = (
    *("seed", "run_step", "protocol", "finder", "state", "draw", "magnitude", "entropy", "nll", "ece"),
    *("delta_entropy", "delta_nll", "kl", "sign_consistency"),
)
EFFECTS = ("seed", "run_step", "protocol", "finder", "reader", "draw", "effect_size", "magnitude")
DOSES = (
    *("seed", "run_step", "reader", "draw", "direction", "magnitude", "entropy", "nll"),
    *("delta_entropy", "delta_nll", "kl"),
)
BATCHES = ("seed", "run_step", "draw", "batch", "zero", "confident", "uncertain")

PEAKS = (
    *("seed", "run_step", "reader", "draw", "dimension", "lowest", "highest"),
    *("at_lowest", "at_highest"),
)
PEAK_SEQUENCES = 8  # as published


def condition_rows(
    instrument: Instrument,
    reader: np.ndarray,
    trial: Trial,
    found: Sequence[Effect],
    own: np.ndarray,
    seed: int,
) -> list[dict[str, Any]]:
    """Rows of conditions.csv (without seed and run_step): zero, own, confident, uncertain, random.

    found: the learned reader's effects. own (D,): the state that training ended with. Random states have
    the norm of the found ones; in the held-out protocol those of the dimension finder have its sparsity too.
    sign_consistency: share of sequences whose entropy changes to the side that most do. In the replication protocol, as
    published, of batches whose mean falls, or rises for an uncertain state.
    """
    count, dim, top = trial.settings.random_directions, len(own), trial.settings.top
    rows = []
    for protocol, batches, where in (
        ("replication", trial.replication[1:], LAST),
        ("heldout", trial.heldout, ALL),
    ):
        cases = [("none", "zero", 0, np.zeros(dim)), ("none", "own", 0, own)]
        for effect in (effect for effect in found if effect.protocol == protocol):
            sparse = (protocol, effect.finder) == ("heldout", "dimension")
            random = generator(seed, Stream.DIRECTIONS, DIRECTION_COUNTERS[protocol, effect.finder])
            drawn = (
                sparse_directions(count, dim, top, random) if sparse else dense_directions(count, dim, random)
            )
            cases += [(effect.finder, "confident", 0, effect.states[0])]
            cases += [(effect.finder, "uncertain", 0, effect.states[1])]
            cases += [(effect.finder, "random", i, effect.magnitude * row) for i, row in enumerate(drawn)]
        states = np.stack([state for *_, state in cases])
        outputs = instrument.measure(states @ reader.T, batches, kl=True)
        entropy, nll, kl = outputs.entropy[where], outputs.nll[where], outputs.kl[where]
        for index, (finder, name, draw, state) in enumerate(cases):
            change = entropy[index] - entropy[0]  # (S,)
            signs = max((change > 0).mean(), (change < 0).mean())
            if protocol == "replication":
                means = change.reshape(len(batches), -1).mean(-1)
                signs = (means > 0).mean() if name == "uncertain" else (means < 0).mean()
            rows.append(
                {
                    **{"protocol": protocol, "finder": finder, "state": name, "draw": draw},
                    "magnitude": float(np.linalg.norm(state)),
                    "entropy": entropy[index].mean(),
                    "nll": nll[index].mean(),
                    "ece": outputs.ece[index],
                    "delta_entropy": change.mean(),
                    "delta_nll": (nll[index] - nll[0]).mean(),
                    "kl": kl[index].mean(),
                    "sign_consistency": signs,
                }
            )
    return rows


def batch_rows(
    instrument: Instrument, reader: np.ndarray, sets: Sequence[Sequence[Batch]], settings: FrozenTest
) -> list[dict[str, Any]]:
    """Rows of batches.csv (without seed and run_step): the published test on each of some sets of batches, batch by batch.

    draw: of the set; 0 are the published ones. batch: 0 is what the pair of states was found on. zero, confident, uncertain: entropy
    in nats at the last position, mean over the batch, under the zero state and under each of the pair.
    """
    rows = []
    for draw, batches in enumerate(sets):
        pair = published_pair(instrument, reader, batches[0], settings)
        states = np.stack([np.zeros(reader.shape[1]), *pair])
        entropy = instrument.measure(states @ reader.T, batches).entropy[LAST]  # (3, S)
        means = entropy.reshape(len(states), len(batches), -1).mean(-1)
        for batch, (zero, confident, uncertain) in enumerate(means.T):
            rows.append(
                {"draw": draw, "batch": batch, "zero": zero, "confident": confident, "uncertain": uncertain}
            )
    return rows


def dose_rows(
    instrument: Instrument,
    reader: np.ndarray,
    trial: Trial,
    directions: Mapping[str, np.ndarray],
    name: str = "learned",
    draw: int = 0,
) -> list[dict[str, Any]]:
    """Rows of doses.csv (without seed and run_step): negative norms, zero, norms along some unit directions (D,).

    reader (C, D), and its name and draw as in effects.csv. kl, like the deltas, is against the zero state.
    """
    norms = np.concatenate([-trial.norms[::-1], [0.0], trial.norms])
    cases = [(direction, float(norm)) for direction in directions for norm in norms]
    states = np.stack(
        [np.zeros(reader.shape[1]), *(norm * directions[direction] for direction, norm in cases)]
    )
    outputs = instrument.measure(states @ reader.T, trial.heldout[:DOSE_BATCHES], kl=True)
    entropy, nll, kl = (values[ALL].mean(-1) for values in (outputs.entropy, outputs.nll, outputs.kl))
    return [
        {
            **{"reader": name, "draw": draw, "direction": direction, "magnitude": norm},
            **{"entropy": entropy[index], "nll": nll[index], "kl": kl[index]},
            **{"delta_entropy": entropy[index] - entropy[0], "delta_nll": nll[index] - nll[0]},
        }
        for index, (direction, norm) in enumerate(cases, start=1)
    ]


@torch.inference_mode()
def peak_rows(
    gpt: GPT, reader: np.ndarray, states: np.ndarray, batches: Sequence[Batch], name: str = "learned", draw: int = 0
) -> list[dict[str, Any]]:  # fmt: skip
    """Rows of dimensions.csv (without seed and run_step): each dimension of the last state set by itself to the lowest and
    to the highest value that it took.

    reader (C, D), and its name and draw as in effects.csv. states (steps, D): of the run. at_lowest, at_highest: mean |logit
    change| against the last state, over the vocabulary at the last position of PEAK_SEQUENCES sequences.
    """
    own, lowest, highest = states[-1].astype(float), states.min(0).astype(float), states.max(0).astype(float)
    dim = len(own)
    cases = np.tile(own, (1 + 2 * dim, 1))  # the own state, each dimension at its lowest, each at its highest
    for place, values in enumerate((lowest, highest)):
        cases[1 + place * dim + np.arange(dim), np.arange(dim)] = values
    x = torch.cat([x for x, _ in batches])[:PEAK_SEQUENCES]
    biases = torch.from_numpy((cases @ reader.T).astype(np.float32))
    logits = torch.stack([gpt(x, bias)[0][:, -1] for bias in biases])  # (1 + 2 D, S, V)
    change = (logits[1:] - logits[0]).abs().double().mean((1, 2)).numpy()
    return [
        {
            **{"reader": name, "draw": draw, "dimension": index, "lowest": lowest[index], "highest": highest[index]},
            **{"at_lowest": change[index], "at_highest": change[dim + index]},
        }
        for index in range(dim)
    ]  # fmt: skip


def dose_directions(found: Sequence[Effect]) -> dict[str, np.ndarray]:
    """The unit directions (D,) of a reader's held-out effects: confident and uncertain ones of the dimension finder,
    and the gradient, which rises in entropy."""
    chosen: dict[str, np.ndarray] = {}
    for effect in (effect for effect in found if effect.protocol == "heldout"):
        pair = unit(effect.states)
        if effect.finder == "dimension":
            chosen |= {"confident": pair[0], "uncertain": pair[1]}
        else:
            chosen["gradient"] = pair[1]
    return chosen


def random_dose_direction(seed: int, dim: int) -> np.ndarray:
    """The random unit direction (dim,) that a dose curve is drawn along, for comparison."""
    return dense_directions(1, dim, generator(seed, Stream.DIRECTIONS, DOSE_COUNTER))[0]
