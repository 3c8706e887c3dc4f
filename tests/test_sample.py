"""Sampling: the tokens that the numbers drawn give, top-k, several texts, states and prompts from files."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax

import frozen_test
import train
from base.rng import Stream, generator
from data.corpus import Corpus, load
from data.prepare import prepare_text
from runs import state_file
from runs.state import load_models
from scripts import sample, steer
from study import worker
from tests.files import put
from tests.hostile import assert_refused, ends, sparse
from tests.known_gpt import C, D, T, any_gpt, finished
from tests.least import TEXT as TINY_TEXT
from tests.tiny_study import SUITE, planned

PROMPT = np.array([3, 1])
Say = Callable[..., str]


def next_logits(tokens: np.ndarray, bias: torch.Tensor | None = None) -> np.ndarray:
    """What any_gpt says next, (V,) float64."""
    with torch.inference_mode():
        return any_gpt()(torch.from_numpy(tokens[-T:])[None], bias)[0][0, -1].double().numpy()


@pytest.mark.parametrize("draw", [0, 2])
@pytest.mark.parametrize("top_k", [None, 1, 4, 99])
def test_each_token_is_the_one_that_its_number_falls_on(top_k: int | None, draw: int) -> None:
    bias = torch.linspace(-1, 1, C)
    made = sample.generate(any_gpt(), PROMPT, 15, bias, 0.7, 5, top_k, draw)
    assert made[:2].tolist() == PROMPT.tolist() and len(made) == 17
    for index in range(15):
        logits = next_logits(made[: 2 + index], bias)
        p = softmax(logits / 0.7)
        least = np.sort(p)[::-1][: top_k or len(p)][-1]
        p = np.where(p >= least, p, 0) / p[p >= least].sum()
        number = generator(5, Stream.SAMPLE, draw * 1_000_000 + index).random()
        below = p[: made[2 + index]].sum()
        assert below - 1e-9 <= number <= below + p[made[2 + index]] + 1e-9


def test_top_k_leaves_out_all_others() -> None:
    likely = np.argsort(-next_logits(PROMPT))
    for top_k in (1, 3):
        drawn = {
            sample.generate(any_gpt(), PROMPT, 1, None, 50.0, seed, top_k)[-1] for seed in range(60)
        }  # so hot that each of them comes up
        assert drawn == set(likely[:top_k])
    hot = {sample.generate(any_gpt(), PROMPT, 1, None, 50.0, seed)[-1] for seed in range(60)}
    assert len(hot) > 6


TEXT = b"abcd efghi\n" * 300


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare_text("tiny", TEXT, tmp_path_factory.mktemp("out") / "data")


@pytest.fixture
def run(corpus: Corpus, tmp_path: Path) -> Path:
    prepare_text("tiny", TEXT, tmp_path / "data")
    return finished(tmp_path / "runs", corpus)


@pytest.fixture
def say(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """What sample.py prints of the run, 20 tokens long."""

    def said(*arguments: str) -> str:
        capsys.readouterr()
        sample.main([str(run), "--length", "20", "--out", str(tmp_path), *arguments])
        return capsys.readouterr().out

    return said


def test_several_texts_are_drawn_anew(say: Say) -> None:
    one, three = say("--prompt", "ab"), say("--prompt", "ab", "--samples", "3")
    texts = three.split("--- 1 of 3 ---\n")[1]
    first, rest = texts.split("--- 2 of 3 ---\n")
    second, third = rest.split("--- 3 of 3 ---\n")
    assert first == one and len({first, second, third}) == 3
    assert all(text.startswith("ab") and len(text) == 23 for text in (first, second, third))
    assert say("--prompt", "ab", "--samples", "3") == three


def test_a_state_from_a_file_does_what_it_does(run: Path, say: Say, tmp_path: Path) -> None:
    steer.main([str(run), "build", "own", "--to", str(tmp_path / "own.json"), "--out", str(tmp_path)])
    assert say("--state", str(tmp_path / "own.json")) == say("--state", "own") != say("--state", "zero")
    state_file.save(tmp_path / "zero.json", np.zeros(D), "zero", "0" * 64, 6)
    assert say("--state", str(tmp_path / "zero.json")) == say("--state", "zero")
    state = np.linspace(-3, 3, D).astype(np.float32)
    state_file.save(tmp_path / "by_hand.json", state, "by hand", "0" * 64, 6)
    _, _, self_state = load_models(run)
    assert self_state is not None
    bias = sample.steering_bias(self_state, run, 6, str(tmp_path / "by_hand.json"), 0.5, 1)
    expected = self_state.reader.weight.detach().numpy() @ state
    assert bias is not None
    np.testing.assert_allclose(bias.numpy(), expected, atol=1e-5)


def test_a_prompt_from_a_file_is_the_same_prompt(say: Say, tmp_path: Path) -> None:
    for mark in ("", "\ufeff"):
        (tmp_path / "prompt.txt").write_text(f"{mark}abc\nhi", encoding="utf-8")
        assert say("--prompt-file", str(tmp_path / "prompt.txt")) == say("--prompt", "abc\nhi")


LINES: dict[str, tuple[list[str], str]] = {
    "a state of no name": (["--state", "owm"], "it can be zero, own, random, or a file FILE.json"),
    "a state of another size": (["--state", "{}/short.json"], "a state of 1 dimensions, the run one of 12"),
    "a state that is none": (["--state", "{}/bad.json"], "not valid JSON"),
    "no state": (["--state", "{}/none.json"], "is missing; make a state with"),
    "a state of no path": (["--state", "a\nb.json"], "can't be shown"),
    "top-k 0": (["--top-k", "0"], "--top-k 1 or more"),
    "no samples": (["--samples", "0"], "--samples must be from 1 to 100"),
    "samples without end": (["--samples", "101"], "--samples must be from 1 to 100"),
    "two prompts": (["--prompt", "a", "--prompt-file", "{}/odd.txt"], "not allowed with"),
    "no prompt": (["--prompt", ""], "--prompt is empty"),
    "a prompt of other signs": (["--prompt-file", "{}/odd.txt"], "lacks 'z'"),
    "no prompt file": (["--prompt-file", "{}/none.txt"], "there is no such file"),
    "a folder": (["--prompt-file", "{}"], "there is no such file"),
    "an endless file": (["--prompt-file", "/dev/zero"], "there is no such file"),
    "an empty file": (["--prompt-file", "{}/empty.txt"], "0 bytes; give it at least one"),
    "a large file": (["--prompt-file", "{}/large.txt"], "1,000,001 bytes"),
    "bytes": (["--prompt-file", "{}/bytes.txt"], "is not UTF-8 text (at byte 1)"),
}


@pytest.mark.parametrize(("arguments", "said"), LINES.values(), ids=LINES)
def test_a_wrong_line_is_refused(run: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    for name, content in (
        ("short.json", b'{"state": [1]}'), ("bad.json", b"state"), ("odd.txt", b"abz"), ("empty.txt", b""), ("bytes.txt", b"a\xff"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content)
    sparse(tmp_path / "large.txt", 1_000_001)
    given = [word.format(tmp_path) for word in arguments]
    assert_refused(ends(sample.main, str(run), *given, "--out", str(tmp_path)), said)


def test_a_run_of_no_state_or_another_corpus_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    prepare_text("tiny", TEXT, tmp_path / "data")
    state_file.save(tmp_path / "zero.json", np.zeros(D), "zero", "0" * 64, 6)
    vanilla = finished(tmp_path / "vanilla", corpus, enabled=False)
    line = [str(vanilla), "--state", str(tmp_path / "zero.json"), "--out", str(tmp_path)]
    assert_refused(ends(sample.main, *line), "without self-state")
    other = finished(tmp_path / "other", corpus, data="0" * 64)
    assert_refused(ends(sample.main, str(other), "--out", str(tmp_path)), "another corpus")


def test_a_run_without_state_or_line_ends_can_be_sampled_without_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = prepare_text("tiny", b"abcd\refghi" * 300, tmp_path / "data")
    folder = finished(tmp_path / "runs", corpus, enabled=False)
    sample.main([str(folder), "--length", "60", "--temperature", "9", "--out", str(tmp_path)])
    written = capsys.readouterr().out
    assert (
        len(written) == 62 and "\r" in written and "\ufffd" not in written
    )  # to a file as the model wrote it
    assert_refused(
        ends(sample.main, str(folder), "--state", "own", "--out", str(tmp_path)), "a run without self-state"
    )


# What a run was made from


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two runs of a tiny study, in out/runs of one folder: what made each, and its folder."""
    place = tmp_path_factory.mktemp("study")
    out, suite = place / "out", put(place / "tiny.toml", SUITE)
    tokens = prepare_text("tiny_text", TINY_TEXT.encode(), out / "data").tokens_sha256
    train.main([str(suite), "--condition", "self", "--out", str(out)])
    (by_command,) = (out / "runs").glob("[0-9a-f]*")
    step = next(
        step
        for step in planned(out, suite, "train.dtype='float32'", tokens=tokens)
        if step.name == "train tiny/self_calm/seed-1"
    )
    (out / "logs").mkdir()
    assert worker.perform(step, out).error is None
    return {"a command": by_command, "a worker": step.destination}


@pytest.mark.parametrize("maker", ["a command", "a worker"])
def test_a_run_is_sampled_from_anywhere_where_its_text_is_gone_and_nothing_is_written(
    study: dict[str, Path], maker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    shutil.copytree(study[maker], tmp_path / "copy")
    before = contents(tmp_path)
    sample.main(["copy", "--prompt", "wild", "--length", "20"])
    assert len(capsys.readouterr().out) == 25 and contents(tmp_path) == before
    assert_refused(ends(sample.main, "copy", "--prompt", "#"), "lacks '#'")


def test_a_run_that_kept_no_vocabulary_is_read_by_its_own_study_s(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_text("tiny", TEXT, tmp_path / "out" / "data")
    run = finished(tmp_path / "out" / "runs", corpus)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    sample.main([str(run), "--length", "20"])
    assert len(capsys.readouterr().out) == 22 and contents(elsewhere) == {}
    shutil.rmtree(tmp_path / "out" / "data")
    assert_refused(ends(sample.main, str(run)), "is not prepared")
    assert contents(elsewhere) == {}


def test_every_reader_of_a_text_refuses_another_and_writes_nothing(
    study: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(study["a command"], tmp_path / "runs" / "one")
    swapped = TINY_TEXT.replace("heaven", "Heaven")
    prepare_text("tiny_text", swapped.encode(), tmp_path / "data")
    put(tmp_path / "texts" / "tiny_text" / "input.txt", TINY_TEXT)  # where a corpus would be made of it
    monkeypatch.setenv("INTEROCEPTION_DATA", str(tmp_path / "texts"))
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    for main, *rest in (
        (steer.main, "find"),
        (steer.main, "eval", "state.json"),
        (steer.main, "page"),
        (frozen_test.main,),
    ):
        state_file.save(tmp_path / "state.json", np.zeros(4), "zero", "0" * 64, 6)
        assert_refused(
            ends(main, str(tmp_path / "runs" / "one"), *rest, "--out", str(tmp_path)), "another corpus"
        )
    (tmp_path / "state.json").unlink()
    stranger = finished(tmp_path / "other", load("tiny_text", tmp_path / "data"))
    before = contents(tmp_path)
    line = [str(study["a command"]), "--other", str(stranger), "--out", str(tmp_path)]
    assert_refused(ends(frozen_test.main, *line), f"{stranger} was trained on another corpus")
    assert contents(tmp_path) == before
