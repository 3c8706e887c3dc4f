"""Claims: the tests' error rates and exactness, the file's refusals, what marks an edit, the figure and the page."""

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

from analysis import (
    ambiguous,
    belief_shifts,
    beliefs,
    claim_file,
    claims,
    classification,
    controls,
    frozen,
    memory,
    recurring,
    signatures,
)
from analysis.belief_subjects import AVERAGES, BATCH, STATE, UNTRAINED
from analysis.beliefs import POSTERIOR, TWIN
from analysis.claim_file import ADDED, CHANGED, SEEN, Claims, Query, load
from analysis.claim_tests import ABSENT, INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED, smallest_p, verdict
from base.storage import ROOT, UserError
from configs.suite import load_suite
from configs.toml_file import ConfigError
from configs.world import Regimes
from experiments.kit import tables as kit_tables
from experiments.kit.stats import combined_rank, equal_within, holm, share, sign_flip
from experiments.kit.tables import NothingToDraw
from plots import claims as figures
from probes import frozen_rows
from reports import claims as report
from reports import parts, preregistration
from tests.made_runs import assert_tables, cells, drawn, title_of, written

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
unit = "of seeds"
endpoint = { suite = "s", table = "losses", column = "steps", missing = 1e6, where = { condition = "self" } }
minus = { where = { condition = "vanilla" } }
direction = "greater"
smallest = 0.25
why = "Three of four."
test = "binomial"
"""


def file(folder: Path, text: str = FEW, *changes: tuple[str, str]) -> Path:
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = folder / "claims.toml"
    path.write_text(text)
    return path


def study(folder: Path, seeds: int = 8, gain: float = -0.1, surplus: float = 1.0) -> Path:
    """Tables of a suite "s" in which a state gains and steers by so much, and never comes back in seed 1."""
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
    run = {
        "steps": 9,
        "seconds": 1.0,
        "heldout_loss": 2.0,
        "dtype": "float32",
        "corpus": "x",
        "parameters": 1000,
    }
    tables = {
        "effects": pd.DataFrame(effects, columns=["seed", "reader", "size"]),
        "losses": pd.DataFrame(losses, columns=["seed", "condition", "loss", "steps"]),
        "runs": pd.DataFrame([
            {"suite": "s", "condition": "self", "seed": seed, "key": str(seed), **run} for seed in range(1, seeds + 1)
        ]),
    }  # fmt: skip
    (folder / "s").mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(folder / "s" / f"{name}.csv", index=False)
    return folder


def row(made: dict[str, pd.DataFrame], name: str) -> Any:
    return made["claims"].set_index("id").loc[name]


# The statistics.


def test_sign_flips_are_those_of_scipy_and_of_hand() -> None:
    assert sign_flip(np.array([1.0, 2.0, 3.0])) == 1 / 8 and sign_flip(np.array([1.0, 2.0, 3.0]), "less") == 1
    assert sign_flip(np.array([1.0, 2.0, -3.0])) == 5 / 8  # sums 6 4 2 0 0 -2 -4 -6, observed 0
    assert sign_flip(np.zeros(4), "different") == 1
    assert [sign_flip(np.array([2.0]), way) for way in ("greater", "less", "different")] == [1 / 2, 1, 1]
    random = np.random.default_rng(1)
    for n, shift in ((5, 0.3), (8, 0.5), (9, -0.4)):
        values = random.standard_normal(n) + shift
        for ours, theirs in (("greater", "greater"), ("less", "less"), ("different", "two-sided")):
            exact = stats.permutation_test(
                (values, np.zeros(n)), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples",
                vectorized=True, alternative=theirs, n_resamples=np.inf,
            ).pvalue  # fmt: skip
            assert sign_flip(values, ours) == pytest.approx(float(exact))
    many = np.full(40, 1.0)
    assert (
        sign_flip(many) == sign_flip(many) < 1e-4
    )  # where there are too many ways they are drawn, always the same


def test_without_an_effect_the_sign_flip_finds_one_as_often_as_it_may_and_with_one_it_does() -> None:
    random = np.random.default_rng(2)
    heavy = random.standard_t(2, size=(3000, 8))  # symmetric, and far from normal
    false = np.mean([sign_flip(values) < 0.05 for values in heavy])
    assert abs(false - 12 / 256) < 3 * math.sqrt(0.047 / 3000)
    assert np.mean([sign_flip(values, "different") < 0.05 for values in heavy]) < 0.05 + 3 * math.sqrt(
        0.047 / 3000
    )
    planted = random.standard_normal((300, 8)) + 1.5
    assert np.mean([sign_flip(values) < 0.05 for values in planted]) > 0.9
    families = random.standard_t(3, size=(400, 6, 8))  # six claims, none true
    some = [min(holm([sign_flip(values) for values in six])) < 0.05 for six in families]
    assert np.mean(some) < 0.05 + 3 * math.sqrt(0.05 / 400)


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
    placebo = np.array([1.0, 2.0, 3.0, 4.0])
    assert combined_rank([1], [4]) == frozen.rank_p_value(3.5, placebo)  # one seed: its rank p-value
    assert combined_rank([0] * 8, [10] * 8) == pytest.approx(11.0**-8)
    assert combined_rank([5] * 8, [10] * 8) == pytest.approx(0.5, abs=0.06)
    assert combined_rank([0] + [9] * 7, [10] * 8) > 0.5  # one seed that stands out carries nothing


def test_holm_and_shares_are_the_known_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []
    missing = holm([0.01, math.nan, 0.03])  # the missing one still counts
    assert missing[0] == pytest.approx(0.03) and math.isnan(missing[1]) and missing[2] == pytest.approx(0.06)
    effect, low, high, p = share(8, 8)
    assert (effect, high, p) == (1, 1, 1 / 256) and low == pytest.approx(0.025 ** (1 / 8))
    assert share(4, 8)[3] == pytest.approx(163 / 256) and share(0, 0)[3] == 1


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
    made = claims.tables(load(file(tmp_path)), study(tmp_path / "t"))
    beats, gains, slower = (row(made, name) for name in ("beats", "gains", "slower"))
    assert beats["verdict"] == gains["verdict"] == slower["verdict"] == SUPPORTED
    effects = pd.read_csv(tmp_path / "t" / "s" / "effects.csv")
    means = effects.groupby(["reader", "seed"])["size"].mean()
    surplus = min(float((means["learned"] - means[kind]).mean()) for kind in ("rotated", "untrained"))
    assert beats["effect"] == pytest.approx(surplus) and beats["p"] == pytest.approx(
        6.0**-8
    )  # the weaker kind's
    assert beats["value"] == pytest.approx(means["learned"].mean()) == beats["reproduced"]
    losses = pd.read_csv(tmp_path / "t" / "s" / "losses.csv").pivot(
        index="seed", columns="condition", values="loss"
    )
    difference = losses["self"] - losses["vanilla"]
    assert gains["effect"] == pytest.approx(difference.mean()) and gains["p"] == 1 / 256
    assert gains["p_holm"] == pytest.approx(2 / 256) and gains["n"] == 8  # ranks go first
    interval = stats.t.interval(0.95, 7, difference.mean(), stats.sem(difference))
    assert (gains["low"], gains["high"]) == pytest.approx(interval)
    assert gains["placebo"] == pytest.approx(-0.01) and gains["placebo_name"] == "bias"
    assert (slower["effect"], slower["null"], slower["p"]) == (
        1,
        0.5,
        1 / 256,
    )  # never came back: slower than any
    seeds = made["claim_seeds"]
    assert seeds[seeds["id"] == "gains"]["effect"].to_numpy() == pytest.approx(difference.to_numpy())
    assert len(made["runs"]) == 8


def test_without_effects_nothing_is_supported_and_without_tables_nothing_is_measured(tmp_path: Path) -> None:
    none = claims.tables(load(file(tmp_path)), study(tmp_path / "t", gain=0.0, surplus=-0.1))
    assert row(none, "gains")["verdict"] == row(none, "beats")["verdict"] == NOT_SUPPORTED
    two = claims.tables(load(file(tmp_path)), study(tmp_path / "u", seeds=2))
    assert set(two["claims"]["verdict"]) == {INCONCLUSIVE}
    empty = claims.tables(load(file(tmp_path)), tmp_path / "nowhere")
    assert set(empty["claims"]["verdict"]) == {ABSENT} and set(empty["claims"]["n"]) == {0}
    one = claims.write(study(tmp_path / "t"), None, tmp_path / "claims.toml")
    bytes_of = [path.read_bytes() for path in one]
    assert [path.name for path in one] == ["claims.csv", "claim_seeds.csv", "claim_beside.csv", "runs.csv"]
    assert [
        path.read_bytes() for path in claims.write(tmp_path / "t", None, tmp_path / "claims.toml")
    ] == bytes_of


def ties(folder: Path, mine: list[float], theirs: list[float]) -> Any:
    """`slower`, where the state and vanilla came back after so many steps, NaN for never."""
    tables = study(folder, seeds=len(mine))
    rows = pd.read_csv(tables / "s" / "losses.csv")
    for name, steps in (("self", mine), ("vanilla", theirs)):
        rows.loc[rows["condition"] == name, "steps"] = steps
    rows.to_csv(tables / "s" / "losses.csv", index=False)
    return claims.tables(load(file(folder.parent)), tables)


def test_seeds_in_which_neither_recovers_are_measured_and_decide_nothing(tmp_path: Path) -> None:
    never = np.nan
    none = ties(tmp_path / "a", [never] * 4, [never] * 4)
    slower = row(none, "slower")
    assert (slower["n"], slower["wins"], slower["ties"], slower["neither"]) == (4, 0, 4, 4)
    assert slower["verdict"] == INCONCLUSIVE and slower[["effect", "p", "p_holm"]].isna().all()
    assert (
        slower[["value", "rival", "reproduced"]].isna().all()
    )  # what stands for an empty cell is no number of steps
    assert set(none["claim_seeds"].query("id == 'slower'")["effect"]) == {0.0}
    page = written(report, none, tmp_path / "page")
    assert_tables(page)
    held = cells(page, "It is slower.")
    assert (
        held[2] == "no seed decides"
        and held[4] == "0 of 4 seeds, 4 tied, in 4 of them neither recovered (vanilla)"
    )
    assert "1000000" not in page and "999" not in page
    drawing = drawn(figures.FIGURES[0], none)
    assert "no seed decides" in [text.get_text() for text in drawing.axes[0].texts]
    # Wins 30 > 20, never > 20, never > 9; a loss, never for vanilla alone; ties: equal steps, and neither.
    some = row(ties(tmp_path / "b", [30, never, never, 5, 7, never], [20, 20, 9, never, 7, never]), "slower")
    assert (some["n"], some["wins"], some["ties"], some["neither"]) == (6, 3, 2, 1)
    assert some["effect"] == 3 / 4 and some["p"] == pytest.approx(5 / 16)  # three or four of four coins


def test_what_is_shown_beside_a_claim_is_the_strongest_and_changes_nothing(tmp_path: Path) -> None:
    bare = load(file(tmp_path))
    more = """
[readings.gains]
note = "Mind the bias."
beside = [{ label = "strongest", suite = "s", table = "losses", column = "loss", among = ["bias", "vanilla", "none"] }]
"""
    read = load(file(tmp_path, FEW + more))
    assert {name: one.hash() for name, one in read.claims.items()} == {
        name: one.hash() for name, one in bare.claims.items()
    }
    made = claims.tables(read, study(tmp_path / "t"))
    (beside,) = made["claim_beside"].to_dict("records")
    assert (beside["id"], beside["name"], beside["n"]) == (
        "gains",
        "bias",
        8,
    )  # 1.99 is less than 2, which is claimed
    assert beside["mean"] == pytest.approx(1.99)
    page = written(report, made, tmp_path / "page")
    assert cells(page, "It gains.")[4].endswith("(bias); strongest 1.990 (bias)")
    assert "- *gains* (`gains`): Mind the bias. Strongest (`bias`): +1.990 [+1.990, +1.990]." in page
    assert "Mind the bias." in report.readme_claims(tmp_path / "page")
    with pytest.raises(ConfigError, match=r"unknown claim 'gain' .*did you mean 'gains'"):
        load(file(tmp_path, FEW + more.replace("readings.gains", "readings.gain")))
    with pytest.raises(ConfigError, match=r"beside.0.label is missing"):
        load(file(tmp_path, FEW + more.replace("label", "labl")))


def test_numbers_that_are_ranked_stand_beside_placebos_on_one_scale(tmp_path: Path) -> None:
    tables = claims.tables(load(file(tmp_path)), study(tmp_path / "t", surplus=0.25))
    page = written(report, tables, tmp_path / "page")
    beats = row(tables, "beats")
    said = cells(page, "It beats its placebos.")
    assert said[2].startswith(f"{beats['value']:.3f}, +{beats['effect']:.3f} [") and said[2].endswith(
        "nats beyond placebos"
    )
    assert said[4] == f"{beats['value']:.3f} against {beats['placebo']:.3f} ({beats['placebo_name']})"
    assert beats["value"] - beats["placebo"] == pytest.approx(beats["effect"])


def test_a_query_that_finds_several_rows_or_no_column_is_refused(tmp_path: Path) -> None:
    tables = study(tmp_path / "t")
    wide = file(tmp_path, FEW, ('where = { reader = "learned" } }', "where = {} }"))
    with pytest.raises(
        UserError, match=r"claims\.beats: effects of suite s has 16 rows for seed 1; narrow `where`"
    ):
        claims.tables(load(wide), tables)
    with pytest.raises(UserError, match=r"claims\.gains: table losses of suite s has no column los;"):
        claims.tables(load(file(tmp_path, FEW, ('column = "loss"', 'column = "los"'))), tables)


# The file.


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("smallest = 0.02", "smalest = 0.02", r"unknown key 'smalest' in .*, line 36; did you mean 'smallest'"),
        ('{ suite = "s", table = "losses", column = "loss"', '{ suit = "s", table = "losses", column = "loss"',
         r"unknown key 'suit' in .*line 32; did you mean 'suite'"),
        ("smallest = 0.02", "smallest = 0", r"smallest = 0 in .*line 36: input should be greater than 0"),
        ("smallest = 0.02", 'smallest = "small"', r"smallest = 'small' in .*line 36"),
        ('direction = "less"', 'direction = "lower"', r"direction = 'lower' in .*line 35"),
        ('test = "sign_flip"', 'test = "t"', r"test = 't' in .*line 38"),
        ('why = "One per cent."\n', "", r"why is missing in .*line 26; give it a value"),
        ('family = "primary"\nunit = "nats"\nendpoint = { suite = "s", table = "losses"',
         'family = "primry"\nunit = "nats"\nendpoint = { suite = "s", table = "losses"',
         r"unknown family 'primry' in .*line 30; did you mean 'primary'"),
        ('said = "random ones don\'t"\n', "", r"a published claim needs `said`.*line 10"),
        ('placebo = { where = { reader = ["rotated", "untrained"] }, by = "reader" }\n', "", r"placebo go together"),
        ('test = "sign_flip"', 'test = "binomial"\nnull = 1.0', r"binomial counts seeds"),
        ('column = "loss", where', 'column = "loss", missing = 9.0, where', r"endpoint.missing stands for no number"),
        ('{ condition = "self" } }\nminus = { where = { condition = "vanilla" } }\nbeside', '{ condition = {} } }\nbeside',
         r"where.condition must be a value"),
        ("[registration]", "[registraton]", r"unknown key 'registraton' in .*line 1; did you mean 'registration'"),
        ('[families.primary]\ntitle = "Primary"\nasks = "Does it?"\n', "", r"has no \[families\] table"),
        ('seen = ["old"]', "seen = 3", r"seen = 3 in .*line 3"),
        ("[claims.beats]", "[claims.beats", r"is not valid TOML"),
    ],
)  # fmt: skip
def test_a_bad_entry_is_refused_in_one_clear_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(file(tmp_path, FEW, (old, new)))
    assert "\n" not in str(caught.value) and "claims.toml" in str(caught.value)


def many(count: int, direction: str = "less") -> str:
    """A file with so many further claims in a second family."""
    head = '\n[families.rest]\ntitle = "Rest"\nasks = "And?"\n'
    (block,) = re.findall(r"\[claims\.gains\].*?\n\n", FEW, re.S)
    block = block.replace('"less"', f'"{direction}"').replace('"primary"', '"rest"')
    return FEW + head + "".join(block.replace("gains", f"gains_{index}", 1) for index in range(count))


def test_a_family_that_the_seeds_could_never_decide_is_refused(tmp_path: Path) -> None:
    assert len(load(file(tmp_path, many(12))).of("rest")) == 12  # 12 / 256 < 0.05
    with pytest.raises(ConfigError, match=r"families.rest has 13 claims: 8 seeds could never .* at most 12"):
        load(file(tmp_path, many(13)))
    with pytest.raises(ConfigError, match=r"at most 6"):
        load(file(tmp_path, many(7, "different")))
    with pytest.raises(ConfigError, match=r"families.primary has 7 claims; at most 6"):
        load(file(tmp_path, many(4).replace('"rest"', '"primary"')))


def test_the_least_p_is_what_eight_equal_signs_give() -> None:
    values = np.arange(1.0, 9.0)
    assert smallest_p("sign_flip", "greater", 8) == sign_flip(values) and smallest_p(
        "sign_flip", "different", 8
    ) == sign_flip(values, "different")


def test_an_edited_added_or_removed_claim_is_marked_for_ever(tmp_path: Path) -> None:
    register = tmp_path / "claims.json"
    tables = study(tmp_path / "t")
    path = file(tmp_path)

    def changed(path: Path) -> dict[str, str]:
        made = claims.tables(load(path), tables, register)["claims"]
        return dict(zip(made["id"], made["changed"], strict=True))

    claims.register(tmp_path / "nowhere", register, "2026-01-01", "aaa", path)  # before any result
    path = file(tmp_path, FEW, ("smallest = 0.02", "smallest = 0.03"))
    claims.register(
        tmp_path / "nowhere", register, "2026-01-02", "bbb", path
    )  # an edit before any result is none
    claims.register(tables, register, "2026-01-03", "ccc", path)  # results exist
    assert set(changed(path).values()) == {""}
    assert json.loads(register.read_text())["results"]["s"] == {"date": "2026-01-03", "commit": "ccc"}
    for old, new in (
        ("smallest = 0.03", "smallest = 0.01"), ('"vanilla"', '"bias"'), ("It gains.", "It gains much."),
        ('suite = "s", table = "losses", column = "loss"', 'suite = "other", table = "losses", column = "loss"'),
    ):  # fmt: skip
        edited = file(tmp_path, FEW, ("smallest = 0.02", "smallest = 0.03"), (old, new))
        assert changed(edited) == {"beats": "", "gains": CHANGED, "slower": ""}, old
        claims.register(tables, register, "2026-01-04", "ddd", edited)  # registering again hides nothing
        assert changed(edited)["gains"] == CHANGED
    path = file(tmp_path, FEW, ("smallest = 0.02", "smallest = 0.03"))
    assert set(changed(path).values()) == {""}
    block = FEW[FEW.index("[claims.gains]") : FEW.index("[claims.slower]")].replace("0.02", "0.03")
    path = file(tmp_path, path.read_text() + "\n" + block.replace("claims.gains", "claims.more"))
    assert changed(path)["more"] == ADDED
    claims.register(tables, register, "2026-01-05", "eee", path)
    assert changed(path)["more"] == ADDED and changed(path)["gains"] == ""
    path = file(tmp_path, path.read_text().replace(block, ""))
    assert changed(path)["gains"] == claims.REMOVED
    seen = file(tmp_path, FEW, ('seen = ["old"]', 'seen = ["s"]'), ("smallest = 0.02", "smallest = 0.03"))
    assert changed(seen) == {"beats": SEEN, "gains": SEEN, "slower": SEEN, "more": claims.REMOVED}
    register.write_text("[]")
    with pytest.raises(UserError, match="no register of claims"):
        changed(path)


# What is committed.

DECLARED: dict[str, tuple[str, ...]] = {
    "frozen_effects": ("suite", "condition", *frozen_rows.EFFECTS),
    "frozen_conditions": ("suite", "condition", *frozen_rows.CONDITIONS),
    "regime_deltas": signatures.COLUMNS,
    "classification_seeds": classification.SEED_COLUMNS,
    "controls_comparison": controls.COMPARISON,
    "control_losses": controls.LOSSES,
    "memory_measures": memory.MEASURES,
    "memory_tradeoff": memory.TRADEOFF,
    "memory_ranks": memory.RANKS,
    "ambiguous_values": ambiguous.VALUES,
    "recurring_losses": recurring.LOSSES,
    **beliefs.COLUMNS,
    "belief_shifts": belief_shifts.COLUMNS,
    "frozen_effects_summary": frozen.SUMMARY,
}


def columns_of(query: Query) -> set[str]:
    """What a table is declared to have, or for those of experiments/, has in the committed results."""
    if query.table in DECLARED:
        return set(DECLARED[query.table])
    return {*map(str, kit_tables.read(ROOT / "docs" / "results" / "tables", query.suite, query.table))}


def committed() -> Claims:
    return load(claim_file.FILE)


def test_the_committed_claims_ask_for_what_the_analyses_make() -> None:
    found = committed()
    assert 0 < len(found.of("primary")) <= 6
    for name, claim in found.claims.items():
        others = [
            one for one in (claim.minus, claim.placebo, claim.beside, claim.reproduced) if one is not None
        ]
        for query in (claim.endpoint, *(claim.query(one) for one in others)):
            assert {query.column, *query.where} <= columns_of(query), name
            suite = load_suite(ROOT / "configs" / f"{query.suite}.toml")
            if "condition" in query.where:
                assert query.where["condition"] in suite.conditions, name
            if query.table.startswith("frozen"):
                assert query.where["condition"] in suite.frozen_test.conditions, name
                assert query.where["run_step"] in suite.frozen_test.steps, name
            assert query.where.get("regime", "bewilderment") in Regimes.model_fields, name
            assert query.where.get("source", STATE) in (STATE, BATCH, AVERAGES, UNTRAINED), name
            assert query.where.get("target", POSTERIOR) in (POSTERIOR, TWIN), name
            features = (kit_tables.STATE, kit_tables.BASIC, kit_tables.RAW)
            assert query.where.get("features", features[0]) in features, name
            protocols = ("heldout", "replication", kit_tables.CLEAN, kit_tables.NO_CLAMP)
            assert query.where.get("protocol", "heldout") in protocols, name
    for name, reading in found.readings.items():
        for shown in reading.beside:
            suite = load_suite(ROOT / "configs" / f"{shown.suite}.toml")
            for query in shown.queries().values():
                assert {query.column, *query.where} <= columns_of(query), name
                assert query.where["condition"] in suite.conditions, name


def test_what_was_added_after_results_is_marked_as_such() -> None:
    marks = claim_file.marks(committed(), claim_file.read_register(ROOT / "docs" / "results" / "claims.json"))
    assert {name for name, mark in marks.items() if mark == ADDED} == set(committed().of("review"))
    assert {name for name, mark in marks.items() if mark == CHANGED} == {"faint_pays"}


def test_a_renamed_condition_changes_no_claim_and_is_told(tmp_path: Path) -> None:
    """The hash is over the name at registration; any other change still is one."""
    rename = ('where = { condition = "self" } }\nminus', 'where = { condition = "own" } }\nminus')
    why = 'why = "One per cent."\n'
    told = (why, why + 'renamed = { own = "self" }\n')
    before = load(file(tmp_path)).claims["gains"]
    after = load(file(tmp_path, FEW, rename, told))
    assert after.claims["gains"].hash() == before.hash()
    assert load(file(tmp_path, FEW, rename)).claims["gains"].hash() != before.hash()
    other = ('{ condition = "vanilla" } }\nbeside', '{ condition = "bias" } }\nbeside')
    assert load(file(tmp_path, FEW, rename, told, other)).claims["gains"].hash() != before.hash()
    text = preregistration.preregistration(after, {"results": {}, "claims": {}})
    assert "`own` was called `self` when this was registered" in text


def test_what_was_renamed_is_there_by_its_new_name_alone() -> None:
    """So that no claim slips from one condition to another under the hash of the first."""
    for name, claim in committed().claims.items():
        for now, then in claim.renamed.items():
            for suite in claim.suites():
                conditions = load_suite(ROOT / "configs" / f"{suite}.toml").conditions
                assert now in conditions and then not in conditions, name


def test_published_numbers_are_those_of_the_document() -> None:
    from experiments.kit import published

    said = committed().claims
    for name, regime, metric in (
        ("bewilderment_loss", "bewilderment", "loss"), ("bewilderment_entropy", "bewilderment", "entropy"),
        ("bewilderment_drift", "bewilderment", "state_drift"), ("bewilderment_effect", "bewilderment", "state_effect"),
        ("fog_loss", "sensory_fog", "loss"), ("fog_effect", "sensory_fog", "state_effect"),
        ("heatwave_drift", "lr_heatwave", "state_drift"), ("clamp_drift", "self_clamp", "state_drift"),
        ("clamp_effect", "self_clamp", "state_effect"), ("false_feedback_effect", "false_feedback", "state_effect"),
    ):  # fmt: skip
        claim = said[name]
        assert claim.published == published.REGIME_DELTAS[regime][metric], name
        assert (claim.endpoint.where["regime"], claim.endpoint.where["metric"]) == (regime, metric)
        assert claim.direction == ("greater" if claim.published > 0 else "less"), name
    assert said["headline"].published == said["effect_size_returns"].published == published.EFFECT_SIZE
    assert said["confident_lowers_entropy"].published == published.FROZEN_DELTA_ENTROPY["confident"]
    assert said["uncertain_raises_entropy"].published == published.FROZEN_DELTA_ENTROPY["uncertain"]
    shares = {name: share for name, (share, *_) in published.MEMORY.items()}
    assert said["buffer_takes_a_larger_share"].published == pytest.approx(shares["buffer_64"] - shares["ema"])
    assert said["longer_buffer_takes_more"].published == pytest.approx(
        shares["buffer_128"] - shares["buffer_64"]
    )


def test_the_preregistration_is_written_from_the_claims() -> None:
    text = (ROOT / "docs" / "PREREGISTRATION.md").read_text()
    register = claim_file.read_register(ROOT / "docs" / "results" / "claims.json")
    made = preregistration.preregistration(committed(), register)
    assert text == made, "run: ./run.sh python scripts/make_report.py --preregistration"
    assert f"Ours. {ADDED.capitalize()}." in text and f"Ours. {CHANGED.capitalize()}." in text
    assert committed().sha256 in text and all(f"`{name}`" in text for name in committed().claims)


# Figure and page.


def made(folder: Path, *changes: tuple[str, str], **planted: float) -> dict[str, pd.DataFrame]:
    return claims.tables(load(file(folder, FEW, *changes)), study(folder / "t", **planted))  # type: ignore[arg-type]


def test_the_figure_says_what_came_out(tmp_path: Path) -> None:
    tables = made(tmp_path, surplus=-0.1)
    drawing = drawn(figures.FIGURES[0], tables)
    assert "1 published claim measured: 1 not supported" in title_of(drawing)
    texts = [text.get_text() for text in drawing.axes[0].texts]
    assert texts.count(SUPPORTED) == 2 and texts.count(NOT_SUPPORTED) == 1
    assert texts.index("beats placebos") < texts.index("gains")  # what fails first
    diamonds = [line for line in drawing.axes[0].lines if line.get_marker() == "D"]
    placebos = row(tables, "beats")["placebo"]  # what directions that are ranked among placebos count from
    assert float(np.asarray(diamonds[0].get_xdata())[0]) == pytest.approx((0.35 - placebos) / 0.05, rel=1e-6)
    squares = [line for line in drawing.axes[0].lines if line.get_marker() == "s"]
    assert float(np.asarray(squares[0].get_xdata())[0]) == 0
    gains = [line for line in drawing.axes[0].lines if line.get_marker() == "o"][1]
    assert float(np.asarray(gains.get_xdata())[0]) == pytest.approx(
        -row(tables, "gains")["effect"] / 0.02, rel=1e-6
    )
    drawn(figures.FIGURES[0], made(tmp_path, seeds=2))
    with pytest.raises(NothingToDraw, match="no claim that was measured"):
        drawn(figures.FIGURES[0], claims.tables(committed(), tmp_path / "nowhere"))


def test_the_page_says_first_what_fell_and_what_explains_it(tmp_path: Path) -> None:
    tables = made(tmp_path, ('seen = ["old"]', 'seen = ["s"]'), surplus=-0.1)
    page = written(report, tables, tmp_path / "page")
    assert_tables(page)
    assert page.index("- **Not supported: It beats") < page.index("- **Supported: It gains.")
    assert cells(page, "It beats its placebos.*")[-1] == NOT_SUPPORTED
    fell = cells(page, "random ones don't")
    assert fell[1] == "0.350" and "A placebo reaches as much." in fell[-1]
    assert tables["claims"]["file_sha256"].iloc[0] in page and "8 runs of 9 steps" in page
    assert f"{SEEN.capitalize()} (*): `beats`, `gains` and `slower`." in page
    assert "−0.1" in cells(page, "It gains.*")[2] and cells(page, "It gains.*")[4].endswith("(bias)")
    block = report.readme_claims(tmp_path / "page")
    assert_tables(block)
    assert "Of 1 published claim, 1 is not supported." in block and "figures/claims.png" in block


def test_the_page_stands_without_results(tmp_path: Path) -> None:
    nothing = report.sections(parts.Tables(tmp_path, report.SUITE, report.COLUMNS), "figures")
    assert [section.title for section in nothing] == [
        "Published claims that fell",
        "Every row of the published tables",
        "What was claimed before it was known",
    ]
    assert report.readme_claims(tmp_path) == "No claim has been decided yet."
    page = written(report, claims.tables(committed(), tmp_path / "nowhere"), tmp_path / "page")
    assert_tables(page)
    assert page.count("not measured") >= len(committed().claims)
    two = written(report, made(tmp_path, seeds=2), tmp_path / "two")
    assert_tables(two)
    assert "- **Inconclusive: It gains.**" in two
