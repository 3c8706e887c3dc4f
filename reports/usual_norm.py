"""Effects at the norm that a state usually has, as a table and as differences: for the pages on steering."""

import pandas as pd

from experiments.kit.stats import Estimate, estimate, paired, per_seed
from experiments.kit.words import interval, number, table

USUAL = "usual_norm"
READERS = ("rotated", "untrained")


def at_usual_norm(rows: pd.DataFrame, condition: str, finder: str, placebo: str) -> Estimate:
    """The learned effect minus the mean of a placebo's draws, paired by seed."""
    here = rows[(rows["condition"] == condition) & (rows["finder"] == finder)]
    one, other = (per_seed(here[here["reader"] == reader], "effect") for reader in ("learned", placebo))
    return paired(one, other)


def usual_table(rows: pd.DataFrame) -> list[str]:
    """A row a condition, set of weights and finder; nothing without rows. One step for all rows stands under the table."""
    lines, steps = [], rows["run_step"].unique()
    for (name, step, finder), here in rows.groupby(["condition", "run_step", "finder"], sort=False):
        effects = {
            reader: per_seed(here[here["reader"] == reader], "effect") for reader in ("learned", *READERS)
        }
        lines.append(
            [
                f"`{name}`, {f'step {step}, ' if len(steps) > 1 else ''}{finder}",
                f"{number(here['norm'].mean(), 2)} of {number(here['largest'].mean(), 2)}",
                interval(estimate(effects["learned"]), sign=False),
                *(number(float(effects[reader].mean())) if len(effects[reader]) else "–" for reader in READERS),
                *(interval(difference) if (difference := paired(effects["learned"], effects[reader])).n else "–" for reader in READERS),
                str(len(effects["learned"])),
            ]
        )  # fmt: skip
    head = [f"condition, {'weights, ' if len(steps) > 1 else ''}finder", "usual norm, of the largest dose", "learned effect, nats", "rotated readers", "untrained readers",
            "learned − rotated", "learned − untrained", "n"]  # fmt: skip
    under = [f"All with the weights of step {steps[0]}."] if len(steps) == 1 else []
    return [table(head, lines), *under] if lines else []
