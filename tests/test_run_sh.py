"""run.sh, with a stand-in for pipenv: when it sets a clone up, what it leaves alone, and where a command runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from base.storage import ROOT
from tests.files import put

PIPENV = """#!/bin/sh
case $1 in
    --version) ;;
    --python)
        mkdir -p .venv/bin && ln -s "$2" .venv/bin/python
        echo "${PIP_USER:-}${PIP_TARGET:-}${PYTHONHOME:-}" >>installed ;;
    run) shift; exec "$@" ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in ("run.sh", "Pipfile"):
        shutil.copy(ROOT / name, folder / name)
    put(folder / ".tools" / "pipenv" / "bin" / "pipenv", PIPENV).chmod(0o755)
    return folder


def run(script: Path, *command: str, cwd: Path | None = None, **settings: str) -> str:
    done = subprocess.run(
        [str(script), *command], cwd=cwd, capture_output=True, text=True,
        env={**os.environ, "PYTHON": sys.executable, **settings},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def installed(clone: Path) -> list[str]:
    """What each set-up saw of the settings for other projects."""
    return (clone / "installed").read_text().splitlines()


def test_a_clone_is_set_up_once_and_hears_no_other_project_s_settings(clone: Path) -> None:
    for _ in range(2):
        run(clone / "run.sh", "true", PIP_USER="1", PIP_TARGET="/nowhere")
    assert installed(clone) == [""]


def test_a_clone_that_moved_or_lost_its_python_or_changed_its_packages_is_set_up_again(clone: Path) -> None:
    run(clone / "run.sh", "true")
    moved = clone.rename(clone.with_name("moved"))
    run(moved / "run.sh", "true")
    assert len(installed(moved)) == 2
    (moved / ".venv" / "bin" / "python").unlink()
    run(moved / "run.sh", "true")
    assert len(installed(moved)) == 3
    with (moved / "Pipfile").open("a") as file:
        file.write("# another\n")
    run(moved / "run.sh", "true")
    assert len(installed(moved)) == 4


def test_an_environment_that_is_a_link_to_another_clone_s_is_left_whole(clone: Path) -> None:
    run(clone / "run.sh", "true")
    other = shutil.copytree(clone, clone.with_name("other"), symlinks=True)
    shutil.rmtree(other / ".venv")
    (other / ".venv").symlink_to(clone / ".venv")
    run(other / "run.sh", "true")
    assert (clone / ".venv" / ".made-from").is_file() and not (other / ".venv").is_symlink()


def test_paths_are_the_caller_s_through_a_link_too(clone: Path, tmp_path: Path) -> None:
    (place := tmp_path / "bin").mkdir()
    (place / "study").symlink_to("../clone/run.sh")
    assert run(place / "study", "pwd", cwd=place) == str(place)
    assert not (place / ".venv").exists() and installed(clone) == [""]
    path = run(place / "study", "sh", "-c", "echo $PYTHONPATH", cwd=place, PYTHONPATH="/mine")
    assert path == f"{clone}:/mine"
