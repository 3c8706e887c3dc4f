"""What regimes change: shifts planted in made-up logs are found exactly, and what page and figures say follows the tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.kit import published
from experiments.kit.changes import change, changes, marks
from experiments.kit.runs import METRICS, STATE_METRICS
from experiments.kit.tables import NothingToDraw, shared_windows, stretches
from experiments.perturbation import EXPERIMENT
from tests import made_metrics
from tests.made_runs import (
    MadeRun,
    cells,
    context,
    drawn_of,
    made_run,
    make_tables,
    page_of,
    read_from,
    regimes_of,
    verdict,
)
from tests.made_tables import study

WINDOWS = [("sensory_fog", 50, 70), ("bewilderment", 70, 100), ("lr_heatwave", 150, 200)]
FIGURES = {figure.name.removeprefix("perturbation/"): figure for figure in EXPERIMENT.figures}


def planted(condition: str, shift: float, seed: int = 1) -> MadeRun:
    """A run of 200 steps in which all is 1, but the loss is higher by `shift` while a regime acts."""
    log = pd.DataFrame(1.0, range(200), [*METRICS]).assign(step=range(200), regime="calm")
    if shift:
        log["regime"] = regimes_of(200, WINDOWS)
        log["loss"] += shift * (log["regime"] != "calm")
    if condition.startswith("vanilla"):
        log[[*STATE_METRICS]] = np.nan
    return made_run(condition, seed, log, None)


def test_a_planted_shift_is_found_exactly() -> None:
    made = make_tables(
        EXPERIMENT.of("shakespeare"), context([planted("self", 2.5), planted("self_calm", 0.0)])
    )
    loss = made["regime_deltas"].query("metric == 'loss'").set_index(["condition", "regime"])
    assert loss["delta"].to_dict() == {
        (name, regime): shift for name, shift in (("self", 2.5), ("self_calm", 0.0)) for regime, *_ in WINDOWS
    }
    own = loss.loc["self"]
    assert own["before"]["bewilderment"] == 1  # calm steps, though fog came just before
    assert own["delta_after"]["bewilderment"] == 0
    assert np.isnan(own["delta_after"]["lr_heatwave"])  # nothing after the last step
    assert np.isnan(own["delta_after"]["sensory_fog"])  # another regime follows at once


def test_vanilla_has_no_state_rows() -> None:
    assert set(changes([planted("vanilla", 1.0)], 10)["metric"]) == {*METRICS} - {*STATE_METRICS}


def test_nothing_gives_empty_tables() -> None:
    assert all(made.empty for made in make_tables(EXPERIMENT.of("any"), context([])).values())


@pytest.fixture(scope="module")
def small() -> dict[str, pd.DataFrame]:
    """Three seeds of 400 steps."""
    return made_metrics.tables(3)


def test_windows_that_differ_between_seeds_are_not_shared(small: dict[str, pd.DataFrame]) -> None:
    windows, metrics = small["windows"], small["metrics"]
    assert shared_windows(windows, "self")[0] == ("lr_heatwave", 60, 70)
    assert shared_windows(windows, "self_random") == []
    own = metrics[(metrics["condition"] == "self") & (metrics["seed"] == 1)]
    assert stretches(own) == shared_windows(windows, "self")


def test_marks_are_those_beyond_the_calm_run(small: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    tables = read_from(tmp_path, "shakespeare", small)
    assert {"loss", "entropy", "top1"} <= set(marks(tables, "bewilderment") or {})
    assert (marks(tables, "self_clamp") or {})["state_ema_drift"].mean > 0
    assert "state_drift" not in (marks(tables, "false_feedback") or {})


def test_what_vanilla_shows_too_is_no_mark_of_what_acts_on_the_state_alone(tmp_path: Path) -> None:
    tables = study()["regime_deltas"]
    for regime, expected in (("false_feedback", set()), ("bewilderment", {"loss"})):
        here = (tables["regime"] == regime) & (tables["metric"] == "loss")
        tables.loc[here & tables["condition"].isin(["self", "vanilla"]), "delta"] += 5
        wobble = here & (tables["condition"] == "self")
        tables.loc[wobble, "delta"] += 0.001 * tables["seed"][wobble] ** 2
        found = marks(read_from(tmp_path, "shakespeare", {"regime_deltas": tables}), regime, ("loss",))
        assert set(found or {}) == expected


@pytest.mark.parametrize(("name", "panels"), [("regime-reactions.png", 8), ("regime-onsets.png", 40)])
def test_figures_draw_from_many_and_few_seeds(
    name: str, panels: int, small: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    drawing = drawn_of(FIGURES[name], tmp_path, small, "shakespeare")
    assert len(drawing.axes) == panels and all(axes.lines for axes in drawing.axes)
    few = made_metrics.tables(1, 240, ("self", "vanilla", "self_calm"))
    drawn_of(FIGURES[name], tmp_path / "few", few, "shakespeare")
    calm = made_metrics.tables(2, 240, ("self_calm", "vanilla_calm"))
    if name == "regime-reactions.png":
        drawn_of(FIGURES[name], tmp_path / "calm", calm, "shakespeare")
    else:
        with pytest.raises(NothingToDraw):
            drawn_of(FIGURES[name], tmp_path / "calm", calm, "shakespeare")


def test_channels_share_their_axis_over_regimes(small: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    drawing = drawn_of(FIGURES["regime-onsets.png"], tmp_path, small, "shakespeare")
    assert all(len({axes.get_ylim() for axes in drawing.axes[row : row + 5]}) == 1 for row in range(0, 40, 5))
    assert drawing.axes[10].get_ylim() == (0, 1)  # a probability


MARKS, SIGNS, OTHERWISE = "leaves a mark on the state", "come back with their sign", "loss reacts"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ({"drift": 0.03}, {MARKS: "Clear", OTHERWISE: "Not clear"}),
        ({"drift": 0.0}, {MARKS: "Not clear"}),
    ],
)
def test_verdicts_follow_the_tables(tmp_path: Path, made: dict[str, float], expected: dict[str, str]) -> None:
    tables = study(**made)
    calm = tables["regime_deltas"]["condition"] == "self_calm"
    tables["regime_deltas"].loc[
        calm, "delta"
    ] *= -1  # a wobble of their own, so that differences have a spread
    text = page_of(EXPERIMENT, tmp_path, tables)
    assert {words: verdict(text, words) for words in expected} == expected


@pytest.mark.parametrize(("factor", "expected"), [(1.0, "Clear"), (-1.0, "Not clear")])
def test_signs_are_held_against_the_published_ones(factor: float, expected: str, tmp_path: Path) -> None:
    tables = study()
    deltas = tables["regime_deltas"]
    for regime, said in published.REGIME_DELTAS.items():
        for metric, value in said.items():
            here = (
                (deltas["regime"] == regime) & (deltas["metric"] == metric) & (deltas["condition"] == "self")
            )
            deltas.loc[here, "delta"] = factor * value + 0.0001 * deltas["seed"][here]
    text = page_of(EXPERIMENT, tmp_path, tables)
    assert verdict(text, SIGNS) == expected
    same, opposite = (20, 0) if factor > 0 else (0, 20)
    assert f"{same} have the published sign, {opposite} the opposite one, and 0 an interval" in text


def test_what_moves_some_regimes_alone_is_said_of_these(tmp_path: Path) -> None:
    tables = study(drift=0.0)
    deltas = tables["regime_deltas"]
    here = (deltas["regime"] == "self_clamp") & (deltas["condition"] == "self")
    deltas.loc[here, "delta"] += 0.5 + 0.001 * deltas["seed"][here] ** 2
    found = page_of(EXPERIMENT, tmp_path, tables).findings
    assert found["reacts"].title().startswith("Clamping the state costs 0.50")
    assert found["marks"].title() == "Only `self_clamp` leaves a clear mark on the state."


def test_published_numbers_stand_beside_ours(tmp_path: Path) -> None:
    text = page_of(EXPERIMENT, tmp_path, study())
    assert cells(text, "`bewilderment` | loss")[2:5] == [
        "+1.650",
        "+1.234 [+1.232, +1.236]",
        "0.000 [−0.002, +0.002]",
    ]
    tables = read_from(tmp_path, "shakespeare", {})
    assert change(tables, "self", "bewilderment", "loss").tolist() == pytest.approx([1.233, 1.234, 1.235])
