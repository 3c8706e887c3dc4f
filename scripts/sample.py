"""Text from a finished run, with the self-state zero, as training left it, or steered.

python scripts/sample.py out/shakespeare/self/seed-1 --state own --prompt "ROMEO:"
python scripts/sample.py out/shakespeare/self/seed-1 --state random --magnitude 0.5
"""

import argparse
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from torch import Tensor

from base import command_line, storage
from base.rng import Stream, generator
from base.storage import UserError
from data.corpus import Corpus
from data.prepare import prepare
from model import GPT
from runs import state as run_state
from self_state import SelfState


@torch.inference_mode()
def generate(
    gpt: GPT, prompt: np.ndarray, length: int, bias: Tensor | None, temperature: float, seed: int
) -> np.ndarray:
    """Continue a prompt by sampling.

    Args:
        gpt: the model, in eval mode.
        prompt: (n,) int64 tokens, n >= 1.
        length: tokens to add.
        bias: (n_embd,) embedding bias, or None.
        temperature: logits are divided by it; greater than 0.
        seed: of the SAMPLE stream; token i takes its i-th number.

    Returns:
        (n + length,) int64 tokens.
    """
    block = gpt.positions.weight.shape[0]
    tokens = torch.from_numpy(prompt)[None]
    for index in range(length):
        logits, _ = gpt(tokens[:, -block:], bias)
        p = torch.softmax(logits[0, -1].double() / temperature, dim=-1).numpy()
        choice = int(np.searchsorted(p.cumsum(), generator(seed, Stream.SAMPLE, index).random() * p.sum()))
        tokens = torch.cat([tokens, torch.tensor([[min(choice, len(p) - 1)]])], dim=1)
    return tokens[0].numpy()


def steering_bias(
    self_state: SelfState | None, folder: Path, step: int, how: str, magnitude: float, seed: int
) -> Tensor | None:
    """The embedding bias of a chosen state: `zero`, `own` (that of the last step trained), or `random`.

    A random state is Gaussian, scaled to the L2 norm `magnitude`. UserError for a run without self-state.
    """
    if how == "zero":
        return None
    if self_state is None:
        raise UserError(f"{folder} is a run without self-state; only --state zero makes sense")
    if how == "own":
        state = storage.load_tensors(folder / "states.safetensors")["state"][step - 1]
    else:
        state = generator(seed, Stream.DIRECTIONS).normal(size=self_state.settings.dim)
        state = state * (magnitude / np.linalg.norm(state))
    return self_state.read(torch.from_numpy(np.array(state, dtype=np.float32))).detach()


def _prompt(text: str, corpus: Corpus) -> np.ndarray:
    if not text:
        raise UserError("--prompt is empty; give at least one character")
    return corpus.encode(text)


def harmless(text: str) -> str:
    """A text without what a terminal would obey: control signs but line ends and tabs become U+FFFD."""
    return "".join(
        sign if sign in "\n\t" or unicodedata.category(sign) not in ("Cc", "Cf", "Cs") else "\ufffd"
        for sign in text
    )


def main(arguments: Sequence[str]) -> None:
    parser = command_line.Parser(
        prog="sample.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run folder, for example out/shakespeare/self/seed-1")
    parser.add_argument("--state", choices=("zero", "own", "random"), default="own")
    parser.add_argument(
        "--magnitude", type=float, default=0.5, help="L2 norm of a random state (default 0.5)"
    )
    parser.add_argument("--step", type=int, help="weights after so many steps (default: the last)")
    parser.add_argument("--prompt", default="\n")
    parser.add_argument("--length", type=int, default=300, help="tokens to write (default 300)")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the corpus lies (default out)")
    given = parser.parse_args(arguments)
    if not 0.001 <= given.temperature <= 1000:
        raise UserError(f"--temperature {given.temperature}: must be from 0.001 to 1000")
    if not 0 <= given.magnitude <= 1e6:
        raise UserError(f"--magnitude {given.magnitude}: must be from 0 to 1000000")
    if not 1 <= given.length <= 1_000_000 or not 0 <= given.seed < 2**63:
        raise UserError("--length must be from 1 to 1000000 and --seed 0 or more, below 2**63")
    run, gpt, self_state = run_state.load_models(given.run, given.step)
    corpus = prepare(run.corpus, given.out / "data", run.tokenizer)
    step = (given.step or run.last) - run.first
    vector = run_state.constant_bias(given.run, given.step if given.step != run.last else None)
    if vector is not None and given.state == "own":
        bias: Tensor | None = torch.from_numpy(np.array(vector))
    else:
        bias = steering_bias(self_state, given.run, step, given.state, given.magnitude, given.seed)
    prompt = _prompt(given.prompt, corpus)
    ids = generate(gpt, prompt, given.length, bias, given.temperature, given.seed)
    print(harmless(corpus.decode(ids)))


if __name__ == "__main__":
    command_line.run(main)
