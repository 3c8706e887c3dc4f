"""The frozen-weight test: weights fixed, state set by hand. Does the state steer the model, further than placebos?

The question: do the learned directions steer further than directions that were selected in the same way from a placebo
reader? Each run answers by the rank of its learned effect among its placebos' effects.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from base.storage import UserError
from experiments import frozen_figure
from experiments.kit import published
from experiments.kit.experiment import Experiment, Table
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.placebos import TESTS, USUAL, View, beats, effect_table, rank_p_value, usual_table
from experiments.kit.runs import Context
from experiments.kit.stats import estimate, over_seeds, paired, per_seed, rank_correlation
from experiments.kit.tables import WEIGHTS, Tables
from experiments.kit.words import (
    CLEAR,
    DASH,
    MISSING,
    NOT_CLEAR,
    OPEN,
    Finding,
    all_of,
    interval,
    listed,
    number,
    percent,
    side,
    signed,
    table,
)  # fmt: skip

TEST = (*WEIGHTS, "protocol", "finder")
HELDOUT = [test for test in TESTS if test[0] == "heldout"]
RISES = {
    "confident": -1,
    "uncertain": +1,
    "gradient": +1,
}  # the sign that entropy should change with, by direction
ENDS = {  # of each finder: the directions, with their signs, that the effect is taken between
    "dimension": (("uncertain", +1), ("confident", +1)),
    "gradient": (("gradient", +1), ("gradient", -1)),
}


def frozen_tables(context: Context) -> dict[str, pd.DataFrame]:
    """What the finished tests wrote, with suite and condition in front: frozen_conditions, frozen_effects, frozen_doses (the
    curves of learned readers) and frozen_dose_placebos (of placebo readers). UserError where a file is none of these."""
    parts: dict[str, list[pd.DataFrame]] = {"conditions": [], "effects": [], "doses": []}
    for run in context.runs:
        for folder in run.probes.get("frozen", ()):
            for name, rows in parts.items():
                try:
                    found = pd.read_csv(folder / f"{name}.csv")
                except (OSError, ValueError) as error:
                    raise UserError(
                        f"{folder / name}.csv is missing or no table ({error}); delete its folder and run again"
                    ) from None
                found.insert(0, "suite", run.suite)
                found.insert(1, "condition", run.condition)
                rows.append(found)
    whole = {
        name: pd.concat(some, ignore_index=True) if some else pd.DataFrame() for name, some in parts.items()
    }
    doses = whole["doses"]
    learned = doses["reader"] == "learned" if len(doses) else pd.Series(dtype=bool)
    return {
        "frozen_conditions": whole["conditions"],
        "frozen_effects": whole["effects"],
        "frozen_doses": doses[learned].reset_index(drop=True) if len(doses) else doses,
        "frozen_dose_placebos": doses[~learned].reset_index(drop=True) if len(doses) else doses,
    }


def frozen_effects_summary(context: Context, frozen_effects: pd.DataFrame) -> pd.DataFrame:
    """The learned effect beside each kind of placebo, one row a test and kind.

    effect and placebo_* in nats; placebo_sd with n - 1 below, NaN for a single draw; p_value by `rank_p_value`; surplus:
    effect minus placebo_mean. A test without draws of a kind has no row of that kind.
    """
    rows = []
    for test, group in frozen_effects.groupby(list(TEST), sort=False):
        (learned,) = group.loc[group["reader"] == "learned", "effect_size"]
        for placebo, draws in group[group["reader"] != "learned"].groupby("reader", sort=False):
            sizes = draws["effect_size"]
            rows.append(dict(zip(TEST, test, strict=True)) | {
                "effect": learned, "placebo": placebo, "placebo_mean": sizes.mean(), "placebo_sd": sizes.std(),
                "placebo_max": sizes.max(), "p_value": rank_p_value(learned, sizes.to_numpy()), "surplus": learned - sizes.mean(),
            })  # fmt: skip
    return pd.DataFrame(rows)


def usual_norm(
    context: Context, frozen_doses: pd.DataFrame, frozen_dose_placebos: pd.DataFrame, metrics: pd.DataFrame
) -> pd.DataFrame:
    """Effect sizes at the norm that the state usually has: a row a test, finder, reader and draw.

    A test chooses its magnitude among norms up to the largest that its run saw, and that one may belong to the first steps:
    there readers may saturate, so that learned and placebo directions end up alike. Here all are read at one norm along the
    dose curves of the same tests; it was set after results were seen, is the same for all, and nothing is selected at it.

    norm: mean state norm of the last half of the steps before run_step; largest: the largest dose of the test. effect:
    |entropy(uncertain) - entropy(confident)| at that norm, nats, interpolated between doses. No row where the norm lies
    outside the doses, or is not known.
    """
    rows = []
    doses = pd.concat([frozen_doses, frozen_dose_placebos], ignore_index=True)
    for place, test in doses.groupby(list(WEIGHTS), sort=False):
        _, condition, seed, step = place
        step = int(str(step))
        of_run = metrics[(metrics["condition"] == condition) & (metrics["seed"] == seed)]
        half = (of_run["step"] >= step // 2) & (of_run["step"] < step)
        norm, largest = float(of_run.loc[half, "state_norm"].mean()), float(test["magnitude"].max())
        if not 0 < norm <= largest:
            continue
        for (reader, draw), curves in test.groupby(["reader", "draw"], sort=False):
            along = {
                direction: curve.sort_values("magnitude") for direction, curve in curves.groupby("direction")
            }
            for finder, ends in ENDS.items():
                if {direction for direction, _ in ends} <= set(along):
                    high, low = (
                        np.interp(
                            sign * norm,
                            along[direction]["magnitude"],
                            along[direction]["delta_entropy"].astype(float),
                        )
                        for direction, sign in ends
                    )
                    found = {
                        "finder": finder,
                        "reader": reader,
                        "draw": draw,
                        "norm": norm,
                        "largest": largest,
                    }
                    rows.append(
                        dict(zip(WEIGHTS, place, strict=True)) | found | {"effect": abs(float(high - low))}
                    )
    return pd.DataFrame(rows)


def views(tables: Tables) -> list[View]:
    """Each condition tested."""
    found = list(dict.fromkeys(tables.rows("frozen_effects_summary")["condition"]))
    return [View(tables, condition) for condition in found or ["self_calm"]]


def findings(tables: Tables) -> dict[str, Finding]:
    """What the page says of each condition tested."""
    found: dict[str, Finding] = {}
    for view in views(tables):
        of_view = {
            "returns": _returns(view),
            "beats_replication": beats(view, "replication", "dimension"),
            "consistent": _consistent(view),
            **{f"beats_heldout_{finder}": beats(view, "heldout", finder) for _, finder in HELDOUT},
            "own": _own(view),
            "dose": _dose(view),
        }
        found |= {f"{name}_{view.condition}": one for name, one in of_view.items()}
    return found


def _returns(view: View) -> Finding:
    verdicts, parts = [], []
    for step in view.steps():
        rows = view.rows("frozen_effects_summary", run_step=step, protocol="replication", finder="dimension")
        value = over_seeds(rows, "effect")
        if not value.n:
            continue
        reached, missed = value.low >= published.EFFECT_SIZE, value.high < published.EFFECT_SIZE
        known = value.n >= FEWEST_SEEDS and (reached or missed)
        verdicts.append((CLEAR if reached else NOT_CLEAR) if known else OPEN)
        effects = view.rows("frozen_effects", run_step=step, protocol="replication", finder="dimension")
        placebo = effects[effects["reader"] != "learned"]
        over = (
            percent(float((placebo["effect_size"] > published.MEANINGFUL_EFFECT).mean()))
            if len(placebo)
            else ""
        )
        more = (
            f"; {over} of placebo draws exceed the {published.MEANINGFUL_EFFECT} called meaningful"
            if over
            else ""
        )
        parts.append(f"{interval(value, sign=False)} with the weights of step {step} (n = {value.n}{more})")
    claim = f"The published protocol gives an effect as large as the published {published.EFFECT_SIZE}."
    return Finding(claim, all_of(verdicts), f"Ours: {listed(parts)}." if parts else "It was not run.")


def _consistent(view: View) -> Finding:
    verdicts, parts = [], []
    for step in view.steps("frozen_conditions"):
        rows = view.rows("frozen_conditions", run_step=step, protocol="replication")
        learned = per_seed(rows[rows["state"].isin(["confident", "uncertain"])], "sign_consistency")
        random = per_seed(rows[rows["state"] == "random"], "sign_consistency")
        more = paired(learned, random)
        if more.n:
            verdicts.append(side(more, +1))
            parts.append(
                f"{percent(learned.mean())} against {percent(random.mean())} of sequences at step {step} "
                f"(difference {interval(more)}, n = {more.n})"
            )
    claim = "Counted in the same way, learned directions keep their sign more than random ones."
    return Finding(claim, all_of(verdicts), f"{listed(parts)}." if parts else "It was not run.")


def _own(view: View) -> Finding:
    values = [(step, over_seeds(rows, "delta_nll")) for step, rows in _own_rows(view)]
    parts = [f"{interval(value, 4)} nats at step {step} (n = {value.n})" for step, value in values]
    verdict = all_of([side(value, -1) for _, value in values])
    claim = "The run's own state lowers the held-out NLL."
    return Finding(claim, verdict, f"Δ NLL against zero: {listed(parts)}." if parts else "It was not run.")


def _own_rows(view: View) -> Iterator[tuple[int, pd.DataFrame]]:
    for step in view.steps("frozen_conditions"):
        rows = view.rows("frozen_conditions", run_step=step, protocol="heldout", state="own")
        if over_seeds(rows, "delta_nll").n:
            yield step, rows


def _dose(view: View) -> Finding:
    steps = view.steps("frozen_doses")
    rhos = (
        {direction: rho for direction, _, rho in _curves(view, steps[-1]) if direction in RISES and rho.n}
        if steps
        else {}
    )
    parts = [f"{interval(rho, 2)} ({direction})" for direction, rho in rhos.items()]
    return Finding(
        "Entropy follows the dose: down along confident, up along uncertain and gradient.",
        all_of([side(rho, RISES[direction]) for direction, rho in rhos.items()]),
        f"Spearman ρ at the last weights: {listed(parts)}." if parts else "It was not run.",
    )


def _curves(view: View, step: int) -> Iterator:
    """Each direction, the rows of its curves, and the rank correlation of norm and Δ entropy over seeds."""
    for direction, group in view.rows("frozen_doses", run_step=step).groupby("direction", sort=False):
        rank = {
            seed: rank_correlation(rows["magnitude"], rows["delta_entropy"])
            for seed, rows in group.groupby("seed")
        }
        yield str(direction), group, estimate(pd.Series(rank, dtype=float))


def _each(make: Callable[[View], str]) -> Callable[[Tables], str]:
    """A grid of each condition tested, one under the other."""
    return lambda tables: "\n\n".join(filter(None, map(make, views(tables)))) or MISSING


def _published_grid(view: View) -> str:
    blocks = []
    for step in view.steps("frozen_conditions"):
        rows = view.rows("frozen_conditions", run_step=step, protocol="replication")
        lines = []
        for state, said in published.FROZEN_DELTA_ENTROPY.items():
            of_state = rows[rows["state"] == state]
            change, consistency = (
                over_seeds(of_state, column) for column in ("delta_entropy", "sign_consistency")
            )
            if not change.n:
                continue
            ours, theirs, extra = interval(change), signed(said), DASH
            if state == "random":
                ours += f", SD of draws {number(of_state.groupby('seed')['delta_entropy'].std().mean())}"
                theirs += f" ± {number(published.FROZEN_RANDOM_SD)}"
                extra = percent(float((of_state["delta_entropy"] > 0).mean()))
            counted = published.FROZEN_SIGN_CONSISTENCY.get(state, DASH)
            lines.append([state, theirs, ours, counted, percent(consistency.mean), extra, str(change.n)])
        head = [f"weights after {step} steps", "published Δ entropy", "ours", "published sign consistency",
                "ours, share of sequences", "draws with Δ > 0", "n"]  # fmt: skip
        blocks += [table(head, lines)] if len(rows) else []
    return "\n\n".join(filter(None, [*blocks, effect_table([("replication", "dimension")], view)]))


def _heldout_grid(view: View) -> str:
    body, usual = effect_table(HELDOUT, view), usual_table(view.rows(USUAL))
    told = "The same directions at the mean norm of the last half of the steps before, read along the dose curves:"
    return f"{body}\n\n{told}\n\n{usual}" if body and usual else body


def _own_grid(view: View) -> str:
    measures = (("magnitude", 3, False), ("delta_entropy", 4, True), ("delta_nll", 4, True), ("kl", 4, False))
    lines = [
        [str(step), *(interval(over_seeds(rows, name), digits, sign) for name, digits, sign in measures), str(over_seeds(rows, "delta_nll").n)]
        for step, rows in _own_rows(view)
    ]  # fmt: skip
    return (
        table(
            [
                "weights after",
                "norm of the state",
                "Δ entropy, nats",
                "Δ NLL, nats",
                "KL(own ‖ zero), nats",
                "n",
            ],
            lines,
        )
        if lines
        else ""
    )


def _dose_grid(view: View) -> str:
    blocks = []
    for step in view.steps("frozen_doses"):
        lines = []
        for direction, group, rho in _curves(view, step):
            by_seed = group.groupby("seed")["magnitude"]
            ends = [over_seeds(group.loc[by_seed.agg(end)], "delta_entropy") for end in ("idxmin", "idxmax")]
            lines.append(
                [
                    f"{step}: {direction}",
                    interval(estimate(by_seed.max()), sign=False),
                    *map(interval, ends),
                    interval(rho, 2),
                    str(rho.n),
                ]
            )
        head = ["weights after: direction", "largest norm", "Δ entropy at minus that", "Δ entropy at plus that",
                "Spearman ρ of norm and Δ", "n"]  # fmt: skip
        blocks.append(table(head, lines))
    return "\n\n".join(blocks)


def _calibration_grid(view: View) -> str:
    blocks = []
    for step in view.steps("frozen_conditions"):
        lines = []
        for (finder, state), group in view.rows(
            "frozen_conditions", run_step=step, protocol="heldout"
        ).groupby(["finder", "state"], sort=False):
            values = [
                interval(over_seeds(group, name), sign=name == "delta_nll")
                for name in ("entropy", "nll", "delta_nll", "ece")
            ]
            lines.append(
                [
                    str(state) if finder == "none" else f"{state} ({finder})",
                    *values,
                    str(group["seed"].nunique()),
                ]
            )
        head = [f"state, weights after {step} steps", "entropy, nats", "NLL, nats", "Δ NLL, nats", "ECE", "n"]
        blocks += [table(head, lines)] if lines else []
    return "\n\n".join(blocks)


def _seeds_grid(view: View) -> str:
    blocks = []
    for test, group in view.rows("frozen_effects_summary").groupby(["protocol", "finder"], sort=False):
        lines = []
        for (step, seed), cell in group.groupby(["run_step", "seed"]):
            kinds = [cell[cell["placebo"] == placebo] for placebo in ("rotated", "untrained")]
            values = [
                number(kind[name].mean())
                for kind in kinds
                for name in ("placebo_mean", "placebo_max", "p_value")
            ]
            lines.append([f"{step}, seed {seed}", number(cell["effect"].iloc[0]), *values])
        columns = [
            f"{placebo} {what}" for placebo in ("rotated", "untrained") for what in ("mean", "max", "p")
        ]
        blocks.append(
            table([dict[object, str](TESTS).get(test, ", ".join(map(str, test))), "effect", *columns], lines)
        )
    return "\n\n".join(blocks)


GRIDS = {
    "conditions": lambda tables: listed([f"`{view.condition}`" for view in views(tables)]),
    "published": _each(_published_grid),
    "heldout": _each(_heldout_grid),
    "own": _each(_own_grid),
    "dose": _each(_dose_grid),
    "calibration": _each(_calibration_grid),
    "seeds": _each(_seeds_grid),
}
EXPERIMENT = Experiment(
    "frozen", "Frozen-weight test: does the state steer the model?",
    (
        Table(frozen_tables, names=("frozen_conditions", "frozen_effects", "frozen_doses", "frozen_dose_placebos")),
        frozen_effects_summary,
        Table(usual_norm, suites=("shakespeare", "generalization", "recurring")),
    ),
    findings, frozen_figure.FIGURES, GRIDS, suites=("shakespeare", "*"), page="frozen-test.md",
)  # fmt: skip
