"""Every number that the published documents print, beside ours: in no family of claims, so that none is left out.

Two answers a number. Does it come back (judge.back)? Does it survive: does it lie on the published side, by its whole interval,
once its control is taken off?
"""

import pandas as pd

from experiments.claims.file import Other, Query
from experiments.claims.judge import TURNED, UNDECIDED, YES, back, rows_of, values
from experiments.claims.numbers import TESTED, Number, numbers
from experiments.kit import published
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.pages import shown
from experiments.kit.placebos import PLACEBOS
from experiments.kit.stats import Estimate, estimate, paired
from experiments.kit.tables import STATE, Tables
from experiments.kit.words import DASH, listed, number, percent, signed, table

HEAD = (
    "the document's number",
    "published",
    "ours",
    "comes back?",
    "beyond its control",
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
    "buffer_64: memory share": "A memory of 64 states takes a third of the update in corrupted steps",
}
"""What the essay says, for README, by the number that it prints for it."""
UNSEEN = "not clearly"


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
            ends = [one.said] if one.to is None else [one.said, one.to]
            said = " to ".join((signed if one.signed else number)(end, one.digits) for end in ends)
            word = one.word if isinstance(one.word, str) else one.word(tables)
            off = shown(net, f"±{one.digits}") if net.n else word or DASH
            lines.append(
                [
                    one.name,
                    said,
                    shown(ours, kind),
                    back(one.near(ours.mean), ours, least=one.least),
                    off,
                    survives(one.said if one.beyond is None else one.beyond, net),
                    str(ours.n),
                ]
            )
    return lines


def measured(tables: Tables, one: Number) -> tuple[Estimate, Estimate]:
    """Ours, and what is left of it without its control; without seeds where it was not measured."""
    nothing = estimate(pd.Series(dtype=float))
    if tables.of(one.query.suite).rows(one.query.table).empty:
        return nothing, nothing

    def look(query: Query) -> "pd.Series[float]":
        if one.fold is None:
            return values(tables, one.name, query)
        return rows_of(tables, one.name, query).groupby("seed")["value"].agg(one.fold)

    def other(of: Other) -> "pd.Series[float]":
        return look(one.query.model_copy(update={"where": {**one.query.where, **of.where}}))

    ours = look(one.query)
    if one.minus is not None:
        ours = (ours - other(one.minus)).dropna()
        return estimate(ours), estimate(ours)
    if one.net is not None:
        return estimate(ours), one.net(tables)
    return estimate(ours), nothing if one.control is None else paired(ours, other(one.control))


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
