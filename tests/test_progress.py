"""The time that a study takes, told from its first steps; held against a study that was recorded."""

import csv
from pathlib import Path

import pytest

from base.storage import ROOT
from configs.suite import load_suite
from study import plan as pipeline
from study import progress
from study.plan import Step, Study

RECORDED = ROOT / "tests" / "recorded" / "study.csv"
"""Seconds of the steps of shakespeare.toml in the order in which they ended, on two cores that others used as well."""


def recorded(out: Path) -> list[tuple[Step, float]]:
    suite = load_suite(ROOT / "configs" / "shakespeare.toml")
    study = Study(out, (suite,), {("shakespeare_char", "char"): ("shakespeare_char", "0" * 64)})
    steps = {step.name: step for step in pipeline.plan(study)}
    with RECORDED.open(encoding="utf-8") as file:
        return [(steps[row["step"]], float(row["seconds"])) for row in csv.DictReader(file)]


@pytest.mark.parametrize("part", [0.1, 0.2, 0.4])
def test_the_time_left_is_within_a_quarter_after_a_tenth(tmp_path: Path, part: float) -> None:
    steps = recorded(tmp_path)
    whole = sum(seconds for _, seconds in steps)
    costs, spent = progress.Costs(), 0.0
    while spent < part * whole:
        step, seconds = steps.pop(0)
        spent += seconds
        costs._count(step.kind, seconds, step.work)
    told, truth = sum(costs.of(step) for step, _ in steps), sum(seconds for _, seconds in steps)
    assert 0.75 * truth < told < 1.25 * truth, (told / truth, len(steps))


def test_a_kind_that_was_never_run_goes_by_trainings_speed(tmp_path: Path) -> None:
    steps = {step.kind: step for step, _ in recorded(tmp_path)}
    costs = progress.Costs()
    costs._count("train", 100.0, steps["train"].work)
    assert costs.of(steps["train"]) == pytest.approx(100)
    of_test = 100 * progress.DEARER * steps["frozen"].work / steps["train"].work
    assert costs.of(steps["frozen"]) == pytest.approx(of_test) and not costs.known([steps["frozen"]])


def test_a_line_a_phase_and_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [step for step, _ in recorded(tmp_path) if step.seed == 1]
    for verbose, count in ((False, 1), (True, len(steps))):
        display = progress.Display(progress.Costs(), 2, steps, verbose)
        display.costs.guess_s = 1.0
        for number, step in enumerate(steps, 1):
            display.finished(step, 60.0, number, len(steps), 120.0)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == count
    assert lines[0] == f"[1/{len(steps)}] {steps[0].name}  60 s  (about 60 s left)"


def test_the_line_says_what_and_how_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [step for step, _ in recorded(tmp_path) if step.seed == 1][:3]
    display = progress.Display(progress.Costs(), 2, steps)
    display.costs.guess_s = 1.0
    for number, step in enumerate(steps, 1):
        display.finished(step, 60.0, number, 9, 1200.0)
    assert capsys.readouterr().out == (
        "[3/9] shakespeare, seed 1: 3 runs and tests, 3 min of one worker  (about 10 min left)\n"
    )
