"""The fast part of scripts/torture.py, and the pieces that it leans on. The long part: python scripts/torture.py"""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base import storage
from base.storage import ROOT, UserError
from runs import folder as run_folder
from study import freshness
from study import request as studies
from study import worker as work
from study.plan import Task
from tests.stress import faults, torture
from tests.stress.torture_record import Part, Record

SCRIPT = ROOT / "tests" / "stress" / "torture.py"


# The fast part, in a process of its own: it forks, which a process that has trained may not do everywhere


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    path = tmp_path_factory.mktemp("torture") / "found.json"
    command = [sys.executable, str(SCRIPT), "--fast", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert path.exists(), done.stdout + done.stderr
    return {part["part"]: part for part in json.loads(path.read_text())}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("name", torture.IN_TESTS)
def test_torture(found: dict[str, dict[str, Any]], name: str) -> None:
    part = found[name]
    assert part["wrong"] == []
    assert part["tried"] > 0 or "may not mount" in part["notes"][0]
    if name == "kills":
        assert any(not note.startswith("0 runs") for note in part["notes"])


def test_a_fault_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(faults.VARIABLE, "write:2:ENOSPC")
    monkeypatch.setattr(faults, "_met", {})
    storage.write_text(tmp_path / "a", "one")
    with pytest.raises(OSError, match="No space left") as caught:
        storage.write_text(tmp_path / "a", "two")
    assert caught.value.errno == errno.ENOSPC
    storage.write_text(tmp_path / "b", "three")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "one", "b": "three"}


def test_operations_are_counted_through_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv(faults.LOG, str(log))
    code = "import sys, pathlib, storage; storage.write_text(pathlib.Path(sys.argv[1]), 'x')"
    for name in ("a", "b"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True, cwd=ROOT)
    lines = log.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["write", "fsync", "rename", "fsync"] * 2
    assert log.stat().st_size == 8 * faults.WIDTH


# Storage


def test_what_was_killed_is_swept_away(tmp_path: Path) -> None:
    for name in (".a.csv.x1.partial", "deep/.b.x2.partial", "deep/kept.partial", ".hidden"):
        storage.write_text(tmp_path / name, "")
    storage.write_text(tmp_path / ".run.x3.old" / "model", "")
    storage.sweep(tmp_path)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert left == [".hidden", "deep", "deep/kept.partial"]


def test_a_start_sweeps_the_output_folder_and_its_own_files_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in (".run_card.json.x1.partial", "made/.a.json.x2.partial", ".mine.partial", "run_card.json"):
        storage.write_text(out / name, "")
    with studies.locked(out):
        left = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert left == [".lock", ".mine.partial", "run_card.json"]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_text(tmp_path / "run" / "a", "old")
    monkeypatch.setenv(
        faults.VARIABLE, "rename:3:ENOSPC"
    )  # after that of the file and that of the old folder
    monkeypatch.setattr(faults, "_met", {})
    with pytest.raises(OSError, match="No space left"), storage.whole_folder(tmp_path / "run") as folder:
        storage.write_text(folder / "a", "new")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["run", "run/a"]
    assert (tmp_path / "run" / "a").read_text() == "old"


@pytest.mark.parametrize("at", range(0, 60, 3))
def test_a_sealed_record_is_refused_when_changed(tmp_path: Path, at: int) -> None:
    path = tmp_path / "run.json"
    value = {"bytes_per_token": 1.5, "step": 40, "files": {"a": "b"}}
    storage.write_sealed(path, value)
    assert {name: part for name, part in storage.read_json(path).items() if name != storage.SEAL} == value
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1
    path.write_bytes(content)
    try:
        found = storage.read_json(path)
    except UserError:
        return
    found.pop(storage.SEAL, None)
    assert {
        name: part for name, part in found.items() if name in value
    } == value  # blank space, or the seal's name


# Runs


def checkpoint(work: Path, step: int) -> None:
    run_folder.save_checkpoint(work, "k" * 64, step, {"a": np.arange(step)}, "step\n")


def test_weights_put_aside_belong_to_a_checkpoint(tmp_path: Path) -> None:
    checkpoint(tmp_path, 1)
    storage.write_text(tmp_path / "model-step2.safetensors", "weights")
    checkpoint(tmp_path, 3)
    newest = run_folder.load_checkpoint(tmp_path, "k" * 64)
    assert newest is not None and newest[0] == 3
    storage.write_text(tmp_path / "model-step2.safetensors", "WEIGHTS")
    older = run_folder.load_checkpoint(tmp_path, "k" * 64)
    assert older is not None and older[0] == 1
    (wrong,) = run_folder.drop_damaged(tmp_path, "k" * 64)
    assert "model-step2.safetensors" in wrong
    assert [path.name for path in sorted(tmp_path.glob("step-*"))] == ["step-00000001"]


def test_a_checkpoint_of_another_step_is_passed_over(tmp_path: Path) -> None:
    checkpoint(tmp_path, 1)
    checkpoint(tmp_path, 3)
    path = tmp_path / "step-00000003" / "checkpoint.json"
    path.write_text(path.read_text().replace('"step": 3', '"step": 2'))
    found = run_folder.load_checkpoint(tmp_path, "k" * 64)
    assert found is not None and found[0] == 1


def test_leftovers_of_runs_go_and_runs_in_progress_stay(tmp_path: Path) -> None:
    done, going = "a" * 16, "b" * 16
    storage.write_text(tmp_path / done / "run.json", "{}")
    storage.write_text(tmp_path / f".{done}.work" / "lock", "")
    storage.write_text(tmp_path / f".{done}.x1.old" / "run.json", "{}")
    with run_folder.work_folder(tmp_path, going):
        storage.write_text(tmp_path / f".{going}.x2.partial" / "model", "")
        run_folder.sweep(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            f".{going}.work",
            f".{going}.x2.partial",
            done,
        ]
    run_folder.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".{going}.work", done]


def test_a_run_clears_away_what_a_killed_worker_left_of_it(tmp_path: Path) -> None:
    going, other = "b" * 16, "c" * 16
    for key in (going, other):
        storage.write_text(tmp_path / f".{key}.x1.partial" / "model", "")
    with run_folder.work_folder(tmp_path, going):
        assert sorted(path.name for path in tmp_path.iterdir()) == [f".{going}.work", f".{other}.x1.partial"]


def test_a_second_try_clears_away_what_the_first_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = tmp_path / "tables" / "tiny"
    for path in (tables / ".a.csv.x1.partial", tmp_path / "made" / ".tables-tiny.json.x2.partial"):
        storage.write_text(path, "")
    storage.write_text(
        tmp_path / "made" / ".tables-other.json.x3.partial", ""
    )  # another worker is writing it
    (tmp_path / "logs").mkdir()
    monkeypatch.setitem(work._KINDS, "tables", lambda *_: None)
    task = Task("tables", "tables tiny", ("figures",), "k", {}, (), tables)
    assert work.perform(task, tmp_path, attempt=2).error is None
    left = [path.name for path in tmp_path.rglob(".*")]
    assert left == [".tables-other.json.x3.partial"]


def test_the_holder_is_never_one_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with studies.locked(tmp_path):
        (tmp_path / ".lock").write_text(
            f"{gone.pid}\n"
        )  # as in the moment between taking the lock and signing it
        monkeypatch.setattr("time.sleep", lambda _: (tmp_path / ".lock").write_text(f"{os.getpid()}\n"))
        assert studies.holder(tmp_path) == os.getpid()


def test_a_test_whose_record_is_gone_is_named(tmp_path: Path) -> None:
    task = Task("frozen", "frozen a", ("frozen_test",), "k" * 64, {}, (), tmp_path / "frozen" / "kk")
    assert freshness.damage(tmp_path, task) == ""
    storage.write_text(task.destination / "effects.csv", "a\n")
    record = freshness.record_path(tmp_path, task)
    assert freshness.damage(tmp_path, task) == f"{record} is missing"
    freshness.keep_record(tmp_path, task, [task.destination / "effects.csv"], 1.0)
    assert freshness.damage(tmp_path, task) is None
    record.write_text(record.read_text().replace("k", "j", 1))
    assert freshness.damage(tmp_path, task) == f"{record} was changed"


# Ctrl-C


@pytest.mark.parametrize(
    ("does", "status", "says"),
    [
        (
            "os.kill(os.getpid(), signal.SIGINT)",
            130,
            "interrupted; the same command goes on from the last checkpoint\n",
        ),
        ("None", 0, ""),
    ],
)
def test_ctrl_c_while_the_process_ends_changes_nothing(does: str, status: int, says: str) -> None:
    """Whether another one came before it, while a study ran, or none."""
    code = f"""
import atexit, os, signal, command_line
atexit.register(os.kill, os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
command_line.run(lambda _: {does})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (status, says)


# The record of what was tried


def test_trials_that_went_well_are_not_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    part = Part("kills", Record(path))
    part.count("one", [], resumed=2)
    part.count("two", ["it differs"])
    Part("errors", Record(path)).count("one", [])
    with path.open("a") as file:
        file.write('{"part": "kills", "what": "thr')  # a start that was stopped in the midst of a line
    again = Part("kills", Record(path))
    assert (again.tried, again.over, again.wrong, again.seen["resumed"]) == (1, {"one"}, [], 2)
    again.count("two", [])
    assert Part("kills", Record(path)).over == {"one", "two"}


# Workers


@pytest.mark.parametrize(("kind", "kept"), [("frozen", False), ("tables", True)])
def test_small_numbers_count_alike_in_every_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, kept: bool
) -> None:
    import torch

    seen = []
    smallest = np.full(8, np.finfo(np.float32).smallest_subnormal * 4)
    monkeypatch.setitem(work._KINDS, kind, lambda *_: seen.append(bool((smallest * np.float32(0.5)).any())))
    (tmp_path / "logs").mkdir()
    task = Task(kind, f"{kind} a", ("figures",), "k", {}, (), tmp_path)
    for before in (False, True):  # what the worker did before: nothing, or a training
        torch.set_flush_denormal(before)
        assert work.perform(task, tmp_path).error is None
    assert seen == [kept, kept]
