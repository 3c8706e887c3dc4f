"""Corpora: where a text is looked for, what is refused, and that tokens are the text. No network is used."""

import hashlib
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from base.storage import UserError, write_sealed
from data import pydoc_text
from data.corpus import Corpus, load
from data.prepare import prepare, prepare_text
from data.sources import PATIENCE_S, SOURCES, Source, SourceNotFound, _fetch, find_local
from tests.files import clone, files, put

TEXT = ("To be, or not to be: that is the question.\n" * 50).encode()


@pytest.fixture(autouse=True)
def no_shared_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the texts that this machine happens to hold, nor a proxy."""
    monkeypatch.setenv("INTEROCEPTION_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(name="clone")
def _clone(tmp_path: Path) -> Path:
    return clone(tmp_path / "clone")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# Tokens


def test_tokens_are_the_text(tmp_path: Path) -> None:
    text = "naïve café\r\n\t日本語 🙂 a\n" * 40
    corpus = prepare_text("mixed", text.encode(), tmp_path)
    tokens = np.fromfile(tmp_path / "mixed" / "tokens.bin", dtype="<u2")
    vocabulary = sorted(set(text))
    assert "".join(vocabulary[i] for i in tokens) == text
    assert corpus.decode(np.concatenate([corpus.train, corpus.dev, corpus.heldout])) == text
    assert corpus.vocab_size == len(vocabulary)
    ids = corpus.encode("café 🙂")
    assert ids.dtype == np.int64 and corpus.decode(ids) == "café 🙂"
    assert corpus.encode("").shape == (0,) and corpus.decode([]) == ""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1, max_size=200), mark=st.sampled_from(["", "\ufeff"]))
@example(text="\ufeffa", mark="\ufeff")  # the second is a character
def test_every_text_survives_and_a_byte_order_mark_is_no_part_of_it(
    tmp_path: Path, text: str, mark: str
) -> None:
    assume(mark or not text.startswith("\ufeff"))
    corpus = prepare_text("any", (mark + text).encode(), tmp_path)
    assert corpus.decode(np.concatenate([corpus.train, corpus.dev, corpus.heldout])) == text
    assert corpus.decode(corpus.encode(text)) == text


@pytest.mark.parametrize(("length", "sizes"), [(1000, (900, 50, 50)), (1001, (900, 50, 51)), (7, (6, 0, 1))])
def test_splits_are_90_5_5(tmp_path: Path, length: int, sizes: tuple[int, int, int]) -> None:
    corpus = prepare_text("splits", b"ab" * (length // 2) + b"a" * (length % 2), tmp_path)
    assert (len(corpus.train), len(corpus.dev), len(corpus.heldout)) == sizes


def test_splits_are_read_only(tmp_path: Path) -> None:
    corpus = prepare_text("splits", TEXT, tmp_path)
    assert corpus.train.dtype == np.uint16
    with pytest.raises(ValueError, match="read-only"):
        corpus.train[0] = 1


def test_meta_records_what_the_tokens_are(tmp_path: Path) -> None:
    corpus = prepare_text("hello", b"hello world" * 10, tmp_path)
    meta = json.loads((tmp_path / "hello" / "meta.json").read_text())
    assert meta["tokenizer"] == {"kind": "char", "vocabulary": [" ", "d", "e", "h", "l", "o", "r", "w"]}
    assert meta["sizes"] == {"train": 99, "dev": 5, "heldout": 6} and meta["vocab_size"] == 8
    assert meta["source"]["sha256"] == corpus.source_sha256 == sha256(b"hello world" * 10)
    tokens = (tmp_path / "hello" / "tokens.bin").read_bytes()
    assert meta["tokens_sha256"] == corpus.tokens_sha256 == sha256(tokens)
    assert str(tmp_path) not in json.dumps(meta)


def test_bytes_per_token_counts_utf8_of_the_heldout_split(tmp_path: Path) -> None:
    corpus = prepare_text("wide", ("a" * 95 + "日" * 5).encode(), tmp_path)
    assert corpus.bytes_per_token == 3.0


def test_unknown_characters_are_named(tmp_path: Path) -> None:
    corpus = prepare_text("known", TEXT, tmp_path)
    with pytest.raises(UserError, match=r"lacks '#' '\\u65e5'"):
        corpus.encode("To #日")
    for bad in ([-1], [corpus.vocab_size]):
        with pytest.raises(ValueError, match="ids must lie in"):
            corpus.decode(bad)


# Bad texts


@pytest.mark.parametrize(
    ("text", "message"),
    [(b"", "is empty"), (b"abc\xff\xfe", "not UTF-8 text .at byte 3"), ("é".encode("latin-1"), "not UTF-8")],
)
def test_bad_text_is_refused_and_nothing_written(tmp_path: Path, text: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        prepare_text("bad", text, tmp_path)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == set()


def test_a_text_too_short_for_a_block_is_refused(tmp_path: Path) -> None:
    corpus = prepare_text("short", b"ab" * 650, tmp_path)  # dev and held-out: 65 tokens each
    corpus.check_block(64)
    with pytest.raises(UserError, match="its dev split has 65 tokens, and a block of 65 needs 66"):
        corpus.check_block(65)


@pytest.mark.parametrize("name", ["", "Shakespeare", "../up", "a/b", "a-b", "a\n"])
def test_names_that_are_no_folder_are_refused(tmp_path: Path, name: str) -> None:
    for call in (lambda: prepare(name, tmp_path), lambda: load(name, tmp_path)):
        with pytest.raises(UserError, match="cannot name a corpus"):
            call()


# Loading


def test_missing_corpus_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not prepared .*python data/shakespeare_char/prepare.py --out"):
        load("shakespeare_char", tmp_path)
    with pytest.raises(UserError, match=r"not prepared .*python -m data.prepare mine --out"):
        load("mine", tmp_path)


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "tokens.bin").read_bytes())
    content[100] ^= 1
    (folder / "tokens.bin").write_bytes(content)


def cut_tokens(folder: Path) -> None:
    (folder / "tokens.bin").write_bytes((folder / "tokens.bin").read_bytes()[:-1])


def cut_meta(folder: Path) -> None:
    (folder / "meta.json").write_text((folder / "meta.json").read_text()[:-30])


def empty_meta(folder: Path) -> None:
    (folder / "meta.json").write_text('{"format": 1}')


def list_meta(folder: Path) -> None:
    (folder / "meta.json").write_text("[]")


def shrink_vocabulary(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    meta["tokenizer"]["vocabulary"].pop()
    (folder / "meta.json").write_text(json.dumps(meta))


DAMAGES = [flip_a_bit, cut_tokens, cut_meta, empty_meta, list_meta, shrink_vocabulary]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_corpus_is_refused_and_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    put(tmp_path / "clone" / "data" / "mine" / "input.txt", TEXT)
    whole = prepare("mine", tmp_path / "out", root=tmp_path / "clone")
    damage(tmp_path / "out" / "mine")
    with pytest.raises(
        UserError, match=r"corrupt.*; make it again with: python -m data.prepare mine"
    ) as caught:
        load("mine", tmp_path / "out")
    assert "\n" not in str(caught.value)
    again = prepare("mine", tmp_path / "out", root=tmp_path / "clone")
    assert again.tokens_sha256 == whole.tokens_sha256
    assert load("mine", tmp_path / "out").tokens_sha256 == whole.tokens_sha256


def test_a_later_tokenizer_is_refused_by_name_of_cause(tmp_path: Path) -> None:
    prepare_text("mine", TEXT, tmp_path)
    path = tmp_path / "mine" / "meta.json"
    write_sealed(path, json.loads(path.read_text().replace('"char"', '"other"')))
    with pytest.raises(UserError, match="written by another version"):
        load("mine", tmp_path)


# Where a text is looked for


def test_order_of_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "clone"
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setenv("INTEROCEPTION_DATA", f"{first}{os.pathsep}{second}")
    places = [
        (put(root / "data" / "mine" / "input.txt", b"own" * 99), "own folder"),
        (put(first / "mine" / "input.txt", b"first" * 99), "data folder"),
        (put(second / "mine" / "input.txt", b"second" * 99), "data folder"),
    ]
    for path, kind in places:
        corpus = prepare("mine", tmp_path / "out", root=root)
        assert (corpus.source_kind, corpus.source_sha256) == (kind, sha256(path.read_bytes()))
        path.unlink()
    # The text is gone: what was made of it stays.
    assert prepare("mine", tmp_path / "out", root=root).source_sha256 == sha256(b"second" * 99)


def test_default_data_folder_is_beside_the_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INTEROCEPTION_DATA")
    put(tmp_path / "shared" / "data" / "mine" / "input.txt", TEXT)
    corpus = prepare("mine", tmp_path / "out", root=tmp_path / "clone")
    assert (corpus.source_kind, corpus.source_sha256) == ("data folder", sha256(TEXT))


def test_a_wrong_file_is_named_not_passed_over(tmp_path: Path) -> None:
    root = tmp_path / "clone"
    path = put(root / "data" / "shakespeare_char" / "input.txt", TEXT)
    source = SOURCES["shakespeare_char"]
    with pytest.raises(UserError) as caught:
        prepare("shakespeare_char", tmp_path / "out", root=root)
    for part in (str(path), sha256(TEXT), str(source.sha256)):
        assert part in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_prepare_skips_what_is_done_and_follows_an_edit(tmp_path: Path) -> None:
    root = tmp_path / "clone"
    path = put(root / "data" / "mine" / "input.txt", TEXT)
    prepare("mine", tmp_path / "out", root=root)
    tokens = tmp_path / "out" / "mine" / "tokens.bin"
    before = tokens.stat()
    prepare("mine", tmp_path / "out", root=root)
    assert (tokens.stat().st_ino, tokens.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    path.write_bytes(TEXT + b"!")
    assert prepare("mine", tmp_path / "out", root=root).source_sha256 == sha256(TEXT + b"!")


def test_a_corpus_without_text_says_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound) as caught:
        prepare("mine", tmp_path / "out", root=tmp_path / "clone")
    assert str(tmp_path / "clone" / "data" / "mine" / "input.txt") in str(caught.value)
    assert not (tmp_path / "out").exists()


# Downloads, from a server of this machine


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """An HTTP server that gives TEXT, or half of it (/half), slowly (/slow), or never a byte (/silent)."""
    release = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/missing":
                self.send_error(404)
                return
            if self.path == "/silent":
                release.wait(20)
                return
            self.send_response(200)
            self.end_headers()
            if self.path == "/slow":
                for start in range(0, len(TEXT), 250):
                    time.sleep(0.15)
                    self.wfile.write(TEXT[start : start + 250])
                return
            self.wfile.write(TEXT[: len(TEXT) // 2] if self.path == "/half" else TEXT)

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        release.set()
        running.shutdown()


def remote(url: str) -> Source:
    return Source("remote", url=url, size=len(TEXT), sha256=sha256(TEXT))


def test_a_download_is_verified_and_kept(tmp_path: Path, server: str) -> None:
    source = remote(f"{server}/input.txt")
    corpus = prepare("remote", tmp_path / "out", source=source, root=tmp_path / "clone")
    assert (corpus.source_kind, corpus.source_sha256) == ("download", sha256(TEXT))
    kept = tmp_path / "out" / "remote" / "input.txt"
    assert kept.read_bytes() == TEXT
    # Tokens lost: made again from the kept file, though the server now has none.
    (tmp_path / "out" / "remote" / "tokens.bin").unlink()
    gone = remote(f"{server}/missing")
    again = prepare("remote", tmp_path / "out", source=gone, root=tmp_path / "clone")
    assert again.tokens_sha256 == corpus.tokens_sha256
    found = find_local(gone, kept, tmp_path / "clone")
    assert found is not None and found.kind == "download"


@pytest.mark.parametrize(
    ("page", "size", "reason"),
    [
        ("half", len(TEXT), f"it gave {len(TEXT) // 2:,} bytes with sha256 {sha256(TEXT[: len(TEXT) // 2])}"),
        ("input.txt", 100, "more than the expected 100 bytes"),
        ("missing", len(TEXT), "Not Found"),
    ],
)
def test_a_bad_download_is_not_used(tmp_path: Path, server: str, page: str, size: int, reason: str) -> None:
    source = Source("remote", url=f"{server}/{page}", size=size, sha256=sha256(TEXT))
    with pytest.raises(SourceNotFound) as caught:
        prepare("remote", tmp_path / "out", source=source, root=tmp_path / "clone")
    for part in (reason, f"{server}/{page}", sha256(TEXT), str(tmp_path / "clone" / "data" / "remote")):
        assert part in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_no_network_is_said_at_once(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: a connection is refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/input.txt"
        started = time.monotonic()
        with pytest.raises(SourceNotFound) as caught:
            prepare("remote", tmp_path / "out", source=remote(url), root=tmp_path / "clone")
    assert time.monotonic() - started < 10
    path = tmp_path / "clone" / "data" / "remote" / "input.txt"
    for part in (url, str(path), f"{len(TEXT):,} bytes", sha256(TEXT), "refused"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_silent_server_is_given_up(server: str) -> None:
    assert PATIENCE_S <= 9
    started = time.monotonic()
    with pytest.raises(OSError, match=r"nothing arrived for 0\.3 s|timed out"):
        _fetch(f"{server}/silent", None, patience=0.3)
    assert time.monotonic() - started < 3


def test_a_slow_download_that_moves_goes_on(server: str) -> None:
    started = time.monotonic()
    assert _fetch(f"{server}/slow", len(TEXT), patience=1.0) == TEXT
    assert time.monotonic() - started > 1.0


# The embedded corpus


def test_the_embedded_text_is_the_same_each_time() -> None:
    text = pydoc_text.build(60_000)
    assert text == pydoc_text.build.__wrapped__(60_000)  # not the one that is kept
    assert text.isascii()


def test_the_embedded_corpus(tmp_path: Path) -> None:
    corpus = prepare("pydoc_char", tmp_path, root=tmp_path / "clone")
    assert corpus.source_kind == "embedded" and corpus.source_bytes == pydoc_text.SIZE
    assert 80 < corpus.vocab_size <= 96
    for split in (corpus.train, corpus.heldout):
        assert "the" in corpus.decode(split)
    # No paragraph of any length is in both, or the held-out loss would measure memory.
    train = {part for part in corpus.decode(corpus.train).split("\n\n") if len(part) > 80}
    assert not train.intersection(corpus.decode(corpus.heldout).split("\n\n"))
    started = time.monotonic()
    assert prepare("pydoc_char", tmp_path, root=tmp_path / "clone").tokens_sha256 == corpus.tokens_sha256
    assert time.monotonic() - started < 0.5  # not built again


# Batches


@pytest.fixture
def text(tmp_path: Path) -> Corpus:
    return prepare_text("some", b"To be, or not to be. " * 90, tmp_path)


def test_batches_are_windows_of_the_text(text: Corpus) -> None:
    counted = replace(text, train=np.arange(1000, dtype=np.uint16))
    x, y = counted.draw("train", 12, 64, np.random.default_rng(1))
    assert x.shape == y.shape == (12, 64) and x.dtype == y.dtype == np.int64
    assert np.array_equal(y, x + 1) and np.array_equal(x - x[:, :1], np.tile(np.arange(64), (12, 1)))
    assert not np.shares_memory(x, y) and x.flags.c_contiguous and y.flags.c_contiguous
    again = counted.draw("train", 12, 64, np.random.default_rng(1))
    assert np.array_equal(x, again[0])


def test_batches_reach_both_ends(text: Corpus) -> None:
    tokens = np.arange(10, dtype=np.uint16)
    x, y = replace(text, dev=tokens).draw("dev", 500, 7, np.random.default_rng(1))
    assert set(x[:, 0]) == {0, 1, 2} and y.max() == 9
    x, y = replace(text, dev=tokens[:8]).draw("dev", 3, 7, np.random.default_rng(1))
    assert np.array_equal(x[0], np.arange(7))
    with pytest.raises(ValueError):
        replace(text, dev=tokens[:7]).draw("dev", 3, 7, np.random.default_rng(1))


# The command line


def run(script: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *arguments], cwd=cwd, capture_output=True, text=True, timeout=60
    )


def test_prepare_script_runs_from_anywhere(clone: Path, tmp_path: Path) -> None:
    done = run(clone / "data" / "pydoc_char" / "prepare.py", "--out", "mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    corpus = load("pydoc_char", tmp_path / "mine")
    for part in ("embedded", corpus.source_sha256, corpus.tokens_sha256, f"vocabulary  {corpus.vocab_size}"):
        assert part in done.stdout
    assert "train 900,000, dev 50,000, heldout 50,000" in done.stdout


def test_prepare_script_says_errors_in_one_line(clone: Path, tmp_path: Path) -> None:
    put(clone / "data" / "shakespeare_char" / "input.txt", b"not the text")
    done = run(clone / "data" / "shakespeare_char" / "prepare.py", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not (clone / "out").exists()
