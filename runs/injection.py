"""What a run injects into its model: nothing, a constant bias, what its self-state reads out, or states through gates into
the layers. One interface for all.

    value, injected = injection.inject(value, step, regime, stats)
    logits, _ = gpt(tokens, **injection.enter(injected, states))

An injection holds parameters and what was settled before its run began. All that changes from step to step is the value,
passed in and returned; its `arrays` and `from_arrays` save it whole.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import perturb
from base.rng import Stream, generator
from channels import Channels
from configs.row_kinds import DIMENSIONS
from configs.rows import Channels as ChannelSettings
from configs.run import RunConfig
from configs.state import FilterBelief, FixedBias, NoBias
from data.process import Generated
from data.tokens import Tokens
from runs import observer
from runs.taken_over import bias_norms, first_state, follow, recorded_stats, running_mean
from self_state import ConstantBias, Parts, SelfState, StateValue

EMA_MOMENTUM = 0.99  # of the state's average behind state_ema_drift
NORM_STEPS = 100  # last steps of a run whose mean bias norm a fixed bias takes


@dataclass(frozen=True, kw_only=True)
class Value:
    """All that an injection carries from one step to the next.

    norm: running mean of the norm of its own bias, where that is matched to another run's; else 0.
    """

    norm: float = 0.0

    def arrays(self) -> dict[str, np.ndarray]:
        """The value as named arrays, to be saved."""
        return (
            {"norm_mean": np.array([self.norm])} if self.norm else {}
        )  # float64: the mean goes on bit for bit

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], device: torch.device) -> Self:
        """The value whose `arrays()` are among these. KeyError where one lacks."""
        return cls(norm=arrays.get("norm_mean", np.zeros(1)).item())

    def measured(self, before: "Value") -> dict[str, Any]:
        """What is logged of the step from the value `before` to this one: metrics, and "state" if there is one."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Sensed(Value):
    """What the injection of a self-state carries.

    state: the self-state's own value.
    average: (dim,) float32, EMA of its states. No gradient.
    parts: what the last update was made of, for the log alone and not saved; None without an update.
    """

    state: StateValue
    average: Tensor
    parts: Parts | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        found = {f"value.{name}": array for name, array in self.state.arrays().items()}
        return found | {"state_average": self.average.cpu().numpy()} | super().arrays()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], device: torch.device) -> Self:
        own = {name.removeprefix("value."): array for name, array in arrays.items()}
        average = torch.from_numpy(np.array(arrays["state_average"])).to(device)
        norm = Value.from_arrays(arrays, device).norm
        return cls(state=StateValue.from_arrays(own, device), average=average, norm=norm)

    def measured(self, before: Value) -> dict[str, Any]:
        assert isinstance(before, Sensed)
        state = self.state.state.detach()
        found = {
            "state": state.cpu().numpy().copy(),
            "state_norm": state.norm().item(),
            "state_drift": (state - before.state.state.detach()).norm().item(),
            "state_ema_drift": 1 - F.cosine_similarity(state, self.average, dim=0).item(),
        }
        if self.parts is None:
            return found
        target, wanted, memory = self.parts.target, self.parts.wanted, self.parts.memory
        found["mlp_norm"] = network = target.norm().item()
        if wanted is not None and memory is not None and self.parts.gate is not None:
            size, gate = memory.norm().item(), self.parts.gate.item()
            found |= {"memory_wanted": wanted.norm().item(), "memory_norm": size, "gate": gate}
            found["memory_cosine"] = F.cosine_similarity(target, wanted, dim=0).item()
            heard, rest = gate * size, (1 - gate) * network
            found["memory_share"] = heard / (heard + rest) if heard + rest > 0 else 0.0
        return found


class Injection:
    """Injects nothing; the others override what they do otherwise.

    modules: what is trained beside the GPT, by the name that stands before its weights in files.
    """

    def __init__(
        self, run: RunConfig, tokens: Tokens, device: torch.device, inputs: Mapping[str, Path]
    ) -> None:
        """As at a run's first step. inputs: folders of the finished runs that `run.references()` names."""
        self.run = run
        self.modules: dict[str, nn.Module] = {}

    def inject(
        self, value: Value, step: int, regime: str, stats: Tensor | None
    ) -> tuple[Value, Tensor | None]:
        """The value of a step, from that of the step before, and the bias that it gives.

        Args:
            regime: the one that acts on this step.
            stats: (k, 5) float32 statistics of the last batches, the newest last; None before the first is done.

        Returns:
            A new value, and the embedding bias (n_embd,) or None; with a channel of its own, the self-state (dim,) in the
            bias's place. It carries gradient to what made it in this step.
        """
        value = self.update(value, step, regime, stats)
        return value, self.read(value, step)

    def enter(self, injected: Tensor | None, states: Tensor | None) -> dict[str, Any]:
        """The model's arguments for what was injected and for the states (B, D) float32 of its sequences, None without any."""
        return {"bias": injected}

    def initial(self) -> Value:
        """The value before the first step."""
        return Value()

    def update(self, value: Value, step: int, regime: str, stats: Tensor | None) -> Value:
        """The first half of `inject`."""
        return value

    def read(self, value: Value, step: int) -> Tensor | None:
        """The second half of `inject`: the bias of the value of a step, by the weights as they are now."""
        return None

    def acting_weights(
        self, weights: dict[str, np.ndarray], value: Value, step: int
    ) -> dict[str, np.ndarray]:
        """The run's weights after a step, such that the reader times a state is what was injected."""
        return weights


class ConstantInjection(Injection):
    """A vector that senses nothing: learned, or of a fixed direction at another run's norm."""

    def __init__(
        self, run: RunConfig, tokens: Tokens, device: torch.device, inputs: Mapping[str, Path]
    ) -> None:
        super().__init__(run, tokens, device, inputs)
        settings = run.constant_bias
        assert not isinstance(settings, NoBias)
        self.bias = ConstantBias(settings, run.model.n_embd)
        if isinstance(settings, FixedBias):
            norms = bias_norms(inputs["norm"])
            self.bias.draw(run.seed, settings.factor * float(norms[-NORM_STEPS:].mean()))
        self.modules = {"constant_bias": self.bias.to(device)}

    def read(self, value: Value, step: int) -> Tensor:
        return self.bias()


class StateInjection(Injection):
    """What a self-state reads out, once it was shown what its senses show it, as the regime allows."""

    def __init__(
        self, run: RunConfig, tokens: Tokens, device: torch.device, inputs: Mapping[str, Path]
    ) -> None:
        super().__init__(run, tokens, device, inputs)
        self.self_state = SelfState(run.self_state, run.model.n_embd)
        self.self_state.initialise(generator(run.seed, Stream.STATE_INIT))
        self.modules = {"self_state": self.self_state.to(device)}
        self.recorded = recorded_stats(run, inputs["stats"]) if "stats" in inputs else None
        if isinstance(run.self_state.senses, FilterBelief):
            assert isinstance(tokens, Generated)
            self.recorded = observer.as_stats(run, observer.beliefs(run, tokens), perturb.REGIMES)
        self.first = first_state(run, inputs["first"]) if "first" in inputs else None

    def initial(self) -> Value:
        value = self.self_state.initial()
        if self.first is not None:
            value = replace(value, state=self.first.to(value.state.device))
        return Sensed(state=value, average=value.state)

    def update(self, value: Value, step: int, regime: str, stats: Tensor | None) -> Value:
        assert isinstance(value, Sensed)
        state, parts = value.state, None
        shown = perturb.shown(self.run, step, regime, stats, self.recorded)
        if shown is not None:
            random = functools.partial(generator, self.run.seed, Stream.PERTURB, step)
            shown = shown.to(state.state.device)
            state, parts = perturb.update_state(
                regime, self.self_state, state, shown, self.run.regimes, random
            )
        average = EMA_MOMENTUM * value.average + (1 - EMA_MOMENTUM) * state.state.detach()
        return replace(value, state=state, average=average, parts=parts)

    def read(self, value: Value, step: int) -> Tensor:
        assert isinstance(value, Sensed)
        return self.self_state.read(value.state.state)


class ChannelInjection(Injection):
    """States through gates: those of the rows, and the self-state where it has a channel."""

    def __init__(
        self, run: RunConfig, tokens: Tokens, device: torch.device, inputs: Mapping[str, Path]
    ) -> None:
        super().__init__(run, tokens, device, inputs)
        assert run.channels is not None
        self.settings = run.channels
        self.inner = (StateInjection if run.self_state.enabled else Injection)(run, tokens, device, inputs)
        self.channels = channels_of(run)
        self.channels.initialise(generator(run.seed, Stream.STATE_INIT, 1))
        self.modules = {**self.inner.modules, "channels": self.channels.to(device)}

    def initial(self) -> Value:
        return self.inner.initial()

    def update(self, value: Value, step: int, regime: str, stats: Tensor | None) -> Value:
        return self.inner.update(value, step, regime, stats)

    def read(self, value: Value, step: int) -> Tensor | None:
        return value.state.state if isinstance(value, Sensed) else None

    def enter(self, injected: Tensor | None, states: Tensor | None) -> dict[str, Any]:
        if states is not None and self.settings.given == "shuffled":
            states = states.roll(1, 0)
        return {"into": self.channels.into(vectors(self.settings, injected, states))}


class MatchedInjection(Injection):
    """What another injection gives, scaled so that the running mean of its norm is another run's at each step."""

    def __init__(self, inner: Injection, folder: Path) -> None:
        self.run, self.inner, self.modules = inner.run, inner, inner.modules
        self.target = running_mean(bias_norms(folder))

    def initial(self) -> Value:
        return self.inner.initial()

    def update(self, value: Value, step: int, regime: str, stats: Tensor | None) -> Value:
        value = self.inner.update(value, step, regime, stats)
        bias = self.inner.read(value, step)
        assert bias is not None
        return replace(value, norm=follow(value.norm, step, bias.detach().norm().item()))

    def read(self, value: Value, step: int) -> Tensor | None:
        bias = self.inner.read(value, step)
        assert bias is not None
        return bias * self.scale(value, step)

    def scale(self, value: Value, step: int) -> float:
        """What the own bias is multiplied by at a step; 1 while it was zero always."""
        return float(self.target[step]) / value.norm if value.norm else 1.0

    def acting_weights(
        self, weights: dict[str, np.ndarray], value: Value, step: int
    ) -> dict[str, np.ndarray]:
        name = "self_state.reader.weight" if "self_state" in self.modules else "constant_bias.vector"
        return {**weights, name: (weights[name] * self.scale(value, step)).astype(np.float32)}


class EndingInjection(Injection):
    """What another injection gives until a step, and nothing from then on: its value stays as it is."""

    def __init__(self, inner: Injection, until: int) -> None:
        self.run, self.inner, self.modules, self.until = inner.run, inner, inner.modules, until

    def initial(self) -> Value:
        return self.inner.initial()

    def update(self, value: Value, step: int, regime: str, stats: Tensor | None) -> Value:
        if step < self.until:
            return self.inner.update(value, step, regime, stats)
        return replace(value, parts=None) if isinstance(value, Sensed) else value

    def read(self, value: Value, step: int) -> Tensor | None:
        return self.inner.read(value, step) if step < self.until else None

    def acting_weights(
        self, weights: dict[str, np.ndarray], value: Value, step: int
    ) -> dict[str, np.ndarray]:
        return self.inner.acting_weights(weights, value, min(step, self.until - 1))


def injection_of(
    run: RunConfig, tokens: Tokens, device: torch.device, inputs: Mapping[str, Path]
) -> Injection:
    """The injection that a config asks for. UserError where an input does not fit this run."""
    kind = StateInjection if run.self_state.enabled else ConstantInjection if run.injects else Injection
    made = (ChannelInjection if run.channels is not None else kind)(run, tokens, device, inputs)
    if "matched" in inputs:
        made = MatchedInjection(made, inputs["matched"])
    return made if run.inject_until is None else EndingInjection(made, run.inject_until)


def channels_of(run: RunConfig) -> Channels:
    """The channels that a config asks for, as yet without weights."""
    assert run.channels is not None
    return Channels(run.channels, run.model, run.channels.dimensions(run.self_state.dim))


def vectors(settings: ChannelSettings, state: Tensor | None, states: Tensor | None) -> Tensor:
    """What the channels are given, in the order of their names: (B, D) of the states (B, D_all) of rows and a self-state
    (dim,), the same for all rows; (1, dim) where there are no rows."""
    parts: dict[str, Tensor] = {}
    if states is not None:
        parts |= dict(zip(DIMENSIONS, states.split([*DIMENSIONS.values()], 1), strict=True))
    if state is not None:
        parts["self"] = state.expand(1 if states is None else len(states), -1)
    return torch.cat([parts[name] for name in settings.names], dim=1)
