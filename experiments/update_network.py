"""How does the learned update read each statistic, and how much of the state's path does that reading make?

All with the weights after the last step (experiments/kit/replay.py). update_replay comes first: where the replayed path
moves far less than the logged one, most of the logged path was the network being learned, and what follows speaks of
the finished network only. Its page also has what experiments/update_probe.py and experiments/update_rows.py find.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from configs.state import STATS
from experiments import update_probe, update_rows
from experiments.kit import pages, readout, words
from experiments.kit.experiment import Experiment, Table
from experiments.kit.levels import ALPHA
from experiments.kit.pages import shown
from experiments.kit.replay import Replay, open_replay, untrained
from experiments.kit.runs import Context
from experiments.kit.stats import Estimate, correlation, estimate, over_seeds, paired, per_seed
from experiments.kit.tables import CALM, Tables, of_condition, stack
from experiments.kit.words import Finding, interval, listed, number, plural, side, signed
from experiments.update_network_figure import FIGURE

POINTS = 25  # of a sensitivity curve, as published
RANGE = (5.0, 95.0)  # percentiles that a curve spans
STEP = 0.1  # of a slope, in standard deviations of the input, as published
CLOCK = "all but progress"  # held at their baseline, so that only the clock is left


def _rms(moves: np.ndarray) -> np.ndarray:
    """Root mean square, over steps, of the L2 norms of moves (..., steps, dim)."""
    return np.sqrt((moves**2).sum(-1).mean(-1))


def _movement(path: np.ndarray) -> np.ndarray:
    """Root mean square distance of a path (..., steps, dim) from its own mean."""
    return _rms(path - path.mean(-2, keepdims=True))


def fidelity(replay: Replay) -> pd.DataFrame:
    """One row: does the stored network make the logged states?

    last_error: L2 distance of the last logged state from the one that the stored network makes of the state before
    it; the weights moved by one step between, so it is small but not zero. last_norm: L2 of that logged state, to
    hold it against. After warm-up, L2: distance, root mean square of the replayed from the logged path; movement, of the
    replayed path from its own mean; logged_movement, of the logged one from its own; movement_share, their ratio.
    """
    decay = replay.run.config.self_state.decay
    before, last = replay.states[-2:]
    made = before  # other modes of self_clamp than freezing are not made again at the very last step
    if not replay.held[-1]:
        made = (1 - decay) * before + decay * replay.proposals()[-1]
    path, logged = replay.path(replay.inputs)[replay.late], replay.states[1:][replay.late]
    moved, moved_logged = float(_movement(path)), float(_movement(logged))
    row = {
        "last_error": np.linalg.norm(made - last), "last_norm": np.linalg.norm(last),
        "distance": _rms(path - logged), "movement": moved,
        "logged_movement": moved_logged, "movement_share": moved / moved_logged if moved_logged else np.nan,
    }  # fmt: skip
    return pd.DataFrame([row])


def baseline(stats: np.ndarray, regimes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (5,) of statistics (n, 5) over the steps without regime (n,), warm-up too, as published."""
    calm = regimes == CALM
    calm = calm if calm.any() else np.ones(len(stats), dtype=bool)
    return stats[calm].mean(0), stats[calm].std(0)


def sensitivity(replay: Replay) -> pd.DataFrame:
    """One row an input and point: the proposal as that input goes through the range it had, the others at their baseline.

    value: of the input, as the network is fed. norm: L2 of the proposal; change: of its change from the one at the
    baseline; bias_norm_change: how much longer the bias is that the reader would make of it.
    For a GRU the state before is held at its mean.
    """
    middle, _ = baseline(replay.inputs, replay.regimes)
    state = replay.states.mean(0)
    base = replay.network.propose(middle, state)
    parts = []
    for column, name in enumerate(STATS):
        low, high = np.percentile(replay.inputs[:, column], RANGE)
        points = np.tile(middle, (POINTS, 1))
        points[:, column] = np.linspace(low, high, POINTS)
        moved = replay.network.propose(points, np.tile(state, (POINTS, 1)))
        *biases, bias = replay.network.read(np.vstack([moved, base]))
        rows = {
            "input": name, "point": range(POINTS), "value": points[:, column],
            "norm": np.linalg.norm(moved, axis=1), "change": np.linalg.norm(moved - base, axis=1),
            "bias_norm_change": np.linalg.norm(biases, axis=1) - np.linalg.norm(bias),
        }  # fmt: skip
        parts.append(pd.DataFrame(rows))
    return stack(parts)


def ablation(replay: Replay) -> pd.DataFrame:
    """One row for each input, or set of inputs, held at its baseline: `frozen` names it.

    proposal_change: L2 of the proposal's change, mean over all steps, as published. Of the replay with it, after warm-up:
    distance, root mean square of the L2 distance to the replay with all inputs; movement: of that replay from its own
    mean; relative_change: their ratio. Frozen "all": the network proposes the same always, and the ratio is at least
    about 1 by construction; "all but progress": what a clock alone would make.
    """
    middle, _ = baseline(replay.inputs, replay.regimes)
    sets = {name: [name] for name in STATS} | {"all": [*STATS], CLOCK: [*STATS[:-1]]}
    frozen = np.array([np.isin(STATS, names) for names in sets.values()])  # (sets, 5)
    held, past = np.where(frozen[:, None], middle, replay.inputs), replay.states[:-1]
    moved = replay.network.propose(held, np.broadcast_to(past, (len(sets), *past.shape))) - replay.proposals()
    whole = replay.path(replay.inputs)[replay.late]
    rows = pd.DataFrame({"frozen": [*sets], "proposal_change": np.linalg.norm(moved, axis=-1).mean(-1)})
    rows["distance"], rows["movement"] = _rms(replay.path(held)[:, replay.late] - whole), _movement(whole)
    rows["relative_change"] = rows["distance"] / rows["movement"].replace(0, np.nan)
    return rows


def gradients(replay: Replay) -> pd.DataFrame:
    """One row an input: how steeply the proposal depends on it at the baseline, and whether it is long when that is large.

    mean, sd: of the input at the baseline. gradient: L2 of the proposal's change when the input rises by a tenth of sd,
    a unit of the input; scaled: gradient x sd, so that inputs compare; share: of the sum of `scaled` over inputs.
    norm_correlation: Pearson's, of the input with the L2 norm of the proposal, over all steps; untrained_correlation: the
    same of the network before training (an mlp). NaN where a side stands still.
    """
    middle, sd = baseline(replay.inputs, replay.regimes)
    raised = middle + STEP * np.diag(np.where(sd > 0, sd, 1))  # (5, 5), an input a row
    state = np.tile(replay.states.mean(0), (len(STATS) + 1, 1))
    *moved, base = replay.network.propose(np.vstack([raised, middle]), state)
    rows = pd.DataFrame({"input": STATS, "mean": middle, "sd": sd})
    rows["gradient"] = np.linalg.norm(np.array(moved) - base, axis=1) / np.diag(raised - middle)
    rows["scaled"] = rows["gradient"] * rows["sd"]
    rows["share"] = rows["scaled"] / (rows["scaled"].sum() or np.nan)
    rows["norm_correlation"] = _with_norm(replay.inputs, replay.proposals())
    rows["untrained_correlation"] = np.nan
    if replay.network.kind == "mlp":
        before = untrained(replay.run.config.self_state, replay.run.seed)
        rows["untrained_correlation"] = _with_norm(
            replay.inputs, before.propose(replay.inputs, replay.states[:-1])
        )
    return rows


def _with_norm(inputs: np.ndarray, proposals: np.ndarray) -> list[float]:
    size = pd.Series(np.linalg.norm(proposals, axis=1))
    return [correlation(pd.Series(column), size) for column in inputs.T]


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
    shares = {name: replayed.value(name, "movement_share") for name in replayed.conditions}
    half = {name: estimate(replayed.of(name, "movement_share") - 0.5) for name in shares}
    less = sum(side(value, -1) == words.CLEAR for value in half.values())
    gains, correlated = dict[str, Estimate](), {name: moves.value(name, "rho") for name in moves.conditions}
    for name in frozen.conditions:
        own = of_condition(frozen.rows, name)
        gains[name] = paired(
            *(per_seed(own[own["frozen"] == of], "relative_change") for of in (CLOCK, "progress"))
        )
    more, clock = (
        [f"`{name}`" for name, gain in gains.items() if side(gain, way) == words.CLEAR] for way in (+1, -1)
    )
    said = f"In {listed(more) if more else 'no kind of run'} the batch's statistics make more of the state's path than the clock does"
    most = [name for name in correlated if (moves.of(name, "p_value") < ALPHA).mean() > 0.5]
    return {
        "replayed": by_conditions(
            "Fed the run's statistics again, the finished network moves the state at least half as far as the run did.",
            "Fed the run's statistics again, the finished network moves the state less than half as far as the run did, clearly in "
            f"{less or 'none'} of {plural(len(half), 'kind')} of run.",
            "Share of the run's movement", shares, [side(value, +1) for value in half.values()],
        ),
        "statistics": by_conditions(
            "In every kind of run the batch's statistics make more of the state's path than the clock does.",
            f"{said}{f'; in {listed(clock)} the clock makes more' * bool(clock)}.",
            "Change of the path with them held minus with progress held", gains, [side(gain, +1) for gain in gains.values()],
        ),
        "drift": by_conditions(
            "The state moves more at steps where the loss has just changed more.",
            "The state does not clearly move more at steps where the loss has just changed more.",
            f"Most seeds have p < {ALPHA} in {len(most) or 'none'} of {plural(len(correlated), 'kind')} of run; rank correlation of the two, trends off",
            correlated,
            [
                words.OPEN if (found := side(rho, +1)) == words.CLEAR and name not in most else found
                for name, rho in correlated.items()
            ], 3,
        ),
    } | update_probe.findings(tables) | update_rows.findings(tables)  # fmt: skip


def by_conditions(
    claim: str,
    otherwise: str,
    said: str,
    values: Mapping[str, Estimate],
    verdicts: Sequence[str],
    digits: int = 2,
) -> Finding:
    """A finding on each condition, which tells the one of `self`, and the range."""
    if not values:
        return Finding(claim, words.ABSENT, "No run with a self-state.", otherwise)
    shown_as, means = (
        "self" if "self" in values else next(iter(values)),
        [value.mean for value in values.values()],
    )
    sign = min(means) < 0
    low, high = ((signed if sign else number)(end, digits) for end in (min(means), max(means)))
    evidence = f"{said}: {interval(values[shown_as], digits, sign)} (`{shown_as}`), {low} to {high} over {plural(len(values), 'kind')} of run."
    return Finding(claim, words.worst(verdicts), evidence, otherwise)


def last_error(rows: pd.DataFrame, tables: Tables) -> str:
    """The largest over seeds, as a share of the state's norm."""
    return number((rows["last_error"] / rows["last_norm"]).max(), 5)


def slope(rows: pd.DataFrame, tables: Tables) -> str:
    """Of the input that is held in some rows of update_ablation; a dash for a set of inputs."""
    condition, held = rows[["condition", "frozen"]].iloc[0]
    return shown(over_seeds(tables.rows("update_gradients", condition=condition, input=held), "share"), "2")


def span(column: str) -> Callable[[pd.DataFrame, Tables], str]:
    """How much a column of update_sensitivity changes from the first point of that input's curve to the last."""

    def cell(rows: pd.DataFrame, tables: Tables) -> str:
        condition, varied = rows["condition"].iloc[0], rows["frozen" if "frozen" in rows else "input"].iloc[0]
        curve = tables.rows("update_sensitivity", condition=condition, input=varied)
        low, high = (per_seed(curve[curve["point"] == point], column) for point in (0, POINTS - 1))
        return shown(paired(high, low), "±4")

    return cell


def with_drift(of: str, series: str) -> Callable[[pd.DataFrame, Tables], str]:
    """The correlation of the drift with an input, and how many seeds are beyond chance."""

    def cell(rows: pd.DataFrame, tables: Tables) -> str:
        rows = rows[(rows["of"] == of) & (rows["series"] == series)]
        rho, told = over_seeds(rows, "rho"), (rows["p_value"] < ALPHA).sum()
        return f"{interval(rho, 2)}, {told} of {rho.n}" if rho.n else words.DASH

    return cell


GRIDS = {
    "replay": pages.grid(
        "update_replay",
        logged_movement=("logged movement, L2", "3"), movement=("replayed movement, L2", "3"),
        movement_share=("share", "3"), error=("largest error at the last step", last_error),
    ),
    "inputs": pages.grid(
        "update_ablation", head="input, condition", across="frozen",
        proposal_change=("held at its baseline: change of the proposal, L2", "4"),
        relative_change=("of the path, share of its movement", "2"), slope=("share of scaled gradient", slope),
        span=("bias's norm, from 5th to 95th percentile", span("bias_norm_change")),
    ),
    "norm": pages.grid(
        "update_gradients", head="input, condition", across="input",
        norm=("its norm, from 5th to 95th percentile", span("norm")),
        gradient=("slope for +0.1 sd, L2 a unit", "3"), norm_correlation=("r with the proposal's norm", "±2"),
        untrained_correlation=("the same before training", "±2"),
    ),
    "drift": pages.grid(
        "update_correlations", head="speed with, condition", across="input", n=False,
        logged=("value, as logged", with_drift("value", "as logged")),
        value=("value, trends off", with_drift("value", "detrended")),
        change=("size of change, trends off", with_drift("change", "detrended")),
    ),
}  # fmt: skip
EXPERIMENT = Experiment(
    "update_network", "The update network: how the state reads its statistics", [Table(of_replays, names=tuple(MAKERS))],
    findings, [FIGURE], GRIDS | update_probe.GRIDS | update_rows.GRIDS, suites=("shakespeare",),
)  # fmt: skip
