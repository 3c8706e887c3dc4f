"""What is made of finished runs, again and again as seeds complete: tables, claims, figures, pages.

What exists is found, not registered: every file of experiments/ that has an `EXPERIMENT`. A table is made from the runs of
a suite that are complete, and from other tables of it that it takes as arguments. A figure, a page and the claims read
what tables they like; which ones is recorded as they are made, and is what they hang on from then on.
"""

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base import code, known_code, storage
from base.storage import ROOT
from configs.suite import Suite
from experiments import found
from study import freshness, phases
from study.plan import Kind, Step, Study, key_of, tests_of, train_step, view_of
from study.steer_page import choice

if TYPE_CHECKING:
    from experiments.kit.experiment import Experiment, Table

CORE = "shakespeare"  # the suite whose questions are asked of a suite of the user's own, too
CLAIMS = phases.CLAIMS
MAKES_TABLES = (phases.FIGURES, phases.REPORT)

Whole = frozenset[tuple[str, int]]
"""Phases, suites and seeds of which nothing is still to come."""


@dataclass(frozen=True)
class Finished:
    """A finished run as the tables take it: its place in the study, its folder, and the folders of its tests, by kind."""

    suite: str
    condition: str
    seed: int
    key: str
    folder: Path
    probes: tuple[tuple[Kind, Path], ...] = ()

    def keys(self) -> dict[str, str]:
        """What a table made of it hangs on: its key, and its tests'."""
        place = f"{self.suite}/{self.condition}/seed-{self.seed}"
        tests = [
            (f"{kind} {place} ({number})", path.name) for number, (kind, path) in enumerate(self.probes, 1)
        ]
        return {f"train {place}": self.key, **dict(tests)}


def page_of(experiment: "Experiment") -> Path | None:
    """The template of an experiment, if it has a page."""
    path = ROOT / "experiments" / experiment.template
    return path if path.is_file() else None


def with_pages() -> "list[Experiment]":
    """The experiments that have a page, in the order of the study; the claims come last."""
    order = [path.stem for phase in phases.declared() for path in phase.suites] + [CLAIMS]
    known = [one for one in experiments().values() if one.suites[0] in order and page_of(one)]
    return sorted(known, key=lambda one: order.index(one.suites[0]))


@functools.cache
def experiments() -> Mapping[str, "Experiment"]:
    """Every experiment, by the module that declares it. Imports pandas and matplotlib."""
    return found()


def whole(plan: Sequence[Step], settled: Collection[str], awaited: Collection[int] = ()) -> Whole:
    """What of a plan the tables may hold: the seeds that are complete in a phase or suite, whatever the others lack.

    settled: names of steps that are finished, or that nothing more will come of. awaited: seeds that are still worked on.
    """
    parts = {(phase, step.seed): True for step in plan for phase in step.phases if step.seed not in awaited}
    for step in plan:
        if step.name not in settled:
            parts |= {(phase, step.seed): False for phase in step.phases}
    return frozenset(part for part, complete in parts.items() if complete)


def suites_of(study: Study, parts: Whole | None) -> list[Suite]:
    """The suites that have a complete seed; all for None."""
    return [
        suite
        for suite in study.suites
        if parts is None or any((suite.name, seed) in parts for seed in range(1, suite.seeds + 1))
    ]


def finished_runs(study: Study, done: Sequence[Step], parts: Whole | None = None) -> tuple[Finished, ...]:
    """The runs of a study among some finished steps, with their tests, in the order of suites and seeds.

    parts: the phases and seeds that are taken; None for all.
    """
    by_key = {step.key: step for step in done if step.key is not None}
    trained = {view: step for step in done for view in step.views}

    def train(suite: Suite, condition: str, seed: int) -> Step:
        view = view_of(study, suite, condition, seed)
        if view not in trained:
            trained[view] = train_step(study, suite, condition, seed)
        return trained[view]

    runs = []
    for suite in suites_of(study, parts):
        for seed in range(1, suite.seeds + 1):
            if parts is not None and (suite.name, seed) not in parts:
                continue
            tests = [test for test in tests_of(study, suite, seed, train) if test.step.key in by_key]
            for condition in suite.conditions:
                run = train(suite, condition, seed)
                if run.key is not None and run.key in by_key:
                    own = [test.step for test in tests if test.condition == condition]
                    probes = tuple((step.kind, step.destination) for step in own)
                    runs.append(Finished(suite.name, condition, seed, run.key, run.destination, probes))
    return tuple(runs)


def known_as(suite: Suite) -> str:
    """The suite whose questions are asked of a suite: itself, or CORE for one of the user's own."""
    return suite.name if phases.is_declared(suite.path) else CORE


def tables_of(suite: Suite) -> "list[Table]":
    """The tables that are made of a suite's runs, each after those that it is made from."""
    wanted = [table for experiment in experiments().values() for table in experiment.of(known_as(suite))]
    made: list[Table] = []
    while wanted:
        coming = {name for table in wanted for name in table.names}
        ready = [table for table in wanted if not coming & set(table.needs)]
        if not ready:
            raise ValueError(f"tables are made of one another: {', '.join(sorted(coming))}")
        made += ready
        wanted = [table for table in wanted if table not in ready]
    return made


def made_steps(study: Study, done: Sequence[Step], parts: Whole | None = None) -> list[Step]:
    """The steps that put finished work into tables, figures and pages, in an order in which they can run.

    done: what is finished. parts: the phases and seeds of it that are taken, None for all. A suite that has no complete
    seed is left as it is, and the claims are then not judged anew.
    """
    runs = finished_runs(study, done, parts)
    shown = suites_of(study, parts)
    steps: list[Step] = []
    of_table: dict[str, Step] = {}  # by suite and name of the table
    notes: dict[str, Mapping[str, str]] = {}
    for suite in shown:
        own = [run for run in runs if run.suite == suite.name]
        where = study.out / "tables" / suite.name
        keys = {name: key for run in own for name, key in run.keys().items()}
        for table in tables_of(suite):
            takes = [of_table[f"{suite.name}/{name}"] for name in table.needs]
            made_of = {
                "config": {"quick": suite.quick, "signatures": suite.signatures.model_dump(mode="json")},
                "code": known_code.of(_place(table)),
                "inputs": {**keys, **{step.name: step.key for step in takes}},
            }
            arguments = {"suite": suite, "runs": own, "table": table.names[0]}
            name = f"table {suite.name}/{table.names[0]}"
            waits = tuple(step.name for step in takes)
            steps.append(_step(study, "table", name, made_of, waits, where, arguments))
            of_table |= {f"{suite.name}/{each}": steps[-1] for each in table.names}
        notes[suite.name] = {
            "note": study.note(suite, len({run.seed for run in own})),
            "warning": study.warnings(suite),
        }
        steps.append(_note(study, suite.name, notes[suite.name]))
    return steps + _readers(study, shown, runs, steps, of_table, notes)


def _demo(
    study: Study,
    suite: Suite,
    runs: Sequence[Finished],
    below: str,
    warning: str,
    waits: tuple[str, ...],
    tables: Mapping[str, Step],
) -> list[Step]:
    """The step that makes a page of a suite's finished run, to be steered by hand in a browser; none where it has no such run."""
    found = [run for run in runs if run.suite == suite.name and run.condition == choice.CONDITION]
    if not found or choice.misfit(config := study.run(suite, choice.CONDITION, found[0].seed)):
        return []
    made_of = {
        "config": {"warning": warning},
        "code": {**known_code.of(code.Place("study.steer_page.make", "page")), **choice.files()},
        "data": {str(run.seed): run.key for run in found},
    }
    arguments = {
        **{"run": config, "folder": found[0].folder, "others": [run.folder for run in found[1:]]},
        **{"suite": suite.name, "below": below, "warning": warning},
    }
    name, where = f"demo {Path(below, choice.FILE).as_posix()}", study.out / "report"
    return [_step(study, "demo", name, made_of, waits, where, arguments, reads=tables)]


def _readers(
    study: Study,
    shown: Sequence[Suite],
    runs: Sequence[Finished],
    steps: Sequence[Step],
    of_table: Mapping[str, Step],
    notes: Mapping[str, Mapping[str, str]],
) -> list[Step]:
    """The steps that read tables as they like: the page to steer, the claims, which read those of all suites, figures and pages."""
    judged = study.claims and len(shown) == len(study.suites)
    tables, made, demos = dict(of_table), list[Step](), list[Step]()
    waits = tuple(step.name for step in steps)
    asked: list[
        tuple[str, Experiment, str, str, Mapping[str, str]]
    ] = []  # module, experiment, suite, folder, notes
    for suite in shown:
        own = of_suite(suite.name)
        asked += [
            (module, experiment, suite.name, below, notes[suite.name]) for module, experiment, below in own
        ]
        if known_as(suite) == CORE:
            demos += _demo(study, suite, runs, own[0][2], notes[suite.name]["warning"], waits, of_table)
    for module, experiment in experiments().items():
        if judged and experiment.suites == (CLAIMS,):
            note: Mapping[str, str] = {"note": study.warning, "warning": study.warning}
            asked.append((module, experiment, CLAIMS, "", note))
            for table in experiment.of(CLAIMS):
                made_of = {"config": {**note, **experiment.decides()}, "code": known_code.of(_place(table))}
                arguments = {"module": module, "table": table.names[0]}
                where, name = study.out / "tables" / CLAIMS, f"table {CLAIMS}/{table.names[0]}"
                step = _step(study, "table", name, made_of, waits, where, arguments, reads=of_table)
                made.append(step)
                tables |= {f"{CLAIMS}/{each}": step for each in table.names}
            made.append(_note(study, CLAIMS, note))
    waits = tuple(step.name for step in (*steps, *made))
    for module, experiment, suite_name, below, note in asked:
        declared = known_code.of(code.Place(module, "EXPERIMENT"))
        shared = {"module": module, "suite": suite_name, "below": below}
        for figure in experiment.figures:
            name = f"figure {Path(below, figure.name).as_posix()}"
            small = notes.get(figure.suite, note)["note"]
            made_of = {"config": {"note": small}, "code": declared}
            arguments = {**shared, "figure": figure.name, "note": small}
            made.append(
                _step(study, "figure", name, made_of, waits, study.out / "figures", arguments, reads=tables)
            )
        if templates := templates_of(module):
            words = {path.name: storage.sha256_file(path) for path in templates}
            made_of = {"config": {"warning": note["warning"]}, "code": {**declared, **words}}
            name = f"page {Path(below, experiment.page).as_posix()}"
            arguments = {**shared, "note": note["warning"]}
            made.append(
                _step(study, "page", name, made_of, waits, study.out / "report", arguments, reads=tables)
            )
    return made + demos


def of_suite(name: str) -> list[tuple[str, "Experiment", str]]:
    """The experiments whose figures and page are of a suite: their modules, and the folder below the shared ones they go to."""
    own = name not in phases.suite_names()
    return [
        (module, experiment, name if own else "")
        for module, experiment in experiments().items()
        if experiment.suites[0] == (CORE if own else name)
    ]


def templates_of(module: str) -> list[Path]:
    """What an experiment's page is written from: its template, what stands beside it in a folder of its own, the kit's
    macros. None where it has no page."""
    template = page_of(experiments()[module])
    if template is None:
        return []
    beside = sorted(template.parent.glob("*.md")) if template.parent.name != "experiments" else [template]
    return [*beside, ROOT / "experiments" / "kit" / "kit.md"]


def _place(table: "Table") -> code.Place:
    return code.Place(table.make.__module__, table.make.__qualname__)


def _note(study: Study, suite: str, note: Mapping[str, str]) -> Step:
    """What figures and pages of a suite say of it, left beside its tables."""
    return _step(study, "note", f"note {suite}", {"config": note}, (), study.out / "tables" / suite, note)


def _step(
    study: Study,
    kind: Kind,
    name: str,
    parts: Mapping[str, Any],
    inputs: tuple[str, ...],
    destination: Path,
    arguments: Mapping[str, Any],
    reads: Mapping[str, Step] | None = None,
) -> Step:
    """reads: the steps that make the tables it may read, by suite and name; its key then hangs on those it read last."""
    of_kind = {"figure": (phases.FIGURES,), "page": (phases.REPORT,), "demo": (phases.REPORT,)}
    known = None if reads is None else {place: (step.name, step.key) for place, step in reads.items()}
    key = key_of(parts) if known is None else None
    own = of_kind.get(kind, MAKES_TABLES)
    step = Step(kind, name, own, key, parts, inputs, destination, arguments, reads=known)
    return freshness.resolved(study.out, step)
