"""How much memory a run or a text will take, told before any of it is taken, and how much there is to have."""

import contextlib
import os
import resource
from pathlib import Path

from base.storage import UserError
from configs.run import RunConfig

CONTROL_GROUP = Path("/sys/fs/cgroup/memory.max")
PROGRAM = 3.6e8  # bytes that Python, torch and the project's code take
TEXT = {"char": 36, "gpt2": 48, "bpe": 160}  # bytes a byte of text while it is turned into tokens, at most
VOCABULARY = {"char": 256, "gpt2": 50_257}


def memory() -> int:
    """Bytes that this process may take: of the machine, of its container, or of its own limits, the least."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            found.append(soft)
    with contextlib.suppress(OSError, ValueError):
        found.append(int(CONTROL_GROUP.read_text()))
    return min(found)


def check(need: float, what: str, advice: str) -> None:
    """UserError where something needs more bytes of memory than there are."""
    have = memory()
    if need > have:
        raise UserError(
            f"{what} about {need / 1e9:,.1f} GB of memory, this machine has {have / 1e9:,.1f}; {advice}"
        )


def check_text(size: int, place: str, tokenizer: str = "char") -> None:
    """UserError where a text of so many bytes is too much to be turned into tokens here."""
    need = PROGRAM + size * TEXT[tokenizer.partition(":")[0]]
    check(need, f"{place} has {size:,} bytes, which need", "take a shorter text")


def of_run(run: RunConfig) -> float:
    """Bytes that a run takes while it trains, about, in float32: weights, gradients, two moments and a copy;
    activations; what is kept of each step; and the program."""
    model, train = run.model, run.train
    layer = 34 * model.n_embd + 4 * model.n_head * model.block_size  # floats of a token in a block
    batch = train.batch_size * model.block_size
    probe = run.log.probe_sequences * model.block_size if run.injects else 0
    activations = 4.0 * batch * (model.n_layer * layer + 4 * _vocabulary(run))
    activations += 4.0 * probe * (layer + 8 * _vocabulary(run))
    drawn = 24.0 * batch * train.grad_accum
    return 20.0 * _weights(run) + activations + drawn + _kept(run) + PROGRAM


def _vocabulary(run: RunConfig) -> int:
    kind, _, size = run.tokenizer.partition(":")
    return int(size) if size else VOCABULARY[kind]


def _weights(run: RunConfig) -> int:
    model, state = run.model, run.self_state
    found = 12 * model.n_layer * model.n_embd**2 + (_vocabulary(run) + model.block_size) * model.n_embd
    if state.enabled:
        network = {"mlp": state.hidden * (state.dim + 6), "gru": 3 * state.dim * (state.dim + 7)}
        found += network.get(state.update, 6 * state.dim) + state.dim * model.n_embd
    return found


def _kept(run: RunConfig) -> float:
    """The log and the states of all steps, and a memory with its next value."""
    steps, state = run.last - run.first, run.self_state
    found = 2000.0 * steps
    if state.enabled:
        found += steps * (8.0 * state.dim + 200)
        if state.memory.kind == "buffer":
            found += 16.0 * state.memory.length * state.dim
    return found
