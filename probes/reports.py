"""What a report of a neuron is worth: its error, what moves it, what of it is left when the neuron is held still, what needs no
access to the neuron at all.

A report is *veridical* in the causal sense if it follows the neuron when the neuron alone is changed: slope 1. A report of what
the text makes likely has slope 0, however small its error on natural text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from base.rng import Stream, generator
from model import GPT
from probes.neuron import Choice, Neurons, Seen, block_of, mlp, seen, written_by
from probes.reporter import FIRST, SKIPPED, Reporter

PLACE = 40  # position at which a neuron is changed, or the last one of a shorter text
CHANGE = 1.5  # by how many of its standard deviations, up and down
DRAWS = 4  # foreign neurons, and random directions
RIDGE = 1e-3  # of linear readings, in units of the mean variance of a feature


@dataclass(frozen=True)
class Heldout:
    """Held-out texts: tokens x and next tokens y (N, T), and the first few of them for changes, cut after the changed place."""

    x: Tensor
    y: Tensor
    cut: Tensor

    @classmethod
    def of(cls, texts: Tensor, changed: int) -> "Heldout":
        """From texts (N, T + 1); `changed` of them are for changes."""
        x, y = texts[:, :-1], texts[:, 1:]
        return cls(x, y, x[:changed, : min(PLACE, x.shape[1] - 1) + 1])


class Asked:
    """A reporter on some texts (N, T), asked about neurons of a model that may be itself.

    own: (N, T, K) activations of the neurons, nothing changed. here: what the model meets at their site.
    """

    def __init__(self, reporter: Reporter, subject: GPT, neurons: Neurons, x: Tensor) -> None:
        self.reporter, self.subject, self.neurons = reporter, subject, neurons
        self.here = seen(subject, x, neurons.site)
        self.own = neurons.of(self.here.values)
        self.itself = reporter.gpt is subject
        self.apart = None if self.itself else seen(reporter.gpt, x, neurons.site).after

    def reports(self, change: Tensor | float = 0.0, here: Seen | None = None) -> Tensor:
        """(N, T, K) where `change` is added to the stream after the site's block. One that is asked about another model has no
        part in the change."""
        if self.apart is not None:
            return self.reporter(self.apart)[0]
        return self.reporter((here or self.here).after + change)[0]


@torch.no_grad()
def natural(reporter: Reporter, subject: GPT, neurons: Neurons, heldout: Heldout) -> list[dict[str, float]]:
    """For each neuron, on held-out text as it is; errors in standard deviations of the neuron before fine-tuning.

    mse = bias2 + variance, r, r2 = 1 - mse / variance of the activation, sd of the activation, and r2 of the blindfolded: the
    neuron is held at its mean everywhere, and what is then reported is held against what it would have been. lm_loss: of the
    reporter, nats a token.
    """
    asked = Asked(reporter, subject, neurons, heldout.x)
    logits = reporter(asked.here.after if asked.apart is None else asked.apart)[1]
    loss = F.cross_entropy(logits.flatten(0, 1), heldout.y.flatten()).item()
    told, own = (each[:, SKIPPED:].flatten(0, 1).double().numpy() for each in (asked.reports(), asked.own))
    rows = []
    for place in range(len(neurons)):
        hold = -asked.own[..., place, None] * neurons.write(subject)[place]
        blind = asked.reports(hold)[:, SKIPPED:, place].flatten().double().numpy()
        rows.append(
            {
                **errors(told[:, place], own[:, place]),
                "blind_r2": errors(blind, own[:, place])["r2"],
                "lm_loss": loss,
            }
        )
    return rows


def errors(told: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """mse, bias2, variance, r, r2 and sd of reports (n,) of true values (n,)."""
    wrong = told - true
    moves = told.std() > 0 and true.std() > 0
    return {
        "mse": float((wrong**2).mean()),
        "bias2": float(wrong.mean() ** 2),
        "variance": float(wrong.var()),
        "r": float(np.corrcoef(told, true)[0, 1]) if moves else np.nan,
        "r2": float(1 - (wrong**2).mean() / true.var()) if true.std() > 0 else np.nan,
        "sd": float(true.std()),
    }


@torch.no_grad()
def slope(asked: Asked, step: Tensor) -> np.ndarray:
    """What each of K reports at the last position does for each standard deviation that is added there: (K,).

    step: (C,) what one standard deviation adds to the stream. Mean over texts of (report up - report down) / (2 CHANGE).
    """
    change = torch.zeros_like(asked.here.after)
    change[:, -1] = CHANGE * step
    difference = asked.reports(change)[:, -1] - asked.reports(-change)[:, -1]
    return (difference / (2 * CHANGE)).double().mean(0).numpy()


@torch.no_grad()
def inward(asked: Asked, place: int) -> tuple[float, float]:
    """The same where the neuron is moved from its inputs: the stream before the MLP goes along the weights that the neuron reads with,
    as far as one standard deviation of it moves the stream after.

    Returns:
        The change of the report over that push, and over the change of the neuron that came of it, by least squares over texts.
        NaN for a site that has no weights of its own to read with.
    """
    neurons, gpt = asked.neurons, asked.subject
    if neurons.site.kind != "neuron":
        return float("nan"), float("nan")
    into = block_of(gpt, neurons.site.block).up.weight[neurons.units[place]]
    change = torch.zeros_like(asked.here.stream)
    change[:, -1] = CHANGE * into * neurons.write(gpt)[place].norm() / into.norm()
    up, down = (mlp(gpt, asked.here.stream + sign * change, neurons.site) for sign in (1, -1))
    moved = (up.values - down.values)[:, -1, neurons.units[place]] / neurons.sd[place]
    told = (asked.reports(here=up) - asked.reports(here=down))[:, -1, place]
    return float(told.mean() / (2 * CHANGE)), float((told * moved).sum() / (moved**2).sum())


@torch.no_grad()
def slopes(
    reporter: Reporter, subject: GPT, choice: Choice, neurons: Neurons, heldout: Heldout, seed: int
) -> list[dict[str, float]]:
    """For each neuron: `slope` of its report when it is changed, and what stands beside it.

    slope_in: what the report does when the stream is pushed as far along the neuron's inputs; follows_in: over what the neuron does
    then. slope_foreign, slope_random: root mean square over DRAWS when other neurons of the block, drawn, or random directions
    push the stream as far; overlap: of these neurons, root mean square cosine of what they write with what this one writes.
    """
    asked, write = Asked(reporter, subject, neurons, heldout.cut), neurons.write(subject)
    random = generator(seed, Stream.DIRECTIONS, FIRST)
    rows = []
    for place in range(len(neurons)):
        unit = write[place] / write[place].norm()
        foreign = F.normalize(
            written_by(subject, neurons.site, choice.others(neurons, DRAWS, random)), dim=-1
        )
        drawn = torch.from_numpy(random.normal(size=(DRAWS, len(unit))).astype(np.float32))
        pushed = {
            kind: rms([slope(asked, write[place].norm() * one)[place] for one in F.normalize(kinds, dim=-1)])
            for kind, kinds in (("foreign", foreign), ("random", drawn))
        }
        into, follows = inward(asked, place)
        rows.append(
            {
                "slope": float(slope(asked, write[place])[place]),
                "slope_in": into,
                "follows_in": follows,
                **{f"slope_{kind}": value for kind, value in pushed.items()},
                "overlap": rms((foreign @ unit).tolist()),
            }
        )
    return rows


def rms(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def table_r2(
    known: tuple[np.ndarray, np.ndarray], asked: tuple[np.ndarray, np.ndarray]
) -> dict[str, np.ndarray]:
    """R2 (K,) of naming the mean activation at the same token, and at the same pair of tokens, learned on some texts, asked on
    others.

    known, asked: tokens (n, T) and activations (n, T, K). A pair that was never seen counts as its last token does.
    """
    (last, pair), (asked_last, asked_pair) = (
        (x[:, SKIPPED:].ravel(), x[:, SKIPPED - 1 : -1].ravel() << 32 | x[:, SKIPPED:].ravel())
        for x, _ in (known, asked)
    )
    given, true = (values[:, SKIPPED:].reshape(-1, values.shape[-1]) for _, values in (known, asked))
    found: dict[str, list[float]] = {"token": [], "pair": []}
    for column, wanted in zip(given.T, true.T, strict=True):
        one = _told(last, column, asked_last, np.full(len(asked_last), column.mean()))
        found["token"].append(_r2(one, wanted))
        found["pair"].append(_r2(_told(pair, column, asked_pair, one), wanted))
    return {name: np.array(values) for name, values in found.items()}


def _told(keys: np.ndarray, values: np.ndarray, asked: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """For each key that is asked the mean of the values that have it and of its prior."""
    names, index = np.unique(keys, return_inverse=True)
    count, total = np.bincount(index), np.bincount(index, weights=values)
    at = np.searchsorted(names, asked).clip(max=len(names) - 1)
    return np.where(names[at] == asked, (total[at] + prior) / (count[at] + 1), prior)


def linear_r2(known: tuple[np.ndarray, np.ndarray], asked: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """R2 (K,) of a ridge regression, fitted on features (n, F) and activations (n, K), asked on others."""
    centre = known[0].mean(0)
    x, wanted = known[0] - centre, known[1] - known[1].mean(0)
    square = x.T @ x
    weights = np.linalg.solve(
        square + RIDGE * np.trace(square) / len(square) * np.eye(len(square)), x.T @ wanted
    )
    told = (asked[0] - centre) @ weights + known[1].mean(0)
    return np.array([_r2(one, true) for one, true in zip(told.T, asked[1].T, strict=True)])


def _r2(told: np.ndarray, true: np.ndarray) -> float:
    return float(1 - ((told - true) ** 2).mean() / true.var())
