"""Draw every figure again from the tables of a study: <out>/tables/*.csv -> <out>/figures/."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from base import command_line
from experiments.kit import tables as kit_tables
from plots import registry


def main(arguments: Sequence[str]) -> None:
    """Parse, draw, report."""
    parser = command_line.Parser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of the study")
    parser.add_argument("--suite", nargs="+", help="the suites to draw (default: all that have tables)")
    parser.add_argument(
        "--note", help="small print on every figure; left out: corpus and seeds, from runs.csv"
    )
    options = parser.parse_args(arguments)
    command_line.check_names(options.suite or (), "--suite")
    tables = options.out / "tables"
    for suite in options.suite or kit_tables.suites(tables):
        note = options.note or registry.note_of(tables, suite)
        for path in registry.draw_all(tables, options.out / "figures", suite, note, say=print):
            print(f"wrote {path}")


if __name__ == "__main__":
    command_line.run(main)
