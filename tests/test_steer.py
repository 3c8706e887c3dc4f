"""States set by hand: directions of a model with a known answer, presets, what states do, their files, the command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

from base import storage
from base.storage import UserError
from configs.run import RunConfig
from data.corpus import Corpus
from data.prepare import prepare_text
from model import GPT
from probes import presets
from probes.instrument import Batch, Instrument, batches, load_subject
from probes.presets import Shift
from runs import state_file
from scripts import steer
from tests import test_frozen_test as known_model
from tests.hostile import assert_refused, ends
from tests.known_gpt import READER, SIZES, STEPS, C, D, T, V, by_hand, finished, known


def moved(dimension: int, amount: float) -> float:
    """Entropy change of the known model, in nats, where one dimension has an amount."""
    return known(STEPS[dimension] * amount) - known(0)


def test_directions_of_a_known_model() -> None:
    (batch,) = known_model.batches(1)
    for magnitude, threshold in ((0.5, 0.01), (0.5, 0.13), (1.0, 0.01)):
        found = presets.find(Instrument(by_hand()), READER, batch, magnitude, threshold)
        effects = {(i, sign): moved(i, magnitude * sign) for i in range(D) for sign in (1, -1)}
        for name, direction in (("confident", -1), ("uncertain", 1)):
            expected = {place: one for place, one in effects.items() if direction * one > threshold}
            measured = {(shift.dimension, shift.sign): shift.effect for shift in found[name]}
            assert measured == pytest.approx(expected, abs=1e-5) and expected
            sizes = [abs(shift.effect) for shift in found[name]]
            assert sizes == sorted(sizes, reverse=True)
            assert len(expected) == 6 or threshold > 0.01  # each of the six dimensions, one way
    assert not any(presets.find(Instrument(by_hand()), READER, batch, threshold=1.0).values())


def test_a_preset_goes_to_the_ends_of_training() -> None:
    states = np.array([[0, 5, -1, 3], [2, -5, 4, 3], [1, 0, 0, 3]], dtype=np.float32)
    shifts = [
        Shift(0, 1, -0.9),
        Shift(1, -1, -0.5),
        Shift(0, -1, -0.2),
    ]  # the stronger of dimension 0 decides
    assert presets.preset(states, shifts).tolist() == [2, -5, 0, 3]
    assert presets.preset(states, shifts[1:]).tolist() == [0, -5, 0, 3]
    assert presets.preset(states, []).tolist() == states[-1].tolist() == [1, 0, 0, 3]


def test_the_mean_of_a_regime_is_of_all_its_steps() -> None:
    windows = [
        {"regime": "bewilderment", "start": 1, "end": 3},
        {"regime": "sensory_fog", "start": 4, "end": 5},
    ]
    fields: dict[str, Any] = {name: {} for name in ("model", "log", "self_state", "regimes")}
    fields |= {"corpus": "x", "train": {"steps": 6, "warmup_steps": 0}}
    run = RunConfig.model_validate_json(
        json.dumps({**fields, "schedule": {"kind": "windows", "windows": windows}})
    )
    states = np.array([[0.0, 1], [2, 3], [4, 7], [6, 7], [8, 9], [10, 11]], dtype=np.float32)
    assert presets.regime_mean(run, states, "bewilderment").tolist() == [3, 5]
    assert presets.regime_mean(run, states, "calm").tolist() == pytest.approx([16 / 3, 19 / 3])
    with pytest.raises(UserError, match=r"own, confident, uncertain, and those of bewilderment, calm$"):
        presets.regime_mean(run, states[:4], "sensory_fog")  # not yet


class Reference:
    """A model of embeddings alone, and in NumPy what it says at the last position."""

    def __init__(self) -> None:
        random = np.random.default_rng(5)
        self.tokens, self.positions = random.normal(size=(V, C)), random.normal(size=(T, C))
        self.reader, self.states = random.normal(size=(C, D)), random.normal(size=(3, D))
        self.gpt = known_model.set_weights(GPT(SIZES, V), self.tokens, self.positions)

    def logits(self, state: np.ndarray, drawn: list[Batch]) -> np.ndarray:
        """(S, V) of all sequences S."""
        last = np.concatenate([x.numpy() for x, _ in drawn])[:, -1]
        embedded = self.tokens[last] + self.positions[-1] + self.reader @ state
        scaled = embedded - embedded.mean(-1, keepdims=True)
        return scaled / np.sqrt((scaled**2).mean(-1, keepdims=True) + 1e-5) @ self.tokens.T


def test_directions_match_numpy() -> None:
    model, drawn = Reference(), known_model.batches(1)

    def entropy(state: np.ndarray) -> float:
        log_p = log_softmax(model.logits(state, drawn), -1)
        return -(np.exp(log_p) * log_p).sum(-1).mean()

    found = presets.find(Instrument(model.gpt), model.reader, drawn[0], 0.5, 0)
    shifts = found["confident"] + found["uncertain"]
    assert len({(shift.dimension, shift.sign) for shift in shifts}) == 2 * D
    for shift in shifts:
        state = 0.5 * shift.sign * np.eye(D)[shift.dimension]
        assert shift.effect == pytest.approx(entropy(state) - entropy(np.zeros(D)), abs=3e-5)


def test_comparisons_match_numpy() -> None:
    model, drawn = Reference(), known_model.batches(2)
    states = [np.zeros(D), *model.states]
    rows = presets.compare(model.gpt, model.reader, np.stack(states), drawn)
    zero = model.logits(states[0], drawn)
    p = np.exp(log_softmax(zero, -1))
    for row, state in zip(rows, states, strict=True):
        steered = model.logits(state, drawn)
        q = np.exp(log_softmax(steered, -1))
        expected = (
            np.abs(steered - zero).mean(),
            (p * np.log(p / q)).sum(-1).mean(),
            *(-(p * np.log(p)).sum(-1).mean(), -(q * np.log(q)).sum(-1).mean()),
            *(p.max(-1).mean(), q.max(-1).mean()),
        )
        assert tuple(row) == presets.COMPARED
        assert tuple(row.values()) == pytest.approx(expected, abs=3e-5)
    assert rows[0]["logit_change"] == rows[0]["kl"] == 0


def test_a_state_comes_back_from_its_file(tmp_path: Path) -> None:
    state = np.random.default_rng(1).normal(size=D).astype(np.float32)
    state_file.save(tmp_path / "a" / "own.json", state, "own", "0" * 64, 6)
    assert np.array_equal(state_file.load(tmp_path / "a" / "own.json", D), state)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["own.json"]
    told = storage.read_json(tmp_path / "a" / "own.json")
    assert (told["what"], told["run_key"], told["run_step"]) == ("own", "0" * 64, 6)
    (tmp_path / "by_hand.json").write_text('{"state": [1, -0.5, 1e6]}')
    assert state_file.load(tmp_path / "by_hand.json", 3).tolist() == [1, -0.5, 1e6]
    with pytest.raises(ValueError):
        state_file.save(tmp_path / "nan.json", np.full(D, np.nan), "own", "0" * 64, 6)
    assert not (tmp_path / "nan.json").exists()


BAD = {
    "not JSON": ("state = [1, 2]", "not valid JSON"),
    "cut off": ('{"state": [1, 2', "not valid JSON"),
    "NaN": ('{"state": [NaN, 1]}', "NaN is not finite"),
    "infinite": ('{"state": [1e999, 1]}', "is not finite"),
    "too large": ('{"state": [1e30, 1]}', "beyond ±1,000,000"),
    "a long integer": ('{"state": [' + "9" * 90 + ", 1]}", "beyond ±1,000,000"),
    "too few": ('{"state": [1]}', "1 dimensions, the run one of 2"),
    "too many": ('{"state": [1, 2, 3]}', "3 dimensions, the run one of 2"),
    "words": ('{"state": ["1", "2"]}', "holds no state"),
    "truths": ('{"state": [true, false]}', "holds no state"),
    "a matrix": ('{"state": [[1, 2]]}', "holds no state"),
    "no state": ('{"what": "own"}', "holds no state"),
    "a list": ("[1, 2]", "holds no state"),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD)
def test_what_is_no_state_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad; state.json"
    path.write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        state_file.load(path, 2)
    assert str(path) in str(caught.value) and "; " in str(caught.value)
    assert "delete" not in str(caught.value) and "run again" not in str(caught.value)


TEXT = b"abcd efghi\n" * 300


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare_text("tiny", TEXT, tmp_path_factory.mktemp("out") / "data")


@pytest.fixture
def run(corpus: Corpus, tmp_path: Path) -> Path:
    prepare_text("tiny", TEXT, tmp_path / "data")
    return finished(tmp_path / "runs", corpus)


def test_find_build_and_eval(
    run: Path, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def do(*arguments: str) -> None:
        steer.main([str(run), *arguments, "--out", str(tmp_path)])

    before = {path.name: path.read_bytes() for path in run.iterdir()}
    small = ("--threshold", "0")
    do("find", *small, "--step", "3")
    folder = tmp_path / "steer" / f"{run.name}-step3"
    found = storage.read_json(folder / "directions.json")
    assert (found["run_step"], found["magnitude"], found["threshold"]) == (3, 0.5, 0)
    assert found["run_key"] == storage.read_json(run / "run.json")["key"]
    subject = load_subject(run, 3)
    (batch,) = batches(subject, corpus, "train", 1)
    expected = presets.find(Instrument(subject.gpt), subject.reader, batch, 0.5, 0)
    assert [Shift(**shift) for shift in found["confident"]] == expected["confident"]
    assert len(found["confident"]) + len(found["uncertain"]) == 2 * D

    for what, extra in (
        ("own", ()),
        ("calm", ()),
        ("confident", (*small, "--top", "2")),
        ("uncertain", small),
    ):
        do("build", what, *extra, "--step", "3")
    own, calm, confident, uncertain = (
        state_file.load(folder / f"{name}.json", D) for name in ("own", "calm", "confident", "uncertain")
    )
    assert np.array_equal(own, subject.states[2])  # of the step whose weights they are, not of a later one
    np.testing.assert_allclose(calm, subject.states.mean(0), rtol=1e-6)
    assert np.array_equal(confident, presets.preset(subject.states, expected["confident"][:2]))
    assert (confident != own).sum() <= 2 < (uncertain != own).sum()
    for state in (confident, uncertain):
        assert (state >= subject.states.min(0)).all() and (state <= subject.states.max(0)).all()

    files = [str(folder / "own.json"), str(folder / "confident.json")]
    capsys.readouterr()
    do("eval", *files, "--step", "3", "--json")
    rows = json.loads(capsys.readouterr().out)
    drawn = batches(subject, corpus, "heldout", 10)
    assert rows == [
        {"state": file, **row}
        for file, row in zip(files, presets.compare(subject.gpt, subject.reader, np.stack([own, confident]), drawn), strict=True)
    ]  # fmt: skip
    do("eval", *files, "--step", "3")
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 3 and f"{rows[1]['kl']:.4f}" in table[2].split()
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_the_state_of_another_run_can_be_set(run: Path, corpus: Corpus, tmp_path: Path) -> None:
    other, small = finished(tmp_path / "other", corpus, seed=3), finished(tmp_path / "small", corpus, dim=4)
    for one, name in ((other, "swapped"), (small, "small")):
        steer.main([str(one), "build", "own", "--to", str(tmp_path / f"{name}.json"), "--out", str(tmp_path)])
    steer.main([str(run), "eval", str(tmp_path / "swapped.json"), "--out", str(tmp_path)])
    refused = ends(steer.main, str(run), "eval", str(tmp_path / "small.json"), "--out", str(tmp_path))
    assert_refused(refused, "a state of 4 dimensions, the run one of 12")


LINES: dict[str, tuple[list[str], str]] = {
    "no command": ([], "required"),
    "no such command": (["bild"], "invalid choice"),
    "no such state": (["build", "joy"], "no state 'joy' of this run; there are own, confident, uncertain"),
    "a way out": (["build", "../own"], "no state '../own'"),
    "nothing found": (["build", "confident", "--threshold", "9"], "take a smaller --threshold"),
    "magnitude 0": (["find", "--magnitude", "0"], "--magnitude must be above 0"),
    "magnitude NaN": (["find", "--magnitude", "nan"], "--magnitude must be above 0"),
    "threshold below 0": (["find", "--threshold", "-1"], "--threshold from 0"),
    "top 0": (["build", "confident", "--top", "0"], "must be 1 or more"),
    "a step not kept": (["find", "--step", "4"], "it has those of 3, 6"),
    "no file": (["eval", "none.json"], "none.json is missing; make a state with"),
    "no path": (["eval", "a\nb.json"], "can't be shown"),
    "a folder": (["eval", "."], "write or build the state again"),
}


@pytest.mark.parametrize(("arguments", "said"), LINES.values(), ids=LINES)
def test_a_wrong_line_is_refused(run: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    out = ["--out", str(tmp_path)] if arguments and arguments != ["bild"] else []
    assert_refused(ends(steer.main, str(run), *arguments, *out), said)
    assert not (tmp_path / "steer").exists()


def test_a_run_of_no_state_or_another_corpus_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    prepare_text("tiny", TEXT, tmp_path / "data")
    vanilla = finished(tmp_path / "vanilla", corpus, enabled=False)
    assert_refused(ends(steer.main, str(vanilla), "find", "--out", str(tmp_path)), "without self-state")
    other = finished(tmp_path / "other", corpus, data="0" * 64)
    assert_refused(ends(steer.main, str(other), "find", "--out", str(tmp_path)), "another corpus")
