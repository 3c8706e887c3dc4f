"""What a model's answers say: the log-odds of the right option with something set, against the same with the sham in its place.

    Δ log-odds = log-odds of the right option, steered − sham
    index      = that of the question on the model's state − that of a cue, a question on the same options that asks for another name

Log-odds are among the five options. An answerer is any function of rows that end with a question and of the vectors that are set
under them, so that one whose log-odds are known can be asked as a model is.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from model import GPT
from probes.quiz import TEXT, Tokens, asking, options, put

Answerer = Callable[[Tensor, Tensor], Tensor]
"""Rows (N, T) and vectors (C,), (N, 1, C) or (N, T, C) -> logits (N, V) of what follows the last token."""
HALVINGS, WIDEST = 30, 4.0  # of the search for a temperature, between exp(-4) and exp(4)


def answerer(gpt: GPT, layer: int) -> Answerer:
    """A model as an answerer, vectors set before a block."""

    @torch.no_grad()
    def answer(tokens: Tensor, vectors: Tensor) -> Tensor:
        return gpt(tokens, into=put(layer, vectors))[0][:, -1]

    return answer


def log_odds(logits: Tensor, right: Tensor) -> Tensor:
    """Log-odds (N,) float64 of the right one among options. logits: (N, options). right: (N,) places."""
    mine = logits.double().gather(1, right[:, None])[:, 0]
    others = logits.double().scatter(1, right[:, None], -torch.inf).logsumexp(1)
    return mine - others


def entropy(logits: Tensor) -> Tensor:
    """Entropy (N,) in nats of options with these logits (N, options)."""
    log_p = F.log_softmax(logits.double(), 1)
    return -(log_p.exp() * log_p).sum(1)


def as_doubtful(logits: Tensor, wanted: float) -> Tensor:
    """Logits (N, options) divided by the one temperature at which their mean entropy is the wanted one, found by halving."""
    low, high = -WIDEST, WIDEST  # of the temperature's logarithm
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        cold = entropy(logits / math.exp(middle)).mean().item() < wanted
        low, high = (middle, high) if cold else (low, middle)
    return logits.double() / math.exp((low + high) / 2)


@dataclass(frozen=True)
class Quiz:
    """Prompts in which one name is the right answer: texts (N, 15), options (N, 5), its place (N,), and the place (N,) of another
    name, which the cue asks for."""

    tokens: Tokens
    which: int
    texts: Tensor
    shown: Tensor
    right: Tensor
    other: Tensor

    @classmethod
    def drawn(cls, tokens: Tokens, which: int, texts: Tensor, random: np.random.Generator) -> "Quiz":
        shown, right = options(tokens.names, torch.full((len(texts),), which), random)
        step = torch.from_numpy(random.integers(1, shown.shape[1], len(texts)))
        return cls(tokens, which, texts, shown, right, (right + step) % shown.shape[1])

    def rows(self, question: str) -> Tensor:
        """Rows (N, 21): `state`, `direct`, `entropy`, `next`, `cue` (of another name), or `same` (a cue whose answer is the right one)."""
        if question in ("cue", "same"):
            place = self.other if question == "cue" else self.right
            return asking(
                self.tokens,
                self.texts,
                self.shown,
                self.tokens.name(self.shown.gather(1, place[:, None])[:, 0]),
            )
        return asking(self.tokens, self.texts, self.shown, self.tokens.question(question))

    def logits(self, answer: Answerer, vectors: Tensor) -> dict[str, Tensor]:
        """Logits (N, 5) of the options' letters after each question on a place, with vectors (C,), (N, 1, C) or (N, T, C) set."""
        asked = ("state", "cue", "same")
        tokens = torch.cat([self.rows(one) for one in asked])
        given = vectors if vectors.dim() == 1 or len(vectors) == 1 else vectors.repeat(len(asked), 1, 1)
        parts = answer(tokens, given)[:, self.tokens.letters].chunk(len(asked))
        return dict(zip(asked, parts, strict=True))

    def compared(self, sham: dict[str, Tensor], steered: dict[str, Tensor]) -> dict[str, float]:
        """What steering does to the right option, from the logits with it and with the sham.

        delta, cue, same: Δ log-odds after each question; index = delta − cue. matched: delta with the steered logits divided
        by the temperature at which their mean entropy is the sham's. right, false: share of prompts whose answer is the right option, steered and sham.
        entropy: change of the options' entropy, nats.
        """
        found = {
            name: (log_odds(steered[name], place) - log_odds(sham[name], place)).mean().item()
            for name, place in (("state", self.right), ("cue", self.right), ("same", self.right))
        }
        before = entropy(sham["state"])
        level = as_doubtful(steered["state"], before.mean().item())
        return {
            "index": found["state"] - found["cue"],
            "delta": found["state"],
            "cue": found["cue"],
            "same": found["same"],
            "matched": (log_odds(level, self.right) - log_odds(sham["state"], self.right)).mean().item(),
            "right": (steered["state"].argmax(1) == self.right).double().mean().item(),
            "false": (sham["state"].argmax(1) == self.right).double().mean().item(),
            "entropy": (entropy(steered["state"]) - before).mean().item(),
        }


PARTS = {
    "text": slice(0, TEXT),
    "options": slice(TEXT, -1),
    "question": slice(-1, None),
    "all": slice(None),
}  # of a row that ends with a question: where something is set


def only_at(part: str, sham: Tensor, steered: Tensor, length: int) -> Tensor:
    """Vectors (1, T, C): the steered one (C,) at one part of a row, the sham (C,) elsewhere."""
    vectors = sham.repeat(1, length, 1)
    vectors[:, PARTS[part]] = steered
    return vectors


def bits(table: np.ndarray) -> float:
    """Mutual information, in bits, of what is set and what is said. table: (set, said) counts or shares; each row counts alike."""
    p = table / table.sum(1, keepdims=True) / len(table)
    apart = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    held = p > 0
    return float((p[held] * np.log2(p[held] / apart[held])).sum())
