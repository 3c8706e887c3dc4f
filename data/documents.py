"""Documents joined into one text: from text files, JSON, or a data set of the Hugging Face hub."""

import gzip
import importlib
import json
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from base.errors import UserError
from data.patience import NothingArrived, arriving
from data.tokenizers import check_text

SEPARATOR = "\n\n"  # between documents: the empty line that also parts paragraphs, known to every tokenizer
LONGEST_LINE = 100_000_000  # bytes of a document in JSON lines; a zip bomb has longer ones
SUFFIXES = (".txt", ".json", ".jsonl", ".jsonl.gz")  # what is read of a folder, in capitals too

HUB = "Skylion007/openwebtext"
HUB_DOCUMENTS = 2_000  # about 10 MB, where the caller asks for no other number
HUB_PATIENCE_S = (
    60.0  # longest wait for the next document; the first needs a list of the files and one opened
)


def read(path: Path, limit: int | None = None) -> bytes:
    """The first `limit` documents at a path (None: all), joined by SEPARATOR, in UTF-8; blank ones are left out.

    A path is a text file (one document), JSON lines with a "text" field (.jsonl, .jsonl.gz), a JSON array of such objects
    or of texts (.json), or a folder of such files, read in the order of their names. A byte-order mark is no text.
    UserError names what is missing, empty or malformed, with file and line.
    """
    if not path.exists():
        raise UserError(
            f"{path} does not exist; give a text file, JSON (.json, .jsonl, .jsonl.gz) or a folder of these"
        )
    files = [path]
    if path.is_dir():
        files = sorted(
            file for file in path.rglob("*") if file.name.lower().endswith(SUFFIXES) and file.is_file()
        )
        if not files:
            raise UserError(f"{path} has no file whose name ends in {', '.join(SUFFIXES)}")
    text = _join((document for file in files for document in _of_file(file)), limit)
    if not text:
        raise UserError(f"{path} holds no text")
    return text


def from_hub(limit: int | None = None, patience: float = HUB_PATIENCE_S) -> bytes:
    """The first documents of HUB (None: HUB_DOCUMENTS), streamed by the `datasets` package and joined as by `read`.

    UserError where the package or the network is missing, or no document comes for `patience` seconds: the package
    itself goes on trying for minutes.
    """
    limit = HUB_DOCUMENTS if limit is None else limit
    try:
        datasets = importlib.import_module("datasets")
    except ImportError:
        raise UserError("the hub needs the package datasets (pip install datasets)") from None

    def documents() -> Iterator[str]:
        for row in islice(datasets.load_dataset(HUB, split="train", streaming=True), limit):
            yield row["text"]

    try:
        text = _join(arriving(documents, patience, "hub"), None)
    except NothingArrived:
        raise UserError(f"{HUB} sent nothing for {patience:g} s") from None
    except UserError:  # too much text
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{HUB} cannot be read ({type(error).__name__}: {reason})") from None
    if not text:
        raise UserError(f"{HUB} holds no text")
    return text


def _join(documents: Iterable[str], limit: int | None) -> bytes:
    chosen, size = [], 0
    for text in islice((text for text in documents if text.strip()), limit):
        chosen.append(text)
        size += len(text)
        check_text(size, "the text so far")
    return SEPARATOR.join(chosen).encode()


def _of_file(path: Path) -> Iterator[str]:
    if not path.is_file():  # a pipe would be waited for, a device read without end
        raise UserError(f"{path} is no regular file")
    name = path.name.lower()
    if name.endswith((".jsonl", ".jsonl.gz")):
        yield from _json_lines(path)
        return
    check_text(path.stat().st_size, str(path))
    if name.endswith(".json"):
        yield from _json_array(path)
        return
    try:
        yield path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (at byte {error.start:,})") from None


def _json_array(path: Path) -> Iterator[str]:
    try:
        rows = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise UserError(
            f"{path} is not JSON; name it .txt if it is text, .jsonl if each line is JSON"
        ) from None
    if not isinstance(rows, list):
        raise UserError(f'{path} is no JSON array; it is to be ["...", ...] or [{{"text": "..."}}, ...]')
    for number, row in enumerate(rows, start=1):
        yield _checked({"text": row} if isinstance(row, str) else row, f"{path} item {number:,}")


def _json_lines(path: Path) -> Iterator[str]:
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            lines = iter(lambda: file.readline(LONGEST_LINE + 1), b"")
            for number, line in enumerate(lines, start=1):
                if len(line) > LONGEST_LINE:
                    raise UserError(f"{path} line {number:,} is longer than {LONGEST_LINE:,} bytes")
                if line.strip():
                    yield _text_of(line, f"{path} line {number:,}")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a whole gzip file ({error})") from None


def _text_of(line: bytes, place: str) -> str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise UserError(
            f'{place} is not JSON; each line is to be an object such as {{"text": "..."}}'
        ) from None
    return _checked(row, place)


def _checked(row: object, place: str) -> str:
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str):
        raise UserError(f'{place} has no field "text" that holds a string')
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{place} has half a surrogate pair in its text, which UTF-8 cannot hold") from None
    return text
