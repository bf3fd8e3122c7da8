"""Bounds of time that hold on a busy machine, too."""

import time
from collections.abc import Callable
from typing import Final

EARLY: Final = 0.002
"""Seconds by which what a server waits for may be over too early: event loops count whole milliseconds."""
PROCESSOR_SECONDS: Final = 0.05
PATIENCE_SECONDS: Final = 90


def at_most(seconds: float) -> float:
    """The bound for something that takes so many seconds at most where nothing else runs.

    A bit of work shows how many times longer work takes now. Several processes take part in most answers, and wait for
    a processor one after the other, so what is too long counts twice. On an idle machine the bound stays as it is.
    """
    began, worked = time.monotonic(), time.thread_time()
    while time.thread_time() - worked < PROCESSOR_SECONDS:
        pass
    times = (time.monotonic() - began) / (time.thread_time() - worked)
    return seconds * max(1.0, 2 * times - 1)


def wait_until(condition: Callable[[], object], *, pause: float = 0.02) -> None:
    """Wait until a condition holds, for a minute and a half at most."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(pause)
