"""Regimes are told from one run's log as the published script tells them, to the digit."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.kit import published
from experiments.kit.tables import BASIC, STATE, TIME
from experiments.separability import chunks, dealt, of_run
from tests import reference

PRINTED = {  # accuracy, its sd over folds, both with labels shuffled: what the published script gave (scikit-learn 1.9.1)
    ("selfreg0_s42", BASIC): (0.800000, 0.078446, 0.215385, 0.075369),
    ("selfreg0_s42", STATE): (1.000000, 0.000000, 0.153846, 0.108786),
    ("selfreg0_s42", TIME): (0.661538, 0.061538, 0.353846, 0.092308),
    ("vanreg_s42", BASIC): (0.769231, 0.048650, 0.215385, 0.089707),
    ("vanreg_s42", TIME): (0.661538, 0.061538, 0.353846, 0.092308),
}


@pytest.mark.parametrize("name", ["selfreg0_s42", "vanreg_s42"])
def test_accuracies_are_those_that_the_published_script_gave(name: str) -> None:
    found: Any = of_run(reference.log(name), 10).set_index("features")
    wanted = {features: values for (run, features), values in PRINTED.items() if run == name}
    assert set(found.index) == set(wanted) and (found["windows"] == 65).all()
    for features, values in wanted.items():
        row = found.loc[features, ["accuracy", "sd", "shuffled", "shuffled_sd"]]
        assert row.to_list() == pytest.approx(values, abs=1e-6), features


def test_chunks_are_of_one_regime_and_carry_on_what_is_measured_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(published, "EFFECT_EVERY", 4)
    regimes = ["calm"] * 3 + ["a"] * 5 + ["calm"] + ["b"] * 4 + ["a"] * 1
    effect = [float(step) if step % 2 == 0 else np.nan for step in range(len(regimes))]
    log = pd.DataFrame(
        {"step": range(14), "regime": regimes, "loss": np.arange(14.0), "prompt_effect": effect}
    )
    x, y = chunks(log, ("loss", "prompt_effect"), 2)
    assert y.tolist() == ["a", "a", "a", "b", "b"]
    assert x.tolist() == [[3.5, 2.0], [5.5, 4.0], [10.0, 8.0], [9.5, 8.0], [11.5, 10.0]]


def test_folds_share_out_each_regime_and_only_once() -> None:
    y = np.array(["a"] * 7 + ["b"] * 5)
    folds = dealt(y, 1)
    assert sorted(itertools.chain(*folds)) == list(range(12)) and [*map(len, folds)] == [3, 3, 2, 2, 2]
    assert all((y[fold] == "b").sum() == 1 for fold in folds)


def test_one_regime_or_none_is_no_answer() -> None:
    log = pd.DataFrame({"regime": ["calm"] * 20, "progress": np.arange(20) / 20})
    assert of_run(log, 10)["accuracy"].isna().all()
    assert of_run(log.assign(regime="a"), 10)["accuracy"].isna().all()
    two = of_run(log.assign(regime=["a"] * 10 + ["b"] * 10), 10)  # a chunk each, so one class to learn from
    assert two["accuracy"].isna().all() and (two["windows"] == 2).all()
