"""Counter-based randomness: every random number is a function of (seed, stream, step).

Nothing here has a position to lose. A run can start again at any step, two conditions of one seed see the same
batches, and adding a stream changes no other. Philox: Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", SC 2011.
"""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a random number is for. The values are part of every result: append, never renumber."""

    INIT = 0  # weights of the GPT
    BATCH = 1  # which sequences a step trains on
    PERTURB = 2  # what a regime does at a step
    EVAL = 3  # sequences of the held-out loss and of the probe batch
    DIRECTIONS = 4  # random directions of the frozen-weight test
    SCHEDULE = 5  # onset and order of regimes
    SAMPLE = 6  # written text
    PLACEBO = 7  # placebo readers
    ANALYSIS = 8  # permutations, folds, bootstraps
    DROPOUT = 9
    STATE_INIT = 10  # weights of the self-state
    CONSTANT_BIAS = 11  # direction of a fixed bias
    EXCHANGE = 12  # states put in the place of a run's own
    SHUFFLE = 13  # order of shuffled statistics
    PROCESS = 14  # rows of a Markov chain that tokens are drawn from
    SENSES = 15  # which positions of a batch the statistics are taken from


def generator(seed: int, stream: Stream, step: int = 0) -> np.random.Generator:
    """A generator at the start of its own sequence for (seed, stream, step).

    The step sits in the highest of Philox's four 64-bit counter words, so the sequences of two steps can
    never meet (each is 2**192 blocks long).
    """
    counter = np.array([0, 0, 0, step], dtype=np.uint64)
    key = np.array([seed, stream], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(counter=counter, key=key))
