"""The page on controls: biases that sense nothing, and self-states of one dimension, beside the self-state."""

from collections.abc import Sequence

import pandas as pd

from experiments.kit import published
from experiments.kit.levels import ALPHA, FEWEST_SEEDS
from experiments.kit.placebos import TESTS, View, effect_table, further, surpluses
from experiments.kit.stats import UNKNOWN, Estimate, estimate, paired, per_seed
from experiments.kit.style import REGIMES
from experiments.kit.tables import RUN, ByCondition, of_condition
from experiments.kit.words import (
    ABSENT,
    CLEAR,
    MISSING,
    NOT_CLEAR,
    OPEN,
    Finding,
    difference,
    interval,
    listed,
    number,
    plural,
    signed,
    table,
)
from plots.controls import COMMON, STATIC, ordered, regimes_in, response, unlike
from reports.parts import Section, Tables

TITLE = "Controls: is it the sensing, or only a bias?"
FILE = "controls.md"
SUITE = "controls"
COLUMNS: dict[str, tuple[str, ...]] = {
    "controls_comparison": (
        *RUN,
        "regime",
        "metric",
        "delta",
        "trend",
        "detrended",
        "vanilla",
        "difference",
    ),
    "control_losses": (*RUN, "heldout_loss", "vanilla", "difference"),
}
ONE = ("state_1d", "state_1d_matched")
EFFECT = "state_effect"
OUTCOMES = tuple(metric for metric in COMMON if metric != EFFECT)  # what the model does, whatever is injected


def sections(tables: Tables, figures: str) -> list[Section]:
    """The page's sections. `figures` is the folder of figures as seen from the page."""
    return [
        reactions(tables, figures),
        dimensions(tables),
        losses(tables),
        steering(tables),
    ]


def reactions(tables: Tables, figures: str) -> Section:
    """What each regime does to each condition's loss, entropy and effect, and where a constant bias does alike."""
    comparison = tables.rows("controls_comparison")
    names, changes = ordered(comparison), _Changes(comparison)
    rows = []
    for regime in regimes_in(comparison):
        for name in names:
            rows.append(
                [
                    f"`{regime}`, `{name}`",
                    interval(changes.of(name, regime, "loss", "delta")),
                    interval(changes.of(name, regime, "loss", "difference")) if name != "vanilla" else "–",
                    interval(changes.of(name, regime, "entropy", "difference")) if name != "vanilla" else "–",
                    interval(changes.of(name, regime, EFFECT, "delta"), 4),
                    interval(changes.of(name, regime, EFFECT, "detrended"), 4),
                    interval(changes.of(name, regime, "state_drift", "detrended"), 5),
                    str(changes.of(name, regime, "loss", "delta").n),
                ]
            )
    head = ["regime, condition", "loss Δ", "loss Δ − `vanilla`", "entropy Δ − `vanilla`", "effect Δ",
            "effect Δ beyond calm course", "drift Δ beyond calm course", "n"]  # fmt: skip
    body = [table(head, rows) if rows else MISSING]
    if rows:
        body += [
            "Δ: mean during the regime minus mean before it; loss and entropy in nats, effect in mean |Δ logit| of the injected "
            "bias against none, drift in L2 a step. Calm course: a parabola through the run's own calm steps, which says what "
            "time alone would have changed; a self-state's bias grows through training, a fixed one does not.",
            f"![Reactions, losses and steering]({figures}/controls/controls-comparison.png)",
            f"Each condition, seed by seed: {listed([f'[{name}]({figures}/controls/{name}.png)' for name in names])}.",
        ]
    return Section(
        "Does a constant bias react to regimes as the self-state does?",
        f'Published, without numbers: "{published.ANSWERS["fixed"]}". Here the same regimes at the same steps of the same '
        "seeds act on a run with a fixed random bias, at half, once and twice the norm of the self-state's, and with a "
        "learned constant one.",
        body,
        "The effect of a constant bias changes too, because weights and gradients do. A reaction of the self-state's effect "
        "to `self_clamp` and `false_feedback`, which act on nothing but the state, is no surprise and no benefit. What a "
        "model without any bias does as well is the regime's, not the bias's: the columns minus `vanilla` say what is left.",
        [
            _unlike(comparison, "The self-state's effect on the output answers to regimes as no constant bias's does.",
                    (EFFECT,)),
            _unlike(comparison, "Loss, entropy, confidence and gradient norm react otherwise with a self-state than with a "
                    "constant bias.", OUTCOMES),
        ],
    )  # fmt: skip


class _Changes:
    """What each regime changed in each condition's channels, by seed."""

    def __init__(self, comparison: pd.DataFrame) -> None:
        places = comparison.groupby(["condition", "regime", "metric"])
        self.rows = {place: group.set_index("seed") for place, group in places}

    def of(self, condition: str, regime: str, metric: str, column: str) -> Estimate:
        found = self.rows.get((condition, regime, metric))
        return UNKNOWN if found is None else estimate(found[column])


def _unlike(comparison: pd.DataFrame, claim: str, metrics: Sequence[str]) -> Finding:
    """Whether the self-state's reactions differ from those of every constant bias, in some of these channels."""
    rows = comparison[comparison["metric"].isin(metrics)]
    seeds = {name: set(rows.loc[rows["condition"] == name, "seed"]) for name in ("self", *STATIC)}
    static = [name for name in STATIC if seeds[name] & seeds["self"]]
    if not static:
        return Finding(claim, ABSENT, "It needs seeds that both `self` and a constant bias have.")
    tested = rows.groupby(["regime", "metric"]).ngroups
    n = min(len(seeds[name] & seeds["self"]) for name in static)
    if n < FEWEST_SEEDS:
        return Finding(claim, OPEN, f"{plural(n, 'seed')}: too few to test.")
    found = {name: unlike(rows, "self", name) for name in static}
    marked = [name for name in static if found[name]]
    verdict = CLEAR if len(marked) == len(static) else OPEN if marked else NOT_CLEAR
    parts = []
    for name in static:
        where = [
            f"{f'{metric} in ' if len(metrics) > 1 else ''}{regime} {signed(value.mean)}"
            for (regime, metric), value in found[name].items()
        ]
        parts.append(f"from `{name}` in {len(where)}" + (f" ({', '.join(where)})" if where else ""))
    return Finding(
        claim,
        verdict,
        f"Of {plural(tested, 'reaction')} beyond the calm course the self-state's differ {'; '.join(parts)}. t test over seeds, "
        f"paired, p < {ALPHA} / {tested}, n = {n}.",
    )


def dimensions(tables: Tables) -> Section:
    """How strongly the injected bias answers to regimes, in each condition, against 32 dimensions."""
    comparison = tables.rows("controls_comparison")
    changes, regimes = _Changes(comparison), regimes_in(comparison)
    strengths = {name: response(comparison, name) for name in ("self", *ONE, *STATIC, *ordered(comparison))}
    names = [name for name in ordered(comparison) if len(strengths[name])]
    mine = strengths["self"]
    rows = []
    for name in names:
        strength = strengths[name]
        clear = [regime for regime, value in _own(changes, name, regimes) if value.p < ALPHA / len(REGIMES)]
        rows.append(
            [
                f"`{name}`",
                interval(estimate(strength), 4, sign=False),
                interval(paired(strength, mine), 4) if name != "self" else "–",
                number(strength.mean() / mine.mean(), 2) if len(mine) and mine.mean() > 0 else "–",
                f"{len(clear)}: {', '.join(clear)}" if clear else "0",
                str(len(strength)),
            ]
        )
    head = [
        "condition",
        "strength, mean \\|Δ effect\\|",
        "− `self`",
        "times `self`",
        "regimes with a clear reaction",
        "n",
    ]
    weaker = {name: [(f"`{name}` − `self`", paired(strengths[name], mine))] for name in ONE}
    static = [(f"`self` − `{name}`", paired(mine, strengths[name])) for name in STATIC]
    return Section(
        "Does the state need more than one dimension?",
        f'Published, without numbers: "{published.ANSWERS["state_1d"]}". A state of one dimension injects a bias of another '
        "norm, so that a weaker response can be a matter of size: `state_1d_matched` has its bias scaled to the norm of "
        "`self`.",
        [
            table(head, rows) if rows else MISSING,
            *([
                "Strength: the absolute change of the effect beyond the calm course, mean over the regimes. It is above zero "
                "for a bias that senses nothing too, from noise and because weights change: those rows are the floor. Clear: "
                f"t test over seeds, p < {ALPHA} / {len(REGIMES)}."
            ] if rows else []),
        ],
        "A difference that goes away with the norm matched is one of size, not of dimensions. One that stays says that more "
        "dimensions carry more, in this measure.",
        [
            difference("A state of one dimension responds more weakly.", weaker["state_1d"], -1, " mean |Δ logit|", 4),
            difference("With its bias's norm matched, too, a state of one dimension responds more weakly.", weaker["state_1d_matched"], -1, " mean |Δ logit|", 4),
            difference("The self-state's effect answers to regimes more strongly than any constant bias's.", static, +1,
                       " mean |Δ logit|", 4),
        ],
    )  # fmt: skip


def _own(changes: _Changes, condition: str, regimes: Sequence[str]) -> list[tuple[str, Estimate]]:
    found = [(regime, changes.of(condition, regime, EFFECT, "detrended")) for regime in regimes]
    return [(regime, value) for regime, value in found if value.n >= FEWEST_SEEDS]


def losses(tables: Tables) -> Section:
    """Held-out loss of every condition, against no bias and against a learned constant one."""
    found = ByCondition(tables.rows("control_losses"))
    names = ordered(found.rows)
    rows = []
    for name in names:
        rows.append(
            [
                f"`{name}`",
                interval(found.value(name, "heldout_loss"), sign=False),
                interval(found.minus(name, "vanilla", "heldout_loss"), 4) if name != "vanilla" else "–",
                interval(found.minus(name, "learned_bias", "heldout_loss"), 4)
                if name != "learned_bias"
                else "–",
                str(found.value(name, "heldout_loss").n),
            ]
        )
    head = ["condition", "held-out loss, nats a token", "− `vanilla`", "− `learned_bias`", "n"]
    gain = [("`self` − `vanilla`", found.minus("self", "vanilla", "heldout_loss"))]
    beyond = [(f"`self` − `{name}`", found.minus("self", name, "heldout_loss")) for name in STATIC]
    return Section(
        "What does each gain?",
        "Held-out loss at the last step, paired by seed: same first weights, batches and regimes. The published study gives no "
        "losses to compare with.",
        [table(head, rows) if rows else MISSING],
        "Only a gain that constant biases have not could come from sensing. Among them `learned_bias` is the fair control: a "
        "vector in the same place, trained alike, that senses nothing.",
        [
            difference(
                "With a self-state the model predicts held-out text better than without.",
                gain,
                -1,
                " nats",
                4,
            ),
            difference("A self-state gains more than every constant bias.", beyond, -1, " nats", 4),
        ],
    )


def steering(tables: Tables) -> Section:
    """The frozen-weight test of the 32-D and of the 1-D states, each beside its own placebos."""
    effects = tables.rows("frozen_effects_summary")
    names = [name for name in ("self", *ONE) if (effects["condition"] == name).any()]
    views = [View(tables, name, f"`{name}`") for name in names]
    body = effect_table(views[0], list(TESTS), *views[1:]) if views else []
    if body:
        body.append(
            "A state of one dimension has the gradient finder alone: there is nothing to choose its dimensions from, and "
            "rotating its reader would only turn the sign."
        )
    own = _gradient(effects, "self")
    others = {f"`{name}` − `self`": _gradient(effects, name) for name in ONE}
    less = [
        (text, paired(per_seed(other, "effect"), per_seed(own, "effect"))) for text, other in others.items()
    ]
    less_beyond = [(text, paired(surpluses(other), surpluses(own))) for text, other in others.items()]
    return Section(
        "How far does each state steer the model?",
        "The frozen-weight test of the last step's weights, for 32 dimensions and for one. Every effect stands beside "
        "placebos that were selected in the same way.",
        body or [MISSING],
        "An effect that a placebo reaches belongs to the size of the bias and to the selection, not to what was learned. States "
        "are set inside the norms that each run saw, so a state of a larger bias may steer further for that reason alone.",
        [
            further(View(tables, "self"), "heldout", "dimension"),
            *(further(View(tables, name), "heldout", "gradient") for name in ("self", *ONE)),
            difference("A state of one dimension steers less far (gradient finder).", less, -1, " nats", 3),
            difference(
                "Beyond what its placebos reach, too, a state of one dimension steers less far.",
                less_beyond,
                -1,
                " nats",
                3,
            ),
        ],
    )


def _last(effects: pd.DataFrame, condition: str) -> pd.DataFrame:
    """A condition's held-out tests of its last weights."""
    rows = of_condition(effects[effects["protocol"] == "heldout"], condition)
    return rows[rows["run_step"] == rows["run_step"].max()] if len(rows) else rows


def _gradient(effects: pd.DataFrame, condition: str) -> pd.DataFrame:
    """Of these, the gradient finder's beside untrained readers: a row a seed."""
    rows = _last(effects, condition)
    return rows[(rows["finder"] == "gradient") & (rows["placebo"] == "untrained")]
