"""Learning rates and lengths: arms are found by config, a best rate is chosen on other seeds, and the page says what the table says."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest

import perturb
from base.storage import ROOT
from configs.state import FixedBias
from configs.suite import load_suite
from experiments import rates
from experiments.kit.runs import Context
from experiments.kit.tables import CALM, NothingToDraw
from probes.deployed import COLUMNS
from tests.made_runs import MadeRun, assert_tables, cells, drawn_of, page_of, title_of, verdict

SUITE = load_suite(ROOT / "configs" / "rates.toml")
SHORT = load_suite(ROOT / "configs" / "rates.toml", quick=True)  # the same conditions, of 120 and 400 steps
(FIGURE,) = rates.EXPERIMENT.figures
LOSS = {0.001: 2.3, 0.003: 2.0, 0.01: 2.1}  # of no state, by learning rate
GAIN = {"state": 0.1, "fixed_bias": 0.03, "yoked": 0.0, "none": 0.0}
TEXT = 0.04  # what the state gains on clean text after the run, at every rate


def made(folder: Path, condition: str, seed: int, text: float = TEXT, **gains: float) -> MadeRun:
    """A run of a known loss, a nat more on corrupted steps; at the largest rate the state loses what it gains elsewhere.
    Its probe found a loss under each way of setting a state, of which one is to be told."""
    run = SHORT.run(condition, seed)
    arm, rate = rates.arm_of(run), run.train.learning_rate
    regime = np.array(perturb.regimes_by_step(run), dtype=object)
    gain = (GAIN | gains)[arm] * (-1 if arm == "state" and rate == 0.01 else 1) * run.train.steps / 120
    own = 0.001 * np.random.default_rng([seed, *condition.encode()]).normal() * (arm != "none")
    loss = LOSS[rate] + 0.05 * seed + (regime != CALM) - gain + own
    step = np.arange(len(regime))
    heldout = np.where(step % 20 == 19, LOSS[rate] - gain + own, np.nan)
    log = pd.DataFrame(
        {"step": step, "regime": regime, "loss": loss, "heldout_loss": heldout, "heldout_ece": heldout}
    )
    place = folder / f"{condition}-{seed}"
    place.mkdir()
    clean = LOSS[rate] - text * (arm == "state") - 0.01 * (arm == "fixed_bias") + own
    ways = {"calm": clean, "live": 9.0, "mean": 8.0} if run.self_state.enabled else {"live": clean}
    rows = [
        (seed, run.last, way, part, value, 1.0) for way, value in ways.items() for part in ("all", "clean")
    ]
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(place / "deployed.csv", index=False)
    probes = {"deployed": [place]} if arm != "yoked" else {}
    return MadeRun("rates", condition, seed, folder, run, probes, log=log)


@cache
def study(seeds: int = 4, text: float = TEXT, state: float = 0.1) -> dict[str, pd.DataFrame]:
    with TemporaryDirectory() as folder:
        runs = [
            made(Path(folder), name, seed, text, state=state)
            for name in SHORT.conditions
            for seed in range(1, seeds + 1)
        ]
        return {"rates_losses": rates.rates_losses(Context(SHORT, runs))}


def test_the_suite_is_four_arms_at_three_rates_and_two_lengths() -> None:
    grid = {
        (rates.arm_of(run), run.train.learning_rate, run.train.steps): name
        for name, run in SUITE.conditions.items()
    }
    assert set(grid) == {(arm, rate, steps) for arm in rates.ARMS for rate in LOSS for steps in (2000, 8000)}
    assert len(grid) == len(SUITE.conditions)
    for (arm, rate, steps), name in grid.items():
        run, mine = SUITE.conditions[name], grid["state", rate, steps]
        assert run.train.min_learning_rate == pytest.approx(rate / 10)
        assert run.schedule == SUITE.conditions["vanilla_recurring"].schedule
        assert run.train.warmup_steps == 100 and run.log.keep_checkpoints == (steps,)
        if isinstance(run.constant_bias, FixedBias):  # as long as the state's bias there
            assert run.constant_bias.norm_of == mine
        if arm == "yoked":
            assert run.references()["stats"][0] == mine
        assert (name in SUITE.probes["deployed"].conditions) == (arm != "yoked")


def test_runs_that_the_recurring_suite_has_are_trained_once() -> None:
    recurring = load_suite(ROOT / "configs" / "recurring.toml")
    for name in ("calibrated_recurring", "vanilla_recurring", "fixed_bias", "yoked"):
        assert SUITE.run(name, 3).decisive() == recurring.run(name, 3).decisive()


def test_a_best_rate_is_chosen_on_the_other_seeds() -> None:
    wide = pd.DataFrame({0.1: [1.0, 3.0, 3.0, 3.0], 0.2: [2.0, 2.0, 2.0, 2.0]}, index=[1, 2, 3, 4])
    # seed 1 alone is best at 0.1, and is scored at the rate of the others; to them it counts with its size
    assert rates.best_rates(wide).to_dict() == {1: 0.2, 2: 0.2, 3: 0.2, 4: 0.2}
    wide.loc[1, 0.1] = -3.0
    assert rates.best_rates(wide).to_dict() == {1: 0.2, 2: 0.1, 3: 0.1, 4: 0.1}
    wide.loc[1, 0.2] = np.nan  # a seed that lacks a rate chooses none
    assert rates.best_rates(wide).to_dict() == {1: 0.2, 2: 0.2, 3: 0.2, 4: 0.2}
    assert rates.best_rates(wide.iloc[1:2]).isna().all()


def test_losses_stand_beside_no_state_at_the_same_rate_and_at_its_best() -> None:
    rows = study()["rates_losses"]
    assert rows.groupby("measure").size().to_dict() == {
        "clean_loss": 96,
        "perturbed_loss": 96,
        "heldout_loss": 96,
        "clean_text": 72,
    }
    state = rows.query("arm == 'state' and steps == 120 and measure == 'clean_loss'").groupby("rate")
    assert state["difference"].mean().to_dict() == pytest.approx(
        {0.001: -0.1, 0.003: -0.1, 0.01: 0.1}, abs=0.002
    )
    assert state["difference_best"].mean().to_dict() == pytest.approx(
        {0.001: 0.2, 0.003: -0.1, 0.01: 0.2}, abs=0.002
    )
    assert state["chosen"].all().to_dict() == {0.001: False, 0.003: True, 0.01: False}
    assert (rows.query("arm == 'none' and chosen")["difference_best"] == 0).all()
    longer = rows.query("arm == 'state' and steps == 400 and measure == 'clean_loss' and chosen")
    assert longer["difference_best"].mean() == pytest.approx(-0.1 * 400 / 120, abs=0.002)
    text = rows.query(
        "measure == 'clean_text' and chosen"
    )  # with the state set to calm, and not as it was left
    assert text.query("arm == 'state'")["difference_best"].mean() == pytest.approx(-TEXT, abs=0.002)
    assert text.query("arm == 'fixed_bias'")["difference_best"].mean() == pytest.approx(-0.01, abs=0.002)


def test_the_page_and_the_figure_say_what_the_table_says(tmp_path: Path) -> None:
    page = page_of(rates.EXPERIMENT, tmp_path, study())
    found = {name: one.verdict for name, one in page.findings.items()}
    assert found == dict.fromkeys(found, "clear") | {"highest": "not clear"}
    assert "It is clearly the other way round." in page.findings["highest"].evidence
    assert "nan" not in page
    assert_tables(page)
    row = cells(page, "120 steps, self-state |")
    gained = study()["rates_losses"].query(
        "arm == 'state' and chosen and steps == 120 and measure == 'clean_loss'"
    )
    assert (
        row[1].startswith(f"−{-gained['difference_best'].mean():.4f} [")
        and row[1].endswith("at 0.003")
        and row[-1] == "4"
    )
    assert cells(page, "120 steps, no state |")[1] == "at 0.003"
    assert cells(page, "120 steps, another run's signals |")[4] == "–"
    assert cells(page, "400 steps, no state, 0.01 |")[-1] == "4"
    title = title_of(drawn_of(FIGURE, tmp_path, study(), "rates"))
    assert (
        title.startswith("Each at its best learning rate, the self-state has a lower loss")
        and "clean held-out text better" in title
    )


def test_what_is_lost_is_told(tmp_path: Path) -> None:
    tables = study(text=-0.02, state=0.0)
    page = page_of(rates.EXPERIMENT, tmp_path, tables)
    assert verdict(page, "lower loss on calm training steps than no state.") == "Not clear"
    assert (
        page.findings["text"].verdict == "not clear"
        and "It is clearly the other way round." in page.findings["text"].evidence
    )
    assert title_of(drawn_of(FIGURE, tmp_path, tables, "rates")).count(" not ") == 2


def test_a_length_that_is_clear_alone_is_named(tmp_path: Path) -> None:
    rows = study()["rates_losses"].copy()
    mine = (rows["arm"] == "state") & (rows["steps"] == 120) & (rows["measure"] == "clean_loss")
    rows.loc[mine, "difference_best"] *= -1
    told = page_of(rates.EXPERIMENT, tmp_path, {"rates_losses": rows}).findings["pays"]
    assert told.title().endswith("than no state, clearly so after 400 steps alone.")
    assert told.evidence.endswith("clearly the other way round in 1 of 2: 120 steps.")


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_decide_nothing(tmp_path: Path, seeds: int) -> None:
    page = page_of(rates.EXPERIMENT, tmp_path, study(seeds))
    verdicts = {one.verdict for one in page.findings.values()}
    # with one seed there is no other one to choose a rate on; at a given rate it is compared all the same
    assert verdicts == ({"open", "not measured"} if seeds == 1 else {"open"}) and "nan" not in page
    drawing = drawn_of(FIGURE, tmp_path, study(seeds), "rates")
    assert ("same rate" in " ".join(drawing.axes[0].get_ylabel().split())) == (seeds == 1)
    assert any(np.size(line.get_ydata()) for line in drawing.axes[0].lines if line.get_marker() == "o")


def test_partial_and_empty_studies_have_pages(tmp_path: Path) -> None:
    empty = page_of(rates.EXPERIMENT, tmp_path / "none", {})
    assert (
        empty.count("The tables hold nothing for this yet.") == 2
        and "Nothing has been measured yet." in empty
    )
    assert rates.rates_losses(Context(SHORT, [])).empty
    rows = study()["rates_losses"]
    for part in (
        rows["steps"] == 120,
        rows["measure"] != "clean_text",
        rows["arm"] == "state",
        rows["rate"] == 0.001,
    ):
        page = page_of(rates.EXPERIMENT, tmp_path / str(part.sum()), {"rates_losses": rows[part]})
        assert "nan" not in page
        assert_tables(page)
        drawn_of(FIGURE, tmp_path / str(part.sum()), {"rates_losses": rows[part]}, "rates")
    with pytest.raises(NothingToDraw):
        drawn_of(FIGURE, tmp_path / "none", {"rates_losses": rows.iloc[:0]}, "rates")


def test_runs_without_their_partners_make_rows(tmp_path: Path) -> None:
    """A state whose vanilla is not finished has a loss, and nothing beside it."""
    rows = rates.rates_losses(Context(SHORT, [made(tmp_path, "state_0_003", 1)]))
    assert rows["loss"].notna().all() and rows[["difference", "difference_best"]].isna().all(axis=None)
