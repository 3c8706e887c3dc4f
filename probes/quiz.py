"""Questions that a model can be asked about itself, the rows of text they stand in, and the lesson in which they are taught.

A row is a text, five options in random order, and questions, each followed by its answer:

    15 characters | option option option option option | question answer | question answer | question answer

Options are names of what can be set inside the model, one token each, all reserved: nothing else uses them. A question is one token:

    state      which option is set?                      answered with the letter of its place
    direct     what is set?                              answered with its name
    a name     where does this name stand?               a place again, and nothing about the model: the cue
    entropy    will your next prediction be doubtful?    high or low
    next       will the likeliest next character be one of the common ones?

The model gets rows of its embedding for these tokens, drawn at the mean norm of its characters': rows that training never used have
shrunk to nearly one vector.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from base.rng import Stream, generator
from configs.training import Model
from model import GPT
from probes.reporter import FIRST, tune

TEXT, OPTIONS, QUESTIONS = 15, 5, 3  # tokens of a row's text, and how many options and questions it has
ASKED = TEXT + OPTIONS  # place of the first question
PLACES = tuple(ASKED + 2 * at for at in range(QUESTIONS))
RATE = 2e-3
LANGUAGE = 0.5  # weight of the loss on text
KINDS = ("state", "direct", "entropy", "next")
OFTEN = (0.6, 0.2, 0.1, 0.1)  # share of each kind among the questions on the model; two of three are cues
HIGH, LOW, COMMON, RARE = range(4)


@dataclass(frozen=True)
class Tokens:
    """The reserved tokens of a model: so many names, then letters of places, questions, and words.

    first: the number of the first of them, which is that of the characters and the mask token before.
    """

    first: int
    names: int

    def __len__(self) -> int:
        return self.names + OPTIONS + len(KINDS) + 4

    def name(self, which: Tensor) -> Tensor:
        return which + self.first

    @property
    def letters(self) -> Tensor:
        return torch.arange(OPTIONS) + self.first + self.names

    def question(self, kind: str) -> int:
        return self.first + self.names + OPTIONS + KINDS.index(kind)

    def word(self, which: int) -> int:
        return self.first + self.names + OPTIONS + len(KINDS) + which


def with_tokens(gpt: GPT, sizes: Model, tokens: Tokens, seed: int) -> GPT:
    """A copy of a model that reads and writes the reserved tokens, too, in eval mode."""
    grown = GPT(sizes, tokens.first + len(tokens)).eval()
    held = gpt.state_dict()
    rows = held["tokens.weight"]
    random = generator(seed, Stream.INIT, FIRST).normal(size=(len(tokens) + 1, rows.shape[1]))
    size = rows[: gpt.vocab_size].norm(dim=1).mean()
    drawn = size * F.normalize(torch.from_numpy(random.astype(np.float32)), dim=1)
    grown.load_state_dict({**held, "tokens.weight": torch.cat([rows, drawn])})
    return grown


def options(names: int, right: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Five of the names in random order, the right one among them: (N, 5), and the places (N,) of the right ones in 0 ... 4.

    right: (N,) int64.
    """
    keys = torch.from_numpy(random.random((len(right), names)))
    keys.scatter_(1, right[:, None], -1.0)  # the right one is kept, the others drawn
    kept = keys.argsort(1)[:, :OPTIONS]
    order = torch.from_numpy(random.random((len(right), OPTIONS))).argsort(1)
    shown = kept.gather(1, order)
    return shown, (shown == right[:, None]).long().argmax(1)


def asking(tokens: Tokens, texts: Tensor, shown: Tensor, question: Tensor | int) -> Tensor:
    """Rows (N, 21) that end with a question. texts: (N, 15). shown: (N, 5) options. question: (N,) tokens, or one for all."""
    asked = torch.as_tensor(question).expand(len(texts))
    return torch.cat([texts, tokens.name(shown), asked[:, None]], 1)


Into = Callable[[int, Tensor], Tensor]


def put(layer: int, vectors: Tensor) -> Into:
    """What adds vectors (C,), (N, 1, C) or (N, T, C) to the stream before a block: before the first, to the embeddings."""
    return lambda at, x: x + vectors if at == layer else x


class Example(NamedTuple):
    """What is set in a row of a lesson: the vectors (N, C), which of the names each is (N,), and which of them are asked for by the
    question `state`, by `direct`, (N,) bool each."""

    vectors: Tensor
    right: Tensor
    by_state: Tensor
    by_name: Tensor


@dataclass(frozen=True)
class Lesson:
    """The texts of a lesson: (steps, rows, T) int64, their next tokens, the same. sequences: so many of them are read whole."""

    seed: int
    x: Tensor
    y: Tensor
    sequences: int

    def __len__(self) -> int:
        return len(self.x)


def rows(
    tokens: Tokens, texts: Tensor, example: Example, behaviour: Tensor, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Rows of a lesson, (N, 26), and the answers (N, 3) of their questions.

    behaviour: (N, 2) int64, the words that answer `entropy` and `next`; below zero where nothing is asked about the model: then
    all three questions are cues.
    """
    count = len(texts)
    shown, place = options(tokens.names, example.right, random)
    cue = torch.from_numpy(random.integers(0, OPTIONS, (count, QUESTIONS)))
    question = tokens.name(shown.gather(1, cue))
    answer = tokens.letters[cue]
    kind = torch.from_numpy(random.choice(len(KINDS), count, p=OFTEN))
    kind = torch.where((kind == 0) & ~example.by_state, 1, kind)
    mine = torch.tensor([tokens.question(one) for one in KINDS])[kind]
    told = torch.stack([tokens.letters[place], tokens.name(example.right), *behaviour.T], 1)
    told = told.gather(1, kind[:, None])[:, 0]
    asks = ((kind != 1) | example.by_name) & (behaviour[:, 0] >= 0)
    at = torch.from_numpy(random.integers(0, QUESTIONS, count))
    here = (torch.arange(QUESTIONS) == at[:, None]) & asks[:, None]
    question, answer = torch.where(here, mine[:, None], question), torch.where(here, told[:, None], answer)
    pairs = torch.stack([question, answer], 2).flatten(1)
    return torch.cat([texts, tokens.name(shown), pairs], 1), answer


def teach(
    gpt: GPT, tokens: Tokens, lesson: Lesson, layer: int,
    draw: Callable[[np.random.Generator], Example], behave: Callable[[Tensor, Tensor], Tensor],
) -> GPT:  # fmt: skip
    """Fine-tune all weights of a model, in place, on a lesson's rows: cross-entropy of the answers over the whole vocabulary, and
    of the next tokens of texts that are read whole, under what is set there. Returns it, frozen.

    Args:
        layer: where vectors are set. draw: the examples of a step.
        behave: texts (N, 15), vectors (N, C) -> the words (N, 2) that tell what the model will do, or -1.
    """

    def loss(step: int) -> Tensor:
        random = generator(lesson.seed, Stream.DIRECTIONS, FIRST + step)
        example = draw(random)
        texts = lesson.x[step, :, :TEXT]
        laid, answers = rows(tokens, texts, example, behave(texts, example.vectors), random)
        set_in = example.vectors[:, None]
        logits = gpt(laid[:, :-1], into=put(layer, set_in))[0][:, list(PLACES)]
        whole = slice(lesson.sequences)
        text = gpt(lesson.x[step, whole], into=put(layer, set_in[whole]))[0]
        return F.cross_entropy(logits.flatten(0, 1), answers.flatten()) + LANGUAGE * F.cross_entropy(
            text.flatten(0, 1), lesson.y[step, whole].flatten()
        )

    gpt.requires_grad_(True)
    tune([(list(gpt.parameters()), RATE)], loss, len(lesson))
    return gpt.requires_grad_(False)


def names_of(shown: Tensor, said: Tensor) -> Tensor:
    """The names (N,) that stand where an answer's letter says. said: (N,) places."""
    return shown.gather(1, said[:, None])[:, 0]


def shares(found: Tensor, names: Sequence[str]) -> dict[str, float]:
    """How often each name was said."""
    counts = torch.bincount(found, minlength=len(names)).double() / max(len(found), 1)
    return dict(zip(names, counts.tolist(), strict=True))
