"""Can a regime be told from a few steps of the log? As published, and with the leaks closed.

The published way (experiments/separability.py) takes one run with fixed windows and random folds. Neighbouring windows of
one stretch of training then lie in training and test folds alike, and since each regime has its place in time, anything
that drifts with training names it: the feature "progress alone" shows how far that goes. The clean way draws onset and
order of the regimes for each run, and leaves whole runs out.

What the state tells beyond what it is made from is asked of nested sets of features: the statistics with their history;
these with their spreads within the window, which move as drift does, and the learning rate, which the log has as well;
these with every channel of the state. Linear discriminant analysis with shrinkage (Ledoit and Wolf, 2004), nothing tuned.
The null permutes the labels of the windows within each run. self_clamp acts on the state itself, holding or clipping it: that
it shows in the state's channels says nothing of what a state senses. The protocol NO_CLAMP is the clean way without the
windows of that regime.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from base.rng import Stream, generator
from experiments import separability
from experiments.kit import pages, published, style, words
from experiments.kit import panels as draw
from experiments.kit import tables as kit_tables
from experiments.kit.experiment import Experiment, Table
from experiments.kit.marks import level
from experiments.kit.runs import Context
from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.tables import BASIC, BIAS, CALM, CLEAN, NO_CLAMP, PUBLISHED, RAW, STATE, TIME, Tables
from experiments.kit.words import (
    ABSENT,
    CLEAR,
    MISSING,
    NOT_CLEAR,
    Finding,
    difference,
    interval,
    number,
    percent,
)

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
STATIC, ONE = ("fixed_half", "fixed_one", "fixed_two", "learned_bias"), ("state_1d", "state_1d_matched")
STARS = ((published.CLASSIFICATION, style.BLUE), (published.CLASSIFICATION_VANILLA, style.VERMILLION))

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
    return made | {"classification_seeds": kit_tables.stack(seeds)}


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


def scores(tables: Tables, condition: str, features: str, protocol: str = NO_CLAMP) -> "pd.Series[float]":
    """Accuracy of each run of a condition, by seed; empty where there is none."""
    where = {"condition": condition, "protocol": protocol, "features": features}
    return per_seed(tables.rows("classification_seeds", **where), "accuracy")


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page says of the suite, then of the controls: each sentence with differences of accuracies, by seed."""
    own, basic, spreads, full = (scores(tables, "self_random", one) for one in (STATE, BASIC, SPREADS, FULL))
    old, its, time = (scores(tables, "self", one, PUBLISHED) for one in (STATE, BASIC, TIME))
    controls = tables.of(CONTROLS)
    self, self_basic, self_spreads, self_full, bias = (
        scores(controls, "self", one) for one in (STATE, BASIC, SPREADS, FULL, BIAS)
    )
    static = {f"`self` − `{name}`": paired(bias, scores(controls, name, BIAS)) for name in STATIC}
    one = {f"`{name}` − `self`": paired(scores(controls, name, STATE), self) for name in ONE}
    adds, later, beyond = f"{STATE} − {BASIC}", f"{STATE} − {TIME}", f"{FULL} − {SPREADS}"
    told = "In runs that the classifier has not seen, clamped windows left out,"
    two = f"{told} the state's channels (its distance from its average, its effect on a prompt)"
    clamped = paired(*(scores(tables, "self_random", one, CLEAN) for one in (FULL, SPREADS)))
    same, basics = "In the runs of the controls, the state's channels", "loss, entropy and confidence."
    spreads_too = "what a log without a state tells."

    def more(
        claim: str, otherwise: str, parts: dict[str, Estimate], sign: int = +1, reverse: str = ""
    ) -> Finding:
        return difference(claim, parts, sign, "of windows", otherwise=otherwise, reverse=reverse)

    all_channels = more(
        f"{told} all channels of the state add to {spreads_too}", f"{told} all channels of the state add nothing clear to {spreads_too}",
        {beyond: paired(full, spreads)},
    )  # fmt: skip
    if clamped.n and all_channels.verdict != ABSENT:
        all_channels = replace(
            all_channels, evidence=f"{all_channels.evidence} With the clamped windows: {interval(clamped)}."
        )

    return {
        "returns": more(
            "As published, in windows of one run, the state's channels name regimes right that loss, entropy and confidence do not.",
            f"As published, in windows of one run, the state's channels do not clearly add to {basics}", {adds: paired(old, its)},
        ),
        "beyond_time": more(
            "As published, the state's channels name more windows right than the step number alone.",
            "As published, the state's channels do not clearly name more windows right than the step number alone.", {later: paired(old, time)},
        ),
        "adds": more(
            f"{two} still add to {basics}", f"{two} do not clearly add to {basics}", {adds: paired(own, basic)},
            reverse=f"{two} take away from {basics}",
        ),
        "beyond_raw": all_channels,
        "controls_add": more(f"{same} add to {basics}", f"{same} do not clearly add to {basics}", {adds: paired(self, self_basic)}),
        "controls_beyond_raw": more(
            f"{same} add to {spreads_too}", f"{same} add nothing clear to {spreads_too}", {beyond: paired(self_full, self_spreads)},
        ),
        "static": more(
            "Effect and length of a self-state tell regimes better than those of any constant bias.",
            "Effect and length of a self-state do not tell regimes clearly better than those of every constant bias.", static,
        ),
        "one": more(
            "The channels of a state of a single number tell regimes less well.",
            "The channels of a state of a single number do not tell regimes clearly less well.", one, -1,
        ),
        "perfect": Finding(
            "As published, with the state's channels every window of one run is named right.",
            ABSENT if old.empty else CLEAR if old.mean() >= 0.995 else NOT_CLEAR,
            f"Published {percent(published.CLASSIFICATION[STATE])}, ours {interval(estimate(old), sign=False)}.",
            "As published, with the state's channels, not every window of one run is named right.",
        ),
    }  # fmt: skip


def said(rows: pd.DataFrame, tables: Tables) -> str:
    """The published accuracy of the condition and features of these rows."""
    first = rows.iloc[0]
    of = published.CLASSIFICATION if first["condition"] == "self" else published.CLASSIFICATION_VANILLA
    return percent(of.get(first["features"], np.nan))


def table_of(suite: str = "") -> pages.Grid:
    """A row a clean protocol, condition and feature set; conditions with the same numbers share one. By default the page's suite."""

    def make(tables: Tables) -> str:
        found = tables.of(suite) if suite else tables
        rows, lines = found.rows("classification"), dict[tuple[str, ...], list[str]]()
        for protocol in PROTOCOLS:
            for row in rows[rows["protocol"] == protocol].to_dict("records"):
                by_seed = estimate(scores(found, row["condition"], row["features"], protocol))
                cells = [number(row["accuracy"]), pages.shown(by_seed, "3")]
                cells += [number(row[name]) for name in ("null_mean", "null_95", "p_value", "majority")]
                cells.append(f"{row['windows']}, {row['runs']}")
                lines.setdefault((protocol, row["features"], *cells), []).append(row["condition"])
        every = rows.groupby("protocol")["condition"].nunique()
        body = []
        for (protocol, features, *cells), names in lines.items():
            shared = 1 < len(names) == every[protocol]
            of = "every condition" if shared else ", ".join(f"`{name}`" for name in names)
            body.append([f"{protocol}, {of}: {features}", *cells])
        head = ["protocol, condition: features", "accuracy", "by seed", "null mean", "null 95 %", "p", "commonest class",
                "windows, runs"]  # fmt: skip
        return words.table(head, body) if body else MISSING

    return make


def panel(protocol: str, title: str) -> draw.Panel:
    """Accuracies by seed, above what permuted labels and the commonest class give, beside the published values."""
    by_seed = draw.points(
        "classification_seeds", "accuracy", title, "accuracy", across="features", order=CORE, where={"protocol": protocol},
        upright=False, zero=False,
    )  # fmt: skip

    def make(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        drawn = by_seed.draw(axes, tables, looks)
        old = protocol == PUBLISHED
        name, chance = ("classification_seeds", "shuffled") if old else ("classification", "null_95")
        rows = tables.rows(name, protocol=protocol).groupby("features").mean(numeric_only=True)
        for place, features in enumerate(one for one in CORE if one in rows.index):
            axes.barh(place, rows[chance][features], 0.8, color="#e0e0e0", zorder=0)
            for (found, colour), shift in zip(STARS, (-0.2, 0.2), strict=True) if old else ():
                axes.plot(
                    found.get(features, np.nan), place + shift, "*", c=colour, mfc="white", ms=7, zorder=4
                )
        if not old:
            level(axes, rows["majority"].mean(), upright=False, ls="dotted")
        axes.set_xlim(0, 1.04)
        axes.set_xticks([0, 0.5, 1])
        return drawn

    return draw.Panel(("classification_seeds", "classification"), make)


FIGURE = draw.sheet(
    "perturbation/classification.png",
    [
        panel(PUBLISHED, "as published:\none run, random folds"),
        panel(CLEAN, "clean way: random times,\nwhole runs left out"),
        panel(NO_CLAMP, "clean way, clamped\nwindows left out, too"),
    ],
    grid=(1, 3), height=4.8, looks={name: style.condition(name) for name in (*FIXED, *AT_RANDOM)},
    marks="points", columns=2, title=("beyond_raw",),
    shows="How well the regime of a short window can be told, from the step alone, with and without the state's channels, "
    "as published and with whole runs left out, beside shuffled labels.",
    caption="Share of windows whose regime is named right; one point a seed, mean and 95 % t interval, a little too narrow in the middle and at the "
    "right, whose runs share what they are predicted from. Grey: labels shuffled (left mean, else 95 % quantile). Dotted: always the "
    "commonest class. Stars: published.",
)  # fmt: skip
EXPERIMENT = Experiment(
    "classification", "Can a regime be told from the log?",
    (Table(classification, names=("classification", "classification_seeds")),), findings, (FIGURE,),
    {
        "published": pages.grid(
            "classification_seeds", FIXED, head="features, condition", across="features", order=CORE, where={"protocol": PUBLISHED},
            said=("published", said), accuracy=("accuracy", "3"), sd=("sd over folds", "~3"), shuffled=("labels shuffled", "~3"),
            windows=("windows", "~0"),
        ),
        "core": table_of(), "controls": table_of(CONTROLS), "smaller": lambda tables: pages.smaller(tables.of(CONTROLS)),
    },
    suites=("shakespeare", "generalization", CONTROLS), guests=(CONTROLS,),
)  # fmt: skip
