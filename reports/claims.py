"""The page on claims, and README's table of them."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claim_file import ADDED, CHANGED, PRIMARY, SEEN
from analysis.claim_tests import ALPHA, NOT_SUPPORTED, RULE, VERDICTS
from analysis.claims import CLAIMS, REMOVED
from plots.series import Estimate
from reports.markdown import interval, listed, number, plural, table
from reports.parts import MISSING, Finding, Section, Tables

TITLE = "Claims: what holds, what fell, what stays open"
FILE = "claims.md"
SUITE = "claims"
COLUMNS: dict[str, tuple[str, ...]] = {"claims": CLAIMS}
MARKS = {CHANGED: "†", ADDED: "†", REMOVED: "†", SEEN: "*"}
HEAD = (
    "claim",
    "published",
    "ours",
    "smallest of interest",
    "placebo or control",
    "p",
    "p (Holm)",
    "n",
    "verdict",
)


def sections(tables: Tables, figures: str) -> list[Section]:
    """The page's sections. `figures` is the folder of figures as seen from the page."""
    rows = tables.rows("claims")
    known = rows[rows["family"].notna()]
    families = list(dict.fromkeys(known["family"]))
    parts = [_family(known[known["family"] == name], figures) for name in families if name == PRIMARY]
    parts.append(fell(known))
    parts += [_family(known[known["family"] == name], figures) for name in families if name != PRIMARY]
    return [*parts, registered(rows)]


def _family(rows: pd.DataFrame, figures: str) -> Section:
    """A family's table, what fails first. The primary family's claims are the page's findings."""
    primary = rows["family"].iloc[0] == PRIMARY
    body = [claim_table(rows)]
    if primary:
        body += [f"![All claims]({figures}/claims.png)"]
    findings = [Finding(row["statement"], row["verdict"], evidence(row)) for _, row in rows.iterrows()]
    return Section(
        str(rows["family_title"].iloc[0]),
        f"{rows['family_asks'].iloc[0]} {plural(len(rows), 'claim')}, corrected together by Holm's method.",
        body,
        "A verdict holds for these models, this corpus and this size of effect. "
        + (
            "These few claims were chosen beforehand, so that eight seeds can decide them."
            if primary
            else f"The chance of a false claim is {ALPHA} for this family by itself, not for all families together."
        ),
        findings if primary else (),
    )


def claim_table(rows: pd.DataFrame) -> str:
    """A row a claim, what fails first."""
    if rows.empty:
        return MISSING
    return table(HEAD, [cells(row) for _, row in in_order(rows).iterrows()])


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Claims, what fails first, otherwise in their own order."""
    return rows.sort_values("verdict", key=lambda column: column.map(VERDICTS.index), kind="stable")


def cells(row: "pd.Series[Any]") -> list[str]:
    """One claim as cells of HEAD."""
    digits = _digits(row)
    said = number(row["published"], digits) if _known(row["published"]) else "–"
    if said == "–" and row["origin"] == "published":
        said = "in words"
    return [
        f"{row['statement']}{MARKS.get(str(row['changed']), '')}",
        said,
        f"{ours(row)} {unit(row)}" if row["n"] else "–",
        smallest(row),
        beside(row),
        probability(row["p"]),
        probability(row["p_holm"]),
        str(int(row["n"])),
        str(row["verdict"]),
    ]


def ours(row: "pd.Series[Any]") -> str:
    """The effect with its interval."""
    counted = row["test"] == "binomial" or (not _known(row["rival"]) and row["null"])
    value = Estimate(*(int(row["n"]), row["effect"], row["low"], row["high"], row["p"]))
    return interval(value, _digits(row), sign=not counted)


def unit(row: "pd.Series[Any]") -> str:
    """The claim's unit as it can stand in a table."""
    return str(row["unit"]).replace("|", "\\|")


def beside(row: "pd.Series[Any]") -> str:
    """What the claim is held against: the placebo's or control's number, and its name."""
    if _known(row["placebo"]):
        return f"{number(row['placebo'], _digits(row))} ({row['placebo_name']})"
    if _known(row["rival"]):
        return f"{number(row['value'], _digits(row))} against {number(row['rival'], _digits(row))} ({row['rival_name']})"
    return "–"


def evidence(row: "pd.Series[Any]") -> str:
    """The numbers that decide a claim, as a sentence."""
    if not row["n"]:
        return "The tables hold nothing for it yet."
    held = beside(row)
    return (
        f"{ours(row)} {unit(row)}, smallest of interest {smallest(row)}"
        f"{f'; beside {held}' if held != '–' else ''}; p (Holm) {probability(row['p_holm'])}, n = {int(row['n'])}."
    )


def fell(rows: pd.DataFrame) -> Section:
    """Published claims that are not supported: the published protocol's number here, then the control."""
    lost = rows[(rows["origin"] == "published") & (rows["verdict"] == NOT_SUPPORTED)]
    lines = []
    for _, row in lost.iterrows():
        digits = _digits(row)
        again = Estimate(
            *(int(row["n"]), row["reproduced"], row["reproduced_low"], row["reproduced_high"], math.nan)
        )
        lines.append(
            [
                str(row["said"]).replace("|", "\\|"),
                number(row["published"], digits) if _known(row["published"]) else "in words",
                f"{interval(again, digits, sign=row['null'] == 0 and not _known(row['placebo']))} {unit(row)}",
                beside(row),
                f"{ours(row)}",
                str(row["control"]) if _known(row["control"]) else "–",
            ]
        )
    head = [
        "the document says",
        "published",
        "its protocol here",
        "held against",
        "what is left",
        "what explains it",
    ]
    measured = int((rows["n"] > 0).sum()) if len(rows) else 0
    body = [table(head, lines).replace("---:", "---")] if lines else []
    if not lines:
        body = ["None of the published claims measured so far is not supported." if measured else MISSING]
    return Section(
        "Published claims that fell",
        "Where a published claim is not supported: does its own protocol give its number here, and what explains it?",
        body,
        "A number that comes back is not yet evidence for what was said of it: the control beside it gives it, too, without "
        "what was claimed. A number that does not come back may be the one run's that it was measured on.",
    )


def registered(rows: pd.DataFrame) -> Section:
    """The file's hash, each claim's, and what was changed after results existed."""
    body = [MISSING]
    if len(rows):
        marked = {mark: rows.loc[rows["changed"] == mark, "id"].tolist() for mark in MARKS}
        lines = [
            f"- {mark[0].upper()}{mark[1:]} ({MARKS[mark]}): {listed([f'`{name}`' for name in names])}."
            for mark, names in marked.items()
        ]
        hashes = table(["claim", "sha256, first 12", "stands as"], [
            [f"`{row['id']}`", f"`{row['hash']}`", str(row["changed"]) if _known(row["changed"]) else "registered"]
            for _, row in rows.iterrows()
        ]).replace("---:", "---")  # fmt: skip
        body = [f"`configs/claims.toml`, sha256 `{rows['file_sha256'].iloc[0]}`.", "\n".join(lines), hashes]
    return Section(
        "What was claimed before it was known",
        "Were the claims fixed before their results? What each claim says in full, and why its smallest effect of interest has "
        "its size: [PREREGISTRATION.md](../PREREGISTRATION.md).",
        body,
        "The marks come from comparing each claim's hash with the one registered when its suites had no results here. They can't "
        "show what somebody knew from elsewhere; the preregistration says what was.",
    )


def readme_claims(tables_dir: Path, figures: str = "figures") -> str:
    """README's table of claims from the committed tables: counts, the figure, each family's claims, what fails first."""
    rows = Tables(tables_dir, SUITE, COLUMNS).rows("claims")
    if rows.empty or not (rows["n"] > 0).any():
        return "No claim has been decided yet."
    parts = [f"{tally(rows)} {RULE}", f"![All claims: published, ours, placebo]({figures}/claims.png)"]
    for _, members in rows[rows["family"].notna()].groupby("family", sort=False):
        parts += [f"### {members['family_title'].iloc[0]}", claim_table(members)]
    marks = {mark: text for text, mark in MARKS.items() if (rows["changed"] == text).any()}
    notes = [f"{mark}: {text}." for mark, text in marks.items()]
    parts.append(
        f"p: exact, over seeds; Holm within each table. `configs/claims.toml`, sha256 `{rows['file_sha256'].iloc[0]}`. "
        + " ".join(notes)
    )
    return "\n\n".join(part.strip() for part in parts)


def tally(rows: pd.DataFrame) -> str:
    """How many published claims, and how many of ours, came out which way."""
    said = []
    for origin, name in (("published", "published claim"), ("ours", "claim of this study")):
        verdicts = Counter(rows.loc[rows["origin"] == origin, "verdict"])
        counts = [
            f"{verdicts[one]} {'are' if verdicts[one] != 1 else 'is'} {one}"
            for one in VERDICTS
            if verdicts[one]
        ]
        if counts:
            said.append(f"Of {_claims(sum(verdicts.values()), name)}, {listed(counts)}.")
    return " ".join(said)


def _digits(row: "pd.Series[Any]") -> int:
    """Decimals that show a tenth of the smallest effect of interest, three at least."""
    return max(3, 1 - math.floor(math.log10(row["smallest"])))


def _claims(count: int, name: str) -> str:
    return f"{count} {name if count == 1 else name.replace('claim', 'claims')}"


def smallest(row: "pd.Series[Any]") -> str:
    """The smallest effect of interest; in a claim of no difference, the largest that counts as none."""
    return f"{'± ' if row['direction'] == 'equal within' else ''}{row['smallest']:g}"


def probability(p: float) -> str:
    """A p-value to four places."""
    return "< 0.0001" if p < 0.0001 else number(p, 4)


def _known(value: Any) -> bool:
    """Whether a cell holds something."""
    return bool(pd.notna(value)) and value != ""
