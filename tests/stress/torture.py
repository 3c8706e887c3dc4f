"""Kill, spoil and crowd a small study in every way it should survive, and compare what comes of it to the byte.

    python scripts/torture.py                      all of it: about 20 minutes of one core
    python scripts/torture.py --record tried.jsonl    the same, but once stopped it goes on from there
    python scripts/torture.py --fast               a sample of each part: under a minute
    python scripts/torture.py --only spoilt        some parts

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
from tests.stress import torture_signals, torture_spoilt
from tests.stress.torture_record import Part, Record
from tests.stress.torture_study import TRAINED
from tests.stress.torture_trials import Trials

FAST = {"kills": 16, "errors": 6, "permission": 4, "spoilt": 10, "unfinished": 5, "random": 2}
"""How many of each are tried in the fast form; the long form tries all, and this many at random:"""
RANDOM_KILLS = 50


def parts(trials: Trials, fast: bool) -> dict[str, Callable[[], Part]]:
    """The parts by name."""
    some = FAST if fast else {}
    found: dict[str, Callable[[], Part]] = {
        "kills": lambda: trials.killed_at_operations(some.get("kills")),
        "page-kills": lambda: trials.killed_at_operations(some.get("kills"), (1, 2)),
        "random": lambda: trials.killed_at_random(some.get("random", RANDOM_KILLS)),
        "errors": lambda: trials.refused(some.get("errors")),
        "disk": lambda: trials.small_disk((240,), TRAINED) if fast else trials.small_disk(),
        "permission": lambda: trials.not_permitted(some.get("permission")),
        "spoilt": lambda: torture_spoilt.finished(trials, some.get("spoilt")),
        "unfinished": lambda: torture_spoilt.unfinished(trials, some.get("unfinished")),
        "texts": lambda: torture_spoilt.texts(trials),
        "order": trials.ordered,
    }
    return found | torture_signals.parts(trials)


IN_TESTS = ("kills", "page-kills", "errors", "disk", "permission", "spoilt", "unfinished", "diverged")
"""What the fast form does: the rest starts the command line again and again, which takes its time."""


def main(arguments: Sequence[str]) -> int:
    parser = command_line.Parser(
        prog="torture.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--fast", action="store_true", help="a sample of each part that needs no command line"
    )
    parser.add_argument("--only", nargs="+", metavar="PART", help="some parts")
    parser.add_argument("--seed", type=int, default=5, help="of every random choice (default 5)")
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="go on from the trials that are kept there"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there too")
    given = parser.parse_args(arguments)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        os.chmod(folder, 0o755)
        record = Record(given.record)
        trials = Trials(Path(folder), given.seed, record)
        known = parts(trials, given.fast)
        chosen = given.only or (IN_TESTS if given.fast else tuple(known))
        for name in chosen:
            if name not in known:
                raise UserError(f"no part {name!r}; there are {', '.join(known)}")
        found = []
        for name in chosen:
            begun = time.monotonic()
            part = known[name]()
            part.seconds = time.monotonic() - begun
            failed += bool(part.wrong)
            found.append(
                {
                    "part": name,
                    "name": part.name,
                    "tried": part.tried,
                    "wrong": part.wrong,
                    "notes": part.notes,
                }
            )
            print(
                f"{name:<11} {part.tried:>4} {part.name}: {_verdict(part)}, {part.seconds:.0f} s", flush=True
            )
            for line in [*part.notes, *part.wrong]:
                print(f"            {line.strip()}", flush=True)
        if given.json:
            write_json(given.json, found)
    names = {part["name"] for part in found}
    older = len(
        {
            (line["part"], line["what"])
            for line in record.lines
            if line["code"] != record.code and line["part"] in names and not line["wrong"]
        }
    )
    tried = sum(int(part["tried"]) for part in found)
    print(f"{tried} trials, {'all as promised' if not failed else f'{failed} parts with differences'}")
    if older:
        print(f"of these, {older} were tried before, with an earlier state of the code")
    return 1 if failed else 0


def _verdict(part: Part) -> str:
    return f"{len(part.wrong)} differences" if part.wrong else "no difference"


if __name__ == "__main__":
    command_line.run(main)
