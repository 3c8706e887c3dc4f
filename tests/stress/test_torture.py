"""All parts of the torture, its fast form first, and what it leans on: faults that come where they should."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from base import storage
from base.storage import ROOT
from tests.stress import small_study, torture
from tests.stress.inject import faults
from tests.stress.trials import Part


def tormented(path: Path, *arguments: str) -> list[dict]:
    """What the torture found, in a process of its own: it forks, which one that has trained may not do everywhere."""
    command = [sys.executable, str(Path(torture.__file__)), *arguments, "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert path.exists(), done.stdout + done.stderr
    found = json.loads(path.read_text(encoding="utf-8"))
    assert done.returncode == any(part["wrong"] for part in found)
    return found


def test_a_sample_of_each_part(tmp_path: Path) -> None:
    found = tormented(tmp_path / "found.json", "--fast")
    assert [part["part"] for part in found] == list(torture.FAST)
    assert {part["part"]: part["wrong"] for part in found if part["wrong"]} == {}
    assert all(part["tried"] or "may not mount" in part["notes"][0] for part in found)
    assert not found[0]["notes"][0].startswith("0 runs")  # went on from a checkpoint


@pytest.mark.long
@pytest.mark.parametrize("name", torture.PARTS)
def test_all_of_a_part(tmp_path: Path, name: str) -> None:
    (part,) = tormented(tmp_path / "found.json", "--only", name)
    assert part["wrong"] == []
    assert part["tried"] or "may not mount" in part["notes"][0]


# Faults


def test_a_fault_comes_at_the_operation_it_is_wanted_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.install()
    monkeypatch.setenv(faults.VARIABLE, "write:2:ENOSPC")
    monkeypatch.setattr(faults, "_met", {})
    storage.write_text(tmp_path / "a", "one")
    with pytest.raises(OSError, match="No space left") as caught:
        storage.write_text(tmp_path / "a", "two")
    assert caught.value.errno == errno.ENOSPC
    storage.write_text(tmp_path / "b", "three")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "one", "b": "three"}


WRITES = """
import sys, pathlib
from base import storage
storage.write_text(pathlib.Path(sys.argv[1]), "twelve signs")
"""


def write_elsewhere(path: Path, log: Path, fault: str = "") -> int:
    """Write a file in a process that has the faults of its environment; its exit status."""
    environment = small_study.environment(path.parent, fault, log) | {
        "PYTHONPATH": f"{small_study.INJECT}:{ROOT}"
    }
    command = [sys.executable, "-c", WRITES, str(path)]
    return subprocess.run(command, env=environment, start_new_session=True).returncode


def test_operations_are_counted_through_processes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert [write_elsewhere(tmp_path / name, log) for name in ("a", "b")] == [0, 0]
    lines = log.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["write", "fsync", "rename", "fsync"] * 2
    assert log.stat().st_size == 8 * faults.WIDTH


@pytest.mark.parametrize("what", ["kill", "die"])
def test_a_killed_write_leaves_half(tmp_path: Path, what: str) -> None:
    log = tmp_path / "log"
    assert write_elsewhere(tmp_path / "a", log, f"any:1:{what}") == -9
    (left,) = tmp_path.glob(".a.*.partial")
    assert left.read_text() == "twelve"
    assert (
        write_elsewhere(tmp_path / "a", log, f"rename:3:{what}") == 0
    )  # the log has counted one rename less


# The record of what was tried


def test_trials_that_went_well_are_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.jsonl"
    part = Part("kills", path)
    part.count("one", [], resumed=2)
    part.count("two", ["it differs"])
    Part("errors", path).count("one", [])
    with path.open("a") as file:
        file.write('{"part": "kills", "what": "thr')  # a start that was stopped in the midst of a line
    again = Part("kills", path)
    assert (again.tried, again.over, again.wrong, again.seen["resumed"]) == (1, {"one"}, [], 2)
    again.count("two", [])
    assert Part("kills", path).untried(["one", "two", "three"], str) == ["three"]
    monkeypatch.setattr("tests.stress.trials.code", lambda: "of another state of the code")
    assert Part("kills", path).over == set()
