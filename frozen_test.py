"""Steer a finished run with its weights frozen: set the state by hand, measure entropy, NLL and calibration.

    python frozen_test.py out/shakespeare/self_calm/seed-1 --step 1000

Choosing the best of many directions makes an effect out of nothing, so nothing is believed here without a
placebo that was *selected in the same way*: `steering.effects` is one function of the reader, called with the
learned one and with placebo readers alike. Two protocols:

    replication  as published: dimension-wise, found on one train batch, tested on five others, last position; the batches
                 are the published ones, the same for every run, and beside them other sets that all runs share
    heldout      found on train batches, magnitude chosen on dev, measured once on held-out, all positions

and two finders of a confident and an uncertain direction:

    dimension    the dimensions whose entropy change is lowest (highest), each alone at `magnitude`
    gradient     minus (plus) the gradient of mean entropy with respect to the state, at zero; the only one
                 for a state of one dimension

The gradient finder can't see a rotation: under the reader W Q the gradient is Q^T g, and W Q (Q^T g) = W g is
the same bias. So its placebo "rotated" would equal the learned effect by construction and is not run; only
"untrained" decides there. All is computed in float32, whatever the run was trained in.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out

from base import command_line

if __name__ == "__main__":
    command_line.heed()

import numpy as np
import pandas as pd
import torch

from base.rng import Stream, generator
from base.storage import UserError
from configs.probes.frozen import FrozenTest
from data.corpus import Corpus
from probes.frozen_rows import (
    BATCHES,
    CONDITIONS,
    DOSES,
    EFFECTS,
    PEAKS,
    batch_rows,
    condition_rows,
    dose_directions,
    dose_rows,
    peak_rows,
    random_dose_direction,
)
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
from probes.steering import Effect, Trial, effects, heldout_effect, rotated, unit, untrained

SMALLEST_NORM = 1e-6  # a state that never exceeded this did not move
PEAK_PLACEBOS = 5  # untrained readers that single dimensions are set under, too
FOUND_ON, MEASURED_ON = 123, 1123  # seeds of the published batches: the first, and the first of the others
BETWEEN_DRAWS = 1_000_000  # seeds
UNTRAINED = 1_000_000  # counter of the first untrained reader in the PLACEBO stream; rotations count from 0


def published_batches(subject: Subject, corpus: Corpus, settings: FrozenTest, draw: int = 0) -> list[Batch]:
    """Train batches, the same for every run: one that directions are found on, then those that they are measured on.

    Draw 0 are those of the published test: offsets by torch's generator, seeded anew for each batch (docs/published/README.md).
    A further draw has seeds of its own.
    """
    tokens, block = torch.from_numpy(corpus.train.astype(np.int64)), subject.run.model.block_size
    made = []
    for seed in (FOUND_ON, *range(MEASURED_ON, MEASURED_ON + settings.replication_batches)):
        random = torch.Generator().manual_seed(seed + draw * BETWEEN_DRAWS)
        offsets = torch.randint(
            len(tokens) - block, (settings.replication_sequences,), generator=random
        )  # (B,)
        rows = tokens[offsets[:, None] + torch.arange(block + 1)]  # (B, T + 1)
        made.append((rows[:, :-1], rows[:, 1:]))
    return made


def finders(dim: int) -> tuple[str, ...]:
    """The finders for a state of `dim` dimensions: a single one leaves nothing to choose dimensions from."""
    return ("dimension", "gradient") if dim > 1 else ("gradient",)


def state_norms(states: np.ndarray, settings: FrozenTest) -> tuple[np.ndarray, bool]:
    """`doses` equally spaced norms up to the largest of states (steps, D), and whether the state ever moved.

    Where it did not, they go up to settings.magnitude instead.
    """
    largest = float(np.linalg.norm(states.astype(np.float64), axis=1).max())
    moved = largest >= SMALLEST_NORM
    top = largest if moved else settings.magnitude
    return top * np.arange(1, settings.doses + 1) / settings.doses, moved


def make_trial(
    subject: Subject,
    instrument: Instrument,
    batches: Mapping[str, list[Batch]],
    settings: FrozenTest,
) -> Trial:
    """What a run is tested on, from batches of the splits train, dev and heldout, and of the replication protocol."""
    finder = batches["train"]
    return Trial(
        replication=batches["replication"],
        finder=finder,
        dev=batches["dev"],
        heldout=batches["heldout"],
        gradient=instrument.entropy_gradient(finder),
        norms=state_norms(subject.states, settings)[0],
        settings=settings,
    )


def foreign_effects(
    own: Instrument, reader: np.ndarray, trial: Trial, other: Subject, own_dim: int
) -> list[Effect]:
    """Held-out effects of directions that were found in another run, on the same batches, under this run's reader.

    The axes of two states have nothing in common but their number: what these directions do, any would.
    """
    if other.run.self_state.dim != own_dim:
        raise UserError(
            f"a state of {other.run.self_state.dim} dimensions gives no directions for one of {own_dim}"
        )
    elsewhere = Instrument(other.gpt, own.total, own.progress, own.done)
    batches = {
        "replication": trial.replication, "train": trial.finder, "dev": trial.dev, "heldout": trial.heldout
    }  # fmt: skip
    found = effects(
        elsewhere, other.reader, make_trial(other, elsewhere, batches, trial.settings), finders(own_dim)
    )
    own.done = elsewhere.done
    return [
        heldout_effect(own, reader, trial, effect.finder, unit(effect.states))
        for effect in found
        if effect.protocol == "heldout"
    ]


def run(
    run: Path,
    step: int,
    settings: FrozenTest,
    corpus: Corpus,
    destination: Path,
    progress: Progress | None = None,
    other: Path | None = None,
) -> None:
    """Test the weights after `step` steps of a run; write conditions.csv, effects.csv, batches.csv, doses.csv,
    dimensions.csv, task.json.

    Args, beside those of `weights_frozen`:
        settings: which batches, directions and placebos, and how many.
        progress: called with (forward passes done, in all).
        other: the run folder of the partner seed, where settings.foreign asks for its directions.

    Raises, beside what `weights_frozen` does:
        UserError: `top` too large for the state, or no run of the partner seed where one is needed.
    """
    with weights_frozen(run, step, corpus, destination, load_subject) as (subject, results):
        dim, seed, reader = subject.run.self_state.dim, subject.run.seed, subject.reader
        if 1 < dim < 2 * settings.top:
            raise UserError(
                f"frozen_test.top = {settings.top} is too many for {dim} dimensions; take at most {dim // 2}"
            )
        if settings.foreign and other is None:
            raise UserError("frozen_test.foreign needs the run of the partner seed; name it with --other")
        instrument = Instrument(subject.gpt, settings.forwards(dim), progress)
        counts = {
            "train": settings.finder_batches,
            "dev": settings.dev_batches,
            "heldout": settings.heldout_batches,
        }
        drawn = {split: batches(subject, corpus, split, count) for split, count in counts.items()}
        sets = [published_batches(subject, corpus, settings, draw) for draw in range(1 + settings.other_sets)]
        drawn["replication"] = sets[0]
        trial = make_trial(subject, instrument, drawn, settings)
        searched = finders(dim)
        learned = effects(instrument, reader, trial, searched)
        own = subject.states[-1].astype(np.float64)
        conditions = condition_rows(instrument, reader, trial, learned, own, seed)
        directions = {**dose_directions(learned), "random": random_dose_direction(seed, dim)}
        doses = dose_rows(instrument, reader, trial, directions)
        peaks = peak_rows(subject.gpt, reader, subject.states, trial.heldout)
        by_batch = batch_rows(instrument, reader, sets, settings) if "dimension" in searched else []
        measured = [("learned", 0, effect) for effect in learned]
        for name, draw, placebo in placebos(reader, searched, seed, settings.placebo_draws):
            again = effects(instrument, placebo, trial, ("dimension",) if name == "rotated" else searched)
            measured += [(name, draw, effect) for effect in again]
            if draw < settings.dose_placebos:
                doses += dose_rows(instrument, placebo, trial, dose_directions(again), name, draw)
            if name == "untrained" and draw < PEAK_PLACEBOS:
                peaks += peak_rows(subject.gpt, placebo, subject.states, trial.heldout, name, draw)
        if settings.foreign and other is not None:
            again = foreign_effects(instrument, reader, trial, load_subject(other, step), dim)
            measured += [("foreign", 0, effect) for effect in again]
        effect_rows = [
            {
                **{"protocol": effect.protocol, "finder": effect.finder, "reader": name, "draw": draw},
                **{"effect_size": effect.size, "magnitude": effect.magnitude},
            }
            for name, draw, effect in measured
        ]
        results.tables["conditions.csv"] = CONDITIONS, conditions
        results.tables["effects.csv"] = EFFECTS, effect_rows
        results.tables["batches.csv"] = BATCHES, by_batch
        results.tables["doses.csv"] = DOSES, doses
        results.tables["dimensions.csv"] = PEAKS, peaks
        results.task |= {
            "settings": settings.model_dump(mode="json"),
            "largest_norm": float(trial.norms[-1]),
            "norms_from_training": state_norms(subject.states, settings)[1],
            "forwards": instrument.done,
        }


def placebos(
    reader: np.ndarray, searched: Sequence[str], seed: int, draws: int
) -> Iterator[tuple[str, int, np.ndarray]]:
    """The placebo readers (C, D) of a reader, each with its kind and draw. A single dimension has no rotation."""
    for draw in range(draws):
        if "dimension" in searched:
            yield "rotated", draw, rotated(reader, generator(seed, Stream.PLACEBO, draw))
        yield "untrained", draw, untrained(reader, generator(seed, Stream.PLACEBO, UNTRAINED + draw))


def summary(folder: Path) -> str:
    """One line a protocol and finder of a test's effects.csv: the learned effect beside its placebos."""
    lines = []
    for (protocol, finder), rows in pd.read_csv(folder / "effects.csv").groupby(
        ["protocol", "finder"], sort=False
    ):
        sizes = dict(iter(rows.groupby("reader", sort=False)["effect_size"]))
        learned = sizes.pop("learned").item()
        placebos = [
            f"{name} {found.mean():.3f}, max {found.max():.3f} (n = {len(found)})"
            for name, found in sizes.items()
        ]
        lines.append(f"{protocol:12} {finder:10} effect {learned:.3f} nats   placebo: {'; '.join(placebos)}")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    command(arguments, "frozen_test.py", __doc__, "frozen", run, summary)


if __name__ == "__main__":
    command_line.run(main)
