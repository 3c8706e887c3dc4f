"""The fields of asking a model what its state is set to. See probes/self_report.py."""

from pydantic import Field

from configs.fields import Magnitude, Name
from configs.probe import Count, Probe, setting
from configs.run import RunConfig

SHORTEST = 26  # tokens of a row: a text, five options, three questions and their answers
FEWEST = 5  # regimes, so that with calm there are four distractors to draw for every right option
REGIMES = ("bewilderment", "sensory_fog", "false_feedback", "self_clamp", "lr_heatwave")
LESSONS = 6  # three on the state, three on features


class SelfReport(Probe):
    """What a model is asked about, and how long it is taught to answer."""

    regimes: tuple[Name, ...] = Field(default=REGIMES, min_length=FEWEST)
    """whose mean states are set, beside calm"""
    lesson: Count = setting(1200, quick=40)
    """steps of fine-tuning"""
    rows: int = setting(48, quick=16, ge=8, le=4096)
    """of a step: each a text, options and three questions"""
    prompts: Count = setting(96, quick=24)
    """that each answer is measured on"""
    strengths: tuple[Magnitude, ...] = setting((0.25, 0.5, 1.0, 1.5, 2.0, 3.0), quick=[0.5, 1.0, 2.0])
    """times the mean state's distance; 1 is measured anyway"""
    draws: Count = setting(4, quick=2)
    """random directions at each strength"""
    dictionary: int = setting(256, quick=64, ge=16, le=65536)
    """features of the sparse autoencoder"""
    active: Count = setting(8, quick=4)
    """of them at each token"""
    dictionary_steps: Count = setting(1000, quick=60)
    """of training it"""

    @property
    def partner(self) -> bool:
        return True

    def misfit(self, run: RunConfig) -> str:
        met = run.schedule.regimes if run.schedule.kind == "recurring" else ()
        if run.process is not None:
            return "is trained on a process; a model is asked about its state on text"
        if not run.self_state.enabled:
            return "has no self-state to be asked about"
        if run.model.block_size < SHORTEST:
            return f"reads texts of {run.model.block_size} tokens; to be asked it needs {SHORTEST} or more"
        if run.model.n_layer < 2:
            return "has one block; features are set between two"
        for name in self.regimes:
            if name not in met:
                return f"never meets the regime {name}; it meets {', '.join(met) or 'none again and again'}"
        if self.active >= self.dictionary:
            return f"would have {self.active} features of {self.dictionary} active at each token"
        return ""

    def passes(self, run: RunConfig) -> float:
        """In steps of three passes: a lesson's step reads its rows and a batch of text."""
        size = run.train.batch_size * run.model.block_size
        step = 3 * (1 + self.rows * SHORTEST / size)
        classes = 1 + len(self.regimes)
        asked = (
            3 * self.prompts * SHORTEST / size * classes * (len(self.strengths) * (3 + self.draws) + classes)
        )
        return LESSONS * (self.lesson * step + asked) + self.dictionary_steps
