"""What a study plans: keys, order, what a change reaches, and why a step runs again."""

import os
from pathlib import Path

import pytest

from base.storage import ROOT
from configs.suite import load_suite
from configs.toml_file import ConfigError
from runs import folder as run_folder
from study import book, freshness, phases
from study import request as studies
from study.plan import Study
from tests.tiny_study import SUITE, keys, planned, request


def test_a_seed_is_trained_and_tested_before_the_next(tmp_path: Path, suite_file: Path) -> None:
    steps = planned(tmp_path, suite_file)
    assert [(step.seed, step.kind) for step in steps] == [
        *((1, kind) for kind in ("train", "train", "frozen", "frozen")),
        *((2, kind) for kind in ("train", "train", "frozen", "frozen")),
    ]
    assert steps[2].inputs == ("train tiny/self_calm/seed-1",)
    assert steps[0].destination == tmp_path / "runs" / str(steps[0].key)[:16]


def test_a_run_has_the_key_that_training_gives_it(tmp_path: Path, suite_file: Path) -> None:
    suite = load_suite(suite_file)
    assert planned(tmp_path, suite_file)[0].key == run_folder.run_key(suite.run("self", 1), "0" * 64)


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("conditions.self.train.learning_rate=0.002", {"train tiny/self/seed-1"}),
        ("regimes.bewilderment.probability=0.4", {"train tiny/self/seed-1"}),
        (
            "probe.frozen.doses=3",
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
    assert not {step.key for step in before} & {step.key for step in after}


def test_a_run_that_two_conditions_share_is_trained_once(tmp_path: Path, suite_file: Path) -> None:
    suite_file.write_text(SUITE + "\n[conditions.again]\n", encoding="utf-8")
    steps = planned(tmp_path, suite_file, seeds=1)
    assert [step.name for step in steps if step.kind == "train"] == [
        "train tiny/self/seed-1",
        "train tiny/self_calm/seed-1",
    ]
    assert [view.parent.name for view in steps[1].views] == ["self_calm", "again"]
    suites = studies.load_suites(request(tmp_path, suite_file, seeds=1))
    study = Study(tmp_path, suites, {("tiny_text", "char"): ("tiny_text", "0" * 64)})
    assert [run.condition for run in book.finished_runs(study, steps)] == ["self", "self_calm", "again"]


def test_conditions_that_share_a_run_share_its_tests_beside_the_partner(
    tmp_path: Path, suite_file: Path
) -> None:
    suite_file.write_text(SUITE + "\n[conditions.again]\n", encoding="utf-8")
    asked = ("probe.frozen.foreign=true", "probe.frozen.conditions=['self_calm', 'again']")
    steps = planned(tmp_path, suite_file, *asked)
    assert [step.kind for step in steps].count("frozen") == 4  # two steps of two seeds
    suites = studies.load_suites(request(tmp_path, suite_file, *asked, seeds=2))
    study = Study(tmp_path, suites, {("tiny_text", "char"): ("tiny_text", "0" * 64)})
    runs = {(run.condition, run.seed): run.probes for run in book.finished_runs(study, steps)}
    assert (
        runs["again", 1] == runs["self_calm", 1] and [kind for kind, _ in runs["again", 1]] == ["frozen"] * 2
    )


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
    suite_file.write_text(SUITE + NEEDS, encoding="utf-8")
    steps = {step.name: step for step in planned(tmp_path, suite_file, seeds=1)}
    order = list(steps)
    swapped, fixed = steps["train tiny/swapped/seed-1"], steps["train tiny/fixed/seed-1"]
    assert swapped.inputs == (
        "train tiny/whole/seed-1",
        "train tiny/whole/seed-2",
    )  # the partner, beyond the last seed
    assert swapped.arguments["inputs"]["other"] == steps["train tiny/whole/seed-2"].destination
    assert fixed.inputs == ("train tiny/self/seed-1",)
    assert all(
        order.index(name) < order.index(step.name) for step in (swapped, fixed) for name in step.inputs
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
    suite_file.write_text(SUITE + NEEDS.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=said) as caught:
        load_suite(suite_file)
    assert "\n" not in str(caught.value)


def test_partners_have_tests_of_their_own(tmp_path: Path, suite_file: Path) -> None:
    both = "probe.belief.conditions=['self']"
    tests = [
        step
        for step in planned(tmp_path, suite_file, "probe.frozen.foreign=true", both, seeds=4)
        if step.kind != "train"
    ]
    assert [step.kind for step in tests].count("frozen") == 8 and len(tests) == 12
    assert len({step.destination for step in tests}) == 12


def test_an_edit_to_memory_reruns_runs_with_memory_alone(tmp_path: Path, suite_file: Path) -> None:
    suite_file.write_text(
        SUITE + '[conditions.ema]\nself_state.memory = { kind = "ema" }\n', encoding="utf-8"
    )
    runs = {step.name: step.arguments["run"] for step in planned(tmp_path, suite_file, seeds=1)[:3]}
    having = {name for name, run in runs.items() if "recall" in run_folder.code_of(run)}
    assert having == {"train tiny/ema/seed-1"}


def test_a_suite_of_the_study_is_known_by_any_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT / "tests")
    assert phases.of_suite("../configs/ambiguous.toml", "ambiguous") == "memory"
    assert phases.of_suite(str(ROOT / "configs" / "swap.toml"), "swap") == "swap"
    assert phases.of_suite(str(tmp_path / "swap.toml"), "mine") == "mine"


def test_phases_are_found_in_the_suites_files(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    for name, about in {
        "late": 'order = 9\ndoes = "late things"',
        "early": 'order = 2\ndoes = "early things"\nphase = "pair"',
        "other": 'order = 3\ndoes = "more of them"\nphase = "pair"\noptional = true',
    }.items():
        (tmp_path / "configs" / f"{name}.toml").write_text(f'name = "{name}"\n[study]\n{about}\n')
    (tmp_path / "configs" / "base.toml").write_text("seeds = 1\n")
    found = phases.declared(tmp_path)
    assert [phase.name for phase in found] == ["data", "pair", "late", "figures", "report"]
    assert found[1].does == "early things; more of them" and not found[1].optional
    assert [path.stem for path in found[1].suites] == ["early", "other"]
    phases.declared.cache_clear()
    (tmp_path / "configs" / "late.toml").write_text('name = "late"\n[study]\norder = "first"\n')
    with pytest.raises(ConfigError, match=r"order = 'first'.*late.toml, line 3"):
        phases.declared(tmp_path)
    phases.declared.cache_clear()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({}, {"config": {"a": 1}}, "new"),
        ({"config": {"a": {"b": 0.5}}}, {"config": {"a": {"b": 0.4}}}, "config changed: a.b 0.5 -> 0.4"),
        ({"code": {"GPT": "x", "f": "1"}}, {"code": {"GPT": "y", "f": "1"}}, "code changed: GPT"),
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


def test_a_view_leads_to_its_run_where_its_suite_is_a_link_or_it_became_a_text(tmp_path: Path) -> None:
    run = tmp_path / "out" / "runs" / "one"
    run.mkdir(parents=True)
    (tmp_path / "a" / "large" / "disk").mkdir(parents=True)
    (tmp_path / "out" / "suite").symlink_to(tmp_path / "a" / "large" / "disk")
    view = tmp_path / "out" / "suite" / "self" / "seed-1"
    freshness.point(view, run)
    assert view.samefile(run) and run_folder.viewed(view) == view
    target = os.readlink(view)
    view.unlink()
    view.write_text(target)  # as some ways to copy a folder leave it
    assert run_folder.viewed(view).samefile(run)
    freshness.point(view, run)
    assert view.is_symlink() and view.samefile(run)
    view.unlink()
    for text in ("", "nowhere", "x" * 300 + "\0"):
        view.write_text(text)
        assert run_folder.viewed(view) == view


def test_what_each_suite_makes_goes_by_its_own_name() -> None:
    def places(name: str) -> list[Path]:
        return [
            Path(below, file)
            for _, experiment, below in book.of_suite(name)
            for file in (experiment.page, *(figure.name for figure in experiment.figures))
        ]

    own = ("tiny", "other", "perturbation", "beliefs")  # the last two are folders of the study's figures, too
    assert all(places(name) for name in own)
    every = [place for name in (*phases.suite_names(), *own) for place in places(name)]
    assert len(set(every)) == len(every)
