"""What a new publication changed: each claim whose verdict, or whether its published number comes back, is another than before.

docs/CHANGES.md is written from two tables of claims, the one that was published before and today's.
"""

from pathlib import Path

import pandas as pd

from base import storage
from base.storage import UserError
from experiments.claims.file import Claims, load
from experiments.kit import tables
from experiments.kit.stats import Estimate
from experiments.kit.words import DASH, interval, plural, table

ANSWERS = ("verdict", "returns")
NUMBERS, PRINTED = ("effect", "low", "high"), ("reproduced", "reproduced_low", "reproduced_high")
HEAD = """# What changed since results were published before

Written by `scripts/make_report.py --changes FOLDER` from the table of claims in this repository and in an older `docs/results`; edits here are lost.
Before: results of {before}. Verdicts are those of [every claim](results/claims.md); *comes back* is asked of a published number alone. An interval is 95 %.

"""


def write(root: Path, older: Path) -> Path:
    """Write docs/CHANGES.md below root: what its committed claims say otherwise than those of an older docs/results. Returns its path.

    Raises:
        UserError: the older folder has no table of claims, or no register of them.
    """
    before = tables.read(older / "tables", "claims", "claims")
    register = older / "claims.json"
    if before.empty or not register.is_file():
        raise UserError(
            f"{older} is no folder of results: it needs tables/claims and claims.json; name an older docs/results"
        )
    dates = {str(found["date"]) for found in storage.read_json(register)["results"].values()}
    now = tables.read(root / "docs" / "results" / "tables", "claims", "claims")
    place = root / "docs" / "CHANGES.md"
    text = changes(before, now, load(root / "configs" / "claims.toml"))
    storage.write_text(place, HEAD.format(before=" to ".join(sorted({min(dates), max(dates)}))) + text + "\n")
    return place


def changes(before: pd.DataFrame, now: pd.DataFrame, claims: Claims) -> str:
    """A Markdown table, a row a claim that is judged otherwise now, then what was withdrawn or added, in the order of today's file.

    before, now: tables `claims` of two publications; columns that the older one lacks count as empty.
    """
    old, new = (
        {str(row["id"]): row for _, row in rows.iterrows()}
        for rows in (before.reindex(columns=now.columns), now)
    )
    rows, withdrawn = [], []
    for name, claim in claims.claims.items():
        if claim.withdrawn is not None:
            if name in old and claim.successor is not None:
                after = (
                    f"`{claim.successor}`: {_told(new[claim.successor])}"
                    if claim.successor in new
                    else f"`{claim.successor}`"
                )
                withdrawn.append([f"`{name}`: {old[name]['statement']}", _told(old[name]), after])
        elif name in old and name in new and _answers(old[name]) != _answers(new[name]):
            rows.append([f"`{name}`: {claim.statement}", _told(old[name]), _told(new[name])])
    judged = {name for name, row in new.items() if row["n"]}
    both = judged & old.keys()
    added = judged - old.keys() - {claim.successor for claim in claims.claims.values()}
    head = ["claim", "before", "now"]
    parts = [
        f"Of {plural(len(both), 'claim')} judged in both, {len(rows)} came out otherwise.",
        table(head, rows, words=True) if rows else "",
        f"Withdrawn, since what was measured is not what was claimed, with what took its place: {len(withdrawn)}.",
        table(head, withdrawn, words=True) if withdrawn else "",
        f"Judged now and not before, besides those: {len(added)}.",
    ]
    return "\n\n".join(filter(None, parts))


def _answers(row: "pd.Series") -> tuple[str, ...]:
    return tuple("" if pd.isna(row[name]) else str(row[name]) for name in ANSWERS)


def _told(row: "pd.Series") -> str:
    """A verdict, the number that it is of, and whether the published number comes back."""
    verdict, returns = _answers(row)
    size = _size(row, NUMBERS)
    own = _size(row, PRINTED)
    printed = f"; comes back: {returns}{f', {own}' if own != size else ''}" if returns else ""
    return f"{verdict}, {size}, n = {int(row['n'])}{printed}"


def _size(row: "pd.Series", columns: tuple[str, ...]) -> str:
    mean, low, high = (float(row[name]) for name in columns)
    shown = interval(Estimate(int(row["n"]), mean, low, high, float("nan"))) if row["n"] else DASH
    return shown if shown == DASH else f"{shown} {row['unit']}"
