"""Runs that were never trained: a log and states made here, for analyses whose right answer is then known."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from base import storage
from configs.run import RunConfig
from configs.suite import Signatures, Suite
from experiments.kit import panels as kit_panels
from experiments.kit import style
from experiments.kit import tables as kit_tables
from experiments.kit.experiment import Experiment, Table
from experiments.kit.pages import render
from experiments.kit.runs import Context, Run
from experiments.kit.words import Finding

Window = tuple[str, int, int]


@dataclass(frozen=True)
class MadeRun(Run):
    """A run whose log and states stand in memory."""

    log: pd.DataFrame = field(default_factory=pd.DataFrame)
    path: np.ndarray | None = None

    def metrics(self) -> pd.DataFrame:
        return self.log.copy()

    def states(self) -> np.ndarray | None:
        return self.path


def made_run(
    condition: str,
    seed: int,
    log: pd.DataFrame,
    states: np.ndarray | None,
    folder: Path = Path(),
    **settings: Any,
) -> MadeRun:
    """A run of suite "s". `settings`: fields of its RunConfig; what is left out has its default."""
    fields = {name: {} for name in ("model", "train", "log", "self_state", "regimes")} | settings
    return MadeRun(
        "s", condition, seed, folder, RunConfig(corpus="x", seed=seed, **fields), log=log, path=states
    )


def context(runs: Sequence[Run]) -> Context:
    """What an analysis is given, with 20 permutations."""
    conditions = {run.condition: run.config for run in runs if run.config.start is None}
    suite = Suite(
        name="s", path="s.toml", seeds=8, conditions=conditions or {"none": made_run("none", 1, pd.DataFrame(), None).config},
        signatures=Signatures(permutations=20),
    )  # fmt: skip
    return Context(suite, runs)


def make_tables(
    tables: Iterable[Table], context: Context, made: Mapping[str, pd.DataFrame] | None = None
) -> dict[str, pd.DataFrame]:
    """All tables of a suite by name, each after those that it is made of.

    made: tables that are there already. ValueError where one is made of a table that nobody makes.
    """
    done, waiting = dict(made or {}), list(tables)
    while waiting:
        ready = next((one for one in waiting if all(name in done for name in one.needs)), None)
        if ready is None:
            coming = {*done, *(name for one in waiting for name in one.names)}
            lacking = sorted({name for one in waiting for name in one.needs} - coming)
            raise ValueError(
                f"no function makes the tables {', '.join(lacking)} of suite {context.suite.name}"
            )
        waiting.remove(ready)
        done |= ready.of(context, done)
    return done


def regimes_of(steps: int, windows: Sequence[Window], first: int = 0) -> np.ndarray:
    """The regime of each step from `first` on, (steps,) str."""
    made = np.full(steps, "calm", dtype=object)
    for name, start, end in windows:
        made[max(start - first, 0) : max(end - first, 0)] = name
    return made


def assert_clean(name: str, drawing: Drawing) -> None:
    """Nothing lies on anything, nothing is cut off, nothing is too small to read, and the note is there."""
    assert drawing.get_size_inches()[0] in (style.WIDE, style.COLUMN), name
    engine = drawing.get_layout_engine()
    assert engine is not None
    engine.execute(drawing)  # what drawing begins with: where everything lies
    texts = [one for one in drawing.findobj(Text) if isinstance(one, Text) and one.get_text()]
    assert all(float(one.get_fontsize()) >= 7 for one in texts), name
    assert any("a note" in " ".join(one.get_text().split()) for one in drawing.texts), name
    around = [one.get_window_extent() for one in (*drawing.texts, *drawing.legends)]
    boxes = around + [box for axes in drawing.axes if (box := axes.get_tightbbox())]
    for index, box in enumerate(boxes):
        assert box.x0 > -2 and box.x1 < drawing.bbox.width + 2, name
        assert box.y0 > -2 and box.y1 < drawing.bbox.height + 2, name
        assert not any(_overlap(box, other) for other in boxes[index + 1 :]), name


def _overlap(one: Bbox, other: Bbox, slack: float = 1.0) -> bool:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return bool(width > slack and height > slack)


def title_of(drawing: Drawing) -> str:
    return " ".join(drawing.texts[0].get_text().split())


def read_from(folder: Path, suite: str, tables: dict[str, pd.DataFrame]) -> kit_tables.Tables:
    """Tables that lie as files in a folder."""
    for name, table in tables.items():
        storage.write_bytes(folder / suite / f"{name}.csv", kit_tables.content(table))
    return kit_tables.Tables(folder, suite)


class Page(str):
    """A page, and the findings that it was written from."""

    findings: dict[str, Finding]


def page_of(
    experiment: Experiment, folder: Path, tables: dict[str, pd.DataFrame], figures: str = "figures", note: str = ""
) -> Page:  # fmt: skip
    """The page of an experiment, from tables that are written to a folder."""
    known = read_from(folder, experiment.suites[0], tables)
    page = Page(render(experiment, known, figures, note))
    page.findings = experiment.findings(known)
    return page


def drawn_of(
    figure: kit_panels.Figure, folder: Path, tables: dict[str, pd.DataFrame], suite: str = "s"
) -> Drawing:
    """A figure of an experiment, from tables that are written to a folder, checked."""
    with style.context():
        drawing = figure.draw(read_from(folder, suite, tables), "a note")
        assert_clean(figure.name, drawing)
    return drawing


def cells(page: str, start: str) -> list[str]:
    """The cells of the one row of a page's tables that begins with `start`."""
    (row,) = [line for line in page.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def assert_tables(page: str) -> None:
    """Every row of every table has as many cells as its head: a bar inside a cell would make more."""
    lines = [re.sub(r"\\\|", "", line) for line in page.splitlines()]
    for above, line in itertools.pairwise(lines):
        if above.startswith("|") and line.startswith("|"):
            assert above.count("|") == line.count("|"), line


def verdict(page: Page, words: str) -> str:
    """The verdict on the one claim that has these words."""
    (found,) = [one.verdict for one in page.findings.values() if words in one.claim]
    return found.capitalize()
