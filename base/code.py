"""Which files of code a task's numbers depend on: what its module imports, and what those import in turn.

Found by reading the import statements, so that no list can fall behind the code. What a training run depends on is
said by run_folder.CODE instead.
"""

import ast
from functools import cache
from pathlib import Path

from base import storage
from base.storage import ROOT

ROOTS = {
    "frozen": ("frozen_test.py",),
    "belief": ("probes/belief.py",),
    "tables": ("analysis",),
    "figures": ("plots",),
    "report": ("reports",),
}
PLUMBING = frozenset(
    {
        "base/command_line.py", "base/errors.py", "base/machine.py", "base/storage.py", "base/code.py",
        "data/documents.py", "data/prepare.py", "data/pydoc_text.py", "data/sources.py", "data/tokenizers.py",
        "configs/size.py", "configs/suite.py", "configs/toml_file.py", "configs/run.py", "configs/state.py", "configs/world.py", "configs/fields.py",
        "study/plan.py", "study/refresh.py", "study/worker.py",
    }
)  # fmt: skip
"""Files that can't change a number: their values reach a task through its config and its inputs, which are hashed."""

SEEN_THROUGH = frozenset({"runs/folder.py"})
"""Files that only carry weights and configs, which are hashed; what they import counts, they do not."""


@cache
def of(kind: str, root: Path = ROOT) -> dict[str, str]:
    """Path relative to the root -> hash of what the file does, for a kind of ROOTS."""
    waiting: list[Path] = []
    for start in ROOTS[kind]:
        path = root / start
        waiting += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    found: dict[str, str] = {}
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        name = path.relative_to(root).as_posix()
        if name in seen or name in PLUMBING or not path.is_file():
            continue
        seen.add(name)
        if name not in SEEN_THROUGH:
            found[name] = storage.code_hash([path])
        waiting += imports(path, root)
    return dict(sorted(found.items()))


def imports(path: Path, root: Path) -> list[Path]:
    """The files below `root` that a file imports, anywhere in it."""
    places = [root / module.replace(".", "/") for module in _modules(path.read_text())]
    return [
        file
        for place in places
        for file in (place.with_suffix(".py"), place / "__init__.py")
        if file.is_file()
    ]


@cache
def _modules(source: str) -> list[str]:
    """What the import statements of a file name, sorted; with `from a import b`, `a` and `a.b`."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return sorted(modules)
