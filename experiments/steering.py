"""Is what a learned direction does more than any push of the same size would do? From finished frozen-weight tests.

Three questions beside the placebos of each test. Does a state that was trained on statistics in random order steer as
far (the third placebo: trained in every way alike, only what it was shown meant nothing)? Does entropy follow the dose?
And does the confident direction sharpen predictions without harming them, at the same size of change? Entropy rises
under any damage, so a fall is the rarer thing; but it too is cheap where the likelihood of the true token falls with it.
So confident directions are compared where they change the predictions by the same KL, with the NLL beside the entropy.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import scipy

from configs.run import RunConfig
from experiments.kit import words
from experiments.kit.experiment import Experiment
from experiments.kit.levels import ALPHA
from experiments.kit.pages import of_seeds
from experiments.kit.pairs import STATE as SHOWN
from experiments.kit.pairs import world_of
from experiments.kit.placebos import USUAL, at_usual_norm, rank_p_value, surplus, usual_table
from experiments.kit.runs import Context
from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.tables import RUN, WEIGHTS, Tables
from experiments.steering_figure import FIGURE, FINDER, SMALL, learned_effects

SHUFFLED, YOKED, LARGEST = "shuffled", "yoked", "largest"
KEPT = (SHOWN, "raw_recurring", YOKED, "large")  # in the long tables; the CSV tables have all conditions
# Nats; chosen after seed 1, whose largest common KL lies past the curve's turning point
SMALL_KL = (0.02, 0.05, 0.1)
CONFIDENT = {
    "dimension": ("confident", +1),
    "gradient": ("gradient", -1),
}  # direction, and its sign that lowers entropy
FOUND = {
    "dimension": "along directions found number by number",
    FINDER: "along the gradient",
}  # finders, as sentences say it
ABOUT, OUTER = "about zero", ("negative doses", "positive doses")  # stretches of a dose curve


def alike(conditions: Mapping[str, RunConfig]) -> list[str]:
    """The conditions that differ from `shuffled` in what their state is shown and in nothing else: world, model, mechanism."""
    if SHUFFLED not in conditions:
        return []

    def but_senses(run: RunConfig) -> tuple[str, str, int | None]:
        return world_of(run), run.self_state.model_dump_json(exclude={"senses"}), run.inject_until

    of_placebo = but_senses(conditions[SHUFFLED])
    return [name for name, run in conditions.items() if name != SHUFFLED and but_senses(run) == of_placebo]


def steering_trained(context: Context, frozen_effects: pd.DataFrame) -> pd.DataFrame:
    """Each learned held-out effect beside those of the states that were trained on shuffled statistics, see `alike`.

    shuffled, difference: of the same seed; shuffled_mean, p_value (rank, one-sided), draws: of the shuffled runs of all
    seeds. Nats. No rows without such runs.
    """
    effects, names = frozen_effects, alike(context.suite.conditions)
    learned = effects[(effects["reader"] == "learned") & (effects["protocol"] == "heldout")]
    placebo = learned[learned["condition"] == SHUFFLED]
    rows = []
    for (step, finder), group in learned.groupby(["run_step", "finder"], sort=False):
        rival = placebo[(placebo["run_step"] == step) & (placebo["finder"] == finder)]
        sizes = rival.set_index("seed")["effect_size"]
        for one in group[group["condition"].isin(names)].to_dict("records") if len(sizes) else ():
            effect, same = one["effect_size"], float(sizes.get(one["seed"], np.nan))
            rows.append({name: one[name] for name in RUN} | {
                "run_step": step, "finder": finder, "effect": effect, "shuffled": same, "difference": effect - same,
                "shuffled_mean": sizes.mean(), "p_value": rank_p_value(effect, sizes.to_numpy()), "draws": len(sizes),
            })  # fmt: skip
    return pd.DataFrame(rows)


def steering_doses(context: Context, frozen_doses: pd.DataFrame) -> pd.DataFrame:
    """Whether entropy follows the dose along each learned direction: Kendall's tau of signed norm and entropy change.

    p_value: two-sided, exact; rises: share of the neighbouring doses between which entropy rises; range: largest minus
    smallest entropy change, nats. One row a test and direction.
    """
    rows = []
    for place, group in frozen_doses.groupby([*WEIGHTS, "direction"], sort=False):
        curve = group.sort_values("magnitude")
        change = curve["delta_entropy"].to_numpy(float)
        row = dict(zip((*WEIGHTS, "direction"), place, strict=True)) | dict.fromkeys(
            ("tau", "p_value", "rises"), np.nan
        )
        if len(curve) >= 3 and np.ptp(change) > 0:
            method = "exact" if len(set(change)) == len(change) else "auto"
            found = scipy.stats.kendalltau(curve["magnitude"], change, method=method)
            row |= {"tau": found.statistic, "p_value": found.pvalue, "rises": (np.diff(change) > 0).mean()}
        rows.append(row | {"range": float(np.ptp(change))})
    return pd.DataFrame(rows)


def steering_matched(
    context: Context, frozen_doses: pd.DataFrame, frozen_dose_placebos: pd.DataFrame
) -> pd.DataFrame:
    """Entropy and NLL changes of confident directions where they change the predictions by the same KL.

    at: SMALL_KL, each where the learned direction and all its placebos reach it within their doses, and LARGEST, the
    largest KL that all of them reach; kl: that KL. Between two doses values are interpolated in the root of the KL: near
    zero the KL goes with the square of the dose, and the changes with the dose. One row a test, finder, `at`, reader, draw.
    """
    doses = pd.concat([frozen_doses, frozen_dose_placebos], ignore_index=True)
    rows = []
    for place, test in doses.groupby(list(WEIGHTS), sort=False):
        for finder, (direction, sign) in CONFIDENT.items():
            along = test[test["direction"] == direction].groupby(["reader", "draw"], sort=False)
            curves = {reader: confident_curve(curve, sign) for reader, curve in along}
            if len(curves) < 2:
                continue
            most = min(float(curve["kl"].max()) for curve in curves.values())
            for at, kl in (*((f"{kl:g}", kl) for kl in SMALL_KL if kl <= most), (LARGEST, most)):
                for (reader, draw), curve in curves.items():
                    found = {
                        name: float(np.interp(kl**0.5, curve["kl"].to_numpy(float) ** 0.5, curve[name]))
                        for name in ("delta_entropy", "delta_nll")
                    }
                    row = {"finder": finder, "at": at, "reader": reader, "draw": draw, "kl": kl} | found
                    rows.append(dict(zip(WEIGHTS, place, strict=True)) | row)
    return pd.DataFrame(rows)


def confident_curve(curve: pd.DataFrame, sign: int) -> pd.DataFrame:
    """The half of a dose curve that should lower entropy, from zero up to its largest KL, in the order of rising KL.

    Doses after which the KL falls again are left out: there one KL would stand for two states.
    """
    half = (
        curve[curve["magnitude"] * sign >= 0]
        .assign(size=lambda rows: rows["magnitude"].abs())
        .sort_values("size")
    )
    kl = half["kl"].to_numpy(float)
    rising = np.concatenate([[True], np.diff(kl) > 0]) if len(kl) else np.array([], bool)
    until = len(kl) if rising.all() else int(np.argmin(rising))
    return half.iloc[:until]


def findings(tables: Tables) -> dict[str, words.Finding]:
    """What the page says of the self-state of the recurring world."""
    rows, usual = learned_effects(tables.rows("frozen_effects_summary")), tables.rows(USUAL)
    matched = tables.rows("steering_matched", condition=SHOWN, at=SMALL)
    mine, yoked = (rows[rows["condition"] == name] for name in (SHOWN, YOKED))
    trained = tables.rows("steering_trained", finder=FINDER, condition=SHOWN)
    gradient = {"condition": SHOWN, "direction": "gradient"}
    parts = {FOUND[str(finder)]: gaps(here) for finder, here in matched.groupby("finder")}
    return {
        "steers": words.difference(
            "In the recurring world the state, at its greatest length, steers further than untrained readers.",
            {"beyond untrained readers": surplus(mine[mine["placebo"] == "untrained"])}, +1, "nats of entropy",
            otherwise="In the recurring world the state, at its greatest length, does not steer clearly further than untrained readers.",
            reverse="In the recurring world the state, at its greatest length, steers less far than untrained readers.",
        ),
        "own": words.difference(
            "The self-state steers further along its own direction than along its partner seed's.",
            {"own minus partner's": surplus(mine[mine["placebo"] == "foreign"])}, +1, "nats",
            otherwise="The self-state does not steer clearly further along its own direction than along its partner seed's.",
            reverse="The self-state steers further along its partner seed's direction than along its own.",
        ),
        "trained": words.difference(
            "The self-state steers further than states that were trained on meaningless signals.",
            {
                "its own in random order": estimate(per_seed(trained, "difference")),
                "another run's": paired(per_seed(mine, "effect"), per_seed(yoked, "effect")),
            }, +1, "nats, self-state minus that",
            otherwise="The self-state does not steer clearly further than states that were trained on meaningless signals.",
            reverse="States that were trained on meaningless signals steer further than the self-state.",
        ),
        "usual": words.difference(
            "At its usual length the state steers further than untrained readers.",
            {said: at_usual_norm(usual, SHOWN, finder, "untrained") for finder, said in FOUND.items()}, +1, "nats",
            otherwise="At its usual length the state does not steer clearly further than untrained readers.",
            reverse="At its usual length the state steers less far than untrained readers.",
        ),
        "axes": words.difference(
            "At that length it steers further than through a scrambled reader.",
            {"beyond scrambled readers": at_usual_norm(usual, SHOWN, "dimension", "rotated")}, +1, "nats",
            otherwise="At that length it does not steer clearly further than through a scrambled reader.",
            reverse="At that length it steers less far than through a scrambled reader.",
        ),
        "sharper": words.difference(
            "Its confident direction sharpens predictions more than an untrained reader's.",
            {finder: entropy for finder, (entropy, _) in parts.items()}, -1, f"nats of entropy at the same KL, {SMALL}, learned minus untrained",
            otherwise="Its confident direction does not sharpen predictions clearly more than an untrained reader's.",
            reverse="Its confident direction sharpens predictions less than an untrained reader's.",
        ),
        "cheaper": words.difference(
            "At the same change of predictions the learned confident direction costs the true token less likelihood.", {finder: nll for finder, (_, nll) in parts.items()}, -1,
            f"nats at a KL of {SMALL}, learned minus untrained",
            otherwise="At the same change of predictions the learned confident direction does not clearly cost the true token less likelihood.",
            reverse="At the same change of predictions the learned confident direction costs the true token more likelihood.",
        ),
        "follows": follows(tables.rows("steering_doses", **gradient), tables.rows("frozen_doses", **gradient)),
    }  # fmt: skip


def gaps(here: pd.DataFrame) -> tuple[Estimate, Estimate]:
    """Learned minus untrained at one KL, paired by seed: of the entropy change and of the NLL change."""
    learned, placebo = (here[here["reader"] == reader] for reader in ("learned", "untrained"))
    entropy, nll = (
        paired(per_seed(learned, column), per_seed(placebo, column))
        for column in ("delta_entropy", "delta_nll")
    )
    return entropy, nll


def follows(gradient: pd.DataFrame, curves: pd.DataFrame) -> words.Finding:
    """Whether entropy rises with the dose along the gradient: all the way, or about zero only, and turns further out.

    gradient: rows of steering_doses. curves: of frozen_doses, of the same condition and direction.
    """
    tau, share = (per_seed(gradient, column) for column in ("tau", "rises"))
    steady = words.difference(
        "Along the gradient entropy rises with the dose.",
        [("Kendall's τ", estimate(tau)), ("share of the steps that rise − ½", estimate(share - 0.5))], +1, "", 2, pairs=False,
        otherwise="Along the gradient entropy does not rise steadily with the dose.",
    )  # fmt: skip
    if steady.verdict in (words.CLEAR, words.ABSENT):
        return steady
    changes = {
        name: estimate(per_seed(part, "change")) for name, part in stretches(curves).groupby("stretch")
    }
    turned = [name for name in OUTER if name in changes and words.side(changes[name], -1) == words.CLEAR]
    if not turned or words.side(changes[ABOUT], +1) != words.CLEAR:
        return steady
    return words.Finding(
        f"Along the gradient entropy rises about zero, then turns further out, at {words.listed(turned)}.",
        words.CLEAR,
        f"Δ entropy from the smallest negative dose to the smallest positive one {words.interval(changes[ABOUT])} nats; from the lowest dose "
        f"of a sign to the highest, {'; '.join(f'{name} {words.interval(changes[name])}' for name in OUTER)} nats, n = {changes[ABOUT].n}. "
        f"Over all doses Kendall's τ {words.signed(float(tau.mean()), 2)}, {words.percent(float(share.mean()))} of the steps rise.",
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


def _effects_grid(tables: Tables) -> str:
    rows, trained = (
        learned_effects(tables.rows("frozen_effects_summary")),
        tables.rows("steering_trained", finder=FINDER),
    )
    lines = []
    for name in dict.fromkeys(rows["condition"]):
        here, third = rows[rows["condition"] == name], trained[trained["condition"] == name]
        untrained, foreign = (here[here["placebo"] == kind] for kind in ("untrained", "foreign"))
        above = f"{(untrained['effect'] > untrained['placebo_mean']).sum()} of {here['seed'].nunique()}"
        values = (
            per_seed(here, "effect"),
            surplus(untrained),
            surplus(foreign),
            per_seed(third, "difference"),
        )
        lines.append([f"`{name}`", *values, above])
    columns = [
        ("effect, nats", "3"), ("− untrained readers", "±3"), ("− partner's directions", "±3"),
        ("− trained on signals in random order", "±3"), ("seeds above the mean of untrained readers", ""),
    ]  # fmt: skip
    return of_seeds("condition", columns, lines)


def _others(rows: pd.DataFrame, name: str) -> str:
    """How many conditions that are not in KEPT the CSV table of a name has, below a table of those that are."""
    others = len(set(rows["condition"]) - set(KEPT))
    said = f"\n\nOf {words.plural(others, 'further condition')} the numbers are in `{name}.csv` only."
    return said * bool(others)


def _matched_grid(tables: Tables) -> str:
    rows, lines = tables.rows("steering_matched"), []
    for (name, finder, at), here in rows[rows["condition"].isin(KEPT)].groupby(
        ["condition", "finder", "at"], sort=False
    ):
        if at == LARGEST or name == SHOWN:
            kl = f"{'largest: ' if at == LARGEST else ''}{words.number(float(here['kl'].mean()), 3)}"
            values = (
                per_seed(here[here["reader"] == reader], column)
                for column in ("delta_entropy", "delta_nll") for reader in ("learned", "untrained")
            )  # fmt: skip
            lines.append([f"`{name}`, {finder}", kl, *values, *gaps(here)])
    heads = ("learned: Δ entropy", "untrained: Δ entropy", "learned: Δ NLL", "untrained: Δ NLL", "Δ entropy, learned − untrained",
             "Δ NLL, learned − untrained")  # fmt: skip
    found = of_seeds("condition, finder", [("KL, nats", ""), *((head, "±4") for head in heads)], lines)
    return found + _others(rows, "steering_matched")


def _doses_grid(tables: Tables) -> str:
    rows, lines = tables.rows("steering_doses"), []
    for (name, direction), group in rows[rows["condition"].isin(KEPT)].groupby(
        ["condition", "direction"], sort=False
    ):
        if direction != "random":
            clear = f"{int((group['p_value'] < ALPHA).sum())} of {len(group)}"
            tau, rises, reach = (per_seed(group, column) for column in ("tau", "rises", "range"))
            lines.append([f"`{name}`, {direction}", tau, rises, clear, reach])
    columns = [
        ("Kendall's τ of norm and Δ entropy", "±2"), ("steps that rise", "%"), ("seeds with p < 0.05", ""),
        ("largest − smallest Δ entropy, nats", "3"),
    ]  # fmt: skip
    return of_seeds("condition, direction", columns, lines) + _others(rows, "steering_doses")


GRIDS = {
    "effects": _effects_grid,
    "usual": lambda tables: usual_table(tables.rows(USUAL)) or words.MISSING,
    "matched": _matched_grid,
    "doses": _doses_grid,
}
EXPERIMENT = Experiment(
    "steering", "Steering where there is something to sense", (steering_trained, steering_doses, steering_matched), findings,
    (FIGURE,), GRIDS, suites=("recurring",),
)  # fmt: skip
