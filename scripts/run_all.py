"""The whole study, or parts of it: data, training, frozen-weight tests, figures, report.

    python scripts/run_all.py                 run what is missing or out of date, seed by seed
    python scripts/run_all.py --dry-run       say what would run, and why
    python scripts/run_all.py --verify        check the committed tables against a run of the first seed, made afresh

Stop it at any time; the same command goes on from there.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

from base import command_line

if __name__ == "__main__":
    command_line.heed()

from base.machine import cores
from base.storage import ROOT, UserError
from study import preview, session
from study.request import Request

MOST_SEEDS = 10_000
STACK = 32  # runs that share a GPU, where no --set says how many
MOST_JOBS = 1000  # on a cluster: each has a thread here that waits for it


def default_out(quick: bool, verify: bool) -> str:
    """The folder that is written to where --out names none."""
    if verify:
        return "out/verify-quick" if quick else "out/verify"
    return "out/quick" if quick else "out"


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, Request]:
    """The command line. UserError for whatever is wrong with it."""
    parser = command_line.Parser(
        prog="run_all.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        action="extend",
        help="only these phases or suites, from their data to their pages; with `train`, nothing is drawn or written; "
        "`figures` and `report` alone are of what is there",
    )
    add(
        "--condition",
        nargs="+",
        default=[],
        metavar="NAME",
        action="extend",
        help="only these conditions, and the runs that they need",
    )
    add("--list", action="store_true", help="list the phases")
    add("--status", action="store_true", help="say how far the study is")
    add("--dry-run", action="store_true", help="say what would run, and how long it would take")
    add("-v", "--verbose", action="store_true", help="a line for each step; with --dry-run, why it would run")
    add("--quick", action="store_true", help="a small study, in out/quick: too small to conclude from")
    add("--seeds", type=int, metavar="N", help="seeds 1 to N instead of each suite's own number")
    add("--jobs", type=int, metavar="N", help="worker processes, one thread each (default: one a core)")
    add(
        "--scheduler",
        metavar="ADDRESS",
        help="run it on the workers of this Dask scheduler, tcp://HOST:PORT, so many --jobs at once (default: one a thread "
        "of theirs); docs/SCALING.md",
    )
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder to write to (default out, with --quick out/quick, with --verify out/verify)",
    )
    add(
        "--config",
        type=Path,
        metavar="FILE",
        help="this suite alone, instead of the study's; claims are not judged",
    )
    add(
        "--device",
        choices=("cpu", "cuda"),
        help=f"where runs are trained (default cpu); on a GPU {STACK} of one shape at once: docs/SCALING.md",
    )
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="set a config field")
    add("--force", action="store_true", help="run again what is up to date too; with --only, of these phases")
    add(
        "--publish",
        action="store_true",
        help="replace the committed figures/ and docs/results/ by this study's",
    )
    add(
        "--verify",
        type=Path,
        nargs="?",
        const=ROOT / "docs" / "results",
        metavar="FOLDER",
        help="check the tables of a results folder (default docs/results) against a fresh run of seed 1, or of --seeds",
    )
    given = parser.parse_args(arguments)
    if given.seeds is not None and not 1 <= given.seeds <= MOST_SEEDS:
        raise UserError(f"--seeds {given.seeds}: give a number from 1 to {MOST_SEEDS}")
    here = f"this machine has {cores()} cores; "
    most, why = (4 * cores(), here) if given.scheduler is None else (MOST_JOBS, "")
    if given.jobs is not None and not 1 <= given.jobs <= most:
        raise UserError(f"--jobs {given.jobs}: {why}give 1 to {most}")
    if given.scheduler is not None and (given.verify or given.list or given.status or given.dry_run):
        raise UserError(
            "--scheduler is where a study runs: leave --verify, --list, --status and --dry-run away"
        )
    if given.verify is not None and (given.publish or given.list or given.status or given.dry_run):
        raise UserError("--verify stands alone: leave --publish, --list, --status and --dry-run away")
    device = [f"train.device={given.device}", f"train.stack={STACK}"] if given.device == "cuda" else []
    out = given.out or Path(default_out(given.quick, given.verify is not None))
    request = Request(
        out=out,
        config=given.config,
        overrides=(*device, *given.set),
        only=tuple(given.only),
        quick=given.quick,
        seeds=given.seeds,
        jobs=given.jobs or (cores() if given.scheduler is None else 0),
        force=given.force,
        publish=given.publish,
        scheduler=given.scheduler,
        conditions=tuple(given.condition),
        verbose=given.verbose,
    )
    session.check(request)
    return given, request


def main(arguments: Sequence[str]) -> int:
    given, request = parse(arguments)
    if given.list:
        print(preview.list_phases())
    elif given.status:
        print(preview.status(request))
    elif given.dry_run:
        print(preview.dry_run(request, given.verbose))
    elif given.verify is not None:
        from study import verify  # loads pandas, which a study with nothing to do need not wait for

        return verify.run(request, given.verify)
    else:
        return session.run(request)
    return 0


if __name__ == "__main__":
    command_line.run(main)
