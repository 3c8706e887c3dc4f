"""The result pages of a study: tables in, Markdown files out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from base import storage
from plots.figure import OF_ANY_SUITE
from reports import (
    beliefs,
    claims,
    conditions,
    controls,
    frozen,
    generalization,
    lead_lag,
    memory,
    recurring,
    shakespeare,
    steering,
    swap,
    sweeps,
    update_network,
)  # fmt: skip
from reports.parts import READING, Section, Tables, made_from, page

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


PAGES = (
    Page("shakespeare.md", shakespeare.TITLE, "shakespeare", shakespeare.sections),
    Page("frozen-test.md", frozen.TITLE, "shakespeare", frozen.sections),
    Page(claims.FILE, claims.TITLE, claims.SUITE, claims.sections, claims.COLUMNS, claims.RULE),
    *(
        Page(topic.FILE, topic.TITLE, topic.SUITE, topic.sections, topic.COLUMNS)
        for topic in (
            *(recurring, steering, beliefs, controls, memory, swap, generalization),
            *(update_network, lead_lag, sweeps),
        )
    ),
)


WITHOUT_A_PAGE = {"ambiguous": "memory"}
"""Suites of the study that are sections of another suite's page, and that suite."""


def guests_of(suite: str) -> list[str]:
    """Suites that are sections of this suite's page."""
    return [guest for guest, host in WITHOUT_A_PAGE.items() if host == suite]


def on_conditions(one: Page, tables: Tables) -> str:
    """What a page says of its conditions: the first of a suite explains them, the others point there; "" for nothing."""
    first = next(page for page in PAGES if page.suite == one.suite)
    found = conditions.listing(tables, *guests_of(one.suite))
    return found if one is first or not found else conditions.pointer(first.file)


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
                ending = "\n\n".join(filter(None, (on_conditions(one, tables), ENDING)))
                text = page(
                    one.title, note, one.made_from(tables), one.sections(tables, figures), ending, one.reading
                )
                storage.write_text(folder / one.file, text)
                written.append(folder / one.file)
    return written
