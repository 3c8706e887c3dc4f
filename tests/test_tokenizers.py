"""Other tokenizers than characters: what is learned from what, and that the text comes back. No network is used."""

import hashlib
import json
import random
import re
import subprocess
import sys
import threading
import time
import types
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from base import storage
from base.storage import UserError
from data import tokenizers
from data.corpus import folder_name, load
from data.prepare import prepare, prepare_text
from data.tokenizers import PATTERN, BpeTokenizer, make, restore, train_bpe
from tests.files import files, put

ROOT = Path(__file__).resolve().parent.parent
WORDS = [
    "the",
    "then",
    "there",
    "other",
    "naïve",
    "日本語",
    "🙂",
    "x_1",
    "2024",
    "don't",
    "<|endoftext|>",
    "state",
]
ENDINGS = ["", "s", "ing", "er", "ation", "é"]
DRAW = random.Random(1)
TEXT = "".join(DRAW.choice(WORDS) + DRAW.choice(ENDINGS) + DRAW.choice("    \n") for _ in range(2000))


@pytest.fixture(autouse=True)
def no_shared_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the texts or vocabularies that this machine happens to hold."""
    monkeypatch.setenv("INTEROCEPTION_DATA", str(tmp_path / "shared"))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "nothing"))


# An independent reference: nothing is kept from one merge to the next.


def reference_train(text: str, size: int) -> list[bytes]:
    words = [[bytes([byte]) for byte in piece.encode()] for piece in re.findall(PATTERN, text)]
    vocabulary = [bytes([byte]) for byte in range(256)]
    while len(vocabulary) < size:
        pairs = Counter(left + right for word in words for left, right in pairwise(word))
        count, token = min(((-count, token) for token, count in pairs.items()), default=(0, b""))
        if count > -2:
            break
        vocabulary.append(token)
        words = [reference_merge(word, token) for word in words]
    return vocabulary


def reference_merge(word: list[bytes], token: bytes) -> list[bytes]:
    place = 0
    while place < len(word) - 1:
        if word[place] + word[place + 1] == token:
            word = [*word[:place], token, *word[place + 2 :]]
        place += 1
    return word


def reference_encode(text: str, vocabulary: list[bytes]) -> list[int]:
    """Each piece by itself: join the neighbours of lowest rank, the leftmost first, while any can be joined."""
    ranks = {token: rank for rank, token in enumerate(vocabulary)}
    ids = []
    for piece in re.findall(PATTERN, text):
        word = [bytes([byte]) for byte in piece.encode()]
        while True:
            ranked = [
                (ranks[left + right], place)
                for place, (left, right) in enumerate(pairwise(word))
                if left + right in ranks
            ]
            if not ranked:
                break
            _, place = min(ranked)
            word[place : place + 2] = [word[place] + word[place + 1]]
        ids += [ranks[part] for part in word]
    return ids


# Byte-pair encoding

BPE = make("bpe:330", TEXT, TEXT)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=300))
@example("<|endoftext|><|fim_prefix|> <s></s>")
@example("\x00\r\n\t  \u2028\ufeff e\u0301 ²½ \U0010ffff")
def test_every_text_survives(text: str) -> None:
    ids = BPE.encode(text)
    assert ids.dtype == np.int64 and len(ids) <= len(text.encode())
    assert BPE.decode(ids) == text and BPE.decode(ids.astype(np.uint16)) == text


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet="abcde  'sé_1\n", max_size=120) | st.text(max_size=60))
def test_training_is_that_of_the_reference(text: str) -> None:
    assert train_bpe(text, 280) == reference_train(text, 280)


def test_merges_by_hand() -> None:
    # " ab" x 4, " cb" x 2, and "ab" without the blank at the start: ab 5, " a" 4, then " "+"ab", then cb and " c" tie.
    text = "ab ab ab ab ab cb cb"
    assert train_bpe(text, 1000)[256:] == [b"ab", b" ab", b" c", b" cb"]


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet="abcde  '\né", max_size=150))
def test_encoding_is_that_of_the_reference(text: str) -> None:
    vocabulary = train_bpe(text, 300)
    tokenizer = BpeTokenizer("test", PATTERN, vocabulary)
    assert tokenizer.encode(text).tolist() == reference_encode(text, vocabulary)
    assert tokenizer.encoding.encode_ordinary(text) == reference_encode(text, vocabulary)


def test_unseen_text_is_encoded_as_by_the_reference() -> None:
    assert isinstance(BPE, BpeTokenizer)
    text = "others state the 日本 thenceforth naïvely 🙂🙂 don't   <|endoftext|>\n\n x_1_2024"
    assert BPE.encode(text).tolist() == reference_encode(text, BPE.vocabulary)
    assert len(BPE.encode(TEXT)) < 0.5 * len(TEXT.encode())


def test_the_same_text_gives_the_same_vocabulary() -> None:
    script = (
        f"from data.tokenizers import train_bpe; print(train_bpe({TEXT!r}, 320) == {train_bpe(TEXT, 320)!r})"
    )
    for seed in ("1", "2"):  # of Python's hashes, which order its sets
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
        )
        assert done.stdout == "True\n", done.stderr


def test_json_holds_the_whole_tokenizer() -> None:
    again = restore(json.loads(json.dumps(BPE.describe())))
    assert isinstance(again, BpeTokenizer) and isinstance(BPE, BpeTokenizer)
    assert (again.name, again.vocabulary, again.vocab_size) == ("bpe:330", BPE.vocabulary, 330)
    assert np.array_equal(again.encode(TEXT), BPE.encode(TEXT))


@pytest.mark.parametrize("run", [" ", "\n", "a", "^_", "é", "7"])
def test_a_long_run_of_one_sign_is_no_trouble(run: str) -> None:
    text = run * 300_000 + "end"
    assert BPE.decode(BPE.encode(text)) == text
    started = time.process_time()
    train_bpe(text, 400)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("line", [60, 60_000])
def test_a_text_without_blanks_costs_no_more_than_others(line: int) -> None:
    letters = "".join(random.Random(2).choices("etaoinshrdlucmfwyp", range(18, 0, -1), k=60_000))
    text = "\n".join(letters[start : start + line] for start in range(0, len(letters), line))
    started = time.process_time()
    assert len(train_bpe(text, 600)) == 600
    assert time.process_time() - started < 5


def test_training_shows_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    train_bpe(TEXT, 300)
    assert "256/300" in capsys.readouterr().err


def test_ids_and_texts_outside_are_refused() -> None:
    for bad in ([-1], [330]):
        with pytest.raises(ValueError, match=r"ids must lie in 0\.\.329"):
            BPE.decode(bad)
    with pytest.raises(UserError, match="cannot encode this text"):
        BPE.encode("half \ud800")
    assert BPE.decode([0xE6]) == "\ufffd"  # the first byte of a longer character


@pytest.mark.parametrize(
    "name", ["", "bpe", "bpe:", "bpe:256", "bpe:65537", "bpe:0300", "bpe:1e3", "gpt3", "char "]
)
def test_names_of_no_tokenizer_are_refused(tmp_path: Path, name: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: folder_name("mine", name),
        lambda: make(name, TEXT, TEXT),
        lambda: prepare("mine", tmp_path, name),
    ]
    for call in calls:
        with pytest.raises(UserError, match="is no tokenizer: take char, gpt2, or bpe:N"):
            call()


# GPT-2's vocabulary, never the real one


def stand_in(monkeypatch: pytest.MonkeyPatch, gpt2: Callable[[], dict[str, Any]]) -> None:
    module = types.SimpleNamespace(gpt2=gpt2)
    monkeypatch.setattr(
        tokenizers.importlib, "import_module", {"tiktoken_ext.openai_public": module}.__getitem__
    )


def test_gpt2_is_kept_with_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = [
        bytes([byte]) for byte in (*range(33, 256), *range(33))
    ]  # GPT-2's bytes are not in order either
    ranks = {token: rank for rank, token in enumerate([*letters, b"th", b"the", b" the"])}
    made = {"pat_str": PATTERN, "mergeable_ranks": ranks, "special_tokens": {"<|endoftext|>": 259}}
    stand_in(monkeypatch, lambda: made)
    corpus = prepare_text("mine", TEXT.encode(), tmp_path, "gpt2")
    stand_in(monkeypatch, lambda: pytest.fail("fetched again"))
    again = load("mine", tmp_path, "gpt2")
    assert files(tmp_path) == {"mine-gpt2/tokens.bin", "mine-gpt2/meta.json"}
    assert (again.vocab_size, again.tokenizer_name) == (260, "gpt2")
    assert again.encode("!the").tolist() == [0, 257]
    assert again.decode([257, 259]) == "the<|endoftext|>" and again.encode("<|endoftext|>").max() < 259
    assert np.array_equal(corpus.train, again.train)


def test_gpt2_without_network_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> dict[str, Any]:
        raise ConnectionError("no route\nto host")

    stand_in(monkeypatch, refuse)
    with pytest.raises(
        UserError, match=r"gpt2 cannot be had: .*ConnectionError: no route to host.*bpe:1024"
    ) as caught:
        prepare_text("mine", TEXT.encode(), tmp_path, "gpt2")
    assert "\n" not in str(caught.value) and files(tmp_path) == set()


def test_gpt2_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tokenizers.PATIENCE_S < 10
    release = threading.Event()

    def wait() -> dict[str, Any]:
        release.wait(20)
        return {}

    stand_in(monkeypatch, wait)
    with pytest.raises(UserError, match=r"nothing arrived for 0\.2 s"):
        tokenizers._gpt2(patience=0.2)
    release.set()


# Corpora


def test_a_corpus_by_byte_pairs(tmp_path: Path) -> None:
    corpus = prepare_text("mine", TEXT.encode(), tmp_path, "bpe:300")
    train, dev = len(TEXT) * 9 // 10, len(TEXT) * 95 // 100
    for split, text in (("train", TEXT[:train]), ("dev", TEXT[train:dev]), ("heldout", TEXT[dev:])):
        assert corpus.decode(getattr(corpus, split)) == text
        assert np.array_equal(getattr(corpus, split), corpus.encode(text))
    assert corpus.train.dtype == np.uint16 and not corpus.train.flags.writeable
    assert corpus.bytes_per_token == len(TEXT[dev:].encode()) / len(corpus.heldout) > 1.5
    assert (corpus.vocab_size, corpus.tokenizer_name) == (300, "bpe:300")
    assert files(tmp_path) == {"mine-bpe300/tokens.bin", "mine-bpe300/meta.json"}
    assert prepare_text("mine", TEXT.encode(), tmp_path).tokenizer_name == "char"
    assert load("mine", tmp_path).vocab_size == len(set(TEXT))


def test_bytes_per_token_by_hand(tmp_path: Path) -> None:
    # Training: 18 x "abab\n"; held-out: "abab\n", 5 bytes, "ab" and "abab" merged: 2 tokens.
    corpus = prepare_text("mine", b"abab\n" * 20, tmp_path, "bpe:258")
    assert corpus.heldout.tolist() == [257, 10] and corpus.bytes_per_token == 2.5


def test_only_the_training_split_is_learned_from(tmp_path: Path) -> None:
    train = len(TEXT) * 9 // 10
    other = TEXT[:train] + ("zzqq" * len(TEXT))[: len(TEXT) - train]
    first, second = (
        prepare_text(name, text.encode(), tmp_path, "bpe:320")
        for name, text in (("one", TEXT), ("two", other))
    )
    assert first.tokenizer.describe() == second.tokenizer.describe()
    assert np.array_equal(first.train, second.train) and first.source_sha256 != second.source_sha256
    assert second.decode(second.heldout) == other[len(other) * 95 // 100 :]


def test_a_char_corpus_is_what_it_always_was(tmp_path: Path) -> None:
    text = "To be, or not to be: that is the question.\nnaïve 日本 🙂\n" * 20
    prepare_text("tiny", text.encode(), tmp_path)
    known = {  # of the files before there were other tokenizers
        "meta.json": "b7a1b398d7e143297ca281fd445b6faf97dc55f2cb27933b417ae62d54cacb8f",
        "tokens.bin": "03b6342de87af7367531393d67d4fb30fa2303ff051e03ca4b8f2c7f90b98b62",
    }
    meta = storage.read_json(tmp_path / "tiny" / "meta.json")
    del meta[storage.SEAL]
    storage.write_json(tmp_path / "tiny" / "meta.json", meta)
    for name, expected in known.items():
        assert hashlib.sha256((tmp_path / "tiny" / name).read_bytes()).hexdigest() == expected


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "tokens.bin").read_bytes())
    content[100] ^= 1
    (folder / "tokens.bin").write_bytes(content)


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        meta = json.loads((folder / "meta.json").read_text())
        change(meta["tokenizer"])
        (folder / "meta.json").write_text(json.dumps(meta))

    return damage


DAMAGES = {
    "tokens": flip_a_bit,
    "a token fewer": edited(lambda made: made["vocabulary"].pop()),
    "a byte lost": edited(lambda made: made["vocabulary"].__setitem__(5, "new")),
    "no bytes": edited(lambda made: made["vocabulary"].__setitem__(299, "日")),
    "no pattern": edited(lambda made: made.__setitem__("pattern", "(")),
    "no field": edited(lambda made: made.pop("special")),
    "wrong type": edited(lambda made: made.__setitem__("vocabulary", 7)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_corpus_is_refused_and_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    put(tmp_path / "clone" / "data" / "mine" / "input.txt", TEXT)
    whole = prepare("mine", tmp_path, "bpe:300", root=tmp_path / "clone")
    damage(tmp_path / "mine-bpe300")
    with pytest.raises(
        UserError, match=r"corrupt.*again with: python -m data.prepare mine --tokenizer bpe:300 --out"
    ):
        load("mine", tmp_path, "bpe:300")
    again = prepare("mine", tmp_path, "bpe:300", root=tmp_path / "clone")
    assert again.tokens_sha256 == load("mine", tmp_path, "bpe:300").tokens_sha256 == whole.tokens_sha256


def test_prepare_skips_what_is_done_and_follows_an_edit(tmp_path: Path) -> None:
    path = put(tmp_path / "clone" / "data" / "mine" / "input.txt", TEXT)

    def made(tokenizer: str) -> tuple[int, int]:
        prepare("mine", tmp_path, tokenizer, root=tmp_path / "clone")
        stat = (tmp_path / folder_name("mine", tokenizer) / "tokens.bin").stat()
        return stat.st_ino, stat.st_mtime_ns

    first = made("bpe:300")
    made("bpe:301")
    made("char")
    assert made("bpe:300") == first
    path.write_text(TEXT + "!")
    assert made("bpe:300") != first


def test_a_folder_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    prepare_text("mine", TEXT.encode(), tmp_path, "bpe:300")
    (tmp_path / "mine-bpe300").rename(tmp_path / "mine-bpe301")
    with pytest.raises(UserError, match="written by another version"):
        load("mine", tmp_path, "bpe:301")


def test_a_vocabulary_larger_than_the_text_allows(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"allows 2 merges .*bpe:400 needs 144; .*bpe:258 or smaller"
    ) as caught:
        prepare_text("mine", b"abab\n" * 20, tmp_path, "bpe:400")
    assert "\n" not in str(caught.value) and files(tmp_path) == set()
    with pytest.raises(UserError, match=r"allows 0 merges .*or tokenizer char"):
        prepare_text("mine", b"abcdef", tmp_path, "bpe:400")
