"""configs/claims.toml, typed and checked; the hash of each claim; and the register of what was claimed before results.

A claim is worth what was fixed before its result was seen. So every claim has a hash of its own, docs/results/claims.json
keeps the hash that was registered first, and a claim that was edited or added after results of its suites existed is
marked in every table, figure and page from then on.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from analysis.claim_tests import smallest_p
from base import storage
from base.storage import ROOT, UserError
from configs import toml_file as config_file
from configs.fields import Name, Positive, Strict
from configs.suite import validate
from configs.toml_file import ConfigError
from experiments.kit.levels import ALPHA

FILE = ROOT / "configs" / "claims.toml"
PRIMARY, MOST_PRIMARY = "primary", 6
Text = Annotated[str, Field(min_length=1, max_length=1000)]
Where = dict[str, Any]
CHANGED = "changed after results existed"
ADDED = "added after results existed"
SEEN = "written after first results were seen"


class Query(Strict):
    """A cell of a table for each seed: the rows whose columns have these values (a list: any of them), one column."""

    suite: Name
    table: Name
    column: Name
    where: Where = Field(default_factory=dict)
    take: Literal["one", "mean", "mean_abs", "max"] = "one"  # of a seed's rows; one: several are an error
    missing: float | None = None  # what stands for an empty cell, where only order counts (binomial)

    @field_validator("where")
    @classmethod
    def _plain(cls, where: Where) -> Where:
        return _checked(where)


class Other(Strict):
    """Another query, told by what differs from the endpoint's; its `where` is laid over the endpoint's."""

    suite: Name | None = None
    table: Name | None = None
    column: Name | None = None
    where: Where = Field(default_factory=dict)

    @field_validator("where")
    @classmethod
    def _plain(cls, where: Where) -> Where:
        return _checked(where)


class Placebo(Other):
    """The draws of placebos, many rows a seed. `by`: a column that tells kinds apart; the strictest kind decides."""

    by: Name | None = None


class Claim(Strict):
    """One claim: what is said, which number decides it, how large it must be, and by which test."""

    statement: Text
    short: Annotated[str, Field(min_length=1, max_length=46)]  # its name in the figure
    origin: Literal["published", "ours"]
    said: Text | None = None  # the published document's words
    published: float | None = None  # its number, in the claim's unit
    family: Name  # claims of a family share the 5 % by Holm's method
    unit: Annotated[str, Field(min_length=1, max_length=14)]
    endpoint: Query
    minus: Other | None = None  # subtracted, paired by seed
    placebo: Placebo | None = None  # that the endpoint is ranked among
    beside: Other | None = None  # shown beside, not tested (minus the same rival, where there is one)
    reproduced: Other | None = None  # the published protocol's own number, shown, not tested
    control: Text | None = None  # what explains a published number where the claim falls
    direction: Literal["greater", "less", "different", "equal within"]
    null: float = 0.0  # what the effect counts from
    smallest: Positive  # effect of interest, in the unit, counted from the null
    why: Text  # that size
    test: Literal["sign_flip", "placebo_ranks", "binomial"]
    renamed: dict[Name, Name] = Field(default_factory=dict)  # conditions: today's name -> the registered one

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.test == "placebo_ranks") != (self.placebo is not None):
            raise ValueError("test = 'placebo_ranks' and a placebo go together; give both or neither")
        if self.test == "placebo_ranks" and (
            self.direction != "greater" or self.minus is not None or self.null
        ):
            raise ValueError("placebo_ranks asks whether the endpoint is greater, without a minus or a null")
        if self.test == "binomial" and (self.direction not in ("greater", "less") or self.null):
            raise ValueError(
                "binomial counts seeds that are greater, or less, than zero or the minus; no null"
            )
        if self.endpoint.missing is not None and self.test != "binomial":
            raise ValueError(
                "endpoint.missing stands for no number of its own; only test = 'binomial' can use it"
            )
        if self.origin == "published" and self.said is None:
            raise ValueError("a published claim needs `said`: the document's words")
        return self

    def query(self, other: Other) -> Query:
        """The whole query that `other` tells by its differences."""
        given = {
            key: value for key, value in other if key in ("suite", "table", "column") and value is not None
        }
        return self.endpoint.model_copy(
            update={**given, "where": {**self.endpoint.where, **other.where}},
        )

    def suites(self) -> list[str]:
        """The suites whose tables decide it, in the order of their names."""
        others = [one for one in (self.minus, self.placebo) if one is not None]
        return sorted({self.endpoint.suite, *(one.suite for one in others if one.suite is not None)})

    def hash(self) -> str:
        """SHA-256 of all that the claim says, its conditions called as they were when it was registered.

        Fields that it leaves at their defaults take no part.
        """
        text = json.dumps(self.model_dump(mode="json", exclude_defaults=True, exclude={"renamed"}))
        for now, then in self.renamed.items():
            text = text.replace(json.dumps(now), json.dumps(then))
        return storage.hash_json(json.loads(text))


QUERIES: dict[str, type[Strict]] = {
    "endpoint": Query, "minus": Other, "placebo": Placebo, "beside": Other, "reproduced": Other
}  # fmt: skip


class Family(Strict):
    """Claims that are corrected together."""

    title: Text
    asks: Text


class Registration(Strict):
    """What the claims were written for, and what was known then."""

    seeds: int = Field(ge=1, le=1000)  # of the study that the claims are meant for
    seen: tuple[Name, ...] = ()  # suites of which some results had been seen when their claims were written
    known: Text
    review: Annotated[str, Field(min_length=1, max_length=3000)] | None = None  # of changes after results


class Shown(Strict):
    """A number that is shown beside a claim and takes no part in it: its own table cell, a mean over seeds.

    `among`: conditions of which the one furthest on the claim's side is shown, and named: the strongest of them.
    """

    label: Annotated[str, Field(min_length=1, max_length=80)]
    suite: Name
    table: Name
    column: Name
    where: Where = Field(default_factory=dict)
    take: Literal["one", "mean"] = "one"
    among: tuple[Name, ...] = ()

    @field_validator("where")
    @classmethod
    def _plain(cls, where: Where) -> Where:
        return _checked(where)

    def queries(self) -> dict[str, Query]:
        """What to look up, by condition; by "" where there is only one."""
        whole = Query(
            suite=self.suite, table=self.table, column=self.column, where=self.where, take=self.take
        )
        if not self.among:
            return {"": whole}
        return {
            name: whole.model_copy(update={"where": {**self.where, "condition": name}}) for name in self.among
        }


class Reading(Strict):
    """How a claim is to be read: no part of it or of its hash, so that a review can add it without touching the claim."""

    note: Text | None = None
    beside: tuple[Shown, ...] = ()


@dataclass(frozen=True)
class Claims:
    """The whole file: its path, its SHA-256, families and claims in its order."""

    path: Path
    sha256: str
    registration: Registration
    families: Mapping[str, Family]
    claims: Mapping[str, Claim]
    readings: Mapping[str, Reading] = field(default_factory=dict)

    def of(self, family: str) -> dict[str, Claim]:
        return {name: claim for name, claim in self.claims.items() if claim.family == family}


def load(path: Path = FILE) -> Claims:
    """Read and check the claims. ConfigError: one line that says what is wrong, where, and what would be right."""
    source = config_file.read(path)
    kinds: dict[str, type[Strict]] = {
        "registration": Registration, "families": Family, "claims": Claim, "readings": Reading
    }  # fmt: skip
    for key, value in source.document.items():
        if key not in kinds:
            raise ConfigError(config_file.unknown("key", key, kinds, source.where((key,))))
        nested = value.values() if isinstance(value, dict) and key != "registration" else [value]
        if not all(isinstance(one, dict) for one in nested):
            raise ConfigError(
                f"{key} must hold tables, as in [{key}{'.NAME' if key != 'registration' else ''}] {source.where((key,))}"
            )
    lacking = [key for key in kinds if key != "readings" and not source.document.get(key)]
    if lacking:
        raise ConfigError(f"{path} has no [{lacking[0]}] table; give it one")
    document = source.document
    registration = validate(Registration, document["registration"], source, (("registration",),))
    families = {
        name: validate(Family, value, source, (("families", name),))
        for name, value in document["families"].items()
    }
    claims = {}
    for name, value in document["claims"].items():
        _known(Claim, value, ("claims", name), source)
        claim = validate(Claim, value, source, (("claims", name),))
        if claim.family not in families:
            where = source.where(("claims", name, "family"))
            raise ConfigError(config_file.unknown("family", claim.family, families, where))
        claims[name] = claim
    readings = {}
    for name, value in document.get("readings", {}).items():
        if name not in claims:
            raise ConfigError(config_file.unknown("claim", name, claims, source.where(("readings", name))))
        readings[name] = validate(Reading, value, source, (("readings", name),))
    found = Claims(path, storage.sha256_file(path), registration, families, claims, readings)
    for name in families:
        _decidable(found, name, source)
    return found


def _known(
    model: type[Strict], value: dict[str, Any], place: tuple[str, ...], source: config_file.Source
) -> None:
    """Refuse a misspelt key with the nearest right one, before what it was meant for is called missing."""
    for key, inner in value.items():
        if key not in model.model_fields:
            raise ConfigError(
                config_file.unknown("key", key, model.model_fields, source.where((*place, key)))
            )
        if key in QUERIES and isinstance(inner, dict):
            _known(QUERIES[key], inner, (*place, key), source)


def _decidable(found: Claims, family: str, source: config_file.Source) -> None:
    """Refuse a family so large that no result of the study's seeds could pass Holm's correction.

    Counted for seeds that all differ: where a binomial test's seeds are tied, fewer decide, and its smallest p is larger.
    """
    members, where = found.of(family), source.where(("families", family))
    if family == PRIMARY and len(members) > MOST_PRIMARY:
        raise ConfigError(f"families.{PRIMARY} has {len(members)} claims; at most {MOST_PRIMARY} {where}")
    seeds = found.registration.seeds
    for name, claim in members.items():
        floor = smallest_p(claim.test, claim.direction, seeds)
        if floor * len(members) >= ALPHA:
            most = int((ALPHA - 1e-12) / floor)
            raise ConfigError(
                f"families.{family} has {len(members)} claims: {seeds} seeds could never support claims.{name}, whose "
                f"smallest p is {floor:.2g}; at most {most} {where}"
            )


def _checked(where: Where) -> Where:
    for key, value in where.items():
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, str | int | float | bool):
                raise ValueError(f"where.{key} must be a value or a list of values")
    return where


def read_register(path: Path) -> dict[str, Any]:
    """docs/results/claims.json; an empty register where there is none. UserError where it is something else."""
    if not path.is_file():
        return {"results": {}, "claims": {}}
    found = storage.read_json(path)
    if not isinstance(found, dict) or not all(isinstance(found.get(k), dict) for k in ("results", "claims")):
        raise UserError(f"{path} is no register of claims; take it back from version control")
    return found


def marks(claims: Claims, register: Mapping[str, Any]) -> dict[str, str]:
    """By claim: CHANGED, ADDED, SEEN, or "" where it stands as it did before any result of its suites."""
    return {name: _mark(name, claim, claims, register) for name, claim in claims.claims.items()}


def _mark(name: str, claim: Claim, claims: Claims, register: Mapping[str, Any]) -> str:
    results, entry = set(register["results"]), register["claims"].get(name)
    if entry is None:
        return ADDED if results & set(claim.suites()) else _seen(claim, claims)
    if entry["hash"] != claim.hash() and results & {*claim.suites(), *entry["suites"]}:
        return CHANGED
    return ADDED if entry["late"] else _seen(claim, claims)


def _seen(claim: Claim, claims: Claims) -> str:
    return SEEN if set(claim.suites()) & set(claims.registration.seen) else ""


def removed(claims: Claims, register: Mapping[str, Any]) -> list[str]:
    """Claims that were registered, have results, and are no longer in the file."""
    gone = {name: entry for name, entry in register["claims"].items() if name not in claims.claims}
    return [name for name, entry in gone.items() if set(entry["suites"]) & set(register["results"])]


def registered(
    claims: Claims, register: Mapping[str, Any], measured: Collection[str], date: str, commit: str
) -> dict[str, Any]:
    """The register brought up to date; what it holds of claims with results is never overwritten.

    Args:
        measured: suites that have results now.
        date, commit: of this state of the repository.
    """
    results, entries = dict(register["results"]), dict(register["claims"])
    for name, claim in claims.claims.items():
        old = entries.get(name)
        if old is None or not set(results) & {*claim.suites(), *old["suites"]}:
            late = old is None and bool(set(results) & set(claim.suites()))
            kept = old is not None and old["hash"] == claim.hash()
            stamp = {"hash": claim.hash(), "suites": claim.suites(), "late": late}
            entries[name] = old if kept else {**stamp, "date": date, "commit": commit}
    for suite in sorted(measured):
        results.setdefault(suite, {"date": date, "commit": commit})
    return {"results": results, "claims": entries}
