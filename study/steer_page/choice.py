"""Which run of a suite the page is made of, and from which files: what a plan has to know. Imports neither torch nor pandas."""

from pathlib import Path

from base import storage
from configs.run import RunConfig

HOME = Path(__file__).parent
TEMPLATE = "page.html"
ASSETS = ("page.css", "network.js", "worker.js", "panel.js", "timeline.js", "page.js")
CONDITION = "self"  # whose first complete seed is shown; the last states of its other seeds can be put in
FILE = "steer.html"


def misfit(run: RunConfig) -> str:
    """Why no page can be made of a run; "" where one can."""
    if not run.self_state.enabled:
        return "it has no self-state"
    if run.self_state.dim < 2:
        return "its state has one dimension, and nothing to scramble"
    if run.text is None or run.tokenizer != "char":
        return "its tokens are not single characters"
    if run.model.gelu != "exact":
        return "the page computes no approximated gelu"
    return ""


def files() -> dict[str, str]:
    """The SHA-256 of each file that is put into the page."""
    return {name: storage.sha256_file(HOME / name) for name in (TEMPLATE, *ASSETS)}
