"""What a run is said to take of memory, beside what it takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from base.storage import ROOT
from tests.hostile import CONFIGS

RUN = """
import sys
from pathlib import Path
import torch
import train
from configs import size
from configs.suite import load_suite
from data.prepare import prepare_text

torch.set_num_threads(1)
folder = Path(sys.argv[1])
run = load_suite(folder / "own.toml", sys.argv[2:]).run("self", 1)
corpus = prepare_text("own", b"To be, or not to be. " * 900, folder / "data")
train.train(run, corpus, folder / "runs")
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(peak) * 1024, size.memory(run))
"""
HEAD = 'extends = "base.toml"\nname = "own"\nseeds = 1\ncorpus = "own"\n[conditions.self]\n'
SIZES = {
    "many weights": ["model.n_layer=4", "model.n_embd=512"],
    "many tokens": ["model.n_layer=2", "model.n_embd=64", "train.batch_size=256"],
}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is told by Linux alone")
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_memory_covers_what_a_run_takes(tmp_path: Path, sizes: list[str]) -> None:
    (tmp_path / "base.toml").write_bytes((CONFIGS / "base.toml").read_bytes())
    (tmp_path / "own.toml").write_text(HEAD)
    short = ["train.steps=2", "train.warmup_steps=1", "log.eval_batches=1"]
    found = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path), *short, *sizes],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    peak, estimate = map(float, found.stdout.split())
    assert 0.5 * estimate < peak < estimate
