"""Sequences drawn by (seed, stream, step), and what is measured on them with the weights as they are."""

import os

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from base.rng import Stream, generator
from base.storage import UserError
from configs.run import RunConfig
from data.corpus import Corpus, sample_batch
from model import GPT

DTYPE_VARIABLE = "INTEROCEPTION_DTYPE"
ECE_BINS = 10
PROMPT = 4  # tokens
PROBE = (
    1_000_000  # counter of the probe batch in the EVAL stream; the batches of the held-out loss count from 0
)


def draw(
    tokens: np.ndarray, run: RunConfig, seed: int, stream: Stream, step: int, sequences: int
) -> tuple[np.ndarray, np.ndarray]:
    """The sequences of one step of one stream: (x, y), int64 (sequences, block_size)."""
    return sample_batch(tokens, sequences, run.model.block_size, generator(seed, stream, step))


def batch(
    tokens: np.ndarray,
    run: RunConfig,
    seed: int,
    stream: Stream,
    step: int,
    device: torch.device,
    sequences: int | None = None,
) -> tuple[Tensor, Tensor]:
    """`draw` as tensors on a device; by default as many sequences as a micro-batch has."""
    x, y = draw(tokens, run, seed, stream, step, sequences or run.train.batch_size)
    return torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)


@torch.no_grad()
def state_effect(gpt: GPT, tokens: Tensor, bias: Tensor, dtype: torch.dtype) -> tuple[float, float]:
    """What a bias (n_embd,) does to the outputs on `tokens` (B, T): mean |logit change|, KL(p_bias || p_zero).

    Means over all positions, of the former over all logits too; the KL in nats. Leaves the model in eval mode.
    """
    gpt.eval()
    steered, plain = _with_and_without(gpt, tokens, bias, dtype)
    log_p, log_q = F.log_softmax(steered, -1), F.log_softmax(plain, -1)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1).mean()
    return (steered - plain).abs().mean().item(), kl.item()


@torch.no_grad()
def prompt_effect(gpt: GPT, bias: Tensor | None, dtype: torch.dtype) -> float:
    """The published measure of a bias (n_embd,): mean |logit change| after the prompt of the vocabulary's first four tokens.

    Of the last position alone, over all logits. In training mode, as published: with dropout, the two passes drop
    different units, which alone changes logits. Leaves the model in training mode.
    """
    gpt.train()
    device = gpt.positions.weight.device
    prompt = torch.arange(min(PROMPT, gpt.vocab_size), device=device)[None]
    steered, plain = _with_and_without(gpt, prompt, bias, dtype)
    return (steered - plain)[0, -1].abs().mean().item()


def _with_and_without(
    gpt: GPT, tokens: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Logits (B, T, V) on tokens with a bias, and without any."""
    with torch.autocast(tokens.device.type, dtype=dtype, enabled=dtype != torch.float32):
        return gpt(tokens, bias)[0], gpt(tokens)[0]


@torch.no_grad()
def heldout(
    gpt: GPT, bias: Tensor | None, run: RunConfig, corpus: Corpus, dtype: torch.dtype
) -> tuple[float, float]:
    """Mean cross-entropy (nats a token) and expected calibration error (0 to 1) on `log.eval_batches` held-out batches.

    With an embedding bias (n_embd,). The batches are the same at every step and for every seed and condition. Leaves
    the model in eval mode.
    """
    gpt.eval()
    device = gpt.positions.weight.device
    total, positions = 0.0, 0
    gaps = torch.zeros(ECE_BINS, dtype=torch.float64)
    for index in range(run.log.eval_batches):
        x, y = batch(corpus.heldout, run, 0, Stream.EVAL, index, device)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            logits, loss = gpt(x, bias, y)
        assert loss is not None
        total += loss.item()
        positions += y.numel()
        gaps += overconfidence(F.softmax(logits.float(), dim=-1), y).cpu()
    return total / run.log.eval_batches, gaps.abs().sum().item() / positions


def overconfidence(p: Tensor, y: Tensor) -> Tensor:
    """Sum of (top-1 confidence - whether it is right) over the positions in each bin of confidence: (ECE_BINS,) float64.

    p (..., V) are predictions, y (...) the targets. The sum of these sums' sizes, over the number of positions, is the
    expected calibration error (Guo et al., "On calibration of modern neural networks", ICML 2017), in bins of equal
    width.
    """
    confidence, guess = p.max(-1)
    bins = (confidence * ECE_BINS).long().clamp(max=ECE_BINS - 1).flatten()
    surplus = (confidence - (guess == y).float()).double().flatten()
    return torch.bincount(bins, weights=surplus, minlength=ECE_BINS)


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """The type that products are computed in.

    "auto": that of $INTEROCEPTION_DTYPE, by which a machine computes as another one would; where it is not set, bfloat16
    if the device multiplies it natively, else float32. UserError for a variable that names neither.
    """
    if name == "auto":
        name = os.environ.get(DTYPE_VARIABLE) or _native(device)
    if name not in ("float32", "bfloat16"):
        raise UserError(f"${DTYPE_VARIABLE} is {name!r}; it can be float32 or bfloat16")
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def _native(device: torch.device) -> str:
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    able = torch.cpu.get_capabilities()
    return "bfloat16" if able.get("avx512_bf16") or able.get("amx_bf16") else "float32"
