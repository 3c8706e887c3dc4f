"""What rows are made of: kinds of state, their dimensions, the tokens of each kind. Part of what a run's code does."""

from typing import Literal

Capability = Literal["memory", "continuity", "identity", "affect", "time", "ethics"]
DIMENSIONS: dict[str, int] = {
    "memory": 16,
    "continuity": 8,
    "identity": 16,
    "affect": 2,
    "time": 8,
    "ethics": 12,
}
"""Numbers in the vector of each kind of state, in the order in which they stand one after another."""
LISTED = 3  # nouns, events, persons and acts in a prompt
SHARED = 5  # nouns a category, events a group, acts a kind: the modulus of what is held out
CATEGORIES, GROUPS, RISKS = 6, 4, 4
TRADES, TEMPERS, NAMESAKES = 5, 5, 2
LEVELS, FINE = 4, 4  # of a mood that words tell apart, and steps within each
HOURS, DAYS, WORKDAYS, PARTS = 24, 7, 5, 4
TOKENS = {
    "filler": 8, "slot": len(DIMENSIONS), "cue": len(DIMENSIONS), "noun": CATEGORIES * SHARED, "event": GROUPS * SHARED,
    "person": TRADES * TEMPERS * NAMESAKES, "act": RISKS * SHARED, "category": CATEGORIES, "at": 1, "trade": TRADES,
    "temper": TEMPERS, "valence": LEVELS * FINE, "arousal": LEVELS * FINE, "hour": HOURS, "day": DAYS,
    "risk": RISKS, "manner": LEVELS, "mood": LEVELS, "part": PARTS, "week": 2,
}  # fmt: skip
"""How many tokens there are of each kind, in the order of their ids."""
PROMPT = 4 * LISTED  # tokens
TEXT: dict[str, int] = {
    "memory": 1,
    "continuity": 2,
    "identity": 2,
    "affect": 2,
    "time": 2,
    "ethics": 1,
}
"""Tokens in which a state is told in the text."""
REPLY: dict[str, int] = {
    "memory": 1,
    "continuity": 1,
    "identity": 1,
    "affect": 2,
    "time": 2,
    "ethics": 1,
}
"""Tokens of a reply, after its cue."""
LONGEST = (
    PROMPT + sum(TEXT.values()) + sum(REPLY.values()) + len(DIMENSIONS)
)  # tokens of a row that is told all, without fillers and slots
ASKED = 32  # numbers of a question and of a key, where channels are asked for by attention
