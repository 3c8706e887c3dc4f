"""What an analysis is given: one suite, its finished runs, and the tables that every suite has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from analysis.runs import Run
from configs.suite import Suite


@dataclass(frozen=True)
class Context:
    """suite: its config. runs: what is finished of it. made: the common tables (analysis/tables.py), by name."""

    suite: Suite
    runs: Sequence[Run]
    made: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def of(self, condition: str) -> list[Run]:
        """The finished runs of a condition, by seed."""
        return sorted((run for run in self.runs if run.condition == condition), key=lambda run: run.seed)
