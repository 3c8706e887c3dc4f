"""A tiny study through its command line: made whole, then nothing, then what hangs on a change."""

import json
import os
from pathlib import Path

import pytest

from scripts import run_all as script
from tests.least import TEXT
from tests.tiny_study import SUITE, environment, run_all


def stamps(out: Path) -> dict[str, int]:
    """Every file of an output folder with its time, but the lock's."""
    return {
        str(path): path.stat().st_mtime_ns
        for path in out.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_the_whole_study_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From its text to its pages, without network; then nothing, and after a change what hangs on that."""
    suite_file = tmp_path / "tiny.toml"
    suite_file.write_text(SUITE)
    study = ("--config", str(suite_file), "--out", "out", "--jobs", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INTEROCEPTION_DATA", environment(tmp_path)["INTEROCEPTION_DATA"])

    def would_run(*more: str) -> list[str]:
        assert script.main([*study, "--dry-run", "-v", *more]) == 0
        return [line for line in capsys.readouterr().out.splitlines() if not line.startswith("skip")]

    assert "run   train tiny/self/seed-1: waits for data" in would_run()
    assert not (tmp_path / "out").exists()

    first = run_all(tmp_path, *study, "-v")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "[4/4] frozen tiny/self_calm/seed-1/step-60" in first.stdout and first.stderr == ""
    assert not (tmp_path / "blocked.log").exists()
    out = tmp_path / "out"
    assert list((out / "figures" / "tiny").rglob("*.png"))
    pages = [path.read_text() for path in (out / "report" / "tiny").glob("*.md")]
    assert pages and all("tiny_text" in page for page in pages)
    assert os.readlink(out / "tiny" / "self" / "seed-1").startswith("../../runs/")
    run = json.loads((out / "tiny" / "self" / "seed-1" / "run.json").read_text())
    assert run["status"] == "complete" and run["threads"] == 1
    assert list((out / "progress").iterdir()) == []

    before = stamps(out)
    second = run_all(tmp_path, *study)
    assert second.returncode == 0 and "nothing to run: all is up to date" in second.stdout
    assert stamps(out) == before

    assert would_run() == []
    changed = would_run("--set", "regimes.bewilderment.probability=0.4")
    trained = "run   train tiny/self/seed-1: config changed: regimes.bewilderment.probability 0.5 -> 0.4"
    assert (
        changed[0] == trained and "run   table tiny/metrics: input changed: train tiny/self/seed-1" in changed
    )
    made = ("run   note", "run   table", "run   figure", "run   page", "run   demo")
    assert [line for line in changed[1:] if not line.startswith(made)] == []
    weights = out / "tiny" / "self_calm" / "seed-1" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (line,) = would_run()
    assert line.startswith("run   train tiny/self_calm/seed-1: not whole: ") and weights.name in line
    third = run_all(tmp_path, *study, "--only", "train", "-v")
    assert f"note: train tiny/self_calm/seed-1 is made again, not whole: {Path('out/runs')}" in third.stdout
    assert "[1/1] train tiny/self_calm/seed-1" in third.stdout
    assert weights.read_bytes() == content
    assert would_run() == []
    (tmp_path / "texts" / "tiny_text" / "input.txt").write_text(TEXT + "More.")
    assert would_run()[0].startswith("run   data tiny_text: data changed")
