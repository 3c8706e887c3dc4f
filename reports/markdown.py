"""Markdown tables and intervals, written the same way on every page.

What is loaded here is little: a study with nothing to do writes a page, too.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from plots.wording import number, signed

if TYPE_CHECKING:
    from plots.series import Estimate


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: bool = False) -> str:
    """A Markdown table: first column to the left, the others to the right, or of words to the left, too. A bar in a cell is
    escaped."""
    marks = ["---", *["---" if words else "---:"] * (len(head) - 1)]
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


def interval(value: "Estimate", digits: int = 3, sign: bool = True) -> str:
    """`mean [low, high]`: the mean over seeds and its 95 % t interval; the mean alone for one seed."""
    show = signed if sign else number
    if value.n < 2 or not math.isfinite(value.low):
        return show(value.mean, digits)
    return f"{show(value.mean, digits)} [{show(value.low, digits)}, {show(value.high, digits)}]"
