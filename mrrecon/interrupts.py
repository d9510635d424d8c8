"""Ctrl-C while work goes on that must not be cut in half."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["asked_to_stop", "deaf_to_interrupts"]


@contextmanager
def asked_to_stop(*signals: int) -> Iterator[threading.Event]:
    """Yield an event that these signals set instead of interrupting; a second Ctrl-C does interrupt."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only there can signals be handled
        yield asked
        return

    def note(number: int, frame: Any) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, note) for number in signals}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes started inside never notice Ctrl-C, not even while they are starting; this one does afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    came = threading.Event()
    hears = threading.current_thread() is threading.main_thread()  # though another thread may receive the signal
    handler = signal.signal(signal.SIGINT, lambda number, frame: came.set()) if hears else None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which a new process inherits
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if hears:
            signal.signal(signal.SIGINT, handler)
            if came.is_set():
                signal.raise_signal(signal.SIGINT)
