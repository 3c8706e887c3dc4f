"""What code does as hashes: what an edit changes, what it does not, and the same under every version of Python."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from base import ROOT, code
from base.code import Place

FILES = {
    "science.py": '''"""Words."""
import numpy as np
import tools
from tools import SCALE as factor, Kind
from pack import part
"""More words."""
LIMIT = 3.5

def main_result(kind: Kind, names: "list[part.Row]", limit=LIMIT):
    """What it is."""
    from pack.late import late
    tools = 2 if limit else factor

    def inner(x):
        return np.sum([late(y) for y in x if y != LIMIT]) + tools
    return f"a{limit!r:>{tools}} b" "c" f"{kind.go()=}" + inner([1]) + part.row(1)

def other():
    return tools.unused()

if __name__ == "__main__":
    print(other())
''',
    "tools.py": '''SCALE = 2
TABLE = {}
TABLE["a"] = 1
class Kind:
    def go(self):
        return helper()
def helper(): return TABLE
def unused(): return 4
''',
    "pack/__init__.py": "",
    "pack/part.py": '''class Row:
    size: int = 1
def row(x): return x + count()
def count():
    global _met
    _met = 1
    return _met
_met = 0
''',
    "pack/late.py": "def late(y): return (lambda z: z * WEIGHT)(y)\nWEIGHT = 1e-3\n",
}  # fmt: skip
MAIN = Place("science", "main_result")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def of(project: Path, *roots: Place) -> dict[str, str]:
    for cached in (code.module, code._told):
        cached.cache_clear()
    return code.of(*(roots or (MAIN,)), root=project)


def test_all_that_a_function_reaches_and_no_more(project: Path) -> None:
    reached = {place.name for place in code.reached([MAIN], project)}
    assert reached == {
        *("main_result", "LIMIT", "SCALE", "Kind", "helper", "TABLE", "Row", "row", "count", "_met", "late", "WEIGHT"),
        code.LOOSE,  # TABLE["a"] = 1
    }  # fmt: skip
    assert set(of(project, Place("science", "other"))) == {"other", "unused", code.LOOSE, "TABLE"}
    with pytest.raises(KeyError, match="no_such"):
        of(project, Place("science", "no_such"))


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("science.py", "LIMIT = 3.5", "LIMIT = 3.50  # a comment", set()),
        ("science.py", '"""What it is."""', '"""Other words."""', set()),
        ("science.py", '"""More words."""', "", set()),
        ("science.py", "limit=LIMIT", "limit: float = LIMIT", set()),
        ("science.py", "print(other())", "print(1)", set()),
        ("science.py", "return tools.unused()", "return 1", set()),
        ("tools.py", "return 4", "return 5", set()),
        ("science.py", "LIMIT = 3.5", "LIMIT = 3", {"LIMIT"}),
        ("science.py", "y != LIMIT", "y < LIMIT", {"main_result"}),
        ("science.py", '} b"', '} B"', {"main_result"}),
        ("tools.py", "return TABLE", "return dict(TABLE)", {"helper"}),
        ("tools.py", 'TABLE["a"] = 1', 'TABLE["a"] = 2', {code.LOOSE}),
        ("pack/part.py", "size: int = 1", "size: int = 2", {"Row"}),
        ("pack/late.py", "1e-3", "1e-4", {"WEIGHT"}),
        ("pack/part.py", "_met = 1", "_met = 2", {"count"}),
    ],
)
def test_an_edit_changes_what_does_something_else(
    project: Path, file: str, old: str, new: str, changed: set[str]
) -> None:
    before = of(project)
    text = (project / file).read_text()
    assert text.count(old) >= 1
    (project / file).write_text(text.replace(old, new, 1))
    after = of(project)
    assert set(before) == set(after)
    assert {name for name in before if before[name] != after[name]} == changed


def test_a_definition_that_moves_stays_what_it_is(project: Path) -> None:
    before = of(project)
    late = (project / "pack" / "late.py").read_text()
    (project / "pack" / "part.py").write_text((project / "pack" / "part.py").read_text() + late)
    (project / "tools.py").rename(project / "pack" / "instruments.py")
    text = (project / "science.py").read_text()
    text = text.replace("from pack.late import late", "from pack.part import late as late")
    text = text.replace("import tools\nfrom tools import SCALE as factor, Kind", "from pack import instruments as tools\n"
                        "from pack.instruments import Kind as Kind, SCALE as factor")  # fmt: skip
    (project / "science.py").write_text(text)
    assert of(project) == before


KEYS = ROOT / "tests" / "code_keys.json"


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_the_hashes_are_the_same_under_every_python(project: Path, version: str) -> None:
    """Against stored ones, by whichever of these versions are on the machine; this one always."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}" == version
    python = sys.executable if here else shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "--version"], capture_output=True).returncode:
        pytest.skip(f"no Python {version} here")
    script = (
        "import json, sys; from pathlib import Path; from base import code; "
        "print(json.dumps(code.of(code.Place('science', 'main_result'), root=Path(sys.argv[1]))))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [python, "-c", script, str(project)], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == json.loads(KEYS.read_text())


def test_what_carries_is_not_followed_and_what_decides_is() -> None:
    reached = {place.module for place in code.reached([Place("train", "train")])}
    assert {
        "train",
        "model",
        "self_state",
        "memory",
        "perturb",
        "runs.state",
        "base.rng",
        "data.corpus",
    } <= reached
    assert not any(code.carries(name) for name in reached)
    without = code.reached([Place("train", "train")], without=frozenset({"memory"}))
    assert {place.module for place in without} == reached - {"memory"}
