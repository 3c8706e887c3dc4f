"""What a self-state pays around switches, and by the age of its news."""

import pandas as pd
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D

from analysis.spans import AFTER_SWITCH
from experiments.kit import stats, style
from experiments.kit import tables as kit_tables
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.tables import NothingToDraw
from experiments.kit.words import listed, percent, plural, signed
from plots.figure import Figure, Tables
from plots.gains import (
    AGES,
    KINDS,
    LOOKS,
    LOSSES,
    ORACLE,
    RECOVERY,
    STATE,
    SUITE,
    SWITCHES,
    after_switch,
    gains,
    spread,
    upright,
)

CURVES = (ORACLE, "direct", STATE, "yoked")


def switch_curves(tables: Tables, note: str) -> Drawing:
    """Loss minus vanilla's around each switch on and off: mean and band over seeds."""
    table = tables[SWITCHES]
    names = [name for name in CURVES if kit_tables.of_condition(table, name)["difference"].notna().any()]
    if not names:
        raise NothingToDraw(f"{SWITCHES}.csv has none of {', '.join(CURVES)}")
    made = style.figure(style.WIDE, 3.9)
    panels = made.subplots(1, 2, sharey=True)
    for axes, kind, side in zip(panels, ("on", "off"), (1, -1), strict=True):
        low, high = int(table["lag"].min()), int(table["lag"].max())
        axes.axvspan(*((0, high) if side > 0 else (low, 0)), color="#ececec", lw=0, zorder=-1)
        axes.axhline(0, c="k", lw=0.8, zorder=1)
        for name in names:
            own, rows = LOOKS[name], kit_tables.of_condition(table, name)
            wide = rows[rows["switch"] == kind].pivot_table(index="lag", columns="seed", values="difference")
            if wide.empty:
                continue
            over = stats.band(wide)
            if wide.shape[1] >= FEWEST_SEEDS:
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
    mine = kit_tables.of_condition(table[table["lag"] == 0], STATE if STATE in names else names[0])
    events = mine.groupby("switch")["events"].sum()
    caption = (
        f"n = {plural(table[table['condition'].isin(names)]['seed'].nunique(), 'seed')}, "
        f"{int(events.get('on', 0))} switches on and {int(events.get('off', 0))} off. Lines: means over seeds of each seed's mean over its "
        "switches; bands: 95 % t intervals over seeds, from three on. Grey: targets are corrupted. Zero: the model without a state, same batches. "
        "Steps that belong to another stretch are left out, so fewer switches reach far from zero. At step 0 a state still tells what was before "
        f"the switch. Title: mean of the first {AFTER_SWITCH} steps, with the interval over seeds."
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


def _switch_title(recovery: pd.DataFrame) -> str:
    """The loss beyond vanilla's over the AFTER_SWITCH steps after each kind of switch, a step, of the state."""
    parts = []
    for kind in ("on", "off"):
        found = stats.estimate(
            after_switch(recovery, STATE, kind) / AFTER_SWITCH
        )  # from a sum over these steps
        if found.n >= FEWEST_SEEDS:
            word = "not clearly another" if not found.clear else "less" if found.mean < 0 else "more"
            size = f"{signed(found.mean, 2)} [{signed(found.low, 2)}, {signed(found.high, 2)}]"
            parts.append(f"switch {kind}: {word} loss than vanilla ({size} nats a token)")
    if not parts:
        return "Loss around switches, against the model without a state (too few seeds to test)"
    return f"The self-state in the {AFTER_SWITCH} steps after a {', after a '.join(parts)}"


def freshness(tables: Tables, note: str) -> Drawing:
    """Gain against the age of the statistics that the state is shown, on calm and on perturbed steps."""
    losses = tables[LOSSES]
    names = [name for name in kit_tables.present(losses, AGES) if len(gains(losses, name, "clean_loss"))]
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
            upright(axes, x, values, LOOKS[STATE])
        axes.plot(range(len(names)), means, c=LOOKS[STATE].colour, lw=1, zorder=1.5)
        ticks = [f"{int(told['age'][name])}\n{percent(told['fresh'][name])}" for name in names]
        axes.set_xticks(range(len(names)), ticks)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_title(title)
        axes.set_xlabel("age of the statistics (steps)\nregime still the same")
        axes.set_ylabel("gain (nats a token)")
    counts = losses[losses["condition"].isin(names)].groupby("condition")["seed"].nunique()
    caption = (
        f"In the recurring world. Gain: vanilla's loss minus the condition's. Every point a seed ({spread(counts)} an age); bars: mean and, from three seeds on, 95 % t interval. Under each age: share of the "
        "steps whose regime is the one that the statistics were measured under; 50 % tells nothing where calm and corrupted steps are equally common. Horizontal: means of the oracle "
        "and of the yoked state, which is shown another run's statistics."
    )
    shown = [name for name in (ORACLE, "yoked") if len(gains(losses, name, "clean_loss"))]
    handles = [Line2D([], [], color=LOOKS[STATE].colour, marker="o", ms=3.6)]
    handles += [Line2D([], [], color=LOOKS[n].colour, ls=LOOKS[n].line) for n in shown]
    labels = ["self-state", *(LOOKS[n].label for n in shown)]
    return style.finish(made, _fresh_title(losses, names, told["age"]), caption, note, (handles, labels))


def _fresh_title(losses: pd.DataFrame, names: list[str], ages: "pd.Series[float]") -> str:
    """Up to which age statistics still pay clearly on calm steps."""
    found = {name: stats.estimate(gains(losses, name, "clean_loss")) for name in names}
    known = [name for name in names if found[name].n >= FEWEST_SEEDS]
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
    return f"{listed(ages)} {'step' if ages == ['1'] else 'steps'}"


FIGURES: tuple[Figure, ...] = (
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
