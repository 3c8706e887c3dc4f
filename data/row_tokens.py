"""Rows as tokens: what a state decides, how a text tells it, and where each of it stands.

    [slots] nouns events persons act   [what the text says of the state]   cue reply  cue reply ...

What the text says and the replies stand in an order drawn for each row, fillers before replies fill it up to its length.
"""

from dataclasses import dataclass

import numpy as np

from configs.row_kinds import (
    FINE,
    HOURS,
    NAMESAKES,
    PARTS,
    REPLY,
    SHARED,
    TEMPERS,
    TOKENS,
    WORKDAYS,
)
from data.row_sample import CAPABILITIES, LISTS, Codes, Sample

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


@dataclass(frozen=True)
class Laid:
    """Rows as tokens: x, y (B, T) int64, y UNSCORED but at replies; where (B, 8): at which place of y each reply's slot is,
    below zero where the window leaves it out."""

    x: np.ndarray
    y: np.ndarray
    where: np.ndarray


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
