"""One question, one pair of files: x.py makes its tables, findings and figures, x.md says them; kit/ is what they share."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.kit.experiment import Experiment


def found() -> dict[str, "Experiment"]:
    """Every experiment by name: what a module beside this one, or a page.py one folder below, calls EXPERIMENT. Nothing is registered anywhere."""
    here = Path(__file__).parent
    places = sorted(path.relative_to(here) for path in (*here.glob("*.py"), *here.glob("*/page.py")))
    names = [".".join((__name__, *place.with_suffix("").parts)) for place in places]
    modules = [import_module(name) for name in names if not name.endswith("__init__")]
    return {one.EXPERIMENT.name: one.EXPERIMENT for one in modules if hasattr(one, "EXPERIMENT")}
