"""The one reader of finished runs, and what a table is made of: one suite with its finished runs."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from base import storage
from base.storage import UserError
from configs.run import RunConfig
from configs.suite import Suite
from runs import folder as run_folder

STATE_METRICS = ("state_norm", "state_drift", "state_ema_drift", "state_effect", "state_kl")
METRICS = (
    "loss", "entropy", "top1", "entropy_last", "top1_last", "grad_norm", *STATE_METRICS, "prompt_effect", "bias_norm",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished run and its place in a study.

    probes: by kind ("frozen", "belief"), the folders of what was done to it since; each has a task.json.
    """

    suite: str
    condition: str
    seed: int
    folder: Path
    config: RunConfig
    probes: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    def metrics(self) -> pd.DataFrame:
        """metrics.csv: one row a step, NaN where nothing was measured."""
        return _log(self.folder / "metrics.csv").copy()

    def states(self) -> np.ndarray | None:
        """The state injected at each step, (steps, dim) float32; None for a run without self-state."""
        path = self.folder / "states.safetensors"
        return storage.load_tensors(path)["state"] if path.is_file() else None

    def record(self) -> dict[str, Any]:
        """run.json: key, versions, timings."""
        found = storage.read_json(self.folder / "run.json")
        if not isinstance(found, dict):
            raise UserError(
                f"{self.folder}/run.json is not a run's record; delete {self.folder} and run again"
            )
        return found

    def label(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows with suite, condition and seed in front."""
        place = {"suite": self.suite, "condition": self.condition, "seed": self.seed}
        return pd.concat([pd.DataFrame(place, index=rows.index), rows], axis=1)


@functools.lru_cache(maxsize=400)
def _log(path: Path) -> pd.DataFrame:
    """A run's log. Kept, since every table of a suite asks for it; a finished run never changes."""
    return pd.read_csv(path)


def open_run(
    suite: str, condition: str, seed: int, folder: Path, probes: Mapping[str, Sequence[Path]] | None = None
) -> Run:
    """The run in a folder. UserError where it is none."""
    return Run(suite, condition, seed, folder, run_folder.load_config(folder), probes or {})


@dataclass(frozen=True)
class Context:
    """What a table is made of: one suite's config, and what is finished of its runs."""

    suite: Suite
    runs: Sequence[Run]

    def of(self, condition: str) -> list[Run]:
        """The finished runs of a condition, by seed."""
        return sorted((run for run in self.runs if run.condition == condition), key=lambda run: run.seed)

    def probed(self, kind: str, name: str) -> pd.DataFrame:
        """The rows of `<name>.csv` of all finished probes of a kind, suite and condition in front, run by run.

        Raises:
            UserError: a file is missing or no table (its path, and what to do).
        """
        parts = []
        for run in self.runs:
            for folder in run.probes.get(kind, ()):
                path = folder / f"{name}.csv"
                try:
                    rows = pd.read_csv(path)
                except (OSError, ValueError) as error:
                    raise UserError(
                        f"{path} is missing or no table ({error}); delete its folder and run again"
                    ) from None
                rows.insert(0, "suite", run.suite)
                rows.insert(1, "condition", run.condition)
                parts.append(rows)
        some = [rows for rows in parts if len(rows)] or parts[:1]  # an empty one has no types of its own
        return pd.concat(some, ignore_index=True) if some else pd.DataFrame()
