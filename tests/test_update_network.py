"""The replay against the self-state itself, networks whose reading is known, and a probe that finds what is planted."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import perturb
from base import storage
from base.rng import Stream, generator
from configs.state import STATS
from configs.state import SelfState as SelfStateConfig
from experiments import update_network, update_probe, update_rows
from experiments.kit import replay
from experiments.kit.replay import Network, Replay
from experiments.kit.tables import NothingToDraw
from self_state import SelfState
from tests.made_runs import (
    MadeRun,
    cells,
    context,
    drawn_of,
    made_run,
    make_tables,
    page_of,
    regimes_of,
    title_of,
    verdict,
)
from tests.test_dimensions import published_log

TABLES = (
    *update_network.EXPERIMENT.of("shakespeare"),
    *update_probe.EXPERIMENT.of("shakespeare"),
    *update_rows.EXPERIMENT.of("shakespeare"),
)
(FIGURE,) = update_network.EXPERIMENT.figures
WINDOWS = [("false_feedback", 40, 55), ("self_clamp", 70, 85), ("bewilderment", 100, 140)]
CLAMPS: dict[str, dict[str, Any]] = {
    "freeze": {}, "clamp": {"limit": 0.05}, "noise": {"std": 0.2}, "scale": {"factor": 0.5},
}  # fmt: skip


def statistics(seed: int, steps: int, regime: np.ndarray) -> pd.DataFrame:
    """A log whose loss rises in bewilderment and whose confidence falls in sensory_fog."""
    random = np.random.default_rng(seed)
    log = pd.DataFrame({"step": range(steps), "regime": regime})
    log["loss"] = 2 + 0.1 * random.normal(size=steps) + 1.5 * (regime == "bewilderment")
    log["entropy"] = 2 + 0.1 * random.normal(size=steps)
    log["top1"] = 0.4 + 0.02 * random.normal(size=steps) - 0.2 * (regime == "sensory_fog")
    log["grad_norm"] = 1 + 0.1 * random.normal(size=steps)
    log["progress"] = np.arange(steps) / steps
    return log.astype(dict.fromkeys(STATS, np.float32))


def trained(
    folder: Path,
    condition: str,
    seed: int,
    steps: int = 160,
    windows: Any = WINDOWS,
    clamp: str = "freeze",
    size: float = 0.4,
    **settings: Any,
) -> MadeRun:
    """A run whose states its stored weights made, step by step, by self_state.py and perturb.py themselves."""
    fields = {"dim": 4, "hidden": 7, "decay": 0.3, **settings}
    regime = regimes_of(steps, windows)
    log = statistics(seed, steps, regime)
    clamps = {"self_clamp": {"mode": clamp, **CLAMPS[clamp]}}
    run = made_run(
        condition, seed, log, None, folder, self_state=fields, regimes=clamps, train={"warmup_steps": 20}
    )
    made = SelfState(run.config.self_state, n_embd=6)
    with torch.no_grad():
        for index, parameter in enumerate(made.parameters()):
            parameter.copy_(
                torch.from_numpy(np.random.default_rng((seed, index)).normal(0, size, parameter.shape))
            )
    value, states = made.initial(), [np.zeros(4)]
    shown = torch.from_numpy(log[list(STATS)].to_numpy(np.float32))
    for step in range(1, steps):
        seen = perturb.perturb_stats(regime[step], shown[step - 1], run.config.regimes)
        random = functools.partial(generator, seed, Stream.PERTURB, step)
        value, _ = perturb.update_state(regime[step], made, value, seen, run.config.regimes, random)
        states.append(value.state.detach().double().numpy())
    path = np.array(states)
    log["state_drift"] = np.linalg.norm(np.diff(path, axis=0, prepend=path[:1]), axis=1)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {f"self_state.{name}": value.detach().numpy() for name, value in made.named_parameters()}
    storage.save_tensors(folder / "model.safetensors", weights)
    return replace(run, path=path)


@pytest.mark.parametrize("update", ["mlp", "linear", "gru"])
@pytest.mark.parametrize(
    ("clamp", "standardise"), [("freeze", True), ("noise", False), ("clamp", True), ("scale", False)]
)
def test_a_replay_goes_where_the_run_went(tmp_path: Path, update: str, clamp: str, standardise: bool) -> None:
    run = trained(tmp_path, "self", 1, clamp=clamp, update=update, standardise=standardise)
    found = replay.open_replay(run)
    assert found is not None and found.late.sum() == 160 - 20
    np.testing.assert_allclose(found.path(found.inputs), found.states[1:], atol=1e-4)
    row = update_network.fidelity(found).iloc[0]
    assert row["last_error"] < 1e-5 < row["last_norm"] and row["distance"] < 1e-4
    assert row["movement_share"] == pytest.approx(1, abs=1e-3)
    assert row["movement"] == pytest.approx(row["logged_movement"], rel=1e-3)


def test_what_learning_added_to_the_path_is_not_in_the_replay(tmp_path: Path) -> None:
    run = trained(tmp_path, "self", 1, windows=[])
    assert run.path is not None
    moved = run.path + np.linspace(0, 20, 160)[:, None]
    found = replay.open_replay(replace(run, path=moved))
    assert found is not None
    row = update_network.fidelity(found).iloc[0]
    assert row["movement_share"] == row["movement"] / row["logged_movement"] < 0.2 and row["distance"] > 5


def test_the_network_before_training_is_the_one_that_was_drawn() -> None:
    for init in ("small", "default"):
        settings = SelfStateConfig(init=init, hidden=9, dim=3)
        made = SelfState(settings, n_embd=5)
        made.initialise(generator(4, Stream.STATE_INIT))
        found = replay.untrained(settings, 4)
        for name, weight in found.weights.items():
            np.testing.assert_allclose(weight, made.state_dict()[name].numpy(), atol=1e-7)


def test_runs_with_a_memory_or_without_a_state_are_left_out(tmp_path: Path) -> None:
    run = trained(tmp_path, "self", 1)
    without = made_run("vanilla", 1, run.log, None, self_state={"enabled": False})
    memory = made_run("ema", 1, run.log, run.path, self_state={"dim": 4, "memory": {"kind": "ema"}})
    assert replay.open_replay(without) is None and replay.open_replay(memory) is None
    made = make_tables(TABLES, context([without, memory]))
    assert len(made) == 8 and all(table.empty for table in made.values())


A = np.zeros((3, 5))
A[0, 0], A[1, 4] = (
    2.0,
    -1.0,
)  # reads the loss into the first dimension, the clock into the second, nothing else


def reading(seed: int = 1, steps: int = 400, windows: Any = (), condition: str = "self_random") -> Replay:
    """A linear network that reads the loss twice, the clock once, and has a reader three times the identity."""
    regime = regimes_of(steps, windows)
    log = statistics(seed, steps, regime)
    inputs = log[list(STATS)].to_numpy(float)[:-1]
    weights = {"network.weight": A, "network.bias": np.array([0.0, 0.0, 0.3]), "reader.weight": 3 * np.eye(3)}
    run = made_run(condition, seed, log, None, self_state={"dim": 3, "decay": 0.2, "update": "linear"})
    network = Network("linear", weights)
    made = Replay(run, network, np.arange(1, steps), inputs, regime[1:].astype(str), np.zeros((steps, 3)), np.arange(1, steps) >= 100)  # fmt: skip
    return replace(made, states=np.concatenate([np.zeros((1, 3)), made.path(inputs)]))


def test_sensitivity_of_known_weights() -> None:
    found = reading(windows=[("bewilderment", 200, 300)])
    table = update_network.sensitivity(found)
    seen = found.inputs
    calm = seen[found.regimes == "calm"].mean(0)
    assert abs(calm[0] - seen[:, 0].mean()) > 0.2  # the baseline is without bewilderment's loss
    for column, (name, slope) in enumerate(zip(STATS, (2, 0, 0, 0, 1), strict=True)):
        rows = table[table["input"] == name]
        assert len(rows) == 25
        assert rows["value"].iloc[[0, -1]].tolist() == pytest.approx(
            list(np.percentile(seen[:, column], [5, 95]))
        )
        expected = slope * np.abs(rows["value"] - calm[column])
        np.testing.assert_allclose(rows["change"], expected, atol=1e-12)
    loss = table[table["input"] == "loss"]
    rest = np.hypot(calm[4], 0.3)
    np.testing.assert_allclose(loss["norm"], np.hypot(2 * loss["value"], rest), atol=1e-9)
    lengths = 3 * (np.hypot(2 * loss["value"], rest) - np.hypot(2 * calm[0], rest))
    np.testing.assert_allclose(loss["bias_norm_change"], lengths, atol=1e-9)


def test_the_baseline_of_the_published_run_is_the_published_one() -> None:
    # analysis_seed42.json, mlp_input_grad: baseline_mean and baseline_std of loss, entropy, top1, grad_norm, progress
    log = published_log("self-regimes")
    mean, sd = update_network.baseline(log[list(STATS)].to_numpy(), log["regime"].to_numpy(dtype=str))
    np.testing.assert_allclose(mean, [2.16551990, 2.26521022, 0.36651035, 1.53977603, 0.50891007], rtol=2e-8)
    np.testing.assert_allclose(sd, [0.36737745, 0.47027537, 0.10103141, 0.44667912, 0.33443571], rtol=2e-7)


def test_gradients_of_known_weights() -> None:
    found = reading()
    table = update_network.gradients(found).set_index("input")
    assert table["gradient"].tolist() == pytest.approx([2, 0, 0, 0, 1], abs=1e-9)
    sd = found.inputs.std(0)
    assert table["share"].tolist() == pytest.approx([2 * sd[0] / (2 * sd[0] + sd[4]), 0, 0, 0, sd[4] / (2 * sd[0] + sd[4])], abs=1e-7)  # fmt: skip
    size = np.sqrt((2 * found.inputs[:, 0]) ** 2 + found.inputs[:, 4] ** 2 + 0.09)
    expected = [np.corrcoef(column, size)[0, 1] for column in found.inputs.T]
    assert table["norm_correlation"].tolist() == pytest.approx(expected) and expected[0] > 0.7
    assert table["untrained_correlation"].isna().all()  # only an mlp is drawn again


def test_what_an_untrained_network_proposes_is_long_when_its_inputs_are(tmp_path: Path) -> None:
    run = trained(tmp_path, "self", 3, windows=[], activation="tanh")
    found = replay.open_replay(run)
    assert found is not None
    before = replay.untrained(run.config.self_state, 3)
    size = np.linalg.norm(before.propose(found.inputs, found.inputs), axis=1)
    table = update_network.gradients(found)
    expected = [np.corrcoef(column, size)[0, 1] for column in found.inputs.T]
    assert table["untrained_correlation"].tolist() == pytest.approx(expected)
    assert not np.allclose(table["norm_correlation"], expected, atol=0.05)


def test_ablation_of_known_weights() -> None:
    found = reading()
    table = update_network.ablation(found).set_index("frozen")
    change: Any = table["relative_change"]
    for name in ("entropy", "top1", "grad_norm"):
        assert change[name] == 0
    assert change["all but progress"] == pytest.approx(change["loss"])  # the rest is not read
    assert change["all"] == pytest.approx(
        np.hypot(change["loss"], change["progress"])
    )  # each has its own dimension
    assert 1 <= change["all"] < 1.2 and 0.1 < change["loss"] < change["progress"]
    states = found.path(found.inputs)[found.late]
    held = 2 * np.abs(found.inputs[:, 0] - found.inputs[:, 0].mean())
    assert table["proposal_change"]["loss"] == pytest.approx(held.mean())
    assert table["movement"].iloc[0] == pytest.approx(np.sqrt(((states - states.mean(0)) ** 2).sum(1).mean()))


def test_drift_follows_the_input_that_is_read_and_no_other() -> None:
    found = reading(steps=700)
    jumps = np.abs(np.diff(found.inputs[:, 1], prepend=found.inputs[0, 1]))  # of the entropy
    states = np.concatenate([[0], np.cumsum(jumps)])[:, None]
    table = update_network.correlations(replace(found, states=states))
    change: Any = table[(table["of"] == "change") & (table["series"] == "detrended")].set_index("input")
    assert change.loc["entropy", "rho"] > 0.95 and change.loc["entropy", "p_value"] == pytest.approx(1 / 400)
    others = change.drop(["entropy", "progress"])
    assert (others["rho"].abs() < 0.2).all() and (others["p_value"] > 0.05).all()
    assert np.isnan(change.loc["progress", "rho"])  # it changes by the same always
    raw: Any = table[(table["of"] == "value") & (table["series"] == "as logged")].set_index("input")
    assert abs(raw.loc["entropy", "rho"]) < 0.2
    # a drift that grows as the grad_norm does, both through training alone
    inputs, slow = found.inputs.copy(), np.linspace(1, 3, len(found.inputs))
    inputs[:, 3] += slow
    jumpy = np.cumsum(slow * np.random.default_rng(5).uniform(0.9, 1.1, len(slow)))
    table = update_network.correlations(
        replace(found, inputs=inputs, states=np.concatenate([[0], jumpy])[:, None])
    )
    rho: Any = table[table["of"] == "value"].set_index(["input", "series"])["rho"]
    assert rho["grad_norm", "as logged"] > 0.9 and abs(rho["grad_norm", "detrended"]) < 0.2


def test_a_discriminant_parts_what_can_be_parted() -> None:
    random = np.random.default_rng(0)
    y = np.repeat([0, 2], 50)
    x = random.normal(size=(100, 4)) + 6 * np.eye(4)[y]
    assert (update_probe.discriminant(x, y, x, 3) == y).all()  # 1 was never seen and is never named
    assert update_probe.balanced(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])) == pytest.approx(
        (2 / 3 + 1) / 2
    )


def mixed(seed: int) -> list[tuple[str, int, int]]:
    """Twelve windows of two regimes, in an order of the seed's own."""
    names = np.random.default_rng((9, seed)).permutation(["bewilderment", "sensory_fog"] * 6)
    return [(str(name), 110 + 40 * i, 130 + 40 * i) for i, name in enumerate(names)]


def test_a_planted_regime_is_told_and_a_shuffled_one_is_not() -> None:
    replays = [reading(seed, 600, mixed(seed)) for seed in (1, 2, 3)]
    table = update_probe.probed(replays, 40)
    rows = table["update_probe"]
    assert set(rows["features"]) == {"statistics"}  # a linear network has no hidden units
    assert (rows["balanced_accuracy"] > 0.9).all() and (rows["p_value_all"] == 1 / 41).all()
    assert (rows["null_mean"].between(0.2, 0.45)).all() and (rows["classes"] == 3).all()
    recalls = table["update_probe_regimes"].groupby("regime")["recall"].mean()
    assert set(recalls.index) == {"calm", "bewilderment", "sensory_fog"} and recalls.min() > 0.9
    # the same regimes, at times that have nothing to do with the statistics
    wrong = [replace(one, regimes=regimes_of(600, mixed(9 + i))[1:].astype(str), inputs=one.inputs[np.random.default_rng(i).permutation(599)]) for i, one in enumerate(replays)]  # fmt: skip
    rows = update_probe.probed(wrong, 40)["update_probe"]
    assert (rows["balanced_accuracy"] < 0.5).all() and (rows["p_value_all"] > 0.05).all()


def test_the_probe_sees_settled_steps_after_warm_up_and_thins_the_calm() -> None:
    found = reading(1, 600, mixed(1))
    chosen = update_probe.chosen_steps(found)
    assert (found.regimes[chosen] == found.regimes[chosen - 1]).all() and found.late[chosen].all()
    names, counts = np.unique(found.regimes[chosen], return_counts=True)
    assert dict(zip(names, counts, strict=True))["calm"] == max(counts[names != "calm"])


def study(folder: Path, seeds: int, size: float = 0.4) -> dict[str, pd.DataFrame]:
    runs = []
    for seed in range(1, seeds + 1):
        for condition in ("self", "self_calm", "self_random"):
            windows = [] if condition == "self_calm" else mixed(0 if condition == "self" else seed)[:8]
            where = folder / condition / str(seed)
            runs.append(trained(where, condition, seed, 440, windows, standardise=True, size=size))
    return make_tables(TABLES, context(runs))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    return study(tmp_path_factory.mktemp("runs"), 3)


def test_the_figure_draws_and_says_what_the_page_says(
    tables: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    probe = tables["update_probe"].copy()
    for features, accuracy in ((update_probe.HIDDEN, 0.8), (update_probe.BEFORE, 0.5)):
        rows = probe["features"] == features
        spread = 0.001 * probe.loc[rows, "seed"] ** (1 + (accuracy > 0.6))
        probe.loc[rows, "balanced_accuracy"] = accuracy + spread
    page = page_of(update_network.EXPERIMENT, tmp_path / "page", {**tables, "update_probe": probe})
    assert verdict(page, "After training the hidden units") == "Clear"
    title = title_of(drawn_of(FIGURE, tmp_path, tables))
    assert "the batch's statistics make more" in title
    one = {name: table[table["seed"] == 1] for name, table in tables.items()}
    one["update_probe"] = one["update_probe"].assign(balanced_accuracy=np.nan)
    assert title_of(drawn_of(FIGURE, tmp_path / "one", one)).startswith("Not settled: ")
    calm = {name: table[table["condition"] == "self_calm"] for name, table in tables.items()}
    drawn_of(FIGURE, tmp_path / "calm", calm)
    with pytest.raises(NothingToDraw):
        drawn_of(FIGURE, tmp_path / "none", {name: table.iloc[:0] for name, table in tables.items()})


def test_the_page_follows_the_tables(tables: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    page = page_of(update_network.EXPERIMENT, tmp_path, tables)
    assert verdict(page, "the finished network moves the state at least half") == "Clear"
    assert cells(page, "`self_calm` |")[3] == "1.000 [1.000, 1.000]"
    assert verdict(page, "tell the regime in a run") == "Clear"
    assert "nan" not in page and page.count("## ") == 7

    other = {name: table.copy() for name, table in tables.items()}
    other["update_replay"]["movement_share"] = 0.2 + 0.01 * other["update_replay"]["seed"]
    other["update_probe"][["p_value", "p_value_all"]] = 0.4
    for name, column, value, new, start in (
        ("update_probe", "features", update_probe.HIDDEN, "balanced_accuracy", 0.2),
        ("update_ablation", "frozen", "progress", "relative_change", 5.0),
        ("update_correlations", "input", "loss", "rho", -0.02),
    ):
        table = other[name]
        table.loc[table[column] == value, new] = start + 0.01 * table["seed"]
    page = page_of(update_network.EXPERIMENT, tmp_path, other)
    for claim in (
        "the finished network moves the state at least half", "the batch's statistics make more", "The state moves more at steps",
        "tell the regime in a run", "After training the hidden units", "better than the statistics they are made from",
    ):  # fmt: skip
        assert verdict(page, claim) == "Not clear", claim


@pytest.mark.parametrize("absent", [*(name for one in TABLES for name in one.names), "all", "empty", "seeds"])
def test_partial_studies_have_a_page(tables: dict[str, pd.DataFrame], absent: str, tmp_path: Path) -> None:
    some = {name: table.iloc[:0] if absent == "empty" else table for name, table in tables.items()}
    some = {name: table[table["seed"] == 1] if absent == "seeds" else table for name, table in some.items()}
    some = {name: table for name, table in some.items() if absent not in (name, "all")}
    page = page_of(update_network.EXPERIMENT, tmp_path, some)
    assert "nan" not in page and page.count("## ") == 7
    if absent in ("all", "empty", "update_replay"):
        assert verdict(page, "the finished network moves the state at least half") == "Not measured"
    if absent in ("all", "empty", "update_probe"):
        assert verdict(page, "After training the hidden units") == "Not measured"
    if absent == "seeds":
        assert verdict(page, "tell the regime in a run") == "Open"
