"""The study from its text to its pages through the command line: corpora, publishing, bad input, twice, interrupted."""

import contextlib
import gzip
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from base import storage
from base.storage import ROOT
from data.corpus import Corpus
from data.prepare import prepare_text
from data.sources import SourceNotFound
from experiments.kit import tables as kit_tables
from scripts import run_all as script
from study import phases, preview, publish
from study import plan as pipeline
from study import request as studies
from tests.hostile import assert_refused, ends
from tests.least import TEXT
from tests.test_house import PRODUCT
from tests.tiny_study import RUN_ALL, SUITE, environment, request, run_all

# Corpora


def test_without_shakespeare_the_embedded_corpus_stands_in(
    tmp_path: Path, suite_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def prepare(name: str, data: Path, tokenizer: str) -> Corpus:
        tried.append(name)
        if name == "shakespeare_char":
            raise SourceNotFound("no network")
        return prepare_text(name, TEXT.encode(), data)

    monkeypatch.setattr(studies, "prepare_corpus", prepare)
    monkeypatch.setattr(studies, "find_local", lambda *_: None)
    suite_file.write_text(SUITE.replace("tiny_text", "shakespeare_char"), encoding="utf-8")
    asked = request(tmp_path, suite_file)
    suites = studies.load_suites(asked)
    study, _, said = studies.find_corpora(asked, suites, suites)
    assert study.corpora["shakespeare_char", "char"][0] == "pydoc_char"
    (suite,) = study.suites
    assert all("pydoc_char" in text for text in (study.note(suite, 1), study.warnings(suite), said[0]))
    assert pipeline.plan(study)[0].parts["config"]["corpus"] == "pydoc_char"
    studies.find_corpora(asked, suites, suites)
    assert tried == ["shakespeare_char", "pydoc_char", "pydoc_char"]  # begun so, it goes on so
    given = request(tmp_path, suite_file, "corpus=shakespeare_char")
    suites = studies.load_suites(given)
    with pytest.raises(SourceNotFound):
        studies.find_corpora(given, suites, suites)


# Publishing


def test_publishing_replaces_only_what_it_publishes(tmp_path: Path) -> None:
    out, root = tmp_path / "out", tmp_path / "clone"
    for name in ("figures/a.png", "figures/sub/b.png", "report/published/p.md", "tables/swap/small.csv"):
        storage.write_text(out / name, name)
    storage.write_text(out / "tables" / "swap" / "large.csv", "x" * (publish.SMALL_BYTES + 1))
    storage.write_text(root / "figures" / "other.png", "mine")
    for name in (
        "figures/tiny/a.png",
        "report/tiny/p.md",
        "report/tiny/run_card.json",
        "tables/tiny/small.csv",
    ):
        storage.write_text(out / name, "a suite of the user's own in the same folder")
    changed = publish.publish(out, root)
    assert {path.relative_to(root).as_posix() for path in changed} == {
        "figures/a.png",
        "figures/sub/b.png",
        "docs/results/p.md",
        "docs/results/tables/swap/small.csv",
    }
    assert (root / "figures" / "other.png").read_text() == "mine"
    assert publish.publish(out, root) == []


def test_a_large_table_is_published_packed_and_in_one_form(tmp_path: Path) -> None:
    out, tables = tmp_path / "out", tmp_path / "docs" / "results" / "tables" / "swap"
    plain, packed = tables / "t.csv", tables / "t.csv.gz"
    large = "suite,seed\n" + "s,1\n" * (publish.PLAIN_BYTES // 4)
    storage.write_text(out / "tables" / "swap" / "t.csv", "suite,seed\ns,1\n")
    assert publish.publish(out, tmp_path) == [plain]
    storage.write_text(out / "tables" / "swap" / "t.csv", large)
    assert publish.publish(out, tmp_path) == [plain, packed] and not plain.exists()
    first = packed.read_bytes()
    assert gzip.decompress(first).decode() == large and len(first) < len(large) / 50
    assert first[3:8] == bytes(5)  # no flags, so no name, and no time
    assert kit_tables.read(tables.parent, "swap", "t")["seed"].sum() == publish.PLAIN_BYTES // 4
    assert publish.publish(out, tmp_path) == []
    packed.write_bytes(gzip.compress(large.encode(), compresslevel=1))  # by another hand
    assert publish.publish(out, tmp_path) == []
    packed.write_bytes(first[:-20])
    assert publish.publish(out, tmp_path) == [packed] and packed.read_bytes() == first
    storage.write_text(out / "tables" / "swap" / "t.csv", "suite,seed\ns,2\n")
    assert publish.publish(out, tmp_path) == [packed, plain] and not packed.exists()


@pytest.mark.parametrize(
    "more", [{"quick": True}, {"seeds": 8}, {"only": ("shakespeare",)}, {"overrides": ("train.steps=5",)}]
)
def test_only_the_default_study_is_published(tmp_path: Path, more: dict) -> None:
    assert request(tmp_path, None).is_default
    assert not replace(request(tmp_path, None), **more).is_default


# The command line


BAD = [
    (["--seeds", "0"], "--seeds 0"),
    (["--seeds", "-3"], "--seeds -3"),
    (["--seeds", "many"], "many"),
    (["--jobs", "0"], "--jobs 0"),
    (["--jobs", "1000000"], "--jobs 1000000"),
    (["--scheduler", "a"], "looks like tcp://HOST:8786"),
    (["--scheduler", "tcp://a:1", "--jobs", "1001"], "--jobs 1001: give 1 to 1000"),
    (["--scheduler", "tcp://a:1", "--status"], "leave --verify, --list, --status"),
    (["--only", "figurs"], "did you mean 'figures'"),
    (["--only"], "--only"),
    (["--sed", "3"], "--sed"),
    (["--config", "missing.toml"], "missing.toml does not exist"),
    (["--set", "train.stepz=3"], "train.steps"),
    (["--set", "train.steps=true"], "train.steps"),
    (["--set", "conditions.self.schedule=two"], "two"),
    (["--set", "probe.frozen.conditions=[\"nobody\"]"], "nobody"),
    (["--out", "a\0b"], "can't be shown"),
    (["--set", "name=claims"], "the name 'claims', which is the study's own"),
    (["--set", "name=shakespeare"], "the name 'shakespeare', which is the study's own"),
    (["--set", "name=published"], "the name 'published', which is the study's own"),
    (["--set", "name=runs"], "the name 'runs', which is the study's own"),
    (["--publish"], "--publish is of the study's own suites"),
    (["--only", "figures"], "--only data"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_is_one_line_and_nothing_is_written(
    tmp_path: Path, suite_file: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    if "--config" not in arguments:
        arguments = ["--config", str(suite_file), *arguments]
    monkeypatch.chdir(tmp_path)
    assert_refused(ends(script.main, *arguments), said)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_a_dry_run_sums_up_and_lists_where_it_is_asked_to(
    tmp_path: Path, suite_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--config", str(suite_file), "--out", str(tmp_path / "out"), "--jobs", "2", "--dry-run"]
    assert script.main(line) == 0
    short = capsys.readouterr().out.splitlines()
    assert script.main([*line, "-v"]) == 0
    long = capsys.readouterr().out.splitlines()
    trained = [step for step in long if step.startswith("run   train tiny/")]
    assert any(re.fullmatch(rf"train tiny +{len(trained)} to run \(.*\)", said) for said in short)
    assert "with 2 workers, a first guess" in short[-2] and short[-1].startswith("-v lists every step")
    assert len(short) < len(long) and not (tmp_path / "out").exists()


def test_listing_names_every_phase() -> None:
    for phase in phases.declared():
        assert phase.name in preview.list_phases()
        assert f"`{phase.name}`" in phases.describe()


def test_nothing_heavy_is_loaded_to_find_nothing_to_do() -> None:
    code = (
        "import sys; sys.path.insert(0, '.'); from study import preview; "
        "print([name for name in ('torch', 'pandas', 'matplotlib', 'sklearn') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stdout.strip() == "[]"


COMMANDS = [path for path in PRODUCT if "command_line.run(" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_ctrl_c_while_modules_are_loaded_ends_quietly(tmp_path: Path, command: Path) -> None:
    code = f"""
import os, runpy, signal, sys
sys.path.insert(0, {str(ROOT)!r})
signal.signal(signal.SIGINT, signal.default_int_handler)
class Press:
    def find_spec(self, name, *_):
        if name in ("numpy", "pandas", "torch", "study", "data.sources", "data.documents"):
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Press())
runpy.run_path({str(command)!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 130 and done.stderr == ""


@pytest.mark.parametrize(
    ("does", "status", "says"),
    [
        (
            "os.kill(os.getpid(), signal.SIGINT)",
            130,
            "interrupted; the same command goes on where it stopped\n",
        ),
        ("None", 0, ""),
    ],
)
def test_ctrl_c_while_the_process_ends_changes_nothing(does: str, status: int, says: str) -> None:
    """Whether another one came before it, while a study ran, or none."""
    code = f"""
import atexit, os, signal
from base import command_line
atexit.register(os.kill, os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
command_line.run(lambda _: {does})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (status, says)


@contextlib.contextmanager
def started_study(tmp_path: Path, suite_file: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A study that would train for minutes, once a run of it has begun."""
    command = [sys.executable, str(RUN_ALL), "--config", str(suite_file), "--out", "out", "--jobs", "1"]
    command += ["--set", "train.steps=1000000", "--set", "probe.frozen.conditions=[]", *more]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(tmp_path),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "out" / "progress").glob("*.json")):
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.communicate()


def worker_of(out: Path) -> int:
    """The process that writes the log of the first run."""
    (log,) = (out / "logs").glob("train-tiny-self-*.log")
    return int(log.read_text().split("process ")[1].split(",")[0])


def gone(process: int, seconds: float = 3.0) -> bool:
    """Whether a process ends within some time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if "\nState:\tZ" in Path(f"/proc/{process}/status").read_text(encoding="utf-8"):
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at processes in /proc")
def test_interrupted_and_killed_studies_leave_nothing_behind(tmp_path: Path, suite_file: Path) -> None:
    with started_study(tmp_path, suite_file) as process:
        worker = worker_of(tmp_path / "out")
        second = run_all(tmp_path, "--config", str(suite_file), "--out", "out")
        assert second.returncode == 2 and f"in use by process {process.pid}" in second.stderr
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=5)
        assert process.returncode == 130
        (line,) = error.splitlines()
        assert "goes on" in line
        assert gone(worker)
    with started_study(tmp_path, suite_file) as process:
        worker = worker_of(tmp_path / "out")
        process.kill()
        process.communicate()
        assert gone(worker)
    assert studies.holder(tmp_path / "out") is None
