"""Markdown tables and numbers, written the same way on every page."""

import math
import re
import unicodedata
from collections.abc import Sequence

from plots.series import Estimate

ABSENT = "–"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: first column to the left, the others to the right. A bar in a cell is escaped."""
    marks = ["---", *["---:"] * (len(head) - 1)]
    lines = [[cell(text) for text in cells] for cells in (head, *rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [lines[0], marks, *lines[1:]])


def cell(text: str) -> str:
    """A text as one cell of a table: on one line, its bars escaped."""
    return re.sub(r"(?<!\\)\|", r"\|", " ".join(str(text).splitlines()))


def harmless(page: str) -> str:
    """A page whose tables and notes can hold whatever they like: no HTML, no control signs, no turned direction."""
    page = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", page)
    return "".join(
        sign for sign in page if sign in "\n\t" or unicodedata.category(sign) not in ("Cc", "Cf", "Cs")
    )


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


def interval(value: Estimate, digits: int = 3, sign: bool = True) -> str:
    """`mean [low, high]`: the mean over seeds and its 95 % t interval; the mean alone for one seed."""
    show = signed if sign else number
    if value.n < 2 or not math.isfinite(value.low):
        return show(value.mean, digits)
    return f"{show(value.mean, digits)} [{show(value.low, digits)}, {show(value.high, digits)}]"


def percent(share: float) -> str:
    """A share as a percentage."""
    return f"{100 * share:.0f} %" if math.isfinite(share) else ABSENT


def plural(count: int, noun: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; `none` for no word."""
    if not words:
        return "none"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
