"""A small study in a clone of the code, and what would run in it after each of many edits: for tests/test_stale.py.

The clone is edited and asked by one process of its own (`python stale_study.py CLONE < cases`), which forgets what it
hashed between two cases, so that a hundred edits take seconds.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUITE = """
name = "tiny"
seeds = 1
corpus = "tiny_text"
model = { n_layer = 1, n_head = 2, n_embd = 16, block_size = 8 }
train = { steps = 30, batch_size = 2, warmup_steps = 1 }
log = { effect_interval = 5, probe_sequences = 2, eval_interval = 10, eval_batches = 1, keep_steps = [10] }
self_state = { dim = 4, hidden = 4 }
regimes.bewilderment.probability = 0.5
[schedules.one]
kind = "windows"
windows = [{ regime = "bewilderment", start = 10, end = 20 }]
[schedules.feedback]
kind = "windows"
windows = [{ regime = "false_feedback", start = 10, end = 20 }]
[schedules.heatwave]
kind = "windows"
windows = [{ regime = "lr_heatwave", start = 10, end = 20 }]
[conditions.self]
schedule = "one"
log.keep_checkpoints = [10, 20]
[conditions.vanilla]
schedule = "one"
self_state.enabled = false
[conditions.ema]
self_state.memory = { kind = "ema" }
[conditions.buffer]
self_state.memory = { kind = "buffer", length = 4, stride = 2 }
schedule = { kind = "random_windows", durations = { self_clamp = 10 }, first = 2, washout = 1 }
[conditions.fixed]
self_state.enabled = false
constant_bias = { kind = "fixed", norm_of = "self" }
schedule = { kind = "recurring", regimes = ["sensory_fog"], enter = 0.2, leave = 0.2, first = 2 }
[conditions.learned]
self_state.enabled = false
constant_bias = { kind = "learned" }
schedule = "heatwave"
[conditions.goes_on]
start = { condition = "self", step = 10, state = "other" }
[conditions.heard]
self_state.senses = { kind = "recorded", condition = "self", seed = "partner" }
[conditions.matched]
self_state.match_norm_of = "self"
schedule = "feedback"
[conditions.elsewhere]
corpus = "tiny_other"
[frozen_test]
conditions = ["self"]
steps = [10]
finder_batches = 1
dev_batches = 1
heldout_batches = 1
top = 1
doses = 2
random_directions = 2
placebo_draws = 2
[belief_test]
conditions = ["self"]
[signatures]
pre_steps = 20
permutations = 3
classify_steps = 4
"""
TEXTS = {
    "tiny_text": "To see a world in a grain of sand, and a heaven in a wild flower. " * 60,
    "tiny_other": "Hold infinity in the palm of your hand, and eternity in an hour. " * 60,
}


@dataclass(frozen=True)
class Case:
    """One edit. overrides: --set texts. file: path in the folder of clone and study, in whose content `old` becomes `new`
    where it first stands, or which gets `added` at its end, or loses its last byte where that is None."""

    overrides: Sequence[str] = ()
    file: str = ""
    added: str | None = ""
    old: str = ""
    new: str = ""


@dataclass
class Place:
    """The folder of a clone, its suite file, its texts and its study in out/."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def study(self, *more: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "scripts/run_all.py",
            "--config",
            "tiny.toml",
            "--out",
            "out",
            "--jobs",
            "1",
            *more,
        ]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def would_run(self, cases: Sequence[Case]) -> list[set[str]]:
        """The names of what would run after each edit, each made alone and taken back."""
        found = subprocess.run(
            [sys.executable, str(Path(__file__)), str(self.folder)],
            input=json.dumps([asdict(case) for case in cases]),
            cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert found.returncode == 0, found.stdout + found.stderr
        return [set(names) for names in json.loads(found.stdout.splitlines()[-1])]


def make(folder: Path) -> Place:
    """A clone of the code with a finished study."""
    left_out = shutil.ignore_patterns(".*", "out", "tests", "docs", "figures", "__pycache__", "build")
    shutil.copytree(ROOT, folder, ignore=left_out)
    (folder / "tiny.toml").write_text(SUITE)
    for name, text in TEXTS.items():
        (folder / "texts" / name).mkdir(parents=True)
        (folder / "texts" / name / "input.txt").write_text(text)
    environment = {**os.environ, "INTEROCEPTION_DATA": str(folder / "texts")}
    place = Place(folder, environment)
    ended = place.study()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return place


MADE = {"table": "tables", "figure": "figures", "page": "pages"}


def names_to_run(lines: str) -> list[str]:
    """The names of what a dry run says would run; where all tables (figures, pages) would, these in one word. No notes."""
    names = {True: [], False: []}  # type: dict[bool, list[str]]
    for line in lines.splitlines():
        names[line.startswith("run ")].append(line[6:].split(":")[0])
    left = {name.split(" ")[0] for name in names[False]}
    kinds = [(name, name.split(" ")[0]) for name in names[True] if not name.startswith("note ")]
    return [MADE[kind] if kind in MADE and kind not in left else name for name, kind in kinds]


def answer(folder: Path) -> None:
    """The clone's part of `would_run`: cases on standard input, names on standard output."""
    sys.path.insert(0, str(folder))
    from base import code
    from base.storage import UserError
    from runs import folder as run_folder
    from study import phases, plan, session
    from study.request import Request

    answers = []
    for case in json.load(sys.stdin):
        for cached in (
            code.module,
            code._told,
            run_folder._code,
            plan.code_of,
            phases.declared,
            phases._homes,
        ):
            cached.cache_clear()
        path = folder / case["file"]
        content = path.read_bytes() if case["file"] else b""
        if case["old"]:
            assert case["old"].encode() in content, f"{path} has no {case['old']!r}"
            path.write_bytes(content.replace(case["old"].encode(), case["new"].encode(), 1))
        elif case["file"]:
            added = case["added"]
            path.write_bytes(content[:-1] if added is None else content + added.encode())
        overrides = tuple(case["overrides"])
        request = Request(Path("out"), Path("tiny.toml"), overrides, (), False, None, 1, False, False)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                answers.append(names_to_run(session.dry_run(request)))
        except UserError as error:
            answers.append([f"error: {case['overrides']} {case['file']}: {error}"])
        finally:
            if case["file"]:
                path.write_bytes(content)
    print(json.dumps(answers))


if __name__ == "__main__":
    answer(Path(sys.argv[1]))
