"""Neurons that a model is asked about: where they stand, which are chosen, what a change of one does to the residual stream.

A site is a row of numbers inside a block's MLP. Its two kinds:

    neuron   the hidden units after the GELU; a unit writes its column of `down` into the stream
    mlp_out  the dimensions of what the MLP writes; a dimension writes itself

Everything is told in standard deviations of a neuron about its mean, both measured on dev text, where neurons are chosen, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from base.storage import UserError
from model import GPT, Block

CHUNK = 32  # texts that go through the model at once
SMALLEST_SD = 1e-6  # a neuron that varies less on dev text is dead


@dataclass(frozen=True)
class Site:
    """All numbers of one kind in one block, counted from 0."""

    kind: Literal["neuron", "mlp_out"]
    block: int


class Seen(NamedTuple):
    """What a forward pass meets at a site: the stream (B, T, C) before the block's MLP, the site's values (B, T, U), and the
    stream (B, T, C) after that MLP."""

    stream: Tensor
    values: Tensor
    after: Tensor


def block_of(gpt: GPT, index: int) -> Block:
    one = gpt.blocks[index]
    assert isinstance(one, Block)
    return one


def stream_before(gpt: GPT, tokens: Tensor, block: int) -> Tensor:
    """The residual stream (B, T, C) on tokens (B, T) before the MLP of a block, after its attention."""
    x = gpt.tokens(tokens) + gpt.positions.weight[: tokens.shape[1]]
    for one in gpt.blocks[:block]:
        x = one(x)
    at = block_of(gpt, block)
    return x + at.attention(at.norm1(x))


def mlp(gpt: GPT, stream: Tensor, site: Site) -> Seen:
    """What stands at a site on a stream (B, T, C) before its block's MLP."""
    block = block_of(gpt, site.block)
    hidden = block.hidden(stream)
    written = block.down(hidden)
    return Seen(stream, hidden if site.kind == "neuron" else written, stream + written)


def seen(gpt: GPT, tokens: Tensor, site: Site) -> Seen:
    """What stands at a site on tokens (B, T)."""
    return mlp(gpt, stream_before(gpt, tokens, site.block), site)


def rest(gpt: GPT, after: Tensor, site: Site) -> Tensor:
    """The final norm's output (B, T, C) from the stream after the site's block. With a model in eval mode: no dropout."""
    for one in gpt.blocks[site.block + 1 :]:
        after = one(after)
    return gpt.norm(after)


def written_by(gpt: GPT, site: Site, units: Sequence[int]) -> Tensor:
    """What K units add to the stream for each 1 of their values: (K, C). Carries gradient to the weights."""
    down = block_of(gpt, site.block).down.weight  # (C, 4 C)
    if site.kind == "neuron":
        return down[:, list(units)].T
    return torch.eye(len(down), dtype=down.dtype, device=down.device)[list(units)]


@dataclass(frozen=True)
class Neurons:
    """K units of one site. ranks: their places by standard deviation, 0 the largest. mean, sd: (K,) float32, of the values."""

    site: Site
    units: tuple[int, ...]
    ranks: tuple[int, ...]
    mean: Tensor
    sd: Tensor

    def __len__(self) -> int:
        return len(self.units)

    def of(self, values: Tensor) -> Tensor:
        """A site's values (B, T, U) as standardised activations of these units (B, T, K)."""
        return (values[..., list(self.units)] - self.mean) / self.sd

    def write(self, gpt: GPT) -> Tensor:
        """What a rise by one standard deviation adds to the stream: (K, C)."""
        return written_by(gpt, self.site, self.units) * self.sd[:, None]

    def at(self, places: Sequence[int]) -> "Neurons":
        """Some of them, by their places here."""
        kept = list(places)
        units, ranks = (tuple(of[place] for place in kept) for of in (self.units, self.ranks))
        return Neurons(self.site, units, ranks, self.mean[kept], self.sd[kept])


class Choice:
    """The units of a site in the order of their standard deviation on some texts, the largest first."""

    @torch.no_grad()
    def __init__(self, gpt: GPT, tokens: Tensor, site: Site) -> None:
        total = square = torch.zeros((), dtype=torch.float64)
        count = 0
        for some in tokens.split(CHUNK):
            values = seen(gpt, some, site).values.flatten(0, 1).double()
            total, square, count = total + values.sum(0), square + (values**2).sum(0), count + len(values)
        self.site, self.mean = site, total / count
        self.sd = (square / count - self.mean**2).clamp(min=0).sqrt()
        self.order = torch.argsort(self.sd, descending=True, stable=True).tolist()

    def units(self, units: Sequence[int]) -> Neurons:
        """Units by their numbers. UserError, one line, for one that there is not or that is dead."""
        name = f"unit {{}} of block {self.site.block} ({self.site.kind})"
        for unit in units:
            if not 0 <= unit < len(self.order):
                raise UserError(
                    f"{name.format(unit)} does not exist: they are numbered 0 to {len(self.order) - 1}"
                )
            if not self.sd[unit] >= SMALLEST_SD:
                raise UserError(
                    f"{name.format(unit)} is dead: on dev text it stays at {self.mean[unit]:.3g}; there is nothing to "
                    "report, choose another with probe.introspection.units or ranks"
                )
        chosen = list(units)
        ranks = tuple(self.order.index(unit) for unit in chosen)
        return Neurons(self.site, tuple(chosen), ranks, self.mean[chosen].float(), self.sd[chosen].float())

    def others(self, neurons: Neurons, count: int, random: np.random.Generator) -> list[int]:
        """Units of the site that are alive and none of some neurons, drawn."""
        alive = [
            unit
            for unit in range(len(self.order))
            if self.sd[unit] >= SMALLEST_SD and unit not in neurons.units
        ]
        return random.choice(alive, min(count, len(alive)), replace=False).tolist()

    def ranked(self, ranks: Sequence[int]) -> Neurons:
        """Units by their ranks."""
        return self.units([self.order[rank] for rank in ranks])


def texts(tokens: np.ndarray, length: int, count: int, besides: Sequence[np.ndarray] = ()) -> Tensor:
    """Up to `count` pieces of `length` tokens spread evenly over a split, (N, length) int64: no two share a place, none is equal
    to another or stands anywhere in one of the splits `besides`."""
    known = ["".join(map(chr, other.tolist())) for other in besides]
    pieces: dict[str, int] = {}
    for start in range(0, len(tokens) - length + 1, length):
        text = "".join(map(chr, tokens[start : start + length].tolist()))
        if not any(text in other for other in known):
            pieces.setdefault(text, start)
    starts = np.array(list(pieces.values()))
    if not len(starts):
        raise UserError("no text of this split is new to the others; use a corpus that repeats itself less")
    kept = starts[np.linspace(0, len(starts) - 1, min(count, len(starts))).round().astype(int)]
    return torch.from_numpy(tokens[kept[:, None] + np.arange(length)].astype(np.int64))
