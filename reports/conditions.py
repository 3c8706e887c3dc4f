"""What each condition is, in plain words, for readers of the pages.

The words stand here rather than in configs/: tables are made anew when their config changes, and a word mended must not
cost that. A test holds them to configs/: every condition has its line, and no line is of a condition that is not there.
"""

from experiments.kit.words import table
from reports.parts import Tables

HEADING = "Conditions"
NO_STATE = "a model without self-state"
BUFFER = "memory of {} past states, one every {} steps"


def _ambiguous(memory: str, words: str) -> dict[str, str]:
    """The conditions of one kind of memory: the origin, and what goes on from it."""
    after = f"goes on from `{memory}_origin`"
    return {
        f"{memory}_origin": f"calm training up to the step that the disturbances begin with; {words}",
        f"{memory}_long": f"{after} through long bewilderment (wrong targets), then a calm window",
        f"{memory}_short": f"{after} through short bewilderment that ends at the same step, then the same window",
        f"{memory}_feedback_long": f"{after} through long false feedback (the state is shown a false loss), then a calm window",
        f"{memory}_feedback_short": f"{after} through short false feedback that ends at the same step, then the same window",
    }


WORDS: dict[str, dict[str, str]] = {
    "tolerance": {"self": "the calibrated self-state; each of five regimes comes once, at set times"},
    "memory": {
        "none": "the published self-state without memory; each of five regimes comes once, at times drawn for each seed, in all "
        "conditions alike",
        "ema": "as `none`, with memory of an exponential average of its past states",
        "buffer_32": "as `none`, with " + BUFFER.format(32, 10),
        "buffer_64": "as `none`, with " + BUFFER.format(64, 10),
        "buffer_128": "as `none`, with " + BUFFER.format(128, 10),
        "buffer_64_stride_5": "as `none`, with " + BUFFER.format(64, 5),
        "buffer_64_stride_20": "as `none`, with " + BUFFER.format(64, 20),
    },
    "ambiguous": {
        **_ambiguous("none", "without memory"),
        **_ambiguous("ema", "memory of an exponential average"),
        **_ambiguous("buffer_64", BUFFER.format(64, 10)),
    },
}
"""By suite and condition. Mechanisms and regimes are explained where a page first needs them."""


def listing(tables: Tables, *others: str) -> str:
    """The section on the conditions of which the tables have runs, of other suites too; "" where none has words.

    A condition without words, as in a suite of the user's own, is left out: its config is the reader's.
    """
    lines = []
    for suite in (tables.suite, *others):
        have = set(tables.of(suite).rows("runs")["condition"])
        lines += [[f"`{name}`", words] for name, words in WORDS.get(suite, {}).items() if name in have]
    if not lines:
        return ""
    return f"## {HEADING}\n\n{table(['condition', 'what it is'], lines, words=True)}"


def pointer(file: str) -> str:
    """The sentence of a page whose conditions another page explains."""
    return f"What each condition is: [the list of conditions]({file}#{HEADING.lower()})."
