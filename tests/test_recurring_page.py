"""The pages and figures on the recurring world, from runs whose gains are known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments import recurring, switches
from experiments.kit.tables import NothingToDraw
from tests.made_recurring import (
    ASKED,
    IN_RECURRING,
    PAYS,
    Gains,
    changed,
    of,
    smaller,
    study,
    whole,
)
from tests.made_runs import (
    Page,
    assert_tables,
    cells,
    drawn_of,
    page_of,
    read_from,
    title_of,
    verdict,
)

FIGURES = {one.name: one for one in (*recurring.EXPERIMENT.figures, *switches.EXPERIMENT.figures)}
PAY, CONTROLS, SWITCH, FRESH = FIGURES.values()


def some(tables: dict[str, pd.DataFrame], *wanted: str) -> dict[str, pd.DataFrame]:
    kept = {name: table[table["condition"].isin(wanted)] for name, table in tables.items()}
    summary = kept["recurring_summary"]
    kept["recurring_summary"] = summary[summary["reference"].isin(wanted)]
    return kept


def drawn(figure: Any, folder: Path, tables: dict[str, pd.DataFrame]) -> Any:
    return drawn_of(figure, folder, tables, "recurring")


def test_figures_say_what_the_tables_say(tmp_path: Path) -> None:
    made = {figure.name: drawn(figure, tmp_path, whole()) for figure in FIGURES.values()}
    titles = {name: title_of(drawing) for name, drawing in made.items()}
    assert titles[PAY.name].startswith(
        "In the recurring world the self-state lowers the training loss. Calibrating the senses pays more"
    )
    assert "On calm steps the self-state has a lower loss than every rival." in titles[CONTROLS.name]
    assert titles[SWITCH.name].startswith("In the 20 steps after a switch the self-state loses less")
    assert titles[FRESH.name] == (
        "Signals of the last step pay more than those of 64 steps ago. Signals 64 steps old do not clearly pay on calm steps."
    )
    told = whole()["recurring_summary"]
    shown = [text.get_text() for text in made[CONTROLS.name].axes[0].texts]
    for name in ("calibrated_recurring", "direct", "yoked"):
        share = of(told, quantity="share", condition=name, measure="clean_loss")["mean"]
        assert any(text.startswith(f"{share:.2f} [".replace("-", "−")) for text in shown)
    ages = [label.get_text().split("\n")[0] for label in made[FRESH.name].axes[0].get_xticklabels()]
    assert ages == ["1", "4", "16", "64"]


def test_figures_claim_no_gain_where_none_is_planted(tmp_path: Path) -> None:
    tables = study(IN_RECURRING, gains={}, waits={}, seeds=4)
    for figure in FIGURES.values():
        assert " not " in title_of(drawn(figure, tmp_path, tables)) or figure is CONTROLS
    assert "No state, " in title_of(drawn(CONTROLS, tmp_path, tables))
    assert "–" in [text.get_text() for text in drawn(CONTROLS, tmp_path, tables).axes[0].texts]


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_and_missing_conditions_draw(tmp_path: Path, seeds: int) -> None:
    tables = smaller(seeds, "vanilla_recurring", "calibrated_recurring", "yoked", "delayed_16")
    for figure in FIGURES.values():
        assert title_of(drawn(figure, tmp_path, tables)).startswith(("Not settled: ", "Not measured: "))
    for figure, names in (
        (PAY, ["vanilla_recurring"]), (CONTROLS, ["vanilla_recurring"]), (SWITCH, ["delayed_16"]), (FRESH, ["calibrated_recurring"]),
    ):  # fmt: skip
        with pytest.raises(NothingToDraw):
            drawn(figure, tmp_path / figure.name, some(tables, *names))
    for figure, names in (
        (PAY, ["calibrated_mix"]), (CONTROLS, ["yoked"]), (SWITCH, ["yoked"]), (FRESH, ["delayed_4", "delayed_64"]),
    ):  # fmt: skip
        drawn(figure, tmp_path / "some" / figure.name, some(whole(), *names))


# fmt: off
# words of the findings
PAYING, RAW = "recurring world the self-state lowers", "With the raw mechanism"
DEPENDS, HALF = "Calibrating the senses pays", "more than half of what a model gains"
BLIND, BESIDE, BESIDE_ACTING = "controls that cannot sense", "On calm steps the self-state has", "On perturbed steps the self-state has"
CLEAN_TEXT, ACTING_TEXT = "At calm moments", "While training targets are corrupted, too"
SOONER, LESS = "back at its usual loss sooner", "the self-state loses less"
NEWER, OLD = "those of 64 steps ago", "64 steps old still"
FAINT, FAINT_ORACLE = "faint world the self-state", "Shown the true regime"
ALL_OF = (
    PAYING, RAW, DEPENDS, BLIND, BESIDE, BESIDE_ACTING, CLEAN_TEXT, SOONER, LESS, NEWER, OLD, FAINT,
)
YES, NO = "Clear", "Not clear"
# fmt: on


def page(folder: Path, tables: dict[str, pd.DataFrame]) -> Page:
    """Both pages, as one."""
    both = [page_of(one, folder, tables) for one in ASKED]
    page = Page("\n".join(both))
    page.findings = both[0].findings | both[1].findings
    return page


def test_verdicts_follow_the_tables(tmp_path: Path) -> None:
    text = page(tmp_path, whole())
    expected = dict.fromkeys(
        (PAYING, DEPENDS, BLIND, BESIDE, BESIDE_ACTING, CLEAN_TEXT, SOONER, LESS, NEWER, FAINT_ORACLE, HALF), YES
    ) | dict.fromkeys((RAW, ACTING_TEXT, OLD, FAINT), NO)  # fmt: skip
    assert {words: verdict(text, words) for words in expected} == expected
    assert "nan" not in text
    assert_tables(text)
    row = cells(text, "`calibrated_mix` | mix")
    gain = of(
        whole()["recurring_summary"], quantity="difference", condition="calibrated_mix", measure="clean_loss"
    )
    assert row[3].startswith(f"−{-gain['mean']:.4f} [−{-gain['low']:.4f}, ") and row[-1] == "5"
    fresh = whole()["recurring_losses"].query("condition == 'delayed_16'")["fresh"].mean()
    assert cells(text, "`delayed_16`")[2] == f"{100 * fresh:.0f} %"
    first = next(line for line in text.splitlines() if line.startswith("| `on`, `"))
    assert first.startswith("| `on`, `vanilla_recurring`: no state |")


@pytest.mark.parametrize(
    ("gains", "waits", "expected"),
    [
        ({}, {}, dict.fromkeys((PAYING, BLIND, BESIDE, BESIDE_ACTING, CLEAN_TEXT, SOONER, LESS, NEWER, OLD), NO)),
        (PAYS | {"direct": (0.1, 0.05)}, {}, {PAYING: YES, BLIND: YES, BESIDE: NO, BESIDE_ACTING: NO}),
        (PAYS | {"yoked": (0.1, 0.03)}, {}, {PAYING: YES, BLIND: NO, BESIDE: NO, BESIDE_ACTING: YES}),
        (PAYS | {"learned_bias": (0.15, 0.05)}, {}, {PAYING: YES, BLIND: NO, BESIDE: NO}),
        (PAYS | {"delayed_64": (0.1, 0.05)}, {}, {OLD: YES, NEWER: NO}),
        (PAYS | {"calibrated_recurring": (0.1, -0.05)}, {}, {PAYING: NO, BESIDE: YES, BESIDE_ACTING: NO}),
        (PAYS | {"calibrated_recurring": (0.15, 0.2)}, {"calibrated_recurring": 18}, {SOONER: NO, HALF: YES}),
        (PAYS | {"oracle": (0.3, 0.1)}, {}, {HALF: NO}),
    ],
)  # fmt: skip
def test_verdicts_turn_with_what_is_planted(
    tmp_path: Path, gains: Gains, waits: Mapping[str, int], expected: dict[str, str]
) -> None:
    tables, text = read_from(tmp_path, "recurring", changed(gains, waits)), Page()
    text.findings = {name: found for one in ASKED for name, found in one.findings(tables).items()}
    assert {words: verdict(text, words) for words in expected} == expected


def test_rivals_that_do_as_well_are_named(tmp_path: Path) -> None:
    gains = PAYS | {"direct": (0.1, 0.05), "clock": (0.2, 0.05)}
    text = page(tmp_path, changed(gains, {}))
    (line,) = [line for line in text.splitlines() if "about as much" in line and "on calm" in line]
    assert line.startswith(
        "- **The clock alone and a model that senses the last batch alone and keeps nothing gain about as much or more "
        "on calm steps.** clock alone +0.1"
    )
    assert "another run" not in line and "one number" not in line


def test_few_seeds_decide_nothing(tmp_path: Path) -> None:
    text = page(tmp_path, smaller(2))
    assert {verdict(text, words) for words in ALL_OF} == {"Open"} and "nan" not in text
    assert "- **Not settled: In the recurring world" in text


@pytest.mark.parametrize(
    "absent", ["recurring_losses", "recurring_switches", "recurring_recovery", "recurring_summary", "all"]
)
def test_partial_studies_have_pages(tmp_path: Path, absent: str) -> None:
    text = page(tmp_path, {name: table for name, table in whole().items() if absent not in (name, "all")})
    assert "nan" not in text and "inf" not in text.replace("information", "")
    assert_tables(text)
    if absent == "all":
        assert text.count("The tables hold nothing for this yet.") == 7
        assert {verdict(text, words) for words in ALL_OF} == {"Not measured"}
    if absent == "recurring_summary":
        assert verdict(text, PAYING) == verdict(text, BESIDE) == YES
        assert verdict(text, HALF) == verdict(text, DEPENDS) == "Not measured"


def test_a_part_of_the_conditions_has_a_page(tmp_path: Path) -> None:
    text = page(tmp_path, some(whole(), "calibrated_recurring", "vanilla_recurring", "direct", "raw_mix"))
    assert verdict(text, PAYING) == YES and verdict(text, RAW) == "Not measured" and "nan" not in text
    assert verdict(text, BESIDE) == YES and verdict(text, BLIND) == "Not measured"
    assert_tables(text)
