"""README, the index of results and the pages of docs/ that are written by command."""

import re
from pathlib import Path

import pandas as pd
import pytest

from base import ROOT
from experiments.claims.file import load
from experiments.kit import tables as kit_tables
from runs.state import METRICS
from study import book, documents, phases, publish
from tests.committed import COMMITTED, published_with
from tests.made_tables import study, written


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with the tables of a study of three seeds."""
    written(tmp_path / "docs" / "results", study())
    return tmp_path


def test_readme_says_what_the_tables_hold(root: Path) -> None:
    made = documents.readme(root)
    assert "(docs/results/claims.md)" not in made and "every claim · " in made  # no such page yet
    assert (
        "12 runs and tests, took 12.0 hours of one core" in made
    )  # four conditions, three seeds, an hour each
    assert "about 6.0 hours on 2 such cores" in made
    assert "not published yet" in made  # on neurons


def test_readme_stands_without_results(tmp_path: Path) -> None:
    made = documents.readme(tmp_path)
    assert "Nothing is published yet." in made and "![" not in made and "hours of one core" not in made


def test_readme_needs_no_table_too_large_to_commit(root: Path) -> None:
    made = documents.readme(root)
    for name in publish.OF_STEPS:
        (root / "docs" / "results" / "tables" / "shakespeare" / f"{name}.csv").unlink(missing_ok=True)
    assert documents.readme(root) == made


def test_links_to_what_is_not_there_are_words(tmp_path: Path) -> None:
    (tmp_path / "there.md").touch()
    text = "[a](there.md#x), [b](gone.md), [c](https://example.org), ![d](gone.png)"
    assert documents.linked(text, tmp_path) == "[a](there.md#x), b, [c](https://example.org), ![d](gone.png)"


def test_the_index_tells_what_each_suite_took(root: Path) -> None:
    assert "| `all` | 12 | 0 | 12.00 |" in documents.index(root)  # four conditions, three seeds, an hour each


def test_the_index_has_the_first_sentence_of_each_page(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "results" / "swap.md"
    page.parent.mkdir(parents=True)
    page.write_text("# Swap\n\n## In short\n\n- **It costs.** +1.\n- **It lasts.** +2.\n")
    made = documents.index(tmp_path)
    assert "(swap.md) | It costs. |" in made and "It lasts." not in made and made.count(".md)") == 1


def published_again() -> None:
    """Skip a test of what is committed while that is of a study before these claims."""
    if not published_with(load()):
        pytest.skip("what is committed is of other claims; the study has to be published again")


def test_readme_is_what_the_committed_tables_give() -> None:
    assert list(COMMITTED.glob("*.csv*")) == [], "each suite has a folder of its own"
    assert [path for path in COMMITTED.rglob("*.csv*") if path.name.split(".")[0] in publish.OF_STEPS] == []
    for path, made in (("README.md", documents.readme(ROOT)), (documents.INDEX, documents.index(ROOT))):
        assert (ROOT / path).read_text() == made, "run: ./run.sh python scripts/make_report.py --readme"
    assert len((ROOT / "README.md").read_text().splitlines()) <= 190


def test_the_time_counts_tests(tmp_path: Path) -> None:
    written(tmp_path, study())
    tests = pd.DataFrame(
        [("shakespeare", "self_calm", 1, "frozen", 1000, "ab", 3600.0), ("shakespeare", "self", 1, "belief", 60, "cd", 7200.0)],
        columns=["suite", "condition", "seed", "kind", "run_step", "key", "seconds"],
    )  # fmt: skip
    tests.to_csv(tmp_path / "tables" / "shakespeare" / "tests.csv", index=False)
    said = documents.time_taken(tmp_path / "tables")
    assert "14 runs and tests, took 15.0 hours of one core: about 7.5 hours on 2 such cores" in said


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
