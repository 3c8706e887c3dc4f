"""The fields of one run, put together and checked against each other; its parts are in training.py, state.py and world.py.

Every field says below its declaration what it means; base.toml repeats it. A `RunConfig` is one run, fully resolved: no names left to look
up but those of the runs that it continues or is measured against, saved with the run, and hashed into its key.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from configs.fields import Name, Strict
from configs.process import Process
from configs.rows import Channels
from configs.state import (
    ConstantBias,
    FilterBelief,
    FixedBias,
    NoBias,
    OwnStats,
    RandomStart,
    RecordedStats,
    SelfState,
)
from configs.training import Log, Model, Train
from configs.world import NoSchedule, RandomWindows, Recurring, Regimes, Schedule, Windows

Tokenizer = Annotated[str, Field(pattern=r"^(char|gpt2|bpe:[1-9][0-9]{2,4})$")]


class Start(Strict):
    """Go on from another run's checkpoint instead of from the beginning, with its state or with one put in its place."""

    condition: Name
    """of the run of the same seed that is gone on from"""
    step: int = Field(ge=1)
    """after so many of its steps; it keeps them by log.keep_checkpoints"""
    state: Literal["own", "other", "zero", "random", "jitter"] = "own"
    """other: that of the same condition's run of the partner seed (1 and 2, 3 and 4, ... are partners); random: a Gaussian direction at the own state's norm; jitter: the own state, changed by a thousandth of its norm"""


class RunConfig(Strict):
    """One run, fully resolved."""

    corpus: Name
    """the text it is trained on, see data/sources.py; or one of [processes]"""
    process: Process | None = None
    """what [processes] has under the corpus's name; None: a text"""
    tokenizer: Tokenizer = "char"
    """char, gpt2, or bpe:N, N tokens learned on the training split"""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """of first weights, batches, regimes and placebos; 0: not given yet"""
    model: Model
    """the GPT"""
    train: Train
    """its optimisation"""
    log: Log
    """what is measured and kept"""
    self_state: SelfState
    """what it senses, carries on and injects"""
    constant_bias: ConstantBias = NoBias()
    """what is injected where there is no self-state"""
    channels: Channels | None = None
    """what enters the layers through gates"""
    match_norm_of: Name | None = None
    """the condition whose bias gives this one its norm, in the running mean"""
    inject_until: int | None = Field(default=None, ge=1)
    """nothing enters the embeddings from this step on"""
    start: Start | None = None
    """another run's checkpoint to go on from; None: from the beginning"""
    schedule: Schedule = NoSchedule()
    """which regime acts when"""
    regimes: Regimes
    """what each regime does"""

    @property
    def text(self) -> tuple[str, str] | None:
        """Name and tokenizer of the text it is trained on; None for a process."""
        return None if self.process is not None else (self.corpus, self.tokenizer)

    @property
    def injects(self) -> bool:
        """Whether a bias enters the embeddings."""
        return (self.self_state.enabled and self.channels is None) or self.constant_bias.kind != "none"

    @property
    def last(self) -> int:
        """How many steps of the schedule are done when the run ends."""
        return self.train.stop or self.train.steps

    @property
    def first(self) -> int:
        """The step it begins with."""
        return self.start.step if self.start is not None else 0

    def references(self) -> Mapping[str, tuple[str, int]]:
        """The runs that this one needs finished, by the part they play: condition and seed of each.

        "norm" and "matched" give the norm of a bias, at the end and step by step, "first" that of the first state,
        "start" the checkpoint to go on from, "other" the state to put in its place, "stats" the statistics to show.
        """
        found: dict[str, tuple[str, int]] = {}
        if isinstance(self.constant_bias, FixedBias):
            found["norm"] = (self.constant_bias.norm_of, self.seed)
        if self.match_norm_of is not None:
            found["matched"] = (self.match_norm_of, self.seed)
        first, senses = self.self_state.first, self.self_state.senses
        if self.self_state.enabled and isinstance(first, RandomStart):
            found["first"] = (first.norm_of, self.seed)
        if self.self_state.enabled and isinstance(senses, RecordedStats):
            found["stats"] = (senses.condition, self.seed if senses.seed == "own" else partner(self.seed))
        if self.start is not None:
            found["start"] = (self.start.condition, self.seed)
            if self.start.state == "other":
                found["other"] = (self.start.condition, partner(self.seed))
        return found

    @property
    def stacks_as(self) -> tuple[Any, ...] | None:
        """What is equal in runs that are trained in one stack; None for a run that is trained alone.

        A stack has one micro-batch a step, and nothing in the layers that draws or lets in.
        """
        train, plain = self.train, (1, 1, False, 0.0, None)
        if (train.grad_accum, train.ranks, train.compile, self.model.dropout, self.channels) != plain:
            return None
        same = (
            train.stack,
            train.device,
            train.dtype,
            train.batch_size,
            self.model,
            self.corpus,
            self.tokenizer,
        )
        return same if train.stack > 1 else None

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
        if not self.injects:
            for name in ("effect_interval", "probe_sequences"):
                del fields["log"][name]
        fields["regimes"] = {name: fields["regimes"][name] for name in sorted(called)}
        return fields

    @model_validator(mode="after")
    def _bytes_and_merges(self) -> Self:
        kind, _, size = self.tokenizer.partition(":")
        if kind == "bpe" and not 257 <= int(size) <= 65536:
            raise ValueError(
                f"tokenizer = {self.tokenizer}: a vocabulary of 257 to 65536, 256 bytes and the merges"
            )
        return self

    @model_validator(mode="after")
    def _one_bias(self) -> Self:
        if self.self_state.enabled and self.constant_bias.kind != "none":
            raise ValueError(
                f"a {self.constant_bias.kind} constant_bias beside a self-state: one bias enters the embeddings; "
                "set self_state.enabled = false"
            )
        if self.inject_until is not None and not self.injects:
            raise ValueError(
                f"inject_until = {self.inject_until}: a run that injects nothing has nothing to end"
            )
        if self.match_norm_of is not None and not self.injects:
            raise ValueError(
                f"match_norm_of = {self.match_norm_of}: a run that injects nothing has no norm to match"
            )
        if self.start is not None and self.start.state != "own" and not self.self_state.enabled:
            raise ValueError(
                f'start.state = "{self.start.state}": a run without self-state has none to exchange'
            )
        return self

    @model_validator(mode="after")
    def _senses_what_is_there(self) -> Self:
        senses, train = self.self_state.senses, self.train
        if not self.self_state.enabled:
            return self
        positions = train.batch_size * train.grad_accum * self.model.block_size
        if isinstance(senses, OwnStats) and senses.tokens is not None:
            if senses.tokens > positions:
                raise ValueError(
                    f"self_state.senses.tokens = {senses.tokens}: a batch has {positions} tokens; take at most so many"
                )
            if senses.positions == "last":
                raise ValueError(
                    'self_state.senses: tokens are drawn from all positions; leave out positions = "last"'
                )
        if isinstance(senses, FilterBelief) and (
            self.process is None
            or self.process.kind == "rows"
            or not isinstance(self.schedule, Recurring)
            or not {"bewilderment", "sensory_fog"}.issuperset(self.schedule.regimes)
        ):
            raise ValueError(
                'self_state.senses.kind = "filter": an ideal observer is known for a process of [processes] under a '
                "recurring schedule of bewilderment and sensory_fog alone"
            )
        return self

    @model_validator(mode="after")
    def _channels_of_what_is_there(self) -> Self:
        if self.process is not None and self.process.kind == "rows":
            senses = self.self_state.senses
            if self.self_state.enabled and isinstance(senses, OwnStats) and senses.tokens is not None:
                raise ValueError(
                    "self_state.senses.tokens: most positions of rows are not scored; leave it out"
                )
        if self.channels is None:
            return self
        names = {*self.channels.names}
        if names != {"self"} and (self.process is None or self.process.kind != "rows"):
            told = ", ".join(name for name in self.channels.names if name != "self")
            raise ValueError(
                f"channels.names has {told}: such states are in rows alone; take a corpus of [processes] with "
                'kind = "rows", or names = ["self"]'
            )
        if ("self" in names) != self.self_state.enabled:
            raise ValueError(
                "channels with a self-state carry it: set self_state.enabled = true and name self in channels.names, or neither"
            )
        if self.channels.how == "prefix" and not (
            self.process is not None and self.process.kind == "rows" and self.process.slots
        ):
            raise ValueError(
                'channels.how = "prefix": its corpus needs slots = true, tokens for the states to enter'
            )
        if self.constant_bias.kind != "none":
            raise ValueError("channels and a constant_bias: what a run injects is one of them")
        return self

    @model_validator(mode="after")
    def _fits_the_run(self) -> Self:
        steps = self.train.steps
        if self.last > steps:
            raise ValueError(f"train.stop = {self.train.stop} is beyond the last step, {steps}")
        if self.first >= self.last:
            raise ValueError(
                f"start.step = {self.first} is not before the step the run ends with, {self.last}"
            )
        if self.train.warmup_steps > steps:
            raise ValueError(
                f"train.warmup_steps = {self.train.warmup_steps} is beyond the last step, {steps}"
            )
        for name in ("keep_steps", "keep_checkpoints"):
            for kept in getattr(self.log, name):
                if kept > self.last:
                    raise ValueError(f"log.{name} has {kept}, beyond the last step, {self.last}")
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


def partner(seed: int) -> int:
    """The seed it is paired with: 1 and 2, 3 and 4, and so on."""
    return seed + 1 if seed % 2 else seed - 1
