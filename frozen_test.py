"""Steer a finished run with its weights frozen: set the state by hand, measure entropy, NLL and calibration.

    python frozen_test.py out/shakespeare/self_calm/seed-1 --step 1000

Choosing the best of many directions makes an effect out of nothing, so nothing is believed here without a
placebo that was *selected in the same way*: `steering.effects` is one function of the reader, called with the
learned one and with placebo readers alike. Two protocols:

    replication  as published: dimension-wise, found and tested on the same train batches, last position
    heldout      found on train batches, magnitude chosen on dev, measured once on held-out, all positions

and two finders of a confident and an uncertain direction:

    dimension    the dimensions whose entropy change is lowest (highest), each alone at `magnitude`
    gradient     minus (plus) the gradient of mean entropy with respect to the state, at zero; the only one
                 for a state of one dimension

The gradient finder can't see a rotation: under the reader W Q the gradient is Q^T g, and W Q (Q^T g) = W g is
the same bias. So its placebo "rotated" would equal the learned effect by construction and is not run; only
"untrained" decides there. All is computed in float32, whatever the run was trained in.
"""

import argparse
import csv
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from base import command_line, storage
from base.rng import Stream, generator
from base.storage import ROOT, UserError
from configs import size
from configs import toml_file as config_file
from configs.run import RunConfig
from configs.suite import FrozenTest, validate
from configs.toml_file import ConfigError
from data.corpus import Corpus, check_block
from data.prepare import prepare
from model import GPT
from probes.frozen_rows import (
    CONDITIONS,
    DOSES,
    EFFECTS,
    condition_rows,
    dose_directions,
    dose_rows,
    random_dose_direction,
)
from probes.instrument import (
    Batch,
    Effect,
    Instrument,
    Progress,
    Trial,
    effects,
    heldout_effect,
    rotated,
    unit,
    untrained,
    weights_sha256,
)
from runs import folder as run_folder
from runs.evaluate import batch
from self_state import SelfState

CPU = torch.device("cpu")
SMALLEST_NORM = 1e-6  # a state that never exceeded this did not move
FIRST_BATCH = {"train": 2_000_000, "dev": 3_000_000, "heldout": 4_000_000}  # counters in the EVAL stream
UNTRAINED = 1_000_000  # counter of the first untrained reader in the PLACEBO stream; rotations count from 0


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


@dataclass(frozen=True)
class Subject:
    """A run with the weights of one step: its config, its models, its states so far (steps, D), its reader (C, D)."""

    run: RunConfig
    gpt: GPT
    self_state: SelfState
    states: np.ndarray
    reader: np.ndarray

    def sha256(self) -> str:
        return weights_sha256(run_folder.models_arrays({"gpt": self.gpt, "self_state": self.self_state}))


def load_subject(folder: Path, step: int) -> Subject:
    """The weights after `step` steps of a run. UserError where there are none, or no self-state."""
    run, gpt, self_state = run_folder.load_models(folder, step)
    if self_state is None:
        raise UserError(f"{folder} is a run without self-state; there is nothing to steer")
    states = storage.load_tensors(folder / "states.safetensors")["state"][: step - run.first]
    return Subject(run, gpt, self_state, states, self_state.reader.weight.detach().double().numpy())


def make_trial(
    subject: Subject,
    instrument: Instrument,
    batches: Mapping[str, list[Batch]],
    settings: FrozenTest,
) -> Trial:
    """What a run is tested on, from batches of the splits train, dev and heldout."""
    finder = batches["train"]
    return Trial(
        finder=finder,
        dev=batches["dev"],
        heldout=batches["heldout"],
        zero=instrument.measure(np.zeros((1, len(subject.reader))), finder).entropy.mean(-1)[:, 0],
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
    batches = {"train": trial.finder, "dev": trial.dev, "heldout": trial.heldout}
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
    """Test the weights after `step` steps of a run; write conditions.csv, effects.csv, doses.csv, task.json.

    Args:
        run: a run folder.
        step: the last step, or one of the run's log.keep_steps.
        settings: which batches, directions and placebos, and how many.
        corpus: the one that the run was trained on.
        destination: a folder, whole or absent; one that stands there is replaced.
        progress: called with (forward passes done, in all).
        other: the run folder of the partner seed, where settings.foreign asks for its directions.

    Raises:
        UserError: no whole run, no self-state, weights not kept (it says which were), another corpus, `top`
            too large for the state, a corpus too short, or no run of the partner seed where one is needed.
        RuntimeError: the test changed the weights.
    """
    started = time.perf_counter()
    subject = load_subject(run, step)
    record = storage.read_json(run / "run.json")
    if record["data"] != corpus.tokens_sha256:
        raise UserError(
            f"{run} was trained on another corpus than {corpus.name} as it stands; train it again"
        )
    dim, seed, reader = subject.run.self_state.dim, subject.run.seed, subject.reader
    if 1 < dim < 2 * settings.top:
        raise UserError(
            f"frozen_test.top = {settings.top} is too many for {dim} dimensions; take at most {dim // 2}"
        )
    if settings.foreign and other is None:
        raise UserError(
            "frozen_test.foreign needs the run of the partner seed; run the test as part of the study"
        )
    check_block(corpus, subject.run.model.block_size)
    before = subject.sha256()
    instrument = Instrument(subject.gpt, size.forwards(settings, dim), progress)
    counts = {
        "train": settings.finder_batches,
        "dev": settings.dev_batches,
        "heldout": settings.heldout_batches,
    }
    batches = {
        split: [
            batch(getattr(corpus, split), subject.run, seed, Stream.EVAL, FIRST_BATCH[split] + index, CPU)
            for index in range(count)
        ]
        for split, count in counts.items()
    }
    trial = make_trial(subject, instrument, batches, settings)
    searched = finders(dim)
    learned = effects(instrument, reader, trial, searched)
    own = subject.states[-1].astype(np.float64)
    conditions = condition_rows(instrument, reader, trial, learned, own, seed)
    directions = {**dose_directions(learned), "random": random_dose_direction(seed, dim)}
    doses = dose_rows(instrument, reader, trial, directions)
    measured = [("learned", 0, effect) for effect in learned]
    for name, draw, placebo in placebos(reader, searched, seed, settings.placebo_draws):
        again = effects(instrument, placebo, trial, ("dimension",) if name == "rotated" else searched)
        measured += [(name, draw, effect) for effect in again]
        if draw < settings.dose_placebos:
            doses += dose_rows(instrument, placebo, trial, dose_directions(again), name, draw)
    if settings.foreign and other is not None:
        again = foreign_effects(instrument, reader, trial, load_subject(other, step), dim)
        measured += [("foreign", 0, effect) for effect in again]
    after = subject.sha256()
    if after != before:
        raise RuntimeError(f"the frozen-weight test of {run} changed the weights ({before} -> {after})")
    effect_rows = [
        {
            **{"protocol": effect.protocol, "finder": effect.finder, "reader": name, "draw": draw},
            **{"effect_size": effect.size, "magnitude": effect.magnitude},
        }
        for name, draw, effect in measured
    ]
    common = {"seed": seed, "run_step": step}
    with storage.whole_folder(destination) as folder:
        for name, columns, rows in (
            ("conditions.csv", CONDITIONS, conditions),
            ("effects.csv", EFFECTS, effect_rows),
            ("doses.csv", DOSES, doses),
        ):
            storage.write_text(folder / name, _csv(columns, [{**common, **row} for row in rows]))
        task = {
            **common,
            "run_key": record["key"],
            "settings": settings.model_dump(mode="json"),
            "weights_sha256_before": before,
            "weights_sha256_after": after,
            "largest_norm": float(trial.norms[-1]),
            "norms_from_training": state_norms(subject.states, settings)[1],
            "forwards": instrument.done,
            "dtype": "float32",
            "threads": torch.get_num_threads(),
            "seconds": round(time.perf_counter() - started, 3),
        }
        storage.write_json(folder / "task.json", task)


def placebos(
    reader: np.ndarray, searched: Sequence[str], seed: int, draws: int
) -> Iterator[tuple[str, int, np.ndarray]]:
    """The placebo readers (C, D) of a reader, each with its kind and draw. A single dimension has no rotation."""
    for draw in range(draws):
        if "dimension" in searched:
            yield "rotated", draw, rotated(reader, generator(seed, Stream.PLACEBO, draw))
        yield "untrained", draw, untrained(reader, generator(seed, Stream.PLACEBO, UNTRAINED + draw))


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{v:.12g}" if isinstance(v, float) else v for name, v in row.items()})
    return text.getvalue()


def load_settings(overrides: Sequence[str]) -> FrozenTest:
    """[frozen_test] of configs/base.toml under `frozen_test.key=value` texts; ConfigError if one is wrong."""
    source = config_file.read(ROOT / "configs" / "base.toml")
    for text in overrides:
        if not text.startswith("frozen_test."):
            raise ConfigError(
                f"--set {config_file.shown(text)}: only frozen_test fields can be set for a finished run"
            )
    source.apply_overrides(overrides)
    return validate(FrozenTest, source.document["frozen_test"], source, [("frozen_test",)])


def _summary(path: Path) -> str:
    """One line a protocol and finder of an effects.csv: the learned effect beside its placebos."""
    sizes: dict[tuple[str, str], dict[str, list[float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            group = sizes.setdefault((row["protocol"], row["finder"]), {})
            group.setdefault(row["reader"], []).append(float(row["effect_size"]))
    lines = []
    for (protocol, finder), group in sizes.items():
        (learned,) = group.pop("learned")
        placebos = [
            f"{name} {np.mean(values):.3f}, max {max(values):.3f} (n = {len(values)})"
            for name, values in group.items()
        ]
        lines.append(f"{protocol:12} {finder:10} effect {learned:.3f} nats   placebo: {'; '.join(placebos)}")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    parser = command_line.Parser(
        prog="frozen_test.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run folder, for example out/shakespeare/self_calm/seed-1")
    parser.add_argument("--step", type=int, help="weights after so many steps (default: the last)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="set a frozen_test field"
    )
    parser.add_argument("--out", type=Path, default=Path("out"), help="corpora in, results out (default out)")
    given = parser.parse_args(arguments)
    settings = load_settings(given.set)
    trained = run_folder.load_config(given.run)
    step = trained.last if given.step is None else given.step
    torch.set_num_threads(1)
    corpus = prepare(trained.corpus, given.out / "data", trained.tokenizer)
    destination = given.out / "frozen" / f"{given.run.resolve().name}-step{step}"
    with command_line.progress_bar("frozen-weight test") as progress:
        run(given.run, step, settings, corpus, destination, progress)
    print(_summary(destination / "effects.csv"))
    print(f"tested {given.run} at step {step} -> {destination}")


if __name__ == "__main__":
    command_line.run(main)
