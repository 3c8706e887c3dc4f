"""BRIDGE, until every experiment is converted: every figure, of experiments/ and of the modules still in plots/.

Both are found by looking, so that converting an experiment edits nothing here: its modules go, and that is all.

docs/PIPELINE.md's map from data to figures and scripts/make_figures.py are both made from `FIGURES`.
"""

import dataclasses
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from base import errors, storage
from experiments import found
from experiments.kit import panels as kit_panels
from experiments.kit import style, tables
from experiments.kit import tables as kit_tables
from experiments.kit.tables import RUN, WEIGHTS, NothingToDraw
from experiments.kit.words import plural
from plots.figure import OF_ANY_SUITE, Figure

_FROZEN = ("frozen_effects", "frozen_effects_summary", "frozen_conditions", "frozen_doses")
_REGIMES = ("metrics", "windows", "regime_deltas")


def module(name: str) -> Any:
    """A module of this package, None once it is gone."""
    return import_module(f"plots.{name}") if find_spec(f"plots.{name}") else None


frozen, perturbation, training = map(module, ("frozen", "perturbation", "training"))
_OF_FROZEN = frozen and (
    Figure(
        "frozen-weight-test.png",
        frozen.frozen_weight_test,
        _FROZEN,
        "Weights frozen, state set by hand: how far learned directions move entropy, beside placebos selected in the "
        "same way, random directions, and the dose-response, for the weights of the last step.",
    ),
    Figure(
        "frozen-weight-test-early.png",
        frozen.frozen_weight_test_early,
        _FROZEN,
        "The same test of the earliest weights kept (step 1000, as in the published test).",
    ),
)
_OF_REGIMES = perturbation and (
    Figure(
        "perturbation/regime-reactions.png",
        perturbation.regime_reactions,
        _REGIMES,
        "Every logged channel through the run, with the windows of the five regimes shaded and named, beside the same "
        "run without regimes and the model without a self-state.",
    ),
    Figure(
        "perturbation/regime-deltas.png",
        perturbation.regime_deltas,
        ("regime_deltas", "regime_deltas_summary"),
        "How much each regime changes each channel, seed by seed, beside what time alone and the model without a "
        "self-state do at the same steps.",
    ),
    *(
        Figure(
            f"perturbation/{regime}.png",
            perturbation.detail(regime),
            _REGIMES,
            f"Every channel around the onset of {regime} ({look.gloss}).",
        )
        for regime, look in style.REGIMES.items()
    ),
)
_OF_TRAINING = training and (
    Figure(
        "state-trajectory.png",
        training.state_trajectory,
        ("state_path",),
        "The self-state's path through training in its first two principal components, coloured by step, regimes marked.",
    ),
    Figure(
        "learning-curves.png",
        training.learning_curves,
        ("metrics",),
        "Training and held-out loss of every condition, and the final held-out losses seed by seed.",
    ),
)
CORE: tuple[Figure, ...] = tuple(
    figure for some in (_OF_FROZEN, _OF_REGIMES, _OF_TRAINING) for figure in some or ()
)


@dataclasses.dataclass(frozen=True)
class Converted(Figure):
    """A figure of experiments/, as an entry here."""

    of: kit_panels.Figure | None = None


def _drawn_otherwise(tables: dict[str, pd.DataFrame], note: str) -> Any:
    raise AssertionError("a converted figure is drawn by its experiment")


_NAMES = (
    *("update_network", "lead_lag", "controls", "memory", "ambiguous", "generalization", "recurring"),
    *("steering", "beliefs", "claims", "sweeps"),
)
_TOPICS = [one for one in map(module, _NAMES) if one]
FIGURES: tuple[Figure, ...] = (
    *CORE,
    *(figure for topic in _TOPICS for figure in topic.FIGURES),
    *(
        Converted(figure.name, _drawn_otherwise, figure.tables, figure.shows, experiment.suites[0], figure)
        for experiment in found().values()
        for figure in experiment.figures
    ),
)

COLUMNS: dict[
    str, tuple[str, ...]
] = {  # what the figures take from each table, besides what each topic says itself
    "metrics": (*RUN, "step", "regime", *style.CHANNELS, "heldout_loss"),
    "windows": (*RUN, "regime", "start", "end"),
    "regime_deltas": (*RUN, "regime", "metric", "delta"),
    "regime_deltas_summary": ("suite", "condition", "regime", "metric", "delta", "low", "high"),
    "state_path": (*RUN, "step", "regime", "pc1", "pc2", "share1", "share2"),
    "frozen_effects": (*WEIGHTS, "protocol", "finder", "reader", "draw", "effect_size"),
    "frozen_effects_summary": (
        *(*WEIGHTS, "protocol", "finder", "effect", "placebo", "placebo_mean", "p_value"),
    ),
    "frozen_conditions": (*WEIGHTS, "protocol", "finder", "state", "draw", "delta_entropy"),
    "frozen_doses": (*WEIGHTS, "direction", "magnitude", "delta_entropy"),
}


for _topic in _TOPICS:
    for _name, _columns in _topic.COLUMNS.items():
        COLUMNS[_name] = tuple(dict.fromkeys((*COLUMNS.get(_name, ()), *_columns)))


LONGEST_NOTE = 600  # signs; a longer one leaves a figure no room


def read_table(tables_dir: Path, name: str, suite: str) -> pd.DataFrame:
    """A table of a suite with the columns that figures take from it; empty where the file is missing or blank."""
    return tables.read(tables_dir, suite, name, COLUMNS.get(name, ("suite",)))


def note_of(tables_dir: Path, suite: str) -> str:
    """The note for `draw_all`: what the pipeline left in note.txt beside the tables, else corpus and seeds by runs.csv.

    UserError where there is no folder of tables.
    """
    tables.suites(tables_dir)
    left = tables_dir / suite / "note.txt"
    if left.is_file():
        return left.read_text().strip()
    runs = read_table(tables_dir, "runs", suite)
    if runs.empty or not {"corpus", "seed"} <= set(runs):
        return f"Suite {suite}"
    corpora = ", ".join(sorted(set(runs["corpus"])))
    return f"Corpus: {corpora}; {plural(runs['seed'].nunique(), 'seed')}."


def draw_all(
    tables_dir: Path,
    figures_dir: Path,
    suite: str,
    note: str,
    say: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Draw every figure that the tables allow.

    Args:
        tables_dir: folder that has a folder of tables (CSV) for each suite.
        figures_dir: folder to write to.
        suite: the suite that is drawn.
        note: corpus and number of seeds, printed small at the bottom of every figure.
        say: called with one line for each figure that is skipped, which names what is missing.

    Returns:
        The files written.

    Raises:
        storage.UserError: a table that is not CSV, or lacks a column.
    """
    note = errors.one_line(note, LONGEST_NOTE).replace("$", r"\$")  # a dollar begins a formula
    cache: dict[str, pd.DataFrame] = {}
    written = []
    known = {figure.suite for figure in FIGURES}
    drawn_as = suite if suite in known else OF_ANY_SUITE
    for figure in FIGURES:
        if figure.suite != drawn_as:
            continue
        if isinstance(figure, Converted) and figure.of:
            try:
                with style.context(), warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "Glyph")
                    drawing = figure.of.draw(kit_tables.Tables(tables_dir, suite), note)
                    storage.write_bytes(figures_dir / figure.name, style.png_bytes(drawing))
                written.append(figures_dir / figure.name)
            except NothingToDraw as reason:
                say(f"skipped {figure.name}: {reason}")
            continue
        for name in figure.tables:
            if name not in cache:
                cache[name] = read_table(tables_dir, name, suite)
        lacking = [f"{name}.csv" for name in figure.tables if cache[name].empty]
        if lacking:
            say(f"skipped {figure.name}: {', '.join(lacking)} missing or empty for suite {suite}")
            continue
        try:
            with style.context(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Glyph")  # a sign of the note that the font lacks
                content = style.png_bytes(figure.draw({name: cache[name] for name in figure.tables}, note))
        except NothingToDraw as reason:
            say(f"skipped {figure.name}: {reason}")
            continue
        storage.write_bytes(figures_dir / figure.name, content)
        written.append(figures_dir / figure.name)
    return written
