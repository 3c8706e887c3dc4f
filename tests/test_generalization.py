"""The second corpus beside the first: what is the same, what is not, and what is said where a corpus stands in."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Drawing

from base.storage import UserError
from configs.suite import load_suite
from experiments.generalization import EXPERIMENT, LOOKS, dropout_deltas
from experiments.kit import published
from experiments.kit.changes import SHOWN
from experiments.kit.runs import METRICS
from experiments.kit.style import REGIMES
from experiments.kit.tables import NothingToDraw
from tests.made_runs import (
    MadeRun,
    Page,
    assert_tables,
    cells,
    context,
    drawn_of,
    made_run,
    page_of,
    read_from,
    regimes_of,
    title_of,
    verdict,
)

ROOT = Path(__file__).resolve().parent.parent
CONDITIONS = ("analysis", "analysis_vanilla", "regimes", "patch", "baseline")
LOUD = {"bewilderment": 1.6, "sensory_fog": 0.3}
PLACE = ["suite", "condition", "seed"]


def corpus(
    suite: str, seeds: int = 4, sign: float = 1.0, gain: float = -0.05, steer: float = 0.5, shift: float = 0.03,
    name: str = "openwebtext", tokenizer: str = "char",
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """Tables of the published suite on one corpus.

    sign: of what regimes do beyond the baseline's change, 0.1; 0 for nothing. gain: analysis minus analysis_vanilla, nats.
    steer: learned effect size, placebos 0.3. shift: patch minus baseline, of drift; minus ten times that of the effect.
    """
    random = np.random.default_rng(len(suite))
    runs, deltas, patches, tests, states = [], [], [], [], []
    for seed in range(1, seeds + 1):
        wobble = 0.002 * random.normal()
        for condition in CONDITIONS:
            loss = 2.2 + wobble * (condition == "analysis") + gain * (condition == "analysis")
            steps = 1000 if condition.startswith("analysis") else 2000
            runs.append((suite, condition, seed, steps, 9.0, loss, "float32", name, tokenizer, 800_000))
        for regime in REGIMES:
            for metric in SHOWN:
                value = sign * LOUD.get(regime, 0.05) + 0.002 * random.normal()
                deltas.append((suite, "regimes", seed, regime, metric, value + 0.1, 0.1, value))
        for condition in ("patch", "baseline"):
            more = (shift + wobble) * (condition == "patch")
            patches.append((suite, condition, seed, 0.01 + more, 0.9 - 10 * more))
        head = (suite, "analysis", seed, 1000)
        for protocol, finder in (
            ("replication", "dimension"),
            ("heldout", "dimension"),
            ("heldout", "gradient"),
        ):
            for placebo in ("rotated", "untrained") if finder == "dimension" else ("untrained",):
                learned = steer + 0.01 * (-1) ** seed
                tests.append((*head, protocol, finder, learned, placebo, 0.3, 0.05, 0.38, 1 / 11))
            for state, change in (
                ("confident", -0.111),
                ("uncertain", 0.222),
                ("random", 0.033),
                ("own", -0.044),
            ):
                states.append((*head, protocol, finder, state, change + wobble))

    def frame(rows: list[Any], *columns: str) -> pd.DataFrame:
        return pd.DataFrame(rows, columns=[*PLACE, *columns])

    test = ("run_step", "protocol", "finder")
    return {
        "runs": frame(runs, "steps", "seconds", "heldout_loss", "dtype", "corpus", "tokenizer", "parameters"),
        "dropout_deltas": frame(deltas, "regime", "metric", "delta", "calm", "beyond"),
        "patch": frame(patches, "state_ema_drift", "prompt_effect"),
        "frozen_effects_summary": frame(tests, *test, "effect", "placebo", "placebo_mean", "placebo_sd", "placebo_max", "p_value"),
        "frozen_conditions": frame(states, *test, "state", "delta_entropy"),
    }  # fmt: skip


def shakespeare(**how: Any) -> dict[str, pd.DataFrame]:
    return corpus("shakespeare", **({"name": "shakespeare_char"} | how))


def page(folder: Path, first: dict[str, pd.DataFrame], second: dict[str, pd.DataFrame]) -> Page:
    read_from(folder, "shakespeare", first)
    return page_of(EXPERIMENT, folder, second)


def drawing(folder: Path, first: dict[str, pd.DataFrame], second: dict[str, pd.DataFrame]) -> Drawing:
    read_from(folder, "shakespeare", first)
    (figure,) = EXPERIMENT.figures
    return drawn_of(figure, folder, second, "generalization")


def logged(condition: str, regimes: np.ndarray, jump: float) -> MadeRun:
    """A run whose metrics rise by 1 in a thousand steps, and by `jump` under bewilderment."""
    step = np.arange(len(regimes))
    log = pd.DataFrame({"step": step, "regime": regimes} | dict.fromkeys(METRICS, step / 1000))
    log["loss"] += jump * (regimes == "bewilderment")
    return made_run(condition, 1, log, None)


def test_changes_stand_beside_those_of_the_baseline_at_the_same_steps() -> None:
    acting = regimes_of(1000, [("bewilderment", 400, 500), ("self_clamp", 600, 700)])
    made = dropout_deltas(
        context([logged("regimes", acting, 1.5), logged("baseline", np.full(1000, "calm"), 0.0)])
    )
    assert {*made["metric"]} == {*published.REPORTED} and {*made["condition"]} == {"regimes"}
    (found,) = made.query("regime == 'bewilderment' and metric == 'loss'").to_dict("records")
    assert [found[column] for column in ("delta", "calm", "beyond")] == pytest.approx([1.6, 0.1, 1.5])
    alone = dropout_deltas(context([logged("regimes", acting, 1.5)]))
    assert alone["delta"].notna().all() and alone[["calm", "beyond"]].isna().all(axis=None)
    assert not len(dropout_deltas(context([])))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_how_many_signs_come_back_is_counted(sign: float, tmp_path: Path) -> None:
    text = page(tmp_path, shakespeare(), corpus("generalization", sign=sign))
    number = len(REGIMES) * len(SHOWN)
    same, opposite = ("none", number) if sign < 0 else (number, "none")
    counted = f"Of {number} changes that are clear on the first corpus, {same} are clear on the second with the same sign, {opposite} with the opposite one."
    said = (
        "What regimes do on the first corpus, they do on the second, with the same sign."
        if sign > 0
        else counted
    )
    assert said in text and "First shakespeare_char (characters), second openwebtext (characters)" in text


def test_the_title_says_how_many_published_changes_a_further_seed_could_give(tmp_path: Path) -> None:
    title = title_of(drawing(tmp_path, shakespeare(), corpus("generalization")))
    assert title.startswith("Of 20 published changes on web text, a further seed of ours could give ")


def test_changes_are_drawn_seed_by_seed_beside_the_published_ones(tmp_path: Path) -> None:
    panels = drawing(tmp_path, shakespeare(), corpus("generalization")).axes
    points = next(line for line in panels[0].lines if line.get_marker() == LOOKS["generalization"].marker)
    assert np.mean(np.asarray(points.get_xdata(), float)) == pytest.approx(1.7, abs=0.01)  # bewilderment's
    crosses = [float(np.ravel(line.get_xdata())[0]) for line in panels[0].lines if line.get_marker() == "x"]
    printed = [published.CORPORA[name].deltas for name in ("shakespeare", "generalization")]
    assert sorted(crosses) == sorted(of[regime]["loss"] for of in printed for regime in REGIMES)
    assert panels[3].get_xlabel() == "Δ state effect (mean |Δ logit|)"


def test_few_seeds_and_missing_conditions_draw(tmp_path: Path) -> None:
    few = drawing(tmp_path / "few", shakespeare(seeds=1), corpus("generalization", seeds=2))
    assert title_of(few).startswith("Not settled: ")
    without = corpus("generalization", seeds=1)
    without["dropout_deltas"][["calm", "beyond"]] = np.nan
    assert title_of(drawing(tmp_path / "one", shakespeare(seeds=3), without)).startswith("Not settled: ")
    without["dropout_deltas"] = without["dropout_deltas"].iloc[:0]
    with pytest.raises(NothingToDraw):
        drawing(tmp_path / "none", without, without)


GAIN, SIGN, DRIFT, LESS = (
    "model predicts held-out text better",
    "they do on the second, with the same sign",
    "further from its average",
    "has a smaller effect",
)
STEERS = "On held-out text, too, the learned reader"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {GAIN: "Clear", SIGN: "Clear", DRIFT: "Clear", LESS: "Clear", STEERS: "Clear"}),
        ({"gain": 0.0}, {GAIN: "Not clear"}),
        ({"gain": 0.05}, {GAIN: "Not clear"}),
        ({"sign": -1.0}, {SIGN: "Not clear"}),
        ({"sign": 0.0}, {SIGN: "Not clear"}),
        ({"shift": -0.03}, {DRIFT: "Not clear", LESS: "Not clear"}),
        ({"steer": 0.3}, {STEERS: "Not clear"}),
        ({"seeds": 2}, {GAIN: "Open", SIGN: "Open", DRIFT: "Open", STEERS: "Open"}),
    ],
)
def test_verdicts_follow_the_tables(tmp_path: Path, given: dict[str, Any], expected: dict[str, str]) -> None:
    text = page(tmp_path, shakespeare(), corpus("generalization", **given))
    assert {words: verdict(text, words) for words in expected} == expected


def test_where_not_all_comes_back_the_rest_is_named(tmp_path: Path) -> None:
    second = corpus("generalization")
    rows = second["dropout_deltas"]
    rows.loc[(rows["regime"] == "self_clamp") & (rows["metric"] == "state_ema_drift"), "beyond"] *= -1
    text = page(tmp_path, shakespeare(), second)
    assert verdict(text, SIGN) == "Not clear"
    assert "19 are clear on the second with the same sign, 1 with the opposite one." in text


def test_both_corpora_and_the_published_numbers_stand_side_by_side(tmp_path: Path) -> None:
    text = page(tmp_path, shakespeare(gain=0.1), corpus("generalization", seeds=3))
    assert_tables(text)
    assert "stands in for it" not in text

    def told(start: str) -> list[float | str]:
        """The cells after the first, without intervals; a number as it is shown, or NaN for a dash."""
        shown = [cell.split(" [")[0].replace("−", "-").replace("–", "nan") for cell in cells(text, start)[1:]]
        return [*map(float, shown[:-1]), shown[-1]]

    def near(*values: float | str) -> list[Any]:
        return [one if isinstance(one, str) else pytest.approx(one, abs=0.006, nan_ok=True) for one in values]

    # published, ours, beyond the control; on the second corpus, then on the first
    none = float("nan")
    assert told("`analysis`, held-out loss") == near(2.1956, 2.15, -0.05, 2.0670, 2.3, 0.1, "3, 4")
    assert told("`analysis_vanilla`, held-out loss") == near(2.2304, 2.2, none, 2.0773, 2.2, none, "3, 4")
    assert told("`bewilderment`, loss") == near(2.331, 1.7, 1.6, 1.484, 1.7, 1.6, "3, 4")
    assert told("`patch`, distance from its average") == near(0.0760, 0.04, 0.03, 0.0050, 0.04, 0.03, "3, 4")
    assert told("`baseline`, state effect") == near(0.5594, 0.9, none, 0.9876, 0.9, none, "3, 4")
    assert told("uncertain |") == near(0.324, 0.222, none, 0.259, 0.222, none, "3, 4")
    assert told("effect size |") == near(0.33, 0.5, 0.2, 0.35, 0.5, 0.2, "3, 4")
    for said, name in (("0.33", "openwebtext (characters)"), ("0.35", "shakespeare_char (characters)")):
        row = cells(text, f"{name}, replication protocol, 1000 steps, scrambled")
        assert (row[1], row[3]) == (said, "0.300 ± 0.050")


def test_an_embedded_corpus_is_said_to_stand_in(tmp_path: Path) -> None:
    text = page(tmp_path, shakespeare(), corpus("generalization", name="pydoc_char"))
    assert "Not on OpenWebText: `pydoc_char` stands in for it" in text
    assert "second pydoc_char (characters)" in text
    other = page(tmp_path, shakespeare(), corpus("generalization", tokenizer="bpe:1024"))
    assert "second openwebtext (bpe:1024)" in other


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
            assert text.count("The tables hold nothing for this yet.") == 6


def test_a_table_without_a_needed_column_is_named(tmp_path: Path) -> None:
    second = corpus("generalization", seeds=1)
    second["runs"] = second["runs"].drop(columns="tokenizer")
    with pytest.raises(UserError, match=r"the column tokenizer is not in .*generalization/runs"):
        page(tmp_path, shakespeare(seeds=1), second)


def test_the_suite_has_the_published_conditions_on_another_corpus() -> None:
    first, second, swap = (
        load_suite(ROOT / "configs" / f"{name}.toml") for name in ("shakespeare", "generalization", "swap")
    )
    swapped = {name for name in second.conditions if name in swap.conditions}
    assert swapped == {"origin", "own", "other", "random"}
    assert {*CONDITIONS, *swapped} == {*second.conditions}
    assert {(run.corpus, run.tokenizer) for run in second.conditions.values()} == {("openwebtext", "char")}
    for frozen in (suite.probes["frozen"] for suite in (first, second)):
        assert frozen.steps == (1000,) and frozen.conditions == ("analysis",)
    for name, run in second.conditions.items():
        other = (swap if name in swapped else first).conditions[name]
        for part in ("start", "schedule", "model", "self_state", *(() if name in swapped else ("train",))):
            assert getattr(run, part) == getattr(other, part), (name, part)
