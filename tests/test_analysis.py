"""The analyses on synthetic runs with known answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import signatures, trajectory
from base import storage
from configs.suite import Signatures
from experiments import runs
from experiments.kit import stats as kit_stats
from experiments.kit.runs import METRICS, STATE_METRICS, Run, open_run
from tests import made_runs


def row(table: pd.DataFrame, *key: str) -> Any:
    """One row of a table, by its index."""
    rows: Any = table.loc
    return rows[key]


SETTINGS = Signatures(pre_steps=10, classify_steps=5, permutations=10)
STEPS = 200


def write_run(
    tmp_path: Path, condition: str, seed: int, windows: list, shift: float, noise: float = 0.0
) -> Run:
    """A run whose loss rises by `shift` in each window, and whose drift names the regime by its size."""
    random = np.random.default_rng(1000 * seed + len(condition))
    folder = tmp_path / condition / f"seed-{seed}"
    folder.mkdir(parents=True)
    log = pd.DataFrame({"step": range(STEPS), "regime": "calm"})
    for name in (*METRICS, "lr", "heldout_loss"):
        log[name] = 1.0 + noise * random.normal(size=STEPS)
    log["progress"] = log["step"] / STEPS
    for number, (regime, start, end) in enumerate(windows, 1):
        rows = (log["step"] >= start) & (log["step"] < end)
        log.loc[rows, "regime"] = regime
        log.loc[rows, "loss"] += shift
        log.loc[rows, "state_drift"] += 10 * number * bool(shift)
    if condition.startswith("vanilla"):
        log[list(STATE_METRICS)] = np.nan
    log.to_csv(folder / "metrics.csv", index=False)
    states = np.outer(np.linspace(-1, 1, STEPS), [3.0, -4.0, 0.0]).astype(np.float32)
    storage.save_tensors(folder / "states.safetensors", {"state": states})
    run = {"corpus": "x", "seed": seed, "model": {}, "train": {}, "log": {}, "self_state": {}, "regimes": {}}
    (folder / "config.json").write_text(json.dumps(run))
    record = {"key": "0" * 64, "seconds": 1.5, "dtype": "float32", "corpus": "x", "parameters": {"gpt": 10}}
    storage.write_json(folder / "run.json", record)
    return open_run("s", condition, seed, folder)


WINDOWS = [("sensory_fog", 50, 70), ("bewilderment", 70, 100), ("lr_heatwave", 150, 200)]


def test_a_planted_shift_is_found_exactly(tmp_path: Path) -> None:
    made = [write_run(tmp_path, "self", 1, WINDOWS, 2.5), write_run(tmp_path, "self_calm", 1, [], 0.0)]
    deltas = signatures.regime_deltas(made, SETTINGS)
    loss = deltas[deltas["metric"] == "loss"].set_index(["condition", "regime"])
    assert loss["delta"].to_dict() == {
        **{("self", name): pytest.approx(2.5) for name, *_ in WINDOWS},
        **{("self_calm", name): pytest.approx(0.0) for name, *_ in WINDOWS},
    }
    assert row(loss, "self", "bewilderment")["before"] == pytest.approx(
        1.0
    )  # calm steps, though fog came just before
    assert row(loss, "self", "bewilderment")["delta_after"] == pytest.approx(0.0)
    assert np.isnan(row(loss, "self", "lr_heatwave")["delta_after"])  # nothing after the last step
    assert np.isnan(row(loss, "self", "sensory_fog")["delta_after"])  # another regime follows at once
    summary = signatures.regime_deltas_summary(deltas)
    paired = summary[(summary["condition"] == "self - self_calm") & (summary["metric"] == "loss")]
    assert paired["delta"].to_list() == pytest.approx([2.5] * 3)
    assert paired["low"].isna().all()  # one seed has no interval


def test_vanilla_has_no_state_rows(tmp_path: Path) -> None:
    deltas = signatures.regime_deltas([write_run(tmp_path, "vanilla", 1, WINDOWS, 1.0)], SETTINGS)
    assert set(deltas["metric"]) == set(METRICS) - set(STATE_METRICS)


def test_interval_is_students() -> None:
    values = np.random.default_rng(0).normal(3, 2, 8)
    mean, low, high = kit_stats.mean_interval(np.append(values, np.nan))
    expected = stats.t.interval(0.95, 7, loc=values.mean(), scale=stats.sem(values))
    assert (mean, low, high) == pytest.approx((values.mean(), *expected))


def test_principal_components_of_a_line(tmp_path: Path) -> None:
    path = trajectory.state_path([write_run(tmp_path, "self", 1, WINDOWS, 1.0)])
    np.testing.assert_allclose(path["pc1"], -5 * np.linspace(-1, 1, STEPS), atol=1e-5)
    np.testing.assert_allclose(path["pc2"], 0, atol=1e-5)
    assert path["share1"].iloc[0] == pytest.approx(1.0)
    assert (path["regime"] == "bewilderment").sum() == 30


def test_nothing_gives_empty_tables_with_their_columns() -> None:
    assert list(signatures.regime_deltas([], SETTINGS)) == list(signatures.COLUMNS)
    assert list(signatures.regime_deltas_summary(signatures.regime_deltas([], SETTINGS))) == list(
        signatures.SUMMARY
    )
    assert list(trajectory.state_path([])) == list(trajectory.COLUMNS)
    nothing = made_runs.context([])
    assert all(make(nothing).empty for make in (runs.metrics, runs.windows, runs.runs, runs.tests))
