"""With every socket blocked: what has its data works, and what has not says path, URL and checksum in one line."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from base import storage
from base.storage import ROOT
from data.documents import HUB
from data.sources import SOURCES
from data.tokenizers import GPT2_FILES, GPT2_URL
from tests.least import LEAST_SIGNATURES, LEAST_TEST, TEXT

BLOCK = """
import os, socket

def blocked(*given, **more):
    with open(os.environ["BLOCKED_LOG"], "a") as log:
        log.write(repr(given)[:200] + "\\\\n")
    raise OSError("the network is blocked")

socket.getaddrinfo = socket.gethostbyname = socket.create_connection = blocked
class Socket(socket.socket):
    def connect(self, address):
        return super().connect(address) if self.family == socket.AF_UNIX else blocked(address)
    connect_ex = sendto = connect
socket.socket = Socket
"""
SUITE = (
    """
extends = "base.toml"
name = "tiny"
seeds = 1
corpus = "tiny_text"
model = { n_layer = 1, n_head = 2, n_embd = 16, block_size = 8 }
train = { steps = 20, batch_size = 2, warmup_steps = 1 }
log = { effect_interval = 5, probe_sequences = 2, eval_interval = 10, eval_batches = 1 }
self_state = { dim = 4, hidden = 4 }
schedules.one = { kind = "windows", windows = [{ regime = "bewilderment", start = 5, end = 12 }] }
[conditions.self]
schedule = "one"
[frozen_test]
conditions = ["self"]
steps = [20]
"""
    + LEAST_TEST
    + """\
random_directions = 2
placebo_draws = 2
[signatures]
pre_steps = 20
"""
    + LEAST_SIGNATURES
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a suite, its text, and what blocks the network."""
    place = tmp_path_factory.mktemp("offline")
    (place / "block").mkdir()
    (place / "block" / "sitecustomize.py").write_text(BLOCK.replace("\\\\n", "\\n"))
    (place / "base.toml").write_bytes((ROOT / "configs" / "base.toml").read_bytes())
    (place / "tiny.toml").write_text(SUITE)
    storage.write_text(place / "texts" / "tiny_text" / "input.txt", TEXT)
    return place


def offline(folder: Path, script: str, *arguments: str) -> tuple[subprocess.CompletedProcess[str], bool]:
    """A script of the project with its network blocked; how it ended, and whether it tried to reach anything."""
    log = folder / "blocked.log"
    log.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "INTEROCEPTION_DATA": str(folder / "texts"),
        "TIKTOKEN_CACHE_DIR": str(folder / "vocabularies"),
        "PYTHONPATH": str(folder / "block"),
        "BLOCKED_LOG": str(log),
    }
    command = [sys.executable, str(ROOT / script), *arguments]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return ended, log.exists()


def test_the_block_blocks(folder: Path) -> None:
    code = folder / "reach.py"
    for line in ("import urllib.request as r; r.urlopen('http://example.org')",
                 "import socket; socket.socket().connect(('127.0.0.1', 80))"):  # fmt: skip
        code.write_text(line)
        ended, tried = offline(folder, str(code))
        assert ended.returncode == 1 and tried and "the network is blocked" in ended.stderr


def test_a_study_with_its_text_needs_no_network(folder: Path) -> None:
    study = ("scripts/run_all.py", "--config", "tiny.toml", "--jobs", "1")
    ended, tried = offline(folder, *study)
    assert ended.returncode == 0 and ended.stderr == "" and not tried, ended.stdout + ended.stderr
    assert "[5/5] report" in ended.stdout
    run = "out/tiny/self/seed-1"
    small = [
        f"frozen_test.{name}=1" for name in ("finder_batches", "heldout_batches", "top", "placebo_draws")
    ]
    settings = [word for text in small for word in ("--set", text)]
    for script, *arguments in (
        study,
        (*study, "--status"),
        ("train.py", "tiny.toml", "--condition", "self"),
        ("scripts/sample.py", run, "--prompt", "To", "--length", "5"),
        ("frozen_test.py", run, *settings),
        ("scripts/make_figures.py",),
        ("scripts/make_report.py",),
        ("data/pydoc_char/prepare.py", "--out", "out/data"),
        ("data/pydoc_char/prepare.py", "--out", "out/data", "--tokenizer", "bpe:300"),
        ("data/openwebtext/prepare.py", "--from", "texts", "--tokenizer", "bpe:260", "--out", "out/data"),
    ):
        ended, tried = offline(folder, script, *arguments)
        assert ended.returncode == 0 and not tried, (script, ended.stderr)


def assert_says_all(text: str) -> None:
    """That a message names where Tiny Shakespeare's text belongs, where it is to be had, and its checksum."""
    source = SOURCES["shakespeare_char"]
    assert source.url is not None and source.sha256 is not None
    assert source.url in text and source.sha256 in text
    assert str(ROOT / "data" / "shakespeare_char" / "input.txt") in text


@pytest.mark.parametrize(
    "line",
    [
        ("data/shakespeare_char/prepare.py", "--out", "lacking"),
        (
            "train.py",
            str(ROOT / "configs/shakespeare.toml"),
            "--condition",
            "self",
            "--out",
            "lacking",
        ),
        ("scripts/run_all.py", "--only", "data", "--set", "corpus=shakespeare_char", "--out", "lacking"),
    ],
    ids=lambda line: line[0],
)
def test_a_text_that_is_not_there_is_told_with_path_url_and_checksum(
    folder: Path, line: tuple[str, ...]
) -> None:
    started = time.monotonic()
    ended, tried = offline(folder, *line)
    assert ended.returncode == 2 and tried
    (said,) = ended.stderr.splitlines()
    assert said.startswith("error: ")
    assert_says_all(said)
    assert time.monotonic() - started < 60


def test_the_embedded_corpus_stands_in_and_says_what_is_missing(folder: Path) -> None:
    (folder / "configs").mkdir()
    for path in (ROOT / "configs").glob("*.toml"):
        (folder / "configs" / path.name).write_bytes(path.read_bytes())
    line = ("--config", "configs/shakespeare.toml", "--only", "data", "--out", "stands-in")
    for _ in range(2):  # the second time it is known
        ended, _ = offline(folder, "scripts/run_all.py", *line)
        assert ended.returncode == 0 and ended.stderr == "", ended.stderr
        (note,) = [text for text in ended.stdout.splitlines() if text.startswith("note: ")]
        assert "takes the embedded corpus pydoc_char" in note
        assert_says_all(note)


def test_other_texts_and_vocabularies_are_told_too(folder: Path) -> None:
    ended, _ = offline(folder, "data/openwebtext/prepare.py", "--out", "lacking")
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1
    assert str(ROOT / "data" / "openwebtext" / "input.txt") in ended.stderr
    assert f"https://huggingface.co/datasets/{HUB}" in ended.stderr and "checksum" in ended.stderr
    ended, _ = offline(folder, "data/pydoc_char/prepare.py", "--out", "lacking", "--tokenizer", "gpt2")
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1
    for name, digest in GPT2_FILES.items():
        place = folder / "vocabularies" / hashlib.sha1((GPT2_URL + name).encode()).hexdigest()
        assert all(part in ended.stderr for part in (GPT2_URL + name, digest, str(place)))
