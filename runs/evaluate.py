"""Sequences drawn by (seed, stream, step), and what is measured on them with the weights as they are."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import perturb
from base.rng import Stream, generator
from configs.run import RunConfig
from configs.state import logged_as
from data.rows import RowSource
from data.tokens import Tokens
from model import GPT

ECE_BINS = 10
PROMPT = 4  # tokens
PROBE = (
    1_000_000  # counter of the probe batch in the EVAL stream; the batches of the held-out loss count from 0
)


def batch(
    tokens: Tokens,
    split: str,
    run: RunConfig,
    seed: int,
    stream: Stream,
    step: int,
    device: torch.device,
    sequences: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The sequences of one step of one stream and their targets, int64 (sequences, block_size) on a device.

    By default as many sequences as a micro-batch has.
    """
    random = generator(seed, stream, step)
    x, y = tokens.draw(split, sequences or run.train.batch_size, run.model.block_size, random)
    return torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)


def states(
    tokens: Tokens,
    split: str,
    run: RunConfig,
    seed: int,
    stream: Stream,
    step: int,
    device: torch.device,
    sequences: int | None = None,
) -> Tensor | None:
    """The states (sequences, D) float32 that go with the sequences that `batch` gives of the same; None where none are read."""
    if run.channels is None or not isinstance(tokens, RowSource):
        return None
    count = sequences or run.train.batch_size
    found = tokens.states(split, count, run.model.block_size, generator(seed, stream, step))
    return torch.from_numpy(found).to(device)


def seen_batch(run: RunConfig, tokens: Tokens, step: int, regime: str) -> tuple[np.ndarray, np.ndarray]:
    """The sequences of a step and their targets as a regime lets the model see them: int64 (B, T), all micro-batches."""
    sequences = run.train.batch_size * run.train.grad_accum
    x, y = tokens.draw("train", sequences, run.model.block_size, generator(run.seed, Stream.BATCH, step))
    random = functools.partial(generator, run.seed, Stream.PERTURB, step)
    return perturb.perturb_batch(regime, x, y, run.regimes, tokens.vocab_size, random)


def statistics(found: Tensor, seen: np.ndarray | None) -> dict[str, float]:
    """Metrics of a batch, means of what `forward_backward` found (3, B, T) where it is not NaN: over all positions, over each sequence's last,
    and over those that the senses see, if they see but some of them."""
    means = [found.nanmean((1, 2)), found[1:, :, -1].nanmean(1)]
    names = ["loss", "entropy", "top1", "entropy_last", "top1_last"]
    if seen is not None:
        means.append(found.flatten(1)[:, torch.from_numpy(seen).to(found.device)].nanmean(1))
        names += ["loss_seen", "entropy_seen", "top1_seen"]
    return dict(zip(names, torch.cat(means).tolist(), strict=True))


def told(run: RunConfig, row: Mapping[str, Any]) -> Tensor:
    """The five statistics (5,) float32 of a step that a self-state may be shown later, from the step's metrics."""
    return torch.tensor([row[name] if name else 0.0 for name in logged_as(run.self_state.senses)])


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
    prompt = torch.arange(min(PROMPT, gpt.vocab_size, len(gpt.positions.weight)), device=device)[None]
    steered, plain = _with_and_without(gpt, prompt, bias, dtype)
    return (steered - plain)[0, -1].abs().mean().item()


def _with_and_without(
    gpt: GPT, tokens: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Logits (B, T, V) on tokens with a bias, and without any, from one pass over both."""
    width = gpt.positions.weight.shape[1]
    biases = torch.zeros(2 * len(tokens), 1, width, device=tokens.device)
    if bias is not None:
        biases[: len(tokens)] = bias
    with torch.autocast(tokens.device.type, dtype=dtype, enabled=dtype != torch.float32):
        steered, plain = gpt(torch.cat([tokens, tokens]), biases)[0].chunk(2)
    return steered, plain


@torch.no_grad()
def heldout(
    gpt: GPT,
    enter: Callable[[Tensor | None], dict[str, Any]],
    run: RunConfig,
    tokens: Tokens,
    dtype: torch.dtype,
) -> tuple[float, float]:
    """Mean cross-entropy (nats a scored token) and expected calibration error (0 to 1) on `log.eval_batches` held-out batches.

    enter: states (B, D) of a batch's sequences, or None -> what is injected, as the model's arguments. The batches are the
    same at every step and for every seed and condition. Leaves the model in eval mode.
    """
    gpt.eval()
    device = gpt.positions.weight.device
    total, positions = 0.0, 0
    gaps = torch.zeros(ECE_BINS, dtype=torch.float64)
    for index in range(run.log.eval_batches):
        x, y = batch(tokens, "heldout", run, 0, Stream.EVAL, index, device)
        given = enter(states(tokens, "heldout", run, 0, Stream.EVAL, index, device))
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            log_p = F.log_softmax(gpt(x, **given)[0], dim=-1)
        scored = y >= 0
        log_p, y = log_p[scored], y[scored]  # (n, V), (n,)
        total -= log_p.gather(-1, y[..., None]).sum().item()
        positions += y.numel()
        gaps += overconfidence(log_p.exp(), y).cpu()
    return total / positions, gaps.abs().sum().item() / positions


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
