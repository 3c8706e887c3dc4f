"""Logs that the published program wrote, under our names.

tests/published/selfreg0_s42.csv.gz: every row of its suite reviewer_controls, run self-regimes (seed 42, five regimes at fixed
times, dropout 0), and vanreg_s42.csv.gz: the rows with a regime of vanilla-regimes; columns that tests need, seven digits.
"""

from pathlib import Path

import pandas as pd

from experiments.kit.tables import CALM

NAMES = {
    "regimes": "regime",
    "stats_entropy": "entropy_last",
    "stats_top1_conf": "top1_last",
    "self_drift": "state_ema_drift",
    "state_effect": "prompt_effect",
}
STEPS = 2000


def log(name: str) -> pd.DataFrame:
    """One of the two, with progress."""
    found = pd.read_csv(Path(__file__).parent / "published" / f"{name}.csv.gz").rename(columns=NAMES)
    return found.assign(regime=found["regime"].fillna(CALM), progress=found["step"] / STEPS)
