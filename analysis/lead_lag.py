"""Does the state move before the loss does? Correlation by lag, onsets of regimes, and the state's path through them.

A lag counts from the loss to the state: at lag +1 the state moves one step after the loss. It must, since the state of a
step is made from the statistics of the step before: what follows the loss closely is mechanics, and only negative
lags could be a lead. Lag 0 is neither: first differences smear the mechanics of lag +1 over its neighbours.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from analysis import paths
from base.rng import Stream, generator
from experiments.kit import readout
from experiments.kit.runs import Context, Run
from experiments.kit.tables import CALM, RUN, stack, windows_of

MEASURES = ("state_drift", "state_norm", "state_effect")
METHODS = ("differences", "detrended")
MOST = 50  # steps of lag, to both sides
DRAWS = 500  # of the null over seeds
FIRST_COUNTER = 2_100_000  # of its generators
BASELINE = 100  # steps before an onset in which the calm ones say what is usual
SUSTAINED = 3  # measurements whose median must be beyond the threshold too
THRESHOLD = 3.0  # standard deviations
FEWEST = 5  # measurements of a baseline

PEAK = (
    *("peak_lag", "peak", "null_95", "p_value"),
    *("lead_lag", "lead", "lead_null_95", "lead_p_value"),
)
COLUMNS = {
    "lead_lag": (*RUN, "measure", "method", "lag", "correlation"),
    "lead_lag_peaks": (*RUN, "measure", "method", *PEAK),
    "lead_lag_summary": ("suite", "condition", "measure", "method", "n", *PEAK),
    "onset": (*RUN, "timed_by", "regime", "start", "measure", "baseline", "sd", "latency", "length"),
    "onset_order": (
        *("suite", "condition", "regime", "against", "measure", "n", "state_first", "loss_first", "ties"),
        *("median_difference", "p_value"),
    ),
}


def tables(context: Context) -> dict[str, pd.DataFrame]:
    """The tables of COLUMNS and state_decomposition (analysis/paths.py), from all runs with a self-state."""
    runs = sorted(
        (run for run in context.runs if run.config.self_state.enabled),
        key=lambda run: (run.condition, run.seed),
    )
    logs = {(run.condition, run.seed): run.metrics() for run in runs}
    onsets = onset(runs, logs)
    return {
        **cross_correlations(runs, logs),
        "onset": onsets,
        "onset_order": onset_order(onsets),
        "state_decomposition": paths.state_decomposition(runs, logs),
    }


Logs = Mapping[tuple[str, int], pd.DataFrame]


def series_of(run: Run, log: pd.DataFrame, measure: str, method: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Ranks (n,) of the loss and of a measure, without what training does to both slowly, and steps a sample.

    After warm-up. "differences": first differences; "detrended": minus the running median of circular.WIDTH steps.
    state_effect is measured every so many steps; the loss beside it is the mean of as many, the measured step first,
    so that the steps which the measured state had seen make lag one. Steps at which self_clamp acts, and the two
    after, take no part: there the state is moved, or held, from outside.
    """
    log = log[log["step"] >= run.config.train.warmup_steps]
    every = run.config.log.effect_interval if measure == "state_effect" else 1
    loss = log["loss"].rolling(every).mean().shift(1 - every)
    acted = (log["regime"] == "self_clamp").rolling(every + 2, min_periods=1).max() > 0
    rows = log[measure].notna() & loss.notna()
    x, y, ignored = (part[rows].to_numpy() for part in (loss, log[measure], acted))
    if method == "differences":
        x, y = (np.diff(part, prepend=part[:1]) for part in (x, y))
    else:
        width = 2 * (readout.WIDTH // (2 * every)) + 1
        x, y = (readout.detrended(part, width) for part in (x, y))
    return readout.unit_ranks(x, ignored), readout.unit_ranks(y, ignored), every


def cross_correlations(runs: Sequence[Run], logs: Logs) -> dict[str, pd.DataFrame]:
    """lead_lag: Spearman's correlation of loss and measure, a row a lag; positive lags: the measure follows the loss.
    lead_lag_peaks: a row a run. The strongest of all lags from -50 to +50 steps, and the strongest of those below zero
    (lead_*), each against turns of one series against the other, with the choice of the lag in the null; the p-value of
    one run is at least the number of lags over that of steps (see circular.Peak).
    lead_lag_summary: the same of the mean over seeds; there each draw turns every seed's series by itself.
    """
    lags: list[tuple] = []
    peaks: list[tuple] = []
    summary: list[tuple] = []
    for measure in MEASURES:
        for method in METHODS:
            for condition in dict.fromkeys(run.condition for run in runs):
                found = []
                for run in (run for run in runs if run.condition == condition):
                    x, y, every = series_of(run, logs[condition, run.seed], measure, method)
                    most = MOST // every
                    if len(x) <= 2 * most or not (x.any() and y.any()):
                        continue
                    all_lags = readout.all_lags(x, y)
                    found.append((all_lags, every))
                    place = (run.suite, condition, run.seed, measure, method)
                    steps = np.arange(-most, most + 1)
                    lags += [(*place, int(lag) * every, float(all_lags[lag])) for lag in steps]
                    peaks.append((*place, *_of_one(all_lags, every)))
                if found:
                    group = (runs[0].suite, condition, measure, method, len(found))
                    summary.append((*group, *_of_mean([c for c, _ in found], found[0][1], len(summary))))
    made = {"lead_lag": lags, "lead_lag_peaks": peaks, "lead_lag_summary": summary}
    return {name: pd.DataFrame(rows, columns=list(COLUMNS[name])) for name, rows in made.items()}


def _of_one(correlations: np.ndarray, every: int) -> Iterator[float]:
    """PEAK of one run."""
    most = MOST // every
    for low, high in ((-most, most), (-most, -1)):
        found = readout.peak(correlations, low, high)
        yield from (found.lag * every, found.value, found.null_95, found.p_value)


def _of_mean(seeds: Sequence[np.ndarray], every: int, number: int) -> Iterator[float]:
    """PEAK of the mean correlation over seeds. `number` tells the generators of the rows apart."""
    if len(seeds) == 1:  # its turns could not be put together in new ways
        yield from _of_one(seeds[0], every)
        return
    most = MOST // every
    length = min(map(len, seeds))
    random = generator(0, Stream.ANALYSIS, FIRST_COUNTER + number)
    for low, high in ((-most, most), (-most, -1)):
        lags = np.arange(low, high + 1)
        mean = np.mean([own[lags] for own in seeds], axis=0)
        best = int(np.abs(mean).argmax())
        starts = readout.turns(length, low, high)
        null = np.array([
            np.abs(np.mean([
                np.take(own, random.choice(readout.turns(len(own), low, high)) + lags, mode="wrap") for own in seeds
            ], axis=0)).max()
            for _ in range(DRAWS if len(starts) else 0)
        ])  # fmt: skip
        known = (np.nan, np.nan)
        if len(null):
            known = (np.quantile(null, 0.95), (1 + (null >= abs(mean[best])).sum()) / (1 + len(null)))
        yield from (int(lags[best]) * every, float(mean[best]), *map(float, known))


def timed_windows(run: Run, logs: Logs) -> Iterator[tuple[str, str, int, int]]:
    """(condition whose windows they are, regime, start, end) at which a run is looked at: its own windows, or, for
    `NAME_calm`, those of every condition NAME... of the same seed, as what the same steps do without a regime."""
    own = windows_of(logs[run.condition, run.seed])
    if len(own):
        for regime, start, end in own.itertuples(index=False):
            yield run.condition, str(regime), int(start), int(end)
    elif run.condition.endswith("_calm"):
        name = run.condition.removesuffix("_calm")
        for condition, seed in sorted(logs):
            if seed == run.seed and condition != run.condition and condition.startswith(name):
                for regime, start, end in windows_of(logs[condition, seed]).itertuples(index=False):
                    yield condition, str(regime), int(start), int(end)


def onset(runs: Sequence[Run], logs: Logs) -> pd.DataFrame:
    """When each measure leaves what was usual, after the onset of each regime; a row a run, window and measure.

    baseline, sd: mean and standard deviation over the calm steps among the last 100 before the onset. latency: the
    first step of the window, counted from its onset, that is more than three of these standard deviations from that
    mean and begins three measurements whose median is so too; NaN: none in the window (its `length`), or fewer than
    five measurements before it. `loss_mean` is the loss in means of the steps up to each measurement of state_effect,
    so that these two can be compared. A calm run, at the windows of the others, tells how often that happens to a
    series that merely goes on.
    """
    parts = []
    for run in runs:
        log = logs[run.condition, run.seed]
        every = run.config.log.effect_interval
        measured = log["state_effect"].notna()
        series = {
            **{name: log[name] for name in ("loss", "state_drift", "state_norm", "state_effect")},
            "loss_mean": log["loss"].rolling(every, min_periods=1).mean().where(measured),
        }
        rows = []
        for condition, regime, start, end in timed_windows(run, logs):
            timer = logs[condition, run.seed]["regime"].to_numpy()
            before = [step for step in range(max(0, start - BASELINE), start) if timer[step] == CALM]
            for measure, values in series.items():
                rows.append(
                    (condition, regime, start, measure, *_latency(values, before, start, end), end - start)
                )
        parts.append(run.label(pd.DataFrame(rows, columns=list(COLUMNS["onset"][3:]))))
    return stack(parts, COLUMNS["onset"])


def _latency(values: pd.Series, before: list[int], start: int, end: int) -> tuple[float, float, float]:
    usual = values.iloc[before].dropna()
    if len(usual) < FEWEST:
        return (float("nan"),) * 3
    mean, sd = float(usual.mean()), float(usual.std(ddof=1))
    seen = values.iloc[start:end].dropna()
    ahead = (
        seen[::-1].rolling(SUSTAINED).median()[::-1]
    )  # of this measurement and the next two: no single spike
    beyond = ((seen - mean).abs() > THRESHOLD * sd) & ((ahead - mean).abs() > THRESHOLD * sd)
    first = float(seen.index[beyond.to_numpy()][0] - start) if beyond.any() else float("nan")
    return mean, sd, first


def onset_order(onsets: pd.DataFrame) -> pd.DataFrame:
    """Which leaves the usual first: a row a condition (calm ones under `NAME at WINDOWS`), regime and state measure.

    n: seeds. A measure that stays within the usual comes after one that leaves it; both at the same step, or neither:
    a tie. median_difference: latency of the state's measure minus the loss's, in steps, where both have one; negative:
    the state is first. p_value: two-sided sign test without the ties (1 where all are ties).
    """
    rows = []
    keys = ["suite", "condition", "timed_by", "regime", "seed", "start"]
    wide = onsets[onsets["sd"].notna()].pivot_table(
        index=keys, columns="measure", values="latency", dropna=False
    )
    had = onsets[onsets["sd"].notna()].groupby([*keys, "measure"]).size().unstack("measure")
    wide = wide.reindex(had.index) if len(had) else wide
    for (suite, condition, timed_by, regime), group in wide.groupby(level=keys[:4]):
        name = condition if condition == timed_by else f"{condition} at {timed_by}"
        for measure in MEASURES:
            against = "loss_mean" if measure == "state_effect" else "loss"
            both = had.loc[group.index].reindex(columns=[measure, against]).notna().all(axis=1)
            pair = group[both.to_numpy()].reindex(columns=[measure, against])
            if pair.empty:
                continue
            state, loss = (pair[column].fillna(np.inf) for column in (measure, against))
            first, second = int((state < loss).sum()), int((loss < state).sum())
            p_value = binomtest(first, first + second).pvalue if first + second else 1.0
            differences = (pair[measure] - pair[against]).dropna()
            middle = float(differences.median()) if len(differences) else float("nan")
            counts = (len(pair), first, second, len(pair) - first - second)
            rows.append((suite, name, regime, against, measure, *counts, middle, float(p_value)))
    return pd.DataFrame(rows, columns=list(COLUMNS["onset_order"]))
