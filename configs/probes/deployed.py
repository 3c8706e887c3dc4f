"""The fields of living on with the weights frozen, on a text. See probes/deployed.py."""

from configs.probe import Count, Probe, setting
from configs.run import RunConfig

WAYS = 6  # of setting the state, beside its own course


class Deployed(Probe):
    """See probes/deployed.py."""

    life_steps: Count = setting(300, quick=40)
    """of the fresh life that is scored"""
    fit_steps: Count = setting(200, quick=40)
    """of another, that mean states and the best constant are taken from"""
    heldout_batches: Count = setting(40, quick=2)
    """of clean text"""

    def misfit(self, run: RunConfig) -> str:
        if run.process is not None:
            return "is trained on a process; the probe `floors` is for that"
        if run.schedule.kind != "recurring":
            return "meets no recurring regimes"
        if run.self_state.enabled and run.last not in run.log.keep_checkpoints:
            return f"keeps no checkpoint of its last step; add {run.last} to log.keep_checkpoints"
        return ""

    def passes(self, run: RunConfig) -> float:
        ways = 1 + WAYS * run.self_state.enabled
        return 3.0 * (self.fit_steps + ways * self.life_steps) + ways * self.heldout_batches
