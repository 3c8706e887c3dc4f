"""Running a plan: what follows what, what fails, killed workers, and folders and machines that will not do."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from base.storage import ROOT, UserError
from data.corpus import Corpus
from data.prepare import prepare_text
from study import book, phases, processes, progress, session
from study import plan as pipeline
from study import request as studies
from study.plan import MADE, Step, Study
from study.runner import Runner
from study.worker import Outcome
from tests.least import TEXT
from tests.tiny_study import SUITE, planned, request


class Script(Executor):
    """Ends each step at once as the script says: an error, an exception to raise, or nothing for success."""

    def __init__(self, ends: dict[str, list[str | Exception | None]]) -> None:
        self.ends = ends
        self.started: list[str] = []
        self.steps: list[Step] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        step = args[0]
        self.started.append(step.name)
        self.steps.append(step)
        ends = self.ends.get(step.name)
        end = ends.pop(0) if ends else None
        future: Future = Future()
        if isinstance(end, Exception):
            future.set_exception(end)
        else:
            future.set_result(Outcome(1.0, end))
        return future


def scripted(tmp_path: Path, suite_file: Path, jobs: int = 1, **ends: Any) -> tuple[Runner, Script]:
    suites = studies.load_suites(request(tmp_path, suite_file, seeds=2))
    study = Study(tmp_path, suites, {("tiny_text", "char"): ("tiny_text", "0" * 64)})
    plan = pipeline.plan(study)
    script = Script(ends.get("ends", {}))
    names = frozenset(step.name for step in plan)
    kinds = MADE
    costs = progress.Costs()
    costs.guess_s = 1.0
    return Runner(study, plan, names, names, kinds, jobs, costs, executor=lambda count: script), script


def test_tables_follow_each_seed(tmp_path: Path, suite_file: Path) -> None:
    runner, script = scripted(tmp_path, suite_file)
    assert runner.run() == []
    kinds = [kind for kind, _ in itertools.groupby(name.split(" ")[0] for name in script.started)]
    assert [*dict.fromkeys(kinds[: kinds.index("train", 1)])] == [
        "train",
        "frozen",
        "table",
        "note",
        "figure",
        "page",
        "demo",
    ]
    made = [step for step in script.steps if step.name == "table tiny/runs"]
    assert [len(step.arguments["runs"]) for step in made] == [2, 4]
    assert [len(run.probes) for run in made[0].arguments["runs"]] == [0, 2]
    rounds = [name for name in script.started if not name.startswith(("train", "frozen"))]
    assert rounds[: len(rounds) // 2] == rounds[len(rounds) // 2 :]


OTHER = (
    SUITE.replace('name = "tiny"', 'name = "other"')
    .replace("steps = 60", "steps = 50")
    .replace("steps = [30, 60]", "steps = [30, 50]")
)


def two_suites(tmp_path: Path, suite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study of two phases: `shakespeare` with the suite tiny, `controls` with other, no more."""
    (tmp_path / "other.toml").write_text(OTHER)
    made = {"shakespeare": (suite_file,), "controls": (tmp_path / "other.toml",)}
    kept = tuple(
        replace(phase, suites=made.get(phase.name, ()))
        for phase in phases.declared()
        if phase.name in made or not phase.suites
    )
    monkeypatch.setattr(phases, "declared", lambda: kept)
    monkeypatch.setattr(phases, "_homes", phases._homes.__wrapped__)


def test_one_experiment_goes_from_its_text_to_its_page(
    tmp_path: Path, suite_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_suites(tmp_path, suite_file, monkeypatch)
    prepared = []

    def prepare(name: str, data: Path, tokenizer: str) -> Corpus:
        prepared.append(name)
        return prepare_text(name, TEXT.encode(), data)

    monkeypatch.setattr(studies, "prepare_corpus", prepare)
    (tmp_path / "other.toml").write_text(OTHER.replace("tiny_text", "other_text"))
    out = tmp_path / "out"
    asked = request(out, None, only=("controls", "figures", "report"))
    study, data = session.prepare(asked, write=True)
    assert prepared == ["other_text"]  # what its runs need, and nothing of the others'
    assert [(name, chosen) for name, _, chosen in data] == [
        ("data tiny_text", False),
        ("data other_text", True),
    ]
    plan = pipeline.plan(study)
    _, _, stale = session.judge(asked, study, plan)
    chosen = session.chosen_phases(asked, study.suites)
    session.require_inputs(asked, chosen, plan, stale)
    with pytest.raises(UserError, match=r"first run: \./run\.sh all --only shakespeare"):
        session.require_inputs(asked, {"figures", "report"}, plan, stale)  # nothing is finished yet

    due = frozenset(step.name for step in plan if step.of({"controls"}))
    script = Script({})
    costs = progress.Costs()
    costs.guess_s = 1.0
    kinds = session.made_kinds(chosen)
    runner = Runner(study, plan, stale, due, kinds, 1, costs, executor=lambda count: script)
    assert runner.run() == []
    seed = ["train other/self", "train other/self_calm", "frozen other/self_calm", "frozen other/self_calm"]
    assert [name.split("/seed")[0] for name in script.started[:4]] == seed
    made = {name.split("/")[0] for name in script.started if name.startswith("table ")}
    assert made == {"table other"}  # of the other suite, and of the claims, nothing
    assert runner.ran == 4 == runner._total()


def test_a_seed_is_shown_once_its_phase_has_all_of_it(tmp_path: Path, suite_file: Path) -> None:
    steps = planned(tmp_path, suite_file)
    names = [step.name for step in steps]
    assert book.whole(steps, names) == {("tiny", 1), ("tiny", 2)}
    assert book.whole(steps, names[:3]) == frozenset()
    assert book.whole(steps, names[:5]) == {("tiny", 1)}
    assert book.whole(steps, names[:5], awaited={1}) == frozenset()
    suites = studies.load_suites(request(tmp_path, suite_file, seeds=2))
    study = Study(tmp_path, suites, {("tiny_text", "char"): ("tiny_text", "0" * 64)})
    shown = book.finished_runs(study, steps[:5], book.whole(steps, names[:5]))
    assert [(run.condition, run.seed, len(run.probes)) for run in shown] == [
        ("self", 1, 0),
        ("self_calm", 1, 2),
    ]
    assert book.made_steps(study, steps[:1], book.whole(steps, names[:1])) == []


def test_a_failure_stops_only_what_needs_it(
    tmp_path: Path, suite_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runner, script = scripted(tmp_path, suite_file, ends={"train tiny/self_calm/seed-1": ["no luck"]})
    failures = runner.run()
    assert [(failure.step.name, failure.error) for failure in failures] == [
        ("train tiny/self_calm/seed-1", "no luck")
    ]
    assert {step.name for step in runner.skipped} == {
        "frozen tiny/self_calm/seed-1/step-30",
        "frozen tiny/self_calm/seed-1/step-60",
    }
    assert script.started.count("train tiny/self_calm/seed-1") == 1  # not tried again
    tables = [step for step in script.steps if step.name == "table tiny/runs"]
    assert [len(step.arguments["runs"]) for step in tables] == [1, 3]
    assert "FAILED train tiny/self_calm/seed-1: no luck" in capsys.readouterr().out


def test_a_run_that_cannot_be_linked_is_a_failure_and_stands(tmp_path: Path, suite_file: Path) -> None:
    runner, script = scripted(tmp_path, suite_file)
    (tmp_path / "tiny" / "self_calm" / "seed-1").mkdir(parents=True)
    (failure,) = runner.run()
    assert failure.step.name == "train tiny/self_calm/seed-1" and "not linked" in failure.error
    assert runner.skipped == [] and "frozen tiny/self_calm/seed-1/step-30" in script.started


@pytest.mark.parametrize(("deaths", "failed"), [(1, 0), (2, 1)])
def test_a_killed_worker_costs_one_more_try(
    tmp_path: Path, suite_file: Path, deaths: int, failed: int
) -> None:
    name = "train tiny/self/seed-1"
    runner, script = scripted(tmp_path, suite_file, ends={name: [BrokenExecutor()] * deaths})
    assert len(runner.run()) == failed
    assert script.started.count(name) == 2


class Held(Executor):
    """Begins each step and ends none."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        return Future()


def test_tables_made_here_take_no_place_of_what_runs_elsewhere(tmp_path: Path, suite_file: Path) -> None:
    suites = studies.load_suites(request(tmp_path, suite_file, seeds=2))
    study = Study(tmp_path, suites, {("tiny_text", "char"): ("tiny_text", "0" * 64)})
    plan = pipeline.plan(study)
    second = frozenset(step.name for step in plan if step.seed == 2)
    costs = progress.Costs()
    costs.guess_s = 1.0
    for here, kinds, made, studied in ((0, MADE, 2, 0), (1, MADE, 1, 2), (2, (), 0, 2)):
        runner = Runner(
            study, plan, second, second, kinds, 2, costs, executor=lambda count: Held(), here=here
        )
        runner._start()
        found = [step.kind for step, _ in runner.running.values()]
        assert (found.count("table"), found.count("train")) == (made, studied)


def test_a_killed_process_breaks_its_own_future_only() -> None:
    pools = processes.Workers(2)
    try:
        quick, slow = pools.submit(os.getpid), pools.submit(time.sleep, 1)
        with pytest.raises(RuntimeError, match="busy"):
            pools.submit(os.getpid)
        victim = pools.submit(time.sleep, 60) if quick.result(60) else None
        assert victim is not None
        os.kill(quick.result(), signal.SIGKILL)
        with pytest.raises(BrokenExecutor):
            victim.result(10)
        assert pools.submit(os.getpid).result(60) != quick.result()
        assert slow.result(10) is None
    finally:
        pools.shutdown(wait=False)


def test_ctrl_c_that_another_thread_takes_waits_for_the_start_of_a_worker() -> None:
    leave = threading.Event()
    other = threading.Thread(target=leave.wait)  # started before the block, so it does not inherit it
    other.start()
    handler = signal.getsignal(signal.SIGINT)
    whole = False
    try:
        with pytest.raises(KeyboardInterrupt), processes._no_interrupt():
            assert other.ident is not None
            signal.pthread_kill(other.ident, signal.SIGINT)
            time.sleep(0.2)
            whole = True
    finally:
        leave.set()
        other.join()
    assert whole and signal.getsignal(signal.SIGINT) is handler


def test_a_first_worker_starts_with_ctrl_c_blocked() -> None:
    code = """
import signal
from study import processes
pools = processes.Workers(1)
print(signal.SIGINT in pools.submit(signal.pthread_sigmask, signal.SIG_BLOCK, []).result(60))
pools.shutdown()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_two_studies_do_not_share_a_folder(tmp_path: Path) -> None:
    with studies.locked(tmp_path):
        with pytest.raises(UserError, match=f"in use by process {os.getpid()}"), studies.locked(tmp_path):
            pass
        assert studies.holder(tmp_path) == os.getpid()
    assert studies.holder(tmp_path) is None
    with studies.locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't write to"), studies.locked(tmp_path / "file"):
        pass


def test_a_model_larger_than_the_machine_is_refused(tmp_path: Path, suite_file: Path) -> None:
    huge = ("model.n_embd=8192", "model.n_layer=96")
    with pytest.raises(UserError, match="GB of memory"):
        studies.check_memory(studies.load_suites(request(tmp_path, suite_file, *huge)), jobs=4)
