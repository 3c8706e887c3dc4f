"""Questions on a model's state: hand-made reporters whose log-odds are known, lessons on tiny models, whole tests of runs."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import train
from base import storage
from base.errors import UserError
from base.rng import Stream, generator
from configs.probes.self_report import REGIMES, SelfReport
from configs.suite import load_suite
from configs.toml_file import ConfigError
from configs.training import Model
from data.corpus import Corpus
from data.prepare import prepare_text
from model import GPT
from probes import answers, behaviour, quiz, self_report
from probes.dictionary import Dictionary, learned_from
from probes.instrument import Subject, load_subject
from probes.odds import PARTS, Quiz, answerer, as_doubtful, bits, entropy, log_odds, only_at
from probes.quiz import (
    ASKED,
    OPTIONS,
    PLACES,
    TEXT,
    Example,
    Lesson,
    Tokens,
    options,
    rows,
    teach,
    with_tokens,
)
from probes.setting import FORM, TAUGHT, UNSEEN, Setting, centres, held_back, of_states, readings
from tests.test_train import tiny

V, C = 12, 16
SIZES = Model(n_layer=2, n_head=2, n_embd=C, block_size=26)
TOKENS = Tokens(V + 1, 6)
NAMES = ("calm", *REGIMES)


def a_gpt(seed: int = 1) -> GPT:
    gpt = GPT(SIZES, V)
    gpt.initialise(generator(seed, Stream.INIT))
    return gpt.eval().requires_grad_(False)


def some_texts(count: int, length: int = TEXT) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, V, (count, length)))


def a_setting(spread: float = 0.1, size: float = 3.0, each: int = 20) -> Setting:
    """Six classes far apart, vectors near their means."""
    random = torch.Generator().manual_seed(0)
    ends = size * torch.eye(6, C)
    classes = torch.arange(6).repeat_interleave(each)
    seen, fresh = (ends[classes] + spread * torch.randn(len(classes), C, generator=random) for _ in range(2))
    ends = centres(seen, classes, 6)
    group = (TAUGHT, TAUGHT, FORM, TAUGHT, UNSEEN, TAUGHT)
    return Setting(0, NAMES, group, ends.mean(0), ends, seen, classes, fresh, classes)


def a_quiz(which: int = 2, count: int = 40) -> Quiz:
    return Quiz.drawn(TOKENS, which, some_texts(count), np.random.default_rng(3))


# Rows


def test_the_right_option_is_among_five_in_random_order() -> None:
    right = torch.arange(6).repeat(200)
    shown, place = options(6, right, np.random.default_rng(0))
    assert (shown.gather(1, place[:, None])[:, 0] == right).all()
    assert all(len(set(row.tolist())) == OPTIONS for row in shown)
    assert (torch.bincount(place) > 180).all()
    left_out = torch.tensor([15 - int(row.sum()) for row in shown])
    assert (torch.bincount(left_out[right == 0], minlength=6)[1:] > 20).all() and not (
        left_out == right
    ).any()


def test_every_answer_of_a_lesson_is_right() -> None:
    count, one = 600, np.random.default_rng(0)
    right = torch.from_numpy(one.integers(0, 6, count))
    by_state = right != 3
    behaviour = torch.tensor([[TOKENS.word(quiz.HIGH), TOKENS.word(quiz.RARE)]]).expand(count, -1)
    example = Example(torch.zeros(count, C), right, by_state, torch.ones(count, dtype=torch.bool))
    laid, right_ones = rows(TOKENS, some_texts(count), example, behaviour, one)
    assert laid.shape == (count, 26) and (laid[:, [place + 1 for place in PLACES]] == right_ones).all()
    shown, kinds = laid[:, TEXT:ASKED] - TOKENS.first, dict.fromkeys([*quiz.KINDS, "cue"], 0)
    for row in range(count):
        on_itself = 0
        for place, answer in zip(PLACES, right_ones[row].tolist(), strict=True):
            question = int(laid[row, place])
            names = [kind for kind in quiz.KINDS if TOKENS.question(kind) == question] or ["cue"]
            kinds[names[0]] += 1
            on_itself += names != ["cue"]
            options_here = shown[row].tolist()
            asked_for = int(right[row]) if names[0] == "state" else question - TOKENS.first
            expected = {
                "direct": TOKENS.first + int(right[row]),
                "entropy": TOKENS.word(quiz.HIGH),
                "next": TOKENS.word(quiz.RARE),
            }.get(names[0])
            if expected is None:
                expected = int(TOKENS.letters[options_here.index(asked_for)])
            assert answer == expected
            assert names != ["state"] or right[row] != 3
        assert on_itself == 1
    assert min(kinds.values()) > 40


def test_without_behaviour_only_cues_are_asked() -> None:
    example = Example(
        torch.zeros(50, C), torch.zeros(50, dtype=torch.long), *(torch.ones(50, dtype=torch.bool),) * 2
    )
    laid, _ = rows(TOKENS, some_texts(50), example, torch.full((50, 2), -1), np.random.default_rng(0))
    assert (laid[:, list(PLACES)] < TOKENS.first + 6).all()


def test_new_tokens_have_the_characters_norm_and_leave_the_others_alone() -> None:
    gpt, x = a_gpt(), some_texts(4)
    grown = with_tokens(gpt, SIZES, TOKENS, 7)
    assert grown.vocab_size == V + 1 + len(TOKENS)
    assert torch.allclose(grown(x)[0][..., :V], gpt(x)[0], atol=1e-6)
    drawn = grown.tokens.weight[V + 1 :]
    assert torch.allclose(drawn.norm(dim=1), gpt.tokens.weight[:V].norm(dim=1).mean(), atol=1e-6)
    assert F.cosine_similarity(drawn[0], drawn[1], dim=0).abs() < 0.9


# What answers say


def told(right: dict[str, float], sham: Tensor, quiz: Quiz) -> Any:
    """A reporter made by hand: after `state` the right option has these log-odds, by whether the sham is set; after a cue the
    option that is asked for has log-odds of two."""

    def answer(tokens: Tensor, vectors: Tensor) -> Tensor:
        logits = torch.zeros(len(tokens), V + 1 + len(TOKENS))
        shown, asked = tokens[:, TEXT:ASKED] - TOKENS.first, tokens[:, -1]
        of_state = asked == TOKENS.question("state")
        name = torch.where(of_state, torch.tensor(quiz.which), asked - TOKENS.first)
        place = (shown == name[:, None]).long().argmax(1)
        odds = right["sham" if torch.equal(vectors, sham) else "set"]
        given = torch.where(of_state, torch.tensor(odds), torch.tensor(2.0)) + math.log(OPTIONS - 1)
        logits[torch.arange(len(tokens)), TOKENS.letters[place]] = given
        return logits

    return answer


def test_a_reporter_made_by_hand_scores_the_log_odds_that_it_was_given() -> None:
    made, sham = a_quiz(), torch.zeros(C)
    answer = told({"sham": -2.0, "set": 1.5}, sham, made)
    before, after = made.logits(answer, sham), made.logits(answer, sham + 1)
    assert torch.allclose(log_odds(after["state"], made.right), torch.tensor(1.5).double(), atol=1e-6)
    found = made.compared(before, after)
    assert found["index"] == pytest.approx(3.5, abs=1e-6) == found["delta"]
    assert found["cue"] == 0 == found["same"] and found["right"] == 1 and found["false"] == 0


def test_the_cue_asks_for_another_name_and_is_taken_off() -> None:
    made = a_quiz()
    assert not (made.right == made.other).any()

    def answer(
        tokens: Tensor, vectors: Tensor
    ) -> Tensor:  # whatever is asked, the right option gains by what is set
        logits = torch.zeros(len(tokens), V + 1 + len(TOKENS))
        place = (tokens[:, TEXT:ASKED] == TOKENS.first + made.which).long().argmax(1)
        logits[torch.arange(len(tokens)), TOKENS.letters[place]] = vectors.sum()
        return logits

    found = made.compared(made.logits(answer, torch.zeros(C)), made.logits(answer, torch.full((C,), 0.1)))
    assert found["delta"] == pytest.approx(1.6) == found["cue"] and found["index"] == 0


def test_false_positives_of_a_constant_answer_are_told() -> None:
    """It is right whenever its one name is set, says it as often when nothing is, and gains nothing."""

    def answer(tokens: Tensor, vectors: Tensor) -> Tensor:
        logits = torch.zeros(len(tokens), V + 1 + len(TOKENS))
        place = (tokens[:, TEXT:ASKED] == TOKENS.first + 1).long().argmax(1)
        logits[torch.arange(len(tokens)), TOKENS.letters[place]] = 5.0
        logits[:, TOKENS.first + 1] = 9.0
        return logits

    here, random = a_setting(), torch.randn(2, C, generator=torch.Generator().manual_seed(1))
    study = a_study(prompts=24)
    quizzes = study.quizzes(TOKENS)
    ways = answers.directions(here, here.away[None], random)
    found = pd.DataFrame(answers.reports(answer, here, quizzes, ways, (2.0,)))
    mine = found[found["regime"] == NAMES[1]]
    assert (mine["right"] == 1).all() and (mine["false"] == 1).all() and (found["index"] == 0).all()
    said = answers.answers(answer, here, TOKENS, study.heldout, random, 3)
    direct = [row for row in said if row["asked"] == "direct" and row["said"] == NAMES[1]]
    assert {row["set"] for row in direct} == {"mean", "fresh", "sham", "random"} and all(
        row["share"] == 1 for row in direct
    )
    table = pd.DataFrame(answers.read(here, said)).set_index("reading")
    assert table.loc["direct, fresh", "bits"] == pytest.approx(0, abs=1e-9) and table.loc[
        "direct, fresh", "accuracy"
    ] == pytest.approx(1 / 6)
    assert table.loc["linear", "accuracy"] == 1 and table.loc["linear", "bits"] == pytest.approx(math.log2(6))


def a_study(prompts: int = 8, steps: int = 2) -> self_report.Study:
    run = tiny(model=SIZES.model_dump(mode="json"))
    x = torch.from_numpy(np.random.default_rng(1).integers(0, V, (steps, 8, 26)))
    letters = np.random.default_rng(2).integers(0, V, 5000).astype(np.uint16)
    corpus: Any = type("Letters", (), {"train": letters})
    return self_report.Study(
        run, SelfReport(prompts=prompts), Lesson(3, x, x, 3), some_texts(prompts), corpus, lambda steps: None
    )


def test_strength_zero_is_the_base_bit_for_bit() -> None:
    here, gpt = a_setting(), with_tokens(a_gpt(), SIZES, TOKENS, 7)
    answer = answerer(gpt, 0)
    tokens = a_quiz().rows("state")
    assert torch.equal(answer(tokens, here.sham + 0.0 * here.away[2]), gpt(tokens, here.sham)[0][:, -1])
    assert torch.equal(answerer(gpt, 1)(tokens, torch.zeros(C)), gpt(tokens)[0][:, -1])
    study = a_study()
    random = torch.randn(2, C, generator=torch.Generator().manual_seed(1))
    ways = answers.directions(here, here.away[None], random)
    found = pd.DataFrame(answers.reports(answer, here, study.quizzes(TOKENS), ways, (2.0,)))
    none, some = found[found["strength"] == 0], found[found["strength"] == 2]
    assert len(none) == 6 and (none[["index", "delta", "cue", "same", "entropy"]] == 0).all(axis=None)
    assert (some["index"] != 0).any() and none["matched"].abs().max() < 1e-6


def test_a_temperature_gives_the_entropy_that_is_wanted() -> None:
    logits = torch.randn(50, 5, generator=torch.Generator().manual_seed(0)) * 3
    for wanted in (0.1, 0.7, 1.5):
        level = as_doubtful(logits, wanted)
        assert entropy(level).mean().item() == pytest.approx(wanted, abs=1e-4)
        times = level / logits.double()
        assert torch.allclose(times, times[0, 0])


def test_bits() -> None:
    assert bits(np.eye(4)) == pytest.approx(2) and bits(np.ones((4, 3))) == pytest.approx(0)
    assert bits(np.array([[1, 0], [1, 1]])) == pytest.approx(0.3113, abs=1e-4)  # of a Z channel with one half


def test_directions_are_as_long_as_the_ways_to_the_means() -> None:
    here, random = a_setting(), torch.randn(3, C, generator=torch.Generator().manual_seed(1))
    ways = answers.directions(here, here.away[None].flip(1), random)
    size = here.away.norm(dim=1)
    for kind in ("own", "foreign", "random"):
        assert torch.allclose(ways[kind].norm(dim=2), size.expand(len(ways[kind]), -1), atol=1e-5), kind
    assert torch.allclose(ways["equal"].norm(dim=2), size.mean(), atol=1e-5)


def test_a_part_of_a_row_is_set_alone() -> None:
    sham, steered = torch.zeros(C), torch.ones(C)
    found = {part: only_at(part, sham, steered, ASKED + 1)[0, :, 0] for part in PARTS}
    assert found["question"].tolist() == [0.0] * ASKED + [1.0]
    assert (
        torch.equal(found["text"] + found["options"] + found["question"], found["all"])
        and found["all"].min() == 1
    )
    assert found["text"].sum() == TEXT


# What is set


def test_lessons_never_set_the_class_that_is_kept_from_them() -> None:
    here = a_setting()
    example = here.examples(500, np.random.default_rng(0))
    assert set(example.right.tolist()) == {0, 1, 2, 3, 5} and not example.by_state[example.right == 2].any()
    assert example.by_state[example.right != 2].all()
    apart = (example.vectors - here.ends[example.right]).norm(dim=1)
    assert apart.max() < 1.0  # each vector is one of its class


def test_shuffled_classes_are_the_same_ones_dealt_out_anew() -> None:
    here = a_setting()
    labels = here.shuffled(3)
    assert torch.equal(labels[here.seen_class == 4], here.seen_class[here.seen_class == 4])
    assert torch.equal(labels.bincount(), here.seen_class.bincount())
    assert 0.1 < (labels == here.seen_class).double().mean() < 0.5


def test_each_seed_holds_back_two_regimes() -> None:
    pairs = [held_back(REGIMES, seed) for seed in range(1, 9)]
    assert all(one != other for one, other in pairs) and {one for one, _ in pairs} == set(REGIMES)


def test_readings_of_classes_that_are_apart_are_right() -> None:
    here = a_setting()
    assert all((said == here.fresh_class).all() for said in readings(here).values())
    blurred = a_setting(spread=3.0)
    assert all((said == blurred.fresh_class).double().mean() < 0.9 for said in readings(blurred).values())


def test_a_model_learns_to_name_what_is_set() -> None:
    here, random = a_setting(0.01, 1.0), np.random.default_rng(5)
    made = with_tokens(a_gpt(), SIZES, TOKENS, 7)
    x = torch.from_numpy(random.integers(0, V, (200, 32, 26)))
    habits = torch.tensor([[TOKENS.word(quiz.HIGH), TOKENS.word(quiz.RARE)]])
    never = torch.zeros(32, dtype=torch.bool)
    teach(
        made, TOKENS, Lesson(3, x, x, 2), 0, lambda random: here.examples(32, random)._replace(by_state=never),
        lambda texts, vectors: habits.expand(len(texts), -1),
    )  # fmt: skip
    quizzes = [a_quiz(which, 20) for which in (0, 1, 3)]
    logits = [answerer(made, 0)(one.rows("direct"), here.ends[one.which]) for one in quizzes]
    said = torch.stack([one[:, TOKENS.first : TOKENS.first + 6].argmax(1) for one in logits])
    assert (said == torch.tensor([[0], [1], [3]])).double().mean() > 0.8
    assert not any(parameter.requires_grad for parameter in made.parameters())


def test_what_a_model_does_is_read_off_its_prediction() -> None:
    gpt, here = a_gpt(), a_setting()
    habits = behaviour.Habits.of(
        gpt, 0, some_texts(120), here.seen, np.array([0] * 6 + [1] * 3 + [2, 3, 4]), V
    )
    assert habits.common.tolist() == [True] + [False] * (V - 1)
    predicted = behaviour.prediction(gpt, 0, some_texts(120), here.seen, V)
    assert (behaviour.doing("entropy", habits, predicted) > 0).double().mean() == pytest.approx(0.5, abs=0.01)
    assert ((behaviour.doing("next", habits, predicted) > 0) == (predicted[1].argmax(1) == 0)).all()
    words = habits.words(TOKENS, torch.tensor([99.0, -1.0]), torch.tensor([0, 5]))
    assert words.tolist() == [[TOKENS.word(one), TOKENS.word(other)] for one, other in ((0, 2), (1, 3))]


# Features


def test_a_dictionary_finds_the_features_of_a_sparse_stream() -> None:
    random = np.random.default_rng(0)
    true = F.normalize(torch.from_numpy(random.normal(size=(10, C)).astype(np.float32)), dim=1)
    codes = torch.from_numpy((random.random((2000, 10)) < 0.15) * random.uniform(1, 2, (2000, 10))).float()
    stream = codes @ true
    learned, fixed = (learned_from(stream, 32, 4, 300, one, 1) for one in (True, False))
    for made in (learned, fixed):
        assert torch.allclose(made.decoder.norm(dim=1), torch.ones(32), atol=1e-5)
        assert (made.codes(stream) > 0).sum(1).max() <= 4
    errors = [((made(stream) - stream) ** 2).mean() / stream.var(0).mean() for made in (learned, fixed)]
    assert errors[0] < 0.1 < errors[1]
    start = Dictionary(32, 4, stream, False, generator(1, Stream.INIT, quiz.FIRST + 1))
    assert torch.allclose(fixed.decoder, start.decoder, atol=1e-6)


# Whole tests of runs

SMALL = SelfReport(
    lesson=2, rows=8, prompts=8, strengths=(2.0,), draws=2, dictionary=32, active=4, dictionary_steps=5
)
WORLD = {"kind": "recurring", "regimes": list(REGIMES), "enter": 0.15, "leave": 0.12}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    letters = np.random.default_rng(0).choice(list(b"abcdefgh \n"), 9000).astype(np.uint8)
    return prepare_text("tiny", letters.tobytes(), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus) -> list[Path]:
    place = tmp_path_factory.mktemp("runs")
    plain = tiny(
        model__block_size=26,
        model__n_layer=2,
        train__steps=600,
        log__eval_interval=600,
        log__checkpoint_interval=600,
        schedule=WORLD,
    )
    return [train.train(plain.model_copy(update={"seed": seed}), corpus, place) for seed in (1, 2)]


def test_a_run_is_asked(tmp_path: Path, corpus: Corpus, runs: list[Path]) -> None:
    said: list[tuple[int, int]] = []
    for name in ("one", "two"):
        self_report.run(
            runs[0],
            600,
            SMALL,
            corpus,
            tmp_path / name,
            lambda done, total: said.append((done, total)),
            runs[1],
        )
    for path in (tmp_path / "one").glob("*.csv"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
    task = storage.read_json(tmp_path / "one" / "task.json")
    assert task["weights_sha256_before"] == task["weights_sha256_after"] and said[-1] == (task["steps"],) * 2
    found = pd.read_csv(tmp_path / "one" / "reports.csv")
    assert set(found["lesson"]) == {"taught", "shuffled", "untaught", "features", "fixed", "untrained"}
    assert set(found["kind"]) == set(answers.KINDS) and set(found["strength"]) == {0.0, 1.0, 2.0}
    assert (found.loc[found["strength"] == 0, "index"] == 0).all()
    assert found.groupby(["lesson", "regime"]).ngroups == 36
    shares = pd.read_csv(tmp_path / "one" / "answers.csv", keep_default_na=False)
    assert np.allclose(shares.groupby(["lesson", "asked", "set", "regime"])["share"].sum(), 1)
    features = pd.read_csv(tmp_path / "one" / "features.csv", keep_default_na=False)
    assert len(features) == 18 and features["contexts"].str.len().gt(0).all()
    places = pd.read_csv(tmp_path / "one" / "places.csv")
    assert set(places["place"]) == set(PARTS) and set(places["asked"]) == {"state", "entropy", "next"}
    assert "named" in self_report.summary(tmp_path / "one")


def test_a_state_that_the_run_never_had_gives_one_line(corpus: Corpus, runs: list[Path]) -> None:
    subject = load_subject(runs[0], 600)
    assert isinstance(subject, Subject)
    short = replace(subject, states=subject.states[:3])
    with pytest.raises(UserError, match=r"^the run has no state of calm between its steps 1 and 2; [^\n]*$"):
        of_states(short, REGIMES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regimes": ("bewilderment", "sensory_fog", "false_feedback", "self_clamp", "drought")}, "never meets the regime drought; it meets bewilderment, "),
        ({"active": 32}, "would have 32 features of 32 active"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_refused_in_one_line(
    tmp_path: Path, corpus: Corpus, runs: list[Path], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        self_report.run(
            runs[0], 600, SMALL.model_copy(update=settings), corpus, tmp_path / "made", None, runs[1]
        )
    assert "\n" not in str(caught.value) and not (tmp_path / "made").exists()
    with pytest.raises(UserError, match="name it with --other"):
        self_report.run(runs[0], 600, SMALL, corpus, tmp_path / "made")


def test_the_suite_is_refused_before_anything_is_trained() -> None:
    suite = Path("configs/self_report.toml")
    for text, message in (
        ('probe.self_report.regimes=["bewilderment","sensory_fog","self_clamp","false_feedback","drought"]', "never meets the regime drought"),
        ("model.block_size=16", "it needs 26 or more"),
        ("model.n_layer=1", "has one block"),
        ("schedules.mix.regimes=['bewilderment']", "never meets the regime sensory_fog; it meets bewilderment"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            load_suite(suite, [text])


def test_the_quick_form_is_whole() -> None:
    suite = load_suite(Path("configs/self_report.toml"), quick=True)
    assert suite.seeds == 1 and suite.probes["self_report"].passes(suite.run("subject", 1)) > 0
