"""The figures of the controls: what regimes do to each, what each gains, and a scatter a condition; and what they read."""

import pandas as pd
from matplotlib.axes import Axes

from experiments.kit import panels as draw
from experiments.kit import style
from experiments.kit.levels import ALPHA, FEWEST_SEEDS
from experiments.kit.marks import DARKER, by_seed, categories, cloud, level, not_measured
from experiments.kit.stats import over_seeds, per_seed
from experiments.kit.style import CHANNELS, REGIMES, Look
from experiments.kit.tables import Tables

VANILLA, CALM_RUN, EFFECT = "vanilla", "self_calm", "prompt_effect"
STATIC = ("fixed_half", "fixed_one", "fixed_two", "fixed_state", "fixed_bias", "learned_bias")
ONE = ("state_1d", "state_1d_matched")
SENSES = ("yoked", "shuffled", "clock")
LOOKS = {
    "self": Look("self", style.BLUE),
    "state_1d": Look("one dimension", style.SKY, marker="P", filled=False),
    "state_1d_matched": Look("one dimension, matched", style.SKY, marker="H"),
    "fixed_half": Look("fixed state, half the norm", style.ORANGE, marker="v", filled=False),
    "fixed_one": Look("fixed state, the norm", style.ORANGE, marker="D"),
    "fixed_two": Look("fixed state, twice the norm", style.ORANGE, marker="^", filled=False),
    "fixed_state": Look("fixed state, matched", style.YELLOW, marker="D", filled=False),
    "fixed_bias": Look("fixed bias, matched", style.YELLOW, marker="s"),
    "learned_bias": Look("learned bias, matched", style.GREEN, marker="<"),
    "yoked": Look("another run's signals, matched", style.PURPLE, marker="X"),
    "shuffled": Look("own signals mixed up, matched", style.VERMILLION, marker="v"),
    "clock": Look("time alone, matched", style.GREY, marker="d", filled=False),
}
ORDER = (*LOOKS, VANILLA)
FROZEN = {CALM_RUN: LOOKS["self"], ONE[0]: LOOKS[ONE[0]]}  # those whose weights are steered
COLOURS = (style.VERMILLION, style.BLUE, style.GREEN, style.PURPLE, style.ORANGE)
OF_REGIME = {
    name: Look(name, colour, marker=REGIMES[name].marker)
    for name, colour in zip(REGIMES, COLOURS, strict=True)
}


def clear(tables: Tables, condition: str, metric: str = EFFECT) -> list[str]:
    """The regimes that a channel clearly reacts to: t test over seeds, p < ALPHA / number of regimes."""
    rows = tables.rows("controls_comparison", condition=condition, metric=metric)
    found = {name: over_seeds(rows[rows["regime"] == name], "detrended") for name in REGIMES}
    return [name for name, one in found.items() if one.n >= FEWEST_SEEDS and one.p < ALPHA / len(REGIMES)]


def last_tests(tables: Tables, condition: str) -> pd.DataFrame:
    """Held-out tests of a condition's last weights, gradient finder beside untrained readers: a row a seed."""
    where = {"protocol": "heldout", "finder": "gradient", "placebo": "untrained"}
    rows = tables.rows("frozen_effects_summary", condition=condition, **where)
    return rows[rows["run_step"] == rows["run_step"].max()]


def _frozen(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
    """The effect of the last weights' learned directions, on a bar that is the mean of placebos'."""
    found = {name: rows for name in FROZEN if len(rows := last_tests(tables, name))}
    axes.set_title("frozen-weight test")
    if not found:
        not_measured(axes)
        return []
    for place, (name, rows) in enumerate(found.items()):
        axes.bar(place, per_seed(rows, "placebo_mean").mean(), 0.7, color=DARKER, zorder=0)
        by_seed(axes, place, per_seed(rows, "effect"), FROZEN[name], apart=0.12, bar=0.16)
    categories(axes, [*found], striped=False)
    axes.set_ylim(0, None)
    axes.set_ylabel("effect size (nats)")
    return [name for name in found if name in looks]


COMPARED = draw.sheet(
    "controls/controls-comparison.png",
    [
        draw.points(
            "controls_comparison", "difference", "training loss: Δ in the regime minus vanilla's Δ, same seed and steps",
            "Δ loss − vanilla's\n(nats)", across="regime", order=REGIMES, where={"metric": "loss"},
        ),
        draw.points(
            "controls_comparison", "detrended", "effect of the injected bias: Δ in the regime beyond the run's calm course",
            "Δ effect\n(mean |Δ logit|)", across="regime", order=REGIMES, where={"metric": EFFECT},
        ),
        draw.points(
            "controls_comparison", "relative", "the same, relative to the run's own effect before", "Δ effect / effect",
            across="regime", order=REGIMES, where={"metric": EFFECT},
        ),
        draw.points(
            "control_losses", "difference", "final held-out loss minus vanilla's", "difference (nats a token; left: better)", upright=False
        ),
        draw.Panel(("frozen_effects_summary",), _frozen),
    ],
    grid="aaaaaaa;bbbbbbb;ccccccc;ddddeee", height=9.6, looks=LOOKS, marks="points", columns=3, title=("stronger", "relative", "more"),
    shows="How self-states and biases that sense nothing react to each regime, what each gains in held-out loss, and how far "
    "states steer with frozen weights.",
    caption="Every point a seed; bars: mean and, from three seeds on, 95 % t interval. Calm course: a parabola through the run's own "
    "calm steps, since a self-state's bias grows through training. A fixed state stays cut off after self_clamp, so bewilderment, "
    "right after it, holds that cut. Frozen-weight test: held-out protocol, gradient finder, the one that a state of one dimension "
    "has; grey: untrained placebos, mean over seeds.",
)  # fmt: skip


def plane(tables: Tables, condition: str, metric: str) -> pd.DataFrame:
    """Columns regime, seed, and the detrended changes `loss` and `metric`, where a condition has both."""
    rows = tables.rows("controls_comparison", condition=condition)
    rows = rows[rows["metric"].isin(["loss", metric])]
    wide = rows.pivot_table(index=["regime", "seed"], columns="metric", values="detrended")
    return wide.reindex(columns=["loss", metric]).dropna().reset_index()


def scatter(condition: str) -> draw.Figure:
    """Change of loss against change of the bias's effect, or of entropy where there is no bias, by regime and seed."""
    metric, what = ("entropy", "entropy") if condition == VANILLA else (EFFECT, "the bias's effect")
    label, name = CHANNELS[metric].label, CHANNELS[metric].name
    if condition in STATIC:
        label, name = label.replace("state effect", "effect of the bias"), "effect of the bias"
    beside = "" if condition in ("self", VANILLA) else " Grey outlines: means of self."

    def panel(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        rows, own = plane(tables, condition, metric), plane(tables, "self", metric)
        level(axes, c=style.LIGHT)
        level(axes, c=style.LIGHT, upright=False)
        for regime, look in looks.items():
            here, mean = rows[rows["regime"] == regime], own[own["regime"] == regime].mean(numeric_only=True)
            if len(here):
                cloud(axes, here["loss"], here[metric], look, crossed=True)
            if len(here) and beside:
                axes.plot(
                    mean["loss"], mean[metric], look.marker, mfc="none", mec=style.GREY, ms=6.5, zorder=1
                )
        axes.set_xlabel("Δ " + CHANNELS["loss"].label)
        axes.set_ylabel("Δ " + label)
        axes.margins(0.08)
        return [regime for regime in looks if regime in {*rows["regime"]}]

    def title(tables: Tables) -> str:
        if plane(tables, condition, metric)["seed"].nunique() < FEWEST_SEEDS:
            return f"{condition}: loss and {name} by regime"
        found = clear(tables, condition, metric)
        return f"{condition}: {name} reacts clearly to {', '.join(found) or 'no regime'}"

    return draw.sheet(
        f"controls/{condition}.png", [draw.Panel(("controls_comparison",), panel)], width=style.COLUMN, looks=OF_REGIME, marks="points",
        columns=2, title=title,
        shows=f"Change of loss against change of {what} in `{condition}`, by regime and seed.",
        caption=lambda tables: f"Small: seeds (n = {plane(tables, condition, metric)['seed'].nunique()}). Large: means, with 95 % t "
        f"intervals from three seeds on. Change in the regime beyond the run's calm course.{beside} Title: t test, p < {ALPHA} / "
        f"{len(REGIMES)}.",
    )  # fmt: skip


FIGURES = (COMPARED, *map(scatter, ORDER))
