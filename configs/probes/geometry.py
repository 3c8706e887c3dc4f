"""The fields of asking a model for the beliefs that it holds of a hidden process. See probes/geometry.py."""

from configs.probe import Count, Probe, setting
from configs.run import RunConfig

MOST_HISTORIES = 200_000  # of a run's context


class Geometry(Probe):
    """See probes/geometry.py."""

    grams: tuple[Count, ...] = (1, 3, 5)
    """rivals: the last so many tokens"""
    pairs: Count = setting(300, quick=40)
    """of histories, at most, whose beliefs are exchanged"""
    random_directions: Count = setting(3, quick=1)
    """that the stream is moved along as far"""
    doses: int = setting(5, quick=3, ge=2, le=101)
    """of a move, from 0 to 1"""
    sequences: Count = setting(2000, quick=200)
    """at most, that the loss is measured on with all but the belief taken out"""
    distances: int = setting(1000, quick=200, ge=8, le=5000)
    """histories, at most, whose distances are compared"""
    points: Count = setting(4000, quick=400)
    """histories, at most, that are shown"""
    course: Count = setting(8000, quick=400)
    """draws of histories, at most, for the weights kept on the way"""

    def misfit(self, run: RunConfig) -> str:
        if run.process is None or run.process.kind != "hidden":
            return "is not trained on a process with hidden states, so there is no belief to hold"
        if run.injects:
            return "injects a bias; beliefs are asked of a model without one"
        if run.model.block_size < 2:
            return "reads one token at a time; a belief is used at the next"
        count = run.process.vocabulary**run.model.block_size
        if count > MOST_HISTORIES:
            return f"has up to {count} histories of {run.model.block_size} tokens; take a shorter block_size, for at most {MOST_HISTORIES}"
        return ""

    def passes(self, run: RunConfig) -> float:
        """Histories of the context go through the model, those of its course, and all that is moved or taken out."""
        assert run.process is not None
        size, vocabulary = run.model.block_size, run.process.vocabulary
        whole = vocabulary**size
        course = (2 + len(run.log.keep_steps)) * min(whole, self.course)
        moves = (
            2
            * 2
            * (self.random_directions + 3)
            * self.doses
            * self.pairs
            * vocabulary
            * run.model.n_layer
            / 2
        )
        kept = 3 * run.model.n_layer * min(whole, self.sequences)
        return (2 * whole + course + moves + kept) / (run.train.batch_size * run.train.grad_accum)
