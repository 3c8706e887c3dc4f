"""Files of a study and of its code edited in turn: what would run again is what hangs on it, and that runs, and no more."""

import pytest

from tests.stale_expected import BELIEF, EVERY, FROZEN, GENERATED, SUITE, TABLES, runs, with_dependants
from tests.stress import stale_study
from tests.stress.stale_study import Case, Place

pytestmark = pytest.mark.long

MADE = {"tables tiny", "figures tiny", "pages tiny"}


def corpus(name: str, trained: set[str]) -> dict[Case, set[str]]:
    """Its text, its tokens and their description changed, and what is made of them."""
    files = {
        f"texts/{name}/input.txt": "More.",
        f"out/data/{name}/tokens.bin": "",
        f"out/data/{name}/meta.json": "x",
    }
    return {Case(file, new=new): {f"data {name}"} | with_dependants(trained) for file, new in files.items()}


MEMORY = Case("memory.py", "bound: Tensor) -> Tensor:", "bound: Tensor, _: int = 0) -> Tensor:")
CASES = {
    **corpus("tiny_text", EVERY - runs("elsewhere", *GENERATED)),
    **corpus("tiny_other", runs("elsewhere")),
    Case("train.py", "1 + math.cos(math.pi * share)", "1 + math.cos(3 * share)"): with_dependants(EVERY),
    Case("perturb.py", 'regime == "sensory_fog"', '"sensory_fog" == regime'): with_dependants(EVERY),
    MEMORY: with_dependants(runs("ema", "buffer") | {FROZEN, BELIEF}),  # a tested run may remember
    Case("frozen_test.py", "zero = min(DOSE", "zero = max(DOSE"): {FROZEN} | TABLES,
    Case("probes/belief.py", "def cases(", "def cases(*_, "): {BELIEF} | TABLES,
    Case("experiments/swap.py", "EARLY, LATE = 10", "EARLY, LATE = 11"): set(),  # of other suites
    Case("base/storage.py", "def write_text(", "def write_text(*_, "): set(),  # carries
    Case("study/runner.py", "ATTEMPTS = 2", "ATTEMPTS = 3"): set(),  # says when
    Case("model.py", new="\n# a comment\nUNUSED = 1\n"): set(),
    Case("model.py", '"""Layer norm over', '"""Layer norm, over'): set(),
    Case("model.py", "import math\n", "import json\nimport math\n"): set(),
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
    expected = {case: names | (MADE if names >= TABLES else set()) for case, names in CASES.items()}
    assert dict(zip(CASES, found, strict=True)) == expected


def test_an_edit_to_a_table_or_to_words_makes_what_reads_them(place: Place) -> None:
    table = Case("experiments/runs.py", "windows_of(run.metrics())", "windows_of(run.metrics().copy())")
    words = Case("experiments/perturbation.md", "**Asked.**", "**Asked:**")
    remade, rewritten = place.would_run([table, words])
    assert {name for name in remade if name.startswith("table")} == {"table tiny/windows"}
    assert len(remade) > 1 and {name.split(" ")[0] for name in remade} <= {"table", "figure", "page"}
    assert rewritten == {"page tiny/shakespeare.md"}


def test_what_would_run_runs_and_nothing_else(place: Place) -> None:
    assert place.study() == set()
    text = place.folder / "texts" / "tiny_other" / "input.txt"
    text.write_text(text.read_text() + "Bring me my bow of burning gold. " * 9)
    memory = place.folder / MEMORY.file
    memory.write_bytes(MEMORY.edited(memory.read_bytes()))
    ran = place.study()
    tests = {"frozen-tiny-self-seed-1-step-10", "belief-tiny-self-seed-1-step-30"}
    trained = {f"train-tiny-{name}-seed-1" for name in ("elsewhere", "ema", "buffer")}
    assert {name for name in ran if name.startswith(("train", "frozen", "belief"))} == trained | tests
    assert {"table-tiny-runs", "page-tiny-shakespeare.md"} <= ran
    # Tokens that are made again are the same: nothing hangs on that.
    (place.folder / "out" / "data" / "tiny_text" / "tokens.bin").write_bytes(b"")
    (place.folder / "out" / "report" / "tiny" / "shakespeare.md").unlink()
    assert place.study() == {"page-tiny-shakespeare.md"}
