"""Processes as corpora, and the ideal observer of the regimes: both against enumeration."""

import functools
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import perturb
import train
from base import storage
from base.rng import Stream, generator
from configs.process import Chain, Hidden
from configs.run import RunConfig
from data.process import Generated, generated
from runs import evaluate, observer
from runs import folder as run_folder
from runs.state import load_models
from tests.test_train import rows, tiny

EVEN = Hidden(kind="hidden", transitions=(((0.5, 0.0), (0.0, 0.0)), ((0.0, 0.5), (1.0, 0.0))))
"""The even process: ones come in runs of even length."""
PROCESSES = {
    "even": generated("even", EVEN, 1),
    "chain": generated("chain", Chain(kind="chain", tokens=3, uniform=0.1), 2),
    "second order": generated("second", Chain(kind="chain", tokens=2, order=2, concentration=1.0), 3),
}
RECURRING = {"kind": "recurring", "regimes": ["bewilderment", "sensory_fog"], "enter": 0.3, "leave": 0.4}


def chance(source: Generated, sequence: tuple[int, ...]) -> np.ndarray:
    """Probability of a sequence together with each state after it, by the definition: a product of matrices."""
    return functools.reduce(lambda row, token: row @ source.transitions[token], sequence, source.stationary)


@pytest.mark.parametrize("source", PROCESSES.values(), ids=PROCESSES)
def test_beliefs_and_odds_are_those_of_enumeration(source: Generated) -> None:
    assert source.stationary @ source.transitions.sum(0) == pytest.approx(source.stationary, abs=1e-12)
    for sequence in itertools.product(range(source.vocab_size), repeat=4):
        whole = chance(source, sequence)
        if whole.sum() == 0:
            continue
        x = np.array([sequence])
        assert source.beliefs(x)[0, -1] == pytest.approx(whole / whole.sum(), abs=1e-12)
        nexts = [chance(source, (*sequence, token)).sum() / whole.sum() for token in range(source.vocab_size)]
        assert source.odds(x)[0, -1] == pytest.approx(nexts, abs=1e-12)
        masked = np.array([[sequence[0], source.vocab_size, *sequence[2:]]])
        sums = [chance(source, (sequence[0], token, *sequence[2:])) for token in range(source.vocab_size)]
        assert source.beliefs(masked)[0, -1] == pytest.approx(np.sum(sums, 0) / np.sum(sums), abs=1e-12)


@pytest.mark.parametrize("source", PROCESSES.values(), ids=PROCESSES)
def test_what_is_drawn_has_its_probabilities(source: Generated) -> None:
    x, y = source.draw("train", 40_000, 3, generator(7, Stream.BATCH, 0))
    assert x.dtype == y.dtype == np.int64 and np.array_equal(x[:, 1:], y[:, :-1])
    whole = np.concatenate([x, y[:, -1:]], axis=1)
    for sequence in itertools.product(range(source.vocab_size), repeat=4):
        share = (whole == sequence).all(1).mean()
        expected = chance(source, sequence).sum()
        assert share == pytest.approx(expected, abs=5 * np.sqrt(expected / 40_000) + 1e-12)
    again, _ = source.draw("heldout", 40_000, 3, generator(7, Stream.BATCH, 0))
    assert np.array_equal(x, again)


def test_a_chain_is_the_seeds_own() -> None:
    chain = Chain(kind="chain")
    one, same, other = (generated("x", chain, seed).transitions for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.allclose(one, other)
    assert one.sum((0, 2)) == pytest.approx(np.ones(16), abs=1e-12)


CHAIN = Chain(kind="chain", tokens=3, uniform=0.1)


def process_run(**changes: object) -> RunConfig:
    return tiny(process=CHAIN.model_dump(), schedule=RECURRING, **changes)


def test_the_observer_is_bayes_rule_over_all_courses() -> None:
    """Against the sum over every course of regimes, of its probability times that of all that was seen."""
    run, steps = process_run(), 5
    source = generated("x", CHAIN, run.seed)
    names, moves, regimes = observer.regimes_of(run), observer.switching(run), perturb.regimes_by_step(run)
    seen = []
    for step in range(steps):
        x, y = evaluate.seen_batch(run, source, step, regimes[step])
        odds, fog = source.odds(x), run.regimes.sensory_fog.probability
        corrupted = run.regimes.bewilderment.probability
        likelihood = []
        for name in names:
            total = 1.0
            for i, j in np.ndindex(x.shape):
                masked = x[i, j] == source.vocab_size
                share = {"bewilderment": 0.0, "calm": 0.0, "sensory_fog": fog}[name]
                total *= share if masked else 1 - share
                p = odds[i, j, y[i, j]]
                total *= (1 - corrupted) * p + corrupted / 3 if name == "bewilderment" else p
            likelihood.append(total)
        seen.append(likelihood)
    found = observer.beliefs(run, source)
    for step in range(steps):
        weight = np.zeros(3)
        for course in itertools.product(range(3), repeat=step + 1):
            if course[0]:
                continue
            chance = np.prod([moves[a, b] for a, b in itertools.pairwise(course)])
            weight[course[-1]] += chance * np.prod([seen[at][course[at]] for at in range(step)])
        assert found[step] == pytest.approx(weight / weight.sum(), abs=1e-9)


def test_a_state_can_be_shown_the_belief(tmp_path: Path) -> None:
    run = process_run(self_state__senses={"kind": "filter"})
    source = generated("x", CHAIN, run.seed)
    folder = train.train(run, source, tmp_path)
    assert storage.read_json(folder / "run.json")["data"] == source.tokens_sha256
    assert len(rows(folder)) == run.train.steps
    shown = observer.as_stats(run, observer.beliefs(run, source), perturb.REGIMES)
    assert shown.shape == (run.train.steps, 5) and (shown[:, 2:] == 0).all() and (shown[1:, :2] > 0).any()


def test_senses_of_few_tokens_see_those_alone(tmp_path: Path) -> None:
    run = process_run(self_state__senses={"kind": "own", "tokens": 2})
    source = generated("x", CHAIN, run.seed)
    folder = train.train(run, source, tmp_path)
    for row in rows(folder):
        assert row["loss_seen"] != row["loss"] and float(row["entropy_seen"]) <= np.log(3) + 1e-6
    shown = evaluate.told(
        run, {**rows(folder)[3], "progress": 0.5} | {"loss_seen": 1.0, "entropy_seen": 2.0, "top1_seen": 3.0}
    )
    assert shown.tolist() == [1.0, 2.0, 3.0, 0.0, 0.5]
    whole = train.train(process_run(), source, tmp_path)
    assert {row["loss_seen"] for row in rows(whole)} == {""}
    assert rows(whole)[0]["loss"] == rows(folder)[0]["loss"]


def test_nothing_is_injected_after_the_end(tmp_path: Path) -> None:
    ending = train.train(process_run(inject_until=4), generated("x", CHAIN, 0), tmp_path)
    found = rows(ending)
    assert all(row["bias_norm"] for row in found[:4]) and not any(row["bias_norm"] for row in found[4:])
    states = storage.load_tensors(ending / "states.safetensors")["state"]
    assert (states[4:] == states[3]).all()
    assert run_folder.check(ending)


@pytest.mark.parametrize(
    "injected", [{}, {"self_state__enabled": False, "constant_bias__kind": "learned"}], ids=["state", "bias"]
)
def test_until_it_ends_an_injection_is_what_it_is_without_an_end(tmp_path: Path, injected: dict) -> None:
    """Bit for bit; from then on the model is trained on, without it, and what made it learns no more."""
    source, kept = generated("x", CHAIN, 0), {"log__keep_steps": [4], "train__dtype": "float32", **injected}
    ending, whole = (
        train.train(process_run(**kept, **end), source, tmp_path) for end in ({"inject_until": 4}, {})
    )
    assert rows(ending)[:4] == rows(whole)[:4] and rows(ending)[4]["loss"] != rows(whole)[4]["loss"]
    then = storage.load_tensors(ending / run_folder.weights_name(4))
    assert (ending / run_folder.weights_name(4)).read_bytes() == (
        whole / run_folder.weights_name(4)
    ).read_bytes()
    ended, went_on = (
        storage.load_tensors(folder / run_folder.weights_name(None)) for folder in (ending, whole)
    )
    makers = [name for name in then if name.startswith(("self_state.", "constant_bias."))]
    assert makers and all(np.array_equal(ended[name], then[name]) for name in makers)
    assert any(not np.array_equal(went_on[name], then[name]) for name in makers)
    assert all(not np.array_equal(ended[name], then[name]) for name in then if name not in makers)
    run, gpt, _ = load_models(ending, None)
    loss, _ = evaluate.heldout(gpt, lambda states: {"bias": None}, run, source, torch.float32)
    assert loss == pytest.approx(float(rows(ending)[-1]["heldout_loss"]), rel=1e-6)


BAD = {
    "rows that do not sum to one": (
        {"process": {"kind": "hidden", "transitions": [[[0.5, 0.1], [0, 0]], [[0, 0.5], [1, 0]]]}},
        "transitions from state 0 sum to 1.1 over all symbols and states; make it 1",
    ),
    "matrices of two sizes": (
        {"process": {"kind": "hidden", "transitions": [[[0.5, 0.0], [0, 0]], [[0.5]]]}}, "one square matrix a symbol"
    ),
    "no entropy": (
        {"process": {"kind": "hidden", "transitions": [[[0, 1], [0, 0]], [[0, 0], [1, 0]]]}}, "a source without entropy"
    ),
    "too many states": ({"process": {"kind": "chain", "tokens": 100, "order": 3}}, "has 1000000 states"),
    "too many tokens seen": (
        {"self_state__senses": {"kind": "own", "tokens": 9999}}, "take at most so many"
    ),
    "the last positions of few tokens": (
        {"self_state__senses": {"kind": "own", "tokens": 2, "positions": "last"}}, "leave out positions"
    ),
    "an observer of a text": ({"self_state__senses": {"kind": "filter"}}, "an ideal observer is known for a process"),
    "an end of nothing": ({"self_state__enabled": False, "inject_until": 3}, "has nothing to end"),
    "corruption beyond one": ({"regimes__bewilderment__probability": 1.5}, "less than or equal to 1"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_what_makes_no_sense_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**changes)
