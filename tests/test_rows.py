"""Rows of facts, cues and replies: what is drawn, held out, scored and told."""

import numpy as np
import pandas as pd
import pytest
import torch

from base.rng import Stream, generator
from configs.row_kinds import (
    DIMENSIONS,
    FINE,
    HOURS,
    LISTED,
    NAMESAKES,
    PARTS,
    RISKS,
    SHARED,
    TEMPERS,
    WORKDAYS,
)
from configs.rows import Rows
from data.row_sample import CAPABILITIES, LISTS, Sample, sample
from data.row_tokens import FIRST, UNSCORED, replies, texts_of
from data.rows import allowed, row_source
from runs import evaluate
from runs.passes import Pass
from runs.state import start
from self_state import position_stats
from tests.few_rows import BLOCK, CPU, PLAIN, SOURCE, rows_run


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
