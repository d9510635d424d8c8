"""How far work is: one bar with the time left, and one line for work of unknown length. All on standard error."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["ProgressBar", "tracked", "working"]

PATIENCE = 2.0  # seconds before work that goes on is shown
EVERY = 30.0  # seconds between lines where there is no terminal
Item = TypeVar("Item")


class ProgressBar:
    """A bar with the time left, once the work has taken two seconds; in a file, a line every half minute.

    Parameters
    ----------
    total
        Number of steps.
    description
        What stands in front of the bar.
    unit
        What a step is called.
    done
        Steps that are done already.
    """

    def __init__(self, total: int, description: str = "", unit: str = "it", done: int = 0) -> None:
        from tqdm.auto import tqdm

        self._terminal = sys.stderr.isatty()
        self._bar: Any = tqdm(
            total=total, initial=done, desc=description, unit=unit, leave=False, delay=PATIENCE,
            mininterval=0.1 if self._terminal else EVERY,
        )  # fmt: skip

    def at(self, done: int, description: str = "", **values: str) -> None:
        """Show how many steps are done and what is being done now, with values beside the bar; all steps close it."""
        if values:
            self._bar.set_postfix(values, refresh=False)
        self._bar.update(done - self._bar.n)
        if description:
            self._bar.set_description(description, refresh=self._terminal)
        if done >= self._bar.total:
            self._bar.close()

    def say(self, line: str) -> None:
        """Print a line on standard output, above the bar."""
        if self._terminal:
            self._bar.write(line)
        else:
            print(line, flush=True)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()


def tracked(items: Sequence[Item], description: str) -> Iterator[Item]:
    """Give one after the other, and show how many are done."""
    with ProgressBar(len(items), description) as bar:
        for done, item in enumerate(items, 1):
            yield item
            bar.at(done)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show what is being done and for how long, once it has taken two seconds."""
    done = threading.Event()

    def show() -> None:
        if done.wait(PATIENCE):
            return
        if not sys.stderr.isatty():
            print(f"{what} ...", file=sys.stderr)
            return
        began = time.monotonic() - PATIENCE
        while True:
            print(f"\r{what}: {time.monotonic() - began:.0f} s", end="", file=sys.stderr, flush=True)
            if done.wait(1.0):
                print("\r\033[K", end="", file=sys.stderr, flush=True)
                return

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
