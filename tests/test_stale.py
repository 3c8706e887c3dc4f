"""Each config field, data file and code file changed in turn: what would run again is what hangs on it, and no more.

What hangs on what is said here a second time, in tables and by Python's own import finder, not by the code under test.
"""

import modulefinder
import os
import re
import resource
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from base import storage
from base.storage import ROOT
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


# Code files


CARRIERS = {
    **dict.fromkeys(
        [
            "config.py",
            "config_file.py",
            "run_config.py",
            "state_config.py",
            "world_config.py",
            "field_types.py",
        ],
        "the values are hashed, field by field",
    ),
    **dict.fromkeys(
        ["storage.py", "faults.py", "run_folder.py", "command_line.py"], "carry bytes that are hashed"
    ),
    "capacity.py": "refuses before anything is made",
    **dict.fromkeys(
        [
            "data/tokenizers.py",
            "data/sources.py",
            "data/prepare.py",
            "data/documents.py",
            "data/pydoc_text.py",
        ],
        "make the tokens, which are hashed",
    ),
    **dict.fromkeys(
        ["pipeline.py", "refresh.py", "code_files.py", "work.py", "phases.py", "data/__init__.py"],
        "say what is due",
    ),
}
"""Files that tasks import and that no number can change by: what they carry is part of the key itself."""
USED_BY = {"memory.py": runs("ema", "buffer"), "constant_bias.py": runs("fixed", "learned")}
ROOTS = {
    "runs": ["train.py"],
    "frozen": ["frozen_test.py"],
    "belief": ["belief.py"],
    "tables": ["analysis"],
    "figures": ["plots"],
    "report": ["reports"],
}


def reached(clone: Path, roots: list[str]) -> set[str]:
    """The clone's files that some files import, by Python's own finder, imports inside functions included."""
    finder = modulefinder.ModuleFinder(path=[str(clone)])
    found = set()
    for root in roots:
        paths = sorted((clone / root).rglob("*.py")) if (clone / root).is_dir() else [clone / root]
        for path in paths:
            found.add(path)
            finder.load_file(str(path))
    places = [getattr(module, "__file__", None) for module in finder.modules.values()]
    found |= {Path(place) for place in places if place}
    return {path.relative_to(clone).as_posix() for path in found if path.is_relative_to(clone)}


def test_each_code_file_reruns_what_runs_it(place: Place) -> None:
    clone = place.folder
    files = sorted(
        path.relative_to(clone).as_posix()
        for path in clone.rglob("*.py")
        if not {"out", "texts", "scripts"} & set(path.relative_to(clone).parts)
    )
    assert len(files) > 90
    reach = {part: reached(clone, roots) - set(CARRIERS) for part, roots in ROOTS.items()}
    found = place.would_run([Case(file=name, added="\nCHANGED = 1\n") for name in files])
    wrong = {}
    for name, names in zip(files, found, strict=True):
        changed: set[str] = set()
        if name in reach["runs"]:
            changed |= USED_BY.get(name, EVERY)
        changed |= {FROZEN} if name in reach["frozen"] else set()
        changed |= {BELIEF} if name in reach["belief"] else set()
        expected = with_dependants(changed)
        expected |= TABLES if name in reach["tables"] else set()
        expected |= {"figures tiny"} if name in reach["figures"] else set()
        expected |= {"report tiny"} if name in reach["report"] else set()
        if names != expected:
            wrong[name] = {"too much": sorted(names - expected), "too little": sorted(expected - names)}
    assert wrong == {}


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
    "empty lines": Case(file="analysis/tables.py", added="\n\n\n"),
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


def test_other_docstrings_rerun_nothing(tmp_path: Path) -> None:
    path = ROOT / "train.py"
    changed = re.sub(r'^""".*?"""', '"""Other words."""', path.read_text(), count=1, flags=re.DOTALL)
    (tmp_path / "train.py").write_text(changed)
    assert changed != path.read_text()
    assert storage.code_hash([path]) == storage.code_hash([tmp_path / "train.py"])


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
    memory.write_text(memory.read_text() + "\nCHANGED = 1\n")
    tests = {"frozen-tiny-self-seed-1-step-10", "belief-tiny-self-seed-1-step-30"}
    tables = {"tables-tiny", "figures-tiny", "report-tiny"}
    assert study() == {
        *(f"train-tiny-{name}-seed-1" for name in ("elsewhere", "ema", "buffer")),
        *tests,
        *tables,
    }
    (out / "data" / "tiny_text" / "tokens.bin").write_bytes(
        b""
    )  # made again, the same: nothing hangs on that
    os.remove(out / "report" / "shakespeare.md")
    assert study() == {"report-tiny"}
