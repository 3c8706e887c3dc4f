"""The fields of asking a model about its own neurons. See probes/introspection.py."""

from typing import Annotated, Literal

from pydantic import Field

from configs.probe import Count, Probe, setting
from configs.run import RunConfig

SHORTEST = 16  # tokens of a text: its first few are not asked about
Index = Annotated[int, Field(ge=0, le=1_000_000)]


class Introspection(Probe):
    """Which neurons, and how long a model is taught to report them."""

    kind: Literal["neuron", "mlp_out"] = "neuron"
    """hidden units after the GELU, or dimensions of what the MLP writes"""
    blocks: tuple[Index, ...] = setting((1, 2), quick=[0], min_length=1)
    """whose neurons are asked about, from 0"""
    ranks: tuple[Index, ...] = (0, 40)
    """of these in each block by standard deviation on dev text, 0 the largest"""
    units: tuple[Index, ...] = ()
    """these by their numbers instead"""
    lesson: Count = setting(200, quick=20)
    """steps of fine-tuning"""
    heldout_texts: Count = setting(96, quick=32)
    """that reports are measured on"""
    changed_texts: Count = setting(32, quick=16)
    """of these, on which a neuron is changed"""
    several: tuple[Count, ...] = setting((2, 4, 8), quick=[2])
    """so many neurons of the first block reported at once"""
    twins: int = setting(3, quick=2, ge=2, le=64)
    """copies of the model, trained apart, that report each other"""
    apart: Count = setting(100, quick=20)
    """steps of training on other texts that set them apart"""
    word_lesson: Count = setting(480, quick=20)
    """steps of fine-tuning to report in words"""

    @property
    def partner(self) -> bool:
        return True

    def misfit(self, run: RunConfig) -> str:
        there = run.model.n_embd * (4 if self.kind == "neuron" else 1)
        if run.process is not None:
            return "is trained on a process; neurons are asked about on text"
        if run.injects:
            return "injects a bias; a model is asked about its neurons without one"
        if run.model.block_size < SHORTEST:
            return f"reads texts of {run.model.block_size} tokens; to be asked it needs {SHORTEST} or more"
        for block in self.blocks:
            if block >= run.model.n_layer:
                return f"has no block {block}: its {run.model.n_layer} blocks are numbered from 0"
        for unit in self.units:
            if unit >= there:
                return f"has no unit {unit} ({self.kind}): a block's {there} are numbered from 0"
        for rank in (*self.ranks, max(self.several, default=0)):
            if rank >= there:
                return f"has no rank {rank}: a block has {there} of kind {self.kind}"
        return ""

    def passes(self, run: RunConfig) -> float:
        """In steps of three passes: a neuron's twelve lessons and the outsider's come to about eight and a half of the whole model."""
        neurons = len(self.blocks) * len(self.units or self.ranks)
        steps = self.lesson * (8.5 * neurons + 2 + 0.6 * len(self.several) + 1.5 * self.twins)
        return 3 * (steps + self.twins * self.apart + 2 * self.word_lesson)
