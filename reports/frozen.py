"""The page on the frozen-weight test: weights fixed, state set by hand."""

import pandas as pd

from experiments.kit import published
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.stats import estimate, over_seeds, paired, per_seed, rank_correlation
from experiments.kit.words import (
    CLEAR,
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
)
from reports.parts import Section, Tables
from reports.placebos import TESTS, View, beats, effect_table, seeds
from reports.usual_norm import USUAL, usual_table

TITLE = "Frozen-weight test: does the state steer the model?"
DIRECTIONS = {"confident": -1, "uncertain": +1, "gradient": +1}  # the sign that entropy should change with


def sections(tables: Tables, figures: str) -> list[Section]:
    """The page's sections, for each condition tested. `figures` is the folder of figures as seen from the page."""
    effects = tables.rows("frozen_effects_summary")
    conditions = list(dict.fromkeys(effects["condition"])) if not effects.empty else ["self_calm"]
    found = []
    for condition in conditions:
        view = View(tables, condition)
        found += [
            replication(view, figures),
            heldout(view),
            own_state(view),
            doses(view),
            calibration(view),
            seeds(view),
        ]
    return found


def replication(view: View, figures: str) -> Section:
    """The published protocol, the published numbers beside ours, and placebos that it did not have."""
    body: list[str] = []
    for step in view.steps("frozen_conditions"):
        rows = view.rows("frozen_conditions", run_step=step, protocol="replication")
        if rows.empty:
            continue
        cells = []
        for state, said in published.FROZEN_DELTA_ENTROPY.items():
            of_state = rows[rows["state"] == state]
            change = over_seeds(of_state, "delta_entropy")
            if change.n == 0:
                continue
            ours, theirs = interval(change), signed(said)
            extra = "–"
            if state == "random":
                spread = of_state.groupby("seed")["delta_entropy"].std()
                ours += f", SD of draws {number(spread.mean())}"
                theirs += f" ± {number(published.FROZEN_RANDOM_SD)}"
                extra = percent(float((of_state["delta_entropy"] > 0).mean()))
            consistency = over_seeds(of_state, "sign_consistency")
            cells.append(
                [
                    state,
                    theirs,
                    ours,
                    published.FROZEN_SIGN_CONSISTENCY[state],
                    percent(consistency.mean),
                    extra,
                    str(change.n),
                ]
            )
        head = [f"weights after {step} steps", "published Δ entropy", "ours", "published sign consistency",
                "ours, share of sequences", "draws with Δ > 0", "n"]  # fmt: skip
        body.append(table(head, cells))
    body += effect_table(view, [("replication", "dimension")])
    if body:
        body += [
            f"![Frozen-weight test]({figures}/frozen-weight-test.png)",
            f"[The same for the earliest weights kept]({figures}/frozen-weight-test-early.png).",
        ]
    return Section(
        view.named("The published protocol, repeated"),
        "Does the test as published give what it gave: directions found and tested on the same train batches, last "
        "position, magnitude 0.3, five dimensions? And does a placebo, selected in the same way, give less?",
        body or [MISSING],
        "The best and the worst five of 32 dimensions differ whatever the reader is: selection alone makes an effect. "
        "What exceeds an untrained placebo selected in the same way is the training's; what exceeds a rotated one, which "
        "keeps all that was learned but the axes, is the axes'. Sign consistency is counted here "
        "over sequences in every row; the published table counts batches for learned and draws for random directions.",
        [_returns(view), beats(view, "replication", "dimension"), _consistent(view)],
    )


def _returns(view: View) -> Finding:
    claim = f"The published protocol gives an effect as large as the published {published.EFFECT_SIZE}."
    verdicts, parts = [], []
    for step in view.steps("frozen_effects_summary"):
        found = view.rows("frozen_effects_summary", run_step=step, protocol="replication", finder="dimension")
        value = over_seeds(found, "effect")
        if value.n == 0:
            continue
        reached, missed = value.low >= published.EFFECT_SIZE, value.high < published.EFFECT_SIZE
        known = value.n >= FEWEST_SEEDS and (reached or missed)
        verdicts.append((CLEAR if reached else NOT_CLEAR) if known else OPEN)
        learned = view.rows("frozen_effects", run_step=step, protocol="replication", finder="dimension")
        placebo = learned[learned["reader"] != "learned"] if not learned.empty else learned
        text = f"{interval(value, sign=False)} with the weights of step {step} (n = {value.n}"
        if not placebo.empty:
            over = float((placebo["effect_size"] > published.MEANINGFUL_EFFECT).mean())
            text += f"; {percent(over)} of placebo draws exceed the {published.MEANINGFUL_EFFECT} called meaningful"
        parts.append(text + ")")
    return Finding(claim, all_of(verdicts), f"Ours: {listed(parts)}." if parts else "It was not run.")


def _consistent(view: View) -> Finding:
    claim = "Counted in the same way, learned directions keep their sign more than random ones."
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
    return Finding(claim, all_of(verdicts), f"{listed(parts)}." if parts else "It was not run.")


def heldout(view: View) -> Section:
    """Directions found on train, magnitude chosen on dev, measured once on held-out text."""
    body = effect_table(view, [test for test in TESTS if test[0] == "heldout"])
    usual = usual_table(view.tables.rows(USUAL, condition=view.condition))
    if usual:
        usual = [
            "The same directions at the mean norm of the last half of the steps before, read along the dose curves:",
            *usual,
        ]
    return Section(
        view.named("The held-out protocol"),
        "Directions found on train batches, their magnitude chosen on dev, measured once on held-out batches over all "
        "positions: do learned directions still steer more than placebos that went through the same selection?",
        [*body, *usual] if body else [MISSING],
        "Passing both placebos says that training shaped how the model reads these directions. It does not say that the "
        "state takes such values by itself, or that the model gains from it. The gradient finder sees no rotation, so "
        "only the untrained placebo decides there. Magnitudes are chosen up to the largest norm that the run saw, which can be "
        "one of its first steps, and there readers may saturate alike: hence the comparison at the usual norm. A rotated reader "
        "keeps the learned one's column space and norms, so it tests the axes, not whether the reader learned anything: not "
        "passing it does not say that the state goes unused. The third placebo, a run trained on shuffled statistics, exists in "
        "the recurring world alone ([steering](steering.md)), not for this one.",
        [beats(view, *test) for test in TESTS if test[0] == "heldout"],
    )


def own_state(view: View) -> Section:
    """The state that training ended with, against zero, on held-out text."""
    rows, verdicts, parts = [], [], []
    for step in view.steps("frozen_conditions"):
        found = view.rows("frozen_conditions", run_step=step, protocol="heldout", state="own")
        value = over_seeds(found, "delta_nll")
        if value.n == 0:
            continue
        verdicts.append(side(value, -1))
        parts.append(f"{interval(value, 4)} nats at step {step} (n = {value.n})")
        rows.append(
            [
                str(step),
                interval(over_seeds(found, "magnitude"), sign=False),
                interval(over_seeds(found, "delta_entropy"), 4),
                interval(value, 4),
                interval(over_seeds(found, "kl"), 4, sign=False),
                str(value.n),
            ]
        )
    head = [
        "weights after",
        "norm of the state",
        "Δ entropy, nats",
        "Δ NLL, nats",
        "KL(own ‖ zero), nats",
        "n",
    ]
    return Section(
        view.named("The run's own state"),
        "Does the state that training ended with change the predictions on held-out text, against the zero state?",
        [table(head, rows) if rows else MISSING],
        "A lower NLL with the own state says that weights and state grew together; a constant that was learned with the "
        "weights would do the same. It is no evidence that the state carries anything about the batch.",
        [
            Finding(
                "The run's own state lowers the held-out NLL.",
                all_of(verdicts),
                f"Δ NLL against zero: {listed(parts)}." if parts else "It was not run.",
            )
        ],
    )


def doses(view: View) -> Section:
    """Δ entropy against the signed norm of the state along each direction."""
    body: list[str] = []
    findings = []
    verdicts, parts = [], []
    steps = view.steps("frozen_doses")
    for step in steps:
        found = view.rows("frozen_doses", run_step=step)
        rows = []
        for key, group in found.groupby("direction", sort=False):
            direction = str(key)
            rank = {
                seed: rank_correlation(rows["magnitude"], rows["delta_entropy"])
                for seed, rows in group.groupby("seed")
            }
            rho = estimate(pd.Series(rank, dtype=float))
            ends = [over_seeds(group.loc[group.groupby("seed")["magnitude"].agg(end)], "delta_entropy")
                    for end in ("idxmin", "idxmax")]  # fmt: skip
            largest = estimate(group.groupby("seed")["magnitude"].max())
            rows.append(
                [f"{step}: {direction}", interval(largest, sign=False), *(interval(end) for end in ends),
                 interval(rho, 2), str(rho.n)]
            )  # fmt: skip
            if direction in DIRECTIONS and step == steps[-1] and rho.n:
                verdicts.append(side(rho, DIRECTIONS[direction]))
                parts.append(f"{interval(rho, 2)} ({direction})")
        head = ["weights after: direction", "largest norm", "Δ entropy at minus that", "Δ entropy at plus that",
                "Spearman ρ of norm and Δ", "n"]  # fmt: skip
        body.append(table(head, rows))
    findings.append(
        Finding(
            "Entropy follows the dose: down along confident, up along uncertain and gradient.",
            all_of(verdicts),
            f"Spearman ρ at the last weights: {listed(parts)}." if parts else "It was not run.",
        )
    )
    return Section(
        view.named("Dose and response"),
        "Does entropy follow the signed norm of the state along each direction, inside the norms seen in training?",
        body or [MISSING],
        "A monotone curve shows that a direction acts as a knob; a random direction is a knob too wherever its ρ is far "
        "from zero. How large the response is stands in the two columns of ends, and whether it beats a placebo above.",
        findings,
    )


def calibration(view: View) -> Section:
    """Entropy, NLL and calibration error of each state, held-out protocol."""
    body = []
    for step in view.steps("frozen_conditions"):
        found = view.rows("frozen_conditions", run_step=step, protocol="heldout")
        rows = []
        for (finder, state), group in found.groupby(["finder", "state"], sort=False):
            name = str(state) if finder == "none" else " ".join([str(state), f"({finder!s})"])
            values = [
                interval(over_seeds(group, column), sign=column == "delta_nll")
                for column in ("entropy", "nll", "delta_nll", "ece")
            ]
            rows.append([name, *values, str(group["seed"].nunique())])
        if rows:
            head = [
                f"state, weights after {step} steps",
                "entropy, nats",
                "NLL, nats",
                "Δ NLL, nats",
                "ECE",
                "n",
            ]
            body.append(table(head, rows))
    return Section(
        view.named("What steering does to accuracy and calibration"),
        "Entropy can fall because the model knows more or because it is overconfident: NLL and the expected calibration "
        "error (ECE, 10 bins of top-1 confidence) tell the two apart.",
        body or [MISSING],
        "Where entropy falls and NLL and ECE rise, steering makes the model sure of itself, not better informed. Where all "
        "three fall, it predicts better than with the zero state; whether better than without any hand, the run's own state says.",
    )
