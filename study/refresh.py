"""What is made of finished work, again and again as seeds complete: tables, claims, figures, pages."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base import code as code_files
from base import storage
from base.storage import ROOT
from configs.suite import Suite
from study import phases
from study.phases import Kind
from study.plan import Study, Task, task_key, tests_of, train_task

CLAIMS = "claims"  # the suite that has no runs: its tables say what the others' come to
REGISTER = "docs/results/claims.json"


@dataclass(frozen=True)
class Finished:
    """One run as the tables take it: its place in the study, its folder, the frozen tests made of it, by step, and the
    belief test."""

    suite: str
    condition: str
    seed: int
    key: str
    folder: Path
    frozen: tuple[tuple[int, Path], ...] = ()
    belief: Path | None = None


Whole = frozenset[tuple[str, int]]
"""Phases and seeds of which nothing is still to come."""


def whole(plan: Sequence[Task], settled: Collection[str], awaited: Collection[int] = ()) -> Whole:
    """What of a plan the tables may hold: the seeds that are complete in a phase, whatever the other phases lack.

    settled: names of tasks that are finished, or that nothing more will come of. awaited: seeds that are still worked on.
    """
    parts = {(phase, task.seed): True for task in plan for phase in task.phases if task.seed not in awaited}
    for task in plan:
        if task.name not in settled:
            parts |= {(phase, task.seed): False for phase in task.phases}
    return frozenset(part for part, complete in parts.items() if complete)


def suites_of(study: Study, parts: Whole | None) -> list[Suite]:
    """The suites that have a complete seed; all for None."""
    return [
        suite
        for suite in study.suites
        if parts is None
        or any((phases.of_suite(suite.path).name, seed) in parts for seed in range(1, suite.seeds + 1))
    ]


def finished_runs(study: Study, done: Sequence[Task], parts: Whole | None = None) -> tuple[Finished, ...]:
    """The runs of a study among some finished tasks, with their tests, in the order of suites and seeds.

    parts: the phases and seeds that are taken; None for all.
    """
    by_key: dict[str | None, Task] = {task.key: task for task in done if task.key is not None}
    trained: dict[tuple[str, str, int], Task] = {}  # a run is asked for by each of its tests

    def train(suite: Suite, condition: str, seed: int) -> Task:
        asked = (suite.name, condition, seed)
        if asked not in trained:
            task = train_task(study, suite, condition, seed)
            trained[asked] = by_key.get(task.key, task)
        return trained[asked]

    runs = []
    for suite in suites_of(study, parts):
        trains, tests_in = phases.of_suite(suite.path).name, phases.of_tests(suite.path).name
        for seed in range(1, suite.seeds + 1):
            if parts is not None and (trains, seed) not in parts:
                continue
            tested = parts is None or (tests_in, seed) in parts
            tests = list(tests_of(study, suite, seed, train)) if tested else []
            tests = [test for test in tests if test.task.key in by_key]
            for condition in suite.conditions:
                run = train(suite, condition, seed)
                if run.key is None or run.key not in by_key:
                    continue
                own = [test for test in tests if test.condition == condition]
                frozen = tuple(
                    (test.step, test.task.destination) for test in own if test.task.kind == "frozen"
                )
                belief = next((test.task.destination for test in own if test.task.kind == "belief"), None)
                where = (suite.name, condition, seed, run.key, run.destination)
                runs.append(Finished(*where, frozen, belief))
    return tuple(runs)


def refresh_tasks(study: Study, done: Sequence[Task], parts: Whole | None = None) -> list[Task]:
    """The tasks that put finished work into tables, figures and pages, in order: first all tables, a task a suite, then
    the claims, which read them all, then figures and pages of each.

    done: what is finished. parts: the phases and seeds of it that are taken, None for all. A suite that has no complete
    seed is left as it is, and the claims are then not judged anew.
    """
    runs = finished_runs(study, done, parts)
    shown = suites_of(study, parts)
    made = []
    notes = {}
    for suite in shown:
        own = [run for run in runs if run.suite == suite.name]
        notes[suite.name] = study.note(suite, len({run.seed for run in own}))
        tests = {
            f"frozen {run.condition}/seed-{run.seed}/step-{step}": str(path.name)
            for run in own
            for step, path in run.frozen
        } | {f"belief {run.condition}/seed-{run.seed}": run.belief.name for run in own if run.belief}
        made_of = {
            "config": {suite.name: _of_tables(suite)},
            "note": notes[suite.name],
            "code": code_files.of("tables"),
            "inputs": {
                **{f"train {run.suite}/{run.condition}/seed-{run.seed}": run.key for run in own},
                **tests,
            },
        }
        arguments = {"suite": suite, "runs": own, "note": notes[suite.name], "warning": study.warnings(suite)}
        made.append(_refresh_task(study, "tables", suite.name, made_of, (), arguments))
    inputs = {task.name: task.key for task in made}
    names = tuple(task.name for task in made)
    warnings = {suite.name: study.warnings(suite) for suite in shown}
    if study.claims and len(shown) == len(study.suites):
        notes[CLAIMS] = warnings[CLAIMS] = study.warning
        made_of = {
            "config": _claims_parts(),
            "note": study.warning,
            "code": code_files.of("tables"),
            "inputs": inputs,
        }
        arguments = {"note": study.warning, "warning": study.warning}
        made.append(_refresh_task(study, "tables", CLAIMS, made_of, names, arguments))
        inputs, names = {**inputs, made[-1].name: made[-1].key}, (*names, made[-1].name)
    texts: tuple[tuple[Kind, dict[str, str]], ...] = (("figures", notes), ("report", warnings))
    for kind, text in texts:
        for name, note in text.items():
            read = {name, *phases.READS_TOO.get(name, ())} if kind == "figures" else set(text)
            reads = {task: key for task, key in inputs.items() if task.removeprefix("tables ") in read}
            made_of = {"note": note, "code": code_files.of(kind), "inputs": reads}
            made.append(_refresh_task(study, kind, name, made_of, tuple(reads), {"notes": {name: note}}))
    return made


def _claims_parts() -> dict[str, Any]:
    """What of the claims their judgement depends on: the file, and how each claim stands to what was registered.

    Not the register itself, which publishing brings up to date.
    """
    from analysis import claim_file  # by a study that has claims alone

    register = claim_file.read_register(ROOT / REGISTER)
    claims = claim_file.load()
    return {
        "claims": storage.sha256_file(claim_file.FILE),
        "marks": claim_file.marks(claims, register),
        "removed": claim_file.removed(claims, register),
    }


def _refresh_task(
    study: Study,
    kind: Kind,
    name: str,
    parts: dict[str, Any],
    inputs: tuple[str, ...],
    arguments: Mapping[str, Any],
) -> Task:
    """Tables have a folder a suite; figures and pages of all suites share one."""
    folder = study.out / kind / name if kind == "tables" else study.out / kind
    phase = "report" if kind == "report" else "figures"
    return Task(kind, f"{kind} {name}", (phase,), task_key(parts), parts, inputs, folder, arguments)


def _of_tables(suite: Suite) -> dict[str, Any]:
    """What of a suite, besides its runs, the tables depend on."""
    return {"quick": suite.quick, "signatures": suite.signatures.model_dump(mode="json")}
