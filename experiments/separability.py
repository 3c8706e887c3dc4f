"""Regimes told from one run's log to the letter of the published script, time leak included. See experiments/classification.py.

Rows with exactly one regime are cut, regime by regime, into chunks of ten steps; five folds are dealt at random from each
regime's chunks; multinomial logistic regression names each fold's from the others. So neighbouring chunks fall into
different folds, and each regime has one place in time. The published scripts' accuracies come out to the digit, with the
labels shuffled too: tests/test_classification.py.
"""

import random
from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.kit import published
from experiments.kit.runs import Run
from experiments.kit.tables import BASIC, CALM, PUBLISHED, STATE, TIME, stack

_BASIC = ("loss", "entropy_last", "top1_last")
SETS = {
    BASIC: _BASIC,
    TIME: ("progress",),
    STATE: (*_BASIC, "state_ema_drift", "prompt_effect"),
}  # of features: metrics of the log, which the published one calls loss, stats_entropy, stats_top1_conf, self_drift, state_effect
FOLDS, SEED = 5, 123  # labels are shuffled with SEED, too, and their folds dealt with the next


def separability(runs: Sequence[Run], length: int) -> pd.DataFrame:
    """A row a run and set of features: accuracy, sd: of the folds; shuffled, shuffled_sd: with labels shuffled; windows: chunks
    of `length` steps. Sets whose metrics a run has not are left out; NaN where there are too few chunks."""
    return stack([run.label(of_run(run.metrics(), length).assign(protocol=PUBLISHED)) for run in runs])


def of_run(log: pd.DataFrame, length: int) -> pd.DataFrame:
    """The rows of one run. log: columns regime and metrics, a row a step."""
    rows = []
    for features, columns in SETS.items():
        if not {*columns} <= {*log} or log[[*columns]].isna().all().any():
            continue
        x, y = chunks(log, columns, length)
        shuffled = np.random.default_rng(SEED).permutation(y)
        found, chance = (
            accuracies(x, labels, dealt(labels, seed)) or [np.nan]
            for labels, seed in ((y, SEED), (shuffled, SEED + 1))
        )
        told = {"accuracy": np.mean(found), "sd": np.std(found)}
        told |= {"shuffled": np.mean(chance), "shuffled_sd": np.std(chance)}
        rows.append({"features": features, **told, "windows": len(y)})
    return pd.DataFrame(rows)


def chunks(log: pd.DataFrame, columns: Sequence[str], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Means (n, columns) over chunks of `length` rows of one regime in time order, and the regimes (n,); whole chunks only.

    The effect of the state stands at the steps until its next measurement as well.
    """
    log = log.assign(
        **{name: published.repeated(log) if name == "prompt_effect" else log[name] for name in columns}
    )
    x, y = [], []
    for regime, rows in log[log["regime"] != CALM].groupby("regime", sort=False):
        count = len(rows) // length
        values = rows[[*columns]].to_numpy(float)[: count * length]
        x.append(values.reshape(count, length, len(columns)).mean(1))
        y += [regime] * count
    return np.concatenate(x) if x else np.zeros((0, len(columns))), np.array(y, dtype=object)


def dealt(y: np.ndarray, seed: int) -> list[list[int]]:
    """FOLDS lists of places of y (n,): those of each label, in order of first appearance, shuffled and dealt round."""
    one = random.Random(seed)  # Python's own generator, once for all labels, as published
    folds: list[list[int]] = [[] for _ in range(FOLDS)]
    for label in dict.fromkeys(y):
        places = [int(place) for place in np.flatnonzero(y == label)]
        one.shuffle(places)
        for turn, place in enumerate(places):
            folds[turn % FOLDS].append(place)
    return folds


def accuracies(x: np.ndarray, y: np.ndarray, folds: Sequence[Sequence[int]]) -> list[float]:
    """Of each fold with a chunk in it, named from the others: lbfgs, C = 1, features standardised on those others. None where
    the others of a fold are all of one regime."""
    from sklearn.linear_model import LogisticRegression  # slow to load
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = []
    for fold in filter(None, folds):
        rest = np.setdiff1d(np.arange(len(y)), fold)
        if len({*y[rest]}) < 2:
            return []
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000))
        found.append(float((model.fit(x[rest], y[rest]).predict(x[list(fold)]) == y[list(fold)]).mean()))
    return found
