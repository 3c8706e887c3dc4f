"""Steering beside further controls: states trained on shuffled statistics, doses, confident directions at matched KL."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from base.storage import ROOT
from configs.suite import load_suite
from experiments import frozen_tables, steering
from tests.made_runs import assert_tables, context, drawn_of, page_of, title_of, verdict

SEEDS = range(1, 9)
PLACE = {"suite": "recurring", "run_step": 2000}


NOTHING = context([])


def beside_shuffled(effects: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, *names: str) -> pd.DataFrame:
    monkeypatch.setattr(steering, "alike", lambda conditions: list(names))
    return steering.steering_trained(NOTHING, effects)


def effects(sizes: dict[str, list[float]]) -> pd.DataFrame:
    rows = [
        {**PLACE, "condition": name, "seed": seed, "protocol": "heldout", "finder": "gradient", "reader": reader,
         "draw": 0, "effect_size": size if reader == "learned" else 99.0}
        for name, of_seeds in sizes.items()
        for seed, size in enumerate(of_seeds, 1)
        for reader in ("learned", "untrained")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def curve(reader: str, direction: str, entropy: float, nll: float, most: float, draw: int = 0) -> list[dict]:
    """A dose curve whose entropy and NLL change in proportion to the KL, which is the square of the dose."""
    return [
        {**PLACE, "condition": "calibrated_recurring", "seed": 1, "reader": reader, "draw": draw,
         "direction": direction, "magnitude": dose, "kl": most * dose**2,
         "delta_entropy": -np.sign(dose) * entropy * most * dose**2, "delta_nll": np.sign(dose) * nll * most * dose**2}
        for dose in np.linspace(-1, 1, 15)
    ]  # fmt: skip


def test_effects_stand_beside_those_of_shuffled_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = effects({"self": [2.0, 0.15, 3.0], "elsewhere": [1.0, 1.0, 1.0], "shuffled": [0.1, 0.2, 0.3]})
    found = beside_shuffled(sizes, monkeypatch, "self")  # and not the condition of another world
    assert list(found["condition"]) == ["self"] * 3
    np.testing.assert_allclose(found["difference"], [1.9, -0.05, 2.7])
    np.testing.assert_allclose(found["p_value"], [1 / 4, 3 / 4, 1 / 4])
    np.testing.assert_allclose(found["shuffled_mean"], 0.2)
    assert set(found["draws"]) == {3}
    assert beside_shuffled(effects({"self": [1.0]}), monkeypatch, "self").empty


def test_only_states_of_the_same_world_model_and_mechanism_stand_beside_shuffled_ones() -> None:
    conditions = load_suite(ROOT / "configs" / "recurring.toml").conditions
    found = steering.alike(conditions)
    assert {"calibrated_recurring", "yoked", "delayed_4", "delayed_16", "delayed_64"} == set(found)
    assert steering.alike({name: run for name, run in conditions.items() if name != "shuffled"}) == []


def test_a_monotone_curve_and_one_that_turns() -> None:
    rows = curve("learned", "gradient", -1.0, 0.0, 1.0)
    (rising,) = steering.steering_doses(NOTHING, pd.DataFrame(rows)).to_dict("records")
    assert (rising["tau"], rising["rises"]) == (1.0, 1.0) and rising["p_value"] < 1e-8
    assert rising["range"] == pytest.approx(2)
    turned = pd.DataFrame(rows).assign(delta_entropy=lambda r: np.abs(r["magnitude"] - 0.01))
    (found,) = steering.steering_doses(NOTHING, turned).to_dict("records")
    assert abs(found["tau"]) < 0.2 and found["p_value"] > 0.3
    flat = steering.steering_doses(NOTHING, pd.DataFrame(rows).assign(delta_entropy=0.0))
    assert flat["tau"].isna().all() and flat["range"].iloc[0] == 0


def rooted(reader: str, direction: str, entropy: float, nll: float, most: float) -> list[dict]:
    """A dose curve whose changes go with the dose, and its KL with the square of it, up to `most`."""
    return [
        {**row, "delta_entropy": -row["magnitude"] * entropy, "delta_nll": row["magnitude"] * nll}
        for row in curve(reader, direction, 0.0, 0.0, most)
    ]


def changes(found: pd.DataFrame, at: str, reader: str) -> np.ndarray:
    """Changes of entropy and NLL at a KL."""
    rows = found[(found["at"] == at) & (found["reader"] == reader)]
    return rows[["delta_entropy", "delta_nll"]].to_numpy(float)[0]


def test_at_matched_kl_curves_are_read_where_all_reach() -> None:
    learned = pd.DataFrame(rooted("learned", "gradient", -2.0, 0.5, 4.0))
    placebo = pd.DataFrame(rooted("untrained", "gradient", -0.5, -3.0, 1.0))
    found = steering.steering_matched(NOTHING, learned, placebo)
    assert list(dict.fromkeys(found["at"])) == ["0.02", "0.05", "0.1", "largest"]
    assert found.groupby("at")["kl"].unique().map(list).to_dict() == {
        "0.02": [0.02], "0.05": [0.05], "0.1": [0.1], "largest": [1.0]
    }  # fmt: skip
    # At a KL of 1 the learned dose is 1/2, along the negative gradient: entropy falls by 1, NLL by 0.25. The placebo loses 3.
    np.testing.assert_allclose(changes(found, "largest", "learned"), [-1, -0.25], atol=1e-9)
    np.testing.assert_allclose(changes(found, "largest", "untrained"), [-0.5, 3], atol=1e-9)
    dose = float(np.sqrt(0.05 / 4))  # between two doses, read in the root of the KL: exact here
    np.testing.assert_allclose(
        changes(found, "0.05", "learned"), np.array([-2 * dose, -0.5 * dose]), atol=1e-9
    )
    assert steering.steering_matched(NOTHING, learned, placebo.iloc[:0]).empty  # nothing to match with
    weak = pd.DataFrame(rooted("untrained", "gradient", -0.5, 0.0, 0.03))
    assert set(steering.steering_matched(NOTHING, learned, weak)["at"]) == {
        "0.02",
        "largest",
    }  # where all curves reach
    positive = pd.DataFrame(
        [*curve("learned", "confident", 1.0, 0.0, 1.0), *curve("rotated", "confident", 0.4, 0.0, 2.0)]
    )
    is_learned = positive["reader"] == "learned"
    found = steering.steering_matched(NOTHING, positive[is_learned], positive[~is_learned])
    for reader, fall in (("learned", -1.0), ("rotated", -0.4)):
        assert changes(found, "largest", reader)[0] == pytest.approx(fall, abs=0.01)


def test_at_its_usual_norm_a_state_is_read_between_doses() -> None:
    metrics = pd.DataFrame(
        {
            "condition": "calibrated_recurring",
            "seed": 1,
            "step": range(2000),
            "state_norm": [9.0] * 1000 + [0.4, 0.6] * 500,
        }
    )
    rows = [
        {**PLACE, "condition": "calibrated_recurring", "seed": 1, "reader": reader, "draw": 0, "direction": direction,
         "magnitude": dose, "kl": 0.0, "delta_nll": 0.0, "delta_entropy": slope * min(abs(dose), 1) * np.sign(dose)}
        for reader, slopes in (("learned", (-1.0, 3.0)), ("untrained", (-0.5, 0.5)))
        for direction, slope in zip(("confident", "uncertain"), slopes, strict=True)
        for dose in (-2.0, -1.0, 0.0, 1.0, 2.0)
    ]  # fmt: skip
    doses = pd.DataFrame(rows)
    learned, placebos = doses[doses["reader"] == "learned"], doses[doses["reader"] != "learned"]
    found = frozen_tables.usual_norm(NOTHING, learned, placebos, metrics).set_index("reader")
    assert (
        set(found["norm"]) == {0.5}
        and set(found["largest"]) == {2.0}
        and set(found["finder"]) == {"dimension"}
    )
    assert found["effect"].to_dict() == {"learned": 2.0, "untrained": 0.5}  # half of 3 + 1, half of 0.5 + 0.5
    beyond = metrics.assign(state_norm=3.0)  # no dose goes there
    assert frozen_tables.usual_norm(NOTHING, learned, placebos, beyond).empty
    assert frozen_tables.usual_norm(NOTHING, learned, placebos, metrics.iloc[:0]).empty


def test_a_curve_is_cut_where_its_kl_falls_again() -> None:
    rows = pd.DataFrame(
        {"magnitude": [0.0, 1, 2, 3], "kl": [0.0, 1, 0.5, 2], "delta_entropy": 0.0, "delta_nll": 0.0}
    )
    assert list(steering.confident_curve(rows, 1)["kl"]) == [0.0, 1.0]


def study(seeds: int, gain: float) -> dict[str, pd.DataFrame]:
    random = np.random.default_rng(0)
    summary, trained, doses, matched, usual = [], [], [], [], []
    for name, size in (("calibrated_recurring", 0.9 + gain), ("raw_recurring", 0.2), ("yoked", 0.5)):
        for seed in range(1, seeds + 1):
            place = {**PLACE, "condition": name, "seed": seed, "finder": "gradient"}
            effect = size + 0.05 * random.normal()
            for placebo, mean in (("untrained", 0.9 if name[0] == "c" else 0.3), ("foreign", 0.4)):
                summary.append(
                    {
                        **place,
                        "protocol": "heldout",
                        "effect": effect,
                        "placebo": placebo,
                        "placebo_mean": mean + 0.02 * random.normal(),
                        "placebo_sd": 0.1,
                        "placebo_max": 1.0,
                        "p_value": 0.1,
                    }
                )
            trained.append(
                {
                    **place,
                    "effect": effect,
                    "shuffled": 0.3,
                    "difference": effect - 0.3,
                    "shuffled_mean": 0.3,
                    "p_value": 0.1,
                    "draws": seeds,
                }
            )
            for direction in ("confident", "gradient", "random"):
                doses.append(
                    {
                        **place,
                        "direction": direction,
                        "tau": 0.9,
                        "p_value": 0.001,
                        "rises": 0.9,
                        "range": 0.4,
                    }
                )
            for reader, entropy in (("learned", -0.2 - gain), ("untrained", -0.2)):
                for at, kl in (("0.05", 0.05), ("largest", 0.4)):
                    matched.append(
                        {
                            **place,
                            **{"reader": reader, "draw": 0, "at": at, "kl": kl},
                            "delta_entropy": entropy + 0.01 * random.normal(),
                            "delta_nll": 0.02 * random.normal(),
                        }
                    )
                usual.append(
                    {
                        **place,
                        "reader": reader,
                        "draw": 0,
                        "norm": 0.4,
                        "largest": 2.6,
                        "effect": 0.3 - entropy,
                    }
                )
    return {
        "frozen_effects_summary": pd.DataFrame(summary), "steering_trained": pd.DataFrame(trained),
        "steering_doses": pd.DataFrame(doses).drop(columns="finder"), "steering_matched": pd.DataFrame(matched),
        "usual_norm": pd.DataFrame(usual),
    }  # fmt: skip


def test_the_figure_says_what_the_tables_say(tmp_path: Path) -> None:
    (figure,) = steering.EXPERIMENT.figures
    drawing = drawn_of(figure, tmp_path, study(8, 0.8))
    assert title_of(drawing).startswith(
        "In the recurring world the state, at its greatest length, steers further than untrained readers."
    )
    rows, matched = drawing.axes
    assert [label.get_text() for label in rows.get_yticklabels()] == [
        "self-state",
        "another run's signals",
        "raw mechanism",
    ]
    assert rows.get_xlim()[0] == 0
    learned = [line for line in matched.lines if line.get_marker() == "o"]
    assert np.mean(np.asarray(learned[0].get_xdata(), float)) == pytest.approx(-1.0, abs=0.02)
    assert title_of(drawn_of(figure, tmp_path, study(2, 0.8))).startswith("Not settled: ")
    flat = study(8, 0.0)
    flat["steering_matched"] = flat["steering_matched"].iloc[:0]
    drawing = drawn_of(figure, tmp_path, flat)
    assert title_of(drawing).startswith(
        "In the recurring world the state, at its greatest length, does not steer"
    )
    assert "not measured in these runs" in [text.get_text() for text in drawing.axes[1].texts]


@pytest.mark.parametrize(
    ("seeds", "gain", "verdicts"),
    [(8, 0.8, ("Clear", "Clear")), (8, 0.0, ("Not clear", "Not clear")), (2, 0.8, ("Open", "Open"))],
)  # fmt: skip
def test_verdicts_follow_the_tables(
    tmp_path: Path, seeds: int, gain: float, verdicts: tuple[str, str]
) -> None:
    text = page_of(steering.EXPERIMENT, tmp_path, study(seeds, gain))
    assert_tables(text)
    assert (
        verdict(text, "at its greatest length"),
        verdict(text, "sharpens predictions more"),
    ) == verdicts
    assert "nan" not in text


@pytest.mark.parametrize("absent", [*study(1, 0.0), "all"])
def test_partial_studies_have_pages(tmp_path: Path, absent: str) -> None:
    text = page_of(
        steering.EXPERIMENT, tmp_path, {n: t for n, t in study(1, 0.0).items() if absent not in (n, "all")}
    )
    assert "nan" not in text and {found.verdict for found in text.findings.values()} <= {
        "open",
        "not measured",
    }


STEADY, TURNS = (
    "Along the gradient entropy rises with the dose",
    "Along the gradient entropy rises about zero, then turns",
)


def bent(below: float, above: float, seeds: int = 4) -> pd.DataFrame:
    """Curves that rise by 2 between doses of −1 and +1 and, from there to −3 and +3, upwards by these; seeds differ a little."""
    rows = [
        {**PLACE, "condition": "calibrated_recurring", "seed": seed, "reader": "learned", "draw": 0, "direction": "gradient",
         "magnitude": float(dose), "delta_entropy": entropy + 0.01 * seed * dose}
        for seed in range(1, seeds + 1)
        for dose, entropy in ((-3, -1 - below), (-1, -1.0), (0, 0.0), (1, 1.0), (3, 1 + above))
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("rises", "below", "above", "expected", "where"),
    [
        (0.9, -0.5, 0.3, (STEADY, "Clear"), ""),  # most steps rise: whatever the ends do
        (0.43, -0.5, 0.3, (TURNS, "Clear"), "at negative doses."),
        (0.43, 0.3, -0.5, (TURNS, "Clear"), "at positive doses."),
        (0.43, -0.5, -0.5, (TURNS, "Clear"), "at negative doses and positive doses."),
        (0.43, 0.3, 0.3, (STEADY, "Not clear"), ""),  # no turn to tell of
    ],
)
def test_a_rise_needs_most_steps_and_a_turn_its_curve(
    tmp_path: Path, rises: float, below: float, above: float, expected: tuple[str, str], where: str
) -> None:
    tables = study(4, 0.0)
    tables["steering_doses"] = tables["steering_doses"].assign(tau=0.43, rises=rises)
    text = page_of(steering.EXPERIMENT, tmp_path, {**tables, "frozen_doses": bent(below, above)})
    assert verdict(text, expected[0]) == expected[1] and where in text


def test_the_ends_of_stretches_are_fixed_doses() -> None:
    found = steering.stretches(bent(-0.5, 0.3, seeds=1)).set_index("stretch")["change"]
    assert found.to_dict() == pytest.approx(
        {"about zero": 2.02, "negative doses": -0.48, "positive doses": 0.32}
    )
    assert steering.stretches(bent(0.0, 0.0).query("magnitude >= 0")).empty  # of one sign only


def test_long_tables_keep_few_conditions_and_say_so(tmp_path: Path) -> None:
    tables = study(3, 0.0)
    for name in ("steering_doses", "steering_matched"):
        more = tables[name][tables[name]["condition"] == "yoked"]
        tables[name] = pd.concat(
            [tables[name], more.assign(condition="clock"), more.assign(condition="faint")]
        )
    text = page_of(steering.EXPERIMENT, tmp_path, tables)
    assert "| `yoked`, gradient |" in text and "`clock`, " not in text and "`faint`, " not in text
    for name in ("steering_doses", "steering_matched"):
        assert f"Of 2 further conditions the numbers are in `{name}.csv` only." in text
    assert "further condition" not in page_of(steering.EXPERIMENT, tmp_path / "few", study(3, 0.0))


def test_the_step_stands_in_rows_only_where_they_differ(tmp_path: Path) -> None:
    tables = study(3, 0.0)
    text = page_of(steering.EXPERIMENT, tmp_path, tables)
    assert "All with the weights of step 2000." in text and ", step 2000, " not in text
    early = tables["usual_norm"].assign(run_step=1000)
    text = page_of(
        steering.EXPERIMENT,
        tmp_path / "two",
        {**tables, "usual_norm": pd.concat([tables["usual_norm"], early])},
    )
    assert (
        "`, step 2000, gradient" in text and "`, step 1000, gradient" in text and "All with the" not in text
    )


def test_effects_and_doses_name_their_seeds(tmp_path: Path) -> None:
    text = page_of(steering.EXPERIMENT, tmp_path, study(5, 0.0))
    for row in ("`yoked`", "`yoked`, gradient"):
        lines = [line for line in text.splitlines() if line.startswith(f"| {row} |")]
        assert lines and all(line.endswith(" 5 |") for line in lines)
