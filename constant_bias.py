"""Embedding biases that sense nothing: the controls of a self-state. A fixed random one, or one that is learned."""

import numpy as np
import torch
from torch import Tensor, nn

import config
from rng import Stream, generator


class ConstantBias(nn.Module):
    """One vector (n_embd,), float32, added to the embeddings at every step.

    Learned: zero at first, trained like a norm's weights, without weight decay. Fixed: a Gaussian direction drawn from
    the seed at a given L2 norm, never trained.
    """

    def __init__(self, settings: config.FixedBias | config.LearnedBias, n_embd: int) -> None:
        super().__init__()
        learned = settings.kind == "learned"
        self.vector = nn.Parameter(torch.zeros(n_embd), requires_grad=learned)

    def forward(self) -> Tensor:
        return self.vector

    def draw(self, seed: int, norm: float) -> None:
        """Take the seed's direction at an L2 norm."""
        direction = generator(seed, Stream.CONSTANT_BIAS).normal(size=tuple(self.vector.shape))
        direction *= norm / np.linalg.norm(direction)
        with torch.no_grad():
            self.vector.copy_(torch.from_numpy(direction.astype(np.float32)))
