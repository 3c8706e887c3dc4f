"""Waiting for what comes from elsewhere: items as they come, an end to silence, errors handed on."""

import threading
import time
from collections.abc import Iterator

import pytest

from data.patience import NothingArrived, arriving


def test_items_come_in_their_order_before_the_last_is_read() -> None:
    release = threading.Event()

    def read() -> Iterator[int]:
        yield from (1, 2)
        release.wait(20)
        yield 3

    coming = arriving(read, 10, "test")
    assert [next(coming), next(coming)] == [1, 2]
    release.set()
    assert list(coming) == [3]


def test_silence_ends_the_wait_though_something_came_before() -> None:
    release = threading.Event()

    def read() -> Iterator[int]:
        yield 1
        release.wait(20)

    started = time.monotonic()
    coming = arriving(read, 0.1, "test")
    assert next(coming) == 1
    with pytest.raises(NothingArrived, match=r"nothing arrived for 0\.1 s"):
        next(coming)
    assert time.monotonic() - started < 5
    release.set()


def test_an_error_is_that_of_the_reader() -> None:
    def read() -> Iterator[int]:
        yield 1
        raise KeyError("text")

    coming = arriving(read, 10, "test")
    assert next(coming) == 1
    with pytest.raises(KeyError, match="text"):
        next(coming)


def test_the_thread_ends_with_its_caller() -> None:
    def endless() -> Iterator[int]:
        while True:
            time.sleep(0.001)
            yield 0

    coming = arriving(endless, 10, "a reader without end")
    next(coming)
    readers = [thread for thread in threading.enumerate() if thread.name == "a reader without end"]
    coming.close()  # type: ignore[attr-defined]
    for thread in readers:
        thread.join(10)
    assert [thread.is_alive() for thread in readers] == [False]
