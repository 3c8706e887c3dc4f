"""What scripts/run_all.py says of a study without doing anything: its parts, what would run and why, how far it is."""

from collections import Counter
from collections.abc import Sequence

from configs import size
from experiments.kit.words import plural
from study import book, freshness, phases, progress, session
from study import plan as plans
from study import request as studies
from study.book import made_steps, whole
from study.freshness import Decision
from study.request import Request


def list_phases() -> str:
    """A line a phase, then a line an experiment: what it asks, of which suites."""
    lines = [
        f"{phase.name:<14} {phase.does}{' (optional)' if phase.optional else ''}"
        for phase in phases.declared()
    ]
    lines += ["", "experiments, each a file in experiments/:"]
    for module, experiment in book.experiments().items():
        name = module.removeprefix("experiments.")
        lines.append(f"{name:<18} {experiment.title} [{', '.join(experiment.suites)}]")
    return "\n".join(lines)


def dry_run(request: Request, every: bool = True) -> str:
    """What would run and why, and how long it would take: each step, or a line for all of a kind and suite; of a suite that
    was asked for alone, what its runs take. Writes nothing."""
    study, data = session.prepare(request, write=False)
    plan = plans.plan(study)
    decisions, forced, stale = session.judge(request, study, plan)
    chosen = session.chosen_phases(request, study.suites)
    session.require_inputs(request, chosen, plan, stale)
    lines = list(data)
    lines += [(step.name, decisions[step.name], step.of(chosen)) for step in plan]
    kinds = session.made_kinds(chosen)
    done = session.expected(plan, chosen, stale)
    known = all(step.key is not None for step in plan if step.name in done)
    made = made_steps(study, [step for step in plan if step.name in done], whole(plan, done))
    decisions = freshness.examine(study.out, made, forced)
    waits = Decision(True, "waits for data")
    lines += [(step.name, decisions[step.name] if known else waits, step.kind in kinds) for step in made]
    if every:
        return "\n".join(_line(*line) for line in lines)
    costs = progress.Costs()
    costs.learn(study.out, [step for step in plan if step.name not in stale])
    due = [step for step in plan if step.name in stale and step.of(chosen)]
    took = progress.duration(sum(map(costs.of, due)) / request.jobs) if due else ""
    sure = "" if costs.known(due) else ", a first guess"
    told = [
        f"about {took} with {plural(request.jobs, 'worker')}{sure}, and tables, figures and pages on top"
    ] * bool(due)
    sizes = size.costs(study.suites[0]) if request.config else []
    warned = [study.warning] if study.warning else []
    return "\n".join([*warned, *_summed(lines), *sizes, *told, "-v lists every step, and why it would run"])


def _summed(lines: Sequence[tuple[str, Decision, bool]]) -> list[str]:
    """A line for each kind of step and suite: how many would run and how many not, and the commonest reason."""
    groups: dict[str, list[tuple[Decision, bool]]] = {}
    for name, decision, asked in lines:
        kind, _, rest = name.partition(" ")
        of_suite = "" if kind in ("figure", "page", "demo", "note") else f" {rest.partition('/')[0]}"
        groups.setdefault(f"{kind}{of_suite}", []).append((decision, asked))
    told = []
    for group, found in groups.items():
        run = Counter(decision.reason for decision, asked in found if decision.run and asked)
        other = Counter(
            "not asked for" if decision.run else "up to date"
            for decision, asked in found
            if not (decision.run and asked)
        )
        parts = [f"{run.total()} to run ({run.most_common(1)[0][0]})"] if run else []
        parts += [f"{count} {reason}" for reason, count in other.items()]
        told.append(f"{group:<24} {', '.join(parts)}")
    return told


def _line(name: str, decision: Decision, chosen: bool) -> str:
    if decision.run and not chosen:
        return f"skip  {name}: not asked for ({decision.reason})"
    return f"{'run ' if decision.run else 'skip'}  {name}: {decision.reason}"


def status(request: Request) -> str:
    """How far the study is. Writes nothing."""
    study, data = session.prepare(request, write=False)
    plan = plans.plan(study)
    _, _, stale = session.judge(request, study, plan)
    done = [step for step in plan if step.name not in stale]
    made = made_steps(study, done, whole(plan, {step.name for step in done}))
    judged = freshness.examine(study.out, made)
    fresh = {step.name for step in plan} - stale | {step.name for step in made if not judged[step.name].run}
    lines = [f"{name:<14} {decision.reason}" for name, decision, _ in data]
    lines.append(progress.status(study, plan, frozenset(fresh), made))
    process = studies.holder(request.out)
    if process is not None:
        lines.append(f"process {process} is at work in {request.out}")
    return "\n".join(lines)
