"""The processes that workers are, behind the interface of concurrent.futures.Executor.

Each has a pool of its own, so that one that is killed takes no other's step with it. A cluster's executor can stand in: the
runner only calls `submit` and `shutdown`.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from multiprocessing import parent_process, resource_tracker
from typing import Any

THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def initialise() -> None:
    """Make a new worker: one thread, deaf to Ctrl-C (the parent ends it), gone when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(THREADS)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent.join,), daemon=True).start()


def _leave_with(wait: Callable[[], None]) -> None:
    wait()
    os._exit(1)  # a worker without its parent would hold the lock of its run for hours


class Workers(Executor):
    """At most `count` processes, started as they are needed, one thread each.

    A future whose process died raises BrokenExecutor; the next call gets a new process.
    """

    def __init__(self, count: int) -> None:
        os.environ.update(THREADS)  # before the start of a worker: its libraries read them as they load
        self._count = count
        self._slots: list[tuple[ProcessPoolExecutor, Future]] = []  # each pool with its last future

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Call `fn` in an idle worker. RuntimeError when all are busy: the caller keeps the queue."""
        idle = next((slot for slot in self._slots if slot[1].done()), None)
        if idle is None and len(self._slots) >= self._count:
            raise RuntimeError("all workers are busy")
        with _no_interrupt():
            future = None
            if idle is not None:
                self._slots.remove(idle)
                try:
                    future = idle[0].submit(fn, *args, **kwargs)
                    pool = idle[0]
                except BrokenExecutor:  # its process died
                    idle[0].shutdown(wait=False)
            if future is None:
                context = multiprocessing.get_context("spawn")
                pool = ProcessPoolExecutor(1, mp_context=context, initializer=initialise)
                future = pool.submit(fn, *args, **kwargs)
        self._slots.append((pool, future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers; with wait=False at once, whatever they are doing."""
        if not wait:
            for process in multiprocessing.active_children():
                process.kill()
        for pool, _ in self._slots:
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Put Ctrl-C off while a process starts: it inherits the block, and so never dies of a Ctrl-C meant for its parent.

    Another thread of this process may take the signal all the same, and Python would then raise here, in the midst of
    what the new process is told. So the handler is put off, too. The resource tracker, which multiprocessing starts
    before a first worker, lifts any block as it starts (Python 3.11), and so has to run already.
    """
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield
        return
    resource_tracker.ensure_running()
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)
