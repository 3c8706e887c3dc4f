"""Our seeds beside the published code's runs: seeds that scatter about a reference agree with it, shifted ones do not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.kit.published import logged
from experiments.replication import BIN, EXPERIMENT, REFERENCE, patch, replication, shares
from tests.made_runs import MadeRun, context, drawn_of, made_run, page_of, read_from, regimes_of, verdict

STEPS = 2000


def around(condition: str, published: str, seed: int, shift: float = 0.0) -> MadeRun:
    """A run whose means of BIN steps lie about those of a published run by a hundredth of their size, `shift` higher."""
    reference = pd.read_csv(REFERENCE)
    theirs = reference[reference["run"] == published].groupby(["metric", "from_step"])["mean"].mean()
    random = np.random.default_rng(seed)
    log = pd.DataFrame({"step": range(STEPS), "regime": "calm"})
    for metric, values in theirs.groupby(level="metric"):
        noise = 0.01 * random.normal(size=len(values)) + shift * (metric != "lr")
        log[str(metric)] = np.repeat(values.to_numpy() * (1 + noise * (metric != "lr")), BIN)
    return made_run(condition, seed, log, None)


@pytest.mark.parametrize(("shift", "share", "says"), [(0.0, 0.8, "Clear"), (1.0, 0.0, "Not clear")])
def test_a_run_agrees_where_one_more_seed_would_lie(
    shift: float, share: float, says: str, tmp_path: Path
) -> None:
    table = replication(context([around("self", "selfreg0", seed, shift) for seed in range(1, 7)]))
    told = shares(read_from(tmp_path, "shakespeare", {"replication": table})).set_index("metric")["within"]
    assert (told >= share).all() and "lr" not in told  # which is set
    assert told["loss"] > 0.8 if not shift else told["loss"] == 0
    page = page_of(EXPERIMENT, tmp_path, {"replication": table})
    assert verdict(page, "looks like one more seed of ours") == says
    state = told.drop(["loss", "entropy_last", "top1_last", "grad_norm"]).mean()
    assert f"in {100 * state:.0f} % of the state's." in page.findings["course"].title()
    assert "| `loss` |" in page and "(6 seeds, 1 run)" in page
    drawn_of(EXPERIMENT.figures[0], tmp_path, {"replication": table}, "shakespeare")


def test_two_seeds_give_no_interval(tmp_path: Path) -> None:
    table = replication(context([around("self", "selfreg0", seed) for seed in (1, 2)]))
    assert table[["low", "high", "within"]].isna().all(axis=None) and set(table["n"]) == {2}
    assert (
        verdict(page_of(EXPERIMENT, tmp_path, {"replication": table}), "looks like one more seed of ours")
        == "Open"
    )
    drawn_of(EXPERIMENT.figures[0], tmp_path, {"replication": table}, "shakespeare")


def test_patch_and_baseline_are_taken_in_the_same_steps() -> None:
    runs = []
    for condition, size in (("patch", 3.0), ("baseline", 1.0)):
        acting = regimes_of(100, [("bewilderment", 40, 60)]) if condition == "patch" else np.full(100, "calm")
        log = pd.DataFrame(
            {
                "step": range(100),
                "regime": acting,
                "prompt_effect": np.where(np.arange(100) % 10 == 0, size, np.nan),
            }
        )
        log["state_ema_drift"] = np.where((log["step"] >= 40) & (log["step"] < 60), size, 9.0)
        runs.append(made_run(condition, 1, log, None))
    made = patch(context(runs)).set_index("condition")
    assert (
        made["state_ema_drift"].to_dict()
        == made["prompt_effect"].to_dict()
        == {"patch": 3.0, "baseline": 1.0}
    )


def test_an_effect_is_taken_at_the_steps_at_which_the_published_run_of_its_suite_measures_it() -> None:
    log = pd.DataFrame({"step": range(120), "regime": "calm", "prompt_effect": np.arange(120.0)})
    run = made_run("self", 1, log, None)
    seldom = logged(replace(run, suite="shakespeare"))["prompt_effect"]
    assert seldom.tolist() == [0.0] * 50 + [50.0] * 50 + [100.0] * 20
    assert logged(replace(run, suite="memory"))["prompt_effect"].tolist() == log["prompt_effect"].tolist()
