"""Tables of beliefs in residual streams, and how they are read. See geometry.py."""

import numpy as np
import pandas as pd

from experiments.kit import style
from experiments.kit.runs import Context
from experiments.kit.style import Look
from experiments.kit.tables import Tables
from experiments.kit.words import plural

PROBE = "geometry"
HARD, EASY = "rrxor", "mess3"
PROCESSES = {
    "mess3": Look("mess3", style.BLUE),
    "rrxor": Look("rrxor", style.VERMILLION, "--", "s"),
    "z1r": Look("z1r", style.GREEN, ":", "^"),
}
SHOWN_SEED = 1  # whose beliefs are drawn
DOCUMENT = {"belief": 0.95, "next_token": 0.31}  # R2 of distances that the write-up on belief states prints
MIDDLE, END = "middle", "last"  # layers: half of the blocks, all of them
SOURCES = {
    "joined": Look("all layers joined", style.BLUE),
    **{
        f"layer {layer}": Look(f"the stream after {plural(layer, 'block')}", style.BLUE, "-", marker)
        for layer, marker in enumerate("s^vDP")
    },
    "untrained joined": Look("untrained model, all layers joined", style.GREY, "--", "^"),
    "in-sample": Look("all layers joined, fitted on the very histories it reads", style.SKY),
    "untrained in-sample": Look("the same of the untrained model", style.SKY, "--"),
    "shuffled": Look("all layers joined, beliefs shuffled", style.GREY, ":", "P"),
    "token": Look("the last token", style.GREEN, (0, (1, 1.2))),
    "3-gram": Look("the last three tokens", style.GREEN, (0, (4, 1.6))),
    "5-gram": Look("the last five tokens", style.GREEN, "-"),
    "next-token": Look("the next token's true probabilities", style.VERMILLION, (0, (6, 1.5, 1, 1.5))),
}
BY_HAND = ("token", "3-gram", "5-gram", "next-token")  # what needs no model
MOVES = {
    "belief": Look("to the belief", style.BLUE),
    "foreign": Look("to a third belief, as far", style.ORANGE, (0, (4, 1.6)), "s"),
    "random": Look("in random directions, as far", style.GREY, (0, (1, 1.2)), "D", filled=False),
    "stream": Look("the other history's own stream", style.BLACK, (0, (6, 1.5, 1, 1.5)), "x"),
}
KEPT = {
    "all": Look("all of it", style.BLACK, marker="*"),
    "principal": Look("as many principal components", style.SKY, marker="s"),
    "belief": Look("the belief alone", style.BLUE),
    "without": Look("all but the belief", style.VERMILLION, marker="X"),
    "random": Look("as many random directions", style.GREY, marker="D", filled=False),
    "nothing": Look("the mean stream alone", style.GREY, marker="P"),
}
PLACE = ["suite", "condition", "seed", "run_step"]


def probed(context: Context, name: str) -> pd.DataFrame:
    """The rows of a table of the probe, with the process, which is the condition."""
    rows = context.probed(PROBE, name)
    return rows.assign(process=rows["condition"]) if len(rows) else rows


def geometry_theory(context: Context) -> pd.DataFrame:
    """One row a run and length of a history: histories, and different beliefs after them; the loss of the best prediction of the
    next token, in nats: optimal, given the history; blind, given nothing; state_known, given the hidden state."""
    return probed(context, "theory")


def geometry_maps(context: Context) -> pd.DataFrame:
    """One row a run, source of a linear reading of the belief and at: all histories, or the last, as long as the context.

    r2, mse: of the belief, on histories held out, by maps for histories of all lengths; of what only counts tokens, and of the next
    token's true probabilities, the best that can be for those histories. source: layer N, the stream after N blocks; joined, all of
    them; the same of the untrained model; in-sample: joined, fitted on the histories that it reads; shuffled: joined, of beliefs
    given to the wrong histories; kind, layer: its parts.
    """
    rows = probed(context, "maps")
    if rows.empty:
        return rows
    single = rows["source"].str.endswith("layer")
    name = rows["source"] + np.where(single, " " + rows["layer"].astype(str), "")
    return rows.rename(columns={"source": "kind"}).assign(source=name)


def geometry_distances(context: Context) -> pd.DataFrame:
    """One row a run and source: squared correlation of the distances between found beliefs with those between true ones (belief),
    and with those between the true probabilities of the next token (next_token)."""
    return probed(context, "distances")


def geometry_apart(context: Context) -> pd.DataFrame:
    """One row a run and source: auc, of telling pairs of histories whose later tokens differ from pairs whose do not, by the
    distance of the found beliefs, among pairs with equal probabilities of the next token; differ: the share that differs."""
    return probed(context, "apart")


def geometry_course(context: Context) -> pd.DataFrame:
    """One row a run, kept step and source (see geometry_maps): r2; loss, over all positions, exact, and excess, over the optimal."""
    rows = probed(context, "course")
    if rows.empty:
        return rows
    joined = rows["layer"] == rows["layer"].max()
    name = np.where(joined, "joined", "layer " + rows["layer"].astype(str))
    return rows.assign(source=name, excess=rows["loss"] / rows["optimal"] - 1)


def geometry_moves(context: Context) -> pd.DataFrame:
    """One row a run, layer, pairs (equal: of equal next-token probabilities; any), reach (one position, or past: all so far), move
    and dose.

    kl_target1, kl_target2: KL(truth under the belief moved to || prediction) in nats, of the next token and the one after it;
    kl_source1, kl_source2 likewise under the belief moved from. moved1, moved2: share of the way, 1 - kl_target over what it is
    without a move; moved1 is empty where both beliefs say the same. place: middle or last, of layers.
    """
    rows = context.probed(PROBE, "moves")
    if rows.empty:
        return rows
    start = rows.groupby([*PLACE, "layer", "pairs"])[["kl_target1", "kl_target2"]].transform("first")
    layers = rows.groupby(PLACE)["layer"].transform("max")
    place = np.select([rows["layer"] == layers, rows["layer"] == layers // 2], [END, MIDDLE], "")
    shares = {f"moved{ahead}": 1 - rows[f"kl_target{ahead}"] / start[f"kl_target{ahead}"] for ahead in (1, 2)}
    shares["moved1"] = shares["moved1"].where(rows["pairs"] != "equal")  # there is no way to go
    return rows.assign(place=place, **shares)


def geometry_kept(context: Context) -> pd.DataFrame:
    """One row a run, layer and part of its stream that is kept at all positions: loss, exact, in nats; excess: over the optimal, in
    nats. place: middle or last, of layers."""
    rows = probed(context, "kept")
    if rows.empty:
        return rows
    layers = rows.groupby(PLACE)["layer"].transform("max")
    place = np.select([rows["layer"] == layers, rows["layer"] == layers // 2], [END, MIDDLE], "")
    return rows.assign(place=place, excess=rows["loss"] - rows["optimal"])


def geometry_points(context: Context) -> pd.DataFrame:
    """One row a history of one seed and kept step: true0 ... and found0 ..., the belief after it and as found in all layers joined,
    on histories held out; weight: its probability."""
    rows = context.probed(PROBE, "points")
    return rows[rows["seed"] == SHOWN_SEED].dropna(axis=1, how="all") if len(rows) else rows


TABLES = (
    geometry_theory, geometry_maps, geometry_distances, geometry_apart, geometry_course, geometry_moves, geometry_kept, geometry_points,
)  # fmt: skip


def of(
    tables: Tables, process: str, source: str, column: str = "r2", name: str = "geometry_maps", by: str = "source", **where: object
) -> "pd.Series[float]":  # fmt: skip
    """A column by seed, of a process and a source; of geometry_maps, by default over histories as long as the context."""
    given = {"at": "last"} if name == "geometry_maps" else {}
    return tables.seeds(name, column, condition=process, **{by: source}, **{**given, **where})


def moved(
    tables: Tables, process: str, move: str, *, ahead: int = 2, reach: str = "past", pairs: str = "equal", place: str = MIDDLE
) -> "pd.Series[float]":  # fmt: skip
    """The share of the way that a full move goes, by seed."""
    where = {"condition": process, "move": move, "dose": 1.0, "reach": reach, "pairs": pairs, "place": place}
    return tables.seeds("geometry_moves", f"moved{ahead}", **where)
