"""The figures of the controls: what regimes do to each, and what each gains; and what they read."""

import textwrap

import pandas as pd
from matplotlib.axes import Axes

from experiments.controls_tables import CALM_RUN, EFFECT, VANILLA
from experiments.kit import panels as draw
from experiments.kit import style
from experiments.kit.levels import ALPHA, FEWEST_SEEDS
from experiments.kit.marks import DARKER, by_seed, categories, cloud, level, not_measured
from experiments.kit.stats import over_seeds, per_seed
from experiments.kit.style import REGIMES, Look
from experiments.kit.tables import Tables

STATIC = ("fixed_half", "fixed_one", "fixed_two", "fixed_state", "fixed_bias", "learned_bias")
ONE = ("state_1d", "state_1d_matched")
SENSES = ("yoked", "shuffled", "clock")
LOOKS = {
    "self": Look("self-state", style.BLUE),
    "state_1d": Look("state of one number", style.SKY, marker="P", filled=False),
    "state_1d_matched": Look("state of one number, matched", style.SKY, marker="H"),
    "fixed_half": Look("fixed state, half as long", style.ORANGE, marker="v", filled=False),
    "fixed_one": Look("fixed state, as long", style.ORANGE, marker="D"),
    "fixed_two": Look("fixed state, twice as long", style.ORANGE, marker="^", filled=False),
    "fixed_state": Look("fixed state, matched", style.YELLOW, marker="D", filled=False),
    "fixed_bias": Look("fixed random bias, matched", style.YELLOW, marker="s"),
    "learned_bias": Look("learned constant bias, matched", style.GREEN, marker="<"),
    "yoked": Look("another run's signals, matched", style.PURPLE, marker="X"),
    "shuffled": Look("signals in random order, matched", style.VERMILLION, marker="v"),
    "clock": Look("clock alone, matched", style.GREY, marker="d", filled=False),
}
ORDER = {**LOOKS, VANILLA: Look("no state", style.LIGHT)}
FROZEN = {CALM_RUN: LOOKS["self"], ONE[0]: LOOKS[ONE[0]]}  # those whose weights are steered
COLOURS = (style.VERMILLION, style.BLUE, style.GREEN, style.PURPLE, style.ORANGE)
OF_REGIME = {
    name: Look(name, colour, marker=REGIMES[name].marker)
    for name, colour in zip(REGIMES, COLOURS, strict=True)
}


def clear(tables: Tables, condition: str) -> list[str]:
    """The regimes that the effect clearly reacts to: t test over seeds, p < ALPHA / number of regimes."""
    rows = tables.rows("controls_comparison", condition=condition, metric=EFFECT)
    found = {name: over_seeds(rows[rows["regime"] == name], "detrended") for name in REGIMES}
    return [name for name, one in found.items() if one.n >= FEWEST_SEEDS and one.p < ALPHA / len(REGIMES)]


def last_tests(tables: Tables, condition: str) -> pd.DataFrame:
    """Held-out tests of a condition's last weights, gradient finder beside untrained readers: a row a seed."""
    where = {"protocol": "heldout", "finder": "gradient", "placebo": "untrained"}
    rows = tables.rows("frozen_effects_summary", condition=condition, **where)
    return rows[rows["run_step"] == rows["run_step"].max()]


def _frozen(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
    """How far the last weights' learned reader steers, on a bar that is the mean of untrained readers'."""
    found = {name: rows for name in FROZEN if len(rows := last_tests(tables, name))}
    axes.set_title("steering, weights frozen")
    if not found:
        not_measured(axes)
        return []
    for place, (name, rows) in enumerate(found.items()):
        axes.bar(place, per_seed(rows, "placebo_mean").mean(), 0.7, color=DARKER, zorder=0)
        by_seed(axes, place, per_seed(rows, "effect"), FROZEN[name], apart=0.12, bar=0.16)
    categories(axes, [textwrap.fill(FROZEN[name].label, 12) for name in found], striped=False)
    axes.set_ylim(0, None)
    axes.set_ylabel("effect size (nats)")
    return [name for name in found if name in looks]


COMPARED = draw.sheet(
    "controls/controls-comparison.png",
    [
        draw.points(
            "controls_comparison", "difference", "training loss: change in the regime minus no state's, same seed and steps",
            "Δ loss − no state's\n(nats)", across="regime", order=REGIMES, where={"metric": "loss"},
        ),
        draw.points(
            "controls_comparison", "detrended", "effect of what is injected: change in the regime beyond the run's calm course",
            "Δ effect\n(mean |Δ logit|)", across="regime", order=REGIMES, where={"metric": EFFECT},
        ),
        draw.points(
            "controls_comparison", "relative", "the same, measured against the run's own effect before", "Δ effect / effect",
            across="regime", order=REGIMES, where={"metric": EFFECT},
        ),
        draw.points(
            "control_losses", "difference", "final held-out loss", "minus no state's (nats; left: better)", upright=False,
            labelled=True,
        ),
        draw.Panel(("frozen_effects_summary",), _frozen),
    ],
    grid="aaaaaaa;bbbbbbb;ccccccc;ddddeee", height=9.6, looks=LOOKS, marks="points", columns=3, title=("stronger", "more"),
    shows="How self-states and biases that sense nothing react to each regime, what each gains in held-out loss, and how far "
    "states steer with frozen weights.",
    caption="One point a seed, mean and 95 % interval. Matched: as long a bias as the self-state's. Calm course: a parabola through the "
    "run's calm steps. A fixed state stays cut off after self_clamp, and bewilderment comes right after it. Steering: held-out text, "
    "gradient finder; grey: untrained readers.",
)  # fmt: skip


def plane(tables: Tables, condition: str) -> pd.DataFrame:
    """Columns regime, seed, and the detrended changes of loss and effect, where a condition has both."""
    rows = tables.rows("controls_comparison", condition=condition)
    rows = rows[rows["metric"].isin(["loss", EFFECT])]
    wide = rows.pivot_table(index=["regime", "seed"], columns="metric", values="detrended")
    return wide.reindex(columns=["loss", EFFECT]).dropna().reset_index()


def reactions(condition: str) -> draw.Panel:
    """Change of loss against change of effect, by regime and seed."""

    def panel(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        rows = plane(tables, condition)
        level(axes, c=style.LIGHT)
        level(axes, c=style.LIGHT, upright=False)
        parts = {name: here for name in looks if len(here := rows[rows["regime"] == name])}
        for name, here in parts.items():
            cloud(axes, here["loss"], here[EFFECT], looks[name], crossed=True)
        axes.set_title(textwrap.fill(LOOKS[condition].label, 22))
        if not parts:
            not_measured(axes, "not measured")
        axes.set_xlabel("Δ loss (nats)")
        axes.set_ylabel("Δ effect\n(mean |Δ logit|)")
        axes.label_outer()
        return [*parts]

    return draw.Panel(("controls_comparison",), panel)


REACTIONS = draw.sheet(
    "controls/reactions.png", [*map(reactions, LOOKS)], grid=(4, 3), height=8.2, looks=OF_REGIME, marks="points", columns=5,
    share_x="all", share_y="all", title=("effect",),
    shows="Change of loss against change of what is injected, by regime and seed, a panel a condition.",
    caption="Change in the regime beyond the run's calm course. Small: one point a seed; large: means, with 95 % intervals of both.",
)  # fmt: skip

FIGURES = (COMPARED, REACTIONS)
