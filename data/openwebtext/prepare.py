"""Makes the tokens of openwebtext: python data/openwebtext/prepare.py [--documents N] [--tokenizer T] [--out DIR].

Its text is that at data/openwebtext/input.txt, or the sample in the data folders. Where there is neither, the first
documents of the hub's data set are put at the former, if the package `datasets` and a network are there.
A text of your own is a corpus of its own name: python -m data.prepare NAME --from PATH.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from base import command_line

if __name__ == "__main__":
    command_line.heed()

from base.errors import UserError
from data import documents
from data.prepare import add_documents, arguments_parser, keep, prepare, report
from data.sources import SOURCES, SourceNotFound, find_local

NAME = "openwebtext"


def main(arguments: Sequence[str]) -> None:
    parser = arguments_parser(NAME, tokenizer="bpe:1024")
    add_documents(parser, f"of the hub (default: {documents.HUB_DOCUMENTS:,})")
    given = parser.parse_args(arguments)
    at_hand = find_local(SOURCES[NAME], given.out / NAME / "input.txt")
    if given.documents is not None and at_hand is not None:
        raise UserError(f"--documents goes with the hub, and {at_hand.place} comes before the hub")
    try:
        corpus = prepare(NAME, given.out, given.tokenizer)
    except SourceNotFound as missing:
        try:
            text = documents.from_hub(given.documents)
        except UserError as error:
            url = f"https://huggingface.co/datasets/{documents.HUB}"
            raise UserError(f"{missing}; it could not come from the hub, {url}: {error}") from None
        corpus = keep(NAME, text, documents.HUB, given.out, given.tokenizer)
    report(corpus, given.out)


if __name__ == "__main__":
    command_line.run(main)
