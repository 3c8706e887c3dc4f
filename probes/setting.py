"""What can be set inside a model, one of several: the mean states of regimes, or features of a sparse autoencoder.

A vector is added to the stream before one block, at every position. `sham` is the vector of no one in particular: the mean of all
classes, or nothing. The direction of a class leads from it to the class's mean vector, its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import perturb
from base.rng import Stream, generator
from base.storage import UserError
from perturb import CALM
from probes.instrument import Subject
from probes.quiz import Example
from probes.reporter import FIRST

FROM, UNTIL = 0.4, 0.8  # shares of a run between which lie the states of lessons; those after are fresh
SETTLING = 5  # first steps of a regime in which the state is still on its way
TAUGHT, FORM, UNSEEN = "taught", "form", "unseen"


@dataclass(frozen=True)
class Setting:
    """Classes that can be set, and vectors of each.

    layer: the block before which vectors are added. sham: (C,). ends: (K, C) mean vectors of lessons. seen, fresh: (n, C)
    vectors of lessons, and others, with their classes (n,). group: of each class, whether lessons ask for it (TAUGHT), only
    by name (FORM), or never set it (UNSEEN).
    """

    layer: int
    names: tuple[str, ...]
    group: tuple[str, ...]
    sham: Tensor
    ends: Tensor
    seen: Tensor
    seen_class: Tensor
    fresh: Tensor
    fresh_class: Tensor

    @property
    def away(self) -> Tensor:
        """Directions (K, C)."""
        return self.ends - self.sham

    def fresh_away(self) -> Tensor:
        """Directions (K, C) to the mean vectors of fresh states; NaN for a class without."""
        kept = [self.fresh[self.fresh_class == one] for one in range(len(self.names))]
        return torch.stack([one.mean(0) for one in kept]) - self.sham

    def examples(self, count: int, random: np.random.Generator, labels: Tensor | None = None) -> Example:
        """Vectors of a lesson's rows: a class drawn evenly from those that lessons set, then one of its vectors.

        labels: (n,) classes that `seen` are said to have, in place of their own.
        """
        said = self.seen_class if labels is None else labels
        allowed = [at for at, group in enumerate(self.group) if group != UNSEEN]
        classes = random.choice(allowed, count)
        drawn = np.empty(count, np.int64)
        for one in allowed:
            here = classes == one
            drawn[here] = random.choice(np.flatnonzero(said.numpy() == one), int(here.sum()))
        right = torch.from_numpy(classes)
        taught = torch.tensor([group == TAUGHT for group in self.group])[right]
        return Example(self.seen[torch.from_numpy(drawn)], right, taught, torch.ones_like(taught))

    def shuffled(self, seed: int) -> Tensor:
        """Classes (n,) of the vectors of lessons, dealt out anew among those that lessons set."""
        labels = self.seen_class.numpy().copy()
        used = np.isin(labels, [at for at, group in enumerate(self.group) if group != UNSEEN])
        labels[used] = generator(seed, Stream.SHUFFLE, FIRST).permutation(labels[used])
        return torch.from_numpy(labels)


def centres(vectors: Tensor, classes: Tensor, count: int) -> Tensor:
    """Mean vectors (K, C)."""
    return torch.stack([vectors[classes == one].mean(0) for one in range(count)])


def held_back(regimes: Sequence[str], seed: int) -> tuple[str, str]:
    """The regime that a seed's lessons ask for by name alone, and the one that they never set."""
    return regimes[seed % len(regimes)], regimes[(seed + 2) % len(regimes)]


def of_states(subject: Subject, regimes: Sequence[str]) -> Setting:
    """The states of a finished run as its reader lets them into the embeddings, by regime, calm first.

    UserError where it had too few states of a regime.
    """
    run, names = subject.run, (CALM, *regimes)
    steps = len(subject.states)
    acting = np.array(perturb.regimes_by_step(run)[run.first : run.first + steps])
    since = np.zeros(steps, np.int64)
    for step in range(1, steps):
        since[step] = since[step - 1] + 1 if acting[step] == acting[step - 1] else 0
    classes = np.array([names.index(one) if one in names else -1 for one in acting])
    classes[since < SETTLING] = -1
    place = np.arange(steps)
    early, late = round(FROM * steps), round(UNTIL * steps)
    bias = torch.from_numpy((subject.states @ subject.reader.T).astype(np.float32))  # (steps, C)

    def part(where: np.ndarray) -> tuple[Tensor, Tensor]:
        kept = torch.from_numpy(np.flatnonzero(where & (classes >= 0)))
        return bias[kept], torch.from_numpy(classes)[kept]

    seen, seen_class = part((place >= early) & (place < late))
    for at, name in enumerate(names):
        if not (seen_class == at).any():
            raise UserError(
                f"the run has no state of {name} between its steps {run.first + early} and {run.first + late}; there is nothing "
                "to set, train it longer or under a schedule that calls that regime more often"
            )
    fresh, fresh_class = part(place >= late)
    form, unseen = held_back(regimes, run.seed)
    group = tuple(FORM if name == form else UNSEEN if name == unseen else TAUGHT for name in names)
    ends = centres(seen, seen_class, len(names))
    return Setting(0, names, group, ends.mean(0), ends, seen, seen_class, fresh, fresh_class)


def rescaled(directions: Tensor, size: Tensor) -> Tensor:
    """Directions (..., C) at a norm."""
    return size * F.normalize(directions, dim=-1)


def readings(setting: Setting) -> dict[str, Tensor]:
    """What classes of the fresh vectors (n,) are told by readings that were fitted on the vectors of lessons:

    linear     least squares on the classes, one column each
    centroid   the nearest mean vector
    whitened   the nearest by the spread within classes
    """
    x, y, count = setting.seen.double(), setting.seen_class, len(setting.names)
    fresh, ends = setting.fresh.double(), setting.ends.double()
    within = x - ends[y]
    u, s, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    kept = s > 1e-6 * s[0]
    axes = torch.linalg.lstsq(x - x.mean(0), u[:, kept]).solution  # (C, k): the dimensions that vectors fill
    wanted = F.one_hot(y, count).double()
    design = torch.cat([(x - x.mean(0)) @ axes, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    weights = torch.linalg.lstsq(design, wanted).solution
    told = torch.cat([(fresh - x.mean(0)) @ axes, torch.ones(len(fresh), 1, dtype=x.dtype)], 1) @ weights
    inside = within @ axes
    spread = torch.linalg.inv(inside.T @ inside / len(x) + 1e-9 * torch.eye(inside.shape[1], dtype=x.dtype))
    apart = (fresh[:, None] - ends) @ axes  # (n, K, k)
    far = torch.einsum("nkc,cd,nkd->nk", apart, spread, apart)
    return {
        "linear": told.argmax(1),
        "centroid": torch.cdist(fresh, ends).argmin(1),
        "whitened": far.argmin(1),
    }
