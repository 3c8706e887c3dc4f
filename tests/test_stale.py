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

import config
import storage
from tests import stale_study
from tests.stale_study import Case, Place

# The study's parts, and what hangs on each


SELF, PARTNER = "train tiny/self/seed-1", "train tiny/self/seed-2"
FROZEN, BELIEF = "frozen tiny/self/seed-1/step-10", "belief tiny/self/seed-1/step-30"
PAGES = {"figures tiny", "report tiny"}
TABLES = {"tables tiny"} | PAGES
CONDITIONS = (
    "self",
    "vanilla",
    "ema",
    "buffer",
    "fixed",
    "learned",
    "goes_on",
    "heard",
    "matched",
    "elsewhere",
)
HANGS_ON = {
    SELF: {
        "train tiny/fixed/seed-1",
        "train tiny/matched/seed-1",
        "train tiny/goes_on/seed-1",
        FROZEN,
        BELIEF,
    },
    PARTNER: {"train tiny/goes_on/seed-1", "train tiny/heard/seed-1", BELIEF},
}


def runs(*conditions: str) -> set[str]:
    """The runs of some conditions: `self` has one more, of the partner seed."""
    found = {f"train tiny/{name}/seed-1" for name in conditions}
    return found | {PARTNER} if "self" in conditions else found


def with_dependants(changed: set[str]) -> set[str]:
    """Some tasks and what waits for them; tables, figures and pages wait for all."""
    found = set(changed)
    for name in changed:
        found |= HANGS_ON.get(name, set())
    return found | TABLES if found else found


EVERY = runs(*CONDITIONS)
VANILLA = runs("vanilla")
STATE = runs(*({*CONDITIONS} - {"vanilla", "fixed", "learned"}))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return stale_study.make(tmp_path_factory.mktemp("stale") / "clone")


# Config fields


def of(condition: str, setting: str) -> tuple[str, set[str]]:
    return f"conditions.{condition}.{setting}", with_dependants(runs(condition))


def everywhere(setting: str, changed: set[str] = EVERY) -> tuple[str, set[str]]:
    return setting, with_dependants(changed)


def window(regime: str, start: int, end: int) -> str:
    return f"schedules.one.windows=[{{regime='{regime}', start={start}, end={end}}}]"


WINDOWED = runs("self", "vanilla")
TESTED = {FROZEN} | TABLES
FIELDS: dict[str, tuple[str, set[str]]] = {
    "RunConfig.corpus": of("vanilla", "corpus=tiny_other"),
    "RunConfig.tokenizer": (
        "conditions.vanilla.tokenizer='bpe:260'", with_dependants(VANILLA) | {"data tiny_text-bpe260"}
    ),
    "RunConfig.model": of("elsewhere", "model.n_embd=32"),
    "RunConfig.train": of("elsewhere", "train.beta1=0.8"),
    "RunConfig.log": of("elsewhere", "log.eval_interval=5"),
    "RunConfig.self_state": of("elsewhere", "self_state.dim=5"),
    "RunConfig.constant_bias": of("vanilla", "constant_bias={kind='learned'}"),
    "RunConfig.start": ("conditions.new.start={condition='self', step=10}", runs("new") | TABLES),
    "RunConfig.schedule": of("elsewhere", "schedule=one"),
    "RunConfig.regimes": of("self", "regimes.bewilderment.probability=0.4"),
    "Model.n_layer": everywhere("model.n_layer=2"),
    "Model.n_head": everywhere("model.n_head=4"),
    "Model.n_embd": everywhere("model.n_embd=32"),
    "Model.block_size": everywhere("model.block_size=9"),
    "Model.dropout": everywhere("model.dropout=0.1"),
    "Model.bias": everywhere("model.bias=true"),
    "Train.steps": (
        "train.steps=31", with_dependants(EVERY) - {BELIEF} | {BELIEF.replace("step-30", "step-31")}
    ),
    "Train.stop": of("elsewhere", "train.stop=29"),
    "Train.batch_size": everywhere("train.batch_size=3"),
    "Train.grad_accum": everywhere("train.grad_accum=2"),
    "Train.learning_rate": everywhere("train.learning_rate=0.002"),
    "Train.min_learning_rate": everywhere("train.min_learning_rate=0.0002"),
    "Train.warmup_steps": everywhere("train.warmup_steps=2"),
    "Train.beta1": everywhere("train.beta1=0.8"),
    "Train.beta2": everywhere("train.beta2=0.98"),
    "Train.weight_decay": everywhere("train.weight_decay=0.2"),
    "Train.grad_clip": everywhere("train.grad_clip=0.5"),
    "Train.dtype": everywhere("train.dtype=float32"),
    "Log.effect_interval": everywhere("log.effect_interval=6", EVERY - VANILLA),
    "Log.probe_sequences": everywhere("log.probe_sequences=3", EVERY - VANILLA),
    "Log.eval_interval": everywhere("log.eval_interval=5"),
    "Log.eval_batches": everywhere("log.eval_batches=2"),
    "Log.checkpoint_interval": everywhere("log.checkpoint_interval=7"),
    "Log.keep_steps": everywhere("log.keep_steps=[10, 20]"),
    "Log.keep_checkpoints": of("vanilla", "log.keep_checkpoints=[5]"),
    "SelfState.enabled": of("ema", "self_state.enabled=false"),
    "SelfState.dim": everywhere("self_state.dim=5", STATE),
    "SelfState.decay": everywhere("self_state.decay=0.3", STATE),
    "SelfState.senses": of("elsewhere", "self_state.senses={kind='clock'}"),
    "SelfState.update": everywhere("self_state.update=gru", STATE),
    "SelfState.hidden": everywhere("self_state.hidden=5", STATE),
    "SelfState.standardise": everywhere("self_state.standardise=true", STATE),
    "SelfState.stat_momentum": everywhere("self_state.stat_momentum=0.9", STATE),
    "SelfState.stat_clip": everywhere("self_state.stat_clip=3.0", STATE),
    "SelfState.init": everywhere("self_state.init=default", STATE),
    "SelfState.weight_decay": everywhere("self_state.weight_decay=false", STATE),
    "SelfState.match_norm_of": of("matched", "self_state.match_norm_of=ema"),
    "SelfState.memory": of("elsewhere", "self_state.memory={kind='ema'}"),
    "EmaMemory.decay": of("ema", "self_state.memory.decay=0.2"),
    "EmaMemory.limit": of("ema", "self_state.memory.limit=2.0"),
    "BufferMemory.length": of("buffer", "self_state.memory.length=5"),
    "BufferMemory.stride": of("buffer", "self_state.memory.stride=3"),
    "BufferMemory.limit": of("buffer", "self_state.memory.limit=2.0"),
    "OwnStats.age": of("elsewhere", "self_state.senses={kind='own', age=2}"),
    "RecordedStats.condition": (
        "conditions.heard.self_state.senses.condition=vanilla",
        {"train tiny/heard/seed-1", "train tiny/vanilla/seed-2"} | TABLES,
    ),
    "RecordedStats.seed": of("heard", "self_state.senses.seed=own"),
    "RecordedStats.shuffled": of("heard", "self_state.senses.shuffled=true"),
    "FixedBias.norm_of": of("fixed", "constant_bias.norm_of=ema"),
    "FixedBias.factor": of("fixed", "constant_bias.factor=2.0"),
    "Start.condition": of("goes_on", "start={condition='self', step=10, state='own'}"),
    "Start.step": of("goes_on", "start.step=20"),
    "Start.state": of("goes_on", "start.state=zero"),
    "Windows.windows": (window("bewilderment", 11, 20), with_dependants(WINDOWED)),
    "Window.regime": (window("sensory_fog", 10, 20), with_dependants(WINDOWED)),
    "Window.start": (window("bewilderment", 9, 20), with_dependants(WINDOWED)),
    "Window.end": (window("bewilderment", 10, 21), with_dependants(WINDOWED)),
    "RandomWindows.durations": of("buffer", "schedule.durations.self_clamp=11"),
    "RandomWindows.first": of("buffer", "schedule.first=3"),
    "RandomWindows.washout": of("buffer", "schedule.washout=2"),
    "Recurring.regimes": of("fixed", "schedule.regimes=['sensory_fog', 'bewilderment']"),
    "Recurring.enter": of("fixed", "schedule.enter=0.3"),
    "Recurring.leave": of("fixed", "schedule.leave=0.3"),
    "Recurring.first": of("fixed", "schedule.first=3"),
    "Regimes.bewilderment": everywhere("regimes.bewilderment={probability=0.4}", WINDOWED),
    "Regimes.sensory_fog": everywhere("regimes.sensory_fog={probability=0.4}", runs("fixed")),
    "Regimes.false_feedback": everywhere("regimes.false_feedback={loss=0.4}", runs("matched")),
    "Regimes.self_clamp": everywhere("regimes.self_clamp={mode='noise'}", runs("buffer")),
    "Regimes.lr_heatwave": everywhere("regimes.lr_heatwave={factor=3.0}", runs("learned")),
    "Bewilderment.probability": everywhere("regimes.bewilderment.probability=0.4", WINDOWED),
    "SensoryFog.probability": everywhere("regimes.sensory_fog.probability=0.4", runs("fixed")),
    "LrHeatwave.factor": everywhere("regimes.lr_heatwave.factor=3.0", runs("learned")),
    **{
        f"FalseFeedback.{name}": everywhere(f"regimes.false_feedback.{name}=0.3", runs("matched"))
        for name in ("loss", "entropy", "top1", "grad_norm", "progress")
    },
    "SelfClamp.mode": everywhere("regimes.self_clamp.mode=clamp", runs("buffer")),
    **{
        f"SelfClamp.{name}": everywhere(f"regimes.self_clamp.{name}=0.7", runs("buffer"))
        for name in ("limit", "std", "factor")
    },
    "Suite.name": ("name=other", set()),  # what it is depends on is renamed, see the test
    "Suite.seeds": ("seeds=2", set()),  # see the test
    "Suite.conditions": ("conditions.new.train.beta1=0.7", runs("new") | TABLES),
    "Suite.frozen_test": ("frozen_test.doses=3", TESTED),
    "Suite.belief_test": ("belief_test.conditions=[]", TABLES),
    "Suite.signatures": ("signatures.permutations=4", TABLES),
    "FrozenTest.conditions": ("frozen_test.conditions=[]", TABLES),
    "FrozenTest.steps": ("frozen_test.steps=[10, 30]", {FROZEN.replace("step-10", "step-30")} | TABLES),
    **{
        f"FrozenTest.{name}": (f"frozen_test.{name}=3", TESTED)
        for name in ("finder_batches", "dev_batches", "doses", "random_directions", "placebo_draws")
    },
    "FrozenTest.dose_placebos": ("frozen_test.dose_placebos=2", TESTED),
    "FrozenTest.top": ("frozen_test.top=2", TESTED),
    "FrozenTest.heldout_batches": ("frozen_test.heldout_batches=2", TESTED | {BELIEF}),
    "FrozenTest.magnitude": ("frozen_test.magnitude=0.4", TESTED),
    "FrozenTest.foreign": ("frozen_test.foreign=true", TESTED),
    "BeliefTest.conditions": ("belief_test.conditions=[]", TABLES),
    "Signatures.pre_steps": ("signatures.pre_steps=21", TABLES),
    "Signatures.classify_steps": ("signatures.classify_steps=5", TABLES),
    "Signatures.permutations": ("signatures.permutations=4", TABLES),
}  # fmt: skip
NOT_SET = {  # fields that no config file can set
    "RunConfig.seed": "the study numbers its seeds",
    "Suite.path": "the file itself",
    "Suite.quick": "the option --quick",
}


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
    assert set(fields(config.Suite, set())) == set(FIELDS) | set(NOT_SET)


def test_each_field_reruns_what_hangs_on_it(place: Place) -> None:
    before = stale_study.Case()
    cases = [before, *(Case(overrides=(override,)) for override, _ in FIELDS.values())]
    nothing, *found = place.would_run(cases)
    assert nothing == set()
    renamed = {FROZEN, BELIEF, *TABLES}
    second = {f"train tiny/{name}/seed-2" for name in {*CONDITIONS} - {"self"}} | TABLES
    second |= {FROZEN.replace("seed-1", "seed-2")}  # the belief test takes two seeds at once
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
        ["config.py", "config_file.py", "run_config.py"], "the values are hashed, field by field"
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
    path = config.ROOT / "train.py"
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
