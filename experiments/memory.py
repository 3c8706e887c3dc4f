"""Memory: what the tables of experiments/memory_tables.py come to, beside what was published of it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any

import numpy as np
import pandas as pd

from experiments.kit import pages, published, words
from experiments.kit.experiment import Experiment, Table
from experiments.kit.stats import Estimate, estimate, per_seed
from experiments.kit.tables import ByCondition, Grid, Tables
from experiments.memory_figure import FIGURES, LOOKS, REGIME
from experiments.memory_tables import memory_feature_sensitivity, memory_paths, memory_ranks, memory_tradeoff

BUFFERS = ("buffer_64", "buffer_128")  # of the published study


def during(tables: Tables, regime: str = REGIME) -> ByCondition:
    """The measures taken while the state feels a regime."""
    return tables.by_condition("memory_measures", LOOKS, regime=regime)


def findings(tables: Tables) -> dict[str, words.Finding]:
    """What the page says."""
    at, trade = during(tables), tables.by_condition("memory_tradeoff", LOOKS)

    def beyond(rows: ByCondition, other: str, column: str) -> dict[str, Estimate]:
        return rows.twins(dict.fromkeys(BUFFERS, other), column)

    longer = {
        "64 past states minus exponential average": at.minus("buffer_64", "ema", "share"),
        "128 minus 64 past states": at.minus("buffer_128", "buffer_64", "share"),
    }

    def more(
        claim: str, negated: str, parts: dict[str, Estimate], sign: int, unit: str, digits: int, **how: Any
    ) -> words.Finding:
        return words.difference(claim, parts, sign, unit, digits, otherwise=negated, **how)

    return {
        "share": more(
            "The longer the memory, the larger its share of the update.",
            "The memory's share of the update does not clearly grow with its length.", longer, +1, "of the update", 3,
        ),
        "pull": more(
            "A disturbed state is pulled back harder with a memory of past states than without.",
            "A disturbed state is not clearly pulled back harder with a memory of past states than without.",
            beyond(at, "none", "rate"), +1, "of the distance a step", 4,
        ),
        "own": more(
            "The memory's own part of the update points back to where the state was.",
            "The memory's own part of the update does not clearly point back to where the state was.",
            at.values(BUFFERS, "force_memory"), +1, "L2 a step", 5, pairs=False,
        ),
        "drift": more(
            "While targets are corrupted, the state moves less a step with a memory of past states than without.",
            "While targets are corrupted, the state does not clearly move less a step with a memory of past states than without.",
            beyond(at, "none", "drift"), -1, "L2 a step", 5,
        ),
        "near": more(
            "A memory of past states keeps the state nearer to where it was, in relation to its length.",
            "A memory of past states does not clearly keep the state nearer to where it was, in relation to its length.",
            beyond(trade, "none", "displacement"), -1, "of its length", 3,
        ),
        "settles": more(
            "After the corruption a state with 64 past states in memory stays further from its average than one without memory.",
            "After the corruption a state with 64 past states in memory does not clearly stay further from its average than one without memory.",
            {"64 past states minus no memory, each minus its undisturbed twin": trade.minus("buffer_64", "none", "settled")},
            +1, "1 − cosine", 4,
            reverse="After the corruption a state with 64 past states in memory lies nearer to its average than one without memory.",
        ),
        "leverage": more(
            "A state with a memory of past states steers the model less than one with an exponential average.",
            "A state with a memory of past states does not clearly steer the model less than one with an exponential average.",
            beyond(trade, "ema", "leverage"), -1, "nats", 3,
        ),
        "beyond": more(
            "It steers less beyond what placebo readers reach, too.", "Beyond what placebo readers reach, it does not clearly steer less.",
            beyond(trade, "ema", "leverage_over_placebo"), -1, "nats", 3,
        ),
        "trade": _trade(tables),
    }  # fmt: skip


def _steps(rows: pd.DataFrame) -> "pd.Series[float]":
    """Steps to recover by seed, infinity where it did not; a held state that never left counts as 0."""
    if rows.empty:
        return pd.Series(dtype=float)
    recovered = rows["recovered"].astype(str).str.lower().isin(["true", "1", "1.0"])
    return pd.Series(np.where(recovered, rows["recovery"].astype(float), inf), index=rows["seed"].to_numpy())


def _ranks(tables: Tables, stability: str, outcome: str) -> Estimate:
    return estimate(tables.rows("memory_ranks", stability=stability, outcome=outcome)["rho"].astype(float))


def _trade(tables: Tables) -> words.Finding:
    parts = {name: _ranks(tables, name, "leverage_over_placebo") for name in ("drift", "displacement")}
    found = words.difference(
        "Memories that hold the state stiller steer less beyond placebo readers.", parts, -1, "", 2, pairs=False,
        otherwise="Memories that hold the state stiller do not clearly steer less beyond placebo readers.",
    )  # fmt: skip
    if found.verdict == words.ABSENT:
        return replace(found, evidence="It needs frozen-weight tests of three memories of one seed.")
    return replace(
        found, evidence=f"Rank correlation of stillness and leverage over a seed's memories: {found.evidence}"
    )


def _said(place: int) -> pages.Cell:
    """The cell with what the document says of a memory."""

    def cell(rows: pd.DataFrame, tables: Tables) -> str:
        said = published.MEMORY.get(rows["condition"].iloc[0], (words.DASH, words.DASH, words.DASH))[place]
        return said if isinstance(said, str) else words.number(said, 2)

    return cell


def _bound_sentence(tables: Tables) -> str:
    """How often the share is what the gate allows at most, and between what the mean gates lie; "" without memory."""
    at = during(tables)
    found = {name: value for name in at.conditions if np.isfinite(value := at.value(name, "at_bound").mean)}
    gates = [at.value(name, "gate_calm").mean for name in found]
    return (
        f"Here the share stood at its bound in {words.percent(min(found.values()))} to {words.percent(max(found.values()))} of the steps, and the "
        f"mean gates lie between {words.number(min(gates), 2)} and {words.number(max(gates), 2)}. "
        if found else ""
    )  # fmt: skip


def _by_regime(head: str, *lines: tuple[str, Callable[[Tables, str, str], str]]) -> Grid:
    """A table with a column a memory; of each regime the rows that begin with these words, and the cell of a memory."""

    def make(tables: Tables) -> str:
        names = tables.by_condition("memory_measures", LOOKS).conditions
        rows = [
            [said.format(regime), *(cell(tables, regime, name) for name in names)]
            for regime in dict.fromkeys(tables.rows("memory_measures")["regime"])
            for said, cell in lines
        ]
        return words.table([head, *(f"`{name}`" for name in names)], rows) if names else words.MISSING

    return make


def _mean(column: str) -> Callable[[Tables, str, str], str]:
    return lambda tables, regime, name: words.number(during(tables, regime).value(name, column).mean, 5)


def _recovery(tables: Tables, regime: str, name: str) -> str:
    rows = tables.rows("memory_measures", regime=regime, condition=name)
    return words.median(_steps(rows), "longer")


def _rank_sentence(tables: Tables) -> str:
    texts = [
        f"little {stability} and leverage{' beyond placebo readers' * (outcome != 'leverage')} {words.interval(value, 2)}"
        for stability in ("drift", "displacement")
        for outcome in ("leverage", "leverage_over_placebo")
        if (value := _ranks(tables, stability, outcome)).n
    ]
    return (
        f"Spearman's correlation over the memories of each seed, mean over seeds: {'; '.join(texts)}."
        if texts
        else ""
    )


MINUS_NONE = partial(pages.beyond, "none", "memory_measures", regime=REGIME)
IN_REGIME: dict[str, Any] = {"where": {"regime": REGIME}, "head": "memory", "n": False}
GRIDS: dict[str, Grid] = {
    "share": pages.grid(
        "memory_measures", list(LOOKS), **IN_REGIME, said=("published share", _said(0)),
        share=(f"share in {REGIME}", "2"), share_calm=("share in calm", "2"), gate_calm=("gate in calm", "2"),
        at_bound=("share at its bound", "%"), seeds=("n", lambda rows, tables: str(len(per_seed(rows, "drift")))),
    ),
    "bound": _bound_sentence,
    "stability": pages.grid(
        "memory_measures", list(LOOKS), **IN_REGIME, said=("published force", _said(1)),
        force=("force, L2 a step", "±5"), force_memory=("of it the memory's", "±5"),
        rate=("rate, a step", "±4"), faster=("rate − `none`", MINUS_NONE("rate", "±4")),
        drift=("drift, L2 a step", "5"), further=("drift − `none`", MINUS_NONE("drift", "±5")),
    ),
    "drift": _by_regime("drift", ("`{}`", _mean("drift")), ("after `{}`", _mean("drift_after"))),
    "recovery": _by_regime("steps to recover", ("`{}`", _recovery)),
    "leverage": pages.grid(
        "memory_tradeoff", list(LOOKS), head="memory", n=False, said=("published leverage", _said(2)),
        leverage=("leverage, nats", "3"), placebo=("placebo, nats", "3"), leverage_over_placebo=("beyond placebo", "±3"),
        more=("leverage − `ema`", pages.beyond("ema", "memory_tradeoff", "leverage", "±3")),
        displacement=(f"displacement in {REGIME}", "2"), heldout_loss=("held-out loss, nats", "3"),
    ),
    "ranks": _rank_sentence,
    "features": pages.grid(
        "memory_feature_sensitivity", list(LOOKS), head="regime, memory", across="regime",
        relative_change=("change of the target, of its norm", "3"), gate=("gate", "4"),
        gate_without=("gate without them", "4"), gate_change=("|difference|", "5"),
    ),
}  # fmt: skip
EXPERIMENT = Experiment(
    "memory", "Memory: stability, restoring force and control leverage",
    (Table(memory_paths, names=("memory_measures", "memory_dynamics")), memory_tradeoff, memory_ranks, memory_feature_sensitivity),
    findings, FIGURES, GRIDS,
)  # fmt: skip
