"""Where a neuron stands, which are chosen, and what a report is worth: hand-made readers whose slope is known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from base.errors import UserError
from probes import reports
from probes.neuron import Choice, Site, block_of, seen, texts
from probes.reporter import Reporter
from probes.reports import Asked, Heldout, errors, linear_r2, slopes, table_r2
from tests.known_neurons import SITE, ByHand, T, a_gpt, apart, some_texts


def test_the_pieces_are_the_model() -> None:
    gpt, x = a_gpt(1), some_texts(5)
    for kind in ("neuron", "mlp_out"):
        for block in (0, 1):
            site = Site(kind, block)
            logits = Reporter(gpt, site, 1)(seen(gpt, x, site).after)[1]
            assert torch.allclose(logits, gpt(x)[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["neuron", "mlp_out"])
def test_a_change_of_a_neuron_is_what_it_writes(kind: Any) -> None:
    gpt, x = a_gpt(1), some_texts(5)
    neurons = Choice(gpt, some_texts(40), Site(kind, 0)).ranked([0, 3])
    here, block = seen(gpt, x, neurons.site), block_of(gpt, 0)
    values = here.values.clone()
    values[..., neurons.units[1]] += neurons.sd[1]
    after = here.stream + (block.down(values) if kind == "neuron" else values)
    assert torch.allclose(here.after + neurons.write(gpt)[1], after, atol=1e-5)


def test_neurons_are_chosen_by_their_spread() -> None:
    gpt, x = a_gpt(1), some_texts(70)
    choice = Choice(gpt, x, SITE)
    values = seen(gpt, x, SITE).values.flatten(0, 1).double().numpy()
    assert choice.order == np.argsort(-values.std(0), kind="stable").tolist()
    neurons = choice.ranked([5, 0])
    assert neurons.ranks == (5, 0) and neurons.units[1] == int(values.std(0).argmax())
    told = neurons.of(seen(gpt, x, SITE).values).flatten(0, 1)
    assert torch.allclose(told.mean(0), torch.zeros(2), atol=1e-4) and torch.allclose(
        told.std(0), torch.ones(2), atol=1e-3
    )
    others = choice.others(neurons, 62, np.random.default_rng(0))
    assert (
        set(others) == set(range(64)) - set(neurons.units)
        and len(choice.others(neurons, 4, np.random.default_rng(0))) == 4
    )


def test_a_neuron_that_is_not_there_and_a_dead_one_give_one_line() -> None:
    gpt = a_gpt(1)
    with torch.no_grad():
        block_of(gpt, 0).up.weight[7] = 0.0
    choice = Choice(gpt, some_texts(20), SITE)
    with pytest.raises(
        UserError, match=r"^unit 64 of block 0 \(neuron\) does not exist: they are numbered 0 to 63$"
    ):
        choice.units([3, 64])
    with pytest.raises(
        UserError, match=r"^unit 7 of block 0 \(neuron\) is dead: on dev text it stays at 0;[^\n]*$"
    ):
        choice.units([7])
    with pytest.raises(UserError, match="dead"):
        choice.ranked([63])


def test_texts_stand_in_one_split_once() -> None:
    letters = np.arange(60, dtype=np.uint16)
    split = np.concatenate([letters[:40], letters[:10], letters[40:50], np.array([59], np.uint16)])
    found = texts(split, 10, 100)
    assert found.tolist() == [
        list(range(start, start + 10)) for start in (0, 10, 20, 30, 40)
    ]  # the repeated one once
    assert texts(split, 10, 100, [letters[8:32]]).tolist() == [found[place].tolist() for place in (0, 3, 4)]
    assert texts(split, 10, 2).tolist() == [found[0].tolist(), found[4].tolist()]
    with pytest.raises(UserError, match="no text of this split is new"):
        texts(split, 10, 100, [letters])


def test_a_hand_made_reader_has_slope_one_and_an_outsider_none() -> None:
    gpt, choice, neurons = apart()
    heldout = Heldout.of(some_texts(12, 3, T + 1), 6)
    for row in slopes(ByHand(gpt, neurons), gpt, choice, neurons, heldout, seed=1):
        assert row["slope"] == pytest.approx(1.0, abs=1e-5) and row["slope_foreign"] == pytest.approx(
            0.0, abs=1e-5
        )
        assert 0.05 < row["slope_random"] < 1.0  # a random direction has a part along any other
        assert row["overlap"] == pytest.approx(0.0, abs=1e-6)
    outsider = ByHand(a_gpt(2), neurons)
    for row in slopes(outsider, gpt, choice, neurons, heldout, seed=1):
        assert {value for name, value in row.items() if name != "overlap"} == {0.0}


def test_a_neuron_moved_through_its_inputs_moves_the_report_as_far() -> None:
    """Where the report is the activation itself, the stream it came through taken off."""
    gpt, _, neurons = apart()

    asked = Asked(ByHand(gpt, neurons), gpt, neurons, some_texts(4))
    moved: list[Tensor] = []

    def tell(here: Any) -> Tensor:
        moved.append(here.values)
        return neurons.of(here.values)

    asked.reports = lambda change=0.0, here=None: tell(here)  # type: ignore[method-assign]
    pushed, follows = reports.inward(asked, 1)
    assert follows == pytest.approx(1.0, abs=1e-5) and len(moved) == 2 and pushed > 0
    assert not torch.equal(moved[0][:, -1], moved[1][:, -1]) and torch.equal(
        moved[0][:, :-1], moved[1][:, :-1]
    )
    elsewhere = Asked(asked.reporter, gpt, replace(neurons, site=Site("mlp_out", 0)), some_texts(4))
    assert np.isnan(reports.inward(elsewhere, 0)).all()


def test_a_blindfolded_reader_reports_the_mean() -> None:
    gpt, _, neurons = apart()
    with torch.no_grad():  # nothing but the neurons in the stream
        gpt.tokens.weight *= 1.0
    heldout = Heldout.of(some_texts(12, 3, T + 1), 6)
    asked = Asked(ByHand(gpt, neurons), gpt, neurons, heldout.x)
    held = asked.reports(-asked.own[..., 0, None] * neurons.write(gpt)[0])
    assert torch.allclose(asked.reports()[..., 0] - held[..., 0], asked.own[..., 0], atol=1e-4)
    assert torch.allclose(asked.reports()[..., 1], held[..., 1], atol=1e-4)


def test_errors_are_bias_and_variance() -> None:
    true = np.array([0.0, 1.0, 2.0, 3.0])
    found = errors(true * 2 + 1, true)
    assert found["mse"] == pytest.approx(found["bias2"] + found["variance"])
    assert found["bias2"] == pytest.approx(2.5**2) and found["r"] == pytest.approx(1.0)
    assert found["r2"] == pytest.approx(1 - found["mse"] / 1.25) and found["sd"] == pytest.approx(1.25**0.5)
    constant = errors(np.zeros(4), np.zeros(4))
    assert constant["mse"] == 0.0 and np.isnan(constant["r2"]) and np.isnan(constant["r"])


def test_tables_of_the_last_tokens() -> None:
    x = some_texts(3000).numpy()
    single, pair = np.sin(x).astype(float), np.sin(3 * x + np.roll(x, 1, 1)).astype(float)
    found = table_r2(
        (x[:2900], np.stack([single, pair], -1)[:2900]), (x[2900:], np.stack([single, pair], -1)[2900:])
    )
    assert found["token"][0] > 0.999 and found["pair"][0] > 0.999
    assert found["token"][1] < 0.5 and found["pair"][1] > 0.99
    unseen = table_r2((x[:1, :], single[:1, :, None]), (x[2900:], single[2900:, :, None]))
    assert np.isfinite(unseen["pair"][0])


def test_a_linear_reading_finds_what_is_linear() -> None:
    random = np.random.default_rng(0)
    features, weights = random.normal(size=(500, 5)) + 3, random.normal(size=(5, 2))
    known, asked = ((part, part @ weights + 7) for part in (features[:400], features[400:]))
    assert linear_r2(known, asked) == pytest.approx([1.0, 1.0], abs=1e-4)
    assert (
        linear_r2((known[0], random.normal(size=(400, 1))), (asked[0], random.normal(size=(100, 1))))[0] < 0.1
    )
