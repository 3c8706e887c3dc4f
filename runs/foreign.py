"""Weights that another project trained, under our names. The one place that knows what others call them.

GPT-2's, as published in one safetensors file (Radford et al., 2019; on Hugging Face `gpt2`, `model.safetensors`): names with or
without `transformer.` in front, matrices of linear layers as (inputs, outputs), no row for a mask token.
"""

import functools
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from base import storage
from base.storage import UserError

OUTSIDE = {"tokens": "wte", "positions": "wpe", "norm": "ln_f"}
INSIDE = {
    "norm1": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.proj": "attn.c_proj",
    "norm2": "ln_2",
    "up": "mlp.c_fc",
    "down": "mlp.c_proj",
}
NOT_LEARNED = re.compile(r"h\.\d+\.attn\.(masked_)?bias|lm_head\.weight")  # masks, and wte.weight once more


def gpt2_name(name: str) -> str:
    """What GPT-2's file calls a parameter of model.GPT."""
    part, _, kind = name.rpartition(".")
    if part in OUTSIDE:
        return f"{OUTSIDE[part]}.{kind}"
    _, block, inner = part.split(".", 2)
    return f"h.{block}.{INSIDE[inner]}.{kind}"


def gpt2(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The parameters of model.GPT, float32, from a file of GPT-2's.

    The row of the mask token is the mean of all tokens' rows, which says nothing of any. A shorter block_size takes the first
    positions.

    Args:
        shapes: of the parameters that are wanted, by their names in model.GPT.

    Raises:
        UserError: a file that is missing, no safetensors, or of another model than the config's.
    """
    try:
        found = storage.load_tensors(path)
    except UserError as error:
        raise _unfit(str(error).rpartition(";")[0]) from None
    found = {name.removeprefix("transformer."): array for name, array in found.items()}
    made = {}
    for name, shape in shapes.items():
        there = gpt2_name(name)
        if there not in found:
            raise _unfit(f"{path} has no {there}")
        array = found.pop(there)
        if array.ndim == 2 and name not in ("tokens.weight", "positions.weight"):
            array = array.T
        elif array.ndim == 2 and name == "tokens.weight":
            array = np.vstack([array, array.mean(0)])
        elif array.ndim == 2:
            array = array[: shape[0]]
        if array.shape != shape or array.dtype.kind != "f":
            raise _unfit(f"{there} in {path} makes {array.dtype} {array.shape} of {name}, which is {shape}")
        made[name] = array.astype(np.float32)
    rest = [name for name in found if not NOT_LEARNED.fullmatch(name)]
    if rest:
        raise _unfit(f"{path} has {min(rest)} besides, for which this model has no place")
    return made


def _unfit(what: str) -> UserError:
    return UserError(
        f"{what}; model.weights takes GPT-2's model.safetensors, with the tokenizer gpt2 and the sizes of the file "
        "(configs/gpt2_small.toml)"
    )


def sha256(path: Path) -> str:
    """What is in a file of weights, for the keys of the runs that begin with it. UserError where it is missing."""
    try:
        about = path.stat()
        return _sha256(path, about.st_size, about.st_mtime_ns)
    except OSError as error:
        raise _unfit(f"{path} can't be read ({error.strerror})") from None


@functools.lru_cache(maxsize=8)  # a plan asks for each of its runs, and the file has half a gigabyte
def _sha256(path: Path, size: int, changed: int) -> str:
    return storage.sha256_file(path)
