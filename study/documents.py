"""README.md, the index of results and docs/PIPELINE.md: written from the committed tables and from the code's own declarations."""

import itertools
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from base import storage
from base.storage import ROOT
from experiments.claims.document import rows, ten
from experiments.claims.row import known_before
from experiments.kit.pages import filled
from experiments.kit.stats import Estimate, estimate
from experiments.kit.tables import NothingToDraw, Tables
from experiments.kit.words import ABSENT, CLEAR, Finding, plural, table
from study import book, phases

WORKERS = 2  # of the machine that README gives the time for
HERE = Path(__file__).parent
INDEX = "docs/results/README.md"
SHARED = "Seconds of a worker that had a core to itself, or shared it with what else was at work. What two suites share counts in the first."


def readme(root: Path) -> str:
    """README.md from study/readme.md, the tables in `docs/results/tables` and the figures that are committed."""
    tables = root / "docs" / "results" / "tables"

    @cache
    def findings(module: str) -> dict[str, Finding]:
        experiment = book.experiments()[f"experiments.{module}"]
        of = Tables(tables, experiment.suites[0])
        try:
            with of.needed("README.md"):
                return dict(experiment.findings(of))
        except NothingToDraw:
            return {}

    def finding(name: str) -> Finding | None:
        module, _, which = name.rpartition(".")
        found = findings(module).get(which)
        return found if found is not None and found.verdict != ABSENT else None

    def said(*names: str) -> list[str]:
        """The findings of those names, `experiment.finding`, that have been measured, as lines."""
        return [found.line() for found in map(finding, names) if found is not None]

    def title(name: str) -> str:
        found = finding(name)
        return found.title() if found is not None else ""

    def told(*names: str) -> str:
        return " ".join(filter(None, map(title, names)))

    def clear(name: str) -> bool:
        found = finding(name)
        return found is not None and found.verdict == CLEAR

    def measured(suite: str, name: str, column: str, **where: object) -> Estimate:
        rows = Tables(tables, suite).rows(name, **where)
        return estimate(rows.groupby("seed")[column].mean() if len(rows) else pd.Series(dtype=float))

    def picture(alt: str, *names: str) -> str:
        """The first of some figures that there is."""
        there = [name for name in names if (root / "figures" / name).is_file()]
        return f"![{alt}](figures/{there[0]})" if there else ""

    known: dict[str, Any] = {
        "said": said, "told": told, "title": title, "clear": clear, "measured": measured, "picture": picture, "time": time_taken(tables), "phases": phases.describe().strip(),
        "has": lambda name: (root / name).is_file(), "ten": ten(Tables(tables, book.CLAIMS)), "claims": claims_told(tables),
        "printed": len(rows(Tables(tables, book.CLAIMS))),
    }  # fmt: skip
    return linked(filled("readme.md", known, HERE), root)


def claims_told(tables_dir: Path) -> str:
    """How many claims have been measured, how many of them late, how many with their size known; "" before any."""
    claims = Tables(tables_dir, book.CLAIMS).rows("claims")
    measured = claims[claims["n"] > 0]
    late, foreseen = (int(which.sum()) for which in known_before(measured))
    return (
        f"of {len(measured)} measured, {len(measured) - late - foreseen} were registered before any result or trial; of {foreseen} a trial had shown the size, "
        f"{late} were added or changed after results, and both are marked"
        if len(measured)
        else ""
    )


def linked(text: str, folder: Path, coming: Collection[Path] = ()) -> str:
    """A document of a folder whose links to files that neither are there nor coming are their words alone."""

    def kept(link: re.Match[str]) -> str:
        target = link["target"].partition("#")[0]
        there = not target or re.match(r"[a-z]+:", target) or (folder / target).exists()
        there = there or folder / target in coming
        return link[0] if there else link["words"]

    return re.sub(r"(?<!!)\[(?P<words>[^\]]+)\]\((?P<target>[^)\s]+)\)", kept, text)


def costs(tables_dir: Path) -> pd.DataFrame:
    """What runs and tests took, a row each: suite, kind, key, seconds; what suites share counts where it comes first."""
    suites = [path.stem for phase in phases.declared() for path in phase.suites]
    columns = ["suite", "kind", "key", "seconds"]
    parts = [pd.DataFrame(columns=columns)]
    for suite, kind in itertools.product(suites, ("runs", "tests")):
        rows = Tables(tables_dir, suite).rows(kind)
        if len(rows):
            parts.append(rows.assign(suite=suite, kind=kind)[columns])
    return pd.concat(parts[1:] or parts, ignore_index=True).drop_duplicates("key")


def time_taken(tables_dir: Path) -> str:
    """How long a study takes, from the seconds of its runs and tests; "" before any."""
    done = costs(tables_dir)
    if done.empty:
        return ""
    hours = float(done["seconds"].sum()) / 3600
    return (
        f"What is published here, {plural(len(done), 'run and test', 'runs and tests')}, took {hours:.1f} hours of one core: about "
        f"{hours / WORKERS:.1f} hours on {WORKERS} such cores, less on more."
    )


def cost_table(tables_dir: Path) -> str:
    """What each published suite took, and all of them; "" before any."""
    done = costs(tables_dir)
    lines = []
    for suite, own in [*done.groupby("suite", sort=False), ("all", done)]:
        runs, tests = ((own["kind"] == kind).sum() for kind in ("runs", "tests"))
        lines.append([f"`{suite}`", runs, tests, f"{own['seconds'].sum() / 3600:.2f}"])
    return table(["suite", "runs", "tests", "hours of one core"], lines) if len(done) else ""


def opening(page: str) -> str:
    """What a page says first; "" where it says nothing yet."""
    first = re.search(r"^- \*\*(.*?)\*\*", page, flags=re.M)
    return first.group(1) if first else ""


def index(root: Path) -> str:
    """docs/results/README.md: a line for each page beside it, in the order of the study, with what it says first; what it took."""
    rows = []
    for experiment in book.with_pages():
        page = (root / INDEX).with_name(experiment.page)
        text = page.read_text(encoding="utf-8") if page.is_file() else ""
        if first := opening(text):
            rows.append([f"[{experiment.title}]({page.name})", first])
    took = cost_table((root / INDEX).with_name("tables"))
    parts = ["# What was found, page by page", table(["page", "what it says first"], rows, words=True)]
    parts += ["## What it took", took, SHARED] if took else []
    return "\n\n".join(parts) + "\n"


def write_readme(root: Path) -> Path:
    """Rewrite README.md and the index of results. To be called whenever results are published."""
    storage.write_text(root / INDEX, index(root))
    storage.write_text(root / "README.md", readme(root))
    return root / "README.md"


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
