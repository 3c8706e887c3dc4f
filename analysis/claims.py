"""Claims and the tables of all suites -> the tables claims (one row a claim) and claim_seeds (one row a claim and seed).

A claim says in configs/claims.toml which cells of which table decide it; here they are looked up, paired by seed, tested
(analysis/claim_tests.py) and judged. Nothing is chosen here, so nothing can be chosen after the results.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

import storage
from analysis import claim_tests
from analysis.claim_file import FILE, Claim, Claims, Query, load, marks, read_register, registered, removed
from analysis.runs import RUNS
from analysis.signatures import mean_interval
from storage import UserError

SUITE = "claims"  # the folder of tables that these stand in
REMOVED = "removed after results existed"
NAN = float("nan")

CLAIMS = (
    *(
        "suite",
        "id",
        "family",
        "family_title",
        "family_asks",
        "statement",
        "short",
        "origin",
        "said",
        "published",
        "unit",
    ),
    *("test", "direction", "null", "smallest", "value", "rival", "rival_name", "effect", "low", "high", "n"),
    *("p", "p_holm", "placebo", "placebo_name", "reproduced", "reproduced_low", "reproduced_high", "control"),
    *("verdict", "changed", "hash", "file_sha256"),
)
SEEDS = ("suite", "id", "seed", "effect")
"""`effect` of one seed; in binomial tests the difference whose sign is counted."""


def write(tables_dir: Path, register: Path | None = None, path: Path = FILE) -> list[Path]:
    """Write `<tables_dir>/claims/*.csv` from the tables of all suites there. Returns the paths written.

    Args:
        tables_dir: folder that has a folder of tables (CSV) for each suite.
        register: docs/results/claims.json, which says what was claimed before results existed; None for none.
        path: the claims.

    Raises:
        ConfigError: the claims can't be used. UserError: a table lacks what a claim asks of it.
    """
    written = []
    for name, table in tables(load(path), tables_dir, register).items():
        place = tables_dir / SUITE / f"{name}.csv"
        storage.write_text(place, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
        written.append(place)
    return written


def register(tables_dir: Path, file: Path, date: str, commit: str, path: Path = FILE) -> dict[str, Any]:
    """Bring docs/results/claims.json up to date: claims that are new, and suites that have results for the first time.

    What is registered of a claim whose suites have results stays as it is, so that an edit can be seen for ever.

    Args:
        tables_dir: the committed tables. file: the register. date, commit: of this state of the repository.
    """
    claims, shelf = load(path), Shelf(tables_dir)
    suites = {suite for claim in claims.claims.values() for suite in claim.suites()}
    measured = [suite for suite in suites if len(shelf.read(suite, "runs"))]
    found = registered(claims, read_register(file), measured, date, commit)
    storage.write_json(file, found)
    return found


def tables(claims: Claims, tables_dir: Path, register: Path | None = None) -> dict[str, pd.DataFrame]:
    """The tables claims and claim_seeds, and `runs`: the runs of all suites that the claims are decided by."""
    shelf = Shelf(tables_dir)
    known = read_register(register) if register is not None else {"results": {}, "claims": {}}
    changed = marks(claims, known)
    answers = {name: answer(name, claim, shelf) for name, claim in claims.claims.items()}
    holm: dict[str, float] = {}
    for family in claims.families:
        members = list(claims.of(family))
        adjusted = claim_tests.holm([answers[name].p for name in members])
        holm |= dict(zip(members, adjusted, strict=True))
    rows = []
    for family, about in claims.families.items():
        for name, claim in claims.of(family).items():
            found = answers[name]
            direction = "greater" if claim.test == "binomial" else claim.direction
            effect, low, high = (number - found.null for number in (found.effect, found.low, found.high))
            decided = claim_tests.verdict(direction, found.n, effect, low, high, holm[name], claim.smallest)
            said = {key: getattr(claim, key) for key in CLAIMS if key in Claim.model_fields}
            got = {key: getattr(found, key) for key in CLAIMS if hasattr(found, key)}
            rows.append(
                {
                    **said,
                    **got,
                    **{
                        "suite": SUITE,
                        "id": name,
                        "family": family,
                        "family_title": about.title,
                        "family_asks": about.asks,
                    },
                    **{"p_holm": holm[name], "verdict": decided, "changed": changed[name]},
                    **{"hash": claim.hash()[:12], "file_sha256": claims.sha256},
                }
            )
    for name in removed(claims, known):
        gone = {"suite": SUITE, "id": name, "n": 0, "verdict": claim_tests.ABSENT, "changed": REMOVED}
        rows.append({**gone, "hash": known["claims"][name]["hash"][:12], "file_sha256": claims.sha256})
    seeds = [
        (SUITE, name, int(seed), value)
        for name, found in answers.items()
        for seed, value in zip(found.seeds.index, found.seeds, strict=True)
    ]
    return {
        "claims": pd.DataFrame(rows, columns=list(CLAIMS)),
        "claim_seeds": pd.DataFrame(seeds, columns=list(SEEDS)),
        "runs": _runs(claims, shelf),
    }


@dataclass(frozen=True)
class Answer:
    """What the tables say on a claim. value: mean of the endpoint; rival: of what is subtracted, or the placebos' draws.

    effect, low, high: mean over seeds and 95 % t interval, before the null is taken off; in binomial tests the share of
    seeds and its exact interval, with 0.5 as the null. placebo: the same effect without what is claimed: the placebos'
    mean, or the effect of the condition that the claim names beside. reproduced: mean and interval of the published
    protocol's own number, which is the endpoint's where the claim names no other. seeds: the effect of each.
    """

    seeds: "pd.Series[float]"
    n: int
    value: float
    rival: float
    rival_name: str
    effect: float
    low: float
    high: float
    p: float
    null: float
    placebo: float
    placebo_name: str
    reproduced: float
    reproduced_low: float
    reproduced_high: float


def answer(name: str, claim: Claim, shelf: "Shelf") -> Answer:
    """Look a claim's cells up and test them. Without a seed that has them all, n is 0 and every number NaN."""
    ours = shelf.values(name, claim.endpoint)
    again = mean_interval(
        (
            shelf.values(name, claim.query(claim.reproduced)) if claim.reproduced is not None else ours
        ).to_numpy()
    )
    if claim.placebo is not None:
        return _ranked(name, claim, shelf, ours, again)
    rival = shelf.values(name, claim.query(claim.minus)) if claim.minus is not None else None
    found = _minus(ours, rival)
    placebo, placebo_name = NAN, ""
    if claim.beside is not None:
        beside = _minus(shelf.values(name, claim.query(claim.beside)), rival)
        placebo, placebo_name = _mean(beside), named(claim, claim.beside)
    known: dict[str, Any] = {
        **{"seeds": found, "value": _mean(ours), "rival": _mean(rival) if rival is not None else NAN},
        "rival_name": named(claim, claim.minus) if claim.minus is not None else "",
        **{"placebo": placebo, "placebo_name": placebo_name},
        **dict(zip(("reproduced", "reproduced_low", "reproduced_high"), again, strict=True)),
    }
    values = found.to_numpy(float)
    if claim.test == "binomial":
        right = values > 0 if claim.direction == "greater" else values < 0
        n = int((values != 0).sum())
        effect, low, high, p = claim_tests.share(int(right.sum()), n)
        return Answer(**known, n=n, effect=effect, low=low, high=high, p=p if n else NAN, null=0.5)
    if not len(values):
        p = NAN
    elif claim.direction == "equal within":
        p = claim_tests.equal_within(values - claim.null, claim.smallest)
    else:
        p = claim_tests.sign_flip(values - claim.null, claim.direction)
    effect, low, high = mean_interval(values)
    return Answer(**known, n=len(values), effect=effect, low=low, high=high, p=p, null=claim.null)


def _ranked(
    name: str, claim: Claim, shelf: "Shelf", ours: "pd.Series[float]", again: Sequence[float]
) -> Answer:
    """The endpoint among its placebos' draws; of several kinds, the largest p and the smallest effect decide."""
    assert claim.placebo is not None
    draws = shelf.draws(name, claim.query(claim.placebo), claim.placebo.by)
    kinds = []
    for kind, rows in draws.groupby("kind", sort=True):
        by_seed = {seed: group["value"].to_numpy(float) for seed, group in rows.groupby("seed")}
        both = [seed for seed in ours.index if seed in by_seed]
        if both:
            above = [int((by_seed[seed] >= ours[seed]).sum()) for seed in both]
            p = claim_tests.combined_rank(above, [len(by_seed[seed]) for seed in both])
            means = pd.Series({seed: float(by_seed[seed].mean()) for seed in both})
            kinds.append((ours[both] - means, means, str(kind), p))
    empty = pd.Series(dtype=float)
    surplus, means, kind, _ = min(
        kinds, key=lambda one: float(one[0].mean()), default=(empty, empty, "", NAN)
    )
    effect, low, high = mean_interval(surplus.to_numpy(float))
    return Answer(
        seeds=surplus,
        n=len(surplus),
        value=_mean(ours),
        rival=_mean(means),
        rival_name=kind,
        effect=effect,
        low=low,
        high=high,
        p=max((p for *_, p in kinds), default=NAN),
        null=0.0,
        placebo=_mean(means),
        placebo_name=kind,
        reproduced=again[0],
        reproduced_low=again[1],
        reproduced_high=again[2],
    )


def named(claim: Claim, other: Any) -> str:
    """What sets another query apart from the endpoint, in a few words: its values that differ."""
    query = claim.query(other)
    differs = [value for key, value in query.where.items() if claim.endpoint.where.get(key) != value]
    if query.column != claim.endpoint.column:
        differs.append(query.column)
    return ", ".join(", ".join(map(str, one)) if isinstance(one, list) else str(one) for one in differs)


def _minus(one: "pd.Series[float]", other: "pd.Series[float] | None") -> "pd.Series[float]":
    return one if other is None else (one - other).dropna()


def _mean(values: "pd.Series[float]") -> float:
    return float(values.mean()) if len(values) else NAN


class Shelf:
    """The tables of a study, read once each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.read = cache(self._read)

    def _read(self, suite: str, name: str) -> pd.DataFrame:
        """A table; empty where it is missing. UserError where it is no table."""
        path = self.folder / suite / f"{name}.csv"
        try:
            return pd.read_csv(path, keep_default_na=False, na_values=["", "nan", "NaN"])
        except (FileNotFoundError, pd.errors.EmptyDataError):
            return pd.DataFrame()
        except (ValueError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not a table ({error}); delete it and run the study again") from None

    def rows(self, claim: str, query: Query, *more: str) -> pd.DataFrame:
        """Columns seed, value (float) and `more` of the rows that a query finds. UserError names a column that lacks."""
        table = self.read(query.suite, query.table)
        if table.empty:
            return pd.DataFrame(columns=["seed", "value", *more], dtype=float)
        for column in ("seed", query.column, *query.where, *more):
            if column not in table:
                raise UserError(
                    f"claims.{claim}: table {query.table} of suite {query.suite} has no column {column}; mend the claim, "
                    "or delete the table and run the study again"
                )
        for column, wanted in query.where.items():
            table = table[table[column].isin(wanted if isinstance(wanted, list) else [wanted])]
        found = table[["seed", *more]].assign(value=table[query.column].astype(float))
        if query.missing is not None:
            found["value"] = found["value"].fillna(query.missing)
        return found.dropna(subset=["value"])

    def values(self, claim: str, query: Query) -> "pd.Series[float]":
        """One value a seed. UserError where a seed has several rows and the query does not say what to take of them."""
        rows = self.rows(claim, query)
        if rows.empty:
            return pd.Series(dtype=float)
        groups = (rows.assign(value=rows["value"].abs()) if query.take == "mean_abs" else rows).groupby(
            "seed"
        )
        if query.take == "one" and (counts := groups.size()).max() > 1:
            raise UserError(
                f"claims.{claim}: {query.table} of suite {query.suite} has {counts.max()} rows for seed {counts.idxmax()}; "
                "narrow `where`, or say what to `take` of them"
            )
        found: pd.Series[float] = groups["value"].max() if query.take == "max" else groups["value"].mean()
        return found

    def draws(self, claim: str, query: Query, by: str | None) -> pd.DataFrame:
        """Columns seed, kind and value of placebos: all rows that a query finds."""
        rows = self.rows(claim, query, *([by] if by else []))
        return rows.assign(kind=rows[by] if by else named_draws(query))


def named_draws(query: Query) -> str:
    """A name for placebos of one kind: the value of the last column that they are found by."""
    return str(next(reversed(query.where.values()), "placebo"))


def _runs(claims: Claims, shelf: Shelf) -> pd.DataFrame:
    """The table `runs` of all suites that claims are decided by, one row a run, also where two suites share it."""
    suites = sorted({suite for claim in claims.claims.values() for suite in claim.suites()})
    parts = [table for suite in suites if len(table := shelf.read(suite, "runs"))]
    if not parts:
        return pd.DataFrame(columns=list(RUNS))
    return pd.concat(parts, ignore_index=True).drop_duplicates("key", ignore_index=True)
