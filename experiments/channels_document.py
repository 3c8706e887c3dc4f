"""What the document on state channels says, row by row, beside what happens here, beside a control."""

import pandas as pd

from experiments.channels_tables import CAPABILITIES, HELDOUT, STATE_ALONE
from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.tables import Tables
from experiments.kit.words import AGAIN, MISSING, OPEN, WORKS, interval, near, reach, side, table, worst

OVERRIDDEN, DECIDED = 264 / 265, 0.888  # the document's numbers
AS_MUCH = 0.9  # of its number, by the whole interval, is what comes back
APART = 0.05  # of the replies: what one channel may cost the others


def of_document(tables: Tables) -> str:
    """A line a statement: the document, here, a control, and whether it comes back."""
    if tables.rows("channels_summary").empty:
        return MISSING

    def mean(condition: str, column: str) -> "pd.Series[float]":
        return per_seed(tables.rows("channels_summary", condition=condition), column)

    def right(test: str, capability: str) -> "pd.Series[float]":
        rows = tables.rows("channels_replies", condition="native", split=HELDOUT, test=test)
        return per_seed(rows[rows["capability"] == capability], "right")

    def nll(condition: str, split: str) -> "pd.Series[float]":
        return per_seed(tables.rows("channels_relief", condition=condition, split=split), "nll")

    def norm(condition: str) -> "pd.Series[float]":
        rows = tables.rows("channels_gates", condition=condition)
        return per_seed(rows[rows["step"] == rows["step"].max()], "norm")

    def moved(part: str) -> "pd.Series[float]":
        return per_seed(tables.rows("channels_directions", condition="native", moved=part), "share")

    def far(test: str) -> "pd.Series[float]":
        rows = tables.rows("channels_course", condition="native", test=test, replies="state alone")
        return per_seed(rows[rows["level"] == rows["level"].max()], "right")

    def told(values: "pd.Series[float] | Estimate", digits: int = 2, sign: bool = False) -> str:
        return interval(values if isinstance(values, Estimate) else estimate(values), digits, sign=sign)

    def lowest(test: str) -> str:
        shares = {name: right(test, name) for name in CAPABILITIES}
        name = min(shares, key=lambda one: shares[one].mean() if len(shares[one]) else 2.0)
        return f"{told(shares[name])} ({name})"

    six = [side(paired(right("own", name), right("other", name)), +1) for name in CAPABILITIES]
    parts = ("valence", "arousal", "hour", "day", "risk")
    least = min(parts, key=lambda part: moved(part).mean() if len(moved(part)) else 2.0)
    smaller, larger = (paired(nll("native", HELDOUT), nll(other, HELDOUT)) for other in ("small", "large"))
    seen = paired(nll("native", "dev"), nll("small", "dev"))
    lines = [
        [
            "Six of six capabilities follow the channel on held-out data",
            f"right in {told(mean('native', 'own'))} of the replies, least in {lowest('own')}",
            f"another row's state {told(mean('native', 'other'))}, no state {told(mean('native', 'zeroed'))}",
            AGAIN.get(worst(six), OPEN),
        ],
        [
            "Affect, time and ethics move the way that the channel moves",
            f"a level up, an hour on, another risk: so in {told(moved(least))} of the rows at least ({least})",
            "half would move so by chance",
            AGAIN.get(worst([reach(estimate(moved(part)), 0.5) for part in parts]), OPEN),
        ],
        [
            "In conflict the channel overrides the text, in 264 of 265",
            f"{told(mean('native', 'clash_channel'))}, the text {told(mean('native', 'clash_text'))}",
            f"where the channel erred in training {told(mean('channel_errs', 'clash_channel'))}, where the text did "
            f"{told(mean('text_errs', 'clash_channel'))}, where it never told a state {told(mean('silent', 'clash_channel'))}",
            AGAIN.get(reach(estimate(mean("native", "clash_channel")), AS_MUCH * OVERRIDDEN), OPEN),
        ],
        [
            "A model trained with channels decides 88.8 % of counterfactual pairs, by chance 25 %",
            told(mean("native", "pairs")),
            f"trained with other rows' states {told(mean('shuffled', 'pairs'))}",
            AGAIN.get(reach(estimate(mean("native", "pairs")), AS_MUCH * DECIDED), OPEN),
        ],
        [
            "With channels at zero it predicts better than baselines that bracket its size",
            f"{told(smaller, 3, sign=True)} nats a reply beside the smaller, {told(larger, 3, sign=True)} beside the larger",
            f"{told(seen, 3, sign=True)} beside the smaller on combinations that training had",
            AGAIN.get(worst([side(smaller, -1), side(larger, -1)]), OPEN),
        ],
        [
            "Gates that begin at zero open in training",
            f"a state adds {told(norm('native'))} to a block",
            f"other rows' states {told(norm('shuffled'))}, a learned constant {told(norm('constant'))}",
            AGAIN.get(side(paired(norm("native"), norm("shuffled")), +1), OPEN),
        ],
        [
            "The state has to reach every layer",
            f"right in {told(mean('native', 'own'))}",
            f"before the first layer alone {told(mean('first', 'own'))}, at a token in front {told(mean('prefix', 'own'))}",
            AGAIN.get(worst([side(paired(mean("native", "own"), mean(one, "own")), +1) for one in ("first", "prefix")]), OPEN),
        ],
        [
            "Later: gated cross-attention",
            f"right in {told(mean('attention', 'own'))}",
            f"another row's state {told(mean('attention', 'other'))}; added to every position {told(mean('native', 'own'))}",
            WORKS.get(side(paired(mean("attention", "own"), mean("attention", "other")), +1), OPEN),
        ],
        [
            "Six channels do not disturb one another",
            f"one at zero changes each other's replies by {told(mean('native', 'knocked_others'), 3)}",
            f"its own by {told(mean('native', 'knocked_own'), sign=True)}",
            AGAIN.get(near(estimate(mean("native", "knocked_others")), APART), OPEN),
        ],
        [
            "A state persists when its cue has scrolled away",
            f"{' and '.join(STATE_ALONE)} right in {told(far('gap'))}",
            f"told in the text {told(far('text gap'))}",
            AGAIN.get(side(paired(far("gap"), far("text gap")), +1), OPEN),
        ],
    ]  # fmt: skip
    return table(["the document", "here", "control", "verdict"], lines, words=True)
