"""What scripts/run_all.py does with a request: list, status, dry run, or the study itself."""

import shlex
from collections.abc import Sequence

import config
import freshness
import phases
import pipeline
import progress
import publish
import run_card
import study as studies
from freshness import Decision
from phases import Phase
from pipeline import Study, Task
from refresh import refresh_tasks
from runner import Failure, Runner
from storage import UserError
from study import Request


def command(request: Request, *only: str) -> str:
    """The command line of a request, for other phases: what a user can paste."""
    words = ["python", "scripts/run_all.py"]
    words += ["--only", *only] if only else []
    words += ["--config", str(request.config)] if request.config else []
    words += ["--quick"] if request.quick else []
    words += ["--seeds", str(request.seeds)] if request.seeds else []
    words += (
        ["--out", str(request.out)] if str(request.out) != ("out/quick" if request.quick else "out") else []
    )
    for text in request.overrides:
        words += ["--set", text]
    return shlex.join(words)


def list_phases() -> str:
    """A line a phase: what it does, what it needs."""
    lines = []
    for phase in phases.PHASES:
        needs = f" (needs {', '.join(phase.needs)})" if phase.needs else ""
        lines.append(f"{phase.name:<12} {phase.doc}{needs}")
    return "\n".join(lines)


def refresh_kinds(chosen: Sequence[Phase]) -> tuple[str, ...]:
    """Which of tables, figures and report some phases make, in this order."""
    made = {kind for phase in chosen for kind in phase.makes}
    return tuple(kind for kind in ("tables", "figures", "report") if kind in made)


def require_inputs(
    request: Request, chosen: Sequence[Phase], plan: Sequence[Task], stale: frozenset[str]
) -> None:
    """UserError, with the command to run first, where chosen phases need what other phases have not made yet."""
    names = {phase.name for phase in chosen}
    tasks = {task.name: task for task in plan}

    def lacks(wanted: str, missing: Task) -> UserError:
        same = [task for task in plan if missing.phase in task.phases]
        done = sum(task.name not in stale for task in same)
        return UserError(
            f"{wanted} needs {missing.phase}, of which {done} of {len(same)} tasks are done; "
            f"first run: {command(request, missing.phase)}"
        )

    for task in plan:
        if task.of(names) and task.name in stale:
            for name in task.inputs:
                if name in stale and not tasks[name].of(names):
                    raise lacks(task.phase, tasks[name])
    if refresh_kinds(chosen):
        missing: dict[int, Task] = {}
        for task in plan:
            if task.name in stale and not task.of(names):
                missing.setdefault(task.seed, task)
        if all(task.seed in missing for task in plan):
            wanted = " and ".join(phase.name for phase in chosen if phase.name in ("figures", "report"))
            raise lacks(wanted, missing[plan[0].seed])


def prepare(request: Request, write: bool) -> tuple[Study, list[tuple[str, Decision]]]:
    """The study, its corpora ready if `write` and the data phase is asked for, and what became of each corpus."""
    suites = studies.load_suites(request)
    chosen = {phase.name for phase in phases.choose(request.only)}
    study, states, said = studies.find_corpora(request, suites, write and "data" in chosen)
    if "data" not in chosen:
        for name, state in states.items():
            if state:
                raise UserError(
                    f"corpus {name} is not ready ({state}); first run: {command(request, 'data')}"
                )
    for line in said:
        print(f"note: {line}", flush=True)
    decisions = [
        (f"data {name}", Decision(bool(state), state or "up to date")) for name, state in states.items()
    ]
    return study, decisions


def judge(
    request: Request, study: Study, plan: Sequence[Task]
) -> tuple[dict[str, Decision], frozenset[str], frozenset[str]]:
    """What is up to date of a plan: each task's decision, the forced phases, and the names of stale tasks."""
    chosen = phases.choose(request.only)
    forced = frozenset(phase.name for phase in chosen) if request.force else frozenset()
    decisions = freshness.examine(study.out, plan, forced)
    stale = frozenset(name for name, decision in decisions.items() if decision.run)
    return decisions, forced, stale


def dry_run(request: Request) -> str:
    """Each task with run or skip and why. Writes nothing."""
    study, data = prepare(request, write=False)
    plan = pipeline.plan(study)
    decisions, forced, stale = judge(request, study, plan)
    chosen = phases.choose(request.only)
    require_inputs(request, chosen, plan, stale)
    names = {phase.name for phase in chosen}
    lines = [(name, decision, "data" in names) for name, decision in data]
    lines += [(task.name, decisions[task.name], task.of(names)) for task in plan]
    known = all(task.key is not None for task in plan)
    kinds = refresh_kinds(chosen)
    expected = [task for task in plan if task.name not in stale or task.of(names)]
    for task in refresh_tasks(study, expected):
        decision = freshness.examine(study.out, [task], forced)[task.name]
        lines.append((task.name, decision if known else Decision(True, "waits for data"), task.kind in kinds))
    return "\n".join(_line(*line) for line in lines)


def _line(name: str, decision: Decision, chosen: bool) -> str:
    if decision.run and not chosen:
        return f"skip  {name}: not asked for ({decision.reason})"
    return f"{'run ' if decision.run else 'skip'}  {name}: {decision.reason}"


def status(request: Request) -> str:
    """How far the study is. Writes nothing."""
    study, data = prepare(request, write=False)
    plan = pipeline.plan(study)
    _, _, stale = judge(request, study, plan)
    refresh = refresh_tasks(study, [task for task in plan if task.name not in stale])
    judged = freshness.examine(study.out, refresh)
    fresh = {task.name for task in plan} - stale | {
        task.name for task in refresh if not judged[task.name].run
    }
    lines = [f"{name:<14} {decision.reason}" for name, decision in data]
    lines.append(progress.status(study, plan, frozenset(fresh), refresh))
    process = studies.holder(request.out)
    if process is not None:
        lines.append(f"process {process} is at work in {request.out}")
    return "\n".join(lines)


def run(request: Request) -> int:
    """The study, or the phases asked for. Returns the exit status: 1 where a task failed."""
    suites = studies.load_suites(request)  # whatever can be found wrong is found before anything is written
    studies.check_memory(suites, request.jobs)
    if "data" not in {phase.name for phase in phases.choose(request.only)}:
        prepare(request, write=False)
    with studies.locked(request.out):
        study, data = prepare(request, write=True)
        plan = pipeline.plan(study)
        decisions, forced, stale = judge(request, study, plan)
        chosen = phases.choose(request.only)
        require_inputs(request, chosen, plan, stale)
        names = {phase.name for phase in chosen}
        of_tasks = [(task.name, decisions[task.name]) for task in plan if task.of(names)]
        for name, decision in [*data, *of_tasks]:
            if decision.damaged:
                print(f"note: {name} is made again, {decision.reason}", flush=True)
        due = [task for task in plan if task.name in stale and task.of(names)]
        studies.check_disk(study, due, request.jobs)
        costs = progress.Costs()
        costs.learn(study.out, [task for task in plan if task.name not in stale])
        kinds = refresh_kinds(chosen)
        jobs = request.jobs
        print(_opening(study, plan, due, kinds, costs, jobs), flush=True)
        runner = Runner(study, plan, stale, frozenset(task.name for task in due), kinds, jobs, costs, forced)
        failures = runner.run()
        if failures:
            print(_closing(request, failures, runner.skipped), flush=True)
            return 1
        if not runner.ran:
            print("nothing to run: all is up to date")
        if kinds:
            _keep_card(study, list(runner.done.values()), runner.ran > 0)
        complete = all(task.name in runner.done for task in plan)
        wanted = all(name == used for (name, _), (used, _) in study.corpora.items())
        if request.publish or (request.is_default and complete and wanted):
            changed = publish.publish(study.out)
            if changed:
                print(f"published {len(changed)} files to figures/ and docs/results/")
        if runner.ran and kinds:
            print(f"results: {study.out / 'report'}, {study.out / 'figures'}, {study.out / 'tables'}")
    return 0


def _keep_card(study: Study, done: Sequence[Task], anew: bool) -> None:
    """Write the run card, where something was made or the card is not whole: a kill may have come before it."""
    wrong = run_card.damage(study, done)
    if wrong:
        print(f"note: the run card is made again, not whole: {wrong}", flush=True)
    if anew or wrong is not None:
        run_card.write(study, done)


def _opening(
    study: Study,
    plan: Sequence[Task],
    due: Sequence[Task],
    kinds: Sequence[str],
    costs: progress.Costs,
    jobs: int,
) -> str:
    """What is about to happen, and how long it takes."""
    lines = [f"{study.warning}"] if study.warning else []
    for suite in study.suites:
        size = f"{_count(len(suite.conditions), 'condition')} x {_count(suite.seeds, 'seed')}"
        lines.append(f"suite {suite.name}: {size}, in {study.out}")
    if due:
        seconds = sum(costs.of(task) for task in due)
        seconds += progress.REFRESH_S * len(kinds) * len({task.seed for task in due})
        sure = "" if costs.known(due) else ", a first guess"
        trained = sum(task.kind == "train" for task in due)
        after = f"; as each seed completes: {', '.join(kinds)}" if kinds else ""
        lines.append(
            f"to run: {_count(trained, 'run')}, {_count(len(due) - trained, 'test')} of finished runs{after}; "
            f"up to date: {len(plan) - len(due)}; about {progress.duration(seconds / jobs)} with {_count(jobs, 'worker')}{sure}"
        )
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _closing(request: Request, failures: Sequence[Failure], skipped: Sequence[Task]) -> str:
    """A table of what failed, and how to go on."""
    width = max(len(failure.task.name) for failure in failures)
    lines = [f"{len(failures)} failed, {len(skipped)} skipped because of that; all else is done and kept:"]
    for failure in failures:
        lines.append(f"  {failure.task.name:<{width}}  {failure.error}")
        lines.append(f"  {'':<{width}}  log: {failure.log}")
    lines += [f"  {task.name:<{width}}  skipped" for task in skipped]
    lines.append(f"to try these again, and nothing else: {command(request, *request.only)}")
    return "\n".join(lines)


def check(request: Request) -> None:
    """UserError for a request that can't be meant."""
    phases.choose(request.only)
    if request.publish and request.out.resolve() in (
        config.ROOT,
        config.ROOT / "figures",
        config.ROOT / "docs",
    ):
        raise UserError(f"--out {request.out} is where --publish writes; choose another folder")
