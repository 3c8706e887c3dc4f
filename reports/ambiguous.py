"""The section on the ambiguous window: is an earlier disturbance's length still to be told when it is over?"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.spans import GATE, LATE, STATE, STATISTICS, WHOLE
from experiments.kit.levels import ALPHA
from experiments.kit.stats import Estimate, paired
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
    plural,
    signed,
    table,
    turned_way,
)
from experiments.kit.words import DASH as NO_NUMBER
from plots.memory import LOOKS
from reports.parts import Section, Tables

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
_PAIR = ("suite", "memory", "regime")
COLUMNS: dict[str, tuple[str, ...]] = {
    "ambiguous_values": (*_PAIR, "seed", "length", "span", "along"),
    "ambiguous_auc": (
        *(*_PAIR, "span", "features", "kind", "compared", "n", "auc", "null_mean", "null_95", "p_value"),
    ),
    "ambiguous_advantage": (
        *(*_PAIR, "span", "features", "rival", "compared", "n", "difference", "low", "high"),
    ),
}


def ambiguous(tables: Tables, figures: str) -> Section:
    """Long told from short: each read-out beside its null, beside the statistics, and beside no memory.

    Args:
        tables: those of the suite `ambiguous`.
        figures: the folder of figures as seen from the page.
    """
    told = tables.rows("ambiguous_auc")
    regimes = list(dict.fromkeys(map(str, told["regime"])))
    return Section(
        "Does the state remember how long a disturbance was?",
        "Two runs of a seed are one until a disturbance begins in the first; it begins later in the second and ends at the same "
        "step in both. Then calm steps follow, with the same batches: the window. A linear read-out made from the other seeds' runs "
        "scores each run; AUC is the share of pairs of a long and a short run that it puts in the right order. Its rival reads the "
        "window's own statistics, now and averaged since the window began. No number is published for this.",
        _body(tables, regimes, figures),
        _shows(told),
        [finding for regime in regimes or [""] for finding in _findings(tables, regime)],
    )


def _body(tables: Tables, regimes: Sequence[str], figures: str) -> list[str]:
    told = tables.rows("ambiguous_auc", kind="read-out", span=LATE)
    if told.empty:
        return [MISSING]
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
                str(int(late["n"])) if late is not None else NO_NUMBER,
            ]
        )
    return [
        table(head, rows),
        "Runs of other seeds, so 0.5 is chance, and an AUC below it says that a read-out does not carry over. The second half of the "
        "window counts: a state without memory keeps 0.8 of itself a step, and after 50 steps nothing of the disturbance is left in "
        "it by itself. Null: long and short turned round within seeds, everything made again. Beyond the statistics: AUC minus that of the "
        "window's statistics, with a 95 % bootstrap interval over seeds, rough at few. Twins: the share of seeds whose long run is told from "
        "its own short one.",
        "One feature alone, second half of the window, AUC of single runs (p, two-sided); *along*: the place on the way from before the "
        "disturbance to its end:",
        _single(tables),
        *_places(tables, regimes),
        f"![Long told from short through the window]({figures}/memory/ambiguous-window.png)",
        f"![The two runs of each seed]({figures}/memory/ambiguous-seeds.png)",
    ]


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
    return NO_NUMBER if row is None else number(float(row[column]), digits)


def _span(row: "pd.Series[Any] | None") -> str:
    if row is None:
        return NO_NUMBER
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
            cells.append(f"{_number(row, 'auc', 2)} ({_number(row, 'p_value', 3)})" if known else NO_NUMBER)
        rows.append([f"`{regime}`, `{memory}`", *cells])
    return table(["disturbance, memory", *SINGLE], rows) if rows else MISSING


def _places(tables: Tables, regimes: Sequence[str]) -> list[str]:
    """Where the longer disturbance left the state, along the displacement at its end: long minus short."""
    late = _ordered(tables.rows("ambiguous_values", span=LATE))
    parts = []
    for regime in regimes:
        for memory, rows in late[late["regime"] == regime].groupby("memory", sort=False):
            value = _long_minus_short(rows)
            if value.n:
                parts.append(f"{interval(value, 3)} (`{memory}` after `{regime}`)")
    if not parts:
        return []
    return [
        "Where the state lies in the second half of the window: 0 is where it was before the disturbance, 1 where it was at its end. "
        f"Long minus short, paired by seed: {listed(parts)}."
    ]


def _long_minus_short(rows: pd.DataFrame) -> Estimate:
    values = rows.set_index(["length", "seed"])["along"].astype(float)
    long, short = (
        values.xs(length) if length in values.index.get_level_values(0) else pd.Series(dtype=float)
        for length in ("long", "short")
    )
    return paired(long, short)


def _shows(told: pd.DataFrame) -> str:
    """What the test can say, and in how many cases its premise does not hold."""
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
    return text + (
        "Batches are the same in both runs, weights are not: a longer disturbance trained them longer, and what tells may have stayed in "
        "them. A state that tells no more than the statistics reads them, and remembers nothing of its own. Where the statistics tell every pair, "
        "nothing could tell more. `false_feedback` leaves batches and targets true, so it is the cleaner disturbance. States of different "
        "seeds share no axes, so the read-out has norms, distances and one direction only; a reader that knew a state's axes could tell more."
    )


def _findings(tables: Tables, regime: str) -> list[Finding]:
    """The state, and with memory the gate, against the statistics; the state with memory against that without."""
    after = f"after `{regime}`" if regime else "after a disturbance"
    claims = (
        (f"Late in the window {after}, the state tells a long from a short disturbance beyond the window's statistics.", STATE, STATISTICS),
        (f"Late in the window {after}, gate and memory share tell it beyond the window's statistics.", GATE, STATISTICS),
        (f"Late in the window {after}, a state with memory tells it better than one without.", STATE, NO_MEMORY),
    )  # fmt: skip
    return [_finding(tables, regime, *claim) for claim in claims]


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
