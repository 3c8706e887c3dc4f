"""What a self-state pays: gains by mechanism and world, beside every control, around switches, and by the age of its news.

A gain is vanilla's loss minus the condition's, same seed, batches and regimes: above zero is better than no state.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from plots import series, style
from plots.figure import Figure
from plots.series import NothingToDraw
from plots.style import Look, percent, plural, signed

Tables = dict[str, pd.DataFrame]
SUITE = "recurring"
LOSSES, SWITCHES, RECOVERY, SUMMARY = (
    f"recurring_{name}" for name in ("losses", "switches", "recovery", "summary")
)
STATE, ORACLE = "calibrated_recurring", "oracle"
WORLDS = {
    "windows": "each of five regimes once, at set times",
    "random": "each once, at random times",
    "recurring": "targets corrupted, on and off",
    "mix": "five regimes, on and off",
    "faint": "weak corruption, on and off",
}
MECHANISMS = {
    "calibrated": Look("calibrated mechanism", style.BLUE),
    "seed": Look("published mechanism (seed)", style.ORANGE, marker="s", filled=False),
}
LOOKS: dict[str, Look] = {  # of the recurring world, in the order of the figure
    ORACLE: Look("oracle: the true regime", style.BLACK, (0, (1, 1.2)), "D"),
    "direct": Look("direct: nothing carried on", style.GREEN, (0, (6, 1.5, 1, 1.5)), "^"),
    STATE: Look("calibrated: the self-state", style.BLUE, "-", "o"),
    "state_1d": Look("state_1d: one dimension", style.SKY, (0, (3, 1, 1, 1)), "P", filled=False),
    "seed_recurring": Look("seed: published mechanism", style.ORANGE, (0, (2, 1)), "s", filled=False),
    "learned_bias": Look("learned_bias: a constant", style.GREEN, ":", "<", filled=False),
    "fixed_bias": Look("fixed_bias: a random one", style.ORANGE, ":", ">", filled=False),
    "shuffled": Look("shuffled: own past, mixed up", style.VERMILLION, (0, (1, 2)), "v", filled=False),
    "yoked": Look("yoked: another run's senses", style.PURPLE, (0, (4, 1.6)), "X"),
    "clock": Look("clock: time alone", style.GREY, (0, (5, 3)), "d", filled=False),
}
CURVES = (ORACLE, "direct", STATE, "yoked")
KINDS = {"clean_loss": "calm steps", "perturbed_loss": "perturbed steps"}
AGES = (STATE, "delayed_4", "delayed_16", "delayed_64")
_RUN = ("suite", "condition", "seed")
COLUMNS: dict[str, tuple[str, ...]] = {
    LOSSES: (*_RUN, "world", "mechanism", "role", "age", "fresh", "from_step", *(f"{kind}_difference" for kind in KINDS)),
    SWITCHES: (*_RUN, "switch", "lag", "events", "difference"),
    RECOVERY: (*_RUN, "switch", "events", "loss_after_difference"),
    SUMMARY: ("suite", "quantity", "condition", "reference", "world", "measure", "n", "mean", "low", "high"),
}  # fmt: skip


def gains(losses: pd.DataFrame, condition: str, measure: str) -> "pd.Series[float]":
    """Vanilla's loss minus the condition's, by seed (nats a token); empty where it was not measured."""
    rows = series.of_condition(losses, condition).set_index("seed")
    return -rows[f"{measure}_difference"].astype(float).dropna()


def of_world(losses: pd.DataFrame, mechanism: str, world: str) -> str:
    """The condition of a mechanism in a world that is shown its own statistics; "" where there is none."""
    rows = losses[
        (losses["world"] == world) & (losses["mechanism"] == mechanism) & (losses["role"] == "state")
    ]
    return str(rows["condition"].iloc[0]) if len(rows) else ""


def paying(losses: pd.DataFrame, mechanism: str, measure: str) -> tuple[list[str], list[str]]:
    """Worlds in which a mechanism clearly gains (95 % interval above zero), and all in which three seeds measured it."""
    clear, known = [], []
    for world in WORLDS:
        found = series.estimate(gains(losses, of_world(losses, mechanism, world), measure))
        if found.n >= series.FEWEST:
            known.append(world)
            if found.low > 0:
                clear.append(world)
    return clear, known


def share_of(summary: pd.DataFrame, condition: str, measure: str) -> series.Estimate:
    """The share of the oracle's gain and its Fieller interval; n = 0 where there is none."""
    rows = summary[
        (summary["quantity"] == "share")
        & (summary["condition"] == condition)
        & (summary["measure"] == measure)
    ]
    if rows.empty:
        return series.Estimate(0, np.nan, np.nan, np.nan, np.nan)
    n, mean, low, high = rows[["n", "mean", "low", "high"]].iloc[0]
    return series.Estimate(int(n), float(mean), float(low), float(high), np.nan)


def what_it_pays(tables: Tables, note: str) -> Drawing:
    """Above: gain by world and mechanism. Below: gain of each control, of zero and of the oracle, in the recurring world."""
    losses, summary = tables[LOSSES], tables[SUMMARY]
    worlds = [
        world for world in WORLDS if any(of_world(losses, mechanism, world) for mechanism in MECHANISMS)
    ]
    controls = [name for name in LOOKS if len(gains(losses, name, "clean_loss"))]
    if not worlds and not controls:
        raise NothingToDraw(f"{LOSSES}.csv has no condition beside a vanilla of its world")
    made = style.figure(style.WIDE, 6.9)
    grid = GridSpec(2, 1, figure=made, height_ratios=[1, 1.2])
    upper, lower = grid[0].subgridspec(1, 2), grid[1].subgridspec(1, 2, wspace=0.08)
    for column, (measure, name) in enumerate(KINDS.items()):
        _factorial(made.add_subplot(upper[column]), losses, worlds, measure, name)
        _controls(
            made.add_subplot(lower[column]), losses, summary, controls, measure, name, labelled=column == 0
        )
    counts = losses[losses["role"] != "vanilla"].groupby("condition")["seed"].nunique()
    glosses = "; ".join(f"{world}: {WORLDS[world]}" for world in worlds)
    caption = (
        f"Every point a seed ({_spread(counts)} a condition); bars: mean and, from three seeds on, 95 % t interval. Gain: loss of the "
        "model without a state minus loss of this one, on the same training batches under the same regimes, "
        f"from step {int(losses['from_step'].min())} on. Below: all in the recurring world; dotted line: mean gain of the oracle, which is "
        "shown the true regime; right: share of that gain, ratio of means with Fieller's 95 % interval. "
        f"Worlds: {glosses}."
    )
    handles = [
        Line2D([], [], ls="", marker=own.marker, c=own.colour, mfc=own.face, ms=4.5)
        for own in MECHANISMS.values()
    ]
    return style.finish(
        made,
        _pay_title(losses, summary),
        caption,
        note,
        (handles, [own.label for own in MECHANISMS.values()]),
    )


def _spread(counts: "pd.Series[int]") -> str:
    """`n = 8`, or `n = 4 to 8`."""
    if counts.empty:
        return "n = 0"
    low, high = int(counts.min()), int(counts.max())
    return f"n = {low}" if low == high else f"n = {low} to {high}"


def _factorial(axes: Axes, losses: pd.DataFrame, worlds: list[str], measure: str, name: str) -> None:
    for x, world in enumerate(worlds):
        if x % 2:
            axes.axvspan(x - 0.5, x + 0.5, color="#f3f3f3", lw=0, zorder=-1)
        for shift, (mechanism, own) in zip((-0.18, 0.18), MECHANISMS.items(), strict=True):
            _upright(axes, x + shift, gains(losses, of_world(losses, mechanism, world), measure), own)
    axes.axhline(0, c="k", lw=0.6, zorder=1)
    axes.set_xticks(range(len(worlds)), worlds)
    axes.set_xlim(-0.5, max(len(worlds), 1) - 0.5)
    axes.set_title(f"{name}: gain by world")
    axes.set_ylabel("gain (nats a token)")


def _upright(axes: Axes, x: float, values: "pd.Series[float]", own: Look, width: float = 0.08) -> None:
    if values.empty:
        return
    beside = np.linspace(-width, width, len(values)) if len(values) > 1 else np.zeros(1)
    axes.plot(x + beside, values, own.marker, c=own.colour, mfc=own.face, ms=3, mew=0.6, zorder=2)
    found = series.estimate(values)
    axes.plot([x - 1.4 * width, x + 1.4 * width], [found.mean] * 2, c="k", lw=1.3, zorder=4)
    if found.n >= series.FEWEST:
        axes.plot([x, x], [found.low, found.high], c="k", lw=0.8, zorder=3)


def _controls(
    axes: Axes,
    losses: pd.DataFrame,
    summary: pd.DataFrame,
    names: list[str],
    measure: str,
    kind: str,
    labelled: bool,
) -> None:
    ceiling = series.estimate(gains(losses, ORACLE, measure))
    if ceiling.n:
        axes.axvline(ceiling.mean, c="k", lw=1, ls=(0, (1, 1.2)), zorder=1)
    axes.axvline(0, c="k", lw=0.6, zorder=1)
    aside = axes.get_yaxis_transform()  # x in shares of the panel, y in data
    axes.text(
        1.02, 1.0, "share of the\noracle's gain", transform=axes.transAxes, va="bottom", ha="left", fontsize=7
    )
    for y, name in enumerate(names[::-1]):
        own, values = LOOKS[name], gains(losses, name, measure)
        beside = y + (np.linspace(-0.14, 0.14, len(values)) if len(values) > 1 else np.zeros(len(values)))
        axes.plot(values, beside, own.marker, c=own.colour, mfc=own.face, ms=3, mew=0.6, zorder=2)
        found = series.estimate(values)
        if found.n:
            axes.plot([found.mean] * 2, [y - 0.3, y + 0.3], c="k", lw=1.3, zorder=4)
        if found.n >= series.FEWEST:
            axes.plot([found.low, found.high], [y, y], c="k", lw=0.8, zorder=3)
        axes.text(
            1.02, y, _share_text(summary, name, measure), transform=aside, va="center", ha="left", fontsize=7
        )
    axes.set_yticks(range(len(names)), [LOOKS[name].label for name in names[::-1]] if labelled else [])
    axes.set_ylim(-0.6, max(len(names), 1) - 0.4)
    axes.set_title(f"{kind}: controls")
    axes.set_xlabel("gain (nats a token)")
    axes.xaxis.set_major_locator(MaxNLocator(4))


def _share_text(summary: pd.DataFrame, name: str, measure: str) -> str:
    found = share_of(summary, name, measure)
    if name == ORACLE or not found.n:
        return "–"
    text, low, high = (signed(value).removeprefix("+") for value in (found.mean, found.low, found.high))
    return f"{text} [{low}, {high}]" if found.n >= series.FEWEST else text


def _pay_title(losses: pd.DataFrame, summary: pd.DataFrame) -> str:
    """In which worlds each mechanism gains on calm steps, and which share of the oracle's gain the state gets."""
    parts = []
    for mechanism in MECHANISMS:
        clear, known = paying(losses, mechanism, "clean_loss")
        if known:
            where = "" if len(clear) in (0, len(known)) else f" ({', '.join(clear)})"
            name = MECHANISMS[mechanism].label.removesuffix(" (seed)")
            parts.append(f"the {name} in {len(clear)} of {plural(len(known), 'world')}{where}")
    if not parts:
        return "What a self-state pays, by mechanism, world and control (too few seeds to test)"
    text = f"On calm steps a clear gain for {', for '.join(parts)}"
    shares = [(name, share_of(summary, name, "clean_loss")) for name in (STATE, "direct", "yoked")]
    told = [
        f"{name} {percent(found.mean).replace('-', '−')}"
        for name, found in shares
        if found.n >= series.FEWEST
    ]
    return f"{text}. Of the oracle's gain: {', '.join(told)}" if told else text


def switch_curves(tables: Tables, note: str) -> Drawing:
    """Loss minus vanilla's around each switch on and off: mean and band over seeds."""
    table = tables[SWITCHES]
    names = [name for name in CURVES if series.of_condition(table, name)["difference"].notna().any()]
    if not names:
        raise NothingToDraw(f"{SWITCHES}.csv has none of {', '.join(CURVES)}")
    made = style.figure(style.WIDE, 3.9)
    panels = made.subplots(1, 2, sharey=True)
    for axes, kind, side in zip(panels, ("on", "off"), (1, -1), strict=True):
        low, high = int(table["lag"].min()), int(table["lag"].max())
        axes.axvspan(*((0, high) if side > 0 else (low, 0)), color="#ececec", lw=0, zorder=-1)
        axes.axhline(0, c="k", lw=0.8, zorder=1)
        for name in names:
            own, rows = LOOKS[name], series.of_condition(table, name)
            wide = rows[rows["switch"] == kind].pivot_table(index="lag", columns="seed", values="difference")
            if wide.empty:
                continue
            over = series.band(wide)
            if wide.shape[1] >= series.FEWEST:
                axes.fill_between(
                    over.index, over["low"], over["high"], color=own.colour, alpha=0.18, lw=0, zorder=2
                )
            axes.plot(
                over.index, over["mean"], color=own.colour, ls=own.line, lw=1.2, marker=own.marker, markevery=(4, 10),
                ms=3.4, mfc=own.face, zorder=3,
            )  # fmt: skip
        axes.set_xlim(low, high)
        axes.set_title(f"corruption switches {kind} at 0")
        axes.set_xlabel("steps since the switch")
    panels[0].set_ylabel("loss − vanilla's (nats a token)\nbelow zero: better")
    mine = series.of_condition(table[table["lag"] == 0], STATE if STATE in names else names[0])
    events = mine.groupby("switch")["events"].sum()
    caption = (
        f"n = {plural(table[table['condition'].isin(names)]['seed'].nunique(), 'seed')}, "
        f"{int(events.get('on', 0))} switches on and {int(events.get('off', 0))} off. Lines: means over seeds of each seed's mean over its "
        "switches; bands: 95 % t intervals over seeds, from three on. Grey: targets are corrupted. Zero: the model without a state, same batches. "
        "Steps that belong to another stretch are left out, so fewer switches reach far from zero."
    )
    handles = [
        Line2D([], [], color=LOOKS[n].colour, ls=LOOKS[n].line, marker=LOOKS[n].marker, ms=3.6, mfc=LOOKS[n].face) for n in names
    ]  # fmt: skip
    return style.finish(
        made,
        _switch_title(tables[RECOVERY]),
        caption,
        note,
        (handles, [LOOKS[n].label for n in names]),
        columns=4,
    )


def after_switch(
    recovery: pd.DataFrame, condition: str, kind: str, column: str = "loss_after_difference"
) -> "pd.Series[float]":
    """A measure of recovery of a condition after one kind of switch, by seed."""
    rows = series.of_condition(recovery, condition)
    return rows[rows["switch"] == kind].set_index("seed")[column].astype(float).dropna()


def _switch_title(recovery: pd.DataFrame) -> str:
    """The loss beyond vanilla's summed over the 20 steps after each kind of switch, of the state."""
    parts = []
    for kind in ("on", "off"):
        found = series.estimate(after_switch(recovery, STATE, kind))
        if found.n >= series.FEWEST:
            word = "not clearly another" if not found.clear else "less" if found.mean < 0 else "more"
            parts.append(f"switch {kind}: {word} loss than vanilla ({signed(found.mean)} nats)")
    if not parts:
        return "Loss around switches, against the model without a state (too few seeds to test)"
    return f"The self-state in the 20 steps after a {', after a '.join(parts)}"


def freshness(tables: Tables, note: str) -> Drawing:
    """Gain against the age of the statistics that the state is shown, on calm and on perturbed steps."""
    losses = tables[LOSSES]
    names = [name for name in series.present(losses, AGES) if len(gains(losses, name, "clean_loss"))]
    if len(names) < 2:
        raise NothingToDraw(f"{LOSSES}.csv has fewer than two of {', '.join(AGES)}")
    told = losses.groupby("condition")[["age", "fresh"]].mean()
    made = style.figure(style.WIDE, 3.7)
    for axes, (measure, title) in zip(made.subplots(1, 2), KINDS.items(), strict=True):
        axes.axhline(0, c="k", lw=0.6, zorder=1)
        for name in (ORACLE, "yoked"):
            values = gains(losses, name, measure)
            if len(values):
                axes.axhline(values.mean(), c=LOOKS[name].colour, ls=LOOKS[name].line, lw=1.2, zorder=1)
        means = []
        for x, name in enumerate(names):
            values = gains(losses, name, measure)
            means.append(values.mean())
            _upright(axes, x, values, LOOKS[STATE])
        axes.plot(range(len(names)), means, c=LOOKS[STATE].colour, lw=1, zorder=1.5)
        ticks = [f"{int(told['age'][name])}\n{percent(told['fresh'][name])}" for name in names]
        axes.set_xticks(range(len(names)), ticks)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_title(title)
        axes.set_xlabel("age of the statistics (steps)\nregime still the same")
        axes.set_ylabel("gain (nats a token)")
    counts = losses[losses["condition"].isin(names)].groupby("condition")["seed"].nunique()
    caption = (
        f"Every point a seed ({_spread(counts)} an age); bars: mean and, from three seeds on, 95 % t interval. Under each age: share of the "
        "steps whose regime is the one that the statistics were measured under; 50 % would tell nothing. Horizontal: means of the oracle "
        "and of the yoked state, which is shown another run's statistics."
    )
    shown = [name for name in (ORACLE, "yoked") if len(gains(losses, name, "clean_loss"))]
    handles = [Line2D([], [], color=LOOKS[STATE].colour, marker="o", ms=3.6)]
    handles += [Line2D([], [], color=LOOKS[n].colour, ls=LOOKS[n].line) for n in shown]
    labels = ["self-state", *(LOOKS[n].label for n in shown)]
    return style.finish(made, _fresh_title(losses, names, told["age"]), caption, note, (handles, labels))


def _fresh_title(losses: pd.DataFrame, names: list[str], ages: "pd.Series[float]") -> str:
    """Up to which age statistics still pay clearly on calm steps."""
    found = {name: series.estimate(gains(losses, name, "clean_loss")) for name in names}
    known = [name for name in names if found[name].n >= series.FEWEST]
    if not known:
        return "Gain by the age of the statistics (too few seeds to test)"
    paid = [str(int(ages[name])) for name in known if found[name].low > 0]
    not_paid = [str(int(ages[name])) for name in known if not found[name].low > 0]
    if not not_paid:
        return f"Statistics of every age, {_steps(paid)}, pay on calm steps"
    if not paid:
        return f"Statistics of no age, {_steps(not_paid)}, clearly pay on calm steps"
    return f"Statistics {_steps(paid)} old pay on calm steps; {_steps(not_paid)} old not clearly"


def _steps(ages: list[str]) -> str:
    """`1 step`, `4 and 16 steps`."""
    said = ages[0] if len(ages) == 1 else f"{', '.join(ages[:-1])} and {ages[-1]}"
    return f"{said} {'step' if ages == ['1'] else 'steps'}"


FIGURES: tuple[Figure, ...] = (
    Figure(
        "recurring/what-it-pays.png",
        what_it_pays,
        (LOSSES, SUMMARY),
        "What each mechanism gains against no state in each world, on calm and on perturbed steps; beside it every control of "
        "the recurring world, with its share of the oracle's gain.",
        SUITE,
    ),
    Figure(
        "recurring/switches.png",
        switch_curves,
        (SWITCHES, RECOVERY),
        "Loss minus vanilla's around each switch of the corruption, on and off, for the self-state, the direct reading, the "
        "yoked state and the oracle.",
        SUITE,
    ),
    Figure(
        "recurring/freshness.png",
        freshness,
        (LOSSES,),
        "What the state gains when the statistics that it is shown are 1, 4, 16 and 64 steps old.",
        SUITE,
    ),
)
