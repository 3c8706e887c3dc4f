"""The self-state and the reader against an independent NumPy reference; the model's use of the bias."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import erf

from base.rng import Stream, generator
from configs.run import Model
from configs.state import SelfState as SelfStateConfig
from model import GPT
from self_state import SelfState, StateValue, position_stats

STATS = torch.tensor([2.5, 2.7, 0.3, 1.2, 0.4])
SIZES = Model(n_layer=2, n_head=2, n_embd=16, block_size=8)


def make(**changes: object) -> SelfState:
    made = SelfState(SelfStateConfig(dim=6, hidden=7, **changes), n_embd=16)  # type: ignore[arg-type]
    made.initialise(generator(3, Stream.STATE_INIT))
    with torch.no_grad():  # large weights and biases, so that nothing is lost in rounding
        for index, parameter in enumerate(made.parameters()):
            parameter.copy_(torch.from_numpy(np.random.default_rng(index).normal(0, 0.7, parameter.shape)))
    return made


def reference_target(made: SelfState, seen: np.ndarray, past: np.ndarray) -> np.ndarray:
    p = {name: value.detach().numpy().astype(np.float64) for name, value in made.network.named_parameters()}
    if made.settings.update == "linear":
        return p["weight"] @ seen + p["bias"]
    if made.settings.update == "mlp":
        hidden = p["0.weight"] @ seen + p["0.bias"]
        tanh = made.settings.activation == "tanh"
        middle = np.tanh(hidden) if tanh else hidden * 0.5 * (1 + erf(hidden / np.sqrt(2)))
        return p["2.weight"] @ middle + p["2.bias"]
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    reset_i, update_i, new_i = np.split(p["weight_ih"] @ seen + p["bias_ih"], 3)
    reset_h, update_h, new_h = np.split(p["weight_hh"] @ past + p["bias_hh"], 3)
    update = sigmoid(update_i + update_h)
    new = np.tanh(new_i + sigmoid(reset_i + reset_h) * new_h)
    return (1 - update) * new + update * past


@pytest.mark.parametrize("update", ["mlp", "tanh", "linear", "gru"])
@pytest.mark.parametrize("standardise", [False, True])
def test_update_and_read_match_numpy(update: str, standardise: bool) -> None:
    kind = {"update": "mlp", "activation": "tanh"} if update == "tanh" else {"update": update}
    made = make(**kind, standardise=standardise, decay=0.3, stat_momentum=0.5, stat_clip=1.1)
    value = made.initial()
    state, mean, variance = np.zeros(6), np.zeros(5), np.zeros(5)
    draws = np.random.default_rng(0).normal(1.0, 2.0, (6, 5)).astype(np.float32)
    for count, stats in enumerate(draws.astype(np.float64), 1):
        share = max(1 / count, 0.5)
        delta = stats - mean
        mean = mean + share * delta
        variance = (1 - share) * (variance + share * delta**2)
        seen = np.clip((stats - mean) / np.sqrt(variance + 1e-12), -1.1, 1.1) if standardise else stats
        target = reference_target(made, seen, state)
        state = state + 0.3 * (target - state)
        value, parts = made.update(value, torch.from_numpy(draws[count - 1]))
        np.testing.assert_allclose(value.state.detach().numpy(), state, rtol=2e-5, atol=2e-5)
        assert parts is not None and parts.memory is None
        np.testing.assert_allclose(parts.target.numpy(), target, rtol=2e-5, atol=2e-5)
        bias = made.read(value.state).detach().numpy()
        np.testing.assert_allclose(bias, made.reader.weight.detach().numpy() @ state, rtol=1e-4, atol=1e-4)


def test_moments_are_the_plain_mean_and_variance_at_first() -> None:
    made = make(standardise=True)
    draws = np.random.default_rng(1).normal(3, 2, (50, 5)).astype(np.float32)
    value = made.initial()
    for stats in draws:
        value, _ = made.update(value, torch.from_numpy(stats))
    np.testing.assert_allclose(value.mean.numpy(), draws.mean(0), rtol=1e-5)
    np.testing.assert_allclose(value.variance.numpy(), draws.var(0), rtol=1e-4)


def test_gradient_reaches_the_network_through_one_update_only() -> None:
    made = make()
    first, _ = made.update(made.initial(), STATS)
    second, _ = made.update(first, STATS + 1)
    made.read(second.state).sum().backward()
    weight = next(made.network.parameters())
    assert weight.grad is not None
    got = weight.grad.clone()
    made.zero_grad()
    detached = replace(first, state=first.state.detach())
    made.read(made.update(detached, STATS + 1)[0].state).sum().backward()
    torch.testing.assert_close(got, weight.grad, rtol=0, atol=0)
    assert got.abs().sum() > 0


def test_held_state_stays_and_carries_no_gradient() -> None:
    made = make(standardise=True)
    first, _ = made.update(made.initial(), STATS)
    held, parts = made.update(first, STATS + 1, hold=True)
    assert torch.equal(held.state, first.state.detach()) and not held.state.requires_grad
    assert held.count == 2 and parts is None


def test_value_survives_saving() -> None:
    value, _ = make(standardise=True).update(make().initial(), STATS)
    again = StateValue.from_arrays(value.arrays())
    for name, array in value.arrays().items():
        assert array.tobytes() == again.arrays()[name].tobytes()


def model() -> GPT:
    made = GPT(SIZES, vocab_size=11)
    made.initialise(generator(4, Stream.INIT))
    return made.eval()


TOKENS = torch.from_numpy(np.random.default_rng(2).integers(0, 11, (3, 8)))


def test_zero_state_is_no_injection_bit_for_bit() -> None:
    made, gpt = make(), model()
    plain, _ = gpt(TOKENS)
    steered, _ = gpt(TOKENS, made.read(torch.zeros(6)))
    assert torch.equal(plain, steered)
    assert not torch.equal(plain, gpt(TOKENS, made.read(torch.ones(6)))[0])


def test_mask_token_is_read_and_never_predicted() -> None:
    gpt = model()
    logits, _ = gpt(torch.full((1, 8), gpt.mask_token))
    assert logits.shape == (1, 8, 11) and gpt.tokens.weight.shape == (12, 16)
    _, loss = gpt(TOKENS, None, TOKENS)
    loss.backward()
    assert gpt.tokens.weight.grad is not None
    assert gpt.tokens.weight.grad[gpt.mask_token].abs().sum() == 0


def test_no_position_sees_the_future() -> None:
    gpt = model()
    changed = TOKENS.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 11
    before, after = gpt(TOKENS)[0], gpt(changed)[0]
    torch.testing.assert_close(before[:, :5], after[:, :5], rtol=0, atol=1e-6)
    assert (before[:, 5:] - after[:, 5:]).abs().max() > 1e-4


def test_initial_weights_do_not_depend_on_the_global_generator() -> None:
    torch.manual_seed(0)
    first = model()
    torch.manual_seed(1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), model().parameters(), strict=True))
    assert 0.015 < first.get_parameter("blocks.0.attention.qkv.weight").std().item() < 0.025


def test_what_a_batch_says_at_each_position_is_as_in_numpy() -> None:
    random = np.random.default_rng(5)
    logits, targets = random.normal(0, 3, (2, 4, 9)), random.integers(0, 9, (2, 4))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    loss = -np.log(np.take_along_axis(p, targets[..., None], -1)[..., 0])
    found = position_stats(torch.from_numpy(logits).log_softmax(-1), torch.from_numpy(targets))
    assert found.numpy() == pytest.approx(np.stack([loss, -(p * np.log(p)).sum(-1), p.max(-1)]))
