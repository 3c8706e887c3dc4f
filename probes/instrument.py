"""What every test of a finished run shares: loading it, measuring it with its weights frozen, writing what was found."""

import argparse
import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from base import command_line, storage
from base.rng import Stream
from base.storage import ROOT, UserError
from configs import toml_file as config_file
from configs.probe import Probe, fields_of
from configs.run import RunConfig
from configs.suite import validate
from configs.toml_file import ConfigError
from data.tokens import Tokens
from model import GPT
from runs import folder as run_folder
from runs.evaluate import ECE_BINS, batch, overconfidence
from runs.state import check_corpus, load_models, models_arrays, trained_corpus
from self_state import SelfState

Progress = Callable[[int, int], None]
Batch = tuple[Tensor, Tensor]
CPU = torch.device("cpu")
FIRST_BATCH = {"train": 2_000_000, "dev": 3_000_000, "heldout": 4_000_000}
"""Counters in the EVAL stream."""
LAST, ALL = 0, 1  # positions: the last of each sequence, or the mean over all


@dataclass(frozen=True)
class Trained:
    """A run with the weights of one step: its config and its GPT."""

    run: RunConfig
    gpt: GPT

    def sha256(self) -> str:
        return weights_sha256(models_arrays({"gpt": self.gpt}))


@dataclass(frozen=True)
class Subject(Trained):
    """The same with its self-state: the states so far (steps, D), the reader (C, D)."""

    self_state: SelfState
    states: np.ndarray
    reader: np.ndarray

    def sha256(self) -> str:
        return weights_sha256(models_arrays({"gpt": self.gpt, "self_state": self.self_state}))


def load_trained(folder: Path, step: int) -> Trained:
    """The weights after `step` steps of a run, of its GPT alone. UserError where there are none."""
    run, gpt, _ = load_models(folder, step)
    return Trained(run, gpt)


def load_subject(folder: Path, step: int) -> Subject:
    """The weights after `step` steps of a run. UserError where there are none, or no self-state."""
    run, gpt, self_state = load_models(folder, step)
    if self_state is None:
        raise UserError(f"{folder} is a run without self-state; there is nothing to steer")
    states = storage.load_tensors(folder / "states.safetensors")["state"][: step - run.first]
    return Subject(run, gpt, self_state, states, self_state.reader.weight.detach().double().numpy())


def batches(
    subject: Trained, corpus: Tokens, split: str, count: int, sequences: int | None = None
) -> list[Batch]:
    """Batches of a split (train, dev, heldout) that neither training nor its evaluations draw.

    sequences: of each; a training batch's by default.
    """
    run, first = subject.run, FIRST_BATCH[split]
    return [
        batch(corpus, split, run, run.seed, Stream.EVAL, first + at, CPU, sequences) for at in range(count)
    ]


@dataclass
class Results:
    """What a test found: columns and rows by file name, seed and run_step left to be added; what task.json says."""

    tables: dict[str, tuple[Sequence[str], Sequence[Mapping[str, Any]]]] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)


T = TypeVar("T", bound=Trained)


@contextlib.contextmanager
def weights_frozen(
    folder: Path, step: int, corpus: Tokens, destination: Path, load: Callable[[Path, int], T]
) -> Iterator[tuple[T, Results]]:
    """A finished run to be tested with the weights after `step` steps, and results to fill, written once all is done.

    Args:
        folder: a run folder.
        step: the last step, or one of the run's log.keep_steps.
        corpus: the one that the run was trained on.
        destination: a folder, whole or absent; one that stands there is replaced.
        load: `load_trained`, or `load_subject` for what needs a self-state.

    Raises:
        UserError: no whole run, no self-state where one is needed, weights not kept (it says which were), another corpus or one too short.
        RuntimeError: the test changed the weights.
    """
    started = time.perf_counter()
    subject = load(folder, step)
    check_corpus(folder, corpus)
    corpus.check_block(subject.run.model.block_size)
    before, results = subject.sha256(), Results()
    yield subject, results
    after = subject.sha256()
    if after != before:
        raise RuntimeError(f"the test of {folder} changed the weights ({before} -> {after})")
    results.task |= {"weights_sha256_before": before, "weights_sha256_after": after}
    write_results(folder, step, results, destination, started)


def write_results(folder: Path, step: int, results: Results, destination: Path, started: float) -> None:
    """Write what was found of a run with the weights after `step` steps: its tables, and task.json.

    started: the reading of time.perf_counter() when the probe began.
    """
    record = storage.read_json(folder / "run.json")
    common = {"seed": run_folder.load_config(folder).seed, "run_step": step}
    task = {
        **common,
        "run_key": record["key"],
        **results.task,
        "dtype": "float32",
        "threads": torch.get_num_threads(),
        "seconds": round(time.perf_counter() - started, 3),
    }
    with storage.whole_folder(destination) as made:
        for name, (columns, rows) in results.tables.items():
            table = pd.DataFrame([{**common, **row} for row in rows], columns=list(columns))
            storage.write_text(made / name, table.to_csv(index=False, float_format="%.12g"))
        storage.write_json(made / "task.json", task)


def load_settings(name: str, overrides: Sequence[str]) -> Probe:
    """The fields of a probe as configs/base.toml has them, under `probe.NAME.key=value` texts; ConfigError if one is wrong."""
    source, place = config_file.read(ROOT / "configs" / "base.toml"), ("probe", name)
    for text in overrides:
        if not text.startswith(f"probe.{name}."):
            raise ConfigError(
                f"--set {config_file.shown(text)}: only fields of probe.{name} can be set for a finished run"
            )
    source.apply_overrides(overrides)
    return validate(fields_of(name), source.document["probe"].get(name, {}), source, [place])


def command(
    arguments: Sequence[str],
    prog: str,
    description: str,
    name: str,
    test: Callable[..., None],
    summary: Callable[[Path], str],
) -> None:
    """Test a finished run as a command line asks for it, into probes/NAME below --out, and print a summary of the results.

    name: of the probe.
    """
    parser = command_line.Parser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run folder, for example out/shakespeare/self_calm/seed-1")
    parser.add_argument("--step", type=int, help="weights after so many steps (default: the last)")
    parser.add_argument("--other", type=Path, help="the same condition's run of the partner seed")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help=f"set a field, probe.{name}.*"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out"),
        help="results out; corpora in, for a run that has none beside it (default out)",
    )
    given = parser.parse_args(arguments)
    settings = load_settings(name, given.set)
    given.run = run_folder.viewed(given.run)
    other = run_folder.viewed(given.other) if given.other is not None else None
    trained = run_folder.load_config(given.run)
    step = trained.last if given.step is None else given.step
    torch.set_num_threads(1)
    corpus = trained_corpus(given.run, trained, given.out / "data")
    if other is not None:
        check_corpus(other, corpus)
    destination = given.out / "probes" / name / f"{given.run.resolve().name}-step{step}"
    with command_line.progress_bar(f"{name} test") as progress:
        test(given.run, step, settings, corpus, destination, progress, other)
    print(summary(destination))
    print(f"tested {given.run} at step {step} -> {destination}")


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


def weights_sha256(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the names and bytes of all weights."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + b"\0" + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
