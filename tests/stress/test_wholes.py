"""Whole things, trained and told by their own code: a sister experiment in its quick form, and the tour."""

import re
from pathlib import Path

import pytest

import train
from configs.probes.geometry import Geometry
from configs.suite import load_suite
from data.tokens import drawn_from
from experiments import geometry as experiment
from experiments.geometry_tables import PROCESSES
from experiments.kit.runs import Context, open_run
from probes import geometry
from scripts import tour
from tests.known_processes import SUITE
from tests.made_runs import assert_tables, drawn_of, make_tables, page_of


def test_a_tour_trains_watches_and_steers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # the second finds the runs
        tour.main(["--out", str(tmp_path), "--steps", "160"])
        said = capsys.readouterr().out
        assert re.search(r"the state tells \d+% of these steps right", said)
        assert len(re.findall(r"disturbed: \d\.\d\d nats of doubt a letter", said)) == 2
        (folder,) = re.findall(r"steer\.py (\S+) page", said)
        assert Path(folder, "model.safetensors").is_file() and "nan" not in said
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_the_quick_form(tmp_path: Path) -> None:
    """Trained, asked, put into tables, drawn and written by the suite's own code."""
    suite, runs = load_suite(SUITE, quick=True), []
    settings = suite.probes["geometry"]
    assert isinstance(settings, Geometry) and set(settings.conditions) == set(PROCESSES)
    for name in settings.conditions:
        run = suite.run(name, 1)
        assert run.process is not None
        source = drawn_from(name, run.process, 1)
        folder = train.train(run, source, tmp_path / "runs")
        geometry.run(folder, run.last, settings, source, tmp_path / "probes" / name)
        runs.append(open_run("geometry", name, 1, folder, {"geometry": [tmp_path / "probes" / name]}))
    tables = make_tables(experiment.EXPERIMENT.of("geometry"), Context(suite, runs))
    text = page_of(experiment.EXPERIMENT, tmp_path / "tables", tables)
    assert_tables(text)
    assert (
        "nan" not in text
        and "inf" not in text
        and {one.verdict for one in text.findings.values()} <= {"open", "not measured"}
    )
    for figure in experiment.EXPERIMENT.figures:
        if figure.name != "geometry/self-state.png":
            drawn_of(figure, tmp_path / "tables", tables, "geometry")
    found = tables["geometry_maps"].query("condition == 'mess3' and at == 'all'").set_index("source")["r2"]
    assert 0.7 < found["joined"] < 1 and found["shuffled"] < 0.05
