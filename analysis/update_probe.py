"""Do the hidden units of the update network tell the regime, in a run that the probe has not seen?

Each run's network has hidden units of its own, drawn from its own seed, so unit 7 of one run has nothing to do with
unit 7 of another. For each run left out, its network is therefore fed the statistics of all runs: the probe learns from
the others' steps and is tried on that run's own. Beside the hidden units stand the statistics they are made from, and
the hidden units of the same network before training, which have as many numbers to offer and have learned nothing.

The probe is a linear discriminant analysis with equal priors and the pooled within-class covariance shrunk as by
Ledoit and Wolf (2004). The null permutes regimes between the stretches of a run, whole, since neighbouring steps are
no independent witnesses.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from base.rng import Stream, generator
from experiments.kit.replay import Replay, untrained
from experiments.kit.tables import CALM, RUN

EVERY = 5  # steps between two that the probe sees
FIRST_COUNTER = 2_000_000  # of the permutations' generators
HIDDEN, BEFORE, RAW = "hidden units", "hidden units before training", "statistics"
FEATURES = (HIDDEN, BEFORE, RAW)
PROBE = (
    *(*RUN, "features", "accuracy", "balanced_accuracy", "null_mean", "null_95"),
    *("p_value", "p_value_all", "steps", "runs", "classes"),
)
REGIMES = (*RUN, "features", "regime", "recall", "chance", "steps")


def update_probe(replays: Sequence[Replay], permutations: int) -> dict[str, pd.DataFrame]:
    """The tables update_probe, a row a run left out and feature set, and update_probe_regimes, that by regime.

    accuracy, balanced_accuracy: on the run left out. null_mean, null_95, p_value: of its balanced accuracy;
    p_value_all: of the mean over all runs left out. recall: share of a regime's steps that are named rightly; chance:
    1 / classes. With fewer than two runs, or regimes, the first has NaN and the second no row. Networks without hidden
    units have the statistics alone.
    """
    steps = [chosen_steps(replay) for replay in replays]
    labels = [replay.regimes[chosen] for replay, chosen in zip(replays, steps, strict=True)]
    names = sorted({str(name) for own in labels for name in own})
    kept = FEATURES if all(replay.network.kind == "mlp" for replay in replays) else (RAW,)
    if len(replays) < 2 or len(names) < 2 or min(map(len, labels)) == 0:
        unknown = [(*_place(replay), features, *(np.nan,) * 6, 0, len(replays), len(names))
                   for features in kept for replay in replays]  # fmt: skip
        return {
            "update_probe": pd.DataFrame(unknown, columns=list(PROBE)),
            "update_probe_regimes": pd.DataFrame(columns=list(REGIMES)),
        }
    codes = [np.searchsorted(names, own) for own in labels]
    shuffles = [_shuffled(replays, steps, names, draw) for draw in range(permutations)]
    rows, by_regime = [], []
    for features in kept:
        scores, nulls = [], []
        for out, replay in enumerate(replays):
            x = [
                _features(features, replay, other.inputs[chosen])
                for other, chosen in zip(replays, steps, strict=True)
            ]
            x_train = np.concatenate([part for i, part in enumerate(x) if i != out])

            def probed(
                answers: Sequence[np.ndarray],
                train: np.ndarray = x_train,
                test: np.ndarray = x[out],
                out: int = out,
            ) -> np.ndarray:
                known = np.concatenate([part for i, part in enumerate(answers) if i != out])
                return discriminant(train, known, test, len(names))

            guessed = probed(codes)
            scores.append((float((guessed == codes[out]).mean()), balanced(codes[out], guessed)))
            nulls.append([balanced(answers[out], probed(answers)) for answers in shuffles])
            for code, name in enumerate(names):
                mine = codes[out] == code
                if mine.any():
                    share = float((guessed[mine] == code).mean())
                    by_regime.append((*_place(replay), features, name, share, 1 / len(names), mine.sum()))
        null = np.array(nulls).reshape(len(replays), permutations)
        mean = np.mean([score for _, score in scores])
        overall = _p(null.mean(0), float(mean))
        for replay, own, (accuracy, score), mine in zip(replays, null, scores, codes, strict=True):
            spread = (own.mean(), np.quantile(own, 0.95)) if permutations else (np.nan, np.nan)
            rows.append(
                (*_place(replay), features, accuracy, score, *spread, _p(own, score), overall, len(mine), len(replays), len(names))
            )  # fmt: skip
    return {
        "update_probe": pd.DataFrame(rows, columns=list(PROBE)),
        "update_probe_regimes": pd.DataFrame(by_regime, columns=list(REGIMES)),
    }


def _place(replay: Replay) -> tuple[str, str, int]:
    return replay.run.suite, replay.run.condition, replay.run.seed


def _p(null: np.ndarray, value: float) -> float:
    return (1 + int((null >= value).sum())) / (1 + len(null))


def chosen_steps(replay: Replay) -> np.ndarray:
    """Indices of the steps that the probe sees: every EVERY-th, after warm-up, the step before in the same regime
    (its statistics are what the network is fed), calm steps thinned evenly to as many as the commonest regime has."""
    same = np.append(False, replay.regimes[1:] == replay.regimes[:-1])
    usable = np.flatnonzero(same & replay.late)[::EVERY]
    regimes = replay.regimes[usable]
    others, calm = usable[regimes != CALM], usable[regimes == CALM]
    _, counts = np.unique(replay.regimes[others], return_counts=True)
    most = int(counts.max()) if len(counts) else 0
    if len(calm) > most:
        calm = calm[np.linspace(0, len(calm) - 1, most).round().astype(int)] if most else calm[:0]
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
        stretches, first, member = np.unique(number, return_index=True, return_inverse=True)
        regimes = random.permutation(replay.regimes[chosen][first])
        assert len(regimes) == len(stretches)
        made.append(np.searchsorted(names, regimes)[member])
    return made


def discriminant(x: np.ndarray, y: np.ndarray, test: np.ndarray, classes: int) -> np.ndarray:
    """Codes 0 .. classes - 1 for test (m, k), learned from x (n, k) and codes y (n,). A class absent from y is never
    named. Features are standardised by x."""
    mean, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 0, scale, 1)
    x, test = (x - mean) / scale, (test - mean) / scale
    member = np.eye(classes)[y]  # (n, classes)
    counts = member.sum(0)
    means = member.T @ x / np.maximum(counts, 1)[:, None]
    covariance = shrunk_covariance(x - means[y])
    ridge = 1e-9 * max(float(np.trace(covariance)) / len(covariance), 1e-12)
    directions = np.linalg.solve(covariance + ridge * np.eye(len(covariance)), means.T)  # (k, classes)
    scores = test @ directions - 0.5 * (means.T * directions).sum(0)
    return np.where(counts > 0, scores, -np.inf).argmax(1)


def shrunk_covariance(centred: np.ndarray) -> np.ndarray:
    """Covariance (k, k) of centred samples (n, k), shrunk towards a multiple of the identity.

    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004, lemma 3.2 ff.
    """
    n, k = centred.shape
    sample = centred.T @ centred / n
    target = np.trace(sample) / k * np.eye(k)
    spread = ((sample - target) ** 2).sum()
    noise = (((centred**2).sum(1) ** 2).mean() - (sample**2).sum()) / n
    share = min(noise / spread, 1.0) if spread > 0 else 0.0
    return (1 - share) * sample + share * target


def balanced(true: np.ndarray, guessed: np.ndarray) -> float:
    """Mean over the classes in `true` of the share of each that is named rightly."""
    return float(np.mean([(guessed[true == code] == code).mean() for code in np.unique(true)]))
