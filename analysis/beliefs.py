"""Does the state hold a belief about the regime? What can be read from it, beside what the evidence alone gives.

For each run in a recurring world the forward filter (analysis/filtering.py) says what could be known of the regime of
each step from all statistics shown until then. Its emission is fitted on the other seeds' runs; no regime of the run
itself is used. Then that posterior, and the true regime, are read linearly from the state.

The axes of a state mean nothing in another seed, and move while the network learns. So the reading is fitted within
the run, on earlier steps, and tested on later ones, a stay's length apart: three blocks of the run's last 60 %, each
read by what the steps before it taught (analysis/readout.py). Everything that rivals the state is read the same way.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from analysis.belief_subjects import (
    FILTER,
    STATE,
    UNTRAINED,
    Subject,
    averaged,
    is_full,
    log_of,
    sources,
    subject_of,
)
from configs.world import Recurring
from experiments.kit.filtering import Chain
from experiments.kit.readout import Block, auc, blocks, decoded, r_squared
from experiments.kit.runs import Context, Run
from experiments.kit.tables import CALM, RUN, stack

ANY = "any"  # that some regime acts, whichever
POSTERIOR, REGIME = "posterior", "regime"  # targets
TWIN = "twin posterior"  # of the run without a state, of the same world and seed: one target for state and untrained
EXAMPLE = 400  # steps of belief_example, the last ones
APART = 25  # steps at most between the two of a pair in batch_auc

COLUMNS = {
    "beliefs": (*RUN, "source", "target", "regime", "r2", "auc", "steps"),
    "belief_example": (*RUN, "step", "regime", "posterior", "decoded", "averages"),
    "belief_components": (
        *(
            *RUN,
            "step",
            "component1",
            "component2",
            "share1",
            "share2",
            "believed",
            "probability",
            "regime",
        ),
    ),
    "batch_auc": (*RUN, "regime", "auc", "pairs"),
}


def tables(context: Context) -> dict[str, pd.DataFrame]:
    """The tables of COLUMNS, from all runs whose schedule is recurring. Posteriors need a second seed."""
    runs = sorted(
        (run for run in context.runs if isinstance(run.config.schedule, Recurring) and not run.config.first),
        key=lambda run: (run.condition, run.seed),
    )
    logs = {(run.condition, run.seed): log_of(run) for run in runs}
    scored, examples, components = [], [], []
    for condition in dict.fromkeys(run.condition for run in runs if run.config.self_state.enabled):
        of_condition = [run for run in runs if run.condition == condition]
        subjects = [one for run in of_condition if (one := subject_of(run, runs, logs)) is not None]
        found = [subject.run.label(pd.DataFrame(_scores(subject))) for subject in subjects]
        scored += found
        middle = _middle(subjects, found)
        if middle is not None and is_full(middle.run):
            examples.append(middle.run.label(_example(middle)))
            if len(middle.chain.names) > 2:
                components.append(middle.run.label(_components(middle)))
    measured = [run for run in runs if is_full(run) or not run.config.injects]
    batches = [run.label(pd.DataFrame(batch_auc(run))) for run in measured]
    made = {
        "beliefs": scored,
        "belief_example": examples,
        "belief_components": components,
        "batch_auc": batches,
    }
    return {name: stack(parts, COLUMNS[name]) for name, parts in made.items()}


def goals(
    chain: Chain, posterior: np.ndarray | None, regimes: np.ndarray
) -> tuple[list[tuple[str, str]], np.ndarray]:
    """What is to be read: (target, regime) of each column, and the columns (n, k).

    The posterior, where there is one, and the truth; of each the chance that ANY regime acts, where there are several,
    and that of each.
    """
    names = chain.names[1:]
    keys, columns = [], []
    acting = np.column_stack([regimes == name for name in names]).astype(float)
    for target, each in ((POSTERIOR, None if posterior is None else posterior[:, 1:]), (REGIME, acting)):
        if each is None:
            continue
        if len(names) > 1:
            keys.append((target, ANY))
            columns.append(each.sum(1))
        keys += [(target, name) for name in names]
        columns += list(each.T)
    return keys, np.column_stack(columns)


def _scores(subject: Subject) -> list[dict[str, object]]:
    """Rows of `beliefs` of one run: a source, target and regime each; means over draws where a source has several."""
    parts = blocks(subject.steps, subject.run.config.train.steps)
    if not parts:
        return []
    rows = []
    for source, given in sources(subject).items():
        posterior = subject.twin_posterior if source == UNTRAINED else subject.posterior
        keys, y = goals(subject.chain, posterior, subject.regimes)
        values = np.mean([_values(y, decoded(x, y, parts)) for x in given], axis=0)
        rows += _rows(source, keys, values, parts)
        if source in (STATE, UNTRAINED) and subject.twin_posterior is not None:
            keys, y = goals(subject.chain, subject.twin_posterior, subject.regimes)
            values = np.mean([_values(y, decoded(x, y, parts)) for x in given], axis=0)
            twins = [place for place, (target, _) in enumerate(keys) if target == POSTERIOR]
            rows += _rows(source, [(TWIN, keys[place][1]) for place in twins], values[twins], parts)
    if subject.posterior is not None:
        keys, y = goals(subject.chain, None, subject.regimes)
        _, believed = goals(subject.chain, subject.posterior, subject.regimes)
        read = np.full(y.shape, np.nan)
        for block in parts:
            read[block.tested] = believed[block.tested, : len(keys)]
        rows += _rows(FILTER, keys, _values(y, read), parts)
    return rows


def _values(y: np.ndarray, read: np.ndarray) -> np.ndarray:
    """(k, 2): R2 and AUC of each column, all tested steps together. A posterior counts as true above one half."""
    tested = ~np.isnan(read[:, 0])
    return np.array(
        [
            (r_squared(truth[tested], score[tested]), auc(truth[tested] > 0.5, score[tested]))
            for truth, score in zip(y.T, read.T, strict=True)
        ]
    )


def _rows(
    source: str, keys: Iterable[tuple[str, str]], values: np.ndarray, parts: Sequence[Block]
) -> list[dict[str, object]]:
    steps = sum(block.tested.stop - block.tested.start for block in parts)
    return [
        {"source": source, "target": target, "regime": regime, "r2": r2, "auc": area, "steps": steps}
        for (target, regime), (r2, area) in zip(keys, values, strict=True)
    ]


def _middle(subjects: Sequence[Subject], scored: Sequence[pd.DataFrame]) -> Subject | None:
    """The subject in the middle by R2 of the posterior's reading, so that what is shown is not the best."""
    found = []
    for subject, rows in zip(subjects, scored, strict=True):
        if rows.empty:
            continue
        mine = rows[(rows["source"] == STATE) & (rows["target"] == POSTERIOR)]
        if len(mine) and np.isfinite(mine["r2"].iloc[0]):
            found.append((float(mine["r2"].iloc[0]), subject.run.seed, subject))
    return sorted(found, key=lambda one: one[:2])[(len(found) - 1) // 2][2] if found else None


def _example(subject: Subject) -> pd.DataFrame:
    """Rows of `belief_example`, a run's last steps: the posterior that any regime acts, and what is read of it from the
    state (decoded) and from the statistics' averages."""
    assert subject.posterior is not None
    parts = blocks(subject.steps, subject.run.config.train.steps)
    y = 1 - subject.posterior[:, :1]
    averages = averaged(subject.shown, subject.run.config.self_state.decay)
    made = pd.DataFrame(
        {
            "step": subject.steps,
            "regime": subject.regimes,
            "posterior": y[:, 0],
            "decoded": decoded(subject.states, y, parts)[:, 0],
            "averages": decoded(averages, y, parts)[:, 0],
        }
    )
    return made.dropna().tail(EXAMPLE).reset_index(drop=True)


def _components(subject: Subject) -> pd.DataFrame:
    """Rows of `belief_components`: states of the run's last half in their first two principal components, beside the
    regime that the posterior holds likeliest and its probability. share1, share2: of the variance."""
    assert subject.posterior is not None
    late = subject.steps >= subject.run.config.train.steps // 2
    states = subject.states[late] - subject.states[late].mean(0)
    _, sizes, axes = np.linalg.svd(states, full_matrices=False)
    shares = np.append(sizes**2 / max((sizes**2).sum(), 1e-300), 0.0)
    points = np.column_stack([states @ axes[:2].T, np.zeros(len(states))])
    posterior = subject.posterior[late]
    return pd.DataFrame(
        {
            "step": subject.steps[late],
            "component1": points[:, 0],
            "component2": points[:, 1],
            "share1": shares[0],
            "share2": shares[1],
            "believed": np.array(subject.chain.names)[posterior.argmax(1)],
            "probability": posterior.max(1),
            "regime": subject.regimes[late],
        }
    )


def batch_auc(run: Run) -> list[dict[str, object]]:
    """Rows of `batch_auc`, a regime each: how well the loss of one batch alone tells the regime from calm.

    The share of pairs of one step under the regime and one in calm, at most APART steps apart and after warm-up, in
    which the regime's loss is the higher; ties count half. Pairs so near in time share their place in training, so
    no trend has to be taken off, and none can help or hide.
    """
    log = run.metrics()
    log = log[log["step"] >= run.config.train.warmup_steps]
    loss, regimes = log["loss"].to_numpy(float), log["regime"].to_numpy(dtype=str)
    schedule = run.config.schedule
    assert isinstance(schedule, Recurring)
    rows: list[dict[str, object]] = []
    for name in dict.fromkeys(schedule.regimes):
        wins, pairs = 0.0, 0
        for lag in range(1, min(APART, len(loss) - 1) + 1):
            for one, other in ((slice(lag, None), slice(None, -lag)), (slice(None, -lag), slice(lag, None))):
                both = (regimes[one] == name) & (regimes[other] == CALM)
                difference = (loss[one] - loss[other])[both]
                wins += (difference > 0).sum() + 0.5 * (difference == 0).sum()
                pairs += int(both.sum())
        rows.append({"regime": name, "auc": wins / pairs if pairs else float("nan"), "pairs": pairs})
    return rows
