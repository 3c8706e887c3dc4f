"""A figure is a grid of panels under a title that says what was found, above a caption that says how to read it.

A panel says by name which column of which table it shows. An odd one, of one experiment alone, is a plain function
`(axes, tables) -> None` that draws with `marks`.
"""

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator

from experiments.kit import style
from experiments.kit.marks import (
    DARKER,
    by_seed,
    categories,
    change_axis,
    cloud,
    curve,
    handles,
    level,
    not_measured,
)
from experiments.kit.stats import per_seed
from experiments.kit.style import Look
from experiments.kit.tables import Absent, NothingToDraw, Tables
from experiments.kit.words import Finding, listed, plural

Looks = Mapping[str, Look]
Share = bool | Literal["none", "all", "row", "col"]
Findings = Callable[[Tables], Mapping[str, Finding]]
Odd = Callable[[Axes, Tables], None]


@dataclass(frozen=True)
class Figure:
    """A figure of an experiment.

    name: its path below the figures folder. shows: one sentence. make: tables, note at the bottom, findings -> drawing, or
    NothingToDraw. tables: names of those it is known to need. findings: the experiment's, given by `Experiment`. suite: whose runs
    the note at the bottom is about, if not the experiment's.
    """

    name: str
    shows: str
    make: Callable[[Tables, str, Mapping[str, Finding]], Drawing]
    tables: tuple[str, ...] = ()
    findings: Findings = lambda tables: {}
    suite: str = ""

    def telling(self, findings: Findings) -> "Figure":
        return replace(self, findings=findings)

    def draw(self, tables: Tables, note: str) -> Drawing:
        """NothingToDraw says what is missing; UserError names a table that lacks a column."""
        with tables.needed(self.name):
            return self.make(tables, note, self.findings(tables))


@dataclass(frozen=True)
class Panel:
    """A panel of the kit.

    tables: that it needs. draw: takes axes, tables and the sheet's looks, and returns the names that it drew. along: whether
    its x axis is the sheet's.
    """

    tables: Sequence[str]
    draw: Callable[[Axes, Tables, Looks], list[str]]
    along: bool = False


def sheet(
    name: str, panels: Sequence[Panel | Odd], *, shows: str, title: Sequence[str] | Callable[[Tables], str],
    caption: str | Callable[[Tables], str], grid: tuple[int, int] | str = (1, 1), height: float = 3.7,
    looks: Mapping[str, Look] | None = None, x: str = "", marks: str = "both", columns: int = 4, share_x: Share = False,
    share_y: Share = False, tables: Sequence[str] = (),
) -> Figure:  # fmt: skip
    """A figure that is a grid of panels; one that stays empty says that nothing was measured.

    Args:
        title: names of findings, or a function of the tables.
        caption: `{seeds}` in it becomes the seeds of the first panel's table.
        grid: rows and columns, a place without a panel stays empty; or the places as `subplot_mosaic` has them: "aa;bc".
        looks: the legend: what panels have drawn of them, with line, points or both as `marks`.
        x: label of the x axis of `lines`.
        columns: of the legend. tables: what odd panels need.
    """
    known = dict.fromkeys(
        [*tables, *(table for one in panels if isinstance(one, Panel) for table in one.tables)]
    )

    def make(found: Tables, note: str, findings: Mapping[str, Finding]) -> Drawing:
        made = style.figure(style.WIDE, height)
        places: list[Axes] = (
            [*made.subplot_mosaic(grid).values()]
            if isinstance(grid, str)
            else [*made.subplots(*grid, squeeze=False, sharex=share_x, sharey=share_y).ravel()]
        )
        drawn: dict[str, None] = {}
        for panel, axes in zip(panels, places, strict=False):
            if isinstance(panel, Panel):
                drawn |= dict.fromkeys(panel.draw(axes, found, looks or {}))
            else:
                panel(axes, found)
            if isinstance(panel, Panel) and panel.along:
                axes.set_xlabel(x)
            if not axes.has_data() and not axes.texts:
                not_measured(axes)
        for axes in places[len(panels) :]:
            axes.set_visible(False)
        if not drawn and all(isinstance(one, Panel) for one in panels):
            raise NothingToDraw(f"{', '.join(known)}: nothing of {listed(list(looks or {}))}")
        said = title(found) if callable(title) else " ".join(findings[one].title() for one in title)
        text = caption(found) if callable(caption) else caption
        if "{seeds}" in text:
            text = text.replace("{seeds}", plural(found.rows(next(iter(known)))["seed"].nunique(), "seed"))
        shown = handles([look for key, look in (looks or {}).items() if key in drawn], marks)
        return style.finish(made, said, text, note, shown, columns)

    return Figure(name, shows, make, tuple(known))


def then(
    panel: Panel,
    finish: Callable[[Axes, Tables], object],
    tables: Sequence[str] = (),
    along: bool | None = None,
) -> Panel:
    """A panel, and what is done to its axes once it is drawn. tables: that this needs besides. along: in place of the panel's."""

    def draw(axes: Axes, found: Tables, looks: Looks) -> list[str]:
        drawn = panel.draw(axes, found, looks)
        finish(axes, found)
        return drawn

    return Panel((*panel.tables, *tables), draw, panel.along if along is None else along)


def _parts(
    tables: Tables, table: str, looks: Looks, by: str, where: Mapping[str, object]
) -> dict[str, pd.DataFrame]:
    """The rows of each look that there is, by its name."""
    rows = tables.rows(table, **where)
    parts = {name: rows[rows[by] == name] for name in looks}
    return {name: part for name, part in parts.items() if len(part)}


def _label(axes: Axes, title: str, label: str, upright: bool = True) -> None:
    axes.set_title(title)
    (axes.set_ylabel if upright else axes.set_xlabel)(label)


def lines(
    table: str, column: str, title: str = "", y: str = "", *, along: str = "step", by: str = "condition",
    where: Mapping[str, object] | None = None, log: bool = False, bands: bool = False, ahead: int = 1, predicted: str = "",
    levels: Mapping[str, str] | None = None, zero: bool | None = None, shaded: float = 0.0,
) -> Panel:  # fmt: skip
    """A line a look: the mean over seeds of a column along another, single seeds faint.

    Args:
        by, where: the column that holds the looks' names, and what other columns have to be.
        log: a logarithmic axis. bands: 95 % t intervals over seeds, too.
        ahead: rows that each mean is taken over, forward.
        predicted: a column whose mean over seeds is drawn as a thin black line, what a theory says.
        levels: horizontal lines at the mean of "table.column": its line style.
        zero: a line at zero; by default where the column is a difference.
        shaded: a grey stretch from zero to here, in which something acts.
    """

    def draw(axes: Axes, tables: Tables, looks: Looks) -> list[str]:
        parts = _parts(tables, table, looks, by, where or {})
        for name, part in parts.items():
            rows = part.dropna(subset=[column])
            wide = rows.pivot_table(index=along, columns="seed", values=column).sort_index()
            if wide.empty:
                continue
            if ahead > 1:
                wide = wide.iloc[::-1].rolling(min(ahead, len(wide))).mean().iloc[::-1].dropna(how="all")
            curve(axes, wide, looks[name], faint=0.4, bands=bands)
            if predicted:
                said = rows.groupby(along)[predicted].mean()
                said = said[said > max(rows[column].min() / 3, 1e-6)] if log else said
                axes.plot(said.index, said, c="k", lw=0.6, zorder=4)
        for place, line in (levels or {}).items():
            name, _, other = place.partition(".")
            level(axes, tables.rows(name)[other].mean(), lw=0.9, ls=line, zorder=4)
        if column.endswith("difference") if zero is None else zero:
            level(axes)
        if shaded:
            axes.axvspan(0, shaded, color=DARKER, lw=0, zorder=-1)
        if log and any((part[column] > 0).any() for part in parts.values()):
            style.log_axis(axes)
        _label(axes, title, y)
        return list(parts)

    return Panel((table, *(place.partition(".")[0] for place in levels or ())), draw, along=True)


def points(
    table: str, column: str, title: str = "", label: str = "", *, by: str = "condition", across: str = "",
    order: Iterable[str] = (), where: Mapping[str, object] | None = None, upright: bool = True, zero: bool = True,
    changes: bool = False, levels: Sequence[float | str] = (), said: Mapping[str, str] | None = None,
    labelled: bool = False,
) -> Panel:  # fmt: skip
    """A value a seed, mean and interval: a place a look, or with `across` a place a value of that column, looks side by side.

    Args:
        by, where: the column that holds the looks' names, and what other columns have to be.
        order: the values of `across` in order; others come after them.
        upright: values are heights; else they lie across, from top to bottom.
        zero: a line at zero.
        changes: an axis for changes, see `change_axis`; not upright.
        levels: dotted lines at these values, or at the means of these columns.
        said: the words for a place, by its value; others stand as they are.
        labelled: a look's place has its label, not its name; not upright.
    """

    def draw(axes: Axes, tables: Tables, looks: Looks) -> list[str]:
        parts = _parts(tables, table, looks, by, where or {})
        if not parts:
            return []
        if across:
            have = dict.fromkeys(value for part in parts.values() for value in part[across])
            places = list(dict.fromkeys([*(value for value in order if value in have), *sorted(have)]))
            half = 0.4 * (1 - 1 / max(len(parts), 1))  # as far from each other as from the next place's
            shifts = dict(zip(parts, np.linspace(-half, half, len(parts)), strict=True))
            apart, bar = 0.3 / max(len(parts), 1) ** 1.1, 0.36 / max(len(parts), 1) ** 1.05
        else:
            places, shifts, apart, bar = list(parts), dict.fromkeys(parts, 0.0), 0.16, 0.28
        drawn = []
        for name, part in parts.items():
            for index, place in enumerate(places):
                if not across and place != name:
                    continue
                rows = part[part[across] == place] if across else part
                values = per_seed(rows, column)
                drawn.append(values)
                by_seed(
                    axes, index + shifts[name], values, looks[name], upright=upright, apart=apart, bar=bar
                )
        names = [
            f"{place:g}" if isinstance(place, float) else (said or {}).get(place, str(place))
            for place in places
        ]
        names = [looks[name].label for name in names] if labelled else names
        names = [textwrap.fill(name, 40 if labelled else 16, break_long_words=False) for name in names]
        categories(axes, names, upright, striped=bool(across))
        if zero:
            level(axes, upright=upright)
        shown = pd.concat(parts.values()) if parts else Absent()
        for value in levels:
            level(axes, shown[value].mean() if isinstance(value, str) else value, upright, ls=":")
        if changes and drawn:
            change_axis(axes, pd.concat(drawn))
        _label(axes, title, label, upright)
        return list(parts)

    return Panel((table,), draw)


def scatter(
    table: str, across: str, up: str, title: str = "", x: str = "", y: str = "", *, by: str = "condition",
    where: Mapping[str, object] | None = None, joined: bool = False, crossed: bool = False, zero: bool = True,
) -> Panel:  # fmt: skip
    """One column against another: a point a seed, the mean of each look larger.

    joined: a grey line through the points of a seed. crossed: 95 % t intervals of both means. zero: lines at zero.
    """

    def draw(axes: Axes, tables: Tables, looks: Looks) -> list[str]:
        parts = _parts(tables, table, looks, by, where or {})
        parts = {name: part.dropna(subset=[across, up]) for name, part in parts.items()}
        for name, part in parts.items():
            cloud(axes, part[across], part[up], looks[name], crossed)
        if joined and parts:
            for _, of_seed in pd.concat(parts.values()).sort_values(across).groupby("seed"):
                axes.plot(of_seed[across], of_seed[up], c=style.LIGHT, lw=0.6, zorder=0)
        if zero:
            level(axes, c=style.LIGHT)
            level(axes, c=style.LIGHT, upright=False)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(x)
        _label(axes, title, y)
        return [name for name, part in parts.items() if len(part)]

    return Panel((table,), draw)


def at_zero(axes: Axes) -> None:
    """A line at zero across a strip."""
    level(axes, upright=False)


def strip(
    tables: Sequence[str], looks: Looks, values: Callable[[Tables, str], pd.Series], title: str, label: str,
    finish: Callable[[Axes], object] = at_zero, joined: Sequence[str] = (),
) -> Panel:  # fmt: skip
    """A row a look of its own, with its label: a value a seed, mean and interval. For what no one column holds.

    Args:
        values: tables, name of a look -> its values by seed. finish: what is done to the axis last; by default a line at zero.
        joined: two looks, whose values are joined by seed.
    """

    def draw(axes: Axes, found: Tables, _: Looks) -> list[str]:
        known = {name: values(found, name) for name in looks}
        for place, (name, look) in enumerate(looks.items()):
            by_seed(axes, place, known[name], look, upright=False, apart=0.2, bar=0.32)
        categories(axes, [look.label for look in looks.values()], upright=False, striped=False)
        _label(axes, title, label, upright=False)
        both = pd.DataFrame({name: known[name] for name in joined}).dropna()
        if len(both):
            axes.plot(
                both.to_numpy().T, [[*looks].index(name) for name in joined], c=style.LIGHT, lw=0.6, zorder=1
            )
        drawn = [name for name in looks if len(known[name])]
        if drawn:
            finish(axes)
        return drawn

    return Panel(tables, draw)
