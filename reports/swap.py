"""The page on swapped states: training that goes on with another model's state, a random one, or none."""

from math import inf, nan

import numpy as np
import pandas as pd

from analysis.table_files import RUN
from plots import published
from plots.wording import number, signed
from reports import durations
from reports.by_condition import ByCondition
from reports.markdown import interval, table
from reports.parts import (
    ABSENT,
    MISSING,
    Finding,
    Section,
    Tables,
    difference,
)

TITLE = "Swapped states: is the state entangled with its weights?"
FILE = "swap.md"
SUITE = "swap"
COLUMNS: dict[str, tuple[str, ...]] = {
    "swap_paths": (
        *(*RUN, "since", "distance", "predicted", "loss_difference", "loss_distance"),
        *("heldout_difference", "effect_difference"),
    ),
    "swap_summary": (
        *(*RUN, "swapped_distance", "first_loss", "first_effect", "early_loss", "late_loss"),
        *(
            "late_loss_distance",
            "early_heldout",
            "late_heldout",
            "late_effect",
            "floor",
            "steps_until",
            "small",
            "steps_small",
            "state_steps",
        ),
    ),
}
SWAPS = ("other", "random", "zero")
JITTER = "jitter"
GIVEN = {
    "other": "another seed's state",
    "random": "a random state of the own one's norm",
    "zero": "the zero state",
    JITTER: "the own state, changed by a thousandth of its norm",
}
SHOWN = (0, 1, 2, 5, 10, 20, 50, 100, 199)  # steps since the swap


def sections(tables: Tables, figures: str) -> list[Section]:
    """The page's sections. `figures` is the folder of figures as seen from the page."""
    return [at_once(tables, figures), afterwards(tables), course(tables)]


class Summary(ByCondition):
    """The continuations' summary, in the order of GIVEN."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables.rows("swap_summary").sort_values("condition", kind="stable"), GIVEN)

    def named(self, condition: str) -> str:
        return f"`{condition}`: {GIVEN[condition]}" if condition in GIVEN else f"`{condition}`"


def at_once(tables: Tables, figures: str) -> Section:
    """What a foreign state does at the first steps, where the weights are still the own ones."""
    found = Summary(tables)
    rows = [
        [
            found.named(name),
            interval(found.value(name, "swapped_distance"), 2, sign=False),
            *(
                interval(found.value(name, column), 4)
                for column in ("first_loss", "early_loss", "early_heldout", "first_effect")
            ),
            str(found.value(name, "first_loss").n),
        ]
        for name in found.conditions
    ]
    head = ["goes on with", "distance of the state put in, own norms", "first step: loss − own's", "first 10 steps: loss − own's",
            "first 10 steps: held-out loss − own's", "first step: effect − own's", "n"]  # fmt: skip
    body = [table(head, rows) if rows else MISSING]
    if rows:
        body += [
            "All against the continuation with the own state, same seed, weights and batches: nats a token, and mean |Δ logit| for "
            "the effect. The first update has already replaced a part of the state that was put in.",
            f"![Swapped states]({figures}/swap.png)",
        ]
    each = [(f"`{name}`", found.value(name, "first_loss")) for name in SWAPS]
    more = [(f"`other` − `{name}`", found.minus("other", name, "first_loss")) for name in ("random", "zero")]
    return Section(
        "Do things break?",
        f'Published: "{published.ANSWERS["swap"]}"; state and weights, it says, are "entangled". It gives no numbers. Training goes on from '
        "one checkpoint; at the first step nothing but the state differs.",
        body,
        "A loss that rises says that the weights had come to count on their own state. It does not say on what of it: where a "
        "random state or none costs as much as another seed's, what was lost is the own state, not harmed by any meaning of "
        "the other. States of two seeds have axes of their own, so that one can't read the other's is to be expected. How "
        "large a rise is worth calling broken is for the reader: it stands in nats.",
        [
            difference("Another seed's state raises the loss at once.", each[:1], +1, " nats", 4),
            difference("The weights count on their own state: any other costs loss at once, none included.",
                       each, +1, " nats", 4),
            difference("Another seed's state costs more than a random one or none.", more, +1, " nats", 4),
        ],
    )  # fmt: skip


def afterwards(tables: Tables) -> Section:
    """How long the difference lasts, and what two trainings that differ by almost nothing differ by."""
    found = Summary(tables)
    rows = [_left(found, name) for name in found.conditions]
    head = ["goes on with", "steps until small", "steps until within the rounding floor", "steps until the state is the own one", "last 50 steps: loss − own's",
            "held-out loss − own's", "effect − own's", "\\|loss − own's\\|", "that − `jitter`'s", "n"]  # fmt: skip
    body = [table(head, rows) if rows else MISSING]
    floor = found.rows["floor"].max()
    if rows:
        body.append(
            "Steps: median over seeds, in brackets how many seeds got there. Small: |loss − own's|, mean of ten steps, is for the first time "
            f"below {number(found.rows['small'].mean(), 4)} nats, a tenth of what one batch's loss differs by from the next's. Rounding floor: "
            f"the same against {floor_text(floor)}, below which 95 % of those means lie for a training whose state was changed by a thousandth; "
            "where that is as small as the rounding of floats, a training that was truly changed does not come back to it. The state "
            "is the own one: their distance is below a hundredth of the own one's norm."
        )
    lasting = [(f"`{name}`", found.value(name, "late_heldout")) for name in SWAPS[:1]]
    apart = [
        (f"`other` − `{name}`", found.minus("other", name, "late_loss_distance"))
        for name in ("random", "zero")
    ]
    return Section(
        "How long does it last?",
        "Steps until the loss differs by little from that of the training that kept its own state, and what is left in the last 50 "
        "steps. Two trainings that begin with almost the same state (`jitter`) give the rounding floor.",
        body,
        "What was put in is soon gone, by construction: each step keeps a part of the state and makes the rest from statistics. What "
        "stays after that, in the state as well, comes of the weights that the first steps made otherwise. The rounding floor is no measure of chance: it says what a thousandth of a state's norm comes "
        "to in so many steps, and any real change of the first updates stays above it. So what lasts is told by the steps until "
        "small, and whether it is another seed's state that lasts, by the random state and none.",
        [
            difference(
                "The harm of another seed's state lasts: in the last 50 steps the held-out loss is still higher.",
                lasting,
                +1,
                " nats",
                4,
            ),
            difference(
                "In the last 50 steps after the swap another seed's state leaves the losses further apart than a random one or none does.",
                apart,
                +1,
                " nats",
                5,
            ),
            _back(found),
        ],
    )


def _left(found: Summary, name: str) -> list[str]:
    """The row of a continuation: steps until it is back, and what is left in the last 50."""
    own = found.rows[found.rows["condition"] == name]
    late = [found.value(name, column) for column in ("late_loss", "late_heldout", "late_effect")]
    beyond = found.minus(name, JITTER, "late_loss_distance")
    return [
        found.named(name),
        steps_to(own, "steps_small", "small"),
        steps_to(own, "steps_until", "floor"),
        steps_to(own, "state_steps", "swapped_distance"),
        *(interval(value, 4) for value in late),
        interval(found.value(name, "late_loss_distance"), 4, sign=False),
        interval(beyond, 4) if name != JITTER and beyond.n else "–",
        str(late[0].n),
    ]


def floor_text(floor: float) -> str:
    """The rounding floor with as many digits as it needs."""
    if not np.isfinite(floor):
        return "a floor that was not measured"
    return f"{number(floor, 4) if floor >= 5e-4 else f'{floor:.1e}'.replace('-', '−')} nats"


def steps_to(rows: pd.DataFrame, column: str, needs: str) -> str:
    """Median of the steps and how many seeds got there."""
    return durations.median(_steps(rows, column, needs), "never")


def _steps(rows: pd.DataFrame, column: str, needs: str) -> "pd.Series[float]":
    """Steps by seed, infinity where it did not get there.

    needs: the column without which a missing number of steps means not measured, not never.
    """
    known = rows[rows[needs].notna()].set_index("seed")[column]
    return known.astype(float).fillna(inf)


def _back(found: Summary) -> Finding:
    """Whether the loss takes longer to come back than the state, seed by seed: an exact sign test."""
    claim = "After a swap the loss takes longer to come within a small difference than the state takes to be the own one."
    rows = found.rows[found.rows["condition"] == "other"]
    loss, state = _steps(rows, "steps_small", "small"), _steps(rows, "state_steps", "swapped_distance")
    compared = durations.compare(loss, state)
    if not compared.n:
        return Finding(claim, ABSENT, "It needs the continuation `other`.")
    return Finding(
        claim,
        compared.verdict,
        f"With another seed's state: loss {steps_to(rows, 'steps_small', 'small')}, state "
        f"{steps_to(rows, 'state_steps', 'swapped_distance')} steps; {compared.counts()}; "
        f"{compared.test()}.{compared.turned}",
    )


def course(tables: Tables) -> Section:
    """Distances of states, losses and effects at some steps after the swap."""
    paths = tables.rows("swap_paths")
    have = set(paths["condition"])
    names = [name for name in GIVEN if name in have]
    steps = sorted(set(paths["since"]) & set(SHOWN))
    body = [MISSING]
    if names and steps:
        body = []
        for column, said, digits, signs in (
            ("distance", "distance of the states, own norms", 4, False),
            ("loss_distance", "\\|loss − own's\\|, nats", 4, False),
            ("effect_difference", "effect − own's, mean \\|Δ logit\\|", 4, True),
        ):
            rows = [_line(paths, name, f"`{name}`", column, steps, digits, signs) for name in names]
            if column == "distance" and "other" in names:
                by_update = _line(
                    paths, "other", "`other`, by the update alone", "predicted", steps, digits, signs
                )
                rows.insert(names.index("other") + 1, by_update)
            body.append(table([f"{said}: steps since", *(str(int(step)) for step in steps)], rows))
        body.append(
            "Means over seeds. By the update alone: the first distance times (1 − decay) to the power of the steps."
        )
    return Section(
        "What course do state, loss and effect take?",
        "Step by step after the swap, against the continuation with the own state.",
        body,
        "A distance that falls as the update alone would have it fall says that the statistics, not the weights, make the "
        "state, and that they are nearly the same in both trainings. Losses are of one batch a step, and noisy.",
    )


def _line(
    paths: pd.DataFrame, condition: str, name: str, column: str, steps: list[int], digits: int, signs: bool
) -> list[str]:
    rows = paths[paths["condition"] == condition]
    mean = rows.groupby("since")[column].mean()
    show = signed if signs else number
    return [name, *(show(float(mean.get(step, nan)), digits) for step in steps)]
