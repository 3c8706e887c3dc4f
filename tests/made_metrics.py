"""Logs of runs that were never trained, shaped like real ones, and all tables of them: bewilderment and fog move the loss,
self_clamp stills the state, and its path is nearly the clock's."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments import perturbation, runs, training
from experiments.kit.tables import stack
from tests.made_runs import MadeRun, context, made_run, make_tables

WINDOWS = (
    ("lr_heatwave", 300, 350),
    ("sensory_fog", 600, 800),
    ("false_feedback", 900, 1000),
    ("self_clamp", 1100, 1200),
    ("bewilderment", 1200, 1400),
)
CONDITIONS = ("self", "self_calm", "vanilla", "vanilla_calm", "self_random", "vanilla_random")


def _windows_of(condition: str, seed: int, steps: int) -> list[tuple[str, int, int]]:
    scaled = [(name, start * steps // 2000, end * steps // 2000) for name, start, end in WINDOWS]
    if condition.endswith("_calm"):
        return []
    if condition.endswith("_random"):
        order = np.random.default_rng(seed).permutation(len(scaled))
        start, made = 200 * steps // 2000, []
        for index in order:
            name, old_start, old_end = scaled[index]
            start += int(np.random.default_rng((seed, index)).integers(40, 190)) * steps // 2000
            made.append((name, start, start + old_end - old_start))
            start += old_end - old_start
        return made
    return scaled


def made(condition: str, seed: int, steps: int) -> MadeRun:
    """A run: a falling loss, regimes that move some channels, noise."""
    batch = np.random.default_rng((1, seed))  # shared by the conditions of a seed, as batches are
    own = np.random.default_rng((2, seed, *condition.encode()))
    step = np.arange(steps)
    t = step / steps
    regime = np.full(steps, "calm", dtype=object)
    for name, start, end in _windows_of(condition, seed, steps):
        regime[start:end] = name
    hit = {name: (regime == name).astype(float) for name, _, _ in WINDOWS}
    noise = batch.normal(0, 1, steps)
    loss = 1.72 + 0.8 * np.exp(-2.6 * t) + 1.7 * np.exp(-t * 45) + 0.05 * noise + own.normal(0, 0.01)
    loss += 1.75 * hit["bewilderment"] + 0.32 * hit["sensory_fog"]
    entropy = 1.0 * loss + 0.07 - 0.25 * hit["bewilderment"] + own.normal(0, 0.02, steps)
    made = pd.DataFrame({"step": step, "regime": regime, "loss": loss, "entropy": entropy})
    made["top1"] = np.clip(0.92 - 0.25 * entropy + own.normal(0, 0.004, steps), 0.02, 1)
    made["entropy_last"], made["top1_last"] = (
        made[name] + own.normal(0, 0.004, steps) for name in ("entropy", "top1")
    )
    made["grad_norm"] = (
        1 + t + 1.5 * np.exp(-t * 60) + 0.1 * own.normal(0, 1, steps) - 0.3 * hit["bewilderment"]
    )
    made["progress"], made["lr"] = t, 1e-3 * (1 - 0.9 * t)
    if condition.startswith("vanilla"):
        for channel in (
            "state_norm",
            "state_drift",
            "state_ema_drift",
            "state_effect",
            "state_kl",
            "prompt_effect",
        ):
            made[channel] = np.nan
    else:
        bump = pd.Series(hit["sensory_fog"] - hit["bewilderment"]).ewm(alpha=0.02).mean().to_numpy()
        scale = 1 + 0.15 * batch.normal()
        made["state_norm"] = scale * (0.3 / (1 + np.exp(-9 * (t - 0.35))) + 0.05 * bump) + own.normal(
            0, 0.001, steps
        )
        drift = 0.0012 * np.exp(own.normal(0, 0.4, steps)) * (1 + hit["lr_heatwave"]) + 0.01 * np.exp(
            -step / 5
        )
        made["state_drift"] = np.where(hit["self_clamp"] > 0, 0.0, drift)
        made["state_ema_drift"] = np.exp(-0.4 - 9 * t + own.normal(0, 0.3, steps) + 2 * np.abs(bump))
        made["state_ema_drift"] += 0.3 * hit["self_clamp"]
        effect = np.maximum(0.55 * t - 0.15 * np.abs(bump) + own.normal(0, 0.01, steps), 0)
        made["state_effect"] = np.where(step % 10 == 0, effect, np.nan)
        made["state_kl"] = made["state_effect"] ** 2 / 2
        made["prompt_effect"] = 0.5 * made["state_effect"]
    measured = ((step + 1) % max(steps // 8, 1) == 0) | (step == steps - 1)
    made["heldout_loss"] = np.where(measured, loss + 0.08, np.nan)
    made["bias_norm"] = made["state_norm"]
    states = np.outer(t, np.arange(1, 5)) + np.cumsum(own.normal(0, 0.003, (steps, 4)), axis=0)
    return made_run(condition, seed, made, None if condition.startswith("vanilla") else states)


def tables(seeds: int, steps: int = 400, conditions: Sequence[str] = CONDITIONS) -> dict[str, pd.DataFrame]:
    """What the experiments training and perturbation draw and tell of such runs, and what every suite has of them."""
    some = [made(condition, seed, steps) for condition in conditions for seed in range(1, seeds + 1)]
    makers = [*training.EXPERIMENT.of("shakespeare"), *perturbation.EXPERIMENT.of("shakespeare")]
    found = make_tables(makers, context(some))
    found |= {"metrics": runs.metrics(context(some)), "windows": runs.windows(context(some))}
    rows = [run.label(run.metrics()[["heldout_loss"]].iloc[-1:]) for run in some]
    return found | {"runs": stack(rows).assign(steps=steps, dtype="float32", corpus="x", parameters=800_000)}
