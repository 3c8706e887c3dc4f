"""The one reader of finished runs."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.table_files import RUN
from base import storage
from base.storage import UserError
from configs.run import RunConfig
from runs import folder as run_folder

CALM = "calm"
STATE_METRICS = ("state_norm", "state_drift", "state_ema_drift", "state_effect", "state_kl")
METRICS = ("loss", "entropy", "top1", "grad_norm", *STATE_METRICS, "bias_norm")


@dataclass(frozen=True)
class Run:
    """A finished run and its place in a study."""

    suite: str
    condition: str
    seed: int
    folder: Path
    config: RunConfig

    def metrics(self) -> pd.DataFrame:
        """metrics.csv: one row a step, NaN where nothing was measured."""
        return pd.read_csv(self.folder / "metrics.csv")

    def states(self) -> np.ndarray | None:
        """The state injected at each step, (steps, dim) float32; None for a run without self-state."""
        path = self.folder / "states.safetensors"
        return storage.load_tensors(path)["state"] if path.is_file() else None

    def record(self) -> dict:
        """run.json: key, versions, timings."""
        found = storage.read_json(self.folder / "run.json")
        if not isinstance(found, dict):
            raise UserError(
                f"{self.folder}/run.json is not a run's record; delete {self.folder} and run again"
            )
        return found


def open_run(suite: str, condition: str, seed: int, folder: Path) -> Run:
    """The run in a folder. UserError where it is none."""
    return Run(suite, condition, seed, folder, run_folder.load_config(folder))


def label(run: Run, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with suite, condition and seed in front."""
    place = {"suite": run.suite, "condition": run.condition, "seed": run.seed}
    return pd.concat(
        [pd.DataFrame({name: [value] * len(rows) for name, value in place.items()}), rows], axis=1
    )


def stack(parts: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """Tables under one another; an empty one with the right columns when there are none."""
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(columns))


def metrics_table(runs: Iterable[Run]) -> pd.DataFrame:
    """All metrics of all runs."""
    parts = [label(run, run.metrics()) for run in runs]
    return stack(parts, (*RUN, "step", "regime", *METRICS, "lr", "heldout_loss"))


RUNS = (
    *(*RUN, "key", "steps", "seconds", "heldout_loss", "heldout_bpb"),
    *("dtype", "corpus", "tokenizer", "parameters"),
)


def runs_table(runs: Iterable[Run]) -> pd.DataFrame:
    """One row a run: key, steps, seconds, last held-out loss in nats a token and in bits a byte, dtype, corpus,
    tokenizer, and how many parameters its GPT has.

    bits a byte = nats a token / ln 2 / bytes a token of the held-out text: what corpora and tokenizers compare by.
    """
    rows = []
    for run in runs:
        record = run.record()
        loss = run.metrics()["heldout_loss"].iloc[-1]
        place = (run.suite, run.condition, run.seed, record["key"][:16])
        losses = (loss, loss / math.log(2) / record["bytes_per_token"])
        kind = (record["dtype"], record["corpus"], run.config.tokenizer, record["parameters"]["gpt"])
        rows.append((*place, run.config.last - run.config.first, record["seconds"], *losses, *kind))
    return pd.DataFrame(rows, columns=list(RUNS))


def windows_of(metrics: pd.DataFrame) -> pd.DataFrame:
    """The stretches of one run in which a regime acted: regime, start, end (half-open)."""
    regime = metrics["regime"]
    group = (regime != regime.shift()).cumsum()
    ends = metrics.groupby(group).agg(regime=("regime", "first"), start=("step", "min"), end=("step", "max"))
    ends["end"] += 1
    return ends[ends["regime"] != CALM].reset_index(drop=True)


def windows_table(runs: Iterable[Run]) -> pd.DataFrame:
    """The regimes' stretches of all runs."""
    parts = [label(run, windows_of(run.metrics())) for run in runs]
    return stack(parts, (*RUN, "regime", "start", "end"))
