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

MEASURES = ("loss", "entropy_last", "state_ema_drift", "prompt_effect")
"""Our names of what it calls loss, entropy, self_drift and state_effect."""

REGIME_DELTAS: dict[str, dict[str, float]] = {
    regime: dict(zip(MEASURES, values, strict=True))
    for regime, values in {
        "bewilderment": (1.65, 1.48, 0.030, -0.18),
        "sensory_fog": (0.26, 0.27, -0.002, 0.07),
        "lr_heatwave": (-0.01, -0.05, 0.27, -0.01),
        "self_clamp": (-0.03, -0.02, 0.21, -0.19),
        "false_feedback": (-0.05, 0.01, -0.002, 0.01),
    }.items()
}
"""Mean during the window minus mean of the last 100 steps before it on which no regime acted."""

CLASSIFICATION: dict[str, float] = {BASIC: 0.80, STATE: 1.00}
"""Accuracy of naming the regime from windows of one run's log."""

MEMORY: dict[str, tuple[float, str, str]] = {
    "ema": (0.10, "weak", "higher"),
    "buffer_64": (0.34, "strong", "lower"),
    "buffer_128": (0.43, "very strong", "lowest"),
}
"""By configuration: memory share, and what the document calls the restoring force and the control leverage."""

ANSWERS: dict[str, str] = {
    "fixed": "static injection doesn't reproduce the dynamic patterns",
    "state_1d": "1D state shows weaker, sometimes absent responses",
    "memory": "more memory means more stability but slower adaptation",
    "swap": "when you take a state trained on one trajectory and drop it into a model with a different history, things break",
}
"""What the published document answers, in its own words, where it prints no number."""
