"""The lessons on one neuron at a time, what its reports are worth, and what is told of it without introspection."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from base.rng import Stream, generator
from configs.probes.introspection import Introspection
from configs.run import RunConfig
from data.corpus import Corpus
from model import GPT
from probes.instrument import CPU
from probes.neuron import Choice, Neurons, Seen, rest, seen
from probes.reporter import FIRST, OUTSIDER, SPREAD, WAYS, Lesson, Reporter, Way, taught
from probes.reports import Asked, Heldout, linear_r2, natural, slopes, table_r2
from runs.evaluate import batch

READ_ON = 40  # batches that linear readings are fitted on
AVERAGED = 10  # steps that a point of the course is the mean of
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Study:
    """What all lessons of a run share. told: called after each lesson with the steps it took."""

    gpt: GPT
    partner: GPT
    seed: int
    settings: Introspection
    lesson: Lesson
    heldout: Heldout
    told: Callable[[int], None]


def lesson_of(run: RunConfig, corpus: Corpus, steps: int, first: int = FIRST) -> Lesson:
    """Batches of train text that no training draws: counted from `first` on."""
    drawn = [batch(corpus, "train", run, run.seed, Stream.EVAL, first + step, CPU) for step in range(steps)]
    x, y = zip(*drawn, strict=True)
    return Lesson(run.seed, torch.stack(x), torch.stack(y))


def place_of(neurons: Neurons, index: int) -> dict[str, Any]:
    return {
        "block": neurons.site.block, "kind": neurons.site.kind, "unit": neurons.units[index], "rank": neurons.ranks[index],
    }  # fmt: skip


def of_block(study: Study, choice: Choice, neurons: Neurons) -> dict[str, Rows]:
    """All rows on the chosen neurons of one block, by table."""
    found: dict[str, Rows] = {"reports": [], "floors": [], "course": [], "points": []}
    stored = study.lesson.seen(study.gpt, neurons.site, neurons)
    base = natural(Reporter(study.gpt, neurons.site, len(neurons)), study.gpt, neurons, study.heldout)
    elsewhere = natural(
        Reporter(study.partner, neurons.site, len(neurons)), study.gpt, neurons, study.heldout
    )
    for index in range(len(neurons)):
        one, place = neurons.at([index]), place_of(neurons, index)
        own = [Seen(here.stream, here.values[..., [index]], here.after) for here in stored]
        for way, changed, reporter, subject, spread in lessons(study, one, own):
            here = {**place, "way": way.name, "changed": int(changed)}
            before = (elsewhere if way is OUTSIDER else base)[index]["lm_loss"]
            row = natural(reporter, subject, one, study.heldout)[0]
            row |= {"sd": row["sd"] / base[index]["sd"], "lm_rise": row["lm_loss"] - before}
            row |= slopes(reporter, subject, choice, one, study.heldout, study.seed)[0]
            found["reports"].append({**here, **row})
            if way.trained == "all" and way is not OUTSIDER:
                found["course"] += [{**here, **at} for at in course(spread)]
            if index == 0 and way.name in ("above", OUTSIDER.name):
                asked = Asked(reporter, subject, one, study.heldout.cut)
                found["points"] += [{**here, **point} for point in points(asked, study.seed)]
    found["floors"] = floors(study, neurons, stored)
    return found


def lessons(
    study: Study, neurons: Neurons, stored: Sequence[Seen]
) -> Iterator[tuple[Way, bool, Reporter, GPT, list[float]]]:
    """A neuron's reporters, each with its way, whether the neuron was changed meanwhile, whose neuron it reports, and the course of
    its standard deviation."""
    for way in WAYS:
        for changed in (False, True):
            reporter, spread = taught(way, neurons, study.lesson, study.gpt, stored, changed)
            study.told(len(study.lesson))
            yield way, changed, reporter, reporter.gpt, spread
    values = [here.values for here in stored]
    reporter, spread = taught(OUTSIDER, neurons, study.lesson, study.partner, (), False, of=values)
    study.told(len(study.lesson))
    yield OUTSIDER, False, reporter, study.gpt, spread


def course(spread: Sequence[float]) -> Rows:
    """The standard deviation of a neuron along its lesson, in its first ones: means of AVERAGED steps, at their middle."""
    kept = len(spread) // AVERAGED * AVERAGED
    means = np.array(spread[:kept]).reshape(-1, AVERAGED).mean(1)
    return [{"step": AVERAGED * index + AVERAGED // 2, "sd": sd} for index, sd in enumerate(means)]


@torch.no_grad()
def points(asked: Asked, seed: int) -> Rows:
    """Activation and report at the last position of each text, as it is and with the neuron moved by a random number."""
    size = len(asked.own)
    by = torch.from_numpy(
        generator(seed, Stream.DIRECTIONS, FIRST + 1).uniform(-SPREAD, SPREAD, size).astype(np.float32)
    )
    change = torch.zeros_like(asked.here.after)
    change[:, -1] = by[:, None] * asked.neurons.write(asked.subject)[0]
    rows: Rows = []
    for moved, told, true in (
        (0, asked.reports(), asked.own[:, -1, 0]),
        (1, asked.reports(change), asked.own[:, -1, 0] + by),
    ):
        pairs = zip(true.tolist(), told[:, -1, 0].tolist(), strict=True)
        rows += [{"moved": moved, "activation": activation, "report": report} for activation, report in pairs]
    return rows


@torch.no_grad()
def floors(study: Study, neurons: Neurons, stored: Sequence[Seen]) -> Rows:
    """R2 on held-out text of what needs no introspection: tables of the last tokens, linear readings of streams."""
    heldout = study.heldout.x
    here = seen(study.gpt, heldout, neurons.site)
    known = study.lesson.x.flatten(0, 1).numpy(), torch.cat([one.values for one in stored]).double().numpy()
    asked = heldout.numpy(), neurons.of(here.values).double().numpy()
    found = table_r2(known, asked)

    def features(gpt: GPT, x: torch.Tensor) -> dict[str, np.ndarray]:
        at = seen(gpt, x, neurons.site)
        streams = {"before": at.stream, "final": rest(gpt, at.after, neurons.site)}
        return {name: stream.flatten(0, 1).double().numpy() for name, stream in streams.items()}

    some = study.lesson.x[:READ_ON].flatten(0, 1)
    flat = [values.reshape(-1, values.shape[-1]) for values in (known[1][: len(some)], asked[1])]
    for whose, gpt in (("own", study.gpt), ("other", study.partner)):
        fitted, tested = features(gpt, some), features(gpt, heldout)
        for name in fitted:
            if (whose, name) != ("other", "before"):
                found[f"{whose} {name}"] = linear_r2((fitted[name], flat[0]), (tested[name], flat[1]))
    return [
        {**place_of(neurons, index), "source": source, "r2": r2[index]}
        for index in range(len(neurons))
        for source, r2 in found.items()
    ]
