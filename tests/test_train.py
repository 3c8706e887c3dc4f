"""The training loop: resuming, what is shared between conditions, what a regime may touch."""

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import perturb
import train
from base import machine, storage
from base.rng import Stream
from configs.run import RunConfig
from data.corpus import Corpus
from data.prepare import prepare_text
from model import dropped
from runs import evaluate, number_type
from runs import folder as run_folder
from runs.state import METRICS, load_models
from tests.interrupted import Stop, interrupted_at

TEXT = ("The state of the art is a state, and an art. " * 200).encode()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare_text("tiny", TEXT, tmp_path_factory.mktemp("data"))


def tiny(**changes: object) -> RunConfig:
    """A run of 12 steps of a very small model; `changes` are dotted fields with __ for the dot."""
    fields: dict = {
        "corpus": "tiny",
        "seed": 5,
        "model": {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 8},
        "train": {"steps": 12, "batch_size": 3, "warmup_steps": 2},
        "log": {
            "effect_interval": 3,
            "probe_sequences": 2,
            "eval_interval": 4,
            "eval_batches": 2,
            "checkpoint_interval": 4,
        },
        "self_state": {"dim": 6, "hidden": 7},
        "regimes": {},
    }
    for name, value in changes.items():
        table = fields
        *path, last = name.split("__")
        for part in path:
            table = table.setdefault(part, {})
        table[last] = value
    return RunConfig.model_validate_json(json.dumps(fields))


def windows(*stretches: tuple[str, int, int]) -> dict:
    return {"kind": "windows", "windows": [{"regime": r, "start": s, "end": e} for r, s, e in stretches]}


def files(folder: Path) -> dict[str, str]:
    return {path.name: storage.sha256_file(path) for path in folder.iterdir() if path.name != "run.json"}


@pytest.mark.parametrize("stop", [1, 4, 7, 11])
@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": windows(("bewilderment", 3, 6), ("self_clamp", 6, 9)), "log__keep_steps": [5]},
        {"self_state__standardise": True, "self_state__update": "gru", "model__dropout": 0.2},
        {"self_state__enabled": False, "train__grad_accum": 2},
        {"inject_until": 6},
    ],
)
def test_interrupted_run_ends_with_the_same_bytes(
    corpus: Corpus, tmp_path: Path, stop: int, changes: dict
) -> None:
    run = tiny(**changes)
    whole = train.train(run, corpus, tmp_path / "whole")
    with pytest.raises(Stop):
        train.train(run, corpus, tmp_path / "parts", interrupted_at(stop))
    resumed = train.train(run, corpus, tmp_path / "parts")
    assert storage.read_json(resumed / "run.json")["resumed_from"] == stop // 4 * 4
    assert files(resumed) == files(whole)
    assert not list((tmp_path / "parts").glob(".*"))


def test_damaged_checkpoint_is_passed_over(corpus: Corpus, tmp_path: Path) -> None:
    run = tiny()
    whole = train.train(run, corpus, tmp_path / "whole")
    with pytest.raises(Stop):
        train.train(run, corpus, tmp_path / "parts", interrupted_at(9))
    (newest,) = (tmp_path / "parts").glob(".*/step-00000008/checkpoint.safetensors")
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(bytes(content))
    resumed = train.train(run, corpus, tmp_path / "parts")
    assert storage.read_json(resumed / "run.json")["resumed_from"] == 4
    assert files(resumed) == files(whole)


def test_empty_schedule_is_no_perturbation(corpus: Corpus, tmp_path: Path) -> None:
    calm = train.train(tiny(), corpus, tmp_path / "calm")
    empty = train.train(tiny(schedule={"kind": "windows", "windows": []}), corpus, tmp_path / "empty")
    never = {"kind": "recurring", "regimes": ["bewilderment"], "enter": 0.0}
    recurring = train.train(tiny(schedule=never), corpus, tmp_path / "never")
    for other in (empty, recurring):
        for name in ("metrics.csv", "states.safetensors", "model.safetensors"):
            assert (other / name).read_bytes() == (calm / name).read_bytes()


def test_conditions_of_a_seed_see_the_same_batches(corpus: Corpus) -> None:
    def batch(run: RunConfig) -> tuple[np.ndarray, np.ndarray]:
        return evaluate.seen_batch(run, corpus, 3, perturb.CALM)

    first, again = batch(tiny(seed=5)), batch(tiny(seed=5, self_state__enabled=False))
    other = batch(tiny(seed=6))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert np.array_equal(first[0][:, 1:], first[1][:, :-1])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "regime", ["bewilderment", "sensory_fog", "false_feedback", "self_clamp", "lr_heatwave"]
)
def test_a_regime_acts_from_its_first_step_and_on_nothing_else(
    corpus: Corpus, tmp_path: Path, regime: str
) -> None:
    calm = rows(train.train(tiny(), corpus, tmp_path))
    struck = rows(train.train(tiny(schedule=windows((regime, 6, 9))), corpus, tmp_path))
    for step in range(6):
        assert struck[step] == calm[step]
    assert [row["regime"] for row in struck] == ["calm"] * 6 + [regime] * 3 + ["calm"] * 3
    same = {name for name in METRICS if struck[6][name] == calm[6][name]}
    loss_seen = regime in ("bewilderment", "sensory_fog")
    assert ("loss" in same) is (not loss_seen and regime not in ("false_feedback", "self_clamp"))
    assert ("lr" in same) is (regime != "lr_heatwave")
    assert ("state_drift" in same) is (regime not in ("false_feedback", "self_clamp"))
    if regime == "lr_heatwave":
        assert float(struck[6]["lr"]) == pytest.approx(2 * float(calm[6]["lr"]), rel=1e-7)
    if regime == "self_clamp":
        assert [float(row["state_drift"]) for row in struck[6:9]] == [0, 0, 0]


def test_vanilla_ignores_what_only_a_state_can_feel(corpus: Corpus, tmp_path: Path) -> None:
    calm = train.train(tiny(self_state__enabled=False), corpus, tmp_path)
    schedule = windows(("false_feedback", 2, 5), ("self_clamp", 6, 9))
    struck = train.train(tiny(self_state__enabled=False, schedule=schedule), corpus, tmp_path)
    assert (calm / "model.safetensors").read_bytes() == (struck / "model.safetensors").read_bytes()
    assert not (calm / "states.safetensors").exists()
    assert all(row["state_norm"] == "" for row in rows(calm))


def test_accumulated_micro_batches_train_as_one_batch(corpus: Corpus, tmp_path: Path) -> None:
    settings: dict = {"train__dtype": "float32"}
    one = train.train(tiny(train__batch_size=6, **settings), corpus, tmp_path)
    two = train.train(tiny(train__batch_size=3, train__grad_accum=2, **settings), corpus, tmp_path)
    first, second = (storage.load_tensors(folder / "model.safetensors") for folder in (one, two))
    for name, array in first.items():
        np.testing.assert_allclose(second[name], array, atol=2e-4, err_msg=name)
    for a, b in zip(rows(one), rows(two), strict=True):
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-3)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    x = torch.full((401, 499), 2.0, requires_grad=True)  # not a multiple of what one draw serves
    y = dropped(x, 0.2, training=True)
    assert sorted(y.unique().tolist()) == [0.0, 2.5]
    assert (y == 0).float().mean().item() == pytest.approx(0.2, abs=0.004)  # four standard deviations
    y.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, y.detach() / 2)
    assert not torch.equal(dropped(x, 0.2, training=True), y)
    assert dropped(x, 0.2, training=False) is x


def test_diverged_run_stops_and_keeps_its_log(corpus: Corpus, tmp_path: Path) -> None:
    run = tiny(train__learning_rate=1e9, train__grad_clip=0.0, train__min_learning_rate=1.0)
    with pytest.raises(train.Diverged) as caught:
        train.train(run, corpus, tmp_path)
    log = rows(caught.value.folder)
    assert int(log[-1]["step"]) == caught.value.step < 12
    assert log[-1]["loss"] in ("nan", "inf")
    assert storage.read_json(caught.value.folder / "run.json")["status"] == "diverged"
    assert [path.name for path in tmp_path.iterdir()] == [caught.value.folder.name]


def test_a_folder_of_another_run_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    run = tiny(train__dtype="float32")
    folder = run_folder.folder_of(tmp_path, run_folder.run_key(run, corpus.tokens_sha256))
    other = train.train(tiny(seed=6), corpus, tmp_path)
    other.rename(folder)
    with pytest.raises(storage.UserError, match="another config"):
        train.train(run, corpus, tmp_path)


def test_kept_weights_are_those_of_the_step(corpus: Corpus, tmp_path: Path) -> None:
    schedule = {"train__warmup_steps": 0, "train__learning_rate": 1e-3, "train__min_learning_rate": 1e-3}
    long = train.train(tiny(log__keep_steps=[6], train__steps=12, **schedule), corpus, tmp_path)
    _, gpt, self_state = load_models(long, 6)
    assert self_state is not None
    states = storage.load_tensors(long / "states.safetensors")["state"]
    assert states.shape == (12, 6) and states.dtype == np.float32
    step = {row["step"]: row for row in rows(long)}["6"]
    probe = evaluate.batch(corpus, "heldout", tiny(), 0, Stream.EVAL, evaluate.PROBE, torch.device("cpu"), 2)
    bias = self_state.read(torch.from_numpy(states[6])).detach()
    dtype = getattr(torch, storage.read_json(long / "run.json")["dtype"])
    effect, kl = evaluate.state_effect(gpt, probe[0], bias, dtype)
    assert effect == pytest.approx(float(step["state_effect"]), rel=1e-4)
    assert kl == pytest.approx(float(step["state_kl"]), abs=1e-7)
    with pytest.raises(storage.UserError, match="kept no weights of step 7; it has those of 6, 12"):
        load_models(long, 7)


@pytest.mark.parametrize("name", number_type.TYPES)
def test_auto_is_the_type_that_the_variable_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    auto = tiny(train__dtype="auto")
    monkeypatch.setenv(number_type.VARIABLE, name)
    assert number_type.resolved(tmp_path, auto).train.dtype == name
    assert (
        number_type.choose(tmp_path, tiny(train__dtype="float32")) == "float32"
    )  # no variable changes what a config says
    monkeypatch.setenv(number_type.VARIABLE, "float16")
    with pytest.raises(storage.UserError, match="float32 or bfloat16"):
        number_type.choose(tmp_path, auto)
    assert not list(tmp_path.iterdir())


def test_auto_is_measured_once_a_shape_where_bfloat16_is_multiplied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    auto = tiny(train__dtype="auto")
    monkeypatch.delenv(number_type.VARIABLE, raising=False)
    monkeypatch.setattr(machine, "multiplies_bfloat16", lambda: False)
    assert number_type.choose(tmp_path, auto) == "float32" and not list(tmp_path.iterdir())
    monkeypatch.setattr(machine, "multiplies_bfloat16", lambda: True)
    chosen = number_type.choose(tmp_path, auto)
    assert number_type.kept(tmp_path) == {number_type.shape_of(auto): chosen}
    other = dict.fromkeys([number_type.shape_of(auto)], "bfloat16" if chosen == "float32" else "float32")
    storage.write_json(
        tmp_path / number_type.FILE, other
    )  # what stands there is kept, whatever a second try would say
    assert number_type.choose(tmp_path, auto) == other[number_type.shape_of(auto)]
    (tmp_path / number_type.FILE).write_text('{"x": "float8"}')
    with pytest.raises(storage.UserError, match="damaged; delete it"):
        number_type.choose(tmp_path, auto)


def test_bfloat16_has_to_be_clearly_faster() -> None:
    assert number_type.faster({"float32": 1.0, "bfloat16": 0.9}) == "bfloat16"
    assert number_type.faster({"float32": 1.0, "bfloat16": 0.97}) == "float32"


def test_random_windows_differ_by_seed_and_fit(corpus: Corpus) -> None:
    durations = {"bewilderment": 2, "sensory_fog": 1, "self_clamp": 2}
    schedule = {"kind": "random_windows", "durations": durations, "first": 1, "washout": 1}
    drawn = []
    for seed in range(40):
        found = perturb.windows(tiny(schedule=schedule, seed=seed))
        assert {name: end - start for name, start, end in found} == durations
        assert found[0][1] >= 1 and found[-1][2] <= 11
        assert all(b[1] - a[2] >= 1 for a, b in itertools.pairwise(found))
        drawn.append(tuple(found))
    assert len(set(drawn)) > 10
    assert len({order for order in (tuple(name for name, _, _ in found) for found in drawn)}) == 6


def test_recurring_chain_has_the_rates_it_is_given() -> None:
    schedule = {"kind": "recurring", "regimes": ["bewilderment", "sensory_fog"], "enter": 0.1, "leave": 0.25}
    names = perturb.regimes_by_step(tiny(schedule=schedule, train__steps=40000))
    calm = np.array([name == "calm" for name in names])
    enters = (calm[:-1] & ~calm[1:]).sum() / calm[:-1].sum()
    leaves = (~calm[:-1] & calm[1:]).sum() / (~calm[:-1]).sum()
    assert enters == pytest.approx(0.1, abs=0.01) and leaves == pytest.approx(0.25, abs=0.02)
    assert set(names) == {"calm", "bewilderment", "sensory_fog"}
