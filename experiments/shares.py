"""What losses beside vanilla's come to over seeds, and what explains a gain: shares of the oracle's, all or beyond blind controls."""

from typing import Any

import numpy as np
import pandas as pd

from configs.run import RunConfig
from experiments.kit import pages
from experiments.kit.pairs import STATE, WORLDS
from experiments.kit.runs import Context
from experiments.kit.stats import Estimate, estimate, quantile, tabled
from experiments.kit.tables import Tables

SHARED = ("clean_loss", "perturbed_loss", "heldout_loss_calm")  # measures of which shares of a gain are told


def recurring_summary(
    context: Context, recurring_losses: pd.DataFrame, recurring_recovery: pd.DataFrame
) -> pd.DataFrame:
    """Means over seeds with 95 % intervals. Differences are condition minus reference, paired by seed; below zero is better.

    quantity:
        difference: condition minus vanilla of its world.
        control: `calibrated_recurring` minus another condition of its world.
        interaction: (calibrated - raw) of a world minus (calibrated - raw) of the world `windows`.
        share: the condition's mean gain over the mean gain of the oracle of its world, with Fieller's interval. No row
            where the oracle gains nothing clear itself: then there is no gain to share.
        share_beyond: the same, both gains counted from the strongest blind control of the world (`is_blind`; `reference`),
            the one of the largest mean gain: what is left for sensing. No row for the blind ones, or where the oracle's gain
            beyond it is not clear.
    measure: of recurring_losses, and of recurring_recovery steps, excess and loss_after, with _on and _off behind.
    """
    values = _differences(recurring_losses, recurring_recovery)
    told = recurring_losses.groupby("condition")[["world", "role", "vanilla"]].first()
    world, role = told["world"], told["role"]
    rows: list[tuple] = []

    def add(quantity: str, condition: str, reference: str, place: str, apart: pd.DataFrame) -> None:
        for measure, found in ((measure, estimate(apart[measure])) for measure in apart):
            if found.n:
                numbers = (found.n, found.mean, found.low, found.high)
                rows.append((quantity, condition, reference, place, measure, *numbers))

    def share(quantity: str, name: str, reference: str, oracle: str, measure: str, less: Any = 0.0) -> None:
        both = pd.concat([-values[one][measure] - less for one in (name, oracle)], axis=1).dropna()
        found = ratio(*both.to_numpy(float).T)
        if np.isfinite(found[0]):
            rows.append((quantity, name, reference, world[name], measure, len(both), *found))

    for name in values:
        if role[name] != "vanilla":
            add("difference", name, told["vanilla"][name], world[name], values[name])
    for name in values:
        if STATE in values and name != STATE and world[name] == world[STATE]:
            add("control", STATE, name, world[name], values[STATE] - values[name])
    both = [place for place in WORLDS if {f"calibrated_{place}", f"raw_{place}"} <= set(values)]
    added = {place: values[f"calibrated_{place}"] - values[f"raw_{place}"] for place in both}
    for place in [place for place in added if place != "windows" and "windows" in added]:
        add("interaction", "calibrated - raw", "windows", place, added[place] - added["windows"])
    for oracle in [name for name in values if role[name] == "oracle"]:
        beside = [name for name in values if world[name] == world[oracle]]
        asked = [name for name in beside if role[name] not in ("oracle", "vanilla")]
        blind = [name for name in beside if is_blind(context.suite.conditions[name])]
        for name in asked:
            for measure in SHARED:
                share("share", name, oracle, oracle, measure)
        for measure in SHARED:
            gains = {name: -values[name][measure] for name in blind if values[name][measure].notna().any()}
            strongest = max(gains, key=lambda name: gains[name].mean(), default="")
            for name in asked:
                if strongest and name not in blind:
                    share("share_beyond", name, strongest, oracle, measure, gains[strongest])
    columns = ["quantity", "condition", "reference", "world", "measure", "n", "mean", "low", "high"]
    found = pd.DataFrame(rows, columns=columns)
    found.insert(0, "suite", context.suite.name)
    return found


def _differences(losses: pd.DataFrame, recovery: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By condition: a row a seed, a column a measure, condition minus vanilla. Vanilla's own are zero."""
    place = ["condition", "seed"]
    wide = losses.set_index(place).filter(like="_difference").astype(float)
    for kind, rows in list(recovery.groupby("switch"))[::-1]:  # on, off
        wide = wide.join(
            rows.set_index(place).filter(like="_difference").astype(float).add_suffix(f"_{kind}")
        )
    wide.columns = wide.columns.str.replace("_difference", "")
    return {str(name): table.droplevel("condition") for name, table in wide.groupby(level="condition")}


def is_blind(run: RunConfig) -> bool:
    """Whether a condition injects something that senses nothing of its own run's present: a constant, time, others' statistics."""
    if not run.injects or not run.self_state.enabled:
        return run.injects
    senses = run.self_state.senses
    if senses.kind == "recorded":
        return senses.shuffled or senses.seed != "own"
    return senses.kind == "clock"


def ratio(part: np.ndarray, whole: np.ndarray) -> tuple[float, float, float]:
    """Ratio of two means over the same seeds, with Fieller's interval (Fieller 1954, J. R. Stat. Soc. B 16, 175).

    The interval holds every r for which a paired t test does not refuse mean(part - r * whole) = 0.

    Args:
        part, whole: (seeds,) float, in the same order.

    Returns:
        (ratio, low, high); all NaN for fewer than two seeds, or where the mean of `whole` is not clearly above zero, for
        then no ratio is refused or the interval has no end.
    """
    n, nothing = len(part), (float("nan"),) * 3
    if n < 2:
        return nothing
    t = float(quantile(n - 1))
    error = np.cov(part, whole) / n
    a = whole.mean() ** 2 - t**2 * error[1, 1]
    if a <= 0 or whole.mean() <= 0:
        return nothing
    b = part.mean() * whole.mean() - t**2 * error[0, 1]
    c = part.mean() ** 2 - t**2 * error[0, 0]
    half = np.sqrt(max(b**2 - a * c, 0.0))
    return float(part.mean() / whole.mean()), float((b - half) / a), float((b + half) / a)


def contrast(tables: Tables, column: str, **where: str) -> Estimate:
    """A row of recurring_summary for one of KINDS; n = 0 where there is none."""
    return tabled(tables.rows("recurring_summary", measure=column.removesuffix("_difference"), **where))


def of_summary(quantity: str, column: str) -> pages.Cell:
    """The cell with a condition's share of a gain on one of KINDS, or with the self-state minus that condition."""

    def cell(rows: pd.DataFrame, tables: Tables) -> str:
        name = str(rows["condition"].iloc[0])
        if quantity == "control":
            return pages.shown(contrast(tables, column, quantity=quantity, reference=name), "±4")
        return pages.shown(contrast(tables, column, quantity=quantity, condition=name), "2")

    return cell
