"""Ask a finished run about its own neurons: how well does it report them, and does it look?

    python -m probes.introspection out/introspection/subject/seed-1 --other out/introspection/subject/seed-2

Neurons are chosen by a rule on dev text (probes/neuron.py). The model gets a linear head and is fine-tuned on train text to report
one of them at every position, in each of the ways of probes/reporter.py, once on text as it is, once while the neuron is changed at
half of the positions and the changed value is what is asked for. All is measured on held-out texts that stand in no other split
(probes/reports.py), beside

    outsider   the partner seed's model, shown the same text and trained to report this model's neuron
    floors     the mean activation after the same token, and after the same two; linear readings of the stream
    language   the same steps of fine-tuning on text alone

Several neurons at once, twins that report each other, and reports in words are further lessons (probes/twins.py, in_words.py).
All in float32, whatever the run was trained in; all that is random is drawn from the run's seed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base import command_line

if __name__ == "__main__":
    command_line.heed()

import numpy as np
import pandas as pd
import torch

from base.rng import Stream, generator
from base.storage import UserError
from configs.probes.introspection import Introspection
from configs.run import RunConfig
from data.corpus import Corpus
from model import GPT
from probes.in_words import COLUMNS as OF_WORDS
from probes.in_words import in_words
from probes.instrument import CPU, Progress, command, load_trained, weights_frozen
from probes.neuron import Choice, Neurons, Seen, Site, rest, seen, texts
from probes.reporter import FIRST, LANGUAGE, OUTSIDER, SPREAD, WAYS, Lesson, Reporter, Way, taught
from probes.reports import Asked, Heldout, linear_r2, natural, slope, slopes, table_r2
from probes.twins import COLUMNS as OF_TWINS
from probes.twins import twins
from runs.evaluate import batch

CHOSEN_ON = 400  # dev texts at most that neurons are chosen on
READ_ON = 40  # batches that linear readings are fitted on
AVERAGED = 10  # steps that a point of the course is the mean of
PLACE = ("seed", "run_step", "block", "kind", "unit", "rank")
REPORTS = (
    *(
        *PLACE,
        "way",
        "changed",
        "mse",
        "bias2",
        "variance",
        "r",
        "r2",
        "blind_r2",
        "sd",
        "lm_loss",
        "lm_rise",
    ),
    *("slope", "slope_in", "follows_in", "slope_foreign", "slope_random", "overlap"),
)
FLOORS = (*PLACE, "source", "r2")
COURSE = (*PLACE, "way", "changed", "step", "sd")
POINTS = ("seed", "run_step", "way", "changed", "moved", "activation", "report")
SEVERAL = ("seed", "run_step", "count", "r2", "slope", "slope_other", "lm_rise")
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


def language(study: Study, of: Sequence[Neurons]) -> dict[str, Rows]:
    """Fine-tuning on text alone: what becomes of each neuron and of the loss, and of the first neuron step by step."""
    tuned, spread = taught(LANGUAGE, of[0], study.lesson, study.gpt, (), False)
    study.told(len(study.lesson))
    rows: Rows = []
    way = {"way": LANGUAGE.name, "changed": 0}
    for neurons in of:
        base, after = (
            natural(Reporter(gpt, neurons.site, len(neurons)), gpt, neurons, study.heldout)
            for gpt in (study.gpt, tuned.gpt)
        )
        for index, (old, new) in enumerate(zip(base, after, strict=True)):
            row = {
                "sd": new["sd"] / old["sd"],
                "lm_loss": new["lm_loss"],
                "lm_rise": new["lm_loss"] - old["lm_loss"],
            }
            rows.append({**place_of(neurons, index), **way, **row})
    return {"reports": rows, "course": [{**place_of(of[0], 0), **way, **at} for at in course(spread)]}


def several(study: Study, choice: Choice) -> Rows:
    """Rows of several.csv: so many neurons of a block reported at once, each changed at its own half of the positions.

    r2: mean over neurons. slope: of a report when its neuron is changed, mean. slope_other: when one of the other neurons
    that are reported is changed, root mean square.
    """
    rows = []
    last = max(study.settings.ranks, default=0)
    above = next(way for way in WAYS if way.name == "above")
    for count in study.settings.several:
        ranks = np.linspace(0, max(last, count - 1), count).round().astype(int)
        neurons = choice.ranked(ranks.tolist())
        stored = study.lesson.seen(study.gpt, neurons.site, neurons)
        reporter, _ = taught(above, neurons, study.lesson, study.gpt, stored, True)
        study.told(len(study.lesson))
        of, before = (
            natural(one, study.gpt, neurons, study.heldout)
            for one in (reporter, Reporter(study.gpt, neurons.site, count))
        )
        asked = Asked(reporter, reporter.gpt, neurons, study.heldout.cut)
        matrix = np.stack([slope(asked, step) for step in neurons.write(reporter.gpt)])  # (changed, reported)
        others = matrix[~np.eye(count, dtype=bool)]
        rows.append(
            {
                "count": count,
                "r2": float(np.mean([one["r2"] for one in of])),
                "slope": float(np.diag(matrix).mean()),
                "slope_other": float(np.sqrt((others**2).mean())) if len(others) else np.nan,
                "lm_rise": of[0]["lm_loss"] - before[0]["lm_loss"],
            }
        )
    return rows


def run(
    run: Path,
    step: int,
    settings: Introspection,
    corpus: Corpus,
    destination: Path,
    progress: Progress | None = None,
    other: Path | None = None,
) -> None:
    """Ask a run about its neurons; write reports.csv, floors.csv, course.csv, points.csv, several.csv, twins.csv, words.csv, task.json.

    Args, beside those of `weights_frozen`:
        settings: which neurons, and how long each lesson is.
        progress: called with (steps of fine-tuning done, in all).
        other: the run folder of the partner seed, whose model is the outsider.

    Raises, beside what `weights_frozen` does:
        UserError: no partner, another shape of model, a neuron that does not exist or is dead.
    """
    with weights_frozen(run, step, corpus, destination, load_trained) as (subject, results):
        if other is None:
            raise UserError(
                "introspection needs the run of the partner seed, the outsider; name it with --other"
            )
        problem = settings.misfit(subject.run)
        if problem:
            raise UserError(f"{run} {problem}")
        outsider = load_trained(other, step)
        for each in (subject.gpt, outsider.gpt):
            each.requires_grad_(False)
        length = subject.run.model.block_size
        dev = texts(corpus.dev, length, CHOSEN_ON)
        choices = [Choice(subject.gpt, dev, Site(settings.kind, block)) for block in settings.blocks]
        chosen = [
            choice.units(settings.units) if settings.units else choice.ranked(settings.ranks)
            for choice in choices
        ]
        heldout = Heldout.of(
            texts(corpus.heldout, length + 1, settings.heldout_texts, (corpus.train, corpus.dev)),
            settings.changed_texts,
        )
        done = 0
        total = total_steps(settings, sum(map(len, chosen)))

        def told(steps: int) -> None:
            nonlocal done
            done += steps
            if progress is not None:
                progress(done, total)

        study = Study(
            subject.gpt,
            outsider.gpt,
            subject.run.seed,
            settings,
            lesson_of(subject.run, corpus, settings.lesson),
            heldout,
            told,
        )
        tables = language(study, chosen)
        for choice, neurons in zip(choices, chosen, strict=True):
            for name, rows in of_block(study, choice, neurons).items():
                tables.setdefault(name, []).extend(rows)
        tables["several"] = several(study, choices[0])
        one = chosen[0].at([0])
        apart = [
            lesson_of(subject.run, corpus, settings.apart, FIRST + 1_000_000 * (2 + twin))
            for twin in range(settings.twins)
        ]
        tables["twins"] = twins(subject.gpt, one, apart, study.lesson, heldout, told)
        words = lesson_of(subject.run, corpus, settings.word_lesson, FIRST + 1_000_000)
        tables["words"] = in_words(subject.gpt, outsider.gpt, choices[0], one, dev, words, heldout.x, told)
        results.tables |= {f"{name}.csv": (COLUMNS[name], rows) for name, rows in tables.items()}
        results.task |= {
            "settings": settings.model_dump(mode="json"),
            "heldout_texts": len(heldout.x),
            "steps": done,
        }


COLUMNS = {
    "reports": REPORTS, "floors": FLOORS, "course": COURSE, "points": POINTS, "several": SEVERAL, "twins": OF_TWINS,
    "words": OF_WORDS,
}  # fmt: skip


def total_steps(settings: Introspection, neurons: int) -> int:
    """Steps of fine-tuning in all."""
    each = 2 * len(WAYS) + 1
    lessons = 1 + each * neurons + len(settings.several) + 2 * settings.twins
    return settings.lesson * lessons + settings.twins * settings.apart + 3 * settings.word_lesson


def summary(folder: Path) -> str:
    """One line a way of a test's reports.csv: the error on text as it is, and what moves the report."""
    lines = []
    for (way, changed), rows in pd.read_csv(folder / "reports.csv").groupby(["way", "changed"], sort=False):
        mean = rows.mean(numeric_only=True)
        lines.append(
            f"{str(way) + (', neuron changed' if changed else ''):32} R2 {mean['r2']:6.3f}   blindfolded {mean['blind_r2']:6.3f}   "
            f"sd {mean['sd']:5.3f}   slope {mean['slope']:6.3f}, foreign {mean['slope_foreign']:5.3f}, "
            f"random {mean['slope_random']:5.3f}   loss +{mean['lm_rise']:.3f} nats"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    command(arguments, "introspection.py", __doc__, "introspection", run, summary)


if __name__ == "__main__":
    command_line.run(main)
