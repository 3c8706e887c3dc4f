"""The numbers that the published documents print, each with the cells of ours that answer it and with its control.

docs/published/numbers.csv lists them in the order of the documents, with the reason where one has no row here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from experiments import clamp
from experiments.claims.file import Other, Query, Value
from experiments.kit import published
from experiments.kit.placebos import furthest
from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.tables import BASIC, NO_CLAMP, PUBLISHED, STATE, TIME, Tables
from experiments.kit.words import percent

TESTED: dict[str, Any] = {"condition": "analysis", "run_step": 1000, "protocol": "replication"}
NAMES = dict(zip(published.REPORTED, ("loss", "entropy", "drift", "effect", "top-1"), strict=True))
DIGITS = dict(zip(published.REPORTED, (3, 3, 4, 3, 4), strict=True))
RANKED = {
    "progress": ("absolute correlation with progress", 3),
    "loss": ("absolute correlation with loss", 3),
    "peak": ("largest change of logits", 4),
}
CONTROL = "a control itself"


@dataclass(frozen=True)
class Number:
    """A printed number: what it is, what they print, the cell of each seed of ours, what its control is, digits.

    to: the other end, where a range is printed. fold: what is taken of a seed's rows; as the query says where it is None.
    minus: subtracted from ours, where a difference is printed; what is left is then ours.
    net: what is left of ours by the control, where that is not the cell minus the control's. word: what stands in its place
    where nothing is taken off. beyond: the published number minus its control's, where both are printed. least: as in
    `judge.back`.
    """

    name: str
    said: float
    query: Query
    control: Other | None = None
    digits: int = 3
    signed: bool = True
    to: float | None = None
    fold: Callable[["pd.Series[float]"], float] | None = None
    minus: Other | None = None
    net: Callable[[Tables], Estimate] | None = None
    word: str | Callable[[Tables], str] = ""
    beyond: float | None = None
    least: float | None = None

    def near(self, mean: float) -> float:
        """The printed number; of a range the place next to a mean."""
        low, high = sorted((self.said, self.said if self.to is None else self.to))
        return min(max(mean, low), high)


def numbers() -> Iterator[Number]:
    """All of them, by what they are of."""
    for part in (_frozen, _changes, _patch, _named, _losses, _dimensions, _memory, _swaps):
        yield from part()


def _cell(suite: str, table: str, column: str, **where: Any) -> Query:
    return Query(suite=suite, table=table, column=column, where=where)


def _at(**where: Value) -> Other:
    return Other(where={**where})


def _frozen() -> Iterator[Number]:
    """Entropy changes of the published protocol, their signs and the effect size.

    What was selected stands against untrained readers, of which the same was selected; where only lengths up to the state's own
    were tried on those, at the largest of these. The run's own state, and shares of batches, stand against random directions.
    """
    for suite, printed in published.CORPORA.items():

        def ask(column: str, suite: str = suite, table: str = "frozen_conditions", **where: Any) -> Query:
            return _cell(suite, table, column, **TESTED, **where).model_copy(update={"take": "mean"})

        name, changed = f"frozen weights{printed.name}", partial(ask, "delta_entropy")
        random = changed(state="random")
        yield Number(f"{name}: random", printed.entropies["random"], random, word=CONTROL)
        yield Number(f"{name}: own", printed.entropies["own"], changed(state="own"), _at(state="random"))
        for state in ("confident", "uncertain"):
            further, oftener = (partial(of, suite, state) for of in (steered_beyond, steady_beyond))
            yield Number(f"{name}: {state}", printed.entropies[state], changed(state=state), net=further)
            yield Number(
                f"{name}: {state}, share of batches with its sign", printed.signs[state], ask("sign_consistency", state=state),
                signed=False, net=oftener,
            )  # fmt: skip
        yield Number(
            f"{name}: effect size", printed.size, ask("effect_size", table="frozen_effects", reader="learned"), _at(reader="untrained"),
            signed=False, least=published.MEANINGFUL_EFFECT,
        )  # fmt: skip
        for what, said, fold in (
            ("share of directions that lower it", printed.signs["random"], falling),
            ("SD of directions", printed.spread, spread),
        ):
            yield Number(f"{name}: random, {what}", said, random, signed=False, fold=fold, word=CONTROL)
        if printed.one is not None:
            first = changed(state="random", draw=0)
            yield Number(f"{name}: one random direction", printed.one, first, word=CONTROL)


def falling(changes: "pd.Series[float]") -> float:
    """The share of changes below zero."""
    return float((changes < 0).mean())


def spread(changes: "pd.Series[float]") -> float:
    """Their standard deviation, by n as published."""
    return float(changes.std(ddof=0))


def steered_beyond(suite: str, direction: str, tables: Tables) -> Estimate:
    """How much further a direction of the learned reader moves entropy than untrained readers' at the largest dose, nats."""
    of = tables.of(suite)
    where = {"condition": TESTED["condition"], "run_step": TESTED["run_step"], "direction": direction}
    untrained = of.rows("frozen_dose_placebos", **where, reader="untrained")
    return paired(furthest(of.rows("frozen_doses", **where)), furthest(untrained))


def steady_beyond(suite: str, direction: str, tables: Tables) -> Estimate:
    """In how many more of the batches than under a random direction the entropy moves as it should."""
    rows = tables.of(suite).rows("frozen_conditions", **TESTED)
    own, other = (per_seed(rows[rows["state"] == of], "sign_consistency") for of in (direction, "random"))
    return paired(own, 1 - other if direction == "uncertain" else other)  # of a random one: those that fall


def _changes() -> Iterator[Number]:
    """Regimes by metrics, during minus before: the essay's table, and with dropout those of the reports."""
    printed = [("shakespeare", "self", "five regimes", published.REGIME_DELTAS)]
    printed += [
        (suite, "regimes", f"with dropout{of.name}", of.deltas) for suite, of in published.CORPORA.items()
    ]
    for suite, condition, name, deltas in printed:
        for regime, metrics in deltas.items():
            for metric, said in metrics.items():
                cell = _cell(suite, "regime_deltas", "delta", condition=condition, regime=regime, metric=metric)  # fmt: skip
                paired_with = _at(condition="self_calm") if condition == "self" else None
                net = None if paired_with else partial(dropout_beyond, suite, regime, metric)
                if condition == "self" and regime == clamp.REGIME and metric in clamp.MEASURES:
                    net = partial(beyond_the_cut, metric)
                name_of = f"{name}: {regime}, {NAMES[metric]}"
                yield Number(name_of, said, cell, paired_with, DIGITS[metric], net=net)


def beyond_the_cut(metric: str, tables: Tables) -> Estimate:
    """What training under the clamp changes beyond what cutting off the states of a calm run does, by geometry alone."""
    return estimate(tables.of("shakespeare").seeds("clamp_geometry", "beyond", measure=metric))


def dropout_beyond(suite: str, regime: str, metric: str, tables: Tables) -> Estimate:
    """A change minus that of the same seed's `baseline`, in which no regime acts, at the same steps."""
    return estimate(tables.of(suite).seeds("dropout_deltas", "beyond", regime=regime, metric=metric))


def _beside(name: str, said: float, cell: Query, other: str, its: float) -> Number:
    """A number of two conditions that are both printed: other is the control, its the control's number."""
    if cell.where["condition"] == other:
        return Number(name, said, cell, digits=4, signed=False, word=CONTROL)
    return Number(name, said, cell, _at(condition=other), 4, signed=False, beyond=said - its)


def _patch() -> Iterator[Number]:
    for suite, printed in published.CORPORA.items():
        for (metric, condition), said in printed.patch.items():
            name = f"patch{printed.name}: {condition}, {NAMES[metric]} in [1200, 1400)"
            cell = _cell(suite, "patch", metric, condition=condition)
            yield _beside(name, said, cell, "baseline", printed.patch[metric, "baseline"])


def _named() -> Iterator[Number]:
    """Regimes told apart, in runs with and without a self-state, beside what progress alone tells."""
    for condition, of in (("self", published.CLASSIFICATION), ("vanilla", published.CLASSIFICATION_VANILLA)):
        for features, said in of.items():
            cell = _cell("shakespeare", "classification_seeds", "accuracy", condition=condition, protocol=PUBLISHED, features=features)  # fmt: skip
            yield Number(
                f"regimes named{' without a self-state' * (condition == 'vanilla')}, {features}", said,
                cell, _at(features=TIME), signed=False,
                net=named_beyond if features == STATE else None,
            )  # fmt: skip


def named_beyond(tables: Tables) -> Estimate:
    """How many more regimes the state's channels name in runs that were not learned from than loss, entropy and confidence do."""
    where = {"condition": "self_random", "protocol": NO_CLAMP}
    rows = tables.of("shakespeare").rows("classification_seeds", **where)
    return paired(*(per_seed(rows[rows["features"] == of], "accuracy") for of in (STATE, BASIC)))


def _losses() -> Iterator[Number]:
    own, other = "analysis", "analysis_vanilla"
    for suite, printed in published.CORPORA.items():
        ask, losses = partial(_cell, suite, "runs", "heldout_loss"), printed.losses
        for condition, said in losses.items():
            name = f"held-out loss, {condition}{printed.name}"
            yield _beside(name, said, ask(condition=condition), other, losses[other])
        name = f"held-out loss, without minus with a self-state{printed.name}"
        gain = losses[other] - losses[own]
        yield Number(name, gain, ask(condition=other), digits=4, minus=_at(condition=own))


def _dimensions() -> Iterator[Number]:
    """The five largest of the state's numbers, by rank: which of them comes first is another one in each seed."""
    for suite, printed in published.CORPORA.items():
        for of, sizes in printed.dimensions.items():
            what, digits = RANKED[of]
            for rank, said in enumerate(sizes, 1):
                name = f"dimensions{printed.name}: {what}, rank {rank}"
                cell = _cell(suite, "dimension_ranks", "size", of=of, path="learned", rank=rank)
                yield Number(name, said, cell, _at(path="untrained"), digits, signed=False)


def _memory() -> Iterator[Number]:
    """Shares of the update and gates; and changes, beyond those of a run without memory."""
    ask = partial(_cell, "memory", regime="bewilderment")
    for memory, (share, *_) in published.MEMORY.items():
        measure = partial(ask, "memory_measures", condition=memory)
        bound = partial(at_bound, memory)
        yield Number(f"{memory}: memory share", share, measure("share"), signed=False, word=bound)
        low, high = published.GATE
        yield Number(f"{memory}: gate", low, measure("gate"), signed=False, to=high, word="begins at 0.5")
    for memory, changes in published.MEMORY_CHANGES.items():
        for metric, (said, to) in zip(("state_ema_drift", "prompt_effect"), changes, strict=True):
            cell = ask("regime_deltas", "delta", condition=memory, metric=metric)
            end = to if to != said else None
            yield Number(
                f"{memory}: {NAMES[metric]}", said, cell, _at(condition="none"), DIGITS[metric], to=end
            )


def at_bound(memory: str, tables: Tables) -> str:
    """How often the gate alone decides the share: the memory's step is then as long as it may be, whatever is remembered."""
    bound = tables.of("memory").seeds("memory_measures", "at_bound", condition=memory, regime="bewilderment")
    return f"all that its gate allows in {percent(bound.mean())} of steps"


def _swaps() -> Iterator[Number]:
    """Both runs as they are printed, each beside the same of ours; beyond a random state of the same norm."""
    for suite, printed in published.CORPORA.items():
        for run, sizes in printed.swaps.items():
            for (column, condition), said in sizes.items():
                name = f"swap {run}{printed.name}: {condition}, {column} of the next 100 steps"
                cell = _cell("swap" if suite == "shakespeare" else suite, "swap_summary", column, condition=condition)  # fmt: skip
                control = _at(condition="random") if condition == "other" else None
                yield Number(name, said, cell, control, 4, signed=False, word="" if control else CONTROL)
