"""Does a fall of the state's effect warn of spikes of the loss? As published, beside the same series shifted in time, and a rival.

The published monitor takes mean and standard deviation over the steps without a regime of the whole run. An alarm is a step
at which the effect on the prompt is more than one of them below, an event one at which loss or entropy is more than two
above. The numbers of the published script come out to eight digits: tests/test_monitoring.py. Loss, entropy and effect all
change through training: alarms and events stand together in its first steps, whatever warns of what. So the same is asked
of the same effect turned in a circle by a random number of steps, and of the gradient norm of the model without a state.

Its findings stand on the page of experiments/lead_lag.py.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from base.rng import Stream, generator
from experiments.kit import pages, published, words
from experiments.kit.experiment import Experiment
from experiments.kit.levels import ALPHA, FEWEST_SEEDS
from experiments.kit.runs import Context, Run
from experiments.kit.stats import estimate, first_on_end, mean_of_known, rank_correlation
from experiments.kit.style import REGIMES
from experiments.kit.tables import CALM, RUN, ByCondition, Tables, stack, stretches

EVENTS = {"loss": "loss", "entropy": "entropy_last"}  # what may spike, and its metric
SPIKE, FALL = 2.0, 1.0  # standard deviations above and below the mean of steps without a regime
WITHIN = 50  # steps from an alarm to its event, and of lag to both sides
STEADY = 5  # steps that the loss has to stay within one standard deviation
TURNS = 200  # of the null
COUNTER = 2_200_000  # of its generators
MEASURES = ("precision", "recall", "correlation")
CONDITIONS = ("self", "vanilla", "self_random", "vanilla_random")


def monitor_of(run: Run) -> str:
    """The metric that is to warn: the effect on the prompt, or without a state the gradient norm."""
    return "prompt_effect" if run.config.self_state.enabled else "grad_norm"


def monitoring(context: Context) -> pd.DataFrame:
    """A row a run with regimes and event (loss, entropy): how its monitor warns of it.

    monitor: prompt_effect, carried on between its measurements, or grad_norm. alarms, events: steps. precision: share of
    alarms with an event at once or in the next WITHIN steps; recall: share of events with an alarm at once or as long
    before; lead: mean steps from an alarm to its first event. correlation: Pearson's of the monitor with the event's
    metric `lag` steps later, the strongest of |lag| <= WITHIN; correlation_now: at lag 0. turned_*: mean over TURNS
    random turns of the monitor in a circle (|correlation|); p_*: share of turns that do as well, itself counted.
    """
    parts = []
    for run in sorted(context.runs, key=lambda run: (run.condition, run.seed)):
        log, monitor = run.metrics(), monitor_of(run)
        if log["regime"].nunique() < 2 or (log["regime"] != CALM).all() or log[monitor].isna().all():
            continue
        if len(log) <= 2 * WITHIN + 2:  # no turn would part it from itself
            continue
        series = (
            (published.repeated(log) if monitor == "prompt_effect" else log[monitor]).bfill().to_numpy(float)
        )
        starts = generator(run.seed, Stream.ANALYSIS, COUNTER).integers(WITHIN + 1, len(log) - WITHIN, TURNS)
        turned = np.stack([series, *(np.roll(series, start) for start in starts)])
        for event, metric in EVENTS.items():
            found = warned(turned, log[metric].to_numpy(float), (log["regime"] == CALM).to_numpy())
            row = {name: values[0] for name, values in found.items()}
            for name in MEASURES:
                size = np.abs(found[name])
                row[f"turned_{name}"] = mean_of_known(size[1:])
                row[f"p_{name}"] = np.nan if np.isnan(size[0]) else (np.nan_to_num(size) >= size[0]).mean()
            parts.append(run.label(pd.DataFrame([{"monitor": monitor, "event": event, **row}])))
    return stack(parts)


def warned(series: np.ndarray, metric: np.ndarray, calm: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of `monitoring`, (k,) each, for monitors (k, n) beside one metric (n,); calm (n,): steps without a regime."""
    steps, n = np.arange(len(metric)), len(metric)
    usual = series[:, calm]
    alarms = series < (usual.mean(1) - FALL * usual.std(1))[:, None]
    events = metric > metric[calm].mean() + SPIKE * metric[calm].std()
    next_event = np.minimum.accumulate(np.where(events, steps, n + WITHIN + 1)[::-1])[::-1]
    last_alarm = np.maximum.accumulate(np.where(alarms, steps, -WITHIN - 1), axis=1)
    wait = next_event - steps
    right = alarms & (wait <= WITHIN)
    seen = events & (steps - last_alarm <= WITHIN)
    by_lag = lagged(series, metric)
    best = np.abs(by_lag).argmax(1)
    with np.errstate(invalid="ignore"):  # no alarm, or no event: no share
        return {
            "alarms": alarms.sum(1), "events": np.full(len(series), events.sum()), "precision": right.sum(1) / alarms.sum(1),
            "recall": seen.sum(1) / np.full(len(series), events.sum()), "lead": (right * wait).sum(1) / right.sum(1),
            "lag": best - WITHIN, "correlation": np.take_along_axis(by_lag, best[:, None], 1)[:, 0],
            "correlation_now": by_lag[:, WITHIN],
        }  # fmt: skip


def lagged(series: np.ndarray, metric: np.ndarray) -> np.ndarray:
    """Pearson's correlation (k, 2 WITHIN + 1) of monitors (k, n) with a metric (n,) lag steps later, over the steps that both
    have; zero where a side stands still."""
    n, found = len(metric), np.zeros((len(series), 2 * WITHIN + 1))
    for place, lag in enumerate(range(-WITHIN, WITHIN + 1)):
        x, y = series[:, max(-lag, 0) : n - max(lag, 0)], metric[max(lag, 0) : n - max(-lag, 0)]
        x, y = x - x.mean(1, keepdims=True), y - y.mean()
        size = np.sqrt((x**2).sum(1) * (y**2).sum())
        found[:, place] = np.divide(x @ y, size, out=np.zeros(len(series)), where=size > 0)
    return found


def recovery(context: Context) -> pd.DataFrame:
    """A row a run and regime window of the condition it is timed by: when the loss is its usual self again.

    timed_by: the run's own condition; of runs without regimes `NAME_calm`, NAME of the same seed, whose windows it is
    looked at in. drift, effect: means of state_ema_drift and prompt_effect in the window. steps: from its end to the
    first of STEADY steps in a row with the loss within one standard deviation of the mean of the steps without a regime.
    """
    logs = {(run.condition, run.seed): run.metrics() for run in context.runs}
    parts = []
    for run in sorted(context.runs, key=lambda run: (run.condition, run.seed)):
        timer = run.condition.removesuffix("_calm")
        timed, log = logs.get((timer, run.seed)), logs[run.condition, run.seed]
        if timed is None or len(timed) != len(log):
            continue
        calm = (timed["regime"] == CALM).to_numpy()
        effect = published.repeated(log)
        rows = []
        for regime, start, end in stretches(timed) if calm.any() else ():
            means = {"drift": log["state_ema_drift"][start:end].mean(), "effect": effect[start:end].mean()}
            steps = back(log["loss"].to_numpy(float), calm, end)
            rows.append(
                {"timed_by": timer, "regime": regime, "start": start, "end": end, **means, "steps": steps}
            )
        parts.append(run.label(pd.DataFrame(rows)))
    return stack(parts)


def back(loss: np.ndarray, calm: np.ndarray, end: int) -> float:
    """`steps` of `recovery` of a loss (n,); NaN: never."""
    usual = np.abs(loss - loss[calm].mean()) <= loss[calm].std()
    return first_on_end(usual[end:], STEADY)


def settled(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `recovery` but those at whose end another regime begins: what the loss does then is that one's."""
    ends, onsets = (pd.MultiIndex.from_frame(rows[[*RUN, "timed_by", edge]]) for edge in ("end", "start"))
    return rows[~ends.isin(onsets)]


def follows(
    rows: pd.DataFrame, column: str = "drift", how: Callable[..., float] = rank_correlation
) -> "pd.Series[float]":
    """The correlation over a run's windows, rows of `recovery`, of recovery time with drift or effect, by seed. Equal times share
    a rank; the published script has them in the order of the alphabet."""
    rows = rows[rows["steps"].notna() & rows[column].notna()]
    found = {seed: how(of[column], of["steps"]) for seed, of in rows.groupby("seed")}
    return pd.Series(found, dtype=float).dropna()


def findings(tables: Tables) -> dict[str, words.Finding]:
    at = tables.by_condition("monitoring", event="loss")
    rival = {name: at.minus("self", "vanilla", name) for name in MEASURES[:2]}
    return {
        "warns": warns(tables),
        "beyond_gradient": words.difference(
            "It warns of them better than the gradient norm of a model without a state.",
            {f"{name}, `self` − `vanilla`": value for name, value in rival.items()}, +1,
            otherwise="It does not clearly warn of them better than the gradient norm of a model without a state.",
            reverse="The gradient norm of a model without a state warns of them better.",
        ),
        "recovery": recovers(tables),
    }  # fmt: skip


def warns(tables: Tables) -> words.Finding:
    """Whether a run's shifts seldom do as well, in every condition with a state."""
    than = "a fall of the state's effect {} of spikes of the loss more often than 95 % of its copies shifted in time."
    at = tables.by_condition("monitoring", CONDITIONS, event="loss", monitor="prompt_effect")
    told, beyond = [], []
    for name in at.conditions:
        own, shifted, p = (at.value(name, f"{of}precision").mean for of in ("", "turned_", "p_"))
        beyond += [f"`{name}`"] * (p < ALPHA)
        told.append(f"{words.number(own)} against {words.number(shifted)}, p = {words.number(p)} (`{name}`)")
    few = not told or min(at.value(name, "precision").n for name in at.conditions) < FEWEST_SEEDS
    return words.Finding(
        f"In every kind of run {than.format('warns')}",
        words.ABSENT
        if not told
        else words.OPEN
        if few
        else words.CLEAR
        if len(beyond) == len(told)
        else words.NOT_CLEAR,
        f"Share of its alarms with a spike within {WITHIN} steps, and of its copies': {'; '.join(told) or words.DASH}. p: share of copies that do as well.",
        f"{f'Only in {words.listed(beyond)}' if beyond else 'In no kind of run'} does {than.format('warn')}",
    )


def recovers(tables: Tables) -> words.Finding:
    """Whether the loss takes longer to recover where the state was further from its average; open where no time differs."""
    claim = "The further the state is from its average in a regime, the longer the loss takes to recover."
    rows = tables.rows("recovery", condition="self")
    if rows.empty:
        return words.Finding(claim, words.ABSENT, "It needs `self`.")
    kept = settled(rows)
    times = kept["steps"].fillna(np.inf).groupby(kept["regime"]).median()
    if times.any():
        return words.difference(
            claim, {"rank correlation over regimes": estimate(follows(kept))}, +1, pairs=False,
            otherwise="How far the state is from its average in a regime does not clearly tell how long the loss takes to recover.",
        )  # fmt: skip
    cut = [f"`{name}`" for name in dict.fromkeys(rows["regime"]) if name not in times]
    after = f"; at the end of {words.listed(cut)} another begins, with or without a state" * bool(cut)
    said = f"After {words.plural(len(times), 'regime')} the loss is its usual self at once, at the median of seeds{after}."
    return words.Finding(claim, words.NOT_CLEAR, said, "No recovery time can be told apart.")


def back_at(rows: pd.DataFrame, tables: Tables) -> str:
    """Median steps to recover of some rows of `recovery`; a dash where another regime begins at their end."""
    kept = settled(tables.rows("recovery")).index.intersection(rows.index)
    return words.median(ByCondition(rows.loc[kept]).steps(str(rows["condition"].iloc[0]), "steps"))


GRIDS = {
    "monitor": pages.grid(
        "monitoring", CONDITIONS, head="event, condition", across="event", order=EVENTS, precision=("precision", "3"),
        turned_precision=("shifted", "~3"), p_precision=("p", "~3"), recall=("recall", "3"), turned_recall=("shifted", "~3"),
        p_recall=("p", "~3"), lead=("lead, steps", "~0"), alarms=("alarms", "~0"), events=("events", "~0"),
    ),
    "monitor_lags": pages.grid(
        "monitoring", CONDITIONS, head="event, condition", across="event", order=EVENTS, lag=("strongest lag", "~0"),
        correlation=("correlation there", "±3"), correlation_now=("at lag 0", "±3"), turned_correlation=("shifted, size", "~3"),
        p_correlation=("p", "~3"),
    ),
    "recovery": pages.grid(
        "recovery", ("self", "self_calm", "vanilla"), head="regime, condition", across="regime", order=REGIMES, only=True, n=False,
        steps=("steps to recover", back_at), drift=("mean distance from its average", "3"), effect=("mean effect", "3"),
    ),
}  # fmt: skip
EXPERIMENT = Experiment(
    "monitoring", "Does the effect warn of spikes?", [monitoring, recovery], findings, suites=("shakespeare",)
)
