"""Small runs on rows, with channels of every kind."""

from collections.abc import Mapping
from typing import Any

import torch

from configs.row_kinds import (
    LONGEST,
)
from configs.rows import Rows
from configs.run import RunConfig
from data.rows import row_source
from tests.test_train import tiny

CPU = torch.device("cpu")
BLOCK = LONGEST + 6
PLAIN = Rows(kind="rows")
TOLD = Rows(kind="rows", channel=1.0, both=0.0, text=0.0, noise=0.0, cropped=0.0)
SOURCE = row_source("rows", PLAIN, 3)
RECURRING = {"kind": "recurring", "regimes": ["bewilderment"], "enter": 0.5, "leave": 0.5}


def rows_run(given: Mapping[str, object] | None = None, process: Rows = PLAIN, **changes: Any) -> RunConfig:
    """A small run on rows, with channels of these fields, or none."""
    fields: dict[str, Any] = {
        "process": process.model_dump(), "model__block_size": BLOCK, "train__dtype": "float32", "self_state__enabled": False,
    }  # fmt: skip
    if given is not None:
        fields["channels"] = dict(given)
    return tiny(**{**fields, **changes})


HOWS: dict[str, dict[str, Any]] = {
    "add": {},
    "attention": {"how": "attention"},
    "prefix": {"how": "prefix"},
    "first": {"layers": "first"},
    "constant": {"given": "constant"},
    "shuffled": {"given": "shuffled"},
}
