"""Claims: the tests' error rates and exactness, the file's refusals, what marks an edit, the figure and the page."""

import functools
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from base import storage
from base.storage import ROOT, UserError
from configs.suite import load_suite
from configs.toml_file import ConfigError
from experiments.claims import document, file, judge, page
from experiments.claims.file import ADDED, CHANGED, FORESEEN, REMOVED, SEEN, Claims, load, register
from experiments.claims.judge import ABSENT, INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED, judged, verdict
from experiments.claims.page import EXPERIMENT
from experiments.kit import published
from experiments.kit.stats import Estimate, combined_rank, equal_within, holm, sign_flip
from experiments.kit.tables import NothingToDraw, Tables, content
from study import book
from tests.committed import COMMITTED, published_with
from tests.made_runs import assert_tables, cells, drawn_of, page_of, read_from, title_of

NONE: dict[str, Any] = {"results": {}, "claims": {}}

FEW = """\
[registration]
seeds = 8
seen = ["old"]
known = "Nothing."

[families.primary]
title = "Primary"
asks = "Does it?"

[claims.beats]
statement = "It beats its placebos."
short = "beats placebos"
origin = "published"
said = "random ones don't"
published = 0.35
family = "primary"
unit = "nats"
endpoint = { suite = "s", table = "effects", column = "size", where = { reader = "learned" } }
placebo = { where = { reader = ["rotated", "untrained"] }, by = "reader" }
control = "A placebo reaches as much."
direction = "greater"
smallest = 0.05
why = "Small."
test = "placebo_ranks"

[claims.gains]
statement = "It gains."
short = "gains"
origin = "ours"
family = "primary"
unit = "nats"
endpoint = { suite = "s", table = "losses", column = "loss", where = { condition = "self" } }
minus = { where = { condition = "vanilla" } }
beside = { where = { condition = "bias" } }
direction = "less"
smallest = 0.02
why = "One per cent."
test = "sign_flip"

[claims.slower]
statement = "It is slower."
short = "slower"
origin = "ours"
family = "primary"
unit = "steps"
endpoint = { suite = "s", table = "losses", column = "steps", where = { condition = "self" } }
minus = { where = { condition = "vanilla" } }
direction = "greater"
smallest = 0.25
why = "A quarter of a step."
test = "sign_flip"
"""


def file_of(folder: Path, *changes: tuple[str, str], text: str = FEW) -> Path:
    """A file of claims, some of its words changed."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = folder / "claims.toml"
    path.write_text(text)
    return path


def study(folder: Path, seeds: int = 8, gain: float = -0.1, surplus: float = 1.0) -> Tables:
    """Tables of a suite "s" in which a state gains and steers by so much; its steps are not known in seed 1."""
    random = np.random.default_rng(7)
    effects: list[tuple[Any, ...]] = []
    losses: list[tuple[Any, ...]] = []
    for seed in range(1, seeds + 1):
        for reader, count in (("rotated", 10), ("untrained", 5)):
            effects += [(seed, reader, 1 + 0.1 * random.standard_normal()) for _ in range(count)]
        effects.append((seed, "learned", 1 + surplus + 0.01 * seed))
        noise = 0.01 * random.standard_normal()
        losses += [
            (seed, "self", 2 + gain + noise, np.nan if seed == 1 else 30),
            (seed, "vanilla", 2.0, 20),
            (seed, "bias", 1.99, 20),
        ]
    runs = pd.DataFrame({"seed": range(1, seeds + 1), "key": [f"k{seed}" for seed in range(seeds)]})
    runs = runs.assign(suite="s", condition="self", steps=9, dtype="float32", corpus="x", parameters=1000)
    tables = {
        "effects": pd.DataFrame(effects, columns=["seed", "reader", "size"]),
        "losses": pd.DataFrame(losses, columns=["seed", "condition", "loss", "steps"]),
        "runs": runs,
    }
    return read_from(folder, "s", tables).of("claims")


def made(
    folder: Path, *changes: tuple[str, str], text: str = FEW, **planted: float
) -> dict[str, pd.DataFrame]:
    """The tables of claims, from a file and a study."""
    return judged(load(file_of(folder, *changes, text=text)), NONE, study(folder / "t", **planted))  # type: ignore[arg-type]


def row(tables: dict[str, pd.DataFrame], name: str) -> Any:
    return tables["claims"].set_index("id").loc[name]


def page_from(folder: Path, tables: dict[str, pd.DataFrame]) -> str:
    """The page, each row of its tables checked."""
    text = page_of(EXPERIMENT, folder, tables)
    assert_tables(text)
    return text


# The statistics.


def test_sign_flips_are_those_of_hand() -> None:
    assert sign_flip(np.array([1.0, 2.0, 3.0])) == 1 / 8 and sign_flip(np.array([1.0, 2.0, 3.0]), "less") == 1
    assert sign_flip(np.array([1.0, 2.0, -3.0])) == 5 / 8  # sums 6 4 2 0 0 -2 -4 -6, observed 0
    assert sign_flip(np.array([0.1, 0.2, -0.3])) == 5 / 8  # whose sum is 0 but for rounding
    assert sign_flip(np.zeros(4), "different") == 1
    assert sign_flip(np.array([2.0])) == 1 / 2 and sign_flip(np.array([2.0]), "different") == 1
    many = np.full(40, 1.0)
    assert sign_flip(many) == sign_flip(many) < 1e-4  # so many ways are drawn, always the same


def test_without_an_effect_the_sign_flip_finds_one_as_often_as_it_may_and_with_one_it_does() -> None:
    random = np.random.default_rng(2)
    heavy = np.abs(
        random.standard_t(2, size=6)
    )  # each sign as likely: all 64 ways of them are the whole distribution
    ways = [heavy * signs for signs in itertools.product((-1, 1), repeat=6)]
    for direction, least in (("greater", 1), ("less", 1), ("different", 2)):
        found = np.array([sign_flip(way, direction) for way in ways])
        assert all((found <= level).mean() <= level for level in np.arange(1, 65) / 64)
        assert (found <= 0.05).sum() == 3 // least * least  # 3 / 64 < 0.05: no test at this level finds more
    planted = random.standard_normal((100, 8)) + 1.5
    assert np.mean([sign_flip(values) < 0.05 for values in planted]) > 0.9
    families = (
        random.integers(1, 257, size=(4000, 6)) / 256
    )  # six claims, none true: p of eight seeds without ties
    some = [min(holm(six)) < 0.05 for six in families]
    assert np.mean(some) < 0.05 + 3 * math.sqrt(0.05 / 4000)


def test_equal_within_is_two_tests_and_takes_the_worse() -> None:
    values = np.array([0.1, -0.1, 0.2, -0.2, 0.1, 0.0, 0.1, -0.1])
    assert equal_within(values, 1.0) == 1 / 256
    assert equal_within(values + 1, 1.0) > 0.5 and equal_within(values - 1, 1.0) == sign_flip(
        values, "greater"
    )


def test_ranks_of_seeds_are_combined_exactly() -> None:
    draws = (2, 3, 2)
    everything = list(itertools.product(*(range(count + 1) for count in draws)))

    def total(above: tuple[int, ...]) -> float:
        return sum((one + 1) / (count + 1) for one, count in zip(above, draws, strict=True))

    for above in everything:
        by_hand = np.mean([total(other) <= total(above) + 1e-12 for other in everything])
        assert combined_rank(above, draws) == pytest.approx(by_hand)
    p_values = np.array([combined_rank(above, draws) for above in everything])
    assert all((p_values <= level).mean() <= level + 1e-12 for level in (0.01, 0.05, 0.1, 0.5))
    assert combined_rank([1], [4]) == 2 / 5  # one seed: its rank p-value
    assert combined_rank([0] * 8, [10] * 8) == pytest.approx(11.0**-8)
    assert combined_rank([5] * 8, [10] * 8) == pytest.approx(0.5, abs=0.06)
    assert combined_rank([0] + [9] * 7, [10] * 8) > 0.5  # one seed that stands out carries nothing


def test_holm_is_the_known_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []
    missing = holm([0.01, math.nan, 0.03])  # the missing one still counts
    assert missing[0] == pytest.approx(0.03) and math.isnan(missing[1]) and missing[2] == pytest.approx(0.06)


@pytest.mark.parametrize(
    ("direction", "effect", "low", "high", "p", "expected"),
    [
        ("greater", 3, 2, 4, 0.01, SUPPORTED),
        ("greater", 3, 2, 4, 0.06, INCONCLUSIVE),  # not after Holm
        ("greater", 3, -1, 7, 0.01, INCONCLUSIVE),  # holds zero and the smallest of interest
        ("greater", 0.9, 0.1, 1.7, 0.01, INCONCLUSIVE),  # there, but perhaps too small
        ("greater", 0.3, 0.2, 0.4, 0.001, NOT_SUPPORTED),  # too small for certain, however small p is
        ("greater", -3, -4, -2, 1.0, NOT_SUPPORTED),
        ("less", -3, -4, -2, 0.01, SUPPORTED),
        ("less", 3, 2, 4, 1.0, NOT_SUPPORTED),
        ("different", -3, -4, -2, 0.01, SUPPORTED),
        ("different", 0.1, -0.5, 0.7, 0.4, NOT_SUPPORTED),
        ("different", 0.1, -3, 3.2, 0.4, INCONCLUSIVE),
        ("equal within", 0.1, -0.5, 0.7, 0.01, SUPPORTED),
        ("equal within", 0.1, -0.5, 1.1, 0.01, INCONCLUSIVE),
        ("equal within", -3, -4, -2, 1.0, NOT_SUPPORTED),
    ],
)
def test_the_verdict_follows_the_rule(
    direction: str, effect: float, low: float, high: float, p: float, expected: str
) -> None:
    assert verdict(direction, 8, effect, low, high, p, 1.0) == expected
    assert verdict(direction, 2, effect, low, high, p, 1.0) == INCONCLUSIVE
    assert verdict(direction, 0, math.nan, math.nan, math.nan, math.nan, 1.0) == ABSENT


# From tables to claims.


def test_planted_effects_are_found_with_exactly_their_numbers(tmp_path: Path) -> None:
    tables = made(tmp_path)
    beats, gains, slower = (row(tables, name) for name in ("beats", "gains", "slower"))
    assert beats["verdict"] == gains["verdict"] == slower["verdict"] == SUPPORTED
    means = study(tmp_path / "t").of("s").rows("effects").groupby(["reader", "seed"])["size"].mean()
    surplus = min(float((means["learned"] - means[kind]).mean()) for kind in ("rotated", "untrained"))
    assert beats["effect"] == pytest.approx(surplus)
    assert beats["p"] == pytest.approx(6.0**-8)  # the weaker kind's
    assert beats["value"] == pytest.approx(means["learned"].mean()) == beats["reproduced"]
    losses = (
        study(tmp_path / "t").of("s").rows("losses").pivot(index="seed", columns="condition", values="loss")
    )
    difference = losses["self"] - losses["vanilla"]
    assert gains["effect"] == pytest.approx(difference.mean()) and gains["p"] == 1 / 256
    assert gains["p_holm"] == pytest.approx(2 / 256) and gains["n"] == 8  # ranks go first
    interval = stats.t.interval(0.95, 7, difference.mean(), stats.sem(difference))
    assert (gains["low"], gains["high"]) == pytest.approx(interval)
    assert gains["placebo"] == pytest.approx(-0.01) and gains["placebo_name"] == "bias"
    assert (slower["effect"], slower["n"]) == (10, 7) and slower["p"] == 1 / 128  # an empty cell is no seed
    seeds = tables["claim_seeds"]
    assert seeds[seeds["id"] == "gains"]["effect"].to_numpy() == pytest.approx(difference.to_numpy())
    assert len(tables["runs"]) == 8


def test_without_effects_nothing_is_supported_and_without_tables_nothing_is_measured(tmp_path: Path) -> None:
    none = made(tmp_path, gain=0.0, surplus=-0.1)
    assert row(none, "gains")["verdict"] == row(none, "beats")["verdict"] == NOT_SUPPORTED
    for seeds in (1, 2):
        few = made(tmp_path, seeds=seeds)
        assert row(few, "gains")["verdict"] == row(few, "beats")["verdict"] == INCONCLUSIVE
    empty = judged(load(file_of(tmp_path)), NONE, Tables(tmp_path / "nowhere", "claims"))
    assert set(empty["claims"]["verdict"]) == {ABSENT} and set(empty["claims"]["n"]) == {0}


READ = """
[readings.gains]
note = "Mind the bias."
beside = [{ label = "strongest", suite = "s", table = "losses", column = "loss", among = ["bias", "vanilla", "none"] }]
"""


def test_what_is_shown_beside_a_claim_is_the_strongest_and_changes_nothing(tmp_path: Path) -> None:
    hashes = {name: one.hash() for name, one in load(file_of(tmp_path)).claims.items()}
    assert {
        name: one.hash() for name, one in load(file_of(tmp_path, text=FEW + READ)).claims.items()
    } == hashes
    tables = made(tmp_path, text=FEW + READ)
    (beside,) = tables["claim_beside"].to_dict("records")
    # 1.99 is less than 2, which is claimed
    assert (beside["id"], beside["name"], beside["n"]) == ("gains", "bias", 8)
    assert beside["mean"] == pytest.approx(1.99)
    text = page_from(tmp_path / "page", tables)
    assert cells(text, "It gains.")[6].endswith("; strongest, bias, 1.990")
    assert "- *gains* (`gains`): Mind the bias. Strongest (bias): +1.990 [+1.990, +1.990]." in text


def test_numbers_that_are_ranked_stand_beside_placebos_on_one_scale(tmp_path: Path) -> None:
    tables = made(tmp_path, surplus=0.25)
    beats, said = row(tables, "beats"), cells(page_from(tmp_path / "page", tables), "It beats its placebos.")
    assert said[4].startswith(f"+{beats['effect']:.3f} [") and said[4].endswith("] nats")
    kind = {"rotated": "scrambled"}.get(beats["placebo_name"], beats["placebo_name"])
    assert said[6] == f"{beats['value']:.3f} against {beats['placebo']:.3f} ({kind})"
    assert beats["value"] - beats["placebo"] == pytest.approx(beats["effect"])


def test_a_query_that_finds_several_rows_or_no_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"claims\.beats: effects of suite s has 16 rows for seed 1; narrow `where`"
    ):
        made(tmp_path, ('where = { reader = "learned" } }', "where = {} }"))
    with pytest.raises(UserError, match=r"claims\.gains: table losses of suite s has no column los;"):
        made(tmp_path, ('column = "loss"', 'column = "los"'))


# The file.


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("smallest = 0.02", "smalest = 0.02", r"unknown key '.*smalest' in .*, line 36; did you mean '.*smallest'"),
        ('{ suite = "s", table = "losses", column = "loss"', '{ suit = "s", table = "losses", column = "loss"',
         r"unknown key '.*suit' in .*line 32; did you mean '.*suite'"),
        ("smallest = 0.02", "smallest = 0", r"smallest = 0 in .*line 36: input should be greater than 0"),
        ("smallest = 0.02", 'smallest = "small"', r"smallest = 'small' in .*line 36"),
        ('direction = "less"', 'direction = "lower"', r"direction = 'lower' in .*line 35"),
        ('test = "sign_flip"', 'test = "z"', r"test = 'z' in .*line 38"),
        ('why = "One per cent."\n', "", r"why is missing in .*line 26; give it a value"),
        ('family = "primary"\nunit = "nats"\nendpoint = { suite = "s", table = "losses"',
         'family = "primry"\nunit = "nats"\nendpoint = { suite = "s", table = "losses"',
         r"unknown family 'primry' in .*line 30; did you mean 'primary'"),
        ('said = "random ones don\'t"\n', "", r"a published claim needs `said`.*line 10"),
        ('placebo = { where = { reader = ["rotated", "untrained"] }, by = "reader" }\n', "", r"placebo go together"),
        ('test = "sign_flip"', 'test = "binomial"', r"of withdrawn claims alone"),
        ('column = "loss", where', 'column = "loss", missing = 9.0, where', r"of withdrawn claims alone"),
        ('{ condition = "self" } }\nminus = { where = { condition = "vanilla" } }\nbeside', '{ condition = {} } }\nbeside',
         r"endpoint.where.condition.* = {} in .*line 32"),
        ("[registration]", "[registraton]", r"unknown key 'registraton' in .*line 1; did you mean 'registration'"),
        ('[families.primary]\ntitle = "Primary"\nasks = "Does it?"\n', "", r"families is missing in .*give it a value"),
        ('seen = ["old"]', "seen = 3", r"seen = 3 in .*line 3"),
        ("[claims.beats]", "[claims.beats", r"is not valid TOML"),
        ("[readings.gains]", "[readings.gain]", r"unknown claim 'gain' in .*line 53; did you mean 'gains'"),
        ("label = ", "labl = ", r"unknown key '.*beside.0.labl' in .*line 55; did you mean '.*label'"),
    ],
)  # fmt: skip
def test_a_bad_entry_is_refused_in_one_clear_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(file_of(tmp_path, (old, new), text=FEW + READ))
    assert "\n" not in str(caught.value) and "claims.toml" in str(caught.value)


def many(count: int, direction: str = "less") -> str:
    """A file with so many further claims in a second family."""
    head = '\n[families.rest]\ntitle = "Rest"\nasks = "And?"\n'
    (block,) = re.findall(r"\[claims\.gains\].*?\n\n", FEW, re.S)
    block = block.replace('"less"', f'"{direction}"').replace('"primary"', '"rest"')
    return FEW + head + "".join(block.replace("gains", f"gains_{index}", 1) for index in range(count))


def test_a_family_that_the_seeds_could_never_decide_is_refused(tmp_path: Path) -> None:
    found = load(file_of(tmp_path, text=many(12))).of("rest")  # 12 / 256 < 0.05
    assert len(found) == 12 and found["gains_0"].smallest_p(8) == sign_flip(np.arange(1.0, 9.0))
    for text, message in (
        (many(13), r"families.rest has 13 claims: 8 seeds could never .* at most 12"),
        (many(7, "different"), r"at most 6"),
        (many(8).replace('"rest"', '"primary"'), r"families.primary has 11 claims; at most 10"),
    ):
        with pytest.raises(ConfigError, match=message):
            load(file_of(tmp_path, text=text))


def test_an_edited_added_or_removed_claim_is_marked_for_ever(tmp_path: Path) -> None:
    known, nowhere, tables = tmp_path / "claims.json", tmp_path / "nowhere", tmp_path / "t"
    study(tables)
    edit = ("smallest = 0.02", "smallest = 0.03")

    def changed(path: Path) -> dict[str, str]:
        found = judged(load(path), file.read_register(known), Tables(tables, "claims"))["claims"]
        return dict(zip(found["id"], found["changed"], strict=True))

    register(nowhere, known, "2026-01-01", "aaa", file_of(tmp_path))  # before any result
    register(
        nowhere, known, "2026-01-02", "bbb", file_of(tmp_path, edit)
    )  # an edit before any result is none
    register(tables, known, "2026-01-03", "ccc", file_of(tmp_path, edit))  # results exist
    assert set(changed(file_of(tmp_path, edit)).values()) == {""}
    assert json.loads(known.read_text())["results"]["s"] == {"date": "2026-01-03", "commit": "ccc"}
    for again in (
        ("smallest = 0.03", "smallest = 0.01"), ('"vanilla"', '"bias"'), ("It gains.", "It gains much."),
        ('suite = "s", table = "losses", column = "loss"', 'suite = "other", table = "losses", column = "loss"'),
    ):  # fmt: skip
        edited = file_of(tmp_path, edit, again)
        assert changed(edited) == {"beats": "", "gains": CHANGED, "slower": ""}, again
        register(tables, known, "2026-01-04", "ddd", edited)  # registering again hides nothing
        assert changed(edited)["gains"] == CHANGED
    path = file_of(tmp_path, edit)
    assert set(changed(path).values()) == {""}
    block = FEW[FEW.index("[claims.gains]") : FEW.index("[claims.slower]")].replace("0.02", "0.03")
    path = file_of(tmp_path, text=path.read_text() + "\n" + block.replace("claims.gains", "claims.more"))
    assert changed(path)["more"] == ADDED
    register(tables, known, "2026-01-05", "eee", path)
    assert changed(path)["more"] == ADDED and changed(path)["gains"] == ""
    path = file_of(tmp_path, text=path.read_text().replace(block, ""))
    assert changed(path)["gains"] == REMOVED
    seen = file_of(tmp_path, ('seen = ["old"]', 'seen = ["s"]'), edit)
    assert changed(seen) == {"beats": SEEN, "gains": SEEN, "slower": SEEN, "more": REMOVED}
    known.write_text("[]")
    with pytest.raises(UserError, match="no register of claims"):
        changed(path)


# What is committed.


@pytest.fixture(scope="module")
def committed() -> Claims:
    return load(file.FILE)


def test_the_committed_claims_ask_for_what_the_study_makes(committed: Claims) -> None:
    tables, known = Tables(COMMITTED, "claims"), published_with(committed)
    suite_of = functools.cache(lambda name: load_suite(ROOT / "configs" / f"{name}.toml"))
    made = functools.cache(
        lambda name: {one for table in book.tables_of(suite_of(name)) for one in table.names}
    )
    assert 0 < len(committed.of("primary")) <= file.MOST_PRIMARY
    for name, claim in committed.claims.items():
        if claim.withdrawn:
            continue
        asked = [
            claim.query(one) for one in (None, claim.minus, claim.placebo, claim.beside, claim.reproduced)
        ]
        shown = (
            [query for one in committed.readings[name].beside for query in one.queries().values()]
            if name in committed.readings
            else []
        )
        for query in (*asked, *shown):
            suite = suite_of(query.suite)
            assert query.table in made(query.suite), (name, query)
            runs = tables.of(query.suite).rows(
                "runs"
            )  # suites are published one by one, and conditions are added
            if len(runs) and "condition" in query.where:
                runs = runs[runs["condition"] == query.where["condition"]]
            there = known and len(runs) and len(tables.of(query.suite).rows(query.table))
            assert not there or len(judge.rows_of(tables, name, query)), (name, query)
            if "condition" in query.where:
                assert query.where["condition"] in suite.conditions, name
            if query.table.startswith("frozen"):
                assert query.where["condition"] in suite.probes["frozen"].conditions, name
                assert query.where["run_step"] in suite.probes["frozen"].steps, name


def test_the_committed_verdicts_are_those_of_the_committed_tables(committed: Claims) -> None:
    if not published_with(committed):
        pytest.skip("what is committed is of other claims; the study has to be published again")
    tables = Tables(COMMITTED, "claims")
    for name, table in judge.judge(tables).items():
        assert content(table) == (COMMITTED / "claims" / f"{name}.csv").read_bytes(), name
    assert {("shakespeare", "frozen_effects"), ("recurring", "runs")} <= tables.reads


def test_what_was_added_after_results_is_marked_as_such(committed: Claims) -> None:
    decides, register = EXPERIMENT.decides(), file.read_register()
    assert decides["claims"] == committed.sha256
    new = {name for name in committed.claims if name not in register["claims"]}
    late = {name for name in new if set(committed.claims[name].suites()) & set(register["results"])}
    late |= {name for name, entry in register["claims"].items() if entry["late"] and name in committed.claims}
    assert set(committed.of("review")) <= late
    assert {name for name, mark in decides["marks"].items() if mark == ADDED} == late
    assert {name for name, mark in decides["marks"].items() if mark == CHANGED} == {"faint_pays"}


def test_published_numbers_are_those_of_the_document(committed: Claims) -> None:
    said = committed.claims
    words = dict(zip(published.MEASURES, ("loss", "entropy", "drift", "effect"), strict=True))
    for regime, metrics in published.REGIME_DELTAS.items():
        for metric, value in metrics.items():
            claim = said[f"{regime}_{words[metric]}_beyond"]
            assert claim.published == value, regime
            assert (claim.endpoint.where["regime"], claim.endpoint.where["metric"]) == (regime, metric)
            assert claim.direction == ("greater" if claim.published > 0 else "less"), regime
    assert said["steers_beyond_untrained"].published == said["effect_size"].published == published.EFFECT_SIZE
    assert said["confident"].published == published.FROZEN_DELTA_ENTROPY["confident"]
    assert said["uncertain"].published == published.FROZEN_DELTA_ENTROPY["uncertain"]
    for name in ("ema", "buffer_64", "buffer_128"):
        assert said[f"share_{name}"].published == said[f"share_{name}"].null == published.MEMORY[name][0]


def test_what_is_withdrawn_stands_as_it_was_registered_and_is_judged_no_more(
    committed: Claims, tmp_path: Path
) -> None:
    registered, gone = file.read_register()["claims"], committed.withdrawn()
    assert len(gone) == 39 and all(claim.hash() == registered[name]["hash"] for name, claim in gone.items())
    judged_now = {name for family in committed.families for name in committed.of(family)}
    assert not judged_now & set(gone) and {claim.successor for claim in gone.values()} <= judged_now
    lone = ('test = "sign_flip"', 'test = "sign_flip"\nwithdrawn = "Another measure."')
    with pytest.raises(ConfigError, match="go together"):
        load(file_of(tmp_path, lone))
    none = ('test = "sign_flip"', 'test = "sign_flip"\nwithdrawn = "Another."\nsuccessor = "gain"')
    with pytest.raises(ConfigError, match="did you mean 'gains'"):
        load(file_of(tmp_path, none))


def test_a_renamed_condition_changes_no_claim_and_is_told(tmp_path: Path) -> None:
    """The hash is over the name at registration; any other change still is one."""
    rename = ('where = { condition = "self" } }\nminus', 'where = { condition = "own" } }\nminus')
    why = 'why = "One per cent."\n'
    told = (why, why + 'renamed = { own = "self" }\n')
    before = load(file_of(tmp_path)).claims["gains"]
    after = load(file_of(tmp_path, rename, told))
    assert after.claims["gains"].hash() == before.hash()
    assert load(file_of(tmp_path, rename)).claims["gains"].hash() != before.hash()
    other = ('{ condition = "vanilla" } }\nbeside', '{ condition = "bias" } }\nbeside')
    assert load(file_of(tmp_path, rename, told, other)).claims["gains"].hash() != before.hash()
    text = page.preregistration(after, {"results": {}, "claims": {}})
    assert "`own` was called `self` when this was registered" in text


def test_what_was_renamed_is_there_by_its_new_name_alone(committed: Claims) -> None:
    """So that no claim slips from one condition to another under the hash of the first."""
    for name, claim in committed.claims.items():
        for now, then in claim.renamed.items():
            for suite in claim.suites():
                conditions = load_suite(ROOT / "configs" / f"{suite}.toml").conditions
                assert now in conditions and then not in conditions, name


def test_the_preregistration_is_written_from_the_claims(committed: Claims) -> None:
    text = (ROOT / "docs" / "PREREGISTRATION.md").read_text()
    made = page.preregistration(committed, file.read_register())
    assert text == made, "run: ./run.sh python scripts/make_report.py --preregistration"
    assert f"Ours. {ADDED.capitalize()}." in text and f"Ours. {CHANGED.capitalize()}." in text
    assert committed.sha256 in text and all(f"`{name}`" in text for name in committed.claims)


# Figure and page.


def test_the_figure_says_what_came_out(tmp_path: Path, committed: Claims) -> None:
    tables, (figure,) = made(tmp_path, surplus=-0.1), EXPERIMENT.figures
    drawing = drawn_of(figure, tmp_path / "page", tables, "claims")
    assert title_of(drawing).startswith("Black: the claim is supported")
    texts = [text.get_text() for text in drawing.axes[0].texts]
    assert texts.count(SUPPORTED) == 2 and texts.count(f"comes back larger; {NOT_SUPPORTED}") == 1
    assert texts.index("beats placebos") < texts.index("gains")  # what fails first

    def across(marker: str) -> Any:
        lines = [line for line in drawing.axes[0].lines if line.get_marker() == marker]
        return np.concatenate([np.asarray(line.get_xdata(), float) for line in lines])

    beats, gains = row(tables, "beats"), row(tables, "gains")
    # what is ranked among placebos counts from their mean
    assert across("D")[0] == pytest.approx((0.35 - beats["placebo"]) / 0.05, rel=1e-6) and across("s")[0] == 0
    assert across("o")[0] == pytest.approx(-gains["effect"] / 0.02, rel=1e-6)
    drawn_of(figure, tmp_path / "two", made(tmp_path, seeds=2), "claims")
    nothing = judged(committed, NONE, Tables(tmp_path / "nowhere", "claims"))
    with pytest.raises(NothingToDraw, match="no claim that was measured"):
        drawn_of(figure, tmp_path / "none", nothing, "claims")


def test_the_page_says_first_what_fell_and_what_explains_it(tmp_path: Path) -> None:
    tables = made(tmp_path, ('seen = ["old"]', 'seen = ["s"]'), surplus=-0.1)
    text = page_from(tmp_path / "page", tables)
    assert text.index("- **Not supported: It beats") < text.index("- **Supported: It gains.")
    assert cells(text, "It beats its placebos.*")[-1] == f"{NOT_SUPPORTED}*"
    fell = cells(text, "random ones don't")
    assert fell[1] == "0.350" and "A placebo reaches as much." in fell[-1]
    assert tables["claims"]["file_sha256"].iloc[0] in text and "8 runs of 9 steps" in text
    assert f"{SEEN.capitalize()} (*): `beats`, `gains` and `slower`." in text
    assert "−0.1" in cells(text, "It gains.*")[4] and cells(text, "It gains.*")[6].startswith(
        "bias gets −0.0"
    )
    assert cells(text, "It gains.*")[-1] == f"{SUPPORTED}*"  # written when results were known: never bold
    early = page_from(tmp_path / "early", made(tmp_path))
    assert cells(early, "It gains.")[-1] == f"**{SUPPORTED}**"
    assert "Of 3 claims registered before results, 3 are supported." in early
    assert "Of 3 claims added or changed after results" in text
    assert_tables(text)


KNOWN = ('asks = "Does it?"\n', 'asks = "Does it?"\nforeseen = ["gains"]\n')


def test_a_claim_whose_size_was_known_is_marked_and_never_bold(tmp_path: Path) -> None:
    known, blind = load(file_of(tmp_path, KNOWN)), load(file_of(tmp_path))
    assert {name: one.hash() for name, one in known.claims.items()} == {
        name: one.hash() for name, one in blind.claims.items()
    }
    assert file.marks(known, NONE) == {"beats": "", "gains": FORESEEN, "slower": ""}
    assert file.marks(known, {**NONE, "results": {"s": {}}})["gains"] == ADDED  # the weightier mark
    tables = made(tmp_path, KNOWN)
    text = page_from(tmp_path / "page", tables)
    assert (
        cells(text, "It gains.‡")[-1] == f"{SUPPORTED}‡"
        and cells(text, "It is slower.")[-1] == f"**{SUPPORTED}**"
    )
    assert "Of 2 claims registered before results, 2 are supported." in text
    assert "Of 1 claim registered with its size known, 1 is supported." in text
    assert f"{FORESEEN.capitalize()} (‡): `gains`." in text
    drawing = drawn_of(EXPERIMENT.figures[0], tmp_path / "page", tables, "claims")
    texts = {one.get_text(): one.get_fontweight() for one in drawing.axes[0].texts}
    assert "gains‡" in texts and "slower" in texts
    weights = [one.get_fontweight() for one in drawing.axes[0].texts if one.get_text().endswith(SUPPORTED)]
    assert sorted(weights) == ["bold", "bold", "normal"]
    prose = page.preregistration(known, NONE)
    assert f"Ours. {FORESEEN.capitalize()}." in prose
    with pytest.raises(ConfigError, match=r"unknown claim 'gain' in .*line 9; did you mean 'gains'"):
        load(file_of(tmp_path, (KNOWN[0], KNOWN[1].replace("gains", "gain"))))


def test_an_effect_that_leans_on_partners_is_shown_by_pairs_and_judged_as_it_was(tmp_path: Path) -> None:
    read = FEW + "\n[readings.gains]\npairs = true\n"
    tables, before = made(tmp_path, text=read), made(tmp_path)
    assert (
        row(tables, "gains")[["n", "p", "verdict", "hash"]].tolist()
        == row(before, "gains")[["n", "p", "verdict", "hash"]].tolist()
    )
    seeds = before["claim_seeds"].query("id == 'gains'")["effect"].to_numpy()
    pairs = (seeds[::2] + seeds[1::2]) / 2
    (beside,) = tables["claim_beside"].to_dict("records")
    assert (beside["label"], beside["n"]) == (judge.PAIRED, 4)
    interval = stats.t.interval(0.95, 3, pairs.mean(), stats.sem(pairs))
    assert (beside["mean"], beside["low"], beside["high"]) == pytest.approx((pairs.mean(), *interval))
    text = page_from(tmp_path / "page", tables)
    assert f"By pairs{judge.PAIRED.removeprefix('by pairs')} (4 pairs): −0.097 [−0.108, −0.086]." in text
    page_from(tmp_path / "one", made(tmp_path, text=read, seeds=1))


def test_every_claim_against_another_runs_signals_is_shown_by_pairs(committed: Claims) -> None:
    for name, claim in committed.claims.items():
        if claim.minus is None or claim.withdrawn:
            continue
        rivals = [str(value) for value in claim.minus.where.values()]
        if any("yoked" in one or one == "outsider" for one in rivals):
            reading = committed.readings.get(name)
            assert claim.pairs or (reading and reading.pairs), name


def test_the_page_says_which_family_needs_every_seed(tmp_path: Path) -> None:
    said = "With 12 claims the first to be supported needs the smallest p that 8 seeds can give"
    assert said in page_from(
        tmp_path / "page", made(tmp_path, text=many(12))
    )  # 12 / 256 < 0.05 <= 12 * 2 / 256
    assert "needs the smallest p" not in page_from(tmp_path / "page", made(tmp_path, text=many(6)))


def test_the_page_stands_without_results(tmp_path: Path, committed: Claims) -> None:
    assert re.findall("^## (.*)", page_from(tmp_path, {}), re.M) == [
        "In short",
        "Published claims that fell",
        "Every published number",
        "Withdrawn: measured something else",
        "What was claimed before it was known",
    ]
    nothing = judged(committed, NONE, Tables(tmp_path / "nowhere", "claims"))
    assert page_from(tmp_path / "page", nothing).count("not measured") >= len(committed.claims) - len(
        committed.withdrawn()
    )
    assert "- **Inconclusive: It gains.**" in page_from(tmp_path / "two", made(tmp_path, seeds=2))


# Every number of the published documents.


def of(low: float, high: float, n: int = 8) -> Estimate:
    return Estimate(n, (low + high) / 2, low, high, 0.01)


def test_a_number_comes_back_where_a_further_seed_could_give_it() -> None:
    inside = of(0.2, 0.24)  # 0.06 from the mean: three half intervals reach as far
    assert judge.back(0.25, inside) == judge.YES
    assert (judge.back(0.30, inside), judge.back(0.10, inside)) == (judge.SMALLER, judge.LARGER)
    assert judge.back(-0.30, of(-0.24, -0.2)) == judge.SMALLER
    assert judge.back(-0.05, inside) == judge.TURNED and judge.back(0.3, of(-0.02, 0.02)) == judge.NO
    assert judge.back(0.01, of(-0.02, 0.02)) == judge.back(0.25, of(0.2, 0.24, 2)) == judge.UNDECIDED
    assert judge.back(0.25, of(0.2, 0.24, 0)) == ABSENT
    assert (
        judge.back(0.25, inside, null=0.5) == judge.YES and judge.back(0.6, inside, null=0.5) == judge.TURNED
    )
    assert (
        judge.back(0.25, inside, least=0.2) == judge.YES
        and judge.back(0.25, inside, least=0.21) == judge.UNDECIDED
    )


def test_a_number_survives_by_its_whole_interval() -> None:
    assert document.survives(0.27, of(0.1, 0.3)) == document.survives(-0.05, of(-0.3, -0.1)) == judge.YES
    assert document.survives(-0.05, of(0.1, 0.3)) == judge.TURNED
    assert document.survives(0.27, of(-0.1, 0.3)) == document.UNSEEN
    assert document.survives(0.27, of(0.1, 0.3, 2)) == judge.UNDECIDED


def ends(printed: str) -> list[tuple[float, float]]:
    """The numbers of a cell of docs/published/numbers.csv, a range's two ends, and half of each one's last digit."""
    found = []
    for one in printed.split(" to "):
        digits, unit = one.removesuffix(" %"), 0.01 if one.endswith("%") else 1.0
        found.append((unit * float(digits), unit * 0.5 * 10.0 ** -len(digits.partition(".")[2])))
    return found


def test_every_number_that_the_documents_print_has_a_row_or_a_reason() -> None:
    listed = pd.read_csv(ROOT / "docs" / "published" / "numbers.csv", dtype=str, keep_default_na=False)
    assert [*listed] == ["line", "document", "number", "printed", "row", "reason"]
    assert [*dict.fromkeys(listed["line"].astype(int))] == [*range(1, 160)]
    assert ((listed["row"] == "") != (listed["reason"] == "")).all()
    asked = {one.name: one for one in document.numbers()}
    rows = listed[listed["row"] != ""]
    assert set(rows["row"]) == set(asked) and len(asked) == len([*document.numbers()])
    for line in rows.to_dict("records"):
        one = asked[line["row"]]
        said = [one.said] if one.to is None else [one.said, one.to]
        bare = "absolute" in line["number"] or not one.signed  # printed, or compared, without a sign
        for value, (printed, half) in zip(said, ends(line["printed"]), strict=True):
            apart = abs(value) - abs(printed) if bare else value - printed
            assert abs(apart) <= half * (1 + 1e-9), line


def test_every_number_has_a_control_or_says_that_it_is_one() -> None:
    for one in document.numbers():
        ways = [one.control, one.net, one.minus, one.word or None]
        assert sum(way is not None for way in ways) == (2 if one.control and one.net else 1), one.name


def test_no_published_number_is_left_out(tmp_path: Path) -> None:
    """Each finds its cell, in tables in which every number comes back twice as large, and controls are nothing."""
    made: dict[tuple[str, str], list[dict[str, Any]]] = {}
    known: set[str] = set()
    asked = [*document.numbers()]

    def cell(query: file.Query, value: float) -> bool:
        """Make a cell, unless it is there: two numbers may have one, as both swaps have."""
        place = query.model_copy(update={"take": "one"}).model_dump_json()
        if place in known:
            return False
        known.add(place)
        rows = made.setdefault((query.suite, query.table), [])
        rows += [
            {**query.where, "at_bound": 0.97, "seed": seed, query.column: value * (2 + 0.01 * seed)}
            for seed in (1, 2, 3)
        ]
        return True

    own = {one.name for one in asked if cell(one.query, one.said)}
    for one in asked:
        if one.control is not None and one.net is None:
            cell(one.query.model_copy(update={"where": {**one.query.where, **one.control.where}}), 0.0)
        if one.query.table == "regime_deltas" and one.query.where["condition"] == "regimes":
            left = {**one.query.where, "beyond": one.said}
            made.setdefault((one.query.suite, "dropout_deltas"), []).extend(
                {**left, "seed": seed} for seed in (1, 2, 3)
            )
    for (suite, name), rows in made.items():
        storage.write_bytes(tmp_path / suite / f"{name}.csv", content(pd.DataFrame(rows)))
    text = document.document(Tables(tmp_path, "claims"))
    assert text.count("\n") == len(asked) + 1
    assert_tables(text)
    for one in asked:
        found = cells(text, f"{one.name} |")
        assert found[-1] == "3", one.name
        if one.name in own and ": random" not in one.name:  # whose first draw is a number of its own
            assert found[3] == judge.LARGER, one.name
        if one.word:
            assert found[4:6] in (["a control itself", "–"], ["begins at 0.5", "–"]) or (
                found[4] == "all that its gate allows in 97 % of steps"
            ), one.name
        elif one.net is None or "with dropout" in one.name:
            assert found[5] == judge.YES, one.name
    assert cells(text, "five regimes: lr_heatwave, loss |")[1] == "−0.010"
    assert cells(text, "buffer_64_stride_5: drift |")[1] == "+0.0004 to +0.0007"
    assert cells(text, "frozen weights: confident |")[4] == "–"  # no dose curve
    assert cells(text, "held-out loss, without minus with a self-state |")[2].startswith("+0.0208 [")


def test_shares_and_spreads_are_counted_as_published(tmp_path: Path) -> None:
    place = {"suite": "shakespeare", "condition": "analysis", "run_step": 1000, "protocol": "replication"}
    rows = []
    for seed in (1, 2, 3):
        for draw, (change, falls) in enumerate([(-0.1, 1.0), (0.1, 0.2), (0.3, 0.0), (0.1, 0.2)]):
            rows.append({**place, "seed": seed, "state": "random", "draw": draw, "delta_entropy": change, "sign_consistency": falls})  # fmt: skip
        for state, right in (("confident", 0.8), ("uncertain", 0.5 + 0.001 * seed)):
            rows.append({**place, "seed": seed, "state": state, "draw": 0, "delta_entropy": 0.0, "sign_consistency": right})  # fmt: skip
    tables = read_from(tmp_path, "shakespeare", {"frozen_conditions": pd.DataFrame(rows)}).of("claims")
    found = {line[0].removeprefix("frozen weights: "): line for line in document.rows(tables)}
    assert found["random, share of directions that lower it"][2].startswith("0.250 [")
    assert found["random, SD of directions"][2].startswith("0.141 [")  # 0.1 * sqrt(2), by n
    assert found["one random direction"][2].startswith("−0.100 [")
    # beyond the 0.35 of random ones' batches that fall, and below the 0.65 that rise
    assert found["confident, share of batches with its sign"][4].startswith("+0.450 [")
    assert found["uncertain, share of batches with its sign"][4].startswith("−0.148 [")


def test_of_a_range_the_end_next_to_ours_counts() -> None:
    one = next(one for one in document.numbers() if one.name == "buffer_64: effect")
    assert (one.near(-0.2), one.near(-0.11), one.near(0.0)) == (-0.121, -0.11, -0.103)


def test_what_was_selected_is_held_against_what_was_selected_alike(tmp_path: Path) -> None:
    made: dict[str, list[dict[str, Any]]] = {
        "frozen_conditions": [],
        "frozen_doses": [],
        "frozen_dose_placebos": [],
    }
    for seed in (1, 2, 3):
        place = {"suite": "shakespeare", "condition": "analysis", "seed": seed, "run_step": 1000}
        for state, change in (("confident", -0.1), ("random", 0.1)):
            row = {"protocol": "replication", "state": state, "draw": 0, "delta_entropy": change - 0.001 * seed, "sign_consistency": 1.0}  # fmt: skip
            made["frozen_conditions"].append(place | row)
        for dose in (0.1, 0.2):
            for kind, reader, change in (("doses", "learned", -0.3), ("dose_placebos", "untrained", -0.4)):
                row = {"direction": "confident", "reader": reader, "draw": 0, "magnitude": dose, "delta_entropy": change * dose - 0.001 * seed * (reader == "learned")}  # fmt: skip
                made[f"frozen_{kind}"].append(place | row)
    tables = read_from(tmp_path, "shakespeare", {name: pd.DataFrame(rows) for name, rows in made.items()})
    found = cells(document.document(tables.of("claims")), "frozen weights: confident |")
    assert (
        found[4].startswith("+0.018 [") and found[5] == judge.TURNED
    )  # at the largest dose, −0.060 against −0.080


def test_partners_that_lend_each_other_what_is_compared_are_one_unit() -> None:
    claim = load(file.FILE).claims["swap_loss"]
    found = judge._units(claim, pd.Series({1: 1.0, 2: 3.0, 3: 5.0, 4: 7.0, 5: 9.0}))
    assert found.to_dict() == {1: 2.0, 3: 6.0, 5: 9.0}
    assert judge._units(claim.model_copy(update={"pairs": False}), pd.Series({1: 1.0})).to_dict() == {1: 1.0}
