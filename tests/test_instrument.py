"""What every test of a finished run stands on: which weights, states and batches it gets, and that it leaves them as they were."""

import contextlib
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from base import storage
from base.rng import Stream, generator
from configs.probes.frozen import FrozenTest
from configs.run import RunConfig
from configs.toml_file import ConfigError
from configs.training import Model
from data.corpus import Corpus
from data.prepare import prepare_text
from model import GPT
from probes import instrument
from runs import folder as run_folder
from runs.state import models_arrays
from self_state import SelfState

KEY = "0123456789abcdef" * 4
SIZES = Model(n_layer=1, n_head=2, n_embd=8, block_size=6)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare_text("tiny", b"abcd efghi\n" * 300, tmp_path_factory.mktemp("out") / "data")


def finished(runs: Path, corpus: Corpus, data: str | None = None) -> Path:
    """The folder of a run that went on at step 2 and stopped after step 7 of 9, with the weights after 3 kept: state t is t everywhere."""
    fields = {
        "corpus": "tiny",
        "seed": 3,
        "model": SIZES.model_dump(mode="json"),
        "train": {"steps": 9, "stop": 7, "batch_size": 4, "warmup_steps": 0},
        "log": {"keep_steps": [3]},
        "self_state": {"dim": 5},
        "start": {"condition": "origin", "step": 2},
        "regimes": {},
    }
    run, work = RunConfig.model_validate_json(json.dumps(fields)), runs / ".work"
    for drawn, name in enumerate(("model-step3", "model")):
        gpt, self_state = GPT(SIZES, corpus.vocab_size), SelfState(run.self_state, SIZES.n_embd)
        gpt.initialise(generator(drawn, Stream.INIT))
        self_state.initialise(generator(drawn, Stream.STATE_INIT))
        storage.save_tensors(
            work / f"{name}.safetensors", models_arrays({"gpt": gpt, "self_state": self_state})
        )
    states = np.repeat(np.arange(2, 7, dtype=np.float32)[:, None], 5, axis=1)
    storage.save_tensors(work / "states.safetensors", {"state": states})
    record = {"key": KEY, "status": "complete", "data": data or corpus.tokens_sha256, "code": "0" * 64}
    run_folder.finish(work, runs / KEY[:16], run, record, "step\n")
    return runs / KEY[:16]


def test_a_subject_has_the_weights_and_the_states_up_to_its_step(corpus: Corpus, tmp_path: Path) -> None:
    folder = finished(tmp_path, corpus)
    early, late = (instrument.load_subject(folder, step) for step in (3, 7))
    assert early.states[:, 0].tolist() == [2] and late.states[:, 0].tolist() == [2, 3, 4, 5, 6]
    kept = storage.load_tensors(folder / "model-step3.safetensors")
    assert early.reader.dtype == np.float64 and np.array_equal(early.reader, kept["self_state.reader.weight"])
    assert not np.array_equal(early.reader, late.reader)
    assert early.sha256() == instrument.weights_sha256(kept)
    alone = {name: array for name, array in kept.items() if name.startswith("gpt.")}
    assert instrument.load_trained(folder, 3).sha256() == instrument.weights_sha256(alone)


def test_the_hash_is_of_every_name_and_every_weight() -> None:
    one, two = np.arange(3.0), np.ones((2, 2), dtype=np.float32)
    found = instrument.weights_sha256({"b": two, "a": one})
    assert found == hashlib.sha256(b"a\0" + one.tobytes() + b"b\0" + two.tobytes()).hexdigest()
    assert found == instrument.weights_sha256({"a": one, "b": np.asfortranarray(two)})
    assert (
        len(
            {
                found,
                *(
                    instrument.weights_sha256(others)
                    for others in ({"a": two, "b": one}, {"a": one, "b": 2 * two})
                ),
            }
        )
        == 3
    )


@pytest.mark.parametrize(("split", "first"), [("train", 2), ("dev", 3), ("heldout", 4)])
def test_each_split_has_batches_of_its_own(corpus: Corpus, tmp_path: Path, split: str, first: int) -> None:
    """From `first` million of the evaluation's stream on, of the run's seed; below one million are the run's own evaluations."""
    subject = instrument.load_trained(finished(tmp_path, corpus), 7)
    for sequences in (None, 2):
        drawn = instrument.batches(subject, corpus, split, 3, sequences)
        assert len(drawn) == 3
        for at, (x, y) in enumerate(drawn):
            wanted = corpus.draw(split, sequences or 4, 6, generator(3, Stream.EVAL, first * 1_000_000 + at))
            assert np.array_equal(x.numpy(), wanted[0]) and np.array_equal(y.numpy(), wanted[1])


def opened(folder: Path, corpus: Corpus, destination: Path) -> Any:
    return instrument.weights_frozen(folder, 3, corpus, destination, instrument.load_subject)


def test_what_was_found_is_written_with_where_it_comes_from(corpus: Corpus, tmp_path: Path) -> None:
    started = time.perf_counter()
    with opened(finished(tmp_path, corpus), corpus, tmp_path / "made") as (subject, results):
        results.tables["some.csv"] = (
            ("seed", "run_step", "value", "lacking"),
            [{"value": 1 / 3, "other": 9}],
        )
        results.task["mine"] = 5
    assert (
        tmp_path / "made" / "some.csv"
    ).read_text() == "seed,run_step,value,lacking\n3,3,0.333333333333,\n"
    task = storage.read_json(tmp_path / "made" / "task.json")
    assert 0 <= task.pop("seconds") <= time.perf_counter() - started
    assert task == {
        "seed": 3, "run_step": 3, "run_key": KEY, "mine": 5, "dtype": "float32", "threads": torch.get_num_threads(),
        "weights_sha256_before": subject.sha256(), "weights_sha256_after": subject.sha256(),
    }  # fmt: skip


@pytest.mark.parametrize("part", ["gpt", "self_state"])
def test_a_test_that_changes_a_weight_writes_nothing(corpus: Corpus, tmp_path: Path, part: str) -> None:
    folder = finished(tmp_path, corpus)
    with (
        pytest.raises(RuntimeError, match="changed the weights"),
        opened(folder, corpus, tmp_path / "made") as (subject, _),
        torch.no_grad(),
    ):
        next(getattr(subject, part).parameters()).view(-1)[0] += 1e-3
    assert not (tmp_path / "made").exists()


def test_another_corpus_and_one_too_short_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    other = prepare_text("tiny", b"xyz\n" * 300, tmp_path / "xyz")
    short = prepare_text("tiny", b"abcdefghi\n" * 2, tmp_path / "short")
    for given, folder, said in (
        (other, finished(tmp_path / "a", corpus), "another corpus"),
        (short, finished(tmp_path / "b", corpus, short.tokens_sha256), "too short"),
    ):
        with pytest.raises(storage.UserError, match=said), opened(folder, given, tmp_path / "made"):
            pass
    assert not (tmp_path / "made").exists()


def test_only_its_own_fields_can_be_set_for_a_probe() -> None:
    settings = instrument.load_settings("frozen", ["probe.frozen.top=2"])
    assert isinstance(settings, FrozenTest) and settings.top == 2
    assert instrument.load_settings("frozen", []) != settings
    for text in ("probe.belief.heldout_batches=1", "train.steps=3", "probe.frozenness=1"):
        with pytest.raises(ConfigError, match=r"only fields of probe\.frozen can be set"):
            instrument.load_settings("frozen", [text])


def test_a_command_tests_the_last_weights_unless_told_otherwise(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_text("tiny", b"abcd efghi\n" * 300, tmp_path / "data")
    folder, asked = finished(tmp_path / "runs", corpus), []

    def test(
        folder: Path,
        step: int,
        settings: FrozenTest,
        corpus: Corpus,
        destination: Path,
        progress: Any,
        other: Path | None,
    ) -> None:
        asked.append((folder, step, settings.top, corpus.tokens_sha256, destination.name, other))
        progress(1, 1)

    def asking(*more: str) -> None:
        arguments = [str(folder), "--out", str(tmp_path), *more]
        instrument.command(arguments, "x.py", "Test.", "frozen", test, lambda made: f"found in {made.name}")

    asking()
    asking("--step", "3", "--set", "probe.frozen.top=2", "--other", str(folder))
    top = instrument.load_settings("frozen", []).top  # type: ignore[attr-defined]
    name = KEY[:16]
    assert asked == [
        (folder, 7, top, corpus.tokens_sha256, f"{name}-step7", None),
        (folder, 3, 2, corpus.tokens_sha256, f"{name}-step3", folder),
    ]
    assert f"found in {name}-step7" in capsys.readouterr().out
    foreign = finished(tmp_path / "foreign", corpus, "0" * 64)
    with pytest.raises(storage.UserError, match="another corpus"), contextlib.redirect_stderr(None):
        asking("--other", str(foreign))
    assert len(asked) == 2


def test_the_passes_are_counted_one_by_one(corpus: Corpus, tmp_path: Path) -> None:
    subject = instrument.load_trained(finished(tmp_path, corpus), 7)
    seen: list[tuple[int, int]] = []
    measuring = instrument.Instrument(subject.gpt, 11, lambda *count: seen.append(count), done=2)
    drawn = instrument.batches(subject, corpus, "dev", 2)
    found = measuring.measure(np.eye(3, 8), drawn)
    assert found.kl.shape == (2, 3, 8) and not found.kl.any()  # not asked for
    measuring.entropy_gradient(drawn)
    assert (
        seen == [(done, 11) for done in range(3, 11)] and measuring.done == 10
    )  # 3 biases · 2 batches, then 2
