"""Tokenizers: text to ids and back, by a config string: char, bpe:N (257 <= N <= 65,536) or gpt2.

Each describes itself in JSON (`describe`, kept in a corpus's meta.json), so that a prepared corpus needs no network.
"""

import hashlib
import heapq
import importlib
import os
import re
import tempfile
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tiktoken
from tqdm import tqdm

from base import machine
from base.errors import UserError
from data.patience import NothingArrived, arriving

MAX_VOCABULARY = 1 << 16  # tokens are kept as uint16
MEMORY = {"char": 36, "gpt2": 48, "bpe": 160}  # bytes a byte of text while it is turned into tokens, at most

# GPT-2's way to cut a text into pieces that merges stay within: contractions, letters, digits, other signs, spaces.
# In words that Python's re, which trains, and tiktoken, which encodes, both know; where they differ on a rare sign, such
# as a combining mark, a merge may be missed, never the text. Blanks come at most 200 at a time, or tiktoken runs out of
# stack where there are a million.
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]++| ?\d++| ?(?:_|[^\s\w])++|\s{1,200}(?!\S)|\s"
SEEN = 2  # a pair is merged only if it stands at so many places: one place says nothing about the next text

# Longest wait for GPT-2's vocabulary (1.5 MB), which tiktoken fetches without a time-out of its own.
PATIENCE_S = 9.0


class CharTokenizer:
    """One token a character; ids follow the order of code points."""

    name = "char"

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.vocabulary = list(vocabulary)
        self._codes = _code_points("".join(self.vocabulary))
        if len(self._codes) != len(self.vocabulary) or np.any(np.diff(self._codes.astype(np.int64)) <= 0):
            raise ValueError("a vocabulary is distinct single characters in the order of their code points")

    @classmethod
    def of_text(cls, text: str) -> "CharTokenizer":
        """The tokenizer whose vocabulary is the characters of `text`."""
        return cls(sorted(set(text)))

    @property
    def vocab_size(self) -> int:
        """How many ids there are; they run from 0 to vocab_size - 1."""
        return len(self.vocabulary)

    def describe(self) -> dict[str, Any]:
        """What meta.json keeps, enough to make this tokenizer again."""
        return {"kind": self.name, "vocabulary": self.vocabulary}

    def encode(self, text: str) -> np.ndarray:
        """Ids, int64, one a character. UserError names the characters that the vocabulary lacks."""
        codes = _code_points(text)
        ids = np.searchsorted(self._codes, codes)
        known = self._codes[np.minimum(ids, self.vocab_size - 1)] == codes
        if not np.all(known):
            unknown = " ".join(ascii(chr(code)) for code in np.unique(codes[~known])[:10])
            raise UserError(f"the vocabulary of this corpus ({self.vocab_size} characters) lacks {unknown}")
        return ids.astype(np.int64)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of some ids. ValueError where an id is outside the vocabulary."""
        return self._codes[_checked(ids, self.vocab_size)].tobytes().decode("utf-32-le", "surrogatepass")


class BpeTokenizer:
    """Byte-pair encoding by a tiktoken `Encoding`: every UTF-8 text has ids, and they give the very text again.

    name: "bpe:N" or "gpt2". pattern: the regular expression whose matches are encoded one by one. vocabulary: the bytes
    of each token, merged first where they stand first, with all 256 single bytes. special: names of tokens that no text
    gives, with the last ids. ValueError where these make no encoding.
    """

    def __init__(
        self, name: str, pattern: str, vocabulary: Sequence[bytes], special: Sequence[str] = ()
    ) -> None:
        self.name, self.pattern = name, pattern
        self.vocabulary, self.special = list(vocabulary), list(special)
        ranks = {token: rank for rank, token in enumerate(self.vocabulary)}
        if len(ranks) != len(self.vocabulary) or not ranks.keys() >= {bytes([byte]) for byte in range(256)}:
            raise ValueError("a vocabulary is distinct byte strings, all the single bytes among them")
        if name.startswith("bpe:") and name != f"bpe:{self.vocab_size}":
            raise ValueError(f"{name} has {self.vocab_size} tokens")
        self.encoding = tiktoken.Encoding(
            name,
            pat_str=pattern,
            mergeable_ranks=ranks,
            special_tokens={word: len(ranks) + place for place, word in enumerate(self.special)},
        )

    @property
    def vocab_size(self) -> int:
        """How many ids there are; they run from 0 to vocab_size - 1."""
        return len(self.vocabulary) + len(self.special)

    def describe(self) -> dict[str, Any]:
        """What meta.json keeps, enough to make this tokenizer again: a token as text whose code points are its bytes."""
        return {
            "kind": self.name,
            "pattern": self.pattern,
            "vocabulary": [token.decode("latin-1") for token in self.vocabulary],
            "special": self.special,
        }

    def encode(self, text: str) -> np.ndarray:
        """Ids, int64; text that looks like a special token is text. UserError where a text cannot be UTF-8."""
        try:
            return self.encoding.encode_to_numpy(text, disallowed_special=()).astype(np.int64)
        except (
            ValueError
        ) as error:  # half a surrogate pair, or more blanks in a row than GPT-2's pattern can take
            raise UserError(f"tokenizer {self.name} cannot encode this text: {error}") from None

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of some ids; bytes that are no UTF-8 become U+FFFD. ValueError where an id is outside."""
        flat = _checked(ids, self.vocab_size)
        return self.encoding.decode_bytes(flat.tolist()).decode("utf-8", "replace")


Tokenizer = CharTokenizer | BpeTokenizer


def check_name(tokenizer: str) -> None:
    """UserError where a config string names no tokenizer."""
    if tokenizer in ("char", "gpt2"):
        return
    size = re.fullmatch(r"bpe:([1-9][0-9]{0,5})", tokenizer)
    if size is None or not 257 <= int(size[1]) <= MAX_VOCABULARY:
        raise UserError(
            f"{tokenizer!r} is no tokenizer: take char, gpt2, or bpe:N with N from 257 to {MAX_VOCABULARY} (bpe:1024)"
        )


def check_text(size: int, place: str, tokenizer: str = "char") -> None:
    """UserError where a text of so many bytes is too much to be turned into tokens here."""
    need = machine.PROGRAM + size * MEMORY[tokenizer.partition(":")[0]]
    machine.check(need, f"{place} has {size:,} bytes, which need", "take a shorter text")


def make(tokenizer: str, text: str, train: str) -> Tokenizer:
    """The tokenizer of a config string for a corpus.

    text: the whole corpus, whose characters are the vocabulary of "char". train: its training split, which alone
    decides the vocabulary of "bpe:N". UserError where it cannot be had.
    """
    check_name(tokenizer)
    if tokenizer == "char":
        return CharTokenizer.of_text(text)
    if tokenizer == "gpt2":
        return _gpt2()
    size = int(tokenizer.removeprefix("bpe:"))
    vocabulary = train_bpe(train, size)
    if len(vocabulary) < size:
        raise UserError(
            f"its training split allows {len(vocabulary) - 256:,} merges (of pairs seen {SEEN} times or more) and "
            f"{tokenizer} needs {size - 256:,}; take a longer text, or "
            + (f"bpe:{len(vocabulary)} or smaller" if len(vocabulary) > 256 else "tokenizer char")
        )
    return BpeTokenizer(tokenizer, PATTERN, vocabulary)


def restore(description: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that `describe` told of. KeyError, TypeError or ValueError where this is no description."""
    if description["kind"] == "char":
        return CharTokenizer(description["vocabulary"])
    kind, pattern = str(description["kind"]), str(description["pattern"])
    if kind.startswith("bpe:") and pattern != PATTERN:  # one that matches nothing makes tiktoken panic
        raise ValueError(f"{kind} is made with another pattern")
    vocabulary = [str(token).encode("latin-1") for token in description["vocabulary"]]
    return BpeTokenizer(kind, pattern, vocabulary, list(description["special"]))


def train_bpe(text: str, size: int) -> list[bytes]:
    """A byte-pair vocabulary (Sennrich et al. 2016, on bytes): the 256 bytes, then merges in the order they were made.

    Again and again the neighbours that stand together most often in the pieces of `text` become one token; of equally
    frequent ones the first in byte order. Shorter than `size` where no pair is left that was seen SEEN times.
    """
    parts, before, after, times = _places(Counter(re.findall(PATTERN, text)))
    counts: Counter[bytes] = Counter()  # joined neighbours -> places in the text
    holders: defaultdict[bytes, array[int]] = defaultdict(
        lambda: array("i")
    )  # -> places that have, or had, them
    for place, right in enumerate(after):
        if right >= 0:
            counts[parts[place] + parts[right]] += times[place]
            holders[parts[place] + parts[right]].append(place)
    # An entry is stale when its count is not the present one: then a newer entry is in the heap as well.
    heap = [(-count, joined) for joined, count in counts.items() if count >= SEEN]
    heapq.heapify(heap)
    ranks = {bytes([byte]): byte for byte in range(256)}
    with tqdm(total=size, initial=len(ranks), unit=" tokens", desc="bpe", disable=None, leave=False) as bar:
        while heap and len(ranks) < size:
            count, token = heapq.heappop(heap)
            if counts[token] != -count:
                continue
            ranks.setdefault(token, len(ranks))
            bar.update(len(ranks) - bar.n)
            change: Counter[bytes] = Counter()
            for place in sorted(holders.pop(token)):  # from the left, as a text is encoded
                right = after[place]
                if right < 0 or parts[place] + parts[right] != token:
                    continue
                left, beyond = before[place], after[right]
                change[token] -= times[place]
                if left >= 0:
                    change[parts[left] + parts[place]] -= times[place]
                    change[parts[left] + token] += times[place]
                    holders[parts[left] + token].append(left)
                if beyond >= 0:
                    change[parts[right] + parts[beyond]] -= times[place]
                    change[token + parts[beyond]] += times[place]
                    holders[token + parts[beyond]].append(place)
                    before[beyond] = place
                parts[place], after[place], after[right] = token, beyond, -1
            for joined, difference in change.items():
                counts[joined] += difference
                if difference and counts[joined] >= SEEN:
                    heapq.heappush(heap, (-counts[joined], joined))
    return list(ranks)


def _places(pieces: Mapping[str, int]) -> "tuple[list[bytes], array[int], array[int], array[int]]":
    """Pieces one after another as lists of bytes: each byte, its neighbours' places (-1: none), how often its piece came.

    A merge touches the places that it joins, whatever the length of their piece: a text without blanks is one long piece.
    """
    parts: list[bytes] = []
    before, after, times = array("i"), array("i"), array("i")
    singles = [bytes([byte]) for byte in range(256)]
    for piece, count in pieces.items():
        start = len(parts)
        parts += [singles[byte] for byte in piece.encode()]
        before.extend(range(start - 1, len(parts) - 1))
        after.extend(range(start + 1, len(parts) + 1))
        before[start] = after[-1] = -1
        times.extend([count] * (len(parts) - start))
    return parts, before, after, times


GPT2_URL = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"
GPT2_FILES = {  # and their SHA-256
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
}


def _gpt2_files() -> str:
    """What to put where for GPT-2's vocabulary: URL, SHA-256, and the path by which tiktoken looks for it."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.path.join(tempfile.gettempdir(), "data-gym-cache")
    return " and ".join(
        f"{GPT2_URL}{name} (sha256 {digest}) at "
        f"{os.path.join(folder, hashlib.sha1((GPT2_URL + name).encode()).hexdigest())}"
        for name, digest in GPT2_FILES.items()
    )


def _gpt2(patience: float = PATIENCE_S) -> BpeTokenizer:
    """GPT-2's own vocabulary, from tiktoken's cache or the network.

    UserError within `patience` seconds where there is neither, since tiktoken sets no time-out.
    """

    def encoding() -> Iterator[dict[str, Any]]:
        yield importlib.import_module("tiktoken_ext.openai_public").gpt2()

    try:
        had = next(arriving(encoding, patience, "gpt2 vocabulary"))
    except Exception as error:  # whatever the network, a proxy or a damaged cache gives
        kind = "" if isinstance(error, NothingArrived) else f"{type(error).__name__}: "
        reason = " ".join(f"{kind}{error}".split())
        if len(reason) > 120:
            reason = reason[:117] + "..."
        raise UserError(
            f"tokenizer gpt2 cannot be had: tiktoken has no copy of its vocabulary and cannot fetch one ({reason}); "
            f"run this once with a network, or put {_gpt2_files()} and set TIKTOKEN_CACHE_DIR to that folder, or take "
            "tokenizer bpe:1024"
        ) from None
    ranks, special = had["mergeable_ranks"], had["special_tokens"]
    return BpeTokenizer(
        "gpt2",
        had["pat_str"],
        sorted(ranks, key=ranks.__getitem__),
        sorted(special, key=special.__getitem__),
    )


def _checked(ids: Sequence[int] | np.ndarray, vocab_size: int) -> np.ndarray:
    """Ids as a flat int64 array. ValueError where one is outside the vocabulary."""
    flat = np.asarray(ids, dtype=np.int64).reshape(-1)
    if flat.size and not 0 <= flat.min() <= flat.max() < vocab_size:
        raise ValueError(f"ids must lie in 0..{vocab_size - 1}, not {flat.min()}..{flat.max()}")
    return flat


def _code_points(text: str) -> np.ndarray:
    """The code points of a text, uint32, one a character (lone surrogates included)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
