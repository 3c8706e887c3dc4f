"""Pages from made-up tables whose right answers are known."""

import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from jinja2 import Environment, FileSystemLoader

from base import ROOT, storage
from base.storage import UserError
from configs.suite import load_suite
from experiments.kit import pages as kit_pages
from experiments.kit import published
from experiments.kit import words as kit_words
from experiments.kit.placebos import View, effect_table
from experiments.kit.stats import Estimate, estimate
from experiments.kit.tables import Tables, content
from scripts import make_report
from study import book
from tests.made_runs import verdict
from tests.made_tables import study, written


def test_published_numbers_stand_beside_ours(tmp_path: Path) -> None:
    frozen = written(tmp_path, study())[1]
    row = next(line for line in frozen.splitlines() if line.startswith("| uncertain"))
    assert [cell.strip() for cell in row.split("|")][2:4] == ["+0.259", "+0.222 [+0.220, +0.224]"]
    assert "| +0.040 ± 0.100 |" in frozen and "−0.093" in frozen
    assert (
        "| replication protocol, 1000 steps, scrambled | 0.35 | 0.500 [0.498, 0.502] | 0.200 ± 0.050 | 0.300 |"
        in frozen
    )


def test_interval_is_the_t_interval_over_seeds() -> None:
    # 1, 2, 3: mean 2, standard error 1/sqrt(3), t(0.975, 2) = 4.302653
    assert kit_words.interval(estimate(pd.Series([1.0, 2.0, 3.0])), 3) == "+2.000 [−0.484, +4.484]"
    assert kit_words.interval(estimate(pd.Series([-0.5])), 2) == "−0.50"
    assert kit_words.signed(-0.0001) == "0.000"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ({"effect": 0.5}, "Clear"),
        ({"effect": 0.19}, "Not clear"),  # above one placebo, below the other
        ({"effect": 0.1}, "Not clear"),
        ({"effect": 0.5, "p": 0.2}, "Open"),  # the mean says yes, the ranks do not
    ],
)
def test_verdicts_on_steering_follow_the_tables(tmp_path: Path, made: dict, expected: str) -> None:
    page = written(tmp_path, study(**made))[1]
    assert verdict(page, "As published, the learned directions") == expected
    reached = "Clear" if made["effect"] >= published.EFFECT_SIZE else "Not clear"
    assert verdict(page, "at least as large as the published") == reached
    assert verdict(page, "own state lowers") == "Clear"
    assert (
        verdict(page, "along learned ones it goes further") == "Not clear"
    )  # as steep as along a random one
    assert verdict(page, "learned direction changes entropy the same way") == "Not clear"  # all rows alike


def test_a_dose_goes_further_along_learned_directions_than_along_a_random_one(tmp_path: Path) -> None:
    tables = study()
    doses = tables["frozen_doses"]
    doses.loc[doses["direction"] == "random", "delta_entropy"] /= -3  # down for once: the size counts
    doses["delta_entropy"] *= 1 + 0.01 * doses["seed"]
    page = written(tmp_path, tables)[1]
    said = "steadily with the length of the state along any direction, random ones too; along learned ones it goes further"
    assert verdict(page, said) == "Clear"
    assert (
        "At full length confident −0.214, uncertain +0.214, gradient +0.214, random 0.071 either way nats"
        in page
    )


def test_the_own_state_stands_beside_a_constant_one(tmp_path: Path) -> None:
    tables = study()
    states = tables["frozen_conditions"]
    constant = (states["state"] == "confident") & (states["finder"] == "gradient")
    for change, said in ((-0.02, "and so does a constant one"), (0.01, "further than a constant one")):
        states.loc[constant, "delta_nll"] = change + 0.001 * (states["seed"] - 2)
        line = next(line for line in written(tmp_path, tables)[1].splitlines() if "own state lowers" in line)
        assert said in line and "own − zero state after 1000 steps −0.0123" in line


def test_sign_consistency_is_compared_where_all_rows_are_counted_alike(tmp_path: Path) -> None:
    tables = study()
    states = tables["frozen_conditions"]
    learned = states["state"].isin(["confident", "uncertain"])
    for protocol, expected in (("replication", "Not clear"), ("heldout", "Clear")):
        states["sign_consistency"] = (
            0.8 + 0.1 * (learned & (states["protocol"] == protocol)) + 0.001 * states["seed"] * learned
        )
        if protocol == "replication":
            states.loc[learned & (states["protocol"] == "heldout"), "sign_consistency"] = 0.8
        assert verdict(written(tmp_path, tables)[1], "changes entropy the same way") == expected


def test_ranks_that_cannot_be_small_are_said_to_be(tmp_path: Path) -> None:
    tables = study()
    tables["frozen_effects"] = tables["frozen_effects"].query("draw < 3")
    assert "3 draws of each are too few for a rank" in written(tmp_path, tables)[1]


def test_a_page_opens_with_at_most_five_sentences_on_what_happened(tmp_path: Path) -> None:
    for experiment in book.experiments().values():
        if template := book.page_of(experiment):
            named = re.findall(r"say\.head\((.*?)\)", template.read_text(), flags=re.S)
            assert len(named) == 1 and len(named[0].split(",")) <= 5, template.name


def test_one_seed_gives_no_interval_and_no_verdict(tmp_path: Path) -> None:
    tables = {name: table.query("seed == 1") if "seed" in table else table for name, table in study().items()}
    training, frozen = written(tmp_path, tables)
    assert verdict(training, "lowers held-out loss") == "Open"
    assert verdict(frozen, "As published, the learned directions") == "Open"
    assert "[" not in next(line for line in frozen.splitlines() if line.startswith("| uncertain"))
    assert "nan" not in training + frozen


@pytest.mark.parametrize("absent", [*study(), "all"])
def test_partial_studies_have_pages(tmp_path: Path, absent: str) -> None:
    tables = {name: table for name, table in study().items() if absent not in (name, "all")}
    training, frozen = written(tmp_path, tables)
    assert "nan" not in (training + frozen).replace("nanoGPT", "")
    if absent == "all":
        assert "No finished run" in training
        assert {found.verdict for found in frozen.findings.values()} <= {"not measured"}
    elif absent.startswith(("frozen_effects_summary", "frozen_doses")):
        assert "The tables hold nothing for this yet." in frozen


def test_a_table_without_a_needed_column_is_named(tmp_path: Path) -> None:
    tables = study()
    tables["runs"] = tables["runs"].drop(columns="heldout_loss")
    with pytest.raises(UserError, match="the column heldout_loss is not in shakespeare/runs"):
        written(tmp_path, tables)


def test_a_dose_without_effect_has_no_correlation(tmp_path: Path) -> None:
    tables = study()
    tables["frozen_doses"]["delta_entropy"] = 0.0
    assert verdict(written(tmp_path, tables)[1], "along learned ones it goes further") == "Not measured"


def test_note_and_figures(tmp_path: Path) -> None:
    known = {figure.name for experiment in book.experiments().values() for figure in experiment.figures}
    for page in written(tmp_path, study(), "Quick study.", figures="../../figures"):
        assert "> **Quick study.**" in page
        shown = re.findall(r"\]\(\.\./\.\./figures/(.*?)\)", page)
        assert shown and set(shown) <= known


def test_pages_made_again_keep_what_the_study_said_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, study())
    (tmp_path / "tables" / "shakespeare" / "warning.txt").write_text("QUICK STUDY: too small.\n")
    page = tmp_path / "report" / "frozen-test.md"
    make_report.main(["--out", str(tmp_path)])
    assert "> **QUICK STUDY: too small.**" in page.read_text() and "frozen-test.md" in capsys.readouterr().out
    make_report.main(["--out", str(tmp_path), "--note", "Mine."])
    assert "> **Mine.**" in page.read_text() and "QUICK" not in page.read_text()
    with pytest.raises(UserError, match="run the study first"):
        make_report.main(["--out", str(tmp_path / "nothing")])


def test_a_suite_of_ones_own_has_pages_of_its_own(tmp_path: Path) -> None:
    written(tmp_path, study())
    for name, table in study(effect=9.0, gain=3.0).items():
        storage.write_bytes(tmp_path / "tables" / "mine" / f"{name}.csv", content(table.assign(suite="mine")))
    make_report.main(["--out", str(tmp_path)])
    mine, first = (tmp_path / "report" / place / "shakespeare.md" for place in ("mine", "."))
    assert "Suite `mine`" in mine.read_text() and mine.read_text() != first.read_text()
    assert "(../../figures/mine/" in mine.read_text()
    (tmp_path / "tables" / "mine").rename(tmp_path / "tables" / "ambiguous")
    make_report.main(["--out", str(tmp_path), "--suite", "ambiguous"])
    assert not (
        tmp_path / "report" / "ambiguous"
    ).exists()  # a suite of the study, whose page lies among the others, and not the first suite's


def test_every_condition_of_every_suite_has_its_words() -> None:
    suites = {}
    for path in sorted((ROOT / "configs").glob("*.toml")):
        if "study" in tomllib.loads(path.read_text()):
            suite = load_suite(path)
            suites[suite.name] = set(suite.conditions)
    said: dict[str, set[str]] = {}
    for experiment in book.experiments().values():
        if template := book.page_of(experiment):
            have = {
                name for suite in (*experiment.suites, *experiment.guests) for name in suites.get(suite, ())
            }
            runs = pd.DataFrame({"condition": sorted(have)})
            text = explained(template.read_text(), runs)
            assert text <= have, f"{template.name} explains what is no condition: {text - have}"
            for name in (*experiment.suites, *experiment.guests):
                said[name] = said.get(name, set()) | (text & suites.get(name, set()))
    assert {name: said.get(name, set()) for name in suites} == suites


def explained(template: str, runs: pd.DataFrame) -> set[str]:
    """The conditions that a template has words for."""
    words = re.search(r"({% call say\.conditions\(.*?{% endcall %})", template, flags=re.S)
    if not words:
        return set()
    environment = Environment(
        loader=FileSystemLoader(ROOT / "experiments" / "kit"), trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["conditions"] = lambda text: text
    text = environment.from_string('{% import "kit.md" as say %}' + words[1]).render()
    return {line.split(": ")[0].strip() for line in text.splitlines() if ": " in line}


def test_the_first_page_of_a_suite_lists_its_conditions_and_others_lead_there(tmp_path: Path) -> None:
    training, frozen = written(tmp_path, study())
    listed = training.split("\n## Conditions\n")[1]
    for name in ("self", "self_calm", "vanilla", "vanilla_calm"):
        assert f"| `{name}` | " in listed
    assert "| `self_random` |" not in listed  # it has no run here
    assert "(shakespeare.md#conditions)" in frozen and "## Conditions" not in frozen


def test_published_numbers_beside_those_of_a_smaller_model_say_so(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    run = {
        "suite": "s",
        "condition": "self",
        "seed": 1,
        "steps": 9,
        "seconds": 1.0,
        "heldout_loss": 2.0,
        "dtype": "float32",
        "corpus": "x",
    }
    for size, said in ((110_000, "this suite's 0.11 million"), (800_000, "")):
        pd.DataFrame([{**run, "parameters": size}]).to_csv(tmp_path / "s" / "runs.csv", index=False)
        found = kit_pages.smaller(Tables(tmp_path, "s"))
        assert said in found and bool(said) == bool(found)
    assert kit_pages.smaller(Tables(tmp_path, "nothing")) == ""


def test_a_finding_says_where_an_interval_lies_on_the_other_side() -> None:
    below, above, across = (
        estimate(pd.Series([centre - 0.1, centre, centre + 0.1])) for centre in (-1.0, 1.0, 0.0)
    )

    def finding(*parts: tuple[str, Estimate], reverse: str = "") -> kit_words.Finding:
        return kit_words.difference(
            "It falls.", parts, -1, " nats", 2, otherwise="It may fall.", reverse=reverse
        )

    parted = finding(("a", below), ("b", above), ("c", across), reverse="It rises.")
    assert parted.verdict == "not clear" and parted.title() == "It may fall."
    assert parted.evidence.endswith("n = 3. Clear in 1 of 3: a; clearly the other way round in 1 of 3: b.")
    whole = finding(("b", above))
    assert whole.title() == "It may fall." and whole.evidence.endswith(
        "n = 3. It is clearly the other way round."
    )
    named = finding(("b", above), ("d", above), reverse="It rises.")
    assert named.verdict == "not clear" and named.title() == "It rises." and named.evidence.endswith("n = 3.")
    assert finding(("a", below), ("c", across)).evidence.endswith("n = 3. Clear in 1 of 2: a.")
    assert finding(("c", across)).evidence.endswith("n = 3.") and finding(("a", below)).verdict == "clear"


@pytest.mark.parametrize(("draws", "shown"), [(10, "– (10 draws)"), (20, "1 of 1")])
def test_a_rank_that_too_few_draws_cannot_give_is_not_counted(tmp_path: Path, draws: int, shown: str) -> None:
    run = {
        "suite": "mine",
        "condition": "self",
        "seed": 1,
        "run_step": 9,
        "protocol": "heldout",
        "finder": "dimension",
    }
    effects = pd.DataFrame(
        [run | {"reader": "untrained", "draw": draw, "effect_size": 0.1} for draw in range(draws)]
    )
    summary = {
        "effect": 0.3,
        "placebo": "untrained",
        "placebo_mean": 0.1,
        "placebo_sd": 0.0,
        "placebo_max": 0.1,
    }
    folder = tmp_path / "mine"
    folder.mkdir()
    effects.to_csv(folder / "frozen_effects.csv", index=False)
    pd.DataFrame([run | summary | {"p_value": 1 / (1 + draws)}]).to_csv(
        folder / "frozen_effects_summary.csv", index=False
    )
    view = View(Tables(tmp_path, "mine"), "self")
    lines = effect_table([("heldout", "dimension")], view).split("\n\n")
    assert lines[0].splitlines()[-1].endswith(f"| {shown} |")
