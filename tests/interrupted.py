"""Trainings that are stopped on their way, as a power cut would stop them."""

from collections.abc import Callable


class Stop(Exception):
    """What stops them."""


def interrupted_at(step: int) -> Callable[[int, int], None]:
    """A progress function that stops a training once `step` steps are done."""

    def progress(done: int, total: int) -> None:
        if done == step:
            raise Stop

    return progress
