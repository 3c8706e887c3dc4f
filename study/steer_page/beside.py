"""What the study measured of dials like the page's: for each reader, over seeds, in words."""

from typing import Any

from experiments.kit.placebos import PLACEBOS, USUAL, View, surplus
from experiments.kit.stats import over_seeds
from experiments.kit.tables import Tables
from experiments.kit.words import DASH, interval

KINDS = ("learned", *PLACEBOS)
OWN = {
    "entropy": "delta_entropy",
    "loss": "delta_nll",
}  # what the own state changes, by column of frozen_conditions


def beside(tables: Tables) -> dict[str, Any] | None:
    """Of the first condition that was tested, after its last tested step; None where the tables hold no such test.

    step, seeds: after so many steps, of so many runs. lines: by reader the entropy between both ends of a dial at the usual
    norm, and at the norm that was chosen on dev. beyond: by placebo, the learned one minus it. own: changes under the own state.
    """
    for condition in dict.fromkeys(tables.rows("frozen_effects_summary")["condition"]):
        view = View(tables, str(condition))
        tested = [(step, parts) for step, parts in view.by_placebo("heldout", "dimension") if parts]
        if tested:
            step, parts = tested[-1]
            usual = view.rows(USUAL, run_step=step, finder="dimension")
            own = view.rows("frozen_conditions", run_step=step, protocol="heldout", state="own")
            effects = {kind: (rows, "placebo_mean") for kind, rows in parts.items()}
            effects["learned"] = next(iter(parts.values())), "effect"
            return {
                "step": step,
                "seeds": next(iter(parts.values()))["seed"].nunique(),
                "lines": {
                    kind: [_mean(usual[usual["reader"] == kind], "effect"), _mean(*effects[kind])]
                    for kind in KINDS
                    if kind in effects
                },
                "beyond": {kind: interval(surplus(rows)) for kind, rows in parts.items()},
                "own": {name: interval(over_seeds(own, column)) for name, column in OWN.items()},
            }
    return None


def _mean(rows: Any, column: str) -> str:
    value = over_seeds(rows, column)
    return interval(value, sign=False) if value.n else DASH
