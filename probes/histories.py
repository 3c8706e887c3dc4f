"""Every history that a hidden process can have, up to a length, with what an ideal observer makes of it; and what theory says
must hold of that, checked before anything is asked of a model."""

from dataclasses import dataclass

import numpy as np

from configs.process import TOLERANCE
from data.process import Generated

EQUAL = 9  # digits to which two histories' next-token probabilities, or beliefs, are equal


@dataclass(frozen=True, eq=False)
class Histories:
    """All histories of 1 to T tokens that have a probability, each once, shorter ones first.

    whole: (N, T) int64, those of T tokens, in lexicographic order. row, length: (n,) int64, of each history a whole one that
    begins with it, and how many of its tokens it is. probability: (n,) float64, summing to one over each length. belief:
    (n, S), over the state behind it. odds: (n, V), of the next token.
    """

    whole: np.ndarray
    row: np.ndarray
    length: np.ndarray
    probability: np.ndarray
    belief: np.ndarray
    odds: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    @property
    def weight(self) -> np.ndarray:
        """(n,), summing to one: a length drawn evenly, then a history of it."""
        return self.probability / self.probability.sum()

    def drawn(self, most: int, random: np.random.Generator) -> "Histories":
        """So many draws of them, each history once, its draws in place of its probability; all of them where they are no more."""
        if len(self) <= most:
            return self
        places, counts = np.unique(random.choice(len(self), most, p=self.weight), return_counts=True)
        rows, row = np.unique(self.row[places], return_inverse=True)
        found = (of[places] for of in (self.length, self.belief, self.odds))
        length, belief, odds = found
        return Histories(self.whole[rows], row.reshape(-1), length, counts / most, belief, odds)

    def last(self, count: int) -> np.ndarray:
        """A number (n,) for the last `count` tokens of each history; the beginning of a shorter one shows."""
        size = int(self.whole.max()) + 2
        found = np.zeros(len(self), dtype=np.int64)
        for back in range(min(count, int(self.length.max()))):
            place = self.length - 1 - back
            token = np.where(place >= 0, self.whole[self.row, place] + 1, 0)
            found = found * size + token
        return found


def histories(process: Generated, length: int) -> Histories:
    """All histories of a process of 1 to `length` tokens."""
    tokens = np.zeros((1, 0), dtype=np.int64)
    forward = process.stationary[
        None
    ]  # (m, S): the probability of a history together with each state after it
    levels: list[np.ndarray] = []
    parents: list[np.ndarray] = []
    for _ in range(length):
        after = np.einsum("ms,vst->mvt", forward, process.transitions)
        parent, token = np.nonzero(after.sum(-1) > 0)
        tokens = np.concatenate([tokens[parent], token[:, None]], axis=1)
        forward = after[parent, token]
        levels.append(forward)
        parents.append(parent)
    rows = [np.arange(len(tokens))]
    for level in range(length - 1, 0, -1):  # a history's first continuation stands first
        first = np.searchsorted(parents[level], np.arange(len(levels[level - 1])))
        rows.append(rows[-1][first])
    joint = np.concatenate(levels)
    probability = joint.sum(1)
    belief = joint / probability[:, None]
    lengths = np.repeat(np.arange(1, length + 1), [len(level) for level in levels])
    return Histories(
        tokens,
        np.concatenate(rows[::-1]),
        lengths,
        probability,
        belief,
        belief @ process.transitions.sum(2).T,
    )


def entropy(odds: np.ndarray) -> np.ndarray:
    """Of distributions (..., V), in nats."""
    return np.asarray(-(odds * np.log(np.where(odds > 0, odds, 1.0))).sum(-1))


def later(transitions: np.ndarray) -> np.ndarray:
    """What of a belief decides any later token: an orthonormal basis (S, r). Two beliefs b, c give all words the same
    probability exactly where b @ basis == c @ basis.

    The probability of a word is b T[s1] T[s2] ... 1, so the basis spans all that the matrices make of the vector of ones.
    """
    found: list[np.ndarray] = []
    waiting = [np.ones(transitions.shape[1])]
    while waiting:
        one = waiting.pop(0)
        rest = one / max(float(np.linalg.norm(one)), 1e-300)
        for _ in range(2):  # twice is enough for what rounding leaves
            for other in found:
                rest = rest - (rest @ other) * other
        if np.linalg.norm(rest) > 1e-9:
            found.append(rest / np.linalg.norm(rest))
            waiting += [matrix @ found[-1] for matrix in transitions]
    return np.stack(found, axis=1)


def classes(values: np.ndarray) -> np.ndarray:
    """A number (n,) for each row of `values` (n, k), the same for rows that are equal."""
    return np.unique(np.round(values, EQUAL) + 0.0, axis=0, return_inverse=True)[1].reshape(-1)


THEORY = ("length", "histories", "beliefs", "optimal", "blind", "state_known")


def theory(process: Generated, found: Histories) -> list[dict[str, float]]:
    """Rows of theory.csv, one a length t, after all checks: how many histories and different beliefs there are, and the loss of
    the best prediction of token t + 1, in nats: given the history (optimal), given nothing (blind), given the hidden state.

    RuntimeError where something does not hold that must.
    """

    def must(holds: bool, what: str) -> None:
        if not holds:
            raise RuntimeError(f"theory of {process.name}: {what}")

    emits, length = process.transitions.sum(2).T, found.whole.shape[1]  # (S, V)
    near = length * TOLERANCE
    must(bool((process.transitions >= 0).all()), "a negative probability")
    must(
        np.allclose(process.transitions.sum((0, 2)), 1, atol=TOLERANCE),
        "a state whose row does not sum to one",
    )
    fixed = process.stationary @ process.transitions.sum(0)
    must(np.allclose(fixed, process.stationary, atol=near), "its stationary distribution is not one")
    with np.errstate(invalid="ignore"):  # a history that the process never gives is no belief, and so differs
        filtered = process.beliefs(found.whole)[found.row, found.length - 1]
    must(np.allclose(filtered, found.belief, atol=1e-9), "the forward filter differs from enumeration")
    state_known, blind = (
        float(process.stationary @ entropy(emits)),
        float(entropy(process.stationary @ emits)),
    )
    rows: list[dict[str, float]] = []
    for size in range(1, length + 1):
        at = found.length == size
        weight = found.probability[at]
        must(abs(float(weight.sum()) - 1) < near, f"histories of {size} tokens do not sum to one")
        must(
            np.allclose(weight @ found.belief[at], process.stationary, atol=near),
            "beliefs do not average to the truth",
        )
        optimal = float(weight @ entropy(found.odds[at]) / weight.sum())
        before = rows[-1]["optimal"] if rows else blind
        must(state_known - near <= optimal <= before + near, f"token {size} does not help to predict")
        beliefs = int(classes(found.belief[at]).max()) + 1
        rows.append(
            {"length": size, "histories": int(at.sum()), "beliefs": beliefs, "optimal": optimal, "blind": blind, "state_known": state_known}
        )  # fmt: skip
    return rows
