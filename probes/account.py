"""What a life in a world with known floors cost, step by step, beside what the best predictions would have cost.

Targets are uniform draws with probability p while bewilderment acts. Who believes with probability b that it does predicts
best (1 - b p) P + b p U, P the source's own probabilities. Losses are exact, -sum q log p at each position, q being the
true distribution of the target:

    blind    the best fixed b: the share of steps on which it acts
    filter   the ideal observer, who has seen of every batch before what the run's senses see (runs/observer.py)
    oracle   b is the truth

    captured = (blind - loss) / (blind - filter)

A loss below the oracle's, or clearly below the filter's, is a fault of the harness, and an error.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from configs.run import RunConfig
from configs.state import TrueRegime
from data.process import Generated
from probes.closed_loop import Moment
from runs import observer

KNOWN = "bewilderment"  # the regime that pays to know
# a loss may lie so many standard errors, of means of so many blocks, below the filter's
BLOCKS, ERRORS = 20, 4.0
LOST = 0.1  # nats above the ideal observer, from which on a life is lost


@dataclass(frozen=True)
class Account:
    """A life step by step: what the model's predictions cost and what the three floors are, (steps,) float64 in nats.

    acts: (steps,) bool, whether targets were corrupted. belief: (steps, R) the ideal observer's. states: (steps, D) or None.
    """

    regimes: np.ndarray
    acts: np.ndarray
    loss: np.ndarray
    blind: np.ndarray
    filter: np.ndarray
    oracle: np.ndarray
    belief: np.ndarray
    states: np.ndarray | None


def account(life: RunConfig, tokens: Generated, moments: Iterable[Moment]) -> Account:
    """Score a life. RuntimeError for a loss below a floor; a state that is told the truth may lie below the filter's."""
    regimes = observer.regimes_of(life)
    column = regimes.index(KNOWN) if KNOWN in regimes else None
    rows, odds_of, names, beliefs, states = [], [], [], [], []
    for moment in moments:
        assert moment.belief is not None
        odds = tokens.odds(moment.x)
        true = observer.mixed(life, odds, float(moment.regime == KNOWN))
        believed = moment.belief[column] if column is not None else 0.0
        filtered = observer.mixed(life, odds, believed)
        rows.append([
            cross(true, moment.log_p.double().numpy()), cross(true, log(filtered)), cross(true, log(true)),
        ])  # fmt: skip
        odds_of.append(odds)
        names.append(moment.regime)
        beliefs.append(moment.belief)
        if moment.state is not None:
            states.append(moment.state.detach().numpy().copy())
    acts = np.array([name == KNOWN for name in names])
    share = float(acts.mean())
    blind = [
        cross(observer.mixed(life, odds, float(act)), log(observer.mixed(life, odds, share)))
        for odds, act in zip(odds_of, acts, strict=True)
    ]
    loss, filtered, oracle = np.array(rows).T
    found = Account(np.array(names), acts, loss, np.array(blind), filtered, oracle, np.array(beliefs), np.array(states) if states else None)  # fmt: skip
    check(found, isinstance(life.self_state.senses, TrueRegime))
    return found


def check(found: Account, told: bool = False) -> None:
    """RuntimeError for a loss below the oracle's at any step, or clearly below the filter's on the whole.

    told: whether the model knew the truth, so that the latter is no floor for it.
    """
    if (found.loss < found.oracle - 1e-5).any():
        raise RuntimeError("a loss below the oracle's floor: the harness leaks what the targets are")
    parts = np.array(
        [part.mean() for part in np.array_split(found.loss - found.filter, min(BLOCKS, len(found.loss)))]
    )
    error = parts.std(ddof=1) / np.sqrt(len(parts)) if len(parts) > 1 else np.inf
    if not told and parts.mean() < -(ERRORS * error + 1e-6):
        raise RuntimeError(
            f"a loss {-parts.mean():.5f} nats below the ideal observer's floor: the harness leaks what acts"
        )


def cross(true: np.ndarray, log_p: np.ndarray) -> float:
    """Mean cross-entropy over positions, in nats."""
    return float(-(true * log_p).sum(-1).mean())


def log(p: np.ndarray) -> np.ndarray:
    return np.log(p.clip(1e-300))


def told(found: Account, life: str) -> list[dict[str, Any]]:
    """Rows of floors.csv: of the whole life, and of the steps of each regime.

    lost: the longest stretch of steps whose loss lies more than LOST above the ideal observer's.
    """
    rows = []
    for part in ("all", *dict.fromkeys(found.regimes.tolist())):
        at = np.ones(len(found.loss), dtype=bool) if part == "all" else found.regimes == part
        means = {
            name: float(getattr(found, name)[at].mean()) for name in ("loss", "blind", "filter", "oracle")
        }
        room = means["blind"] - means["filter"]
        captured = (means["blind"] - means["loss"]) / room if part == "all" and room > 1e-6 else np.nan
        stretches = (sum(steps) for _, steps in groupby(found.loss[at] - found.filter[at] > LOST))
        rows.append(
            {
                "life": life,
                "part": part,
                "steps": int(at.sum()),
                **means,
                "captured": captured,
                "lost": int(max(stretches)),
            }
        )
    return rows
