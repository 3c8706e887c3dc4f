"""A study on a Dask cluster: a scheduler and two workers on loopback, which share no folder with it; killed, interrupted, of other code."""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import distributed
import psutil
import pytest

from base import storage
from base.storage import ROOT, UserError
from study import cluster, session
from study import request as studies
from study.runner import Runner
from tests.least import TEXT
from tests.stress.results import differences, results
from tests.tiny_study import SUITE, Here, request

STEPS = 300
WAITED_S = 120.0
NANNIES = ("--no-nanny", "--nanny")
LONG = (
    SUITE.replace("steps = 60", f"steps = {STEPS}")
    .replace("interval = 5\n", "interval = 50\n")
    .replace("interval = 20\n", "interval = 50\n")
    .replace("keep_steps = [30]", f"keep_checkpoints = [{STEPS - 20}]")
    .replace("steps = [30, 60]", f"steps = [{STEPS}]")
    .replace(
        "[probe.frozen]",
        f'[conditions.other]\nstart = {{ condition = "self_calm", step = {STEPS - 20}, state = "zero" }}\n[probe.frozen]',
    )
)
"""Two runs long enough to be met in their midst, a third that goes on from one of them, a test."""


@dataclass(frozen=True)
class Machines:
    """A scheduler, and by folder the workers, each the first of a group of processes."""

    folder: Path
    address: str
    workers: dict[Path, subprocess.Popen]

    def trains(self, worker: Path) -> bool:
        """Whether a worker is in the midst of a run, and has left a checkpoint."""
        return any(worker.glob("dask-scratch-space/*/step-*/runs/.*.work/step-*"))

    def process(self, worker: Path) -> psutil.Process | None:
        """The process that does a worker's steps."""
        with contextlib.suppress(psutil.Error):  # one that is just going
            for process in psutil.Process(self.workers[worker].pid).children(recursive=True):
                if "spawn_main" in str(process.cmdline()):
                    return process
        return None

    def steps(self, *workers: Path) -> list[Path]:
        """The folders of the steps that some workers do, or all."""
        return [
            step for worker in workers or self.workers for step in worker.glob("dask-scratch-space/*/step-*")
        ]


def until(true: Callable[[], object]) -> bool:
    """Wait for something; whether it came."""
    end = time.monotonic() + WAITED_S
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(true())


def address_in(file: Path) -> str:
    """The scheduler's address, once the file that tells it is whole."""
    with contextlib.suppress(OSError, ValueError):
        return str(json.loads(file.read_text(encoding="utf-8"))["address"])
    return ""


@contextlib.contextmanager
def meanwhile(function: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=function)
    thread.start()
    yield
    thread.join()


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    folder = tmp_path_factory.mktemp("machines")
    started = []

    def start(what: str, place: Path, *more: str) -> subprocess.Popen:
        place.mkdir()
        command = [sys.executable, "-m", "dask", what, "--scheduler-file", str(folder / "scheduler.json")]
        command += ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--no-dashboard", *more]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=place, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        started.append(process)
        return process

    try:
        start("scheduler", folder / "scheduler", "--port", "0")
        places = [folder / "one", folder / "two"]
        more = ("--nthreads", "1", "--local-directory", ".")
        workers = {
            place: start("worker", place, *more, nanny) for place, nanny in zip(places, NANNIES, strict=True)
        }
        assert until(lambda: address_in(folder / "scheduler.json"))
        address = address_in(folder / "scheduler.json")
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(len(workers), timeout=WAITED_S)
        yield Machines(folder, address, workers)
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def asked(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> functools.partial[studies.Request]:
    """A request for runs and tests alone, as of `request`, but for its folder."""
    storage.write_text(tmp_path / "texts" / "tiny_text" / "input.txt", TEXT)
    storage.write_text(tmp_path / "tiny.toml", LONG)
    monkeypatch.setenv("INTEROCEPTION_DATA", str(tmp_path / "texts"))
    return functools.partial(request, suite=tmp_path / "tiny.toml", only=("data", "tiny"))


def test_workers_of_other_code_are_given_nothing(
    asked: functools.partial, machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = cluster.Cluster._look_at_workers

    def changed(self: cluster.Cluster, early: bool) -> None:
        self._version = {**self._version, "project code": "0123456789ab"}
        if early:
            look(self)

    told = r"worker tcp://\S+ has another project code \(\w+\) than this study \(0123456789ab\); bring both"
    for early in (True, False):
        monkeypatch.setattr(cluster.Cluster, "_look_at_workers", functools.partialmethod(changed, early))
        with pytest.raises(UserError, match=told):
            session.run(asked(tmp_path / "out", scheduler=machines.address, jobs=1))
        assert (tmp_path / "out").exists() == (not early)
    assert not [*(tmp_path / "out" / "runs").iterdir()]


def test_a_study_on_a_cluster_is_the_study_on_one_machine(
    asked: functools.partial,
    machines: Machines,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert until(lambda: not machines.steps())  # of the test before
    before = set(threading.enumerate())
    away = asked(tmp_path / "away", scheduler=machines.address, jobs=0)
    lost, other = machines.workers

    def kill_a_step_and_interrupt() -> None:
        until(lambda: machines.steps(lost) and machines.process(lost))
        killed = machines.process(lost)
        assert killed is not None
        killed.kill()  # as where it takes too much memory
        until(lambda: machines.process(lost) not in (None, killed))
        os.kill(os.getpid(), signal.SIGINT)

    def kill_a_machine() -> None:
        until(lambda: machines.trains(lost))
        os.killpg(machines.workers[lost].pid, signal.SIGKILL)

    with meanwhile(kill_a_step_and_interrupt), pytest.raises(KeyboardInterrupt):
        session.run(away)
    said = capsys.readouterr().out
    assert "with 2 workers" in said and said.count("its worker was killed; trying once more") == 1
    assert until(lambda: not machines.steps())
    kept = [path for place in machines.workers for path in place.glob("dask-scratch-space/*/files/*")]
    assert 0 < len(kept) <= 4  # the text, on one or both, and no run: steps are stopped, not waited for
    with meanwhile(kill_a_machine):
        assert session.run(away) == 0
    assert not machines.trains(other) and set(threading.enumerate()) == before

    monkeypatch.setattr(session, "Runner", functools.partial(Runner, executor=lambda count: Here()))
    assert session.run(asked(tmp_path / "here")) == 0
    assert differences(tmp_path / "away", results(tmp_path / "here")) == []


def test_a_cluster_that_is_not_there_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE_S", 1)
    with pytest.raises(UserError, match=r"tcp://127.0.0.1:1: no Dask scheduler answers there"):
        cluster.Cluster("tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match="needs the package distributed, which"):
        cluster.Cluster("tcp://127.0.0.1:1")
