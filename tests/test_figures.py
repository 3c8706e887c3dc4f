"""Figures: those of the frozen-weight test draw, from one seed or many, and say what their tables say; looks; the script."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from base import ROOT
from base.errors import UserError
from experiments import frozen
from experiments.kit import stats as kit_stats
from experiments.kit import style
from study import book, making
from tests.made_runs import drawn_of, read_from, title_of

(LAST,) = frozen.EXPERIMENT.figures


def frozen_tables(seeds: int, draws: int, gain: float) -> dict[str, pd.DataFrame]:
    """Tables of the frozen-weight test; learned effects are `gain` times a typical placebo's."""
    effects, conditions, doses, summary = [], [], [], []
    for seed in range(1, seeds + 1):
        for run_step in (1000, 2000):
            random = np.random.default_rng((4, seed, run_step))
            head = ("shakespeare", "self_calm", seed, run_step)
            for protocol, finder, size in (
                ("replication", "dimension", 0.22), ("heldout", "dimension", 0.2), ("heldout", "gradient", 0.45),
            ):  # fmt: skip
                learned = gain * size * float(np.exp(random.normal(0, 0.25)))
                effects.append((*head, protocol, finder, "learned", 0, learned, 0.3))
                for reader in ("rotated", "untrained"):
                    if finder == "gradient" and reader == "rotated":
                        continue
                    placebo = size * np.exp(random.normal(0, 0.3, draws))
                    effects += [
                        (*head, protocol, finder, reader, i, value, 0.3) for i, value in enumerate(placebo)
                    ]
                    p = (1 + int((placebo >= learned).sum())) / (1 + draws)
                    stats = (placebo.mean(), placebo.std(), placebo.max(), p)
                    summary.append((*head, protocol, finder, learned, reader, *stats))
                rest = (2.0, 2.0, 0.03, 0.0, 0.01, 0.9)
                for state, share in (("confident", -0.35), ("uncertain", 0.65)):
                    conditions.append(
                        (*head, protocol, finder, state, 0, 0.67, *rest[:3], share * learned, *rest[3:])
                    )
                for draw in range(50):
                    delta = random.normal(0.02, 0.06)
                    conditions.append(
                        (*head, protocol, finder, "random", draw, 0.67, *rest[:3], delta, *rest[3:])
                    )
            conditions.append(
                (*head, "heldout", "none", "own", 0, 0.25, 2.0, 2.0, 0.03, 0.05, 0.0, 0.01, 0.9)
            )
            conditions.append((*head, "heldout", "none", "zero", 0, 0.0, 2.0, 2.0, 0.03, 0.0, 0.0, 0.0, 1.0))
            top = 0.28 * np.exp(random.normal(0, 0.1))
            for direction, slope, bend in (
                ("confident", -0.3, 0.4), ("uncertain", 0.5, 0.5), ("gradient", 1.1, 0.8), ("random", 0.03, 0.25),
            ):  # fmt: skip
                steep = slope * np.exp(random.normal(0, 0.2))
                for magnitude in np.linspace(-top, top, 15):
                    delta = steep * magnitude + bend * magnitude**2
                    doses.append((*head, direction, magnitude, 2.0 + delta, 2.0 + delta, delta, delta))
    head_names = ["suite", "condition", "seed", "run_step"]
    condition_names = (
        "protocol finder state draw magnitude entropy nll ece delta_entropy delta_nll kl sign_consistency"
    )
    summary_names = "protocol finder effect placebo placebo_mean placebo_sd placebo_max p_value"
    return {
        "frozen_effects": pd.DataFrame(
            effects, columns=[*head_names, "protocol", "finder", "reader", "draw", "effect_size", "magnitude"]
        ),
        "frozen_effects_summary": pd.DataFrame(summary, columns=[*head_names, *summary_names.split()]),
        "frozen_conditions": pd.DataFrame(conditions, columns=[*head_names, *condition_names.split()]),
        "frozen_doses": pd.DataFrame(
            doses,
            columns=[*head_names, "direction", "magnitude", "entropy", "nll", "delta_entropy", "delta_nll"],
        ),
    }


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_the_frozen_figure_draws_from_few_seeds(seeds: int, tmp_path: Path) -> None:
    drawing = drawn_of(LAST, tmp_path, frozen_tables(seeds, 3, 1.0), "shakespeare")
    assert "the learned directions" in title_of(drawing)
    effects = drawing.axes[:3]
    assert len({axes.get_ylim() for axes in effects}) == 1  # panels that are compared share their axis
    assert [tick.get_text() for tick in effects[0].get_xticklabels()] == ["1000", "2000"]


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    tables = read_from(tmp_path, "shakespeare", frozen_tables(3, 20, 1.0))
    first, second = (making.draw(LAST, tables, "a note", tmp_path / name) for name in ("one", "two"))
    assert first is not None and second is not None and first.read_bytes() == second.read_bytes()
    content = first.read_bytes()
    assert content.startswith(b"\x89PNG") and b"Software" not in content and b"tIME" not in content


@pytest.mark.parametrize("absent", ["frozen_effects", "frozen_conditions", "frozen_doses"])
def test_a_figure_without_its_table_says_so(absent: str, tmp_path: Path) -> None:
    made = frozen_tables(3, 20, 1.0)
    said: list[str] = []
    tables = read_from(
        tmp_path, "shakespeare", {name: table for name, table in made.items() if name != absent}
    )
    assert making.draw(LAST, tables, "a note", tmp_path, said.append) is None
    assert said[0].startswith(f"{LAST.name} not drawn: ") and absent in said[0]


def test_a_table_without_a_column_is_refused(tmp_path: Path) -> None:
    made = frozen_tables(3, 20, 1.0)
    made["frozen_effects"] = made["frozen_effects"].drop(columns="effect_size")
    with pytest.raises(UserError, match="the column effect_size is not in shakespeare/frozen_effects"):
        LAST.draw(read_from(tmp_path, "shakespeare", made), "a note")


@pytest.mark.parametrize(
    ("gain", "draws", "words"),
    [
        (1.0, 20, "do not clearly beat both scrambled and untrained readers"),
        (6.0, 20, "steer further than those of scrambled and untrained readers"),
        (6.0, 3, "Not settled"),  # too few draws for a rank
    ],
)
def test_the_frozen_title_says_what_the_table_says(
    gain: float, draws: int, words: str, tmp_path: Path
) -> None:
    made = frozen_tables(8, draws, gain)
    drawing = drawn_of(LAST, tmp_path, made, "shakespeare")
    assert words in title_of(drawing)
    rows = made["frozen_effects"].query(
        "protocol == 'heldout' and finder == 'dimension' and run_step == 1000"
    )
    learned = rows[rows["reader"] == "learned"].sort_values("seed")["effect_size"]
    shown = [line.get_ydata() for line in drawing.axes[1].lines if np.size(line.get_xdata()) == 8]
    assert np.allclose(np.asarray(shown[0]), learned)


def test_every_figure_has_a_name_and_a_sentence() -> None:
    figures = [figure for experiment in book.experiments().values() for figure in experiment.figures]
    names = [figure.name for figure in figures]
    assert len(set(names)) == len(names) and all(figure.shows.endswith(".") for figure in figures)


def test_conditions_can_be_told_apart_without_colour() -> None:
    looks = list(style.CONDITIONS.values())
    for part in ("colour", "line", "marker"):
        same = [
            look for look in looks if part == "line" and look.line == "-"
        ]  # self and self_calm differ in width
        assert len({str(getattr(look, part)) for look in looks}) == len(looks) - max(len(same) - 1, 0)
    assert style.condition("yoked") == style.condition("yoked")


@pytest.mark.parametrize(
    "names", [["lr_1", "lr_5"], ["self", "vanilla", *(f"lr_{rate}" for rate in range(40))]], ids=len
)
def test_no_two_conditions_of_a_figure_look_alike(names: list[str]) -> None:
    looks = style.conditions(names)
    assert list(looks) == names and looks["lr_1"].label == "lr_1"
    for part in ("line", "marker"):
        assert len({(look.colour, str(getattr(look, part))) for look in looks.values()}) == len(names)


def test_a_figure_says_which_conditions_look_alike() -> None:
    looks = style.conditions([f"lr_{rate}" for rate in range(60)])
    said = [look.label for look in looks.values() if "(looks like lr_" in look.label]
    assert (
        len({(look.colour, str(look.line), look.marker) for look in looks.values()}) == 60 - len(said) == 56
    )


def test_the_looks_that_an_experiment_declares_differ() -> None:
    declared = [
        (module, name, value)
        for module in book.experiments()
        for name, value in vars(importlib.import_module(module)).items()
        if isinstance(value, dict) and value and all(isinstance(look, style.Look) for look in value.values())
    ]
    assert declared
    for module, name, looks in declared:
        seen = {(look.colour, str(look.line), look.marker, look.filled) for look in looks.values()}
        assert len(seen) in (1, len(looks)), f"{module}.{name}"  # one look for all: rows that have names


def test_intervals_bins_and_pairs_are_right() -> None:
    found = kit_stats.estimate(pd.Series([1.0, 2.0, 3.0, np.nan]))
    half = 4.302652729911275 / np.sqrt(3)  # t quantile 0.975 with 2 degrees of freedom
    assert (
        (found.n, found.mean) == (3, 2.0)
        and np.isclose(found.low, 2 - half)
        and np.isclose(found.p, 0.0741799)
    )
    one = kit_stats.estimate(pd.Series([5.0]))
    assert one.mean == 5 and np.isnan(one.low) and not one.clear
    pair = kit_stats.paired(pd.Series({1: 3.0, 2: 5.0, 9: 0.0}), pd.Series({2: 1.0, 1: 1.0}))
    assert (pair.n, pair.mean) == (2, 3.0)
    rows = pd.DataFrame({"seed": 1, "step": range(6), "loss": [1.0, 3, np.nan, 5, 0, 8], "onset": 2})
    assert kit_stats.binned(rows, "loss", 2)[1].to_dict() == {0.5: 2, 2.5: 5, 4.5: 4}
    assert list(kit_stats.binned(rows, "loss", 2, origin="onset").index) == [-1.5, 0.5, 2.5]
    table = pd.DataFrame({1: [1.0, 2], 2: [100.0, np.nan]})
    assert np.allclose(kit_stats.band(table, log=True)["mean"], [10, 2])
    assert kit_stats.band(table)["low"].isna().tolist() == [False, True]


def _script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "make_report.py"), "--figures", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_script_draws_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    read_from(tmp_path / "tables", "shakespeare", frozen_tables(3, 20, 1.0))
    done = _script("--out", str(tmp_path))
    assert done.returncode == 0 and done.stderr == ""
    assert (tmp_path / "figures" / "frozen-weight-test.png").is_file()
    assert "state-trajectory.png not drawn: " in done.stdout


def test_the_script_refuses_what_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "tables" / "shakespeare").mkdir(parents=True)
    (tmp_path / "tables" / "shakespeare" / "frozen_effects.csv").write_text(
        'suite,condition\n"a,b\nc,d,e,f\n'
    )
    for folder, words in (("nowhere", "holds no tables"), (".", "frozen_effects.csv")):
        done = _script("--out", str(tmp_path / folder))
        assert done.returncode == 2 and done.stderr.startswith("error: ") and words in done.stderr
        assert done.stderr.count("\n") == 1


def test_experiments_never_import_torch() -> None:
    code = "import sys; from experiments import found; found(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
