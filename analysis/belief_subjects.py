"""Runs in recurring worlds, taken apart for analysis/beliefs.py: what they were shown, what could be known from it, and
what their states are held against."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from base.rng import Stream, generator
from configs.run import RunConfig
from configs.state import OwnStats, SelfState
from configs.world import Recurring
from experiments.kit import filtering
from experiments.kit.filtering import Chain, Emission, Log
from experiments.kit.replay import STATS, Network, Replay, standardised
from experiments.kit.runs import Run

EVIDENCE = STATS[:-1]  # what tells regimes; progress does not
STATE, BATCH, AVERAGES, UNTRAINED, SHUFFLE, FILTER = (
    "state", "statistics", "averages", "untrained", "shuffle", "filter",
)  # fmt: skip
DRAWS = 3  # of untrained networks, and of turns
FIRST_COUNTER = 2_600_000  # of their generators in the ANALYSIS stream: networks; 500_000 on: turns
Logs = Mapping[tuple[str, int], Log]


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


def log_of(run: Run) -> Log:
    """The evidence that a run logged, all steps; gradient norms as logarithms: their spread grows with their size."""
    log = run.metrics()
    values = _evidence(log[list(EVIDENCE)].to_numpy(float))
    return Log(log["step"].to_numpy(), values, log["regime"].to_numpy(dtype=str))


def _evidence(values: np.ndarray) -> np.ndarray:
    made = values.copy()
    made[..., -1] = np.log(np.maximum(made[..., -1], 1e-12))
    return made


def subject_of(run: Run, runs: Sequence[Run], logs: Logs) -> Subject | None:
    """A run with a self-state taken apart; `runs`: all runs of the suite. None where it has too few steps."""
    states, log = run.states(), logs[run.condition, run.seed]
    first = max(run.config.train.warmup_steps, 1)
    schedule = run.config.schedule
    assert isinstance(schedule, Recurring)
    if states is None or len(log.steps) < first + 10:
        return None
    found = filtering.chain(schedule)
    emission = _emission(run, runs, logs, found)
    made = Subject(
        run=run,
        chain=found,
        steps=log.steps[first:],
        states=states[first:].astype(float),
        posterior=_posterior(emission, found, log, log.steps[first:], run.config if is_full(run) else None),
        regimes=log.regimes[first:],
        shown=shown(run, log, emission)[first - 1 :],
    )
    twin = next((one for one in runs if _is_twin(one, run)), None)
    if twin is None or not is_full(run):
        return made
    its_log, its_emission = logs[twin.condition, twin.seed], _emission(twin, runs, logs, found)
    posterior = _posterior(its_emission, found, its_log, made.steps, run.config)
    return Subject(**{**vars(made), "twin": twin, "twin_posterior": posterior})


def _is_twin(one: Run, run: Run) -> bool:
    same = one.seed == run.seed and one.config.schedule == run.config.schedule
    return same and not one.config.injects and one.config.regimes == run.config.regimes


def _emission(run: Run, runs: Sequence[Run], logs: Logs, chain: Chain) -> Emission | None:
    """The emission of all other seeds of a run's condition, after warm-up; None without one."""
    first = max(run.config.train.warmup_steps, 1) - 1
    others = [
        logs[one.condition, one.seed]
        for one in runs
        if one.condition == run.condition and one.seed != run.seed
    ]
    late = [Log(log.steps[first:], log.values[first:], log.regimes[first:]) for log in others]
    return filtering.fit(late, chain.names) if late else None


def _posterior(
    emission: Emission | None, chain: Chain, log: Log, steps: np.ndarray, feels: RunConfig | None
) -> np.ndarray | None:
    """The filter's belief at each step; `feels`: whose false_feedback is added to what is shown, a known constant."""
    if emission is None:
        return None
    shown = log.values[steps - 1]
    if feels is None or "false_feedback" not in chain.names:
        return filtering.belief(emission, chain, steps, shown)
    raw = shown.copy()
    raw[:, -1] = np.exp(raw[:, -1])
    feedback = np.array([getattr(feels.regimes.false_feedback, name) for name in EVIDENCE])
    moved = _evidence(raw + feedback) - shown  # (n, D), what the regime adds at each step
    added = np.zeros((len(steps), len(chain.names), shown.shape[1]))
    added[:, chain.names.index("false_feedback")] = moved
    acts = (log.regimes[steps] == "false_feedback")[:, None]
    return filtering.belief(emission, chain, steps, shown + acts * moved, added)


def inputs_of(log: pd.DataFrame, settings: RunConfig, standardise: bool = True) -> np.ndarray:
    """What a self-state of these settings is shown from the second step on, (steps - 1, 5)."""
    feedback = [getattr(settings.regimes.false_feedback, name) for name in STATS]
    acts = log["regime"].to_numpy(dtype=str)[1:] == "false_feedback"
    seen = log[list(STATS)].to_numpy(float)[:-1] + np.outer(acts, feedback)
    return standardised(seen, settings.self_state) if standardise else seen


def shown(run: Run, log: Log, emission: Emission | None) -> np.ndarray:
    """All that a batch tells at the step after it, from the second step on, (steps - 1, d): a strong rival to the state.

    The five statistics through running moments, whether or not the run's own state has those; and, where other seeds
    give their trend, the evidence without it, in units of its spread in calm, which the state never had.
    """
    inputs = inputs_of(run.metrics(), run.config)
    if emission is None:
        return inputs
    spread = np.sqrt(np.diag(emission.covariances[0]))
    away = (log.values[:-1] - emission.means(log.steps[:-1])[:, 0]) / spread
    if "false_feedback" in emission.names:
        feedback = np.array([getattr(run.config.regimes.false_feedback, name) for name in EVIDENCE[:-1]])
        acts = log.regimes[1:] == "false_feedback"
        away[:, :-1] += np.outer(acts, feedback) / spread[:-1]
    return np.column_stack([inputs, away])


def averaged(values: np.ndarray, decay: float) -> np.ndarray:
    """The exponential moving average (n, d) that a state of this decay would be, were its network the identity."""
    return pd.DataFrame(values).ewm(alpha=decay, adjust=False).mean().to_numpy()


def random_network(settings: SelfState, counter: int) -> Network | None:
    """An update network of a run's shape and first distribution, never trained. None for kinds other than mlp."""
    if settings.update != "mlp":
        return None
    random = generator(0, Stream.ANALYSIS, counter)
    small = settings.init == "small"
    weights: dict[str, np.ndarray] = {}
    for layer, outputs, inputs in ((0, settings.hidden, len(STATS)), (2, settings.dim, settings.hidden)):
        shape, limit = (outputs, inputs), 1 / np.sqrt(inputs)
        weight = random.normal(0.0, 0.02, shape) if small else random.uniform(-limit, limit, shape)
        weights[f"network.{layer}.weight"] = weight
        weights[f"network.{layer}.bias"] = (
            np.zeros(outputs) if small else random.uniform(-limit, limit, outputs)
        )
    return Network("mlp", weights)


def untrained_states(subject: Subject, draws: Iterable[int] = range(DRAWS)) -> list[np.ndarray]:
    """The states (n, dim) of networks that were never trained, shown the statistics of the twin without a state.

    Regimes that act on statistics or state act on them as in the subject's run. Empty without a twin, and for a state
    with a memory or another kind of network.
    """
    run, twin, settings = subject.run, subject.twin, subject.run.config.self_state
    if twin is None or settings.update != "mlp" or settings.memory.kind != "none":
        return []
    log = twin.metrics()
    inputs = inputs_of(log, run.config, settings.standardise)
    found = []
    for draw in draws:
        network = random_network(settings, FIRST_COUNTER + 100 * run.seed + draw)
        assert network is not None
        made = Replay(
            run=run,
            network=network,
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
    run, n = subject.run, len(subject.steps)
    found = {STATE: [subject.states]}
    if not is_full(run):
        return found
    found |= {BATCH: [subject.shown], AVERAGES: [averaged(subject.shown, run.config.self_state.decay)]}
    untrained = untrained_states(subject)
    if untrained:
        found[UNTRAINED] = untrained
    random = generator(0, Stream.ANALYSIS, FIRST_COUNTER + 500_000 + run.seed)
    turns = random.integers(n // 5, n - n // 5, size=DRAWS)
    return {**found, SHUFFLE: [np.roll(subject.states, int(turn), axis=0) for turn in turns]}
