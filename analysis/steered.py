"""Is what a learned direction does more than any push of the same size would do? From finished frozen-weight tests.

Three questions beside the placebos of each test. Does a state that was trained on statistics in random order steer as
far (the third placebo: trained in every way alike, only what it was shown meant nothing)? Does entropy follow the dose?
And does the confident direction sharpen predictions without harming them, at the same size of change? Entropy rises
under any damage, so a fall is the rarer thing; but it too is cheap where the likelihood of the true token falls with it.
So confident directions are compared where they change the predictions by the same KL, with the NLL beside the entropy.
"""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from analysis.frozen import rank_p_value
from configs.run import RunConfig
from experiments.kit.pairs import world_of
from experiments.kit.runs import Context
from experiments.kit.tables import RUN, WEIGHTS

SHUFFLED = "shuffled"
TRAINED = (*WEIGHTS, "finder", "effect", "shuffled", "difference", "shuffled_mean", "p_value", "draws")
DOSES = (*WEIGHTS, "direction", "tau", "p_value", "rises", "range")
MATCHED = (*WEIGHTS, "finder", "at", "reader", "draw", "kl", "delta_entropy", "delta_nll")
SMALL_KL = (
    0.02,
    0.05,
    0.1,
)  # nats; chosen after seed 1, whose largest common KL lies past the curve's turning point
LARGEST = "largest"  # as `at`: the largest KL that all curves reach
CONFIDENT = {
    "dimension": ("confident", +1),
    "gradient": ("gradient", -1),
}  # direction, and its sign that lowers entropy


def tables(context: Context) -> dict[str, pd.DataFrame]:
    """steering_trained, steering_doses, steering_matched."""
    made = context.made
    return {
        "steering_trained": against_shuffled(made["frozen_effects"], alike(context.suite.conditions)),
        "steering_doses": monotonic(made["frozen_doses"]),
        "steering_matched": at_matched_kl(made["frozen_doses"], made["frozen_dose_placebos"]),
    }


def alike(conditions: Mapping[str, RunConfig]) -> list[str]:
    """The conditions that differ from `shuffled` in what their state is shown and in nothing else: world, model, mechanism."""
    if SHUFFLED not in conditions:
        return []

    def but_senses(run: RunConfig) -> tuple[str, str]:
        return world_of(run), run.self_state.model_dump_json(exclude={"senses"})

    of_placebo = but_senses(conditions[SHUFFLED])
    return [name for name, run in conditions.items() if name != SHUFFLED and but_senses(run) == of_placebo]


def against_shuffled(effects: pd.DataFrame, names: Collection[str]) -> pd.DataFrame:
    """Each learned held-out effect beside those of the states that were trained on shuffled statistics.

    names: the conditions that may stand beside those, see `alike`. shuffled, difference: of the same seed; shuffled_mean,
    p_value (rank, one-sided), draws: of the shuffled runs of all seeds. Nats. No rows without such runs.
    """
    if effects.empty:
        return pd.DataFrame(columns=list(TRAINED))
    learned = effects[(effects["reader"] == "learned") & (effects["protocol"] == "heldout")]
    placebo = learned[learned["condition"] == SHUFFLED]
    rows = []
    for (step, finder), group in learned.groupby(["run_step", "finder"], sort=False):
        rival = placebo[(placebo["run_step"] == step) & (placebo["finder"] == finder)]
        sizes = rival.set_index("seed")["effect_size"]
        if sizes.empty:
            continue
        others = group[group["condition"].isin(list(names))]
        places = others[list(RUN)].itertuples(index=False, name=None)
        for place, effect in zip(places, others["effect_size"].to_numpy(float), strict=True):
            same = float(sizes.get(place[2], np.nan))
            rank = rank_p_value(effect, sizes.to_numpy())
            rows.append(
                (*place, step, finder, effect, same, effect - same, float(sizes.mean()), rank, len(sizes))
            )
    return pd.DataFrame(rows, columns=list(TRAINED))


def monotonic(doses: pd.DataFrame) -> pd.DataFrame:
    """Whether entropy follows the dose along each learned direction: Kendall's tau of signed norm and entropy change.

    p_value: two-sided, exact; rises: share of the neighbouring doses between which entropy rises; range: largest minus
    smallest entropy change, nats. One row a test and direction.
    """
    rows = []
    if not doses.empty:
        for place, group in doses.groupby([*WEIGHTS, "direction"], sort=False):
            curve = group.sort_values("magnitude")
            change = curve["delta_entropy"].to_numpy(float)
            if len(curve) < 3 or np.ptp(change) == 0:
                rows.append((*place, np.nan, np.nan, np.nan, float(np.ptp(change))))
                continue
            found = kendalltau(
                curve["magnitude"], change, method="exact" if len(set(change)) == len(change) else "auto"
            )
            rows.append((*place, found.statistic, found.pvalue, (np.diff(change) > 0).mean(), np.ptp(change)))
    return pd.DataFrame(rows, columns=list(DOSES))


def at_matched_kl(learned: pd.DataFrame, placebos: pd.DataFrame) -> pd.DataFrame:
    """Entropy and NLL changes of confident directions where they change the predictions by the same KL.

    at: SMALL_KL, each where the learned direction and all its placebos reach it within their doses, and LARGEST, the
    largest KL that all of them reach; kl: that KL. Between two doses values are interpolated in the root of the KL: near
    zero the KL goes with the square of the dose, and the changes with the dose. One row a test, finder, `at`, reader, draw.
    """
    doses = pd.concat([learned, placebos], ignore_index=True) if len(placebos) else learned
    rows = []
    if doses.empty:
        return pd.DataFrame(columns=list(MATCHED))
    for place, test in doses.groupby(list(WEIGHTS), sort=False):
        for finder, (direction, sign) in CONFIDENT.items():
            curves = {
                reader: confident_curve(curve, sign)
                for reader, curve in test[test["direction"] == direction].groupby(
                    ["reader", "draw"], sort=False
                )
            }
            if len(curves) < 2:
                continue
            most = min(float(curve["kl"].max()) for curve in curves.values())
            for at, kl in (*((f"{kl:g}", kl) for kl in SMALL_KL if kl <= most), (LARGEST, most)):
                for (reader, draw), curve in curves.items():
                    entropy, nll = (
                        np.interp(kl**0.5, curve["kl"].to_numpy(float) ** 0.5, curve[name])
                        for name in ("delta_entropy", "delta_nll")
                    )
                    rows.append((*place, finder, at, reader, draw, kl, float(entropy), float(nll)))
    return pd.DataFrame(rows, columns=list(MATCHED))


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
