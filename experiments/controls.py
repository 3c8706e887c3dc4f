"""Biases that sense nothing, and self-states of one dimension, beside the self-state: what regimes do, and what is gained.

No control has a run without regimes, so what time alone does in a window is taken from the same run's calm steps: a
self-state's norm grows through training where a constant bias has its norm early, and the difference of those two courses is
no response to any regime. Of `self` there is such a run, `self_calm`, which says how far the calm steps can be trusted.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from experiments.controls_figure import (
    CALM_RUN,
    EFFECT,
    FIGURES,
    FROZEN,
    LOOKS,
    ONE,
    ORDER,
    SENSES,
    STATIC,
    VANILLA,
    clear,
    last_tests,
)
from experiments.kit import pages
from experiments.kit.changes import beyond, changes
from experiments.kit.experiment import Experiment
from experiments.kit.levels import ALPHA, FEWEST_SEEDS
from experiments.kit.placebos import TESTS, View, effect_table, further, surpluses
from experiments.kit.runs import METRICS, Context
from experiments.kit.stats import Estimate, estimate, over_seeds, paired, per_seed
from experiments.kit.style import COMMON, REGIMES
from experiments.kit.tables import CALM, RUN, Grid, Tables, of_condition, present, stack
from experiments.kit.words import (
    ABSENT,
    CLEAR,
    DASH,
    MISSING,
    NOT_CLEAR,
    OPEN,
    Finding,
    difference,
    interval,
    listed,
    number,
    other_way,
    plural,
    signed,
)  # fmt: skip

CLAMP = "self_clamp"  # the regime that a state which never changes does not get over
DEGREE = 2  # of the polynomial through a run's calm steps
AFTERMATH = 50  # steps after a regime that count neither as calm nor as the regime
FEWEST_STEPS = 30  # measured calm steps for a fit without the aftermath; with fewer it is left in


def controls_comparison(context: Context, regime_deltas: pd.DataFrame) -> pd.DataFrame:
    """One row a run, regime and metric.

    delta: mean in the window minus before, of regime_deltas. trend: the same of the run's `calm_course`, which is what
    time alone would have done; detrended: delta - trend; relative: detrended over the absolute mean before. All three NaN
    for a run without regimes. vanilla: delta of the same seed's run without any bias, under the same regime at the same steps;
    difference: delta - vanilla, NaN for channels that vanilla has not.
    """
    keys, lead = [*RUN, "regime", "metric"], context.suite.signatures.pre_steps
    trends = changes(
        context.runs,
        lead,
        lambda run: calm_course(
            run.metrics(), lead, run.config.self_state.enabled and run.config.self_state.decay == 0
        ),
    )
    made = regime_deltas[[*keys, "delta", "before"]]
    plain = of_condition(made, VANILLA).drop(columns="condition").rename(columns={"delta": "vanilla"})
    made = made.merge(trends[[*keys, "delta"]].rename(columns={"delta": "trend"}), on=keys, how="left")
    made["detrended"] = made["delta"] - made["trend"]
    made["relative"] = made["detrended"] / made.pop("before").abs().where(lambda before: before > 0)
    made = made.merge(plain, on=[key for key in keys if key != "condition"], how="left")
    return made.assign(difference=made["delta"] - made["vanilla"])


def calm_course(log: pd.DataFrame, lead: int, cut: bool = False) -> pd.DataFrame:
    """A run's log with, in place of each metric, what its calm steps say of its course through training.

    A polynomial of degree DEGREE through the calm steps, the AFTERMATH of regimes and the time before the first
    `lead` steps of the first regime left out; NaN where these are too few. cut: a state that never changes stays cut off
    after self_clamp, so that the later calm steps lie higher or lower by one number, which is no part of the course.
    """
    step, place = log["step"].to_numpy(float), pd.Series(np.arange(len(log)))
    regime = log["regime"].to_numpy()
    calm = regime == CALM
    acting = place.where(~calm)
    late = calm & (place >= acting.min() - lead).to_numpy()
    settled = late & ~(place - acting.ffill() <= AFTERMATH).to_numpy()
    powers = np.vander((step - step.mean()) / max(np.ptp(step), 1), DEGREE + 1)
    level = np.maximum.accumulate(regime == CLAMP)[:, None] * float(cut)
    for name in METRICS:
        values = log[name].to_numpy(float)
        seen = ~np.isnan(values)
        used = seen & (settled if (settled & seen).sum() >= FEWEST_STEPS else late)
        enough = used.sum() > DEGREE + cut
        parts = np.linalg.lstsq(np.hstack([powers, level])[used], values[used])[0] if enough else None
        log[name] = np.where(seen, np.nan if parts is None else powers @ parts[: DEGREE + 1], np.nan)
    return log


def control_losses(context: Context, runs: pd.DataFrame) -> pd.DataFrame:
    """One row a run: heldout_loss at the last step (nats a token), vanilla's of the same seed, and the difference."""
    made = runs[[*RUN, "heldout_loss"]].copy()
    plain = of_condition(runs, VANILLA).set_index("seed")["heldout_loss"]
    made["vanilla"] = made["seed"].map(plain).astype(float)
    return made.assign(difference=made["heldout_loss"] - made["vanilla"])


def control_norms(context: Context) -> pd.DataFrame:
    """One row a run with regimes and a bias: the bias's mean norm before the first regime (norm_before) and over the run
    (norm), L2, and the means of prompt_effect over the same steps (effect_before, effect), mean |Δ logit|."""
    rows = []
    for run in context.runs:
        log = run.metrics()
        acting = np.flatnonzero(log["regime"] != CALM)
        if len(acting) and log["bias_norm"].notna().any():
            spans = {"_before": log.iloc[: acting[0]], "": log}
            kinds = {"norm": "bias_norm", "effect": EFFECT}
            found = {name + end: part[of].mean() for name, of in kinds.items() for end, part in spans.items()}
            rows.append(run.label(pd.DataFrame([found])))
    return stack(rows)


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page says, and the large figure's title."""
    losses, norms = tables.by_condition("control_losses"), tables.by_condition("control_norms")
    steered = {name: last_tests(tables, name) for name in FROZEN}
    pair = f"`{ONE[0]}` − `{CALM_RUN}`"
    less, further_off = (
        {pair: paired(*(of(steered[name]) for name in (ONE[0], CALM_RUN)))}
        for of in (partial(per_seed, column="effect"), surpluses)
    )
    lengths = {"before any regime": "norm_before", "over the run": "norm"}
    return {
        "effect": _unlike(tables, "The self-state's effect on the output answers to regimes as no constant bias's does.", (EFFECT,)),
        "outcome": _unlike(
            tables, "Loss, entropy, confidence and gradient norm react otherwise with a self-state than with a constant bias.", COMMON
        ),
        "stronger": _answers(tables, "The self-state's effect answers to regimes more strongly than any constant bias's.", STATIC, +1),
        "relative": _answers(
            tables, "Relative to its own effect, too, the self-state answers more strongly than any constant bias.", STATIC, +1, "relative"
        ),
        "longer": difference(
            "The bias of the self-state is longer than that of the published fixed state.",
            {when: norms.minus("self", "fixed_one", column) for when, column in lengths.items()}, +1, "L2",
        ),
        "weaker": _answers(tables, "A state of one dimension responds more weakly.", ONE[:1], -1),
        "matched": _answers(tables, "With its bias's norm matched, too, a state of one dimension responds more weakly.", ONE[1:], -1),
        "relative_one": _answers(
            tables, "Relative to its own effect, too, a state of one dimension responds more weakly.", ONE, -1, "relative"
        ),
        "senses": _answers(
            tables, "The self-state answers more strongly than states that sense another run, a mixed-up one or the time.", SENSES, +1
        ),
        "senses_relative": _answers(
            tables, "Relative to its own effect, too, it answers more strongly than states that sense another run, a mixed-up one or "
            "the time.", SENSES, +1, "relative",
        ),
        "better": difference(
            "With a self-state the model predicts held-out text better than without.",
            losses.against("self", [VANILLA], "heldout_loss"), -1, "nats", 4,
        ),
        "more": difference(
            "A self-state gains more than every constant bias.", losses.against("self", STATIC, "heldout_loss"), -1, "nats", 4
        ),
        "more_senses": difference(
            "A self-state gains more than states that sense another run, a mixed-up one or the time.",
            losses.against("self", SENSES, "heldout_loss"), -1, "nats", 4,
        ),
        "further": further(View(tables, CALM_RUN), "heldout", "dimension"),
        **{f"further_{name}": further(View(tables, name), "heldout", "gradient") for name in FROZEN},
        "less": difference("A state of one dimension steers less far (gradient finder).", less, -1, "nats"),
        "less_beyond": difference(
            "Beyond what its placebos reach, too, a state of one dimension steers less far.", further_off, -1, "nats"
        ),
    }  # fmt: skip


def _answers(
    tables: Tables, claim: str, others: Sequence[str], sign: int, column: str = "detrended"
) -> Finding:
    """How strongly the self-state answers beside each of some others: sign +1 where self should answer more, else -1."""
    mine, theirs = response(tables, "self", column), {name: response(tables, name, column) for name in others}
    parts = {
        f"`self` − `{name}`" if sign > 0 else f"`{name}` − `self`": paired(*((mine, one) if sign > 0 else (one, mine)))
        for name, one in theirs.items()
    }  # fmt: skip
    found = difference(claim, parts, sign, "mean |Δ logit|", 4)
    if found.verdict == ABSENT or column == "detrended":
        return found
    both = zip(theirs.items(), parts.items(), strict=True)
    told = [f"`{name}` {number(one.mean())} ({pair} {interval(value)})" for (name, one), (pair, value) in both if value.n]  # fmt: skip
    n = min(value.n for value in parts.values() if value.n)
    said = f"Relative to its own effect the self-state answers {interval(estimate(mine), sign=False)}, {listed(told)}"
    return replace(found, evidence=f"{said}; paired by seed, n = {n}.{other_way(parts, sign)}")


def _unlike(tables: Tables, claim: str, metrics: Sequence[str]) -> Finding:
    """Whether the self-state's reactions differ from those of every constant bias, in some of these channels."""
    rows = tables.rows("controls_comparison")
    rows = rows[rows["metric"].isin(metrics)]
    mine = {*of_condition(rows, "self")["seed"]}
    shared = {name: len(mine & {*of_condition(rows, name)["seed"]}) for name in STATIC}
    static = [name for name, seeds in shared.items() if seeds]
    if not static:
        return Finding(claim, ABSENT, "It needs seeds that both `self` and a constant bias have.")
    n, tested = min(shared[name] for name in static), rows.groupby(["regime", "metric"]).ngroups
    if n < FEWEST_SEEDS:
        return Finding(claim, OPEN, f"{plural(n, 'seed')}: too few to test.")
    parts, marked = [], 0
    for name in static:
        found = unlike(rows, name)
        where = [
            f"{f'{metric} in ' if len(metrics) > 1 else ''}{regime} {signed(value.mean)}"
            for (regime, metric), value in found.items()
        ]
        parts.append(f"from `{name}` in {len(where)}" + (f" ({', '.join(where)})" if where else ""))
        marked += bool(found)
    return Finding(
        claim,
        CLEAR if marked == len(static) else OPEN if marked else NOT_CLEAR,
        f"Of {plural(tested, 'reaction')} beyond the calm course the self-state's differ {'; '.join(parts)}. t test over seeds, "
        f"paired, p < {ALPHA} / {tested}, n = {n}.",
    )


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
        "controls_comparison", [*LOOKS], only=True, where={"metric": EFFECT}, n=False,
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
    "controls", "Controls: is it the sensing, or only a bias?", (controls_comparison, control_losses, control_norms), findings,
    FIGURES, GRIDS, values=lambda tables: {"conditions": present(tables.rows("controls_comparison"), ORDER), "alpha": ALPHA},
)  # fmt: skip
