"""Runs in recurring worlds, taken apart for `beliefs`: what they were shown, what could be known from it, and what their
states are held against."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from base.rng import Stream, generator
from configs.run import RunConfig
from configs.state import OwnStats
from configs.world import Recurring
from experiments.kit import filtering
from experiments.kit.filtering import Chain, Emission, Log
from experiments.kit.replay import STATS, Replay, fed, untrained
from experiments.kit.runs import Run

EVIDENCE = STATS[:-1]  # what tells regimes; progress does not
STATE, BATCH, AVERAGES, UNTRAINED, SHUFFLE = "state", "statistics", "averages", "untrained", "shuffle"
DRAWS = 3  # of untrained networks, and of turns
FIRST_COUNTER = 2_600_000  # of their generators in the ANALYSIS stream: networks; 500_000 on: turns
Logged = Sequence[tuple[Run, Log]]


@dataclass(frozen=True)
class Subject:
    """A run and what is asked of it, at `steps` (n,), those after warm-up.

    states (n, dim). posterior (n, K): None where no other seed was there to fit an emission on. regimes (n,) str.
    shown (n, d): all that one batch tells, see `shown`. twin: the run without a state in the same world and of the same
    seed, whose statistics an untrained network is shown, with its own posterior.
    """

    run: Run
    chain: Chain
    steps: np.ndarray
    states: np.ndarray
    posterior: np.ndarray | None
    regimes: np.ndarray
    shown: np.ndarray
    twin: Run | None = None
    twin_posterior: np.ndarray | None = None


def is_full(run: Run) -> bool:
    """Whether a run's state is shown its own newest statistics, so that it can be held against them."""
    senses = run.config.self_state.senses
    return run.config.self_state.enabled and isinstance(senses, OwnStats) and senses.age == 1


def logged(run: Run) -> tuple[Run, Log]:
    """A run with the evidence that it logged, all steps; gradient norms as logarithms: their spread grows with their size."""
    log = run.metrics()
    values = _evidence(log[list(EVIDENCE)].to_numpy(float))
    return run, Log(log["step"].to_numpy(), values, log["regime"].to_numpy(dtype=str))


def _evidence(values: np.ndarray) -> np.ndarray:
    return np.column_stack([values[:, :-1], np.log(np.maximum(values[:, -1], 1e-12))])


def subjects(runs: Sequence[Run]) -> list[Subject]:
    """All runs of a suite in recurring worlds whose states are logged, but those with too few steps."""
    known = [logged(run) for run in runs if isinstance(run.config.schedule, Recurring)]
    return [one for run, log in known if (one := _subject(run, log, known)) is not None]


def _subject(run: Run, log: Log, known: Logged) -> Subject | None:
    states, first, schedule = run.states(), max(run.config.train.warmup_steps, 1), run.config.schedule
    if states is None or len(log.steps) < first + 10 or not isinstance(schedule, Recurring):
        return None
    full, chain, steps = is_full(run), filtering.chain(schedule), log.steps[first:]
    emission = _emission(run, known, chain)
    made = Subject(
        run=run,
        chain=chain,
        steps=steps,
        states=states[first:].astype(float),
        posterior=_posterior(emission, chain, log, steps, run.config if full else None),
        regimes=log.regimes[first:],
        shown=shown(run, log, emission)[first - 1 :],
    )
    for twin, its_log in known if full else ():
        if _are_twins(run, twin):
            its = _posterior(_emission(twin, known, chain), chain, its_log, steps, run.config)
            return replace(made, twin=twin, twin_posterior=its)
    return made


def _are_twins(run: Run, other: Run) -> bool:
    one, two = run.config, other.config
    return (
        other.seed == run.seed
        and not two.injects
        and (one.schedule, one.regimes) == (two.schedule, two.regimes)
    )


def _emission(run: Run, known: Logged, chain: Chain) -> Emission | None:
    """The emission of all other seeds of a run's condition, after warm-up; None without one."""
    late = slice(max(run.config.train.warmup_steps, 1) - 1, None)
    others = [log for one, log in known if one.condition == run.condition and one.seed != run.seed]
    parts = [Log(log.steps[late], log.values[late], log.regimes[late]) for log in others]
    return filtering.fit(parts, chain.names) if parts else None


def _feedback(config: RunConfig) -> np.ndarray:
    """What false_feedback adds to each of EVIDENCE, (D,)."""
    return np.array([getattr(config.regimes.false_feedback, name) for name in EVIDENCE])


def _posterior(
    emission: Emission | None, chain: Chain, log: Log, steps: np.ndarray, feels: RunConfig | None
) -> np.ndarray | None:
    """The filter's belief at each step; `feels`: whose false_feedback is added to what is shown, a known constant."""
    if emission is None:
        return None
    shown = log.values[steps - 1]
    if feels is None or "false_feedback" not in chain.names:
        return filtering.belief(emission, chain, steps, shown)
    raw = np.column_stack([shown[:, :-1], np.exp(shown[:, -1])])
    moved = _evidence(raw + _feedback(feels)) - shown  # (n, D), what the regime adds at each step
    added = np.zeros((len(steps), len(chain.names), shown.shape[1]))
    added[:, chain.names.index("false_feedback")] = moved
    acts = (log.regimes[steps] == "false_feedback")[:, None]
    return filtering.belief(emission, chain, steps, shown + acts * moved, added)


def shown(run: Run, log: Log, emission: Emission | None) -> np.ndarray:
    """All that a batch tells at the step after it, from the second step on, (steps - 1, d): a strong rival to the state.

    The five statistics through running moments, whether or not the run's own state has those; and, where other seeds
    give their trend, the evidence without it, in units of its spread in calm, which the state never had.
    """
    inputs = fed(run.metrics(), run.config)
    if emission is None:
        return inputs
    spread = np.sqrt(np.diag(emission.covariances[0]))
    away = (log.values[:-1] - emission.means(log.steps[:-1])[:, 0]) / spread
    if "false_feedback" in emission.names:
        acts = log.regimes[1:] == "false_feedback"
        away[:, :-1] += np.outer(acts, _feedback(run.config)[:-1]) / spread[:-1]
    return np.column_stack([inputs, away])


def averaged(subject: Subject) -> np.ndarray:
    """The exponential moving average (n, d) of what was shown, which the state would be, were its network the identity."""
    decay = subject.run.config.self_state.decay
    return pd.DataFrame(subject.shown).ewm(alpha=decay, adjust=False).mean().to_numpy()


def untrained_states(subject: Subject) -> list[np.ndarray]:
    """The states (n, dim) of networks that were never trained, shown the statistics of the twin without a state.

    Regimes that act on statistics or state act on them as in the subject's run. Empty without a twin, and for a state
    with a memory or another kind of network.
    """
    run, settings = subject.run, subject.run.config.self_state
    if subject.twin is None or settings.update != "mlp" or settings.memory.kind != "none":
        return []
    log = subject.twin.metrics()
    inputs = fed(log, run.config, settings.standardise)
    found = []
    for draw in range(DRAWS):
        made = Replay(
            run=run,
            network=untrained(settings, 0, FIRST_COUNTER + 100 * run.seed + draw),
            steps=log["step"].to_numpy()[1:],
            inputs=inputs,
            regimes=log["regime"].to_numpy(dtype=str)[1:],
            states=np.zeros((len(log), settings.dim)),
            late=np.full(len(log) - 1, True),
        )
        found.append(made.path(inputs)[subject.steps - 1])
    return found


def sources(subject: Subject) -> dict[str, list[np.ndarray]]:
    """What a target is read from, by name: one array (n, d) a draw."""
    run, n, states = subject.run, len(subject.steps), subject.states
    if not is_full(run):
        return {STATE: [states]}
    fresh = untrained_states(subject)
    random = generator(0, Stream.ANALYSIS, FIRST_COUNTER + 500_000 + run.seed)
    turned = [np.roll(states, int(turn), axis=0) for turn in random.integers(n // 5, n - n // 5, size=DRAWS)]
    rivals = {BATCH: [subject.shown], AVERAGES: [averaged(subject)], **({UNTRAINED: fresh} if fresh else {})}
    return {STATE: [states], **rivals, SHUFFLE: turned}
