"""Each config field and each corpus changed in turn: what would run again is what hangs on it, and no more.

Asked of keys alone, which decide: that a study runs so, after edits of its files too, is tried by tests/stress.
"""

import functools
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from configs.probe import Probe, fields_of
from configs.suite import Suite
from study import request as studies
from study.book import made_steps
from study.plan import Step, Study, plan
from tests.stale_expected import (
    BELIEF,
    CONDITIONS,
    EVERY,
    FIELDS,
    FROZEN,
    GENERATED,
    NOT_SET,
    STATE,
    STUDIED,
    SUITE,
    TABLES,
    runs,
    with_dependants,
)
from tests.tiny_study import request

TOKENS = {
    ("tiny_text", "char"): "a" * 64,
    ("tiny_other", "char"): "b" * 64,
    ("tiny_text", "bpe:260"): "c" * 64,
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stale") / "tiny.toml"
    path.write_text(SUITE)
    return path


def steps(file: Path, *overrides: str, **tokens: str) -> list[Step]:
    """The runs, tests and tables of the study as if its corpora were prepared; tokens: other hashes of some."""
    suites = studies.load_suites(request(file.parent / "out", file, *overrides))
    known = {(name, kind): (name, tokens.get(name, digest)) for (name, kind), digest in TOKENS.items()}
    study = Study(file.parent / "out", suites, known)
    planned = plan(study)
    return planned + [step for step in made_steps(study, planned) if step.kind == "table"]


@functools.cache
def done(file: Path) -> set[str | None]:
    """The keys of the study undisturbed."""
    return {step.key for step in steps(file)}


def would_run(file: Path, *overrides: str, **tokens: str) -> set[str]:
    """The names of what would run after a change, all tables of a suite under one name."""
    now = steps(file, *overrides, **tokens)
    stale = {step.name for step in now if step.key not in done(file)}
    tables = {step.name for step in now if step.kind == "table"}
    if tables <= stale:
        stale = stale - tables | {f"tables {min(tables).split()[1].split('/')[0]}"}
    return stale


# Config fields


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in an annotation: of a field, a union, a tuple, a mapping's values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, tuple, dict, list, Annotated):
        for inner in get_args(annotation):
            yield from models(inner)


def fields(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[str]:
    """`Model.field` of a model and all models in it; a `kind` is told by the field that holds the kinds."""
    if model in seen:
        return
    seen.add(model)
    for name, about in model.model_fields.items():
        if name != "kind":
            yield f"{model.__name__}.{name}"
        for inner in models(about.annotation):
            yield from fields(inner, seen)


def test_every_field_has_its_expectation() -> None:
    studied = {f"{one.__name__}.{name}" for one in map(fields_of, STUDIED) for name in one.model_fields}
    assert {*fields(Suite, {Probe}), *studied} == {*FIELDS, *NOT_SET}


RENAMED = {name.replace("tiny", "other") for name in (FROZEN, BELIEF, *TABLES)}
SECOND = {f"train tiny/{name}/seed-2" for name in {*CONDITIONS} - {"self"}} | TABLES
SECOND |= {test.replace("seed-1", "seed-2") for test in (FROZEN, BELIEF)}


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_reruns_what_hangs_on_it(file: Path, field: str) -> None:
    override, expected = FIELDS[field]
    expected = {"Suite.name": RENAMED, "Suite.seeds": SECOND}.get(field, expected)
    assert would_run(file, override) == expected


LIBRARIES: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "a mechanism": (("mechanisms.own={standardise=true}", "mechanism=own"), with_dependants(STATE)),
    "a condition's mechanism": (
        ("mechanisms.own={standardise=true}", "conditions.ema.mechanism=own"), with_dependants(runs("ema"))
    ),
    "a schedule": (
        ("schedules.own={kind='windows', windows=[]}", "conditions.elsewhere.schedule=own"),
        with_dependants(runs("elsewhere")),
    ),
    "a schedule that none takes": (("schedules.unused={kind='windows', windows=[]}",), set()),
    "a mechanism that none takes": (("mechanisms.unused={dim=7}",), set()),
    "the quick form": (("quick.train.steps=5",), set()),
    "the same value again": (("train.steps=30",), set()),
}  # fmt: skip


@pytest.mark.parametrize(("overrides", "expected"), LIBRARIES.values(), ids=LIBRARIES)
def test_a_library_reruns_what_takes_from_it(
    file: Path, overrides: tuple[str, ...], expected: set[str]
) -> None:
    assert would_run(file, *overrides) == expected


def test_each_corpus_reruns_what_is_trained_on_it(file: Path) -> None:
    elsewhere = runs("elsewhere")
    assert would_run(file, tiny_other="d" * 64) == with_dependants(elsewhere)
    assert would_run(file, tiny_text="d" * 64) == with_dependants(EVERY - elsewhere - runs(*GENERATED))
