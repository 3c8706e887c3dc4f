"""The number type that a model's matrix products are computed in: where a config says "auto", the faster one on this machine.

Measured once a shape, in turn, and kept beside the runs, since it is part of their keys.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from base import machine, storage
from base.storage import UserError
from configs.run import RunConfig

VARIABLE = "INTEROCEPTION_DTYPE"  # by which a machine computes as another one would
TYPES = ("float32", "bfloat16")
FILE = "number-types.json"
ROUNDS = 5
GAIN = 0.95  # bfloat16, with three digits instead of seven, has to take at most so much of float32's time


def shape_of(run: RunConfig) -> str:
    """What the choice hangs on: the sizes of a step's matrices."""
    model = run.model
    return (
        f"{model.n_layer} x {model.n_embd}, {model.n_head} heads, {run.train.batch_size} x {model.block_size}"
    )


def kept(out: Path) -> dict[str, str]:
    """What was chosen for the runs of a folder, by shape."""
    path = out / FILE
    found = storage.read_json(path) if path.is_file() else {}
    if not isinstance(found, dict) or not set(found.values()) <= set(TYPES):
        raise UserError(f"{path} is damaged; delete it")
    return found


def choose(out: Path, run: RunConfig, write: bool = True) -> str:
    """The number type of a run whose results lie in a folder: its config's, the variable's, the kept or the measured one.

    On a GPU bfloat16. UserError for a variable that names neither.
    """
    if run.train.dtype != "auto":
        return run.train.dtype
    asked = os.environ.get(VARIABLE)
    if asked:
        if asked not in TYPES:
            raise UserError(f"${VARIABLE} is {asked!r}; it can be float32 or bfloat16")
        return asked
    if run.train.device != "cpu":
        return "bfloat16"
    if not machine.multiplies_bfloat16():
        return "float32"
    before, shape = kept(out), shape_of(run)
    if shape not in before:
        before[shape] = faster(seconds(run))
        if write:
            storage.write_json(out / FILE, before)
    return before[shape]


def resolved(out: Path, run: RunConfig) -> RunConfig:
    """The run with its number type settled."""
    settled = run.train.model_copy(update={"dtype": choose(out, run)})
    return run.model_copy(update={"train": settled})


def faster(found: Mapping[str, float]) -> str:
    """The type to take, from the seconds of a step in each."""
    return "bfloat16" if found["bfloat16"] < GAIN * found["float32"] else "float32"


def seconds(run: RunConfig) -> dict[str, float]:
    """The least seconds of a forward and a backward pass in each type, measured in turn on one thread."""
    import torch

    from model import GPT

    vocabulary, threads = 64, torch.get_num_threads()
    torch.set_num_threads(1)
    gpt = GPT(run.model, vocabulary)
    tokens = torch.zeros(run.train.batch_size, run.model.block_size, dtype=torch.int64)
    found = dict.fromkeys(TYPES, float("inf"))
    for _ in range(ROUNDS):
        for name in TYPES:
            begun = time.perf_counter()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=name == "bfloat16"):
                _, loss = gpt(tokens, None, tokens)
            assert loss is not None
            loss.backward()
            found[name] = min(found[name], time.perf_counter() - begun)
    torch.set_num_threads(threads)
    return found
