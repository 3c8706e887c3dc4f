"""What the document on beliefs in residual streams says, and what its readers asked, row by row, beside what happens here, and whether
that goes beyond each control."""

import pandas as pd

from experiments.claims.judge import YES, back
from experiments.geometry_tables import DOCUMENT, EASY, END, HARD, KEPT, MIDDLE, moved, of
from experiments.kit.stats import estimate, paired, per_seed
from experiments.kit.tables import Tables
from experiments.kit.words import (
    CLEAR,
    MISSING,
    NOT_CLEAR,
    OPEN,
    interval,
    number,
    percent,
    side,
    table,
)

LAYERS = 5  # streams that the layers' maps are fitted on
BEYOND = {CLEAR: "yes", NOT_CLEAR: "no"}


def of_document(tables: Tables) -> str:
    """A line a statement or question: the document, here, and controls, each with whether what is here lies beyond it."""
    if tables.rows("geometry_maps").empty:
        return MISSING

    def told(values: "pd.Series[float]", digits: int = 2) -> str:
        return interval(estimate(values), digits, sign=False)

    def r2(process: str, source: str) -> "pd.Series[float]":
        return of(tables, process, source)

    def more(one: "pd.Series[float]", other: "pd.Series[float]", sign: int = +1) -> str:
        return BEYOND.get(side(paired(one, other), sign), OPEN)

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
    size = back(DOCUMENT["belief"], estimate(far["belief"]))
    lines: list[tuple[str, str, dict[str, str]]] = [
        (
            "The residual stream holds the ideal observer's belief, as a linear image",
            f"{EASY}: R² {told(r2(EASY, 'joined'), 3)}",
            {
                f"{said} {told(r2(EASY, source), 3)}": more(r2(EASY, "joined"), r2(EASY, source))
                for said, source in (("untrained model", "untrained joined"), ("the last three tokens", "3-gram"), ("the last five", "5-gram"), ("the next token's true probabilities", "next-token"))
            },
        ),
        (
            f"In {EASY} it is a fractal in a triangle",
            f"MSE {told(of(tables, EASY, 'joined', 'mse'), 4)}",
            {
                f"the last {said} tokens {told(of(tables, EASY, source, 'mse'), 4)}": more(of(tables, EASY, "joined", "mse"), of(tables, EASY, source, "mse"), -1)
                for said, source in (("three", "3-gram"), ("five", "5-gram"))
            },
        ),
        (
            f"It is more than the next token asks for ({HARD})",
            f"R² {told(r2(HARD, 'joined'))} on histories as long as the context, {told(of(tables, HARD, 'joined', at='all'))} on all",
            {
                f"the next token's true probabilities {told(r2(HARD, 'next-token'))}": more(r2(HARD, "joined"), r2(HARD, "next-token")),
                **{
                    f"the last five tokens {told(of(tables, HARD, '5-gram', at=at))}{said}": more(of(tables, HARD, "joined", at=at), of(tables, HARD, "5-gram", at=at))
                    for at, said in (("last", ""), ("all", " on all"))
                },
            },
        ),
        (
            f"Distances: R² {DOCUMENT['belief']} with beliefs', {DOCUMENT['next_token']} with next-token predictions'",
            f"with beliefs' {told(far['belief'])}{'' if size == YES else f': {size}'} ({told(same['belief'])} on the histories that the map was fitted on)",
            {f"with those of the next token's true probabilities {told(far['next_token'])} ({told(same['next_token'])})": more(far["belief"], far["next_token"])},
        ),
        (
            "The image forms over training",
            f"{EASY}: R² {told(final, 3)} at the end, histories of all lengths",
            {f"before the first step {told(first, 3)}": more(final, first)},
        ),
        (
            f"Asked: how many layers? In {HARD} it takes several",
            f"all joined R² {told(r2(HARD, 'joined'))}",
            {f"the best single layer {told(highest)}": more(r2(HARD, "joined"), highest)},
        ),
        (
            "Asked: how is the map fitted? On what it is tested on?",
            f"on other histories: {HARD} R² {told(r2(HARD, 'joined'))}; on the same ones {told(r2(HARD, 'in-sample'))}",
            {f"shuffled beliefs {told(r2(HARD, 'shuffled'))}": more(r2(HARD, "joined"), r2(HARD, "shuffled"))},
        ),
        (
            "Asked: does it tell histories apart that only differ later?",
            f"AUC {told(apart['joined'])}",
            {
                f"{said} {told(apart[source])}": more(apart["joined"], apart[source])
                for said, source in (("the last five tokens", "5-gram"), ("untrained", "untrained joined"))
            },
        ),
        (
            "Asked: is it used? Moved at a middle layer to a belief with the same next token, at all positions so far",
            f"the prediction after the next goes {percent(move['belief'].mean())} of the way, with the other history's own stream {percent(move['stream'].mean())}",
            {
                f"{said} {percent(move[rival].mean())}": more(move["belief"], move[rival])
                for said, rival in (("at random", "random"), ("to a third belief", "foreign"))
            },
        ),
        (
            "The same at the last position alone",
            f"{percent(alone['belief'].mean())} of the way",
            {f"to a third belief {percent(alone['foreign'].mean())}": more(alone["belief"], alone["foreign"])},
        ),
        (
            f"The same in {EASY}, where a belief is its next token's probabilities",
            f"next token, middle layer: {percent(edit['belief', MIDDLE].mean())} of the way; last layer, nearly an edit of the logits: {percent(edit['belief', END].mean())}",
            {f"at random, middle layer {percent(edit['random', MIDDLE].mean())}": more(edit["belief", MIDDLE], edit["random", MIDDLE])},
        ),
        *(
            (
                f"Asked: what is left of the loss when all but the belief's subspace is taken out? {place.capitalize()} layer",
                f"{HARD}: {over('belief', place)} nats over the best",
                {f"{KEPT[kept].label} {over(kept, place)}": more(loss["belief", place], loss[kept, place], -1) for kept in ("random", "principal", "without")},
            )
            for place in (MIDDLE, END)
        ),
    ]  # fmt: skip
    rows = [
        [said, here, "; ".join(f"{control}: **{yes}**" for control, yes in beyond.items())]
        for said, here, beyond in lines
    ]
    return table(["the document, its readers", "here", "control: is it beyond that?"], rows, words=True)
