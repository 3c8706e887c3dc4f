"""A step's pass through its GPT, forward and backward: of one run, or of several runs of one shape at once.

A run's loop (`train.training`) yields each of its passes and is sent what that found, so that the same loop trains one run
alone and many in a stack. In a stack the weights of all GPTs are one batch of matrices, of which each run's own parameters are
views, and one pass serves all. Everything else stays each run's own: batches, statistics, state, clipping, optimizer, log.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn import functional as F

from base.rng import Stream, generator
from model import GPT
from runs.state import Training
from self_state import position_stats


@dataclass(frozen=True)
class Pass:
    """What goes through a run's GPT at a step.

    injected: by the run's injection. states: (B, D) of the sequences, for channels; None without any. x, y: (B, T).
    """

    now: Training
    injected: Tensor | None
    states: Tensor | None
    x: np.ndarray
    y: np.ndarray
    dtype: torch.dtype
    step: int

    def leaf(self) -> Tensor | None:
        """What is injected, cut off from what made it, to gather the micro-batches' gradients."""
        return None if self.injected is None else self.injected.detach().requires_grad_()

    def give_back(self, leaf: Tensor | None) -> None:
        """Hand the gradients that a leaf gathered to what made it."""
        if self.injected is not None and leaf is not None and self.injected.requires_grad:
            self.injected.backward(leaf.grad)

    def carry(self) -> Tensor:
        """Gradients of the mean loss of the batch into all parameters, each rank its share, micro-batch by micro-batch.

        Returns:
            (3, B, T) float32: loss, entropy and top-1 at each position, as `self_state.position_stats` has them.
        """
        now, ranks = self.now, self.now.ranks
        most, device, leaf = now.run.train.batch_size, now.gpt.positions.weight.device, self.leaf()
        if not now.gpt.training:  # to set it walks all modules, a fiftieth of a small step
            now.gpt.train()
        if now.run.model.dropout:
            drawn = int(generator(now.run.seed, Stream.DROPOUT, self.step).integers(2**62))
            torch.manual_seed(drawn + ranks.number)  # each rank drops units of its own
        scored = int((self.y >= 0).sum()) / ranks.count  # positions, a rank
        found = []
        inputs, targets = (torch.from_numpy(ranks.share(ids)).split(most) for ids in (self.x, self.y))
        given = [None] * len(inputs) if self.states is None else ranks.share(self.states).split(most)
        for tokens, nexts, here in zip(inputs, targets, given, strict=True):
            parts = scored / int((nexts >= 0).sum())  # of the mean, of which this micro-batch is one
            tokens, nexts = tokens.to(device), nexts.to(device)
            with torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
                logits, _ = now.forward(tokens, **now.injection.enter(leaf, here))
            log_p = F.log_softmax(logits, dim=-1)  # (B, T, V), for the loss and for what is sensed
            loss = F.nll_loss(log_p.flatten(0, 1), nexts.flatten())
            (loss / parts).backward()
            found.append(position_stats(log_p.detach(), nexts))
        self.give_back(leaf)
        ranks.average(now.parameters)
        return ranks.gathered(torch.cat(found, dim=1))


T = TypeVar("T")
Passes = Generator[
    Pass, Tensor, Path
]  # a run's loop: yields passes, is sent what each found, returns its folder


def alone(passes: Generator[Pass, Tensor, T]) -> T:
    """A run, or a step, to its end."""
    try:
        wanted = next(passes)
        while True:
            wanted = passes.send(wanted.carry())
    except StopIteration as end:
        ended: T = end.value
        return ended


def together(loops: Sequence[Passes]) -> list[Path | Exception]:
    """Runs of one shape side by side to their ends: of each its folder, or the error that ended it. None ends another."""
    ended: dict[int, Path | Exception] = {}
    waiting: dict[int, Pass] = {}

    def advance(at: int, found: Tensor | None) -> None:
        try:
            waiting[at] = next(loops[at]) if found is None else loops[at].send(found)
        except StopIteration as end:
            ended[at] = end.value
        except Exception as error:
            ended[at] = error
        if at in ended:
            waiting.pop(at, None)

    for at in range(len(loops)):
        advance(at, None)
    while waiting:
        members = tuple(waiting)
        stack = Stack([wanted.now.gpt for wanted in waiting.values()])
        while tuple(waiting) == members:
            found = stack.carry(list(waiting.values()))
            for at, of_it in zip(members, found, strict=True):
                advance(at, of_it)
    return [ended[at] for at in range(len(loops))]


class Stack:
    """GPTs of one shape, their weights one batch of matrices."""

    def __init__(self, gpts: Sequence[GPT]) -> None:
        self.gpts = gpts
        parts = [dict(gpt.named_parameters()) for gpt in gpts]
        self.weights = {  # (R, ...) each
            name: torch.stack([of[name].detach() for of in parts]).requires_grad_() for name in parts[0]
        }
        for at, of in enumerate(parts):
            for name, parameter in of.items():
                parameter.data = self.weights[name].data[at]

    def carry(self, passes: Sequence[Pass]) -> list[Tensor]:
        """What `Pass.carry` does, of each GPT's pass, in one."""
        first = self.gpts[0]
        width, device, dtype = first.positions.weight.shape[1], first.positions.weight.device, passes[0].dtype
        leaves = [wanted.leaf() for wanted in passes]
        biases = torch.stack([torch.zeros(width, device=device) if leaf is None else leaf for leaf in leaves])
        for gpt in self.gpts:
            if not gpt.training:
                gpt.train()
        x, y = (
            torch.from_numpy(np.stack([getattr(wanted, name) for wanted in passes])).to(device)
            for name in "xy"
        )  # (R, B, T)

        def forward(weights: dict[str, Tensor], tokens: Tensor, bias: Tensor) -> Tensor:
            logits: Tensor = functional_call(first, weights, (tokens, bias))[0]
            return logits

        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            logits = vmap(forward)(self.weights, x, biases)
        log_p = F.log_softmax(logits, dim=-1)  # (R, B, T, V)
        losses = [F.nll_loss(of.flatten(0, 1), nexts.flatten()) for of, nexts in zip(log_p, y, strict=True)]
        torch.stack(losses).sum().backward()  # of each run, its own loss has the only gradient
        for at, (gpt, wanted, leaf) in enumerate(zip(self.gpts, passes, leaves, strict=True)):
            for name, parameter in gpt.named_parameters():
                gradient = self.weights[name].grad
                parameter.grad = None if gradient is None else gradient[at]
            wanted.give_back(leaf)
        for whole in self.weights.values():
            whole.grad = None
        return list(position_stats(log_p.detach(), y).unbind(1))
