"""Worker processes behind the interface of concurrent.futures.Executor.

Each worker has a pool of its own, so that one that is killed takes no other's task with it. A cluster's executor can
stand in for this one: the runner only calls `submit` and `shutdown`.
"""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

import work


class Workers(Executor):
    """At most `count` processes, started as they are needed, one thread each.

    A future whose process died raises BrokenExecutor; the next call gets a new process.
    """

    def __init__(self, count: int) -> None:
        os.environ.update(work.THREADS)  # before the start of a worker: its libraries read them as they load
        self._context = multiprocessing.get_context("spawn")
        self._idle: list[ProcessPoolExecutor] = []
        self._count = count
        self._busy = 0

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=self._context, initializer=work.initialise)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Call `fn` in an idle worker. RuntimeError when all are busy: the caller keeps the queue."""
        if self._busy >= self._count:
            raise RuntimeError("all workers are busy")
        pool = self._idle.pop() if self._idle else self._new()
        with _no_interrupt():
            try:
                future = pool.submit(fn, *args, **kwargs)
            except RuntimeError:  # it died while idle
                pool.shutdown(wait=False)
                pool = self._new()
                future = pool.submit(fn, *args, **kwargs)
        self._busy += 1
        future.add_done_callback(lambda done: self._release(pool, done))
        return future

    def _release(self, pool: ProcessPoolExecutor, done: Future) -> None:
        self._busy -= 1
        if not done.cancelled() and isinstance(done.exception(), RuntimeError):  # BrokenExecutor is one
            pool.shutdown(wait=False)
        else:
            self._idle.append(pool)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End idle workers; with wait=False kill those at work too."""
        if not wait:
            for process in multiprocessing.active_children():
                process.kill()
        for pool in self._idle:
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Block Ctrl-C while a process starts: it inherits this, and so never dies of a Ctrl-C meant for its parent."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
