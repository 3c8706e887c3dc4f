"""With every socket blocked, a text or vocabulary that is not there is told in one line: path, URL and checksum.

That a study needs no network is held by tests/test_run_all.py, for all scripts by tests/stress/test_scripts_offline.py.
"""

import hashlib
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

import train
from base.storage import ROOT
from data import prepare
from data.documents import HUB
from data.openwebtext import prepare as openwebtext
from data.sources import SOURCES
from data.tokenizers import GPT2_FILES, GPT2_URL
from scripts import run_all
from tests.hostile import CONFIGS, ends
from tests.stress.inject import offline

Main = Callable[..., object]


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The network is blocked, no text lies anywhere; what tries to reach something is told in this file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INTEROCEPTION_DATA", str(tmp_path / "texts"))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "vocabularies"))
    monkeypatch.setenv(offline.LOG, str(tmp_path / "blocked.log"))
    offline.install(monkeypatch.setattr)
    return tmp_path / "blocked.log"


def test_the_block_blocks(log: Path) -> None:
    with pytest.raises(OSError, match="the network is blocked"):
        urllib.request.urlopen("http://example.org")
    assert "example.org" in log.read_text(encoding="utf-8")


def assert_says_all(text: str) -> None:
    """That a message names where Tiny Shakespeare's text belongs, where it is to be had, and its checksum."""
    source = SOURCES["shakespeare_char"]
    assert source.url is not None and source.sha256 is not None
    assert source.url in text and source.sha256 in text
    assert str(ROOT / "data" / "shakespeare_char" / "input.txt") in text


LINES: list[tuple[Main, tuple[str, ...]]] = [
    (lambda given: prepare.main("shakespeare_char", given), ()),
    (train.main, (str(CONFIGS / "shakespeare.toml"), "--condition", "self")),
    (run_all.main, ("--only", "data", "--set", "corpus=shakespeare_char")),
]


@pytest.mark.parametrize(("main", "line"), LINES, ids=["prepare", "train", "run_all"])
def test_a_text_that_is_not_there_is_told_with_path_url_and_checksum(
    log: Path, main: Main, line: tuple[str, ...]
) -> None:
    status, error = ends(main, *line, "--out", "lacking")
    assert status == 2 and log.exists()
    (said,) = error.splitlines()
    assert said.startswith("error: ")
    assert_says_all(said)


def test_the_embedded_corpus_stands_in_and_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    line = ("--config", str(CONFIGS / "shakespeare.toml"), "--only", "data", "--out", "stands-in")
    for _ in range(2):  # the second time it is known
        assert run_all.main(line) == 0
        said = capsys.readouterr()
        (note,) = [text for text in said.out.splitlines() if text.startswith("note: ")]
        assert said.err == "" and "takes the embedded corpus pydoc_char" in note
        assert_says_all(note)


def test_other_texts_and_vocabularies_are_told_too(tmp_path: Path) -> None:
    status, error = ends(openwebtext.main, "--out", "lacking")
    assert status == 2 and len(error.splitlines()) == 1
    assert str(ROOT / "data" / "openwebtext" / "input.txt") in error
    assert f"https://huggingface.co/datasets/{HUB}" in error and "checksum" in error
    line = ("--out", "lacking", "--tokenizer", "gpt2")
    status, error = ends(lambda given: prepare.main("pydoc_char", given), *line)
    assert status == 2 and len(error.splitlines()) == 1
    for name, digest in GPT2_FILES.items():
        place = tmp_path / "vocabularies" / hashlib.sha1((GPT2_URL + name).encode()).hexdigest()
        assert all(part in error for part in (GPT2_URL + name, digest, str(place)))
