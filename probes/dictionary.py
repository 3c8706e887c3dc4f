"""A sparse autoencoder of a model's stream: features, of which a few are active at each token.

    codes = the k largest of relu(encoder (x - centre) + bias); x is about centre + codes @ decoder

Decoder rows have norm one (Bricken et al., "Towards monosemanticity", 2023); the k largest are kept as by Gao et al., "Scaling and
evaluating sparse autoencoders", 2024. With the decoder fixed at random directions only the encoder learns: what remains then needs no
features of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from base.rng import Stream, generator
from data.corpus import Corpus
from model import GPT
from probes.reporter import FIRST, tune
from probes.setting import FORM, TAUGHT, UNSEEN, Setting, held_back

RATE, BATCH = 3e-3, 512  # of its training: tokens a step
RARE, OFTEN = 0.005, 0.25  # share of tokens at which a feature that is asked about is active
LOW, HIGH = 0.5, 1.5  # times a feature's usual activation, in lessons
EACH = 64  # vectors of each feature in lessons; half as many are fresh
TOPS, BEFORE = 8, 11  # contexts that label a feature, and their characters before the last
SIGNS = str.maketrans({"\n": "⏎", " ": "␣"})
FOUND = ("seed", "run_step", "dictionary", "unexplained", "recovered", "alive", "active")
FEATURES = (
    "seed", "run_step", "dictionary", "name", "feature", "density", "level", "share_of_norm", "sign", "share", "contexts",
)  # fmt: skip


class Dictionary(nn.Module):
    """centre (C,), encoder (F, C) with bias (F,), decoder (F, C) with rows of norm one."""

    def __init__(
        self, features: int, active: int, stream: Tensor, learned: bool, random: np.random.Generator
    ) -> None:
        super().__init__()
        self.active, self.learned = active, learned
        drawn = torch.from_numpy(random.normal(size=(features, stream.shape[1])).astype(np.float32))
        self.centre = nn.Parameter(stream.mean(0))
        self.decoder = nn.Parameter(F.normalize(drawn, dim=1), requires_grad=learned)
        self.encoder = nn.Parameter(self.decoder.detach().clone())
        self.bias = nn.Parameter(torch.zeros(features))

    def codes(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., F), at most `active` of them above zero."""
        there = F.relu((x - self.centre) @ self.encoder.T + self.bias)
        kept = there.topk(self.active, dim=-1)
        return torch.zeros_like(there).scatter(-1, kept.indices, kept.values)

    def forward(self, x: Tensor) -> Tensor:
        return self.centre + self.codes(x) @ self.decoder


def learned_from(
    stream: Tensor, features: int, active: int, steps: int, learned: bool, seed: int
) -> Dictionary:
    """A dictionary of a stream (n, C), trained for some steps on its mean square error."""
    made = Dictionary(features, active, stream, learned, generator(seed, Stream.INIT, FIRST + 1))
    scale = stream.var(0).sum()

    def loss(step: int) -> Tensor:
        if learned:
            with torch.no_grad():
                made.decoder.copy_(F.normalize(made.decoder, dim=1))
        picked = generator(seed, Stream.SHUFFLE, FIRST + step).integers(0, len(stream), BATCH)
        x = stream[torch.from_numpy(picked)]
        return ((made(x) - x) ** 2).sum(1).mean() / scale

    tune([([one for one in made.parameters() if one.requires_grad], RATE)], loss, steps)
    with torch.no_grad():
        made.decoder.copy_(F.normalize(made.decoder, dim=1))
    return made.requires_grad_(False)


@torch.no_grad()
def stream_before(gpt: GPT, x: Tensor, layer: int) -> Tensor:
    """The stream (B, T, C) that a block gets on tokens (B, T)."""
    found: list[Tensor] = []

    def into(at: int, stream: Tensor) -> Tensor:
        if at == layer:
            found.append(stream)
        return stream

    for some in x.split(32):
        gpt(some, into=into)
    return torch.cat(found)


@torch.no_grad()
def judged(gpt: GPT, made: Dictionary, x: Tensor, y: Tensor, layer: int) -> dict[str, float]:
    """How well a dictionary rebuilds the stream of texts x (B, T).

    unexplained: mean square error over the stream's variance. recovered: of what the loss on the next tokens y rises by when the
    stream's mean stands in its place, the share that the rebuilt stream keeps. alive: share of features ever active here. active: mean
    number of features active at a token.
    """
    stream = stream_before(gpt, x, layer).flatten(0, 1)
    codes = made.codes(stream)

    def loss(change: Any) -> float:
        logits = gpt(x, into=lambda at, here: change(here) if at == layer else here)[0]
        return F.cross_entropy(logits.flatten(0, 1), y.flatten()).item()

    plain, gone, rebuilt = (
        loss(change) for change in (lambda here: here, lambda here: stream.mean(0).expand_as(here), made)
    )
    return {
        "unexplained": (((made(stream) - stream) ** 2).sum(1).mean() / stream.var(0).sum()).item(),
        "recovered": (gone - rebuilt) / (gone - plain),
        "alive": (codes > 0).any(0).double().mean().item(),
        "active": (codes > 0).double().sum(1).mean().item(),
    }


@dataclass(frozen=True)
class Chosen:
    """Features by their numbers, with what they usually are where they are active (K,), the others that are alive, and what is told
    of each."""

    features: list[int]
    levels: Tensor
    others: list[int]
    rows: list[dict[str, Any]]


@torch.no_grad()
def choose(gpt: GPT, made: Dictionary, corpus: Corpus, x: Tensor, layer: int, names: Sequence[str]) -> Chosen:
    """As many features as there are names: on dev texts x (B, T), of those active at RARE to OFTEN of the tokens, the ones with the
    largest mean square; a feature's label is what stands at its strongest places."""
    stream = stream_before(gpt, x, layer)
    codes = made.codes(stream)  # (B, T, F)
    flat = codes.flatten(0, 1)
    density, power = (flat > 0).double().mean(0), (flat.double() ** 2).mean(0)
    usual = (density >= RARE) & (density <= OFTEN)
    order = torch.argsort(power + usual * (1 + power.max()), descending=True, stable=True).tolist()
    features, others = order[: len(names)], [one for one in order[len(names) :] if usual[one]]
    levels = torch.stack([flat[flat[:, one] > 0, one].mean() for one in features])
    size = stream.flatten(0, 1).norm(dim=1).mean()
    rows = []
    for name, feature, level in zip(names, features, levels, strict=True):
        there = codes[:, BEFORE:, feature]
        tops = torch.topk(there.flatten(), min(TOPS, there.numel())).indices
        places = [divmod(int(one), there.shape[1]) for one in tops]
        texts = [corpus.decode(x[row, at : at + BEFORE + 1].numpy()).translate(SIGNS) for row, at in places]
        lasts = [text[-1:] for text in texts]
        sign = max(dict.fromkeys(lasts), key=lasts.count)
        rows.append({
            "name": name, "feature": feature, "density": density[feature].item(), "level": level.item(),
            "share_of_norm": (level / size).item(), "sign": sign, "share": lasts.count(sign) / len(lasts), "contexts": "  ".join(texts[:4]),
        })  # fmt: skip
    return Chosen(features, levels, others, rows)


def of_features(made: Dictionary, chosen: Chosen, layer: int, names: Sequence[str], seed: int) -> Setting:
    """Features to be set at about their usual activation, beside nothing."""
    ends = chosen.levels[:, None] * made.decoder[chosen.features]
    random = generator(seed, Stream.DIRECTIONS, FIRST - 1)

    def vectors(count: int) -> tuple[Tensor, Tensor]:
        classes = torch.arange(len(names)).repeat_interleave(count)
        times = torch.from_numpy(random.uniform(LOW, HIGH, len(classes)).astype(np.float32))
        return times[:, None] * ends[classes], classes

    seen, seen_class = vectors(EACH)
    fresh, fresh_class = vectors(EACH // 2)
    form, unseen = held_back(names, seed)
    group = tuple(FORM if name == form else UNSEEN if name == unseen else TAUGHT for name in names)
    return Setting(
        layer, tuple(names), group, torch.zeros(ends.shape[1]), ends, seen, seen_class, fresh, fresh_class
    )
