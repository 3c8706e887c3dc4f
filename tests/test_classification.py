"""Regimes are told from logs where they can be and nowhere else, and the page says what the tables say."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.suite import Signatures
from experiments.classification import (
    EXPERIMENT,
    FULL,
    ONE,
    SETS,
    SPREADS,
    STATIC,
    _folds,
    classification,
    told,
)
from experiments.kit import published
from experiments.kit.runs import METRICS, STATE_METRICS, Context
from experiments.kit.tables import BASIC, BIAS, CLEAN, NO_CLAMP, PUBLISHED, RAW, STATE, TIME, NothingToDraw
from tests.made_runs import (
    Page,
    Window,
    assert_tables,
    cells,
    context,
    drawn_of,
    made_run,
    page_of,
    regimes_of,
    title_of,
    verdict,
)  # fmt: skip

STEPS = 200
NAMES = ("sensory_fog", "bewilderment", "lr_heatwave")
PLACES = [(10, 40), (60, 90), (120, 150)]
FIXED: list[Window] = [("sensory_fog", 50, 70), ("bewilderment", 70, 100), ("lr_heatwave", 150, 200)]


def log(condition: str, seed: int, windows: list[Window], shift: float, noise: float = 0.0) -> pd.DataFrame:
    """A log whose loss rises by `shift` in each window, and whose drift names the regime by its size."""
    random = np.random.default_rng(1000 * seed + len(condition))
    made = pd.DataFrame({"step": range(STEPS), "regime": regimes_of(STEPS, windows)})
    for name in METRICS:
        made[name] = 1.0 + noise * random.normal(size=STEPS)
    made["progress"], made["lr"] = made["step"] / STEPS, 0.001 * (2 - made["step"] / STEPS)
    for name in ("entropy_last", "top1_last", "prompt_effect"):
        made[name] = 1.0 + noise * random.normal(size=STEPS)
    for number, (_, start, end) in enumerate(windows, 1):
        rows = (made["step"] >= start) & (made["step"] < end)
        made.loc[rows, "loss"] += shift
        made.loc[rows, ["state_drift", "state_ema_drift"]] += 10 * number * bool(shift)
        made.loc[rows, "prompt_effect"] += 10 * (number == 2) * bool(shift)
    if condition.startswith("vanilla"):
        made[[*STATE_METRICS, "prompt_effect"]] = np.nan
    return made


def at_random(seed: int, names: tuple[str, ...] = NAMES) -> list[Window]:
    order = np.random.default_rng(seed).permutation(len(names))
    return [(names[index], *PLACES[place]) for index, place in enumerate(order)]


def asked(*questions: tuple[str, str], logs: Any, permutations: int, sets: tuple[str, ...]) -> pd.DataFrame:
    return told(logs, 5, [(*one, permutations) for one in questions], sets)["classification"]


def row(table: pd.DataFrame, *key: str) -> Any:
    rows: Any = table.set_index(["condition", "protocol", "features"]).loc
    return rows[key]


def test_what_is_there_is_found_and_nothing_else() -> None:
    names = ("self_random", "vanilla_random")
    logs = {
        (name, seed): log(name, seed, at_random(seed), 3.0 if name == "self_random" else 0.0, 0.2)
        for seed in range(1, 5)
        for name in names
    }
    made = told(logs, 5, [(name, CLEAN, 10) for name in names])
    table, seeds = made["classification"], made["classification_seeds"]
    assert (table["runs"] == 4).all() and (table["classes"] == 4).all()
    assert set(table[table["condition"] == "vanilla_random"]["features"]) == {BASIC, TIME, RAW, SPREADS}
    best = row(table, "self_random", CLEAN, STATE)
    assert best["accuracy"] == best["balanced_accuracy"] == 1.0 and best["p_value"] == pytest.approx(1 / 11)
    blind = row(table, "vanilla_random", CLEAN, BASIC)
    assert blind["accuracy"] < blind["majority"] + 0.2 and blind["p_value"] > 0.09
    loss = row(table, "self_random", CLEAN, BASIC)
    assert best["accuracy"] > loss["accuracy"] > loss["null_95"]  # loss tells regime from calm, not which
    own = seeds[(seeds["condition"] == "self_random") & (seeds["features"] == BASIC)]
    assert np.average(own["accuracy"], weights=own["windows"]) == pytest.approx(loss["accuracy"])
    assert own["windows"].sum() == loss["windows"] and own["seed"].tolist() == [1, 2, 3, 4]


def test_without_the_held_state_its_zero_drift_names_nothing() -> None:
    """Drift is noise but in self_clamp, where it is zero: all that state channels tell then goes with that regime."""
    logs, names = {}, ("sensory_fog", "bewilderment", "self_clamp")
    for seed in range(1, 6):
        for name in ("self_random", "vanilla_random"):
            made = log(name, seed, at_random(seed, names), 0.0, 0.3)
            made.loc[made["regime"] == "self_clamp", "state_ema_drift"] *= 0
            logs[name, seed] = made
    runs = [made_run(name, seed, made, None) for (name, seed), made in logs.items()]
    suite = context(runs).suite.model_copy(
        update={"signatures": Signatures(classify_steps=5, permutations=5)}
    )
    table = classification(Context(suite, runs))["classification"]
    assert not table.duplicated(["condition", "protocol", "features"]).any() and set(table["suite"]) == {"s"}
    clean = asked(
        ("self_random", CLEAN), ("vanilla_random", CLEAN), logs=logs, permutations=5, sets=(BASIC, STATE)
    )
    found = table[(table["protocol"] == CLEAN) & table["features"].isin([BASIC, STATE])]
    pd.testing.assert_frame_equal(found.iloc[:, 1:].reset_index(drop=True), clean)  # with all permutations
    few = table[table["protocol"] == NO_CLAMP]
    assert set(few["condition"]) == {"self_random", "vanilla_random"} and (few["classes"] == 3).all()
    assert few["p_value"].min() >= 1 / 2  # of one draw, a fifth of five
    gain = {
        way: row(table, "self_random", way, STATE)["accuracy"]
        - row(table, "self_random", way, BASIC)["accuracy"]
        for way in (CLEAN, NO_CLAMP)
    }
    assert gain[CLEAN] > 0.15 and abs(gain[NO_CLAMP]) < 0.1


def test_every_control_is_asked_in_the_clean_ways_with_bias_channels() -> None:
    runs = [
        made_run(name, seed, log(name, seed, at_random(seed), 1.0, 0.3), None)
        for seed in (1, 2)
        for name in ("self", "fixed_one")
    ]
    suite = context(runs).suite.model_copy(
        update={"name": "controls", "signatures": Signatures(permutations=1)}
    )
    table = classification(Context(suite, runs))["classification"]
    assert set(zip(table["condition"], table["protocol"], strict=True)) == {
        (name, way) for name in ("self", "fixed_one") for way in (CLEAN, NO_CLAMP)
    }
    assert set(table["features"]) == set(SETS)


def test_the_published_way_asks_each_run_by_itself_and_the_clean_way_needs_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(published, "EFFECT_EVERY", 1)
    conditions = {"self": FIXED, "vanilla": FIXED, "self_random": at_random(1)}
    runs = [made_run(name, 1, log(name, 1, windows, 3.0, 0.1), None) for name, windows in conditions.items()]
    suite = context(runs).suite.model_copy(
        update={"signatures": Signatures(classify_steps=5, permutations=5)}
    )
    made = classification(Context(suite, runs))
    seeds = made["classification_seeds"]
    assert set(zip(seeds["condition"], seeds["protocol"], strict=True)) == {
        ("self", PUBLISHED),
        ("vanilla", PUBLISHED),
    }
    assert set(seeds[seeds["condition"] == "vanilla"]["features"]) == {BASIC, TIME}
    best = seeds[seeds["features"] == STATE].iloc[0]
    assert best["accuracy"] == 1.0 and best["windows"] == 20 and best["shuffled"] < 0.8
    assert np.isnan(row(made["classification"], "self_random", CLEAN, STATE)["accuracy"])


def test_what_any_log_has_is_no_gain_of_the_state() -> None:
    """In fog the loss flickers as the drift rises: the drift tells fog, and adds nothing to the loss's spread."""
    logs = {}
    for seed in range(1, 7):
        made = log("self_random", seed, at_random(seed), 0.0, 0.3)
        fog = made["regime"] == "sensory_fog"
        made.loc[fog, "loss"] += np.where(made["step"][fog] % 2 == 0, 3.0, -3.0)
        made.loc[fog, "state_drift"] += 3.0
        logs["self_random", seed] = made
    table = asked(("self_random", CLEAN), logs=logs, permutations=1, sets=(RAW, SPREADS, FULL))
    raw, spreads, full = (row(table, "self_random", CLEAN, one)["accuracy"] for one in (RAW, SPREADS, FULL))
    assert spreads > raw + 0.1 and abs(full - spreads) < 0.06


def test_no_window_is_named_from_its_own_run() -> None:
    runs = [np.arange(0, 15), np.arange(15, 30), np.arange(30, 31)]
    folds = _folds(runs, 3)
    assert [[*test] for _, test in folds] == [[*rows] for rows in runs]
    assert all(not {*train} & {*test} and len(train) + len(test) == 31 for train, test in folds)
    assert not _folds(runs[:1], 3) and not _folds(runs[1:], 20) and not _folds([], 0)


def test_no_way_to_lay_few_windows_is_an_error() -> None:
    """One window a class, none, or one class alone in a run: any of these can come of a short study."""
    names = ("sensory_fog", "bewilderment", "self_clamp")
    for trial in range(12):
        random, logs = np.random.default_rng(trial), {}
        for condition in ("self", "self_random"):
            for seed in range(1, 1 + int(random.integers(1, 4))):
                starts = np.sort(
                    random.choice(np.arange(0, STEPS, 30), int(random.integers(0, 3)), replace=False)
                )
                windows = [
                    (str(random.choice(names)), int(start), int(start + random.integers(5, 29)))
                    for start in starts
                ]
                logs[condition, seed] = log(condition, seed, windows, 3.0)
        made = told(logs, 5, [("self", NO_CLAMP, 1), ("self_random", CLEAN, 1)])
        known = made["classification"]["accuracy"].dropna()
        assert known.between(0, 1).all() and len(made["classification_seeds"]) >= len(known)
    assert [len(table) for table in told({}, 5, [("self", CLEAN, 3)]).values()] == [0, 0]


# Figure and page.

Scores = dict[tuple[str, str, str], float]
CORE_SCORES: Scores = {
    ("self", PUBLISHED, BASIC): 0.77, ("self", PUBLISHED, TIME): 0.97, ("self", PUBLISHED, STATE): 0.93, ("vanilla", PUBLISHED, BASIC): 0.7,
    **{("self_random", way, name): score for way in (CLEAN, NO_CLAMP)
       for name, score in ((BASIC, 0.55), (RAW, 0.65), (SPREADS, 0.70), (FULL, 0.68), (TIME, 0.3))},
    ("self_random", CLEAN, STATE): 0.90, ("self_random", NO_CLAMP, STATE): 0.50,
    ("vanilla_random", CLEAN, BASIC): 0.54, ("vanilla_random", CLEAN, TIME): 0.3,
}  # fmt: skip
CONTROL_SCORES: Scores = {
    (name, way, features): 0.5
    if features == TIME
    else 0.7
    if not place and features in (STATE, BIAS)
    else 0.5 + place / 100
    for place, name in enumerate(("self", "vanilla", *STATIC, *ONE))
    for way in (CLEAN, NO_CLAMP)
    for features in SETS
}


def study(scores: Scores, suite: str, seeds: int = 3) -> dict[str, pd.DataFrame]:
    """Tables in which the accuracies of seeds lie a hundredth apart, but for the time's."""
    pooled = [
        (suite, *place, score, 0.2, 0.26, 0.01, 60 * seeds, seeds, 5, 0.24) for place, score in scores.items()
    ]
    by_seed = [
        (
            suite,
            *place,
            seed,
            score + 0.01 * (seed - 2) * (1 + place[0].startswith("self")) * (place[2] != TIME),
        )
        for place, score in scores.items()
        for seed in range(1, seeds + 1)
    ]
    kinds = ["suite", "condition", "protocol", "features"]
    counts = ["null_mean", "null_95", "p_value", "windows", "runs", "classes", "majority"]
    return {
        "classification": pd.DataFrame(pooled, columns=[*kinds, "accuracy", *counts]).query(
            "protocol != @PUBLISHED"
        ),
        "classification_seeds": pd.DataFrame(by_seed, columns=[*kinds, "seed", "accuracy"]).assign(
            sd=0.05, shuffled=0.2, shuffled_sd=0.1, windows=65
        ),
    }


def page(folder: Path, core: Scores = CORE_SCORES, controls: Scores = CONTROL_SCORES, seeds: int = 3) -> Page:
    page_of(EXPERIMENT, folder, study(core, "shakespeare", seeds))
    for name, table in study(controls, "controls", seeds).items():
        (folder / "controls").mkdir(exist_ok=True)
        table.to_csv(folder / "controls" / f"{name}.csv", index=False)
    return page_of(EXPERIMENT, folder, {})


ADDS, BEYOND = (
    "channels still add to loss",
    "has not seen, the state's channels add to all",
)
OLD = "channels name regimes right that loss"


def test_verdicts_follow_the_accuracies_of_seeds(tmp_path: Path) -> None:
    text = page(tmp_path)
    for claim in (ADDS, BEYOND, "the step number alone", "every window of one run"):
        assert verdict(text, claim) == "Not clear"
    assert verdict(text, OLD) == "Clear"
    assert text.findings["adds"].evidence.endswith("n = 3. It is clearly the other way round.")
    assert verdict(text, "runs of the controls, the state's channels add to loss") == "Clear"
    assert (
        verdict(text, "those of any constant bias")
        == verdict(text, "single number tell regimes less well")
        == "Clear"
    )
    text = page(
        tmp_path,
        CORE_SCORES
        | {
            ("self_random", NO_CLAMP, STATE): 0.66,
            ("self", PUBLISHED, STATE): 1.0,
            ("self_random", NO_CLAMP, FULL): 0.8,
        },
    )
    assert verdict(text, ADDS) == verdict(text, BEYOND) == verdict(text, "every window of one run") == "Clear"
    text = page(tmp_path, {place: score for place, score in CORE_SCORES.items() if place[1] != NO_CLAMP})
    assert verdict(text, ADDS) == "Not measured"  # the held state is no ground for a finding
    assert verdict(page(tmp_path, seeds=2), ADDS) == "Open"


def test_the_page_shows_published_pooled_and_by_seed(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert_tables(text)
    core, controls = text[: text.index("each control?")], text[text.index("each control?") :]
    old = [
        cells(core, f"`{features}`, `{name}`")[1:3]
        for features, name in ((STATE, "self"), (BASIC, "vanilla"), (TIME, "self"))
    ]
    assert old == [
        ["100 %", "0.930 [0.880, 0.980]"],
        ["77 %", "0.700 [0.675, 0.725]"],
        ["–", "0.970 [0.970, 0.970]"],
    ]
    assert cells(core, f"{CLEAN}, `self_random`: {STATE}")[1:3] == ["0.900", "0.900 [0.850, 0.950]"]
    assert cells(controls, f"{CLEAN}, `self`: {BASIC}")[1] == "0.500"
    # of the schedule alone, so alike in every condition: one row
    rows = [line.split(" | ")[0] for line in controls.splitlines() if TIME in line]
    assert rows == [f"| {protocol}, every condition: {TIME}" for protocol in (CLEAN, NO_CLAMP)]
    rows = [line.split(" | ")[0] for line in core.splitlines() if line.startswith("| ") and TIME in line]
    assert f"| {NO_CLAMP}, `self_random`: {TIME}" in rows  # the one condition that there is
    empty = page_of(EXPERIMENT, tmp_path / "none", {})
    assert empty.count("The tables hold nothing for this yet.") == 3 and "nan" not in empty.replace(
        "nanoGPT", ""
    )


def test_the_figure_shows_every_seed(tmp_path: Path) -> None:
    tables = study(CORE_SCORES, "shakespeare", 8)
    drawing = drawn_of(EXPERIMENT.figures[0], tmp_path, tables)
    title = title_of(drawing)
    assert title.startswith(
        "In runs that the classifier has not seen, the state's channels add nothing clear to"
    )
    published, clean, _ = drawing.axes
    assert [label.get_text().replace("\n", " ") for label in published.get_yticklabels()] == [
        TIME,
        BASIC,
        STATE,
    ]
    values = np.concatenate(
        [np.asarray(line.get_xdata(), float) for line in clean.lines if line.get_marker() == "^"]
    )
    wanted = tables["classification_seeds"].query("condition == 'self_random' and protocol == 'clean'")
    assert sorted(values) == pytest.approx(sorted(wanted["accuracy"]))
    assert max(bar.get_extents().x1 for bar in clean.containers[0]) == clean.transData.transform((0.26, 0))[0]
    with pytest.raises(NothingToDraw):
        drawn_of(EXPERIMENT.figures[0], tmp_path / "none", {})
