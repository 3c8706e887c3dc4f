"""The section on telling regimes from the channels of each control, in runs left out."""

import pandas as pd

from plots.controls import STATIC, ordered
from plots.series import estimate, paired
from reports import published
from reports.classification import CLEAN, NO_CLAMP, PLAIN, RAW
from reports.classification import STATE as WITH_STATE
from reports.markdown import interval, number, percent, table
from reports.parts import MISSING, Section, Tables, difference, per_seed, smaller

WITH_BIAS = "with bias channels"
ONE = ("state_1d", "state_1d_matched")


def told(tables: Tables) -> Section:
    """Classification by condition and feature set, pooled with its null and seed by seed."""
    pooled, seeds = tables.rows("classification"), tables.rows("classification_seeds")
    rows = []
    for protocol in (CLEAN, NO_CLAMP):
        of_protocol = pooled[pooled["protocol"] == protocol]
        for name in ordered(of_protocol):
            for features, group in of_protocol[of_protocol["condition"] == name].groupby(
                "features", sort=False
            ):
                said = published.CLASSIFICATION.get(str(features)) if name == "self" else None
                by_seed = estimate(scores(seeds, name, str(features), protocol))
                values = [
                    group[c].mean() for c in ("accuracy", "null_mean", "null_95", "p_value", "majority")
                ]
                rows.append(
                    [
                        f"{protocol}, `{name}`: {features}",
                        percent(said) if said is not None else "–",
                        number(float(values[0])),
                        interval(by_seed, sign=False),
                        *(number(float(value)) for value in values[1:]),
                        f"{int(group['windows'].max())}, {int(group['runs'].max())}",
                    ]
                )
    head = ["protocol, condition: features", "published", "accuracy", "by seed", "null mean", "null 95 %", "p",
            "commonest class", "windows, runs"]  # fmt: skip
    body = [table(head, rows) if rows else MISSING]
    if rows:
        body.append(
            "Windows of ten steps; whole runs left out, regimes at random times. Published: one run, neighbours of one window "
            "on both sides. Null: labels permuted within runs. Bias channels: loss, entropy and confidence, with the effect and "
            "norm of what is injected, which a constant bias has too. Raw statistics with history: what the state was made from."
        )

    def of(name: str, features: str) -> "pd.Series[float]":
        return scores(seeds, name, features, NO_CLAMP)

    own = of("self", WITH_STATE)
    adds = [(f"{WITH_STATE} − {rival}", paired(own, of("self", rival))) for rival in (PLAIN, RAW)]
    static = [(f"`self` − `{name}`", paired(of("self", WITH_BIAS), of(name, WITH_BIAS))) for name in STATIC]
    one = [(f"`{name}` − `self`", paired(of(name, WITH_STATE), own)) for name in ONE]
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


def scores(seeds: pd.DataFrame, condition: str, features: str, protocol: str) -> "pd.Series[float]":
    """Accuracy of each run of a condition, by seed; empty where classification_seeds has none."""
    rows = seeds[(seeds["condition"] == condition) & (seeds["protocol"] == protocol)]
    return per_seed(rows[rows["features"] == features], "accuracy")
