"""A claim's row of the table `claims` in words: its effect, what that is held against, its evidence, its marks."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from experiments.claims.file import ADDED, CHANGED, FORESEEN, REMOVED, SEEN
from experiments.claims.judge import PAIRED, SUPPORTED
from experiments.kit.pairs import LOOKS
from experiments.kit.placebos import PLACEBOS
from experiments.kit.stats import Estimate
from experiments.kit.words import DASH, OF_CLAIMS, cell, interval, listed, number, plural

Row = pd.Series
MARKS = {CHANGED: "†", ADDED: "†", REMOVED: "†", SEEN: "*", FORESEEN: "‡"}


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Claims, what fails first, otherwise in their own order."""
    return rows.loc[rows["verdict"].map(OF_CLAIMS.index).sort_values(kind="stable").index]


def tally(groups: Mapping[str, pd.DataFrame]) -> str:
    """How many claims came out which way, a sentence for each group that has any, by what one of its claims is called."""
    said = []
    for name, rows in groups.items():
        counts = Counter(rows["verdict"])
        parts = [
            f"{counts[one]} {'is' if counts[one] == 1 else 'are'} {one}" for one in OF_CLAIMS if counts[one]
        ]
        many = name if len(rows) == 1 else name.replace("claim", "claims", 1)
        said += [f"Of {len(rows)} {many}, {listed(parts)}."] if parts else []
    return " ".join(said)


def marked(rows: pd.DataFrame) -> str:
    """What the marks behind claims mean, of those that occur."""
    found = [f"{mark} {text}" for text, mark in MARKS.items() if (rows["changed"] == text).any()]
    return f"Marks: {'; '.join(found)}." if found else ""


def known_before(rows: pd.DataFrame) -> "tuple[pd.Series[bool], pd.Series[bool]]":
    """Which claims were written or changed late, and which in time, but with their size known."""
    foreseen = rows["changed"] == FORESEEN
    return rows["changed"].isin(list(MARKS)) & ~foreseen, foreseen


def plain(row: Row) -> bool:
    """Whether a claim is supported, stood before its results and was a guess of its size: what is shown in bold."""
    return row["verdict"] == SUPPORTED and row["changed"] not in MARKS


def told(row: Row, beside: pd.DataFrame) -> dict[str, Any]:
    """A claim as the templates tell it: the columns of `claims`, most of them as cells of a table.

    beside: the table `claim_beside`.
    """
    beside = beside[(beside["id"] == row["id"]) & (beside["n"] > 0)]
    held, smallest = _held(row), f"{'± ' * (row['direction'] == 'equal within')}{row['smallest']:g}"
    p, p_holm = ("< 0.0001" if row[name] < 0.0001 else number(row[name], 4) for name in ("p", "p_holm"))
    against = f"; {held}" if held != DASH else ""
    least = f"{'less than' if row['direction'] == 'equal within' else 'at least'} {row['smallest']:g}"
    late = f" {row['changed'].capitalize()}." if row["changed"] in MARKS else ""
    numbers = f"{_ours(row)}{against}; to count it takes {least}; p {p_holm}, corrected for the family; n = {row['n']}.{late}"
    strongest = [
        f"; {one['label']}, {_called(one['name'])}, {number(one['mean'], _digits(row))}"
        for _, one in beside[beside["name"].notna()].iterrows()
    ]
    reading = [row["note"], *(_shown(row, one) for _, one in beside.iterrows())]
    explained = [row["control"], _leaning(row).format(smallest), *reading]
    told = {
        **row, "mark": MARKS.get(row["changed"], ""), "published": _published(row), "ours": _ours(row), "p": p, "p_holm": p_holm,
        "reproduced": _reproduced(row), "own": _own(row), "returns": row["returns"] if _known(row["returns"]) else DASH, "smallest": smallest, "held": held + "".join(strongest), "against": held,
        "shown_verdict": f"**{row['verdict']}**" if plain(row) else f"{row['verdict']}{MARKS.get(row['changed'], '')}",
        "evidence": numbers if row["n"] else "The tables hold nothing for it yet.",
        "said": re.sub(r"(?<=[ (:])-(?=\d)", "−", str(row["said"])),
        "reading": " ".join(filter(_known, reading)), "explained": " ".join(filter(_known, explained)) or DASH,
    }  # fmt: skip
    return {name: cell(value) if isinstance(value, str) else value for name, value in told.items()}


def _known(value: Any) -> bool:
    """Whether a cell holds something."""
    return bool(pd.notna(value)) and value != ""


def _digits(row: Row) -> int:
    """Decimals that show a tenth of the smallest effect of interest, three at least."""
    return max(3, 1 - math.floor(math.log10(row["smallest"])))


def _mean(row: Row, columns: str, digits: int, sign: bool = True) -> str:
    """Mean and interval, from these three columns."""
    mean, low, high = row[columns.split()].astype(float)
    return interval(Estimate(row["n"], mean, low, high, math.nan), digits, sign)


def _published(row: Row) -> str:
    """The document's number; a dash for a claim of ours."""
    if _known(row["published"]):
        return number(row["published"], _digits(row))
    return "in words" if row["origin"] == "published" else DASH


def _ours(row: Row) -> str:
    """The effect with its interval; among placebos, how far the number lies beyond their mean."""
    if not row["n"]:
        return DASH
    counted = row["null"] and not _known(row["rival"])
    return f"{_mean(row, 'effect low high', _digits(row), not counted)} {row['unit']}"


def _own(row: Row) -> str:
    """What the published protocol gives here, whatever the effect is."""
    signed = row["null"] == 0 and not _known(row["placebo"])
    return f"{_mean(row, 'reproduced reproduced_low reproduced_high', _digits(row), signed)} {row['unit']}"


def _reproduced(row: Row) -> str:
    """What the published protocol gives here; a dash where that is the effect itself."""
    return _own(row) if row["reproduced"] != row["effect"] else DASH


def _held(row: Row) -> str:
    """What the claim is held against: both numbers on one scale, and the other's name."""
    value, rival, placebo = (number(row[name], _digits(row)) for name in ("value", "rival", "placebo"))
    rivals, placebos = _called(row["rival_name"]), _called(row["placebo_name"])
    if placebo != DASH and not (row["test"] == "placebo_ranks" and row["n"]):
        return f"{placebos} gets {placebo}"
    return f"{value} against {rival} ({rivals})" if rival != DASH else DASH


def _called(name: Any) -> str:
    """What tables call by a condition or a reader, or by several values, in words; as it stands where there are none.

    A condition of the published size is called as its like of the small one: the claim says the size.
    """
    words = {**PLACEBOS, **{of: look.label for of, look in LOOKS.items()}}
    parts = str(name).split(", ") if _known(name) else ()
    return ", ".join(words.get(part, words.get(part.removeprefix("large_"), part)) for part in parts)


def _leaning(row: Row) -> str:
    """Where a claim that fell lies by its whole interval, if on one side of its null."""
    above, below = row["low"] > row["null"], row["high"] < row["null"]
    claimed, other = {"greater": (above, below), "less": (below, above)}.get(row["direction"], (False, False))
    if claimed:
        return "It lies on the claimed side, but is smaller than the smallest effect of interest ({})."
    return "It lies on the opposite side." if other else ""


def _shown(row: Row, one: Row) -> str:
    """What is shown beside a claim, as a sentence."""
    digits = max(_digits(row), 4 if abs(one["mean"]) < 0.01 else 0)
    name = f" ({_called(one['name'])})" if _known(one["name"]) else ""
    name = f" ({plural(one['n'], 'pair')})" if one["label"] == PAIRED else name
    return f"{one['label'][0].upper()}{one['label'][1:]}{name}: {_mean(one, 'mean low high', digits)}."
