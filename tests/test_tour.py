"""The tour: a small pair, really trained, in a terminal."""

import re
from pathlib import Path

import numpy as np
import pytest

from scripts import tour


def test_a_tour_trains_watches_and_steers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # the second finds the runs
        tour.main(["--out", str(tmp_path), "--steps", "160"])
        said = capsys.readouterr().out
        assert re.search(r"the state tells \d+% of these steps right", said)
        assert len(re.findall(r"disturbed: \d\.\d\d nats of doubt a letter", said)) == 2
        (folder,) = re.findall(r"steer\.py (\S+) page", said)
        assert Path(folder, "model.safetensors").is_file() and "nan" not in said
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_a_line_has_a_column_a_mean() -> None:
    assert tour.line(np.repeat([0.0, 1.0], 75)) == " " * 37 + "▄" + "█" * 37
    assert tour.line(np.array([1.0, 1.0])) == "  "


def test_the_state_is_read_along_a_line_that_earlier_steps_give() -> None:
    acts = np.arange(80) % 10 < 5
    states = np.stack([np.where(acts, 2.0, -1.0), np.ones(80)], axis=1)
    along, right = tour.watched(acts, states)
    assert right == 1.0 and (along[acts] > 0).all() and (along[~acts] < 0).all()
    assert tour.watched(acts, np.concatenate([states[:-20], -states[-20:]]))[1] == 0.0
