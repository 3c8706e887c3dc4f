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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from probes.behaviour import COLUMNS as BEHAVIOUR
from probes.behaviour import Habits, behaviours, places, prediction
from probes.dictionary import FEATURES, FOUND
from probes.instrument import CPU, Progress, Subject, command, load_subject, weights_frozen
from probes.odds import Answerer, Quiz, answerer, bits
from probes.quiz import TEXT, Example, Lesson, Tokens, asking, names_of, options, shares, teach, with_tokens
from probes.reporter import FIRST
from probes.setting import Setting, of_states, readings, rescaled
from runs.evaluate import batch

LAYER = 1  # before which features are set
STREAM_TEXTS = 1024  # that dictionaries are trained on
DRIVEN = (1.0, 3.0)  # strengths at which a model is asked what it will do
KINDS = ("own", "fresh", "equal", "foreign", "random", "other")
PLACE = ("seed", "run_step", "lesson")
REPORTS = (
    *(*PLACE, "kind", "regime", "group", "strength"),
    *("index", "delta", "cue", "same", "matched", "right", "false", "entropy"),
)
ANSWERS = (*PLACE, "asked", "set", "regime", "group", "said", "share")
READINGS = (*PLACE, "reading", "accuracy", "bits", "taught_accuracy")
PLACES = (*PLACE, "asked", "regime", "group", "place", "shift")
Rows = list[dict[str, Any]]


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
    habits = habits_of(study, gpt, setting)

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


def habits_of(study: Study, gpt: GPT, setting: Setting) -> Habits:
    """Bounds by which a model's behaviour is told, from the texts of the first steps of the lesson under its own states."""
    texts = study.lesson.x[:8, :, :TEXT].flatten(0, 1)
    random = generator(study.run.seed, Stream.DIRECTIONS, FIRST - 2)
    return Habits.of(
        gpt, setting.layer, texts, setting.examples(len(texts), random).vectors, study.corpus.train
    )


def directions(setting: Setting, foreign: Tensor, random: Tensor) -> dict[str, Tensor]:
    """By kind, directions (draws, K, C) that are as long as the way to each class's mean; `fresh` alone is as it is.

    foreign: (draws, K, C). random: (draws, C).
    """
    away = setting.away
    size = away.norm(dim=1, keepdim=True)
    return {
        "own": away[None],
        "fresh": setting.fresh_away()[None],
        "equal": rescaled(away, size.mean())[None],
        "foreign": rescaled(foreign, size),
        "random": rescaled(random[:, None].expand(-1, len(away), -1), size),
    }


def reports(
    answer: Answerer,
    setting: Setting,
    quizzes: Sequence[Quiz],
    ways: dict[str, Tensor],
    strengths: Iterable[float],
) -> Rows:
    """Rows of reports.csv of one lesson. See `Quiz.compared`; means over draws.

    kind: what is set: the way to the class's mean vector (own), that of fresh vectors, all ways brought to one length (equal),
    foreign and random ones, or another class that is among the options (other).
    """
    found: Rows = []
    for quiz in quizzes:
        none = quiz.logits(answer, setting.sham)
        place = {"regime": setting.names[quiz.which], "group": setting.group[quiz.which]}

        def row(
            kind: str,
            strength: float,
            moves: Iterable[Tensor],
            quiz: Quiz = quiz,
            none: Any = none,
            place: Any = place,
        ) -> None:
            rows = [
                quiz.compared(none, quiz.logits(answer, setting.sham + strength * move))
                for move in moves
                if not move.isnan().any()
            ]
            if rows:
                means = {name: float(np.mean([one[name] for one in rows])) for name in rows[0]}
                found.append({"kind": kind, **place, "strength": strength, **means})

        for strength in sorted({0.0, 1.0, *strengths}):
            for kind in ("own", "foreign", "random"):
                if strength or kind == "own":
                    row(kind, strength, ways[kind][:, quiz.which])
        for kind in ("fresh", "equal"):
            row(kind, 1.0, ways[kind][:, quiz.which])
        row("other", 1.0, [way for at, way in enumerate(setting.away) if at != quiz.which])
    return found


def answers(study: Study, answer: Answerer, setting: Setting, tokens: Tokens, random_way: Tensor) -> Rows:
    """Rows of answers.csv: how often each name is said after `state` (by the letter of its place) and `direct`.

    set: the class's mean vector (mean), fresh ones, the sham, or a random direction as long as the mean one. For the last two no
    class is set, and any five names are the options.
    """
    found: Rows = []
    count = study.settings.prompts
    texts, classes = study.heldout[:count], range(len(setting.names))
    random = generator(study.run.seed, Stream.EVAL, FIRST - 100)
    size = setting.away.norm(dim=1).mean()
    sets: list[tuple[str, int, Tensor]] = [("mean", at, setting.ends[at]) for at in classes]
    for at in classes:
        there = setting.fresh[setting.fresh_class == at]
        if len(there):
            sets.append(
                ("fresh", at, there[torch.from_numpy(random.integers(0, len(there), count))][:, None])
            )
    sets += [("sham", -1, setting.sham)]
    sets += [("random", -1, setting.sham + rescaled(way, size)) for way in random_way]
    for kind, at, vectors in sets:
        right = (
            torch.from_numpy(random.integers(0, len(setting.names), count))
            if at < 0
            else torch.full((count,), at)
        )
        shown, _ = options(tokens.names, right, random)
        place = {
            "set": kind,
            "regime": setting.names[at] if at >= 0 else "",
            "group": setting.group[at] if at >= 0 else "",
        }
        by_letter = answer(asking(tokens, texts, shown, tokens.question("state")), vectors)[
            :, tokens.letters
        ].argmax(1)
        by_name = answer(asking(tokens, texts, shown, tokens.question("direct")), vectors)[
            :, tokens.first : tokens.first + tokens.names
        ]
        for asked, said in (("state", names_of(shown, by_letter)), ("direct", by_name.argmax(1))):
            found += [
                {"asked": asked, **place, "said": name, "share": share}
                for name, share in shares(said, setting.names).items()
            ]
    keys = ["asked", "set", "regime", "group", "said"]
    means = pd.DataFrame(found).groupby(keys, as_index=False, sort=False).mean()
    return [{str(key): value for key, value in row.items()} for row in means.to_dict("records")]


def read(setting: Setting, said: Rows) -> Rows:
    """Rows of readings.csv: of fresh vectors, how often a reading is right and how much it tells, in bits; a class counts alike. Of the
    model's answers, too, and of those under mean vectors."""
    names, groups = list(setting.names), np.array(setting.group)
    tables = {}
    for reading, told in readings(setting).items():
        table = np.zeros((len(names), len(names)))
        np.add.at(table, (setting.fresh_class.numpy(), told.numpy()), 1)
        tables[reading] = table
    answered = pd.DataFrame(said)
    for (asked, kind), rows in answered[answered["regime"] != ""].groupby(["asked", "set"]):
        tables[f"{asked}, {kind}"] = rows.pivot_table(index="regime", columns="said", values="share").reindex(
            index=names, columns=names
        ).fillna(0.0).to_numpy()  # fmt: skip
    found = []
    for reading, table in tables.items():
        kept = table.sum(1) > 0
        hits = np.diag(table)[kept] / table[kept].sum(1)
        asked_for = groups[kept] == "taught"
        found.append({
            "reading": reading, "accuracy": hits.mean(), "bits": bits(table[kept]),
            "taught_accuracy": hits[asked_for].mean() if asked_for.any() else np.nan,
        })  # fmt: skip
    return found


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
        "answers": answers(study, answer, setting, tokens, random),
    }
    found["readings"] = read(setting, found["answers"])
    if full:
        habits = habits_of(study, gpt, setting)
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
