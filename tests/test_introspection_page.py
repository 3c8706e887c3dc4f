"""The page and the figures on reports of a neuron, from tables whose numbers are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments import introspection as experiment
from experiments.introspection_figure import LOOKS, SHORT
from experiments.kit.stats import estimate
from experiments.kit.words import below, near
from tests.made_runs import (
    assert_tables,
    cells,
    drawn_of,
    page_of,
    title_of,
    verdict,
)


def made(seeds: int = 8, **given: float) -> dict[str, pd.DataFrame]:
    """Tables of a study in which a report follows the text, unless it was taught otherwise."""
    value = {
        "own": 0.97,
        "outsider": 0.96,
        "natural": 0.03,
        "changed": 0.8,
        "foreign": 0.2,
        "constant": 0.05,
        "language": 1.0,
        "random": 0.4,
    } | given
    rows, random = [], np.random.default_rng(0)
    for seed in range(1, seeds + 1):
        for neuron, (block, rank) in enumerate(((1, 0), (1, 40), (2, 0), (2, 40))):
            for lesson in LOOKS:
                noise = 0.002 * random.normal()
                changed, moves = lesson.endswith("_changed"), lesson.startswith("all")
                mse = (
                    value["random"]
                    if lesson.startswith("random")
                    else 0.2
                    if lesson.startswith("frozen")
                    else 0.03
                )
                row = {
                    "mse": mse + abs(noise), "bias2": 0.001, "variance": mse + abs(noise) - 0.001, "r": 0.98, "lm_loss": 2.0, "lm_rise": 0.1,
                    "r2": value["outsider" if lesson == "outsider" else "own"] + noise, "blind_r2": 0.95,
                    "sd": value["constant"] if moves else value["language"], "slope_in": 0.05, "follows_in": 0.0 if lesson == "outsider" else 0.3, "overlap": 0.2, "slope_foreign": value["foreign"], "slope_random": 0.1,
                    "slope": 0.0 if lesson == "outsider" else value["changed" if changed else "natural"] + noise,
                }  # fmt: skip
                if lesson == "language":
                    row = {
                        name: number for name, number in row.items() if name in ("sd", "lm_loss", "lm_rise")
                    }
                if moves:
                    row |= {"r2": np.nan, "blind_r2": np.nan}
                rows.append({"seed": seed, "block": block, "kind": "neuron", "unit": neuron, "rank": rank, "neuron": f"block {block}, rank {rank}", "lesson": lesson, **row})  # fmt: skip
    place: dict[str, Any] = {"suite": "introspection", "condition": "subject", "run_step": 2000}
    reports = pd.DataFrame(rows).assign(**place, bias_share=lambda of: of["bias2"] / of["mse"])
    each = range(1, seeds + 1)
    tables = {
        "neuron_reports": reports,
        "neuron_floors": pd.DataFrame([{"seed": seed, "source": source, "r2": 0.8} for seed in each for source in experiment.SOURCES]),
        "neuron_course": pd.DataFrame([{"seed": seed, "lesson": lesson, "step": step, "sd": 1 / (1 + step)} for seed in each for lesson in ("all", "all_changed", "all_language", "all_language_changed", "language") for step in (5, 15)]),
        "neuron_points": pd.DataFrame([{"seed": seed, "lesson": lesson, "moved": moved, "activation": 1.0 * seed, "report": 0.5 * seed} for seed in each for lesson in SHORT for moved in (0, 1)]),
        "neuron_several": pd.DataFrame([{"seed": seed, "count": count, "r2": 0.5, "slope": 1 / count + 0.01 * seed, "slope_other": np.nan if count == 1 else 0.05, "lm_rise": 0.1} for seed in each for count in (1, 2, 8)]),
        "neuron_twins": pd.DataFrame([{"seed": seed, "lesson": lesson, "reader": one, "of": other, "whose": "own" if one == other else "other", "r2": 0.6 + 0.001 * seed, "alike": 1.0 if one == other else 0.9, "slope": 0.8} for seed in each for lesson in ("above", "above_changed") for one in (1, 2) for other in (1, 2)]),
        "neuron_words": pd.DataFrame([{"seed": seed, "lesson": lesson, "on_off": 0.8, "on_off_floor": 0.6, "exact": 0.4, "exact_floor": 0.3, "slope": 0.5 + 0.01 * seed, "slope_foreign": 0.02, "slope_random": 0.03} for seed in each for lesson in ("above_changed", "above", "outsider")]),
    }  # fmt: skip
    return {name: table.assign(**place) for name, table in tables.items()}


ACCURATE, BLIND, READER, CONSTANT, STRUGGLE = (
    "as well as the model itself", "does not follow the neuron", "the report follows it", "comes to vary less", "fixed at random",
)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, dict.fromkeys((ACCURATE, BLIND, READER, CONSTANT, STRUGGLE), "Clear")),
        ({"outsider": 0.8}, {ACCURATE: "Not clear", BLIND: "Clear"}),
        ({"natural": 0.5}, {BLIND: "Not clear"}),
        ({"changed": 0.15}, {READER: "Not clear"}),
        ({"constant": 1.0}, {CONSTANT: "Not clear"}),
        ({"random": 0.01}, {STRUGGLE: "Not clear"}),
        ({"seeds": 2}, dict.fromkeys((ACCURATE, BLIND, READER, CONSTANT, STRUGGLE), "Open")),
    ],
)
def test_verdicts_follow_the_tables(tmp_path: Path, given: dict[str, Any], expected: dict[str, str]) -> None:
    text = page_of(experiment.EXPERIMENT, tmp_path, made(**given))
    assert {words: verdict(text, words) for words in expected} == expected
    assert_tables(text)
    assert "nan" not in text and "inf" not in text


def test_five_sentences_open_the_page_and_every_row_of_the_document_has_its_line(tmp_path: Path) -> None:
    text = page_of(experiment.EXPERIMENT, tmp_path, made())
    assert text.count("\n- **") == 5
    said = {
        "A frozen model": "comes back", "Unfrozen above": "does not come back", "Fully unfrozen": "comes back", "Neither seems": "comes back",
        "First hypothesis": "comes back", "Second hypothesis": "does not come back", "The same of the direction": "does not come back", "Third hypothesis": "comes back", "In its public figures": "does not come back",
        "Next, it says: reports": "works", "Next: several": "works", "Next: twins": "own not clearly better",
    }  # fmt: skip
    assert {start: cells(text, start)[3] for start in said} == said


def test_verdicts_on_bounds() -> None:
    few = estimate(pd.Series([0.01, 0.02, 0.03]))
    assert (below(few, 0.5), below(few, 0.02), below(few, -1.0)) == ("clear", "open", "not clear")
    assert (near(few, 0.5), near(few, 0.02), near(few, 0.001)) == ("clear", "open", "open")
    assert (
        near(estimate(pd.Series([0.5, 0.51, 0.52])), 0.1)
        == "not clear"
        == near(estimate(pd.Series([-0.5, -0.51, -0.52])), 0.1)
    )


@pytest.mark.parametrize("seeds", [1, 8])
@pytest.mark.parametrize("figure", experiment.EXPERIMENT.figures, ids=lambda one: one.name)
def test_figures_are_clean(tmp_path: Path, figure: Any, seeds: int) -> None:
    drawing = drawn_of(figure, tmp_path, made(seeds), "introspection")
    assert title_of(drawing)


@pytest.mark.parametrize("absent", [*made(1), "all"])
def test_partial_studies_have_pages(tmp_path: Path, absent: str) -> None:
    some = {name: table for name, table in made(1).items() if absent not in (name, "all")}
    text = page_of(experiment.EXPERIMENT, tmp_path, some)
    assert "nan" not in text and "inf" not in text
    assert {found.verdict for found in text.findings.values()} <= {"open", "not measured"}
