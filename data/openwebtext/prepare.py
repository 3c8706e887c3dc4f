"""Makes the tokens of openwebtext: python data/openwebtext/prepare.py [--from PATH] [--tokenizer T] [--out DIR].

PATH is a text file, JSON lines with a "text" field (.jsonl, .jsonl.gz), or a folder of such files; its documents are
joined by an empty line and kept as <out>/openwebtext/input.txt, where the study finds them. Without --from: the text
at data/openwebtext/input.txt, one collected before, or the sample in the data folders; where there is none, the first
documents of the hub's data set, if the package `datasets` and a network are there.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from base import command_line

if __name__ == "__main__":
    command_line.heed()

from base.errors import UserError
from base.storage import write_bytes
from data import documents
from data.corpus import Corpus
from data.prepare import arguments_parser, prepare, prepare_text, report
from data.sources import ROOT, SOURCES, SourceNotFound, find_local

NAME = "openwebtext"
MOST_DOCUMENTS = 1_000_000_000


def main(arguments: Sequence[str]) -> None:
    parser = arguments_parser(NAME, tokenizer="bpe:1024")
    parser.add_argument(
        "--from", dest="path", type=Path, metavar="PATH",
        help='text file, JSON lines with a "text" field (.jsonl, .jsonl.gz), or a folder of these',
    )  # fmt: skip
    parser.add_argument(
        "--documents", type=int, metavar="N",
        help=f"take the first N documents of PATH (default: all) or of the hub (default: {documents.HUB_DOCUMENTS:,})",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    report(_make(given), given.out)


def _make(options: argparse.Namespace) -> Corpus:
    if options.documents is not None and not 1 <= options.documents <= MOST_DOCUMENTS:
        raise UserError(f"--documents {options.documents}: give a number from 1 to {MOST_DOCUMENTS:,}")
    at_hand = find_local(SOURCES[NAME], options.out / NAME / "input.txt")
    if options.path is None and options.documents is not None and at_hand is not None:
        raise UserError(
            f"--documents goes with --from PATH, or with the hub, and {at_hand.place} comes before the hub"
        )
    if options.path is not None:
        return _collected(documents.read(options.path, options.documents), str(options.path), options)
    try:
        return prepare(NAME, options.out, options.tokenizer)
    except SourceNotFound as missing:
        try:
            text = documents.from_hub(options.documents)
        except UserError as error:
            url = f"https://huggingface.co/datasets/{documents.HUB}"
            raise UserError(f"{missing}; nor can it come from the hub, {url}: {error}") from None
    return _collected(text, documents.HUB, options)


def _collected(text: bytes, place: str, options: argparse.Namespace) -> Corpus:
    """The corpus of a text, which is kept beside the tokens for other tokenizers and later studies."""
    own = ROOT / "data" / NAME / "input.txt"
    if own.is_file():
        raise UserError(f"{own} would be taken instead of {place}; remove it, or leave out --from")
    corpus = prepare_text(NAME, text, options.out, options.tokenizer, kind="collected", place=place)
    write_bytes(options.out / NAME / "input.txt", text)
    return corpus


if __name__ == "__main__":
    command_line.run(main)
