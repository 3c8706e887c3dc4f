"""The update network of a finished run in NumPy, what it was fed, and the state's path made again from both.

The run stores one set of weights, those after its last step, while the path it logged was made with weights that
were still being learned. So a replay with the stored weights shows what the finished network does with the statistics
of the whole run; how far that is from the logged path says how much of that path was the learning of the network.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import scipy

from base import storage
from base.rng import Stream, generator
from configs.run import RunConfig
from configs.state import STATS, SelfState, logged_as
from experiments.kit.followed import recalled
from experiments.kit.runs import Run

PREFIX = "self_state."


@dataclass(frozen=True)
class Network:
    """The update network and the reader; formulas as in self_state.SelfState, in float64.

    weights: by their names below `self_state.`, for example `network.0.weight`. activation: of an mlp's hidden units.
    """

    kind: str
    weights: Mapping[str, np.ndarray]
    activation: str = "gelu"

    def hidden(self, inputs: np.ndarray) -> np.ndarray:
        """f(W1 s + b1) of inputs (..., 5), or with a memory (..., 7 + features): (..., hidden). Only kind "mlp" has hidden units (KeyError else)."""
        before = inputs @ self.weights["network.0.weight"].T + self.weights["network.0.bias"]
        return np.tanh(before) if self.activation == "tanh" else gelu(before)

    def propose(self, inputs: np.ndarray, states: np.ndarray) -> np.ndarray:
        """The proposal (..., dim) for inputs (..., 5). Only kind "gru" looks at `states` (..., dim), those before."""
        w = self.weights
        if self.kind == "mlp":
            return self.hidden(inputs) @ w["network.2.weight"].T + w["network.2.bias"]
        if self.kind == "linear":
            return inputs @ w["network.weight"].T + w["network.bias"]
        fed = np.split(inputs @ w["network.weight_ih"].T + w["network.bias_ih"], 3, axis=-1)
        past = np.split(states @ w["network.weight_hh"].T + w["network.bias_hh"], 3, axis=-1)
        reset, keep = scipy.special.expit(fed[0] + past[0]), scipy.special.expit(fed[1] + past[1])
        return (1 - keep) * np.tanh(fed[2] + reset * past[2]) + keep * states

    def gate(self, inputs: np.ndarray) -> np.ndarray:
        """The gate (...) of a network with a memory, for inputs (..., 7 + features)."""
        before = self.hidden(inputs) @ self.weights["recall.gate.weight"].T + self.weights["recall.gate.bias"]
        return np.asarray(scipy.special.expit(before[..., 0]))

    def features(self, past: np.ndarray, found: np.ndarray) -> np.ndarray:
        """What a memory adds to the inputs, (n, 2 + features), as memory.Recall.features has it: of the states before
        (n, dim) and of what was recalled (n, dim). Zeros where nothing was (NaN)."""
        way = found - past
        sizes = np.maximum(np.linalg.norm(past, axis=1), 1e-8) * np.maximum(
            np.linalg.norm(found, axis=1), 1e-8
        )
        length, cosine = np.linalg.norm(way, axis=1), (past * found).sum(1) / sizes
        return np.nan_to_num(np.column_stack([length, cosine, way @ self.weights["recall.linear.weight"].T]))

    def read(self, states: np.ndarray) -> np.ndarray:
        """The embedding bias (..., n_embd) of states (..., dim)."""
        return states @ self.weights["reader.weight"].T


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + scipy.special.erf(x / np.sqrt(2)))


@dataclass(frozen=True)
class Replay:
    """A run taken apart, from its second step on: the first has no statistics of a batch before it.

    steps: (n,) int. inputs: (n, 5) float64, what the network was fed at these steps: the statistics of the step
    before, with what false_feedback adds, standardised where the run does so. regimes: (n,) str, at these steps.
    states: (n + 1, dim) float64, as logged; states[i] is the state before the update of steps[i], states[i + 1]
    the one after it. late: (n,) bool, after the warm-up of the learning rate.
    """

    run: Run
    network: Network
    steps: np.ndarray
    inputs: np.ndarray
    regimes: np.ndarray
    states: np.ndarray
    late: np.ndarray

    @property
    def held(self) -> np.ndarray:
        """(n,) bool: steps at which self_clamp keeps the state exactly as it is."""
        frozen = self.run.config.regimes.self_clamp.mode == "freeze"
        return (self.regimes == "self_clamp") & frozen

    def proposals(self) -> np.ndarray:
        """(n, dim): what the stored network proposes at each step, from the logged inputs and states."""
        return self.network.propose(self.inputs, self.states[:-1])

    def path(self, inputs: np.ndarray) -> np.ndarray:
        """The state after each update, (..., n, dim), with the stored weights and inputs (..., n, 5), from the state
        logged before the first. Regimes that act on the state act as they did."""
        settings = self.run.config.self_state
        past = np.broadcast_to(self.states[0], (*inputs.shape[:-2], self.states.shape[1]))
        made = np.empty((*inputs.shape[:-1], self.states.shape[1]))
        ahead = None if self.network.kind == "gru" else self.network.propose(inputs, past[..., None, :])
        for i, held in enumerate(self.held):
            if not held:
                proposal = (
                    self.network.propose(inputs[..., i, :], past) if ahead is None else ahead[..., i, :]
                )
                past = (1 - settings.decay) * past + settings.decay * proposal
                if self.regimes[i] == "self_clamp":
                    past = self._clamped(past, int(self.steps[i]))
            made[..., i, :] = past
        return made

    def _clamped(self, state: np.ndarray, step: int) -> np.ndarray:
        clamp = self.run.config.regimes.self_clamp
        if clamp.mode == "clamp":
            return np.clip(state, -clamp.limit, clamp.limit)
        if clamp.mode == "noise":
            noise = generator(self.run.seed, Stream.PERTURB, step).normal(
                0.0, clamp.std, size=state.shape[-1]
            )
            return state + noise
        return state * clamp.factor


def open_replay(run: Run) -> Replay | None:
    """A run taken apart; None without a self-state, and with a memory, whose part is not in the update network.

    Raises:
        storage.UserError: a file of the run is missing or not whole.
    """
    return _opened(run) if run.config.self_state.memory.kind == "none" else None


def open_listening(run: Run) -> Replay | None:
    """A run with a memory taken apart, its inputs (n, 7 + features); its `path` is none, for what is recalled hangs on it.

    None without a memory. UserError as in `open_replay`.
    """
    opened = _opened(run) if run.config.self_state.memory.kind != "none" else None
    if opened is None:
        return None
    found = recalled(opened.states, run.config.self_state)[1:]
    features = opened.network.features(opened.states[:-1], found)
    return replace(opened, inputs=np.column_stack([opened.inputs, features]))


def _opened(run: Run) -> Replay | None:
    settings, states = run.config.self_state, run.states()
    if not settings.enabled or states is None or len(states) < 2:
        return None
    log = run.metrics()
    tensors = storage.load_tensors(run.folder / "model.safetensors")
    weights = {
        name.removeprefix(PREFIX): array.astype(np.float64)
        for name, array in tensors.items()
        if name.startswith(PREFIX)
    }
    regimes = log["regime"].to_numpy(dtype=str)[1:]
    steps = log["step"].to_numpy()[1:]
    return Replay(
        run=run,
        network=Network(settings.update, weights, settings.activation),
        steps=steps,
        inputs=fed(log, run.config, settings.standardise),
        regimes=regimes,
        states=states.astype(np.float64),
        late=steps >= run.config.train.warmup_steps,
    )


def measured(log: pd.DataFrame, config: RunConfig) -> np.ndarray:
    """(steps, 5): what was measured at each step of a log, as a state of this config is shown it a step later; raw."""
    columns = [log[name] if name else np.zeros(len(log)) for name in logged_as(config.self_state.senses)]
    return np.stack(columns, axis=1).astype(float)


def fed(log: pd.DataFrame, config: RunConfig, standardise: bool = True) -> np.ndarray:
    """What an update network of this config is fed at each step of a log but the first, (steps - 1, 5).

    The statistics of the step before, with what false_feedback adds at this one.
    """
    feedback = [getattr(config.regimes.false_feedback, name) for name in STATS]
    acts = log["regime"].to_numpy(dtype=str)[1:] == "false_feedback"
    seen = measured(log, config)[:-1] + np.outer(acts, feedback)
    return standardised(seen, config.self_state) if standardise else seen


def standardised(seen: np.ndarray, settings: SelfState) -> np.ndarray:
    """Statistics (n, 5) through the running moments of self_state.SelfState, from the first on, and clipped.

    Equal weights until there are enough statistics for the exponential ones.
    """
    mean, variance = np.zeros(seen.shape[1]), np.zeros(seen.shape[1])
    made = np.empty_like(seen)
    for i, stats in enumerate(seen):
        share = max(1 / (i + 1), 1 - settings.stat_momentum)
        difference = stats - mean
        mean = mean + share * difference
        variance = (1 - share) * (variance + share * difference**2)
        made[i] = (stats - mean) / np.sqrt(variance + 1e-12)
    return made.clip(-settings.stat_clip, settings.stat_clip)


def untrained(settings: SelfState, seed: int, counter: int | None = None) -> Network:
    """An update network of kind "mlp" before training: the draws of SelfState.initialise, in its order.

    counter: of the ANALYSIS stream, for one that no run began with; by default the network is the run's own.
    """
    stream, place = (Stream.STATE_INIT, 0) if counter is None else (Stream.ANALYSIS, counter)
    random = generator(seed, stream, place)
    weights: dict[str, np.ndarray] = {}
    for layer, outputs, inputs in ((0, settings.hidden, len(STATS)), (2, settings.dim, settings.hidden)):
        shape, limit, small = (outputs, inputs), 1 / np.sqrt(inputs), settings.init == "small"
        weight = random.normal(0.0, 0.02, shape) if small else random.uniform(-limit, limit, shape)
        bias = np.zeros(outputs) if small else random.uniform(-limit, limit, outputs)
        weights |= {f"network.{layer}.weight": weight, f"network.{layer}.bias": bias}
    return Network("mlp", weights, settings.activation)
