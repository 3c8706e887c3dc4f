"""The study's phases: one declaration, from which the command line, the planner and docs/PIPELINE.md are made.

A later experiment is one more entry, with the file of its suite.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from base.storage import ROOT
from configs import toml_file as config_file
from configs.toml_file import ConfigError

Kind = Literal["data", "train", "frozen", "belief", "tables", "figures", "report"]
STUDIED: tuple[Kind, ...] = ("train", "frozen", "belief")  # what a seed is made of
TESTS: tuple[Kind, ...] = ("frozen", "belief")  # of finished runs, with their weights frozen


@dataclass(frozen=True)
class Phase:
    """A part of the study that `--only` can name.

    makes: the kinds of its tasks. needs: phases whose results it reads. suites: the config files whose runs it
    trains, relative to the repository root; only of phases that train. optional: runs only where `--only` names it.
    """

    name: str
    doc: str
    reads: str
    writes: str
    makes: tuple[Kind, ...]
    needs: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    optional: bool = False


READS_TOO = {"generalization": ("shakespeare",)}
"""By suite, other suites whose tables its figures are drawn from."""

TRAINING = ("shakespeare", "frozen_test", "recurring", "controls", "memory", "swap", "generalization")


def _study_of(name: str, doc: str, *suites: str, beliefs: bool = False, optional: bool = False) -> Phase:
    """A phase that trains the runs of some suites and steers those that its config names; beliefs: and sets beliefs."""
    return Phase(
        name=name,
        doc=doc,
        reads="`out/data/<corpus>/`, " + ", ".join(f"`{suite}`" for suite in suites),
        writes="`out/runs/<key>/`, `out/frozen/<key>/`" + (", `out/belief/<key>/`" if beliefs else ""),
        makes=STUDIED,
        needs=("data",),
        suites=suites,
        optional=optional,
    )


PHASES = (
    Phase(
        name="data",
        doc="find the text, check its SHA-256, turn it into tokens, split it 90/5/5",
        reads="`data/<corpus>/input.txt`, `$INTEROCEPTION_DATA`, the network, or Python's own documentation",
        writes="`out/data/<corpus>/`: `tokens.bin`, `meta.json`; with another tokenizer `out/data/<corpus>-<tokenizer>/`",
        makes=("data",),
    ),
    Phase(
        name="shakespeare",
        doc="train every condition of the suite, seed by seed",
        reads="`out/data/<corpus>/`, `configs/shakespeare.toml`",
        writes="`out/runs/<key>/`: `config.json`, `metrics.csv`, `states.safetensors`, weights, `run.json`; "
        "`out/<suite>/<condition>/seed-<n>` points there",
        makes=("train",),
        needs=("data",),
        suites=("configs/shakespeare.toml",),
    ),
    Phase(
        name="frozen_test",
        doc="steer finished runs with their weights frozen, beside placebos",
        reads="run folders, `out/data/<corpus>/`",
        writes="`out/frozen/<key>/`: one CSV a table",
        makes=("frozen",),
        needs=("data", "shakespeare"),
    ),
    _study_of(
        "recurring",
        "worlds that change again and again: does a state that senses them pay, and what else could explain it",
        "configs/recurring.toml",
        beliefs=True,
    ),
    _study_of(
        "controls",
        "train and steer what might do the same without sensing: constant biases, one dimension",
        "configs/controls.toml",
    ),
    _study_of(
        "memory",
        "train and steer self-states that remember; tell a long disturbance from a short one afterwards",
        "configs/memory.toml",
        "configs/ambiguous.toml",
    ),
    _study_of(
        "swap",
        "go on from one run's checkpoint with the state of another, none, or a random one",
        "configs/swap.toml",
    ),
    _study_of(
        "generalization",
        "the core conditions and the frozen-weight test on another corpus with another tokenizer",
        "configs/generalization.toml",
    ),
    _study_of(
        "sweeps",
        "one dial at a time: decay, dimensions, switching rate, corruption strength",
        "configs/sweeps.toml",
        optional=True,
    ),
    Phase(
        name="figures",
        doc="put what is finished into tables, judge the claims, draw both",
        reads="run folders, frozen and belief tests, `configs/claims.toml`, `docs/results/claims.json`",
        writes="`out/tables/<suite>/*.csv`, `out/figures/`",
        makes=("tables", "figures"),
        needs=TRAINING,
    ),
    Phase(
        name="report",
        doc="put what is finished into tables, judge the claims, write the pages",
        reads="run folders, frozen and belief tests, `configs/claims.toml`, `docs/results/claims.json`",
        writes="`out/tables/<suite>/*.csv`, `out/report/*.md`",
        makes=("tables", "report"),
        needs=TRAINING,
    ),
)


def default_suites(only: Iterable[str] = ()) -> tuple[str, ...]:
    """The suites of the study, with those of optional phases that are asked for."""
    named = set(only)
    return tuple(
        suite for phase in PHASES if not phase.optional or phase.name in named for suite in phase.suites
    )


def optional_suites() -> frozenset[str]:
    """Names of the suites that the default study leaves out."""
    return frozenset(Path(suite).stem for phase in PHASES if phase.optional for suite in phase.suites)


def by_name(name: str) -> Phase:
    """The phase of a name. ConfigError with the nearest name for an unknown one."""
    for phase in PHASES:
        if phase.name == name:
            return phase
    raise ConfigError(config_file.unknown("phase", name, (phase.name for phase in PHASES), "in --only"))


def choose(names: Iterable[str] | None) -> tuple[Phase, ...]:
    """The phases of some names in the order of the study; all but the optional ones for None or no name."""
    wanted = {by_name(name).name for name in names or ()}
    return tuple(phase for phase in PHASES if (phase.name in wanted if wanted else not phase.optional))


def of_suite(path: str) -> Phase:
    """The phase that trains the suite in a file; a file of the user's own stands in for the first such phase."""
    return _homes(ROOT, PHASES).get(Path(path).resolve()) or next(phase for phase in PHASES if phase.suites)


@functools.cache
def _homes(root: Path, known: tuple[Phase, ...]) -> dict[Path, Phase]:
    """The phase of each suite's file."""
    return {(root / suite).resolve(): phase for phase in reversed(known) for suite in phase.suites}


def of_tests(path: str) -> Phase:
    """The phase that tests the finished runs of a suite: its own where it makes tests, else frozen_test."""
    own = of_suite(path)
    return own if "frozen" in own.makes else by_name("frozen_test")


def describe() -> str:
    """The phases as a Markdown table, in the order in which they run."""
    lines = ["| phase | what it does | reads | writes | needs |", "|---|---|---|---|---|"]
    for phase in PHASES:
        needs = ", ".join(f"`{name}`" for name in phase.needs) or "–"
        lines.append(f"| `{phase.name}` | {phase.doc} | {phase.reads} | {phase.writes} | {needs} |")
    return "\n".join(lines) + "\n"
