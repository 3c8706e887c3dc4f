"""A study of two conditions and a few steps: its config and text, a request for it, and its plan."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from base import storage
from base.storage import ROOT
from study import plan as pipeline
from study import request as studies
from study.plan import Step, Study
from study.request import Request
from tests.least import LEAST_MODEL, LEAST_SIGNATURES, LEAST_TEST, TEXT
from tests.stress.inject import offline

SUITE = (
    LEAST_MODEL
    + """\
steps = 60
batch_size = 2
warmup_steps = 1
[log]
effect_interval = 5
probe_sequences = 2
eval_interval = 20
eval_batches = 1
checkpoint_interval = 20
keep_steps = [30]
[self_state]
dim = 4
hidden = 4
[regimes.bewilderment]
probability = 0.5
[schedules.one]
kind = "windows"
windows = [{ regime = "bewilderment", start = 20, end = 40 }]
[conditions.self]
schedule = "one"
[conditions.self_calm]
[probe.frozen]
conditions = ["self_calm"]
steps = [30, 60]
"""
    + LEAST_TEST
    + """\
random_directions = 2
placebo_draws = 2
[signatures]
"""
    + LEAST_SIGNATURES
)
RUN_ALL = ROOT / "scripts" / "run_all.py"


class Here(Executor):
    """A worker that is this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def request(
    out: Path, suite: Path | None, *overrides: str, only: tuple[str, ...] = (), **more: Any
) -> Request:
    plain = {"quick": False, "seeds": None, "jobs": 1, "force": False, "publish": False}
    return Request(out=out, config=suite, overrides=overrides, only=only, **{**plain, **more})


def planned(
    out: Path, suite: Path, *overrides: str, seeds: int = 2, tokens: str | None = "0" * 64
) -> list[Step]:
    """The plan of a suite as if its corpus were prepared."""
    suites = studies.load_suites(request(out, suite, *overrides, seeds=seeds))
    return pipeline.plan(Study(out, suites, {("tiny_text", "char"): ("tiny_text", tokens)}))


def keys(steps: list[Step]) -> dict[str, str | None]:
    return {step.name: step.key for step in steps}


def run_all(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The study through its command line, in a folder with its text; it may reach no network."""
    command = [sys.executable, str(RUN_ALL), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment(tmp_path))


def environment(tmp_path: Path) -> dict[str, str]:
    storage.write_text(tmp_path / "texts" / "tiny_text" / "input.txt", TEXT)
    texts = {"INTEROCEPTION_DATA": str(tmp_path / "texts")}
    blocked = {"PYTHONPATH": str(Path(offline.__file__).parent), offline.LOG: str(tmp_path / "blocked.log")}
    return {**os.environ, **texts, **blocked}
