"""Write result pages from tables, and the parts of the documentation that are made from tables or code.

make_report.py                      out/tables -> out/report/*.md
make_report.py --readme             docs/results/tables -> README.md (results and time)
make_report.py --pipeline           the code's declarations -> docs/PIPELINE.md
make_report.py --preregistration    configs/claims.toml -> docs/PREREGISTRATION.md

Run it as ./run.sh python scripts/make_report.py.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from base import command_line, storage
from experiments.kit import tables as kit_tables
from reports import documents, pages, preregistration


def main(arguments: Sequence[str]) -> None:
    """Parse, write, say what was written."""
    parser = command_line.Parser(
        prog="make_report.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of the study (default out)")
    parser.add_argument("--suite", nargs="+", help="the suites to report (default: all that have tables)")
    parser.add_argument("--note", help="a line at the head of each page; left out: what the study left there")
    parser.add_argument("--readme", action="store_true", help="rewrite README.md's results from docs/results")
    parser.add_argument("--pipeline", action="store_true", help="rewrite docs/PIPELINE.md")
    parser.add_argument("--preregistration", action="store_true", help="rewrite docs/PREREGISTRATION.md")
    given = parser.parse_args(arguments)
    command_line.check_names(given.suite or (), "--suite")
    written = []
    if given.readme:
        written.append(documents.write_readme(ROOT))
    if given.pipeline:
        written.append(write_pipeline_page())
    if given.preregistration:
        written.append(preregistration.write(ROOT))
    if not written:
        tables = given.out / "tables"
        have = kit_tables.suites(tables)
        notes = {
            suite: pages.warning_of(tables, suite) if given.note is None else given.note
            for suite in given.suite or have
        }
        written = pages.write_all(given.out, notes)
    for path in written:
        print(f"wrote {path}")


def write_pipeline_page() -> Path:
    """docs/PIPELINE.md from the declared phases and figures."""
    from plots.registry import FIGURES
    from study import phases

    path = ROOT / "docs" / "PIPELINE.md"
    storage.write_text(path, documents.pipeline_page(phases.describe(), FIGURES, phases.optional_suites()))
    return path


if __name__ == "__main__":
    command_line.run(main)
