"""Twins: copies of one model that were trained apart for a while, each then taught to report the same neuron in all of them.

On text as it is, own and others' reports are taught alike; and once more with the reader's own neuron changed meanwhile.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model import GPT
from probes.neuron import Neurons
from probes.reporter import BODY_RATE, SKIPPED, Lesson, Reporter, Way, changes, tune
from probes.reports import Asked, Heldout, errors, slope

COLUMNS = ("seed", "run_step", "way", "changed", "reader", "of", "r2", "alike", "slope")
WAY = Way("above")


def twins(
    gpt: GPT,
    neuron: Neurons,
    apart: Sequence[Lesson],
    lesson: Lesson,
    heldout: Heldout,
    told: Callable[[int], None],
) -> list[dict[str, Any]]:
    """Rows of twins.csv: a row a lesson, a reader and a twin whose neuron it reports, itself among them.

    r2: on held-out text as it is. alike: r2 of naming the reader's own activation as the other's. slope: of that report when the
    reader's own neuron is changed.

    Args:
        neuron: one. apart: the texts that each twin is trained on before. lesson: those on which all learn to report.
        told: called after each lesson with its steps.
    """
    there = []
    for texts in apart:
        there.append(language(gpt, texts))
        told(len(texts))
    values = [[here.values for here in lesson.seen(one, neuron.site, neuron)] for one in there]
    rows = []
    for index, one in enumerate(there):
        for changed in (False, True):
            reporter = reader(one, index, neuron, lesson, values, changed)
            told(len(lesson))
            place = {"way": WAY.name, "changed": int(changed), "reader": index + 1}
            rows += [{**place, **row} for row in judged(reporter, index, there, neuron, heldout)]
    return rows


def language(gpt: GPT, lesson: Lesson) -> GPT:
    """A copy of a model, trained on to predict the next token."""
    one = copy.deepcopy(gpt).requires_grad_(True)

    def loss(step: int) -> Tensor:
        found = one(lesson.x[step], None, lesson.y[step])[1]
        assert found is not None
        return found

    tune([(list(one.parameters()), BODY_RATE)], loss, len(lesson))
    return one.requires_grad_(False)


def reader(
    gpt: GPT, index: int, neuron: Neurons, lesson: Lesson, values: Sequence[Sequence[Tensor]], changed: bool
) -> Reporter:
    """A twin that has learned to report all twins' neurons at once.

    values: of each twin, its activations (B, T, 1) in each step. changed: whether its own, and none of the others, is changed
    meanwhile.
    """
    reporter = Reporter(copy.deepcopy(gpt), neuron.site, len(values)).eval()
    groups = reporter.parameters_of(WAY)
    stored = lesson.seen(gpt, neuron.site, neuron)
    write = neuron.write(gpt)

    def loss(step: int) -> Tensor:
        wanted = torch.cat([of[step] for of in values], -1)  # (B, T, twins)
        after = stored[step].after
        if changed:
            change = changes(lesson.seed, step, (*wanted.shape[:2], 1))
            wanted[..., index] += change[..., 0]
            after = after + change @ write
        reports, _ = reporter(after)
        return F.mse_loss(reports[:, SKIPPED:], wanted[:, SKIPPED:])

    tune(groups, loss, len(lesson))
    return reporter.requires_grad_(False)


@torch.no_grad()
def judged(
    reporter: Reporter, index: int, there: Sequence[nn.Module], neuron: Neurons, heldout: Heldout
) -> list[dict[str, Any]]:
    """The rows of one reader."""
    asked = Asked(reporter, reporter.gpt, neuron, heldout.x)
    reports = asked.reports()[:, SKIPPED:].flatten(0, 1).double().numpy()  # (n, twins)
    true = [
        Asked(Reporter(one, neuron.site, 1), one, neuron, heldout.x).own
        for one in there
        if isinstance(one, GPT)
    ]
    flat = [one[:, SKIPPED:].flatten().double().numpy() for one in true]
    moved: np.ndarray = slope(
        Asked(reporter, reporter.gpt, neuron, heldout.cut), neuron.write(reporter.gpt)[0]
    )
    return [
        {
            "of": other + 1,
            "r2": errors(reports[:, other], flat[other])["r2"],
            "alike": errors(flat[index], flat[other])["r2"],
            "slope": float(moved[other]),
        }
        for other in range(len(flat))
    ]
