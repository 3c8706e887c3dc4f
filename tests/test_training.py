"""Losses with and without a self-state, and the state's path, on made-up runs with known answers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.perturbation import EXPERIMENT as PAGE
from experiments.training import EXPERIMENT, principal_components, state_path
from tests import made_metrics
from tests.made_runs import cells, context, drawn_of, made_run, page_of, regimes_of, title_of, verdict
from tests.made_tables import study

PATH, CURVES = EXPERIMENT.figures


def test_principal_components_of_a_line() -> None:
    states = np.outer(np.linspace(-1, 1, 200), [3.0, -4.0, 0.0]).astype(np.float32)
    log = pd.DataFrame({"step": range(200), "regime": regimes_of(200, [("bewilderment", 70, 100)])})
    path = state_path(context([made_run("self", 1, log, states), made_run("self_calm", 1, log, states)]))
    np.testing.assert_allclose(
        path["pc1"], -5 * np.linspace(-1, 1, 200), atol=1e-5
    )  # the largest loading is positive
    np.testing.assert_allclose(path["pc2"], 0, atol=1e-5)
    assert path["share1"][0] == pytest.approx(1) and (path["regime"] == "bewilderment").sum() == 30


def test_a_state_of_one_dimension_or_without_motion_has_components_too() -> None:
    scores, shares = principal_components(np.arange(5.0)[:, None])
    assert scores.shape == (5, 2) and shares.tolist() == [1, 0] and not scores[:, 1].any()
    assert principal_components(np.ones((5, 3)))[1].tolist() == [0, 0]


def test_a_run_without_state_has_no_path() -> None:
    log = pd.DataFrame({"step": range(3), "regime": "calm"})
    assert state_path(context([made_run("self", 1, log, None)])).empty


@pytest.mark.parametrize(
    ("seeds", "conditions"), [(9, made_metrics.CONDITIONS), (3, ("self", "mine")), (1, ("self", "vanilla"))]
)
def test_figures_draw(seeds: int, conditions: tuple[str, ...], tmp_path: Path) -> None:
    tables = made_metrics.tables(seeds, 240, conditions)
    assert (
        len(drawn_of(PATH, tmp_path, tables, "shakespeare").axes) == min(seeds, 8) + 1
    )  # with the bar of colours
    curves, last = drawn_of(CURVES, tmp_path, tables, "shakespeare").axes
    assert curves.lines and len(last.get_yticklabels()) == len([one for one in conditions if one != "mine"])


def test_the_title_says_what_the_tables_say(tmp_path: Path) -> None:
    tables = made_metrics.tables(3, 240)
    runs = tables["runs"]
    own = runs["condition"].str.startswith("self")
    runs["heldout_loss"] = 2 - 0.5 * own + 0.01 * runs["seed"] * own
    title = title_of(drawn_of(CURVES, tmp_path, tables, "shakespeare"))
    assert title == "A self-state lowers held-out loss by 0.480 nats in every kind of run."


@pytest.mark.parametrize(("gain", "expected"), [(-0.05, "Clear"), (0.0, "Not clear"), (0.05, "Not clear")])
def test_verdicts_follow_the_tables(gain: float, expected: str, tmp_path: Path) -> None:
    tables = study(gain=gain)
    loss = tables["runs"]["condition"].str.startswith("vanilla") & (tables["runs"]["seed"] == 2)
    tables["runs"].loc[loss, "heldout_loss"] += 0.001  # so that differences have a spread
    text = page_of(PAGE, tmp_path, tables)
    assert verdict(text, "held-out loss") == expected


def test_losses_are_told_by_condition_pair_and_step(tmp_path: Path) -> None:
    tables = made_metrics.tables(2, 240)
    text = page_of(PAGE, tmp_path, tables)
    at_end = tables["runs"].groupby("condition")["heldout_loss"].mean()
    _, *of_vanilla = [
        line.split("|")[2:-1] for line in text.splitlines() if line.startswith("| `vanilla` |")
    ]  # its meaning first
    assert of_vanilla[0][0].startswith(f" {at_end['vanilla']:.3f} [") and of_vanilla[0][1] == " 2 "
    assert of_vanilla[1][-1] == f" {at_end['vanilla']:.3f} "  # after the last step
    assert cells(text, "held-out loss after step")[1:3] == ["30", "60"]
    gain = at_end["self"] - at_end["vanilla"]
    assert cells(text, "`self` − `vanilla`")[1].startswith(f"{gain:+.3f} [".replace("-", "−"))


def test_a_state_that_never_moved_has_no_correlation(tmp_path: Path) -> None:
    tables = study()
    tables["state_path"]["pc1"] = 0.0
    assert "| `self` | 0.90 [0.90, 0.90] | 0.05 [0.05, 0.05] | – | 3 |" in page_of(PAGE, tmp_path, tables)
