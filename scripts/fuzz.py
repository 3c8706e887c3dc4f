"""Ten thousand generated configs and command lines, or as many as you like: none may give a traceback.

    python scripts/fuzz.py [--inputs 10000] [--seed 1]
    python scripts/fuzz.py --coverage 300        config files alone, guided by coverage (pip install atheris), 300 s

The first form is tests/test_fuzz.py with more inputs. It ends with a table of how many were taken and refused.
"""

import argparse
import contextlib
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import command_line
from storage import UserError


def main(arguments: Sequence[str]) -> int:
    parser = command_line.Parser(
        prog="fuzz.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=10_000, help="about how many to try (default 10000)")
    parser.add_argument("--seed", type=int, default=1, help="other seeds give other inputs (default 1)")
    parser.add_argument("--coverage", type=int, metavar="SECONDS", help="coverage-guided, for so long")
    given = parser.parse_args(arguments)
    if given.inputs < 1 or (given.coverage is not None and given.coverage < 1):
        raise UserError("--inputs and --coverage must be at least 1")
    if given.coverage is not None:
        return guided(given.coverage, given.seed)
    environment = {**os.environ, "FUZZ_INPUTS": str(given.inputs), "FUZZ_SEED": str(given.seed)}
    command = [sys.executable, "-m", "pytest", "-s", "tests/test_fuzz.py"]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def guided(seconds: int, seed: int) -> int:
    """Let atheris change config files byte by byte towards code not reached yet. A crash leaves its input and status 77."""
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        raise UserError("--coverage needs the package atheris: pip install atheris") from None
    with atheris.instrument_imports(include=["config", "config_file", "run_config", "capacity", "tomllib"]):
        config = importlib.import_module("config")

    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    (folder / "corpus").mkdir()
    for path in (ROOT / "configs").glob("*.toml"):
        (folder / path.name).write_bytes(path.read_bytes())
        (folder / "corpus" / path.name).write_bytes(path.read_bytes())
    target = folder / "fuzzed.toml"

    def load(content: bytes) -> None:
        target.write_bytes(content)
        with contextlib.suppress(config.ConfigError):
            config.load_suite(target)

    options = [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        "-max_len=8000",
        "-close_fd_mask=0",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={folder}/crash-", f"{folder}/corpus"], load)
    atheris.Fuzz()  # ends the process
    return 0


if __name__ == "__main__":
    command_line.run(main)
