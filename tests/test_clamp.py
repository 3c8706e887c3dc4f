"""What clamping does by geometry alone: the cut of a path of known states, and the trained run's surplus over it."""

import numpy as np
import pandas as pd
import pytest

from experiments.clamp import EXPERIMENT, cut
from experiments.perturbation import EXPERIMENT as PERTURBATION
from tests.made_runs import MadeRun, context, made_run, make_tables, regimes_of

STEPS, LIMIT = 120, 0.1
WINDOW = ("self_clamp", 60, 90)
DIRECTION = np.array([0.4, 0.05, 0.02])


def run_of(condition: str, seed: int, drift: float = 0.0) -> MadeRun:
    """A state at rest from the first step on; a trained run's drift is higher by `drift` while the clamp acts."""
    acting = regimes_of(STEPS, [WINDOW]) if condition == "self" else np.full(STEPS, "calm")
    log = pd.DataFrame({"step": range(STEPS), "regime": acting, "prompt_effect": 0.5})
    log["state_ema_drift"] = drift * (acting == "self_clamp")
    for name in ("loss", "entropy", "top1", "entropy_last", "top1_last", "grad_norm", "state_norm", "state_drift", "state_effect",
                 "state_kl", "bias_norm"):  # fmt: skip
        log[name] = 1.0
    clamp = {"self_clamp": {"mode": "clamp", "limit": LIMIT}}
    return made_run(
        condition, seed, log, np.tile(DIRECTION, (STEPS, 1)), self_state={"dim": 3}, regimes=clamp
    )


def test_a_state_at_rest_is_turned_by_the_cut_alone() -> None:
    found = cut(run_of("self_calm", 1), LIMIT, 50, 90)
    clipped = np.clip(DIRECTION, -LIMIT, LIMIT)
    between = 1 - clipped @ DIRECTION / np.linalg.norm(clipped) / np.linalg.norm(DIRECTION)
    assert found["state_ema_drift"][:50] == pytest.approx(0, abs=1e-9)
    assert between > 0.05 and found["state_ema_drift"][51] == pytest.approx(
        between, rel=0.1
    )  # the average has hardly moved
    shrunk = np.linalg.norm(clipped) / np.linalg.norm(DIRECTION)
    effect = found["prompt_effect"]  # measured every 50 steps, as published
    assert effect[80] == pytest.approx(0.5 * shrunk) and effect[10] == 0.5 > effect[110] > 0.46
    assert 0 < found["state_ema_drift"][95] < 0.05  # let go, it comes back by a fifth a step


def test_what_trained_runs_show_beyond_the_cut_is_the_difference() -> None:
    runs = [run_of(name, seed, 0.9) for seed in (1, 2, 3) for name in ("self", "self_calm")]
    made = make_tables([*PERTURBATION.of("shakespeare"), *EXPERIMENT.of("shakespeare")], context(runs))[
        "clamp_geometry"
    ]
    drift = made[made["measure"] == "state_ema_drift"]
    assert len(drift) == 3 and drift["trained"].tolist() == pytest.approx([0.9] * 3)
    assert (drift["cut"] > 0.05).all() and (drift["beyond"] == drift["trained"] - drift["cut"]).all()
    frozen = [run_of(name, 1, 0.9) for name in ("self",)]
    assert make_tables([*PERTURBATION.of("shakespeare"), *EXPERIMENT.of("shakespeare")], context(frozen))[
        "clamp_geometry"
    ].empty
