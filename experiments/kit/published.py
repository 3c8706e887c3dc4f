"""The published study's numbers, as its document prints them (one run, seed 42, Tiny Shakespeare); figures and pages read them here."""

from experiments.kit.tables import BASIC, STATE

PARAMETERS = 0.8e6
"""Of its model. One of less than half of that is called smaller."""

FROZEN_DELTA_ENTROPY: dict[str, float] = {"confident": -0.093, "uncertain": 0.259, "random": 0.040}
"""Nats against the zero state; `random` is the mean of 50 directions of equal norm."""

FROZEN_RANDOM_SD = 0.100
"""Standard deviation over those 50 directions."""

FROZEN_SIGN_CONSISTENCY: dict[str, str] = {
    "confident": "100 % of batches",
    "uncertain": "100 % of batches",
    "random": "44 % of draws",
}
"""The published table counts batches in its first two rows and draws in the last."""

EFFECT_SIZE = 0.35
"""|entropy(confident) − entropy(uncertain)|, nats."""

MEANINGFUL_EFFECT = 0.3
"""Above this, says the published document, an effect size shows "meaningful causal leverage"."""

REGIME_DELTAS: dict[str, dict[str, float]] = {
    "bewilderment": {"loss": 1.65, "entropy": 1.48, "state_drift": 0.030, "state_effect": -0.18},
    "sensory_fog": {"loss": 0.26, "entropy": 0.27, "state_drift": -0.002, "state_effect": 0.07},
    "lr_heatwave": {"loss": -0.01, "entropy": -0.05, "state_drift": 0.27, "state_effect": -0.01},
    "self_clamp": {"loss": -0.03, "entropy": -0.02, "state_drift": 0.21, "state_effect": -0.19},
    "false_feedback": {"loss": -0.05, "entropy": 0.01, "state_drift": -0.002, "state_effect": 0.01},
}
"""Mean during the window minus mean before it. Its `state_effect` was measured on token ids 0 to 3, ours on text."""

CLASSIFICATION: dict[str, float] = {BASIC: 0.80, STATE: 1.00}
"""Accuracy of naming the regime from windows of one run's log."""

MEMORY: dict[str, tuple[float, str, str]] = {
    "ema": (0.10, "weak", "higher"),
    "buffer_64": (0.34, "strong", "lower"),
    "buffer_128": (0.43, "very strong", "lowest"),
}
"""By configuration: memory share, and what the document calls the restoring force and the control leverage."""

DIMENSIONS: dict[str, tuple[float, ...]] = {
    "progress": (0.957, 0.957, 0.949, 0.947, 0.942),
    "loss": (0.778, 0.764, 0.742, 0.732, 0.732),
    "peak": (0.0417, 0.0359, 0.0355, 0.0327, 0.0250),
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

ANSWERS: dict[str, str] = {
    "fixed": "static injection doesn't reproduce the dynamic patterns",
    "state_1d": "1D state shows weaker, sometimes absent responses",
    "memory": "more memory means more stability but slower adaptation",
    "swap": "when you take a state trained on one trajectory and drop it into a model with a different history, things break",
}
"""What the published document answers, in its own words, where it prints no number."""
