"""Put a regime's belief into a finished run, weights frozen: do its predictions move to what is best in that regime?

    python -m probes.belief out/recurring/calibrated_recurring/seed-1

The belief of a regime is the mean of the run's own states at the steps of the last half on which the regime acted; that
of calm likewise. Where targets are replaced by uniform draws with probability p (bewilderment), the best prediction of
a model that predicts q in calm is the mixture (1 - p) q + p / V, V the size of the vocabulary: `optimum`. All is
measured on held-out batches that no regime touches, q being the prediction under the mean state of calm.

    calm        the mean state of calm: where KL(optimum || prediction) starts from
    regime      the mean state of each regime that acted: of bewilderment, where it should be near zero
    mirrored    calm - (bewilderment - calm): as far, the other way
    random      calm plus a Gaussian direction, as far; several draws
    foreign     the mean state of bewilderment in the partner seed's run
    zero        no state
    optimum     no state at all: the mixture itself, what could be reached

The loss on corrupted targets is their exact mean over the corruption, (1 - p) NLL + p mean_v(-log prediction(v)). All
in float32, whatever the run was trained in; the weights are hashed before and after.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from base import command_line

if __name__ == "__main__":
    command_line.heed()

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

import perturb
from base.rng import Stream, generator
from base.storage import UserError
from configs.probes.belief import BeliefTest
from configs.run import RunConfig
from data.corpus import Corpus
from perturb import CALM
from probes.instrument import (
    Batch,
    Instrument,
    Progress,
    Subject,
    batches,
    command,
    load_subject,
    weights_frozen,
)
from probes.steering import dense_directions

REGIME = "bewilderment"  # the one whose optimum is known
NONE = "none"  # in the column regime: of no regime
RANDOM_DRAWS = 10
FIRST_DIRECTION = 1_000  # counter in the DIRECTIONS stream
COLUMNS = (
    *("seed", "run_step", "state", "regime", "draw", "distance", "norm", "kl", "kl_calm", "entropy"),
    *("nll_clean", "nll_corrupted"),
)


@dataclass(frozen=True)
class Case:
    """A state (D,) to set: what it is, of which regime (or NONE), and which draw."""

    state: str
    regime: str
    draw: int
    vector: np.ndarray


class Comparison(Instrument):
    """An instrument that holds predictions against the optimum of a regime."""

    @torch.inference_mode()
    def against_optimum(
        self, biases: np.ndarray, batches: Sequence[Batch], probability: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Under each of n biases (n, n_embd), the first of which is calm's: means over all positions, in nats.

        Returns:
            (n, 5): KL(optimum || prediction), KL(calm's prediction || prediction), entropy, NLL, and NLL on corrupted
            targets; and (5,), the same of the optimum itself.
        """
        rows = torch.from_numpy(biases.astype(np.float32))
        found = np.zeros((len(rows), 5))
        best = np.zeros(5)
        positions = sum(y.numel() for _, y in batches)
        for x, y in batches:
            calm = optimum = torch.empty(0)
            for index, bias in enumerate(rows):
                log_p = F.log_softmax(self.gpt(x, bias)[0], dim=-1)  # (B, T, V)
                self._count()
                if index == 0:
                    calm, optimum = log_p, mixture(log_p, probability)
                    best += _sums(optimum, y, optimum, calm, probability)
                found[index] += _sums(log_p, y, optimum, calm, probability)
        return found / positions, best / positions


def mixture(log_p: Tensor, probability: float) -> Tensor:
    """Log of the best prediction (..., V) where targets are uniform draws with a probability, else follow exp(log_p)."""
    mixed = (1 - probability) * log_p.exp() + probability / log_p.shape[-1]
    return mixed.clamp_min(1e-30).log()  # finite where nothing is mixed in


def _sums(log_p: Tensor, y: Tensor, optimum: Tensor, calm: Tensor, probability: float) -> np.ndarray:
    """The five measures of `against_optimum` of one batch, summed over positions: (5,) float64."""
    nll = -log_p.gather(-1, y[..., None])[..., 0]
    columns = (
        (optimum.exp() * (optimum - log_p)).sum(-1),
        (calm.exp() * (calm - log_p)).sum(-1),
        -(log_p.exp() * log_p).sum(-1),
        nll,
        (1 - probability) * nll - probability * log_p.mean(-1),
    )
    return np.array([column.double().sum().item() for column in columns])


def mean_states(run: RunConfig, states: np.ndarray) -> dict[str, np.ndarray]:
    """The mean (D,) of a run's states at the steps of each regime, calm among them, in the last half of them.

    states (n, D): those of the run's steps from its first on.
    """
    regimes = np.array(perturb.regimes_by_step(run)[run.first : run.first + len(states)])
    late = np.arange(len(states)) >= len(states) // 2
    return {
        str(name): states[late & (regimes == name)].astype(np.float64).mean(0)
        for name in dict.fromkeys(regimes[late])
    }


def cases(means: Mapping[str, np.ndarray], foreign: np.ndarray | None, seed: int) -> list[Case]:
    """What is set, calm first. Without a bewildered step there is nothing to mirror or to be as far as."""
    calm = means[CALM]
    found = [Case("calm", CALM, 0, calm), Case("zero", NONE, 0, np.zeros_like(calm))]
    found += [Case("regime", name, 0, mean) for name, mean in means.items() if name != CALM]
    if REGIME in means:
        away = means[REGIME] - calm
        found.append(Case("mirrored", REGIME, 0, calm - away))
        drawn = dense_directions(RANDOM_DRAWS, len(calm), generator(seed, Stream.DIRECTIONS, FIRST_DIRECTION))
        length = float(np.linalg.norm(away))
        found += [Case("random", REGIME, draw, calm + length * row) for draw, row in enumerate(drawn)]
        if foreign is not None:
            found.append(Case("foreign", REGIME, 0, foreign))
    return found


def measure(
    comparison: Comparison,
    reader: np.ndarray,
    found: Sequence[Case],
    batches: Sequence[Batch],
    probability: float,
) -> list[dict[str, object]]:
    """Rows of belief.csv (without seed and run_step); found[0] is calm's."""
    biases = np.stack([case.vector for case in found]) @ reader.T
    values, best = comparison.against_optimum(biases, batches, probability)
    calm = found[0].vector
    rows: list[dict[str, object]] = []
    for case, measured in zip(found, values, strict=True):
        place = {"state": case.state, "regime": case.regime, "draw": case.draw}
        sizes = {
            "distance": float(np.linalg.norm(case.vector - calm)),
            "norm": float(np.linalg.norm(case.vector)),
        }
        rows.append({**place, **sizes, **dict(zip(COLUMNS[7:], measured.tolist(), strict=True))})
    ideal = dict(zip(COLUMNS[7:], best.tolist(), strict=True))
    return [
        *rows,
        {"state": "optimum", "regime": REGIME, "draw": 0, "distance": np.nan, "norm": np.nan, **ideal},
    ]


def run(
    run: Path,
    step: int,
    settings: BeliefTest,
    corpus: Corpus,
    destination: Path,
    progress: Progress | None = None,
    other: Path | None = None,
) -> None:
    """Set the mean states of regimes in a run with the weights after `step` steps; write belief.csv, task.json.

    Args, beside those of `weights_frozen`:
        settings: how many held-out batches.
        progress: called with (forward passes done, in all).
        other: the run folder of the partner seed, for the foreign state; without it there is none.

    Raises, beside what `weights_frozen` does:
        UserError: no calm step in the last half, or a partner with a state of other dimensions.
    """
    with weights_frozen(run, step, corpus, destination, load_subject) as (subject, results):
        means = mean_states(subject.run, subject.states)
        if CALM not in means:
            raise UserError(
                f"{run} has no calm step in the last half of its {step} steps; there is nothing to compare to"
            )
        found = cases(means, _foreign(other, step, subject), subject.run.seed)
        count = settings.heldout_batches
        comparison = Comparison(subject.gpt, len(found) * count, progress)
        drawn = batches(subject, corpus, "heldout", count)
        probability = subject.run.regimes.bewilderment.probability
        results.tables["belief.csv"] = COLUMNS, measure(comparison, subject.reader, found, drawn, probability)
        results.task |= {"heldout_batches": count, "probability": probability, "forwards": comparison.done}


def _foreign(other: Path | None, step: int, subject: Subject) -> np.ndarray | None:
    """The mean state of bewilderment in the partner's run; None where it has none."""
    if other is None:
        return None
    partner = load_subject(other, step)
    if partner.run.self_state.dim != subject.run.self_state.dim:
        raise UserError(
            f"{other} has a state of {partner.run.self_state.dim} dimensions, not of {subject.run.self_state.dim}"
        )
    return mean_states(partner.run, partner.states).get(REGIME)


def summary(folder: Path) -> str:
    """One line a kind of state of a test's belief.csv."""
    table = pd.read_csv(folder / "belief.csv")
    lines = []
    for (state, regime), rows in table.groupby(["state", "regime"], sort=False):
        name = f"{state} {regime}" if state == "regime" else str(state)
        lines.append(
            f"{name:24} KL to the optimum of {REGIME} {rows['kl'].mean():.4f} nats   "
            f"NLL clean {rows['nll_clean'].mean():.4f}, corrupted {rows['nll_corrupted'].mean():.4f}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    command(arguments, "belief.py", __doc__, "belief", run, summary)


if __name__ == "__main__":
    command_line.run(main)
