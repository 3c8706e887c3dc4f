"""Carries a study out: what runs next, who runs it, what happens when it fails, and what the user sees meanwhile."""

import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path

from base.storage import UserError
from study import freshness
from study import worker as work
from study.phases import STUDIED
from study.plan import Study, Task
from study.progress import Costs, Display
from study.refresh import Whole, refresh_tasks, suites_of, whole
from study.workers import Workers

ATTEMPTS = 2  # of a task whose worker was killed; one that fails by itself is not tried again
POLL_S = 0.5


@dataclass(frozen=True)
class Failure:
    """A task that did not end well."""

    task: Task
    error: str
    log: Path


def _exit_terminated(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


class Runner:
    """One study from its plan to its last page.

    Args:
        plan: training and frozen tests in the order in which they should run.
        stale: names of those that are not up to date.
        chosen: names of those of them that are to run; the rest is left as it is.
        refresh: the kinds of tables, figures and report that are wanted.
        forced: phases to make again in any case.
        executor: who runs the tasks; by default worker processes of this machine.
    """

    def __init__(
        self,
        study: Study,
        plan: Sequence[Task],
        stale: frozenset[str],
        chosen: frozenset[str],
        refresh: Sequence[str],
        jobs: int,
        costs: Costs,
        forced: frozenset[str] = frozenset(),
        executor: Callable[[int], Executor] = Workers,
    ) -> None:
        self.study = study
        self.plan = list(plan)
        self.waiting = [task for task in plan if task.name in chosen]
        self.done = {task.name: task for task in plan if task.name not in stale}
        self.refresh = tuple(refresh)
        self.jobs = jobs
        self.costs = costs
        self.forced = forced
        self.make_executor = executor
        self.executor: Executor | None = None
        self.running: dict[Future, tuple[Task, int]] = {}
        self.failures: list[Failure] = []
        self.skipped: list[Task] = []
        self.ran = 0
        self.chain: list[Task] = []  # what is left of the tables, figures and report being made
        self.shown: tuple[frozenset[str], Whole] | None = None  # what the newest tables were asked to hold
        self.display = Display(costs, jobs)
        # tasks of a kind that are made when a seed completes: one a suite, and one of the claims
        shown = suites_of(study, whole(plan, {*self.done, *chosen}))
        self.a_round = len(shown) + (study.claims and len(shown) == len(study.suites))

    def run(self) -> list[Failure]:
        """Run what has to; returns what failed. KeyboardInterrupt ends the workers at once and goes on up."""
        for task in self.done.values():
            self._view(task)
        terminate = signal.signal(signal.SIGTERM, _exit_terminated)
        try:
            while True:
                self._start()
                if not self.running:
                    break
                ended, _ = wait(self.running, timeout=POLL_S, return_when=FIRST_COMPLETED)
                for future in ended:
                    self._end(future)
                self.display.update(
                    self._ahead_s(), [task for task, _ in self.running.values()], self.study.out
                )
        except BaseException:
            before = signal.signal(signal.SIGINT, signal.SIG_IGN)
            self._stop(kill=True)
            signal.signal(signal.SIGINT, before)
            raise
        finally:
            signal.signal(signal.SIGTERM, terminate)
        self._stop(kill=False)
        return self.failures

    def _stop(self, kill: bool) -> None:
        self.display.close()
        if self.executor is not None:
            self.executor.shutdown(wait=not kill, cancel_futures=True)

    def _start(self) -> None:
        while len(self.running) < self.jobs:
            task = self._next()
            if task is None:
                return
            self._submit(task, 1)

    def _submit(self, task: Task, attempt: int) -> None:
        afresh = task.of(self.forced)
        for _ in range(2):
            if self.executor is None:
                self.executor = self.make_executor(self.jobs)
            try:
                future = self.executor.submit(
                    work.perform, work.without_results(task), self.study.out, afresh, attempt
                )
            except BrokenExecutor:
                self.executor.shutdown(wait=False)
                self.executor = None
                continue
            self.running[future] = (task, attempt)
            return
        self._fail(task, "no worker could be started")

    def _next(self) -> Task | None:
        """The next task that can start: tables, figures and report first, then the plan's order."""
        self._skip()
        busy = any(task.kind in ("tables", "figures", "report") for task, _ in self.running.values())
        if self.refresh and not busy:
            task = self._next_refresh()
            if task is not None:
                return task
        for task in self.waiting:
            if all(name in self.done for name in task.inputs):
                self.waiting.remove(task)
                return task
        return None

    def _skip(self) -> None:
        """Give up what waits for a task that failed."""
        lost = {failure.task.name for failure in self.failures} - set(self.done)
        for task in list(self.waiting):
            if lost.intersection(task.inputs):
                lost.add(task.name)
                self.waiting.remove(task)
                self.skipped.append(task)

    def _complete(self) -> tuple[list[Task], Whole]:
        """What is finished of the seeds that are complete, phase by phase, and not worked on any more."""
        settled = {
            *self.done,
            *(task.name for task in self.skipped),
            *(lost.task.name for lost in self.failures),
        }
        going = (*self.waiting, *(task for task, _ in self.running.values() if task.kind in STUDIED))
        parts = whole(self.plan, settled, {task.seed for task in going})
        return [task for task in self.plan if task.name in self.done and task.within(parts)], parts

    def _due(self) -> tuple[list[Task], Whole] | None:
        """What the tables should hold, where that is not what they were last asked to."""
        complete, parts = self._complete()
        new = (frozenset(task.name for task in complete), parts) != self.shown
        return (complete, parts) if new and any(task.kind == "train" for task in complete) else None

    def _next_refresh(self) -> Task | None:
        due = self._due()
        if due is not None:
            complete, parts = due
            self.shown = (frozenset(task.name for task in complete), parts)
            self.chain = [  # an older chain that has not come to its end is dropped: this one holds more
                task
                for task in refresh_tasks(self.study, complete, parts)
                if task.kind in self.refresh or task.kind == "tables"
            ]
        while self.chain:
            task = self.chain.pop(0)
            decision = freshness.examine(self.study.out, [task], self.forced)[task.name]
            if decision.damaged:
                self.display.say(f"note: {task.name} is made again, {decision.reason}")
            if decision.run:
                return task
        return None

    def _end(self, future: Future) -> None:
        task, attempt = self.running.pop(future)
        try:
            outcome: work.Outcome = future.result()
        except BrokenExecutor:
            if attempt < ATTEMPTS:
                self.display.say(f"{task.name}: its worker was killed; trying once more")
                self._submit(task, attempt + 1)
            else:
                self._fail(task, f"its worker was killed {ATTEMPTS} times (out of memory?)")
            return
        except Exception as problem:  # what a worker can't even send back
            outcome = work.Outcome(0.0, f"{type(problem).__name__}: {problem}")
        if outcome.error is not None:
            self._fail(task, outcome.error)
            return
        for line in outcome.notes:
            self.display.say(f"note: {task.name}: {line}")
        self.ran += 1
        if task.kind in STUDIED:
            self.done[task.name] = task
            self._view(task)
        self.costs.learn(self.study.out, [task])
        self.display.finished(task, outcome.seconds, self.ran, self._total(), self._ahead_s())

    def _fail(self, task: Task, error: str) -> None:
        self.failures.append(Failure(task, error, self.study.out / "logs" / f"{task.slug}.log"))
        if task.kind in ("tables", "figures", "report"):
            self.chain = []
        self.display.say(f"FAILED {task.name}: {error}")

    def _view(self, task: Task) -> None:
        """Make the links to a finished run. Where that fails the run stands, and the study ends with 1."""
        try:
            freshness.keep_name(self.study.out, task)
            for view in task.views:
                freshness.point(view, task.destination)
        except (UserError, OSError) as problem:
            self._fail(task, f"it is done, but not linked: {problem}")

    def _left(self) -> list[Task]:
        return [*(task for task, _ in self.running.values()), *self.waiting, *self.chain]

    def _rounds(self) -> int:
        """How often tables, figures and report are still to be made, the chain that has begun not counted."""
        if not self.refresh:
            return 0
        going = (
            *self.waiting,
            *(task for task, _ in self.running.values() if task.kind in STUDIED),
        )
        return len({task.seed for task in going}) + (self._due() is not None)

    def _ahead_s(self) -> float:
        """Seconds of work still to do, for one worker."""
        each = sum(self.costs.of_kind(kind) * self.a_round for kind in self.refresh)
        return sum(self.costs.of(task) for task in self._left()) + self._rounds() * each

    def _total(self) -> int:
        """Tasks of this start, done and to come."""
        return (
            self.ran
            + len(self.failures)
            + len(self._left())
            + self._rounds() * sum(self.a_round for kind in self.refresh)
        )
