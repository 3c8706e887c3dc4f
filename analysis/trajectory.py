"""The state's path through training in its own first two principal components."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.kit.runs import Run
from experiments.kit.tables import RUN, stack

COLUMNS = (*RUN, "step", "regime", "pc1", "pc2", "share1", "share2")


def state_path(runs: Sequence[Run], conditions: Sequence[str] = ("self",)) -> pd.DataFrame:
    """One row a step of each run of some conditions: the two components, and the share of variance of each."""
    parts = []
    for run in runs:
        states = run.states()
        if run.condition not in conditions or states is None:
            continue
        scores, shares = principal_components(states)
        rows = run.metrics()[["step", "regime"]].copy()
        rows["pc1"], rows["pc2"] = scores.T
        rows["share1"], rows["share2"] = shares
        parts.append(run.label(rows))
    return stack(parts, COLUMNS)


def principal_components(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (steps, 2) of centred states (steps, dim) and their shares of variance (2,).

    The sign of each component makes its largest loading positive, so that equal states give equal pictures.
    """
    centred = states.astype(np.float64) - states.mean(0, dtype=np.float64)
    left, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])
    scores = np.zeros((len(states), 2))
    shares = np.zeros(2)
    count = min(2, len(sizes))
    scores[:, :count] = (left * sizes * signs)[:, :count]
    total = (sizes**2).sum()
    shares[:count] = sizes[:count] ** 2 / total if total else 0
    return scores, shares
