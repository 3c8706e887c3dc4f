"""The embedded corpus: about 1 MB of English and code from the documentation that every CPython carries.

`pydoc_data.topics` (the language reference) and docstrings of the standard library, read from its source
files: no module of it is run. One Python version always gives the same text; its SHA-256 is in meta.json.
"""

import ast
import functools
import importlib
import inspect
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from base.errors import UserError
from base.storage import sha256_bytes

RECIPE = "1"  # change it with anything that changes the text
SIZE = 1_000_000  # bytes; the text is cut here
PIECE = 4_000  # characters, about: the unit of shuffling

# Not documentation of the library, or not in every installation.
LEFT_OUT = {"__pycache__", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test", "tests"}
LEFT_OUT |= {"turtledemo"}
ASCII = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "…": "...", "–": "-", "—": "--", "\xa0": " "})


@functools.cache  # seconds of parsing, once in a process, whatever tokenizers ask for it
def build(size: int = SIZE) -> bytes:
    """The text: ASCII, `size` bytes or fewer where Python carries less. UserError where it carries none.

    All topics come in, then modules until the size is reached. Paragraphs met before are left out, since
    topics quote each other and a repeat would put training text into the held-out split. The pieces are
    ordered by the hash of their content, so that every split is the same mixture of both kinds.
    """
    seen: set[str] = set()
    pieces: list[str] = []
    length = 0
    for section in _sections():
        for piece in _pieces(section, seen):
            pieces.append(piece)
            length += len(piece)
        if length >= size:
            break
    if not pieces:
        raise UserError(
            "this Python carries neither pydoc_data nor the source of its library; use another corpus"
        )
    pieces.sort(key=lambda piece: sha256_bytes(piece.encode()))
    return "".join(pieces).encode()[:size]


def _sections() -> Iterator[list[str]]:
    """The paragraphs of each topic, by name; then of each module's docstrings, by the hash of its name."""
    library = Path(sysconfig.get_paths()["stdlib"])
    try:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ImportError:
        topics = {}
    for name in sorted(topics):
        yield _paragraphs(topics[name])
    files = []
    for path in library.rglob("*.py"):
        parts = path.relative_to(library).parts
        if parts[0].removesuffix(".py") in sys.stdlib_module_names and not LEFT_OUT.intersection(parts):
            files.append(("/".join(parts), path))
    for _, path in sorted(files, key=lambda file: sha256_bytes(file[0].encode())):
        yield [paragraph for text in _docstrings(path) for paragraph in _paragraphs(text)]


def _docstrings(path: Path) -> list[str]:
    """The docstrings of a source file, in its order, each headed by the name it documents."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                name = path.stem if isinstance(node, ast.Module) else node.name
                found.append((getattr(node, "lineno", 0), f"{name}: {text}"))
    return [text for _, text in sorted(found)]


def _paragraphs(text: str) -> list[str]:
    """Blank-line separated paragraphs, typographic marks as ASCII; one with other characters is left out."""
    text = inspect.cleandoc(text).translate(ASCII).expandtabs()
    text = "\n".join(line.rstrip() for line in text.splitlines())
    paragraphs = (part.strip("\n") for part in re.split(r"\n{2,}", text))
    return [part for part in paragraphs if part and re.fullmatch(r"[ -~\n]+", part)]


def _pieces(paragraphs: list[str], seen: set[str]) -> Iterator[str]:
    """Paragraphs not met before, joined to pieces of at least PIECE characters where there are so many."""
    piece = ""
    for paragraph in paragraphs:
        if paragraph in seen:
            continue
        seen.add(paragraph)
        piece += paragraph + "\n\n"
        if len(piece) >= PIECE:
            yield piece
            piece = ""
    if piece:
        yield piece
