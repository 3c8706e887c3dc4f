"""How fast is a step? Ours with everything it logs, beside a plain nanoGPT step, in turn in one run.

    python scripts/bench.py [--rounds 6] [--steps 15] [--condition self]

Prints medians over rounds and their ratios; absolute times of shared machines mean little, ratios within one run
more. The plain step is vanilla nanoGPT's: fused-attention call, default AdamW, float32, all cores. Ours is
`train.train_step` on one thread, alone and as many at once as there are cores ("whole machine"), statistics, self-state,
state effect and held-out loss included in their proper share of steps.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
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
from configs.suite import load_suite
from configs.toml_file import ConfigError
from data.tokens import Tokens, prepare
from runs import evaluate, number_type, passes
from runs.state import start


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


def our_stepper(run: RunConfig, tokens: Tokens, timings: dict[str, float]) -> Callable[[int], None]:
    """One `train.train_step` a call, with the log row and evaluations that it makes."""
    device = torch.device("cpu")
    torch.set_flush_denormal(True)
    now = start(run, tokens, device)
    dtype = getattr(torch, run.train.dtype)
    probe, _ = evaluate.batch(
        tokens, "heldout", run, 0, Stream.EVAL, evaluate.PROBE, device, run.log.probe_sequences
    )

    def step(index: int) -> None:
        now.log(passes.alone(train.train_step(now, index, perturb.CALM, tokens, dtype, probe, timings)))

    return step


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
    step = our_stepper(run, tokens, timings)
    seconds_a_step(step, 0, 3)
    done = 3
    print("ready", flush=True)
    for _ in sys.stdin:
        before = timings["evaluation"]
        each = seconds_a_step(step, done, steps)
        done += steps
        share = (timings["evaluation"] - before) / (each * steps)
        print(json.dumps([each, share, product_seconds(run)]), flush=True)


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
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.rounds < 1 or given.steps < 10:
        raise ConfigError("--rounds must be at least 1 and --steps at least 10")
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
