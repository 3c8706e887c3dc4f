"""Files that tests put somewhere, and what lies there afterwards."""

import shutil
from pathlib import Path

from base.storage import ROOT


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def files(folder: Path) -> set[str]:
    """All files below a folder, relative to it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def clone(root: Path) -> Path:
    """A copy of the code that prepares corpora, as a fresh clone has it."""
    left_out = shutil.ignore_patterns("*.txt", "*.bin", "*.json", "__pycache__")
    for name in ("base", "data"):
        shutil.copytree(ROOT / name, root / name, ignore=left_out)
    return root
