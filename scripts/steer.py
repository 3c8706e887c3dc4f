"""Set the state of a finished run by hand: find what steers it, build states, see what a state does.

    python scripts/steer.py out/shakespeare/self_calm/seed-1 find
    python scripts/steer.py out/shakespeare/self_calm/seed-1 build confident
    python scripts/steer.py out/shakespeare/self_calm/seed-1 eval out/steer/*/confident.json
    python scripts/steer.py out/shakespeare/self/seed-1 page out/shakespeare/self/seed-2

A state is a JSON file (runs/state_file.py), which scripts/sample.py takes too. See docs/STEERING.md.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from base import command_line

if __name__ == "__main__":
    command_line.heed()

import numpy as np
import pandas as pd
import torch

from base import storage
from base.storage import UserError
from configs.probes.frozen import FrozenTest
from experiments.kit.tables import Tables
from probes import presets
from probes.instrument import Instrument, Subject, batches, load_subject
from runs import folder as run_folder
from runs import state as run_state
from runs import state_file
from study.steer_page import make

HEADS = ("|logit change|", "KL(zero || state)", "entropy zero", "entropy", "top-1 zero", "top-1")


def parser() -> command_line.Parser:
    made = command_line.Parser(
        prog="steer.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "run", type=Path, metavar="RUN", help="a run folder, for example out/shakespeare/self_calm/seed-1"
    )
    shared = command_line.Parser(add_help=False)
    shared.add_argument("--step", type=int, help="weights after so many steps (default: the last)")
    shared.add_argument(
        "--out",
        type=Path,
        default=Path("out"),
        help="files out; corpora in, for a run that has none beside it (default out)",
    )
    search = command_line.Parser(add_help=False)
    search.add_argument("--magnitude", type=float, default=0.5, help="of a dimension alone (default 0.5)")
    search.add_argument(
        "--threshold", type=float, default=0.01, help="least change of entropy, nats (default 0.01)"
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="find|build|eval|page")
    commands.add_parser("find", parents=[shared, search], help="which dimensions lower and raise the entropy")
    build = commands.add_parser("build", parents=[shared, search], help="write a state to a file")
    build.add_argument("what", help="own, confident, uncertain, or a regime of the run: its mean state")
    build.add_argument("--top", type=int, help="so many of the strongest dimensions (default: all found)")
    build.add_argument("--to", type=Path, help="the file (default: below --out)")
    judge = commands.add_parser("eval", parents=[shared], help="what states do to held-out predictions")
    judge.add_argument("files", type=Path, nargs="+", metavar="FILE", help="states")
    judge.add_argument("--json", action="store_true", help="print the table as JSON")
    show = commands.add_parser(
        "page", parents=[shared], help="a page that steers the run by hand in a browser"
    )
    show.add_argument(
        "others", type=Path, nargs="*", metavar="OTHER", help="runs whose last states can be put in"
    )
    show.add_argument("--to", type=Path, help="the file (default: below --out)")
    return made


def check(given: argparse.Namespace) -> None:
    """UserError where an option is out of its range."""
    if given.command == "eval":
        for path in given.files:
            command_line.check_path(path, "FILE")
    if given.command in ("eval", "page"):
        return
    if not 0 < given.magnitude <= state_file.LARGEST or not 0 <= given.threshold <= 1000:
        raise UserError("--magnitude must be above 0, at most 1000000; --threshold from 0 to 1000")
    if given.command == "build" and given.top is not None and given.top < 1:
        raise UserError(f"--top {given.top}: must be 1 or more")


def find(given: argparse.Namespace, subject: Subject) -> dict[str, list[presets.Shift]]:
    corpus = run_state.trained_corpus(given.run, subject.run, given.out / "data")
    (batch,) = batches(subject, corpus, "train", 1)
    with command_line.progress_bar("find") as progress:
        instrument = Instrument(subject.gpt, 1 + 2 * subject.run.self_state.dim, progress)
        return presets.find(instrument, subject.reader, batch, given.magnitude, given.threshold)


def build(given: argparse.Namespace, subject: Subject) -> tuple[np.ndarray, str]:
    """The state (dim,) that was asked for, and what it is in words."""
    if given.what == "own":
        return subject.states[-1], "own"
    if given.what not in presets.NAMES:
        mean = presets.regime_mean(subject.run, subject.states, given.what)
        return mean, f"mean of {given.what}"
    shifts = find(given, subject)[given.what][: given.top]
    if not shifts:
        raise UserError(
            f"no dimension makes {given.run} {given.what} by {given.threshold} nats at {given.magnitude}; "
            "take a smaller --threshold or a larger --magnitude"
        )
    return presets.preset(subject.states, shifts), f"{given.what}: {shown(shifts)}"


def shown(shifts: Sequence[presets.Shift]) -> str:
    """Dimensions and their signs, strongest first."""
    return " ".join(f"{'+' if shift.sign > 0 else '-'}{shift.dimension}" for shift in shifts) or "none"


def main(arguments: Sequence[str]) -> None:
    given = parser().parse_args(arguments)
    check(given)
    torch.set_num_threads(1)
    suite = given.run.absolute().parent.parent.name  # out/<suite>/<condition>/seed-n
    given.run = run_folder.viewed(given.run)
    last = run_folder.load_config(given.run).last
    step = last if given.step is None else given.step
    subject = load_subject(given.run, step)
    key = storage.read_json(given.run / "run.json")["key"]
    folder = given.out / "steer" / f"{given.run.resolve().name}-step{step}"
    if given.command == "find":
        found = find(given, subject)
        settings = {"magnitude": given.magnitude, "threshold": given.threshold}
        lists = {name: [asdict(shift) for shift in shifts] for name, shifts in found.items()}
        storage.write_json(
            folder / "directions.json", {"run_key": key, "run_step": step, **settings, **lists}
        )
        for name, shifts in found.items():
            print(f"{name:10} {shown(shifts)}")
        print(f"-> {folder / 'directions.json'}")
    elif given.command == "build":
        state, what = build(given, subject)
        path = given.to or folder / f"{given.what}.json"
        state_file.save(path, state, what, key, step)
        print(f"{what}, norm {np.linalg.norm(state):.3f} -> {path}")
    elif given.command == "page":
        tables = Tables(given.out / "tables", suite)
        corpus = run_state.trained_corpus(given.run, subject.run, given.out / "data")
        path = given.to or folder / "steer.html"
        storage.write_text(
            path,
            make.page(given.run, step, corpus, [run_folder.viewed(other) for other in given.others], tables),
        )
        print(f"open it in a browser -> {path}")
    else:
        dim = subject.run.self_state.dim
        states = np.stack([state_file.load(path, dim) for path in given.files])
        corpus = run_state.trained_corpus(given.run, subject.run, given.out / "data")
        drawn = batches(subject, corpus, "heldout", FrozenTest().heldout_batches)
        rows = presets.compare(subject.gpt, subject.reader, states, drawn)
        named = [{"state": str(path), **row} for path, row in zip(given.files, rows, strict=True)]
        if given.json:
            print(json.dumps(named, indent=2))
        else:
            table = pd.DataFrame(named).set_axis(["state", *HEADS], axis=1)
            print(table.to_string(index=False, float_format="%.4f"))


if __name__ == "__main__":
    command_line.run(main)
