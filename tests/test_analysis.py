"""The analyses on synthetic runs with known answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import classification, shakespeare
from base import storage
from configs.suite import Signatures, load_suite
from experiments import runs
from experiments.kit import stats as kit_stats
from experiments.kit.runs import METRICS, STATE_METRICS, Context, Run, open_run
from experiments.kit.tables import BASIC, CLEAN, NO_CLAMP, STATE
from tests import made_runs


def row(table: pd.DataFrame, *key: str) -> Any:
    """One row of a table, by its index."""
    rows: Any = table.loc
    return rows[key]


SETTINGS = Signatures(pre_steps=10, classify_steps=5, permutations=10)
ROOT = Path(__file__).parents[1]
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


def test_classification_finds_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    places = [(10, 40), (60, 90), (120, 150), (160, 190)]
    made = []
    for seed in range(1, 5):
        order = np.random.default_rng(seed).permutation(3)
        names = ("sensory_fog", "bewilderment", "lr_heatwave")
        windows = [(names[index], *places[place]) for index, place in enumerate(order)]
        made.append(write_run(tmp_path, "self_random", seed, windows, 3.0, noise=0.3))
        made.append(write_run(tmp_path, "vanilla_random", seed, windows, 0.0, noise=0.3))
    table = classification.classification(made, SETTINGS).set_index(["condition", "features"])
    assert (table["protocol"] == "clean").all() and (table["runs"] == 4).all()
    best = row(table, "self_random", STATE)
    assert best["accuracy"] == 1.0 and best["p_value"] == pytest.approx(1 / 11)
    blind = row(table, "vanilla_random", BASIC)
    assert blind["accuracy"] < blind["majority"] + 0.2 and blind["p_value"] > 0.09
    loss = row(table, "self_random", BASIC)
    assert best["accuracy"] > loss["accuracy"] > loss["null_95"]  # loss tells regime from calm, not which


def test_without_the_held_state_its_zero_drift_names_nothing(tmp_path: Path) -> None:
    """Drift is noise but in self_clamp, where it is zero: all that state channels tell then goes with that regime."""
    places = [(10, 40), (60, 90), (120, 150)]
    names = ("sensory_fog", "bewilderment", "self_clamp")
    made = []
    for seed in range(1, 6):
        order = np.random.default_rng(seed).permutation(3)
        windows = [(names[index], *places[place]) for index, place in enumerate(order)]
        made.append(write_run(tmp_path, "self_random", seed, windows, 0.0, noise=0.3))
        made.append(write_run(tmp_path, "vanilla_random", seed, windows, 0.0, noise=0.3))
        path = made[-2].folder / "metrics.csv"
        log = pd.read_csv(path)
        log.loc[log["regime"] == "self_clamp", "state_drift"] = 0.0
        log.to_csv(path, index=False)
    suite = load_suite(ROOT / "configs" / "shakespeare.toml").model_copy(update={"signatures": SETTINGS})
    table = shakespeare.tables(Context(suite, made))["classification"]
    keys = ["condition", "protocol", "features"]
    assert not table.duplicated(keys).any()
    full = classification.classification(made, SETTINGS)
    pd.testing.assert_frame_equal(table.iloc[: len(full)], full)  # nothing of the full protocol is another
    few = table[table["protocol"] == NO_CLAMP]
    assert set(few["condition"]) == {"self_random", "vanilla_random"} and (few["classes"] == 3).all()
    assert few["p_value"].min() >= 1 / 3  # of two draws, a fifth of ten
    told = table[table["condition"] == "self_random"].set_index(["protocol", "features"])["accuracy"]
    gain = {way: told[way, STATE] - told[way, BASIC] for way in (CLEAN, NO_CLAMP)}
    assert gain[CLEAN] > 0.15 and abs(gain[NO_CLAMP]) < 0.1


def test_published_protocol_and_too_few_runs(tmp_path: Path) -> None:
    made = [
        write_run(tmp_path, "self", 1, WINDOWS, 3.0, 0.1),
        write_run(tmp_path, "self_random", 1, WINDOWS, 3.0),
    ]
    table = classification.classification(made, SETTINGS).set_index(["protocol", "features"])
    assert row(table, "published", STATE)["accuracy"] == 1.0
    assert np.isnan(row(table, "clean", STATE)["accuracy"])


def test_too_few_windows_are_no_answer_rather_than_an_error(tmp_path: Path) -> None:
    windows = [
        ("sensory_fog", 50, 60),
        ("bewilderment", 70, 80),
        ("lr_heatwave", 150, 160),
        ("self_clamp", 170, 180),
    ]
    table = classification.classification([write_run(tmp_path, "self", 1, windows, 3.0)], SETTINGS)
    assert table["accuracy"].isna().all() and (table["windows"] == 10).all()


def test_no_way_to_lay_few_windows_is_an_error(tmp_path: Path) -> None:
    """One window a class, none, or one class alone in a run: any of these can come of a short study."""
    names = ("sensory_fog", "bewilderment", "self_clamp")
    for trial in range(40):
        random = np.random.default_rng(trial)
        made = []
        for condition in ("self", "self_random"):
            for seed in range(1, 1 + int(random.integers(1, 4))):
                starts = np.sort(
                    random.choice(np.arange(0, STEPS, 30), int(random.integers(0, 3)), replace=False)
                )
                lengths = random.integers(5, 29, len(starts))
                windows = [
                    (str(random.choice(names)), int(start), int(start + length))
                    for start, length in zip(starts, lengths, strict=True)
                ]
                made.append(write_run(tmp_path / str(trial), condition, seed, windows, 3.0))
        table = classification.classification(made, Signatures(permutations=3))
        known = table["accuracy"].dropna()
        assert known.between(0, 1).all()
        assert len(classification.classification_seeds(made, SETTINGS)) >= len(known)


def test_nothing_gives_empty_tables_with_their_columns() -> None:
    assert list(classification.classification([], SETTINGS)) == list(classification.COLUMNS)
    nothing = made_runs.context([])
    assert all(make(nothing).empty for make in (runs.metrics, runs.windows, runs.runs, runs.tests))
