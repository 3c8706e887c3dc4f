"""Everything that a run has at a step boundary: made at its start, saved, restored, or taken over from another run."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import perturb
from base import storage
from base.rng import Stream, generator
from base.storage import UserError
from configs.run import RunConfig, partner
from configs.state import FixedBias, NoBias, OwnStats, RecordedStats
from model import GPT
from runs import folder as run_folder
from self_state import STATS, ConstantBias, SelfState, StateValue

METRICS = (
    "step", "regime", "loss", "entropy", "top1", "grad_norm", "progress", "lr",
    "state_norm", "state_drift", "state_ema_drift", "state_effect", "state_kl",
    "bias_norm", "mlp_norm", "memory_norm", "memory_share", "gate", "heldout_loss", "heldout_ece",
)  # fmt: skip
NORM_MOMENTUM = 0.99  # of the running mean of a bias's norm, where it is matched to another run's
NORM_STEPS = 100  # last steps of a run whose mean bias norm a fixed bias takes
JITTER = 1e-3  # share of the state's norm that `jitter` changes it by


@dataclass
class Training:
    """A run at a step boundary. What `tensors` returns restores all of it that is not decided by the config."""

    run: RunConfig
    gpt: GPT
    self_state: SelfState | None
    constant_bias: ConstantBias | None
    optimizer: torch.optim.Optimizer
    value: StateValue | None
    stats: Tensor | None = (
        None  # (k, 5) statistics of the last batches, the newest last; None before the first
    )
    recorded: np.ndarray | None = (
        None  # (steps, 5) what another run's self-state was shown, where this one is shown it
    )
    state_average: Tensor | None = None  # (dim,) EMA of the state
    norm_mean: float = 0.0  # running mean of the reader's own bias norm, where it is matched
    norm_target: np.ndarray | None = None  # (steps,) running mean of the bias norm to match
    states: list[np.ndarray] = field(default_factory=list)  # the state injected at each step so far
    rows: list[list[str]] = field(default_factory=list)

    def modules(self) -> dict[str, nn.Module | None]:
        """The models by the name that stands before their weights in files."""
        return {"gpt": self.gpt, "self_state": self.self_state, "constant_bias": self.constant_bias}

    def scale(self, step: int) -> float:
        """What the reader's bias is multiplied by at a step: 1 unless its norm is matched to another run's."""
        if self.norm_target is None or self.norm_mean == 0:
            return 1.0
        return float(self.norm_target[step]) / self.norm_mean

    def follow_norm(self, step: int, norm: float) -> None:
        """Take the reader's own bias norm of a step into the running mean."""
        if self.norm_target is not None:
            share = max(1 / (step + 1), 1 - NORM_MOMENTUM)
            self.norm_mean += share * (norm - self.norm_mean)

    def acting_weights(self, step: int) -> dict[str, np.ndarray]:
        """The weights as they act after `step` steps: with the scale of a matched bias worked into the reader."""
        arrays = run_folder.models_arrays(self.modules())
        if self.norm_target is not None:
            name = "self_state.reader.weight"
            arrays[name] = (arrays[name] * self.scale(step - 1)).astype(np.float32)
        return arrays

    def tensors(self) -> dict[str, np.ndarray]:
        """All that must be saved to go on from here."""
        found = run_folder.models_arrays(self.modules())
        for index, entry in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{index}.{name}": tensor.cpu().numpy() for name, tensor in entry.items()}
        if self.stats is not None:
            found["stats"] = self.stats.cpu().numpy()
        if self.value is not None and self.state_average is not None:
            found |= {f"value.{name}": array for name, array in self.value.arrays().items()}
            found["state_average"] = self.state_average.cpu().numpy()
        if self.states:
            found["states"] = np.stack(self.states)
        if self.norm_target is not None:
            found["norm_mean"] = np.array([self.norm_mean])  # float64: the mean goes on bit for bit
        return found

    def restore(self, tensors: Mapping[str, np.ndarray], metrics: str = "") -> None:
        """Go back to where `tensors` and the log `metrics` (CSV) were saved. UserError where they do not fit the config."""
        device = next(self.gpt.parameters()).device
        run_folder.set_weights(self.modules(), tensors)
        lacking = {"stats", *(() if self.value is None else ("value.state", "state_average"))} - set(tensors)
        if lacking:
            raise UserError(
                f"a checkpoint lacks {sorted(lacking)[0]}; it is of another version or another run"
            )
        saved = self.optimizer.state_dict()
        for name, array in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                saved["state"].setdefault(int(index), {})[key] = torch.from_numpy(np.array(array))
        self.optimizer.load_state_dict(saved)
        self.stats = torch.from_numpy(np.array(tensors["stats"])).to(device)
        if self.value is not None:
            arrays = {name.removeprefix("value."): array for name, array in tensors.items()}
            self.value = StateValue.from_arrays(arrays, device)
            self.state_average = torch.from_numpy(np.array(tensors["state_average"])).to(device)
        self.states = list(tensors.get("states", ()))
        self.norm_mean = float(np.ravel(tensors.get("norm_mean", 0.0))[0])
        self.rows = list(csv.reader(io.StringIO(metrics)))[1:]

    def metrics(self) -> str:
        """The log so far, as CSV."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([list(METRICS), *self.rows])
        return text.getvalue()


def start(
    run: RunConfig, vocab_size: int, device: torch.device, inputs: Mapping[str, Path] | None = None
) -> Training:
    """A run before its first step. The GPT's weights depend on the seed alone, whatever the condition.

    inputs: folders of the finished runs that `run.references()` names.
    """
    inputs = inputs or {}
    gpt = GPT(run.model, vocab_size)
    gpt.initialise(generator(run.seed, Stream.INIT))
    gpt.to(device)
    self_state = constant = None
    if run.self_state.enabled:
        self_state = SelfState(run.self_state, run.model.n_embd)
        self_state.initialise(generator(run.seed, Stream.STATE_INIT))
        self_state.to(device)
    if not isinstance(run.constant_bias, NoBias):
        constant = ConstantBias(run.constant_bias, run.model.n_embd)
        if isinstance(run.constant_bias, FixedBias):
            norms = bias_norms(inputs["norm"])
            constant.draw(run.seed, run.constant_bias.factor * float(norms[-NORM_STEPS:].mean()))
        constant.to(device)
    value = self_state.initial() if self_state is not None else None
    average = value.state if value is not None else None
    optimizer = make_optimizer(run, gpt, self_state, constant)
    recorded = recorded_stats(run, inputs["stats"]) if "stats" in inputs else None
    now = Training(run, gpt, self_state, constant, optimizer, value, None, recorded, average)
    if self_state is not None and run.self_state.match_norm_of is not None:
        now.norm_target = running_mean(bias_norms(inputs["norm"]))
    if run.start is not None:
        name = run_folder.checkpoint_name(run.start.step)
        now.restore(storage.load_tensors(inputs["start"] / name))
        if now.value is not None:
            other = storage.load_tensors(inputs["other"] / name) if "other" in inputs else {}
            state = exchanged(run, now.value.state.cpu().numpy(), other.get("value.state"))
            now.value = replace(now.value, state=torch.from_numpy(state).to(device))
    return now


def exchanged(run: RunConfig, own: np.ndarray, other: np.ndarray | None) -> np.ndarray:
    """The state (dim,) float32 that a continued run begins with, by `start.state`. See config.Start."""
    assert run.start is not None
    kind = run.start.state
    if kind == "own":
        return own
    if kind == "zero":
        return np.zeros_like(own)
    if kind == "other":
        if other is None or other.shape != own.shape:
            raise UserError(f"the states of seeds {run.seed} and {partner(run.seed)} differ in size")
        return other
    direction = generator(run.seed, Stream.EXCHANGE).normal(size=own.shape)
    direction *= np.linalg.norm(own) / np.linalg.norm(direction)
    return (direction if kind == "random" else own + JITTER * direction).astype(np.float32)


def make_optimizer(
    run: RunConfig, gpt: GPT, self_state: SelfState | None, constant: ConstantBias | None
) -> torch.optim.Optimizer:
    """AdamW; weight decay on matrices and embeddings, on the self-state's only if its config says so."""
    decay: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for parameter in gpt.parameters():
        (decay if parameter.dim() >= 2 else plain).append(parameter)
    for parameter in self_state.parameters() if self_state is not None else ():
        (decay if parameter.dim() >= 2 and run.self_state.weight_decay else plain).append(parameter)
    plain += [
        parameter for parameter in (constant.parameters() if constant else ()) if parameter.requires_grad
    ]
    groups = [
        {"params": decay, "weight_decay": run.train.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    betas = (run.train.beta1, run.train.beta2)
    return torch.optim.AdamW(groups, lr=run.train.learning_rate, betas=betas, fused=True)


def bias_norms(folder: Path) -> np.ndarray:
    """The norm of the injected bias at each step of a finished run, (steps,). UserError for a run without bias."""
    with (folder / "metrics.csv").open() as file:
        cells = [row["bias_norm"] for row in csv.DictReader(file)]
    if not cells or not all(cells):
        raise UserError(f"{folder} is a run without bias; it has no norm to take over")
    return np.array([float(cell) for cell in cells])


def running_mean(values: np.ndarray) -> np.ndarray:
    """The running mean that `Training.follow_norm` keeps, at each of the steps, (steps,)."""
    found = np.empty_like(values)
    mean = 0.0
    for index, value in enumerate(values):
        mean += max(1 / (index + 1), 1 - NORM_MOMENTUM) * (value - mean)
        found[index] = mean
    return found


def format_cell(value: object) -> str:
    """A metric as its log holds it: nine digits, which give a float32 back exactly; empty if not measured."""
    if value is None:
        return ""
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def recorded_stats(run: RunConfig, folder: Path) -> np.ndarray:
    """What the self-state of a finished run was shown at each of this run's steps, (steps, 5) float32.

    NaN where it was shown nothing yet. Of a run without self-state, what one would have been shown. Shuffled, the rows
    that are there change places. UserError where the run ended before this one does, or was not shown its own.
    """
    source = run_folder.load_config(folder)
    own = source.self_state.senses if source.self_state.enabled else OwnStats()
    with (folder / "metrics.csv").open() as file:
        log = list(csv.DictReader(file))
    if not isinstance(own, OwnStats) or source.first or len(log) < run.last:
        raise UserError(f"{folder} has no statistics of its own for each of {run.last} steps; train it again")
    found = np.full((run.last, len(STATS)), np.nan, dtype=np.float32)
    for step in range(own.age, run.last):
        row = log[step - own.age]
        values = [float(row[name]) for name in STATS[:-1]] + [(step - own.age) / source.train.steps]
        regime = log[step]["regime"] if source.self_state.enabled else perturb.CALM
        found[step] = perturb.perturb_stats(regime, torch.tensor(values), source.regimes).numpy()
    senses = run.self_state.senses
    if isinstance(senses, RecordedStats) and senses.shuffled:
        seen = found[own.age :]
        found[own.age :] = seen[generator(run.seed, Stream.SHUFFLE).permutation(len(seen))]
    return found
