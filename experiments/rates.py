"""The recurring world again at three learning rates and two lengths of training: does a state pay where each arm has its best rate?"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from configs.run import RunConfig
from experiments.deployed import deployed_losses
from experiments.kit import pages, style, words
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment
from experiments.kit.pairs import losses, paired_logs
from experiments.kit.runs import Context
from experiments.kit.stats import Estimate, estimate, per_seed
from experiments.kit.style import Look
from experiments.kit.tables import Tables
from experiments.kit.words import CLEAR, Finding, difference, listed, side

STATE, FIXED, YOKED, NONE = "state", "fixed_bias", "yoked", "none"
ARMS = {
    STATE: Look("self-state", style.BLUE, "-", "o"),
    FIXED: Look("fixed random bias", style.ORANGE, ":", ">", filled=False),
    YOKED: Look("another run's signals", style.PURPLE, (0, (4, 1.6)), "X"),
    NONE: Look("no state", style.BLACK, "-", "s", filled=False),
}
CLEAN, PERTURBED, DURING, AFTER = "clean_loss", "perturbed_loss", "heldout_loss", "clean_text"
MEASURES = {
    CLEAN: "calm training steps",
    PERTURBED: "corrupted training steps",
    DURING: "held-out text, during the run",
    AFTER: "held-out text, after the run",
}


def arm_of(run: RunConfig) -> str:
    """One of ARMS, by what a run injects."""
    if not run.self_state.enabled:
        return FIXED if run.injects else NONE
    return YOKED if run.self_state.senses.kind == "recorded" else STATE


def rates_losses(context: Context) -> pd.DataFrame:
    """One row a run and measure: arm, rate (the largest of its schedule), steps (of training), loss in nats a token.

    measure: clean_loss, perturbed_loss, heldout_loss as in `recurring_losses`; clean_text: clean held-out text after the run, with
    a self-state set to the mean of calm steps (`deployed_losses`); not measured of another run's signals.
    difference: loss minus that of no state at the same rate. difference_best: minus that of no state at its best rate. chosen:
    whether the row's rate is its arm's best one. A best rate is the one of least mean loss over the *other* seeds, of that
    measure and length. All by seed; below zero is better.
    """
    made = losses(paired_logs(context))
    if made.empty:
        return made
    place, conditions = ["suite", "condition", "seed"], context.suite.conditions
    after = deployed_losses(context)
    if len(after):
        of = after["condition"].map({name: arm_of(run) for name, run in conditions.items()})
        after = after[after["way"] == np.where(of == STATE, "calm", "live")]
        made = made.merge(after[[*place, "clean"]], on=place, how="left").rename(columns={"clean": AFTER})
    known = [name for name in MEASURES if name in made]
    rows = made.melt(place, known, "measure", "loss").dropna(subset=["loss"])
    for name, of_run in _SETTINGS.items():
        rows[name] = rows["condition"].map({one: of_run(run) for one, run in conditions.items()})
    return pd.concat(
        [compared(part) for _, part in rows.groupby(["measure", "steps"], sort=False)], ignore_index=True
    )[[*place, "measure", "arm", "rate", "steps", "loss", "difference", "difference_best", "chosen"]]


_SETTINGS: dict[str, Callable[[RunConfig], object]] = {
    "arm": arm_of,
    "rate": lambda run: run.train.learning_rate,
    "steps": lambda run: run.train.steps,
}


def compared(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of one measure and length with difference, difference_best and chosen, see `rates_losses`."""
    best = {
        arm: best_rates(of.pivot(index="seed", columns="rate", values="loss"))
        for arm, of in rows.groupby("arm")
    }
    none = rows[rows["arm"] == NONE].set_index(["seed", "rate"])["loss"].to_dict()
    at = list(rows[["arm", "seed", "rate"]].itertuples(index=False, name=None))
    same = [none.get((seed, rate), np.nan) for _, seed, rate in at]
    own = [none.get((seed, best[NONE].get(seed)), np.nan) if NONE in best else np.nan for _, seed, _ in at]
    return rows.assign(
        difference=rows["loss"] - np.array(same), difference_best=rows["loss"] - np.array(own),
        chosen=[best[arm][seed] == rate for arm, seed, rate in at],
    )  # fmt: skip


def best_rates(wide: pd.DataFrame) -> "pd.Series[float]":
    """For each seed of losses (seeds x rates) the rate of least mean loss over the other seeds that have all rates; NaN without any."""
    found = {}
    for seed in wide.index:
        others = wide.drop(index=seed).dropna()
        found[seed] = float(others.mean().idxmin()) if len(others) else np.nan
    return pd.Series(found, dtype=float)


def lengths(tables: Tables) -> list[int]:
    """The lengths of training, in steps, the shortest first."""
    return sorted({int(steps) for steps in tables.rows("rates_losses")["steps"]})


def at_best(tables: Tables, arm: str, steps: int, measure: str) -> "pd.Series[float]":
    """An arm's loss at its best rate minus that of no state at its own, by seed."""
    rows = tables.rows("rates_losses", measure=measure, arm=arm, steps=steps)
    return per_seed(rows[rows["chosen"].astype(bool)], "difference_best")


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page says, and the figure's title."""
    steps = lengths(tables)

    def told(of: Callable[[int], "pd.Series[float]"]) -> dict[str, Estimate]:
        return {f"{count} steps": estimate(of(count)) for count in steps}

    def beyond(measure: str, rival: str = NONE) -> dict[str, Estimate]:
        if rival == NONE:
            return told(lambda count: at_best(tables, STATE, count, measure))
        return told(
            lambda count: at_best(tables, STATE, count, measure) - at_best(tables, rival, count, measure)
        )

    def highest(count: int) -> "pd.Series[float]":
        rows = tables.rows("rates_losses", measure=CLEAN, arm=STATE, steps=count)
        return per_seed(rows[rows["rate"] == rows["rate"].max()], "difference")

    def lower(claim: str, parts: dict[str, Estimate], otherwise: str, minus: str) -> Finding:
        """claim, otherwise: without their full stop. Where some lengths alone are clear, these are named."""
        clear = [said for said, value in parts.items() if side(value, -1) == CLEAR]
        told = f"{claim}, clearly so after {listed(clear)} alone." if clear else f"{otherwise}."
        return difference(f"{claim}.", parts, -1, f"nats, its loss minus {minus}", otherwise=told)

    none, fixed = "no state's at its best rate", "that bias's at its best rate"
    ends = [
        at_best(tables, STATE, count, CLEAN) for count in (steps[-1:] + steps[:1] if len(steps) > 1 else ())
    ]
    return {
        "pays": lower(
            "Each at its best learning rate, the self-state has a lower loss on calm training steps than no state", beyond(CLEAN),
            "Each at its best learning rate, the self-state does not have a clearly lower loss on calm training steps than no state", none,
        ),
        "perturbed": lower(
            "On corrupted training steps, too, it has a lower loss than no state", beyond(PERTURBED),
            "On corrupted training steps it does not have a clearly lower loss than no state", none,
        ),
        "fixed": lower(
            "On calm training steps it gains more than a fixed random bias", beyond(CLEAN, FIXED),
            "On calm training steps it does not gain clearly more than a fixed random bias", fixed,
        ),
        "yoked": lower(
            "On calm training steps it gains more than a state that is shown another run's signals", beyond(CLEAN, YOKED),
            "On calm training steps it does not gain clearly more than a state that is shown another run's signals", "that state's at its best rate",
        ),
        "text": lower(
            "After the run it predicts clean held-out text better than no state", beyond(AFTER),
            "After the run it does not predict clean held-out text clearly better than no state", none,
        ),
        "text_fixed": lower(
            "It predicts that text better than a fixed random bias does", beyond(AFTER, FIXED),
            "It does not predict that text clearly better than a fixed random bias does", fixed,
        ),
        "longer": difference(
            "After the longer training it gains more on calm training steps than after the shorter one.",
            {"longer minus shorter": estimate(ends[0] - ends[1])} if ends else {}, -1, "nats",
            otherwise="After the longer training it does not gain clearly more on calm training steps than after the shorter one.",
        ),
        "highest": lower(
            "At the largest learning rate, too, it has a lower loss on calm training steps than no state at that rate", told(highest),
            "At the largest learning rate it does not have a clearly lower loss on calm training steps than no state at that rate", "no state's",
        ),
    }  # fmt: skip


def over_rates(place: int, measure: str) -> draw.Panel:
    """What each arm loses or gains along the rates, for the shorter (0) or the longer (1) training."""

    def panel(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
        steps = dict(enumerate(lengths(tables))).get(place, 0)
        said = f"{f'{steps} steps: ' * bool(steps)}{MEASURES[measure]}"
        alone = (
            tables.rows("rates_losses")["difference_best"].isna().all()
        )  # a seed that no other one chose a rate for
        column, rival = ("difference", "the\nsame") if alone else ("difference_best", "its\nbest")
        label = f"loss − no state's at {rival} rate (nats)" if place == 0 else ""
        where = {"steps": steps, "measure": measure}
        points = draw.points("rates_losses", column, said, label, by="arm", across="rate", where=where)
        axes.set_xlabel("learning rate" if measure == AFTER else "")
        return points.draw(axes, tables, looks)

    return draw.Panel(("rates_losses",), panel)


FIGURE = draw.sheet(
    "rates.png", [over_rates(place, measure) for measure in (CLEAN, AFTER) for place in (0, 1)], grid=(2, 2), height=5.0,
    looks=ARMS, marks="points", title=("pays", "text"), share_y="row",
    shows="What a state, a fixed random bias and another run's signals gain at each learning rate and length of training.",
    caption="Recurring world; across: the largest learning rate. One point a seed ({seeds}), mean and 95 % interval; below zero: better "
    "than no state at its best rate, which is chosen on the other seeds.",
)  # fmt: skip


def losses_table(tables: Tables) -> str:
    """Mean losses, a row a length, arm and rate."""
    lines, rows = [], tables.rows("rates_losses")
    for steps in lengths(tables):
        for arm, look in ARMS.items():
            here = rows[(rows["steps"] == steps) & (rows["arm"] == arm)]
            for rate, of in here.groupby("rate"):
                losses = (per_seed(of[of["measure"] == measure], "loss") for measure in MEASURES)
                lines.append([f"{steps} steps, {look.label}, {rate:g}", *losses])
    columns = [(said, "4") for said in MEASURES.values()]
    return pages.of_seeds("length, arm, learning rate", columns, lines)


def best_table(tables: Tables) -> str:
    """Each arm at its best rate minus no state at its own, and those rates; a row a length and arm."""
    lines, rows = [], tables.rows("rates_losses")
    rows = rows[rows["chosen"].astype(bool)] if len(rows) else rows
    for steps in lengths(tables):
        for arm, look in ARMS.items():
            here = rows[(rows["steps"] == steps) & (rows["arm"] == arm)]
            cells, counts = [], [0]
            for measure in MEASURES:
                found = estimate(per_seed(of := here[here["measure"] == measure], "difference_best"))
                cells.append(_with_rates(found if arm != NONE else None, sorted(set(of["rate"]))))
                counts.append(found.n)
            if any(counts):
                lines.append([f"{steps} steps, {look.label}", *cells, str(max(counts))])
    return words.table(["length, arm", *MEASURES.values(), "n"], lines)


def _with_rates(value: Estimate | None, rates: Sequence[float]) -> str:
    at = f"at {' or '.join(f'{rate:g}' for rate in rates)}" if rates else ""
    return " ".join(filter(None, ["" if value is None else pages.shown(value, "±4"), at])) or words.DASH


EXPERIMENT = Experiment(
    "rates", "Learning rate and length: does the state pay where each arm is at its best?", [rates_losses], findings, [FIGURE],
    {"losses": losses_table, "best": best_table},
)  # fmt: skip
