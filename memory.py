"""What a self-state remembers: nothing, an average, or a ring of past states that the present one attends to.

The memory is part of the self-state's value, passed in and returned. At an update the last state is put into it first; then
it is asked what it recalls, and the way there from the last state is what the self-state hears of it, twice: as features
beside the statistics, and as a proposal of its own that a gate weighs against the network's.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.state import BufferMemory, EmaMemory, NoMemory

Settings = NoMemory | EmaMemory | BufferMemory
NOTHING = 1e-8  # a proposal shorter than this is none, as published


@dataclass(frozen=True)
class MemoryValue:
    """What is remembered; no gradient.

    past: (1, dim) float32, the average, or (length, dim), the ring, whose first rows fill first.
    count: () int64, the number of states offered so far, the one before the first update included.
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
    buffer: of the states that updates made, every `stride`-th, the first included, takes the place of the oldest.
    """
    made = int(value.count) - 1  # updates before the one that made this state; -1: none did
    past = value.past
    if settings.kind == "ema":
        share = settings.decay if made >= 0 else 1.0
        past = (1 - share) * past + share * state
    elif settings.kind == "buffer" and made >= 0 and made % settings.stride == 0:
        past = past.clone()
        past[made // settings.stride % settings.length] = state
    return replace(value, past=past, count=value.count + 1)


def recall(settings: Settings, value: MemoryValue, state: Tensor) -> Tensor | None:
    """What comes to mind at a state (dim,): a vector (dim,), or None while nothing is held.

    ema: the average. buffer: softmax(K q / sqrt(dim))^T K with the state as query q and the states held as keys
    and values K, without weights of its own (scaled dot-product attention, Vaswani et al., 2017).
    """
    made = int(value.count) - 1
    if settings.kind != "buffer":
        return value.past[0] if made >= 0 else None
    filled = min(settings.length, -(-made // settings.stride))
    if filled <= 0:
        return None
    held = value.past[:filled]
    return torch.softmax(held @ state / math.sqrt(len(state)), dim=0) @ held


class Recall(nn.Module):
    """The learned parts of listening to a memory. way is recall - state, (dim,), zero while nothing is held.

    features: (2 + settings.features,), what the update network reads beside the statistics: |way|, the cosine of state
    and recall, and linear features of the way.
    propose: (dim,), scale * way, through a square matrix where `projection` is set.
    gate: () in (0, 1), sigmoid(w . h + b) of the update network's hidden units h.
    """

    def __init__(self, settings: EmaMemory | BufferMemory, dim: int, hidden: int) -> None:
        super().__init__()
        self.settings = settings
        self.linear = nn.Linear(dim, settings.features, bias=False)
        self.projection = nn.Linear(dim, dim, bias=False) if settings.projection else nn.Identity()
        self.gate = nn.Linear(hidden, 1)

    def features(self, past: Tensor, way: Tensor) -> Tensor:
        cosine = F.cosine_similarity(past, past + way, dim=0)
        return torch.cat([torch.stack([way.norm(), cosine]), self.linear(way)])

    def propose(self, way: Tensor) -> Tensor:
        return self.projection(self.settings.scale * way)

    def limited(self, proposal: Tensor, target: Tensor) -> Tensor:
        """A proposal shortened, where it is longer, to `limit` times the norm of the update network's target (dim,)."""
        if self.settings.limit is None:
            return proposal
        norm, bound = proposal.norm(), self.settings.limit * target.norm() + NOTHING
        return proposal * (bound / (norm + NOTHING)) if norm > bound else proposal

    def weight(self, hidden: Tensor) -> Tensor:
        return torch.sigmoid(self.gate(hidden)).squeeze(0)
