"""The study as one graph of steps: training, tests of finished runs, tables, figures, pages.

A step is a name, what it does, and what it is made from: a resolved config, code, data, and other steps. Its key is the
hash of these. A step whose result is whole and carries this key is left alone; anything else runs. Here are the steps of
runs and their tests, which a request decides; study/book.py has what is made of finished ones, freshness.py decides what
has to run, runner.py sees to it, worker.py is what a worker does. Nothing here imports torch, so that a study with nothing
to do says so at once.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from base import known_code, storage
from configs import probe, size
from configs.run import RunConfig, partner
from configs.suite import Suite
from data.process import process_sha256
from runs import folder as run_folder
from runs.number_type import shape_of
from study import phases

Kind = str  # train, the name of a probe (configs/probe.py), or one of MADE
MADE = ("note", "table", "figure", "page", "demo")  # from finished runs, again and again


@dataclass(frozen=True)
class Step:
    """One thing to make.

    key: None while the corpus is not prepared, whose hash is part of it; None, too, for what tells only afterwards which
    tables it read (see freshness). parts: what the key is made of, by name. inputs: names of the steps it waits for.
    destination: the folder it makes or fills. arguments: what its worker function takes. views: links to the destination.
    phases: those it belongs to, the first one first, and its suites. work: how much there is to do, in GFLOP for training and tests, else 1.
    reads: of what reads tables as it likes, the name and the key of the step that makes each that there is.
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
    reads: Mapping[str, tuple[str, str | None]] | None = None

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
    def studied(self) -> bool:
        """Whether it is part of what a seed is made of: the training of a run, or a test of one."""
        return self.kind not in MADE

    @property
    def tests(self) -> bool:
        """Whether it is a probe of a finished run."""
        return self.studied and self.kind != "train"

    @property
    def slug(self) -> str:
        """The name as a file name."""
        return slug(self.name)


@dataclass(frozen=True)
class Study:
    """What one command line asks for.

    corpora: by corpus and tokenizer as a config names them, the corpus that stands in, and the hash of its tokens,
    None where it is not prepared. warning: what every page and figure must say first, for example that the study is a quick one.
    types: the number type of products where a config says "auto", by shape (see runs/number_type.py).
    claims: whether the study's own claims are judged, which is so where no other suite was asked for.
    """

    out: Path
    suites: tuple[Suite, ...]
    corpora: Mapping[tuple[str, str], tuple[str, str | None]]
    warning: str = ""
    claims: bool = False
    types: Mapping[str, str] = field(default_factory=dict)

    def run(self, suite: Suite, condition: str, seed: int) -> RunConfig:
        """The config of a run, on the corpus that is there."""
        run = suite.run(condition, seed)
        if run.train.dtype == "auto" and shape_of(run) in self.types:
            settled = run.train.model_copy(update={"dtype": self.types[shape_of(run)]})
            run = run.model_copy(update={"train": settled})
        return run.model_copy(update={"corpus": self.corpora[run.text][0]}) if run.text else run

    def tokens(self, suite: Suite, condition: str) -> str | None:
        """The hash of the tokens that a condition is trained on."""
        run = suite.conditions[condition]
        return (
            process_sha256(run.process)
            if run.process is not None
            else self.corpora[run.corpus, run.tokenizer][1]
        )

    def warnings(self, suite: Suite) -> str:
        """What a suite's page must say first: the study's own warning, and which corpus stands in for another."""
        lines = [self.warning] if self.warning else []
        for pair in texts([suite]):
            if self.corpora[pair][0] != pair[0]:
                lines.append(
                    f"Trained on the embedded corpus {self.corpora[pair][0]}, since {pair[0]} was not to be had."
                )
        return " ".join(lines)

    def note(self, suite: Suite, seeds: int) -> str:
        """The small print of a suite's figures: the warning, its corpora, the number of seeds."""
        used = {run.corpus for run in suite.conditions.values() if run.process is not None}
        names = ", ".join(sorted({*used, *(self.corpora[pair][0] for pair in texts([suite]))}))
        small = f"Corpus: {names}; {seeds} {'seed' if seeds == 1 else 'seeds'}."
        return f"{self.warnings(suite)} {small}".strip()


def texts(suites: Iterable[Suite]) -> list[tuple[str, str]]:
    """The texts that the runs of some suites are trained on, by name and tokenizer."""
    found = (run.text for suite in suites for run in suite.conditions.values())
    return list(dict.fromkeys(text for text in found if text is not None))


def slug(name: str) -> str:
    """The name of a step as a file name."""
    return name.replace("/", "-").replace(" ", "-")


def key_of(parts: Mapping[str, Any]) -> str:
    """The key of a step, 64 hex digits."""
    return storage.hash_json(parts)


def plan(study: Study) -> list[Step]:
    """Training and tests, seed by seed: all runs of the first seed, their tests, then the next seed.

    Steps of equal keys are one step: a run that two conditions share is trained once, and seen from both.
    """
    steps: dict[str, Step] = {}  # by key; by name while the key is not known
    trained: dict[
        tuple[str, str, int], Step
    ] = {}  # a run is asked for by each of its tests, and by what starts from it

    def add(step: Step) -> Step:
        place = step.key or step.name
        first = steps.get(place)
        if first is not None:
            views = tuple(dict.fromkeys((*first.views, *step.views)))
            step = replace(first, views=views, phases=tuple(dict.fromkeys((*first.phases, *step.phases))))
        steps[place] = step
        return step

    def train(suite: Suite, condition: str, seed: int) -> Step:
        """A run, after those it needs: a partner seed's run comes before its turn, or beyond the last seed."""
        asked = (suite.name, condition, seed)
        if asked not in trained:
            references = study.run(suite, condition, seed).references()
            needed = {part: train(suite, *reference) for part, reference in references.items()}
            trained[asked] = add(train_step(study, suite, condition, seed, needed))
        return trained[asked]

    for seed in range(1, max(suite.seeds for suite in study.suites) + 1):
        suites = [suite for suite in study.suites if seed <= suite.seeds]
        for suite in suites:
            for condition in suite.conditions:
                train(suite, condition, seed)
        for suite in suites:
            for test in tests_of(study, suite, seed, train):
                add(test.step)
    return list(steps.values())


def train_step(
    study: Study, suite: Suite, condition: str, seed: int, needed: Mapping[str, Step] | None = None
) -> Step:
    """The training of one run.

    needed: the steps of the runs that it takes something from, by part; None makes them, whatever else the study has.
    """
    run = study.run(suite, condition, seed)
    if needed is None:
        needed = {part: train_step(study, suite, *reference) for part, reference in run.references().items()}
    tokens = study.tokens(suite, condition)
    keys = {part: step.key for part, step in needed.items() if step.key is not None}
    parts = run_folder.run_parts(run, tokens, keys)
    key = key_of(parts) if tokens is not None and len(keys) == len(needed) else None
    name = f"{suite.name}/{condition}/seed-{seed}"
    return Step(
        kind="train",
        name=f"train {name}",
        phases=tuple(dict.fromkeys((phases.of_suite(suite.path, suite.name), suite.name))),
        key=key,
        parts=parts,
        inputs=tuple(dict.fromkeys(step.name for step in needed.values())),
        destination=run_folder.folder_of(study.out / "runs", key or "not known yet"),
        arguments={"run": run, "inputs": {part: step.destination for part, step in needed.items()}},
        views=(view_of(study, suite, condition, seed),),
        seed=seed,
        work=size.effort(run),
    )


def view_of(study: Study, suite: Suite, condition: str, seed: int) -> Path:
    """Where a run is seen under its suite, whatever others share it."""
    return study.out / suite.name / condition / f"seed-{seed}"


class Test(NamedTuple):
    """A test of a finished run, and the step of training whose weights it tests."""

    condition: str
    at: int
    step: Step


def tests_of(
    study: Study, suite: Suite, seed: int, train: Callable[[Suite, str, int], Step]
) -> Iterator[Test]:
    """The tests of a seed's finished runs.

    train: the training of a run; one that two suites share has the name that it was planned by, which tests are keyed by.
    """
    for name, settings in suite.probes.items():
        for condition in settings.conditions:
            for at in settings.steps or (suite.conditions[condition].last,):
                other = train(suite, condition, partner(seed)) if settings.partner else None
                trained = train(suite, condition, seed)
                yield Test(condition, at, _test_step(study, suite, name, condition, seed, at, trained, other))


def _test_step(
    study: Study,
    suite: Suite,
    name: str,
    condition: str,
    seed: int,
    at: int,
    trained: Step,
    other: Step | None,
) -> Step:
    """name: of the probe. other: the partner seed's run, where it is needed."""
    needed = [trained, other] if other is not None else [trained]
    settings = suite.probes[name]
    run: RunConfig = trained.arguments["run"]
    values = settings.model_dump(mode="json", exclude={"conditions", "steps"})
    parts = {
        "config": {"probe": {name: {**values, "step": at}}},
        "code": known_code.of(probe.place_of(name)),
        "data": trained.parts["data"],
        # By role: partners are each other's, and the two tests of a pair would have one key.
        "inputs": {
            trained.name: trained.key,
            **({f"the partner's {other.name}": other.key} if other is not None else {}),
        },
    }
    key = key_of(parts) if all(step.key is not None for step in needed) else None
    return Step(
        kind=name,
        name=f"{name} {suite.name}/{condition}/seed-{seed}/step-{at}",
        phases=tuple(dict.fromkeys((phases.of_suite(suite.path, suite.name), suite.name))),
        key=key,
        parts=parts,
        inputs=tuple(step.name for step in needed),
        destination=study.out / "probes" / name / (key or "not known yet")[:16],
        arguments={
            **{"run": run, "folder": trained.destination, "step": at, "settings": settings},
            "other": other.destination if other is not None else None,
        },
        seed=seed,
        work=settings.passes(run) * size.step_gflop(run) / 3,
    )
