"""Finished runs that are asked about a neuron, and what cannot be asked."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import train
from base import storage
from base.errors import UserError
from configs.probes.introspection import Introspection
from configs.suite import load_suite
from configs.toml_file import ConfigError
from data.corpus import Corpus
from data.prepare import prepare_text
from probes import introspection
from probes.reporter import WAYS
from tests.test_train import tiny

SMALL = Introspection(
    blocks=(0, 1), ranks=(0, 3), lesson=10, heldout_texts=8, changed_texts=4, several=(2,), twins=2, apart=4, word_lesson=4
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    letters = np.random.default_rng(0).choice(list(b"abcdefgh \n"), 9000).astype(np.uint8)
    return prepare_text("tiny", letters.tobytes(), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus) -> list[Path]:
    place = tmp_path_factory.mktemp("runs")
    plain = tiny(self_state__enabled=False, model__block_size=16, model__n_layer=2)
    return [train.train(plain.model_copy(update={"seed": seed}), corpus, place) for seed in (1, 2)]


def test_a_run_is_asked(tmp_path: Path, corpus: Corpus, runs: list[Path]) -> None:
    said: list[tuple[int, int]] = []
    for name in ("one", "two"):
        introspection.run(
            runs[0],
            12,
            SMALL,
            corpus,
            tmp_path / name,
            lambda done, total: said.append((done, total)),
            runs[1],
        )
    made = {path.name: path.read_bytes() for path in (tmp_path / "one").glob("*.csv")}
    assert set(made) == {f"{name}.csv" for name in introspection.COLUMNS}
    assert all((tmp_path / "two" / name).read_bytes() == content for name, content in made.items())
    task = storage.read_json(tmp_path / "one" / "task.json")
    assert task["weights_sha256_before"] == task["weights_sha256_after"] and said[-1] == (
        task["steps"],
        task["steps"],
    )
    found = pd.read_csv(tmp_path / "one" / "reports.csv")
    assert len(found) == 4 * (2 * len(WAYS) + 2) and found.groupby(["block", "rank"]).ngroups == 4
    frozen = found[found["way"].isin(["frozen", "above", "random_head"])]
    assert (frozen["sd"] == 1).all() and (found.loc[found["way"] == "frozen", "lm_rise"].abs() < 1e-6).all()
    assert (found.loc[found["way"] == "outsider", "slope"] == 0).all()
    assert np.allclose(found["mse"], found["bias2"] + found["variance"], equal_nan=True)
    twins = pd.read_csv(tmp_path / "one" / "twins.csv")
    assert np.allclose(twins.loc[twins["reader"] == twins["of"], "alike"], 1.0)
    assert "slope" in introspection.summary(tmp_path / "one")


def test_asked_again_it_gives_the_same_bytes(tmp_path: Path, corpus: Corpus, runs: list[Path]) -> None:
    least = SMALL.model_copy(
        update={"blocks": (0,), "ranks": (0,), "lesson": 2, "apart": 1, "word_lesson": 1}
    )
    for name in ("one", "two"):
        introspection.run(runs[0], 12, least, corpus, tmp_path / name, None, runs[1])
    for path in (tmp_path / "one").glob("*.csv"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blocks": (2,)}, "has no block 2: its 2 blocks are numbered from 0"),
        ({"units": (64,)}, r"has no unit 64 \(neuron\): a block's 64 are numbered from 0"),
        ({"units": (16,), "kind": "mlp_out"}, r"has no unit 16 \(mlp_out\)"),
        ({"ranks": (64,)}, "has no rank 64"),
    ],
)
def test_neurons_that_do_not_exist_are_refused_in_one_line(
    tmp_path: Path, corpus: Corpus, runs: list[Path], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        introspection.run(
            runs[0], 12, SMALL.model_copy(update=settings), corpus, tmp_path / "made", None, runs[1]
        )
    assert "\n" not in str(caught.value) and not (tmp_path / "made").exists()


def test_no_partner_is_refused(tmp_path: Path, corpus: Corpus, runs: list[Path]) -> None:
    with pytest.raises(UserError, match="name it with --other"):
        introspection.run(runs[0], 12, SMALL, corpus, tmp_path / "made")


def test_the_suite_is_refused_before_anything_is_trained() -> None:
    suite = Path("configs/introspection.toml")
    for text, message in (
        ("probe.introspection.blocks=[4]", "has no block 4"),
        ("probe.introspection.units=[512]", "has no unit 512"),
        ("probe.introspection.kind=head", "mlp_out"),
        ("model.block_size=8", "it needs 16 or more"),
        ("conditions.subject.self_state.enabled=true", "injects a bias"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_suite(suite, [text])


def test_another_kind_of_target_is_asked_of_the_same_runs() -> None:
    suite, kind = Path("configs/introspection.toml"), "probe.introspection.kind=mlp_out"
    usual, other = (load_suite(suite, texts).probes["introspection"] for texts in ([], [kind]))
    assert other.conditions == usual.conditions != () and other.model_dump()["kind"] == "mlp_out"
    with pytest.raises(ConfigError, match=r"has no unit 481 \(mlp_out\)"):
        load_suite(suite, [kind, "probe.introspection.units=[481]"])


@pytest.mark.parametrize("quick", [False, True])
def test_its_runs_are_those_of_the_first_suite(quick: bool) -> None:
    one, other = (
        load_suite(Path(f"configs/{name}.toml"), quick=quick) for name in ("introspection", "shakespeare")
    )
    assert one.run("subject", 3).decisive() == other.run("vanilla_calm", 3).decisive()
