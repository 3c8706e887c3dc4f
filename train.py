"""One run, from config to run folder. The only training loop.

    python train.py configs/shakespeare.toml --condition self --seed 3
    torchrun --nproc_per_node=2 train.py configs/gpt2_small.toml --condition self --seed 1      # see runs/ranks.py

A step: draw the batch of (seed, step), let the regime act on it, update the self-state from the last batch's
statistics, inject its bias, forward, backward, clip, step, one row of metrics. Interrupted at any step, the run
goes on from its last checkpoint and ends with the same bytes.
"""

import argparse
import contextlib
import datetime
import functools
import math
import platform
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out

from base import command_line

if __name__ == "__main__":
    command_line.heed()

import numpy as np
import torch
from torch import Tensor, nn

import perturb
from base import storage
from base.rng import Stream, generator
from base.storage import UserError
from configs import size
from configs.run import RunConfig
from configs.suite import load_suite
from configs.training import Train
from data.tokens import Tokens, described, prepare
from runs import folder as run_folder
from runs import number_type, passes
from runs.evaluate import PROBE, batch, heldout, prompt_effect, seen_batch, state_effect, statistics, told
from runs.evaluate import states as batch_states
from runs.passes import Pass, Passes
from runs.ranks import ALONE, Ranks, joined, place_of
from runs.state import Training, start

Progress = Callable[[int, int], None]
VERSIONS = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}


class Diverged(Exception):
    """The loss was not finite at `step`; the log up to there is in `folder`."""

    def __init__(self, step: int, folder: Path) -> None:
        super().__init__(f"the loss was not finite at step {step}; the log is in {folder}")
        self.step = step
        self.folder = folder

    def __reduce__(self) -> tuple[type, tuple[int, Path]]:
        return type(self), (self.step, self.folder)


@contextlib.contextmanager
def timed(timings: dict[str, float], kind: str) -> Iterator[None]:
    """Add the seconds that are spent under it to those of its kind."""
    begun = time.perf_counter()
    yield
    timings[kind] += time.perf_counter() - begun


def train(
    run: RunConfig,
    tokens: Tokens,
    runs: Path,
    progress: Progress | None = None,
    inputs: Mapping[str, Path] | None = None,
    ranks: Ranks = ALONE,
) -> Path:
    """Train one run to its end, alone. See `training`."""
    return passes.alone(training(run, tokens, runs, progress, inputs, ranks))


def training(
    run: RunConfig,
    tokens: Tokens,
    runs: Path,
    progress: Progress | None = None,
    inputs: Mapping[str, Path] | None = None,
    ranks: Ranks = ALONE,
    beside: int = 0,
) -> Passes:
    """One run to its end, from its last checkpoint if there is one: yields each pass through its GPT, is sent what that found.

    Args:
        run: the resolved config.
        tokens: a prepared text, or a process; their hash is part of the run's key.
        runs: folder that holds run folders.
        progress: called with (steps done, steps in all) at least once a step.
        inputs: the folders of the finished runs that `run.references()` names, by the part they play.
        ranks: the processes that train it together, as many as its config says. The first one writes.
        beside: how many other runs are trained beside it, in one stack; its share of the time is told.

    Returns:
        The run folder, whole. A finished run of the same key is returned as it is.

    Raises:
        Diverged: the loss became infinite or NaN. The log stands in `<run folder>.diverged/`.
        UserError: a corpus too short, a folder in the place that is not this run's, an input that is not whole, or
            one that does not fit this run; other ranks than the config says.
    """
    if run.train.ranks != ranks.count:
        raise UserError(
            f"train.ranks = {run.train.ranks}, and this is {ranks.count} of them; "
            f"start such a run with torchrun --nproc_per_node={run.train.ranks} train.py"
        )
    tokens.check_block(run.model.block_size)
    place = place_of(run.train.device)
    run = number_type.resolved(runs.parent, run)
    inputs = inputs or {}
    if set(inputs) != set(run.references()):
        raise ValueError(f"this run needs inputs {sorted(run.references())}, not {sorted(inputs)}")
    keys = {part: str(run_folder.check(folder)["key"]) for part, folder in inputs.items()}
    key = run_folder.run_key(run, tokens.tokens_sha256, keys)
    destination = run_folder.folder_of(runs, key)
    if destination.exists():
        run_folder.check(destination, key)
        return destination
    torch.set_flush_denormal(True)  # denormal moments of rare tokens' rows are slow, and mean nothing
    record: dict[str, Any] = {
        "key": key,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    begun, timings = time.perf_counter(), {"evaluation": 0.0, "saving": 0.0}
    dtype = getattr(torch, run.train.dtype)
    regimes = perturb.regimes_by_step(run)
    probe, _ = batch(tokens, "heldout", run, 0, Stream.EVAL, PROBE, place, run.log.probe_sequences)
    work_folder = run_folder.work_folder(runs, key)
    with work_folder if ranks.first else contextlib.nullcontext(run_folder.work_of(destination)) as work:
        ranks.wait()  # until the first holds the folder
        now, first = replace(start(run, tokens, place, inputs), ranks=ranks), run.first
        checkpoint = run_folder.load_checkpoint(work, key)
        if checkpoint is not None:
            first, tensors, metrics = checkpoint
            now.restore(tensors, metrics)

        for step in range(first, run.last):
            row = yield from train_step(now, step, regimes[step], tokens, dtype, probe, timings)
            now.log(row)
            if not math.isfinite(row["loss"]):
                diverged = destination.with_name(destination.name + ".diverged")
                if ranks.first:
                    for path in work.glob("*.safetensors"):
                        path.unlink()
                    record |= {"status": "diverged", "step": step}
                    run_folder.finish(work, diverged, run, record, now.metrics())
                ranks.wait()
                raise Diverged(step, diverged)
            done = step + 1
            if ranks.first:
                with timed(timings, "saving"):
                    keep(now, work, key, done)
            if progress is not None:
                progress(done - run.first, run.last - run.first)

        if not ranks.first:
            ranks.wait()  # for the run folder
            return destination
        storage.save_tensors(work / run_folder.weights_name(None), now.acting_weights(run.last))
        if now.states:
            storage.save_tensors(work / "states.safetensors", {"state": np.stack(now.states)})
        sizes = {name: sum(p.numel() for p in module.parameters()) for name, module in now.modules().items()}
        record |= {
            "status": "complete",
            "corpus": tokens.name,
            "bytes_per_token": tokens.bytes_per_token,
            "code": storage.hash_json(run_folder.code_of(run)),
            "data": tokens.tokens_sha256,
            "inputs": keys,
            "parameters": sizes,
            "dtype": str(dtype).removeprefix("torch."),
            "device": run.train.device,
            "threads": torch.get_num_threads(),
            "versions": VERSIONS,
            "resumed_from": first,
            "stacked": beside + 1,
            "seconds": round((time.perf_counter() - begun) / (beside + 1), 3),
            "timings": {kind: round(seconds, 3) for kind, seconds in timings.items()},
        }
        run_folder.finish(work, destination, run, record, now.metrics())
        ranks.wait()
    return destination


def keep(now: Training, work: Path, key: str, done: int) -> None:
    """Write what is to be kept of a run after `done` steps, and a checkpoint where it is time for one."""
    log, last = now.run.log, now.run.last
    if done in log.keep_steps and done < last:
        storage.save_tensors(work / run_folder.weights_name(done), now.acting_weights(done))
    if done in log.keep_checkpoints:
        kept = {name: array for name, array in now.tensors().items() if name != "states"}
        storage.save_tensors(work / run_folder.checkpoint_name(done), kept)
    if done % log.checkpoint_interval == 0 and done < last:
        run_folder.save_checkpoint(work, key, done, now.tensors(), now.metrics())


def train_step(
    now: Training,
    step: int,
    regime: str,
    tokens: Tokens,
    dtype: torch.dtype,
    probe: Tensor,
    timings: dict[str, float],
) -> Generator[Pass, Tensor, dict[str, Any]]:
    """Advance a run by one step, in place: yields its pass through the GPT, is sent what that found, returns the step's metrics.

    What lacks of them was not measured.

    A loss that is not finite is returned before it can touch the weights.

    Args:
        probe: (S, T) int64 held-out tokens on the run's device, on which the bias's effect is measured.
    """
    run, settings = now.run, now.run.train
    row: dict[str, Any] = {"step": step, "regime": regime, "progress": step / settings.steps}

    # the batch, as the regime lets it be seen, and what is injected
    x, y = seen_batch(run, tokens, step, regime)
    before = now.value
    now.value, injected = now.injection.inject(before, step, regime, now.stats)
    bias = injected if run.injects else None
    states = batch_states(tokens, "train", run, run.seed, Stream.BATCH, step, probe.device, len(x))
    row |= now.value.measured(before)
    measures = bias is not None and step % run.log.effect_interval == 0
    if bias is not None:
        row["bias_norm"] = bias.detach().norm().item()
        if measures:
            with timed(timings, "evaluation"):
                row["state_effect"], row["state_kl"] = state_effect(now.gpt, probe, bias, dtype)

    # forward and backward
    found = yield Pass(now, injected, states, x, y, dtype, step)
    senses = functools.partial(generator, run.seed, Stream.SENSES, step)
    row |= statistics(found, perturb.seen_positions(run, found[0].numel(), senses))
    if not math.isfinite(row["loss"]):
        return row

    # clip and step
    row["lr"] = learning_rate(step, settings) * perturb.learning_rate_factor(regime, run.regimes)
    row["grad_norm"] = nn.utils.clip_grad_norm_(now.parameters, settings.grad_clip or math.inf).item()
    for group in now.optimizer.param_groups:
        group["lr"] = row["lr"]
    now.optimizer.step()
    now.optimizer.zero_grad(set_to_none=True)

    # what the next step is told, and what the model is now
    now.stats = perturb.remembered(run, now.stats, told(run, row))
    done = step + 1
    if measures:
        with timed(timings, "evaluation"), torch.no_grad():
            row["prompt_effect"] = prompt_effect(now.gpt, now.injection.read(now.value, step), dtype)
    if done % run.log.eval_interval == 0 or done == run.last:
        with timed(timings, "evaluation"), torch.no_grad():
            enter = functools.partial(now.injection.enter, now.injection.read(now.value, step))
            row["heldout_loss"], row["heldout_ece"] = heldout(now.gpt, enter, run, tokens, dtype)
    return row


def learning_rate(step: int, settings: Train) -> float:
    """Linear warm-up to `learning_rate`, then a cosine to `min_learning_rate` at `decay_steps`, and no further."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / (settings.warmup_steps + 1)
    end = settings.decay_steps or settings.steps
    share = min(1.0, (step - settings.warmup_steps) / max(1, end - settings.warmup_steps))
    span = settings.learning_rate - settings.min_learning_rate
    return settings.min_learning_rate + 0.5 * (1 + math.cos(math.pi * share)) * span


def main(arguments: Sequence[str]) -> None:
    parser = command_line.Parser(prog="train.py", description="Train one run of a suite.")
    command_line.add_suite_arguments(parser)
    parser.add_argument("--condition", required=True, help="a condition of the suite, for example self")
    parser.add_argument("--seed", type=int, default=1, help="from 1 (default 1)")
    parser.add_argument("--device", help="cpu or cuda, in place of train.device (cpu)")
    with joined() as ranks:
        train_asked(parser.parse_args(arguments), ranks)


def train_asked(given: argparse.Namespace, ranks: Ranks) -> None:
    """Train the run that a command line asks for, after those that it needs."""
    told = [f"train.device={given.device}"] * (given.device is not None)
    told += [f"train.ranks={ranks.count}"] * (ranks.count > 1)
    suite = load_suite(given.suite, [*given.set, *told], given.quick)
    size.check(suite)
    suite.run(given.condition, given.seed)  # an unknown condition is told before anything is made
    torch.set_num_threads(1)

    def trained(condition: str, seed: int) -> Path:
        """The run of a condition, after those it needs."""
        with ranks.in_turn():  # the type of products is measured once
            run = number_type.resolved(given.out, suite.run(condition, seed))
        inputs = {part: trained(*reference) for part, reference in run.references().items()}
        with ranks.in_turn():
            tokens = prepare(run, given.out / "data")
        keys = {part: str(run_folder.check(folder)["key"]) for part, folder in inputs.items()}
        key = run_folder.run_key(run, tokens.tokens_sha256, keys)
        if ranks.first:
            run_folder.keep_vocabulary(run_folder.folder_of(given.out / "runs", key), described(tokens))
        with command_line.progress_bar(f"{condition}, seed {seed}", ranks.first) as progress:
            return train(run, tokens, given.out / "runs", progress, inputs, ranks)

    try:
        folder = trained(given.condition, given.seed)
    except Diverged as error:
        raise SystemExit(f"error: {error}") from None
    if ranks.first:
        loss = float(run_folder.load_log(folder)[-1]["heldout_loss"])
        print(f"trained {given.condition}, seed {given.seed}: held-out loss {loss:.4f} nats -> {folder}")


if __name__ == "__main__":
    command_line.run(main)
