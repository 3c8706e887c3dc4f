"""Text from a finished run, with the self-state zero, as training left it, random, or read from a file.

python scripts/sample.py out/shakespeare/self/seed-1 --state own --prompt "ROMEO:"
python scripts/sample.py out/shakespeare/self/seed-1 --state random --magnitude 0.5
python scripts/sample.py out/shakespeare/self/seed-1 --state confident.json --samples 3 --top-k 10
"""

import argparse
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from base import command_line

if __name__ == "__main__":
    command_line.heed()

import numpy as np
import torch
from torch import Tensor

from base import storage
from base.rng import Stream, generator
from base.storage import UserError
from data.tokenizers import Tokenizer
from model import GPT
from runs import folder as run_folder
from runs import state as run_state
from runs import state_file
from self_state import SelfState

LONGEST = 1_000_000  # tokens to write, and bytes of a prompt's file
MOST_SAMPLES = 100
STATES = ("zero", "own", "random")  # or a file


@torch.inference_mode()
def generate(
    gpt: GPT,
    prompt: np.ndarray,
    length: int,
    bias: Tensor | None,
    temperature: float,
    seed: int,
    top_k: int | None = None,
    draw: int = 0,
) -> np.ndarray:
    """Continue a prompt by sampling.

    Args:
        gpt: the model, in eval mode.
        prompt: (n,) int64 tokens, n >= 1.
        length: tokens to add, at most LONGEST.
        bias: (n_embd,) embedding bias, or None.
        temperature: logits are divided by it; greater than 0.
        seed: of the SAMPLE stream; token i takes its i-th number, of draw n its (n LONGEST + i)-th.
        top_k: draw from so many of the most likely tokens; None: from all.
        draw: which of the texts of one seed.

    Returns:
        (n + length,) int64 tokens.
    """
    block = gpt.positions.weight.shape[0]
    tokens = torch.from_numpy(prompt)[None]
    for index in range(length):
        logits, _ = gpt(tokens[:, -block:], bias)
        p = torch.softmax(logits[0, -1].double() / temperature, dim=-1).numpy()
        kept = np.sort(np.argsort(-p, kind="stable")[:top_k])
        p = p[kept]
        number = generator(seed, Stream.SAMPLE, draw * LONGEST + index).random()
        choice = min(int(np.searchsorted(p.cumsum(), number * p.sum())), len(p) - 1)
        tokens = torch.cat([tokens, torch.tensor([[kept[choice]]])], dim=1)
    return tokens[0].numpy()


def steering_bias(
    self_state: SelfState | None, folder: Path, step: int, how: str, magnitude: float, seed: int
) -> Tensor | None:
    """The embedding bias of a chosen state: `zero`, `own` (that of the last step trained), `random`, or a file's.

    A random state is Gaussian, scaled to the L2 norm `magnitude`. UserError for a run without self-state, and for a
    file that holds no state of its size.
    """
    if how == "zero":
        return None
    if self_state is None:
        raise UserError(f"{folder} is a run without self-state; only --state zero makes sense")
    if how == "own":
        state = storage.load_tensors(folder / "states.safetensors")["state"][step - 1]
    elif how.endswith(".json"):
        state = state_file.load(Path(how), self_state.settings.dim)
    else:
        state = generator(seed, Stream.DIRECTIONS).normal(size=self_state.settings.dim)
        state = state * (magnitude / np.linalg.norm(state))
    return self_state.read(torch.from_numpy(np.array(state, dtype=np.float32))).detach()


def _prompt(text: str | None, tokenizer: Tokenizer) -> np.ndarray:
    """Tokens (n,) of a prompt; of none a line end, or the first token where the vocabulary has no line end."""
    if text is None:
        try:
            return tokenizer.encode("\n")
        except UserError:
            return np.zeros(1, dtype=np.int64)
    if not text:
        raise UserError("--prompt is empty; give at least one character")
    return tokenizer.encode(text)


def prompt_of(path: Path) -> str:
    """The text in a file. UserError where there is no file, or it is empty, longer than LONGEST bytes, or not UTF-8."""
    if not path.is_file():
        raise UserError(f"--prompt-file {path}: there is no such file; name a text file")
    size = path.stat().st_size
    if not 1 <= size <= LONGEST:
        raise UserError(f"--prompt-file {path} has {size:,} bytes; give it at least one, at most {LONGEST:,}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"--prompt-file {path} is not UTF-8 text (at byte {error.start:,}); save it as UTF-8"
        ) from None


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
    parser.add_argument(
        "--state", help="zero, own, random, or a file FILE.json (default own, if the run has one)"
    )
    parser.add_argument(
        "--magnitude", type=float, default=0.5, help="L2 norm of a random state (default 0.5)"
    )
    parser.add_argument("--step", type=int, help="weights after so many steps (default: the last)")
    prompts = parser.add_mutually_exclusive_group()
    prompts.add_argument("--prompt", help="text to go on from (default: a line end)")
    prompts.add_argument("--prompt-file", type=Path, metavar="PATH", help="a text file to go on from")
    parser.add_argument("--length", type=int, default=300, help="tokens to write (default 300)")
    parser.add_argument("--samples", type=int, default=1, help="texts to write, each drawn anew (default 1)")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument(
        "--top-k", type=int, help="draw from the most likely tokens alone (default: from all)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out"),
        help="where its corpus lies, for a run that has none beside it (default out)",
    )
    given = parser.parse_args(arguments)
    if given.state is not None and given.state not in STATES:
        if not given.state.endswith(".json"):
            raise UserError(f"--state {given.state}: it can be {', '.join(STATES)}, or a file FILE.json")
        command_line.check_path(Path(given.state), "--state")
    if not 0.001 <= given.temperature <= 1000:
        raise UserError(f"--temperature {given.temperature}: must be from 0.001 to 1000")
    if not 0 <= given.magnitude <= 1e6:
        raise UserError(f"--magnitude {given.magnitude}: must be from 0 to 1000000")
    if not 1 <= given.length <= LONGEST or not 0 <= given.seed < 2**63:
        raise UserError("--length must be from 1 to 1000000 and --seed 0 or more, below 2**63")
    if not 1 <= given.samples <= MOST_SAMPLES or (given.top_k is not None and given.top_k < 1):
        raise UserError(f"--samples must be from 1 to {MOST_SAMPLES} and --top-k 1 or more")
    text = given.prompt if given.prompt_file is None else prompt_of(given.prompt_file)
    given.run = run_folder.viewed(given.run)
    run, gpt, self_state = run_state.load_models(given.run, given.step)
    tokenizer = run_state.tokenizer_of(given.run, run, given.out / "data")
    step = (given.step or run.last) - run.first
    vector = run_state.constant_bias(given.run, given.step if given.step != run.last else None)
    state = given.state or ("own" if run.injects else "zero")
    if vector is not None and state == "own":
        bias: Tensor | None = torch.from_numpy(np.array(vector))
    else:
        bias = steering_bias(self_state, given.run, step, state, given.magnitude, given.seed)
    prompt = _prompt(text, tokenizer)
    for draw in range(given.samples):
        if given.samples > 1:
            print(f"--- {draw + 1} of {given.samples} ---")
        settings = (given.temperature, given.seed, given.top_k, draw)
        ids = generate(gpt, prompt, given.length, bias, *settings)
        written = tokenizer.decode(ids)
        print(harmless(written) if sys.stdout.isatty() else written)  # a file gets the model's text as it is


if __name__ == "__main__":
    command_line.run(main)
