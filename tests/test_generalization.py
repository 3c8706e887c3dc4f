"""The second corpus beside the first: what is the same, what is not, and what is said where a corpus stands in."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Drawing

from base.storage import UserError
from configs.suite import load_suite
from experiments.generalization import EXPERIMENT, LOOKS
from experiments.kit.changes import SHOWN
from experiments.kit.style import OF_STATE, REGIMES
from experiments.kit.tables import NothingToDraw
from tests.made_runs import assert_tables, cells, drawn_of, page_of, read_from, title_of, verdict

ROOT = Path(__file__).resolve().parent.parent
CONDITIONS = ("self", "self_calm", "vanilla", "vanilla_calm")
LOUD = {"bewilderment": 1.6, "sensory_fog": 0.3}


def corpus(
    suite: str,
    seeds: int = 8,
    sign: float = 1.0,
    gain: float = -0.05,
    steer: float = 0.5,
    name: str = "openwebtext",
    tokenizer: str = "bpe:1024",
    bytes_a_token: float = 2.0,
) -> dict[str, pd.DataFrame]:
    """Tables of the core conditions on one corpus.

    sign: of what regimes do to the state, of loss and entropy too; 0 for nothing. gain: self minus vanilla, nats.
    steer: learned effect size, placebos 0.3.
    """
    random = np.random.default_rng(len(suite))
    runs, deltas, tests = [], [], []
    for condition in CONDITIONS:
        for seed in range(1, seeds + 1):
            loss = 3.0 + 0.004 * random.normal() + gain * condition.startswith("self")
            place = (suite, condition, seed)
            runs.append(
                (
                    *place,
                    2000,
                    9.0,
                    loss,
                    loss / np.log(2) / bytes_a_token,
                    "float32",
                    name,
                    tokenizer,
                    800_000,
                )
            )
            for regime in REGIMES:
                for metric in ("loss", "entropy", *OF_STATE):
                    if condition.startswith("vanilla") and metric in OF_STATE:
                        continue
                    size = LOUD.get(regime, 0.05) if metric in ("loss", "entropy") else 0.02
                    value = 0.0 if condition.endswith("calm") else sign * size
                    deltas.append((*place, regime, metric, value + 0.002 * random.normal()))
    for seed in range(1, seeds + 1):
        for step in (1000, 2000):
            for protocol, finder in (
                ("replication", "dimension"),
                ("heldout", "dimension"),
                ("heldout", "gradient"),
            ):
                for placebo in ("rotated", "untrained"):
                    if (finder, placebo) != ("gradient", "rotated"):
                        learned = steer + 0.01 * random.normal()
                        values = (learned, placebo, 0.3, 0.05, 0.38, 1 / 11)
                        tests.append((suite, "self_calm", seed, step, protocol, finder, *values))
    place_names = ["suite", "condition", "seed"]
    run_names = [
        "steps",
        "seconds",
        "heldout_loss",
        "heldout_bpb",
        "dtype",
        "corpus",
        "tokenizer",
        "parameters",
    ]
    test_names = [
        "run_step",
        "protocol",
        "finder",
        "effect",
        "placebo",
        "placebo_mean",
        "placebo_sd",
        "placebo_max",
        "p_value",
    ]
    return {
        "runs": pd.DataFrame(runs, columns=[*place_names, *run_names]),
        "regime_deltas": pd.DataFrame(deltas, columns=[*place_names, "regime", "metric", "delta"]),
        "frozen_effects_summary": pd.DataFrame(tests, columns=[*place_names, *test_names]),
    }


def shakespeare(**how: Any) -> dict[str, pd.DataFrame]:
    own: dict[str, Any] = {"name": "shakespeare_char", "tokenizer": "char", "bytes_a_token": 1.0}
    return corpus("shakespeare", **(own | how))


def page(folder: Path, first: dict[str, pd.DataFrame], second: dict[str, pd.DataFrame]) -> str:
    read_from(folder, "shakespeare", first)
    return page_of(EXPERIMENT, folder, second)


def drawing(folder: Path, first: dict[str, pd.DataFrame], second: dict[str, pd.DataFrame]) -> Drawing:
    read_from(folder, "shakespeare", first)
    (figure,) = EXPERIMENT.figures
    return drawn_of(figure, folder, second, "generalization")


@pytest.mark.parametrize(("sign", "verdict"), [(1.0, "Clear"), (-1.0, "Not clear")])
def test_the_title_says_whether_signs_come_back(sign: float, verdict: str, tmp_path: Path) -> None:
    title = title_of(drawing(tmp_path, shakespeare(), corpus("generalization", sign=sign)))
    assert title.startswith(f"{verdict}: What regimes do on the first corpus comes back")
    text = page(tmp_path, shakespeare(), corpus("generalization", sign=sign))
    number = len(REGIMES) * len(SHOWN)
    same, opposite = (number, 0) if sign > 0 else (0, number)
    assert (
        f"Of {number} changes beyond the calm run whose interval leaves zero out on shakespeare_char (char), {same} do "
        in text
    )
    assert f"same sign on openwebtext (bpe:1024), {opposite} with the opposite one." in text


def test_losses_are_drawn_in_bits_a_byte(tmp_path: Path) -> None:
    panels = drawing(tmp_path, shakespeare(), corpus("generalization")).axes
    points = next(line for line in panels[0].lines if line.get_marker() == LOOKS["generalization"].marker)
    drawn = np.mean(np.asarray(points.get_xdata(), dtype=float))
    assert drawn == pytest.approx(1.6 / np.log(2) / 2, abs=0.01)  # bewilderment's, two bytes a token
    labels = [axes.get_xlabel() for axes in panels]
    assert labels[:2] == ["Δ loss (bits a byte)", "Δ entropy (bits a byte)"]


def test_few_seeds_and_missing_conditions_draw(tmp_path: Path) -> None:
    few = drawing(tmp_path / "few", shakespeare(seeds=1), corpus("generalization", seeds=2))
    assert title_of(few).startswith("Open: ")
    without = corpus("generalization", seeds=1)
    without["regime_deltas"] = without["regime_deltas"].query("condition == 'self'")
    drawing(tmp_path / "one", shakespeare(seeds=3), without)
    with pytest.raises(NothingToDraw):
        drawing(tmp_path / "none", without, without)


GAIN, SIGN, MARK = (
    "model predicts held-out text better",
    "comes back on the second with the same sign",
    "as no calm run does",
)
STEERS = "held-out protocol, gradient finder"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {GAIN: "Clear", SIGN: "Clear", MARK: "Clear", STEERS: "Clear"}),
        ({"gain": 0.0}, {GAIN: "Not clear"}),
        ({"gain": 0.05}, {GAIN: "Not clear"}),
        ({"sign": -1.0}, {SIGN: "Not clear", MARK: "Clear"}),
        ({"sign": 0.0}, {SIGN: "Not clear", MARK: "Not clear"}),
        ({"steer": 0.3}, {STEERS: "Not clear"}),
        ({"seeds": 2}, {GAIN: "Open", SIGN: "Open", STEERS: "Open"}),
    ],
)
def test_verdicts_follow_the_tables(tmp_path: Path, given: dict[str, Any], expected: dict[str, str]) -> None:
    text = page(tmp_path, shakespeare(), corpus("generalization", **given))
    assert {words: verdict(text, words) for words in expected} == expected


def test_a_part_that_comes_back_is_inconclusive_and_the_rest_is_named(tmp_path: Path) -> None:
    second = corpus("generalization")
    lost = (second["regime_deltas"]["regime"] == "self_clamp") & (
        second["regime_deltas"]["metric"] == "state_drift"
    )
    second["regime_deltas"].loc[lost & (second["regime_deltas"]["condition"] == "self"), "delta"] *= -1
    text = page(tmp_path, shakespeare(), second)
    assert verdict(text, SIGN) == "Open"
    assert "19 do with the same sign on openwebtext (bpe:1024), 1 with the opposite one" in text
    assert "Not the same: state_drift in self_clamp." in text


def test_both_corpora_and_the_published_numbers_stand_side_by_side(tmp_path: Path) -> None:
    first, second = shakespeare(gain=0.0), corpus("generalization")
    text = page(tmp_path, first, second)
    assert_tables(text)
    assert "stands in for it" not in text and "2.00 bytes a token of the held-out text" in text
    loss = second["runs"].query("condition == 'vanilla'")["heldout_loss"].mean()
    row = cells(text, f"`vanilla` | {loss:.3f} ")
    assert row[2].startswith(f"{loss / np.log(2) / 2:.3f}")
    other = first["runs"].query("condition == 'vanilla'")["heldout_loss"].mean()
    assert (
        row[3].startswith(f"{other:.3f}") and row[4].startswith(f"{other / np.log(2):.3f}") and row[5] == "8"
    )
    row = cells(text, "`bewilderment`, loss")
    assert (
        row[1] == "+1.650" and row[2].startswith("+1.60") and row[3].startswith("+1.60") and row[6] == "8, 8"
    )
    for step in (1000, 2000):
        for corpus_name in ("openwebtext (bpe:1024)", "shakespeare_char (char)"):
            row = cells(text, f"{corpus_name}, replication protocol, {step} steps, rotated")
            assert row[1] == "0.35" and row[3] == "0.300 ± 0.050"


def test_an_embedded_corpus_is_said_to_stand_in(tmp_path: Path) -> None:
    text = page(tmp_path, shakespeare(), corpus("generalization", name="pydoc_char"))
    assert "OpenWebText was not at hand: `pydoc_char` stands in for it" in text
    assert "on pydoc_char (bpe:1024)" in text


@pytest.mark.parametrize("absent", [*shakespeare(), "all", "first"])
def test_partial_studies_have_pages(tmp_path: Path, absent: str) -> None:
    for seeds, first_too in ((3, True), (1, False)):
        second = corpus("generalization", seeds=seeds)
        first = {} if absent == "first" or not first_too else shakespeare(seeds=seeds)
        left = [
            {name: table for name, table in some.items() if absent not in (name, "all")}
            for some in (first, second)
        ]
        text = page(tmp_path / str(seeds), *left)
        assert "nan" not in text and "inf" not in text
        if seeds == 1:
            assert "- **Clear" not in text and "- **Not clear" not in text
        if absent == "all":
            assert text.count("The tables hold nothing for this yet.") == 3


def test_a_table_without_a_needed_column_is_named(tmp_path: Path) -> None:
    second = corpus("generalization", seeds=1)
    second["runs"] = second["runs"].drop(columns="tokenizer")
    with pytest.raises(UserError, match=r"the column tokenizer lacks in .*generalization/runs"):
        page(tmp_path, shakespeare(seeds=1), second)


def test_the_suite_has_the_core_conditions_on_another_corpus() -> None:
    first, second = (
        load_suite(ROOT / "configs" / f"{name}.toml") for name in ("shakespeare", "generalization")
    )
    assert set(CONDITIONS) == set(second.conditions) <= set(first.conditions)
    assert {(run.corpus, run.tokenizer) for run in second.conditions.values()} == {
        ("openwebtext", "bpe:1024")
    }
    assert second.frozen_test.steps == first.frozen_test.steps and second.frozen_test.conditions == (
        "self_calm",
    )
    for name, run in second.conditions.items():
        assert run.schedule == first.conditions[name].schedule and run.train == first.conditions[name].train
