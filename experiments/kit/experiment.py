"""What an experiment is: the tables it makes of runs, what it finds in them, the figures and the page that show it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from experiments.kit.panels import Figure
from experiments.kit.runs import Context
from experiments.kit.tables import Absent, Grid, Tables
from experiments.kit.words import Finding

EVERY = "*"  # in place of a suite: every one

Maker = Callable[..., pd.DataFrame | dict[str, pd.DataFrame]]


@dataclass(frozen=True)
class Table:
    """A function that makes a table, or several, of a suite's runs and of other tables of that suite.

    make: takes the context (or, of a suite without runs, the tables of all suites), and tables of the suite by their names as parameters. It returns the table, or with several
        `names` a dict of them. Its docstring tells the columns.
    names: of the tables, in files too; by default the one name of the function.
    suites: of the experiment's suites those that have it; by default all.
    """

    make: Maker
    names: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", self.names or (self.make.__name__,))

    @property
    def needs(self) -> tuple[str, ...]:
        """The tables that it is made of, by its parameters' names; they may be another experiment's."""
        return tuple(inspect.signature(self.make).parameters)[1:]

    def of(self, context: Context | Tables, made: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
        """Its tables by name. What is made of tables that are all empty is empty, without asking the function."""
        given = {name: made[name] if len(made[name]) else Absent() for name in self.needs}
        if given and not any(map(len, given.values())):
            return {name: pd.DataFrame() for name in self.names}
        found = self.make(context, **given)
        return found if isinstance(found, dict) else {self.names[0]: found}


@dataclass(frozen=True)
class Experiment:
    """One question.

    Attributes:
        name: of its files, experiments/<name>.py and <name>.md, its template; no template, no page.
        title: of its page.
        tables: functions, or `Table`s of functions that make several or are not for every suite.
        findings: tables -> what they say, by the names that the template and figure titles use.
        figures: drawn from the tables of the first suite.
        grids: the page's tables, by the names that the template uses.
        suites: whose runs the tables are made of, each suite for itself; "*" is every suite. The page is the first's.
        guests: other suites whose results stand on the page, too.
        page: its file.
        template: of the page, below experiments/.
        values: tables -> what else the template uses, by name.
        decides: what its tables hang on besides code and other tables, such as the hash of a file.
    """

    name: str
    title: str
    tables: Sequence[Table | Maker] = ()
    findings: Callable[[Tables], dict[str, Finding]] = lambda tables: {}
    figures: Sequence[Figure] = ()
    grids: Mapping[str, Grid] = field(default_factory=dict)
    suites: tuple[str, ...] = ()
    guests: tuple[str, ...] = ()
    page: str = ""
    template: str = ""
    values: Callable[[Tables], Mapping[str, Any]] = lambda tables: {}
    decides: Callable[[], Mapping[str, Any]] = lambda: {}

    def __post_init__(self) -> None:
        made = tuple(one if isinstance(one, Table) else Table(one) for one in self.tables)
        object.__setattr__(self, "tables", made)
        object.__setattr__(self, "suites", self.suites or (self.name,))
        object.__setattr__(self, "page", self.page or f"{self.name.replace('_', '-')}.md")
        object.__setattr__(self, "template", self.template or f"{self.name}.md")
        object.__setattr__(self, "figures", tuple(one.telling(self.findings) for one in self.figures))

    def of(self, suite: str) -> tuple[Table, ...]:
        """Its tables that a suite has."""
        if suite not in self.suites and EVERY not in self.suites:
            return ()
        made = (one for one in self.tables if isinstance(one, Table))
        return tuple(one for one in made if not one.suites or suite in one.suites)
