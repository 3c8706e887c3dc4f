"""Recurring worlds made in memory: schedules from the true chain, statistics by regime, states that hold what is asked."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

import perturb
from configs.state import STATS
from configs.world import Recurring
from tests.made_runs import MadeRun, made_run, regimes_of

STEPS = 1000
BEWILDERED = ("bewilderment",)
FIVE: tuple[Any, ...] = ("bewilderment", "sensory_fog", "false_feedback", "self_clamp", "lr_heatwave")
SHIFTS = {  # of loss, entropy, confidence, gradient norm, in standard deviations of one batch, and how strong
    "bewilderment": (1.0, 0.4, -0.3, 0.5),
    "sensory_fog": (0.6, 1.0, -1.0, 0.0),
    "lr_heatwave": (0.2, 0.0, 0.0, 0.4),
}
SIZES = np.array([0.06, 0.05, 0.01, 0.05])


def log_of(
    seed: int, names: Sequence[str] = BEWILDERED, strength: float = 1.0, steps: int = STEPS
) -> pd.DataFrame:
    """A log whose loss falls with training, with the shifts of the regimes that the seed's own schedule draws."""
    fields: dict[str, Any] = {"kind": "recurring", "regimes": tuple(names), "enter": 0.04, "leave": 0.04}
    chain = Recurring(**fields)
    regimes = np.array(perturb._markov_chain(chain, steps, np.random.default_rng((7, seed))))
    random = np.random.default_rng((8, seed))
    step = np.arange(steps)
    trend = np.column_stack(
        [
            1.9 + 2 * np.exp(-step / 150),
            1.9 + 2 * np.exp(-step / 150),
            0.5 - 0.4 * np.exp(-step / 150),
            0.8 + 0 * step,
        ]
    )
    shifts = np.array([SHIFTS.get(name, (0.0,) * 4) for name in regimes]) * strength
    values = trend + (shifts + random.normal(size=(steps, 4))) * SIZES
    log = pd.DataFrame(values, columns=list(STATS[:4]))
    log.insert(0, "step", step)
    log.insert(1, "regime", regimes)
    log["progress"] = step / steps
    return log


def evidence(log: pd.DataFrame, decay: float) -> np.ndarray:
    """(steps,) a running average of each step's past losses without their trend: a belief of a kind."""
    loss = log["loss"].to_numpy() - 1.9 - 2 * np.exp(-log["step"].to_numpy() / 150)
    return np.concatenate(
        [[0], pd.Series(loss / SIZES[0]).ewm(alpha=decay, adjust=False).mean().to_numpy()[:-1]]
    )


def world(
    condition: str,
    vanilla: str,
    seeds: Sequence[int],
    names: Sequence[str] = BEWILDERED,
    strength: float = 1.0,
    steps: int = STEPS,
    knows: bool = True,
    probability: float = 0.5,
) -> list[MadeRun]:
    """Runs with a state of 6 dimensions in axes of their own, and their twins without. With `knows`, one of the axes
    holds `evidence` beside noise; else all are noise."""
    fields: dict[str, Any] = {
        "schedule": {"kind": "recurring", "regimes": tuple(names), "enter": 0.04, "leave": 0.04},
        "train": {"steps": steps, "warmup_steps": min(50, steps // 10)},
        "regimes": {"bewilderment": {"probability": probability}},
    }
    made = []
    for seed in seeds:
        log = log_of(seed, names, strength, steps)
        random = np.random.default_rng((9, seed))
        inner = 0.3 * random.normal(size=(steps, 6)).cumsum(0) * 0.05 + 0.05 * random.normal(size=(steps, 6))
        if knows:
            inner[:, 0] += evidence(log, 0.15)
            inner[:, 1] += (
                pd.Series(log["entropy"] - log["loss"]).ewm(alpha=0.2).mean().shift(1, fill_value=0) * 10
            )
        axes, _ = np.linalg.qr(random.normal(size=(6, 6)))
        state = {"dim": 6, "standardise": True, "init": "default", "decay": 0.2}
        made.append(
            made_run(condition, seed, log, (inner @ axes).astype(np.float32), self_state=state, **fields)
        )
        made.append(made_run(vanilla, seed, log, None, self_state={"enabled": False}, **fields))
    return made


def regimes(steps: int) -> np.ndarray:
    """Calm and bewilderment by turns, fifty steps each."""
    return regimes_of(steps, [("bewilderment", start, start + 50) for start in range(50, steps, 100)])


def shifts_of(condition: str, seeds: Sequence[int], moves: float, total: float = 0.5) -> pd.DataFrame:
    """Rows of belief_shifts: the mean of bewilderment takes off the share `moves` of the KL, nothing else much."""
    random = np.random.default_rng(len(condition))
    rows = []
    for seed in seeds:
        whole = total + 0.03 * random.normal()
        cases = [("calm", "calm", 0, 0.0), ("zero", "none", 0, -0.1), ("regime", "bewilderment", 0, moves)]
        cases += [("mirrored", "bewilderment", 0, -0.5 * moves), ("foreign", "bewilderment", 0, 0.02)]
        cases += [("random", "bewilderment", draw, 0.05 * random.normal()) for draw in range(3)]
        cases += [("optimum", "bewilderment", 0, 1.0)]
        if "mix" in condition:
            cases.append(("regime", "sensory_fog", 0, 0.01))
        for state, regime, draw, share in cases:
            noise = 0.0 if state in ("calm", "optimum") else 0.02 * random.normal() * total
            kl = max(whole * (1 - share) + noise, 0.0)
            rows.append(
                {
                    **{"suite": "s", "condition": condition, "seed": seed, "run_step": 1000, "state": state},
                    **{"regime": regime, "draw": draw, "distance": 1.0, "norm": 1.5, "kl": kl},
                    **{"kl_calm": abs(share) * 0.1, "entropy": 2 + 0.2 * share},
                    **{"nll_clean": 1.9 + 0.1 * abs(share), "nll_corrupted": 3 + kl},
                }
            )
    return pd.DataFrame(rows)
