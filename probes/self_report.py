"""Ask a finished run what its state is set to: can it name it, and what does its answer look at?

    python -m probes.self_report out/self_report/subject/seed-1 --other out/self_report/subject/seed-2

A copy of the model is taught to answer multiple-choice questions (probes/quiz.py) while states of the run are put back through its
frozen reader. Then the state is set, on fresh texts, to a regime's mean and to much else that is as far away (probes/odds.py); the model
is asked what it will do next, and the state is set at some tokens alone (probes/behaviour.py). The lessons:

    taught        the right answers; one regime is asked for by name alone, one never set
    shuffled      the same with states dealt out anew among the right answers
    untaught      only where a name stands: nothing about the state
    features      not states but features of a sparse autoencoder (probes/dictionary.py), set before the second block
    fixed         the same with the autoencoder's decoder fixed at random directions
    untrained     the same of a model that was never trained

All in float32, whatever the run was trained in; all that is random is drawn from the run's seed.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from base import command_line

if __name__ == "__main__":
    command_line.heed()

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from base.rng import Stream, generator
from base.storage import UserError
from configs.probes.self_report import SelfReport
from configs.run import RunConfig
from data.corpus import Corpus
from model import GPT
from perturb import CALM
from probes import dictionary
from probes.answers import ANSWERS, KINDS, READINGS, REPORTS, Rows, answers, directions, read, reports
from probes.behaviour import BEHAVIOUR, PLACES, Habits, behaviours, places, prediction
from probes.dictionary import FEATURES, FOUND
from probes.instrument import CPU, Progress, Subject, command, load_subject, weights_frozen
from probes.odds import Quiz, answerer
from probes.quiz import TEXT, Example, Lesson, Tokens, teach, with_tokens
from probes.reporter import FIRST
from probes.setting import Setting, of_states
from runs.evaluate import batch

LAYER = 1  # before which features are set
STREAM_TEXTS = 1024  # that dictionaries are trained on
DRIVEN = (1.0, 3.0)  # strengths at which a model is asked what it will do


@dataclass(frozen=True)
class Study:
    """What all lessons of a run share. lesson: its texts. heldout: texts (N, 15) that answers are measured on."""

    run: RunConfig
    settings: SelfReport
    lesson: Lesson
    heldout: Tensor
    corpus: Corpus
    told: Callable[[int], None]

    def tokens(self, gpt: GPT, setting: Setting) -> Tokens:
        return Tokens(gpt.vocab_size + 1, len(setting.names))

    def quizzes(self, tokens: Tokens) -> list[Quiz]:
        """One for each class: prompts in which it is the right answer."""
        each = self.settings.prompts
        return [
            Quiz.drawn(
                tokens, which, self.heldout[:each], generator(self.run.seed, Stream.EVAL, FIRST - 1 - which)
            )
            for which in range(tokens.names)
        ]


def lesson_of(run: RunConfig, corpus: Corpus, steps: int, sequences: int) -> Lesson:
    """Batches of train text that no training draws."""
    drawn = [
        batch(corpus, "train", run, run.seed, Stream.EVAL, FIRST + step, CPU, sequences)
        for step in range(steps)
    ]
    x, y = zip(*drawn, strict=True)
    return Lesson(run.seed, torch.stack(x), torch.stack(y), run.train.batch_size)


def taught(study: Study, gpt: GPT, setting: Setting, how: str = "taught") -> GPT:
    """A copy of a model after a lesson. how: taught, shuffled or untaught."""
    tokens = study.tokens(gpt, setting)
    made = with_tokens(gpt, study.run.model, tokens, study.run.seed)
    labels = setting.shuffled(study.run.seed) if how == "shuffled" else None
    habits = habits_of(study, gpt, setting, gpt.vocab_size)

    def draw(random: np.random.Generator) -> Example:
        return setting.examples(study.lesson.x.shape[1], random, labels)

    def behave(texts: Tensor, vectors: Tensor) -> Tensor:
        if how == "untaught":
            return torch.full((len(texts), 2), -1)
        return habits.words(tokens, *does(gpt, setting.layer, texts, vectors))

    teach(made, tokens, study.lesson, setting.layer, draw, behave)
    study.told(len(study.lesson))
    return made


@torch.no_grad()
def does(gpt: GPT, layer: int, texts: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Entropy (N,) of a model's next character after texts (N, 15) under vectors (N, C), and the likeliest one (N,)."""
    doubt, log_p = prediction(gpt, layer, texts, vectors, gpt.vocab_size)
    return doubt, log_p.argmax(-1)


def habits_of(study: Study, gpt: GPT, setting: Setting, characters: int) -> Habits:
    """Bounds by which a model's behaviour is told, from the texts of the first steps of the lesson under the states of lessons."""
    texts = study.lesson.x[:8, :, :TEXT].flatten(0, 1)
    vectors = setting.examples(len(texts), generator(study.run.seed, Stream.DIRECTIONS, FIRST - 2)).vectors
    return Habits.of(gpt, setting.layer, texts, vectors, study.corpus.train, characters)


def of_lesson(
    study: Study, gpt: GPT, setting: Setting, foreign: Tensor, random: Tensor, how: str, full: bool
) -> dict[str, Rows]:
    """Teach a model, ask it, and give its rows by table. full: at all strengths, and what it will do."""
    made = taught(study, gpt, setting, how)
    tokens, answer = study.tokens(gpt, setting), answerer(made, setting.layer)
    quizzes = study.quizzes(tokens)
    ways = directions(setting, foreign, random)
    found = {
        "reports": reports(answer, setting, quizzes, ways, study.settings.strengths if full else ()),
        "answers": answers(answer, setting, tokens, study.heldout, random, study.run.seed),
    }
    found["readings"] = read(setting, found["answers"])
    if full:
        habits = habits_of(study, made, setting, gpt.vocab_size)
        found["behaviour"] = behaviours(made, answer, setting, quizzes, habits, DRIVEN)
        found["places"] = places(made, answer, setting, quizzes, habits)
    return found


def on_states(study: Study, subject: Subject, partner: Subject) -> dict[str, dict[str, Rows]]:
    """The lessons on the state: by lesson, rows by table."""
    setting = of_states(subject, study.settings.regimes)
    elsewhere = of_states(replace(partner, reader=subject.reader), study.settings.regimes)
    drawn = generator(study.run.seed, Stream.DIRECTIONS, FIRST - 3).normal(
        size=(study.settings.draws, subject.reader.shape[1])
    )
    random = torch.from_numpy((drawn @ subject.reader.T).astype(np.float32))
    return {
        how: of_lesson(study, subject.gpt, setting, elsewhere.away[None], random, how, how == "taught")
        for how in ("taught", "shuffled", "untaught")
    }


def on_features(study: Study, subject: Subject) -> tuple[dict[str, dict[str, Rows]], Rows, Rows]:
    """The lessons on features: by lesson, rows by table; then those of dictionaries.csv and features.csv."""
    settings, run = study.settings, study.run
    names = [f"feature {at + 1}" for at in range(1 + len(settings.regimes))]
    calm = of_states(subject, settings.regimes).sham
    plain = copy.deepcopy(subject.gpt)
    with torch.no_grad():
        plain.positions.weight += calm  # the state's usual bias, once and for all
    fresh = GPT(run.model, plain.vocab_size).eval()
    fresh.initialise(generator(run.seed, Stream.INIT))
    fresh.requires_grad_(False)
    x = batch(study.corpus, "train", run, run.seed, Stream.EVAL, FIRST - 1, CPU, STREAM_TEXTS)[0]
    dev = batch(study.corpus, "dev", run, run.seed, Stream.EVAL, FIRST - 1, CPU, STREAM_TEXTS // 4)[0]
    heldout = batch(study.corpus, "heldout", run, run.seed, Stream.EVAL, FIRST - 1, CPU, STREAM_TEXTS // 8)
    found: dict[str, dict[str, Rows]] = {}
    judged: Rows = []
    told: Rows = []
    for lesson, gpt, learned in (
        ("features", plain, True),
        ("fixed", plain, False),
        ("untrained", fresh, True),
    ):
        stream = dictionary.stream_before(gpt, x, LAYER).flatten(0, 1)
        made = dictionary.learned_from(
            stream, settings.dictionary, settings.active, settings.dictionary_steps, learned, run.seed
        )
        study.told(settings.dictionary_steps)
        judged.append({"dictionary": lesson, **dictionary.judged(gpt, made, *heldout, LAYER)})
        chosen = dictionary.choose(gpt, made, study.corpus, dev, LAYER, names)
        told += [{"dictionary": lesson, **row} for row in chosen.rows]
        setting = dictionary.of_features(made, chosen, LAYER, names, run.seed)
        drawn = generator(run.seed, Stream.DIRECTIONS, FIRST - 4)
        rest = drawn.choice(chosen.others or chosen.features, (settings.draws, len(names)))
        random = torch.from_numpy(drawn.normal(size=(settings.draws, stream.shape[1])).astype(np.float32))
        found[lesson] = of_lesson(
            study, gpt, setting, made.decoder[torch.from_numpy(rest)], random, "taught", lesson == "features"
        )
    return found, judged, told


def run(
    run: Path, step: int, settings: SelfReport, corpus: Corpus, destination: Path, progress: Progress | None = None,
    other: Path | None = None,
) -> None:  # fmt: skip
    """Teach a run to report and ask it; write reports.csv, answers.csv, readings.csv, behaviour.csv, places.csv, dictionaries.csv,
    features.csv, task.json.

    Args, beside those of `weights_frozen`:
        settings: what is asked about, and how long each lesson is.
        progress: called with (steps of fine-tuning done, in all).
        other: the run folder of the partner seed, whose directions are the foreign ones.

    Raises, beside what `weights_frozen` does:
        UserError: no partner, a run that lacks a regime or its states, no self-state.
    """
    with weights_frozen(run, step, corpus, destination, load_subject) as (subject, results):
        if other is None:
            raise UserError(
                "self_report needs the run of the partner seed, for foreign directions; name it with --other"
            )
        problem = settings.misfit(subject.run)
        if problem:
            raise UserError(f"{run} {problem}")
        partner = load_subject(other, step)
        done, total = 0, 6 * settings.lesson + 3 * settings.dictionary_steps

        def told(steps: int) -> None:
            nonlocal done
            done += steps
            if progress is not None:
                progress(done, total)

        subject.gpt.requires_grad_(False)
        texts = batch(
            corpus, "heldout", subject.run, subject.run.seed, Stream.EVAL, FIRST, CPU, settings.prompts
        )[0]
        study = Study(
            subject.run,
            settings,
            lesson_of(subject.run, corpus, settings.lesson, settings.rows),
            texts[:, :TEXT],
            corpus,
            told,
        )
        lessons = on_states(study, subject, partner)
        of_features, judged, chosen = on_features(study, subject)
        columns = {
            "reports": REPORTS,
            "answers": ANSWERS,
            "readings": READINGS,
            "behaviour": BEHAVIOUR,
            "places": PLACES,
        }
        for name, head in columns.items():
            rows = [
                {"lesson": lesson, **row}
                for lesson, tables in {**lessons, **of_features}.items()
                for row in tables.get(name, ())
            ]
            results.tables[f"{name}.csv"] = head, rows
        results.tables |= {"dictionaries.csv": (FOUND, judged), "features.csv": (FEATURES, chosen)}
        results.task |= {"settings": settings.model_dump(mode="json"), "calm": CALM, "steps": done}


def summary(folder: Path) -> str:
    """One line a lesson: the index at strength 1, of each kind; how often the right one is named."""
    lines = []
    found = pd.read_csv(folder / "reports.csv")
    found = found[(found["strength"] == 1) & (found["group"] == "taught")]
    for lesson, rows in found.groupby("lesson", sort=False):
        index = rows.groupby("kind")["index"].mean()
        own = rows[rows["kind"] == "own"]
        told = "  ".join(f"{kind} {index[kind]:6.2f}" for kind in KINDS if kind in index)
        lines.append(
            f"{lesson!s:10} {told}   named {own['right'].mean():.2f}, on sham {own['false'].mean():.2f}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    command(arguments, "self_report.py", __doc__, "self_report", run, summary)


if __name__ == "__main__":
    command_line.run(main)
