"""Do the hidden units of the update network tell the regime, asked as published?

Published: single steps of one run, the statistics as they are logged, five random folds, logistic regression. Neighbouring
steps then lie in training and test folds alike, and each regime has its place in time. So beside the hidden units stand those
of the same network before training, the five statistics themselves, and progress alone. With whole runs left out it is asked
in experiments/update_probe.py. Its findings stand on the page of experiments/update_network.py.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from base.rng import Stream, generator
from configs.state import STATS
from experiments.kit import pages, published, words
from experiments.kit.experiment import Experiment
from experiments.kit.readout import auc
from experiments.kit.replay import measured, open_replay, standardised, untrained
from experiments.kit.runs import Context
from experiments.kit.stats import over_seeds, paired, per_seed
from experiments.kit.tables import CALM, Tables, stack
from experiments.kit.words import Finding, difference, interval, number
from experiments.update_probe import BEFORE, HIDDEN, RAW, balanced

CLOCK = "progress alone"
FEATURES = (HIDDEN, BEFORE, RAW, CLOCK)
EITHER, WHICH = "regime or baseline", "which regime"
FIRST_COUNTER = 2_500_000  # of the generators of shuffled labels and, the next one, of folds
FOLDS = 5
SCORES = ("accuracy", "balanced", "auc", "shuffled_accuracy", "shuffled_balanced")


def update_probe_rows(context: Context) -> pd.DataFrame:
    """One row a run of `self`, task and feature set, the published way: means over the folds.

    task: regime or baseline, from all steps; or which regime, from those with one. accuracy; balanced, the mean over classes; auc, of a
    regime against none (NaN of more than two classes); shuffled_*: the same with the labels of the steps shuffled once. steps,
    classes: how many. No row where a class has fewer steps than there are folds, or there is but one.
    """
    parts = []
    for run in context.of("self"):
        replay = open_replay(run)
        if replay is not None and replay.network.kind == "mlp":
            settings, log = run.config.self_state, run.metrics()
            seen = measured(log, run.config)
            before, progress = untrained(settings, run.seed), seen[:, [STATS.index("progress")]]
            seen = standardised(seen, settings) if settings.standardise else seen
            sets = (replay.network.hidden(seen), before.hidden(seen), seen, progress)
            features = dict(zip(FEATURES, sets, strict=True))
            parts.append(run.label(told_in_rows(features, log["regime"].to_numpy(dtype=str), run.seed)))
    return stack(parts)


def told_in_rows(features: Mapping[str, np.ndarray], regimes: np.ndarray, seed: int) -> pd.DataFrame:
    """Rows of `update_probe_rows` of one run, from features (steps, k) and regimes (steps,). Seed: of folds and shuffling."""
    acts, random, rows = regimes != CALM, generator(seed, Stream.ANALYSIS, FIRST_COUNTER), []
    for task, used, labels in ((EITHER, np.ones_like(acts), acts.astype(str)), (WHICH, acts, regimes)):
        known, counts = np.unique(labels[used], return_counts=True)
        if len(known) < 2 or counts.min() < FOLDS:
            continue
        answers = {"": labels[used], "shuffled_": random.permutation(labels[used])}
        for name, x in features.items():
            row = {"task": task, "features": name, "steps": int(used.sum()), "classes": len(known)}
            for kind, y in answers.items():
                accuracy, even, area = np.mean(_folds_told(x[used], y, seed), axis=0)
                row |= {f"{kind}accuracy": accuracy, f"{kind}balanced": even, f"{kind}auc": area}
            rows.append(row)
    return pd.DataFrame(rows)


def _folds_told(x: np.ndarray, y: np.ndarray, seed: int) -> list[tuple[float, float, float]]:
    """Accuracy, balanced accuracy and AUC of each fold; no AUC of more than two classes."""
    from sklearn.linear_model import LogisticRegression  # slow to load
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = []
    drawn = int(generator(seed, Stream.ANALYSIS, FIRST_COUNTER + 1).integers(2**31))
    for fit, test in StratifiedKFold(FOLDS, shuffle=True, random_state=drawn).split(x, y):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x[fit], y[fit])
        guessed, two = model.predict(x[test]), len(model.classes_) == 2
        score = auc(y[test] == model.classes_[1], model.predict_proba(x[test])[:, 1]) if two else np.nan
        found.append((float(np.mean(guessed == y[test])), balanced(y[test], guessed), score))
    return found


def findings(tables: Tables) -> dict[str, Finding]:
    own = scores(tables, EITHER, HIDDEN)
    beside = {f"minus {name}": paired(own, scores(tables, EITHER, name)) for name in (BEFORE, CLOCK)}
    level = [
        name.removeprefix("minus ") for name, gain in beside.items() if words.side(gain, +1) != words.CLEAR
    ]
    return {
        "rows_return": returns(tables),
        "rows_trained": difference(
            "Asked as published, trained hidden units tell a regime from none better than untrained ones and than progress alone.", beside, +1,
            "balanced accuracy",
            otherwise=f"Asked as published, hidden units after training do not tell a regime from none clearly better than {words.listed(level)}.",
        ),
    }  # fmt: skip


def scores(tables: Tables, task: str, features: str) -> "pd.Series[float]":
    return tables.seeds("update_probe_rows", "balanced", task=task, features=features)


def returns(tables: Tables) -> Finding:
    """Whether the published run's hidden units could be those of one more seed."""
    claim = "Asked as published, the hidden units tell regimes as well as in the published run."
    verdicts, parts = [], []
    for task, (_, said, *_) in published.UPDATE_PROBE.items():
        value = over_seeds(tables.rows("update_probe_rows", task=task, features=HIDDEN), "balanced")
        if value.n:
            verdicts.append(words.again(value, said))
            parts.append(f"{task} {interval(value, sign=False)} for {number(said)}")
    if not parts:
        return Finding(claim, words.ABSENT, "It takes runs of `self`, and a network with hidden units.")
    told = "; ".join(parts)
    otherwise = "Asked as published, the hidden units tell regimes otherwise than in the published run."
    return Finding(claim, words.worst(verdicts), f"Balanced accuracy: {told}, n = {value.n}.", otherwise)


def rows_table(tables: Tables) -> str:
    """A row a task and feature set: published values of the hidden units, those of an untrained network, ours over seeds."""
    lines = []
    for task, said in published.UPDATE_PROBE.items():
        rows = tables.rows("update_probe_rows", task=task)
        if rows.empty:
            continue
        lines.append([f"{task}: published run", *said])
        lines.append([f"{task}: its statistics, {BEFORE}", *published.UPDATE_PROBE_UNTRAINED[task]])
        for name in FEATURES:
            own = rows[rows["features"] == name]
            lines.append([f"{task}: {name}", *(per_seed(own, column) for column in SCORES)])
    heads = ("accuracy", "balanced accuracy", "AUC", "accuracy, shuffled", "balanced, shuffled")
    return pages.of_seeds("as published", [(head, "3") for head in heads], lines)


GRIDS = {"rows": rows_table}
EXPERIMENT = Experiment(
    "update_rows", "Do the hidden units tell the regime, asked as published?", [update_probe_rows], findings,
    suites=("shakespeare",),
)  # fmt: skip
