"""Controls: planted reactions are found with their size, and the figure and the page say what the tables say."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import classification as told_by
from analysis import controls as analysis
from configs.suite import Signatures
from experiments.kit.changes import changes
from experiments.kit.runs import METRICS, STATE_METRICS, Context, Run
from experiments.kit.tables import BASIC, BIAS, CLEAN, NO_CLAMP, RAW, STATE, TIME, NothingToDraw
from plots import controls as figures
from plots.figure import Figure
from reports import controls, parts, placebos
from tests.made_runs import (
    assert_tables,
    cells,
    context,
    drawn,
    made_run,
    regimes_of,
    title_of,
    verdict,
    written,
)

STEPS = 1000
WINDOWS = [("bewilderment", 300, 400), ("sensory_fog", 600, 700)]
SETTINGS = Signatures(pre_steps=100, classify_steps=10, permutations=10)
CONDITIONS = ("self", "vanilla", *figures.STATIC, *controls.ONE)

LOUD = {"bewilderment": 1.6, "sensory_fog": 0.3}  # what a regime does to the loss of any model


def logged(condition: str, seed: int, effect: float, loss: float, folder: Path) -> Run:
    """A run whose effect follows a parabola of its own and jumps by `effect` in bewilderment, its loss by `loss`."""
    step = np.arange(STEPS)
    t = step / STEPS
    hit = regimes_of(STEPS, WINDOWS) == "bewilderment"
    log = pd.DataFrame({"step": step, "regime": regimes_of(STEPS, WINDOWS)})
    for name in METRICS:
        log[name] = 1.0
    log["progress"] = t
    log["loss"] = 2 - 0.5 * t + loss * hit
    log["state_effect"] = np.where(step % 10 == 0, seed + 2 * t - 0.7 * t**2 + effect * hit, np.nan)
    log["heldout_loss"] = np.where(step == STEPS - 1, 1.9, np.nan)
    if condition == "vanilla":
        log[[*STATE_METRICS, "bias_norm"]] = np.nan
    place = folder / condition / f"seed-{seed}"
    place.mkdir(parents=True)
    log.to_csv(place / "metrics.csv", index=False)
    return made_run(condition, seed, log, None, place)


def given(runs: list[Run]) -> Context:
    rows = [("s", run.condition, run.seed, 1.9 - 0.01 * len(run.condition)) for run in runs]
    return context(
        runs,
        regime_deltas=changes(runs, SETTINGS.pre_steps),
        runs=pd.DataFrame(rows, columns=["suite", "condition", "seed", "heldout_loss"]),
    )


def test_a_reaction_beyond_the_calm_course_is_found_with_its_size(tmp_path: Path) -> None:
    runs = [logged("self", seed, 0.4, 1.5, tmp_path) for seed in (1, 2)]
    runs += [logged("fixed_one", seed, 0.0, 1.2, tmp_path) for seed in (1, 2)]
    runs += [logged("vanilla", seed, 0.0, 1.0, tmp_path) for seed in (1, 2)]
    tables = analysis.tables(given(runs))
    table: Any = tables["controls_comparison"].set_index(["condition", "seed", "regime", "metric"])
    for seed in (1, 2):
        effect = {
            name: table.loc[(name, seed, "bewilderment", "state_effect")] for name in ("self", "fixed_one")
        }
        assert effect["self"]["detrended"] == pytest.approx(0.4)
        assert effect["fixed_one"]["detrended"] == pytest.approx(0.0, abs=1e-9)
        # without the course a constant bias would seem to react: 2 t - 0.7 t² rises by 0.1587 from one to the other
        assert effect["fixed_one"]["delta"] == pytest.approx(0.1587)
        assert effect["self"]["delta"] == pytest.approx(0.5587)
        assert table.loc[("self", seed, "sensory_fog", "state_effect"), "detrended"] == pytest.approx(
            0.0, abs=1e-9
        )
        assert table.loc[("self", seed, "bewilderment", "loss"), "difference"] == pytest.approx(0.5)
        assert table.loc[("fixed_one", seed, "bewilderment", "loss"), "difference"] == pytest.approx(0.2)
        assert table.loc[("vanilla", seed, "bewilderment", "loss"), "difference"] == pytest.approx(0.0)
        assert np.isnan(table.loc[("self", seed, "bewilderment", "state_effect"), "difference"])
    losses: Any = tables["control_losses"].set_index(["condition", "seed"])["difference"]
    assert losses["self", 1] == pytest.approx(0.03) and losses["fixed_one", 2] == pytest.approx(-0.02)
    asked = set(zip(tables["classification"]["condition"], tables["classification"]["protocol"], strict=True))
    assert asked == {(run, way) for run in ("self", "fixed_one", "vanilla") for way in (CLEAN, NO_CLAMP)}


def test_regimes_do_not_bend_the_calm_course(tmp_path: Path) -> None:
    """The course is that of the calm steps, whatever happens in windows and for 50 steps after them."""
    run = logged("self", 1, 50.0, 9.0, tmp_path)
    log = pd.read_csv(run.folder / "metrics.csv")
    log.loc[(log["step"] >= 400) & (log["step"] < 450), "state_effect"] += 20
    log.loc[log["step"] < 200, "state_effect"] -= (
        30  # training's steep beginning, long before the first regime
    )
    log.to_csv(run.folder / "metrics.csv", index=False)
    course = analysis.CalmCourse("s", "self", 1, run.folder, run.config, lead=100).metrics().set_index("step")
    t = np.arange(0, STEPS, 10) / STEPS
    np.testing.assert_allclose(course["state_effect"].dropna(), 1 + 2 * t - 0.7 * t**2, atol=1e-6)


def test_no_run_gives_empty_tables() -> None:
    tables = analysis.tables(given([]))
    assert {name: len(table) for name, table in tables.items()} == dict.fromkeys(tables, 0)
    assert list(tables["controls_comparison"]) == list(analysis.COMPARISON)


def test_the_page_asks_for_what_the_analysis_answers() -> None:
    assert set(controls.COLUMNS["controls_comparison"]) <= set(analysis.COMPARISON)
    assert set(controls.COLUMNS["control_losses"]) <= set(analysis.LOSSES)
    assert set(parts.COLUMNS["classification_seeds"]) <= set(told_by.SEED_COLUMNS)


def study(
    seeds: int = 8,
    effect: float = 0.3,
    one: float = 0.3,
    matched: float = 1.0,
    gain: float = -0.05,
    constant: float = -0.01,
    outcome: float = 0.0,
    accuracy: float = 0.7,
    steer: float = 0.5,
) -> dict[str, pd.DataFrame]:
    """Tables with a known answer.

    effect: reaction of self's effect to each regime; one, matched: those of the 1-D states, times it. gain: held-out loss
    of self minus vanilla; constant: of constant biases. outcome: what self's loss does in a regime beyond vanilla's.
    accuracy: of self's channels, constant biases 0.5. steer: learned effect size, placebos 0.3.
    """
    random = np.random.default_rng(3)
    place = ["suite", "condition", "seed"]
    rows, losses, tests, scores, pooled = [], [], [], [], []
    size = {"self": effect, "state_1d": one * effect, "state_1d_matched": matched * effect}
    for name in CONDITIONS:
        for seed in range(1, seeds + 1):
            for number, regime in enumerate(figures.style.REGIMES):
                for metric in (*figures.COMMON, "state_drift"):
                    if name == "vanilla" and metric.startswith("state"):
                        continue
                    noise = 0.005 * random.normal()
                    trend = 0.1 if metric == "state_effect" else 0.0
                    usual = LOUD.get(regime, 0.05)
                    value = size.get(name, 0.0) * (-1) ** number if metric == "state_effect" else usual
                    value += outcome * (name == "self") if metric in controls.OUTCOMES else 0.0
                    vanilla = usual if metric in controls.OUTCOMES else np.nan
                    delta = value + trend + noise
                    rows.append(
                        (
                            "controls",
                            name,
                            seed,
                            regime,
                            metric,
                            delta,
                            trend,
                            delta - trend,
                            vanilla,
                            delta - vanilla,
                        )
                    )
            change = gain if name == "self" else constant if name != "vanilla" else 0.0
            change += 0.002 * random.normal() if name != "vanilla" else 0.0
            losses.append(("controls", name, seed, 1.9 + change, 1.9, change))
            for protocol in (CLEAN, NO_CLAMP):
                for features in (BASIC, RAW, STATE, BIAS):
                    rate = accuracy if name == "self" and features in (STATE, BIAS) else 0.5
                    scores.append(
                        ("controls", name, protocol, features, seed, rate + 0.01 * random.normal(), 0.2)
                    )
            for finder in ("dimension", "gradient") if name == "self" else ("gradient",):
                for placebo in ("rotated", "untrained"):
                    if name in ("self", *controls.ONE) and (finder, placebo) != ("gradient", "rotated"):
                        learned = (steer if name == "self" else 0.4) + 0.02 * random.normal()
                        spread = (learned, placebo, 0.3, 0.05, 0.38, 0.2)
                        tests.append(("controls", name, seed, 2000, "heldout", finder, *spread))
    for name in CONDITIONS:
        for protocol in (CLEAN, NO_CLAMP):
            for features in (BASIC, RAW, STATE, BIAS):
                pooled.append(
                    ("controls", name, protocol, features, 0.5, 0.2, 0.26, 0.01, 60 * seeds, seeds, 5, 0.24)
                )
    kinds = ["suite", "condition", "protocol", "features"]
    return {
        "controls_comparison": pd.DataFrame(rows, columns=list(analysis.COMPARISON)),
        "control_losses": pd.DataFrame(losses, columns=list(analysis.LOSSES)),
        "classification": pd.DataFrame(
            pooled, columns=[*kinds, "accuracy", "null_mean", "null_95", "p_value", "windows", "runs", "classes", "majority"]
        ),
        "classification_seeds": pd.DataFrame(scores, columns=[*kinds, "seed", "accuracy", "majority"]),
        "frozen_effects_summary": pd.DataFrame(
            tests,
            columns=[*place, "run_step", "protocol", "finder", "effect", "placebo", "placebo_mean", "placebo_sd", "placebo_max", "p_value"],
        ),
        "runs": pd.DataFrame(
            [("controls", name, seed, 2000, 9.0, 1.9, "float32", "x", 800_000) for name in CONDITIONS for seed in range(1, seeds + 1)],
            columns=[*place, "steps", "seconds", "heldout_loss", "dtype", "corpus", "parameters"],
        ),
    }  # fmt: skip


COMPARED, *SCATTERS = figures.FIGURES


def test_figures_draw_and_say_what_the_tables_say() -> None:
    title = title_of(drawn(COMPARED, study(one=0.5)))
    # the effect differs from every constant bias in all five regimes, loss and the like in none
    assert (
        "Of 25 reactions the self-state's differ from fixed_half in 5, fixed_one in 5, fixed_two in 5, learned_bias in 5;"
        in title
    )
    assert re.search(
        "effect of state_1d reacts 0.(49|50) × as strongly; the effect of state_1d_matched reacts 1.00 ×",
        title,
    )
    assert "differ from fixed_half in 0, fixed_one in 0, fixed_two in 0, learned_bias in 0;" in title_of(
        drawn(COMPARED, study(effect=0.0))
    )
    tables = study()
    assert {figure.name for figure in SCATTERS} == {f"controls/{name}.png" for name in CONDITIONS}
    titles = {name: title_of(drawn(scatter_of(name), tables)) for name in ("self", "fixed_one", "vanilla")}
    assert titles["self"] == f"self: state effect reacts clearly to {', '.join(figures.style.REGIMES)}"
    assert titles["fixed_one"] == "fixed_one: effect of the bias reacts clearly to no regime"
    assert (
        titles["vanilla"]
        == "vanilla: entropy reacts clearly to bewilderment, sensory_fog, false_feedback, self_clamp, lr_heatwave"
    )


def scatter_of(condition: str) -> Figure:
    (found,) = [figure for figure in SCATTERS if figure.name == f"controls/{condition}.png"]
    return found


def some_conditions(tables: dict[str, pd.DataFrame], wanted: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    return {name: table[table["condition"].isin(wanted)] for name, table in tables.items()}


@pytest.mark.parametrize(("seeds", "wanted"), [(1, ("self", "vanilla")), (2, ("fixed_one",))])
def test_few_seeds_and_missing_conditions_draw(seeds: int, wanted: tuple[str, ...]) -> None:
    tables = some_conditions(study(seeds), wanted)
    assert "too few seeds or conditions to test" in title_of(drawn(COMPARED, tables))
    for name in ("self", "vanilla", "fixed_one"):
        if name in wanted:
            drawn(scatter_of(name), tables)
        else:
            with pytest.raises(NothingToDraw):
                drawn(scatter_of(name), tables)
    with pytest.raises(NothingToDraw):
        drawn(COMPARED, some_conditions(study(3), ("vanilla",)))


def page(folder: Path, tables: dict[str, pd.DataFrame]) -> str:
    return written(controls, tables, folder)


EFFECT, OUTCOME = "as no constant bias's does", "react otherwise with a self-state"
WEAKER, MATCHED, FLOOR = (
    "A state of one dimension responds more weakly",
    "norm matched, too",
    "more strongly than any constant",
)
BETTER, MORE = "held-out text better", "more than every constant bias"
ADDS, TELLS = (
    "channels add to loss, entropy and confidence.",
    "tell regimes better than those of any constant",
)
STEERS, ONE_STEERS = "`self`, held-out protocol, gradient", "`state_1d`, held-out protocol, gradient"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (
            {},
            {EFFECT: "Clear", OUTCOME: "Not clear", WEAKER: "Clear", MATCHED: "Not clear", FLOOR: "Clear"}
            | {BETTER: "Clear", MORE: "Clear", ADDS: "Clear", TELLS: "Clear", STEERS: "Clear"},
        ),
        ({"effect": 0.0}, {EFFECT: "Not clear", FLOOR: "Not clear", WEAKER: "Not clear"}),
        ({"outcome": 0.2}, {OUTCOME: "Clear"}),
        ({"matched": 0.3}, {MATCHED: "Clear"}),
        ({"constant": -0.06}, {BETTER: "Clear", MORE: "Not clear"}),
        ({"gain": 0.0, "constant": 0.05}, {BETTER: "Not clear", MORE: "Clear"}),
        ({"accuracy": 0.5}, {ADDS: "Not clear", TELLS: "Not clear"}),
        ({"steer": 0.3}, {STEERS: "Not clear", ONE_STEERS: "Clear", "steers less far (gradient": "Not clear"}),
        ({"steer": 0.6}, {STEERS: "Clear", "steers less far (gradient": "Clear"}),
        ({"seeds": 2}, {EFFECT: "Open", WEAKER: "Open", BETTER: "Open", STEERS: "Open"}),
    ],
)  # fmt: skip
def test_verdicts_follow_the_tables(tmp_path: Path, made: dict[str, Any], expected: dict[str, str]) -> None:
    text = page(tmp_path, study(**made))
    assert {words: verdict(text, words) for words in expected} == expected


def test_published_words_and_numbers_stand_beside_ours(tmp_path: Path) -> None:
    text = page(tmp_path, study())
    assert "static injection doesn't reproduce the dynamic patterns" in text
    assert "1D state shows weaker, sometimes absent responses" in text
    row = cells(text, f"{NO_CLAMP}, `self`: {STATE}")
    assert row[1:3] == ["100 %", "0.500"] and row[3].startswith("0.70")  # pooled, then the mean over seeds
    assert cells(text, f"{CLEAN}, `self`: {BASIC}")[1] == "80 %"
    assert cells(text, f"{CLEAN}, `fixed_one`: {BASIC}")[1] == "–"
    row = cells(text, "`state_1d`, held-out protocol, gradient finder, 2000 steps, untrained")
    assert row[3] == "0.300 ± 0.050" and row[2].startswith("0.40")
    rows = [line for line in text.splitlines() if line.startswith("| `self_clamp`, `")]
    assert len(rows) == len(CONDITIONS)


def test_the_same_numbers_stand_once(tmp_path: Path) -> None:
    tables = study()
    kinds = ["condition", "protocol", "features"]
    alone = tables["classification_seeds"]["features"] == BASIC
    same = tables["classification_seeds"][alone].assign(features=TIME)
    same["accuracy"] = 0.2 + 0.01 * same["seed"]  # of the schedule alone, so alike in every condition
    seeds = pd.concat([tables["classification_seeds"], same])
    pooled = tables["classification"]
    pooled = pd.concat([pooled, pooled[pooled["features"] == BASIC].assign(features=TIME)])
    means = seeds.groupby(kinds)["accuracy"].mean()
    pooled["accuracy"] = [means[place] for place in pooled[kinds].itertuples(index=False, name=None)]
    text = page(tmp_path, {**tables, "classification": pooled, "classification_seeds": seeds})
    rows = [line for line in text.splitlines() if TIME in line]
    assert [row.split(" | ")[0] for row in rows] == [
        f"| {protocol}, every condition: progress alone" for protocol in (CLEAN, NO_CLAMP)
    ]
    assert "| published | accuracy, mean of seeds | null mean |" in text
    assert cells(text, f"{NO_CLAMP}, `self`: {STATE}")[2].startswith("0.70")
    one = pooled["condition"] == "vanilla"
    # another p: a row a condition; another accuracy than the mean of seeds: both columns
    pooled["p_value"] = pooled["p_value"].where(~one, 0.9)
    pooled["accuracy"] = pooled["accuracy"].where(~one, 0.4)
    text = page(tmp_path / "other", {**tables, "classification": pooled, "classification_seeds": seeds})
    assert "every condition" not in text and "| published | accuracy | by seed |" in text


@pytest.mark.parametrize("absent", [*study(1), "all"])
def test_partial_studies_have_pages(tmp_path: Path, absent: str) -> None:
    text = page(tmp_path, {name: table for name, table in study(1).items() if absent not in (name, "all")})
    assert "nan" not in text and "inf" not in text
    assert "- **Clear" not in text and "- **Not clear" not in text  # one seed decides nothing
    if absent == "all":
        assert text.count("The tables hold nothing for this yet.") == 5


def test_a_part_of_the_conditions_has_a_page(tmp_path: Path) -> None:
    text = page(tmp_path, some_conditions(study(3), ("self", "vanilla", "fixed_two")))
    assert "nan" not in text and verdict(text, WEAKER) == "Not measured" and verdict(text, EFFECT) == "Clear"


def test_every_row_has_as_many_cells_as_its_head(tmp_path: Path) -> None:
    assert_tables(page(tmp_path, study(3)))


def test_several_views_share_a_table(tmp_path: Path) -> None:
    known = _tables(tmp_path)
    one, other = (placebos.View(known, name, f"`{name}`") for name in ("self", "state_1d"))
    (both, _), (alone, _) = (
        placebos.effect_table(one, list(placebos.TESTS), other),
        placebos.effect_table(placebos.View(known, "self"), list(placebos.TESTS)),
    )
    assert both.count("\n") == alone.count("\n") + 1
    assert "| `state_1d`, held-out protocol" in both and "| held-out protocol" in alone


def _tables(folder: Path) -> Any:
    written(controls, study(3), folder)
    return controls.Tables(folder, controls.SUITE, controls.COLUMNS)
