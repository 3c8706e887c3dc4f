"""What a memory of past states does: its share of each update, where it pulls, and what that costs.

Two cautions are built into the tables. The pull of a whole update towards where the state was is, summed over a
regime, little else than the distance lost or gained, and the leak of the update makes one without any memory: so the
memory's own part of the pull is told apart, and `none` stands beside. And the memory's step is no longer than `limit`
times the network's, so its share is at most `limit * gate / (limit * gate + 1 - gate)`: how often it stands at that
bound, where the gate alone decides the share, is a column.
"""

from collections.abc import Iterable
from math import inf

import numpy as np
import pandas as pd

from configs.state import STATS
from experiments.kit import pages, published, words
from experiments.kit.experiment import Experiment, Table
from experiments.kit.followed import LOGGED, Followed, around, follow_all, restoring
from experiments.kit.replay import open_listening
from experiments.kit.runs import Context
from experiments.kit.stats import Estimate, estimate, first_on_end, mean_of_known, rank_correlation
from experiments.kit.tables import (
    CALM,
    RUN,
    ByCondition,
    Grid,
    Tables,
    stack,
    windows_of,
)
from experiments.kit.words import (
    ABSENT,
    DASH,
    MISSING,
    Finding,
    all_of,
    difference,
    interval,
    number,
    other_way,
    percent,
    side,
    table,
)  # fmt: skip
from experiments.memory_figure import BIN, FIGURES, LOOKS, REGIME

AFTER = 100  # steps after a regime in memory_dynamics
SUSTAINED = 5  # steps that the state must stay near its baseline to have recovered
NEAR = 0.95  # quantile of the distances before a regime that still counts as near
BUFFERS = ("buffer_64", "buffer_128")  # of the published study


def memory_paths(context: Context) -> dict[str, pd.DataFrame]:
    """memory_measures and memory_dynamics: `measures` and `dynamics` of every run with self-state."""
    paths = follow_all(context.runs)
    followed = [(run, paths[place]) for run in context.runs if (place := (run.condition, run.seed)) in paths]
    return {
        "memory_measures": stack([run.label(measures(path)) for run, path in followed]),
        "memory_dynamics": stack([run.label(dynamics(path)) for run, path in followed]),
    }


def measures(path: Followed) -> pd.DataFrame:
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
        before, during, after = around(log, regime, start, end)
        if not len(before) or not len(during):
            continue
        baseline = states[before].mean(0)
        force, distance = restoring(states, baseline)
        memory, _ = restoring(states, baseline, path.pull)
        rest = np.linalg.norm(states - baseline, axis=1)
        steps = first_on_end(rest[after] <= np.quantile(rest[before], NEAR), SUSTAINED)
        square = float((distance[during] ** 2).sum())
        rows.append({
            "regime": regime, "start": start, "end": end,
            "share": mean_of_known(share[during]), "share_calm": mean_of_known(share[calm]),
            "gate": mean_of_known(gate[during]), "gate_calm": mean_of_known(gate[calm]), "at_bound": at_bound,
            "norm_before": float(np.linalg.norm(states[before], axis=1).mean()), "distance": mean_of_known(distance[during]),
            "force": mean_of_known(force[during]), "force_memory": mean_of_known(memory[during]),
            "rate": float(np.nansum(force[during] * distance[during])) / square if square else np.nan,
            "drift_before": mean_of_known(drift[before]), "drift": mean_of_known(drift[during]),
            "drift_after": mean_of_known(drift[after[: len(before)]]),
            "recovery": steps, "recovered": not np.isnan(steps), "watched": len(after),
        })  # fmt: skip
    return pd.DataFrame(rows)


def dynamics(path: Followed) -> pd.DataFrame:
    """Means of BIN steps around the onset of bewilderment: `middle` of a bin in steps since, `length` of the regime.

    From BEFORE steps before it to AFTER steps after its end, calm steps and its own only; units as in memory_measures.
    """
    parts = []
    for regime, start, end in windows_of(path.log).to_records(index=False).tolist():
        before, during, after = around(path.log, regime, start, end)
        if regime != REGIME or not len(before):
            continue
        baseline = path.states[before].mean(0)
        rows = path.log[["step", *LOGGED]].copy()
        rows["force"], rows["distance"] = restoring(path.states, baseline)
        rows["force_memory"], _ = restoring(path.states, baseline, path.pull)
        rows = rows.iloc[np.concatenate([before, during, after[:AFTER]])]
        middle = ((rows["step"] - start) // BIN * BIN + (BIN - 1) / 2).rename("middle")
        means = rows.drop(columns="step").groupby(middle).mean().reset_index()
        parts.append(means.assign(length=end - start))
    columns = ["middle", "length", *LOGGED, "distance", "force", "force_memory"]
    return stack(parts)[columns] if parts else pd.DataFrame()


def leverage(effects: pd.DataFrame) -> pd.DataFrame:
    """suite, condition, seed, leverage, placebo, leverage_over_placebo (nats) from frozen_effects_summary.

    The held-out effect of the dimension finder with the weights of the last step tested, and the largest of the mean
    effects of its kinds of placebo.
    """
    if effects.empty:
        return pd.DataFrame(columns=[*RUN, "leverage", "placebo", "leverage_over_placebo"])
    rows = effects[(effects["protocol"] == "heldout") & (effects["finder"] == "dimension")]
    rows = rows[rows["run_step"] == rows.groupby(list(RUN))["run_step"].transform("max")]
    found = rows.groupby(list(RUN), sort=False, as_index=False).agg(
        leverage=("effect", "first"), placebo=("placebo_mean", "max")
    )
    return found.assign(leverage_over_placebo=found["leverage"] - found["placebo"])


def memory_tradeoff(
    context: Context, memory_measures: pd.DataFrame, frozen_effects_summary: pd.DataFrame, runs: pd.DataFrame
) -> pd.DataFrame:
    """One row a condition and seed: what bewilderment does to the state beside what the state does to the predictions.

    displacement: mean distance from the baseline in bewilderment over the state's norm before it, without unit. leverage,
    placebo, leverage_over_placebo: see `leverage`. The other columns are those of memory_measures and runs.
    """
    rows = memory_measures[memory_measures["regime"] == REGIME].copy()
    rows["displacement"] = rows["distance"] / rows["norm_before"]
    taken = [*RUN, "share", "share_calm", "force", "force_memory", "rate", "drift", "displacement"]
    tested = leverage(frozen_effects_summary)
    rows = rows[taken].merge(tested, on=list(RUN), how="left") if len(tested) else rows[taken].assign(
        leverage=np.nan, placebo=np.nan, leverage_over_placebo=np.nan
    )  # fmt: skip
    losses = runs[[*RUN, "heldout_loss"]] if len(runs) else rows[list(RUN)].assign(heldout_loss=np.nan)
    return rows.merge(losses, on=list(RUN), how="left").reset_index(drop=True)


def memory_ranks(context: Context, memory_tradeoff: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation over the conditions of each seed between how little the state moves and its leverage.

    stability: drift or displacement in bewilderment, with its sign turned. A trade-off is a rho below zero. Drift grows
    with the scale of a state, as leverage may; displacement has no scale. NaN with fewer than three conditions.
    """
    rows = []
    for (suite, seed), group in memory_tradeoff.groupby(["suite", "seed"], sort=True):
        for stability in ("drift", "displacement"):
            for outcome in ("leverage", "leverage_over_placebo"):
                pair = group[[stability, outcome]].astype(float).dropna()
                rho = rank_correlation(-pair[stability], pair[outcome]) if len(pair) > 2 else float("nan")
                found = {"stability": stability, "outcome": outcome, "conditions": len(pair), "rho": rho}
                rows.append({"suite": suite, "seed": seed, **found})
    return pd.DataFrame(rows)


def memory_feature_sensitivity(context: Context) -> pd.DataFrame:
    """One row a run with a memory and regime, after warm-up: what the stored network makes of the memory's features.

    change: mean L2 of what its target changes by when they are zero, statistics and state as logged; target: mean L2 of it
    whole; relative_change: their ratio. gate, gate_without: mean gate with them and with zeros; gate_change: mean |difference|.
    """
    parts = []
    for run in context.runs:
        replay = open_listening(run)
        if replay is None:
            continue
        zeroed = np.where(np.arange(replay.inputs.shape[1]) < len(STATS), replay.inputs, 0.0)
        whole, without = (
            replay.network.propose(inputs, replay.states[:-1]) for inputs in (replay.inputs, zeroed)
        )
        gate, gate_without = replay.network.gate(replay.inputs), replay.network.gate(zeroed)
        found = pd.DataFrame({
            "regime": replay.regimes, "change": np.linalg.norm(whole - without, axis=1), "target": np.linalg.norm(whole, axis=1),
            "gate": gate, "gate_without": gate_without, "gate_change": np.abs(gate - gate_without),
        })  # fmt: skip
        means = found[replay.late].groupby("regime", sort=False).mean().reset_index()
        parts.append(
            run.label(means.assign(relative_change=means["change"] / means["target"].replace(0, np.nan)))
        )
    return stack(parts)


def during(tables: Tables, regime: str = REGIME) -> ByCondition:
    """The measures taken while the state feels a regime."""
    return tables.by_condition("memory_measures", LOOKS, regime=regime)


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page says."""
    at, trade = during(tables), tables.by_condition("memory_tradeoff", LOOKS)

    def beyond(rows: ByCondition, other: str, column: str, word: str = "") -> dict[str, Estimate]:
        return {f"{word}`{name}` − `{other}`": rows.minus(name, other, column) for name in BUFFERS}

    longer = {
        "`buffer_64` − `ema`": at.minus("buffer_64", "ema", "share"),
        "`buffer_128` − `buffer_64`": at.minus("buffer_128", "buffer_64", "share"),
    }
    own = at.values(BUFFERS, "force_memory")
    drifts, away = beyond(at, "none", "drift"), beyond(trade, "none", "displacement")
    return {
        "share": difference("A longer memory takes a larger share of the update.", longer, +1, "", 3),
        "pull": difference("Buffers pull the disturbed state back harder than no memory does.", beyond(at, "none", "rate", "rate, "), +1, "a step", 4),
        "own": difference("The memory's own part of the update points back.", own, +1, "L2 a step", 5, pairs=False),
        "drift": difference(f"With a buffer the state drifts less in {REGIME} than without memory.", drifts, -1, "L2 a step", 5),
        "near": difference("A buffer keeps the state nearer to where it was, relative to its norm.", away, -1, "", 3),
        **{f"slower_{name}": _slower(tables, name) for name in BUFFERS},
        "leverage": difference("Buffers have less leverage than an EMA.", beyond(trade, "ema", "leverage"), -1, "nats", 3),
        "beyond": difference("Buffers have less leverage than an EMA beyond what placebos reach.", beyond(trade, "ema", "leverage_over_placebo"), -1, "nats", 3),
        "trade": _trade(tables),
    }  # fmt: skip


def _steps(rows: pd.DataFrame) -> "pd.Series[float]":
    """Steps to recover by seed, infinity where it did not; a held state that never left counts as 0."""
    if rows.empty:
        return pd.Series(dtype=float)
    recovered = rows["recovered"].astype(str).str.lower().isin(["true", "1", "1.0"])
    return pd.Series(np.where(recovered, rows["recovery"].astype(float), inf), index=rows["seed"].to_numpy())


def _slower(tables: Tables, name: str) -> Finding:
    """Whether a memory takes longer than none after bewilderment, seed by seed: an exact sign test."""
    claim = f"After {REGIME} the state of `{name}` takes longer to come back than without memory."
    one, other = (
        _steps(tables.rows("memory_measures", regime=REGIME, condition=which)) for which in (name, "none")
    )
    found = words.compare(one, other)
    if not found.n:
        return Finding(claim, ABSENT, "It needs seeds that both conditions have.")
    text = f"{found.counts().capitalize()}, equal or neither in the rest; {found.test()}."
    return Finding(claim, found.verdict, text)


def _ranks(tables: Tables, stability: str, outcome: str) -> Estimate:
    return estimate(tables.rows("memory_ranks", stability=stability, outcome=outcome)["rho"].astype(float))


def _trade(tables: Tables) -> Finding:
    claim = "Memories that hold the state stiller steer less, seed by seed, beyond placebo."
    found = {name: _ranks(tables, name, "leverage_over_placebo") for name in ("drift", "displacement")}
    known = {name: value for name, value in found.items() if value.n}
    if not known:
        return Finding(claim, ABSENT, "It needs frozen-weight tests of three memories of one seed.")
    text = "; ".join(f"little {name} {interval(value, 2)}" for name, value in known.items())
    n = min(value.n for value in known.values())
    turned = other_way([(f"little {name}", value) for name, value in known.items()], -1)
    return Finding(
        claim,
        all_of([side(value, -1) for value in known.values()]),
        f"Spearman's ρ with that leverage, which the sentence needs below zero: {text}, n = {n}.{turned}",
    )


def _share_grid(tables: Tables) -> str:
    at, lines = during(tables), []
    for name in at.conditions:
        said = published.MEMORY.get(name)
        values = [at.value(name, column) for column in ("share", "share_calm", "gate_calm")]
        cells = [number(said[0], 2) if said else DASH, *(interval(value, 2, sign=False) for value in values)]
        lines.append(
            [f"`{name}`", *cells, percent(at.value(name, "at_bound").mean), str(len(at.of(name, "drift")))]
        )
    head = [
        "memory",
        "published share",
        f"share in {REGIME}",
        "share in calm",
        "gate in calm",
        "share at its bound",
        "n",
    ]
    return table(head, lines) if lines else MISSING


def _bound_sentence(tables: Tables) -> str:
    """How often the share is what the gate allows at most, and between what the mean gates lie; "" without memory."""
    at = during(tables)
    found = {name: value for name in at.conditions if np.isfinite(value := at.value(name, "at_bound").mean)}
    gates = [at.value(name, "gate_calm").mean for name in found]
    return (
        f"Here the share stood at its bound in {percent(min(found.values()))} to {percent(max(found.values()))} of the steps, and the "
        f"mean gates lie between {number(min(gates), 2)} and {number(max(gates), 2)}. "
        if found else ""
    )  # fmt: skip


def _stability_grid(tables: Tables) -> str:
    at, lines = during(tables), []
    for name in at.conditions:
        said = published.MEMORY.get(name)
        beyond = {column: at.minus(name, "none", column) for column in ("rate", "drift")}
        rest = {
            column: interval(value, 4 if column == "rate" else 5) if name != "none" else DASH
            for column, value in beyond.items()
        }
        lines.append([
            f"`{name}`", said[1] if said else DASH, interval(at.value(name, "force"), 5), interval(at.value(name, "force_memory"), 5),
            interval(at.value(name, "rate"), 4), rest["rate"], interval(at.value(name, "drift"), 5, sign=False), rest["drift"],
        ])  # fmt: skip
    head = ["memory", "published force", "force, L2 a step", "of it the memory's", "rate, a step", "rate − `none`",
            "drift, L2 a step", "drift − `none`"]  # fmt: skip
    return table(head, lines) if lines else MISSING


def _by_regime(tables: Tables, head: str, lines: Iterable[list[str]]) -> str:
    names = tables.by_condition("memory_measures", LOOKS).conditions
    return table([head, *(f"`{name}`" for name in names)], lines) if names else MISSING


def _regimes(tables: Tables) -> list[str]:
    return list(dict.fromkeys(tables.rows("memory_measures")["regime"]))


def _drift_grid(tables: Tables) -> str:
    lines = []
    for regime in _regimes(tables):
        at = during(tables, regime)
        for column, name in (("drift", f"`{regime}`"), ("drift_after", f"after `{regime}`")):
            lines.append(
                [name, *(number(at.value(one, column).mean, 5) for one in during(tables).conditions)]
            )
    return _by_regime(tables, "drift", lines)


def _recovery_grid(tables: Tables) -> str:
    names = tables.by_condition("memory_measures", LOOKS).conditions
    lines = [
        [
            f"`{regime}`",
            *(
                words.median(_steps(tables.rows("memory_measures", regime=regime, condition=name)), "longer")
                for name in names
            ),
        ]
        for regime in _regimes(tables)
    ]
    return _by_regime(tables, "steps to recover", lines)


def _leverage_grid(tables: Tables) -> str:
    at, lines = tables.by_condition("memory_tradeoff", LOOKS), []
    for name in at.conditions:
        said = published.MEMORY.get(name)
        measured = [
            interval(at.value(name, column), 3, sign=column == "leverage_over_placebo")
            for column in ("leverage", "placebo", "leverage_over_placebo")
        ]
        lines.append([
            f"`{name}`", said[2] if said else DASH, *measured, interval(at.minus(name, "ema", "leverage"), 3) if name != "ema" else DASH,
            interval(at.value(name, "displacement"), 2, sign=False), interval(at.value(name, "heldout_loss"), 3, sign=False),
        ])  # fmt: skip
    head = ["memory", "published leverage", "leverage, nats", "placebo, nats", "beyond placebo", "leverage − `ema`",
            f"displacement in {REGIME}", "held-out loss, nats"]  # fmt: skip
    return table(head, lines) if lines else MISSING


def _rank_sentence(tables: Tables) -> str:
    texts = [
        f"little {stability} and leverage{' beyond placebo' * (outcome != 'leverage')} {interval(value, 2)}"
        for stability in ("drift", "displacement")
        for outcome in ("leverage", "leverage_over_placebo")
        if (value := _ranks(tables, stability, outcome)).n
    ]
    return (
        f"Spearman's correlation over the memories of each seed, mean over seeds: {'; '.join(texts)}."
        if texts
        else ""
    )


GRIDS: dict[str, Grid] = {
    "share": _share_grid,
    "bound": _bound_sentence,
    "stability": _stability_grid,
    "drift": _drift_grid,
    "recovery": _recovery_grid,
    "leverage": _leverage_grid,
    "ranks": _rank_sentence,
    "features": pages.grid(
        "memory_feature_sensitivity",
        list(LOOKS),
        head="regime, memory",
        across="regime",
        relative_change=("change of the target, of its norm", "3"),
        gate=("gate", "4"),
        gate_without=("gate without them", "4"),
        gate_change=("|difference|", "5"),
    ),
}
EXPERIMENT = Experiment(
    "memory", "Memory: stability, restoring force and control leverage",
    (Table(memory_paths, names=("memory_measures", "memory_dynamics")), memory_tradeoff, memory_ranks, memory_feature_sensitivity),
    findings, FIGURES, GRIDS,
)  # fmt: skip
