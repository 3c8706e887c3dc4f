"""Made-up tables of the suite `shakespeare` whose right answers are known, their pages, and what those say."""

from pathlib import Path
from typing import Any

import pandas as pd

from experiments import frozen, perturbation
from experiments.kit import published
from experiments.kit.tables import BASIC, NO_CLAMP, RAW, STATE, TIME
from tests.made_runs import Page, page_of

ROOT = Path(__file__).resolve().parent.parent
SEEDS = (1, 2, 3)
PLACEBO = {"rotated": 0.20, "untrained": 0.18}


def seeds_of(classes: list[tuple[Any, ...]]) -> pd.DataFrame:
    """The rows of `classification` seed by seed, a hundredth apart."""
    names = ["suite", "condition", "protocol", "features", "accuracy"]
    rows = pd.DataFrame([row[: len(names)] for row in classes], columns=names)
    return pd.concat(
        [rows.assign(seed=seed, accuracy=rows["accuracy"] + 0.01 * (seed - 2)) for seed in SEEDS]
    )


def study(
    effect: float = 0.5, gain: float = -0.05, drift: float = 0.03, p: float = 1 / 21
) -> dict[str, pd.DataFrame]:
    """Tables of three seeds: `effect` learned effect size, `gain` self − vanilla, `drift` Δ of drift under regimes."""
    conditions = ("self", "self_calm", "vanilla", "vanilla_calm")
    runs, deltas, tests, effects, states, doses = [], [], [], [], [], []
    for seed in SEEDS:
        wobble = 0.001 * (seed - 2)
        for name in conditions:
            loss = 1.9 + wobble * seed + (gain if name.startswith("self") else 0)
            runs.append(
                (
                    "shakespeare",
                    name,
                    seed,
                    f"{name}{seed}",
                    2000,
                    3600.0,
                    loss,
                    "bfloat16",
                    "shakespeare_char",
                    804_224,
                    1.44 * loss,
                    "char",
                )
            )
            for regime in published.REGIME_DELTAS:
                for metric in (
                    "loss",
                    "entropy",
                    "state_norm",
                    "state_drift",
                    "state_ema_drift",
                    "state_effect",
                    "entropy_last",
                    "prompt_effect",
                ):
                    if name.startswith("vanilla") and metric.startswith(("state", "prompt")):
                        continue
                    value = 1.234 if (metric, regime) == ("loss", "bewilderment") else 0.0
                    value = drift if metric == "state_drift" else value
                    value = 0.0 if name.endswith("calm") else value
                    deltas.append(("shakespeare", name, seed, regime, metric, value + wobble))
        for step in (1000, 2000):
            head = ("shakespeare", "self_calm", seed, step)
            for protocol, finder in (
                ("replication", "dimension"),
                ("heldout", "dimension"),
                ("heldout", "gradient"),
            ):
                effects.append((*head, protocol, finder, "learned", 0, effect + wobble, 0.67))
                for placebo, mean in PLACEBO.items():
                    if (finder, placebo) == ("gradient", "rotated"):
                        continue
                    tests.append(
                        (*head, protocol, finder, effect + wobble, placebo, mean, 0.05, mean + 0.1, p)
                    )
                    effects += [(*head, protocol, finder, placebo, draw, mean, 0.67) for draw in range(20)]
                for state, change in (("confident", -0.111), ("uncertain", 0.222), ("random", 0.033)):
                    states.append(
                        (
                            *head,
                            protocol,
                            finder,
                            state,
                            0,
                            0.67,
                            2.0,
                            2.1,
                            0.02,
                            change + wobble,
                            0.01,
                            0.1,
                            0.8,
                        )
                    )
            states.append(
                (*head, "heldout", "none", "own", 0, 0.3, 2.0, 2.1, 0.02, -0.01, -0.0123 + wobble, 0.004, 0.9)
            )
            for direction in ("confident", "uncertain", "gradient", "random"):
                slope = -0.3 if direction == "confident" else 0.3
                for dose in range(-7, 8):
                    doses.append((*head, direction, dose / 10, 2.0, 2.1, slope * dose / 10, 0.0))
    head_names = ["suite", "condition", "seed"]
    test_names = [*head_names, "run_step", "protocol", "finder"]
    classes = [
        ("shakespeare", condition, protocol, features, accuracy, 0.3, 0.4, 0.005, 65, 3, 0.3)
        for protocol, condition, features, accuracy in (
            ("published", "self", BASIC, 0.77),
            ("published", "self", TIME, 0.97),
            ("published", "self", STATE, 0.93),
            ("clean", "self_random", BASIC, 0.55),
            ("clean", "self_random", RAW, 0.65),
            ("clean", "self_random", STATE, 0.90),
            (NO_CLAMP, "self_random", BASIC, 0.55),
            (NO_CLAMP, "self_random", RAW, 0.65),
            (NO_CLAMP, "self_random", STATE, 0.50),
        )
    ]
    path = [
        ("shakespeare", "self", seed, step, "calm", step / 2000, 0.0, 0.9, 0.05)
        for seed in SEEDS
        for step in range(0, 2000, 100)
    ]

    def frame(rows: list[Any], columns: list[str]) -> pd.DataFrame:
        return pd.DataFrame(rows, columns=columns)

    return {
        "runs": frame(runs, [*head_names, "key", "steps", "seconds", "heldout_loss", "dtype", "corpus", "parameters", "heldout_bpb", "tokenizer"]),
        "regime_deltas": frame(deltas, [*head_names, "regime", "metric", "delta"]),
        "classification": frame(
            classes,
            ["suite", "condition", "protocol", "features", "accuracy", "null_mean", "null_95", "p_value", "windows", "runs", "majority"],
        ),
        "classification_seeds": seeds_of(classes),
        "state_path": frame(path, [*head_names, "step", "regime", "pc1", "pc2", "share1", "share2"]),
        "frozen_effects": frame(effects, [*test_names, "reader", "draw", "effect_size", "magnitude"]),
        "frozen_effects_summary": frame(
            tests, [*test_names, "effect", "placebo", "placebo_mean", "placebo_sd", "placebo_max", "p_value"]
        ),
        "frozen_conditions": frame(
            states,
            [*test_names, "state", "draw", "magnitude", "entropy", "nll", "ece", "delta_entropy", "delta_nll", "kl", "sign_consistency"],
        ),
        "frozen_doses": frame(
            doses, [*head_names, "run_step", "direction", "magnitude", "entropy", "nll", "delta_entropy", "delta_nll"]
        ),
    }  # fmt: skip


def written(
    folder: Path, tables: dict[str, pd.DataFrame], note: str = "", figures: str = "../figures"
) -> tuple[Page, Page]:
    """The two pages (shakespeare, frozen test) of some tables."""
    training, steering = (
        page_of(one, folder / "tables", tables, figures, note)
        for one in (perturbation.EXPERIMENT, frozen.EXPERIMENT)
    )
    return training, steering
