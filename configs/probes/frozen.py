"""The fields of the frozen-weight test, and how many forward passes it takes. See frozen_test.py."""

from typing import ClassVar

from configs.fields import Positive
from configs.probe import Count, Probe, setting
from configs.run import RunConfig

DOSE_BATCHES = 5  # held-out batches of a dose curve, which needs less precision than the test


class FrozenTest(Probe):
    """Which runs are steered, and how thoroughly. See frozen_test.py."""

    module: ClassVar[str] = "frozen_test"
    replication_batches: Count = setting(5, quick=1)
    """train batches that the replication protocol measures on; it finds on one more"""
    other_sets: int = setting(10, quick=1, ge=0, le=1000)
    """of such batches, beside the published ones, that the learned reader is tested on alike"""
    replication_sequences: Count = setting(32, quick=8)
    """sequences of each of these batches"""
    finder_batches: Count = setting(3, quick=1)
    """train batches that directions are found on in the held-out protocol"""
    dev_batches: Count = setting(2, quick=1)
    """dev batches that the magnitude is chosen on"""
    heldout_batches: Count = setting(10, quick=1)
    """held-out batches that the effect is measured on, once"""
    magnitude: Positive = 0.3
    """of one component while directions are found, and in the replication protocol"""
    top: Count = 5
    """dimensions that make up a direction of the dimension-wise finder"""
    doses: int = setting(7, quick=2, ge=1, le=1000)
    """magnitudes on each side of zero"""
    random_directions: Count = setting(50, quick=2)
    """drawn, not selected, of the learned directions' norm"""
    placebo_draws: Count = setting(20, quick=2)
    """placebo readers of each kind; a rank p is 1 / (draws + 1) at least"""
    dose_placebos: int = setting(3, quick=1, ge=0, le=100_000)
    """so many draws of each placebo get dose-response curves too"""
    foreign: bool = False
    """whether to steer with directions found in the partner seed's run, too"""

    @property
    def partner(self) -> bool:
        return self.foreign

    def misfit(self, run: RunConfig) -> str:
        dim = run.self_state.dim
        if not run.self_state.enabled:
            return "has no self-state to steer"
        if 1 < dim < 2 * self.top:
            return (
                f"with top = {self.top}: confident and uncertain directions would share dimensions of its "
                f"{dim}-dimensional state; take at most {dim // 2}"
            )
        return ""

    def passes(self, run: RunConfig) -> float:
        return self.forwards(run.self_state.dim)

    def forwards(self, dim: int) -> int:
        """Forward passes of the test of a state of `dim` dimensions. Exact.

        A single dimension leaves nothing to choose dimensions from: its one finder is the gradient.
        """
        finder, heldout, draws = self.finder_batches, self.heldout_batches, self.placebo_draws
        several = int(dim > 1)
        drawn = 2 + self.random_directions  # a confident, an uncertain state, and random ones
        published = self.replication_batches
        gradient = finder  # of the entropy at the zero state, for all readers at once
        choice = 2 * self.doses * self.dev_batches + 2 * heldout  # a pair of directions: its norm, its effect
        dimension = several * (dim * (1 + finder) + 2 * published + choice)  # each dimension alone, two pairs
        states = (2 + several * drawn) * published + (2 + (1 + several) * drawn) * heldout

        def curves(directions: int) -> int:
            return (1 + directions * (2 * self.doses + 1)) * min(DOSE_BATCHES, heldout)

        learned = gradient + dimension + choice + states + curves(2 + 2 * several)
        rotated = draws * dimension + min(self.dose_placebos, draws) * several * curves(2)
        untrained = draws * (dimension + choice) + min(self.dose_placebos, draws) * curves(1 + 2 * several)
        foreign = self.foreign * (gradient + dimension + (2 + several) * choice)
        sets = several * (1 + self.other_sets) * (dim + 3 * (1 + published))  # zero and a pair on each batch
        return learned + sets + rotated + untrained + foreign
