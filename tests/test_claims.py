"""How claims are judged: the tests' exactness and error rates, the rule of the verdict, effects found in tables as planted."""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from base.storage import UserError
from experiments.claims import file, judge
from experiments.claims.file import load
from experiments.claims.judge import ABSENT, INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED, judged, verdict
from experiments.kit.stats import combined_rank, equal_within, holm, sign_flip
from experiments.kit.tables import Tables
from tests.few_claims import NONE, file_of, made, row, study

# The statistics.


def test_sign_flips_are_those_of_hand() -> None:
    assert sign_flip(np.array([1.0, 2.0, 3.0])) == 1 / 8 and sign_flip(np.array([1.0, 2.0, 3.0]), "less") == 1
    assert sign_flip(np.array([1.0, 2.0, -3.0])) == 5 / 8  # sums 6 4 2 0 0 -2 -4 -6, observed 0
    assert sign_flip(np.array([0.1, 0.2, -0.3])) == 5 / 8  # whose sum is 0 but for rounding
    assert sign_flip(np.zeros(4), "different") == 1
    assert sign_flip(np.array([2.0])) == 1 / 2 and sign_flip(np.array([2.0]), "different") == 1
    many = np.full(40, 1.0)
    assert sign_flip(many) == sign_flip(many) < 1e-4  # so many ways are drawn, always the same


def test_without_an_effect_the_sign_flip_finds_one_as_often_as_it_may_and_with_one_it_does() -> None:
    random = np.random.default_rng(2)
    heavy = np.abs(
        random.standard_t(2, size=6)
    )  # each sign as likely: all 64 ways of them are the whole distribution
    ways = [heavy * signs for signs in itertools.product((-1, 1), repeat=6)]
    for direction, least in (("greater", 1), ("less", 1), ("different", 2)):
        found = np.array([sign_flip(way, direction) for way in ways])
        assert all((found <= level).mean() <= level for level in np.arange(1, 65) / 64)
        assert (found <= 0.05).sum() == 3 // least * least  # 3 / 64 < 0.05: no test at this level finds more
    planted = random.standard_normal((100, 8)) + 1.5
    assert np.mean([sign_flip(values) < 0.05 for values in planted]) > 0.9
    families = (
        random.integers(1, 257, size=(4000, 6)) / 256
    )  # six claims, none true: p of eight seeds without ties
    some = [min(holm(six)) < 0.05 for six in families]
    assert np.mean(some) < 0.05 + 3 * math.sqrt(0.05 / 4000)


def test_equal_within_is_two_tests_and_takes_the_worse() -> None:
    values = np.array([0.1, -0.1, 0.2, -0.2, 0.1, 0.0, 0.1, -0.1])
    assert equal_within(values, 1.0) == 1 / 256
    assert equal_within(values + 1, 1.0) > 0.5 and equal_within(values - 1, 1.0) == sign_flip(
        values, "greater"
    )


def test_ranks_of_seeds_are_combined_exactly() -> None:
    draws = (2, 3, 2)
    everything = list(itertools.product(*(range(count + 1) for count in draws)))

    def total(above: tuple[int, ...]) -> float:
        return sum((one + 1) / (count + 1) for one, count in zip(above, draws, strict=True))

    for above in everything:
        by_hand = np.mean([total(other) <= total(above) + 1e-12 for other in everything])
        assert combined_rank(above, draws) == pytest.approx(by_hand)
    p_values = np.array([combined_rank(above, draws) for above in everything])
    assert all((p_values <= level).mean() <= level + 1e-12 for level in (0.01, 0.05, 0.1, 0.5))
    assert combined_rank([1], [4]) == 2 / 5  # one seed: its rank p-value
    assert combined_rank([0] * 8, [10] * 8) == pytest.approx(11.0**-8)
    assert combined_rank([5] * 8, [10] * 8) == pytest.approx(0.5, abs=0.06)
    assert combined_rank([0] + [9] * 7, [10] * 8) > 0.5  # one seed that stands out carries nothing


def test_holm_is_the_known_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []
    missing = holm([0.01, math.nan, 0.03])  # the missing one still counts
    assert missing[0] == pytest.approx(0.03) and math.isnan(missing[1]) and missing[2] == pytest.approx(0.06)


@pytest.mark.parametrize(
    ("direction", "effect", "low", "high", "p", "expected"),
    [
        ("greater", 3, 2, 4, 0.01, SUPPORTED),
        ("greater", 3, 2, 4, 0.06, INCONCLUSIVE),  # not after Holm
        ("greater", 3, -1, 7, 0.01, INCONCLUSIVE),  # holds zero and the smallest of interest
        ("greater", 0.9, 0.1, 1.7, 0.01, INCONCLUSIVE),  # there, but perhaps too small
        ("greater", 0.3, 0.2, 0.4, 0.001, NOT_SUPPORTED),  # too small for certain, however small p is
        ("greater", -3, -4, -2, 1.0, NOT_SUPPORTED),
        ("less", -3, -4, -2, 0.01, SUPPORTED),
        ("less", 3, 2, 4, 1.0, NOT_SUPPORTED),
        ("different", -3, -4, -2, 0.01, SUPPORTED),
        ("different", 0.1, -0.5, 0.7, 0.4, NOT_SUPPORTED),
        ("different", 0.1, -3, 3.2, 0.4, INCONCLUSIVE),
        ("equal within", 0.1, -0.5, 0.7, 0.01, SUPPORTED),
        ("equal within", 0.1, -0.5, 1.1, 0.01, INCONCLUSIVE),
        ("equal within", -3, -4, -2, 1.0, NOT_SUPPORTED),
    ],
)
def test_the_verdict_follows_the_rule(
    direction: str, effect: float, low: float, high: float, p: float, expected: str
) -> None:
    assert verdict(direction, 8, effect, low, high, p, 1.0) == expected
    assert verdict(direction, 2, effect, low, high, p, 1.0) == INCONCLUSIVE
    assert verdict(direction, 0, math.nan, math.nan, math.nan, math.nan, 1.0) == ABSENT


# From tables to claims.


def test_planted_effects_are_found_with_exactly_their_numbers(tmp_path: Path) -> None:
    tables = made(tmp_path)
    beats, gains, slower = (row(tables, name) for name in ("beats", "gains", "slower"))
    assert beats["verdict"] == gains["verdict"] == slower["verdict"] == SUPPORTED
    means = study(tmp_path / "t").of("s").rows("effects").groupby(["reader", "seed"])["size"].mean()
    surplus = min(float((means["learned"] - means[kind]).mean()) for kind in ("rotated", "untrained"))
    assert beats["effect"] == pytest.approx(surplus)
    assert beats["p"] == pytest.approx(6.0**-8)  # the weaker kind's
    assert beats["value"] == pytest.approx(means["learned"].mean()) == beats["reproduced"]
    losses = (
        study(tmp_path / "t").of("s").rows("losses").pivot(index="seed", columns="condition", values="loss")
    )
    difference = losses["self"] - losses["vanilla"]
    assert gains["effect"] == pytest.approx(difference.mean()) and gains["p"] == 1 / 256
    assert gains["p_holm"] == pytest.approx(2 / 256) and gains["n"] == 8  # ranks go first
    interval = stats.t.interval(0.95, 7, difference.mean(), stats.sem(difference))
    assert (gains["low"], gains["high"]) == pytest.approx(interval)
    assert gains["placebo"] == pytest.approx(-0.01) and gains["placebo_name"] == "bias"
    assert (slower["effect"], slower["n"]) == (10, 7) and slower["p"] == 1 / 128  # an empty cell is no seed
    seeds = tables["claim_seeds"]
    assert seeds[seeds["id"] == "gains"]["effect"].to_numpy() == pytest.approx(difference.to_numpy())
    assert len(tables["runs"]) == 8


def test_without_effects_nothing_is_supported_and_without_tables_nothing_is_measured(tmp_path: Path) -> None:
    none = made(tmp_path, gain=0.0, surplus=-0.1)
    assert row(none, "gains")["verdict"] == row(none, "beats")["verdict"] == NOT_SUPPORTED
    for seeds in (1, 2):
        few = made(tmp_path, seeds=seeds)
        assert row(few, "gains")["verdict"] == row(few, "beats")["verdict"] == INCONCLUSIVE
    empty = judged(load(file_of(tmp_path)), NONE, Tables(tmp_path / "nowhere", "claims"))
    assert set(empty["claims"]["verdict"]) == {ABSENT} and set(empty["claims"]["n"]) == {0}


def test_a_query_that_finds_several_rows_or_no_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"claims\.beats: effects of suite s has 16 rows for seed 1; narrow `where`"
    ):
        made(tmp_path, ('where = { reader = "learned" } }', "where = {} }"))
    with pytest.raises(UserError, match=r"claims\.gains: table losses of suite s has no column los;"):
        made(tmp_path, ('column = "loss"', 'column = "los"'))


def test_partners_that_lend_each_other_what_is_compared_are_one_unit() -> None:
    claim = load(file.FILE).claims["swap_loss"]
    found = judge._units(claim, pd.Series({1: 1.0, 2: 3.0, 3: 5.0, 4: 7.0, 5: 9.0}))
    assert found.to_dict() == {1: 2.0, 3: 6.0, 5: 9.0}
    assert judge._units(claim.model_copy(update={"pairs": False}), pd.Series({1: 1.0})).to_dict() == {1: 1.0}
