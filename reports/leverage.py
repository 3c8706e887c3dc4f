"""The section on what stability costs: leverage of each memory, beyond placebo too, beside how still its state is held."""

from experiments.kit import published
from experiments.kit.pages import smaller
from experiments.kit.stats import Estimate, estimate
from experiments.kit.tables import ByCondition
from experiments.kit.words import (
    ABSENT,
    MISSING,
    Finding,
    all_of,
    difference,
    interval,
    other_way,
    side,
    table,
)
from plots.memory import LOOKS, REGIME
from reports.parts import Section, Tables

BUFFERS = ("buffer_64", "buffer_128")  # of the published study


def leverage(tables: Tables, figures: str) -> Section:
    """The frozen-weight effect of each memory, beyond placebo too, and its rank correlation with stability."""
    rows_of = ByCondition(tables.rows("memory_tradeoff"), LOOKS)
    rows = []
    for name in rows_of.conditions:
        expected = published.MEMORY.get(name)
        rows.append(
            [
                f"`{name}`",
                expected[2] if expected else "–",
                *(
                    interval(rows_of.value(name, column), 3, sign=column == "leverage_over_placebo")
                    for column in ("leverage", "placebo", "leverage_over_placebo")
                ),
                interval(rows_of.minus(name, "ema", "leverage"), 3) if name != "ema" else "–",
                interval(rows_of.value(name, "displacement"), 2, sign=False),
                interval(rows_of.value(name, "heldout_loss"), 3, sign=False),
            ]
        )
    head = ["memory", "published leverage", "leverage, nats", "placebo, nats", "beyond placebo", "leverage − `ema`",
            f"displacement in {REGIME}", "held-out loss, nats"]  # fmt: skip
    body = [table(head, rows) if rows else MISSING]
    if rows:
        body += [
            "Leverage: held-out effect of the frozen-weight test, dimension finder, weights of the last step. Placebo: the larger mean "
            "effect of those selected in the same way from a rotated or an untrained reader; few draws each.",
            *_rank_lines(tables),
            f"![Stability against leverage]({figures}/memory/tradeoff.png)",
        ]
    pairs = {column: [(f"`{name}` − `ema`", rows_of.minus(name, "ema", column)) for name in BUFFERS]
             for column in ("leverage", "leverage_over_placebo")}  # fmt: skip
    return Section(
        "Does stability cost control leverage?",
        "Published: leverage higher with an EMA, lower with a buffer of 64, lowest with one of 128, without numbers: \"the "
        f"tradeoff\".{smaller(tables)}",
        body,
        "A leverage that a placebo reaches as well belongs to selecting directions, not to what the state has learned. Memories "
        "differ by more than stability, so a correlation over seven of them is a description, not a cause.",
        [
            difference("Buffers have less leverage than an EMA.", pairs["leverage"], -1, " nats", 3),
            difference("Buffers have less leverage than an EMA beyond what placebos reach.",
                        pairs["leverage_over_placebo"], -1, " nats", 3),
            _trade(tables),
        ],
    )  # fmt: skip


def _ranks(tables: Tables, stability: str, outcome: str) -> Estimate:
    rows = tables.rows("memory_ranks", stability=stability, outcome=outcome)
    return estimate(rows["rho"].astype(float))


def _rank_lines(tables: Tables) -> list[str]:
    texts = []
    for stability, said in (("drift", "little drift"), ("displacement", "little displacement")):
        for outcome, what in (("leverage", "leverage"), ("leverage_over_placebo", "leverage beyond placebo")):
            value = _ranks(tables, stability, outcome)
            if value.n:
                texts.append(f"{said} and {what} {interval(value, 2)}")
    return (
        [f"Spearman's correlation over the memories of each seed, mean over seeds: {'; '.join(texts)}."]
        if texts
        else []
    )


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
