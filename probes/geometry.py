"""Ask a finished run for the belief that an ideal observer has of its process: is it in the residual stream, and is it used?

    python -m probes.geometry out/geometry/mess3/seed-1

The process is a hidden Markov process whose tensor is known, so the belief after every history is, too. All histories that fit into
the model's context are gone through, each once, weighted by its probability. What theory says of them is checked first; a check that
fails is an error (probes/histories.py). Then a linear map from the stream to the belief is fitted, five times, and each history is
predicted by the one that was fitted without it (probes/belief_map.py), layer by layer and from all layers joined, beside

    token, 3-gram ...  the mean belief after the same last tokens, exactly: the best that can be told by them
    next-token         the best linear map from the true probabilities of the next token
    untrained          the same model before its first step
    in-sample          the map fitted on the very histories that it reads
    shuffled           beliefs given to the wrong histories

Then the stream is moved from belief to belief, and all but the belief is taken out of it (probes/moved.py). The weights never change.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from base import command_line

if __name__ == "__main__":
    command_line.heed()

from collections.abc import Sequence

import numpy as np
import pandas as pd

from base.rng import Stream, generator
from base.storage import UserError
from configs.probes.geometry import Geometry
from data.process import Generated
from data.tokens import Tokens
from model import GPT
from probes.belief_map import (
    Cut,
    apart,
    auc,
    cells,
    correlation2,
    crossed,
    cut,
    in_sample,
    linear,
    pair_weights,
    scores,
)
from probes.histories import THEORY, Histories, classes, histories, later, theory
from probes.instrument import Progress, Trained, command, load_trained, weights_frozen
from probes.moved import (
    ANY,
    EQUAL_NEXT,
    KEPT,
    MOVES,
    Exchange,
    Layers,
    Scored,
    belief_to_stream,
    kept,
    moves,
    pairs,
    scored,
    streams_of,
)

PLACE = ("seed", "run_step")
ALL, LAST, JOINED = "all", "last", "joined"
MAPS = ("at", "source", "layer", "r2", "mse")
FAR = ("source", "belief", "next_token")
APART = ("source", "auc", "pairs", "differ")
COURSE = ("step", "layer", "r2", "loss", "optimal")
STATES = 8  # of which beliefs are kept to be drawn
POINTS = ("step", "weight", *(f"{kind}{state}" for kind in ("true", "found") for state in range(STATES)))
COLUMNS = {
    "theory": THEORY,
    "maps": MAPS,
    "distances": FAR,
    "apart": APART,
    "course": COURSE,
    "moves": MOVES,
    "kept": KEPT,
    "points": POINTS,
}
Rows = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Study:
    """What all measures of a run share."""

    process: Generated
    found: Histories
    cut: Cut
    scored: Scored
    settings: Geometry
    seed: int

    def random(self, counter: int) -> np.random.Generator:
        return generator(self.seed, Stream.ANALYSIS, counter)

    def some(self, most: int, counter: int, power: float = 1.0) -> np.ndarray:
        """Places (m,) of so many histories at most, each once, drawn by a power of their probability."""
        if len(self.found) <= most:
            return np.arange(len(self.found))
        p = self.cut.weight**power
        return np.sort(self.random(counter).choice(len(p), most, replace=False, p=p / p.sum()))

    def grams(self) -> Iterator[tuple[str, np.ndarray]]:
        """The rivals that count last tokens: a name, and a number for each history."""
        for size in sorted(set(self.settings.grams)):
            yield ("token" if size == 1 else f"{size}-gram"), self.found.last(size)


def read(study: Study, streams: Sequence[np.ndarray]) -> Iterator[tuple[str, int, np.ndarray]]:
    """The belief (n, S) after each history as it is found in each layer's stream, and last in all of them joined: name, layer, belief."""
    for layer, stream in enumerate(streams):
        yield "layer", layer, crossed(stream, study.found.belief, study.cut)
    yield JOINED, len(streams), crossed(np.concatenate(streams, axis=1), study.found.belief, study.cut)


def maps(
    study: Study, trained: Sequence[np.ndarray], untrained: Sequence[np.ndarray]
) -> tuple[Rows, dict[str, np.ndarray]]:
    """Rows of maps.csv, and the beliefs (n, S) found by each source, of which layers the joined one and the middle one.

    layer: after so many blocks; of what is no layer, -1. at: whether r2 and mse are of all histories, or of the last, those as long as
    the context. Maps of streams are fitted on histories of all lengths; what counts tokens and the true probabilities get the best
    map of the histories that they are measured on.
    """
    found, belief, of = study.found, study.found.belief, study.cut
    told = list(read(study, trained))
    told += [(f"untrained {kind}", layer, said) for kind, layer, said in read(study, untrained)]
    after, before = (np.concatenate(streams, axis=1) for streams in (trained, untrained))
    told += [
        ("in-sample", -1, in_sample(after, belief, of)),
        ("untrained in-sample", -1, in_sample(before, belief, of)),
    ]
    wrong = belief[study.random(1).permutation(len(found))]
    shuffled = crossed(after, wrong, of)
    rows: Rows = []
    for name, at in ((ALL, found.length > 0), (LAST, found.length == found.whole.shape[1])):
        weight = of.of(at).weight
        exact = [(gram, cells(number[at], belief[at], weight)) for gram, number in study.grams()]
        exact.append(("next-token", linear(found.odds[at], belief[at], weight)))
        here = [(kind, layer, scores(said[at], belief[at], weight)) for kind, layer, said in told]
        here += [(kind, -1, scores(said, belief[at], weight)) for kind, said in exact]
        here.append(("shuffled", -1, scores(shuffled[at], wrong[at], weight)))
        rows += [{"at": name, "source": kind, "layer": layer, **scored} for kind, layer, scored in here]
    kept = {kind: said for kind, _, said in told if not kind.endswith("layer")}
    kept |= {"middle": told[(len(trained) - 1) // 2][2], "next-token": linear(found.odds, belief, of.weight)}
    return rows, kept | {gram: cells(number, belief, of.weight) for gram, number in study.grams()}


def distances(study: Study, said: dict[str, np.ndarray]) -> Rows:
    """Rows of distances.csv: squared correlation of the distances between found beliefs with those between true beliefs (belief),
    and with those between the true probabilities of the next token (next_token); over pairs, weighted by both probabilities."""
    at = study.some(study.settings.distances, 2)
    weight = pair_weights(study.cut.of(at).weight)
    true, odds = apart(study.found.belief[at]), apart(study.found.odds[at])
    rows = []
    for source, values in {**said, "true": study.found.belief}.items():
        far = apart(values[at])
        rows.append(
            {
                "source": source,
                "belief": correlation2(far, true, weight),
                "next_token": correlation2(far, odds, weight),
            }
        )
    return rows


def told_apart(study: Study, said: dict[str, np.ndarray]) -> Rows:
    """Rows of apart.csv: of pairs of histories with equal probabilities of the next token, do the found beliefs of those whose later
    tokens differ lie further from each other than those of the others? auc: area under the curve, pairs weighted by both
    probabilities; differ: share of the pairs, by weight, whose later tokens differ. Without pairs of both kinds auc is empty."""
    at = study.some(study.settings.distances, 2)
    found, upper = study.found, np.triu_indices(len(at), 1)
    next_, held = (classes(of[at]) for of in (found.odds, found.belief @ later(study.process.transitions)))
    here = next_[upper[0]] == next_[upper[1]]
    one, other = upper[0][here], upper[1][here]
    differ = held[one] != held[other]
    weight = study.cut.weight[at]
    mass = weight[one] * weight[other]
    share = float(mass @ differ / mass.sum()) if mass.sum() else np.nan
    rows = []
    for source, values in said.items():
        far = np.linalg.norm(values[at][one] - values[at][other], axis=1)
        rows.append({"source": source, "auc": auc(differ, far, mass), "pairs": len(one), "differ": share})
    return rows


def points(study: Study, step: int, found: np.ndarray) -> Rows:
    """Rows of points.csv: true and found beliefs of some histories, with their weights. Of up to STATES states.

    They are drawn by the root of their probability, so that what is rare is seen, too.
    """
    rows = []
    for place in study.some(study.settings.points, 3, 0.5):
        row: dict[str, Any] = {"step": step, "weight": float(f"{study.cut.weight[place]:.4g}")}
        for kind, values in (("true", study.found.belief[place]), ("found", found[place])):
            row |= {f"{kind}{state}": round(float(value), 4) for state, value in enumerate(values[:STATES])}
        rows.append(row)
    return rows


def stage(study: Study, step: int, model: Layers) -> tuple[Rows, Rows]:
    """Rows of course.csv, and of points.csv of all layers joined, with the weights of one step: what is found of the belief, and
    the exact loss over all positions."""
    loss = study.scored.loss(model.predictions(study.scored.tokens))
    rows: Rows = []
    said = np.empty(0)
    for _, layer, said in read(study, streams_of(model, study.found)):
        r2 = scores(said, study.found.belief, study.cut.weight)["r2"]
        rows.append({"step": step, "layer": layer, "r2": r2, "loss": loss, "optimal": study.scored.optimal})
    return rows, points(study, step, said)  # the last is all layers joined


def first_weights(subject: Trained) -> GPT:
    """The model before its first step."""
    gpt = GPT(subject.run.model, subject.gpt.vocab_size)
    gpt.initialise(generator(subject.run.seed, Stream.INIT))
    return gpt.eval()


def run(
    run: Path,
    step: int,
    settings: Geometry,
    corpus: Tokens,
    destination: Path,
    progress: Progress | None = None,
    other: Path | None = None,
) -> None:
    """Look for beliefs in a run with the weights after `step` steps, and in those kept on the way; write a table for each of
    COLUMNS and task.json.

    Raises, beside what `weights_frozen` does:
        UserError: the run is not one of a hidden process, or has too many histories.
        RuntimeError: something does not hold that theory says.
    """
    with weights_frozen(run, step, corpus, destination, load_trained) as (subject, results):
        if problem := settings.misfit(subject.run):
            raise UserError(f"{run} {problem}")
        assert isinstance(corpus, Generated)
        found = histories(corpus, subject.run.model.block_size)
        tables: dict[str, Rows] = {name: [] for name in COLUMNS}
        tables["theory"] = theory(corpus, found)
        seed = subject.run.seed
        on = scored(corpus, found, settings.sequences, generator(seed, Stream.ANALYSIS, 4))
        study = Study(corpus, found, cut(found.weight, found.length, seed), on, settings, seed)
        model, before = Layers(subject.gpt), Layers(first_weights(subject))
        stages = [kept_step for kept_step in sorted({*subject.run.log.keep_steps}) if kept_step < step]
        total, done = len(stages) + 6, 0

        def tell() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, total)

        streams, untrained = streams_of(model, found), streams_of(before, found)
        tables["maps"], said = maps(study, streams, untrained)
        tell()
        tables["distances"], tables["apart"] = distances(study, said), told_apart(study, said)
        tell()
        few = found.drawn(settings.course, study.random(10))
        course = replace(study, found=few, cut=cut(few.weight, few.length, seed))
        for at in (0, *stages, step):
            layers = {0: before, step: model}.get(at) or Layers(load_trained(run, at).gpt)
            rows, shown = stage(course, at, layers)
            tables["course"] += rows
            tables["points"] += shown if at != step else points(study, step, said["joined"])
            tell()
        ways = belief_to_stream(found, streams, study.cut)
        for counter, kind in enumerate((EQUAL_NEXT, ANY)):
            chosen = pairs(corpus, found, kind, settings.pairs, study.random(5 + counter))
            if chosen is not None:
                exchange = Exchange(corpus, found, chosen)
                tables["moves"] += moves(
                    model,
                    exchange,
                    kind,
                    ways,
                    study.cut,
                    settings.doses,
                    settings.random_directions,
                    study.random(7 + counter),
                )
        tell()
        tables["kept"] = kept(on, model, found, streams, study.cut, study.random(9))
        tell()
        results.tables |= {f"{name}.csv": ((*PLACE, *COLUMNS[name]), rows) for name, rows in tables.items()}
        results.task |= {
            "settings": settings.model_dump(mode="json"),
            "histories": len(found),
            "stages": [0, *stages, step],
        }


def summary(folder: Path) -> str:
    """What a test's maps.csv and moves.csv say, a line a source and a line a move."""
    rows = pd.read_csv(folder / "maps.csv")
    lines = [
        f"{str(row['source']) + (f' {row.layer}' if row['layer'] >= 0 else ''):22} R2 {row['r2']:6.3f}   MSE {row['mse']:.4f}"
        for _, row in rows[rows["at"] == ALL].iterrows()
    ]
    moved = pd.read_csv(folder / "moves.csv")
    ends_of = moved[moved["dose"].isin([0, 1])].groupby(["pairs", "reach", "layer", "move"], sort=False)
    for (kind, reach, layer, move), part in ends_of:
        ends = part.sort_values("dose")["kl_target2"].to_numpy()
        lines.append(
            f"{kind} pairs, {reach}, layer {layer}, {move:8} KL from the target's next-but-one token {ends[0]:.4f} -> {ends[-1]:.4f} nats"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    command(arguments, "geometry.py", __doc__, "geometry", run, summary)


if __name__ == "__main__":
    command_line.run(main)
