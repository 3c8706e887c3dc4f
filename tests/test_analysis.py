"""The analyses on synthetic runs with known answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

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


def test_interval_is_students() -> None:
    values = np.random.default_rng(0).normal(3, 2, 8)
    mean, low, high = kit_stats.mean_interval(np.append(values, np.nan))
    expected = stats.t.interval(0.95, 7, loc=values.mean(), scale=stats.sem(values))
    assert (mean, low, high) == pytest.approx((values.mean(), *expected))


def test_nothing_gives_empty_tables() -> None:
    nothing = made_runs.context([])
    assert all(make(nothing).empty for make in (runs.metrics, runs.windows, runs.runs, runs.tests))
