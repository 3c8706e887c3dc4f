"""The published probe of single steps: a planted regime, one that is not there, and the published run's own statistics."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.state import STATS
from configs.state import SelfState as SelfStateConfig
from experiments import update_network, update_rows
from experiments.kit import published
from experiments.kit.replay import untrained
from experiments.update_rows import BEFORE, CLOCK, EITHER, HIDDEN, RAW, WHICH
from tests.made_runs import assert_tables, cells, context, make_tables, page_of, regimes_of, verdict
from tests.test_dimensions import published_log
from tests.test_update_network import trained

WINDOWS = [("sensory_fog", 40, 70), ("bewilderment", 100, 140)]


def test_an_untrained_network_tells_the_published_runs_regimes_as_well() -> None:
    log = published_log("self-regimes")
    before = untrained(SelfStateConfig(hidden=32, activation="tanh"), 42)
    features = {BEFORE: before.hidden(log[list(STATS)].to_numpy())}
    found = update_rows.told_in_rows(features, log["regime"].to_numpy(dtype=str), 42).set_index("task")
    # analysis_seed42.json, probes: n_samples and n_classes of the published script
    assert list(found["steps"]) == [2001, 650] and list(found["classes"]) == [2, 5]
    for task, said in published.UPDATE_PROBE_UNTRAINED.items():
        made = found.loc[task, list(update_rows.SCORES)].astype(float)
        np.testing.assert_allclose(made, said, atol=2e-3)
        np.testing.assert_allclose(
            published.UPDATE_PROBE[task][:3], said[:3], atol=4e-3
        )  # the trained ones are no better


def test_a_planted_regime_is_told_and_shuffled_labels_are_not() -> None:
    random, regimes = (
        np.random.default_rng(0),
        regimes_of(400, [("sensory_fog", 50, 150), ("bewilderment", 200, 300)]),
    )
    told = np.stack([regimes == "sensory_fog", regimes == "bewilderment"], axis=1) + 0.1 * random.normal(
        size=(400, 2)
    )
    found = update_rows.told_in_rows(
        {HIDDEN: told, RAW: random.normal(size=(400, 2))}, regimes.astype(str), 1
    )
    rows: Any = found.set_index(["task", "features"])
    assert (rows.loc[[(EITHER, HIDDEN), (WHICH, HIDDEN)], ["accuracy", "balanced"]] > 0.99).all(axis=None)
    assert rows.loc[(EITHER, HIDDEN), "auc"] > 0.99
    assert rows.loc[(EITHER, RAW), "balanced"] == pytest.approx(0.5, abs=0.1)
    assert rows["shuffled_balanced"].between(0.4, 0.6).all()
    assert rows.loc[(WHICH, HIDDEN), "steps"] == 200
    one = update_rows.told_in_rows({RAW: told}, regimes_of(400, [("sensory_fog", 50, 150)]).astype(str), 1)
    assert list(one["task"]) == [EITHER]  # there is but one regime to name
    assert update_rows.told_in_rows({RAW: told}, regimes_of(400, []).astype(str), 1).empty


def test_the_page_says_what_the_rows_hold(tmp_path: Path) -> None:
    runs = [
        trained(tmp_path / str(seed), "self", seed, windows=WINDOWS, activation="tanh") for seed in (1, 2, 3)
    ]
    runs.append(trained(tmp_path / "linear", "self", 4, windows=WINDOWS, update="linear"))
    made = make_tables(update_rows.EXPERIMENT.of("shakespeare"), context(runs))
    rows = made["update_probe_rows"]
    assert set(rows["seed"]) == {1, 2, 3} and list(rows["features"][:4]) == [HIDDEN, BEFORE, RAW, CLOCK]
    page = page_of(update_network.EXPERIMENT, tmp_path / "tables", made)
    assert_tables(page)
    trained_ones = "trained hidden units tell a regime from none better"
    assert cells(page, f"{EITHER}: published run")[1:5] == ["0.815", "0.725", "0.767", "0.674"]
    assert verdict(page, trained_ones) == "Not clear"  # their weights are drawn, too
    better = rows.copy()
    own = (better["features"] == HIDDEN) & (better["task"] == EITHER)
    better.loc[own, "balanced"] = 0.99 + 0.001 * better["seed"]
    better.loc[~own & (better["task"] == EITHER), "balanced"] = 0.7
    page = page_of(update_network.EXPERIMENT, tmp_path / "better", {"update_probe_rows": better})
    assert verdict(page, trained_ones) == "Clear" and "minus hidden units before training +0.292" in page
    empty = page_of(update_network.EXPERIMENT, tmp_path / "none", {"update_probe_rows": pd.DataFrame()})
    assert verdict(empty, trained_ones) == "Not measured"
