"""Faults on purpose: a kill or an error at one chosen write, fsync, rename or removal of base/storage.py.

That file knows nothing of it. `install` wraps what it calls (os.fsync, os.replace, shutil.rmtree, ...), for calls from
there alone; a process that starts with this folder on PYTHONPATH has it installed, and so have its worker processes.

$INTEROCEPTION_FAULT says what happens, as `<operation>:<number>:<what>`; unset, nothing does. Operation: write, fsync,
rename, remove or any. Number: the how-manieth, from 1; with a + behind it, that one and all that follow. What: kill
(SIGKILL to the whole process group), die (to this process alone), or the name of an error, as ENOSPC. A write that goes
wrong leaves the first half in the file. $INTEROCEPTION_FAULT_LOG names a file that gets a line for each operation met,
and counts them through all processes.
"""

import errno
import functools
import io
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

VARIABLE, LOG = "INTEROCEPTION_FAULT", "INTEROCEPTION_FAULT_LOG"
WIDTH = 256  # bytes of a line of the log, so that its size tells how many there are
STORAGE = "base.storage"

_met: dict[str, int] = {}  # operations of this process, by kind


def meet(operation: str, place: str, half: Callable[[], object] = lambda: None) -> None:
    """An operation is about to happen: count it; where it is the one to go wrong, do `half` of it, and die or raise."""
    wanted, log = os.environ.get(VARIABLE), os.environ.get(LOG)
    if not wanted and not log:
        return
    name, number, what = (wanted or "any:0:").split(":")
    if name not in ("any", operation):
        return
    if log:
        met = _logged(log, f"{operation} {place}")
    else:
        met = _met[name] = _met.get(name, 0) + 1
    first = int(number.rstrip("+"))
    if first and (met == first or (number.endswith("+") and met > first)):
        half()
        if what == "kill":
            os.killpg(0, signal.SIGKILL)
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(getattr(errno, what), os.strerror(getattr(errno, what)), place)


def _logged(log: str, line: str) -> int:
    """Append a line of WIDTH bytes; which line of the file it is, from 1."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, line.encode(errors="replace")[: WIDTH - 1].ljust(WIDTH - 1) + b"\n")
        return os.lseek(handle, 0, os.SEEK_CUR) // WIDTH
    finally:
        os.close(handle)


class _Watched(io.BufferedWriter):
    """A file of storage's, whose writes are met."""

    def write(self, content: Any, /) -> int:
        half = functools.partial(os.pwrite, self.fileno(), content[: len(content) // 2], 0)
        meet("write", _place(self.fileno()), half)
        return super().write(content)


def _place(handle: int) -> str:
    """The path of an open file, where the system tells."""
    try:
        return os.readlink(f"/proc/self/fd/{handle}")
    except OSError:
        return f"file {handle}"


def install() -> None:
    """Let what base/storage.py does in this process be met."""
    _wrap(os, "fsync", "fsync", _place)
    _wrap(os, "replace", "rename", lambda _, place: place)
    _wrap(os, "rename", "rename", lambda _, place: place)
    _wrap(Path, "unlink", "remove", lambda path: path)
    _wrap(shutil, "rmtree", "remove", lambda path: path)
    fdopen = os.fdopen

    def opened(handle: int, *more: Any, **named: Any) -> Any:
        if _caller() == STORAGE:
            return _Watched(io.FileIO(handle, "wb"))
        return fdopen(handle, *more, **named)

    setattr(os, "fdopen", opened)  # noqa: B010 - os.fdopen is overloaded


def _wrap(owner: Any, name: str, operation: str, place: Callable[..., object]) -> None:
    real = getattr(owner, name)

    @functools.wraps(real)
    def met(*given: Any, **named: Any) -> Any:
        if _caller() == STORAGE:
            try:
                meet(operation, str(place(*given)))
            except OSError:
                if named.get("ignore_errors"):
                    return None
                raise
        return real(*given, **named)

    setattr(owner, name, met)


def _caller() -> Any:
    """The module from which the function that asks was called."""
    return sys._getframe(2).f_globals.get("__name__")
