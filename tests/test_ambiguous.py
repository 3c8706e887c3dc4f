"""Long told from short: where it is planted, where it is not, and where the window's own statistics tell it too."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu

from base.rng import Stream, generator
from experiments import ambiguous, memory
from experiments.kit import style
from experiments.kit.pages import render
from experiments.kit.tables import NothingToDraw, Tables
from tests.made_runs import (
    MadeRun,
    cells,
    context,
    drawn_of,
    made_run,
    read_from,
    regimes_of,
    title_of,
    verdict,
)

STEPS, PARTS, BEGINS, BEGIN = 240, 80, 160, 180  # the window: [180, 240)
SEEDS = 6
LOG = ("loss", "entropy", "top1", "grad_norm", "gate", "memory_share", "memory_norm")
WINDOW, PAIRS = ambiguous.EXPERIMENT.figures


def page_of(tables: dict[str, pd.DataFrame], folder: Path) -> str:
    """The section on the window, from the page on memory."""
    read_from(folder, "ambiguous", tables)
    return render(memory.EXPERIMENT, Tables(folder, "memory"), "figures")


def pair(
    name: str,
    seed: int,
    state: float,
    statistics: float,
    gate: float,
    noise: float = 0.01,
    regime: str = "bewilderment",
) -> list[MadeRun]:
    """Twins that are one run until step 80. In the window the long one's state, loss or gate is off by what is given,
    in units of the disturbance, along a direction that only this seed has."""
    shared = np.random.default_rng(seed)
    way = shared.normal(size=4)
    base = 3 * shared.normal(size=4) + 0.01 * shared.normal(size=(STEPS, 4))
    log = pd.DataFrame({column: 2 + 0.01 * shared.normal(size=STEPS) for column in LOG})
    made = []
    for length, start in (("long", PARTS), ("short", BEGINS)):
        own = np.random.default_rng((seed, len(length), len(name)))
        step, parted, long = np.arange(STEPS), np.arange(STEPS) >= PARTS, length == "long"
        disturbed = ((step >= start) & (step < BEGIN)).astype(float)
        kept = state * long * (step >= BEGIN)
        states = (
            base + np.outer(disturbed + kept, way) + noise * own.normal(size=(STEPS, 4)) * parted[:, None]
        )
        run = log + noise * own.normal(size=log.shape) * parted[:, None]
        run["loss"] += statistics * long * (step >= BEGIN)
        run["gate"] += gate * long * (step >= BEGIN)
        run.insert(0, "step", step)
        run.insert(1, "regime", regimes_of(STEPS, [(regime, start, BEGIN)]))
        run["state_drift"] = np.linalg.norm(np.diff(states, axis=0, prepend=states[:1]), axis=1)
        memory = {"kind": "ema", "decay": 0.1} if name.startswith("ema") else {"kind": "none"}
        if memory["kind"] == "none":
            run[["gate", "memory_share", "memory_norm"]] = np.nan
        self_state = {"dim": 4, "memory": memory}
        made.append(made_run(f"{name}_{length}", seed, run, states, self_state=self_state))
    return made


def study(
    name: str, state: float, statistics: float = 0.0, gate: float = 0.0, seeds: int = SEEDS, **how: Any
) -> dict[str, pd.DataFrame]:
    runs = [run for seed in range(1, seeds + 1) for run in pair(name, seed, state, statistics, gate, **how)]
    return ambiguous.ambiguous_tables(context(runs))


def told(tables: dict[str, pd.DataFrame], features: str, compared: str = "runs", span: str = "late") -> Any:
    table = tables["ambiguous_auc"]
    rows = table[(table["features"] == features) & (table["compared"] == compared) & (table["span"] == span)]
    return rows.iloc[0]


def gain(tables: dict[str, pd.DataFrame], features: str, span: str = "late") -> Any:
    table = tables["ambiguous_advantage"]
    rows = table[(table["features"] == features) & (table["compared"] == "runs") & (table["span"] == span)]
    return rows.iloc[0]


@pytest.fixture(scope="module")
def planted() -> dict[str, pd.DataFrame]:
    """A state that keeps a fifth of the disturbance, in a window that looks alike."""
    return study("ema", state=0.2, gate=0.0)


def test_what_the_state_keeps_is_told_and_the_statistics_tell_nothing(
    planted: dict[str, pd.DataFrame],
) -> None:
    smallest = 2 / 2**SEEDS  # turning every seed round gives the same AUC
    for span in ("late", "whole", "30"):
        found = told(planted, "state", "runs", span)
        assert (found["auc"], found["p_value"], found["n"]) == (1.0, pytest.approx(smallest), SEEDS)
        found = told(planted, "state", "twins", span)
        assert found["auc"] == 1.0 and found["p_value"] <= 2 * smallest  # turning one seed may do as well
    for compared in ("runs", "twins"):
        for features in ("window statistics", "gate and share", "loss"):
            assert told(planted, features, compared)["p_value"] > 0.05
    assert told(planted, "along")["auc"] == 1.0
    found = gain(planted, "state")
    assert found["difference"] == pytest.approx(1 - told(planted, "window statistics")["auc"])
    assert 0 < found["low"] <= found["difference"] <= found["high"]


def test_the_size_of_what_is_kept_is_measured(planted: dict[str, pd.DataFrame]) -> None:
    late = (
        planted["ambiguous_values"]
        .query("span == 'late'")
        .pivot_table(index="seed", columns="length", values="along")
    )
    np.testing.assert_allclose(late["long"] - late["short"], 0.2, atol=0.02)
    assert set(planted["ambiguous_values"]["span"]) == {"0", "10", "20", "30", "40", "50", "whole", "late"}


def test_a_state_that_keeps_nothing_is_not_told() -> None:
    tables = study("ema", state=0.0)
    for features in ("state", "gate and share", "along", "norm"):
        assert told(tables, features)["p_value"] > 0.05, features
    assert gain(tables, "state")["low"] <= 0


def test_what_the_statistics_tell_as_well_is_no_memory() -> None:
    tables = study("none", state=0.2, statistics=0.5)
    assert told(tables, "state")["auc"] == told(tables, "window statistics")["auc"] == 1.0
    assert gain(tables, "state")["difference"] == gain(tables, "state")["high"] == 0
    assert "gate and share" not in set(tables["ambiguous_auc"]["features"])  # without memory there is none


def test_a_gate_that_keeps_it_is_told() -> None:
    tables = study("ema", state=0.0, gate=0.3)
    assert told(tables, "gate and share")["auc"] == told(tables, "gate")["auc"] == 1.0
    assert told(tables, "state")["p_value"] > 0.05


def test_p_values_of_nothing_are_as_small_as_they_should_be() -> None:
    random = np.random.default_rng(5)
    for kind, compared in (("read-out", "runs"), ("read-out", "twins"), ("scalar", "runs")):
        k = 1 if kind == "scalar" else 3
        found = [ambiguous.tell(random.normal(size=(5, 2, k)) + random.normal(size=(5, 1, k)), kind, compared)[0][3] for _ in range(80)]  # fmt: skip
        assert np.mean(np.array(found) <= 0.125) < 0.25, (
            kind,
            compared,
        )  # 0.125 but for chance: 2.9 errors below 0.25
        assert np.mean(found) > 0.4


def test_auc_is_the_rank_statistic() -> None:
    scores = np.random.default_rng(0).integers(0, 5, (7, 2)).astype(float)
    expected = mannwhitneyu(scores[:, 0], scores[:, 1]).statistic / 49
    assert ambiguous.auc(scores) == pytest.approx(expected)
    assert ambiguous.auc(scores[:, ::-1]) == pytest.approx(1 - expected)
    assert ambiguous.twins_share(np.array([[1.0, 0], [0, 1], [2, 2], [3, 1]])) == pytest.approx(2.5 / 4)


@pytest.mark.parametrize("score", [ambiguous.left_out_scores, ambiguous.left_out_differences])
def test_a_seed_is_scored_without_its_own_labels(score: Any) -> None:
    x = np.random.default_rng(1).normal(size=(1, 5, 2, 3))
    turned = x.copy()
    turned[0, 2] = x[0, 2, ::-1]
    first, second = score(x)[0], score(turned)[0]
    np.testing.assert_allclose(first[2], second[2, ::-1])
    assert not np.allclose(first[0], second[0])  # but it does teach the others


def test_many_seeds_take_drawn_turnings() -> None:
    flips = ambiguous.turnings(ambiguous.EXACT + 1)
    assert flips.shape == (ambiguous.DRAWS + 1, ambiguous.EXACT + 1) and not flips[0].any()
    drawn_ones = generator(0, Stream.ANALYSIS, ambiguous.COUNTER).random((ambiguous.DRAWS, 11)) < 0.5
    assert (flips[1:] == drawn_ones).all()
    assert len({tuple(row) for row in ambiguous.turnings(3)}) == 8


def test_only_whole_pairs_count() -> None:
    long, short = pair("ema", 1, 0.2, 0.0, 0.0)
    bias = pair("ema_feedback", 2, 0.2, 0.0, 0.0, regime="false_feedback")
    found = ambiguous.twins(context([long, short, *bias, pair("none", 3, 0, 0, 0)[0]]))
    places = [(one.memory, one.regime, one.seed) for one in found]
    assert places == [("ema", "bewilderment", 1), ("ema", "false_feedback", 2)]
    assert (found[0].parts, found[0].begins, found[0].begin, found[0].end) == (PARTS, BEGINS, BEGIN, STEPS)


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_few_seeds_have_values_but_no_answer(seeds: int, tmp_path: Path) -> None:
    tables = study("ema", 0.2, seeds=seeds)
    assert tables["ambiguous_auc"]["auc"].isna().all() and tables["ambiguous_advantage"].empty
    with pytest.raises(NothingToDraw, match="three seeds"), style.context():
        WINDOW.draw(read_from(tmp_path, "ambiguous", tables), "a note")
    page = page_of(tables, tmp_path)
    assert "nan" not in page
    assert verdict(page, "the state tells a long") == ("Open" if seeds else "Not measured")


@pytest.fixture(scope="module")
def both() -> dict[str, pd.DataFrame]:
    """No memory and an EMA after two disturbances; only the EMA's state keeps one of them."""
    runs = []
    for seed in range(1, SEEDS + 1):
        for name, state, loss, regime in (
            ("none", 0.0, 0.0, "bewilderment"), ("ema", 0.2, 0.0, "bewilderment"),
            ("none_feedback", 0.2, 0.5, "false_feedback"), ("ema_feedback", 0.2, 0.5, "false_feedback"),
        ):  # fmt: skip
            runs += pair(name, seed, state, loss, 0.0, regime=regime)
    return ambiguous.ambiguous_tables(context(runs))


def test_figures_draw_and_say_what_the_tables_say(both: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    assert "clearly beyond its statistics, in 1 of 4 cases (ema after bewilderment)" in title_of(
        drawn_of(WINDOW, tmp_path, both, "ambiguous")
    )
    title = title_of(drawn_of(PAIRS, tmp_path, both, "ambiguous"))
    assert "in 3 of 4 cases" in title and "ema after bewilderment +0.2" in title
    one = {name: table[table.get("seed", pd.Series(1, table.index)) == 1] for name, table in both.items()}
    assert "too few seeds" in title_of(drawn_of(PAIRS, tmp_path, one, "ambiguous"))
    with pytest.raises(NothingToDraw, match="empty"), style.context():
        PAIRS.draw(read_from(tmp_path / "none", "ambiguous", {}), "a note")


def test_the_page_says_what_is_told_and_what_the_statistics_explain(
    both: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    page = page_of(both, tmp_path)
    assert verdict(page, "after `bewilderment`, the state tells a long") == "Open"  # one of two memories does
    assert verdict(page, "after `bewilderment`, a state with memory tells it better") == "Clear"
    assert verdict(page, "after `bewilderment`, gate and memory share") == "Not clear"
    assert verdict(page, "after `false_feedback`, the state tells a long") == "Not clear"
    assert "`none` 1.00 (p = 0.031), 0.00 [0.00, 0.00]: it tells, but not clearly more than the rival" in page
    assert (
        "told long from short in 2 of 4 cases (`none` after `false_feedback` and `ema` after `false_feedback`)"
        in page
    )
    row = cells(page, "`bewilderment`, `ema`: state")
    assert row[1:3] == ["1.00", "1.00"] and row[4] == "0.031" and row[-1] == str(SEEDS)
    assert cells(page, "`bewilderment`, `none` |")[6:] == ["–", "–"]
    assert "nan" not in page and page.index("Not clear:") < page.index("Clear:")


@pytest.mark.parametrize("absent", ["ambiguous_values", "ambiguous_auc", "ambiguous_advantage"])
def test_partial_tables_have_a_section(both: dict[str, pd.DataFrame], absent: str, tmp_path: Path) -> None:
    page = page_of({name: table for name, table in both.items() if name != absent}, tmp_path)
    assert "nan" not in page
    if absent == "ambiguous_auc":
        assert "The tables hold nothing for this yet." in page
        assert verdict(page, "the state tells a long") == "Not measured"
    if absent == "ambiguous_advantage":
        assert verdict(page, "after `bewilderment`, the state tells a long") == "Open"


def test_five_seeds_cannot_be_told(tmp_path: Path) -> None:
    page = page_of(study("ema", 0.2, seeds=5), tmp_path)
    assert verdict(page, "the state tells a long") == "Open"
    assert "Fewer than 6 seeds cannot give p < 0.05." in page
