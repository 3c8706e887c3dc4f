"""Carries a study out: what runs next, who runs it, what happens when it fails, and what the user sees meanwhile."""

import signal
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from base.storage import UserError
from experiments.kit.words import plural
from study import freshness, worker
from study.book import Whole, made_steps, whole
from study.plan import MADE, Kind, Step, Study
from study.processes import Workers
from study.progress import Costs, Display

ATTEMPTS = 2  # of a step whose worker was killed; one that fails by itself is not tried again
POLL_S = 0.5


@dataclass(frozen=True)
class Failure:
    """A step that did not end well."""

    step: Step
    error: str
    log: Path


def _part(whole: Future, at: int) -> Future:
    """A future of the outcome of one step, from that of a stack's."""
    part: Future = Future()

    def hand_on(done: Future) -> None:
        error = done.exception()
        if error is not None:
            part.set_exception(error)
        else:
            part.set_result(done.result()[at])

    whole.add_done_callback(hand_on)
    return part


def _exit_terminated(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


class Runner:
    """One study from its plan to its last page.

    Args:
        plan: training and tests in the order in which they should run.
        stale: names of those that are not up to date.
        chosen: names of those of them that are to run; the rest is left as it is.
        kinds: of what is made of finished runs, the kinds that are wanted.
        forced: phases to make again in any case.
        executor: who runs the steps; by default worker processes of this machine.
        here: where it runs training and tests elsewhere, how many tables, figures and pages are made beside those; else 0.
        verbose: whether each step that ends is told.
    """

    def __init__(
        self,
        study: Study,
        plan: Sequence[Step],
        stale: frozenset[str],
        chosen: frozenset[str],
        kinds: Collection[Kind],
        jobs: int,
        costs: Costs,
        forced: frozenset[str] = frozenset(),
        executor: Callable[[int], Executor] = Workers,
        here: int = 0,
        verbose: bool = False,
    ) -> None:
        self.study = study
        self.plan = list(plan)
        self.waiting = [step for step in plan if step.name in chosen]
        self.done = {step.name: step for step in plan if step.name not in stale}
        self.kinds = frozenset(kinds)
        self.jobs = jobs
        self.costs = costs
        self.forced = forced
        self.make_executor = executor
        self.here = here
        self.executor: Executor | None = None
        self.running: dict[Future, tuple[Step, int]] = {}
        self.stack_of: dict[Future, Future] = {}  # of what runs: the future of all in one stack with it
        self.failures: list[Failure] = []
        self.skipped: list[Step] = []
        self.ran = 0
        self.chain: list[Step] = []  # what is left of the tables, figures and pages being made
        self.round = Counter[str]()  # what has been made of them so far, by kind
        self.round_s = 0.0
        self.made_any = False  # whether anything at all ran
        self.shown: tuple[frozenset[str], Whole] | None = None  # what the newest tables were asked to hold
        self.display = Display(costs, jobs, self.waiting, verbose)
        ends = whole(plan, {*self.done, *chosen})
        coming = [step for step in plan if step.name in self.done or step.name in chosen]
        wanted = made_steps(study, coming, ends) if self.kinds else []
        self.a_round = Counter(step.kind for step in wanted if step.kind in self.kinds)

    def run(self) -> list[Failure]:
        """Run what has to; returns what failed. KeyboardInterrupt ends the workers at once and goes on up."""
        for step in self.done.values():
            self._view(step)
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
                    self.ahead_s(), [step for step, _ in self.running.values()], self.study.out
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
        while len(set(self.stack_of.values())) < self.jobs + self.here:
            step = self._next()
            if step is None:
                return
            self._submit([step, *self._beside(step)], 1)

    def _beside(self, step: Step) -> list[Step]:
        """The waiting steps that are trained in one stack with this one, taken from the queue; on a cluster none are."""
        shape = step.arguments["run"].stacks_as if step.kind == "train" and not self.here else None
        if shape is None:
            return []
        ready = (
            other
            for other in self.waiting
            if other.kind == "train"
            and other.arguments["run"].stacks_as == shape
            and all(name in self.done for name in other.inputs)
        )
        found = list(islice(ready, step.arguments["run"].train.stack - 1))
        self.waiting = [other for other in self.waiting if other not in found]
        return found

    def _submit(self, steps: Sequence[Step], attempt: int) -> None:
        """Hand over a step, or the steps of a stack, without their views, which are this process's."""
        afresh, bare = steps[0].of(self.forced), [replace(step, views=()) for step in steps]
        call: tuple[Any, ...] = worker.perform, bare[0], self.study.out, afresh, attempt
        if len(bare) > 1:
            call = worker.perform_stacked, bare, self.study.out, afresh
        for _ in range(2):
            if self.executor is None:
                self.executor = self.make_executor(self.jobs)
            try:
                future: Future = self.executor.submit(*call)
            except BrokenExecutor:
                self.executor.shutdown(wait=False)
                self.executor = None
                continue
            for at, step in enumerate(steps):
                part = _part(future, at) if len(steps) > 1 else future
                self.running[part], self.stack_of[part] = (step, attempt), future
            return
        for step in steps:
            self._fail(step, "no worker could be started")

    def _next(self) -> Step | None:
        """The next step that can start: tables, figures and pages first, then the plan's order."""
        self._skip()
        studied = len({self.stack_of[future] for future, (step, _) in self.running.items() if step.studied})
        made = len(set(self.stack_of.values())) - studied
        step = self._next_made() if self.kinds and (made < self.here or not self.here) else None
        if step is not None:
            return step
        for step in self.waiting if studied < self.jobs else ():
            if all(name in self.done for name in step.inputs):
                self.waiting.remove(step)
                return step
        return None

    def _skip(self) -> None:
        """Give up what waits for a step that failed."""
        lost = {failure.step.name for failure in self.failures} - set(self.done)
        for step in list(self.waiting):
            if lost.intersection(step.inputs):
                lost.add(step.name)
                self.waiting.remove(step)
                self.skipped.append(step)

    def _complete(self) -> tuple[list[Step], Whole]:
        """What is finished of the seeds that are complete, phase by phase, and not worked on any more."""
        settled = {
            *self.done,
            *(step.name for step in self.skipped),
            *(lost.step.name for lost in self.failures),
        }
        going = (*self.waiting, *(step for step, _ in self.running.values() if step.studied))
        parts = whole(self.plan, settled, {step.seed for step in going})
        return [step for step in self.plan if step.name in self.done and step.within(parts)], parts

    def _due(self) -> tuple[list[Step], Whole] | None:
        """What the tables should hold, where that is not what they were last asked to."""
        complete, parts = self._complete()
        new = (frozenset(step.name for step in complete), parts) != self.shown
        return (complete, parts) if new and any(step.kind == "train" for step in complete) else None

    def _next_made(self) -> Step | None:
        """The next table, figure or page that is due and waits for nothing. A new round takes the place of an older one."""
        due = self._due()
        if due is not None:
            complete, parts = due
            self.shown = (frozenset(step.name for step in complete), parts)
            steps = [step for step in made_steps(self.study, complete, parts) if step.kind in self.kinds]
            decisions = freshness.examine(self.study.out, steps, self.forced)
            self.chain = [step for step in steps if decisions[step.name].run]
            for step in self.chain:
                if decisions[step.name].damaged:
                    self.display.say(f"note: {step.name} is made again, {decisions[step.name].reason}")
        busy = {step.name for step, _ in self.running.values()}
        pending = busy | {step.name for step in self.chain}
        for step in self.chain:
            if step.name not in busy and not pending.intersection(step.inputs):
                self.chain.remove(step)
                return step
        return None

    def _end(self, future: Future) -> None:
        step, attempt = self.running.pop(future)
        del self.stack_of[future]
        try:
            outcome: worker.Outcome = future.result()
        except BrokenExecutor:
            if attempt < ATTEMPTS:
                self.display.say(f"{step.name}: its worker was killed; trying once more")
                self._submit([step], attempt + 1)
            else:
                self._fail(step, f"its worker was killed {ATTEMPTS} times (out of memory?)")
            return
        except UserError:  # of the cluster, and so of every step
            raise
        except Exception as problem:  # what a worker can't even send back
            outcome = worker.Outcome(0.0, f"{type(problem).__name__}: {problem}")
        if outcome.error is not None:
            self._fail(step, outcome.error)
            return
        for line in outcome.notes:
            self.display.say(f"note: {step.name}: {line}")
        self.made_any = True
        self.costs.learn(self.study.out, [step])
        if step.studied:
            self.ran += 1
            self.done[step.name] = step
            self._view(step)
            self.display.finished(step, outcome.seconds, self.ran, self._total(), self.ahead_s())
            return
        self.round[step.kind] += 1
        self.round_s += outcome.seconds
        if not self.chain and not any(other.kind in MADE for other, _ in self.running.values()):
            self._tell_round()

    def _tell_round(self) -> None:
        """One line on the tables, figures and pages that were made, and how long one worker took."""
        made = ", ".join(plural(count, kind) for kind, count in self.round.items() if kind != "note")
        if made:
            self.display.say(f"made {made}  {self.round_s:.0f} s")
        self.round.clear()
        self.round_s = 0.0

    def _fail(self, step: Step, error: str) -> None:
        self.failures.append(Failure(step, error, self.study.out / "logs" / f"{step.slug}.log"))
        if step.kind in MADE:  # what is made of it is left out, all else goes on
            lost = {step.name}
            for other in list(self.chain):
                if step.kind == "table" and other.kind == "table" and lost.intersection(other.inputs):
                    lost.add(other.name)
                    self.chain.remove(other)
                    self.skipped.append(other)
        self.display.say(f"FAILED {step.name}: {error}")

    def _view(self, step: Step) -> None:
        """Make the links to a finished run. Where that fails the run stands, and the study ends with 1."""
        try:
            freshness.keep_name(self.study.out, step)
            for view in step.views:
                freshness.point(view, step.destination)
        except (UserError, OSError) as problem:
            self._fail(step, f"it is done, but not linked: {problem}")

    def _left(self) -> list[Step]:
        return [*(step for step, _ in self.running.values()), *self.waiting, *self.chain]

    def _rounds(self) -> int:
        """How often tables, figures and pages are still to be made, the chain that has begun not counted."""
        if not self.kinds:
            return 0
        going = (*self.waiting, *(step for step, _ in self.running.values() if step.studied))
        return len({step.seed for step in going}) + (self._due() is not None)

    def ahead_s(self) -> float:
        """Seconds of work still to do, for one worker."""
        each = sum(self.costs.of_kind(kind) * count for kind, count in self.a_round.items())
        return sum(self.costs.of(step) for step in self._left()) + self._rounds() * each

    def _total(self) -> int:
        """Runs and tests of this start, done and to come."""
        return self.ran + sum(step.studied for step in self._left()) + len(self.failures)
