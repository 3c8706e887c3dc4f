"""Parts of README.md and docs/ that are written from the tables and from the code's own declarations."""

from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Protocol

import pandas as pd

from base import storage
from base.storage import UserError
from experiments.kit import words
from experiments.kit.words import READING, VERDICTS, listed, plural, table
from reports import claims
from reports.pages import PAGES

WORKERS = 2  # of the machine that README gives the time for


class Figure(Protocol):
    """What is needed of an entry of plots.registry.FIGURES."""

    @property
    def name(self) -> str: ...
    @property
    def tables(self) -> tuple[str, ...]: ...
    @property
    def caption(self) -> str: ...
    @property
    def suite(self) -> str: ...


def readme_results(tables_dir: Path) -> str:
    """README's results: the claims, then what each page is made from and how its findings ended."""
    pages = []
    for one in PAGES:
        tables = one.tables(tables_dir)
        if tables.rows("runs").empty or one.suite == claims.SUITE:
            continue
        verdicts = Counter(f.verdict for section in one.sections(tables, "") for f in section.findings)
        counts = listed([f"{verdicts[verdict]} {verdict}" for verdict in VERDICTS if verdicts[verdict]])
        pages.append([f"[{one.title}](docs/results/{one.file})", one.made_from(tables), counts])
    if not pages:
        return "No results are committed yet."
    found = table(["page", "made from", "findings"], pages).replace("---:", "---")
    shared = "A run that two suites share stands in both rows, and counts once in the time above."
    return f"{claims.readme_claims(tables_dir)}\n\n### All findings, page by page\n\n{found}\n\n{shared}\n\n{READING}"


def readme_time(tables_dir: Path) -> str:
    """README's sentence on how long a study takes: the seconds of its runs and tests, summed, over the workers."""
    runs, tests = (
        pd.concat([one.tables(tables_dir).rows(name) for one in PAGES], ignore_index=True).drop_duplicates(
            "key"
        )
        for name in ("runs", "tests")
    )
    if runs.empty:
        return "No full study has been timed yet."
    training, testing = (float(table["seconds"].sum()) / 3600 for table in (runs, tests))
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
    results, time = (words.harmless(made(tables_dir)) for made in (readme_results, readme_time))
    return fill(fill(text, "results", results), "time", time)


def write_readme(root: Path) -> Path:
    """Rewrite those blocks of README.md from `docs/results/tables`. To be called whenever results are published."""
    path = root / "README.md"
    storage.write_text(path, readme(path.read_text(), root / "docs" / "results" / "tables"))
    return path


def pipeline_page(phases: str, figures: Iterable[Figure], optional: Collection[str]) -> str:
    """docs/PIPELINE.md from the phases' table (Markdown) and the declared figures.

    optional: names of suites that the default study leaves out, so that nothing of them is committed and linked to.
    """

    def shown(suite: str, name: str, folder: str) -> str:
        return f"`{name}`" if suite in optional else f"[`{name}`]({folder}/{name})"

    head = ["figure", "suite", "tables it is drawn from", "what it shows"]
    rows = [
        [
            shown(figure.suite, figure.name, "../figures"),
            f"`{figure.suite}`",
            ", ".join(f"`{name}`" for name in figure.tables),
            figure.caption,
        ]
        for figure in sorted(figures, key=lambda figure: (figure.suite, figure.name))
    ]
    pages = table(
        ["page", "suite", "title"],
        [[shown(one.suite, one.file, "results"), f"`{one.suite}`", one.title] for one in PAGES],
        words=True,
    )
    return PIPELINE.format(
        phases=phases.strip(),
        figures=table(head, rows, words=True),
        pages=pages,
    )


PIPELINE = """\
# The pipeline

Written by `scripts/make_report.py --pipeline` from the code's own declarations; edits here are lost.

One command runs the study: `./run.sh all`, which is `python scripts/run_all.py` in the project's environment.

## Phases

{phases}

`--only PHASE...` runs some of them, with the data that their runs need. Where another input is missing, the message names
the phase to run, with the command. Figures and pages are of the seeds that are complete in a phase, whatever other phases
lack: `--only memory figures report` runs one experiment from the text to its page. The claims are judged once every suite
has a complete seed.

## What runs again, and what does not

Every task has a key: the hash of its resolved config, of the code files it depends on (comments and docstrings left
out), of its data, and of its inputs' keys. A task whose result is whole and carries the same key is skipped; anything
else runs, it and what depends on it. `--dry-run` lists every task with run or skip, and why. Runs lie under their key,
so a run that two suites need is trained once, and going back to an old config finds the old runs again.

Nothing is resumed by a flag: an interrupted run goes on from its last checkpoint with the same command, and ends with
the same bytes as one that was never interrupted.

Tasks go seed by seed: every condition of the first seed, then of the next. When a seed is complete, tables, figures and
pages are made again from what there is. So a whole picture stands early, and stopping is always safe.

## From runs to tables to figures

Tables are plain CSV files in `out/tables/<suite>/`, one row an observation; figures and pages are made from them alone.
The columns of `metrics.csv` and the measures of the frozen-weight test are explained in [METRICS.md](METRICS.md).

{figures}

{pages}

## What is committed

Everything is written under `--out` (default `out/`, ignored by git). `figures/` and `docs/results/` are replaced only
when the default study is complete, or by `--publish`. README's results are written from `docs/results/tables/`, and a
test fails when they differ.
"""
