"""What a worker and a start find of those before them: leftovers, records that are gone, floating point as it was left."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from base import storage
from base.storage import ROOT
from configs import size
from configs.suite import load_suite
from runs import folder as run_folder
from study import freshness, worker
from study import request as studies
from study.plan import Step


def test_a_start_sweeps_the_output_folder_and_its_own_files_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in (".run_card.json.x1.partial", "made/.a.json.x2.partial", ".mine.partial", "run_card.json"):
        storage.write_text(out / name, "")
    with studies.locked(out):
        left = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert left == [".lock", ".mine.partial", "run_card.json"]


def test_a_second_try_clears_away_what_the_first_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, other = tmp_path / "tables" / "tiny", tmp_path / "made" / ".table-other-a.json.x3.partial"
    for path in (tables / ".a.csv.x1.partial", tmp_path / "made" / ".table-tiny-a.json.x2.partial", other):
        storage.write_text(path, "")  # the last one is another worker's
    (tmp_path / "logs").mkdir()
    monkeypatch.setitem(worker._MAKERS, "table", lambda *_: ([], None))
    step = Step("table", "table tiny/a", ("figures",), "k", {}, (), tables)
    assert worker.perform(step, tmp_path, attempt=2).error is None
    assert list(tmp_path.rglob(".*")) == [other]


@pytest.mark.parametrize(("kind", "kept"), [("frozen", False), ("table", True)])
def test_small_numbers_count_alike_in_every_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, kept: bool
) -> None:
    seen = []
    smallest = np.full(8, np.finfo(np.float32).smallest_subnormal * 4)

    def made(*_: Any) -> worker.Made:
        seen.append(bool((smallest * np.float32(0.5)).any()))
        return [], None

    monkeypatch.setitem(worker._MAKERS, kind, made)
    (tmp_path / "logs").mkdir()
    step = Step(kind, f"{kind} a", ("figures",), "k", {}, (), tmp_path)
    for before in (False, True):  # what the worker did before: nothing, or a training
        torch.set_flush_denormal(before)
        assert worker.perform(step, tmp_path).error is None
    assert seen == [kept, kept]


def test_a_test_whose_record_is_gone_is_named(tmp_path: Path) -> None:
    step = Step("frozen", "frozen a", ("frozen_test",), "k" * 64, {}, (), tmp_path / "frozen" / "kk")
    assert freshness.damage(tmp_path, step) == ""
    storage.write_text(step.destination / "effects.csv", "a\n")
    record = freshness.record_path(tmp_path, step)
    assert freshness.damage(tmp_path, step) == f"{record} is missing"
    freshness.keep_record(tmp_path, step, [step.destination / "effects.csv"], 1.0)
    assert freshness.damage(tmp_path, step) is None
    record.write_text(record.read_text().replace("k", "j", 1))
    assert freshness.damage(tmp_path, step) == f"{record} was changed"


def test_the_holder_is_never_one_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with studies.locked(tmp_path):
        (tmp_path / ".lock").write_text(
            f"{gone.pid}\n"
        )  # as in the moment between taking the lock and signing it
        monkeypatch.setattr("time.sleep", lambda _: (tmp_path / ".lock").write_text(f"{os.getpid()}\n"))
        assert studies.holder(tmp_path) == os.getpid()


def test_the_disk_that_runs_need_holds_checkpoints_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = load_suite(ROOT / "configs" / "swap.toml").run("origin", 1)
    weights = 4 * size.weights(run, 65)
    assert size.disk(run, 65) > weights * (1 + 3 * len(run.log.keep_checkpoints))
    assert size.disk_on_the_way(run, 65, run_folder.KEPT_CHECKPOINTS) > 9 * weights
