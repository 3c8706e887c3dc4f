"""Does the state tell a long disturbance from a short one, inside a window in which both are over?

Two runs of a seed are one until the longer disturbance begins, and get the same batches after; both disturbances end
at the same step, where the window begins. States of different seeds share no basis, so a read-out that is to carry
over to another seed can only take features that need none: norms, distances, and the position along one direction
that a seed has of its own. That direction is the displacement at the end of the disturbance, the mean of the two
twins': a twin's own would carry what happened before the window into the features, the mean is the same for both.
Every feature is taken relative to its mean before the twins part, and lengths in units of that displacement.

Two questions are asked of each set of features. Of runs: is a single run told to be a long or a short one? What seeds
differ by anyhow stands in its way. Of twins: which of the two runs of a seed is the long one? There the seed drops out.

The rival is what the window's own statistics tell, now and averaged since the window began: a state that tells no
more is a reading of them, not a memory. The null turns long and short round within seeds.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from base.rng import Stream, generator
from experiments.ambiguous_figure import BIN, FIGURES, GATE, LATE, STATE, STATISTICS
from experiments.kit.experiment import Experiment, Table
from experiments.kit.followed import BEFORE, Followed, follow_all, recalled
from experiments.kit.levels import ALPHA
from experiments.kit.runs import Context
from experiments.kit.stats import Estimate, paired
from experiments.kit.tables import Tables, windows_of
from experiments.kit.words import (
    ABSENT,
    CLEAR,
    DASH,
    MISSING,
    NOT_CLEAR,
    OPEN,
    Finding,
    all_of,
    interval,
    listed,
    number,
    plural,
    signed,
    table,
    turned_way,
)  # fmt: skip
from experiments.memory_figure import LOOKS

WHOLE, RECALL = "whole", "recall"
EXACT = 10  # seeds up to which all turnings are taken
DRAWS = 1000  # of the turnings beyond, and of the bootstrap
COUNTER = 2_300_000  # of the analysis stream: turnings; + 1: bootstrap
RIDGE = 1.0  # in units of the features' variance within a class; nothing tuned
RAW = ("loss", "entropy", "top1", "grad_norm")
READOUTS: dict[str, tuple[str, ...]] = {
    STATISTICS: tuple(f"{name}{suffix}" for name in RAW for suffix in ("", "_since")),
    STATE: ("norm", "distance", "along", "drift"),
    GATE: ("gate", "share"),
    RECALL: ("recall_distance", "recall_along"),
}
FEATURES = tuple(itertools.chain.from_iterable(READOUTS.values()))
SCALARS = ("loss", "norm", "distance", "along", "drift", "gate", "share", "recall_distance", "recall_along")
_PAIR = ("suite", "memory", "regime")
AUC = (*_PAIR, "span", "features", "kind", "compared", "n", "auc", "null_mean", "null_95", "p_value")
ADVANTAGE = (*_PAIR, "span", "features", "rival", "compared", "n", "difference", "low", "high")


Place = tuple[str, str, str, str, str]  # memory, regime, span, features, compared


@dataclass(frozen=True)
class Twins:
    """Two runs of a seed that differ in the length of an earlier disturbance; the window is [begin, end)."""

    memory: str
    regime: str
    seed: int
    parts: int  # first step of the longer disturbance
    begins: int  # of the shorter
    begin: int
    end: int
    paths: tuple[Followed, Followed]  # long, short
    recalls: tuple[np.ndarray, np.ndarray]


FEWEST = 6  # seeds: of 2^n turnings at least two give the AUC found, so five seeds cannot give p < 0.05
RUNS, TWINS = "runs", "twins"
NO_MEMORY = "state without memory"
SINGLE = (
    "loss",
    "norm",
    "distance",
    "along",
    "drift",
    "gate",
    "share",
)  # features alone, told of where there are any


def ambiguous_tables(context: Context) -> dict[str, pd.DataFrame]:
    """ambiguous_values, ambiguous_auc, ambiguous_advantage."""
    values = ambiguous_values(context)
    scores: dict[Place, pd.DataFrame] = {}
    rows = []
    for place, group in values.groupby([*_PAIR, "span"], sort=False):
        suite, memory, regime, span = map(str, place)
        seeds = sorted(group["seed"].unique())
        for kind, features, columns in (
            *(("read-out", name, columns) for name, columns in READOUTS.items()),
            *(("scalar", name, (name,)) for name in SCALARS),
        ):
            x = _cube(group, columns)
            if np.isnan(x).all():
                continue
            for compared in ("runs", "twins"):
                found, per_run = tell(x, kind, compared)
                rows.append((suite, memory, regime, span, features, kind, compared, len(x), *found))
                if kind == "read-out" and per_run is not None:
                    scores[memory, regime, span, features, compared] = pd.DataFrame(per_run, index=seeds)
    return {
        "ambiguous_values": values,
        "ambiguous_auc": pd.DataFrame(rows, columns=list(AUC)),
        "ambiguous_advantage": _advantages(context.suite.name, scores),
    }


def twins(context: Context) -> list[Twins]:
    """The pairs NAME_long and NAME_short of each seed that both have; a memory's name ends before `_feedback`."""
    paths = follow_all(context.runs)
    runs = {(run.condition, run.seed): run for run in context.runs}
    found = []
    for (condition, seed), path in paths.items():
        name = condition.removesuffix("_long")
        other = paths.get((f"{name}_short", seed))
        windows = windows_of(path.log)
        if name == condition or other is None or len(windows) != 1 or len(windows_of(other.log)) != 1:
            continue
        regime, parts, begin = windows.iloc[0][["regime", "start", "end"]]
        settings = runs[condition, seed].config.self_state
        recalls = (recalled(path.states, settings), recalled(other.states, settings))
        begins = int(windows_of(other.log)["start"].iloc[0])
        place = (name.removesuffix("_feedback"), str(regime), seed)
        end = int(path.log["step"].iloc[-1]) + 1
        found.append(Twins(*place, int(parts), begins, int(begin), end, (path, other), recalls))
    return sorted(found, key=lambda pair: (pair.regime, pair.memory, pair.seed))


def ambiguous_values(context: Context) -> pd.DataFrame:
    """One row a run and span (a bin's first step in the window as text, `whole`, or `late`): the mean features."""
    rows: list[tuple[object, ...]] = []
    for pair in twins(context):
        for length, features in zip(("long", "short"), _features(pair), strict=True):
            count = len(features)
            spans = {str(first): slice(first, first + BIN) for first in range(0, count, BIN)}
            spans |= {WHOLE: slice(0, count), LATE: slice(count // 2, count)}
            for span, steps in spans.items():
                means = features.iloc[steps].mean()
                place = (context.suite.name, pair.memory, pair.regime, pair.seed, length, span)
                rows.append((*place, *(float(means[name]) for name in FEATURES)))
    return pd.DataFrame(rows, columns=[*_PAIR, "seed", "length", "span", *FEATURES])


def _features(pair: Twins) -> list[pd.DataFrame]:
    """The features of each twin, a row a step of the window. Those of memory are NaN where there is none."""
    step = pair.paths[0].log["step"].to_numpy()
    before = (step >= pair.parts - BEFORE) & (step < pair.parts)
    disturbed = (step >= (pair.begins + pair.begin) // 2) & (step < pair.begin)
    inside = (step >= pair.begin) & (step < pair.end)
    baseline = pair.paths[0].states[before].mean(0)  # the same in both: they are one run until `parts`
    moved = np.mean([path.states[disturbed].mean(0) for path in pair.paths], axis=0) - baseline
    size = float(np.linalg.norm(moved)) or float("nan")
    made = []
    for path, recall in zip(pair.paths, pair.recalls, strict=True):
        log = path.log
        past = np.concatenate([path.states[:1], path.states[:-1]])
        all_steps = {
            "norm": np.linalg.norm(path.states, axis=1) / size,
            "distance": np.linalg.norm(path.states - baseline, axis=1) / size,
            "along": (path.states - baseline) @ moved / size**2,
            "drift": log["state_drift"].to_numpy(float) / size,
            "gate": log["gate"].to_numpy(float),
            "share": log["memory_share"].to_numpy(float),
            "recall_distance": np.linalg.norm(recall - past, axis=1) / size,
            "recall_along": (recall - baseline) @ moved / size**2,
            **{name: log[name].to_numpy(float) for name in RAW},
        }
        features = pd.DataFrame({name: v[inside] - v[before].mean() for name, v in all_steps.items()})
        for name in RAW:
            features[f"{name}_since"] = features[name].expanding().mean()
        made.append(features)
    return made


def _cube(group: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Features (seeds, 2, k), long before short."""
    wide = group.sort_values(["seed", "length"])  # "long" < "short"
    return wide[list(columns)].to_numpy(float).reshape(-1, 2, len(columns))


def tell(x: np.ndarray, kind: str, compared: str) -> tuple[tuple[float, ...], np.ndarray | None]:
    """How well long is told from short.

    Args:
        x: (seeds, 2, k), long before short.
        kind: "scalar": the one feature is the score. "read-out": a linear discriminant of the other seeds' runs is.
        compared: "runs": every long run with every short one. "twins": the two of each seed.

    Returns:
        AUC, the share of comparisons in which the long run scores higher, ties half; mean and 95 % point of the null;
        p. For a scalar, whose sign is not known beforehand, null and p are of the distance from 0.5, and null_95 is 0.5
        plus that. Scores (seeds, 2) follow. With fewer than three seeds all is NaN, and no scores.
    """
    if len(x) < 3 or np.isnan(x).any():
        return (float("nan"),) * 4, None
    flips = turnings(len(x))
    turned = np.where(flips[:, :, None, None], x[None, :, ::-1], x[None])  # (turnings, seeds, 2, k)
    if kind == "scalar":
        scores = turned[..., 0]
    else:
        scores = left_out_scores(turned) if compared == "runs" else left_out_differences(turned)
    found = SHARES[compared](scores)
    size = np.abs(found - 0.5) + 0.5 if kind == "scalar" else found
    p_value = (size >= size[0] - 1e-9).mean()  # the first turning turns none, so it counts itself
    return (float(found[0]), float(size.mean()), float(np.quantile(size, 0.95)), float(p_value)), scores[0]


def turnings(seeds: int) -> np.ndarray:
    """Which seeds' labels are turned round, (draws, seeds) bool; the first row turns none. All there are up to EXACT seeds."""
    if seeds <= EXACT:
        return np.array(list(itertools.product((False, True), repeat=seeds)))
    drawn = generator(0, Stream.ANALYSIS, COUNTER).random((DRAWS, seeds)) < 0.5
    return np.concatenate([np.zeros((1, seeds), bool), drawn])


def auc(scores: np.ndarray) -> np.ndarray:
    """Share of pairs of a long and a short run in which the long one scores higher, ties half: (..., n, 2) -> (...)."""
    long, short = scores[..., 0][..., :, None], scores[..., 1][..., None, :]
    return ((long > short) + 0.5 * (long == short)).mean((-2, -1))


def twins_share(scores: np.ndarray) -> np.ndarray:
    """Share of seeds whose long run scores higher than its twin, ties half: (..., n, 2) -> (...)."""
    long, short = scores[..., 0], scores[..., 1]
    return ((long > short) + 0.5 * (long == short)).mean(-1)


SHARES = {"runs": auc, "twins": twins_share}


def left_out_scores(x: np.ndarray) -> np.ndarray:
    """The score of each run by a linear discriminant of the other seeds' runs, (draws, seeds, 2, k) -> (draws, seeds, 2).

    w = (S + RIDGE I)^-1 (mean of long - mean of short), S the covariance within the classes, of features standardised
    by the training runs; the score is w . x less its value half-way between the means.
    """
    draws, seeds, _, k = x.shape
    scores = np.empty((draws, seeds, 2))
    for out in range(seeds):
        train = np.delete(x, out, axis=1)
        centre = train.mean((1, 2), keepdims=True)
        spread = train.std((1, 2), keepdims=True)
        spread = np.where(spread > 0, spread, 1)
        train, test = (train - centre) / spread, (x[:, out] - centre[:, 0]) / spread[:, 0]
        means = train.mean(1)  # (draws, 2, k)
        within = train - means[:, None]
        scatter = np.einsum("dsck,dscl->dkl", within, within) / (2 * (seeds - 1))
        direction = (means[:, 0] - means[:, 1])[..., None]
        weights = np.linalg.solve(scatter + RIDGE * np.eye(k), direction)[..., 0]
        scores[:, out] = np.einsum("dck,dk->dc", test - means.mean(1, keepdims=True), weights)
    return scores


def left_out_differences(x: np.ndarray) -> np.ndarray:
    """Scores of twins by a discriminant of the other seeds' differences, (draws, seeds, 2, k) -> (draws, seeds, 2).

    The same discriminant on long minus short, in units of their root mean square: w = (mean d d' + RIDGE I)^-1 mean d.
    """
    draws, seeds, _, k = x.shape
    difference = x[:, :, 0] - x[:, :, 1]
    scores = np.empty((draws, seeds, 2))
    for out in range(seeds):
        train = np.delete(difference, out, axis=1)
        size = np.sqrt((train**2).mean(1))
        size = np.where(size > 0, size, 1)
        train = train / size[:, None]
        square = np.einsum("dsk,dsl->dkl", train, train) / (seeds - 1)
        weights = np.linalg.solve(square + RIDGE * np.eye(k), train.mean(1)[..., None])[..., 0] / size
        scores[:, out] = np.einsum("dck,dk->dc", x[:, out], weights)
    return scores


def _advantages(suite: str, scores: dict[Place, pd.DataFrame]) -> pd.DataFrame:
    """AUC of a read-out minus that of a rival, over the seeds of both, with a 95 % bootstrap interval over seeds.

    Rivals: the window's statistics, and the state of the runs without memory.
    """
    rows = []
    for (memory, regime, span, features, compared), mine in scores.items():
        if span not in (WHOLE, LATE) or features == STATISTICS:
            continue
        rivals = {STATISTICS: scores.get((memory, regime, span, STATISTICS, compared))}
        if features == STATE and memory != "none":
            rivals["state without memory"] = scores.get(("none", regime, span, STATE, compared))
        share = SHARES[compared]
        for rival, other in rivals.items():
            if other is None or len(both := mine.index.intersection(other.index)) < 3:
                continue
            one, two = mine.loc[both].to_numpy(), other.loc[both].to_numpy()
            draws = generator(0, Stream.ANALYSIS, COUNTER + 1).integers(len(both), size=(DRAWS, len(both)))
            low, high = np.quantile(share(one[draws]) - share(two[draws]), [0.025, 0.975])
            difference = float(share(one) - share(two))
            rows.append(
                (suite, memory, regime, span, features, rival, compared, len(both), difference, low, high)
            )
    return pd.DataFrame(rows, columns=list(ADVANTAGE))


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page on memory says of the window, for each disturbance. tables: of this suite."""
    found = {}
    for regime in dict.fromkeys(map(str, tables.rows("ambiguous_auc")["regime"])) or [""]:
        after = f"after `{regime}`" if regime else "after a disturbance"
        for name, said, features, rival in (
            (
                "state",
                "the state tells a long from a short disturbance beyond the window's statistics.",
                STATE,
                STATISTICS,
            ),
            ("gate", "gate and memory share tell it beyond the window's statistics.", GATE, STATISTICS),
            ("memory", "a state with memory tells it better than one without.", STATE, NO_MEMORY),
        ):
            found[f"{name}_{regime}"] = _finding(
                tables, regime, f"Late in the window {after}, {said}", features, rival
            )
    return found


def _finding(tables: Tables, regime: str, claim: str, features: str, rival: str) -> Finding:
    rows = _ordered(
        tables.rows(
            "ambiguous_auc", kind="read-out", span=LATE, compared=RUNS, regime=regime, features=features
        )
    )
    if rival == NO_MEMORY:
        rows = rows[rows["memory"] != "none"]
    verdicts, parts, turned = [], [], []
    for row in (rows.iloc[i] for i in range(len(rows))):
        gain = _advantage(
            tables, rival=rival, compared=RUNS, regime=regime, memory=row["memory"], features=features
        )
        verdicts.append(_verdict(row, gain))
        turned += [f"`{row['memory']}`"] if gain is not None and gain["high"] < 0 else []
        parts.append(f"`{row['memory']}` {_evidence(row, gain)}")
    if not parts:
        return Finding(claim, ABSENT, "It needs both runs of a seed.")
    over = "that of the window's statistics" if rival == STATISTICS else "that of the state without memory"
    n = int(rows["n"].min())
    few = f" Fewer than {FEWEST} seeds cannot give p < {ALPHA}." if n < FEWEST else ""
    return Finding(
        claim,
        all_of(verdicts),
        f"AUC, and minus {over}: {'; '.join(parts)}. n = {n}.{few}{turned_way(turned, len(parts))}",
    )


def _evidence(row: "pd.Series[Any]", gain: "pd.Series[Any] | None") -> str:
    if pd.isna(row["auc"]):
        return "not to be told with so few seeds"
    text = f"{number(row['auc'], 2)} (p = {number(row['p_value'])}), {_span(gain)}"
    explained = gain is not None and row["p_value"] < ALPHA and not gain["low"] > 0
    return f"{text}: it tells, but not clearly more than the rival" if explained else text


def _verdict(row: "pd.Series[Any]", gain: "pd.Series[Any] | None") -> str:
    """Of one memory: clear if both the null and the rival are beaten."""
    if int(row["n"]) < FEWEST or pd.isna(row["auc"]) or gain is None:
        return OPEN
    return CLEAR if row["p_value"] < ALPHA and row["auc"] > 0.5 and gain["low"] > 0 else NOT_CLEAR


def _ordered(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows by memory, none first, otherwise as they come."""
    order = list(LOOKS)
    place = rows["memory"].map(lambda name: order.index(name) if name in order else len(order))
    return rows.loc[place.sort_values(kind="stable").index]


def _cases(told: pd.DataFrame) -> list[tuple[str, str, str]]:
    """(regime, memory, features) that were scored, regimes together."""
    order = list(dict.fromkeys(told["regime"]))
    told = _ordered(told)
    places = dict.fromkeys(zip(told["regime"], told["memory"], told["features"], strict=True))
    return sorted(places, key=lambda place: order.index(place[0]))


def _row(rows: pd.DataFrame) -> "pd.Series[Any] | None":
    return rows.iloc[0] if len(rows) else None


def _read_out(tables: Tables, **where: str) -> "pd.Series[Any] | None":
    return _row(tables.rows("ambiguous_auc", kind="read-out", **where))


def _advantage(tables: Tables, **where: str) -> "pd.Series[Any] | None":
    return _row(tables.rows("ambiguous_advantage", span=LATE, **where))


def _number(row: "pd.Series[Any] | None", column: str, digits: int) -> str:
    return DASH if row is None else number(float(row[column]), digits)


def _span(row: "pd.Series[Any] | None") -> str:
    if row is None:
        return DASH
    return f"{signed(row['difference'], 2)} [{signed(row['low'], 2)}, {signed(row['high'], 2)}]"


def _single(tables: Tables) -> str:
    """A row a disturbance and memory, a column a feature."""
    told = _ordered(tables.rows("ambiguous_auc", kind="scalar", span=LATE, compared=RUNS)).sort_values(
        "regime", kind="stable"
    )
    rows = []
    for regime, memory in dict.fromkeys(zip(told["regime"], told["memory"], strict=True)):
        cells = []
        for name in SINGLE:
            row = _row(
                told[(told["regime"] == regime) & (told["memory"] == memory) & (told["features"] == name)]
            )
            known = row is not None and pd.notna(row["auc"])
            cells.append(f"{_number(row, 'auc', 2)} ({_number(row, 'p_value', 3)})" if known else DASH)
        rows.append([f"`{regime}`, `{memory}`", *cells])
    return table(["disturbance, memory", *SINGLE], rows) if rows else MISSING


def _places(tables: Tables) -> str:
    """Where the longer disturbance left the state, along the displacement at its end: long minus short."""
    late = _ordered(tables.rows("ambiguous_values", span=LATE))
    parts = []
    for regime in dict.fromkeys(tables.rows("ambiguous_auc")["regime"]):
        for memory, rows in late[late["regime"] == regime].groupby("memory", sort=False):
            value = _long_minus_short(rows)
            if value.n:
                parts.append(f"{interval(value, 3)} (`{memory}` after `{regime}`)")
    if not parts:
        return ""
    return (
        "Where the state lies in the second half of the window: 0 is where it was before the disturbance, 1 where it was at its end. "
        f"Long minus short, paired by seed: {listed(parts)}."
    )


def _long_minus_short(rows: pd.DataFrame) -> Estimate:
    values = rows.set_index(["length", "seed"])["along"].astype(float)
    long, short = (
        values.xs(length) if length in values.index.get_level_values(0) else pd.Series(dtype=float)
        for length in ("long", "short")
    )
    return paired(long, short)


def _shows(tables: Tables) -> str:
    """What the test can say, and in how many cases its premise does not hold."""
    told = tables.rows("ambiguous_auc")
    rows = told[(told["kind"] == "read-out") & (told["span"] == LATE) & (told["features"] == STATISTICS)]
    rows = _ordered(rows[rows["compared"] == RUNS].dropna(subset=["p_value"]))
    text = ""
    if len(rows):
        seen = [
            f"`{row.memory}` after `{row.regime}`"
            for row in rows.itertuples()
            if float(str(row.p_value)) < ALPHA
        ]
        text = (
            f"The window's own statistics told long from short in {len(seen)} of {plural(len(rows), 'case')}"
            + (f" ({listed(seen)}): there the window is not ambiguous" if seen else "")
            + (
                f", but fewer than {FEWEST} seeds cannot give p < {ALPHA}"
                if int(rows["n"].min()) < FEWEST
                else ""
            )
            + ". "
        )
    return text


def _auc_grid(tables: Tables) -> str:
    told = tables.rows("ambiguous_auc", kind="read-out", span=LATE)
    if told.empty:
        return MISSING
    head = ["disturbance, memory: read-out", "AUC, whole window", "AUC, second half", "95 % of the null", "p",
            "beyond the statistics", "twins told apart", "p", "n"]  # fmt: skip
    rows = []
    for regime, memory, features in _cases(told):
        where = {"regime": regime, "memory": memory, "features": features}
        whole, late, twins = (
            _read_out(tables, span=span, compared=compared, **where)
            for span, compared in ((WHOLE, RUNS), (LATE, RUNS), (LATE, TWINS))
        )
        gain = _advantage(tables, rival=STATISTICS, compared=RUNS, **where)
        rows.append(
            [
                f"`{regime}`, `{memory}`: {features}",
                *(_number(one, "auc", 2) for one in (whole, late)),
                *(_number(late, "null_95", 2), _number(late, "p_value", 3), _span(gain)),
                *(_number(twins, "auc", 2), _number(twins, "p_value", 3)),
                str(int(late["n"])) if late is not None else DASH,
            ]
        )
    return table(head, rows)


GRIDS = {"window": _auc_grid, "single": _single, "places": _places, "ambiguous": _shows}
EXPERIMENT = Experiment(
    "ambiguous", "Does the state remember how long a disturbance was?",
    (Table(ambiguous_tables, names=("ambiguous_values", "ambiguous_auc", "ambiguous_advantage")),), findings, FIGURES, GRIDS,
)  # fmt: skip
