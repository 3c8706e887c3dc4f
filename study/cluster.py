"""A Dask cluster as an executor: runs and their tests go to its workers, tables, figures and pages are made here.

A step travels with the names of the files that it needs and what they hold, as SHA-256. A worker that lacks some says so,
is sent them, and keeps them under their hashes for later steps. The files that a step makes come back and are written here,
whole or absent. Each Dask worker does its steps in processes of its own, set up as those of one machine are
(study/worker.py), so that a step can be ended in its midst, and a killed one takes no Dask worker with it.
"""

import functools
import io
import logging
import os
import pickle
import platform
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from importlib import metadata
from multiprocessing import current_process
from pathlib import Path
from typing import Any, NamedTuple

from base import code, known_code, machine, storage
from base.storage import UserError
from configs import probe
from data import corpus
from study import worker
from study.plan import Step
from study.processes import Workers
from study.worker import Outcome

PATIENCE_S = 8  # for a scheduler to answer, and for its first worker
POLL_S = 0.5  # between two looks whether a step is still wanted
START_WORKER = "./run.sh dask worker"
RESULTS = ("logs", "made")  # folders of the study that a step writes to, besides its own


class Lacking(NamedTuple):
    """What a worker says that has not all files of a step: its address, and the hashes of what it lacks."""

    worker: str
    hashes: list[str]


def version() -> dict[str, str]:
    """What results hang on besides a step and its files: what the project's code for it does, and the libraries."""
    mine = [
        code.Place("study.worker", "train"),
        code.Place("study.worker", "test"),
        code.Place("study.cluster", "receive"),
    ]
    does = storage.hash_json(known_code.of(*mine, *map(probe.place_of, probe.known())))[:12]
    found = {"project code": does, "Python": ".".join(platform.python_version_tuple()[:2])}
    return found | {name: metadata.version(name) for name in ("torch", "numpy", "scipy")}


def compare(theirs: Mapping[str, str], ours: Mapping[str, str], address: str) -> None:
    """UserError where a worker would compute with something else than the study."""
    for name, mine in ours.items():
        if theirs.get(name) != mine:
            raise UserError(
                f"worker {address} has another {name} ({theirs.get(name)}) than this study ({mine}); bring both clones to "
                "the same commit with the same packages, and start the worker again"
            )


# Here


def connected(address: str) -> Any:
    """A client of a Dask scheduler. UserError where Dask is not installed, or no scheduler answers."""
    if not re.fullmatch(r"tcp://[^\s/]+:\d{1,5}", address):
        raise UserError(
            f"--scheduler {address!r} is no address of a Dask scheduler, which looks like tcp://HOST:8786"
        )
    try:
        import distributed
    except ImportError:
        raise UserError(
            "--scheduler needs the package distributed, which ./run.sh has; elsewhere: python -m pip install distributed"
        ) from None
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is told in words of ours
    try:
        return distributed.Client(address, timeout=PATIENCE_S, set_as_default=False)
    except OSError as problem:
        raise UserError(
            f"--scheduler {address}: no Dask scheduler answers there ({problem}); start one with: ./run.sh dask scheduler, "
            "or mend the address"
        ) from None


class Cluster(Executor):
    """The workers of a Dask scheduler for runs and tests, and `here` processes of this machine for all else.

    jobs: how many steps go to the cluster at once; 0 for as many as its workers have threads.

    Raises:
        UserError: Dask is not installed, no scheduler answers, it has no worker, or one that has other code.
    """

    def __init__(self, address: str, jobs: int = 0) -> None:
        self._address, self._version = address, version()
        self._client = connected(address)
        try:
            self._look_at_workers()
            self.jobs = jobs or sum(self._client.nthreads().values())
        except BaseException:
            self._client.close()
            raise
        self.here = machine.cores()
        self._local = Workers(self.here)
        self._threads = ThreadPoolExecutor(self.jobs)
        self._away: set[Any] = set()  # futures of the cluster
        self._ending = False

    def _look_at_workers(self) -> None:
        """UserError where there are none, or one would compute with other code. Later ones are looked at as they compute."""
        try:
            self._client.wait_for_workers(1, timeout=PATIENCE_S)
        except TimeoutError:
            raise UserError(
                f"the scheduler {self._address} has no workers; start some in a clone of this repository: "
                f"{START_WORKER} {self._address}"
            ) from None
        for place, theirs in self._client.run(version, on_error="return").items():
            if isinstance(theirs, Exception):
                raise self._strange(place, theirs)
            compare(theirs, self._version, place)

    def _strange(self, place: str, problem: Exception) -> UserError:
        return UserError(
            f"{place} can't load the project ({problem}); start the worker in a clone of this repository: {START_WORKER} "
            f"{self._address}"
        )

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future:
        """`worker.perform` with its arguments, for the runner."""
        step: Step = args[0]
        if step.studied:
            return self._threads.submit(self._perform, *args, **kwargs)
        return self._local.submit(fn, *args, **kwargs)

    def _perform(self, step: Step, out: Path, afresh: bool, attempt: int) -> Outcome:
        """`worker.perform`, on a worker of the cluster. BrokenExecutor where that was killed, again and again."""
        sent, folders = packed(step, out)
        there: list[str] | None = None
        while True:
            files = hashed(folders, out)
            found = self._result(there, sent, files, self._version, afresh, attempt)
            if isinstance(found, Lacking):
                contents = [(out / name).read_bytes() for name in files if files[name] in found.hashes]
                there = [found.worker]
                self._client.run(keep, contents, workers=there, on_error="ignore")
            else:
                outcome, made = found
                write(step, out, made)
                return outcome

    def _result(self, there: list[str] | None, *given: Any) -> Any:
        """What `receive` returns on a worker: the one asked for, if it is still there."""
        from distributed import KilledWorker

        def received(*given: Any) -> Any:  # travels by value, so that the scheduler needs no clone
            from study.cluster import receive

            return receive(*given)

        future = self._client.submit(
            received, *given, workers=there, allow_other_workers=there is not None, pure=False
        )
        self._away.add(future)
        try:
            if self._ending:
                future.cancel()
            return future.result()
        except KilledWorker as problem:
            raise BrokenExecutor(str(problem)) from None
        except ImportError as problem:
            raise self._strange("a worker", problem) from None
        except CancelledError:
            raise UserError(
                f"the scheduler {self._address} is gone; start it and its workers again, and the same command goes on"
            ) from None
        finally:
            self._away.discard(future)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the connection and the processes here; with wait=False at once, and the steps on the cluster with them."""
        if not wait:
            self._ending = True
            for future in list(self._away):
                future.cancel()
        self._local.shutdown(wait, cancel_futures=cancel_futures)
        self._threads.shutdown(cancel_futures=cancel_futures)
        self._client.close()


class _Packer(pickle.Pickler):
    """Writes paths in the study's folder as what is below it, and collects them in `found`."""

    def __init__(self, file: io.BytesIO, out: Path) -> None:
        super().__init__(file)
        self.out, self.found = out, set[Path]()

    def persistent_id(self, value: Any) -> str | None:
        if isinstance(value, Path) and value.is_relative_to(self.out):
            self.found.add(value)
            return value.relative_to(self.out).as_posix()
        return None


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, out: Path) -> None:
        super().__init__(file)
        self.out = out

    def persistent_load(self, name: str) -> Path:
        return self.out / name


def packed(step: Step, out: Path) -> tuple[bytes, list[Path]]:
    """A step of runs and tests, to be unpacked for another folder, and the folders that it reads: runs, and its text."""
    file = io.BytesIO()
    packer = _Packer(file, out)
    packer.dump(step)
    run = step.arguments["run"]
    texts = [out / "data" / corpus.folder_name(*run.text)] if run.text else []
    return file.getvalue(), [*texts, *sorted(packer.found - {step.destination})]


def hashed(folders: Iterable[Path], out: Path) -> dict[str, str]:
    """The files of some folders: name below `out` -> SHA-256."""
    found = {}
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
        state = path.stat()
        found[path.relative_to(out).as_posix()] = _sha256(path, state.st_mtime_ns, state.st_size)
    return found


@functools.cache
def _sha256(path: Path, changed: int, size: int) -> str:
    return storage.sha256_file(path)


def write(step: Step, out: Path, made: Mapping[str, bytes]) -> None:
    """Write what a step made, by name below `out`: first its folder, as a whole, then what vouches for it."""
    files = {out / name: content for name, content in made.items()}
    own = {path: files.pop(path) for path in list(files) if path.is_relative_to(step.destination)}
    if own:
        with storage.whole_folder(step.destination) as folder:
            for path, content in own.items():
                storage.write_bytes(folder / path.relative_to(step.destination), content)
    for path, content in files.items():
        storage.write_bytes(path, content)


# On a worker

_ours = threading.local()  # of a thread of a Dask worker: the process that does its steps


def keep(contents: Sequence[bytes], dask_worker: Any) -> None:
    """Keep files on a Dask worker, by their SHA-256."""
    for content in contents:
        storage.write_bytes(_store(dask_worker) / storage.sha256_bytes(content), content)


def _store(dask_worker: Any) -> Path:
    """Where a Dask worker keeps files under their SHA-256. It goes when the worker ends."""
    return Path(dask_worker.local_directory) / "files"


def receive(
    sent: bytes, files: Mapping[str, str], ours: Mapping[str, str], afresh: bool, attempt: int
) -> Lacking | tuple[Outcome, dict[str, bytes]]:
    """Do a step in a folder that holds its files and nothing else. What it made, by name below that folder.

    Raises:
        BrokenExecutor: its process was killed.
        UserError: the code here is not the study's.
    """
    from distributed import get_worker

    here = get_worker()
    store = _store(here)
    lacking = sorted(digest for digest in set(files.values()) if not (store / digest).exists())
    if lacking:
        return Lacking(here.address, lacking)
    out = Path(tempfile.mkdtemp(prefix="step-", dir=here.local_directory))
    try:
        for name in ("logs", "progress"):
            (out / name).mkdir()
        for name, digest in files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(store / digest, out / name)
        task = here.state.tasks[here.get_current_task()]
        if not hasattr(_ours, "processes"):
            current_process().daemon = False  # a nanny forbids its worker to have processes of its own
            _ours.processes = Workers(1)
        process = _ours.processes.submit(os.getpid).result()
        future = _ours.processes.submit(_perform, sent, out, ours, here.address, afresh, attempt)
        while not wait([future], POLL_S).done:
            if task.state != "executing" or here.status.name in ("closing", "closed", "failed"):
                os.kill(process, signal.SIGKILL)
        outcome, names = future.result()
        made = {name: (out / name).read_bytes() for name in names}
        for name, content in made.items():  # the tests of a run find it here
            place = store / storage.sha256_bytes(content)
            if not place.exists():
                os.replace(out / name, place)
        return outcome, made
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _perform(
    sent: bytes, out: Path, ours: Mapping[str, str], address: str, afresh: bool, attempt: int
) -> tuple[Outcome, list[str]]:
    """`worker.perform` in a process for steps. How it ended, and the names of the files that it made."""
    compare(_loaded(), ours, address)
    step: Step = _Unpacker(io.BytesIO(sent), out).load()
    outcome = worker.perform(step, out, afresh, attempt)
    folders = [step.destination, *(out / name for name in RESULTS)]
    return outcome, [*hashed(folders, out)]


@functools.cache
def _loaded() -> dict[str, str]:
    """The version of this process: what is changed in the clone later, it does not have."""
    return version()
