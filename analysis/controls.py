"""The controls beside the self-state: what regimes do, and what is gained.

Regimes stand at random times and no run here is without them, so what time alone does in a window is taken from the
same run's calm steps: a self-state's norm grows through training where a fixed bias has its norm from the first step,
and the difference of those two courses is no response to any regime.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.polynomial import Polynomial

from configs.suite import Signatures
from experiments.kit.changes import changes
from experiments.kit.runs import METRICS, Context, Run
from experiments.kit.tables import CALM, RUN

VANILLA = "vanilla"
KEYS = [*RUN, "regime", "metric"]
COMPARISON = (*KEYS, "delta", "trend", "detrended", "vanilla", "difference")
LOSSES = (*RUN, "heldout_loss", "vanilla", "difference")
DEGREE = 2  # of the polynomial through a run's calm steps
AFTERMATH = 50  # steps after a regime that count neither as calm nor as the regime
FEWEST_STEPS = 30  # measured calm steps for a fit without the aftermath; with fewer it is left in


def tables(context: Context) -> dict[str, pd.DataFrame]:
    """The tables controls_comparison and control_losses."""
    return {
        "controls_comparison": comparison(context.made["regime_deltas"], context.runs, context.suite.signatures),
        "control_losses": losses(context.made["runs"]),
    }


@dataclass(frozen=True)
class CalmCourse(Run):
    """A run whose log holds, in place of each metric, what its calm steps say of its course through training.

    A polynomial of degree DEGREE through the calm steps, the AFTERMATH of regimes and the time before the first
    `lead` steps of the first regime left out.
    """

    lead: int = 100

    def metrics(self) -> pd.DataFrame:
        log = super().metrics()
        step, calm = log["step"].to_numpy(), log["regime"].to_numpy() == CALM
        if calm.all():
            return log
        acting = np.flatnonzero(~calm)
        since = np.searchsorted(acting, np.arange(len(log)))  # regime steps so far
        last = np.where(since > 0, acting[since - 1], -AFTERMATH - 1)
        late = calm & (np.arange(len(log)) >= acting[0] - self.lead)
        settled = late & (np.arange(len(log)) - last > AFTERMATH)
        for name in METRICS:
            if name not in log:
                continue
            values = log[name].to_numpy(dtype=float)
            seen = ~np.isnan(values)
            used = seen & (settled if (settled & seen).sum() >= FEWEST_STEPS else late)
            if used.sum() <= DEGREE:
                log[name] = np.nan
                continue
            course = Polynomial.fit(step[used], values[used], DEGREE)
            log[name] = np.where(seen, course(step), np.nan)
        return log


def comparison(deltas: pd.DataFrame, runs: Sequence[Run], settings: Signatures) -> pd.DataFrame:
    """One row a run, regime and metric.

    delta: mean in the window minus before (experiments/perturbation.py). trend: the same of the run's calm course, which is
    what time alone would have done; detrended: delta - trend. vanilla: delta of the same seed's run without any bias,
    under the same regime at the same steps; difference: delta - vanilla, NaN for channels that vanilla has not.
    """
    if deltas.empty:
        return pd.DataFrame(columns=list(COMPARISON))
    courses = [
        CalmCourse(run.suite, run.condition, run.seed, run.folder, run.config, lead=settings.pre_steps)
        for run in runs
    ]
    made = deltas[[*KEYS, "delta"]].merge(
        changes(courses, settings.pre_steps)[[*KEYS, "delta"]].rename(columns={"delta": "trend"}),
        on=KEYS,
        how="left",
    )
    base = made[made["condition"] == VANILLA].drop(columns=["condition", "trend"])
    made = made.merge(
        base.rename(columns={"delta": "vanilla"}), on=[key for key in KEYS if key != "condition"], how="left"
    )
    made["detrended"] = made["delta"] - made["trend"]
    made["difference"] = made["delta"] - made["vanilla"]
    return made[list(COMPARISON)]


def losses(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a run: held-out loss at the last step (nats a token), vanilla's of the same seed, and the difference."""
    base = runs[runs["condition"] == VANILLA].set_index("seed")["heldout_loss"]
    made = runs[[*RUN, "heldout_loss"]].copy()
    made["vanilla"] = made["seed"].map(base).astype(float)
    made["difference"] = made["heldout_loss"] - made["vanilla"]
    return made[list(LOSSES)]
