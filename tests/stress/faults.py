"""Faults on purpose, for tests: a kill or an error at one chosen write, fsync, rename or removal of storage.py.

$INTEROCEPTION_FAULT says which, as `<operation>:<number>:<what>`; unset, nothing here does anything. Operation: write,
fsync, rename, remove or any. Number: the how-manieth, from 1; with a + behind it, that one and all that follow. What:
kill (SIGKILL to the whole process group), die (to this process alone), or the name of an error, as ENOSPC.
$INTEROCEPTION_FAULT_LOG names a file that gets a line for each operation met, and counts them through all processes.
"""

import errno
import os
import signal
from functools import cache
from pathlib import Path
from typing import BinaryIO

VARIABLE, LOG = "INTEROCEPTION_FAULT", "INTEROCEPTION_FAULT_LOG"
WIDTH = 256  # bytes of a line of the log, so that its size tells how many there are

_met: dict[str, int] = {}  # operations of this process, by kind


@cache
def _wanted(text: str) -> tuple[str, int, bool, str]:
    operation, number, what = text.split(":")
    return operation, int(number.rstrip("+")), number.endswith("+"), what


def due(operation: str, path: Path) -> str | None:
    """Count an operation that is about to happen. What is to go wrong with it, or None."""
    wanted, log = os.environ.get(VARIABLE), os.environ.get(LOG)
    if not wanted and not log:
        return None
    name, first, lasting, what = _wanted(wanted or "any:0:")
    if name not in ("any", operation):
        return None
    if log:
        number = _logged(log, f"{operation} {path}")
    else:
        number = _met[name] = _met.get(name, 0) + 1
    return what if first and (number == first or (lasting and number > first)) else None


def _logged(log: str, line: str) -> int:
    """Append a line of WIDTH bytes; which line of the file it is, from 1."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, line.encode(errors="replace")[: WIDTH - 1].ljust(WIDTH - 1) + b"\n")
        return os.lseek(handle, 0, os.SEEK_CUR) // WIDTH
    finally:
        os.close(handle)


def happen(what: str, path: Path) -> None:
    """Die, or raise the OSError that `what` names."""
    if what == "kill":
        os.killpg(0, signal.SIGKILL)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    number = getattr(errno, what)
    raise OSError(number, os.strerror(number), str(path))


def point(operation: str, path: Path) -> None:
    """To be called before each operation of the storage layer."""
    what = due(operation, path)
    if what is not None:
        happen(what, path)


def write(file: BinaryIO, content: bytes, path: Path) -> None:
    """`file.write(content)`; one that goes wrong leaves the first half in the file."""
    what = due("write", path)
    if what is not None:
        file.write(content[: len(content) // 2])
        file.flush()
        happen(what, path)
    file.write(content)
