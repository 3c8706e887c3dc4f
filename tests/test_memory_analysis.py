"""What a memory does to its state: recalled, replayed, disturbed and recovered, by hand and from planted runs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import memory as remembering
from base import storage
from configs.state import STATS, BufferMemory, EmaMemory, NoMemory, SelfState
from experiments import memory, memory_tables
from experiments.kit import followed as following
from experiments.kit.replay import open_listening, open_replay
from self_state import Parts
from self_state import SelfState as SelfStateModule
from tests.made_runs import (
    MadeRun,
    context,
    made_run,
    make_tables,
    regimes_of,
)

COLUMNS = {  # of the tables that pages read
    "memory_measures": [
        *("suite", "condition", "seed", "regime", "share", "share_calm", "gate", "gate_calm", "at_bound", "norm_before", "distance"),
        *("force", "force_memory", "rate", "drift_before", "drift", "drift_after", "recovery", "recovered", "watched"),
    ],
    "memory_tradeoff": [
        *("suite", "condition", "seed", "drift", "displacement", "settled", "leverage", "placebo", "leverage_over_placebo", "heldout_loss"),
    ],
    "memory_ranks": ["suite", "seed", "stability", "outcome", "conditions", "rho"],
}  # fmt: skip


def tables_of(of: list[MadeRun], **made: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The tables of some runs; those of other experiments are given, or empty."""
    others = {
        name: made.get(name, pd.DataFrame()) for name in ("frozen_effects_summary", "runs", "regime_deltas")
    }
    replayed = ("memory_feature_sensitivity",)  # of stored weights, which runs made here have none of
    made_of_logs = [one for one in memory.EXPERIMENT.of("memory") if one.names != replayed]
    found = make_tables(made_of_logs, context(of), others)
    return {name: table for name, table in found.items() if name.startswith("memory")}


AVERAGE = {"kind": "ema", "decay": 0.3, "limit": 0.5}
RING = {"kind": "buffer", "length": 4, "stride": 3, "limit": 1.0}
MEMORIES: dict[str, dict[str, Any]] = {"none": {"kind": "none"}, "ema": AVERAGE, "buffer_64": RING}
DECAY = 0.2


def lived(
    condition: str,
    seed: int,
    settings: dict[str, Any],
    steps: int = 240,
    gate: float = 0.4,
    scale: float = 1.0,
) -> tuple[MadeRun, np.ndarray, np.ndarray]:
    """A run whose state follows a moving target and its memory, the latter by memory.py itself.

    Returns the run, what was recalled in each update and the memory's part of each, (steps, 5), NaN and 0 at first.
    """
    random = np.random.default_rng((seed, len(condition)))
    windows = [("lr_heatwave", 60, 80), ("bewilderment", 120, 160)]
    regime = regimes_of(steps, windows)
    kind = SelfState(memory=BufferMemory(**settings) if settings["kind"] == "buffer" else EmaMemory(**settings) if settings["kind"] == "ema" else NoMemory()).memory  # fmt: skip
    held = remembering.initial(kind, 5, torch.device("cpu"))
    listener = None if kind.kind == "none" else remembering.Recall(kind, 5, 1)
    states, recalled, parts = np.zeros((steps, 5)), np.full((steps, 5), np.nan), np.zeros((steps, 5))
    log = pd.DataFrame({"step": range(steps), "regime": regime})
    norms, heard = np.full(steps, np.nan), np.full((steps, 3), np.nan)
    way = random.normal(size=5)
    for step in range(1, steps):
        past = states[step - 1]
        disturbed = regime[step - 1] == "bewilderment"
        target = scale * (np.ones(5) + way * disturbed + 0.3 * random.normal(size=5))
        proposed, weight = np.zeros(5), 0.0
        if kind.kind != "none":
            query = torch.from_numpy(past).float()
            held = remembering.remember(kind, held, query)
            found = remembering.recall(kind, held, query)
            if found is not None and listener is not None:
                recalled[step], weight = found.numpy(), gate
                proposed = listener.limited(
                    kind.scale * (found - query), torch.from_numpy(target).float()
                ).numpy()
            shares = weight * np.linalg.norm(proposed), (1 - weight) * np.linalg.norm(target)
            heard[step] = np.linalg.norm(proposed), shares[0] / sum(shares), weight
        norms[step] = np.linalg.norm(target)
        states[step] = (1 - DECAY) * past + DECAY * ((1 - weight) * target + weight * proposed)
        parts[step] = DECAY * weight * proposed
    log["mlp_norm"] = norms
    log[["memory_norm", "memory_share", "gate"]] = heard
    log["state_drift"] = np.linalg.norm(np.diff(states, axis=0, prepend=states[:1]), axis=1)
    self_state = {"dim": 5, "decay": DECAY, "memory": settings}
    run = made_run(condition, seed, log, states, self_state=self_state)
    return run, recalled, parts


@pytest.mark.parametrize("settings", [AVERAGE, RING])
def test_what_was_recalled_and_the_memorys_part_follow_from_the_states(settings: dict[str, Any]) -> None:
    run, recalled, parts = lived("ema", 1, settings)
    followed = following.follow(run)
    found = following.recalled(followed.states, run.config.self_state)
    assert np.isnan(found[0]).all()  # the first update makes row 1
    np.testing.assert_allclose(found[2:], recalled[2:], atol=1e-6)
    np.testing.assert_allclose(followed.pull[2:], parts[2:], atol=1e-6)
    gate, limit = 0.4, settings["limit"]
    assert followed.bound[5] == pytest.approx(limit * gate / (limit * gate + 1 - gate))


def listening(folder: Path, settings: dict[str, Any], zeroed: bool = False) -> tuple[MadeRun, list[Parts]]:
    """A run whose updates self_state.py itself made, with its stored weights, and what each update was made of."""
    random, steps = np.random.default_rng(3), 60
    log = pd.DataFrame(random.normal(size=(steps, len(STATS))).astype(np.float32), columns=list(STATS))
    log["step"], log["regime"] = range(steps), regimes_of(steps, [("bewilderment", 40, 50)])
    fields = {
        "dim": 5,
        "hidden": 7,
        "activation": "tanh",
        "standardise": False,
        "decay": 0.3,
        "memory": settings,
    }
    run = made_run("ema", 1, log, None, folder, self_state=fields, train={"warmup_steps": 10})
    made = SelfStateModule(run.config.self_state, n_embd=6)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.from_numpy(random.normal(0, 0.5, parameter.shape)))
        if zeroed:
            made.get_parameter("network.0.weight")[:, len(STATS) :] = 0
    value, states, parts = made.initial(), [np.zeros(5)], list[Parts]()
    for step in range(1, steps):
        value, part = made.update(value, torch.from_numpy(log[list(STATS)].to_numpy()[step - 1].copy()))
        assert part is not None
        states.append(value.state.detach().double().numpy())
        parts.append(part)
    weights = {f"self_state.{name}": value.detach().numpy() for name, value in made.named_parameters()}
    storage.save_tensors(folder / "model.safetensors", weights)
    return replace(run, path=np.array(states)), parts


@pytest.mark.parametrize("settings", [AVERAGE, RING])
def test_a_network_that_listens_is_replayed(settings: dict[str, Any], tmp_path: Path) -> None:
    run, parts = listening(tmp_path, settings)
    found = open_listening(run)
    assert found is not None and open_replay(run) is None
    target, gate = found.proposals(), found.network.gate(found.inputs)
    np.testing.assert_allclose(target, [part.target.numpy() for part in parts], atol=1e-5)
    heard = [float(part.gate) for part in parts if part.gate is not None]
    np.testing.assert_allclose(gate[5:], heard[5:], atol=1e-5)  # the first, with nothing recalled, are zero


def test_features_that_are_read_matter_and_others_do_not(tmp_path: Path) -> None:
    run, parts = listening(tmp_path / "read", RING)
    rows: Any = memory_tables.memory_feature_sensitivity(context([run])).set_index("regime")
    assert list(rows.index) == ["calm", "bewilderment"] and (rows["relative_change"] > 0.05).all()
    norms = [float(part.target.norm()) for part in parts][39:49]  # part i made the state of step i + 1
    assert rows.loc["bewilderment", "target"] == pytest.approx(np.mean(norms), rel=1e-4)
    gates = [float(part.gate) for part in parts if part.gate is not None][39:49]
    assert rows.loc["bewilderment", "gate"] == pytest.approx(np.mean(gates), rel=1e-4)
    deaf, _ = listening(tmp_path / "deaf", RING, zeroed=True)
    rows = memory_tables.memory_feature_sensitivity(context([deaf]))
    assert (rows[["change", "gate_change"]] == 0).all(axis=None) and (
        rows["gate"] == rows["gate_without"]
    ).all()
    assert memory_tables.memory_feature_sensitivity(context([])).empty


def test_force_and_distance_of_updates_made_by_hand() -> None:
    states = np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    force, distance = following.restoring(states, np.zeros(2))
    np.testing.assert_allclose(distance, [0, 0, 2, 1, np.sqrt(2)])
    np.testing.assert_allclose(force, [np.nan, np.nan, 1.0, 0.0, -np.sqrt(2)])  # back, sideways, away
    force, _ = following.restoring(states, np.zeros(2), np.full((5, 2), -0.5))
    np.testing.assert_allclose(
        force[2:], [0.5, 0.5, np.sqrt(0.5)]
    )  # of a part: towards the baseline each time


def moved(
    condition: str,
    seed: int,
    windows: list,
    back: int = 10,
    size: float = 1.0,
    jitter: float = 0.01,
    norm: float = 0.0,
) -> MadeRun:
    """A state that stands still but for a jitter, goes `size` away in the 20 steps it feels [100, 120), and comes back in `back`."""
    x = np.where(np.arange(300) % 2, -jitter, jitter)
    x[101:121] = size * np.minimum(np.arange(1, 21) / 10, 1)
    x[121:] = size * np.maximum(1 - np.arange(1, 180) / back, 0) if back else size
    states = np.stack([x, np.full(300, norm)], axis=1)
    log = pd.DataFrame({"step": range(300), "regime": regimes_of(300, windows)})
    log["state_drift"] = np.linalg.norm(np.diff(states, axis=0, prepend=states[:1]), axis=1)
    log["memory_share"] = np.where(log["regime"] == "calm", 0.25, 0.75)
    log["gate"] = np.where(
        log["step"] < 75, 0.25, 0.8
    )  # a quarter of the steps stand at the bound, which is the gate
    log["memory_norm"], log["mlp_norm"] = 0.0, 1.0
    self_state = {"dim": 2, "memory": {"kind": "ema", "decay": 0.1, "limit": 1.0}}
    return made_run(condition, seed, log, states, self_state=self_state)


def test_measures_of_a_planted_disturbance() -> None:
    run = moved("ema", 1, [("bewilderment", 100, 120)], norm=3.0)
    (row,) = tables_of([run])["memory_measures"].to_dict("records")
    assert (row["start"], row["end"], row["recovery"], row["recovered"]) == (100, 120, 9, True)
    assert row["distance"] == pytest.approx((0.01 + 4.5 + 10) / 20)
    assert row["force"] == pytest.approx(-(0.09 + 0.9) / 20)  # the leaving, by step, and standing still
    assert row["rate"] == pytest.approx(-(0.09 * 0.01 + 0.1 * 4.5) / (0.01**2 + 2.85 + 10))
    assert row["share"] == pytest.approx((19 * 0.75 + 0.25) / 20)  # the state feels a batch one step later
    assert row["share_calm"] == pytest.approx(0.25)
    assert row["at_bound"] == pytest.approx(75 / 300)
    assert row["drift"] == pytest.approx((0.09 + 0.9) / 20) and row["drift_before"] == pytest.approx(0.02)
    assert row["norm_before"] == pytest.approx(np.hypot(3, 0.01))
    assert row["force_memory"] == 0 and row["watched"] == 179


@pytest.mark.parametrize(
    ("windows", "back", "recovery", "watched"),
    [
        ([("bewilderment", 100, 120)], 40, 39, 179),
        ([("bewilderment", 100, 120)], 0, np.nan, 179),  # it never comes back
        (
            [("bewilderment", 100, 120), ("self_clamp", 129, 140)],
            10,
            np.nan,
            8,
        ),  # another regime cuts it short
        ([("self_clamp", 101, 121)], 10, 9, 179),  # acts on the state at once, not one step later
    ],
)
def test_steps_to_recover(windows: list, back: int, recovery: float, watched: int) -> None:
    table = tables_of([moved("ema", 1, windows, back)])["memory_measures"]
    row = table.iloc[0]
    assert row["watched"] == watched and bool(row["recovered"]) == np.isfinite(recovery)
    assert row["recovery"] == pytest.approx(recovery, nan_ok=True)


def effects(rows: list[tuple[str, int, int, float, float, float]]) -> pd.DataFrame:
    """frozen_effects_summary of (condition, seed, step, effect, mean of the two placebos)."""
    made = [
        (
            "s",
            condition,
            seed,
            step,
            protocol,
            "dimension",
            effect + 9 * (protocol != "heldout"),
            placebo,
            mean,
        )
        for condition, seed, step, effect, *means in rows
        for placebo, mean in zip(("rotated", "untrained"), means, strict=True)
        for protocol in ("heldout", "replication")
    ]
    names = "suite condition seed run_step protocol finder effect placebo placebo_mean"
    return pd.DataFrame(made, columns=names.split())


def test_leverage_is_the_held_out_effect_of_the_last_step_less_the_stronger_placebo() -> None:
    table = memory_tables.leverage(
        effects([("ema", 1, 1000, 5.0, 1.0, 1.0), ("ema", 1, 2000, 0.5, 0.1, 0.3)])
    )
    assert table[["leverage", "placebo", "leverage_over_placebo"]].to_numpy().tolist() == [[0.5, 0.3, pytest.approx(0.2)]]  # fmt: skip
    assert memory_tables.leverage(pd.DataFrame()).empty


@pytest.mark.parametrize("sign", [1, -1])
def test_a_planted_trade_off_is_found(sign: int) -> None:
    names = ("none", "ema", "buffer_32", "buffer_64")
    window = [("bewilderment", 100, 120)]
    runs = [
        moved(name, seed, window, size=1.0 + i, norm=2.0) for i, name in enumerate(names) for seed in (1, 2)
    ]
    runs = [run for run in runs if (run.condition, run.seed) not in (("ema", 2), ("buffer_32", 2))]
    tested = [
        (run.condition, run.seed, 2000, 1 + sign * 0.1 * names.index(run.condition), 0.1, 0.2) for run in runs
    ]
    losses = pd.DataFrame([("s", run.condition, run.seed, 2.0) for run in runs], columns=["suite", "condition", "seed", "heldout_loss"])  # fmt: skip
    made = tables_of(runs, frozen_effects_summary=effects(tested), runs=losses)
    tradeoff = made["memory_tradeoff"].set_index(["condition", "seed"])
    assert tradeoff.loc[("ema", 1), "displacement"] == pytest.approx((0.01 + 9 + 20) / 20 / np.hypot(2, 0.01))
    ranks = made["memory_ranks"].set_index(["seed", "stability", "outcome"])["rho"]
    assert ranks[1].tolist() == pytest.approx(
        [-sign] * 4
    )  # the further it moves, the more (or less) it steers
    assert ranks[2].isna().all()  # two memories have no rank correlation worth the name


def test_a_run_that_goes_on_has_its_origin_in_front() -> None:
    first = moved("origin", 1, [])
    later = moved("next", 1, [("bewilderment", 200, 220)])
    start = {"condition": "origin", "step": 150}
    log, states = later.log.iloc[150:].reset_index(drop=True), later.path[150:] + 7  # type: ignore[index]
    run = made_run("next", 1, log, states, self_state={"dim": 2}, start=start)
    found = following.follow_all([run, first])
    path = found["next", 1]
    assert path.log["step"].tolist() == list(range(300))
    assert (path.states[:150] == first.path[:150]).all() and (path.states[150:] == states).all()  # type: ignore[index]
    assert list(following.follow_all([run])) == []  # its origin is not finished


def test_a_run_without_state_and_no_run_at_all() -> None:
    vanilla = made_run("none", 1, moved("none", 1, []).log, None, self_state={"enabled": False})
    for runs in ([vanilla], []):
        made = tables_of(runs)
        assert set(made) == {"memory_measures", "memory_dynamics", "memory_tradeoff", "memory_ranks"}
        assert all(table.empty for table in made.values())
