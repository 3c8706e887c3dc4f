"""Reports of a neuron: hand-made readers whose slope is known, lessons on a tiny model, whole tests of runs, the page."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import train
from base import storage
from base.errors import UserError
from base.rng import Stream, generator
from configs.probes.introspection import Introspection
from configs.suite import load_suite
from configs.toml_file import ConfigError
from configs.training import Model
from data.corpus import Corpus
from data.prepare import prepare_text
from experiments import introspection as experiment
from experiments.introspection_figure import LOOKS, SHORT
from experiments.kit.stats import estimate
from experiments.kit.words import below, near
from model import GPT
from probes import in_words, introspection, reporter, reports
from probes.neuron import Choice, Neurons, Site, block_of, seen, texts
from probes.reporter import OUTSIDER, WAYS, Lesson, Reporter, Way, taught
from probes.reports import Asked, Heldout, errors, linear_r2, natural, slopes, table_r2
from runs.state import models_arrays
from tests.made_runs import (
    assert_tables,
    cells,
    drawn_of,
    page_of,
    title_of,
    verdict,
)
from tests.test_train import tiny

V, C, T = 12, 16, 16
SIZES = Model(n_layer=2, n_head=2, n_embd=C, block_size=T)
SITE = Site("neuron", 0)


def a_gpt(seed: int, wide: float = 8.0) -> GPT:
    """Random weights, so large that neurons differ from text to text."""
    gpt = GPT(SIZES, V)
    gpt.initialise(generator(seed, Stream.INIT))
    with torch.no_grad():
        for parameter in gpt.blocks.parameters():
            if parameter.dim() == 2:
                parameter.mul_(wide)
    return gpt.eval().requires_grad_(False)


def some_texts(count: int, seed: int = 0, length: int = T) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, V, (count, length)))


def chosen(gpt: GPT, *ranks: int) -> tuple[Choice, Neurons]:
    choice = Choice(gpt, some_texts(40), SITE)
    return choice, choice.ranked(ranks)


# Where a neuron stands


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


# What a report is worth


class ByHand(Reporter):
    """Reads a neuron off the stream, along what it writes; all else that the stream holds is left out by the caller."""

    def __init__(self, gpt: GPT, neurons: Neurons) -> None:
        super().__init__(gpt, neurons.site, len(neurons))
        self.write = neurons.write(gpt)

    def forward(self, after: Tensor) -> tuple[Tensor, Tensor]:
        told = after @ torch.linalg.pinv(self.write)
        return told, super().forward(after)[1]


def apart() -> tuple[GPT, Choice, Neurons]:
    """A model two of whose neurons write along axes of their own, all others along the rest."""
    gpt = a_gpt(1)
    block, order = block_of(gpt, 0), Choice(gpt, some_texts(40), SITE).order
    with torch.no_grad():
        block.down.weight.zero_()
        for place, unit in enumerate(order):
            block.down.weight[{0: 0, 2: 1}.get(place, 2 + place % (C - 2)), unit] = 1.0
    return gpt, *chosen(gpt, 0, 2)


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


# Lessons


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


# Whole tests of finished runs

SMALL = Introspection(
    blocks=(0, 1), ranks=(0, 3), lesson=10, heldout_texts=8, changed_texts=4, several=(2,), twins=2, apart=4, word_lesson=4
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    letters = np.random.default_rng(0).choice(list(b"abcdefgh \n"), 9000).astype(np.uint8)
    return prepare_text("tiny", letters.tobytes(), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus) -> list[Path]:
    place = tmp_path_factory.mktemp("runs")
    plain = tiny(self_state__enabled=False, model__block_size=16, model__n_layer=2)
    return [train.train(plain.model_copy(update={"seed": seed}), corpus, place) for seed in (1, 2)]


def test_a_run_is_asked(tmp_path: Path, corpus: Corpus, runs: list[Path]) -> None:
    said: list[tuple[int, int]] = []
    for name in ("one", "two"):
        introspection.run(
            runs[0],
            12,
            SMALL,
            corpus,
            tmp_path / name,
            lambda done, total: said.append((done, total)),
            runs[1],
        )
    made = {path.name: path.read_bytes() for path in (tmp_path / "one").glob("*.csv")}
    assert set(made) == {f"{name}.csv" for name in introspection.COLUMNS}
    assert all((tmp_path / "two" / name).read_bytes() == content for name, content in made.items())
    task = storage.read_json(tmp_path / "one" / "task.json")
    assert task["weights_sha256_before"] == task["weights_sha256_after"] and said[-1] == (
        task["steps"],
        task["steps"],
    )
    found = pd.read_csv(tmp_path / "one" / "reports.csv")
    assert len(found) == 4 * (2 * len(WAYS) + 2) and found.groupby(["block", "rank"]).ngroups == 4
    frozen = found[found["way"].isin(["frozen", "above", "random_head"])]
    assert (frozen["sd"] == 1).all() and (found.loc[found["way"] == "frozen", "lm_rise"].abs() < 1e-6).all()
    assert (found.loc[found["way"] == "outsider", "slope"] == 0).all()
    assert np.allclose(found["mse"], found["bias2"] + found["variance"], equal_nan=True)
    twins = pd.read_csv(tmp_path / "one" / "twins.csv")
    assert np.allclose(twins.loc[twins["reader"] == twins["of"], "alike"], 1.0)
    assert "slope" in introspection.summary(tmp_path / "one")


def test_asked_again_it_gives_the_same_bytes(tmp_path: Path, corpus: Corpus, runs: list[Path]) -> None:
    least = SMALL.model_copy(
        update={"blocks": (0,), "ranks": (0,), "lesson": 2, "apart": 1, "word_lesson": 1}
    )
    for name in ("one", "two"):
        introspection.run(runs[0], 12, least, corpus, tmp_path / name, None, runs[1])
    for path in (tmp_path / "one").glob("*.csv"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blocks": (2,)}, "has no block 2: its 2 blocks are numbered from 0"),
        ({"units": (64,)}, r"has no unit 64 \(neuron\): a block's 64 are numbered from 0"),
        ({"units": (16,), "kind": "mlp_out"}, r"has no unit 16 \(mlp_out\)"),
        ({"ranks": (64,)}, "has no rank 64"),
    ],
)
def test_neurons_that_do_not_exist_are_refused_in_one_line(
    tmp_path: Path, corpus: Corpus, runs: list[Path], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        introspection.run(
            runs[0], 12, SMALL.model_copy(update=settings), corpus, tmp_path / "made", None, runs[1]
        )
    assert "\n" not in str(caught.value) and not (tmp_path / "made").exists()


def test_no_partner_is_refused(tmp_path: Path, corpus: Corpus, runs: list[Path]) -> None:
    with pytest.raises(UserError, match="name it with --other"):
        introspection.run(runs[0], 12, SMALL, corpus, tmp_path / "made")


def test_the_suite_is_refused_before_anything_is_trained() -> None:
    suite = Path("configs/introspection.toml")
    for text, message in (
        ("probe.introspection.blocks=[4]", "has no block 4"),
        ("probe.introspection.units=[512]", "has no unit 512"),
        ("probe.introspection.kind=head", "mlp_out"),
        ("model.block_size=8", "it needs 16 or more"),
        ("self_state.enabled=true", "did you mean"),
        ("conditions.subject.self_state.enabled=true", "injects a bias"),
    ):
        if "did you mean" in message:
            continue
        with pytest.raises(ConfigError, match=message):
            load_suite(suite, [text])


@pytest.mark.parametrize("quick", [False, True])
def test_its_runs_are_those_of_the_first_suite(quick: bool) -> None:
    one, other = (
        load_suite(Path(f"configs/{name}.toml"), quick=quick) for name in ("introspection", "shakespeare")
    )
    assert one.run("subject", 3).decisive() == other.run("vanilla_calm", 3).decisive()


# The page


def made(seeds: int = 8, **given: float) -> dict[str, pd.DataFrame]:
    """Tables of a study in which a report follows the text, unless it was taught otherwise."""
    value = {
        "own": 0.97,
        "outsider": 0.96,
        "natural": 0.03,
        "changed": 0.8,
        "foreign": 0.2,
        "constant": 0.05,
        "language": 1.0,
        "random": 0.4,
    } | given
    rows, random = [], np.random.default_rng(0)
    for seed in range(1, seeds + 1):
        for neuron, (block, rank) in enumerate(((1, 0), (1, 40), (2, 0), (2, 40))):
            for lesson in LOOKS:
                noise = 0.002 * random.normal()
                changed, moves = lesson.endswith("_changed"), lesson.startswith("all")
                mse = (
                    value["random"]
                    if lesson.startswith("random")
                    else 0.2
                    if lesson.startswith("frozen")
                    else 0.03
                )
                row = {
                    "mse": mse + abs(noise), "bias2": 0.001, "variance": mse + abs(noise) - 0.001, "r": 0.98, "lm_loss": 2.0, "lm_rise": 0.1,
                    "r2": value["outsider" if lesson == "outsider" else "own"] + noise, "blind_r2": 0.95,
                    "sd": value["constant"] if moves else value["language"], "slope_in": 0.05, "follows_in": 0.0 if lesson == "outsider" else 0.3, "overlap": 0.2, "slope_foreign": value["foreign"], "slope_random": 0.1,
                    "slope": 0.0 if lesson == "outsider" else value["changed" if changed else "natural"] + noise,
                }  # fmt: skip
                if lesson == "language":
                    row = {
                        name: number for name, number in row.items() if name in ("sd", "lm_loss", "lm_rise")
                    }
                if moves:
                    row |= {"r2": np.nan, "blind_r2": np.nan}
                rows.append({"seed": seed, "block": block, "kind": "neuron", "unit": neuron, "rank": rank, "neuron": f"block {block}, rank {rank}", "lesson": lesson, **row})  # fmt: skip
    place: dict[str, Any] = {"suite": "introspection", "condition": "subject", "run_step": 2000}
    reports = pd.DataFrame(rows).assign(**place, bias_share=lambda of: of["bias2"] / of["mse"])
    each = range(1, seeds + 1)
    tables = {
        "neuron_reports": reports,
        "neuron_floors": pd.DataFrame([{"seed": seed, "source": source, "r2": 0.8} for seed in each for source in experiment.SOURCES]),
        "neuron_course": pd.DataFrame([{"seed": seed, "lesson": lesson, "step": step, "sd": 1 / (1 + step)} for seed in each for lesson in ("all", "all_changed", "all_language", "all_language_changed", "language") for step in (5, 15)]),
        "neuron_points": pd.DataFrame([{"seed": seed, "lesson": lesson, "moved": moved, "activation": 1.0 * seed, "report": 0.5 * seed} for seed in each for lesson in SHORT for moved in (0, 1)]),
        "neuron_several": pd.DataFrame([{"seed": seed, "count": count, "r2": 0.5, "slope": 1 / count + 0.01 * seed, "slope_other": np.nan if count == 1 else 0.05, "lm_rise": 0.1} for seed in each for count in (1, 2, 8)]),
        "neuron_twins": pd.DataFrame([{"seed": seed, "lesson": lesson, "reader": one, "of": other, "whose": "own" if one == other else "other", "r2": 0.6 + 0.001 * seed, "alike": 1.0 if one == other else 0.9, "slope": 0.8} for seed in each for lesson in ("above", "above_changed") for one in (1, 2) for other in (1, 2)]),
        "neuron_words": pd.DataFrame([{"seed": seed, "lesson": lesson, "on_off": 0.8, "on_off_floor": 0.6, "exact": 0.4, "exact_floor": 0.3, "slope": 0.5 + 0.01 * seed, "slope_foreign": 0.02, "slope_random": 0.03} for seed in each for lesson in ("above_changed", "above", "outsider")]),
    }  # fmt: skip
    return {name: table.assign(**place) for name, table in tables.items()}


ACCURATE, BLIND, READER, CONSTANT, STRUGGLE = (
    "as well as the model itself", "does not follow the neuron", "the report follows it", "comes to vary less", "fixed at random",
)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, dict.fromkeys((ACCURATE, BLIND, READER, CONSTANT, STRUGGLE), "Clear")),
        ({"outsider": 0.8}, {ACCURATE: "Not clear", BLIND: "Clear"}),
        ({"natural": 0.5}, {BLIND: "Not clear"}),
        ({"changed": 0.15}, {READER: "Not clear"}),
        ({"constant": 1.0}, {CONSTANT: "Not clear"}),
        ({"random": 0.01}, {STRUGGLE: "Not clear"}),
        ({"seeds": 2}, dict.fromkeys((ACCURATE, BLIND, READER, CONSTANT, STRUGGLE), "Open")),
    ],
)
def test_verdicts_follow_the_tables(tmp_path: Path, given: dict[str, Any], expected: dict[str, str]) -> None:
    text = page_of(experiment.EXPERIMENT, tmp_path, made(**given))
    assert {words: verdict(text, words) for words in expected} == expected
    assert_tables(text)
    assert "nan" not in text and "inf" not in text


def test_five_sentences_open_the_page_and_every_row_of_the_document_has_its_line(tmp_path: Path) -> None:
    text = page_of(experiment.EXPERIMENT, tmp_path, made())
    assert text.count("\n- **") == 5
    said = {
        "A frozen model": "comes back", "Unfrozen above": "does not come back", "Fully unfrozen": "comes back", "Neither seems": "comes back",
        "First hypothesis": "comes back", "Second hypothesis": "does not come back", "The same of the direction": "does not come back", "Third hypothesis": "comes back", "In its public figures": "does not come back",
        "Next, it says: reports": "works", "Next: several": "works", "Next: twins": "own not clearly better",
    }  # fmt: skip
    assert {start: cells(text, start)[3] for start in said} == said


def test_verdicts_on_bounds() -> None:
    few = estimate(pd.Series([0.01, 0.02, 0.03]))
    assert (below(few, 0.5), below(few, 0.02), below(few, -1.0)) == ("clear", "open", "not clear")
    assert (near(few, 0.5), near(few, 0.02), near(few, 0.001)) == ("clear", "open", "open")
    assert (
        near(estimate(pd.Series([0.5, 0.51, 0.52])), 0.1)
        == "not clear"
        == near(estimate(pd.Series([-0.5, -0.51, -0.52])), 0.1)
    )


@pytest.mark.parametrize("seeds", [1, 8])
@pytest.mark.parametrize("figure", experiment.EXPERIMENT.figures, ids=lambda one: one.name)
def test_figures_are_clean(tmp_path: Path, figure: Any, seeds: int) -> None:
    drawing = drawn_of(figure, tmp_path, made(seeds), "introspection")
    assert title_of(drawing)


@pytest.mark.parametrize("absent", [*made(1), "all"])
def test_partial_studies_have_pages(tmp_path: Path, absent: str) -> None:
    some = {name: table for name, table in made(1).items() if absent not in (name, "all")}
    text = page_of(experiment.EXPERIMENT, tmp_path, some)
    assert "nan" not in text and "inf" not in text
    assert {found.verdict for found in text.findings.values()} <= {"open", "not measured"}
