"""The first picture, from tables of two suites whose numbers are known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments import hero
from experiments.kit import style
from experiments.kit.tables import NothingToDraw
from tests.made_runs import assert_clean, read_from

SIZES, SHARES = (
    {"learned": 0.3, "rotated": 0.25, "untrained": 0.1},
    {"state": 0.8, "yoked": 0.0, "oracle": 1.05},
)
SEEDS = range(1, 5)


def made(folder: Path, shares: bool = True):
    effects = [
        {"suite": "shakespeare", **hero.TESTED, "seed": seed, "run_step": 1000, "reader": reader, "draw": draw,
         "effect_size": size + 0.01 * seed + 0.1 * draw}
        for reader, size in SIZES.items() for seed in SEEDS for draw in (-1, 1)
    ]  # fmt: skip
    captured = [
        {"suite": "floors", "condition": arm, "seed": seed, "life": "own", "captured": share + 0.01 * seed}
        for arm, share in SHARES.items()
        for seed in SEEDS
    ]
    if shares:
        read_from(folder, "floors", {"floors_captured": pd.DataFrame(captured)})
    return read_from(folder, "shakespeare", {"frozen_effects": pd.DataFrame(effects)})


def test_it_draws_what_the_tables_hold(tmp_path: Path) -> None:
    tables = made(tmp_path)
    assert hero.steered(tables, "rotated").tolist() == pytest.approx([0.26, 0.27, 0.28, 0.29])
    assert hero.earned(tables, "state").tolist() == pytest.approx([0.81, 0.82, 0.83, 0.84])
    with style.context():
        drawing = hero.FIGURE.draw(tables, "a note")
        assert_clean(hero.FIGURE.name, drawing)
    left, right = drawing.axes
    drawn = [line.get_xdata() for line in left.lines if line.get_marker() == "o"]
    assert np.asarray(drawn[0]).tolist() == pytest.approx([0.31, 0.32, 0.33, 0.34])
    assert [text.get_text() for text in left.get_yticklabels()] == [
        "learned reader",
        "scrambled reader",
        "untrained reader",
    ]
    assert "another run's signals" in [text.get_text() for text in right.get_yticklabels()]


def test_without_floors_it_draws_what_sensing_gains_in_the_recurring_world(tmp_path: Path) -> None:
    tables = made(tmp_path, shares=False)
    rows = [("calibrated_recurring", seed, -0.1 - 0.01 * seed) for seed in SEEDS] + [("yoked", 1, 0.02)]
    losses = pd.DataFrame(rows, columns=["condition", "seed", "clean_loss_difference"]).assign(
        suite="recurring"
    )
    read_from(tmp_path, "recurring", {"recurring_losses": losses})
    assert hero.gained(tables, "calibrated_recurring").tolist() == pytest.approx([0.11, 0.12, 0.13, 0.14])
    with style.context():
        drawing = hero.FIGURE.draw(tables, "a note")
        assert_clean(hero.FIGURE.name, drawing)
    right = drawing.axes[1]
    assert right.get_title(loc="left").endswith("in the recurring world")
    drawn = [np.asarray(line.get_xdata()) for line in right.lines]
    assert any(len(found) == 4 and np.allclose(found, [0.11, 0.12, 0.13, 0.14]) for found in drawn)


def test_without_steering_there_is_no_picture(tmp_path: Path) -> None:
    empty = read_from(tmp_path, "shakespeare", {})
    with style.context(), pytest.raises(NothingToDraw):
        hero.FIGURE.draw(empty, "")
