"""BRIDGE, until every experiment is converted: the pages, of experiments/ and of the modules still here.

Both are found by looking, so that converting an experiment edits nothing here: its modules go, and that is all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from base import storage
from experiments import found
from experiments.kit import tables as kit_tables
from experiments.kit.experiment import Experiment
from experiments.kit.pages import made_from, page_of, render
from experiments.kit.words import READING, Finding
from plots.figure import OF_ANY_SUITE
from reports import conditions
from reports.parts import Section, Tables, page

ENDING = "Written from the tables by `scripts/make_report.py`; edits here are lost. What each column means: `docs/METRICS.md`."


class Sections(Protocol):
    """What a page's module gives: its sections, from tables and the folder of figures as seen from the page."""

    def __call__(self, tables: Tables, figures: str) -> Sequence[Section]: ...


@dataclass(frozen=True)
class Page:
    """A page: its file, its title, the suite whose tables it is written from, its sections.

    columns: what it takes from tables besides reports.parts.COLUMNS. reading: how its verdicts are to be read.
    """

    file: str
    title: str
    suite: str
    sections: Sections
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reading: str = READING

    def tables(self, folder: Path, suite: str | None = None) -> Tables:
        return Tables(folder, suite or self.suite, self.columns)

    def made_from(self, tables: Tables) -> str:
        """One sentence on the runs behind the page."""
        return made_from(tables, *guests_of(tables.suite))


@dataclass(frozen=True)
class _Found:
    """The findings of a converted page, as README counts them."""

    findings: Sequence[Finding]


@dataclass(frozen=True)
class Converted:
    """The page of an experiment of experiments/, as an entry here."""

    experiment: Experiment

    @property
    def file(self) -> str:
        return self.experiment.page

    @property
    def title(self) -> str:
        return self.experiment.title

    @property
    def suite(self) -> str:
        return self.experiment.suites[0]

    def tables(self, folder: Path, suite: str | None = None) -> kit_tables.Tables:
        return kit_tables.Tables(folder, suite or self.suite)

    def made_from(self, tables: kit_tables.Tables) -> str:
        return made_from(tables, *self.experiment.guests)

    def sections(self, tables: kit_tables.Tables, figures: str) -> Sequence[_Found]:
        return [_Found([*self.experiment.findings(tables).values()])]


def _page(name: str) -> Any:
    one = import_module(f"reports.{name}") if find_spec(f"reports.{name}") else None
    if one is None:
        return None
    file = getattr(one, "FILE", f"{'frozen-test' if name == 'frozen' else name}.md")
    reading = one.RULE if name == "claims" else READING
    return Page(
        file,
        one.TITLE,
        getattr(one, "SUITE", OF_ANY_SUITE),
        one.sections,
        getattr(one, "COLUMNS", {}),
        reading,
    )


ORDER = (  # of README's list
    "perturbation", "training", "shakespeare", "frozen", "claims", "recurring", "steering", "beliefs", "controls", "memory", "swap", "generalization",
    "update_network", "lead_lag", "sweeps",
)  # fmt: skip
_CONVERTED = {name: Converted(one) for name, one in found().items() if page_of(one)}
_ALL = [_CONVERTED.get(name) or _page(name) for name in dict.fromkeys((*ORDER, *_CONVERTED))]
PAGES: tuple[Any, ...] = tuple(one for one in _ALL if one)


WITHOUT_A_PAGE = {"ambiguous": "memory"}
"""Suites of the study that are sections of another suite's page, and that suite."""


def guests_of(suite: str) -> list[str]:
    """Suites that are sections of this suite's page."""
    return [guest for guest, host in WITHOUT_A_PAGE.items() if host == suite]


def on_conditions(one: Page, tables: Tables) -> str:
    """What a page says of its conditions: the first of a suite explains them, the others point there; "" for nothing."""
    first = next(page for page in PAGES if page.suite == one.suite)
    found = conditions.listing(tables, *guests_of(one.suite))
    pointer = conditions.pointer(first.file) if found or isinstance(first, Converted) else ""
    return found if one is first else pointer


def warning_of(tables_dir: Path, suite: str) -> str:
    """What a suite's pages must say first, as the study left it beside the tables; "" where it left nothing."""
    left = tables_dir / suite / "warning.txt"
    return left.read_text().strip() if left.is_file() else ""


def write_all(
    out: Path, notes: Mapping[str, str], figures: str = "../figures", destination: Path | None = None
) -> list[Path]:
    """Write the pages of some suites from the tables in `<out>/tables`.

    Args:
        out: folder that holds `tables/`. Missing tables and rows become a plain sentence on the page.
        notes: by suite, what to put at the head of its pages, for example that the study is a quick one; may be empty.
            A suite of the user's own gets the pages of the first.
        figures: the folder of figures as seen from the pages.
        destination: folder to write to; `<out>/report` if None.

    Returns:
        The paths written.
    """
    folder = destination if destination is not None else out / "report"
    known = {*(page.suite for page in PAGES), *WITHOUT_A_PAGE}
    written = []
    for suite, note in notes.items():
        for one in PAGES:
            if one.suite == (suite if suite in known else OF_ANY_SUITE):
                tables = one.tables(out / "tables", suite)
                if isinstance(one, Converted):
                    storage.write_text(folder / one.file, render(one.experiment, tables, figures, note))
                    written.append(folder / one.file)
                    continue
                ending = "\n\n".join(filter(None, (on_conditions(one, tables), ENDING)))
                text = page(
                    one.title, note, one.made_from(tables), one.sections(tables, figures), ending, one.reading
                )
                storage.write_text(folder / one.file, text)
                written.append(folder / one.file)
    return written
