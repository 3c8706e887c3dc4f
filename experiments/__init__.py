"""One question, one pair of files: x.py makes its tables, findings and figures, x.md says them; kit/ is what they share."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.kit.experiment import Experiment


def found() -> dict[str, "Experiment"]:
    """Every experiment by name: what a module beside this one calls EXPERIMENT. Nothing is registered anywhere."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")
    modules = (import_module(f"{__name__}.{name}") for name in names)
    return {one.EXPERIMENT.name: one.EXPERIMENT for one in modules if hasattr(one, "EXPERIMENT")}
