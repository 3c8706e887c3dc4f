"""What a self-state pays: losses on calm and on perturbed steps against no state, in each world and beside each control.

Conditions of one seed and one world see the same batches under the same regimes, so that losses are subtracted step by
step and the luck of a batch cancels. A run's vanilla is found by its config, not by its name: the condition that injects
nothing and has the same world. What the comparisons are between is said by name, as configs/recurring.toml has them: STATE,
a condition `<mechanism>_<world>` for each of MECHANISMS and WORLDS, and LONE.

All measures leave the first quarter of a run out. There the learning rate warms up, the loss falls fastest, and a state
has had few switches to learn from, so that two runs differ there by the path of training more than by what one senses;
three quarters of 2000 steps still hold some thirty switches.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis import switches
from configs.run import RunConfig
from configs.suite import Suite
from experiments.kit.pairs import DIFFERENCES, MEASURES, WORLDS, losses, paired_logs, vanillas
from experiments.kit.runs import Context
from experiments.kit.stats import mean_interval
from experiments.kit.tables import RUN

LOSSES = (
    *(*RUN, "world", "mechanism", "role", "vanilla", "age", "fresh"),
    *("from_step", "clean_steps", "perturbed_steps", "evaluations_calm", "evaluations_acting"),
    *MEASURES,
    *DIFFERENCES,
)
STATE = "calibrated_recurring"
"""What the controls are compared with."""
SUMMARY = ("suite", "quantity", "condition", "reference", "world", "measure", "n", "mean", "low", "high")
OF_SWITCHES = ("steps", "excess", "loss_after")  # of recurring_recovery; as measures they end in _on and _off
SHARED = (
    "clean_loss",
    "perturbed_loss",
    "heldout_loss_calm",
)  # measures of which a share of the oracle's gain is told


def tables(context: Context) -> dict[str, pd.DataFrame]:
    """The tables recurring_losses, recurring_switches, recurring_recovery and recurring_summary."""
    pairs = paired_logs(context)
    found = losses(pairs).reindex(columns=list(LOSSES))
    recovery = switches.recovery(pairs)
    return {
        "recurring_losses": found,
        "recurring_switches": switches.aligned(pairs),
        "recurring_recovery": recovery,
        "recurring_summary": summary(context.suite, found, recovery),
    }


def summary(suite: Suite, found: pd.DataFrame, recovery: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds with 95 % intervals. Differences are condition minus reference, paired by seed; below zero is better.

    quantity:
        difference: condition minus vanilla of its world.
        control: `calibrated_recurring` minus another condition of its world.
        interaction: (calibrated - seed) of a world minus (calibrated - seed) of the world `windows`.
        share: the condition's mean gain over the mean gain of the oracle of its world, with Fieller's interval. No row
            where the oracle gains nothing clear itself: then there is no gain to share.
        share_beyond: the same, both gains counted from the strongest blind control of the world (`is_blind`; `reference`),
            the one of the largest mean gain: what is left for sensing. No row for the blind ones, or where the oracle's gain
            beyond it is not clear.
    measure: MEASURES, and of recurring_recovery steps, excess and loss_after, with _on and _off behind.
    """
    values = _differences(found, recovery)
    world = found.drop_duplicates("condition").set_index("condition")["world"].to_dict()
    role = found.drop_duplicates("condition").set_index("condition")["role"].to_dict()
    base = vanillas(suite.conditions)
    rows: list[tuple] = []

    def add(quantity: str, condition: str, reference: str, where: str, differences: pd.DataFrame) -> None:
        for measure in differences:
            kept = differences[measure].dropna().to_numpy(float)
            if len(kept):
                numbers = (len(kept), *mean_interval(kept))
                rows.append((suite.name, quantity, condition, reference, where, measure, *numbers))

    for name, table in values.items():
        if role[name] != "vanilla":
            add("difference", name, base[name], world[name], table)
    for name, table in values.items():
        if STATE in values and name != STATE and world[name] == world[STATE]:
            add("control", STATE, name, world[name], _minus(values[STATE], table))
    added = {
        place: _minus(values[f"calibrated_{place}"], values[f"seed_{place}"])
        for place in WORLDS
        if {f"calibrated_{place}", f"seed_{place}"} <= set(values)
    }
    for place, table in added.items():
        if place != "windows" and "windows" in added:
            add("interaction", "calibrated - seed", "windows", place, _minus(table, added["windows"]))
    rows += [(suite.name, *row) for row in _shares(suite, values, world, role)]
    return pd.DataFrame(rows, columns=list(SUMMARY))


def _shares(
    suite: Suite,
    values: Mapping[str, pd.DataFrame],
    world: Mapping[Any, str],
    role: Mapping[Any, str],
) -> Iterator[tuple]:
    """The rows share and share_beyond of `summary` without their suite, oracle by oracle."""
    for oracle in [name for name in values if role[name] == "oracle"]:
        beside = [name for name in values if world[name] == world[oracle]]
        asked = [name for name in beside if role[name] not in ("oracle", "vanilla")]
        for name in asked:
            for measure in SHARED:
                place = ("share", name, oracle, world[name], measure)
                yield from _share(place, -values[name][measure], -values[oracle][measure])
        blind = [name for name in beside if is_blind(suite.conditions[name])]
        for measure in SHARED:
            gains = {name: -values[name][measure].dropna() for name in blind}
            known = {name: gain for name, gain in gains.items() if len(gain)}
            if not known:
                continue
            strongest = max(known, key=lambda name: float(known[name].mean()))
            for name in (name for name in asked if name not in blind):
                place = ("share_beyond", name, strongest, world[name], measure)
                both = (-values[one][measure] - known[strongest] for one in (name, oracle))
                yield from _share(place, *both)


def _share(place: tuple, of: "pd.Series[float]", whole: "pd.Series[float]") -> Iterator[tuple]:
    """A row of shares: its place, seeds, mean gain over mean gain, interval; none where the whole is not clear."""
    both = pd.DataFrame({"of": of, "whole": whole}).dropna()
    share = ratio(both["of"].to_numpy(float), both["whole"].to_numpy(float))
    if np.isfinite(share[0]):
        yield (*place, len(both), *share)


def is_blind(run: RunConfig) -> bool:
    """Whether a condition injects something that senses nothing of its own run's present: a constant, time, others' statistics."""
    if not run.injects or not run.self_state.enabled:
        return run.injects
    senses = run.self_state.senses
    if senses.kind == "recorded":
        return senses.shuffled or senses.seed != "own"
    return senses.kind == "clock"


def _differences(found: pd.DataFrame, recovery: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By condition: a row a seed, a column a measure, condition minus vanilla. Vanilla's own are zero."""
    wide = found.set_index(["condition", "seed"])[list(DIFFERENCES)].astype(float)
    wide.columns = pd.Index(MEASURES)
    for kind in ("on", "off"):
        here = recovery[recovery["switch"] == kind].set_index(["condition", "seed"])
        for name in OF_SWITCHES:
            wide[f"{name}_{kind}"] = here[f"{name}_difference"].astype(float).reindex(wide.index)
    return {str(name): table.droplevel("condition") for name, table in wide.groupby(level="condition")}


def _minus(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """One minus other, over the seeds that both have."""
    both = one.index.intersection(other.index)
    return one.loc[both] - other.loc[both]


def ratio(part: np.ndarray, whole: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
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
    t = float(stats.t.ppf(0.5 + level / 2, n - 1))
    error = np.cov(part, whole) / n
    a = whole.mean() ** 2 - t**2 * error[1, 1]
    if a <= 0 or whole.mean() <= 0:
        return nothing
    b = part.mean() * whole.mean() - t**2 * error[0, 1]
    c = part.mean() ** 2 - t**2 * error[0, 0]
    half = np.sqrt(max(b**2 - a * c, 0.0))
    return float(part.mean() / whole.mean()), float((b - half) / a), float((b + half) / a)
