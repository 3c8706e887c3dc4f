"""What a self-state remembers: nothing, an average, or a ring of past states that the present one attends to.

The memory is part of the self-state's value, passed in and returned. Before an update it is asked what it recalls
of the states up to the last but one; then the last one is put into it.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from configs.state import BufferMemory, EmaMemory, NoMemory

Settings = NoMemory | EmaMemory | BufferMemory


@dataclass(frozen=True)
class MemoryValue:
    """What is remembered; no gradient.

    past: (1, dim) float32, the average, or (length, dim), the ring, whose first rows fill first.
    count: () int64, the number of states offered so far, whether they were kept or fell between two strides.
    """

    past: Tensor
    count: Tensor


def initial(settings: Settings, dim: int, device: torch.device) -> MemoryValue:
    """An empty memory."""
    rows = settings.length if settings.kind == "buffer" else 1
    return MemoryValue(
        torch.zeros(rows, dim, device=device), torch.zeros((), dtype=torch.int64, device=device)
    )


def remember(settings: Settings, value: MemoryValue, state: Tensor) -> MemoryValue:
    """The memory with one more state (dim,).

    ema: past <- (1 - decay) * past + decay * state, and the first state itself.
    buffer: every `stride`-th state, the first included, takes the place of the oldest.
    """
    count = int(value.count)
    past = value.past
    if settings.kind == "ema":
        share = settings.decay if count else 1.0
        past = (1 - share) * past + share * state
    elif settings.kind == "buffer" and count % settings.stride == 0:
        past = past.clone()
        past[count // settings.stride % settings.length] = state
    return replace(value, past=past, count=value.count + 1)


def recall(settings: Settings, value: MemoryValue, state: Tensor) -> Tensor | None:
    """What comes to mind at a state (dim,): a vector (dim,), or None while the memory is empty.

    ema: the average. buffer: softmax(K q / sqrt(dim))^T K with the state as query q and the states held as keys
    and values K, without weights of its own (scaled dot-product attention, Vaswani et al., 2017).
    """
    count = int(value.count)
    if count == 0:
        return None
    if settings.kind != "buffer":
        return value.past[0]
    filled = min(settings.length, -(-count // settings.stride))
    held = value.past[:filled]
    return torch.softmax(held @ state / math.sqrt(len(state)), dim=0) @ held


def limited(proposal: Tensor, bound: Tensor) -> Tensor:
    """A proposal (dim,) shortened to the norm `bound` () where it is longer."""
    norm = proposal.norm()
    return proposal * (bound / norm) if norm > bound else proposal


class Gate(nn.Module):
    """How much the memory is heard against the update network: one number in (0, 1).

    sigmoid(w . [stats seen (5), state (dim), recall (dim)] + b).
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, 1)

    def forward(self, seen: Tensor, state: Tensor, recalled: Tensor) -> Tensor:
        return torch.sigmoid(self.linear(torch.cat([seen, state, recalled]))).squeeze(0)
