"""Each run beside the run without a state of its world and seed: same batches, same regimes, loss minus loss step by step.

So the luck of a batch cancels. A run's vanilla is found by its config, not by its name: the condition that injects nothing
and has the same world. What a condition is there for is told by its name, as configs/recurring.toml has them: `MECHANISM_WORLD`
or a LONE one is a self-state shown its own statistics.

All measures leave the first quarter of a run out. There the learning rate warms up, the loss falls fastest, and a state
has had few switches to learn from, so that two runs differ there by the path of training more than by what one senses;
three quarters of 2000 steps still hold some thirty switches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from base.storage import UserError
from configs.run import RunConfig
from configs.state import OwnStats
from experiments.kit import style
from experiments.kit.runs import Context, Run
from experiments.kit.style import Look
from experiments.kit.tables import CALM

WORLDS = ("windows", "random", "recurring", "mix")
MECHANISMS = ("published", "raw", "calibrated")
LONE = ("faint", "large", "as_published")
"""Worlds of one mechanism: the condition that is the state there has the world's own name."""

HELDOUT = ("heldout_loss", "heldout_ece")
LOGGED = ("loss", *HELDOUT)
KINDS = {"clean_loss_difference": "calm steps", "perturbed_loss_difference": "perturbed steps"}
BY_KIND: dict[str, Any] = {column: (f"{kind}: loss − no state's", "±4") for column, kind in KINDS.items()}
"""Columns of a page's table."""
NATS = "loss − no state's (nats)\nbelow zero: better"
"""Label of a figure's axis."""

STATE, ORACLE = "calibrated_recurring", "oracle"
LOOKS = {  # of the recurring world
    ORACLE: Look("true regime", style.BLACK, (0, (1, 1.2)), "D"),
    "direct": Look("last batch only", style.GREEN, (0, (6, 1.5, 1, 1.5)), "^"),
    STATE: Look("self-state", style.BLUE, "-", "o"),
    "state_1d": Look("state of one number", style.SKY, (0, (3, 1, 1, 1)), "P", filled=False),
    "raw_recurring": Look("raw mechanism", style.ORANGE, (0, (2, 1)), "s", filled=False),
    "published_recurring": Look("published mechanism", style.SKY, (0, (1, 3)), "p", filled=False),
    "learned_bias": Look("learned constant bias", style.GREEN, ":", "<", filled=False),
    "fixed_bias": Look("fixed random bias", style.ORANGE, ":", ">", filled=False),
    "shuffled": Look("its signals in random order", style.VERMILLION, (0, (1, 2)), "v", filled=False),
    "yoked": Look("another run's signals", style.PURPLE, (0, (4, 1.6)), "X"),
    "clock": Look("clock alone", style.GREY, (0, (5, 3)), "d", filled=False),
}


@dataclass(frozen=True)
class Pair:
    """A run with the vanilla run of its world and seed.

    log: one row a step: step, regime, LOGGED, and the same of vanilla with `_vanilla` behind (NaN where vanilla is not
    finished). first: the step that measures are taken from.
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
        if not run.injects and run.channels is None and run.start is None:
            plain.setdefault(world_of(run), name)
    return {name: plain[world] for name, run in conditions.items() if (world := world_of(run)) in plain}


def world_name(vanilla: str) -> str:
    """The name of a world by that of its vanilla: `vanilla_recurring` and `faint_vanilla` are of recurring and faint."""
    return vanilla.replace("vanilla", "").strip("_") or "base"


def paired_logs(context: Context, ending: bool = False) -> list[Pair]:
    """Every run with its vanilla. Runs of a world that has no vanilla condition are left out.

    ending: with those whose injection ends before they do, which no mean over a whole run fits.

    Raises:
        UserError: a run and its vanilla were under different regimes, so that one of them is not what its config says.
    """
    base = vanillas(context.suite.conditions)
    columns = ["step", "regime", *LOGGED]
    logs = {(run.condition, run.seed): run.metrics().reindex(columns=columns) for run in context.runs}
    pairs = []
    for run in context.runs:
        if run.condition not in base or (run.config.inject_until is not None and not ending):
            continue
        log, vanilla = logs[run.condition, run.seed], base[run.condition]
        plain = logs.get((vanilla, run.seed), log.iloc[:0])
        log = log.merge(plain, on="step", how="left", suffixes=("", "_vanilla"))
        if len(plain) and (log["regime"] != log["regime_vanilla"]).any():
            raise UserError(
                f"{run.folder}: seed {run.seed} of {run.condition} was under other regimes than {vanilla}; "
                "delete both runs and run again"
            )
        pairs.append(Pair(run, world_name(vanilla), vanilla, log, first_step(run.config)))
    return pairs


def mechanism_of(run: RunConfig) -> str:
    """One of MECHANISMS, told by whether statistics are standardised and by the units; none without a self-state."""
    if not run.self_state.enabled:
        return "none"
    if run.self_state.standardise:
        return "calibrated"
    return "published" if run.self_state.activation == "tanh" else "raw"


def role_of(name: str, run: RunConfig) -> str:
    """What a condition is there for: vanilla, state (a mechanism in a world, shown its own statistics), oracle, control."""
    if not run.injects and run.channels is None:
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
        calm, seen = log["regime"] == CALM, log["heldout_loss"].notna()
        run, senses = pair.run.config, pair.run.config.self_state.senses
        age = senses.age if run.self_state.enabled and isinstance(senses, OwnStats) else np.nan
        places = {"clean_loss": ("loss", calm), "perturbed_loss": ("loss", ~calm)}
        for name in HELDOUT:
            places |= {name: (name, seen), f"{name}_calm": (name, calm & seen), f"{name}_acting": (name, ~calm & seen)}  # fmt: skip
        row: dict[str, Any] = {
            "suite": pair.run.suite,
            "condition": pair.run.condition,
            "seed": pair.run.seed,
        }
        row |= {"world": pair.world, "mechanism": mechanism_of(run), "role": role_of(pair.run.condition, run)}
        row |= {"vanilla": pair.vanilla, "age": age, "fresh": _fresh(pair, age), "from_step": pair.first}
        row |= {"clean_steps": calm.sum(), "perturbed_steps": (~calm).sum()}
        row |= {"evaluations_calm": (seen & calm).sum(), "evaluations_acting": (seen & ~calm).sum()}
        row |= {name: log[column][here].mean() for name, (column, here) in places.items()}
        for name, (column, here) in places.items():
            row[f"{name}_difference"] = (log[column] - log[f"{column}_vanilla"])[here].mean()
        rows.append(row)
    return pd.DataFrame(rows)


def _fresh(pair: Pair, age: float) -> float:
    """Share of the measured steps at which the regime `age` steps before was the same."""
    if not np.isfinite(age):
        return float("nan")
    then = pair.log["regime"].shift(int(age))
    measured = then.notna() & (pair.log["step"] >= pair.first)
    return float((pair.log["regime"] == then)[measured].mean())
