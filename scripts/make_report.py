"""Make pages and figures again from the tables of a study, and the parts of the documentation that tables and code decide.

make_report.py                      <out>/tables -> <out>/report/*.md, index.html
make_report.py --figures            <out>/tables -> <out>/figures/, too
make_report.py --readme             docs/results/tables -> README.md (results and time)
make_report.py --pipeline           the code's declarations -> docs/PIPELINE.md
make_report.py --preregistration    configs/claims.toml -> docs/PREREGISTRATION.md
make_report.py --changes FOLDER     docs/results beside an older one, FOLDER -> docs/CHANGES.md
make_report.py --configs            the fields' declarations -> the comments of configs/base.toml

Run it as ./run.sh python scripts/make_report.py.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from base import command_line

if __name__ == "__main__":
    command_line.heed()

from base import ROOT
from configs import meanings
from experiments.claims import changed
from experiments.claims.page import write_preregistration
from experiments.kit.tables import suites
from study import documents, making, site


def main(arguments: Sequence[str]) -> None:
    """Parse, write, say what was written."""
    parser = command_line.Parser(
        prog="make_report.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of the study (default out)")
    parser.add_argument("--suite", nargs="+", help="the suites to report (default: all that have tables)")
    parser.add_argument(
        "--note",
        help="a line at the head of each page and below each figure; left out: what the study left there",
    )
    parser.add_argument("--figures", action="store_true", help="draw the figures, too")
    parser.add_argument("--readme", action="store_true", help="rewrite README.md's results from docs/results")
    parser.add_argument("--pipeline", action="store_true", help="rewrite docs/PIPELINE.md")
    parser.add_argument("--preregistration", action="store_true", help="rewrite docs/PREREGISTRATION.md")
    parser.add_argument("--configs", action="store_true", help="rewrite the comments of configs/base.toml")
    parser.add_argument(
        "--changes",
        type=Path,
        metavar="FOLDER",
        help="rewrite docs/CHANGES.md: docs/results beside an older one",
    )
    given = parser.parse_args(arguments)
    command_line.check_names(given.suite or (), "--suite")
    parts = {
        "readme": documents.write_readme, "pipeline": documents.write_pipeline, "preregistration": write_preregistration,
        "configs": meanings.write,
    }  # fmt: skip
    written = [write(ROOT) for name, write in parts.items() if getattr(given, name)]
    if given.changes is not None:
        written.append(changed.write(ROOT, given.changes))
    if not written:
        for suite in given.suite or suites(given.out / "tables"):
            written += making.made_again(
                given.out / "tables", given.out, suite, given.note, given.figures, True
            )
        written += filter(None, [site.write(given.out)])
    for path in written:
        print(f"wrote {path}")


if __name__ == "__main__":
    command_line.run(main)
