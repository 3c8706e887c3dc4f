"""How long a study takes, and what a terminal or a log shows of it."""

import contextlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from study import freshness
from study.phases import STUDIED
from study.plan import Study, Task
from study.worker import progress_path

OVERHEAD = 1.7  # a training step against its matrix products alone
REFRESH_S = 20.0  # tables, figures or report: a first guess


class Costs:
    """Seconds a task takes: from tasks of its kind that are finished, or a first guess from the machine's speed."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[float, float]] = {}  # kind -> seconds, units of work
        self.guess_s: float | None = None  # seconds a GFLOP

    def learn(self, out: Path, tasks: Iterable[Task]) -> None:
        """Take the times that finished tasks have recorded."""
        for task in tasks:
            if task.kind == "train":
                record = freshness.record_of(task.destination / "run.json")
                run = task.arguments["run"]
                share = (run.last - record.get("resumed_from", run.first)) / (run.last - run.first)
            else:
                record, share = freshness.record_of(freshness.record_path(out, task)), 1.0
            if isinstance(record.get("seconds"), int | float) and share > 0:
                self._count(task.kind, record["seconds"], task.work * share)

    def _count(self, kind: str, seconds: float, units: float) -> None:
        old = self.sums.get(kind, (0.0, 0.0))
        self.sums[kind] = (old[0] + seconds, old[1] + units)

    def of(self, task: Task) -> float:
        """Seconds that a task is expected to take on one worker."""
        if task.kind in self.sums or task.kind not in STUDIED:
            return task.work * self.of_kind(task.kind)
        if self.guess_s is None:
            self.guess_s = OVERHEAD / gflops()
        return task.work * self.guess_s

    def of_kind(self, kind: str) -> float:
        """Seconds a unit of work: of tables, figures or report, the whole."""
        seconds, units = self.sums.get(kind, (REFRESH_S, 1.0))
        return seconds / units

    def known(self, tasks: Iterable[Task]) -> bool:
        """Whether the time of each of these kinds was measured here."""
        return all(task.kind in self.sums for task in tasks)


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
    """A bar with the time left on a terminal; elsewhere one line for each task that ended."""

    def __init__(self, costs: Costs, jobs: int) -> None:
        self.costs = costs
        self.jobs = jobs
        self.done_s = 0.0
        self.bar: Any = None
        self.terminal = sys.stderr.isatty()

    def say(self, line: str) -> None:
        """A line of its own, above the bar if there is one."""
        if self.bar is not None:
            self.bar.write(line, file=sys.stdout)
        else:
            print(line, flush=True)

    def finished(self, task: Task, seconds: float, number: int, total: int, ahead_s: float) -> None:
        """A line for a task that ended; ahead_s: seconds of work that are left, for one worker."""
        self.done_s += self.costs.of(task)
        ahead = f"  (about {duration(ahead_s / self.jobs)} left)" if number < total else ""
        self.say(f"[{number}/{total}] {task.name}  {seconds:.0f} s{ahead}")

    def update(self, ahead_s: float, running: Sequence[Task], out: Path) -> None:
        """Redraw the bar. Nothing where there is no terminal."""
        if not self.terminal:
            return
        from tqdm import tqdm

        part = sum(self.costs.of(task) * fraction(out, task) for task in running)
        ahead_s = max(0.0, ahead_s - part)
        if self.bar is None:
            self.bar = tqdm(bar_format="{percentage:3.0f}% |{bar}| {desc}", dynamic_ncols=True, leave=False)
        self.bar.total = max(self.done_s + part + ahead_s, 1e-9)
        self.bar.n = min(self.done_s + part, self.bar.total)
        names = ", ".join(task.name.split(" ", 1)[-1] for task in running)
        self.bar.set_description_str(f"{duration(ahead_s / self.jobs)} left | {names}"[:100])

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def fraction(out: Path, task: Task) -> float:
    """How much of a running task is done, by its progress file."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, ZeroDivisionError):
        found = json.loads(progress_path(out, task).read_text())
        return min(1.0, max(0.0, found["step"] / found["total"]))
    return 0.0


def status(study: Study, plan: Sequence[Task], fresh: frozenset[str], refresh: Sequence[Task]) -> str:
    """How far a study is: a line a phase, then a line a seed, then what its pages were made from."""
    lines = []
    phases: dict[str, list[Task]] = defaultdict(list)
    seeds: dict[int, list[Task]] = defaultdict(list)
    for task in plan:
        for phase in task.phases:
            phases[phase].append(task)
        seeds[task.seed].append(task)
    for name, tasks in phases.items():
        lines.append(f"{name:<14} {sum(task.name in fresh for task in tasks)} of {len(tasks)} done")
    for seed, tasks in seeds.items():
        lines.append(f"seed {seed:<9} {sum(task.name in fresh for task in tasks)} of {len(tasks)} done")
    for task in refresh:
        record = freshness.record_of(freshness.record_path(study.out, task))
        made = "not made yet" if not record else "up to date" if task.name in fresh else "of an earlier state"
        lines.append(f"{task.name:<14} {made}")
    return "\n".join(lines)
