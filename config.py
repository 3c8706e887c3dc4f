"""The typed configuration: load, override, resolve, refuse.

A suite file (TOML) extends `configs/base.toml` and gives its conditions as differences. `load_suite` merges them
and checks every value, so that nothing wrong is found after training has begun. A `RunConfig` is one run, fully
resolved: no names left to look up, saved with the run, and hashed into its key.
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import config_file
from config_file import ConfigError

__all__ = ["ROOT", "ConfigError", "FrozenTest", "RunConfig", "Signatures", "Suite", "load_suite"]

M = TypeVar("M", bound=BaseModel)
ROOT = Path(__file__).resolve().parent

Regime = Literal["bewilderment", "sensory_fog", "false_feedback", "self_clamp", "lr_heatwave"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Strict(BaseModel):
    """Frozen; wrong types, unknown keys, infinities and NaN are refused."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class Model(Strict):
    """The GPT, as nanoGPT builds it."""

    n_layer: int = Field(default=4, ge=1, le=96)
    n_head: int = Field(default=4, ge=1, le=128)
    n_embd: int = Field(default=128, ge=1, le=8192)
    block_size: int = Field(default=64, ge=2, le=8192)  # tokens a sequence
    dropout: float = Field(default=0.0, ge=0, lt=1)
    bias: bool = False  # biases in the linear and norm layers

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.n_embd % self.n_head:
            raise ValueError(
                f"n_embd = {self.n_embd} is not a multiple of n_head = {self.n_head}; change one of them"
            )
        return self


class Train(Strict):
    """Optimisation: AdamW, linear warm-up, cosine decay to `min_learning_rate` at the last step."""

    steps: int = Field(default=2000, ge=1, le=10_000_000)
    batch_size: int = Field(default=12, ge=1, le=65536)  # sequences a micro-batch
    grad_accum: int = Field(default=1, ge=1, le=4096)  # micro-batches a step
    learning_rate: Positive = 1e-3
    min_learning_rate: float = Field(default=1e-4, ge=0)
    warmup_steps: int = Field(default=100, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.99, ge=0, lt=1)
    weight_decay: float = Field(default=0.1, ge=0)  # on matrices and embeddings of the GPT
    grad_clip: float = Field(default=1.0, ge=0)  # largest total gradient norm; 0: no clipping
    dtype: Literal["auto", "float32", "bfloat16"] = (
        "auto"  # auto: bfloat16 where the processor multiplies it natively
    )

    @model_validator(mode="after")
    def _rates_in_order(self) -> Self:
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(
                f"min_learning_rate = {self.min_learning_rate} exceeds learning_rate = {self.learning_rate}"
            )
        return self


class Log(Strict):
    """What is measured beside the training loss, and what is kept. Intervals in steps."""

    effect_interval: int = Field(default=10, ge=1)  # state_effect and its KL
    probe_sequences: int = Field(
        default=4, ge=1, le=4096
    )  # size of the held-out probe batch they are measured on
    eval_interval: int = Field(default=250, ge=1)  # held-out loss
    eval_batches: int = Field(default=20, ge=1, le=100_000)
    checkpoint_interval: int = Field(default=250, ge=1)  # where an interrupted run goes on from
    keep_steps: tuple[
        Annotated[int, Field(ge=1)], ...
    ] = ()  # weights kept after so many steps, beside the last


class Memory(Strict):
    """What the self-state remembers of its past states."""

    kind: Literal["none"] = "none"


class SelfState(Strict):
    """The self-state: read the statistics, update, inject. See self_state.py."""

    enabled: bool = True
    dim: int = Field(default=32, ge=1, le=4096)
    decay: float = Field(default=0.2, gt=0, le=1)  # share of the new proposal in each update
    update: Literal["mlp", "gru", "linear"] = "mlp"
    hidden: int = Field(default=64, ge=1, le=65536)  # hidden units of the update MLP
    standardise: bool = False  # read the statistics through running moments
    stat_momentum: float = Field(default=0.99, ge=0, lt=1)  # of those moments
    stat_clip: Positive = 4.0  # standardised statistics are clipped at +- this many standard deviations
    init: Literal["small", "default"] = (
        "small"  # small: N(0, 0.02), zero biases; default: U(+-1/sqrt(inputs))
    )
    weight_decay: bool = True  # whether train.weight_decay acts on the self-state's matrices
    memory: Memory = Memory()


class Window(Strict):
    """A regime on the half-open steps [start, end)."""

    regime: Regime
    start: int = Field(ge=0)
    end: int = Field(ge=1)

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"window of {self.regime} ends at {self.end}, not after its start {self.start}")
        return self


class NoSchedule(Strict):
    kind: Literal["none"] = "none"


class Windows(Strict):
    """Regimes at given steps, one at a time."""

    kind: Literal["windows"]
    windows: tuple[Window, ...]

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Self:
        ordered = sorted(self.windows, key=lambda window: window.start)
        for first, second in itertools.pairwise(ordered):
            if second.start < first.end:
                raise ValueError(
                    f"windows overlap: {first.regime} [{first.start}, {first.end}) and "
                    f"{second.regime} [{second.start}, {second.end}); one regime acts at a time"
                )
        return self


class RandomWindows(Strict):
    """Each regime once, its onset, its place in the order and the calm after it drawn from the run's seed."""

    kind: Literal["random_windows"]
    durations: dict[Regime, Annotated[int, Field(ge=1)]] = Field(min_length=1)  # steps
    first: int = Field(default=0, ge=0)  # calm steps at the start
    washout: int = Field(default=0, ge=0)  # least number of calm steps after each regime


class Recurring(Strict):
    """A Markov chain: from calm into one of the regimes with probability `enter`, back with `leave`, each step."""

    kind: Literal["recurring"]
    regimes: tuple[Regime, ...] = Field(min_length=1)
    enter: Probability = 0.02
    leave: Probability = 0.02
    first: int = Field(default=0, ge=0)  # calm steps at the start


Schedule = Annotated[NoSchedule | Windows | RandomWindows | Recurring, Field(discriminator="kind")]


class Bewilderment(Strict):
    probability: Probability = 0.5  # of a target being replaced by a uniform draw from the vocabulary


class SensoryFog(Strict):
    probability: Probability = 0.2  # of an input token being replaced by the reserved mask token


class FalseFeedback(Strict):
    """Added to the raw statistics that the self-state sees; the logged ones stay true."""

    loss: float = 0.5  # nats
    entropy: float = 0.0  # nats
    top1: float = 0.0
    grad_norm: float = 0.0
    progress: float = 0.0


class SelfClamp(Strict):
    mode: Literal["freeze", "clamp", "noise", "scale"] = "freeze"
    limit: float = Field(default=0.5, ge=0)  # clamp: largest absolute value of a component
    std: float = Field(default=0.1, ge=0)  # noise: standard deviation added to each component, each step
    factor: float = 0.9  # scale: the updated state times this, each step


class LrHeatwave(Strict):
    factor: float = Field(default=2.0, ge=0)  # times the learning rate


class Regimes(Strict):
    """What each regime does, whenever a schedule calls it."""

    bewilderment: Bewilderment = Bewilderment()
    sensory_fog: SensoryFog = SensoryFog()
    false_feedback: FalseFeedback = FalseFeedback()
    self_clamp: SelfClamp = SelfClamp()
    lr_heatwave: LrHeatwave = LrHeatwave()


class RunConfig(Strict):
    """One run, fully resolved."""

    corpus: Name
    seed: int = Field(default=0, ge=0, lt=2**63)
    model: Model
    train: Train
    log: Log
    self_state: SelfState
    schedule: Schedule = NoSchedule()
    regimes: Regimes

    def decisive(self) -> dict[str, Any]:
        """The fields that decide this run's numbers: without regimes that its schedule never calls, and without
        what only a self-state could feel where there is none. What a run's key is made from, so that an edit
        reruns what depends on it and nothing else.
        """
        fields = self.model_dump(mode="json")
        called = {
            "windows": lambda schedule: {window.regime for window in schedule.windows},
            "random_windows": lambda schedule: set(schedule.durations),
            "recurring": lambda schedule: set(schedule.regimes),
            "none": lambda schedule: set(),
        }[self.schedule.kind](self.schedule)
        if not self.self_state.enabled:
            called -= {"false_feedback", "self_clamp"}
            fields["self_state"] = {"enabled": False}
            for name in ("effect_interval", "probe_sequences"):
                del fields["log"][name]
        fields["regimes"] = {name: fields["regimes"][name] for name in sorted(called)}
        return fields

    @model_validator(mode="after")
    def _fits_the_run(self) -> Self:
        steps = self.train.steps
        if self.train.warmup_steps > steps:
            raise ValueError(
                f"train.warmup_steps = {self.train.warmup_steps} is beyond the last step, {steps}"
            )
        for kept in self.log.keep_steps:
            if kept > steps:
                raise ValueError(f"log.keep_steps has {kept}, beyond the last step, {steps}")
        if isinstance(self.schedule, Windows):
            for window in self.schedule.windows:
                if window.end > steps:
                    raise ValueError(
                        f"schedule: window of {window.regime} [{window.start}, {window.end}) reaches beyond the last "
                        f"step, {steps}; shorten it or raise train.steps"
                    )
        if isinstance(self.schedule, RandomWindows):
            durations = self.schedule.durations.values()
            needed = self.schedule.first + sum(durations) + self.schedule.washout * len(durations)
            if needed > steps:
                raise ValueError(f"schedule: the random windows need {needed} steps, the run has {steps}")
        return self


class FrozenTest(Strict):
    """The frozen-weight test: which runs and weights, and how thoroughly. See frozen_test.py."""

    conditions: tuple[Name, ...] = ()
    steps: tuple[Annotated[int, Field(ge=1)], ...] = ()  # weights after so many steps
    finder_batches: int = Field(default=5, ge=1)  # train batches that directions are found on
    dev_batches: int = Field(default=2, ge=1)  # dev batches that the magnitude is chosen on
    heldout_batches: int = Field(default=10, ge=1)  # held-out batches that the effect is measured on, once
    magnitude: Positive = 0.3  # of one component while directions are found, and in the replication protocol
    top: int = Field(default=5, ge=1)  # dimensions that make up a direction of the dimension-wise finder
    doses: int = Field(default=7, ge=1, le=1000)  # magnitudes on each side of zero
    random_directions: int = Field(default=50, ge=1)
    placebo_draws: int = Field(default=20, ge=1)


class Signatures(Strict):
    """How regimes' marks are measured. See analysis/signatures.py and analysis/classification.py."""

    pre_steps: int = Field(
        default=100, ge=1
    )  # the window before a regime is as long as the regime, at most this
    classify_steps: int = Field(default=10, ge=1)  # length of one window to classify
    permutations: int = Field(default=100, ge=1)  # draws of the permutation null


class Suite(Strict):
    """A suite: named conditions, each a RunConfig with seed 0, and what is asked of their runs."""

    name: Name
    path: str
    quick: bool = False
    seeds: int = Field(ge=1, le=10_000)  # seeds are numbered from 1
    conditions: dict[Name, RunConfig] = Field(min_length=1)
    frozen_test: FrozenTest
    signatures: Signatures

    def run(self, condition: str, seed: int) -> RunConfig:
        """The config of one run. ConfigError for a condition that the suite lacks, with the nearest name."""
        if condition not in self.conditions:
            raise ConfigError(config_file.unknown("condition", condition, self.conditions, f"in {self.path}"))
        if seed < 1:
            raise ConfigError(f"seed {seed}: seeds are numbered from 1")
        return self.conditions[condition].model_copy(update={"seed": seed})

    @model_validator(mode="after")
    def _frozen_test_can_run(self) -> Self:
        for name in self.frozen_test.conditions:
            if name not in self.conditions:
                raise ValueError(
                    config_file.unknown("condition", name, self.conditions, "in frozen_test.conditions")
                )
            run = self.conditions[name]
            if not run.self_state.enabled:
                raise ValueError(f"frozen_test.conditions: {name} has no self-state to steer")
            if 2 * self.frozen_test.top > run.self_state.dim:
                raise ValueError(
                    f"frozen_test.top = {self.frozen_test.top}: confident and uncertain directions would share "
                    f"dimensions of a {run.self_state.dim}-dimensional state; take at most {run.self_state.dim // 2}"
                )
            for step in self.frozen_test.steps:
                if step != run.train.steps and step not in run.log.keep_steps:
                    raise ValueError(
                        f"frozen_test.steps has {step}, whose weights no run keeps; add it to log.keep_steps"
                    )
        return self


_SUITE_FIELDS = ("name", "seeds", "frozen_test", "signatures")
_LIBRARIES = ("extends", "schedules", "mechanisms", "quick", "conditions", "mechanism")


def load_suite(path: Path, overrides: Sequence[str] = (), quick: bool = False) -> Suite:
    """Read a suite file with all that it extends, apply `[quick]` and `--set` values, resolve its conditions.

    Args:
        path: a TOML file such as configs/shakespeare.toml.
        overrides: `key=value` texts, the value in TOML (bare words count as strings). They act on every
            condition, and win over what a condition says itself; `conditions.NAME.key=value` acts on one.
        quick: take the file's `[quick]` values.

    Raises:
        ConfigError: one line that says what is wrong, in which file and line, and what would be right.
    """
    source = config_file.read(path)
    if quick:
        source.apply_quick()
    source.apply_overrides(overrides)
    document = source.document
    known = {*RunConfig.model_fields, *_SUITE_FIELDS, *_LIBRARIES} - {"seed"}
    for key in document:
        if key not in known:
            raise ConfigError(config_file.unknown("key", key, known, source.where((key,))))
    if not isinstance(document.get("conditions", {}), dict):
        raise ConfigError(f"conditions must be a table of tables {source.where(('conditions',))}")
    conditions = {}
    for name in document.get("conditions", {}):
        resolved, trail = source.resolve_condition(name, {*RunConfig.model_fields, "mechanism"})
        fields = {key: value for key, value in resolved.items() if key not in {*_SUITE_FIELDS, *_LIBRARIES}}
        conditions[name] = validate(RunConfig, fields, source, trail)
    parts = {key: document[key] for key in _SUITE_FIELDS if key in document}
    checked = {"path": str(path), "quick": quick, "frozen_test": {}, "signatures": {}, **parts}
    checked["conditions"] = {name: run.model_dump(mode="json") for name, run in conditions.items()}
    return validate(Suite, checked, source, ((),))


def validate(
    model: type[M], value: dict[str, Any], source: config_file.Source, trail: Sequence[tuple[str, ...]]
) -> M:
    """`value` as a checked `model`; the first thing wrong becomes a ConfigError that names file and line."""
    try:
        return model.model_validate_json(json.dumps(value, default=str))
    except ValidationError as error:
        raise ConfigError(config_file.explain(error, model, source, trail)) from None
