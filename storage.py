"""Every file the project writes, and the hashes it trusts them by.

A file is whole or absent: it is written under a temporary name beside its place, fsynced, and renamed. Tensors go
through safetensors, so reading a file never runs code. Arrays here are NumPy's; only callers know torch.
"""

import ast
import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as safetensors_load
from safetensors.numpy import save as safetensors_save


class UserError(Exception):
    """Something that the user can mend. Its text is one line: what is wrong, where, and what to do."""


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _fsync(path.parent)


def write_text(path: Path, content: str) -> None:
    """`write_bytes` of UTF-8 text with Unix line ends."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """`write_text` of indented JSON; infinities and NaN are refused (ValueError), since JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file. UserError names a file that is missing or not JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); delete it and run again") from None


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
            os.rename(path, old)
            os.rename(temporary, path)
            shutil.rmtree(old)
        else:
            os.rename(temporary, path)
        _fsync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as one safetensors file, names sorted, so that equal values give equal bytes."""
    ordered = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    write_bytes(path, safetensors_save(ordered))


def load_tensors(path: Path) -> dict[str, np.ndarray]:
    """The named arrays of a safetensors file. UserError where it is missing or not whole."""
    try:
        return safetensors_load(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except SafetensorError as error:
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


def code_hash(paths: Iterable[Path]) -> str:
    """SHA-256 of what Python files do: their syntax trees without comments, layout and docstrings.

    So a better sentence in a docstring does not make hours of results stale, while any change that could
    change a number does. Hashed in the order of file names.
    """
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.as_posix()):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0] if node.body else None
                text = first.value if isinstance(first, ast.Expr) else None
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    node.body = node.body[1:]
        digest.update(path.name.encode() + b"\0" + ast.dump(tree).encode() + b"\0")
    return digest.hexdigest()
