"""Is the belief that a stream holds used? One layer's stream is moved from the belief after a history to the belief after another,
along the fitted map; predictions of the next two tokens are held against what both beliefs say of them.

The next-but-one token is predicted one position later, so what is moved has to be read from there. It is moved at the history's last
position alone, where what comes later can pass by it and read the tokens before, or at all positions of the history, each from its
belief to that of the other history's. Beside it, moves of equal norm, and the other history's own streams.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.process import Generated
from model import GPT
from probes.belief_map import Cut, Maps, fitted
from probes.histories import Histories, classes, entropy, later

CHUNK = 1024  # sequences that go through the model at once
EQUAL_NEXT, ANY = "equal", "any"
BELIEF, RANDOM, FOREIGN, PARTNER = "belief", "random", "foreign", "stream"
MOVES = (
    "layer",
    "pairs",
    "reach",
    "move",
    "dose",
    "count",
    "kl_target1",
    "kl_source1",
    "kl_target2",
    "kl_source2",
)
ONE, PAST = "one", "past"
KEPT = ("layer", "kept", "loss", "optimal")
Rows = list[dict[str, Any]]


class Layers:
    """A model taken apart at its residual stream: `layer` blocks have acted on it, 0 to `count`."""

    def __init__(self, gpt: GPT) -> None:
        self.gpt = gpt

    @property
    def count(self) -> int:
        return len(self.gpt.blocks)

    def streams(self, tokens: Tensor) -> Iterator[Tensor]:
        """The stream (B, T, C) on tokens (B, T), after 0, 1, ... blocks."""
        x = self.gpt.tokens(tokens) + self.gpt.positions.weight[: tokens.shape[1]]
        yield x
        for block in self.gpt.blocks:
            x = block(x)
            yield x

    def onward(self, stream: Tensor, layer: int) -> Tensor:
        """Log-probabilities (B, T, V) of the next token, from the stream (B, T, C) after `layer` blocks."""
        blocks: list[nn.Module] = [*self.gpt.blocks]
        for block in blocks[layer:]:
            stream = block(stream)
        return F.log_softmax(
            F.linear(self.gpt.norm(stream), self.gpt.tokens.weight[: self.gpt.vocab_size]), -1
        )

    @torch.no_grad()
    def predictions(self, tokens: Tensor) -> Tensor:
        """Log-probabilities (B, T, V) of the next token on tokens (B, T)."""
        return self.onward(next(self.streams(tokens)), 0)


@torch.no_grad()
def streams_of(model: Layers, found: Histories) -> list[np.ndarray]:
    """The streams (n, C) float32 at the last token of each history, after 0, 1, ... blocks."""
    parts: list[list[np.ndarray]] = [[] for _ in range(model.count + 1)]
    for start in range(0, len(found.whole), CHUNK):
        x = torch.from_numpy(found.whole[start : start + CHUNK])
        for part, stream in zip(parts, model.streams(x), strict=True):
            part.append(stream.numpy().copy())
    return [np.concatenate(part)[found.row, found.length - 1] for part in parts]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Histories of one length whose beliefs are exchanged, as places among the histories: source, target, foreign (m,). weight (m,)."""

    source: np.ndarray
    target: np.ndarray
    foreign: np.ndarray
    weight: np.ndarray


def pairs(
    process: Generated, found: Histories, kind: str, most: int, random: np.random.Generator
) -> Pairs | None:
    """Sources drawn by their probability, each with a target whose later tokens differ, and whose next ones, where the kind is
    `equal`, do not; and with a foreign history, whose belief is neither's. None where there are no such histories."""
    length, weight = found.whole.shape[1], found.weight
    here = found.length < length  # a token has to follow
    held = classes(found.belief @ later(process.transitions))
    group = classes(np.column_stack([found.length, found.odds])) if kind == EQUAL_NEXT else found.length
    parts: dict[int, np.ndarray] = {
        int(one): np.flatnonzero(here & (group == one)) for one in np.unique(group[here])
    }
    lengths = {size: np.flatnonzero(found.length == size) for size in range(1, length)}
    able = [places for places in parts.values() if len(np.unique(held[places])) > 1]
    if not able:
        return None
    sources = np.concatenate(able)
    if len(sources) > most:
        sources = np.sort(
            random.choice(sources, most, replace=False, p=weight[sources] / weight[sources].sum())
        )
        mass = np.full(len(sources), 1.0)
    else:
        mass = weight[sources]
    kept: list[tuple[int, int, int]] = []
    masses: list[float] = []
    for source, its in zip(sources, mass, strict=True):
        others = parts[int(group[source])]
        others = others[held[others] != held[source]]
        if len(others):
            target = random.choice(others, p=weight[others] / weight[others].sum())
            rest = lengths[int(found.length[source])]
            rest = rest[(held[rest] != held[source]) & (held[rest] != held[target])]
            rest = rest if len(rest) else others
            kept.append(
                (int(source), int(target), int(random.choice(rest, p=weight[rest] / weight[rest].sum())))
            )
            masses.append(float(its))
    source, target, foreign = np.array(kept).T
    return Pairs(source, target, foreign, np.array(masses) / sum(masses))


class Exchange:
    """The predictions after a pair's source history, and one later after each token that could come, with one layer's stream moved.

    x: (m V, T) the source's tokens, each token behind them, and, to the end of the context, what no prediction sees.
    """

    def __init__(self, process: Generated, found: Histories, chosen: Pairs) -> None:
        self.process, self.found, self.chosen = process, found, chosen
        self.m, self.v = len(chosen.source), process.vocab_size
        self.at = torch.from_numpy(found.length[chosen.source] - 1).repeat_interleave(self.v)  # (m V,)
        self.rows = torch.arange(self.m * self.v)
        self.x = self.tokens(chosen.source)
        odds = [found.odds[places] for places in (chosen.source, chosen.target)]
        both = np.where((odds[0] > 1e-12) & (odds[1] > 1e-12), (odds[0] + odds[1]) / 2, 0.0)
        share = chosen.weight[:, None] * both / np.maximum(both.sum(1, keepdims=True), 1e-12)
        self.follows = share / share.sum() if share.sum() > 0 else share  # (m, V): of the token between
        self.true = {
            name: self._true(places)
            for name, places in (("source", chosen.source), ("target", chosen.target))
        }

    def tokens(self, places: np.ndarray) -> Tensor:
        """The contexts (m V, T) of histories, with each token behind."""
        x = np.repeat(self.found.whole[self.found.row[places]], self.v, axis=0)
        x[np.arange(len(x)), self.found.length[places].repeat(self.v)] = np.tile(np.arange(self.v), self.m)
        return torch.from_numpy(x)

    def _true(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next token's odds (m, V) after histories, and those of the one after it, (m, V, V), given the one between."""
        after = np.einsum("ms,vst->mvt", self.found.belief[places], self.process.transitions)
        after = after / np.maximum(after.sum(-1, keepdims=True), 1e-300)
        return self.found.odds[places], after @ self.process.transitions.sum(2).T

    @torch.no_grad()
    def kl(self, model: Layers, stream: Tensor, layer: int) -> np.ndarray:
        """KL(truth || prediction) in nats, (4,): the next token's under the target's belief and the source's, then the
        next-but-one's."""
        log_p = model.onward(stream, layer).double()
        now, then = (
            log_p[self.rows, self.at + ahead].numpy().reshape(self.m, self.v, -1) for ahead in (0, 1)
        )
        found = []
        for name in ("target", "source"):
            odds, _ = self.true[name]
            found.append(float(self.chosen.weight @ (-entropy(odds) - (odds * now[:, 0]).sum(-1))))
        for name in ("target", "source"):
            _, odds = self.true[name]
            found.append(float((self.follows * (-entropy(odds) - (odds * then).sum(-1))).sum()))
        return np.array(found)

    def beliefs(self, places: np.ndarray) -> np.ndarray:
        """The belief (m, T, S) after each token of histories; behind their end those of some continuation."""
        return self.process.beliefs(self.found.whole[self.found.row[places]])

    def within(self, reach: str) -> np.ndarray:
        """The positions (m, T, 1) float64 that a move acts on: the history's last, or all of it."""
        place, last = np.arange(self.x.shape[1]), self.found.length[self.chosen.source][:, None] - 1
        return np.asarray((place == last if reach == ONE else place <= last)[..., None], dtype=np.float64)

    def moved(self, stream: Tensor, by: np.ndarray) -> Tensor:
        """The stream (m V, T, C) with `by` (m, T, C) added."""
        return stream + torch.from_numpy(by.astype(np.float32)).repeat_interleave(self.v, 0)


def moves(
    model: Layers, exchange: Exchange, kind: str, maps: Sequence[Maps], cut: Cut, doses: int, draws: int, random: np.random.Generator
) -> Rows:  # fmt: skip
    """Rows of moves.csv on one kind of pairs: layer by layer, move by move, dose by dose.

    maps: of each layer, from belief to stream. Each pair is moved by the map that was fitted without its source.
    reach: one, at the history's last position, or past, at all of it.
    move: belief, along the map to the target's belief; random, in a random direction, mean of several; foreign, along the map to a
    third history's belief; stream, the target's own streams put in. Random and foreign moves are as long as those to the belief.
    kl_target, kl_source: KL(truth under that belief || prediction) in nats, of the next token (1) and the one after it (2).
    """
    chosen = exchange.chosen
    beliefs = [exchange.beliefs(places) for places in (chosen.source, chosen.target, chosen.foreign)]
    fold = np.repeat(cut.fold[chosen.source][:, None], exchange.x.shape[1], axis=1)
    rows: Rows = []
    with torch.no_grad():
        both = [list(model.streams(x)) for x in (exchange.x, exchange.tokens(chosen.target))]
    for layer in range(1, model.count + 1):
        own, other = (streams[layer] for streams in both)
        source, target, foreign = (maps[layer](one, fold) for one in beliefs)
        to, away = target - source, foreign - source
        size = np.linalg.norm(to, axis=-1, keepdims=True)
        steps: dict[str, list[np.ndarray]] = {
            BELIEF: [to], RANDOM: [as_far(random.normal(size=to.shape), size) for _ in range(draws)],
            FOREIGN: [as_far(away, size)], PARTNER: [(other - own).numpy()[:: exchange.v]],
        }  # fmt: skip
        start = exchange.kl(model, own, layer)
        for reach in (ONE, PAST):
            here = exchange.within(reach)
            for move, ways in steps.items():
                for dose in np.linspace(0, 1, doses):
                    values = start
                    if dose:
                        moved = (exchange.moved(own, dose * here * by) for by in ways)
                        values = np.mean([exchange.kl(model, stream, layer) for stream in moved], 0)
                    row = {
                        "layer": layer,
                        "pairs": kind,
                        "reach": reach,
                        "move": move,
                        "dose": dose,
                        "count": exchange.m,
                    }
                    rows.append({**row, **dict(zip(MOVES[6:], values, strict=True))})
    return rows


def as_far(by: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Moves (..., C) at the length `size` (..., 1)."""
    return by * size / np.maximum(np.linalg.norm(by, axis=-1, keepdims=True), 1e-12)


def belief_to_stream(found: Histories, streams: list[np.ndarray], cut: Cut) -> list[Maps]:
    """The mean stream of a belief, as a linear map, of each layer."""
    return [fitted(found.belief, stream, cut) for stream in streams]


@dataclass(frozen=True, eq=False)
class Scored:
    """Whole histories that losses are measured on: places (m,) among all histories, weight (m,), tokens (m, T), the true odds
    (m, T, V) of each next token, and the loss of the best prediction, in nats, over all positions."""

    places: np.ndarray
    weight: np.ndarray
    tokens: Tensor
    odds: np.ndarray
    optimal: float

    def loss(self, log_p: Tensor) -> float:
        """The exact loss of predictions (m, T, V), in nats, over all positions."""
        return float(self.weight @ -(self.odds * log_p.double().numpy()).sum(-1).mean(1))


def scored(process: Generated, found: Histories, most: int, random: np.random.Generator) -> Scored:
    """All whole histories with their probability, or, where there are more than `most`, so many draws of them, each once."""
    places = np.flatnonzero(found.length == found.whole.shape[1])
    weight = found.probability[places] / found.probability[places].sum()
    if len(places) > most:
        rows, counts = np.unique(random.choice(len(places), most, p=weight), return_counts=True)
        places, weight = places[rows], counts / counts.sum()
    tokens = found.whole[found.row[places]]
    odds = process.odds(tokens)
    return Scored(places, weight, torch.from_numpy(tokens), odds, float(weight @ entropy(odds).mean(1)))


@torch.no_grad()
def kept(
    on: Scored,
    model: Layers,
    found: Histories,
    streams: Sequence[np.ndarray],
    cut: Cut,
    random: np.random.Generator,
) -> Rows:
    """Rows of kept.csv: the loss with part of one layer's stream taken out at all positions.

    kept: all; belief, what the fitted map reads of the belief, written back by the map from belief to stream, and nothing else;
    without, all but that; principal, as many principal components of the stream as a belief has dimensions; random, as many
    random directions; nothing, the mean stream alone. Both maps are fitted without the whole history that they are used on.
    """
    dimensions = found.belief.shape[1] - 1
    fold = np.repeat(cut.fold[on.places][:, None], on.tokens.shape[1], axis=1)
    rows: Rows = []
    for layer, (own, stream) in enumerate(zip(model.streams(on.tokens), streams, strict=True)):
        x = own.double().numpy()
        said = fitted(found.belief, stream, cut)(fitted(stream, found.belief, cut)(x, fold), fold)
        mean = cut.weight @ stream
        away, spread = x - mean, stream - mean
        axes = np.linalg.eigh((spread * cut.weight[:, None]).T @ spread)[1][:, ::-1][:, :dimensions]
        turned = np.linalg.qr(random.normal(size=(x.shape[-1], dimensions)))[0]
        parts = {
            "all": x, "belief": said, "without": mean + x - said, "principal": mean + away @ axes @ axes.T,
            "random": mean + away @ turned @ turned.T, "nothing": mean + 0 * x,
        }  # fmt: skip
        for name, part in parts.items():
            loss = on.loss(model.onward(torch.from_numpy(part.astype(np.float32)), layer))
            rows.append({"layer": layer, "kept": name, "loss": loss, "optimal": on.optimal})
    return rows
