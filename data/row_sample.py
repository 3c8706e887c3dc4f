"""What is drawn of rows: facts, the state that decides, one that decides otherwise, and the chances of what comes after.

Every row of the training split is of combinations that no held-out row has, and the other way round. What is held out is
chosen so that each reply is as likely, given all that the prompt says, in either split: a model that is told nothing of
the state can't do better on one than on the other. The table of capabilities is in data/rows.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from configs.row_kinds import (
    CATEGORIES,
    DAYS,
    DIMENSIONS,
    FINE,
    GROUPS,
    HOURS,
    LEVELS,
    LISTED,
    NAMESAKES,
    PARTS,
    RISKS,
    SHARED,
    TEMPERS,
    TRADES,
    WORKDAYS,
)

Codes = Mapping[str, np.ndarray]
"""A state of each row by capability, (B, k) int64: the place in the list; level of valence and arousal; hour and day; risks."""
CAPABILITIES = tuple(DIMENSIONS)
LISTS = ("memory", "continuity", "identity", "ethics")  # whose state chooses from a list of the prompt


@dataclass(frozen=True)
class Sample:
    """What is drawn of B rows, before it is decided what of it is said, and where. All arrays have B rows.

    nouns, events, persons, acts: (B, 3) int64 within their kind.
    codes: the state that decides. others: one that decides otherwise, in each part of each reply.
    chance: (B, 19) float64 in [0, 1), what the shares of a config are held against.
    order: (B, 12) float64, fillers (B, 2, T + 1) float64: what places and fillers are chosen by.
    noise: (B, D) float64, standard normal.
    """

    nouns: np.ndarray
    events: np.ndarray
    persons: np.ndarray
    acts: np.ndarray
    codes: Codes
    others: Codes
    chance: np.ndarray
    order: np.ndarray
    fillers: np.ndarray
    noise: np.ndarray

    def __len__(self) -> int:
        return len(self.acts)


def sample(split: str, rows: int, block_size: int, random: np.random.Generator) -> Sample:
    """Rows of a split: of "heldout" those whose combinations are held out, else the others. See the module for which."""
    held = split == "heldout"

    def rest(modulus: int) -> np.ndarray:
        """What the numbers of a combination sum to: zero, modulo this, is held out."""
        return random.integers(0 if held else 1, 1 if held else modulus, rows)

    def listed(groups: int) -> np.ndarray:
        """Three of different groups, (B, 3), whose numbers within their groups are a combination."""
        group = random.permuted(np.tile(np.arange(groups), (rows, 1)), axis=1)[:, :LISTED]
        within = random.integers(0, SHARED, (rows, LISTED))
        within[:, 2] = (rest(SHARED) - within[:, 0] - within[:, 1]) % SHARED
        return group * SHARED + within

    nouns, events, acts = listed(CATEGORIES), listed(GROUPS), listed(RISKS)
    trade, temper = random.integers(0, SHARED, (2, rows))
    apart = random.integers(1, SHARED, rows)  # tempers between the first two, who share a trade
    further = (rest(SHARED - 1) - apart - 1) % (SHARED - 1) + 1  # trades between the first and the third
    cells = np.stack(
        [
            trade * TEMPERS + temper,
            trade * TEMPERS + (temper + apart) % TEMPERS,
            (trade + further) % TRADES * TEMPERS + temper,
        ],
        axis=1,
    )
    persons = random.permuted(cells * NAMESAKES + random.integers(0, NAMESAKES, (rows, LISTED)), axis=1)
    places = random.integers(
        0, LISTED, (rows, 4)
    )  # of the noun, the event, the person and the act that are meant
    level = random.integers(0, LEVELS, (rows, 2))
    fine = random.integers(0, FINE, (rows, 2))
    fine[:, 1] = (rest(FINE) - fine[:, 0]) % FINE
    part, day = random.integers(0, PARTS, rows), random.integers(0, DAYS, rows)
    hour = part * (HOURS // PARTS) + (rest(HOURS // PARTS) - day) % (HOURS // PARTS)
    codes = {
        "memory": places[:, :1], "continuity": places[:, 1:2], "identity": places[:, 2:3],
        "affect": level * FINE + fine, "time": np.stack([hour, day], axis=1), "ethics": places[:, 3:],
    }  # fmt: skip
    turned = {name: (codes[name] + random.integers(1, LISTED, (rows, 1))) % LISTED for name in LISTS}
    moved = (level + random.integers(1, LEVELS, (rows, 2))) % LEVELS * FINE + random.integers(
        0, FINE, (rows, 2)
    )
    later = (hour + HOURS // PARTS * random.integers(1, PARTS, rows)) % HOURS
    off = random.random(rows)
    other_day = np.where(
        day < WORKDAYS, WORKDAYS + (off * (DAYS - WORKDAYS)).astype(int), (off * WORKDAYS).astype(int)
    )
    others = turned | {"affect": moved, "time": np.stack([later, other_day], axis=1)}
    return Sample(
        nouns, events, persons, acts, codes, others,
        random.random((rows, 3 * len(CAPABILITIES) + 1)), random.random((rows, 2 * len(CAPABILITIES))),
        random.random((rows, 2, block_size + 1)), random.normal(size=(rows, sum(DIMENSIONS.values()))),
    )  # fmt: skip
