"""What every test starts from: one thread, as a worker has, one number type, and floating point as Python has it."""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes of two threads each would wait for one another
os.environ.setdefault(
    "INTEROCEPTION_DTYPE", "float32"
)  # a measured number type could differ from one start to the next

from base import command_line

command_line.set_aside()  # what a notebook's shell says to matplotlib is not said to us

import pytest
import torch

from tests.tiny_study import SUITE

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _denormals_kept() -> Iterator[None]:
    """Training flushes denormals in its process; a test after it must not feel that."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    """The config of the tiny study, as a file."""
    path = tmp_path / "tiny.toml"
    path.write_text(SUITE)
    return path
