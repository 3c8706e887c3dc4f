"""Moves from belief to belief in a model made by hand, whose stream is the belief and the token."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from data.process import Generated
from probes import moved
from probes.belief_map import crossed, cut, scores
from probes.histories import Histories, theory
from probes.moved import ANY, EQUAL_NEXT, Exchange, Layers
from tests.known_processes import known, process


class Holds(Layers):
    """Its stream is [belief, token]. At its middle a position takes the belief of the one before and its own token; predictions are an
    ideal observer's."""

    def __init__(self, source: Generated) -> None:
        self.source = source

    @property
    def count(self) -> int:
        return 2

    def streams(self, tokens: Tensor) -> Iterator[Tensor]:
        with np.errstate(invalid="ignore"):  # a token that can't come leaves no belief
            belief = torch.from_numpy(self.source.beliefs(tokens.numpy())).float().nan_to_num()
        token = torch.nn.functional.one_hot(tokens, self.source.vocab_size).float()
        for _ in range(3):
            yield torch.cat([belief, token], -1)

    def onward(self, stream: Tensor, layer: int) -> Tensor:
        states = len(self.source.stationary)
        belief, token = stream[..., :states].double(), stream[..., states:].double()
        if layer < 2:
            after = torch.einsum(
                "bts,btv,vsu->btu", belief[:, :-1], token[:, 1:], torch.from_numpy(self.source.transitions)
            )
            after = after / after.sum(-1, keepdim=True).clamp_min(1e-9)
            belief = torch.cat([belief[:, :1], after], 1)
        odds = belief @ torch.from_numpy(self.source.transitions.sum(2).T)
        return odds.clamp_min(1e-9).log()


def study_of(name: str, length: int) -> tuple[Generated, Histories, Holds, list[np.ndarray]]:
    source, found, model = process(name), known(name, length), Holds(process(name))
    return source, found, model, moved.streams_of(model, found)


@pytest.mark.parametrize("name", ["rrxor", "z1r"])
def test_a_model_that_holds_the_belief_exactly(name: str) -> None:
    source, found, model, streams = study_of(name, 6)
    of = cut(found.weight, found.length, 1)
    for stream in streams:
        assert stream.shape == (len(found), len(source.stationary) + 2)
        assert scores(crossed(stream, found.belief, of), found.belief, of.weight)["r2"] == pytest.approx(
            1, abs=1e-6
        )
    everything = moved.scored(source, found, 10_000, np.random.default_rng(0))
    assert everything.loss(model.predictions(everything.tokens)) == pytest.approx(
        everything.optimal, abs=1e-6
    )
    assert everything.optimal == pytest.approx(np.mean([row["optimal"] for row in theory(source, found)]))


def kl(rows: pd.DataFrame, column: str, **where: object) -> float:
    """The one value of a column where others are so."""
    for name, value in where.items():
        rows = rows[rows[name] == value]
    return float(rows[f"kl_{column}"].item())


def test_moved_to_a_belief_it_predicts_what_that_belief_says() -> None:
    """KL 0 after a full move, which stays where it was without one, and does not get there by other moves."""
    source, found, model, streams = study_of("rrxor", 6)
    of = cut(found.weight, found.length, 1)
    chosen = moved.pairs(source, found, EQUAL_NEXT, 60, np.random.default_rng(0))
    assert chosen is not None and chosen.weight.sum() == pytest.approx(1)
    for one, other in ((chosen.source, chosen.target), (chosen.source, chosen.foreign)):
        assert (found.length[one] == found.length[other]).all()
        assert (np.abs(found.belief[one] - found.belief[other]).max(1) > 1e-6).all()
    assert np.allclose(found.odds[chosen.source], found.odds[chosen.target])
    ways = moved.belief_to_stream(found, streams, of)
    rows = pd.DataFrame(
        moved.moves(
            model, Exchange(source, found, chosen), EQUAL_NEXT, ways, of, 3, 2, np.random.default_rng(1)
        )
    )
    assert len(rows) == 2 * 2 * 4 * 3 and set(rows.columns) == set(moved.MOVES)
    middle, last = (rows[rows["layer"] == layer] for layer in (1, 2))
    for reach in ("one", "past"):
        assert kl(middle, "source2", reach=reach, move="belief", dose=0.0) == pytest.approx(0, abs=1e-5)
        assert kl(middle, "target2", reach=reach, move="belief", dose=0.0) > 0.1
        for move in ("belief", "stream"):
            assert kl(middle, "target2", reach=reach, move=move, dose=1.0) == pytest.approx(0, abs=1e-5)
        for move in ("random", "foreign"):
            assert kl(middle, "target2", reach=reach, move=move, dose=1.0) > 0.05
    ends = [kl(last, "target2", reach="one", move="belief", dose=dose) for dose in (0.0, 1.0)]
    assert ends[0] == pytest.approx(ends[1])  # nothing reads the last layer of a position from another one


def test_at_the_last_layer_a_move_is_the_prediction() -> None:
    source, found, model, streams = study_of("mess3", 4)
    of = cut(found.weight, found.length, 1)
    assert (
        moved.pairs(source, found, EQUAL_NEXT, 60, np.random.default_rng(0)) is None
    )  # there beliefs are odds
    chosen = moved.pairs(source, found, ANY, 60, np.random.default_rng(0))
    assert chosen is not None
    ways = moved.belief_to_stream(found, streams, of)
    rows = pd.DataFrame(
        moved.moves(model, Exchange(source, found, chosen), ANY, ways, of, 2, 1, np.random.default_rng(1))
    )
    ends = [kl(rows, "target1", layer=2, reach="one", move="belief", dose=dose) for dose in (0.0, 1.0)]
    assert ends[0] > 0.05 and ends[1] == pytest.approx(0, abs=1e-5)


def test_the_belief_alone_is_enough_for_it() -> None:
    source, found, model, streams = study_of("rrxor", 6)
    of = cut(found.weight, found.length, 1)
    on = moved.scored(source, found, 10_000, np.random.default_rng(0))
    rows = pd.DataFrame(moved.kept(on, model, found, streams, of, np.random.default_rng(0)))
    last = rows[rows["layer"] == 2].set_index("kept")["loss"]
    assert last["all"] == pytest.approx(on.optimal, abs=1e-5) and last["belief"] == pytest.approx(
        on.optimal, abs=1e-4
    )
    assert min(last["without"], last["nothing"], last["random"]) > on.optimal + 0.01
    few = moved.scored(source, found, 40, np.random.default_rng(0))
    assert len(few.places) <= 40 and few.weight.sum() == pytest.approx(1)
