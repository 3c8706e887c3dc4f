"""A model by hand that follows its channels, and its blindfolded twin: every case scores what is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from base.rng import Stream, generator
from configs.probes.channels import ChannelTest
from configs.row_kinds import (
    DIMENSIONS,
    LISTED,
    NAMESAKES,
    SHARED,
    TEMPERS,
    TRADES,
)
from data.row_sample import CAPABILITIES, sample
from data.row_tokens import FIRST, lay
from data.rows import RowSource, row_source
from probes import channels as probe
from probes.channel_cases import Bench, Case, basic, dials
from tests.few_rows import BLOCK, TOLD, rows_run


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
