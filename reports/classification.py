"""The section on telling regimes from the log, the published way and the clean way."""

import pandas as pd

from experiments.kit import published
from experiments.kit.stats import estimate, paired, per_seed
from experiments.kit.tables import BASIC, NO_CLAMP, PUBLISHED, RAW, STATE, TIME
from experiments.kit.words import (
    ABSENT,
    CLEAR,
    MISSING,
    NOT_CLEAR,
    Finding,
    interval,
    number,
    other_way,
    percent,
    side,
    table,
)
from reports.parts import Section, Tables

REPEATED, LEFT_OUT = (PUBLISHED, "self"), (NO_CLAMP, "self_random")  # protocol, condition


def classification(tables: Tables, figures: str) -> Section:
    """Naming the regime from ten steps of the log, the published way and the clean way."""
    found = tables.rows("classification")
    body: list[str] = []
    if found.empty:
        body.append(MISSING)
    else:
        rows = []
        columns = ["protocol", "condition", "features"]
        for (protocol, condition, features), group in found.groupby(columns, sort=False):
            said = published.CLASSIFICATION.get(str(features)) if (protocol, condition) == REPEATED else None
            values = [
                group[name].mean() for name in ("accuracy", "null_mean", "null_95", "p_value", "majority")
            ]
            rows.append(
                [
                    f"{protocol}, `{condition}`: {features}",
                    percent(said) if said is not None else "–",
                    *(number(float(value)) for value in values),
                    str(int(group["windows"].max())),
                    str(int(group["runs"].max())),
                ]
            )
        head = ["protocol, condition: features", "published", "accuracy", "null mean", "null 95 %", "p",
                "commonest class", "windows", "runs"]  # fmt: skip
        body.append(table(head, rows))
        body.append(
            "Null: the labels permuted, everything else alike. Commonest class: accuracy of always naming it. Raw "
            "statistics with history: loss, entropy, confidence and gradient norm now, one window ago, and averaged, which "
            "is what the state was made from. Findings compare the accuracies of each run's own windows, paired by seed; any two "
            "runs share most of what they were predicted from."
        )
        body.append(f"![Classification]({figures}/perturbation/classification.png)")
    return Section(
        "Can the regime be told from the log?",
        "Classify windows of ten steps by regime. The published way: one run, fixed windows, random folds, so that "
        "neighbours of one window stand on both sides. The clean way: regimes at random times, whole runs left out; "
        "once more with the windows of self_clamp left out.",
        body,
        "With fixed windows the time alone can tell the regime, so accuracy under the published protocol says little "
        "about the state. The clean protocol asks what carries over to a run that the classifier has not seen. A state "
        "that beats loss, entropy and confidence but not the raw statistics' history holds no more than a running average. One "
        "regime, self_clamp, holds the state still, so that a drift of exactly zero names it, which is no sense of anything. The "
        "findings on what state channels add therefore take the clean protocol without that regime; the claims, judged on [the controls](controls.md), leave it out, too.",
        _classification_findings(tables.rows("classification_seeds")),
    )


def scores(seeds: pd.DataFrame, condition: str, features: str, protocol: str) -> "pd.Series[float]":
    """Accuracy of each run of a condition, by seed; empty where classification_seeds has none."""
    rows = seeds[(seeds["condition"] == condition) & (seeds["protocol"] == protocol)]
    return per_seed(rows[rows["features"] == features], "accuracy")


def _compare(seeds: pd.DataFrame, claim: str, place: tuple[str, str], one: str, other: str) -> Finding:
    """The finding on "these features tell more than those"."""
    protocol, condition = place
    first, second = (scores(seeds, condition, features, protocol) for features in (one, other))
    gain = paired(first, second)
    if not gain.n:
        return Finding(
            claim,
            ABSENT,
            f"It needs `{condition}` with both feature sets, two runs at least, and more windows to learn from than there are classes.",
        )
    held = (
        " The state channels' accuracy includes self_clamp, which a drift of exactly zero names."
        if one == STATE and protocol != NO_CLAMP
        else ""
    )
    text = f"Accuracy {percent(first.mean())} ({one}) against {percent(second.mean())} ({other}); "
    other_side = other_way([("", gain)], +1)
    return Finding(
        claim, side(gain, +1), f"{text}difference {interval(gain)}, n = {gain.n}.{other_side}{held}"
    )


def _classification_findings(found: pd.DataFrame) -> list[Finding]:
    findings = [
        _compare(
            found,
            "Without self_clamp, in runs left out, state channels tell regimes that loss, entropy and confidence do not.",
            LEFT_OUT,
            STATE,
            BASIC,
        ),
        _compare(
            found,
            "Without self_clamp, in runs left out, state channels tell more than the statistics that the state was made from.",
            LEFT_OUT,
            STATE,
            RAW,
        ),
        _compare(
            found, "The published way shows more than what the time alone tells.", REPEATED, STATE, TIME
        ),
    ]
    mine = scores(found, "self", STATE, PUBLISHED)
    if not mine.empty:
        findings.append(
            Finding(
                "The published way gives perfect classification with state channels.",
                CLEAR if mine.mean() >= 0.995 else NOT_CLEAR,
                f"Published {percent(published.CLASSIFICATION[STATE])}, ours {interval(estimate(mine), sign=False)}.",
            )
        )
    return findings
