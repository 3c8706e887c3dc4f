"""Kill, spoil and crowd a small study in every way it should survive, and compare what comes of it to the byte.

    python tests/stress/torture.py                         all of it: about 20 minutes of one core
    python tests/stress/torture.py --record tried.jsonl    the same, but once stopped it goes on from there
    python tests/stress/torture.py --fast                  a sample of each part: under a minute
    python tests/stress/torture.py --only spoilt           some parts

Parts: kills at each write, fsync, rename and removal, random kills of the command line, errors of the file system at
those operations, a small and a read-only disk, no permission, spoilt artifacts, unfinished runs and texts, order (of
tasks, and number of workers), interrupts (Ctrl-C), killed workers and parents, two at once, a diverged run.
Prints a line a part with what was tried, and everything that was not as promised; exits 1 where there was any.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from base import command_line
from base.storage import UserError, write_json
from tests.stress import killed, refused, spoilt
from tests.stress.small_study import TRAINED
from tests.stress.trials import Part, Trials

PARTS: dict[str, Callable[[Trials], Part]] = {
    "kills": killed.at_operations,
    "page-kills": lambda trials: killed.at_operations(trials, stages=(1, 2)),
    "random": lambda trials: killed.at_random(trials, 50),
    "errors": refused.errors,
    "disk": refused.small_disk,
    "permission": refused.permission,
    "spoilt": spoilt.finished,
    "unfinished": spoilt.unfinished,
    "texts": spoilt.texts,
    "order": killed.in_any_order,
    "interrupts": lambda trials: killed.interrupted(trials, 20),
    "workers": lambda trials: killed.workers(trials, 6),
    "parents": lambda trials: killed.parents(trials, 5),
    "two": refused.two_at_once,
    "diverged": refused.diverged,
}
FAST: dict[str, Callable[[Trials], Part]] = {
    "kills": lambda trials: killed.at_operations(trials, 16),
    "page-kills": lambda trials: killed.at_operations(trials, 16, (1, 2)),
    "errors": lambda trials: refused.errors(trials, 6),
    "disk": lambda trials: refused.small_disk(trials, (0.3,), TRAINED),
    "permission": lambda trials: refused.permission(trials, 4),
    "spoilt": lambda trials: spoilt.finished(trials, 10),
    "unfinished": lambda trials: spoilt.unfinished(trials, 5),
    "diverged": refused.diverged,
}
"""A sample of each part that does not start the command line again and again."""


def main(arguments: Sequence[str]) -> int:
    parser = command_line.Parser(
        prog="torture.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fast", action="store_true", help="a sample of the parts that need no command line")
    parser.add_argument("--only", nargs="+", metavar="PART", help="some parts")
    parser.add_argument("--seed", type=int, default=5, help="of every random choice (default 5)")
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="go on from the trials that are kept there"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there too")
    given = parser.parse_args(arguments)
    known = PARTS | FAST if given.fast else PARTS
    chosen = given.only or list(FAST if given.fast else PARTS)
    for name in chosen:
        if name not in known:
            raise UserError(f"no part {name!r}; there are {', '.join(known)}")
    parts = []
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        os.chmod(folder, 0o755)
        trials = Trials(Path(folder), given.seed, given.record)
        for name in chosen:
            begun = time.monotonic()
            part = known[name](trials)
            parts.append(part)
            verdict = f"{len(part.wrong)} differences" if part.wrong else "no difference"
            took = f"{time.monotonic() - begun:.0f} s"
            print(f"{name:<11} {part.tried:>4} {part.name}: {verdict}, {took}", flush=True)
            for line in [*part.notes, *part.wrong]:
                print(f"            {line.strip()}", flush=True)
    if given.json:
        names = ("name", "tried", "wrong", "notes")
        found = [{name: getattr(part, name) for name in names} for part in parts]
        write_json(given.json, [{"part": name, **one} for name, one in zip(chosen, found, strict=True)])
    failed = sum(bool(part.wrong) for part in parts)
    verdict = f"{failed} parts with differences" if failed else "all as promised"
    print(f"{sum(part.tried for part in parts)} trials, {verdict}")
    return int(failed > 0)


if __name__ == "__main__":
    command_line.run(main)
