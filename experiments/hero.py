"""The first picture: what steering by the state does beside readers that learned nothing of it, and what sensing earns.

No table of its own: it draws those of experiments/frozen.py, and of experiments/floors.py or, while there are none of that, of
experiments/recurring.py.
"""

import pandas as pd
from matplotlib.axes import Axes

from experiments import floors, frozen
from experiments.kit import panels as draw
from experiments.kit import published, words
from experiments.kit.experiment import Experiment
from experiments.kit.marks import level
from experiments.kit.pairs import LOOKS, ORACLE, STATE
from experiments.kit.panels import Looks
from experiments.kit.placebos import READERS
from experiments.kit.tables import Tables

EARNED = ("oracle", "steady_all", floors.HAND, "state", "direct", "fixed_bias", "yoked", "vanilla")
GAINING = (ORACLE, STATE, "direct", "fixed_bias", "yoked")
TESTED = {"condition": "analysis", "protocol": "replication", "finder": "dimension"}


def steered(tables: Tables, reader: str) -> "pd.Series[float]":
    """The published effect size through a reader, by seed: of placebos the mean of their draws."""
    rows = tables.rows("frozen_effects", reader=reader, **TESTED)
    return rows.groupby("seed")["effect_size"].mean() if len(rows) else pd.Series(dtype=float)


def earned(tables: Tables, arm: str) -> "pd.Series[float]":
    """The share of what could be earned by sensing, by seed."""
    return floors.captured(tables.of("floors"), arm)


def gained(tables: Tables, arm: str) -> "pd.Series[float]":
    """How much lower than with no state the training loss on calm steps of the recurring world is, by seed."""
    return -tables.of("recurring").by_condition("recurring_losses").of(arm, "clean_loss_difference")


def _published(axes: Axes) -> None:
    level(axes, upright=False)
    level(axes, published.EFFECT_SIZE, upright=False, ls=":")
    axes.annotate(
        "published", (published.EFFECT_SIZE, 1), (2, -2), xycoords=("data", "axes fraction"), textcoords="offset points",
        va="top", fontsize=7,
    )  # fmt: skip


EARNS = draw.strip(
    (), {arm: floors.ARMS[arm] for arm in EARNED}, earned, "What sensing earns in a world that is known",
    "share of an ideal observer's gain", floors.ends,
)  # fmt: skip
GAINS = draw.strip(
    (), {name: LOOKS[name] for name in GAINING}, gained, "What sensing earns in the recurring world",
    "training loss with no state, minus its own\n(nats, calm steps)",
)  # fmt: skip


def _sensing(axes: Axes, tables: Tables, looks: Looks) -> list[str]:
    known = len(tables.of("floors").rows("floors_captured"))
    return (EARNS if known else GAINS).draw(axes, tables, looks)


def _found(tables: Tables) -> str:
    """What both panels show; of what is not measured nothing."""
    said = (floors.findings(tables.of("floors"))["captures"], frozen.findings(tables)["beats_replication"])
    return " ".join(one.title() for one in said if one.verdict != words.ABSENT)


FIGURE = draw.sheet(
    "hero.png",
    [
        draw.strip(
            ("frozen_effects",), READERS, steered, "Setting the state of a frozen model",
            "entropy, uncertain − confident (nats)", _published,
        ),
        draw.Panel((), _sensing),
    ],
    grid="aabbb", height=2.9, marks="none",
    title=_found,
    shows="Left: steering by the learned reader of the state beside scrambled and untrained ones. Right: what sensing earns.",
    caption="Left: the state set to the directions found as published; other readers searched in the same way. Right: small models of a "
    "generated source. 0: the best prediction that ignores the regime; 1: an ideal observer. Points: seeds; bars: mean, 95 % interval.",
)  # fmt: skip
EXPERIMENT = Experiment("hero", "The first picture", figures=(FIGURE,), suites=("shakespeare",))
