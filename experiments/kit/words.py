"""Words: numbers, lists, Markdown tables and findings, the same in figures and on pages. Loads little."""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from experiments.kit.levels import FEWEST_SEEDS

if TYPE_CHECKING:
    import pandas as pd

    from experiments.kit.stats import Estimate

    Parts = Mapping[str, Estimate] | Iterable[tuple[str, Estimate]]

DASH = "–"  # where there is no number
NOT_CLEAR, OPEN, CLEAR, ABSENT = "not clear", "open", "clear", "not measured"
VERDICTS = (NOT_CLEAR, OPEN, CLEAR, ABSENT)  # the order of a page: what fails comes first
AGAIN = {CLEAR: "comes back", NOT_CLEAR: "does not come back"}  # of what a document reports
WORKS = {CLEAR: "works", NOT_CLEAR: "does not work"}  # of what it proposes
SURVIVES = {CLEAR: "survives its control", NOT_CLEAR: "does not survive it"}
OF_CLAIMS = ("not supported", "inconclusive", "supported", ABSENT)
_PLACES = {word: place for words in (VERDICTS, OF_CLAIMS) for place, word in enumerate(words)}
PREFIXES = {  # of a sentence that nothing is known of yet, and of a registered claim
    OPEN: "Not settled: ", ABSENT: "Not measured: ", **{word: f"{word.capitalize()}: " for word in OF_CLAIMS},
}  # fmt: skip
MISSING = "The tables hold nothing for this yet."


def number(value: float, digits: int = 3) -> str:
    """A plain number with a true minus sign; a dash where there is none; never a negative zero."""
    if not math.isfinite(value):
        return DASH
    text = f"{value:.{digits}f}"
    return text.replace("-", "" if float(text) == 0 else "−")


def signed(value: float, digits: int = 3) -> str:
    """A number with its sign, for differences."""
    text = number(value, digits)
    return text if text == DASH or text.startswith("−") or float(text) == 0 else f"+{text}"


def percent(share: float) -> str:
    """A share as a percentage: 0.9 as `90 %`."""
    text = number(100 * share, 0)
    return text if text == DASH else f"{text} %"


def tiny(value: float) -> str:
    """A number from 0.0005 on with four digits, a smaller one by its power of ten."""
    if not math.isfinite(value):
        return DASH
    return number(value, 4) if abs(value) >= 5e-4 else f"{value:.1e}".replace("-", "−")


def plural(count: int, noun: str, many: str = "") -> str:
    """`1 seed`, `2 seeds`; `many` where an s does not make the plural."""
    return f"{count} {noun if count == 1 else many or f'{noun}s'}"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; `none` for no word."""
    if not words:
        return "none"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: bool = False) -> str:
    """A Markdown table: first column to the left, the others to the right, or of words to the left, too. A bar in a cell is
    escaped. MISSING where there is no row."""
    marks = ["---", *["---" if words else "---:"] * (len(head) - 1)]
    lines = [[cell(text) for text in cells] for cells in (head, *rows)]
    return (
        MISSING
        if len(lines) == 1
        else "\n".join(f"| {' | '.join(cells)} |" for cells in [lines[0], marks, *lines[1:]])
    )


def cell(text: str) -> str:
    """A text as one cell of a table: on one line, its bars escaped."""
    return re.sub(r"(?<!\\)\|", r"\|", " ".join(str(text).splitlines()))


def harmless(page: str) -> str:
    """A page whose tables and notes can hold whatever they like: no HTML but small pictures of the project's own
    figures, no control signs, no turned direction."""
    page = re.sub(r'<(?!img src="figures/\w+\.png" width="\d+" alt="">)(?=[A-Za-z/!?])', "&lt;", page)
    return "".join(
        sign for sign in page if sign in "\n\t" or unicodedata.category(sign) not in ("Cc", "Cf", "Cs")
    )


def interval(value: "Estimate", digits: int = 3, sign: bool = True) -> str:
    """`mean [low, high]`: the mean over seeds and its 95 % t interval; the mean alone for one seed."""
    show = signed if sign else number
    if value.n < 2 or not math.isfinite(value.low):
        return show(value.mean, digits)
    return f"{show(value.mean, digits)} [{show(value.low, digits)}, {show(value.high, digits)}]"


@dataclass(frozen=True)
class Finding:
    """What was asked of some numbers, and what came of it.

    Attributes:
        claim: what is said where the numbers show it.
        verdict: on the claim, one of VERDICTS, or of a registered claim's own.
        evidence: the numbers that decide it, as a sentence.
        otherwise: what is said where the numbers do not show it, or show the opposite.
    """

    claim: str
    verdict: str
    evidence: str
    otherwise: str = ""

    def line(self) -> str:
        """As it stands on a page: what happened, and its numbers."""
        return f"- **{self.title()}** {self.evidence}"

    def title(self) -> str:
        """What happened, in a sentence, as it stands above a figure."""
        if self.verdict == NOT_CLEAR:
            return self.otherwise or f"Not clear: {self.claim}"
        claimed = f"{self.verdict.capitalize()}: " if self.verdict in OF_CLAIMS else ""
        return PREFIXES.get(self.verdict, claimed) + self.claim


def settled(n: int, holds: bool) -> str:
    """The verdict on what holds, or does not, of so many seeds."""
    if n < FEWEST_SEEDS:
        return OPEN if n else ABSENT
    return CLEAR if holds else NOT_CLEAR


def side(value: "Estimate", sign: int) -> str:
    """The verdict on "this mean lies on that side of zero"; sign is +1 or -1."""
    return settled(value.n, value.low > 0 if sign > 0 else value.high < 0)


def reach(value: "Estimate", said: float) -> str:
    """The verdict on "this mean is at least so large": open, too, where the interval holds that number."""
    found = settled(value.n, value.low >= said)
    return OPEN if found == NOT_CLEAR and value.high >= said else found


def below(value: "Estimate", bound: float) -> str:
    """The verdict on "this mean is smaller than a bound": open where the interval holds the bound."""
    return reach(replace(value, mean=-value.mean, low=-value.high, high=-value.low), -bound)


def near(value: "Estimate", bound: float) -> str:
    """The verdict on "this mean is no further from zero than a bound"."""
    turned = replace(value, mean=-value.mean, low=-value.high, high=-value.low)
    sides = (below(value, bound), below(turned, bound))
    return NOT_CLEAR if NOT_CLEAR in sides else OPEN if set(sides) != {CLEAR} else CLEAR


def again(value: "Estimate", said: float) -> str:
    """The verdict on "a further seed could give this number": by the t prediction interval of the seeds."""
    return settled(value.n, abs(said - value.mean) <= (value.high - value.mean) * math.sqrt(value.n + 1))


def all_of(verdicts: Iterable[str]) -> str:
    """The verdict on a sentence whose parts have these: open where they disagree."""
    known = {verdict for verdict in verdicts if verdict != ABSENT}
    if not known:
        return ABSENT
    return known.pop() if len(known) == 1 else OPEN


def worst(verdicts: Iterable[str]) -> str:
    """The verdict on a sentence that holds only if each of its parts does."""
    return min(verdicts, key=VERDICTS.index)


def other_way(parts: "Parts", sign: int) -> str:
    """A sentence, after a space, on which parts lie clearly on that side of zero and which on the other; "" where it says nothing."""
    known = {name: value for name, value in dict(parts).items() if value.n}
    holds, turned = (
        [name for name, value in known.items() if side(value, way) == CLEAR] for way in (sign, -sign)
    )
    return turned_way(turned, len(known), holds)


def least(parts: "Parts", sign: int) -> dict[str, "Estimate"]:
    """The one part that lies least far on that side of zero: where it clearly does, all do. Nothing without a part."""
    known = [(name, value) for name, value in dict(parts).items() if value.n]

    def end(value: "Estimate") -> float:
        low = value.low if sign > 0 else -value.high
        return low if math.isfinite(low) else sign * value.mean

    return dict(sorted(known, key=lambda part: end(part[1]))[:1])


def turned_way(turned: Sequence[str], parts: int, holds: Sequence[str] = ()) -> str:
    """That sentence for the parts that are turned and those that hold, out of so many; all of them need no names."""
    if len(turned) == parts:
        return " It is clearly the other way round." if turned else ""
    said = [f"clear in {len(holds)} of {parts}: {listed(holds)}"] if 0 < len(holds) < parts else []
    said += [f"clearly the other way round in {len(turned)} of {parts}: {listed(turned)}"] if turned else []
    text = "; ".join(said)
    return f" {text[0].upper()}{text[1:]}." if said else ""


def difference(
    claim: str, parts: "Parts", sign: int, unit: str = "", digits: int = 3, pairs: bool = True, otherwise: str = "",
    nearest: bool = False, reverse: str = "",
) -> Finding:  # fmt: skip
    """The finding on values that should all lie on one side of zero.

    Args:
        claim, otherwise, reverse: what is said where all clearly do, where not, and where all clearly lie on the other side.
        parts: what is compared, by name. ByCondition's `values` and `against` give them.
        sign: +1 or -1, the side that the claim says.
        pairs: whether each is a difference paired by seed. nearest: tell the part alone that lies least far on that side.
    """
    known = {name: value for name, value in dict(parts).items() if value.n}
    if not known:
        return Finding(claim, ABSENT, "It needs seeds that both sides of a comparison have.", otherwise)
    told = least(known, sign) if nearest else known
    text = "; ".join(f"{name} {interval(value, digits)}" for name, value in told.items())
    n = min(value.n for value in known.values())
    verdict = worst([side(value, sign) for value in known.values()])
    unit = f" {unit.strip()}" * bool(unit.strip()) + ", paired by seed" * pairs
    evidence = f"{text}{unit}, n = {n}."
    if reverse and all(side(value, -sign) == CLEAR for value in known.values()):
        return Finding(claim, verdict, evidence, reverse)
    return Finding(claim, verdict, evidence + other_way(known, sign), otherwise)


def in_each(
    said: str, parts: "Parts", sign: int, unit: str = "", digits: int = 3, pairs: bool = True
) -> Finding:
    """The `difference` that says something of every regime; where it does not hold of all, of how many it does."""
    known = {name: value for name, value in dict(parts).items() if value.n}
    holds = sum(side(value, sign) == CLEAR for value in known.values())
    otherwise = f"In {holds or 'none'} of {plural(len(known), 'regime')} {said}."
    return difference(f"In every regime {said}.", known, sign, unit, digits, pairs, otherwise)


def within(claim: str, value: "Estimate", bound: float, evidence: str, otherwise: str) -> Finding:
    """The finding that a number lies within a bound of zero: clear where its interval does."""
    if not value.n:
        return Finding(claim, ABSENT, "It needs seeds that both sides of a comparison have.", otherwise)
    verdict = settled(value.n, max(abs(value.low), abs(value.high)) < bound)
    return Finding(claim, verdict, f"{evidence}: {interval(value)}, n = {value.n}.", otherwise)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Findings, what fails first."""
    return sorted(findings, key=lambda finding: _PLACES[finding.verdict])


def median(steps: "pd.Series[float]", never: str = "never") -> str:
    """The median of steps by seed, `never` where that is infinite, and in brackets how many seeds got there."""
    if steps.empty:
        return DASH
    there = int(np.isfinite(steps).sum())
    middle = float(np.median(steps)) if there * 2 > len(steps) else math.inf
    return f"{number(middle, 0) if math.isfinite(middle) else never} ({there} of {len(steps)})"
