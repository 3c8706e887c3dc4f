"""Rows whose replies a state decides, channels that carry it, and what a model makes of it: each against a known answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import train
from base import ROOT, storage
from base.errors import UserError
from base.rng import Stream, generator
from channels import Channels
from configs import size
from configs.probes.channels import ChannelTest
from configs.row_kinds import (
    DIMENSIONS,
    FINE,
    HOURS,
    LISTED,
    LONGEST,
    NAMESAKES,
    PARTS,
    RISKS,
    SHARED,
    TEMPERS,
    TRADES,
    WORKDAYS,
)
from configs.rows import Channels as Settings
from configs.rows import Rows
from configs.run import RunConfig
from configs.suite import load_suite
from configs.toml_file import ConfigError
from configs.training import Model
from data.row_sample import CAPABILITIES, LISTS, Sample, sample
from data.row_tokens import FIRST, UNSCORED, lay, replies, texts_of
from data.rows import RowSource, allowed, row_source
from probes import channels as probe
from probes.channel_cases import Bench, Case, basic, dials
from runs import evaluate
from runs.injection import injection_of
from runs.passes import Pass
from runs.state import load_models, start
from self_state import position_stats
from tests.interrupted import Stop, interrupted_at
from tests.test_train import files, rows, tiny

CPU = torch.device("cpu")
BLOCK = LONGEST + 6
PLAIN = Rows(kind="rows")
TOLD = Rows(kind="rows", channel=1.0, both=0.0, text=0.0, noise=0.0, cropped=0.0)
SOURCE = row_source("rows", PLAIN, 3)
RECURRING = {"kind": "recurring", "regimes": ["bewilderment"], "enter": 0.5, "leave": 0.5}


def rows_run(given: Mapping[str, object] | None = None, process: Rows = PLAIN, **changes: Any) -> RunConfig:
    """A small run on rows, with channels of these fields, or none."""
    fields: dict[str, Any] = {
        "process": process.model_dump(), "model__block_size": BLOCK, "train__dtype": "float32", "self_state__enabled": False,
    }  # fmt: skip
    if given is not None:
        fields["channels"] = dict(given)
    return tiny(**{**fields, **changes})


HOWS: dict[str, dict[str, Any]] = {
    "add": {},
    "attention": {"how": "attention"},
    "prefix": {"how": "prefix"},
    "first": {"layers": "first"},
    "constant": {"given": "constant"},
    "shuffled": {"given": "shuffled"},
}


# Gates


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


# Rows


def test_rows_of_a_seed_are_the_same_in_all_conditions() -> None:
    """The facts and what is asked; what the shares of a config decide is drawn from the same numbers."""

    def drawn(settings: Rows, seed: int = 3) -> tuple[np.ndarray, ...]:
        source = row_source("rows", settings, seed)
        given = ("train", 50, BLOCK)
        return (*source.draw(*given, generator(5, Stream.BATCH, 7)), source.states(*given, generator(5, Stream.BATCH, 7)))  # fmt: skip

    x, y, z = drawn(PLAIN)
    again, _, other = drawn(PLAIN, 4)
    assert np.array_equal(x, again) and not np.allclose(z, other)
    wrong, y_wrong, z_wrong = drawn(PLAIN.model_copy(update={"channel_right": 0.5}))
    assert np.array_equal(x, wrong) and np.array_equal(y, y_wrong)
    same = (z == z_wrong).all(1).mean()
    assert 0.0 < same < 0.5
    slots, y_slots, _ = drawn(PLAIN.model_copy(update={"slots": True}))
    assert (slots[:, : len(CAPABILITIES)] == FIRST["slot"] + np.arange(len(CAPABILITIES))).all()
    for one, two in zip(y, y_slots, strict=True):
        assert np.array_equal(one[one != UNSCORED], two[two != UNSCORED])


def test_held_out_combinations_are_held_out_and_balanced() -> None:
    """No row of one split is in the other, and a prompt says as little of its reply in either."""
    count = 30_000
    drawn = {
        split: sample(split, count, BLOCK, generator(1, Stream.BATCH, 0)) for split in ("train", "heldout")
    }

    def held(one: Sample) -> dict[str, np.ndarray]:
        hour, day = one.codes["time"].T
        return {
            **{name: getattr(one, name).sum(1) % SHARED == 0 for name in ("nouns", "events", "acts")},
            "affect": (one.codes["affect"] % FINE).sum(1) % FINE == 0,
            "time": (hour + day) % (HOURS // PARTS) == 0,
        }

    assert all(there.all() for there in held(drawn["heldout"]).values())
    assert not any(there.any() for there in held(drawn["train"]).values())
    for one in drawn.values():
        codes = one.codes
        for name in LISTS:  # whichever is meant, its place, and whatever it is, how often it is meant
            assert np.bincount(codes[name][:, 0]) / count == pytest.approx(np.full(LISTED, 1 / 3), abs=0.015)
        for name, lists in (
            ("memory", one.nouns),
            ("continuity", one.events),
            ("identity", one.persons),
            ("ethics", one.acts),
        ):
            there = np.bincount(lists.ravel())
            meant = np.bincount(np.take_along_axis(lists, codes[name], 1)[:, 0], minlength=len(there))
            assert meant / there == pytest.approx(np.full(len(there), 1 / 3), abs=0.06)
            assert there / there.sum() == pytest.approx(np.full(len(there), 1 / len(there)), rel=0.1)
        for level in codes["affect"].T // FINE:
            assert np.bincount(level) / count == pytest.approx(np.full(4, 1 / 4), abs=0.015)
        assert np.bincount(codes["time"][:, 0] // (HOURS // PARTS)) / count == pytest.approx(
            np.full(PARTS, 1 / 4), abs=0.015
        )
        assert (codes["time"][:, 1] < WORKDAYS).mean() == pytest.approx(5 / 7, abs=0.015)
        changed = replies(one, codes) != replies(one, one.others)
        assert changed.all()  # another state decides otherwise, in each part of each reply


def test_each_list_has_one_answer() -> None:
    one = sample("train", 2000, BLOCK, generator(1, Stream.BATCH, 0))
    assert all(
        len({*row}) == LISTED for row in (one.nouns // SHARED).tolist() + (one.acts // SHARED).tolist()
    )
    cell = one.persons // NAMESAKES
    meant = np.take_along_axis(cell, one.codes["identity"], 1)
    assert ((cell == meant).sum(1) == 1).all()
    one_shared = (cell // TEMPERS == meant // TEMPERS) | (cell % TEMPERS == meant % TEMPERS)
    assert (
        one_shared.sum(1) >= 2
    ).all()  # neither the trade nor the temper alone tells who is meant, or not always
    low = allowed(one, one.codes["ethics"])
    assert (np.take_along_axis(low, one.acts // SHARED, 1).sum(1) == 1).all() and (
        low.sum(1) == RISKS - 2
    ).all()


def test_only_replies_are_scored() -> None:
    x, y = SOURCE.draw("train", 400, BLOCK, generator(2, Stream.BATCH, 0))
    cues = (x >= FIRST["cue"]) & (x < FIRST["cue"] + len(CAPABILITIES))
    assert (cues.sum(1) == len(CAPABILITIES)).all()
    scored = y != UNSCORED
    assert (scored.sum(1)[~_cropped(x)] == 8).all() and (y[scored] >= FIRST["noun"]).all()
    known = {FIRST["cue"] + CAPABILITIES.index(name) for name in LISTS}
    unknown = np.isin(x, [*known]) & _cropped(x)[:, None]
    assert unknown.any() and not scored[unknown].any()  # a list that is out of sight can't be chosen from
    assert (scored[cues & ~unknown]).all()


def _cropped(x: np.ndarray) -> np.ndarray:
    """Which rows (B,) have lost their prompt: of four lists, at most replies are left."""
    return ((x >= FIRST["noun"]) & (x < FIRST["category"])).sum(1) < 4 * LISTED


def test_what_is_not_scored_counts_nowhere() -> None:
    """Loss, statistics and gradient are those of the replies alone."""
    run = rows_run({})
    now = start(run, SOURCE, CPU)
    x, y = evaluate.seen_batch(run, SOURCE, 0, "calm")
    z = evaluate.states(SOURCE, "train", run, run.seed, Stream.BATCH, 0, CPU)
    found = Pass(now, None, z, x, y, torch.float32, 0).carry()
    told = evaluate.statistics(found, None)
    logits = now.gpt(torch.from_numpy(x))[0].detach()
    log_p = logits.log_softmax(-1)[torch.from_numpy(y >= 0)]
    answers = torch.from_numpy(y[y >= 0])
    assert told["loss"] == pytest.approx(float(-log_p[torch.arange(len(answers)), answers].mean()), rel=1e-6)
    assert told["entropy"] == pytest.approx(float(-(log_p.exp() * log_p).sum(-1).mean()), rel=1e-6)
    assert torch.isnan(position_stats(logits.log_softmax(-1), torch.from_numpy(y))).sum() == 3 * (y < 0).sum()
    corrupted = evaluate.seen_batch(run, SOURCE, 0, "bewilderment")[1]
    assert ((corrupted < 0) == (y < 0)).all() and (corrupted != y).any()
    loss, ece = evaluate.heldout(
        now.gpt, lambda states: now.injection.enter(None, states), run, SOURCE, torch.float32
    )
    assert 4.0 < loss < 6.5 and 0 <= ece <= 1  # an untrained model's, of 200 tokens


def test_vectors_and_texts_say_the_same() -> None:
    """A channel's vector tells no more and no less than the words: rows with equal words have equal vectors."""
    one = sample("heldout", 3000, BLOCK, generator(4, Stream.BATCH, 0))
    told, texts = SOURCE.told(one, one.codes), texts_of(one, one.codes)
    places = np.cumsum([0, *DIMENSIONS.values()])
    for (name, words), first, last in zip(texts.items(), places, places[1:], strict=False):
        said: np.ndarray = pd.DataFrame(words).groupby([*range(words.shape[1])]).ngroup().to_numpy()
        if name == "continuity":  # in the text the event's name, in the channel its place
            said = one.codes[name][:, 0]
        if name == "ethics":  # in the text the one kind of low risk that the prompt has
            said = allowed(one, one.codes[name]) @ (1, 2, 4, 8)
        for group in np.unique(said)[:12]:
            part = told[said == group, first:last]
            assert np.allclose(part, part[0], atol=1e-6), name
        assert len(np.unique(np.round(told[:, first:last], 4), axis=0)) == len(np.unique(said)), name
    assert np.abs(told).max() < 6 and told.std() == pytest.approx(1.0, abs=0.35)


# Models by hand


class Seen(nn.Module):
    """In the channels' place: shows the model the vectors themselves."""

    def into(self, z: Tensor, dose: float = 1.0) -> Tensor:
        return dose * z


class ByHand(nn.Module):
    """Replies as the channels say, and is as sure of it as can be; blindfolded it sees zeros there."""

    def __init__(self, source: RowSource, blindfolded: bool = False) -> None:
        super().__init__()
        self.source, self.blindfolded = source, blindfolded

    def forward(self, x: Tensor, into: Tensor) -> tuple[Tensor, None]:
        tokens, z = x.numpy(), into.double().numpy()
        z = np.zeros_like(z) if self.blindfolded else z
        part = dict(
            zip(CAPABILITIES, np.split(z, np.cumsum([*DIMENSIONS.values()])[:-1], axis=1), strict=True)
        )
        logits = np.zeros((*tokens.shape, self.source.vocab_size))
        for at, row in enumerate(tokens):
            says = self.replies(row, {name: one[at] for name, one in part.items()})
            for capability, name in enumerate(CAPABILITIES):
                (place,) = np.flatnonzero(row == FIRST["cue"] + capability)
                for k, token in enumerate(says[name]):
                    logits[at, place + k, token] = 50.0
        return torch.from_numpy(logits), None

    def replies(self, row: np.ndarray, z: dict[str, np.ndarray]) -> dict[str, list[int]]:
        def listed(kind: str, count: int) -> np.ndarray:
            return row[(row >= FIRST[kind]) & (row < FIRST[kind] + count)][:LISTED] - FIRST[kind]

        def nearest(rows: np.ndarray, wanted: np.ndarray) -> int:
            return int(np.linalg.norm(rows - wanted, axis=1).argmin())

        tables = self.source.vectors
        nouns, events, persons, acts = (
            listed("noun", 30),
            listed("event", 20),
            listed("person", 50),
            listed("act", 20),
        )
        cell = persons // NAMESAKES
        both = (tables["identity"][cell // TEMPERS] + tables["identity"][TRADES + cell % TEMPERS]) / 2**0.5
        valence, arousal = np.clip(np.round((z["affect"] / 3**0.5 + 1) / 2 * 15), 0, 15).astype(int)
        # cosines of hour and day, sines of both
        angles = np.arctan2(z["time"][2:4], z["time"][:2]) / (2 * np.pi)
        hour, day = (int(np.round(angle * most)) % most for angle, most in zip(angles, (24, 7), strict=True))
        low = tables["ethics"] @ z["ethics"]
        return {
            "memory": [FIRST["noun"] + nouns[nearest(tables["memory"][nouns // SHARED], z["memory"])]],
            "continuity": [FIRST["event"] + events[nearest(tables["continuity"], z["continuity"])]],
            "identity": [FIRST["person"] + persons[nearest(both, z["identity"])]],
            "affect": [FIRST["manner"] + arousal // 4, FIRST["mood"] + valence // 4],
            "time": [FIRST["part"] + hour // 6, FIRST["week"] + int(day >= 5)],
            "ethics": [FIRST["act"] + acts[low[acts // SHARED].argmax()]],
        }


ROWS = 200
DRAWN = sample("heldout", ROWS, BLOCK, generator(9, Stream.EVAL, 0))
NOTHING = {name: np.full_like(codes, -1) for name, codes in DRAWN.codes.items()}
CHANCE = {
    "memory": 1 / 3,
    "continuity": 1 / 3,
    "identity": 1 / 3,
    "affect": 1 / 16,
    "time": 5 / 28,
    "ethics": 1 / 3,
}


def bench(blindfolded: bool = False) -> Bench:
    source = row_source("rows", TOLD, 3)
    return Bench(rows_run({}, TOLD), ByHand(source, blindfolded), Seen(), source)  # type: ignore[arg-type]


def right(one: Bench, cases: list[Case]) -> dict[str, dict[str, float]]:
    """Shares of right replies by test (and channel) and capability."""
    found: dict[str, dict[str, float]] = {}
    for row in probe.scored(one, "heldout", DRAWN, cases)[0]:
        found.setdefault(f"{row['test']} {row['channel']}".strip(), {})[row["capability"]] = row["right"]
    return found


def test_a_model_that_follows_the_channels_scores_one_and_its_blindfolded_twin_chance() -> None:
    cases = basic(bench(), DRAWN, NOTHING, None)
    shares, blind = right(bench(), cases), right(bench(blindfolded=True), cases)
    for test in ("own", "both"):
        assert {*shares[test].values()} == {1.0}
    for name, p in CHANCE.items():
        expected = pytest.approx(p, abs=5 * (p * (1 - p) / ROWS) ** 0.5)
        assert all(blind[test][name] == expected for test in ("text", "zeroed", "own")), name
        assert shares["zeroed"][name] == blind["zeroed"][name] and shares["other"][name] < 0.6


def test_each_channel_alone_decides_its_reply() -> None:
    own = basic(bench(), DRAWN, NOTHING, None)[0]
    settings = ChannelTest(noises=(), doses=(), gaps=())
    shares = right(bench(), dials(bench(), DRAWN, own, np.zeros_like(own.states), settings, {}))
    for name in CAPABILITIES:
        for test in ("knocked", "flipped"):
            assert {shares[f"{test} {name}"][other] for other in CAPABILITIES if other != name} == {1.0}
        assert shares[f"flipped {name}"][name] == 0.0 and shares[f"knocked {name}"][name] < 0.6


def test_noise_and_gaps_do_what_they_say() -> None:
    own = basic(bench(), DRAWN, NOTHING, None)[0]
    settings = ChannelTest(noises=(0.0, 30.0), doses=(), gaps=(0, BLOCK))
    found = pd.DataFrame(probe.scored(bench(), "heldout", DRAWN, dials(bench(), DRAWN, own, own.states * 0, settings, {})[-6:-4])[0])  # fmt: skip
    assert (found[found["level"] == 0.0]["right"] == 1.0).all() and found[found["level"] == 30.0][
        "right"
    ].max() < 0.7
    for gap, there in ((0, True), (BLOCK, False)):  # the prompt is in sight, or has left the window
        laid = lay(DRAWN, BLOCK, NOTHING, gap=gap)
        assert ((laid.x >= FIRST["noun"]) & (laid.x < FIRST["event"])).any(1).mean() >= there
        assert (laid.where >= 0).all()


def test_conflicts_pairs_and_directions_of_a_model_that_follows_the_channels() -> None:
    own = basic(bench(), DRAWN, NOTHING, None)[0]
    for row in probe.choices(bench(), DRAWN, own):
        assert (row["channel"], row["text"], row["pairs"]) == (1.0, 0.0, 1.0) and row[
            "weight"
        ] == pytest.approx(1.0)
    for row in probe.choices(bench(blindfolded=True), DRAWN, own):
        assert row["pairs"] == 0.0
    moved = {row["moved"]: row for row in probe.directions(bench(), DRAWN, own)}
    assert {*moved} == {"valence", "arousal", "hour", "day", "risk"}
    assert all(
        row["share"] == 1.0 and row["change"] == pytest.approx(1.0, abs=0.02) for row in moved.values()
    )
    assert all(row["share"] == 0.0 for row in probe.directions(bench(blindfolded=True), DRAWN, own))


# Runs


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
