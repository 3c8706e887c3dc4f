"""Everything that a run has at a step boundary: made at its start, saved, restored, or taken over from another run."""

import csv
import functools
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from base import storage
from base.rng import Stream, generator
from base.storage import UserError
from channels import Channels
from configs.run import RunConfig, partner
from data import tokens as token_sources
from data.corpus import Corpus, folder_name
from data.tokenizers import Tokenizer, restore
from data.tokens import Tokens
from model import GPT
from runs import folder as run_folder
from runs import foreign
from runs.injection import Injection, Value, channels_of, injection_of
from runs.ranks import ALONE, Ranks
from self_state import SelfState

METRICS = (
    "step", "regime", "loss", "entropy", "top1", "entropy_last", "top1_last",
    "loss_seen", "entropy_seen", "top1_seen", "grad_norm", "progress", "lr",
    "state_norm", "state_drift", "state_ema_drift", "state_effect", "state_kl", "prompt_effect",
    "bias_norm", "mlp_norm", "memory_wanted", "memory_norm", "memory_cosine", "memory_share", "gate",
    "heldout_loss", "heldout_ece",
)  # fmt: skip
JITTER = 1e-3  # share of the state's norm that `jitter` changes it by


@dataclass
class Training:
    """A run at a step boundary. What `tensors` returns restores all of it that is not decided by the config."""

    run: RunConfig
    gpt: GPT
    injection: Injection
    optimizer: torch.optim.Optimizer
    value: Value  # what the injection carries on
    stats: Tensor | None = None  # (k, 5) of the last batches, the newest last; None before the first step
    states: list[np.ndarray] = field(default_factory=list)  # the state injected at each step so far
    rows: list[list[str]] = field(default_factory=list)  # of the log, in METRICS order
    ranks: Ranks = ALONE  # the processes that train it together

    @functools.cached_property
    def parameters(self) -> list[nn.Parameter]:
        """All that is trained."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    @functools.cached_property
    def forward(self) -> Callable[..., tuple[Tensor, Tensor | None]]:
        """The GPT as a training step calls it: compiled, if its config says so."""
        return compiled(self.gpt) if self.run.train.compile else self.gpt

    def modules(self) -> dict[str, nn.Module]:
        """The models by the name that stands before their weights in files."""
        return {"gpt": self.gpt, **self.injection.modules}

    def log(self, row: Mapping[str, Any]) -> None:
        """Keep what a step measured: its state, its metrics. Nine digits give a float32 back; empty: not measured."""
        if "state" in row:
            self.states.append(row["state"])
        cells = (row.get(name, "") for name in METRICS)
        self.rows.append([f"{cell:.9g}" if isinstance(cell, float) else str(cell) for cell in cells])

    def metrics(self) -> str:
        """The log so far, as CSV."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([list(METRICS), *self.rows])
        return text.getvalue()

    def acting_weights(self, step: int) -> dict[str, np.ndarray]:
        """The weights as they act after `step` steps."""
        return self.injection.acting_weights(models_arrays(self.modules()), self.value, step - 1)

    def tensors(self) -> dict[str, np.ndarray]:
        """All that must be saved to go on from here, beside the log."""
        found = models_arrays(self.modules()) | self.value.arrays()
        for index, entry in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{index}.{name}": tensor.cpu().numpy() for name, tensor in entry.items()}
        if self.stats is not None:
            found["stats"] = self.stats.cpu().numpy()
        if self.states:
            found["states"] = np.stack(self.states)
        return found

    def restore(self, tensors: Mapping[str, np.ndarray], metrics: str = "") -> None:
        """Go back to where `tensors` and the log `metrics` (CSV) were saved. UserError where they do not fit the config."""
        device = next(self.gpt.parameters()).device
        set_weights(self.modules(), tensors)
        saved = self.optimizer.state_dict()
        for name, array in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                saved["state"].setdefault(int(index), {})[key] = torch.from_numpy(np.array(array))
        self.optimizer.load_state_dict(saved)
        try:
            self.stats = torch.from_numpy(np.array(tensors["stats"])).to(device)
            self.value = self.value.from_arrays(tensors, device)
        except KeyError as error:
            raise UserError(
                f"a checkpoint lacks {error.args[0]}; it is of another version or another run"
            ) from None
        self.states = list(tensors.get("states", ()))
        self.rows = list(csv.reader(io.StringIO(metrics)))[1:]


def start(
    run: RunConfig, tokens: Tokens, device: torch.device, inputs: Mapping[str, Path] | None = None
) -> Training:
    """A run before its first step. The GPT's weights depend on the seed alone, or on the file of weights, whatever the condition.

    inputs: folders of the finished runs that `run.references()` names.
    """
    inputs = inputs or {}
    gpt = GPT(run.model, tokens.vocab_size)
    if run.model.weights is None:
        gpt.initialise(generator(run.seed, Stream.INIT))
    else:
        shapes = {name: tuple(parameter.shape) for name, parameter in gpt.named_parameters()}
        given = foreign.gpt2(Path(run.model.weights), shapes)
        set_weights({"gpt": gpt}, {f"gpt.{name}": array for name, array in given.items()})
    gpt.to(device)
    injection = injection_of(run, tokens, device, inputs)
    optimizer = make_optimizer(run, {"gpt": gpt, **injection.modules})
    now = Training(run, gpt, injection, optimizer, injection.initial())
    if run.start is not None:
        name = run_folder.checkpoint_name(run.start.step)
        saved = storage.load_tensors(inputs["start"] / name)
        now.restore(saved)
        if run.start.state != "own":
            other = storage.load_tensors(inputs["other"] / name) if "other" in inputs else {}
            saved["value.state"] = exchanged(run, saved["value.state"], other.get("value.state"))
            now.value = now.value.from_arrays(saved, device)
            if "stats" in other:  # the last statistics go with the state, as published
                now.stats = torch.from_numpy(np.array(other["stats"])).to(device)
    return now


def compiled(gpt: GPT) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """The GPT's forward as code that torch.compile makes of it at its first call. UserError then where it can't."""
    from torch._dynamo.exc import TorchDynamoException  # takes seconds to load

    made = torch.compile(gpt)

    def forward(*given: Any, **more: Any) -> tuple[Tensor, Tensor | None]:
        try:
            return made(*given, **more)
        except TorchDynamoException as error:
            raise UserError(
                "train.compile = true needs a C++ compiler (for a GPU: Triton) that works; install one, or set "
                f"train.compile = false ({str(error).partition('Set TORCH')[0].strip()})"
            ) from None

    return forward


def exchanged(run: RunConfig, own: np.ndarray, other: np.ndarray | None) -> np.ndarray:
    """The state (dim,) float32 that a continued run begins with, by `start.state`. See configs.run.Start."""
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


def make_optimizer(run: RunConfig, modules: Mapping[str, nn.Module]) -> torch.optim.Optimizer:
    """AdamW; weight decay on matrices and embeddings, on those beside the GPT only if the self-state's config says so."""
    decay: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, module in modules.items():
        for parameter in module.parameters():
            decays = parameter.dim() >= 2 and (name == "gpt" or run.self_state.weight_decay)
            if parameter.requires_grad:
                (decay if decays else plain).append(parameter)
    groups = [
        {"params": decay, "weight_decay": run.train.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    betas = (run.train.beta1, run.train.beta2)
    return torch.optim.AdamW(groups, lr=run.train.learning_rate, betas=betas, fused=True)


def models_arrays(modules: Mapping[str, nn.Module]) -> dict[str, np.ndarray]:
    """All weights as named arrays, each module's name ("gpt", "self_state", "constant_bias") and a dot in front."""
    parameters = nn.ModuleDict(modules).named_parameters()
    return {name: parameter.detach().cpu().numpy() for name, parameter in parameters}


def set_weights(modules: Mapping[str, nn.Module], arrays: Mapping[str, np.ndarray]) -> None:
    """Copy named arrays into the models. UserError where a name or a shape does not fit."""
    check_weights(modules, arrays)
    with torch.no_grad():
        for name, parameter in nn.ModuleDict(modules).named_parameters():
            parameter.copy_(torch.from_numpy(np.array(arrays[name])))


def check_weights(modules: Mapping[str, nn.Module], arrays: Mapping[str, np.ndarray]) -> None:
    """UserError where a name, a shape or a type of named arrays does not fit the models."""
    for name, parameter in nn.ModuleDict(modules).named_parameters():
        array = arrays.get(name)
        if array is None or array.shape != tuple(parameter.shape) or array.dtype.kind != "f":
            raise UserError(f"weights do not fit the config at {name}; they are of another run")


def load_models(
    folder: Path, step: int | None = None, channels: bool = False
) -> tuple[RunConfig, GPT, SelfState | None]:
    """A run's config and its models, in eval mode, with the weights after `step` steps (None: the last).

    channels: whether the caller lets the states of a run with channels in, by `load_channels`.

    Raises:
        UserError: the folder is not a whole run, the weights of that step were not kept (it says which were), or it has
            channels that would be left out.
    """
    record = run_folder.check(folder)
    run = run_folder.load_config(folder)
    if run.channels is not None and not channels:
        raise UserError(f"{folder} carries states through channels, which this would leave out")
    name = run_folder.weights_name(None if step in (None, run.last) else step)
    if name not in record["files"]:
        kept = ", ".join(str(kept) for kept in sorted({*run.log.keep_steps, run.last}))
        raise UserError(f"{folder} kept no weights of step {step}; it has those of {kept}")
    arrays = storage.load_tensors(folder / name)
    tokens = arrays.get("gpt.tokens.weight", np.empty((0, 0)))

    def made() -> tuple[GPT, dict[str, SelfState]]:
        own = {"self_state": SelfState(run.self_state, run.model.n_embd)} if run.self_state.enabled else {}
        return GPT(run.model, max(len(tokens), 2) - 1), own

    with torch.device("meta"):  # a config that asks for more than is there is refused before it gets memory
        gpt, own = made()
        check_weights({"gpt": gpt, **own}, arrays)
    gpt, own = made()
    set_weights({"gpt": gpt, **own}, arrays)
    gpt.eval()
    if own:
        _check_states(folder / "states.safetensors", run)
    return run, gpt, own.get("self_state")


def _check_states(path: Path, run: RunConfig) -> None:
    """UserError where the states of a run are not one of its size a step."""
    states = storage.load_tensors(path).get("state", np.empty(0))
    if states.shape != (run.last - run.first, run.self_state.dim) or states.dtype != np.float32:
        raise UserError(f"the states in {path} do not fit the config; delete {path.parent} and run again")


def load_channels(folder: Path, run: RunConfig, step: int | None = None) -> Channels | None:
    """The channels of a run after `step` steps (None: the last); None for a run without."""
    if run.channels is None:
        return None
    found = channels_of(run)
    set_weights(
        {"channels": found},
        storage.load_tensors(folder / run_folder.weights_name(None if step in (None, run.last) else step)),
    )
    return found


def constant_bias(folder: Path, step: int | None = None) -> np.ndarray | None:
    """The constant bias (n_embd,) of a run after `step` steps (None: the last); None for a run without."""
    return storage.load_tensors(folder / run_folder.weights_name(step)).get("constant_bias.vector")


def trained_corpus(folder: Path, run: RunConfig, data_dir: Path) -> Tokens:
    """The tokens that a finished run was trained on, read where the run's study has them, or else in `data_dir`.

    Nothing is written. UserError where they are not there, or what goes by their name is another text now.
    """
    own = folder.resolve().parent.parent / "data"
    there = (own / folder_name(run.corpus, run.tokenizer)).is_dir()
    corpus = token_sources.load(run, own if there else data_dir)
    check_corpus(folder, corpus)
    return corpus


def tokenizer_of(folder: Path, run: RunConfig, data_dir: Path) -> Tokenizer:
    """What makes tokens of text for a finished run: the run's own, or, where it kept none, that of its corpus.

    UserError for a run of a process, and as of `trained_corpus`.
    """
    if run.process is not None:
        raise UserError(f"{folder} was trained on a process, whose tokens are no text")
    if run_folder.VOCABULARY in run_folder.check(folder)["files"]:
        return restore(storage.read_json(folder / run_folder.VOCABULARY))
    corpus = trained_corpus(folder, run, data_dir)
    assert isinstance(corpus, Corpus)
    return corpus.tokenizer


def check_corpus(folder: Path, corpus: Tokens) -> None:
    """UserError where a finished run was trained on another corpus."""
    if storage.read_json(folder / "run.json")["data"] != corpus.tokens_sha256:
        raise UserError(
            f"{folder} was trained on another corpus than {corpus.name} as it stands; train it again"
        )
