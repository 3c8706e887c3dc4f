"""The processes of the suite on beliefs, and all their histories of a length, as theory has them."""

import functools
from pathlib import Path

from configs.suite import load_suite
from data.process import Generated
from data.tokens import drawn_from
from probes import histories
from probes.histories import Histories

SUITE = Path("configs/geometry.toml")


@functools.cache
def process(name: str) -> Generated:
    """The source of a condition, as seed 1 has it."""
    run = load_suite(SUITE).run(name, 1)
    assert run.process is not None
    found = drawn_from(name, run.process, 1)
    assert isinstance(found, Generated)
    return found


@functools.cache
def known(name: str, length: int) -> Histories:
    """All its histories of up to so many tokens."""
    return histories.histories(process(name), length)
