"""How the learned update reads each statistic, and how much of the state's path that reading makes.

All with the weights after the last step (see analysis/replay.py). update_replay comes first: where the replayed path
moves far less than the logged one, most of the logged path was the network being learned, and what follows speaks of
the finished network only.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from analysis.update_probe import update_probe
from experiments.kit import readout
from experiments.kit.replay import STATS, Replay, open_replay
from experiments.kit.runs import Context
from experiments.kit.tables import RUN, stack

POINTS = 21  # of a sensitivity curve
RANGE = (5.0, 95.0)  # percentiles after warm-up that a curve spans
STEP = 1e-4  # of a central difference, in standard deviations of the input
ALL, CLOCK = "all", "all but progress"  # what is frozen, beside single inputs

COLUMNS = {
    "update_replay": (
        *(*RUN, "last_error", "last_drift", "last_norm"),
        *("distance", "movement", "logged_movement", "movement_share"),
    ),
    "update_sensitivity": (*RUN, "input", "point", "value", "change", "bias_change", "bias_norm_change"),
    "update_ablation": (*RUN, "frozen", "distance", "movement", "relative_change"),
    "update_gradients": (*RUN, "input", "gradient", "sd", "scaled", "share"),
    "update_correlations": (*RUN, "input", "of", "series", "rho", "null_95", "p_value"),
}


def tables(context: Context) -> dict[str, pd.DataFrame]:
    """The tables of COLUMNS and of analysis/update_probe.py, from all runs with a self-state and no memory."""
    runs = sorted(context.runs, key=lambda run: (run.condition, run.seed))
    replays = [replay for run in runs if (replay := open_replay(run)) is not None]
    makers: dict[str, Callable[[Replay], list[Any]]] = {
        "update_replay": fidelity,
        "update_sensitivity": sensitivity,
        "update_ablation": ablation,
        "update_gradients": gradients,
        "update_correlations": correlations,
    }
    made = {
        name: stack(
            [
                replay.run.label(pd.DataFrame(make(replay), columns=list(COLUMNS[name][3:])))
                for replay in replays
            ],
            COLUMNS[name],
        )
        for name, make in makers.items()
    }
    random = [replay for replay in replays if replay.run.condition == "self_random"]
    return {**made, **update_probe(random, context.suite.signatures.permutations)}


def _rms(moves: np.ndarray) -> np.ndarray:
    """Root mean square, over steps, of the L2 norms of moves (..., steps, dim)."""
    return np.sqrt((moves**2).sum(-1).mean(-1))


def _movement(path: np.ndarray) -> np.ndarray:
    """Root mean square distance of a path (..., steps, dim) from its own mean."""
    return _rms(path - path.mean(-2, keepdims=True))


def fidelity(replay: Replay) -> list[tuple[float, ...]]:
    """One row: does the stored network make the logged states?

    last_error: L2 distance of the last logged state from the one that the stored network makes of the state before
    it; the weights moved by one step between, so it is small but not zero. last_drift, last_norm: L2 of the logged
    last move and state, to hold it against. After warm-up, L2: distance, root mean square of the replayed from the
    logged path; movement, of the replayed path from its own mean; logged_movement, of the logged one from its own;
    movement_share, their ratio.
    """
    decay = replay.run.config.self_state.decay
    before, last = replay.states[-2:]
    made = (
        before if replay.held[-1] else (1 - decay) * before + decay * replay.proposals()[-1]
    )  # other modes of self_clamp at the very last step are not made again
    path, logged = replay.path(replay.inputs)[replay.late], replay.states[1:][replay.late]
    moved, moved_logged = float(_movement(path)), float(_movement(logged))
    share = moved / moved_logged if moved_logged else float("nan")
    errors = [float(np.linalg.norm(value)) for value in (made - last, last - before, last)]
    return [(*errors, float(_rms(path - logged)), moved, moved_logged, share)]


def sensitivity(replay: Replay) -> list[tuple[str, int, float, float, float, float]]:
    """One row an input and point: the proposal as that input goes through the range it had, the others at their median.

    value: of the input, as the network is fed. change: L2 of the proposal's change from the one at the medians;
    bias_change: L2 of the change of the bias that the reader would make of it; bias_norm_change: how much longer that
    bias is. For a GRU the state before is held at its mean.
    """
    seen = replay.inputs[replay.late]
    middle, state = np.median(seen, axis=0), replay.states.mean(0)
    base = replay.network.propose(middle, state)
    rows = []
    for column, name in enumerate(STATS):
        low, high = np.percentile(seen[:, column], RANGE)
        values = np.linspace(low, high, POINTS)
        points = np.tile(middle, (POINTS, 1))
        points[:, column] = values
        moved = replay.network.propose(points, np.tile(state, (POINTS, 1)))
        change = np.linalg.norm(moved - base, axis=1)
        biases = replay.network.read(np.vstack([moved, base]))
        bias_change = np.linalg.norm(biases[:-1] - biases[-1], axis=1)
        longer = np.linalg.norm(biases[:-1], axis=1) - np.linalg.norm(biases[-1])
        rows += list(zip([name] * POINTS, range(POINTS), values, change, bias_change, longer, strict=True))
    return rows


def ablation(replay: Replay) -> list[tuple[str, float, float, float]]:
    """One row for each input, or set of inputs, held at its median through the replay: `frozen` names it.

    distance: root mean square over the steps after warm-up of the L2 distance to the replay with all inputs;
    movement: of that replay from its own mean; relative_change: their ratio. Frozen "all": the network proposes the
    same always, and the ratio is near 1 by construction; "all but progress": what a clock alone would make.
    """
    middle = np.median(replay.inputs[replay.late], axis=0)
    sets = {name: [column] for column, name in enumerate(STATS)}
    sets |= {ALL: list(range(len(STATS))), CLOCK: [i for i, name in enumerate(STATS) if name != "progress"]}
    inputs = np.stack([replay.inputs] * (1 + len(sets)))
    for index, columns in enumerate(sets.values(), 1):
        inputs[index][:, columns] = middle[columns]
    paths = replay.path(inputs)[:, replay.late]
    movement = float(_movement(paths[0]))
    distances = _rms(paths[1:] - paths[0])
    return [
        (name, float(distance), movement, float(distance) / movement if movement else float("nan"))
        for name, distance in zip(sets, distances, strict=True)
    ]


def gradients(replay: Replay) -> list[tuple[str, float, float, float, float]]:
    """One row an input: how steeply the proposal depends on it where the run was, after warm-up.

    gradient: mean over steps and dimensions of |d proposal / d input|, by central differences; sd: of the input over
    those steps; scaled: gradient x sd, so that inputs compare; share: of the sum of `scaled` over inputs.
    """
    seen, states = replay.inputs[replay.late], replay.states[:-1][replay.late]
    sizes = seen.std(0)
    found = []
    for column, size in enumerate(sizes):
        step = np.zeros(len(STATS))
        step[column] = STEP * (size or 1)
        above, below = (replay.network.propose(seen + sign * step, states) for sign in (1, -1))
        found.append(float(np.abs(above - below).mean() / (2 * step[column])))
    scaled = np.array(found) * sizes
    shares = scaled / scaled.sum() if scaled.any() else np.full(len(scaled), np.nan)
    return list(zip(STATS, found, sizes.tolist(), scaled.tolist(), shares.tolist(), strict=True))


def correlations(replay: Replay) -> list[tuple[str, str, str, float, float, float]]:
    """One row an input, `of` it (value, or size of its change since the step before) and kind of series.

    Spearman's correlation with the logged drift of the same step, which that very input helped to make; after
    warm-up, steps at which the state is held left out. series: "as logged", or "detrended", both sides minus their
    running median, so that two things that merely change through training don't correlate. null_95, p_value: of the
    absolute correlation, among all turns of one series against the other by more than the running median is wide.
    Empty where nothing varies.
    """
    used = replay.late & ~replay.held
    drift = np.linalg.norm(np.diff(replay.states, axis=0), axis=1)
    jumps = np.abs(np.diff(replay.inputs, axis=0, prepend=replay.inputs[:1]))
    # logs hold float32, so that a clock's even steps jitter in the last digits: no change of an input
    grain = 1e-6 * np.maximum(np.abs(replay.inputs).max(0), 1e-300)
    jumps = np.round(jumps / grain) * grain
    rows: list[Any] = []
    for series in ("as logged", "detrended"):
        target = _series(drift[used], series)
        for of, values in (("value", replay.inputs), ("change", jumps)):
            for column, name in enumerate(STATS):
                rows.append((name, of, series, *_correlation(_series(values[used, column], series), target)))
    return rows


def _series(values: np.ndarray, kind: str) -> np.ndarray:
    return readout.unit_ranks(values if kind == "as logged" else _flat(values))


def _flat(values: np.ndarray) -> np.ndarray:
    """Detrended; rounding that is left of a straight line becomes zero."""
    made = readout.detrended(values)
    made[np.abs(made) < 1e-9 * max(np.abs(values).max(initial=0), 1e-300)] = 0
    return made


def _correlation(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    if not (x.any() and y.any()):
        return (float("nan"),) * 3
    found = readout.all_lags(x, y)
    null = readout.turned_maxima(found, 0, 0, least=readout.WIDTH)
    if not len(null):
        return float(found[0]), float("nan"), float("nan")
    p_value = (1 + int((null >= abs(found[0])).sum())) / (1 + len(null))
    return float(found[0]), float(np.quantile(null, 0.95)), p_value
