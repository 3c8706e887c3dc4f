"""Learned directions beside those that were selected in the same way from placebo readers: tables of effects, and findings.

A run answers by the rank of its learned effect among its own placebos' effects, and seeds answer by the mean difference.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.kit import published, style, words
from experiments.kit.levels import ALPHA
from experiments.kit.stats import Estimate, estimate, over_seeds, paired, per_seed
from experiments.kit.style import Look
from experiments.kit.tables import Tables

TESTS = {
    ("replication", "dimension"): "replication protocol",
    ("heldout", "dimension"): "held-out protocol, dimension finder",
    ("heldout", "gradient"): "held-out protocol, gradient finder",
}
PLACEBOS = {"rotated": "scrambled", "untrained": "untrained"}  # in tables, and as readers know them
READERS = {
    "learned": Look("learned reader", style.BLUE, "solid", "o"),
    "rotated": Look("scrambled reader", style.VERMILLION, "dashed", "^"),
    "untrained": Look("untrained reader", style.GREY, "dotted", "s", filled=False),
}
ON = {
    ("replication", "dimension"): "As published",
    ("heldout", "dimension"): "On held-out text",
    ("heldout", "gradient"): "Found along gradients",
}
USUAL = "usual_norm"


def rank_p_value(learned: float, placebo: np.ndarray) -> float:
    """One-sided rank p-value, (1 + number of placebo values >= learned) / (1 + n).

    The probability of a rank this high if the learned value were one more draw (Phipson and Smyth,
    Statistical Applications in Genetics and Molecular Biology 9, 2010). With 20 draws the smallest is 1/21.
    """
    return (1 + int((placebo >= learned).sum())) / (1 + len(placebo))


@dataclass(frozen=True)
class View:
    """One condition's rows of the frozen-weight tables, and the steps whose weights were tested.

    name: what its rows begin with where it shares a table with others. published: the effect size printed of its corpus.
    """

    tables: Tables
    condition: str
    name: str = ""
    published: float = published.EFFECT_SIZE

    def rows(self, name: str, **where: object) -> pd.DataFrame:
        return self.tables.rows(name, condition=self.condition, **where)

    def steps(self, name: str = "frozen_effects_summary") -> list[int]:
        return sorted({int(step) for step in self.rows(name)["run_step"]})

    def by_placebo(self, protocol: str, finder: str) -> Iterator[tuple[int, dict[str, pd.DataFrame]]]:
        """Each step whose weights were tested, and the rows of a test beside each kind of placebo that it has."""
        for step in self.steps():
            rows = self.rows("frozen_effects_summary", run_step=step, protocol=protocol, finder=finder)
            parts = {placebo: rows[rows["placebo"] == placebo] for placebo in PLACEBOS}
            yield step, {placebo: part for placebo, part in parts.items() if len(part)}

    def draws(self, protocol: str, finder: str, step: int, placebo: str) -> int:
        """Placebo draws a seed, the least of any; 0 where the table of effects does not say."""
        rows = self.rows("frozen_effects", run_step=step, protocol=protocol, finder=finder, reader=placebo)
        return int(rows.groupby("seed").size().min()) if len(rows) else 0


def surpluses(rows: pd.DataFrame) -> "pd.Series[float]":
    """The learned effect beyond the mean of its own placebo draws, by seed."""
    return (per_seed(rows, "effect") - per_seed(rows, "placebo_mean")).dropna()


def surplus(rows: pd.DataFrame) -> Estimate:
    """`surpluses` over seeds."""
    return estimate(surpluses(rows))


def _too_few(draws: int) -> bool:
    """Whether so many placebo draws a seed can't give a p below ALPHA; not where they are not known."""
    return draws > 0 and 1 / (1 + draws) >= ALPHA


def _below(rows: pd.DataFrame) -> tuple[int, int]:
    """How many seeds have p < ALPHA, and of how many."""
    p = per_seed(rows, "p_value")
    return int((p < ALPHA).sum()), len(p)


def _ranked(draws: int, k: int, n: int) -> str:
    """How many of n seeds have p < ALPHA by rank, as what that says of their draws."""
    if _too_few(draws):
        return f"{words.plural(draws, 'draw')} of each are too few for a rank"
    if not draws:
        return f"rank p < {ALPHA} in {k} of {words.plural(n, 'seed')}"
    beaten = next(least for least in range(draws + 1) if (1 + draws - least) / (1 + draws) < ALPHA)
    those = f"all {draws}" if beaten == draws else f"{beaten} of {draws}"
    return f"further than {those} of them in {k} of {words.plural(n, 'seed')}"


def effect_table(tests: Sequence[tuple[str, str]], *views: View) -> str:
    """Effect sizes beside placebos, a row a view, test, step and placebo, and how to read it; "" where there is none."""
    rows = []
    for view in views:
        for test in tests:
            for step, parts in view.by_placebo(*test):
                for placebo, found in parts.items():
                    (k, n), draws = _below(found), view.draws(*test, step, placebo)
                    named = f"{view.name}, " if view.name else ""
                    rows.append([
                        f"{named}{TESTS[test]}, {step} steps, {PLACEBOS[placebo]}",
                        words.number(view.published, 2) if test[0] == "replication" else words.DASH,
                        words.interval(over_seeds(found, "effect"), sign=False),
                        f"{words.number(found['placebo_mean'].mean())} ± {words.number(found['placebo_sd'].mean())}",
                        words.number(found["placebo_max"].max()),
                        words.interval(surplus(found)),
                        f"{words.DASH} ({words.plural(draws, 'draw')})" if _too_few(draws) else f"{k} of {n}",
                    ])  # fmt: skip
    if not rows:
        return ""
    head = ["test, weights, placebo", "published", "effect size, nats", "placebo mean ± SD", "placebo max",
            "effect − placebo mean", f"seeds with p < {ALPHA}"]  # fmt: skip
    return (
        f"{words.table(head, rows)}\n\nEffect size: |entropy(confident) − entropy(uncertain)|. p: rank of the learned reader among its "
        "own seed's placebo draws, (1 + draws at least as large) / (1 + draws); a dash where there are too few draws for a p "
        f"below {ALPHA}. SD: over the draws of a seed, mean over seeds."
    )


def beats(view: View, protocol: str, finder: str) -> words.Finding:
    """Whether learned directions steer further than those of placebo readers: on average over seeds, and in most seeds by rank."""
    verdicts, parts = [], []
    beyonds: dict[str, Estimate] = {}
    kinds: dict[str, None] = {}
    for step, by_placebo in view.by_placebo(protocol, finder):
        against, told = [], []
        for placebo, found in by_placebo.items():
            kinds[PLACEBOS[placebo]] = None
            beyond = beyonds[f"{PLACEBOS[placebo]} after {step} steps"] = surplus(found)
            (k, n), draws, verdict = (
                _below(found),
                view.draws(protocol, finder, step, placebo),
                words.side(beyond, +1),
            )
            against.append(words.OPEN if verdict == words.CLEAR and 2 * k <= n else verdict)
            mean = words.number(per_seed(found, "placebo_mean").mean())
            told.append(
                f"{PLACEBOS[placebo].capitalize()} readers {mean}, learned minus that {words.interval(beyond)}; {_ranked(draws, k, n)}."
            )
        if against:
            verdicts.append(words.worst(against))
            effect = words.number(per_seed(pd.concat(by_placebo.values()), "effect").mean())
            parts.append(f"After {step} steps {effect} nats. {' '.join(told)}")
    whose, both = words.listed(list(kinds) or list(PLACEBOS.values())), "" if len(kinds) == 1 else "both "
    said = f"{ON[protocol, finder]}, the learned directions"
    return words.Finding(
        f"{said} steer further than those of {whose} readers.", words.all_of(verdicts),
        " ".join(parts) + words.other_way(beyonds, +1) if parts else "It was not run.",
        f"{said} do not clearly beat {both}{whose} readers.",
    )  # fmt: skip


def further(view: View, protocol: str, finder: str, claim: str, otherwise: str) -> words.Finding:
    """Whether the learned reader steers further than the mean of placebo readers, over seeds.

    For tests with too few draws for a rank within a seed, where `beats` can decide nothing.
    """
    parts, steps = {}, view.steps()
    for step, by_placebo in view.by_placebo(protocol, finder):
        for placebo, found in by_placebo.items():
            parts[f"beyond {PLACEBOS[placebo]} readers{f' at step {step}' * (len(steps) > 1)}"] = surplus(
                found
            )
    return words.difference(claim, parts, +1, "nats", otherwise=otherwise)


def at_usual_norm(rows: pd.DataFrame, condition: str, finder: str, placebo: str) -> Estimate:
    """At the norm that a state usually has: the learned effect minus the mean of a placebo's draws, paired by seed."""
    here = rows[(rows["condition"] == condition) & (rows["finder"] == finder)]
    one, other = (per_seed(here[here["reader"] == reader], "effect") for reader in ("learned", placebo))
    return paired(one, other)


def furthest(doses: pd.DataFrame) -> "pd.Series[float]":
    """The change of entropy at the largest dose of dose curves along one direction, by seed: the mean over draws, nats."""
    largest = doses.groupby("seed")["magnitude"].transform("max")
    return per_seed(doses[doses["magnitude"] == largest], "delta_entropy")


def usual_table(rows: pd.DataFrame) -> str:
    """A row a condition, set of weights and finder; "" without rows. One step for all rows stands under the table."""
    lines, steps = [], list(dict.fromkeys(rows["run_step"]))
    for (name, step, finder), here in rows.groupby(["condition", "run_step", "finder"], sort=False):
        effects = {
            reader: per_seed(here[here["reader"] == reader], "effect") for reader in ("learned", *PLACEBOS)
        }
        beyond = [paired(effects["learned"], effects[reader]) for reader in PLACEBOS]
        lines.append([
            f"`{name}`, {f'step {step}, ' if len(steps) > 1 else ''}{finder}",
            f"{words.number(here['norm'].mean(), 2)} of {words.number(here['largest'].mean(), 2)}",
            words.interval(estimate(effects["learned"]), sign=False),
            *(words.number(float(effects[reader].mean())) if len(effects[reader]) else words.DASH for reader in PLACEBOS),
            *(words.interval(value) if value.n else words.DASH for value in beyond),
            str(len(effects["learned"])),
        ])  # fmt: skip
    if not lines:
        return ""
    head = [f"condition, {'weights, ' if len(steps) > 1 else ''}finder", "usual norm, of the largest dose",
            "learned effect, nats", "scrambled readers", "untrained readers", "learned − scrambled", "learned − untrained", "n"]  # fmt: skip
    under = f"\n\nAll with the weights of step {steps[0]}." if len(steps) == 1 else ""
    return words.table(head, lines) + under
