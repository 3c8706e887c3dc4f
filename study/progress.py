"""How long a study takes, and what a terminal or a log shows of it."""

import contextlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from study import freshness
from study.plan import MADE, Step, Study
from study.worker import progress_path

OVERHEAD = 1.7  # a training step against its matrix products alone
DEARER = 2.3  # a test against training, work for work: its batches are many and small
TRAIN = "train"
MADE_S = 1.0  # a table, a figure or a page: a first guess


class Costs:
    """Seconds a step takes: its work at the speed of finished steps of its kind. Where there is none yet, tests go by training's
    speed, and that by a guess from the machine's; every step that ends corrects it."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[float, float]] = {}  # kind -> seconds, units of work
        self.guess_s: float | None = None  # seconds a GFLOP

    def learn(self, out: Path, steps: Iterable[Step]) -> None:
        """Take the times that finished steps have recorded."""
        for step in steps:
            if step.kind == "train":
                record = freshness.record_of(step.destination / "run.json")
                run = step.arguments["run"]
                share = (run.last - record.get("resumed_from", run.first)) / (run.last - run.first)
            else:
                record, share = freshness.record_of(freshness.record_path(out, step)), 1.0
            if isinstance(record.get("seconds"), int | float) and share > 0:
                self._count(step.kind, record["seconds"], step.work * share)

    def _count(self, kind: str, seconds: float, units: float) -> None:
        old = self.sums.get(kind, (0.0, 0.0))
        self.sums[kind] = (old[0] + seconds, old[1] + units)

    def of(self, step: Step) -> float:
        """Seconds that a step is expected to take on one worker."""
        if step.kind in self.sums or not step.studied:
            return step.work * self.of_kind(step.kind)
        if TRAIN not in self.sums and self.guess_s is None:
            self.guess_s = OVERHEAD / gflops()
        trained = self.of_kind(TRAIN) if TRAIN in self.sums else self.guess_s or 0.0
        return step.work * trained * (DEARER if step.tests else 1)

    def of_kind(self, kind: str) -> float:
        """Seconds a unit of work: of tables, figures or report, the whole."""
        seconds, units = self.sums.get(kind, (MADE_S, 1.0))
        return seconds / units

    def known(self, steps: Iterable[Step]) -> bool:
        """Whether the time of each of these kinds was measured here."""
        return all(step.kind in self.sums for step in steps)


def gflops(seconds: float = 0.3) -> float:
    """Speed of float32 matrix products on one core, in GFLOP/s."""
    import numpy as np

    a = np.ones((768, 128), dtype=np.float32)
    b = np.ones((128, 512), dtype=np.float32)
    started = time.perf_counter()
    count = 0
    while (spent := time.perf_counter() - started) < seconds:
        a @ b
        count += 1
    return max(1e-3, 2e-9 * 768 * 128 * 512 * count / spent)


def duration(seconds: float) -> str:
    """A time in words: 45 s, 12 min, 1 h 20 min."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Display:
    """A bar with the time left on a terminal, and a line for each phase and seed once all of its steps have ended.

    expected: the steps that are to run. verbose: a line for each of them instead.
    """

    def __init__(self, costs: Costs, jobs: int, expected: Iterable[Step] = (), verbose: bool = False) -> None:
        self.costs = costs
        self.jobs = jobs
        self.verbose = verbose
        self.parts: dict[tuple[str, int], list[str]] = defaultdict(list)  # names of the steps still to come
        for step in expected:
            self.parts[step.phase, step.seed].append(step.name)
        self.sizes = {part: len(names) for part, names in self.parts.items()}
        self.spent: dict[tuple[str, int], float] = defaultdict(float)  # seconds of one worker
        self.done_s = 0.0
        self.bar: Any = None
        self.terminal = sys.stderr.isatty()

    def say(self, line: str) -> None:
        """A line of its own, above the bar if there is one."""
        if self.bar is not None:
            self.bar.write(line, file=sys.stdout)
        else:
            print(line, flush=True)

    def finished(self, step: Step, seconds: float, number: int, total: int, ahead_s: float) -> None:
        """A step ended, after so many seconds; ahead_s: seconds of work that are left, for one worker."""
        self.done_s += self.costs.of(step)
        ahead = f"  (about {duration(ahead_s / self.jobs)} left)" if number < total else ""
        if self.verbose:
            self.say(f"[{number}/{total}] {step.name}  {seconds:.0f} s{ahead}")
            return
        part = (step.phase, step.seed)
        self.spent[part] += seconds
        if step.name in self.parts[part]:
            self.parts[part].remove(step.name)
            if not self.parts[part]:
                count = self.sizes[part]
                steps = f"{count} runs and tests" if count > 1 else step.name
                self.say(
                    f"[{number}/{total}] {part[0]}, seed {part[1]}: {steps}, {duration(self.spent[part])} of one worker{ahead}"
                )

    def update(self, ahead_s: float, running: Sequence[Step], out: Path) -> None:
        """Redraw the bar. Nothing where there is no terminal."""
        if not self.terminal:
            return
        from tqdm import tqdm

        part = sum(self.costs.of(step) * fraction(out, step) for step in running)
        ahead_s = max(0.0, ahead_s - part)
        if self.bar is None:
            self.bar = tqdm(bar_format="{percentage:3.0f}% |{bar}| {desc}", dynamic_ncols=True, leave=False)
        self.bar.total = max(self.done_s + part + ahead_s, 1e-9)
        self.bar.n = min(self.done_s + part, self.bar.total)
        names = ", ".join(step.name.split(" ", 1)[-1] for step in running)
        self.bar.set_description_str(f"{duration(ahead_s / self.jobs)} left | {names}"[:100])

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def fraction(out: Path, step: Step) -> float:
    """How much of a running step is done, by its progress file."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, ZeroDivisionError):
        found = json.loads(progress_path(out, step).read_text(encoding="utf-8"))
        return min(1.0, max(0.0, found["step"] / found["total"]))
    return 0.0


def status(study: Study, plan: Sequence[Step], fresh: frozenset[str], made: Sequence[Step]) -> str:
    """How far a study is: a line a phase, then a line a seed, then tables, figures and pages."""
    lines = []
    phases: dict[str, list[Step]] = defaultdict(list)
    seeds: dict[int, list[Step]] = defaultdict(list)
    for step in plan:
        for phase in step.phases:
            phases[phase].append(step)
        seeds[step.seed].append(step)
    for name, steps in phases.items():
        lines.append(f"{name:<14} {sum(step.name in fresh for step in steps)} of {len(steps)} done")
    for seed, steps in seeds.items():
        lines.append(f"seed {seed:<9} {sum(step.name in fresh for step in steps)} of {len(steps)} done")
    for kind, group in groupby(
        sorted(made, key=lambda step: MADE.index(step.kind)), key=lambda step: step.kind
    ):
        named = list(group)
        if kind != "note":
            lines.append(
                f"{kind + 's':<14} {sum(step.name in fresh for step in named)} of {len(named)} up to date"
            )
    return "\n".join(lines)
