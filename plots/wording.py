"""Numbers and lists as words, the same in figures and on pages."""

import math
from collections.abc import Sequence

ABSENT = "–"


def number(value: float, digits: int = 3) -> str:
    """A plain number with a true minus sign; a dash where there is none; never a negative zero."""
    if not math.isfinite(value):
        return ABSENT
    text = f"{value:.{digits}f}"
    return text.replace("-", "" if float(text) == 0 else "−")


def signed(value: float, digits: int = 3) -> str:
    """A number with its sign, for differences."""
    text = number(value, digits)
    return text if text == ABSENT or text.startswith("−") or float(text) == 0 else f"+{text}"


def percent(share: float) -> str:
    """A share as a percentage: 0.9 as `90 %`."""
    text = number(100 * share, 0)
    return text if text == ABSENT else f"{text} %"


def plural(count: int, noun: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; `none` for no word."""
    if not words:
        return "none"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
