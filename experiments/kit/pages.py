"""A page: the experiment's template, filled with its findings and grids, and with numbers that the template asks for.

A template is Markdown with Jinja2. What it can use: `say` (kit.md's macros), `finding` and `grid` by name, `figures` (the
folder of figures as seen from the page), `figure(name, alt)`, `published`, `tables`, `mean(table, column, **where)`,
`top(...)` likewise, the experiment's own `values`, and as filters number, signed, percent, interval, told, digits, tiny,
plural, listed.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from experiments.kit import published, words
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.stats import Estimate, estimate
from experiments.kit.style import Look
from experiments.kit.tables import ByCondition, Grid, NothingToDraw, Tables, of_condition

if TYPE_CHECKING:
    from experiments.kit.experiment import Experiment

KIT = Path(__file__).parent
EXPERIMENTS = KIT.parent
Cell = Callable[[pd.DataFrame, Tables], str]
"""What makes a cell of a grid from the rows of its condition and all tables."""


def render(
    experiment: "Experiment", tables: Tables, figures: str, note: str = "", folder: Path = EXPERIMENTS
) -> str:
    """The page of an experiment, as Markdown.

    Args:
        tables: of its first suite.
        figures: the folder of figures as seen from the page.
        note: what the page has to say first, for example that the study is a quick one.
        folder: where the template lies.

    Raises:
        UserError: a table lacks a column, or has words where numbers belong.
        jinja2.UndefinedError: the template asks for what is not there.
    """
    apart = tables.apart()  # a page names the tables that it reads itself
    try:
        return _rendered(experiment, apart, figures, note, folder)
    finally:
        tables.reads |= apart.reads


def _rendered(experiment: "Experiment", tables: Tables, figures: str, note: str, folder: Path) -> str:
    try:
        with tables.needed(f"page {experiment.page}"):
            findings = dict(experiment.findings(tables))
    except NothingToDraw:
        findings = {}
    shown = {figure.name: figure for figure in experiment.figures}

    def figure(name: str, alt: str) -> str:
        there = all(len(tables.rows(needed)) for needed in shown[name].tables)
        return f"![{alt}]({figures}/{name})" if there else ""

    with tables.legible():
        known = {
            "missing": words.MISSING, "title": experiment.title, "note": " ".join(note.split()), "figures": figures,
            "short": partial(short, findings, tables), "finding": findings, "figure": figure,
            "grid": {name: _or_missing(make, tables) for name, make in experiment.grids.items()},
            "published": SimpleNamespace(**{**vars(published), **published.ANSWERS}), "tables": tables,
            "sources": lambda: words.listed([f"`{one}.csv`" for one in tables.found()]),
            "made_from": made_from(tables, *experiment.guests), "smaller": partial(smaller, tables),
            "mean": partial(_of_column, tables, "mean"), "top": partial(_of_column, tables, "max"),
        }  # fmt: skip
        known |= experiment.values(tables)
        return filled(
            experiment.template,
            known,
            folder,
            conditions=partial(conditions, tables, guests=experiment.guests),
        )


def short(findings: Mapping[str, words.Finding], tables: Tables, names: Sequence[str]) -> str:
    """What opens a page: findings by name, or one sentence where there are too few seeds to find anything.

    names: of the findings; none for all, what fails first.
    """
    seeds = tables.rows("runs")["seed"].nunique() if len(tables.rows("runs")) else 0
    told = [findings[name] for name in names] if names and findings else words.in_order(findings.values())
    if not any(one.verdict != words.ABSENT for one in told):
        return (
            "Nothing has been measured yet."
            if not seeds
            else "None of the conditions that this page compares has finished with another of them."
        )
    if 0 < seeds < FEWEST_SEEDS and all(one.verdict in (words.OPEN, words.ABSENT) for one in told):
        return f"{words.plural(seeds, 'seed')} can settle nothing: {FEWEST_SEEDS} are the fewest. The numbers stand below."
    return "\n".join(one.line() for one in told)


def filled(
    template: str,
    known: Mapping[str, Any],
    folder: Path = EXPERIMENTS,
    html: bool = False,
    **filters: Callable[..., str],
) -> str:
    """A template of a folder, filled with what is known by name; `filters` come on top of the kit's.

    html: the template is of HTML, and not of Markdown, in which nothing may be a tag.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, KIT]), undefined=StrictUndefined, autoescape=False, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {
        "number": words.number, "digits": words.number, "signed": words.signed, "percent": words.percent, "plural": words.plural,
        "listed": words.listed, "interval": words.interval, "tiny": words.tiny, "told": told, **filters,
    }  # fmt: skip
    environment.globals |= known
    text = environment.get_template(template).render()
    if html:
        return text
    return words.harmless(re.sub(r"\n{3,}", "\n\n", text).strip() + "\n")


def _or_missing(make: Grid, tables: Tables) -> str:
    try:
        with tables.needed("grid"):
            return make(tables)
    except NothingToDraw:
        return words.MISSING


def _of_column(tables: Tables, how: str, name: str, column: str, **where: object) -> float:
    return float(tables.rows(name, **where)[column].agg(how))


def conditions(tables: Tables, text: str, guests: Iterable[str] = ()) -> str:
    """The section on the conditions of which a suite, or a guest on its page, has runs, from lines `name: words`.

    A condition without words, as in a suite of the user's own, is left out: its config is the reader's.
    """
    have = {name for one in (tables, *map(tables.of, guests)) for name in one.rows("runs")["condition"]}
    lines = [line.strip().split(": ", 1) for line in text.splitlines() if line.strip()]
    rows = [[f"`{name}`", said] for name, said in lines if name in have]
    return f"## Conditions\n\n{words.table(['condition', 'what it is'], rows, words=True)}" if rows else ""


def grid(
    name: str, looks: Mapping[str, Look] | Iterable[str] = (), *, head: str = "condition", by: str = "condition", across: str = "",
    order: Iterable[str] = (), where: Mapping[str, object] | None = None, minus: Mapping[str, str] | None = None, n: bool = True, only: bool = False,
    **measures: tuple[Any, ...],
) -> Grid:  # fmt: skip
    """A table with a row a condition, and a column a measure: mean over seeds and interval.

    Args:
        name, where: the table, and what its columns have to be.
        looks: the conditions in order, others after them unless `only` these; Looks give the words behind a condition's name.
        head: of the first column. by: the column that holds the conditions.
        across: a column of whose values, in `order` and then as they come, each condition has a row.
        minus: after a measure, a column with the difference to this condition, paired by seed.
        n: a last column with the number of seeds.
        measures: column -> (head, format[, column]). Formats: "4": so many digits; "±4": with a sign; "~4": the mean alone; "%": a percentage;
            "steps": the median of steps until something, `never` where the value is missing though the third entry's column
            is there; or a function (rows of the condition, tables) -> the cell.
    """

    def cell(found: ByCondition, condition: str, column: str, kind: str, needs: str | None = None) -> str:
        if kind == "steps":
            return words.median(found.steps(condition, column, needs))
        return shown(found.value(condition, column), kind)

    def make(tables: Tables) -> str:
        rows = tables.rows(name, **(where or {}))
        rows = rows.assign(condition=rows[by])
        rows = rows[rows["condition"].isin(list(looks))] if only else rows
        have = dict.fromkeys(rows[across]) if across else {None: None}
        values = list(dict.fromkeys([*(value for value in order if value in have), *have]))
        lines = []
        for value in values:
            found = ByCondition(rows[rows[across] == value] if across else rows, looks)
            for condition in found.conditions:
                said = f": {found.labels[condition]}" if condition in found.labels else ""
                line = [f"`{value}`, `{condition}`{said}" if across else f"`{condition}`{said}"]
                for column, (_, kind, *needs) in measures.items():
                    if callable(kind):
                        line.append(kind(found.part(condition), tables))
                        continue
                    line.append(cell(found, condition, column, kind, *needs))
                    if column in (minus or {}):
                        other = (minus or {})[column]
                        beyond = found.minus(condition, other, column)
                        line.append(shown(beyond, f"±{kind}") if condition != other else words.DASH)
                counts = [
                    found.value(condition, column).n
                    for column, (_, kind, *_) in measures.items()
                    if kind != "steps" and not callable(kind)
                ]
                lines.append(line + [str(max(counts, default=0))] * n)
        heads = [head]
        for column, (said, *_) in measures.items():
            heads += [said] + [f"that − `{other}`'s" for of, other in (minus or {}).items() if of == column]
        return words.table(heads + ["n"] * n, lines)

    return make


def beyond(other: str, name: str, column: str, kind: str, **where: object) -> Cell:
    """The cell with a condition minus another one, paired by seed, in a column of a table; a dash for the other one itself."""

    def cell(rows: pd.DataFrame, tables: Tables) -> str:
        own = str(rows["condition"].iloc[0])
        apart = ByCondition(tables.rows(name, **where)).minus(own, other, column)
        return words.DASH if own == other else shown(apart, kind)

    return cell


def shown(value: Estimate, kind: str) -> str:
    """An estimate as a cell, by one of the formats of `grid`; a dash without a seed."""
    if not value.n:
        return words.DASH
    if kind == "%":
        return words.percent(value.mean)
    if kind.startswith("~"):
        return words.number(value.mean, int(kind[1:]))
    return words.interval(value, int(kind.lstrip("±")), sign=kind.startswith("±"))


def course(
    name: str, looks: Iterable[str], along: str, places: Iterable[int], *, said: str = "steps since",
    beside: Mapping[str, tuple[str, str, str]] | None = None, **measures: tuple[str, str],
) -> Grid:  # fmt: skip
    """A table a measure: a row a condition, means over seeds at some places along a column.

    Args:
        along, said: the column of places, and its words.
        beside: measure -> (condition, words, column): another column, as a row below that condition.
        measures: column -> (head, format as in `grid`).
    """

    def make(tables: Tables) -> str:
        rows = tables.rows(name)
        have = set(rows["condition"])
        names = [one for one in looks if one in have]
        steps = sorted(set(rows[along]) & set(places))
        if not names or not steps:
            return words.MISSING
        blocks = []
        for column, (head, kind) in measures.items():
            show = partial(
                words.signed if kind.startswith("±") else words.number, digits=int(kind.lstrip("±"))
            )
            lines = []
            under = (beside or {}).get(column, ("", "", ""))
            for condition in names:
                shown_as = [(f"`{condition}`", column)] + [(f"`{condition}`, {under[1]}", under[2])] * (
                    condition == under[0]
                )
                for label, of in shown_as:
                    mean = of_condition(rows, condition).groupby(along)[of].mean()
                    lines.append([label, *(show(float(mean.get(step, np.nan))) for step in steps)])
            blocks.append(words.table([f"{head}: {said}", *(str(int(step)) for step in steps)], lines))
        return "\n\n".join(blocks)

    return make


def made_from(tables: Tables, *guests: str) -> str:
    """One sentence on the runs behind a page: suite, corpus, size of the models, seeds, steps, number type.

    guests: other suites whose results stand on the page, too.
    """
    runs = pd.concat([one.rows("runs") for one in (tables, *map(tables.of, guests))], ignore_index=True)
    if runs.empty:
        return "No finished run is in the tables."
    corpora = [f"`{name}`" for name in sorted(set(runs["corpus"].astype(str)))]
    dtypes = ", ".join(sorted(set(runs["dtype"].astype(str))))
    counts = runs["parameters"].astype(int).sort_values()
    sizes = words.listed([*dict.fromkeys(f"{count / 1e6:.2f}" for count in counts)])
    steps = " or ".join(str(count) for count in sorted(set(runs["steps"].astype(int))))
    suites = [f"`{name}`" for name in sorted(set(runs["suite"].astype(str)))]
    seeds = runs.groupby(["suite", "condition"])["seed"].nunique()
    count = words.plural(int(seeds.max()), "seed") + (
        "" if seeds.min() == seeds.max() else f" at most, {seeds.min()} at least"
    )
    return (
        f"Suite{'s' if len(suites) > 1 else ''} {words.listed(suites)}, {'corpora' if len(corpora) > 1 else 'corpus'} {words.listed(corpora)}, "
        f"models of {sizes} million parameters: {words.plural(len(runs), 'run')} of {steps} "
        f"steps, {count} a condition, products in {dtypes}."
    )


def smaller(tables: Tables) -> str:
    """A sentence for where published numbers stand beside those of a smaller model; nothing where the model is as large."""
    size = tables.rows("runs")["parameters"].max()
    if not size < published.PARAMETERS / 2:
        return ""
    return (
        f" The published model has {published.PARAMETERS / 1e6:.1f} million parameters, this suite's {size / 1e6:.2f} million: where a "
        "published value stands beside ours, the models differ."
    )


def told(values: "pd.Series[float] | Estimate", digits: int = 2, sign: bool = False) -> str:
    """Values by seed, or an estimate of them, as mean and interval."""
    return words.interval(values if isinstance(values, Estimate) else estimate(values), digits, sign)


def of_seeds(first: str, columns: Iterable[tuple[str, str]], lines: Iterable[Sequence[Any]]) -> str:
    """A table of lines that are no rows of one table. Last n, the most seeds; a line without a value is left out.

    Args:
        first: head of the first column. columns: (head, format as in `grid`) of the others.
        lines: words, then cells: values by seed, an estimate of them, a number, or words that stand as they are.
    """
    heads, kinds = zip(*columns, strict=True)
    body = []
    for label, *cells in lines:
        known = [one if isinstance(one, str | Estimate) else estimate(pd.Series(one, dtype=float)) for one in cells]  # fmt: skip
        n = max((one.n for one in known if not isinstance(one, str)), default=0)
        if n:
            told = (
                one if isinstance(one, str) else shown(one, kind)
                for one, kind in zip(known, kinds, strict=True)
            )
            body.append([label, *told, str(n)])
    return words.table([first, *heads, "n"], body)
