"""What is larger than the memory: told before any of it is taken, by estimates that cover what is taken."""

import gzip
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import train
from base import machine, storage
from base.storage import ROOT, UserError
from configs import toml_file as config_file
from configs.toml_file import ConfigError
from data import documents, tokenizers
from data.openwebtext import prepare as openwebtext
from data.prepare import prepare_text
from scripts import run_all as script
from study import preview
from tests.hostile import assert_refused, ends, small_suite, sparse

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
        capture_output=True, text=True, cwd=ROOT, env=environment, check=False,
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
        text = letters if tokenizer != "char" else letters[:-4] + "\U0001d518"
        storage.write_text(tmp_path / "texts" / name / "input.txt", text)
        line = ["-m", "data.prepare", name, "--tokenizer", tokenizer, "--out", str(tmp_path / "out")]
        ended, peak = limited(line, 4 * 10**9, tmp_path)
        assert ended.returncode == 0, ended.stderr
        peaks.append(peak)
    assert peaks[0] < machine.PROGRAM
    assert peaks[1] - peaks[0] < size * tokenizers.MEMORY[tokenizer.partition(":")[0]]


def test_a_bomb_in_a_gzip_file_is_contained(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(30):
            file.write(b" " * 10_000_000)  # 300 MB in one line
    assert path.stat().st_size < 3_000_000
    line = ["-m", "data.prepare", "bomb", "--from", str(path), "--out", str(tmp_path / "out")]
    ended, peak = limited(line, 2 * 10**9, tmp_path)
    assert ended.returncode == 2 and "line 1 is longer than 100,000,000 bytes" in ended.stderr
    assert ended.stderr.count("\n") == 1 and peak < 500e6


def test_many_lines_of_a_bomb_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"text": "%s"}\n' % (b"a" * 1_000_000) * 50)
    monkeypatch.setattr(
        machine, "memory", lambda: int(machine.PROGRAM + 10_000_000 * tokenizers.MEMORY["char"])
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


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(ConfigError, match="no regular file"):
        config_file.read(tmp_path / "pipe.toml")
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(UserError, match="no regular file"):
        documents.read(tmp_path / "pipe.txt")
    with pytest.raises(UserError, match="no regular file"):
        documents.read(Path("/dev/zero"))


@pytest.mark.parametrize("text", ["a", "a" * 5000])
def test_a_corpus_of_one_character(tmp_path: Path, text: str) -> None:
    corpus = prepare_text("tiny_text", text.encode(), tmp_path / "data")
    run = small_suite(tmp_path).run("self", 1)
    if len(text) == 1:
        with pytest.raises(UserError, match="too short"):
            train.train(run, corpus, tmp_path / "runs")
    else:
        folder = train.train(run, corpus, tmp_path / "runs")
        assert (
            pd.read_csv(folder / "metrics.csv")["loss"].iloc[-1] < 0.1
        )  # nothing is left to predict but the mask


def test_memory_is_that_of_the_least_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = machine.memory()
    (tmp_path / "memory.max").write_text("1000000\n")
    monkeypatch.setattr(machine, "CONTROL_GROUP", tmp_path / "memory.max")
    assert machine.memory() == 1_000_000 <= whole
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory() >= whole


def test_a_study_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "memory", lambda: 2_000_000_000)
    assert_refused(ends(script.main, "--set", "train.batch_size=60000"), "GB of memory")
    assert list(tmp_path.iterdir()) == []
    assert preview.list_phases()
