"""Documents of every form become one text, of its own name, and every study finds it. No network is used."""

import gzip
import json
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.storage import UserError
from data import documents
from data.corpus import load
from data.prepare import prepare
from data.sources import SOURCES, SourceNotFound, find_local
from tests.files import clone, files, put

TEXT = "".join(f"The state of step {i} is the state of step {i - 1}, updated.\n" for i in range(400))


@pytest.fixture(autouse=True)
def no_shared_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the texts that this machine happens to hold."""
    monkeypatch.setenv("INTEROCEPTION_DATA", str(tmp_path / "shared"))


def test_documents_of_every_form_are_the_same_text(tmp_path: Path) -> None:
    texts = ["first\r\n\r\nstill first", "naïve 日本", "third\u2028line"]
    lines = "".join(json.dumps({"id": 1, "text": text}) + "\n\n" for text in ["", *texts, " \n"]).encode()
    plain = "\n\n".join(texts).encode()
    put(tmp_path / "a.jsonl", lines)
    put(tmp_path / "b.jsonl.gz", gzip.compress(lines))
    put(tmp_path / "c.txt", plain)
    for i, text in enumerate(texts):
        put(tmp_path / "folder" / "deep" / f"{i}.txt", text)
    put(tmp_path / "folder" / "README.md", "not a document")
    put(tmp_path / "CAPITALS" / "A.TXT", plain)
    put(tmp_path / "CAPITALS" / "README.MD", "not a document")
    put(tmp_path / "d.json", json.dumps(texts))
    put(tmp_path / "e.json", json.dumps([{"id": 1, "text": text} for text in texts]))
    marked = ("a.jsonl", "c.txt", "d.json")
    for name in marked:
        put(tmp_path / f"marked-{name}", b"\xef\xbb\xbf" + (tmp_path / name).read_bytes())
    for name in (
        "b.jsonl.gz",
        "folder",
        "CAPITALS",
        "e.json",
        *marked,
        *(f"marked-{name}" for name in marked),
    ):
        assert documents.read(tmp_path / name) == plain
    for name in ("a.jsonl", "folder", "e.json"):
        assert documents.read(tmp_path / name, 2) == "\n\n".join(texts[:2]).encode()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b" \n", "holds no text"),
        ("a.txt", b"ab\xff", r"a\.txt is not UTF-8 text .at byte 2"),
        ("a.jsonl", b"", "holds no text"),
        ("a.jsonl", b'{"text": "x"}\n\ntext\n', r"a\.jsonl line 3 is not JSON"),
        ("a.jsonl", b'{"text": "x"}\n{"body": "x"}\n', 'line 2 has no field "text"'),
        ("a.jsonl", b'["text"]\n', 'line 1 has no field "text"'),
        ("a.jsonl", b'{"text": 3}\n', 'line 1 has no field "text"'),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "line 1 has half a surrogate pair"),
        ("a.json", b"[", r"a\.json is not JSON; name it \.txt"),
        ("a.json", b'{"text": "x"}', r"a\.json is no JSON array"),
        ("a.json", b'["x", 3]', 'item 2 has no field "text"'),
        ("a.json", b'["\\ud800"]', "item 1 has half a surrogate pair"),
        ("a.jsonl.gz", b'{"text": "x"}\n', "not a whole gzip file"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 99, mtime=0)[:-12], "not a whole gzip file"),
        ("folder/a.md", b"x", "folder has no file whose name ends in"),
        ("b.txt", b"x", r"a\.txt does not exist"),
    ],
)
def test_bad_documents_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = put(tmp_path / name, content)
    path = path.parent if "folder" in name else path.with_name("a.txt") if name == "b.txt" else path
    with pytest.raises(UserError, match=message) as caught:
        documents.read(path)
    assert "\n" not in str(caught.value)


def hub(monkeypatch: pytest.MonkeyPatch, load_dataset: Callable[..., Any]) -> None:
    module = types.SimpleNamespace(load_dataset=load_dataset)
    monkeypatch.setattr(documents.importlib, "import_module", {"datasets": module}.__getitem__)


def test_the_hub_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def give(*names: str, **options: object) -> Iterator[dict[str, str]]:
        asked.append((names, options))
        return ({"text": f"document {i}"} for i in range(10**9))

    hub(monkeypatch, give)
    assert documents.from_hub(3) == b"document 0\n\ndocument 1\n\ndocument 2"
    assert asked == [(("Skylion007/openwebtext",), {"split": "train", "streaming": True})]
    assert len(documents.from_hub().split(b"\n\n")) == documents.HUB_DOCUMENTS


def test_a_hub_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*names: str, **options: object) -> None:
        raise ConnectionError("no route\nto host")

    hub(monkeypatch, refuse)
    with pytest.raises(UserError, match=r"cannot be read \(ConnectionError: no route to host\)"):
        documents.from_hub(3)
    release = threading.Event()

    def wait(*names: str, **options: object) -> None:
        release.wait(20)

    hub(monkeypatch, wait)
    with pytest.raises(UserError, match=r"sent nothing for 0\.2 s"):
        documents.from_hub(3, patience=0.2)
    release.set()
    hub(monkeypatch, lambda *names, **options: [{"body": "x"}])
    with pytest.raises(UserError, match=r"cannot be read \(KeyError"):
        documents.from_hub(3)
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setattr(documents.importlib, "import_module", __import__)
    with pytest.raises(UserError, match="pip install datasets"):
        documents.from_hub(3)


# A corpus of the user's own, and openwebtext


def test_the_sample_is_found_under_its_other_name(tmp_path: Path) -> None:
    source, root, kept = SOURCES["openwebtext"], tmp_path / "clone", tmp_path / "none"
    with pytest.raises(SourceNotFound, match=r"or fetch some with: python data/openwebtext/prepare\.py$"):
        prepare("openwebtext", tmp_path / "out", "bpe:300", root=root)
    for path, kind in [
        (tmp_path / "shared" / "openwebtext_small" / "input.txt", "data folder"),
        (tmp_path / "shared" / "openwebtext" / "input.txt", "data folder"),
        (root / "data" / "openwebtext" / "input.txt", "own folder"),
    ]:
        put(path, TEXT + str(path))
        found = find_local(source, kept, root)
        assert found is not None and (found.kind, found.place) == (kind, str(path))
        corpus = prepare("openwebtext", tmp_path / "out", "bpe:300", root=root)
        assert corpus.source_kind == kind and corpus.source_bytes == len((TEXT + str(path)).encode())


Script = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def python(tmp_path: Path) -> Script:
    """Runs Python in a fresh clone, which lies in tmp_path / "clone"."""
    root = clone(tmp_path / "clone")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)

    return run


WEB = str(Path("data", "openwebtext", "prepare.py"))


def test_an_own_text_is_a_corpus_of_its_own_name_in_every_folder(tmp_path: Path, python: Script) -> None:
    put(tmp_path / "some.jsonl", "".join(json.dumps({"text": line}) + "\n" for line in TEXT.split("\n")))
    line = ["-m", "data.prepare", "mine", "--from", "../some.jsonl", "--tokenizer", "bpe:300", "--out", "out"]
    done = python(*line)
    assert done.returncode == 0, done.stderr
    corpus = load("mine", tmp_path / "clone" / "out", "bpe:300")
    own = tmp_path / "clone" / "data" / "mine" / "input.txt"
    for part in ("mine-bpe300", corpus.tokens_sha256, "300 tokens (bpe:300)", str(own), "corpus = 'mine'"):
        assert part in done.stdout
    same = prepare("mine", tmp_path / "elsewhere", "char", root=tmp_path / "clone")
    assert (same.source_sha256, same.source_kind) == (corpus.source_sha256, "own folder")
    text = TEXT.strip("\n").replace("\n", "\n\n")
    assert same.decode(np.concatenate([same.train, same.dev, same.heldout])) == text
    assert python(*line).returncode == 0  # once more changes nothing
    assert load("mine", tmp_path / "clone" / "out", "bpe:300").tokens_sha256 == corpus.tokens_sha256
    put(tmp_path / "other.txt", TEXT + "another")
    done = python("-m", "data.prepare", "mine", "--from", "../other.txt", "--out", "out")
    assert done.returncode == 2 and f"{own} is another text of the name 'mine'" in done.stderr
    assert own.read_text() == text and not (tmp_path / "clone" / "out" / "mine").exists()


def test_web_text_is_taken_where_it_stands(tmp_path: Path, python: Script) -> None:
    put(tmp_path / "shared" / "openwebtext_small" / "input.txt", TEXT)
    done = python(WEB, "--tokenizer", "bpe:300", "--out", "out")
    assert done.returncode == 0 and "data folder" in done.stdout, done.stderr
    out = tmp_path / "clone" / "out"
    assert files(out) == {"openwebtext-bpe300/tokens.bin", "openwebtext-bpe300/meta.json"}
    done = python(WEB, "--documents", "3")
    assert done.returncode == 2 and "input.txt comes before the hub" in done.stderr


def test_web_text_of_the_hub_is_kept_for_every_study(tmp_path: Path, python: Script) -> None:
    put(
        tmp_path / "clone" / "datasets.py",
        f"def load_dataset(*_, **__): return ({{'text': line}} for line in {TEXT!r}.splitlines())",
    )
    done = python(WEB, "--documents", "50", "--tokenizer", "char", "--out", "out")
    assert done.returncode == 0, done.stderr
    same = prepare("openwebtext", tmp_path / "elsewhere", root=tmp_path / "clone")
    assert same.tokens_sha256 == load("openwebtext", tmp_path / "clone" / "out").tokens_sha256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "data.prepare", "mine", "--from", "missing.txt"], "missing.txt does not exist"),
        (["-m", "data.prepare", "mine", "--from", "some.txt", "--tokenizer", "bpe:300"], "allows 0 merges"),
        (["-m", "data.prepare", "mine", "--from", "some.txt", "--tokenizer", "bpe:7"], "'bpe:7' is no token"),
        (["-m", "data.prepare", "mine", "--from", "some.txt", "--documents", "0"], "give a number from 1"),
        (["-m", "data.prepare", "mine", "--documents", "3"], "--documents goes with --from"),
        (["-m", "data.prepare", "mine", "--from", "some.txt", "--out", "some.txt"], "Not a directory"),
        (["-m", "data.prepare", "openwebtext", "--from", "some.txt"], "give your text another name"),
        (["-m", "data.prepare", "Mine", "--from", "some.txt"], "'Mine' cannot name a corpus"),
        (["-m", "data.prepare", "mine"], "python -m data.prepare mine --from PATH"),
        (["-m", "data.prepare", "--from", "some.txt"], "give the name of a corpus"),
        ([WEB], "it could not come from the hub"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    tmp_path: Path, python: Script, arguments: list[str], message: str
) -> None:
    put(tmp_path / "clone" / "some.txt", "some")
    put(tmp_path / "clone" / "datasets.py", "raise ImportError")  # as where the package is not installed
    before = files(tmp_path / "clone" / "data")
    done = python(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and message in done.stderr
    assert not (tmp_path / "clone" / "out").exists()
    assert {name for name in files(tmp_path / "clone" / "data") if "__pycache__" not in name} == before
