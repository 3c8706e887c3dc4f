"""Does the residual stream hold the belief that an ideal observer has of a hidden process, and is that belief used?

What was done to the finished runs is told in probes/geometry.py. Each condition is a process; R2 and MSE are over all components of a
belief together, on histories that the map was not fitted on, each once, weighted by its probability; where nothing else is said, on
those as long as the model's context.
"""

from typing import Any

from experiments import beliefs
from experiments.geometry_document import of_document
from experiments.geometry_figure import ELSEWHERE, FIGURES
from experiments.geometry_tables import (
    BY_HAND,
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
from experiments.kit.stats import Estimate, paired
from experiments.kit.tables import Tables
from experiments.kit.words import Finding, difference


def findings(tables: Tables) -> dict[str, Finding]:
    """The five sentences that open the page, each with its numbers."""

    def beyond(process: str, *rivals: str) -> dict[str, Estimate]:
        own = of(tables, process, "joined")
        return {
            f"`{process}` minus {SOURCES[rival].label}": paired(own, of(tables, process, rival))
            for rival in rivals
        }

    held = {
        name: value for process in PROCESSES for name, value in beyond(process, "untrained joined").items()
    }
    at = {
        column: of(tables, HARD, "joined", column, "geometry_distances")
        for column in ("belief", "next_token")
    }
    move = {name: moved(tables, HARD, name) for name in ("belief", "random", "foreign")}
    return {
        "held": difference(
            "In each process the trained stream tells more of the belief than the untrained one, in R².", held, +1,
            otherwise="The trained stream does not tell clearly more of the belief than the untrained one in every process.",
        ),
        "beyond": difference(
            "In rrxor it tells more of the belief than the next token's true probabilities and the last five tokens do, in R².",
            beyond(HARD, "next-token", "5-gram"), +1,
            otherwise="In rrxor it does not tell clearly more of the belief than the next token's true probabilities and the last five tokens do.",
        ),
        "distances": difference(
            "In rrxor distances between found beliefs follow those between beliefs more than those between next-token probabilities.",
            {"difference of the two R²": paired(at["belief"], at["next_token"])}, +1,
            otherwise="In rrxor distances between found beliefs do not follow those between beliefs clearly more than those between next-token probabilities.",
        ),
        "used": difference(
            "In rrxor, moved at a middle layer to another belief with the same next token, the model's prediction of the token after it "
            "goes further to that belief's than under equal moves at random or to a third belief.",
            {f"share of the way, minus {MOVES[name].label}": paired(move["belief"], move[name]) for name in ("random", "foreign")}, +1,
            otherwise="In rrxor, moved at a middle layer to another belief with the same next token, the model's prediction of the token after it does "
            "not go clearly further to that belief's than under equal moves at random or to a third belief.",
        ),
        "enough": difference(
            "In rrxor the belief alone, all else taken out of a layer, leaves less loss than as many random directions do.",
            {f"{place} layer": paired(*(of(tables, HARD, kept, "loss", "geometry_kept", "kept", place=place) for kept in ("belief", "random"))) for place in (MIDDLE, END)},
            -1, "nats", 4, otherwise="In rrxor the belief alone does not leave clearly less loss at both layers than as many random directions do.",
        ),
    }  # fmt: skip


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
