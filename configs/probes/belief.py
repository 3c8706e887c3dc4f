"""The fields of setting the mean state of each regime with the weights frozen. See probes/belief.py."""

from configs.probe import Count, Probe, setting
from configs.run import RunConfig

STATES = 20  # that it sets, about: the regimes that acted decide


class BeliefTest(Probe):
    """See probes/belief.py."""

    heldout_batches: Count = setting(10, quick=1)
    """that predictions are measured on"""

    @property
    def partner(self) -> bool:
        return True

    def misfit(self, run: RunConfig) -> str:
        if not run.self_state.enabled:
            return "has no self-state to set"
        return "meets no regime to believe in" if run.schedule.kind == "none" else ""

    def passes(self, run: RunConfig) -> float:
        return STATES * self.heldout_batches
