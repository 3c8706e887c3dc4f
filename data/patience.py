"""Waiting for what a network sends, with an end to it: libraries that know no time-out of their own are read in a thread."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


class NothingArrived(OSError):
    """Nothing came for as long as one was ready to wait."""


def arriving(read: Callable[[], Iterable[Item]], patience: float, name: str) -> Iterator[Item]:
    """The items of `read()` as they come; the thread that reads them, called `name`, ends soon after the caller does.

    Args:
        patience: longest wait for the next item, the first one included, in seconds.

    Raises:
        NothingArrived: none came for so long.
        Exception: whatever reading raised.
    """
    arrived: queue.Queue[tuple[Item] | Exception | None] = queue.Queue()
    stop = threading.Event()

    def run() -> None:
        try:
            for item in read():
                arrived.put((item,))
                if stop.is_set():
                    return
            arrived.put(None)
        except Exception as error:  # handed to the waiting thread, which names it
            arrived.put(error)

    threading.Thread(target=run, daemon=True, name=name).start()
    try:
        while True:
            try:
                found = arrived.get(timeout=patience)
            except queue.Empty:
                raise NothingArrived(f"nothing arrived for {patience:g} s") from None
            if found is None:
                return
            if isinstance(found, Exception):
                raise found
            yield found[0]
    finally:
        stop.set()
