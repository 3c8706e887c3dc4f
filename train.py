"""One run, from config to run folder. The only training loop.

    python train.py configs/shakespeare.toml --condition self --seed 3

A step: draw the batch of (seed, step), let the regime act on it, update the self-state from the last batch's
statistics, inject its bias, forward, backward, clip, step, one row of metrics. Interrupted at any step, the run
goes on from its last checkpoint and ends with the same bytes.
"""

import csv
import datetime
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import perturb
from base import command_line, storage
from base.rng import Stream, generator
from configs import size
from configs.run import RunConfig, Train
from configs.suite import load_suite
from configs.toml_file import ConfigError
from data.corpus import Corpus, check_block
from data.prepare import prepare
from runs import folder as run_folder
from runs.evaluate import PROBE, batch, draw, heldout, resolve_dtype, state_effect
from runs.state import METRICS, Training, format_cell, start
from self_state import STATS, Parts, batch_stats

EMA_MOMENTUM = 0.99  # of the state's average behind state_ema_drift
Progress = Callable[[int, int], None]


class Diverged(Exception):
    """The loss was not finite at `step`; the log up to there is in `folder`."""

    def __init__(self, step: int, folder: Path) -> None:
        super().__init__(f"the loss was not finite at step {step}; the log is in {folder}")
        self.step = step
        self.folder = folder

    def __reduce__(self) -> tuple[type, tuple[int, Path]]:
        return type(self), (self.step, self.folder)


@dataclass
class Timings:
    """Seconds spent, by kind."""

    total: float = 0.0
    evaluation: float = 0.0  # held-out loss, state effect
    saving: float = 0.0  # checkpoints and log


def train(
    run: RunConfig,
    corpus: Corpus,
    runs: Path,
    progress: Progress | None = None,
    device: str = "cpu",
    inputs: Mapping[str, Path] | None = None,
) -> Path:
    """Train one run to its end, from its last checkpoint if there is one.

    Args:
        run: the resolved config.
        corpus: prepared tokens; their hash is part of the run's key.
        runs: folder that holds run folders.
        progress: called with (steps done, steps in all) at least once a step.
        inputs: the folders of the finished runs that `run.references()` names, by the part they play.

    Returns:
        The run folder, whole. A finished run of the same key is returned as it is.

    Raises:
        Diverged: the loss became infinite or NaN. The log stands in `<run folder>.diverged/`.
        UserError: a corpus too short, a folder in the place that is not this run's, an input that is not whole, or
            one that does not fit this run.
    """
    check_block(corpus, run.model.block_size)
    inputs = inputs or {}
    if set(inputs) != set(run.references()):
        raise ValueError(f"this run needs inputs {sorted(run.references())}, not {sorted(inputs)}")
    keys = {part: str(run_folder.check(folder)["key"]) for part, folder in inputs.items()}
    key = run_folder.run_key(run, corpus.tokens_sha256, keys)
    destination = run_folder.folder_of(runs, key)
    if destination.exists():
        run_folder.check(destination, key)
        return destination
    with run_folder.work_folder(runs, key) as work:
        _train(run, corpus, key, work, destination, progress, torch.device(device), inputs, keys)
    return destination


def _train(
    run: RunConfig,
    corpus: Corpus,
    key: str,
    work: Path,
    destination: Path,
    progress: Progress | None,
    device: torch.device,
    inputs: Mapping[str, Path],
    keys: Mapping[str, str],
) -> None:
    torch.set_flush_denormal(True)  # denormal moments of rare tokens' rows are slow, and mean nothing
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    timings = Timings()
    clock = time.perf_counter()
    dtype = resolve_dtype(run.train.dtype, device)
    now = start(run, corpus.vocab_size, device, inputs)
    first = run.first
    checkpoint = run_folder.load_checkpoint(work, key)
    if checkpoint is not None:
        first, tensors, metrics = checkpoint
        now.restore(tensors, metrics)
    regimes = perturb.regimes_by_step(run)
    probe = batch(corpus.heldout, run, 0, Stream.EVAL, PROBE, device, run.log.probe_sequences)
    for step in range(first, run.last):
        row, loss = train_step(now, step, regimes[step], corpus, dtype, probe, timings)
        now.rows.append([format_cell(row.get(name)) for name in METRICS])
        if not math.isfinite(loss):
            folder = destination.with_name(destination.name + ".diverged")
            record = {"key": key, "status": "diverged", "step": step, "started": started}
            for path in work.glob("*.safetensors"):
                path.unlink()
            run_folder.finish(work, folder, run, record, now.metrics())
            raise Diverged(step, folder)
        done = step + 1
        before = time.perf_counter()
        if done in run.log.keep_steps and done < run.last:
            storage.save_tensors(work / run_folder.weights_name(done), now.acting_weights(done))
        if done in run.log.keep_checkpoints:
            kept = {name: array for name, array in now.tensors().items() if name != "states"}
            storage.save_tensors(work / run_folder.checkpoint_name(done), kept)
        if done % run.log.checkpoint_interval == 0 and done < run.last:
            run_folder.save_checkpoint(work, key, done, now.tensors(), now.metrics())
        timings.saving += time.perf_counter() - before
        if progress is not None:
            progress(done - run.first, run.last - run.first)
    storage.save_tensors(work / run_folder.weights_name(None), now.acting_weights(run.last))
    if now.states:
        storage.save_tensors(work / "states.safetensors", {"state": np.stack(now.states)})
    timings.total = time.perf_counter() - clock
    record = {
        "key": key,
        "status": "complete",
        "corpus": corpus.name,
        "code": run_folder.code_hash(run_folder.code_of(run)),
        "data": corpus.tokens_sha256,
        "inputs": dict(keys),
        "bytes_per_token": corpus.bytes_per_token,
        "parameters": {
            name: sum(parameter.numel() for parameter in module.parameters())
            for name, module in now.modules().items()
            if module is not None
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "dtype": str(dtype).removeprefix("torch."),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "started": started,
        "resumed_from": first,
        "seconds": round(timings.total, 3),
        "timings": {"evaluation": round(timings.evaluation, 3), "saving": round(timings.saving, 3)},
    }
    run_folder.finish(work, destination, run, record, now.metrics())


def train_step(
    now: Training,
    step: int,
    regime: str,
    corpus: Corpus,
    dtype: torch.dtype,
    probe: tuple[Tensor, Tensor],
    timings: Timings,
) -> tuple[dict[str, Any], float]:
    """Advance a run by one step, in place. Returns the step's metrics (absent: not measured) and its loss.

    A loss that is not finite is returned before it can touch the weights.
    """
    run, settings = now.run, now.run.train
    device = probe[0].device
    x, y = draw(corpus.train, run, run.seed, Stream.BATCH, step, settings.batch_size * settings.grad_accum)
    random = generator(run.seed, Stream.PERTURB, step)
    x, y = perturb.perturb_batch(regime, x, y, run.regimes, corpus.vocab_size, random)
    row: dict[str, Any] = {"step": step, "regime": regime}

    bias, leaf = _inject(now, step, regime, random, row), None
    if bias is not None:
        leaf = bias.detach().requires_grad_()
        if step % run.log.effect_interval == 0:
            clock = time.perf_counter()
            row["state_effect"], row["state_kl"] = state_effect(now.gpt, probe[0], leaf.detach(), dtype)
            timings.evaluation += time.perf_counter() - clock

    now.gpt.train()
    if run.model.dropout:
        torch.manual_seed(int(generator(run.seed, Stream.DROPOUT, step).integers(2**62)))
    measured = torch.zeros(3, device=device)  # loss, entropy, top1
    for inputs, targets in zip(
        np.split(x, settings.grad_accum), np.split(y, settings.grad_accum), strict=True
    ):
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            logits, loss = now.gpt(
                torch.from_numpy(inputs).to(device), leaf, torch.from_numpy(targets).to(device)
            )
        assert loss is not None
        (loss / settings.grad_accum).backward()
        measured += torch.stack([loss.detach(), *batch_stats(logits.detach())]) / settings.grad_accum
    loss_value, entropy, top1 = measured.tolist()
    row |= {"loss": loss_value, "entropy": entropy, "top1": top1, "progress": step / settings.steps}
    if not math.isfinite(loss_value):
        return row, loss_value
    if bias is not None and leaf is not None and bias.requires_grad:
        bias.backward(leaf.grad)

    rate = learning_rate(step, settings) * perturb.learning_rate_factor(regime, run.regimes)
    parameters = [parameter for group in now.optimizer.param_groups for parameter in group["params"]]
    grad_norm = nn.utils.clip_grad_norm_(parameters, settings.grad_clip or math.inf)
    for group in now.optimizer.param_groups:
        group["lr"] = rate
    now.optimizer.step()
    now.optimizer.zero_grad(set_to_none=True)
    row |= {"grad_norm": grad_norm.item(), "lr": rate}
    now.stats = perturb.remembered(run, now.stats, torch.tensor([row[name] for name in STATS], device=device))

    done = step + 1
    if done % run.log.eval_interval == 0 or done == run.last:
        clock = time.perf_counter()
        row["heldout_loss"], row["heldout_ece"] = heldout(now.gpt, _bias(now, step), run, corpus, dtype)
        timings.evaluation += time.perf_counter() - clock
    return row, loss_value


def _inject(
    now: Training, step: int, regime: str, random: np.random.Generator, row: dict[str, Any]
) -> Tensor | None:
    """Update the self-state if there is one, put its metrics into `row`, and give the bias of this step (n_embd,)."""
    if now.self_state is not None and now.value is not None and now.state_average is not None:
        before = now.value.state.detach()
        parts: Parts | None = None
        shown = perturb.shown(now.run, step, regime, now.stats, now.recorded)
        if shown is not None:
            now.value, parts = perturb.update_state(
                regime, now.self_state, now.value, shown.to(before.device), now.run.regimes, random
            )
        state = now.value.state.detach()
        now.state_average = EMA_MOMENTUM * now.state_average + (1 - EMA_MOMENTUM) * state
        now.states.append(state.cpu().numpy().copy())
        row |= {
            "state_norm": state.norm().item(),
            "state_drift": (state - before).norm().item(),
            "state_ema_drift": 1 - F.cosine_similarity(state, now.state_average, dim=0).item(),
        }
        row |= _parts_metrics(parts)
        if now.norm_target is not None:
            now.follow_norm(step, now.self_state.read(state).detach().norm().item())
    bias = _bias(now, step)
    if bias is not None:
        row["bias_norm"] = bias.detach().norm().item()
    return bias


def _bias(now: Training, step: int) -> Tensor | None:
    """The embedding bias (n_embd,) of the present state, or the constant one; None where nothing is injected."""
    if now.constant_bias is not None:
        return now.constant_bias()
    if now.self_state is None or now.value is None:
        return None
    bias = now.self_state.read(now.value.state)
    return bias if now.norm_target is None else bias * now.scale(step)


def _parts_metrics(parts: Parts | None) -> dict[str, float]:
    if parts is None:
        return {}
    network = parts.network.norm().item()
    found = {"mlp_norm": network}
    if parts.memory is not None and parts.gate is not None:
        memory = parts.memory.norm().item()
        share = memory / (memory + network) if memory + network > 0 else 0.0
        found |= {"memory_norm": memory, "memory_share": share, "gate": parts.gate.item()}
    return found


def learning_rate(step: int, settings: Train) -> float:
    """Linear warm-up to `learning_rate`, then a cosine to `min_learning_rate` at the last step."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / (settings.warmup_steps + 1)
    share = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    span = settings.learning_rate - settings.min_learning_rate
    return settings.min_learning_rate + 0.5 * (1 + math.cos(math.pi * share)) * span


def main(arguments: Sequence[str]) -> None:
    parser = command_line.Parser(prog="train.py", description="Train one run of a suite.")
    command_line.add_suite_arguments(parser)
    parser.add_argument("--condition", required=True, help="a condition of the suite, for example self")
    parser.add_argument("--seed", type=int, default=1, help="from 1 (default 1)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    given = parser.parse_args(arguments)
    suite = load_suite(given.suite, given.set, given.quick)
    size.check(suite)
    suite.run(given.condition, given.seed)  # an unknown condition is told before anything is made
    if given.device != "cpu" and not (given.device == "cuda" and torch.cuda.is_available()):
        raise ConfigError(f"--device {given.device}: not here; use cpu")
    torch.set_num_threads(1)

    def trained(condition: str, seed: int) -> Path:
        """The run of a condition, after those it needs."""
        run = suite.run(condition, seed)
        inputs = {part: trained(*reference) for part, reference in run.references().items()}
        corpus = prepare(run.corpus, given.out / "data", run.tokenizer)
        with command_line.progress_bar(f"{condition}, seed {seed}") as progress:
            return train(run, corpus, given.out / "runs", progress, given.device, inputs)

    try:
        folder = trained(given.condition, given.seed)
    except Diverged as error:
        raise SystemExit(f"error: {error}") from None
    with (folder / "metrics.csv").open() as file:
        loss = float(list(csv.DictReader(file))[-1]["heldout_loss"])
    print(f"trained {given.condition}, seed {given.seed}: held-out loss {loss:.4f} nats -> {folder}")


if __name__ == "__main__":
    command_line.run(main)
