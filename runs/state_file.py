"""A self-state as a file: read, written and changed by hand, and passed from run to run.

    {"what": "bewilderment", "run_key": "3f0c...", "run_step": 2000, "state": [0.12, -0.03, ...]}

Only `state` is needed; the rest says where it is from. A state fits every run whose state has as many dimensions.
"""

from pathlib import Path

import numpy as np

from base import storage
from base.storage import UserError

LARGEST = 1e6  # size of a component; beyond, float32 has no room for the products it enters


def save(path: Path, state: np.ndarray, what: str, run_key: str, run_step: int) -> None:
    """Write a state (dim,), whole or not at all. Read back, its components are the same float32 numbers.

    what: what it is, in words. run_key, run_step: the run whose weights after so many steps it is meant for.
    """
    told = {"what": what, "run_key": run_key, "run_step": run_step}
    storage.write_json(path, {**told, "state": state.astype(np.float32).tolist()})


def load(path: Path, dim: int) -> np.ndarray:
    """The state (dim,), float32, in a file. UserError where it is missing, no state, of another size or out of range."""
    if not path.exists():
        raise UserError(f"{path} is missing; make a state with scripts/steer.py RUN build")
    try:
        content = storage.read_json(path)
    except UserError as error:
        raise UserError(f"{str(error).rpartition(';')[0]}; write or build the state again") from None
    numbers = content.get("state") if isinstance(content, dict) else None
    if not isinstance(numbers, list) or not all(type(number) in (int, float) for number in numbers):
        raise UserError(f'{path} holds no state; it needs "state", a list of {dim} numbers')
    if len(numbers) != dim:
        raise UserError(
            f"{path} has a state of {len(numbers)} dimensions, the run one of {dim}; take another"
        )
    if any(abs(number) > LARGEST for number in numbers):
        raise UserError(f"{path} has a number beyond ±{LARGEST:,.0f}; make it smaller")
    return np.array(numbers, dtype=np.float32)
