"""A compiled step is the plain one but for rounding, and where nothing can compile one line says so. Takes minutes on two cores."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from base.storage import ROOT
from runs import folder as run_folder
from tests.test_ranks import numbers, suite_file

pytestmark = pytest.mark.long


def train(folder: Path, *settings: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "train.py"), str(suite_file(folder)), "--condition", "self"]
    command += [word for text in settings for word in ("--set", text)]
    return subprocess.run(
        [*command, "--out", str(folder / "out")],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_a_compiled_run_is_the_plain_one_under_another_key(tmp_path: Path) -> None:
    for compile in ("false", "true"):
        done = train(tmp_path, f"train.compile={compile}")
        assert done.returncode == 0, done.stderr
    logs = {
        run_folder.load_config(run).train.compile: numbers(
            [[*row.values()] for row in run_folder.load_log(run)]
        )
        for run in (tmp_path / "out" / "runs").iterdir()
    }
    assert logs.keys() == {False, True}
    np.testing.assert_allclose(logs[True], logs[False], rtol=1e-3, atol=1e-3)


def test_without_a_compiler_one_line_says_what_to_do(tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")  # nothing compiled earlier is found
    done = train(tmp_path, "train.compile=true", CXX=str(tmp_path / "none"), TORCHINDUCTOR_CACHE_DIR=cache)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: train.compile = true needs a C++ compiler")
