"""Runs in one stack: the same loop as alone, the same numbers but for rounding, and none that drags another down."""

from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import train
from base import storage
from configs.run import RunConfig
from data.corpus import Corpus
from runs import folder as run_folder
from runs import passes
from study import session
from study.plan import Study
from study.progress import Costs
from study.runner import Runner
from tests.interrupted import Stop, interrupted_at
from tests.test_train import corpus, tiny, windows
from tests.tiny_study import SUITE, environment, planned, request

__all__ = ["corpus"]
SEEN = windows(("bewilderment", 3, 6), ("self_clamp", 6, 9))
CLOSE = 1e-4  # of a number of the log beside 1, and of a weight: what rounding may do in twelve steps
RUNS = {
    "state": tiny(schedule=SEEN),
    "another seed": tiny(seed=6, self_state__standardise=True, log__keep_steps=[5]),
    "no state": tiny(self_state__enabled=False, train__learning_rate=3e-3),
    "shorter": tiny(seed=7, train__steps=7),
}


def numbers(folder: Path) -> np.ndarray:
    """The log of a run as float64, without the regime, zero where nothing was measured."""
    rows = run_folder.load_log(folder)
    return np.array([[float(cell or 0) for name, cell in row.items() if name != "regime"] for row in rows])


def weights(folder: Path) -> dict[str, np.ndarray]:
    return {
        f"{path.name} {name}": array
        for path in sorted(folder.glob("*.safetensors"))
        for name, array in storage.load_tensors(path).items()
    }


def loops(given: dict[str, RunConfig], corpus: Corpus, runs: Path) -> list[passes.Passes]:
    return [train.training(run, corpus, runs, beside=len(given) - 1) for run in given.values()]


def test_runs_in_a_stack_end_as_they_do_alone(corpus: Corpus, tmp_path: Path) -> None:
    stacked = passes.together(loops(RUNS, corpus, tmp_path / "stack"))
    for name, run, folder in zip(RUNS, RUNS.values(), stacked, strict=True):
        assert isinstance(folder, Path), f"{name}: {folder}"
        own = train.train(run, corpus, tmp_path / "alone")
        assert folder.name == own.name
        np.testing.assert_allclose(numbers(folder), numbers(own), rtol=CLOSE, atol=CLOSE, err_msg=name)
        mine, theirs = weights(folder), weights(own)
        assert mine.keys() == theirs.keys()
        for key, array in theirs.items():
            np.testing.assert_allclose(mine[key], array, rtol=CLOSE, atol=CLOSE, err_msg=f"{name}, {key}")
        assert storage.read_json(folder / "run.json")["stacked"] == len(RUNS)


def test_one_that_diverges_or_fails_ends_no_other(corpus: Corpus, tmp_path: Path) -> None:
    lost = tiny(seed=8, train__learning_rate=1e9, train__grad_clip=0.0)
    made = [
        train.training(RUNS["state"], corpus, tmp_path),
        train.training(lost, corpus, tmp_path),
        train.training(RUNS["shorter"], corpus, tmp_path, interrupted_at(4)),
    ]
    good, diverged, stopped = passes.together(made)
    assert isinstance(good, Path) and isinstance(diverged, train.Diverged) and isinstance(stopped, Stop)
    own = train.train(RUNS["state"], corpus, tmp_path / "alone")
    np.testing.assert_allclose(numbers(good), numbers(own), rtol=CLOSE, atol=CLOSE)


def test_a_stack_goes_on_from_checkpoints_and_takes_finished_runs_as_they_are(
    corpus: Corpus, tmp_path: Path
) -> None:
    with pytest.raises(Stop):
        train.train(RUNS["state"], corpus, tmp_path, interrupted_at(6))
    done = train.train(RUNS["no state"], corpus, tmp_path)
    first, second, third = passes.together(loops({name: RUNS[name] for name in ("state", "no state", "another seed")}, corpus, tmp_path))  # fmt: skip
    assert second == done and isinstance(first, Path) and isinstance(third, Path)
    assert storage.read_json(first / "run.json")["resumed_from"] == 4
    own = train.train(RUNS["state"], corpus, tmp_path / "alone")
    np.testing.assert_allclose(numbers(first), numbers(own), rtol=CLOSE, atol=CLOSE)


def test_a_study_trains_its_runs_in_stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    storage.write_text(tmp_path / "tiny.toml", SUITE)
    asked = request(
        tmp_path / "out", tmp_path / "tiny.toml", "train.stack=3", only=("train", "data"), seeds=2
    )
    assert session.run(asked) == 0
    runs = [storage.read_json(path) for path in (tmp_path / "out" / "runs").glob("*/run.json")]
    assert sorted(run["stacked"] for run in runs) == [1, 3, 3, 3]  # four runs, three at once
    logs = [path.read_text() for path in (tmp_path / "out" / "logs").glob("train-*.log")]
    assert sum("trained in one stack with train tiny/" in text for text in logs) == 2


def test_a_stack_takes_the_place_of_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Never(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future:
            asked.append(len(args[0]) if isinstance(args[0], list) else 1)
            return Future()

    storage.write_text(tmp_path / "tiny.toml", SUITE)
    steps = planned(tmp_path, tmp_path / "tiny.toml", "train.stack=2")
    names = frozenset(step.name for step in steps)
    study = Study(tmp_path, (), {})
    runner = Runner(study, steps, names, names, (), 2, Costs(), executor=lambda count: Never())
    runner._start()
    assert asked == [2, 2]  # four runs, two workers


def test_a_gpu_that_is_not_there_is_one_clear_line(corpus: Corpus, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(storage.UserError, match="needs a GPU"):
        train.train(tiny(train__device="cuda", train__dtype="float32"), corpus, tmp_path)
