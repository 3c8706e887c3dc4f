"""What each regime does to each metric: during its window minus before, with the same steps of a calm run beside.

The page is that of the suite shakespeare: what training.py finds stands on it, too.
"""

import textwrap
from itertools import product

import pandas as pd
from matplotlib.axes import Axes

from experiments import clamp, training
from experiments.kit import marks as mark
from experiments.kit import panels as draw
from experiments.kit import published, style, words
from experiments.kit.changes import SHOWN, agrees, beyond, change, changes, marks_the_state
from experiments.kit.experiment import Experiment
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.runs import Context
from experiments.kit.stats import bin_width, binned, estimate, paired
from experiments.kit.style import CHANNELS, COMMON, OF_STATE, REGIMES
from experiments.kit.tables import Tables, of_condition, shared_windows
from experiments.kit.words import ABSENT, CLEAR, NOT_CLEAR, OPEN, Finding, interval, listed, number, signed

LOOKS = {name: style.CONDITIONS[name] for name in ("self", "vanilla", "self_calm")}
BACK_TO_FRONT = ("self_calm", "self", "vanilla")  # dashes show what lies under them
THROUGH = ("loss", "entropy", "state_ema_drift", "prompt_effect")
CHANNELS_AROUND = (*COMMON, *OF_STATE)
MARGIN = 100  # steps drawn on each side of a window, at most


def regime_deltas(context: Context) -> pd.DataFrame:
    """One row a run, regime window and metric, in the metric's own units.

    before: mean over the last `pre_steps` steps before the window on which no regime acted. during: mean over the window.
    after: over the calm steps among as many as the window has, after it; NaN if there are none. delta: during - before;
    delta_after: after - before. Condition `NAME_calm` is measured at the windows of condition `NAME` of the same seed.
    """
    return changes(context.runs, context.suite.signatures.pre_steps)


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page says, and the figures' titles."""
    return {
        **training.findings(tables), **clamp.findings(tables), "marks": marks_the_state(tables), "published": _replication(tables),
        "reacts": _reacts(tables),
    }  # fmt: skip


def _replication(tables: Tables) -> Finding:
    """Whether the published changes come back, by their signs."""
    claim = "Most of the published changes under regimes come back with their sign."
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
    return Finding(
        claim, CLEAR if 2 * same > len(signs) else NOT_CLEAR,
        f"Of {len(signs)} changes, {same} have the published sign, {opposite} the opposite one, and {across} an interval across "
        f"zero. Beyond what changes without regimes at the same steps: {net.count(1)}, {net.count(-1)} and {net.count(0)}.",
        "No more than half of the published changes under regimes come back with their sign.",
    )  # fmt: skip


def _reacts(tables: Tables) -> Finding:
    """Whether the loss reacts to regimes otherwise than in a model without a self-state, in either direction."""
    found = {
        regime: estimate(beyond(tables, regime, "loss", "vanilla")) for regime in published.REGIME_DELTAS
    }
    known = {f"`{regime}`": value for regime, value in found.items() if value.n}
    clear = {regime: value for regime, value in known.items() if value.n >= FEWEST_SEEDS and value.clear}
    clamp, others = clear.get("`self_clamp`"), [name for name in clear if name != "`self_clamp`"]
    said = (
        [
            f"Clamping the state {'costs' if clamp.mean > 0 else 'saves'} {number(abs(clamp.mean))} nats of loss."
        ]
        if clamp
        else []
    )
    said += (
        [f"With a self-state the loss reacts differently to {listed(others or ['regimes'])}."]
        if others or not clamp
        else []
    )
    if not known:
        return Finding(said[0], ABSENT, "It needs seeds that both `self` and `vanilla` have.")
    few = min(value.n for value in known.values()) < FEWEST_SEEDS
    each = "; ".join(f"{regime} {interval(value)}" for regime, value in known.items())
    return Finding(
        " ".join(said), CLEAR if clear else OPEN if few else NOT_CLEAR, f"Change of the loss with a self-state minus without: {each} nats.",
        "With a self-state the loss reacts to no regime in a clearly different way.",
    )  # fmt: skip


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
    return words.table(head, rows)


def through(channel: str) -> draw.Panel:
    """A channel through the run, with the windows of the regimes shaded."""

    def panel(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        drawn = _curves(
            axes, channel, {name: tables.rows("metrics", condition=name) for name in BACK_TO_FRONT}
        )
        windows = (shared_windows(tables.rows("windows"), name) for name in LOOKS)
        mark.shade(axes, next(filter(None, windows), []), named=channel == THROUGH[0])
        axes.margins(x=0)
        return drawn

    return draw.Panel(("metrics", "windows", "regime_deltas"), panel, along=channel == THROUGH[-1])


def around(channel: str, regime: str) -> draw.Panel:
    """A channel around the onset of a regime; calm conditions at self's windows of their seed."""

    def panel(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        here = tables.rows("windows", regime=regime)
        here = here[here["condition"].isin(list(LOOKS))]
        if channel == CHANNELS_AROUND[0]:
            axes.set_title(f"{regime}:\n{textwrap.fill(REGIMES[regime].gloss, 18)}", fontsize=7)
        drawn = []
        if len(here):
            length = int((here["end"] - here["start"]).median())
            margin = min(MARGIN, 2 * length)
            events = {}
            for name in BACK_TO_FRONT:
                timed = name if (here["condition"] == name).any() else "self"
                own = of_condition(here, timed).rename(columns={"start": "onset"})
                rows = tables.rows("metrics", condition=name).merge(own[["seed", "onset", "end"]], on="seed")
                near = (rows["step"] >= rows["onset"] - margin) & (rows["step"] < rows["end"] + margin)
                events[name] = rows[near]
            drawn = _curves(axes, channel, events, 5 if length + 2 * margin > 60 else 2)
            onset, left, right = int(here["start"].iloc[0]), -margin, length + margin
            windows = shared_windows(tables.rows("windows"), "self") or [(regime, onset, onset + length)]
            placed = [
                (name, max(start - onset, left), min(end - onset, right)) for name, start, end in windows
            ]
            mark.shade(axes, [one for one in placed if one[1] < one[2]])
            axes.set_xlim(left, right)
        if channel == "top1":
            axes.set_ylim(0, 1)
        first = regime == next(iter(REGIMES))
        parts = CHANNELS[channel].label.replace(" (", "\n(").splitlines()
        axes.set_ylabel("\n".join(textwrap.fill(part, 16) for part in parts) if first else "", fontsize=7)
        return drawn

    last = channel == CHANNELS_AROUND[-1] and regime == [*REGIMES][len(REGIMES) // 2]
    return draw.Panel(("metrics", "windows", "regime_deltas"), panel, along=last)


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


def shift(channel: str) -> draw.Panel:
    """How much each regime changes a channel, seed by seed."""
    return draw.points(
        "regime_deltas", "delta", f"change of {CHANNELS[channel].name} ({CHANNELS[channel].label.partition(' (')[2]}", across="regime",
        order=REGIMES, where={"metric": channel}, upright=False, changes=True,
    )  # fmt: skip


FIGURES = (
    draw.sheet(
        "perturbation/regime-reactions.png", [panel for channel in THROUGH for panel in (through(channel), shift(channel))], grid=(4, 2),
        height=7.4, looks=LOOKS, title=("marks",), x="training step",
        shows="Loss, entropy, distance of the state from its average and its effect through the run, with the windows of the regimes, and "
        "how much each regime changes them, beside the same run without regimes and the model without a self-state.",
        caption="Left: mean over seeds, 95 % t band, single seeds faint; grey: a regime acts. Right: mean in the window minus mean of the "
        "calm steps before it; one point a seed, mean and 95 % t interval; beyond dotted lines the axis is logarithmic. Without "
        "regimes, the change is what time alone does.",
    ),
    draw.sheet(
        "perturbation/regime-onsets.png", [around(channel, regime) for channel in CHANNELS_AROUND for regime in REGIMES],
        grid=(len(CHANNELS_AROUND), len(REGIMES)), height=8.6, looks=LOOKS, title=("reacts",), x="steps since the onset",
        marks="line", share_x="col", share_y="row",
        shows="Every channel around the onset of each regime, beside the same steps without regimes and without a self-state.",
        caption="Means of 5 steps, of 2 in short windows, over seeds, with 95 % t bands. Grey: a regime acts, from 0 on that of the column. "
        "The run without regimes is shown at the same steps; it bears no traces of earlier ones.",
    ),
)  # fmt: skip
EXPERIMENT = Experiment(
    "perturbation", "Training with a self-state: losses and regime signatures", (regime_deltas,), findings, FIGURES,
    {**training.GRIDS, "deltas": deltas_table, "clamp": clamp.GRID}, suites=("shakespeare", "*"), page="shakespeare.md",
)  # fmt: skip
