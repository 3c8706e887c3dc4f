"""The page on reports of the state, from made-up tables whose right answers are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.probes.self_report import REGIMES
from experiments import self_report as experiment
from experiments.self_report_figure import ASKED
from tests.made_runs import assert_tables, cells, context, drawn_of, made_run, page_of, title_of, verdict

NAMES = ("calm", *REGIMES)
GROUPS = ("taught", "taught", "form", "taught", "unseen", "taught")
PLACE: dict[str, Any] = {"suite": "self_report", "condition": "subject", "run_step": 2000}


def made(seeds: int = 8, **given: float) -> dict[str, pd.DataFrame]:
    """Tables of a study in which a taught model names its own states, by the trained question alone, from the question's token."""
    value = {
        "own": 4.0,
        "random": 0.2,
        "form": -1.0,
        "unseen": -1.0,
        "untaught": 0.1,
        "letter": 0.9,
        "line": 1.4,
        "false": 0.2,
    } | given
    value = {"followed": 0.7, "question": 4.0, "features": 5.0, "untrained": 5.0, "shuffled": 0.1} | value
    reports: list[dict[str, Any]] = []
    answers, readings, behaviour, places, dictionaries, features = ([] for _ in range(6))
    for seed in range(1, seeds + 1):
        noise = 0.01 * seed
        for lesson in experiment.LESSONS:
            level = {"taught": value["own"], "fixed": value["features"]}.get(lesson, value.get(lesson, 0.0))
            for regime, group in zip(NAMES, GROUPS, strict=True):
                for kind in ("own", "foreign", "random", "fresh", "equal", "other"):
                    for strength in (0.0, 1.0, 2.0):
                        index = level if kind in ("own", "fresh", "equal") else value["random"]
                        index = (
                            value[group]
                            if lesson == "taught" and kind == "own" and group != "taught"
                            else index
                        )
                        index = (index + noise * (1 if kind == "own" else 2)) * (strength > 0)
                        row = {
                            "index": index,
                            "delta": index,
                            "cue": 0.0,
                            "same": 0.0,
                            "matched": index,
                            "right": 0.8,
                            "false": value["false"] + noise / 10,
                            "entropy": -0.1,
                        }
                        if strength or kind == "own":
                            reports.append(
                                {
                                    "seed": seed,
                                    "lesson": lesson,
                                    "kind": kind,
                                    "regime": regime,
                                    "group": group,
                                    "strength": strength,
                                    **row,
                                }
                            )
                for asked in ("state", "direct"):
                    for kind in ("mean", "fresh"):
                        answers += [
                            {
                                "seed": seed,
                                "lesson": lesson,
                                "asked": asked,
                                "set": kind,
                                "regime": regime,
                                "group": group,
                                "said": said,
                                "share": 0.75 if said == regime else 0.05,
                            }
                            for said in NAMES
                        ]
            for reading in experiment.READINGS:
                told = value["line"] if reading == "linear" else value["letter"] + noise
                readings.append(
                    {
                        "seed": seed,
                        "lesson": lesson,
                        "reading": reading,
                        "accuracy": 0.6,
                        "bits": told,
                        "taught_accuracy": 0.7,
                    }
                )
        for asked in ASKED:
            for place in ("text", "options", "question", "all"):
                shift = value["question"] if place in ("question", "all") else 0.1
                places += [
                    {
                        "seed": seed,
                        "lesson": "taught",
                        "asked": asked,
                        "regime": regime,
                        "group": group,
                        "place": place,
                        "shift": shift + noise,
                    }
                    for regime, group in zip(NAMES, GROUPS, strict=True)
                ]
            if asked != "state":
                for strength in (1.0, 3.0):
                    behaviour.append(
                        {
                            "seed": seed,
                            "lesson": "taught",
                            "asked": asked,
                            "regime": "calm",
                            "group": "taught",
                            "strength": strength,
                            "right": 0.8,
                            "floor": 0.6,
                            "stale": 0.7,
                            "changed": 0.2,
                            "followed": value["followed"] + noise / 10,
                            "stayed": 0.4,
                            "shift": 0.5,
                        }
                    )
        for lesson in ("features", "fixed", "untrained"):
            dictionaries.append(
                {
                    "seed": seed,
                    "dictionary": lesson,
                    "unexplained": 0.2,
                    "recovered": 0.9,
                    "alive": 0.8,
                    "active": 8.0,
                }
            )
            features += [
                {
                    "seed": seed,
                    "dictionary": lesson,
                    "name": f"feature {at + 1}",
                    "feature": at,
                    "density": 0.05,
                    "level": 2.0,
                    "share_of_norm": 0.3,
                    "sign": "|",
                    "share": 1.0,
                    "contexts": "a`b|c␣d  the⏎",
                }
                for at in range(6)
            ]
    tables = {
        "self_reports": pd.DataFrame(reports), "self_report_answers": pd.DataFrame(answers), "self_report_readings": pd.DataFrame(readings),
        "self_report_behaviour": pd.DataFrame(behaviour), "self_report_places": pd.DataFrame(places),
        "self_report_dictionaries": pd.DataFrame(dictionaries), "self_report_features": pd.DataFrame(features),
    }  # fmt: skip
    tables = {name: table.assign(**PLACE) for name, table in tables.items()}
    some = context([made_run("subject", 1, pd.DataFrame(), None)])
    return tables | {"self_report_course": experiment.self_report_course(some, tables["self_reports"])}


OWN, LINE, FORM, UNSEEN, NOTHING = (
    "can say which regime's mean",
    "A line through",
    "by name alone is picked",
    "no lesson set is picked",
    "Without lessons",
)
FALSE, BEHAVIOUR, QUESTION, FEATURES, NEVER = "named more often when", "next prediction is doubtful", "question's own token", "names features of its own", "never trained"  # fmt: skip


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {OWN: "Clear", LINE: "Clear", FORM: "Not clear", UNSEEN: "Not clear", NOTHING: "Clear", FALSE: "Clear", BEHAVIOUR: "Clear", QUESTION: "Clear", FEATURES: "Not clear", NEVER: "Not clear"}),
        ({"own": 0.1}, {OWN: "Not clear"}),
        ({"form": 3.0}, {FORM: "Clear", UNSEEN: "Not clear"}),
        ({"unseen": 3.0}, {UNSEEN: "Clear"}),
        ({"untaught": 2.0}, {NOTHING: "Not clear"}),
        ({"letter": 1.6}, {LINE: "Not clear"}),
        ({"false": 0.9}, {FALSE: "Not clear"}),
        ({"followed": 0.3}, {BEHAVIOUR: "Not clear"}),
        ({"question": 0.1}, {QUESTION: "Not clear"}),
        ({"untrained": 1.0}, {FEATURES: "Not clear", NEVER: "Clear"}),
        ({"seeds": 2}, {OWN: "Open", FORM: "Open"}),
    ],
)  # fmt: skip
def test_verdicts_follow_the_tables(tmp_path: Path, given: dict[str, Any], expected: dict[str, str]) -> None:
    text = page_of(experiment.EXPERIMENT, tmp_path, made(**given))
    assert {words: verdict(text, words) for words in expected} == expected
    assert_tables(text)
    assert "nan" not in text and "inf" not in text and "Not clear:" not in text


def test_five_sentences_open_the_page_and_every_row_of_the_document_has_its_line(tmp_path: Path) -> None:
    text = page_of(experiment.EXPERIMENT, tmp_path, made())
    assert text.split("## What becomes")[0].count("\n- **") == 5
    said = {
        "Steered by a feature": "survives its control", "The same of features": "does not survive it", "The gain is no change": "survives its control",
        "It tells more than a habit": "survives its control", "It is knowledge": "does not work", "It is more than a readout": "does not work",
        "Of one's behaviour": "works",
    }  # fmt: skip
    assert {start: cells(text, start)[3] for start in said} == said


def test_the_course_begins_at_the_sham() -> None:
    rows = made(2)["self_report_course"]
    assert set(rows["shown"]) == {"own", "foreign", "random", "cue"} and set(rows["lesson"]) == {
        "taught",
        "features",
    }
    assert (rows.loc[rows["strength"] == 0, "value"] == 0).all()
    own = rows[(rows["shown"] == "own") & (rows["lesson"] == "taught") & (rows["strength"] == 1)]
    assert np.allclose(own.groupby("seed")["value"].mean(), [4.01, 4.02])


@pytest.mark.parametrize("seeds", [1, 8])
@pytest.mark.parametrize("figure", experiment.EXPERIMENT.figures, ids=lambda one: one.name)
def test_figures_are_clean(tmp_path: Path, figure: Any, seeds: int) -> None:
    drawing = drawn_of(figure, tmp_path, made(seeds), "self_report")
    assert title_of(drawing) and drawing.texts[0].get_text().count("\n") <= 1


@pytest.mark.parametrize("absent", [*made(1), "all"])
def test_partial_studies_have_pages(tmp_path: Path, absent: str) -> None:
    some = {name: table for name, table in made(1).items() if absent not in (name, "all")}
    text = page_of(experiment.EXPERIMENT, tmp_path, some)
    assert "nan" not in text and "inf" not in text
