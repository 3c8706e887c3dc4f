"""The ideal observer's belief, whose it is, and how it is read of a state: filters and readings whose answer is known."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

import perturb
from base.rng import Stream, generator
from configs.state import STATS
from configs.state import SelfState as SelfStateConfig
from configs.world import FalseFeedback, Recurring, Regimes
from experiments import readings
from experiments.kit import filtering, readout, replay
from experiments.kit.filtering import Log
from experiments.readings import TWIN, Subject, subjects
from self_state import SelfState
from tests import belief_worlds
from tests.belief_worlds import FIVE, SHIFTS, SIZES, STEPS, world
from tests.made_runs import (
    MadeRun,
    context,
)

SEEDS = range(1, 5)


def test_the_chain_is_the_one_that_schedules_are_drawn_from() -> None:
    schedule = Recurring(kind="recurring", regimes=FIVE, enter=0.2, leave=0.1)
    chain = filtering.chain(schedule)
    np.testing.assert_allclose(chain.transition.sum(1), 1)
    names = perturb._markov_chain(schedule, 200_000, np.random.default_rng(0))
    index = [chain.names.index(name) for name in names]
    counts = np.zeros((6, 6))
    np.add.at(counts, (index[:-1], index[1:]), 1)
    np.testing.assert_allclose(counts / counts.sum(1, keepdims=True), chain.transition, atol=0.01)
    np.testing.assert_array_equal(chain.after(0), np.eye(6)[0])
    np.testing.assert_allclose(chain.after(1), chain.transition[0])


def test_the_filter_against_enumeration() -> None:
    """Every path of four steps, its probability times its likelihood, summed by where it ends."""
    random = np.random.default_rng(1)
    n, k = 4, 3
    likelihood = random.normal(scale=2, size=(n, k, k))
    transition, before = random.dirichlet(np.ones(k), size=k), random.dirichlet(np.ones(k))
    found = filtering.forward(likelihood, transition, before)
    for last in range(n):
        summed = np.zeros(k)
        for path in itertools.product(range(k), repeat=last + 2):
            weight = before[path[0]]
            for i, (one, now) in enumerate(itertools.pairwise(path)):
                weight *= transition[one, now] * np.exp(likelihood[i, one, now])
            summed[path[-1]] += weight
        np.testing.assert_allclose(found[last], summed / summed.sum(), atol=1e-12)


def test_the_filter_bears_what_is_all_but_impossible() -> None:
    transition = np.array([[1.0, 0.0], [0.5, 0.5]])
    likelihood = np.full((3, 2, 2), -1e5)
    likelihood[:, 1, 1] = 0  # only where the chain cannot be
    found = filtering.forward(likelihood, transition, np.array([1.0, 0.0]))
    np.testing.assert_allclose(found, [[1, 0]] * 3)


def logs(seeds: range, **how: Any) -> list[Log]:
    made = []
    for seed in seeds:
        log = belief_worlds.log_of(seed, **how)
        values = log[list(STATS[:4])].to_numpy()[50:]
        made.append(Log(log["step"].to_numpy()[50:], values, log["regime"].to_numpy(dtype=str)[50:]))
    return made


def test_the_emission_recovers_what_was_planted() -> None:
    names = ("calm", "bewilderment", "sensory_fog", "false_feedback")
    emission = filtering.fit(logs(range(1, 13), names=names[1:], strength=2.0), names)
    steps = np.array([100, 400, 900])
    means = emission.means(steps)
    np.testing.assert_allclose(means[:, 0, 0], 1.9 + 2 * np.exp(-steps / 150), atol=0.02)
    for k, name in enumerate(names):
        expected = 2 * np.array(SHIFTS.get(name, (0.0,) * 4))
        np.testing.assert_allclose((means[:, k] - means[:, 0]) / SIZES, [expected] * 3, atol=0.35)
        np.testing.assert_allclose(np.sqrt(np.diag(emission.covariances[k])), SIZES, rtol=0.1)
    density = emission.log_likelihood(steps, means[:, 1])
    np.testing.assert_allclose(
        density[:, 1], -0.5 * np.linalg.slogdet(2 * np.pi * emission.covariances[1])[1], rtol=1e-9
    )


def test_a_regime_never_seen_gets_the_emission_of_calm() -> None:
    emission = filtering.fit(logs(range(1, 3)), ("calm", "bewilderment", "lr_heatwave"))
    means = emission.means(np.array([60, 700]))
    np.testing.assert_allclose(means[:, 2], means[:, 0])


def test_the_belief_is_as_sure_as_it_is_right() -> None:
    """Of the steps at which the filter gives a regime 10 to 20 %, and so on, about as many are under it."""
    runs = world("faint", "faint_vanilla", range(1, 9), probability=0.01)
    found = subjects(runs)
    believed = np.concatenate([one.posterior[:, 1] for one in found if one.posterior is not None])
    true = np.concatenate([one.regimes == "bewilderment" for one in found])
    for low in np.arange(0, 1, 0.2):
        mine = (believed >= low) & (believed < low + 0.2)
        assert mine.sum() > 50 and true[mine].mean() == pytest.approx(believed[mine].mean(), abs=0.12)
    assert readout.auc(true, believed) > 0.85


def test_a_level_of_its_own_does_not_pass_for_a_regime(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("calm", "bewilderment")
    others, (own,) = logs(range(2, 9)), logs(range(1, 2))
    chain = filtering.chain(Recurring(kind="recurring", regimes=("bewilderment",), enter=0.04, leave=0.04))
    emission = filtering.fit(others, names)
    true = own.regimes[1:] != "calm"

    def score(level: float) -> float:
        shown = own.values[:-1] + level * SIZES * np.array([1, 0, 0, 0])
        posterior = filtering.belief(emission, chain, own.steps[1:], shown)[:, 1]
        return float(((posterior - true) ** 2).mean())

    plain, corrected = ((0.5 - true) ** 2).mean(), score(0.5)
    assert score(0) < 0.65 * plain and score(0.5) < 0.85 * plain
    monkeypatch.setattr(filtering, "LEVEL_RATE", 0.0)
    assert score(0.5) > 1.1 * corrected


# Subjects


def test_a_run_has_no_say_in_its_own_emission() -> None:
    """Its regimes can be anything: its posterior stays, that of other seeds moves."""
    runs = world("faint", "faint_vanilla", SEEDS, probability=0.01)
    wrong = runs[0].log.assign(regime=np.where(np.arange(STEPS) % 7 < 3, "bewilderment", "calm"))
    changed = [replace(runs[0], log=wrong), *runs[1:]]

    def posteriors(of: list[MadeRun]) -> list[np.ndarray]:
        return [one.posterior for one in subjects(of) if one.posterior is not None]

    before, after = posteriors(runs), posteriors(changed)
    np.testing.assert_array_equal(before[0], after[0])
    assert np.abs(before[1] - after[1]).max() > 0.01


def test_false_feedback_is_known_for_what_it_is() -> None:
    """It adds a constant at the very step: the filter names it at once, and not where there is no state to feel it."""
    runs = world("calibrated_mix", "vanilla_mix", SEEDS, FIVE, 3.0)

    def areas(of: list[MadeRun]) -> list[float]:
        found = subjects(of)
        place = found[0].chain.names.index("false_feedback")
        return [
            readout.auc(one.regimes == "false_feedback", one.posterior[:, place])
            for one in found
            if one.posterior is not None
        ]

    assert min(areas(runs)) > 0.999
    blind = [replace(run, config=run.config.model_copy(update={"regimes": silent(run)})) for run in runs]
    assert max(areas(blind)) < 0.95


def silent(run: MadeRun) -> Regimes:
    return run.config.regimes.model_copy(update={"false_feedback": FalseFeedback(loss=0.0)})


def test_an_untrained_network_is_the_one_that_training_begins_with() -> None:
    for init in ("small", "default"):
        settings = SelfStateConfig(init=init, hidden=40, dim=30)
        made = SelfState(settings, n_embd=5)
        made.initialise(generator(4, Stream.STATE_INIT))
        own, other = replay.untrained(settings, 4), replay.untrained(settings, 4, 2_600_100)
        for name, weight in own.weights.items():
            np.testing.assert_allclose(weight, made.state_dict()[name].numpy(), rtol=1e-6)
            assert other.weights[name].std() == pytest.approx(weight.std(), rel=0.25)
        assert np.abs(other.weights["network.2.weight"] - own.weights["network.2.weight"]).max() > 0.01


def test_an_untrained_state_is_shown_what_the_twin_measured() -> None:
    runs = world("calibrated_recurring", "vanilla_recurring", [1, 2], strength=3)
    own = subjects(runs)[0]
    assert own.twin is not None and own.twin.condition == "vanilla_recurring"
    states = readings.untrained_states(own)
    assert len(states) == readings.DRAWS and states[0].shape == own.states.shape
    network = replay.untrained(runs[0].config.self_state, 0, readings.FIRST_COUNTER + 100)
    expected = np.zeros(6)
    for row in replay.fed(runs[1].metrics(), runs[0].config):
        expected = 0.8 * expected + 0.2 * network.propose(row, expected)
    np.testing.assert_allclose(states[0][-1], expected)
    noise = replace(runs[1], log=runs[1].log.assign(loss=np.random.default_rng(0).normal(size=STEPS)))
    moved = readings.untrained_states(replace(own, twin=noise))
    assert np.abs(moved[0] - states[0]).max() > 0.1
    assert readings.untrained_states(replace(own, twin=None)) == []


# Readings


def test_state_and_untrained_network_are_read_for_one_target() -> None:
    runs = world("faint", "faint_vanilla", [1, 2], probability=0.01)
    own = subjects(runs)[0]
    assert own.posterior is not None and own.twin_posterior is not None

    def scores(subject: Subject) -> dict[tuple[str, str], float]:
        return {(source, target): r2 for source, target, _, r2, *_ in readings._scores(subject)}

    same, turned = scores(own), scores(replace(own, twin_posterior=np.roll(own.twin_posterior, 200, axis=0)))
    assert turned["untrained", TWIN] == turned["untrained", "posterior"] != same["untrained", "posterior"]
    assert turned["state", "posterior"] == same["state", "posterior"]  # its own evidence's
    assert turned["state", TWIN] < same["state", TWIN] - 0.1  # what the untrained network is read for
    alone = scores(replace(own, twin=None, twin_posterior=None))
    assert not {key for key in alone if TWIN in key}


def test_readings_are_fitted_on_earlier_steps_only() -> None:
    steps = np.arange(50, 1000)
    parts = readout.blocks(steps, 1000)
    tested = np.concatenate([steps[block.tested] for block in parts])
    np.testing.assert_array_equal(tested, np.arange(400, 1000))
    for block in parts:
        assert steps[block.fitted].max() + 25 < steps[block.tested].min() + 1
        assert len(steps[block.fitted]) in (325, 400)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(950, 4)), random.normal(size=(950, 2))
    whole = readout.decoded(x, y, parts)
    assert np.isnan(whole[:350]).all() and np.isfinite(whole[350:]).all()
    later = y.copy()
    later[350:] += 100  # from the first tested step on
    first = parts[0].tested
    np.testing.assert_array_equal(readout.decoded(x, later, parts)[first], whole[first])
    assert readout.blocks(np.arange(3, 10), 10) == []


def test_the_ridge_is_a_ridge() -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=(60, 5)) * [1, 10, 0.1, 3, 1] + 4
    x[:, 4] = 2.0  # it stands still while it is fitted
    y, ahead = random.normal(size=(60, 2)), random.normal(size=(7, 5))
    scaled, scaled_ahead = (x - x.mean(0))[:, :4] / x.std(0)[:4], (ahead - x.mean(0))[:, :4] / x.std(0)[:4]
    for index, strength in enumerate(readout.STRENGTHS):
        expected = Ridge(alpha=60 * strength).fit(scaled, y).predict(scaled_ahead)
        np.testing.assert_allclose(readout._ridges(x, y, ahead)[index], expected, atol=1e-9)
    chosen = readout.ridge(x, y, ahead)
    assert chosen.shape == (7, 2) and np.abs(chosen - y.mean(0)).max() < 0.5  # noise is shrunk away


def test_a_planted_state_is_read_and_one_turned_in_time_is_not() -> None:
    random = np.random.default_rng(3)
    steps, truth = np.arange(1, 1000), np.repeat(random.random(40) > 0.5, 25)[1:].astype(float)
    inner = np.column_stack([truth + 0.1 * random.normal(size=999), random.normal(size=(999, 7))])
    states = inner @ np.linalg.qr(random.normal(size=(8, 8)))[0] * 0.01 + 5
    parts = readout.blocks(steps, 1000)
    tested = slice(399, None)

    def scores(x: np.ndarray) -> tuple[float, float]:
        read = readout.decoded(x, truth[:, None], parts)[tested, 0]
        return readout.r_squared(truth[tested], read), readout.auc(truth[tested] > 0.5, read)

    r2, auc = scores(states)
    assert r2 > 0.9 and auc > 0.99
    r2, auc = scores(np.roll(states, 300, axis=0))
    assert r2 < 0.1 and 0.2 < auc < 0.8
    tied = random.integers(0, 5, size=999)
    assert readout.auc(truth > 0.5, tied) == pytest.approx(roc_auc_score(truth, tied))
    assert np.isnan(readout.r_squared(np.ones(5), np.ones(5))) and np.isnan(
        readout.auc(np.ones(3) > 0, np.ones(3))
    )


def test_the_auc_of_a_batch_is_the_gaussian_one() -> None:
    strong, weak = (
        readings.batch_auc(context(world("a", "b", [1], strength=strength, steps=4000)[:1])).iloc[0]
        for strength in (3.0, 1.0)
    )
    assert strong["auc"] == pytest.approx(norm.cdf(3 / np.sqrt(2)), abs=0.01)
    assert weak["auc"] == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.03)


def test_the_auc_of_a_batch_pair_by_pair() -> None:
    run = world("a", "b", [3], steps=200)[0]
    late = run.log[run.log["step"] >= run.config.train.warmup_steps]
    loss, bad = late["loss"].to_numpy(), (late["regime"] == "bewilderment").to_numpy()
    pairs = [
        loss[i] > loss[j]
        for i in np.flatnonzero(bad)
        for j in np.flatnonzero(~bad)
        if abs(int(i) - int(j)) <= readings.APART
    ]
    (found,) = readings.batch_auc(context([run])).to_dict("records")
    assert found["pairs"] == len(pairs) and found["auc"] == pytest.approx(np.mean(pairs))
