"""Corpora as tokens: make them, check them, load them, sample batches.

A prepared corpus is a folder <data_dir>/<name>/ with tokens.bin (flat little-endian uint16: train, dev,
held-out, in this order) and meta.json (tokenizer with its vocabulary, sizes, SHA-256 of the source and of the
tokens).
"""

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.sources import ROOT, SOURCES, Source, SourceNotFound, find_elsewhere, find_local
from storage import UserError, read_json, sha256_bytes, sha256_file, write_bytes, write_json

__all__ = ["SOURCES", "Corpus", "Source", "SourceNotFound", "check_block", "load", "prepare", "sample_batch"]

FORMAT = 1  # of meta.json and the splits; a folder of another format is made again
SPLITS = ("train", "dev", "heldout")


class CharTokenizer:
    """One token a character; ids follow the order of code points."""

    kind = "char"

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.vocabulary = list(vocabulary)
        self._codes = _code_points("".join(self.vocabulary))
        if len(self._codes) != len(self.vocabulary) or np.any(np.diff(self._codes.astype(np.int64)) <= 0):
            raise ValueError("a vocabulary is distinct single characters in the order of their code points")

    @classmethod
    def of_text(cls, text: str) -> "CharTokenizer":
        """The tokenizer whose vocabulary is the characters of `text`."""
        return cls([chr(code) for code in np.unique(_code_points(text))])

    @property
    def vocab_size(self) -> int:
        """How many ids there are; they run from 0 to vocab_size - 1."""
        return len(self.vocabulary)

    def describe(self) -> dict[str, Any]:
        """What meta.json keeps, enough to make this tokenizer again."""
        return {"kind": self.kind, "vocabulary": self.vocabulary}

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
        flat = np.asarray(ids, dtype=np.int64).reshape(-1)
        if flat.size and not 0 <= flat.min() <= flat.max() < self.vocab_size:
            raise ValueError(f"ids must lie in 0..{self.vocab_size - 1}, not {flat.min()}..{flat.max()}")
        return self._codes[flat].tobytes().decode("utf-32-le", "surrogatepass")


@dataclass(frozen=True, eq=False)
class Corpus:
    """A prepared corpus; its splits are read-only uint16 views of one memory-mapped file.

    vocab_size: ids run from 0 to vocab_size - 1. source_kind: "own folder", "data folder", "download",
    "embedded", or what the caller of `prepare_text` said.
    """

    name: str
    vocab_size: int
    train: np.ndarray
    dev: np.ndarray
    heldout: np.ndarray
    source_sha256: str
    tokens_sha256: str
    source_kind: str
    source_bytes: int
    source_recipe: str | None
    bytes_per_token: float  # UTF-8 bytes a token of the held-out split; nats a token / this = nats a byte
    tokenizer: CharTokenizer

    def encode(self, text: str) -> np.ndarray:
        """Ids, int64. UserError names characters that the vocabulary lacks."""
        return self.tokenizer.encode(text)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of some ids. ValueError where an id is outside the vocabulary."""
        return self.tokenizer.decode(ids)


def load(name: str, data_dir: Path) -> Corpus:
    """The prepared corpus <data_dir>/<name>, its tokens checked against their recorded size and SHA-256.

    UserError where it is missing, of another format or corrupt, with the command that makes it again.
    """
    _check_name(name)
    folder = Path(data_dir) / name
    again = f"make it again with: {_command(name)} --out {shlex.quote(str(data_dir))}"
    for path in (folder / "meta.json", folder / "tokens.bin"):
        if not path.is_file():
            raise UserError(f"corpus {name!r} is not prepared ({path} is missing); {again}")
    try:
        meta = read_json(folder / "meta.json")
    except UserError:
        raise UserError(f"{folder / 'meta.json'} is corrupt; {again}") from None
    try:
        if meta["format"] != FORMAT or meta["tokenizer"]["kind"] != CharTokenizer.kind:
            raise UserError(f"{folder / 'meta.json'} was written by another version; {again}")
        tokenizer = CharTokenizer(meta["tokenizer"]["vocabulary"])
        sizes = [int(meta["sizes"][split]) for split in SPLITS]
        heldout_bytes = int(meta["bytes"]["heldout"])
        source = meta["source"]
        identity: dict[str, Any] = {
            "source_sha256": str(source["sha256"]),
            "source_kind": str(source["kind"]),
            "source_bytes": int(source["bytes"]),
            "source_recipe": source["recipe"],
            "tokens_sha256": str(meta["tokens_sha256"]),
        }
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{folder / 'meta.json'} is corrupt; {again}") from None

    path = folder / "tokens.bin"
    found_size, expected_size = path.stat().st_size, 2 * sum(sizes)
    if found_size != expected_size:
        raise UserError(f"{path} is corrupt ({found_size:,} bytes instead of {expected_size:,}); {again}")
    found = sha256_file(path)
    if found != identity["tokens_sha256"]:
        raise UserError(f"{path} is corrupt (sha256 {found} instead of {identity['tokens_sha256']}); {again}")
    # A plain array over the map: np.memmap itself makes every indexing slower.
    tokens = np.asarray(np.memmap(path, dtype="<u2", mode="r"))
    if tokens.size and tokens.max() >= tokenizer.vocab_size:
        raise UserError(f"{folder / 'meta.json'} is corrupt (its vocabulary is too small); {again}")
    train, dev, heldout = np.split(tokens, np.cumsum(sizes)[:-1])
    return Corpus(
        name=name,
        vocab_size=tokenizer.vocab_size,
        train=train,
        dev=dev,
        heldout=heldout,
        bytes_per_token=heldout_bytes / max(1, len(heldout)),
        tokenizer=tokenizer,
        **identity,
    )


def prepare_text(
    name: str,
    text: bytes,
    data_dir: Path,
    *,
    kind: str = "given",
    place: str = "the text",
    recipe: str | None = None,
) -> Corpus:
    """Tokenise some UTF-8 bytes by character, split them 90/5/5, write <data_dir>/<name>, and load it.

    kind and recipe go into meta.json; place names the source in errors. UserError where the text is empty,
    not UTF-8, or has more than 65,536 different characters.
    """
    _check_name(name)
    if not text:
        raise UserError(f"corpus {name!r}: {place} is empty")
    try:
        characters = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"corpus {name!r}: {place} is not UTF-8 text (at byte {error.start:,})") from None
    tokenizer = CharTokenizer.of_text(characters)
    if tokenizer.vocab_size > 1 << 16:
        raise UserError(
            f"corpus {name!r}: {place} has {tokenizer.vocab_size:,} different characters, over 65,536"
        )
    tokens = tokenizer.encode(characters).astype("<u2")
    train = len(tokens) * 9 // 10
    dev = train + (len(tokens) - train) // 2
    bounds = {"train": (0, train), "dev": (train, dev), "heldout": (dev, len(tokens))}
    content = tokens.tobytes()
    tokens_sha256 = sha256_bytes(content)
    meta = {
        "format": FORMAT,
        "name": name,
        "tokenizer": tokenizer.describe(),
        "vocab_size": tokenizer.vocab_size,
        "dtype": "<u2",
        "sizes": {split: end - start for split, (start, end) in bounds.items()},
        "bytes": {split: len(characters[start:end].encode()) for split, (start, end) in bounds.items()},
        "source": {"kind": kind, "bytes": len(text), "sha256": sha256_bytes(text), "recipe": recipe},
        "tokens_sha256": tokens_sha256,
    }
    # The tokens first: until meta.json agrees with them, `load` refuses both and `prepare` makes them again.
    folder = Path(data_dir) / name
    write_bytes(folder / "tokens.bin", content)
    write_json(folder / "meta.json", meta)
    return load(name, data_dir)


def prepare(name: str, data_dir: Path, *, source: Source | None = None, root: Path = ROOT) -> Corpus:
    """Find the text of a corpus, tokenise it and write it; nothing is written when that is done already.

    Done: whole, and made from the text that stands on this machine now. A corpus whose text has gone since is
    kept as it is, and so is an embedded one when Python has changed, since results hang on it.

    name: a corpus of SOURCES, or any other of a-z, 0-9 and _ whose text is a file of the user's own.
    source, root: other than SOURCES[name] and this clone, for tests and for corpora made elsewhere.
    UserError as of `load`, `prepare_text` and `sources.find_local`; SourceNotFound where there is no text.
    """
    _check_name(name)
    data_dir = Path(data_dir)
    source = source or SOURCES.get(name) or Source(name)
    kept = data_dir / name / "input.txt"
    try:
        done = load(name, data_dir)
    except UserError:
        done = None
    if done is not None and source.sha256 is not None and done.source_sha256 == source.sha256:
        return done
    found = find_local(source, kept, root)
    if done is not None and source.sha256 is None:
        if found is not None:
            same = sha256_bytes(found.content) == done.source_sha256
        else:
            same = source.build is None or (
                done.source_kind == "embedded" and done.source_recipe == source.recipe
            )
        if same:
            return done
    found = found or find_elsewhere(source, kept, root)
    return prepare_text(
        name, found.content, data_dir, kind=found.kind, place=found.place, recipe=found.recipe
    )


def check_block(corpus: Corpus, block_size: int) -> None:
    """UserError where a split of the corpus is too short for one block and its targets."""
    for split in SPLITS:
        length = len(getattr(corpus, split))
        if length < block_size + 1:
            raise UserError(
                f"corpus {corpus.name!r} is too short: its {split} split has {length:,} tokens, and a block "
                f"of {block_size} needs {block_size + 1}; use a longer text or a smaller block_size"
            )


def sample_batch(
    tokens: np.ndarray, batch_size: int, block_size: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences x from random places of `tokens`, and their targets y, one token later.

    Both are new int64 arrays (batch_size, block_size). Offsets are uniform over every place that fits;
    ValueError where none does (see `check_block`).
    """
    offsets = generator.integers(0, len(tokens) - block_size, size=batch_size)  # (B,)
    rows = tokens[offsets[:, None] + np.arange(block_size + 1)]  # (B, T + 1)
    return rows[:, :-1].astype(np.int64), rows[:, 1:].astype(np.int64)


def main(name: str, arguments: Sequence[str] | None = None) -> int:
    """The command line of data/<name>/prepare.py; returns its exit status, 2 for what the user can mend."""
    parser = argparse.ArgumentParser(prog=_command(name), description=f"Make the tokens of corpus {name}.")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "out" / "data", help="folder for <corpus>/tokens.bin"
    )
    options = parser.parse_args(arguments)
    try:
        corpus = prepare(name, options.out)
    except (UserError, OSError) as error:  # OSError: --out cannot be written
        print(f"error: {error}", file=sys.stderr)
        return 2
    sizes = ", ".join(f"{split} {len(getattr(corpus, split)):,}" for split in SPLITS)
    print(f"corpus      {corpus.name}, in {options.out / name}")
    print(f"source      {corpus.source_kind}, {corpus.source_bytes:,} bytes, sha256 {corpus.source_sha256}")
    print(f"tokens      {sizes}, sha256 {corpus.tokens_sha256}")
    print(f"vocabulary  {corpus.vocab_size} characters")
    return 0


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise UserError(f"{name!r} cannot name a corpus: use lower-case letters a-z, digits and _")


def _command(name: str) -> str:
    """The command, from the clone's folder, that prepares a corpus."""
    return f"python data/{name}/prepare.py" if name in SOURCES else f"python -m data.corpus {name}"


def _code_points(text: str) -> np.ndarray:
    """The code points of a text, uint32, one a character (lone surrogates included)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m data.corpus NAME [--out DIR]")
    sys.exit(main(sys.argv[1], sys.argv[2:]))
