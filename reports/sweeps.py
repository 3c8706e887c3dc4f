"""The page on sweeps: what a self-state gains as one dial is turned at a time."""

from experiments.kit.stats import over_seeds, paired, per_seed
from experiments.kit.words import ABSENT, MISSING, Finding, difference, interval, table
from plots.sweeps import COLUMNS, POINTS, SUITE, by_value, trend
from reports.parts import Section, Tables

__all__ = ["COLUMNS", "FILE", "SUITE", "TITLE", "sections"]

TITLE = "Sweeps: how what a self-state pays depends on one dial"
FILE = "sweeps.md"
KINDS = {"clean_gain": "calm steps", "perturbed_gain": "perturbed steps"}
ASKED = {  # dial -> title, question, what it does not show, claim, the sign of the trend that the claim wants
    "decay": (
        "How fast should a state forget?",
        "Decay is the share of the new proposal in each update; at 1 nothing is carried on.",
        "A state that is carried on can smooth noise away and comes late to each switch. Which of the two counts more depends "
        "on the noise: where one batch gives the regime away, smoothing has little to add.",
        "The slower a state forgets, the more it gains",
        -1,
    ),
    "dim": (
        "How many dimensions does it take?",
        "There is one thing to know in this world, whether targets are corrupted.",
        "More dimensions also mean more parameters, in the update network and in the reader.",
        "The more dimensions a state has, the more it gains",
        +1,
    ),
    "rate": (
        "How often may the world switch?",
        "The probability of a switch at each step, on and off alike: stretches of 200 steps on average, down to 10.",
        "Vanilla differs from world to world too: where stretches are long its weights adapt to each by themselves, and there is less "
        "left to gain. A gain that grows with the rate and then falls would have a rank correlation near zero.",
        "The more often the world switches, the more a state gains",
        +1,
    ),
    "strength": (
        "How strong must the corruption be?",
        "The probability that a target is replaced by a random one while the regime acts.",
        "The stronger the corruption, the more the two regimes' best predictions differ, so that there is more to gain for whoever "
        "knows which acts. No oracle is trained in these worlds: the share of what could be gained is not known.",
        "The stronger the corruption, the more a state gains",
        +1,
    ),
}  # fmt: skip


def sections(tables: Tables, figures: str) -> list[Section]:
    """The page's sections, one a dial. `figures` is the folder of figures as seen from the page."""
    found = [of_dial(tables, dial) for dial in ASKED]
    if not tables.rows(POINTS).empty:
        found[0] = Section(
            found[0].title,
            found[0].asked,
            [*found[0].body, f"![Sweeps]({figures}/sweeps.png)"],
            found[0].shows,
            found[0].findings,
        )
    return found


def of_dial(tables: Tables, dial: str) -> Section:
    """Gain by the value of one dial, and whether it rises or falls with it."""
    title, asked, shows, claim, sign = ASKED[dial]
    points = tables.rows(POINTS, dial=dial)
    rows = []
    for value, here in points.groupby("value"):
        mark = " (base)" if here["base"].astype(bool).any() else ""
        gains = [interval(over_seeds(here, column), 4) for column in (*KINDS, "heldout_gain")]
        rows.append([f"{value:g}{mark}", *gains, str(over_seeds(here, "clean_gain").n)])
    head = [
        dial,
        "gain on calm steps",
        "gain on perturbed steps",
        "gain on held-out text at calm moments",
        "n",
    ]
    body = [table(head, rows) if rows else MISSING]
    if rows:
        body += [
            "Gain: vanilla's loss in the same world minus this one's, nats a token, paired by seed and step; above zero is better. "
            "All values share the seeds, so that they compare seed by seed.",
            _best(tables, dial),
        ]
    findings = []
    for column, kind in KINDS.items():
        found = trend(points, dial, column)
        text = f"{claim}, on {kind}."
        if not found.n:
            findings.append(Finding(text, ABSENT, "It needs seeds that were run at three values or more."))
        else:
            findings.append(
                difference(
                    text,
                    [(f"Spearman's ρ of `{dial}` and gain within each seed", found)],
                    sign,
                    "",
                    2,
                    pairs=False,
                )
            )
    return Section(title, asked, body, shows, findings)


def _best(tables: Tables, dial: str) -> str:
    """The value with the largest mean gain on calm steps, and whether it is clearly better than the base."""
    points = tables.rows(POINTS, dial=dial)
    wide = by_value(points, dial, "clean_gain")
    if wide.empty:
        return "No value has been measured against its vanilla yet."
    best = float(wide.index[int(wide.mean(axis=1).argmax())])
    base = points[points["base"].astype(bool)]
    if base.empty or best == float(base["value"].iloc[0]):
        return f"The largest mean gain on calm steps is that of {best:g}{'' if base.empty else ', the base itself'}."
    beyond = paired(per_seed(points[points["value"] == best], "clean_gain"), per_seed(base, "clean_gain"))
    if not beyond.n:
        return f"The largest mean gain on calm steps is that of {best:g}; no seed has both it and the base."
    return (
        f"The largest mean gain on calm steps is that of {best:g}: {interval(beyond, 4)} nats more than at the base value "
        f"{base['value'].iloc[0]:g}, paired by seed; it was picked as the best of {len(wide)}, so its surplus is overstated."
    )
