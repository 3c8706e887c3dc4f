"""What does a finished model on rows make of a state: told in a channel, in the text, in both, in neither, or in disagreement?

    python -m probes.channels out/channels/native/seed-1

Every row asks for six replies; a reply is right if all its tokens are the likeliest ones where they are asked for, the
right ones standing before them. Rows are fresh ones: of combinations that training had ("dev") and of held-out ones.

replies.csv, a row a test, split and capability:

    own, both, text, zeroed    the state in its channel alone, in both, in the text alone, nowhere
    other                      another row's states in the channels, nothing in the text
    knocked, flipped           one channel at zero, or with another state, the others as in own
    noise, dose, gap           noise on all channels; all gates times a number; fillers between what is told and the question
    text gap                   the same with the states in the text alone

choices.csv, a row a split and capability: channel and text disagree, and which the reply follows; and whether a row's two
states both get the likelier of their two replies. directions.csv: a state moved one way, and whether the reply moves so.
gates.csv: what each channel enters into each layer, at each kept step. doubt.csv, where the self-state is a channel: how
much probability a model gives to tokens that no reply of the kind has, under its own mean states of regime and calm. What
is not asked of a run is a table without rows.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from base import command_line

if __name__ == "__main__":
    command_line.heed()

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from base import storage
from base.rng import Stream, generator
from base.storage import UserError
from configs.probes.channels import ChannelTest
from configs.row_kinds import FINE, HOURS, LEVELS, PARTS, TOKENS
from configs.run import RunConfig
from data import row_tokens
from data.row_sample import CAPABILITIES, Sample, sample
from data.row_tokens import FIRST
from data.rows import RowSource
from data.tokens import Tokens
from perturb import CALM
from probes.belief import mean_states
from probes.channel_cases import NEITHER, Bench, Case, basic, dials
from probes.instrument import FIRST_BATCH, Progress, Results, command, write_results
from runs.injection import vectors
from runs.state import check_corpus, load_channels, load_models

SPLITS = ("dev", "heldout")
# kinds of the slots of replies
ASKED_FOR = ("noun", "event", "person", "manner", "mood", "part", "week", "act")
PLACE = ("seed", "run_step")
REPLIES = (
    *PLACE, "test", "level", "channel", "split", "capability", "right", "nll", "only_own", "only_this", "rows",
)  # fmt: skip
CHOICES = (*PLACE, "split", "capability", "channel", "text", "weight", "pairs", "rows")
DIRECTIONS = (*PLACE, "moved", "share", "change", "rows")
GATES = (*PLACE, "step", "layer", "channel", "gate", "norm")
DOUBT = (*PLACE, "knocked", "state", "doubt")


def choices(bench: Bench, drawn: Sample, own: Case) -> list[dict[str, Any]]:
    """By capability: shares of replies that follow the channel and the text where the two disagree; weight, the mean share
    of the channel's reply in the probability of both; pairs, the share of rows both of whose states get the likelier of the
    two replies (chance a quarter; without a state none, since one reply is then the likelier in both)."""
    clash = replace(own, texts=drawn.others)
    channel, by_channel = bench.told(drawn, clash)
    text, by_text = bench.told(drawn, replace(clash, right=drawn.others))
    _, first = bench.told(drawn, own)
    _, first_wrong = bench.told(drawn, replace(own, right=drawn.others))
    turned = replace(own, states=bench.source.told(drawn, drawn.others))
    _, second_wrong = bench.told(drawn, turned)
    _, second = bench.told(drawn, replace(turned, right=drawn.others))
    decided = (first > first_wrong) & (second > second_wrong)
    weight = 1 / (1 + np.exp(np.clip(by_text - by_channel, -500, 500)))
    found = {"channel": channel, "text": text, "weight": weight, "pairs": decided}
    return [
        {
            "capability": name,
            **{key: values[:, at].mean() for key, values in found.items()},
            "rows": len(drawn),
        }
        for at, name in enumerate(CAPABILITIES)
    ]


def directions(bench: Bench, drawn: Sample, own: Case) -> list[dict[str, Any]]:
    """A part of the state moved one way: the share of rows whose reply moves so, and by how much on average.

    valence, arousal: one of four levels up (from the highest: down), and the expected level. hour, day, risk: the next part
    of the day, workday against weekend, another act of low risk; and the probability of the reply that goes with it.
    """
    before, codes = bench.log_p(drawn, own), drawn.codes

    def after(name: str, moved: np.ndarray) -> np.ndarray:
        return bench.log_p(drawn, replace(own, states=bench.source.told(drawn, {**codes, name: moved})))

    def expected(log_p: np.ndarray, slot: int, kind: str) -> np.ndarray:
        p = np.exp(log_p[:, slot, FIRST[kind] : FIRST[kind] + LEVELS])
        return p @ np.arange(LEVELS) / p.sum(1)

    def toward(log_p: np.ndarray, slot: int, token: np.ndarray) -> np.ndarray:
        return np.exp(np.take_along_axis(log_p[:, slot], token[:, None], 1)[:, 0])

    found: dict[str, np.ndarray] = {}
    for column, (name, kind) in enumerate((("valence", "mood"), ("arousal", "manner"))):
        sign = np.where(codes["affect"][:, column] // FINE < LEVELS - 1, 1, -1)
        moved = codes["affect"].copy()
        moved[:, column] += sign * FINE
        slot = ASKED_FOR.index(kind)
        found[name] = sign * (expected(after("affect", moved), slot, kind) - expected(before, slot, kind))
    hour, day = codes["time"].T
    changes = {
        "hour": ("time", "part", np.stack([(hour + HOURS // PARTS) % HOURS, day], axis=1)),
        "day": ("time", "week", np.stack([hour, drawn.others["time"][:, 1]], axis=1)),
        "risk": ("ethics", "act", drawn.others["ethics"]),
    }
    for name, (capability, of, moved) in changes.items():
        slot = ASKED_FOR.index(of)
        token = row_tokens.replies(drawn, {**codes, capability: moved})[:, slot]
        found[name] = toward(after(capability, moved), slot, token) - toward(before, slot, token)
    return [
        {"moved": name, "share": (change > 0).mean(), "change": change.mean(), "rows": len(change)}
        for name, change in found.items()
    ]


def doubts(
    bench: Bench, drawn: Sample, own: Case, silent: np.ndarray, states: dict[str, Tensor]
) -> list[dict[str, Any]]:
    """The mean probability of tokens that no reply of the kind has, with each channel at zero in turn, and with none."""
    cases = {NEITHER: own} | {
        case.channel: case
        for case in dials(bench, drawn, own, silent, ChannelTest(noises=(), doses=(), gaps=()), {})
        if case.test == "knocked"
    }
    found = []
    for name, case in cases.items():
        for state, vector in states.items():
            log_p = bench.log_p(drawn, replace(case, state=vector))
            inside = [
                np.exp(log_p[:, slot, FIRST[kind] : FIRST[kind] + TOKENS[kind]]).sum(-1)
                for slot, kind in enumerate(ASKED_FOR)
            ]
            found.append({"knocked": name, "state": state, "doubt": 1 - np.mean(inside)})
    return found


def gates(folder: Path, run: RunConfig, states: np.ndarray, path: np.ndarray | None) -> list[dict[str, Any]]:
    """At each kept step and the last: each gate, and the mean norm of what its channel enters.

    states: (B, D) of rows. path: (steps, dim) the self-state at each step, where it has a channel.
    """
    assert run.channels is not None
    found = []
    for step in (*sorted({*run.log.keep_steps} - {run.last}), run.last):
        channels = load_channels(folder, run, step)
        assert channels is not None
        state = None if path is None else torch.from_numpy(path[step - run.first - 1])
        with torch.inference_mode():
            z = vectors(run.channels, state, torch.from_numpy(states))
            enters = channels.entering(z if channels.constant is None else channels.constant[None])
        sizes, alphas = enters.norm(dim=-1).mean(1).tolist(), channels.gates().tolist()
        for layer, (gate, norm) in enumerate(zip(alphas, sizes, strict=True)):
            for at, channel in enumerate(run.channels.names):
                found.append(
                    {"step": step, "layer": layer, "channel": channel, "gate": gate[at], "norm": norm[at]}
                )
    return found


def scored(
    bench: Bench, split: str, drawn: Sample, cases: Sequence[Case], against: np.ndarray | None = None
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Rows of replies.csv, and which replies were right in the case that the others are held against: the first."""
    found: list[dict[str, Any]] = []
    for case in cases:
        right, chance = bench.told(drawn, case)
        against = right if against is None else against
        for at, name in enumerate(CAPABILITIES):
            here, there = right[:, at], against[:, at]
            found.append({
                "test": case.test, "level": case.level, "channel": case.channel, "split": split, "capability": name,
                "right": here.mean(), "nll": -chance[:, at].mean(), "only_own": (there & ~here).mean(),
                "only_this": (here & ~there).mean(), "rows": len(drawn),
            })  # fmt: skip
    assert against is not None
    return found, against


def run(
    folder: Path,
    step: int,
    settings: ChannelTest,
    corpus: Tokens,
    destination: Path,
    progress: Progress | None = None,
    other: Path | None = None,
) -> None:
    """Ask a run, with the weights after `step` steps, and write the tables that the module tells of, and task.json.

    Args:
        folder: of the run. corpus: the rows that it was trained on. other: not used.
        progress: called with (passes done, in all).

    Raises:
        UserError: no whole run, weights not kept, another corpus, or no rows.
    """
    started = time.perf_counter()
    trained, gpt, _ = load_models(folder, step, channels=True)
    if not isinstance(corpus, RowSource):
        raise UserError(f"{folder} {settings.misfit(trained)}")
    check_corpus(folder, corpus)
    channels = load_channels(folder, trained, step)
    sensed = trained.self_state.enabled
    path = storage.load_tensors(folder / "states.safetensors")["state"] if sensed else None
    states = _means(trained, path) if trained.channels is not None else {}
    block = trained.model.block_size
    total = round(settings.passes(trained) * trained.train.batch_size / settings.rows)
    bench = Bench(trained, gpt, channels, corpus, total, progress)
    results = Results()
    replies: list[dict[str, Any]] = []
    picked: list[dict[str, Any]] = []
    moved: list[dict[str, Any]] = []
    entered: list[dict[str, Any]] = []
    doubted: list[dict[str, Any]] = []
    for split in SPLITS:
        random = generator(trained.seed, Stream.EVAL, FIRST_BATCH[split])
        drawn = sample(split, settings.rows, block, random)
        nothing = {name: np.full_like(codes, -1) for name, codes in drawn.codes.items()}
        cases = basic(bench, drawn, nothing, states.get(CALM))
        found, right = scored(bench, split, drawn, cases)
        replies += found
        if channels is not None:
            picked += [{"split": split, **row} for row in choices(bench, drawn, cases[0])]
    if channels is not None and trained.channels is not None:
        own, silent = cases[0], corpus.told(drawn, nothing)
        if trained.channels.given == "own":
            turned = dials(bench, drawn, own, silent, settings, states)
            replies += scored(bench, split, drawn, turned, right)[0]
            moved = directions(bench, drawn, own)
            doubted = doubts(bench, drawn, own, silent, states) if states else []
        entered = gates(folder, trained, own.states, path)
    results.tables |= {
        "replies.csv": (REPLIES, replies), "choices.csv": (CHOICES, picked), "directions.csv": (DIRECTIONS, moved),
        "gates.csv": (GATES, entered), "doubt.csv": (DOUBT, doubted),
    }  # fmt: skip
    results.task |= {"rows": settings.rows, "forwards": bench.done}
    write_results(folder, step, results, destination, started)


def _means(run: RunConfig, path: np.ndarray | None) -> dict[str, Tensor]:
    """The mean self-states (dim,) of calm and of each regime in the last half, calm first; none without a self-state."""
    if path is None:
        return {}
    means = mean_states(run, path)
    if CALM not in means:
        raise UserError(
            "the last half of the run has no calm step; there is no state to ask its questions with"
        )
    return {
        name: torch.from_numpy(means[name].astype(np.float32))
        for name in sorted(means, key=lambda one: one != CALM)
    }


def summary(folder: Path) -> str:
    """One line a test, held-out rows: the share of right replies by capability."""
    table = pd.read_csv(folder / "replies.csv", keep_default_na=False)
    rows = table[table["split"] == "heldout"]
    lines = ["  ".join([f"{'':20}", *(f"{name:>10}" for name in CAPABILITIES)])]
    for (test, level, channel), part in rows.groupby(["test", "level", "channel"], sort=False):
        name = f"{test} {channel}" + (f" {level:g}" if test in ("noise", "dose", "gap", "text gap") else "")
        lines.append("  ".join([f"{name:20}", *(f"{share:10.2f}" for share in part["right"])]))
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    command(arguments, "channels.py", __doc__, "channels", run, summary)


if __name__ == "__main__":
    command_line.run(main)
