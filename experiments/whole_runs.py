"""Regimes told from windows of a log, the clean way: times drawn at random, whole runs left out. See classification.py.

Linear discriminant analysis with shrinkage (Ledoit and Wolf, 2004), nothing tuned. The null permutes the labels of the
windows within each run.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from base.rng import Stream, generator
from experiments import separability
from experiments.kit.experiment import Table
from experiments.kit.runs import Context
from experiments.kit.tables import BASIC, BIAS, CALM, CLEAN, NO_CLAMP, RAW, STATE, TIME, stack

CONTROLS = "controls"  # the suite all of whose conditions are asked, in the clean ways
FIXED, AT_RANDOM = ("self", "vanilla"), ("self_random", "vanilla_random")  # asked of other suites
PROTOCOLS = (CLEAN, NO_CLAMP)
FEWER = 5  # one in so many of the permutations, where each is dear or there are many questions
EMA_SHARE = 0.2  # of the new window in a running average
SPREADS = "statistics, spreads, learning rate"
FULL = "statistics, spreads, learning rate, state channels"


def _with(names: Sequence[str], *endings: str) -> tuple[str, ...]:
    """Columns of `windows`."""
    return tuple(name + ending for name in names for ending in ("", *endings))


_SHOWN = ("loss", "entropy_last", "top1_last", "grad_norm")  # what the state is shown, but for progress
_RAW = _with(_SHOWN, " before", " average")
_SPREADS = (*_RAW, *(f"{name} sd" for name in _SHOWN), *_with(["lr"], " before", " average", " sd"))
_STATE = _with(("state_norm", "state_drift", "state_ema_drift"), " sd")
SETS = separability.SETS | {  # of features: columns of `windows`
    RAW: _RAW,
    SPREADS: _SPREADS,
    FULL: (*_SPREADS, *_STATE, "state_effect", "prompt_effect"),
    BIAS: (*separability.SETS[BASIC], "prompt_effect", *_with(["bias_norm"], " sd")),  # of a constant, too
}
CORE = (TIME, BASIC, STATE, RAW, SPREADS, FULL)
Question = tuple[str, str, int]  # condition, protocol, permutations of the null
Folds = Sequence[tuple[np.ndarray, np.ndarray]]  # places of windows to fit, and to name


def classification(context: Context) -> dict[str, pd.DataFrame]:
    """Two tables: `told` of what a suite is asked in the clean ways; above the seeds' rows those of `separability`, the
    published way, of runs with fixed windows."""
    suite, every = context.suite, context.suite.signatures.permutations
    few, length = max(1, every // FEWER), context.suite.signatures.classify_steps
    if suite.name == CONTROLS:
        asked, old = [(name, protocol, few) for name in suite.conditions for protocol in PROTOCOLS], []
    else:
        draws = {CLEAN: every, NO_CLAMP: few}
        asked = [(name, protocol, draws[protocol]) for protocol in PROTOCOLS for name in AT_RANDOM]
        old = [run for name in FIXED for run in context.of(name)]
    known = {name for name, *_ in asked}
    logs = {(run.condition, run.seed): run.metrics() for run in context.runs if run.condition in known}
    made = told(logs, length, asked, SETS if suite.name == CONTROLS else CORE)
    for rows in made.values():
        rows.insert(0, "suite", suite.name)
    seeds = [separability.separability(old, length), made["classification_seeds"]]
    return made | {"classification_seeds": stack(seeds)}


def told(
    logs: Mapping[tuple[str, int], pd.DataFrame], length: int, asked: Iterable[Question], sets: Iterable[str] = CORE
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """How well regimes are told from windows of logs.

    classification: a row a condition, protocol and feature set, all its runs together. accuracy, balanced_accuracy: NaN where
    there are too few runs or windows. null_mean, null_95, p_value: of accuracies with labels permuted. windows, runs,
    classes; majority: share of the commonest class.
    classification_seeds: a row a run. accuracy: of its own windows, predicted from all other runs. So intervals over
    seeds can be taken, with the reserve that any two runs share most of what they were predicted from.

    Args:
        logs: metrics by condition and seed. length: of a window, in steps.
        asked: conditions without a run are left out. sets: of features; one whose channels a run has not is left out.
    """
    pooled, by_seed = [], []
    for condition, protocol, permutations in asked:
        runs = {seed: windows(log, length) for (name, seed), log in logs.items() if name == condition}
        table = pd.concat([rows.assign(seed=seed) for seed, rows in runs.items()]) if runs else pd.DataFrame()
        if protocol == NO_CLAMP and runs:
            table = table[table["regime"] != "self_clamp"]
        for features, columns in SETS.items():
            if features not in sets or not {*columns} <= {*table}:
                continue
            place = {"condition": condition, "protocol": protocol, "features": features}
            y, seeds = table["regime"].to_numpy(), table["seed"].to_numpy()
            row, hits = _answer(table[[*columns]].to_numpy(), y, seeds, permutations)
            counts = {"windows": len(y), "runs": len(runs), "classes": len({*y})}
            majority = max(Counter(y).values()) / len(y) if len(y) else np.nan
            pooled.append({**place, **row, **counts, "majority": majority})
            for seed in dict.fromkeys(seeds) if len(hits) else ():
                mine = hits[seeds == seed]
                by_seed.append({**place, "seed": seed, "accuracy": mine.mean(), "windows": len(mine)})
    return {"classification": pd.DataFrame(pooled), "classification_seeds": pd.DataFrame(by_seed)}


def windows(log: pd.DataFrame, length: int) -> pd.DataFrame:
    """A row for each whole window of one run that lies in one regime: the regime, and of each measured channel its mean,
    its standard deviation, its mean one window ago, and its running average, which a recurrent state could have made.

    Calm windows are one more class, thinned evenly to as many as the commonest regime has.
    """
    count = len(log) // length
    regimes = log["regime"].to_numpy()[: count * length].reshape(count, length)
    made = {"regime": regimes[:, 0]}
    for name in map(str, log.select_dtypes("number")):
        values = log[name].to_numpy(float)[: count * length].reshape(count, length)
        known = ~np.isnan(values)
        if known.any():
            mean = np.nansum(values, 1) / np.maximum(known.sum(1), 1)  # 0 where nothing was measured
            made |= {name: mean, f"{name} sd": np.nan_to_num(values.std(1))}
            made[f"{name} before"] = np.concatenate([mean[:1], mean[:-1]])
            made[f"{name} average"] = pd.Series(mean).ewm(alpha=EMA_SHARE, adjust=False).mean().to_numpy()
    labels, pure = regimes[:, 0], (regimes == regimes[:, :1]).all(1)
    keep = pure & (labels != CALM)
    commonest = max(Counter(labels[keep]).values(), default=0)
    calm = np.flatnonzero(pure & (labels == CALM))
    if len(calm) > commonest:
        calm = calm[np.linspace(0, len(calm) - 1, commonest).round().astype(int)]
    keep[calm] = True
    return pd.DataFrame(made)[keep]


def _answer(
    x: np.ndarray, y: np.ndarray, seeds: np.ndarray, permutations: int
) -> tuple[dict[str, float], np.ndarray]:
    """The accuracies of a row of `classification`, and which windows were named rightly; none where that can't be asked."""
    from sklearn.metrics import balanced_accuracy_score

    runs = [np.flatnonzero(seeds == seed) for seed in dict.fromkeys(seeds)]
    folds = _folds(runs, len({*y}))
    if not folds:
        unknown = ("accuracy", "balanced_accuracy", "null_mean", "null_95", "p_value")
        return dict.fromkeys(unknown, np.nan), y[:0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes with one window, or none in a test fold
        found = _predicted(x, y, folds)
        right, balanced, null = found == y, balanced_accuracy_score(y, found), []
        for place in range(permutations):
            random = generator(0, Stream.ANALYSIS, place)
            shuffled = np.concatenate([random.permutation(y[rows]) for rows in runs])
            null.append(np.mean(_predicted(x, shuffled, folds) == shuffled))
    accuracy = right.mean()
    row = {"accuracy": accuracy, "balanced_accuracy": balanced}
    row |= {"null_mean": np.mean(null), "null_95": np.quantile(null, 0.95)}
    return {**row, "p_value": (1 + np.sum(null >= accuracy)) / (1 + permutations)}, right


def _folds(runs: Sequence[np.ndarray], classes: int) -> Folds:
    """Each run's windows to name from the others'; none where those are fewer than the classifier needs, as in a quick study."""
    every = np.concatenate(runs) if runs else np.zeros(0, int)
    folds = [(np.setdiff1d(every, rows), rows) for rows in runs]
    return folds if min((len(train) for train, _ in folds), default=0) > classes > 1 else []


def _predicted(x: np.ndarray, y: np.ndarray, folds: Folds) -> np.ndarray:
    """Labels (windows,) predicted for each fold from the others."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.dummy import DummyClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    predicted = np.empty_like(y)
    for train, test in folds:
        one = len({*y[train]}) == 1  # of a few windows all may be of one class: there is one answer then
        discriminants = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        model = DummyClassifier() if one else make_pipeline(StandardScaler(), discriminants)
        predicted[test] = model.fit(x[train], y[train]).predict(x[test])
    return predicted


TABLES = (Table(classification, names=("classification", "classification_seeds")),)
