"""Does the state move before the loss does? Correlation of both by lag, once training's slow changes are taken off.

A lag counts from the loss to the state: at lag +1 the state moves one step after the loss. It must, since the state of a
step is made from the statistics of the step before: what follows the loss closely is mechanics, and only negative
lags could be a lead. Lag 0 is neither: first differences smear the mechanics of lag +1 over its neighbours.

Its page also has what experiments/monitoring.py, onsets.py and state_path.py find.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from base.rng import Stream, generator
from experiments import monitoring, onsets, state_path
from experiments.kit import marks, readout, style, words
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment, Table
from experiments.kit.levels import ALPHA
from experiments.kit.runs import Context, Run
from experiments.kit.style import Look
from experiments.kit.tables import Tables, stack
from experiments.kit.words import Finding, number, signed

CONDITIONS = {
    "self_calm": "no regime",
    "self": "regimes in fixed windows",
    "self_random": "regimes at random times",
}
MEASURES = {"state_drift": "speed", "state_norm": "length", "state_effect": "effect on text"}
METHODS = {
    "differences": Look("first differences", style.BLACK),
    "detrended": Look("running median taken off", style.ORANGE, (0, (3, 1.2))),
}
MOST = 50  # steps of lag, to both sides
PEAK = ("peak_lag", "peak", "null_95", "p_value")  # of all lags
LEAD = ("lead_lag", "lead", "lead_null_95", "lead_p_value")  # of the negative ones
DRAWS = 500  # of the null over seeds
FIRST_COUNTER = 2_100_000  # of its generators


def series_of(run: Run, log: pd.DataFrame, measure: str, method: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Ranks (n,) of the loss and of a measure, without what training does to both slowly, and steps a sample.

    After warm-up. "differences": first differences; "detrended": minus the running median of readout.WIDTH steps.
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


def correlations(context: Context) -> dict[str, pd.DataFrame]:
    """Spearman's correlation of the loss with each measure, by method, of all runs with a self-state.

    lead_lag: a row a run and lag, in steps: `correlation`. lead_lag_peaks: `peaks` of each run, lead_lag_summary: of the
    mean over `n` seeds. The p-value of one run is at least the number of lags over that of steps (see readout.Peak).
    """
    runs = [(run, run.metrics()) for run in context.runs if run.config.self_state.enabled]
    runs.sort(key=lambda one: (one[0].condition, one[0].seed))
    lags, single = [], []
    summary: list[dict[str, object]] = []
    conditions = dict.fromkeys(run.condition for run, _ in runs)
    for measure, method, condition in product(MEASURES, METHODS, conditions):
        of, found, every = {"measure": measure, "method": method}, [], 1
        for run, log in (one for one in runs if one[0].condition == condition):
            x, y, every = series_of(run, log, measure, method)
            steps = np.arange(-(MOST // every), MOST // every + 1)
            if len(x) < len(steps) or not (x.any() and y.any()):
                continue
            found.append(readout.all_lags(x, y))
            rows = {**of, "lag": steps * every, "correlation": found[-1][steps]}
            lags.append(run.label(pd.DataFrame(rows)))
            single.append(run.label(pd.DataFrame([of | peaks(found[-1:], every)])))
        if found:
            place = {"suite": context.suite.name, "condition": condition, **of, "n": len(found)}
            summary.append(place | peaks(found, every, len(summary)))
    return {
        "lead_lag": stack(lags),
        "lead_lag_peaks": stack(single),
        "lead_lag_summary": pd.DataFrame(summary),
    }


def peaks(seeds: Sequence[np.ndarray], every: int, row: int = 0) -> dict[str, float]:
    """Of the mean over seeds of correlations (n,) at all lags: the strongest from -MOST to +MOST steps, and below zero.

    Each with the 95 % quantile of the strongest, and p, when the series of each seed are turned against each other: the
    choice of the lag is in the null. every: steps a sample. row: tells the generators of the summary's rows apart.
    """
    random = generator(0, Stream.ANALYSIS, FIRST_COUNTER + row)
    made: dict[str, float] = {}
    for names, high in ((PEAK, MOST // every), (LEAD, -1)):
        if len(seeds) == 1:  # its turns could not be put together in new ways
            found = readout.peak(seeds[0], -(MOST // every), high)
        else:
            found = mean_peak(seeds, -(MOST // every), high, random)
        values = (found.lag * every, found.value, found.null_95, found.p_value)
        made |= dict(zip(names, values, strict=True))
    return made


def mean_peak(seeds: Sequence[np.ndarray], low: int, high: int, random: np.random.Generator) -> readout.Peak:
    """`readout.peak` of the mean over seeds; in each draw of the null every seed is turned by itself."""
    lags = np.arange(low, high + 1)
    mean = np.mean([own[lags] for own in seeds], axis=0)
    best = int(np.abs(mean).argmax())
    starts = [readout.turns(len(own), low, high) for own in seeds]
    null_95 = p_value = np.nan
    if all(map(len, starts)):
        drawn = random.integers(0, [len(own) for own in starts], (DRAWS, len(seeds)))
        turned = [
            own[(start[chosen][:, None] + lags) % len(own)]  # (draws, lags)
            for own, start, chosen in zip(seeds, starts, drawn.T, strict=True)
        ]
        null = np.abs(np.mean(turned, axis=0)).max(1)
        null_95 = float(np.quantile(null, 0.95))
        p_value = float((1 + (null >= abs(mean[best])).sum()) / (1 + DRAWS))
    return readout.Peak(int(lags[best]), float(mean[best]), null_95, p_value)


def lead(tables: Tables) -> Finding:
    """A lead is a negative lag that is beyond chance, and stronger than any other lag, in both kinds of series and all conditions."""
    otherwise = "No measure of the state moves before the loss in every kind of run."
    rows = tables.rows("lead_lag_summary")
    if rows.empty:
        said = "No run with a self-state is long enough."
        return Finding("The state moves before the loss does.", words.ABSENT, said, otherwise)
    led = ((rows["peak_lag"] < 0) & (rows["lead_p_value"] < ALPHA)).groupby(rows["measure"]).all()
    leads = [MEASURES[name] for name in MEASURES if led.get(name, False)]
    claim = f"{words.listed(leads or ['speed'])} of the state {'move' if len(leads) > 1 else 'moves'} before the loss does.".capitalize()
    first = rows[rows["method"] == "differences"]
    alone = first[first["lead_p_value"] < ALPHA]
    places = zip(alone["measure"], alone["lead_lag"], alone["condition"], strict=True)
    said = f"In first differences the loss goes most closely with a later step of the state in {(first['peak_lag'] > 0).sum()} of {len(first)} series"
    by_chance = f"{len(alone)} have a lead with p < {ALPHA}, {number(ALPHA * len(first), 0)} would by chance"
    each = words.listed([f"{MEASURES[name]} {signed(lag, 0)} in `{where}`" for name, lag, where in places])
    return Finding(
        claim, words.settled(rows["n"].min(), bool(leads)), f"{said} (a measure in a kind of run); {by_chance}: {each}.", otherwise
    )  # fmt: skip


def findings(tables: Tables) -> dict[str, Finding]:
    others = (monitoring.findings(tables), onsets.findings(tables), state_path.findings(tables))
    return {"lead": lead(tables)} | {name: one for found in others for name, one in found.items()}


def by_lag(measure: str, condition: str) -> draw.Panel:
    """Correlation by lag, and in grey what the strongest of first differences comes to by chance."""
    where = {"measure": measure, "condition": condition}
    label = f"loss and {MEASURES[measure]}\n(rank correlation)" if condition == "self_calm" else ""
    curves = draw.lines("lead_lag", "correlation", y=label, along="lag", by="method", where=where, zero=True)

    def by_chance(axes: Axes, tables: Tables) -> None:
        for row in tables.rows("lead_lag_summary", method="differences", **where).to_dict("records"):
            strongest = f"strongest at {signed(row['peak_lag'], 0)}"
            axes.set_title(f"{CONDITIONS[condition]}:\n{strongest}, p = {number(row['p_value'])}")
            if np.isfinite(row["null_95"]):
                axes.axhspan(-row["null_95"], row["null_95"], color=marks.DARKER, lw=0, zorder=-1)
        marks.level(axes, upright=False)
        axes.margins(x=0)

    return draw.then(curves, by_chance, ("lead_lag_summary",), along=measure == "state_effect")


def lags_table(tables: Tables) -> str:
    """A row a condition, measure and method: the strongest lag, and the strongest negative one."""
    rows = []
    for row in tables.rows("lead_lag_summary").to_dict("records"):
        where = {name: row[name] for name in ("condition", "measure", "method")}
        of_seeds = sorted(tables.rows("lead_lag_peaks", **where)["peak_lag"])
        strongest, negative = (
            [signed(row[lag], 0), signed(row[value]), number(row[p])] for lag, value, _, p in (PEAK, LEAD)
        )
        each = ", ".join(signed(lag, 0) for lag in of_seeds) or words.DASH
        name = f"`{row['condition']}`, {MEASURES[row['measure']]}, {row['method']}"
        rows.append([name, *strongest, each, *negative, str(row["n"])])
    head = ["condition, measure of the state, series", "strongest lag", "correlation", "p", "strongest lag of each seed",
            "strongest negative lag", "correlation", "p", "n"]  # fmt: skip
    return words.table(head, rows)


FIGURE = draw.sheet(
    "lead-lag.png", [by_lag(*where) for where in product(MEASURES, CONDITIONS)], grid=(3, 3), height=6.6,
    looks=METHODS, title=("lead",), x="lag behind the loss (steps)", marks="line", share_x=True, share_y="row",
    shows="Whether the state moves before the loss does: correlation by lag beside a circular-shift null.",
    caption="Mean over seeds; faint: seeds. Right of zero the state follows the loss: at +1 by construction, since it reads the statistics of the "
    "step before (effect: +10). Grey: 95 % of the strongest correlations of first differences when the series of each seed are shifted "
    "against each other; p: how rarely one is as strong.",
)  # fmt: skip
EXPERIMENT = Experiment(
    "lead_lag", "Lead and lag: does the state move before the loss?",
    [Table(correlations, names=("lead_lag", "lead_lag_peaks", "lead_lag_summary"))], findings, [FIGURE],
    {"lags": lags_table, **monitoring.GRIDS, "order": onsets.order_table, "paths": state_path.path_table}, suites=("shakespeare",),
)  # fmt: skip
