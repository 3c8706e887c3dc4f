"""What the self-state is shown: own statistics, older ones, another run's, the clock, the true regime."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import perturb
import train
from base import storage
from base.storage import ROOT
from configs.run import RunConfig
from configs.state import STATS
from configs.suite import load_suite
from configs.toml_file import ConfigError
from data.corpus import Corpus
from data.prepare import prepare_text
from runs.taken_over import recorded_stats
from tests.interrupted import Stop, interrupted_at

STEPS = 80
REGIMES = ("bewilderment", "sensory_fog", "false_feedback", "self_clamp", "lr_heatwave")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    text = ("A sense of one's own inside is a sense, and a side. " * 200).encode()
    return prepare_text("tiny", text, tmp_path_factory.mktemp("data"))


def tiny(seed: int = 3, **state: Any) -> RunConfig:
    fields = {
        "corpus": "tiny",
        "seed": seed,
        "model": {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 8},
        "train": {"steps": STEPS, "batch_size": 3, "warmup_steps": 2, "learning_rate": 0.01},
        "log": {"effect_interval": 8, "probe_sequences": 2, "eval_interval": 12, "eval_batches": 2,
                "checkpoint_interval": 4},
        "self_state": {"dim": 4, "hidden": 5, "standardise": True, "init": "default", **state},
        "schedule": {"kind": "recurring", "regimes": REGIMES, "enter": 0.8, "leave": 0.6},
        "regimes": {},
    }  # fmt: skip
    return RunConfig.model_validate_json(json.dumps(fields))


class Shown:
    """Trains runs and keeps what their self-states were shown, step by step, in the order of their updates."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, corpus: Corpus, runs: Path) -> None:
        self.corpus, self.runs = corpus, runs
        self.rows: list[np.ndarray] = []
        update = perturb.update_state

        def kept(regime: str, self_state: Any, value: Any, stats: torch.Tensor, *rest: Any) -> Any:
            self.rows.append(stats.numpy().copy())
            return update(regime, self_state, value, stats, *rest)

        monkeypatch.setattr(perturb, "update_state", kept)

    def by(self, run: RunConfig, **inputs: Path) -> tuple[Path, np.ndarray]:
        self.rows.clear()
        folder = train.train(run, self.corpus, self.runs, inputs=inputs)
        return folder, np.stack(self.rows)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, corpus: Corpus, tmp_path: Path) -> Shown:
    return Shown(monkeypatch, corpus, tmp_path)


def measured(folder: Path) -> np.ndarray:
    with (folder / "metrics.csv").open() as file:
        return np.array(
            [[float(row[name]) for name in STATS] for row in csv.DictReader(file)], dtype=np.float32
        )


def recorded(seed: str, shuffled: bool = False) -> dict[str, Any]:
    return {"kind": "recorded", "condition": "self", "seed": seed, "shuffled": shuffled}


@pytest.mark.parametrize("age", [1, 4])
def test_own_statistics_are_as_old_as_asked(shown: Shown, age: int) -> None:
    run = tiny(senses={"kind": "own", "age": age})
    folder, got = shown.by(run)
    wanted = measured(folder)[:-age].copy()
    for index, regime in enumerate(perturb.regimes_by_step(run)[age:]):
        wanted[index, 0] += 0.5 * (regime == "false_feedback")
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("seed", ["own", "partner"])
def test_recorded_is_exactly_what_the_other_state_was_shown(shown: Shown, seed: str) -> None:
    run = tiny(senses=recorded(seed))
    assert run.references() == {"stats": ("self", 3 if seed == "own" else 4)}
    other = tiny(3 if seed == "own" else 4)
    assert perturb.regimes_by_step(other).count("false_feedback") > 1
    source, wanted = shown.by(other)
    folder, got = shown.by(run, stats=source)
    np.testing.assert_array_equal(got, wanted)
    # shown what it would have been shown anyway, it is the same training; shown another seed's, it is its own
    assert np.array_equal(measured(folder)[:, :4], measured(source)[:, :4]) == (seed == "own")


def test_shuffled_is_the_same_statistics_in_another_order(shown: Shown) -> None:
    source, wanted = shown.by(tiny())
    _, got = shown.by(tiny(senses=recorded("own", shuffled=True)), stats=source)
    assert sorted(map(tuple, got)) == sorted(map(tuple, wanted)) and (got != wanted).any()
    assert np.argsort(got[:, -1]).tolist() != list(range(len(got)))


def test_the_clock_tells_the_time_only(shown: Shown) -> None:
    _, got = shown.by(tiny(senses={"kind": "clock"}))
    assert not got[:, :4].any()
    np.testing.assert_array_equal(got[:, 4], np.arange(STEPS, dtype=np.float32) / np.float32(STEPS))


def test_the_oracle_sees_the_regime_of_the_step_and_no_later_one(shown: Shown) -> None:
    run = tiny(senses={"kind": "regime"})
    _, got = shown.by(run)
    acting = perturb.regimes_by_step(run)
    assert len(set(acting)) == 6
    for row, regime in zip(got, acting, strict=True):
        assert row.tolist() == [float(name == regime) for name in REGIMES]


@pytest.mark.parametrize("kind", ["old", "recorded"])
def test_resuming_ends_with_the_same_bytes(corpus: Corpus, tmp_path: Path, kind: str) -> None:
    inputs: dict[str, Path] = {}
    settings: dict[str, Any] = {"kind": "own", "age": 6}
    if kind == "recorded":
        settings, inputs = recorded("own", True), {"stats": train.train(tiny(), corpus, tmp_path)}
    run = tiny(senses=settings)
    whole = train.train(run, corpus, tmp_path / "whole", inputs=inputs)
    with pytest.raises(Stop):
        train.train(run, corpus, tmp_path / "parts", interrupted_at(10), inputs=inputs)
    resumed = train.train(run, corpus, tmp_path / "parts", inputs=inputs)
    assert storage.read_json(resumed / "run.json")["resumed_from"] == 8
    for name in ("metrics.csv", "states.safetensors", "model.safetensors"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def test_a_run_that_saw_less_or_other_things_gives_no_record(corpus: Corpus, tmp_path: Path) -> None:
    run = tiny(senses=recorded("own"))
    clock = train.train(tiny(senses={"kind": "clock"}), corpus, tmp_path)
    with pytest.raises(storage.UserError, match="no statistics of its own"):
        recorded_stats(run, clock)
    short = tiny().model_copy(update={"train": tiny().train.model_copy(update={"stop": 10})})
    with pytest.raises(storage.UserError, match="each of 80 steps"):
        recorded_stats(run, train.train(short, corpus, tmp_path))


def test_without_self_state_the_record_is_what_it_measured(corpus: Corpus, tmp_path: Path) -> None:
    folder = train.train(tiny(enabled=False), corpus, tmp_path)
    found = recorded_stats(tiny(senses=recorded("own")), folder)
    assert np.isnan(found[0]).all()
    np.testing.assert_array_equal(found[1:], measured(folder)[:-1])


SUITE = """
extends = "{base}"
name = "mine"
seeds = 2
[conditions.self]
[conditions.clock]
self_state.senses = {{ kind = "clock" }}
[conditions.yoked]
self_state.senses = {senses}
"""


@pytest.mark.parametrize(
    "given, said",
    [
        ('{ kind = "recorded", condition = "slef", seed = "own" }', "slef.*self_state.senses.condition.*self"),
        ('{ kind = "recorded", condition = "clock", seed = "own" }', "not shown its own statistics"),
        ('{ kind = "recorded", condition = "yoked", seed = "own" }', "depends on itself|not shown its own"),
        ('{ kind = "own", age = 0 }', "age"),
        ('{ kind = "recorded", condition = "self" }', "seed"),
        ('{ kind = "clock", age = 2 }', "age means nothing with kind|age"),
    ],
)  # fmt: skip
def test_senses_that_make_no_sense_are_refused(tmp_path: Path, given: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SUITE.format(base=ROOT / "configs" / "base.toml", senses=given))
    with pytest.raises(ConfigError, match=said) as error:
        load_suite(path)
    assert "\n" not in str(error.value)
