"""The fields of what happens to a run: regimes, and the schedules that call them."""

import itertools
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from configs.fields import Magnitude, Probability, Shift, Strict

Regime = Literal["bewilderment", "sensory_fog", "false_feedback", "self_clamp", "lr_heatwave"]
CALM = "calm"  # in a regime's place at steps where none acts


class Window(Strict):
    """A regime on the half-open steps [start, end)."""

    regime: Regime
    """the one that acts"""
    start: int = Field(ge=0)
    """its first step"""
    end: int = Field(ge=1)
    """the first step after it"""

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"window of {self.regime} ends at {self.end}, not after its start {self.start}")
        return self


class NoSchedule(Strict):
    kind: Literal["none"] = "none"


class Windows(Strict):
    """Regimes at given steps, one at a time."""

    kind: Literal["windows"]
    windows: tuple[Window, ...]
    """in any order; none may overlap another"""

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Self:
        ordered = sorted(self.windows, key=lambda window: window.start)
        for first, second in itertools.pairwise(ordered):
            if second.start < first.end:
                raise ValueError(
                    f"windows overlap: {first.regime} [{first.start}, {first.end}) and "
                    f"{second.regime} [{second.start}, {second.end}); one regime acts at a time"
                )
        return self


class RandomWindows(Strict):
    """Each regime once, its onset, its place in the order and the calm after it drawn from the run's seed."""

    kind: Literal["random_windows"]
    durations: dict[Regime, Annotated[int, Field(ge=1)]] = Field(min_length=1)
    """steps of each regime"""
    first: int = Field(default=0, ge=0)
    """calm steps at the start"""
    washout: int = Field(default=0, ge=0)
    """least number of calm steps after each regime"""


class Recurring(Strict):
    """A Markov chain: from calm into one of the regimes with probability `enter`, back with `leave`, each step."""

    kind: Literal["recurring"]
    regimes: tuple[Regime, ...] = Field(min_length=1)
    """each as likely to be the one that is entered"""
    enter: Probability = 0.02
    """of leaving calm, each step: 1 / enter calm steps on average"""
    leave: Probability = 0.02
    """of going back to calm, each step"""
    first: int = Field(default=0, ge=0)
    """calm steps at the start"""


Schedule = Annotated[NoSchedule | Windows | RandomWindows | Recurring, Field(discriminator="kind")]


class Bewilderment(Strict):
    probability: Probability = 0.5
    """of a target being replaced by a uniform draw from the vocabulary"""


class SensoryFog(Strict):
    probability: Probability = 0.2
    """of an input token being replaced"""
    token: Literal["mask", "first"] = "mask"
    """what replaces it: mask, a token that nothing else uses, or first, the vocabulary's first one, as published the newline"""


class FalseFeedback(Strict):
    """Added to the raw statistics that the self-state sees; the logged ones stay true."""

    loss: Shift = 0.5
    """nats added to the loss"""
    entropy: Shift = 0.0
    """nats added to the entropy"""
    top1: Shift = 0.0
    """added to the top-1 confidence, a probability"""
    grad_norm: Shift = 0.0
    """added to the gradient norm, L2"""
    progress: Shift = 0.0
    """added to the progress, a share of the steps"""


class SelfClamp(Strict):
    mode: Literal["freeze", "clamp", "noise", "scale"] = "freeze"
    """freeze: no update; clamp (as published), noise and scale: updates go on, and then as the next three say"""
    limit: Magnitude = 0.5
    """clamp: each number is cut off at plus and minus this"""
    std: Magnitude = 0.1
    """noise: standard deviation added to each component, each step"""
    factor: Shift = 0.9
    """scale: the updated state times this, each step"""


class LrHeatwave(Strict):
    factor: Magnitude = 2.0
    """times the learning rate"""


class Regimes(Strict):
    """What each regime does, whenever a schedule calls it."""

    bewilderment: Bewilderment = Bewilderment()
    """targets are replaced"""
    sensory_fog: SensoryFog = SensoryFog()
    """input tokens are replaced"""
    false_feedback: FalseFeedback = FalseFeedback()
    """what the state is shown is wrong"""
    self_clamp: SelfClamp = SelfClamp()
    """the state is held"""
    lr_heatwave: LrHeatwave = LrHeatwave()
    """the learning rate is raised"""
