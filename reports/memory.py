"""The page on memory: its share of the updates, stability, recovery, leverage, and the ambiguous window."""

from math import inf

import numpy as np
import pandas as pd

from experiments.kit import published, words
from experiments.kit.pages import smaller
from experiments.kit.stats import Estimate
from experiments.kit.tables import RUN, ByCondition
from experiments.kit.words import (
    ABSENT,
    MISSING,
    Finding,
    difference,
    interval,
    listed,
    number,
    percent,
    table,
)
from plots.memory import LOOKS, REGIME
from reports.ambiguous import COLUMNS as OF_AMBIGUOUS
from reports.ambiguous import ambiguous
from reports.leverage import BUFFERS, leverage
from reports.parts import Section, Tables

TITLE = "Memory: stability, restoring force and control leverage"
FILE = "memory.md"
SUITE = "memory"
COLUMNS: dict[str, tuple[str, ...]] = {
    "memory_measures": (
        *(*RUN, "regime", "share", "share_calm", "gate", "gate_calm", "at_bound", "norm_before", "distance"),
        *("force", "force_memory", "rate", "drift_before", "drift", "drift_after"),
        *("recovery", "recovered", "watched"),
    ),
    "memory_tradeoff": (
        *(*RUN, "drift", "displacement", "leverage", "placebo", "leverage_over_placebo", "heldout_loss"),
    ),
    "memory_ranks": ("suite", "seed", "stability", "outcome", "conditions", "rho"),
    **OF_AMBIGUOUS,
}


def sections(tables: Tables, figures: str) -> list[Section]:
    """The page's sections. `figures` is the folder of figures as seen from the page."""
    return [
        share(tables, figures),
        stability(tables),
        recovery(tables),
        leverage(tables, figures),
        ambiguous(tables.of("ambiguous"), figures),
    ]


def share(tables: Tables, figures: str) -> Section:
    """The memory's share of the updates, the gate, and how far the gate alone decides it."""
    measured = during(tables)
    rows = []
    for name in measured.conditions:
        expected = published.MEMORY.get(name)
        cells = [(column, measured.value(name, column)) for column in ("share", "share_calm", "gate_calm")]
        rows.append(
            [
                f"`{name}`",
                number(expected[0], 2) if expected else "–",
                *(interval(value, 2, sign=False) for _, value in cells),
                percent(measured.value(name, "at_bound").mean),
                str(len(measured.of(name, "drift"))),
            ]
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
    body = [table(head, rows) if rows else MISSING]
    if rows:
        details = [f"[{name}]({figures}/memory/{name}_{REGIME}.png)" for name in measured.conditions]
        body += [
            "Share: norm of the memory's part of the proposal over the sum of both parts' norms. *At its bound*: the part "
            "of the steps at which the memory's step is as long as its limit allows, so that the share is the gate, or "
            "follows from it, and says nothing of what is remembered. Where no number stands, there is no memory.",
            f"The updates through {REGIME}, seed by seed: {listed(details)}.",
        ]
    ordered = [
        ("`buffer_64` − `ema`", "buffer_64", "ema"),
        ("`buffer_128` − `buffer_64`", "buffer_128", "buffer_64"),
    ]
    parts = [(text, measured.minus(one, other, "share")) for text, one, other in ordered]
    return Section(
        "How much of the update is memory?",
        "The memory's share of each update: published 0.10 (EMA), 0.34 (buffer of 64) and 0.43 (of 128)."
        f"{smaller(tables)}",
        body,
        _bound_sentence(measured),
        [difference("A longer memory takes a larger share of the update.", parts, +1, "", 3)],
    )


def _bound_sentence(measured: ByCondition) -> str:
    text = (
        "A share is partly set by construction: the memory's step is cut to the length of the network's, so the share "
        "is at most the gate, whose network starts near one half. "
    )
    found = {name: measured.value(name, "at_bound").mean for name in measured.conditions}
    found = {name: value for name, value in found.items() if np.isfinite(value)}
    if found:
        gates = [measured.value(name, "gate_calm").mean for name in found]
        text += (
            f"Here the share stood at its bound in {percent(min(found.values()))} to {percent(max(found.values()))} of the steps, and the "
            f"mean gates lie between {number(min(gates), 2)} and {number(max(gates), 2)}. "
        )
    text += (
        "Where the state hardly moves over many steps, the update's two parts cancel: then their norms are equal, and "
        "the share is one half whatever is remembered. Shares near 0.50 can be that arithmetic, and then a longer memory can't pass them. "
    )
    return text + (
        "Buffers of one stride are one memory until the shorter is full: 64 states at stride 10 after 640 steps, 128 "
        "after 1280. What they differ by can only come from later steps."
    )


def stability(tables: Tables) -> Section:
    """Restoring force, the memory's part of it, drift and displacement, beside no memory."""
    measured = during(tables)
    rows = []
    for name in measured.conditions:
        expected = published.MEMORY.get(name)
        rows.append(
            [
                f"`{name}`",
                expected[1] if expected else "–",
                interval(measured.value(name, "force"), 5),
                interval(measured.value(name, "force_memory"), 5),
                interval(measured.value(name, "rate"), 4),
                interval(measured.minus(name, "none", "rate"), 4) if name != "none" else "–",
                interval(measured.value(name, "drift"), 5, sign=False),
                interval(measured.minus(name, "none", "drift"), 5) if name != "none" else "–",
            ]
        )
    head = ["memory", "published force", "force, L2 a step", "of it the memory's", "rate, a step", "rate − `none`",
            "drift, L2 a step", "drift − `none`"]  # fmt: skip
    body = [table(head, rows) if rows else MISSING]
    if rows:
        body += [
            f"All in {REGIME}. Force: minus the part of the update that points away from the mean state of the 50 steps "
            "before; below zero the state is still leaving. Rate: the force over the distance, by least squares, which "
            "does not grow with the scale of the state. The memory's part follows from the states and its logged norm.",
            "Drift in each regime and after it, L2 a step, mean over seeds:",
            _drift_table(tables, measured.conditions),
        ]
    rates = [(f"rate, `{name}` − `none`", measured.minus(name, "none", "rate")) for name in BUFFERS]
    drifts = [(f"`{name}` − `none`", measured.minus(name, "none", "drift")) for name in BUFFERS]
    own = [(f"`{name}`", measured.value(name, "force_memory")) for name in BUFFERS]
    away = _displacements(tables)
    return Section(
        "Does memory hold the state in place?",
        "Published: restoring force weak with an EMA, strong with a buffer of 64, very strong with one of 128, without numbers. "
        "`none` is the control: its update leaks too, so part of any force is no memory.",
        body,
        "Over a whole regime the force of the full update is little else than minus the distance gained, divided by the steps: it "
        "says that the state moved, not what held it. The memory's own part says which way the memory pulled, and the network can "
        "undo it, as it was trained with it. Lower drift can also be a smaller state: displacement, over the state's norm, is "
        "free of that.",
        [
            difference("Buffers pull the disturbed state back harder than no memory does.", rates, +1, " a step", 4),
            difference("The memory's own part of the update points back.", own, +1, " L2 a step", 5, pairs=False),
            difference(f"With a buffer the state drifts less in {REGIME} than without memory.", drifts, -1, " L2 a step", 5),
            difference("A buffer keeps the state nearer to where it was, relative to its norm.", away, -1, "", 3),
        ],
    )  # fmt: skip


def during(tables: Tables, regime: str = REGIME) -> ByCondition:
    """The measures taken while the state feels a regime."""
    return ByCondition(tables.rows("memory_measures", regime=regime), LOOKS)


def _displacements(tables: Tables) -> list[tuple[str, Estimate]]:
    rows = ByCondition(tables.rows("memory_tradeoff"))
    return [(f"`{name}` − `none`", rows.minus(name, "none", "displacement")) for name in BUFFERS]


def _drift_table(tables: Tables, conditions: list[str]) -> str:
    rows = []
    for regime in dict.fromkeys(tables.rows("memory_measures")["regime"]):
        measured = during(tables, regime)
        for column, name in (("drift", f"`{regime}`"), ("drift_after", f"after `{regime}`")):
            rows.append([name, *(number(measured.value(one, column).mean, 5) for one in conditions)])
    return table(["drift", *(f"`{name}`" for name in conditions)], rows)


def recovery(tables: Tables) -> Section:
    """Steps until the state is back, those that never were counted as longer than any."""
    everything = tables.rows("memory_measures")
    conditions = ByCondition(everything, LOOKS).conditions
    rows = []
    for regime in dict.fromkeys(everything["regime"]):
        cells = [
            words.median(_steps(tables.rows("memory_measures", regime=regime, condition=name)), "longer")
            for name in conditions
        ]
        rows.append([f"`{regime}`", *cells])
    body = [MISSING]
    if rows:
        body = [
            table(["steps to recover", *(f"`{name}`" for name in conditions)], rows),
            "Median over seeds of the steps after a regime until the state is as near to its mean of the 50 steps before as 95 % of "
            "those were, for 5 steps on end. In brackets how many seeds got there before the next regime or the end; one that did "
            "not counts as longer than any. *longer*: more than half did not.",
        ]
    return Section(
        "Is a state with memory slower to adapt?",
        f'Published, without numbers: "{published.ANSWERS["memory"]}". Steps to recover after each regime.',
        body,
        "States move with the training's progress, which they sense: one that never comes back may have gone on, not stayed "
        "disturbed. The windows of a seed are the same in all conditions, so the comparison is fair where both were watched "
        "equally long. A state that was moved less has less way back, and a calmer one a narrower target.",
        [_slower(tables, name) for name in BUFFERS],
    )


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
