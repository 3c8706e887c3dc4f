"""Corpora as tokens: make them, check them, load them, sample batches.

A prepared corpus is a folder <data_dir>/<name>/, or <name>-bpe1024 and the like with another tokenizer than char, with
tokens.bin (flat little-endian uint16: train, dev, held-out, in this order) and meta.json (tokenizer with its
vocabulary, sizes, SHA-256 of the source and of the tokens).
"""

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.sources import ROOT, SOURCES, Source, SourceNotFound, find_elsewhere, find_local
from data.tokenizers import MAX_VOCABULARY, Tokenizer, check_name, make, restore
from storage import UserError, read_json, sha256_bytes, sha256_file, write_bytes, write_json

__all__ = [
    "SOURCES", "Corpus", "Source", "SourceNotFound", "check_block", "folder_name", "load", "prepare", "sample_batch",
]  # fmt: skip

FORMAT = 1  # of meta.json and the splits; a folder of another format is made again
SPLITS = ("train", "dev", "heldout")


@dataclass(frozen=True, eq=False)
class Corpus:
    """A prepared corpus; its splits are read-only uint16 views of one memory-mapped file.

    vocab_size: ids run from 0 to vocab_size - 1. source_kind: "own folder", "collected" (by prepare.py, from a path or
    a hub), "data folder", "download", "embedded", or what the caller of `prepare_text` said.
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
    tokenizer: Tokenizer

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer as a config says it: char, bpe:N or gpt2."""
        return self.tokenizer.name

    def encode(self, text: str) -> np.ndarray:
        """Ids, int64. UserError where the tokenizer lacks characters of the text (char), or it is not UTF-8."""
        return self.tokenizer.encode(text)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of some ids. ValueError where an id is outside the vocabulary."""
        return self.tokenizer.decode(ids)


def folder_name(name: str, tokenizer: str = "char") -> str:
    """The folder of a prepared corpus below its data_dir. UserError where either name is none."""
    _check_name(name)
    check_name(tokenizer)
    return name if tokenizer == "char" else f"{name}-{tokenizer.replace(':', '')}"


def load(name: str, data_dir: Path, tokenizer: str = "char") -> Corpus:
    """The prepared corpus of that name and tokenizer, its tokens checked against their recorded size and SHA-256.

    UserError where it is missing, of another format or corrupt, with the command that makes it again.
    """
    folder = Path(data_dir) / folder_name(name, tokenizer)
    option = "" if tokenizer == "char" else f" --tokenizer {tokenizer}"
    again = f"make it again with: {_command(name)}{option} --out {shlex.quote(str(data_dir))}"
    for path in (folder / "meta.json", folder / "tokens.bin"):
        if not path.is_file():
            raise UserError(f"corpus {name!r} is not prepared ({path} is missing); {again}")
    try:
        meta = read_json(folder / "meta.json")
    except UserError:
        raise UserError(f"{folder / 'meta.json'} is corrupt; {again}") from None
    try:
        if meta["format"] != FORMAT or meta["tokenizer"]["kind"] != tokenizer:
            raise UserError(f"{folder / 'meta.json'} was written by another version; {again}")
        restored = restore(meta["tokenizer"])
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
    if tokens.size and tokens.max() >= restored.vocab_size:
        raise UserError(f"{folder / 'meta.json'} is corrupt (its vocabulary is too small); {again}")
    train, dev, heldout = np.split(tokens, np.cumsum(sizes)[:-1])
    return Corpus(
        name=name,
        vocab_size=restored.vocab_size,
        train=train,
        dev=dev,
        heldout=heldout,
        bytes_per_token=heldout_bytes / max(1, len(heldout)),
        tokenizer=restored,
        **identity,
    )


def prepare_text(
    name: str,
    text: bytes,
    data_dir: Path,
    tokenizer: str = "char",
    *,
    kind: str = "given",
    place: str = "the text",
    recipe: str | None = None,
) -> Corpus:
    """Split some UTF-8 bytes 90/5/5 by characters, tokenise each split, write them to their folder, and load it.

    kind and recipe go into meta.json; place names the source in errors. UserError where the text is empty, not UTF-8,
    has more than 65,536 different characters (char), allows fewer merges than asked (bpe:N), or the tokenizer cannot
    be had.
    """
    folder = Path(data_dir) / folder_name(name, tokenizer)
    if not text:
        raise UserError(f"corpus {name!r}: {place} is empty")
    try:
        characters = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"corpus {name!r}: {place} is not UTF-8 text (at byte {error.start:,})") from None
    train = len(characters) * 9 // 10
    dev = train + (len(characters) - train) // 2
    bounds = {"train": (0, train), "dev": (train, dev), "heldout": (dev, len(characters))}
    parts = {split: characters[start:end] for split, (start, end) in bounds.items()}
    try:
        made = make(tokenizer, characters, parts["train"])
        if made.vocab_size > MAX_VOCABULARY:
            raise UserError(f"it has {made.vocab_size:,} different characters, over {MAX_VOCABULARY:,}")
        tokens = {split: made.encode(part).astype("<u2") for split, part in parts.items()}
    except UserError as error:
        raise UserError(f"corpus {name!r}: {place}: {error}") from None
    content = b"".join(part.tobytes() for part in tokens.values())
    meta = {
        "format": FORMAT,
        "name": name,
        "tokenizer": made.describe(),
        "vocab_size": made.vocab_size,
        "dtype": "<u2",
        "sizes": {split: len(part) for split, part in tokens.items()},
        "bytes": {split: len(part.encode()) for split, part in parts.items()},
        "source": {"kind": kind, "bytes": len(text), "sha256": sha256_bytes(text), "recipe": recipe},
        "tokens_sha256": sha256_bytes(content),
    }
    # The tokens first: until meta.json agrees with them, `load` refuses both and `prepare` makes them again.
    write_bytes(folder / "tokens.bin", content)
    write_json(folder / "meta.json", meta)
    return load(name, data_dir, tokenizer)


def prepare(
    name: str, data_dir: Path, tokenizer: str = "char", *, source: Source | None = None, root: Path = ROOT
) -> Corpus:
    """Find the text of a corpus, tokenise it and write it; nothing is written when that is done already.

    Done: whole, and made from the text that stands on this machine now. A corpus whose text has gone since is
    kept as it is, and so is an embedded one when Python has changed, since results hang on it.

    name: a corpus of SOURCES, or any other of a-z, 0-9 and _ whose text is a file of the user's own.
    source, root: other than SOURCES[name] and this clone, for tests and for corpora made elsewhere.
    UserError as of `load`, `prepare_text` and `sources.find_local`; SourceNotFound where there is no text.
    """
    folder_name(name, tokenizer)  # refuses a bad name before anything is looked for
    data_dir = Path(data_dir)
    source = source or SOURCES.get(name) or Source(name)
    kept = data_dir / name / "input.txt"
    try:
        done = load(name, data_dir, tokenizer)
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
        name, found.content, data_dir, tokenizer, kind=found.kind, place=found.place, recipe=found.recipe
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
    options = arguments_parser(name).parse_args(arguments)
    return run_command(lambda: prepare(name, options.out, options.tokenizer), options.out)


def arguments_parser(name: str, tokenizer: str = "char") -> argparse.ArgumentParser:
    """What every prepare.py understands; tokenizer is its default."""
    parser = argparse.ArgumentParser(prog=_command(name), description=f"Make the tokens of corpus {name}.")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "out" / "data", help="folder for <corpus>/tokens.bin"
    )
    parser.add_argument(
        "--tokenizer", default=tokenizer, help=f"char, bpe:N (N tokens) or gpt2; default {tokenizer}"
    )
    return parser


def run_command(make_corpus: Callable[[], Corpus], out: Path) -> int:
    """Make a corpus and print what it is, or one line that says why not; returns the exit status, 0 or 2."""
    try:
        corpus = make_corpus()
    except (UserError, OSError) as error:  # OSError: --out cannot be written
        print(f"error: {error}", file=sys.stderr)
        return 2
    sizes = ", ".join(f"{split} {len(getattr(corpus, split)):,}" for split in SPLITS)
    unit = "characters" if corpus.tokenizer_name == "char" else f"tokens ({corpus.tokenizer_name})"
    print(f"corpus      {corpus.name}, in {out / folder_name(corpus.name, corpus.tokenizer_name)}")
    print(f"source      {corpus.source_kind}, {corpus.source_bytes:,} bytes, sha256 {corpus.source_sha256}")
    print(f"tokens      {sizes}, sha256 {corpus.tokens_sha256}")
    print(f"vocabulary  {corpus.vocab_size} {unit}")
    return 0


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise UserError(f"{name!r} cannot name a corpus: use lower-case letters a-z, digits and _")


def _command(name: str) -> str:
    """The command, from the clone's folder, that prepares a corpus."""
    return f"python data/{name}/prepare.py" if name in SOURCES else f"python -m data.corpus {name}"


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m data.corpus NAME [--out DIR]")
    sys.exit(main(sys.argv[1], sys.argv[2:]))
