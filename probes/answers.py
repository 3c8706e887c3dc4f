"""What a model that was taught to report is asked, and what its answers come to: rows of reports.csv, answers.csv and readings.csv."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from base.rng import Stream, generator
from probes.odds import Answerer, Quiz, bits
from probes.quiz import Tokens, asking, names_of, options, shares
from probes.reporter import FIRST
from probes.setting import TAUGHT, Setting, readings, rescaled

KINDS = ("own", "fresh", "equal", "foreign", "random", "other")
PLACE = ("seed", "run_step", "lesson")
REPORTS = (
    *(*PLACE, "kind", "regime", "group", "strength"),
    *("index", "delta", "cue", "same", "matched", "right", "false", "entropy"),
)
ANSWERS = (*PLACE, "asked", "set", "regime", "group", "said", "share")
READINGS = (*PLACE, "reading", "accuracy", "bits", "taught_accuracy")
Rows = list[dict[str, Any]]


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


def answers(
    answer: Answerer, setting: Setting, tokens: Tokens, texts: Tensor, random_way: Tensor, seed: int
) -> Rows:
    """Rows of answers.csv: how often each name is said after `state` (by the letter of its place) and `direct`.

    set: the class's mean vector (mean), fresh ones, the sham, or a random direction as long as the mean one. For the last two no
    class is set, and any five names are the options.
    """
    found: Rows = []
    count, classes = len(texts), range(len(setting.names))
    random = generator(seed, Stream.EVAL, FIRST - 100)
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
        asked_for = groups[kept] == TAUGHT
        found.append({
            "reading": reading, "accuracy": hits.mean(), "bits": bits(table[kept]),
            "taught_accuracy": hits[asked_for].mean() if asked_for.any() else np.nan,
        })  # fmt: skip
    return found
