"""What is read of beliefs: tables, figures and pages, from runs whose states were planted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from configs.state import Clock
from configs.state import SelfState as SelfStateConfig
from experiments import belief_shifts, beliefs, readings
from experiments.kit.panels import Figure
from experiments.kit.tables import NothingToDraw
from experiments.readings import TWIN
from tests.belief_worlds import FIVE, STEPS, shifts_of, world
from tests.made_runs import (
    MadeRun,
    assert_tables,
    cells,
    context,
    drawn_of,
    make_tables,
    page_of,
    read_from,
    title_of,
    verdict,
)
from tests.test_beliefs import SEEDS


def made_of(runs: list[MadeRun]) -> dict[str, pd.DataFrame]:
    return make_tables(beliefs.EXPERIMENT.of("recurring"), context(runs))


@pytest.fixture(scope="module")
def made() -> dict[str, pd.DataFrame]:
    runs = [
        *world("calibrated_recurring", "vanilla_recurring", SEEDS, strength=4),
        *world("raw_recurring", "vanilla_recurring_2", SEEDS, strength=4, knows=False),
        *world("faint", "faint_vanilla", SEEDS, probability=0.01),
        *world("calibrated_mix", "vanilla_mix", SEEDS, FIVE, 4),
    ]
    tables = made_of(runs)
    moves = {"calibrated_recurring": 0.8, "faint": 0.3, "calibrated_mix": 0.0, "yoked": 0.0, "oracle": 0.95}
    tables["belief_shifts"] = pd.concat([shifts_of(name, SEEDS, share) for name, share in moves.items()])
    return tables


def mean(table: pd.DataFrame, column: str, condition: str, source: str, target: str) -> float:
    regime = "any" if condition.endswith("mix") else "bewilderment"
    where = {"condition": condition, "source": source, "target": target, "regime": regime}
    rows = table[np.logical_and.reduce([table[name] == value for name, value in where.items()])]
    assert len(rows) == len(SEEDS)
    return float(rows[column].mean())


def test_what_was_planted_is_found_and_nothing_else(made: dict[str, pd.DataFrame]) -> None:
    found = made["beliefs"]
    assert mean(found, "r2", "calibrated_recurring", "state", "posterior") > 0.5
    assert mean(found, "auc", "calibrated_recurring", "state", "regime") > 0.85
    assert mean(found, "r2", "faint", "state", "posterior") > 0.25
    for condition, source in (
        ("calibrated_recurring", "shuffle"),
        ("faint", "shuffle"),
        ("raw_recurring", "state"),
    ):
        assert mean(found, "r2", condition, source, "posterior") < 0.05
        assert 0.35 < mean(found, "auc", condition, source, "regime") < 0.65
    # in the faint world one batch tells little, several tell more, and nothing tells more than the filter
    areas = [mean(found, "auc", "faint", one, "regime") for one in ("statistics", "averages", "filter")]
    assert areas == sorted(areas) and areas[2] - areas[0] > 0.1
    assert set(found[found["target"] == TWIN]["source"]) == {"state", "untrained"}
    assert found.groupby(["condition", "seed"])["steps"].nunique().eq(1).all()
    assert set(found["steps"]) == {round(0.6 * STEPS)}
    example = made["belief_example"]
    assert example.groupby("condition").size().eq(readings.EXAMPLE).all()
    assert example["posterior"].between(0, 1).all() and example["step"].max() == STEPS - 1
    one = example[example["condition"] == "calibrated_recurring"]
    assert one["decoded"].corr(one["posterior"]) > 0.7


def test_states_that_are_shown_other_things_are_read_without_rivals() -> None:
    runs = world("faint", "faint_vanilla", [1, 2], probability=0.01)
    clock = [
        replace(run, condition="clock", config=run.config.model_copy(update={"self_state": clocked(run)}))
        for run in runs
        if run.config.self_state.enabled
    ]
    found = made_of([*runs, *clock])
    rows = found["beliefs"][found["beliefs"]["condition"] == "clock"]
    assert set(rows["source"]) == {"state", "filter"}
    assert "clock" not in set(found["belief_example"]["condition"]) | set(found["batch_auc"]["condition"])


def clocked(run: MadeRun) -> SelfStateConfig:
    return run.config.self_state.model_copy(update={"senses": Clock(kind="clock")})


def test_few_seeds_short_runs_and_none() -> None:
    alone = made_of(world("faint", "faint_vanilla", [1], probability=0.01))
    assert set(alone["beliefs"]["target"]) == {"regime"} and "filter" not in set(alone["beliefs"]["source"])
    assert alone["belief_example"].empty and len(alone["batch_auc"]) == 2
    for steps in (5, 40):
        short = made_of(world("faint", "faint_vanilla", [1, 2], steps=steps))
        assert len(short["batch_auc"]) == 4 and short["beliefs"].empty == (steps == 5)
    assert [len(table) for table in made_of([]).values()] == [0] * 3


def test_the_same_tables_twice(made: dict[str, pd.DataFrame]) -> None:
    runs = world("raw_recurring", "vanilla_recurring_2", SEEDS, strength=4, knows=False)
    again = made_of(runs)["beliefs"]
    first = made["beliefs"][made["beliefs"]["condition"] == "raw_recurring"].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, again)


FIGURES = (*beliefs.EXPERIMENT.figures, *belief_shifts.EXPERIMENT.figures)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_figures(figure: Figure, made: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    drawn_of(figure, tmp_path / "all", made)
    drawn_of(figure, tmp_path / "faint", some(made, "faint", "calibrated_mix"))
    two = {name: table[table["seed"].isin([1, 2])] for name, table in made.items()}
    drawing = drawn_of(
        figure, tmp_path / "two", {**made, "beliefs": two["beliefs"], "belief_shifts": two["belief_shifts"]}
    )
    if "knows" in figure.name or "intervention" in figure.name:
        assert title_of(drawing).startswith("Not settled: ")
    for elsewhere in ({}, {name: made[name].assign(condition="other") for name in figure.tables}):
        with pytest.raises(NothingToDraw):
            drawn_of(figure, tmp_path / f"none{len(elsewhere)}", elsewhere)


def some(made: dict[str, pd.DataFrame], *conditions: str) -> dict[str, pd.DataFrame]:
    return {name: table[table["condition"].isin(conditions)] for name, table in made.items()}


def test_titles_say_what_was_found(made: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    titles = {figure.name: title_of(drawn_of(figure, tmp_path, made)) for figure in FIGURES}
    put_in = titles["beliefs/intervention.png"]
    assert put_in == (
        "In the recurring world predictions follow a belief that is put in by hand. In the mix of five regimes predictions do not clearly "
        "follow a belief that is put in by hand."
    )


def test_what_lies_below_the_edge_is_drawn_at_it(made: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    found = made["beliefs"].copy()
    place = (
        (found["condition"] == "faint") & (found["source"] == "averages") & (found["target"] == "posterior")
    )
    found.loc[place & (found["seed"] == 2), "r2"] = -7.0
    drawing = drawn_of(beliefs.EXPERIMENT.figures[1], tmp_path, {**made, "beliefs": found})
    faint = drawing.axes[1]
    edge = [line for line in faint.lines if line.get_marker() == "<" and len(np.asarray(line.get_xdata()))]
    assert edge and all(np.asarray(line.get_xdata()).min() == beliefs.LOWEST for line in edge)
    seeds = [line for line in faint.lines if line.get_marker() == "D"]
    assert min(np.asarray(line.get_xdata(), float).min() for line in seeds) == beliefs.LOWEST


def test_the_page_says_what_was_planted(made: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    of_twin = (made["beliefs"]["source"] == "state") & (made["beliefs"]["target"] == TWIN)
    made = {**made, "beliefs": made["beliefs"].assign(r2=made["beliefs"]["r2"] + 0.03 * of_twin)}
    page = page_of(beliefs.EXPERIMENT, tmp_path, made)
    assert_tables(page)
    assert verdict(page, "In the recurring world the filter's belief can be read") == "Clear"
    assert verdict(page, "In the faint world the state tells more") == "Not clear"
    assert verdict(page, "In the recurring world predictions follow") == "Clear"
    assert verdict(page, "In the mix of five regimes predictions follow") == "Not clear"
    assert verdict(page, "In the faint world one batch leaves real doubt") == "Clear"
    pushed = page[page.index("| KL(optimum") : page.index("| NLL, nats")]
    before, after, share = cells(pushed, "`oracle` |")[1:4]
    assert float(share.split()[0]) == pytest.approx(
        1 - float(after.split()[0]) / float(before.split()[0]), abs=0.02
    )
    on_twin = mean(made["beliefs"], "r2", "faint", "state", TWIN)
    assert cells(page, "faint: the state, on the untrained state's target")[1].startswith(f"{on_twin:.3f}")
    beyond = on_twin - mean(made["beliefs"], "r2", "faint", "untrained", TWIN)
    rivals = beliefs.beyond(read_from(tmp_path, "recurring", made), "faint", "untrained")
    assert rivals["beyond untrained state"].mean == pytest.approx(beyond)
    r2 = mean(made["beliefs"], "r2", "faint", "state", "posterior")
    assert cells(page, "faint: the state |")[1].startswith(f"{r2:.3f}")


def test_the_page_flags_a_faint_world_that_is_not(made: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    sure = made["batch_auc"].assign(auc=0.99 + 0.001 * made["batch_auc"]["seed"])
    page = page_of(beliefs.EXPERIMENT, tmp_path, {**made, "batch_auc": sure})
    assert verdict(page, "In the faint world one batch leaves real doubt") == "Not clear"


def test_pages_of_parts_and_of_nothing(made: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    def in_short(place: str, tables: dict[str, pd.DataFrame]) -> str:
        page = page_of(beliefs.EXPERIMENT, tmp_path / place, tables)
        assert_tables(page)
        assert "nan" not in page.replace("nanoGPT", "")
        assert page.count("The tables hold nothing for this yet.") == (
            6 if not tables else page.count("The tables")
        )
        return page.split("## In short")[1].split("Brackets hold")[0]

    assert in_short("none", {}).strip() == "Nothing has been measured yet."
    for name in made:
        in_short(name, {name: made[name]})
    in_short("faint", some(made, "faint"))
    one = in_short("one", {name: table[table["seed"] == 1] for name, table in made.items()})
    assert all(
        line.startswith(("- **Not settled: ", "- **Not measured: ")) for line in one.strip().splitlines()
    )
