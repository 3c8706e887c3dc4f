"""Beliefs before a model is asked: histories against enumeration, maps against what is known to be linear."""

import functools
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from experiments.geometry_tables import PROCESSES
from probes import histories
from probes.belief_map import (
    apart,
    auc,
    cells,
    correlation2,
    crossed,
    cut,
    fitted,
    linear,
    pair_weights,
    scores,
)
from probes.histories import classes, later, theory
from tests.known_processes import known, process

# What theory says


@pytest.mark.parametrize("name", PROCESSES)
def test_histories_are_those_of_enumeration(name: str) -> None:
    source, found = process(name), known(name, 4)
    expected = {}
    for length in range(1, 5):
        for sequence in itertools.product(range(source.vocab_size), repeat=length):
            whole = functools.reduce(
                lambda row, token: row @ source.transitions[token], sequence, source.stationary
            )
            if whole.sum() > 0:
                expected[sequence] = whole
    mine = [
        tuple(found.whole[row, :length].tolist()) for row, length in zip(found.row, found.length, strict=True)
    ]
    assert mine == list(expected) and len(set(mine)) == len(mine)
    for place, whole in enumerate(expected.values()):
        assert found.probability[place] == pytest.approx(whole.sum(), abs=1e-12)
        assert found.belief[place] == pytest.approx(whole / whole.sum(), abs=1e-12)
        assert found.odds[place] == pytest.approx(source.odds(np.array([mine[place]]))[0, -1], abs=1e-12)
    assert found.weight.sum() == pytest.approx(1)


def test_last_tokens_are_counted() -> None:
    found = known("rrxor", 4)
    for size in (1, 2, 9):
        ends = [
            tuple(found.whole[row, max(0, length - size) : length])
            for row, length in zip(found.row, found.length, strict=True)
        ]
        code = found.last(size)
        assert len(set(code.tolist())) == len(set(ends)) == len(set(zip(ends, code.tolist(), strict=True)))


def test_theory_tells_the_best_loss() -> None:
    rows = theory(process("rrxor"), known("rrxor", 10))
    assert [row["histories"] for row in rows] == [2, 4, 8, 16, 28, 52, 92, 148, 260, 436]
    assert rows[0]["optimal"] == pytest.approx(np.log(2)) and rows[0]["state_known"] == pytest.approx(
        2 / 3 * np.log(2)
    )
    assert rows[-1]["optimal"] == pytest.approx(0.5033, abs=1e-4)
    source, found = process("z1r"), known("z1r", 3)
    exact = float(found.probability @ histories.entropy(found.odds)) / 3
    assert np.mean([row["optimal"] for row in theory(source, found)]) == pytest.approx(exact)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda source, found: (replace(source, transitions=source.transitions * 1.1), found), "does not sum to one"),
        (lambda source, found: (replace(source, transitions=source.transitions[::-1].copy()), found), "the forward filter differs"),
        (lambda source, found: (source, replace(found, belief=found.belief[::-1].copy())), "the forward filter differs"),
        (lambda source, found: (source, replace(found, probability=found.probability * 0.9)), "do not sum to one"),
        (lambda source, found: (source, replace(found, odds=np.full_like(found.odds, 0.5) * (np.arange(len(found))[:, None] > 1))), "does not help"),
    ],
)  # fmt: skip
def test_what_does_not_hold_is_an_error(spoil: Any, said: str) -> None:
    source, found = spoil(process("rrxor"), known("rrxor", 5))
    with pytest.raises(RuntimeError, match=said):
        theory(source, found)


def test_what_decides_later_tokens() -> None:
    assert [later(process(name).transitions).shape[1] for name in ("mess3", "rrxor", "z1r")] == [3, 5, 3]
    split = np.zeros((2, 3, 3))  # a coin whose two states behind heads are alike
    split[0, 0, 1] = split[0, 0, 2] = 0.25
    split[1, :, 0] = 0.5
    split[0, 1:, 1] = 0.5
    basis = later(split)
    assert basis.shape == (3, 1) and np.ptp(basis) == pytest.approx(0)
    source, found = process("rrxor"), known("rrxor", 6)
    held = classes(found.belief @ later(source.transitions))
    assert len(set(held)) == len(set(classes(found.belief)))


# The map


DESIGN = {  # R2 onto the belief after ten tokens, as prototypes measured it
    "mess3": {"token": 0.806, "3-gram": 0.985, "5-gram": 0.999, "next-token": 1.0},
    "rrxor": {"token": 0.088, "3-gram": 0.307, "5-gram": 0.570, "next-token": 0.222},
    "z1r": {"token": 0.337, "3-gram": 1.0, "5-gram": 1.0, "next-token": 0.5},
}


@pytest.mark.parametrize("name", DESIGN)
def test_floors_are_those_that_were_measured(name: str) -> None:
    found = known(name, 10)
    at = found.length == 10
    weight = found.probability[at]
    told = {f"{size}-gram": cells(found.last(size)[at], found.belief[at], weight) for size in (1, 3, 5)}
    told = {**told, "token": told["1-gram"], "next-token": linear(found.odds[at], found.belief[at], weight)}
    for source, r2 in DESIGN[name].items():
        assert scores(told[source], found.belief[at], weight)["r2"] == pytest.approx(r2, abs=0.005)


def test_a_map_finds_what_is_linear_and_nothing_else() -> None:
    random = np.random.default_rng(0)
    x, weight = random.normal(size=(400, 6)) + 5, random.random(400)
    y = x @ random.normal(size=(6, 3)) + 2
    of = cut(weight, np.zeros(400), 1)
    assert of.weight.sum() == pytest.approx(1) and np.bincount(of.fold).tolist() == [80] * 5
    assert scores(crossed(x, y, of), y, of.weight)["r2"] == pytest.approx(1, abs=1e-9)
    assert scores(crossed(x, random.normal(size=(400, 3)), of), y - y, of.weight)["mse"] > -0.2
    noise = random.normal(size=(400, 3))
    assert abs(scores(crossed(x, noise, of), noise, of.weight)["r2"]) < 0.1
    wide = random.normal(
        size=(400, 300)
    )  # as many features as a fold's rows: what fits by chance is not believed
    assert scores(crossed(wide, noise, of), noise, of.weight)["r2"] > -0.1


def test_a_history_is_read_by_maps_that_were_fitted_without_it() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=(100, 4)), random.normal(size=(100, 2))
    of = cut(np.ones(100), np.arange(100) % 2, 3)
    before = crossed(x, y, of)
    changed = np.where((of.fold == 2)[:, None], y + 100, y)
    after = crossed(x, changed, of)
    assert np.allclose(before[of.fold == 2], after[of.fold == 2]) and not np.allclose(before, after)
    spread = [np.bincount(of.fold[np.arange(100) % 2 == half], minlength=5).tolist() for half in (0, 1)]
    assert spread == [[10] * 5] * 2


def test_weights_decide() -> None:
    x = np.array([[0.0], [1.0], [0.0], [1.0]]).repeat(50, 0)
    y = np.array([[0.0], [1.0], [0.0], [5.0]]).repeat(50, 0)
    heavy = np.array([1.0, 1.0, 1.0, 0.0]).repeat(50) + 1e-12
    of = cut(heavy, np.zeros(200), 0)
    assert fitted(x, y, of)(np.array([[1.0]]), np.array([0]))[0, 0] == pytest.approx(1.0, abs=1e-3)
    assert cells(x[:, 0].astype(int), y, heavy)[50, 0] == pytest.approx(1.0, abs=1e-9)


def test_pairs_are_compared_as_elsewhere() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(30, 2))
    far = apart(values)
    assert far[0] == pytest.approx(np.linalg.norm(values[0] - values[1])) and len(far) == 30 * 29 / 2
    weight = pair_weights(np.ones(30))
    other = far + random.normal(size=len(far))
    assert correlation2(far, other, weight) == pytest.approx(np.corrcoef(far, other)[0, 1] ** 2)
    truth, score, weight = (
        random.random(200) > 0.6,
        random.integers(0, 9, 200).astype(float),
        random.random(200),
    )
    assert auc(truth, score, weight) == pytest.approx(roc_auc_score(truth, score, sample_weight=weight))
    assert np.isnan(auc(np.ones(3, bool), np.arange(3.0), np.ones(3)))
