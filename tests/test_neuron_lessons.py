"""Lessons on a tiny model: what moves, what stays, what is learned; reports in words."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from model import GPT
from probes import in_words, reporter
from probes.neuron import Choice, Neurons, block_of
from probes.reporter import OUTSIDER, WAYS, Lesson, Reporter, Way, taught
from probes.reports import Heldout, natural, slopes
from runs.state import models_arrays
from tests.known_neurons import SITE, T, a_gpt, apart, chosen, some_texts


def a_lesson(steps: int = 40) -> Lesson:
    drawn = some_texts(steps * 4, 1, T + 1).view(steps, 4, T + 1)
    return Lesson(1, drawn[..., :-1], drawn[..., 1:])


def learned(way: Way, changed: bool = False, steps: int = 40) -> tuple[GPT, Reporter, Neurons, list[float]]:
    gpt = a_gpt(1)
    _, neurons = chosen(gpt, 0)
    lesson = a_lesson(steps)
    return gpt, *_with(taught(way, neurons, lesson, gpt, lesson.seen(gpt, SITE, neurons), changed), neurons)


def _with(found: tuple[Reporter, list[float]], neurons: Neurons) -> tuple[Reporter, Neurons, list[float]]:
    return found[0], neurons, found[1]


def same(one: GPT, other: GPT) -> dict[str, bool]:
    before, after = models_arrays({"gpt": one}), models_arrays({"gpt": other})
    return {name.removeprefix("gpt."): bool((before[name] == after[name]).all()) for name in before}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_lesson_moves_what_it_says_and_nothing_else(way: Way) -> None:
    gpt, found, _, spread = learned(way)
    kept = same(gpt, found.gpt)
    above = {name for name in kept if name.startswith(("blocks.1.", "norm."))}
    moved = {name for name, same in kept.items() if not same}
    assert moved == {"nothing": set(), "above": above, "all": set(kept)}[way.trained]
    assert not any(parameter.requires_grad for parameter in found.parameters())
    assert len(spread) == 40 and (way.trained == "all") == (spread != learned(WAYS[0])[3])


def test_a_head_fixed_at_random_stays() -> None:
    way = next(way for way in WAYS if not way.head)
    _, first, *_ = learned(way, steps=1)
    _, last, *_ = learned(way)
    assert torch.equal(first.head.weight, last.head.weight) and first.head.weight.std() > 0.05


def test_a_lesson_lowers_the_error_and_is_the_same_each_time() -> None:
    heldout = Heldout.of(some_texts(20, 5, T + 1), 8)
    gpt, found, neurons, _ = learned(WAYS[1], steps=150)
    (row,) = natural(found, found.gpt, neurons, heldout)
    (before,) = natural(Reporter(gpt, SITE, 1), gpt, neurons, heldout)
    assert row["mse"] < 0.8 * before["mse"] and row["mse"] == pytest.approx(row["bias2"] + row["variance"])
    again = learned(WAYS[1], steps=150)[1]
    assert all(
        torch.equal(one, other) for one, other in zip(found.parameters(), again.parameters(), strict=True)
    )


def test_a_lesson_with_changes_makes_a_reader() -> None:
    heldout = Heldout.of(some_texts(20, 5, T + 1), 8)
    values = {}
    for changed in (False, True):
        gpt, found, neurons, _ = learned(WAYS[1], changed, steps=150)
        choice = Choice(gpt, some_texts(40), SITE)
        values[changed] = slopes(found, found.gpt, choice, neurons, heldout, 1)[0]["slope"]
    assert values[True] > 0.4 > abs(values[False])


def test_a_neuron_that_may_move_is_made_constant() -> None:
    way = next(way for way in WAYS if way.name == "all")
    _, _, _, spread = learned(way, steps=150)
    assert np.mean(spread[-10:]) < 0.3 * np.mean(spread[:5])


def test_an_outsider_learns_from_the_text_alone() -> None:
    gpt, other = a_gpt(1), a_gpt(2)
    choice, neurons = chosen(gpt, 0)
    lesson = a_lesson(100)
    of = [here.values for here in lesson.seen(gpt, SITE, neurons)]
    found, _ = taught(OUTSIDER, neurons, lesson, other, (), False, of=of)
    heldout = Heldout.of(some_texts(20, 5, T + 1), 8)
    (row,) = natural(found, gpt, neurons, heldout)
    assert row["blind_r2"] == row["r2"] > 0.1 and not any(same(other, found.gpt).values())
    assert slopes(found, gpt, choice, neurons, heldout, 1)[0]["slope"] == 0.0


def test_changes_are_of_half_the_positions_and_three_wide() -> None:
    drawn = reporter.changes(1, 0, (50, 40, 2))
    there = drawn != 0
    assert there.float().mean().item() == pytest.approx(0.5, abs=0.03) and drawn[
        there
    ].std().item() == pytest.approx(3.0, abs=0.1)
    assert torch.equal(drawn, reporter.changes(1, 0, (50, 40, 2))) and not torch.equal(
        drawn, reporter.changes(1, 1, (50, 40, 2))
    )
    assert not torch.equal(there[..., 0], there[..., 1])


def test_words() -> None:
    gpt, x = a_gpt(1), some_texts(6)
    asked, places = in_words.questions(gpt, x)
    assert asked.shape == (6, 15) and places.tolist() == [11, 14]
    there = (asked == gpt.mask_token).nonzero()[:, 1].tolist()
    assert sorted(set(there)) == [2, 5, 8, 11, 14] and torch.equal(asked[:, 3:5], x[:, 3:5])
    assert in_words.digit(torch.tensor([-9.0, -1.0, -0.41, -0.39, 4.9, 5.1, 99.0]), -1.0).tolist() == [
        0,
        0,
        0,
        1,
        9,
        9,
        9,
    ]


class Speaks(Reporter):
    """Says the digit and the side of what the neuron writes at the text's last token."""

    def __init__(self, gpt: GPT, neurons: Neurons, low: float) -> None:
        super().__init__(gpt, neurons.site, in_words.DIGITS + 2)
        self.write, self.low = neurons.write(gpt)[0], low

    def forward(self, after: Tensor) -> tuple[Tensor, Tensor]:
        told = (after @ self.write)[..., None].roll(1, 1) / (
            self.write @ self.write
        )  # of the character before
        centres = self.low + in_words.WIDTH * (torch.arange(in_words.DIGITS) + 0.5)
        said = torch.cat([-50 * (told - centres) ** 2, -told, told], -1)
        return said, said


def test_words_of_a_reader_by_hand() -> None:
    gpt, choice, _ = apart()
    neuron = choice.ranked([0])
    with torch.no_grad():  # the stream before holds nothing along the neuron's axis
        gpt.tokens.weight[:, 0] = 0.0
        gpt.positions.weight[:, 0] = 0.0
        block_of(gpt, 0).attention.proj.weight[0] = 0.0
    choice = Choice(gpt, some_texts(40), SITE)
    neuron = choice.units(neuron.units)
    neuron = replace(neuron, mean=torch.zeros(1))
    answers = in_words.Answers(Speaks(gpt, neuron, -1.0), gpt, neuron, some_texts(30))
    right = in_words.right(answers, -1.0)
    assert right["on_off"] == 1.0 and right["exact"] > 0.9 and right["on_off_floor"] < 1
    moved = in_words.moved(answers, gpt, choice, neuron, -1.0, 1)
    assert moved["slope"] == pytest.approx(1.0, abs=0.1) and moved["slope_foreign"] < 0.05
    outside = in_words.Answers(Speaks(a_gpt(2), neuron, -1.0), gpt, neuron, some_texts(30))
    assert set(in_words.moved(outside, gpt, choice, neuron, -1.0, 1).values()) == {0.0}
