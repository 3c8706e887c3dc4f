"""Each config field, data file and code file changed in turn: what would run again is what hangs on it, and no more.

What hangs on what is said here a second time, in tables and by Python's own import finder, not by the code under test.
"""

import os
import resource
import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from configs.suite import Suite
from tests import stale_study
from tests.stale_expected import (
    BELIEF,
    CONDITIONS,
    EVERY,
    FIELDS,
    FROZEN,
    NOT_SET,
    STATE,
    TABLES,
    runs,
    with_dependants,
)
from tests.stale_study import Case, Place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return stale_study.make(tmp_path_factory.mktemp("stale") / "clone")


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
    assert set(fields(Suite, set())) == set(FIELDS) | set(NOT_SET)


def test_each_field_reruns_what_hangs_on_it(place: Place) -> None:
    before = stale_study.Case()
    cases = [before, *(Case(overrides=(override,)) for override, _ in FIELDS.values())]
    nothing, *found = place.would_run(cases)
    assert nothing == set()
    renamed = {FROZEN, BELIEF, *TABLES}
    second = {f"train tiny/{name}/seed-2" for name in {*CONDITIONS} - {"self"}} | TABLES
    second |= {test.replace("seed-1", "seed-2") for test in (FROZEN, BELIEF)}
    wanted = {name: expected for name, (_, expected) in FIELDS.items()}
    wanted["Suite.name"] = {name.replace("tiny", "other") for name in renamed}
    wanted["Suite.seeds"] = second
    wrong = {
        name: {"too much": sorted(names - wanted[name]), "too little": sorted(wanted[name] - names)}
        for name, names in zip(FIELDS, found, strict=True)
        if names != wanted[name]
    }
    assert wrong == {}


# Code


def edit(file: str, old: str, new: str) -> Case:
    return Case(file=file, old=old, new=new)


READERS = {"figures", "pages"}
CODE: dict[str, tuple[Case, set[str]]] = {
    "a step of training": (edit("train.py", "1 + math.cos(math.pi * share)", "1 + math.cos(3 * share)"), with_dependants(EVERY)),
    "a regime": (edit("perturb.py", 'regime == "sensory_fog"', '"sensory_fog" == regime'), with_dependants(EVERY)),
    "memory": (edit("memory.py", "bound: Tensor) -> Tensor:", "bound: Tensor, _: int = 0) -> Tensor:"), with_dependants(runs("ema", "buffer"))),
    "the test of frozen weights": (edit("frozen_test.py", "zero = min(DOSE_BATCHES, heldout)", "zero = max(DOSE_BATCHES, heldout)"), {FROZEN} | TABLES),
    "beliefs": (edit("probes/belief.py", "def cases(", "def cases(*_, "), {BELIEF} | TABLES),
    "a page's words": (edit("experiments/perturbation.md", "**Asked.**", "**Asked:**"), {"page tiny/shakespeare.md"}),
    "an experiment of other suites": (edit("experiments/swap.py", "EARLY, LATE = 10", "EARLY, LATE = 11"), set()),
    "what carries": (edit("base/storage.py", "def write_text(", "def write_text(*_, "), set()),
    "what decides what runs": (edit("study/runner.py", "ATTEMPTS = 2", "ATTEMPTS = 3"), set()),
    "a definition that nothing reaches": (Case(file="model.py", added="\nCHANGED = 1\n"), set()),
}  # fmt: skip


def test_each_code_edit_reruns_what_reaches_it(place: Place) -> None:
    found = place.would_run([case for case, _ in CODE.values()])
    assert dict(zip(CODE, found, strict=True)) == {name: names for name, (_, names) in CODE.items()}


def test_an_edit_to_one_table_makes_that_one_again_and_what_reads_it(place: Place) -> None:
    (names,) = place.would_run(
        [edit("experiments/runs.py", "windows_of(run.metrics())", "windows_of(run.metrics().copy())")]
    )
    tables = {name for name in names if name.startswith("table ")}
    assert tables == {"table tiny/windows"} and names - tables
    assert all(name.startswith(("figure ", "page ")) for name in names - tables)


# Data files, and the study itself


OTHER = with_dependants(runs("elsewhere"))
MAIN = with_dependants(EVERY - runs("elsewhere"))
DATA = {
    "texts/tiny_text/input.txt": ("More.", {"data tiny_text"} | MAIN),
    "texts/tiny_other/input.txt": ("More.", {"data tiny_other"} | OTHER),
    "out/data/tiny_text/tokens.bin": (None, {"data tiny_text"} | MAIN),
    "out/data/tiny_other/tokens.bin": (None, {"data tiny_other"} | OTHER),
    "out/data/tiny_text/meta.json": ("x", {"data tiny_text"} | MAIN),
    "out/data/tiny_other/meta.json": ("x", {"data tiny_other"} | OTHER),
}


WORDS = {
    "a comment in code": Case(file="train.py", added="\n# a comment\n"),
    "empty lines": Case(file="experiments/runs.py", added="\n\n\n"),
    "a docstring": edit("model.py", '"""Layer norm over', '"""Layer norm, over'),
    "an import": edit("model.py", "import math\n", "import json\nimport math\n"),
    "a script": Case(file="scripts/run_all.py", added="\nCHANGED = 1\n"),
    "README": Case(file="README.md", added="\nMore.\n"),
    "a comment in the config": Case(file="tiny.toml", added="\n# a comment\n"),
    "another suite's config": Case(file="configs/swap.toml", added="\n# a comment\n"),
    "a schedule that none takes": Case(("schedules.unused={kind='windows', windows=[]}",)),
    "a mechanism that none takes": Case(("mechanisms.unused={dim=7}",)),
    "the quick form": Case(("quick.train.steps=5",)),
    "the same value again": Case(("train.steps=30",)),
}
LIBRARIES = {
    "a mechanism": (("mechanisms.own={update='gru'}", "mechanism=own"), with_dependants(STATE)),
    "a condition's mechanism": (
        ("mechanisms.own={update='gru'}", "conditions.ema.mechanism=own"), with_dependants(runs("ema"))
    ),
    "a schedule": (
        ("schedules.own={kind='windows', windows=[]}", "conditions.elsewhere.schedule=own"),
        with_dependants(runs("elsewhere")),
    ),
}  # fmt: skip


def test_each_data_file_reruns_its_corpus_and_words_rerun_nothing(place: Place) -> None:
    cases = {name: Case(file=name, added=added) for name, (added, _) in DATA.items()}
    cases |= {name: Case(overrides) for name, (overrides, _) in LIBRARIES.items()} | WORDS
    expected: dict[str, set[str]] = {name: names for name, (_, names) in (DATA | LIBRARIES).items()}
    found = place.would_run(list(cases.values()))
    assert dict(zip(cases, found, strict=True)) == expected | {name: set() for name in WORDS}


def processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_what_would_run_runs_and_nothing_else(place: Place) -> None:
    out = place.folder / "out"

    def study(*more: str) -> set[str]:
        before = {path: path.stat().st_mtime_ns for path in (out / "logs").iterdir()}
        ended = place.study(*more)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return {path.stem for path in (out / "logs").iterdir() if path.stat().st_mtime_ns != before.get(path)}

    started = processor_s()
    assert study() == set()
    assert processor_s() - started < 3
    text = place.folder / "texts" / "tiny_other" / "input.txt"
    text.write_text(text.read_text() + "Bring me my bow of burning gold. " * 9)
    memory = place.folder / "memory.py"
    memory.write_text(memory.read_text().replace("bound: Tensor) -> Tensor:", "bound: Tensor, _: int = 0) -> Tensor:"))
    tests = {"frozen-tiny-self-seed-1-step-10", "belief-tiny-self-seed-1-step-30"}
    ran = study()
    runs_and_tests = {f"train-tiny-{name}-seed-1" for name in ("elsewhere", "ema", "buffer")} | tests
    assert {name for name in ran if name.startswith(("train", "frozen", "belief"))} == runs_and_tests
    assert {"table-tiny-runs", "page-tiny-shakespeare.md"} <= ran
    # made again, the same: nothing hangs on that
    (out / "data" / "tiny_text" / "tokens.bin").write_bytes(b"")
    os.remove(out / "report" / "tiny" / "shakespeare.md")
    assert study() == {"page-tiny-shakespeare.md"}
