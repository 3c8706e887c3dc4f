"""Valence and intensity of paths whose right answer is known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.composite import EXPERIMENT, RANK, felt, off_plane
from experiments.kit.tables import NothingToDraw
from tests.made_runs import (
    MadeRun,
    assert_tables,
    cells,
    context,
    drawn_of,
    made_run,
    make_tables,
    page_of,
    regimes_of,
    title_of,
    verdict,
)  # fmt: skip

STEPS, WINDOWS = 800, [("sensory_fog", 520, 600), ("bewilderment", 650, 750)]


def a_run(condition: str, seed: int, jolt: float) -> MadeRun:
    """A wandering state that is jolted, and whose entropy rises, by `jolt` in each window."""
    random = np.random.default_rng([seed, len(condition)])
    acted = np.isin(np.arange(STEPS), [step for _, start, end in WINDOWS for step in range(start, end)])
    states = 0.01 * np.cumsum(random.normal(size=(STEPS, 8)), axis=0) + jolt * acted[:, None] * random.normal(
        size=(STEPS, 8)
    )
    log = pd.DataFrame(
        {"step": range(STEPS), "regime": regimes_of(STEPS, WINDOWS if condition == "self" else [])}
    )
    log["entropy_last"] = 2 + 0.1 * random.normal(size=STEPS) + jolt * acted
    log["prompt_effect"] = np.where(log["step"] % 20 == 0, 0.5 + 0.05 * random.normal(size=STEPS), np.nan)
    return made_run(condition, seed, log, states)


def made_of(jolt: float, seeds: int = 4, calm: float = 0.0) -> dict[str, pd.DataFrame]:
    runs = [
        a_run(name, seed, size)
        for seed in range(1, seeds + 1)
        for name, size in (("self", jolt), ("self_calm", calm))
    ]
    return make_tables(EXPERIMENT.of("shakespeare"), context(runs))


def test_a_path_on_its_plane_has_no_distance() -> None:
    random = np.random.default_rng(0)
    flat = random.normal(size=(50, RANK)) @ random.normal(size=(RANK, 9)) + 3
    assert off_plane(flat) == pytest.approx(0, abs=1e-9)
    assert off_plane(flat[: RANK + 1] + random.normal(size=(RANK + 1, 9))) == pytest.approx(0, abs=1e-9)
    away = np.linalg.svd(flat - flat.mean(0))[2][-1]  # a direction that the path never took
    moved = flat.copy()
    moved[-1] += 1e-3 * away
    assert off_plane(moved) == pytest.approx(1e-3, rel=0.1)  # it draws the plane after it a little


def test_valence_and_intensity_by_hand() -> None:
    path = np.outer([0.0, 1.0, 3.0, 3.0], [0.6, 0.8])  # on a line: no distance
    usual = np.array([True, True, True, False])
    found = felt(path, np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, np.e, 1.0, np.e**2]), usual)
    assert found["speed"].tolist() == pytest.approx([0, 1, 2, 0])
    assert found["curvature"].tolist() == pytest.approx([0, 1 / 2**1.5, 1 / 5**1.5, 2])
    assert found["distance"].tolist() == pytest.approx([0] * 4)
    assert found["control_loss"].tolist() == pytest.approx([0, -1, 0, -2], abs=1e-5)
    sd = np.sqrt(2 / 3)  # of 0, 1, 2, and of 1, 2, 3; of 0, -1, 0 it is sd / sqrt(3)
    speed, entropy = np.array([-1, 0, 1, -1]) / sd, np.array([-1, 0, 1, 2]) / sd
    control = np.array([1 / 3, -2 / 3, 1 / 3, -5 / 3]) / (sd / np.sqrt(3))
    valence = -(speed + entropy + control)
    assert found["valence"].tolist() == pytest.approx(valence.tolist(), abs=1e-4)
    change, curvature = np.abs(np.diff(valence, prepend=valence[0])), found["curvature"]
    z_change, z_curvature = ((one[3] - one[:3].mean()) / one[:3].std() for one in (change, curvature))
    assert np.log(1 / found["intensity"][3] - 1) == pytest.approx(-(z_change + z_curvature) / 2, abs=1e-3)


def test_z_scores_are_over_the_usual_dumps_of_the_windows_of_self() -> None:
    made = made_of(0.0, 2)["composite"]
    for (_, _), rows in made.groupby(["condition", "seed"]):
        usual = rows.loc[rows["usual"], "step"].tolist()
        assert usual == sorted({*range(0, 300, 10), *range(520 - 200, 520, 10), *range(650 - 200, 650, 10)})
        assert rows.loc[rows["usual"], "valence"].mean() == pytest.approx(0, abs=1e-9)
        assert (rows["regime"] == "bewilderment").sum() == 10  # of self, in the calm run, too


def test_what_a_regime_moves_is_clear_and_what_time_moves_is_not_beyond(tmp_path: Path) -> None:
    made = made_of(0.5)
    page = page_of(EXPERIMENT, tmp_path / "a", made)
    assert_tables(page)
    for claim in (
        "valence falls below its usual",
        "intensity rises above its usual",
        "valence is lower than",
        "intensity is higher than",
    ):
        assert verdict(page, claim) == "Clear"
    assert (
        cells(page, "`bewilderment`, `self`")[1].startswith("−")
        and cells(page, "`sensory_fog`, `self_calm`")[2] == "–"
    )
    page = page_of(
        EXPERIMENT, tmp_path / "b", made_of(0.5, calm=0.5)
    )  # whatever it is, the calm run has it, too
    assert (
        verdict(page, "valence falls below its usual") == "Clear"
        and verdict(page, "valence is lower than") == "Not clear"
    )


def test_the_figure_and_a_study_with_nothing(tmp_path: Path) -> None:
    drawing = drawn_of(EXPERIMENT.figures[0], tmp_path, made_of(0.5), "shakespeare")
    assert title_of(drawing).startswith("In every regime valence is lower") and len(drawing.axes) == 2
    assert drawing.axes[1].get_ylim() == (0, 1)
    none = make_tables(EXPERIMENT.of("shakespeare"), context([]))
    assert all(table.empty for table in none.values())
    page = page_of(EXPERIMENT, tmp_path / "none", none)
    assert (
        verdict(page, "valence falls below its usual") == "Not measured"
        and page.count("hold nothing for this yet") == 2
    )
    alone = make_tables(EXPERIMENT.of("shakespeare"), context([a_run("self_calm", 1, 0.0)]))
    assert all(table.empty for table in alone.values())  # without self there are no windows
    with pytest.raises(NothingToDraw):
        drawn_of(EXPERIMENT.figures[0], tmp_path / "empty", {}, "shakespeare")
