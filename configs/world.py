"""The fields of what happens to a run: regimes, and the schedules that call them."""

import itertools
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from configs.fields import Magnitude, Probability, Shift, Strict

Regime = Literal["bewilderment", "sensory_fog", "false_feedback", "self_clamp", "lr_heatwave"]
CALM = "calm"  # in a regime's place at steps where none acts


class Window(Strict):
    """A regime on the half-open steps [start, end)."""

    regime: Regime  # the one that acts
    start: int = Field(ge=0)  # its first step
    end: int = Field(ge=1)  # the first step after it

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
    windows: tuple[Window, ...]  # in any order; none may overlap another

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
    durations: dict[Regime, Annotated[int, Field(ge=1)]] = Field(min_length=1)  # steps of each regime
    first: int = Field(default=0, ge=0)  # calm steps at the start
    washout: int = Field(default=0, ge=0)  # least number of calm steps after each regime


class Recurring(Strict):
    """A Markov chain: from calm into one of the regimes with probability `enter`, back with `leave`, each step."""

    kind: Literal["recurring"]
    regimes: tuple[Regime, ...] = Field(min_length=1)  # each as likely to be the one that is entered
    enter: Probability = 0.02  # of leaving calm, each step: 1 / enter calm steps on average
    leave: Probability = 0.02  # of going back to calm, each step
    first: int = Field(default=0, ge=0)  # calm steps at the start


Schedule = Annotated[NoSchedule | Windows | RandomWindows | Recurring, Field(discriminator="kind")]


class Bewilderment(Strict):
    probability: Probability = 0.5  # of a target being replaced by a uniform draw from the vocabulary


class SensoryFog(Strict):
    probability: Probability = 0.2  # of an input token being replaced
    token: Literal["mask", "first"] = "mask"  # by the reserved mask token, or by the vocabulary's first one


class FalseFeedback(Strict):
    """Added to the raw statistics that the self-state sees; the logged ones stay true."""

    loss: Shift = 0.5  # nats
    entropy: Shift = 0.0  # nats
    top1: Shift = 0.0  # probability
    grad_norm: Shift = 0.0  # L2
    progress: Shift = 0.0  # share of the steps


class SelfClamp(Strict):
    mode: Literal["freeze", "clamp", "noise", "scale"] = (
        "freeze"  # freeze: no update; for the others see below
    )
    limit: Magnitude = 0.5  # clamp: largest absolute value of a component
    std: Magnitude = 0.1  # noise: standard deviation added to each component, each step
    factor: Shift = 0.9  # scale: the updated state times this, each step


class LrHeatwave(Strict):
    factor: Magnitude = 2.0  # times the learning rate


class Regimes(Strict):
    """What each regime does, whenever a schedule calls it."""

    bewilderment: Bewilderment = Bewilderment()
    sensory_fog: SensoryFog = SensoryFog()
    false_feedback: FalseFeedback = FalseFeedback()
    self_clamp: SelfClamp = SelfClamp()
    lr_heatwave: LrHeatwave = LrHeatwave()
