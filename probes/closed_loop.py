"""A finished run lives on with its weights frozen: fresh batches under a fresh schedule, its state fed by what it then measures.

Nothing learns. What the run's senses showed it while it trained they show it now: its own statistics of the batch before;
for a state that was shown another run's, those of other batches under another schedule; for shuffled ones, those of some
earlier step; the true regime; an ideal observer's belief.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import perturb
from base import storage
from base.rng import Stream, generator
from base.storage import UserError
from channels import Channels
from configs.run import RunConfig
from configs.state import STATS, Clock, FilterBelief, OwnStats, RecordedStats, TrueRegime
from data.process import Generated
from data.tokens import Tokens
from model import GPT
from runs import evaluate, observer
from runs import folder as run_folder
from runs.state import load_channels, load_models
from self_state import SelfState, StateValue, position_stats

AFRESH = 1 << 40  # added to a run's seed: batches, perturbations and schedule that no training has seen
SHADOW = 1 << 41  # the same, of a life that is not its own


@dataclass(frozen=True)
class Subject:
    """A finished run with the weights as they acted after its last step, and the state it ended with.

    value: None for a run without self-state. bias: (n_embd,) of a constant bias, else None. channels: that let the state
    into the layers, or None.
    """

    run: RunConfig
    gpt: GPT
    self_state: SelfState | None
    value: StateValue | None
    bias: Tensor | None
    channels: Channels | None = None

    def enter(self, state: Tensor | None) -> dict[str, Any]:
        """The model's arguments under a state (D,); None without any."""
        if self.self_state is None or state is None:
            return {"bias": self.bias}
        if self.channels is not None:
            return {"into": self.channels.into(state[None])}
        return {"bias": self.self_state.read(state)}

    def trained(self) -> list[nn.Parameter]:
        """All that a gradient of the loss reaches with the state as it is."""
        assert self.self_state is not None
        readers = [self.self_state.reader.weight] if self.channels is None else [*self.channels.parameters()]
        return [*self.gpt.parameters(), *readers]


@dataclass(frozen=True)
class Moment:
    """A step of such a life.

    x, y: (B, T) int64 as the regime lets them be seen. log_p: (B, T, V) float32 predictions. state: (D,) float32 or None.
    belief: (R,) of the ideal observer before this batch, in the order of `observer.regimes_of`; None for a text.
    stats: (5,) float32 measured on this batch.
    """

    step: int
    regime: str
    x: np.ndarray
    y: np.ndarray
    log_p: Tensor
    state: Tensor | None
    belief: np.ndarray | None
    stats: Tensor


def open_subject(folder: Path) -> Subject:
    """The run in a folder. UserError where it kept no checkpoint of its last step, which holds what its state carried."""
    run, gpt, self_state = load_models(folder, None, channels=True)
    bias = storage.load_tensors(folder / run_folder.weights_name(None)).get("constant_bias.vector")
    value = None
    if self_state is not None:
        path = folder / run_folder.checkpoint_name(run.last)
        if not path.is_file():
            raise UserError(
                f"{folder} kept no checkpoint of its last step; add {run.last} to log.keep_checkpoints"
            )
        saved = storage.load_tensors(path)
        value = StateValue.from_arrays({name.removeprefix("value."): array for name, array in saved.items()})
    constant = None if bias is None else torch.from_numpy(bias)
    return Subject(run, gpt, self_state, value, constant, load_channels(folder, run))


def living(subject: Subject, **world: object) -> RunConfig:
    """The config of a fresh life: the run's own with other fields where given, and a seed that nothing was trained with."""
    return subject.run.model_copy(update={"seed": subject.run.seed + AFRESH, **world})


Set = Callable[[int, str, Tensor], Tensor]
"""What is injected in place of the state: from the step, its regime and the state that was reached."""


def live(
    subject: Subject, tokens: Tokens, life: RunConfig, steps: int, set_state: Set | None = None
) -> Iterator[Moment]:
    """Live on for some steps of a life's schedule, closed loop.

    set_state: what stands in the state's place when the model predicts; the state that is carried on stays its own.
    """
    life = life.model_copy(update={"train": life.train.model_copy(update={"steps": steps})})
    regimes = perturb.regimes_by_step(life)
    watch = (
        Watch(life, tokens) if isinstance(tokens, Generated) and life.schedule.kind == "recurring" else None
    )
    shadow = life.model_copy(update={"seed": life.seed + SHADOW})
    elsewhere = perturb.regimes_by_step(shadow)
    value, past = subject.value, list[Tensor]()
    senses = subject.run.self_state.senses
    for step in range(steps):
        belief = watch.belief if watch is not None else None
        if subject.self_state is not None and value is not None:
            shown = _shown(
                senses, past, regimes[step], belief, life, step, 1 + step / subject.run.train.steps
            )
            if shown is not None:
                with torch.no_grad():
                    value, _ = subject.self_state.update(value, shown)
        state = None if value is None else value.state
        if set_state is not None and state is not None:
            state = set_state(step, regimes[step], state)
        x, y = evaluate.seen_batch(life, tokens, step, regimes[step])
        log_p, stats = measure(subject, state, x, y, life, step)
        if watch is not None:
            watch.see(x, y, step)
        if isinstance(senses, RecordedStats) and not senses.shuffled:
            other = evaluate.seen_batch(shadow, tokens, step, elsewhere[step])
            past.append(measure(subject, state, *other, shadow, step)[1])
        else:
            past.append(stats)
        yield Moment(step, regimes[step], x, y, log_p, state, belief, stats)


def _shown(
    senses: object,
    past: list[Tensor],
    regime: str,
    belief: np.ndarray | None,
    life: RunConfig,
    step: int,
    progress: float,
) -> Tensor | None:
    """The five numbers that the state is shown at a step, from those measured so far; None before there are any."""
    if isinstance(senses, TrueRegime):
        return torch.tensor([float(regime == name) for name in perturb.REGIMES])
    if isinstance(senses, Clock):
        return torch.tensor([progress if name == "progress" else 0.0 for name in STATS])
    if isinstance(senses, FilterBelief):
        assert belief is not None
        return torch.from_numpy(observer.as_stats(life, belief[None], perturb.REGIMES)[0])
    if isinstance(senses, RecordedStats) and senses.shuffled and past:
        return past[int(generator(life.seed, Stream.SHUFFLE, step).integers(len(past)))]
    age = senses.age if isinstance(senses, OwnStats) else 1
    return past[-age] if len(past) >= age else None


def measure(
    subject: Subject, state: Tensor | None, x: np.ndarray, y: np.ndarray, life: RunConfig, step: int
) -> tuple[Tensor, Tensor]:
    """Predictions on a batch under a state, (B, T, V) log-probabilities, and the five statistics (5,) of it.

    The gradient's norm is that of all that was trained, where the senses show it. Progress goes on beyond 1, as
    the clock does.
    """
    senses = subject.run.self_state.senses
    wants = subject.self_state is not None and isinstance(senses, OwnStats | RecordedStats)
    gradient = wants and (not isinstance(senses, OwnStats) or senses.tokens is None)
    tokens, targets = torch.from_numpy(x), torch.from_numpy(y)
    with torch.set_grad_enabled(gradient):
        log_p = F.log_softmax(subject.gpt(tokens, **subject.enter(state))[0], dim=-1)
        norm = 0.0
        if gradient:
            loss = F.nll_loss(log_p.flatten(0, 1), targets.flatten())
            norm = torch.linalg.vector_norm(
                torch.stack([one.norm() for one in torch.autograd.grad(loss, subject.trained())])
            ).item()
    log_p = log_p.detach()
    found = position_stats(log_p, targets)
    random = lambda: generator(life.seed, Stream.SENSES, step)  # noqa: E731
    row = evaluate.statistics(found, perturb.seen_positions(subject.run, found[0].numel(), random))
    return log_p, evaluate.told(
        subject.run, {**row, "grad_norm": norm, "progress": 1 + step / subject.run.train.steps}
    )


class Watch:
    """The ideal observer of a life on a process, which sees what the life's senses can see."""

    def __init__(self, life: RunConfig, tokens: Generated) -> None:
        self.life, self.tokens = life, tokens
        self.moves = observer.switching(life)
        self.belief = np.eye(len(self.moves))[0]

    def see(self, x: np.ndarray, y: np.ndarray, step: int) -> None:
        """Take a batch into account."""
        odds = self.tokens.odds(x).reshape(-1, self.tokens.vocab_size)
        x, y = x.ravel(), y.ravel()
        seen = perturb.seen_positions(
            self.life, len(x), lambda: generator(self.life.seed, Stream.SENSES, step)
        )
        if seen is not None:
            odds, x, y = odds[seen], x[seen], y[seen]
        self.belief = observer.revised(self.belief, observer.evidence(self.life, odds, x, y), self.moves)
