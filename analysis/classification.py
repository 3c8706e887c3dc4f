"""Can a regime be told from a few steps of the log? As published, and with the leaks closed.

The published way takes one run with fixed windows and random folds. Neighbouring windows of one stretch of training
then lie in training and test folds alike, and since each regime has its place in time, anything that drifts with
training names it: the feature "progress alone" shows how far that goes. The clean way draws onset and order of the
regimes for each run, and leaves whole runs out.

Linear discriminant analysis with shrinkage (Ledoit and Wolf, 2004), nothing tuned. The null permutes the labels of
the windows within each run. With state channels, self_clamp is told by a drift of exactly zero: that regime is a
state channel held still, so finding it there says nothing of what a state senses. The protocol NO_CLAMP is the clean
way without the windows of that regime.
"""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut, StratifiedKFold

from base.rng import Stream, generator
from configs.suite import Signatures
from experiments.kit.runs import Run
from experiments.kit.tables import BASIC, BIAS, CALM, CLEAN, NO_CLAMP, PUBLISHED, RAW, STATE, TIME

COLUMNS = (
    *("suite", "condition", "protocol", "features", "accuracy", "balanced_accuracy", "null_mean", "null_95"),
    *("p_value", "windows", "runs", "classes", "majority"),
)
SEED_COLUMNS = ("suite", "condition", "protocol", "features", "seed", "accuracy", "windows")
PAIRS = (("self", PUBLISHED), ("vanilla", PUBLISHED), ("self_random", CLEAN), ("vanilla_random", CLEAN))
"""What `classification` does by default: pairs of condition and protocol."""
PAIRS_NO_CLAMP = tuple((condition, NO_CLAMP) for condition, protocol in PAIRS if protocol == CLEAN)
"""The same of runs left out, without the held state."""
BASIC_CHANNELS = ("loss", "entropy", "top1")
STATE_CHANNELS = ("state_norm", "state_drift", "state_ema_drift")
RAW_CHANNELS = ("loss", "entropy", "top1", "grad_norm")
FOLDS = 5
FEWER = 5  # one in so many of the permutations, where each is dear or there are many questions
EMA_SHARE = 0.2  # of the new window in the running averages of "raw statistics with history"


def windows_to_classify(
    log: pd.DataFrame, length: int, with_bias: bool = False
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Features by set, each (windows, k), and labels of the whole windows of one run that lie in one regime.

    Calm windows are one more class, thinned evenly to as many as the commonest regime has. `with_bias` adds the set
    BIAS where a bias is injected: effect and norm of it, which a constant bias has as well as a self-state.
    """
    count = len(log) // length
    log = log.iloc[: count * length]
    regimes = log["regime"].to_numpy().reshape(count, length)
    pure = (regimes == regimes[:, :1]).all(1)
    labels = regimes[:, 0]

    def means(name: str) -> np.ndarray:
        values = log[name].to_numpy(dtype=float).reshape(count, length)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a window in which nothing was measured
            return np.nan_to_num(np.nanmean(values, axis=1))

    def spreads(name: str) -> np.ndarray:
        return np.nan_to_num(log[name].to_numpy(dtype=float).reshape(count, length).std(1))

    sets = {
        BASIC: [f(name) for name in BASIC_CHANNELS for f in (means, spreads)],
        TIME: [means("progress")],
        RAW: [column for name in RAW_CHANNELS for column in _history(means(name))],
    }
    if log["state_norm"].notna().any():
        state = [f(name) for name in STATE_CHANNELS for f in (means, spreads)]
        sets[STATE] = [*sets[BASIC], *state, means("state_effect")]
    if with_bias and log["state_effect"].notna().any():
        norm = [f("bias_norm") for f in (means, spreads)] if "bias_norm" in log else []
        sets[BIAS] = [*sets[BASIC], means("state_effect"), *norm]
    keep = pure & (labels != CALM)
    commonest = max((int((labels[keep] == name).sum()) for name in set(labels[keep])), default=0)
    calm = np.flatnonzero(pure & (labels == CALM))
    if len(calm) > commonest:
        calm = calm[np.linspace(0, len(calm) - 1, commonest).round().astype(int)] if commonest else calm[:0]
    keep[calm] = True
    return {name: np.column_stack(columns)[keep] for name, columns in sets.items()}, labels[keep]


def _history(values: np.ndarray) -> list[np.ndarray]:
    """A channel now, one window ago, and its running average: what a recurrent state could have made of it."""
    lagged = np.concatenate([values[:1], values[:-1]])
    average = pd.Series(values).ewm(alpha=EMA_SHARE, adjust=False).mean().to_numpy()
    return [values, lagged, average]


def predictions(x: np.ndarray, y: np.ndarray, folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Labels (windows,) predicted for each fold from the others."""
    predicted = np.empty_like(y)
    for train, test in folds:
        if len(set(y[train])) == 1:  # of a few windows all may be of one class: there is one answer then
            predicted[test] = y[train][0]
            continue
        mean, scale = x[train].mean(0), x[train].std(0)
        scale = np.where(scale > 0, scale, 1)
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # a class with one window left has no covariance of its own
            model.fit((x[train] - mean) / scale, y[train])
        predicted[test] = model.predict((x[test] - mean) / scale)
    return predicted


def accuracy(
    x: np.ndarray, y: np.ndarray, folds: Sequence[tuple[np.ndarray, np.ndarray]]
) -> tuple[float, float]:
    """Accuracy and balanced accuracy of predictions made for each fold from the others."""
    predicted = predictions(x, y, folds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return float((predicted == y).mean()), float(balanced_accuracy_score(y, predicted))


def fewer(settings: Signatures) -> Signatures:
    """The settings with one in FEWER of the permutations, at least one."""
    return settings.model_copy(update={"permutations": _fewer(settings.permutations)})


def _fewer(permutations: int) -> int:
    return max(1, permutations // FEWER)


Parts = list[tuple[np.ndarray, np.ndarray]]
Problem = tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]


def _questions(
    runs: Sequence[Run], settings: Signatures, pairs: Sequence[tuple[str, str]], with_bias: bool
) -> Iterator[tuple[dict[str, str], list[Run], Parts]]:
    """For each condition, protocol and feature set: their names, the runs, and features and labels of each run."""
    for condition, protocol in pairs:
        chosen = [run for run in runs if run.condition == condition]
        if not chosen:
            continue
        found = [windows_to_classify(run.metrics(), settings.classify_steps, with_bias) for run in chosen]
        kept = [
            labels != "self_clamp" if protocol == NO_CLAMP else np.full(len(labels), True)
            for _, labels in found
        ]
        for features in found[0][0]:
            place = {"suite": chosen[0].suite, "condition": condition, "protocol": protocol}
            parts = [
                (sets[features][keep], labels[keep]) for (sets, labels), keep in zip(found, kept, strict=True)
            ]
            yield {**place, "features": features}, chosen, parts


def classification(
    runs: Sequence[Run],
    settings: Signatures,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    with_bias: bool = False,
) -> pd.DataFrame:
    """One row a condition, protocol and feature set. NaN accuracy for the clean way with fewer than two runs.

    Args:
        pairs: condition and protocol (PUBLISHED, CLEAN or NO_CLAMP) of each question; conditions without a run are
            left out.
        with_bias: ask with the feature set BIAS too.
    """
    rows = [
        {**place, **_row(parts, place["protocol"], settings.permutations)}
        for place, _, parts in _questions(runs, settings, pairs, with_bias)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def classification_seeds(
    runs: Sequence[Run],
    settings: Signatures,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    with_bias: bool = False,
) -> pd.DataFrame:
    """The same accuracies seed by seed: one row a run, condition, protocol and feature set.

    accuracy: of the run's own windows; in the clean ways predicted from all other runs. So intervals over seeds can
    be taken, with the reserve that any two runs share most of what they were predicted from.
    """
    rows = []
    for place, chosen, parts in _questions(runs, settings, pairs, with_bias):
        problems = _problems(parts, place["protocol"])
        if problems is None:
            continue
        predicted = np.concatenate([predictions(*problem) for problem in problems])
        true = np.concatenate([y for _, y in parts])
        owner = np.concatenate([np.full(len(y), index) for index, (_, y) in enumerate(parts)])
        for index, run in enumerate(chosen):
            mine = owner == index
            if mine.any():
                score = float((predicted[mine] == true[mine]).mean())
                rows.append({**place, "seed": run.seed, "accuracy": score, "windows": int(mine.sum())})
    return pd.DataFrame(rows, columns=list(SEED_COLUMNS))


def _problems(parts: Parts, protocol: str) -> list[Problem] | None:
    """What is to be fitted: features, labels and folds, run by run or all runs together; None where that can't be."""
    parts = [(x, y) for x, y in parts if len(y)]
    labels = np.concatenate([y for _, y in parts]) if parts else np.array([])
    names = np.unique(labels)
    if len(names) < 2 or (protocol != PUBLISHED and len(parts) < 2):
        return None
    if protocol == PUBLISHED:  # each run by itself; the published study had one
        if min(np.unique(y, return_counts=True)[1].max() for _, y in parts) < 2:
            return None  # a run none of whose classes has a window for each of two folds
        problems = [(x, y, _random_folds(y, index)) for index, (x, y) in enumerate(parts)]
    else:
        x = np.concatenate([x for x, _ in parts])
        groups = np.concatenate([np.full(len(y), index) for index, (_, y) in enumerate(parts)])
        problems = [(x, labels, list(LeaveOneGroupOut().split(x, labels, groups)))]
    if min(len(train) for _, _, folds in problems for train, _ in folds) <= len(names):
        return None  # fewer windows than the classifier needs, as in a quick study
    return problems


def _row(parts: Parts, protocol: str, permutations: int) -> dict[str, object]:
    labels = np.concatenate([y for _, y in parts])
    names, counts = np.unique(labels, return_counts=True)
    row: dict[str, object] = {
        "windows": len(labels),
        "runs": len(parts),
        "classes": len(names),
        "majority": counts.max() / len(labels) if len(labels) else float("nan"),
    }
    problems = _problems(parts, protocol)
    if problems is None:
        unknown = ("accuracy", "balanced_accuracy", "null_mean", "null_95", "p_value")
        return {**row, **dict.fromkeys(unknown, float("nan"))}
    scores = np.array([accuracy(x, y, folds) for x, y, folds in problems]).mean(0)
    if protocol == PUBLISHED:  # one fit a run and fold: dear, and its p-value is not what is believed
        permutations = _fewer(permutations)
    null = []
    for draw in range(permutations):
        random = generator(0, Stream.ANALYSIS, draw)
        shuffled = [random.permutation(y) for _, y in parts if len(y)]
        answers = shuffled if protocol == PUBLISHED else [np.concatenate(shuffled)]
        drawn = [accuracy(x, y, folds)[0] for (x, _, folds), y in zip(problems, answers, strict=True)]
        null.append(float(np.mean(drawn)))
    return {
        **row,
        "accuracy": scores[0],
        "balanced_accuracy": scores[1],
        "null_mean": float(np.mean(null)),
        "null_95": float(np.quantile(null, 0.95)),
        "p_value": (1 + sum(value >= scores[0] for value in null)) / (1 + permutations),
    }


def _random_folds(y: np.ndarray, index: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random folds that hold every class, as far as the rarest has enough windows."""
    rarest = int(np.unique(y, return_counts=True)[1].min())
    seed = int(generator(0, Stream.ANALYSIS, 1_000_000 + index).integers(2**31))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with one window is in one fold alone
        return list(StratifiedKFold(max(2, min(FOLDS, rarest)), shuffle=True, random_state=seed).split(y, y))
