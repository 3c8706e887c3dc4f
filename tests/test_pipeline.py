"""The study: what it plans, what it runs again and why, what goes wrong, and the whole of it through the command line."""

import contextlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import code_files
import command_line
import config
import freshness
import phases
import pipeline
import progress
import publish
import refresh
import run_folder
import session
import storage
import study as studies
import work
from data.corpus import Corpus
from data.prepare import prepare_text
from data.sources import SourceNotFound
from pipeline import Study, Task
from runner import Runner
from scripts import run_all as script
from storage import UserError
from study import Request
from work import Outcome
from workers import Workers

SUITE = """
name = "tiny"
seeds = 1
corpus = "tiny_text"
[model]
n_layer = 1
n_head = 2
n_embd = 16
block_size = 8
[train]
steps = 60
batch_size = 2
warmup_steps = 1
[log]
effect_interval = 5
probe_sequences = 2
eval_interval = 20
eval_batches = 1
checkpoint_interval = 20
keep_steps = [30]
[self_state]
dim = 4
hidden = 4
[regimes.bewilderment]
probability = 0.5
[schedules.one]
kind = "windows"
windows = [{ regime = "bewilderment", start = 20, end = 40 }]
[conditions.self]
schedule = "one"
[conditions.self_calm]
[frozen_test]
conditions = ["self_calm"]
steps = [30, 60]
finder_batches = 1
dev_batches = 1
heldout_batches = 1
top = 1
doses = 2
random_directions = 2
placebo_draws = 2
[signatures]
permutations = 3
classify_steps = 4
"""
TEXT = "To see a world in a grain of sand, and a heaven in a wild flower. " * 60
RUN_ALL = config.ROOT / "scripts" / "run_all.py"


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(SUITE)
    return path


def request(
    out: Path, suite: Path | None, *overrides: str, only: tuple[str, ...] = (), **more: Any
) -> Request:
    plain = {"quick": False, "seeds": None, "jobs": 1, "force": False, "publish": False}
    return Request(out=out, config=suite, overrides=overrides, only=only, **{**plain, **more})


def planned(
    out: Path, suite: Path, *overrides: str, seeds: int = 2, tokens: str | None = "0" * 64
) -> list[Task]:
    """The plan of a suite as if its corpus were prepared."""
    suites = studies.load_suites(request(out, suite, *overrides, seeds=seeds))
    return pipeline.plan(Study(out, suites, {("tiny_text", "char"): ("tiny_text", tokens)}))


def keys(tasks: list[Task]) -> dict[str, str | None]:
    return {task.name: task.key for task in tasks}


# Planning and keys


def test_a_seed_is_trained_and_tested_before_the_next(tmp_path: Path, suite_file: Path) -> None:
    tasks = planned(tmp_path, suite_file)
    assert [(task.seed, task.kind) for task in tasks] == [
        *((1, kind) for kind in ("train", "train", "frozen", "frozen")),
        *((2, kind) for kind in ("train", "train", "frozen", "frozen")),
    ]
    assert tasks[2].inputs == ("train tiny/self_calm/seed-1",)
    assert tasks[0].destination == tmp_path / "runs" / str(tasks[0].key)[:16]


def test_a_run_has_the_key_that_training_gives_it(tmp_path: Path, suite_file: Path) -> None:
    suite = config.load_suite(suite_file)
    assert planned(tmp_path, suite_file)[0].key == run_folder.run_key(suite.run("self", 1), "0" * 64)


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("conditions.self.train.learning_rate=0.002", {"train tiny/self/seed-1"}),
        ("regimes.bewilderment.probability=0.4", {"train tiny/self/seed-1"}),
        (
            "frozen_test.doses=3",
            {"frozen tiny/self_calm/seed-1/step-30", "frozen tiny/self_calm/seed-1/step-60"},
        ),
        ("signatures.permutations=4", set()),
        ("log.eval_batches=2", None),  # everything
    ],
)
def test_a_change_reaches_its_dependants_alone(
    tmp_path: Path, suite_file: Path, override: str, changed: set[str] | None
) -> None:
    before = keys(planned(tmp_path, suite_file, seeds=1))
    after = keys(planned(tmp_path, suite_file, override, seeds=1))
    assert {name for name in before if before[name] != after[name]} == (
        set(before) if changed is None else changed
    )


def test_other_tokens_change_every_key(tmp_path: Path, suite_file: Path) -> None:
    before, after = planned(tmp_path, suite_file), planned(tmp_path, suite_file, tokens="1" * 64)
    assert not {task.key for task in before} & {task.key for task in after}


def test_a_run_that_two_conditions_share_is_trained_once(tmp_path: Path, suite_file: Path) -> None:
    suite_file.write_text(SUITE + "\n[conditions.again]\n")
    tasks = planned(tmp_path, suite_file, seeds=1)
    assert [task.name for task in tasks if task.kind == "train"] == [
        "train tiny/self/seed-1",
        "train tiny/self_calm/seed-1",
    ]
    assert [view.parent.name for view in tasks[1].views] == ["self_calm", "again"]
    suites = studies.load_suites(request(tmp_path, suite_file, seeds=1))
    study = Study(tmp_path, suites, {("tiny_text", "char"): ("tiny_text", "0" * 64)})
    assert [run.condition for run in refresh.finished_runs(study, tasks)] == ["self", "self_calm", "again"]


def test_conditions_that_share_a_run_share_its_tests_beside_the_partner(
    tmp_path: Path, suite_file: Path
) -> None:
    suite_file.write_text(SUITE + "\n[conditions.again]\n")
    asked = ("frozen_test.foreign=true", "frozen_test.conditions=['self_calm', 'again']")
    tasks = planned(tmp_path, suite_file, *asked)
    assert [task.kind for task in tasks].count("frozen") == 4  # two steps of two seeds
    suites = studies.load_suites(request(tmp_path, suite_file, *asked, seeds=2))
    study = Study(tmp_path, suites, {("tiny_text", "char"): ("tiny_text", "0" * 64)})
    runs = {(run.condition, run.seed): run.frozen for run in refresh.finished_runs(study, tasks)}
    assert runs["again", 1] == runs["self_calm", 1] and [step for step, _ in runs["again", 1]] == [30, 60]


NEEDS = """
[conditions.whole]
log.keep_checkpoints = [10]
[conditions.swapped]
start = { condition = "whole", step = 10, state = "other" }
[conditions.fixed]
self_state.enabled = false
constant_bias = { kind = "fixed", norm_of = "self" }
"""


def test_runs_wait_for_those_they_need(tmp_path: Path, suite_file: Path) -> None:
    suite_file.write_text(SUITE + NEEDS)
    tasks = {task.name: task for task in planned(tmp_path, suite_file, seeds=1)}
    order = list(tasks)
    swapped, fixed = tasks["train tiny/swapped/seed-1"], tasks["train tiny/fixed/seed-1"]
    assert swapped.inputs == (
        "train tiny/whole/seed-1",
        "train tiny/whole/seed-2",
    )  # the partner, beyond the last seed
    assert swapped.arguments["inputs"]["other"] == tasks["train tiny/whole/seed-2"].destination
    assert fixed.inputs == ("train tiny/self/seed-1",)
    assert all(
        order.index(name) < order.index(task.name) for task in (swapped, fixed) for name in task.inputs
    )
    before, after = (
        keys(planned(tmp_path, suite_file, *changed, seeds=1))
        for changed in ((), ("conditions.self.train.beta1=0.8",))
    )
    assert {name for name in before if before[name] != after[name]} == {
        "train tiny/self/seed-1",
        "train tiny/fixed/seed-1",
    }


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("step = 10", "step = 20", "keeps no checkpoint of step 20"),
        ('condition = "whole"', 'condition = "hole"', "did you mean 'whole'"),
        ('norm_of = "self"', 'norm_of = "fixed"', "depends on itself"),
        ("step = 10, ", "step = 60, ", "start.step = 60 is not before"),
        ('state = "other" }', 'state = "other" }\nself_state.dim = 5', "differs in self_state"),
        ("log.keep_checkpoints = [10]", "log.keep_checkpoints = [90]", "beyond the last step"),
    ],
)
def test_a_run_that_cannot_have_what_it_needs_is_refused(
    suite_file: Path, old: str, new: str, said: str
) -> None:
    assert old in NEEDS
    suite_file.write_text(SUITE + NEEDS.replace(old, new))
    with pytest.raises(config.ConfigError, match=said) as caught:
        config.load_suite(suite_file)
    assert "\n" not in str(caught.value)


def test_partners_have_tests_of_their_own(tmp_path: Path, suite_file: Path) -> None:
    both = "belief_test.conditions=['self']"
    tests = [
        task
        for task in planned(tmp_path, suite_file, "frozen_test.foreign=true", both, seeds=4)
        if task.kind != "train"
    ]
    assert [task.kind for task in tests].count("frozen") == 8 and len(tests) == 12
    assert len({task.destination for task in tests}) == 12


def test_an_edit_to_memory_reruns_runs_with_memory_alone(tmp_path: Path, suite_file: Path) -> None:
    suite_file.write_text(SUITE + '[conditions.ema]\nself_state.memory = { kind = "ema" }\n')
    runs = {task.name: task.arguments["run"] for task in planned(tmp_path, suite_file, seeds=1)[:3]}
    having = {name for name, run in runs.items() if "memory.py" in run_folder.code_of(run)}
    assert having == {"train tiny/ema/seed-1"}


def test_a_suite_of_the_study_is_known_by_any_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(config.ROOT / "tests")
    assert phases.of_suite("../configs/memory.toml").name == "memory"
    assert phases.of_suite(str(config.ROOT / "configs" / "swap.toml")).name == "swap"
    assert phases.of_suite(str(tmp_path / "swap.toml")).name == "shakespeare"


def test_code_is_followed_through_imports(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "a.py").write_text("import helper\n")
    (tmp_path / "helper.py").write_text("from pack import part\nX = 1\n")
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "part.py").write_text("Y = 2\n")
    (tmp_path / "unused.py").write_text("Z = 3\n")
    found = code_files.of("figures", tmp_path)
    assert list(found) == ["helper.py", "pack/part.py", "plots/a.py"]


def test_the_frozen_test_depends_on_the_model_and_the_plots_do_not() -> None:
    assert {"frozen_test.py", "model.py", "self_state.py", "evaluate.py"} <= set(code_files.of("frozen"))
    assert "model.py" not in code_files.of("figures")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({}, {"config": {"a": 1}}, "new"),
        ({"config": {"a": {"b": 0.5}}}, {"config": {"a": {"b": 0.4}}}, "config changed: a.b 0.5 -> 0.4"),
        ({"code": "x"}, {"code": "y"}, "code changed"),
        ({"code": {"m.py": "x"}}, {"code": {"m.py": "y"}}, "code changed: m.py"),
        ({"data": "x"}, {"data": "y"}, "data changed"),
        ({"inputs": {"r": "1", "s": "1"}}, {"inputs": {"r": "2"}}, "input changed: r, s (gone)"),
    ],
)
def test_reasons(old: dict, new: dict, said: str) -> None:
    assert freshness.why(old, new) == said


def test_views_are_relative_and_follow(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    view = tmp_path / "suite" / "self" / "seed-1"
    for name in ("one", "two", "two"):
        freshness.point(view, tmp_path / "runs" / name)
        assert os.readlink(view) == f"../../runs/{name}"
    assert [path.name for path in view.parent.iterdir()] == ["seed-1"]


# Running


class Script(Executor):
    """Ends each task at once as the script says: an error, an exception to raise, or nothing for success."""

    def __init__(self, ends: dict[str, list[str | Exception | None]]) -> None:
        self.ends = ends
        self.started: list[str] = []
        self.tasks: list[Task] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        task = args[0]
        self.started.append(task.name)
        self.tasks.append(task)
        ends = self.ends.get(task.name)
        end = ends.pop(0) if ends else None
        future: Future = Future()
        if isinstance(end, Exception):
            future.set_exception(end)
        else:
            future.set_result(Outcome(1.0, end))
        return future


def scripted(tmp_path: Path, suite_file: Path, jobs: int = 1, **ends: Any) -> tuple[Runner, Script]:
    suites = studies.load_suites(request(tmp_path, suite_file, seeds=2))
    study = Study(tmp_path, suites, {("tiny_text", "char"): ("tiny_text", "0" * 64)})
    plan = pipeline.plan(study)
    script = Script(ends.get("ends", {}))
    names = frozenset(task.name for task in plan)
    kinds = ("tables", "figures", "report")
    costs = progress.Costs()
    costs.guess_s = 1.0
    return Runner(study, plan, names, names, kinds, jobs, costs, executor=lambda count: script), script


def test_tables_follow_each_seed(tmp_path: Path, suite_file: Path) -> None:
    runner, script = scripted(tmp_path, suite_file)
    assert runner.run() == []
    kinds = [name.split(" ")[0] for name in script.started]
    seed = ["train", "train", "frozen", "frozen", "tables", "figures", "report"]
    assert kinds == seed * 2
    tables = [task for task in script.tasks if task.kind == "tables"]
    assert [len(task.arguments["runs"]) for task in tables] == [2, 4]
    assert [len(test.frozen) for test in tables[0].arguments["runs"]] == [0, 2]


OTHER = (
    SUITE.replace('name = "tiny"', 'name = "other"')
    .replace("steps = 60", "steps = 50")
    .replace("steps = [30, 60]", "steps = [30, 50]")
)


def two_suites(tmp_path: Path, suite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study of two phases: `shakespeare` with the suite tiny, `controls` with other, no more."""
    (tmp_path / "other.toml").write_text(OTHER)
    made = {"shakespeare": (str(suite_file),), "controls": (str(tmp_path / "other.toml"),)}
    kept = [
        replace(phase, suites=made.get(phase.name, ()))
        for phase in phases.PHASES
        if phase.name in made or not phase.suites
    ]
    monkeypatch.setattr(phases, "PHASES", tuple(kept))


def test_one_experiment_goes_from_its_text_to_its_page(
    tmp_path: Path, suite_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_suites(tmp_path, suite_file, monkeypatch)
    prepared = []

    def prepare(name: str, data: Path, tokenizer: str) -> Corpus:
        prepared.append(name)
        return prepare_text(name, TEXT.encode(), data)

    monkeypatch.setattr(studies, "prepare_corpus", prepare)
    (tmp_path / "other.toml").write_text(OTHER.replace("tiny_text", "other_text"))
    out = tmp_path / "out"
    asked = request(out, None, only=("controls", "figures", "report"))
    study, data = session.prepare(asked, write=True)
    assert prepared == ["other_text"]  # what its runs need, and nothing of the others'
    assert [(name, chosen) for name, _, chosen in data] == [
        ("data tiny_text", False),
        ("data other_text", True),
    ]
    plan = pipeline.plan(study)
    _, _, stale = session.judge(asked, study, plan)
    chosen = phases.choose(asked.only)
    session.require_inputs(asked, chosen, plan, stale)
    for alone in (("figures", "report"), ("frozen_test",)):  # nothing is finished yet
        with pytest.raises(UserError, match=r"first run: \./run\.sh all --only shakespeare"):
            session.require_inputs(asked, phases.choose(alone), plan, stale)

    due = frozenset(task.name for task in plan if task.of({"controls"}))
    script = Script({})
    kinds = session.refresh_kinds(chosen)
    costs = progress.Costs()
    costs.guess_s = 1.0
    runner = Runner(study, plan, stale, due, kinds, 1, costs, executor=lambda count: script)
    assert runner.run() == []
    seed = ["train other/self", "train other/self_calm", "frozen other/self_calm", "frozen other/self_calm"]
    made = ["tables other", "figures other", "report other"]  # of the other suite, and of the claims, nothing
    assert [name.split("/seed")[0] for name in script.started] == [*seed, *made]
    assert runner.ran == 7 == runner._total()


def test_a_page_that_another_suite_made_is_not_cleared_away(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    one, other = (
        Task("report", f"report {name}", ("report",), name * 64, {}, (), folder) for name in ("a", "b")
    )
    for name in ("shared.md", "gone.md"):
        storage.write_text(folder / name, name)
    work._finish(one, tmp_path, [folder / "shared.md", folder / "gone.md"], 0.0)
    work._finish(other, tmp_path, [folder / "shared.md"], 0.0)
    work._finish(one, tmp_path, [], 0.0)
    assert [path.name for path in folder.iterdir()] == ["shared.md"]


def test_a_seed_is_shown_once_its_phase_has_all_of_it(tmp_path: Path, suite_file: Path) -> None:
    tasks = planned(tmp_path, suite_file)
    names = [task.name for task in tasks]
    phase = tasks[0].phase
    tests = tasks[2].phase
    assert refresh.whole(tasks, names) == {(phase, 1), (phase, 2), (tests, 1), (tests, 2)}
    assert refresh.whole(tasks, names[:2]) == {(phase, 1)}
    assert refresh.whole(tasks, names[:5]) == {(phase, 1), (tests, 1)}
    assert refresh.whole(tasks, names[:5], awaited={1}) == frozenset()
    suites = studies.load_suites(request(tmp_path, suite_file, seeds=2))
    study = Study(tmp_path, suites, {("tiny_text", "char"): ("tiny_text", "0" * 64)})
    shown = refresh.finished_runs(study, tasks[:5], refresh.whole(tasks, names[:5]))
    assert [(run.condition, run.seed, len(run.frozen)) for run in shown] == [
        ("self", 1, 0),
        ("self_calm", 1, 2),
    ]
    shown = refresh.finished_runs(study, tasks[:3], refresh.whole(tasks, names[:3]))
    assert [len(run.frozen) for run in shown] == [0, 0]  # one of its tests is still to come
    assert refresh.refresh_tasks(study, tasks[:1], refresh.whole(tasks, names[:1])) == []


def test_a_failure_stops_only_what_needs_it(
    tmp_path: Path, suite_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runner, script = scripted(tmp_path, suite_file, ends={"train tiny/self_calm/seed-1": ["no luck"]})
    failures = runner.run()
    assert [(failure.task.name, failure.error) for failure in failures] == [
        ("train tiny/self_calm/seed-1", "no luck")
    ]
    assert {task.name for task in runner.skipped} == {
        "frozen tiny/self_calm/seed-1/step-30",
        "frozen tiny/self_calm/seed-1/step-60",
    }
    assert script.started.count("train tiny/self_calm/seed-1") == 1  # not tried again
    tables = [task for task in script.tasks if task.kind == "tables"]
    assert [len(task.arguments["runs"]) for task in tables] == [1, 3]
    assert "FAILED train tiny/self_calm/seed-1: no luck" in capsys.readouterr().out


def test_a_run_that_cannot_be_linked_is_a_failure_and_stands(tmp_path: Path, suite_file: Path) -> None:
    runner, script = scripted(tmp_path, suite_file)
    (tmp_path / "tiny" / "self_calm" / "seed-1").mkdir(parents=True)
    (failure,) = runner.run()
    assert failure.task.name == "train tiny/self_calm/seed-1" and "not linked" in failure.error
    assert runner.skipped == [] and "frozen tiny/self_calm/seed-1/step-30" in script.started


@pytest.mark.parametrize(("deaths", "failed"), [(1, 0), (2, 1)])
def test_a_killed_worker_costs_one_more_try(
    tmp_path: Path, suite_file: Path, deaths: int, failed: int
) -> None:
    name = "train tiny/self/seed-1"
    runner, script = scripted(tmp_path, suite_file, ends={name: [BrokenExecutor()] * deaths})
    assert len(runner.run()) == failed
    assert script.started.count(name) == 2


def test_a_killed_process_breaks_its_own_future_only() -> None:
    workers = Workers(2)
    try:
        quick, slow = workers.submit(os.getpid), workers.submit(time.sleep, 1)
        with pytest.raises(RuntimeError, match="busy"):
            workers.submit(os.getpid)
        victim = workers.submit(time.sleep, 60) if quick.result(60) else None
        assert victim is not None
        os.kill(quick.result(), signal.SIGKILL)
        with pytest.raises(BrokenExecutor):
            victim.result(10)
        assert workers.submit(os.getpid).result(60) != quick.result()
        assert slow.result(10) is None
    finally:
        workers.shutdown(wait=False)


def test_two_studies_do_not_share_a_folder(tmp_path: Path) -> None:
    with studies.locked(tmp_path):
        with pytest.raises(UserError, match=f"in use by process {os.getpid()}"), studies.locked(tmp_path):
            pass
        assert studies.holder(tmp_path) == os.getpid()
    assert studies.holder(tmp_path) is None
    with studies.locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't write to"), studies.locked(tmp_path / "file"):
        pass


def test_a_model_larger_than_the_machine_is_refused(tmp_path: Path, suite_file: Path) -> None:
    huge = ("model.n_embd=8192", "model.n_layer=96")
    with pytest.raises(UserError, match="GB of memory"):
        studies.check_memory(studies.load_suites(request(tmp_path, suite_file, *huge)), jobs=4)


# Corpora


def test_without_shakespeare_the_embedded_corpus_stands_in(
    tmp_path: Path, suite_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def prepare(name: str, data: Path, tokenizer: str) -> Corpus:
        tried.append(name)
        if name == "shakespeare_char":
            raise SourceNotFound("no network")
        return prepare_text(name, TEXT.encode(), data)

    monkeypatch.setattr(studies, "prepare_corpus", prepare)
    monkeypatch.setattr(studies, "find_local", lambda *_: None)
    suite_file.write_text(SUITE.replace("tiny_text", "shakespeare_char"))
    asked = request(tmp_path, suite_file)
    suites = studies.load_suites(asked)
    study, _, said = studies.find_corpora(asked, suites, suites)
    assert study.corpora["shakespeare_char", "char"][0] == "pydoc_char"
    (suite,) = study.suites
    assert all("pydoc_char" in text for text in (study.note(suite, 1), study.warnings(suite), said[0]))
    assert pipeline.plan(study)[0].parts["config"]["corpus"] == "pydoc_char"
    studies.find_corpora(asked, suites, suites)
    assert tried == ["shakespeare_char", "pydoc_char", "pydoc_char"]  # begun so, it goes on so
    given = request(tmp_path, suite_file, "corpus=shakespeare_char")
    suites = studies.load_suites(given)
    with pytest.raises(SourceNotFound):
        studies.find_corpora(given, suites, suites)


# Publishing


def test_publishing_replaces_only_what_it_publishes(tmp_path: Path) -> None:
    out, root = tmp_path / "out", tmp_path / "clone"
    for name in ("figures/a.png", "figures/sub/b.png", "report/published/p.md", "tables/s/small.csv"):
        storage.write_text(out / name, name)
    storage.write_text(out / "tables" / "s" / "large.csv", "x" * (publish.SMALL_BYTES + 1))
    storage.write_text(root / "figures" / "other.png", "mine")
    changed = publish.publish(out, root)
    assert {path.relative_to(root).as_posix() for path in changed} == {
        "figures/a.png",
        "figures/sub/b.png",
        "docs/results/p.md",
        "docs/results/tables/s/small.csv",
    }
    assert (root / "figures" / "other.png").read_text() == "mine"
    assert publish.publish(out, root) == []


@pytest.mark.parametrize(
    "more", [{"quick": True}, {"seeds": 8}, {"only": ("shakespeare",)}, {"overrides": ("train.steps=5",)}]
)
def test_only_the_default_study_is_published(tmp_path: Path, more: dict) -> None:
    assert request(tmp_path, None).is_default
    assert not replace(request(tmp_path, None), **more).is_default


# The command line


def run_all(tmp_path: Path, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    texts = tmp_path / "texts" / "tiny_text" / "input.txt"
    if not texts.exists():
        storage.write_text(texts, TEXT)
    environment = {**os.environ, "INTEROCEPTION_DATA": str(tmp_path / "texts")}
    command = [sys.executable, str(RUN_ALL), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, **more)


BAD = [
    (["--seeds", "0"], "--seeds 0"),
    (["--seeds", "-3"], "--seeds -3"),
    (["--seeds", "many"], "many"),
    (["--jobs", "0"], "--jobs 0"),
    (["--jobs", "1000000"], "--jobs 1000000"),
    (["--only", "shakespear"], "did you mean 'shakespeare'"),
    (["--only"], "--only"),
    (["--sed", "3"], "--sed"),
    (["--config", "missing.toml"], "missing.toml does not exist"),
    (["--set", "train.stepz=3"], "train.steps"),
    (["--set", "train.steps=true"], "train.steps"),
    (["--set", "conditions.self.schedule=two"], "two"),
    (["--set", "frozen_test.conditions=[\"nobody\"]"], "nobody"),
    (["--out", "a\0b"], "can't be shown"),
    (["--only", "figures"], "--only data"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_is_one_line_and_nothing_is_written(
    tmp_path: Path, suite_file: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    if "--config" not in arguments:
        arguments = ["--config", str(suite_file), *arguments]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run_all.py", *arguments])
    error = io.StringIO()
    with contextlib.redirect_stderr(error), pytest.raises(SystemExit) as end:
        command_line.run(script.main)
    assert end.value.code == 2
    (line,) = error.getvalue().splitlines()
    assert line.startswith("error: ") and said in line
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_listing_names_every_phase() -> None:
    for phase in phases.PHASES:
        assert phase.name in session.list_phases()
        assert f"`{phase.name}`" in phases.describe()
        assert set(phase.needs) < {other.name for other in phases.PHASES}


def test_nothing_heavy_is_loaded_to_find_nothing_to_do() -> None:
    code = (
        "import sys; sys.path.insert(0, '.'); import session; "
        "print([name for name in ('torch', 'pandas', 'matplotlib', 'sklearn') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=config.ROOT, check=True
    )
    assert found.stdout.strip() == "[]"


def test_ctrl_c_while_modules_are_loaded_ends_quietly(tmp_path: Path) -> None:
    code = f"""
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Press:
    def find_spec(self, name, *_):
        if name == "study":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Press())
runpy.run_path({str(RUN_ALL)!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 130 and done.stderr == ""


def stamps(out: Path) -> dict[str, int]:
    """Every file of an output folder with its time, but the lock's."""
    return {
        str(path): path.stat().st_mtime_ns
        for path in out.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def children_s() -> float:
    """Processor time of the subprocesses so far: other work on the machine does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_whole_study_twice(tmp_path: Path, suite_file: Path) -> None:
    study = ("--config", str(suite_file), "--out", "out", "--jobs", "1")
    dry = run_all(tmp_path, *study, "--dry-run")
    assert dry.returncode == 0 and "run   train tiny/self/seed-1: waits for data" in dry.stdout
    assert not (tmp_path / "out").exists()

    first = run_all(tmp_path, *study)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "[7/7] report" in first.stdout and first.stderr == ""
    out = tmp_path / "out"
    assert (out / "figures" / "learning-curves.png").is_file()
    assert "tiny_text" in (out / "report" / "shakespeare.md").read_text()
    assert os.readlink(out / "tiny" / "self" / "seed-1").startswith("../../runs/")
    run = json.loads((out / "tiny" / "self" / "seed-1" / "run.json").read_text())
    assert run["status"] == "complete" and run["threads"] == 1
    assert list((out / "progress").iterdir()) == []

    before = stamps(out)
    started = children_s()
    second = run_all(tmp_path, *study)
    assert second.returncode == 0 and "nothing to run: all is up to date" in second.stdout
    assert stamps(out) == before
    assert children_s() - started < 3

    def would_run(*more: str) -> list[str]:
        found = run_all(tmp_path, *study, "--dry-run", *more)
        assert found.returncode == 0, found.stderr
        return [line for line in found.stdout.splitlines() if not line.startswith("skip")]

    assert would_run() == []
    assert would_run("--set", "regimes.bewilderment.probability=0.4") == [
        "run   train tiny/self/seed-1: config changed: regimes.bewilderment.probability 0.5 -> 0.4",
        "run   tables tiny: input changed: train tiny/self/seed-1",
        "run   figures tiny: input changed: tables tiny",
        "run   report tiny: input changed: tables tiny",
    ]
    weights = out / "tiny" / "self_calm" / "seed-1" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (line,) = would_run()
    assert line.startswith("run   train tiny/self_calm/seed-1: not whole: ") and weights.name in line
    third = run_all(tmp_path, *study, "--only", "shakespeare")
    assert f"note: train tiny/self_calm/seed-1 is made again, not whole: {Path('out/runs')}" in third.stdout
    assert "[1/1] train tiny/self_calm/seed-1" in third.stdout
    assert weights.read_bytes() == content
    assert would_run() == []
    (tmp_path / "texts" / "tiny_text" / "input.txt").write_text(TEXT + "More.")
    assert would_run()[0].startswith("run   data tiny_text: data changed")


@contextlib.contextmanager
def started_study(tmp_path: Path, suite_file: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A study that would train for minutes, once a run of it has begun."""
    storage.write_text(tmp_path / "texts" / "tiny_text" / "input.txt", TEXT)
    environment = {**os.environ, "INTEROCEPTION_DATA": str(tmp_path / "texts")}
    command = [sys.executable, str(RUN_ALL), "--config", str(suite_file), "--out", "out", "--jobs", "1"]
    command += ["--set", "train.steps=1000000", "--set", "frozen_test.steps=[]", *more]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "out" / "progress").glob("*.json")):
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.communicate()


def worker_of(out: Path) -> int:
    """The process that writes the log of the first run."""
    (log,) = (out / "logs").glob("train-tiny-self-*.log")
    return int(log.read_text().split("process ")[1].split(",")[0])


def gone(process: int, seconds: float = 3.0) -> bool:
    """Whether a process ends within some time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if "\nState:\tZ" in Path(f"/proc/{process}/status").read_text():
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at processes in /proc")
def test_interrupted_and_killed_studies_leave_nothing_behind(tmp_path: Path, suite_file: Path) -> None:
    with started_study(tmp_path, suite_file) as process:
        worker = worker_of(tmp_path / "out")
        second = run_all(tmp_path, "--config", str(suite_file), "--out", "out")
        assert second.returncode == 2 and f"in use by process {process.pid}" in second.stderr
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=5)
        assert process.returncode == 130
        (line,) = error.splitlines()
        assert "goes on" in line
        assert gone(worker)
    with started_study(tmp_path, suite_file) as process:
        worker = worker_of(tmp_path / "out")
        process.kill()
        process.communicate()
        assert gone(worker)
    assert studies.holder(tmp_path / "out") is None
