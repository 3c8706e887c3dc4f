"""The typed configuration: load, override, resolve, refuse.

A suite file (TOML) extends `configs/base.toml` and gives its conditions as differences. `load_suite` merges them
and checks every value, so that nothing wrong is found after training has begun. A `RunConfig` is one run, fully
resolved: no names left to look up, saved with the run, and hashed into its key.
"""

import graphlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from configs import toml_file
from configs.fields import Name, Positive, Strict
from configs.run import RunConfig
from configs.toml_file import ConfigError

M = TypeVar("M", bound=BaseModel)
MOST_CONDITIONS = 500
Count = Annotated[int, Field(ge=1, le=100_000)]


class FrozenTest(Strict):
    """The frozen-weight test: which runs and weights, and how thoroughly. See frozen_test.py."""

    conditions: tuple[Name, ...] = ()  # whose runs are steered
    steps: tuple[Annotated[int, Field(ge=1)], ...] = ()  # weights after so many steps
    replication_batches: Count = (
        5  # train batches that the replication protocol measures on; it finds on one more
    )
    replication_sequences: Count = 32  # of each of these
    finder_batches: Count = 3  # train batches that directions are found on in the held-out protocol
    dev_batches: Count = 2  # dev batches that the magnitude is chosen on
    heldout_batches: Count = 10  # held-out batches that the effect is measured on, once
    magnitude: Positive = 0.3  # of one component while directions are found, and in the replication protocol
    top: Count = 5  # dimensions that make up a direction of the dimension-wise finder
    doses: int = Field(default=7, ge=1, le=1000)  # magnitudes on each side of zero
    random_directions: Count = 50  # drawn, not selected, of the learned directions' norm
    placebo_draws: Count = 20  # placebo readers of each kind; a rank p is 1 / (draws + 1) at least
    dose_placebos: int = Field(
        default=3, ge=0, le=100_000
    )  # so many draws of each placebo get dose-response curves too
    foreign: bool = False  # whether to steer with directions found in the partner seed's run, too


class BeliefTest(Strict):
    """Setting the mean state of each regime with the weights frozen: which runs. See probes/belief.py.

    The weights of the last step, on frozen_test.heldout_batches batches.
    """

    conditions: tuple[Name, ...] = ()  # in whose runs the mean states are set


class Signatures(Strict):
    """How regimes' marks are measured. See experiments/perturbation.py and experiments/classification.py."""

    pre_steps: Count = 100  # a regime is compared with the last so many steps before it on which none acted
    classify_steps: Count = 10  # length of one window to classify
    permutations: Count = 100  # draws of the permutation null


class InStudy(Strict):
    """That and where a suite belongs to the study. See study/phases.py."""

    order: int = Field(ge=0, le=10_000)  # its place among the suites
    phase: Name | None = None  # that `--only` names; None: the suite's own name
    does: str = Field(min_length=1, max_length=400)  # one line for --list
    optional: bool = False  # left out of the default study


class Suite(Strict):
    """A suite: named conditions, each a RunConfig with seed 0, and what is asked of their runs."""

    name: Name  # of its folders of tables and runs
    path: str  # of its file
    quick: bool = False  # whether the values of [quick] were taken
    seeds: int = Field(ge=1, le=10_000)  # seeds are numbered from 1
    conditions: dict[Name, RunConfig] = Field(min_length=1)
    frozen_test: FrozenTest
    belief_test: BeliefTest = BeliefTest()
    signatures: Signatures

    def run(self, condition: str, seed: int) -> RunConfig:
        """The config of one run. ConfigError for a condition that the suite lacks, with the nearest name."""
        if condition not in self.conditions:
            raise ConfigError(toml_file.unknown("condition", condition, self.conditions, f"in {self.path}"))
        if not 1 <= seed < 2**63:
            raise ConfigError(f"seed {seed}: seeds are numbered from 1, and below 2**63")
        return self.conditions[condition].model_copy(update={"seed": seed})

    @model_validator(mode="after")
    def _references_fit(self) -> Self:
        for name, run in self.conditions.items():
            for part, (wanted, _) in run.references().items():
                where = _WHERE[part]
                if wanted not in self.conditions:
                    raise ValueError(
                        toml_file.unknown(
                            "condition", wanted, self.conditions, f"in conditions.{name}, {where}"
                        )
                    )
                problem = _misfit(part, run, self.conditions[wanted], wanted)
                if problem:
                    raise ValueError(f"conditions.{name}: {problem}")
        needed = {
            name: {wanted for wanted, _ in run.references().values()} for name, run in self.conditions.items()
        }
        try:
            graphlib.TopologicalSorter(needed).prepare()
        except graphlib.CycleError as error:
            round_trip = error.args[1]
            raise ValueError(
                f"conditions.{round_trip[0]} depends on itself, through {' and '.join(round_trip[1:-1] or round_trip[:1])}"
            ) from None
        return self

    @model_validator(mode="after")
    def _belief_test_can_run(self) -> Self:
        for name in self.belief_test.conditions:
            if name not in self.conditions:
                raise ValueError(
                    toml_file.unknown("condition", name, self.conditions, "in belief_test.conditions")
                )
            run = self.conditions[name]
            if not run.self_state.enabled:
                raise ValueError(f"belief_test.conditions: {name} has no self-state to set")
            if run.schedule.kind == "none":
                raise ValueError(f"belief_test.conditions: {name} meets no regime to believe in")
        return self

    @model_validator(mode="after")
    def _frozen_test_can_run(self) -> Self:
        for name in self.frozen_test.conditions:
            if name not in self.conditions:
                raise ValueError(
                    toml_file.unknown("condition", name, self.conditions, "in frozen_test.conditions")
                )
            run = self.conditions[name]
            if not run.self_state.enabled:
                raise ValueError(f"frozen_test.conditions: {name} has no self-state to steer")
            if 1 < run.self_state.dim < 2 * self.frozen_test.top:
                raise ValueError(
                    f"frozen_test.top = {self.frozen_test.top}: confident and uncertain directions would share "
                    f"dimensions of a {run.self_state.dim}-dimensional state; take at most {run.self_state.dim // 2}"
                )
            for step in self.frozen_test.steps:
                if step != run.last and step not in run.log.keep_steps:
                    raise ValueError(
                        f"frozen_test.steps has {step}, whose weights no run keeps; add it to log.keep_steps"
                    )
        return self


def _misfit(part: str, run: RunConfig, source: RunConfig, name: str) -> str:
    """Why a run can't take from a finished one what it needs; "" if it can."""
    if part == "first":
        return "" if source.self_state.enabled else f"{name} has no self-state, so there is no norm to take"
    if part in ("norm", "matched"):
        if not source.injects:
            return f"{name} injects no bias, so there is no norm to take"
        return f"{name} ends at step {source.last}, before this run" if source.last < run.last else ""
    if part == "stats":
        shown = source.self_state.senses
        if source.start is not None or source.last < run.last:
            return f"{name} has no statistics of all this run's steps"
        if source.self_state.enabled and shown.kind != "own":
            return f"{name} is itself not shown its own statistics; record from a condition that is"
        return ""
    assert run.start is not None
    if run.start.step not in source.log.keep_checkpoints:
        return f"{name} keeps no checkpoint of step {run.start.step}; add it to its log.keep_checkpoints"
    if (part == "start" and source.corpus != run.corpus) or source.tokenizer != run.tokenizer:
        return f"{name} is trained on other tokens; give both the same corpus and tokenizer"
    for field in ("model", "self_state", "constant_bias"):
        if getattr(source, field) != getattr(run, field):
            return f"{name} differs in {field}; a run can only go on from one of the same shape"
    return ""


_WHERE = {
    "norm": "the condition whose norm is taken",
    "matched": "match_norm_of",
    "first": "self_state.first.norm_of",
    "start": "start.condition",
    "other": "start.condition",
    "stats": "self_state.senses.condition",
}
_SUITE_FIELDS = ("name", "seeds", "frozen_test", "belief_test", "signatures")
_LIBRARIES = ("extends", "schedules", "mechanisms", "processes", "quick", "conditions", "mechanism", "study")


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
    source = toml_file.read(path)
    if quick:
        source.apply_quick()
    source.apply_overrides(overrides)
    document = source.document
    known = {*RunConfig.model_fields, *_SUITE_FIELDS, *_LIBRARIES} - {"seed", "process"}
    for key in document:
        if key not in known:
            raise ConfigError(toml_file.unknown("key", key, known, source.where((key,))))
    if not isinstance(document.get("conditions", {}), dict):
        raise ConfigError(f"conditions must be a table of tables {source.where(('conditions',))}")
    if len(document.get("conditions", {})) > MOST_CONDITIONS:
        raise ConfigError(f"{path} has more than {MOST_CONDITIONS} conditions; make several suites")
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
    model: type[M], value: dict[str, Any], source: toml_file.Source, trail: Sequence[tuple[str, ...]]
) -> M:
    """`value` as a checked `model`; the first thing wrong becomes a ConfigError that names file and line."""
    try:
        return model.model_validate_json(json.dumps(value, default=str))
    except ValidationError as error:
        raise ConfigError(toml_file.explain(error, model, source, trail)) from None
