"""Regimes, schedules, and applying them to batch, statistics, state or optimizer.

A schedule says which regime acts at each step; it is drawn whole, before training, from the run's seed. Applying a
regime is a pure function of what it acts on and a generator for that step.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from base.rng import Stream, generator
from configs.run import RunConfig
from configs.state import STATS, Clock, FilterBelief, OwnStats, RecordedStats, TrueRegime
from configs.world import CALM, RandomWindows, Recurring, Regime, Regimes, Windows
from self_state import Parts, SelfState, StateValue


def regimes_by_step(run: RunConfig) -> list[str]:
    """The regime that acts at each step of a run, or "calm": a list of `train.steps` names."""
    steps = run.train.steps
    names = [CALM] * steps
    if isinstance(run.schedule, Recurring):
        return _markov_chain(run.schedule, steps, generator(run.seed, Stream.SCHEDULE))
    for regime, start, end in windows(run):
        names[start:end] = [regime] * (end - start)
    return names


def windows(run: RunConfig) -> list[tuple[str, int, int]]:
    """The windows of a run's schedule, in order: (regime, start, end), half-open. A recurring one has none."""
    schedule = run.schedule
    if isinstance(schedule, Windows):
        return sorted(((w.regime, w.start, w.end) for w in schedule.windows), key=lambda window: window[1])
    if isinstance(schedule, RandomWindows):
        return _random_windows(schedule, run.train.steps, generator(run.seed, Stream.SCHEDULE))
    return []


def _random_windows(
    schedule: RandomWindows, steps: int, random: np.random.Generator
) -> list[tuple[str, int, int]]:
    """Each regime once, in random order. The spare calm steps are cut at random places, one a regime, into the gaps before them."""
    names = [str(name) for name in random.permutation(sorted(schedule.durations))]
    busy = sum(schedule.durations.values()) + schedule.washout * len(names)
    spare = steps - schedule.first - busy
    cuts = np.sort(
        random.integers(0, spare + 1, size=len(names))
    )  # spare steps before each regime, cumulated
    found = []
    start = schedule.first
    for name, before, extra in zip(names, [0, *cuts[:-1]], cuts, strict=True):
        start += int(extra - before)
        end = start + schedule.durations[name]  # type: ignore[index]
        found.append((name, start, end))
        start = end + schedule.washout
    return found


def _markov_chain(schedule: Recurring, steps: int, random: np.random.Generator) -> list[str]:
    """Calm at first; each step enters one of the regimes, all alike, or leaves the present one."""
    switch = random.random(steps)
    which = random.integers(0, len(schedule.regimes), size=steps)
    names: list[str] = []
    now: str = CALM
    for step in range(steps):
        if step >= max(schedule.first, 1):
            if now == CALM and switch[step] < schedule.enter:
                now = schedule.regimes[which[step]]
            elif now != CALM and switch[step] < schedule.leave:
                now = CALM
        names.append(now)
    return names


def perturb_batch(
    regime: str,
    x: np.ndarray,
    y: np.ndarray,
    regimes: Regimes,
    vocab_size: int,
    random: Callable[[], np.random.Generator],
) -> tuple[np.ndarray, np.ndarray]:
    """The batch as a regime lets the model see it.

    Args:
        x, y: (B, T) int64 inputs and targets; not changed in place.
        vocab_size: targets are replaced by uniform draws from [0, vocab_size), those below zero, which are not scored, by
            none; inputs by the mask token, `vocab_size` itself, or by token 0.
        random: makes the step's generator.

    Returns:
        (x, y), the same objects where the regime does not act on them.
    """
    if regime == "bewilderment":
        drawn = random()
        hit = drawn.random(y.shape) < regimes.bewilderment.probability
        return x, np.where(hit & (y >= 0), drawn.integers(0, vocab_size, size=y.shape), y)
    if regime == "sensory_fog":
        token = vocab_size if regimes.sensory_fog.token == "mask" else 0
        return np.where(random().random(x.shape) < regimes.sensory_fog.probability, token, x), y
    return x, y


def perturb_stats(regime: str, stats: Tensor, regimes: Regimes) -> Tensor:
    """The statistics (5,) as the self-state sees them: false_feedback adds its constants, in raw units."""
    if regime != "false_feedback":
        return stats
    added = regimes.false_feedback
    return stats + torch.tensor([getattr(added, name) for name in STATS], device=stats.device)


def update_state(
    regime: str,
    self_state: SelfState,
    value: StateValue,
    stats: Tensor,
    regimes: Regimes,
    random: Callable[[], np.random.Generator],
) -> tuple[StateValue, Parts | None]:
    """One update of the self-state, as the regime allows it, and its parts. Only self_clamp changes anything:

    freeze holds the state where it is; clamp limits each component to +-limit; noise adds N(0, std) to each
    component; scale multiplies the state by factor. The last three act on the updated state and pass gradient.

    random: makes the step's generator.
    """
    clamp = regimes.self_clamp
    if regime != "self_clamp":
        return self_state.update(value, stats)
    if clamp.mode == "freeze":
        return self_state.update(value, stats, hold=True)
    value, parts = self_state.update(value, stats)
    if clamp.mode == "clamp":
        return replace(value, state=value.state.clamp(-clamp.limit, clamp.limit)), parts
    if clamp.mode == "noise":
        noise = random().normal(0.0, clamp.std, size=tuple(value.state.shape)).astype(np.float32)
        return replace(value, state=value.state + torch.from_numpy(noise).to(value.state.device)), parts
    return replace(value, state=value.state * clamp.factor), parts


def learning_rate_factor(regime: str, regimes: Regimes) -> float:
    """What the learning rate of a step is multiplied by."""
    return regimes.lr_heatwave.factor if regime == "lr_heatwave" else 1.0


REGIMES = get_args(Regime)
assert len(REGIMES) == len(STATS)  # the true regime takes the same five places as the statistics


def seen_positions(
    run: RunConfig, positions: int, random: Callable[[], np.random.Generator]
) -> np.ndarray | None:
    """Which positions of a batch the senses see, (tokens,) int64 in the flat batch; None: all of them."""
    senses = run.self_state.senses
    if not isinstance(senses, OwnStats) or senses.tokens is None:
        return None
    return random().choice(positions, senses.tokens, replace=False)


def remembered(run: RunConfig, past: Tensor | None, newest: Tensor) -> Tensor:
    """The statistics that later steps may still ask for, (k, 5), the newest (5,) last."""
    senses = run.self_state.senses
    age = senses.age if isinstance(senses, OwnStats) else 1
    rows = newest[None] if past is None else torch.cat([past, newest[None]])
    return rows[-age:]


def shown(
    run: RunConfig, step: int, regime: str, stats: Tensor | None, recorded: np.ndarray | None
) -> Tensor | None:
    """The five numbers (5,) float32 that the self-state gets at a step, or None where there is nothing to show yet.

    Args:
        regime: the one that acts on this step. false_feedback acts on statistics that the run itself measured.
        stats: what `remembered` returned last; None before the first step is done.
        recorded: (steps, 5) float32 of what was settled before the run began, for a self-state that is shown another
            run's statistics or an ideal observer's belief; NaN where there is nothing.
    """
    senses = run.self_state.senses
    if isinstance(senses, TrueRegime):
        return torch.tensor([float(regime == name) for name in REGIMES])
    if isinstance(senses, Clock):
        return torch.tensor([step / run.train.steps if name == "progress" else 0.0 for name in STATS])
    if isinstance(senses, RecordedStats | FilterBelief):
        assert recorded is not None
        row = recorded[step]
        return None if np.isnan(row).any() else torch.from_numpy(row)
    if stats is None or len(stats) < senses.age:
        return torch.zeros(len(STATS)) if senses.from_zero else None
    return perturb_stats(regime, stats[-senses.age], run.regimes)
