"""Leads and lags that are planted, noise that has none, and paths of known shape."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from experiments import lead_lag, monitoring, onsets, state_path
from experiments.kit import readout, words
from experiments.kit.tables import NothingToDraw
from tests.made_runs import (
    MadeRun,
    Window,
    cells,
    context,
    drawn_of,
    made_run,
    make_tables,
    page_of,
    read_from,
    regimes_of,
    title_of,
    verdict,
)

PARTS = (lead_lag.EXPERIMENT, onsets.EXPERIMENT, state_path.EXPERIMENT, monitoring.EXPERIMENT)
TABLES = [table for part in PARTS for table in part.of("shakespeare")]
LEAD, ONSET, PATH = "moves before the loss", "speed becomes unusual before", "the state ends further"
(LAGS,), (ONSETS,), (PATHS,), () = (part.figures for part in PARTS)

STEPS = 500
WINDOWS = [("lr_heatwave", 200, 220), ("bewilderment", 300, 360), ("self_clamp", 420, 440)]


def a_run(
    condition: str,
    seed: int,
    lag: int = 1,
    windows: Sequence[Window] = (),
    latency: int = 0,
    steps: int = STEPS,
) -> MadeRun:
    """A run whose drift is its loss `lag` steps before, and some noise. In bewilderment the loss leaves the usual at
    once, the drift `latency` steps after; norm and effect never."""
    random, way = np.random.default_rng((seed, len(condition))), np.random.default_rng(seed).normal(size=3)
    step = np.arange(steps)
    regime = regimes_of(steps, windows)
    loss = 2 + 0.1 * random.normal(size=steps)
    drift = 1 + 0.1 * np.roll((loss - 2) / 0.1, lag) + 0.02 * random.normal(size=steps)
    bump = np.zeros((2, steps))
    for name, start, end in windows:
        if name == "bewilderment":
            bump[0, start:end], bump[1, start + latency : end] = 3, 2
    log = pd.DataFrame(
        {"step": step, "regime": regime, "loss": loss + bump[0], "state_drift": drift + bump[1]}
    )
    log["state_norm"] = 1 + 0.1 * random.normal(size=steps)
    log["state_effect"] = np.where(step % 10 == 0, 1 + 0.1 * random.normal(size=steps), np.nan)
    log["prompt_effect"], log["entropy_last"], log["grad_norm"] = log["state_effect"], log["loss"], 1.0
    log["state_ema_drift"] = log["state_drift"]
    states = np.outer(step / 100 + np.cumsum(bump[1]) / 50, way) + 0.01 * random.normal(size=(steps, 3))
    return made_run(condition, seed, log, states)


def made_of(runs: Sequence[MadeRun]) -> dict[str, pd.DataFrame]:
    """All tables of the page."""
    return make_tables(TABLES, context(runs))


def row(table: pd.DataFrame, **where: object) -> Any:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1, where
    return table.iloc[0]


def test_every_lag_by_one_transform() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=40), random.integers(0, 5, 40).astype(float)
    found = readout.all_lags(x, y)
    for lag in (-7, 0, 1, 12):
        assert found[lag] == pytest.approx(sum(x[t] * y[(t + lag) % 40] for t in range(40)))
    ranks = readout.all_lags(readout.unit_ranks(x), readout.unit_ranks(y))
    assert ranks[0] == pytest.approx(spearmanr(x, y).statistic)
    ignored = np.arange(40) < 5
    left_out = readout.unit_ranks(x, ignored) @ readout.unit_ranks(y, ignored)
    assert left_out == pytest.approx(spearmanr(x[5:], y[5:]).statistic)
    assert not readout.unit_ranks(np.full(9, 0.1)).any()


@pytest.mark.parametrize("lag", [3, -3, 1])
@pytest.mark.parametrize("method", lead_lag.METHODS)
def test_a_planted_lag_is_found(tmp_path: Path, lag: int, method: str) -> None:
    runs = [a_run("self_calm", seed, lag) for seed in (1, 2, 3)]
    made = made_of(runs)
    where = {"measure": "state_drift", "method": method}
    for seed in (1, 2, 3):
        found = row(made["lead_lag_peaks"], seed=seed, **where)
        assert found["peak_lag"] == lag and found["peak"] > 0.9
        assert found["p_value"] == pytest.approx(
            101 / 400
        )  # lags over steps after warm-up: no smaller there is
    found = row(made["lead_lag_summary"], **where)
    assert found["peak_lag"] == lag and found["n"] == 3 and found["p_value"] < 0.01
    if lag < 0:
        assert found["lead_lag"] == lag and found["lead_p_value"] < 0.01
    finding = lead_lag.findings(read_from(tmp_path, "shakespeare", made))["lead"]
    assert finding.verdict == (words.CLEAR if lag < 0 else words.NOT_CLEAR)
    table = made["lead_lag"]
    assert sorted(set(table.loc[table["measure"] == "state_effect", "lag"])) == list(range(-50, 51, 10))


def test_what_is_measured_seldom_follows_the_losses_since() -> None:
    runs = []
    for seed in (1, 2):
        run = a_run("self_calm", seed)
        before = run.log["loss"].rolling(10).mean().shift(1)  # the ten steps that the measured state had seen
        run.log["state_effect"] = before.where(run.log["step"] % 10 == 0)
        runs.append(run)
    made = made_of(runs)
    found = row(made["lead_lag_summary"], measure="state_effect", method="differences")
    assert found["peak_lag"] == 10 and found["peak"] > 0.95


def test_noise_is_found_no_more_often_than_the_null_says() -> None:
    random = np.random.default_rng(1)
    made: dict[str, list[np.ndarray]] = {"white": [], "slow": []}
    for _ in range(180):
        white = random.normal(size=(2, 300))
        slow = [
            readout.detrended(np.cumsum(one), 31) for one in random.normal(size=(2, 300))
        ]  # neighbours are alike
        for name, (x, y) in (("white", white), ("slow", slow)):
            made[name].append(readout.all_lags(readout.unit_ranks(x), readout.unit_ranks(y)))
    for found in made.values():
        one = np.array([readout.peak(correlations, -6, 6).p_value for correlations in found])
        _as_rare_as_said(one)
        of_three = [lead_lag.peaks(found[i : i + 3], 5, i) for i in range(0, 180, 3)]
        for column in ("p_value", "lead_p_value"):
            _as_rare_as_said(np.array([peak[column] for peak in of_three]))


def _as_rare_as_said(p_values: np.ndarray) -> None:
    for level in (0.05, 0.2):
        rate = float((p_values < level).mean())
        assert rate < level + 3 * np.sqrt(level * (1 - level) / len(p_values)), (level, rate)
    assert 0.38 < p_values.mean() < 0.7


def test_the_p_value_of_one_run_has_a_floor() -> None:
    x = np.random.default_rng(0).normal(size=300)
    ranks = readout.unit_ranks(x)
    found = readout.peak(readout.all_lags(ranks, np.roll(ranks, 3)), -6, 6)
    assert found.lag == 3 and found.value == pytest.approx(1) and found.p_value == pytest.approx(13 / 300)


def test_too_short_a_series_has_a_peak_but_no_p() -> None:
    found = readout.peak(readout.all_lags(*np.random.default_rng(0).normal(size=(2, 50))), -20, 20)
    assert np.isfinite(found.value) and np.isnan(found.p_value)
    runs = [a_run("self", seed, steps=240) for seed in (1, 2)]
    summary = made_of(runs)["lead_lag_summary"].query("measure == 'state_drift'")
    assert (summary["n"] == 2).all() and summary["peak"].notna().all() and summary["p_value"].isna().all()


def test_what_is_held_from_outside_takes_no_part() -> None:
    run = a_run("self", 1, 1, [("self_clamp", 200, 260)])
    before = made_of([run])["lead_lag"]
    changed = run.log.copy()
    held = changed["step"].between(203, 255)  # the differences at the edges touch steps that count
    for column in ("loss", "state_drift"):
        changed.loc[held, column] = 50.0 + np.arange(held.sum())
    after = made_of([replace(run, log=changed)])["lead_lag"]
    of = {"measure": "state_drift", "method": "differences", "lag": 1}
    assert row(after, **of)["correlation"] == pytest.approx(row(before, **of)["correlation"], abs=1e-9)


def test_onsets_are_timed_and_put_in_order() -> None:
    latencies = {1: 4, 2: 7, 3: 0}
    runs = [a_run("self_random", seed, 1, WINDOWS, latency) for seed, latency in latencies.items()]
    runs[0].log.loc[305, "state_norm"] = 9.0  # one spike is no onset
    made = made_of(runs)
    onset = made["onset"]
    found: Any = onset[(onset["regime"] == "bewilderment") & (onset["seed"] == 1)].set_index("measure")
    assert found.loc["loss", "latency"] == 0 and found.loc["state_drift", "latency"] == 4
    assert np.isnan(found.loc["state_norm", "latency"]) and found.loc["loss", "length"] == 60
    usual = runs[0].log["loss"].iloc[[*range(220, 300)]]  # calm steps of the last hundred
    assert found.loc["loss", "baseline"] == pytest.approx(usual.mean())
    assert found.loc["loss", "sd"] == pytest.approx(usual.std(ddof=1))
    order = row(made["onset_order"], condition="self_random", regime="bewilderment", measure="state_drift")
    assert (order["state_first"], order["loss_first"], order["ties"], order["n"]) == (0, 2, 1, 3)
    assert order["median_difference"] == 4 and order["p_value"] == pytest.approx(0.5)
    order = row(made["onset_order"], condition="self_random", regime="bewilderment", measure="state_effect")
    assert order["against"] == "loss_mean" and order["loss_first"] == 3


def test_an_onset_without_a_past_is_no_onset_and_calm_runs_are_timed_by_the_others() -> None:
    runs = [a_run("self_random", 1, 1, [("bewilderment", 3, 60)]), a_run("self_calm", 1)]
    onset = made_of(runs)["onset"]
    assert onset.loc[onset["condition"] == "self_random", "sd"].isna().all()
    calm = onset[onset["condition"] == "self_calm"]
    assert set(calm["timed_by"]) == {"self_random"} and set(calm["start"]) == {3}


def test_a_straight_path_and_one_that_returns() -> None:
    steps = np.arange(100)
    out = np.clip(steps - 49, 0, 20) * 0.5  # stands, leaves at step 50 by 0.5 a step for 20 steps
    back = out - np.clip(steps - 69, 0, 40) * 0.5  # and goes the same way back and beyond
    path = np.outer(back, [0.6, 0.8]) + np.array([1.0, -2.0])
    distance, direction, speed = state_path.split(path, 50, 70)
    np.testing.assert_allclose(
        distance[50:90], [*(0.5 * np.arange(1, 21)), *(0.5 * np.arange(19, -1, -1))], atol=1e-9
    )
    np.testing.assert_allclose(direction[50:89], 1)
    np.testing.assert_allclose(direction[91:], -1)  # the other side of where it was
    assert np.isnan(direction[:50]).all()
    np.testing.assert_allclose(speed, [0] * 50 + [0.5] * 50, atol=1e-9)
    turned = np.stack([out, np.clip(steps - 69, 0, 30) * 1.0], axis=1)
    _, direction, _ = state_path.split(turned, 50, 70)
    assert direction[79] == pytest.approx(10 / np.hypot(10, 10))  # ten aside after ten ahead: 45 degrees


def test_bins_phases_and_the_calm_run_beside() -> None:
    windows = [("bewilderment", 100, 120), ("sensory_fog", 150, 175)]
    log = pd.DataFrame({"step": range(200), "regime": regimes_of(200, windows)})
    states = np.outer(np.clip(np.arange(200) - 99, 0, 20) + 9 * (np.arange(200) >= 175), [1.0, 0.0])
    runs = [
        made_run("self", 1, log, states),
        made_run("self_calm", 1, log.assign(regime="calm"), states * 0 + 5),
    ]
    table = state_path.state_decomposition(context(runs))
    first = table[table["regime"] == "bewilderment"]
    assert first["since_onset"].tolist() == [*range(-50, 50, 10)]  # to where the fog begins
    assert first["phase"].tolist() == ["before"] * 5 + ["during"] * 2 + ["after"] * 3
    means = first.set_index("since_onset")
    assert means.loc[0, "distance"] == pytest.approx(5.5) and means.loc[10, "distance"] == pytest.approx(15.5)
    assert means.loc[0, "speed"] == pytest.approx(1) and means.loc[30, "speed"] == 0
    assert means["calm_distance"].tolist() == [0.0] * 10
    fog = table[table["regime"] == "sensory_fog"].set_index("since_onset")
    assert fog.index.min() == -30  # not into the regime before
    assert (
        fog.loc[20, "phase"] == "during" and fog.loc[20, "speed"] == 0
    )  # what comes after its end is not in it


def test_no_run_and_runs_without_a_state_give_empty_tables() -> None:
    vanilla = made_run("vanilla", 1, a_run("self", 1).log, None, self_state={"enabled": False})
    for runs in ([], [vanilla]):
        assert all(table.empty for table in made_of(runs).values())


def study(seeds: int) -> dict[str, pd.DataFrame]:
    runs = []
    for seed in range(1, seeds + 1):
        runs += [
            a_run("self_calm", seed),
            a_run("self", seed, 1, WINDOWS, 1),
            a_run("self_random", seed, 1, WINDOWS, 5),
        ]
    return made_of(runs)


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return study(6)


def drawn(figure: Any, folder: Path, tables: dict[str, pd.DataFrame]) -> str:
    return title_of(drawn_of(figure, folder, tables, "shakespeare"))


def test_figures_draw_and_say_what_the_page_says(tables: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    assert (
        drawn(LAGS, tmp_path, tables) == "No measure of the state moves before the loss in every kind of run."
    )
    assert "the loss becomes unusual before the state's speed does" in drawn(ONSETS, tmp_path, tables)
    assert drawn(PATHS, tmp_path, tables).startswith(
        "In 1 of 3 regimes at random times (self_random) the state ends"
    )
    summary = tables["lead_lag_summary"].copy()
    drift = summary["measure"] == "state_drift"
    one = drift & (summary["condition"] == "self_calm")
    for where, said in (
        (one, "No measure"),
        (drift, "Speed of the state moves"),
    ):  # in one condition of three; in all
        summary.loc[where, ["peak_lag", "lead_p_value"]] = [-2, 0.001]
        assert drawn(LAGS, tmp_path / said, {**tables, "lead_lag_summary": summary}).startswith(said)


def test_figures_of_one_seed_of_one_condition_and_of_none(
    tables: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    one = {
        name: table[table["seed"] == 1] if "seed" in table else table.assign(n=1)
        for name, table in tables.items()
    }
    for figure in (LAGS, ONSETS, PATHS):
        assert drawn(figure, tmp_path / "one", one).startswith("Not settled: ")
    calm = {name: table[table["condition"] == "self_calm"] for name, table in tables.items()}
    drawn(LAGS, tmp_path / "calm", calm)
    for figure in (ONSETS, PATHS):
        with pytest.raises(NothingToDraw):
            drawn(figure, tmp_path / "calm", calm)
    for figure in (LAGS, ONSETS, PATHS):
        with pytest.raises(NothingToDraw):
            drawn(figure, tmp_path / "none", {name: table.iloc[:0] for name, table in tables.items()})


def test_the_page_follows_the_tables(tables: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    page = page_of(lead_lag.EXPERIMENT, tmp_path, tables)
    assert verdict(page, LEAD) == "Not clear" and verdict(page, ONSET) == "Not clear"
    assert verdict(page, PATH) == "Not clear"
    assert re.search(r"`bewilderment` \+\d", page.findings["path"].evidence)
    assert cells(page, "`self_calm`, speed, differences")[1] == "+1"
    latencies = ["0, 0, 0, 0, 0, 0", "5, 5, 5, 5, 5, 5", "0, 6, 0"]
    assert cells(page, "`bewilderment`, state speed")[1:4] == latencies
    assert "nan" not in page and page.count("![") == 3

    leading = {name: table.copy() for name, table in tables.items()}
    summary, order = leading["lead_lag_summary"], leading["onset_order"]
    of_one = (summary["measure"] == "state_norm") & (summary["condition"] == "self")
    summary.loc[(summary["measure"] == "state_drift") | of_one, ["peak_lag", "lead_p_value"]] = [-2, 0.001]
    order[["state_first", "loss_first"]] = order[["loss_first", "state_first"]].to_numpy()
    page = page_of(lead_lag.EXPERIMENT, tmp_path, leading)
    assert page.findings["lead"].title() == "Speed of the state moves before the loss does."
    assert verdict(page, LEAD) == verdict(page, ONSET) == "Clear"


@pytest.mark.parametrize("absent", [*(name for one in TABLES for name in one.names), "all", "empty"])
def test_partial_studies_have_a_page(tables: dict[str, pd.DataFrame], absent: str, tmp_path: Path) -> None:
    some = {name: table.iloc[:0] if absent == "empty" else table for name, table in tables.items()}
    some = {name: table for name, table in some.items() if absent not in (name, "all")}
    page = page_of(lead_lag.EXPERIMENT, tmp_path, some)
    assert "nan" not in page and page.count("## ") == 6
    if absent in ("all", "empty"):
        assert page.count("The tables hold nothing for this yet.") == 6 and "![" not in page
        assert verdict(page, LEAD) == "Not measured"


def test_two_seeds_are_inconclusive(tmp_path: Path) -> None:
    page = page_of(lead_lag.EXPERIMENT, tmp_path, study(2))
    assert verdict(page, LEAD) == verdict(page, PATH) == "Open"
