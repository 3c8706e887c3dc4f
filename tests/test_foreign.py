"""A run begins with GPT-2's weights: logits as an independent forward pass makes them of the file, what is refused, keys."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import train
from base import storage
from base.storage import UserError
from configs.run import RunConfig
from configs.suite import load_suite
from configs.toml_file import ConfigError
from data.tokens import Tokens, drawn_from
from runs import folder as run_folder
from runs.state import start
from tests.test_train import tiny

LAYERS, HEADS, WIDTH, PLACES, VOCABULARY = 2, 3, 12, 10, 16


def published(prefix: str = "") -> dict[str, np.ndarray]:
    """A small file of GPT-2's form, its numbers random: every norm and bias counts."""
    random = np.random.default_rng(3)

    def drawn(*shape: int, mean: float = 0.0, std: float = 0.3) -> np.ndarray:
        return random.normal(mean, std, shape).astype(np.float32)

    made = {"wte.weight": drawn(VOCABULARY, WIDTH), "wpe.weight": drawn(PLACES, WIDTH)}
    for layer in range(LAYERS):
        sizes = {
            "attn.c_attn": (WIDTH, 3 * WIDTH),
            "attn.c_proj": (WIDTH, WIDTH),
            "mlp.c_fc": (WIDTH, 4 * WIDTH),
            "mlp.c_proj": (4 * WIDTH, WIDTH),
        }
        for name, (inputs, outputs) in sizes.items():
            made |= {
                f"h.{layer}.{name}.weight": drawn(inputs, outputs),
                f"h.{layer}.{name}.bias": drawn(outputs),
            }
        for name in ("ln_1", "ln_2"):
            made |= {
                f"h.{layer}.{name}.weight": drawn(WIDTH, mean=1.0),
                f"h.{layer}.{name}.bias": drawn(WIDTH),
            }
        made[f"h.{layer}.attn.bias"] = np.tril(np.ones((1, 1, PLACES, PLACES), np.float32))
    made |= {"ln_f.weight": drawn(WIDTH, mean=1.0), "ln_f.bias": drawn(WIDTH)}
    return {prefix + name: array for name, array in made.items()}


def logits_of(file: dict[str, np.ndarray], tokens: np.ndarray) -> np.ndarray:
    """GPT-2's logits (T, V) on tokens (T,), written from the paper and the file's own names, in float64, head by head."""
    given = {name: array.astype(np.float64) for name, array in file.items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
        return scaled * given[f"{name}.weight"] + given[f"{name}.bias"]

    def conv1d(x: np.ndarray, name: str) -> np.ndarray:
        return x @ given[f"{name}.weight"] + given[f"{name}.bias"]

    count, size = len(tokens), WIDTH // HEADS
    x = given["wte.weight"][tokens] + given["wpe.weight"][:count]
    for layer in range(LAYERS):
        block = f"h.{layer}"
        q, k, v = np.split(conv1d(norm(x, f"{block}.ln_1"), f"{block}.attn.c_attn"), 3, axis=1)
        heads = []
        for head in range(HEADS):
            own = slice(head * size, (head + 1) * size)
            for_each = np.zeros((count, size))
            for place in range(count):
                scores = k[: place + 1, own] @ q[place, own] / np.sqrt(size)
                shares = np.exp(scores - scores.max())
                for_each[place] = shares / shares.sum() @ v[: place + 1, own]
            heads.append(for_each)
        x = x + conv1d(np.hstack(heads), f"{block}.attn.c_proj")
        inner = conv1d(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")
        bent = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        x = x + conv1d(bent, f"{block}.mlp.c_proj")
    return norm(x, "ln_f") @ given["wte.weight"].T


def source() -> Tokens:
    return drawn_from("x", small(Path("x")).process, 5)  # type: ignore[arg-type]


def small(path: Path, **changes: object) -> RunConfig:
    sizes = {
        "n_layer": LAYERS,
        "n_head": HEADS,
        "n_embd": WIDTH,
        "block_size": PLACES,
        "bias": True,
        "gelu": "tanh",
    }
    own = {f"model__{name}": value for name, value in {**sizes, "weights": str(path)}.items()}
    return tiny(
        **{**own, "process": {"kind": "chain", "tokens": VOCABULARY}, "train__dtype": "float32", **changes}
    )


def written(folder: Path, tensors: dict[str, np.ndarray]) -> Path:
    storage.save_tensors(folder / "gpt2.safetensors", tensors)
    return folder / "gpt2.safetensors"


@pytest.mark.parametrize("places", [PLACES, 6])
@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_logits_are_those_of_the_file(tmp_path: Path, prefix: str, places: int) -> None:
    tokens = np.random.default_rng(4).integers(0, VOCABULARY, places)
    run = small(written(tmp_path, published(prefix)), model__block_size=places)
    gpt = start(run, source(), torch.device("cpu")).gpt
    with torch.inference_mode():
        found = gpt(torch.from_numpy(tokens)[None])[0][0].numpy()
    expected = logits_of(published(), tokens)
    assert np.ptp(expected) > 3  # so that an exact gelu, which shifts some by more than 1e-4, would show
    np.testing.assert_allclose(found, expected, atol=2e-5, rtol=0)
    rows = gpt.tokens.weight.detach().numpy()
    np.testing.assert_allclose(rows[gpt.mask_token], rows[:-1].mean(0), atol=1e-7)


def without(name: str) -> Callable[[dict[str, np.ndarray]], object]:
    return lambda file: file.pop(name)


SPOILT: dict[str, tuple[Callable[[dict[str, np.ndarray]], object], str]] = {
    "a key that lacks": (without("h.1.mlp.c_fc.bias"), r"has no h\.1\.mlp\.c_fc\.bias"),
    "a layer too many": (
        lambda file: file.update({"h.2.ln_1.weight": np.ones(WIDTH, np.float32)}), r"has h\.2\.ln_1\.weight besides"
    ),
    "another vocabulary": (
        lambda file: file.update({"wte.weight": np.ones((20, WIDTH), np.float32)}), r"wte\.weight .* makes float32 \(21, 12\)"
    ),
    "too few positions": (
        lambda file: file.update({"wpe.weight": np.ones((4, WIDTH), np.float32)}), r"wpe\.weight .* which is \(10, 12\)"
    ),
    "a flat matrix": (
        lambda file: file.update({"h.0.attn.c_proj.weight": np.ones(WIDTH * WIDTH, np.float32)}), r"h\.0\.attn\.c_proj\.weight"
    ),
    "whole numbers": (lambda file: file.update({"ln_f.bias": np.ones(WIDTH, np.int64)}), r"makes int64 \(12,\)"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "said"), SPOILT.values(), ids=SPOILT)
def test_a_file_of_another_form_is_refused(
    tmp_path: Path, spoil: Callable[[dict[str, np.ndarray]], object], said: str
) -> None:
    file = published()
    spoil(file)
    with pytest.raises(UserError, match=said) as caught:
        start(small(written(tmp_path, file)), source(), torch.device("cpu"))
    assert "model.weights takes GPT-2's model.safetensors" in str(caught.value)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gpt2.safetensors"
    with pytest.raises(UserError, match=r"gpt2\.safetensors can't be read \(No such file"):
        train.train(small(path), source(), tmp_path / "runs")
    path.write_bytes(b"not a tensor")
    with pytest.raises(UserError, match=r"is not a whole safetensors file .*; model\.weights takes"):
        train.train(small(path), source(), tmp_path / "runs")


def test_what_is_in_the_file_decides_the_run_and_not_its_name(tmp_path: Path) -> None:
    def key(path: Path) -> str:
        return run_folder.run_key(small(path), "0" * 64)

    first = key(written(tmp_path, published()))
    assert key(written(tmp_path / "elsewhere", published())) == first
    other = published()
    other["ln_f.bias"][0] += 1
    assert key(written(tmp_path, other)) != first
    folder = train.train(small(tmp_path / "gpt2.safetensors"), source(), tmp_path / "runs")
    (tmp_path / "gpt2.safetensors").unlink()
    assert run_folder.check(folder)["status"] == "complete"  # and needs the file no more


def test_weights_ask_for_gpt2s_own_form(tmp_path: Path, suite_file: Path) -> None:
    weights = f"model.weights='{tmp_path / 'gpt2.safetensors'}'"
    with pytest.raises(ConfigError, match=r"model\.weights are GPT-2's: set model\.bias = true"):
        load_suite(suite_file, [weights])
    with pytest.raises(ConfigError, match=r"model\.gelu = "):
        load_suite(suite_file, [weights, "model.bias=true"])
    load_suite(suite_file, [weights, "model.bias=true", "model.gelu=tanh"])
