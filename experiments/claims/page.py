"""The page on claims, their figure, and docs/PREREGISTRATION.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from base import storage
from experiments.claims.document import above, document
from experiments.claims.file import PRIMARY, Claims, load, marks, read_register
from experiments.claims.forest import FIGURE
from experiments.claims.judge import NAMES, NOT_SUPPORTED, decides, judge, named
from experiments.claims.numbers import numbers
from experiments.claims.row import MARKS, in_order, known_before, marked, tally, told
from experiments.kit import pages, published
from experiments.kit.experiment import Experiment, Table
from experiments.kit.levels import ALPHA, FEWEST_SEEDS
from experiments.kit.tables import Tables
from experiments.kit.words import MISSING, Finding

SHARED = {"alpha": ALPHA, "fewest": FEWEST_SEEDS, "published": published}  # by all templates


def findings(tables: Tables) -> dict[str, Finding]:
    """The primary claims."""
    told = claims_of(tables, tables.rows("claims", family=PRIMARY))
    return {one["id"]: Finding(one["statement"], one["verdict"], one["evidence"]) for one in told}


def claims_of(tables: Tables, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Claims as the templates tell them, what fails first."""
    return [told(row, tables.rows("claim_beside")) for _, row in in_order(rows).iterrows()]


def family(rows: pd.DataFrame, tables: Tables) -> dict[str, Any]:
    """What the templates say of one family.

    small: the models that are smaller than that of the essay, where its values stand beside ours. all_alike: whether the first claim to
    be supported needs all seeds on the claimed side, since a family of so many is decided by signs alone.
    """
    first, least = rows.iloc[0], len(rows) / 2 ** int(rows["planned"].iloc[0])
    theirs = " ".join(rows[rows["origin"] == "published"]["suites"]).split()
    sizes = tables.rows("runs").groupby("suite")["parameters"].max()
    essays = {*theirs} & {one.query.suite for one in numbers()}
    sizes = sizes[sizes.index.isin(essays) & (sizes < published.PARAMETERS / 2)]
    return {
        "primary": first["family"] == PRIMARY, "title": first["family_title"], "asks": first["family_asks"],
        "seeds": int(first["planned"]), "claims": claims_of(tables, rows), "marks": marked(rows),
        "small": [f"`{suite}`: {size / 1e6:.2f} million" for suite, size in sizes.items()],
        "all_alike": not (rows["test"] == "placebo_ranks").any() and least < ALPHA <= 2 * least,
    }  # fmt: skip


def values(tables: Tables) -> dict[str, Any]:
    """What the page says besides findings and grids."""
    rows = tables.rows("claims")
    known = rows[rows["family"].notna()]
    theirs, (late, foreseen) = known[known["origin"] == "published"], known_before(known)
    return {
        **SHARED, "families": [family(of, tables) for _, of in known.groupby("family", sort=False)], "measured": (rows["n"] > 0).any(),
        "fell": claims_of(tables, theirs[theirs["verdict"] == NOT_SUPPORTED]), "missing": MISSING, "marks": MARKS, "marked": marked(rows),
        "tally": tally({
            "claim registered before results": known[~late & ~foreseen], "claim registered with its size known": known[foreseen],
            "claim added or changed after results": known[late],
        }),
        "registered": {text: [f"`{name}`" for name in rows[rows["changed"] == text]["id"]] for text in MARKS},
        "hashes": [*zip(rows["id"], rows["hash"], rows["changed"].astype(object).fillna("registered"), strict=True)],
        "leading": [one["id"] for one in claims_of(tables, known[known["family"] == PRIMARY])][:5],
        "sha256": next(iter(rows["file_sha256"]), ""), "above": above(tables), "withdrawn": load().withdrawn(),
    }  # fmt: skip


def preregistration(claims: Claims, register: Mapping[str, Any]) -> str:
    """docs/PREREGISTRATION.md: every claim in prose, and from the register what was changed or added after results."""
    seeds = claims.registration.seeds
    return pages.filled("claims/preregistration.md", {
        **SHARED, "file": claims, "changed": marks(claims, register), "named": named, "seeds": seeds,
        "floor": 1 / 2**seeds, "most": int(ALPHA * 2**seeds - 1e-9), "rest": len(claims.claims) - len(claims.of(PRIMARY)),
    })  # fmt: skip


def write_preregistration(root: Path) -> Path:
    """Rewrite docs/PREREGISTRATION.md from configs/claims.toml and docs/results/claims.json."""
    path = root / "docs" / "PREREGISTRATION.md"
    claims = load(root / "configs" / "claims.toml")
    register = read_register(root / "docs" / "results" / "claims.json")
    storage.write_text(path, preregistration(claims, register))
    return path


EXPERIMENT = Experiment(
    "claims", "Claims: what holds, what fell, what stays open", (Table(judge, NAMES),), findings, (FIGURE,),
    {"document": document}, template="claims/page.md", values=values, decides=decides,
)  # fmt: skip
