"""docs/PREREGISTRATION.md: every claim in prose, from configs/claims.toml, with the marks that docs/results/claims.json gives."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.claim_file import PRIMARY, Claim, Claims, Query, load, marks, read_register
from analysis.claim_tests import RULE, smallest_p
from analysis.claims import named
from base import storage
from experiments.kit.levels import ALPHA
from experiments.kit.words import number, plural
from reports.claims import WORDS

TESTS = {
    "sign_flip": "paired sign-flip permutation over seeds, all 2^n of them",
    "placebo_ranks": "rank among the seed's placebo draws, ranks of all seeds combined exactly",
    "binomial": "exact binomial test on the seeds that lie on the claimed side, out of those that are not tied",
}


def preregistration(claims: Claims, register: Mapping[str, Any]) -> str:
    """docs/PREREGISTRATION.md, from configs/claims.toml, and from the register what was changed or added after results."""
    changed = marks(claims, register)
    seeds = claims.registration.seeds
    floor = smallest_p("sign_flip", "greater", seeds)
    rest = sum(claim.family != PRIMARY for claim in claims.claims.values())
    head = PREREGISTRATION.format(
        words=WORDS.removeprefix("Words: "),
        sha256=claims.sha256, known=claims.registration.known, rule=RULE, seeds=seeds, flips=2**seeds,
        families=len(claims.families), floor=number(floor, 4), most=int(ALPHA / floor - 1e-9), rest=rest, together=number(floor * rest, 2), alpha=ALPHA,
    )  # fmt: skip
    parts = [head.strip()]
    if claims.registration.review:
        parts.append(f"**After first results.** {claims.registration.review}")
    for name, family in claims.families.items():
        members = claims.of(name)
        parts.append(f"## {family.title}\n\n{family.asks} Family `{name}`, {plural(len(members), 'claim')}.")
        parts += [_registered(identity, claim, changed[identity]) for identity, claim in members.items()]
    return "\n\n".join(parts) + "\n"


def _registered(name: str, claim: Claim, changed: str) -> str:
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
        f"**{claim.statement}** {said}{f' {changed.capitalize()}.' if changed else ''}",
        "\n".join(
            [
                f"- Endpoint: {_query(claim.endpoint)}{_against(claim)}.",
                f"- Claimed: {claimed}. Smallest effect of interest: {claim.smallest:g} {claim.unit}, counted from "
                f"{'one half' if claim.test == 'binomial' else null.strip()}. {claim.why}",
                f"- Test: {TESTS[claim.test]}. sha256 `{claim.hash()[:12]}`.",
                *(
                    f"- Renamed since, nothing else: `{now}` was called `{then}` when this was registered, and is in the sha256."
                    for now, then in claim.renamed.items()
                ),
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


def write(root: Path) -> Path:
    """Rewrite docs/PREREGISTRATION.md from configs/claims.toml and docs/results/claims.json."""
    claims = load(root / "configs" / "claims.toml")
    path = root / "docs" / "PREREGISTRATION.md"
    storage.write_text(
        path, preregistration(claims, read_register(root / "docs" / "results" / "claims.json"))
    )
    return path


PREREGISTRATION = """\
# Claims, before their results

Written by `scripts/make_report.py --preregistration` from [`configs/claims.toml`](../configs/claims.toml); edits here are lost. That file's sha256 is
`{sha256}`; every table and page that judges these claims prints it.

**What was known.** {known}

**Words.** {words}

**Unit.** One number a seed; {seeds} seeds. Conditions of a seed share first weights, batches and the draw of regimes, so
differences are paired by seed. Intervals are 95 % t intervals of the mean over seeds (exact binomial ones for shares of seeds).

**Tests.** All are exact. *Sign flip*: the mean difference against all {flips} ways to turn differences round. *Ranks among
placebos*: in each seed, (1 + placebos at least as large) / (1 + placebos); the sum of these over seeds against all combinations
of ranks. Of several kinds of placebo, the largest p and the smallest effect decide. *No difference*: two one-sided
sign-flip tests against the two ends of the smallest effect of interest. *Binomial*: seeds that are tied decide nothing; they are
counted as measured.

**Families.** There are {families}. p-values are corrected by Holm's method within a family; a claim that was not measured takes part with p = 1. The
smallest p of a one-sided sign flip over {seeds} seeds is {floor}, so a family of more than {most} such claims could never support
one of them, and in a family of {most} the first to be supported needs all {seeds} seeds alike. The {rest} claims outside the primary family would need p below {alpha} / {rest} if they were one family, while the
smallest p of a sign flip, times {rest}, is {together}: so they are families by question, each with a {alpha} chance of a false claim of its
own. A reader who wants one error rate for everything takes the primary family.

**Verdicts.** {rule}

**Changes.** `docs/results/claims.json` keeps the hash of each claim as it was registered. An edit of a claim whose suites have
results, a claim added then, and one taken away then are marked wherever the claim is shown. Where a condition got another
name, and nothing else, the hash is over the name it had, and the claim says so.
"""
