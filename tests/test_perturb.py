"""What each regime does to a batch, statistics, state and learning rate, when it acts, and what the state is shown: by hand."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import perturb
from base.rng import Stream, generator
from configs.run import RunConfig
from configs.state import STATS
from configs.state import SelfState as SelfStateConfig
from configs.world import Bewilderment, FalseFeedback, LrHeatwave, Regimes, SelfClamp, SensoryFog
from self_state import SelfState, StateValue

V = 7
SHAPE = (40, 250)
X = np.random.default_rng(1).integers(0, V, SHAPE)
Y = np.where(np.random.default_rng(2).random(SHAPE) < 0.1, -1, np.random.default_rng(3).integers(0, V, SHAPE))
REGIMES = Regimes(
    bewilderment=Bewilderment(probability=0.6),
    sensory_fog=SensoryFog(probability=0.3),
    false_feedback=FalseFeedback(loss=0.5, entropy=-1.0, top1=0.25, grad_norm=2.0, progress=0.125),
    lr_heatwave=LrHeatwave(factor=3.0),
)


def drawn() -> np.random.Generator:
    return np.random.default_rng(4)


def run_of(schedule: dict[str, Any] | None = None, seed: int = 5, **state: Any) -> RunConfig:
    fields = {
        "corpus": "tiny",
        "seed": seed,
        "model": {"n_layer": 1, "n_head": 1, "n_embd": 4, "block_size": 8},
        "train": {"steps": 50, "batch_size": 3, "warmup_steps": 2},
        "log": {"effect_interval": 5, "probe_sequences": 1, "eval_interval": 5, "eval_batches": 1},
        "self_state": state,
        "schedule": schedule or {"kind": "none"},
        "regimes": {},
    }
    return RunConfig.model_validate_json(json.dumps(fields))


def test_bewilderment_draws_some_targets_anew_and_leaves_the_rest() -> None:
    before = Y.copy()
    x, y = perturb.perturb_batch("bewilderment", X, Y, REGIMES, V, drawn)
    assert x is X and (before == Y).all()
    assert (y[Y < 0] == -1).all()  # not scored, and still not
    scored = Y >= 0
    assert (y[scored] != Y[scored]).mean() == pytest.approx(0.6 * (1 - 1 / V), abs=0.02)
    for token in range(V):  # each to each, the first and the last of the vocabulary, too
        to = np.bincount(y[(token == Y) & (y != Y)], minlength=V)
        assert len(to) == V and to[token] == 0
        np.testing.assert_allclose(np.delete(to, token) / to.sum(), 1 / (V - 1), atol=0.06)


@pytest.mark.parametrize(("token", "put"), [("mask", V), ("first", 0)])
def test_fog_puts_one_token_in_the_place_of_some_inputs(token: Any, put: int) -> None:
    regimes = REGIMES.model_copy(update={"sensory_fog": SensoryFog(probability=0.3, token=token)})
    x, y = perturb.perturb_batch("sensory_fog", X, Y, regimes, V, drawn)
    assert y is Y and set(np.unique(x[x != X])) == {put}
    assert (x == put)[put != X].mean() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("regime", ["calm", "false_feedback", "self_clamp", "lr_heatwave"])
def test_other_regimes_leave_the_batch_alone(regime: str) -> None:
    x, y = perturb.perturb_batch(regime, X, Y, REGIMES, V, drawn)
    assert x is X and y is Y
    assert perturb.learning_rate_factor(regime, REGIMES) == (3 if regime == "lr_heatwave" else 1)


def test_false_feedback_adds_to_each_statistic_its_own() -> None:
    stats = torch.tensor([2.0, 3.0, 0.5, 1.0, 0.5])
    shown = perturb.perturb_stats("false_feedback", stats, REGIMES)
    assert shown.tolist() == [2.5, 2.0, 0.75, 3.0, 0.625]
    assert perturb.perturb_stats("bewilderment", stats, REGIMES) is stats


@pytest.fixture
def begun() -> tuple[SelfState, StateValue]:
    """A self-state after two updates, each number of its state somewhere between -2 and 2."""
    made = SelfState(SelfStateConfig(dim=6, hidden=7, decay=0.5), n_embd=4)
    made.initialise(generator(3, Stream.STATE_INIT))
    with torch.no_grad():
        for index, parameter in enumerate(made.parameters()):
            parameter.copy_(torch.from_numpy(np.random.default_rng(index).normal(0, 0.7, parameter.shape)))
    value, _ = made.update(made.initial(), torch.tensor([1.0, -1.0, 0.5, 2.0, 0.0]))
    return made, value


Acts = Callable[[np.ndarray], np.ndarray]
CLAMPS: list[tuple[dict[str, Any], Acts, Acts]] = [
    ({"mode": "clamp", "limit": 0.3}, lambda s: np.clip(s, -0.3, 0.3), lambda s: (np.abs(s) < 0.3) * 1.0),
    ({"mode": "noise", "std": 0.25}, lambda s: s + 0.25 * drawn().standard_normal(6), np.ones_like),
    ({"mode": "scale", "factor": 0.7}, lambda s: 0.7 * s, lambda s: np.full_like(s, 0.7)),
]


@pytest.mark.parametrize(
    ("clamp", "does", "slope"), CLAMPS, ids=lambda one: one["mode"] if isinstance(one, dict) else ""
)
def test_what_acts_on_the_state_acts_after_its_update_and_passes_gradient(
    begun: tuple[SelfState, StateValue], clamp: dict[str, Any], does: Acts, slope: Acts
) -> None:
    made, value = begun
    regimes, stats = Regimes(self_clamp=SelfClamp(**clamp)), torch.tensor([0.5, 1.0, -0.5, -1.0, 2.0])
    plain, parts = made.update(value, stats)
    state = plain.state.detach().numpy()
    found, same = perturb.update_state("self_clamp", made, value, stats, regimes, drawn)
    np.testing.assert_allclose(found.state.detach().numpy(), does(state), rtol=1e-6)
    assert parts is not None and same is not None and torch.equal(parts.target, same.target)
    assert (state < -0.3).any() and (state > 0.3).any() and (np.abs(state) < 0.3).any()  # so each way is gone
    bias = made.get_parameter("network.2.bias")
    (got,) = torch.autograd.grad(found.state.sum(), bias)
    np.testing.assert_allclose(got.numpy(), 0.5 * slope(state), rtol=1e-6)  # decay 0.5


def test_frozen_it_stays_and_elsewhere_nothing_touches_it(begun: tuple[SelfState, StateValue]) -> None:
    made, value = begun
    stats = torch.tensor([0.5, 1.0, -0.5, -1.0, 2.0])
    frozen, parts = perturb.update_state("self_clamp", made, value, stats, Regimes(), drawn)
    assert parts is None and torch.equal(frozen.state, value.state) and frozen.count == 2
    for regime in ("calm", "bewilderment"):
        found, _ = perturb.update_state(regime, made, value, stats, Regimes(), drawn)
        assert torch.equal(found.state, made.update(value, stats)[0].state)


def test_windows_are_half_open_and_told_in_the_order_of_their_steps() -> None:
    stretches = [("self_clamp", 30, 50), ("bewilderment", 4, 7), ("sensory_fog", 7, 8)]
    schedule = {
        "kind": "windows",
        "windows": [dict(zip(("regime", "start", "end"), one, strict=True)) for one in stretches],
    }
    assert perturb.windows(run_of(schedule)) == sorted(stretches, key=lambda one: one[1])
    names = perturb.regimes_by_step(run_of(schedule))
    assert (
        names == ["calm"] * 4 + ["bewilderment"] * 3 + ["sensory_fog"] + ["calm"] * 22 + ["self_clamp"] * 20
    )
    assert perturb.regimes_by_step(run_of()) == ["calm"] * 50 and perturb.windows(run_of()) == []


def test_random_windows_use_all_the_room_there_is_and_no_more() -> None:
    """Two regimes of 3 and 5 steps, 2 calm ones after each, in 50 of which 30 are calm at first: 8 to spare."""
    found = []
    for seed in range(400):
        durations = {"self_clamp": 3, "bewilderment": 5}
        schedule = {"kind": "random_windows", "durations": durations, "first": 30, "washout": 2}
        (one, start, end), (two, then, last) = perturb.windows(run_of(schedule, seed))
        backwards = schedule | {"durations": dict(reversed(durations.items()))}
        assert perturb.windows(run_of(backwards, seed)) == [(one, start, end), (two, then, last)]
        assert (end - start, last - then) == (durations[one], durations[two])
        found.append((start - 30, then - end - 2, 50 - last - 2, one))
    gaps = np.array([one[:3] for one in found])
    assert (gaps.sum(1) == 8).all() and (gaps.min(0) == 0).all() and (gaps.max(0) == 8).all()
    # two cuts of 0 to 8, each as likely: the mean of the smaller is the sum of (k / 9)² over k = 1 ... 8, 204 / 81
    np.testing.assert_allclose(gaps.mean(0), [204 / 81, 8 - 2 * 204 / 81, 204 / 81], atol=0.25)
    assert np.mean([one[3] == "self_clamp" for one in found]) == pytest.approx(0.5, abs=0.1)


def test_a_chain_that_always_moves_and_one_that_never_does() -> None:
    def names(**rates: float) -> list[str]:
        schedule = {"kind": "recurring", "regimes": ["bewilderment", "lr_heatwave", "sensory_fog"], **rates}
        return perturb.regimes_by_step(run_of(schedule))

    moving = names(enter=1.0, leave=1.0)
    assert moving[::2] == ["calm"] * 25 and "calm" not in moving[1::2]  # calm at the very first step
    assert set(moving[1::2]) == {"bewilderment", "lr_heatwave", "sensory_fog"}
    late = names(enter=1.0, leave=0.0, first=9)
    assert late[:9] == ["calm"] * 9 and len(set(late[9:])) == 1 and late[9] != "calm"
    assert names(enter=0.0, leave=1.0) == ["calm"] * 50
    schedule = {"kind": "recurring", "regimes": ["bewilderment"], "enter": 0.5, "leave": 0.5}
    assert perturb.regimes_by_step(run_of(schedule, 5)) != perturb.regimes_by_step(run_of(schedule, 6))


def test_senses_of_some_tokens_see_so_many_of_a_batch_each_once() -> None:
    run = run_of(senses={"kind": "own", "tokens": 9})
    seen = perturb.seen_positions(run, 10, drawn)
    assert (
        seen is not None and len(seen) == len(set(seen.tolist())) == 9 and set(seen.tolist()) < set(range(10))
    )
    assert perturb.seen_positions(run_of(), 10, drawn) is None
    assert perturb.seen_positions(run_of(senses={"kind": "clock"}), 10, drawn) is None


def test_as_many_statistics_are_remembered_as_are_asked_for_and_the_oldest_is_shown() -> None:
    run, past = run_of(senses={"kind": "own", "age": 3}), None
    for step in range(5):
        assert perturb.shown(run, step, "calm", past, None) is None or step >= 3
        past = perturb.remembered(run, past, torch.full((5,), float(step)))
        assert past[:, 0].tolist() == [*range(max(0, step - 2), step + 1)]
    assert past is not None
    assert perturb.shown(run, 5, "calm", past, None).tolist() == [2.0] * 5  # type: ignore[union-attr]
    assert perturb.shown(run, 5, "false_feedback", past, None).tolist() == [2.5, 2, 2, 2, 2]  # type: ignore[union-attr]
    eager = run_of(senses={"kind": "own", "age": 3, "from_zero": True})
    assert perturb.shown(eager, 0, "false_feedback", None, None).tolist() == [0.0] * 5  # type: ignore[union-attr]
    clock = run_of(senses={"kind": "clock"})
    assert perturb.remembered(clock, past, torch.zeros(5)).shape == (1, 5)


def test_what_others_tell_is_shown_at_its_own_step() -> None:
    recorded = np.arange(15, dtype=np.float32).reshape(3, 5)
    recorded[0, 2] = np.nan
    run = run_of(senses={"kind": "recorded", "condition": "self", "seed": "own"})
    assert perturb.shown(run, 0, "calm", None, recorded) is None
    assert perturb.shown(run, 2, "false_feedback", None, recorded).tolist() == [10, 11, 12, 13, 14]  # type: ignore[union-attr]
    clock = perturb.shown(run_of(senses={"kind": "clock"}), 10, "false_feedback", None, None)
    assert clock is not None and dict(zip(STATS, clock.tolist(), strict=True)) == dict.fromkeys(
        STATS, 0.0
    ) | {"progress": pytest.approx(0.2)}
    for regime in ("calm", "lr_heatwave"):
        told = perturb.shown(run_of(senses={"kind": "regime"}), 0, regime, None, None)
        assert told is not None and told.tolist() == [0, 0, 0, 0, float(regime == "lr_heatwave")]
