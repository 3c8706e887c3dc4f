"""What does each of the state's numbers follow? As published: its correlation with every statistic, every tenth step.

Among 32 series that drift slowly, some follow whatever else drifts, such as the step. So the five largest correlations of
a run stand beside those of two states that nothing was learned for: the path that a network makes which was never trained,
fed the statistics of the same run, and a random walk of as many numbers. How much a number moves the predictions stands
beside what it would move through an untrained reader of the same column norms (probes/frozen_rows.py).
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from base.rng import Stream, generator
from configs.state import STATS
from experiments.kit import pages, published, style, words
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment
from experiments.kit.replay import measured, open_replay, untrained
from experiments.kit.runs import Context, Run
from experiments.kit.stats import Estimate, over_seeds, paired
from experiments.kit.style import CHANNELS, Look
from experiments.kit.tables import Tables, stack
from experiments.kit.words import Finding, difference, interval, number

AT = "analysis"  # the condition that is asked
EVERY = 10  # steps between two that are correlated
TOP = 5  # of the dimensions are named
DRAWS = 20  # of each control
FIRST_COUNTER = 2_700_000  # of their generators in the ANALYSIS stream: networks; 500_000 on: walks
LEARNED, UNTRAINED, WALK = "learned", "untrained", "walk"
PEAK = "peak"
LOOKS = {
    LEARNED: Look("the run's own", style.BLUE),
    UNTRAINED: Look("untrained", style.VERMILLION, (0, (4, 1.6)), "s", filled=False),
    WALK: Look("random walk", style.GREY, (0, (1, 1.2)), "^", filled=False),
}
SAID = {
    "progress": "largest |r| with progress", "loss": "largest |r| with loss", PEAK: "largest change of logits",
}  # fmt: skip


def state_dimensions(context: Context) -> pd.DataFrame:
    """One row a run of AT and dimension.

    STATS: Pearson's correlation over every tenth step of the number that was injected with the statistic of the same
    step's batch, as the state is shown it; NaN where one stands still. lowest, highest: it took in any step.
    """
    parts = []
    for run in context.of(AT):
        states = run.states()
        if states is None:
            continue
        rows = pd.DataFrame(correlations(states, measured(run.metrics(), run.config)), columns=list(STATS))
        rows.insert(0, "dimension", range(len(rows)))
        parts.append(run.label(rows.assign(lowest=states.min(0), highest=states.max(0))))
    return stack(parts)


def dimension_peaks(context: Context) -> pd.DataFrame:
    """One row a tested run of AT, its run_step, reader (learned, untrained), draw and dimension, weights frozen.

    at_lowest, at_highest: mean |logit change| at the last position of eight held-out sequences, where the state has the
    dimension's lowest or highest value of the run and all others as they were last. peak: the larger of the two.
    """
    made = context.probed("frozen", "dimensions") if context.of(AT) else pd.DataFrame()
    if made.empty:
        return made
    return made[made["condition"] == AT].assign(peak=made[["at_lowest", "at_highest"]].max(axis=1))


def dimension_ranks(
    context: Context, state_dimensions: pd.DataFrame, dimension_peaks: pd.DataFrame
) -> pd.DataFrame:
    """The TOP largest of a run's dimensions: one row a run, what it is `of`, path and rank (1: the largest).

    of: a statistic, then size is |r|, path learned, untrained or walk; or peak, then size is that of dimension_peaks after
    the last step tested, path learned or untrained. size of a control: mean over its draws, each with its own TOP.
    """
    parts = []
    for run in context.of(AT):
        tops: dict[tuple[str, str], np.ndarray] = {}  # (TOP,)
        own = _of(state_dimensions, run)
        if len(own):
            shown, paths = measured(run.metrics(), run.config), controls(run)
            found = {name: [correlations(path, shown) for path in drawn] for name, drawn in paths.items()}
            found[LEARNED] = [own[list(STATS)].to_numpy(float)]
            for name, drawn in found.items():
                sizes = np.mean([largest(one) for one in drawn], axis=0)  # (TOP, 5)
                tops |= {(of, name): sizes[:, place] for place, of in enumerate(STATS)}
        peaks = _of(dimension_peaks, run)
        last = peaks[peaks["run_step"] == peaks["run_step"].max()]
        for reader, rows in last.groupby("reader"):
            drawn = [largest(one[[PEAK]].to_numpy()) for _, one in rows.groupby("draw")]
            tops[PEAK, str(reader)] = np.mean(drawn, axis=0)[:, 0]
        ranked = [
            (of, path, rank, size) for (of, path), sizes in tops.items() for rank, size in enumerate(sizes, 1)
        ]
        parts.append(run.label(pd.DataFrame(ranked, columns=["of", "path", "rank", "size"])))
    return stack(parts)


def _of(rows: pd.DataFrame, run: Run) -> pd.DataFrame:
    return rows[(rows["condition"] == run.condition) & (rows["seed"] == run.seed)]


def correlations(states: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Pearson's r (dim, k) of states (steps, dim) with statistics (steps, k) over every EVERY-th step; NaN where one
    stands still."""
    x, y = (_unit(values[::EVERY].astype(float)) for values in (states, shown))
    return x.T @ y


def _unit(values: np.ndarray) -> np.ndarray:
    """Columns about their mean, of length one; NaN where nothing but rounding is left."""
    away = values - values.mean(0)
    size = np.linalg.norm(away, axis=0)
    moved = size > 1e-9 * np.linalg.norm(values, axis=0)
    return np.divide(away, size, out=np.full_like(away, np.nan), where=moved)


def largest(values: np.ndarray) -> np.ndarray:
    """The TOP largest sizes (TOP, k) of each column of values (dim, k), the largest first; what is unknown counts as zero,
    and so does what fewer dimensions lack."""
    sizes = -np.sort(-np.nan_to_num(np.abs(values)), axis=0)[:TOP]
    return np.pad(sizes, ((0, TOP - len(sizes)), (0, 0)))


def controls(run: Run) -> dict[str, list[np.ndarray]]:
    """DRAWS paths (steps, dim) of each control of a run: of untrained networks with its statistics, and random walks.

    An untrained network has the run's own sizes and initialisation, is drawn anew, and starts from the state that the run
    started from. Only an mlp without memory has one.
    """
    seed, settings, replay = run.seed, run.config.self_state, open_replay(run)
    shape = len(run.metrics()), settings.dim
    draws = range(FIRST_COUNTER, FIRST_COUNTER + DRAWS)
    walks = [
        generator(seed, Stream.ANALYSIS, 500_000 + place).normal(size=shape).cumsum(0) for place in draws
    ]
    if replay is None or settings.update != "mlp":
        return {WALK: walks}
    others = [replace(replay, network=untrained(settings, seed, place)) for place in draws]
    paths = [np.concatenate([replay.states[:1], other.path(replay.inputs)]) for other in others]
    return {UNTRAINED: paths, WALK: walks}


def five(tables: Tables, of: str, path: str) -> "pd.Series[float]":
    """Mean of a run's five largest, by seed."""
    return tables.seeds("dimension_ranks", "size", of=of, path=path)


def findings(tables: Tables) -> dict[str, Finding]:
    def beyond(of: str, named: str) -> Finding:
        return difference(
            f"The five of the state's 32 numbers that follow {named} most do so more closely than those of an untrained network or a random walk.",
            against(tables, of, (UNTRAINED, WALK)),
            +1,
            "of |r|, mean of five",
            otherwise=f"The state does not follow {named} clearly more closely than both an untrained network and a random walk do.",
            reverse=f"The five of the state's 32 numbers that follow {named} most do so less closely than those of an untrained network or a random walk.",
        )

    return {
        "returns": comes_back(
            tables, ("progress", "loss"), "The five largest correlations with progress and with the loss are about as large as published.",
            "The five largest correlations with progress and with the loss are not both of the published size.", 3,
        ),
        "beyond_progress": beyond("progress", "progress"),
        "beyond_grad_norm": beyond("grad_norm", "the gradient norm"),
        "beyond_loss": beyond("loss", "the loss"),
        "returns_peaks": comes_back(
            tables, (PEAK,), "The five numbers that move the predictions most move them about as far as published.",
            "The five numbers that move the predictions most do not move them as far as published, or further.", 4,
        ),
        "beyond_peaks": difference(
            "Single numbers move the predictions further than they would through an untrained reader of the same norms.",
            against(tables, PEAK, (UNTRAINED,)), +1, "mean |Δ logit|, mean of five", 4,
            otherwise="Single numbers do not move the predictions clearly further than they would through an untrained reader of the same norms.",
        ),
    }  # fmt: skip


def named(path: str, of: str) -> str:
    """A path's name: what is untrained is a network, or, of what moves the predictions, a reader."""
    kind = (" reader" if of == PEAK else " network") if path == UNTRAINED else ""
    return LOOKS[path].label + kind


def against(tables: Tables, of: str, rivals: tuple[str, ...]) -> dict[str, Estimate]:
    """The five largest of the run minus those of its controls, paired by seed."""
    own = five(tables, of, LEARNED)
    return {f"own − {named(path, of)}": paired(own, five(tables, of, path)) for path in rivals}


def comes_back(tables: Tables, asked: tuple[str, ...], claim: str, otherwise: str, digits: int) -> Finding:
    """The finding that a further seed could give the published means of five."""
    verdicts, parts = [], []
    for of in asked:
        value = over_seeds(tables.rows("dimension_ranks", of=of, path=LEARNED), "size")
        mean = float(np.mean(published.DIMENSIONS[of]))
        if value.n:
            verdicts.append(words.again(value, mean))
            ours, theirs = interval(value, digits, sign=False), number(mean, digits)
            parts.append(f"{of} {ours} for {theirs} (n = {value.n})")
    if not parts:
        tested = " that were tested with their weights frozen" if PEAK in asked else ""
        return Finding(claim, words.ABSENT, f"It needs runs of `{AT}`{tested}.", otherwise)
    return Finding(claim, words.worst(verdicts), f"Mean of the five largest: {'; '.join(parts)}.", otherwise)


def ranked(of: str, title: str, label: str) -> draw.Panel:
    """The five largest, controls beside them, published values as stars."""
    by_rank = draw.points(
        "dimension_ranks", "size", title, label, by="path", across="rank", where={"of": of}, zero=of == PEAK
    )

    def stars(axes: Axes, tables: Tables) -> None:
        if len(tables.rows("dimension_ranks", of=of)):
            said = published.DIMENSIONS[of]
            axes.plot(range(len(said)), said, "*", c="k", mfc="white", ms=7, zorder=5)
            axes.set_xlabel("rank in the run")
        if of != PEAK:
            axes.set_ylim(0, 1.03)

    return draw.then(by_rank, stars)


def map_of(axes: Axes, tables: Tables, looks: draw.Looks) -> list[str]:
    """All correlations of the first run, its numbers in the order of that with progress."""
    rows = tables.rows("state_dimensions")
    if rows.empty:
        return []
    first = rows[rows["seed"] == rows["seed"].min()].sort_values("progress")
    image = axes.imshow(first[list(STATS)].to_numpy(float).T, aspect="auto", cmap="viridis", vmin=-1, vmax=1)
    axes.set_yticks(range(len(STATS)), [CHANNELS[name].name if name in CHANNELS else name for name in STATS])
    axes.set_xticks([])
    axes.set_xlabel("the run's numbers, in the order of r with progress")
    axes.set_title(f"r of every number with every statistic, seed {first['seed'].iloc[0]}")
    axes.figure.colorbar(image, ax=axes, label="r", ticks=[-1, 0, 1])
    return []


FIGURE = draw.sheet(
    "dimensions.png",
    [
        ranked("progress", "five largest with progress", "|r|"),
        ranked("loss", "five largest with loss", "|r|"),
        ranked(PEAK, "five largest changes of logits", "mean |Δ logit|"),
        draw.Panel(("state_dimensions",), map_of),
    ],
    grid="abc;ddd", height=5.2, looks=LOOKS, marks="points", title=("beyond_progress",),
    shows="What each of the state's 32 numbers follows: the five largest correlations with progress and with the loss, and the "
    "five largest changes of logits, beside those of an untrained network or reader and of a random walk.",
    caption="{seeds}: one point each, mean and 95 % t interval; stars: published, one run. r: Pearson's, every tenth step. Untrained: networks fed "
    "the run's statistics; at the right, readers. Walk: independent steps. Changes of logits: one number set to the lowest or highest "
    "value it took.",
)  # fmt: skip


def five_largest(of: str, digits: int) -> pages.Grid:
    """Published values, those of each seed, and the medians over seeds of the runs and of their controls."""

    def make(tables: Tables) -> str:
        rows = tables.rows("dimension_ranks", of=of)
        if rows.empty:
            return words.MISSING
        wide = {
            path: part.pivot_table(index="seed", columns="rank", values="size")
            for path, part in rows.groupby("path")
        }
        lines = {"published run": np.array(published.DIMENSIONS[of])}
        lines |= {
            f"its statistics, {named(path, of)}": np.array(sizes)
            for path, sizes in published.DIMENSION_CONTROLS.get(of, {}).items()
        }
        lines |= {f"seed {seed}": values.to_numpy() for seed, values in wide[LEARNED].iterrows()}
        lines |= {
            f"{named(path, of)}: median over seeds": wide[path].median().to_numpy()
            for path in LOOKS
            if path in wide
        }
        body = [
            [label, *(number(one, digits) for one in (*sizes, sizes.mean()))]
            for label, sizes in lines.items()
        ]
        return words.table([SAID[of], "1st", "2nd", "3rd", "4th", "5th", "mean"], body)

    return make


GRIDS = {
    "progress": five_largest("progress", 3),
    "loss": five_largest("loss", 3),
    "peak": five_largest(PEAK, 4),
}
EXPERIMENT = Experiment(
    "dimensions", "What does each of the state's numbers follow?", (state_dimensions, dimension_peaks, dimension_ranks),
    findings, (FIGURE,), GRIDS, suites=("shakespeare", "generalization"),
)  # fmt: skip
