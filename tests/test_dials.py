"""Dials: points are found by config, shares are the probe's, and the figure and the page say what the table says."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest

from base.storage import ROOT
from configs.run import RunConfig
from configs.suite import load_suite
from configs.world import Recurring
from experiments import dials
from experiments.kit import stats
from experiments.kit.runs import Context
from experiments.kit.tables import NothingToDraw
from probes.floors import COLUMNS
from tests.made_runs import MadeRun, assert_tables, cells, drawn_of, page_of, title_of, verdict

SUITE = load_suite(ROOT / "configs" / "dials.toml")
VALUES: dict[str, list[float]] = {
    "momentum": [10, 33, 100, 1000, 10000],
    "decay": [0.05, 0.1, 0.2, 0.5, 1],
    "dim": [1, 2, 8, 32, 128],
    "width": [16, 32, 64, 128],
    "steps": [1000, 3000, 8000, 16000],
    "rate": [0.0003, 0.001, 0.003, 0.01],
    "switching": [0.002, 0.005, 0.02, 0.05, 0.1],
    "strength": [0.1, 0.3, 0.5, 0.7, 0.9],
}
(FIGURE,) = dials.EXPERIMENT.figures


def planted(run: RunConfig) -> float:
    """A share that rises as the moments slow down and with the length of training, and follows nothing else."""
    return (
        0.8
        - 0.05 * np.log10((1 - run.self_state.stat_momentum) / 0.01)
        + 0.03 * np.log(run.train.steps / 3000)
    )


def made(folder: Path, condition: str, seed: int, share: float) -> MadeRun:
    """A run whose probe found a share, on a life whose floors are 2 and 1 nats, and nonsense in another world."""
    place = folder / f"{condition}-{seed}"
    place.mkdir()
    rows = [
        (seed, 3000, life, "all", 1000, 2 - share * scale, 2.0, 1.0, 0.9, share * scale, 0)
        for life, scale in (("own", 1.0), ("stronger", -7.0))
    ]
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(place / "floors.csv", index=False)
    return MadeRun("dials", condition, seed, Path(), SUITE.run(condition, seed), {"floors": [place]})


@cache
def study(seeds: int = 4, flat: bool = False) -> dict[str, pd.DataFrame]:
    with TemporaryDirectory() as folder:
        runs = []
        for number, (name, run) in enumerate(SUITE.conditions.items()):
            for seed in range(1, seeds + 1):
                noise = 0.004 * np.random.default_rng([seed, number]).normal()
                if flat:  # what one seed of a pair gains from a dial, the other loses: no trend over seeds
                    noise = (-1) ** seed * 0.004 * np.random.default_rng([(seed - 1) // 2, number]).normal()
                runs.append(made(Path(folder), name, seed, noise + (0.7 if flat else planted(run))))
        return {"dial_points": dials.dial_points(Context(SUITE, runs))}


def test_the_suite_turns_one_dial_at_a_time() -> None:
    base = SUITE.conditions["base"]
    points: dict[str, set[float]] = {dial: set() for dial in dials.DIALS}
    for name, run in SUITE.conditions.items():
        turned = dials.dials_of(name, SUITE.conditions)
        assert len(turned) == (len(dials.DIALS) if name == "base" else 1), name
        for dial in turned:
            points[dial].add(round(dials.DIALS[dial].value(run), 9))
        kept = {"model", "train", "log", "self_state", "schedule", "regimes"}
        differing = {key for key in kept if getattr(run, key) != getattr(base, key)} - {"log"}
        assert len(differing) == (name != "base"), name  # nothing else moves
        assert isinstance(run.schedule, Recurring) and run.schedule.enter == run.schedule.leave
        assert run.train.min_learning_rate == pytest.approx(run.train.learning_rate / 10)
    assert {dial: sorted(found) for dial, found in points.items()} == VALUES
    assert set(SUITE.probes["floors"].conditions) == set(SUITE.conditions)


def test_runs_that_the_floors_suite_has_are_trained_once() -> None:
    floors = load_suite(ROOT / "configs" / "floors.toml").conditions
    twins = {"base": "state", "decay_1": "direct", "dim_1": "one", "momentum_0_999": "steady"}
    for here, there in twins.items():
        assert SUITE.run(here, 3).decisive() == floors[there].model_copy(update={"seed": 3}).decisive()
    assert SUITE.run("decay_0_5", 3).decisive() != floors["direct"].model_copy(update={"seed": 3}).decisive()


def test_a_point_is_the_share_of_the_runs_own_life(tmp_path: Path) -> None:
    (row,) = dials.dial_points(Context(SUITE, [made(tmp_path, "strength_0_9", 1, 0.25)])).to_dict("records")
    assert (row["dial"], row["value"], row["base"], row["captured"]) == ("strength", 0.9, False, 0.25)
    assert dials.dial_points(Context(SUITE, [])).empty


def test_the_base_is_a_point_of_every_dial() -> None:
    points = study()["dial_points"]
    base = points[points["base"]]
    assert set(base["dial"]) == set(VALUES) and (base.groupby("seed")["captured"].nunique() == 1).all()
    found = {
        str(dial): sorted({round(value, 9) for value in rows["value"]})
        for dial, rows in points.groupby("dial")
    }
    assert found == VALUES
    assert len(points) == 4 * sum(len(values) for values in VALUES.values())


def test_the_figure_says_which_dials_matter(tmp_path: Path) -> None:
    assert title_of(drawn_of(FIGURE, tmp_path, study(), "dials")) == (
        "The further back the moments reach that standardise its senses, the more a state captures. "
        "The longer it is trained, the more a state captures."
    )
    assert title_of(drawn_of(FIGURE, tmp_path, study(flat=True), "dials")).count("does not clearly") == 2
    assert title_of(drawn_of(FIGURE, tmp_path, study(2), "dials")).count("Not settled: ") == 2


def test_a_part_of_the_points_draws(tmp_path: Path) -> None:
    points = study(3)["dial_points"]
    for part in (points["dial"].isin(["dim", "rate"]), points["base"]):
        drawn_of(FIGURE, tmp_path, {"dial_points": points[part]}, "dials")
    with pytest.raises(NothingToDraw):
        drawn_of(FIGURE, tmp_path, {"dial_points": points.iloc[:0]}, "dials")


def test_a_trend_is_spearmans() -> None:
    wide = pd.DataFrame({1: [4.0, 2.0, 3.0, 1.0], 2: [1.0, 2.0, 3.0, np.nan]}, index=[1.0, 2.0, 3.0, 4.0])
    found = dials.trend(wide)
    # 1 - 6 (9 + 0 + 0 + 9) / (4 x 15); the second seed lacks a value and does not count
    assert (found.n, found.mean) == (1, pytest.approx(-0.8))
    assert dials.trend(wide.iloc[:2]) is stats.UNKNOWN


def test_verdicts_follow_the_table(tmp_path: Path) -> None:
    text = page_of(dials.EXPERIMENT, tmp_path, study())
    expected = {
        "The further back the moments": "Clear", "The longer it is trained": "Clear", "The slower a state forgets": "Not clear",
        "The stronger the corruption": "Not clear", "The more seldom the world": "Not clear",
    }  # fmt: skip
    assert {words: verdict(text, words) for words in expected} == expected
    assert "nan" not in text
    assert_tables(text)
    rows = study()["dial_points"]
    share = rows[(rows["dial"] == "strength") & (rows["value"] == 0.9)]["captured"].mean()
    assert cells(text, "0.9")[1].startswith(f"+{share:.3f}") and cells(text, "0.9")[-1] == "4"
    assert text.count("(base)") == len(VALUES)
    assert "The largest mean share is that of 10000: +0." in text
    flat = page_of(dials.EXPERIMENT, tmp_path, study(flat=True))
    assert {found.verdict for found in flat.findings.values()} == {"not clear"}


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_decide_nothing(tmp_path: Path, seeds: int) -> None:
    text = page_of(dials.EXPERIMENT, tmp_path, study(seeds))
    assert {found.verdict for found in text.findings.values()} == {"open"} and "nan" not in text


def test_partial_and_empty_studies_have_pages(tmp_path: Path) -> None:
    text = page_of(dials.EXPERIMENT, tmp_path / "none", {})
    assert text.count("The tables hold nothing for this yet.") == len(VALUES)
    assert "Nothing has been measured yet." in text
    points = study(3)["dial_points"]
    text = page_of(dials.EXPERIMENT, tmp_path / "one", {"dial_points": points[points["dial"] == "dim"]})
    assert text.count("The tables hold nothing for this yet.") == len(VALUES) - 1 and "nan" not in text
