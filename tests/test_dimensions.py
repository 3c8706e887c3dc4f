"""Correlations, extremes and controls of single dimensions, by hand and beside what the published run gives."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from base import storage
from configs.state import STATS
from configs.training import Model
from experiments import dimensions
from experiments.dimensions import LEARNED, PEAK, UNTRAINED, WALK
from experiments.kit import published
from experiments.kit.replay import untrained
from experiments.kit.tables import NothingToDraw
from model import GPT
from probes import frozen_rows
from tests.made_runs import MadeRun, assert_tables, context, drawn_of, made_run, make_tables, page_of, verdict

TABLES = dimensions.EXPERIMENT.of("shakespeare")
(FIGURE,) = dimensions.EXPERIMENT.figures
OF_PUBLISHED = Path(__file__).parent / "published" / "statistics.csv.gz"
"""What the published program logged of its self-analysis and self-regimes runs, seed 42: statistics, regimes."""


def published_log(run: str) -> pd.DataFrame:
    rows = pd.read_csv(OF_PUBLISHED, keep_default_na=False)
    return rows[rows["run"] == run].reset_index(drop=True)


def log_of(seed: int, steps: int = 400) -> pd.DataFrame:
    random, t = np.random.default_rng(seed), np.arange(steps) / steps
    log = pd.DataFrame({"step": range(steps), "regime": "calm", "progress": t})
    log["loss"] = 2 + 2 * np.exp(-5 * t) + 0.1 * random.normal(size=steps)
    log["entropy"], log["entropy_last"] = random.normal(size=steps), random.normal(size=steps)
    log["top1"], log["top1_last"] = 0.3, random.normal(size=steps)
    log["grad_norm"] = random.normal(size=steps)
    return log


def with_network(folder: Path, run: MadeRun) -> MadeRun:
    """The run in a folder that has the weights of an update network, which no control looks at."""
    weights = untrained(run.config.self_state, 99).weights
    weights = {f"self_state.{name}": values.astype(np.float32) for name, values in weights.items()}
    folder.mkdir(parents=True, exist_ok=True)
    storage.save_tensors(folder / "model.safetensors", weights)
    return replace(run, folder=folder)


def test_each_number_has_the_correlations_that_it_was_made_with(tmp_path: Path) -> None:
    log = log_of(1)
    path = np.stack([3 * log["progress"], 1 - log["loss"], np.full(400, 0.7), log["entropy_last"]], axis=1)
    path = np.pad(path, ((0, 0), (0, 2)))
    path[5, 0] = 8  # no tenth step: no part of a correlation, but the highest value
    state: Any = {"dim": 6, "senses": {"kind": "own", "positions": "last"}}
    run = made_run("analysis", 1, log, path, self_state=state)
    made = make_tables(TABLES, context([with_network(tmp_path, run), made_run("self", 1, log, path, self_state=state)]))  # fmt: skip
    rows = made["state_dimensions"]
    assert set(rows["condition"]) == {"analysis"} and list(rows["dimension"]) == list(range(6))
    tenth = log[::10]
    r = np.corrcoef(tenth["loss"], tenth["progress"])[0, 1]
    assert list(rows["progress"][:2]) == pytest.approx([1, -r]) and rows["loss"][1] == pytest.approx(-1)
    assert rows.loc[[2, 4], list(STATS)].isna().all(axis=None)  # these stand still
    assert rows["entropy"][3] == pytest.approx(1) and rows["top1"].notna().sum() == 3
    assert tuple(rows.loc[0, ["lowest", "highest"]]) == (0, 8)
    ranks = made["dimension_ranks"].set_index(["of", "path", "rank"])["size"].sort_index()
    assert list(ranks["progress", LEARNED][:2]) == pytest.approx([1, abs(r)])
    assert list(ranks["progress", LEARNED][3:]) == [0, 0]  # of six numbers three stand still
    assert {path for _, path, _ in ranks.index} == {LEARNED, UNTRAINED, WALK} and made[
        "dimension_peaks"
    ].empty


def test_the_published_five_are_those_of_all_its_dimensions() -> None:
    # analysis_seed42.json, dim_corr and dim_effect: dims 12, 2, 9, 22, 27; 8, 12, 9, 2, 10; 25, 31, 23, 2, 5
    known = {
        "progress": (0.95679423, -0.95668276, -0.94863504, -0.94717867, 0.94234784),
        "loss": (-0.77782084, -0.76403517, 0.74205083, 0.73243763, 0.73243611),
        PEAK: (0.04173467, 0.03585089, 0.03545967, 0.03269698, 0.02496553),
    }
    for of, values in known.items():
        np.testing.assert_allclose(
            np.abs(values), published.DIMENSIONS[of], atol=6e-4 if of != PEAK else 6e-5
        )


def test_the_controls_of_the_published_run_are_those_that_stand_beside_it(tmp_path: Path) -> None:
    log = published_log("self-analysis")
    state: Any = {"dim": 32, "hidden": 32, "activation": "tanh"}
    run = with_network(tmp_path, made_run("analysis", 42, log, np.zeros((1001, 32)), self_state=state))
    shown = log[list(STATS)].to_numpy(float)
    for name, paths in dimensions.controls(run).items():
        assert len(paths) == dimensions.DRAWS and paths[0].shape == (1001, 32)
        sizes = np.mean([dimensions.largest(dimensions.correlations(path, shown)) for path in paths], axis=0)
        for of, said in published.DIMENSION_CONTROLS.items():
            np.testing.assert_allclose(sizes[:, STATS.index(of)], said[name], atol=5e-4 + 1e-9)


def test_a_control_is_the_recursion_of_a_fresh_network(tmp_path: Path) -> None:
    log = log_of(2, 60)
    run = with_network(tmp_path, made_run("analysis", 2, log, np.zeros((60, 4)), self_state={"dim": 4, "hidden": 3}))  # fmt: skip
    found = dimensions.controls(run)[UNTRAINED]
    network = untrained(run.config.self_state, 2, dimensions.FIRST_COUNTER)
    state = np.zeros(4)
    for step in range(1, 60):
        fed = log[list(STATS)].to_numpy(float)[step - 1]
        state = 0.8 * state + 0.2 * network.propose(fed, state)
        np.testing.assert_allclose(found[0][step], state, atol=1e-12)
    assert not np.allclose(found[0], found[1])
    linear = made_run("analysis", 2, log, np.zeros((60, 4)), self_state={"dim": 4, "update": "linear"})
    (tmp_path / "linear").mkdir()
    storage.save_tensors(tmp_path / "linear" / "model.safetensors", {"a": np.zeros(1, np.float32)})
    assert set(dimensions.controls(replace(linear, folder=tmp_path / "linear"))) == {WALK}


def test_a_peak_is_the_change_that_one_number_makes() -> None:
    gpt = GPT(Model(n_layer=1, n_head=1, n_embd=4, block_size=3), 5)
    gpt.initialise(np.random.default_rng(0))
    gpt.eval()
    random = np.random.default_rng(1)
    states = random.normal(size=(9, 2))
    states[:, 1] = 0.5  # never moved, so it changes nothing
    reader = random.normal(size=(4, 2))
    batches = [(torch.from_numpy(random.integers(0, 5, (6, 3))),) * 2 for _ in range(2)]
    first, second = frozen_rows.peak_rows(gpt, reader, states, batches, "untrained", 3)
    assert set(first) == set(frozen_rows.PEAKS) - {"seed", "run_step"} and first["draw"] == 3
    assert second["at_lowest"] == second["at_highest"] == 0
    x = torch.cat([batches[0][0], batches[1][0][:2]])  # eight sequences
    for end, value in (("lowest", states[:, 0].min()), ("highest", states[:, 0].max())):
        assert first[end] == value
        one, other = (
            gpt(x, torch.from_numpy(reader @ state).float())[0][:, -1] for state in (states[-1], np.array([value, 0.5]))
        )  # fmt: skip
        assert first[f"at_{end}"] == pytest.approx((other - one).abs().mean().item(), rel=1e-5)


def with_tests(folder: Path, run: MadeRun, learned: float) -> MadeRun:
    """The run with two frozen tests, of which the later one's peaks are `learned` times those of its two placebos."""
    folders = []
    for step in (100, 400):
        where = folder / f"test-{step}"
        where.mkdir()
        rows = [
            {"seed": run.seed, "run_step": step, "reader": reader, "draw": draw, "dimension": dimension, "lowest": 0, "highest": 1,
             "at_lowest": 0.01, "at_highest": size * (learned if step == 400 and reader == LEARNED else 1)}
            for reader, draws in ((LEARNED, 1), (UNTRAINED, 2)) for draw in range(draws)
            for dimension, size in enumerate((0.02, 0.03, 0.04, 0.05, 0.06, 0.07))
        ]  # fmt: skip
        pd.DataFrame(rows).to_csv(where / "dimensions.csv", index=False)
        folders.append(where)
    return replace(run, probes={"frozen": folders})


def study(folder: Path, follow: float, learned: float) -> dict[str, pd.DataFrame]:
    """Three seeds whose six numbers follow progress with noise: the less of it, the larger `follow`."""
    runs = []
    for seed in (1, 2, 3):
        log = log_of(seed)
        noise = np.random.default_rng((7, seed)).normal(size=(400, 6))
        path = log["progress"].to_numpy()[:, None] + noise / follow
        made = made_run("analysis", seed, log, path, self_state={"dim": 6, "hidden": 5})
        runs.append(with_tests(folder / str(seed), with_network(folder / str(seed), made), learned))
    return make_tables(TABLES, context(runs))


def test_page_and_figure_say_what_the_tables_hold(tmp_path: Path) -> None:
    beyond = "that follow progress most do so more closely"
    made = study(tmp_path / "close", 50, 2)
    peaks = made["dimension_ranks"].set_index(["seed", "of", "path", "rank"])["size"].sort_index()
    assert list(peaks[2, PEAK, LEARNED]) == pytest.approx([0.14, 0.12, 0.10, 0.08, 0.06])
    assert list(peaks[2, PEAK, UNTRAINED]) == pytest.approx([0.07, 0.06, 0.05, 0.04, 0.03])
    page = page_of(dimensions.EXPERIMENT, tmp_path / "tables", made)
    assert_tables(page)
    assert verdict(page, beyond) == "Clear"
    assert verdict(page, "Single numbers move the predictions further") == "Clear"
    assert (
        verdict(page, "move the predictions most move them about as far as published") == "Not clear"
    )  # three times that
    assert "mean of the five largest: peak 0.1000 [0.1000, 0.1000] for 0.0341 (n = 3)" in page.lower()
    row = [line for line in page.splitlines() if line.startswith("| the run's own: median")][2]
    assert row.split("|")[2:8] == [" 0.1400 ", " 0.1200 ", " 0.1000 ", " 0.0800 ", " 0.0600 ", " 0.1000 "]
    drawn_of(FIGURE, tmp_path / "figure", made)

    loose = page_of(dimensions.EXPERIMENT, tmp_path / "loose", study(tmp_path / "runs", 2, 0.9))
    assert verdict(loose, beyond) == "Not clear"
    assert verdict(loose, "five largest correlations with progress and with the loss are about as large") == "Not clear"  # fmt: skip
    assert verdict(loose, "Single numbers move the predictions further") == "Not clear"


@pytest.mark.parametrize("absent", ["all", "tests"])
def test_a_study_without_the_runs_or_their_tests_has_a_page(absent: str, tmp_path: Path) -> None:
    made = {} if absent == "all" else study(tmp_path / "runs", 50, 2)
    if made:
        made["dimension_ranks"] = made["dimension_ranks"][made["dimension_ranks"]["of"] != PEAK]
        made["dimension_peaks"] = pd.DataFrame()
        drawn_of(FIGURE, tmp_path / "figure", made)
    else:
        with pytest.raises(NothingToDraw):
            drawn_of(FIGURE, tmp_path / "figure", made)
    page = page_of(dimensions.EXPERIMENT, tmp_path / "tables", made)
    assert "nan" not in page
    assert verdict(page, "Single numbers move the predictions further") == "Not measured"
    assert make_tables(TABLES, context([]))["dimension_ranks"].empty
