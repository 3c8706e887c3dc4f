"""BRIDGE, until every experiment is converted: all tables of a suite, of experiments/ and of the modules still here.

Both are found by looking, so that converting an experiment edits nothing here: its modules go, and that is all.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from base import storage
from configs.suite import Suite
from experiments import found
from experiments.kit.experiment import make_tables
from experiments.kit.runs import Context, open_run
from experiments.kit.tables import content
from plots.figure import OF_ANY_SUITE

if TYPE_CHECKING:
    from study.refresh import Finished

Maker = Callable[[Context], dict[str, pd.DataFrame]]

OWN = {  # by suite, the modules here that make tables of it besides the common ones
    "shakespeare": ("shakespeare", "update_network", "lead_lag", "usual_norm"),
    "controls": ("controls",),
    "memory": ("memory",),
    "ambiguous": ("ambiguous",),
    "swap": (),
    "generalization": ("shakespeare", "usual_norm"),
    "recurring": ("recurring", "beliefs", "steered", "usual_norm"),
    "sweeps": ("sweeps",),
    "tolerance": (),
}


def module(name: str) -> Any:
    """A module of this package, None once it is gone."""
    return import_module(f"analysis.{name}") if find_spec(f"analysis.{name}") else None


def _common(context: Context) -> dict[str, pd.DataFrame]:
    """The tables of every suite that modules here still make."""
    made: dict[str, pd.DataFrame] = {}
    if signatures := module("signatures"):
        deltas = signatures.regime_deltas(context.runs, context.suite.signatures)
        made |= {"regime_deltas": deltas, "regime_deltas_summary": signatures.regime_deltas_summary(deltas)}
    for name, kind in (("frozen", "frozen"), ("belief_shifts", "belief")):
        if one := module(name):
            tests = [
                module("frozen").FinishedTest(run.suite, run.condition, folder)
                for run in context.runs
                for folder in run.probes.get(kind, ())
            ]
            made |= one.tables(tests)
    return made


def write_all(folder: Path, suite: Suite, finished: "Sequence[Finished]") -> list[Path]:
    """Make all tables of a suite from its finished runs and frozen tests.

    Args:
        folder: where to write to, `<out>/tables/<suite>`.
        finished: its runs with their folders.

    Returns:
        The files written, `<folder>/<name>.csv`.
    """
    runs = []
    for one in finished:
        probes = {"frozen": [test for _, test in one.frozen], "belief": [one.belief] if one.belief else []}
        runs.append(open_run(one.suite, one.condition, one.seed, one.folder, probes))
    known = suite.name if suite.name in OWN else OF_ANY_SUITE
    converted = [table for experiment in found().values() for table in experiment.of(known)]
    makers: list[Maker] = [_common, *(module(name).tables for name in OWN[known] if module(name))]
    tables: dict[str, pd.DataFrame] = {}

    def catch_up() -> None:
        """Make those of converted experiments whose tables are there."""
        nonlocal converted
        names = {*tables, *(name for table in converted for name in table.names)}
        ready = [table for table in converted if names >= {*table.needs}]
        if ready:
            tables.update(make_tables(ready, Context(suite, runs), tables))
            converted = [table for table in converted if table not in ready]

    catch_up()
    for maker in makers:
        tables |= maker(Context(suite, runs, tables))
        catch_up()
    written = []
    for name, table in tables.items():
        written.append(folder / f"{name}.csv")
        storage.write_bytes(written[-1], content(table))
    return written
