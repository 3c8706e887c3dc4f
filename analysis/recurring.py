"""What a self-state pays: losses on calm and on perturbed steps against no state, in each world and beside each control.

Conditions of one seed and one world see the same batches under the same regimes, so that losses are subtracted step by
step and the luck of a batch cancels. A run's vanilla is found by its config, not by its name: the condition that injects
nothing and has the same world. What the comparisons are between is said by name, as configs/recurring.toml has them: STATE,
a condition `<mechanism>_<world>` for each of MECHANISMS and WORLDS, and LONE.

All measures leave the first quarter of a run out. There the learning rate warms up, the loss falls fastest, and a state
has had few switches to learn from, so that two runs differ there by the path of training more than by what one senses;
three quarters of 2000 steps still hold some thirty switches.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis import switches
from base.storage import UserError
from configs.run import RunConfig
from configs.state import OwnStats
from configs.suite import Suite
from experiments.kit.runs import Context, Run
from experiments.kit.stats import mean_interval, mean_of_known
from experiments.kit.tables import CALM, RUN

WORLDS = ("windows", "random", "recurring", "mix")
MECHANISMS = ("raw", "calibrated")
STATE = "calibrated_recurring"
"""What the controls are compared with."""
LONE = ("faint", "large")
"""Worlds of one mechanism: the condition that is the state there has the world's own name."""

HELDOUT = ("heldout_loss", "heldout_ece")
MEASURES = (
    *("clean_loss", "perturbed_loss"),
    *(f"{name}{moment}" for name in HELDOUT for moment in ("", "_calm", "_acting")),
)
DIFFERENCES = tuple(f"{measure}_difference" for measure in MEASURES)
LOSSES = (
    *(*RUN, "world", "mechanism", "role", "vanilla", "age", "fresh"),
    *("from_step", "clean_steps", "perturbed_steps", "evaluations_calm", "evaluations_acting"),
    *MEASURES,
    *DIFFERENCES,
)
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
    found = losses(pairs)
    recovery = switches.recovery(pairs)
    return {
        "recurring_losses": found,
        "recurring_switches": switches.aligned(pairs),
        "recurring_recovery": recovery,
        "recurring_summary": summary(context.suite, found, recovery),
    }


@dataclass(frozen=True)
class Pair:
    """A run with the vanilla run of its world and seed.

    log: one row a step: step, regime, loss, heldout_loss, heldout_ece, and the same of vanilla with `_vanilla` behind
    (NaN where vanilla is not finished). first: the step that measures are taken from.
    """

    run: Run
    world: str
    vanilla: str
    log: pd.DataFrame
    first: int


def first_step(run: RunConfig) -> int:
    """Measures are taken from this step on: the last three quarters of a run."""
    return run.first + (run.last - run.first) // 4


def world_of(run: RunConfig) -> str:
    """All that makes two runs of one seed see the same batches under the same regimes, as text."""
    parts = (run.schedule, run.regimes, run.model, run.train)
    return "|".join([run.corpus, run.tokenizer, *(part.model_dump_json() for part in parts)])


def vanillas(conditions: Mapping[str, RunConfig]) -> dict[str, str]:
    """The vanilla of each condition's world, by condition: the first that injects nothing. Left out where there is none."""
    plain: dict[str, str] = {}
    for name, run in conditions.items():
        if not run.injects and run.start is None:
            plain.setdefault(world_of(run), name)
    return {name: plain[world] for name, run in conditions.items() if (world := world_of(run)) in plain}


def world_name(vanilla: str) -> str:
    """The name of a world by that of its vanilla: `vanilla_recurring` and `faint_vanilla` are of recurring and faint."""
    return vanilla.replace("vanilla", "").strip("_") or "base"


def paired_logs(context: Context) -> list[Pair]:
    """Every run with its vanilla. Runs of a world that has no vanilla condition are left out.

    Raises:
        UserError: a run and its vanilla were under different regimes, so that one of them is not what its config says.
    """
    base = vanillas(context.suite.conditions)
    columns = ["loss", *HELDOUT]
    logs = {}
    for run in context.runs:
        log = run.metrics()
        logs[run.condition, run.seed] = log.reindex(columns=["step", "regime", *columns])
    pairs = []
    for run in context.runs:
        if run.condition not in base:
            continue
        vanilla = base[run.condition]
        log, other = logs[run.condition, run.seed], logs.get((vanilla, run.seed))
        if other is None:
            log = log.assign(**{f"{name}_vanilla": np.nan for name in columns})
        else:
            log = log.merge(other, on="step", suffixes=("", "_vanilla"))
            if (log["regime"] != log["regime_vanilla"]).any():
                raise UserError(
                    f"{run.folder}: seed {run.seed} of {run.condition} was under other regimes than {vanilla}; "
                    "delete both runs and run again"
                )
        pairs.append(Pair(run, world_name(vanilla), vanilla, log, first_step(run.config)))
    return pairs


def mechanism_of(run: RunConfig) -> str:
    """seed or calibrated, told by whether statistics are standardised; none without a self-state."""
    if not run.self_state.enabled:
        return "none"
    return "calibrated" if run.self_state.standardise else "raw"


def role_of(name: str, run: RunConfig) -> str:
    """What a condition is there for: vanilla, state (a mechanism in a world, shown its own statistics), oracle, control."""
    if not run.injects:
        return "vanilla"
    if run.self_state.enabled and run.self_state.senses.kind == "regime":
        return "oracle"
    known = {f"{mechanism}_{world}" for mechanism in MECHANISMS for world in WORLDS} | {*LONE}
    return "state" if name in known else "control"


def losses(pairs: Sequence[Pair]) -> pd.DataFrame:
    """One row a run: mean losses (nats a token) and calibration errors, and their differences to vanilla of its world and seed.

    clean_loss, perturbed_loss: training batches of calm steps, and of steps on which a regime acts. heldout_*: mean over
    the evaluations, with the state of that moment; _calm and _acting: those at moments when no regime acts, and when one
    does. Held-out text is never perturbed. *_difference: minus vanilla, over the same steps; below zero is better.
    age: how many steps old the statistics are that it is shown (NaN where they are not its own). fresh: share of the
    steps at which the regime was the same so many steps before: what statistics of that age can still tell.
    """
    rows = []
    for pair in pairs:
        log = pair.log[pair.log["step"] >= pair.first]
        calm = (log["regime"] == CALM).to_numpy()
        run, senses = pair.run.config, pair.run.config.self_state.senses
        age = senses.age if run.self_state.enabled and isinstance(senses, OwnStats) else np.nan
        row = {
            **{"suite": pair.run.suite, "condition": pair.run.condition, "seed": pair.run.seed},
            **{"world": pair.world, "mechanism": mechanism_of(run), "role": role_of(pair.run.condition, run)},
            **{"vanilla": pair.vanilla, "age": age, "fresh": _fresh(pair, age), "from_step": pair.first},
            **{"clean_steps": int(calm.sum()), "perturbed_steps": int((~calm).sum())},
        }
        seen = log["heldout_loss"].notna().to_numpy()
        row |= {
            "evaluations_calm": int((seen & calm).sum()),
            "evaluations_acting": int((seen & ~calm).sum()),
        }
        row |= _measure(log, "loss", "clean_loss", calm) | _measure(log, "loss", "perturbed_loss", ~calm)
        for name in HELDOUT:
            row |= _measure(log, name, name, seen)
            row |= _measure(log, name, f"{name}_calm", calm & seen)
            row |= _measure(log, name, f"{name}_acting", ~calm & seen)
        rows.append(row)
    return pd.DataFrame(rows, columns=list(LOSSES))


def _measure(log: pd.DataFrame, column: str, name: str, where: np.ndarray) -> dict[str, float]:
    here = log[column].to_numpy(float)[where]
    apart = here - log[f"{column}_vanilla"].to_numpy(float)[where]
    return {name: mean_of_known(here), f"{name}_difference": mean_of_known(apart)}


def _fresh(pair: Pair, age: float) -> float:
    """Share of the measured steps at which the regime `age` steps before was the same."""
    if not np.isfinite(age):
        return float("nan")
    regime = pair.log["regime"].to_numpy()
    steps = np.flatnonzero(pair.log["step"] >= pair.first)
    steps = steps[steps >= age]
    return float((regime[steps] == regime[steps - int(age)]).mean()) if len(steps) else float("nan")


def summary(suite: Suite, found: pd.DataFrame, recovery: pd.DataFrame) -> pd.DataFrame:
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
        place: _minus(values[f"calibrated_{place}"], values[f"raw_{place}"])
        for place in WORLDS
        if {f"calibrated_{place}", f"raw_{place}"} <= set(values)
    }
    for place, table in added.items():
        if place != "windows" and "windows" in added:
            add("interaction", "calibrated - raw", "windows", place, _minus(table, added["windows"]))
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
