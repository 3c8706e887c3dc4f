"""State channels: vectors about a state, let into the layers by gates that are zero at first.

Before block l, at every position, with z_c the vector of channel c (zero where it is not given):

    add        h <- h + sum_c alpha[l, c] W[l, c] z_c
    attention  h <- h + sum_c a_c alpha[l, c] W[l, c] z_c,  a = softmax over c of q(norm h) . (K[l, c] z_c + b[l, c]) / sqrt(d)
    prefix     before the first block, at position c alone: h <- h + alpha[c] W[c] z_c

Gates that begin at zero leave the model as it is, to the bit (Alayrac et al., "Flamingo", NeurIPS 2022, for the attention);
a channel that is not given enters nothing, whatever the gates.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.row_kinds import ASKED
from configs.rows import Channels as Settings
from configs.training import Model

Into = Callable[[int, Tensor], Tensor]
"""(layer, x (B, T, C)) -> x as that block gets it."""
STD = 0.02  # of first weights, as of all that enters the embeddings


class Channels(nn.Module):
    """The learned parts: gates, what each channel is turned into, and in attention how it is asked for.

    Attributes:
        alpha: (layers * channels,) gates, without weight decay.
        weight: (layers, C, D) W of all channels side by side.
    """

    owner: Tensor  # (channels, D) 1.0 where a number of the vectors belongs to a channel

    def __init__(self, settings: Settings, model: Model, dimensions: Mapping[str, int]) -> None:
        """dimensions: of each channel's vector, in their order."""
        super().__init__()
        self.settings = settings
        self.layers = 1 if settings.layers == "first" or settings.how == "prefix" else model.n_layer
        sizes = list(dimensions.values())
        self.alpha = nn.Parameter(torch.zeros(self.layers * len(sizes)))
        self.weight = nn.Parameter(torch.zeros(self.layers, model.n_embd, sum(sizes)))
        self.constant = nn.Parameter(torch.zeros(sum(sizes))) if settings.given == "constant" else None
        self.question = self.key = self.bias = None
        if settings.how == "attention":
            self.question = nn.Parameter(torch.zeros(self.layers, ASKED, model.n_embd))
            self.key = nn.Parameter(torch.zeros(self.layers, ASKED, sum(sizes)))
            self.bias = nn.Parameter(torch.zeros(self.layers, len(sizes), ASKED))
        owner = torch.repeat_interleave(torch.eye(len(sizes)), torch.tensor(sizes), dim=1)
        self.register_buffer("owner", owner, persistent=False)

    def initialise(self, random: np.random.Generator) -> None:
        """Gates zero, a learned constant N(0, 1), all else N(0, 0.02)."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                std = {"alpha": 0.0, "constant": 1.0}.get(name, STD)
                values = std * random.normal(size=tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(values.astype(np.float32)))

    def gates(self) -> Tensor:
        """(layers, channels)."""
        return self.alpha.view(self.layers, -1)

    def entering(self, z: Tensor) -> Tensor:
        """What each channel enters, (layers, B, channels, C), of vectors z (B, D): alpha[l, c] W[l, c] z_c."""
        apart = z[:, None] * self.owner  # (B, channels, D)
        return torch.einsum("bkd,lcd->lbkc", apart, self.weight) * self.gates()[:, None, :, None]

    def into(self, z: Tensor, dose: float = 1.0) -> Into:
        """What enters the layers with the vectors z (B, D) float32, or (1, D) for all sequences alike. Gradient flows into z.

        dose: what all gates are multiplied by.
        """
        if self.constant is not None:
            z = self.constant[None]
        gated = dose * self.gates() @ self.owner  # (layers, D)

        def into(layer: int, x: Tensor) -> Tensor:
            if layer >= self.layers:
                return x
            if self.settings.how == "prefix":
                found = dose * self.entering(z)[0].expand(len(x), -1, -1)  # (B, channels, C)
                return torch.cat([x[:, : found.shape[1]] + found, x[:, found.shape[1] :]], dim=1)
            if self.question is None or self.key is None or self.bias is None:
                return x + F.linear(z * gated[layer], self.weight[layer])[:, None]
            apart = z[:, None] * self.owner  # (B, channels, D)
            keys = F.linear(apart, self.key[layer]) + self.bias[layer]  # (B, channels, d)
            values = F.linear(apart * gated[layer], self.weight[layer])  # (B, channels, C)
            asked = F.linear(F.layer_norm(x, x.shape[-1:]), self.question[layer])  # (B, T, d)
            shares = F.softmax(asked @ keys.mT / math.sqrt(ASKED), dim=-1)  # (B, T, channels)
            return x + shares @ values

        return into
