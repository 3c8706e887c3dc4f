"""Files put in the place of the project's own to do harm: refused in one line, not run, not loaded."""

import contextlib
import json
import os
import pickle
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import frozen_test
from base import storage
from base.storage import UserError
from data import corpus as corpora
from data.prepare import prepare_text
from runs import folder as run_folder
from runs import state as run_state
from scripts import sample
from tests.hostile import Trap, assert_refused, ends, finished_run, sparse
from tests.least import TEXT
from tests.test_house import PRODUCT


def safetensors(header: dict | bytes, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def tensor(dtype: str, shape: list[int], end: int) -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


NO_TENSORS = {
    "empty": b"",
    "header of 2**60 bytes": struct.pack("<Q", 2**60) + b"{}",
    "header of 2**64 - 1 bytes": b"\xff" * 8 + b"{}",
    "header that is no JSON": safetensors(b"\x80" * 40),
    "header nested 100,000 deep": safetensors(b'{"a":' * 100_000),
    "shape beyond 64 bits": safetensors(tensor("F32", [2**62, 2**62], 4), b"1234"),
    "shape larger than the file": safetensors(tensor("F32", [2**40], 2**42), b"1234"),
    "negative shape": safetensors(tensor("F32", [-1], 4), b"1234"),
    "type that NumPy lacks": safetensors(tensor("BF16", [2], 4), b"1234"),
    "type that nobody knows": safetensors(tensor("X99", [2], 4), b"1234"),
    "offsets that overlap": safetensors(
        {"a": tensor("U8", [4], 4)["a"], "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}},
        b"123456",
    ),
}


@pytest.mark.parametrize("content", NO_TENSORS.values(), ids=NO_TENSORS)
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a whole safetensors file") as caught:
        storage.load_tensors(path)
    assert str(path) in str(caught.value)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(UserError, match="not a whole safetensors file"):
        storage.load_tensors(path)
    assert not (tmp_path / "sprung").exists()
    files = [
        file for file in PRODUCT if file.name != "cluster.py"
    ]  # it packs steps for Dask's connections, and no file
    source = "\n".join(file.read_text() for file in files)
    assert "torch.load" not in source and "import pickle" not in source and "allow_pickle" not in source


def test_a_file_larger_than_the_memory_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="GB of memory"):
        storage.load_tensors(sparse(tmp_path / "model.safetensors", 2**41))
    with pytest.raises(UserError, match="no JSON file"):
        storage.read_json(sparse(tmp_path / "run.json", 2**41))
    os.symlink("/dev/zero", tmp_path / "endless.json")
    with pytest.raises(UserError, match="no JSON file"):
        storage.read_json(tmp_path / "endless.json")


@pytest.mark.parametrize(
    "text", ["[" * 10**6, "9" * 5000, "9" * 400, '{"a": 1e999}', '{"a": NaN}', '{"a": -Infinity}', "\xff", ""]
)
def test_what_is_no_plain_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="not valid JSON"):
        storage.read_json(tmp_path / "a.json")


# Run folders


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run that may be spoilt."""
    folder = tmp_path / "out" / "runs" / finished.name
    for source in sorted(finished.parent.parent.rglob("*")):
        if source.is_file():
            storage.write_bytes(
                tmp_path / "out" / source.relative_to(finished.parent.parent), source.read_bytes()
            )
    return folder


def forge(folder: Path, name: str, content: bytes) -> None:
    """Put a file into a run folder, its hash and the record's seal made to fit."""
    (folder / name).write_bytes(content)
    record = json.loads((folder / "run.json").read_text())
    record["files"][name] = storage.sha256_bytes(content)
    storage.write_sealed(folder / "run.json", record)


@pytest.mark.parametrize("main", [sample.main, frozen_test.main])
@pytest.mark.parametrize("name", ["model.safetensors", "states.safetensors"])
def test_forged_weights_are_refused(run: Path, main: Callable, name: str) -> None:
    sprung = run.parent / "sprung"
    forge(run, name, pickle.dumps(Trap(sprung)))
    assert_refused(ends(main, str(run), "--out", str(run.parent.parent)), "not a whole safetensors file")
    assert not sprung.exists()


STATES: dict[str, dict[str, np.ndarray]] = {
    "nothing": {},
    "another name": {"a": np.zeros((30, 4), np.float32)},
    "too few": {"state": np.zeros((3, 4), np.float32)},
    "another size": {"state": np.zeros((30, 5), np.float32)},
    "words": {"state": np.zeros((30, 4), np.int64)},
    "one number": {"state": np.array(1.0)},
}


@pytest.mark.parametrize("arrays", STATES.values(), ids=STATES)
def test_forged_states_are_refused(run: Path, arrays: dict) -> None:
    storage.save_tensors(run / "states.safetensors", arrays)
    forge(run, "states.safetensors", (run / "states.safetensors").read_bytes())
    for main in (sample.main, frozen_test.main):
        assert_refused(ends(main, str(run), "--out", str(run.parent.parent)), "do not fit the config")


ARRAYS = {
    "nothing": {},
    "other shapes": {"gpt.tokens.weight": np.zeros((3, 3), np.float32)},
    "no matrix": {"gpt.tokens.weight": np.float32(1)},
    "words": {"gpt.tokens.weight": np.zeros((19, 16), np.int64)},
}


@pytest.mark.parametrize("arrays", ARRAYS.values(), ids=ARRAYS)
def test_weights_of_another_model_are_refused(run: Path, arrays: dict) -> None:
    path = run / "model.safetensors"
    storage.save_tensors(path, {name: np.asarray(array) for name, array in arrays.items()})
    forge(run, path.name, path.read_bytes())
    assert_refused(ends(sample.main, str(run), "--out", str(run.parent.parent)), "do not fit the config")


def test_a_config_larger_than_its_weights_takes_no_memory(run: Path) -> None:
    values = json.loads((run / "config.json").read_text())
    values["model"] |= {"n_layer": 96, "n_embd": 8192, "n_head": 2}
    forge(run, "config.json", json.dumps(values).encode())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="do not fit the config"):
        run_state.load_models(run)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "7", "[" * 10**5, '{"corpus": "../x"}', "null", '{"model": 1e999}']
)
def test_a_config_that_is_none_is_refused(run: Path, text: str) -> None:
    forge(run, "config.json", text.encode())
    assert_refused(ends(sample.main, str(run)), "config.json is not a run's config")
    assert_refused(ends(frozen_test.main, str(run)), "config.json is not a run's config")


RECORDS: dict[str, Callable[[dict], Any]] = {
    "a list": lambda record: [record],
    "files that are none": lambda record: {**record, "files": ["a"]},
    "no key": lambda record: {name: value for name, value in record.items() if name != "key"},
    "a number for a key": lambda record: {**record, "key": 7},
    "no data": lambda record: {name: value for name, value in record.items() if name != "data"},
    "a way out": lambda record: {**record, "files": {**record["files"], "../../../etc/passwd": "0" * 64}},
    "an absolute path": lambda record: {**record, "files": {**record["files"], "/etc/passwd": "0" * 64}},
    "NUL": lambda record: {**record, "files": {**record["files"], "a\0b": "0" * 64}},
    "a device": lambda record: {**record, "files": {**record["files"], "/dev/zero": "0" * 64}},
}  # fmt: skip


@pytest.mark.parametrize("change", RECORDS.values(), ids=RECORDS)
def test_a_forged_record_is_refused(run: Path, change: Callable[[dict], Any]) -> None:
    record = json.loads((run / "run.json").read_text())
    del record[storage.SEAL]
    changed = change(record)
    if isinstance(changed, dict):
        storage.write_sealed(run / "run.json", changed)
    else:
        storage.write_json(run / "run.json", changed)
    assert_refused(ends(sample.main, str(run), "--out", str(run.parent.parent)))


def test_a_pickle_for_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    work = tmp_path / ".0000000000000000.work"
    run_folder.save_checkpoint(work, "0" * 64, 10, {"a": np.zeros(1)}, "step\n")
    folder = work / "step-00000010"
    (folder / "checkpoint.safetensors").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    assert run_folder.load_checkpoint(work, "0" * 64) is None
    record = storage.read_json(folder / "checkpoint.json")
    record["files"]["checkpoint.safetensors"] = storage.sha256_file(folder / "checkpoint.safetensors")
    storage.write_sealed(folder / "checkpoint.json", record)
    with contextlib.suppress(UserError):  # with a hash to fit it is named, or passed over
        assert run_folder.load_checkpoint(work, "0" * 64) is None
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "option", [["--step", "-1"], ["--step", "0"], ["--step", "11"], ["--step", str(10**30)]]
)
def test_a_step_that_was_not_kept_is_refused(run: Path, option: list[str]) -> None:
    for main in (sample.main, frozen_test.main):
        assert_refused(ends(main, str(run), *option, "--out", str(run.parent.parent)), "kept no weights")


# Corpora


TOKENS = ["char", "bpe:260"]
META: list[tuple[str, Any]] = [
    ("format", [1]),
    ("sizes", []),
    ("sizes.train", -5),
    ("sizes.train", 1e300),
    ("sizes.train", 2**62),
    ("bytes.heldout", 10**400),
    ("bytes.heldout", "9" * 5000),
    ("source", 7),
    ("source.bytes", []),
    ("tokens_sha256", []),
    ("tokenizer", "char"),
    ("tokenizer.kind", "gpt2"),
    ("tokenizer.kind", "../x"),
    ("tokenizer.vocabulary", 7),
    ("tokenizer.vocabulary", []),
    ("tokenizer.vocabulary", ["a", "a"]),
    ("tokenizer.vocabulary", [[]] * 300),
    ("tokenizer.vocabulary", ["\u1234"] * 300),
]
PATTERNS: list[tuple[str, Any]] = [
    ("tokenizer.pattern", text) for text in ("", "(", "(a+)+$", "a{9999999}", 7)
]


@pytest.mark.parametrize(
    ("tokenizer", "key", "value"),
    [(name, *one) for name in TOKENS for one in META + PATTERNS * (name != "char")],
    ids=lambda value: str(value)[:20],
)
def test_a_forged_description_of_a_corpus_is_refused(
    tmp_path: Path, tokenizer: str, key: str, value: Any
) -> None:
    prepare_text("tiny_text", TEXT.encode(), tmp_path, tokenizer)
    path = tmp_path / corpora.folder_name("tiny_text", tokenizer) / "meta.json"
    meta = json.loads(path.read_text())
    del meta[storage.SEAL]
    *tables, last = key.split(".")
    table = meta
    for name in tables:
        table = table[name]
    table[last] = value
    storage.write_sealed(path, meta)
    with pytest.raises(UserError, match=r"corrupt|another version"):
        corpora.load("tiny_text", tmp_path, tokenizer)


def test_tokens_without_end_are_not_read(tmp_path: Path) -> None:
    prepare_text("tiny_text", TEXT.encode(), tmp_path)
    sparse(tmp_path / "tiny_text" / "tokens.bin", 2**41)
    with pytest.raises(UserError, match="2,199,023,255,552 bytes instead of"):
        corpora.load("tiny_text", tmp_path)
