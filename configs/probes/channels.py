"""The fields of asking models on rows what they make of states. See probes/channels.py."""

from typing import Annotated

from pydantic import Field

from configs.fields import Magnitude
from configs.probe import Count, Probe
from configs.row_kinds import DIMENSIONS
from configs.run import RunConfig

PLAIN, MORE = (
    2,
    9,
)  # passes over the rows of a run without channels; of one with, beside what dials and channels take


class ChannelTest(Probe):
    """See probes/channels.py. Dials are turned where channels carry the rows' own states."""

    rows: Count = 256  # of each split
    noises: tuple[Magnitude, ...] = (
        0.5,
        1.0,
        2.0,
        4.0,
    )  # standard deviations added to each number of the channels
    doses: tuple[Magnitude, ...] = (0.25, 0.5, 2.0, 4.0)  # all gates times this
    gaps: tuple[Annotated[int, Field(ge=0, le=4096)], ...] = (0, 8, 16, 24, 32)
    # fillers between what is told and the first question, at most as many as model.block_size

    def misfit(self, run: RunConfig) -> str:
        if run.process is None or run.process.kind != "rows":
            return 'is not trained on rows; take a corpus of [processes] with kind = "rows"'
        if self.gaps and max(self.gaps) > run.model.block_size:
            return f"sees {run.model.block_size} tokens, fewer than the {max(self.gaps)} fillers of gaps"
        return ""

    def passes(self, run: RunConfig) -> float:
        batches = 2 * self.rows / run.train.batch_size
        if run.channels is None:
            return PLAIN * batches
        dials = len(self.noises) + len(self.doses) + 2 * len(self.gaps) + 2 * len(DIMENSIONS) + 6
        return (MORE + dials / 2 * (run.channels.given == "own")) * batches
