"""What pages are made of: tables read from a folder, findings with a computed verdict, sections, whole pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from plots.series import Estimate, estimate
from reports.markdown import plural
from storage import UserError

NOT_SUPPORTED, INCONCLUSIVE, SUPPORTED, ABSENT = (
    "not supported",
    "inconclusive",
    "supported",
    "not measured",
)
VERDICTS = (NOT_SUPPORTED, INCONCLUSIVE, SUPPORTED, ABSENT)  # the order of a page: what fails comes first
_RUN = ("suite", "condition", "seed")
_WEIGHTS = (*_RUN, "run_step")
COLUMNS: dict[str, tuple[str, ...]] = {  # what the pages take from each table
    "runs": (*_RUN, "steps", "seconds", "heldout_loss", "dtype", "corpus"),
    "metrics": (*_RUN, "step", "heldout_loss"),
    "regime_deltas": (*_RUN, "regime", "metric", "delta"),
    "classification": (
        *("suite", "condition", "protocol", "features", "accuracy", "null_mean", "null_95", "p_value"),
        *("windows", "runs", "majority"),
    ),
    "state_path": (*_RUN, "step", "pc1", "share1", "share2"),
    "frozen_conditions": (
        *(*_WEIGHTS, "protocol", "finder", "state", "magnitude", "entropy", "nll", "ece", "delta_entropy"),
        *("delta_nll", "kl", "sign_consistency"),
    ),
    "frozen_effects": (*_WEIGHTS, "protocol", "finder", "reader", "effect_size"),
    "frozen_effects_summary": (
        *(*_WEIGHTS, "protocol", "finder", "effect", "placebo", "placebo_mean", "placebo_sd", "placebo_max"),
        "p_value",
    ),
    "frozen_doses": (*_WEIGHTS, "direction", "magnitude", "delta_entropy"),
}
MISSING = "The tables hold nothing for this yet."
READING = (
    "Brackets hold the 95 % t interval of the mean over seeds. *Supported*: the interval lies wholly on the claimed "
    "side of zero. *Not supported*: it does not, which is not a proof that there is nothing. *Inconclusive*: "
    "fewer than three seeds, or parts of the claim that disagree. Not corrected for the number of comparisons unless it says so."
)


@dataclass(frozen=True)
class Finding:
    """One claim, its verdict (one of VERDICTS), and the numbers that decide it, as a sentence."""

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
    """The CSV tables of a folder, one suite's rows."""

    def __init__(self, folder: Path, suite: str | None) -> None:
        self.folder = folder
        self.suite = suite
        self.load = cache(self._load)

    def _load(self, name: str) -> pd.DataFrame:
        path = self.folder / f"{name}.csv"
        if not path.is_file() or not path.read_bytes().strip():
            return pd.DataFrame(columns=list(COLUMNS[name]))
        try:
            table = pd.read_csv(path, keep_default_na=False, na_values=["", "nan", "NaN"])
        except (ValueError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not a table ({error}); delete it and run the study again") from None
        if self.suite is not None and "suite" in table:
            table = table[table["suite"] == self.suite]
        lacking = [column for column in COLUMNS.get(name, ()) if column not in table]
        if lacking:
            raise UserError(f"{path} lacks the column {lacking[0]}; delete it and run the study again")
        return table.reset_index(drop=True)

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


def correlation(one: "pd.Series[float]", other: "pd.Series[float]") -> float:
    """Pearson's correlation; NaN, without a warning, where a side does not vary."""
    if one.nunique() < 2 or other.nunique() < 2:
        return float("nan")
    return float(one.corr(other))


FEWEST_SEEDS = 3  # with two, the t interval is 12.7 standard errors wide and decides nothing


def side(value: Estimate, sign: int) -> str:
    """The verdict on "this mean lies on that side of zero"; sign is +1 or -1."""
    if value.n == 0:
        return ABSENT
    if value.n < FEWEST_SEEDS:
        return INCONCLUSIVE
    return SUPPORTED if (value.low > 0 if sign > 0 else value.high < 0) else NOT_SUPPORTED


def all_of(verdicts: Sequence[str]) -> str:
    """The verdict on a claim whose parts have these: inconclusive where they disagree."""
    known = {verdict for verdict in verdicts if verdict != ABSENT}
    if not known:
        return ABSENT
    return known.pop() if len(known) == 1 else INCONCLUSIVE


def worst(verdicts: Sequence[str]) -> str:
    """The verdict on a claim that holds only if each of its parts does."""
    return min(verdicts, key=VERDICTS.index)


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Findings, what fails first."""
    return sorted(findings, key=lambda finding: VERDICTS.index(finding.verdict))


def made_from(tables: Tables) -> str:
    """One sentence on the runs behind a page: suite, corpus, seeds, steps, number type."""
    runs = tables.rows("runs")
    if runs.empty:
        return "No finished run is in the tables."
    corpora = ", ".join(f"`{name}`" for name in sorted(set(runs["corpus"].astype(str))))
    dtypes = ", ".join(sorted(set(runs["dtype"].astype(str))))
    steps = ", ".join(str(count) for count in sorted(set(runs["steps"].astype(int))))
    suites = ", ".join(f"`{name}`" for name in sorted(set(runs["suite"].astype(str))))
    seeds = runs.groupby(["suite", "condition"])["seed"].nunique()
    count = plural(int(seeds.max()), "seed") + (
        "" if seeds.min() == seeds.max() else f" at most, {seeds.min()} at least"
    )
    return (
        f"Suite {suites}, corpus {corpora}: {plural(len(runs), 'run')} of {steps} steps, {count} a condition, "
        f"products in {dtypes}."
    )


def page(title: str, note: str, tables: Tables, sections: Sequence[Section], ending: str) -> str:
    """A whole page: the note, what it was made from, the findings (what fails first), then each section."""
    findings = [finding.line() for finding in in_order([f for s in sections for f in s.findings])]
    blocks = [f"# {title}", *([f"> **{note.strip()}**"] if note.strip() else []), made_from(tables)]
    blocks += ["## In short", "\n".join(findings) or "Nothing has been measured yet.", READING]
    return "\n\n".join([*blocks, *(section.text() for section in sections), ending]) + "\n"
