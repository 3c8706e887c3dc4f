"""Does the residual stream hold the belief that an ideal observer has of a hidden process, and is that belief used?

What was done to the finished runs is told in probes/geometry.py. Each condition is a process; R2 and MSE are over all components of a
belief together, on histories that the map was not fitted on, each once, weighted by its probability; where nothing else is said, on
those as long as the model's context.
"""

from typing import Any

import pandas as pd

from experiments import beliefs
from experiments.claims.judge import YES, back
from experiments.geometry_figure import ELSEWHERE, FIGURES
from experiments.geometry_tables import (
    BY_HAND,
    DOCUMENT,
    EASY,
    END,
    HARD,
    KEPT,
    MIDDLE,
    MOVES,
    PROCESSES,
    SOURCES,
    TABLES,
    moved,
    of,
)
from experiments.kit import pages
from experiments.kit.experiment import Experiment
from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.tables import Tables
from experiments.kit.words import (
    ABSENT,
    CLEAR,
    MISSING,
    NOT_CLEAR,
    OPEN,
    Finding,
    difference,
    interval,
    number,
    percent,
    side,
    table,
    worst,
)

LAYERS = 5  # streams that the layers' maps are fitted on
BEYOND = {CLEAR: "yes", NOT_CLEAR: "no"}


def findings(tables: Tables) -> dict[str, Finding]:
    """The five sentences that open the page, each with its numbers."""

    held = {
        f"`{process}`": paired(of(tables, process, "joined"), of(tables, process, "untrained joined"))
        for process in PROCESSES
    }
    far = [of(tables, HARD, "joined", column, "geometry_distances") for column in DOCUMENT]
    return {
        "held": difference(
            "In each process the trained stream, all layers joined, tells more of the belief than the untrained one.", held, +1, "of R²",
            otherwise="The trained stream, all layers joined, does not tell clearly more of the belief than the untrained one in every process.",
        ),
        "beyond": beyond(tables),
        "distances": difference(
            "In rrxor distances between found beliefs follow those between beliefs more than those between next-token probabilities.",
            {"Difference of the two R²": paired(*far)}, +1, f"({number(DOCUMENT['belief'] - DOCUMENT['next_token'], 2)} in the document)",
            otherwise="In rrxor distances between found beliefs do not follow those between beliefs clearly more than those between next-token probabilities.",
            reverse="In rrxor distances between found beliefs follow those between next-token probabilities more than those between beliefs.",
        ),
        "used": used(tables),
        "enough": enough(tables),
    }  # fmt: skip


def beyond(tables: Tables) -> Finding:
    """Whether the stream tells more than the last five tokens, where these are not the whole history and over all histories."""
    own, five = (
        [of(tables, HARD, source, at=at) for at in ("last", "all")] for source in ("joined", "5-gram")
    )
    apart = [paired(*pair) for pair in zip(own, five, strict=True)]
    if not all(gain.n for gain in apart):
        return Finding(
            "The stream tells more of the belief than the last five tokens do.",
            ABSENT,
            "It needs models of rrxor.",
        )
    whole, every = (
        "more" if gain.low > 0 else "less" if gain.high < 0 else "not clearly more" for gain in apart
    )
    said = f"In rrxor the stream tells {whole} of the belief than the last five tokens do on histories as long as the context"
    told = [
        f"R² {number(one.mean())} against {number(other.mean())}, difference {interval(gain)}"
        for one, other, gain in zip(own, five, apart, strict=True)
    ]
    text = f"{said}, {f'and {every}' if every == whole else every} over histories of all lengths."
    return Finding(
        text,
        worst(side(gain, +1) for gain in apart),
        f"{'; of all lengths '.join(told)}, n = {apart[0].n}.",
        text,
    )


def used(tables: Tables) -> Finding:
    """Whether a move to a belief changes the next prediction but one more than other moves, and whether it is that belief."""
    told, gains = [], dict[str, list[Estimate]](random=[], foreign=[])
    for reach, where in (("past", "at all positions so far"), ("one", "at the last position alone")):
        own = moved(tables, HARD, "belief", reach=reach)
        told.append(f"{where} {percent(own.mean())}")
        for rival, name in (("random", "at random"), ("foreign", "to a third belief")):
            other = moved(tables, HARD, rival, reach=reach)
            gains[rival].append(paired(own, other))
            told[-1] += f", {name} {percent(other.mean())} ({interval(gains[rival][-1])})"
    more, this = (worst(side(gain, +1) for gain in found) for found in gains.values())
    change = "In rrxor a move to another belief changes the prediction of the token after the next {} than a random move of its length"
    said = f"Share of the way to that belief's prediction, moved at the middle layer {'; '.join(told)}; n = {gains['random'][0].n}."
    otherwise = (
        f"{change.format('more')}; that it is this very belief which does so is not clear."
        if more == CLEAR
        else f"{change.format('not clearly more')}."
    )
    return Finding(
        f"{change.format('more')} or one to a third belief does.", worst((more, this)), said, otherwise
    )


def enough(tables: Tables) -> Finding:
    """Whether the belief alone costs less than all but the belief."""
    only, less = "In rrxor keeping only the belief", "less than keeping all but the belief"
    told, verdicts = [], dict[str, str]()
    for place in (MIDDLE, END):
        kept = [
            of(tables, HARD, name, "excess", "geometry_kept", "kept", place=place)
            for name in ("belief", "without")
        ]
        one, other = (number(float(loss.mean())) for loss in kept)
        gain = paired(*kept)
        verdicts[place] = side(gain, -1)
        told.append(f"{one} against {other} nats over the best after the {place} layer ({interval(gain)})")
    where = next((place for place, verdict in verdicts.items() if verdict == CLEAR), "")
    rest = END if where == MIDDLE else MIDDLE
    return Finding(
        f"{only} costs {less}, after the middle layer and after the last.", worst(verdicts.values()), f"{'; '.join(told)}, n = {gain.n}.",
        f"{only} costs {less} after the {where} layer; after the {rest} one that is not clear." if where else f"{only} does not clearly cost {less}.",
    )  # fmt: skip


def of_document(tables: Tables) -> str:
    """A line for each statement of the document on beliefs in residual streams, and each question of its readers: it, here, and controls,
    each with whether what is here lies beyond it."""
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


STAYS: dict[str, Any] = {"kl_target1": ("KL of the next token, which should stay, nats", "3")}
GOES: dict[str, Any] = {"moved1": ("share of the way: the next token", "3")}
GRIDS = {
    "document": of_document,
    "theory": pages.course(
        "geometry_theory", PROCESSES, "length", range(1, 100), said="tokens read", optimal=("best loss of the next token, nats", "4"),
        histories=("histories", "0"), beliefs=("different beliefs after them", "0"),
    ),
    **{
        name: pages.grid(
            "geometry_maps", SOURCES, head="process, source", by="source", across="process", order=PROCESSES, where={"at": at}, only=True,
            r2=("R²", "3"), mse=("MSE", "4"),
        )
        for name, at in (("maps", "last"), ("all", "all"))
    },
    "distances": pages.grid(
        "geometry_distances", ("joined", "in-sample", "untrained joined", "untrained in-sample", "next-token", "5-gram", "true"), head="process, source", by="source", across="process",
        order=PROCESSES, only=True, belief=("R² with distances of beliefs", "3"), next_token=("of next-token probabilities", "3"),
    ),
    "apart": pages.grid(
        "geometry_apart", ("joined", "middle", "untrained joined", *BY_HAND), head="process, source", by="source", across="process", order=PROCESSES,
        only=True, auc=("AUC", "3"), differ=("share of pairs that differ later", "%"),
    ),
    "course": pages.grid(
        "geometry_course", head="process, step", by="step", across="process", order=PROCESSES, where={"source": "joined"},
        r2=("R², all layers joined", "3"), excess=("loss over the best", "%"),
    ),
    **{
        name: pages.grid(
            "geometry_moves", MOVES, head="reach, move", by="move", across="reach", only=True, where={"condition": process, "dose": 1.0, "pairs": pairs, "place": place},
            moved2=("share of the way: the token after the next", "3"), kl_target2=("KL left there, nats", "3"), **next_token,
        )
        for name, process, pairs, place, next_token in (
            ("equal_rrxor", "rrxor", "equal", MIDDLE, STAYS), ("equal_z1r", "z1r", "equal", MIDDLE, STAYS),
            ("any_mess3", "mess3", "any", MIDDLE, GOES), ("last_mess3", "mess3", "any", END, GOES),
        )
    },
    **{
        name: pages.grid(
            "geometry_kept", KEPT, head="process, kept", by="kept", across="process", order=PROCESSES, only=True, where={"place": place},
            excess=("loss over the best, nats", "4"),
        )
        for name, place in (("kept", MIDDLE), ("kept_last", END))
    },
    "states": lambda tables: beliefs.of_worlds(tables.of(ELSEWHERE)),
}  # fmt: skip
EXPERIMENT = Experiment(
    "geometry", "Geometry: does the residual stream hold an ideal observer's belief, and is it used?", TABLES, findings, FIGURES, GRIDS
)  # fmt: skip
