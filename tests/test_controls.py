"""Controls: planted reactions are found with their size, and the figure and the page say what the tables say."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments import controls
from experiments.controls_figure import LOOKS, ONE, ORDER, SENSES, STATIC
from experiments.controls_tables import calm_course
from experiments.kit import placebos
from experiments.kit.changes import changes
from experiments.kit.runs import METRICS, STATE_METRICS
from experiments.kit.style import COMMON, REGIMES
from experiments.kit.tables import NothingToDraw
from tests.made_runs import (
    MadeRun,
    Page,
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

STEPS = 1000
WINDOWS = [("bewilderment", 300, 400), ("sensory_fog", 600, 700)]
CONDITIONS = ("self", "vanilla", *STATIC, *ONE, *SENSES)
LOUD = {"bewilderment": 1.6, "sensory_fog": 0.3}  # what a regime does to the loss of any model


def logged(condition: str, seed: int, effect: float, loss: float) -> MadeRun:
    """A run whose effect follows a parabola of its own and jumps by `effect` in bewilderment, its loss by `loss`."""
    step = np.arange(STEPS)
    t, regimes = step / STEPS, regimes_of(STEPS, WINDOWS)
    hit = regimes == "bewilderment"
    log = pd.DataFrame({"step": step, "regime": regimes} | dict.fromkeys(METRICS, 1.0))
    log["loss"] = 2 - 0.5 * t + loss * hit
    log["prompt_effect"] = np.where(step % 10 == 0, seed + 2 * t - 0.7 * t**2 + effect * hit, np.nan)
    if condition == "vanilla":
        log[[*STATE_METRICS, "prompt_effect", "bias_norm"]] = np.nan
    return made_run(condition, seed, log, None)


def tables_of(runs: list[MadeRun]) -> dict[str, pd.DataFrame]:
    given = context(runs)
    rows = [("s", run.condition, run.seed, 1.9 - 0.01 * len(run.condition)) for run in runs]
    made = {
        "regime_deltas": changes(runs, given.suite.signatures.pre_steps),
        "runs": pd.DataFrame(rows, columns=["suite", "condition", "seed", "heldout_loss"]),
    }
    return make_tables(controls.EXPERIMENT.of("controls"), given, made)


def test_a_reaction_beyond_the_calm_course_is_found_with_its_size() -> None:
    kinds = (("self", 0.4, 1.5), ("fixed_one", 0.0, 1.2), ("vanilla", 0.0, 1.0))
    tables = tables_of([logged(name, seed, effect, loss) for name, effect, loss in kinds for seed in (1, 2)])
    table: Any = tables["controls_comparison"].set_index(["condition", "seed", "regime", "metric"])
    for seed in (1, 2):
        effect = {
            name: table.loc[(name, seed, "bewilderment", "prompt_effect")] for name in ("self", "fixed_one")
        }
        assert effect["self"]["detrended"] == pytest.approx(0.4)
        assert effect["fixed_one"]["detrended"] == pytest.approx(0.0, abs=1e-9)
        # without the course a constant bias would seem to react: 2 t - 0.7 t² rises by 0.1587 from one to the other
        assert effect["fixed_one"]["delta"] == pytest.approx(0.1587)
        assert effect["self"]["delta"] == pytest.approx(0.5587)
        before = seed + np.mean([2 * t - 0.7 * t**2 for t in np.arange(0.2, 0.3, 0.01)])
        assert effect["self"]["relative"] == pytest.approx(0.4 / before)
        assert table.loc[("self", seed, "sensory_fog", "prompt_effect"), "detrended"] == pytest.approx(
            0.0, abs=1e-9
        )
        assert table.loc[("self", seed, "bewilderment", "loss"), "difference"] == pytest.approx(0.5)
        assert table.loc[("fixed_one", seed, "bewilderment", "loss"), "difference"] == pytest.approx(0.2)
        assert table.loc[("vanilla", seed, "bewilderment", "loss"), "difference"] == pytest.approx(0.0)
        assert np.isnan(table.loc[("self", seed, "bewilderment", "prompt_effect"), "difference"])
    losses: Any = tables["control_losses"].set_index(["condition", "seed"])["difference"]
    assert losses["self", 1] == pytest.approx(0.03) and losses["fixed_one", 2] == pytest.approx(-0.02)


def test_regimes_do_not_bend_the_calm_course() -> None:
    """The course is that of the calm steps, whatever happens in windows and for 50 steps after them."""
    log = logged("self", 1, 50.0, 9.0).metrics()
    log.loc[log["step"].between(400, 449), "prompt_effect"] += 20
    log.loc[log["step"] < 200, "prompt_effect"] -= (
        30  # training's steep beginning, long before the first regime
    )
    course = calm_course(log, lead=100).set_index("step")
    t = np.arange(0, STEPS, 10) / STEPS
    np.testing.assert_allclose(course["prompt_effect"].dropna(), 1 + 2 * t - 0.7 * t**2, atol=1e-6)


def test_too_few_calm_steps_have_no_course() -> None:
    log = logged("self", 1, 0.4, 1.5).metrics()
    known = log["step"].isin([250, 260, 350])
    log["prompt_effect"] = log["prompt_effect"].where(known)  # two calm ones: no parabola
    assert calm_course(log, lead=100)["prompt_effect"].isna().all()
    log["regime"] = "calm"  # and no regime, so that there is nothing to compare
    assert not len(
        changes([made_run("self", 1, log, None)], 100, lambda run: calm_course(run.metrics(), 100))
    )


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_what_the_clamp_cuts_off_for_good_is_no_part_of_a_fixed_states_course(decay: float) -> None:
    windows = [("sensory_fog", 300, 400), ("self_clamp", 600, 650), ("bewilderment", 650, 750)]
    log = logged("fixed_one", 1, 0.0, 0.0).metrics()
    log["regime"] = regimes_of(STEPS, windows)
    log["prompt_effect"] -= 0.5 * (log["step"] >= 600)  # never gets over it
    run = made_run("fixed_one", 1, log, None, self_state={"decay": decay})
    rows = tables_of([run])["controls_comparison"].query("metric == 'prompt_effect'")
    found = rows.set_index("regime")["detrended"]
    if decay == 0:
        assert found["sensory_fog"] == pytest.approx(0.0, abs=1e-9)
        assert found[["self_clamp", "bewilderment"]].tolist() == pytest.approx([-0.5, -0.5])
    else:  # a state that changes gets over it, and what stays is its course
        assert abs(found["self_clamp"] + 0.5) > 0.05 and abs(found["sensory_fog"]) > 1e-4


def test_norms_are_taken_before_the_first_regime_and_over_the_run() -> None:
    log = logged("self", 1, 0.4, 0.0).metrics()
    log["bias_norm"] = np.where(log["step"] < 300, 2.0, 4.0)
    calm = log.assign(regime="calm")
    tables = tables_of(
        [made_run("self", 1, log, None), made_run("self_calm", 1, calm, None), logged("vanilla", 1, 0, 0)]
    )
    (row,) = tables["control_norms"].to_dict(
        "records"
    )  # neither a run without regimes nor one without a bias
    assert (row["condition"], row["norm_before"], row["norm"]) == ("self", 2.0, pytest.approx(3.4))
    early = log.loc[log["step"] < 300, "prompt_effect"].mean()
    assert row["effect_before"] == pytest.approx(early) and row["effect"] > row["effect_before"]


def test_a_run_without_regimes_has_a_change_at_selfs_steps_and_no_course() -> None:
    own = logged("self", 1, 0.4, 1.5)
    calm = made_run("self_calm", 1, logged("self", 1, 0.0, 0.0).metrics().assign(regime="calm"), None)
    made = tables_of([own, calm])["controls_comparison"]
    row = made.query(
        "condition == 'self_calm' and metric == 'prompt_effect' and regime == 'bewilderment'"
    ).iloc[0]
    assert row["delta"] == pytest.approx(0.1587)  # 2 t - 0.7 t², as in the calm course of self
    assert row[["trend", "detrended", "relative"]].isna().all()


def test_no_run_gives_empty_tables() -> None:
    assert not any(len(table) for table in tables_of([]).values())


def study(
    seeds: int = 8,
    effect: float = 0.3,
    one: float = 0.3,
    matched: float = 1.0,
    gain: float = -0.05,
    constant: float = -0.01,
    outcome: float = 0.0,
    steer: float = 0.5,
    before: float = 1.0,
    norm: float = 1.0,
    senses: float = 0.0,
    static: float = 0.0,
) -> dict[str, pd.DataFrame]:
    """Tables with a known answer.

    effect: reaction of self's effect to each regime; one, matched: those of the 1-D states, times it. gain: held-out loss
    of self minus vanilla; constant: of constant biases. outcome: what self's loss does in a regime beyond vanilla's.
    steer: learned effect size, placebos 0.3. before: self's effect before each regime, 1 for all others. norm: of self's
    bias, 0.5 for all others. senses: reaction of states that sense something else; static:
    of constant biases.
    """
    random = np.random.default_rng(3)
    place = ["suite", "condition", "seed"]
    rows, losses, tests, norms = [], [], [], []
    size = {"self": effect, "state_1d": one * effect, "state_1d_matched": matched * effect} | dict.fromkeys(
        SENSES, senses
    )
    size |= dict.fromkeys(STATIC, static)
    for name in CONDITIONS:
        for seed in range(1, seeds + 1):
            for number, regime in enumerate(REGIMES):
                for metric in (*COMMON, "entropy_last", "prompt_effect"):
                    if name == "vanilla" and metric == "prompt_effect":
                        continue
                    noise = 0.002 * random.normal()
                    trend = 0.1 if metric == "prompt_effect" else 0.0
                    usual = LOUD.get(regime, 0.05)
                    value = size.get(name, 0.0) * (-1) ** number if metric == "prompt_effect" else usual
                    value += outcome * (name == "self") if metric in COMMON else 0.0
                    vanilla = usual if metric != "prompt_effect" else np.nan
                    delta = value + trend + noise
                    relative = (delta - trend) / (before if name == "self" else 1.0)
                    found = (delta, trend, delta - trend, relative, vanilla, delta - vanilla)
                    rows.append(("controls", name, seed, regime, metric, *found))
            change = gain if name == "self" else constant if name != "vanilla" else 0.0
            change += 0.002 * random.normal() if name != "vanilla" else 0.0
            losses.append(("controls", name, seed, 1.9 + change, 1.9, change))
            if name != "vanilla":
                long = (norm if name == "self" else 0.5) + 0.01 * random.normal()
                norms.append(("controls", name, seed, long, 2 * long, 0.3, 0.4))
    for name, seed in product(("self_calm", "state_1d"), range(1, seeds + 1)):
        for finder in ("dimension", "gradient") if name == "self_calm" else ("gradient",):
            for placebo in ("rotated", "untrained") if finder == "dimension" else ("untrained",):
                # spread about its mean evenly, so that 0.3 is no further than placebos
                learned = (steer if name == "self_calm" else 0.4) + 0.02 * (-1) ** seed
                spread = (learned, placebo, 0.3, 0.05, 0.38, 0.2)
                tests.append(("controls", name, seed, 2000, "heldout", finder, *spread))
    keys = [*place, "regime", "metric"]
    return {
        "controls_comparison": pd.DataFrame(rows, columns=[*keys, "delta", "trend", "detrended", "relative", "vanilla", "difference"]),
        "control_losses": pd.DataFrame(losses, columns=[*place, "heldout_loss", "vanilla", "difference"]),
        "control_norms": pd.DataFrame(norms, columns=[*place, "norm_before", "norm", "effect_before", "effect"]),
        "frozen_effects_summary": pd.DataFrame(
            tests,
            columns=[*place, "run_step", "protocol", "finder", "effect", "placebo", "placebo_mean", "placebo_sd", "placebo_max", "p_value"],
        ),
        "runs": pd.DataFrame(
            [("controls", name, seed, 2000, 9.0, 1.9, "float32", "x", 800_000) for name in CONDITIONS for seed in range(1, seeds + 1)],
            columns=[*place, "steps", "seconds", "heldout_loss", "dtype", "corpus", "parameters"],
        ),
    }  # fmt: skip


COMPARED, REACTIONS = controls.EXPERIMENT.figures


def title(figure: Any, folder: Path, tables: dict[str, pd.DataFrame]) -> str:
    return title_of(drawn_of(figure, folder, tables, "controls"))


def page(folder: Path, tables: dict[str, pd.DataFrame]) -> Page:
    return page_of(controls.EXPERIMENT, folder, tables)


def test_figures_draw_and_say_what_the_tables_say(tmp_path: Path) -> None:
    assert title(COMPARED, tmp_path / "more", study(static=0.2)) == (
        "The self-state's effect answers to regimes more strongly than every constant bias's. A self-state gains more than every "
        "constant bias."
    )
    assert title(COMPARED, tmp_path / "none", study(effect=0.0)).startswith(
        "The effect of some constant bias changes"
    )
    drawing = drawn_of(REACTIONS, tmp_path / "planes", study(static=0.2), "controls")
    assert title_of(drawing).startswith("The self-state's effect on the output reacts to regimes otherwise")
    assert [axes.get_title("left").replace("\n", " ") for axes in drawing.axes] == [
        look.label for look in LOOKS.values()
    ]
    assert (
        len({axes.get_ylim() for axes in drawing.axes})
        == len({axes.get_xlim() for axes in drawing.axes})
        == 1
    )
    foggy = [line for line in drawing.axes[0].lines if line.get_marker() == REGIMES["sensory_fog"].marker]
    assert np.concatenate([np.ravel(line.get_ydata()) for line in foggy]) == pytest.approx(-0.3, abs=0.01)
    assert {*CONDITIONS} == {*ORDER} == {*LOOKS, "vanilla"}


def test_reactions_are_counted_and_sized(tmp_path: Path) -> None:
    text = page(tmp_path / "half", study(one=0.5))
    # the effect differs from every constant bias in all five regimes, loss and the like in none
    (line,) = [line for line in text.splitlines() if line.startswith("- **") and EFFECT in line]
    assert "Of 5 reactions" in line and all(f"5 ({LOOKS[name].label})" in line for name in STATIC)
    (line,) = [line for line in text.splitlines() if "react with some constant bias" in line]
    assert "Of 20 reactions" in line and all(f"0 ({LOOKS[name].label})" in line for name in STATIC)
    strength = table_of(text, "strength, mean")
    assert near(strength["`state_1d`"], 0, 0.15) and strength["`state_1d`"][4] == f"5: {', '.join(REGIMES)}"
    assert near(strength["`state_1d_matched`"], 0, 0.3) and strength["`fixed_one`"][4:] == ["0", "8"]
    assert near(table_of(text, "bewilderment")["`vanilla`"], 0, 1.6)  # its own change of entropy
    none = page(tmp_path / "none", study(effect=0.0))
    (line,) = [line for line in none.splitlines() if "The effect of some constant bias reacts" in line]
    assert all(f"0 ({LOOKS[name].label})" in line for name in STATIC)


def test_the_relative_answer_stands_beside_the_absolute_one_and_the_norms(tmp_path: Path) -> None:
    text = page(tmp_path, study(static=0.2, before=2.0, norm=1.0))
    strength = table_of(text, "strength, mean")
    own, fixed = strength["`self`"], strength["`fixed_one`"]
    assert near(own, 0, 0.3) and near(own, 2, 0.15) and own[1] == own[3] == "–"
    assert near(fixed, 0, 0.2) and near(fixed, 1, -0.1) and near(fixed, 2, 0.2) and near(fixed, 3, 0.05)
    (line,) = [
        line for line in text.splitlines() if "does not answer clearly more strongly than every" in line
    ]
    assert "−0.050 [" in line and line.endswith("It is clearly the other way round.")
    norms = table_of(text, "norm of the bias")["`fixed_one`"]
    assert all(near(norms, *cell, 0.03) for cell in enumerate((0.5, -0.5, 1.0, -1.0, 0.3, 0.4)))


def table_of(text: str, head: str) -> dict[str, list[str]]:
    """The last table of a page whose head has these words: the cells of each row, by its first."""
    lines = text.splitlines()
    (*_, rule) = [at for at, line in enumerate(lines) if line.startswith("| ---") and head in lines[at - 1]]
    found = {}
    for line in lines[rule + 1 :]:
        if not line.startswith("|"):
            break
        name, *cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        found[name.split(":")[0]] = cells
    return found


def near(cells: list[str], place: int, value: float, by: float = 0.003) -> bool:
    return abs(float(cells[place].split(" [")[0].replace("−", "-")) - value) < by


def some_conditions(tables: dict[str, pd.DataFrame], wanted: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    return {name: table[table["condition"].isin(wanted)] for name, table in tables.items()}


@pytest.mark.parametrize(("seeds", "wanted"), [(1, ("self", "vanilla")), (2, ("fixed_one",))])
def test_few_seeds_and_missing_conditions_draw(tmp_path: Path, seeds: int, wanted: tuple[str, ...]) -> None:
    tables = some_conditions(study(seeds), wanted)
    assert title(COMPARED, tmp_path, tables).startswith("Not measured: The self-state's effect answers")
    assert title(REACTIONS, tmp_path, tables).startswith("Not measured: ")
    with pytest.raises(NothingToDraw):
        title(COMPARED, tmp_path / "plain", some_conditions(study(3), ("vanilla",)))


EFFECT, OUTCOME = "reacts to regimes otherwise", "react otherwise with a self-state"
WEAKER, MATCHED, FLOOR = (
    "A state of one number answers more weakly",
    "With a bias as long as the self-state's, too",
    "effect answers to regimes more strongly",
)
RELATIVE, RELATIVE_ONE = (
    f"Measured against its own size, too, {what}"
    for what in ("it answers more strongly than every", "a state of one")
)
SENSING = "The self-state answers more strongly than the same state"
BETTER, MORE = "held-out text better", "more than every constant bias"
BEYOND = "Beyond what untrained readers do"
STEERS, ONE_STEERS = "learned reader steers", "The reader of a state of one number, too"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (
            {},
            {EFFECT: "Clear", OUTCOME: "Not clear", WEAKER: "Clear", MATCHED: "Not clear", FLOOR: "Clear"}
            | {BETTER: "Clear", MORE: "Clear", STEERS: "Clear", RELATIVE: "Clear", SENSING: "Clear"},
        ),
        ({"static": 0.2, "before": 2.0}, {FLOOR: "Clear", RELATIVE: "Not clear"}),
        ({"senses": 0.3}, {SENSING: "Not clear", FLOOR: "Clear"}),
        ({"matched": 0.3, "before": 4.0}, {MATCHED: "Clear", RELATIVE_ONE: "Not clear"}),
        ({"effect": 0.0}, {EFFECT: "Not clear", FLOOR: "Not clear", WEAKER: "Not clear"}),
        ({"outcome": 0.2}, {OUTCOME: "Clear"}),
        ({"matched": 0.3}, {MATCHED: "Clear", RELATIVE_ONE: "Clear"}),
        ({"constant": -0.06}, {BETTER: "Clear", MORE: "Not clear"}),
        ({"gain": 0.0, "constant": 0.05}, {BETTER: "Not clear", MORE: "Clear"}),
        ({"steer": 0.3}, {STEERS: "Not clear", ONE_STEERS: "Clear", BEYOND: "Not clear"}),
        ({"steer": 0.6}, {STEERS: "Clear", BEYOND: "Clear"}),
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
    row = cells(text, "`state_1d`, held-out protocol, gradient finder, 2000 steps, untrained")
    assert row[3] == "0.300 ± 0.050" and row[2].startswith("0.40")
    assert "figures/controls/reactions.png" in text


@pytest.mark.parametrize("absent", [*study(1), "all"])
def test_partial_studies_have_pages(tmp_path: Path, absent: str) -> None:
    text = page(tmp_path, {name: table for name, table in study(1).items() if absent not in (name, "all")})
    assert "nan" not in text and "inf" not in text
    assert {found.verdict for found in text.findings.values()} <= {
        "open",
        "not measured",
    }  # one seed decides nothing
    if absent == "all":
        assert text.count("The tables hold nothing for this yet.") == 7


def test_a_part_of_the_conditions_has_a_page(tmp_path: Path) -> None:
    text = page(tmp_path, some_conditions(study(3), ("self", "vanilla", "fixed_two")))
    assert "nan" not in text and verdict(text, WEAKER) == "Not measured" and verdict(text, EFFECT) == "Clear"


def test_every_row_has_as_many_cells_as_its_head(tmp_path: Path) -> None:
    assert_tables(page(tmp_path, study(3)))


def test_several_views_share_a_table(tmp_path: Path) -> None:
    known = read_from(tmp_path, "controls", study(3))
    one, other = (placebos.View(known, name, f"`{name}`") for name in ("self_calm", "state_1d"))
    both = placebos.effect_table(list(placebos.TESTS), one, other)
    alone = placebos.effect_table(list(placebos.TESTS), placebos.View(known, "self_calm"))
    assert both.count("\n") == alone.count("\n") + 1
    assert "| `state_1d`, held-out protocol" in both and "| held-out protocol" in alone
