"""The page on time: does the state move before the loss does, and what path does it take through a regime?"""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from experiments.kit.levels import ALPHA, FEWEST_SEEDS
from experiments.kit.stats import estimate, paired, per_seed
from experiments.kit.style import REGIMES
from experiments.kit.tables import RUN
from experiments.kit.words import (
    ABSENT,
    CLEAR,
    MISSING,
    NOT_CLEAR,
    OPEN,
    OTHER_WAY,
    Finding,
    interval,
    number,
    side,
    signed,
    table,
)
from experiments.kit.words import DASH as NO_NUMBER
from plots.lead_lag import at_the_end, leads
from reports.parts import Section, Tables

TITLE = "Lead and lag: does the state move before the loss?"
FILE = "lead-lag.md"
SUITE = "shakespeare"
_PEAK = ("peak_lag", "peak", "p_value", "lead_lag", "lead", "lead_p_value")
COLUMNS: dict[str, tuple[str, ...]] = {
    "lead_lag_peaks": (*RUN, "measure", "method", *_PEAK),
    "lead_lag_summary": ("suite", "condition", "measure", "method", "n", *_PEAK),
    "onset": (*RUN, "timed_by", "regime", "measure", "sd", "latency"),
    "onset_order": (
        *("suite", "condition", "regime", "against", "measure", "n", "state_first", "loss_first", "ties"),
        *("median_difference", "p_value"),
    ),
    "state_decomposition": (
        *(*RUN, "regime", "start", "end", "since_onset", "phase", "distance", "direction", "speed"),
        *("calm_distance", "calm_direction", "calm_speed"),
    ),
}
MEASURES = ("state_drift", "state_norm", "state_effect")
SEEN = ("bewilderment", "sensory_fog")  # regimes that act on what the loss is made of


def sections(tables: Tables, figures: str) -> list[Section]:
    """The page's sections. `figures` is the folder of figures as seen from the page."""
    return [by_lag(tables, figures), onsets(tables), path(tables, figures)]


def _each(rows: pd.DataFrame) -> Iterator[Any]:
    """The rows of a table, columns as attributes."""
    return iter(rows.itertuples(index=False))


def by_lag(tables: Tables, figures: str) -> Section:
    """Correlation of loss and state by lag."""
    summary, peaks = tables.rows("lead_lag_summary"), tables.rows("lead_lag_peaks")
    cells = []
    for row in _each(summary):
        own = peaks[(peaks["condition"] == row.condition) & (peaks["measure"] == row.measure)]
        own = own[own["method"] == row.method]
        lags = sorted(int(lag) for lag in own["peak_lag"])
        cells.append([
            f"`{row.condition}`, {row.measure}, {row.method}",
            signed(float(row.peak_lag), 0), signed(float(row.peak)), number(float(row.p_value)),
            ", ".join(signed(lag, 0) for lag in lags) or NO_NUMBER,
            signed(float(row.lead_lag), 0), signed(float(row.lead)), number(float(row.lead_p_value)), str(row.n),
        ])  # fmt: skip
    head = ["condition, measure, series", "strongest lag", "correlation", "p", "strongest lag of each seed",
            "strongest negative lag", "correlation", "p", "n"]  # fmt: skip
    body = [
        table(head, cells) if cells else MISSING,
        "Spearman's correlation, mean over seeds, lags from −50 to +50 steps (state_effect: in multiples of its interval, "
        "beside means of the loss). A positive lag: the state follows. p: against turning each seed's series in a circle, "
        "the choice of the lag included. Differences: first differences. Detrended: minus a running median of 101 steps. After "
        "warm-up; steps in which self_clamp acts take no part.",
        *([f"![Lead and lag]({figures}/lead-lag.png)"] if cells else []),
    ]
    return Section(
        "Does the state move before the loss?",
        "Correlate the loss with drift, norm and effect of the state at every lag, in calm runs and in runs with regimes, "
        "once training's slow changes are taken off.",
        body,
        "The state of a step is made from the statistics of the step before, so that it follows the loss at lag +1 is "
        "mechanics and no finding (+1 interval for state_effect). Where regimes act, the running median leaves bumps of both "
        "loss and state at their edges, tens of steps wide, which correlate at all lags near zero; such a lead does not count "
        "unless first differences show it too, and unless it is stronger than every other lag.",
        [_lead(summary, measure) for measure in MEASURES],
    )


def _lead(summary: pd.DataFrame, measure: str) -> Finding:
    claim = f"{measure} moves before the loss does."
    rows = summary[summary["measure"] == measure]
    if rows.empty:
        return Finding(claim, ABSENT, "No run with a self-state is long enough.")
    where, known = leads(summary, measure), list(dict.fromkeys(rows["condition"]))
    verdict = CLEAR if len(where) == len(known) else OPEN if where else NOT_CLEAR
    if rows["n"].min() < FEWEST_SEEDS:
        verdict = OPEN
    parts = [
        f"`{row.condition}` {signed(float(row.peak_lag), 0)} (p = {number(float(row.p_value))}), strongest at negative "
        f"lags {signed(float(row.lead))} (p = {number(float(row.lead_p_value))})"
        for row in _each(rows[rows["method"] == "differences"])
    ]
    return Finding(claim, verdict, f"Strongest lag of first differences: {'; '.join(parts)}.")


def onsets(tables: Tables) -> Section:
    """Which leaves the usual first after a regime's onset."""
    order, onset = tables.rows("onset_order"), tables.rows("onset")
    cells = []
    for row in _each(order[order["condition"] == "self_random"]):
        cells.append([
            f"`{row.regime}`, {row.measure}", *(_latencies(onset, str(row.regime), str(name)) for name in (row.against, row.measure)),
            f"{row.state_first}, {row.loss_first}, {row.ties}", signed(float(row.median_difference), 0),
            number(float(row.p_value)), _calm(onset, str(row.regime), str(row.measure)),
        ])  # fmt: skip
    head = ["`self_random`: regime, measure", "loss: steps to leave the usual", "state: the same", "state first, loss first, tie",
            "median difference, steps", "p, sign test", "calm run, same steps: leaves the usual"]  # fmt: skip
    body = [
        table(head, cells) if cells else MISSING,
        "Steps to leave the usual: from the regime's onset to the first step beyond three standard deviations of the calm "
        "steps before it, if the median of it and the next two measurements is so too; one number a seed, – for never. Beside "
        "state_effect the loss is the mean of the steps up to each of its measurements.",
    ]
    findings = [_first(order, regime) for regime in SEEN]
    return Section(
        "Which notices the onset of a regime first?",
        "Align every run to the onset of each regime: when do loss, drift, norm and effect first leave what was usual?",
        body,
        "A regime that corrupts the batch shows in the loss of its first step; the state can't read that before the next. One "
        "that acts on the state or its statistics needs no loss to be seen. In calm runs a slow "
        "trend carries norm and effect beyond three standard deviations too, as the last column says, so a late crossing "
        "shows little.",
        findings,
    )


def _latencies(onset: pd.DataFrame, regime: str, measure: str) -> str:
    rows = onset[
        (onset["condition"] == "self_random") & (onset["regime"] == regime) & (onset["measure"] == measure)
    ]
    rows = rows[rows["sd"].notna()].sort_values("seed")
    return ", ".join(number(float(value), 0) for value in rows["latency"]) or NO_NUMBER


def _calm(onset: pd.DataFrame, regime: str, measure: str) -> str:
    rows = onset[(onset["condition"] == "self_calm") & (onset["timed_by"] == "self_random")]
    rows = rows[(rows["regime"] == regime) & (rows["measure"] == measure) & rows["sd"].notna()]
    return f"{int(rows['latency'].notna().sum())} of {len(rows)}" if len(rows) else NO_NUMBER


def _first(order: pd.DataFrame, regime: str) -> Finding:
    """The finding on "the state leaves the usual before the loss does", by drift, in one regime."""
    claim = f"At the onset of {regime}, state_drift leaves the usual before the loss does."
    rows = order[
        (order["condition"] == "self_random")
        & (order["regime"] == regime)
        & (order["measure"] == "state_drift")
    ]
    if rows.empty:
        return Finding(claim, ABSENT, "It needs `self_random`.")
    row = next(_each(rows))
    if row.n < FEWEST_SEEDS:
        verdict = OPEN
    else:
        verdict = CLEAR if row.state_first > row.loss_first and row.p_value < ALPHA else NOT_CLEAR
    return Finding(
        claim,
        verdict,
        f"State first in {row.state_first}, loss first in {row.loss_first}, tie in {row.ties} of {row.n}; median difference "
        f"{signed(float(row.median_difference), 0)} steps, sign test p = {number(float(row.p_value))}."
        f"{OTHER_WAY.format('') if row.loss_first > row.state_first and row.p_value < ALPHA else ''}",
    )


def path(tables: Tables, figures: str) -> Section:
    """Distance, direction and speed through each regime."""
    whole = tables.rows("state_decomposition")
    cells, findings = [], []
    for condition in dict.fromkeys(whole["condition"]):
        rows = whole[whole["condition"] == condition]
        for regime in (name for name in REGIMES if (rows["regime"] == name).any()):
            here = rows[rows["regime"] == regime]
            ends = at_the_end(rows, regime)
            further = paired(ends["own"], ends["calm"])
            during = here[here["phase"] == "during"]
            after = here[here["phase"] == "after"]
            faster = paired(per_seed(during, "speed"), per_seed(during, "calm_speed"))
            back = estimate(_last_bin(after, "direction"))
            cells.append([
                f"`{condition}`, `{regime}`", interval(estimate(ends["own"]), sign=False), interval(further), interval(faster, 4),
                interval(back, 2) if back.n else NO_NUMBER, interval(estimate(_last_bin(after, "distance"))) if back.n else NO_NUMBER,
                str(ends["own"].count()),
            ])  # fmt: skip
            if condition == "self_random":
                claim = (
                    f"{regime} carries the state further from its baseline than the same steps without it."
                )
                findings.append(
                    Finding(claim, side(further, +1), f"L2 at the regime's end, `self_random` − `self_calm`: {interval(further)}, n = {further.n}.")
                )  # fmt: skip
    head = ["condition, regime", "distance at its end, L2", "− `self_calm`", "speed in it − `self_calm`, L2 a step",
            "direction at the last bin after", "distance there", "n"]  # fmt: skip
    return Section(
        "What path does the state take through a regime?",
        "Split the path into distance from the mean state of the 50 steps before, direction (cosine with the displacement at "
        "the regime's end) and speed, beside the same steps of the calm run of the same seed.",
        [table(head, cells), f"![The path through regimes]({figures}/state-decomposition.png)"] if cells else [MISSING],
        "A state that is still being learned leaves any baseline with time, so only what goes beyond the calm run counts for "
        "the regime. Far from the baseline and still pointing the regime's way after it: the state has not come back. The "
        "directions of two seeds can't be compared, since each state has axes of its own. self_clamp holds the "
        "state, so that it goes nowhere then is by construction.",
        findings,
    )  # fmt: skip


def _last_bin(rows: pd.DataFrame, column: str) -> "pd.Series[float]":
    """A column's value in the last bin of each seed's windows."""
    if rows.empty:
        return pd.Series(dtype=float)
    last = rows[rows["since_onset"] == rows.groupby(["seed", "start"])["since_onset"].transform("max")]
    return last.groupby("seed")[column].mean()
