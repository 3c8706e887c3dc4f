"""Every table of a study, written as CSV into `<out>/tables`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

import config
import storage
from analysis import frozen
from analysis.classification import classification
from analysis.runs import metrics_table, open_run, runs_table, windows_table
from analysis.signatures import regime_deltas, regime_deltas_summary
from analysis.trajectory import state_path

if TYPE_CHECKING:
    from pipeline import Finished


def write_all(out: Path, suite: config.Suite, finished: "Sequence[Finished]") -> list[Path]:
    """Make all tables of a suite from its finished runs and frozen tests.

    Args:
        finished: runs with their folders; those of other suites are left out.

    Returns:
        The files written, `<out>/tables/<name>.csv`.
    """
    own = [one for one in finished if one.suite == suite.name]
    runs = [open_run(one.suite, one.condition, one.seed, one.folder) for one in own]
    deltas = regime_deltas(runs, suite.signatures)
    tests = [frozen.FinishedTest(one.suite, one.condition, folder) for one in own for _, folder in one.frozen]
    tables: dict[str, pd.DataFrame] = {
        "runs": runs_table(runs),
        "metrics": metrics_table(runs),
        "windows": windows_table(runs),
        "regime_deltas": deltas,
        "regime_deltas_summary": regime_deltas_summary(deltas),
        "classification": classification(runs, suite.signatures),
        "state_path": state_path(runs),
        **frozen.tables(tests),
    }
    written = []
    for name, table in tables.items():
        path = out / "tables" / f"{name}.csv"
        storage.write_text(path, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
        written.append(path)
    return written
