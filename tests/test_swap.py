"""Swapped states: exact distances and steps of made-up continuations, the figure, and the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments import swap
from experiments.kit.followed import off_average
from experiments.kit.tables import NothingToDraw, Tables
from runs.state import exchanged
from tests.made_runs import (
    MadeRun,
    assert_tables,
    cells,
    context,
    drawn_of,
    made_run,
    make_tables,
    page_of,
    title_of,
    verdict,
)

FIRST, STEPS, DECAY = 100, 60, 0.2
OWN = np.array([3.0, 4.0], dtype=np.float32)  # norm 5
KINDS = {"own": "own", "other": "other", "random": "random", "zero": "zero", "jitter": "jitter"}


def continued(
    condition: str, seed: int, put_in: float, apart: np.ndarray, ratio: float = 1 - DECAY
) -> MadeRun:
    """A continuation whose state was `put_in` own norms away and comes back by `ratio` a step, its loss `apart` from own's."""
    step = np.arange(FIRST, FIRST + STEPS)
    log = pd.DataFrame({"step": step, "loss": 2.0 + 0.1 * np.sin(step) + apart})
    log["heldout_loss"] = np.where((step + 1) % 10 == 0, 2.5 + 2 * apart, np.nan)
    log["state_effect"] = log["prompt_effect"] = 0.3 + 0.5 * apart
    left = put_in * (1 - DECAY) * ratio ** np.arange(STEPS)
    states = OWN + 5 * left[:, None] * np.array([0.6, -0.8])
    start = {"condition": "origin", "step": FIRST, "state": KINDS[condition]}
    return made_run(condition, seed, log, states.astype(np.float64), self_state={"decay": DECAY}, start=start)


def origin(seed: int) -> MadeRun:
    return made_run("origin", seed, pd.DataFrame({"step": range(200)}), np.ones((200, 2), np.float32))


def until(k: int, size: float = 0.3) -> np.ndarray:
    """A difference of losses that ends at step k."""
    return np.where(np.arange(STEPS) < k, size, 0.0)


def made(seed: int) -> list[MadeRun]:
    jitter = np.where(np.arange(STEPS) % 2 == 0, 0.002, -0.002)
    return [
        origin(seed),
        continued("own", seed, 0.0, until(0)),
        continued("other", seed, 1.5, until(7)),
        continued("random", seed, 1.2, until(STEPS)),
        continued("zero", seed, 1.0, until(0), ratio=0.9),
        continued("jitter", seed, 0.001, jitter),
    ]


def tables_of(runs: Sequence[MadeRun]) -> dict[str, pd.DataFrame]:
    return make_tables(swap.EXPERIMENT.of("swap"), context(runs))


def test_a_swap_of_known_course_gives_exactly_these_numbers() -> None:
    tables = tables_of([run for seed in (1, 2) for run in made(seed)])
    paths: Any = tables["swap_paths"].set_index(["condition", "seed", "since"]).sort_index()
    assert set(paths.index.get_level_values("condition")) == {"other", "random", "zero", "jitter"}
    other = paths.loc[("other", 2)]
    assert list(other["step"]) == list(range(FIRST, FIRST + STEPS))
    np.testing.assert_allclose(other["distance"], 1.5 * 0.8 ** (np.arange(STEPS) + 1), rtol=1e-6)
    np.testing.assert_allclose(other["distance"], other["predicted"], rtol=1e-6)
    np.testing.assert_allclose(other["loss_difference"], until(7), atol=1e-12)
    zero = paths.loc[("zero", 1)]
    assert zero["distance"].iloc[10] / zero["predicted"].iloc[10] == pytest.approx((0.9 / 0.8) ** 10)
    assert other["heldout_difference"].count() == STEPS // 10

    summary: Any = tables["swap_summary"].set_index(["condition", "seed"])
    row = summary.loc[("other", 1)]
    assert row["swapped_distance"] == pytest.approx(1.5)
    assert row["first_loss"] == pytest.approx(0.3) and row["first_effect"] == pytest.approx(0.15)
    assert row["early_loss"] == pytest.approx(0.21) and row["late_loss"] == pytest.approx(0.0)
    assert row["floor"] == pytest.approx(0.002)  # jitter's |difference| at every step, so of any mean
    assert (
        row["steps_until"] == 7
    )  # the mean of ten steps ahead is exactly zero from the step on at which it ends
    own = made(1)[1].log["loss"].to_numpy()
    small = 0.1 * np.std(np.diff(own), ddof=1) / np.sqrt(2)
    assert made(1)[1].condition == "own" and row["small"] == pytest.approx(small) and 0 < small < 0.3
    means = np.convolve(until(7), np.full(10, 0.1), "valid")
    assert row["steps_small"] == int(np.argmax(means <= small)) <= 7
    assert row["state_steps"] == 22  # 1.5 * 0.8^23 is the first below 0.01
    assert summary.loc[("zero", 1), "steps_until"] == 0
    assert np.isnan(summary.loc[("random", 1), "steps_until"])
    assert summary.loc[("random", 1), "late_heldout"] == pytest.approx(0.6)
    assert summary.loc[("jitter", 1), "state_steps"] == 0
    assert summary.loc[("jitter", 1), "late_loss_distance"] == pytest.approx(0.002)


def test_every_average_begins_as_the_state_that_was_put_in() -> None:
    """Those put in here: the origin's, twice, none, and one drawn anew, which runs begin with by the same function."""
    runs = [run for seed in (1, 2) for run in made(seed)]
    drift: Any = tables_of(runs)["swap_summary"].set_index(["condition", "seed"])["drift"]
    before = np.ones(2, np.float32)
    for run in (run for run in runs if run.condition != "origin"):
        first = exchanged(run.config, before, before)
        states = np.asarray(run.states())
        assert drift[run.condition, run.seed] == pytest.approx(float(off_average(states[:100], first).mean()))
    assert drift["zero", 1] != drift["random", 1] != drift["other", 1]


def test_without_jitter_there_is_no_floor_and_without_own_nothing() -> None:
    tables = tables_of([run for run in made(1) if run.condition != "jitter"])
    assert tables["swap_summary"]["floor"].isna().all() and tables["swap_summary"]["steps_until"].isna().all()
    for runs in ([], [origin(1)], [run for run in made(1) if run.condition != "own"]):
        tables = tables_of(runs)
        assert [len(table) for table in tables.values()] == [0, 0]
    own_of_another_seed = [made(1)[1], made(2)[2]]
    assert tables_of(own_of_another_seed)["swap_paths"].empty


def test_seeds_are_compared_with_their_own_continuation() -> None:
    runs = made(1) + made(2)
    for run in runs:
        run.log["loss"] = run.log["loss"] + run.seed if "loss" in run.log else np.nan
    paths = tables_of(runs)["swap_paths"]
    assert paths["loss_distance"].max() == pytest.approx(0.3)


def study(
    seeds: int = 8,
    cost: float = 0.08,
    random_cost: float = 0.08,
    zero_cost: float = 0.05,
    lasting: float = 0.0,
    until: float = 40,
) -> dict[str, pd.DataFrame]:
    """Tables of continuations whose losses differ by such costs at first, and by `lasting` to the end."""
    rng = np.random.default_rng(5)
    since = np.arange(200)
    parts, rows = [], []
    costs = {"other": cost, "random": random_cost, "zero": zero_cost, "jitter": 0.0}
    for name, first in costs.items():
        for seed in range(1, seeds + 1):
            left = {"jitter": 0.001, "zero": 1.0}.get(name, 1.4) * rng.uniform(0.9, 1.1) * 0.8 ** (since + 1)
            noise = 0.004 * (1 - np.exp(-(since + 1) / 60)) * rng.normal(size=200)
            own = first * rng.uniform(0.8, 1.2) if first else 0.0005 * rng.normal()
            stays = lasting if name == "other" else 0.0
            change = own * np.exp(-since / 15) + noise + stays
            path = pd.DataFrame(
                {"suite": "swap", "condition": name, "seed": seed, "step": 1000 + since, "since": since}
            )
            path["distance"] = left + 0.0005 * (1 - np.exp(-since / 60))
            path["predicted"], path["loss_difference"], path["loss_distance"] = left, change, np.abs(change)
            path["heldout_difference"] = np.where((since + 1) % 10 == 0, change / 2, np.nan)
            path["effect_difference"] = -0.1 * left + 0.01 * noise
            path["batch_sd"] = 0.05
            parts.append(path)
            late = stays + 0.0005 * rng.normal()
            row = {
                "swapped_distance": left[0] / 0.8,
                "first_loss": own,
                "first_effect": -0.1,
                "early_loss": own / 2,
            }
            row |= {
                "late_loss": late,
                "late_loss_distance": 0.003 + abs(late),
            }
            row |= {
                "early_heldout": own / 4,
                "late_heldout": late,
                "late_effect": 0.0,
                "drift": 0.4 + 0.05 * (name == "other") + 0.001 * seed * (name == "random"),
                "effect": 0.7,
                "floor": 0.006,
            }
            row |= {"steps_until": until + seed if first else 0.0, "state_steps": 21.0}
            row |= {"small": 0.005, "steps_small": until / 2 + seed if first else 0.0}
            rows.append({"suite": "swap", "condition": name, "seed": seed} | row)
    summary = pd.DataFrame(rows)
    summary.loc[(summary["condition"] == "random") & (summary["seed"] == 1), "steps_until"] = np.nan
    conditions = ("origin", "own", *costs)
    runs = [
        ("swap", name, seed, 200, 9.0, 2.0, "float32", "x", 800_000)
        for name in conditions
        for seed in range(1, seeds + 1)
    ]
    columns = [
        "suite",
        "condition",
        "seed",
        "steps",
        "seconds",
        "heldout_loss",
        "dtype",
        "corpus",
        "parameters",
    ]
    return {
        "swap_paths": pd.concat(parts, ignore_index=True),
        "swap_summary": summary,
        "runs": pd.DataFrame(runs, columns=columns),
    }


(FIGURE,) = swap.EXPERIMENT.figures


def some_conditions(tables: dict[str, pd.DataFrame], wanted: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    return {name: table[table["condition"].isin(wanted)] for name, table in tables.items()}


def test_the_figure_says_what_the_table_says(tmp_path: Path) -> None:
    """Its title is the findings of the page: what another seed's state costs, and whether more than the others do."""

    def title(**given: Any) -> str:
        return title_of(drawn_of(FIGURE, tmp_path, study(**given)))

    said = "Another seed's state, put into a trained model, raises the loss at once. "
    same = "Whether it costs more than a random state, or than none, is not clear."
    more = "Another seed's state costs more than a random one or none."
    assert title(random_cost=0.02, zero_cost=0.02) == said + more
    assert title() == said + same == title(random_cost=0.3)


@pytest.mark.parametrize("wanted", [("other", "random", "zero", "jitter"), ("other", "zero"), ("jitter",)])
def test_few_seeds_and_missing_conditions_draw(tmp_path: Path, wanted: tuple[str, ...]) -> None:
    tables = some_conditions(study(1), wanted)
    drawing = drawn_of(FIGURE, tmp_path, tables)
    assert title_of(drawing).startswith("Not settled: " if "other" in wanted else "Not measured: ")
    assert [text.get_text() for text in drawing.legends[0].get_texts()] == [
        swap.LOOKS[name].label for name in wanted
    ]
    if "jitter" not in wanted:
        tables["swap_summary"] = tables["swap_summary"].assign(floor=np.nan, steps_until=np.nan)
        drawn_of(FIGURE, tmp_path, tables)
    with pytest.raises(NothingToDraw):
        drawn_of(FIGURE, tmp_path, some_conditions(study(1), ("else",)))
    with pytest.raises(NothingToDraw):
        FIGURE.draw(Tables(tmp_path, "nowhere"), "")


BREAK, ENTANGLED, MORE = (
    "put into a trained model, raises",
    "The weights have come to count on their own state",
    "more than a random one or none",
)
LASTS, APART = (
    "the training loss is still higher",
    "further apart than a random one",
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {},
            {
                BREAK: "Clear",
                ENTANGLED: "Clear",
                MORE: "Not clear",
                LASTS: "Not clear",
            },
        ),
        ({"cost": 0.0}, {BREAK: "Not clear", ENTANGLED: "Not clear"}),
        ({"cost": -0.1}, {BREAK: "Not clear"}),
        ({"zero_cost": 0.0}, {BREAK: "Clear", ENTANGLED: "Not clear", MORE: "Not clear"}),
        ({"cost": 0.3}, {MORE: "Clear"}),
        ({"lasting": 0.05}, {LASTS: "Clear", APART: "Clear"}),
        ({"seeds": 2}, dict.fromkeys((BREAK, ENTANGLED, LASTS, APART), "Open")),
    ],
)
def test_verdicts_follow_the_tables(tmp_path: Path, given: dict[str, Any], expected: dict[str, str]) -> None:
    text = page_of(swap.EXPERIMENT, tmp_path, study(**given))
    assert {words: verdict(text, words) for words in expected} == expected


def test_numbers_and_published_words_stand_on_the_page(tmp_path: Path) -> None:
    tables = study()
    text = page_of(swap.EXPERIMENT, tmp_path, tables)
    assert_tables(text)
    assert "a different history, things break" in text
    lines = [line for line in text.splitlines() if line.startswith("| `random`: a random state")]
    assert (
        "| 24 (8 of 8) | 46 (7 of 8) | 21 (8 of 8) |" in lines[1]
    )  # 42, …, 48 and one never, which counts as longer than any: 45.5
    assert "Rounding floor: the same against 0.0060 nats" in text and "chance makes" not in text
    rounding = tables["swap_summary"].assign(floor=1.8e-7)
    assert "the same against 1.8e−07 nats" in page_of(
        swap.EXPERIMENT, tmp_path / "small", {**tables, "swap_summary": rounding}
    )
    mean = tables["swap_paths"].query("condition == 'other' and since == 5")["distance"].mean()
    head = "| distance of the states, own norms: steps since | 0 | 1 | 2 | 5 | 10 | 20 | 50 | 100 | 199 |"
    assert head in text and f"{mean:.4f}" in cells(text, "`other` | 1.")[4]


def test_most_seeds_never_come_back(tmp_path: Path) -> None:
    tables = study(3)
    tables["swap_summary"]["steps_until"] = np.nan
    text = page_of(swap.EXPERIMENT, tmp_path, tables)
    assert "never (0 of 3)" in text and "nan" not in text and "inf" not in text
    tables["swap_summary"]["floor"] = np.nan  # no jitter: not measured, which is not never
    text = page_of(swap.EXPERIMENT, tmp_path, tables)
    tables["swap_summary"]["small"] = np.nan
    text = page_of(swap.EXPERIMENT, tmp_path, tables)
    assert "never" not in text and "nan" not in text


@pytest.mark.parametrize("absent", [*study(1), "all"])
def test_partial_studies_have_pages(tmp_path: Path, absent: str) -> None:
    text = page_of(
        swap.EXPERIMENT, tmp_path, {n: table for n, table in study(1).items() if absent not in (n, "all")}
    )
    assert "nan" not in text and "inf" not in text
    assert {found.verdict for found in text.findings.values()} <= {"open", "not measured"}
    if absent == "all":
        assert text.count("The tables hold nothing for this yet.") == 3
    some = some_conditions(study(1), ("other",))
    assert "nan" not in page_of(swap.EXPERIMENT, tmp_path / "some", some)
