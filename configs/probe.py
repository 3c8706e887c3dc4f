"""What is done to finished runs: a section `[probe.NAME]` of a suite says to which of them, and how.

A probe is two files that have its name, found by looking: configs/probes/NAME.py declares its fields, a class derived from
`Probe`; probes/NAME.py does it, in a function

    run(folder, step, settings, corpus, destination, progress, other)

that writes a folder with tables and a task.json. The key of each step is made of the fields, of the code that `run` reaches
and of the runs' own keys.
"""

import functools
import importlib
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from base.code import Place
from configs.fields import Name, Strict
from configs.run import RunConfig

HOME = Path(__file__).parent / "probes"
Count = Annotated[int, Field(ge=1, le=100_000)]


def setting(default: Any, quick: Any, **bounds: Any) -> Any:
    """A field's value where a suite gives none, and the most that it has in the quick form (see configs/quick.py)."""
    return Field(default=default, json_schema_extra={"quick": quick}, **bounds)


class Probe(Strict):
    """The fields that all probes have."""

    module: ClassVar[str] = ""  # that has `run`; "": of the probe's own name
    of_channels: ClassVar[bool] = False  # whether it lets the states of a run with channels in
    conditions: tuple[Name, ...] = ()
    """to whose runs it is done"""
    steps: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """to the weights after so many steps; none: the last"""

    @property
    def partner(self) -> bool:
        """Whether it takes something from the partner seed's run, too."""
        return False

    def misfit(self, run: RunConfig) -> str:
        """Why it can't be done to a run, in words that follow the condition's name; "" where it can."""
        return ""

    def passes(self, run: RunConfig) -> float:
        """Forward passes of a training batch that it takes, about: a training step is worth three."""
        return 1.0


@functools.cache
def known() -> tuple[str, ...]:
    """The probes that there are."""
    return tuple(sorted(path.stem for path in HOME.glob("[!_]*.py")))


@functools.cache
def fields_of(name: str) -> type[Probe]:
    """The fields of a known probe."""
    found = vars(importlib.import_module(f"configs.probes.{name}")).values()
    (fields,) = (
        one for one in found if isinstance(one, type) and issubclass(one, Probe) and one is not Probe
    )
    return fields


def place_of(name: str) -> Place:
    """The function that does a known probe."""
    return Place(fields_of(name).module or f"probes.{name}", "run")
