"""What the project's code does, by the hashes of base/code.py, kept from one command to the next: to find them, every file's
syntax tree is read, which is most of what a study with nothing to do waits for.

They are kept beside the code, in a file that is never committed, and hold only while every Python file is as it was.
"""

import atexit
import contextlib
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

from base import ROOT, code, storage
from base.code import Place
from base.errors import UserError

KEPT = ROOT / ".code_hashes.json"


def of(*roots: Place, without: Collection[str] = ()) -> dict[str, str]:
    """`code.of` of the project."""
    known = _known()
    asked = " ".join(
        [*(f"{place.module}:{place.name}" for place in roots), *(f"-{name}" for name in sorted(without))]
    )
    if asked not in known:
        known[asked] = code.of(*roots, without=without)
        _keep_at_the_end()
    return known[asked]


def sources() -> Iterator[Path]:
    """The Python files of the project that one of them may import: beside its packages, and in them."""
    yield from sorted(ROOT.glob("*.py"))
    for package in sorted(ROOT.glob("*/__init__.py")):
        yield from sorted(package.parent.rglob("*.py"))


def _hash() -> str:
    """Of all the project's Python files, by name."""
    return storage.hash_json(
        {path.relative_to(ROOT).as_posix(): storage.sha256_file(path) for path in sources()}
    )


_stood = cache(_hash)  # before the first of them was read


@cache
def _known() -> dict[str, dict[str, str]]:
    """What is known of the code as it stands, by what was asked; new answers are added."""
    with contextlib.suppress(UserError):
        kept = storage.read_json(KEPT)
        if isinstance(kept, dict) and kept.get("code") == _stood():
            return kept["hashes"]
    return {}


@cache
def _keep_at_the_end() -> None:
    def keep() -> None:
        with contextlib.suppress(OSError):  # a folder that may not be written to
            if _hash() == _stood():  # nobody wrote in it while it was read
                storage.write_sealed(KEPT, {"code": _stood(), "hashes": _known()})

    atexit.register(keep)
