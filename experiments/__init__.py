"""One question, one pair of files: x.py makes its tables, findings and figures, x.md says them; kit/ is what they share."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.kit.experiment import Experiment


def found() -> dict[str, "Experiment"]:
    """Every experiment by the module that declares it: what that calls EXPERIMENT. Nothing is registered anywhere."""
    here = Path(__file__).parent
    places = sorted(path.relative_to(here) for path in (*here.glob("*.py"), *here.glob("*/page.py")))
    names = [
        ".".join((__name__, *place.with_suffix("").parts)) for place in places if place.stem != "__init__"
    ]
    modules = {name: import_module(name) for name in names}
    return {name: module.EXPERIMENT for name, module in modules.items() if hasattr(module, "EXPERIMENT")}
