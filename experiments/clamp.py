"""What clamping does to a state by geometry alone: the states of a run that was never clamped, cut off after the fact.

Of a calm run the targets of its updates are known, from its states. Taken once more with each number cut off at the clamp's
limit while the regime would act, the path shows what the cut does where nothing was trained under it. What the trained runs
show beyond that is the training's.
"""

import numpy as np
import pandas as pd

from experiments.kit import pages
from experiments.kit.experiment import Experiment
from experiments.kit.followed import off_average
from experiments.kit.published import repeated
from experiments.kit.runs import Context, Run
from experiments.kit.stats import mean_of_known, over_seeds
from experiments.kit.tables import CALM, RUN, Tables, of_condition, windows_of
from experiments.kit.words import Finding, difference

REGIME = "self_clamp"
MEASURES = ("state_ema_drift", "prompt_effect")


def clamp_geometry(context: Context, regime_deltas: pd.DataFrame) -> pd.DataFrame:
    """One row a seed and measure, during self_clamp minus before, in the measure's unit.

    trained: of the condition self, which was trained under the regime. cut: of self_calm's states, cut off in the same
    windows; the effect is scaled with the norm of the state. beyond: trained - cut.
    """
    limit = {run.seed: run.config.regimes.self_clamp for run in context.of("self")}
    windows = {run.seed: windows_of(run.metrics()) for run in context.of("self")}
    rows = []
    for run in context.of("self_calm"):
        window = windows.get(run.seed, pd.DataFrame(columns=["regime"]))
        window = window[window["regime"] == REGIME]
        if len(window) != 1 or limit[run.seed].mode != "clamp" or run.config.self_state.memory.kind != "none":
            continue
        start, end = (int(window.iloc[0][name]) for name in ("start", "end"))
        acting = (
            next(one for one in context.of("self") if one.seed == run.seed).metrics()["regime"].to_numpy()
        )
        before = np.flatnonzero(acting[:start] == CALM)[-context.suite.signatures.pre_steps :]
        for measure, values in cut(run, limit[run.seed].limit, start, end).items():
            rows.append({
                **dict(zip(RUN, (run.suite, "self", run.seed), strict=True)), "measure": measure,
                "cut": mean_of_known(values[start:end]) - mean_of_known(values[before]),
            })  # fmt: skip
    made = pd.DataFrame(rows, columns=[*RUN, "measure", "cut"])
    trained = regime_deltas[(regime_deltas["regime"] == REGIME) & (regime_deltas["condition"] == "self")]
    trained = trained.rename(columns={"metric": "measure", "delta": "trained"})[[*RUN, "measure", "trained"]]
    made = made.merge(trained, on=[*RUN, "measure"])
    return made.assign(beyond=made["trained"] - made["cut"])


def cut(run: Run, limit: float, start: int, end: int) -> dict[str, np.ndarray]:
    """MEASURES at each step, (steps,), of a run whose state had been cut off at +-limit in [start, end)."""
    states, log, decay = run.states(), run.metrics(), run.config.self_state.decay
    assert states is not None
    states = states.astype(float)
    past = np.concatenate([np.zeros_like(states[:1]), states[:-1]])
    targets = (states - (1 - decay) * past) / decay
    state, path = np.zeros(states.shape[1]), np.empty_like(states)
    for step, target in enumerate(targets):
        state = (1 - decay) * state + decay * target
        if start <= step < end:
            state = np.clip(state, -limit, limit)
        path[step] = state
    size = np.linalg.norm(path, axis=1)
    own = np.linalg.norm(states, axis=1)
    shrunk = np.divide(size, own, out=np.ones_like(size), where=own > 0)
    return {
        "state_ema_drift": off_average(path, np.zeros(states.shape[1])),
        "prompt_effect": repeated(log.assign(prompt_effect=log["prompt_effect"] * shrunk)).to_numpy(float),
    }


def findings(tables: Tables) -> dict[str, Finding]:
    """Whether trained runs show more than the cut."""
    rows = tables.rows("clamp_geometry")
    found, average, effect = {}, "from its average", "more of its effect"
    for measure, sign, unit, verb, more, less in (
        ("state_ema_drift", +1, "1 − cosine", "turn", f"further {average}", f"turns less far {average}"),
        ("prompt_effect", -1, "mean |Δ logit|", "lose", effect, f"keeps {effect}"),
    ):
        here = of_condition(rows[rows["measure"] == measure], "self")
        than = "than a calm run's that is cut off afterwards."
        found[f"clamp_{measure}"] = difference(
            f"A clamped run's state {verb}s {more} {than}", {"trained − cut": over_seeds(here, "beyond")}, sign, unit, 4,
            otherwise=f"A clamped run's state does not clearly {verb} {more} {than}", reverse=f"A clamped run's state {less} {than}",
        )  # fmt: skip
    return found


GRID = pages.grid(
    "clamp_geometry", head="measure", across="measure", order=MEASURES,
    trained=("trained under the clamp", "±4"), cut=("a calm run's states, cut off", "±4"), beyond=("that much more", "±4"),
)  # fmt: skip
EXPERIMENT = Experiment(
    "clamp", "What clamping does by geometry alone", (clamp_geometry,), findings, suites=("shakespeare",)
)
