"""What a self-state pays when the world switches: losses lined up at each switch, how long a run needs to settle after one,
and what is left of the gain when the news is old.

A switch is the first step of a stretch: `on` from calm into a regime, `off` back to calm; from one regime straight into
another is neither. Around it count its own two stretches alone: the steps before it since the last switch, and those from it
on until the next.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.polynomial import Polynomial

from configs.world import Recurring
from experiments.kit import pages, style
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment, Table
from experiments.kit.marks import categories, level
from experiments.kit.pairs import BY_KIND, KINDS, LOOKS, NATS, ORACLE, STATE, Pair, paired_logs
from experiments.kit.runs import Context
from experiments.kit.stats import Estimate
from experiments.kit.style import Look
from experiments.kit.tables import CALM, NothingToDraw, Tables, stack
from experiments.kit.words import Finding, difference, number, percent
from experiments.shares import of_summary

SWITCHES = ("on", "off")
AGES = (STATE, "delayed_4", "delayed_16", "delayed_64")
LAGS = (-20, 60)  # steps around a switch that are drawn
AFTER = 20  # steps from a switch on over which losses are summed
SMOOTH = 5  # steps of the mean that has to be back at the settled level
SETTLED = 30  # steps into a stretch from which a run counts as settled in it
FEWEST = 30  # settled steps for a level
DEGREE = 2  # of the polynomial through the settled steps of a regime: the loss falls through training
HORIZON = 60  # steps: time to recover is counted up to here
SLACK = 1e-6  # nats: what rounding may leave of no excess at all


def around(context: Context) -> dict[str, pd.DataFrame]:
    """recurring_switches and recurring_recovery: `by_lag` and `recovery` of each run of a recurring world and kind of switch.

    switch: on or off. steps_difference: minus vanilla's; below zero is better.
    """
    lined_up, recovered = [], []
    for pair in paired_logs(context):
        for kind, log in around_switches(pair).items():
            place = {"world": pair.world, "switch": kind}
            lined_up.append(pair.run.label(pd.DataFrame(place | by_lag(log))))
            if found := recovery(log):
                recovered.append(pair.run.label(pd.DataFrame([{**place, **found, "vanilla": pair.vanilla}])))
    table = stack(recovered)
    if len(table):
        own = table.set_index(["condition", "seed", "switch"])["steps"]
        plain = own.reindex(pd.MultiIndex.from_frame(table[["vanilla", "seed", "switch"]])).to_numpy()
        table["steps_difference"] = own.to_numpy() - plain
        table["loss_after_difference"] = table.pop("loss_after_difference")  # the last column
        del table["vanilla"]
    return {"recurring_switches": stack(lined_up), "recurring_recovery": table}


def by_lag(log: pd.DataFrame) -> dict[str, np.ndarray]:
    """Means over the switches of a run, lag by lag.

    lag: steps from the switch, 0 the first step of the new stretch. events: how many switches reach that lag. loss;
    difference: loss - vanilla's.
    """
    log = log[log["lag"].between(*LAGS)]
    lags, place, events = np.unique(log["lag"], return_inverse=True, return_counts=True)
    means = {name: np.bincount(place, log[of]) / events for name, of in (("loss", "loss"), ("difference", "apart"))}  # fmt: skip
    return {"lag": lags, "events": events, **means}


def recovery(log: pd.DataFrame) -> dict[str, float]:
    """How long a run needs to settle after its switches; nothing where it has no settled level.

    The level is the run's own: a parabola over steps through its losses in that regime from the 30th step of a stretch
    on. A run has recovered at the first step k after a switch from which the mean loss of five steps lies no further
    above that level than such means scatter about it (one standard deviation). A switch is censored where the next one
    comes before that; such switches count as longer than seen, not as missing (Kaplan and Meier, 1958).

    events, censored: switches, and those that had not recovered. steps: mean time to recover, up to 60 steps. median: of
    the same; NaN where fewer than half recover. excess: loss above the settled level, summed over the first 20 steps
    (nats a token x steps). Noise alone costs some steps; conditions of a seed bear the same, so only differences count.
    loss_after_difference: loss minus vanilla's, summed over the same 20 steps, which no settled level enters; below zero is
    better.
    """
    known = log[(log["lag"] >= 0) & log["excess"].notna()]
    if known.empty:
        return {}
    watched = known.groupby("event")["beyond"].count()
    back = known[known["beyond"] <= 0].groupby("event")["lag"].min()
    steps, median = kaplan_meier(back.to_numpy(), watched.drop(back.index).to_numpy())
    first = known[known["lag"] < AFTER].groupby("lag")[["excess", "apart"]].mean()
    excess, apart = (first[name].sum(min_count=AFTER) for name in ("excess", "apart"))
    return {
        **{"events": len(watched), "censored": len(watched) - len(back), "steps": steps, "median": median},
        **{"excess": excess, "loss_after_difference": apart},
    }


def around_switches(pair: Pair) -> dict[str, pd.DataFrame]:
    """The steps around each switch in a run's measured part, by kind of switch; of recurring worlds alone.

    event: which switch. lag: steps from it. loss; apart: minus vanilla's. excess: loss above the settled level, NaN where there
    is no level. beyond: how far the mean excess of SMOOTH steps from here on lies above its scatter, NaN where these reach
    into the next stretch. A step stands twice: after the switch before it, and before the one after it.
    """
    if not isinstance(pair.run.config.schedule, Recurring):
        return {}
    step, regime = pair.log["step"].to_numpy(), pair.log["regime"].to_numpy(dtype=object)
    loss, plain = (pair.log[name].to_numpy(float) for name in ("loss", "loss_vanilla"))
    starts = np.flatnonzero(np.append(True, regime[1:] != regime[:-1]))
    lengths = np.diff(np.append(starts, len(regime)))
    stretch = np.repeat(np.arange(len(starts)), lengths)
    since = np.arange(len(regime)) - starts[stretch]
    left = lengths[stretch] - 1 - since
    settled = (since >= SETTLED) & (step >= pair.first) & ~np.isnan(loss)
    excess = np.full(len(regime), np.nan)
    for name in dict.fromkeys(regime):
        rows = regime == name
        if (rows & settled).sum() >= FEWEST:
            level = Polynomial.fit(step[rows & settled].astype(float), loss[rows & settled], DEGREE)
            excess[rows] = loss[rows] - level(step[rows].astype(float))
    ahead = pd.Series(excess[::-1]).rolling(SMOOTH).mean()[::-1].to_numpy()
    ahead = np.where(left >= SMOOTH - 1, ahead, np.nan)
    scatter = pd.Series(ahead[settled]).groupby(regime[settled]).std(ddof=0)
    beyond = ahead - pd.Series(regime).map(scatter).to_numpy(float) - SLACK
    log = pd.DataFrame(
        {"step": step, "loss": loss, "apart": loss - plain, "excess": excess, "beyond": beyond}
    )
    both = pd.concat([log.assign(event=stretch, lag=since), log.assign(event=stretch + 1, lag=-1 - left)])
    later = np.flatnonzero(step[starts] >= pair.first)
    later = later[later > 0]
    kinds = {"on": regime[starts[later - 1]] == CALM, "off": regime[starts[later]] == CALM}
    return {kind: both[np.isin(both["event"], later[of])] for kind, of in kinds.items()}


def kaplan_meier(seen: np.ndarray, watched: np.ndarray) -> tuple[float, float]:
    """Mean time up to HORIZON and median time, in steps, where some are only known to be longer.

    The share that has not recovered when the last one is watched is carried on to the horizon. The median is NaN where that
    share never falls to one half.

    Args:
        seen: (events,) int, the steps of those that recovered; 0: at once.
        watched: (events,) int, how many steps the others were watched in vain.
    """
    steps = np.arange(HORIZON)[:, None]
    at_risk = (seen >= steps).sum(1) + (watched > steps).sum(1)
    left = np.cumprod(1 - (seen == steps).sum(1) / np.maximum(at_risk, 1))
    return float(left.sum()), float(np.argmax(left <= 0.5)) if (left <= 0.5).any() else np.nan


def findings(tables: Tables) -> dict[str, Finding]:
    """Whether the self-state recovers sooner and loses less than no state after switches, and whether old news pays."""
    losses = tables.by_condition("recurring_losses")

    def switched(column: str) -> dict[str, Estimate]:
        recovered = {kind: tables.by_condition("recurring_recovery", switch=kind) for kind in SWITCHES}
        return {f"corruption {kind}": at.value(STATE, column) for kind, at in recovered.items()}

    return {
        "sooner": difference(
            "After a switch the self-state is back at its usual loss sooner than no state.", switched("steps_difference"), -1,
            "steps, minus no state's", 1, otherwise="After a switch the self-state is not clearly back at its usual loss sooner than no state.",
        ),
        "less": difference(
            f"In the {AFTER} steps after a switch the self-state loses less than no state.", switched("loss_after_difference"), -1,
            f"nats over {AFTER} steps, minus no state's", 2,
            otherwise=f"In the {AFTER} steps after a switch the self-state does not lose clearly less than no state.",
        ),
        "newer": difference(
            "Signals of the last step pay more than those of 64 steps ago.",
            {kind: losses.minus(STATE, AGES[-1], column) for column, kind in KINDS.items()}, -1, "nats, loss with new minus with old",
            otherwise="Signals of the last step do not pay clearly more than those of 64 steps ago.",
        ),
        "old": difference(
            "Signals 64 steps old still pay on calm steps.", {"loss": losses.value(AGES[-1], "clean_loss_difference")}, -1,
            "nats, minus no state's", otherwise="Signals 64 steps old do not clearly pay on calm steps.",
        ),
    }  # fmt: skip


def by_age(column: str) -> draw.Panel:
    """A place an age of the statistics; across: the means with the true regime and with another run's signals."""
    points = draw.points("recurring_losses", column, KINDS[column], NATS)

    def panel(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        at = tables.by_condition("recurring_losses")
        names = points.draw(axes, tables, dict.fromkeys(AGES, looks[STATE]))
        if len(names) < 2:
            raise NothingToDraw(f"recurring_losses has fewer than two of {', '.join(AGES)}")
        told = [(at.value(name, "age").mean, at.value(name, "fresh").mean) for name in names]
        categories(axes, [f"{age:.0f}\n{percent(fresh)}" for age, fresh in told], striped=False)
        axes.set_xlabel("age of the signals (steps)\nregime still the same")
        axes.plot([at.value(name, column).mean for name in names], c=looks[STATE].colour, lw=1, zorder=1.5)
        for name in (ORACLE, "yoked"):
            level(axes, at.value(name, column).mean, c=looks[name].colour, ls=looks[name].line, lw=1.2)
        return [STATE, *(name for name in (ORACLE, "yoked") if at.value(name, column).n)]

    return draw.Panel(points.tables, panel)


AROUND = draw.sheet(
    "recurring/switches.png",
    [
        draw.lines(
            "recurring_switches", "difference", f"corruption switches {kind} at 0", NATS,
            along="lag", where={"switch": kind}, bands=True, shaded=acts,
        )
        for kind, acts in zip(SWITCHES, LAGS[::-1], strict=True)
    ],
    grid=(1, 2), height=3.9, share_y=True, x="steps since the switch", title=("less", "sooner"),
    looks={name: LOOKS[name] for name in ("oracle", "direct", STATE, "yoked")},
    shows="Loss minus no state's around each switch of the corruption, on and off: self-state, last batch only, another run's "
    "signals, true regime.",
    caption="Mean over {seeds} of each seed's mean over its switches, with 95 % bands; faint: single seeds. Grey: targets are "
    "corrupted. Zero: no state, same batches. Fewer switches reach far from zero, since other stretches are left out. At step 0 a state "
    "still tells what was before.",
)  # fmt: skip
FRESHNESS = draw.sheet(
    "recurring/freshness.png", [by_age(column) for column in KINDS], grid=(1, 2), title=("newer", "old"), share_y=True,
    looks={name: LOOKS[name] for name in (STATE, ORACLE, "yoked")},
    shows="What the state gains when the signals that it is shown are 1, 4, 16 and 64 steps old.",
    caption="The recurring world; one point a seed ({seeds}), mean and 95 % interval. Under each age: share of the steps whose regime is "
    "still that of the signals; 50 % tells nothing where calm and corrupted steps are equally common. Horizontal: means with the true "
    "regime and with another run's signals.",
)  # fmt: skip


GRIDS = {
    "recovery": pages.grid(
        "recurring_recovery", {"vanilla_recurring": Look("no state", style.LIGHT)} | LOOKS, only=True, head="switch, condition", across="switch", order=SWITCHES,
        steps=("steps to recover", "1"), median=("median", "1"), steps_difference=("steps − no state's", "±1"),
        excess=(f"excess over {AFTER} steps, nats", "±2"),
        loss_after_difference=(f"loss − no state's over {AFTER} steps, nats", "±2"),
        censored=("censored", lambda rows, tables: percent(rows["censored"].sum() / rows["events"].sum())),
    ),
    "ages": pages.grid(
        "recurring_losses", AGES, only=True, age=("age in steps", lambda rows, tables: number(rows["age"].mean(), 0)),
        fresh=("regime still the same", "%"), **BY_KIND, share=("share of the true regime's gain, calm", of_summary("share", "clean_loss_difference")),
    ),
}  # fmt: skip
EXPERIMENT = Experiment(
    "switches", "What a self-state pays when the world switches",
    (Table(around, names=("recurring_switches", "recurring_recovery")),), findings, (AROUND, FRESHNESS),
    GRIDS, suites=("recurring",),
)  # fmt: skip
