"""The fields of rows, generated text whose replies are decided by what its prompt says and by a state, and of channels that
carry states. See data/rows.py and channels.py."""

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from configs.fields import Magnitude, Probability, Strict
from configs.row_kinds import DIMENSIONS, TOKENS, Capability


class Rows(Strict):
    """Rows of facts, of what is said of the state, and of six replies. For each capability of each row one is drawn:

    the state is in its channel alone, in channel and text, in the text alone, or nowhere.
    """

    kind: Literal["rows"]
    channel: Probability = 0.35
    """share in its channel alone"""
    both: Probability = 0.15
    """share in channel and text"""
    text: Probability = 0.35
    """share in the text alone; what is left to one: nowhere"""
    channel_right: Probability = 1.0
    """share of channels that hold the state that decides, not another one"""
    text_right: Probability = 1.0
    """the same of texts"""
    noise: Magnitude = 0.05
    """standard deviation added to each number of a channel, whose own is about 1"""
    cropped: Probability = 0.1
    """share of rows whose prompt, with what is said there, is out of sight"""
    slots: bool = False
    """whether a token for each channel stands in front, for states that enter there"""

    @property
    def vocabulary(self) -> int:
        return sum(TOKENS.values())

    @model_validator(mode="after")
    def _shares_of_one(self) -> Self:
        total = self.channel + self.both + self.text
        if total > 1 + 1e-9:
            raise ValueError(f"channel, both and text are shares of one; their sum is {total:g}")
        return self


Channel = Capability | Literal["self"]


class Channels(Strict):
    """What enters the layers through gates that are zero at first. See channels.py."""

    names: tuple[Channel, ...] = Field(default=get_args(Capability), min_length=1)
    """which; self: the self-state, in place of its bias on the embeddings"""
    how: Literal["add", "attention", "prefix"] = "add"
    """add: to every position; attention: each position takes what it asks for; prefix: to a token of its own in front"""
    layers: Literal["all", "first"] = "all"
    """before which blocks; a prefix enters before the first alone"""
    given: Literal["own", "constant", "shuffled"] = "own"
    """constant: learned numbers in place of all states; shuffled: the states of the batch's next row"""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len({*self.names}) < len(self.names):
            raise ValueError(f"channels.names names one twice: {', '.join(self.names)}")
        if self.how == "prefix" and "self" in self.names:
            raise ValueError(
                'channels.how = "prefix": rows have no token for self; leave it out of channels.names'
            )
        return self

    def dimensions(self, state: int) -> dict[str, int]:
        """Numbers in each channel, in the order of `names`. state: those in the self-state."""
        return {name: state if name == "self" else DIMENSIONS[name] for name in self.names}
