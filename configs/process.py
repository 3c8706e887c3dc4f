"""The fields of a process that tokens are drawn from: a source whose next-token probabilities are known exactly."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from configs.fields import Positive, Probability, Strict
from configs.rows import Rows

TOLERANCE = 1e-6  # by which rows may miss a sum of one
MOST_STATES = 4096


class Chain(Strict):
    """A Markov chain whose rows are drawn from the run's seed, the same in all conditions of a seed.

    Each row is (1 - uniform) Dirichlet(concentration) + uniform / tokens.
    """

    kind: Literal["chain"]
    tokens: int = Field(default=16, ge=2, le=1024)
    """size of the vocabulary"""
    order: int = Field(default=1, ge=1, le=8)
    """how many past tokens decide the next one's probabilities"""
    concentration: Positive = 0.25
    """of the Dirichlet distribution; the smaller, the more certain the next token"""
    uniform: Probability = 0.02
    """share of the uniform distribution in each row"""

    @property
    def vocabulary(self) -> int:
        return self.tokens

    @model_validator(mode="after")
    def _few_enough_states(self) -> Self:
        if self.tokens**self.order > MOST_STATES:
            raise ValueError(
                f"a chain of order {self.order} over {self.tokens} tokens has {self.tokens**self.order} states; "
                f"take at most {MOST_STATES}"
            )
        return self


class Hidden(Strict):
    """A hidden Markov process: from state i, symbol s comes and state j follows with probability transitions[s][i][j]."""

    kind: Literal["hidden"]
    transitions: tuple[tuple[tuple[Probability, ...], ...], ...] = Field(min_length=2, max_length=1024)
    """a square matrix a symbol: [symbol][from][to]"""

    @property
    def vocabulary(self) -> int:
        return len(self.transitions)

    @model_validator(mode="after")
    def _a_process(self) -> Self:
        states = len(self.transitions[0])
        if not states or any(
            len(symbol) != states or any(len(row) != states for row in symbol) for symbol in self.transitions
        ):
            raise ValueError(
                "transitions must hold one square matrix a symbol, all of one size: [symbol][from][to]"
            )
        for state in range(states):
            total = math.fsum(value for symbol in self.transitions for value in symbol[state])
            if abs(total - 1) > TOLERANCE:
                raise ValueError(
                    f"transitions from state {state} sum to {total:.9g} over all symbols and states; make it 1"
                )
        if all(
            max(math.fsum(symbol[state]) for symbol in self.transitions) > 1 - TOLERANCE
            for state in range(states)
        ):
            raise ValueError(
                "each state of transitions gives one symbol for certain: a source without entropy"
            )
        return self


Process = Annotated[Chain | Hidden | Rows, Field(discriminator="kind")]
