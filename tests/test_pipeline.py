"""What a study plans: keys, order, what a change reaches, and why a task runs again."""

import os
from pathlib import Path

import pytest

from base import code as code_files
from base.storage import ROOT
from configs.suite import load_suite
from configs.toml_file import ConfigError
from runs import folder as run_folder
from study import freshness, phases, refresh
from study import request as studies
from study.plan import Study
from tests.tiny_study import SUITE, keys, planned, request


def test_a_seed_is_trained_and_tested_before_the_next(tmp_path: Path, suite_file: Path) -> None:
    tasks = planned(tmp_path, suite_file)
    assert [(task.seed, task.kind) for task in tasks] == [
        *((1, kind) for kind in ("train", "train", "frozen", "frozen")),
        *((2, kind) for kind in ("train", "train", "frozen", "frozen")),
    ]
    assert tasks[2].inputs == ("train tiny/self_calm/seed-1",)
    assert tasks[0].destination == tmp_path / "runs" / str(tasks[0].key)[:16]


def test_a_run_has_the_key_that_training_gives_it(tmp_path: Path, suite_file: Path) -> None:
    suite = load_suite(suite_file)
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
    with pytest.raises(ConfigError, match=said) as caught:
        load_suite(suite_file)
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
    monkeypatch.chdir(ROOT / "tests")
    assert phases.of_suite("../configs/memory.toml").name == "memory"
    assert phases.of_suite(str(ROOT / "configs" / "swap.toml")).name == "swap"
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
