"""Steering with the weights frozen, in a model whose answer is known: finders, placebos, protocols, batches."""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax

import frozen_test
from experiments import frozen
from experiments.kit import published
from experiments.kit.placebos import View
from experiments.kit.words import Finding
from model import GPT
from probes import frozen_rows, steering
from probes.instrument import ALL, LAST, Batch, Instrument
from tests.known_gpt import (
    READER,
    SETTINGS,
    SIZES,
    STEPS,
    C,
    D,
    T,
    V,
    any_gpt,
    batches,
    by_hand,
    known,
    set_weights,
    trial_of,
)
from tests.made_runs import read_from


def test_known_answer() -> None:
    norms = np.array(
        [1.0, 2.0, 5.0, 20.0]
    )  # at 20 both directions are far outside: entropy near log V for both
    trial = trial_of(by_hand(), norms)
    replication, dimension, gradient = steering.effects(Instrument(by_hand()), READER, trial)

    assert list(np.flatnonzero(replication.states[0])) == [2, 5, 9]
    assert list(np.flatnonzero(replication.states[1])) == [0, 4, 7]
    assert set(replication.states[replication.states != 0]) == {0.3}
    assert replication.magnitude == pytest.approx(0.3 * math.sqrt(3))
    assert replication.size == pytest.approx(known(0.3 * 1.5) - known(-0.3 * 1.2), rel=1e-4)

    sizes = [abs(known(n * 1.5 / math.sqrt(3)) - known(-n * 1.2 / math.sqrt(3))) for n in norms]
    assert dimension.magnitude == norms[np.argmax(sizes)] < 20
    assert dimension.size == pytest.approx(max(sizes), rel=1e-4)
    np.testing.assert_allclose(np.linalg.norm(dimension.states, axis=1), dimension.magnitude)

    slope = float(np.linalg.norm(STEPS))  # the gradient is along STEPS
    np.testing.assert_allclose(gradient.states[1] / gradient.magnitude, STEPS / slope, atol=1e-4)
    sizes = [abs(known(n * slope) - known(-n * slope)) for n in norms]
    assert gradient.magnitude == norms[np.argmax(sizes)]
    assert gradient.size == pytest.approx(max(sizes), rel=1e-4)


def test_the_published_test_on_several_sets_of_batches() -> None:
    made = frozen_rows.batch_rows(Instrument(by_hand()), READER, [batches(3, 4), batches(3, 5)], SETTINGS)
    assert [(row["draw"], row["batch"]) for row in made] == list(itertools.product(range(2), range(3)))
    for row in made:
        assert [row["confident"], row["zero"], row["uncertain"]] == pytest.approx(
            [known(-0.3 * 1.2), known(0), known(0.3 * 1.5)], rel=1e-4
        )


def test_batches_that_are_kinder_than_others_are_said_to_be(tmp_path: Path) -> None:
    def told(published_effect: float) -> Finding:
        made = []
        for seed, draw, batch in itertools.product((1, 2, 3), range(3), range(6)):
            size = (published_effect if draw == 0 else 0.1 * draw) + 0.001 * seed * (draw == 0)
            zero = published.BATCH_ENTROPIES[batch] - 0.1
            entropies = (9.0, 9.0, -9.0) if batch == 0 else (zero, zero - size / 2, zero + size / 2)
            if batch == 0:  # what directions are found on does not count
                entropies = (zero, 9.0, -9.0)
            made.append(("shakespeare", "analysis", seed, 1000, draw, batch, *entropies))
        columns = ["suite", "condition", *frozen_rows.BATCHES]
        tables = {"frozen_batches": pd.DataFrame(made, columns=columns)}
        return frozen._batches(
            View(read_from(tmp_path / str(published_effect), "shakespeare", tables), "analysis")
        )

    kinder = told(0.25)
    assert (
        kinder.title() == "On other batches the same test gives a smaller effect than on the published ones."
    )
    assert "+0.102 [+0.100, +0.104] nats, paired by seed, n = 3." in kinder.evidence
    assert (
        "the published set is number 1 of 3, the same for every seed; the others' run from 0.100 to 0.200"
        in kinder.evidence
    )
    assert kinder.evidence.endswith("r = 1.00 over 6 batches.")
    alike = told(0.149)
    assert "does not give a clearly smaller effect" in alike.title() and "number 2 of 3" in alike.evidence


def test_rows_of_the_known_model() -> None:
    trial = trial_of(by_hand(), np.array([0.25, 0.5, 0.75, 1.0]))
    instrument = Instrument(by_hand())
    learned = steering.effects(instrument, READER, trial)
    own = np.eye(D)[4] * 0.7
    made = frozen_rows.condition_rows(instrument, READER, trial, learned, own, seed=1)

    def of(protocol: str, finder: str, state: str) -> list[dict]:
        return [
            row for row in made if (row["protocol"], row["finder"], row["state"]) == (protocol, finder, state)
        ]

    for protocol in ("replication", "heldout"):
        (zero,) = of(protocol, "none", "zero")
        assert zero["delta_entropy"] == zero["delta_nll"] == zero["kl"] == zero["magnitude"] == 0
    assert of("heldout", "none", "own")[0]["delta_entropy"] == pytest.approx(known(0.42) - known(0), rel=1e-4)
    for protocol, finder in (("replication", "dimension"), ("heldout", "dimension"), ("heldout", "gradient")):
        (confident,), (uncertain,) = of(protocol, finder, "confident"), of(protocol, finder, "uncertain")
        assert confident["delta_entropy"] < 0 < uncertain["delta_entropy"]
        assert confident["sign_consistency"] == uncertain["sign_consistency"] == 1
        assert confident["kl"] > 0
        (effect,) = (some for some in learned if (some.protocol, some.finder) == (protocol, finder))
        assert uncertain["entropy"] - confident["entropy"] == pytest.approx(effect.size)
        random = of(protocol, finder, "random")
        assert [row["draw"] for row in random] == list(range(6))
        np.testing.assert_allclose([row["magnitude"] for row in random], effect.magnitude)
    triples = np.array(
        [sum(steps) for steps in itertools.combinations(STEPS, 3)]
    )  # as sparse as the found ones
    norm = next(effect.magnitude for effect in learned if effect.protocol == "heldout")
    possible = np.array([known(norm * triple / math.sqrt(3)) for triple in triples])
    for row in of("heldout", "dimension", "random"):
        assert np.abs(possible - row["entropy"]).min() < 1e-6
    directions = {**frozen_rows.dose_directions(learned), "random": frozen_rows.random_dose_direction(1, D)}
    doses = pd.DataFrame(frozen_rows.dose_rows(instrument, READER, trial, directions))
    assert list(doses["direction"].unique()) == ["confident", "uncertain", "gradient", "random"]
    slope = np.linalg.norm(STEPS)
    along = {"confident": -1.2 / math.sqrt(3), "uncertain": 1.5 / math.sqrt(3), "gradient": slope}
    for name, factor in along.items():
        curve = doses[doses["direction"] == name]
        np.testing.assert_allclose(curve["magnitude"], np.arange(-4, 5) / 4)
        expected = [known(factor * norm) - known(0) for norm in curve["magnitude"]]
        np.testing.assert_allclose(curve["delta_entropy"], expected, atol=2e-5)
        assert (curve["kl"][curve["magnitude"] != 0] > 0).all() and curve["kl"].iloc[4] == 0


def test_measurements_match_numpy() -> None:
    random = np.random.default_rng(5)
    tokens, positions = random.normal(size=(V, C)), random.normal(size=(T, C))
    gpt = set_weights(GPT(SIZES, V), tokens, positions)
    biases = np.concatenate([np.zeros((1, C)), random.normal(size=(3, C))])
    sample = batches(3)
    outputs = Instrument(gpt).measure(biases, sample, kl=True)
    x, y = (np.concatenate([pair[i].numpy() for pair in sample]) for i in (0, 1))  # (S, T)
    embedded = tokens[x] + positions + biases[:, None, None]  # (n, S, T, C)
    scaled = embedded - embedded.mean(-1, keepdims=True)
    scaled /= np.sqrt((scaled**2).mean(-1, keepdims=True) + 1e-5)
    log_p = log_softmax(scaled @ tokens.T, axis=-1)
    p = np.exp(log_p)
    entropy = -(p * log_p).sum(-1)
    nll = -np.take_along_axis(log_p, np.broadcast_to(y[..., None], (4, *y.shape, 1)), -1)[..., 0]
    kl = (p * (log_p - log_p[0])).sum(-1)
    for measured, expected in ((outputs.entropy, entropy), (outputs.nll, nll), (outputs.kl, kl)):
        np.testing.assert_allclose(measured[LAST], expected[..., -1], atol=2e-5)
        np.testing.assert_allclose(measured[ALL], expected.mean(-1), atol=2e-5)
    for index in range(4):
        confidence, right = p[index].max(-1).ravel(), (p[index].argmax(-1) == y).ravel()
        ece = 0.0
        for low in np.arange(10) / 10:
            inside = (confidence >= low) & (confidence < low + 0.1)
            if inside.any():
                ece += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
        assert outputs.ece[index] == pytest.approx(ece, abs=1e-5)


def test_zero_state_is_no_injection() -> None:
    gpt, sample = any_gpt(), batches(1)
    zero = Instrument(gpt).measure(np.zeros((1, D)) @ READER.T, sample)
    with torch.inference_mode():
        log_p = torch.log_softmax(gpt(sample[0][0])[0], dim=-1)
    entropy = -(log_p.exp() * log_p).sum(-1).double()
    assert np.array_equal(zero.entropy[LAST, 0], entropy[:, -1].numpy())
    assert np.array_equal(zero.entropy[ALL, 0], entropy.mean(1).numpy())


def test_each_protocol_reads_its_own_positions_and_split() -> None:
    """The same choices made one state at a time, where the wrong split or position would choose otherwise."""
    gpt, reader = any_gpt(), np.random.default_rng(4).normal(0, 0.6, (C, D))
    norms = np.array([1.0, 1.5, 2.0, 4.0, 8.0])
    trial = trial_of(gpt, norms)

    def entropy(state: np.ndarray, sample: list[Batch], where: int) -> float:
        return Instrument(gpt).measure((reader @ state)[None], sample).entropy[where].mean()

    def spread(pair: np.ndarray, sample: list[Batch], where: int) -> float:
        return abs(entropy(pair[0], sample, where) - entropy(pair[1], sample, where))

    pairs = []
    for where, sample in ((LAST, trial.replication[:1]), (ALL, trial.finder)):
        order = np.argsort([entropy(0.3 * row, sample, where) for row in np.eye(D)])
        pairs.append(np.stack([np.isin(np.arange(D), order[:3]), np.isin(np.arange(D), order[-3:])]) * 1.0)
    assert not np.array_equal(pairs[LAST], pairs[ALL])
    sizes = {
        split: [spread(norm * pairs[ALL] / math.sqrt(3), getattr(trial, split), ALL) for norm in norms]
        for split in ("finder", "dev", "heldout")
    }
    best = int(np.argmax(sizes["dev"]))
    assert best not in (np.argmax(sizes["finder"]), np.argmax(sizes["heldout"]))

    replication, heldout, _ = steering.effects(Instrument(gpt), reader, trial)
    np.testing.assert_allclose(replication.states, 0.3 * pairs[LAST])
    assert replication.size == pytest.approx(spread(0.3 * pairs[LAST], trial.replication[1:], LAST), rel=1e-4)
    np.testing.assert_allclose(heldout.states, norms[best] * pairs[ALL] / math.sqrt(3))
    assert heldout.size == pytest.approx(sizes["heldout"][best], rel=1e-4)


def test_gradient_matches_finite_differences() -> None:
    instrument, sample = Instrument(any_gpt()), batches(2)
    step = 1e-2
    both = (
        instrument.measure(np.concatenate([step * np.eye(C), -step * np.eye(C)]), sample)
        .entropy[ALL]
        .mean(-1)
    )
    np.testing.assert_allclose(
        instrument.entropy_gradient(sample), (both[:C] - both[C:]) / (2 * step), atol=2e-3, rtol=2e-2
    )


def test_gradient_finder_cannot_see_a_rotation_and_the_dimension_finder_can() -> None:
    gpt = any_gpt()
    trial = trial_of(gpt, np.array([0.5, 1.0]))
    reader = np.random.default_rng(4).normal(0, 0.3, (C, D))
    turned = steering.rotated(reader, np.random.default_rng(6))
    learned = steering.effects(Instrument(gpt), reader, trial)
    placebo = steering.effects(Instrument(gpt), turned, trial)
    assert placebo[2].size == pytest.approx(learned[2].size, rel=1e-4)
    np.testing.assert_allclose(turned @ placebo[2].states.T, reader @ learned[2].states.T, atol=1e-9)
    assert abs(placebo[1].size - learned[1].size) > 1e-3 * learned[1].size


def test_placebo_readers_match_in_norm() -> None:
    reader = np.random.default_rng(1).normal(size=(C, D)) * np.arange(1, D + 1)
    turned = steering.rotated(reader, np.random.default_rng(2))
    assert np.linalg.norm(turned) == pytest.approx(np.linalg.norm(reader))
    np.testing.assert_allclose(turned @ turned.T, reader @ reader.T)  # the same map up to the state's axes
    assert not np.allclose(turned, reader)
    fresh = steering.untrained(reader, np.random.default_rng(2))
    np.testing.assert_allclose(np.linalg.norm(fresh, axis=0), np.linalg.norm(reader, axis=0))
    cosines = (fresh * reader).sum(0) / (reader**2).sum(0)
    assert np.abs(cosines).max() < 0.9


def test_random_states_match_in_norm_and_sparsity() -> None:
    dense = steering.dense_directions(30, D, np.random.default_rng(1))
    sparse = steering.sparse_directions(30, D, 5, np.random.default_rng(1))
    found = steering.unit(steering.dimension_pair(np.random.default_rng(2).normal(size=D), 5))
    for states in (dense, sparse, found):
        np.testing.assert_allclose(np.linalg.norm(states, axis=1), 1)
    assert (dense != 0).all() and (dense < 0).any()
    for states in (sparse, found):
        assert ((states != 0).sum(1) == 5).all()
        np.testing.assert_allclose(states[states != 0], 1 / math.sqrt(5))
    assert len({tuple(row) for row in sparse}) > 20


def test_norms_come_from_training_unless_the_state_never_moved() -> None:
    states = np.zeros((5, D), dtype=np.float32)
    norms, moved = frozen_test.state_norms(states, SETTINGS)
    assert not moved
    np.testing.assert_allclose(norms, [0.075, 0.15, 0.225, 0.3])
    states[3, :2] = [3, 4]
    norms, moved = frozen_test.state_norms(states, SETTINGS)
    assert moved
    np.testing.assert_allclose(norms, [1.25, 2.5, 3.75, 5])
