"""The tour: a small pair, really trained, in a terminal."""

import numpy as np

from scripts import tour


def test_a_line_has_a_column_a_mean() -> None:
    assert tour.line(np.repeat([0.0, 1.0], 75)) == " " * 37 + "▄" + "█" * 37
    assert tour.line(np.array([1.0, 1.0])) == "  "


def test_the_state_is_read_along_a_line_that_earlier_steps_give() -> None:
    acts = np.arange(80) % 10 < 5
    states = np.stack([np.where(acts, 2.0, -1.0), np.ones(80)], axis=1)
    along, right = tour.watched(acts, states)
    assert right == 1.0 and (along[acts] > 0).all() and (along[~acts] < 0).all()
    assert tour.watched(acts, np.concatenate([states[:-20], -states[-20:]]))[1] == 0.0
