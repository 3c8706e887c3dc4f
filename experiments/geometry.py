"""Does the residual stream hold the belief that an ideal observer has of a hidden process, and is that belief used?

What was done to the finished runs is told in probes/geometry.py. Each condition is a process; R2 and MSE are over all components of a
belief together, on histories that the map was not fitted on, each once, weighted by its probability; where nothing else is said, on
those as long as the model's context.
"""

from collections.abc import Callable
from functools import partial
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
from experiments.kit import pages, words
from experiments.kit.experiment import Experiment
from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.tables import Tables

LAYERS = 5  # streams that the layers' maps are fitted on
BEYOND = {words.CLEAR: "yes", words.NOT_CLEAR: "no"}


def findings(tables: Tables) -> dict[str, words.Finding]:
    """The five sentences that open the page, each with its numbers."""

    held = {
        f"`{process}`": paired(of(tables, process, "joined"), of(tables, process, "untrained joined"))
        for process in PROCESSES
    }
    far = [of(tables, HARD, "joined", column, "geometry_distances") for column in DOCUMENT]
    return {
        "held": words.difference(
            "In each process the trained stream, all layers joined, tells more of the belief than the untrained one.", held, +1, "of R²",
            otherwise="The trained stream, all layers joined, does not tell clearly more of the belief than the untrained one in every process.",
        ),
        "beyond": beyond(tables),
        "distances": words.difference(
            "In rrxor distances between found beliefs follow those between beliefs more than those between next-token probabilities.",
            {"Difference of the two R²": paired(*far)}, +1, f"({words.number(DOCUMENT['belief'] - DOCUMENT['next_token'], 2)} in the document)",
            otherwise="In rrxor distances between found beliefs do not follow those between beliefs clearly more than those between next-token probabilities.",
            reverse="In rrxor distances between found beliefs follow those between next-token probabilities more than those between beliefs.",
        ),
        "used": used(tables),
        "enough": enough(tables),
    }  # fmt: skip


def beyond(tables: Tables) -> words.Finding:
    """Whether the stream tells more than the last five tokens, where these are not the whole history and over all histories."""
    own, five = (
        [of(tables, HARD, source, at=at) for at in ("last", "all")] for source in ("joined", "5-gram")
    )
    apart = [paired(*pair) for pair in zip(own, five, strict=True)]
    if not all(gain.n for gain in apart):
        return words.Finding(
            "The stream tells more of the belief than the last five tokens do.",
            words.ABSENT,
            "It needs models of rrxor.",
        )
    whole, every = (
        "more" if gain.low > 0 else "less" if gain.high < 0 else "not clearly more" for gain in apart
    )
    said = f"In rrxor the stream tells {whole} of the belief than the last five tokens do on histories as long as the context"
    told = [
        f"R² {words.number(one.mean())} against {words.number(other.mean())}, difference {words.interval(gain)}"
        for one, other, gain in zip(own, five, apart, strict=True)
    ]
    text = f"{said}, {f'and {every}' if every == whole else every} over histories of all lengths."
    return words.Finding(
        text,
        words.worst(words.side(gain, +1) for gain in apart),
        f"{'; of all lengths '.join(told)}, n = {apart[0].n}.",
        text,
    )


def used(tables: Tables) -> words.Finding:
    """Whether a move to a belief changes the next prediction but one more than other moves, and whether it is that belief."""
    told, gains = [], dict[str, list[Estimate]](random=[], foreign=[])
    for reach, where in (("past", "at all positions so far"), ("one", "at the last position alone")):
        own = moved(tables, HARD, "belief", reach=reach)
        told.append(f"{where} {words.percent(own.mean())}")
        for rival, name in (("random", "at random"), ("foreign", "to a third belief")):
            other = moved(tables, HARD, rival, reach=reach)
            gains[rival].append(paired(own, other))
            told[-1] += f", {name} {words.percent(other.mean())} ({words.interval(gains[rival][-1])})"
    more, this = (words.worst(words.side(gain, +1) for gain in found) for found in gains.values())
    change = "In rrxor a move to another belief changes the prediction of the token after the next {} than a random move of its length"
    said = f"Share of the way to that belief's prediction, moved at the middle layer {'; '.join(told)}; n = {gains['random'][0].n}."
    otherwise = (
        f"{change.format('more')}; that it is this very belief which does so is not clear."
        if more == words.CLEAR
        else f"{change.format('not clearly more')}."
    )
    return words.Finding(
        f"{change.format('more')} or one to a third belief does.", words.worst((more, this)), said, otherwise
    )


def enough(tables: Tables) -> words.Finding:
    """Whether the belief alone costs less than all but the belief."""
    only, less = "In rrxor keeping only the belief", "less than keeping all but the belief"
    told, verdicts = [], dict[str, str]()
    for place in (MIDDLE, END):
        kept = [
            of(tables, HARD, name, "excess", "geometry_kept", "kept", place=place)
            for name in ("belief", "without")
        ]
        one, other = (words.number(float(loss.mean())) for loss in kept)
        gain = paired(*kept)
        verdicts[place] = words.side(gain, -1)
        told.append(
            f"{one} against {other} nats over the best after the {place} layer ({words.interval(gain)})"
        )
    where = next((place for place, verdict in verdicts.items() if verdict == words.CLEAR), "")
    rest = END if where == MIDDLE else MIDDLE
    return words.Finding(
        f"{only} costs {less}, after the middle layer and after the last.", words.worst(verdicts.values()), f"{'; '.join(told)}, n = {gain.n}.",
        f"{only} costs {less} after the {where} layer; after the {rest} one that is not clear." if where else f"{only} does not clearly cost {less}.",
    )  # fmt: skip


def judged(caller: Callable[[], str]) -> str:
    """The cell of a control, and of its row the verdict: of all that the cell says of lying beyond it."""
    cell = caller()
    said = [one for one, shown in BEYOND.items() if f"**{shown}**" in cell]
    settled = f"**{words.OPEN}**" not in cell
    verdict = (
        words.SURVIVES[said[0]]
        if settled and len(said) == 1
        else "in part"
        if words.CLEAR in said
        else words.OPEN
    )
    return f"{cell} | {verdict}"


def document(tables: Tables) -> dict[str, Any]:
    """What the page's table on the document's statements and its readers' questions is written with: values by seed, and `beside`, a
    control's value and whether what is here lies beyond it."""
    if tables.rows("geometry_maps").empty:
        return {}

    def more(one: "pd.Series[float]", other: "pd.Series[float]", sign: int = +1) -> str:
        return BEYOND.get(words.side(paired(one, other), sign), words.OPEN)

    def beside(one: "pd.Series[float]", other: "pd.Series[float]", digits: int = 2, sign: int = +1) -> str:
        return f"{pages.told(other, digits)}: **{more(one, other, sign)}**"

    r2 = partial(of, tables)
    by_layer = {layer: r2(HARD, f"layer {layer}") for layer in range(LAYERS)}
    highest = (
        pd.DataFrame(by_layer).max(axis=1) if all(map(len, by_layer.values())) else r2(HARD, "joined")[:0]
    )
    course = tables.rows("geometry_course", condition=EASY, source="joined")
    first, final = (per_seed(course[course["step"] == step], "r2") for step in (0, course["step"].max()))
    size = back(DOCUMENT["belief"], estimate(r2(HARD, "joined", "belief", "geometry_distances")))
    return {
        "of": r2, "more": more, "beside": beside, "judged": judged, "highest": highest, "first": first, "final": final, "said": DOCUMENT,
        "size": "" if size == YES else f": {size}", "places": (MIDDLE, END), "kept": {name: KEPT[name].label for name in ("random", "principal", "without")},
        "moved": partial(moved, tables, HARD), "edited": partial(moved, tables, EASY, ahead=1, pairs="any"),
        "over": lambda kept, place: of(tables, HARD, kept, "excess", "geometry_kept", "kept", place=place),
    }  # fmt: skip


STAYS: dict[str, Any] = {"kl_target1": ("KL of the next token, which should stay, nats", "3")}
GOES: dict[str, Any] = {"moved1": ("share of the way: the next token", "3")}
GRIDS = {
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
    "geometry", "Geometry: does the residual stream hold an ideal observer's belief, and is it used?", TABLES, findings, FIGURES, GRIDS,
    values=lambda tables: {"document": document(tables)},
)  # fmt: skip
