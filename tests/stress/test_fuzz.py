"""Whatever is given, a command ends with success or with one line: 300 inputs here, 10,000 by fuzz.py."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import frozen_test
import train
from data import prepare as data_prepare
from data.openwebtext import prepare as openwebtext
from probes import belief
from scripts import make_report, sample, steer
from scripts import run_all as script
from tests.stress import fuzzing
from tests.stress.fuzzing import Place, outcome, settings_texts, words

INPUTS = int(os.environ.get("FUZZ_INPUTS", "300"))
LONG = "FUZZ_INPUTS" in os.environ
SEED = int(os.environ.get("FUZZ_SEED", "1"))


def tried(share: float) -> Callable[[Callable], Callable]:
    """So large a share of $FUZZ_INPUTS: the same inputs each time in CI, others for each $FUZZ_SEED in the long form."""
    chosen = settings(
        max_examples=max(5, round(share * INPUTS)),
        deadline=None,
        database=None,
        derandomize=not LONG,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    return lambda test: chosen(seed(SEED)(test) if LONG else test)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        yield fuzzing.make_place(tmp_path_factory.mktemp("fuzz"), patch)
    if LONG:
        print(f"\n\n{fuzzing.figures()}")


GOOD = {
    **{
        name: []
        for name in (
            "--list",
            "--status",
            "--dry-run",
            "--quick",
            "--force",
            "--publish",
            "--sed",
            "--figures",
        )
    },
    "--only": ["data", "shakespeare", "tiny", "figures", "swap"],
    "--seeds": ["1", "2", "3"],
    "--jobs": ["1", "2"],
    "--out": ["out", "elsewhere"],
    "--config": ["configs/tiny.toml", "configs/swap.toml", "configs/recurring.toml"],
    "--documents": ["1", "2"],
    "--from": ["texts", "rows.jsonl"],
    "--tokenizer": ["char", "bpe:260"],
    "--condition": ["self", "other", "fixed", "heard"],
    "--step": ["10", "30"],
    "--seed": ["1", "2"],
    "--device": ["cpu"],
    "--other": ["other", "run"],
    "--state": ["zero", "own", "random", "state.json"],
    "--to": ["state.json"],
    "--threshold": ["0", "0.1"],
    "--top": ["1", "9"],
    "--top-k": ["1", "9"],
    "--samples": ["1", "3"],
    "--prompt-file": ["configs/tiny.toml", "texts/tiny_text/input.txt"],
    "--magnitude": ["0", "0.5"],
    "--temperature": ["1", "0.1"],
    "--prompt": ["To", "heaven"],
    "--length": ["3", "7"],
    "--suite": ["tiny"],
    "--note": ["a note", "<b>", "$x_{", "a | b"],
}


def values(name: str) -> st.SearchStrategy[list[str]]:
    """What may follow an option: most often one value that makes sense."""
    if name == "--set":
        return settings_texts.map(lambda text: [text])
    if not GOOD[name]:
        return st.just([])
    good = st.sampled_from(GOOD[name]).map(lambda word: [word])
    return st.one_of(
        good, good, good, st.lists(words, min_size=name not in ("--only", "--suite"), max_size=2)
    )


@st.composite
def lines(draw: st.DrawFn, start: list[str], names: list[str], most: int = 3) -> list[str]:
    """A command line that begins well and goes on with some of a command's options, well or badly filled."""
    found = list(start)
    for _ in range(draw(st.integers(0, most))):
        name = draw(st.sampled_from(names))
        found += [name, *draw(values(name))]
    if draw(st.integers(0, 9)) == 0:
        found.insert(draw(st.integers(0, len(found))), draw(words))
    return found


@tried(0.4)
@given(data=st.data())
def test_no_config_gives_a_traceback(place: Place, data: st.DataObject) -> None:
    place.restore()
    name = data.draw(st.sampled_from([*fuzzing.SUITES, *["tiny.toml"] * 12]))
    spoilt = data.draw(st.sampled_from([name, name, name, "base.toml"]))
    content = data.draw(fuzzing.broken(fuzzing.ORIGINALS[spoilt]))
    (place.folder / "configs" / spoilt).write_bytes(content)
    quick = data.draw(st.sampled_from([[], [], ["--quick"]]))
    file = f"configs/{name}"
    if data.draw(st.booleans()):
        outcome(script.main, ["--config", file, "--dry-run", "--seeds", "1", *quick], "config run_all")
    else:
        outcome(train.main, [file, "--condition", "self", *quick], "config train")


@tried(0.15)
@given(data=st.data())
def test_no_override_gives_a_traceback(place: Place, data: st.DataObject) -> None:
    place.restore()
    texts = data.draw(st.lists(settings_texts, min_size=1, max_size=3))
    options = [word for text in texts for word in ("--set", text)]
    start = ["--config", "configs/tiny.toml", "--status", "--out", "out"]
    outcome(script.main, [*start, *options], "override run_all")


RUN_ALL = [
    *(
        "--only",
        "--seeds",
        "--jobs",
        "--out",
        "--config",
        "--set",
        "--list",
        "--status",
        "--dry-run",
        "--quick",
    ),
    *("--force", "--publish", "--sed"),
]


@tried(0.15)
@given(data=st.data())
def test_no_command_line_of_the_study_gives_a_traceback(place: Place, data: st.DataObject) -> None:
    place.restore()
    start = data.draw(
        st.sampled_from([["--config", "configs/tiny.toml", "--dry-run"], ["--list"], ["--config"], []])
    )
    outcome(script.main, data.draw(lines(start, RUN_ALL)), "line run_all")


SIZES = [
    *("finder_batches", "dev_batches", "heldout_batches"),
    *("top", "doses", "random_directions", "placebo_draws"),
]
SMALL = [word for name in SIZES for word in ("--set", f"probe.frozen.{name}=1")]
SMALL_BELIEF = ["--set", "probe.belief.heldout_batches=1"]
TOOLS: dict[str, tuple[Any, list[list[str]], list[str]]] = {
    "train": (
        train.main,
        [["configs/tiny.toml", "--condition", "self"], ["configs/tiny.toml", "--condition"], []],
        ["--set", "--quick", "--out", "--condition", "--seed", "--device"],
    ),
    "frozen_test": (
        frozen_test.main,
        [["run", *SMALL], ["other", *SMALL, "--out", "out"], ["run"], ["configs"], []],
        ["--step", "--set", "--out"],
    ),
    "belief": (belief.main, [["run"], ["run", *SMALL_BELIEF], ["run", "--other", "other", *SMALL_BELIEF], []], ["--step", "--set", "--other", "--out"]),
    "sample": (
        sample.main,
        [["run", "--length", "5"], ["run", "--length", "5", "--state", "random"], ["run"], []],
        [
            *("--state", "--magnitude", "--step", "--prompt", "--prompt-file", "--length", "--samples"),
            *("--temperature", "--top-k", "--seed", "--out"),
        ],
    ),
    "steer": (
        steer.main,
        [["run", "find"], ["run", "build", "own"], ["run", "build", "confident", "--threshold", "0"], ["run", "eval"], ["run", "eval", "state.json"], ["run"]],
        ["--step", "--magnitude", "--threshold", "--top", "--to", "--out"],
    ),
    "make_report": (make_report.main, [["--out", "out"], ["--out", "out", "--figures"], []], ["--out", "--suite", "--note", "--figures"]),
}  # fmt: skip


@pytest.mark.parametrize("tool", TOOLS)
@tried(0.04)
@given(data=st.data())
def test_no_command_line_of_a_tool_gives_a_traceback(place: Place, data: st.DataObject, tool: str) -> None:
    place.restore()
    main, starts, names = TOOLS[tool]
    outcome(main, data.draw(lines(data.draw(st.sampled_from(starts)), names)), tool)


ROWS = b'{"text": "one"}\n{"text": "two", "n": [1, 2.5, null]}\n\n{"text": "three"}\n'


@tried(0.06)
@given(data=st.data())
def test_no_way_to_prepare_a_corpus_gives_a_traceback(place: Place, data: st.DataObject) -> None:
    (place.folder / "rows.jsonl").write_bytes(data.draw(fuzzing.broken(ROWS)))
    name = data.draw(st.sampled_from(["tiny_text", "pydoc_char", "shakespeare_char", "openwebtext"]))
    options = data.draw(lines(["--out", "prepared"], ["--out", "--tokenizer", "--from", "--documents"]))
    if name == "openwebtext":
        outcome(openwebtext.main, options, "prepare openwebtext")
    else:
        named = data.draw(st.one_of(st.just(name), words))
        outcome(lambda given: data_prepare.main(named, given), options, "prepare")


@pytest.mark.long
@pytest.mark.skipif(LONG, reason="this is what it runs")
def test_ten_thousand_inputs() -> None:
    command = [sys.executable, str(Path(__file__).with_name("fuzz.py"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
