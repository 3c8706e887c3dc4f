"""Corpora as tokens: load them, check them, sample batches. data/prepare.py makes them.

A prepared corpus is a folder <data_dir>/<name>/, or <name>-bpe1024 and the like with another tokenizer than char, with
tokens.bin (flat little-endian uint16: train, dev, held-out, in this order) and meta.json (tokenizer with its
vocabulary, sizes, SHA-256 of the source and of the tokens).
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from base import NAME
from base.errors import UserError
from base.storage import read_json, sha256_file
from data.sources import SOURCES
from data.tokenizers import Tokenizer, check_name, restore

FORMAT = 1  # of meta.json and the splits; a folder of another format is made again
SPLITS = ("train", "dev", "heldout")


@dataclass(frozen=True, eq=False)
class Corpus:
    """A prepared corpus; its splits are read-only uint16 views of one memory-mapped file.

    vocab_size: ids run from 0 to vocab_size - 1. source_kind: "own folder", "data folder", "download", "embedded",
    or what the caller of `prepare_text` said.
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

    def check_block(self, block_size: int) -> None:
        """UserError where a split is too short for one block and its targets."""
        for split in SPLITS:
            length = len(getattr(self, split))
            if length < block_size + 1:
                raise UserError(
                    f"corpus {self.name!r} is too short: its {split} split has {length:,} tokens, and a block "
                    f"of {block_size} needs {block_size + 1}; use a longer text or a smaller block_size"
                )

    def draw(
        self, split: str, sequences: int, block_size: int, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sequences x from random places of a split, and their targets y, one token later.

        Both are new int64 arrays (sequences, block_size). Offsets are uniform over every place that fits;
        ValueError where none does (see `check_block`).
        """
        tokens = getattr(self, split)
        offsets = random.integers(0, len(tokens) - block_size, size=sequences)  # (B,)
        rows = tokens[offsets[:, None] + np.arange(block_size + 1)]  # (B, T + 1)
        return rows[:, :-1].astype(np.int64), rows[:, 1:].astype(np.int64)

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
    again = f"make it again with: {command(name)}{option} --out {shlex.quote(str(data_dir))}"
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


def _check_name(name: str) -> None:
    if not re.fullmatch(NAME, name):
        raise UserError(
            f"{name!r} cannot name a corpus: use lower-case letters a-z, digits and _, a letter first, 64 at most"
        )


def command(name: str) -> str:
    """The command, from the clone's folder, that prepares a corpus."""
    return f"python data/{name}/prepare.py" if name in SOURCES else f"python -m data.prepare {name}"
