"""The fields of living on with the weights frozen, on a process whose floors are known. See probes/floors.py."""

from typing import ClassVar

from pydantic import Field

from configs.fields import Name, Probability, Strict
from configs.probe import Count, Probe, setting
from configs.run import RunConfig
from configs.state import OwnStats


class World(Strict):
    """A world that a run is tested in besides its own: what differs from it."""

    probability: Probability | None = None
    """of a target being replaced while bewilderment acts"""
    rate: Probability | None = None
    """of entering the regime and of leaving it, each step"""
    regime: Name | None = None
    """that acts instead"""


class Floors(Probe):
    """See probes/floors.py."""

    of_channels: ClassVar[bool] = True

    life_steps: Count = setting(1000, quick=40)
    """of the fresh life that is scored"""
    fit_steps: Count = setting(500, quick=40)
    """of another, that what is read from the state is fitted on"""
    world_steps: Count = setting(400, quick=20)
    """of the life in each of `worlds`"""
    batches: Count = setting(8, quick=1)
    """that predictions under set states are measured on"""
    beliefs: int = setting(11, quick=3, ge=2, le=1001)
    """that are set, from 0 to 1"""
    worlds: dict[Name, World] = Field(default_factory=dict)
    """that a state that sees its own whole batches is tested in, too"""

    def misfit(self, run: RunConfig) -> str:
        if run.process is None or run.process.kind == "rows":
            return f"is trained on {'a text' if run.process is None else 'rows'}, whose floors nobody knows"
        if run.schedule.kind != "recurring":
            return "meets no recurring regimes, so there is nothing to know of them"
        if not {"bewilderment", "sensory_fog"}.issuperset(run.schedule.regimes):
            return "meets a regime whose floors are not known; they are of bewilderment and sensory_fog"
        if run.self_state.enabled and run.last not in run.log.keep_checkpoints:
            return f"keeps no checkpoint of its last step; add {run.last} to log.keep_checkpoints"
        return ""

    def sees_all(self, run: RunConfig) -> bool:
        """Whether the run has a state that is shown its own statistics of whole batches."""
        senses = run.self_state.senses
        return run.self_state.enabled and isinstance(senses, OwnStats) and senses.tokens is None

    def passes(self, run: RunConfig) -> float:
        lives = self.life_steps + self.fit_steps * (run.self_state.enabled or not run.injects)
        lives += self.sees_all(run) * len(self.worlds) * self.world_steps
        return (
            lives * (3 if self.sees_all(run) else 1)
            + run.self_state.enabled * 7 * self.beliefs * self.batches
        )
