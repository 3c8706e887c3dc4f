"""Tables of what a memory of past states does: its share of each update, where it pulls, and what that costs.

Two cautions are built in. The pull of a whole update towards where the state was is, summed over a regime, little else than
the distance lost or gained, and the leak of the update makes one without any memory: so the memory's own part of the pull is
told apart, and `none` stands beside. And the memory's step is no longer than `limit` times the network's, so its share is at
most `limit * gate / (limit * gate + 1 - gate)`: how often it stands at that bound, where the gate alone decides the share, is
a column.
"""

import numpy as np
import pandas as pd

from configs.state import STATS
from experiments.kit.followed import LOGGED, Followed, around, follow_all, restoring
from experiments.kit.replay import open_listening
from experiments.kit.runs import Context
from experiments.kit.stats import first_on_end, mean_of_known, rank_correlation
from experiments.kit.tables import CALM, RUN, stack, windows_of
from experiments.memory_figure import REGIME

BIN = 5  # steps in a bin around the onset
AFTER = 100  # steps after a regime in memory_dynamics
SUSTAINED = 5  # steps that the state must stay near its baseline to have recovered
NEAR = 0.95  # quantile of the distances before a regime that still counts as near


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


def settled(regime_deltas: pd.DataFrame) -> pd.DataFrame:
    """suite, condition, seed, settled: state_ema_drift after bewilderment minus before it, beyond that of NAME_calm at those steps.

    Its undisturbed twin tells what the training alone does to the state's distance from its average. Conditions without one: NaN.
    """
    rows = regime_deltas[(regime_deltas["regime"] == REGIME) & (regime_deltas["metric"] == "state_ema_drift")]
    by_run = rows.set_index(list(RUN))["delta_after"]
    calm = by_run.rename(index=lambda name: str(name).removesuffix("_calm"), level="condition")
    calm = calm[rows["condition"].str.endswith("_calm").to_numpy()]
    return (by_run - calm).rename("settled").reset_index()


def memory_tradeoff(
    context: Context,
    memory_measures: pd.DataFrame,
    frozen_effects_summary: pd.DataFrame,
    runs: pd.DataFrame,
    regime_deltas: pd.DataFrame,
) -> pd.DataFrame:
    """One row a condition and seed: what bewilderment does to the state beside what the state does to the predictions.

    displacement: mean distance from the baseline in bewilderment over the state's norm before it, without unit. settled: see
    there. leverage, placebo, leverage_over_placebo: see `leverage`. The other columns are those of memory_measures and runs.
    """
    rows = memory_measures[memory_measures["regime"] == REGIME].copy()
    rows["displacement"] = rows["distance"] / rows["norm_before"]
    taken = [*RUN, "share", "share_calm", "force", "force_memory", "rate", "drift", "displacement"]
    rows = (
        rows[taken].merge(settled(regime_deltas), on=list(RUN), how="left")
        if len(regime_deltas)
        else rows[taken].assign(settled=np.nan)
    )
    tested = leverage(frozen_effects_summary)
    rows = rows.merge(tested, on=list(RUN), how="left") if len(tested) else rows.assign(
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
