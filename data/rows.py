"""Rows: facts, what is said of a state, and six replies that facts and state decide. Drawn by counter, tokens and states alike.

    [slots] nouns events persons act   [what the text says of the state]   cue reply  cue reply ...

| capability | the prompt has | the state is | the reply |
|---|---|---|---|
| memory | three nouns | a category | the noun of that category |
| continuity | three events | an ordinal; in the text the event's name | the event there |
| identity | three persons | a trade and a temper | who has both; two of them share one with another |
| affect | nothing | valence and arousal, 16 levels each | one of 4 words for each |
| time | nothing | hour and day | the part of the day, and workday or weekend |
| ethics | three acts of different kinds | a risk for each of four kinds; in the text, the kind of low risk | the act of low risk |

What the text says and the replies stand in an order drawn for each row, fillers before replies fill it up to
its length. Every row of the training split is of combinations that no held-out row has, and the other way round. What is
held out is chosen so that each reply is as likely, given all that the prompt says, in either split: a model that is told
nothing of the state can't do better on one than on the other.
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
    GROUPS,
    HOURS,
    LEVELS,
    LISTED,
    LONGEST,
    NAMESAKES,
    PARTS,
    REPLY,
    RISKS,
    SHARED,
    TEMPERS,
    TOKENS,
    TRADES,
    WORKDAYS,
)
from configs.rows import Rows
from data.process import process_sha256

Codes = Mapping[str, np.ndarray]
"""A state of each row by capability, (B, k) int64: the place in the list; level of valence and arousal; hour and day; risks."""
CAPABILITIES = tuple(DIMENSIONS)
UNSCORED = -100  # in place of a target that is not asked for, as torch's losses ignore it
FIRST = dict(zip(TOKENS, np.cumsum([0, *TOKENS.values()])[:-1].tolist(), strict=True))
"""The first id of each kind of token."""
_ENDS = np.cumsum([*REPLY.values()]).tolist()
SLICES = {name: slice(end - REPLY[name], end) for name, end in zip(CAPABILITIES, _ENDS, strict=True)}
"""Where each capability's reply stands among the slots of all replies, (B, 8)."""
_SLOTS = np.array(
    [_ENDS[i] + i + 1 - REPLY[name] + k for i, name in enumerate(CAPABILITIES) for k in range(REPLY[name])]
)
"""Where they stand among all exchanges, cues among them."""
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


@dataclass(frozen=True)
class Laid:
    """Rows as tokens: x, y (B, T) int64, y UNSCORED but at replies; where (B, 8): at which place of y each reply's slot is,
    below zero where the window leaves it out."""

    x: np.ndarray
    y: np.ndarray
    where: np.ndarray


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


def allowed(drawn: Sample, code: np.ndarray) -> np.ndarray:
    """Which of the four kinds of act are of low risk, (B, 4) of 1 and 0: that of the act at a place (B, 1), and the one that
    the prompt has no act of."""
    kinds = drawn.acts // SHARED
    found = np.ones((len(kinds), RISKS), dtype=np.int64)
    np.put_along_axis(found, kinds, 0, 1)
    np.put_along_axis(found, np.take_along_axis(kinds, code.clip(0), 1), 1, 1)
    return found


def replies(drawn: Sample, codes: Codes) -> np.ndarray:
    """What a state decides, ids (B, 8)."""
    valence, arousal = codes["affect"].T
    hour, day = codes["time"].T
    found = {
        "memory": [FIRST["noun"] + np.take_along_axis(drawn.nouns, codes["memory"], 1)[:, 0]],
        "continuity": [FIRST["event"] + np.take_along_axis(drawn.events, codes["continuity"], 1)[:, 0]],
        "identity": [FIRST["person"] + np.take_along_axis(drawn.persons, codes["identity"], 1)[:, 0]],
        "affect": [FIRST["manner"] + arousal // FINE, FIRST["mood"] + valence // FINE],
        "time": [FIRST["part"] + hour // (HOURS // PARTS), FIRST["week"] + (day >= WORKDAYS)],
        "ethics": [FIRST["act"] + np.take_along_axis(drawn.acts, codes["ethics"], 1)[:, 0]],
    }
    return np.stack([column for name in CAPABILITIES for column in found[name]], axis=1)


def texts_of(drawn: Sample, codes: Codes) -> dict[str, np.ndarray]:
    """How a text tells a state, ids by capability (B, k)."""
    (person,) = np.take_along_axis(drawn.persons, codes["identity"].clip(0), 1).T
    (noun,) = np.take_along_axis(drawn.nouns, codes["memory"].clip(0), 1).T
    (act,) = np.take_along_axis(drawn.acts, codes["ethics"].clip(0), 1).T
    (event,) = np.take_along_axis(drawn.events, codes["continuity"].clip(0), 1).T
    cell = person // NAMESAKES
    return {
        "memory": (FIRST["category"] + noun // SHARED)[:, None],
        "continuity": np.stack([np.full(len(drawn), FIRST["at"]), FIRST["event"] + event], axis=1),
        "identity": np.stack([FIRST["trade"] + cell // TEMPERS, FIRST["temper"] + cell % TEMPERS], axis=1),
        "affect": codes["affect"] + (FIRST["valence"], FIRST["arousal"]),
        "time": codes["time"] + (FIRST["hour"], FIRST["day"]),
        "ethics": (FIRST["risk"] + act // SHARED)[:, None],
    }


def lay(
    drawn: Sample,
    block_size: int,
    texts: Codes,
    *,
    decides: Codes | None = None,
    cropped: np.ndarray | None = None,
    slots: bool = False,
    gap: int | None = None,
) -> Laid:
    """Rows as tokens.

    Args:
        texts: the states that are told in the text, -1 where none is.
        decides: the state of the replies; by default the rows' own.
        cropped: (B,) rows without prompt and text; replies that need the prompt are then not scored.
        gap: so many fillers, at most `block_size`, between the text and the first reply, where by default fillers before
            replies fill a row up. What is then too long loses its beginning; what is too short begins with fillers.
    """
    rows, whole = len(drawn), block_size + 1
    cropped = np.zeros(rows, dtype=bool) if cropped is None else cropped
    always = np.ones(rows, dtype=bool)
    said, asked = (np.argsort(np.argsort(part, axis=1), axis=1) for part in np.split(drawn.order, 2, axis=1))
    answers = replies(drawn, decides or drawn.codes)
    parts = [
        (np.tile(FIRST["slot"] + np.arange(TOKENS["slot"]), (rows, 1)), np.full(rows, -100.0), always & slots)
    ]
    lists = {"noun": drawn.nouns, "event": drawn.events, "person": drawn.persons, "act": drawn.acts}
    for index, (kind, which) in enumerate(lists.items()):
        parts.append((FIRST[kind] + which, np.full(rows, 10.0 * index), ~cropped))
    for index, (name, tokens) in enumerate(texts_of(drawn, texts).items()):
        parts.append((tokens, 100 + 10.0 * said[:, index], ~cropped & (texts[name][:, 0] >= 0)))
    for index, name in enumerate(CAPABILITIES):
        cue = np.full((rows, 1), FIRST["cue"] + index)
        parts.append((np.hstack([cue, answers[:, SLICES[name]]]), 1000 + 100.0 * asked[:, index], always))
    ids = np.hstack([tokens for tokens, _, _ in parts])
    keys = np.hstack([
        np.where(there[:, None], start[:, None] + np.arange(tokens.shape[1]), -np.inf) for tokens, start, there in parts
    ])  # fmt: skip
    slot_columns = ids.shape[1] - sum(REPLY.values()) - len(CAPABILITIES) + _SLOTS  # (8,)

    kinds, places = (
        FIRST["filler"] + (drawn.fillers[:, 0] * TOKENS["filler"]).astype(int),
        drawn.fillers[:, 1],
    )
    free = whole - np.isfinite(keys).sum(1, keepdims=True) - (gap or 0)
    before = (
        -50 + places if gap is not None else 950 + 100 * (places * len(CAPABILITIES)).astype(int) + places
    )
    number = np.arange(whole)
    filling = np.where(number < free, before, -np.inf)
    between = np.where(number < (gap or 0), 950 + number / whole, np.full((rows, 1), -np.inf))
    ids, keys = np.hstack([ids, kinds, kinds[:, ::-1]]), np.hstack([keys, filling, between])

    order = np.argsort(keys, axis=1, kind="stable")  # what is not there comes first
    tokens = np.take_along_axis(ids, order, 1)[:, -whole:]
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(order.shape[1])[None], 1)
    where = place[:, slot_columns] - (order.shape[1] - whole) - 1
    x, y = tokens[:, :-1], np.full((rows, block_size), UNSCORED)
    unknown = cropped[:, None] & np.array(
        [name in LISTS for name in CAPABILITIES for _ in range(REPLY[name])]
    )
    line, column = np.nonzero((where >= 0) & ~unknown)
    y[line, where[line, column]] = answers[line, column]
    return Laid(x, y, where)


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
