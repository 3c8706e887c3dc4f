"""The frozen-weight test of whole runs: what it writes, what it refuses, what its tables say."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import frozen_test
from base import command_line, storage
from configs.probes.frozen import FrozenTest
from data.corpus import Corpus
from data.prepare import prepare_text
from experiments import frozen, frozen_tables
from experiments.kit.placebos import rank_p_value
from probes import frozen_rows
from probes.instrument import Instrument, load_subject, weights_sha256
from tests.known_gpt import (
    SETTINGS,
    D,
    T,
    finished,
)
from tests.made_runs import context, made_run, make_tables


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare_text("tiny", b"abcd efghi\n" * 300, tmp_path_factory.mktemp("out") / "data")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_published_batches_are_those_of_its_own_generator_whatever_the_seed(
    corpus: Corpus, tmp_path: Path
) -> None:
    one = load_subject(finished(tmp_path, corpus), 6)
    other = replace(one, run=one.run.model_copy(update={"seed": one.run.seed + 1}))
    settings = FrozenTest(replication_batches=2, replication_sequences=4)
    made = frozen_test.published_batches(one, corpus, settings)
    again = frozen_test.published_batches(other, corpus, settings)
    assert all(
        torch.equal(x, z)
        for pair, same in zip(made, again, strict=True)
        for x, z in zip(pair, same, strict=True)
    )
    further = frozen_test.published_batches(one, corpus, settings, draw=1)
    for seed, (x, y), (elsewhere, _) in zip((123, 1123, 1124), made, further, strict=True):
        torch.manual_seed(seed)  # the generator of all of torch, as nanoGPT's loop draws
        offsets = torch.randint(len(corpus.train) - T, (4,)).tolist()
        assert x.tolist() == [corpus.train[at : at + T].tolist() for at in offsets]
        assert y.tolist() == [corpus.train[at + 1 : at + T + 1].tolist() for at in offsets]
        assert not torch.equal(x, elsewhere)


def test_whole_test_of_a_run(corpus: Corpus, tmp_path: Path) -> None:
    folder = finished(tmp_path, corpus)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    seen: list[tuple[int, int]] = []
    frozen_test.run(folder, 3, SETTINGS, corpus, tmp_path / "a", lambda *count: seen.append(count))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    total = SETTINGS.forwards(D)
    assert seen == [(done, total) for done in range(1, total + 1)]
    task = storage.read_json(tmp_path / "a" / "task.json")
    weights = storage.load_tensors(folder / "model-step3.safetensors")
    assert task["weights_sha256_before"] == task["weights_sha256_after"] == weights_sha256(weights)
    states = storage.load_tensors(folder / "states.safetensors")["state"]
    assert task["largest_norm"] == pytest.approx(np.linalg.norm(states[:3], axis=1).max())
    assert task["norms_from_training"]

    conditions = rows(tmp_path / "a" / "conditions.csv")
    assert tuple(conditions[0]) == frozen_rows.CONDITIONS
    assert len(conditions) == 4 + 3 * (2 + 6)
    assert {(row["seed"], row["run_step"]) for row in conditions} == {("2", "3")}
    own, _ = (row for row in conditions if row["state"] == "own")  # in either protocol
    assert float(own["magnitude"]) == pytest.approx(np.linalg.norm(states[2]))
    effects = rows(tmp_path / "a" / "effects.csv")
    assert tuple(effects[0]) == frozen_rows.EFFECTS
    kinds = [(row["protocol"], row["finder"], row["reader"], row["draw"]) for row in effects]
    assert len(kinds) == len(set(kinds)) == 3 + 2 * (2 + 3)
    assert ("heldout", "gradient", "rotated", "0") not in kinds
    for row in effects[:3]:
        pair = [
            float(some["entropy"])
            for some in conditions
            if (some["protocol"], some["finder"]) == (row["protocol"], row["finder"])
            and some["state"] in ("confident", "uncertain")
        ]
        assert float(row["effect_size"]) == pytest.approx(abs(pair[0] - pair[1]), abs=1e-9)
    by_batch = rows(tmp_path / "a" / "batches.csv")
    assert tuple(by_batch[0]) == frozen_rows.BATCHES and len(by_batch) == (1 + 10) * (1 + 5)
    tested = pd.DataFrame(by_batch).astype(float).query("draw == 0 and batch > 0").mean()
    assert abs(tested["confident"] - tested["uncertain"]) == pytest.approx(
        float(effects[0]["effect_size"]), rel=1e-6
    )
    doses = rows(tmp_path / "a" / "doses.csv")
    assert tuple(doses[0]) == frozen_rows.DOSES
    curves = [(row["reader"], row["draw"], row["direction"]) for row in doses[::9]]
    assert curves == [
        *(("learned", "0", name) for name in ("confident", "uncertain", "gradient", "random")),
        *(("rotated", "0", name) for name in ("confident", "uncertain")),
        *(("untrained", "0", name) for name in ("confident", "uncertain", "gradient")),
    ]
    assert len(doses) == 9 * 9
    peaks = rows(tmp_path / "a" / "dimensions.csv")
    assert tuple(peaks[0]) == frozen_rows.PEAKS
    assert [(row["reader"], row["draw"]) for row in peaks[::D]] == [("learned", "0"), ("untrained", "0"), ("untrained", "1")]  # fmt: skip
    assert [float(row["highest"]) for row in peaks[:D]] == pytest.approx(states[:3].max(0))

    frozen_test.run(folder, 3, SETTINGS, corpus, tmp_path / "b")
    frozen_test.run(folder, 6, SETTINGS, corpus, tmp_path / "c")
    for name in ("conditions.csv", "effects.csv", "batches.csv", "doses.csv", "dimensions.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "c" / name).read_bytes()

    tables = tables_of(tmp_path / "a", tmp_path / "c")
    assert list(tables["frozen_effects"]) == ["suite", "condition", *frozen_rows.EFFECTS]
    assert len(tables["frozen_conditions"]) == 2 * len(conditions)
    assert (
        len(tables["frozen_effects_summary"]) == 2 * 5
    )  # two placebos of two finders, one of the gradient's


def test_changed_weights_are_an_error(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meddle(instrument: Instrument, *_: object) -> list[dict]:
        with torch.no_grad():
            instrument.gpt.norm.weight[0] += 1e-3
        return []

    monkeypatch.setattr(frozen_test, "dose_rows", meddle)
    with pytest.raises(RuntimeError, match="changed the weights"):
        frozen_test.run(finished(tmp_path, corpus), 6, SETTINGS, corpus, tmp_path / "test")
    assert not (tmp_path / "test").exists()


def test_what_cannot_be_tested_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    def refused(folder: Path, step: int, settings: FrozenTest, match: str) -> None:
        with pytest.raises(storage.UserError, match=match):
            frozen_test.run(folder, step, settings, corpus, tmp_path / "test")
        assert not (tmp_path / "test").exists()

    whole = finished(tmp_path / "whole", corpus)
    refused(whole, 4, SETTINGS, "no weights of step 4; it has those of 3, 6")
    refused(whole, 6, FrozenTest(top=7), "take at most 6")
    refused(finished(tmp_path / "vanilla", corpus, enabled=False), 6, SETTINGS, "without self-state")
    refused(finished(tmp_path / "other", corpus, data="0" * 64), 6, SETTINGS, "another corpus")
    refused(tmp_path / "none", 6, SETTINGS, "not a run folder")


def test_command_line(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_text("tiny", b"abcd efghi\n" * 300, tmp_path / "data")
    folder = finished(tmp_path / "runs", corpus)

    def status(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["frozen_test.py", str(folder), "--out", str(tmp_path), *arguments])
        with pytest.raises(SystemExit) as caught:
            command_line.run(frozen_test.main)
        return int(str(caught.value.code))

    small = ["finder_batches=1", "heldout_batches=1", "random_directions=2", "placebo_draws=1"]
    assert status("--step", "3", *(f"--set=probe.frozen.{text}" for text in small)) == 0
    assert "heldout      gradient   effect" in capsys.readouterr().out
    assert (tmp_path / "probes" / "frozen" / "0123456789abcdef-step3" / "task.json").is_file()
    for bad, message in (
        (["--step", "4"], "it has those of 3, 6"),
        (["--set", "probe.frozen.topp=3"], "did you mean"),
        (["--set", "train.steps=3"], "only fields of probe.frozen"),
        (["--set", "probe.frozen.top=0"], "greater than or equal to 1"),
    ):
        assert status(*bad) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        assert message in error


def effects_table(learned: float, rotated: list[float], untrained: list[float]) -> pd.DataFrame:
    test = {
        "suite": "s",
        "condition": "c",
        "seed": 1,
        "run_step": 9,
        "protocol": "heldout",
        "finder": "dimension",
    }
    kinds = [("learned", [learned]), ("rotated", rotated), ("untrained", untrained)]
    return pd.DataFrame(
        {**test, "reader": reader, "draw": draw, "effect_size": size, "magnitude": 1.0}
        for reader, sizes in kinds
        for draw, size in enumerate(sizes)
    )


def tables_of(*tests: Path) -> dict[str, pd.DataFrame]:
    """The tables of one run's finished tests, but those at its usual norm, which need its log."""
    run = replace(made_run("calm", 1, pd.DataFrame(), None), suite="suite", probes={"frozen": tests})
    made = make_tables(frozen.EXPERIMENT.of("swap"), context([run]))
    return {name: table for name, table in made.items() if name != "usual_norm"}


def summarised(effects: pd.DataFrame) -> pd.DataFrame:
    return frozen_tables.frozen_effects_summary(context([]), effects)


def test_rank_p_value() -> None:
    assert rank_p_value(0.5, np.array([0.1, 0.2, 0.3])) == 1 / 4
    assert rank_p_value(0.2, np.array([0.1, 0.2, 0.3])) == 3 / 4  # a tie counts against the learned one
    assert rank_p_value(0.0, np.array([0.1, 0.2, 0.3])) == 1
    summary = summarised(effects_table(0.25, [0.1, 0.2, 0.3, 0.4], [0.1])).set_index("placebo")
    assert tuple(summary.reset_index().columns[1:7]) == frozen_tables.TEST
    row = summary.loc["rotated"]
    assert (row["effect"], row["placebo_max"], row["p_value"]) == (0.25, 0.4, 3 / 5)
    assert row["placebo_mean"] == pytest.approx(0.25)
    assert row["placebo_sd"] == pytest.approx(math.sqrt(0.05 / 3))
    assert summary["p_value"]["untrained"] == 1 / 2
    assert np.isnan(summary["placebo_sd"]["untrained"])
    two = pd.concat([effects_table(0.25, [0.3], [0.1]), effects_table(0.35, [0.3], [0.1]).assign(seed=2)])
    assert list(summarised(two)["p_value"]) == [1, 0.5, 0.5, 0.5]


def test_tables_of_nothing_and_of_a_broken_folder(tmp_path: Path) -> None:
    names = ("batches", "conditions", "dose_placebos", "doses", "effects", "effects_summary")
    assert sorted(tables_of()) == [f"frozen_{name}" for name in names]
    assert all(table.empty for table in tables_of().values())
    with pytest.raises(storage.UserError, match=r"\.csv is missing or no table"):
        tables_of(tmp_path)


def test_one_dimension_is_steered_by_the_gradient_alone(corpus: Corpus, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    folder = finished(tmp_path, corpus, dim=1)
    frozen_test.run(folder, 6, SETTINGS, corpus, tmp_path / "one", lambda *count: seen.append(count))
    total = SETTINGS.forwards(1)
    assert seen[-1] == (total, total)
    effects = rows(tmp_path / "one" / "effects.csv")
    assert {(row["protocol"], row["finder"], row["reader"]) for row in effects} == {
        ("heldout", "gradient", "learned"),
        ("heldout", "gradient", "untrained"),
    }
    assert {row["direction"] for row in rows(tmp_path / "one" / "doses.csv")} == {"gradient", "random"}


def test_foreign_directions_are_those_of_the_other_run(corpus: Corpus, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"foreign": True})
    own, other = finished(tmp_path, corpus), finished(tmp_path / "other", corpus, seed=3)
    with pytest.raises(storage.UserError, match="needs the run of the partner seed"):
        frozen_test.run(own, 6, settings, corpus, tmp_path / "test")
    seen: list[tuple[int, int]] = []
    frozen_test.run(own, 6, settings, corpus, tmp_path / "test", lambda *count: seen.append(count), other)
    total = settings.forwards(D)
    assert seen[-1] == (total, total)
    foreign = [row for row in rows(tmp_path / "test" / "effects.csv") if row["reader"] == "foreign"]
    assert [(row["protocol"], row["finder"]) for row in foreign] == [
        ("heldout", "dimension"),
        ("heldout", "gradient"),
    ]
    # Its own directions, given as if they were another's, have the learned effect.
    frozen_test.run(own, 6, settings, corpus, tmp_path / "self", other=own)
    sizes: dict[str, list[str]] = {}
    for row in rows(tmp_path / "self" / "effects.csv"):
        if row["protocol"] == "heldout":
            sizes.setdefault(row["reader"], []).append(row["effect_size"])
    assert sizes["foreign"] == sizes["learned"]
    assert [row["effect_size"] for row in foreign] != sizes["learned"]


ODD = {  # more curves than draws, more held-out batches than a curve takes, no curve of a placebo, no placebo
    "every curve": {"dose_placebos": 5, "heldout_batches": 6},
    "no curve": {"dose_placebos": 0, "finder_batches": 2},
    "one draw": {"placebo_draws": 1, "dev_batches": 1, "random_directions": 1},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("dim", [1, D])
def test_the_passes_of_a_test_are_known_before(
    corpus: Corpus, tmp_path: Path, dim: int, odd: dict[str, int]
) -> None:
    settings = SETTINGS.model_copy(update={**odd, "foreign": True})
    own, other = finished(tmp_path, corpus, dim=dim), finished(tmp_path / "other", corpus, dim=dim, seed=3)
    frozen_test.run(own, 6, settings, corpus, tmp_path / "test", other=other)
    made = storage.read_json(tmp_path / "test" / "task.json")["forwards"]
    assert made == settings.forwards(dim)
