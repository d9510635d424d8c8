"""Slabs on threads: the one loop that every CPU operator uses, with scratch memory kept between calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

__all__ = ["ScratchPool", "run_ranges", "run_slabs"]

S = TypeVar("S")


class ScratchPool(Generic[S]):
    """Scratch objects (buffers with their FFT plans), made on demand and used by one thread at a time."""

    def __init__(self, make: Callable[[], S]) -> None:
        self._make = make
        self._free: list[S] = []

    def take(self) -> S:
        """Take a free object, or make one."""
        try:
            return self._free.pop()
        except IndexError:
            return self._make()

    def give_back(self, scratch: S) -> None:
        """Return an object for the next user."""
        self._free.append(scratch)


def run_slabs(count: int, body: Callable[[int, S], None], pool: ScratchPool[S], threads: int) -> None:
    """Call ``body(i, scratch)`` for i = 0 .. count-1 on `threads` threads (the caller's is one of them).

    Each thread takes the next i when it is free. The first exception stops all threads and is raised here.
    `body` should spend its time in code that releases the GIL (FFTs, numba with ``nogil``, large NumPy
    calls).
    """
    indices: Iterator[int] = iter(range(count))
    failures: list[BaseException] = []

    def work() -> None:
        scratch = pool.take()
        try:
            for i in indices:
                body(i, scratch)
        except BaseException as error:  # raised again in the calling thread
            failures.append(error)
            for _ in indices:
                pass
        finally:
            pool.give_back(scratch)

    helpers = [threading.Thread(target=work, daemon=True) for _ in range(min(threads, count) - 1)]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    if failures:
        raise failures[0]


def run_ranges(count: int, body: Callable[[int, int], None], threads: int) -> None:
    """Call ``body(start, stop)`` on contiguous parts of ``range(count)`` with `threads` threads."""
    parts = min(count, 4 * threads) if threads > 1 else 1
    edges = [count * i // parts for i in range(parts + 1)]
    run_slabs(parts, lambda i, _: body(edges[i], edges[i + 1]), ScratchPool(lambda: None), threads)
