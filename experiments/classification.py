"""Can a regime be told from a few steps of the log? As published, and with the leaks closed.

The published way (experiments/separability.py) takes one run with fixed windows and random folds. Neighbouring windows of
one stretch of training then lie in training and test folds alike, and since each regime has its place in time, anything
that drifts with training names it: the feature "progress alone" shows how far that goes. The clean way draws onset and
order of the regimes for each run, and leaves whole runs out.

What the state tells beyond what it is made from is asked of nested sets of features: the statistics with their history;
these with their spreads within the window, which move as drift does, and the learning rate, which the log has as well;
these with every channel of the state. self_clamp acts on the state itself, holding or clipping it: that it shows in the
state's channels says nothing of what a state senses. The protocol NO_CLAMP is the clean way without the windows of that
regime.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.kit import pages, published, style, words
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment
from experiments.kit.marks import level
from experiments.kit.stats import Estimate, estimate, paired
from experiments.kit.tables import BASIC, BIAS, CLEAN, NO_CLAMP, PUBLISHED, STATE, TIME, Tables
from experiments.kit.words import ABSENT, Finding, difference, interval, number, percent
from experiments.whole_runs import AT_RANDOM, CONTROLS, CORE, FIXED, FULL, PROTOCOLS, SPREADS, TABLES

STATIC, ONE = ("fixed_half", "fixed_one", "fixed_two", "learned_bias"), ("state_1d", "state_1d_matched")
STARS = ((published.CLASSIFICATION, style.BLUE), (published.CLASSIFICATION_VANILLA, style.VERMILLION))


def scores(tables: Tables, condition: str, features: str, protocol: str = NO_CLAMP) -> "pd.Series[float]":
    """Accuracy of each run of a condition, by seed; empty where there is none."""
    where = {"condition": condition, "protocol": protocol, "features": features}
    return tables.seeds("classification_seeds", "accuracy", **where)


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page says of the suite, then of the controls: each sentence with differences of accuracies, by seed."""
    own, basic, spreads, full = (scores(tables, "self_random", one) for one in (STATE, BASIC, SPREADS, FULL))
    old, its, time = (scores(tables, "self", one, PUBLISHED) for one in (STATE, BASIC, TIME))
    controls = tables.of(CONTROLS)
    self, self_basic, self_spreads, self_full, bias = (
        scores(controls, "self", one) for one in (STATE, BASIC, SPREADS, FULL, BIAS)
    )
    static = {f"`self` − `{name}`": paired(bias, scores(controls, name, BIAS)) for name in STATIC}
    one = {f"`{name}` − `self`": paired(scores(controls, name, STATE), self) for name in ONE}
    adds, later, beyond = f"{STATE} − {BASIC}", f"{STATE} − {TIME}", f"{FULL} − {SPREADS}"
    told = "In runs that the classifier has not seen, clamped windows left out,"
    two = f"{told} the state's channels (its distance from its average, its effect on a prompt)"
    clamped = paired(*(scores(tables, "self_random", one, CLEAN) for one in (FULL, SPREADS)))
    same, basics = "In the runs of the controls, the state's channels", "loss, entropy and confidence."
    spreads_too = "what a log without a state tells."

    def more(
        claim: str, otherwise: str, parts: dict[str, Estimate], sign: int = +1, reverse: str = ""
    ) -> Finding:
        return difference(claim, parts, sign, "of windows", otherwise=otherwise, reverse=reverse)

    all_channels = more(
        f"{told} all channels of the state add to {spreads_too}", f"{told} all channels of the state add nothing clear to {spreads_too}",
        {beyond: paired(full, spreads)},
    )  # fmt: skip
    if clamped.n and all_channels.verdict != ABSENT:
        all_channels = replace(
            all_channels, evidence=f"{all_channels.evidence} With the clamped windows: {interval(clamped)}."
        )

    return {
        "returns": more(
            "As published, in windows of one run, the state's channels name regimes right that loss, entropy and confidence do not.",
            f"As published, in windows of one run, the state's channels do not clearly add to {basics}", {adds: paired(old, its)},
        ),
        "beyond_time": more(
            "As published, the state's channels name more windows right than the step number alone.",
            "As published, the state's channels do not clearly name more windows right than the step number alone.", {later: paired(old, time)},
        ),
        "adds": more(
            f"{two} still add to {basics}", f"{two} do not clearly add to {basics}", {adds: paired(own, basic)},
            reverse=f"{two} take away from {basics}",
        ),
        "beyond_raw": all_channels,
        "controls_add": more(f"{same} add to {basics}", f"{same} do not clearly add to {basics}", {adds: paired(self, self_basic)}),
        "controls_beyond_raw": more(
            f"{same} add to {spreads_too}", f"{same} add nothing clear to {spreads_too}", {beyond: paired(self_full, self_spreads)},
        ),
        "static": more(
            "Effect and length of a self-state tell regimes better than those of any constant bias.",
            "Effect and length of a self-state do not tell regimes clearly better than those of every constant bias.", static,
        ),
        "one": more(
            "The channels of a state of a single number tell regimes less well.",
            "The channels of a state of a single number do not tell regimes clearly less well.", one, -1,
        ),
        "perfect": Finding(
            "As published, with the state's channels every window of one run is named right.",
            words.ABSENT if old.empty else words.CLEAR if old.mean() >= 0.995 else words.NOT_CLEAR,
            f"Published {percent(published.CLASSIFICATION[STATE])}, ours {interval(estimate(old), sign=False)}.",
            "As published, with the state's channels, not every window of one run is named right.",
        ),
    }  # fmt: skip


def said(rows: pd.DataFrame, tables: Tables) -> str:
    """The published accuracy of the condition and features of these rows."""
    first = rows.iloc[0]
    of = published.CLASSIFICATION if first["condition"] == "self" else published.CLASSIFICATION_VANILLA
    return percent(of.get(first["features"], np.nan))


def table_of(suite: str = "") -> pages.Grid:
    """A row a clean protocol, condition and feature set; conditions with the same numbers share one. By default the page's suite."""

    def make(tables: Tables) -> str:
        found = tables.of(suite) if suite else tables
        rows, lines = found.rows("classification"), dict[tuple[str, ...], list[str]]()
        for protocol in PROTOCOLS:
            for row in rows[rows["protocol"] == protocol].to_dict("records"):
                by_seed = estimate(scores(found, row["condition"], row["features"], protocol))
                cells = [number(row["accuracy"]), pages.shown(by_seed, "3")]
                cells += [number(row[name]) for name in ("null_mean", "null_95", "p_value", "majority")]
                cells.append(f"{row['windows']}, {row['runs']}")
                lines.setdefault((protocol, row["features"], *cells), []).append(row["condition"])
        every = rows.groupby("protocol")["condition"].nunique()
        body = []
        for (protocol, features, *cells), names in lines.items():
            shared = 1 < len(names) == every[protocol]
            of = "every condition" if shared else ", ".join(f"`{name}`" for name in names)
            body.append([f"{protocol}, {of}: {features}", *cells])
        head = ["protocol, condition: features", "accuracy", "by seed", "null mean", "null 95 %", "p", "commonest class",
                "windows, runs"]  # fmt: skip
        return words.table(head, body)

    return make


def panel(protocol: str, title: str) -> draw.Panel:
    """Accuracies by seed, above what permuted labels and the commonest class give, beside the published values."""
    by_seed = draw.points(
        "classification_seeds", "accuracy", title, "accuracy", across="features", order=CORE, where={"protocol": protocol},
        upright=False, zero=False,
    )  # fmt: skip

    def by_chance(axes: Axes, tables: Tables) -> None:
        old = protocol == PUBLISHED
        name, chance = ("classification_seeds", "shuffled") if old else ("classification", "null_95")
        rows = tables.rows(name, protocol=protocol).groupby("features").mean(numeric_only=True)
        for place, features in enumerate(one for one in CORE if one in rows.index):
            axes.barh(place, rows[chance][features], 0.8, color="#e0e0e0", zorder=0)
            for (found, colour), shift in zip(STARS, (-0.2, 0.2), strict=True) if old else ():
                axes.plot(
                    found.get(features, np.nan), place + shift, "*", c=colour, mfc="white", ms=7, zorder=4
                )
        if not old:
            level(axes, rows["majority"].mean(), upright=False, ls="dotted")
        axes.set_xlim(0, 1.04)
        axes.set_xticks([0, 0.5, 1])

    return draw.then(by_seed, by_chance, ("classification",))


FIGURE = draw.sheet(
    "perturbation/classification.png",
    [
        panel(PUBLISHED, "as published:\none run, random folds"),
        panel(CLEAN, "clean way: random times,\nwhole runs left out"),
        panel(NO_CLAMP, "clean way, clamped\nwindows left out, too"),
    ],
    grid=(1, 3), height=4.8, looks={name: style.condition(name) for name in (*FIXED, *AT_RANDOM)},
    marks="points", columns=2, title=("beyond_raw",),
    shows="How well the regime of a short window can be told, from the step alone, with and without the state's channels, "
    "as published and with whole runs left out, beside shuffled labels.",
    caption="Share of windows whose regime is named right; one point a seed, mean and 95 % t interval, a little too narrow in the middle and at the "
    "right, whose runs share what they are predicted from. Grey: labels shuffled (left mean, else 95 % quantile). Dotted: always the "
    "commonest class. Stars: published.",
)  # fmt: skip
EXPERIMENT = Experiment(
    "classification", "Can a regime be told from the log?", TABLES, findings, (FIGURE,),
    {
        "published": pages.grid(
            "classification_seeds", FIXED, head="features, condition", across="features", order=CORE, where={"protocol": PUBLISHED},
            said=("published", said), accuracy=("accuracy", "3"), sd=("sd over folds", "~3"), shuffled=("labels shuffled", "~3"),
            windows=("windows", "~0"),
        ),
        "core": table_of(), "controls": table_of(CONTROLS), "smaller": lambda tables: pages.smaller(tables.of(CONTROLS)),
    },
    suites=("shakespeare", "generalization", CONTROLS), guests=(CONTROLS,),
)  # fmt: skip
