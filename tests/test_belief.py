"""Beliefs put in by hand: a model whose optimum under corruption one state reaches exactly, and whole runs."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import log_softmax

from base import command_line, storage
from base.rng import Stream, generator
from configs.probes.belief import BeliefTest
from configs.run import RunConfig
from configs.training import Model
from data.corpus import Corpus
from data.prepare import prepare_text
from experiments.belief_shifts import belief_shifts
from model import GPT
from probes import belief, instrument
from probes.instrument import Batch, weights_sha256
from runs import folder as run_folder
from runs.state import models_arrays
from self_state import SelfState
from tests.made_runs import context, made_run

V, C, T, D, P = 10, 16, 8, 4, 0.3
SIZES = Model(n_layer=1, n_head=2, n_embd=C, block_size=T)
SETTINGS = BeliefTest(heldout_batches=2)
WINDOWS = [{"regime": "bewilderment", "start": 3, "end": 5}, {"regime": "sensory_fog", "start": 6, "end": 8}]


def basis() -> np.ndarray:
    """(C, C - 1): columns orthonormal and each with mean zero, so that layer norm only scales their sums."""
    drawn = np.random.default_rng(0).normal(size=(C, C - 1))
    return np.linalg.qr(np.column_stack([np.ones(C), drawn]))[0][:, 1:]


OUTSIDE = basis()[:, V]  # orthogonal to every token's embedding


def by_hand() -> GPT:
    """Blocks that add nothing, embeddings 1.2 e_k, positions u: the token read has a logit that a bias s u lowers."""
    gpt = GPT(SIZES, V)
    with torch.no_grad():
        for block in gpt.blocks:
            block.attention.proj.weight.zero_()  # type: ignore[union-attr, operator]
            block.down.weight.zero_()  # type: ignore[union-attr, operator]
        gpt.tokens.weight[:V] = torch.from_numpy(1.2 * basis()[:, :V].T)
        gpt.positions.weight.copy_(torch.from_numpy(np.tile(OUTSIDE, (T, 1))))
    return gpt.eval()


def chance(s: float) -> float:
    """The probability of the token read under the bias s u; the V - 1 others share the rest alike."""
    logit = 1.44 / math.sqrt((1.44 + (1 + s) ** 2) / C + 1e-5)
    return math.exp(logit) / (math.exp(logit) + V - 1)


def divergence(p: float, q: float) -> float:
    """KL in nats between two such distributions, by their probability of the token read."""
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def batches() -> list[Batch]:
    drawn = np.random.default_rng(1).integers(0, V, size=(2, 5, T + 1))
    return [(torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, 1:].copy())) for rows in drawn]


def test_the_state_that_makes_the_mixture_reaches_the_optimum_and_no_other_does() -> None:
    best = (1 - P) * chance(0.0) + P / V
    s = float(brentq(lambda s: chance(s) - best, 0, 50))
    reader = np.column_stack([OUTSIDE, np.zeros((C, D - 1))])  # the other dimensions do nothing
    calm, bewildered = np.zeros(D), s * np.eye(D)[0]
    cases = belief.cases({"calm": calm, "bewilderment": bewildered}, 0.5 * bewildered, seed=3)
    gpt = by_hand()
    rows = belief.measure(belief.Comparison(gpt), reader, cases, batches(), P)
    table = pd.DataFrame(rows).set_index(["state", "draw"])

    assert table.loc[("calm", 0), "kl"] == pytest.approx(divergence(best, chance(0.0)), rel=1e-4)
    assert table.loc[("regime", 0), "kl"] == pytest.approx(0, abs=1e-6)
    assert table.loc[("mirrored", 0), "kl"] == pytest.approx(divergence(best, chance(-s)), rel=1e-4)
    assert table.loc[("foreign", 0), "kl"] == pytest.approx(divergence(best, chance(s / 2)), rel=1e-4)
    assert table.loc[("zero", 0), "kl"] == pytest.approx(table.loc[("calm", 0), "kl"])
    assert table.loc[("regime", 0), "kl_calm"] == pytest.approx(divergence(chance(0.0), best), rel=1e-4)
    assert table.loc[("optimum", 0), "kl"] == pytest.approx(0, abs=1e-7)
    for column in ("nll_clean", "nll_corrupted", "entropy"):
        assert table.loc[("regime", 0), column] == pytest.approx(table.loc[("optimum", 0), column], rel=1e-5)
    random = table.loc["random"]
    assert len(random) == belief.RANDOM_DRAWS and random["kl"].min() > 1e-4
    np.testing.assert_allclose(random["distance"], s)
    assert table.loc[("mirrored", 0), "distance"] == pytest.approx(s) == table.loc[("regime", 0), "norm"]


def test_measures_match_numpy() -> None:
    gpt = GPT(SIZES, V)
    gpt.initialise(generator(5, Stream.INIT))
    with torch.no_grad():
        gpt.tokens.weight *= 20
    biases = np.random.default_rng(2).normal(size=(3, C))
    sample = batches()
    values, best = belief.Comparison(gpt.eval()).against_optimum(biases, sample, P)
    expected = np.zeros((4, 5))
    for x, y in sample:
        with torch.no_grad():
            log_q = [
                log_softmax(gpt(x, torch.from_numpy(bias).float())[0].double().numpy(), axis=-1)
                for bias in biases
            ]
        optimum = (1 - P) * np.exp(log_q[0]) + P / V
        for index, one in enumerate([*log_q, np.log(optimum)]):
            target = np.take_along_axis(one, y.numpy()[..., None], -1)[..., 0]
            corrupted = -(1 - P) * target - P * one.mean(-1)
            expected[index] += [
                (optimum * (np.log(optimum) - one)).sum(-1).mean() / 2,
                (np.exp(log_q[0]) * (log_q[0] - one)).sum(-1).mean() / 2,
                -(np.exp(one) * one).sum(-1).mean() / 2,
                -target.mean() / 2,
                corrupted.mean() / 2,
            ]
    np.testing.assert_allclose(values, expected[:3], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(best, expected[3], rtol=1e-4, atol=1e-6)


def test_the_optimum_of_the_corrupted_loss_is_the_mixture() -> None:
    """Any other prediction has a higher loss on targets that follow q and are corrupted: Gibbs' inequality."""
    random = np.random.default_rng(0)
    q = random.dirichlet(np.ones(V))
    mixed = belief.mixture(torch.from_numpy(np.log(q)), P).numpy()
    assert np.exp(mixed).sum() == pytest.approx(1)
    truth = (1 - P) * q + P / V
    for other in random.dirichlet(np.ones(V), size=20):
        assert -(truth * mixed).sum() < -(truth * np.log(other)).sum()
    assert belief.mixture(torch.tensor([0.0, -1000.0]), 0.0).isfinite().all()


def test_means_are_of_the_last_half_by_the_schedule() -> None:
    run = run_config(1)
    states = np.arange(10, dtype=np.float32)[:, None] * np.ones(2, dtype=np.float32)
    means = belief.mean_states(run, states)
    assert {name: mean[0] for name, mean in means.items()} == {"sensory_fog": 6.5, "calm": 22 / 3}
    means = belief.mean_states(run, states[:6])  # weights of an earlier step: the half of what there was then
    assert {name: mean[0] for name, mean in means.items()} == {"bewilderment": 3.5, "calm": 5}


def run_config(seed: int, dim: int = D, **more: Any) -> RunConfig:
    fields = {
        "corpus": "tiny",
        "seed": seed,
        "model": SIZES.model_dump(mode="json"),
        "train": {"steps": 10, "batch_size": 3, "warmup_steps": 0},
        "log": {"keep_steps": [6]},
        "self_state": {"dim": dim},
        "schedule": {"kind": "windows", "windows": WINDOWS},
        "regimes": {"bewilderment": {"probability": P}},
        **more,
    }
    return RunConfig.model_validate_json(json.dumps(fields))


def finished(runs: Path, corpus: Corpus, seed: int = 1, dim: int = D, **more: Any) -> Path:
    """A run folder of ten steps, weights kept after six, that no training made."""
    run = run_config(seed, dim, **more)
    work = runs / f".work{seed}"
    for name, drawn in (("model-step6", seed + 10), ("model", seed + 20)):
        gpt, self_state = GPT(SIZES, corpus.vocab_size), SelfState(run.self_state, C)
        gpt.initialise(generator(drawn, Stream.INIT))
        self_state.initialise(generator(drawn, Stream.STATE_INIT))
        arrays = models_arrays({"gpt": gpt, "self_state": self_state})
        storage.save_tensors(work / f"{name}.safetensors", arrays)
    states = np.random.default_rng(seed).normal(size=(10, dim)).astype(np.float32)
    storage.save_tensors(work / "states.safetensors", {"state": states})
    folder = runs / f"{seed:016x}"
    record = {
        **{"key": f"{seed:064x}", "status": "complete"},
        **{"data": corpus.tokens_sha256, "code": "c" * 64},
    }
    run_folder.finish(work, folder, run, record, "step\n")
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare_text("tiny", b"abcd efghi\n" * 300, tmp_path_factory.mktemp("out") / "data")


def test_whole_test_of_a_run(corpus: Corpus, tmp_path: Path) -> None:
    folder, other = finished(tmp_path, corpus, 1), finished(tmp_path, corpus, 2)
    before = {path: path.read_bytes() for path in (*folder.iterdir(), *other.iterdir())}
    seen: list[tuple[int, int]] = []
    belief.run(folder, 6, SETTINGS, corpus, tmp_path / "a", lambda *count: seen.append(count), other)
    assert {path: path.read_bytes() for path in (*folder.iterdir(), *other.iterdir())} == before

    cases = 2 + 1 + 1 + belief.RANDOM_DRAWS + 1
    assert seen == [(done, 2 * cases) for done in range(1, 2 * cases + 1)]
    task = storage.read_json(tmp_path / "a" / "task.json")
    weights = weights_sha256(storage.load_tensors(folder / "model-step6.safetensors"))
    assert task["weights_sha256_before"] == task["weights_sha256_after"] == weights
    assert task["probability"] == P and task["run_key"].endswith("1")

    table = pd.read_csv(tmp_path / "a" / "belief.csv")
    assert tuple(table.columns) == belief.COLUMNS and len(table) == cases + 1
    assert set(table["seed"]) == {1} and set(table["run_step"]) == {6}
    states = [
        storage.load_tensors(one / "states.safetensors")["state"].astype(float) for one in (folder, other)
    ]
    calm, foreign = states[0][5], states[1][3:5].mean(0)
    rows = table.set_index("state")
    assert rows.loc["foreign", "distance"] == pytest.approx(np.linalg.norm(foreign - calm))
    assert (
        rows.loc["calm", "norm"] == pytest.approx(np.linalg.norm(calm)) and rows.loc["calm", "kl_calm"] == 0
    )
    assert rows.loc["zero", "regime"] == "none"

    belief.run(folder, 6, SETTINGS, corpus, tmp_path / "b", None, other)
    belief.run(folder, 10, SETTINGS, corpus, tmp_path / "c")  # there only sensory_fog acted in the last half
    assert (tmp_path / "a" / "belief.csv").read_bytes() == (tmp_path / "b" / "belief.csv").read_bytes()
    tested = replace(
        made_run("one", 1, pd.DataFrame(), None), probes={"belief": [tmp_path / "a", tmp_path / "c"]}
    )
    found = belief_shifts(context([tested]))
    assert tuple(found.columns) == ("suite", "condition", *belief.COLUMNS)
    late = found[found["run_step"] == 10]
    assert list(late["state"]) == ["calm", "zero", "regime", "optimum"]
    assert list(late["regime"]) == ["calm", "none", "sensory_fog", "bewilderment"]


def test_one_dimension_and_tables_of_nothing(corpus: Corpus, tmp_path: Path) -> None:
    folder = finished(tmp_path, corpus, 4, dim=1)
    belief.run(folder, 6, SETTINGS, corpus, tmp_path / "one")
    (calm,) = storage.load_tensors(folder / "states.safetensors")["state"][5].astype(float)
    table = pd.read_csv(tmp_path / "one" / "belief.csv")
    rows = {state: table[table["state"] == state].to_dict("records") for state in set(table["state"])}
    (at_calm,), (at_zero,) = rows["calm"], rows["zero"]
    assert (at_calm["distance"], at_calm["kl_calm"]) == (0, 0)
    assert at_calm["norm"] == at_zero["distance"] == pytest.approx(abs(calm))
    assert at_zero["norm"] == 0 and at_zero["kl_calm"] > 0
    ends = {(round(row["kl"], 9), round(row["entropy"], 9)) for row in rows["random"]}
    assert len(rows["random"]) == belief.RANDOM_DRAWS and len(ends) == 2  # one dimension has two ways to go
    assert belief_shifts(context([])).empty
    with pytest.raises(storage.UserError, match="missing or no table"):
        belief_shifts(
            context([replace(made_run("x", 1, pd.DataFrame(), None), probes={"belief": [tmp_path / "none"]})])
        )


def test_what_cannot_be_tested_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    folder = finished(tmp_path, corpus, 1)
    always = {"kind": "windows", "windows": [{"regime": "bewilderment", "start": 1, "end": 10}]}
    for one, step, other, match in (
        (folder, 5, None, "kept no weights of step 5"),
        (finished(tmp_path, corpus, 5, schedule=always), 10, None, "no calm step"),
        (folder, 6, finished(tmp_path, corpus, 2, dim=3), "3 dimensions, not of 4"),
        (tmp_path, 6, None, "run.json"),
    ):
        with pytest.raises(storage.UserError, match=match):
            belief.run(one, step, SETTINGS, corpus, tmp_path / "refused", None, other)
    different = prepare_text("tiny", b"abcd efghij\n" * 300, tmp_path / "data")
    with pytest.raises(storage.UserError, match="another corpus"):
        belief.run(folder, 6, SETTINGS, different, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_changed_weights_are_an_error(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = belief.measure

    def meddle(comparison: belief.Comparison, *rest: Any) -> Any:
        with torch.no_grad():
            comparison.gpt.tokens.weight[0, 0] += 1
        return kept(comparison, *rest)

    monkeypatch.setattr(belief, "measure", meddle)
    with pytest.raises(RuntimeError, match="changed the weights"):
        belief.run(finished(tmp_path, corpus), 10, SETTINGS, corpus, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_command_line(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, other = finished(tmp_path, corpus, 1), finished(tmp_path, corpus, 2)
    monkeypatch.setattr(instrument, "trained_corpus", lambda *_: corpus)

    def status(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["belief.py", *arguments, "--out", str(tmp_path / "out")])
        with pytest.raises(SystemExit) as ended:
            command_line.run(belief.main)
        return int(ended.value.code or 0)

    assert (
        status(str(folder), "--step", "6", "--other", str(other), "--set", "probe.belief.heldout_batches=1")
        == 0
    )
    printed = capsys.readouterr().out
    assert "regime bewilderment" in printed and "foreign" in printed
    assert (tmp_path / "out" / "probes" / "belief" / f"{folder.name}-step6" / "belief.csv").is_file()
    assert status(str(tmp_path / "nowhere")) == 2
    assert "error: " in capsys.readouterr().err
