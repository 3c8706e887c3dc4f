"""How fast is a step? Ours with everything it logs, beside a bare step of the same GPT and a plain nanoGPT step.

    python scripts/bench.py [--rounds 6] [--steps 50]     the table of docs/PERFORMANCE.md
    python scripts/bench.py --profile                     what a step's time goes to
    python scripts/bench.py --commands                    how soon the command lines answer

All kinds of step are timed in turn, in one run; the table holds medians over rounds of ratios taken round by round,
since times of shared machines mean little. *Ours* is `train.train_step` on one thread: statistics, self-state, state
effect and held-out loss in their proper share of steps. *Bare* is the same GPT and optimizer with nothing else. *Plain*
is nanoGPT's: fused-attention call, default AdamW, float32, all cores.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

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
from base import machine
from base.rng import Stream
from base.storage import ROOT
from configs.run import RunConfig
from configs.suite import load_suite
from configs.toml_file import ConfigError
from configs.training import Model
from data.tokens import Tokens, prepare
from runs import evaluate, number_type, passes
from runs.state import Training, start

Step = Generator[passes.Pass, Tensor, dict[str, Any]]
CPU, STACK = torch.device("cpu"), 4
SIZES = {"0.80M": ("shakespeare.toml", "self"), "0.11M": ("recurring.toml", "calibrated_recurring")}


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

    def step(index: int) -> None:
        x, y = evaluate.batch(tokens, "train", run, 1, Stream.BATCH, index, CPU)
        optimizer.zero_grad(set_to_none=True)
        loss = model(x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), run.train.grad_clip)
        optimizer.step()
        loss.item()

    return step


def begun(run: RunConfig, tokens: Tokens) -> tuple[Callable[[int], Step], Training]:
    """Each of a run's steps by its number, as `train.train_step` gives it; and the run that they advance."""
    now = start(run, tokens, CPU)
    dtype = getattr(torch, run.train.dtype)
    probe, _ = evaluate.batch(
        tokens, "heldout", run, 0, Stream.EVAL, evaluate.PROBE, CPU, run.log.probe_sequences
    )
    timings = {"evaluation": 0.0}
    return lambda index: train.train_step(now, index, perturb.CALM, tokens, dtype, probe, timings), now


def our_stepper(run: RunConfig, tokens: Tokens) -> tuple[Callable[[int], None], Training]:
    """One step a call, with the log row and evaluations that it makes; and the run that it advances."""
    steps, now = begun(run, tokens)
    return lambda index: now.log(passes.alone(steps(index))), now


def stacked_stepper(run: RunConfig, tokens: Tokens) -> Callable[[int], None]:
    """One step a call of each of STACK runs, their passes through the GPT as one."""
    runs = [begun(run.model_copy(update={"seed": seed + 1}), tokens) for seed in range(STACK)]
    stack = passes.Stack([now.gpt for _, now in runs])

    def step(index: int) -> None:
        loops = [steps(index) for steps, _ in runs]
        found = stack.carry([next(loop) for loop in loops])
        for loop, of_it, (_, now) in zip(loops, found, runs, strict=True):
            try:
                loop.send(of_it)
            except StopIteration as end:
                now.log(end.value)

    return step


def bare_stepper(run: RunConfig, tokens: Tokens) -> Callable[[int], None]:
    """One step a call of the same GPT with the same optimizer and number type: draw, forward, backward, clip, step."""
    now = start(run, tokens, CPU)
    dtype = getattr(torch, run.train.dtype)

    def step(index: int) -> None:
        x, y = evaluate.batch(tokens, "train", run, 1, Stream.BATCH, index, CPU)
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            _, loss = now.forward(x, targets=y)
        assert loss is not None
        loss.backward()
        nn.utils.clip_grad_norm_(now.gpt.parameters(), run.train.grad_clip)
        now.optimizer.step()
        now.optimizer.zero_grad(set_to_none=True)
        loss.item()

    return step


def seconds_a_step(step: Callable[[int], None], first: int, count: int) -> float:
    started = time.perf_counter()
    for index in range(first, first + count):
        step(index)
    return (time.perf_counter() - started) / count


def benched(size: str, dtype: str, more: Sequence[str]) -> RunConfig:
    """The run that is timed at a size. Held-out loss comes once in 250 steps: at a fifth of its batches, once in 50."""
    overrides = ["log.eval_interval=50", "log.eval_batches=4", f"train.dtype={dtype}", *more]
    suite, condition = SIZES[size]
    return load_suite(ROOT / "configs" / suite, overrides).run(condition, 1)


STEPPERS: dict[str, Callable[[RunConfig, Tokens], Callable[[int], None]]] = {
    "bare": bare_stepper,
    "ours": lambda run, tokens: our_stepper(run, tokens)[0],
    "stack": stacked_stepper,
}


def worker(out: Path, steps: int, more: Sequence[str]) -> None:
    """For each line KIND SIZE TYPE that comes in, time `steps` such steps on one thread and answer with seconds a step."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    made: dict[str, Callable[[int], None]] = {}
    done: dict[str, int] = {}
    print("ready", flush=True)
    for line in sys.stdin:
        kind, size, dtype = line.split()
        if line not in made:
            run = benched(size, dtype, more)
            tokens = prepare(run, out / "data")
            made[line] = STEPPERS[kind](run, tokens)
            seconds_a_step(made[line], 0, 3)
            done[line] = 3
        print(seconds_a_step(made[line], done[line], steps), flush=True)
        done[line] += steps


@contextlib.contextmanager
def workers(out: Path, steps: int, more: Sequence[str]) -> Iterator[list[subprocess.Popen[str]]]:
    """As many single-threaded processes as there are cores."""
    command = [sys.executable, __file__, "--worker", "--steps", str(steps), "--out", str(out)]
    command += [word for text in more for word in ("--set", text)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    found = [
        subprocess.Popen(command, env=one_thread, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        for process in found:
            assert process.stdout is not None
            process.stdout.readline()
        yield found
    finally:
        for process in found:
            process.terminate()


def ask(processes: Sequence[subprocess.Popen[str]], *words: str) -> float:
    """Set all given workers going at once on a kind of step; the mean of their seconds a step."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(" ".join(words) + "\n")
        process.stdin.flush()
    return statistics.fmean(float(process.stdout.readline()) for process in processes if process.stdout)


def rounds(given: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Seconds a step of every kind, once a round."""
    published = benched("0.80M", "float32", ())
    tokens = prepare(published, given.out / "data")
    chosen = {size: number_type.choose(given.out, benched(size, "auto", ())) for size in SIZES}
    types = number_type.TYPES if machine.multiplies_bfloat16() else ("float32",)
    plain, cores = plain_stepper(published, tokens), os.cpu_count() or 1
    with workers(given.out, given.steps, given.set) as processes:
        for at in range(given.rounds + 1):
            torch.set_num_threads(cores)
            found = {"plain": seconds_a_step(plain, at * given.steps, given.steps)}
            for size in SIZES:
                for dtype in types:
                    for kind in ("bare", "ours"):
                        found[f"{kind} {size} {dtype}"] = ask(processes[:1], kind, size, dtype)
                for kind in ("bare", "ours"):
                    found[f"{kind} {size}"] = found[f"{kind} {size} {chosen[size]}"]
                found[f"best {size}"] = min(found[f"ours {size} {dtype}"] for dtype in types)
                found[f"stack {size}"] = ask(processes[:1], "stack", size, chosen[size]) / STACK
            found["machine"] = ask(processes, "ours", "0.80M", chosen["0.80M"]) / cores
            if at:  # the first warms up
                yield found


def table(found: Sequence[dict[str, float]]) -> str:
    """Each target of speed with what it reaches, as Markdown: median [least, most] over rounds."""
    native = "bare 0.80M bfloat16" in found[0]
    rows = [("whole machine / plain nanoGPT step, 0.80M", 0.35 if native else 0.60, "machine", "plain")]
    rows += [
        ("bare step, bfloat16 / float32, 0.80M", 0.45, "bare 0.80M bfloat16", "bare 0.80M float32")
    ] * native
    for size, reach in (("0.80M", 1.10), ("0.11M", 1.20)):
        rows += [
            (f"our step / bare step, {size}", reach, f"ours {size}", f"bare {size}"),
            (f"number type taken / the better one, {size}", 1.05, f"ours {size}", f"best {size}"),
            (f"a step in a stack of {STACK} / alone, {size}", 1.00, f"stack {size}", f"ours {size}"),
        ]
    lines = ["| ratio | reach | found |", "| --- | --- | --- |"]
    for name, reach, one, other in rows:
        low, middle, high = np.quantile([row[one] / row[other] for row in found], [0, 0.5, 1])
        lines.append(f"| {name} | ≤ {reach:.2f} | {middle:.2f} [{low:.2f}, {high:.2f}] |")
    lines += ["", "| step | ms |", "| --- | --- |"]
    lines += [f"| {name} | {np.median([row[name] for row in found]) * 1e3:.1f} |" for name in found[0]]
    return "\n".join(lines)


def commands(out: Path) -> str:
    """Seconds until command lines that only answer have answered, as Markdown; the least of three."""
    lines = ["| command | reach, s | found, s |", "| --- | --- | --- |"]
    for words, reach in (("--help", 0.3), ("--list", 0.3), ("--status", 2.0), ("--dry-run", 2.0)):
        command = [sys.executable, str(ROOT / "scripts/run_all.py"), words, "--out", str(out)]
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - begun)
        lines.append(f"| `run_all.py {words}` | {reach} | {min(times):.2f} |")
    return "\n".join(lines)


def profile(out: Path, more: Sequence[str]) -> str:
    """What a step's time goes to, by kind of operation, in the number type that is taken; shares of one thread's time."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    shares: dict[str, dict[str, float]] = {}
    for size in SIZES:
        run = benched(size, number_type.choose(out, benched(size, "auto", more)), more)
        step, _ = our_stepper(run, prepare(run, out / "data"))
        seconds_a_step(step, 0, 50)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
            seconds_a_step(step, 50, 50)
        spent = {event.key: event.self_cpu_time_total for event in found.key_averages()}
        shares[f"{size}, {run.train.dtype}"] = {
            name: time / sum(spent.values()) for name, time in spent.items()
        }
    first = next(iter(shares.values()))
    names = sorted(first, key=lambda name: -first[name])[:12]
    lines = [f"| operation | {' | '.join(shares)} |", "| --- |" + " --- |" * len(shares)]
    lines += [
        f"| `{name}` | {' | '.join(f'{of.get(name, 0):.0%}' for of in shares.values())} |" for name in names
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    parser = command_line.Parser(prog="bench.py", description="Time our training step against plainer ones.")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=50, help="steps of each kind a round")
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument(
        "--commands", action="store_true", help="time command lines on the study in --out instead"
    )
    parser.add_argument("--profile", action="store_true", help="what a step's time goes to instead")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the runs")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.rounds < 1 or given.steps < 10:
        raise ConfigError("--rounds must be at least 1 and --steps at least 10")
    if given.worker:
        worker(given.out, given.steps, given.set)
    elif given.profile:
        print(profile(given.out, given.set))
    elif given.commands:
        print(commands(given.out))
    else:
        found = list(rounds(given))
        print(f"{given.rounds} rounds of {given.steps} steps, {os.cpu_count()} cores; median [least, most]\n")
        print(table(found))


if __name__ == "__main__":
    command_line.run(main)
