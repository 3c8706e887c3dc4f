"""Composite valence and intensity of the state's path ("desmotic metrics"), as published, beside a path that no regime touched.

Of every tenth step, the published dumps: speed v = |Δs|, curvature |Δ²s| / (1 + v²)^1.5, distance from the plane of the four
first principal components of the last 200 dumps until then, and control loss, log(usual effect / effect). Each becomes
a z-score over the usual dumps: those before step 300, and for each regime the 20 before it. Valence is minus the sum of
the z of speed, distance, control loss and entropy; intensity is sigmoid((z of |Δ valence| + z of curvature) / 2). So
both are arithmetic on measures that training moves anyway. (No number of the published script is known: which four make
valence, that the plane is laid through the past, and a dump as the unit of time are our reading of it.) The control is the same arithmetic, with the same usual
dumps and windows, on the path of the run of the same seed in which no regime acted.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.kit import marks, pages, published, style
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment
from experiments.kit.runs import Context
from experiments.kit.stats import estimate
from experiments.kit.style import REGIMES
from experiments.kit.tables import Tables, stack, stretches
from experiments.kit.words import Finding, in_each

SECOND = "generalization"  # the suite of the second corpus
EVERY, SETTLED, BEFORE = 10, 300, 20  # steps a dump; steps that are usual; dumps before a window that are
LATEST, RANK = 200, 4  # dumps that the plane is laid through, and its dimensions
SMALL = 1e-6  # beside an effect of zero
LOOKS = {name: style.condition(name) for name in ("self", "self_calm")}


def composite(context: Context) -> pd.DataFrame:
    """One row a dump of `self` and `self_calm`: step; regime: `self`'s at that step, in both; usual: whether z-scores are over it.

    speed, distance: L2 a dump, L2. curvature, control_loss, valence (standard deviations), intensity (0 to 1): as above.
    entropy, effect: entropy_last and prompt_effect, the latter carried on between measurements.
    """
    timed = {run.seed: run.metrics() for run in context.of("self")}
    parts = []
    for run in [run for name in LOOKS for run in context.of(name)]:
        states, log, timer = run.states(), run.metrics(), timed.get(run.seed)
        if states is None or timer is None or len(timer) != len(log):
            continue
        log["effect"] = published.repeated(log)
        rows = log.iloc[::EVERY].reset_index(drop=True)
        rows = rows[["step", "effect"]].assign(
            regime=timer["regime"][::EVERY].to_numpy(), entropy=rows["entropy_last"]
        )
        usual = (rows["step"] < SETTLED).to_numpy(copy=True)
        for _, start, _ in stretches(timer):
            usual[np.flatnonzero(rows["step"] < start)[-BEFORE:]] = True
        path = states[: len(log) : EVERY].astype(float)
        found = felt(path, rows["entropy"].to_numpy(float), rows["effect"].to_numpy(float), usual)
        parts.append(run.label(rows.assign(usual=usual, **found)))
    return stack(parts)


def felt(
    path: np.ndarray, entropy: np.ndarray, effect: np.ndarray, usual: np.ndarray
) -> dict[str, np.ndarray]:
    """speed, curvature, distance, control_loss, valence and intensity (n,) of states (n, D), entropy and effect (n,)."""

    def z(values: np.ndarray) -> np.ndarray:
        spread = values[usual].std()
        return (values - values[usual].mean()) / spread if spread > 1e-12 else np.zeros(len(values))

    step = np.diff(path, axis=0, prepend=path[:1])
    speed = np.linalg.norm(step, axis=1)
    bend = np.linalg.norm(np.diff(step, axis=0, prepend=step[:1]), axis=1)
    curvature = bend / (1 + speed**2) ** 1.5
    distance = np.array([off_plane(path[max(0, at + 1 - LATEST) : at + 1]) for at in range(len(path))])
    control_loss = np.log(max(float(np.median(effect[usual])), SMALL) / (effect + SMALL))
    valence = -(z(speed) + z(distance) + z(control_loss) + z(entropy))
    change = np.abs(np.diff(valence, prepend=valence[:1]))
    intensity = 1 / (1 + np.exp(-0.5 * (z(change) + z(curvature))))
    found = {"speed": speed, "curvature": curvature, "distance": distance, "control_loss": control_loss}
    return found | {"valence": valence, "intensity": intensity}


def off_plane(path: np.ndarray) -> float:
    """How far the last of some states (n, D) lies from the plane of their first RANK principal components; 0 for RANK + 1 of them."""
    centred = path - path.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    last, plane = centred[-1], axes[:RANK]
    return float(np.linalg.norm(last - last @ plane.T @ plane))


def composite_windows(context: Context, composite: pd.DataFrame) -> pd.DataFrame:
    """One row a run and window of `self`: regime, start, end (steps); valence, intensity: means over its dumps; intensity_usual:
    over the usual dumps, over which valence is 0."""
    parts = []
    for (condition, seed), rows in composite.groupby(["condition", "seed"], sort=False):
        (run,) = (run for run in context.of(str(condition)) if run.seed == seed)
        timer = next(other for other in context.of("self") if other.seed == seed)
        found = []
        for regime, start, end in stretches(timer.metrics()):
            inside = rows[(rows["step"] >= start) & (rows["step"] < end)]
            means = {name: inside[name].mean() for name in ("valence", "intensity")}
            means["intensity_usual"] = rows["intensity"][rows["usual"]].mean()
            found.append({"regime": regime, "start": start, "end": end, **means})
        parts.append(run.label(pd.DataFrame(found)))
    return stack(parts)


def findings(tables: Tables) -> dict[str, Finding]:
    """Whether both move in the regimes, and whether they do beyond the run without regimes."""
    regimes = [name for name in REGIMES if len(tables.rows("composite_windows", regime=name))]
    at = {name: tables.by_condition("composite_windows", regime=name) for name in regimes}
    own = {f"`{name}`": at[name].value("self", "valence") for name in regimes}
    intense = {
        f"`{name}`": estimate(at[name].of("self", "intensity") - at[name].of("self", "intensity_usual"))
        for name in regimes
    }
    beyond, intense_beyond = (
        {f"`{name}`": at[name].minus("self", "self_calm", column) for name in regimes}
        for column in ("valence", "intensity")
    )
    return {
        "returns": in_each("the composite valence falls below its usual", own, -1, "standard deviations", 2, pairs=False),
        "intense": in_each("the composite intensity rises above its usual", intense, +1, pairs=False),
        "beyond": in_each("valence is lower than at the same steps without regimes", beyond, -1, "standard deviations", 2),
        "intense_beyond": in_each("intensity is higher than at the same steps without regimes", intense_beyond, +1),
    }  # fmt: skip


def over_the_run(column: str, label: str, named: bool = False) -> draw.Panel:
    """A measure along the run, the windows of `self` shaded."""

    def shaded(axes: Axes, tables: Tables) -> None:
        windows = tables.rows("composite_windows", condition="self")[
            ["regime", "start", "end"]
        ].drop_duplicates()
        marks.shade(axes, [(str(a), int(b), int(c)) for a, b, c in windows.itertuples(index=False)], named)
        axes.margins(x=0)
        if column == "intensity":
            axes.set_ylim(0, 1)

    curves = draw.lines("composite", column, y=label, bands=True)
    return draw.then(curves, shaded, ("composite_windows",), along=column == "intensity")


FIGURE = draw.sheet(
    "composite.png",
    [over_the_run("valence", "valence (sd)", named=True), over_the_run("intensity", "intensity (0 to 1)")],
    grid=(2, 1), height=5.6, looks=LOOKS, title=("beyond",), x="step", marks="line", share_x=True,
    shows="Composite valence and intensity along the run, with regimes and without.",
    caption="Mean over {seeds} with 95 % t band; faint: seeds. Grey: regimes, which act in one of the two. Valence: minus the sum of the z-scores of "
    "the state's speed, its distance from its recent plane, control loss and entropy. Intensity: from the change of valence and the "
    "path's curvature.",
)  # fmt: skip
WINDOWS = pages.grid(
    "composite_windows", tuple(LOOKS), head="regime, condition", across="regime", order=REGIMES, valence=("mean valence, sd", "±2"),
    intensity=("mean intensity", "3"), intensity_usual=("its usual", "~3"), minus=dict.fromkeys(("valence", "intensity"), "self_calm"),
)  # fmt: skip
EXPERIMENT = Experiment(
    "composite", "Composite valence and intensity", (composite, composite_windows), findings, (FIGURE,),
    {"windows": WINDOWS, "second": lambda tables: WINDOWS(tables.of(SECOND))}, suites=("shakespeare", SECOND), guests=(SECOND,),
)  # fmt: skip
