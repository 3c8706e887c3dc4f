"""How far results move when nothing but the machine's arithmetic is another: what docs/REPRODUCIBILITY.md cites.

    python scripts/measure_tolerance.py               train configs/tolerance.toml under each arithmetic, compare, print
    python scripts/measure_tolerance.py --finished    compare what is trained already

Each arithmetic is a study of its own in out/tolerance/<name>, in a process of its own, since libraries choose their
instructions as they load. Beside each difference stands what a change of the seed makes, in the arithmetic that is
compared with.
"""

import argparse
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

from base import command_line

if __name__ == "__main__":
    command_line.heed()

import numpy as np
import pandas as pd

from base.errors import UserError
from base.storage import ROOT
from configs.suite import Suite, load_suite
from experiments.kit import tables as files
from experiments.kit import words
from study import agreement, run_card, verify
from study import request as studies
from study.agreement import SEED
from study.request import Request

SUITE = ROOT / "configs" / "tolerance.toml"
LOGGED = (
    *("loss", "entropy", "top1", "grad_norm", "heldout_loss"),
    *("state_norm", "state_drift", "state_effect", "bias_norm"),
)
# Of the stretches of steps that differences are averaged over; the last ends with the run
ENDS = (1, 10, 100, 1000)
SKIPPED = ("metrics", "state_path")  # told by step, or not committed


@dataclass(frozen=True)
class Arithmetic:
    """A way to compute the same: environment of the process, config values. what: it in words.

    most: seeds at most.
    """

    what: str
    environment: Mapping[str, str] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
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
        overrides=("train.dtype=bfloat16", "probe.frozen.conditions=[]"),
        most=1,
    ),
    "cuda": Arithmetic(
        "trained on the GPU, in float32", overrides=("train.dtype=float32", "train.device=cuda")
    ),
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
    print(page({name: given.out / name for name in found}, suite))
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
    suites = studies.load_suites(request)
    studies.check_memory(suites, request.jobs)
    with studies.locked(request.out):
        _, failures = verify.make(request, *verify.planned(request, suites))
    return verify.tell(failures)


def _here(name: str) -> bool:
    """Whether this machine has the device."""
    if "train.device=cuda" not in ARITHMETICS[name].overrides:
        return True
    import torch

    return torch.cuda.is_available()


def page(folders: Mapping[str, Path], suite: Suite) -> str:
    """The measurement as Markdown. folders: of each arithmetic, the one compared with first."""
    reference, *others = folders
    last = max(run.last for run in suite.conditions.values())
    ends = [*(end for end in ENDS if end < last), last]
    logs = {name: files.read(folder / "tables", suite.name, "metrics") for name, folder in folders.items()}
    lines = [
        f"`{name}`: {ARITHMETICS[name].what}, {words.plural(log[SEED].nunique(), 'seed')}."
        for name, log in logs.items()
    ]
    between = {f"Logged statistics, `{name}` against `{reference}`, same seed": logs[name] for name in others}
    far = {title: partial(of_logs, logs[reference], log) for title, log in between.items()}
    far[f"The same between two seeds of `{reference}`"] = partial(of_seeds, logs[reference])
    for title, distances in far.items():
        rows = [[metric, *map(_number, distances(metric, ends))] for metric in LOGGED]
        lines += ["", f"**{title}**", "", words.table(["mean distance", *_stretches(ends)], rows)]
    head = ["against the reference", "values", "equal", "median", "95 %", "99 %", "largest"]
    head += [f"beyond {agreement.ROUNDING} of the usual limit", "beyond the usual limit", "beyond the widest"]
    tables = {name: folder / "tables" for name, folder in folders.items()}
    rows = [[f"`{name}`", *summary(tables[reference], tables[name], suite.name)] for name in others]
    title = "**Values of the tables, distance in standard deviations between seeds**"
    return "\n".join([*lines, "", title, "", words.table(head, rows)])


def _stretches(ends: Sequence[int]) -> list[str]:
    pairs = itertools.pairwise((0, *ends))
    return [f"step {first}" if end - first == 1 else f"step {first} to {end - 1}" for first, end in pairs]


def _number(value: float) -> str:
    """Two digits of a size that may be of any order."""
    return words.DASH if not math.isfinite(value) else f"{value:.2g}"


def of_logs(one: pd.DataFrame, other: pd.DataFrame, metric: str, ends: Sequence[int]) -> list[float]:
    """Mean absolute difference of a logged statistic over each stretch of steps, of the runs that both have."""
    places = ["condition", SEED, "step"]
    both = one[[*places, metric]].merge(other[[*places, metric]], on=places, suffixes=("", "_other"))
    distance = (both[metric] - both[f"{metric}_other"]).abs()
    steps = both["step"]
    return [float(distance[(steps >= a) & (steps < b)].mean()) for a, b in itertools.pairwise((0, *ends))]


def of_seeds(log: pd.DataFrame, metric: str, ends: Sequence[int]) -> list[float]:
    """The same between the runs of two seeds, over all pairs."""
    seeds = [rows for _, rows in log.groupby(SEED)]
    pairs = [
        of_logs(one, two.assign(**{SEED: one[SEED].iloc[0]}), metric, ends)
        for one, two in itertools.combinations(seeds, 2)
    ]
    return [float(value) for value in np.mean(pairs, axis=0)] if pairs else [math.nan] * len(ends)


def of_tables(reference: Path, other: Path, suite: str, closeness: float) -> pd.DataFrame:
    """Each number in each row of a seed that two makings of a suite's tables have, as agreement.compare gives them."""
    parts = [pd.DataFrame(columns=["distance", "sd", "freedom", "usual", "widest"])]
    for name in files.names(reference, suite):
        old, new = (files.read(folder, suite, name, texts=True) for folder in (reference, other))
        if name not in SKIPPED and SEED in new:
            others, seeds = verify.NEEDS_OTHERS.get(name), set(new[SEED])
            parts.append(agreement.compare(name, old, new, seeds, closeness, others).cells)
    cells = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    return cells[[*parts[0]]].dropna(subset=["distance", "usual"]).astype(float)


def summary(reference: Path, other: Path, suite: str) -> list[str]:
    """What `page` says of an arithmetic: of the values that differ between seeds at all."""
    near, found = (
        of_tables(reference, other, suite, limit) for limit in (agreement.ROUNDING, agreement.SEEDS)
    )
    spread = found[found["sd"] > 0]
    if spread.empty:
        return [words.DASH] * 9
    sds = spread["distance"] / spread["sd"]
    limits = near["usual"], found["usual"], found["widest"]
    beyond = [(found["distance"] > limit)[found["freedom"] > 0].mean() for limit in limits]
    return [
        str(len(sds)),
        f"{(sds == 0).mean():.1%}",
        *(f"{size:.2g}" for size in (*sds.quantile((0.5, 0.95, 0.99)), sds.max())),
        *(f"{share:.2%}" for share in beyond),
    ]


if __name__ == "__main__":
    command_line.run(main)
