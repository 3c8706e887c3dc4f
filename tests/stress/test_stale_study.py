"""Files of a study and of its code edited in turn: what would run again is what hangs on it, and that runs, and no more."""

from pathlib import Path

import pytest

from tests.stale_expected import BELIEF, EVERY, FROZEN, SUITE, TABLES, runs, with_dependants
from tests.stress import stale_study
from tests.stress.stale_study import Case, Place

pytestmark = pytest.mark.long

MADE = {"tables tiny", "figures tiny", "pages tiny"}


def corpus(name: str, trained: set[str]) -> dict[Case, set[str]]:
    """Its text, its tokens and their description changed, and what is made of them."""
    files = {f"texts/{name}/input.txt": "More.", f"out/data/{name}/tokens.bin": "", f"out/data/{name}/meta.json": "x"}
    return {Case(file, new=new): {f"data {name}"} | with_dependants(trained) for file, new in files.items()}


CASES = {
    **corpus("tiny_text", EVERY - runs("elsewhere")),
    **corpus("tiny_other", runs("elsewhere")),
    Case("train.py", "EMA_MOMENTUM = 0.99 ", "EMA_MOMENTUM = 0.98 "): with_dependants(EVERY),
    Case("memory.py", 'settings.kind == "buffer" else 1', 'settings.kind == "buffer" else 2'): with_dependants(
        runs("ema", "buffer")
    ),
    Case("frozen_test.py", "SMALLEST_NORM = 1e-6", "SMALLEST_NORM = 1e-7"): {FROZEN} | TABLES,
    Case("probes/belief.py", "RANDOM_DRAWS = 10", "RANDOM_DRAWS = 11"): {BELIEF} | TABLES,
    Case("train.py", new="\n# a comment\nUNUSED = 1\n"): set(),
    Case("memory.py", '"""What a self-state', '"""In other words: what a self-state'): set(),
    Case("base/storage.py", "MOST_JSON = 20", "MOST_JSON = 21"): set(),
    Case("scripts/run_all.py", new="\nCHANGED = 1\n"): set(),
    Case("README.md", new="\nMore.\n"): set(),
    Case("tiny.toml", new="\n# a comment\n"): set(),
    Case("configs/swap.toml", new="\n# a comment\n"): set(),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return stale_study.make(tmp_path_factory.mktemp("stale") / "clone", SUITE)


def test_each_edit_reruns_what_hangs_on_it(place: Place) -> None:
    found = place.would_run(list(CASES))
    expected = {case: names | (MADE if TABLES <= names else set()) for case, names in CASES.items()}
    assert dict(zip(CASES, found, strict=True)) == expected


def test_what_would_run_runs_and_nothing_else(place: Place) -> None:
    assert place.study() == set()
    text = place.folder / "texts" / "tiny_other" / "input.txt"
    text.write_text(text.read_text() + "Bring me my bow of burning gold. " * 9)
    memory = place.folder / "memory.py"
    memory.write_text(memory.read_text().replace('"buffer" else 1', '"buffer" else 1 + 0'))
    ran = {name.split("-")[0]: set() for name in MADE}
    for name in place.study():
        ran.setdefault(name.split("-")[0], set()).add(name)
    assert ran["train"] == {f"train-tiny-{name}-seed-1" for name in ("elsewhere", "ema", "buffer")}
    assert "frozen" not in ran and "belief" not in ran
    assert all(ran[kind] for kind in ("table", "figure", "page"))
    # A page that is gone is written, and tokens that are spoilt are made again, the same: nothing hangs on that.
    (place.folder / "out" / "data" / "tiny_text" / "tokens.bin").write_bytes(b"")
    page = next((place.folder / "out" / "report" / "tiny").glob("*.md"))
    page.unlink()
    assert place.study() == {f"page-tiny-{page.name}"}
