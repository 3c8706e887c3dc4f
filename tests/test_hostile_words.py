"""Configs, names and command lines made to do harm: refused in one line, and harmless where they are shown."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import train
from base import command_line, machine
from base.storage import ROOT, UserError
from configs import size
from configs import toml_file as config_file
from configs.suite import Suite, load_suite
from configs.toml_file import ConfigError
from data import prepare as data_prepare
from data import sources
from data.openwebtext import prepare as openwebtext
from experiments import training
from experiments.kit import words
from experiments.kit.tables import Tables
from scripts import make_report, sample
from scripts import run_all as script
from study import making
from tests.hostile import CONFIGS, assert_refused, ends, finished_run, write_tables
from tests.made_runs import assert_tables


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("run"))


# Configs


def load(folder: Path, text: str | bytes, name: str = "own.toml") -> Suite:
    (folder / "base.toml").write_bytes((CONFIGS / "base.toml").read_bytes())
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_suite(path)


HEAD = 'extends = "base.toml"\nname = "own"\nseeds = 1\n[conditions.a]\n'
CONFIG_TEXTS = {
    "a way out in a corpus": HEAD + 'corpus = "../../etc/passwd"',
    "an absolute corpus": HEAD + 'corpus = "/etc/passwd"',
    "NUL in a corpus": HEAD + 'corpus = "a\\u0000b"',
    "a long corpus": HEAD + f'corpus = "{"n" * 300}"',
    "a long name": HEAD.replace('"own"', f'"{"n" * 300}"'),
    "colours in a name": HEAD.replace('"own"', '"\\u001b[31mred"'),
    "HTML in a name": HEAD.replace('"own"', '"<script>alert(1)</script>"'),
    "Markdown in a name": HEAD.replace('"own"', '"a | b ](x)"'),
    "two lines in a name": HEAD.replace('"own"', '"a\\nb"'),
    "a way out in a condition": HEAD + '[conditions."../b"]',
    "NUL in a condition": HEAD + '[conditions."a\\u0000"]',
    "colours in a condition": HEAD + '[conditions."\\u001b[31m"]',
    "HTML in a condition": HEAD + '[conditions."<b>"]',
    "a long condition": HEAD + f"[conditions.{'n' * 300}]",
    "colours in a key": HEAD + '"\\u001b[31m" = 1',
    "two lines in a key": HEAD + '[model]\n"a\\nb" = 1',
    "a billion layers": HEAD + "[model]\nn_layer = 1000000000",
    "infinity": HEAD + "[train]\nlearning_rate = inf",
    "no number": HEAD + "[train]\nlearning_rate = nan",
    "a truth for a number": HEAD + "[train]\nsteps = true",
    "a truth for a rate": HEAD + "[train]\nlearning_rate = true",
    "a fraction for a count": HEAD + "[model]\nn_layer = 2.0",
    "a text for a count": HEAD + '[model]\nn_layer = "2"',
    "a date": HEAD + "[train]\nsteps = 1979-05-27",
    "a time for a name": HEAD.replace('"own"', "07:32:00"),
    "more than 64 bits": HEAD + "[train]\nsteps = " + "9" * 30,
    "more digits than Python reads": HEAD + "[train]\nsteps = " + "9" * 5000,
    "more digits, in sixteens": HEAD + "[train]\nsteps = 0x" + "f" * 6000,
    "beyond float32": HEAD + "[regimes.false_feedback]\nloss = 1e308",
    "nested arrays": HEAD + "corpus = " + "[" * 5000 + "]" * 5000,
    "nested tables": HEAD + "[" + ".".join(["a"] * 100) + "]\nb = 1",
    "a key of 50,000 parts": HEAD + ".".join(["a"] * 50_000) + " = 1",
    "itself": 'extends = "own.toml"',
    "a device": 'extends = "/dev/zero"',
    "a folder": 'extends = "."',
    "a way out": 'extends = "../../../../../../../../etc/passwd"',
    "NUL in a path": 'extends = "a\\u0000b"',
    "a long path": f'extends = "{"n" * 300}"',
    "a billion draws": HEAD + "[probe.frozen]\nrandom_directions = 1000000000",
    "a billion permutations": HEAD + "[signatures]\npermutations = 1000000000",
    "a billion seeds": HEAD.replace("seeds = 1", "seeds = 1000000000"),
    "not UTF-8": b"\xff\xfe\x00",
    "a thousand conditions": HEAD + "".join(f"[conditions.c{index}]\n" for index in range(1000)),
    "a hundred MB": b"#" * 100_000_000,
    "a model of 60 GB": HEAD + "[model]\nn_layer = 90\nn_embd = 8192\n",
    "a batch of a terabyte": HEAD + "[model]\nblock_size = 8192\n[train]\nbatch_size = 65536\n",
    "a memory of a terabyte": HEAD + "[train]\nsteps = 10000000\n[self_state]\ndim = 4096\n",
}  # fmt: skip


@pytest.mark.parametrize("text", CONFIG_TEXTS.values(), ids=CONFIG_TEXTS)
def test_a_hostile_config_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "memory", lambda: 32_000_000_000)
    started = time.process_time()
    with pytest.raises(UserError):
        size.check(load(tmp_path, text))
    assert_refused(ends(script.main, "--config", "own.toml", "--dry-run"))
    assert time.process_time() - started < 5
    assert {path.name for path in tmp_path.iterdir()} == {"base.toml", "own.toml"}


def test_files_that_extend_each_other_in_a_ring_or_without_end(tmp_path: Path) -> None:
    for index in range(30):
        (tmp_path / f"{index}.toml").write_text(f'extends = "{index + 1}.toml"')
    with pytest.raises(ConfigError, match="more than 16 files"):
        config_file.read(tmp_path / "0.toml")
    (tmp_path / "2.toml").write_text('extends = "0.toml"')
    with pytest.raises(ConfigError, match="extends itself"):
        config_file.read(tmp_path / "0.toml")


LINES = [
    ["--jobs", "1000000"],
    ["--jobs", "9" * 5000],
    ["--seeds", "1000000000"],
    ["--seeds", "1e9"],
    ["--seeds", "10000"],
    ["--set", "seeds=10000"],
    ["--out", "n" * 300],
    ["--out", "/".join(["n" * 200] * 30)],
    ["--out", "a\0b"],
    ["--out", "\x1b[31mred"],
    ["--out", "a\nb"],
    ["--out", "\u202etxt"],
    ["--config", "a\0b"],
    ["--config", "n" * 300],
    ["--config", "/dev/zero"],
    ["--only", "\x1b[31mred"],
    ["--only", "n" * 100_000],
    ["--set", "\x1b[31mred=1"],
    ["--set", "a." * 10_000 + "a=1"],
    ["--set", "train.steps=" + "[" * 5000],
    ["--set", "train.steps=" + "9" * 5000],
    ["--set", "train.steps=0x" + "f" * 6000],
    ["--set", "corpus='../x'"],
]


@pytest.mark.parametrize(
    "line", LINES, ids=lambda line: " ".join(line)[:40].encode("unicode_escape").decode()
)
def test_a_hostile_command_line_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(ends(script.main, "--dry-run", *line))
    assert list(tmp_path.iterdir()) == []


TRAIN_LINES = [["--seed", str(10**30)], ["--seed", str(2**63)], ["--seed", "0"], ["--condition", "\x1b[31m"]]


@pytest.mark.parametrize("line", TRAIN_LINES, ids=str)
def test_a_hostile_seed_or_condition_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(ends(train.main, str(CONFIGS / "shakespeare.toml"), "--condition", "self", *line))
    assert list(tmp_path.iterdir()) == []


PREPARE_LINES = [
    ["--documents", str(10**30)],
    ["--documents", "0"],
    ["--documents", "many"],
    ["--tokenizer", "bpe:99999999999999999999"],
    ["--tokenizer", "../x"],
    ["--from", "a\0b"],
    ["--from", "n" * 300],
    ["--out", "a\0b"],
    ["--no-such-option"],
]


@pytest.mark.parametrize("line", PREPARE_LINES, ids=str)
def test_a_hostile_line_of_prepare_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(ends(openwebtext.main, *line))


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "/etc/passwd", "a\0b", "n" * 300, "\x1b[31m", "%s", "Größe"]
)
def test_a_hostile_name_of_a_corpus_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(ends(lambda given: data_prepare.main(name, given), "--out", "out"))
    assert list(tmp_path.iterdir()) == []


# What reaches a terminal or a page


def test_an_error_is_one_line_whatever_it_holds() -> None:
    assert str(UserError("a\nb\x1b[31m\u202ec\0")) == "a b\\x1b[31m\\u202ec\\x00"
    assert len(str(UserError("x" * 10**6))) == 1000


def test_a_page_holds_no_code(finished: Path, tmp_path: Path) -> None:
    evil = '<script>alert(1)</script> a|b \x1b[31m "q"'
    suite = load_suite(finished.parent.parent.parent / "tiny.toml")
    for path in write_tables(tmp_path / "tables" / "shakespeare", suite, [finished]):
        with contextlib.suppress(pd.errors.EmptyDataError):
            table = pd.read_csv(path)
            for column in {"suite", "condition", "corpus", "dtype"} & set(table):
                table[column] = evil
            table.to_csv(path, index=False)
    make_report.main(["--out", str(tmp_path), "--suite", "shakespeare", "--note", f"{evil}\n\n# A heading"])
    pages = [path.read_text() for path in (tmp_path / "report").rglob("*.md")]
    assert len(pages) > 1
    for page in pages:
        assert "<script" not in page and "\x1b" not in page and "\n# A heading" not in page
        assert "&lt;script>alert(1)&lt;/script>" in page
        assert_tables(page)


NOTES = ["\x16\x1b[31m $x_{ \u4e2d \udcff \u202e\na", "\\$ $", "n" * 100_000, "word " * 20_000]


def test_a_note_can_hold_whatever_it_likes(finished: Path, tmp_path: Path) -> None:
    suite = load_suite(finished.parent.parent.parent / "tiny.toml")
    write_tables(tmp_path / "tables" / "tiny", suite, [finished])
    tables = Tables(tmp_path / "tables", "tiny")
    figure = next(one for one in training.EXPERIMENT.figures if one.name == "learning-curves.png")
    for note in NOTES:
        drawn = making.draw(figure, tables, note, tmp_path)
        assert drawn is not None and drawn.stat().st_size > 10_000


def test_a_bar_in_a_cell_makes_no_cell() -> None:
    assert words.table(["a"], [["x|y"], ["x\\|y"], ["x\ny"]]).splitlines()[2:] == [
        "| x\\|y |",
        "| x\\|y |",
        "| x y |",
    ]


@pytest.mark.parametrize("name", ["../../etc", "/etc", "a\0b", "n" * 300, "\x1b[31m", ""])
def test_a_suite_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "tables").mkdir()
    assert_refused(ends(make_report.main, "--out", str(tmp_path), "--suite", name), "a suite's name")


def test_what_goes_to_a_pipe_is_whole_whatever_the_locale() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    code = "from base import command_line; command_line.run(lambda _: print('1 – 2 é \\udcff'))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
    assert found.returncode == 0 and found.stdout == "1 – 2 é \\udcff\n".encode() and found.stderr == b""


def test_a_written_text_obeys_no_terminal() -> None:
    assert sample.harmless("a\x1b[31mb\r\n\tc\x07‮d é") == "a�[31mb�\n\tc��d é"


def test_a_home_is_where_the_user_means_and_nobodys_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    parser = command_line.Parser(prog="x.py")
    parser.add_argument("--out", type=Path)
    assert parser.parse_args(["--out=~/x"]).out == tmp_path / "x"
    with pytest.raises(UserError, match="in the home of nobody here"):
        parser.parse_args(["--out=~nosuchuser/x"])
    monkeypatch.setenv("INTEROCEPTION_DATA", "~nosuchuser/x")
    with pytest.raises(UserError, match=r"\$INTEROCEPTION_DATA: ~nosuchuser/x is in the home of nobody"):
        sources.data_folders()


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_a_file_gets_the_text_as_it_is_whatever_the_locale() -> None:
    text = "é\r日"
    script = f"from base import command_line; command_line.run(lambda _: print({text!a}))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, **ASCII}, capture_output=True
    )
    assert done.stdout == f"{text}\n".encode() and done.stderr == b""


@pytest.mark.parametrize(
    "line", [("scripts/run_all.py", "--list"), ("train.py", "--help"), ("frozen_test.py", "--help")], ids=str
)
def test_what_is_set_for_others_breaks_no_command(tmp_path: Path, line: tuple[str, str]) -> None:
    others = {"MPLBACKEND": "nonsense", "TQDM_MININTERVAL": "abc", "PYTHONSAFEPATH": "1", **ASCII}
    done = subprocess.run(
        [sys.executable, str(ROOT / line[0]), line[1]], cwd=tmp_path, env={**os.environ, **others}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == ""
