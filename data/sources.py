"""Where the text of a corpus comes from: the registry of known corpora, and the order of looking.

A text is looked for in the corpus's own folder in the clone, in the folders of $INTEROCEPTION_DATA, then on
the network or in what Python itself carries. Whatever has a known checksum is used only when it matches.
"""

import os
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from base.command_line import at_home
from base.errors import UserError
from base.storage import sha256_bytes, write_bytes
from data import pydoc_text
from data.patience import arriving
from data.tokenizers import check_text

ROOT = Path(__file__).resolve().parent.parent
DATA_VARIABLE = "INTEROCEPTION_DATA"

# Longest wait for the next bytes of a download, the first ones included (name look-up, connection, answer).
# A machine without network is told so within 10 s; a slow download that still moves goes on.
PATIENCE_S = 8.0


class SourceNotFound(UserError):
    """The text of a corpus is nowhere to be had: a caller may take the embedded corpus instead."""


@dataclass(frozen=True)
class Source:
    """One corpus's text.

    name: folder name under data/, of a-z, 0-9 and _.
    url, size, sha256: where it can be downloaded, and the bytes (count, SHA-256) that it must be.
    build: makes the text of an embedded corpus; recipe: changes whenever `build` would make another text.
    A source with none of these is a user's own file in data/<name>/input.txt.
    aliases: other names that its folder has in the folders of $INTEROCEPTION_DATA, looked for after `name`.
    """

    name: str
    url: str | None = None
    size: int | None = None
    sha256: str | None = None
    build: Callable[[], bytes] | None = None
    recipe: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """The bytes of a text, the kind of place they came from, and the place itself in words."""

    content: bytes
    kind: str  # "own folder", "data folder", "download" or "embedded"
    place: str
    recipe: str | None = None  # only of an embedded text


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            name="shakespeare_char",
            url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            size=1_115_394,
            sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ),
        Source(name="pydoc_char", build=pydoc_text.build, recipe=pydoc_text.RECIPE),
        Source(name="openwebtext", aliases=("openwebtext_small",)),
    )
}


def data_folders(root: Path = ROOT) -> list[Path]:
    """The folders of $INTEROCEPTION_DATA; where it is not set, shared/data beside the clone. UserError for nobody's home."""
    setting = os.environ.get(DATA_VARIABLE)
    if setting is None:
        return [root.parent / "shared" / "data"]
    return [at_home(Path(entry), f"${DATA_VARIABLE}") for entry in setting.split(os.pathsep) if entry]


def own_text(name: str, root: Path = ROOT) -> Path:
    """Where a text stands in the clone that is a user's own, or that a user put there: the first place of looking."""
    return root / "data" / name / "input.txt"


def find_local(source: Source, kept: Path, root: Path = ROOT) -> Found | None:
    """The text from this machine's disk, or None. `kept` is where a download was put.

    UserError names a file that cannot be read or has another checksum than expected: it is never passed over
    in silence.
    """
    places = [("own folder", own_text(source.name, root))]
    names = (source.name, *source.aliases)
    places += [
        ("data folder", folder / name / "input.txt") for folder in data_folders(root) for name in names
    ]
    if source.url is not None:
        places.append(("download", kept))
    for kind, path in places:
        if not path.is_file():
            continue
        try:
            check_text(path.stat().st_size, str(path))
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror})") from None
        found = sha256_bytes(content)
        if source.sha256 is not None and found != source.sha256:
            raise UserError(
                f"{path} is not the text of corpus {source.name!r}: it has sha256 {found}, expected "
                f"{source.sha256}; remove it, or give it a name of its own (data/<name>/input.txt)"
            )
        return Found(content, kind, str(path))
    return None


def find_elsewhere(source: Source, kept: Path, root: Path = ROOT) -> Found:
    """The text built from what Python carries, or downloaded, verified and written to `kept`.

    SourceNotFound says which file to put where: path, URL and checksum.
    """
    path = own_text(source.name, root)
    if source.build is not None:
        return Found(source.build(), "embedded", "the documentation that Python carries", source.recipe)
    if source.url is None or source.sha256 is None:
        known = ", ".join(sorted(SOURCES))
        fetched = f"fetch some with: python data/{source.name}/prepare.py"
        given = f"give it one with: python -m data.prepare {source.name} --from PATH, or take one of {known}"
        raise SourceNotFound(
            f"there is no text for corpus {source.name!r}: put a UTF-8 text (any: no checksum is asked for) at {path}, or "
            f"{fetched if source.name in SOURCES else given}"
        )
    try:
        content = _fetch(source.url, source.size)
        found = sha256_bytes(content)
        if found != source.sha256:
            raise OSError(f"it gave {len(content):,} bytes with sha256 {found}")
    except OSError as error:
        size = f"{source.size:,} bytes, " if source.size is not None else ""
        raise SourceNotFound(
            f"cannot download corpus {source.name!r} from {source.url} ({error}); put the file at {path} "
            f"({size}sha256 {source.sha256})"
        ) from None
    write_bytes(kept, content)
    return Found(content, "download", source.url)


def _fetch(url: str, size: int | None, patience: float = PATIENCE_S) -> bytes:
    """The bytes at a URL, with a progress bar on a terminal.

    OSError when none arrive for `patience` seconds, when the server refuses, or when more than `size` arrive.
    """

    def pieces() -> Iterator[bytes]:
        with urllib.request.urlopen(url, timeout=patience) as response:
            while piece := response.read1(1 << 16):
                yield piece

    content = bytearray()
    with tqdm(total=size, unit="B", unit_scale=True, desc="download", disable=None, leave=False) as bar:
        try:
            for piece in arriving(pieces, patience, "download"):  # a look-up of the name knows no time-out
                content += piece
                bar.update(len(piece))
                if size is not None and len(content) > size:
                    raise OSError(f"it gave more than the expected {size:,} bytes")
        except Exception as error:
            reason = getattr(error, "reason", None) or error
            raise OSError(" ".join(str(reason).split()) or type(error).__name__) from None
    return bytes(content)
