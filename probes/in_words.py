"""Reports in words: after a text comes a question, and the model answers with a digit for the neuron's activation at the text's last
token, and with on or off.

The question is the model's reserved token, which nothing else uses. The ten digits stand for equal widths of a scale from the lowest
percent of the activations on dev text to six standard deviations above; on is above the mean. In half of the rows of a lesson with
changes the neuron is set to a value drawn evenly from the scale, since the digits of natural text are nearly all the first few.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from base.rng import Stream, generator
from model import GPT
from probes.neuron import Choice, Neurons, seen, written_by
from probes.reporter import FIRST, OUTSIDER, Lesson, Reporter, Way, tune
from probes.reports import CHANGE, DRAWS, rms

DIGITS, WIDTH = 10, 0.6  # how many, and how many standard deviations each stands for
LOWEST = 0.01  # quantile of the activations on dev text at which the scale begins
WAYS = ((Way("above"), True), (Way("above"), False), (OUTSIDER, False))  # and whether the neuron is changed
COLUMNS = (
    *("seed", "run_step", "block", "kind", "unit", "rank", "way", "changed"),
    *("on_off", "on_off_floor", "exact", "exact_floor", "slope", "slope_foreign", "slope_random"),
)


def questions(gpt: GPT, x: Tensor) -> Tensor:
    """Texts (N, T) cut to half their length, the question in the last place: (N, T / 2)."""
    half = x[:, : x.shape[1] // 2].clone()
    half[:, -1] = gpt.mask_token
    return half


def digit(activation: Tensor, low: float) -> Tensor:
    """The digit of activations, int64; what lies beyond the scale is its first or last."""
    return ((activation - low) / WIDTH).floor().clamp(0, DIGITS - 1).long()


class Answers:
    """A reporter of words, asked on some questions (N, T) about a neuron of a model that may be itself."""

    def __init__(self, reporter: Reporter, subject: GPT, neuron: Neurons, x: Tensor) -> None:
        here = seen(subject, x, neuron.site)
        self.own = neuron.of(here.values)[:, -2, 0]  # (N,) at the text's last token
        self.reporter, self.itself = reporter, reporter.gpt is subject
        self.after = here.after if self.itself else seen(reporter.gpt, x, neuron.site).after

    def __call__(self, change: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits of the digits (N, 10) and of off and on (N, 2), where `change` (N, C) is added to the stream at that token."""
        after = self.after
        if change is not None and self.itself:
            after = after.clone()
            after[:, -2] += change
        return self.reporter(after)[0][:, -1].split((DIGITS, 2), -1)


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
        dev, heldout: texts (N, T). lesson: texts of full length; half is used. told: called after each lesson with its steps.
    """
    with torch.no_grad():
        low = float(neuron.of(seen(gpt, dev, neuron.site).values).flatten().double().quantile(LOWEST))
    rows = []
    for way, changed in WAYS:
        outside = way is OUTSIDER
        reporter = Reporter(copy.deepcopy(partner if outside else gpt), neuron.site, DIGITS + 2).eval()
        teach(reporter, way, gpt, neuron, lesson, low, changed)
        told(len(lesson))
        answers = Answers(reporter, gpt if outside else reporter.gpt, neuron, questions(gpt, heldout))
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
    groups = reporter.parameters_of(way)
    write = neuron.write(subject)[0].detach()

    def loss(step: int) -> Tensor:
        x = questions(subject, lesson.x[step])
        with torch.no_grad():
            here = seen(subject, x, neuron.site)
            activation = neuron.of(here.values)[:, -2, 0]
        after = here.after if way is not OUTSIDER else seen(reporter.gpt, x, neuron.site).after
        if changed:
            random = generator(lesson.seed, Stream.PERTURB, FIRST + 1_000_000 + step)
            there = torch.from_numpy(random.random(len(x)) < 0.5)
            drawn = torch.from_numpy(random.uniform(low, low + DIGITS * WIDTH, len(x)).astype(np.float32))
            wanted = torch.where(there, drawn, activation)
            after[:, -2] += (wanted - activation)[:, None] * write
            activation = wanted
        said, side = reporter(after)[0][:, -1].split((DIGITS, 2), -1)
        return F.cross_entropy(said, digit(activation, low)) + F.cross_entropy(side, (activation > 0).long())

    tune(groups, loss, len(lesson))
    reporter.requires_grad_(False)


@torch.no_grad()
def right(answers: Answers, low: float) -> dict[str, float]:
    """How often the answers on text as it is are right, and how often the commonest answer is."""
    said, side = answers()
    true, on = digit(answers.own, low), (answers.own > 0).long()
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
    """What the mean digit does when the stream is moved, the neuron standing at the middle of the scale."""
    write = neuron.write(gpt)[0]
    centres = low + WIDTH * (torch.arange(DIGITS) + 0.5)
    middle = (low + DIGITS * WIDTH / 2 - answers.own)[:, None] * write

    def follows(step: Tensor) -> float:
        up, down = (
            (answers(middle + sign * CHANGE * step)[0].softmax(-1) @ centres).double().mean().item()
            for sign in (1, -1)
        )
        return (up - down) / (2 * CHANGE)

    def far(steps: Sequence[Tensor] | Tensor) -> float:
        return rms([follows(write.norm() * one / one.norm()) for one in steps])

    random = generator(seed, Stream.DIRECTIONS, FIRST + 2).normal(size=(DRAWS, len(write))).astype(np.float32)
    return {
        "slope": follows(write),
        "slope_foreign": far(written_by(gpt, neuron.site, choice.beside(neuron, 0, DRAWS))),
        "slope_random": far(torch.from_numpy(random)),
    }
