"""What each regime does to each metric: during its window minus before, with the same steps of a calm run beside.

The page is that of the suite shakespeare: what training.py finds stands on it, too.
"""

from functools import partial
from itertools import product

import pandas as pd
from matplotlib.axes import Axes

from experiments import clamp, training
from experiments.kit import marks as mark
from experiments.kit import panels as draw
from experiments.kit import published, style, words
from experiments.kit.changes import SHOWN, agrees, beyond, change, changes, marks, marks_the_state
from experiments.kit.experiment import Experiment
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.runs import Context
from experiments.kit.stats import bin_width, binned, estimate, paired
from experiments.kit.style import CHANNELS, COMMON, OF_STATE, REGIMES
from experiments.kit.tables import Tables, of_condition, shared_windows, stack
from experiments.kit.words import ABSENT, CLEAR, NOT_CLEAR, OPEN, Finding, interval, listed, signed

LOOKS = {name: style.CONDITIONS[name] for name in ("self", "vanilla", "self_calm")}
BACK_TO_FRONT = ("self_calm", "self", "vanilla")  # dashes show what lies under them
LAYOUT = [name for pair in zip(COMMON, OF_STATE, strict=True) for name in pair]  # two columns, row by row
MARGIN = 100  # steps drawn on each side of a window, at most


def regime_deltas(context: Context) -> pd.DataFrame:
    """One row a run, regime window and metric, in the metric's own units.

    before: mean over the last `pre_steps` steps before the window on which no regime acted. during: mean over the window.
    after: over the calm steps among as many as the window has, after it; NaN if there are none. delta: during - before;
    delta_after: after - before. Condition `NAME_calm` is measured at the windows of condition `NAME` of the same seed.
    """
    return changes(context.runs, context.suite.signatures.pre_steps)


def regime_deltas_summary(context: Context, regime_deltas: pd.DataFrame) -> pd.DataFrame:
    """One row a condition, or `NAME - NAME_calm` paired by seed, regime and metric.

    n: seeds. delta, low, high: mean and 95 % t interval over them; delta_after, after_low, after_high likewise.
    """
    keys = ["suite", "regime", "metric", "seed"]
    parts = [regime_deltas]
    for name in regime_deltas["condition"].unique():
        calm = of_condition(regime_deltas, f"{name}_calm")
        pairs = of_condition(regime_deltas, name).merge(calm, on=keys, suffixes=("", "_calm"))
        for column in ("delta", "delta_after"):
            pairs[column] -= pairs[f"{column}_calm"]
        parts.append(pairs.assign(condition=f"{name} - {name}_calm"))
    rows = []
    groups = stack(parts).groupby(["suite", "condition", "regime", "metric"], sort=False)
    for (suite, condition, regime, metric), of_seeds in groups:
        delta, after = estimate(of_seeds["delta"]), estimate(of_seeds["delta_after"])
        rows.append({
            "suite": suite, "condition": condition, "regime": regime, "metric": metric, "n": len(of_seeds),
            "delta": delta.mean, "low": delta.low, "high": delta.high,
            "delta_after": after.mean, "after_low": after.low, "after_high": after.high,
        })  # fmt: skip
    return pd.DataFrame(rows)


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page says, and the figures' titles."""
    return {
        **training.findings(tables), **clamp.findings(tables), "marks": marks_the_state(tables), "published": _replication(tables),
        "otherwise": _otherwise(tables),
    }  # fmt: skip


def _replication(tables: Tables) -> Finding:
    """Whether the published changes come back, by their signs."""
    claim = "The published changes come back, sign by sign."
    raw, net = [], []
    for (regime, expected), metric in product(published.REGIME_DELTAS.items(), SHOWN):
        own = estimate(change(tables, "self", regime, metric))
        if own.n:
            raw.append((own.n, agrees(expected[metric], own)))
            net.append(agrees(expected[metric], estimate(beyond(tables, regime, metric))))
    signs = [sign for n, sign in raw if n > 1]
    if not signs:
        return Finding(
            claim, *((OPEN, "One seed gives no interval.") if raw else (ABSENT, "No regime was measured."))
        )
    same, opposite, across = (signs.count(sign) for sign in (1, -1, 0))
    verdict = CLEAR if not opposite and 2 * same >= len(signs) else OPEN
    return Finding(
        claim, NOT_CLEAR if opposite >= same else verdict,
        f"Of {len(signs)} published changes, ours have the same sign with an interval that leaves zero out in {same}, the "
        f"opposite sign in {opposite}, and an interval across zero in {across}. With the calm run's change at the same steps "
        f"taken off: {net.count(1)}, {net.count(-1)} and {net.count(0)}.",
    )  # fmt: skip


def _otherwise(tables: Tables) -> Finding:
    """Whether the loss reacts to regimes otherwise than in a model without a self-state, in either direction."""
    claim = "With a self-state the loss reacts otherwise to a regime than without."
    found = {
        regime: estimate(beyond(tables, regime, "loss", "vanilla")) for regime in published.REGIME_DELTAS
    }
    known = {f"`{regime}`": value for regime, value in found.items() if value.n}
    if not known:
        return Finding(claim, ABSENT, "It needs seeds that both `self` and `vanilla` have.")
    said = "; ".join(f"{regime} {interval(value)}" for regime, value in known.items())
    verdicts = [OPEN if one.n < FEWEST_SEEDS else CLEAR if one.clear else NOT_CLEAR for one in known.values()]
    return Finding(claim, words.all_of(verdicts), f"`self` − `vanilla`, loss Δ: {said} nats.")


def deltas_table(tables: Tables) -> str:
    """A row a regime and metric: the published change, and ours with and without a self-state."""
    rows = []
    for (regime, expected), (metric, digits) in product(published.REGIME_DELTAS.items(), SHOWN.items()):
        own, calm, vanilla = (
            change(tables, name, regime, metric) for name in ("self", "self_calm", "vanilla")
        )
        values = (estimate(own), estimate(calm), paired(own, calm), estimate(vanilla))
        if len(own):
            rows.append([
                f"`{regime}`" if metric == "loss" else "", metric, signed(expected[metric], min(digits, 3)),
                *(interval(value, digits) for value in values), str(len(own)),
            ])  # fmt: skip
    head = ["regime", "channel", "published Δ", "`self` Δ", "`self_calm` Δ, same steps", "`self` − `self_calm`",
            "`vanilla` Δ", "n"]  # fmt: skip
    return words.table(head, rows) if rows else words.MISSING


def through(channel: str) -> draw.Panel:
    """A channel through the run, with the windows of the regimes shaded."""

    def panel(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        drawn = _curves(
            axes, channel, {name: tables.rows("metrics", condition=name) for name in BACK_TO_FRONT}
        )
        windows = (shared_windows(tables.rows("windows"), name) for name in LOOKS)
        mark.shade(axes, next(filter(None, windows), []), named=channel in LAYOUT[:2])
        axes.margins(x=0)
        return drawn

    return draw.Panel(("metrics", "windows", "regime_deltas"), panel, along=channel in LAYOUT[-2:])


def around(channel: str, regime: str) -> draw.Panel:
    """A channel around the onset of a regime; calm conditions at self's windows of their seed."""

    def panel(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        here = tables.rows("windows", regime=regime)
        here = here[here["condition"].isin(list(LOOKS))]
        if here.empty:
            return []
        length = int((here["end"] - here["start"]).median())
        margin = min(MARGIN, 2 * length)
        events = {}
        for name in BACK_TO_FRONT:
            own = of_condition(here, name if (here["condition"] == name).any() else "self").rename(
                columns={"start": "onset"}
            )
            rows = tables.rows("metrics", condition=name).merge(own[["seed", "onset", "end"]], on="seed")
            events[name] = rows[
                (rows["step"] >= rows["onset"] - margin) & (rows["step"] < rows["end"] + margin)
            ]
        drawn = _curves(axes, channel, events, 5 if length + 2 * margin > 60 else 2)
        onset, left, right = int(here["start"].iloc[0]), -margin, length + margin
        windows = shared_windows(tables.rows("windows"), "self") or [(regime, onset, onset + length)]
        near = [(name, max(start - onset, left), min(end - onset, right)) for name, start, end in windows]
        mark.shade(axes, [one for one in near if one[1] < one[2]], named=channel in LAYOUT[:2])
        axes.set_xlim(left, right)
        return drawn

    return draw.Panel(("metrics", "windows", "regime_deltas"), panel, along=channel in LAYOUT[-2:])


def _curves(axes: Axes, channel: str, parts: dict[str, pd.DataFrame], width: int = 0) -> list[str]:
    """A line a condition of means of `width` steps, from the onset where there is one; the names of what was drawn."""
    drawn = [name for name, rows in parts.items() if rows[channel].notna().any()]
    for name in drawn:
        rows = parts[name]
        means = binned(rows, channel, width or bin_width(rows), "onset" if width else None)
        mark.curve(axes, means, LOOKS[name], CHANNELS[channel].log, faint=0.18 if name == "self" else 0)
    if not drawn:
        mark.not_measured(axes)
    axes.set_ylabel(CHANNELS[channel].label.replace(" (", "\n("))
    return drawn


def moved(tables: Tables, regime: str) -> str:
    """The title of a regime's own figure: which channels it moves, up or down."""
    name = f"{regime} ({REGIMES[regime].gloss})"
    if (
        min(tables.rows("regime_deltas", condition=one)["seed"].nunique() for one in ("self", "self_calm"))
        < FEWEST_SEEDS
    ):
        return f"{name}: every channel around its onset (too few seeds of self and self_calm to test)"
    found = marks(tables, regime) or {}
    ways: dict[str, list[str]] = {"up": [], "down": []}
    for channel, value in found.items():
        ways["up" if value.mean > 0 else "down"].append(CHANNELS[channel].name)
    said = "; ".join(f"{listed(names)} {way}" for way, names in ways.items() if names)
    return (
        f"{name}: against self_calm's change, {said}"
        if said
        else f"{name} moves no channel clearly beyond self_calm"
    )


SEEDS = "Line: mean over seeds (geometric on the logarithmic axis); band: 95 % t interval, from three seeds on; faint: single seeds of self."
EARLIER = (
    "Traces of earlier regimes are in that, too: the runs without regimes had none before. What vanilla shows as well under "
    "false_feedback or self_clamp, which leave it alone, is theirs"
)
FIGURES = (
    draw.sheet(
        "perturbation/regime-reactions.png", [through(channel) for channel in LAYOUT], grid=(4, 2), height=7.6, looks=LOOKS,
        title=("marks",), x="training step", marks="line", share_x=True,
        shows="Every logged channel through the run, with the windows of the five regimes shaded and named, beside the same run "
        "without regimes and the model without a self-state.",
        caption=f"Lightly smoothed. {SEEDS} Grey: windows in which a regime acts on self and vanilla. Title: self minus self_calm in "
        f"each window, paired by seed, t test with p < 0.05 / 8. {EARLIER}.",
    ),
    draw.sheet(
        "perturbation/regime-deltas.png",
        [
            draw.points("regime_deltas", "delta", label=f"Δ {CHANNELS[name].label}", across="regime", order=REGIMES,
                        where={"metric": name}, upright=False, changes=True)
            for name in LAYOUT
        ],
        grid=(4, 2), height=8.0, looks=LOOKS, title=("marks",), marks="points", share_y=True,
        shows="How much each regime changes each channel, seed by seed, beside what time alone and the model without a self-state "
        "do at the same steps.",
        caption="Mean in the window minus mean of the calm steps before it (as many as the window, at most 100). Points: seeds; "
        "bars: mean, and 95 % t interval from three seeds on. self_calm, at the same steps without any regime, shows what time "
        "alone does. Axes are linear within the dotted lines where there are any and logarithmic outside. Title: self against "
        f"self_calm, paired by seed, t test with p < 0.05 / 8. {EARLIER}.",
    ),
    *(
        draw.sheet(
            f"perturbation/{regime}.png", [around(channel, regime) for channel in LAYOUT], grid=(4, 2), height=7.2, looks=LOOKS,
            title=partial(moved, regime=regime), x=f"steps since the onset of {regime}", marks="line", share_x=True,
            shows=f"Every channel around the onset of {regime} ({look.gloss}).",
            caption=f"Means of 5 steps, of 2 for short windows. {SEEDS} Grey: windows, from 0 on that of {regime} ({look.gloss}). Title: "
            f"change in the window, self minus self_calm at the same steps, paired by seed, t test with p < 0.05 / 8. {EARLIER}: "
            "there a channel that vanilla has counts only where self and vanilla differ by the same test.",
        )
        for regime, look in REGIMES.items()
    ),
)  # fmt: skip
EXPERIMENT = Experiment(
    "perturbation", "Training with a self-state: losses and regime signatures", (regime_deltas, regime_deltas_summary), findings, FIGURES,
    {**training.GRIDS, "deltas": deltas_table, "clamp": clamp.GRID}, suites=("shakespeare", "*"), page="shakespeare.md",
)  # fmt: skip
