"""Time limits that hold on a busy machine, too."""

import time
from collections.abc import Callable
from typing import Final

EARLY: Final = 0.002
"""Seconds by which a server's wait may end too early: event loops count whole milliseconds."""
PROCESSOR_SECONDS: Final = 0.05
PATIENCE_SECONDS: Final = 90


def at_most(seconds: float) -> float:
    """The limit for an action that takes the given seconds at most on an idle machine.

    A short computation shows the present slowdown. Most answers involve several processes, which wait for a processor
    one after the other, so the slowdown counts twice. On an idle machine the limit stays as it is.
    """
    began, worked = time.monotonic(), time.thread_time()
    while time.thread_time() - worked < PROCESSOR_SECONDS:
        pass
    times = (time.monotonic() - began) / (time.thread_time() - worked)
    return seconds * max(1.0, 2 * times - 1)


def wait_until(condition: Callable[[], object], *, pause: float = 0.02) -> None:
    """Wait until a condition holds, for 90 s at most."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(pause)
