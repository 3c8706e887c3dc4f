"""What a step's key holds of the code, held against what runs: every function of the project that a step calls is in it.

The code under test reads the source; this test watches the interpreter.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType

import numpy as np
import pytest
import torch

import train
from base import ROOT, code
from base.code import Place, carries
from configs.probe import known, place_of
from configs.probes.belief import BeliefTest
from configs.probes.channels import ChannelTest
from configs.probes.deployed import Deployed
from configs.probes.floors import Floors, World
from configs.probes.frozen import FrozenTest
from configs.probes.geometry import Geometry
from configs.probes.introspection import Introspection
from configs.probes.self_report import REGIMES, SelfReport
from configs.run import RunConfig
from data.corpus import Corpus
from data.prepare import prepare_text
from data.tokens import drawn_from
from runs import folder as run_folder
from tests.test_train import tiny, windows

RUNS = {
    "self": tiny(schedule=windows(("bewilderment", 2, 4), ("self_clamp", 5, 7), ("false_feedback", 8, 9))),
    "vanilla": tiny(self_state__enabled=False, schedule={"kind": "recurring", "regimes": ["sensory_fog"]}),
    "memory": tiny(self_state__memory={"kind": "buffer", "length": 3, "stride": 2}),
    "gru": tiny(self_state__update="gru", self_state__standardise=True, model__dropout=0.1),
    "bias": tiny(self_state__enabled=False, constant_bias={"kind": "learned"}),
    "filter": tiny(
        process={"kind": "chain", "tokens": 5}, self_state__senses={"kind": "filter"},
        schedule={"kind": "recurring", "regimes": ["bewilderment", "sensory_fog"], "enter": 0.5},
    ),
    "drawn": tiny(
        process={"kind": "chain", "tokens": 5}, log__keep_checkpoints=[10], train__steps=10,
        schedule={"kind": "recurring", "regimes": ["bewilderment"], "enter": 0.5, "leave": 0.5},
    ),
    "again": tiny(
        log__keep_checkpoints=[10], train__steps=10,
        schedule={"kind": "recurring", "regimes": ["bewilderment"], "enter": 0.5, "leave": 0.5},
    ),
    "few": tiny(self_state__senses={"kind": "own", "tokens": 3}, inject_until=6),
    "rows": tiny(process={"kind": "rows"}, self_state__enabled=False, model__block_size=38, channels={"how": "attention"}, log__keep_steps=[5]),
    "seven": tiny(
        process={"kind": "rows"}, model__block_size=38, channels={"names": ["time", "self"]},
        schedule={"kind": "recurring", "regimes": ["bewilderment"], "enter": 0.5, "leave": 0.5},
    ),
    "plain": tiny(self_state__enabled=False, model__block_size=16),
    "hidden": tiny(
        process={"kind": "hidden", "transitions": [[[0, 1, 0], [0, 0, 0], [0.5, 0, 0]], [[0, 0, 0], [0, 0, 1], [0.5, 0, 0]]]},
        self_state__enabled=False, model__block_size=5, log__keep_steps=[4],
    ),
    "mix": tiny(
        model__block_size=26, model__n_layer=2, train__steps=600, log__eval_interval=600, log__checkpoint_interval=600,
        schedule={"kind": "recurring", "regimes": list(REGIMES), "enter": 0.15, "leave": 0.12},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    letters = np.random.default_rng(0).choice(list(b"abcdefgh \n"), 9000).astype(np.uint8)
    return prepare_text("tiny", letters.tobytes(), tmp_path_factory.mktemp("data"))


@contextmanager
def watched() -> Iterator[set[Place]]:
    """The top-level definitions of the project whose code is called meanwhile."""
    seen: set[CodeType] = set()
    found: set[Place] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            seen.add(frame.f_code)

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)
    for one in seen:
        path = Path(one.co_filename)
        if (
            path.is_relative_to(ROOT)
            and "tests" not in path.relative_to(ROOT).parts
            and ".venv" not in path.parts
        ):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found.add(Place(name, one.co_qualname.split(".")[0]))


def missed(called: set[Place], *roots: Place, without: tuple[str, ...] = ()) -> set[Place]:
    """What was called and is not reached, besides what only carries."""
    reached = code.reached(roots, without=frozenset(without))
    return {
        place
        for place in called - reached
        if not carries(place.module) and place.name not in ("<module>", "<lambda>", "<genexpr>")
    }


@pytest.mark.parametrize("name", RUNS)
def test_all_that_training_calls_is_in_its_key(name: str, corpus: Corpus, tmp_path: Path) -> None:
    run: RunConfig = RUNS[name]
    tokens = corpus if run.process is None else drawn_from("x", run.process, run.seed)
    with watched() as called:
        train.train(run, tokens, tmp_path)
    assert {Place("train", "train"), Place("model", "GPT")} <= called
    remembers = name == "memory"
    assert ("recall" in run_folder.code_of(run)) == remembers
    assert missed(called, Place("train", "train"), without=run_folder.unused(run)) == set()


PROBES = {  # each probe: the run that it is done to, and its settings
    "frozen": ("self", FrozenTest(finder_batches=1, dev_batches=1, heldout_batches=1, top=1, doses=2, random_directions=2, placebo_draws=2, dose_placebos=1)),
    "belief": ("self", BeliefTest(heldout_batches=1)),
    "deployed": ("again", Deployed(life_steps=20, fit_steps=20, heldout_batches=1)),
    "floors": ("drawn", Floors(life_steps=20, fit_steps=20, world_steps=20, batches=1, beliefs=2, worlds={"other": World(rate=0.5)})),
    "channels": ("seven", ChannelTest(rows=4, noises=(1.0,), doses=(2.0,), gaps=(0,))),
    "geometry": ("hidden", Geometry(pairs=4, random_directions=1, doses=2, sequences=4, points=4, course=4)),
    "introspection": ("plain", Introspection(blocks=(0,), ranks=(0,), lesson=1, heldout_texts=2, changed_texts=1, several=(2,), twins=2, apart=1, word_lesson=1)),
    "self_report": ("mix", SelfReport(lesson=1, rows=8, prompts=4, strengths=(2.0,), draws=1, dictionary=16, active=2, dictionary_steps=1)),
}  # fmt: skip


@pytest.mark.parametrize("name", known())
def test_all_that_a_probe_of_a_run_calls_is_in_its_key(name: str, corpus: Corpus, tmp_path: Path) -> None:
    of, settings = PROBES[name]
    seeds = [RUNS[of].model_copy(update={"seed": seed}) for seed in (1, 2)]
    tokens = [corpus if one.process is None else drawn_from("x", one.process, one.seed) for one in seeds]
    folder, other = (train.train(one, drawn, tmp_path) for one, drawn in zip(seeds, tokens, strict=True))
    place = place_of(name)
    run: Callable = getattr(importlib.import_module(place.module), place.name)
    with watched() as called:
        run(folder, RUNS[of].last, settings, tokens[0], tmp_path / "made", None, other)
    torch.set_flush_denormal(False)
    assert place in called and missed(called, place) == set()
