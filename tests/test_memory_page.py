"""The page and the figures on memories, from tables whose numbers are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from experiments import memory, memory_tables
from experiments.kit import style
from experiments.kit.stats import sign_test
from experiments.kit.tables import NothingToDraw
from tests.made_runs import (
    cells,
    drawn_of,
    page_of,
    read_from,
    title_of,
    verdict,
)
from tests.test_memory_analysis import COLUMNS, MEMORIES, effects, lived, tables_of


def study(seeds: int) -> dict[str, pd.DataFrame]:
    """The tables of three memories that hold a state ever nearer, and steer ever less."""
    runs, tested = [], []
    for index, (name, settings) in enumerate(MEMORIES.items()):
        for seed in range(1, seeds + 1):
            runs.append(lived(name, seed, settings, scale=1 - 0.2 * index)[0])
            tested.append((name, seed, 2000, 0.9 - 0.2 * index + 0.01 * seed, 0.2, 0.25))
    losses = pd.DataFrame([("s", run.condition, run.seed, 2.0) for run in runs], columns=["suite", "condition", "seed", "heldout_loss"])  # fmt: skip
    return tables_of(runs, frozen_effects_summary=effects(tested), runs=losses)


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return study(4)


UPDATES, TRADEOFF = memory.EXPERIMENT.figures


def test_figures_draw_and_say_what_the_tables_say(tables: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    drawing = drawn_of(UPDATES, tmp_path, tables, "memory")
    share = drawing.axes[2]
    assert share.get_ylim() == (0, 1)
    means = tables["memory_dynamics"].query("condition == 'ema'").groupby("middle")["memory_share"].mean()
    assert any(
        np.allclose(np.asarray(line.get_ydata(), float), means.dropna())
        for line in share.lines
        if len(means.dropna()) == np.size(line.get_ydata())
    )
    title = title_of(drawn_of(TRADEOFF, tmp_path, tables, "memory"))
    assert title == "Memories that hold the state stiller steer less beyond placebo readers."


def test_figures_of_one_seed_and_of_untested_memories(
    tables: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    one = {name: table[table["seed"] == 1] for name, table in tables.items()}
    for figure in (UPDATES, TRADEOFF):
        assert title_of(drawn_of(figure, tmp_path, one, "memory")).startswith("Not settled: ")
    untested = tables["memory_tradeoff"].assign(leverage=np.nan)
    with pytest.raises(NothingToDraw, match="no frozen-weight test"), style.context():
        TRADEOFF.draw(read_from(tmp_path, "memory", {**tables, "memory_tradeoff": untested}), "a note")


def page_tables(seeds: int = 6, held: float = 1.0) -> dict[str, pd.DataFrame]:
    """Tables of three memories. held: how far the buffers hold their state back."""
    measures, tradeoff, ranks = [], [], []
    for seed in range(1, seeds + 1):
        wobble = 0.001 * seed
        for name, share in (("none", np.nan), ("ema", 0.1), ("buffer_64", 0.3), ("buffer_128", 0.4)):
            buffer = held if name.startswith("buffer") else 0.0
            for regime in ("bewilderment", "self_clamp"):
                steps = 20 + seed
                rest = (0.5 * buffer + wobble, 0.1 * buffer, 0.2 * buffer + wobble**2)
                drift = (0.05, 0.05 - 0.02 * buffer + wobble**2, 0.05)
                measures.append(("memory", name, seed, regime, share + wobble, share, share, share, share, 1.0, 0.5, *rest, *drift, steps, True, 100))  # fmt: skip
            lever = 0.6 - 0.3 * buffer + wobble**2
            tradeoff.append(
                (
                    "memory",
                    name,
                    seed,
                    0.05,
                    0.5 - 0.2 * buffer + wobble**2,
                    0.01 * buffer + wobble**2,
                    lever,
                    0.5,
                    lever - 0.5,
                    2.0,
                )
            )
        for stability in ("drift", "displacement"):
            for outcome in ("leverage", "leverage_over_placebo"):
                ranks.append(("memory", seed, stability, outcome, 4, -0.8 * np.sign(held) + wobble))
    return {
        "memory_measures": pd.DataFrame(measures, columns=COLUMNS["memory_measures"]),
        "memory_tradeoff": pd.DataFrame(tradeoff, columns=COLUMNS["memory_tradeoff"]),
        "memory_ranks": pd.DataFrame(ranks, columns=COLUMNS["memory_ranks"]),
    }


@pytest.mark.parametrize(("held", "expected"), [(1.0, "Clear"), (-1.0, "Not clear")])
def test_verdicts_follow_the_tables(tmp_path: Any, held: float, expected: str) -> None:
    page = page_of(memory.EXPERIMENT, tmp_path, page_tables(held=held))
    for claim in (
        "pulled back harder", "The memory's own part", "moves less a step", "keeps the state nearer", "steers the model less",
        "It steers less beyond", "hold the state stiller", "stays further from its average",
    ):  # fmt: skip
        assert verdict(page, claim) == expected, claim
    assert verdict(page, "The longer the memory") == "Clear"
    assert cells(page, "`buffer_64` | 0.34")[:3] == ["`buffer_64`", "0.34", "0.30 [0.30, 0.31]"]
    assert cells(page, "`none` | – | –")[3] == "–"


def test_a_claim_on_buffers_needs_each_of_them(tmp_path: Any) -> None:
    tables = page_tables()
    rows = tables["memory_measures"]
    rows.loc[rows["condition"] == "buffer_128", "rate"] = -0.3 - 0.001 * rows["seed"]
    assert verdict(page_of(memory.EXPERIMENT, tmp_path, tables), "pulled back harder") == "Not clear"


def test_steps_to_recover_of_states_that_did_not_are_longer_than_any(tmp_path: Any) -> None:
    tables = page_tables()
    rows = tables["memory_measures"]
    rows.loc[rows["condition"] == "buffer_64", "recovered"] = False
    rows.loc[rows["condition"] == "buffer_64", "recovery"] = np.nan
    row = cells(page_of(memory.EXPERIMENT, tmp_path, tables), "`bewilderment` | 2")
    assert "longer (0 of 6)" in row and "(6 of 6)" in row[1] and "longer" not in row[1]


def test_what_the_undisturbed_twin_does_after_the_corruption_is_taken_off() -> None:
    """Corrupted runs end 0.5 and 0.7 further from their average than they were; the twin of one of them does so by 0.4."""
    moved = {"none": 0.5, "none_calm": 0.4, "ema": 0.7}
    rows = [
        {"suite": "memory", "condition": name, "seed": 1, "regime": regime, "metric": metric, "delta_after": size * by}
        for name, size in moved.items()
        for regime, metric, by in (
            ("bewilderment", "state_ema_drift", 1), ("bewilderment", "loss", 3), ("self_clamp", "state_ema_drift", 5),
        )
    ]  # fmt: skip
    found = memory_tables.settled(pd.DataFrame(rows)).set_index("condition")["settled"]
    assert found["none"] == pytest.approx(0.1) and np.isnan(found["ema"]) and np.isnan(found["none_calm"])


def test_sign_test_is_the_binomial_one() -> None:
    for more, less in ((5, 0), (6, 2), (0, 3), (0, 0)):
        expected = binomtest(more, more + less, alternative="greater").pvalue if more + less else 1.0
        assert sign_test(more, less) == pytest.approx(expected)


@pytest.mark.parametrize("absent", [*page_tables(1), "all", "none", "seeds"])
def test_partial_studies_have_a_page(tmp_path: Any, absent: str) -> None:
    tables = {
        name: table
        for name, table in page_tables(1 if absent == "seeds" else 3).items()
        if absent not in (name, "all")
    }
    page = page_of(memory.EXPERIMENT, tmp_path, tables)
    assert "nan" not in page.replace("nanoGPT", "") and page.count("## ") == 6
    if absent in ("all", "memory_measures"):
        assert verdict(page, "The longer the memory") == "Not measured"
        assert "The tables hold nothing for this yet." in page
    if absent == "seeds":
        assert verdict(page, "The longer the memory") == "Open"


def test_a_page_of_a_study_and_of_empty_tables(tmp_path: Any, tables: dict[str, pd.DataFrame]) -> None:
    page = page_of(memory.EXPERIMENT, tmp_path, tables)
    assert "nan" not in page and "| `buffer_64` |" in page
    assert "stood at its bound in" in page
    empty = {name: table.iloc[:0] for name, table in tables.items()}
    assert "The tables hold nothing for this yet." in page_of(memory.EXPERIMENT, tmp_path, empty)
