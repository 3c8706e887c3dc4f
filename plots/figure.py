"""The declaration of a figure."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure as Drawing

Tables = dict[str, pd.DataFrame]  # by name
OF_ANY_SUITE = "shakespeare"  # whose figures and pages a suite of the user's own gets


@dataclass(frozen=True)
class Figure:
    """A figure of the study.

    Attributes:
        name: path below the figures folder.
        draw: tables by name, and the note at the bottom -> the drawing. Raises NothingToDraw.
        tables: names of the tables (without .csv) that it needs.
        caption: one sentence on what it shows.
        suite: the suite whose tables it is drawn from.
    """

    name: str
    draw: Callable[[Tables, str], Drawing]
    tables: tuple[str, ...]
    caption: str
    suite: str = OF_ANY_SUITE
