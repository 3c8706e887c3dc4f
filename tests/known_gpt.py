"""A model whose answer to every state is known, and a run folder that no training made."""

import json
import math
from pathlib import Path

import numpy as np
import torch

from base import storage
from base.rng import Stream, generator
from configs.probes.frozen import FrozenTest
from configs.run import RunConfig
from configs.training import Model
from data.corpus import Corpus
from model import GPT
from probes import steering
from probes.instrument import Batch, Instrument
from runs import folder as run_folder
from runs.state import models_arrays
from self_state import SelfState

V, C, T, D = 10, 16, 8, 12
SIZES = Model(n_layer=1, n_head=2, n_embd=C, block_size=T)
SETTINGS = FrozenTest(
    finder_batches=1,
    dev_batches=2,
    heldout_batches=2,
    top=3,
    doses=4,
    random_directions=6,
    placebo_draws=2,
    dose_placebos=1,
)


def orthonormal() -> np.ndarray:
    """(C, C - 1): columns orthonormal and each with mean zero, so that layer norm only scales their sums."""
    basis, _ = np.linalg.qr(np.column_stack([np.ones(C), np.random.default_rng(0).normal(size=(C, C - 1))]))
    return basis[:, 1:]


BASIS = orthonormal()
OUTSIDE = BASIS[:, V]  # orthogonal to every token's embedding


def set_weights(gpt: GPT, tokens: np.ndarray, positions: np.ndarray) -> GPT:
    """Blocks that add nothing: logits = layer_norm(token + position + bias) . tokens."""
    with torch.no_grad():
        for block in gpt.blocks:
            block.attention.proj.weight.zero_()  # type: ignore[union-attr, operator]
            block.down.weight.zero_()  # type: ignore[union-attr, operator]
        gpt.tokens.weight[:V] = torch.from_numpy(tokens)
        gpt.positions.weight.copy_(torch.from_numpy(positions))
    return gpt.eval()


def by_hand() -> GPT:
    """Embeddings 1.2 e_k, positions u orthogonal to all e_k: under the bias s u the entropy is `known(s)`."""
    return set_weights(GPT(SIZES, V), 1.2 * BASIS[:, :V].T, np.tile(OUTSIDE, (T, 1)))


def known(s: float) -> float:
    """Entropy (nats) at every position: the token read has the logit L, the V - 1 others zero."""
    length = math.hypot(1.2, 1 + s)
    logit = 1.2 * 1.2 / math.sqrt(length**2 / C + 1e-5)
    p = math.exp(logit) / (math.exp(logit) + V - 1)
    q = (1 - p) / (V - 1)
    return -p * math.log(p) - (V - 1) * q * math.log(q)


# Dimensions 2, 5, 9 take the outside part away (confident), 0, 4, 7 add to it (uncertain), others do nothing.
STEPS = np.zeros(D)
STEPS[[2, 5, 9]] = [-0.5, -0.3, -0.4]
STEPS[[0, 4, 7]] = [0.4, 0.6, 0.5]
READER = np.outer(OUTSIDE, STEPS)  # (C, D)


def batches(count: int, seed: int = 1) -> list[Batch]:
    random = np.random.default_rng(seed)
    drawn = random.integers(0, V, size=(count, 5, T + 1))
    return [(torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, 1:].copy())) for rows in drawn]


def trial_of(gpt: GPT, norms: np.ndarray) -> steering.Trial:
    instrument = Instrument(gpt)
    finder = batches(2)
    gradient = instrument.entropy_gradient(finder)
    return steering.Trial(batches(3, 4), finder, batches(1, 2), batches(2, 3), gradient, norms, SETTINGS)


def any_gpt() -> GPT:
    gpt = GPT(SIZES, V)
    gpt.initialise(generator(3, Stream.INIT))
    with torch.no_grad():
        for parameter in gpt.parameters():
            if parameter.dim() == 2:
                parameter.mul_(15)  # far from uniform predictions
    return gpt.eval()


def finished(
    runs: Path, corpus: Corpus, enabled: bool = True, data: str | None = None, dim: int = D, seed: int = 0
) -> Path:
    """A run folder of six steps, weights kept after three, that no training made. seed: of its weights."""
    fields = {
        "corpus": "tiny",
        "seed": 2,
        "model": SIZES.model_dump(mode="json"),
        "train": {"steps": 6, "batch_size": 3, "warmup_steps": 0},
        "log": {"keep_steps": [3]},
        "self_state": {"enabled": enabled, "dim": dim},
        "regimes": {},
    }
    run = RunConfig.model_validate_json(json.dumps(fields))
    work = runs / ".work"
    states = np.random.default_rng(0).normal(size=(6, dim)) * np.array([[1], [2], [3], [9], [9], [9]])
    for name, drawn in (("model-step3", seed + 1), ("model", seed + 2)):
        gpt, self_state = GPT(SIZES, corpus.vocab_size), SelfState(run.self_state, C)
        gpt.initialise(generator(drawn, Stream.INIT))
        self_state.initialise(generator(drawn, Stream.STATE_INIT))
        models = {"gpt": gpt, **({"self_state": self_state} if enabled else {})}
        storage.save_tensors(work / f"{name}.safetensors", models_arrays(models))
    if enabled:
        storage.save_tensors(work / "states.safetensors", {"state": states.astype(np.float32)})
    folder = runs / "0123456789abcdef"
    record = {
        "key": "0123456789abcdef" * 4,
        "status": "complete",
        "data": data or corpus.tokens_sha256,
        "code": "0" * 64,
    }
    run_folder.finish(work, folder, run, record, "step\n")
    return folder
