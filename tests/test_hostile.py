"""What is put in the place of files, configs, names and sizes to do harm: refused in one line, with no memory taken."""

import contextlib
import gzip
import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fuzzing import TEXT, TINY
from made_runs import assert_tables

import capacity
import command_line
import config
import config_file
import frozen_test
import refresh
import run_folder
import sample
import session
import storage
import train
from analysis.tables import write_all
from config import ConfigError
from data import documents
from data import prepare as data_prepare
from data.openwebtext import prepare as openwebtext
from data.prepare import prepare_text
from reports import markdown, pages
from scripts import make_figures, make_report
from scripts import run_all as script
from storage import UserError

CONFIGS = config.ROOT / "configs"


class Trap:
    """Unpickling one of these leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.mkdir, (str(self.path),)


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
    source = "\n".join(file.read_text() for file in config.ROOT.glob("*.py"))
    assert "torch.load" not in source and "import pickle" not in source and "allow_pickle" not in source


def sparse(path: Path, size: int) -> Path:
    """A file of so many bytes (NUL characters) that takes no disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_a_file_larger_than_the_memory_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="GB of memory"):
        storage.load_tensors(sparse(tmp_path / "model.safetensors", 2**41))
    with pytest.raises(UserError, match="no JSON file"):
        storage.read_json(sparse(tmp_path / "run.json", 2**41))
    os.symlink("/dev/zero", tmp_path / "endless.json")
    with pytest.raises(UserError, match="no JSON file"):
        storage.read_json(tmp_path / "endless.json")


@pytest.mark.parametrize(
    "text", ["[" * 10**6, "9" * 5000, '{"a": 1e999}', '{"a": NaN}', '{"a": -Infinity}', "\xff", ""]
)
def test_what_is_no_plain_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="not valid JSON"):
        storage.read_json(tmp_path / "a.json")


# Run folders


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, in out/runs of its folder."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "base.toml").write_bytes((CONFIGS / "base.toml").read_bytes())
    (folder / "tiny.toml").write_text(TINY)
    corpus = prepare_text("tiny_text", TEXT.encode(), folder / "out" / "data")
    run = config.load_suite(folder / "tiny.toml").run("self", 1)
    return train.train(run, corpus, folder / "out" / "runs")


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


def ends(main: Callable[[Sequence[str]], object], *arguments: str) -> tuple[object, str]:
    """The exit status and the error output of a command line."""
    error, before = io.StringIO(), sys.argv
    try:
        sys.argv = ["program", *arguments]
        with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
            command_line.run(main)
    except SystemExit as end:
        return end.code, error.getvalue()
    finally:
        sys.argv = before
    raise AssertionError


def assert_refused(ended: tuple[object, str], said: str = "") -> None:
    status, error = ended
    assert status == 2, error
    assert (
        error.startswith("error: ") and error.count("\n") == 1 and error[:-1].isprintable() and said in error
    )
    assert len(error) < 1100


@pytest.mark.parametrize("main", [sample.main, frozen_test.main])
def test_forged_weights_are_refused(run: Path, main: Callable) -> None:
    sprung = run.parent / "sprung"
    forge(run, "model.safetensors", pickle.dumps(Trap(sprung)))
    assert_refused(ends(main, str(run), "--out", str(run.parent.parent)), "not a whole safetensors file")
    assert not sprung.exists()


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
        run_folder.load_models(run)
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


def test_a_written_text_obeys_no_terminal() -> None:
    assert sample.harmless("a\x1b[31mb\r\n\tc\x07‮d é") == "a�[31mb�\n\tc��d é"


# Configs


def load(folder: Path, text: str | bytes, name: str = "own.toml") -> config.Suite:
    (folder / "base.toml").write_bytes((CONFIGS / "base.toml").read_bytes())
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return config.load_suite(path)


HEAD = 'extends = "base.toml"\nname = "own"\nseeds = 1\n[conditions.a]\n'
CONFIG_TEXTS = {
    "a way out in a corpus": HEAD + 'corpus = "../../etc/passwd"',
    "an absolute corpus": HEAD + 'corpus = "/etc/passwd"',
    "NUL in a corpus": HEAD + 'corpus = "a\\u0000b"',
    "a long corpus": HEAD + f'corpus = "{"n" * 300}"',
    "a long name": HEAD.replace('"own"', f'"{"n" * 300}"'),
    "colours in a name": HEAD.replace('"own"', '"\\u001b[31mred"'),
    "HTML in a name": HEAD.replace('"own"', '"<script>alert(1)</script>"'),
    "Markdown in a name": HEAD.replace('"own"', '"a | b ](x)"'),
    "two lines in a name": HEAD.replace('"own"', '"a\\nb"'),
    "a way out in a condition": HEAD + '[conditions."../b"]',
    "NUL in a condition": HEAD + '[conditions."a\\u0000"]',
    "colours in a condition": HEAD + '[conditions."\\u001b[31m"]',
    "HTML in a condition": HEAD + '[conditions."<b>"]',
    "a long condition": HEAD + f"[conditions.{'n' * 300}]",
    "colours in a key": HEAD + '"\\u001b[31m" = 1',
    "two lines in a key": HEAD + '[model]\n"a\\nb" = 1',
    "a billion layers": HEAD + "[model]\nn_layer = 1000000000",
    "infinity": HEAD + "[train]\nlearning_rate = inf",
    "no number": HEAD + "[train]\nlearning_rate = nan",
    "a truth for a number": HEAD + "[train]\nsteps = true",
    "a truth for a rate": HEAD + "[train]\nlearning_rate = true",
    "a fraction for a count": HEAD + "[model]\nn_layer = 2.0",
    "a text for a count": HEAD + '[model]\nn_layer = "2"',
    "a date": HEAD + "[train]\nsteps = 1979-05-27",
    "a time for a name": HEAD.replace('"own"', "07:32:00"),
    "more than 64 bits": HEAD + "[train]\nsteps = " + "9" * 30,
    "more digits than Python reads": HEAD + "[train]\nsteps = " + "9" * 5000,
    "more digits, in sixteens": HEAD + "[train]\nsteps = 0x" + "f" * 6000,
    "beyond float32": HEAD + "[regimes.false_feedback]\nloss = 1e308",
    "nested arrays": HEAD + "corpus = " + "[" * 5000 + "]" * 5000,
    "nested tables": HEAD + "[" + ".".join(["a"] * 100) + "]\nb = 1",
    "a key of 50,000 parts": HEAD + ".".join(["a"] * 50_000) + " = 1",
    "itself": 'extends = "own.toml"',
    "a device": 'extends = "/dev/zero"',
    "a folder": 'extends = "."',
    "a way out": 'extends = "../../../../../../../../etc/passwd"',
    "NUL in a path": 'extends = "a\\u0000b"',
    "a long path": f'extends = "{"n" * 300}"',
    "a billion draws": HEAD + "[frozen_test]\nrandom_directions = 1000000000",
    "a billion permutations": HEAD + "[signatures]\npermutations = 1000000000",
    "a billion seeds": HEAD.replace("seeds = 1", "seeds = 1000000000"),
    "not UTF-8": b"\xff\xfe\x00",
    "a thousand conditions": HEAD + "".join(f"[conditions.c{index}]\n" for index in range(1000)),
    "a hundred MB": b"#" * 100_000_000,
    "a model of 60 GB": HEAD + "[model]\nn_layer = 90\nn_embd = 8192\n",
    "a batch of a terabyte": HEAD + "[model]\nblock_size = 8192\n[train]\nbatch_size = 65536\n",
    "a memory of a terabyte": HEAD + "[train]\nsteps = 10000000\n[self_state]\ndim = 4096\n",
}  # fmt: skip


@pytest.mark.parametrize("text", CONFIG_TEXTS.values(), ids=CONFIG_TEXTS)
def test_a_hostile_config_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(capacity, "memory", lambda: 32_000_000_000)
    started = time.process_time()
    with pytest.raises(UserError):
        load(tmp_path, text)
    assert_refused(ends(script.main, "--config", "own.toml", "--dry-run"))
    assert time.process_time() - started < 5
    assert {path.name for path in tmp_path.iterdir()} == {"base.toml", "own.toml"}


def test_files_that_extend_each_other_in_a_ring_or_without_end(tmp_path: Path) -> None:
    for index in range(30):
        (tmp_path / f"{index}.toml").write_text(f'extends = "{index + 1}.toml"')
    with pytest.raises(ConfigError, match="more than 16 files"):
        config_file.read(tmp_path / "0.toml")
    (tmp_path / "2.toml").write_text('extends = "0.toml"')
    with pytest.raises(ConfigError, match="extends itself"):
        config_file.read(tmp_path / "0.toml")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(ConfigError, match="no regular file"):
        config_file.read(tmp_path / "pipe.toml")
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(UserError, match="no regular file"):
        documents.read(tmp_path / "pipe.txt")
    with pytest.raises(UserError, match="no regular file"):
        documents.read(Path("/dev/zero"))


LINES = [
    ["--jobs", "1000000"],
    ["--jobs", "9" * 5000],
    ["--seeds", "1000000000"],
    ["--seeds", "1e9"],
    ["--out", "n" * 300],
    ["--out", "/".join(["n" * 200] * 30)],
    ["--out", "a\0b"],
    ["--out", "\x1b[31mred"],
    ["--out", "a\nb"],
    ["--out", "\u202etxt"],
    ["--config", "a\0b"],
    ["--config", "n" * 300],
    ["--config", "/dev/zero"],
    ["--only", "\x1b[31mred"],
    ["--only", "n" * 100_000],
    ["--set", "\x1b[31mred=1"],
    ["--set", "a." * 10_000 + "a=1"],
    ["--set", "train.steps=" + "[" * 5000],
    ["--set", "train.steps=" + "9" * 5000],
    ["--set", "train.steps=0x" + "f" * 6000],
    ["--set", "corpus='../x'"],
]


@pytest.mark.parametrize(
    "line", LINES, ids=lambda line: " ".join(line)[:40].encode("unicode_escape").decode()
)
def test_a_hostile_command_line_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(ends(script.main, "--dry-run", *line))
    assert list(tmp_path.iterdir()) == []


TRAIN_LINES = [["--seed", str(10**30)], ["--seed", str(2**63)], ["--seed", "0"], ["--condition", "\x1b[31m"]]


@pytest.mark.parametrize("line", TRAIN_LINES, ids=str)
def test_a_hostile_seed_or_condition_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(ends(train.main, str(CONFIGS / "shakespeare.toml"), "--condition", "self", *line))
    assert list(tmp_path.iterdir()) == []


# Texts


def limited(
    arguments: Sequence[str], limit: int, folder: Path
) -> tuple[subprocess.CompletedProcess[str], int]:
    """A Python command with so many bytes of address space; how it ended, and its greatest resident size in bytes."""
    watch = "import resource, subprocess, sys; end = subprocess.run(sys.argv[1:]); "
    watch += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(end.returncode)"
    environment = {**os.environ, "INTEROCEPTION_DATA": str(folder / "texts"), "OPENBLAS_NUM_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, "-c", watch, sys.executable, *arguments],
        capture_output=True, text=True, cwd=config.ROOT, env=environment, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    return found, int(found.stdout.split()[-1]) * 1024


def test_a_text_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    sparse(tmp_path / "texts" / "big" / "input.txt", 2**30)  # one line of 1 GB
    ended, peak = limited(["-m", "data.prepare", "big", "--out", str(tmp_path / "out")], 3 * 10**9, tmp_path)
    assert ended.returncode == 2 and "1,073,741,824 bytes, which need about" in ended.stderr
    assert ended.stderr.count("\n") == 1 and peak < 250e6
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tokenizer", ["char", "bpe:260"])
def test_a_text_takes_no_more_than_was_estimated(tmp_path: Path, tokenizer: str) -> None:
    """The worst for each: a line without a space, which needs four bytes a character, or is one word."""
    size, peaks = {"char": 4_000_000, "bpe:260": 400_000}[tokenizer], []
    for name, length in (("short", 2000), ("long", size)):
        letters = (
            np.random.default_rng(0).choice(list(b"abcdefghij"), length).astype(np.uint8).tobytes().decode()
        )
        text = letters if tokenizer != "char" else letters[:-4] + "𝔘"
        storage.write_text(tmp_path / "texts" / name / "input.txt", text)
        line = ["-m", "data.prepare", name, "--tokenizer", tokenizer, "--out", str(tmp_path / "out")]
        ended, peak = limited(line, 4 * 10**9, tmp_path)
        assert ended.returncode == 0, ended.stderr
        peaks.append(peak)
    assert peaks[0] < capacity.PROGRAM
    assert peaks[1] - peaks[0] < size * capacity.TEXT[tokenizer.partition(":")[0]]


def test_a_bomb_in_a_gzip_file_is_contained(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(30):
            file.write(b" " * 10_000_000)  # 300 MB in one line
    assert path.stat().st_size < 3_000_000
    line = ["data/openwebtext/prepare.py", "--from", str(path), "--out", str(tmp_path / "out")]
    ended, peak = limited(line, 2 * 10**9, tmp_path)
    assert ended.returncode == 2 and "line 1 is longer than 100,000,000 bytes" in ended.stderr
    assert ended.stderr.count("\n") == 1 and peak < 500e6


def test_many_lines_of_a_bomb_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"text": "%s"}\n' % (b"a" * 1_000_000) * 50)
    monkeypatch.setattr(
        capacity, "memory", lambda: int(capacity.PROGRAM + 10_000_000 * capacity.TEXT["char"])
    )
    with pytest.raises(UserError, match="11,000,000 bytes, which need"):
        documents.read(path)


ROWS = {
    "no gzip": (".jsonl.gz", b"not gzip"),
    "half a gzip": (".jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 1000)[:60]),
    "no JSON": (".jsonl", b"{"),
    "nested": (".jsonl", b"[" * 200_000),
    "digits": (".jsonl", b'{"n": ' + b"9" * 5000 + b"}"),
    "no text": (".jsonl", b'{"text": 7}'),
    "half a pair": (".jsonl", b'{"text": "\\ud800"}'),
    "bytes": (".jsonl", b'{"text": "\xff\xfe"}'),
    "text that is none": (".txt", b"\xff\xfe"),
    "empty": (".txt", b""),
}


@pytest.mark.parametrize(("suffix", "content"), ROWS.values(), ids=ROWS)
def test_hostile_documents_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"rows{suffix}").write_bytes(content)
    line = ("--from", str(tmp_path / f"rows{suffix}"), "--out", str(tmp_path / "out"))
    assert_refused(ends(openwebtext.main, *line))


PREPARE_LINES = [
    ["--documents", str(10**30)],
    ["--documents", "0"],
    ["--documents", "many"],
    ["--tokenizer", "bpe:99999999999999999999"],
    ["--tokenizer", "../x"],
    ["--from", "a\0b"],
    ["--from", "n" * 300],
    ["--out", "a\0b"],
    ["--no-such-option"],
]


@pytest.mark.parametrize("line", PREPARE_LINES, ids=str)
def test_a_hostile_line_of_prepare_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(ends(openwebtext.main, *line))


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "/etc/passwd", "a\0b", "n" * 300, "\x1b[31m", "%s", "Größe"]
)
def test_a_hostile_name_of_a_corpus_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(ends(lambda given: data_prepare.main(name, given), "--out", "out"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["a", "a" * 5000])
def test_a_corpus_of_one_character(tmp_path: Path, finished: Path, text: str) -> None:
    corpus = prepare_text("tiny_text", text.encode(), tmp_path / "data")
    run = config.load_suite(finished.parent.parent.parent / "tiny.toml").run("self", 1)
    if len(text) == 1:
        with pytest.raises(UserError, match="too short"):
            train.train(run, corpus, tmp_path / "runs")
    else:
        folder = train.train(run, corpus, tmp_path / "runs")
        assert (
            pd.read_csv(folder / "metrics.csv")["loss"].iloc[-1] < 0.1
        )  # nothing is left to predict but the mask


# What reaches a terminal or a page


def test_an_error_is_one_line_whatever_it_holds() -> None:
    assert str(UserError("a\nb\x1b[31m\u202ec\0")) == "a b\\x1b[31m\\u202ec\\x00"
    assert len(str(UserError("x" * 10**6))) == 1000


def test_a_page_holds_no_code(finished: Path, tmp_path: Path) -> None:
    evil = '<script>alert(1)</script> a|b \x1b[31m "q"'
    suite = config.load_suite(finished.parent.parent.parent / "tiny.toml")
    done = [refresh.Finished("tiny", "self", 1, run_folder.check(finished)["key"], finished)]
    for path in write_all(tmp_path / "tables" / "shakespeare", suite, done):
        with contextlib.suppress(pd.errors.EmptyDataError):
            table = pd.read_csv(path)
            for column in {"suite", "condition", "corpus", "dtype"} & set(table):
                table[column] = evil
            table.to_csv(path, index=False)
    for path in pages.write_all(tmp_path, {"shakespeare": f"{evil}\n\n# A heading"}):
        page = path.read_text()
        assert "<script" not in page and "\x1b" not in page and "\n# A heading" not in page
        assert "&lt;script>alert(1)&lt;/script>" in page
        assert_tables(page)


def test_a_bar_in_a_cell_makes_no_cell() -> None:
    assert markdown.table(["a"], [["x|y"], ["x\\|y"], ["x\ny"]]).splitlines()[2:] == [
        "| x\\|y |",
        "| x\\|y |",
        "| x y |",
    ]


@pytest.mark.parametrize("main", [make_report.main, make_figures.main])
@pytest.mark.parametrize("name", ["../../etc", "/etc", "a\0b", "n" * 300, "\x1b[31m", ""])
def test_a_suite_that_leads_elsewhere_is_refused(tmp_path: Path, main: Callable, name: str) -> None:
    (tmp_path / "tables").mkdir()
    assert_refused(ends(main, "--out", str(tmp_path), "--suite", name), "a suite's name")


def test_a_terminal_of_few_signs_gives_no_traceback(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(config.ROOT)}
    code = "import command_line; command_line.run(lambda _: print('1 – 2 é \\udcff'))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
    assert found.returncode == 0 and found.stdout == b"1 \\u2013 2 \\xe9 \\udcff\n" and found.stderr == b""


# Estimates


def test_memory_is_that_of_the_least_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = capacity.memory()
    (tmp_path / "memory.max").write_text("1000000\n")
    monkeypatch.setattr(capacity, "CONTROL_GROUP", tmp_path / "memory.max")
    assert capacity.memory() == 1_000_000 <= whole
    (tmp_path / "memory.max").write_text("max\n")
    assert capacity.memory() >= whole


def test_an_estimate_covers_what_a_run_takes(tmp_path: Path) -> None:
    """A run of 85 million parameters and one of few, in a process each."""
    code = (
        "import sys; sys.path.insert(0, '.'); import capacity, config, resource, torch; from pathlib import Path; "
        "from data.prepare import prepare_text; import train; torch.set_num_threads(1); "
        "suite = config.load_suite(Path('configs/shakespeare.toml'), sys.argv[2:]); run = suite.run('self_calm', 1); "
        "corpus = prepare_text('own', b'To be, or not to be. ' * 900, Path(sys.argv[1])); "
        "train.train(run, corpus, Path(sys.argv[1])); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, capacity.of_run(run))"
    )
    small = ["train.steps=2", "train.warmup_steps=1", "log.keep_steps=[]", "log.keep_checkpoints=[]"]
    small += ["frozen_test.steps=[]", "schedules.five_windows.windows=[]", "log.eval_batches=1"]
    small += [
        f"conditions.{name}.schedule={{kind='none'}}"
        for name in ("self", "vanilla", "self_random", "vanilla_random")
    ]
    small += ["model.n_layer=4", "model.n_embd=256", "conditions.self_calm.log.keep_checkpoints=[]"]
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), *small],
        capture_output=True, text=True, cwd=config.ROOT, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    peak, estimate = map(float, found.stdout.split())
    assert peak < 1.15 * estimate


def test_a_study_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(capacity, "memory", lambda: 2_000_000_000)
    assert_refused(ends(script.main, "--set", "train.batch_size=60000"), "GB of memory")
    assert list(tmp_path.iterdir()) == []
    assert session.list_phases()
