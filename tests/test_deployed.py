"""Living on and being put to use on a text, with the weights frozen."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import train
from base.storage import ROOT, UserError
from configs.probes.deployed import Deployed
from configs.suite import load_suite
from data.corpus import Corpus
from data.prepare import prepare_text
from experiments import deployed as page_on
from experiments.kit.pairs import paired_logs
from experiments.kit.runs import Context
from probes import deployed
from probes.closed_loop import live, living, open_subject
from tests.made_runs import MadeRun, Page, cells, context, drawn_of, page_of, title_of, verdict
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


def ended(gain: float, seeds: int = 3) -> pd.DataFrame:
    """The table of runs whose bias ended at step 30 of 40: a state gained 0.5 until then and `gain` from then on, a bias 0.1 and
    nothing; what is kept gains 0.5 and 0.1 throughout. The batch's luck is the same in all."""
    until = {"train__steps": 40, "inject_until": 30, "schedule": RECURRING}
    bias = {"self_state__enabled": False, "constant_bias": {"kind": "fixed", "norm_of": page_on.STATE}}
    whole = {name: value for name, value in until.items() if name != "inject_until"}
    conditions = {
        page_on.COOLED: (tiny(**until), 0.5, gain),
        page_on.STATE: (tiny(**whole), 0.5, 0.5),
        page_on.COOLED_BIAS: (tiny(**until, **bias), 0.1, 0.0),
        page_on.FIXED: (tiny(**whole, **bias), 0.1, 0.1),
        page_on.VANILLA: (tiny(**whole, self_state__enabled=False), 0.0, 0.0),
    }
    runs, step = [], np.arange(40)
    for (name, (run, before, after)), seed in product(conditions.items(), range(1, seeds + 1)):
        regime = np.where(step % 4 < 2, "calm", "bewilderment")
        loss = (
            2
            + np.random.default_rng(seed).normal(size=40)
            - np.where(step < 30, before, after * (1 + 0.01 * seed))
        )
        heldout = np.where(step == 39, loss + 1, np.where(step % 10 == 9, 7.0 + before, np.nan))
        log = pd.DataFrame(
            {"step": step, "regime": regime, "loss": loss, "heldout_loss": heldout, "heldout_ece": heldout}
        )
        runs.append(MadeRun("recurring", name, seed, Path(), run.model_copy(update={"seed": seed}), log=log))
    suite = context(runs).suite
    return page_on.cooled_losses(Context(suite, runs))


def test_what_outlives_the_state_is_counted_from_its_end(tmp_path: Path) -> None:
    rows = ended(0.2).set_index(["condition", "seed"])
    assert set(rows["from_step"]) == {30} and len(rows) == 12  # not of the model without a state
    for column in ("clean_loss_difference", "perturbed_loss_difference", "heldout_loss_difference"):
        found = {name: rows.loc[(name, 1), column] for name in rows.index.unique("condition")}
        assert found == pytest.approx(
            {"cooled": -0.202, page_on.STATE: -0.505, "cooled_bias": 0.0, page_on.FIXED: -0.101}
        )
    page = page_of(page_on.EXPERIMENT, tmp_path / "more", {"cooled_losses": ended(0.2)})
    assert page.findings["outlives"].verdict == page.findings["outlives_bias"].verdict == "clear"
    assert "from step 30 on" in page and cells(page, "`cooled`")[1].startswith("−0.204") and "nan" not in page
    page = page_of(page_on.EXPERIMENT, tmp_path / "less", {"cooled_losses": ended(-0.2)})
    assert (
        page.findings["outlives"].verdict == "not clear"
        and "It is clearly the other way round." in page.findings["outlives"].evidence
    )
    page = page_of(page_on.EXPERIMENT, tmp_path / "few", {"cooled_losses": ended(0.2, seeds=2)})
    assert page.findings["outlives"].verdict == "open"


def test_means_over_a_whole_run_leave_out_what_ends() -> None:
    suite = load_suite(ROOT / "configs" / "recurring.toml")
    log = pd.DataFrame(
        {"step": range(8), "regime": "calm", "loss": 2.0, "heldout_loss": 2.0, "heldout_ece": 0.0}
    )
    runs = [MadeRun("recurring", name, 1, Path(), suite.run(name, 1), log=log) for name in suite.conditions]
    whole, every = (paired_logs(Context(suite, runs), ending) for ending in (False, True))
    assert {pair.run.condition for pair in every} - {pair.run.condition for pair in whole} == {
        "cooled",
        "cooled_bias",
    }
    assert {run.inject_until for run in suite.conditions.values()} == {None, 1800}


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
