"""What a self-state pays: planted gains, recoveries and shares are found with their size."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from base.storage import ROOT, UserError
from configs.suite import load_suite
from configs.world import Bewilderment
from experiments import recurring, shares, switches
from experiments.kit import pairs
from experiments.kit.pairs import STATE
from experiments.kit.tables import CALM
from tests.made_recurring import (
    PAYS,
    STEEP,
    SUITE,
    logged,
    of,
    regimes,
    since_switch,
    stretches,
    study,
    tables_of,
    whole,
)
from tests.made_runs import (
    page_of,
    regimes_of,
)


def test_planted_gains_are_found_with_their_size() -> None:
    runs = [
        logged("vanilla_recurring", 1, noise=0.2),
        logged("calibrated_recurring", 1, (0.1, 0.04), noise=0.2),
    ]
    row = of(tables_of(*runs)["recurring_losses"], condition="calibrated_recurring")
    assert (row["world"], row["mechanism"], row["role"]) == ("recurring", "calibrated", "state")
    assert row["vanilla"] == "vanilla_recurring" and row["age"] == 1 and row["from_step"] == 500
    assert row["clean_steps"] + row["perturbed_steps"] == 1500
    acts = regimes("calibrated_recurring", 1)[500:] != CALM
    assert row["perturbed_steps"] == acts.sum()
    # the batch's luck is the same in both and cancels, whatever its size
    assert row["clean_loss_difference"] == pytest.approx(-0.1)
    assert row["perturbed_loss_difference"] == pytest.approx(-0.04)
    assert row["heldout_loss_calm_difference"] == pytest.approx(-0.1)
    assert row["heldout_loss_acting_difference"] == pytest.approx(0.05)
    assert row["heldout_ece_difference"] == pytest.approx(-0.01)
    assert row["heldout_loss_calm"] == pytest.approx(1.9)
    log = runs[1].metrics()[500:]
    assert row["clean_loss"] == pytest.approx(log.loc[~acts, "loss"].mean())
    assert row["evaluations_calm"] + row["evaluations_acting"] == 16  # 500, 600, ..., 1900 and the last step


def test_what_happens_before_the_last_three_quarters_does_not_count() -> None:
    runs = [logged("vanilla_recurring", 2), logged("calibrated_recurring", 2, (0.1, 0.04))]
    runs[1].log.loc[:499, ["loss", "heldout_loss", "heldout_ece"]] += 7
    row = of(tables_of(*runs)["recurring_losses"], condition="calibrated_recurring")
    assert row["clean_loss_difference"] == pytest.approx(-0.1) and row["clean_loss"] < 3
    runs[1].log.loc[runs[1].log["step"] == 500, "loss"] += 7
    row = of(tables_of(*runs)["recurring_losses"], condition="calibrated_recurring")
    where = "clean" if runs[1].log["regime"][500] == CALM else "perturbed"
    planted = {"clean": -0.1, "perturbed": -0.04}[where]
    assert row[f"{where}_loss_difference"] == pytest.approx(planted + 7 / row[f"{where}_steps"])


def test_no_gain_gives_none() -> None:
    runs = [logged(name, 3, noise=0.1) for name in ("vanilla_recurring", "calibrated_recurring")]
    row = of(tables_of(*runs)["recurring_losses"], condition="calibrated_recurring")
    found = row.filter(like="_difference")
    assert len(found) == 8 and set(found) == {0.0}


def test_vanilla_is_that_of_the_same_world() -> None:
    base = pairs.vanillas(SUITE.conditions)
    assert set(base) == set(SUITE.conditions)
    for world in pairs.WORLDS:
        assert {base[f"{kind}_{world}"] for kind in ("raw", "calibrated", "vanilla")} == {f"vanilla_{world}"}
    assert {base[name] for name in ("oracle", "yoked", "learned_bias", "delayed_64")} == {"vanilla_recurring"}
    assert base["faint"] == base["faint_oracle"] == "faint_vanilla"
    names = {"vanilla_mix": "mix", "faint_vanilla": "faint", "vanilla": "base"}
    assert {name: pairs.world_name(name) for name in names} == names
    direct = SUITE.conditions["direct"]
    changed = direct.regimes.model_copy(update={"bewilderment": Bewilderment(probability=0.4)})
    moved = {**SUITE.conditions, "direct": direct.model_copy(update={"regimes": changed})}
    assert "direct" not in pairs.vanillas(moved)  # no vanilla has that world
    roles = {name: pairs.role_of(name, run) for name, run in SUITE.conditions.items()}
    assert {name for name, role in roles.items() if role == "oracle"} == {
        "oracle",
        "faint_oracle",
        "large_oracle",
    }
    assert (
        roles["raw_mix"] == roles["faint"] == roles["published_recurring"] == roles["as_published"] == "state"
    )
    assert roles["yoked"] == roles["learned_bias"] == "control"


def test_what_is_called_published_is_what_the_published_suite_runs() -> None:
    theirs = load_suite(ROOT / "configs" / "shakespeare.toml").conditions["self"]
    mechanism, world = SUITE.conditions["published_recurring"], SUITE.conditions["as_published"]
    assert mechanism.self_state == theirs.self_state
    assert (world.schedule, world.regimes) == (theirs.schedule, theirs.regimes)
    assert SUITE.conditions["calibrated_windows"].regimes != theirs.regimes
    told = {name: pairs.mechanism_of(run) for name, run in SUITE.conditions.items()}
    assert told["published_recurring"] == "published" and told["raw_recurring"] == "raw"
    assert told["as_published"] == "calibrated" and told["as_published_vanilla"] == "none"


def test_a_pair_under_other_regimes_is_refused() -> None:
    other = regimes("vanilla_recurring", 2)
    runs = [logged("vanilla_recurring", 1), logged("direct", 1, regime=other)]
    with pytest.raises(UserError, match="seed 1 of direct was under other regimes than vanilla_recurring"):
        tables_of(*runs)


def test_without_its_vanilla_a_run_has_losses_and_no_differences() -> None:
    tables = tables_of(logged("calibrated_recurring", 1), logged("vanilla_recurring", 2))
    row = of(tables["recurring_losses"], condition="calibrated_recurring")
    assert np.isfinite(row["clean_loss"]) and np.isnan(row["clean_loss_difference"])
    assert tables["recurring_summary"].empty
    assert [len(table) for table in tables_of().values()] == [0] * 4


def test_switches_are_counted_by_hand() -> None:
    steps = regimes_of(60, [("bewilderment", 10, 20), ("sensory_fog", 40, 45), ("self_clamp", 45, 50)])
    log = pd.DataFrame({"step": range(60), "regime": steps, "loss": np.arange(60.0), "loss_vanilla": 0.0})

    def found(first: int) -> dict[tuple[str, int], list[int]]:
        """By kind and step of each switch, its lags."""
        pair = pairs.Pair(logged("calibrated_mix", 1), "mix", "vanilla_mix", log, first)
        kinds = switches.around_switches(pair).items()
        parts = [(kind, one) for kind, rows in kinds for _, one in rows.groupby("event")]
        for _, one in parts:  # each step at its own lag
            assert (one["step"] - one["lag"]).nunique() == 1 and (one["loss"] == one["step"]).all()
        return {(kind, int((one["step"] - one["lag"]).iloc[0])): sorted(one["lag"]) for kind, one in parts}

    # at 45 one regime follows another: neither on nor off; each has its own two stretches and no further
    of = {("on", 10): (-10, 10), ("on", 40): (-20, 5), ("off", 20): (-10, 20), ("off", 50): (-5, 10)}
    assert found(0) == {place: list(range(*ends)) for place, ends in of.items()}
    assert set(found(20)) == {("on", 40), ("off", 20), ("off", 50)}


def test_curves_are_aligned_to_the_first_step_of_a_stretch() -> None:
    """The state is late by one step after a switch on: what it gains there begins at lag 1."""
    runs = [
        logged("vanilla_recurring", 4, noise=0.1),
        logged("calibrated_recurring", 4, (0.1, 0.3), noise=0.1),
    ]
    regime = regimes("calibrated_recurring", 4)
    late = (since_switch(regime) == 0) & (regime != CALM)
    runs[1].log.loc[late, "loss"] += 0.3 + 0.2
    table = tables_of(*runs)["recurring_switches"]
    mine = table[table["condition"] == "calibrated_recurring"]
    on, off = (mine[mine["switch"] == kind].set_index("lag")["difference"] for kind in ("on", "off"))
    assert on[-1] == pytest.approx(-0.1) and on[0] == pytest.approx(0.2) and on[1] == pytest.approx(-0.3)
    assert off[-2] == pytest.approx(-0.3, abs=0.05) and off[0] == off[30] == pytest.approx(-0.1)
    counts = mine[mine["switch"] == "on"].set_index("lag")["events"]
    lengths = stretches(regime, 500)[0]
    assert counts[0] == len(lengths)
    assert counts[40] == sum(length > 40 for length in lengths) < counts[0]


def test_a_planted_recovery_of_k_steps_is_k() -> None:
    runs = [logged("vanilla_recurring", 1, wait=12), logged("calibrated_recurring", 1, (0.1, 0.2), wait=3)]
    table = tables_of(*runs)["recurring_recovery"]
    on, off = stretches(regimes("calibrated_recurring", 1), 500)
    for kind in ("on", "off"):
        mine, plain = (of(table, condition=name, switch=kind) for name in (STATE, "vanilla_recurring"))
        assert (mine["steps"], mine["median"], plain["steps"], plain["median"]) == (3, 3, 12, 12)
        assert mine["steps_difference"] == -9 and plain["steps_difference"] == 0
        # its own level: what it gains throughout is no part of the excess
        assert mine["excess"] == pytest.approx(3 * STEEP) and plain["excess"] == pytest.approx(12 * STEEP)
        gain = 0.2 if kind == "on" else 0.1
        assert mine["loss_after_difference"] == pytest.approx(-9 * STEEP - 20 * gain)
    censored = table.loc[table["condition"] == "vanilla_recurring", "censored"].sum()
    assert censored == sum(n < 12 + 5 for n in (*on, *off)) > 0


def test_a_recovery_is_found_through_the_noise_of_batches() -> None:
    tables = study(("vanilla_recurring", "calibrated_recurring"), 8, noise=0.05)
    found = tables["recurring_recovery"].groupby("condition")["steps"].mean()
    assert found["vanilla_recurring"] == pytest.approx(12 + 1, abs=0.7)  # noise alone costs about a step
    assert found["calibrated_recurring"] == pytest.approx(3 + 1, abs=0.7)
    row = of(tables["recurring_summary"], condition=STATE, quantity="difference", measure="steps_on")
    assert row["low"] < -9 < row["high"] < -7


def test_a_switch_that_is_cut_short_counts_as_longer_not_as_missing() -> None:
    # of 3 still watched at 2 one recovers: 2/3 left; at 5 the one left recovers: 1 + 1 + 3 x 2/3
    assert switches.kaplan_meier(np.array([2, 5]), np.array([2, 5])) == (pytest.approx(2 + 3 * 2 / 3), 5.0)
    mean, median = switches.kaplan_meier(np.array([], int), np.array([4, 9]))
    assert mean == switches.HORIZON and np.isnan(median)
    random = np.random.default_rng(1)
    true, cut = random.choice([3, 20], 4000), random.geometric(0.05, 4000)
    seen = true < cut
    mean, _ = switches.kaplan_meier(true[seen], cut[~seen])
    assert mean == pytest.approx(11.5, abs=0.6)
    assert true[seen].mean() < 10  # what leaving them out would say


def test_half_of_the_oracles_gain_is_half() -> None:
    names = ("vanilla_recurring", STATE, "oracle", "direct", "yoked")
    same: dict[str, int] = {}
    table = study(names, 3, spread=0.0, waits=same)["recurring_summary"].query("quantity == 'share'")
    row = of(table, condition=STATE, measure="clean_loss")
    assert (row["mean"], row["low"], row["high"]) == (pytest.approx(0.5),) * 3
    assert row["reference"] == "oracle"
    assert of(table, condition="direct", measure="perturbed_loss")["mean"] == pytest.approx(0.4)
    assert of(table, condition="yoked", measure="clean_loss")["mean"] == pytest.approx(0.0, abs=1e-9)
    noisy = study(names, waits=same)["recurring_summary"]
    row = of(noisy, quantity="share", condition="calibrated_recurring", measure="clean_loss")
    assert 0.4 < row["low"] < 0.5 < row["high"] < 0.6
    nothing = study(names, 3, {**PAYS, "oracle": (0.0, 0.0)}, waits=same)["recurring_summary"]
    assert not (nothing["quantity"] == "share").any()  # nothing to share


def test_what_is_left_of_a_share_beyond_the_strongest_blind_control() -> None:
    names = ("vanilla_recurring", STATE, "oracle", "direct", "yoked", "fixed_bias", "learned_bias")
    gains = PAYS | {"fixed_bias": (0.05, 0.0), "yoked": (0.01, 0.02)}
    table = study(names, 3, gains, spread=0.0, waits={})["recurring_summary"]
    calm = of(table, quantity="share_beyond", condition="calibrated_recurring", measure="clean_loss")
    assert calm["reference"] == "fixed_bias"  # (0.1 - 0.05) of (0.2 - 0.05)
    assert (calm["mean"], calm["low"], calm["high"]) == (pytest.approx(1 / 3),) * 3
    acts = of(table, quantity="share_beyond", condition="direct", measure="perturbed_loss")
    assert acts["reference"] == "yoked" and acts["mean"] == pytest.approx((0.04 - 0.02) / (0.1 - 0.02))
    told = set(table[table["quantity"] == "share_beyond"]["condition"])
    assert told == {"calibrated_recurring", "direct"}  # none of the blind ones, nor the oracle itself
    none = study(names, 3, gains | {"oracle": (0.05, 0.02)}, spread=0.0, waits={})["recurring_summary"]
    assert not (none["quantity"] == "share_beyond").any()  # the oracle gains nothing beyond them
    blind = {name for name, run in SUITE.conditions.items() if shares.is_blind(run)}
    assert blind == {
        *("learned_bias", "fixed_bias", "yoked", "shuffled", "clock"),
        *("large_bias", "large_fixed_bias", "large_yoked", "cooled_bias"),
    }


def test_the_faint_world_has_a_ceiling_and_no_share(tmp_path: Path) -> None:
    rows = [
        {"suite": "recurring", "condition": name, "seed": seed, "state": state, "kl": kl, "kl_calm": calm}
        for seed in range(1, 9)
        for name, state, kl, calm in (
            ("faint", "calm", 0.0031, 0.0), ("faint", "optimum", 0.0, 0.002), ("calibrated_recurring", "calm", 0.9, 0.0),
        )
    ]  # fmt: skip
    areas = [
        {"suite": "recurring", "condition": name, "seed": seed, "regime": "bewilderment", "auc": area}
        for seed in range(1, 9)
        for name, area in (("faint_vanilla", 0.7 + 0.01 * seed), ("faint", 0.5), ("vanilla_recurring", 1.0))
    ]
    made = {**whole(), "belief_shifts": pd.DataFrame(rows), "batch_auc": pd.DataFrame(areas)}

    def section(folder: str, tables: dict[str, pd.DataFrame]) -> str:
        text = page_of(recurring.EXPERIMENT, tmp_path / folder, tables)
        start = text.index("## Does it pay where one batch leaves doubt?")
        return text[start : text.index("## Does it come back at")]

    faint = section("poor", made)
    assert "hardly tells (AUC 0.74 [0.72, 0.77], n = 8): to know" in faint
    assert "at most 0.0031 nats on corrupted steps and 0.0020 nats on calm ones" in faint
    assert "With the true regime the mean gain is larger than that" in faint
    assert "share" not in faint.replace("no share of a gain", "")
    spread = made["recurring_losses"].query("condition == 'faint'")["clean_loss_difference"].std()
    assert ("this world decides nothing" in faint) == (spread > 0.0031)
    noisy = {**made, "belief_shifts": made["belief_shifts"].assign(kl=2 * spread)}
    assert "this world decides nothing" not in section("rich", noisy)
    bare = section("bare", whole())
    assert "was not measured here" in bare and "is larger than that" not in bare
    assert "hardly tells: to know" in bare


def test_fiellers_interval_is_that_of_the_t_test() -> None:
    random = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        both = random.multivariate_normal([0.5, 1.0], [[0.04, 0.02], [0.02, 0.05]], 8)
        part, whole = both.T
        share, low, high = shares.ratio(part, whole)
        assert share == pytest.approx(part.mean() / whole.mean())
        for end in (low, high):
            assert stats.ttest_1samp(part - end * whole, 0).pvalue == pytest.approx(0.05)
        held += low <= 0.5 <= high
    assert 0.92 < held / 400 < 0.98
    assert np.isnan(shares.ratio(np.ones(8), random.normal(0, 1, 8))).all()
    assert np.isnan(shares.ratio(np.ones(8), -np.ones(8) + 0.01 * random.normal(size=8))).all()
    assert np.isnan(shares.ratio(np.ones(1), np.ones(1))).all()


def test_contrasts_are_differences_of_conditions_and_of_worlds() -> None:
    worlds = [f"{kind}_{world}" for kind in ("calibrated", "raw", "vanilla") for world in pairs.WORLDS]
    names = (*worlds, "direct", "oracle", "yoked", "learned_bias", "delayed_64", "faint", "faint_vanilla")
    table = study(names, spread=0.0, noise=0.0, seeds=3, waits={STATE: 3})["recurring_summary"]

    def value(
        quantity: str, one: str, other: str, measure: str = "clean_loss", world: str = "recurring"
    ) -> Any:
        where = {
            "quantity": quantity,
            "condition": one,
            "reference": other,
            "world": world,
            "measure": measure,
        }
        return pytest.approx(of(table, **where)["mean"])

    # three steps above the level after each switch, where all others have twelve: that much is gained besides
    sooner = study(("vanilla_recurring", STATE), 3, {}, 0.0, 0.0, {STATE: 3})
    rows = sooner["recurring_losses"].query(f"condition == '{STATE}'")
    extra, acting = rows["clean_loss_difference"].mean(), rows["perturbed_loss_difference"].mean()
    assert extra < -0.01 and acting < -0.01
    assert value("difference", "raw_recurring", "vanilla_recurring") == 0
    assert value("difference", "learned_bias", "vanilla_recurring") == -0.012
    assert value("difference", STATE, "vanilla_recurring") == extra - 0.1
    assert value("difference", STATE, "vanilla_recurring", "steps_on") == -9
    assert value("control", STATE, "learned_bias") == extra - 0.088
    assert value("control", STATE, "direct", "perturbed_loss") == acting - 0.01
    assert value("interaction", "calibrated - raw", "windows") == extra - 0.1
    assert value("interaction", "calibrated - raw", "windows", "perturbed_loss", "mix") == -0.03
    assert value("interaction", "calibrated - raw", "windows", world="random") == 0
    assert set(table["n"]) == {3}
    controls = set(table.loc[table["quantity"] == "control", "reference"])
    assert {"oracle", "yoked", "delayed_64", "vanilla_recurring"} <= controls
    assert not {"faint", "calibrated_mix"} & controls


def test_age_tells_how_much_old_statistics_can_know() -> None:
    table = whole()["recurring_losses"]
    fresh = table.groupby("condition")["fresh"].mean()
    for name, age in (("calibrated_recurring", 1), ("delayed_4", 4), ("delayed_16", 16), ("delayed_64", 64)):
        assert set(table.loc[table["condition"] == name, "age"]) == {age}
        # a chain that leaves with 0.02 either way
        assert fresh[name] == pytest.approx((1 + 0.96**age) / 2, abs=0.06)
    assert table.loc[table["condition"].isin(["oracle", "yoked", "learned_bias"]), "age"].isna().all()
