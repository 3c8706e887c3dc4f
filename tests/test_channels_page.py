"""The page on channels from made tables whose right answers are known, and its tables from a run that was asked."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import train
from configs.probes.channels import ChannelTest
from data.rows import row_source
from experiments import channels as experiment
from experiments.channels_figure import ARMS, SELF, WINNERS
from experiments.channels_tables import (
    CAPABILITIES,
    channels_course,
    channels_following,
    channels_relief,
    channels_summary,
)
from experiments.kit.runs import Run
from experiments.kit.tables import content
from probes import channels as probe
from tests.few_rows import PLAIN, RECURRING, rows_run
from tests.made_runs import (
    assert_tables,
    cells,
    context,
    drawn_of,
    made_run,
    page_of,
    read_from,
    title_of,
    verdict,
)

ROWS = 200
TESTS = ("own", "both", "text", "zeroed", "other")
BARE = ("small", "large")
GIVEN = [name for name in ARMS if name not in BARE]
DIALS = [name for name in GIVEN if name not in ("constant", "shuffled")]
NONE = context([made_run("native", 1, pd.DataFrame(), None)])


@functools.cache
def made(seeds: int = 8, **given: float) -> dict[str, pd.DataFrame]:
    """Tables of a study in which replies follow the channels, and all that the findings say holds."""
    value = {
        "own": 0.9, "text": 0.8, "other": 0.3, "zeroed": 0.3, "constant": 0.3, "first": 0.88, "prefix": 0.7, "attention": 0.95,
        "relief": -0.2, "errs": 0.9, "clash": 0.8, "crosstalk": -0.02, "knocked": -0.6, "moved": 0.5, "gap": 0.9, "text gap": 0.3,
        "gates": 0.9, "state": 0.8, "gates_first": 0.8, "gates_yoked": 0.0, "open": 0.0,
    } | given  # fmt: skip
    random = np.random.default_rng(0)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("replies", "dials", "choices", "directions", "gates", "doubt", "cost", "lives")}  # fmt: skip

    def near(mean: float) -> float:
        return float(mean + 0.004 * random.normal())

    for seed in range(1, seeds + 1):
        for condition in ARMS:
            place = {"condition": condition, "seed": seed}
            own = {"constant": value["constant"], "shuffled": value["constant"], **{one: value[one] for one in ("first", "prefix", "attention")}}.get(condition, value["own"])  # fmt: skip
            shares = {"own": own, "both": own, **{one: value[one] for one in ("text", "zeroed", "other")}}
            rows["cost"].append({**place, "parameters": 1000 + seed, "channel_parameters": 0 if condition in BARE else 100, "tokens": 10})  # fmt: skip
            for capability in CAPABILITIES:
                part = {**place, "capability": capability}
                for split in ("dev", "heldout"):
                    for test in TESTS if condition in GIVEN else ("text", "zeroed"):
                        right = near(shares[test])
                        lost = max(own - right, 0.0)
                        nll = near(1.0 + value["relief"] * (condition in GIVEN))
                        rows["replies"].append({**part, "test": test, "split": split, "right": right, "nll": nll, "only_own": lost, "only_this": 0.0, "rows": ROWS})  # fmt: skip
                    if condition in GIVEN:
                        weight = {"text_errs": value["errs"], "channel_errs": 1 - value["errs"]}.get(condition, 0.5)  # fmt: skip
                        rights = {"channel_right": 0.7 if condition in ("channel_errs", "both_err") else 1.0, "text_right": 0.7 if condition in ("text_errs", "both_err") else 1.0, "told": 0.0 if condition == "silent" else 0.5}  # fmt: skip
                        pairs = 0.25 if condition == "shuffled" else 0.9
                        rows["choices"].append({**part, "split": split, "channel": near(value["clash"]), "text": 1 - value["clash"], "weight": near(weight), "pairs": near(pairs), **rights})  # fmt: skip
                if condition not in DIALS:
                    continue
                for channel in (*CAPABILITIES, "self") if condition == "seven" else CAPABILITIES:
                    for test in ("knocked", "flipped"):
                        change = near(value["knocked" if channel == capability else "crosstalk"])
                        rows["dials"].append({**part, "test": test, "level": 0.0, "channel": channel, "right": own + change, "change": change})  # fmt: skip
                for test, levels in (("noise", (1.0, 4.0)), ("dose", (0.5, 2.0)), ("gap", (0, 32)), ("text gap", (0, 32))):  # fmt: skip
                    for level in levels:
                        rows["dials"].append({**part, "test": test, "level": level, "channel": "none", "right": near(value.get(test, own)), "change": 0.0})  # fmt: skip
            for channel in CAPABILITIES if condition in GIVEN else ():
                for block in ("block 0", "block 1"):
                    for step in (50, 800):
                        size = 0.1 if condition in ("constant", "shuffled") else 1.0
                        rows["gates"].append({**place, "step": step, "block": block, "channel": channel, "gate": 0.1, "norm": near(size * step / 800)})  # fmt: skip
        for moved in experiment.MOVED:
            rows["directions"].append({"condition": "native", "seed": seed, "moved": moved, "share": near(0.9 if value["moved"] > 0 else 0.1), "change": near(value["moved"])})  # fmt: skip
        for knocked in ("none", *CAPABILITIES):
            rise = near(0.4)
            rows["doubt"].append({"condition": "seven", "seed": seed, "knocked": knocked, "calm": 0.001, "acting": 0.001 + rise, "rise": rise, "change": rise - 0.4})  # fmt: skip
        for condition in SELF:
            rows["lives"].append({"condition": condition, "seed": seed, "life": "own", "captured": near(value.get(condition, 0.0)), "loss": 2.0 + value["open"] * (condition == "gates_yoked")})  # fmt: skip
    of = {name: pd.DataFrame(found).assign(suite="channels") for name, found in rows.items()}
    replies, dials, choices = of["replies"], of["dials"], of["choices"]
    runs = of["cost"].drop(columns="tokens").assign(corpus="rows", dtype="float32", steps=800)
    return {
        "channels_replies": replies, "channels_dials": dials, "channels_choices": choices, "channels_directions": of["directions"],
        "channels_gates": of["gates"], "channels_doubt": of["doubt"], "channels_cost": of["cost"], "floors_captured": of["lives"], "runs": runs,
        "channels_following": channels_following(NONE, replies),
        "channels_course": channels_course(NONE, dials, replies),
        "channels_relief": channels_relief(NONE, replies),
        "channels_summary": channels_summary(NONE, replies, dials, choices),
    }  # fmt: skip


def page(folder: Path, tables: dict[str, pd.DataFrame]) -> Any:
    """The page, the lives in their own suite's folder."""
    tables = dict(tables)
    if "floors_captured" in tables:
        read_from(folder, "channels_self", {"floors_captured": tables.pop("floors_captured").assign(suite="channels_self")})  # fmt: skip
    return page_of(experiment.EXPERIMENT, folder, tables)


SIX, READS, TAUGHT, WINS, OVER, RELIEF, NEARLY, LAYERS, ASKED, APART, MOVES, LASTS, PAYS, FIRST, YOKED, SHUT = (
    "Each of six", "more often in its channel", "learned constant", "erred less in training", "Where neither erred", "Told no state", "before the first layer alone is followed nearly", "at a token in front",
    "Letting each position", "Taking a channel away", "moved one way", "left the window", "added to the embeddings", "than a gate before", "a state captures less through", "all but shut",
)  # fmt: skip
ALL = (SIX, READS, TAUGHT, WINS, OVER, RELIEF, NEARLY, LAYERS, ASKED, APART, MOVES, LASTS, PAYS, FIRST, YOKED, SHUT)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "turned"),
    [
        ({}, ()),
        ({"other": 0.9}, (SIX,)),
        ({"text": 0.95}, (READS,)),
        ({"constant": 0.9}, (TAUGHT,)),
        ({"errs": 0.5}, (WINS,)),
        ({"clash": 0.3}, (OVER,)),
        ({"relief": 0.0}, (RELIEF,)),
        ({"relief": 0.2}, (RELIEF,)),
        ({"first": 0.7}, (NEARLY,)),
        ({"prefix": 0.95}, (LAYERS,)),
        ({"attention": 0.9}, (ASKED,)),
        ({"crosstalk": -0.6}, (APART,)),
        ({"moved": -0.2}, (MOVES,)),
        ({"text gap": 0.9}, (LASTS,)),
        ({"state": 0.95}, (PAYS,)),
        ({"gates_first": 0.95}, (FIRST,)),
        ({"gates_yoked": 0.9}, (YOKED,)),
        ({"open": -0.02}, (SHUT,)),
    ],
)
def test_findings_turn_with_what_was_planted(
    tmp_path: Path, given: dict[str, Any], turned: tuple[str, ...]
) -> None:
    text = page(tmp_path, made(**given))
    found = {words: verdict(text, words) for words in ALL}
    assert found == {words: "Not clear" if words in turned else "Clear" for words in ALL}
    assert_tables(text)
    assert "nan" not in text and "inf" not in text


def test_five_sentences_open_the_page_and_every_statement_of_the_document_has_its_line(
    tmp_path: Path,
) -> None:
    text = page(tmp_path, made())
    short = text.partition("## In short")[2].partition("\n## ")[0]
    assert short.count("\n- **") == 5
    said = {
        "Six of six": "comes back", "Affect, time": "comes back", "In conflict": "does not come back", "A model trained": "comes back",
        "With channels at zero": "comes back", "Gates that begin": "comes back", "The state has to": "does not come back", "Later: gated": "works",
        "Six channels do not": "comes back", "A state persists": "comes back",
    }  # fmt: skip
    assert {start: cells(text, start)[3] for start in said} == said
    turned = page(
        tmp_path / "other", made(other=0.9, clash=0.97, relief=0.0, crosstalk=-0.2, first=0.7, gap=0.3)
    )
    said = {
        "Six of six": "does not come back", "In conflict": "comes back", "With channels at zero": "does not come back",
        "The state has to": "comes back", "Six channels do not": "does not come back", "A state persists": "does not come back",
    }  # fmt: skip
    assert {start: cells(turned, start)[3] for start in said} == said


def test_mcnemar_counts_rows_that_are_right_in_one_alone(tmp_path: Path) -> None:
    rows = [("own", 0.9, 0.0, 0.0), ("zeroed", 0.89, 0.05, 0.04), ("other", 0.3, 0.6, 0.0)]
    replies = pd.DataFrame([
        {"suite": "channels", "condition": "native", "seed": 1, "split": "heldout", "capability": "time", "test": test, "right": right, "only_own": own, "only_this": this, "rows": 100}
        for test, right, own, this in rows
    ])  # fmt: skip
    found = channels_following(NONE, replies).set_index("rival").to_dict()
    assert (found["only_own"]["zeroed"], found["only_rival"]["zeroed"]) == (5, 4)
    # five or more of nine by a fair coin: 256 of 512
    assert found["p"] == pytest.approx({"zeroed": 0.5, "other": 0.5**60})
    assert found["gain"]["other"] == pytest.approx(0.6)


@pytest.mark.parametrize("seeds", [1, 8])
@pytest.mark.parametrize("figure", experiment.EXPERIMENT.figures, ids=lambda one: one.name)
def test_figures_are_clean(tmp_path: Path, figure: Any, seeds: int) -> None:
    tables = made(seeds)
    read_from(tmp_path, "channels_self", {"floors_captured": tables["floors_captured"]})
    drawing = drawn_of(figure, tmp_path, tables, "channels")
    assert len(title_of(drawing)) < 190


@pytest.mark.parametrize("absent", [*made(1), "all"])
def test_partial_studies_have_pages(tmp_path: Path, absent: str) -> None:
    some = {name: table for name, table in made(1).items() if absent not in (name, "all")}
    text = page(tmp_path, some)
    assert "nan" not in text and "inf" not in text


def test_tables_of_a_run_that_was_asked(tmp_path: Path) -> None:
    """From training to every table, with a run with a self-state among its channels and one without channels."""
    seven = rows_run({"names": [*CAPABILITIES, "self"]}, self_state__enabled=True, schedule=RECURRING)
    settings = ChannelTest(rows=12, noises=(1.0,), doses=(2.0,), gaps=(0, 4))
    runs = []
    for name, run in (("seven", seven), ("small", rows_run(None))):
        source = row_source("tiny", PLAIN, run.seed)
        folder = train.train(run, source, tmp_path / name)
        probe.run(folder, 12, settings, source, tmp_path / f"{name}-asked")
        runs.append(Run("channels", name, run.seed, folder, run, {"channels": (tmp_path / f"{name}-asked",)}))
    known: dict[str, pd.DataFrame] = {}
    for table in experiment.EXPERIMENT.of("channels"):
        known |= table.of(context(runs), known)
        assert len(content(known[table.names[0]]).splitlines()) > 1, table.names
    assert {*known["channels_replies"]["condition"]} == {"seven", "small"}
    assert {*known["channels_choices"]["condition"]} == {"seven"}
    assert set(known["channels_course"]["level"]) == {0.0, 1.0, 2.0, 4.0}
    cost = known["channels_cost"].set_index("condition").to_dict()
    assert cost["tokens"] == {"small": 10, "seven": 0}
    assert cost["channel_parameters"]["seven"] > 0 == cost["channel_parameters"]["small"]
    doubt = known["channels_doubt"].set_index("knocked")["change"].to_dict()
    assert doubt["none"] == 0 and {*doubt} == {"none", *CAPABILITIES}
    dials = known["channels_dials"]
    assert {*dials[dials["test"] == "knocked"]["channel"]} == {*CAPABILITIES, "self"}
    assert (known["channels_choices"]["told"] == PLAIN.text + PLAIN.both).all()
    assert set(WINNERS) <= set(ARMS)
