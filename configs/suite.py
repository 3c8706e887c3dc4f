"""The typed configuration: load, override, resolve, refuse.

A suite file (TOML) extends `configs/base.toml` and gives its conditions as differences. `load_suite` merges them
and checks every value, so that nothing wrong is found after training has begun. A `RunConfig` is one run, fully
resolved: no names left to look up, saved with the run, and hashed into its key.
"""

import graphlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from configs import lengths, probe, toml_file
from configs import quick as quick_form
from configs.fields import Name, Strict
from configs.probe import Count, Probe
from configs.run import RunConfig
from configs.toml_file import ConfigError

M = TypeVar("M", bound=BaseModel)
MOST_CONDITIONS = 500


class Signatures(Strict):
    """How regimes' marks are measured. See experiments/perturbation.py and experiments/classification.py."""

    pre_steps: Count = 100
    """a regime is compared with the last so many steps before it on which none acted"""
    classify_steps: Count = 10
    """length of one window to classify"""
    permutations: Count = 100
    """draws of the permutation null"""


class InStudy(Strict):
    """That and where a suite belongs to the study. See study/phases.py."""

    order: int = Field(ge=0, le=10_000)
    """its place among the suites"""
    phase: Name | None = None
    """that `--only` names; None: the suite's own name"""
    does: str = Field(min_length=1, max_length=400)
    """one line for --list"""
    optional: bool = False
    """left out of the default study"""


class Suite(Strict):
    """A suite: named conditions, each a RunConfig with seed 0, and what is asked of their runs."""

    name: Name
    """of its folders of tables and runs"""
    path: str
    """of its file"""
    quick: bool = False
    """whether it is the quick form"""
    seeds: int = Field(ge=1, le=10_000)
    """seeds are numbered from 1"""
    conditions: dict[Name, RunConfig] = Field(min_length=1)
    """what differs from one run to the next, by name"""
    probes: dict[Name, Probe] = Field(default_factory=dict)
    """what is done to finished runs: [probe.NAME]"""
    signatures: Signatures
    """how the marks of regimes are measured"""

    def run(self, condition: str, seed: int) -> RunConfig:
        """The config of one run. ConfigError for a condition that the suite lacks, with the nearest name."""
        if condition not in self.conditions:
            raise ConfigError(toml_file.unknown("condition", condition, self.conditions, f"in {self.path}"))
        if not 1 <= seed < 2**63:
            raise ConfigError(f"seed {seed}: seeds are numbered from 1, and below 2**63")
        return self.conditions[condition].model_copy(update={"seed": seed})

    def only(self, names: Collection[str]) -> Self:
        """The suite with some of its conditions alone, those whose runs they need among them; probes are of the former."""
        kept, waiting = set[str](), list(names)
        while waiting:
            name = waiting.pop()
            if name not in kept:
                kept.add(name)
                waiting += [wanted for wanted, _ in self.conditions[name].references().values()]
        conditions = {name: run for name, run in self.conditions.items() if name in kept}
        probes = {
            name: one.model_copy(update={"conditions": tuple(of for of in one.conditions if of in names)})
            for name, one in self.probes.items()
        }
        return self.model_copy(update={"conditions": conditions, "probes": probes})

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
    for field in ("model", "self_state", "constant_bias", "channels"):
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
_SUITE_FIELDS = ("name", "seeds", "signatures")
_LIBRARIES = (
    "extends",
    "schedules",
    "mechanisms",
    "processes",
    "quick",
    "conditions",
    "mechanism",
    "study",
    "probe",
)


def load_suite(path: Path, overrides: Sequence[str] = (), quick: bool = False) -> Suite:
    """Read a suite file with all that it extends, apply `--set` values, resolve its conditions.

    Args:
        path: a TOML file such as configs/shakespeare.toml.
        overrides: `key=value` texts, the value in TOML (bare words count as strings). They act on every
            condition, and win over what a condition says itself; `conditions.NAME.key=value` acts on one.
        quick: its quick form, see configs/quick.py.

    Raises:
        ConfigError: one line that says what is wrong, in which file and line or --set, and what would be right.
    """
    try:
        return _load(path, overrides, quick)
    except ConfigError as error:
        said = str(error)

    def without(left_out: str) -> str:
        """What is wrong without one of the --set values; "" for nothing."""
        try:
            _load(path, [text for text in overrides if text != left_out], quick)
        except ConfigError as error:
            return str(error)
        return ""

    guilty = [] if "--set" in said else [text for text in overrides if without(text) != said]
    _load(path, overrides, quick, guilty)
    raise ConfigError(said)


def _load(path: Path, overrides: Sequence[str], quick: bool, guilty: Sequence[str] = ()) -> Suite:
    """guilty: the --set values that errors are to name, since fields that fit without them do not fit with them."""
    source = toml_file.read(path)
    source.apply_overrides(overrides)
    source.guilty = guilty
    document = source.document
    smaller = quick_form.table(source) if quick else {}
    known = {*RunConfig.model_fields, *_SUITE_FIELDS, *_LIBRARIES} - {"seed", "process"}
    for key in document:
        if key not in known:
            raise ConfigError(toml_file.unknown("key", key, known, source.where((key,))))
    if not isinstance(document.get("conditions", {}), dict):
        raise ConfigError(f"conditions must be a table of tables {source.where(('conditions',))}")
    if len(document.get("conditions", {})) > MOST_CONDITIONS:
        raise ConfigError(f"{path} has more than {MOST_CONDITIONS} conditions; make several suites")
    conditions, lengthened = {}, {}
    for name in document.get("conditions", {}):
        resolved, trail = source.resolve_condition(name, {*RunConfig.model_fields, "mechanism"})
        lengthened[name] = lengths.factor(source, name, resolved, smaller.get("shorter", 1.0))
        given = lengths.given(source, name)
        resolved = lengths.scaled(resolved, lengthened[name], given)
        if quick:
            resolved = quick_form.often(resolved, lengthened[name], given)
            resolved = quick_form.small(resolved, smaller, given)
            trail = [("quick",), *trail]
        fields = {key: value for key, value in resolved.items() if key not in {*_SUITE_FIELDS, *_LIBRARIES}}
        conditions[name] = validate(RunConfig, fields, source, trail)
    whole = quick_form.small(document, smaller, source.overrides)
    parts = {key: whole[key] for key in _SUITE_FIELDS if key in whole}
    checked = {"path": str(path), "quick": quick, "signatures": {}, **parts}
    checked["conditions"] = {name: run.model_dump(mode="json") for name, run in conditions.items()}
    suite = validate(Suite, checked, source, [("quick",)] * quick + [()])
    return suite.model_copy(update={"probes": _probes(suite, source, lengthened, smaller)})


def _probes(
    suite: Suite, source: toml_file.Source, lengthened: Mapping[str, float], smaller: dict[str, Any]
) -> dict[str, Probe]:
    """The sections `[probe.NAME]` of a suite, checked against the conditions whose runs they name.

    lengthened: of each condition, its steps over those that its file gives it. smaller: `[quick]`, for the quick form.
    """
    sections = source.document.get("probe", {})
    if not isinstance(sections, dict) or not all(isinstance(one, dict) for one in sections.values()):
        raise ConfigError(f"probe must be a table of tables {source.where(('probe',))}")
    found = {}
    for name, fields in sections.items():
        places = [("quick", "probe", name)] * suite.quick + [("probe", name)]
        if name not in probe.known():
            raise ConfigError(toml_file.unknown("probe", name, probe.known(), source.where(*places)))
        if suite.quick:
            given = [keys[2:] for keys in source.overrides if keys[:2] == ("probe", name)]
            fields = quick_form.asked(
                fields, probe.fields_of(name), smaller.get("probe", {}).get(name, {}), given
            )
        one = validate(probe.fields_of(name), fields, source, places)
        longer = {lengthened[condition] for condition in one.conditions if condition in lengthened}
        if len(longer) == 1 and ("probe", name, "steps") not in source.overrides:
            one = one.model_copy(update={"steps": tuple(lengths.times(list(one.steps), longer.pop()))})
        found[name] = one
        told, kept = (
            source.where(*((*place, field) for place in places)) for field in ("conditions", "steps")
        )
        for condition in one.conditions:
            if condition not in suite.conditions:
                raise ConfigError(toml_file.unknown("condition", condition, suite.conditions, told))
            run = suite.conditions[condition]
            through = (
                ""
                if one.of_channels or run.channels is None
                else "carries states through channels, which this probe leaves out"
            )
            if problem := through or one.misfit(run):
                raise ConfigError(f"probe.{name}: {condition} {problem} ({told})")
            for step in {*one.steps} - {*run.log.keep_steps, run.last}:
                raise ConfigError(
                    f"probe.{name}: {condition} keeps no weights of step {step}; add it to log.keep_steps ({kept})"
                )
    return found


def validate(
    model: type[M], value: dict[str, Any], source: toml_file.Source, trail: Sequence[tuple[str, ...]]
) -> M:
    """`value` as a checked `model`; the first thing wrong becomes a ConfigError that names file and line."""
    try:
        return model.model_validate_json(json.dumps(value, default=str))
    except ValidationError as error:
        raise ConfigError(toml_file.explain(error, model, source, trail)) from None
