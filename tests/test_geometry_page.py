"""The page on beliefs in residual streams: its verdicts follow the tables, and it and its figures stand on partial studies."""

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from base import storage
from experiments import geometry as experiment
from experiments.geometry_tables import KEPT, MOVES, PROCESSES, SOURCES
from study import making
from tests.made_runs import assert_tables, drawn_of, page_of, title_of, verdict
from tests.made_runs import cells as cells_of


def made(seeds: int = 8, **given: float) -> dict[str, pd.DataFrame]:
    """Tables of a study in which the stream holds the belief and uses it, unless it is told otherwise."""
    value = {
        "joined": 0.95,
        "untrained": 0.1,
        "5-gram": 0.7,
        "far": 0.9,
        "moved": 0.6,
        "foreign": 0.2,
        "left": 0.05,
    } | given
    random = np.random.default_rng(0)
    tables: dict[str, list[dict[str, Any]]] = {
        name: [] for one in experiment.EXPERIMENT.of("geometry") for name in one.names
    }
    for name, seed in itertools.product(PROCESSES, range(1, seeds + 1)):
        place = {"suite": "geometry", "condition": name, "seed": seed, "run_step": 1500, "process": name}

        def add(table: str, _place: dict[str, Any] = place, **row: Any) -> None:
            tables[f"geometry_{table}"].append({**_place, **row})

        noise = 0.002 * random.normal()
        r2 = {
            "joined": value["joined"],
            "untrained joined": value["untrained"],
            "5-gram": value["5-gram"],
            "shuffled": 0.0,
        }
        for length in (1, 2):
            add(
                "theory",
                length=length,
                histories=2**length,
                beliefs=3,
                optimal=0.5,
                blind=0.7,
                state_known=0.4,
            )
        for at, source in itertools.product(("all", "last"), SOURCES):
            layer = int(source[-1]) if source.startswith("layer") else -1
            add(
                "maps",
                at=at,
                source=source,
                kind="layer" if layer >= 0 else source,
                layer=layer,
                r2=r2.get(source, 0.3) + noise,
                mse=0.1 * (1 - r2.get(source, 0.3)),
            )
        for layer in range(5):
            add(
                "maps",
                at="all",
                source=f"untrained layer {layer}",
                kind="untrained layer",
                layer=layer,
                r2=value["untrained"],
                mse=0.3,
            )
        for source in ("joined", "untrained joined", "5-gram", "next-token", "true"):
            add("distances", source=source, belief=value["far"] + noise, next_token=0.3)
        for source in ("joined", "middle", "untrained joined", "5-gram", "token"):
            add(
                "apart",
                source=source,
                auc=(0.95 if source == "joined" else 0.7) + noise,
                pairs=100,
                differ=0.6,
            )
        for step, layer in itertools.product((0, 100, 1500), range(6)):
            source = "joined" if layer == 5 else f"layer {layer}"
            add(
                "course",
                step=step,
                layer=layer,
                source=source,
                r2=0.1 + step / 2000 + noise,
                loss=0.6,
                optimal=0.5,
                excess=0.2 / (1 + step),
            )
        share = {"belief": value["moved"], "random": 0.1, "foreign": value["foreign"], "stream": 0.8}
        for layer, pairs, reach, move, dose in itertools.product(
            (2, 4), ("equal", "any"), ("one", "past"), MOVES, (0.0, 0.5, 1.0)
        ):
            way = dose * share[move] + noise * dose
            kl: dict[str, Any] = {
                f"kl_{belief}{ahead}": 0.5 * (1 - way) for belief in ("target", "source") for ahead in (1, 2)
            }
            add(
                "moves",
                layer=layer,
                pairs=pairs,
                reach=reach,
                move=move,
                dose=dose,
                count=30,
                **kl,
                moved1=way,
                moved2=way,
                place={2: "middle", 4: "last"}[layer],
            )
        for layer, kept in itertools.product((2, 4), KEPT):
            over = {"all": 0.01, "belief": value["left"], "random": 0.15}.get(kept, 0.2) + noise
            add(
                "kept",
                layer=layer,
                kept=kept,
                loss=0.5 + over,
                optimal=0.5,
                excess=over,
                place={2: "middle", 4: "last"}[layer],
            )
        if seed == 1:
            states = 5 if name == "rrxor" else 3
            for step, _ in itertools.product((0, 100, 1500), range(30)):
                true = random.dirichlet(np.ones(states))
                point = {
                    f"{kind}{state}": true[state] + (kind == "found") * 0.01
                    for kind in ("true", "found")
                    for state in range(states)
                }
                add("points", step=step, weight=float(random.random()), **point)
    return {name: pd.DataFrame(rows) for name, rows in tables.items()}


CLAIMS = {
    "held": "more of the belief than the untrained", "beyond": "the last five tokens do", "distances": "distances between found beliefs",
    "used": "a move to another belief", "enough": "keeping only the belief",
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, dict.fromkeys(CLAIMS, "Clear")),
        ({"untrained": 0.95}, {"held": "Not clear", "beyond": "Clear"}),
        ({"5-gram": 0.96}, {"beyond": "Not clear", "held": "Clear"}),
        ({"far": 0.2}, {"distances": "Not clear"}),
        ({"foreign": 0.7}, {"used": "Not clear"}),
        ({"left": 0.3}, {"enough": "Not clear"}),
        ({"seeds": 2}, dict.fromkeys(CLAIMS, "Open")),
    ],
)
def test_verdicts_follow_the_tables(tmp_path: Path, given: dict[str, Any], expected: dict[str, str]) -> None:
    text = page_of(experiment.EXPERIMENT, tmp_path, made(**given))
    assert {name: verdict(text, CLAIMS[name]) for name in expected} == expected
    assert_tables(text)
    assert "nan" not in text and "inf" not in text


def test_five_sentences_open_the_page_and_every_row_of_the_document_has_its_line(tmp_path: Path) -> None:
    text = page_of(experiment.EXPERIMENT, tmp_path, made())
    assert text.count("\n- **") == 5
    rows = {
        start: re.findall(r"\*\*(.*?)\*\*", cells_of(text, start)[2])
        for start in (
            "The residual stream holds", "In mess3 it is a fractal", "It is more than", "Distances", "The image forms", "Asked: how many layers",
            "Asked: how is the map", "Asked: does it tell", "Asked: is it used", "The same at the last", "The same in mess3",
        )
    }  # fmt: skip
    assert all(set(said) == {"yes"} for said in rows.values()) and len(rows["The residual stream holds"]) == 4
    assert {cells_of(text, start)[3] for start in rows} == {"survives its control"}
    five = page_of(experiment.EXPERIMENT, tmp_path / "five", made(8, **{"5-gram": 0.99}))
    said = re.findall(r"\*\*(.*?)\*\*", cells_of(five, "The residual stream holds")[2])
    assert said == ["yes", "yes", "no", "yes"]  # as much as the last five tokens tell
    assert cells_of(five, "The residual stream holds")[3] == "in part"


@pytest.mark.parametrize(
    ("cell", "verdict"),
    [
        ("a **yes**; b **yes**", "survives its control"),
        ("a **no**", "does not survive it"),
        ("a **no**; b **yes**; c **open**", "in part"),
        ("a **no**; b **open**", "open"),
        ("nothing", "open"),
    ],
)
def test_a_row_survives_where_each_of_its_controls_says_so(cell: str, verdict: str) -> None:
    assert experiment.judged(lambda: cell) == f"{cell} | {verdict}"


def beliefs_elsewhere() -> dict[str, pd.DataFrame]:
    """What the main study has of self-states."""
    place = {"suite": "recurring", "condition": "calibrated_recurring"}
    example = pd.DataFrame(
        {
            "seed": 1,
            "step": range(50),
            "regime": "calm",
            "posterior": np.linspace(0, 1, 50),
            "decoded": np.linspace(0.1, 0.8, 50),
            "averages": 0.5,
        }
    )
    rows = [
        {
            "seed": seed,
            "source": source,
            "target": "posterior",
            "regime": "bewilderment",
            "r2": 0.5 + 0.01 * seed,
            "auc": 0.8,
            "steps": 100,
        }
        for seed in range(1, 5)
        for source in ("state", "statistics")
    ]
    return {"belief_example": example.assign(**place), "beliefs": pd.DataFrame(rows).assign(**place)}


@pytest.mark.parametrize("seeds", [1, 8])
@pytest.mark.parametrize("figure", experiment.EXPERIMENT.figures, ids=lambda one: one.name)
def test_figures_are_clean(tmp_path: Path, figure: Any, seeds: int) -> None:
    for name, table in beliefs_elsewhere().items():
        storage.write_text(tmp_path / "recurring" / f"{name}.csv", table.to_csv(index=False))
    assert title_of(drawn_of(figure, tmp_path, made(seeds), "geometry"))


def test_the_note_below_a_figure_is_of_the_suite_that_it_shows(tmp_path: Path) -> None:
    for name, tables in (("geometry", made(1)), ("recurring", beliefs_elsewhere())):
        for table, rows in tables.items():
            storage.write_text(tmp_path / "tables" / name / f"{table}.csv", rows.to_csv(index=False))
        storage.write_text(tmp_path / "tables" / name / "note.txt", f"Of {name}.")
    with pytest.MonkeyPatch.context() as patch:
        notes: dict[str, str] = {}
        patch.setattr(making, "draw", lambda figure, tables, note, folder: notes.update({figure.name: note}))
        making.made_again(tmp_path / "tables", tmp_path, "geometry", None, figures=True, pages=False)
    assert notes.pop("geometry/self-state.png") == "Of recurring." and set(notes.values()) == {"Of geometry."}


def test_the_page_shows_what_self_states_hold(tmp_path: Path) -> None:
    alone = page_of(experiment.EXPERIMENT, tmp_path, made(2))
    for name, table in beliefs_elsewhere().items():
        storage.write_text(tmp_path / "recurring" / f"{name}.csv", table.to_csv(index=False))
    joined = page_of(experiment.EXPERIMENT, tmp_path, made(2))
    assert (
        "self-state.png" in joined and "self-state.png" not in alone and "| recurring: the state |" in joined
    )


@pytest.mark.parametrize("absent", [*made(1), "all"])
def test_partial_studies_have_pages(tmp_path: Path, absent: str) -> None:
    some = {name: table for name, table in made(1).items() if absent not in (name, "all")}
    text = page_of(experiment.EXPERIMENT, tmp_path, some)
    assert "nan" not in text and "inf" not in text and "- **Clear" not in text
