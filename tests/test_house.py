"""The house: what may import what, no circle, no file at the root that is not one of the seven, no star."""

import ast
import graphlib
from pathlib import Path

import pytest

from base import ROOT

ORDER = (
    {"base"},
    {"configs"},
    {"data"},
    {"model", "memory"},
    {"self_state"},
    {"channels"},
    {"perturb"},
    {"runs"},
    {"probes", "train"},
    {"frozen_test"},
    {"experiments"},
    {"study"},
    {"scripts"},
)
"""From below to above: each may import what stands before it, and its own."""
SCIENCE = {"model", "self_state", "memory", "channels", "perturb", "train", "frozen_test"}
PRODUCT = sorted(
    path
    for path in ROOT.rglob("*.py")
    if not {"tests", "out", ".venv", ".tools", "build"} & set(path.relative_to(ROOT).parts)
)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in PRODUCT}


def imports(path: Path) -> set[str]:
    """The project's modules that a file imports, anywhere in it, by the longest name that is a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            assert "*" not in {alias.name for alias in node.names}, f"{path}: a star import"
        for name in names:
            while name and name not in MODULES:
                name = name.rpartition(".")[0]
            found |= {name} if name else set()
    return found


def part(module: str) -> str:
    return module.split(".")[0]


def test_the_root_holds_the_science_and_nothing_else() -> None:
    assert {path.stem for path in ROOT.glob("*.py")} == SCIENCE


def test_imports_run_one_way() -> None:
    level = {name: number for number, names in enumerate(ORDER) for name in names}
    wrong = [
        f"{module} imports {other}"
        for module, path in MODULES.items()
        for other in imports(path)
        if part(other) != part(module) and level[part(other)] >= level[part(module)]
    ]
    assert wrong == []


def test_no_module_imports_itself_through_others() -> None:
    graphlib.TopologicalSorter(
        {module: imports(path) - {module} for module, path in MODULES.items()}
    ).prepare()


@pytest.mark.parametrize(
    ("who", "never"),
    [
        ("base", SCIENCE | {"configs", "data", "runs", "probes", "experiments", "study"}),
        ("experiments.kit", {"torch", "study", "train"} | {"experiments.claims"}),
        ("model", {"configs.suite", "data", "self_state", "perturb", "train"}),
    ],
)
def test_what_is_never_imported(who: str, never: set[str]) -> None:
    for module, path in MODULES.items():
        if module == who or module.startswith(f"{who}."):
            text = ast.parse(path.read_text(encoding="utf-8"))
            named = {
                alias.name for node in ast.walk(text) if isinstance(node, ast.Import) for alias in node.names
            }
            named |= {node.module or "" for node in ast.walk(text) if isinstance(node, ast.ImportFrom)}
            found = {name for name in named for one in never if name == one or name.startswith(f"{one}.")}
            assert not found, f"{path} imports {found}"


def test_each_package_says_what_it_is_in_one_sentence() -> None:
    for path in PRODUCT:
        if path.name == "__init__.py":
            told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
            assert told and told.endswith(".") and "\n\n" not in told, path


def test_every_text_is_read_and_written_as_utf_8() -> None:
    """Ruff's PLW1514 sees only what it knows to be a path."""
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            others = isinstance(node.func.value, ast.Name) and node.func.value.id in ("storage", "os", "gzip")
            if node.func.attr not in ("read_text", "open", "write_text") or others:
                continue
            how = [word.arg for word in node.keywords]
            modes = [one.value for one in node.args if isinstance(one, ast.Constant)]
            binary = any(isinstance(mode, str) and "b" in mode for mode in modes)
            assert "encoding" in how or binary, f"{path}, line {node.lineno}"
