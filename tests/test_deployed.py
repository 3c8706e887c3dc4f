"""Living on and being put to use on a text, with the weights frozen."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import train
from base.storage import UserError
from configs.probes.deployed import Deployed
from data.corpus import Corpus
from data.prepare import prepare_text
from experiments import deployed as page_on
from probes import deployed
from probes.closed_loop import live, living, open_subject
from tests.made_runs import Page, drawn_of, page_of, title_of, verdict
from tests.test_train import TEXT, tiny

RECURRING = {"kind": "recurring", "regimes": ["bewilderment"], "enter": 0.3, "leave": 0.3}
KEPT = {"schedule": RECURRING, "log__keep_checkpoints": [10], "train__steps": 10, "train__dtype": "float32"}
SHORT = Deployed(life_steps=20, fit_steps=20, heldout_batches=2)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare_text("tiny", TEXT, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def folder(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train.train(tiny(**KEPT), corpus, tmp_path_factory.mktemp("runs"))


def test_the_whole_probe(folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    for name in ("a", "b"):
        deployed.run(folder, 10, SHORT, corpus, tmp_path / name)
    assert (tmp_path / "a" / "deployed.csv").read_bytes() == (tmp_path / "b" / "deployed.csv").read_bytes()
    table = pd.read_csv(tmp_path / "a" / "deployed.csv")
    assert set(table["way"]) == {"live", "elsewhere", "mean", "calm", "corrupted", "constant"}
    lived = table[table["part"] == "all"].set_index("way")["loss"]
    subject = open_subject(folder)
    own = list(live(subject, corpus, living(subject), SHORT.life_steps))
    assert lived["live"] == pytest.approx(deployed.losses(own).mean(), rel=1e-9)
    assert "calm" in deployed.summary(tmp_path / "a")
    clean = table[table["part"] == "clean"].set_index("way")["loss"]
    assert set(clean.index) == {
        "mean",
        "calm",
        "corrupted",
        "constant",
    }  # a live state has no calm of its own


def test_without_a_state_there_is_one_course(corpus: Corpus, tmp_path: Path) -> None:
    plain = train.train(
        tiny(**{**KEPT, "log__keep_checkpoints": [], "self_state__enabled": False}), corpus, tmp_path
    )
    deployed.run(plain, 10, SHORT, corpus, tmp_path / "made")
    table = pd.read_csv(tmp_path / "made" / "deployed.csv")
    assert set(table["way"]) == {"live"}
    assert {"all", "clean", "clean, best temperature"} <= set(table["part"])


def test_mean_states_are_those_of_their_steps(folder: Path, corpus: Corpus) -> None:
    subject = open_subject(folder)
    moments = list(live(subject, corpus, living(subject), 30))
    found = deployed.centroids(moments)
    calm = torch.stack([one.state for one in moments if one.regime == "calm" and one.state is not None])
    assert torch.allclose(found["calm"], calm.detach().mean(0))
    with pytest.raises(UserError, match="take more fit_steps"):
        deployed.centroids([one for one in moments if one.regime == "calm"])


def test_a_state_that_is_set_stands(folder: Path, corpus: Corpus) -> None:
    subject = open_subject(folder)
    assert subject.value is not None
    state = torch.ones_like(subject.value.state)
    moments = list(live(subject, corpus, living(subject), 4, deployed.fixed(state)))
    assert all(one.state is not None and torch.equal(one.state, state) for one in moments)
    assert np.isfinite(deployed.losses(moments)).all()


def test_what_cannot_be_done_is_told() -> None:
    assert "keeps no checkpoint" in Deployed().misfit(tiny(**{**KEPT, "log__keep_checkpoints": []}))
    assert "no recurring regimes" in Deployed().misfit(tiny())
    assert "`floors` is for that" in Deployed().misfit(tiny(process={"kind": "chain"}))


def losses(live: float, clean: float, seeds: int = 4) -> dict[str, pd.DataFrame]:
    """Losses of a live state and, set to calm, on clean text; 2.0 of every rival, 1.9 of no state at its best temperature."""
    rows = []
    for (condition, way), seed in product(
        (
            (page_on.STATE, "live"),
            *page_on.USED,
            *((page_on.STATE, way) for way in page_on.WAYS if way != "live"),
        ),
        range(1, seeds + 1),
    ):
        mine = condition == page_on.STATE
        every = (live if mine and way == "live" else 2.0) + 0.001 * seed * mine
        text = (clean if mine and way == "calm" else 2.0) + 0.001 * seed * mine
        rows.append(
            (
                "recurring",
                condition,
                seed,
                way,
                every,
                every,
                every,
                text,
                1.9 if condition == page_on.VANILLA else text,
            )
        )
    columns = [
        "suite",
        "condition",
        "seed",
        "way",
        "all",
        "calm_steps",
        "perturbed_steps",
        "clean",
        "tempered",
    ]
    return {
        "deployed_losses": pd.DataFrame(rows, columns=columns).drop_duplicates(["condition", "seed", "way"])
    }


@pytest.mark.parametrize(
    ("live", "clean", "expected"),
    [
        (1.8, 1.8, ("Clear", "Clear", "Clear")),
        (1.8, 1.95, ("Clear", "Clear", "Not clear")),
        (2.1, 2.1, ("Not clear", "Not clear", "Not clear")),
    ],
)
def test_the_page_says_whether_a_state_pays_with_frozen_weights(
    live: float, clean: float, expected: tuple[str, ...], tmp_path: Path
) -> None:
    page = page_of(page_on.EXPERIMENT, tmp_path, losses(live, clean))
    assert isinstance(page, Page) and "nan" not in page
    claims = ("a live state predicts better", "better than one trained without", "at its best temperature")
    assert tuple(verdict(page, words) for words in claims) == expected
    title = title_of(drawn_of(page_on.EXPERIMENT.figures[0], tmp_path, losses(live, clean), "recurring"))
    assert ("does not predict clearly better" in title) == (live > 2)
