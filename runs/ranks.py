"""One run on several processes, the ranks that torchrun starts: each takes its share of a step's sequences, and all hold the
same weights and the same self-state at every step.

    torchrun --nproc_per_node=2 train.py configs/gpt2_small.toml --condition self --seed 1

Nothing is sent but gradients, which are averaged, and what was measured at each position, from which every rank then takes the
same statistics. `Ranks()` is the one rank of any other run, and sends nothing. Tensors of a CPU go through gloo, those of GPUs
through nccl. The folder that is written to has to be one that all ranks see.
"""

import contextlib
import datetime
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist

from base.errors import UserError

PATIENCE = datetime.timedelta(days=1)  # a rank waits while the first makes tokens of a text or measures
Sequences = TypeVar("Sequences", np.ndarray, Tensor)


@dataclass(frozen=True)
class Ranks:
    """All ranks, seen from one of them: its number, from 0, and how many there are."""

    number: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes and talks."""
        return self.number == 0

    def share(self, sequences: Sequences) -> Sequences:
        """This rank's rows of the (B, ...) of a step, whose B is a multiple of the number of ranks."""
        size = len(sequences) // self.count
        return sequences[self.number * size : (self.number + 1) * size]

    def gathered(self, found: Tensor) -> Tensor:
        """(k, B, T) of all ranks' rows in the order of the batch, from this rank's (k, B / count, T). The same bits on each."""
        if self.count == 1:
            return found
        parts = [torch.empty_like(found) for _ in range(self.count)]
        _all_of_them(dist.all_gather, parts, found)
        return torch.cat(parts, dim=1)

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give every parameter the mean of its gradients over all ranks, in one message. The same bits on each."""
        if self.count == 1:
            return
        gradients = [one.grad for one in parameters if one.grad is not None]
        flat = torch.cat([one.flatten() for one in gradients])
        _all_of_them(dist.all_reduce, flat)
        flat /= self.count
        for gradient, mean in zip(gradients, flat.split([one.numel() for one in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def wait(self) -> None:
        """Go on when all ranks have come here."""
        if self.count > 1:
            _all_of_them(dist.all_reduce, torch.zeros(1))

    @contextlib.contextmanager
    def in_turn(self) -> Iterator[None]:
        """What stands under it is done by the first rank, and then by the others, who find its files."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()


ALONE = Ranks()


def _all_of_them(send: Callable[..., Any], *given: Any) -> None:
    """Take part in what all ranks do at once. UserError where one of them is gone."""
    try:
        send(*given)
    except RuntimeError as error:
        raise UserError(
            f"another rank of this run ended or can't be reached ({str(error).splitlines()[0][:120]}); "
            "the same command goes on from the last checkpoint"
        ) from None


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """This process among the ranks that the launcher's variables tell of, RANK and WORLD_SIZE; without them the only one.

    When a rank ends with an error all end: the first to fail says why, the others say nothing, all have an exit status
    that is not zero.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    store, number, count = next(dist.rendezvous("env://", timeout=PATIENCE))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=PATIENCE)
    try:
        yield Ranks(number, count)
    except BaseException:
        said = True  # by the rank that kept the store, where that is gone
        with contextlib.suppress(RuntimeError):
            said = store.add("ended", 1) > 1
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()  # its threads, left to the end of the process, can abort it
        if said:
            sys.exit(1)
        raise
    dist.destroy_process_group()


def place_of(device: str) -> torch.device:
    """Where this rank trains: of GPUs, the one of its number among those of its machine. UserError where there is none."""
    if device == "cpu":
        return torch.device("cpu")
    number, here = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= here:
        raise UserError(
            f"train.device = {device!r} needs a GPU for each rank of a machine, and torch finds {here} here; set cpu"
        )
    torch.cuda.set_device(number)
    return torch.device(device)
