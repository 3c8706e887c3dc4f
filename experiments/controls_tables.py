"""Tables of the controls: what regimes do to each, beyond what time alone does in its calm steps. See controls.py."""

import numpy as np
import pandas as pd

from experiments.kit import published
from experiments.kit.changes import changes
from experiments.kit.runs import METRICS, Context
from experiments.kit.tables import CALM, RUN, of_condition, stack

VANILLA, CALM_RUN, EFFECT = "vanilla", "self_calm", "prompt_effect"
CLAMP = "self_clamp"  # the regime that a state which never changes does not get over
DEGREE = 2  # of the polynomial through a run's calm steps
AFTERMATH = 50  # steps after a regime that count neither as calm nor as the regime
FEWEST_STEPS = 30  # measured calm steps for a fit without the aftermath; with fewer it is left in


def controls_comparison(context: Context, regime_deltas: pd.DataFrame) -> pd.DataFrame:
    """One row a run, regime and metric.

    delta: mean in the window minus before, of regime_deltas. trend: the same of the run's `calm_course`, which is what
    time alone would have done; detrended: delta - trend; relative: detrended over the absolute mean before. All three NaN
    for a run without regimes. vanilla: delta of the same seed's run without any bias, under the same regime at the same steps;
    difference: delta - vanilla, NaN for channels that vanilla has not.
    """
    keys, lead = [*RUN, "regime", "metric"], context.suite.signatures.pre_steps
    trends = changes(
        context.runs,
        lead,
        lambda run: calm_course(
            published.logged(run), lead, run.config.self_state.enabled and run.config.self_state.decay == 0
        ),
    )
    made = regime_deltas[[*keys, "delta", "before"]]
    plain = (
        of_condition(made, VANILLA).drop(columns=["condition", "before"]).rename(columns={"delta": "vanilla"})
    )
    made = made.merge(trends[[*keys, "delta"]].rename(columns={"delta": "trend"}), on=keys, how="left")
    made["detrended"] = made["delta"] - made["trend"]
    made["relative"] = made["detrended"] / made.pop("before").abs().where(lambda before: before > 0)
    made = made.merge(plain, on=[key for key in keys if key != "condition"], how="left")
    return made.assign(difference=made["delta"] - made["vanilla"])


def calm_course(log: pd.DataFrame, lead: int, cut: bool = False) -> pd.DataFrame:
    """A run's log with, in place of each metric, what its calm steps say of its course through training.

    A polynomial of degree DEGREE through the calm steps, the AFTERMATH of regimes and the time before the first
    `lead` steps of the first regime left out; NaN where these are too few. cut: a state that never changes stays cut off
    after self_clamp, so that the later calm steps lie higher or lower by one number, which is no part of the course.
    """
    step, place = log["step"].to_numpy(float), pd.Series(np.arange(len(log)))
    regime = log["regime"].to_numpy()
    calm = regime == CALM
    acting = place.where(~calm)
    late = calm & (place >= acting.min() - lead).to_numpy()
    settled = late & ~(place - acting.ffill() <= AFTERMATH).to_numpy()
    powers = np.vander((step - step.mean()) / max(np.ptp(step), 1), DEGREE + 1)
    level = np.maximum.accumulate(regime == CLAMP)[:, None] * float(cut)
    for name in METRICS:
        values = log[name].to_numpy(float)
        seen = ~np.isnan(values)
        used = seen & (settled if (settled & seen).sum() >= FEWEST_STEPS else late)
        enough = used.sum() > DEGREE + cut
        parts = np.linalg.lstsq(np.hstack([powers, level])[used], values[used])[0] if enough else None
        log[name] = np.where(seen, np.nan if parts is None else powers @ parts[: DEGREE + 1], np.nan)
    return log


def control_losses(context: Context, runs: pd.DataFrame) -> pd.DataFrame:
    """One row a run: heldout_loss at the last step (nats a token), vanilla's of the same seed, and the difference."""
    made = runs[[*RUN, "heldout_loss"]].copy()
    plain = of_condition(runs, VANILLA).set_index("seed")["heldout_loss"]
    made["vanilla"] = made["seed"].map(plain).astype(float)
    return made.assign(difference=made["heldout_loss"] - made["vanilla"])


def control_norms(context: Context) -> pd.DataFrame:
    """One row a run with regimes and a bias: the bias's mean norm before the first regime (norm_before) and over the run
    (norm), L2, and the means of prompt_effect over the same steps (effect_before, effect), mean |Δ logit|."""
    rows = []
    for run in context.runs:
        log = run.metrics()
        acting = np.flatnonzero(log["regime"] != CALM)
        if len(acting) and log["bias_norm"].notna().any():
            spans = {"_before": log.iloc[: acting[0]], "": log}
            kinds = {"norm": "bias_norm", "effect": EFFECT}
            found = {name + end: part[of].mean() for name, of in kinds.items() for end, part in spans.items()}
            rows.append(run.label(pd.DataFrame([found])))
    return stack(rows)


TABLES = (controls_comparison, control_losses, control_norms)
