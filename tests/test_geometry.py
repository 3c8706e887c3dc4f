"""Beliefs in residual streams: histories against enumeration, maps against what is known, a hand-made model that holds beliefs
exactly, whole tests of runs, the page."""

import functools
import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

import train
from base import storage
from base.errors import UserError
from configs.probes.geometry import Geometry
from configs.suite import load_suite
from configs.toml_file import ConfigError
from data.process import Generated, generated
from data.tokens import drawn_from
from experiments import geometry as experiment
from experiments.geometry_tables import KEPT, MOVES, PROCESSES, SOURCES
from probes import geometry, histories, moved
from probes.belief_map import (
    apart,
    auc,
    cells,
    correlation2,
    crossed,
    cut,
    fitted,
    linear,
    pair_weights,
    scores,
)
from probes.histories import Histories, classes, later, theory
from probes.moved import ANY, EQUAL_NEXT, Exchange, Layers
from study import making
from tests.made_runs import assert_tables, drawn_of, page_of, title_of, verdict
from tests.made_runs import cells as cells_of
from tests.test_train import tiny

SUITE = Path("configs/geometry.toml")


@functools.cache
def process(name: str) -> Generated:
    run = load_suite(SUITE).run(name, 1)
    assert run.process is not None
    found = drawn_from(name, run.process, 1)
    assert isinstance(found, Generated)
    return found


@functools.cache
def known(name: str, length: int) -> Histories:
    return histories.histories(process(name), length)


# What theory says


@pytest.mark.parametrize("name", PROCESSES)
def test_histories_are_those_of_enumeration(name: str) -> None:
    source, found = process(name), known(name, 4)
    expected = {}
    for length in range(1, 5):
        for sequence in itertools.product(range(source.vocab_size), repeat=length):
            whole = functools.reduce(
                lambda row, token: row @ source.transitions[token], sequence, source.stationary
            )
            if whole.sum() > 0:
                expected[sequence] = whole
    mine = [
        tuple(found.whole[row, :length].tolist()) for row, length in zip(found.row, found.length, strict=True)
    ]
    assert mine == list(expected) and len(set(mine)) == len(mine)
    for place, whole in enumerate(expected.values()):
        assert found.probability[place] == pytest.approx(whole.sum(), abs=1e-12)
        assert found.belief[place] == pytest.approx(whole / whole.sum(), abs=1e-12)
        assert found.odds[place] == pytest.approx(source.odds(np.array([mine[place]]))[0, -1], abs=1e-12)
    assert found.weight.sum() == pytest.approx(1)


def test_last_tokens_are_counted() -> None:
    found = known("rrxor", 4)
    for size in (1, 2, 9):
        ends = [
            tuple(found.whole[row, max(0, length - size) : length])
            for row, length in zip(found.row, found.length, strict=True)
        ]
        code = found.last(size)
        assert len(set(code.tolist())) == len(set(ends)) == len(set(zip(ends, code.tolist(), strict=True)))


def test_theory_tells_the_best_loss() -> None:
    rows = theory(process("rrxor"), known("rrxor", 10))
    assert [row["histories"] for row in rows] == [2, 4, 8, 16, 28, 52, 92, 148, 260, 436]
    assert rows[0]["optimal"] == pytest.approx(np.log(2)) and rows[0]["state_known"] == pytest.approx(
        2 / 3 * np.log(2)
    )
    assert rows[-1]["optimal"] == pytest.approx(0.5033, abs=1e-4)
    source, found = process("z1r"), known("z1r", 3)
    exact = float(found.probability @ histories.entropy(found.odds)) / 3
    assert np.mean([row["optimal"] for row in theory(source, found)]) == pytest.approx(exact)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda source, found: (replace(source, transitions=source.transitions * 1.1), found), "does not sum to one"),
        (lambda source, found: (replace(source, transitions=source.transitions[::-1].copy()), found), "the forward filter differs"),
        (lambda source, found: (source, replace(found, belief=found.belief[::-1].copy())), "the forward filter differs"),
        (lambda source, found: (source, replace(found, probability=found.probability * 0.9)), "do not sum to one"),
        (lambda source, found: (source, replace(found, odds=np.full_like(found.odds, 0.5) * (np.arange(len(found))[:, None] > 1))), "does not help"),
    ],
)  # fmt: skip
def test_what_does_not_hold_is_an_error(spoil: Any, said: str) -> None:
    source, found = spoil(process("rrxor"), known("rrxor", 5))
    with pytest.raises(RuntimeError, match=said):
        theory(source, found)


def test_what_decides_later_tokens() -> None:
    assert [later(process(name).transitions).shape[1] for name in ("mess3", "rrxor", "z1r")] == [3, 5, 3]
    split = np.zeros((2, 3, 3))  # a coin whose two states behind heads are alike
    split[0, 0, 1] = split[0, 0, 2] = 0.25
    split[1, :, 0] = 0.5
    split[0, 1:, 1] = 0.5
    basis = later(split)
    assert basis.shape == (3, 1) and np.ptp(basis) == pytest.approx(0)
    source, found = process("rrxor"), known("rrxor", 6)
    held = classes(found.belief @ later(source.transitions))
    assert len(set(held)) == len(set(classes(found.belief)))


# The map


DESIGN = {  # R2 onto the belief after ten tokens, as prototypes measured it
    "mess3": {"token": 0.806, "3-gram": 0.985, "5-gram": 0.999, "next-token": 1.0},
    "rrxor": {"token": 0.088, "3-gram": 0.307, "5-gram": 0.570, "next-token": 0.222},
    "z1r": {"token": 0.337, "3-gram": 1.0, "5-gram": 1.0, "next-token": 0.5},
}


@pytest.mark.parametrize("name", DESIGN)
def test_floors_are_those_that_were_measured(name: str) -> None:
    found = known(name, 10)
    at = found.length == 10
    weight = found.probability[at]
    told = {f"{size}-gram": cells(found.last(size)[at], found.belief[at], weight) for size in (1, 3, 5)}
    told = {**told, "token": told["1-gram"], "next-token": linear(found.odds[at], found.belief[at], weight)}
    for source, r2 in DESIGN[name].items():
        assert scores(told[source], found.belief[at], weight)["r2"] == pytest.approx(r2, abs=0.005)


def test_a_map_finds_what_is_linear_and_nothing_else() -> None:
    random = np.random.default_rng(0)
    x, weight = random.normal(size=(400, 6)) + 5, random.random(400)
    y = x @ random.normal(size=(6, 3)) + 2
    of = cut(weight, np.zeros(400), 1)
    assert of.weight.sum() == pytest.approx(1) and np.bincount(of.fold).tolist() == [80] * 5
    assert scores(crossed(x, y, of), y, of.weight)["r2"] == pytest.approx(1, abs=1e-9)
    assert scores(crossed(x, random.normal(size=(400, 3)), of), y - y, of.weight)["mse"] > -0.2
    noise = random.normal(size=(400, 3))
    assert abs(scores(crossed(x, noise, of), noise, of.weight)["r2"]) < 0.1
    wide = random.normal(
        size=(400, 300)
    )  # as many features as a fold's rows: what fits by chance is not believed
    assert scores(crossed(wide, noise, of), noise, of.weight)["r2"] > -0.1


def test_a_history_is_read_by_maps_that_were_fitted_without_it() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=(100, 4)), random.normal(size=(100, 2))
    of = cut(np.ones(100), np.arange(100) % 2, 3)
    before = crossed(x, y, of)
    changed = np.where((of.fold == 2)[:, None], y + 100, y)
    after = crossed(x, changed, of)
    assert np.allclose(before[of.fold == 2], after[of.fold == 2]) and not np.allclose(before, after)
    spread = [np.bincount(of.fold[np.arange(100) % 2 == half], minlength=5).tolist() for half in (0, 1)]
    assert spread == [[10] * 5] * 2


def test_weights_decide() -> None:
    x = np.array([[0.0], [1.0], [0.0], [1.0]]).repeat(50, 0)
    y = np.array([[0.0], [1.0], [0.0], [5.0]]).repeat(50, 0)
    heavy = np.array([1.0, 1.0, 1.0, 0.0]).repeat(50) + 1e-12
    of = cut(heavy, np.zeros(200), 0)
    assert fitted(x, y, of)(np.array([[1.0]]), np.array([0]))[0, 0] == pytest.approx(1.0, abs=1e-3)
    assert cells(x[:, 0].astype(int), y, heavy)[50, 0] == pytest.approx(1.0, abs=1e-9)


def test_pairs_are_compared_as_elsewhere() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(30, 2))
    far = apart(values)
    assert far[0] == pytest.approx(np.linalg.norm(values[0] - values[1])) and len(far) == 30 * 29 / 2
    weight = pair_weights(np.ones(30))
    other = far + random.normal(size=len(far))
    assert correlation2(far, other, weight) == pytest.approx(np.corrcoef(far, other)[0, 1] ** 2)
    truth, score, weight = (
        random.random(200) > 0.6,
        random.integers(0, 9, 200).astype(float),
        random.random(200),
    )
    assert auc(truth, score, weight) == pytest.approx(roc_auc_score(truth, score, sample_weight=weight))
    assert np.isnan(auc(np.ones(3, bool), np.arange(3.0), np.ones(3)))


# A model made by hand, whose stream is the belief and the token


class Holds(Layers):
    """Its stream is [belief, token]. At its middle a position takes the belief of the one before and its own token; predictions are an
    ideal observer's."""

    def __init__(self, source: Generated) -> None:
        self.source = source

    @property
    def count(self) -> int:
        return 2

    def streams(self, tokens: Tensor) -> Iterator[Tensor]:
        with np.errstate(invalid="ignore"):  # a token that can't come leaves no belief
            belief = torch.from_numpy(self.source.beliefs(tokens.numpy())).float().nan_to_num()
        token = torch.nn.functional.one_hot(tokens, self.source.vocab_size).float()
        for _ in range(3):
            yield torch.cat([belief, token], -1)

    def onward(self, stream: Tensor, layer: int) -> Tensor:
        states = len(self.source.stationary)
        belief, token = stream[..., :states].double(), stream[..., states:].double()
        if layer < 2:
            after = torch.einsum(
                "bts,btv,vsu->btu", belief[:, :-1], token[:, 1:], torch.from_numpy(self.source.transitions)
            )
            after = after / after.sum(-1, keepdim=True).clamp_min(1e-9)
            belief = torch.cat([belief[:, :1], after], 1)
        odds = belief @ torch.from_numpy(self.source.transitions.sum(2).T)
        return odds.clamp_min(1e-9).log()


def study_of(name: str, length: int) -> tuple[Generated, Histories, Holds, list[np.ndarray]]:
    source, found, model = process(name), known(name, length), Holds(process(name))
    return source, found, model, moved.streams_of(model, found)


@pytest.mark.parametrize("name", ["rrxor", "z1r"])
def test_a_model_that_holds_the_belief_exactly(name: str) -> None:
    source, found, model, streams = study_of(name, 6)
    of = cut(found.weight, found.length, 1)
    for stream in streams:
        assert stream.shape == (len(found), len(source.stationary) + 2)
        assert scores(crossed(stream, found.belief, of), found.belief, of.weight)["r2"] == pytest.approx(
            1, abs=1e-6
        )
    everything = moved.scored(source, found, 10_000, np.random.default_rng(0))
    assert everything.loss(model.predictions(everything.tokens)) == pytest.approx(
        everything.optimal, abs=1e-6
    )
    assert everything.optimal == pytest.approx(np.mean([row["optimal"] for row in theory(source, found)]))


def kl(rows: pd.DataFrame, column: str, **where: object) -> float:
    """The one value of a column where others are so."""
    for name, value in where.items():
        rows = rows[rows[name] == value]
    return float(rows[f"kl_{column}"].item())


def test_moved_to_a_belief_it_predicts_what_that_belief_says() -> None:
    """KL 0 after a full move, which stays where it was without one, and does not get there by other moves."""
    source, found, model, streams = study_of("rrxor", 6)
    of = cut(found.weight, found.length, 1)
    chosen = moved.pairs(source, found, EQUAL_NEXT, 60, np.random.default_rng(0))
    assert chosen is not None and chosen.weight.sum() == pytest.approx(1)
    for one, other in ((chosen.source, chosen.target), (chosen.source, chosen.foreign)):
        assert (found.length[one] == found.length[other]).all()
        assert (np.abs(found.belief[one] - found.belief[other]).max(1) > 1e-6).all()
    assert np.allclose(found.odds[chosen.source], found.odds[chosen.target])
    ways = moved.belief_to_stream(found, streams, of)
    rows = pd.DataFrame(
        moved.moves(
            model, Exchange(source, found, chosen), EQUAL_NEXT, ways, of, 3, 2, np.random.default_rng(1)
        )
    )
    assert len(rows) == 2 * 2 * 4 * 3 and set(rows.columns) == set(moved.MOVES)
    middle, last = (rows[rows["layer"] == layer] for layer in (1, 2))
    for reach in ("one", "past"):
        assert kl(middle, "source2", reach=reach, move="belief", dose=0.0) == pytest.approx(0, abs=1e-5)
        assert kl(middle, "target2", reach=reach, move="belief", dose=0.0) > 0.1
        for move in ("belief", "stream"):
            assert kl(middle, "target2", reach=reach, move=move, dose=1.0) == pytest.approx(0, abs=1e-5)
        for move in ("random", "foreign"):
            assert kl(middle, "target2", reach=reach, move=move, dose=1.0) > 0.05
    ends = [kl(last, "target2", reach="one", move="belief", dose=dose) for dose in (0.0, 1.0)]
    assert ends[0] == pytest.approx(ends[1])  # nothing reads the last layer of a position from another one


def test_at_the_last_layer_a_move_is_the_prediction() -> None:
    source, found, model, streams = study_of("mess3", 4)
    of = cut(found.weight, found.length, 1)
    assert (
        moved.pairs(source, found, EQUAL_NEXT, 60, np.random.default_rng(0)) is None
    )  # there beliefs are odds
    chosen = moved.pairs(source, found, ANY, 60, np.random.default_rng(0))
    assert chosen is not None
    ways = moved.belief_to_stream(found, streams, of)
    rows = pd.DataFrame(
        moved.moves(model, Exchange(source, found, chosen), ANY, ways, of, 2, 1, np.random.default_rng(1))
    )
    ends = [kl(rows, "target1", layer=2, reach="one", move="belief", dose=dose) for dose in (0.0, 1.0)]
    assert ends[0] > 0.05 and ends[1] == pytest.approx(0, abs=1e-5)


def test_the_belief_alone_is_enough_for_it() -> None:
    source, found, model, streams = study_of("rrxor", 6)
    of = cut(found.weight, found.length, 1)
    on = moved.scored(source, found, 10_000, np.random.default_rng(0))
    rows = pd.DataFrame(moved.kept(on, model, found, streams, of, np.random.default_rng(0)))
    last = rows[rows["layer"] == 2].set_index("kept")["loss"]
    assert last["all"] == pytest.approx(on.optimal, abs=1e-5) and last["belief"] == pytest.approx(
        on.optimal, abs=1e-4
    )
    assert min(last["without"], last["nothing"], last["random"]) > on.optimal + 0.01
    few = moved.scored(source, found, 40, np.random.default_rng(0))
    assert len(few.places) <= 40 and few.weight.sum() == pytest.approx(1)


# Whole tests of finished runs

SMALL = Geometry(pairs=8, random_directions=1, doses=2, sequences=20, distances=40, points=20, course=4000)


def of_process(name: str = "rrxor", **changes: Any) -> Any:
    given = process_fields(name)
    return tiny(
        process=given,
        self_state__enabled=False,
        model__block_size=5,
        log__keep_steps=[4],
        model__n_layer=2,
        **changes,
    )


def process_fields(name: str) -> dict[str, Any]:
    run = load_suite(SUITE).run(name, 1)
    assert run.process is not None
    return run.process.model_dump(mode="json")


@pytest.mark.parametrize("name", ["rrxor", "mess3"])
def test_a_run_is_asked(tmp_path: Path, name: str) -> None:
    run = of_process(name)
    source = generated(name, run.process, run.seed)
    folder = train.train(run, source, tmp_path / "runs")
    said: list[tuple[int, int]] = []
    for made in ("one", "two"):
        geometry.run(
            folder, 12, SMALL, source, tmp_path / made, lambda done, total: said.append((done, total))
        )
    found = {path.name: path.read_bytes() for path in (tmp_path / "one").glob("*.csv")}
    assert set(found) == {f"{table}.csv" for table in geometry.COLUMNS}
    assert all((tmp_path / "two" / table).read_bytes() == content for table, content in found.items())
    task = storage.read_json(tmp_path / "one" / "task.json")
    assert task["weights_sha256_before"] == task["weights_sha256_after"] and task["stages"] == [0, 4, 12]
    assert said[-1][0] == said[-1][1]
    maps = pd.read_csv(tmp_path / "one" / "maps.csv")
    assert (
        set(maps["at"]) == {"all", "last"} and len(maps) == 2 * (2 * 4 + 7) and (maps["r2"] <= 1 + 1e-9).all()
    )
    course = pd.read_csv(tmp_path / "one" / "course.csv")
    start = course[(course["step"] == 0) & (course["layer"] == 3)]["r2"].item()
    assert start == pytest.approx(
        maps[(maps["source"] == "untrained joined") & (maps["at"] == "all")]["r2"].item()
    )
    assert (course["loss"] > course["optimal"]).all()
    assert "KL from the target" in geometry.summary(tmp_path / "one")


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    assert "hidden states" in Geometry().misfit(tiny(self_state__enabled=False))
    assert "hidden states" in Geometry().misfit(
        tiny(process={"kind": "chain", "tokens": 4}, self_state__enabled=False)
    )
    assert "injects a bias" in Geometry().misfit(tiny(process=process_fields("z1r")))
    run = of_process(model__n_head=1)
    folder = train.train(run.model_copy(update={"process": None}), *_text(tmp_path))
    with pytest.raises(UserError, match="there is no belief to hold") as caught:
        geometry.run(folder, 12, SMALL, _text(tmp_path)[0], tmp_path / "made")
    assert "\n" not in str(caught.value) and not (tmp_path / "made").exists()


def _text(place: Path) -> Any:
    from data.prepare import prepare_text

    letters = np.random.default_rng(0).choice(list(b"abcdefgh \n"), 9000).astype(np.uint8)
    return prepare_text("tiny", letters.tobytes(), place / "data"), place / "runs"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("processes.z1r.transitions=[[[0.0, 1.0], [0.6, 0.0]], [[0.0, 0.0], [0.5, 0.0]]]", "sum to 1.1"),
        ("processes.z1r.transitions=[[[0.0, -1.0], [0.5, 0.0]], [[2.0, 0.0], [0.5, 0.0]]]", "greater than or equal to 0"),
        ("processes.z1r.transitions=[[[0.0, 1.0]], [[0.5, 0.0], [0.5, 0.0]]]", "square matrix"),
        ("model.block_size=40", "take a shorter block_size"),
        ("probe.geometry.doses=1", "doses"),
        ("conditions.z1r.corpus=z2r", "z2r"),
    ],
)  # fmt: skip
def test_the_suite_is_refused_before_anything_is_trained(text: str, message: str) -> None:
    with pytest.raises((ConfigError, UserError), match=message) as caught:
        load_suite(SUITE, [text])
    assert "\n" not in str(caught.value)


# The page


def made(seeds: int = 8, **given: float) -> dict[str, pd.DataFrame]:
    """Tables of a study in which the stream holds the belief and uses it, unless it is told otherwise."""
    value = {
        "joined": 0.95,
        "untrained": 0.1,
        "5-gram": 0.7,
        "far": 0.9,
        "moved": 0.6,
        "foreign": 0.2,
        "left": 0.05,
    } | given
    random = np.random.default_rng(0)
    tables: dict[str, list[dict[str, Any]]] = {
        name: [] for one in experiment.EXPERIMENT.of("geometry") for name in one.names
    }
    for name, seed in itertools.product(PROCESSES, range(1, seeds + 1)):
        place = {"suite": "geometry", "condition": name, "seed": seed, "run_step": 1500, "process": name}

        def add(table: str, _place: dict[str, Any] = place, **row: Any) -> None:
            tables[f"geometry_{table}"].append({**_place, **row})

        noise = 0.002 * random.normal()
        r2 = {
            "joined": value["joined"],
            "untrained joined": value["untrained"],
            "5-gram": value["5-gram"],
            "shuffled": 0.0,
        }
        for length in (1, 2):
            add(
                "theory",
                length=length,
                histories=2**length,
                beliefs=3,
                optimal=0.5,
                blind=0.7,
                state_known=0.4,
            )
        for at, source in itertools.product(("all", "last"), SOURCES):
            layer = int(source[-1]) if source.startswith("layer") else -1
            add(
                "maps",
                at=at,
                source=source,
                kind="layer" if layer >= 0 else source,
                layer=layer,
                r2=r2.get(source, 0.3) + noise,
                mse=0.1 * (1 - r2.get(source, 0.3)),
            )
        for layer in range(5):
            add(
                "maps",
                at="all",
                source=f"untrained layer {layer}",
                kind="untrained layer",
                layer=layer,
                r2=value["untrained"],
                mse=0.3,
            )
        for source in ("joined", "untrained joined", "5-gram", "next-token", "true"):
            add("distances", source=source, belief=value["far"] + noise, next_token=0.3)
        for source in ("joined", "middle", "untrained joined", "5-gram", "token"):
            add(
                "apart",
                source=source,
                auc=(0.95 if source == "joined" else 0.7) + noise,
                pairs=100,
                differ=0.6,
            )
        for step, layer in itertools.product((0, 100, 1500), range(6)):
            source = "joined" if layer == 5 else f"layer {layer}"
            add(
                "course",
                step=step,
                layer=layer,
                source=source,
                r2=0.1 + step / 2000 + noise,
                loss=0.6,
                optimal=0.5,
                excess=0.2 / (1 + step),
            )
        share = {"belief": value["moved"], "random": 0.1, "foreign": value["foreign"], "stream": 0.8}
        for layer, pairs, reach, move, dose in itertools.product(
            (2, 4), ("equal", "any"), ("one", "past"), MOVES, (0.0, 0.5, 1.0)
        ):
            way = dose * share[move] + noise * dose
            kl: dict[str, Any] = {
                f"kl_{belief}{ahead}": 0.5 * (1 - way) for belief in ("target", "source") for ahead in (1, 2)
            }
            add(
                "moves",
                layer=layer,
                pairs=pairs,
                reach=reach,
                move=move,
                dose=dose,
                count=30,
                **kl,
                moved1=way,
                moved2=way,
                place={2: "middle", 4: "last"}[layer],
            )
        for layer, kept in itertools.product((2, 4), KEPT):
            over = {"all": 0.01, "belief": value["left"], "random": 0.15}.get(kept, 0.2) + noise
            add(
                "kept",
                layer=layer,
                kept=kept,
                loss=0.5 + over,
                optimal=0.5,
                excess=over,
                place={2: "middle", 4: "last"}[layer],
            )
        if seed == 1:
            states = 5 if name == "rrxor" else 3
            for step, _ in itertools.product((0, 100, 1500), range(30)):
                true = random.dirichlet(np.ones(states))
                point = {
                    f"{kind}{state}": true[state] + (kind == "found") * 0.01
                    for kind in ("true", "found")
                    for state in range(states)
                }
                add("points", step=step, weight=float(random.random()), **point)
    return {name: pd.DataFrame(rows) for name, rows in tables.items()}


CLAIMS = {
    "held": "more of the belief than the untrained", "beyond": "the last five tokens do", "distances": "distances between found beliefs",
    "used": "a move to another belief", "enough": "keeping only the belief",
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, dict.fromkeys(CLAIMS, "Clear")),
        ({"untrained": 0.95}, {"held": "Not clear", "beyond": "Clear"}),
        ({"5-gram": 0.96}, {"beyond": "Not clear", "held": "Clear"}),
        ({"far": 0.2}, {"distances": "Not clear"}),
        ({"foreign": 0.7}, {"used": "Not clear"}),
        ({"left": 0.3}, {"enough": "Not clear"}),
        ({"seeds": 2}, dict.fromkeys(CLAIMS, "Open")),
    ],
)
def test_verdicts_follow_the_tables(tmp_path: Path, given: dict[str, Any], expected: dict[str, str]) -> None:
    text = page_of(experiment.EXPERIMENT, tmp_path, made(**given))
    assert {name: verdict(text, CLAIMS[name]) for name in expected} == expected
    assert_tables(text)
    assert "nan" not in text and "inf" not in text


def test_five_sentences_open_the_page_and_every_row_of_the_document_has_its_line(tmp_path: Path) -> None:
    text = page_of(experiment.EXPERIMENT, tmp_path, made())
    assert text.count("\n- **") == 5
    rows = {
        start: re.findall(r"\*\*(.*?)\*\*", cells_of(text, start)[2])
        for start in (
            "The residual stream holds", "In mess3 it is a fractal", "It is more than", "Distances", "The image forms", "Asked: how many layers",
            "Asked: how is the map", "Asked: does it tell", "Asked: is it used", "The same at the last", "The same in mess3",
        )
    }  # fmt: skip
    assert all(set(said) == {"yes"} for said in rows.values()) and len(rows["The residual stream holds"]) == 4
    five = page_of(experiment.EXPERIMENT, tmp_path / "five", made(8, **{"5-gram": 0.99}))
    said = re.findall(r"\*\*(.*?)\*\*", cells_of(five, "The residual stream holds")[2])
    assert said == ["yes", "yes", "no", "yes"]  # as much as the last five tokens tell


def beliefs_elsewhere() -> dict[str, pd.DataFrame]:
    """What the main study has of self-states."""
    place = {"suite": "recurring", "condition": "calibrated_recurring"}
    example = pd.DataFrame(
        {
            "seed": 1,
            "step": range(50),
            "regime": "calm",
            "posterior": np.linspace(0, 1, 50),
            "decoded": np.linspace(0.1, 0.8, 50),
            "averages": 0.5,
        }
    )
    rows = [
        {
            "seed": seed,
            "source": source,
            "target": "posterior",
            "regime": "bewilderment",
            "r2": 0.5 + 0.01 * seed,
            "auc": 0.8,
            "steps": 100,
        }
        for seed in range(1, 5)
        for source in ("state", "statistics")
    ]
    return {"belief_example": example.assign(**place), "beliefs": pd.DataFrame(rows).assign(**place)}


@pytest.mark.parametrize("seeds", [1, 8])
@pytest.mark.parametrize("figure", experiment.EXPERIMENT.figures, ids=lambda one: one.name)
def test_figures_are_clean(tmp_path: Path, figure: Any, seeds: int) -> None:
    for name, table in beliefs_elsewhere().items():
        storage.write_text(tmp_path / "recurring" / f"{name}.csv", table.to_csv(index=False))
    assert title_of(drawn_of(figure, tmp_path, made(seeds), "geometry"))


def test_the_note_below_a_figure_is_of_the_suite_that_it_shows(tmp_path: Path) -> None:
    for name, tables in (("geometry", made(1)), ("recurring", beliefs_elsewhere())):
        for table, rows in tables.items():
            storage.write_text(tmp_path / "tables" / name / f"{table}.csv", rows.to_csv(index=False))
        storage.write_text(tmp_path / "tables" / name / "note.txt", f"Of {name}.")
    with pytest.MonkeyPatch.context() as patch:
        notes: dict[str, str] = {}
        patch.setattr(making, "draw", lambda figure, tables, note, folder: notes.update({figure.name: note}))
        making.made_again(tmp_path / "tables", tmp_path, "geometry", None, figures=True, pages=False)
    assert notes.pop("geometry/self-state.png") == "Of recurring." and set(notes.values()) == {"Of geometry."}


def test_the_page_shows_what_self_states_hold(tmp_path: Path) -> None:
    alone = page_of(experiment.EXPERIMENT, tmp_path, made(2))
    for name, table in beliefs_elsewhere().items():
        storage.write_text(tmp_path / "recurring" / f"{name}.csv", table.to_csv(index=False))
    joined = page_of(experiment.EXPERIMENT, tmp_path, made(2))
    assert (
        "self-state.png" in joined and "self-state.png" not in alone and "| recurring: the state |" in joined
    )


@pytest.mark.parametrize("absent", [*made(1), "all"])
def test_partial_studies_have_pages(tmp_path: Path, absent: str) -> None:
    some = {name: table for name, table in made(1).items() if absent not in (name, "all")}
    text = page_of(experiment.EXPERIMENT, tmp_path, some)
    assert "nan" not in text and "inf" not in text and "- **Clear" not in text
