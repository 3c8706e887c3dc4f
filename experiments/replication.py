"""Our seeds beside runs of the published code: does each logged metric take the same course through training?

docs/published/reference.csv.gz has those runs; ours are of the same configs, other random numbers. A metric agrees where
the reference is as far from our seeds as one more seed of ours would be.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from base.storage import ROOT
from experiments.kit import panels as draw
from experiments.kit import style, words
from experiments.kit.experiment import Experiment, Table
from experiments.kit.levels import FEWEST_SEEDS, LEVEL
from experiments.kit.published import logged
from experiments.kit.runs import Context
from experiments.kit.stats import quantile
from experiments.kit.style import CHANNELS, Look
from experiments.kit.tables import Tables, of_condition, stack, windows_of
from experiments.kit.words import ABSENT, OPEN, Finding, listed, percent, plural

REFERENCE = ROOT / "docs" / "published" / "reference.csv.gz"
SAME = {  # our condition -> the published run
    "analysis": "sa", "self": "selfreg0", "vanilla": "vanreg", "regimes": "regimes", "patch": "patch", "baseline": "baseline",
    "ema": "mem_ema", "buffer_64": "mem_l64",
}  # fmt: skip
LOOKS = {
    "ours": Look("ours, mean", style.BLUE, marker=""),
    "theirs": Look("published code", style.VERMILLION, "none", "o", filled=False),
}
BIN = 50  # steps of a mean
SET = "lr"  # is set, not measured
OF_MODEL = ("loss", "entropy_last", "top1_last", "grad_norm")  # the other metrics are the state's
LOWEST = 3  # shares that are named
SHOWN = ("loss", "entropy_last", "state_norm", "state_ema_drift", "prompt_effect", "mlp_norm")


def replication(context: Context) -> pd.DataFrame:
    """One row a condition, metric and stretch of BIN steps from `from_step` on; in the metric's own units.

    ours, sd, n: mean and standard deviation over our seeds, of means over the stretch. theirs, runs: mean over the
    reference runs, and how many there are. low, high: where LEVEL of means of so many further seeds of ours would lie (t
    prediction interval); NaN below FEWEST_SEEDS seeds. within: whether `theirs` does.
    """
    reference = pd.read_csv(REFERENCE)
    parts = []
    for condition, published in SAME.items():
        theirs = reference[reference["run"] == published].groupby(["metric", "from_step"])["mean"]
        runs = context.of(condition)
        if not runs:
            continue
        ours = stack([_means(logged(run)).assign(seed=run.seed) for run in runs]).groupby(
            ["metric", "from_step"]
        )["mean"]
        made = pd.DataFrame({"ours": ours.mean(), "sd": ours.std(), "n": ours.size()})
        made = made.join(
            pd.DataFrame({"theirs": theirs.mean(), "runs": theirs.size()}), how="inner"
        ).reset_index()
        enough = made["n"] >= FEWEST_SEEDS
        reach = (
            quantile(np.maximum(made["n"] - 1, 1)) * made["sd"] * np.sqrt(1 / made["n"] + 1 / made["runs"])
        )
        reach = reach.where(enough)
        made["low"], made["high"] = made["ours"] - reach, made["ours"] + reach
        rounding = 1e-4 * made["ours"].abs()  # of the reference, which alone differs where nothing is random
        made["within"] = made["theirs"].between(made["low"] - rounding, made["high"] + rounding).where(enough)
        parts.append(made.assign(suite=context.suite.name, condition=condition))
    table = stack(parts)
    return table[["suite", "condition", *table.columns.drop(["suite", "condition"])]] if len(table) else table


def patch(context: Context) -> pd.DataFrame:
    """One row a run of the conditions patch and baseline: means of state_ema_drift and prompt_effect while patch's regime acts."""
    windows = [windows_of(run.metrics()) for run in context.of("patch")]
    rows = []
    for condition in ("patch", "baseline") if windows else ():
        _, start, end = windows[0].iloc[0]
        for run in context.of(condition):
            log = logged(run)
            inside = log[(log["step"] >= start) & (log["step"] < end)]
            rows.append(run.label(inside[["state_ema_drift", "prompt_effect"]].mean().to_frame().T))
    return stack(rows)


def _means(log: pd.DataFrame) -> pd.DataFrame:
    """Columns from_step, metric, mean of a log."""
    values = log.drop(columns=["regime"]).assign(from_step=log["step"] // BIN * BIN).drop(columns="step")
    means = values.groupby("from_step", as_index=False).mean()
    return means.melt("from_step", var_name="metric", value_name="mean").dropna()


def shares(tables: Tables) -> pd.DataFrame:
    """Share of the stretches whose reference lies within, a row a condition and metric that is measured, of both suites."""
    parts = [tables.of(suite).rows("replication") for suite in ("shakespeare", "memory")]
    rows = stack([part[part["within"].notna() & (part["metric"] != SET)] for part in parts if len(part)])
    if not len(rows):
        return pd.DataFrame(columns=["condition", "metric", "within", "n", "runs"])
    by = rows.assign(within=rows["within"].astype(float)).groupby(["condition", "metric"], sort=False)
    return by.agg(within=("within", "mean"), n=("n", "max"), runs=("runs", "max")).reset_index()


def findings(tables: Tables) -> dict[str, Finding]:
    """How much of the published runs' course lies where one more seed of ours would, of the language model and of its state."""
    found = shares(tables)
    if found.empty:
        claim = "A run of the published code looks like one more seed of ours."
        measured = len(tables.rows("replication")) > 0
        return {
            "course": Finding(
                claim, *((OPEN, "It needs three seeds.") if measured else (ABSENT, "Nothing was measured."))
            )
        }
    of_model = found["metric"].isin(OF_MODEL)
    model, state = (found[part]["within"].mean() for part in (of_model, ~of_model))
    said = (
        f"A run of the published code looks like one more seed of ours in {percent(model)} of stretches of the language model's metrics, "
        f"in {percent(state)} of the state's."
    )
    least = found.sort_values("within", kind="stable").head(LOWEST)
    places = [
        f"{metric} of `{name}` {percent(share)}"
        for metric, name, share in zip(least["metric"], least["condition"], least["within"], strict=True)
    ]
    verdict = words.NOT_CLEAR if min(model, state) < 0.5 else words.CLEAR
    evidence = (
        f"Stretches are of {BIN} steps; one more seed would in {percent(LEVEL)}. Lowest: {listed(places)}."
    )
    return {"course": Finding(said, verdict, evidence, said)}


def shares_table(tables: Tables) -> str:
    """A row a metric, a column a condition: the share of the run within."""
    found = shares(tables)
    if found.empty:
        return words.MISSING
    conditions = [name for name in SAME if (found["condition"] == name).any()]
    within = found.set_index(["metric", "condition"])["within"].map(percent).to_dict()
    rows = [
        [f"`{metric}`", *(within.get((metric, name), words.DASH) for name in conditions)]
        for metric in dict.fromkeys(found["metric"])
    ]
    heads = []
    for name in conditions:
        here = found[found["condition"] == name]
        counts = plural(int(here["n"].max()), "seed"), plural(int(here["runs"].max()), "run")
        heads.append(f"`{name}` ({', '.join(counts)})")
    return words.table(["metric", *heads], rows)


def course(metric: str) -> draw.Panel:
    """Our seeds' band and the published runs of `self`, through training."""

    def panel(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        rows = of_condition(tables.rows("replication", metric=metric), "self").sort_values("from_step")
        if rows.empty:
            return []
        channel, steps = CHANNELS[metric], rows["from_step"] + BIN / 2
        ours, theirs = looks["ours"], looks["theirs"]
        floor = (
            float(rows[["ours", "theirs"]].to_numpy().min()) / 4 if channel.log else 0.0
        )  # no metric is below zero
        axes.fill_between(steps, rows["low"].clip(floor), rows["high"], color=ours.colour, alpha=0.2, lw=0)
        axes.plot(steps, rows["ours"], c=ours.colour, lw=1.2)
        axes.plot(steps, rows["theirs"], theirs.marker, c=theirs.colour, mfc=theirs.face, ms=2.6, mew=0.8)
        axes.set_ylabel(channel.label)
        if channel.log:
            style.log_axis(axes)
            axes.set_ylim(bottom=floor)
        return [*looks]

    return draw.Panel(("replication",), panel, along=True)


FIGURE = draw.sheet(
    "replication.png", [course(metric) for metric in SHOWN], grid=(2, 3), height=5.2, title=("course",), looks=LOOKS, x="step",
    shows="The course of six metrics through the run with five regimes: our seeds, and a run of the published code.",
    caption=f"Runs with five regimes, no dropout; means of {BIN} steps. Band: where {percent(LEVEL)} of further seeds of ours would lie, down to zero at most (the lower edge "
    "of a logarithmic axis). Circles: the published code, seed 42.",
)  # fmt: skip
EXPERIMENT = Experiment(
    "replication", "Is it the published model? Our seeds beside runs of the published code",
    (Table(replication, suites=("shakespeare", "memory")), Table(patch, suites=("shakespeare", "generalization"))), findings,
    (FIGURE,), {"shares": shares_table}, suites=("shakespeare", "memory", "generalization"), guests=("memory",), values=lambda tables: {"level": LEVEL, "bin": BIN},
)  # fmt: skip
