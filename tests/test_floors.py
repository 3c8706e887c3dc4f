"""Living on with the weights frozen, and the floors that a life is held against."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import train
from base.storage import UserError
from configs.probes.floors import Floors, World
from configs.process import Chain
from configs.run import RunConfig
from data.process import Generated, generated
from probes import closed_loop, floors
from probes.account import account, check, told
from probes.belief_reading import Reading, r2, read_belief
from probes.closed_loop import Moment, live, living, open_subject
from runs import evaluate, observer
from tests.test_train import tiny

CHAIN = Chain(kind="chain", tokens=4, uniform=0.1)
RECURRING = {"kind": "recurring", "regimes": ["bewilderment"], "enter": 0.1, "leave": 0.1}
SHORT = Floors(
    life_steps=40,
    fit_steps=40,
    world_steps=40,
    batches=2,
    beliefs=3,
    worlds={"stronger": World(probability=0.9)},
)


def of_chain(**changes: object) -> RunConfig:
    kept = {"log__keep_checkpoints": [10], "train__steps": 10, "train__dtype": "float32"}
    return tiny(**{"process": CHAIN.model_dump(), "schedule": RECURRING, **kept, **changes})


def source_of(run: RunConfig) -> Generated:
    assert run.process is not None
    return generated("x", run.process, run.seed)


def made_life(run: RunConfig, source: Generated, predict: str, steps: int = 300) -> list[Moment]:
    """Moments of a hand-made model: the mixture under the ideal observer's belief, under a fixed one, or the truth."""
    found = []
    subject = closed_loop.Subject(run, None, None, None, None)  # type: ignore[arg-type]
    life = living(subject)
    life = life.model_copy(update={"train": life.train.model_copy(update={"steps": steps})})
    regimes, watch = closed_loop.perturb.regimes_by_step(life), closed_loop.Watch(life, source)
    share = np.mean([name == "bewilderment" for name in regimes])
    for step, regime in enumerate(regimes):
        x, y = evaluate.seen_batch(life, source, step, regime)
        belief = {
            "filter": watch.belief[1],
            "blind": share,
            "truth": float(regime == "bewilderment"),
            "peeks": 2.0,
        }[predict]
        log_p = torch.from_numpy(np.log(observer.mixed(life, source.odds(x), belief)))
        found.append(Moment(step, regime, x, y, log_p, None, watch.belief, torch.zeros(5)))
        watch.see(x, y, step)
    return found


def captured(run: RunConfig, predict: str) -> float:
    source = source_of(run)
    rows = told(account(run, source, made_life(run, source, predict)), "own")
    return float(rows[0]["captured"])


def test_the_ideal_observer_captures_all_and_who_ignores_all_nothing() -> None:
    assert captured(of_chain(), "filter") == pytest.approx(1, abs=1e-9)
    assert captured(of_chain(), "blind") == pytest.approx(0, abs=1e-9)


def test_who_knows_more_than_can_be_known_is_a_fault_of_the_harness() -> None:
    with pytest.raises(RuntimeError, match="below the ideal observer's floor"):
        captured(of_chain(), "truth")
    assert captured(of_chain(self_state__senses={"kind": "regime"}), "truth") > 1  # told so, it may
    source, run = source_of(of_chain()), of_chain()
    moments = made_life(run, source, "filter", 20)
    with pytest.raises(RuntimeError, match="below the oracle's floor"):
        found = account(run, source, moments)
        check(replace(found, loss=found.loss - 1.0))


def test_a_life_is_lost_for_its_longest_stretch_above_the_ideal_observer() -> None:
    run = of_chain()
    found = account(run, source_of(run), made_life(run, source_of(run), "filter", 20))
    assert told(found, "own")[0]["lost"] == 0
    loss = found.loss.copy()
    loss[[2, *range(5, 9), 12, 13]] += 0.11
    loss[15:] += 0.09
    assert told(replace(found, loss=loss), "own")[0]["lost"] == 4


@settings(max_examples=12, deadline=None)
@given(
    st.integers(2, 4), st.integers(1, 2), st.floats(0.1, 3.0), st.floats(0.02, 0.6), st.floats(0.1, 0.9), st.integers(1, 99)
)  # fmt: skip
def test_blind_costs_most_and_the_truth_least(
    tokens: int, order: int, concentration: float, rate: float, probability: float, seed: int
) -> None:
    """On any source: in the mean over a long life, up to what its finite length can do to the filter."""
    chain = Chain(kind="chain", tokens=tokens, order=order, concentration=concentration, uniform=0.05)
    run = of_chain(
        process=chain.model_dump(), schedule={**RECURRING, "enter": rate, "leave": rate},
        regimes__bewilderment__probability=probability, seed=seed,
    )  # fmt: skip
    source = source_of(run)
    found = account(run, source, made_life(run, source, "filter", 200))
    assert found.loss == pytest.approx(found.filter, abs=1e-9)
    assert (found.filter >= found.oracle - 1e-12).all() and (found.blind >= found.oracle - 1e-12).all()
    spread = (found.blind - found.filter).std() / np.sqrt(len(found.blind) * rate)
    assert found.blind.mean() >= found.filter.mean() - 4 * spread - 1e-9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = of_chain()
    return train.train(run, source_of(run), tmp_path_factory.mktemp("runs"))


def test_closed_and_open_loop_agree_where_the_state_is_ignored(folder: Path) -> None:
    subject = open_subject(folder)
    assert subject.self_state is not None
    source, life = source_of(subject.run), living(subject)
    with torch.no_grad():
        subject.self_state.reader.weight.zero_()
    closed = [one.log_p for one in live(subject, source, life, 6)]
    opened = [
        one.log_p
        for one in live(subject, source, life, 6, lambda step, regime, state: torch.zeros_like(state))
    ]
    assert all(torch.equal(a, b) for a, b in zip(closed, opened, strict=True))


def test_the_loop_is_closed_by_what_is_measured(folder: Path) -> None:
    subject = open_subject(folder)
    source, life = source_of(subject.run), living(subject)
    moments = list(live(subject, source, life, 5))
    value = subject.value
    for before, now in itertools.pairwise(moments):
        assert subject.self_state is not None and value is not None and now.state is not None
        with torch.no_grad():
            value, _ = subject.self_state.update(value, before.stats)
        assert torch.equal(value.state, now.state)
    assert not np.array_equal(
        moments[0].x, evaluate.seen_batch(subject.run, source, 0, "calm")[0]
    )  # a fresh life


def test_the_whole_probe(folder: Path, tmp_path: Path) -> None:
    run = of_chain()
    for made in (tmp_path / "a", tmp_path / "b"):
        floors.run(folder, 10, SHORT, source_of(run), made)
    files = ("floors.csv", "held.csv", "cause.csv", "path.csv")
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    table = pd.read_csv(tmp_path / "a" / "floors.csv")
    assert set(table["life"]) == {"own", "stronger"} and set(table["part"]) == {"all", "calm", "bewilderment"}
    assert (table["oracle"] <= table["loss"]).all() and (table["seed"] == run.seed).all()
    cause = pd.read_csv(tmp_path / "a" / "cause.csv")
    assert set(cause["move"]) == {"belief", "random", "scrambled"} and (cause["kl"] > 0).all()
    assert "captured" in floors.summary(tmp_path / "a")
    plain = of_chain(self_state__enabled=False)
    vanilla = train.train(plain, source_of(plain), tmp_path / "runs")
    floors.run(vanilla, 10, SHORT, source_of(plain), tmp_path / "c")
    assert set(pd.read_csv(tmp_path / "c" / "floors.csv")["life"]) == {"own", "hand-coded"}


def test_a_belief_is_read_from_a_state_that_holds_it() -> None:
    random = np.random.default_rng(3)
    belief = random.random(400)
    way = random.normal(size=6)
    states = np.outer(belief, way) + random.normal(size=6)
    reading = read_belief(states, belief)
    assert r2(states @ reading.weight + reading.offset, belief) > 0.999
    assert reading.slope == pytest.approx(way, rel=1e-6)
    noise = random.normal(size=(400, 6))
    fitted = read_belief(noise, belief)
    assert r2(random.normal(size=(400, 6)) @ fitted.weight + fitted.offset, belief) < 0.05


def test_a_state_set_to_a_belief_that_the_model_answers_exactly_implies_that_belief() -> None:
    """A hand-made model whose bias is the belief itself, and which predicts the mixture under it."""
    source = source_of(of_chain())
    run = of_chain(self_state__dim=1)

    class Believer(torch.nn.Module):
        def forward(self, tokens: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, None]:
            belief = float(bias[0])
            return torch.from_numpy(np.log(observer.mixed(run, source.odds(tokens.numpy()), belief))), None

    class Reads(torch.nn.Module):
        reader = torch.nn.Linear(1, 1, bias=False)

    with torch.no_grad():
        Reads.reader.weight.fill_(1.0)
    subject = closed_loop.Subject(run, Believer(), Reads(), None, None)  # type: ignore[arg-type]
    reading = Reading(np.ones(1), 0.0, np.array([0.5]), np.ones(1), 0.5)
    rows = [row for row in floors.cause(subject, run, source, reading, SHORT) if row["move"] == "belief"]
    assert [row["implied"] for row in rows] == pytest.approx([0.0, 0.5, 1.0], abs=0.011)
    assert [row["kl"] for row in rows] == pytest.approx([0, 0, 0], abs=1e-6)


def test_bad_input_is_one_line(tmp_path: Path, folder: Path) -> None:
    assert "a text" in Floors().misfit(tiny())
    assert "no recurring regimes" in Floors().misfit(of_chain(schedule={"kind": "none"}))
    assert "not known" in Floors().misfit(of_chain(schedule={**RECURRING, "regimes": ["lr_heatwave"]}))
    assert "add 10 to log.keep_checkpoints" in Floors().misfit(of_chain(log__keep_checkpoints=[]))
    lacks = of_chain(log__keep_checkpoints=[])
    with pytest.raises(UserError, match="kept no checkpoint of its last step"):
        open_subject(train.train(lacks, source_of(lacks), tmp_path))
    with pytest.raises(UserError, match="floors under lr_heatwave are not known"):
        floors.elsewhere(of_chain(), World(regime="lr_heatwave"))
    sure = Chain(kind="chain", tokens=2, concentration=1e-6, uniform=0.0)
    dull = of_chain(process=sure.model_dump())
    made = train.train(dull, source_of(dull), tmp_path)
    with pytest.raises(UserError, match="a source without entropy"):
        floors.run(made, 10, SHORT, source_of(dull), tmp_path / "never")
