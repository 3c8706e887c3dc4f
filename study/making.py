"""Makes tables, figures and pages, whatever decided that they are made: a step of the study, or a command for them alone."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from base import storage
from configs.suite import Suite
from study import book, phases
from study.book import Finished

if TYPE_CHECKING:
    from pandas import DataFrame

    from experiments.kit.panels import Figure
    from experiments.kit.tables import Tables

LONGEST_NOTE = 600  # signs; a longer one leaves a figure no room


class Makers:
    """The tables of one suite's finished runs as they are asked for, each made once in a process.

    A table that is made of others gets them as they were made, not as they were written: with all their digits.
    """

    held: "ClassVar[tuple[object, Makers] | None]" = None

    def __init__(self, suite: Suite, runs: Sequence[Finished]) -> None:
        from experiments.kit.runs import Context, open_run

        opened = []
        for run in runs:
            probes = {kind: [path for what, path in run.probes if what == kind] for kind, _ in run.probes}
            opened.append(open_run(run.suite, run.condition, run.seed, run.folder, probes))
        self.context = Context(suite, opened)
        self.by_name = {name: table for table in book.tables_of(suite) for name in table.names}
        self.made: dict[str, DataFrame] = {}

    @classmethod
    def of(cls, suite: Suite, runs: Sequence[Finished]) -> "Makers":
        """Those of some runs; kept until others are asked for."""
        asked = (suite.name, suite.path, suite.quick, suite.signatures, tuple(runs))
        if cls.held is None or cls.held[0] != asked:
            cls.held = asked, cls(suite, runs)
        return cls.held[1]

    def make(self, name: str) -> "dict[str, DataFrame]":
        """A table and those that are made with it, by name."""
        table = self.by_name[name]
        if name not in self.made:
            for needed in table.needs:
                self.make(needed)
            self.made |= table.of(self.context, self.made)
        return {each: self.made[each] for each in table.names}


def note_of(tables_dir: Path, suite: str, kind: str = "note") -> str:
    """What figures (note) or pages (warning) of a suite have to say of it, as the study left it beside the tables."""
    left = tables_dir / suite / f"{kind}.txt"
    return left.read_text(encoding="utf-8").strip() if left.is_file() else ""


def draw(
    figure: "Figure", tables: "Tables", note: str, folder: Path, say: Callable[[str], object] = print
) -> Path | None:
    """Draw a figure into a folder; None, and a line that says why, where its tables hold nothing for it."""
    from experiments.kit import style
    from experiments.kit.tables import NothingToDraw

    with style.context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of texts that leave a small panel no room
        try:
            content = style.png_bytes(figure.draw(tables, note[:LONGEST_NOTE]))
        except NothingToDraw as reason:
            say(f"{figure.name} not drawn: {reason}")
            return None
    storage.write_bytes(folder / figure.name, content)
    return folder / figure.name


def made_again(
    tables_dir: Path, out: Path, suite: str, note: str | None, figures: bool, pages: bool
) -> list[Path]:
    """The figures and pages of a suite, from a folder of tables, into `out`.

    note: what stands at the head of each page and below each figure; None: what the study left with the tables.
    """
    from experiments.kit.tables import Tables

    written = []
    for module, experiment, below in book.of_suite(suite):
        tables = Tables(tables_dir, suite)
        for figure in experiment.figures if figures else ():
            small = note_of(tables.folder, figure.suite or suite) if note is None else note
            drawn = draw(figure, tables, small, out / "figures" / below)
            written += [drawn] if drawn else []
        if pages and book.templates_of(module):
            said = note_of(tables.folder, suite, "warning") if note is None else note
            written += write_page(module, tables, out, below, said)
    return written


def write_page(module: str, tables: "Tables", out: Path, below: str, note: str) -> list[Path]:
    """Write an experiment's page below `<out>/report`, and as it reads beside the committed figures below its published/."""
    from experiments.kit.pages import render

    experiment = book.experiments()[module]
    places = {out / "report" / below: f"{'../' * (1 + bool(below))}figures/{below}".rstrip("/")}
    if not below:
        places[out / "report" / phases.PUBLISHED] = "../../figures"
    for folder, figures in places.items():
        storage.write_text(folder / experiment.page, render(experiment, tables, figures, note))
    return [folder / experiment.page for folder in places]
