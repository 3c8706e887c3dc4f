"""With every socket blocked in all its processes, each script of the project does its work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from base import storage
from base.storage import ROOT
from tests.least import TEXT
from tests.stress.inject import offline
from tests.stress.small_study import INJECT
from tests.tiny_study import SUITE

REACH = """
import socket, urllib.request
for reach in (lambda: urllib.request.urlopen("http://example.org"), lambda: socket.socket().connect(("127.0.0.1", 80))):
    try:
        reach()
    except OSError as error:
        assert "the network is blocked" in str(error)
    else:
        raise AssertionError
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a suite and its text."""
    place = tmp_path_factory.mktemp("offline")
    (place / "tiny.toml").write_text(SUITE)
    (place / "reach.py").write_text(REACH)
    storage.write_text(place / "texts" / "tiny_text" / "input.txt", TEXT)
    return place


def blocked(folder: Path, script: str, *arguments: str) -> tuple[subprocess.CompletedProcess[str], bool]:
    """A script of the project with its network blocked; how it ended, and whether it tried to reach anything."""
    log = folder / "blocked.log"
    log.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "INTEROCEPTION_DATA": str(folder / "texts"),
        "TIKTOKEN_CACHE_DIR": str(folder / "vocabularies"),
        "PYTHONPATH": str(INJECT),
        offline.LOG: str(log),
    }
    command = [sys.executable, str(ROOT / script), *arguments]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return ended, log.exists()


def test_the_block_blocks(folder: Path) -> None:
    ended, tried = blocked(folder, str(folder / "reach.py"))
    assert ended.returncode == 0 and tried, ended.stderr


@pytest.mark.long
def test_no_script_needs_the_network(folder: Path) -> None:
    study = ("scripts/run_all.py", "--config", "tiny.toml", "--jobs", "1")
    run = "out/tiny/self/seed-1"
    small = [
        f"probe.frozen.{name}=1" for name in ("finder_batches", "heldout_batches", "top", "placebo_draws")
    ]
    settings = [word for text in small for word in ("--set", text)]
    for script, *arguments in (
        study,
        study,
        (*study, "--status"),
        ("train.py", "tiny.toml", "--condition", "self"),
        ("scripts/sample.py", run, "--prompt", "To", "--length", "5"),
        ("frozen_test.py", run, *settings),
        ("scripts/steer.py", run, "find"),
        ("scripts/make_report.py", "--figures"),
        ("data/pydoc_char/prepare.py", "--out", "out/data"),
        ("data/pydoc_char/prepare.py", "--out", "out/data", "--tokenizer", "bpe:300"),
    ):
        ended, tried = blocked(folder, script, *arguments)
        assert ended.returncode == 0 and ended.stderr == "" and not tried, (script, ended.stderr)
