"""Biases that sense nothing, and self-states of one dimension, beside the self-state: what regimes do, and what is gained.

Regimes stand at random times and no run here is without them, so what time alone does in a window is taken from the
same run's calm steps: a self-state's norm grows through training where a fixed bias has its norm from the first step,
and the difference of those two courses is no response to any regime.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd
from numpy.polynomial import Polynomial

from experiments.controls_figure import EFFECT, FIGURES, LOOKS, ONE, ORDER, STATIC, VANILLA, clear, last_tests
from experiments.kit import pages
from experiments.kit.changes import changes
from experiments.kit.experiment import Experiment
from experiments.kit.levels import ALPHA, FEWEST_SEEDS
from experiments.kit.placebos import TESTS, View, effect_table, further, surpluses
from experiments.kit.runs import METRICS, Context
from experiments.kit.stats import Estimate, estimate, over_seeds, paired, per_seed
from experiments.kit.style import COMMON, REGIMES
from experiments.kit.tables import CALM, RUN, Tables, of_condition
from experiments.kit.words import (
    ABSENT,
    CLEAR,
    DASH,
    MISSING,
    NOT_CLEAR,
    OPEN,
    Finding,
    difference,
    number,
    plural,
    signed,
)  # fmt: skip

DEGREE = 2  # of the polynomial through a run's calm steps
AFTERMATH = 50  # steps after a regime that count neither as calm nor as the regime
FEWEST_STEPS = 30  # measured calm steps for a fit without the aftermath; with fewer it is left in


def controls_comparison(context: Context, regime_deltas: pd.DataFrame) -> pd.DataFrame:
    """One row a run, regime and metric.

    delta: mean in the window minus before, of regime_deltas. trend: the same of the run's `calm_course`, which is what
    time alone would have done; detrended: delta - trend; relative: detrended over the mean before. vanilla: delta of the same seed's run without any bias, under the
    same regime at the same steps; difference: delta - vanilla, NaN for channels that vanilla has not.
    """
    keys, lead = [*RUN, "regime", "metric"], context.suite.signatures.pre_steps
    trends = changes(context.runs, lead, lambda run: calm_course(run.metrics(), lead))
    made = regime_deltas[[*keys, "delta", "before"]]
    plain = of_condition(made, VANILLA).drop(columns="condition").rename(columns={"delta": "vanilla"})
    made = made.merge(trends[[*keys, "delta"]].rename(columns={"delta": "trend"}), on=keys, how="left")
    made["detrended"] = made["delta"] - made["trend"]
    made["relative"] = made["detrended"] / made.pop("before").abs().where(lambda before: before > 0)
    made = made.merge(plain, on=[key for key in keys if key != "condition"], how="left")
    return made.assign(difference=made["delta"] - made["vanilla"])


def calm_course(log: pd.DataFrame, lead: int) -> pd.DataFrame:
    """A run's log with, in place of each metric, what its calm steps say of its course through training.

    A polynomial of degree DEGREE through the calm steps, the AFTERMATH of regimes and the time before the first
    `lead` steps of the first regime left out; NaN where these are too few.
    """
    step, place = log["step"].to_numpy(), pd.Series(np.arange(len(log)))
    calm = log["regime"].to_numpy() == CALM
    acting = place.where(~calm)
    late = calm & (place >= acting.min() - lead).to_numpy()
    settled = late & ~(place - acting.ffill() <= AFTERMATH).to_numpy()
    for name in METRICS:
        values = log[name].to_numpy(float)
        seen = ~np.isnan(values)
        used = seen & (settled if (settled & seen).sum() >= FEWEST_STEPS else late)
        enough = used.sum() > DEGREE
        course = Polynomial.fit(step[used], values[used], DEGREE)(step) if enough else np.nan
        log[name] = np.where(seen, course, np.nan)
    return log


def control_losses(context: Context, runs: pd.DataFrame) -> pd.DataFrame:
    """One row a run: heldout_loss at the last step (nats a token), vanilla's of the same seed, and the difference."""
    made = runs[[*RUN, "heldout_loss"]].copy()
    plain = of_condition(runs, VANILLA).set_index("seed")["heldout_loss"]
    made["vanilla"] = made["seed"].map(plain).astype(float)
    return made.assign(difference=made["heldout_loss"] - made["vanilla"])


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page says, and the large figure's title."""
    strength = {name: response(tables, name) for name in LOOKS}
    losses = tables.by_condition("control_losses")
    weaker = {name: {f"`{name}` − `self`": paired(strength[name], strength["self"])} for name in ONE}
    stronger = {f"`self` − `{name}`": paired(strength["self"], strength[name]) for name in STATIC}
    mine, others = (
        last_tests(tables, "self"),
        {f"`{name}` − `self`": last_tests(tables, name) for name in ONE},
    )
    less = {name: paired(per_seed(of, "effect"), per_seed(mine, "effect")) for name, of in others.items()}
    beyond = {name: paired(surpluses(of), surpluses(mine)) for name, of in others.items()}
    unit = "mean |Δ logit|"
    return {
        "effect": _unlike(tables, "The self-state's effect on the output answers to regimes as no constant bias's does.", (EFFECT,)),
        "outcome": _unlike(
            tables, "Loss, entropy, confidence and gradient norm react otherwise with a self-state than with a constant bias.", COMMON
        ),
        "weaker": difference("A state of one dimension responds more weakly.", weaker["state_1d"], -1, unit, 4),
        "matched": difference(
            "With its bias's norm matched, too, a state of one dimension responds more weakly.", weaker["state_1d_matched"], -1, unit, 4
        ),
        "stronger": difference(
            "The self-state's effect answers to regimes more strongly than any constant bias's.", stronger, +1, unit, 4
        ),
        "better": difference(
            "With a self-state the model predicts held-out text better than without.",
            losses.against("self", [VANILLA], "heldout_loss"), -1, "nats", 4,
        ),
        "more": difference(
            "A self-state gains more than every constant bias.", losses.against("self", STATIC, "heldout_loss"), -1, "nats", 4
        ),
        "further": further(View(tables, "self"), "heldout", "dimension"),
        **{f"further_{name}": further(View(tables, name), "heldout", "gradient") for name in ("self", *ONE)},
        "less": difference("A state of one dimension steers less far (gradient finder).", less, -1, "nats"),
        "less_beyond": difference(
            "Beyond what its placebos reach, too, a state of one dimension steers less far.", beyond, -1, "nats"
        ),
    }  # fmt: skip


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
    found = {}
    for (regime, metric), here in rows.groupby(["regime", "metric"]):
        one, two = (per_seed(of_condition(here, name), "detrended") for name in ("self", other))
        found[str(regime), str(metric)] = paired(one, two)
    found = {place: value for place, value in found.items() if value.n >= FEWEST_SEEDS}
    return {place: value for place, value in found.items() if value.p < ALPHA / len(found)}


def response(tables: Tables, condition: str) -> "pd.Series[float]":
    """How strongly a bias's effect answers to regimes, by seed: mean over regimes of the absolute detrended change."""
    rows = tables.rows("controls_comparison", condition=condition, metric=EFFECT)
    return per_seed(rows.assign(size=rows["detrended"].abs()), "size")


Cell = Callable[[pd.DataFrame, Tables], str]


def _change(metric: str, column: str, kind: str) -> Cell:
    """The cell of one channel's change; none against vanilla in vanilla's own row."""

    def cell(rows: pd.DataFrame, tables: Tables) -> str:
        own = column == "difference" and rows["condition"].iloc[0] == VANILLA
        return DASH if own else pages.shown(over_seeds(rows[rows["metric"] == metric], column), kind)

    return cell


def _strength(make: Callable[["pd.Series[float]", "pd.Series[float]"], str], alone: str = "") -> Cell:
    """The cell made of a condition's response and of self's; `alone` in self's own row."""

    def cell(rows: pd.DataFrame, tables: Tables) -> str:
        name = rows["condition"].iloc[0]
        own = alone if name == "self" else ""
        return own or make(response(tables, name), response(tables, "self"))

    return cell


def _clear(rows: pd.DataFrame, tables: Tables) -> str:
    found = clear(tables, rows["condition"].iloc[0])
    return f"{len(found)}: {', '.join(found)}" if found else "0"


def _against(other: str, rows: pd.DataFrame, tables: Tables) -> str:
    name, losses = rows["condition"].iloc[0], tables.by_condition("control_losses")
    return DASH if name == other else pages.shown(losses.minus(name, other, "heldout_loss"), "±4")


def _steering(tables: Tables) -> str:
    named = [View(tables, name, f"`{name}`") for name in ("self", *ONE)]
    return effect_table(list(TESTS), *named) or MISSING


GRIDS = {
    "reactions": pages.grid(
        "controls_comparison", ORDER, head="regime, condition", across="regime", order=REGIMES, n=False,
        loss=("loss Δ", _change("loss", "delta", "±3")),
        loss_beyond=("loss Δ − `vanilla`", _change("loss", "difference", "±3")),
        entropy=("entropy Δ − `vanilla`", _change("entropy", "difference", "±3")),
        effect=("effect Δ", _change(EFFECT, "delta", "±4")),
        effect_beyond=("effect Δ beyond calm course", _change(EFFECT, "detrended", "±4")),
        drift=("drift Δ beyond calm course", _change("state_drift", "detrended", "±5")),
        seeds=("n", lambda rows, tables: str(over_seeds(rows[rows["metric"] == "loss"], "delta").n)),
    ),
    "strength": pages.grid(
        "controls_comparison", ORDER, where={"metric": EFFECT}, n=False,
        strength=("strength, mean |Δ effect|", _strength(lambda one, _: pages.shown(estimate(one), "4"))),
        beyond=("− `self`", _strength(lambda one, own: pages.shown(paired(one, own), "±4"), DASH)),
        times=("times `self`", _strength(lambda one, own: number(one.mean() / own.mean(), 2))),
        clear=("regimes with a clear reaction", _clear),
        seeds=("n", _strength(lambda one, _: str(len(one)))),
    ),
    "losses": pages.grid(
        "control_losses", ORDER, heldout_loss=("held-out loss, nats a token", "3"),
        vanilla=("− `vanilla`", partial(_against, VANILLA)), learned=("− `learned_bias`", partial(_against, "learned_bias")),
    ),
    "steering": _steering,
}  # fmt: skip


EXPERIMENT = Experiment(
    "controls", "Controls: is it the sensing, or only a bias?", (controls_comparison, control_losses), findings,
    FIGURES, GRIDS,
    values=lambda tables: {"conditions": tables.by_condition("controls_comparison", ORDER).conditions, "alpha": ALPHA},
)  # fmt: skip
