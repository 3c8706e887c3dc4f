"""The page on training and regime signatures."""

from collections.abc import Sequence
from math import nan

import pandas as pd

from experiments.kit import published
from experiments.kit.levels import ALPHA, FEWEST_SEEDS
from experiments.kit.stats import Estimate, correlation, estimate, over_seeds, paired, per_seed
from experiments.kit.words import (
    ABSENT,
    CLEAR,
    MISSING,
    NOT_CLEAR,
    OPEN,
    Finding,
    all_of,
    interval,
    listed,
    number,
    plural,
    side,
    signed,
    table,
)
from reports.parts import Section, Tables

TITLE = "Training with a self-state: losses, regime signatures"
PAIRS = (("self", "vanilla"), ("self_calm", "vanilla_calm"), ("self_random", "vanilla_random"))
CHANNELS = {"loss": 3, "entropy": 3, "state_drift": 5, "state_effect": 3}  # digits to show
STATE_CHANNELS = ("state_norm", "state_drift", "state_ema_drift", "state_effect")
ALL_CHANNELS = 8  # logged channels of a run with self-state; the threshold below is shared with the figures
MARK_P = ALPHA / ALL_CHANNELS


def sections(tables: Tables, figures: str) -> list[Section]:
    """The page's sections. `figures` is the folder of figures as seen from the page."""
    return [
        learning(tables, figures),
        regimes(tables, figures),
        trajectory(tables, figures),
    ]


def learning(tables: Tables, figures: str) -> Section:
    """Held-out loss with and without a self-state, paired by seed."""
    runs = tables.rows("runs")
    body: list[str] = []
    evidence: list[str] = []
    verdicts: list[str] = []
    if runs.empty:
        body.append(MISSING)
    else:
        conditions = list(dict.fromkeys(runs["condition"]))
        rows = []
        for name in conditions:
            loss = over_seeds(runs[runs["condition"] == name], "heldout_loss")
            rows.append([f"`{name}`", interval(loss, sign=False), str(loss.n)])
        body.append(table(["condition", "held-out loss at the last step, nats a token", "n"], rows))
        pairs = []
        for one, other in PAIRS:
            gain = paired(
                per_seed(runs[runs["condition"] == one], "heldout_loss"),
                per_seed(runs[runs["condition"] == other], "heldout_loss"),
            )
            if gain.n:
                verdicts.append(side(gain, -1))
                evidence.append(f"{interval(gain)} nats for `{one}` − `{other}`")
                pairs.append([f"`{one}` − `{other}`", interval(gain), str(gain.n)])
        if pairs:
            body.append("Of one seed, both runs start from the same weights and see the same batches, so:")
            body.append(table(["paired difference", "held-out loss, nats a token", "n"], pairs))
        body += [*_curve(tables, conditions), f"![Learning curves]({figures}/learning-curves.png)"]
    claim = "With a self-state the model predicts held-out text better than without."
    sentence = f"Held-out loss: {listed(evidence)}." if evidence else "No pair of conditions is finished."
    return Section(
        "Does a self-state help or hurt the training?",
        "Held-out loss with the self-state and without, the same seeds, batches and regimes on both sides. "
        "The published study gives no losses to compare with.",
        body,
        "A difference below zero would say that the model gains from what is injected, not that it *senses* "
        "anything: a constant bias can do as much, and needs a control of its own. The loss is taken with the "
        "run's own last state.",
        [Finding(claim, all_of(verdicts), sentence)],
    )


def _curve(tables: Tables, conditions: Sequence[str]) -> list[str]:
    """Held-out loss at each evaluation, mean over seeds, if the log of the steps is among the tables."""
    metrics = tables.rows("metrics")
    measured = metrics.dropna(subset=["heldout_loss"])
    if measured.empty:
        return []
    mean = measured.groupby(["condition", "step"])["heldout_loss"].mean()
    steps = sorted(set(measured["step"]))
    head = ["held-out loss after step", *(str(int(step) + 1) for step in steps)]
    rows = [
        [f"`{name}`", *(number(float(mean.get((name, step), nan))) for step in steps)]
        for name in conditions
        if name in mean.index
    ]
    return [
        table(head, rows),
        "Held-out text is never disturbed, but the model is tested as it stands: within a window of a regime, or just after one, that "
        "is a model which has just been trained under it.",
    ]


class Deltas:
    """The change of a metric in a regime's window, by seed."""

    def __init__(self, tables: Tables) -> None:
        keys = ["condition", "regime", "metric", "seed"]
        self.values = tables.rows("regime_deltas").groupby(keys)["delta"].mean().dropna()

    def of(self, condition: str, regime: str, metric: str) -> "pd.Series[float]":
        key = (condition, regime, metric)
        return self.values.loc[key] if key in self.values.index else pd.Series(dtype=float)


def regimes(tables: Tables, figures: str) -> Section:
    """What each regime does to each channel, against the published numbers, a calm run and a run without state."""
    deltas = Deltas(tables)
    rows: list[list[str]] = []
    marks = state_marks(deltas)
    ours: list[tuple[float, Estimate, Estimate]] = []
    without: dict[str, Estimate] = {}
    for regime, expected in published.REGIME_DELTAS.items():
        for metric, digits in CHANNELS.items():
            delta = deltas.of("self", regime, metric)
            calm = deltas.of("self_calm", regime, metric)
            vanilla = deltas.of("vanilla", regime, metric)
            raw, beyond = estimate(delta), paired(delta, calm)
            if raw.n == 0:
                continue
            ours.append((expected[metric], raw, beyond))
            if metric == "loss":
                without[regime] = paired(delta, vanilla)
            rows.append(
                [
                    f"`{regime}`" if metric == "loss" else "",
                    metric,
                    signed(expected[metric], min(digits, 3)),
                    interval(raw, digits),
                    interval(estimate(calm), digits),
                    interval(beyond, digits),
                    interval(estimate(vanilla), digits),
                    str(raw.n),
                ]
            )
    head = ["regime", "channel", "published Δ", "`self` Δ", "`self_calm` Δ, same steps", "`self` − `self_calm`",
            "`vanilla` Δ", "n"]  # fmt: skip
    body = [
        table(head, rows) if rows else MISSING,
        "Δ: mean during the window minus mean before it, in nats (loss, entropy), L2 a step (state_drift) and "
        "mean |Δ logit| (state_effect). Published: one run, its state_effect taken on token ids 0 to 3, not on text.",
    ]
    if rows:
        details = [f"[{name}]({figures}/perturbation/{name}.png)" for name in published.REGIME_DELTAS]
        body += [
            f"![Reactions of all channels]({figures}/perturbation/regime-reactions.png)",
            f"![Changes a regime]({figures}/perturbation/regime-deltas.png)",
            f"Around the onset of each regime: {listed(details)}.",
        ]
    return Section(
        "Does each regime leave its own mark?",
        "How loss, entropy, state_drift and state_effect change while a regime acts; beside it what changes in a calm "
        "run at the same steps, since everything drifts in training, and in a run without self-state.",
        body,
        "`self` − `self_calm` takes the training's own course off. What is left is the regime's, but also what earlier regimes left "
        "behind, since in fixed windows each follows others and the calm run had none: `false_feedback` and `self_clamp` do nothing at "
        "all to `vanilla`, so where its Δ is like that of `self`, the change is not that regime's. Whether marks differ from one regime to another is asked by [classification](classification.md). A mark on the "
        "state says that the state was moved, not that the model uses it: that is the frozen-weight test's question.",
        [fingerprints(marks), _replication(ours), _shared_shifts(without)],
    )


def state_marks(deltas: Deltas) -> dict[str, list[str]]:
    """By regime, the state channels that move as in no calm run; regimes with two seeds or more."""
    marks: dict[str, list[str]] = {}
    for regime in published.REGIME_DELTAS:
        for metric in STATE_CHANNELS:
            moved = paired(deltas.of("self", regime, metric), deltas.of("self_calm", regime, metric))
            if moved.n > 1:
                marks.setdefault(regime, []).extend([metric] if moved.p < MARK_P else [])
    return marks


def fingerprints(marks: dict[str, list[str]]) -> Finding:
    """Whether each regime marks the state beyond what a calm run does, from `state_marks`."""
    claim = "Each regime moves a channel of the state as no calm run does."
    if not marks:
        return Finding(
            claim, ABSENT, "It needs two seeds of `self` and `self_calm` at least, and the table has fewer."
        )
    yes = [f"`{regime}` ({listed(found)})" for regime, found in marks.items() if found]
    no = [f"`{regime}`" for regime, found in marks.items() if not found]
    verdict = CLEAR if not no else OPEN if yes else NOT_CLEAR
    text = f"Against `self_calm`, {len(yes)} of {plural(len(marks), 'regime')} "
    text += f"{'does' if len(yes) == 1 else 'do'}: {listed(yes)}. " if yes else "do. "
    text += f"No clear mark: {listed(no)}. " if no else ""
    return Finding(claim, verdict, text + f"t test over seeds, p < {ALPHA} / {ALL_CHANNELS} a channel.")


def _signs(judged: Sequence[tuple[float, Estimate]]) -> tuple[int, int, int]:
    """How many values have the expected sign with an interval that leaves zero out, the opposite one, and neither."""
    same = sum(value.clear and value.mean * expected > 0 for expected, value in judged)
    opposite = sum(value.clear and value.mean * expected < 0 for expected, value in judged)
    return same, opposite, len(judged) - same - opposite


def _replication(ours: Sequence[tuple[float, Estimate, Estimate]]) -> Finding:
    """ours: the published change, ours, and ours minus that of the calm run."""
    claim = "The published changes come back, sign by sign."
    judged = [(expected, value) for expected, value, _ in ours if value.n > 1]
    if not judged:
        text = "One seed gives no interval." if ours else "No regime was measured."
        return Finding(claim, OPEN if ours else ABSENT, text)
    same, opposite, across = _signs(judged)
    if opposite >= same:
        verdict = NOT_CLEAR
    else:
        verdict = CLEAR if not opposite and 2 * same >= len(judged) else OPEN
    beyond = [(expected, value) for expected, _, value in ours if value.n > 1]
    left = " With the calm run's change at the same steps taken off: {}, {} and {}.".format(*_signs(beyond))
    return Finding(
        claim,
        verdict,
        f"Of {len(judged)} published changes, ours have the same sign with an interval that leaves zero out in {same}, "
        f"the opposite sign in {opposite}, and an interval across zero in {across}.{left if beyond else ''}",
    )


def _shared_shifts(without: dict[str, Estimate]) -> Finding:
    claim = "With a self-state the loss reacts otherwise to a regime than without."
    known = {regime: value for regime, value in without.items() if value.n}
    if not known:
        return Finding(claim, ABSENT, "It needs seeds that both `self` and `vanilla` have.")
    text = "`self` − `vanilla`, loss Δ: " + "; ".join(
        f"`{regime}` {interval(value)}" for regime, value in known.items()
    )
    verdicts = [
        OPEN if value.n < FEWEST_SEEDS else CLEAR if value.clear else NOT_CLEAR for value in known.values()
    ]
    return Finding(claim, all_of(verdicts), text + " nats.")


def trajectory(tables: Tables, figures: str) -> Section:
    """How much of the state's path is the clock."""
    path = tables.rows("state_path")
    rows = []
    for name in dict.fromkeys(path["condition"]):
        runs = path[path["condition"] == name]
        clock = {seed: abs(correlation(run["pc1"], run["step"])) for seed, run in runs.groupby("seed")}
        share = runs.groupby("seed")[["share1", "share2"]].mean()
        rows.append(
            [
                f"`{name}`",
                interval(estimate(share["share1"]), 2, sign=False),
                interval(estimate(share["share2"]), 2, sign=False),
                interval(estimate(pd.Series(clock)), 2, sign=False),
                str(len(clock)),
            ]
        )
    head = [
        "condition",
        "variance on PC 1",
        "variance on PC 2",
        "\\|correlation of PC 1 with the step\\|",
        "n",
    ]
    return Section(
        "Where does the state go?",
        "The state's path in its first two principal components, and how closely the first follows the step number.",
        [table(head, rows), f"![State trajectory]({figures}/state-trajectory.png)"] if rows else [MISSING],
        "Progress is one of the five statistics that the state receives. The closer the correlation is to 1, the more "
        "of the state can be a clock rather than a sense of the training's condition.",
    )
