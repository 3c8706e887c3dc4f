"""What the probe of channels asks of rows: the same questions with the state told here or there, nowhere, or otherwise."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from channels import Channels
from configs.probes.channels import ChannelTest
from configs.row_kinds import DIMENSIONS
from configs.run import RunConfig
from data.row_sample import Codes, Sample
from data.row_tokens import SLICES, lay, replies
from data.rows import RowSource
from model import GPT
from perturb import CALM
from probes.instrument import Progress
from runs.injection import vectors

NEITHER, SELF = "", "self"


@dataclass(frozen=True)
class Case:
    """What is asked of the rows of a sample.

    states: in the channels, (B, D) float32. texts: codes in the text. right: the states that decide which replies are right.
    gap: see data.row_tokens.lay. state: the self-state (dim,), where it has a channel; dose: what all gates are multiplied by.
    """

    test: str
    states: np.ndarray
    texts: Codes
    right: Codes
    level: float = 0.0
    channel: str = NEITHER
    gap: int | None = None
    state: Tensor | None = None
    dose: float = 1.0


@dataclass
class Bench:
    """A finished model, its channels (None for a baseline) and its rows; progress counts passes."""

    run: RunConfig
    gpt: GPT
    channels: Channels | None
    source: RowSource
    total: int = 0
    progress: Progress | None = None
    done: int = 0

    @torch.inference_mode()
    def log_p(self, drawn: Sample, case: Case) -> np.ndarray:
        """Log-probabilities where the slots of the replies are asked for, (B, 8, V) float64."""
        slots, block = self.source.settings.slots, self.run.model.block_size
        laid = lay(drawn, block, case.texts, decides=case.right, slots=slots, gap=case.gap)
        given: dict[str, Any] = {}
        if self.channels is not None and self.run.channels is not None:
            z = vectors(self.run.channels, case.state, torch.from_numpy(case.states))
            given["into"] = self.channels.into(z, case.dose)
        logits = self.gpt(torch.from_numpy(laid.x), **given)[0]
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)
        lines, at = torch.arange(len(laid.x))[:, None], torch.from_numpy(laid.where)
        return F.log_softmax(logits[lines, at].double(), -1).numpy()

    def told(self, drawn: Sample, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """Whether each reply is right, (B, 6) bool, and its log-probability, (B, 6)."""
        log_p, answers = self.log_p(drawn, case), replies(drawn, case.right)
        hit = log_p.argmax(-1) == answers
        chance = np.take_along_axis(log_p, answers[..., None], 2)[..., 0]
        return (
            np.stack([hit[:, part].all(1) for part in SLICES.values()], axis=1),
            np.stack([chance[:, part].sum(1) for part in SLICES.values()], axis=1),
        )


def basic(bench: Bench, drawn: Sample, nothing: Codes, state: Tensor | None) -> list[Case]:
    """The tests that every run gets, the one that the others are held against first."""
    own, silent = bench.source.told(drawn, drawn.codes), bench.source.told(drawn, nothing)
    text = Case("text", silent, drawn.codes, drawn.codes, state=state)
    zeroed = replace(text, test="zeroed", texts=nothing)
    if bench.channels is None:
        return [text, zeroed]
    alone = replace(zeroed, test="own", states=own)
    both, other = (
        replace(alone, test="both", texts=drawn.codes),
        replace(alone, test="other", states=np.roll(own, 1, 0)),
    )
    return [alone, both, text, zeroed, other]


def dials(
    bench: Bench,
    drawn: Sample,
    own: Case,
    silent: np.ndarray,
    settings: ChannelTest,
    states: dict[str, Tensor],
) -> list[Case]:
    """Channels at zero or with another state, one by one; noise, doses, gaps."""
    found = []
    flipped = bench.source.told(drawn, drawn.others)
    start = 0
    for name, size in DIMENSIONS.items():
        numbers = np.arange(own.states.shape[1])
        mine = (numbers >= start) & (numbers < start + size)
        start += size
        found.append(replace(own, test="knocked", channel=name, states=np.where(mine, silent, own.states)))
        found.append(replace(own, test="flipped", channel=name, states=np.where(mine, flipped, own.states)))
    if states:
        found.append(replace(own, test="knocked", channel=SELF, state=torch.zeros_like(states[CALM])))
        acting = [one for name, one in states.items() if name != CALM]
        found += [replace(own, test="flipped", channel=SELF, state=one) for one in acting]
    for level in settings.noises:
        noisy = bench.source.told(drawn, drawn.codes, level)
        found.append(replace(own, test="noise", level=level, states=noisy))
    found += [replace(own, test="dose", level=level, dose=level) for level in settings.doses]
    found += [replace(own, test="gap", level=gap, gap=gap) for gap in settings.gaps]
    text = replace(own, test="text gap", states=silent, texts=drawn.codes)
    return [*found, *(replace(text, level=gap, gap=gap) for gap in settings.gaps)]
