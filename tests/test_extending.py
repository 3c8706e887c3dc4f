"""docs/EXTENDING.md is followed to the letter: its two files make a table, a finding, a figure and a page, and go again."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from base import ROOT
from experiments.kit.pages import render
from experiments.kit.runs import Context
from tests.made_runs import context, drawn_of, made_run, make_tables, read_from, title_of

RUNS = pd.DataFrame(
    [("shakespeare", name, seed, f"{name}{seed}", 6, 1.0, 2.0, "float32", "tiny", 1e5) for name in ("self", "vanilla") for seed in (1, 2, 3)],
    columns=["suite", "condition", "seed", "key", "steps", "seconds", "heldout_loss", "dtype", "corpus", "parameters"],
)  # fmt: skip
BLOCKS = dict(zip(("py", "md"), re.findall(r"```(?:python)?\n(.*?)```", (ROOT / "docs" / "EXTENDING.md").read_text(), re.S), strict=True))  # fmt: skip


@pytest.fixture
def hello(tmp_path: Path) -> Iterator[ModuleType]:
    for ending, text in BLOCKS.items():
        (tmp_path / f"hello.{ending}").write_text(text)
    spec = importlib.util.spec_from_file_location("hello", tmp_path / "hello.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["hello"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["hello"]


def test_the_story_of_extending(hello: ModuleType, tmp_path: Path) -> None:
    suite = context([made_run("self", 1, pd.DataFrame(), None)]).suite
    runs = [
        made_run(condition, seed, pd.DataFrame({"regime": ["calm"] * (4 + seed) + ["bewilderment"]}), None)
        for condition in ("self", "vanilla")
        for seed in (1, 2, 3)
    ]
    made = make_tables(hello.EXPERIMENT.of("shakespeare"), Context(suite, runs))
    assert list(made["calm_steps"]["calm"]) == [5, 6, 7] * 2
    tables = read_from(tmp_path / "tables", "shakespeare", {**made, "runs": RUNS})
    assert hello.findings(tables)["calm"].verdict == "clear"
    assert title_of(drawn_of(hello.EXPERIMENT.figures[0], tmp_path / "tables", made)).startswith(
        "Some steps are calm."
    )
    page = render(hello.EXPERIMENT, tables, "figures", folder=tmp_path)
    assert (
        "| `self`: with a self-state | 6 [4, 8] | 3 |" in page and "![Calm steps](figures/hello.png)" in page
    )
