"""How does the learned update read each statistic, and how much of the state's path does that reading make?

All with the weights after the last step (experiments/kit/replay.py). update_replay comes first: where the replayed path
moves far less than the logged one, most of the logged path was the network being learned, and what follows speaks of
the finished network only. Its page also has what experiments/update_probe.py finds.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from configs.state import STATS
from experiments import update_probe
from experiments.kit import marks, pages, readout, style, words
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment, Table
from experiments.kit.levels import ALPHA
from experiments.kit.pages import shown
from experiments.kit.replay import Replay, open_replay
from experiments.kit.runs import Context
from experiments.kit.stats import estimate, over_seeds, paired, per_seed
from experiments.kit.style import Look
from experiments.kit.tables import Tables, of_condition, stack
from experiments.kit.words import Finding, interval, listed, number, side

POINTS = 21  # of a sensitivity curve
RANGE = (5.0, 95.0)  # percentiles after warm-up that a curve spans
STEP = 1e-4  # of a central difference, in standard deviations of the input
CLOCK = "all but progress"  # held at their median, so that only the clock is left
LOOKS = {name: style.condition(name) for name in ("self_calm", "self", "self_random")}
INPUTS = {
    "loss": Look("loss", style.VERMILLION),
    "entropy": Look("entropy", style.BLUE, (0, (4, 1.6)), "s"),
    "top1": Look("top1", style.GREEN, (0, (1, 1.2)), "^"),
    "grad_norm": Look("grad_norm", style.BLACK, (0, (6, 1.5, 1, 1.5)), "D"),
    "progress": Look("progress", style.PURPLE, "-", "v", 0.9),
}


def _rms(moves: np.ndarray) -> np.ndarray:
    """Root mean square, over steps, of the L2 norms of moves (..., steps, dim)."""
    return np.sqrt((moves**2).sum(-1).mean(-1))


def _movement(path: np.ndarray) -> np.ndarray:
    """Root mean square distance of a path (..., steps, dim) from its own mean."""
    return _rms(path - path.mean(-2, keepdims=True))


def fidelity(replay: Replay) -> pd.DataFrame:
    """One row: does the stored network make the logged states?

    last_error: L2 distance of the last logged state from the one that the stored network makes of the state before
    it; the weights moved by one step between, so it is small but not zero. last_drift, last_norm: L2 of the logged
    last move and state, to hold it against. After warm-up, L2: distance, root mean square of the replayed from the
    logged path; movement, of the replayed path from its own mean; logged_movement, of the logged one from its own;
    movement_share, their ratio.
    """
    decay = replay.run.config.self_state.decay
    before, last = replay.states[-2:]
    made = before  # other modes of self_clamp than freezing are not made again at the very last step
    if not replay.held[-1]:
        made = (1 - decay) * before + decay * replay.proposals()[-1]
    path, logged = replay.path(replay.inputs)[replay.late], replay.states[1:][replay.late]
    moved, moved_logged = float(_movement(path)), float(_movement(logged))
    row = {
        "last_error": np.linalg.norm(made - last), "last_drift": np.linalg.norm(last - before),
        "last_norm": np.linalg.norm(last), "distance": _rms(path - logged), "movement": moved,
        "logged_movement": moved_logged, "movement_share": moved / moved_logged if moved_logged else np.nan,
    }  # fmt: skip
    return pd.DataFrame([row])


def sensitivity(replay: Replay) -> pd.DataFrame:
    """One row an input and point: the proposal as that input goes through the range it had, the others at their median.

    value: of the input, as the network is fed. change: L2 of the proposal's change from the one at the medians;
    bias_change: L2 of the change of the bias that the reader would make of it; bias_norm_change: how much longer that
    bias is. For a GRU the state before is held at its mean.
    """
    seen = replay.inputs[replay.late]
    middle, state = np.median(seen, axis=0), replay.states.mean(0)
    base = replay.network.propose(middle, state)
    parts = []
    for column, name in enumerate(STATS):
        low, high = np.percentile(seen[:, column], RANGE)
        points = np.tile(middle, (POINTS, 1))
        points[:, column] = np.linspace(low, high, POINTS)
        moved = replay.network.propose(points, np.tile(state, (POINTS, 1)))
        *biases, bias = replay.network.read(np.vstack([moved, base]))
        rows = {
            "input": name, "point": range(POINTS), "value": points[:, column],
            "change": np.linalg.norm(moved - base, axis=1),
            "bias_change": np.linalg.norm(biases - bias, axis=1),
            "bias_norm_change": np.linalg.norm(biases, axis=1) - np.linalg.norm(bias),
        }  # fmt: skip
        parts.append(pd.DataFrame(rows))
    return stack(parts)


def ablation(replay: Replay) -> pd.DataFrame:
    """One row for each input, or set of inputs, held at its median through the replay: `frozen` names it.

    distance: root mean square over the steps after warm-up of the L2 distance to the replay with all inputs;
    movement: of that replay from its own mean; relative_change: their ratio. Frozen "all": the network proposes the
    same always, and the ratio is near 1 by construction; "all but progress": what a clock alone would make.
    """
    middle = np.median(replay.inputs[replay.late], axis=0)
    sets = {name: [name] for name in STATS} | {"all": [*STATS], CLOCK: [*STATS[:-1]]}
    frozen = np.array([np.isin(STATS, names) for names in sets.values()])  # (sets, 5)
    paths = replay.path(np.where(frozen[:, None], middle, replay.inputs))[:, replay.late]
    whole = replay.path(replay.inputs)[replay.late]
    rows = pd.DataFrame({"frozen": [*sets], "distance": _rms(paths - whole), "movement": _movement(whole)})
    rows["relative_change"] = rows["distance"] / rows["movement"].replace(0, np.nan)
    return rows


def gradients(replay: Replay) -> pd.DataFrame:
    """One row an input: how steeply the proposal depends on it where the run was, after warm-up.

    gradient: mean over steps and dimensions of |d proposal / d input|, by central differences; sd: of the input over
    those steps; scaled: gradient x sd, so that inputs compare; share: of the sum of `scaled` over inputs.
    """
    seen, states = replay.inputs[replay.late], replay.states[:-1][replay.late]
    rows = pd.DataFrame({"input": STATS, "gradient": np.nan, "sd": seen.std(0)})
    for column, size in enumerate(rows["sd"]):
        step = np.zeros(len(STATS))
        step[column] = STEP * (size or 1)
        above, below = (replay.network.propose(seen + sign * step, states) for sign in (1, -1))
        rows.loc[column, "gradient"] = np.abs(above - below).mean() / (2 * step[column])
    rows["scaled"] = rows["gradient"] * rows["sd"]
    rows["share"] = rows["scaled"] / (rows["scaled"].sum() or np.nan)
    return rows


def correlations(replay: Replay) -> pd.DataFrame:
    """One row an input, `of` it (value, or size of its change since the step before) and kind of series.

    rho: Spearman's correlation with the logged drift of the same step, which that very input helped to make; after
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
    rows = []
    for series, flatten in (("as logged", np.asarray), ("detrended", _flat)):
        target = readout.unit_ranks(flatten(drift[used]))
        for of, values in (("value", replay.inputs), ("change", jumps)):
            for name, column in zip(STATS, values[used].T, strict=True):
                found = _correlation(readout.unit_ranks(flatten(column)), target)
                rows.append({"input": name, "of": of, "series": series} | found)
    return pd.DataFrame(rows)


def _flat(values: np.ndarray) -> np.ndarray:
    """Detrended; rounding that is left of a straight line becomes zero."""
    made = readout.detrended(values)
    made[np.abs(made) < 1e-9 * max(np.abs(values).max(initial=0), 1e-300)] = 0
    return made


def _correlation(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    found = dict.fromkeys(("rho", "null_95", "p_value"), np.nan)
    if x.any() and y.any():
        by_lag = readout.all_lags(x, y)
        found["rho"] = float(by_lag[0])
        null = readout.turned_maxima(by_lag, 0, 0, least=readout.WIDTH)
        if len(null):
            found["null_95"] = float(np.quantile(null, 0.95))
            found["p_value"] = (1 + int((null >= abs(by_lag[0])).sum())) / (1 + len(null))
    return found


MAKERS = {
    "update_replay": fidelity, "update_sensitivity": sensitivity, "update_ablation": ablation,
    "update_gradients": gradients, "update_correlations": correlations,
}  # fmt: skip


def of_replays(context: Context) -> dict[str, pd.DataFrame]:
    """The tables of MAKERS, from all runs with a self-state and no memory."""
    runs = sorted(context.runs, key=lambda run: (run.condition, run.seed))
    replays = [replay for run in runs if (replay := open_replay(run)) is not None]
    return {name: stack([one.run.label(make(one)) for one in replays]) for name, make in MAKERS.items()}


def findings(tables: Tables) -> dict[str, Finding]:
    replayed, frozen = tables.by_condition("update_replay"), tables.by_condition("update_ablation")
    moves = tables.by_condition("update_correlations", input="loss", of="change", series="detrended")
    shares, gains, correlated, half = [], [], [], {}
    for name in replayed.conditions:
        share = half[f"`{name}`"] = estimate(replayed.of(name, "movement_share") - 0.5)
        text = f"{shown(replayed.value(name, 'movement_share'), '2')} (`{name}`)"
        shares.append((side(share, +1), text))
    for name in frozen.conditions:
        own = of_condition(frozen.rows, name)
        gain = paired(*(per_seed(own[own["frozen"] == of], "relative_change") for of in (CLOCK, "progress")))
        gains.append((side(gain, +1), f"{interval(gain, 2)} (`{name}`)"))
    for name in moves.conditions:
        rho, p_values = moves.value(name, "rho"), moves.of(name, "p_value")
        told, verdict = int((p_values < ALPHA).sum()), side(rho, +1)
        verdict = words.OPEN if verdict == words.CLEAR and 2 * told <= rho.n else verdict
        correlated.append((verdict, f"{interval(rho)}, {told} of {words.plural(rho.n, 'seed')} (`{name}`)"))
    return {
        "replayed": by_conditions(
            "The state's path is made by what the statistics do: the finished network, fed them again, moves the state at "
            "least half as far.",
            "Share of the logged movement", shares, words.other_way(half, +1),
        ),
        "statistics": by_conditions(
            "The batch's statistics move the state further than the clock does: holding all of them changes the replayed "
            "path more than holding progress.",
            "Difference of the two changes", gains,
        ),
        "drift": by_conditions(
            "The state moves more in steps in which the loss has just changed more.",
            f"Correlation with the size of the loss's change, trends off, and seeds with p < {ALPHA}", correlated,
        ),
    } | update_probe.findings(tables)  # fmt: skip


def by_conditions(claim: str, said: str, parts: Sequence[tuple[str, str]], more: str = "") -> Finding:
    """A finding on each condition, open where they disagree. parts: verdicts and numbers."""
    verdicts, numbers = [verdict for verdict, _ in parts], [text for _, text in parts]
    evidence = f"{said}: {listed(numbers)}.{more}" if numbers else "No run with a self-state."
    return Finding(claim, words.all_of(verdicts), evidence)


def last_error(rows: pd.DataFrame, tables: Tables) -> str:
    """The largest over seeds, as a share of the state's norm."""
    return number((rows["last_error"] / rows["last_norm"]).max(), 5)


def slope(rows: pd.DataFrame, tables: Tables) -> str:
    """Of the input that is held in some rows of update_ablation; a dash for a set of inputs."""
    condition, held = rows[["condition", "frozen"]].iloc[0]
    return shown(over_seeds(tables.rows("update_gradients", condition=condition, input=held), "share"), "2")


def span(rows: pd.DataFrame, tables: Tables) -> str:
    """How much longer that input makes the bias from the first point of its curve to the last."""
    condition, held = rows[["condition", "frozen"]].iloc[0]
    curve = tables.rows("update_sensitivity", condition=condition, input=held)
    low, high = (per_seed(curve[curve["point"] == point], "bias_norm_change") for point in (0, POINTS - 1))
    return shown(paired(high, low), "±4")


def correlation(of: str, series: str) -> Callable[[pd.DataFrame, Tables], str]:
    """The correlation of the drift with an input, and how many seeds are beyond chance."""

    def cell(rows: pd.DataFrame, tables: Tables) -> str:
        rows = rows[(rows["of"] == of) & (rows["series"] == series)]
        rho, told = over_seeds(rows, "rho"), (rows["p_value"] < ALPHA).sum()
        return f"{interval(rho, 2)}, {told} of {rho.n}" if rho.n else words.DASH

    return cell


VARIED = draw.lines(
    "update_sensitivity", "bias_norm_change", "one input varied", "change of the bias's norm (L2)", along="point", by="input",
    where={"condition": "self_random"}, bands=True, zero=True,
)  # fmt: skip


def varied(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
    """One input through its range, with a legend of its own."""
    if not VARIED.draw(axes, tables, INPUTS):
        marks.not_measured(axes, "not measured: that takes self_random")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.5 * (high - low))  # room for the names, which else lie on the bands
    axes.legend(*marks.handles(INPUTS.values(), "line"), loc="upper left")
    axes.set_xticks([0, (POINTS - 1) / 2, POINTS - 1], ["5", "50", "95"])
    axes.set_xlabel("place in the input's range (%)")
    return []


FIGURE = draw.sheet(
    "update-network.png",
    [
        draw.points("update_replay", "movement_share", "replay with the finished network",
                    "movement of the state\n(share of the logged movement)", upright=False, levels=(1,)),
        draw.Panel(("update_sensitivity",), varied),
        draw.points("update_gradients", "share", "gradient × input's spread", "share of the sum over inputs",
                    across="input", order=INPUTS, upright=False),
        draw.points("update_ablation", "relative_change", "inputs held at their median",
                    "change of the replayed path\n(share of its movement)", across="frozen", order=INPUTS, upright=False,
                    levels=(1,)),
        draw.points("update_correlations", "rho", "drift × input's change", "Spearman correlation", across="input",
                    order=INPUTS, where={"of": "change", "series": "detrended"}, upright=False, levels=("null_95",)),
        draw.points("update_probe", "balanced_accuracy", "regime told in runs left out", "balanced accuracy",
                    across="features", order=update_probe.FEATURES, upright=False, levels=("null_mean", "null_95")),
    ],
    grid=(2, 3), height=6.8, looks=LOOKS, title=("replayed", "trained"), marks="points", columns=3,
    shows="How the finished update network reads each statistic: what a replay with it makes of the state's path, "
    "sensitivity, gradients, inputs held at their median, drift against inputs, and a probe of its hidden units.",
    caption="The network as it was after the last step, fed the statistics of the whole run. Points: seeds; bars: mean and, "
    "from three seeds on, 95 % t interval. Top left: movement, root mean square distance of a path from its own mean, after "
    "warm-up; dotted: as far as the log. Top middle: one input through the range it had (5th to 95th percentile), the others at "
    "their median, self_random. Bottom middle: Spearman correlation of the drift with the size of an input's change, slow "
    "trends taken off; dotted: 95 % of absolute correlations under circular shifts. Bottom right: linear discriminant tried on "
    "a run left out; dotted: regimes permuted between stretches, mean, and 95 % of draws below.",
)  # fmt: skip
GRIDS = {
    "replay": pages.grid(
        "update_replay",
        logged_movement=("logged movement, L2", "3"), movement=("replayed movement, L2", "3"),
        movement_share=("share", "3"), error=("largest error at the last step", last_error),
    ),
    "inputs": pages.grid(
        "update_ablation", head="input, condition", across="frozen",
        relative_change=("held at its median: change of the path", "2"), slope=("share of scaled gradient", slope),
        span=("bias's norm, from 5th to 95th percentile", span),
    ),
    "drift": pages.grid(
        "update_correlations", head="drift with, condition", across="input", n=False,
        logged=("value, as logged", correlation("value", "as logged")),
        value=("value, trends off", correlation("value", "detrended")),
        change=("size of change, trends off", correlation("change", "detrended")),
    ),
}  # fmt: skip
EXPERIMENT = Experiment(
    "update_network", "The update network: how the state reads its statistics", [Table(of_replays, names=tuple(MAKERS))],
    findings, [FIGURE], GRIDS | update_probe.GRIDS, suites=("shakespeare",),
)  # fmt: skip
