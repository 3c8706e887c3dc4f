"""What the document on beliefs in residual streams says, and what its readers asked, row by row, beside what happens here, beside a
control."""

import pandas as pd

from experiments.geometry_tables import EASY, END, HARD, KEPT, MIDDLE, moved, of
from experiments.introspection_document import HALF
from experiments.kit.stats import estimate, paired, per_seed
from experiments.kit.tables import Tables
from experiments.kit.words import (
    AGAIN,
    CLEAR,
    MISSING,
    NOT_CLEAR,
    OPEN,
    WORKS,
    interval,
    number,
    percent,
    reach,
    side,
    table,
)

LAYERS = 5  # streams that the layers' maps are fitted on


def of_document(tables: Tables) -> str:
    """A line a statement or question: the document, here, a control, and the verdict."""
    if tables.rows("geometry_maps").empty:
        return MISSING

    def told(values: "pd.Series[float]", digits: int = 2) -> str:
        return interval(estimate(values), digits, sign=False)

    def r2(process: str, source: str) -> "pd.Series[float]":
        return of(tables, process, source)

    def more(one: "pd.Series[float]", other: "pd.Series[float]", sign: int = +1) -> str:
        return side(paired(one, other), sign)

    far, same = (
        {
            column: of(tables, HARD, source, column, "geometry_distances")
            for column in ("belief", "next_token")
        }
        for source in ("joined", "in-sample")
    )
    apart = {
        source: of(tables, HARD, source, "auc", "geometry_apart")
        for source in ("joined", "5-gram", "untrained joined")
    }
    by_layer = {layer: r2(HARD, f"layer {layer}") for layer in range(LAYERS)}
    highest = (
        pd.DataFrame(by_layer).max(axis=1) if all(map(len, by_layer.values())) else r2(HARD, "joined")[:0]
    )
    course = tables.rows("geometry_course", condition=EASY, source="joined")
    first, final = (per_seed(course[course["step"] == step], "r2") for step in (0, course["step"].max()))
    loss = {
        (kept, place): of(tables, HARD, kept, "excess", "geometry_kept", "kept", place=place)
        for kept in ("belief", "random", "without", "principal")
        for place in (MIDDLE, END)
    }

    def over(kept: str, place: str) -> str:
        return number(float(loss[kept, place].mean()), 3)

    move = {name: moved(tables, HARD, name) for name in ("belief", "random", "foreign", "stream")}
    alone = {name: moved(tables, HARD, name, reach="one") for name in ("belief", "foreign")}
    edit = {
        (move, place): moved(tables, EASY, move, ahead=1, pairs="any", place=place)
        for move in ("belief", "random")
        for place in (MIDDLE, END)
    }
    lines = [
        [
            "The residual stream holds the ideal observer's belief, as a linear image",
            f"{EASY}: R² {told(r2(EASY, 'joined'), 3)}",
            f"untrained model {told(r2(EASY, 'untrained joined'), 3)}; shuffled beliefs {told(r2(EASY, 'shuffled'), 3)}",
            AGAIN.get(more(r2(EASY, "joined"), r2(EASY, "untrained joined")), OPEN),
        ],
        [
            f"In {EASY} it is a fractal in a triangle",
            f"MSE {told(of(tables, EASY, 'joined', 'mse'), 4)}",
            f"the last three tokens alone, {told(of(tables, EASY, '3-gram', 'mse'), 4)}; the last five, {told(of(tables, EASY, '5-gram', 'mse'), 4)}",
            AGAIN.get(more(of(tables, EASY, "joined", "mse"), of(tables, EASY, "3-gram", "mse"), -1), OPEN),
        ],
        [
            f"It is more than the next token asks for ({HARD})",
            f"R² {told(r2(HARD, 'joined'))}",
            f"{told(r2(HARD, 'next-token'))} from the next token's true probabilities, {told(r2(HARD, '5-gram'))} from the last five tokens",
            AGAIN.get(more(r2(HARD, "joined"), r2(HARD, "5-gram")), OPEN),
        ],
        [
            "Distances: R² 0.95 with beliefs', 0.31 with next-token predictions'",
            f"{told(far['belief'])} with beliefs'",
            f"{told(far['next_token'])} with those of the next token's true probabilities",
            AGAIN.get(more(far["belief"], far["next_token"]), OPEN),
        ],
        [
            "The image forms over training",
            f"{EASY}: R² {told(final, 3)} at the end, histories of all lengths",
            f"{told(first, 3)} before the first step",
            AGAIN.get(more(final, first), OPEN),
        ],
        [
            f"Asked: how many layers? In {HARD} it takes several",
            f"all joined R² {told(r2(HARD, 'joined'))}",
            f"the best single layer {told(highest)}, the last {told(by_layer[LAYERS - 1])}",
            AGAIN.get(more(r2(HARD, "joined"), highest), OPEN),
        ],
        [
            "Asked: how is the map fitted? On what it is tested on?",
            f"on other histories: {HARD} R² {told(r2(HARD, 'joined'))}",
            f"on the same ones {told(r2(HARD, 'in-sample'))}, and distances {told(same['belief'])} with beliefs', {told(same['next_token'])} with next-token probabilities'; shuffled beliefs {told(r2(HARD, 'shuffled'))}",
            WORKS.get(reach(estimate(r2(HARD, "joined")), HALF), OPEN),
        ],
        [
            "Asked: does it tell histories apart that only differ later?",
            f"AUC {told(apart['joined'])}",
            f"the last five tokens {told(apart['5-gram'])}, untrained {told(apart['untrained joined'])}",
            WORKS.get(more(apart["joined"], apart["5-gram"]), OPEN),
        ],
        [
            "Asked: is it used? Moved at a middle layer to a belief with the same next token, at all positions so far",
            f"the prediction after the next goes {percent(move['belief'].mean())} of the way",
            f"to a third belief {percent(move['foreign'].mean())}, at random {percent(move['random'].mean())}, with the other history's own stream {percent(move['stream'].mean())}",
            WORKS.get(worst_of(more(move["belief"], move["foreign"]), more(move["belief"], move["random"])), OPEN),
        ],
        [
            "The same at the last position alone",
            f"{percent(alone['belief'].mean())} of the way",
            f"to a third belief {percent(alone['foreign'].mean())}",
            WORKS.get(more(alone["belief"], alone["foreign"]), OPEN),
        ],
        [
            f"The same in {EASY}, where a belief is its next token's probabilities",
            f"next token, middle layer: {percent(edit['belief', MIDDLE].mean())} of the way",
            f"last layer, nearly an edit of the logits: {percent(edit['belief', END].mean())}; at random, middle layer: {percent(edit['random', MIDDLE].mean())}",
            WORKS.get(more(edit["belief", MIDDLE], edit["random", MIDDLE]), OPEN),
        ],
        [
            "Asked: what is left of the loss when all but the belief's subspace is taken out?",
            f"{HARD}: {over('belief', MIDDLE)} nats over the best at the middle layer, {over('belief', END)} at the last",
            "; ".join(f"{KEPT[kept].label} {over(kept, MIDDLE)} and {over(kept, END)}" for kept in ("random", "principal", "without")),
            WORKS.get(worst_of(*(more(loss["belief", place], loss["random", place], -1) for place in (MIDDLE, END))), OPEN),
        ],
    ]  # fmt: skip
    return table(["the document, its readers", "here", "control", "verdict"], lines, words=True)


def worst_of(*verdicts: str) -> str:
    """Clear where all are, not clear where one is not, else open."""
    return NOT_CLEAR if NOT_CLEAR in verdicts else CLEAR if set(verdicts) == {CLEAR} else OPEN
