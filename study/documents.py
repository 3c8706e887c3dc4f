"""Parts of README.md and docs/ that are written from the committed tables and from the code's own declarations."""

from collections import Counter
from pathlib import Path

import pandas as pd

from base import storage
from base.storage import ROOT, UserError
from experiments.claims.page import readme_claims
from experiments.kit.pages import made_from
from experiments.kit.tables import Tables
from experiments.kit.words import VERDICTS, harmless, listed, plural, table
from study import book, phases

WORKERS = 2  # of the machine that README gives the time for


def _pages(tables_dir: Path) -> list[tuple[str, Tables]]:
    """The modules of experiments that have a page, and the tables of its suite, in the order of the study."""
    order = [path.stem for phase in phases.declared() for path in phase.suites]
    found = [
        (module, experiment.suites[0])
        for module, experiment in book.experiments().items()
        if book.templates_of(module) and experiment.suites[0] in order
    ]
    return [
        (module, Tables(tables_dir, suite))
        for module, suite in sorted(found, key=lambda one: order.index(one[1]))
    ]


def readme_results(tables_dir: Path) -> str:
    """README's results: the claims, then what each page is made from and how its findings ended."""
    rows = []
    for module, tables in _pages(tables_dir):
        if tables.rows("runs").empty:
            continue
        experiment = book.experiments()[module]
        verdicts = Counter(finding.verdict for finding in experiment.findings(tables).values())
        counts = listed([f"{verdicts[verdict]} {verdict}" for verdict in VERDICTS if verdicts[verdict]])
        there = (ROOT / "docs" / "results" / experiment.page).is_file()
        link = f"[{experiment.title}](docs/results/{experiment.page})" if there else experiment.title
        rows.append([link, made_from(tables, *experiment.guests), counts])
    if not rows:
        return "No results are committed yet."
    found = table(["page", "made from", "findings"], rows, words=True)
    shared = "A run that two suites share stands in both rows, and counts once in the time above."
    return f"{readme_claims(tables_dir)}\n\n### All findings, page by page\n\n{found}\n\n{shared}"


def readme_time(tables_dir: Path) -> str:
    """README's sentence on how long a study takes: the seconds of its runs and tests, summed, over the workers."""
    suites = [path.stem for phase in phases.declared() for path in phase.suites]
    runs, tests = (
        pd.concat([Tables(tables_dir, suite).rows(name) for suite in suites], ignore_index=True)
        for name in ("runs", "tests")
    )
    if runs.empty:
        return "No full study has been timed yet."
    runs, tests = (rows.drop_duplicates("key") if len(rows) else rows for rows in (runs, tests))
    training, testing = (float(rows["seconds"].sum()) / 3600 if len(rows) else 0.0 for rows in (runs, tests))
    hours = training + testing
    counted = f", {plural(len(tests), 'test')} of finished runs" if len(tests) else ""
    tested = f", {testing:.1f} for testing" if len(tests) else ""
    left = (
        "Tables, figures and pages" if len(tests) else "The tests of finished runs, tables, figures and pages"
    )
    return (
        f"What is committed here ({plural(len(runs), 'run')}{counted}) "
        f"took {hours:.1f} hours of one core, {training:.1f} for training{tested}: about {hours / WORKERS:.1f} hours on {WORKERS} "
        f"cores like these, less on more. {left} come on top."
    )


def fill(text: str, block: str, content: str) -> str:
    """Replace what stands between `<!-- block -->` and `<!-- /block -->`. UserError where the marks are missing."""
    begin, end = f"<!-- {block} -->", f"<!-- /{block} -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise UserError(f"README.md must have one {begin} and after it one {end}; put them back")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{content}\n{end}{rest.split(end)[1]}"


def readme(text: str, tables_dir: Path) -> str:
    """README.md with its blocks `results` and `time` as the tables give them."""
    results, time = (harmless(made(tables_dir)) for made in (readme_results, readme_time))
    return fill(fill(text, "results", results), "time", time)


def write_readme(root: Path) -> Path:
    """Rewrite those blocks of README.md from `docs/results/tables`. To be called whenever results are published."""
    path = root / "README.md"
    text = path.read_text(encoding="utf-8")
    storage.write_text(path, readme(text, root / "docs" / "results" / "tables"))
    return path


def pipeline() -> str:
    """docs/PIPELINE.md from the phases and experiments. What is not committed is not linked to."""

    def shown(name: str, folder: str) -> str:
        return f"[`{name}`]({folder}/{name})" if (ROOT / "docs" / folder / name).is_file() else f"`{name}`"

    figures, pages = [], []
    for module, experiment in book.experiments().items():
        suite = experiment.suites[0]
        for figure in experiment.figures:
            drawn = ", ".join(f"`{name}`" for name in figure.tables)
            figures.append([shown(figure.name, "../figures"), f"`{suite}`", drawn, figure.shows])
        if book.templates_of(module):
            place = f"`{module.replace('.', '/')}.py`"
            pages.append([shown(experiment.page, "results"), f"`{suite}`", place, experiment.title])
    template = Path(__file__).with_name("pipeline.md").read_text(encoding="utf-8")
    parts = {
        "phases": phases.describe().strip(),
        "figures": table(
            ["figure", "suite", "tables it is drawn from", "what it shows"], figures, words=True
        ),
        "pages": table(["page", "suite", "made by", "title"], pages, words=True),
    }
    for name, part in parts.items():
        template = template.replace(f"<!-- {name} -->", part)
    return template


def write_pipeline(root: Path) -> Path:
    """Rewrite docs/PIPELINE.md."""
    storage.write_text(root / "docs" / "PIPELINE.md", pipeline())
    return root / "docs" / "PIPELINE.md"
