"""Claims and the tables of all suites -> what is decided: cells are looked up, paired by seed, tested and judged.

configs/claims.toml says which cells of which table decide a claim. Nothing is chosen here, so nothing can be chosen after
the results.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from base.storage import UserError
from experiments.claims.file import REMOVED, Claim, Claims, Other, Query, Shown, load, marks, read_register
from experiments.kit import stats
from experiments.kit.levels import ALPHA, FEWEST_SEEDS
from experiments.kit.stats import Estimate
from experiments.kit.tables import Tables, stack
from experiments.kit.words import CLEAR, OF_CLAIMS, again

Values = pd.Series  # of floats, by seed
NOT_SUPPORTED, INCONCLUSIVE, SUPPORTED, ABSENT = OF_CLAIMS
YES, SMALLER, LARGER, NO, TURNED, UNDECIDED = (
    "yes",
    "smaller",
    "larger",
    "no",
    "no, the opposite",
    "undecided",
)
"""Whether a published number comes back, see `back`."""
SUITE, NAN = "claims", math.nan
PAIRED = "by pairs of partner seeds, which lend each other what is compared"
NAMES = ("claims", "claim_seeds", "claim_beside", "runs")
APART = ("lesson", "reading")  # columns whose values can be the words of conditions, too: `shuffled`
REPRODUCED = ("reproduced", "reproduced_low", "reproduced_high")
COLUMNS = [
    "suite", "id", "family", "family_title", "family_asks", "statement", "short", "origin", "said", "published", "unit", "test",
    "direction", "null", "smallest", "value", "rival", "rival_name", "effect", "low", "high", "n", "p", "p_holm", "placebo",
    "placebo_name", *REPRODUCED, "returns", "control", "wins", "ties", "neither", "verdict", "changed", "note", "suites", "planned", "hash",
    "file_sha256",
]  # fmt: skip


def judge(tables: Tables) -> dict[str, pd.DataFrame]:
    """The committed claims, decided by the tables of all suites: NAMES.

    claims: one row a claim, with what the file says of it. value: mean of the endpoint; rival: of what is subtracted, or of
    the placebos' draws. n: seeds (pairs of partners, where the claim says so) that have all that is asked for. effect, low, high: mean over seeds and 95 % t interval,
    before the null is taken off. wins, ties, neither: empty, of the test of a withdrawn claim.
    placebo: the same effect without what is claimed: the placebos' mean, or the effect of the condition named beside.
    reproduced: mean and interval of the published protocol's own number, the endpoint's where the claim names no other; where
    two columns of one table are subtracted, that difference. returns: whether it comes back, see `back`, of published claims
    alone; `verdict` is what is left of the claim once its control is taken off.

    claim_seeds: `effect` of each seed. claim_beside: what is shown beside a claim and takes no part in it, mean over seeds and
    95 % t interval; name: of the strongest of several; label PAIRED: the effect itself, over pairs of partners. runs: of all
    suites that claims are decided by, also where two share one.
    """
    return judged(load(), read_register(), tables)


def decides() -> dict[str, Any]:
    """What the verdicts hang on besides code and tables: the file, and how each claim stands to what was registered."""
    claims = load()
    return {"claims": claims.sha256, "marks": marks(claims, read_register())}


def judged(claims: Claims, register: Mapping[str, Any], tables: Tables) -> dict[str, pd.DataFrame]:
    """`judge` of some claims and what was registered of them."""
    changed, rows = marks(claims, register), []
    answers = {
        name: answer(name, claim, tables) for name, claim in claims.claims.items() if not claim.withdrawn
    }
    for family, about in claims.families.items():
        members = claims.of(family)
        holm = stats.holm([answers[name][0]["p"] for name in members])
        for (name, claim), p_holm in zip(members.items(), holm, strict=True):
            found = answers[name][0]
            effect, low, high = (found[key] - found["null"] for key in ("effect", "low", "high"))
            rows.append({
                "suite": SUITE, "id": name, "family_title": about.title, "family_asks": about.asks, **dict(claim), **found,
                "p_holm": p_holm, "returns": returns(claim, found), "verdict": verdict(claim.direction, found["n"], effect, low, high, p_holm, claim.smallest),
                "changed": changed[name], "note": claims.readings[name].note if name in claims.readings else None,
                "suites": " ".join(claim.suites()), "planned": claims.registration.seeds, "hash": claim.hash()[:12],
            })  # fmt: skip
    for name in (name for name, mark in changed.items() if mark == REMOVED):
        gone = {"suite": SUITE, "id": name, "n": 0, "verdict": ABSENT, "changed": REMOVED}
        rows.append({**gone, "hash": register["claims"][name]["hash"][:12]})
    seeds = [
        (SUITE, name, seed, value)
        for name, (_, effects) in answers.items()
        for seed, value in zip(effects.index.astype(int), effects, strict=True)
    ]
    beside = [
        (SUITE, name, *shown_beside(name, claims.claims[name], one, tables))
        for name, reading in claims.readings.items()
        if not claims.claims[name].withdrawn
        for one in reading.beside
    ]
    beside += [
        (SUITE, name, PAIRED, "", len(units), *stats.mean_interval(units))
        for name, reading in claims.readings.items()
        if reading.pairs and not claims.claims[name].withdrawn
        for units in [by_pairs(answers[name][1])]
    ]
    suites = sorted({suite for name in answers for suite in claims.claims[name].suites()})
    runs = stack([tables.of(suite).rows("runs") for suite in suites])
    return {
        "claims": pd.DataFrame(rows).assign(file_sha256=claims.sha256).reindex(columns=COLUMNS),
        "claim_seeds": pd.DataFrame(seeds, columns=["suite", "id", "seed", "effect"]),
        "claim_beside": pd.DataFrame(
            beside, columns=["suite", "id", "label", "name", "n", "mean", "low", "high"]
        ),
        "runs": runs.drop_duplicates("key", ignore_index=True) if len(runs) else runs,
    }


def verdict(
    direction: str, n: int, effect: float, low: float, high: float, p_holm: float, smallest: float
) -> str:
    """The verdict by the rule in said.md. effect, low and high count from the null; `smallest` is above zero."""
    if n == 0:
        return ABSENT
    if n < FEWEST_SEEDS or math.isnan(p_holm):
        return INCONCLUSIVE
    if direction == "less" or (direction == "different" and effect < 0):
        effect, low, high = -effect, -high, -low
    within = -smallest < low and high < smallest
    if direction == "equal within":
        holds, fails = within, low >= smallest or high <= -smallest
    else:
        holds, fails = low > 0 and effect >= smallest, within if direction == "different" else high < smallest
    return NOT_SUPPORTED if fails else SUPPORTED if holds and p_holm < ALPHA else INCONCLUSIVE


def back(said: float, ours: Estimate, null: float = 0.0, least: float | None = None) -> str:
    """Whether a published number comes back: YES where a further seed of ours could give it, by the 95 % t prediction interval,
    and ours lies on its side of the null by its whole interval.

    least: what ours has to exceed for YES, counted from the null, where a claim registered that.
    """
    if ours.n < FEWEST_SEEDS:
        return UNDECIDED if ours.n else ABSENT
    near = again(ours, said) == CLEAR
    if ours.low <= null <= ours.high:
        return UNDECIDED if near else NO
    if (ours.mean > null) != (said > null):
        return TURNED
    if near:
        return YES if least is None or ours.low - null >= least else UNDECIDED
    return SMALLER if abs(ours.mean - null) < abs(said - null) else LARGER


def returns(claim: Claim, found: Mapping[str, Any]) -> str:
    """`back` of the published protocol's own number; "" for a claim without a published number."""
    if claim.published is None:
        return ""
    mean, low, high = (found[key] for key in REPRODUCED)
    ours = Estimate(found["returns_n"], mean, low, high, NAN)
    # of what is claimed to be equal to its null, the side that counts is zero's
    null = 0.0 if claim.direction == "equal within" else claim.null
    return back(claim.published, ours, null, claim.back)


def answer(name: str, claim: Claim, tables: Tables) -> tuple[dict[str, Any], Values]:
    """What the tables say on a claim, by columns of `claims`, and each seed's effect. Without a seed all but n is NaN."""
    look = partial(values, tables, name)
    ours = look(claim.endpoint)
    # two columns of one table are one measurement, and its number their difference; another condition is its control
    whole = claim.minus is not None and claim.minus.column is not None and claim.reproduced is None
    theirs = (
        (ours - look(claim.query(claim.minus))).dropna() if whole else look(claim.query(claim.reproduced))
    )
    printed = _units(claim, theirs)
    found: dict[str, Any] = {
        "value": ours.mean(), "rival": NAN, "rival_name": "", "placebo": NAN, "placebo_name": "", "null": claim.null,
        "returns_n": len(printed), **dict(zip(REPRODUCED, stats.mean_interval(printed), strict=True)),
    }  # fmt: skip
    if claim.placebo:
        effects, p, rival, kind = ranked(
            ours, draws(tables, name, claim.query(claim.placebo), claim.placebo.by)
        )
        found |= {"rival": rival, "rival_name": kind, "placebo": rival, "placebo_name": kind}
    else:
        subtracted: Any = look(claim.query(claim.minus)) if claim.minus else 0.0
        effects = _units(claim, (ours - subtracted).dropna())
        if claim.minus:
            found |= {"rival": subtracted.mean(), "rival_name": named(claim, claim.minus)}
        if claim.beside:
            beside = (look(claim.query(claim.beside)) - subtracted).dropna()
            found |= {"placebo": beside.mean(), "placebo_name": named(claim, claim.beside)}
        p = tested(claim, effects.to_numpy(float) - claim.null) if len(effects) else NAN
    effect, low, high = stats.mean_interval(effects)
    return {**found, "effect": effect, "low": low, "high": high, "n": len(effects), "p": p}, effects


def _units(claim: Claim, by_seed: Values) -> Values:
    """One number a unit: a seed, or a pair of partners (1 and 2, 3 and 4, ...) under the number of its first."""
    return by_pairs(by_seed) if claim.pairs else by_seed


def by_pairs(by_seed: Values) -> Values:
    """The mean of each pair of partners, under the number of its first."""
    return by_seed.groupby(by_seed.index - (by_seed.index + 1) % 2).mean() if len(by_seed) else by_seed


def tested(claim: Claim, beyond: np.ndarray) -> float:
    """p of differences from the null, one a seed, by the claim's test over seeds: sign flips but where it says t."""
    test = stats.t_test if claim.test == "t" else stats.sign_flip
    if claim.direction == "equal within":
        return stats.equal_within(beyond, claim.smallest, test)
    return test(beyond, claim.direction)


def ranked(ours: Values, placebos: pd.DataFrame) -> tuple[Values, float, float, str]:
    """An endpoint among its placebos (columns seed, kind, value): how far each seed lies beyond their mean, p, mean and kind.

    Of several kinds the largest p and the smallest effect decide.
    """
    kinds: list[tuple[Values, float, float, str]] = []
    for kind, rows in placebos.groupby("kind"):
        drawn = {seed: of.to_numpy(float) for seed, of in rows.groupby("seed")["value"] if seed in ours.index}
        if drawn:
            above = [int((of >= ours[seed]).sum()) for seed, of in drawn.items()]
            means = pd.Series({seed: of.mean() for seed, of in drawn.items()})
            p = stats.combined_rank(above, [len(of) for of in drawn.values()])
            kinds.append(((ours - means).dropna(), p, float(means.mean()), str(kind)))
    nothing = (pd.Series(dtype=float), NAN, NAN, "")
    beyond, _, mean, kind = min(kinds, key=lambda one: one[0].mean(), default=nothing)
    return beyond, max((p for _, p, *_ in kinds), default=NAN), mean, kind


def shown_beside(
    name: str, claim: Claim, shown: Shown, tables: Tables
) -> tuple[str, str, int, float, float, float]:
    """Columns of `claim_beside` from label on; of several conditions the one furthest on the claim's side. n = 0 without any."""
    sign = -1 if claim.direction == "less" else 1
    found = {condition: values(tables, name, query) for condition, query in shown.queries().items()}
    known = {condition: by_seed for condition, by_seed in found.items() if len(by_seed)}
    strongest = max(known, key=lambda one: sign * known[one].mean(), default="")
    by_seed = known.get(strongest, pd.Series(dtype=float))
    return (shown.label, strongest, len(by_seed), *stats.mean_interval(by_seed))


def named(claim: Claim, other: Other) -> str:
    """What sets another query apart from the endpoint, in a few words: its values that differ."""
    query = claim.query(other)
    differs: list[Any] = [
        f"{key} {value}" if key in APART else value
        for key, value in query.where.items()
        if claim.endpoint.where.get(key) != value
    ]
    differs += [query.column] * (query.column != claim.endpoint.column)
    return ", ".join(str(one) for value in differs for one in (value if isinstance(value, list) else [value]))


def rows_of(tables: Tables, claim: str, query: Query, *more: str) -> pd.DataFrame:
    """Columns seed, value (float) and `more` of the rows that a query finds. UserError names a column that lacks."""
    table = tables.of(query.suite).rows(query.table)
    for column in ("seed", query.column, *query.where, *more):
        if column not in table:
            raise UserError(
                f"claims.{claim}: table {query.table} of suite {query.suite} has no column {column}; mend the claim, "
                "or delete the table and run the study again"
            )
    for column, wanted in query.where.items():
        table = table[table[column].isin(wanted if isinstance(wanted, list) else [wanted])]
    found = table[["seed", *more]].assign(value=table[query.column].astype(float))
    return found.dropna(subset=["value"])


def values(tables: Tables, claim: str, query: Query) -> Values:
    """One value a seed. UserError where a seed has several rows and the query does not say what to take of them."""
    rows = rows_of(tables, claim, query)
    groups = (rows["value"].abs() if query.take == "mean_abs" else rows["value"]).groupby(rows["seed"])
    if query.take == "one" and (counts := groups.size()).max() > 1:
        raise UserError(
            f"claims.{claim}: {query.table} of suite {query.suite} has {counts.max()} rows for seed {counts.idxmax()}; "
            "narrow `where`, or say what to `take` of them"
        )
    return groups.mean()


def draws(tables: Tables, claim: str, query: Query, by: str | None) -> pd.DataFrame:
    """Columns seed, kind and value of placebos, all rows that a query finds; one kind is named by what it is found by last."""
    rows = rows_of(tables, claim, query, *([by] if by else []))
    return rows.assign(kind=rows[by] if by else str(next(reversed(query.where.values()), "placebo")))
