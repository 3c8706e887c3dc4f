"""Twins with a planted echo and a planted gate, identical twins, two seeds, windows read from logs; figure and page."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu

from experiments import ambiguous, runs
from experiments.kit import style
from experiments.kit.tables import NothingToDraw
from tests.made_runs import (
    MadeRun,
    assert_tables,
    cells,
    context,
    drawn_of,
    made_run,
    make_tables,
    page_of,
    read_from,
    regimes_of,
    title_of,
    verdict,
)

STEPS, CUE, AFTER, BEGIN, END, LAST = (
    300,
    100,
    140,
    180,
    240,
    290,
)  # the cue, calm, the shared window, the longer one's end
KEPT = {"none": 0.1, "ema": 0.4, "buffer_64": 0.5}
(FIGURE,) = ambiguous.EXPERIMENT.figures


def twins(memory: str, seed: int, kept: float, gate: float = 0.0, apart: float = 1.0) -> list[MadeRun]:
    """Two runs that a cue sets `apart` in their states; half of it is left in the calm steps, `kept` in the shared window,
    where the gate of the long one is higher by `gate`."""
    step, shared = np.arange(STEPS), np.random.default_rng(seed)
    log = pd.DataFrame({name: 2 + seed + 0.1 * shared.normal(size=STEPS) for name in ambiguous.FEATURES})
    log.loc[step % 10 != 0, "prompt_effect"] = np.nan
    way = shared.normal(size=4)
    way /= np.linalg.norm(way)
    base = shared.normal(size=(STEPS, 4))
    left = (
        np.select([step < CUE, step < (CUE + AFTER) // 2, step < AFTER, step < BEGIN], [0, 0.5, 1, 0.5], kept)
        * apart
    )
    made = []
    for length, sign, last in (("long", 0.5, LAST), ("short", -0.5, END)):
        run = log.assign(step=step)
        run["regime"] = regimes_of(STEPS, [("false_feedback", CUE, AFTER), ("bewilderment", BEGIN, last)])
        run["gate"] += gate * (length == "long") * (step >= BEGIN)
        run["loss"] += sign * 0.01 * apart * (step >= CUE)
        if memory == "none":
            run["gate"] = np.nan
        made.append(made_run(f"{memory}_{length}", seed, run, base + sign * np.outer(left, way)))
    return made


def tables_of(of: list[MadeRun]) -> dict[str, pd.DataFrame]:
    given = context(of)
    return make_tables(ambiguous.EXPERIMENT.of("ambiguous"), given) | {"windows": runs.windows(given)}


@cache
def study(seeds: int = 3, gate: float = 0.0, apart: float = 1.0, **kept: float) -> dict[str, pd.DataFrame]:
    every = {**KEPT, **kept}.items()
    of = [run for seed in range(1, seeds + 1) for name, left in every
          for run in twins(name, seed, left + 0.01 * seed * apart, gate, apart)]  # fmt: skip
    return tables_of(of)


def told(tables: dict[str, pd.DataFrame], feature: str, memory: str = "ema", seed: int = 1) -> Any:
    table = tables["ambiguous_auc"]
    return table[(table["feature"] == feature) & (table["memory"] == memory) & (table["seed"] == seed)].iloc[
        0
    ]


def test_a_planted_echo_comes_out() -> None:
    rows: Any = study()["ambiguous"].set_index(["memory", "seed"])
    assert set(rows.index) == {(name, seed) for name in KEPT for seed in (1, 2, 3)}
    for (name, seed), row in rows.iterrows():
        assert row["cue"] == pytest.approx(1) and row["echo_after"] == pytest.approx(0.5)
        assert row["echo"] == pytest.approx(KEPT[name] + 0.01 * seed) == row["shared"]
        assert row["loss_echo"] == pytest.approx(1)
    assert rows["gate_echo"].isna().all()  # it never differs, or there is none


def test_a_path_is_the_distance_over_that_under_the_cue() -> None:
    path: Any = study(1)["ambiguous_paths"].query("memory == 'ema'").set_index("step")
    assert path.index[0] == CUE + 4.5 and path.index[-1] == END - 5.5
    assert path["state"][[CUE + 4.5, AFTER - 5.5, AFTER + 4.5, BEGIN + 4.5]].tolist() == pytest.approx(
        [0.5, 1, 0.5, 0.41]
    )


def test_a_planted_gate_is_told_and_nothing_else() -> None:
    tables = study(gate=5.0)
    assert told(tables, "gate")["auc"] == 1 and told(tables, "gate")["apart"] == 0.5
    assert told(study(gate=-5.0), "gate")["auc"] == 0
    assert (tables["ambiguous_auc"]["calm"] == 0.5).all()
    for feature in ("state_norm", "entropy_last", "grad_norm", "prompt_effect"):
        assert told(tables, feature)["auc"] == 0.5
    assert "gate" not in set(tables["ambiguous_auc"].query("memory == 'none'")["feature"])
    long, short = twins("ema", 1, 0.4, 0.05)
    window = slice(BEGIN, END)
    rank = mannwhitneyu(long.log["gate"][window], short.log["gate"][window]).statistic / (END - BEGIN) ** 2
    assert 0.5 < rank < 1 and told(tables_of([long, short]), "gate")["auc"] == pytest.approx(rank)


def test_two_seeds_are_the_control() -> None:
    tables = study()
    assert told(tables, "grad_norm")["seeds_apart"] == 0.5  # each seed's level is its own
    one, other = twins("ema", 1, 0.4), twins("ema", 2, 0.4)
    for mine, its in zip(one, other, strict=True):
        its.log["top1_last"] = mine.log["top1_last"]
    found = told(tables_of([*one, *other]), "top1_last")
    assert found["seeds_apart"] == 0
    assert np.isnan(told(study(1), "gate")["seeds_apart"])


def test_stability_of_windows_with_their_ends() -> None:
    long, short = twins("none", 1, 0.1)
    step = np.arange(STEPS)
    for run in (long, short):
        run.log["state_ema_drift"] = np.where(
            step < BEGIN, np.where(step % 2, 0.3, 0.1), np.where(step % 2, 0.41, 0.39)
        )
        run.log["prompt_effect"] = np.where(step % 10 == 0, 1 + 0.01 * step, np.nan)
    table: Any = tables_of([long, short])["memory_stability"].set_index(["condition", "window"])
    row: Any = table.loc[("none_short", "ambiguous")]
    assert row["drift_mean"] == pytest.approx(0.4, abs=1e-3) and row["drift_sd"] == pytest.approx(
        0.01, abs=1e-5
    )
    assert row["above"] == pytest.approx(30 / 61)  # above 0.2 + 2 * 0.1; step 240 belongs to it, as published
    assert row["effect_mean"] == pytest.approx(1 + 0.01 * 210) and row["effect_min"] == pytest.approx(2.8)
    assert row["effect_slope"] == pytest.approx(0.01)
    assert table.loc[("none_long", "future"), "effect_min"] == pytest.approx(3.4)
    base: Any = table.loc[("none_long", "baseline")]
    assert base["drift_mean"] == pytest.approx(0.2) and base["above"] == 0


def test_only_whole_pairs_with_two_windows_count() -> None:
    long, short = twins("ema", 1, 0.4)
    calm = short.log.assign(regime="calm")
    blind = made_run("ema_short", 1, short.log, None)
    for runs_of in ([long], [long, made_run("ema_short", 1, calm, short.path)], [long, blind], []):
        assert all(table.empty for table in tables_of(runs_of).values() if "start" not in table)
    assert [one.place["memory"] for one in ambiguous.twins(context([short, long]))] == ["ema"]


ECHO, GATE, NORM, SEEDS = (
    "their states lie further apart",
    "the gate tells the two apart",
    "the state's length tells",
    "better than two seeds",
)


def test_verdicts_follow_the_tables(tmp_path: Path) -> None:
    page = page_of(ambiguous.EXPERIMENT, tmp_path, study(gate=5.0))
    assert_tables(page)
    assert (
        verdict(page, ECHO) == "Clear"
        and "exponential average minus no memory +0.300 [+0.300, +0.300]" in page
    )
    assert verdict(page, GATE) == "Clear" and verdict(page, NORM) == "Not clear" == verdict(page, SEEDS)
    row = cells(page, "`ema`: exponential")
    assert row[1].startswith("1.00000") and row[4].startswith("0.420") and row[5].startswith("+0.300")
    assert cells(page, "`gate`, `buffer_64`")[1].startswith("1.000") and "nan" not in page
    fewer = page_of(ambiguous.EXPERIMENT, tmp_path / "less", study(ema=0.05))
    assert (
        verdict(fewer, ECHO) == "Not clear"
        and "learly the other way round in 1 of 2: exponential average minus no memory" in fewer
    )


def test_identical_twins_give_a_half_and_no_finding(tmp_path: Path) -> None:
    tables = study(apart=0.0)
    assert (tables["ambiguous_auc"]["auc"] == 0.5).all() and tables["ambiguous"]["echo"].isna().all()
    page = page_of(ambiguous.EXPERIMENT, tmp_path, tables)
    assert not any(found.verdict == "clear" for found in page.findings.values()) and "nan" not in page
    assert verdict(page, ECHO) == "Not measured" and verdict(page, GATE) == "Not clear"


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_few_seeds_draw(seeds: int, tmp_path: Path) -> None:
    drawing = drawn_of(FIGURE, tmp_path, study(seeds, gate=5.0), "ambiguous")
    said = "" if seeds > 2 else "Not settled: "
    assert title_of(drawing).startswith(
        f"{said}Where both runs are disturbed alike, their states lie further apart"
    )
    assert drawing.axes[4].get_xlim() == drawing.axes[5].get_xlim()
    assert "nan" not in page_of(ambiguous.EXPERIMENT, tmp_path, study(seeds))


@pytest.mark.parametrize(
    "absent", ["ambiguous", "ambiguous_paths", "ambiguous_auc", "memory_stability", "all"]
)
def test_partial_studies_have_pages(absent: str, tmp_path: Path) -> None:
    some = {name: table for name, table in study().items() if absent not in (name, "all")}
    page = page_of(ambiguous.EXPERIMENT, tmp_path, some)
    assert "nan" not in page and page.count("The tables hold nothing") == {
        "all": 3,
        "ambiguous_paths": 0,
    }.get(absent, 1)
    if absent == "all":
        with pytest.raises(NothingToDraw), style.context():
            FIGURE.draw(read_from(tmp_path, "ambiguous", {}), "a note")
