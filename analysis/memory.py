"""What a memory of past states does: its share of each update, where it pulls, and what that costs.

Two cautions are built into the tables. The pull of a whole update towards where the state was is, summed over a
regime, little else than the distance lost or gained, and the leak of the update makes one without any memory: so the
memory's own part of the pull is told apart, and `none` stands beside. And the memory's step is no longer than `limit`
times the network's, so its share is at most `limit * gate / (limit * gate + 1 - gate)`: how often it stands at that
bound, where the gate alone decides the share, is a column.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.spans import DISTURBANCE
from analysis.spans import ONSET_BIN as BIN
from configs.state import Memory
from experiments.kit.runs import Context, Run
from experiments.kit.stats import mean_of_known, rank_correlation
from experiments.kit.tables import CALM, RUN, stack, windows_of

BEFORE = 50  # steps before a regime whose mean state is its baseline
AFTER = 100  # steps after a regime in memory_dynamics
SUSTAINED = 5  # steps that the state must stay near its baseline to have recovered
NEAR = 0.95  # quantile of the distances before a regime that still counts as near
LATE = ("bewilderment", "sensory_fog", "lr_heatwave")  # felt by the state through the next step's statistics
LOGGED = ("mlp_norm", "memory_norm", "memory_share", "gate")
MEASURES = (
    *(*RUN, "regime", "start", "end", "share", "share_calm", "gate", "gate_calm", "at_bound"),
    *("norm_before", "distance", "force", "force_memory", "rate", "drift_before", "drift", "drift_after"),
    *("recovery", "recovered", "watched"),
)
DYNAMICS = (*RUN, "middle", "length", *LOGGED, "distance", "force", "force_memory")
TRADEOFF = (
    *(*RUN, "share", "share_calm", "force", "force_memory", "rate", "drift", "displacement"),
    *("leverage", "placebo", "leverage_over_placebo", "heldout_loss"),
)
RANKS = ("suite", "seed", "stability", "outcome", "conditions", "rho")


def tables(context: Context) -> dict[str, pd.DataFrame]:
    """memory_measures, memory_dynamics, memory_tradeoff and memory_ranks of a suite's runs with self-state."""
    paths = follow_all(context.runs)
    followed = [(run, paths[place]) for run in context.runs if (place := (run.condition, run.seed)) in paths]
    measures = stack([run.label(_measures(path)) for run, path in followed], MEASURES)
    tradeoff = _tradeoff(measures, context)
    return {
        "memory_measures": measures,
        "memory_dynamics": stack([run.label(_dynamics(path)) for run, path in followed], DYNAMICS),
        "memory_tradeoff": tradeoff,
        "memory_ranks": _ranks(tradeoff),
    }


@dataclass(frozen=True)
class Followed:
    """One run's log and states, row by row; row i holds the update that made state i.

    log: columns step, regime, state_drift and LOGGED (NaN where a run has none). states: (n, dim) float64.
    pull: (n, dim) the memory's part of each update, decay included; zeros without memory, NaN where it is not known.
    bound: (n,) the largest share that the memory's limit allows at the gate of each step.
    """

    log: pd.DataFrame
    states: np.ndarray
    pull: np.ndarray
    bound: np.ndarray


def follow(run: Run, before: Run | None = None) -> Followed:
    """A run as its log and states tell it; `before` is the run that it goes on from, whose steps are put in front."""
    log, states = run.metrics(), run.states()
    assert states is not None
    if before is not None:
        earlier = before.metrics()
        kept = (earlier["step"] < log["step"].iloc[0]).to_numpy()
        past = before.states()
        assert past is not None
        log = pd.concat([earlier[kept], log], ignore_index=True)
        states = np.concatenate([past[kept], states])
    log = log.reindex(columns=list(dict.fromkeys([*log.columns, *LOGGED])))
    states = states.astype(np.float64)
    settings = run.config.self_state
    pull = np.zeros_like(states)
    bound = np.full(len(log), np.nan)
    if settings.memory.kind != "none":
        way = recalled(states, settings.memory) - _last(states)
        size = np.linalg.norm(way, axis=1, keepdims=True)
        unit = np.divide(way, size, out=np.zeros_like(way), where=size > 0)
        pull = settings.decay * log["memory_norm"].to_numpy(float)[:, None] * unit
        gate = log["gate"].to_numpy(float)
        bound = settings.memory.limit * gate / (settings.memory.limit * gate + 1 - gate)
    return Followed(log, states, pull, bound)


def recalled(states: np.ndarray, settings: Memory) -> np.ndarray:
    """What the memory recalled in the update that made each state, from the states alone.

    The first update makes row 1 and finds the memory empty; the one that makes row i finds in it the states 0 ... i - 2
    (see memory.py). Recall has no weights of its own, so it follows from the states.

    Args:
        states: (n, dim), all states of a run from its first step on.

    Returns:
        (n, dim) float64, NaN where nothing was remembered.
    """
    found = np.full(states.shape, np.nan)
    if settings.kind == "ema":
        average = states[:1].sum(0, dtype=np.float64)
        for row in range(2, len(states)):
            found[row] = average
            average = (1 - settings.decay) * average + settings.decay * states[row - 1]
    elif settings.kind == "buffer":
        for row in range(2, len(states)):
            held = states[: row - 1 : settings.stride][-settings.length :]
            weights = held @ states[row - 1] / np.sqrt(states.shape[1])
            weights = np.exp(weights - weights.max())
            found[row] = weights @ held / weights.sum()
    return found


def _last(states: np.ndarray) -> np.ndarray:
    """The state before each row's update; the first row's is itself."""
    return np.concatenate([states[:1], states[:-1]])


def restoring(
    states: np.ndarray, baseline: np.ndarray, updates: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """How hard each update pulls back to a baseline, and how far from it the state was.

    Args:
        states: (n, dim). baseline: (dim,).
        updates: (n, dim), the part of each update to look at; all of it, state minus the state before, if None.

    Returns:
        Force (n,) = -<update, d> / |d|, L2 a step, NaN where d = 0, and distance (n,) = |d|; d is the state before the
        update minus the baseline.
    """
    past = _last(states)
    away = past - baseline
    distance = np.linalg.norm(away, axis=1)
    inner = ((states - past if updates is None else updates) * away).sum(1)
    force = np.divide(-inner, distance, out=np.full(len(states), np.nan), where=distance > 0)
    return force + 0.0, distance  # no negative zeros


def _around(
    log: pd.DataFrame, regime: str, start: int, end: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers before a regime (calm, at most BEFORE), while the state feels it, and after it until the next one."""
    step, names = log["step"].to_numpy(), log["regime"].to_numpy()
    start, end = start + (regime in LATE), end + (regime in LATE)
    before = np.flatnonzero((step >= start - BEFORE) & (step < start) & np.isin(names, [CALM, regime]))
    later = step[(step >= end) & (names != CALM)]
    until = later[0] if len(later) else step[-1] + 1
    during = np.flatnonzero((step >= start) & (step < end))
    return before, during, np.flatnonzero((step >= end) & (step < until))


def _measures(path: Followed) -> pd.DataFrame:
    """One row a regime window. L2 norms; force and drift L2 a step; rate a step; recovery and watched in steps.

    share, gate, force ...: means while the state feels the regime, with _calm over the calm steps of the run.
    at_bound: share of the run's steps at which the memory's share is what the gate allows at most.
    norm_before: mean state norm before. distance: mean distance from the baseline, the mean state before.
    rate: the share of the distance that an update takes back, by least squares, sum(force d) / sum(d^2).
    drift_after: over as many steps as before. recovery: steps until the state is back within the 95th percentile of
    the distances before, for SUSTAINED steps on end; NaN, and `recovered` false, where it was not in the `watched` steps.
    """
    log, states = path.log, path.states
    calm = (log["regime"] == CALM).to_numpy()
    share, gate, drift = (log[name].to_numpy(float) for name in ("memory_share", "gate", "state_drift"))
    known = ~np.isnan(share) & ~np.isnan(path.bound)
    at_bound = float((share[known] >= 0.999 * path.bound[known]).mean()) if known.any() else float("nan")
    rows = []
    for regime, start, end in windows_of(log).to_records(index=False).tolist():
        before, during, after = _around(log, regime, start, end)
        if not len(before) or not len(during):
            continue
        baseline = states[before].mean(0)
        force, distance = restoring(states, baseline)
        memory, _ = restoring(states, baseline, path.pull)
        rest = np.linalg.norm(states - baseline, axis=1)
        steps = _recovery(rest[after], float(np.quantile(rest[before], NEAR)))
        square = float((distance[during] ** 2).sum())
        rows.append(
            (
                *(regime, start, end, mean_of_known(share[during]), mean_of_known(share[calm])),
                *(mean_of_known(gate[during]), mean_of_known(gate[calm]), at_bound),
                *(float(np.linalg.norm(states[before], axis=1).mean()), mean_of_known(distance[during])),
                *(mean_of_known(force[during]), mean_of_known(memory[during])),
                float(np.nansum(force[during] * distance[during])) / square if square else float("nan"),
                *(
                    mean_of_known(drift[before]),
                    mean_of_known(drift[during]),
                    mean_of_known(drift[after[: len(before)]]),
                ),
                *(float("nan") if steps is None else float(steps), steps is not None, len(after)),
            )
        )
    return pd.DataFrame(rows, columns=list(MEASURES[3:]))


def _recovery(distance: np.ndarray, near: float) -> int | None:
    """Steps until the first of SUSTAINED steps on end that are no further than `near`; None if there are none."""
    inside = (distance <= near).astype(int)
    runs = np.convolve(inside, np.ones(SUSTAINED, int), "valid") if len(inside) >= SUSTAINED else inside[:0]
    found = np.flatnonzero(runs == SUSTAINED)
    return int(found[0]) if len(found) else None


def _dynamics(path: Followed) -> pd.DataFrame:
    """Means of BIN steps around the onset of bewilderment: `middle` of a bin in steps since, `length` of the regime.

    From BEFORE steps before it to AFTER steps after its end, calm steps and its own only; units as in memory_measures.
    """
    parts = []
    for regime, start, end in windows_of(path.log).to_records(index=False).tolist():
        before, during, after = _around(path.log, regime, start, end)
        if regime != DISTURBANCE or not len(before):
            continue
        baseline = path.states[before].mean(0)
        rows = path.log[["step", *LOGGED]].copy()
        rows["force"], rows["distance"] = restoring(path.states, baseline)
        rows["force_memory"], _ = restoring(path.states, baseline, path.pull)
        rows = rows.iloc[np.concatenate([before, during, after[:AFTER]])]
        middle = ((rows["step"] - start) // BIN * BIN + (BIN - 1) / 2).rename("middle")
        means = rows.drop(columns="step").groupby(middle).mean().reset_index()
        parts.append(means.assign(length=end - start))
    return stack(parts, DYNAMICS[3:]).reindex(columns=list(DYNAMICS[3:]))


def leverage(effects: pd.DataFrame) -> pd.DataFrame:
    """suite, condition, seed, leverage, placebo, leverage_over_placebo (nats) from frozen_effects_summary.

    The held-out effect of the dimension finder with the weights of the last step tested, and the largest of the mean
    effects of its kinds of placebo.
    """
    columns = [*RUN, "leverage", "placebo", "leverage_over_placebo"]
    if effects.empty:
        return pd.DataFrame(columns=columns)
    rows = effects[(effects["protocol"] == "heldout") & (effects["finder"] == "dimension")]
    rows = rows[rows["run_step"] == rows.groupby(list(RUN))["run_step"].transform("max")]
    found = rows.groupby(list(RUN), sort=False, as_index=False).agg(
        leverage=("effect", "first"), placebo=("placebo_mean", "max")
    )
    return found.assign(leverage_over_placebo=found["leverage"] - found["placebo"])


def _tradeoff(measures: pd.DataFrame, context: Context) -> pd.DataFrame:
    """One row a condition and seed: what bewilderment does to the state beside what the state does to the predictions.

    displacement: mean distance from the baseline in bewilderment over the state's norm before it, without unit.
    """
    rows = measures[measures["regime"] == DISTURBANCE].copy()
    rows["displacement"] = rows["distance"] / rows["norm_before"]
    keys = list(RUN)
    tested = leverage(context.made.get("frozen_effects_summary", pd.DataFrame()))
    losses = context.made.get("runs", pd.DataFrame(columns=[*keys, "heldout_loss"]))
    for other in (tested, losses[[*keys, "heldout_loss"]]):
        rows = rows.merge(other, on=keys, how="left") if len(other) else rows.reindex(
            columns=[*rows.columns, *(name for name in other.columns if name not in rows)]
        )  # fmt: skip
    return rows[list(TRADEOFF)].reset_index(drop=True)


def _ranks(tradeoff: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation over the conditions of each seed between how little the state moves and its leverage.

    stability: drift or displacement in bewilderment, with its sign turned. A trade-off is a rho below zero. Drift grows
    with the scale of a state, as leverage may; displacement has no scale. NaN with fewer than three conditions.
    """
    rows = []
    for (suite, seed), group in tradeoff.groupby(["suite", "seed"], sort=True):
        for stability in ("drift", "displacement"):
            for outcome in ("leverage", "leverage_over_placebo"):
                pair = group[[stability, outcome]].astype(float).dropna()
                rho = rank_correlation(-pair[stability], pair[outcome]) if len(pair) > 2 else float("nan")
                rows.append((suite, seed, stability, outcome, len(pair), rho))
    return pd.DataFrame(rows, columns=list(RANKS))


def follow_all(runs: Sequence[Run]) -> dict[tuple[str, int], Followed]:
    """Every run with self-state by condition and seed, each with the steps of the run that it goes on from in front.

    A run whose origin is not among them is left out.
    """
    by_place = {(run.condition, run.seed): run for run in runs}
    found = {}
    for place, run in by_place.items():
        start = run.config.start
        before = by_place.get((start.condition, run.seed)) if start is not None else None
        if run.config.self_state.enabled and (start is None or before is not None):
            found[place] = follow(run, before)
    return found
