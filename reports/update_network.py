"""The page on the update network: how the learned update reads each statistic."""

import pandas as pd

from experiments.kit.levels import ALPHA, FEWEST_SEEDS
from experiments.kit.stats import Estimate, estimate, over_seeds, paired, per_seed
from experiments.kit.tables import RUN
from experiments.kit.words import (
    ABSENT,
    CLEAR,
    MISSING,
    NOT_CLEAR,
    OPEN,
    Finding,
    all_of,
    interval,
    listed,
    number,
    other_way,
    percent,
    plural,
    side,
    table,
)
from reports.parts import Section, Tables

TITLE = "The update network: how the state reads its statistics"
FILE = "update-network.md"
SUITE = "shakespeare"
COLUMNS: dict[str, tuple[str, ...]] = {
    "update_replay": (*RUN, "last_error", "last_norm", "movement", "logged_movement", "movement_share"),
    "update_sensitivity": (*RUN, "input", "point", "value", "bias_norm_change"),
    "update_ablation": (*RUN, "frozen", "relative_change"),
    "update_gradients": (*RUN, "input", "scaled", "share"),
    "update_correlations": (*RUN, "input", "of", "series", "rho", "null_95", "p_value"),
    "update_probe": (
        *(
            *RUN,
            "features",
            "accuracy",
            "balanced_accuracy",
            "null_mean",
            "null_95",
            "p_value",
            "p_value_all",
        ),
        *("runs", "classes"),
    ),
    "update_probe_regimes": (*RUN, "features", "regime", "recall"),
}
INPUTS = ("loss", "entropy", "top1", "grad_norm", "progress")
HIDDEN, BEFORE, RAW = "hidden units", "hidden units before training", "statistics"


def sections(tables: Tables, figures: str) -> list[Section]:
    """The page's sections. `figures` is the folder of figures as seen from the page."""
    return [replay(tables, figures), inputs(tables), drift(tables), probe(tables)]


def _conditions(rows: pd.DataFrame) -> list[str]:
    return [str(name) for name in dict.fromkeys(rows["condition"])]


def _of(rows: pd.DataFrame, **where: object) -> pd.DataFrame:
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


def replay(tables: Tables, figures: str) -> Section:
    """How much of the logged path the finished network makes of the logged statistics."""
    rows = tables.rows("update_replay")
    cells, beyond, parts = [], [], []
    for name in _conditions(rows):
        own = _of(rows, condition=name)
        share = over_seeds(own, "movement_share")
        beyond.append((f"`{name}`", _minus(per_seed(own, "movement_share"), 0.5)))
        parts.append(f"{interval(share, 2, sign=False)} (`{name}`)")
        error = per_seed(own, "last_error") / per_seed(own, "last_norm")
        values = (over_seeds(own, "logged_movement"), over_seeds(own, "movement"), share)
        cells.append([f"`{name}`", *(interval(v, 3, sign=False) for v in values), number(float(error.max()), 5), str(share.n)])  # fmt: skip
    head = ["condition", "logged movement, L2", "replayed movement, L2", "share", "largest error at the last step", "n"]  # fmt: skip
    body = [
        table(head, cells) if cells else MISSING,
        "Movement: root mean square distance of the state's path from its own mean, after warm-up. Error at the last "
        "step: distance of the state that the stored network makes from the logged one, as a share of that state's norm; "
        "the weights moved once between the two.",
        *([f"![The update network]({figures}/update-network.png)"] if cells else []),
    ]
    claim = "The state's path is made by what the statistics do: the finished network, fed them again, moves the state at least half as far."
    evidence = f"Share of the logged movement: {listed(parts)}." if parts else "No run with a self-state."
    evidence += other_way(beyond, +1)
    return Section(
        "Does the network, or its learning, make the state's path?",
        "Feed the finished network the statistics of the whole run and let the state go: does it go where the log went?",
        body,
        "Where the replay moves far less than the log, the rest came with the change of the network's weights through "
        "learning: they moved the state themselves, as output biases can, or read the statistics otherwise then. "
        "All that follows is about the network as it was after the last step, and so about that smaller part.",
        [Finding(claim, all_of([side(value, +1) for _, value in beyond]), evidence)],
    )


def _minus(values: "pd.Series[float]", constant: float) -> Estimate:
    return estimate(values - constant)


def inputs(tables: Tables) -> Section:
    """Which inputs move the proposal and the path."""
    frozen, slopes = tables.rows("update_ablation"), tables.rows("update_gradients")
    curves = tables.rows("update_sensitivity")
    body, verdicts, parts = [], [], []
    for name in _conditions(frozen):
        ablated, steep, curve = (_of(rows, condition=name) for rows in (frozen, slopes, curves))
        cells = []
        for which in dict.fromkeys(ablated["frozen"]):
            change = over_seeds(_of(ablated, frozen=which), "relative_change")
            share = over_seeds(_of(steep, input=which), "share")
            spans = estimate(_span(_of(curve, input=which)))
            cells.append([
                _name(str(which)), interval(change, 2, sign=False),
                interval(share, 2, sign=False) if share.n else "–",
                interval(spans, 4) if spans.n else "–", str(change.n),
            ])  # fmt: skip
        head = [f"`{name}`: input", "held at its median: change of the path", "share of scaled gradient",
                "bias's norm, from 5th to 95th percentile", "n"]  # fmt: skip
        body.append(table(head, cells))
        gain = paired(
            per_seed(_of(ablated, frozen="all but progress"), "relative_change"),
            per_seed(_of(ablated, frozen="progress"), "relative_change"),
        )
        verdicts.append(side(gain, +1))
        parts.append(f"{interval(gain, 2)} (`{name}`)")
    body = body or [MISSING]
    body.append(
        "Change of the path: root mean square distance from the replay with all inputs, as a share of that replay's "
        "movement. With everything held, the state stands still and the change is near 1 by construction; a change above "
        "1 says that inputs cancel one another, so that one alone does more than all. Scaled gradient: mean size of the "
        "proposal's slope times the input's standard deviation."
    )
    claim = "The batch's statistics move the state further than the clock does: holding all of them changes the replayed path more than holding progress."
    evidence = f"Difference of the two changes: {listed(parts)}." if parts else "No run with a self-state."
    return Section(
        "Which statistics does the network read?",
        "Vary one input over the range it had, hold one at its median through the whole replay, take the slope.",
        body,
        "Loss, entropy and confidence follow one another closely, so what one input does with the others held is not "
        "what would happen in training. An input that the network reads is not yet one that the language model profits from.",
        [Finding(claim, all_of(verdicts), evidence)],
    )


def _name(frozen: str) -> str:
    if frozen == "all":
        return "all inputs"
    return "all but progress (a clock alone)" if frozen == "all but progress" else frozen


def _span(curve: pd.DataFrame) -> "pd.Series[float]":
    """Change of the bias's norm from the first to the last point of a curve, by seed."""
    if curve.empty:
        return pd.Series(dtype=float)
    ends = curve.sort_values("point").groupby("seed")["bias_norm_change"]
    return ends.last() - ends.first()


def drift(tables: Tables) -> Section:
    """Whether the state moves more where its inputs do."""
    rows = tables.rows("update_correlations")
    body, verdicts, parts = [], [], []
    for name in _conditions(rows):
        cells = []
        for which in INPUTS:
            cell = [which]
            for kind, of in (("as logged", "value"), ("detrended", "value"), ("detrended", "change")):
                own = _of(rows, condition=name, input=which, of=of, series=kind).dropna(subset=["rho"])
                told = (per_seed(own, "p_value") < ALPHA).sum()
                text = f"{interval(over_seeds(own, 'rho'), 2)}, {told} of {len(own)}"
                cell.append(text if len(own) else "–")
            cells.append(cell)
        head = [
            f"`{name}`: drift with",
            "value, as logged",
            "value, trends off",
            "size of change, trends off",
        ]
        body.append(table(head, cells))
        loss = _of(rows, condition=name, input="loss", of="change", series="detrended").dropna(subset=["rho"])
        verdicts.append(_beyond(loss))
        told = (per_seed(loss, "p_value") < ALPHA).sum()
        parts.append(f"{interval(over_seeds(loss, 'rho'))}, {told} of {plural(len(loss), 'seed')} (`{name}`)")
    body = body or [MISSING]
    body.append(
        "Spearman's correlation of `state_drift` with the input that the same step's update read, its mean over seeds, and "
        f"how many seeds have p < {ALPHA} against circular shifts. Trends off: both sides minus a running median of 101 steps."
    )
    return Section(
        "Does the state move more when its inputs do?",
        "The drift of each step against the input it was made from, and against how much that input had just changed; "
        "the null turns one series against the other, so that each keeps its own autocorrelation.",
        body,
        "As logged, anything that changes through training goes with anything else that does; that column is there to be "
        "compared with the others. Drift also has the network's own learning in it, whose pace is the learning rate's.",
        [
            Finding(
                "The state moves more in steps in which the loss has just changed more.",
                all_of(verdicts),
                f"Correlation with the size of the loss's change, trends off, and seeds with p < {ALPHA}: {listed(parts)}."
                if parts
                else "No run with a self-state.",
            )
        ],
    )


def _beyond(rows: pd.DataFrame) -> str:
    """The verdict on a correlation above zero: over seeds, and beyond the null in most of them."""
    verdict = side(over_seeds(rows, "rho"), +1)
    told = (per_seed(rows, "p_value") < ALPHA).sum()
    return OPEN if verdict == CLEAR and 2 * told <= len(rows) else verdict


def probe(tables: Tables) -> Section:
    """What a linear probe reads from the hidden units in runs it has not seen."""
    rows = tables.rows("update_probe").dropna(subset=["balanced_accuracy"])
    recalls = tables.rows("update_probe_regimes")
    if rows.empty:
        body = ["Not measured: that takes two runs of `self_random`."]
    else:
        cells = []
        for features, own in rows.groupby("features", sort=False):
            values = [
                interval(over_seeds(own, name), sign=False) for name in ("accuracy", "balanced_accuracy")
            ]
            null = (
                number(own["null_mean"].mean()),
                number(own["null_95"].mean()),
                number(own["p_value_all"].iloc[0]),
            )
            cells.append([str(features), *values, *null, str(len(own))])  # fmt: skip
        head = ["features", "accuracy", "balanced accuracy", "null mean", "null 95 %", "p, all runs", "n"]
        names = list(dict.fromkeys(rows["features"]))
        by_regime = [
            [f"`{regime}`", *(interval(over_seeds(_of(recalls, regime=regime, features=name), "recall"), 2, sign=False) for name in names)]
            for regime in dict.fromkeys(recalls["regime"])
        ]  # fmt: skip
        body = [
            table(head, cells),
            f"Balanced accuracy: mean over the {int(rows['classes'].max())} classes of the share of steps named rightly. Null: regimes permuted "
            "between whole stretches of a run.",
            table(["steps named rightly", *map(str, names)], by_regime),
        ]
    chance = _chance(rows[rows["features"] == HIDDEN])
    better = [_gain(rows, HIDDEN, BEFORE), _gain(rows, HIDDEN, RAW)]
    return Section(
        "Do the hidden units tell the regime?",
        "A linear probe of the hidden units for the regime, tried on a run left out. That "
        "run's own network is fed all runs' statistics, since hidden units of two networks have nothing to do with one another.",
        body,
        "The hidden units are a function of one step's five statistics: they can't hold more than these, only lay it out so "
        "that a line can part it. Regimes that leave the statistics as they are can't be told. The network before training "
        "is the fair control: as many units, nothing learned.",
        [
            Finding("The hidden units tell the regime in runs left out.", *chance),
            Finding("Training made the hidden units tell regimes better than they did before.", *better[0]),
            Finding("The hidden units tell regimes better than the statistics they are made from.", *better[1]),
        ],
    )  # fmt: skip


def _chance(rows: pd.DataFrame) -> tuple[str, str]:
    if rows.empty:
        return ABSENT, "It takes two runs of `self_random`."
    p_value = float(rows["p_value_all"].iloc[0])
    verdict = CLEAR if p_value < ALPHA else NOT_CLEAR
    if len(rows) < FEWEST_SEEDS:
        verdict = OPEN
    score, null = over_seeds(rows, "balanced_accuracy"), float(rows["null_mean"].mean())
    return (
        verdict,
        f"Balanced accuracy {interval(score, sign=False)} against {number(null)} with regimes permuted, p = {number(p_value)}.",
    )


def _gain(rows: pd.DataFrame, one: str, other: str) -> tuple[str, str]:
    first, second = (per_seed(rows[rows["features"] == name], "balanced_accuracy") for name in (one, other))
    gain = paired(first, second)
    if not gain.n:
        return ABSENT, "It takes two runs of `self_random`, and a network with hidden units."
    return (
        side(gain, +1),
        f"Balanced accuracy {percent(first.mean())} against {percent(second.mean())}; difference {interval(gain)}, n = {gain.n}.",
    )
