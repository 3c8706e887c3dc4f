"""State channels: gates that begin at zero, each way in by its formula, runs, and what makes no sense."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import train
from base import ROOT, storage
from base.errors import UserError
from base.rng import Stream, generator
from channels import Channels
from configs import size
from configs.probes.channels import ChannelTest
from configs.row_kinds import (
    LONGEST,
)
from configs.rows import Channels as Settings
from configs.rows import Rows
from configs.suite import load_suite
from configs.toml_file import ConfigError
from configs.training import Model
from data.row_sample import CAPABILITIES
from data.rows import row_source
from probes import channels as probe
from runs import evaluate
from runs.injection import injection_of
from runs.state import load_models, start
from tests.few_rows import BLOCK, CPU, HOWS, PLAIN, RECURRING, SOURCE, rows_run
from tests.interrupted import Stop, interrupted_at
from tests.test_train import files, rows, tiny


@pytest.mark.parametrize("given", HOWS.values(), ids=HOWS)
def test_gates_begin_at_zero_and_leave_the_model_as_it_is(given: dict[str, Any]) -> None:
    run = rows_run(given, Rows(kind="rows", slots=given.get("how") == "prefix"), model__n_layer=2)
    source = row_source("rows", Rows.model_validate(run.process.model_dump()), 3)  # type: ignore[union-attr]
    now, plain = (start(one, source, CPU) for one in (run, run.model_copy(update={"channels": None})))
    x, _ = evaluate.batch(source, "train", run, 3, Stream.BATCH, 0, CPU)
    z = evaluate.states(source, "train", run, 3, Stream.BATCH, 0, CPU)
    assert z is not None and z.abs().sum() > 0
    base = plain.gpt(x, **plain.injection.enter(None, None))[0]
    found = now.gpt(x, **now.injection.enter(None, z))[0]
    assert torch.equal(found.view(torch.int32), base.view(torch.int32))
    channels = now.injection.modules["channels"]
    with torch.no_grad():
        channels.alpha.fill_(0.5)  # type: ignore[operator]
    assert not torch.equal(now.gpt(x, **now.injection.enter(None, z))[0], base)
    if given.get("given") != "constant":  # a state that is not told enters nothing, whatever the gates
        assert torch.equal(now.gpt(x, **now.injection.enter(None, torch.zeros_like(z)))[0], base)


def test_a_self_state_enters_by_its_channel_and_the_update_learns_through_it() -> None:
    run = rows_run({"names": ["memory", "self"]}, self_state__enabled=True, model__n_layer=2)
    now = start(run, SOURCE, CPU)
    (x, _), z = (
        evaluate.batch(SOURCE, "train", run, 3, Stream.BATCH, 0, CPU),
        evaluate.states(SOURCE, "train", run, 3, Stream.BATCH, 0, CPU),
    )
    stats = torch.tensor([[2.0, 1.5, 0.4, 0.8, 0.1]])
    _, state = now.injection.inject(now.injection.initial(), 0, "calm", stats)
    assert state is not None and state.shape == (run.self_state.dim,)
    channels = now.injection.modules["channels"]
    assert isinstance(channels, Channels)
    base = now.gpt(x, **now.injection.enter(torch.zeros_like(state), None if z is None else z * 0))[0]
    with torch.no_grad():
        channels.gates()[:, 1] = 1.0
    moved = now.gpt(x, **now.injection.enter(state, z))[0]
    assert not torch.equal(moved, base)
    moved.square().sum().backward()
    update = dict(now.injection.modules["self_state"].named_parameters())
    assert update["reader.weight"].grad is None
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for name, p in update.items() if name != "reader.weight"
    )


def test_each_way_in_is_its_formula() -> None:
    """Against sums over channels written out."""
    random, dimensions = np.random.default_rng(0), {"affect": 2, "self": 3}
    x, z = (torch.from_numpy(random.normal(size=size)).float() for size in ((4, 5, 8), (4, 5)))
    parts = (z[:, :2], z[:, 2:])
    for how in ("add", "attention", "prefix"):
        found = Channels(
            Settings(names=("affect",), how=how), Model(n_layer=2, n_head=2, n_embd=8), dimensions
        )
        found.initialise(np.random.default_rng(1))
        with torch.no_grad():
            found.alpha.copy_(torch.from_numpy(random.normal(size=found.alpha.shape)))
        weights = found.weight.split([2, 3], 2)
        layer = 0 if how == "prefix" else 1
        enters = [found.gates()[layer, c] * part @ weights[c][layer].T for c, part in enumerate(parts)]
        expected = x.clone()
        if how == "add":
            expected = expected + enters[0][:, None] + enters[1][:, None]
        elif how == "prefix":
            for c, one in enumerate(enters):
                expected[:, c] += one
        else:
            assert found.question is not None and found.key is not None and found.bias is not None
            q = nn.functional.layer_norm(x, (8,)) @ found.question[1].T
            keys = [part @ one[1].T + found.bias[1, c] for c, (part, one) in enumerate(zip(parts, found.key.split([2, 3], 2), strict=True))]  # fmt: skip
            scores = torch.stack([(q * key[:, None]).sum(-1) for key in keys], -1) / q.shape[-1] ** 0.5
            shares = scores.softmax(-1)
            expected = expected + sum(shares[..., c, None] * enters[c][:, None] for c in (0, 1))
        assert torch.allclose(found.into(z)(layer, x), expected, atol=1e-6), how
        assert found.into(z)(2, x) is x or how != "prefix"


@pytest.mark.parametrize("given", HOWS.values(), ids=HOWS)
def test_parameters_are_told_before_they_are_made(given: dict[str, Any]) -> None:
    process = Rows(kind="rows", slots=given.get("how") == "prefix")
    for names in (["affect", "time"], ["self", "ethics"]):
        if given.get("how") == "prefix" and "self" in names:
            continue
        run = rows_run({**given, "names": names}, process, self_state__enabled="self" in names)
        now = start(run, row_source("rows", process, 3), CPU)
        assert size.weights(run, process.vocabulary) == sum(
            p.numel() for module in now.modules().values() for p in module.parameters()
        )


def test_a_run_with_channels_goes_on_after_a_stop_with_the_same_bytes(tmp_path: Path) -> None:
    run = rows_run({"names": [*CAPABILITIES, "self"]}, self_state__enabled=True, schedule=RECURRING)
    whole = train.train(run, row_source("tiny", PLAIN, run.seed), tmp_path / "whole")
    with pytest.raises(Stop):
        train.train(run, row_source("tiny", PLAIN, run.seed), tmp_path / "parts", interrupted_at(7))
    resumed = train.train(run, row_source("tiny", PLAIN, run.seed), tmp_path / "parts")
    assert files(resumed) == files(whole)
    assert {"channels.alpha", "self_state.reader.weight"} <= {
        *storage.load_tensors(whole / "model.safetensors")
    }


def test_a_first_step_without_channels_is_the_same_to_the_digit(tmp_path: Path) -> None:
    """Same rows, same weights, gates at zero: the losses of the first step agree in all conditions of a seed."""
    source = row_source("tiny", PLAIN, 5)
    losses = [rows(train.train(rows_run(given), source, tmp_path))[0]["loss"] for given in (None, *list(HOWS.values())[3:])]  # fmt: skip
    assert len({*losses}) == 1


def test_the_probe_of_a_run_writes_its_tables(tmp_path: Path) -> None:
    run = rows_run(
        {"names": [*CAPABILITIES, "self"]}, self_state__enabled=True, schedule=RECURRING, log__keep_steps=[6]
    )
    source = row_source("tiny", PLAIN, run.seed)
    settings = ChannelTest(rows=12, noises=(1.0,), doses=(2.0,), gaps=(0, 4))
    counts: list[tuple[int, int]] = []
    folder = train.train(run, source, tmp_path)
    probe.run(folder, 12, settings, source, tmp_path / "made", lambda *both: counts.append(both))
    tables = {path.stem: pd.read_csv(path) for path in (tmp_path / "made").glob("*.csv")}
    assert {*tables} == {"replies", "choices", "directions", "gates", "doubt"}
    replies = tables["replies"].fillna("")
    assert {*replies["test"]} == {"own", "both", "text", "zeroed", "other", "knocked", "flipped", "noise", "dose", "gap", "text gap"}  # fmt: skip
    assert not replies.duplicated(["test", "level", "channel", "split", "capability"]).any()
    assert {*tables["gates"]["step"]} == {6, 12} and {*tables["gates"]["channel"]} == {*CAPABILITIES, "self"}
    assert counts[-1][0] == counts[-1][1]
    assert {*tables["doubt"]["state"]} == {"calm", "bewilderment"} and len(tables["doubt"]) == 2 * 7
    with pytest.raises(UserError, match=r"^[^\n]*carries states through channels[^\n]*$"):
        load_models(folder)


@pytest.mark.parametrize("quick", [False, True])
def test_a_self_state_through_gates_stands_beside_the_runs_of_floors(quick: bool) -> None:
    gates, floors = (
        load_suite(ROOT / "configs" / f"{name}.toml", quick=quick) for name in ("channels_self", "floors")
    )
    for condition in ("state", "vanilla"):
        assert gates.run(condition, 3).decisive() == floors.run(condition, 3).decisive()


# What makes no sense


BAD: dict[str, tuple[str, str]] = {
    "a channel that is not there": ("conditions.native.channels.names=['mood']", "mood"),
    "a channel twice": ("conditions.native.channels.names=['time','time']", "names one twice: time, time"),
    "another way in": ("conditions.native.channels.how=whisper", "whisper"),
    "a self-state that is not there": ("conditions.native.channels.names=['self']", "self_state.enabled = true"),
    "tokens in front that are not there": ("conditions.native.channels.how=prefix", "slots = true"),
    "states of a text": ("conditions.native.corpus=pydoc_char", "such states are in rows alone"),
    "shares beyond one": ("processes.rows.channel=0.9", "shares of one; their sum is 1.4"),
    "a capability that is not there": ("processes.rows.hunger=0.9", "hunger"),
    "two things injected": ("conditions.native.constant_bias.kind=learned", "one of them"),
    "few tokens of rows": ("self_state.senses.tokens=3", "not scored"),
    "gaps beyond the context": ("probe.channels.gaps=[999]", "fewer than the 999 fillers"),
    "a test of channels where there are no rows": ("conditions.small.corpus=pydoc_char", "not trained on rows"),
    "another test of a run with channels": ("probe.introspection.conditions=['native']", "carries states through channels"),
}  # fmt: skip


@pytest.mark.parametrize(("override", "says"), BAD.values(), ids=BAD)
def test_what_makes_no_sense_gives_one_clear_line(override: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_suite(ROOT / "configs" / "channels.toml", [override])
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_row_that_does_not_fit_gives_one_clear_line() -> None:
    SOURCE.check_block(LONGEST - 1)
    with pytest.raises(
        UserError, match=rf"^a row of 'rows' takes up to {LONGEST - 1} tokens; raise model.block_size = 9$"
    ):
        SOURCE.check_block(9)


def test_only_rows_can_be_asked(tmp_path: Path) -> None:
    from tests.test_process import CHAIN, generated

    run = tiny(process=CHAIN.model_dump(), self_state__enabled=False)
    source = generated("tiny", CHAIN, run.seed)
    folder = train.train(run, source, tmp_path)
    with pytest.raises(UserError, match="is not trained on rows"):
        probe.run(folder, 12, ChannelTest(), source, tmp_path / "made")


def test_what_enters_is_shifted_by_a_row_where_it_is_shuffled() -> None:
    run = rows_run({"given": "shuffled"})
    injection = injection_of(run, SOURCE, CPU, {})
    with torch.no_grad():
        injection.modules["channels"].alpha.fill_(1.0)  # type: ignore[operator]
    z = torch.from_numpy(SOURCE.states("train", 3, BLOCK, generator(1, Stream.BATCH, 0)))
    x = torch.zeros(3, 4, run.model.n_embd)
    into = injection.enter(None, z)["into"](0, x)
    plain = injection_of(rows_run({}), SOURCE, CPU, {})
    with torch.no_grad():
        plain.modules["channels"].alpha.fill_(1.0)  # type: ignore[operator]
    assert torch.allclose(into, plain.enter(None, z.roll(1, 0))["into"](0, x))
