"""Swapped states: training goes on from one checkpoint with another seed's state, a random one, or none.

All continuations of a seed begin with the same weights and the same batches to come: at the first step nothing but the
state differs, and with another seed's state that seed's last statistics, as published, so the difference of its loss is
theirs alone. An update keeps 1 - decay of the state: by that alone the difference of the states is (1 - decay)^n of the
first after n steps.
"""

import numpy as np
import pandas as pd

from configs.run import partner
from experiments.kit import pages, style
from experiments.kit import panels as draw
from experiments.kit.experiment import Experiment
from experiments.kit.followed import off_average
from experiments.kit.published import logged
from experiments.kit.runs import Context, Run
from experiments.kit.stats import ahead, first_true
from experiments.kit.style import Look
from experiments.kit.tables import RUN, Tables, stack
from experiments.kit.words import Finding, difference

LOOKS = {
    "other": Look("another seed's state", style.VERMILLION, "solid", "s"),
    "random": Look("a random state of the own one's norm", style.BLUE, "dashed", "D", filled=False),
    "zero": Look("the zero state", style.GREEN, "dashdot", "^"),
    "jitter": Look(
        "the own state, changed by a thousandth of its norm", style.GREY, "dotted", "o", filled=False
    ),
}
SHORT = {"other": "another seed's", "random": "random", "zero": "zero", "jitter": "changed by\na thousandth"}
BROKEN = 0.02  # nats: what is less breaks nothing, as the registered claim says
EARLY = 10  # first steps that means are taken over
LATE = 50  # of the steps that every continuation has, the last ones, that late means are taken over
WINDOW = 10  # steps of the running mean that is held against the floor
FLOOR = 0.95  # the quantile of jitter's that is the floor
PUBLISHED = 100  # first steps that its reports take means of
SMALL = 0.1  # share of the spread from batch to batch
GONE = 0.01  # relative distance at which a state is the own one
NATS = "difference (nats)"


def swap_paths(context: Context) -> pd.DataFrame:
    """One row a step of each continuation but the own-state one, against the own-state one of its seed.

    step, since: of the training, of the continuation. distance: L2 between the states, over the own one's norm; predicted:
    (1 - decay)^since of the first. loss_, heldout_, effect_difference: minus own's, same batches. loss_distance: |loss
    difference|. batch_sd: the spread of own's loss from batch to batch, by its first differences, one value a seed.
    """
    own = {run.seed: run for run in context.of("own")}
    parts = []
    for run in context.runs:
        if run.config.start is None or run.condition == "own" or run.seed not in own:
            continue
        mine, base = run.metrics().align(own[run.seed].metrics(), join="inner", axis=0)
        one, other = (np.asarray(each.states(), float)[: len(mine)] for each in (run, own[run.seed]))
        rows = pd.DataFrame({"step": mine["step"], "since": np.arange(len(mine))})
        rows["distance"] = np.linalg.norm(one - other, axis=1) / np.linalg.norm(other, axis=1)
        rows["predicted"] = rows["distance"].iloc[0] * (1 - run.config.self_state.decay) ** rows["since"]
        rows["loss_difference"] = mine["loss"] - base["loss"]
        rows["loss_distance"] = rows["loss_difference"].abs()
        rows["heldout_difference"] = mine["heldout_loss"] - base["heldout_loss"]
        rows["effect_difference"] = mine["state_effect"] - base["state_effect"]
        rows["batch_sd"] = base["loss"].diff().std() / np.sqrt(2)
        parts.append(run.label(rows))
    return stack(parts)


def swap_summary(context: Context, swap_paths: pd.DataFrame) -> pd.DataFrame:
    """One row a continuation.

    swapped_distance: of the state put in, before the first update took `decay` of it. first_*: at the first step, where the
    weights are equal; early_*, late_*: means of the first EARLY steps and of the last LATE that every continuation has. floor:
    the FLOOR quantile, over seeds and steps, of jitter's loss_distance, mean of WINDOW steps; small: SMALL of batch_sd;
    steps_until, steps_small: steps until the same mean of this continuation is within each; state_steps: until the states'
    distance is below GONE. NaN: never. drift, effect: see `published`; the condition `own` has a row of these alone.
    """
    decay = context.of("own")[0].config.self_state.decay
    jitter = swap_paths[swap_paths["condition"] == "jitter"].groupby("seed")
    noise = [ahead(rows["loss_distance"], WINDOW) for _, rows in jitter]
    floor = float(np.quantile(np.concatenate(noise), FLOOR)) if noise else np.nan
    shortest = swap_paths.groupby(list(RUN)).size().min() if len(swap_paths) else 0
    rows = []
    for place, path in swap_paths.groupby(list(RUN), sort=False):
        first, early, late = path.iloc[0], path.iloc[:EARLY], path.iloc[:shortest][-LATE:]
        near, small = ahead(path["loss_distance"], WINDOW), SMALL * first["batch_sd"]
        found = {
            "swapped_distance": first["distance"] / (1 - decay),
            "first_loss": first["loss_difference"],
            "first_effect": first["effect_difference"],
        }
        found |= {f"early_{name}": early[f"{name}_difference"].mean() for name in ("loss", "heldout")}
        found |= {f"late_{name}": late[f"{name}_difference"].mean() for name in ("loss", "heldout", "effect")}
        found["late_loss_distance"] = late["loss_distance"].mean()
        found |= {
            "floor": floor,
            "steps_until": first_true(near <= floor),
            "small": small,
            "steps_small": first_true(near <= small),
            "state_steps": first_true(path["distance"].to_numpy() < GONE),
        }
        rows.append({**dict(zip(RUN, place, strict=True)), **found})
    for run in context.of("own"):
        rows.append({"suite": run.suite, "condition": run.condition, "seed": run.seed})
    after = {
        (run.condition, run.seed): published(run, context)
        for run in context.runs
        if run.config.start is not None
    }
    return pd.DataFrame([{**row, **after.get((row["condition"], row["seed"]), {})} for row in rows])


def published(run: Run, context: Context) -> dict[str, float]:
    """What the published reports have of a continuation: means of its first PUBLISHED steps.

    drift: 1 - cosine of the state and its average, which begins as the state that was put in. effect: prompt_effect. drift is NaN
    without the run that it goes on from.
    """
    from runs.state import exchanged  # loads torch, which planning does without

    states, start, log = run.states(), run.config.start, logged(run)
    assert states is not None and start is not None
    before = {one.seed: one.states() for one in context.of(start.condition)}
    own, other = (
        found[start.step - 1] if (found := before.get(seed)) is not None else None
        for seed in (run.seed, partner(run.seed))
    )
    effect = float(log["prompt_effect"].iloc[:PUBLISHED].mean())
    if own is None or (other is None and start.state == "other"):
        return {"drift": np.nan, "effect": effect}
    put_in = exchanged(run.config, own, other)
    return {"drift": float(off_average(states[:PUBLISHED], put_in).mean()), "effect": effect}


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page says, and the figure's title: each sentence with the differences that decide it."""
    at, rivals = tables.by_condition("swap_summary", LOOKS), ("random", "zero")
    little = bool(at.value("other", "first_loss").high < BROKEN)
    return {
        "raises": difference(
            f"Another seed's state, put into a trained model, raises the loss at once{', by too little to call it broken' * little}.", at.values(["other"], "first_loss"), +1, "nats", 4,
            otherwise="Another seed's state, put into a trained model, does not clearly raise the loss.",
        ),
        "counts": difference(
            "The weights have come to count on their own state: another seed's, a random one and none all cost loss at once.",
            at.values(["other", *rivals], "first_loss"), +1, "nats", 4,
            otherwise="Not every state but the own one costs loss at once.",
        ),
        "worse": difference(
            "Another seed's state costs more than a random one or none.",
            at.against("other", rivals, "first_loss"), +1, "nats", 4,
            otherwise="Whether it costs more than a random state, or than none, is not clear.",
        ),
        "drifts": difference(
            "Over the next 100 steps another seed's state lies further from its average than a random one.",
            at.against("other", ["random"], "drift"), +1, "1 − cosine",
            otherwise="Over the next 100 steps another seed's state does not lie clearly further from its average than a random one.",
        ),
        "lasts": difference(
            "In the last 50 steps that all continuations have, the training loss is still higher.",
            at.values(["other"], "late_loss"), +1, "nats", 5,
            otherwise="In the last 50 steps that all continuations have, the training loss is no longer clearly higher.",
        ),
        "apart": difference(
            "In those steps another seed's state has left the losses further apart than a random one or none.",
            at.against("other", rivals, "late_loss_distance"), +1, "nats", 5,
            otherwise="In those steps the losses are not clearly further apart than a random state or none leaves them.",
            reverse="In those steps another seed's state has left the losses less far apart than a random one or none.",
        ),
    }  # fmt: skip


FIGURE = draw.sheet(
    "swap.png",
    [
        draw.lines("swap_paths", "distance", "distance of the states", "L2 / norm of the own state", along="since",
                   log=True, predicted="predicted"),
        draw.lines("swap_paths", "loss_distance", "distance of the losses", "|Δ loss| (nats)", along="since", log=True,
                   ahead=WINDOW, levels={"swap_summary.floor": "solid", "swap_summary.small": "dashed"}),
        draw.points("swap_summary", "first_loss", "first step: loss minus own's", NATS, levels=[BROKEN], said=SHORT),
        draw.lines("swap_paths", "effect_difference", "state effect minus own's", "difference (mean |Δ logit|)", along="since"),
    ],
    grid=(2, 2), height=5.6, looks=LOOKS, title=("raises", "worse"), x="steps since the swap",
    shows="Training goes on from one checkpoint with another seed's state, a random one, none, or the own one changed by a "
    "thousandth: distance of states and losses from the own-state continuation, step by step.",
    caption="Against the continuation with the own state ({seeds}). Thin black lines: what the update alone leaves of the first distance. "
    "Broken line: small, a tenth of what one batch's loss differs by from the next's; black line: 95 % of the changed own state's "
    "lie below it. Dotted: from 0.02 nats on it was to be called broken.",
)  # fmt: skip
GRIDS = {
    "at_once": pages.grid(
        "swap_summary", LOOKS, head="goes on with", only=True,
        swapped_distance=("distance of the state put in, own norms", "2"),
        first_loss=("first step: loss − own's", "±4"),
        early_loss=("first 10 steps: loss − own's", "±4"),
        early_heldout=("first 10 steps: held-out loss − own's", "±4"),
        first_effect=("first step: effect − own's", "±4"),
        drift=("next 100 steps: distance from the average", "3"),
        effect=("next 100 steps: effect", "3"),
    ),
    "left": pages.grid(
        "swap_summary", LOOKS, head="goes on with", only=True, minus={"late_loss_distance": "jitter"},
        steps_small=("steps until small", "steps", "small"),
        steps_until=("steps until within the rounding floor", "steps", "floor"),
        state_steps=("steps until the state is the own one", "steps", "swapped_distance"),
        late_loss=("last 50 steps that all have: loss − own's", "±5"),
        late_heldout=("held-out loss − own's", "±5"),
        late_effect=("effect − own's", "±4"),
        late_loss_distance=("|loss − own's|", "5"),
    ),
    "course": pages.course(
        "swap_paths", LOOKS, "since", (0, 1, 2, 5, 10, 20, 50, 100, 199),
        beside={"distance": ("other", "by the update alone", "predicted")},
        distance=("distance of the states, own norms", "4"),
        loss_distance=("|loss − own's|, nats", "4"),
        effect_difference=("effect − own's, mean |Δ logit|", "±4"),
    ),
}  # fmt: skip
EXPERIMENT = Experiment(
    "swap", "Swapped states: is the state entangled with its weights?", (swap_paths, swap_summary), findings, (FIGURE,), GRIDS,
    suites=("swap", "generalization"),
)  # fmt: skip
