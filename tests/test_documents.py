"""README's blocks and the pages of docs/ that are written by command."""

import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from base import ROOT
from base.errors import UserError
from experiments.claims.file import load
from experiments.kit import tables as kit_tables
from runs.state import METRICS
from study import book, documents, phases, publish
from tests.committed import COMMITTED, published_with
from tests.made_tables import study, written


def test_readme_blocks(tmp_path: Path) -> None:
    written(tmp_path, study())
    text = "a\n<!-- time -->\nstale\n<!-- /time -->\nb\n<!-- results -->\nstale\n<!-- /results -->\nc\n"
    made = documents.readme(text, tmp_path / "tables")
    assert "stale" not in made and made.startswith("a\n") and made.endswith("\nc\n")
    assert "(12 runs) took 12.0 hours of one core" in made  # four conditions, three seeds, an hour each
    assert "about 6.0 hours on 2 cores" in made
    assert documents.readme(made, tmp_path / "tables") == made
    with pytest.raises(UserError, match="must have one <!-- results -->"):
        documents.readme("no marks", tmp_path / "tables")


def test_readme_needs_no_table_too_large_to_commit(tmp_path: Path) -> None:
    training, frozen = written(tmp_path, study())
    for name in publish.NOT_COMMITTED:
        (tmp_path / "tables" / "shakespeare" / f"{name}.csv").unlink(missing_ok=True)
    made = documents.readme_results(tmp_path / "tables")
    for page in (training, frozen):
        for verdict, count in Counter(found.verdict for found in page.findings.values()).items():
            assert f"{count} {verdict}" in made
    assert "No claim has been decided yet." in made


def published_again() -> None:
    """Skip a test of what is committed while that is of a study before these claims."""
    if not published_with(load()):
        pytest.skip("what is committed is of other claims; the study has to be published again")


def test_readme_is_what_the_committed_tables_give() -> None:
    assert list(COMMITTED.glob("*.csv*")) == [], "each suite has a folder of its own"
    assert [
        path for path in COMMITTED.rglob("*.csv*") if path.name.split(".")[0] in publish.NOT_COMMITTED
    ] == []
    published_again()
    text = (ROOT / "README.md").read_text()
    assert documents.readme(text, COMMITTED) == text, "run: ./run.sh python scripts/make_report.py --readme"


def test_the_time_counts_tests(tmp_path: Path) -> None:
    written(tmp_path, study())
    tests = pd.DataFrame(
        [("shakespeare", "self_calm", 1, "frozen", 1000, "ab", 3600.0), ("shakespeare", "self", 1, "belief", 60, "cd", 7200.0)],
        columns=["suite", "condition", "seed", "kind", "run_step", "key", "seconds"],
    )  # fmt: skip
    tests.to_csv(tmp_path / "tables" / "shakespeare" / "tests.csv", index=False)
    said = documents.readme_time(tmp_path / "tables")
    assert (
        "(12 runs, 2 tests of finished runs) took 15.0 hours of one core, 12.0 for training, 3.0 for testing"
        in said
    )
    assert "about 7.5 hours on 2 cores" in said


def test_pipeline_page_is_what_the_code_declares() -> None:
    made = documents.pipeline()
    assert (ROOT / "docs" / "PIPELINE.md").read_text() == made, (
        "run: ./run.sh python scripts/make_report.py --pipeline"
    )
    assert all(f"`{phase.name}`" in made for phase in phases.declared()) and "<!--" not in made
    assert all(figure.name in made for one in book.experiments().values() for figure in one.figures)


def test_metrics_page_names_every_column_of_the_log() -> None:
    text = (ROOT / "docs" / "METRICS.md").read_text()
    assert [name for name in METRICS if f"| `{name}` |" not in text] == []


def test_metrics_page_names_every_column_of_the_committed_tables() -> None:
    published_again()
    sections = (ROOT / "docs" / "METRICS.md").read_text().split("\n## ")
    everywhere = next(section for section in sections if section.startswith("Columns that many tables have"))
    lacking = set()
    for experiment in book.experiments().values():
        suite = experiment.suites[0] if experiment.suites[0] != "*" else book.CORE
        for name in (name for table in experiment.of(suite) for name in table.names):
            about = [section for section in sections if re.search(rf"`{name}(\.csv)?`", section)]
            known = "".join([everywhere, *about])
            columns = list(kit_tables.read(COMMITTED, suite, name))
            lacking |= {f"{name}: {column}" for column in columns if f"`{column}`" not in known}
            lacking |= {name} if columns and not about else set()
    assert sorted(lacking) == []
