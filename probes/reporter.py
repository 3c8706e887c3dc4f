"""A model that reports neurons: its head, the ways in which it is fine-tuned to, and the fine-tuning itself."""

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from base.rng import Stream, generator
from model import GPT
from probes.neuron import Neurons, Seen, Site, rest, seen

FIRST = 20_000_000  # counter of the first step of fine-tuning in its streams, beyond those of any training
SKIPPED = 8  # first positions of a text, where too little of it has been seen to ask
BODY_RATE, HEAD_RATE, WARM_UP, CLIP = 5e-4, 5e-3, 20, 1.0
SHARE, SPREAD = (
    0.5,
    3.0,
)  # of the positions at which a neuron is changed; standard deviation of a change, in the neuron's


@dataclass(frozen=True)
class Way:
    """One way to make a model report.

    trained: what learns beside the head: nothing, what stands above the neuron's block, or all of the model; then the neuron
    that is reported moves, too. head: whether it learns; else it stays random. language: whether the loss on the next token
    is added. asked: whether anything is reported.
    """

    name: str
    trained: str = "above"
    head: bool = True
    language: bool = False
    asked: bool = True


WAYS = (
    Way("frozen", "nothing"),
    Way("above"),
    Way("above_language", language=True),
    Way("random_head", head=False),
    Way("all", "all"),
    Way("all_language", "all", language=True),
)
LANGUAGE = Way("language", "all", language=True, asked=False)
"""Fine-tuned on text alone: what so many steps do to the neuron by themselves."""
OUTSIDER = Way("outsider", "all")
"""Another seed's model, shown the same text, trained to report this one's neuron."""


class Reporter(nn.Module):
    """A GPT, and a linear head on its final norm with one output a neuron. The head is zero at first, or random."""

    def __init__(self, gpt: GPT, site: Site, outputs: int, random: np.random.Generator | None = None) -> None:
        super().__init__()
        self.gpt, self.site = gpt, site
        width = gpt.positions.weight.shape[1]
        self.head = nn.Linear(width, outputs)
        for parameter in self.head.parameters():
            values = np.zeros(tuple(parameter.shape))
            if random is not None:  # PyTorch's own default for a linear layer
                values = random.uniform(-1 / math.sqrt(width), 1 / math.sqrt(width), tuple(parameter.shape))
            parameter.data.copy_(torch.from_numpy(values.astype(np.float32)))

    def forward(self, after: Tensor) -> tuple[Tensor, Tensor]:
        """From the stream (B, T, C) after the site's block: reports (B, T, outputs), logits (B, T, V)."""
        x = rest(self.gpt, after, self.site)
        return self.head(x), F.linear(x, self.gpt.tokens.weight[: self.gpt.vocab_size])

    def parameters_of(self, way: Way, rate: float = BODY_RATE) -> list[tuple[list[nn.Parameter], float]]:
        """What a way trains, with its learning rate: `rate` but for the head's. All else is frozen here."""
        body: Iterable[nn.Parameter] = ()
        if way.trained == "all":
            body = self.gpt.parameters()
        elif way.trained == "above":
            body = nn.ModuleList([*self.gpt.blocks[self.site.block + 1 :], self.gpt.norm]).parameters()
        groups = [(list(body), rate)]
        if way.head and way.asked:
            groups.append((list(self.head.parameters()), HEAD_RATE))
        self.requires_grad_(False)
        for parameters, _ in groups:
            for parameter in parameters:
                parameter.requires_grad_(True)
        return groups


def tune(
    groups: Sequence[tuple[Sequence[nn.Parameter], float]], loss: Callable[[int], Tensor], steps: int
) -> None:
    """Minimise the loss of each step: AdamW without weight decay, a linear warm-up, then a cosine to zero."""
    given = [{"params": list(parameters), "lr": rate} for parameters, rate in groups if parameters]
    optimizer = torch.optim.AdamW(given, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    rates = [group["lr"] for group in optimizer.param_groups]
    everything = [parameter for parameters, _ in groups for parameter in parameters]
    for step in range(steps):
        factor = min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        loss(step).backward()
        nn.utils.clip_grad_norm_(everything, CLIP)
        optimizer.step()
        optimizer.zero_grad()


def changes(seed: int, step: int, shape: Sequence[int]) -> Tensor:
    """What is added to each of K neurons at a step of fine-tuning, (B, T, K) float32 in their standard deviations: at a random
    share of positions a Gaussian number, zero elsewhere."""
    random = generator(seed, Stream.PERTURB, FIRST + step)
    where = random.random(shape) < SHARE
    return torch.from_numpy((where * random.normal(0.0, SPREAD, shape)).astype(np.float32))


@dataclass(frozen=True)
class Lesson:
    """The texts of a fine-tuning, step by step: tokens x and next tokens y, (steps, B, T) int64 each; and its seed."""

    seed: int
    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    @torch.no_grad()
    def seen(self, gpt: GPT, site: Site, neurons: Neurons) -> list[Seen]:
        """What a frozen model meets at a site in each step, only the values of some neurons, standardised."""
        found = []
        for tokens in self.x:
            here = seen(gpt, tokens, site)
            found.append(Seen(torch.empty(0), neurons.of(here.values), here.after))
        return found


def taught(
    way: Way, neurons: Neurons, lesson: Lesson, gpt: GPT, stored: Sequence[Seen], changed: bool,
    of: Sequence[Tensor] | None = None,
) -> tuple[Reporter, list[float]]:  # fmt: skip
    """A copy of a model that has learned to report some of its neurons in one way.

    Args:
        stored: what the model meets in each step while nothing below is trained, of these very neurons.
        changed: whether neurons are changed in the stream, and the changed value is what is to be reported.
        of: another model's activations to report in place of its own, (B, T, K) a step. The model that reads them has no
            part in them, so that no change of theirs reaches it.

    Returns:
        The reporter, in eval mode, and for each step the standard deviation of the first neuron's own activation there (in
        its first ones), nothing changed.
    """
    random = None if way.head else generator(lesson.seed, Stream.INIT, FIRST)
    reporter = Reporter(copy.deepcopy(gpt), neurons.site, len(neurons), random).eval()
    groups = reporter.parameters_of(way)
    spread: list[float] = []

    def loss(step: int) -> Tensor:
        if way.trained == "all":
            here = seen(reporter.gpt, lesson.x[step], neurons.site)
            after, own = here.after, neurons.of(here.values)
        else:
            after, own = stored[step].after, stored[step].values
        spread.append(own[..., 0].detach().std().item())
        wanted = own if of is None else of[step]
        if changed:
            change = changes(lesson.seed, step, tuple(own.shape))
            after = after + change @ neurons.write(reporter.gpt)
            wanted = wanted + change
        reports, logits = reporter(after)
        found = logits.new_zeros(())
        if way.asked:
            found = found + F.mse_loss(reports[:, SKIPPED:], wanted[:, SKIPPED:])
        if way.language:
            found = found + F.cross_entropy(logits.flatten(0, 1), lesson.y[step].flatten())
        return found

    tune(groups, loss, len(lesson))
    return reporter.requires_grad_(False), spread
