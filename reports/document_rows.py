"""Every row of the published document's tables beside ours: in no family of claims, so that none of its rows is left out."""

import math

from experiments.kit import published
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.stats import Estimate, estimate, over_seeds, paired, per_seed
from experiments.kit.tables import CLEAN, PUBLISHED, RUN
from experiments.kit.words import MISSING, interval, number, percent, signed, table
from reports.classification import scores
from reports.parts import Section, Tables

COLUMNS: dict[str, tuple[str, ...]] = {
    "memory_measures": (*RUN, "regime", "share", "force"),
    "memory_tradeoff": (*RUN, "leverage"),
}
METRICS = {"loss": "loss", "entropy": "entropy", "state_drift": "drift", "state_effect": "effect"}
STEP = 1000  # of the weights that the document tests
SAME, OTHER, UNSETTLED = "same side", "other side", "open"
HEAD = ("the document's row", "published", "ours", "ours, control taken off", "sign", "n")


def rows_of_the_document(tables: Tables) -> Section:
    """Regimes, frozen weights, classification and memory: published value, ours, interval, and whether the sign is the same."""
    study = tables.of("shakespeare")
    lines = [*regime_rows(study), *frozen_rows(study), *classification_rows(study), *memory_rows(tables.of("memory"))]  # fmt: skip
    said = meaningful(study)
    return Section(
        "Every row of the published tables",
        "Does each number of the published tables come back, also those that no claim above was made of?",
        [table(HEAD, lines) if lines else MISSING, *([said] if said else [])],
        "Uncorrected, and no claim: where 95 % intervals are drawn so often, one in twenty is wrong. *Control taken off*: minus the run "
        "of the same seed without any regime at the same steps, which leaves what earlier regimes did to training in it; for frozen weights minus the random directions; for memory "
        "minus no memory; for classification, with onset and order of the regimes drawn for each run, and whole runs left out. *Sign*: whether that, where there is a control, lies on the published side by its whole interval; the "
        "document prints numbers of one run without an interval, so a small one of theirs may have either sign. Memory is "
        "of the small model here. The effect is measured on text here, on the first four tokens there.",
    )  # fmt: skip


def sign(said: float, value: Estimate) -> str:
    """Whether a mean lies on the side of zero that was published, by its whole interval."""
    if value.n < FEWEST_SEEDS or not math.isfinite(value.low) or said == 0:
        return UNSETTLED
    if value.low <= 0 <= value.high:
        return UNSETTLED
    return SAME if (value.mean > 0) == (said > 0) else OTHER


def regime_rows(study: Tables) -> list[list[str]]:
    """Five regimes by four metrics: during minus before, and the same minus the run without regimes."""
    deltas = study.rows("regime_deltas")
    lines = []
    for regime, metrics in published.REGIME_DELTAS.items():
        for metric, said in metrics.items():
            here = deltas[(deltas["regime"] == regime) & (deltas["metric"] == metric)]
            ours = per_seed(here[here["condition"] == "self"], "delta")
            if ours.empty:
                continue
            net = paired(ours, per_seed(here[here["condition"] == "self_calm"], "delta"))
            digits = 4 if metric == "state_drift" else 3
            lines.append(
                [
                    f"{regime}, {METRICS[metric]}",
                    signed(said, 3),
                    interval(estimate(ours), digits),
                    interval(net, digits) if net.n else "–",
                    sign(said, net if net.n else estimate(ours)),
                    str(len(ours)),
                ]
            )
    return lines


def frozen_rows(study: Tables) -> list[list[str]]:
    """Entropy changes of the published protocol, also the random directions'."""
    rows = study.rows("frozen_conditions", condition="self_calm", run_step=STEP, protocol="replication")
    random = per_seed(rows[rows["state"] == "random"], "delta_entropy")
    lines = []
    for state, said in published.FROZEN_DELTA_ENTROPY.items():
        of_state = rows[rows["state"] == state]
        ours = over_seeds(of_state, "delta_entropy")
        if not ours.n:
            continue
        net = paired(per_seed(of_state, "delta_entropy"), random)
        theirs, text = signed(said), interval(ours)
        if state == "random":
            theirs += f" ± {number(published.FROZEN_RANDOM_SD)}"
            text += f" ± {number(float(of_state.groupby('seed')['delta_entropy'].std().mean()))}"
        shown = "–" if state == "random" else interval(net)
        lines.append([f"frozen weights, {state}", theirs, text, shown, sign(said, ours if state == "random" else net), str(ours.n)])  # fmt: skip
    effects = study.rows("frozen_effects", condition="self_calm", run_step=STEP, protocol="replication", finder="dimension")  # fmt: skip
    found = per_seed(effects[effects["reader"] == "learned"], "effect_size")
    if len(found):
        rotated = per_seed(effects[effects["reader"] == "rotated"], "effect_size")
        net = paired(found, rotated)
        lines.append(
            ["frozen weights, effect size (control: rotated readers)", number(published.EFFECT_SIZE), interval(estimate(found), sign=False),
             interval(net) if net.n else "–", sign(1, net), str(len(found))]
        )  # fmt: skip
    return lines


def meaningful(study: Tables) -> str:
    """What the document's threshold of a meaningful effect size says of placebos that nobody trained."""
    effects = study.rows("frozen_effects", condition="self_calm", run_step=STEP, protocol="replication", finder="dimension")  # fmt: skip
    placebos = effects[effects["reader"].isin(["rotated", "untrained"])]
    if placebos.empty:
        return ""
    shares = {
        str(reader): percent(float((group["effect_size"] > published.MEANINGFUL_EFFECT).mean()))
        for reader, group in placebos.groupby("reader")
    }
    learned = effects.loc[effects["reader"] == "learned", "effect_size"]
    above = ", ".join(f"{share} of the {reader} placebo readers" for reader, share in shares.items())
    return (
        f"The document calls an effect size above {published.MEANINGFUL_EFFECT} meaningful. In its own protocol "
        f"{int((learned > published.MEANINGFUL_EFFECT).sum())} of {len(learned)} learned readers lie above that, and {above}."
    )


def classification_rows(study: Tables) -> list[list[str]]:
    """Accuracies in the published way, and on runs that the classifier has not seen."""
    lines = []
    for features, said in published.CLASSIFICATION.items():
        ours, unseen = (
            estimate(scores(study.rows("classification_seeds"), condition, features, protocol))
            for condition, protocol in (("self", PUBLISHED), ("self_random", CLEAN))
        )
        if ours.n:
            shown = interval(unseen, sign=False) if unseen.n else "–"
            lines.append([f"regimes named, {features}", number(said), interval(ours, sign=False), shown, "–", str(ours.n)])  # fmt: skip
    return lines


def memory_rows(memory: Tables) -> list[list[str]]:
    """Share, restoring force and leverage of each memory; the document gives words for the last two."""
    measures, tradeoff = memory.rows("memory_measures", regime="bewilderment"), memory.rows("memory_tradeoff")
    lines = []
    for name, (share, force, leverage) in published.MEMORY.items():
        for what, said, rows, column, digits in (
            ("memory share", number(share, 2), measures, "share", 3),
            ("restoring force, L2 a step", f'"{force}"', measures, "force", 5),
            ("control leverage", f'"{leverage}"', tradeoff, "leverage", 3),
        ):
            ours = per_seed(rows[rows["condition"] == name], column)
            if ours.empty:
                continue
            net = paired(ours, per_seed(rows[rows["condition"] == "none"], column))
            shown = interval(net, digits) if net.n and column != "share" else "–"
            lines.append(
                [f"`{name}`, {what}", said, interval(estimate(ours), digits, sign=False), shown, "–", str(len(ours))]
            )  # fmt: skip
    return lines
