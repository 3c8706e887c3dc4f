"""The frozen-weight test: a model with a known answer, placebos and random states that match."""

import csv
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax

import frozen_test
from base import command_line, storage
from base.rng import Stream, generator
from configs.probes.frozen import FrozenTest
from configs.run import RunConfig
from configs.training import Model
from data.corpus import Corpus
from data.prepare import prepare_text
from experiments import frozen, frozen_tables
from experiments.kit import published
from experiments.kit.placebos import View, rank_p_value
from experiments.kit.words import Finding
from model import GPT
from probes import frozen_rows, steering
from probes.instrument import ALL, LAST, Batch, Instrument, load_subject, weights_sha256
from runs import folder as run_folder
from runs.state import models_arrays
from self_state import SelfState
from tests.made_runs import context, made_run, make_tables, read_from

V, C, T, D = 10, 16, 8, 12
SIZES = Model(n_layer=1, n_head=2, n_embd=C, block_size=T)
SETTINGS = FrozenTest(
    finder_batches=1,
    dev_batches=2,
    heldout_batches=2,
    top=3,
    doses=4,
    random_directions=6,
    placebo_draws=2,
    dose_placebos=1,
)


def orthonormal() -> np.ndarray:
    """(C, C - 1): columns orthonormal and each with mean zero, so that layer norm only scales their sums."""
    basis, _ = np.linalg.qr(np.column_stack([np.ones(C), np.random.default_rng(0).normal(size=(C, C - 1))]))
    return basis[:, 1:]


BASIS = orthonormal()
OUTSIDE = BASIS[:, V]  # orthogonal to every token's embedding


def set_weights(gpt: GPT, tokens: np.ndarray, positions: np.ndarray) -> GPT:
    """Blocks that add nothing: logits = layer_norm(token + position + bias) . tokens."""
    with torch.no_grad():
        for block in gpt.blocks:
            block.attention.proj.weight.zero_()  # type: ignore[union-attr, operator]
            block.down.weight.zero_()  # type: ignore[union-attr, operator]
        gpt.tokens.weight[:V] = torch.from_numpy(tokens)
        gpt.positions.weight.copy_(torch.from_numpy(positions))
    return gpt.eval()


def by_hand() -> GPT:
    """Embeddings 1.2 e_k, positions u orthogonal to all e_k: under the bias s u the entropy is `known(s)`."""
    return set_weights(GPT(SIZES, V), 1.2 * BASIS[:, :V].T, np.tile(OUTSIDE, (T, 1)))


def known(s: float) -> float:
    """Entropy (nats) at every position: the token read has the logit L, the V - 1 others zero."""
    length = math.hypot(1.2, 1 + s)
    logit = 1.2 * 1.2 / math.sqrt(length**2 / C + 1e-5)
    p = math.exp(logit) / (math.exp(logit) + V - 1)
    q = (1 - p) / (V - 1)
    return -p * math.log(p) - (V - 1) * q * math.log(q)


# Dimensions 2, 5, 9 take the outside part away (confident), 0, 4, 7 add to it (uncertain), others do nothing.
STEPS = np.zeros(D)
STEPS[[2, 5, 9]] = [-0.5, -0.3, -0.4]
STEPS[[0, 4, 7]] = [0.4, 0.6, 0.5]
READER = np.outer(OUTSIDE, STEPS)  # (C, D)


def batches(count: int, seed: int = 1) -> list[Batch]:
    random = np.random.default_rng(seed)
    drawn = random.integers(0, V, size=(count, 5, T + 1))
    return [(torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, 1:].copy())) for rows in drawn]


def trial_of(gpt: GPT, norms: np.ndarray) -> steering.Trial:
    instrument = Instrument(gpt)
    finder = batches(2)
    gradient = instrument.entropy_gradient(finder)
    return steering.Trial(batches(3, 4), finder, batches(1, 2), batches(2, 3), gradient, norms, SETTINGS)


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


def test_published_batches_are_those_of_its_own_generator_whatever_the_seed(
    corpus: Corpus, tmp_path: Path
) -> None:
    one = load_subject(finished(tmp_path, corpus), 6)
    other = replace(one, run=one.run.model_copy(update={"seed": one.run.seed + 1}))
    settings = FrozenTest(replication_batches=2, replication_sequences=4)
    made = frozen_test.published_batches(one, corpus, settings)
    again = frozen_test.published_batches(other, corpus, settings)
    assert all(
        torch.equal(x, z)
        for pair, same in zip(made, again, strict=True)
        for x, z in zip(pair, same, strict=True)
    )
    further = frozen_test.published_batches(one, corpus, settings, draw=1)
    for seed, (x, y), (elsewhere, _) in zip((123, 1123, 1124), made, further, strict=True):
        torch.manual_seed(seed)  # the generator of all of torch, as nanoGPT's loop draws
        offsets = torch.randint(len(corpus.train) - T, (4,)).tolist()
        assert x.tolist() == [corpus.train[at : at + T].tolist() for at in offsets]
        assert y.tolist() == [corpus.train[at + 1 : at + T + 1].tolist() for at in offsets]
        assert not torch.equal(x, elsewhere)


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


def any_gpt() -> GPT:
    gpt = GPT(SIZES, V)
    gpt.initialise(generator(3, Stream.INIT))
    with torch.no_grad():
        for parameter in gpt.parameters():
            if parameter.dim() == 2:
                parameter.mul_(15)  # far from uniform predictions
    return gpt.eval()


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


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare_text("tiny", b"abcd efghi\n" * 300, tmp_path_factory.mktemp("out") / "data")


def finished(
    runs: Path, corpus: Corpus, enabled: bool = True, data: str | None = None, dim: int = D, seed: int = 0
) -> Path:
    """A run folder of six steps, weights kept after three, that no training made. seed: of its weights."""
    fields = {
        "corpus": "tiny",
        "seed": 2,
        "model": SIZES.model_dump(mode="json"),
        "train": {"steps": 6, "batch_size": 3, "warmup_steps": 0},
        "log": {"keep_steps": [3]},
        "self_state": {"enabled": enabled, "dim": dim},
        "regimes": {},
    }
    run = RunConfig.model_validate_json(json.dumps(fields))
    work = runs / ".work"
    states = np.random.default_rng(0).normal(size=(6, dim)) * np.array([[1], [2], [3], [9], [9], [9]])
    for name, drawn in (("model-step3", seed + 1), ("model", seed + 2)):
        gpt, self_state = GPT(SIZES, corpus.vocab_size), SelfState(run.self_state, C)
        gpt.initialise(generator(drawn, Stream.INIT))
        self_state.initialise(generator(drawn, Stream.STATE_INIT))
        models = {"gpt": gpt, **({"self_state": self_state} if enabled else {})}
        storage.save_tensors(work / f"{name}.safetensors", models_arrays(models))
    if enabled:
        storage.save_tensors(work / "states.safetensors", {"state": states.astype(np.float32)})
    folder = runs / "0123456789abcdef"
    record = {
        "key": "0123456789abcdef" * 4,
        "status": "complete",
        "data": data or corpus.tokens_sha256,
        "code": "0" * 64,
    }
    run_folder.finish(work, folder, run, record, "step\n")
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_whole_test_of_a_run(corpus: Corpus, tmp_path: Path) -> None:
    folder = finished(tmp_path, corpus)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    seen: list[tuple[int, int]] = []
    frozen_test.run(folder, 3, SETTINGS, corpus, tmp_path / "a", lambda *count: seen.append(count))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    total = SETTINGS.forwards(D)
    assert seen == [(done, total) for done in range(1, total + 1)]
    task = storage.read_json(tmp_path / "a" / "task.json")
    weights = storage.load_tensors(folder / "model-step3.safetensors")
    assert task["weights_sha256_before"] == task["weights_sha256_after"] == weights_sha256(weights)
    states = storage.load_tensors(folder / "states.safetensors")["state"]
    assert task["largest_norm"] == pytest.approx(np.linalg.norm(states[:3], axis=1).max())
    assert task["norms_from_training"]

    conditions = rows(tmp_path / "a" / "conditions.csv")
    assert tuple(conditions[0]) == frozen_rows.CONDITIONS
    assert len(conditions) == 4 + 3 * (2 + 6)
    assert {(row["seed"], row["run_step"]) for row in conditions} == {("2", "3")}
    own, _ = (row for row in conditions if row["state"] == "own")  # in either protocol
    assert float(own["magnitude"]) == pytest.approx(np.linalg.norm(states[2]))
    effects = rows(tmp_path / "a" / "effects.csv")
    assert tuple(effects[0]) == frozen_rows.EFFECTS
    kinds = [(row["protocol"], row["finder"], row["reader"], row["draw"]) for row in effects]
    assert len(kinds) == len(set(kinds)) == 3 + 2 * (2 + 3)
    assert ("heldout", "gradient", "rotated", "0") not in kinds
    for row in effects[:3]:
        pair = [
            float(some["entropy"])
            for some in conditions
            if (some["protocol"], some["finder"]) == (row["protocol"], row["finder"])
            and some["state"] in ("confident", "uncertain")
        ]
        assert float(row["effect_size"]) == pytest.approx(abs(pair[0] - pair[1]), abs=1e-9)
    by_batch = rows(tmp_path / "a" / "batches.csv")
    assert tuple(by_batch[0]) == frozen_rows.BATCHES and len(by_batch) == (1 + 10) * (1 + 5)
    tested = pd.DataFrame(by_batch).astype(float).query("draw == 0 and batch > 0").mean()
    assert abs(tested["confident"] - tested["uncertain"]) == pytest.approx(
        float(effects[0]["effect_size"]), rel=1e-6
    )
    doses = rows(tmp_path / "a" / "doses.csv")
    assert tuple(doses[0]) == frozen_rows.DOSES
    curves = [(row["reader"], row["draw"], row["direction"]) for row in doses[::9]]
    assert curves == [
        *(("learned", "0", name) for name in ("confident", "uncertain", "gradient", "random")),
        *(("rotated", "0", name) for name in ("confident", "uncertain")),
        *(("untrained", "0", name) for name in ("confident", "uncertain", "gradient")),
    ]
    assert len(doses) == 9 * 9
    peaks = rows(tmp_path / "a" / "dimensions.csv")
    assert tuple(peaks[0]) == frozen_rows.PEAKS
    assert [(row["reader"], row["draw"]) for row in peaks[::D]] == [("learned", "0"), ("untrained", "0"), ("untrained", "1")]  # fmt: skip
    assert [float(row["highest"]) for row in peaks[:D]] == pytest.approx(states[:3].max(0))

    frozen_test.run(folder, 3, SETTINGS, corpus, tmp_path / "b")
    frozen_test.run(folder, 6, SETTINGS, corpus, tmp_path / "c")
    for name in ("conditions.csv", "effects.csv", "batches.csv", "doses.csv", "dimensions.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "c" / name).read_bytes()

    tables = tables_of(tmp_path / "a", tmp_path / "c")
    assert list(tables["frozen_effects"]) == ["suite", "condition", *frozen_rows.EFFECTS]
    assert len(tables["frozen_conditions"]) == 2 * len(conditions)
    assert (
        len(tables["frozen_effects_summary"]) == 2 * 5
    )  # two placebos of two finders, one of the gradient's


def test_changed_weights_are_an_error(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meddle(instrument: Instrument, *_: object) -> list[dict]:
        with torch.no_grad():
            instrument.gpt.norm.weight[0] += 1e-3
        return []

    monkeypatch.setattr(frozen_test, "dose_rows", meddle)
    with pytest.raises(RuntimeError, match="changed the weights"):
        frozen_test.run(finished(tmp_path, corpus), 6, SETTINGS, corpus, tmp_path / "test")
    assert not (tmp_path / "test").exists()


def test_what_cannot_be_tested_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    def refused(folder: Path, step: int, settings: FrozenTest, match: str) -> None:
        with pytest.raises(storage.UserError, match=match):
            frozen_test.run(folder, step, settings, corpus, tmp_path / "test")
        assert not (tmp_path / "test").exists()

    whole = finished(tmp_path / "whole", corpus)
    refused(whole, 4, SETTINGS, "no weights of step 4; it has those of 3, 6")
    refused(whole, 6, FrozenTest(top=7), "take at most 6")
    refused(finished(tmp_path / "vanilla", corpus, enabled=False), 6, SETTINGS, "without self-state")
    refused(finished(tmp_path / "other", corpus, data="0" * 64), 6, SETTINGS, "another corpus")
    refused(tmp_path / "none", 6, SETTINGS, "not a run folder")


def test_command_line(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_text("tiny", b"abcd efghi\n" * 300, tmp_path / "data")
    folder = finished(tmp_path / "runs", corpus)

    def status(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["frozen_test.py", str(folder), "--out", str(tmp_path), *arguments])
        with pytest.raises(SystemExit) as caught:
            command_line.run(frozen_test.main)
        return int(str(caught.value.code))

    small = ["finder_batches=1", "heldout_batches=1", "random_directions=2", "placebo_draws=1"]
    assert status("--step", "3", *(f"--set=probe.frozen.{text}" for text in small)) == 0
    assert "heldout      gradient   effect" in capsys.readouterr().out
    assert (tmp_path / "probes" / "frozen" / "0123456789abcdef-step3" / "task.json").is_file()
    for bad, message in (
        (["--step", "4"], "it has those of 3, 6"),
        (["--set", "probe.frozen.topp=3"], "did you mean"),
        (["--set", "train.steps=3"], "only fields of probe.frozen"),
        (["--set", "probe.frozen.top=0"], "greater than or equal to 1"),
    ):
        assert status(*bad) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        assert message in error


def effects_table(learned: float, rotated: list[float], untrained: list[float]) -> pd.DataFrame:
    test = {
        "suite": "s",
        "condition": "c",
        "seed": 1,
        "run_step": 9,
        "protocol": "heldout",
        "finder": "dimension",
    }
    kinds = [("learned", [learned]), ("rotated", rotated), ("untrained", untrained)]
    return pd.DataFrame(
        {**test, "reader": reader, "draw": draw, "effect_size": size, "magnitude": 1.0}
        for reader, sizes in kinds
        for draw, size in enumerate(sizes)
    )


def tables_of(*tests: Path) -> dict[str, pd.DataFrame]:
    """The tables of one run's finished tests, but those at its usual norm, which need its log."""
    run = replace(made_run("calm", 1, pd.DataFrame(), None), suite="suite", probes={"frozen": tests})
    made = make_tables(frozen.EXPERIMENT.of("swap"), context([run]))
    return {name: table for name, table in made.items() if name != "usual_norm"}


def summarised(effects: pd.DataFrame) -> pd.DataFrame:
    return frozen_tables.frozen_effects_summary(context([]), effects)


def test_rank_p_value() -> None:
    assert rank_p_value(0.5, np.array([0.1, 0.2, 0.3])) == 1 / 4
    assert rank_p_value(0.2, np.array([0.1, 0.2, 0.3])) == 3 / 4  # a tie counts against the learned one
    assert rank_p_value(0.0, np.array([0.1, 0.2, 0.3])) == 1
    summary = summarised(effects_table(0.25, [0.1, 0.2, 0.3, 0.4], [0.1])).set_index("placebo")
    assert tuple(summary.reset_index().columns[1:7]) == frozen_tables.TEST
    row = summary.loc["rotated"]
    assert (row["effect"], row["placebo_max"], row["p_value"]) == (0.25, 0.4, 3 / 5)
    assert row["placebo_mean"] == pytest.approx(0.25)
    assert row["placebo_sd"] == pytest.approx(math.sqrt(0.05 / 3))
    assert summary["p_value"]["untrained"] == 1 / 2
    assert np.isnan(summary["placebo_sd"]["untrained"])
    two = pd.concat([effects_table(0.25, [0.3], [0.1]), effects_table(0.35, [0.3], [0.1]).assign(seed=2)])
    assert list(summarised(two)["p_value"]) == [1, 0.5, 0.5, 0.5]


def test_tables_of_nothing_and_of_a_broken_folder(tmp_path: Path) -> None:
    names = ("batches", "conditions", "dose_placebos", "doses", "effects", "effects_summary")
    assert sorted(tables_of()) == [f"frozen_{name}" for name in names]
    assert all(table.empty for table in tables_of().values())
    with pytest.raises(storage.UserError, match=r"\.csv is missing or no table"):
        tables_of(tmp_path)


def test_one_dimension_is_steered_by_the_gradient_alone(corpus: Corpus, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    folder = finished(tmp_path, corpus, dim=1)
    frozen_test.run(folder, 6, SETTINGS, corpus, tmp_path / "one", lambda *count: seen.append(count))
    total = SETTINGS.forwards(1)
    assert seen[-1] == (total, total)
    effects = rows(tmp_path / "one" / "effects.csv")
    assert {(row["protocol"], row["finder"], row["reader"]) for row in effects} == {
        ("heldout", "gradient", "learned"),
        ("heldout", "gradient", "untrained"),
    }
    assert {row["direction"] for row in rows(tmp_path / "one" / "doses.csv")} == {"gradient", "random"}


def test_foreign_directions_are_those_of_the_other_run(corpus: Corpus, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"foreign": True})
    own, other = finished(tmp_path, corpus), finished(tmp_path / "other", corpus, seed=3)
    with pytest.raises(storage.UserError, match="needs the run of the partner seed"):
        frozen_test.run(own, 6, settings, corpus, tmp_path / "test")
    seen: list[tuple[int, int]] = []
    frozen_test.run(own, 6, settings, corpus, tmp_path / "test", lambda *count: seen.append(count), other)
    total = settings.forwards(D)
    assert seen[-1] == (total, total)
    foreign = [row for row in rows(tmp_path / "test" / "effects.csv") if row["reader"] == "foreign"]
    assert [(row["protocol"], row["finder"]) for row in foreign] == [
        ("heldout", "dimension"),
        ("heldout", "gradient"),
    ]
    # Its own directions, given as if they were another's, have the learned effect.
    frozen_test.run(own, 6, settings, corpus, tmp_path / "self", other=own)
    sizes: dict[str, list[str]] = {}
    for row in rows(tmp_path / "self" / "effects.csv"):
        if row["protocol"] == "heldout":
            sizes.setdefault(row["reader"], []).append(row["effect_size"])
    assert sizes["foreign"] == sizes["learned"]
    assert [row["effect_size"] for row in foreign] != sizes["learned"]


ODD = {  # more curves than draws, more held-out batches than a curve takes, no curve of a placebo, no placebo
    "every curve": {"dose_placebos": 5, "heldout_batches": 6},
    "no curve": {"dose_placebos": 0, "finder_batches": 2},
    "one draw": {"placebo_draws": 1, "dev_batches": 1, "random_directions": 1},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("dim", [1, D])
def test_the_passes_of_a_test_are_known_before(
    corpus: Corpus, tmp_path: Path, dim: int, odd: dict[str, int]
) -> None:
    settings = SETTINGS.model_copy(update={**odd, "foreign": True})
    own, other = finished(tmp_path, corpus, dim=dim), finished(tmp_path / "other", corpus, dim=dim, seed=3)
    frozen_test.run(own, 6, settings, corpus, tmp_path / "test", other=other)
    made = storage.read_json(tmp_path / "test" / "task.json")["forwards"]
    assert made == settings.forwards(dim)
