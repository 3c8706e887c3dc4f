"""The page on steering in the recurring worlds: placebos, foreign directions, doses, and sharpening without harm."""

import pandas as pd

from experiments.kit.levels import ALPHA
from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.tables import WEIGHTS
from experiments.kit.words import (
    ABSENT,
    CLEAR,
    MISSING,
    Finding,
    difference,
    interval,
    listed,
    number,
    percent,
    plural,
    side,
    signed,
    table,
)
from plots.steering import FINDER, LARGEST, SHOWN, learned_effects
from reports.parts import Section, Tables
from reports.placebos import surplus
from reports.usual_norm import USUAL, at_usual_norm, usual_table

TITLE = "Steering where there is something to sense"
FILE = "steering.md"
SUITE = "recurring"
COLUMNS: dict[str, tuple[str, ...]] = {
    "steering_trained": (
        *WEIGHTS,
        "finder",
        "effect",
        "shuffled",
        "difference",
        "shuffled_mean",
        "p_value",
        "draws",
    ),
    "steering_doses": (*WEIGHTS, "direction", "tau", "p_value", "rises", "range"),
    "steering_matched": (*WEIGHTS, "finder", "at", "reader", "draw", "kl", "delta_entropy", "delta_nll"),
}
YOKED = "yoked"
KEPT = (SHOWN, "raw_recurring", YOKED, "large")  # in the long tables; the CSV tables have all conditions
ABOUT, OUTER = "about zero", ("negative doses", "positive doses")  # stretches of a dose curve
SMALL = "0.05"  # nats: the one of the small KLs that findings are told at


def sections(tables: Tables, figures: str) -> list[Section]:
    """The page's sections. `figures` is the folder of figures as seen from the page."""
    return [effects(tables, figures), usual(tables), sharpening(tables), doses(tables)]


def effects(tables: Tables, figures: str) -> Section:
    """Held-out effects of every condition beside untrained readers, foreign directions, shuffled-trained states."""
    rows = learned_effects(tables.rows("frozen_effects_summary"))
    trained = tables.rows("steering_trained", finder=FINDER)
    cells = []
    for name in dict.fromkeys(rows["condition"]):
        here = rows[rows["condition"] == name]
        against = {kind: here[here["placebo"] == kind] for kind in ("untrained", "foreign")}
        third = trained[trained["condition"] == name]
        above = (against["untrained"]["effect"] > against["untrained"]["placebo_mean"]).sum()
        cells.append(
            [
                f"`{name}`",
                interval(estimate(per_seed(here, "effect")), sign=False),
                *(interval(surplus(found)) for found in against.values()),
                interval(estimate(per_seed(third, "difference"))) if len(third) else "–",
                f"{above} of {here['seed'].nunique()}",
                str(len(per_seed(here, "effect"))),
            ]
        )
    head = ["condition", "effect, nats", "− untrained readers", "− partner's directions", "− trained on shuffled statistics",
            "seeds above the mean of untrained readers", "n"]  # fmt: skip
    mine = rows[(rows["condition"] == SHOWN)]
    against = {kind: surplus(mine[mine["placebo"] == kind]) for kind in ("untrained", "foreign")}
    third = estimate(per_seed(trained[trained["condition"] == SHOWN], "difference"))
    yoked = paired(per_seed(mine, "effect"), per_seed(rows[rows["condition"] == YOKED], "effect"))
    parts = [("− untrained", against["untrained"]), ("− partner's directions", against["foreign"]),
             ("− trained on shuffled statistics", third), ("− yoked", yoked)]  # fmt: skip
    return Section(
        "Which states steer the model?",
        "The frozen-weight test, held-out protocol, gradient finder, of every condition: does the learned direction move entropy "
        "further than directions selected alike from untrained readers, than the partner seed's, and than those of a state "
        "that was trained in every way alike, on its own statistics in random order?",
        [table(head, cells), f"![Steering]({figures}/recurring/steering.png)"] if cells else [MISSING],
        "States are set inside the norms that each run saw, so conditions whose states grew larger may steer further for that "
        "reason; each stands against placebos of its own norms. That a state steers says that the weights read it, not that "
        "what they read helps. That it steers no further than placebos would not say that it goes unread, either: placebo readers "
        "act through the same weights, and at large norms all of them saturate. Whether predictions follow the values that the state "
        "itself takes is asked on [the page on beliefs](beliefs.md), by putting those in. *Trained on shuffled statistics*: only "
        "where the same world, model and mechanism was trained so, too; a dash elsewhere says that there is no such run. A state "
        "of one dimension has one direction, up to its sign: the partner's is its own, so that difference is zero by construction.",
        [
            difference(
                f"`{SHOWN}`, {FINDER} finder: steers further than every placebo.", parts, +1, " nats", 3
            )
        ],
    )


def usual(tables: Tables) -> Section:
    """Effects at the mean norm of the last half of the steps, where nothing saturates: learned beside placebo readers."""
    rows = tables.rows(USUAL)
    parts = [
        (f"{finder} finder, − {placebo} readers", at_usual_norm(rows, SHOWN, finder, placebo))
        for finder, placebo in (("dimension", "untrained"), (FINDER, "untrained"))
    ]
    turned = [("− rotated readers", at_usual_norm(rows, SHOWN, "dimension", "rotated"))]
    return Section(
        "Do they steer at the norms that the state usually has?",
        "The doses of the test go up to the largest norm that a run saw, which can be one of its first steps. The same "
        "directions, learned and placebo, at the mean norm of the last half of the steps.",
        usual_table(rows) or [MISSING],
        "Read along the dose curves, between doses interpolated, on fewer placebo draws than the test has and without a choice of "
        "magnitude; the norm was set after first results were seen. A rotated reader has the learned one's columns, mixed, and so "
        "its column space and norms: where it steers as far, the axes of the state mean nothing by themselves, which is "
        "not to say that the reader learned nothing. The untrained reader has the norms alone.",
        [
            difference(f"`{SHOWN}` at its usual norm steers further than untrained readers.", parts, +1, " nats", 3),
            difference(f"`{SHOWN}` at its usual norm steers further along its own axes than along turned ones.", turned, +1, " nats", 3),
        ],
    )  # fmt: skip


def kept(rows: pd.DataFrame, name: str) -> tuple[pd.DataFrame, list[str]]:
    """The rows of conditions in KEPT, and a sentence on how many others the table of that name has; none, no sentence."""
    others = set(rows["condition"]) - set(KEPT)
    said = f"Of {plural(len(others), 'further condition')} the numbers are in the table `{name}` only."
    return rows[rows["condition"].isin(KEPT)], [said] if others else []


def sharpening(tables: Tables) -> Section:
    """Confident directions at matched KL: entropy and NLL of learned and placebo directions."""
    matched = tables.rows("steering_matched")
    shown, others = kept(matched, "steering_matched")
    cells = []
    for (name, finder, at), here in shown.groupby(["condition", "finder", "at"], sort=False):
        if at != LARGEST and name != SHOWN:
            continue
        learned, placebo = (here[here["reader"] == reader] for reader in ("learned", "untrained"))
        cells.append(
            [
                f"`{name}`, {finder}",
                f"{'largest: ' if at == LARGEST else ''}{number(float(here['kl'].mean()), 3)}",
                *(
                    interval(estimate(per_seed(side, column)), 4)
                    for column in ("delta_entropy", "delta_nll")
                    for side in (learned, placebo)
                ),
                *(interval(gap, 4) for gap in gaps(here)),
                str(learned["seed"].nunique()),
            ]
        )
    head = ["condition, finder", "KL, nats", "learned: Δ entropy", "untrained: Δ entropy", "learned: Δ NLL", "untrained: Δ NLL",
            "Δ entropy, learned − untrained", "Δ NLL, learned − untrained", "n"]  # fmt: skip
    findings = []
    for at, said in ((SMALL, f"a KL of {SMALL} nats"), (LARGEST, "the largest KL that all reach")):
        found = {
            finder: gaps(here)
            for finder in ("dimension", FINDER)
            if len(here := matched[(matched["condition"] == SHOWN) & (matched["finder"] == finder) & (matched["at"] == at)])
        }  # fmt: skip
        claim = f"`{SHOWN}`: at {said} the learned confident direction"
        for place, (verb, what) in enumerate(
            (("lowers entropy further", "Δ entropy"), ("costs less NLL", "Δ NLL"))
        ):
            parts = [(f"{what}, {finder} finder", pair[place]) for finder, pair in found.items()]
            findings.append(difference(f"{claim} {verb} than an untrained one's.", parts, -1, " nats", 4))
    return Section(
        "Does the confident direction sharpen without harm?",
        "Any push changes predictions. Where the learned confident direction and those of untrained readers change them by the same "
        "KL, which lowers entropy more, and which costs likelihood of the true token?",
        [table(head, cells) if cells else MISSING, *others],
        "Entropy rises under any damage, so a fall is not free; but a model made overconfident also has lower entropy, and there "
        "the NLL rises. Only lower entropy at an NLL that is not higher is sharpening. The largest KL that all curves reach can lie "
        "past the turning point of a curve, where even the confident direction raises entropy and nothing sharpens; the small "
        "ones, of 0.02, 0.05 and 0.1 nats, were chosen after the first seed had shown that. They stand where all curves reach "
        "them. Below the first dose values are interpolated from zero, which is rough where one dose already changes much.",
        findings,
    )


def gaps(here: pd.DataFrame) -> tuple[Estimate, Estimate]:
    """Learned minus untrained at one KL, paired by seed: of the entropy change and of the NLL change."""
    learned, placebo = (here[here["reader"] == reader] for reader in ("learned", "untrained"))
    entropy, nll = (
        paired(per_seed(learned, column), per_seed(placebo, column))
        for column in ("delta_entropy", "delta_nll")
    )
    return entropy, nll


def doses(tables: Tables) -> Section:
    """Kendall's tau of dose and entropy along each direction."""
    rows = tables.rows("steering_doses")
    shown, others = kept(rows, "steering_doses")
    cells = []
    for place, group in shown.groupby(["condition", "direction"], sort=False) if len(shown) else ():
        name, direction = map(str, place)
        if direction == "random":
            continue
        clear = int((group["p_value"] < ALPHA).sum())
        cells.append(
            [
                f"`{name}`, {direction}",
                interval(estimate(per_seed(group, "tau")), 2),
                percent(float(per_seed(group, "rises").mean())),
                f"{clear} of {len(group)}",
                interval(estimate(per_seed(group, "range")), 3, sign=False),
                str(group["seed"].nunique()),
            ]
        )
    head = ["condition, direction", "Kendall's τ of norm and Δ entropy", "steps that rise", "seeds with p < 0.05",
            "largest − smallest Δ entropy, nats", "n"]  # fmt: skip
    curves = tables.rows("frozen_doses", condition=SHOWN, direction="gradient")
    gradient = rows[(rows["condition"] == SHOWN) & (rows["direction"] == "gradient")]
    return Section(
        "Does entropy follow the dose?",
        "Set the state to seven norms on each side of zero along each learned direction: is the change of entropy monotone?",
        [table(head, cells) if cells else MISSING, *others],
        "Monotone says that there is an axis, however weak: the range stands beside it. A τ well inside ±1 "
        "belongs to a curve that turns or saturates within the doses, not to a steady one; so a rise is found only where "
        "more than half of the steps between neighbouring doses rise, too.",
        [follows(gradient, curves)],
    )


def follows(gradient: pd.DataFrame, curves: pd.DataFrame) -> Finding:
    """Whether entropy rises with the dose along the gradient: all the way, or about zero only, and turns further out.

    gradient: rows of steering_doses. curves: of frozen_doses, of the same condition and direction.
    """
    tau, share = (per_seed(gradient, column) for column in ("tau", "rises"))
    steady = difference(
        f"`{SHOWN}`: entropy rises with the dose along the gradient.",
        [("Kendall's τ", estimate(tau)), ("share of the steps that rise − ½", estimate(share - 0.5))],
        +1,
        "",
        2,
        pairs=False,
    )
    if steady.verdict in (CLEAR, ABSENT):
        return steady
    changes = {
        name: estimate(per_seed(part, "change")) for name, part in stretches(curves).groupby("stretch")
    }
    turned = [name for name in OUTER if name in changes and side(changes[name], -1) == CLEAR]
    if not turned or side(changes[ABOUT], +1) != CLEAR:
        return steady
    return Finding(
        f"`{SHOWN}`: along the gradient entropy rises about zero, then turns further out, at {listed(turned)}.",
        CLEAR,
        f"Δ entropy from the smallest negative dose to the smallest positive one {interval(changes[ABOUT])} nats; from the lowest dose "
        f"of a sign to the highest, {'; '.join(f'{name} {interval(changes[name])}' for name in OUTER)} nats, n = {changes[ABOUT].n}. "
        f"Over all doses Kendall's τ {signed(float(tau.mean()), 2)}, {percent(float(share.mean()))} of the steps rise.",
    )


def stretches(curves: pd.DataFrame) -> pd.DataFrame:
    """How far Δ entropy changes, in nats, from the lower to the upper dose of three stretches: a row a seed and stretch.

    The stretches end at doses fixed beforehand, not where a curve peaks, so that a curve without a turn shows none by
    chance: ABOUT zero between the smallest doses of each sign, and OUTER, from there to the largest of each sign.
    """
    found = []
    last = curves[curves["run_step"] == curves["run_step"].max()]
    for seed, rows in last.groupby("seed"):
        entropy = rows.groupby("magnitude")["delta_entropy"].mean()  # by signed dose, in rising order
        below, above = entropy[entropy.index < 0], entropy[entropy.index > 0]
        if len(below) and len(above):
            ends = (
                above.iloc[0] - below.iloc[-1],
                below.iloc[-1] - below.iloc[0],
                above.iloc[-1] - above.iloc[0],
            )
            found += [(seed, name, change) for name, change in zip((ABOUT, *OUTER), ends, strict=True)]
    return pd.DataFrame(found, columns=["seed", "stretch", "change"])
