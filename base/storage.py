"""Every file the project writes, and the hashes it trusts them by.

A file is whole or absent: it is written under a temporary name beside its place, fsynced, and renamed. What a killed
process leaves behind has a dot in front and .partial or .old at the end; `sweep` clears it away. Tensors go through
safetensors, so reading a file never runs code. Arrays here are NumPy's; only callers know torch.
"""

import contextlib
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as safetensors_load
from safetensors.numpy import save as safetensors_save

from base import ROOT as ROOT
from base import machine
from base.errors import UserError

LEFTOVERS = (".partial", ".old")
SEAL = "seal"
MOST_JSON = 20_000_000  # bytes of a JSON file, which may take 25 times as much of memory; the largest here has 2,000,000


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rename(path: Path | str, place: Path) -> None:
    """`os.replace`: one step, over a file that stands there."""
    os.replace(path, place)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _fsync(path.parent)


def copy_file(source: Path, path: Path) -> None:
    """`write_bytes` of what another file holds."""
    write_bytes(path, source.read_bytes())


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there: in one step, so that no part of a folder keeps its name."""
    if path.is_dir() and not path.is_symlink():
        aside = path.with_name(f".{path.name}.{os.urandom(4).hex()}.old")
        os.rename(path, aside)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is what a killed process left of its writing or removing."""
    return name.startswith(".") and name.endswith(LEFTOVERS)


def sweep_of(path: Path) -> None:
    """Remove what killed processes left beside a place of their writing or removing what stands there."""
    if path.parent.is_dir():
        for other in list(path.parent.iterdir()):
            if other.name.startswith(f".{path.name}.") and is_leftover(other.name):
                remove(other)


def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder and below. For a caller who knows that none writes there now."""
    for place, folders, files in os.walk(folder):
        for name in filter(is_leftover, files):
            Path(place, name).unlink(missing_ok=True)
        for name in filter(is_leftover, folders):
            shutil.rmtree(Path(place, name), ignore_errors=True)
        folders[:] = [name for name in folders if not is_leftover(name)]


def write_text(path: Path, content: str) -> None:
    """`write_bytes` of UTF-8 text with Unix line ends."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """`write_text` of indented JSON; infinities and NaN are refused (ValueError), since JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """`write_json` of an object with the hash of its content in it, which `read_json` looks at."""
    write_json(path, {**value, SEAL: _seal(value)})


def _seal(value: Mapping[str, Any]) -> str:
    return hash_json(json.loads(json.dumps({name: part for name, part in value.items() if name != SEAL})))


def read_json(path: Path) -> Any:
    """The value in a JSON file. UserError names a file that is missing, not JSON, or not what was sealed."""
    try:
        if path.exists() and (not path.is_file() or path.stat().st_size > MOST_JSON):
            raise UserError(f"{path} is no JSON file of the project's; delete it and run again")
        value = json.loads(
            path.read_text(encoding="utf-8-sig"),
            parse_float=_finite,
            parse_constant=_finite,
            parse_int=_whole,
        )
        if isinstance(value, dict) and SEAL in value and value[SEAL] != _seal(value):
            raise UserError(f"{path} was changed; delete it and run again")
        return value
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); delete it and run again") from None


def _finite(text: str) -> float:
    """A number of a JSON file. ValueError for one that would be infinite, which no reader here expects."""
    if not math.isfinite(float(text)):
        raise ValueError(f"{text[:20]} is not finite")
    return float(text)


def _whole(text: str) -> int:
    """An integer of a JSON file. ValueError for one of more digits than a hundred, which would be no float either."""
    if len(text) > 100:
        raise ValueError(f"{text[:20]}... has {len(text)} digits")
    return int(text)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary sibling of `path` to fill; it takes the name `path` on success and vanishes on error.

    Whatever stood at `path` is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    try:
        yield temporary
        for entry in sorted(temporary.rglob("*")):
            _fsync(entry)
        _fsync(temporary)
        os.chmod(temporary, 0o755)
        if path.exists():
            old = temporary.with_suffix(".old")
            rename(path, old)
            try:
                rename(temporary, path)
            except BaseException:
                os.rename(old, path)
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            rename(temporary, path)
        _fsync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as one safetensors file, names sorted, so that equal values give equal bytes."""
    ordered = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    write_bytes(path, safetensors_save(ordered))


def load_tensors(path: Path) -> dict[str, np.ndarray]:
    """The named arrays of a safetensors file. UserError where it is missing, not whole, or too large for the memory."""
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no file; delete it and run again")
        machine.check(2 * path.stat().st_size, f"to read {path} takes", "delete it and run again")
        return safetensors_load(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (SafetensorError, KeyError, TypeError, ValueError) as error:  # KeyError: a type that NumPy lacks
        raise UserError(
            f"{path} is not a whole safetensors file ({error}); delete it and run again"
        ) from None


def sha256_bytes(content: bytes) -> str:
    """The hexadecimal SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON: sorted keys, no spaces."""
    return sha256_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())
