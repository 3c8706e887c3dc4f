"""What scripts/run_all.py does with a request: list, status, dry run, or the study itself."""

import shlex
from collections.abc import Sequence

from base.storage import ROOT, UserError
from configs.suite import Suite
from data.corpus import folder_name
from study import freshness, phases, progress, publish, run_card
from study import plan as pipeline
from study import request as studies
from study.freshness import Decision
from study.phases import Phase
from study.plan import Study, Task
from study.refresh import refresh_tasks, whole
from study.request import Request
from study.runner import Failure, Runner


def command(request: Request, *only: str) -> str:
    """The command line of a request, for other phases: what a user can paste."""
    words = ["./run.sh", "all"]
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
    if refresh_kinds(chosen) and not whole(plan, expected(plan, chosen, stale)):
        wanted = " and ".join(phase.name for phase in chosen if phase.name in ("figures", "report"))
        raise lacks(wanted, next(task for task in plan if task.name in stale and not task.of(names)))


def expected(plan: Sequence[Task], chosen: Sequence[Phase], stale: frozenset[str]) -> frozenset[str]:
    """Names of the tasks that are finished once those of the chosen phases are."""
    names = {phase.name for phase in chosen}
    return frozenset(task.name for task in plan if task.name not in stale or task.of(names))


def wanted_suites(request: Request, suites: Sequence[Suite]) -> list[Suite]:
    """The suites whose corpora are made where they are not there: those that the chosen phases train or test."""
    chosen = {phase.name for phase in phases.choose(request.only)}
    if "data" in chosen:
        return list(suites)
    return [
        suite
        for suite in suites
        if chosen & {phases.of_suite(suite.path).name, phases.of_tests(suite.path).name}
    ]


def prepare(request: Request, write: bool) -> tuple[Study, list[tuple[str, Decision, bool]]]:
    """The study, and what became of each corpus, and whether it is asked for. If `write`, those asked for are made."""
    suites = studies.load_suites(request)
    wanted = wanted_suites(request, suites)
    study, states, said = studies.find_corpora(request, suites, wanted if write else ())
    if not wanted and all(states.values()):
        name, state = next(iter(states.items()))
        raise UserError(f"corpus {name} is not ready ({state}); first run: {command(request, 'data')}")
    for line in said:
        print(f"note: {line}", flush=True)
    pairs = {(run.corpus, run.tokenizer) for suite in wanted for run in suite.conditions.values()}
    asked = {folder_name(study.corpora[pair][0], pair[1]) for pair in pairs}
    return study, [
        (f"data {name}", Decision(bool(state), state or "up to date"), name in asked)
        for name, state in states.items()
    ]


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
    lines = list(data)
    lines += [(task.name, decisions[task.name], task.of(names)) for task in plan]
    kinds = refresh_kinds(chosen)
    done = expected(plan, chosen, stale)
    known = all(task.key is not None for task in plan if task.name in done)
    for task in refresh_tasks(study, [task for task in plan if task.name in done], whole(plan, done)):
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
    done = [task for task in plan if task.name not in stale]
    refresh = refresh_tasks(study, done, whole(plan, {task.name for task in done}))
    judged = freshness.examine(study.out, refresh)
    fresh = {task.name for task in plan} - stale | {
        task.name for task in refresh if not judged[task.name].run
    }
    lines = [f"{name:<14} {decision.reason}" for name, decision, _ in data]
    lines.append(progress.status(study, plan, frozenset(fresh), refresh))
    process = studies.holder(request.out)
    if process is not None:
        lines.append(f"process {process} is at work in {request.out}")
    return "\n".join(lines)


def run(request: Request) -> int:
    """The study, or the phases asked for. Returns the exit status: 1 where a task failed."""
    suites = studies.load_suites(request)  # whatever can be found wrong is found before anything is written
    studies.check_memory(suites, request.jobs)
    if not wanted_suites(request, suites):
        prepare(request, write=False)
    with studies.locked(request.out):
        study, data = prepare(request, write=True)
        plan = pipeline.plan(study)
        decisions, forced, stale = judge(request, study, plan)
        chosen = phases.choose(request.only)
        require_inputs(request, chosen, plan, stale)
        names = {phase.name for phase in chosen}
        of_tasks = [(task.name, decisions[task.name], task.of(names)) for task in plan]
        for name, decision, asked in [*data, *of_tasks]:
            if decision.damaged and asked:
                print(f"note: {name} is made again, {decision.reason}", flush=True)
        due = [task for task in plan if task.name in stale and task.of(names)]
        studies.check_disk(study, due, request.jobs)
        costs = progress.Costs()
        costs.learn(study.out, [task for task in plan if task.name not in stale])
        kinds = refresh_kinds(chosen)
        jobs = request.jobs
        print(_opening(request, study, len(plan) - len(stale), due, kinds, costs), flush=True)
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
    request: Request,
    study: Study,
    fresh: int,
    due: Sequence[Task],
    kinds: Sequence[str],
    costs: progress.Costs,
) -> str:
    """What is about to happen, and how long it takes. fresh: how many tasks are up to date."""
    lines = [f"{study.warning}"] if study.warning else []
    for suite in wanted_suites(request, study.suites) or study.suites:
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
            f"up to date: {fresh}; about {progress.duration(seconds / request.jobs)} with {_count(request.jobs, 'worker')}{sure}"
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
        ROOT,
        ROOT / "figures",
        ROOT / "docs",
    ):
        raise UserError(f"--out {request.out} is where --publish writes; choose another folder")
