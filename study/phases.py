"""The parts of a study that `--only` can name, found by looking: a suite that says in configs/ that it belongs to the study.

    [study]
    order = 3                   # its place among the suites
    phase = "memory"            # left out: the suite's own name
    does = "train and steer self-states that remember"
    optional = true             # left out of the default study

A later experiment is one more such file. Nothing here reads more of a suite than these lines.
"""

import functools
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from base.storage import ROOT
from configs import toml_file
from configs.suite import InStudy, validate
from configs.toml_file import ConfigError

DATA, TRAIN, FIGURES, REPORT = "data", "train", "figures", "report"
PUBLISHED = "published"  # in a report: its pages as they read beside the committed figures
CLAIMS = "claims"  # the suite that has no runs: its tables say what the others' come to


@dataclass(frozen=True)
class Phase:
    """suites: the files whose runs it trains and tests. optional: runs only where `--only` names it."""

    name: str
    does: str
    suites: tuple[Path, ...] = ()
    optional: bool = False


@functools.cache
def declared(root: Path = ROOT) -> tuple[Phase, ...]:
    """The phases of the study in their order. Those that suites share stand where the first of them does."""
    found: dict[str, list[tuple[Path, InStudy]]] = {}
    for path in sorted((root / "configs").glob("*.toml")):
        source = toml_file.own(path)
        if "study" in source.document:
            about = validate(InStudy, source.document["study"], source, (("study",),))
            found.setdefault(about.phase or path.stem, []).append((path, about))
    trains = []
    for name, places in found.items():
        places.sort(key=lambda place: place[1].order)
        does = "; ".join(about.does for _, about in places)
        optional = all(about.optional for _, about in places)
        trains.append((places[0][1].order, Phase(name, does, tuple(path for path, _ in places), optional)))
    return (
        Phase(DATA, "find the text, check its SHA-256, turn it into tokens, split it 90/5/5"),
        *(phase for _, phase in sorted(trains, key=lambda place: place[0])),
        Phase(FIGURES, "put what is finished into tables, judge the claims, draw figures of both"),
        Phase(REPORT, "put what is finished into tables, judge the claims, write the pages"),
    )


def default_suites(only: Iterable[str] = (), alone: bool = False) -> tuple[Path, ...]:
    """The suites of the study, with those of optional phases that are asked for. alone: none but what is asked for, if any is."""
    named, every = set(only), [(phase, suite) for phase in declared() for suite in phase.suites]
    asked = {suite for phase, suite in every if {phase.name, suite.stem} & named}
    return tuple(
        suite for phase, suite in every if suite in asked or not (phase.optional or (alone and asked))
    )


@functools.cache
def suite_names() -> frozenset[str]:
    """Names of the study's suites: those of their files, and CLAIMS."""
    return frozenset({CLAIMS, *(path.stem for phase in declared() for path in phase.suites)})


def is_declared(path: str | Path) -> bool:
    """Whether a suite's file is one of the study's."""
    return Path(path).resolve() in _homes()


def of_suite(path: str | Path, name: str) -> str:
    """The phase that trains the suite in a file; one of the user's own is a phase by its name."""
    return _homes().get(Path(path).resolve(), name)


@functools.cache
def _homes() -> dict[Path, str]:
    return {suite.resolve(): phase.name for phase in declared() for suite in phase.suites}


def asked(path: str | Path, name: str, chosen: Collection[str]) -> bool:
    """Whether the suite in a file is among what was chosen, by its own name or its phase's."""
    return not {of_suite(path, name), name}.isdisjoint(chosen)


def choose(only: Iterable[str], own: str | None = None) -> frozenset[str]:
    """The phases and suites that some names mean; all phases but the optional ones for no name.

    Suites bring figures and pages with them, unless it is said which of TRAIN, FIGURES and REPORT are wanted; TRAIN without a
    suite means all of them.

    Args:
        own: the name of the user's own suite, where the study is of that alone: then it is the one phase that trains.

    Raises:
        ConfigError: an unknown name, with the nearest one.
    """
    names = frozenset(only)
    every = (
        {phase.name for phase in declared() if phase.suites and not phase.optional} if own is None else {own}
    )
    suites = {*suite_names(), *(phase.name for phase in declared() if phase.suites)} - {CLAIMS}
    trains = suites if own is None else {own}
    for name in names:
        if name not in (known := {DATA, TRAIN, FIGURES, REPORT, *trains}):
            raise ConfigError(toml_file.unknown("phase or suite", name, known, "in --only"))
    if not names:
        return frozenset({DATA, FIGURES, REPORT, *every})
    if TRAIN in names and not names & trains:
        names |= every
    return names if not names & trains or names & {TRAIN, FIGURES, REPORT} else names | {FIGURES, REPORT}


def describe() -> str:
    """The phases as a Markdown table, in the order in which they run."""
    lines = ["| phase | what it does | suites |", "| --- | --- | --- |"]
    for phase in declared():
        suites = ", ".join(f"`{path.relative_to(ROOT).as_posix()}`" for path in phase.suites) or "–"
        lines.append(f"| `{phase.name}`{' (optional)' if phase.optional else ''} | {phase.does} | {suites} |")
    return "\n".join(lines) + "\n"
