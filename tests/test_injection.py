"""What a run injects: one interface, whatever the kind; a value in, a value out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from configs.process import Chain
from configs.run import RunConfig
from data.process import generated
from runs.injection import Injection, injection_of

CPU = torch.device("cpu")
STATS = torch.tensor([[2.0, 1.5, 0.4, 0.8, 0.1], [1.9, 1.4, 0.5, 0.7, 0.2]])
KINDS: dict[str, dict[str, Any]] = {
    "nothing": {"self_state": {"enabled": False}},
    "constant": {"self_state": {"enabled": False}, "constant_bias": {"kind": "learned"}},
    "state": {"self_state": {"standardise": True}},
    "remembering": {"self_state": {"memory": {"kind": "buffer", "length": 4, "stride": 1}}},
    "matched": {"self_state": {}, "match_norm_of": "other"},
}


def made(tmp_path: Path, kind: str) -> Injection:
    fields = {"corpus": "tiny", "seed": 3, "model": {}, "train": {}, "log": {}, "regimes": {}, **KINDS[kind]}
    run = RunConfig.model_validate(fields)
    (tmp_path / "metrics.csv").write_text("step,bias_norm\n" + "".join(f"{step},0.5\n" for step in range(9)))
    return injection_of(
        run, generated("tiny", Chain(kind="chain"), 3), CPU, dict.fromkeys(run.references(), tmp_path)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_goes_in_and_another_comes_out(tmp_path: Path, kind: str) -> None:
    injection = made(tmp_path, kind)
    value = injection.initial()
    for step, stats in enumerate((None, STATS[:1], STATS)):
        before = {name: array.copy() for name, array in value.arrays().items()}
        after, bias = injection.inject(value, step, "calm", stats)
        again, same = injection.inject(type(value).from_arrays(before, CPU), step, "calm", stats)
        assert all(np.array_equal(array, before[name]) for name, array in value.arrays().items())
        assert after.arrays().keys() == again.arrays().keys()
        assert all(np.array_equal(array, again.arrays()[name]) for name, array in after.arrays().items())
        assert (bias is None) == (same is None) == (kind == "nothing")
        if bias is not None and same is not None:
            read = injection.read(after, step)
            assert read is not None and torch.equal(bias, same) and torch.equal(bias, read)
        value = after
    assert bool(value.arrays()) == (kind not in ("nothing", "constant"))


def test_the_gradient_of_a_step_ends_at_its_update(tmp_path: Path) -> None:
    """What a bias owes to the update network is the same, however its old state came about."""
    injection = made(tmp_path, "remembering")
    (module,) = injection.modules.values()
    value = injection.initial()
    for step in range(3):
        value, _ = injection.inject(value, step, "calm", STATS)
    found = []
    for old in (value, type(value).from_arrays(value.arrays(), CPU)):
        _, bias = injection.inject(old, 3, "calm", STATS)
        assert bias is not None
        grads = torch.autograd.grad(bias.square().sum(), list(module.parameters()))
        assert all(grad.abs().sum() > 0 for grad in grads)
        found.append(grads)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_matched_bias_has_the_norm_it_is_matched_to(tmp_path: Path) -> None:
    injection = made(tmp_path, "matched")
    value, bias = injection.inject(injection.initial(), 0, "calm", STATS)
    assert bias is not None and bias.norm().item() == pytest.approx(0.5, rel=1e-6)
    weights = {
        f"self_state.{name}": p.detach().numpy()
        for name, p in injection.modules["self_state"].named_parameters()
    }
    acting = injection.acting_weights(weights, value, 0)
    state = value.arrays()["value.state"]
    np.testing.assert_allclose(
        acting["self_state.reader.weight"] @ state, bias.detach().numpy(), rtol=1e-5, atol=1e-8
    )


def test_what_is_logged_of_a_state(tmp_path: Path) -> None:
    injection = made(tmp_path, "remembering")
    value = injection.initial()
    past, average = np.zeros(32), np.zeros(32)
    for step in range(5):
        before = value
        value, _ = injection.inject(before, step, "calm", STATS * (1 + step))
        logged = value.measured(before)
        state = logged["state"].astype(float)
        average = 0.99 * average + 0.01 * state
        cosine = state @ average / np.linalg.norm(state) / np.linalg.norm(average)
        assert logged["state_norm"] == pytest.approx(np.linalg.norm(state))
        assert logged["state_drift"] == pytest.approx(np.linalg.norm(state - past), rel=1e-5)
        assert logged["state_ema_drift"] == pytest.approx(1 - cosine, abs=1e-6)
        past = state
    assert logged["state_ema_drift"] > 1e-4
