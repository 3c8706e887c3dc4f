"""Which notices the onset of a regime first, the loss or the state? Its findings stand on the page of experiments/lead_lag.py."""

from itertools import product

import numpy as np
import pandas as pd
import scipy
from matplotlib.axes import Axes

from experiments.kit import marks, style, words
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment
from experiments.kit.levels import ALPHA
from experiments.kit.runs import Context
from experiments.kit.style import REGIMES, Look
from experiments.kit.tables import CALM, Tables, stack, stretches
from experiments.kit.words import Finding, number, signed

BASELINE = 100  # steps before an onset in which the calm ones say what is usual
SUSTAINED = 3  # measurements whose median must be beyond the threshold too
THRESHOLD = 3.0  # standard deviations
FEWEST = 5  # measurements of a baseline
SEEN = ("bewilderment", "sensory_fog")  # regimes that act on what the loss is made of
LOOKS = {
    "loss": Look("loss", style.VERMILLION, marker="s"),
    "state_drift": Look("state speed", style.BLUE),
    "state_norm": Look("state norm", style.GREEN, marker="^", filled=False),
    "state_effect": Look("state effect (measured more seldom)", style.BLACK, marker="D", filled=False),
}


def onset(context: Context) -> pd.DataFrame:
    """When each measure leaves what was usual, after the onset of each regime: a row a run with a state, window, measure.

    timed_by, regime, start, length: the window; `NAME_calm` is looked at in the windows of every condition NAME... of its
    seed, which tells how often a series that merely goes on does the same. measure: `loss_mean` is the loss in means of
    the steps up to each measurement of state_effect, so that these two can be compared. baseline, sd: of the calm steps
    among the BASELINE before. latency: the first step, from the onset, that is beyond THRESHOLD sd and begins SUSTAINED
    measurements whose median is so too; NaN: none in the window, or fewer than FEWEST measurements before it (no sd).
    """
    runs = [run for run in context.runs if run.config.self_state.enabled]
    logs = {(run.condition, run.seed): run.metrics() for run in runs}
    parts = []
    for run in sorted(runs, key=lambda run: (run.condition, run.seed)):
        log = logs[run.condition, run.seed]
        mean = log["loss"].rolling(run.config.log.effect_interval, min_periods=1).mean()
        series = log[list(LOOKS)].assign(loss_mean=mean.where(log["state_effect"].notna()))
        timers = [run.condition]
        if not stretches(log):
            name = run.condition.removesuffix("_calm")
            alike = (other for other, seed in logs if seed == run.seed and other.startswith(name))
            timers = sorted(other for other in alike if other != run.condition != name)
        rows = []
        for timer in timers:
            calm = np.flatnonzero(logs[timer, run.seed]["regime"] == CALM)
            for regime, start, end in stretches(logs[timer, run.seed]):
                window = {"timed_by": timer, "regime": regime, "start": start}
                before = series.iloc[calm[(calm >= start - BASELINE) & (calm < start)]]
                for measure in series:
                    found = leaving(before[measure], series[measure][start:end])
                    rows.append({**window, "measure": measure, **found, "length": end - start})
        parts.append(run.label(pd.DataFrame(rows)))
    return stack(parts)


def leaving(before: "pd.Series[float]", during: "pd.Series[float]") -> dict[str, float]:
    """baseline, sd and latency of `onset`, of a measure by step."""
    usual, seen = before.dropna(), during.dropna()
    if len(usual) < FEWEST:
        return dict.fromkeys(("baseline", "sd", "latency"), np.nan)
    mean, sd = float(usual.mean()), float(usual.std(ddof=1))
    ahead = seen[::-1].rolling(SUSTAINED).median()[::-1]  # of this one and the next two: no single spike
    beyond = ((seen - mean).abs() > THRESHOLD * sd) & ((ahead - mean).abs() > THRESHOLD * sd)
    latency = float(beyond.idxmax() - during.index[0]) if beyond.any() else np.nan
    return {"baseline": mean, "sd": sd, "latency": latency}


def onset_order(context: Context, onset: pd.DataFrame) -> pd.DataFrame:
    """Which leaves the usual first: a row a condition (calm ones as `NAME at WINDOWS`), regime and state's measure.

    n: seeds. A measure that stays within the usual comes after one that leaves it; both at the same step, or neither: a
    tie. median_difference: latency of the state's measure minus that of the loss, `against` it, in steps, where both have
    one; negative: the state is first. p_value: two-sided sign test without the ties (1 where all are ties).
    """
    keys = ["suite", "condition", "timed_by", "regime"]
    known = onset.dropna(subset="sd").fillna({"latency": np.inf})
    wide = known.pivot(index=[*keys, "seed", "start"], columns="measure", values="latency")
    rows = []
    for (suite, condition, timer, regime), group in wide.groupby(level=keys):
        name = condition if condition == timer else f"{condition} at {timer}"
        for measure in list(LOOKS)[1:]:
            against = "loss_mean" if measure == "state_effect" else "loss"
            pair = group.reindex(columns=[measure, against]).dropna()
            if pair.empty:
                continue
            state, loss = pair[measure], pair[against]
            first, second = int((state < loss).sum()), int((loss < state).sum())
            rows.append({
                "suite": suite, "condition": name, "regime": regime, "against": against, "measure": measure, "n": len(pair),
                "state_first": first, "loss_first": second, "ties": len(pair) - first - second,
                "median_difference": (state - loss)[np.isfinite(state) & np.isfinite(loss)].median(),
                "p_value": scipy.stats.binomtest(first, first + second).pvalue if first + second else 1.0,
            })  # fmt: skip
    return pd.DataFrame(rows)


def findings(tables: Tables) -> dict[str, Finding]:
    return {"onset": first(tables)}


def first(tables: Tables) -> Finding:
    """Whether the state leaves the usual before the loss, in the regimes that act on what the loss is made of."""
    verdicts, parts, late = [], [], []
    for regime in SEEN:
        found = tables.rows("onset_order", condition="self_random", regime=regime, measure="state_drift")
        for row in found.to_dict("records"):
            state, loss, sure = row["state_first"], row["loss_first"], row["p_value"] < ALPHA
            verdicts.append(words.settled(row["n"], sure and state > loss))
            late += [f"`{regime}`"] * bool(sure and loss > state)
            parts.append(
                f"`{regime}`: state first in {state}, loss first in {loss}, both at once in {row['ties']} of {row['n']}, sign test p = "
                f"{number(row['p_value'])}"
            )  # fmt: skip
    begins = "When a regime that acts on the batch begins,"
    said = f"{begins} the state's speed {{}} unusual before the loss does."
    reverse = f"{begins} the loss becomes unusual before the state's speed does."
    turned = 0 < len(late) == len(parts)
    evidence = (
        f"{'; '.join(parts)}.{words.turned_way(late, len(parts)) * (not turned)}"
        if parts
        else "It needs `self_random`."
    )
    verdict = words.worst(verdicts or [words.ABSENT])
    return Finding(
        said.format("becomes"),
        verdict,
        evidence,
        reverse if turned else said.format("does not clearly become"),
    )


def latencies(tables: Tables, condition: str, regime: str, measure: str) -> "pd.Series[float]":
    """Those of a condition in the windows of `self_random`, by seed; NaN where the usual is not left."""
    of = {"condition": condition, "regime": regime, "measure": measure}
    rows = tables.rows("onset", timed_by="self_random", **of)
    return rows[rows["sd"].notna()]["latency"]


def order_table(tables: Tables) -> str:
    """A row a regime and state's measure of `self_random`."""
    rows = []
    for row in tables.rows("onset_order", condition="self_random").to_dict("records"):
        seeds = [latencies(tables, "self_random", row["regime"], row[of]) for of in ("against", "measure")]
        calm = latencies(tables, "self_calm", row["regime"], row["measure"])
        rows.append([
            f"`{row['regime']}`, {LOOKS[row['measure']].label.partition(' (')[0]}",
            *(", ".join(number(steps, 0) for steps in of_seeds) or words.DASH for of_seeds in seeds),
            f"{row['state_first']}, {row['loss_first']}, {row['ties']}", signed(row["median_difference"], 0),
            number(row["p_value"]), f"{calm.count()} of {len(calm)}" if len(calm) else words.DASH,
        ])  # fmt: skip
    head = ["`self_random`: regime, measure", "loss: steps to leave the usual", "state: the same",
            "state first, loss first, tie", "median difference, steps", "p, sign test",
            "calm run, same steps: leaves the usual"]  # fmt: skip
    return words.table(head, rows)


def panel(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
    """A point a seed that leaves the usual; beyond the line how many do not."""
    regimes = [name for name in REGIMES if len(latencies(tables, "self_random", name, "loss"))]
    if not regimes:
        return []
    longest = float(tables.rows("onset", condition="self_random")["length"].max())
    never, shifts = longest * 2.2, np.linspace(-0.3, 0.3, len(looks))
    for (place, regime), (name, shift) in product(enumerate(regimes), zip(looks, shifts, strict=True)):
        look, steps, at = looks[name], latencies(tables, "self_random", regime, name), place + shift
        left = steps.dropna().sort_values()
        apart = at + np.linspace(-0.05, 0.05, len(left))  # so that equal latencies can be counted
        axes.plot(left, apart, look.marker, c=look.colour, mfc=look.face, ms=3, mew=0.7)
        stay = f"{len(steps) - len(left)} of {len(steps)}" if len(left) < len(steps) else ""
        axes.text(never, at, stay, color=look.colour, fontsize=7, ha="center", va="center")
        axes.plot(
            [never / 1.45] * bool(stay),
            [at] * bool(stay),
            look.marker,
            c=look.colour,
            mfc=look.face,
            ms=3,
            mew=0.7,
        )
    axes.set_xscale("symlog", linthresh=2, linscale=0.6)
    ticks = [tick for tick in (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if tick <= longest]
    axes.set_xticks([*ticks, never], [*map(str, ticks), "stay\nwithin"])
    axes.minorticks_off()
    axes.set_xlim(-0.3, never * 1.6)
    marks.level(axes, longest * 1.4, upright=False, c=style.LIGHT)
    marks.categories(axes, [f"{name}\n({REGIMES[name].gloss})" for name in regimes], upright=False)
    axes.set_xlabel("steps since the onset")
    return list(looks)


FIGURE = draw.sheet(
    "onsets.png", [draw.Panel(("onset",), panel)], height=3.9, looks=LOOKS, marks="points",
    title=("onset",),
    shows="Steps from a regime's onset until loss and state leave the usual.",
    caption="Regimes at random times, {seeds}. The first step beyond three standard deviations of the calm steps before, if the median of it and "
    "the next two is beyond, too. One point a seed; right: seeds that stay within.",
)  # fmt: skip
EXPERIMENT = Experiment(
    "onsets", "Which notices the onset of a regime first?", [onset, onset_order], findings, [FIGURE],
    suites=("shakespeare",),
)  # fmt: skip
