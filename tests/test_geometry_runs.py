"""Whole tests of finished runs on processes, and what is refused before one is trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import train
from base import storage
from base.errors import UserError
from configs.probes.geometry import Geometry
from configs.suite import load_suite
from configs.toml_file import ConfigError
from data.process import generated
from probes import geometry
from tests.known_processes import SUITE
from tests.test_train import tiny

SMALL = Geometry(pairs=8, random_directions=1, doses=2, sequences=20, distances=40, points=20, course=4000)


def of_process(name: str = "rrxor", **changes: Any) -> Any:
    given = process_fields(name)
    return tiny(
        process=given,
        self_state__enabled=False,
        model__block_size=5,
        log__keep_steps=[4],
        model__n_layer=2,
        **changes,
    )


def process_fields(name: str) -> dict[str, Any]:
    run = load_suite(SUITE).run(name, 1)
    assert run.process is not None
    return run.process.model_dump(mode="json")


@pytest.mark.parametrize("name", ["rrxor", "mess3"])
def test_a_run_is_asked(tmp_path: Path, name: str) -> None:
    run = of_process(name)
    source = generated(name, run.process, run.seed)
    folder = train.train(run, source, tmp_path / "runs")
    said: list[tuple[int, int]] = []
    for made in ("one", "two"):
        geometry.run(
            folder, 12, SMALL, source, tmp_path / made, lambda done, total: said.append((done, total))
        )
    found = {path.name: path.read_bytes() for path in (tmp_path / "one").glob("*.csv")}
    assert set(found) == {f"{table}.csv" for table in geometry.COLUMNS}
    assert all((tmp_path / "two" / table).read_bytes() == content for table, content in found.items())
    task = storage.read_json(tmp_path / "one" / "task.json")
    assert task["weights_sha256_before"] == task["weights_sha256_after"] and task["stages"] == [0, 4, 12]
    assert said[-1][0] == said[-1][1]
    maps = pd.read_csv(tmp_path / "one" / "maps.csv")
    assert (
        set(maps["at"]) == {"all", "last"} and len(maps) == 2 * (2 * 4 + 7) and (maps["r2"] <= 1 + 1e-9).all()
    )
    course = pd.read_csv(tmp_path / "one" / "course.csv")
    start = course[(course["step"] == 0) & (course["layer"] == 3)]["r2"].item()
    assert start == pytest.approx(
        maps[(maps["source"] == "untrained joined") & (maps["at"] == "all")]["r2"].item()
    )
    assert (course["loss"] > course["optimal"]).all()
    assert "KL from the target" in geometry.summary(tmp_path / "one")


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    assert "hidden states" in Geometry().misfit(tiny(self_state__enabled=False))
    assert "hidden states" in Geometry().misfit(
        tiny(process={"kind": "chain", "tokens": 4}, self_state__enabled=False)
    )
    assert "injects a bias" in Geometry().misfit(tiny(process=process_fields("z1r")))
    run = of_process(model__n_head=1)
    folder = train.train(run.model_copy(update={"process": None}), *_text(tmp_path))
    with pytest.raises(UserError, match="there is no belief to hold") as caught:
        geometry.run(folder, 12, SMALL, _text(tmp_path)[0], tmp_path / "made")
    assert "\n" not in str(caught.value) and not (tmp_path / "made").exists()


def _text(place: Path) -> Any:
    from data.prepare import prepare_text

    letters = np.random.default_rng(0).choice(list(b"abcdefgh \n"), 9000).astype(np.uint8)
    return prepare_text("tiny", letters.tobytes(), place / "data"), place / "runs"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("processes.z1r.transitions=[[[0.0, 1.0], [0.6, 0.0]], [[0.0, 0.0], [0.5, 0.0]]]", "sum to 1.1"),
        ("processes.z1r.transitions=[[[0.0, -1.0], [0.5, 0.0]], [[2.0, 0.0], [0.5, 0.0]]]", "greater than or equal to 0"),
        ("processes.z1r.transitions=[[[0.0, 1.0]], [[0.5, 0.0], [0.5, 0.0]]]", "square matrix"),
        ("model.block_size=40", "take a shorter block_size"),
        ("probe.geometry.doses=1", "doses"),
        ("conditions.z1r.corpus=z2r", "z2r"),
    ],
)  # fmt: skip
def test_the_suite_is_refused_before_anything_is_trained(text: str, message: str) -> None:
    with pytest.raises((ConfigError, UserError), match=message) as caught:
        load_suite(SUITE, [text])
    assert "\n" not in str(caught.value)
