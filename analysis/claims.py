"""Claims and the tables of all suites -> the tables claims (one row a claim) and claim_seeds (one row a claim and seed).

A claim says in configs/claims.toml which cells of which table decide it; here they are looked up, paired by seed, tested
(analysis/claim_tests.py) and judged. Nothing is chosen here, so nothing can be chosen after the results.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import claim_tests
from analysis.claim_file import FILE, Claim, Claims, Shown, load, marks, read_register, registered, removed
from analysis.shelf import Shelf
from base import storage
from experiments.kit import stats
from experiments.kit.stats import mean_interval
from experiments.kit.tables import RUN

SUITE = "claims"  # the folder of tables that these stand in
REMOVED = "removed after results existed"
NAN = float("nan")
OF_RUNS = (
    *("key", "steps", "seconds", "heldout_loss", "heldout_bpb", "dtype", "corpus", "tokenizer", "parameters"),
)

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
    *("wins", "ties", "neither", "verdict", "changed", "note", "suites", "planned", "hash", "file_sha256"),
)
SEEDS = ("suite", "id", "seed", "effect")
"""`effect` of one seed; in binomial tests the difference whose sign is counted, and the sign alone where a number stands
for an empty cell."""
BESIDE = ("suite", "id", "label", "name", "n", "mean", "low", "high")
"""What is shown beside a claim and takes no part in it: mean over seeds and 95 % t interval; name: of the strongest of several."""


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
    """The tables claims, claim_seeds and claim_beside, and `runs`: the runs of all suites that the claims are decided by."""
    shelf = Shelf(tables_dir)
    known = read_register(register) if register is not None else {"results": {}, "claims": {}}
    changed = marks(claims, known)
    answers = {name: answer(name, claim, shelf) for name, claim in claims.claims.items()}
    holm: dict[str, float] = {}
    for family in claims.families:
        members = list(claims.of(family))
        adjusted = stats.holm([answers[name].p for name in members])
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
                    "note": claims.readings[name].note if name in claims.readings else None,
                    **{"suites": " ".join(claim.suites()), "planned": claims.registration.seeds},
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
    shown = [
        (SUITE, name, *shown_beside(name, claims.claims[name], one, shelf))
        for name, reading in claims.readings.items()
        for one in reading.beside
    ]
    return {
        "claims": pd.DataFrame(rows, columns=list(CLAIMS)),
        "claim_seeds": pd.DataFrame(seeds, columns=list(SEEDS)),
        "claim_beside": pd.DataFrame(shown, columns=list(BESIDE)),
        "runs": _runs(claims, shelf),
    }


@dataclass(frozen=True)
class Answer:
    """What the tables say on a claim. value: mean of the endpoint; rival: of what is subtracted, or the placebos' draws.

    n: seeds that have all that is asked for. effect, low, high: mean over seeds and 95 % t interval, before the null is
    taken off; in binomial tests the share of the seeds that are not tied and its exact interval, with 0.5 as the null, NaN
    where all are tied. wins, ties: of those seeds; neither: of the ties, those in which both cells are empty. placebo: the same effect without what is claimed: the placebos'
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
    wins: float = NAN
    ties: float = NAN
    neither: float = NAN


def answer(name: str, claim: Claim, shelf: Shelf) -> Answer:
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
        placebo, placebo_name = float(beside.mean()), named(claim, claim.beside)
    known: dict[str, Any] = {
        **{
            "seeds": found,
            "value": float(ours.mean()),
            "rival": float(rival.mean()) if rival is not None else NAN,
        },
        "rival_name": named(claim, claim.minus) if claim.minus is not None else "",
        **{"placebo": placebo, "placebo_name": placebo_name},
        **dict(zip(("reproduced", "reproduced_low", "reproduced_high"), again, strict=True)),
    }
    if claim.test == "binomial":
        return _counted(name, claim, shelf, found, known)
    values = found.to_numpy(float)
    if not len(values):
        p = NAN
    elif claim.direction == "equal within":
        p = stats.equal_within(values - claim.null, claim.smallest)
    else:
        p = stats.sign_flip(values - claim.null, claim.direction)
    effect, low, high = mean_interval(values)
    return Answer(**known, n=len(values), effect=effect, low=low, high=high, p=p, null=claim.null)


def _counted(
    name: str, claim: Claim, shelf: Shelf, found: "pd.Series[float]", known: dict[str, Any]
) -> Answer:
    """Seeds on the claimed side out of those that are not tied. What stands for an empty cell has an order and no size."""
    signs = np.sign(found.to_numpy(float))
    wins, ties = int((signs == (1 if claim.direction == "greater" else -1)).sum()), int((signs == 0).sum())
    decided = len(signs) - ties
    effect, low, high, p = stats.share(wins, decided)
    neither = 0
    if claim.endpoint.missing is not None:
        queries = [claim.endpoint, *([claim.query(claim.minus)] if claim.minus is not None else [])]
        measured = [shelf.values(name, query.model_copy(update={"missing": None})).index for query in queries]
        neither = sum(not any(seed in seeds for seeds in measured) for seed in found.index)
        bare = {"value": NAN, "rival": NAN, "seeds": pd.Series(signs, found.index)}
        known = {**known, **bare, **dict.fromkeys(("reproduced", "reproduced_low", "reproduced_high"), NAN)}
    counts: dict[str, Any] = {"wins": wins, "ties": ties, "neither": neither} if len(signs) else {}
    p = p if decided else NAN
    return Answer(**known, **counts, n=len(signs), effect=effect, low=low, high=high, p=p, null=0.5)


def shown_beside(
    name: str, claim: Claim, shown: Shown, shelf: Shelf
) -> tuple[str, str, int, float, float, float]:
    """BESIDE from its label on. Of several conditions the one whose mean lies furthest on the claim's side; n = 0 without any."""
    sign = -1 if claim.direction == "less" else 1
    found = {condition: shelf.values(name, query) for condition, query in shown.queries().items()}
    known = {condition: values.to_numpy(float) for condition, values in found.items() if len(values)}
    strongest = max(known, key=lambda one: sign * float(known[one].mean()), default="")
    values = known.get(strongest, np.array([]))
    return (shown.label, strongest, len(values), *mean_interval(values))


def _ranked(
    name: str, claim: Claim, shelf: Shelf, ours: "pd.Series[float]", again: Sequence[float]
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
            p = stats.combined_rank(above, [len(by_seed[seed]) for seed in both])
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
        value=float(ours.mean()),
        rival=float(means.mean()),
        rival_name=kind,
        effect=effect,
        low=low,
        high=high,
        p=max((p for *_, p in kinds), default=NAN),
        null=0.0,
        placebo=float(means.mean()),
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


def _runs(claims: Claims, shelf: Shelf) -> pd.DataFrame:
    """The table `runs` of all suites that claims are decided by, one row a run, also where two suites share it."""
    suites = sorted({suite for claim in claims.claims.values() for suite in claim.suites()})
    parts = [table for suite in suites if len(table := shelf.read(suite, "runs"))]
    if not parts:
        return pd.DataFrame(columns=[*RUN, *OF_RUNS])
    return pd.concat(parts, ignore_index=True).drop_duplicates("key", ignore_index=True)
