"""How much of what sensing can earn does a run capture, weights frozen, in a world where all that can be known is known?

    python -m probes.floors out/floors/state/seed-1

What a life costs, and what is captured: probes/account.py.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from base import command_line

if __name__ == "__main__":
    command_line.heed()

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from base.rng import Stream, generator
from base.storage import UserError
from configs.probes.floors import Floors, World
from configs.run import RunConfig
from configs.world import Recurring
from data.process import Generated
from data.tokens import Tokens
from probes.account import KNOWN, Account, account, cross, log, told
from probes.belief_reading import Reading, r2, read_belief
from probes.closed_loop import AFRESH, Moment, Subject, live, living, open_subject
from probes.instrument import Progress, Results, command, write_results
from runs import observer
from runs.state import check_corpus

OWN = "own"
LATER = 1 << 42  # added to the seed of a life: another one, to fit on
STRETCH = 300  # steps of a life that are kept whole
RANDOM_DRAWS = 5
GRID = np.linspace(0, 1, 101)  # beliefs that a prediction is held against
PLACE = ("seed", "run_step")
COLUMNS = (*PLACE, "life", "part", "steps", "loss", "blind", "filter", "oracle", "captured", "lost")
CAUSE = (*PLACE, "move", "belief", "kl", "implied", "distance")
HELD = (*PLACE, "regime", "r2", "lag", "cosine")
PATH = (*PLACE, "step", "acts", "filter_belief", "decoded", "loss", "blind", "filter", "oracle")


def held(subject: Subject, life: RunConfig, fit: Account, scored: Account) -> list[dict[str, Any]]:
    """Rows of held.csv: what the state tells of the ideal observer's belief in each regime, fitted on another life.

    r2: of the belief that the observer holds of this step. lag: of the one that it held five steps earlier.
    cosine: between this regime's direction in the state and the other regime's; NaN where there is one regime.
    """
    assert fit.states is not None and scored.states is not None
    regimes = observer.regimes_of(life)
    readings = [read_belief(fit.states, fit.belief[:, column]) for column in range(1, len(regimes))]
    rows = []
    for column, reading in enumerate(readings, 1):
        decoded = scored.states @ reading.weight + reading.offset
        true = scored.belief[:, column]
        cosine = np.nan
        if len(readings) > 1:
            other = readings[-column]  # of two regimes, the other one
            lengths = np.linalg.norm(reading.slope) * np.linalg.norm(other.slope)
            cosine = float(reading.slope @ other.slope / max(lengths, 1e-12))
        late = r2(decoded[5:], true[:-5]) if len(true) > 5 else np.nan
        rows.append({"regime": regimes[column], "r2": r2(decoded, true), "lag": late, "cosine": cosine})
    return rows


def cause(
    subject: Subject, life: RunConfig, tokens: Generated, reading: Reading, settings: Floors
) -> list[dict[str, Any]]:
    """Rows of cause.csv: the state set to a belief b, or moved as far otherwise; are predictions the mixture under b?

    kl: KL(mixture under b || predictions), mean over positions. implied: the belief whose mixture predictions are closest to.
    move: "belief"; "random": a direction of equal norm, mean of several; "scrambled": through a rotated reader.
    """
    assert subject.self_state is not None
    reader = subject.self_state.reader.weight.detach().double().numpy()
    dim, size = reader.shape[1], np.linalg.norm(reading.slope)
    random = generator(subject.run.seed, Stream.DIRECTIONS, LATER)
    turned = np.linalg.qr(random.normal(size=(dim, dim)))[0]
    drawn = random.normal(size=(RANDOM_DRAWS, dim))
    drawn *= size / np.linalg.norm(drawn, axis=1, keepdims=True)
    moves = [("belief", reader, reading.slope), *(("random", reader, one) for one in drawn)]
    moves.append(("scrambled", reader @ turned, reading.slope))
    batches = [
        tokens.draw(
            "train", life.train.batch_size, life.model.block_size, generator(life.seed + LATER, Stream.EVAL, at)
        )[0]
        for at in range(settings.batches)
    ]  # fmt: skip
    odds = [tokens.odds(x) for x in batches]
    mixtures = [
        np.stack([observer.mixed(life, one, b) for b in GRID])
        for one in (o.reshape(-1, o.shape[-1])[::8] for o in odds)
    ]
    rows = []
    for b in np.linspace(0, 1, settings.beliefs):
        for name, through, slope in moves:
            state = reading.centre + (b - reading.mean) * slope
            bias = torch.from_numpy((through @ state).astype(np.float32))
            kl, against = 0.0, np.zeros(len(GRID))
            for x, one, mixed in zip(batches, odds, mixtures, strict=True):
                with torch.no_grad():
                    log_p = F.log_softmax(subject.gpt(torch.from_numpy(x), bias)[0], -1).double().numpy()
                best = observer.mixed(life, one, b)
                kl += float((best * (log(best) - log_p)).sum(-1).mean()) / len(batches)
                few = log_p.reshape(-1, log_p.shape[-1])[::8]
                against += (mixed * (log(mixed) - few)).sum(-1).mean(-1)
            distance = float(abs(b - reading.mean) * np.linalg.norm(slope))
            rows.append({
                "move": name, "belief": float(b), "kl": kl, "implied": float(GRID[against.argmin()]), "distance": distance,
            })  # fmt: skip
    return rows


def hand_coded(
    life: RunConfig, tokens: Generated, fit: Sequence[Moment], lived: Sequence[Moment]
) -> list[Moment]:
    """The rival without a state: the last five losses, through a logistic fitted on another life, to a temperature.

    Two temperatures, of calm and of corruption, are chosen on that life by loss; between them it goes by the probability.
    """
    from sklearn.linear_model import LogisticRegression

    def told_by(moments: Sequence[Moment]) -> tuple[np.ndarray, np.ndarray]:
        losses = np.array([0.0] * 5 + [moment.stats[0].item() for moment in moments])
        rows = np.stack([losses[at : at + 5] for at in range(len(moments))])
        return rows[5:], np.array([moment.regime == KNOWN for moment in moments])[5:]

    rows, acts = told_by(fit)
    if acts.all() or not acts.any():
        raise UserError("a life on which one regime acts throughout teaches nothing; take more fit_steps")
    logistic = LogisticRegression().fit(rows, acts)
    some = [(tokens.odds(moment.x), moment) for moment in fit[5::5]]
    chance = logistic.predict_proba(rows[::5])[:, 1]

    def cost(calm: float, corrupted: float) -> float:
        total = 0.0
        for (odds, moment), p in zip(some, chance, strict=True):
            true = observer.mixed(life, odds, float(moment.regime == KNOWN))
            total += cross(true, cooled(moment.log_p, calm + p * (corrupted - calm)).double().numpy())
        return total

    tried = np.linspace(0.5, 2.5, 21)
    first = min(tried, key=lambda one: cost(one, one))
    calm, corrupted = first, first
    for _ in range(2):
        calm = min(tried, key=lambda one: cost(one, corrupted))
        corrupted = min(tried, key=lambda one: cost(calm, one))
    ps = np.concatenate([np.full(5, 0.5), logistic.predict_proba(told_by(lived)[0])[:, 1]])
    return [
        Moment(**{**vars(moment), "log_p": cooled(moment.log_p, calm + p * (corrupted - calm))})
        for moment, p in zip(lived, ps, strict=True)
    ]


def cooled(log_p: torch.Tensor, temperature: float) -> torch.Tensor:
    """Predictions at another temperature."""
    return F.log_softmax(log_p / temperature, dim=-1)


def elsewhere(life: RunConfig, world: World) -> RunConfig:
    """A life in another world. UserError where its floors are not known."""
    assert isinstance(life.schedule, Recurring)
    schedule, regimes = life.schedule, life.regimes
    if world.rate is not None:
        schedule = schedule.model_copy(update={"enter": world.rate, "leave": world.rate})
    if world.regime is not None:
        if world.regime not in (KNOWN, "sensory_fog"):
            raise UserError(
                f"the floors under {world.regime} are not known; take bewilderment or sensory_fog"
            )
        schedule = schedule.model_copy(update={"regimes": (world.regime,)})
    if world.probability is not None:
        regimes = regimes.model_copy(
            update={
                "bewilderment": regimes.bewilderment.model_copy(update={"probability": world.probability})
            }
        )
    return life.model_copy(update={"schedule": schedule, "regimes": regimes})


def run(
    run: Path, step: int, settings: Floors, corpus: Tokens, destination: Path, progress: Progress | None = None,
    other: Path | None = None,
) -> None:  # fmt: skip
    """Live on with a run's last weights; write floors.csv, held.csv, cause.csv, path.csv, task.json.

    Raises:
        UserError: another source, or no checkpoint of the last step.
        RuntimeError: a loss below a floor.
    """
    started = time.perf_counter()
    subject = open_subject(run)
    check_corpus(run, corpus)
    assert isinstance(corpus, Generated)
    if np.allclose(corpus.transitions.sum(2).max(0), 1):
        raise UserError(f"{corpus.name} is a source without entropy: there is nothing to predict")
    life = living(subject)
    lived = list(live(subject, corpus, life, settings.life_steps))
    scored = account(life, corpus, lived)
    results = Results({"held.csv": (HELD, []), "cause.csv": (CAUSE, [])})
    rows, stretch = told(scored, OWN), np.full(len(scored.loss), np.nan)
    knows = KNOWN in observer.regimes_of(life)
    if subject.self_state is not None or not subject.run.injects:
        another = life.model_copy(update={"seed": life.seed + LATER})
        learned = list(live(subject, corpus, another, settings.fit_steps))
        if subject.self_state is None and knows:
            rows += told(account(life, corpus, hand_coded(life, corpus, learned, lived)), "hand-coded")
        elif subject.self_state is not None:
            fit = account(another, corpus, learned)
            results.tables["held.csv"] = HELD, held(subject, life, fit, scored)
            if knows and subject.channels is None:  # what is set by hand goes through the reader
                column = observer.regimes_of(life).index(KNOWN)
                assert fit.states is not None and scored.states is not None
                reading = read_belief(fit.states, fit.belief[:, column])
                stretch = scored.states @ reading.weight + reading.offset
                results.tables["cause.csv"] = CAUSE, cause(subject, life, corpus, reading, settings)
    if settings.sees_all(subject.run):
        for name, world in settings.worlds.items():
            there = elsewhere(life, world)
            rows += told(account(there, corpus, live(subject, corpus, there, settings.world_steps)), name)
    results.tables["floors.csv"] = COLUMNS, rows
    results.tables["path.csv"] = PATH, path(scored, stretch, life)
    results.task |= {
        "settings": settings.model_dump(mode="json"), "seed_of_life": life.seed, "afresh": AFRESH,
    }  # fmt: skip
    write_results(run, step, results, destination, started)


def path(scored: Account, decoded: np.ndarray, life: RunConfig) -> list[dict[str, Any]]:
    """Rows of path.csv: the first steps of the life, whole."""
    regimes = observer.regimes_of(life)
    column = regimes.index(KNOWN) if KNOWN in regimes else 0
    return [
        {
            "step": at, "acts": int(scored.acts[at]), "filter_belief": scored.belief[at, column], "decoded": decoded[at],
            **{name: getattr(scored, name)[at] for name in ("loss", "blind", "filter", "oracle")},
        }
        for at in range(min(STRETCH, len(scored.loss)))
    ]  # fmt: skip


def summary(folder: Path) -> str:
    """One line a life."""
    table = pd.read_csv(folder / "floors.csv")
    whole = table[table["part"] == "all"].to_dict("records")
    return "\n".join(
        f"{row['life']:12} loss {row['loss']:.4f} nats; blind {row['blind']:.4f}, filter {row['filter']:.4f}, "
        f"oracle {row['oracle']:.4f}; captured {row['captured']:.2f}"
        for row in whole
    )


def main(arguments: Sequence[str]) -> None:
    command(arguments, "floors.py", __doc__, "floors", run, summary)


if __name__ == "__main__":
    command_line.run(main)
