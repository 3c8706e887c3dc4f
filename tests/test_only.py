"""What --only and --condition mean: phases and suites by name, with what they need, and nothing else."""

from pathlib import Path

import pytest

from study import phases, session
from study import request as studies
from study.phases import DATA, FIGURES, REPORT, TRAIN, choose
from study.plan import Study
from study.plan import plan as planned
from tests.tiny_study import request


def test_a_suite_brings_its_figures_and_pages() -> None:
    assert choose(["memory"]) == {"memory", FIGURES, REPORT}
    assert choose(["ambiguous", DATA]) == {"ambiguous", DATA, FIGURES, REPORT}
    assert choose(["memory", TRAIN]) == {"memory", TRAIN} and choose(["memory", FIGURES]) == {
        "memory",
        FIGURES,
    }
    assert choose([FIGURES]) == {FIGURES} and choose([DATA]) == {DATA}
    assert choose([TRAIN]) == choose([]) - {DATA, FIGURES, REPORT} | {TRAIN} and "dials" not in choose([])
    assert choose([TRAIN], "mine") == {TRAIN, "mine"}


def test_what_is_changed_in_a_suite_need_not_fit_the_others(tmp_path: Path) -> None:
    asked = request(
        tmp_path, None, "conditions.self.regimes.bewilderment.probability=0.3", only=("shakespeare",)
    )
    assert [suite.name for suite in studies.load_suites(asked)] == ["shakespeare"]
    both = studies.load_suites(request(tmp_path, None, "train.batch_size=4", only=("memory",)))
    assert [suite.name for suite in both] == ["memory", "ambiguous"]


def test_a_value_that_levels_conditions_says_which(tmp_path: Path) -> None:
    asked = request(
        tmp_path,
        None,
        "self_state.decay=0.5",
        "train.learning_rate=0.002",
        only=("floors",),
        conditions=("state", "direct", "one"),
    )
    (said,) = studies.levelled(asked, studies.load_suites(asked))
    assert (
        "on `direct`, whose own self_state.decay is another; --set conditions.NAME.self_state.decay=0.5"
        in said
    )
    alone = request(tmp_path, None, "conditions.direct.self_state.decay=0.5", only=("floors",))
    assert not studies.levelled(alone, studies.load_suites(alone))


def test_a_page_says_what_was_changed(tmp_path: Path) -> None:
    asked = request(
        tmp_path,
        None,
        "train.steps=40",
        "train.learning_rate=0.002",
        only=("floors",),
        conditions=("vanilla",),
        seeds=1,
    )
    study, _ = session.prepare(asked, write=False)
    (suite,) = study.suites
    assert study.warnings(suite) == "Changed by --set: train.steps=40, train.learning_rate=0.002."
    assert study.note(suite, 1).startswith(study.warnings(suite))


def test_conditions_come_with_the_runs_that_they_need(tmp_path: Path) -> None:
    asked = request(tmp_path, None, only=("controls",), conditions=("fixed_bias",), seeds=1)
    (suite,) = studies.load_suites(asked)
    assert [*suite.conditions] == ["self", "fixed_bias"] and suite.probes["frozen"].conditions == ()
    steps = planned(Study(tmp_path, (suite,), {("shakespeare_char", "char"): ("shakespeare_char", "0" * 64)}))
    assert {step.name for step in steps} == {f"train controls/{name}/seed-1" for name in suite.conditions}
    assert all(step.of(choose(["controls"])) and step.phases == ("controls",) for step in steps)
    assert "--condition fixed_bias" in session.command(asked) and not asked.is_default
    with pytest.raises(
        Exception, match="unknown condition 'fixed_bia' in --condition; did you mean 'fixed_bias'"
    ):
        studies.load_suites(request(tmp_path, None, only=("controls",), conditions=("fixed_bia",)))


def test_figures_of_a_fresh_clone_are_of_the_committed_tables(tmp_path: Path) -> None:
    assert session.from_committed(request(tmp_path, None, only=(FIGURES,)))
    assert not session.from_committed(request(tmp_path, None))
    assert not session.from_committed(request(tmp_path, None, only=(FIGURES, "memory")))
    assert not session.from_committed(request(tmp_path, None, only=(FIGURES,), quick=True))
    (tmp_path / "runs" / "k").mkdir(parents=True)
    assert not session.from_committed(request(tmp_path, None, only=(FIGURES,)))
    assert not phases.asked("x.toml", "x", {FIGURES})
