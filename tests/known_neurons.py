"""A tiny model, texts, and a reader by hand of a neuron of it that is known."""

import numpy as np
import torch
from torch import Tensor

from base.rng import Stream, generator
from configs.training import Model
from model import GPT
from probes.neuron import Choice, Neurons, Site, block_of
from probes.reporter import Reporter

V, C, T = 12, 16, 16
SIZES = Model(n_layer=2, n_head=2, n_embd=C, block_size=T)
SITE = Site("neuron", 0)


def a_gpt(seed: int, wide: float = 8.0) -> GPT:
    """Random weights, so large that neurons differ from text to text."""
    gpt = GPT(SIZES, V)
    gpt.initialise(generator(seed, Stream.INIT))
    with torch.no_grad():
        for parameter in gpt.blocks.parameters():
            if parameter.dim() == 2:
                parameter.mul_(wide)
    return gpt.eval().requires_grad_(False)


def some_texts(count: int, seed: int = 0, length: int = T) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, V, (count, length)))


def chosen(gpt: GPT, *ranks: int) -> tuple[Choice, Neurons]:
    choice = Choice(gpt, some_texts(40), SITE)
    return choice, choice.ranked(ranks)


class ByHand(Reporter):
    """Reads a neuron off the stream, along what it writes; all else that the stream holds is left out by the caller."""

    def __init__(self, gpt: GPT, neurons: Neurons) -> None:
        super().__init__(gpt, neurons.site, len(neurons))
        self.write = neurons.write(gpt)

    def forward(self, after: Tensor) -> tuple[Tensor, Tensor]:
        told = after @ torch.linalg.pinv(self.write)
        return told, super().forward(after)[1]


def apart() -> tuple[GPT, Choice, Neurons]:
    """A model two of whose neurons write along axes of their own, all others along the rest."""
    gpt = a_gpt(1)
    block, order = block_of(gpt, 0), Choice(gpt, some_texts(40), SITE).order
    with torch.no_grad():
        block.down.weight.zero_()
        for place, unit in enumerate(order):
            block.down.weight[{0: 0, 2: 1}.get(place, 2 + place % (C - 2)), unit] = 1.0
    return gpt, *chosen(gpt, 0, 2)
