"""Ninety seconds: a small model with a self-state is trained beside one without, its state is watched, then set by hand.

    ./run.sh tour

Two runs of configs/recurring.toml, made short: half of the targets are replaced by random ones, on and off. One pair of one
seed is an illustration; what eight seeds and their controls say stands in README.md.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

from base import command_line

if __name__ == "__main__":
    command_line.heed()

import numpy as np
import torch

from base.storage import ROOT
from configs.suite import Suite, load_suite
from data.corpus import Corpus
from data.sources import SourceNotFound
from data.tokens import prepare
from perturb import CALM
from probes.instrument import Subject, batches, load_subject
from runs import folder as run_folder
from scripts.sample import generate, harmless
from self_state import position_stats
from study.request import EMBEDDED
from train import train

SUITE, STEPS = ROOT / "configs" / "recurring.toml", 1200
PAIR = {"calibrated_recurring": "with a self-state", "vanilla_recurring": "without"}
SHOWN, WIDE = 0.25, 75  # share of the steps, the last ones, in so many columns
LEVELS = " ▁▂▃▄▅▆▇█"


def line(values: np.ndarray) -> str:
    """Values in WIDE columns, each as a bar by its mean, the least empty and the largest full."""
    means = np.array([part.mean() for part in np.array_split(values, min(WIDE, len(values)))])
    heights = (means - means.min()) / max(float(np.ptp(means)), 1e-12)
    return "".join(LEVELS[round(height * (len(LEVELS) - 1))] for height in heights)


def trained(suite: Suite, out: Path) -> tuple[dict[str, Path], Corpus]:
    """The pair of runs by condition, and the text they were trained on."""
    folders = {}
    for condition, words in PAIR.items():
        run = suite.run(condition, 1)
        try:
            corpus = prepare(run, out / "data")
        except SourceNotFound:  # neither here nor on the network
            run = run.model_copy(update={"corpus": EMBEDDED})
            corpus = prepare(run, out / "data")
        with command_line.progress_bar(f"{words}, {run.last} steps") as progress:
            folders[condition] = train(run, corpus, out / "runs", progress)
    assert isinstance(corpus, Corpus)
    return folders, corpus


def watched(acts: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, float]:
    """The states (steps, D) along the line from their calm to their disturbed mean, which the steps before the shown ones give;
    and the share of the shown steps at which that lies on the right side of the middle. acts: (steps,) bool."""
    shown = round(SHOWN * len(acts))
    fit = slice(len(acts) // 4, -shown)
    calm, disturbed = states[fit][~acts[fit]].mean(0), states[fit][acts[fit]].mean(0)
    along = (states - (calm + disturbed) / 2) @ (disturbed - calm)
    return along, float(((along > 0) == acts)[-shown:].mean())


@torch.inference_mode()
def entropy(subject: Subject, corpus: Corpus, state: np.ndarray) -> float:
    """Of the predictions on held-out text with the state set by hand, in nats."""
    bias = subject.self_state.read(torch.from_numpy(state))
    found = []
    for tokens, targets in batches(subject, corpus, "heldout", 4):
        log_p = torch.log_softmax(subject.gpt(tokens, bias)[0], dim=-1)
        found.append(float(position_stats(log_p, targets)[1].mean()))
    return float(np.mean(found))


def main(arguments: Sequence[str]) -> None:
    parser = command_line.Parser(prog="tour.py", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("out/tour"), help="default out/tour")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of training (default {STEPS})")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    suite = load_suite(SUITE, [f"train.steps={given.steps}"])
    print(
        "A small language model learns to read. On and off, half of the targets it learns from are replaced by random letters.\n"
    )
    folders, corpus = trained(suite, given.out)
    folder, shown = folders["calibrated_recurring"], round(SHOWN * given.steps)
    logs = {words: run_folder.load_log(folders[name]) for name, words in PAIR.items()}
    subject = load_subject(folder, given.steps)
    own = logs["with a self-state"]
    acts = np.array([row["regime"] != CALM for row in own])
    along, right = watched(acts, subject.states)
    print(f"\nText: {corpus.name}. The last {shown} steps of training, from left to right:\n")
    print(f"  disturbed  {line(acts[-shown:].astype(float))}")
    print(f"  loss       {line(np.array([float(row['loss']) for row in own[-shown:]]))}")
    print(f"  self-state {line(along[-shown:])}")
    print(f"\nRead along one line, the state tells {right:.0%} of these steps right. Does the model use it?")
    print(
        "The weights are frozen now, and the state is set by hand to its mean while undisturbed, and while disturbed:\n"
    )
    late = np.arange(len(acts)) >= len(acts) // 2
    means = {
        "undisturbed": subject.states[~acts & late].mean(0),
        "disturbed": subject.states[acts & late].mean(0),
    }
    prompt = corpus.encode("\n")
    for name, state in means.items():
        bias = subject.self_state.read(torch.from_numpy(state)).detach()
        text = corpus.decode(generate(subject.gpt, prompt, 90, bias, 0.8, seed=1))
        print(
            f"  {name}: {entropy(subject, corpus, state):.2f} nats of doubt a letter on held-out text; it writes"
        )
        print(f"    {' / '.join(harmless(text).split(chr(10))).strip(' /')}\n")
    losses = {
        words: np.mean([float(row["loss"]) for row in log[-shown:] if row["regime"] == CALM])
        for words, log in logs.items()
    }
    told = ", ".join(f"{words} {loss:.3f}" for words, loss in losses.items())
    print(f"Loss of undisturbed training batches over those {shown} steps, nats a letter: {told}.")
    print("One pair of one seed: an illustration. What eight seeds and their controls say: README.md.\n")
    print("Go on:  ./run.sh all --quick                        the whole study, made small")
    print(f"        ./run.sh python scripts/steer.py {folder} page   set this model's state in a browser")


if __name__ == "__main__":
    command_line.run(main)
