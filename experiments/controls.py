"""Biases that sense nothing, and self-states of one dimension, beside the self-state: what regimes do, and what is gained.

No control has a run without regimes, so what time alone does in a window is taken from the same run's calm steps: a
self-state's norm grows through training where a constant bias has its norm early, and the difference of those two courses is
no response to any regime. Of `self` there is such a run, `self_calm`, which says how far the calm steps can be trusted.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd

from experiments.controls_figure import FIGURES, FROZEN, LOOKS, ONE, ORDER, SENSES, STATIC, clear, last_tests
from experiments.controls_tables import CALM_RUN, EFFECT, TABLES, VANILLA
from experiments.kit import pages, words
from experiments.kit.changes import beyond
from experiments.kit.experiment import Experiment
from experiments.kit.levels import ALPHA, FEWEST_SEEDS
from experiments.kit.placebos import TESTS, View, effect_table, further, surpluses
from experiments.kit.stats import Estimate, estimate, over_seeds, paired, per_seed
from experiments.kit.style import COMMON, REGIMES
from experiments.kit.tables import Grid, Tables, of_condition
from experiments.kit.words import DASH, MISSING, Finding, difference, listed, plural


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page says, and the large figure's title."""
    losses = tables.by_condition("control_losses")
    one, calm = (surpluses(last_tests(tables, name)) for name in (ONE[0], CALM_RUN))

    def gains(claim: str, others: Sequence[str], otherwise: str) -> Finding:
        parts = {LOOKS[name].label: losses.minus("self", name, "heldout_loss") for name in others}
        unit = "nats, the self-state's held-out loss minus that"
        return difference(claim, parts, -1, unit, otherwise=otherwise, nearest=True)

    return {
        "effect": _unlike(
            tables, "The self-state's effect on the output reacts to regimes otherwise than every constant bias's.",
            "The effect of some constant bias reacts to regimes much as the self-state's does.", (EFFECT,),
        ),
        "outcome": _unlike(
            tables, "Loss, entropy, confidence and gradient norm react otherwise with a self-state than with every constant bias.",
            "Loss, entropy, confidence and gradient norm react with some constant bias much as with a self-state.", COMMON,
        ),
        "stronger": _answers(
            tables, "The self-state's effect answers to regimes more strongly than every constant bias's.", STATIC, +1,
            "The effect of some constant bias changes under regimes about as much as the self-state's, or more.",
        ),
        "relative": _answers(
            tables, "Measured against its own size, too, it answers more strongly than every constant bias's.", STATIC, +1,
            "Measured against its own size, the self-state's effect does not answer clearly more strongly than every constant bias's.",
            "relative",
        ),
        "senses": _answers(
            tables, "The self-state answers more strongly than the same state fed wrong signals.", SENSES, +1,
            "Fed wrong signals, the same state answers about as strongly, or more.",
        ),
        "senses_relative": _answers(
            tables, "Measured against its own size, too, it answers more strongly than the same state fed wrong signals.", SENSES, +1,
            "Measured against its own size, it does not answer clearly more strongly than the same state fed wrong signals.", "relative",
        ),
        "weaker": _answers(
            tables, "A state of one number answers more weakly than one of 32.", ONE[:1], -1,
            "A state of one number does not answer clearly more weakly than one of 32.",
        ),
        "matched": _answers(
            tables, "With a bias as long as the self-state's, too, a state of one number answers more weakly.", ONE[1:], -1,
            "With a bias as long as the self-state's, a state of one number does not answer clearly more weakly.",
        ),
        "relative_one": _answers(
            tables, "Measured against its own size, too, a state of one number answers more weakly.", ONE, -1,
            "Measured against its own size, a state of one number does not answer clearly more weakly.", "relative",
        ),
        "better": difference(
            "With a self-state the model predicts held-out text better than without.",
            {"loss": losses.minus("self", VANILLA, "heldout_loss")}, -1, "nats, with minus without",
            otherwise="With a self-state the model does not predict held-out text clearly better than without.",
        ),
        "more": gains(
            "A self-state gains more than every constant bias.", STATIC, "Some constant bias gains about as much as a self-state, or more.",
        ),
        "more_senses": gains(
            "A self-state gains more than the same state fed wrong signals.", SENSES,
            "Fed wrong signals, the same state gains about as much, or more.",
        ),
        "further": further(
            View(tables, CALM_RUN), "heldout", "gradient", "The learned reader steers the model further than untrained readers do.",
            "The learned reader does not steer the model clearly further than untrained readers do.",
        ),
        "further_one": further(
            View(tables, ONE[0]), "heldout", "gradient", "The reader of a state of one number, too, steers further than untrained ones.",
            "The reader of a state of one number does not steer clearly further than untrained ones.",
        ),
        "less": difference(
            "Beyond what untrained readers do, a state of one number steers less far than one of 32.", {"steering": paired(one, calm)}, -1,
            "nats, one number minus 32",
            otherwise="Beyond what untrained readers do, a state of one number does not steer clearly less far than one of 32.",
        ),
    }  # fmt: skip


def _answers(
    tables: Tables, claim: str, others: Sequence[str], sign: int, otherwise: str, column: str = "detrended"
) -> Finding:
    """How strongly the self-state answers beside the nearest of some others: sign +1 where it should answer more, else -1."""
    mine = response(tables, "self", column)
    parts = {
        LOOKS[name].label: paired(*((mine, one) if sign > 0 else (one, mine)))
        for name in others
        for one in [response(tables, name, column)]
    }
    whose = "self-state minus that" if sign > 0 else "that minus self-state"
    unit = "mean |Δ logit|" if column == "detrended" else "of the effect before"
    return difference(claim, parts, sign, f"{unit}, {whose}", otherwise=otherwise, nearest=True)


def _unlike(tables: Tables, claim: str, otherwise: str, metrics: Sequence[str]) -> Finding:
    """Whether the self-state's reactions differ from those of every constant bias, in some of these channels."""
    rows = tables.rows("controls_comparison")
    rows = rows[rows["metric"].isin(metrics)]
    mine = {*of_condition(rows, "self")["seed"]}
    shared = {name: len(mine & {*of_condition(rows, name)["seed"]}) for name in STATIC}
    static = [name for name, seeds in shared.items() if seeds]
    if not static:
        return Finding(
            claim, words.ABSENT, "It needs seeds that both a self-state and a constant bias have.", otherwise
        )
    n, tested = min(shared[name] for name in static), rows.groupby(["regime", "metric"]).ngroups
    if n < FEWEST_SEEDS:
        return Finding(claim, words.OPEN, f"{plural(n, 'seed')}: too few to test.", otherwise)
    counts = {name: len(unlike(rows, name)) for name in static}
    said = listed([f"{count} ({LOOKS[name].label})" for name, count in counts.items()])
    return Finding(
        claim, words.CLEAR if all(counts.values()) else words.NOT_CLEAR,
        f"Of {plural(tested, 'reaction')} beyond the calm course, clearly otherwise: {said}. Paired t test over seeds, "
        f"p < {ALPHA} / {tested}, n = {n}.", otherwise,
    )  # fmt: skip


def unlike(rows: pd.DataFrame, other: str) -> dict[tuple[str, str], Estimate]:
    """Regimes and channels in which self reacts differently from another condition: its detrended change minus the other's.

    Paired t test over seeds, from three on, p < ALPHA / number of regimes and channels tested.
    """
    one, two = (
        of_condition(rows, name).groupby(["regime", "metric", "seed"])["detrended"].mean()
        for name in ("self", other)
    )
    places = (one - two).groupby(["regime", "metric"])
    found = {(str(regime), str(metric)): estimate(apart) for (regime, metric), apart in places}
    found = {place: value for place, value in found.items() if value.n >= FEWEST_SEEDS}
    return {place: value for place, value in found.items() if value.p < ALPHA / len(found)}


def response(tables: Tables, condition: str, column: str = "detrended") -> "pd.Series[float]":
    """How strongly a bias's effect answers to regimes, by seed: mean over regimes of the absolute detrended change, or of that
    relative to the effect before (column relative)."""
    rows = tables.rows("controls_comparison", condition=condition, metric=EFFECT)
    return per_seed(rows.assign(size=rows[column].abs()), "size")


def _in(regime: str, column: str, digits: int) -> pages.Cell:
    """The cell of a regime's change; in vanilla's own row, where it would be compared with itself, its change alone."""

    def cell(rows: pd.DataFrame, tables: Tables) -> str:
        of = "delta" if rows["condition"].iloc[0] == VANILLA else column
        return pages.shown(over_seeds(rows[rows["regime"] == regime], of), f"±{digits}")

    return cell


def _by_regime(metric: str, column: str, digits: int) -> Grid:
    """A table with a row a condition and a column a regime."""
    cells: dict[str, Any] = {regime: (regime, _in(regime, column, digits)) for regime in REGIMES}
    cells["seeds"] = ("n", lambda rows, tables: str(rows["seed"].nunique()))
    return pages.grid("controls_comparison", ORDER, only=True, where={"metric": metric}, n=False, **cells)


def _calm(rows: pd.DataFrame, tables: Tables) -> str:
    """The change of the run without regimes at the same steps."""
    where = {"condition": CALM_RUN, "metric": EFFECT, "regime": rows["regime"].iloc[0]}
    return pages.shown(over_seeds(tables.rows("controls_comparison", **where), "delta"), "±4")


def _beyond_calm(rows: pd.DataFrame, tables: Tables) -> str:
    return pages.shown(estimate(beyond(tables, rows["regime"].iloc[0], EFFECT, CALM_RUN)), "±4")


def _strength(column: str, against: bool = False) -> pages.Cell:
    """The cell of a condition's response, or of that minus self's."""

    def cell(rows: pd.DataFrame, tables: Tables) -> str:
        name = rows["condition"].iloc[0]
        own, mine = response(tables, name, column), response(tables, "self", column)
        if not against:
            return pages.shown(estimate(own), "4")
        return DASH if name == "self" else pages.shown(paired(own, mine), "±4")

    return cell


def _clear(rows: pd.DataFrame, tables: Tables) -> str:
    found = clear(tables, rows["condition"].iloc[0])
    return f"{len(found)}: {', '.join(found)}" if found else "0"


def _steering(tables: Tables) -> str:
    return effect_table(list(TESTS), *(View(tables, name, f"`{name}`") for name in FROZEN)) or MISSING


AGAINST = partial(pages.beyond, name="control_losses", column="heldout_loss", kind="±4")
GRIDS = {
    "effect": _by_regime(EFFECT, "detrended", 4),
    "loss": _by_regime("loss", "difference", 3),
    "entropy": _by_regime("entropy_last", "difference", 3),
    "course": pages.grid(
        "controls_comparison", ["self"], only=True, where={"metric": EFFECT}, head="regime, condition", across="regime", order=REGIMES,
        delta=("effect Δ", "±4"), trend=("of the calm course", "±4"), calm=(f"of `{CALM_RUN}`, same steps", _calm),
        detrended=("Δ beyond the calm course", "±4"), beyond=(f"Δ beyond `{CALM_RUN}`", _beyond_calm),
    ),
    "strength": pages.grid(
        "controls_comparison", LOOKS, only=True, where={"metric": EFFECT}, n=False,
        strength=("strength, mean |Δ logit|", _strength("detrended")), more=("− `self`", _strength("detrended", True)),
        relative=("relative to the effect before", _strength("relative")), times=("− `self`", _strength("relative", True)),
        clear=("regimes with a clear reaction", _clear), seeds=("n", lambda rows, tables: str(rows["seed"].nunique())),
    ),
    "norms": pages.grid(
        "control_norms", ORDER, only=True, minus={"norm_before": "self", "norm": "self"},
        norm_before=("norm of the bias before any regime, L2", "3"), norm=("over the run", "3"),
        effect_before=("effect before any regime, mean |Δ logit|", "3"), effect=("over the run", "3"),
    ),
    "losses": pages.grid(
        "control_losses", ORDER, only=True, heldout_loss=("held-out loss, nats a token", "3"),
        vanilla=("− `vanilla`", AGAINST(VANILLA)), learned=("− `learned_bias`", AGAINST("learned_bias")),
    ),
    "steering": _steering,
}  # fmt: skip


EXPERIMENT = Experiment(
    "controls", "Controls: is it the sensing, or only a bias?", TABLES, findings, FIGURES, GRIDS, values=lambda tables: {"alpha": ALPHA},
)  # fmt: skip
