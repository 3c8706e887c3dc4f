"""Every number that the published documents print, beside ours: in no family of claims, so that none is left out.

Two answers a number. Does it come back (judge.back)? Does it survive: does it lie on the published side, by its whole interval,
once its control is taken off?
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pandas as pd

from experiments.claims.file import Other, Query, Where
from experiments.claims.judge import TURNED, UNDECIDED, YES, back, values
from experiments.kit import published
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.pages import shown
from experiments.kit.placebos import PLACEBOS, furthest
from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.tables import BASIC, NO_CLAMP, PUBLISHED, STATE, TIME, Tables
from experiments.kit.words import DASH, listed, number, percent, signed, table

HEAD = (
    "the document's number",
    "published",
    "ours",
    "comes back?",
    "its control taken off",
    "survives?",
    "n",
)
TEN = {
    "frozen weights: effect size": "Learned directions steer the frozen model: entropy moves by 0.35 nats",
    "frozen weights: confident": "the *confident* direction lowers entropy",
    "frozen weights: uncertain": "the *uncertain* direction raises it",
    "five regimes: bewilderment, loss": "Corrupted targets raise the loss",
    "five regimes: bewilderment, drift": "... and move the state away from its average",
    "five regimes: self_clamp, drift": "A clamped state drifts from its average",
    "five regimes: self_clamp, effect": "... and loses its effect on the output",
    "five regimes: lr_heatwave, drift": "A doubled learning rate moves the state",
    f"regimes named, {STATE}": "With the state's channels, regimes are named perfectly",
    "buffer_64: memory share": "A memory of 64 states takes a third of the update",
}
"""What the essay says, for README, by the number that it prints for it."""
UNSEEN = "not clearly"
TESTED: Where = {"condition": "analysis", "run_step": 1000, "protocol": "replication"}
NAMES = dict(zip(published.MEASURES, ("loss", "entropy", "drift", "effect"), strict=True))


@dataclass(frozen=True)
class Number:
    """A printed number: what it is, what they print, the cell of each seed of ours, what its control is, digits.

    net: what is left of ours by the control, where that is not the cell minus the control's. beyond: the published number minus
    its control's, where both are printed. least: as in `judge.back`.
    """

    name: str
    said: float
    query: Query
    control: Other | None = None
    digits: int = 3
    signed: bool = True
    net: Callable[[Tables], Estimate] | None = None
    beyond: float | None = None
    least: float | None = None


def numbers() -> Iterator[Number]:
    """All of them, in the order of the documents."""
    yield from _frozen("shakespeare", "frozen weights", published.FROZEN_DELTA_ENTROPY, published.EFFECT_SIZE)
    yield from _frozen(
        "generalization",
        "frozen weights, OpenWebText",
        published.OWT_DELTA_ENTROPY,
        published.OWT_EFFECT_SIZE,
    )
    yield from _regimes(
        "shakespeare",
        "self",
        "five regimes",
        published.REGIME_DELTAS,
        Other(where={"condition": "self_calm"}),
    )
    yield from _regimes("shakespeare", "regimes", "with dropout", published.REGIME_DELTAS_DROPOUT, None)
    yield from _regimes("generalization", "regimes", "OpenWebText", published.REGIME_DELTAS_OWT, None)
    for suite, name, sizes in (
        ("shakespeare", "patch", published.PATCH),
        ("generalization", "patch, OpenWebText", published.PATCH_OWT),
    ):
        for (metric, condition), said in sizes.items():
            query = Query(suite=suite, table="patch", column=metric, where={"condition": condition})
            control = Other(where={"condition": "baseline"}) if condition == "patch" else None
            yield Number(
                f"{name}: {condition}, {NAMES[metric]} in [1200, 1400)", said, query, control, 4, signed=False,
                beyond=said - sizes[metric, "baseline"] if control else None,
            )  # fmt: skip
    for features, said in published.CLASSIFICATION.items():
        query = Query(
            suite="shakespeare", table="classification_seeds", column="accuracy",
            where={"condition": "self", "protocol": PUBLISHED, "features": features},
        )  # fmt: skip
        yield Number(
            f"regimes named, {features}", said, query, Other(where={"features": TIME}), signed=False,
            net=named_beyond if features == STATE else None,
        )  # fmt: skip
    for suite, losses in (("shakespeare", published.LOSSES), ("generalization", published.LOSSES_OWT)):
        for condition, said in losses.items():
            query = Query(suite=suite, table="runs", column="heldout_loss", where={"condition": condition})
            other = Other(where={"condition": "analysis_vanilla"}) if condition == "analysis" else None
            yield Number(
                f"held-out loss, {condition}{', OpenWebText' * (suite != 'shakespeare')}", said, query, other, signed=False,
                beyond=said - losses["analysis_vanilla"] if other else None,
            )  # fmt: skip
    for memory, measures in published.MEMORY_NUMBERS.items():
        for (table_name, column, metric), said in measures.items():
            where: Where = {"condition": memory, "regime": "bewilderment"}
            if metric:
                where["metric"] = metric
            query = Query(suite="memory", table=table_name, column=column, where=where)
            none = Other(where={"condition": "none"}) if metric else None
            yield Number(
                f"{memory}: {NAMES.get(metric, 'memory share')}", said, query, none, 4, signed=bool(metric)
            )
    for (column, condition), said in published.SWAP.items():
        query = Query(suite="swap", table="swap_summary", column=column, where={"condition": condition})
        random = Other(where={"condition": "random"}) if condition == "other" else None
        yield Number(f"swap: {condition}, {column} of the next 100 steps", said, query, random, signed=False)


def _frozen(suite: str, name: str, changes: dict[str, float], size: float) -> Iterator[Number]:
    """Entropy changes of the published protocol and the effect size.

    What was selected stands against untrained readers, of which the same was selected; where only lengths up to the state's own
    were tried on those, at the largest of these. The run's own state stands against random directions.
    """
    for state, said in changes.items():
        where: Where = {**TESTED, "state": state}
        query = Query(
            suite=suite, table="frozen_conditions", column="delta_entropy", take="mean", where=where
        )
        yield Number(
            f"{name}: {state}", said, query, Other(where={"state": "random"}) if state == "own" else None,
            net=partial(steered_beyond, suite, state) if state in ("confident", "uncertain") else None,
        )  # fmt: skip
    query = Query(
        suite=suite,
        table="frozen_effects",
        column="effect_size",
        take="mean",
        where={**TESTED, "reader": "learned"},
    )
    yield Number(
        f"{name}: effect size", size, query, Other(where={"reader": "untrained"}), signed=False, least=published.MEANINGFUL_EFFECT
    )  # fmt: skip


def steered_beyond(suite: str, direction: str, tables: Tables) -> Estimate:
    """How much further a direction of the learned reader moves entropy than untrained readers' at the largest dose, nats."""
    of = tables.of(suite)
    where = {"condition": TESTED["condition"], "run_step": TESTED["run_step"], "direction": direction}
    untrained = of.rows("frozen_dose_placebos", **where, reader="untrained")
    return paired(furthest(of.rows("frozen_doses", **where)), furthest(untrained))


def named_beyond(tables: Tables) -> Estimate:
    """How many more regimes the state's channels name in runs that were not learned from than loss, entropy and confidence do."""
    where = {"condition": "self_random", "protocol": NO_CLAMP}
    rows = tables.of("shakespeare").rows("classification_seeds", **where)
    return paired(*(per_seed(rows[rows["features"] == of], "accuracy") for of in (STATE, BASIC)))


def _regimes(
    suite: str, condition: str, name: str, deltas: dict[str, dict[str, float]], control: Other | None
) -> Iterator[Number]:
    """Five regimes by four metrics: during minus before."""
    for regime, metrics in deltas.items():
        for metric, said in metrics.items():
            where: Where = {"condition": condition, "regime": regime, "metric": metric}
            query = Query(suite=suite, table="regime_deltas", column="delta", where=where)
            yield Number(
                f"{name}: {regime}, {NAMES[metric]}", said, query, control, 4 if "drift" in metric else 3
            )


def ten(tables: Tables) -> str:
    """The rows of TEN, with the essay's words for each; "" where none was measured."""
    lines = {line[0]: line[1:] for line in rows(tables)}
    told = [[words, *lines[name]] for name, words in TEN.items() if name in lines]
    return table(("the essay said", *HEAD[1:]), told) if told else ""


def document(tables: Tables) -> str:
    """A row a number."""
    return table(HEAD, rows(tables))


def rows(tables: Tables) -> list[list[str]]:
    """The cells of each number that was measured here, as HEAD has them."""
    lines = []
    for one in numbers():
        ours, net = measured(tables, one)
        if ours.n:
            kind = f"{'±' * one.signed}{one.digits}"
            said = signed(one.said, one.digits) if one.signed else number(one.said, one.digits)
            off = shown(net, f"±{one.digits}") if net.n else DASH
            lines.append(
                [
                    one.name,
                    said,
                    shown(ours, kind),
                    back(one.said, ours, least=one.least),
                    off,
                    survives(one.said if one.beyond is None else one.beyond, net),
                    str(ours.n),
                ]
            )
    return lines


def measured(tables: Tables, one: Number) -> tuple[Estimate, Estimate]:
    """Ours, and ours minus its control's by seed; without seeds where it was not measured."""
    look = partial(values, tables, one.name)
    nothing = estimate(pd.Series(dtype=float))
    if tables.of(one.query.suite).rows(one.query.table).empty:
        return nothing, nothing
    ours = look(one.query)
    if one.net is not None:
        return estimate(ours), one.net(tables)
    if one.control is None:
        return estimate(ours), nothing
    where = {**one.query.where, **one.control.where}
    return estimate(ours), paired(ours, look(one.query.model_copy(update={"where": where})))


def survives(said: float, net: Estimate) -> str:
    """Whether what is left without the control lies on the published side by its whole interval.

    said: the published number, or what it is beyond its own control.
    """
    if net.n < FEWEST_SEEDS:
        return UNDECIDED if net.n else DASH
    if not net.clear:
        return UNSEEN
    return YES if (net.mean > 0) == (said > 0) else TURNED


def above(tables: Tables) -> dict[str, str]:
    """How many learned readers, and placebos, lie above the document's threshold; nothing where no placebo was tested."""
    effects = tables.of("shakespeare").rows("frozen_effects", finder="dimension", **TESTED)
    over = effects["effect_size"] > published.MEANINGFUL_EFFECT
    shares = over.groupby(effects["reader"]).mean().reindex(["rotated", "untrained"]).dropna()
    if shares.empty:
        return {}
    placebos = listed(
        [f"{percent(share)} of the {PLACEBOS[str(reader)]} readers" for reader, share in shares.items()]
    )
    learned = over[effects["reader"] == "learned"]
    return {"learned": f"{learned.sum()} of {len(learned)}", "placebos": placebos}
