"""Run folders and checkpoints that a kill or a changed file has met: passed over, named, cleared away."""

from pathlib import Path

import numpy as np

from base import storage
from runs import folder as run_folder


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
