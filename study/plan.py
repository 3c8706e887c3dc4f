"""The study as tasks: what they are made from, and what they wait for.

A task's key is the hash of its resolved config, the code it runs, its data and the keys of its inputs. A task whose
result is whole and carries this key is left alone; anything else runs. `plan` lists the tasks, freshness.py decides
which have to run, runner.py sees to it, work.py is what a worker does. Nothing here imports torch or pandas, so that a
study with nothing to do says so at once.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from base import code as code_files
from base import storage
from configs import size
from configs.run import RunConfig, partner
from configs.suite import Suite
from runs import folder as run_folder
from study import phases
from study.phases import Kind


@dataclass(frozen=True)
class Task:
    """One thing to make.

    key: None while the corpus is not prepared, whose hash is part of it. parts: what the key was made of, by name.
    inputs: names of the tasks it waits for. destination: the folder it makes or fills. arguments: what its worker
    function takes. views: links to the destination. phases: those it belongs to, the first one first. work: how much
    there is to do, in GFLOP for training and tests, else 1.
    """

    kind: Kind
    name: str
    phases: tuple[str, ...]
    key: str | None
    parts: Mapping[str, Any]
    inputs: tuple[str, ...]
    destination: Path
    arguments: Mapping[str, Any] = field(default_factory=dict)
    views: tuple[Path, ...] = ()
    seed: int = 0
    work: float = 1.0

    @property
    def phase(self) -> str:
        """The first of its phases, which its failures and its progress are told under."""
        return self.phases[0]

    def of(self, names: Collection[str]) -> bool:
        """Whether it belongs to one of some phases."""
        return not set(names).isdisjoint(self.phases)

    def within(self, parts: Collection[tuple[str, int]]) -> bool:
        """Whether it belongs to one of some phases and seeds."""
        return any((phase, self.seed) in parts for phase in self.phases)

    @property
    def slug(self) -> str:
        """The name as a file name."""
        return self.name.replace("/", "-").replace(" ", "-")


@dataclass(frozen=True)
class Study:
    """What one command line asks for.

    corpora: by corpus and tokenizer as a config names them, the corpus that stands in, and the hash of its tokens,
    None where it is not prepared. warning: what every page and figure must say first, for example that the study is a quick one.
    claims: whether the study's own claims are judged, which is so where no other suite was asked for.
    """

    out: Path
    suites: tuple[Suite, ...]
    corpora: Mapping[tuple[str, str], tuple[str, str | None]]
    warning: str = ""
    claims: bool = False

    def run(self, suite: Suite, condition: str, seed: int) -> RunConfig:
        """The config of a run, on the corpus that is there."""
        run = suite.run(condition, seed)
        return run.model_copy(update={"corpus": self.corpora[run.corpus, run.tokenizer][0]})

    def tokens(self, suite: Suite, condition: str) -> str | None:
        """The hash of the tokens that a condition is trained on."""
        run = suite.conditions[condition]
        return self.corpora[run.corpus, run.tokenizer][1]

    def warnings(self, suite: Suite) -> str:
        """What a suite's page must say first: the study's own warning, and which corpus stands in for another."""
        lines = [self.warning] if self.warning else []
        for pair in dict.fromkeys((run.corpus, run.tokenizer) for run in suite.conditions.values()):
            if self.corpora[pair][0] != pair[0]:
                lines.append(
                    f"Trained on the embedded corpus {self.corpora[pair][0]}, since {pair[0]} was not to be had."
                )
        return " ".join(lines)

    def note(self, suite: Suite, seeds: int) -> str:
        """The small print of a suite's figures: the warning, its corpora, the number of seeds."""
        used = {(run.corpus, run.tokenizer) for run in suite.conditions.values()}
        names = ", ".join(sorted({self.corpora[pair][0] for pair in used}))
        small = f"Corpus: {names}; {seeds} {'seed' if seeds == 1 else 'seeds'}."
        return f"{self.warnings(suite)} {small}".strip()


def plan(study: Study) -> list[Task]:
    """Training and tests, seed by seed: all runs of the first seed, their tests, then the next seed.

    Tasks of equal keys are one task: a run that two conditions share is trained once, and seen from both.
    """
    tasks: dict[str, Task] = {}  # by key; by name while the key is not known
    # a run is asked for by each of its tests, and by what starts from it
    trained: dict[tuple[str, str, int], Task] = {}

    def add(task: Task) -> Task:
        place = task.key or task.name
        first = tasks.get(place)
        if first is not None:
            views = tuple(dict.fromkeys((*first.views, *task.views)))
            task = replace(first, views=views, phases=tuple(dict.fromkeys((*first.phases, *task.phases))))
        tasks[place] = task
        return task

    def train(suite: Suite, condition: str, seed: int) -> Task:
        """A run, after those it needs: a partner seed's run comes before its turn, or beyond the last seed."""
        asked = (suite.name, condition, seed)
        if asked not in trained:
            references = study.run(suite, condition, seed).references()
            needed = {part: train(suite, *reference) for part, reference in references.items()}
            trained[asked] = add(_train_task(study, suite, condition, seed, needed))
        return trained[asked]

    for seed in range(1, max(suite.seeds for suite in study.suites) + 1):
        suites = [suite for suite in study.suites if seed <= suite.seeds]
        for suite in suites:
            for condition in suite.conditions:
                train(suite, condition, seed)
        for suite in suites:
            for test in tests_of(study, suite, seed, train):
                add(test.task)
    return list(tasks.values())


def train_task(study: Study, suite: Suite, condition: str, seed: int) -> Task:
    """The training of one run, whatever else the study has."""
    references = study.run(suite, condition, seed).references()
    needed = {part: train_task(study, suite, *reference) for part, reference in references.items()}
    return _train_task(study, suite, condition, seed, needed)


def _train_task(study: Study, suite: Suite, condition: str, seed: int, needed: Mapping[str, Task]) -> Task:
    run = study.run(suite, condition, seed)
    tokens = study.tokens(suite, condition)
    keys = {part: task.key for part, task in needed.items() if task.key is not None}
    key = run_folder.run_key(run, tokens, keys) if tokens is not None and len(keys) == len(needed) else None
    name = f"{suite.name}/{condition}/seed-{seed}"
    code = run_folder.code_hash(run_folder.code_of(run)) if key else None
    return Task(
        kind="train",
        name=f"train {name}",
        phases=(phases.of_suite(suite.path).name,),
        key=key,
        parts={"config": run.model_dump(mode="json"), "code": code, "data": tokens, "inputs": keys},
        inputs=tuple(dict.fromkeys(task.name for task in needed.values())),
        destination=run_folder.folder_of(study.out / "runs", key or "not known yet"),
        arguments={"run": run, "inputs": {part: task.destination for part, task in needed.items()}},
        views=(study.out / suite.name / condition / f"seed-{seed}",),
        seed=seed,
        work=(run.last - run.first) * size.step_gflop(run),
    )


class Test(NamedTuple):
    """A test of a finished run, and the step whose weights it tests."""

    condition: str
    step: int
    task: Task


def tests_of(
    study: Study, suite: Suite, seed: int, train: Callable[[Suite, str, int], Task]
) -> Iterator[Test]:
    """The tests of a seed's finished runs.

    train: the training of a run; one that two suites share has the name that it was planned by, which tests are keyed by.
    """
    frozen = suite.frozen_test
    wanted: list[tuple[Kind, str, int]] = [
        ("frozen", name, step) for name in frozen.conditions for step in frozen.steps
    ]
    wanted += [("belief", name, suite.conditions[name].last) for name in suite.belief_test.conditions]
    for kind, condition, step in wanted:
        both = frozen.foreign or kind == "belief"
        other = train(suite, condition, partner(seed)) if both else None
        trained = train(suite, condition, seed)
        yield Test(condition, step, _test_task(study, suite, kind, condition, seed, step, trained, other))


def _test_task(
    study: Study,
    suite: Suite,
    kind: Kind,
    condition: str,
    seed: int,
    step: int,
    trained: Task,
    other: Task | None,
) -> Task:
    """other: the partner seed's run, where it is needed."""
    needed = [trained, other] if other is not None else [trained]
    settings = suite.frozen_test
    run: RunConfig = trained.arguments["run"]
    values = settings.model_dump(mode="json", exclude={"conditions", "steps"})
    if kind == "belief":
        values = {"heldout_batches": settings.heldout_batches}
    parts = {
        "config": {f"{kind}_test": {**values, "step": step}},
        "code": code_files.of(kind),
        "data": trained.parts["data"],
        # By role: partners are each other's, and the two tests of a pair would have one key.
        "inputs": {
            trained.name: trained.key,
            **({f"the partner's {other.name}": other.key} if other is not None else {}),
        },
    }
    key = task_key(parts) if all(task.key is not None for task in needed) else None
    return Task(
        kind=kind,
        name=f"{kind} {suite.name}/{condition}/seed-{seed}/step-{step}",
        phases=(phases.of_tests(suite.path).name,),
        key=key,
        parts=parts,
        inputs=tuple(task.name for task in needed),
        destination=study.out / kind / (key or "not known yet")[:16],
        arguments={
            **{"run": run, "folder": trained.destination, "step": step, "settings": settings},
            "other": other.destination if other is not None else None,
        },
        seed=seed,
        work=size.probe_gflop(kind, settings, run),
    )


def task_key(parts: Mapping[str, Any]) -> str:
    """The key of a task from its parts; the parts of a run are hashed by run_folder.run_key."""
    return storage.hash_json({"format": 1, **parts})
