"""Sweeps: points are found by config, gains with their size, and the figure and the page say what the table says."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import perturb
from base.storage import ROOT
from configs.run import RunConfig
from configs.suite import load_suite
from configs.world import Recurring
from experiments import sweeps
from experiments.kit import stats
from experiments.kit.runs import Context
from experiments.kit.tables import CALM, NothingToDraw
from tests.made_runs import MadeRun, assert_tables, cells, drawn_of, page_of, title_of, verdict

SUITE = load_suite(ROOT / "configs" / "sweeps.toml")
VALUES: dict[str, list[float]] = {
    "decay": [0.05, 0.1, 0.2, 0.5, 1],
    "dim": [1, 2, 4, 8, 16, 32, 64],
    "rate": [0.005, 0.01, 0.02, 0.05, 0.1],
    "strength": [0.1, 0.2, 0.3, 0.5, 0.8],
}
(FIGURE,) = sweeps.EXPERIMENT.figures


@cache
def regimes(condition: str, seed: int) -> np.ndarray:
    return np.array(perturb.regimes_by_step(SUITE.run(condition, seed)), dtype=object)


def made(condition: str, seed: int, clean: float, acting: float) -> MadeRun:
    regime = regimes(condition, seed)
    step, acts = np.arange(len(regime)), regime != CALM
    luck = 0.1 * np.random.default_rng(seed).normal(size=len(regime))
    loss = 2.5 + acts + luck - np.where(acts, acting, clean)
    heldout = np.where(step % 100 == 0, 2 - clean / 2, np.nan)
    log = pd.DataFrame(
        {"step": step, "regime": regime, "loss": loss, "heldout_loss": heldout, "heldout_ece": 0.05}
    )
    return MadeRun("sweeps", condition, seed, Path(), SUITE.run(condition, seed), log=log)


def planted(run: RunConfig) -> tuple[float, float]:
    """Gains that rise with the strength of corruption, fall with the switching rate, and follow neither decay nor dim."""
    rate = sweeps.DIALS["rate"].value(run)
    clean = 0.2 * run.regimes.bewilderment.probability - np.log10(rate / 0.02) / 20
    return clean, clean / 2


@cache
def study(seeds: int = 4, flat: bool = False) -> dict[str, pd.DataFrame]:
    runs = []
    for number, (name, run) in enumerate(SUITE.conditions.items()):
        for seed in range(1, seeds + 1):
            if not run.self_state.enabled:
                runs.append(made(name, seed, 0.0, 0.0))
                continue
            own = 0.004 * np.random.default_rng([seed, number]).normal(size=2)
            clean, acting = planted(run)
            if flat:  # what one seed of a pair gains from a dial, the other loses: no trend over seeds
                own = (-1) ** seed * 0.004 * np.random.default_rng([(seed - 1) // 2, number]).normal(size=2)
                clean, acting = 0.1, 0.05
            runs.append(made(name, seed, clean + own[0], acting + own[1]))
    return {"sweep_points": sweeps.sweep_points(Context(SUITE, runs))}


def test_the_suite_turns_one_dial_at_a_time() -> None:
    base = SUITE.conditions["base"].model_dump()
    for name, run in SUITE.conditions.items():
        turned = sweeps.dials_of(name, SUITE.conditions)
        if not run.self_state.enabled:
            continue
        assert len(turned) == (4 if name == "base" else 1), name
        fields = run.model_dump()
        differing = [key for key in fields if fields[key] != base[key]]
        assert len(differing) == (name != "base"), name  # nothing else moves
    points = {
        dial: sorted(
            one.value(run)
            for name, run in SUITE.conditions.items()
            if run.self_state.enabled and dial in sweeps.dials_of(name, SUITE.conditions)
        )
        for dial, one in sweeps.DIALS.items()
    }
    assert points == VALUES
    kept = SUITE.conditions["base"].schedule
    assert isinstance(kept, Recurring) and kept.enter == kept.leave == 0.02


def test_runs_that_the_recurring_suite_has_are_trained_once() -> None:
    recurring = load_suite(ROOT / "configs" / "recurring.toml").conditions
    twins = {
        "base": "calibrated_recurring",
        "vanilla": "vanilla_recurring",
        "decay_1": "direct",
        "dim_1": "state_1d",
    }
    for here, there in twins.items():
        assert SUITE.run(here, 3).decisive() == recurring[there].model_copy(update={"seed": 3}).decisive()
    assert (
        SUITE.run("decay_0_5", 3).decisive() != recurring["direct"].model_copy(update={"seed": 3}).decisive()
    )


def test_every_condition_has_the_vanilla_of_its_own_world() -> None:
    points = study()["sweep_points"]
    vanilla = points.drop_duplicates(["dial", "value"]).set_index(["dial", "value"])["vanilla"]
    assert set(vanilla["decay"]) == set(vanilla["dim"]) == {"vanilla"}
    assert vanilla["rate", 0.005] == "vanilla_rate_0_005" and vanilla["rate", 0.02] == "vanilla"
    assert vanilla["strength", 0.8] == "vanilla_strength_0_8" and vanilla["strength", 0.5] == "vanilla"


def test_planted_gains_are_found_with_their_size() -> None:
    runs = [made("vanilla_strength_0_8", 1, 0, 0), made("strength_0_8", 1, 0.16, 0.08)]
    (row,) = sweeps.sweep_points(Context(SUITE, runs)).to_dict("records")
    assert (row["dial"], row["value"], row["condition"], row["base"]) == (
        "strength",
        0.8,
        "strength_0_8",
        False,
    )
    gains = [row[name] for name in ("clean_gain", "perturbed_gain", "heldout_gain")]
    assert gains == [pytest.approx(0.16), pytest.approx(0.08), pytest.approx(0.08)]
    runs = [made("dim_4", 1, 0.2, 0.1), made("vanilla_strength_0_8", 1, 0, 0)]
    (row,) = sweeps.sweep_points(Context(SUITE, runs)).to_dict("records")
    assert np.isnan(row["clean_gain"])  # its own vanilla is not finished, and no other will do
    assert sweeps.sweep_points(Context(SUITE, [])).empty


def test_the_base_is_a_point_of_every_dial() -> None:
    points = study()["sweep_points"]
    base = points[points["base"]]
    assert set(base["dial"]) == set(VALUES) and (base.groupby("seed")["clean_gain"].nunique() == 1).all()
    assert {str(dial): sorted(set(rows["value"])) for dial, rows in points.groupby("dial")} == VALUES
    assert len(points) == 4 * sum(len(values) for values in VALUES.values())


def test_the_figure_says_which_dials_matter(tmp_path: Path) -> None:
    title = title_of(drawn_of(FIGURE, tmp_path, study(), "sweeps"))
    assert (
        title
        == "The stronger the corruption, the more a state gains. A state that holds more numbers does not clearly gain more."
    )
    assert (
        title_of(drawn_of(FIGURE, tmp_path, study(flat=True), "sweeps")).count("does not clearly gain more")
        == 2
    )
    assert title_of(drawn_of(FIGURE, tmp_path, study(2), "sweeps")).count("Not settled: ") == 2


def test_a_part_of_the_points_draws(tmp_path: Path) -> None:
    points = study(3)["sweep_points"]
    for part in (
        points["dial"].isin(["dim", "rate"]),
        (points["dial"] == "dim") & (points["value"] < 9),
        points["base"],
    ):
        drawn_of(FIGURE, tmp_path, {"sweep_points": points[part]}, "sweeps")
    with pytest.raises(NothingToDraw):
        drawn_of(FIGURE, tmp_path, {"sweep_points": points.iloc[:0]}, "sweeps")


def test_a_trend_is_spearmans() -> None:
    wide = pd.DataFrame({1: [4.0, 2.0, 3.0, 1.0], 2: [1.0, 2.0, 3.0, np.nan]}, index=[1.0, 2.0, 3.0, 4.0])
    found = sweeps.trend(wide)
    # 1 - 6 (9 + 0 + 0 + 9) / (4 x 15); the second seed lacks a value and does not count
    assert (found.n, found.mean) == (1, pytest.approx(-0.8))
    assert sweeps.trend(wide.iloc[:2]) is stats.UNKNOWN


STRONG, OFTEN, MANY, SLOW = (
    "The stronger the corruption",
    "The more often the world",
    "The more numbers",
    "The slower a state",
)


def test_verdicts_follow_the_table(tmp_path: Path) -> None:
    text = page_of(sweeps.EXPERIMENT, tmp_path, study())
    expected = {STRONG: "Clear", OFTEN: "Not clear", MANY: "Not clear", SLOW: "Not clear"}
    assert {words: verdict(text, words) for words in expected} == expected
    assert "nan" not in text
    assert_tables(text)
    row = study()["sweep_points"]
    gain = row[(row["dial"] == "strength") & (row["value"] == 0.8)]["clean_gain"].mean()
    assert cells(text, "0.8")[1].startswith(f"+{gain:.4f}") and cells(text, "0.8")[-1] == "4"
    assert text.count("(base)") == 4
    assert "The largest mean gain on calm steps is that of 0.005" in text
    flat = page_of(sweeps.EXPERIMENT, tmp_path, study(flat=True))
    assert {found.verdict for found in flat.findings.values()} == {"not clear"}


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_decide_nothing(tmp_path: Path, seeds: int) -> None:
    text = page_of(sweeps.EXPERIMENT, tmp_path, study(seeds))
    assert {found.verdict for found in text.findings.values()} == {"open"} and "nan" not in text


def test_partial_and_empty_studies_have_pages(tmp_path: Path) -> None:
    text = page_of(sweeps.EXPERIMENT, tmp_path / "none", {})
    assert (
        text.count("The tables hold nothing for this yet.") == 4 and "Nothing has been measured yet." in text
    )
    points = study(3)["sweep_points"]
    text = page_of(sweeps.EXPERIMENT, tmp_path / "one", {"sweep_points": points[points["dial"] == "dim"]})
    assert text.count("The tables hold nothing for this yet.") == 3 and "nan" not in text
    lacking = points.assign(clean_gain=np.nan)  # vanilla not finished
    text = page_of(sweeps.EXPERIMENT, tmp_path / "two", {"sweep_points": lacking})
    assert "nan" not in text and "No value has been measured against no state yet." in text
