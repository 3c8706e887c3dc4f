"""Memory against an independent NumPy reference, and what a constant bias, a matched norm and a continued run do."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import memory
import train
from base import storage
from base.rng import Stream, generator
from configs.run import RunConfig, partner
from configs.state import BufferMemory, EmaMemory, NoMemory
from configs.state import SelfState as SelfStateConfig
from data.corpus import Corpus
from data.prepare import prepare_text
from runs import folder as run_folder
from runs import state as run_state
from runs.injection import Sensed
from runs.taken_over import bias_norms, running_mean
from self_state import SelfState, StateValue
from tests.interrupted import Stop, interrupted_at

D = 4
RING = BufferMemory(kind="buffer", length=3, stride=2)
AVERAGE = EmaMemory(kind="ema", decay=0.25)


class Reference:
    """The memory in plain NumPy: a list of what was offered, and nothing clever."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.offered: list[np.ndarray] = []

    def recall(self, state: np.ndarray) -> np.ndarray | None:
        if not self.offered:
            return None
        if self.settings.kind == "ema":
            mean = self.offered[0]
            for one in self.offered[1:]:
                mean = (1 - self.settings.decay) * mean + self.settings.decay * one
            return mean
        held = np.array(self.offered[1 :: self.settings.stride][-self.settings.length :])
        if not len(held):
            return None  # no update made the first one
        scores = held @ state / np.sqrt(len(state))
        weights = np.exp(scores - scores.max())
        return weights @ held / weights.sum()


@pytest.mark.parametrize("settings", [RING, AVERAGE])
def test_recall_matches_numpy_when_empty_part_full_and_wrapped(settings: Any) -> None:
    value, reference = memory.initial(settings, D, torch.device("cpu")), Reference(settings)
    assert value is not None
    states = np.random.default_rng(0).normal(0, 2, (17, D)).astype(np.float32)
    assert memory.recall(settings, value, torch.from_numpy(states[0])) is None
    for state in states:
        value = memory.remember(settings, value, torch.from_numpy(state))
        reference.offered.append(state.astype(np.float64))
        query = np.array([0.3, -1.0, 0.5, 2.0], dtype=np.float32)
        got = memory.recall(settings, value, torch.from_numpy(query))
        wanted = reference.recall(query)
        assert (got is None) == (wanted is None) and (got is not None or len(reference.offered) == 1)
        if got is not None and wanted is not None:
            np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_remembering_leaves_the_old_value_alone() -> None:
    first = memory.initial(RING, D, torch.device("cpu"))
    assert first is not None
    memory.remember(RING, first, torch.ones(D))
    assert first.past.abs().sum() == 0 and int(first.count) == 0


def test_no_memory_has_no_value_and_no_weights() -> None:
    assert SelfState(SelfStateConfig(dim=D, memory=NoMemory()), 8).initial().memory is None
    assert SelfState(SelfStateConfig(dim=D), 8).recall is None


def make(settings: Any) -> SelfState:
    made = SelfState(SelfStateConfig(dim=D, hidden=5, decay=0.3, memory=settings), n_embd=8)
    made.initialise(generator(3, Stream.STATE_INIT))
    with torch.no_grad():
        for index, parameter in enumerate(made.parameters()):
            parameter.copy_(torch.from_numpy(np.random.default_rng(index).normal(0, 0.6, parameter.shape)))
    return made


@pytest.mark.parametrize("limit", [0.5, 2.0, None])
def test_a_proposal_is_no_longer_than_its_limit(limit: float | None) -> None:
    made = make(RING.model_copy(update={"limit": limit}))
    value, ratios = made.initial(), []
    for stats in np.random.default_rng(1).normal(1, 2, (15, 5)).astype(np.float32):
        value, parts = made.update(value, torch.from_numpy(stats))
        assert parts is not None and parts.memory is not None and parts.wanted is not None
        ratios.append((parts.memory.norm() / parts.target.norm()).item())
        torch.testing.assert_close(F.normalize(parts.memory, dim=0), F.normalize(parts.wanted, dim=0))
    largest = max(ratios)
    assert largest == pytest.approx(limit, rel=1e-5) if limit == 0.5 else largest > 0.5


def test_a_projection_is_a_matrix_on_the_proposal() -> None:
    plain, matrix = (make(AVERAGE.model_copy(update={"projection": of})) for of in (False, True))
    assert plain.recall is not None and matrix.recall is not None
    way = torch.arange(1.0, 1 + D)
    assert torch.equal(plain.recall.propose(way), AVERAGE.scale * way)
    weight = matrix.recall.projection.weight
    assert isinstance(weight, torch.Tensor) and weight.shape == (D, D)
    torch.testing.assert_close(matrix.recall.propose(way), AVERAGE.scale * (weight @ way))


def test_gradient_reaches_network_and_gate_and_nothing_earlier() -> None:
    made = make(RING)
    value = made.initial()
    for index in range(4):
        value, _ = made.update(value, torch.full((5,), 0.3 * index))
    made.read(value.state).sum().backward()
    assert made.recall is not None
    assert all(parameter.grad is not None for parameter in made.recall.parameters())
    assert value.memory is not None and not value.memory.past.requires_grad
    again = StateValue.from_arrays(value.arrays())
    assert again.memory is not None and torch.equal(again.memory.past, value.memory.past)
    assert again.memory.count.dtype == torch.int64 and int(again.memory.count) == 4


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    text = ("The state of the art is a state, and an art. " * 200).encode()
    return prepare_text("tiny", text, tmp_path_factory.mktemp("data"))


def tiny(seed: int = 5, **fields: Any) -> RunConfig:
    base: dict[str, Any] = {
        "corpus": "tiny",
        "seed": seed,
        "model": {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 8},
        "train": {"steps": 12, "batch_size": 3, "warmup_steps": 2, "learning_rate": 0.01, **fields.pop("train", {})},
        "log": {"effect_interval": 3, "probe_sequences": 2, "eval_interval": 4, "eval_batches": 2,
                "checkpoint_interval": 4, **fields.pop("log", {})},
        "self_state": {"dim": 6, "hidden": 7, **fields.pop("self_state", {})},
        "regimes": {},
        **fields,
    }  # fmt: skip
    return RunConfig.model_validate_json(json.dumps(base))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


HALF_FULL = {"kind": "buffer", "length": 8, "stride": 2}


@pytest.mark.parametrize("held", [HALF_FULL, {"kind": "ema"}, {"kind": "buffer", "length": 2, "stride": 1}])
def test_a_run_with_memory_resumes_to_the_same_bytes(corpus: Corpus, tmp_path: Path, held: dict) -> None:
    run = tiny(self_state={"memory": held})
    whole = train.train(run, corpus, tmp_path / "whole")
    with pytest.raises(Stop):
        train.train(run, corpus, tmp_path / "parts", interrupted_at(9))
    resumed = train.train(run, corpus, tmp_path / "parts")
    assert storage.read_json(resumed / "run.json")["resumed_from"] == 8
    for name in ("metrics.csv", "states.safetensors", "model.safetensors"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()
    log = rows(whole)
    assert log[0]["gate"] == "" and float(log[1]["gate"]) == 0  # no statistics yet, then nothing remembered
    assert all(0 < float(row["gate"]) < 1 and 0 < float(row["memory_share"]) < 1 for row in log[3:])


def test_memory_is_no_part_of_a_run_without(corpus: Corpus) -> None:
    assert "recall" not in run_folder.code_of(tiny())
    assert "recall" in run_folder.code_of(tiny(self_state={"memory": HALF_FULL}))


def test_fixed_bias_has_the_norm_of_the_run_it_is_a_control_of(corpus: Corpus, tmp_path: Path) -> None:
    base = train.train(tiny(), corpus, tmp_path)
    settings = {"kind": "fixed", "norm_of": "self", "factor": 2.0}
    run = tiny(self_state={"enabled": False}, constant_bias=settings)
    assert run.references() == {"norm": ("self", 5)}
    fixed = train.train(run, corpus, tmp_path, inputs={"norm": base})
    wanted = 2 * np.mean([float(row["bias_norm"]) for row in rows(base)])
    assert [float(row["bias_norm"]) for row in rows(fixed)] == pytest.approx([wanted] * 12, rel=1e-5)
    assert all(row["state_norm"] == "" for row in rows(fixed)) and rows(fixed)[0]["state_effect"] != ""
    vector = run_state.constant_bias(fixed)
    assert vector is not None and np.linalg.norm(vector) == pytest.approx(wanted, rel=1e-5)
    assert storage.read_json(fixed / "run.json")["inputs"] == {
        "norm": storage.read_json(base / "run.json")["key"]
    }


def test_learned_bias_begins_at_zero_and_learns(corpus: Corpus, tmp_path: Path) -> None:
    vanilla = train.train(tiny(self_state={"enabled": False}), corpus, tmp_path)
    run = tiny(self_state={"enabled": False}, constant_bias={"kind": "learned"})
    learned = train.train(run, corpus, tmp_path)
    norms = [float(row["bias_norm"]) for row in rows(learned)]
    assert norms[0] == 0 and norms[-1] > 0
    assert rows(learned)[0]["loss"] == rows(vanilla)[0]["loss"]
    with pytest.raises(storage.UserError, match="without bias"):
        bias_norms(vanilla)


def test_matched_bias_follows_the_other_runs_mean_norm(corpus: Corpus, tmp_path: Path) -> None:
    base = train.train(tiny(), corpus, tmp_path)
    run = tiny(self_state={"dim": 1}, match_norm_of="self", log={"keep_steps": [6]})
    matched = train.train(run, corpus, tmp_path, inputs={"matched": base})
    target = running_mean(bias_norms(base))
    got = running_mean(bias_norms(matched))
    raw = [abs(float(row["state_norm"])) for row in rows(matched)]
    assert raw[0] == 0 and got[-1] == pytest.approx(target[-1], rel=0.5)
    for step in (6, 12):  # weights as they act: reader times state is the bias that was injected
        _, _, self_state = run_state.load_models(matched, step)
        assert self_state is not None
        states = storage.load_tensors(matched / "states.safetensors")["state"]
        bias = self_state.read(torch.from_numpy(states[step - 1])).norm().item()
        assert bias == pytest.approx(float(rows(matched)[step - 1]["bias_norm"]), rel=0.2)
    with pytest.raises(Stop):
        train.train(run, corpus, tmp_path / "parts", interrupted_at(7), inputs={"matched": base})
    again = train.train(run, corpus, tmp_path / "parts", inputs={"matched": base})
    assert (again / "metrics.csv").read_bytes() == (matched / "metrics.csv").read_bytes()


@pytest.mark.parametrize("constant", [{"kind": "fixed", "norm_of": "self"}, {"kind": "learned"}])
def test_a_constant_bias_is_matched_step_by_step(corpus: Corpus, tmp_path: Path, constant: dict) -> None:
    base = train.train(tiny(), corpus, tmp_path)
    run = tiny(self_state={"enabled": False}, constant_bias=constant, match_norm_of="self")
    inputs = {part: base for part in run.references()}
    matched = train.train(run, corpus, tmp_path, inputs=inputs)
    own, target = bias_norms(matched), running_mean(bias_norms(base))
    if constant["kind"] == "fixed":
        np.testing.assert_allclose(own, target, rtol=1e-5)
    else:  # its own norm grows, and is divided by its running mean
        assert own[0] == 0 and own[-1] == pytest.approx(target[-1], rel=0.8)


def test_a_state_that_stays_is_a_random_one_at_its_share_of_the_norm(corpus: Corpus, tmp_path: Path) -> None:
    base = train.train(tiny(), corpus, tmp_path)
    first = {"kind": "random", "norm_of": "self", "factor": 0.5}
    run = tiny(self_state={"decay": 0.0, "first": first})
    assert run.references() == {"first": ("self", 5)}
    folder = train.train(run, corpus, tmp_path, inputs={"first": base})
    states, own = (storage.load_tensors(of / "states.safetensors")["state"] for of in (folder, base))
    assert (states == states[0]).all()
    assert np.linalg.norm(states[0]) == pytest.approx(0.5 * np.linalg.norm(own[-1]), rel=1e-5)
    _, _, trained = run_state.load_models(folder, None)
    begun = run_state.start(run, corpus, torch.device("cpu"), {"first": base}).injection
    reader = begun.modules["self_state"].get_parameter("reader.weight")
    assert trained is not None and not torch.equal(trained.reader.weight, reader)


@pytest.mark.parametrize("held", [{"kind": "none"}, HALF_FULL])
def test_going_on_with_the_own_state_is_going_on(corpus: Corpus, tmp_path: Path, held: dict) -> None:
    state = {"memory": held}
    origin = train.train(tiny(self_state=state, log={"keep_checkpoints": [6]}), corpus, tmp_path)
    start = {"condition": "origin", "step": 6, "state": "own"}
    run = tiny(self_state=state, start=start, train={"stop": 10})
    own = train.train(run, corpus, tmp_path, inputs={"start": origin})
    for got, wanted in zip(rows(own), rows(origin)[6:10], strict=True):
        unmeasured = {"heldout_loss": "", "heldout_ece": ""}
        assert {**got, **unmeasured} == {**wanted, **unmeasured}
    states = storage.load_tensors(own / "states.safetensors")["state"]
    np.testing.assert_array_equal(states, storage.load_tensors(origin / "states.safetensors")["state"][6:10])
    with pytest.raises(Stop):
        train.train(run, corpus, tmp_path / "parts", interrupted_at(3), inputs={"start": origin})
    again = train.train(run, corpus, tmp_path / "parts", inputs={"start": origin})
    assert (again / "metrics.csv").read_bytes() == (own / "metrics.csv").read_bytes()


def test_a_swap_is_exactly_the_others_state_at_that_step(corpus: Corpus, tmp_path: Path) -> None:
    log = {"keep_checkpoints": [6]}
    a, b = (train.train(tiny(seed, log=log), corpus, tmp_path) for seed in (5, 6))
    run = tiny(start={"condition": "origin", "step": 6, "state": "other"}, train={"stop": 10})
    assert run.references() == {"start": ("origin", 5), "other": ("origin", 6)}
    now = run_state.start(run, corpus, torch.device("cpu"), {"start": a, "other": b})
    assert isinstance(now.value, Sensed)
    others = storage.load_tensors(b / "states.safetensors")["state"][5]
    own = storage.load_tensors(a / "states.safetensors")["state"][5]
    np.testing.assert_array_equal(now.value.state.state.numpy(), others)
    made = {
        kind: run_state.exchanged(tiny(start={"condition": "origin", "step": 6, "state": kind}), own, None)
        for kind in ("own", "zero", "random", "jitter")
    }
    np.testing.assert_array_equal(made["own"], own)
    assert not made["zero"].any()
    norm = np.linalg.norm(own)
    assert np.linalg.norm(made["random"]) == pytest.approx(norm, rel=1e-5)
    assert abs(made["random"] @ own) < 0.9 * norm**2
    assert np.linalg.norm(made["jitter"] - own) == pytest.approx(1e-3 * norm, rel=1e-2)


@pytest.mark.parametrize("seed, other", [(1, 2), (2, 1), (7, 8), (8, 7)])
def test_partners_exchange(seed: int, other: int) -> None:
    assert partner(seed) == other


def test_inputs_are_asked_for(corpus: Corpus, tmp_path: Path) -> None:
    run = tiny(start={"condition": "origin", "step": 6})
    with pytest.raises(ValueError, match=r"needs inputs \['start'\]"):
        train.train(run, corpus, tmp_path)
