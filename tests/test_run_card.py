"""The run card of a study."""

import json
import subprocess
from pathlib import Path

import pytest

from base import storage
from base.storage import ROOT
from configs import size
from configs.suite import load_suite
from study import progress, publish, run_card
from study.plan import Step, Study

NOBODY = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")


SUITE = load_suite(ROOT / "configs" / "swap.toml")


def finished(out: Path, number: int, condition: str = "origin", **record: object) -> Step:
    folder = out / "runs" / f"{number:016x}"
    folder.mkdir(parents=True)
    whole = {
        "seconds": 3600.0,
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "started": f"2026-01-0{number}",
        **record,
    }
    storage.write_json(folder / "run.json", whole)
    run = SUITE.run(condition, number)
    work = (run.last - run.first) * size.step_gflop(run)
    key = f"{number:064x}"
    return Step(
        "train",
        f"train swap/{condition}/seed-{number}",
        ("swap",),
        key,
        {},
        (),
        folder,
        {"run": run},
        work=work,
    )


def test_suites_of_one_s_own_have_a_card_each_and_leave_the_study_s(tmp_path: Path) -> None:
    studies = [
        SUITE,
        *(SUITE.model_copy(update={"name": name, "path": f"{name}.toml"}) for name in ("a", "b")),
    ]
    found = [run_card.places(Study(tmp_path, (suite,), {})) for suite in studies]
    assert found[0][0] == tmp_path / "run_card.json"
    assert [path.parent for path, _ in found[1:]] == [tmp_path / "report" / "a", tmp_path / "report" / "b"]
    places = [place for path, pages in found for place in (path, *pages)]
    assert len(set(places)) == len(places) == 7


def test_a_card_counts_what_the_records_say(tmp_path: Path) -> None:
    study = Study(tmp_path, (SUITE,), {("shakespeare_char", "char"): ("pydoc_char", "ab" * 32)}, "A warning.")
    done = [
        finished(tmp_path, 1, versions={"torch": "2"}),
        finished(tmp_path, 2, dtype="bfloat16", resumed_from=250, versions={"torch": "2"}),
    ]
    path = run_card.write(study, done)
    card = json.loads(path.read_text())
    assert path == tmp_path / "run_card.json" and card["warning"] == "A warning."
    assert (
        card["runs"]["finished"] == 2
        and card["runs"]["resumed"] == 1
        and card["runs"]["core_seconds"] == 7200
    )
    assert card["runs"]["dtype"] == {"bfloat16": 1, "float32": 1} and card["runs"]["versions"] == {
        "torch 2": 2
    }
    assert (card["runs"]["first_started"], card["runs"]["last_started"]) == ("2026-01-01", "2026-01-02")
    assert card["corpora"] == {"shakespeare_char, char": ["pydoc_char", "ab" * 32]}
    assert card["machine"]["cores"] >= 1 and card["packages"]["torch"]
    page = (tmp_path / "report" / "run-card.md").read_text()
    assert "2.0 hours: training 2.0, tests 0.0" in page and "bfloat16 (1), float32 (1)" in page
    assert "shakespeare_char, char: pydoc_char abab" in page and "None" not in page
    assert page == (tmp_path / "report" / "published" / "run-card.md").read_text()


def test_names_on_a_card_can_hold_what_they_like(tmp_path: Path) -> None:
    done = [finished(tmp_path, 1, versions={"torch": "2 | <script>alert(1)</script>\n\x1b[31m"})]
    run_card.write(Study(tmp_path, (SUITE,), {}, "<b>loud</b>"), done)
    page = (tmp_path / "report" / "run-card.md").read_text()
    (row,) = (line for line in page.splitlines() if line.startswith("| versions"))
    assert row == "| versions at training | torch 2 \\| &lt;script>alert(1)&lt;/script> [31m |"
    assert "**&lt;b>loud&lt;/b>**" in page and "\x1b" not in page


def test_a_continuation_as_planned_is_not_a_run_that_was_interrupted(tmp_path: Path) -> None:
    study = Study(tmp_path, (SUITE,), {("shakespeare_char", "char"): ("shakespeare_char", "ab" * 32)})
    planned = finished(tmp_path, 1, "own", resumed_from=1000, seconds=20.0)  # of steps 1000 to 2000
    assert run_card.card(study, [planned])["runs"]["resumed"] == 0
    interrupted = finished(tmp_path, 2, "own", resumed_from=1750, seconds=5.0)
    assert run_card.card(study, [planned, interrupted])["runs"]["resumed"] == 1
    costs = progress.Costs()
    costs.learn(tmp_path, [planned])
    assert costs.of(planned) == pytest.approx(20)
    costs.learn(tmp_path, [interrupted])  # a quarter of it, at the same speed
    assert costs.of(planned) == pytest.approx(20)


def test_a_folder_outside_any_repository_has_no_commit(tmp_path: Path) -> None:
    assert run_card.commit(tmp_path) == {"commit": None, "changed": None}
    made = tmp_path / "made"
    for words in (
        ("init", "-q", str(made)),
        ("-C", str(made), *NOBODY, "commit", "-q", "--allow-empty", "-m", "x"),
    ):
        subprocess.run(("git", *words), check=True)
    found = run_card.commit(made)
    assert len(str(found["commit"])) == 12 and found["changed"] is False
    (made / "new").touch()
    assert run_card.commit(made)["changed"] is True


def test_a_card_that_is_not_whole_is_told_from_one_of_other_steps(tmp_path: Path) -> None:
    suite = load_suite(ROOT / "configs" / "swap.toml")
    study = Study(tmp_path, (suite,), {("shakespeare_char", "char"): ("pydoc_char", "ab" * 32)})
    done = [finished(tmp_path, 1)]
    assert run_card.damage(study, done) == ""
    path = run_card.write(study, done)
    page = tmp_path / "report" / "published" / "run-card.md"
    assert run_card.damage(study, done) is None
    assert run_card.damage(study, [*done, finished(tmp_path, 2)]) == ""
    whole = page.read_text()
    page.write_text(whole.replace("swap", "swop"))
    assert run_card.damage(study, done) == f"{page} was changed"
    page.unlink()
    assert run_card.damage(study, done) == f"{page} is missing"
    page.write_text(whole)
    path.write_text(path.read_text().replace("3600.0", "3601.0"))
    assert run_card.damage(study, done) == f"{path} was changed"
    path.unlink()
    assert run_card.damage(study, done) == f"{path} is missing"


def test_what_is_published_phase_by_phase_keeps_the_cards_of_what_still_stands(tmp_path: Path) -> None:
    def card(when: str, **conditions: int) -> dict:
        made = run_card.card(Study(tmp_path, (SUITE,), {}), [finished(tmp_path / when, 1)])
        return {**made, "written": when, "suites": {name: {"conditions": n, "seeds": 8} for name, n in conditions.items()}}  # fmt: skip

    def told(found: dict) -> list[str]:
        return [one["written"] for one in (found, *found.get(run_card.EARLIER, ()))]

    first = run_card.after(card("monday", swap=6, gone=3), {}, ["swap"])
    assert told(first) == ["monday"]
    # a run that two suites share is named by one of them: a part of swap is not swap
    second = run_card.after(card("tuesday", decay=3, swap=1), first, ["swap", "decay"])
    assert told(second) == ["tuesday", "monday"]
    assert [run_card.of_suite(second, name)["written"] for name in ("swap", "decay", "x")] == ["monday", "tuesday", "tuesday"]  # fmt: skip
    assert run_card.page(second).count("## Published before") == 1 and "monday" in run_card.page(second)
    third = run_card.after(card("wednesday", swap=5), second, ["swap", "decay"])
    assert told(third) == ["wednesday", "tuesday"]
    fewer = card("thursday")  # since then swap has lost conditions: two are all that there are
    fewer["suites"] = {
        "swap": {"conditions": 2, "of": 2, "seeds": 8},
        "decay": {"conditions": 1, "of": 4, "seeds": 8},
    }
    assert told(run_card.after(fewer, third, ["swap", "decay"])) == ["thursday", "tuesday"]


def test_publishing_again_changes_no_card(tmp_path: Path) -> None:
    out, root = tmp_path / "out", tmp_path / "clone"
    study, done = Study(out, (SUITE,), {}), [finished(out, 1)]
    run_card.write(study, done)
    storage.write_text(out / "tables" / "swap" / "t.csv", "suite,seed\nswap,1\n")
    committed = root / "docs" / "results" / run_card.FILE
    assert committed in publish.publish(out, root) and committed.with_name(run_card.PAGE).is_file()
    assert publish.publish(out, root) == []
    run_card.write(study, [*done, finished(out, 2)])
    assert publish.publish(out, root) == [committed, committed.with_name(run_card.PAGE)]
    assert storage.read_json(committed)["runs"]["finished"] == 2
