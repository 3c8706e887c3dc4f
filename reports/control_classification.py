"""The section on telling regimes from the channels of each control, in runs left out."""

from dataclasses import dataclass, replace

import pandas as pd

from experiments.kit import published
from experiments.kit.pages import smaller
from experiments.kit.stats import estimate, paired
from experiments.kit.tables import BASIC, BIAS, CLEAN, NO_CLAMP, RAW, STATE
from experiments.kit.words import MISSING, difference, interval, number, percent, table
from plots.controls import STATIC, ordered
from reports.classification import scores
from reports.parts import Section, Tables

ROUNDED = 1e-6  # tables are written with nine digits
ONE = ("state_1d", "state_1d_matched")


def told(tables: Tables) -> Section:
    """Classification by condition and feature set, pooled with its null and seed by seed."""
    pooled, seeds = tables.rows("classification"), tables.rows("classification_seeds")
    rows = scored(pooled, seeds)
    twice = all(row.repeats for row in rows)  # as where all runs have the same number of windows
    head = ["protocol, condition: features", "published", *(["accuracy, mean of seeds"] if twice else ["accuracy", "by seed"]),
            "null mean", "null 95 %", "p", "commonest class", "windows, runs"]  # fmt: skip
    lines = [[row.label, row.published, *([] if twice else [row.accuracy]), *row.cells] for row in rows]
    body = [table(head, lines) if lines else MISSING]
    if rows:
        body.append(
            "Windows of ten steps; whole runs left out, regimes at random times. Published: one run, neighbours of one window "
            "on both sides. Null: labels permuted within runs. Bias channels: loss, entropy and confidence, with the effect and "
            "norm of what is injected, which a constant bias has too. Raw statistics with history: what the state was made from."
        )

    def of(name: str, features: str) -> "pd.Series[float]":
        return scores(seeds, name, features, NO_CLAMP)

    own = of("self", STATE)
    adds = [(f"{STATE} − {rival}", paired(own, of("self", rival))) for rival in (BASIC, RAW)]
    static = [(f"`self` − `{name}`", paired(of("self", BIAS), of(name, BIAS))) for name in STATIC]
    one = [(f"`{name}` − `self`", paired(of(name, STATE), own)) for name in ONE]
    return Section(
        "Can the regime be told from each?",
        "Published: 80 % with loss, entropy and confidence, 100 % with the state's channels, from windows of one run. Here the "
        f"same question of every control, in runs that the classifier has not seen.{smaller(tables)}",
        body,
        "self_clamp holds the state still, so its drift of exactly zero names it: that tells nothing of what a state senses, "
        "and findings leave that regime out. Intervals over seeds take each run's own accuracy; any two of them were "
        "predicted from mostly the same runs, so they are a little too narrow.",
        [
            difference("Without self_clamp, the self-state's channels add to loss, entropy and confidence.", adds[:1], +1, "", 3),
            difference("Without self_clamp, the self-state's channels add to the statistics that it was made from.", adds[1:], +1, "", 3),
            difference("A self-state's effect and norm tell regimes better than those of any constant bias.", static, +1, "", 3),
            difference("The channels of a state of one dimension tell regimes less well.", one, -1, "", 3),
        ],
    )  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A protocol's, condition's and feature set's line of the table.

    accuracy: over all windows. cells: accuracy by seed and what follows. repeats: whether their mean is that accuracy.
    """

    protocol: str
    condition: str
    features: str
    published: str
    accuracy: str
    cells: tuple[str, ...]
    repeats: bool

    @property
    def label(self) -> str:
        return f"{self.protocol}, {self.condition}: {self.features}"


def scored(pooled: pd.DataFrame, seeds: pd.DataFrame) -> list[Row]:
    """The table's lines; features that give every condition of a protocol the same numbers have one line, above the others."""
    found = []
    for protocol in (CLEAN, NO_CLAMP):
        of_protocol = pooled[pooled["protocol"] == protocol]
        names = ordered(of_protocol)
        rows = [
            _row(protocol, name, str(features), group, seeds)
            for name in names
            for features, group in of_protocol[of_protocol["condition"] == name].groupby(
                "features", sort=False
            )
        ]
        alike = {}
        for features in dict.fromkeys(row.features for row in rows):
            of_features = [row for row in rows if row.features == features]
            numbers = {(row.published, row.accuracy, row.cells) for row in of_features}
            if len(of_features) == len(names) > 1 and len(numbers) == 1:
                alike[features] = replace(of_features[0], condition="every condition")
        found += [*alike.values(), *(row for row in rows if row.features not in alike)]
    return found


def _row(protocol: str, name: str, features: str, group: pd.DataFrame, seeds: pd.DataFrame) -> Row:
    said = published.CLASSIFICATION.get(features) if name == "self" else None
    by_seed = estimate(scores(seeds, name, features, protocol))
    accuracy = float(group["accuracy"].mean())
    return Row(
        protocol,
        f"`{name}`",
        features,
        percent(said) if said is not None else "–",
        number(accuracy),
        (
            interval(by_seed, sign=False),
            *(
                number(float(group[column].mean()))
                for column in ("null_mean", "null_95", "p_value", "majority")
            ),
            f"{int(group['windows'].max())}, {int(group['runs'].max())}",
        ),
        by_seed.n > 0 and abs(by_seed.mean - accuracy) < ROUNDED,
    )
