"""The tables that every suite has: its runs, what was done to them since, their logs, and when which regime acted."""

import math

import pandas as pd

from base import storage
from experiments.kit.experiment import Experiment
from experiments.kit.runs import Context
from experiments.kit.tables import stack, windows_of


def runs(context: Context) -> pd.DataFrame:
    """One row a run: key, steps, seconds, last held-out loss in nats a token and in bits a byte, dtype, corpus, tokenizer,
    and how many parameters its GPT has.

    bits a byte = nats a token / ln 2 / bytes a token of the held-out text: what corpora and tokenizers compare by.
    """
    parts = []
    for run in context.runs:
        record, loss = run.record(), run.metrics()["heldout_loss"].iloc[-1]
        row = {
            "key": record["key"][:16],
            "steps": run.config.last - run.config.first,
            "seconds": record["seconds"],
            "heldout_loss": loss,
            "heldout_bpb": loss / math.log(2) / record["bytes_per_token"],
            "dtype": record["dtype"],
            "corpus": record["corpus"],
            "tokenizer": run.config.tokenizer,
            "parameters": record["parameters"]["gpt"],
        }
        parts.append(run.label(pd.DataFrame([row])))
    return stack(parts)


def tests(context: Context) -> pd.DataFrame:
    """One row a test of a finished run: its kind, the step whose weights were tested, its folder's key, seconds."""
    parts = []
    for run in context.runs:
        folders = [(kind, folder) for kind, of_kind in run.probes.items() for folder in of_kind]
        records = [(kind, folder.name, storage.read_json(folder / "task.json")) for kind, folder in folders]
        rows = [
            {"kind": kind, "run_step": record["run_step"], "key": key, "seconds": record["seconds"]}
            for kind, key, record in records
        ]
        parts.append(run.label(pd.DataFrame(rows)))
    return stack(parts)


def metrics(context: Context) -> pd.DataFrame:
    """Every row of every run's metrics.csv."""
    return stack([run.label(run.metrics()) for run in context.runs])


def windows(context: Context) -> pd.DataFrame:
    """The stretches of each run in which a regime acted: regime, start, end (half-open)."""
    return stack([run.label(windows_of(run.metrics())) for run in context.runs])


EXPERIMENT = Experiment("runs", "What was run", (runs, tests, metrics, windows), suites=("*",))
