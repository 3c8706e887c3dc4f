"""How fast is a step? Ours with everything it logs, beside a plain nanoGPT step, in turn in one run.

    python scripts/bench.py [--rounds 6] [--steps 15] [--condition self]
    python scripts/bench.py --growth        # how a step grows with each size, and what the study would cost at others

Prints medians over rounds and their ratios; absolute times of shared machines mean little, ratios within one run
more. The plain step is vanilla nanoGPT's: fused-attention call, default AdamW, float32, all cores. Ours is
`train.train_step` on one thread, alone and as many at once as there are cores ("whole machine"), statistics, self-state,
state effect and held-out loss included in their proper share of steps.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from base import command_line

if __name__ == "__main__":
    command_line.heed()

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import perturb
import train
from base.rng import Stream
from base.storage import ROOT
from configs import size
from configs.run import Model, RunConfig
from configs.suite import Suite, load_suite
from configs.toml_file import ConfigError
from data.tokens import Tokens, prepare
from memory import MemoryValue
from runs import evaluate, number_type
from runs.injection import Sensed
from runs.state import Training, start
from study import phases


class PlainBlock(nn.Module):
    """A transformer block with PyTorch's fused attention call."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, bias=False)
        self.norm2 = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width, bias=False), nn.GELU(), nn.Linear(4 * width, width, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        parts = self.qkv(self.norm1(x)).split(C, dim=2)
        q, k, v = (
            part.view(B, T, self.heads, C // self.heads).transpose(1, 2) for part in parts
        )  # (B, nh, T, hs)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).contiguous().view(B, T, C))
        return x + self.mlp(self.norm2(x))


class PlainGPT(nn.Module):
    def __init__(self, sizes: Model, vocab_size: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, sizes.n_embd)
        self.positions = nn.Embedding(sizes.block_size, sizes.n_embd)
        self.blocks = nn.Sequential(*(PlainBlock(sizes.n_embd, sizes.n_head) for _ in range(sizes.n_layer)))
        self.norm = nn.LayerNorm(sizes.n_embd, bias=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, 0, 0.02)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = self.tokens(x) + self.positions(torch.arange(x.shape[1]))
        logits = F.linear(self.norm(self.blocks(h)), self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1), y.flatten())


def plain_stepper(run: RunConfig, tokens: Tokens) -> Callable[[int], None]:
    """One plain training step a call: draw, forward, backward, clip, step."""
    torch.manual_seed(0)
    model = PlainGPT(run.model, tokens.vocab_size)
    rate, decay = run.train.learning_rate, run.train.weight_decay
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=decay)
    device = torch.device("cpu")

    def step(index: int) -> None:
        x, y = evaluate.batch(tokens, "train", run, 1, Stream.BATCH, index, device)
        optimizer.zero_grad(set_to_none=True)
        loss = model(x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), run.train.grad_clip)
        optimizer.step()
        loss.item()

    return step


def our_stepper(
    run: RunConfig, tokens: Tokens, timings: dict[str, float]
) -> tuple[Callable[[int], None], Training]:
    """One `train.train_step` a call, with the log row and evaluations that it makes; and the run that it advances."""
    device = torch.device("cpu")
    torch.set_flush_denormal(True)
    now = start(run, tokens, device)
    dtype = getattr(torch, run.train.dtype)
    probe, _ = evaluate.batch(
        tokens, "heldout", run, 0, Stream.EVAL, evaluate.PROBE, device, run.log.probe_sequences
    )

    def step(index: int) -> None:
        now.log(train.train_step(now, index, perturb.CALM, tokens, dtype, probe, timings))

    return step, now


def seconds_a_step(step: Callable[[int], None], first: int, count: int) -> float:
    started = time.perf_counter()
    for index in range(first, first + count):
        step(index)
    return (time.perf_counter() - started) / count


def product_seconds(run: RunConfig) -> float:
    """Seconds of one step's matrix products alone, one thread, float32: the floor under any step."""
    width, rows = run.model.n_embd, run.model.block_size * run.train.batch_size
    total = 0.0
    for inner, outer in ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)):
        a, b = torch.randn(rows, inner), torch.randn(inner, outer)
        for _ in range(3):
            a @ b
        started = time.perf_counter()
        for _ in range(10):
            a @ b
        total += (time.perf_counter() - started) / 10
    return 3 * run.model.n_layer * total  # forward, and twice as much backward


def worker(run: RunConfig, tokens: Tokens, steps: int) -> None:
    """Time `steps` steps each time a line comes in; answer with seconds a step, evaluation's share, products alone."""
    torch.set_num_threads(1)
    timings = {"evaluation": 0.0}
    step, _ = our_stepper(run, tokens, timings)
    seconds_a_step(step, 0, 3)
    done = 3
    print("ready", flush=True)
    for _ in sys.stdin:
        before = timings["evaluation"]
        each = seconds_a_step(step, done, steps)
        done += steps
        share = (timings["evaluation"] - before) / (each * steps)
        print(json.dumps([each, share, product_seconds(run)]), flush=True)


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
        step, now = our_stepper(run, tokens, {"evaluation": 0.0})
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


def ask(workers: Sequence[subprocess.Popen[str]]) -> list[list[float]]:
    """Set all given workers going at once, and wait for all."""
    for process in workers:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return [json.loads(process.stdout.readline()) for process in workers if process.stdout is not None]


def main(arguments: Sequence[str]) -> None:
    parser = command_line.Parser(prog="bench.py", description="Time our training step against a plain one.")
    parser.add_argument("--suite", type=Path, default=ROOT / "configs/shakespeare.toml")
    parser.add_argument("--condition", default="self")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument(
        "--steps", type=int, default=50, help="our steps a round; the plain one takes half as many"
    )
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--growth", action="store_true", help="how a step grows with each size; minutes")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.rounds < 1 or given.steps < 10:
        raise ConfigError("--rounds must be at least 1 and --steps at least 10")
    if given.growth:
        growth(given.suite, given.condition, given.out)
        return
    # Held-out loss comes once in 250 steps; a round of 50 steps takes a fifth of one, on average, at its own price.
    suite = load_suite(given.suite, ["log.eval_interval=50", "log.eval_batches=4"])
    size.check(suite)
    run = suite.run(given.condition, 1)
    run = number_type.resolved(given.out, run)
    tokens = prepare(run, given.out / "data")
    if given.worker:
        worker(run, tokens, given.steps)
        return

    cores = os.cpu_count() or 1
    command = [sys.executable, __file__, "--worker", "--steps", str(given.steps), "--out", str(given.out)]
    command += ["--condition", given.condition, "--suite", str(given.suite)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(command, env=one_thread, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(cores)
    ]
    try:
        for process in workers:
            assert process.stdout is not None
            process.stdout.readline()
        torch.set_num_threads(cores)
        plain = plain_stepper(run, tokens)
        seconds_a_step(plain, 0, 5)
        table = []
        done = 5
        for _ in range(given.rounds):
            plain_time = seconds_a_step(plain, done, given.steps // 2)
            done += given.steps // 2
            ((one, _, floor),) = ask(workers[:1])
            each, share, _ = np.mean(ask(workers), axis=0)
            table.append((plain_time, one, each / cores, share, floor))
    finally:
        for process in workers:
            process.terminate()
    report(np.array(table), run, cores)


def report(table: np.ndarray, run: RunConfig, cores: int) -> None:
    """Print medians over rounds, ratios taken round by round."""
    plain, one, machine, share, floor = table.T
    print(
        f"{len(table)} rounds in turn, {cores} cores, our products in {run.train.dtype}; median [least, most]"
    )

    def line(name: str, values: np.ndarray, unit: str, scale: float = 1.0) -> None:
        low, middle, high = np.quantile(values * scale, [0, 0.5, 1])
        print(f"  {name:<58}{middle:8.2f} {unit:<3}[{low:.2f}, {high:.2f}]")

    line("plain nanoGPT step, float32, all cores", plain, "ms", 1e3)
    line("our step, one run on one thread, the other cores idle", one, "ms", 1e3)
    line(f"our step, {cores} runs at once, time of the machine a step", machine, "ms", 1e3)
    line("a step's float32 products alone, one thread, cores idle", floor, "ms", 1e3)
    line("ratio: one run / plain", one / plain, "")
    line("ratio: whole machine / plain (reach: 0.40)", machine / plain, "")
    line("evaluation and logging, share of a run (reach: 15)", share, "%", 100)


if __name__ == "__main__":
    command_line.run(main)
