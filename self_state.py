"""The self-state: statistics of the last batch in, a bias for the embeddings out.

Everything that changes from step to step is one value, `StateValue`, passed in and returned; the module holds
parameters only. One step is

    value, parts = self_state.update(value, stats)    # state <- (1 - decay) * detach(state) + decay * target(stats)
    bias = self_state.read(value.state)               # W @ state, added to the embeddings

so the loss of the step reaches the update network through this one update, and no further back.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

import memory
from base.rng import Stream, generator
from configs.state import STATS, FixedBias, LearnedBias
from configs.state import SelfState as SelfStateConfig
from memory import MemoryValue


@dataclass(frozen=True)
class StateValue:
    """All that the self-state carries from one step to the next; float32 unless said otherwise.

    state: (dim,). Carries gradient from the update that made it, until the next update detaches it.
    mean, variance: (5,) running moments of the raw statistics, in STATS order. Unused unless standardising.
    count: () number of statistics seen.
    memory: what it remembers of past states; None without memory.
    """

    state: Tensor
    mean: Tensor
    variance: Tensor
    count: Tensor
    memory: MemoryValue | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """The value as named NumPy arrays, to be saved."""
        tensors = {name: getattr(self, name) for name in ("state", "mean", "variance", "count")}
        if self.memory is not None:
            tensors |= {"memory.past": self.memory.past, "memory.count": self.memory.count}
        return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], device: torch.device | str = "cpu"
    ) -> "StateValue":
        """The value whose `arrays()` were saved."""

        def tensor(name: str) -> Tensor:
            return torch.from_numpy(np.array(arrays[name])).to(device)

        held = MemoryValue(tensor("memory.past"), tensor("memory.count")) if "memory.past" in arrays else None
        return cls(tensor("state"), tensor("mean"), tensor("variance"), tensor("count"), held)


@dataclass(frozen=True)
class Parts:
    """What one update was made of, all detached: state <- (1 - decay) state + decay ((1 - gate) target + gate memory).

    target: (dim,) what the update network proposes.
    wanted: (dim,) what the memory proposes, before it was limited. memory: (dim,) after.
    gate: () in [0, 1], zero while nothing is recalled. wanted, memory and gate are None without memory.
    """

    target: Tensor
    wanted: Tensor | None = None
    memory: Tensor | None = None
    gate: Tensor | None = None


def position_stats(log_p: Tensor, targets: Tensor) -> Tensor:
    """What a batch says of the model at each position: loss, entropy and top-1 probability. Their means are statistics.

    Args:
        log_p: (B, T, V) float32 log-probabilities. No gradient flows.
        targets: (B, T) int64; below zero where nothing is scored.

    Returns:
        (3, B, T) float32: -log p of the target and -sum p log p, in nats; the largest p, in [0, 1]. NaN where nothing is scored.
    """
    with torch.no_grad():
        loss = -log_p.gather(-1, targets.clamp_min(0)[..., None])[..., 0]
        p = log_p.exp()
        found = torch.stack([loss, -(p * log_p).sum(-1), p.amax(-1)])
        return found.masked_fill(targets < 0, torch.nan)


class SelfState(nn.Module):
    """The learned parts: a network that proposes an update from statistics, and the reader.

    Targets, from the (standardised) statistics s (5,), with a memory followed by its features (see memory.Recall):
        mlp      W2 f(W1 s + b1) + b2, where f is gelu or tanh
        linear   W s + b
        gru      the new state of a GRU cell with input s and the detached state as its hidden state
                 (Cho et al., 2014); with decay 1 this is a plain GRU.

    With a memory, that target is mixed by a learned gate with what the memory proposes.
    """

    def __init__(self, settings: SelfStateConfig, n_embd: int) -> None:
        super().__init__()
        self.settings = settings
        dim, remembers = settings.dim, settings.memory
        inputs, hidden = len(STATS), settings.hidden
        self.recall: memory.Recall | None = None
        if remembers.kind != "none":
            inputs += 2 + remembers.features
            self.recall = memory.Recall(remembers, dim, hidden)
        self.network: nn.Module
        if settings.update == "mlp":
            middle = nn.GELU() if settings.activation == "gelu" else nn.Tanh()
            self.network = nn.Sequential(nn.Linear(inputs, hidden), middle, nn.Linear(hidden, dim))
        elif settings.update == "linear":
            self.network = nn.Linear(inputs, dim)
        else:
            self.network = nn.GRUCell(inputs, dim)
        self.reader = nn.Linear(dim, n_embd, bias=False)

    def initial(self) -> StateValue:
        """The value before the first step: zero state, no statistics seen, nothing remembered."""
        device = self.reader.weight.device
        zeros = torch.zeros(len(STATS), device=device)
        state = torch.zeros(self.settings.dim, device=device)
        remembers = self.settings.memory
        empty = None if remembers.kind == "none" else memory.initial(remembers, self.settings.dim, device)
        return StateValue(state, zeros, zeros.clone(), torch.zeros((), device=device), empty)

    def update(self, value: StateValue, stats: Tensor, hold: bool = False) -> tuple[StateValue, Parts | None]:
        """The value after seeing one batch's statistics.

        Args:
            value: the value of the step before.
            stats: (5,) float32 raw statistics of the previous batch, in STATS order. No gradient.
            hold: leave the state as it is (the regime self_clamp, mode freeze); moments and memory still move.

        Returns:
            A new value, and what it was made of (None if held). Its state carries gradient to the update network and
            to what listens to the memory only: the detach that cuts the past off stands here and nowhere else.
        """
        past = value.state.detach()
        value = self._with_moments(value, stats)
        if value.memory is not None:
            value = replace(value, memory=memory.remember(self.settings.memory, value.memory, past))
        if hold:
            return replace(value, state=past), None
        seen = self._standardised(value, stats) if self.settings.standardise else stats
        if self.recall is not None and value.memory is not None:
            target, parts = self._mixed(self.recall, value.memory, seen, past)
        else:
            target = self.network(seen, past) if self.settings.update == "gru" else self.network(seen)
            parts = Parts(target.detach())
        decay = self.settings.decay
        return replace(value, state=(1 - decay) * past + decay * target), parts

    def _mixed(
        self, recall: memory.Recall, held: MemoryValue, seen: Tensor, past: Tensor
    ) -> tuple[Tensor, Parts]:
        """The network's target mixed with what the memory proposes. Where it proposes nothing the gate is zero."""
        assert isinstance(self.network, nn.Sequential)
        recalled = memory.recall(self.settings.memory, held, past)
        way = torch.zeros_like(past) if recalled is None else recalled - past
        features = (
            recall.features(past, way)
            if recalled is not None
            else past.new_zeros(2 + recall.settings.features)
        )
        hidden = self.network[:2](torch.cat([seen, features]))
        target = self.network[2](hidden)
        wanted = recall.propose(way)
        proposal = recall.limited(wanted, target)
        gate = recall.weight(hidden) if wanted.norm() >= memory.NOTHING else past.new_zeros(())
        parts = Parts(target.detach(), wanted.detach(), proposal.detach(), gate.detach())
        return (1 - gate) * target + gate * proposal, parts

    def read(self, state: Tensor) -> Tensor:
        """The embedding bias (n_embd,) of a state (dim,): W @ state. Zero for a zero state, exactly."""
        return self.reader(state)

    def _with_moments(self, value: StateValue, stats: Tensor) -> StateValue:
        """Running mean and variance, equal weights until there are enough for the exponential ones."""
        count = value.count + 1
        share = torch.clamp(1 / count, min=1 - self.settings.stat_momentum)
        difference = stats - value.mean
        mean = value.mean + share * difference
        variance = (1 - share) * (value.variance + share * difference**2)
        return replace(value, mean=mean, variance=variance, count=count)

    def _standardised(self, value: StateValue, stats: Tensor) -> Tensor:
        scaled = (stats - value.mean) / torch.sqrt(value.variance + 1e-12)
        return scaled.clamp(-self.settings.stat_clip, self.settings.stat_clip)

    def initialise(self, random: np.random.Generator) -> None:
        """Set every weight from `random`.

        The reader is N(0, 0.02) always, as all that enters the embeddings. The update network is N(0, 0.02) with
        zero biases under init "small" (as published), and U(+-1/sqrt(inputs)) under "default" (PyTorch's
        own default for linear layers; for a GRU cell the inputs are the state's dimensions).
        """
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                shape = tuple(parameter.shape)
                if self.settings.init == "small" or name == "reader.weight":
                    values = random.normal(0.0, 0.02, shape) if parameter.dim() == 2 else np.zeros(shape)
                else:
                    limit = 1 / math.sqrt(self._inputs(name))
                    values = random.uniform(-limit, limit, shape)
                parameter.copy_(torch.from_numpy(values.astype(np.float32)))

    def _inputs(self, name: str) -> int:
        """Number of inputs of the layer that a parameter of the update network or the gate belongs to."""
        if self.settings.update == "gru" and name.startswith("network."):
            return self.settings.dim
        layer = self.get_submodule(name.rsplit(".", 1)[0])
        assert isinstance(layer, nn.Linear)
        return layer.in_features


class ConstantBias(nn.Module):
    """One vector (n_embd,), float32, added to the embeddings at every step.

    Learned: zero at first, trained like a norm's weights, without weight decay. Fixed: a Gaussian direction drawn from
    the seed at a given L2 norm, never trained.
    """

    def __init__(self, settings: FixedBias | LearnedBias, n_embd: int) -> None:
        super().__init__()
        learned = settings.kind == "learned"
        self.vector = nn.Parameter(torch.zeros(n_embd), requires_grad=learned)

    def forward(self) -> Tensor:
        return self.vector

    def draw(self, seed: int, norm: float) -> None:
        """Take the seed's direction at an L2 norm."""
        direction = generator(seed, Stream.CONSTANT_BIAS).normal(size=tuple(self.vector.shape))
        direction *= norm / np.linalg.norm(direction)
        with torch.no_grad():
            self.vector.copy_(torch.from_numpy(direction.astype(np.float32)))
