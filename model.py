"""The GPT: tokens and an embedding bias in, logits and loss out. Knows nothing of training or self-state.

The architecture is nanoGPT's (pre-norm blocks, tied embeddings, learned positions), which follows Radford et al.,
"Language models are unsupervised multitask learners", 2019.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.training import Model


def dropped(x: Tensor, share: float, training: bool) -> Tensor:
    """Dropout: in training a random `share` of numbers is 0, the others are scaled up to keep the mean. Carries gradient.

    On a CPU, where PyTorch draws a number for each, 64 random bits serve four; the share is true to 1 / 65,536.
    """
    if not training or not share or x.is_cuda:
        return F.dropout(x, share, training)
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = bits.view(torch.int16)[: x.numel()].view(x.shape) >= round(share * 2**16) - 2**15
    return x * kept.to(x.dtype).mul_(1 / (1 - share))


class LayerNorm(nn.Module):
    """Layer norm over the last dimension, with an optional bias."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class CausalSelfAttention(nn.Module):
    mask: Tensor  # (block_size, block_size), 0 on and below the diagonal, -inf above

    def __init__(self, sizes: Model) -> None:
        super().__init__()
        self.n_head = sizes.n_head
        self.dropout = sizes.dropout
        self.qkv = nn.Linear(sizes.n_embd, 3 * sizes.n_embd, bias=sizes.bias)
        self.proj = nn.Linear(sizes.n_embd, sizes.n_embd, bias=sizes.bias)
        mask = torch.full((sizes.block_size, sizes.block_size), float("-inf")).triu(1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        size = C // self.n_head
        heads = self.qkv(x).view(B, T, 3, self.n_head, size).permute(2, 0, 3, 1, 4)  # (3, B, nh, T, hs)
        if x.is_cuda:
            q, k, v = heads
            y = F.scaled_dot_product_attention(
                q, k, v, dropout_p=self.dropout if self.training else 0.0, is_causal=True
            )
        else:
            # On CPU the fused call's backward is several times slower than these products at this size.
            q, k, v = heads.reshape(3, B * self.n_head, T, size).unbind(0)
            scores = torch.baddbmm(self.mask[:T, :T], q, k.mT, alpha=1 / math.sqrt(size))  # (B * nh, T, T)
            weights = dropped(F.softmax(scores, dim=-1), self.dropout, self.training)
            y = torch.bmm(weights, v).view(B, self.n_head, T, size)
        y = y.transpose(1, 2).reshape(B, T, C)
        return dropped(self.proj(y), self.dropout, self.training)


class Block(nn.Module):
    def __init__(self, sizes: Model) -> None:
        super().__init__()
        self.dropout = sizes.dropout
        self.gelu = "tanh" if sizes.gelu == "tanh" else "none"  # how it is approximated
        self.norm1 = LayerNorm(sizes.n_embd, sizes.bias)
        self.attention = CausalSelfAttention(sizes)
        self.norm2 = LayerNorm(sizes.n_embd, sizes.bias)
        self.up = nn.Linear(sizes.n_embd, 4 * sizes.n_embd, bias=sizes.bias)
        self.down = nn.Linear(4 * sizes.n_embd, sizes.n_embd, bias=sizes.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + dropped(self.down(self.hidden(x)), self.dropout, self.training)

    def hidden(self, x: Tensor) -> Tensor:
        """The MLP's units (B, T, 4 C) of a stream (B, T, C)."""
        return F.gelu(self.up(self.norm2(x)), approximate=self.gelu)


class GPT(nn.Module):
    """A GPT over `vocab_size` tokens and one reserved mask token, `vocab_size` itself.

    The mask token has a row in the embedding and none in the logits, so it can be read, never predicted, and
    entropies are over the real vocabulary.
    """

    def __init__(self, sizes: Model, vocab_size: int) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.dropout = sizes.dropout
        self.tokens = nn.Embedding(vocab_size + 1, sizes.n_embd)
        self.positions = nn.Embedding(sizes.block_size, sizes.n_embd)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.n_layer))
        self.norm = LayerNorm(sizes.n_embd, sizes.bias)

    @property
    def mask_token(self) -> int:
        return self.vocab_size

    def forward(
        self,
        tokens: Tensor,
        bias: Tensor | None = None,
        targets: Tensor | None = None,
        into: Callable[[int, Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Logits and, with targets, the mean cross-entropy.

        Args:
            tokens: (B, T) int64 in [0, vocab_size], T at most block_size.
            bias: (n_embd,) float32, or (B, 1, n_embd) one a sequence, added to token and position embeddings at every
                position, after their dropout; or None. A zero bias gives the same bits as None. Gradient flows into it.
            targets: (B, T) int64 in [0, vocab_size).
            into: (layer, x (B, T, n_embd)) -> x as that block is to get it; or None.

        Returns:
            Logits (B, T, vocab_size) float32, and the loss in nats, a scalar, or None without targets.
        """
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]  # (B, T, C)
        x = dropped(x, self.dropout, self.training)
        if bias is not None:
            x = x + bias
        for layer, block in enumerate(self.blocks):
            x = block(x if into is None else into(layer, x))
        logits = F.linear(self.norm(x), self.tokens.weight[: self.vocab_size]).float()  # (B, T, V)
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.view(-1, self.vocab_size), targets.reshape(-1))

    def initialise(self, random: np.random.Generator) -> None:
        """Set every weight as nanoGPT does, from `random`: N(0, 0.02), residual projections N(0, 0.02 / sqrt(2 L))."""
        scale = 0.02 / math.sqrt(2 * len(self.blocks))
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.dim() == 2:
                    std = scale if name.endswith(("proj.weight", "down.weight")) else 0.02
                    values = random.normal(0.0, std, size=tuple(parameter.shape)).astype(np.float32)
                    parameter.copy_(torch.from_numpy(values))
                elif name.endswith(".bias"):
                    parameter.zero_()
                else:
                    parameter.fill_(1.0)
