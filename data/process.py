"""Tokens drawn fresh from a process, with all that an ideal observer knows of it: its beliefs and the next token's odds.

A process is a tensor T[symbol, from, to] of probabilities. An observer who has seen a sequence holds a belief over the
state behind it; after symbol s the belief b becomes b T[s] / |b T[s]|, and the next symbol's probability is |b T[s]|
(the forward filter; Rabiner, "A tutorial on hidden Markov models", Proc. IEEE, 1989).
"""

import functools
from dataclasses import dataclass

import numpy as np

from base import storage
from base.rng import Stream, generator
from configs.process import Chain, Hidden, Process


@dataclass(frozen=True, eq=False)
class Generated:
    """A process as a corpus: what `data.corpus.Corpus` is to a text.

    transitions: (V, S, S) float64. Every sequence begins in the stationary distribution, and no two are the same draw.
    """

    name: str
    transitions: np.ndarray
    tokens_sha256: str  # of the process; its tokens are drawn by (seed, stream, step)
    bytes_per_token: float = 1.0

    @property
    def vocab_size(self) -> int:
        return len(self.transitions)

    def check_block(self, block_size: int) -> None:
        """Sequences of any length can be drawn."""

    @functools.cached_property
    def stationary(self) -> np.ndarray:
        """The distribution (S,) over states that a step leaves as it is, reached from the uniform one."""
        step = self.transitions.sum(0)
        lazy = (step + np.eye(len(step))) / 2  # has the same fixed points, and no cycles
        found = np.full(len(step), 1 / len(step))
        for _ in range(64):  # 2^64 steps
            lazy = lazy @ lazy
            lazy /= lazy.sum(1, keepdims=True)
        found = found @ lazy
        return found / found.sum()

    @functools.cached_property
    def _steps(self) -> np.ndarray:
        """(S, V S): from each state, the cumulated probabilities of (symbol, next state)."""
        states = self.transitions.shape[1]
        flat = self.transitions.transpose(1, 0, 2).reshape(states, -1)
        found = flat.cumsum(1)
        return found / found[:, -1:]

    def draw(
        self, split: str, sequences: int, block_size: int, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sequences x and their targets y, one token later, both int64 (sequences, block_size). All splits are one source."""
        chosen = random.random((block_size + 2, sequences))
        states = len(self.stationary)
        state = np.minimum(np.searchsorted(self.stationary.cumsum(), chosen[0], side="right"), states - 1)
        tokens = np.empty((sequences, block_size + 1), dtype=np.int64)
        for place in range(block_size + 1):
            pair = (chosen[place + 1][:, None] >= self._steps[state]).sum(1)
            tokens[:, place], state = np.divmod(pair, states)
        return tokens[:, :-1], tokens[:, 1:].copy()

    def beliefs(self, x: np.ndarray) -> np.ndarray:
        """The belief over states after each token of x (B, T), (B, T, S) float64. A token beyond the vocabulary, the mask
        token, tells nothing: there the belief moves by the chance of all symbols."""
        belief = np.broadcast_to(self.stationary, (len(x), len(self.stationary)))
        every = np.concatenate([self.transitions, self.transitions.sum(0, keepdims=True)])
        found = np.empty((*x.shape, len(self.stationary)))
        for place in range(x.shape[1]):
            belief = np.einsum("bi,bij->bj", belief, every[x[:, place]])
            belief = belief / belief.sum(1, keepdims=True)
            found[:, place] = belief
        return found

    def odds(self, x: np.ndarray) -> np.ndarray:
        """The true probabilities of the token after each of x (B, T), given those up to it: (B, T, V) float64."""
        return self.beliefs(x) @ self.transitions.sum(2).T


def transitions_of(process: Chain | Hidden, seed: int) -> np.ndarray:
    """The tensor (V, S, S) float64 of a process; a chain's rows are drawn from the seed."""
    if not isinstance(process, Chain):
        return np.array(process.transitions, dtype=np.float64)
    size, order = process.tokens, process.order
    states = size**order  # a state is the last `order` tokens, the newest one last
    random = generator(seed, Stream.PROCESS)
    rows = random.dirichlet(np.full(size, process.concentration), size=states)
    rows = (1 - process.uniform) * rows + process.uniform / size
    found = np.zeros((size, states, states))
    before = np.arange(states)
    for token in range(size):
        found[token, before, (before * size + token) % states] = rows[:, token]
    return found


@functools.lru_cache(maxsize=16)
def generated(name: str, process: Chain | Hidden, seed: int) -> Generated:
    """The process as a corpus, for the runs of a seed."""
    return Generated(name, transitions_of(process, seed), process_sha256(process))


def process_sha256(process: Process) -> str:
    """The hash that stands for the tokens of a process."""
    return storage.hash_json(process.model_dump(mode="json"))
