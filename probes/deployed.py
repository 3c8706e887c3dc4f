"""A finished run lives on in its world and is then put to use in calm, weights frozen: is it the better model?

    python -m probes.deployed out/recurring/calibrated_recurring/seed-1

In a fresh life under the run's own schedule the state is fed by what it measures (probes/closed_loop.py), or it is set:

    live        its own course
    elsewhere   its own course in another life, whose regimes come at other times
    mean, calm, corrupted
                the mean state of another life; of that life's calm steps; of its corrupted ones
    constant    the best of eleven states on the line from calm to corrupted, chosen on that other life

Then clean held-out text is predicted under each set state, at temperature 1 and at the best temperature, chosen on dev text.
A run without a state has its course alone: what its constant bias, or none, gives.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from base import command_line

if __name__ == "__main__":
    command_line.heed()

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from base.rng import Stream
from base.storage import UserError
from configs.probes.deployed import Deployed
from configs.run import RunConfig
from configs.world import CALM
from data.tokens import Tokens
from probes.closed_loop import SHADOW, Moment, Set, Subject, live, living, open_subject
from probes.instrument import CPU, FIRST_BATCH, Progress, Results, command, write_results
from runs.evaluate import batch
from runs.state import check_corpus

COLUMNS = ("seed", "run_step", "way", "part", "loss", "temperature")
LINE = np.linspace(0, 1, 11)  # of the way from the calm state to the corrupted one
TEMPERATURES = np.linspace(0.7, 1.3, 25)
LATER = 1 << 42  # added to the seed of a life: another one, to fit on


def losses(moments: Sequence[Moment]) -> np.ndarray:
    """The loss of each step of a life in nats a token, (steps,)."""
    return np.array([_nll(moment.log_p, torch.from_numpy(moment.y)) for moment in moments])


def _nll(log_p: Tensor, y: Tensor) -> float:
    return -log_p.gather(-1, y[..., None]).mean().item()


def centroids(moments: Sequence[Moment]) -> dict[str, Tensor]:
    """The mean states (D,) of a life: of all steps, of calm, of the others. UserError where it has none of one kind."""
    states = torch.stack([moment.state for moment in moments if moment.state is not None]).detach()
    calm = torch.tensor([moment.regime == CALM for moment in moments])
    if calm.all() or not calm.any():
        raise UserError(
            "a life of one kind of steps alone has no mean state of the other; take more fit_steps"
        )
    return {"mean": states.mean(0), "calm": states[calm].mean(0), "corrupted": states[~calm].mean(0)}


def best_constant(
    subject: Subject, corpus: Tokens, life: RunConfig, settings: Deployed, found: dict[str, Tensor]
) -> Tensor:
    """The state on the line from calm to corrupted with the least mean loss over a life."""
    line = [found["calm"] + float(share) * (found["corrupted"] - found["calm"]) for share in LINE]
    few = max(1, settings.fit_steps // 2)
    costs = [losses(list(live(subject, corpus, life, few, fixed(state)))).mean() for state in line]
    return line[int(np.argmin(costs))]


def fixed(state: Tensor) -> Set:
    """A state that stands, whatever happens."""
    return lambda step, regime, reached: state


def parts_of(way: str, moments: Sequence[Moment]) -> list[dict[str, Any]]:
    """Rows of a life: its mean loss over all steps, over the calm ones and over the others."""
    cost, calm = losses(moments), np.array([moment.regime == CALM for moment in moments])
    chosen = {"all": np.ones_like(calm), "calm": calm, "perturbed": ~calm}
    return [
        {"way": way, "part": part, "loss": float(cost[at].mean()), "temperature": 1.0}
        for part, at in chosen.items()
        if at.any()
    ]


def clean(
    subject: Subject, corpus: Tokens, settings: Deployed, way: str, state: Tensor | None
) -> list[dict[str, Any]]:
    """Rows of clean held-out text under a state: at temperature 1, and at the best one on as much dev text."""

    def cost(split: str) -> np.ndarray:
        found = np.zeros(len(TEMPERATURES) + 1)
        for at in range(settings.heldout_batches):
            x, y = batch(
                corpus, split, subject.run, subject.run.seed, Stream.EVAL, FIRST_BATCH[split] + at, CPU
            )
            with torch.no_grad():
                logits = subject.gpt(x, bias_of(subject, state))[0]
            for index, temperature in enumerate((1.0, *TEMPERATURES)):
                found[index] += _nll(F.log_softmax(logits / temperature, -1), y) / settings.heldout_batches
        return found

    chosen, heldout = int(cost("dev")[1:].argmin()), cost("heldout")
    return [
        {"way": way, "part": "clean", "loss": heldout[0], "temperature": 1.0},
        {
            "way": way,
            "part": "clean, best temperature",
            "loss": heldout[1 + chosen],
            "temperature": TEMPERATURES[chosen],
        },
    ]


def bias_of(subject: Subject, state: Tensor | None) -> Tensor | None:
    """What enters the embeddings under a state."""
    if subject.self_state is None or state is None:
        return subject.bias
    return subject.self_state.read(state)


def run(
    run: Path,
    step: int,
    settings: Deployed,
    corpus: Tokens,
    destination: Path,
    progress: Progress | None = None,
    other: Path | None = None,
) -> None:
    """Write deployed.csv and task.json of a run with its last weights.

    Raises:
        UserError: another corpus, or no checkpoint of the last step.
    """
    started = time.perf_counter()
    subject = open_subject(run)
    check_corpus(run, corpus)
    life, results = living(subject), Results()
    own = list(live(subject, corpus, life, settings.life_steps))
    rows = parts_of("live", own)
    if subject.value is None:
        rows += clean(subject, corpus, settings, "live", None)
    else:
        another = life.model_copy(update={"seed": life.seed + LATER})
        found = centroids(list(live(subject, corpus, another, settings.fit_steps)))
        found["constant"] = best_constant(subject, corpus, another, settings, found)
        far = life.model_copy(update={"seed": life.seed + SHADOW})
        course = [one.state for one in live(subject, corpus, far, settings.life_steps)]
        ways: dict[str, Callable[[int, str, Tensor], Tensor]] = {
            name: fixed(state) for name, state in found.items()
        }
        ways["elsewhere"] = lambda at, regime, reached: _there(course[at])
        for way, set_state in ways.items():
            rows += parts_of(way, list(live(subject, corpus, life, settings.life_steps, set_state)))
        for way, state in found.items():
            rows += clean(subject, corpus, settings, way, state)
    results.tables["deployed.csv"] = COLUMNS, rows
    write_results(run, step, results, destination, started)


def _there(state: Tensor | None) -> Tensor:
    assert state is not None
    return state.detach()


def summary(folder: Path) -> str:
    """One line a way of setting the state."""
    table = pd.read_csv(folder / "deployed.csv").pivot_table(
        index="way", columns="part", values="loss", sort=False
    )
    return table.round(4).to_string()


def main(arguments: Sequence[str]) -> None:
    command(arguments, "deployed.py", __doc__, "deployed", run, summary)


if __name__ == "__main__":
    command_line.run(main)
