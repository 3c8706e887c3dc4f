"""How does a step grow with each size, and what would the study cost with larger models? The tables of docs/SCALING.md.

    python scripts/growth.py        # minutes

Prints Markdown.
"""

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from base import command_line

if __name__ == "__main__":
    command_line.heed()

import numpy as np
import torch

from base.storage import ROOT
from configs import size
from configs.suite import Suite, load_suite
from configs.training import Model
from data.tokens import Tokens, prepare
from memory import MemoryValue
from runs.injection import Sensed
from scripts.bench import our_stepper
from study import phases

GROWTH: dict[str, tuple[str, tuple[int, ...]]] = {  # what grows: the setting, and its values
    "width": ("model.n_embd={}", (128, 256, 512, 768)),
    "sequences a batch": ("train.batch_size={}", (6, 12, 24, 48)),
    "numbers in the state": ("self_state.dim={}", (32, 128, 512, 2048)),
    "states remembered": ("self_state.memory={{kind='buffer', length={}, stride=1}}", (64, 512, 4096, 32768)),
    "seeds": ("seeds={}", (1, 2, 4)),
}
SHAPES = {  # a model of about so many parameters: layers, heads, width, block, vocabulary, sequences a step
    "0.8 M": (4, 4, 128, 64, 65, 12),
    "10 M": (6, 6, 384, 256, 65, 64),
    "124 M": (12, 12, 768, 1024, 50_257, 480),
    "1.5 B": (48, 25, 1600, 1024, 50_257, 480),
}
GPU = 1e14  # floating-point operations a second that a large GPU may reach with such steps: assumed, not measured
MICRO = 2048  # tokens of a micro-batch there
STEPS_A_POINT = 3


def cpu_seconds(suite: Suite, condition: str, tokens: Tokens) -> float:
    """Seconds of the processor for one step of each of a suite's seeds, the least of a few; a memory is full from the start."""
    total = 0.0
    for seed in range(1, suite.seeds + 1):
        run = suite.run(condition, seed)
        step, now = our_stepper(run, tokens)
        remembers = run.self_state.memory
        if remembers.kind == "buffer":
            past = torch.randn(remembers.length, run.self_state.dim)
            full = MemoryValue(past, torch.tensor(remembers.length * remembers.stride + 1))
            assert isinstance(now.value, Sensed)
            now.value = replace(now.value, state=replace(now.value.state, memory=full))
        took = []
        for index in range(1, STEPS_A_POINT + 2):  # none of which measures the state's effect
            begun = time.process_time()
            step(index)
            took.append(time.process_time() - begun)
        total += min(took[1:])
    return total


def growth(path: Path, condition: str, out: Path) -> None:
    """Print, as Markdown, how a step grows with each size, and what the study would cost with larger models."""
    torch.set_num_threads(1)
    plain = ["train.dtype=float32", "seeds=1", "log.effect_interval=1000"]
    suite = load_suite(path, plain)
    tokens = prepare(suite.run(condition, 1), out / "data")
    usual = cpu_seconds(suite, condition, tokens)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kilobytes, but on a Mac
    rows = []
    for name, (setting, values) in GROWTH.items():
        took = [
            cpu_seconds(load_suite(path, [*plain, setting.format(value)]), condition, tokens)
            for value in values
        ]
        slope = np.polyfit(np.log(values), np.log(took), 1)[0]
        rows.append(
            f"| {name} | {', '.join(map(str, values))} | {', '.join(f'{1e3 * one:.1f}' for one in took)} | {slope:.2f} |"
        )
    print("| what grows | from, to | ms of one core a step | fitted exponent |\n| --- | --- | --- | --- |")
    print("\n".join(rows))

    small = suite.run(condition, 1)
    speed = size.step_gflop(small) / usual  # GFLOP a second
    runs = [
        (one.seeds, run)
        for one in map(load_suite, phases.default_suites())
        for run in one.conditions.values()
    ]
    steps = sum(seeds * (run.last - run.first) for seeds, run in runs)
    hours = sum(seeds * (run.last - run.first) * size.step_gflop(run) for seeds, run in runs) / speed / 3600
    print(
        f"\nThe study as it stands: {steps:,} training steps in {sum(seeds for seeds, _ in runs):,} runs, about {hours:,.0f} "
        "core-hours at this speed."
    )
    print(
        f"A step at the default size: {1e3 * usual:.1f} ms of one core, {speed:.1f} GFLOP/s; memory at most {peak / 1e6:.0f} MB.\n"
    )
    print("| parameters | tokens a step | GFLOP a step | a worker's memory, GB | a step, s of one core | the study, core-hours "
          f"| the study, hours of a GPU at {GPU:.0e} FLOP/s |\n| --- | --- | --- | --- | --- | --- | --- |")  # fmt: skip
    for name, (layers, heads, width, block, vocabulary, sequences) in SHAPES.items():
        sizes = Model(n_layer=layers, n_head=heads, n_embd=width, block_size=block, bias=vocabulary > 65)
        few = small.train.model_copy(update={"batch_size": min(sequences, MICRO // block), "grad_accum": 1})
        large = small.model_copy(
            update={"model": sizes, "train": few, "tokenizer": "gpt2" if vocabulary > 65 else "char"}
        )
        weights = size.weights(large, vocabulary)
        gflop = 6e-9 * sequences * block * weights
        print(
            f"| {name} ({weights:,}) | {sequences * block:,} | {gflop:,.1f} | {size.memory(large) / 1e9:.1f} | {gflop / speed:,.2f} "
            f"| {steps * gflop / speed / 3600:,.0f} | {steps * gflop * 1e9 / GPU / 3600:,.1f} |"
        )


def main(arguments: Sequence[str]) -> None:
    parser = command_line.Parser(
        prog="growth.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", type=Path, default=ROOT / "configs/shakespeare.toml")
    parser.add_argument("--condition", default="self")
    parser.add_argument("--out", type=Path, default=Path("out"))
    given = parser.parse_args(arguments)
    growth(given.suite, given.condition, given.out)


if __name__ == "__main__":
    command_line.run(main)
