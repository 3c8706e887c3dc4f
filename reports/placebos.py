"""The frozen-weight test against its placebos: effect tables, verdicts, every seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from experiments.kit import published
from experiments.kit.levels import ALPHA
from experiments.kit.stats import Estimate, estimate, over_seeds, per_seed
from experiments.kit.tables import Tables
from experiments.kit.words import (
    ABSENT,
    CLEAR,
    MISSING,
    OPEN,
    Finding,
    all_of,
    interval,
    listed,
    number,
    other_way,
    plural,
    side,
    table,
    worst,
)
from reports.parts import Section

TESTS = {
    ("replication", "dimension"): "replication protocol",
    ("heldout", "dimension"): "held-out protocol, dimension finder",
    ("heldout", "gradient"): "held-out protocol, gradient finder",
}
PLACEBOS = ("rotated", "untrained")


@dataclass(frozen=True)
class View:
    """One condition's rows of the frozen-weight tables, and the steps whose weights were tested.

    name: what its rows begin with where it shares a table with others.
    """

    tables: Tables
    condition: str
    name: str = ""

    def rows(self, name: str, **where: object) -> pd.DataFrame:
        return self.tables.rows(name, condition=self.condition, **where)

    def steps(self, name: str) -> list[int]:
        found = self.rows(name)
        return [] if found.empty else sorted(int(step) for step in set(found["run_step"]))

    def named(self, text: str) -> str:
        return f"{text} (`{self.condition}`)"


def effect_table(view: View, tests: Sequence[tuple[str, str]], *more: View) -> list[str]:
    """Effect sizes beside placebos: a row a view, test, step and placebo."""
    rows = [row for one in (view, *more) for test in tests for row in _effect_rows(one, *test)]
    if not rows:
        return []
    head = ["test, weights, placebo", "published", "effect size, nats", "placebo mean ± SD", "placebo max",
            "effect − placebo mean", f"seeds with p < {ALPHA}"]  # fmt: skip
    ending = (
        "Effect size: |entropy(confident) − entropy(uncertain)|. p: rank of the learned reader among its own seed's "
        "placebo draws, (1 + draws at least as large) / (1 + draws); a dash where there are too few draws for a p below "
        f"{ALPHA}. SD: over the draws of a seed, mean over seeds."
    )
    return [table(head, rows), ending]


def _effect_rows(view: View, protocol: str, finder: str) -> list[list[str]]:
    rows = []
    named = f"{view.name}, " if view.name else ""
    for step, by_placebo in _by_step(view, protocol, finder):
        for placebo, found in by_placebo.items():
            (k, n), draws = _below(found), _draws(view, protocol, finder, step, placebo)
            rows.append(
                [
                    f"{named}{TESTS[protocol, finder]}, {step} steps, {placebo}",
                    number(published.EFFECT_SIZE, 2) if protocol == "replication" else "–",
                    interval(over_seeds(found, "effect"), sign=False),
                    f"{number(found['placebo_mean'].mean())} ± {number(found['placebo_sd'].mean())}",
                    number(found["placebo_max"].max()),
                    interval(surplus(found)),
                    f"– ({plural(draws, 'draw')})" if _too_few(draws) else f"{k} of {n}",
                ]
            )
    return rows


def _by_step(view: View, protocol: str, finder: str) -> Iterator[tuple[int, dict[str, pd.DataFrame]]]:
    """Each step whose weights were tested, and the rows of a test beside each kind of placebo that it has."""
    for step in view.steps("frozen_effects_summary"):
        rows = view.rows("frozen_effects_summary", run_step=step, protocol=protocol, finder=finder)
        have = [placebo for placebo in PLACEBOS if (rows["placebo"] == placebo).any()]
        yield step, {placebo: rows[rows["placebo"] == placebo] for placebo in have}


def _too_few(draws: int) -> bool:
    """Whether so many placebo draws a seed can't give a p below ALPHA; not where they are not known."""
    return draws > 0 and 1 / (1 + draws) >= ALPHA


def _below(found: pd.DataFrame) -> tuple[int, int]:
    """How many seeds have p < ALPHA, and of how many."""
    p = per_seed(found, "p_value")
    return int((p < ALPHA).sum()), len(p)


def surpluses(found: pd.DataFrame) -> "pd.Series[float]":
    """The learned effect beyond the mean of its own placebo draws, by seed."""
    return (per_seed(found, "effect") - per_seed(found, "placebo_mean")).dropna()


def surplus(found: pd.DataFrame) -> Estimate:
    """`surpluses` over seeds."""
    return estimate(surpluses(found))


def _draws(view: View, protocol: str, finder: str, step: int, placebo: str) -> int:
    """Placebo draws a seed, the least of any; 0 where frozen_effects.csv does not say."""
    rows = view.rows("frozen_effects", run_step=step, protocol=protocol, finder=finder, reader=placebo)
    return 0 if rows.empty else int(rows.groupby("seed").size().min())


def beats(view: View, protocol: str, finder: str) -> Finding:
    """Whether learned directions steer more than placebos: on average over seeds, and in most seeds by rank."""
    claim = (
        f"{TESTS[protocol, finder].capitalize()}: learned directions steer more than placebos selected alike."
    )
    verdicts, parts, beyonds = [], [], []
    for step, by_placebo in _by_step(view, protocol, finder):
        against, rivals = [], []
        for placebo, found in by_placebo.items():
            beyond = surplus(found)
            beyonds.append((f"{placebo} at step {step}", beyond))
            (k, n), draws = _below(found), _draws(view, protocol, finder, step, placebo)
            verdict = side(beyond, +1)
            against.append(OPEN if verdict == CLEAR and 2 * k <= n else verdict)
            rank = (
                f"{plural(draws, 'draw')} cannot give p < {ALPHA}"
                if _too_few(draws)
                else f"p < {ALPHA} in {k} of {n}"
            )
            rivals.append(
                f"{placebo} {number(found['placebo_mean'].mean())} (difference {interval(beyond)}; {rank})"
            )
        if against:
            verdicts.append(worst(against))
            effect = number(per_seed(pd.concat(list(by_placebo.values())), "effect").mean())
            parts.append(f"At step {step}: {effect} against {listed(rivals)}.")
    if not parts:
        return Finding(claim, ABSENT, "It was not run.")
    chance = f"By chance, p < {ALPHA} in one seed of twenty at most."
    return Finding(claim, all_of(verdicts), " ".join([*parts, chance]) + other_way(beyonds, +1))


def further(view: View, protocol: str, finder: str) -> Finding:
    """Whether learned directions steer further than the mean of placebos, over seeds.

    For tests with too few draws for a rank within a seed, where `beats` can decide nothing.
    """
    claim = (
        f"`{view.condition}`, {TESTS[protocol, finder]}: learned directions steer further than the mean of "
        "placebos selected alike."
    )
    verdicts, parts, beyonds = [], [], []
    for step, by_placebo in _by_step(view, protocol, finder):
        against, rivals = [], []
        for placebo, found in by_placebo.items():
            beyond = surplus(found)
            beyonds.append((f"{placebo} at step {step}", beyond))
            against.append(side(beyond, +1))
            above = int((found["effect"] > found["placebo_max"]).sum())
            rivals.append(f"{placebo} {interval(beyond)}, above every draw in {above} of {len(found)}")
        if against:
            verdicts.append(worst(against))
            parts.append(f"At step {step}, nats beyond the mean: {'; '.join(rivals)}.")
    if not parts:
        return Finding(claim, ABSENT, "It was not run.")
    return Finding(claim, all_of(verdicts), " ".join(parts) + other_way(beyonds, +1))


def seeds(view: View) -> Section:
    """Every seed's effect, placebos and p."""
    found = view.rows("frozen_effects_summary")
    body = []
    for (protocol, finder), group in (
        found.groupby(["protocol", "finder"], sort=False) if not found.empty else ()
    ):
        rows = []
        for (step, seed), cell in group.groupby(["run_step", "seed"]):
            values: list[str] = []
            for placebo in PLACEBOS:
                of_placebo = cell[cell["placebo"] == placebo]
                values += [
                    number(of_placebo[column].mean()) for column in ("placebo_mean", "placebo_max", "p_value")
                ]
            rows.append([f"{step}, seed {seed}", number(cell["effect"].iloc[0]), *values])
        name = TESTS.get((str(protocol), str(finder)), f"{protocol}, {finder}")
        head = [
            name,
            "effect",
            *(f"{placebo} {what}" for placebo in PLACEBOS for what in ("mean", "max", "p")),
        ]
        body.append(table(head, rows))
    return Section(
        view.named("Every seed"),
        "What does each seed give, at each set of weights?",
        body or [MISSING],
        "One seed's p says only whether that model's learned reader stands out among its own placebos.",
    )
