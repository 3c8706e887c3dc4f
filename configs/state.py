"""The fields of what enters the embeddings: the self-state with its memory and senses, or a bias that never senses."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from configs.fields import Magnitude, Name, Positive, Probability, Strict

STATS = ("loss", "entropy", "top1", "grad_norm", "progress")  # what a self-state is shown, in this order


class NoMemory(Strict):
    kind: Literal["none"] = "none"


class Remembers(Strict):
    """How a memory is listened to. See memory.Recall."""

    scale: Positive = 10.0
    """the memory proposes so many times the way from the state to what is recalled"""
    limit: Positive | None = 1.0
    """norm of that proposal, at most so many times the update network's; None: no limit"""
    features: int = Field(default=8, ge=1, le=4096)
    """linear features of that way that the update network reads"""
    projection: bool = False
    """a square matrix on the proposal"""


class EmaMemory(Remembers):
    """Recalls the exponential moving average of past states."""

    kind: Literal["ema"]
    decay: Probability = 0.1
    """share of the newest state in the average"""


class BufferMemory(Remembers):
    """Recalls from a ring of past states by attention. See memory.py."""

    kind: Literal["buffer"]
    length: int = Field(default=64, ge=1, le=65536)
    """states held"""
    stride: int = Field(default=10, ge=1, le=1_000_000)
    """steps between two states held"""


Memory = Annotated[NoMemory | EmaMemory | BufferMemory, Field(discriminator="kind")]


class OwnStats(Strict):
    """What this run measured on its own batches."""

    kind: Literal["own"] = "own"
    age: int = Field(default=1, ge=1, le=100_000)
    """steps since it was measured; 1: on the previous batch"""
    positions: Literal["all", "last"] = "all"
    """of each sequence, where entropy and top-1 are measured"""
    tokens: int | None = Field(default=None, ge=1)
    """so many positions of a batch, drawn anew each step, are all it sees; None: the whole batch"""
    from_zero: bool = False
    """shown five zeros where nothing was measured yet; false: not updated there"""


class RecordedStats(Strict):
    """What the self-state of another, finished run was shown, step by step: a state that senses a life not its own."""

    kind: Literal["recorded"]
    condition: Name
    """of the run whose statistics were recorded"""
    seed: Literal["own", "partner"]
    """its seed; seeds 1 and 2, 3 and 4, ... are partners"""
    shuffled: bool = False
    """whole vectors in an order drawn from this run's seed"""


class Clock(Strict):
    """Progress alone; the other four numbers are zero."""

    kind: Literal["clock"]


class TrueRegime(Strict):
    """The regime of this very step, one number a regime, 1 where it acts: what no statistic can tell in time."""

    kind: Literal["regime"]


class FilterBelief(Strict):
    """The ideal observer's belief in the regime of this very step, from all batches before it. See runs/observer.py."""

    kind: Literal["filter"]


Senses = Annotated[OwnStats | RecordedStats | Clock | TrueRegime | FilterBelief, Field(discriminator="kind")]


def logged_as(senses: Senses) -> tuple[str, ...]:
    """The metrics of the log that a self-state with these senses is shown as STATS; "" where it is shown a zero.

    Where it sees only some positions of a batch the gradient's norm is left out: it is of the whole batch.
    """
    if not isinstance(senses, OwnStats):
        return STATS
    if senses.tokens is not None:
        return ("loss_seen", "entropy_seen", "top1_seen", "", "progress")
    last = senses.positions == "last"
    return tuple(f"{name}_last" if last and name in ("entropy", "top1") else name for name in STATS)


class ZeroStart(Strict):
    kind: Literal["zero"] = "zero"


class RandomStart(Strict):
    """A random direction drawn from the seed, at a share of the norm of another run's last state."""

    kind: Literal["random"]
    norm_of: Name
    """the condition whose run of the same seed gives the norm"""
    factor: Magnitude = 1.0
    """times that norm"""


FirstState = Annotated[ZeroStart | RandomStart, Field(discriminator="kind")]


class SelfState(Strict):
    """The self-state: read the statistics, update, inject. See self_state.py."""

    enabled: bool = True
    """false: a model without self-state, all else equal"""
    dim: int = Field(default=32, ge=1, le=4096)
    """numbers in the state"""
    decay: float = Field(default=0.2, ge=0, le=1)
    """share of the new proposal in each update, 0.2: 80 % old, 20 % new; 0: the state stays"""
    first: FirstState = ZeroStart()
    """the state before the first step"""
    senses: Senses = OwnStats()
    """what it is shown at each step: five numbers"""
    update: Literal["mlp", "gru", "linear"] = "mlp"
    """the network that makes a proposal of the statistics: mlp, gru or linear"""
    hidden: int = Field(default=64, ge=1, le=65536)
    """hidden units of the update MLP"""
    activation: Literal["gelu", "tanh"] = "gelu"
    """of the hidden units: gelu or tanh"""
    standardise: bool = False
    """read the statistics through running moments"""
    stat_momentum: float = Field(default=0.99, ge=0, lt=1)
    """momentum of the running moments that standardise statistics"""
    stat_clip: Positive = 4.0
    """standardised statistics are clipped at +- this many standard deviations"""
    init: Literal["small", "default"] = "small"
    """small: N(0, 0.02), zero biases; default: U(+-1/sqrt(inputs))"""
    weight_decay: bool = True
    """whether train.weight_decay acts on the self-state's matrices"""
    memory: Memory = NoMemory()
    """what it recalls of its own past states"""

    @model_validator(mode="after")
    def _hidden_units_for_the_gate(self) -> Self:
        if self.memory.kind != "none" and self.update != "mlp":
            raise ValueError(
                f'a memory with update = "{self.update}": its gate reads hidden units; set update = "mlp"'
            )
        return self


class NoBias(Strict):
    kind: Literal["none"] = "none"


class FixedBias(Strict):
    """A random direction drawn from the seed, at the norm of another run's bias: an injection that senses nothing."""

    kind: Literal["fixed"]
    norm_of: Name
    """the condition whose run of the same seed gives the norm: its mean over the last 100 steps"""
    factor: Magnitude = 1.0
    """times that norm"""


class LearnedBias(Strict):
    """A trained vector of the same place, zero at first: an injection that learns and senses nothing."""

    kind: Literal["learned"]


ConstantBias = Annotated[NoBias | FixedBias | LearnedBias, Field(discriminator="kind")]
