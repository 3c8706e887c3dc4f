"""Reports in words: every few characters a question stands in the text, and the model answers with a digit for the neuron's activation
at the character before it, and with on or off.

The question is the model's reserved token, which nothing else uses. The ten digits stand for equal widths of a scale from the lowest
percent of the activations on dev text to six standard deviations above; on is above the mean. In a lesson with changes the neuron
is set, before half of the questions, to a value drawn evenly from the scale, since the digits of natural text are nearly all the first
few.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from base.rng import Stream, generator
from model import GPT
from probes.neuron import Choice, Neurons, seen, written_by
from probes.reporter import FIRST, OUTSIDER, SHARE, SKIPPED, Lesson, Reporter, Way, tune
from probes.reports import CHANGE, DRAWS, rms

EVERY = 3  # a question takes the place of every so many-th character
RATE = 2e-3  # of the layers that learn; there are fewer questions than characters
DIGITS, WIDTH = 10, 0.6  # how many, and how many standard deviations each stands for
LOWEST = 0.01  # quantile of the activations on dev text at which the scale begins
WAYS = ((Way("above"), True), (Way("above"), False), (OUTSIDER, False))  # and whether the neuron is changed
COLUMNS = (
    *("seed", "run_step", "block", "kind", "unit", "rank", "way", "changed"),
    *("on_off", "on_off_floor", "exact", "exact_floor", "slope", "slope_foreign", "slope_random"),
)


def questions(gpt: GPT, x: Tensor) -> tuple[Tensor, Tensor]:
    """Texts (N, T) with a question in every EVERY-th place, and cut after the last; the places (Q,) of those that are answered."""
    places = torch.arange(EVERY - 1, x.shape[1], EVERY)
    asking = x[:, : int(places[-1]) + 1].clone()
    asking[:, places] = gpt.mask_token
    return asking, places[places > SKIPPED]


def digit(activation: Tensor, low: float) -> Tensor:
    """The digit of activations, int64; what lies beyond the scale is its first or last."""
    return ((activation - low) / WIDTH).floor().clamp(0, DIGITS - 1).long()


class Answers:
    """A reporter of words, asked on some texts (N, T) about a neuron of a model that may be itself."""

    def __init__(self, reporter: Reporter, subject: GPT, neuron: Neurons, x: Tensor) -> None:
        asking, self.places = questions(subject, x)
        here = seen(subject, asking, neuron.site)
        self.own = neuron.of(here.values)[:, self.places - 1, 0]  # (N, Q)
        self.reporter, self.itself = reporter, reporter.gpt is subject
        self.after = here.after if self.itself else seen(reporter.gpt, asking, neuron.site).after

    def __call__(self, change: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits of the digits (N, Q, 10) and of off and on (N, Q, 2), where `change` (N, C) is added to the stream before the last
        question."""
        after = self.after
        if change is not None and self.itself:
            after = after.clone()
            after[:, self.places[-1] - 1] += change
        return self.reporter(after)[0][:, self.places].split((DIGITS, 2), -1)


def in_words(
    gpt: GPT,
    partner: GPT,
    choice: Choice,
    neuron: Neurons,
    dev: Tensor,
    lesson: Lesson,
    heldout: Tensor,
    told: Callable[[int], None],
) -> list[dict[str, Any]]:
    """Rows of words.csv on one neuron.

    on_off, exact: share of right answers on held-out text as it is; *_floor: of always giving the commonest one. slope: what
    the mean digit, in standard deviations, does when the neuron is moved about the middle of the scale; slope_foreign, slope_random:
    root mean square over DRAWS when the stream is moved as far by other neurons or in random directions.

    Args:
        dev, heldout: texts (N, T). told: called after each lesson with its steps.
    """
    with torch.no_grad():
        low = float(neuron.of(seen(gpt, dev, neuron.site).values).flatten().double().quantile(LOWEST))
    rows = []
    for way, changed in WAYS:
        outside = way is OUTSIDER
        reporter = Reporter(copy.deepcopy(partner if outside else gpt), neuron.site, DIGITS + 2).eval()
        teach(reporter, way, gpt, neuron, lesson, low, changed)
        told(len(lesson))
        answers = Answers(reporter, gpt if outside else reporter.gpt, neuron, heldout)
        place = {
            "block": neuron.site.block,
            "kind": neuron.site.kind,
            "unit": neuron.units[0],
            "rank": neuron.ranks[0],
        }
        found = {**right(answers, low), **moved(answers, gpt, choice, neuron, low, lesson.seed)}
        rows.append({**place, "way": way.name, "changed": int(changed), **found})
    return rows


def teach(
    reporter: Reporter, way: Way, subject: GPT, neuron: Neurons, lesson: Lesson, low: float, changed: bool
) -> None:
    """Fine-tune a reporter to answer about a neuron of a model, itself or another, as that stands before."""
    groups = reporter.parameters_of(way, RATE)
    write = neuron.write(subject)[0].detach()

    def loss(step: int) -> Tensor:
        asking, places = questions(subject, lesson.x[step])
        with torch.no_grad():
            here = seen(subject, asking, neuron.site)
            wanted = neuron.of(here.values)[:, places - 1, 0]  # (B, Q)
        after = here.after if way is not OUTSIDER else seen(reporter.gpt, asking, neuron.site).after
        if changed:
            random = generator(lesson.seed, Stream.PERTURB, FIRST + 1_000_000 + step)
            there = torch.from_numpy(random.random(wanted.shape) < SHARE)
            drawn = torch.from_numpy(
                random.uniform(low, low + DIGITS * WIDTH, wanted.shape).astype(np.float32)
            )
            after[:, places - 1] += (there * (drawn - wanted))[..., None] * write
            wanted = torch.where(there, drawn, wanted)
        said, side = (one.flatten(0, 1) for one in reporter(after)[0][:, places].split((DIGITS, 2), -1))
        return F.cross_entropy(said, digit(wanted, low).flatten()) + F.cross_entropy(
            side, (wanted > 0).long().flatten()
        )

    tune(groups, loss, len(lesson))
    reporter.requires_grad_(False)


@torch.no_grad()
def right(answers: Answers, low: float) -> dict[str, float]:
    """How often the answers on text as it is are right, and how often the commonest answer is."""
    said, side = (one.flatten(0, 1) for one in answers())
    true, on = digit(answers.own, low).flatten(), (answers.own > 0).long().flatten()
    return {
        "on_off": (side.argmax(-1) == on).double().mean().item(),
        "on_off_floor": (torch.bincount(on).max() / len(on)).item(),
        "exact": (said.argmax(-1) == true).double().mean().item(),
        "exact_floor": (torch.bincount(true).max() / len(true)).item(),
    }


@torch.no_grad()
def moved(
    answers: Answers, gpt: GPT, choice: Choice, neuron: Neurons, low: float, seed: int
) -> dict[str, float]:
    """What the mean digit after the last question does when the stream before it is moved, the neuron at the middle of the scale."""
    write = neuron.write(gpt)[0]
    centres = low + WIDTH * (torch.arange(DIGITS) + 0.5)
    middle = (low + DIGITS * WIDTH / 2 - answers.own[:, -1])[:, None] * write

    def follows(step: Tensor) -> float:
        up, down = (
            (answers(middle + sign * CHANGE * step)[0][:, -1].softmax(-1) @ centres).double().mean().item()
            for sign in (1, -1)
        )
        return (up - down) / (2 * CHANGE)

    def far(steps: Tensor) -> float:
        return rms([follows(write.norm() * one) for one in F.normalize(steps, dim=-1)])

    random = generator(seed, Stream.DIRECTIONS, FIRST + 2)
    foreign = written_by(gpt, neuron.site, choice.others(neuron, DRAWS, random))
    drawn = torch.from_numpy(random.normal(size=(DRAWS, len(write))).astype(np.float32))
    return {
        "slope": follows(write),
        "slope_foreign": far(foreign),
        "slope_random": far(drawn),
    }
