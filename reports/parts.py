"""BRIDGE, until every experiment is converted: sections and whole pages of modules in reports/."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from experiments.kit import tables
from experiments.kit.tables import RUN, WEIGHTS
from experiments.kit.words import READING, Finding, harmless, in_order

COLUMNS: dict[str, tuple[str, ...]] = {  # what the pages take from each table
    "runs": (*RUN, "steps", "seconds", "heldout_loss", "dtype", "corpus", "parameters"),
    "tests": (*RUN, "kind", "key", "seconds"),
    "metrics": (*RUN, "step", "heldout_loss"),
    "regime_deltas": (*RUN, "regime", "metric", "delta"),
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


class Tables(tables.Tables):
    """Tables that pages not yet converted read: an absent one has the columns of COLUMNS and of the page's own."""

    def __init__(
        self, folder: Path, suite: str, columns: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        super().__init__(folder, suite)
        self.columns = {**COLUMNS}
        for name, more in (columns or {}).items():
            self.columns[name] = tuple(dict.fromkeys((*self.columns.get(name, ()), *more)))
        self.load = cache(self._load)

    def of(self, suite: str) -> "Tables":
        return Tables(self.folder, suite, self.columns)

    def _load(self, name: str) -> pd.DataFrame:
        return tables.read(self.folder, self.suite, name, self.columns.get(name, ()))

    def rows(self, name: str, **where: object) -> pd.DataFrame:
        table = self.load(name)
        for column, value in where.items():
            table = table[table[column] == value]
        return table


def page(
    title: str, note: str, made: str, sections: Sequence[Section], ending: str, reading: str = READING
) -> str:
    """A whole page: the note, what it was made from, the findings (what fails first), then each section."""
    findings = [finding.line() for finding in in_order([f for s in sections for f in s.findings])]
    blocks = [f"# {title}", *([f"> **{' '.join(note.split())}**"] if note.strip() else []), made]
    blocks += ["## In short", "\n".join(findings) or "Nothing has been measured yet.", reading]
    return harmless("\n\n".join([*blocks, *(section.text() for section in sections), ending]) + "\n")
