"""The fields of asking models on rows what they make of states. See probes/channels.py."""

from typing import Annotated, ClassVar

from pydantic import Field

from configs.fields import Magnitude
from configs.probe import Count, Probe, setting
from configs.run import RunConfig

PLAIN, GIVEN = 4, 22  # passes over the rows, in both splits: of a run without channels, of one with
TURNED, SELF = (
    18,
    16,
)  # more where they carry the rows' own states; where one is the self-state, in a world of one regime


class ChannelTest(Probe):
    """See probes/channels.py. Dials are turned where channels carry the rows' own states."""

    of_channels: ClassVar[bool] = True
    rows: Count = setting(256, quick=32)
    """of each split"""
    noises: tuple[Magnitude, ...] = setting((0.5, 1.0, 2.0, 4.0), quick=[1.0])
    """standard deviations added to each number of the channels"""
    doses: tuple[Magnitude, ...] = setting((0.25, 0.5, 2.0, 4.0), quick=[0.5])
    """all gates times this"""
    gaps: tuple[Annotated[int, Field(ge=0, le=4096)], ...] = setting((0, 8, 16, 24, 32), quick=[0, 24])
    """fillers between what is told and the first question, at most as many as model.block_size"""

    def misfit(self, run: RunConfig) -> str:
        if run.process is None or run.process.kind != "rows":
            return 'is not trained on rows; take a corpus of [processes] with kind = "rows"'
        if self.gaps and max(self.gaps) > run.model.block_size:
            return f"sees {run.model.block_size} tokens, fewer than the {max(self.gaps)} fillers of gaps"
        return ""

    def passes(self, run: RunConfig) -> float:
        batches = self.rows / run.train.batch_size
        if run.channels is None:
            return PLAIN * batches
        if run.channels.given != "own":
            return GIVEN * batches
        dials = len(self.noises) + len(self.doses) + 2 * len(self.gaps)
        return (GIVEN + TURNED + dials + SELF * run.self_state.enabled) * batches
