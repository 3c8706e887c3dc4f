"""The study as tasks: what they are made from, and what they wait for.

A task's key is the hash of its resolved config, the code it runs, its data and the keys of its inputs. A task whose
result is whole and carries this key is left alone; anything else runs. `plan` lists the tasks, freshness.py decides
which have to run, runner.py sees to it, work.py is what a worker does. Nothing here imports torch or pandas, so that a
study with nothing to do says so at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import code_files
import config
import phases
import run_folder
import storage
from phases import Kind

REFRESH: tuple[Kind, ...] = ("tables", "figures", "report")  # made again, in this order, as seeds complete


@dataclass(frozen=True)
class Task:
    """One thing to make.

    key: None while the corpus is not prepared, whose hash is part of it. parts: what the key was made of, by name.
    inputs: names of the tasks it waits for. destination: the folder it makes or fills. arguments: what its worker
    function takes. views: links to the destination. phase: the phase it belongs to. work: how much there is to do, in
    GFLOP for training and tests, else 1.
    """

    kind: Kind
    name: str
    phase: str
    key: str | None
    parts: Mapping[str, Any]
    inputs: tuple[str, ...]
    destination: Path
    arguments: Mapping[str, Any] = field(default_factory=dict)
    views: tuple[Path, ...] = ()
    seed: int = 0
    work: float = 1.0

    @property
    def slug(self) -> str:
        """The name as a file name."""
        return self.name.replace("/", "-").replace(" ", "-")


@dataclass(frozen=True)
class Study:
    """What one command line asks for.

    corpora: the corpus that stands in for each that a config names, and the hash of its tokens, None where it is not
    prepared. warning: what every page and figure must say first, for example that the study is a quick one.
    """

    out: Path
    suites: tuple[config.Suite, ...]
    corpora: Mapping[str, tuple[str, str | None]]
    warning: str = ""

    def run(self, suite: config.Suite, condition: str, seed: int) -> config.RunConfig:
        """The config of a run, on the corpus that is there."""
        run = suite.run(condition, seed)
        return run.model_copy(update={"corpus": self.corpora[run.corpus][0]})

    def note(self, seeds: int) -> str:
        """The small print of figures: the warning, the corpora, the number of seeds."""
        names = ", ".join(sorted({name for name, _ in self.corpora.values()}))
        small = f"Corpus: {names}; {seeds} {'seed' if seeds == 1 else 'seeds'}."
        return f"{self.warning} {small}".strip()


@dataclass(frozen=True)
class Finished:
    """One run as the tables take it: its place in the study, its folder, and the frozen tests made of it, by step."""

    suite: str
    condition: str
    seed: int
    key: str
    folder: Path
    frozen: tuple[tuple[int, Path], ...] = ()


def plan(study: Study) -> list[Task]:
    """Training and frozen tests, seed by seed: all runs of the first seed, their tests, then the next seed.

    Tasks of equal keys are one task: a run that two conditions share is trained once, and seen from both.
    """
    tasks: dict[str, Task] = {}  # by key; by name while the key is not known

    def add(task: Task) -> Task:
        place = task.key or task.name
        first = tasks.get(place)
        if first is not None:
            task = replace(first, views=(*first.views, *task.views))
        tasks[place] = task
        return task

    for seed in range(1, max(suite.seeds for suite in study.suites) + 1):
        suites = [suite for suite in study.suites if seed <= suite.seeds]
        trained = {
            (suite.name, condition): add(_train_task(study, suite, condition, seed))
            for suite in suites
            for condition in suite.conditions
        }
        for suite in suites:
            for condition in suite.frozen_test.conditions:
                for step in suite.frozen_test.steps:
                    add(_frozen_task(study, suite, condition, seed, step, trained[suite.name, condition]))
    return list(tasks.values())


def _train_task(study: Study, suite: config.Suite, condition: str, seed: int) -> Task:
    run = study.run(suite, condition, seed)
    tokens = study.corpora[suite.conditions[condition].corpus][1]
    settings = run.model_dump(mode="json")
    key = run_folder.run_key(run, tokens) if tokens is not None else None
    name = f"{suite.name}/{condition}/seed-{seed}"
    return Task(
        kind="train",
        name=f"train {name}",
        phase=phases.of_suite(suite.path).name,
        key=key,
        parts={"config": settings, "code": run_folder.code_hash() if key else None, "data": tokens},
        inputs=(),
        destination=run_folder.folder_of(study.out / "runs", key or "not known yet"),
        arguments={"run": run},
        views=(study.out / suite.name / condition / f"seed-{seed}",),
        seed=seed,
        work=run.train.steps * step_gflop(run),
    )


def _frozen_task(
    study: Study, suite: config.Suite, condition: str, seed: int, step: int, trained: Task
) -> Task:
    settings = suite.frozen_test
    run: config.RunConfig = trained.arguments["run"]
    values = settings.model_dump(mode="json", exclude={"conditions", "steps"})
    parts = {
        "config": {"frozen_test": {**values, "step": step}},
        "code": code_files.of("frozen"),
        "data": trained.parts["data"],
        "inputs": {trained.name: trained.key},
    }
    key = task_key(parts) if trained.key is not None else None
    chosen = 2 * (settings.doses * settings.dev_batches + settings.heldout_batches)
    swept = settings.finder_batches * (run.self_state.dim + 2)
    readers = (2 * settings.placebo_draws + 1) * (swept + chosen) + settings.placebo_draws * chosen
    forwards = readers + settings.random_directions * (settings.finder_batches + 2 * settings.heldout_batches)
    return Task(
        kind="frozen",
        name=f"frozen {suite.name}/{condition}/seed-{seed}/step-{step}",
        phase="frozen_test",
        key=key,
        parts=parts,
        inputs=(trained.name,),
        destination=study.out / "frozen" / (key or "not known yet")[:16],
        arguments={"run": run, "folder": trained.destination, "step": step, "settings": settings},
        seed=seed,
        work=forwards * step_gflop(run) / 3,  # a forward pass is a third of a step
    )


def finished_runs(study: Study, done: Sequence[Task]) -> tuple[Finished, ...]:
    """The runs of a study among some finished tasks, with their frozen tests, in the order of suites and seeds."""
    by_key: dict[str | None, Task] = {task.key: task for task in done if task.key is not None}
    runs = []
    for suite in study.suites:
        for seed in range(1, suite.seeds + 1):
            for condition in suite.conditions:
                wanted = _train_task(study, suite, condition, seed)
                trained = by_key.get(wanted.key)
                if trained is None or trained.key is None:
                    continue
                tests = []
                for step in suite.frozen_test.steps if condition in suite.frozen_test.conditions else ():
                    test = by_key.get(_frozen_task(study, suite, condition, seed, step, trained).key)
                    if test is not None:
                        tests.append((step, test.destination))
                where = (suite.name, condition, seed, trained.key, trained.destination)
                runs.append(Finished(*where, tuple(tests)))
    return tuple(runs)


def refresh_tasks(study: Study, done: Sequence[Task]) -> list[Task]:
    """The tasks that put finished work into tables, figures and report, in order. `done`: what is finished."""
    runs = finished_runs(study, done)
    note = study.note(len({run.seed for run in runs}))
    names = tuple(suite.name for suite in study.suites)
    tables = {
        "config": {suite.name: _of_tables(suite) for suite in study.suites},
        "note": note,
        "code": code_files.of("tables"),
        "inputs": {task.name: task.key for task in done},
    }
    arguments = {"suites": study.suites, "runs": runs, "note": note}
    made = [_refresh_task(study, "tables", tables, (), arguments)]
    texts: tuple[tuple[Kind, str], ...] = (("figures", note), ("report", study.warning))
    for kind, text in texts:
        parts = {"note": text, "code": code_files.of(kind), "inputs": {"tables": made[0].key}}
        made.append(_refresh_task(study, kind, parts, ("tables",), {"names": names, "note": text}))
    return made


def _refresh_task(
    study: Study, kind: Kind, parts: dict[str, Any], inputs: tuple[str, ...], arguments: Mapping[str, Any]
) -> Task:
    phase = "report" if kind == "report" else "figures"
    return Task(kind, kind, phase, task_key(parts), parts, inputs, study.out / kind, arguments)


def _of_tables(suite: config.Suite) -> dict[str, Any]:
    """What of a suite, besides its runs, the tables depend on."""
    return {"quick": suite.quick, "signatures": suite.signatures.model_dump(mode="json")}


def task_key(parts: Mapping[str, Any]) -> str:
    """The key of a task from its parts; the parts of a run are hashed by run_folder.run_key."""
    return storage.hash_json({"format": 1, **parts})


def step_gflop(run: config.RunConfig) -> float:
    """Floating-point operations of one training step, in units of 1e9: six a weight and token."""
    tokens = run.train.batch_size * run.train.grad_accum * run.model.block_size
    return 6e-9 * tokens * weights(run)


def weights(run: config.RunConfig) -> int:
    """How many weights a run's model has, about: its matrices, and embeddings of 100 characters."""
    width = run.model.n_embd
    return 12 * run.model.n_layer * width * width + (100 + run.model.block_size) * width
