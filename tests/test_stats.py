"""Estimates and tests over seeds against hand and against other ways to the same number."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import scipy

from experiments.kit import stats
from experiments.kit.stats import Estimate

NAN = math.nan
T_3 = 3.182446305284263  # 0.975 quantile of Student's t with 3 degrees of freedom, from tables


def test_an_estimate_is_the_mean_with_students_interval() -> None:
    found = stats.estimate(pd.Series([1.0, NAN, 2.0, 3.0, 6.0]))  # mean 3, sum of squares 14
    half = T_3 * math.sqrt(14 / 3 / 4)
    assert (found.n, found.mean) == (4, 3.0)
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half))
    density = lambda t: 2 / math.pi / math.sqrt(3) / (1 + t * t / 3) ** 2  # noqa: E731  of t with 3 degrees of freedom
    tail = scipy.integrate.quad(density, 3 / math.sqrt(14 / 3 / 4), math.inf)[0]
    assert found.p == pytest.approx(2 * tail)
    turned = stats.estimate(pd.Series([-1.0, -2.0, -3.0, -6.0]))
    assert (turned.low, turned.high, turned.p) == pytest.approx((-found.high, -found.low, found.p))
    assert stats.mean_interval(np.array([1.0, 2.0, 3.0, 6.0])) == (found.mean, found.low, found.high)


def test_an_estimate_of_few_and_of_equal_values() -> None:
    none, one = stats.estimate(pd.Series([NAN])), stats.estimate(pd.Series([2.0]))
    assert none.n == 0 and np.isnan([none.mean, none.low, none.high, none.p]).all() and not none.clear
    assert (one.n, one.mean) == (1, 2.0) and np.isnan([one.low, one.high, one.p]).all() and not one.clear
    assert stats.estimate(pd.Series([2.0, 2.0])) == Estimate(2, 2.0, 2.0, 2.0, 0.0)
    assert stats.estimate(pd.Series([0.0, 0.0])) == Estimate(2, 0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("low", "high", "clear"), [(1, 2, True), (-2, -1, True), (-1, 2, False), (0, 1, False), (-1, 0, False)]
)
def test_clear_is_what_leaves_zero_out(low: float, high: float, clear: bool) -> None:
    assert Estimate(3, (low + high) / 2, low, high, NAN).clear == clear


def test_a_tables_first_row_is_its_estimate() -> None:
    rows = pd.DataFrame(
        {"n": [3, 4], "mean": [1.0, 9], "low": [0.5, 8], "high": [2.0, 10], "other": ["a", "b"]}
    )
    found = stats.tabled(rows)
    assert (found.n, found.mean, found.low, found.high) == (3, 1.0, 0.5, 2.0) and math.isnan(found.p)
    assert stats.tabled(rows[:0]).n == 0


def test_differences_are_taken_seed_by_seed_and_of_strangers_by_means() -> None:
    one, other = pd.Series({1: 5.0, 2: 7.0, 3: 100.0}), pd.Series({2: 3.0, 1: 2.0, 4: -50.0})
    found = stats.paired(one, other)
    assert (found.n, found.mean) == (2, 3.5)
    nothing = stats.unpaired(one, other[:0])
    assert nothing.n == 0 and math.isnan(nothing.mean)
    two = stats.unpaired(pd.Series([1.0, 3.0]), pd.Series([2.0, 2.5]))
    assert (
        two.n == 2 and two.mean == -0.25 and two.low < two.mean < two.high
    )  # two are enough for an interval


def test_ranks_correlate_by_spearman() -> None:
    one, other = pd.Series([1.0, 5, 2, 2, 9]), pd.Series([3.0, 100, -1, 4, 4])
    assert stats.rank_correlation(one, other) == pytest.approx(scipy.stats.spearmanr(one, other).statistic)
    x, y = (values.to_numpy() - values.mean() for values in (one, other))
    assert stats.correlation(one, other) == pytest.approx((x @ y) / math.sqrt((x @ x) * (y @ y)))
    assert stats.correlation(one, -other) == -stats.correlation(one, other)
    assert stats.correlation(pd.Series([1.0, 2]), pd.Series([3.0, 1])) == pytest.approx(-1)
    tenths = pd.Series([0.1] * 3)  # their mean is off by a rounding, so they seem to vary
    assert math.isnan(stats.correlation(tenths, pd.Series([1.0, 2.0, 4.0])))
    still = pd.Series([2.0] * 5)
    assert math.isnan(stats.rank_correlation(one, still)) and math.isnan(stats.correlation(still, other))


@pytest.mark.parametrize("often", [1, 2])
def test_a_seeds_value_is_the_mean_of_its_rows(often: int) -> None:
    """Once a seed and twice go different ways; both leave out what is not known and put the seeds in order."""
    rows = pd.DataFrame({"seed": [3, 1, 2], "x": [6.0, 2.0, NAN]})
    if often == 2:
        rows = pd.concat([rows, pd.DataFrame({"seed": [3, 1, 2], "x": [8.0, NAN, NAN]})])
    found = stats.per_seed(rows, "x")
    assert found.to_dict() == {1: 2.0, 3: 6.0 + (often == 2)} and found.index.tolist() == [1, 3]
    assert stats.over_seeds(rows, "x").n == 2
    assert stats.per_seed(rows[:0], "x").empty
    assert stats.mean_of_known(rows["x"].to_numpy()) == np.nansum(rows["x"]) / (often + 1)
    assert math.isnan(stats.mean_of_known(np.array([NAN, NAN])))


def test_sign_flips_are_all_the_ways_there_are() -> None:
    random = np.random.default_rng(1)
    for values in (
        np.round(random.normal(0.4, 1, 7), 1),
        random.normal(0.2, 1, 6),
        np.array([0.3, 0.1, 0.2, -0.6]),
    ):
        ways = np.array([values @ signs for signs in itertools.product((-1, 1), repeat=len(values))])
        more, less = (np.mean(sign * ways >= sign * values.sum() - 1e-9) for sign in (1, -1))
        assert stats.sign_flip(values) == pytest.approx(more) and stats.sign_flip(
            values, "less"
        ) == pytest.approx(less)
        assert stats.sign_flip(values, "different") == pytest.approx(min(1, 2 * min(more, less)))
    close = np.array([1.0, 1.0001, -1.0, 1e-3])  # sums that differ in the fifth digit are two
    assert stats.sign_flip(close) == 4 / 16
    assert stats.sign_flip(np.array([-2.0])) == 1 and stats.sign_flip(np.array([-2.0]), "less") == 1 / 2


def test_few_seeds_are_tested_by_student() -> None:
    values = np.array(
        [1.0, 3.0]
    )  # mean 2, standard error 1: t = 2 with one degree of freedom, Cauchy's distribution
    upper = 0.5 - math.atan(2) / math.pi
    assert stats.t_test(values) == pytest.approx(upper) and stats.t_test(values, "less") == pytest.approx(
        1 - upper
    )
    assert stats.t_test(values, "different") == pytest.approx(2 * upper)
    assert math.isnan(stats.t_test(values[:1]))
    wide = stats.equal_within(
        values, 5.0, stats.t_test
    )  # t = 7 above the one end, 3 below the other: the worse counts
    assert wide == pytest.approx(0.5 - math.atan(3) / math.pi)


def test_the_first_place_and_the_first_of_some_on_end() -> None:
    found = np.array([0, 1, 0, 1, 1, 0, 1, 1, 1], dtype=bool)
    assert [stats.first_on_end(found, count) for count in (1, 2, 3)] == [1, 3, 6] and stats.first_true(
        found
    ) == 1
    assert math.isnan(stats.first_on_end(found, 4)) and math.isnan(stats.first_on_end(found, 10))
    assert stats.first_on_end(np.ones(3, bool), 3) == 0 and math.isnan(stats.first_true(found[:1]))
    assert stats.ahead([], 3).size == 0


def test_bins_are_counted_from_zero_or_from_an_event() -> None:
    rows = pd.DataFrame(
        {
            "seed": [1, 1, 1, 2, 2],
            "step": [9, 10, 19, 10, 25],
            "x": [1.0, 2, 4, 7, NAN],
            "from": [4, 4, 4, 0, 0],
        }
    )
    found = stats.binned(rows, "x", 10)
    assert found.index.tolist() == [4.5, 14.5] and found[1].tolist() == [1, 3] and found[2][14.5] == 7
    aligned = stats.binned(rows, "x", 5, "from")
    assert aligned.index.tolist() == [7, 12, 17] and aligned[1].dropna().to_dict() == {7: 1.5, 17: 4}


@pytest.mark.parametrize("log", [False, True])
def test_a_band_is_the_estimate_of_each_row(log: bool) -> None:
    table = pd.DataFrame({1: [1.0, 5.0], 2: [10.0, NAN], 3: [1000.0, NAN], 4: [100.0, NAN]})
    table.loc[2] = [10.0, 1000.0, -1.0 if log else NAN, NAN]  # no logarithm: as if it were not there
    found = stats.band(table, log)
    for place in (0, 2):
        values = table.T[place].dropna()
        one = stats.estimate(np.log10(values[values > 0]) if log else values)
        wanted = [one.mean, one.low, one.high]
        assert found.T[place].tolist() == pytest.approx([10**value for value in wanted] if log else wanted)
    assert found["mean"].tolist()[1] == pytest.approx(5)
    assert math.isnan(found["low"].tolist()[1]) and math.isnan(found["high"].tolist()[1])


@pytest.mark.parametrize(
    ("steps", "width"), [(1, 10), (1000, 10), (2999, 10), (3000, 20), (2000, 10), (10_000, 50)]
)
def test_curves_have_about_two_hundred_points(steps: int, width: int) -> None:
    assert stats.bin_width(pd.DataFrame({"step": range(steps)})) == width
