"""Pages from made-up tables whose right answers are known."""

import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import config
import phases
import publish
from analysis.feature_sets import BASIC, NO_CLAMP, RAW, STATE, TIME
from plots import published, wording
from plots.registry import FIGURES
from plots.series import Estimate, estimate
from reports import claims, conditions, document_rows, documents, markdown, pages, parts, placebos
from scripts import make_report
from storage import UserError

ROOT = Path(__file__).resolve().parent.parent
SEEDS = (1, 2, 3)
PLACEBO = {"rotated": 0.20, "untrained": 0.18}


def study(
    effect: float = 0.5, gain: float = -0.05, drift: float = 0.03, p: float = 1 / 21
) -> dict[str, pd.DataFrame]:
    """Tables of three seeds: `effect` learned effect size, `gain` self − vanilla, `drift` Δ of drift under regimes."""
    conditions = ("self", "self_calm", "vanilla", "vanilla_calm")
    runs, deltas, tests, effects, states, doses = [], [], [], [], [], []
    for seed in SEEDS:
        wobble = 0.001 * (seed - 2)
        for name in conditions:
            loss = 1.9 + wobble * seed + (gain if name.startswith("self") else 0)
            runs.append(
                (
                    "shakespeare",
                    name,
                    seed,
                    f"{name}{seed}",
                    2000,
                    3600.0,
                    loss,
                    "bfloat16",
                    "shakespeare_char",
                    804_224,
                    1.44 * loss,
                    "char",
                )
            )
            for regime in published.REGIME_DELTAS:
                for metric in (
                    "loss",
                    "entropy",
                    "state_norm",
                    "state_drift",
                    "state_ema_drift",
                    "state_effect",
                ):
                    if name.startswith("vanilla") and metric.startswith("state"):
                        continue
                    value = 1.234 if (metric, regime) == ("loss", "bewilderment") else 0.0
                    value = drift if metric == "state_drift" else value
                    value = 0.0 if name.endswith("calm") else value
                    deltas.append(("shakespeare", name, seed, regime, metric, value + wobble))
        for step in (1000, 2000):
            head = ("shakespeare", "self_calm", seed, step)
            for protocol, finder in (
                ("replication", "dimension"),
                ("heldout", "dimension"),
                ("heldout", "gradient"),
            ):
                effects.append((*head, protocol, finder, "learned", 0, effect + wobble, 0.67))
                for placebo, mean in PLACEBO.items():
                    if (finder, placebo) == ("gradient", "rotated"):
                        continue
                    tests.append(
                        (*head, protocol, finder, effect + wobble, placebo, mean, 0.05, mean + 0.1, p)
                    )
                    effects += [(*head, protocol, finder, placebo, draw, mean, 0.67) for draw in range(20)]
                for state, change in (("confident", -0.111), ("uncertain", 0.222), ("random", 0.033)):
                    states.append(
                        (
                            *head,
                            protocol,
                            finder,
                            state,
                            0,
                            0.67,
                            2.0,
                            2.1,
                            0.02,
                            change + wobble,
                            0.01,
                            0.1,
                            0.8,
                        )
                    )
            states.append(
                (*head, "heldout", "none", "own", 0, 0.3, 2.0, 2.1, 0.02, -0.01, -0.0123 + wobble, 0.004, 0.9)
            )
            for direction in ("confident", "uncertain", "gradient", "random"):
                slope = -0.3 if direction == "confident" else 0.3
                for dose in range(-7, 8):
                    doses.append((*head, direction, dose / 10, 2.0, 2.1, slope * dose / 10, 0.0))
    head_names = ["suite", "condition", "seed"]
    test_names = [*head_names, "run_step", "protocol", "finder"]
    classes = [
        ("shakespeare", condition, protocol, features, accuracy, 0.3, 0.4, 0.005, 65, 3, 0.3)
        for protocol, condition, features, accuracy in (
            ("published", "self", BASIC, 0.77),
            ("published", "self", TIME, 0.97),
            ("published", "self", STATE, 0.93),
            ("clean", "self_random", BASIC, 0.55),
            ("clean", "self_random", RAW, 0.65),
            ("clean", "self_random", STATE, 0.90),
            (NO_CLAMP, "self_random", BASIC, 0.55),
            (NO_CLAMP, "self_random", RAW, 0.65),
            (NO_CLAMP, "self_random", STATE, 0.50),
        )
    ]
    path = [
        ("shakespeare", "self", seed, step, "calm", step / 2000, 0.0, 0.9, 0.05)
        for seed in SEEDS
        for step in range(0, 2000, 100)
    ]

    def frame(rows: list[Any], columns: list[str]) -> pd.DataFrame:
        return pd.DataFrame(rows, columns=columns)

    return {
        "runs": frame(runs, [*head_names, "key", "steps", "seconds", "heldout_loss", "dtype", "corpus", "parameters", "heldout_bpb", "tokenizer"]),
        "regime_deltas": frame(deltas, [*head_names, "regime", "metric", "delta"]),
        "classification": frame(
            classes,
            ["suite", "condition", "protocol", "features", "accuracy", "null_mean", "null_95", "p_value", "windows", "runs", "majority"],
        ),
        "state_path": frame(path, [*head_names, "step", "regime", "pc1", "pc2", "share1", "share2"]),
        "frozen_effects": frame(effects, [*test_names, "reader", "draw", "effect_size", "magnitude"]),
        "frozen_effects_summary": frame(
            tests, [*test_names, "effect", "placebo", "placebo_mean", "placebo_sd", "placebo_max", "p_value"]
        ),
        "frozen_conditions": frame(
            states,
            [*test_names, "state", "draw", "magnitude", "entropy", "nll", "ece", "delta_entropy", "delta_nll", "kl", "sign_consistency"],
        ),
        "frozen_doses": frame(
            doses, [*head_names, "run_step", "direction", "magnitude", "entropy", "nll", "delta_entropy", "delta_nll"]
        ),
    }  # fmt: skip


def written(folder: Path, tables: dict[str, pd.DataFrame], note: str = "", **how: Any) -> tuple[str, str]:
    """The two pages (shakespeare, frozen test) of some tables."""
    place = folder / "tables" / "shakespeare"
    place.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(place / f"{name}.csv", index=False)
    files = {path.name: path.read_text() for path in pages.write_all(folder, {"shakespeare": note}, **how)}
    return files["shakespeare.md"], files["frozen-test.md"]


def verdicts(page: str) -> list[tuple[str, str]]:
    """(verdict, claim) of each finding, in the order of the page."""
    return re.findall(r"^- \*\*([A-Z][a-z ]+): (.*?)\*\*", page, flags=re.M)


def verdict(page: str, words: str) -> str:
    (found,) = [verdict for verdict, claim in verdicts(page) if words in claim]
    return found


def test_published_numbers_stand_beside_ours(tmp_path: Path) -> None:
    training, frozen = written(tmp_path, study())
    row = next(line for line in training.splitlines() if line.startswith("| `bewilderment` | loss"))
    assert [cell.strip() for cell in row.split("|")][3:6] == [
        "+1.65",
        "+1.23 [+1.23, +1.24]",
        "0.00 [0.00, 0.00]",
    ]
    row = next(line for line in training.splitlines() if line.startswith("| published, `self`: with state"))
    assert [cell.strip() for cell in row.split("|")][2:4] == ["100 %", "0.930"]
    row = next(line for line in frozen.splitlines() if line.startswith("| uncertain"))
    assert [cell.strip() for cell in row.split("|")][2:4] == ["+0.259", "+0.222 [+0.220, +0.224]"]
    assert "| +0.040 ± 0.100 |" in frozen and "−0.093" in frozen
    assert (
        "| replication protocol, 1000 steps, rotated | 0.35 | 0.500 [0.498, 0.502] | 0.200 ± 0.050 | 0.300 |"
        in frozen
    )


def test_interval_is_the_t_interval_over_seeds() -> None:
    # 1, 2, 3: mean 2, standard error 1/sqrt(3), t(0.975, 2) = 4.302653
    assert markdown.interval(estimate(pd.Series([1.0, 2.0, 3.0])), 3) == "+2.000 [−0.484, +4.484]"
    assert markdown.interval(estimate(pd.Series([-0.5])), 2) == "−0.50"
    assert wording.signed(-0.0001) == "0.000"


@pytest.mark.parametrize(
    ("made", "words", "expected"),
    [
        ({"gain": -0.05}, "predicts held-out text better", "Clear"),
        ({"gain": 0.0}, "predicts held-out text better", "Not clear"),
        ({"gain": 0.05}, "predicts held-out text better", "Not clear"),
        ({"drift": 0.03}, "as no calm run does", "Clear"),
        ({"drift": 0.0}, "as no calm run does", "Not clear"),
    ],
)
def test_verdicts_on_training_follow_the_tables(
    tmp_path: Path, made: dict, words: str, expected: str
) -> None:
    tables = study(**made)
    # the calm runs get a wobble of their own, so that their differences have a spread
    calm = tables["regime_deltas"]["condition"] == "self_calm"
    tables["regime_deltas"].loc[calm, "delta"] *= -1
    loss = tables["runs"]["condition"].str.startswith("vanilla") & (tables["runs"]["seed"] == 2)
    tables["runs"].loc[loss, "heldout_loss"] += 0.001
    assert verdict(written(tmp_path, tables)[0], words) == expected


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
    assert verdict(page, "Replication protocol: learned directions") == expected
    reached = "Clear" if made["effect"] >= published.EFFECT_SIZE else "Not clear"
    assert verdict(page, "as large as the published") == reached
    assert verdict(page, "own state lowers") == "Clear"
    assert verdict(page, "follows the dose") == "Clear"


def test_ranks_that_cannot_be_small_are_said_to_be(tmp_path: Path) -> None:
    tables = study()
    tables["frozen_effects"] = tables["frozen_effects"].query("draw < 3")
    assert "3 draws cannot give p < 0.05" in written(tmp_path, tables)[1]


def test_what_fails_comes_first(tmp_path: Path) -> None:
    for page in written(tmp_path, study(effect=0.3)):
        found = [verdict.lower() for verdict, _ in verdicts(page)]
        assert len(found) > 2
        assert found == sorted(found, key=parts.VERDICTS.index)


def test_state_that_adds_nothing_in_runs_left_out_fails(tmp_path: Path) -> None:
    tables = study()
    page = written(tmp_path, tables)[0]
    for claim in (
        "loss, entropy and confidence do not",
        "the state was made from",
        "the time alone",
        "perfect",
    ):
        assert verdict(page, claim) == "Not clear"
    rows = tables["classification"]
    state = (rows["protocol"] == NO_CLAMP) & (rows["features"] == STATE)
    rows.loc[state, "accuracy"] = (
        0.70  # 0.15 above one rival, 0.05 above the other; the null reaches 0.1 above its mean
    )
    page = written(tmp_path, tables)[0]
    assert verdict(page, "loss, entropy and confidence do not") == "Clear"
    assert verdict(page, "the state was made from") == "Open"
    assert "0.900" in next(
        line for line in page.splitlines() if line.startswith("| clean, `self_random`: with state")
    )
    tables["classification"] = rows[rows["protocol"] != NO_CLAMP]  # the held state is no ground for a finding
    assert verdict(written(tmp_path, tables)[0], "loss, entropy and confidence do not") == "Not measured"


def test_classification_by_seed_is_judged_over_seeds(tmp_path: Path) -> None:
    tables = study()
    rows = tables["classification"]
    by_seed = [rows.assign(seed=seed, accuracy=rows["accuracy"] + 0.01 * seed) for seed in SEEDS]
    tables["classification"] = pd.concat(by_seed)
    state = tables["classification"]["features"] == STATE
    tables["classification"].loc[state, "accuracy"] = [0.93, 0.90, 0.70, 0.93, 0.90, 0.71, 0.93, 0.90, 0.73]
    page = written(tmp_path, tables)[0]
    assert verdict(page, "loss, entropy and confidence do not") == "Clear"
    assert "n = 3" in next(line for line in page.splitlines() if "confidence do not" in line)


def test_one_seed_gives_no_interval_and_no_verdict(tmp_path: Path) -> None:
    tables = {name: table.query("seed == 1") if "seed" in table else table for name, table in study().items()}
    training, frozen = written(tmp_path, tables)
    assert verdict(training, "predicts held-out text better") == "Open"
    assert verdict(frozen, "Replication protocol: learned directions") == "Open"
    assert "[" not in next(line for line in frozen.splitlines() if line.startswith("| uncertain"))
    assert "nan" not in training + frozen


@pytest.mark.parametrize("absent", [*study(), "all"])
def test_partial_studies_have_pages(tmp_path: Path, absent: str) -> None:
    tables = {name: table for name, table in study().items() if absent not in (name, "all")}
    training, frozen = written(tmp_path, tables)
    assert "nan" not in (training + frozen).replace("nanoGPT", "")
    if absent == "all":
        assert "No finished run" in training
        assert {verdict for verdict, _ in verdicts(frozen)} == {"Not measured"}
    elif absent.startswith(("frozen_effects_summary", "frozen_doses")):
        assert "The tables hold nothing for this yet." in frozen


def test_a_suite_of_ones_own_gets_the_same_pages_from_its_own_tables(tmp_path: Path) -> None:
    written(tmp_path, study())
    place = tmp_path / "tables" / "mine"
    place.mkdir()
    for name, table in study(effect=9.0, gain=3.0).items():
        table.assign(suite="mine").to_csv(place / f"{name}.csv", index=False)
    files = pages.write_all(tmp_path, {"mine": ""}, destination=tmp_path / "mine")
    text = {path.name: path.read_text() for path in files}["shakespeare.md"]
    assert "Suite `mine`" in text and text != (tmp_path / "report" / "shakespeare.md").read_text()


def test_a_table_without_a_needed_column_is_named(tmp_path: Path) -> None:
    tables = study()
    tables["runs"] = tables["runs"].drop(columns="heldout_loss")
    with pytest.raises(UserError, match=r"runs\.csv lacks the column heldout_loss"):
        written(tmp_path, tables)


def test_a_state_that_never_moved_has_no_correlation(tmp_path: Path) -> None:
    tables = study()
    tables["state_path"]["pc1"] = 0.0
    tables["frozen_doses"]["delta_entropy"] = 0.0
    training, frozen = written(tmp_path, tables)
    assert "| `self` | 0.90 [0.90, 0.90] | 0.05 [0.05, 0.05] | – | 3 |" in training
    assert verdict(frozen, "follows the dose") == "Not measured"


def test_note_and_figures(tmp_path: Path) -> None:
    training, frozen = written(
        tmp_path, study(), "Quick study.", figures="../../figures", destination=tmp_path / "docs"
    )
    known = {figure.name for figure in FIGURES}
    for page in (training, frozen):
        assert "> **Quick study.**" in page
        shown = re.findall(r"\]\(\.\./\.\./figures/(.*?)\)", page)
        assert shown and set(shown) <= known
    assert (tmp_path / "docs" / "shakespeare.md").is_file()


def test_readme_blocks(tmp_path: Path) -> None:
    written(tmp_path, study())
    text = "a\n<!-- time -->\nstale\n<!-- /time -->\nb\n<!-- results -->\nstale\n<!-- /results -->\nc\n"
    made = documents.readme(text, tmp_path / "tables")
    assert "stale" not in made and made.startswith("a\n") and made.endswith("\nc\n")
    assert "(12 runs) took 12.0 hours of one core" in made  # four conditions, three seeds, an hour each
    assert "about 6.0 hours on 2 cores" in made
    assert documents.readme(made, tmp_path / "tables") == made
    with pytest.raises(UserError, match="must have one <!-- results -->"):
        documents.readme("no marks", tmp_path / "tables")


def test_readme_needs_no_table_too_large_to_commit(tmp_path: Path) -> None:
    training, frozen = written(tmp_path, study())
    for name in publish.NOT_COMMITTED:
        (tmp_path / "tables" / "shakespeare" / f"{name}.csv").unlink(missing_ok=True)
    made = documents.readme_results(tmp_path / "tables")
    for page in (training, frozen):
        for verdict, count in Counter(found.lower() for found, _ in verdicts(page)).items():
            assert f"{count} {verdict}" in made
    assert "No claim has been decided yet." in made


def test_readme_is_what_the_committed_tables_give() -> None:
    tables = ROOT / "docs" / "results" / "tables"
    assert list(tables.glob("*.csv")) == [], "tables of an earlier layout; each suite has a folder of its own"
    assert [path for path in tables.rglob("*.csv") if path.stem in publish.NOT_COMMITTED] == []
    text = (ROOT / "README.md").read_text()
    assert documents.readme(text, tables) == text, "run: ./run.sh python scripts/make_report.py --readme"


def test_pipeline_page_is_what_the_code_declares() -> None:
    made = documents.pipeline_page(phases.describe(), FIGURES, phases.optional_suites())
    assert (ROOT / "docs" / "PIPELINE.md").read_text() == made, (
        "run: ./run.sh python scripts/make_report.py --pipeline"
    )
    assert all(f"`{phase.name}`" in made for phase in phases.PHASES)
    assert all(figure.name in made for figure in FIGURES)


def test_metrics_page_names_every_column() -> None:
    train = pytest.importorskip("train")
    text = (ROOT / "docs" / "METRICS.md").read_text()
    assert [name for name in train.METRICS if f"| `{name}` |" not in text] == []


def test_metrics_page_names_every_column_of_the_pages_tables() -> None:
    text = (ROOT / "docs" / "METRICS.md").read_text()
    sections = text.split("\n## ")
    everywhere = next(section for section in sections if section.startswith("Columns that many tables have"))
    lacking = []
    for page in pages.PAGES:
        for name, columns in {**parts.COLUMNS, **page.columns}.items():
            about = [section for section in sections if re.search(rf"`{name}(\\.csv)?`", section)]
            about += [
                section for section in sections if name == "metrics" and section.startswith("metrics.csv")
            ]
            if not about:
                lacking.append(name)
            known = "".join([everywhere, *about])
            lacking += [f"{name}: {column}" for column in columns if f"`{column}`" not in known]
    assert sorted(set(lacking)) == []


def test_pages_made_again_keep_what_the_study_said_first(tmp_path: Path) -> None:
    written(tmp_path, study(), destination=tmp_path / "elsewhere")
    (tmp_path / "tables" / "shakespeare" / "warning.txt").write_text("QUICK STUDY: too small.\n")
    page = tmp_path / "report" / "frozen-test.md"
    make_report.main(["--out", str(tmp_path)])
    assert "> **QUICK STUDY: too small.**" in page.read_text()
    make_report.main(["--out", str(tmp_path), "--note", "Mine."])
    assert "> **Mine.**" in page.read_text() and "QUICK" not in page.read_text()


def test_a_suite_without_a_page_writes_none(tmp_path: Path) -> None:
    written(tmp_path, study())
    (tmp_path / "tables" / "shakespeare").rename(tmp_path / "tables" / "ambiguous")
    assert pages.write_all(tmp_path, {"ambiguous": ""}) == []  # and not the first suite's, of its tables
    (tmp_path / "tables" / "ambiguous").rename(tmp_path / "tables" / "mine")
    assert "shakespeare.md" in [path.name for path in pages.write_all(tmp_path, {"mine": ""})]


RUNS_COLUMNS = sorted({name for page in pages.PAGES for name in page.tables(ROOT).columns["runs"]})


def test_every_condition_of_every_suite_has_its_words() -> None:
    suites = {}
    for path in sorted((ROOT / "configs").glob("*.toml")):
        if "conditions" in tomllib.loads(path.read_text()):
            suite = config.load_suite(path)
            suites[suite.name] = set(suite.conditions)
    assert {suite: set(words) for suite, words in conditions.WORDS.items()} == suites


def test_pages_say_what_their_conditions_are(tmp_path: Path) -> None:
    """The first page of a suite lists those that it has runs of; the links of the others lead there."""
    training, frozen = written(tmp_path, study())
    listed = training.split("\n## Conditions\n")[1]
    for name in ("self", "self_calm", "vanilla", "vanilla_calm"):
        assert f"| `{name}` | {conditions.WORDS['shakespeare'][name]} |" in listed
    assert "| `self_random` |" not in listed  # it has no run here
    assert "(shakespeare.md#conditions)" in frozen and "## Conditions" not in frozen
    for page in pages.PAGES:
        tables = page.tables(tmp_path / "tables")
        (tmp_path / "tables" / page.suite).mkdir(exist_ok=True)
        said = conditions.WORDS.get(page.suite, {})
        pd.DataFrame({"suite": page.suite, "condition": list(said)}).reindex(columns=RUNS_COLUMNS).to_csv(
            tmp_path / "tables" / page.suite / "runs.csv", index=False
        )
        text = pages.on_conditions(page, tables)
        link = re.search(r"\((.*\.md)#conditions\)", text)
        target = next((one for one in pages.PAGES if link and one.file == link[1]), page)
        assert target.suite == page.suite
        found = pages.on_conditions(target, target.tables(tmp_path / "tables"))
        assert found.startswith("## Conditions\n") == bool(said)
        assert found.count("\n| `") == len(said)


def test_guests_of_a_page_are_explained_there(tmp_path: Path) -> None:
    for suite in ("memory", "ambiguous"):
        (tmp_path / suite).mkdir()
        rows = pd.DataFrame({"condition": ["none", "none_long", "mine"]}).reindex(columns=RUNS_COLUMNS)
        rows.to_csv(tmp_path / suite / "runs.csv", index=False)
    (memory,) = [page for page in pages.PAGES if page.suite == "memory"]
    text = pages.on_conditions(memory, memory.tables(tmp_path))
    assert re.findall(r"^\| `(.*?)`", text, flags=re.M) == ["none", "none_long"]


def test_the_time_counts_tests(tmp_path: Path) -> None:
    written(tmp_path, study())
    tests = pd.DataFrame(
        [("shakespeare", "self_calm", 1, "frozen", 1000, "ab", 3600.0), ("shakespeare", "self", 1, "belief", 60, "cd", 7200.0)],
        columns=["suite", "condition", "seed", "kind", "run_step", "key", "seconds"],
    )  # fmt: skip
    tests.to_csv(tmp_path / "tables" / "shakespeare" / "tests.csv", index=False)
    said = documents.readme_time(tmp_path / "tables")
    assert (
        "(12 runs, 2 tests of finished runs) took 15.0 hours of one core, 12.0 for training, 3.0 for testing"
        in said
    )
    assert "about 7.5 hours on 2 cores" in said


def test_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, study(), destination=tmp_path / "elsewhere")
    make_report.main(["--out", str(tmp_path)])
    assert (tmp_path / "report" / "frozen-test.md").is_file()
    assert "frozen-test.md" in capsys.readouterr().out
    with pytest.raises(UserError, match="run the study first"):
        make_report.main(["--out", str(tmp_path / "nothing")])


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
        found = parts.smaller(parts.Tables(tmp_path, "s"))
        assert said in found and bool(said) == bool(found)
    assert parts.smaller(parts.Tables(tmp_path, "nothing")) == ""


def test_every_row_of_the_document_has_its_sign_judged_by_the_whole_interval() -> None:
    def of(low: float, high: float, n: int = 8) -> Estimate:
        return Estimate(n, (low + high) / 2, low, high, 0.01)

    assert (
        document_rows.sign(0.27, of(0.1, 0.3))
        == document_rows.sign(-0.05, of(-0.3, -0.1))
        == document_rows.SAME
    )
    assert document_rows.sign(-0.05, of(0.1, 0.3)) == document_rows.OTHER
    assert (
        document_rows.sign(0.27, of(-0.1, 0.3))
        == document_rows.sign(0.27, of(0.1, 0.3, 2))
        == document_rows.UNSETTLED
    )


def test_no_row_of_the_document_is_left_out(tmp_path: Path) -> None:
    seeds = range(1, 4)
    deltas = [
        {"suite": "shakespeare", "condition": name, "seed": seed, "regime": regime, "metric": metric,
         "delta": (2 * said if name == "self" else said) + 0.0001 * seed * seed * (name == "self")}
        for regime, metrics in published.REGIME_DELTAS.items()
        for metric, said in metrics.items()
        for name in ("self", "self_calm")
        for seed in seeds
    ]  # fmt: skip
    weights = {
        "suite": "shakespeare",
        "condition": "self_calm",
        "run_step": 1000,
        "protocol": "replication",
        "finder": "dimension",
    }
    frozen = [
        {**weights, "seed": seed, "state": state, "magnitude": 0.3, "entropy": 2.0, "nll": 2.0, "ece": 0.1, "delta_nll": 0.0,
         "kl": 0.1, "sign_consistency": 1.0, "delta_entropy": said + 0.001 * seed}
        for state, said in published.FROZEN_DELTA_ENTROPY.items()
        for seed in seeds
    ]  # fmt: skip
    effects = [
        {**weights, "seed": seed, "reader": reader, "effect_size": size}
        for reader, size in (("learned", 0.35), ("rotated", 0.3), ("untrained", 0.31))
        for seed in seeds
    ]
    (tmp_path / "shakespeare").mkdir()
    for name, rows in (("regime_deltas", deltas), ("frozen_conditions", frozen), ("frozen_effects", effects)):
        pd.DataFrame(rows).to_csv(tmp_path / "shakespeare" / f"{name}.csv", index=False)
    section = document_rows.rows_of_the_document(parts.Tables(tmp_path, "claims", claims.COLUMNS))
    lines = section.text().splitlines()
    for regime, metrics in published.REGIME_DELTAS.items():
        for metric in metrics:
            (line,) = [
                one for one in lines if one.startswith(f"| {regime}, {document_rows.METRICS[metric]} |")
            ]
            assert line.endswith(f"| {document_rows.SAME} | 3 |"), line
    (heat,) = [one for one in lines if one.startswith("| lr_heatwave, loss |")]
    assert (
        "| −0.010 | −0.020 [" in heat and "| −0.010 [" in heat
    )  # ours, and what is left beside the calm run
    (random,) = [one for one in lines if one.startswith("| frozen weights, random |")]
    assert "+0.040 ± 0.100" in random
    assert (
        "3 of 3 learned readers lie above that, and 0 % of the rotated placebo readers, 100 % of the untrained"
        in section.text()
    )


def test_a_finding_says_where_an_interval_lies_on_the_other_side() -> None:
    below, above, across = (
        estimate(pd.Series([centre - 0.1, centre, centre + 0.1])) for centre in (-1.0, 1.0, 0.0)
    )
    parted = parts.difference("It falls.", [("a", below), ("b", above), ("c", across)], -1, " nats", 2)
    assert parted.verdict == "not clear" and parted.evidence.endswith("n = 3. Clearly the other way: b.")
    whole = parts.difference("It falls.", [("b", above)], -1, " nats", 2)
    assert whole.verdict == "not clear" and whole.evidence.endswith("n = 3. Clearly the other way.")
    assert "other way" not in parts.difference("It falls.", [("a", below), ("c", across)], -1, "", 2).evidence


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
    view = placebos.View(parts.Tables(tmp_path, "mine"), "self")
    lines = placebos.effect_table(view, [("heldout", "dimension")])
    assert lines[0].splitlines()[-1].endswith(f"| {shown} |")
