"""The self-state and the reader against an independent NumPy reference; the model's use of the bias."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import erf

from base.rng import Stream, generator
from configs.state import BufferMemory, EmaMemory, FixedBias
from configs.state import SelfState as SelfStateConfig
from configs.training import Model
from memory import MemoryValue
from model import GPT
from self_state import ConstantBias, SelfState, StateValue, position_stats

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
    made = make(**kind, standardise=standardise, decay=0.3, stat_momentum=0.5, stat_clip=0.6)
    value = made.initial()
    state, mean, variance = np.zeros(6), np.zeros(5), np.zeros(5)
    cut = set()
    draws = np.random.default_rng(0).normal(1.0, 2.0, (6, 5)).astype(np.float32)
    for count, stats in enumerate(draws.astype(np.float64), 1):
        share = max(1 / count, 0.5)
        delta = stats - mean
        mean = mean + share * delta
        variance = (1 - share) * (variance + share * delta**2)
        scaled = (stats - mean) / np.sqrt(variance + 1e-12)  # at this momentum never beyond 1
        cut |= {*np.sign(scaled[np.abs(scaled) > 0.6])}
        seen = np.clip(scaled, -0.6, 0.6) if standardise else stats
        target = reference_target(made, seen, state)
        state = state + 0.3 * (target - state)
        value, parts = made.update(value, torch.from_numpy(draws[count - 1]))
        np.testing.assert_allclose(value.state.detach().numpy(), state, rtol=2e-5, atol=2e-5)
        assert parts is not None and parts.memory is None
        np.testing.assert_allclose(parts.target.numpy(), target, rtol=2e-5, atol=2e-5)
        bias = made.read(value.state).detach().numpy()
        np.testing.assert_allclose(bias, made.reader.weight.detach().numpy() @ state, rtol=1e-4, atol=1e-4)
    assert cut == {-1, 1}  # the clip acts at both ends


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
    arrays = {name: array.copy() for name, array in value.arrays().items()}
    again = StateValue.from_arrays(arrays)
    for array in arrays.values():
        array += 1  # a value has its numbers for itself
    for name, array in value.arrays().items():
        assert array.tobytes() == again.arrays()[name].tobytes()


def expected_draws(made: SelfState, small: bool) -> dict[str, np.ndarray]:
    """One draw after the other, in the order of the parameters: what each is made of is told from its name and shape."""
    random, wanted = generator(3, Stream.STATE_INIT), {}
    shapes = {name: tuple(parameter.shape) for name, parameter in made.named_parameters()}
    for name, shape in shapes.items():
        if name == "reader.weight" or (small and len(shape) == 2):
            wanted[name] = 0.02 * random.standard_normal(shape)
        elif small:
            wanted[name] = np.zeros(shape)
        else:
            layer = name.rpartition(".")[0]
            inputs = (
                6 if layer == "network" and made.settings.update == "gru" else shapes[f"{layer}.weight"][1]
            )
            wanted[name] = (2 * random.random(shape) - 1) / np.sqrt(inputs)
    return wanted


@pytest.mark.parametrize("init", ["small", "default"])
@pytest.mark.parametrize("update", ["mlp", "linear", "gru", "memory"])
def test_weights_begin_as_small_or_as_a_linear_layers_do(update: str, init: str) -> None:
    kind = (
        {"memory": BufferMemory(kind="buffer", projection=True)} if update == "memory" else {"update": update}
    )
    made = SelfState(SelfStateConfig(dim=6, hidden=7, init=init, **kind), n_embd=16)  # type: ignore[arg-type]
    made.initialise(generator(3, Stream.STATE_INIT))
    wanted = expected_draws(made, init == "small")
    for name, parameter in made.named_parameters():
        np.testing.assert_allclose(
            parameter.detach().numpy(), wanted[name], rtol=1e-6, atol=1e-9, err_msg=name
        )


@pytest.mark.parametrize("limit", [0.5, None])
def test_with_a_memory_the_gradient_of_one_update_is_that_of_finite_differences(limit: float | None) -> None:
    """All of it: through target, limit, gate and proposal, to every weight of network and memory; what was before is a constant."""
    settings = EmaMemory(kind="ema", decay=0.25, features=2, projection=True, limit=limit)
    made = make(memory=settings, decay=0.3).double()
    value = made.initial()
    value = replace(value, memory=MemoryValue(value.memory.past.double(), value.memory.count))  # type: ignore[union-attr]
    for step in range(3):
        value, parts = made.update(value, (STATS + step).double())
        value = replace(value, state=value.state.detach())
    assert parts is not None and parts.gate is not None and 0 < parts.gate < 1
    assert not any(part.requires_grad for part in (parts.target, parts.wanted, parts.memory, parts.gate))  # type: ignore[union-attr]
    learned = [one for name, one in made.named_parameters() if name != "reader.weight"]

    def state() -> torch.Tensor:
        return made.update(value, (STATS - 1).double())[0].state @ torch.arange(1.0, 7.0).double()

    got = torch.autograd.grad(state(), learned)
    with torch.no_grad():
        for parameter, gradient in zip(learned, got, strict=True):
            flat = parameter.view(-1)
            for place in range(0, len(flat), 5):
                was, ends = flat[place].item(), []
                for moved in (1e-6, -1e-6):
                    flat[place] = was + moved
                    ends.append(state().item())
                flat[place] = was
                assert gradient.view(-1)[place].item() == pytest.approx(
                    (ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-7
                )


def test_a_held_state_is_remembered() -> None:
    made = make(memory=EmaMemory(kind="ema", decay=0.25))
    value = made.initial()
    for held in (False, False, True):
        before, (value, _) = value, made.update(value, STATS, hold=held)
    assert before.memory is not None and value.memory is not None
    average = 0.75 * before.memory.past[0] + 0.25 * before.state.detach()
    assert not torch.allclose(average, before.memory.past[0])
    torch.testing.assert_close(value.memory.past[0], average)
    assert int(value.memory.count) == 3


def test_a_constant_bias_is_the_seeds_direction_at_a_norm() -> None:
    drawn = []
    for seed, norm in ((1, 0.5), (1, 2.0), (2, 2.0)):
        made = ConstantBias(FixedBias(kind="fixed", norm_of="self"), 16)
        made.draw(seed, norm)
        assert made.vector.norm().item() == pytest.approx(norm, rel=1e-6) and not made.vector.requires_grad
        drawn.append(made().detach() / norm)
    torch.testing.assert_close(drawn[0], drawn[1])
    assert abs(float(drawn[1] @ drawn[2])) < 0.9


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
    log_p = torch.from_numpy(logits).log_softmax(-1).requires_grad_()
    found = position_stats(log_p, torch.from_numpy(targets))
    wanted = np.stack([loss, -(p * np.log(p)).sum(-1), p.max(-1)])
    assert found.numpy() == pytest.approx(wanted)  # which has no gradient, else NumPy refuses it
    targets[0, 1] = targets[1, 3] = -1  # not scored
    there = targets >= 0
    some = position_stats(log_p, torch.from_numpy(targets)).numpy()
    assert np.isnan(some[:, ~there]).all() and some[:, there] == pytest.approx(wanted[:, there])
