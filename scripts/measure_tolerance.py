"""How far results move when nothing but the machine's arithmetic is another: what docs/REPRODUCIBILITY.md cites.

    python scripts/measure_tolerance.py               train configs/tolerance.toml under each arithmetic, compare, print
    python scripts/measure_tolerance.py --finished    compare what is trained already

Each arithmetic is a study of its own in out/tolerance/<name>, in a process of its own, since libraries choose their
instructions as they load.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

from base import command_line
from base.storage import ROOT, UserError
from configs.suite import load_suite
from study import run_card, tolerance, verify
from study.request import Request

SUITE = ROOT / "configs" / "tolerance.toml"


@dataclass(frozen=True)
class Arithmetic:
    """A way to compute the same: environment of the process, config values, device. what: it in words.

    most: seeds at most.
    """

    what: str
    environment: Mapping[str, str] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    device: str = "cpu"
    most: int = 1000


REFERENCE = "reference"
ARITHMETICS = {
    REFERENCE: Arithmetic("float32, the instructions that the libraries choose here"),
    "plain": Arithmetic(
        "float32, the libraries held to the oldest instructions they know",
        {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    ),
    "bfloat16": Arithmetic(  # ten times slower where the processor has none of it
        "products in bfloat16, without the frozen-weight test",
        overrides=("train.dtype=bfloat16", "frozen_test.conditions=[]"),
        most=1,
    ),
    "cuda": Arithmetic("trained on the GPU, in float32", overrides=("train.dtype=float32",), device="cuda"),
}


def main(arguments: Sequence[str]) -> int:
    parser = command_line.Parser(
        prog="measure_tolerance.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", nargs="+", choices=[name for name in ARITHMETICS if name != REFERENCE], help="these alone")
    add("--seeds", type=int, default=2, help="seeds 1 to N under each (default 2)")
    add("--reference-seeds", type=int, default=3, help="and under the one compared with (default 3)")
    add("--config", type=Path, default=SUITE, help="another suite than configs/tolerance.toml")
    add("--quick", action="store_true", help="a small measurement, to see that it works")
    add("--jobs", type=int, default=1, help="worker processes (default 1)")
    add("--out", type=Path, default=Path("out/tolerance"), help="folder to write to (default out/tolerance)")
    add("--finished", action="store_true", help="train nothing: compare what is there")
    add("--make", choices=sorted(ARITHMETICS), help=argparse.SUPPRESS)  # one of them, in its own process
    given = parser.parse_args(arguments)
    if given.seeds < 1 or given.reference_seeds < max(2, given.seeds) or given.jobs < 1:
        raise UserError("give --seeds and --jobs of 1 or more, and at least 2 and as many --reference-seeds")
    if given.make:
        return make(given, given.make)
    names = [REFERENCE, *(given.only or [name for name in ARITHMETICS if name != REFERENCE and _here(name)])]
    for name in names if not given.finished else ():
        print(f"{name}: {ARITHMETICS[name].what}", flush=True)
        command = [sys.executable, str(Path(__file__).resolve()), *arguments, "--make", name]
        ended = subprocess.run(command, env={**os.environ, **ARITHMETICS[name].environment})
        if ended.returncode:
            print(f"error: {name} could not be made", file=sys.stderr)
            return 1
    found = [name for name in names if (given.out / name / "tables").is_dir()]
    if found[:1] != [REFERENCE] or len(found) < 2:
        raise UserError(f"{given.out} has nothing to compare yet; leave --finished away")
    suite = load_suite(given.config, quick=given.quick)
    here = run_card.machine()
    print(f"Printed on {here['processor']} ({here['vendor']}; {', '.join(here['instructions'])}).\n")
    print(
        tolerance.page(
            {name: given.out / name for name in found}, {n: ARITHMETICS[n].what for n in found}, suite
        )
    )
    return 0


def make(given: argparse.Namespace, name: str) -> int:
    """Train and test under one arithmetic, in this process and its workers, and put it into tables."""
    chosen = ARITHMETICS[name]
    seeds = given.reference_seeds if name == REFERENCE else min(given.seeds, chosen.most)
    request = Request(
        out=given.out / name,
        config=given.config,
        overrides=chosen.overrides,
        only=(),
        quick=given.quick,
        seeds=seeds,
        jobs=given.jobs,
        force=False,
        publish=False,
    )
    if chosen.device != "cpu":
        train_on(chosen.device, request)
    return verify.remake(request)


def train_on(device: str, request: Request) -> None:
    """Train the runs where the study itself would not: it then finds them finished."""
    suite = load_suite(Path(str(request.config)), request.overrides, request.quick)
    for seed in range(1, (request.seeds or 1) + 1):
        for condition in suite.conditions:
            command = [sys.executable, str(ROOT / "train.py"), suite.path, "--condition", condition]
            command += ["--seed", str(seed), "--device", device, "--out", str(request.out)]
            command += [word for text in request.overrides for word in ("--set", text)]
            subprocess.run([*command, *(["--quick"] if request.quick else [])], check=True)


def _here(name: str) -> bool:
    """Whether this machine has the device."""
    if ARITHMETICS[name].device == "cpu":
        return True
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    command_line.run(main)
