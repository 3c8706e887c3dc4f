"""The page on claims, README's table of them, and docs/PREREGISTRATION.md."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

import storage
from analysis.claim_file import ADDED, CHANGED, PRIMARY, SEEN, Claim, Claims, Query, load
from analysis.claim_tests import ALPHA, RULE, smallest_p
from analysis.claims import CLAIMS, REMOVED, named
from plots.series import Estimate
from reports.markdown import interval, listed, number, plural, table
from reports.parts import MISSING, NOT_SUPPORTED, VERDICTS, Finding, Section, Tables

TITLE = "Claims: what holds, what fell, what stays open"
FILE = "claims.md"
SUITE = "claims"
COLUMNS: dict[str, tuple[str, ...]] = {"claims": CLAIMS}
TESTS = {
    "sign_flip": "paired sign-flip permutation over seeds, all 2^n of them",
    "placebo_ranks": "rank among the seed's placebo draws, ranks of all seeds combined exactly",
    "binomial": "exact binomial test on the seeds that lie on the claimed side",
}
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


def preregistration(claims: Claims) -> str:
    """docs/PREREGISTRATION.md, from configs/claims.toml alone."""
    seeds = claims.registration.seeds
    floor = smallest_p("sign_flip", "greater", seeds)
    rest = sum(claim.family != PRIMARY for claim in claims.claims.values())
    head = PREREGISTRATION.format(
        sha256=claims.sha256, known=claims.registration.known, rule=RULE, seeds=seeds, flips=2**seeds,
        floor=number(floor, 4), most=int(ALPHA / floor - 1e-9), rest=rest, together=number(floor * rest, 2), alpha=ALPHA,
    )  # fmt: skip
    parts = [head.strip()]
    for name, family in claims.families.items():
        members = claims.of(name)
        parts.append(f"## {family.title}\n\n{family.asks} Family `{name}`, {plural(len(members), 'claim')}.")
        parts += [_registered(identity, claim, claims) for identity, claim in members.items()]
    return "\n\n".join(parts) + "\n"


def _registered(name: str, claim: Claim, claims: Claims) -> str:
    seen = set(claim.suites()) & set(claims.registration.seen)
    said = f'Published: "{claim.said}".' if claim.said else "Ours."
    if claim.published is not None:
        said += f" Its number: {number(claim.published)} {claim.unit}."
    null = f" {claim.null:g}" if claim.null else " zero"
    claimed = f"{claim.direction} than{null}"
    if claim.test == "binomial":
        claimed = f"{claim.direction} than zero in more than half of the seeds"
    elif claim.direction == "equal within":
        claimed = f"within ± {claim.smallest:g} of{null}"
    elif claim.direction == "different":
        claimed = f"different from{null}"
    lines = [
        f"### `{name}`",
        f"**{claim.statement}** {said}{f' {SEEN.capitalize()}.' if seen else ''}",
        "\n".join(
            [
                f"- Endpoint: {_query(claim.endpoint)}{_against(claim)}.",
                f"- Claimed: {claimed}. Smallest effect of interest: {claim.smallest:g} {claim.unit}, counted from "
                f"{'one half' if claim.test == 'binomial' else null.strip()}. {claim.why}",
                f"- Test: {TESTS[claim.test]}. sha256 `{claim.hash()[:12]}`.",
            ]
        ),
    ]
    return "\n\n".join(lines).replace("|Δ logit|", "mean \\|Δ logit\\|")


def _query(query: Query) -> str:
    where = ", ".join(
        f"{key} {' or '.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in query.where.items()
    )
    take = {"one": "", "mean": "mean of ", "mean_abs": "mean absolute ", "max": "largest "}[query.take]
    missing = f" (an empty cell counts as {query.missing:,.0f})" if query.missing is not None else ""
    return f"{take}`{query.column}` of `{query.suite}/{query.table}` where {where}{missing}"


def _against(claim: Claim) -> str:
    parts = []
    if claim.minus is not None:
        parts.append(f", minus the same for {named(claim, claim.minus)}, paired by seed")
    if claim.placebo is not None:
        kinds = f"; of the kinds by {claim.placebo.by} the strictest decides" if claim.placebo.by else ""
        parts.append(f", among placebo draws of the same seed ({named(claim, claim.placebo)}){kinds}")
    if claim.beside is not None:
        parts.append(f"; shown beside it, not tested: {named(claim, claim.beside)}")
    return "".join(parts)


def write_preregistration(root: Path) -> Path:
    """Rewrite docs/PREREGISTRATION.md from configs/claims.toml."""
    path = root / "docs" / "PREREGISTRATION.md"
    storage.write_text(path, preregistration(load(root / "configs" / "claims.toml")))
    return path


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


PREREGISTRATION = """\
# Claims, before their results

Written by `reports/claims.py` from [`configs/claims.toml`](../configs/claims.toml); edits here are lost. That file's sha256 is
`{sha256}`; every table and page that judges these claims prints it.

**What was known.** {known}

**Unit.** One number a seed; {seeds} seeds. Conditions of a seed share first weights, batches and the draw of regimes, so
differences are paired by seed. Intervals are 95 % t intervals of the mean over seeds (exact binomial ones for shares of seeds).

**Tests.** All are exact. *Sign flip*: the mean difference against all {flips} ways to turn differences round. *Ranks among
placebos*: in each seed, (1 + placebos at least as large) / (1 + placebos); the sum of these over seeds against all combinations
of ranks. Of several kinds of placebo, the largest p and the smallest effect decide. *No difference*: two one-sided
sign-flip tests against the two ends of the smallest effect of interest.

**Families.** p-values are corrected by Holm's method within a family; a claim that was not measured takes part with p = 1. The
smallest p of a one-sided sign flip over {seeds} seeds is {floor}, so a family of more than {most} such claims could never support
one of them. The {rest} claims outside the primary family would need p below {alpha} / {rest} if they were one family, while the
smallest possible p, times {rest}, is {together}: so they are families by question, each with a {alpha} chance of a false claim of its
own. A reader who wants one error rate for everything takes the primary family.

**Verdicts.** {rule}

**Changes.** `docs/results/claims.json` keeps the hash of each claim as it was registered. An edit of a claim whose suites have
results, a claim added then, and one taken away then are marked wherever the claim is shown.
"""
