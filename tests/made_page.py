"""A page to steer by hand, of two tiny runs that are trained here: what is in it, and what it was made of."""

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import train
from data.corpus import Corpus
from data.prepare import prepare_text
from experiments.kit.tables import Tables
from model import GPT
from probes.instrument import Subject, load_subject
from runs.state import set_weights
from study.steer_page import make
from tests.test_train import tiny, windows

TEXT = ("The state of the art\nis a state, and an art.\n" * 200).encode()
RUN = tiny(
    model={"n_layer": 2, "n_head": 2, "n_embd": 20, "block_size": 12, "bias": True},
    train={"steps": 60, "batch_size": 3, "warmup_steps": 2, "learning_rate": 0.01, "dtype": "float32"},
    self_state__init="default",
    schedule=windows(("bewilderment", 20, 30)),
    regimes={"bewilderment": {"probability": 0.5}},
)


@dataclass(frozen=True)
class Page:
    """The page of a run as HTML; the run's folder and the other run's; what is in the page."""

    html: str
    folder: Path
    other: Path
    corpus: Corpus
    subject: Subject

    @property
    def facts(self) -> dict[str, Any]:
        return json.loads(self.part("facts"))

    def part(self, name: str) -> str:
        """What stands in the script element of that id."""
        found = re.search(rf'<script type="[^"]*" id="{name}">(.*?)</script>', self.html, re.DOTALL)
        assert found is not None
        return found[1]

    def arrays(self) -> dict[str, np.ndarray]:
        """The numbers in the page by name, float32, flat."""
        numbers = np.frombuffer(base64.b64decode(self.part("weights")), "<f2").astype(np.float32)
        names, sizes = zip(*self.facts["arrays"], strict=True)
        assert len(numbers) == sum(sizes)
        return dict(zip(names, np.split(numbers, np.cumsum(sizes)[:-1]), strict=True))

    def gpt(self) -> GPT:
        """The model with the weights in the page."""
        arrays, gpt = self.arrays(), GPT(self.subject.run.model, self.corpus.vocab_size)
        shapes = {name: tuple(parameter.shape) for name, parameter in gpt.named_parameters()}
        set_weights(
            {"gpt": gpt}, {f"gpt.{name}": arrays[name].reshape(shape) for name, shape in shapes.items()}
        )
        return gpt.eval()


def made(folder: Path) -> Page:
    corpus = prepare_text("tiny", TEXT, folder / "data")
    first, other = (
        train.train(RUN.model_copy(update={"seed": seed}), corpus, folder / "runs") for seed in (5, 6)
    )
    torch.set_flush_denormal(False)
    html = make.page(first, 60, corpus, [other], Tables(folder / "tables", "tiny"))
    return Page(html, first, other, corpus, load_subject(first, 60))
