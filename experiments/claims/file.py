"""configs/claims.toml, typed and checked; the hash of each claim; and the register of what was claimed before results.

A claim is worth what was fixed before its result was seen. So every claim has a hash of its own, docs/results/claims.json
keeps the hash that was registered first, and a claim that was edited or added after results of its suites existed is
marked in every table, figure and page from then on; so is one whose size was known from a prototype.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from base import storage
from base.storage import ROOT, UserError
from configs import toml_file
from configs.fields import Name, Positive, Strict
from configs.suite import validate
from configs.toml_file import ConfigError
from experiments.kit import tables
from experiments.kit.levels import ALPHA

FILE, REGISTER = ROOT / "configs" / "claims.toml", ROOT / "docs" / "results" / "claims.json"
PRIMARY, MOST_PRIMARY = "primary", 10
CHANGED, ADDED, REMOVED = (f"{what} after results existed" for what in ("changed", "added", "removed"))
SEEN = "written after first results were seen"
FORESEEN = "its size was known from a prototype or a trial"


Text = Annotated[str, Field(min_length=1, max_length=1000)]
Value = str | int | float | bool
Where = dict[str, Value | list[Value]]  # what columns have to be; a list: any of them


class Query(Strict):
    """A cell of a table for each seed: one column of the rows that fit."""

    suite: Name
    table: Name
    column: Name
    where: Where = Field(default_factory=dict)
    take: Literal["one", "mean", "mean_abs"] = "one"  # of a seed's rows; one: several are an error
    missing: float | None = None  # what stood for an empty cell, of a withdrawn claim alone


class Other(Strict):
    """Another query, told by what differs from the endpoint's; its `where` is laid over the endpoint's."""

    suite: Name | None = None
    table: Name | None = None
    column: Name | None = None
    where: Where = Field(default_factory=dict)


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
    test: Literal[
        "sign_flip", "t", "placebo_ranks", "binomial"
    ]  # t: where a sign flip over so few seeds could never pass its family's correction; binomial: of a withdrawn claim alone
    pairs: bool = False  # partner seeds lend each other what is compared: the pair is the unit, not the seed
    back: float | None = (
        None  # what the published protocol's own number has to reach, too, to come back: judge.back
    )
    renamed: dict[Name, Name] = Field(default_factory=dict)  # conditions: today's name -> the registered one
    withdrawn: Text | None = None  # why it is judged no more: what it measured instead of what was published
    successor: Name | None = None  # the claim that asks the same of the right thing

    @model_validator(mode="after")
    def _fits(self) -> Self:
        ranks = self.test == "placebo_ranks"
        if ranks != (self.placebo is not None):
            raise ValueError("test = 'placebo_ranks' and a placebo go together; give both or neither")
        if ranks and (self.direction != "greater" or self.minus is not None or self.null):
            raise ValueError("placebo_ranks asks whether the endpoint is greater, without a minus or a null")
        if (self.test == "binomial" or self.endpoint.missing is not None) and not self.withdrawn:
            raise ValueError("test = 'binomial' and endpoint.missing are of withdrawn claims alone")
        if (self.successor is None) != (self.withdrawn is None):
            raise ValueError(
                "`withdrawn` and `successor` go together: a claim that is judged no more names the one that is"
            )
        if self.origin == "published" and self.said is None:
            raise ValueError("a published claim needs `said`: the document's words")
        return self

    def query(self, other: Other | None) -> Query:
        """The whole query that `other` tells by its differences; the endpoint's for None."""
        if other is None:
            return self.endpoint
        given = other.model_dump(include={"suite", "table", "column"}, exclude_none=True)
        return self.endpoint.model_copy(update={**given, "where": {**self.endpoint.where, **other.where}})

    def suites(self) -> list[str]:
        """The suites whose tables decide it, in the order of their names."""
        return sorted({self.query(one).suite for one in (None, self.minus, self.placebo)})

    def smallest_p(self, seeds: int) -> float:
        """The smallest p that so many seeds can give; 0 for ranks, whose floor hangs on the draws, and for t tests."""
        return (
            0.0
            if self.test in ("placebo_ranks", "t")
            else (2 if self.direction == "different" else 1) / 2**seeds
        )

    def hash(self) -> str:
        """SHA-256 of all that the claim says, its conditions called as they were when it was registered.

        Fields that it leaves at their defaults take no part.
        """
        said = self.model_dump(
            mode="json", exclude_defaults=True, exclude={"renamed", "withdrawn", "successor"}
        )
        text = json.dumps(said)
        for now, then in self.renamed.items():
            text = text.replace(json.dumps(now), json.dumps(then))
        return storage.hash_json(json.loads(text))


class Family(Strict):
    """Claims that are corrected together."""

    title: Text
    asks: Text
    known: Text | None = None  # when its claims were written, beside what the registration says
    foreseen: tuple[Name, ...] = ()  # its claims whose size was known then, from a prototype or a trial


class Registration(Strict):
    """What the claims were written for, and what was known then."""

    seeds: int = Field(ge=1, le=1000)  # of the study that the claims are meant for
    seen: tuple[Name, ...] = ()  # suites of which some results had been seen when their claims were written
    known: Text
    published: Text | None = (
        None  # what was known of the published numbers when their claims were written anew
    )
    review: Annotated[str, Field(min_length=1, max_length=3000)] | None = None  # of changes after results


class Shown(Query):
    """A number that is shown beside a claim and takes no part in it: a mean over seeds.

    `among`: conditions of which the one furthest on the claim's side is shown, and named: the strongest of them.
    """

    label: Annotated[str, Field(min_length=1, max_length=80)]
    among: tuple[Name, ...] = ()

    def queries(self) -> dict[str, Query]:
        """What to look up, by condition; by "" where there is only one."""
        return {
            name: self.model_copy(update={"where": {**self.where, "condition": name}}) for name in self.among
        } or {"": self}


class Reading(Strict):
    """How a claim is to be read: no part of it or of its hash, so that a review can add it without touching the claim."""

    note: Text | None = None
    beside: tuple[Shown, ...] = ()
    pairs: bool = False  # shown by pairs of partner seeds, too, where they lend each other what is compared


class Claims(Strict):
    """The whole file, in its order, and its SHA-256."""

    sha256: str
    registration: Registration
    families: dict[str, Family] = Field(min_length=1)
    claims: dict[str, Claim] = Field(min_length=1)
    readings: dict[str, Reading] = Field(default_factory=dict)

    def of(self, family: str) -> dict[str, Claim]:
        """The claims of a family that are judged."""
        return {name: one for name, one in self.claims.items() if one.family == family and not one.withdrawn}

    def withdrawn(self) -> dict[str, Claim]:
        return {name: claim for name, claim in self.claims.items() if claim.withdrawn}


def load(path: Path = FILE) -> Claims:
    """Read and check the claims. ConfigError: one line that says what is wrong, where, and what would be right."""
    source = toml_file.read(path)
    found = validate(Claims, {**source.document, "sha256": storage.sha256_file(path)}, source, ((),))
    for name, claim in found.claims.items():
        if claim.family not in found.families and not claim.withdrawn:
            where = source.where(("claims", name, "family"))
            raise ConfigError(toml_file.unknown("family", claim.family, found.families, where))
    for name, claim in found.withdrawn().items():
        if claim.successor not in found.claims or found.claims[claim.successor].withdrawn:
            where = source.where(("claims", name, "successor"))
            raise ConfigError(toml_file.unknown("claim", str(claim.successor), found.claims, where))
    for name in found.readings:
        if name not in found.claims:
            raise ConfigError(
                toml_file.unknown("claim", name, found.claims, source.where(("readings", name)))
            )
    for family, about in found.families.items():
        for name in about.foreseen:
            if name not in found.of(family):
                where = source.where(("families", family, "foreseen"))
                raise ConfigError(toml_file.unknown("claim", name, found.of(family), where))
        _check_size(found, family, source.where(("families", family)))
    return found


def _check_size(found: Claims, family: str, where: str) -> None:
    """Refuse a family so large that no result of the study's seeds could pass Holm's correction."""
    members, seeds = found.of(family), found.registration.seeds
    size = f"families.{family} has {len(members)} claims"
    if family == PRIMARY and len(members) > MOST_PRIMARY:
        raise ConfigError(f"{size}; at most {MOST_PRIMARY} {where}")
    for name, claim in members.items():
        floor = claim.smallest_p(seeds)
        if floor * len(members) >= ALPHA:
            raise ConfigError(
                f"{size}: {seeds} seeds could never support claims.{name}, whose smallest p is {floor:.2g}; "
                f"at most {int((ALPHA - 1e-12) / floor)} {where}"
            )


def read_register(path: Path = REGISTER) -> dict[str, Any]:
    """docs/results/claims.json: by suite the first results, by claim what was registered of it; empty without the file.

    UserError where it is something else.
    """
    found = storage.read_json(path) if path.is_file() else {"results": {}, "claims": {}}
    if not isinstance(found, dict) or not all(isinstance(found.get(k), dict) for k in ("results", "claims")):
        raise UserError(f"{path} is no register of claims; take it back from version control")
    return found


def marks(claims: Claims, register: Mapping[str, Any]) -> dict[str, str]:
    """By claim: CHANGED, ADDED, SEEN, FORESEEN, the first that fits; REMOVED where it is gone.

    "" where it stands as it did before any result of its suites, and its size was not known from a prototype.
    """
    results, entries, found = set(register["results"]), register["claims"], {}
    foreseen = {name for family in claims.families.values() for name in family.foreseen}
    for name, claim in claims.claims.items():
        suites, entry = set(claim.suites()), entries.get(name)
        if entry and entry["hash"] != claim.hash() and results & {*suites, *entry["suites"]}:
            found[name] = CHANGED
        elif entry["late"] if entry else results & suites:
            found[name] = ADDED
        elif suites & set(claims.registration.seen):
            found[name] = SEEN
        else:
            found[name] = FORESEEN if name in foreseen else ""
    gone = {name: set(entry["suites"]) for name, entry in entries.items() if name not in found}
    return found | {name: REMOVED for name, suites in gone.items() if suites & results}


def register(tables_dir: Path, file: Path, date: str, commit: str, path: Path = FILE) -> None:
    """Bring docs/results/claims.json up to date: claims that are new, and suites that have results for the first time.

    What is registered of a claim whose suites have results stays as it is, so that an edit can be seen for ever.

    Args:
        tables_dir: the committed tables. file: the register. date, commit: of this state of the repository.
    """
    claims, known = load(path).claims, read_register(file)
    results, entries = dict(known["results"]), dict(known["claims"])
    for name, claim in claims.items():
        old = entries.get(name)
        decided = set(results) & {*claim.suites(), *(old["suites"] if old else ())}
        if old is None or (old["hash"] != claim.hash() and not decided):
            stamp = {"hash": claim.hash(), "suites": claim.suites(), "late": bool(decided)}
            entries[name] = {**stamp, "date": date, "commit": commit}
    for suite in sorted({suite for claim in claims.values() for suite in claim.suites()}):
        if suite not in results and len(tables.read(tables_dir, suite, "runs")):
            results[suite] = {"date": date, "commit": commit}
    storage.write_json(file, {"results": results, "claims": entries})
