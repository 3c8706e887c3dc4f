"""Every table of a suite, written as CSV into a folder: those that all suites have, and each one's own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from analysis import (
    ambiguous,
    belief_shifts,
    beliefs,
    controls,
    frozen,
    lead_lag,
    memory,
    recurring,
    shakespeare,
    steered,
    swap,
    sweeps,
    update_network,
    usual_norm,
)  # fmt: skip
from analysis.context import Context
from analysis.runs import metrics_table, open_run, runs_table, windows_table
from analysis.signatures import regime_deltas, regime_deltas_summary
from analysis.table_files import RUN
from base import storage
from configs.suite import Suite

if TYPE_CHECKING:
    from study.refresh import Finished

Maker = Callable[[Context], dict[str, pd.DataFrame]]

OWN: dict[str, tuple[Maker, ...]] = {
    "shakespeare": (shakespeare.tables, update_network.tables, lead_lag.tables, usual_norm.tables),
    "controls": (controls.tables,),
    "memory": (memory.tables,),
    "ambiguous": (ambiguous.tables,),
    "swap": (swap.tables,),
    "generalization": (shakespeare.tables, usual_norm.tables),
    "recurring": (recurring.tables, beliefs.tables, steered.tables, usual_norm.tables),
    "sweeps": (sweeps.tables,),
}
"""By suite, what is asked of its runs besides the common tables. A suite of the user's own is asked what the first is."""


TESTS = (*RUN, "kind", "run_step", "key", "seconds")


def tests_table(finished: "Sequence[Finished]") -> pd.DataFrame:
    """One row a test of a finished run: its kind, the step whose weights were tested, its folder's key, how long it took."""
    rows = []
    for one in finished:
        tests = [("frozen", folder) for _, folder in one.frozen]
        tests += [("belief", one.belief)] if one.belief else []
        for kind, folder in tests:
            record = storage.read_json(folder / "task.json")
            place = (one.suite, one.condition, one.seed, kind, record["run_step"], folder.name)
            rows.append((*place, record["seconds"]))
    return pd.DataFrame(rows, columns=list(TESTS))


def write_all(folder: Path, suite: Suite, finished: "Sequence[Finished]") -> list[Path]:
    """Make all tables of a suite from its finished runs and frozen tests.

    Args:
        folder: where to write to, `<out>/tables/<suite>`.
        finished: its runs with their folders.

    Returns:
        The files written, `<folder>/<name>.csv`.
    """
    runs = [open_run(one.suite, one.condition, one.seed, one.folder) for one in finished]
    deltas = regime_deltas(runs, suite.signatures)
    tests = [
        frozen.FinishedTest(one.suite, one.condition, test) for one in finished for _, test in one.frozen
    ]
    tables: dict[str, pd.DataFrame] = {
        "runs": runs_table(runs),
        "tests": tests_table(finished),
        "metrics": metrics_table(runs),
        "windows": windows_table(runs),
        "regime_deltas": deltas,
        "regime_deltas_summary": regime_deltas_summary(deltas),
        **frozen.tables(tests),
        **belief_shifts.tables(
            frozen.FinishedTest(one.suite, one.condition, one.belief) for one in finished if one.belief
        ),
    }
    context = Context(suite, runs, tables)
    for maker in OWN.get(suite.name, OWN["shakespeare"]):
        tables |= maker(context)
    written = []
    for name, table in tables.items():
        path = folder / f"{name}.csv"
        storage.write_text(path, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
        written.append(path)
    return written
