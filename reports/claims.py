"""The page on claims, and README's table of them."""

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claim_file import ADDED, CHANGED, PRIMARY, SEEN
from analysis.claim_tests import ALPHA, NOT_SUPPORTED, RULE, VERDICTS, smallest_p
from analysis.claims import BESIDE, CLAIMS, REMOVED
from experiments.kit import published
from experiments.kit.stats import Estimate
from experiments.kit.words import MISSING, Finding, interval, listed, number, plural, table
from reports.document_rows import COLUMNS as OF_DOCUMENT
from reports.document_rows import rows_of_the_document
from reports.parts import Section, Tables

TITLE = "Claims: what holds, what fell, what stays open"
FILE = "claims.md"
SUITE = "claims"
COLUMNS: dict[str, tuple[str, ...]] = {"claims": CLAIMS, "claim_beside": BESIDE, **OF_DOCUMENT}
MARKS = {CHANGED: "†", ADDED: "†", REMOVED: "†", SEEN: "*"}
HELD = "held against"
HOW = (
    "*Ours*: the claimed difference with its 95 % interval; among placebos the number itself first, then how far it lies beyond their mean. "
    "*Held against*: the two numbers that the difference is made of, or, alone, what a control gets in its place."
)
WORDS = (
    'Words: *published*, and *the document*, are the essay "Adding Interoception to NanoGPT" and the one run it tells of; *in words*, where it '
    "gives no number. *Vanilla*: a model without a self-state. *Calibrated*: a self-state whose statistics are standardised by running "
    "moments, with ordinary initialisation and no weight decay on what updates and reads it. *Recurring world*: half of the targets "
    "are replaced by random ones, on and off through the whole run; *faint world*: the same with so few that one batch leaves doubt; "
    "*mix*: five ways of disturbing training, on and off. *Clean loss*: of training batches while nothing disturbs them. *Blind control*: "
    "a bias or a state that senses nothing of its own run's present, such as a constant or, *yoked*, a state fed another run's statistics."
)
HEAD = (
    "claim",
    "published",
    "ours",
    "smallest of interest",
    HELD,
    "p",
    "p (Holm)",
    "n",
    "verdict",
)


def sections(tables: Tables, figures: str) -> list[Section]:
    """The page's sections. `figures` is the folder of figures as seen from the page."""
    rows = tables.rows("claims")
    known, shown = rows[rows["family"].notna()], tables.rows("claim_beside")
    families = list(dict.fromkeys(known["family"]))

    def family(name: str) -> Section:
        members = known[known["family"] == name]
        return _family(members, shown, figures, len(families), _sizes(members, tables.rows("runs")))

    parts = [family(name) for name in families if name == PRIMARY]
    parts.append(fell(known, shown))
    parts += [family(name) for name in families if name != PRIMARY]
    return [*parts, rows_of_the_document(tables), registered(rows)]


def _family(rows: pd.DataFrame, shown: pd.DataFrame, figures: str, families: int, sizes: str) -> Section:
    """A family's table, what fails first, and how to read its claims. The primary family's claims are the page's findings."""
    primary = rows["family"].iloc[0] == PRIMARY
    body = [claim_table(rows, shown), HOW, *marked(rows), *([sizes] if sizes else []), *readings(rows, shown)]
    if primary:
        body += [WORDS, f"![All claims]({figures}/claims.png)"]
    findings = [Finding(row["statement"], row["verdict"], evidence(row)) for _, row in rows.iterrows()]
    return Section(
        str(rows["family_title"].iloc[0]),
        f"{rows['family_asks'].iloc[0]} {plural(len(rows), 'claim')}, corrected together by Holm's method.",
        body,
        "A verdict holds for these models, this corpus and this size of effect. "
        + (
            f"These claims are few, so that {plural(int(rows['planned'].iloc[0]), 'seed')} can decide them."
            if primary
            else f"The chance of a false claim is {ALPHA} for this family by itself, and as much for each of the "
            f"{families} families: not for all together.{_needs(rows)}"
        ),
        findings if primary else (),
    )


def marked(rows: pd.DataFrame) -> list[str]:
    """What the marks behind a table's claims mean, as a line; nothing where none is marked."""
    found = [f"{mark} {text}" for text, mark in MARKS.items() if (rows["changed"] == text).any()]
    return [f"Marks: {'; '.join(found)}."] if found else []


def _needs(rows: pd.DataFrame) -> str:
    """What Holm's correction asks of the first supported claim of a family that is decided by signs alone."""
    seeds, count = int(rows["planned"].iloc[0]), len(rows)
    least = smallest_p("sign_flip", "greater", seeds)
    if (rows["test"] == "placebo_ranks").any() or least * count >= ALPHA or 2 * least * count < ALPHA:
        return ""
    return (
        f" With {plural(count, 'claim')} the first to be supported needs the smallest p that {seeds} seeds can give: all of them on "
        "the claimed side."
    )


def _sizes(rows: pd.DataFrame, runs: pd.DataFrame) -> str:
    """How large the models are, where published values stand beside those of smaller ones."""
    theirs = rows[rows["origin"] == "published"]
    suites = sorted({suite for names in theirs["suites"].dropna() for suite in str(names).split()})
    sizes = {suite: runs.loc[runs["suite"] == suite, "parameters"].max() for suite in suites}
    small = {suite: size for suite, size in sizes.items() if size < published.PARAMETERS / 2}
    if not small:
        return ""
    millions = listed([f"`{suite}`: {size / 1e6:.2f} million" for suite, size in small.items()])
    return (
        f"Published values here are of a model of {published.PARAMETERS / 1e6:.1f} million parameters, ours of a smaller one ({millions}): a "
        "number that does not come back may differ for that alone."
    )


def readings(rows: pd.DataFrame, shown: pd.DataFrame) -> list[str]:
    """How single claims are to be read, with what is shown beside them and takes no part in them: a list, or nothing."""
    lines = [
        f"- *{row['short']}* (`{row['id']}`): {said}"
        for _, row in in_order(rows).iterrows()
        if (said := reading(row, shown))
    ]
    return ["Read with them, and no part of any claim:\n\n" + "\n".join(lines)] if lines else []


def reading(row: "pd.Series[Any]", shown: pd.DataFrame) -> str:
    """How one claim is to be read, with what is shown beside it; "" where its file says nothing of that."""
    notes = [str(row["note"])] if _known(row["note"]) else []
    for _, one in shown[(shown["id"] == row["id"]) & (shown["n"] > 0)].iterrows():
        value = Estimate(int(one["n"]), one["mean"], one["low"], one["high"], math.nan)
        name = f" (`{one['name']}`)" if _known(one["name"]) else ""
        digits = max(_digits(row), 4 if abs(one["mean"]) < 0.01 else 0)
        notes.append(
            f"{str(one['label'])[0].upper()}{str(one['label'])[1:]}{name}: {interval(value, digits)}."
        )
    return " ".join(notes)


def claim_table(rows: pd.DataFrame, shown: pd.DataFrame) -> str:
    """A row a claim, what fails first. Of `shown`, what was the strongest of several stands in the table itself."""
    if rows.empty:
        return MISSING
    strongest = shown[shown["name"].notna() & (shown["n"] > 0)]
    lines = []
    for _, row in in_order(rows).iterrows():
        line = cells(row)
        for _, one in strongest[strongest["id"] == row["id"]].iterrows():
            line[HEAD.index(HELD)] += f"; {one['label']} {number(one['mean'], _digits(row))} ({one['name']})"
        lines.append(line)
    return table(HEAD, lines)


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
        ours(row) if row["n"] else "–",
        smallest(row),
        beside(row),
        probability(row["p"]),
        probability(row["p_holm"]),
        str(int(row["n"])),
        str(row["verdict"]),
    ]


def ours(row: "pd.Series[Any]") -> str:
    """The effect with its interval; among placebos, the number itself and how far it lies beyond them."""
    value = Estimate(*(int(row["n"]), row["effect"], row["low"], row["high"], row["p"]))
    if row["test"] == "binomial":
        if not _known(row["effect"]):
            return "no seed decides"
        return f"{interval(value, _digits(row), sign=False)} {unit(row)}"
    counted = not _known(row["rival"]) and row["null"]
    shown = f"{interval(value, _digits(row), sign=not counted)} {unit(row)}"
    return f"{number(row['value'], _digits(row))}, {shown} beyond placebos" if _ranked(row) else shown


def _ranked(row: "pd.Series[Any]") -> bool:
    return bool(row["test"] == "placebo_ranks" and row["n"])


def unit(row: "pd.Series[Any]") -> str:
    """The claim's unit as it can stand in a table."""
    return str(row["unit"]).replace("|", "\\|")


def beside(row: "pd.Series[Any]") -> str:
    """What the claim is held against: both numbers on one scale, and the other's name; seeds where order alone counts."""
    digits = _digits(row)
    if row["test"] == "binomial" and row["n"]:
        ties = int(row["ties"])
        said = f"{int(row['wins'])} of {plural(int(row['n']), 'seed')}"
        if ties:
            neither = int(row["neither"])
            said += f", {ties} tied" + (f", in {neither} of them neither recovered" if neither else "")
        return f"{said} ({row['rival_name']})" if _known(row["rival_name"]) else said
    if _known(row["placebo"]) and not _ranked(row):
        return f"{number(row['placebo'], digits)} ({row['placebo_name']})"
    if _known(row["rival"]):
        return f"{number(row['value'], digits)} against {number(row['rival'], digits)} ({row['rival_name']})"
    return "–"


def evidence(row: "pd.Series[Any]") -> str:
    """The numbers that decide a claim, as a sentence."""
    if not row["n"]:
        return "The tables hold nothing for it yet."
    held = beside(row)
    return (
        f"{ours(row)}, smallest of interest {smallest(row)}"
        f"{f'; {held}' if held != '–' else ''}; p (Holm) {probability(row['p_holm'])}, n = {int(row['n'])}."
    )


def leaning(row: "pd.Series[Any]") -> str:
    """Where a claim that fell lies by its whole interval, if on one side of its null; "" for one that lies on neither."""
    sides = {"greater": (row["low"] > row["null"], row["high"] < row["null"])}
    sides["less"] = sides["greater"][::-1]
    claimed, other = sides.get(str(row["direction"]), (False, False))
    if claimed:
        return f"It lies on the claimed side, and below the smallest effect of interest ({smallest(row)})."
    return "It lies on the other side." if other else ""


def fell(rows: pd.DataFrame, shown: pd.DataFrame) -> Section:
    """Published claims that are not supported: the published protocol's number here, then the control."""
    lost = rows[(rows["origin"] == "published") & (rows["verdict"] == NOT_SUPPORTED)]
    lines = []
    for _, row in lost.iterrows():
        digits = _digits(row)
        again = Estimate(
            *(int(row["n"]), row["reproduced"], row["reproduced_low"], row["reproduced_high"], math.nan)
        )
        explained = (str(row["control"]) if _known(row["control"]) else "", leaning(row), reading(row, shown))
        lines.append(
            [
                re.sub(r"(?<=[ (:])-(?=\d)", "−", str(row["said"])).replace("|", "\\|"),
                number(row["published"], digits) if _known(row["published"]) else "in words",
                f"{interval(again, digits, sign=row['null'] == 0 and not _known(row['placebo']))} {unit(row)}"
                if row["reproduced"] != row["effect"]
                else "–",
                beside(row),
                ours(row),
                str(int(row["n"])),
                " ".join(filter(None, explained)) or "–",
            ]
        )
    head = [
        "the document says",
        "published",
        "its protocol here",
        HELD,
        "what is left",
        "n",
        "what explains it",
    ]
    measured = int((rows["n"] > 0).sum()) if len(rows) else 0
    body = [table(head, lines).replace("---:", "---")] if lines else []
    if not lines:
        body = ["None of the published claims measured so far is not supported." if measured else MISSING]
    return Section(
        "Published claims that fell",
        "Where a published claim is not supported: does its own protocol give its number here, and what explains it? *The document* is the "
        "published text whose claims these are. A dash under *its protocol here*: the claim was registered with no other number than "
        "what is left.",
        body,
        "A number that comes back is no evidence for what was said of it where the control beside it gives it, too, without "
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
        "its size: `docs/PREREGISTRATION.md`.",
        body,
        "The marks come from comparing each claim's hash with the one registered when its suites had no results here. They can't "
        "show what somebody knew from elsewhere; the preregistration says what was.",
    )


def readme_claims(tables_dir: Path, figures: str = "figures") -> str:
    """README's table of claims from the committed tables: counts, the figure, each family's claims, what fails first."""
    tables = Tables(tables_dir, SUITE, COLUMNS)
    rows, shown = tables.rows("claims"), tables.rows("claim_beside")
    if rows.empty or not (rows["n"] > 0).any():
        return "No claim has been decided yet."
    parts = [
        f"{tally(rows)} {RULE}",
        f"{HOW} {WORDS}",
        f"![All claims: published, ours, placebo]({figures}/claims.png)",
    ]
    for _, members in rows[rows["family"].notna()].groupby("family", sort=False):
        sizes = _sizes(members, tables.rows("runs"))
        parts += [
            f"### {members['family_title'].iloc[0]}",
            claim_table(members, shown),
            *([sizes] if sizes else []),
        ]
        parts += readings(members, shown)
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
