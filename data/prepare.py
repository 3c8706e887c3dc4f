"""Making corpora: find a text, split it, turn it into tokens, write them for data/corpus.py to load.

python -m data.prepare NAME --from PATH    a corpus of your own, of a text, of JSON or of a folder of these
"""

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path

from base import command_line

if __name__ == "__main__":
    command_line.heed()

from base.errors import UserError
from base.storage import sha256_bytes, write_bytes, write_sealed
from data import documents
from data.corpus import FORMAT, SPLITS, Corpus, command, folder_name, load
from data.sources import ROOT, SOURCES, Source, find_elsewhere, find_local, own_text
from data.tokenizers import MAX_VOCABULARY, check_text, make

MOST_DOCUMENTS = 1_000_000_000


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
    check_text(len(text), place, tokenizer)
    try:
        characters = text.decode("utf-8-sig")  # a byte-order mark is no character of the text
    except UnicodeDecodeError as error:
        raise UserError(f"corpus {name!r}: {place} is not UTF-8 text (at byte {error.start:,})") from None
    if not characters:
        raise UserError(f"corpus {name!r}: {place} is empty")
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
    write_sealed(folder / "meta.json", meta)
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


def keep(name: str, text: bytes, place: str, data_dir: Path, tokenizer: str, root: Path = ROOT) -> Corpus:
    """Give a text a name: its tokens go to data_dir, itself to data/<name>/input.txt, where every study finds it.

    place names the text in errors. UserError where another text has that name, and as of `prepare_text`.
    """
    folder_name(name, tokenizer)
    path = own_text(name, root)
    if path.is_file() and path.read_bytes() != text:
        raise UserError(f"{path} is another text of the name {name!r}; choose another name, or remove it")
    corpus = prepare_text(name, text, data_dir, tokenizer, kind="own folder", place=place)
    write_bytes(path, text)
    return corpus


def main(name: str, arguments: Sequence[str]) -> None:
    """The command line of data/<name>/prepare.py. UserError for what the user can mend."""
    given = arguments_parser(name).parse_args(arguments)
    report(prepare(name, given.out, given.tokenizer), given.out)


def arguments_parser(name: str, tokenizer: str = "char") -> argparse.ArgumentParser:
    """What every prepare.py understands; tokenizer is its default."""
    parser = command_line.Parser(prog=command(name), description=f"Make the tokens of corpus {name}.")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "out" / "data", help="folder for <corpus>/tokens.bin"
    )
    parser.add_argument(
        "--tokenizer", default=tokenizer, help=f"char, bpe:N (N tokens) or gpt2; default {tokenizer}"
    )
    return parser


def add_documents(parser: argparse.ArgumentParser, of: str) -> None:
    """`--documents N`: how many are taken of what."""
    parser.add_argument("--documents", type=_count, metavar="N", help=f"take the first N documents {of}")


def _count(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 1 <= int(text) <= MOST_DOCUMENTS:
            return int(text)
    raise argparse.ArgumentTypeError(f"give a number from 1 to {MOST_DOCUMENTS:,}")


def report(corpus: Corpus, out: Path) -> None:
    """Print what a corpus in a folder of corpora is."""
    sizes = ", ".join(f"{split} {len(getattr(corpus, split)):,}" for split in SPLITS)
    unit = "characters" if corpus.tokenizer_name == "char" else f"tokens ({corpus.tokenizer_name})"
    print(f"corpus      {corpus.name}, in {out / folder_name(corpus.name, corpus.tokenizer_name)}")
    print(f"source      {corpus.source_kind}, {corpus.source_bytes:,} bytes, sha256 {corpus.source_sha256}")
    print(f"tokens      {sizes}, sha256 {corpus.tokens_sha256}")
    print(f"vocabulary  {corpus.vocab_size} {unit}")


def _main(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0].startswith("-"):
        raise UserError("give the name of a corpus: python -m data.prepare NAME [--from PATH] [--out DIR]")
    name = arguments[0]
    parser = arguments_parser(name)
    parser.add_argument(
        "--from", dest="path", type=Path, metavar="PATH",
        help="the text of a new corpus: a text file, JSON (.json, .jsonl, .jsonl.gz), or a folder of these",
    )  # fmt: skip
    add_documents(parser, "of PATH (default: all)")
    given = parser.parse_args(arguments[1:])
    if given.path is None:
        if given.documents is not None:
            raise UserError("--documents goes with --from PATH")
        report(prepare(name, given.out, given.tokenizer), given.out)
        return
    if name in SOURCES:
        raise UserError(f"{name} is a corpus of this project's own; give your text another name")
    text = documents.read(given.path, given.documents)
    report(keep(name, text, str(given.path), given.out, given.tokenizer), given.out)
    print(f"text        kept as {own_text(name)}; any suite can say: corpus = {name!r}")


if __name__ == "__main__":
    command_line.run(_main)
