"""Every row of the published document's tables beside ours: in no family of claims, so that none of its rows is left out."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from experiments.kit import published
from experiments.kit.levels import FEWEST_SEEDS
from experiments.kit.pages import shown
from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.tables import CLEAN, PUBLISHED, Tables
from experiments.kit.words import DASH, MISSING, number, percent, signed, table

HEAD = ("the document's row", "published", "ours", "ours, control taken off", "sign", "n")
METRICS = {"loss": "loss", "entropy": "entropy", "state_drift": "drift", "state_effect": "effect"}
TESTED: dict[str, Any] = {
    "condition": "self_calm",
    "run_step": 1000,
    "protocol": "replication",
}  # as it tests
SAME, OTHER, UNSETTLED = "same side", "other side", "open"


def document(tables: Tables) -> str:
    """Regimes, frozen weights, classification and memory: published value, ours, interval, and whether the sign is the same."""
    study, memory = tables.of("shakespeare"), tables.of("memory")
    lines = [*_regimes(study), *_frozen(study), *_classification(study), *_memory(memory)]
    measured = [line for line in lines if line[-1] != "0"]
    return table(HEAD, measured) if measured else MISSING


def sign(said: float, value: Estimate) -> str:
    """Whether a mean lies on the side of zero that was published, by its whole interval."""
    if value.n < FEWEST_SEEDS or not value.clear or said == 0:
        return UNSETTLED
    return SAME if (value.mean > 0) == (said > 0) else OTHER


def _line(
    name: str, said: str, ours: "pd.Series[float]", kind: str, left: str = DASH, judged: str = DASH
) -> list[str]:
    """A row. kind: the format of ours, as in `pages.grid`."""
    return [name, said, shown(estimate(ours), kind), left, judged, str(len(ours))]


def _regimes(study: Tables) -> Iterator[list[str]]:
    """Five regimes by four metrics: during minus before, and the same minus the run without regimes."""
    for regime, metrics in published.REGIME_DELTAS.items():
        for metric, said in metrics.items():
            at = study.by_condition("regime_deltas", regime=regime, metric=metric)
            ours, net = at.of("self", "delta"), at.minus("self", "self_calm", "delta")
            kind = "±4" if metric == "state_drift" else "±3"
            judged = sign(said, net if net.n else estimate(ours))
            yield _line(f"{regime}, {METRICS[metric]}", signed(said), ours, kind, shown(net, kind), judged)


def _frozen(study: Tables) -> Iterator[list[str]]:
    """Entropy changes of the published protocol, also the random directions', and its effect size."""
    changes = study.rows("frozen_conditions", **TESTED)
    random = changes[changes["state"] == "random"]
    for state, said in published.FROZEN_DELTA_ENTROPY.items():
        ours = per_seed(changes[changes["state"] == state], "delta_entropy")
        net = estimate(ours) if state == "random" else paired(ours, per_seed(random, "delta_entropy"))
        row = _line(f"frozen weights, {state}", signed(said), ours, "±3", shown(net, "±3"), sign(said, net))
        if state == "random":
            row[1] += f" ± {number(published.FROZEN_RANDOM_SD)}"
            row[2] += f" ± {number(random.groupby('seed')['delta_entropy'].std().mean())}"
            row[3] = DASH
        yield row
    effects = study.rows("frozen_effects", **TESTED, finder="dimension")
    learned, rotated = (
        per_seed(effects[effects["reader"] == reader], "effect_size") for reader in ("learned", "rotated")
    )
    net, said = paired(learned, rotated), published.EFFECT_SIZE
    name = "frozen weights, effect size (control: rotated readers)"
    yield _line(name, number(said), learned, "3", shown(net, "±3"), sign(said, net))


def _classification(study: Tables) -> Iterator[list[str]]:
    """Accuracies in the published way, and on runs that the classifier has not seen."""
    for features, said in published.CLASSIFICATION.items():
        at = study.by_condition("classification_seeds", features=features, protocol=PUBLISHED)
        unseen = study.by_condition("classification_seeds", features=features, protocol=CLEAN)
        left = shown(unseen.value("self_random", "accuracy"), "3")
        yield _line(f"regimes named, {features}", number(said), at.of("self", "accuracy"), "3", left)


def _memory(memory: Tables) -> Iterator[list[str]]:
    """Share, restoring force and leverage of each memory; the document gives words for the last two."""
    measures = memory.by_condition("memory_measures", regime="bewilderment")
    tradeoff = memory.by_condition("memory_tradeoff")
    for name, (share, force, leverage) in published.MEMORY.items():
        yield _line(f"`{name}`, memory share", number(share, 2), measures.of(name, "share"), "3")
        for what, said, at, column, kind in (
            ("restoring force, L2 a step", force, measures, "force", "5"),
            ("control leverage", leverage, tradeoff, "leverage", "3"),
        ):
            left = shown(at.minus(name, "none", column), f"±{kind}")
            yield _line(f"`{name}`, {what}", f'"{said}"', at.of(name, column), kind, left)


def above(tables: Tables) -> dict[str, str]:
    """How many learned readers, and placebos, lie above the document's threshold; nothing where no placebo was tested."""
    effects = tables.of("shakespeare").rows("frozen_effects", **TESTED, finder="dimension")
    over = effects["effect_size"] > published.MEANINGFUL_EFFECT
    shares = over.groupby(effects["reader"]).mean().reindex(["rotated", "untrained"]).dropna()
    if shares.empty:
        return {}
    placebos = ", ".join(
        f"{percent(share)} of the {reader} placebo readers" for reader, share in shares.items()
    )
    learned = over[effects["reader"] == "learned"]
    return {"learned": f"{learned.sum()} of {len(learned)}", "placebos": placebos}
