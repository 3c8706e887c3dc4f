"""README's blocks and the pages of docs/ that are written by command."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from base.storage import UserError
from experiments import found
from experiments.kit import tables as kit_tables
from plots.registry import FIGURES
from reports import documents, pages, parts
from study import phases, publish
from tests.made_tables import ROOT, study, verdicts, written


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
        for verdict, count in Counter(said.lower() for said, _ in verdicts(page)).items():
            assert f"{count} {verdict}" in made
    assert "No claim has been decided yet." in made


def test_readme_is_what_the_committed_tables_give() -> None:
    tables = ROOT / "docs" / "results" / "tables"
    assert list(tables.glob("*.csv*")) == [], (
        "tables of an earlier layout; each suite has a folder of its own"
    )
    for suite in tables.iterdir():
        assert not {*kit_tables.names(tables, suite.name)} & {*publish.NOT_COMMITTED}
        for plain in suite.glob("*.csv"):
            assert plain.stat().st_size <= publish.PLAIN_BYTES, f"{plain} is to be committed as .csv.gz"
            assert not plain.with_suffix(".csv.gz").exists()
    text = (ROOT / "README.md").read_text()
    assert documents.readme(text, tables) == text, "run: ./run.sh python scripts/make_report.py --readme"


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
    made = documents.pipeline_page(phases.describe(), FIGURES, phases.optional_suites())
    assert (ROOT / "docs" / "PIPELINE.md").read_text() == made, (
        "run: ./run.sh python scripts/make_report.py --pipeline"
    )
    assert all(f"`{phase.name}`" in made for phase in phases.PHASES)
    assert all(figure.name in made for figure in FIGURES)


def test_metrics_page_names_every_column() -> None:
    train = pytest.importorskip("train")
    text = (ROOT / "docs" / "METRICS.md").read_text()
    assert [name for name in train.METRICS if f"| `{name}` |" not in text] == []


def test_metrics_page_names_every_column_of_the_pages_tables() -> None:
    text = (ROOT / "docs" / "METRICS.md").read_text()
    sections = text.split("\n## ")
    everywhere = next(section for section in sections if section.startswith("Columns that many tables have"))
    lacking = []
    asked: list[dict[str, Sequence[str]]] = [
        {**parts.COLUMNS, **page.columns} for page in pages.PAGES if isinstance(page, pages.Page)
    ]
    committed = ROOT / "docs" / "results" / "tables"
    for experiment in found().values():  # whose tables have the columns that they have
        for table in (name for one in experiment.of(experiment.suites[0]) for name in one.names):
            asked.append({table: [*kit_tables.read(committed, experiment.suites[0], table)]})
    for columns_of in asked:
        for name, columns in columns_of.items():
            about = [section for section in sections if re.search(rf"`{name}(\\.csv)?`", section)]
            about += [
                section for section in sections if name == "metrics" and section.startswith("metrics.csv")
            ]
            if not about:
                lacking.append(name)
            known = "".join([everywhere, *about])
            lacking += [f"{name}: {column}" for column in columns if f"`{column}`" not in known]
    assert sorted(set(lacking)) == []
