"""What a foreign state does to a training that goes on from a checkpoint, step by step, beside the own state's.

All continuations of a seed begin with the same weights, the same last statistics and the same batches to come: at the
first step nothing but the state differs, so the difference of its loss is the state's alone. From then on the weights
differ too. An update keeps 1 - decay of the state, and everything else in it comes from statistics that are nearly
equal: by that alone the difference of the states is (1 - decay)^n of the first after n steps.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.context import Context
from analysis.runs import Run, label, stack
from analysis.table_files import RUN

OWN, JITTER = "own", "jitter"
PATHS = (
    *(*RUN, "step", "since", "distance", "predicted", "loss_difference"),
    *("loss_distance", "heldout_difference", "effect_difference", "batch_sd"),
)
SUMMARY = (
    *(
        "suite",
        "condition",
        "seed",
        "swapped_distance",
        "first_loss",
        "first_effect",
        "early_loss",
        "late_loss",
    ),
    *(
        "early_loss_distance",
        "late_loss_distance",
        "early_heldout",
        "late_heldout",
        "early_effect",
        "late_effect",
    ),
    *("floor", "steps_until", "small", "steps_small", "state_steps"),
)
EARLY, LATE = 10, 50  # first steps and last steps that means are taken over
WINDOW = 10  # steps of the running mean that is held against the floor
FLOOR = 0.95  # quantile of jitter's running means: the floor, of rounding
SMALL = (
    0.1  # of the spread of the own run's losses from batch to batch: a difference no single batch would show
)
GONE = 0.01  # relative distance at which a state counts as the own one


def tables(context: Context) -> dict[str, pd.DataFrame]:
    """The tables swap_paths and swap_summary."""
    paths = swap_paths(context.runs)
    decay = next((run.config.self_state.decay for run in context.of(OWN)), float("nan"))
    return {"swap_paths": paths, "swap_summary": swap_summary(paths, decay)}


def swap_paths(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a step of each continuation but the own-state one, against the own-state one of its seed.

    step: of the training; since: of the continuation, from 0. distance: L2 between the states injected at the step,
    over the own state's norm; predicted: (1 - decay)^since of the first distance. loss_difference: training loss minus
    own's on the same batch (nats a token), loss_distance its absolute value; heldout_difference: held-out loss minus
    own's, NaN where it was not measured; effect_difference: state_effect minus own's. batch_sd: the spread of own's loss
    from batch to batch, by its first differences (nats); one value a seed.
    """
    own = {run.seed: run for run in runs if run.condition == OWN}
    parts = []
    for run in runs:
        if run.config.start is None or run.condition == OWN or run.seed not in own:
            continue
        logs = [one.metrics() for one in (run, own[run.seed])]
        states = [one.states() for one in (run, own[run.seed])]
        count = min(map(len, logs))
        mine, base = (log.iloc[:count] for log in logs)
        rows = pd.DataFrame({"step": mine["step"], "since": np.arange(count)})
        rows["distance"] = rows["predicted"] = np.nan
        if states[0] is not None and states[1] is not None:
            one, other = (some[:count].astype(np.float64) for some in states if some is not None)
            norm = np.linalg.norm(other, axis=1)
            rows["distance"] = np.linalg.norm(one - other, axis=1) / np.where(norm > 0, norm, np.nan)
            kept = 1 - run.config.self_state.decay
            rows["predicted"] = rows["distance"].iloc[0] * kept ** rows["since"]
        rows["loss_difference"] = mine["loss"] - base["loss"]
        rows["loss_distance"] = rows["loss_difference"].abs()
        rows["heldout_difference"] = mine["heldout_loss"] - base["heldout_loss"]
        rows["effect_difference"] = mine["state_effect"] - base["state_effect"]
        rows["batch_sd"] = base["loss"].diff().std() / np.sqrt(2)
        parts.append(label(run, rows))
    return stack(parts, PATHS)


def swap_summary(paths: pd.DataFrame, decay: float) -> pd.DataFrame:
    """One row a continuation.

    swapped_distance: relative distance of the state put in, before the first update took `decay` of it. first_*: at
    the first step, where the weights are equal; early_*, late_*: means over the first EARLY and the last LATE steps.
    floor: the FLOOR quantile, over all seeds and steps, of jitter's mean loss_distance over WINDOW steps, as small as the
    rounding of floats, not a measure of chance; steps_until: steps after which the same mean of this continuation is within it
    for the first time, 0 if at once, NaN if never or without jitter. small: SMALL of batch_sd; steps_small: the same against that. state_steps: steps after which the states' distance is below GONE, NaN if never.
    """
    means = {
        seed: _ahead(rows["loss_distance"].to_numpy(float))
        for seed, rows in paths[paths["condition"] == JITTER].groupby("seed")
    }
    noise = np.concatenate(list(means.values())) if means else np.array([])
    floor = float(np.quantile(noise, FLOOR)) if len(noise) else float("nan")
    rows = []
    for place, path in paths.groupby(list(RUN), sort=False):
        first, early, late = path.iloc[0], path.iloc[:EARLY], path.iloc[-LATE:]
        found: list[float] = [first["distance"] / (1 - decay), first["loss_difference"]]
        found.append(first["effect_difference"])
        for column in ("loss_difference", "loss_distance", "heldout_difference", "effect_difference"):
            found += [early[column].mean(), late[column].mean()]
        ahead, small = _ahead(path["loss_distance"].to_numpy(float)), SMALL * float(first["batch_sd"])
        found += [
            floor,
            _first(ahead <= floor),
            small,
            _first(ahead <= small),
            _first(path["distance"].to_numpy(float) < GONE),
        ]
        rows.append([*place, *found])
    return pd.DataFrame(rows, columns=list(SUMMARY))


def _ahead(values: np.ndarray) -> np.ndarray:
    """Mean of each value and the WINDOW - 1 after it, (n - WINDOW + 1,); of all of them where there are fewer."""
    width = min(WINDOW, len(values))
    return np.convolve(values, np.full(width, 1 / width), "valid") if width else values


def _first(found: np.ndarray) -> float:
    """The first place that is true; NaN if there is none."""
    return float(found.argmax()) if found.any() else float("nan")
