"""The study's phases: one declaration, from which the command line, the planner and docs/PIPELINE.md are made.

A later experiment is one more entry, with the file of its suite.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import config
import config_file
from config_file import ConfigError

Kind = Literal["data", "train", "frozen", "tables", "figures", "report"]


@dataclass(frozen=True)
class Phase:
    """A part of the study that `--only` can name.

    makes: the kinds of its tasks. needs: phases whose results it reads. suite: the config file whose runs it trains,
    relative to the repository root; only of phases that train.
    """

    name: str
    doc: str
    reads: str
    writes: str
    makes: tuple[Kind, ...]
    needs: tuple[str, ...] = ()
    suite: str | None = None


PHASES = (
    Phase(
        name="data",
        doc="find the text, check its SHA-256, turn it into tokens, split it 90/5/5",
        reads="`data/<corpus>/input.txt`, `$INTEROCEPTION_DATA`, the network, or Python's own documentation",
        writes="`out/data/<corpus>/`: `tokens.bin`, `meta.json`",
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
        suite="configs/shakespeare.toml",
    ),
    Phase(
        name="frozen_test",
        doc="steer finished runs with their weights frozen, beside placebos",
        reads="run folders, `out/data/<corpus>/`",
        writes="`out/frozen/<key>/`: one CSV a table",
        makes=("frozen",),
        needs=("data", "shakespeare"),
    ),
    Phase(
        name="figures",
        doc="put what is finished into tables and draw them",
        reads="run folders, frozen tests",
        writes="`out/tables/*.csv`, `out/figures/`",
        makes=("tables", "figures"),
        needs=("shakespeare", "frozen_test"),
    ),
    Phase(
        name="report",
        doc="write the result pages from the tables",
        reads="run folders, frozen tests",
        writes="`out/tables/*.csv`, `out/report/*.md`",
        makes=("tables", "report"),
        needs=("shakespeare", "frozen_test"),
    ),
)
DEFAULT_SUITES = tuple(phase.suite for phase in PHASES if phase.suite is not None)


def by_name(name: str) -> Phase:
    """The phase of a name. ConfigError with the nearest name for an unknown one."""
    for phase in PHASES:
        if phase.name == name:
            return phase
    raise ConfigError(config_file.unknown("phase", name, (phase.name for phase in PHASES), "in --only"))


def choose(names: Iterable[str] | None) -> tuple[Phase, ...]:
    """The phases of some names in the order of the study; all of them for None or no name."""
    wanted = {by_name(name).name for name in names or ()}
    return tuple(phase for phase in PHASES if not wanted or phase.name in wanted)


def of_suite(path: str) -> Phase:
    """The phase that trains the suite in a file; a file of the user's own stands in for the first such phase."""
    training = [phase for phase in PHASES if phase.suite is not None]
    same = [phase for phase in training if (config.ROOT / str(phase.suite)).as_posix() == path]
    return (same or training)[0]


def describe() -> str:
    """The phases as a Markdown table, in the order in which they run."""
    lines = ["| phase | what it does | reads | writes | needs |", "|---|---|---|---|---|"]
    for phase in PHASES:
        needs = ", ".join(f"`{name}`" for name in phase.needs) or "–"
        lines.append(f"| `{phase.name}` | {phase.doc} | {phase.reads} | {phase.writes} | {needs} |")
    return "\n".join(lines) + "\n"
