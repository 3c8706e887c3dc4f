"""The published study's numbers, as its documents print them (one run each); figures and pages read them here."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from experiments.kit.runs import Run
from experiments.kit.tables import BASIC, STATE

PARAMETERS = 0.8e6
"""Of its model. One of less than half of that is called smaller."""

FROZEN_DELTA_ENTROPY: dict[str, float] = {
    "confident": -0.093,
    "uncertain": 0.259,
    "random": 0.040,
    "own": -0.087,
}
"""Nats against the zero state; `random` is the mean of 50 directions of equal norm."""

FROZEN_RANDOM_SD = 0.100
"""Standard deviation over those 50 directions."""

FROZEN_SIGN_CONSISTENCY: dict[str, float] = {"confident": 1.0, "uncertain": 1.0, "random": 0.44}
"""Shares with the right sign: of the five batches in the first two, of the 50 directions (that lower entropy) in the last."""

EFFECT_SIZE = 0.35
"""|entropy(confident) − entropy(uncertain)|, nats."""

EFFECT_SEEDS = (0.35188, 0.25844, 0.26208, 0.16923, 0.22435, 0.26568)
"""The same of its code at seeds 42 and 1 to 5, all on the same batches; run by the user of this study (docs/published/README.md)."""

BATCH_ENTROPIES = (2.2580, 2.0823, 2.0325, 2.0804, 2.0781, 2.1880)
"""Entropy at the last position under the zero state, nats, mean over the same seeds: of the batch that directions are found on,
then of the five that they are measured on."""

MEANINGFUL_EFFECT = 0.3
"""Above this, says the published document, an effect size shows "meaningful causal leverage"."""

EFFECT_EVERY = 50
"""Steps from one measurement of its state_effect to the next."""


SELDOM = ("shakespeare", "controls", "generalization", "swap", "decay")
"""The suites of ours whose published runs measure it so; those of memory measure it every 10 steps, as ours do."""


def repeated(log: pd.DataFrame) -> "pd.Series[float]":
    """A run's prompt_effect as the published log has it: measured every EFFECT_EVERY steps, repeated until the next."""
    return log["prompt_effect"].where(log["step"] % EFFECT_EVERY == 0).ffill()


def logged(run: Run) -> pd.DataFrame:
    """A run's log with prompt_effect at the steps at which the published run of its suite measures it."""
    log = run.metrics()
    return log.assign(prompt_effect=repeated(log)) if run.suite in SELDOM else log


MEASURES = ("loss", "entropy_last", "state_ema_drift", "prompt_effect")
"""Our names of what it calls loss, entropy, self_drift and state_effect."""

REPORTED = (*MEASURES, "top1_last")
"""Its reports have the top-1 confidence, too."""


def _by_metric(rows: Mapping[str, tuple[float, ...]]) -> dict[str, dict[str, float]]:
    return {name: dict(zip(REPORTED, values, strict=False)) for name, values in rows.items()}


REGIME_DELTAS = _by_metric(
    {
        "bewilderment": (1.65, 1.48, 0.030, -0.18),
        "sensory_fog": (0.26, 0.27, -0.002, 0.07),
        "lr_heatwave": (-0.01, -0.05, 0.27, -0.01),
        "self_clamp": (-0.03, -0.02, 0.21, -0.19),
        "false_feedback": (-0.05, 0.01, -0.002, 0.01),
    }
)
"""Mean during the window minus mean of the last 100 steps before it on which no regime acted; the essay's table, no dropout."""

LOSSES: dict[str, float] = {"analysis": 2.0670, "analysis_vanilla": 2.0773}
"""Best validation losses of 1000 steps, nats."""

CLASSIFICATION: dict[str, float] = {BASIC: 0.80, STATE: 1.00}
"""Accuracy of naming the regime from windows of one run's log."""

CLASSIFICATION_VANILLA: dict[str, float] = {BASIC: 0.77}
"""The same of a run without self-state."""

MEMORY: dict[str, tuple[float, str, str]] = {
    "ema": (0.10, "weak", "higher"),
    "buffer_64": (0.34, "strong", "lower"),
    "buffer_128": (0.43, "very strong", "lowest"),
}
"""By configuration: memory share, and what the document calls the restoring force and the control leverage."""

Ends = tuple[float, float]
"""A range as it is printed; a single number is both its ends."""

_STRIDES: tuple[Ends, Ends] = ((0.0004, 0.0007), (-0.103, -0.121))

MEMORY_CHANGES: dict[str, tuple[Ends, Ends]] = {
    "ema": ((0.0022, 0.0022), (-0.121, -0.121)),
    "buffer_32": ((0.0004, 0.0004), (-0.113, -0.113)),
    "buffer_64": _STRIDES,
    "buffer_64_stride_5": _STRIDES,
    "buffer_64_stride_20": _STRIDES,
    "buffer_128": ((0.0007, 0.0007), (-0.106, -0.106)),
}
"""By configuration, drift and effect while targets are corrupted: printed as absolute values, whose signs its code gives for
`ema` and `buffer_64`. Of 64 states one range is printed for three strides."""

GATE: Ends = (0.42, 0.56)
"""Between these lie the gates in its figures of `ema`, `buffer_64` and `buffer_128`."""

DIMENSIONS: dict[str, tuple[float, ...]] = {
    "progress": (0.9568, 0.9567, 0.9486, 0.9472, 0.9423),
    "loss": (0.7778, 0.7640, 0.7421, 0.7324, 0.7324),
    "peak": (0.04173, 0.03585, 0.03546, 0.03270, 0.02497),
}
"""Of its report's 32 dimensions the five largest: absolute Pearson correlations with a statistic, and changes of logits."""

DIMENSION_CONTROLS: dict[str, dict[str, tuple[float, ...]]] = {
    "progress": {
        "untrained": (0.964, 0.942, 0.915, 0.897, 0.863),
        "walk": (0.966, 0.944, 0.929, 0.915, 0.901),
    },
    "loss": {
        "untrained": (0.813, 0.770, 0.727, 0.696, 0.669),
        "walk": (0.828, 0.796, 0.769, 0.756, 0.741),
    },
}
"""The five largest correlations with the statistics of the very run that it reports, of 20 networks of its sizes that were
never trained and are fed these statistics, and of 20 random walks; tests/test_dimensions.py makes them again."""

UPDATE_PROBE: dict[str, tuple[float, float, float, float, float]] = {
    "regime or baseline": (0.815, 0.725, 0.767, 0.674, 0.499),
    "which regime": (1.000, 1.000, float("nan"), 0.323, 0.211),
}
"""What its script gives of its own run (seed 42): accuracy, balanced accuracy, AUC, then the first two with labels
shuffled. The document prints none of them."""

UPDATE_PROBE_UNTRAINED: dict[str, tuple[float, float, float, float, float]] = {
    "regime or baseline": (0.813, 0.724, 0.767, 0.675, 0.500),
    "which regime": (1.000, 1.000, float("nan"), 0.300, 0.197),
}
"""The same by the statistics of that very run through a network of its sizes that was never trained (tests/test_update_rows.py)."""


Swapped = dict[tuple[str, str], float]


def _patch(
    drift: float, drift_calm: float, effect: float, effect_calm: float
) -> dict[tuple[str, str], float]:
    cells = [
        (metric, run) for metric in ("state_ema_drift", "prompt_effect") for run in ("patch", "baseline")
    ]
    return dict(zip(cells, (drift, drift_calm, effect, effect_calm), strict=True))


def _swap(drift: float, drift_own: float, effect: float, effect_own: float) -> Swapped:
    cells = [("drift", "other"), ("drift", "own"), ("effect", "other"), ("effect", "own")]
    return dict(zip(cells, (drift, drift_own, effect, effect_own), strict=True))


@dataclass(frozen=True)
class Corpus:
    """What its reports print of one corpus.

    name: what a number's own name has behind it. entropies, signs, spread, size: of the frozen-weight test, as above; one: of one
    random direction, a bar of a figure. deltas: as REGIME_DELTAS, with dropout 0.2. patch: means of [1200, 1400), in which half of
    patch's targets are replaced. losses: best validation losses of 1000 steps, nats. swaps: of its two runs, means of the 100 steps
    after the swap, and of the same steps of the run that was not swapped. dimensions: as DIMENSIONS.
    """

    name: str
    entropies: dict[str, float]
    size: float
    spread: float
    signs: dict[str, float]
    deltas: dict[str, dict[str, float]]
    patch: dict[tuple[str, str], float]
    losses: dict[str, float]
    swaps: dict[str, Swapped]
    dimensions: dict[str, tuple[float, ...]]
    one: float | None = None


CORPORA = {
    "shakespeare": Corpus(
        name="", entropies=FROZEN_DELTA_ENTROPY, size=EFFECT_SIZE, spread=FROZEN_RANDOM_SD, signs=FROZEN_SIGN_CONSISTENCY, one=-0.017,
        deltas=_by_metric({
            "bewilderment": (1.4839, 1.3112, 0.0191, -0.6437, -0.1858),
            "false_feedback": (-0.0477, -0.0314, -0.0134, -0.0684, 0.0090),
            "lr_heatwave": (0.0046, -0.0212, 0.2771, -0.2435, -0.0028),
            "self_clamp": (-0.0047, -0.0092, 0.1173, -0.3747, -0.0014),
            "sensory_fog": (0.2274, 0.2168, 0.0219, 0.2799, -0.0390),
        }),
        patch=_patch(0.0050, 0.0005, 0.4919, 0.9876), losses=LOSSES, dimensions=DIMENSIONS,
        swaps={"A": _swap(0.3224, 0.0018, 0.7280, 0.7604), "B": _swap(0.3722, 0.0015, 0.6308, 0.6213)},
    ),
    "generalization": Corpus(
        name=", OpenWebText", entropies={"confident": -0.004, "uncertain": 0.324, "random": 0.044, "own": -0.059},
        size=0.33, spread=0.09, signs={"confident": 0.6, "uncertain": 1.0, "random": 0.36},
        deltas=_by_metric({
            "bewilderment": (2.3309, 2.0357, 0.0603, 0.0673, -0.1449),
            "false_feedback": (-0.0179, -0.0188, -0.0087, 0.0533, 0.0028),
            "lr_heatwave": (0.0085, -0.0524, 0.0097, -0.3846, 0.0056),
            "self_clamp": (-0.0171, 0.024, 0.1589, 1.1192, -0.0023),
            "sensory_fog": (0.1487, 0.1187, 0.0441, 0.7195, -0.0279),
        }),
        patch=_patch(0.0760, 0.0031, 0.3669, 0.5594), losses={"analysis": 2.1956, "analysis_vanilla": 2.2304},
        swaps={"A": _swap(0.4020, 0.0016, 0.4076, 0.3915), "B": _swap(0.4404, 0.0023, 0.5668, 0.5387)},
        dimensions={
            "progress": (0.9667, 0.9663, 0.9645, 0.9621, 0.9500),
            "loss": (0.9027, 0.8521, 0.7861, 0.7639, 0.7609),
            "peak": (0.05602, 0.04358, 0.03953, 0.03842, 0.03308),
        },
    ),
}  # fmt: skip
"""By the suite that is held against it."""

ANSWERS: dict[str, str] = {
    "fixed": "static injection doesn't reproduce the dynamic patterns",
    "state_1d": "1D state shows weaker, sometimes absent responses",
    "memory": "more memory means more stability but slower adaptation",
    "swap": "when you take a state trained on one trajectory and drop it into a model with a different history, things break",
}
"""What the published document answers, in its own words, where it prints no number."""
