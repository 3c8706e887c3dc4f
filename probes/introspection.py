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

from collections.abc import Sequence
from pathlib import Path

from base import command_line

if __name__ == "__main__":
    command_line.heed()

import numpy as np
import pandas as pd

from base.storage import UserError
from configs.probes.introspection import Introspection
from data.corpus import Corpus
from probes.in_words import COLUMNS as OF_WORDS
from probes.in_words import in_words
from probes.instrument import Progress, command, load_trained, weights_frozen
from probes.neuron import Choice, Neurons, Site, texts
from probes.neuron_lessons import Rows, Study, course, lesson_of, of_block, place_of
from probes.reporter import FIRST, LANGUAGE, WAYS, Reporter, taught
from probes.reports import Asked, Heldout, natural, slope
from probes.twins import COLUMNS as OF_TWINS
from probes.twins import twins

CHOSEN_ON = 400  # dev texts at most that neurons are chosen on
PLACE = ("seed", "run_step", "block", "kind", "unit", "rank")
REPORTS = (
    *(*PLACE, "way", "changed", "mse", "bias2", "variance", "r", "r2", "blind_r2", "sd", "lm_loss", "lm_rise"),
    *("slope", "slope_in", "follows_in", "slope_foreign", "slope_random", "overlap"),
)  # fmt: skip
FLOORS = (*PLACE, "source", "r2")
COURSE = (*PLACE, "way", "changed", "step", "sd")
POINTS = ("seed", "run_step", "way", "changed", "moved", "activation", "report")
SEVERAL = ("seed", "run_step", "count", "r2", "slope", "slope_other", "lm_rise")


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
                "sd": new["sd"] / old["sd"], "lm_loss": new["lm_loss"], "lm_rise": new["lm_loss"] - old["lm_loss"],
            }  # fmt: skip
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
        rows.append({
            "count": count, "r2": float(np.mean([one["r2"] for one in of])), "slope": float(np.diag(matrix).mean()),
            "slope_other": float(np.sqrt((others**2).mean())) if len(others) else np.nan,
            "lm_rise": of[0]["lm_loss"] - before[0]["lm_loss"],
        })  # fmt: skip
    return rows


def run(
    run: Path, step: int, settings: Introspection, corpus: Corpus, destination: Path, progress: Progress | None = None,
    other: Path | None = None,
) -> None:  # fmt: skip
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
            subject.gpt, outsider.gpt, subject.run.seed, settings, lesson_of(subject.run, corpus, settings.lesson), heldout, told
        )  # fmt: skip
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
            "settings": settings.model_dump(mode="json"), "heldout_texts": len(heldout.x), "steps": done,
        }  # fmt: skip


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
