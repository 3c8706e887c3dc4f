"""The committed claims: they ask for what the study makes, and their register, verdicts and preregistration are theirs."""

import functools
from pathlib import Path

import pytest

from base.storage import ROOT
from configs.suite import load_suite
from configs.toml_file import ConfigError
from experiments.claims import file, judge, page
from experiments.claims.file import ADDED, CHANGED, Claims, load
from experiments.claims.page import EXPERIMENT
from experiments.kit import published
from experiments.kit.tables import Tables, content
from study import book
from tests.committed import COMMITTED, published_with
from tests.few_claims import file_of


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


def test_what_was_renamed_is_there_by_its_new_name_alone(committed: Claims) -> None:
    """So that no claim slips from one condition to another under the hash of the first."""
    for name, claim in committed.claims.items():
        for now, then in claim.renamed.items():
            for suite in claim.suites():
                conditions = load_suite(ROOT / "configs" / f"{suite}.toml").conditions
                assert now in conditions and then not in conditions, name


def test_every_claim_against_another_runs_signals_is_shown_by_pairs(committed: Claims) -> None:
    for name, claim in committed.claims.items():
        if claim.minus is None or claim.withdrawn:
            continue
        rivals = [str(value) for value in claim.minus.where.values()]
        if any("yoked" in one or one == "outsider" for one in rivals):
            reading = committed.readings.get(name)
            assert claim.pairs or (reading and reading.pairs), name


def test_the_preregistration_is_written_from_the_claims(committed: Claims) -> None:
    text = (ROOT / "docs" / "PREREGISTRATION.md").read_text()
    made = page.preregistration(committed, file.read_register())
    assert text == made, "run: ./run.sh python scripts/make_report.py --preregistration"
    assert f"Ours. {ADDED.capitalize()}." in text and f"Ours. {CHANGED.capitalize()}." in text
    assert committed.sha256 in text and all(f"`{name}`" in text for name in committed.claims)
