"""Ten thousand generated configs and command lines, or as many as you like: none may give a traceback.

    python tests/stress/fuzz.py [--inputs 10000] [--seed 1] [--coverage 60]

First test_fuzz.py with more inputs: real config files with something wrong in them, --set texts, the command
lines of every program. Then, where the package atheris is installed (pip install atheris), config files alone, changed
byte by byte towards code not reached yet. It ends with figures: inputs tried, refused, accepted, tracebacks.

Exit status 0: no traceback. 1: one was found; the input that gave it is printed.
"""

import argparse
import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from base import command_line
from base.storage import UserError

MOST = 10_000_000


def main(arguments: Sequence[str]) -> int:
    parser = command_line.Parser(
        prog="fuzz.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=10_000, help="about how many to try (default 10000)")
    parser.add_argument("--seed", type=int, default=1, help="other seeds give other inputs (default 1)")
    parser.add_argument(
        "--coverage",
        type=int,
        default=60,
        metavar="SECONDS",
        help="how long to let atheris change config files; 0: not at all (default 60)",
    )
    parser.add_argument("--guided", action="store_true", help="the part of atheris alone")
    given = parser.parse_args(arguments)
    for name, least in (("inputs", 1), ("seed", 0), ("coverage", 0)):
        if not least <= getattr(given, name) <= MOST:
            raise UserError(f"--{name} must be from {least} to {MOST}")
    if given.guided:
        return guided(given.coverage, given.seed)
    environment = {**os.environ, "FUZZ_INPUTS": str(given.inputs), "FUZZ_SEED": str(given.seed)}
    command = [sys.executable, "-m", "pytest", "-s", "tests/stress/test_fuzz.py"]
    failed = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode != 0
    if given.coverage and importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: config files were not changed by coverage", flush=True)
    elif given.coverage:
        more = ["--guided", "--coverage", str(given.coverage), "--seed", str(given.seed)]
        failed |= subprocess.run([sys.executable, __file__, *more], check=False).returncode != 0
    return int(failed)


def guided(seconds: int, seed: int) -> int:
    """Let atheris change config files byte by byte towards code not reached yet. Ends the process: with status 77 where
    something was found, the input left in a file that is named."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["configs", "tomllib"]):  # whose code is watched
        suites = importlib.import_module("configs.suite")

    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    (folder / "corpus").mkdir()
    for path in (ROOT / "configs").glob("*.toml"):
        (folder / path.name).write_bytes(path.read_bytes())
        (folder / "corpus" / path.name).write_bytes(path.read_bytes())
    target = folder / "fuzzed.toml"
    ends = {"tried": 0, "refused": 0}
    started = time.monotonic()

    def load(content: bytes) -> None:
        target.write_bytes(content)
        ends["tried"] += 1
        try:
            suites.load_suite(target)
        except UserError as error:
            ends["refused"] += 1
            if not str(error).isprintable():
                raise AssertionError(f"not one printable line: {error!r}") from error
        if "told" not in ends and time.monotonic() - started >= seconds:  # Fuzz() never returns
            ends["told"] = 1
            tried, refused = ends["tried"], ends["refused"]
            accepted = f"{tried - refused} accepted"
            print(f"by coverage: {tried} tried, {refused} refused, {accepted}, 0 tracebacks", flush=True)

    limits = [f"-max_total_time={seconds + 2}", f"-seed={seed or 1}", "-max_len=8000", "-verbosity=0"]
    places = [f"-artifact_prefix={folder}/crash-", f"{folder}/corpus"]
    atheris.Setup([sys.argv[0], *limits, *places], load)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    command_line.run(main)
