"""What scripts/run_all.py does with a request: the study, or the parts of it that were asked for."""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from base.storage import ROOT, UserError
from configs.suite import Suite
from data.corpus import folder_name
from experiments.kit.words import plural
from study import book, freshness, making, phases, progress, publish, run_card
from study import plan as plans
from study import request as studies
from study.book import whole
from study.freshness import Decision
from study.plan import Kind, Step, Study
from study.request import Request
from study.runner import Failure, Runner

COMMITTED = "docs/results/tables"


def command(request: Request, *only: str) -> str:
    """The command line of a request, for other phases: what a user can paste."""
    words = ["./run.sh", "all"]
    words += ["--only", *only] if only else []
    words += ["--condition", *request.conditions] if request.conditions else []
    words += ["--config", str(request.config)] if request.config else []
    words += ["--quick"] if request.quick else []
    words += ["--seeds", str(request.seeds)] if request.seeds else []
    words += (
        ["--out", str(request.out)] if str(request.out) != ("out/quick" if request.quick else "out") else []
    )
    words += ["--scheduler", request.scheduler] if request.scheduler else []
    for text in request.overrides:
        words += ["--set", text]
    return shlex.join(words)


def made_kinds(chosen: Collection[str]) -> frozenset[Kind]:
    """What of finished runs some phases make."""
    figures: set[Kind] = {"note", "table", "figure"} if phases.FIGURES in chosen else set()
    pages: set[Kind] = {"note", "table", "page", "demo"} if phases.REPORT in chosen else set()
    return frozenset(figures | pages)


def require_inputs(
    request: Request, chosen: Collection[str], plan: Sequence[Step], stale: frozenset[str]
) -> None:
    """UserError, with the command to run first, where chosen phases need what other phases have not made yet."""
    steps = {step.name: step for step in plan}

    def lacks(wanted: str, missing: Step) -> UserError:
        same = [step for step in plan if missing.phase in step.phases]
        done = sum(step.name not in stale for step in same)
        return UserError(
            f"{wanted} needs {missing.phase}, of which {done} of {len(same)} steps are done; "
            f"first run: {command(request, missing.phase)}"
        )

    for step in plan:
        if step.of(chosen) and step.name in stale:
            for name in step.inputs:
                if name in stale and not steps[name].of(chosen):
                    raise lacks(step.phase, steps[name])
    if made_kinds(chosen) and not whole(plan, expected(plan, chosen, stale)):
        wanted = " and ".join(phase for phase in (phases.FIGURES, phases.REPORT) if phase in chosen)
        raise lacks(wanted, next(step for step in plan if step.name in stale and not step.of(chosen)))


def expected(plan: Sequence[Step], chosen: Collection[str], stale: frozenset[str]) -> frozenset[str]:
    """Names of the steps that are finished once those of the chosen phases are."""
    return frozenset(step.name for step in plan if step.name not in stale or step.of(chosen))


def chosen_phases(request: Request, suites: Sequence[Suite]) -> frozenset[str]:
    """The phases that a request asks for. ConfigError for an unknown one."""
    return phases.choose(
        request.only, suites[0].name if request.config and not is_declared(request) else None
    )


def is_declared(request: Request) -> bool:
    """Whether the suite that a request names is one of the study's own."""
    return request.config is None or phases.is_declared(request.config)


def wanted_suites(request: Request, suites: Sequence[Suite]) -> list[Suite]:
    """The suites whose corpora are made where they are not there: those that the chosen phases train or test."""
    chosen = chosen_phases(request, suites)
    asked = [suite for suite in suites if phases.asked(suite.path, suite.name, chosen)]
    return list(suites) if phases.DATA in chosen and not asked else asked


def prepare(request: Request, write: bool) -> tuple[Study, list[tuple[str, Decision, bool]]]:
    """The study, and what became of each corpus, and whether it is asked for. If `write`, those asked for are made."""
    suites = studies.load_suites(request)
    wanted = wanted_suites(request, suites)
    study, states, said = studies.find_corpora(request, suites, wanted if write else ())
    if not wanted and states and all(states.values()):
        name, state = next(iter(states.items()))
        raise UserError(f"corpus {name} is not ready ({state}); first run: {command(request, 'data')}")
    for line in [*said, *studies.levelled(request, suites)]:
        print(f"note: {line}", flush=True)
    asked = {folder_name(study.corpora[pair][0], pair[1]) for pair in plans.texts(wanted)}
    return study, [
        (f"data {name}", Decision(bool(state), state or "up to date"), name in asked)
        for name, state in states.items()
    ]


def judge(
    request: Request, study: Study, plan: Sequence[Step]
) -> tuple[dict[str, Decision], frozenset[str], frozenset[str]]:
    """What is up to date of a plan: each step's decision, the forced phases, and the names of stale steps."""
    forced = chosen_phases(request, study.suites) if request.force else frozenset()
    decisions = freshness.examine(study.out, plan, forced)
    stale = frozenset(name for name, decision in decisions.items() if decision.run)
    return decisions, forced, stale


def from_committed(request: Request) -> bool:
    """Whether figures or pages alone are asked for where no study is: those are made of the committed tables."""
    if request.config or request.overrides or request.conditions or request.quick or request.seeds:
        return False
    chosen = frozenset(request.only) & phases.choose(request.only)
    made = bool(chosen) and chosen <= {phases.FIGURES, phases.REPORT}
    return made and not any(request.out.glob("runs/*"))


def draw_committed(request: Request) -> int:
    """Figures and pages of the committed tables, into an output folder without a study."""
    from experiments.kit.tables import suites

    print(
        f"{request.out} has no runs; what was asked for is made of the committed tables, {COMMITTED}",
        flush=True,
    )
    figures, pages = (name in request.only for name in (phases.FIGURES, phases.REPORT))
    with studies.locked(request.out):
        for suite in suites(ROOT / COMMITTED):
            making.made_again(ROOT / COMMITTED, request.out, suite, None, figures, pages)
    print(f"results: {' and '.join(str(request.out / name) for name in request.only)}")
    return 0


def run(request: Request) -> int:
    """The study, or the phases asked for. Returns the exit status: 1 where a step failed."""
    if from_committed(request):
        return draw_committed(request)
    suites = studies.load_suites(request)  # whatever can be found wrong is found before anything is written
    if request.scheduler is None:
        studies.check_memory(suites, request.jobs)
        return _run(request, suites)
    from study.cluster import Cluster

    with Cluster(request.scheduler, request.jobs) as cluster:
        return _run(
            replace(request, jobs=cluster.jobs), suites, executor=lambda _: cluster, here=cluster.here
        )


def _run(request: Request, suites: Sequence[Suite], **elsewhere: Any) -> int:
    """See `run`. elsewhere: what `Runner` is told where runs and tests are not done here."""
    if not wanted_suites(request, suites):
        prepare(request, write=False)
    with studies.locked(request.out):
        study, data = prepare(request, write=True)
        plan = plans.plan(study)
        decisions, forced, stale = judge(request, study, plan)
        chosen = chosen_phases(request, study.suites)
        require_inputs(request, chosen, plan, stale)
        of_steps = [(step.name, decisions[step.name], step.of(chosen)) for step in plan]
        for name, decision, asked in [*data, *of_steps]:
            if decision.damaged and asked:
                print(f"note: {name} is made again, {decision.reason}", flush=True)
        due = [step for step in plan if step.name in stale and step.of(chosen)]
        studies.check_disk(study, due, request.jobs if request.scheduler is None else 0)
        costs = progress.Costs()
        costs.learn(study.out, [step for step in plan if step.name not in stale])
        kinds = made_kinds(chosen)
        names = frozenset(step.name for step in due)
        runner = Runner(
            study,
            plan,
            stale,
            names,
            kinds,
            request.jobs,
            costs,
            forced,
            verbose=request.verbose,
            **elsewhere,
        )
        print(_opening(request, study, len(plan) - len(stale), due, runner), flush=True)
        failures = runner.run()
        if failures:
            print(_closing(request, failures, runner.skipped), flush=True)
            return 1
        if not runner.made_any:
            print("nothing to run: all is up to date")
        if kinds:
            _keep_card(study, list(runner.done.values()), runner.made_any)
        complete = all(step.name in runner.done for step in plan)
        wanted = all(name == used for (name, _), (used, _) in study.corpora.items())
        if request.publish or (request.is_default and complete and wanted):
            changed = publish.publish(study.out)
            if changed:
                print(f"published {len(changed)} files to figures/ and docs/results/")
        if runner.made_any and kinds:
            print(_found(study, wanted_suites(request, study.suites)))
    return 0


def _keep_card(study: Study, done: Sequence[Step], anew: bool) -> None:
    """Write the run card, where something was made or the card is not whole: a kill may have come before it."""
    wrong = run_card.damage(study, done)
    if wrong:
        print(f"note: the run card is made again, not whole: {wrong}", flush=True)
    if anew or wrong is not None:
        run_card.write(study, done)


def _opening(request: Request, study: Study, fresh: int, due: Sequence[Step], runner: Runner) -> str:
    """What is about to happen, and how long it takes. fresh: how many runs and tests are up to date."""
    lines = [f"{study.warning}"] if study.warning else []
    for suite in wanted_suites(request, study.suites) or study.suites:
        size = f"{plural(len(suite.conditions), 'condition')} x {plural(suite.seeds, 'seed')}"
        lines.append(f"suite {suite.name}: {size}, in {study.out}")
    if due:
        sure = "" if runner.costs.known(due) else ", a first guess"
        trained = sum(step.kind == "train" for step in due)
        after = "; as each seed completes: tables, figures, pages" if runner.kinds else ""
        lines.append(
            f"to run: {plural(trained, 'run')}, {plural(len(due) - trained, 'test')} of finished runs{after}; "
            f"up to date: {fresh}; about {progress.duration(runner.ahead_s() / request.jobs)} with "
            f"{plural(request.jobs, 'worker')}{sure}"
        )
    return "\n".join(lines)


def _found(study: Study, suites: Sequence[Suite]) -> str:
    """Three lines at most: what the first pages of some suites say first, and what to open."""
    from study import documents  # loads pandas

    told = [one[1:] for suite in suites or study.suites for one in book.of_suite(suite.name)]
    lines = []
    for path in dict.fromkeys(study.out / "report" / below / experiment.page for experiment, below in told):
        said = documents.opening(path.read_text(encoding="utf-8")) if path.is_file() else ""
        lines += [f"found: {said} ({path})"] if said else []
    places = (study.out / name for name in ("report", "figures", "tables"))
    return "\n".join([*lines[:2], f"open: {', '.join(map(str, places))}"])


def _closing(request: Request, failures: Sequence[Failure], skipped: Sequence[Step]) -> str:
    """A table of what failed, and how to go on."""
    width = max(len(failure.step.name) for failure in failures)
    lines = [f"{len(failures)} failed, {len(skipped)} skipped because of that; all else is done and kept:"]
    for failure in failures:
        lines.append(f"  {failure.step.name:<{width}}  {failure.error}")
        lines.append(f"  {'':<{width}}  log: {failure.log}")
    lines += [f"  {step.name:<{width}}  skipped" for step in skipped]
    lines.append(f"to try these again, and nothing else: {command(request, *request.only)}")
    return "\n".join(lines)


def check(request: Request) -> None:
    """UserError for a request that can't be meant."""
    if request.config is None:
        phases.choose(request.only)
    if request.publish and not is_declared(request):
        raise UserError(
            f"--publish is of the study's own suites; what {request.config} makes stays in {request.out}"
        )
    if request.publish and request.out.resolve() in (
        ROOT,
        ROOT / "figures",
        ROOT / "docs",
    ):
        raise UserError(f"--out {request.out} is where --publish writes; choose another folder")
