"""What pages are made of: tables read from a folder, findings with a computed verdict, sections, whole pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from analysis import claim_tests, table_files
from analysis.levels import FEWEST_SEEDS
from analysis.table_files import RUN, WEIGHTS
from plots import published
from plots.series import Estimate, estimate
from plots.wording import listed, plural
from reports.markdown import harmless, interval

NOT_CLEAR, OPEN, CLEAR, ABSENT = "not clear", "open", "clear", claim_tests.ABSENT
VERDICTS = (NOT_CLEAR, OPEN, CLEAR, ABSENT)  # the order of a page: what fails comes first
_PLACES = {word: place for words in (VERDICTS, claim_tests.VERDICTS) for place, word in enumerate(words)}
COLUMNS: dict[str, tuple[str, ...]] = {  # what the pages take from each table
    "runs": (*RUN, "steps", "seconds", "heldout_loss", "dtype", "corpus", "parameters"),
    "tests": (*RUN, "kind", "key", "seconds"),
    "metrics": (*RUN, "step", "heldout_loss"),
    "regime_deltas": (*RUN, "regime", "metric", "delta"),
    "classification": (
        *("suite", "condition", "protocol", "features", "accuracy", "null_mean", "null_95", "p_value"),
        *("windows", "runs", "majority"),
    ),
    "classification_seeds": ("suite", "condition", "protocol", "features", "seed", "accuracy"),
    "state_path": (*RUN, "step", "pc1", "share1", "share2"),
    "frozen_conditions": (
        *(*WEIGHTS, "protocol", "finder", "state", "magnitude", "entropy", "nll", "ece", "delta_entropy"),
        *("delta_nll", "kl", "sign_consistency"),
    ),
    "frozen_effects": (*WEIGHTS, "protocol", "finder", "reader", "effect_size"),
    "frozen_effects_summary": (
        *(*WEIGHTS, "protocol", "finder", "effect", "placebo", "placebo_mean", "placebo_sd", "placebo_max"),
        "p_value",
    ),
    "frozen_doses": (*WEIGHTS, "direction", "magnitude", "delta_entropy"),
    "usual_norm": (*WEIGHTS, "finder", "reader", "draw", "norm", "largest", "effect"),
}
OTHER_WAY = " Clearly the other way{}."
MISSING = "The tables hold nothing for this yet."
READING = (
    "Brackets hold the 95 % t interval of the mean over seeds. *Clear*: the interval lies wholly on that side of zero which "
    "the sentence says. *Not clear*: it does not, which is not a proof that there is nothing; where it lies wholly on the other side, "
    "the finding says so. *Open*: too few seeds (fewer than three, or than its test needs), or parts of the sentence that disagree. "
    "With few seeds an interval can reach past the bounds of a share or a correlation. These words are not the verdicts on claims (*supported*, *not supported*, "
    "*inconclusive*): a claim was written before its results, is corrected for the number of claims beside it, and has to reach "
    "the smallest effect of interest. A finding is none of this unless it says so, so one in twenty is clear by chance."
)


@dataclass(frozen=True)
class Finding:
    """A sentence, its verdict (one of VERDICTS, or of a claim's own), and the numbers that decide it, as a sentence."""

    claim: str
    verdict: str
    evidence: str

    def line(self) -> str:
        return f"- **{self.verdict.capitalize()}: {self.claim}** {self.evidence}"


@dataclass(frozen=True)
class Section:
    """One result: what was asked, what came out (Markdown blocks), what that does and does not show."""

    title: str
    asked: str
    body: Sequence[str]
    shows: str
    findings: Sequence[Finding] = ()

    def text(self) -> str:
        parts = [f"## {self.title}", f"**Asked.** {self.asked}", "**Came out.**", *self.body]
        return "\n\n".join([*parts, f"**Shows, and does not.** {self.shows}"])


class Tables:
    """The CSV tables of one suite, in `<folder>/<suite>/`.

    columns: what a page takes from tables that are not in COLUMNS, or beyond what is there.
    """

    def __init__(
        self, folder: Path, suite: str, columns: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        self.folder = folder
        self.suite = suite
        self.columns = {**COLUMNS}
        for name, more in (columns or {}).items():
            self.columns[name] = tuple(dict.fromkeys((*self.columns.get(name, ()), *more)))
        self.load = cache(self._load)

    def of(self, suite: str) -> "Tables":
        """The tables of another suite of the same study."""
        return Tables(self.folder, suite, self.columns)

    def _load(self, name: str) -> pd.DataFrame:
        return table_files.read(self.folder, self.suite, name, self.columns.get(name, ()))

    def rows(self, name: str, **where: object) -> pd.DataFrame:
        """The rows of a table whose columns equal the given values; empty, with all columns, where it is absent."""
        table = self.load(name)
        for column, value in where.items():
            table = table[table[column] == value]
        return table


def per_seed(rows: pd.DataFrame, column: str) -> "pd.Series[float]":
    """The mean of a column for each seed that has a value."""
    if rows.empty:
        return pd.Series(dtype=float)
    return rows.groupby("seed")[column].mean().dropna()


def over_seeds(rows: pd.DataFrame, column: str) -> Estimate:
    """`estimate` of the seeds' means of a column."""
    return estimate(per_seed(rows, column))


def side(value: Estimate, sign: int) -> str:
    """The verdict on "this mean lies on that side of zero"; sign is +1 or -1."""
    if value.n == 0:
        return ABSENT
    if value.n < FEWEST_SEEDS:
        return OPEN
    return CLEAR if (value.low > 0 if sign > 0 else value.high < 0) else NOT_CLEAR


def all_of(verdicts: Sequence[str]) -> str:
    """The verdict on a sentence whose parts have these: open where they disagree."""
    known = {verdict for verdict in verdicts if verdict != ABSENT}
    if not known:
        return ABSENT
    return known.pop() if len(known) == 1 else OPEN


def worst(verdicts: Sequence[str]) -> str:
    """The verdict on a sentence that holds only if each of its parts does."""
    return min(verdicts, key=VERDICTS.index)


def other_way(parts: Sequence[tuple[str, Estimate]], sign: int) -> str:
    """A sentence, after a space, on which parts lie clearly on the other side of zero; "" where none does."""
    known = [(name, value) for name, value in parts if value.n]
    return turned_way([name for name, value in known if side(value, -sign) == CLEAR], len(known))


def turned_way(turned: Sequence[str], parts: int) -> str:
    """That sentence for the parts that are turned, out of so many; all of them need no names."""
    return OTHER_WAY.format(f": {listed(turned)}" if len(turned) < parts else "") if turned else ""


def difference(
    claim: str, parts: Sequence[tuple[str, Estimate]], sign: int, unit: str, digits: int, pairs: bool = True
) -> Finding:
    """The finding on values that should all lie on one side of zero; `pairs`: each is a difference paired by seed."""
    known = [(name, value) for name, value in parts if value.n]
    if not known:
        return Finding(claim, ABSENT, "It needs seeds that both sides of a comparison have.")
    text = "; ".join(f"{name} {interval(value, digits)}" for name, value in known)
    n = min(value.n for _, value in known)
    verdict = worst([side(value, sign) for _, value in known])
    paired = ", paired by seed" if pairs else ""
    return Finding(claim, verdict, f"{text}{unit}{paired}, n = {n}.{other_way(known, sign)}")


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Findings, what fails first."""
    return sorted(findings, key=lambda finding: _PLACES[finding.verdict])


def made_from(tables: Tables, *guests: str) -> str:
    """One sentence on the runs behind a page: suite, corpus, size of the models, seeds, steps, number type.

    guests: other suites whose results stand on the page, too.
    """
    runs = pd.concat([one.rows("runs") for one in (tables, *map(tables.of, guests))], ignore_index=True)
    if runs.empty:
        return "No finished run is in the tables."
    corpora = [f"`{name}`" for name in sorted(set(runs["corpus"].astype(str)))]
    dtypes = ", ".join(sorted(set(runs["dtype"].astype(str))))
    sizes = listed([f"{count / 1e6:.2f}" for count in sorted(set(runs["parameters"].astype(int)))])
    steps = " or ".join(str(count) for count in sorted(set(runs["steps"].astype(int))))
    suites = [f"`{name}`" for name in sorted(set(runs["suite"].astype(str)))]
    seeds = runs.groupby(["suite", "condition"])["seed"].nunique()
    count = plural(int(seeds.max()), "seed") + (
        "" if seeds.min() == seeds.max() else f" at most, {seeds.min()} at least"
    )
    return (
        f"Suite{'s' if len(suites) > 1 else ''} {listed(suites)}, {'corpora' if len(corpora) > 1 else 'corpus'} {listed(corpora)}, "
        f"models of {sizes} million parameters: {plural(len(runs), 'run')} of {steps} "
        f"steps, {count} a condition, products in {dtypes}."
    )


def smaller(tables: Tables) -> str:
    """A sentence for where published numbers stand beside those of a smaller model; nothing where the model is as large."""
    size = tables.rows("runs")["parameters"].max()
    if not size < published.PARAMETERS / 2:
        return ""
    return (
        f" The published model has {published.PARAMETERS / 1e6:.1f} million parameters, this suite's {size / 1e6:.2f} million: where a "
        "published value stands beside ours, the models differ."
    )


def page(
    title: str, note: str, made: str, sections: Sequence[Section], ending: str, reading: str = READING
) -> str:
    """A whole page: the note, what it was made from, the findings (what fails first), then each section."""
    findings = [finding.line() for finding in in_order([f for s in sections for f in s.findings])]
    blocks = [f"# {title}", *([f"> **{' '.join(note.split())}**"] if note.strip() else []), made]
    blocks += ["## In short", "\n".join(findings) or "Nothing has been measured yet.", reading]
    return harmless("\n\n".join([*blocks, *(section.text() for section in sections), ending]) + "\n")
