"""Runs of the recurring world that no training made, with gains and recoveries of known size."""

import itertools
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import perturb
from base.storage import ROOT
from configs.suite import load_suite
from experiments import recurring, shares, switches
from experiments.kit.pairs import LOOKS
from experiments.kit.runs import Context
from experiments.kit.tables import CALM
from tests.made_runs import (
    MadeRun,
    make_tables,
)

SUITE = load_suite(ROOT / "configs" / "recurring.toml")
Gains = dict[str, tuple[float, float]]
PAYS: Gains = {  # what is planted: gain on calm and on perturbed steps
    **{"calibrated_recurring": (0.1, 0.05), "oracle": (0.2, 0.1), "direct": (0.08, 0.04), "state_1d": (0.07, 0.03)},
    **{"learned_bias": (0.012, 0.01), "delayed_4": (0.08, 0.04), "delayed_16": (0.04, 0.02)},
    **{"calibrated_mix": (0.06, 0.03), "faint_oracle": (0.02, 0.02)},
}  # fmt: skip
SLOW = 12  # steps above the level after a switch, of what senses nothing
WAIT = {"calibrated_recurring": 3, "direct": 3, "delayed_4": 6, "oracle": 0}
STEEP = 0.4  # nats above it
ASKED = recurring.EXPERIMENT, switches.EXPERIMENT
IN_RECURRING = ("vanilla_recurring", *LOOKS, "delayed_64")


@cache
def regimes(condition: str, seed: int) -> np.ndarray:
    return np.array(perturb.regimes_by_step(SUITE.run(condition, seed)), dtype=object)


def since_switch(regime: np.ndarray) -> np.ndarray:
    """Steps since the present stretch began."""
    starts = np.concatenate([[True], regime[1:] != regime[:-1]])
    return np.arange(len(regime)) - np.maximum.accumulate(np.where(starts, np.arange(len(regime)), 0))


def stretches(regime: np.ndarray, first: int) -> tuple[list[int], list[int]]:
    """Lengths of the stretches that begin from step `first` on: of those with a regime, and of calm ones."""
    starts = [0, *(np.flatnonzero(regime[1:] != regime[:-1]) + 1), len(regime)]
    found = [
        (regime[start] == CALM, end - start)
        for start, end in itertools.pairwise(starts[1:])
        if start >= first
    ]
    return [length for calm, length in found if not calm], [length for calm, length in found if calm]


def logged(
    condition: str,
    seed: int,
    gain: tuple[float, float] = (0.0, 0.0),
    wait: int = 0,
    noise: float = 0.0,
    **more: Any,
) -> MadeRun:
    """A run of a known loss: a straight line, one nat more while a regime acts, the batch's luck (`noise`, the same in all
    conditions of a seed), STEEP more for `wait` steps after each switch, and what the condition gains less."""
    regime = more.get("regime", regimes(condition, seed))
    acts, step = regime != CALM, np.arange(len(regime))
    luck = noise * np.random.default_rng(seed).normal(size=len(regime))
    loss = 2.5 - 0.3 * step / len(regime) + acts + luck
    loss += STEEP * ((since_switch(regime) < wait) & (step >= wait)) - np.where(acts, gain[1], gain[0])
    evaluated = (step % 100 == 0) | (step == len(step) - 1)
    # on clean held-out text the state helps at calm moments and hurts by half as much while a regime acts
    heldout = np.where(evaluated, 2.0 - np.where(acts, -gain[0] / 2, gain[0]), np.nan)
    ece = np.where(evaluated, 0.05 - gain[0] / 10, np.nan)
    log = pd.DataFrame(
        {"step": step, "regime": regime, "loss": loss, "heldout_loss": heldout, "heldout_ece": ece}
    )
    return MadeRun("recurring", condition, seed, Path(), SUITE.run(condition, seed), log=log)


def tables_of(*runs: MadeRun) -> dict[str, pd.DataFrame]:
    """The four tables of some runs."""
    return make_tables([table for one in ASKED for table in one.of("recurring")], Context(SUITE, runs))


def study(
    conditions: tuple[str, ...] = tuple(SUITE.conditions),
    seeds: int = 5,
    gains: Gains = PAYS,
    spread: float = 0.002,
    noise: float = 0.03,
    waits: Mapping[str, int] = WAIT,
) -> dict[str, pd.DataFrame]:
    """The tables of a whole made-up study; `spread`: how far a seed's gain lies from the planted one."""
    runs = []
    for name in conditions:
        own = 0.0 if "vanilla" in name else spread
        for seed in range(1, seeds + 1):
            random = np.random.default_rng([seed, *name.encode()])
            one, other = np.array(gains.get(name, (0.0, 0.0))) + own * random.normal(size=2)
            wait = waits.get(name, SLOW)
            runs.append(logged(name, seed, (one, other), wait, noise))
    return tables_of(*runs)


@cache
def whole() -> dict[str, pd.DataFrame]:
    return study()


def summed(rows: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables that have rows of single runs, and what they come to."""
    losses, recovery = rows["recurring_losses"], rows["recurring_recovery"]
    return {**rows, "recurring_summary": shares.recurring_summary(Context(SUITE, ()), losses, recovery)}


def smaller(seeds: int, *conditions: str) -> dict[str, pd.DataFrame]:
    """What a study of fewer seeds, and of these conditions or of all, has in place of the whole one."""
    kept = {
        name: table[(table["seed"] <= seeds) & (table["condition"].isin(conditions) | (not conditions))]
        for name, table in whole().items()
        if "seed" in table
    }
    return summed(kept)


@cache
def beside_controls() -> dict[str, pd.DataFrame]:
    """What is planted, in the recurring world alone, every condition there as slow as the others."""
    return study(IN_RECURRING, waits={}, seeds=3, spread=0.001)


def changed(gains: Gains, waits: Mapping[str, int]) -> dict[str, pd.DataFrame]:
    """`beside_controls` with other gains or waits of some conditions."""
    names = [name for name in IN_RECURRING if gains.get(name) != PAYS.get(name) or name in waits]
    new = study(("vanilla_recurring", *names), gains=gains, waits=waits, seeds=3, spread=0.001)
    kept = {
        name: pd.concat([table[~table["condition"].isin(names)], new[name].query("condition in @names")])
        for name, table in beside_controls().items()
        if "seed" in table
    }
    return summed(kept)


def of(table: pd.DataFrame, **where: Any) -> Any:
    """The one row with these values."""
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1, where
    return table.iloc[0]
