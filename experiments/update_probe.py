"""Do the hidden units of the update network tell the regime, in a run that the probe has not seen?

Each run's network has hidden units of its own, drawn from its own seed, so unit 7 of one run has nothing to do with
unit 7 of another. For each run left out, its network is therefore fed the statistics of all runs: the probe learns from
the others' steps and is tried on that run's own. Beside the hidden units stand the statistics they are made from, and
the hidden units of the same network before training, which have as many numbers to offer and have learned nothing.

The probe is a linear discriminant analysis with equal priors and the pooled within-class covariance shrunk as by
Ledoit and Wolf (2004). The null permutes regimes between the stretches of a run, whole, since neighbouring steps are
no independent witnesses. Its findings stand on the page of experiments/update_network.py; the published way is in
experiments/update_rows.py.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from base.rng import Stream, generator
from experiments.kit import pages, words
from experiments.kit.experiment import Experiment, Table
from experiments.kit.levels import ALPHA
from experiments.kit.pages import shown
from experiments.kit.replay import Replay, open_replay, untrained
from experiments.kit.runs import Context
from experiments.kit.stats import over_seeds, paired, per_seed
from experiments.kit.tables import CALM, Tables, stack
from experiments.kit.words import Finding, interval, number, percent, side

EVERY = 5  # steps between two that the probe sees
FIRST_COUNTER = 2_000_000  # of the permutations' generators
HIDDEN, BEFORE, RAW = "hidden units", "hidden units before training", "statistics"
FEATURES = (HIDDEN, BEFORE, RAW)
SCORES = ("accuracy", "balanced_accuracy", "null_mean", "null_95", "p_value", "p_value_all")


def of_random(context: Context) -> dict[str, pd.DataFrame]:
    """`probed` of the runs of `self_random`."""
    replays = [replay for run in context.of("self_random") if (replay := open_replay(run)) is not None]
    return probed(replays, context.suite.signatures.permutations)


def probed(replays: Sequence[Replay], permutations: int) -> dict[str, pd.DataFrame]:
    """update_probe, a row a run left out and feature set, and update_probe_regimes, that by regime.

    accuracy, balanced_accuracy: on the run left out. null_mean, null_95, p_value: of its balanced accuracy;
    p_value_all: of the mean over all runs left out. recall: share of a regime's steps that are named rightly; chance:
    1 / classes. With fewer than two runs, or regimes, the first has NaN and the second no row. Networks without hidden
    units have the statistics alone.
    """
    steps = [chosen_steps(replay) for replay in replays]
    labels = [replay.regimes[chosen] for replay, chosen in zip(replays, steps, strict=True)]
    names = sorted({str(name) for own in labels for name in own})
    kept = FEATURES if all(one.network.kind == "mlp" for one in replays) else (RAW,)
    of_all = {"runs": len(replays), "classes": len(names)}
    if len(replays) < 2 or len(names) < 2 or not all(map(len, labels)):
        unknown = dict.fromkeys(SCORES, np.nan) | {"steps": 0} | of_all
        parts = [
            one.run.label(pd.DataFrame([{"features": name} | unknown])) for name in kept for one in replays
        ]
        return {"update_probe": stack(parts), "update_probe_regimes": pd.DataFrame()}
    codes = [np.searchsorted(names, own) for own in labels]
    shuffles = [_shuffled(replays, steps, names, draw) for draw in range(permutations)]
    parts, recalls = [], []
    for features in kept:
        fed = [
            [_features(features, one, other.inputs[chosen]) for other, chosen in zip(replays, steps, strict=True)]
            for one in replays
        ]  # fmt: skip
        guessed = [told(x, codes, out, len(names)) for out, x in enumerate(fed)]
        scores = [balanced(*pair) for pair in zip(codes, guessed, strict=True)]
        null = np.array([  # (runs, permutations)
            [balanced(answers[out], told(x, answers, out, len(names))) for answers in shuffles] for out, x in enumerate(fed)
        ])  # fmt: skip
        p_all = _p(null.mean(0), float(np.mean(scores)))
        for replay, own, score, guess, known in zip(replays, null, scores, guessed, codes, strict=True):
            right = guess == known
            values = (np.mean(right), score, own.mean(), np.quantile(own, 0.95), _p(own, score), p_all)
            scored = dict(zip(SCORES, values, strict=True)) | {"steps": len(known)} | of_all
            parts.append(replay.run.label(pd.DataFrame([{"features": features} | scored])))
            hits = pd.DataFrame({"features": features, "regime": np.array(names)[known], "hit": right})
            recall = hits.groupby(["features", "regime"], as_index=False).agg(
                recall=("hit", "mean"), chance=("hit", lambda _: 1 / len(names)), steps=("hit", "size")
            )
            recalls.append(replay.run.label(recall))
    return {"update_probe": stack(parts), "update_probe_regimes": stack(recalls)}


def told(x: Sequence[np.ndarray], answers: Sequence[np.ndarray], out: int, classes: int) -> np.ndarray:
    """Codes of the steps of the run left out, from the features (n, k) and codes (n,) of all runs."""
    rest = [run for run in range(len(x)) if run != out]
    train, known = (np.concatenate([of[run] for run in rest]) for of in (x, answers))
    return discriminant(train, known, x[out], classes)


def _p(null: np.ndarray, value: float) -> float:
    return (1 + int((null >= value).sum())) / (1 + len(null))


def chosen_steps(replay: Replay) -> np.ndarray:
    """Indices of the steps that the probe sees: every EVERY-th, after warm-up, the step before in the same regime
    (its statistics are what the network is fed), calm steps thinned evenly to as many as the commonest regime has."""
    same = np.append(False, replay.regimes[1:] == replay.regimes[:-1])
    usable = np.flatnonzero(same & replay.late)[::EVERY]
    regimes = replay.regimes[usable]
    others, calm = usable[regimes != CALM], usable[regimes == CALM]
    most = int(pd.Series(replay.regimes[others]).value_counts().max()) if len(others) else 0
    if len(calm) > most:
        calm = calm[np.linspace(0, len(calm) - 1, most).round().astype(int)]
    return np.sort(np.concatenate([others, calm]))


def _features(name: str, replay: Replay, inputs: np.ndarray) -> np.ndarray:
    if name == RAW:
        return inputs
    if name == HIDDEN:
        return replay.network.hidden(inputs)
    return untrained(replay.run.config.self_state, replay.run.seed).hidden(inputs)


def _shuffled(
    replays: Sequence[Replay], steps: Sequence[np.ndarray], names: Sequence[str], draw: int
) -> list[np.ndarray]:
    """Codes of the chosen steps of each run, with the regimes permuted between the run's stretches."""
    random = generator(0, Stream.ANALYSIS, FIRST_COUNTER + draw)
    made = []
    for replay, chosen in zip(replays, steps, strict=True):
        number = np.append(0, np.cumsum(replay.regimes[1:] != replay.regimes[:-1]))[chosen]
        _, first, member = np.unique(number, return_index=True, return_inverse=True)
        made.append(np.searchsorted(names, random.permutation(replay.regimes[chosen][first]))[member])
    return made


def discriminant(x: np.ndarray, y: np.ndarray, test: np.ndarray, classes: int) -> np.ndarray:
    """Codes 0 .. classes - 1 for test (m, k), learned from x (n, k) and codes y (n,). A class absent from y is never
    named. Features are standardised by x."""
    from sklearn.covariance import ledoit_wolf  # slow to load

    mean, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 0, scale, 1)
    x, test = (x - mean) / scale, (test - mean) / scale
    member = np.eye(classes)[y]  # (n, classes)
    counts = member.sum(0)
    means = member.T @ x / np.maximum(counts, 1)[:, None]
    # scikit-learn's own analysis shrinks each class's covariance by itself, which so few steps a class can't bear
    covariance = ledoit_wolf(x - means[y], assume_centered=True)[0]
    ridge = 1e-9 * max(float(np.trace(covariance)) / len(covariance), 1e-12)
    directions = np.linalg.solve(covariance + ridge * np.eye(len(covariance)), means.T)  # (k, classes)
    scores = test @ directions - 0.5 * (means.T * directions).sum(0)
    return np.where(counts > 0, scores, -np.inf).argmax(1)


def balanced(true: np.ndarray, guessed: np.ndarray) -> float:
    """Mean over the classes in `true` of the share of each that is named rightly."""
    return float(np.mean([(guessed[true == code] == code).mean() for code in np.unique(true)]))


def findings(tables: Tables) -> dict[str, Finding]:
    return {
        "told": beyond_chance(tables),
        "trained": better(
            tables, BEFORE, "After training the hidden units tell regimes better than before.",
            "After training the hidden units do not tell regimes clearly better than before.",
        ),
        "laid_out": better(
            tables, RAW, "The hidden units tell regimes better than the statistics they are made from.",
            "The hidden units do not tell regimes clearly better than the statistics they are made from.",
        ),
    }  # fmt: skip


def known(tables: Tables, features: str) -> pd.DataFrame:
    """The rows of a feature set, empty where nothing could be probed."""
    rows = tables.rows("update_probe", features=features)
    return rows[rows["balanced_accuracy"].notna()]


def beyond_chance(tables: Tables) -> Finding:
    said = "of the update network {}tell the regime in a run that the probe has not seen."
    claim, otherwise = (
        f"The hidden units {said.format('')}",
        f"The hidden units {said.format('do not clearly ')}",
    )
    rows = known(tables, HIDDEN)
    if rows.empty:
        return Finding(claim, words.ABSENT, "It takes two runs of `self_random`.", otherwise)
    p_value, null = float(rows["p_value_all"].iloc[0]), number(rows["null_mean"].mean())
    score = shown(over_seeds(rows, "balanced_accuracy"), "3")
    evidence = f"Balanced accuracy {score} against {null} with regimes permuted, p = {number(p_value)}."
    return Finding(claim, words.settled(len(rows), p_value < ALPHA), evidence, otherwise)


def better(tables: Tables, other: str, claim: str, otherwise: str) -> Finding:
    """The finding that the hidden units tell regimes better than another feature set, paired by the run left out."""
    one, two = (per_seed(known(tables, features), "balanced_accuracy") for features in (HIDDEN, other))
    gain = paired(one, two)
    if not gain.n:
        needs = "It takes two runs of `self_random`, and a network with hidden units."
        return Finding(claim, words.ABSENT, needs, otherwise)
    shares = f"Balanced accuracy {percent(one.mean())} against {percent(two.mean())}"
    return Finding(claim, side(gain, +1), f"{shares}; difference {interval(gain)}, n = {gain.n}.", otherwise)


def probe_table(tables: Tables) -> str:
    columns = {
        "accuracy": ("accuracy", "3"), "balanced_accuracy": ("balanced accuracy", "3"), "null_mean": ("null mean", "~3"),
        "null_95": ("null 95 %", "~3"), "p_value_all": ("p, all runs", "~3"),
    }  # fmt: skip
    found = {features: known(tables, features) for features in FEATURES}
    if not any(map(len, found.values())):
        return "Not measured: that takes two runs of `self_random`."
    lines = ([features, *(own[name] for name in columns)] for features, own in found.items())
    return pages.of_seeds("features", columns.values(), lines)


def regimes_table(tables: Tables) -> str:
    names = [features for features in FEATURES if len(known(tables, features))]
    rows = [
        [f"`{regime}`", *(
            shown(over_seeds(tables.rows("update_probe_regimes", regime=regime, features=name), "recall"), "2") for name in names
        )]
        for regime in dict.fromkeys(tables.rows("update_probe_regimes")["regime"])
    ]  # fmt: skip
    return words.table(["steps named rightly", *names], rows) if rows else ""


GRIDS = {"probe": probe_table, "regimes": regimes_table}
EXPERIMENT = Experiment(
    "update_probe", "Do the hidden units of the update network tell the regime?",
    [Table(of_random, names=("update_probe", "update_probe_regimes"))], findings, suites=("shakespeare",),
)  # fmt: skip
