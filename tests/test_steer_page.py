"""The page to steer by hand: what is in it, what stands beside it, where it is refused, when it is made again."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from base import ROOT
from base.storage import UserError
from configs.probes.frozen import FrozenTest
from configs.suite import load_suite
from experiments.kit.tables import Tables
from frozen_test import make_trial, published_batches
from model import GPT
from probes import steering
from probes.instrument import Instrument, batches
from runs.state import models_arrays
from scripts import steer
from study import book, publish
from study.plan import Study
from study.steer_page import choice, make
from study.steer_page.beside import beside
from tests import made_page
from tests.hostile import assert_refused, ends
from tests.known_gpt import finished
from tests.made_page import Page
from tests.made_runs import read_from


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return made_page.made(tmp_path_factory.mktemp("page"))


def test_the_weights_come_back_from_the_page(page: Page) -> None:
    arrays = page.arrays()
    weights = models_arrays({"gpt": page.subject.gpt})
    for name, array in weights.items():
        assert np.array_equal(arrays[name.removeprefix("gpt.")], array.astype(np.float16).ravel())
    np.testing.assert_allclose(arrays["reader.0"], page.subject.reader.ravel(), rtol=1e-3, atol=1e-6)
    kinds = [reader["kind"] for reader in page.facts["readers"]]
    assert kinds == ["learned", *["rotated"] * make.DRAWS, *["untrained"] * make.DRAWS]
    norms = [np.linalg.norm(arrays[reader["name"]]) for reader in page.facts["readers"]]
    np.testing.assert_allclose(
        norms, norms[0], rtol=1e-3
    )  # equally large, so that a dial tells nothing by that


def test_dials_are_found_as_the_held_out_test_finds_them(page: Page) -> None:
    subject, dim = page.subject, page.subject.run.self_state.dim
    settings = FrozenTest(top=dim // 2, doses=1, finder_batches=1)
    drawn = {split: batches(subject, page.corpus, split, 1) for split in ("train", "dev", "heldout")}
    drawn["replication"] = published_batches(subject, page.corpus, settings)
    instrument = Instrument(subject.gpt)
    trial = make_trial(subject, instrument, drawn, settings)
    arrays = page.arrays()
    for reader in page.facts["readers"]:
        matrix = arrays[reader["name"]].reshape(-1, dim).astype(float)
        found = steering.effects(instrument, matrix, trial, ("dimension",))[-1]
        np.testing.assert_allclose(
            [reader["surer"], reader["unsure"]], steering.unit(found.states), atol=1e-4
        )


def test_states_to_put_in_are_the_runs_own(page: Page) -> None:
    facts, states = page.facts, page.subject.states
    expected = {
        "zero": np.zeros(6),
        "own": states[-1],
        "calm": np.delete(states, slice(20, 30), 0).mean(0),
        "corrupted": states[20:30].mean(0),
    }
    assert list(facts["presets"]) == list(expected)
    for name, state in expected.items():
        np.testing.assert_allclose(facts["presets"][name], state, rtol=1e-3, atol=1e-6)
    other = make.load_subject(page.other, 60).states[-1]
    assert list(facts["others"]) == ["6"]
    np.testing.assert_allclose(facts["others"]["6"], other, rtol=1e-3)
    course = facts["timeline"]
    assert course["windows"] == [{"label": "targets corrupted", "start": 20, "end": 30}]
    assert (course["steps"], course["first"], course["last"]) == (list(range(60)), 0, 60)
    np.testing.assert_allclose(course["states"], states, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(course["norm"], np.linalg.norm(states, axis=1), rtol=1e-3)


def test_a_long_run_is_shown_at_so_many_points(page: Page) -> None:
    log = pd.DataFrame({"step": range(2000), "regime": "calm", "loss": np.arange(2000) % 5})
    long = make.Subject(**{**vars(page.subject), "states": np.ones((2000, 2), np.float32)})
    course = make.timeline(long, log)
    assert course["steps"][:3] == [0, 5, 10] and len(course["steps"]) == make.POINTS
    assert set(course["loss"]) == {2.0} and course["windows"] == []


def test_a_prompt_begins_a_line(page: Page) -> None:
    facts = page.facts
    assert len(facts["prompts"]) == make.PROMPTS and {len(prompt) for prompt in facts["prompts"]} == {6}
    text = page.corpus.decode(page.corpus.heldout)
    for prompt in facts["prompts"]:
        assert "".join(facts["signs"][token] for token in prompt) in text
    for tokens, targets in facts["texts"]:
        assert tokens[1:] == targets[:-1] and len(tokens) == 12


def test_where_a_dial_levels_off() -> None:
    doses = np.arange(6.0)
    assert make.levels_off(doses, np.array([0, 2, 4, 6, 6.9, 7])) == 3
    assert make.levels_off(doses, np.array([0, 2, 4, 5.5, 7, 8.5])) is None
    assert make.levels_off(doses, np.array([0, 2, 4, 3, 5, 7])) == 2  # also where it turns


def test_the_dial_knows_the_runs_norms(page: Page) -> None:
    norms, dial = np.linalg.norm(page.subject.states, axis=1), page.facts["dial"]
    assert dial["usual"] == pytest.approx(norms[30:].mean(), rel=1e-5)
    assert dial["largest"] == pytest.approx(norms.max(), rel=1e-5)
    assert dial["end"] >= dial["largest"]


OUTWARD = r"https?://|\bsrc\s*=|@import|url\(|fetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon|importScripts|import\("


def test_the_page_asks_nothing_of_any_network(page: Page) -> None:
    namespace = page.html.replace('"http://www.w3.org/2000/svg"', "")  # a name, of no place
    assert re.findall(OUTWARD, namespace) == []
    assert re.findall(r'href="([^"]*)"', page.html) == ["data:,"]
    assert "default-src 'none'" in page.html and "connect-src" not in page.html


def test_a_page_of_the_published_size_is_small() -> None:
    suite = load_suite(ROOT / "configs" / "shakespeare.toml")
    model = suite.conditions[choice.CONDITION].model
    gpt = sum(parameter.numel() for parameter in GPT(model, 65).parameters())
    readers = (1 + 2 * make.DRAWS) * model.n_embd * suite.conditions[choice.CONDITION].self_state.dim
    assert (gpt + readers) * 2 * 4 / 3 < 3e6  # and states, words and scripts come to 0.2 MB


def study_of(seeds: int) -> dict[str, pd.DataFrame]:
    """Tables of a study: learned dials of 0.30 and 0.32, scrambled ones 0.1 below, at the usual norm a tenth."""
    size = {seed: 0.3 + 0.02 * (seed % 2) for seed in range(1, seeds + 1)}

    def rows(name: str, **cells: object) -> list[dict[str, object]]:
        place = {"suite": "tiny", "condition": "analysis", "run_step": 60, "finder": "dimension", **cells}
        return [{**place, "seed": seed, name: effect} for seed, effect in size.items()]

    summary = [
        {**row, "placebo_mean": effect - 0.1}
        for row, effect in zip(
            rows("effect", protocol="heldout", placebo="rotated"), size.values(), strict=True
        )
    ]
    usual = pd.DataFrame([*rows("effect", reader="learned"), *rows("effect", reader="rotated")])
    own = rows("size", protocol="heldout", state="own", delta_entropy=-0.05, delta_nll=-0.2)
    return {
        "frozen_effects_summary": pd.DataFrame(summary),
        "usual_norm": usual.assign(effect=usual["effect"] / 10),
        "frozen_conditions": pd.DataFrame(own),
    }


def test_what_stands_beside_comes_from_the_tables(page: Page, tmp_path: Path) -> None:
    tables = read_from(tmp_path, "tiny", study_of(4))
    found = beside(tables)
    assert found is not None and (found["step"], found["seeds"]) == (60, 4)
    learned, scrambled = found["lines"]["learned"], found["lines"]["rotated"]
    assert [each.split(" ")[0] for each in learned + scrambled] == ["0.031", "0.310", "0.031", "0.210"]
    assert found["beyond"] == {"rotated": "+0.100 [+0.100, +0.100]"} and "untrained" not in found["lines"]
    assert found["own"] == {"entropy": "−0.050 [−0.050, −0.050]", "loss": "−0.200 [−0.200, −0.200]"}
    html = make.page(page.folder, 60, page.corpus, [], tables, "A quick study.")
    assert "No study here yet" not in html and html.count("One model, an illustration") == 2
    assert "+0.100 [+0.100, +0.100] nats" in html and "0.310\u00a0[" not in html and "A quick study." in html
    assert "another run" not in html.partition("<template")[0]  # there is none to put in
    assert {name for _, name in tables.reads} == set(study_of(1))


def test_without_tables_the_page_says_so(page: Page) -> None:
    assert beside(Tables(page.folder / "none", "tiny")) is None
    assert page.html.count("No study here yet") == 2 and page.html.count("One model, an illustration") == 2


def test_the_same_run_gives_the_same_bytes(page: Page, tmp_path: Path) -> None:
    assert make.page(page.folder, 60, page.corpus, [page.other], Tables(tmp_path, "tiny")) == page.html


def test_other_runs_are_refused(page: Page, tmp_path: Path) -> None:
    tables = Tables(tmp_path / "tables", "tiny")
    vanilla = finished(tmp_path / "vanilla", page.corpus, enabled=False)
    with pytest.raises(UserError, match="without self-state"):
        make.page(vanilla, 6, page.corpus, [], tables)
    with pytest.raises(UserError, match="no state of 6 dimensions to put in"):
        make.page(page.folder, 60, page.corpus, [vanilla], tables)
    one = finished(tmp_path / "one", page.corpus, dim=1)
    with pytest.raises(UserError, match="nothing to scramble; take another"):
        make.page(one, 6, page.corpus, [], tables)
    with pytest.raises(UserError, match="too large for float16"):
        make.packed({"a": np.array([70_000.0])})
    assert_refused(
        ends(steer.main, str(page.folder), "page", "none", "--out", str(page.folder.parent.parent)), "none"
    )


def test_the_command_writes_a_page(page: Page, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "steer.html"
    out = str(page.folder.parent.parent)
    steer.main([str(page.folder), "page", str(page.other), "--to", str(place), "--out", out])
    assert place.read_text(encoding="utf-8") == page.html
    assert str(place) in capsys.readouterr().out


def test_a_published_study_has_its_page(tmp_path: Path) -> None:
    (tmp_path / "out" / "report").mkdir(parents=True)
    (tmp_path / "out" / "report" / choice.FILE).write_text("a page")
    assert publish.publish(tmp_path / "out", tmp_path / "root") == [tmp_path / "root" / "docs" / choice.FILE]
    assert publish.publish(tmp_path / "out", tmp_path / "root") == []


def test_a_suite_without_such_a_run_has_no_page(tmp_path: Path) -> None:
    suite = load_suite(ROOT / "configs" / "shakespeare.toml")
    pair = (suite.conditions["self"].corpus, "char")
    study = Study(tmp_path, (suite,), {pair: (pair[0], "0" * 64)})

    def steps(condition: str, seeds: int) -> list[str]:
        runs = [
            book.Finished(suite.name, condition, seed, "0" * 64, tmp_path) for seed in range(1, seeds + 1)
        ]
        return [step.name for step in book._demo(study, suite, runs, "", "", (), {})]

    assert steps("self", 2) == ["demo steer.html"] and steps("self_calm", 2) == steps("self", 0) == []
