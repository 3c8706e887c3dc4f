"""Rows as a corpus: facts, what is said of a state, and six replies that facts and state decide.

| capability | the prompt has | the state is | the reply |
|---|---|---|---|
| memory | three nouns | a category | the noun of that category |
| continuity | three events | an ordinal; in the text the event's name | the event there |
| identity | three persons | a trade and a temper | who has both; two of them share one with another |
| affect | nothing | valence and arousal, 16 levels each | one of 4 words for each |
| time | nothing | hour and day | the part of the day, and workday or weekend |
| ethics | three acts of different kinds | a risk for each of four kinds; in the text, the kind of low risk | the act of low risk |

Drawn by counter, tokens and states alike: row_sample.py draws, row_tokens.py writes, and here is what channels and texts
are told of it.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from base.errors import UserError
from base.rng import Stream, generator
from configs.row_kinds import (
    CATEGORIES,
    DAYS,
    DIMENSIONS,
    FINE,
    HOURS,
    LEVELS,
    LISTED,
    LONGEST,
    NAMESAKES,
    RISKS,
    SHARED,
    TEMPERS,
    TOKENS,
    TRADES,
)
from configs.rows import Rows
from data.process import process_sha256
from data.row_sample import CAPABILITIES, Codes, Sample, sample
from data.row_tokens import lay


@dataclass(frozen=True, eq=False)
class RowSource:
    """Rows as a corpus: what `data.corpus.Corpus` is to a text.

    vectors: by capability, the tables (n, D_c) float64 that its states are told with; the seed's own.
    """

    name: str
    settings: Rows
    vectors: Mapping[str, np.ndarray]
    tokens_sha256: str
    bytes_per_token: float = 1.0

    @property
    def vocab_size(self) -> int:
        return self.settings.vocabulary

    def check_block(self, block_size: int) -> None:
        """UserError where a row does not fit."""
        needed = LONGEST - 1 + TOKENS["slot"] * self.settings.slots
        if block_size < needed:
            raise UserError(
                f"a row of {self.name!r} takes up to {needed} tokens; raise model.block_size = {block_size}"
            )

    def draw(
        self, split: str, sequences: int, block_size: int, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows x and their targets y, one token later, UNSCORED but at replies; both int64 (sequences, block_size)."""
        drawn = sample(split, sequences, block_size, random)
        _, texts, cropped = self.said(drawn)
        laid = lay(drawn, block_size, texts, cropped=cropped, slots=self.settings.slots)
        return laid.x, laid.y

    def states(self, split: str, sequences: int, block_size: int, random: np.random.Generator) -> np.ndarray:
        """What the channels of the rows hold that `draw` gives of the same generator: (sequences, D) float32, zero where a
        channel is not given."""
        drawn = sample(split, sequences, block_size, random)
        channels, _, _ = self.said(drawn)
        return self.told(drawn, channels, self.settings.noise)

    def said(self, drawn: Sample) -> tuple[dict, dict, np.ndarray]:
        """Which states stand in channels and texts, codes of the rows that have one by capability, and which rows are
        cropped (B,) bool. A row without: -1."""
        given = self.settings
        bounds = np.cumsum([given.channel, given.both, given.text])
        channels, texts = {}, {}
        for index, name in enumerate(CAPABILITIES):
            chance, right, wrong = drawn.chance[:, 3 * index : 3 * index + 3].T
            true, other = drawn.codes[name], drawn.others[name]
            in_channel = chance < bounds[1]
            in_text = (chance >= bounds[0]) & (chance < bounds[2])
            held = np.where((right < given.channel_right)[:, None], true, other)
            channels[name] = np.where(in_channel[:, None], held, -1)
            written = np.where((wrong < given.text_right)[:, None], true, other)
            texts[name] = np.where(in_text[:, None], written, -1)
        return channels, texts, drawn.chance[:, -1] < given.cropped

    def told(self, drawn: Sample, codes: Codes, noise: float = 0.0) -> np.ndarray:
        """The vectors of states, (B, D) float32: zero where a row's codes are -1, with noise of a standard deviation elsewhere."""
        parts = []
        for name in CAPABILITIES:
            code, table = codes[name], self.vectors[name]
            if name == "memory":
                found = table[np.take_along_axis(drawn.nouns, code.clip(0), 1)[:, 0] // SHARED]
            elif name == "continuity":
                found = table[code[:, 0].clip(0)]
            elif name == "identity":
                cell = np.take_along_axis(drawn.persons, code.clip(0), 1)[:, 0] // NAMESAKES
                found = (table[cell // TEMPERS] + table[TRADES + cell % TEMPERS]) / np.sqrt(2)
            elif name == "affect":
                found = (2 * code / (LEVELS * FINE - 1) - 1) @ table
            elif name == "time":
                angles = 2 * np.pi * code / (HOURS, DAYS)
                waves = [wave(k * angles) for k in (1, 2) for wave in (np.cos, np.sin)]  # each (B, 2)
                found = np.concatenate(waves, axis=1) @ table
            else:
                found = (2 * allowed(drawn, code) - 1) @ table
            parts.append(np.where(code[:, :1] >= 0, found, np.nan))
        whole = np.concatenate(parts, axis=1)
        return np.nan_to_num(whole + noise * drawn.noise).astype(np.float32)


def allowed(drawn: Sample, code: np.ndarray) -> np.ndarray:
    """Which of the four kinds of act are of low risk, (B, 4) of 1 and 0: that of the act at a place (B, 1), and the one that
    the prompt has no act of."""
    kinds = drawn.acts // SHARED
    found = np.ones((len(kinds), RISKS), dtype=np.int64)
    np.put_along_axis(found, kinds, 0, 1)
    np.put_along_axis(found, np.take_along_axis(kinds, code.clip(0), 1), 1, 1)
    return found


def tables_of(seed: int) -> dict[str, np.ndarray]:
    """The vectors that states are told with, drawn from the seed: each number of a channel has about unit variance."""
    random = generator(seed, Stream.PROCESS)
    listed = {"memory": CATEGORIES, "continuity": LISTED, "identity": TRADES + TEMPERS}
    found = {name: random.normal(size=(count, DIMENSIONS[name])) for name, count in listed.items()}
    turned, _ = np.linalg.qr(random.normal(size=(DIMENSIONS["ethics"], RISKS)))
    # levels are even over [-1, 1], waves over a circle, risks are -1 or 1
    return found | {
        "affect": np.sqrt(3) * np.eye(2),
        "time": np.sqrt(2) * np.eye(8),
        "ethics": np.sqrt(DIMENSIONS["ethics"] / RISKS) * turned.T,
    }


@functools.lru_cache(maxsize=16)
def row_source(name: str, settings: Rows, seed: int) -> RowSource:
    """Rows as a corpus, for the runs of a seed."""
    return RowSource(name, settings, tables_of(seed), process_sha256(settings))
