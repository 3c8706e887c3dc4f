"""Runs in recurring worlds, taken apart for `beliefs`: what they were shown, what could be known from it, and how much of
that their states and what these are held against tell.

For each run the forward filter (kit/filtering.py) says what could be known of the regime of each step from all statistics
shown until then. Its emission is fitted on the other seeds' runs; no regime of the run itself is used. Then that posterior,
and the true regime, are read linearly from the state.

The axes of a state mean nothing in another seed, and move while the network learns. So the reading is fitted within the run,
on earlier steps, and tested on later ones, a stay's length apart: three blocks of the run's last 60 %, each read by what the
steps before it taught (kit/readout.py). Everything that rivals the state is read the same way.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from base.rng import Stream, generator
from configs.run import RunConfig
from configs.state import STATS, OwnStats
from configs.world import Recurring
from experiments.kit import filtering
from experiments.kit.filtering import Chain, Emission, Log
from experiments.kit.readout import auc, blocks, decoded, r_squared
from experiments.kit.replay import Replay, fed, untrained
from experiments.kit.runs import Context, Run
from experiments.kit.tables import CALM, stack

EVIDENCE = STATS[:-1]  # what tells regimes; progress does not
STATE, BATCH, AVERAGES, UNTRAINED = "state", "statistics", "averages", "untrained"  # sources
SHUFFLE, FILTER = "shuffle", "filter"
POSTERIOR, REGIME = "posterior", "regime"  # targets
TWIN = "twin posterior"  # of the run without a state, of the same world and seed: one target for state and untrained
ANY = "any"  # that some regime acts, whichever
EXAMPLE = 400  # steps of belief_example, the last ones
APART = 25  # steps at most between the two of a pair in batch_auc
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


def recurring(context: Context) -> list[Run]:
    """The runs of a suite in recurring worlds, by condition and seed, but those that go on from another."""
    runs = [
        run for run in context.runs if isinstance(run.config.schedule, Recurring) and not run.config.first
    ]
    return sorted(runs, key=lambda run: (run.condition, run.seed))


def chain_of(run: Run) -> Chain:
    assert isinstance(run.config.schedule, Recurring)
    return filtering.chain(run.config.schedule)


def logged(run: Run) -> tuple[Run, Log]:
    """A run with the evidence that it logged, all steps; gradient norms as logarithms: their spread grows with their size."""
    log = run.metrics()
    values = _evidence(log[list(EVIDENCE)].to_numpy(float))
    return run, Log(log["step"].to_numpy(), values, log["regime"].to_numpy(dtype=str))


def _evidence(values: np.ndarray) -> np.ndarray:
    return np.column_stack([values[:, :-1], np.log(np.maximum(values[:, -1], 1e-12))])


def subjects(runs: Sequence[Run]) -> list[Subject]:
    """Of runs in recurring worlds those with a state, taken apart, but for those with too few steps."""
    known = [logged(run) for run in runs]
    return [one for run, log in known if (one := _subject(run, log, known)) is not None]


def _subject(run: Run, log: Log, known: Logged) -> Subject | None:
    states, first = run.states(), max(run.config.train.warmup_steps, 1)
    if states is None or len(log.steps) < first + 10:
        return None
    full, chain, steps = is_full(run), chain_of(run), log.steps[first:]
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
    worlds = [(one.seed, one.config.schedule, one.config.regimes) for one in (run, other)]
    return worlds[0] == worlds[1] and not other.config.injects


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


def readings(context: Context) -> dict[str, pd.DataFrame]:
    """Two tables, from all runs whose schedule is recurring. Posteriors need a second seed.

    beliefs: a row a run, source, target and regime. r2, auc: of the target's reading, over `steps` tested ones; means over
    draws where a source has several.
    belief_example: of each condition's run in the middle by r2, so that what is shown is not the best, the last steps:
    step, regime, the posterior that any regime acts, what is read of it from the state (decoded) and from averages.
    """
    asked = subjects(recurring(context))
    scored, examples = [], []
    for condition in dict.fromkeys(subject.run.condition for subject in asked):
        ranked = []
        for subject in (one for one in asked if one.run.condition == condition):
            rows = pd.DataFrame(
                _scores(subject), columns=["source", "target", "regime", "r2", "auc", "steps"]
            )
            scored.append(subject.run.label(rows))
            mine = rows[(rows["source"] == STATE) & (rows["target"] == POSTERIOR)]["r2"].head(1).dropna()
            ranked += [(r2, subject.run.seed, subject) for r2 in mine]
        ranked.sort(key=lambda one: one[:2])
        for _, _, subject in ranked[(len(ranked) - 1) // 2 :][:1]:
            if is_full(subject.run):
                examples.append(subject.run.label(_example(subject)))
    return {"beliefs": stack(scored), "belief_example": stack(examples)}


def _goals(
    subject: Subject, own: np.ndarray | None, twin: np.ndarray | None = None
) -> dict[tuple[str, str], np.ndarray]:
    """What is to be read, (n,) by target and regime: the posteriors that there are, and the truth.

    Of each the chance that ANY regime acts, where there are several, and that of each.
    """
    names = subject.chain.names
    acting = np.column_stack([subject.regimes == name for name in names]).astype(float)
    found: dict[tuple[str, str], np.ndarray] = {}
    for target, each in ((POSTERIOR, own), (REGIME, acting), (TWIN, twin)):
        if each is not None:
            found |= {(target, ANY): each[:, 1:].sum(1)} if len(names) > 2 else {}
            found |= {(target, name): column for name, column in zip(names[1:], each.T[1:], strict=True)}
    return found


def _scores(subject: Subject) -> list[tuple[str, str, str, float, float, int]]:
    """Rows of `beliefs` of one run. A posterior counts as true above one half."""
    parts = blocks(subject.steps, subject.run.config.train.steps)
    if not parts:
        return []
    tested, rows = np.concatenate([np.arange(len(subject.steps))[block.tested] for block in parts]), []

    def add(source: str, goals: dict[tuple[str, str], np.ndarray], reads: Iterable[np.ndarray]) -> None:
        for place, ((target, regime), column) in enumerate(goals.items()):
            truth, found = column[tested], [read[tested, place] for read in reads]
            r2, area = np.mean([(r_squared(truth, one), auc(truth > 0.5, one)) for one in found], axis=0)
            rows.append((source, target, regime, r2, area, len(tested)))

    for source, given in sources(subject).items():
        of_twin = subject.twin_posterior if source in (STATE, UNTRAINED) else None
        goals = _goals(subject, of_twin if source == UNTRAINED else subject.posterior, of_twin)
        y = np.column_stack([*goals.values()])
        add(source, goals, [decoded(x, y, parts) for x in given])
    if subject.posterior is not None:
        goals = _goals(subject, subject.posterior)
        believed = np.column_stack([column for (target, _), column in goals.items() if target == POSTERIOR])
        add(FILTER, {place: column for place, column in goals.items() if place[0] == REGIME}, [believed])
    return rows


def _example(subject: Subject) -> pd.DataFrame:
    """Rows of `belief_example`."""
    assert subject.posterior is not None
    parts = blocks(subject.steps, subject.run.config.train.steps)
    y = 1 - subject.posterior[:, :1]
    read, averages = (decoded(x, y, parts)[:, 0] for x in (subject.states, averaged(subject)))
    made = {
        "step": subject.steps,
        "regime": subject.regimes,
        "posterior": y[:, 0],
        "decoded": read,
        "averages": averages,
    }
    return pd.DataFrame(made).dropna().tail(EXAMPLE)


def batch_auc(context: Context) -> pd.DataFrame:
    """A row a run and regime: how well the loss of one batch alone tells the regime from calm.

    auc: the share of `pairs` of one step under the regime and one in calm, at most APART steps apart and after warm-up, in
    which the regime's loss is the higher; ties count half. Pairs so near in time share their place in training, so no
    trend has to be taken off, and none can help or hide.
    """
    parts = []
    for run in recurring(context):
        if run.config.injects and not is_full(run):
            continue
        log = run.metrics()
        log = log[log["step"] >= run.config.train.warmup_steps]
        loss, regimes, rows = log["loss"].to_numpy(), log["regime"].to_numpy(dtype=str), []
        calm = np.flatnonzero(regimes == CALM)
        for name in chain_of(run).names[1:]:
            acting = np.flatnonzero(regimes == name)
            higher = np.sign(loss[acting][:, None] - loss[calm])[np.abs(acting[:, None] - calm) <= APART]
            area = (higher.mean() + 1) / 2 if len(higher) else np.nan
            rows.append({"regime": name, "auc": area, "pairs": len(higher)})
        parts.append(run.label(pd.DataFrame(rows)))
    return stack(parts)
